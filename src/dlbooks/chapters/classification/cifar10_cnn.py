r"""# CIFAR-10: a convolutional network, crop, flip and color noise

Digits are strokes on an empty ground; here is a frog in the grass, seen from anywhere. A linear model that gets 92 % of MNIST right gets some 40 % of
these pictures. Three things made the network of B1's second chapter reach 86.6 %: convolutions, pictures that are never seen twice in the same way, and
weights averaged over time.

**The book's network** reads 24 × 24 pixels: convolution 5×5 with 64 maps, pooling 3×3 with stride 2, local response normalization; a second such stage with
normalization and pooling the other way round; dense layers of 384 and 192; ten scores. That makes $6 \cdot 6 \cdot 64 = 2304$ inputs of the first dense
layer and 1,068,298 parameters. Local response normalization divides each activation by what its neighbors among the maps do,

$$y_c = x_c \Big/ \Bigl(1 + \alpha \sum_{|j-c| \le 4} x_j^2\Bigr)^{3/4}, \qquad \alpha = 0.001/9.$$

Its loss is the cross-entropy plus $\tfrac{1}{2} \cdot 0.004 \sum \theta^2$ over the kernels of the two dense layers: at the start
$\ln 10 + 2.373 = 4.68$, so the 3.98 that the book prints as an early line is not the first step.

**Augmentation.** A change that keeps the class makes new examples for nothing: a random crop of 24 × 24, a mirror image in half of the cases, brightness ± 63,
contrast times 0.2 … 1.8. Mirrored cars are cars; a digit 6 upside down would be a 9. Then every picture is standardized,
$(x - \mu)/\max(\sigma, 1/\sqrt{N})$, and here is a catch that the book does not mention: nothing is clipped in between, so standardizing **undoes the brightness
exactly**; of the contrast only a shift between the colors survives, and on a gray picture nothing at all. `augmentation.png` shows each step.

**Averaged weights.** Gradient descent at a high rate circles around a good place; the mean of its positions lies nearer to it. After step $t$ the shadow
$s$ of each weight moves by $s \leftarrow d_t s + (1-d_t)\theta$ with $d_t = \min(0.9999, (1+t)/(10+t))$: 0.1, 2/11, … and 0.9999 from step 89,990 on. The rate falls
to a tenth every 350 passes, after 136,718 steps of 128, so the book's 86 % at 60,000 and 86.3 % at 100,000 steps come before the first fall. (Its evaluation
counts 112 of the 10,000 test pictures twice: 79 batches of 128. Here every picture counts once.)

| net | pictures | layers | training |
| --- | --- | --- | --- |
| `book` | 24 × 24 | 2 × (conv 5×5, pool 3/2, LRN), dense 384, 192 | SGD 0.1, batch 128, up to a million steps, averaged weights |
| `cifarnet` | 32 × 32 | the same with pools 2/2 and dropout ½ after 384 (TF-Slim; B5 5.1) | SGD 0.1, batch 128, 100,000 steps |
| `fast` | 32 × 32 | whitening conv 2×2, 3 × (conv 3×3, pool, norm, SiLU, conv 3×3, norm, SiLU), largest value per map | see below |

**`fast`**, the default of profile `book`, is how one trains for minutes instead of days (K. Jordan, 94 % on CIFAR-10 in 3.29 seconds on a single GPU, 2024):

- The first layer is not learned. Its kernels are the principal components $v_i$ of all 2 × 2 patches, each over the root of its variance,
  $\pm v_i/\sqrt{\lambda_i + \epsilon}$: the next layer gets uncorrelated inputs of equal size.
- Later kernels start as the identity (plus noise in the maps that have no partner), so that the signal passes from the first step on.
- The activation is smooth, $x\,\sigma(x)$ (SiLU; Jordan's GELU has the same shape and costs half as much again here). Pooling comes before batch norm; the
  last maps are summed up by their largest value; scores are divided by nine.
- SGD with Nesterov's momentum; the rate rises for a fifth of the steps and falls to zero in a straight line. Labels are softened by $s = 0.2$, and at the end one number
  fitted on the validation set scales the scores back, so that probabilities mean what they say.
- Pictures are shifted by up to two pixels and mirrored *in turn*: which side is seen first is drawn once, then they alternate. Independent coins would
  show one in two pictures the same side twice in two passes.
- At the end the probabilities of six views are averaged: as it is, shifted by a pixel both ways, each also mirrored (`test_accuracy`; `one_view_accuracy`
  is without, and the exported net looks once, too).

**What does augmentation gain?** The text says a lot, without a number. `augmentation_gain` is one: two narrow `fast` nets, trained alike for `pair_epochs`
passes, one with and one without it; the difference of their validation accuracies. A few passes over few pictures need no augmentation yet: the gain grows with
the budget.

On two cores that multiply bfloat16, `fast` takes 54 seconds a pass: from the JPEG edition of the pictures (`data.cifar10.book.edition` in `params.yaml`; `binary` names the exact files) it learns

| minutes | 1 | 3 | 5 | 8 | 10 | 12 | 13 | 14 |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
| validation accuracy, one view | 0.686 | 0.763 | 0.789 | 0.816 | 0.836 | 0.866 | 0.881 | 0.888 |

and gets 0.892 of the test pictures right with one look, 0.899 with six: past the book's 0.866, which took 150,000 steps, within thirteen minutes, most of it in the last three, while the
rate falls. The two narrow nets that measure the augmentation take seven more (and say 0.003: in six passes there is hardly anything to gain yet). `dlbooks run cifar10-cnn --profile book`.

`accuracy_at_60k`, `…_100k` and `…_150k` are the last look at or before that step, as in the book's curve; a shorter training shows its last. In profile `mini` the
default is `book` at half the width on the twin.
"""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from PIL import Image
from pydantic import Field

from dlbooks import figures
from dlbooks.catalog import Chapter, Metric, Use, Variant
from dlbooks.nn.augment import alternating, central_crop, crop, flip, jitter, mirror, pad_crop, views
from dlbooks.nn.classification import bounded, classifier_export, classify, evaluate_classifier, forward, predict_pictures, smoothed_cross_entropy
from dlbooks.nn.layers import FusedBatchNorm, LocalResponseNorm
from dlbooks.nn.metrics import accuracy, cross_entropy, log_softmax
from dlbooks.nn.training import Ema, compiled_epoch, precision
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="cifar10-cnn",
    title="CIFAR-10: convolutions, crops and color noise",
    family="classification",
    sources=["B1 2.1", "B1 2.2", "B5 5.1"],
    datasets=["cifar10"],
    own_data=["cifar10"],
    mirrored=True,
    headline="test_accuracy",
    metrics={
        "test_accuracy": Metric(better="higher", reported=0.866, source="B1 2.2.5, precision @ 1 from step 150,000", floor=0.8),
        "test_loss": Metric(better="lower"),
        "test_ece": Metric(better="lower"),
        "one_view_accuracy": Metric(better="higher"),
        "accuracy_at_60k": Metric(better="higher"),
        "accuracy_at_100k": Metric(better="higher"),
        "accuracy_at_150k": Metric(better="higher"),
        "augmentation_gain": Metric(better="higher"),
    },
    variants={
        "book": Variant(
            {"net": "book", "width": 64, "learning_rate": 0.1, "batch_size": 128, "epochs": 385}
            | {"augment": True, "ema": 0.9999, "label_smoothing": 0.0, "hold_out": False},
            {"test_accuracy": 0.866, "accuracy_at_60k": 0.86, "accuracy_at_100k": 0.863, "accuracy_at_150k": 0.866},
            "B1 2.2.5",
        ),
        "cifarnet": Variant(
            {"net": "cifarnet", "width": 64, "learning_rate": 0.1, "batch_size": 128, "epochs": 256}
            | {"augment": True, "ema": 0.0, "label_smoothing": 0.0, "hold_out": False},
            source="B5 5.1",
            about="TF-Slim's net and script; the book prints no result",
        ),
    },
    curves={
        "Loss": ["loss", "validation_loss"],
        "Precision": ["validation_accuracy"],
        "Learning rate": ["learning_rate"],
        "Augmentation": ["with_augmentation", "without_augmentation"],
    },
    picture="augmentation.png",
    example="dlbooks predict cifar10-cnn cat.jpg",
    use=Use(takes="picture", about="a photo of an airplane, automobile, bird, cat, deer, dog, frog, horse, ship or truck", batched=True),
)


class Params(ChapterParams):
    net: Literal["book", "cifarnet", "fast"] = "book"
    """which network and optimizer, see the table"""
    width: int = Field(64, ge=8, le=512, multiple_of=8)
    """maps of the first stage; `fast` doubles them twice"""
    learning_rate: float = Field(0.1, gt=0, le=10)
    """step size; for `fast` the highest one"""
    batch_size: int = Field(128, ge=1, le=10_000)
    """examples per step"""
    epochs: int = Field(385, ge=1, le=10_000)
    """passes over the training pictures"""
    augment: bool = True
    """crop or shift, flip, brightness and contrast; without, the central crop"""
    ema: float = Field(0.9999, ge=0, lt=1)
    """decay of the weights' moving average, used in place of the last weights; 0 for none"""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """share of the label spread over all classes"""
    hold_out: bool = True
    """keep the validation pictures out of training; without, the test set is watched, as in the book"""
    pair_width: int = Field(32, ge=8, le=512, multiple_of=8)
    """`width` of the two `fast` nets that measure what augmentation gains"""
    pair_epochs: int = Field(8, ge=1, le=10_000)
    """their passes"""
    pair_batch: int = Field(256, ge=1, le=10_000)
    """their examples per step; the rate follows: 0.4 for 256"""


# ## The networks
# The first two standardize their input in the graph, so that the exported net takes plain pixels. In TensorFlow 1 weight decay $w$ means
# $w \cdot \tfrac12 \sum \theta^2$, Keras leaves out the half.
L = keras.layers


def build(params: Params, classes: int = 10) -> keras.Model:
    side = side_of(params)
    image = keras.Input((side, side, 3), dtype="uint8" if params.net == "fast" else "float32", name="image")
    net = fast(image, params.width, classes) if params.net == "fast" else two_stages(image, params.width, params.net, classes)
    return keras.Model(image, net)


def side_of(params: Params) -> int:
    """Height and width of the pictures that the net reads."""
    return 24 if params.net == "book" else 32


def standardized(x):
    """Per picture (x − μ)/max(σ, 1/√N) over its N numbers."""
    mean, deviation = ops.mean(x, (1, 2, 3), keepdims=True), ops.std(x, (1, 2, 3), keepdims=True)
    return (x - mean) / ops.maximum(deviation, float(np.prod(x.shape[1:])) ** -0.5)


def two_stages(x, width: int, net: str, classes: int):
    def options(deviation, bias=0.0, decay=0.0):
        return {
            "kernel_initializer": keras.initializers.TruncatedNormal(stddev=deviation),
            "bias_initializer": keras.initializers.Constant(bias),
            "kernel_regularizer": keras.regularizers.L2(decay / 2) if decay else None,
        }

    pool = {"pool_size": 3, "strides": 2, "padding": "same"} if net == "book" else {"pool_size": 2}
    x = L.Conv2D(width, 5, padding="same", activation="relu", name="conv1", **options(0.05))(standardized(x))
    x = LocalResponseNorm(4, 1.0, 0.001 / 9, 0.75, name="norm1")(L.MaxPooling2D(**pool, name="pool1")(x))
    x = L.Conv2D(width, 5, padding="same", activation="relu", name="conv2", **options(0.05, 0.1))(x)
    x = L.MaxPooling2D(**pool, name="pool2")(LocalResponseNorm(4, 1.0, 0.001 / 9, 0.75, name="norm2")(x))
    x = L.Dense(384, "relu", name="dense1", **options(0.04, 0.1, 0.004))(L.Flatten()(x))
    x = L.Dropout(0.5)(x) if net == "cifarnet" else x
    x = L.Dense(192, "relu", name="features", **options(0.04, 0.1, 0.004))(x)
    return L.Dense(classes, dtype="float32", name="logits", **options(1 / 192))(x)


def fast(x, width: int, classes: int):
    x = L.Rescaling(1 / 64, -2.0)(x)
    x = ops.silu(L.Conv2D(24, 2, use_bias=False, trainable=False, name="whiten")(x))
    for stage, maps in enumerate((width, 2 * width, 4 * width), 1):
        for part in (1, 2):
            same = range(min(x.shape[-1], maps))
            conv = L.Conv2D(maps, 3, padding="same", use_bias=False, name=f"conv{stage}{part}", kernel_initializer=uniform())
            x = conv(x)
            kernel = np.array(conv.kernel)
            kernel[..., same] = 0
            kernel[1, 1, same, same] = 1
            conv.kernel.assign(kernel)
            x = L.MaxPooling2D(2, name=f"pool{stage}")(x) if part == 1 else x
            x = ops.silu(FusedBatchNorm(scale=False, momentum=0.8, epsilon=1e-5, name=f"norm{stage}{part}")(x))
    x = L.Rescaling(1 / 9, dtype="float32")(L.GlobalMaxPooling2D(name="features", dtype="float32")(x))
    return L.Dense(classes, use_bias=False, dtype="float32", name="logits", kernel_initializer=uniform())(x)


def uniform():
    return keras.initializers.VarianceScaling(1 / 3, distribution="uniform")


def whitening(images: np.ndarray, count: int = 24, epsilon: float = 5e-4) -> np.ndarray:
    r"""Kernels ``[2, 2, 3, count]`` $\pm v_i/\sqrt{\lambda_i + \epsilon}$ from the covariance $\sum_i \lambda_i v_i v_i^T$ of all 2 × 2 patches of scaled pictures."""
    scaled = images.astype(np.float32) / 64 - 2
    patches = np.concatenate([scaled[:, i : i + 31, j : j + 31] for i in (0, 1) for j in (0, 1)], -1).reshape(-1, 12)
    patches = patches - patches.mean(0, dtype=np.float64)
    values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), range(12)])  # a sign is the library's choice
    kernels = (vectors / np.sqrt(values + epsilon))[:, ::-1].reshape(2, 2, 3, 12)
    return np.concatenate([kernels, -kernels], -1)[..., :count]


# ## Training
class Triangular(keras.optimizers.schedules.LearningRateSchedule):
    """From a fifth of ``top`` up to ``top`` at the first fifth of ``steps``, then down to zero, both in straight lines."""

    def __init__(self, top: float, steps: int):
        self.top, self.steps = top, steps

    def __call__(self, step):
        done = tf.cast(step, tf.float32) / self.steps
        return self.top * tf.maximum(tf.minimum(0.2 + 4 * done, (1 - done) / 0.8), 0.0)

    def get_config(self):
        return {"top": self.top, "steps": self.steps}


def optimizer_of(p: Params, examples: int):
    if p.net == "fast":
        rate = Triangular(p.learning_rate, p.epochs * (examples // p.batch_size))
        optimizer = keras.optimizers.SGD(rate, momentum=0.85, nesterov=True, weight_decay=0.009)
        optimizer.exclude_from_weight_decay(var_names=["beta"])
        return optimizer
    passes = {"book": 350, "cifarnet": 200}[p.net]
    rate = keras.optimizers.schedules.ExponentialDecay(p.learning_rate, int(examples / p.batch_size * passes), 0.1, staircase=True)
    return keras.optimizers.SGD(rate)


# The books' nets: crop, flip, brightness and contrast. CifarNet pads by 4 pixels and crops 32. The training function draws by (pass, step) alone.
def changes(p: Params):
    """What happens to a batch (pictures, whether to mirror each) on its way into the net."""

    def book(batch, seed):
        where, side, light = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
        images = crop(batch[0], where, 24) if p.net == "book" else pad_crop(batch[0], where, 4)
        return jitter(flip(images, side), light, 63, (0.2, 1.8))

    def shift(batch, seed):
        return mirror(pad_crop(batch[0], seed, 2), batch[1])

    if not p.augment:
        return lambda batch, seed: central_crop(batch[0], side_of(p))
    return shift if p.net == "fast" else book


def fit(run, p: Params, data: dict, watched: dict, classes: int, label: str, log) -> tuple[keras.Model, list[float]]:
    """Trains one net; ``log(step, loss, rate, logits)`` after every pass. Returns it, with averaged weights, and the seconds of its passes."""
    p = bounded(p, len(data["label"]))
    with precision(run.profile):
        model = build(p, classes)
    if p.net == "fast":
        model.get_layer("whiten").kernel.assign(whitening(data["image"][:2000]))
    x, y = tf.constant(data["image"]), tf.constant(data["label"])
    optimizer = optimizer_of(p, len(x))
    ema = Ema(model, p.ema) if p.ema else None
    epoch, score = compiled_epoch(model, optimizer, smoothed_cross_entropy(p.label_smoothing), augment=changes(p), ema=ema), forward(model)
    first, pictures = run.random(label, "mirror").random(len(x)) < 0.5, central_crop(watched["image"], side_of(p))
    seconds = []
    for number in run.epochs(p.epochs, label, model=model, optimizer=optimizer, **({"ema": ema} if ema else {})):
        order = run.random(label, "order", number).permutation(len(x))
        start = time.perf_counter()
        mean = epoch((x, alternating(first, number)), y, order, p.batch_size, int(run.random(label, "augment", number).integers(1 << 20)))
        seconds.append(time.perf_counter() - start)
        with ema.swapped() if ema else nullcontext():
            log((number + 1) * (len(x) // p.batch_size), mean, float(optimizer.learning_rate), score(pictures))
    if ema:
        ema.swap()
    return model, seconds


def train(run):
    p, records = run.params, run.records("cifar10")
    splits = [records.arrays("train")] if p.hold_out else [records.arrays("train"), records.arrays("validation")]
    data = {name: np.concatenate([s[name] for s in splits]) for name in ("image", "label")}
    watched = records.arrays("validation" if p.hold_out else "test")
    labels, classes = watched["label"], len(records.names())

    def full(step, mean, rate, logits):
        run.log(step, loss=mean, learning_rate=rate, validation_loss=cross_entropy(logits, labels), validation_accuracy=accuracy(logits, labels))

    model, seconds = fit(run, p, data, watched, classes, "passes", full)
    if seconds:
        run.timing(seconds_per_epoch=float(np.median(seconds)))
    if p.label_smoothing and p.hold_out:
        rescale(model, forward(model)(central_crop(watched["image"], side_of(p))), labels)
    run.save(model)

    small = {"net": "fast", "width": p.pair_width, "epochs": p.pair_epochs, "batch_size": p.pair_batch, "learning_rate": p.pair_batch * 0.4 / 256}
    for name, augment in (("with_augmentation", True), ("without_augmentation", False)):
        pair = p.model_copy(update={**small, "augment": augment, "ema": 0.0, "label_smoothing": 0.2})
        fit(run, pair, data, watched, classes, name, lambda step, _, __, logits, name=name: run.log(step, **{name: accuracy(logits, labels)}))


def rescale(model: keras.Model, logits: np.ndarray, labels: np.ndarray) -> None:
    """Multiplies the scores by the one factor that makes the cross-entropy of held-out pictures smallest."""
    from scipy.optimize import minimize_scalar

    best = minimize_scalar(lambda s: cross_entropy(np.exp(s) * logits, labels), bounds=(-2, 3), method="bounded")
    for weight in model.get_layer("logits").weights:
        weight.assign(weight * float(np.exp(best.x)))


# ## Evaluation
def evaluate(run) -> dict:
    p, records = run.params, run.records("cifar10")
    test = records.arrays("test")
    model = run.load(build(p, len(records.names())))
    score, pictures = forward(model), central_crop(test["image"], side_of(p))
    logits = one = score(pictures)
    if p.net == "fast":
        logits = averaged([one, *map(score, views(pictures)[1:])])
    run.figure("samples.png", sample_figure(test, records.names()), "Ten test pictures of each class")
    run.figure("augmentation.png", augmentation_figure(p, test["image"][np.arange(5) % len(test["image"])]), AUGMENTED[p.net])
    kernels = np.asarray(model.get_layer("whiten" if p.net == "fast" else "conv1").kernel)
    run.figure(
        "kernels.png", kernel_figure(kernels), "Kernels of the first layer as colors: blobs that answer to a color, stripes that answer to an edge"
    )
    curve = run.series["validation_accuracy"]
    looks = {f"accuracy_at_{k}k": [v for step, v in curve if step <= max(k * 1000, curve[0][0])][-1] for k in (60, 100, 150)}
    last = {name: run.series[name][-1][1] for name in ("with_augmentation", "without_augmentation")}
    return {
        **evaluate_classifier(run, logits, test, records.names()),
        "one_view_accuracy": accuracy(one, test["label"]),
        **looks,
        "augmentation_gain": last["with_augmentation"] - last["without_augmentation"],
    }


def averaged(logits: list[np.ndarray]) -> np.ndarray:
    """Logarithm of the mean of the views' probabilities."""
    return np.log(np.mean([np.exp(log_softmax(z)) for z in logits], 0) + 1e-30)


AUGMENTED = {
    "book": "Five pictures, each change alone, then what the net sees: the brightness is undone, colors stay shifted",
    "cifarnet": "Five pictures, each change alone, then what the net sees: the brightness is undone, colors stay shifted",
    "fast": "Five pictures, mirrored, and four of their shifts: what moves by two pixels is still the same thing",
}


def augmentation_figure(p: Params, images: np.ndarray):
    def shown(x):
        return np.clip(np.asarray(x), 0, 255).astype(np.uint8)

    seed = tf.constant([p.seed, 0])
    columns = {"original": images, "mirrored": images[:, :, ::-1]}
    if p.net == "fast":
        columns |= {f"shift {k}": shown(pad_crop(images, tf.constant([p.seed, k]), 2)) for k in range(1, 5)}
    else:
        columns |= {"crop": shown(crop(images, seed, 24)) if p.net == "book" else shown(pad_crop(images, seed, 4))}
        columns |= {"brightness": shown(jitter(images, seed, 63, (1.0, 1.0))), "contrast": shown(jitter(images, seed, 0, (0.2, 1.8)))}
        result = np.asarray(standardized(changes(p.model_copy(update={"augment": True}))((images, None), seed)))
        columns |= {"all, standardized": shown(result * 48 + 128)}
    figure, axes = figures.new(7.2, 6.2, len(images), len(columns))
    for row, cells in enumerate(axes):
        for cell, (name, pictures) in zip(cells, columns.items(), strict=True):
            cell.set_axis_off()
            cell.imshow(pictures[row], interpolation="nearest")
            if row == 0:
                cell.set_title(name, fontsize=9)
    return figure


def sample_figure(test: dict, names: list[str]):
    """Ten pictures per class, one class a row, in one mosaic."""
    mosaic = np.full((34 * len(names), 340, 3), 255, np.uint8)
    for label in range(len(names)):
        for column, image in enumerate(test["image"][test["label"] == label][:10]):
            mosaic[34 * label : 34 * label + 32, 34 * column : 34 * column + 32] = image
    figure, axes = figures.new(6.4, 5.8)
    axes.imshow(mosaic, interpolation="nearest")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set(xticks=[], yticks=[34 * k + 16 for k in range(len(names))], yticklabels=names)
    axes.tick_params(length=0)
    return figure


def kernel_figure(kernels: np.ndarray):
    """Kernels ``[k, k, 3, n]`` as pictures, gray is zero."""
    count = kernels.shape[-1]
    scaled = 0.5 + kernels / (2 * np.abs(kernels).max((0, 1, 2)))
    return figures.grid(np.moveaxis(scaled, -1, 0), 16 if count > 24 else 12, size=0.7)


def export(run):
    records, p = run.records("cifar10"), run.params
    sample = central_crop(records.arrays("validation")["image"][:100], side_of(p))
    classifier_export(run, run.load(build(p, len(records.names()))), records.names(), sample)


# ## Use
# The shorter side becomes 32 pixels; what the net reads is cut from the middle.
def answer(run, inputs: list[np.ndarray], *, top: int = 3, seen: bool = False) -> list[dict]:
    side = side_of(run.params)
    return classify(run, inputs, lambda picture: small_square(picture, side), top, seen)


def predict(run, inputs: list[str], out: Path | None = None, *, top: int = 3):
    predict_pictures(run, answer, inputs, out, top=top, mode="RGB")


def small_square(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture ``[H, W, 3]`` of any size as uint8 ``[side, side, 3]``."""
    height, width = picture.shape[:2]
    scale = 32 / min(height, width)
    size = (max(32, round(width * scale)), max(32, round(height * scale)))
    return central_crop(np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))[None], side)[0]
