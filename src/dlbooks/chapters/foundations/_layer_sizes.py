"""Layer lab, sizes: formulas, the shapes that operators return, a calculator that counts a network."""

import re

import keras
import tensorflow as tf

from dlbooks import UserError
from dlbooks.nn.convolution import conv_out, conv_params, deconv_out, dense_params, receptive_field, same_pad


# ## Sizes
# Worked examples of the formulas. The chapter's tests go through all sizes to 20, kernels to 7, strides to 4 and dilations to 3.
def sizes(facts):
    keras_size = keras.layers.Conv2DTranspose(1, 2, 2, "same").compute_output_shape((1, 3, 3, 1))[1]
    for name, measured, expected, source in [
        ("4 cells, k 3, p 1, s 1", conv_out(4, 3, 1, 1), 4, "B4 1.3"),
        ("4 cells, k 3, p 1, s 2 (2.5 without the floor)", conv_out(4, 3, 2, 1), 2, "B4 1.3"),
        ("1920×1080, k 3, p 1, s 1 keeps its size", (conv_out(1920, 3, 1, 1), conv_out(1080, 3, 1, 1)), (1920, 1080), "B4 1.3"),
        ("32 cells, k 4, s 2, SAME: half, not twice", conv_out(32, 4, 2), 16, "B2 1.2"),
        ("6 cells, k 2, s 1: SAME 6, VALID 5", (conv_out(6, 2), conv_out(6, 2, 1, "valid")), (6, 5), "B5 4.7.3"),
        ("SAME zeros before and after 4 cells, k 2", same_pad(4, 2), (0, 1), "formula"),
        ("SAME zeros before and after 6 cells, k 3, s 2", same_pad(6, 3, 2), (0, 1), "formula"),
        ("sizes that k 2, s 2, SAME takes to 3", [n for n in range(1, 12) if conv_out(n, 2, 2) == 3], (5, 6), "B5 4.7.2"),
        ("3 cells enlarged by Keras, k 2, s 2, SAME", keras_size, deconv_out(3, 2, 2), "formula"),
        ("window 4×4 on 3 channels: 48 weights, 1 bias", conv_params(4, 3, 1), 48 + 1, "B2 1.1"),
        ("RGB to 7 maps, 3×3: weights", conv_params(3, 3, 7, bias=False), 7 * 3 * 3 * 3, "B4 1.3"),
    ]:
        facts.check(name, measured, expected, source)


# ## Shapes of operators
# Every operator is called once, on zeros. Two rows repay a second look: the transposed convolution takes the odd size that the book asks
# for, and fractional pooling, which the book calls three-dimensional, divides two axes by 1.44 and 1.73. Crelu doubles the channels, though
# the book lists it among the operators that keep the shape.
def _pooled(pool):
    return lambda x, f: pool(tf.nn.conv2d(x, f, 1, "SAME"), 2, 1, "SAME")


OPERATORS = [  # operator, input, filter or window, call, shape, source
    ("conv2d s1 SAME", (10, 9, 9, 3), (2, 2, 3, 2), lambda x, f: tf.nn.conv2d(x, f, 1, "SAME"), (10, 9, 9, 2), "B5 4.7.2"),
    ("depthwise_conv2d s1 SAME", (10, 9, 9, 3), (2, 2, 3, 5), lambda x, f: tf.nn.depthwise_conv2d(x, f, [1] * 4, "SAME"), (10, 9, 9, 15), "B5 4.7.2"),
    (
        "separable_conv2d s1 SAME, then 1×1×15×20",
        (10, 9, 9, 3),
        (2, 2, 3, 5),
        lambda x, f: tf.nn.separable_conv2d(x, f, tf.zeros((1, 1, 15, 20)), [1] * 4, "SAME"),
        (10, 9, 9, 20),
        "B5 4.7.2",
    ),
    ("atrous_conv2d rate 2 SAME", (1, 5, 5, 1), (3, 3, 1, 1), lambda x, f: tf.nn.atrous_conv2d(x, f, 2, "SAME"), (1, 5, 5, 1), "B5 4.7.2"),
    ("conv2d_transpose s2 SAME", (1, 3, 3, 1), (2, 2, 3, 1), lambda x, f: tf.nn.conv2d_transpose(x, f, (1, 5, 5, 3), 2), (1, 5, 5, 3), "B5 4.7.2"),
    ("conv1d s2 VALID", (4, 10, 3), (3, 3, 8), lambda x, f: tf.nn.conv1d(x, f, 2, "VALID"), (4, 4, 8), "formula"),
    ("conv3d s2 SAME", (2, 7, 8, 9, 3), (3, 3, 3, 3, 4), lambda x, f: tf.nn.conv3d(x, f, [1, 2, 2, 2, 1], "SAME"), (2, 4, 4, 5, 4), "formula"),
    (
        "conv3d_transpose s2 SAME",
        (1, 3, 3, 3, 2),
        (3, 3, 3, 5, 2),
        lambda x, f: tf.nn.conv3d_transpose(x, f, (1, 6, 6, 6, 5), [1, 2, 2, 2, 1]),
        (1, 6, 6, 6, 5),
        "formula",
    ),
    ("conv2d SAME, avg_pool 2×2 s1 SAME", (10, 6, 6, 3), (2, 2, 3, 10), _pooled(tf.nn.avg_pool2d), (10, 6, 6, 10), "B5 4.7.3"),
    ("conv2d SAME, max_pool 2×2 s1 SAME", (10, 6, 6, 3), (2, 2, 3, 10), _pooled(tf.nn.max_pool2d), (10, 6, 6, 10), "B5 4.7.3"),
    ("avg_pool1d s2 SAME", (2, 9, 4), (2,), lambda x, _: tf.nn.avg_pool1d(x, 2, 2, "SAME"), (2, 5, 4), "formula"),
    ("max_pool1d s2 VALID", (2, 9, 4), (2,), lambda x, _: tf.nn.max_pool1d(x, 2, 2, "VALID"), (2, 4, 4), "formula"),
    ("avg_pool3d s2 SAME", (2, 5, 6, 7, 3), (2, 2, 2), lambda x, _: tf.nn.avg_pool3d(x, 2, 2, "SAME"), (2, 3, 3, 4, 3), "formula"),
    ("max_pool3d s2 VALID", (2, 5, 6, 7, 3), (2, 2, 2), lambda x, _: tf.nn.max_pool3d(x, 2, 2, "VALID"), (2, 2, 3, 3, 3), "formula"),
    (
        "fractional_max_pool 1.44×1.73",
        (1, 10, 10, 1),
        (),
        lambda x, _: tf.nn.fractional_max_pool(x, [1, 1.44, 1.73, 1], seed=1).output,
        (1, 6, 5, 1),
        "B5 4.7.3",
    ),
    ("crelu", (2, 3), (), lambda x, _: tf.nn.crelu(x), (2, 6), "B5 4.7.1"),
    ("conv2d SAME, bias, relu", (1, 32, 32, 3), (5, 5, 3, 16), lambda x, f: tf.nn.relu(tf.nn.conv2d(x, f, 1, "SAME") + 0.1), (1, 32, 32, 16), "B3 6"),
    ("max_pool2d 3×3 s2 SAME", (1, 32, 32, 16), (3, 3), lambda x, _: tf.nn.max_pool2d(x, 3, 2, "SAME"), (1, 16, 16, 16), "B3 6"),
]


def operators(facts) -> list[dict]:
    rows = []
    for name, shape, window, call, expected, source in OPERATORS:
        measured = tuple(call(tf.zeros(shape), tf.zeros(window)).shape)
        facts.check(f"shape of {name}", measured, expected, source)
        shapes = {"input": shape, "window": window, "expected": expected, "measured": measured}
        rows.append({"operator": name, **{key: "×".join(map(str, value)) for key, value in shapes.items()}, "source": source})
    return rows


# ## A network in words
# `parse` reads a line such as `in 32x32x1; conv 5 6 valid; pool 2; dense 10`, `calculate` counts it. A dense layer flattens what it gets, so it
# sees like a VALID convolution as large as the map. Edges to padding cells count as connections; a pooling window connects, but
# multiplies nothing. Convolutions are SAME with stride 1 unless told otherwise, pooling is VALID with a stride of its own size.
NUMBERS = {"conv": ["kernel", "filters"], "depthwise": ["kernel"], "pool": ["kernel"], "dense": ["units"]}
OPTIONS = "same, valid, s<stride>, d<dilation>, p<padding>"
NETWORK = "in HEIGHTxWIDTHxCHANNELS; conv KERNEL FILTERS; pool KERNEL; depthwise KERNEL; dense UNITS"


def parse(line: str) -> list[tuple[str, list[int], dict]]:
    """``"in 8x8x1; conv 3 4 s2 valid"`` → ``[("in", [8, 8, 1], {}), ("conv 3 4 s2 valid", [3, 4], {"s": 2, "padding": "valid"})]``."""
    first, *rest = line.strip(" ;\n").split(";")
    size = re.fullmatch(r"\s*in\s+(\d{1,6})x(\d{1,6})(?:x(\d{1,6}))?\s*", first)
    if not size:
        raise UserError(f"layer 1: {first.strip()!r}; start with in HEIGHTxWIDTHxCHANNELS, as in 'in 32x32x3'")
    layers = [("in", [int(n or 1) for n in size.groups()], {})]
    for position, part in enumerate(rest, 2):
        kind, *words = part.split() or [""]
        if kind not in NUMBERS:
            raise UserError(f"layer {position}, word 1: unknown word {kind!r}; allowed are {', '.join(NUMBERS)}")
        wanted = NUMBERS[kind]
        if len(words) < len(wanted) or not all(re.fullmatch(r"\d{1,6}", word) for word in words[: len(wanted)]):
            raise UserError(f"layer {position}: {part.strip()!r}; write {kind} {' '.join(wanted).upper()} in whole numbers of at most six digits")
        options = {}
        for place, word in enumerate(words[len(wanted) :], 2 + len(wanted)):
            option = re.fullmatch(r"(same|valid)|([sdp])(\d{1,6})", word)
            if not option or kind == "dense":
                allowed = "nothing" if kind == "dense" else OPTIONS
                raise UserError(f"layer {position}, word {place}: unknown word {word!r}; after {kind} {' '.join(wanted).upper()} allowed: {allowed}")
            options |= {"padding": option[1]} if option[1] else {"padding" if option[2] == "p" else option[2]: int(option[3])}
        layers.append((" ".join([kind, *words]), [int(word) for word in words[: len(wanted)]], options))
    return layers


def calculate(line: str) -> list[dict]:
    """Shape, nodes, parameters, connections, receptive field (height × width) and multiplications of each layer of ``line``."""
    rows, windows = [], {"height": [], "width": []}
    (_, (height, width, channels), _), *layers = parse(line)
    if min(height, width, channels) < 1:
        raise UserError(f"layer 1: the picture is {height}×{width}×{channels}, every size must be at least 1")

    def add(layer: str, inputs: int, parameters: int) -> None:
        nodes = height * width * channels
        fields = [receptive_field([(1, 1), *axis])[-1] for axis in windows.values()]
        row = {"layer": layer, "output": f"{height}×{width}×{channels}", "nodes": nodes, "parameters": parameters}
        row |= {"connections": nodes * (inputs + (parameters > 0)), "receptive_field": "×".join(map(str, fields))}
        rows.append(row | {"multiplications": nodes * inputs * (parameters > 0)})

    add("in", 0, 0)
    for position, (text, numbers, options) in enumerate(layers, 2):
        kind = text.split()[0]
        try:
            if min(numbers) < 1:
                raise ValueError(f"{NUMBERS[kind][numbers.index(0)]} is 0, must be at least 1")
            if kind == "dense":
                windows["height"].append((height, 1))
                windows["width"].append((width, 1))
                inputs, units = height * width * channels, numbers[0]
                height, width, channels = 1, 1, units
                add(text, inputs, dense_params(inputs, units))
                continue
            size, stride, dilation = numbers[0], options.get("s", numbers[0] if kind == "pool" else 1), options.get("d", 1)
            padding = options.get("padding", "valid" if kind == "pool" else "same")
            height, width = (conv_out(n, size, stride, padding, dilation) for n in (height, width))
        except ValueError as error:
            raise UserError(f"layer {position}, {text} on {rows[-1]['output']}: {error}") from None
        for axis in windows.values():
            axis.append((dilation * (size - 1) + 1, stride))
        if kind == "conv":
            inputs, parameters = size * size * channels, conv_params(size, channels, numbers[1])
            channels = numbers[1]
        else:
            inputs, parameters = size * size, conv_params(size, 1, channels) if kind == "depthwise" else 0
        add(text, inputs, parameters)
    return rows


def as_text(rows: list[dict]) -> str:
    """The rows as an aligned table with totals."""
    totals = [
        "total",
        "",
        *(sum(row[key] for row in rows) for key in ("nodes", "parameters", "connections")),
        "",
        sum(r["multiplications"] for r in rows),
    ]
    table = [[key.replace("_", " ") for key in rows[0]], *(row.values() for row in rows), totals]
    table = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in cells] for cells in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join([c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]) for cells in table)


# ## LeNet-5, and a net that does not run
# B3 derives LeNet-5 layer by layer (with every map of C3 connected to all six of S2; LeCun's table of 60 links is another chapter's matter).
# B4's network declares a dense layer for 512 inputs; the pictures shrink 28 → 26 → 13 → 11 → 5, and $20 \cdot 5^2$ is 500.
LENET5 = "in 32x32x1; conv 5 6 valid; pool 2; conv 5 16 valid; pool 2; dense 120; dense 84; dense 10"
SIMPLE = "in 28x28x1; conv 3 10 valid; pool 2; conv 3 20 valid; pool 2; dense 128; dense 10"


def lenet5(facts) -> list[dict]:
    rows, simple = calculate(LENET5), calculate(SIMPLE)
    layers = keras.layers
    features = [keras.Input((32, 32, 1)), layers.Conv2D(6, 5), layers.MaxPool2D(2), layers.Conv2D(16, 5), layers.MaxPool2D(2), layers.Flatten()]
    model = keras.Sequential([*features, *(layers.Dense(units) for units in (120, 84, 10))])
    counted = [row["parameters"] for row in rows if row["parameters"]]
    for name, measured, expected, source in [
        ("LeNet-5 parameters by layer", counted, (156, 2416, 48120, 10164, 850), "B3 6"),
        ("LeNet-5 parameters by layer, Keras", [layer.count_params() for layer in model.layers if layer.weights], counted, "formula"),
        ("LeNet-5 parameters", sum(counted), 61706, "B3 6"),
        ("LeNet-5 nodes of C1", rows[1]["nodes"], 4704, "B3 6"),
        ("LeNet-5 connections of C1 and C3", (rows[1]["connections"], rows[3]["connections"]), (122304, 241600), "B3 6"),
        ("LeNet-5 receptive fields", [int(row["receptive_field"].split("×")[0]) for row in rows[1:6]], (5, 6, 14, 16, 32), "formula"),
        ("SimpleConvNet sizes", [int(row["output"].split("×")[0]) for row in simple[:5]], (28, 26, 13, 11, 5), "B4 3.1.3"),
        ("SimpleConvNet flattened (512 printed)", simple[4]["nodes"], 500, "B4 3.1.3"),
        ("SimpleConvNet parameters by layer", [row["parameters"] for row in simple if row["parameters"]], (100, 1820, 64128, 1290), "B4 3.1.3"),
        ("SimpleConvNet parameters", sum(row["parameters"] for row in simple), 67338, "formula"),
    ]:
        facts.check(name, measured, expected, source)
    return rows
