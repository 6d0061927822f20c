r"""# Softmax regression on MNIST

A picture of a digit is 28 × 28 gray values; written in one row it is a vector $x \in [0, 1]^{784}$. The simplest thing that can read it is a
linear score for every class, turned into probabilities by the softmax:

$$z = xW + b, \qquad p_k = \operatorname{softmax}(z)_k = \frac{e^{z_k}}{\sum_j e^{z_j}}.$$

Column $k$ of $W$ is a template of digit $k$: where it is positive, ink speaks for $k$; where it is negative, against. The scores $z$ are
called *logits*; only their differences matter, since $\operatorname{softmax}(z + c) = \operatorname{softmax}(z)$.

**The loss** is the cross-entropy between the label and $p$, the negative logarithm of the probability given to the right class, averaged
over the batch:

$$L = -\frac1B \sum_{i=1}^{B} \log \operatorname{softmax}(z_i)_{y_i}, \qquad \frac{\partial L}{\partial z_{ik}} = \frac1B \bigl(p_{ik} - [k = y_i]\bigr).$$

It is computed from the logits, as $-z_y + \log\sum_j e^{z_j}$. Taking the logarithm of a finished softmax, as the books print it, gives
$\log 0$ as soon as one probability underflows.

**Where it starts.** With $W = 0$, $b = 0$ all classes have probability $\tfrac1{10}$: the loss is $\ln 10 = 2.302585$ and, ties going to class 0,
the accuracy on the test set is 0.0980, its share of zeros. The gradients of one example sum to zero over the classes, so gradient descent
keeps $\sum_k W_{ik} = 0$ and $\sum_k b_k = 0$ for ever: ten templates, nine degrees of freedom.

**Accuracy** is the mean of "largest score is the label": hits true, false, false, true become 1, 0, 0, 1 and the mean is 0.5.

**What the books did.** Both train 1,000 steps on batches of 100 with plain gradient descent. B5 uses the mean loss and rate 0.5. B1 prints
rate 0.01, which would be far too slow, but its loss *sums* over the batch: the mean around the sum has nothing left to average. The rate acts
like $0.01 \cdot 100 = 1.0$ on the mean. A reader who repairs the sum and keeps the rate (variant `mean-0.01`) lands near 0.87. B5 also says that
the first half of the test set, from NIST's training set, is the easier one. It is the harder one by four points; both halves are metrics here.

The default of profile `book` is about the ceiling of a linear model: Adam, twenty passes, a little L2, 0.926 in ten seconds of training
with `dlbooks run mnist-softmax --profile book`. Try it on your own handwriting: `dlbooks predict mnist-softmax digit.png`.
"""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from dlbooks import figures
from dlbooks.catalog import Chapter, Metric, Use, Variant
from dlbooks.nn.classification import bounded, classifier_export, classify, evaluate_classifier, forward, mnist_like, predict_pictures
from dlbooks.nn.metrics import accuracy, cross_entropy
from dlbooks.nn.training import Adam, compiled_epoch, shuffled
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="mnist-softmax",
    title="Softmax regression on MNIST",
    family="classification",
    sources=["B1 1.1", "B1 1.2.1", "B5 4.3", "B5 9.1", "B5 9.2"],
    datasets=["mnist"],
    own_data=["mnist"],
    headline="test_accuracy",
    metrics={
        "test_accuracy": Metric(better="higher", reported=0.9185, source="B1 1.2.1", floor=0.90),
        "test_loss": Metric(better="lower"),
        "test_ece": Metric(better="lower"),
        "test_accuracy_first_half": Metric(better="higher"),
        "test_accuracy_last_half": Metric(better="higher"),
    },
    variants={
        "b1": Variant(
            {"optimizer": "sgd", "learning_rate": 0.01, "reduction": "sum", "steps": 1000, "l2": 0.0},
            {"test_accuracy": 0.9185},
            "B1 1.2.1",
            "the loss summed over the batch: rate 0.01 acts like 1.0",
        ),
        "b5": Variant(
            {"optimizer": "sgd", "learning_rate": 0.5, "reduction": "mean", "steps": 1000, "l2": 0.0},
            {"test_accuracy": 0.9179},
            "B5 9.2",
            "the mean loss and rate 0.5",
        ),
        "mean-0.01": Variant(
            {"optimizer": "sgd", "learning_rate": 0.01, "reduction": "mean", "steps": 1000, "l2": 0.0},
            about="B1's rate on the mean loss: what a repaired sum gives",
        ),
    },
    curves={"Loss": ["loss", "validation_loss"], "Accuracy": ["validation_accuracy"]},
    picture="weights.png",
    example="dlbooks predict mnist-softmax digit.png",
    use=Use(takes="gray picture", about="one handwritten digit, drawn or photographed", batched=True),
)


class Params(ChapterParams):
    hidden: int = Field(0, ge=0, le=4096)
    """units of a hidden ReLU layer; 0 is softmax regression itself"""
    optimizer: str = Field("sgd", pattern="^(sgd|adam)$")
    """`sgd` (plain gradient descent, the books') or `adam`"""
    learning_rate: float = Field(0.5, gt=0, le=10)
    """step size"""
    reduction: str = Field("mean", pattern="^(mean|sum)$")
    """loss of a batch: the `mean` over its examples, or B1's `sum`"""
    batch_size: int = Field(100, ge=1, le=10_000)
    """examples per step"""
    steps: int = Field(1000, ge=1, le=1_000_000)
    """gradient steps; 550 are one pass over MNIST in batches of 100"""
    l2: float = Field(0.0, ge=0, le=1)
    """L2 penalty l2 · Σ W²"""


# ## Model
# Scaling to [0, 1] is part of the model, so nobody who uses it can forget it. Zeros are a fine start here: without a hidden layer there is no
# symmetry to break, every column of $W$ gets its own gradient from its own labels.
def build(params: Params, classes: int = 10) -> keras.Model:
    image = keras.Input((28, 28, 1), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Flatten(name="pixels" if params.hidden else "features")(x)
    if params.hidden:
        x = keras.layers.Dense(params.hidden, "relu", kernel_initializer="he_normal", name="features")(x)
    penalty = keras.regularizers.L2(params.l2) if params.l2 else None
    return keras.Model(image, keras.layers.Dense(classes, kernel_initializer="zeros", kernel_regularizer=penalty, name="logits")(x))


def loss(params: Params):
    reduce = {"mean": tf.reduce_mean, "sum": tf.reduce_sum}[params.reduction]
    return lambda labels, logits: reduce(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


# ## Training
# Every fifty steps the validation set is asked. The logged loss is the mean per example whatever `reduction` says, so that curves of
# different recipes can be laid over each other.
EVERY = 50


def train(run):
    records = run.records("mnist")
    data, held_out = records.arrays("train"), records.arrays("validation")
    x, y, p = tf.constant(data["image"]), tf.constant(data["label"]), bounded(run.params, len(data["label"]))
    model = build(p, len(records.names()))
    optimizer = {"sgd": keras.optimizers.SGD, "adam": Adam}[p.optimizer](p.learning_rate)
    epoch, score = compiled_epoch(model, optimizer, loss(p)), forward(model)
    for part in run.epochs(-(-p.steps // EVERY), f"{EVERY} steps", model=model, optimizer=optimizer):
        start = part * EVERY
        steps = min(EVERY, p.steps - start)
        mean = epoch(x, y, shuffled(run, len(x), p.batch_size, start, steps), p.batch_size)
        logits = score(held_out["image"])
        run.log(
            start + steps,
            loss=mean / (p.batch_size if p.reduction == "sum" else 1),
            validation_loss=cross_entropy(logits, held_out["label"]),
            validation_accuracy=accuracy(logits, held_out["label"]),
        )
    run.save(model)


# ## Evaluation
# All test pictures, once. The two halves are MNIST's own: the first 5,000 digits come from NIST's training set, the last 5,000 from its test set.
def evaluate(run) -> dict:
    records = run.records("mnist")
    test, names = records.arrays("test"), records.names()
    model = run.load(build(run.params, len(names)))
    logits = forward(model)(test["image"])
    half = max(1, len(logits) // 2)
    if not run.params.hidden:
        caption = "The ten templates: red pixels speak for the class, blue ones against it. The zero wants an empty middle"
        caption = "A template for every class: red pixels speak for it, blue ones against it" if run.swaps else caption
        run.figure("weights.png", templates(np.asarray(model.get_layer("logits").kernel), names), caption)
    show_data(run, records, names)
    run.json("accuracy_example.json", accuracy_example())
    return {
        **evaluate_classifier(run, logits, test, names),
        "test_accuracy_first_half": accuracy(logits[:half], test["label"][:half]),
        "test_accuracy_last_half": accuracy(logits[-half:], test["label"][-half:]),
    }


def templates(kernel: np.ndarray, names: list[str]):
    """Columns of W ``[784, K]`` as pictures, red above and blue below zero."""
    rows = -(-len(names) // 5)
    figure, axes = figures.new(7.2, 1.65 * rows, rows, 5)
    reach = np.abs(kernel).max()
    for k, cell in enumerate(axes.ravel()):
        cell.set_axis_off()
        if k < len(names):
            drawn = cell.imshow(kernel[:, k].reshape(28, 28), cmap="RdBu_r", vmin=-reach, vmax=reach, interpolation="nearest")
            cell.set_title(names[k])
    figure.colorbar(drawn, ax=axes, shrink=0.8, label="weight")
    return figure


# **A look at the data** belongs to a first chapter (B1 1.1.2–1.1.3): twenty digits, one of them as the numbers it is made of, and their
# labels as one-hot vectors, rows of the identity matrix.
def show_data(run, records, names):
    data = records.arrays("train")
    first = np.argsort(data["index"], kind="stable")[:20]
    images, labels = data["image"][first], data["label"][first]
    run.figure("samples.png", figures.grid(images, 10, [names[k] for k in labels]), "The first twenty training digits with their labels")
    figure, axes = figures.new(8, 8)
    axes.imshow(images[0, :, :, 0], cmap="Greys", vmin=0, vmax=510)
    for (row, column), value in np.ndenumerate(images[0, :, :, 0]):
        axes.text(column, row, str(value), ha="center", va="center", fontsize=6, color=figures.INK if value else "#b8c2cc")
    axes.set_axis_off()
    axes.set_title(f"A {names[labels[0]]} is 28 × 28 numbers")
    caption = f"The first training digit, a {names[labels[0]]}, as the matrix of its gray values: 0 is background, 255 full ink"
    run.figure("digit_matrix.png", figure, caption)
    codes = [" ".join(map(str, row)) for row in np.eye(len(names), dtype=int)[labels]]
    run.table("labels.csv", [{"index": int(data["index"][i]), "label": int(k), "one_hot": c} for i, k, c in zip(first, labels, codes, strict=True)])


def accuracy_example() -> dict:
    """B1's worked example: four pictures, the first and the last read rightly."""
    labels = np.array([7, 2, 1, 0])
    outputs = np.full((4, 10), 0.01)
    outputs[np.arange(4), [7, 3, 8, 0]] = 0.91
    guesses = outputs.argmax(1)
    hits = (guesses == labels).astype(float)
    return {
        "labels": labels.tolist(),
        "predicted": guesses.tolist(),
        "hits": (guesses == labels).tolist(),
        "cast": hits.tolist(),
        "accuracy": hits.mean(),
    }


def export(run):
    records = run.records("mnist")
    classifier_export(run, run.load(build(run.params, len(records.names()))), records.names(), records.arrays("validation")["image"][:100])


# ## Use
# A photo or drawing of one digit becomes what the model has seen in training: light ink on black, the digit's box shrunk to 20 pixels, its
# center of mass in the middle of 28 × 28. How MNIST's makers prepared their digits is half of what the model knows.
def answer(run, inputs: list[np.ndarray], *, top: int = 3, seen: bool = False) -> list[dict]:
    return classify(run, inputs, mnist_like, top, seen)


def predict(run, inputs: list[str], out: Path | None = None, *, top: int = 3):
    predict_pictures(run, answer, inputs, out, top=top)
