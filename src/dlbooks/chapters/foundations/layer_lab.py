r"""# Layers, shapes and losses by hand

A layer is a few lines of arithmetic. This lab writes each of them down, computes it, and compares the result with TensorFlow, with Keras
and with the numbers that the books print. Every comparison is a *fact*; the result of the lab is that none of them fails.

**Sizes.** A window of $k$ cells, dilated by $d$, spans $k' = d(k-1)+1$ cells. Sliding it over $n$ cells in steps of $s$ gives

$$\text{SAME: } \Bigl\lceil \frac ns \Bigr\rceil, \qquad \text{VALID: } \Bigl\lceil \frac{n-k'+1}{s} \Bigr\rceil, \qquad
\text{zeros } p \text{ on each side: } \Bigl\lfloor \frac{n+2p-k'}{s} \Bigr\rfloor + 1,$$

and backwards, for the transposed convolution, $ns$ (SAME) or $(n-1)s + \max(k, s)$ (VALID). A strided convolution forgets: with stride 2, 5
and 6 cells both become 3, so 3 may legally be enlarged to 5, as the book does, or to 6, as Keras does.

**Parameters and connections.** A convolution owns $k^2 c_{in} c_{out} + c_{out}$ numbers however large the picture is, and uses each of them
once at every output position. LeNet-5's first layer has 156 parameters and $156 \cdot 28^2 = 122\,304$ connections. One output sees a
receptive field of $r$ input cells: $r \leftarrow r + (k-1)j$, $j \leftarrow js$ from layer to layer.

**Activations.** $\sigma(x) = 1/(1+e^{-x})$ has the derivative $\sigma(1-\sigma)$: at most ¼, and below $5\cdot10^{-5}$ at $x = \pm10$. A deep
stack of sigmoids multiplies such factors, which is why it learns nothing in the experiment below.

**Losses** are computed from logits $l$, because $\exp$ and $\log$ one after the other overflow, and together do not. With labels $z$:

$$\max(l, 0) - lz + \log(1+e^{-|l|}) \quad\text{(sigmoid)}, \qquad
-\sum_i z_i \bigl(l_i - \log \textstyle\sum_j e^{l_j}\bigr) \quad\text{(softmax)}.$$

**Batch normalization** replaces each pre-activation $x$ by $\gamma\,(x-\mu)/\sqrt{\sigma^2+\varepsilon} + \beta$, with mean and variance of the
batch while training. For use it keeps moving averages $m \leftarrow 0.9\,m + 0.1\,\mu$, and likewise of $\sigma^2$. The experiment trains four
layers of 64 sigmoids with and without it: same initial weights, same order of digits, same rate.

**What the books say, and what holds.** B4 1.3 leaves out the floor: a 3×3 kernel with $p = 1$, $s = 2$ on 4 cells would give 2½. B5 4.7.3
prints the VALID formula beside a SAME example. In B2 1.2 stride 2 doubles the size: it halves it. B5 4.7.1 suppresses a unit with
probability `keep_prob`: that is the probability of keeping it. B5 4.6 has no averages for inference. B4 3.1.3 flattens to 512
values where there are 500, so its listing crashes, and puts a ReLU on the logits, which stops the gradient of every logit below
zero. B4 1.2.3 prints a plus between a matrix and its vector. B1 1.2.1 takes the logarithm of a softmax: infinite as soon as a
probability rounds to 0.

On 2,000 real digits, batch normalization reaches 0.87 in five passes; the plain stack stays at chance. `dlbooks run layer-lab` takes a few
seconds; then let it count a network of your own: `dlbooks predict layer-lab "in 32x32x3; conv 3 16 s2; pool 2; dense 10"`.
"""

from math import erf
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from dlbooks import UserError, figures, images
from dlbooks.catalog import Chapter, Metric
from dlbooks.chapters.foundations._layer_pictures import (
    checkerboard_figure,
    filtered,
    filters,
    filters_figure,
    upsampling,
    upsampling_figure,
    visible,
)
from dlbooks.chapters.foundations._layer_sizes import NETWORK, as_text, calculate, lenet5, operators, sizes
from dlbooks.facts import Facts
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
    exports=False,
    picture="bn_ab.png",
    example='dlbooks predict layer-lab "in 32x32x1; conv 5 6 valid; pool 2; conv 5 16 valid; pool 2; dense 120; dense 84; dense 10"',
)


class Params(ChapterParams):
    digits: int = Field(2000, ge=100, le=60_000)
    """training digits of the experiment; all of them where the data set has fewer"""
    epochs: int = Field(5, ge=1, le=100)
    """passes over the digits"""
    batch: int = Field(50, ge=2, le=100)
    """digits per step; batch normalization needs at least two"""
    learning_rate: float = Field(0.1, gt=0, le=10)
    """step size of plain gradient descent, for both networks"""
    depth: int = Field(4, ge=1, le=20)
    """hidden layers"""
    width: int = Field(64, ge=1, le=4096)
    """units per hidden layer"""


# ## Experiment: with and without batch normalization
# 784 pixels, layers of sigmoids, ten logits. The normalized network needs no bias: the shift $\beta$ takes its place. Layers called
# `pre1`, `pre2`, … give the pre-activations, which the histograms show.
def build(params: Params) -> dict[str, keras.Model]:
    def dense(units: int, number: int, **options):
        return keras.layers.Dense(units, kernel_initializer=keras.initializers.GlorotUniform(seed=params.seed + 1000 * number), **options)

    def network(normalized: bool) -> keras.Model:
        x = pixels = keras.Input((784,), name="pixels")
        for number in range(1, params.depth + 1):
            if normalized:
                x = dense(params.width, number, use_bias=False, name=f"dense{number}")(x)
                x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=f"pre{number}")(x)
            else:
                x = dense(params.width, number, name=f"pre{number}")(x)
            x = keras.layers.Activation("sigmoid")(x)
        return keras.Model(pixels, dense(10, 0, name="logits")(x))

    return {"plain": network(False), "bn": network(True)}


EVERY = 10  # steps between two logged losses


def digits(run, split: str) -> tuple[np.ndarray, np.ndarray]:
    data = run.records("mnist").arrays(split)
    return data["image"].reshape(-1, 784).astype(np.float32) / 255, data["label"]


def sample_picture(run) -> np.ndarray:
    pictures = run.records("sample-pictures").arrays("train")
    chosen = pictures["image/filename"].tolist().index(b"china.jpg")
    return tf.io.decode_jpeg(pictures["image"][chosen], channels=3, dct_method="INTEGER_ACCURATE").numpy()


def train(run):
    p = run.params
    x, y = (tf.constant(a[: p.digits]) for a in digits(run, "train"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=None)
    steps = len(x) // p.batch
    for name, model in build(p).items():
        optimizer = keras.optimizers.SGD(p.learning_rate)
        steps_of = compiled_epoch(model, optimizer, loss)
        for epoch in run.epochs(p.epochs, name, model=model, optimizer=optimizer):
            order = run.random("order", epoch).permutation(len(x))[: steps * p.batch]
            for first in range(0, steps, EVERY):
                part = order[first * p.batch : (first + EVERY) * p.batch]
                run.log(epoch * steps + first + len(part) // p.batch, **{f"{name}_loss": steps_of(x, y, part, p.batch)})
        run.save(model, name)


# ## Evaluation
# Formulas and counting stand in `_layer_sizes.py`, fixed kernels and ways of enlarging in `_layer_pictures.py`, all other sections below.
def evaluate(run) -> dict:
    facts, picture = Facts(), sample_picture(run)
    sizes(facts)
    shapes, lenet = operators(facts), lenet5(facts)
    for section in (dense_is_convolution, pooling, activations, dropout, losses, batch_normalization, upsampling):
        section(facts)
    filters(facts, picture)
    for name, rows in (("shapes.csv", shapes), ("lenet5.csv", lenet), ("facts.csv", facts.rows)):
        run.table(name, rows)

    x, y = digits(run, "test")
    accuracy, inner = {}, {}
    for name, model in build(run.params).items():
        run.load(model, name)
        layers = [model.get_layer(f"pre{number}").output for number in range(1, run.params.depth + 1)]
        *inner[name], logits = keras.Model(model.input, [*layers, model.output])(x, training=False)
        accuracy[name] = float(np.mean(np.argmax(logits, -1) == y))

    run.figure("activations.png", activations_figure(), "Eleven activations and their derivatives: sigmoid and tanh go flat on both sides")
    run.figure("bn_ab.png", bn_figure(run.series, inner), BN_CAPTION)
    run.figure("checkerboard.png", checkerboard_figure(), "Stamps on each output cell of a transposed convolution: uneven for kernels of 3 and 5")
    digit = upsampling_figure(x[0].reshape(28, 28))
    run.figure("upsampling.png", digit, "A digit enlarged in five ways: kernels of 5 and unequal shuffled filters print a pattern on it")
    run.figure("filters.png", filters_figure(picture), "One picture as it is, sharpened, its edges, its gradients in both directions, blurred")
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
        facts.check(f"2×2 picture: {outputs}×4 matrix = {outputs} kernels", weights @ picture.ravel(), folded[0, 0, 0], "B4 1.2.3", 1e-6)
    batch, weights = uniform(2, 7, 8, 3), uniform(3, 3, 3, 4)
    columns = tf.image.extract_patches(batch, [1, 3, 3, 1], [1] * 4, [1] * 4, "VALID")
    facts.check("im2col of 2×7×8×3, 3×3 VALID: shape", tuple(columns.shape), (2, 5, 6, 27), "B5 19.1")
    facts.check("im2col × kernel = conv2d", columns @ weights.reshape(27, 4), tf.nn.conv2d(batch, weights, 1, "VALID"), "B5 19.1", 1e-5)


# ## Pooling
# The maximum of a window does not notice when a smaller value moves. `max_pool_with_argmax` numbers the cells
# $((b H + y) W + x)\,C + c$ as the book says, but only with `include_batch_in_index=True`.
def pooling(facts):
    def pooled(pool, window):
        return pool(np.float32(window)[None, ..., None], 2, 2, "VALID")[0, 0, 0, 0]

    window, changed = np.array([[[0.1, 0.3], [0.2, 0.8]], [[0.5, 0.3], [0.2, 0.8]]])
    facts.check("max pool of a 2×2 window", pooled(tf.nn.max_pool2d, window), 0.8, "B4 1.3", 1e-7)
    facts.check("max pool after 0.1 → 0.5", pooled(tf.nn.max_pool2d, changed), 0.8, "B4 1.3", 1e-7)
    facts.check("min pool = −max(−x)", -pooled(tf.nn.max_pool2d, -window), 0.1, "B4 1.3", 1e-7)
    facts.check("average pool", pooled(tf.nn.avg_pool2d, window), 0.35, "B4 1.3", 1e-7)
    counted = tf.reshape(tf.range(32.0) % 16, (2, 4, 4, 1))
    values, indices = tf.nn.max_pool_with_argmax(counted, 2, 2, "VALID", include_batch_in_index=True)
    facts.check("argmax pool of 0 … 15: values", tf.reshape(values[0], -1), (5, 7, 13, 15), "B5 4.7.3")
    facts.check("argmax pool of 0 … 15: indices", tf.reshape(indices[0], -1), (5, 7, 13, 15), "B5 4.7.3")
    facts.check("argmax pool, second picture", tf.reshape(indices[1], -1), (21, 23, 29, 31), "B5 4.7.3")
    default = tf.nn.max_pool_with_argmax(counted, 2, 2, "VALID").argmax[1]
    facts.check("argmax pool, second picture, default index", tf.reshape(default, -1), (5, 7, 13, 15), "formula")


# ## Activations
# Each with its value and derivative as formulas; TensorFlow's values and the gradients of its tape must agree.
def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normal_cdf(x):
    return (1 + np.vectorize(erf)(x / np.sqrt(2))) / 2


ACTIVATIONS = {  # operator, value, derivative; crelu has two channels
    "sigmoid": (tf.sigmoid, sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x))),
    "tanh": (tf.tanh, np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "softsign": (tf.nn.softsign, lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2),
    "relu": (tf.nn.relu, lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0)),
    "relu6": (tf.nn.relu6, lambda x: np.clip(x, 0, 6), lambda x: 1.0 * (x > 0) * (x < 6)),
    "leaky relu": (lambda x: tf.nn.leaky_relu(x, 0.01), lambda x: np.where(x > 0, x, 0.01 * x), lambda x: np.where(x > 0, 1, 0.01)),
    "crelu": (tf.nn.crelu, lambda x: np.maximum([x, -x], 0), lambda x: np.array([1.0 * (x > 0), -1.0 * (x < 0)])),
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
        facts.check(f"{name}(x)", operator(tf.constant(x, tf.float32)), np.ravel(value(x)), "formula", 2e-6)
        facts.check(f"{name}'(x)", gradient(operator, x), np.atleast_2d(derivative(x)).sum(0), "formula", 2e-6)
    facts.check("relu6 of −1, 3, 9", tf.nn.relu6([-1.0, 3.0, 9.0]), (0, 3, 6), "B5 4.7.1")
    facts.check("relu of −1, 2", tf.nn.relu([-1.0, 2.0]), (0, 2), "B5 4.7.1")
    facts.check("σ'(0)", gradient(tf.sigmoid, 0), 0.25, "B5 4.7.1", 1e-7)
    facts.check("tanh'(0)", gradient(tf.tanh, 0), 1, "B5 4.7.1", 1e-7)
    facts.check("σ' at ±10, below 5e-5", gradient(tf.sigmoid, [-10, 10]), (0, 0), "B5 4.7.1", 5e-5)
    facts.check("elu(−∞)", tf.nn.elu(-np.inf), -1, "B2 1.1")


def activations_figure():
    x = np.linspace(-7, 7, 281)
    figure, axes = figures.new(9, 5.4, 3, 4, sharex=True, sharey=True)
    for cell, (name, (_, value, derivative)) in zip(axes.ravel(), ACTIVATIONS.items(), strict=False):
        for function, color, label in ((value, figures.COLORS[0], "f"), (derivative, figures.COLORS[1], "f ′")):
            for line, style in zip(np.atleast_2d(function(x)), "-:", strict=False):
                cell.plot(x, line, style, color=color, label=label)
        cell.set(title=name, ylim=(-1.3, 3))
    axes[0, 0].legend(frameon=False)
    axes.ravel()[-1].set_axis_off()
    return figure


# ## Dropout
# A kept value is divided by the probability of keeping it, so the mean stays and nothing has to be rescaled in use. `noise_shape` says which
# values share one throw of the coin: `[k, 1, 1, c]` drops whole feature maps.
def dropout(facts):
    def drop(x, keep, *noise_shape):
        return tf.nn.experimental.stateless_dropout(x, rate=1 - keep, seed=(0, 1), noise_shape=noise_shape).numpy()

    row = np.float32([-1, 2, 3, 4])
    rows = np.tile(row, (10_000, 1))
    each, whole = drop(rows, 0.5, 10_000, 4), drop(rows, 0.5, 10_000, 1)
    facts.check("keep 0.5: factors seen", np.unique(abs(each / row)), (0, 2), "B5 4.7.1")
    facts.check("keep 0.5: mean of 10,000 draws over the input", each.mean(0) / row, np.ones(4), "B5 4.7.1", 0.03)
    facts.check("noise shape [1, 4]: different masks seen", len(np.unique(each != 0, axis=0)), 2**4, "B5 4.7.1")
    facts.check("noise shape [1, 1]: values kept", np.unique((whole != 0).sum(1)), (0, 4), "B5 4.7.1")
    facts.check("keep 0.8: share suppressed", np.mean(drop(rows, 0.8, 10_000, 4) == 0), 0.2, "B5 4.7.1", 0.01)
    maps = {"noise shape [k, 1, 1, c]": drop(np.ones((8, 5, 5, 6), np.float32), 0.5, 8, 1, 1, 6)}
    maps["SpatialDropout2D"] = keras.layers.SpatialDropout2D(0.5, seed=1)(tf.ones((8, 5, 5, 6)), training=True).numpy()
    for name, values in maps.items():
        facts.check(f"{name}: cells kept of a map's 25", np.unique((values != 0).sum((1, 2))), (0, 25), "B5 4.7.1")


# ## Losses
def losses(facts):
    labels, logits = np.array([0, 3, 1, 2, 2, 0]), 5 * uniform(6, 4)
    z, wide = np.eye(4, dtype=np.float32)[labels], logits.astype(np.float64)
    binary = np.maximum(wide, 0) - wide * z + np.log1p(np.exp(-abs(wide)))
    log_softmax = wide - np.log(np.exp(wide).sum(1, keepdims=True))
    dense = tf.nn.softmax_cross_entropy_with_logits(z, logits)
    facts.check("sigmoid cross-entropy", tf.nn.sigmoid_cross_entropy_with_logits(z, logits), binary, "B5 4.7.4", 1e-5)
    facts.check("log softmax", tf.nn.log_softmax(logits), log_softmax, "B5 4.7.4", 1e-5)
    facts.check("softmax cross-entropy", dense, -(z * log_softmax).sum(1), "B5 4.7.4", 1e-5)
    facts.check("sparse = dense on one-hot labels", tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits), dense, "B5 4.7.4")
    huge = tf.constant([[1e4, 0.0]])
    printed = -tf.math.log(tf.nn.softmax(huge))[0]
    facts.check("logits 10⁴, 0: loss if the second is true", tf.nn.softmax_cross_entropy_with_logits([[0.0, 1.0]], huge)[0], 1e4, "formula")
    facts.check("logits 10⁴, 0: −log(softmax), as printed", str(float(printed[1])), "inf", "B1 1.2.1")
    facts.check("logits 10⁴, 0: −Σ z log(softmax) if the first is true", str(float(tf.reduce_sum([1.0, 0.0] * printed))), "nan", "B1 1.2.1")
    stopped = gradient(lambda x: tf.nn.sparse_softmax_cross_entropy_with_logits([0], tf.nn.relu(x)), [[-1.0, 2.0]])
    facts.check("ReLU on logits −1, 2: gradient of the first, which is true", stopped[0, 0], 0, "B4 3.1.3")


# ## Batch normalization by hand
# Over the batch axis for a dense layer, over batch, rows and columns for a picture: one mean per channel. The variance is the biased one,
# divided by $n$, in the output and in the moving average. The output's own variance is $\sigma^2/(\sigma^2+\varepsilon)$, just below 1.
def batch_normalization(facts):
    for name, x in (("50×4", 3 * uniform(50, 4) + 2), ("8×5×5×3", 3 * uniform(8, 5, 5, 3) + 2)):
        axes = tuple(range(x.ndim - 1))
        mean, variance = x.mean(axes), x.var(axes)
        layer = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3)
        y = layer(x, training=True).numpy()
        facts.check(f"batch norm of {name}", y, (x - mean) / np.sqrt(variance + 1e-3), "B5 4.6", 1e-6)
        facts.check(f"batch norm of {name}: mean", y.mean(axes), np.zeros(len(mean)), "formula", 1e-5)
        facts.check(f"batch norm of {name}: variance", y.var(axes), variance / (variance + 1e-3), "formula", 1e-5)
        moved_mean, moved_variance = 0.9 * 0 + 0.1 * mean, 0.9 * 1 + 0.1 * variance  # the averages start at 0 and 1
        facts.check(f"batch norm of {name}: moving mean", layer.moving_mean, moved_mean, "formula", 1e-6)
        facts.check(f"batch norm of {name}: moving variance", layer.moving_variance, moved_variance, "formula", 1e-6)
        in_use = (x - moved_mean) / np.sqrt(moved_variance + 1e-3)
        facts.check(f"batch norm of {name}, in use", layer(x, training=False), in_use, "formula", 1e-5)
    facts.check("Keras's own momentum", keras.layers.BatchNormalization().momentum, 0.99, "formula")


BN_CAPTION = (
    "Loss with and without batch normalization, and how far pre-activations vary from digit to digit: in the plain stack less with every layer"
)


def bn_figure(series, inner):
    figure, (left, *others) = figures.new(10, 3.4, 1, 3)
    for name, color, label in (("plain", figures.COLORS[1], "plain"), ("bn", figures.COLORS[0], "batch normalization")):
        left.plot(*zip(*series[f"{name}_loss"], strict=True), color=color, label=label)
    left.axhline(np.log(10), color=figures.INK, linestyle="--", linewidth=1, label="chance, ln 10")
    left.set(title="Training loss", xlabel="step", ylim=(0, None))
    left.legend(frameon=False)
    for cell, (name, title) in zip(others, {"plain": "plain", "bn": "batch normalization"}.items(), strict=True):
        for number, values in enumerate(inner[name], 1):
            counts, edges = np.histogram(values - np.mean(values, 0), 81, (-4, 4))
            cell.stairs(counts / counts.sum(), edges, label=f"layer {number}", linewidth=1.4)
        cell.set_axisbelow(True)
        cell.set(title=f"Pre-activations, {title}", xlabel="distance from the unit's mean", ylabel="share", yscale="log", ylim=(1e-4, 1.5))
        cell.legend(frameon=False)
    return figure


# ## Use
# A network in words is counted, a picture is filtered: `dlbooks predict layer-lab photo.jpg --set kernel=laplace8 -o edges.png`. With several
# inputs, `-o` names a folder.
def predict(run, inputs: list[str], out: Path | None = None, *, kernel: str = "sharpen", padding: str | int = "same", stride: int = 1):
    jobs = []
    for item in inputs:
        is_network = ";" in item or item.split()[:1] == ["in"]
        jobs += [(item, None)] if is_network else [(str(file), file) for file in images.files([item])]
    if not jobs:
        raise UserError(f"give a picture or a network, such as {NETWORK!r}")
    if out and out.suffix and len(jobs) > 1:
        raise UserError(f"{out}: name a folder for {len(jobs)} results")
    for number, (item, file) in enumerate(jobs, 1):
        name = f"{file.stem}.png" if file else f"network{number}.csv"
        target = out / name if out and not out.suffix else out
        if file:
            print(filter_file(file, target, kernel, padding, stride))
        else:
            rows = calculate(item)
            print(as_text(rows))
            if target:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text("\n".join(",".join(map(str, row)) for row in [list(rows[0]), *(r.values() for r in rows)]) + "\n", encoding="utf-8")


def filter_file(file: Path, target: Path | None, kernel: str, padding: str | int, stride: int) -> str:
    picture = images.read(file)
    try:
        result = visible(filtered(picture, kernel, padding, stride), kernel)
    except ValueError as error:
        raise UserError(f"{file}: {error}") from None
    if target:
        if target.suffix.lower() != ".png":
            raise UserError(f"{target}: filtered pictures are PNG files, name one that ends in .png")
        target.parent.mkdir(parents=True, exist_ok=True)
        figures.save(result, target)
    before, after = ("×".join(map(str, p.shape[:2])) for p in (picture, result))
    return f"{file}: {kernel}, {padding}, stride {stride}: {before} → {after}, {f'written to {target}' if target else 'not kept (-o FILE.png)'}"
