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

import re
from math import erf
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from dlbooks import UserError, figures, images
from dlbooks.catalog import Chapter, Metric
from dlbooks.facts import Facts
from dlbooks.nn.convolution import KERNELS, apply_kernel, conv_connections, conv_out, conv_params, deconv_out, dense_params, kernel, receptive_field, same_pad
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


def evaluate(run) -> dict:
    facts = Facts()
    sizes(facts)
    run.table("shapes.csv", operators(facts))
    lenet = lenet5(facts)
    run.table("lenet5.csv", lenet)
    dense_is_convolution(facts)
    pooling(facts)
    activations(facts)
    dropout(facts)
    losses(facts)
    batch_normalization(facts)
    transposed(facts)
    picture = sample_picture(run)
    filters(facts, picture)
    run.table("facts.csv", facts.rows)

    x, y = digits(run, "test")
    accuracy, inner = {}, {}
    for name, model in build(run.params).items():
        run.load(model, name)
        layers = [model.get_layer(f"pre{n}").output for n in range(1, run.params.depth + 1)]
        *inner[name], logits = keras.Model(model.input, [*layers, model.output])(x, training=False)
        accuracy[name] = float(np.mean(np.argmax(logits, -1) == y))

    run.figure("activations.png", activations_figure(), "Eleven activations and their derivatives: sigmoid and tanh go flat on both sides, the others keep a slope of 1 on the right")
    run.figure("bn_ab.png", bn_figure(run.series, inner), "Loss with and without batch normalization, and the pre-activations of each layer: normalized ones stay where a sigmoid has a slope, plain ones crowd at one value")
    run.figure("checkerboard.png", checkerboard_figure(), "How many inputs reach each output cell of a transposed convolution with stride 2: kernels of 3 and 5 cells leave a checkerboard, 2 and 4 do not")
    run.figure("upsampling.png", upsampling_figure(picture), "A detail enlarged twice in five ways: transposed convolution with 5 cells and pixel shuffle with unequal filters print a pattern on it")
    run.figure("filters.png", filters_figure(picture), "One picture through fixed kernels: sharpening, edges, Sobel gradients, box and Gaussian blur")
    return {
        **facts.metrics(),
        "bn_test_accuracy": accuracy["bn"],
        "plain_test_accuracy": accuracy["plain"],
        "lenet5_params": sum(row["parameters"] for row in lenet),
        "lenet5_connections_c1": lenet[1]["connections"],
        "lenet5_connections_c3": lenet[3]["connections"],
    }


# ## Sizes
# Worked examples of the formulas; the test of this chapter goes through all sizes to 20, kernels to 7, strides to 4, dilations to 3.
def sizes(facts):
    for name, measured, expected, source in [
        ("4 cells, k 3, p 1, s 1", conv_out(4, 3, 1, 1), 4, "B4 1.3"),
        ("4 cells, k 3, p 1, s 2 (2.5 without the floor)", conv_out(4, 3, 2, 1), 2, "B4 1.3"),
        ("1920×1080, k 3, p 1, s 1 keeps its size", (conv_out(1920, 3, 1, 1), conv_out(1080, 3, 1, 1)), (1920, 1080), "B4 1.3"),
        ("32 cells, k 4, s 2, SAME: half, not twice", conv_out(32, 4, 2), 16, "B2 1.2"),
        ("6 cells, k 2, s 1: SAME 6, VALID 5", (conv_out(6, 2), conv_out(6, 2, 1, "valid")), (6, 5), "B5 4.7.3"),
        ("SAME zeros before and after 4 cells, k 2", same_pad(4, 2), (0, 1), "TensorFlow"),
        ("SAME zeros before and after 6 cells, k 3, s 2", same_pad(6, 3, 2), (0, 1), "TensorFlow"),
        ("sizes that k 2, s 2 takes to 3", [n for n in range(1, 12) if conv_out(n, 2, 2) == 3], (5, 6), "B5 4.7.2"),
        ("Keras enlarges 3 cells, k 2, s 2 to", keras.layers.Conv2DTranspose(1, 2, 2, "same").compute_output_shape((1, 3, 3, 1))[1], deconv_out(3, 2, 2), "Keras"),
        ("window 4×4 on 3 channels: 48 weights, 1 bias", conv_params(4, 3, 1), 48 + 1, "B2 1.1"),
        ("RGB to 7 maps, 3×3: weights", conv_params(3, 3, 7, bias=False), 7 * 3 * 3 * 3, "B4 1.3"),
    ]:
        facts.check(name, measured, expected, source)


# Every operator is called once on zeros, for its output shape. Two rows repay a second look: the transposed convolution takes the odd
# size that the book asks for, and fractional pooling divides by 1.44 and 1.73. Crelu doubles the channels, though the book lists it
# among operators that keep the shape.
OPERATORS = [  # operator, input, filter or window, call, shape, source
    ("conv2d s1 SAME", (10, 9, 9, 3), (2, 2, 3, 2), lambda x, f: tf.nn.conv2d(x, f, 1, "SAME"), (10, 9, 9, 2), "B5 4.7.2"),
    ("depthwise_conv2d", (10, 9, 9, 3), (2, 2, 3, 5), lambda x, f: tf.nn.depthwise_conv2d(x, f, [1] * 4, "SAME"), (10, 9, 9, 15), "B5 4.7.2"),
    ("separable_conv2d, pointwise to 20", (10, 9, 9, 3), (2, 2, 3, 5), lambda x, f: tf.nn.separable_conv2d(x, f, tf.zeros((1, 1, 15, 20)), [1] * 4, "SAME"), (10, 9, 9, 20), "B5 4.7.2"),
    ("atrous_conv2d rate 2", (1, 5, 5, 1), (3, 3, 1, 1), lambda x, f: tf.nn.atrous_conv2d(x, f, 2, "SAME"), (1, 5, 5, 1), "B5 4.7.2"),
    ("conv2d_transpose s2 to 5×5", (1, 3, 3, 1), (2, 2, 3, 1), lambda x, f: tf.nn.conv2d_transpose(x, f, (1, 5, 5, 3), 2), (1, 5, 5, 3), "B5 4.7.2"),
    ("conv1d s2 VALID", (4, 10, 3), (3, 3, 8), lambda x, f: tf.nn.conv1d(x, f, 2, "VALID"), (4, 4, 8), "formula"),
    ("conv3d s2 SAME", (2, 7, 8, 9, 3), (3, 3, 3, 3, 4), lambda x, f: tf.nn.conv3d(x, f, [1, 2, 2, 2, 1], "SAME"), (2, 4, 4, 5, 4), "formula"),
    ("conv3d_transpose s2 SAME", (1, 3, 3, 3, 2), (3, 3, 3, 5, 2), lambda x, f: tf.nn.conv3d_transpose(x, f, (1, 6, 6, 6, 5), [1, 2, 2, 2, 1]), (1, 6, 6, 6, 5), "formula"),
    ("conv2d to 10, avg_pool s1 SAME", (10, 6, 6, 3), (2, 2, 3, 10), lambda x, f: tf.nn.avg_pool2d(tf.nn.conv2d(x, f, 1, "SAME"), 2, 1, "SAME"), (10, 6, 6, 10), "B5 4.7.3"),
    ("conv2d to 10, max_pool s1 SAME", (10, 6, 6, 3), (2, 2, 3, 10), lambda x, f: tf.nn.max_pool2d(tf.nn.conv2d(x, f, 1, "SAME"), 2, 1, "SAME"), (10, 6, 6, 10), "B5 4.7.3"),
    ("max_pool1d s2 VALID", (2, 9, 4), (2,), lambda x, _: tf.nn.max_pool1d(x, 2, 2, "VALID"), (2, 4, 4), "formula"),
    ("avg_pool3d s2 SAME", (2, 5, 6, 7, 3), (2, 2, 2), lambda x, _: tf.nn.avg_pool3d(x, 2, 2, "SAME"), (2, 3, 3, 4, 3), "formula"),
    ("max_pool3d s2 VALID", (2, 5, 6, 7, 3), (2, 2, 2), lambda x, _: tf.nn.max_pool3d(x, 2, 2, "VALID"), (2, 2, 3, 3, 3), "formula"),
    ("fractional_max_pool 1.44×1.73", (1, 10, 10, 1), (), lambda x, _: tf.nn.fractional_max_pool(x, [1, 1.44, 1.73, 1], seed=1)[0], (1, 6, 5, 1), "B5 4.7.3"),
    ("crelu", (2, 3), (), lambda x, _: tf.nn.crelu(x), (2, 6), "B5 4.7.1"),
    ("conv2d 5×5×16 SAME, bias, relu", (1, 32, 32, 3), (5, 5, 3, 16), lambda x, f: tf.nn.relu(tf.nn.conv2d(x, f, 1, "SAME") + 0.1), (1, 32, 32, 16), "B3 6"),
    ("max_pool 3×3 s2 SAME", (1, 32, 32, 16), (3, 3), lambda x, _: tf.nn.max_pool2d(x, 3, 2, "SAME"), (1, 16, 16, 16), "B3 6"),
]


def operators(facts) -> list[dict]:
    rows = []
    for name, shape, window, call, expected, source in OPERATORS:
        measured = tuple(call(tf.zeros(shape), tf.zeros(window)).shape)
        facts.check(f"shape of {name}", measured, expected, source)
        by = "×".join
        rows.append({"operator": name, "input": by(map(str, shape)), "window": by(map(str, window)), "expected": by(map(str, expected)), "measured": by(map(str, measured)), "source": source})
    return rows


# ## Counting a network
# `calculate` reads a network in words and counts it layer by layer. A dense layer flattens what it gets, so it is a VALID convolution
# as large as the map; edges to padding cells count as connections; a pooling window connects, but multiplies nothing.
LENET5 = "in 32x32x1; conv 5 6 valid; pool 2; conv 5 16 valid; pool 2; dense 120; dense 84; dense 10"
SIMPLE = "in 28x28x1; conv 3 10 valid; pool 2; conv 3 20 valid; pool 2; dense 128; dense 10"
NUMBERS = {"conv": ["kernel", "filters"], "depthwise": ["kernel"], "pool": ["kernel"], "dense": ["units"]}


def parse(line: str) -> list[tuple[str, list[int], dict]]:
    """``"in 8x8x1; conv 3 4 valid s2"`` → ``[("in", [8, 8, 1], {}), ("conv", [3, 4], {"padding": "valid", "s": 2})]``."""
    layers = []
    for position, part in enumerate(line.strip(" ;").split(";"), 1):
        words = part.split() or [""]
        if (position == 1) != (words[0] == "in"):
            raise UserError(f"layer {position}, word 1: {words[0]!r}; the line starts with 'in HEIGHTxWIDTHxCHANNELS', then come {', '.join(NUMBERS)}")
        if position == 1:
            size = re.fullmatch(r"(\d{1,6})x(\d{1,6})(?:x(\d{1,6}))?", " ".join(words[1:]))
            if not size:
                raise UserError(f"layer 1: {' '.join(words[1:])!r} is no size; write in HEIGHTxWIDTHxCHANNELS, as in 32x32x3")
            layers.append(("in", [int(n or 1) for n in size.groups()], {}))
            continue
        if words[0] not in NUMBERS:
            raise UserError(f"layer {position}, word 1: unknown word {words[0]!r}; allowed are {', '.join(NUMBERS)}")
        names = NUMBERS[words[0]]
        numbers, options = words[1 : 1 + len(names)], {}
        if len(numbers) < len(names) or not all(re.fullmatch(r"\d{1,6}", n) for n in numbers):
            raise UserError(f"layer {position}: {part.strip()!r}; write {words[0]} {' '.join(names).upper()}, whole numbers to 999999")
        for place, word in enumerate(words[1 + len(names) :], 2 + len(names)):
            option = re.fullmatch(r"(same|valid)|([sdp])(\d{1,6})", word)
            if not option or words[0] == "dense":
                allowed = "nothing" if words[0] == "dense" else "same, valid, s<stride>, d<dilation>, p<padding>"
                raise UserError(f"layer {position}, word {place}: unknown word {word!r}; allowed after {words[0]} {' '.join(names).upper()}: {allowed}")
            options |= {"padding": option[1]} if option[1] else {"padding" if option[2] == "p" else option[2]: int(option[3])}
        layers.append((words[0], [int(n) for n in numbers], options))
    return layers


def calculate(line: str) -> list[dict]:
    """Shape, nodes, parameters, connections, receptive field (height × width) and multiplications of every layer of ``line``."""
    rows, seen = [], []
    for position, (kind, numbers, options) in enumerate(parse(line), 1):
        parameters = inputs = 0
        try:
            if min(numbers) < 1:
                raise ValueError("sizes must be at least 1")
            if kind == "in":
                height, width, channels = numbers
            elif kind == "dense":
                seen.append(((height, 1), (width, 1)))
                inputs, parameters = height * width * channels, dense_params(height * width * channels, numbers[0])
                height, width, channels = 1, 1, numbers[0]
            else:
                k, s, d = numbers[0], options.get("s", numbers[0] if kind == "pool" else 1), options.get("d", 1)
                padding = options.get("padding", "valid" if kind == "pool" else "same")
                out = [conv_out(n, k, s, padding, d) for n in (height, width)]
                seen.append(((d * (k - 1) + 1, s),) * 2)
                if kind == "conv":
                    inputs, parameters = k * k * channels, conv_params(k, channels, numbers[1])
                    channels = numbers[1]
                else:
                    inputs, parameters = k * k, conv_params(k, 1, channels) if kind == "depthwise" else 0
                height, width = out
        except ValueError as error:
            raise UserError(f"layer {position}, {kind} {' '.join(map(str, numbers))} on {rows[-1]['output'] if rows else 'nothing'}: {error}") from None
        nodes = height * width * channels
        fields = [receptive_field([layer[axis] for layer in seen])[-1] if seen else 1 for axis in (0, 1)]
        rows.append(
            {
                "layer": kind,
                "output": f"{height}×{width}×{channels}",
                "nodes": nodes,
                "parameters": parameters,
                "connections": nodes * (inputs + (parameters > 0)),
                "receptive_field": f"{fields[0]}×{fields[1]}",
                "multiplications": nodes * inputs * (kind != "pool"),
            }
        )
    return rows


def lenet5(facts) -> list[dict]:
    rows = calculate(LENET5)
    weighted = [row["parameters"] for row in rows if row["parameters"]]
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((32, 32, 1)), layers.Conv2D(6, 5), layers.MaxPool2D(2), layers.Conv2D(16, 5), layers.MaxPool2D(2), layers.Flatten()]
        + [layers.Dense(n) for n in (120, 84, 10)]
    )
    simple = calculate(SIMPLE)
    for name, measured, expected, source in [
        ("LeNet-5 parameters by layer", weighted, (156, 2416, 48120, 10164, 850), "B3 6"),
        ("LeNet-5 parameters by layer, Keras", [n for n in (layer.count_params() for layer in model.layers) if n], weighted, "Keras"),
        ("LeNet-5 parameters", sum(weighted), 61706, "B3 6"),
        ("LeNet-5 nodes of C1", rows[1]["nodes"], 4704, "B3 6"),
        ("LeNet-5 connections of C1", rows[1]["connections"], 122304, "B3 6"),
        ("LeNet-5 connections of C3", rows[3]["connections"], conv_connections(5, 6, 16, 10), "formula"),
        ("LeNet-5 connections of C3, printed", rows[3]["connections"], 241600, "B3 6"),
        ("LeNet-5 receptive fields", [int(row["receptive_field"].split("×")[0]) for row in rows[1:6]], (5, 6, 14, 16, 32), "B3 6"),
        ("SimpleConvNet sizes", [int(row["output"].split("×")[0]) for row in simple[:5]], (28, 26, 13, 11, 5), "B4 3.1.3"),
        ("SimpleConvNet flattened (512 printed)", simple[4]["nodes"], 500, "B4 3.1.3"),
        ("SimpleConvNet parameters by layer", [r["parameters"] for r in simple if r["parameters"]], (100, 1820, 64128, 1290), "B4 3.1.3"),
        ("SimpleConvNet parameters", sum(r["parameters"] for r in simple), 67338, "B4 3.1.3"),
    ]:
        facts.check(name, measured, expected, source)
    return rows


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
        facts.check(f"argmax pool, picture 2, batch {'in' if with_batch else 'not in'} the index", tf.reshape(indices[1], -1), first + np.array([5, 7, 13, 15]), "B5 4.7.3")
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


# ## Transposed convolution and the checkerboard
# The transposed convolution is the gradient of the convolution: each input cell stamps the kernel onto the output, $s$ cells apart. If $s$ does
# not divide $k$, stamps overlap unevenly: with $c$ the relative spread of the counts along one axis, $\sqrt{(1+c^2)^2-1}$ in two,
# which is 0.484 for $k = 3$ (counts 1, 2) and 0.286 for $k = 5$ (2, 3) at stride 2. On the 13 or 15 cells that
# six inputs give, $k$ cut off at each border, the spread is 0.504 and 0.292. Enlarging by repetition and *then* convolving has no such pattern; pixel
# shuffle has none if its four filters agree, which training does not promise.
def stamp(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Transposed convolution with stride 2 of a picture ``[h, w]``, VALID."""
    size = [deconv_out(n, len(weights), 2, "valid") for n in x.shape]
    return tf.nn.conv2d_transpose(x[None, ..., None].astype(np.float32), weights[..., None, None].astype(np.float32), (1, *size, 1), 2, "VALID")[0, ..., 0].numpy()


def repeat(x: np.ndarray) -> np.ndarray:
    return x.repeat(2, 0).repeat(2, 1)


def shuffle(x: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """Four filters, one for each cell of a 2×2 block of the output."""
    maps = np.stack([apply_kernel(x, w) for w in weights], -1)
    return tf.nn.depth_to_space(maps[None], 2)[0, ..., 0].numpy()


def spread(x: np.ndarray) -> float:
    return float(x.std() / x.mean())


def transposed(facts):
    ones = np.ones((6, 6))
    for k, counts, cut, period in ((2, (1,), 0, 0), (3, (1, 2, 4), 0.504, 0.484), (4, (4,), 0, 0), (5, (4, 6, 9), 0.292, 0.286)):
        inner = stamp(ones, np.ones((k, k)))[k:-k, k:-k]
        facts.check(f"k {k}, s 2: overlap counts", np.unique(inner), counts, "B2 1.2")
        facts.check(f"k {k}, s 2: relative spread", spread(inner), cut, "B2 1.2", 5e-4)
        facts.check(f"k {k}, s 2: relative spread over whole periods", spread(inner[:4, :4]), period, "formula", 5e-4)
    inner = apply_kernel(repeat(ones), np.ones((3, 3)))[2:-2, 2:-2]
    facts.check("repetition, then 3×3: spread", spread(inner), 0, "B2 1.2")
    facts.check("pixel shuffle, equal filters: spread", spread(shuffle(ones, [kernel("box3")] * 4)[2:-2, 2:-2]), 0, "B2 1.2", 1e-6)
    unequal = shuffle(ones, [n * kernel("identity") for n in (1, 2, 3, 4)])
    facts.check("pixel shuffle, filters 1 2 3 4: a block", unequal[2:4, 2:4], [[1, 2], [3, 4]], "B2 1.2")
    weights, small = uniform(3, 3), uniform(5, 5)
    back = gradient(lambda x: tf.reduce_sum(tf.nn.conv2d(x, weights[..., None, None], 2, "VALID") * small[None, ..., None]), np.zeros((1, 11, 11, 1)))
    facts.check("transposed convolution = gradient of convolution", stamp(small, weights), back[0, ..., 0], "formula", 1e-5)


# ## Fixed kernels
# Deep learning's convolution does not mirror the kernel. Smoothing kernels sum to 1 and keep a flat picture; edge kernels sum to 0 and turn
# it black; sharpening is the picture minus its Laplacian.
def sample_picture(run) -> np.ndarray:
    pictures = run.records("sample-pictures").arrays("train")
    chosen = [name.decode() for name in pictures["image/filename"]].index("china.jpg")
    return tf.io.decode_jpeg(pictures["image"][chosen], channels=3, dct_method="INTEGER_ACCURATE").numpy()


def filters(facts, picture):
    height, width, _ = picture.shape
    facts.check("identity leaves the picture", apply_kernel(picture, kernel("identity")), picture, "B5 6.2.1")
    facts.check("sharpened = picture − Laplacian", apply_kernel(picture, kernel("sharpen")), picture - apply_kernel(picture, kernel("laplace4")), "B5 6.2.1")
    facts.check("SAME keeps the size", apply_kernel(picture, kernel("gauss5")).shape, picture.shape, "B5 6.2.1")
    facts.check("VALID, 3×3: two rows and columns less", apply_kernel(picture, kernel("sobel_x"), "valid").shape, (height - 2, width - 2, 3), "B5 6.2.1")
    facts.check("VALID, 5×5, stride 2", apply_kernel(picture, kernel("gauss5"), "valid", 2).shape, (-(-(height - 4) // 2), -(-(width - 4) // 2), 3), "B5 6.2.1")
    ramp = np.tile(np.arange(9.0), (9, 1))
    facts.check("Sobel of a ramp of slope 1", np.unique(apply_kernel(ramp, kernel("sobel_x"), "valid")), [8], "formula")
    facts.check("Laplacians of a ramp", [np.ptp(apply_kernel(ramp, kernel(f"laplace{n}"), "valid")) for n in (4, 8)], (0, 0), "formula")
    facts.check("kernel sums", [round(float(kernel(name).sum()), 6) for name in KERNELS], (1,) * 5 + (0,) * 4, "formula")


def visible(result: np.ndarray, name: str) -> np.ndarray:
    """A filtered picture as uint8; edge kernels by their absolute value."""
    return np.rint(np.clip(abs(result) if abs(kernel(name).sum()) < 0.5 else result, 0, 255)).astype(np.uint8)


# ## Figures
def activations_figure():
    x = np.linspace(-7, 7, 281)
    figure, axes = figures.new(9, 6, 3, 4, sharex=True)
    for cell, (name, (_, value, derivative)) in zip(axes.ravel(), ACTIVATIONS.items(), strict=False):
        for order, line in enumerate(np.atleast_2d(value(x))):
            cell.plot(x, line, color=figures.COLORS[0], linestyle=("-", ":")[order], label="f")
        for order, line in enumerate(np.atleast_2d(derivative(x))):
            cell.plot(x, line, color=figures.COLORS[1], linestyle=("-", ":")[order], label="f ′")
        cell.set(title=name, ylim=(-1.4, 3))
    axes[0, 0].legend(frameon=False)
    axes.ravel()[-1].set_axis_off()
    return figure


def bn_figure(series, inner):
    figure, (left, *others) = figures.new(10, 3.4, 1, 3)
    for name, color, label in (("plain", figures.COLORS[1], "plain"), ("bn", figures.COLORS[0], "batch normalization")):
        left.plot(*zip(*series[f"{name}_loss"], strict=True), color=color, label=label)
    left.axhline(np.log(10), color=figures.INK, linestyle="--", linewidth=1, label="chance, ln 10")
    left.set(title="Training loss", xlabel="step", ylim=(0, None))
    left.legend(frameon=False)
    for cell, name, title in zip(others, ("plain", "bn"), ("Pre-activations, plain", "Pre-activations, batch normalization"), strict=True):
        for number, values in enumerate(inner[name]):
            counts, edges = np.histogram(values, 60, (-6, 6))
            cell.stairs(counts / counts.sum(), edges, label=f"layer {number + 1}", linewidth=1.5)
        cell.set(title=title, xlabel="input of the sigmoid", ylabel="share of values")
        cell.legend(frameon=False)
    return figure


def checkerboard_figure():
    figure, axes = figures.new(10, 3, 1, 4)
    for cell, k in zip(axes, (2, 3, 4, 5), strict=True):
        counts = stamp(np.ones((6, 6)), np.ones((k, k)))
        cell.imshow(counts, cmap="Blues", vmin=0, vmax=9)
        for (row, column), count in np.ndenumerate(counts):
            cell.text(column, row, f"{count:.0f}", ha="center", va="center", fontsize=6, color="white" if count > 4 else figures.INK)
        cell.set(title=f"kernel {k}, stride 2: spread {spread(counts[k:-k, k:-k]):.3f}", xticks=[], yticks=[])
        cell.grid(False)
    return figure


def upsampling_figure(picture):
    detail = apply_kernel(picture.mean(-1), kernel("gauss5"), "same", 3)[20:52, 30:70]
    flat = np.full((8, 10), 128.0)
    sub = [kernel("gauss3") * gain for gain in (1.15, 0.95, 0.85, 1.05)]
    ways = {
        "transposed, k 5": lambda x: stamp(x, np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1]) / 20.25)[1:-2, 1:-2],
        "transposed, k 4": lambda x: stamp(x, np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16)[1:-1, 1:-1],
        "repeat, then 3×3": lambda x: apply_kernel(repeat(x), kernel("gauss3")),
        "pixel shuffle": lambda x: shuffle(x, sub),
        "bilinear": lambda x: tf.image.resize(x[..., None], np.multiply(2, x.shape))[..., 0].numpy(),
    }
    figure, axes = figures.new(10, 4, 2, 5)
    for column, (name, enlarge) in enumerate(ways.items()):
        for row, source in enumerate((detail, flat)):
            axes[row, column].imshow(enlarge(source), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes[row, column].set_axis_off()
        axes[0, column].set_title(name)
        axes[1, column].set_title(f"flat gray: spread {spread(enlarge(flat)[4:-4, 4:-4]):.3f}", fontsize=8)
    return figure


def filters_figure(picture):
    figure, axes = figures.new(10, 5, 2, 3)
    for cell, name in zip(axes.ravel(), ("identity", "sharpen", "laplace8", "sobel_x", "sobel_y", "gauss5"), strict=True):
        cell.imshow(visible(apply_kernel(picture, kernel(name)), name))
        cell.set_title(name.replace("_", " "))
        cell.set_axis_off()
    return figure


# ## Use
# A network in words is counted; a picture is filtered with `--set kernel=sharpen` (and `padding=valid`, `stride=2`).
def predict(run, inputs: list[str], out: Path | None = None, *, kernel: str = "sharpen", padding: str = "same", stride: int = 1):
    pass
