r"""# Multilayer perceptrons on MNIST: summaries, checkpoints, records

Put a layer of rectified linear units between picture and scores, and the templates of softmax regression become parts that can be combined:

$$h = \max(0,\ xW_1 + b_1), \qquad z = hW_2 + b_2.$$

A dense layer from $m$ to $n$ units has $mn + n$ parameters. B5 builds three such networks, each to teach a tool:

| net | layers | parameters | optimizer | tool |
| --- | --- | --- | --- | --- |
| `summaries` | 784 → 500 → dropout 0.1 → 10 | 397,510 | Adam | watch a training (9.3): the spread of every tensor over the steps |
| `restore` | 784 → dropout 0.2 → 625 → dropout 0.5 → 625 → dropout 0.5 → 10, no biases | 886,875 | RMSprop | save and go on (4.8.1) |
| `reader` | 784 → 128 → 32 → 10, inputs $x/255 - \tfrac12$ | 104,938 | SGD | read records instead of feeding (4.10.3) |
| `best` | 784 → dropout 0.2 → 2 × (1024, batch norm, dropout 0.4) → 10 | 1,869,834 | AdamW | what a perceptron can do today |

**Watching.** `distributions.png` shows weights, pre-activations $xW_1 + b_1$ and activations $h$ as bands of percentiles over the steps, as
TensorBoard's panel of that name. What to look for: pre-activations that drift below zero (dead units), weights that do not move (rate too small) or
keep widening (too large). B5 9.1 calls the script a convolutional network; there is no convolution in it.

**Saving and going on.** A checkpoint holds the weights *and* what the optimizer and the dropout generators remember: with the weights alone,
training goes on, but along another path. B5's listing reads the step to start from before it restores the checkpoint, so it always starts
from 0. Here training may be killed at any moment; the next run goes on after the last checkpoint and ends with the same bits as one that was
never disturbed. `restore.json` shows the other half of the book's example, the last five of seven checkpoints kept.

**Reading.** Records are the only door for data in this project, so every net is a `reader`: 55,000 digits in batches of 100 are 550
steps, two passes 1,100, as B5 logs it. At its rate of 0.01 two passes are just enough to get going.

**`best`**, the default of profile `book`, adds what the books' nets lack: batch norm, pictures shifted by up to two pixels, a cosine schedule,
and labels softened by $s = 0.05$,

$$L = -(1 - s) \log p_y - \frac{s}{10} \sum_k \log p_k,$$

which keeps the logits from growing without end. `dlbooks run mnist-mlp --profile book` reaches 0.9888 in two to three minutes;
`--variant summaries`, `restore` and `reader` run the book's.
"""

import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from dlbooks.catalog import Chapter, Metric, Use, Variant
from dlbooks.chapters.classification._distributions import Distributions
from dlbooks.nn.augment import affine
from dlbooks.nn.classification import (
    bounded,
    classifier_export,
    classify,
    evaluate_classifier,
    forward,
    mnist_like,
    predict_pictures,
    smoothed_cross_entropy,
)
from dlbooks.nn.metrics import accuracy, cross_entropy
from dlbooks.nn.training import Adam, compiled_epoch, precision, shuffled
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="mnist-mlp",
    title="Multilayer perceptrons on MNIST",
    family="classification",
    sources=["B5 3.2", "B5 4.8.1", "B5 4.10.3", "B5 9.3"],
    datasets=["mnist"],
    own_data=["mnist"],
    headline="test_accuracy",
    metrics={
        "test_accuracy": Metric(better="higher", reported=0.9687, source="B5 9.3, step 960", floor=0.94),
        "test_loss": Metric(better="lower"),
        "test_ece": Metric(better="lower"),
        "accuracy_at_step_10": Metric(better="higher", reported=0.6744, source="B5 9.3"),
        "accuracy_at_step_100": Metric(better="higher", reported=0.9062, source="B5 9.3"),
        "accuracy_at_step_900": Metric(better="higher", reported=0.9643, source="B5 9.3"),
        "accuracy_at_step_990": Metric(better="higher", reported=0.9665, source="B5 9.3"),
        "loss_at_step_1000": Metric(better="lower"),
    },
    variants={
        "summaries": Variant(
            {"net": "summaries", "learning_rate": 1e-3, "batch_size": 100, "steps": 1000, "log_every": 10, "label_smoothing": 0.0, "shift": 0},
            {"test_accuracy": 0.9687, "accuracy_at_step_10": 0.6744, "accuracy_at_step_100": 0.9062, "accuracy_at_step_990": 0.9665},
            "B5 9.3",
        ),
        "restore": Variant(
            {"net": "restore", "learning_rate": 1e-3, "batch_size": 128, "label_smoothing": 0.0, "shift": 0},
            source="B5 4.8.1",
            about="the book goes through the digits in order (shuffle=false), up to 100 times (steps=42900)",
        ),
        "reader": Variant(
            {"net": "reader", "learning_rate": 0.01, "batch_size": 100, "steps": 1100, "log_every": 100, "label_smoothing": 0.0, "shift": 0},
            {"loss_at_step_1000": 0.49},
            "B5 4.10.3",
        ),
    },
    curves={"Loss": ["loss", "validation_loss"], "Accuracy": ["validation_accuracy"]},
    picture="distributions.png",
    example="dlbooks predict mnist-mlp digit.png",
    use=Use(takes="gray picture", about="one handwritten digit, drawn or photographed", batched=True),
)


class Params(ChapterParams):
    net: str = Field("summaries", pattern="^(summaries|restore|reader|best)$")
    """which network and optimizer, see the table"""
    learning_rate: float = Field(1e-3, gt=0, le=10)
    """step size; for `best` the highest one, reached after a tenth of the steps"""
    batch_size: int = Field(100, ge=1, le=10_000)
    """examples per step"""
    steps: int = Field(1000, ge=1, le=1_000_000)
    """gradient steps"""
    log_every: int = Field(10, ge=1, le=100_000)
    """steps between two looks at the validation set"""
    shuffle: bool = True
    """a new order for every pass"""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """s above: share of the label spread over all classes"""
    shift: int = Field(0, ge=0, le=8)
    """pixels by which training pictures are shifted at random"""


# ## The four networks
# Pre-activation (`dense…`) and activation (`relu…`, the last one `features`) are layers of their own, so that both can be watched.
def build(params: Params, classes: int = 10) -> keras.Model:
    image = keras.Input((28, 28, 1), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255, -0.5 if params.net == "reader" else 0.0)(image)
    x = keras.layers.Flatten(name="pixels")(x)
    return keras.Model(image, {"summaries": summaries, "restore": restore, "reader": reader, "best": best}[params.net](x, classes))


L, truncated = keras.layers, keras.initializers.TruncatedNormal


def summaries(x, classes: int):
    def options():
        return {"kernel_initializer": truncated(stddev=0.1), "bias_initializer": keras.initializers.Constant(0.1)}

    x = L.Dropout(0.1)(L.ReLU(name="features")(L.Dense(500, name="dense1", **options())(x)))
    return L.Dense(classes, dtype="float32", name="logits", **options())(x)


def restore(x, classes: int):
    def options():
        return {"use_bias": False, "kernel_initializer": keras.initializers.RandomNormal(stddev=0.01)}

    x = L.Dropout(0.2)(x)
    for number, name in enumerate(("relu1", "features"), 1):
        x = L.Dropout(0.5)(L.ReLU(name=name)(L.Dense(625, name=f"dense{number}", **options())(x)))
    return L.Dense(classes, dtype="float32", name="logits", **options())(x)


def reader(x, classes: int):
    for number, (units, name) in enumerate(((128, "relu1"), (32, "features")), 1):
        x = L.Dense(units, name=f"dense{number}", kernel_initializer=truncated(stddev=x.shape[-1] ** -0.5))(x)
        x = L.ReLU(name=name)(x)
    return L.Dense(classes, dtype="float32", name="logits", kernel_initializer=truncated(stddev=32**-0.5))(x)


def best(x, classes: int):
    x = L.Dropout(0.2)(x)
    for number, name in enumerate(("relu1", "features"), 1):
        x = L.Dense(1024, use_bias=False, kernel_initializer="he_normal", name=f"dense{number}")(x)
        x = L.Dropout(0.4)(L.ReLU(name=name)(L.BatchNormalization(name=f"norm{number}")(x)))
    return L.Dense(classes, dtype="float32", name="logits")(x)


# ## Training
# The points at which it is looked at: every `log_every` steps, the steps of B5's log, the last one. As in the book the test set is scored at
# the logged steps; nothing is chosen by it.
LOGGED = (10, 100, 900, 990, 1000)


def points(p: Params) -> list[int]:
    return sorted({s for s in (*LOGGED, *range(p.log_every, p.steps, p.log_every)) if s < p.steps} | {p.steps})


def optimizer_of(p: Params):
    rate, rising = p.learning_rate, max(1, p.steps // 10)
    if p.net == "summaries":
        return Adam(rate)
    if p.net == "restore":
        return keras.optimizers.RMSprop(rate, rho=0.9, epsilon=1e-10)
    if p.net == "reader":
        return keras.optimizers.SGD(rate)
    up_and_down = keras.optimizers.schedules.CosineDecay(0.0, max(1, p.steps - rising), warmup_target=rate, warmup_steps=rising)
    return Adam(up_and_down, weight_decay=0.01)


def train(run):
    p, records = run.params, run.records("mnist")
    data, held_out, test = (records.arrays(split) for split in ("train", "validation", "test"))
    upstream = np.argsort(data["index"], kind="stable")
    x, y, p = tf.constant(data["image"][upstream]), tf.constant(data["label"][upstream]), bounded(p, len(upstream))
    with precision(run.profile):
        model = build(p, len(records.names()))
    optimizer = optimizer_of(p)
    moved = None if not p.shift else lambda images, seed: affine(images, seed, shift=p.shift)
    epoch, score = compiled_epoch(model, optimizer, smoothed_cross_entropy(p.label_smoothing), augment=moved), forward(model)
    marks = points(p)
    distributions = Distributions(model, marks, held_out["image"][:200])
    for number in run.epochs(len(marks), "points", model=model, optimizer=optimizer, distributions=distributions):
        start, end = marks[number - 1] if number else 0, marks[number]
        if number == 0:
            run.log(0, accuracy_test=accuracy(score(test["image"]), test["label"]))
            distributions.look(0)
        if p.shuffle:
            order = shuffled(run, len(x), p.batch_size, start, end - start)
        else:
            order = np.arange(start * p.batch_size, end * p.batch_size) % (len(x) // p.batch_size * p.batch_size)
        mean = epoch(x, y, order, p.batch_size, int(run.random("augment", number).integers(2**31)))
        logits = score(held_out["image"])
        run.log(end, loss=mean, validation_loss=cross_entropy(logits, held_out["label"]), validation_accuracy=accuracy(logits, held_out["label"]))
        if end in LOGGED or end == p.steps:
            run.log(end, accuracy_test=accuracy(score(test["image"]), test["label"]))
        distributions.look(end)
    run.save(model)
    run.table("weights_stats.csv", distributions.rows())
    caption = "The last hidden layer over the steps: the extremes of weights and pre-activations widen, half of the units are silent on a digit"
    run.figure("distributions.png", distributions.figure(), caption)


# ## Evaluation
# A run shorter than a logged step counts its last one.
def evaluate(run) -> dict:
    records = run.records("mnist")
    test = records.arrays("test")
    model = run.load(build(run.params, len(records.names())))
    logits = forward(model)(test["image"])
    run.json("restore.json", restore_example(model, test))
    at, losses = dict(run.series["accuracy_test"]), dict(run.series["loss"])
    last = run.params.steps
    return {
        **evaluate_classifier(run, logits, test, records.names()),
        **{f"accuracy_at_step_{s}": at.get(s, at[last]) for s in (10, 100, 900, 990)},
        "loss_at_step_1000": losses.get(1000, losses[last]),
    }


# **Save and restore.** Seven checkpoints with at most five kept, weights spoiled, the newest checkpoint read back: the loss returns to its bits.
def restore_example(model: keras.Model, test: dict) -> dict:
    score = forward(model)
    images, labels = test["image"][:500], test["label"][:500]
    kept = {v.path: v.numpy() for v in model.weights}
    with tempfile.TemporaryDirectory() as folder:
        manager = tf.train.CheckpointManager(tf.train.Checkpoint(model=model), folder, max_to_keep=5, checkpoint_name="model")
        for number in range(1, 8):
            manager.save(number)
        result = {"checkpoints": [Path(c).name for c in manager.checkpoints], "files": len(list(Path(folder).iterdir()))}
        result["loss"] = cross_entropy(score(images), labels)
        for variable in model.weights:
            variable.assign(variable * 0.5)
        result["loss_spoiled"] = cross_entropy(score(images), labels)
        manager.checkpoint.restore(manager.latest_checkpoint).assert_existing_objects_matched()
        result["loss_restored"] = cross_entropy(score(images), labels)
    return {**result, "restored": all(np.array_equal(v.numpy(), kept[v.path]) for v in model.weights)}


def export(run):
    records = run.records("mnist")
    classifier_export(run, run.load(build(run.params, len(records.names()))), records.names(), records.arrays("validation")["image"][:100])


# ## Use
def answer(run, inputs: list[np.ndarray], *, top: int = 3, seen: bool = False) -> list[dict]:
    return classify(run, inputs, mnist_like, top, seen)


def predict(run, inputs: list[str], out: Path | None = None, *, top: int = 3):
    predict_pictures(run, answer, inputs, out, top=top)
