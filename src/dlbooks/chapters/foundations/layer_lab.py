r"""# Layers, shapes and losses by hand

A layer is a few lines of arithmetic. This lab writes each of them down, computes it, and compares the result with TensorFlow, with Keras
and with the numbers that the books print. Every comparison is a *fact*; the result of the lab is that none of them fails.

**Sizes.** A window of $k$ cells, dilated by $d$, spans $k' = d(k-1)+1$ cells. Sliding it over $n$ cells in steps of $s$ gives

$$\text{SAME: } \Bigl\lceil \frac ns \Bigr\rceil, \qquad \text{VALID: } \Bigl\lceil \frac{n-k'+1}{s} \Bigr\rceil, \qquad
\text{zeros } p \text{ on each side: } \Bigl\lfloor \frac{n+2p-k'}{s} \Bigr\rfloor + 1,$$

and backwards, for the transposed convolution, $ns$ (SAME) or $(n-1)s + \max(k, s)$ (VALID). Both ways are needed, because a strided
convolution forgets: 5 and 6 cells with stride 2 both become 3, so 3 may legally be enlarged to 5, as the book does, or to 6, as Keras does.

**Parameters and connections.** A convolution owns $k^2 c_{in} c_{out} + c_{out}$ numbers however large the picture is, and uses each of them
once at every output position. LeNet-5's first layer has 156 parameters and $156 \cdot 28^2 = 122\,304$ connections. One output sees a
receptive field of $r$ input cells: $r \leftarrow r + (k-1)j$, $j \leftarrow js$ from layer to layer.

**Activations.** $\sigma(x) = 1/(1+e^{-x})$ has the derivative $\sigma(1-\sigma)$: at most ¼, and below $5\cdot10^{-5}$ at $x = \pm10$. A deep
stack of sigmoids multiplies such factors, which is why it learns nothing in the experiment below.

**Losses** are computed from logits, because $\log$ and $\exp$ apart overflow and together do not:

$$\max(x, 0) - xz + \log(1+e^{-|x|}) \quad\text{(sigmoid)}, \qquad -\sum_i z_i \bigl(l_i - \log \textstyle\sum_j e^{l_j}\bigr) \quad\text{(softmax)}.$$

**Batch normalization** replaces each pre-activation $x$ by $y = \gamma\,(x-\mu)/\sqrt{\sigma^2+\varepsilon} + \beta$, with mean and variance of the batch while
training. For use it keeps moving averages $m \leftarrow 0.9\,m + 0.1\,\mu$, and so for $\sigma^2$. The experiment trains four sigmoid layers of 64
units with and without it, from the same initial weights, in the same order of digits, at the same rate.

**What the books say, and what holds.** B4 1.3 leaves out the floor: a 3×3 kernel with $p = 1$, $s = 2$ on 4 cells would give 2½. B5 4.7.3
prints the VALID formula beside a SAME example. B2 1.2 has stride 2 double the size: it halves it. B5 4.7.1 suppresses a unit with
probability `keep_prob`: that is the probability of keeping it. B5 4.6 has no averages for inference. B4 3.1.3 flattens to 512
values where there are 500, so its listing crashes, and it puts a ReLU on the logits, which stops the gradient of every logit below
zero. B4 1.2.3 prints a plus between a matrix and its vector. B1 1.2.1 takes the logarithm of a softmax: infinite as soon as a
probability rounds to 0.

On 2,000 digits and five passes batch normalization reaches 0.87 where the plain stack stays at chance. `dlbooks run layer-lab`, some
seconds; then let it count your own network: `dlbooks predict layer-lab "in 32x32x3; conv 3 16 same s2; pool 2; dense 10"`.
"""

from math import erf
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from dlbooks import UserError, figures, images
from dlbooks.catalog import Chapter, Metric
from dlbooks.chapters.foundations._layer_sizes import NETWORK, calculate, lenet5, operators, sizes
from dlbooks.chapters.foundations._layer_upsampling import checkerboard_figure, upsampling, upsampling_figure
from dlbooks.facts import Facts
from dlbooks.nn import convolution
from dlbooks.nn.convolution import apply_kernel
from dlbooks.nn.training import compiled_epoch
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="layer-lab",
    title="Layers, shapes and losses by hand",
    family="foundations",
    sources=["B5 4.6", "B5 4.7.1–4.7.4", "B5 6.2.1", "B5 19.1", "B4 1.2–1.3", "B4 3.1.3", "B3 6", "B2 1.1–1.2"],
    datasets=["mnist", "sample-pictures"],
    headline="facts_failed",
    metrics={
        "facts_total": Metric(better="higher"),
        "facts_failed": Metric(better="lower", floor=0),
        "bn_test_accuracy": Metric(better="higher", floor=0.75),
        "plain_test_accuracy": Metric(better="lower", floor=0.30),
        "lenet5_params": Metric(better="higher", reported=61706, source="B3 6"),
        "lenet5_connections_c1": Metric(better="higher", reported=122304, source="B3 6"),
        "lenet5_connections_c3": Metric(better="higher", reported=241600, source="B3 6"),
    },
    curves={"Cross-entropy": ["plain_loss", "bn_loss"]},
    exports=False,
    example='dlbooks predict layer-lab "in 32x32x1; conv 5 6 valid; pool 2; conv 5 16 valid; pool 2; dense 120; dense 84; dense 10"',
)


class Params(ChapterParams):
    digits: int = Field(2000, ge=100, le=60_000)
    """training digits of the experiment; all of them where the data set has fewer"""
    epochs: int = Field(5, ge=1, le=100)
    """passes over the digits"""
    batch: int = Field(50, ge=2, le=1000)
    """digits per step; batch normalization needs at least two"""
    learning_rate: float = Field(0.1, gt=0, le=10)
    """step size of plain gradient descent, for both networks"""
    depth: int = Field(4, ge=1, le=20)
    """hidden layers"""
    width: int = Field(64, ge=1, le=4096)
    """units per hidden layer"""


# ## Experiment: batch normalization, with and without
# Both networks have 784 inputs, sigmoid layers, ten logits. The normalized one needs no bias before the normalization, whose shift
# $\beta$ takes its place. The layer called `pre1` … gives the pre-activations, which the histograms show.
def build(params: Params) -> dict[str, keras.Model]:
    def network(normalized: bool) -> keras.Model:
        x = inputs = keras.Input((784,), name="pixels")
        for number in range(1, params.depth + 1):
            initial = keras.initializers.GlorotUniform(seed=params.seed * 100 + number)
            dense = keras.layers.Dense(
                params.width, use_bias=not normalized, kernel_initializer=initial, name=f"dense{number}" if normalized else f"pre{number}"
            )
            x = dense(x)
            if normalized:
                x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=f"pre{number}")(x)
            x = keras.layers.Activation("sigmoid", name=f"hidden{number}")(x)
        last = keras.initializers.GlorotUniform(seed=params.seed * 100)
        return keras.Model(inputs, keras.layers.Dense(10, kernel_initializer=last, name="logits")(x))

    return {"plain": network(False), "bn": network(True)}


EVERY = 10  # steps between two logged losses


def digits(run, split: str) -> tuple[np.ndarray, np.ndarray]:
    data = run.records("mnist").arrays(split)
    return data["image"].reshape(-1, 784).astype(np.float32) / 255, data["label"]


def train(run):
    p = run.params
    x, y = (tf.constant(a[: p.digits]) for a in digits(run, "train"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=None)
    steps = len(x) // p.batch
    for name, model in build(p).items():
        optimizer = keras.optimizers.SGD(p.learning_rate)
        run_steps = compiled_epoch(model, optimizer, loss)
        for epoch in run.epochs(p.epochs, name, model=model, optimizer=optimizer):
            order = run.random("order", epoch).permutation(len(x))[: steps * p.batch]
            for first in range(0, steps, EVERY):
                part = order[first * p.batch : (first + EVERY) * p.batch]
                run.log(epoch * steps + first + len(part) // p.batch, **{f"{name}_loss": run_steps(x, y, part, p.batch)})
        run.save(model, name)


# ## Evaluation
# The sizes stand in `_layer_sizes.py`, the ways of enlarging in `_layer_upsampling.py`, everything else below.
def evaluate(run) -> dict:
    facts = Facts()
    picture = sample_picture(run)
    sizes(facts)
    run.table("shapes.csv", operators(facts))
    lenet = lenet5(facts)
    run.table("lenet5.csv", lenet)
    for section in (dense_is_convolution, pooling, activations, dropout, losses, batch_normalization, upsampling):
        section(facts)
    filters(facts, picture)
    run.table("facts.csv", facts.rows)

    x, y = digits(run, "test")
    accuracy, inner = {}, {}
    for name, model in build(run.params).items():
        run.load(model, name)
        layers = [model.get_layer(f"pre{n}").output for n in range(1, run.params.depth + 1)]
        *inner[name], logits = keras.Model(model.input, [*layers, model.output])(x, training=False)
        accuracy[name] = float(np.mean(np.argmax(logits, -1) == y))

    for name, figure, caption in [
        (
            "activations",
            activations_figure(),
            "Eleven activations and their derivatives: sigmoid and tanh go flat on both sides, the others keep a slope on the right",
        ),
        ("bn_ab", bn_figure(run.series, inner), BN_CAPTION),
        (
            "checkerboard",
            checkerboard_figure(),
            "Stamps that reach each output cell of a transposed convolution with stride 2: uneven for kernels of 3 and 5 cells",
        ),
        (
            "upsampling",
            upsampling_figure(x[0].reshape(28, 28) * 255),
            "A digit enlarged in five ways: a kernel of 5 cells and unequal shuffled filters print a pattern on it",
        ),
        ("filters", filters_figure(picture), "One picture through fixed kernels: sharpened, edges, horizontal and vertical gradients, blurred"),
    ]:
        run.figure(f"{name}.png", figure, caption)
    return {
        **facts.metrics(),
        "bn_test_accuracy": accuracy["bn"],
        "plain_test_accuracy": accuracy["plain"],
        "lenet5_params": sum(row["parameters"] for row in lenet),
        "lenet5_connections_c1": lenet[1]["connections"],
        "lenet5_connections_c3": lenet[3]["connections"],
    }


def uniform(*shape: int) -> np.ndarray:
    """The same numbers in −1 … 1 for a shape at every call."""
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


# ## A dense layer is a convolution, a convolution is a matrix product
# Flatten a 2×2 picture and multiply it with a 2×4 matrix: the same as one VALID 2×2 convolution with two filters, each row of the matrix
# folded to 2×2. The other way round, im2col lays every window out as a row; the convolution is then one large matrix product,
# which is how it is computed on most machines.
def dense_is_convolution(facts):
    for outputs in (2, 3):
        weights, picture = uniform(outputs, 4), uniform(1, 2, 2, 1)
        folded = tf.nn.conv2d(picture, weights.T.reshape(2, 2, 1, outputs), 1, "VALID")
        facts.check(f"2×2 picture: {outputs}×4 matrix = {outputs} kernels", weights @ picture.ravel(), tf.reshape(folded, -1), "B4 1.2.3", 1e-6)
    batch, weights = uniform(2, 7, 8, 3), uniform(3, 3, 3, 4)
    columns = tf.image.extract_patches(batch, [1, 3, 3, 1], [1] * 4, [1] * 4, "VALID")
    facts.check("im2col of 2×7×8×3, 3×3 VALID", tuple(columns.shape), (2, 5, 6, 27), "B5 19.1")
    facts.check("im2col × kernel = conv2d", columns @ weights.reshape(27, 4), tf.nn.conv2d(batch, weights, 1, "VALID"), "B5 19.1", 1e-5)


# ## Pooling
# The maximum of a window does not notice when a smaller value moves. `max_pool_with_argmax` numbers the cells
# $((b H + y) W + x)\,C + c$ as the book says, but only with `include_batch_in_index=True`.
def pooling(facts):
    window = np.float32([[0.1, 0.3], [0.2, 0.8]])
    changed = np.where(window == np.float32(0.1), np.float32(0.5), window)
    for name, picture in (("", window), (", 0.1 → 0.5", changed)):
        facts.check(f"max pool of a 2×2 window{name}", tf.nn.max_pool2d(picture[None, ..., None], 2, 2, "VALID")[0, 0, 0, 0], np.float32(0.8), "B4 1.3")
    facts.check("min pool = −max(−x)", -tf.nn.max_pool2d(-window[None, ..., None], 2, 2, "VALID")[0, 0, 0, 0], np.float32(0.1), "B4 1.3")
    facts.check("average pool", tf.nn.avg_pool2d(window[None, ..., None], 2, 2, "VALID")[0, 0, 0, 0], 0.35, "B4 1.3", 1e-6)
    count = tf.reshape(tf.range(32, dtype=tf.float32), (2, 4, 4, 1))
    for with_batch, first in ((True, 16), (False, 0)):
        values, indices = tf.nn.max_pool_with_argmax(count, 2, 2, "VALID", include_batch_in_index=with_batch)
        facts.check(
            f"argmax pool, picture 2, batch {'in' if with_batch else 'not in'} the index",
            tf.reshape(indices[1], -1),
            first + np.array([5, 7, 13, 15]),
            "B5 4.7.3",
        )
    facts.check("argmax pool of 0 … 15", [tf.reshape(values[0], -1), tf.reshape(indices[0], -1)], [[5, 7, 13, 15]] * 2, "B5 4.7.3")


# ## Activations
# Each with its value and derivative as formulas; TensorFlow's values and the gradients of its tape must agree.
def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normal_cdf(x):
    return (1 + np.vectorize(erf)(x / np.sqrt(2))) / 2


ACTIVATIONS = {  # operator, value, derivative; crelu's two channels side by side
    "sigmoid": (tf.sigmoid, sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x))),
    "tanh": (tf.tanh, np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "softsign": (tf.nn.softsign, lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2),
    "relu": (tf.nn.relu, lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0)),
    "relu6": (tf.nn.relu6, lambda x: np.clip(x, 0, 6), lambda x: 1.0 * (x > 0) * (x < 6)),
    "leaky relu": (lambda x: tf.nn.leaky_relu(x, 0.01), lambda x: np.where(x > 0, x, 0.01 * x), lambda x: np.where(x > 0, 1, 0.01)),
    "crelu": (tf.nn.crelu, lambda x: np.maximum([x, -x], 0), lambda x: np.array([x > 0, -1.0 * (x < 0)])),
    "elu": (tf.nn.elu, lambda x: np.where(x > 0, x, np.exp(x) - 1), lambda x: np.where(x > 0, 1, np.exp(x))),
    "softplus": (tf.nn.softplus, lambda x: np.log1p(np.exp(x)), sigmoid),
    "gelu": (tf.nn.gelu, lambda x: x * normal_cdf(x), lambda x: normal_cdf(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)),
    "silu": (tf.nn.silu, lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x)))),
}


def gradient(function, x) -> tf.Tensor:
    x = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x)


def activations(facts):
    x = np.array([-4, -2.5, -1, -0.5, 0.5, 1, 2, 7])
    for name, (operator, value, derivative) in ACTIVATIONS.items():
        facts.check(f"{name}(x)", operator(tf.constant(x, tf.float32)[None])[0], np.ravel(value(x)), "formula", 2e-6)
        facts.check(f"{name}'(x)", gradient(operator, x), np.atleast_2d(derivative(x)).sum(0), "formula", 2e-6)
    facts.check("relu6 of −1, 3, 9", tf.nn.relu6([-1.0, 3.0, 9.0]), (0, 3, 6), "B5 4.7.1")
    facts.check("relu of −1, 2", tf.nn.relu([-1.0, 2.0]), (0, 2), "B5 4.7.1")
    facts.check("σ'(0)", gradient(tf.sigmoid, 0), 0.25, "B5 4.7.1", 1e-7)
    facts.check("tanh'(0)", gradient(tf.tanh, 0), 1, "B5 4.7.1", 1e-7)
    facts.check("σ' at ±10, below 5e-5", gradient(tf.sigmoid, [-10, 10]), (0, 0), "B5 4.7.1", 5e-5)
    facts.check("elu(−∞)", tf.nn.elu(-np.inf), -1, "B2 1.1")


def activations_figure():
    x = np.linspace(-7, 7, 281)
    figure, axes = figures.new(10, 6, 3, 4, sharex=True)
    for cell, (name, (_, value, derivative)) in zip(axes.ravel(), ACTIVATIONS.items(), strict=False):
        for function, color, label in ((value, figures.COLORS[0], "f"), (derivative, figures.COLORS[1], "f ′")):
            for line, style in zip(np.atleast_2d(function(x)), "-:", strict=False):
                cell.plot(x, line, style, color=color, label=label)
        cell.set(title=name, ylim=(-1.3, 3))
    axes[0, 0].legend(frameon=False)
    axes.ravel()[-1].set_axis_off()
    return figure


# ## Dropout
# A kept value is divided by the probability of keeping it, so the mean stays: nothing has to be rescaled in use. `noise_shape` says which
# values share one throw of the coin: `[k, 1, 1, c]` drops whole feature maps.
def dropout(facts):
    draws = 10_000
    row = np.float32([-1, 2, 3, 4])
    rows = tf.constant(np.tile(row, (draws, 1)))

    def drop(x, keep, *noise_shape):
        return tf.nn.experimental.stateless_dropout(x, rate=1 - keep, seed=(0, 1), noise_shape=noise_shape).numpy()

    each, whole = drop(rows, 0.5, draws, 4), drop(rows, 0.5, draws, 1)
    facts.check("kept values are doubled at keep 0.5", sorted(set((each / row).ravel().tolist())), (0, 2), "B5 4.7.1")
    facts.check("noise shape [1, 4]: masks seen", len(np.unique(each != 0, axis=0)), 16, "B5 4.7.1")
    facts.check("noise shape [1, 1]: all or none", np.unique(whole != 0, axis=0).sum(1), (0, 4), "B5 4.7.1")
    facts.check("mean of 10,000 draws over the input", each.mean(0) / row, np.ones(4), "B5 4.7.1", 0.03)
    facts.check("share suppressed at keep 0.8", np.mean(drop(rows, 0.8, draws, 4) == 0), 0.2, "B5 4.7.1", 0.01)
    maps = drop(tf.ones((8, 5, 5, 6)), 0.5, 8, 1, 1, 6)
    facts.check("noise shape [k, 1, 1, c]: values in a map", np.ptp(maps, axis=(1, 2)), np.zeros((8, 6)), "B5 4.7.1")
    maps = keras.layers.SpatialDropout2D(0.5, seed=1)(tf.ones((8, 5, 5, 6)), training=True)
    facts.check("SpatialDropout2D: values in a map", np.ptp(maps, axis=(1, 2)), np.zeros((8, 6)), "Keras")


# ## Losses
def losses(facts):
    logits, labels = 5 * uniform(6, 4), np.array([0, 3, 1, 2, 2, 0])
    z = np.eye(4, dtype=np.float32)[labels]
    wide = logits.astype(np.float64)
    by_hand = np.maximum(wide, 0) - wide * z + np.log1p(np.exp(-abs(wide)))
    facts.check("sigmoid cross-entropy", tf.nn.sigmoid_cross_entropy_with_logits(z, logits), by_hand, "B5 4.7.4", 1e-5)
    log_softmax = wide - np.log(np.exp(wide).sum(1, keepdims=True))
    facts.check("log softmax", tf.nn.log_softmax(logits), log_softmax, "B5 4.7.4", 1e-5)
    dense = tf.nn.softmax_cross_entropy_with_logits(z, logits)
    facts.check("softmax cross-entropy", dense, -(z * log_softmax).sum(1), "B5 4.7.4", 1e-5)
    facts.check("sparse = dense on one-hot labels", tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits), dense, "B5 4.7.4")
    huge = tf.constant([[1e4, 0.0]])
    facts.check("logits 10⁴: loss of the wrong class", tf.nn.softmax_cross_entropy_with_logits([[0.0, 1.0]], huge)[0], 1e4, "B1 1.2.1")
    facts.check("logits 10⁴: −log(softmax), as printed", str(float(-tf.math.log(tf.nn.softmax(huge))[0, 1])), "inf", "B1 1.2.1")
    facts.check("logits 10⁴: −Σ z log(softmax), right class", str(float(-tf.reduce_sum([[1.0, 0.0]] * tf.math.log(tf.nn.softmax(huge))))), "nan", "B1 1.2.1")
    clipped = gradient(lambda x: tf.nn.sparse_softmax_cross_entropy_with_logits([0], tf.nn.relu(x)), [[-1.0, 2.0]])
    facts.check("relu on the logits: gradient of a logit below 0", clipped[0, 0], 0, "B4 3.1.3")


# ## Batch normalization by hand
# Over the batch axis for a dense layer, over batch, rows and columns for a picture: one mean per channel. The variance is the biased one,
# divided by $n$, in the output and in the moving average. The output's own variance is $\sigma^2/(\sigma^2+\varepsilon)$, just below 1.
def batch_normalization(facts):
    for name, x in (("50×4", 3 * uniform(50, 4) + 2), ("8×5×5×3", 3 * uniform(8, 5, 5, 3) + 2)):
        axes = tuple(range(x.ndim - 1))
        mean, variance = x.mean(axes), x.var(axes)
        layer = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3)
        y = layer(x, training=True).numpy()
        facts.check(f"batch norm {name}", y, (x - mean) / np.sqrt(variance + 1e-3), "B5 4.6", 1e-6)
        facts.check(f"batch norm {name}: mean", y.mean(axes), np.zeros(len(mean)), "B5 4.6", 1e-5)
        facts.check(f"batch norm {name}: variance", y.var(axes), variance / (variance + 1e-3), "B5 4.6", 1e-5)
        facts.check(f"batch norm {name}: moving mean", layer.moving_mean, 0.9 * 0 + 0.1 * mean, "formula", 1e-6)
        facts.check(f"batch norm {name}: moving variance", layer.moving_variance, 0.9 * 1 + 0.1 * variance, "formula", 1e-6)
        moved = (x - 0.1 * mean) / np.sqrt(0.9 + 0.1 * variance + 1e-3)
        facts.check(f"batch norm {name}: in use", layer(x, training=False), moved, "formula", 1e-5)
    facts.check("default momentum of Keras", keras.layers.BatchNormalization().momentum, 0.99, "Keras")


BN_CAPTION = "Loss with and without batch normalization, and what each sigmoid gets: plain layers crowd around one value, normalized ones spread"


def bn_figure(series, inner):
    figure, (left, *others) = figures.new(10, 3.4, 1, 3)
    for name, color, label in (("plain", figures.COLORS[1], "plain"), ("bn", figures.COLORS[0], "batch normalization")):
        left.plot(*zip(*series[f"{name}_loss"], strict=True), color=color, label=label)
    left.axhline(np.log(10), color=figures.INK, linestyle="--", linewidth=1, label="chance, ln 10")
    left.set(title="Training loss", xlabel="step", ylim=(0, None))
    left.legend(frameon=False)
    for cell, (name, title) in zip(others, {"plain": "plain", "bn": "batch normalization"}.items(), strict=True):
        for number, values in enumerate(inner[name], 1):
            counts, edges = np.histogram(values, 60, (-6, 6))
            cell.stairs(counts / counts.sum(), edges, label=f"layer {number}", linewidth=1.5)
        cell.set(title=f"Pre-activations, {title}", xlabel="input of the sigmoid", ylabel="share of test values")
        cell.legend(frameon=False)
    return figure


# ## Fixed kernels
# Deep learning's convolution does not mirror the kernel. Smoothing kernels sum to 1 and keep a flat picture; edge kernels sum to 0 and turn
# it black; sharpening is the picture minus its Laplacian.
def sample_picture(run) -> np.ndarray:
    pictures = run.records("sample-pictures").arrays("train")
    chosen = pictures["image/filename"].tolist().index(b"china.jpg")
    return tf.io.decode_jpeg(pictures["image"][chosen], channels=3, dct_method="INTEGER_ACCURATE").numpy()


def filters(facts, picture):
    height, width, _ = picture.shape
    ramp = np.tile(np.arange(9.0), (9, 1))

    def filtered(name, image=picture, *how):
        return apply_kernel(image, convolution.kernel(name), *how)

    for name, measured, expected, source in [
        ("identity leaves the picture", filtered("identity"), picture, "B5 6.2.1"),
        ("sharpened = picture − Laplacian", filtered("sharpen"), picture - filtered("laplace4"), "B5 6.2.1"),
        ("SAME keeps the size", filtered("gauss5").shape, picture.shape, "B5 6.2.1"),
        ("VALID, 3×3: two rows and columns less", filtered("sobel_x", picture, "valid").shape, (height - 2, width - 2, 3), "B5 6.2.1"),
        ("Sobel of a ramp of slope 1", np.unique(filtered("sobel_x", ramp, "valid")), [8], "formula"),
        ("Laplacian of a ramp", np.unique(filtered("laplace8", ramp, "valid")), [0], "formula"),
        ("sums of the kernels", [round(float(convolution.kernel(k).sum()), 6) for k in convolution.KERNELS], (1,) * 5 + (0,) * 4, "formula"),
    ]:
        facts.check(name, measured, expected, source)


def visible(picture: np.ndarray, name: str, padding: str | int = "same", stride: int = 1) -> np.ndarray:
    """A filtered picture as uint8; of edge kernels, whose result has both signs, the absolute value."""
    weights = convolution.kernel(name)
    result = apply_kernel(picture, weights, padding, stride)
    return np.rint(np.clip(abs(result) if abs(weights.sum()) < 0.5 else result, 0, 255)).astype(np.uint8)


def filters_figure(picture):
    figure, axes = figures.new(10, 5.2, 2, 3)
    for cell, name in zip(axes.ravel(), ("identity", "sharpen", "laplace8", "sobel_x", "sobel_y", "gauss5"), strict=True):
        cell.imshow(visible(picture, name))
        cell.set_title(name.replace("_", " "))
        cell.set_axis_off()
    return figure


# ## Use
# A network in words is counted, a picture is filtered: `dlbooks predict layer-lab photo.jpg --set kernel=laplace8 -o edges.png`. With several
# inputs `out` is a folder.
def predict(run, inputs: list[str], out: Path | None = None, *, kernel: str = "sharpen", padding: str | int = "same", stride: int = 1):
    if not inputs:
        raise UserError(f"give a network ({NETWORK!r}) or a picture")
    jobs = []
    for item in inputs:
        network = ";" in item or item.split()[:1] == ["in"]
        jobs += [(item, None)] if network else [(str(file), file) for file in images.files([item])]
    for number, (item, file) in enumerate(jobs, 1):
        target = out
        if out and (len(jobs) > 1 or not out.suffix):
            target = out / (f"{file.stem}.png" if file else f"network{number}.csv")
        if target:
            target.parent.mkdir(parents=True, exist_ok=True)
        if file is None:
            count(item, target)
        else:
            filter_file(file, target, kernel, padding, stride)


def count(line: str, target: Path | None):
    rows = calculate(line)
    table = [list(rows[0]), *([f"{v:,}" if isinstance(v, int) else v for v in row.values()] for row in rows)]
    totals = [sum(row[key] for row in rows) if isinstance(rows[0][key], int) else "" for key in rows[0]]
    table.append(["total", *(f"{v:,}" if v != "" else "" for v in totals[1:])])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        print("  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))).replace("_", " "))
    if target:
        lines = [",".join(map(str, row)) for row in (list(rows[0]), *(row.values() for row in rows))]
        target.write_text("\n".join(lines) + "\n", encoding="utf-8")


def filter_file(file: Path, target: Path | None, kernel: str, padding: str | int, stride: int):
    picture = images.read(file)
    try:
        result = visible(picture, kernel, padding, stride)
    except ValueError as error:
        raise UserError(f"{file}: {error}") from None
    before, after = ("×".join(map(str, p.shape[:2])) for p in (picture, result))
    print(f"{file}: {kernel}, {padding}, stride {stride}: {before} → {after}" + (f", written to {target}" if target else "; -o FILE.png keeps it"))
    if target:
        figures.save(result, target)
