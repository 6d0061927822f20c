r"""# Convolutional GAN on MNIST

A *generator* $G$ turns a random code $z$ into a picture. A *discriminator* $D$ looks at pictures and says how sure it is that they are real.
One learns to fool, the other not to be fooled, and neither is ever told what a digit is:

$$\min_G \max_D\ \mathbb E_{x \sim p_\text{data}} \log D(x) + \mathbb E_{z} \log\bigl(1 - D(G(z))\bigr).$$

For a fixed $G$ whose pictures have the density $q$, the best answer is $D^* = p / (p + q)$, one half where both agree, and the value is then
$2\,\mathrm{JS}(p, q) - \log 4$, the Jensen–Shannon divergence but for constants: a generator that wins has $q = p$. Taken literally the generator
learns from $\log(1 - D)$, whose gradient in the logit $f$ is $-\sigma(f)$: next to nothing as long as its pictures are bad and $D$ is sure, 0.0067 at
$f = -5$. So everybody, the books included, lets it maximize $\log D(G(z))$ instead (`loss: ns`, non-saturating): same fixed point, gradient
$-\sigma(-f)$, 0.9933 there. A pair of blind nets has $D = \frac12$ and the losses $2 \ln 2 = 1.386$ and $\ln 2 = 0.693$.

**DCGAN** (Radford et al., 2015) is the set of rules by which this began to work with convolutions: strides instead of pooling; batch norm; rectifiers and a
tanh at the end of $G$, leaky rectifiers in $D$. A strided convolution takes 28 to 14 to 7 pixels in $D$; the *transposed* one takes 7 to 14
to 28 in $G$. With a kernel of 5 and stride 2, an output pixel is reached by 4, 6 or 9 taps in turn, which draws a checkerboard; with a kernel of 4 by 4
taps always (`up: transposed`), or one enlarges first and convolves then (`resize`).

| net | generator, discriminator | parameters | the book's training |
| --- | --- | --- | --- |
| `b1` | told the class at every stage; 1024, 6272, deconv 5×5 128, 1, sigmoid / conv 5×5/2 11, 74, 1024; batch norm in both | 7,065,211 / 3,769,479 | Adam 2e-4, β₁ ½, batch 64, 25 epochs, two $G$ steps per $D$ step with the same codes |
| `b2` | no classes; 1024, 6272, [up, conv 5×5] 64, 1, all tanh / conv 5×5 64, 128, max pooling, 1024, all tanh | 6,763,777 / 3,485,441 | SGD 5e-4, Nesterov 0.9, batch 128, 100 epochs |
| `best` | told the class; dense to 7×7, deconv 4×4/2 twice, conv 3×3, batch norm, tanh / conv 4×4/2 twice, dense | by `width` | Adam with β 0 and 0.99, R1, averaged weights |

B2's net breaks each of the rules that the same section lists, and its text says "no pooling" of a net that pools. B1 trains on all 70,000
digits, the test set included (1,093 steps of 64 an epoch); here both leave test and validation digits out, so their epochs are shorter.

**What `best` adds**, each a line or two of code: the class is told to both nets, to $G$ as part of its code, to $D$ by *projection* (Miyato and Koyama, 2018); the penalty
$\frac\gamma2 \mathbb E \lVert \nabla_x D(x) \rVert^2$ on real digits, R1, which lets the game settle (Mescheder et al., 2018), on every eighth step with eight times the weight;
and a moving average of $G$'s weights, which draws all pictures: a single step of $G$ answers the last step of $D$, the average what many of them agree on.

**How good?** Losses of a game say nothing: both nets may get better and the losses stay. So the project's own classifier of digits, `mnist-cnn`, judges
(`nn/generative_metrics.py`): the Fréchet distance between its features of samples and of real digits (`judge_fd`, with that of real test digits beside
it, `judge_fd_floor`), how often it sees the digit that was asked for (`label_accuracy`), how sure it is (`judge_confidence`).
Profile `mini` reaches 3.6 on the twin, where real test digits score 1.0, and 95 % of its digits are taken for what was asked. On MNIST
(`dlbooks run dcgan-mnist --profile book`, ten minutes on two busy cores) it is `judge_fd` 0.27 where real test digits score 0.20; every sample is taken for the digit asked for, all ten classes
appear, and the judge's mean confidence is 0.999. That they are no copies says `copy_share`, 0.51: half of them lie nearer to a held-out digit than to any training digit. (Test digits are other people's writing,
so even they do not score 0. After 2,500 of the 8,000 steps the samples scored 0.21: the distance is a ruler with its own grain.)

B1 prints the losses of its first steps, 1.985 and 1.001 at step 0, and at step 5 1.391 and 0.711, near the blind pair's; `b1` has 1.379 and 0.715 there. (B1 takes
them *after* the step's updates, `d_loss_step_5` before them.) From then on its pictures speak. B2's step 0 has 0.669 and 0.718, with the mean of
both halves of the discriminator's loss where B1 has their sum.

**B1's viewer** has five options, of which three feed no class and fail on this very net, and the other two draw a new random class for every
frame, so that a walk along one coordinate hops between digits. Here the class stays.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from dlbooks import UserError
from dlbooks.catalog import Chapter, Metric, Use, Variant
from dlbooks.chapters.generative._book_dcgans import b1, b2
from dlbooks.chapters.generative._dcgan_pictures import progress_figure, show
from dlbooks.export import keras_file, saved_model
from dlbooks.inputs import checked_text
from dlbooks.nn.gan import Snapshots, adversarial_epoch
from dlbooks.nn.generative_metrics import Judge, Panel, copy_share
from dlbooks.nn.image_quality import checkerboard
from dlbooks.nn.latent import MOST, draw, mosaic, predict_generator
from dlbooks.nn.layers import up
from dlbooks.nn.training import Adam, Ema, precision, shuffled
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="dcgan-mnist",
    title="Convolutional GAN on MNIST",
    family="generative",
    sources=["B1 8.2", "B1 8.3.1", "B1 8.3.4", "B2 2.2.2"],
    datasets=["mnist"],
    needs=["mnist-cnn"],
    headline="judge_fd",
    metrics={
        "judge_fd": Metric(better="lower", floor=6.0),
        "judge_fd_floor": Metric(better="lower"),
        "judge_precision": Metric(better="higher"),
        "judge_recall": Metric(better="higher"),
        "judge_coverage": Metric(better="higher", floor=0.65),
        "judge_score": Metric(better="higher"),
        "modes_hit": Metric(better="higher", floor=10),
        "judge_confidence": Metric(better="higher", floor=0.85),
        "label_accuracy": Metric(better="higher", floor=0.85),
        "copy_share": Metric(better="lower"),
        "checkerboard": Metric(better="lower"),
        "d_loss_step_5": Metric(better="lower"),
        "g_loss_step_5": Metric(better="lower"),
    },
    variants={
        "b1": Variant(
            {"net": "b1", "r1": 0.0, "learning_rate": 2e-4, "batch_size": 64, "steps": 21_475, "g_steps": 2, "ema": 0.0},
            {"d_loss_step_5": 1.39107466, "g_loss_step_5": 0.71104574},
            "B1 8.3.1",
            "the conditional net of B1, two generator steps for one of the discriminator",
        ),
        "b2": Variant(
            {"net": "b2", "r1": 0.0, "learning_rate": 5e-4, "batch_size": 128, "steps": 42_900, "ema": 0.0},
            source="B2 2.2.2",
            about="the Keras net of B2, which has no classes",
        ),
        "unconditional": Variant({"conditional": False}, about="the default without classes: what labels are worth"),
        "resize": Variant({"up": "resize"}, about="enlarge, then convolve: no checkerboard, twice the work"),
    },
    curves={
        "Losses": ["d_loss", "g_loss"],
        "The discriminator's answers": ["d_real", "d_fake"],
        "What the judge sees": ["judge_confidence", "label_accuracy"],
    },
    picture="samples.png",
    example="dlbooks predict dcgan-mnist 2024 -o number.png",
    use=Use(takes="text", about="the digits to draw", example="2024"),
)


class Params(ChapterParams):
    net: str = Field("best", pattern="^(b1|b2|best)$")
    """which pair of networks, see the table"""
    conditional: bool = True
    """for `best`: both networks are told the class; `b1` always is, `b2` never"""
    width: int = Field(32, ge=8, le=512, multiple_of=4)
    """for `best`: the generator's maps at 7 × 7 pixels; half as many at 14 × 14, a quarter at 28 × 28"""
    up: str = Field("transposed", pattern="^(transposed|resize|shuffle|bilinear)$")
    """for `best`: how the generator doubles the size of its maps"""
    loss: str = Field("ns", pattern="^(minimax|ns|mixed|lsgan|hinge)$")
    """what the two networks minimize"""
    r1: float = Field(0.5, ge=0, le=100)
    """weight γ of the penalty on the discriminator's slope at real digits, 0 for none"""
    learning_rate: float = Field(3e-3, gt=0, le=1)
    """step size of both networks"""
    batch_size: int = Field(32, ge=1, le=10_000)
    """real digits per step, and as many generated ones"""
    steps: int = Field(300, ge=10, le=1_000_000)
    """steps of the discriminator"""
    g_steps: int = Field(1, ge=1, le=10)
    """steps of the generator after each of them, with the same codes"""
    log_every: int = Field(25, ge=10, le=100_000)
    """steps between two looks at the samples"""
    ema: float = Field(0.99, ge=0, lt=1)
    """decay of the moving average of the generator's weights, which draws all pictures; 0 for the last weights"""
    samples: int = Field(500, ge=100, le=10_000)
    """generated digits that are judged"""


# ## The networks
# Both models of a pair are made together, since they share what they are told: the class as a one-hot vector $y$, or nothing.
def build(params: Params) -> dict[str, keras.Model]:
    code = keras.Input((prior(params)[1],), name="code")
    image = keras.Input((28, 28, 1), name="image")
    label = keras.Input((), dtype="int32", name="label") if conditional(params) else None
    kind = None if label is None else keras.ops.one_hot(label, CLASSES)
    picture, logit = {"b1": b1, "b2": b2, "best": best}[params.net](params, code, image, kind)
    sides = {"generator": (code, picture), "discriminator": (image, logit)}
    return {name: keras.Model(first if label is None else [first, label], last, name=name) for name, (first, last) in sides.items()}


L, CLASSES = keras.layers, 10


def conditional(p: Params) -> bool:
    return p.net == "b1" or (p.net == "best" and p.conditional)


def prior(p: Params) -> tuple[str, int]:
    """Kind and length of a code: the books draw from a cube, `best` from a ball."""
    return ("normal", 64) if p.net == "best" else ("uniform", 100)


# `best` gives the generator the class as ten more numbers of its code and asks the discriminator for
# $v \cdot h(x) + \langle e_y, h(x) \rangle$: is this a digit, and does it look like a $y$? Its discriminator has no batch norm, for the penalty
# asks for the slope at *one* picture.
def best(p, code, image, kind):
    x = code if kind is None else L.Concatenate()([code, kind])
    x = L.Reshape((7, 7, p.width))(L.Dense(49 * p.width, use_bias=False)(x))
    x = L.ReLU()(L.BatchNormalization(momentum=0.9)(x))
    for maps in (p.width // 2, p.width // 4):
        x = L.ReLU()(L.BatchNormalization(momentum=0.9)(up(x, maps, p.up, use_bias=False)))
    picture = L.Conv2D(1, 3, padding="same", activation="tanh", dtype="float32", name="picture")(x)

    x = L.LeakyReLU(0.2)(L.Conv2D(p.width // 2, 4, 2, padding="same")(image))
    x = L.LeakyReLU(0.2)(L.Conv2D(p.width, 4, 2, padding="same")(x))
    features = L.LeakyReLU(0.2)(L.Dense(4 * p.width, name="features")(L.Flatten()(x)))
    logit = L.Dense(1, dtype="float32", name="logit")(features)
    if kind is not None:
        logit = L.Add(dtype="float32")([logit, L.Dot(1, dtype="float32")([features, L.Dense(4 * p.width, use_bias=False, name="classes")(kind)])])
    return picture, logit


# Digits live in the range of the generator's last nonlinearity: [0, 1] for the sigmoid of `b1`, [−1, 1] for tanh.
def to_range(p: Params, images):
    images = tf.cast(images, tf.float32)
    return images / 255.0 if p.net == "b1" else images / 127.5 - 1.0


def to_pixels(p: Params, pictures):
    return tf.cast(tf.round(pictures * 255.0 if p.net == "b1" else (pictures + 1.0) * 127.5), tf.uint8)


# ## Training
# The loop is `nn/gan.py`'s. Every `log_every` steps the averaged generator draws the same hundred codes again, and the judge, a classifier of
# digits that no step ever trains on, says what it sees.
def optimizer_of(p: Params):
    if p.net == "b2":
        return keras.optimizers.SGD(p.learning_rate, momentum=0.9, nesterov=True)
    return Adam(p.learning_rate, beta_1=0.5) if p.net == "b1" else Adam(p.learning_rate, beta_1=0.0, beta_2=0.99)


def train(run):
    p = run.params
    kind, length = prior(p)
    split = run.records("mnist").arrays("train")
    x, y = tf.constant(split["image"]), tf.constant(split["label"], tf.int32)
    with precision(run.profile):
        nets = build(p)
    generator, discriminator = nets["generator"], nets["discriminator"]
    optimizers = {"g_optimizer": optimizer_of(p), "d_optimizer": optimizer_of(p)}
    ema = Ema(generator, p.ema) if p.ema else None

    def codes(count, seed):
        if kind == "normal":
            return tf.random.stateless_normal((count, length), seed)
        return tf.random.stateless_uniform((count, length), seed, -1.0, 1.0)

    epoch = adversarial_epoch(
        generator,
        discriminator,
        *optimizers.values(),
        p.loss,
        draw=codes,
        real=lambda images: to_range(p, images),
        r1_gamma=p.r1,
        g_steps=p.g_steps,
        ema=ema,
    )
    parts = -(-p.steps // p.log_every)
    judge, paint, same, digits = Judge(run.needed("mnist-cnn")), painter(p, generator), fixed_codes(run), np.repeat(np.arange(CLASSES), 10)
    album = Snapshots(parts + 1, (100, 28, 28, 1))
    state = {**nets, **optimizers, "album": album, **({"ema": ema} if ema else {})}

    def look(number):
        with ema.swapped() if ema else nullcontext():
            pictures = paint(same, digits)
        album.take(number, pictures)
        return judge(pictures)[1]

    look(0)
    for part in run.epochs(parts, f"{p.log_every} steps", **state):
        start = part * p.log_every
        steps = min(p.log_every, p.steps - start)
        order = shuffled(run, len(x), p.batch_size, start, steps)
        history = epoch(x, y, order, p.batch_size, int(run.random("noise", part).integers(2**31)))
        for step in range(FIRST if part == 0 else 0):
            run.log(step, early_d_loss=history["d_loss"][step], early_g_loss=history["g_loss"][step])
        answer = look(part + 1)
        seen = {"judge_confidence": answer.max(1).mean(), "label_accuracy": (answer.argmax(1) == digits).mean()}
        run.log(start + steps, **{name: values.mean() for name, values in history.items()}, **seen)
    steps = [min(number * p.log_every, p.steps) for number in range(parts + 1)]
    run.gif(
        "progress.gif",
        [mosaic(pictures, 10, scale=1) for pictures in album.all()],
        f"The same hundred codes, drawn again after every {p.log_every} steps: gray fog, blots, strokes, digits",
        fps=6,
    )
    run.figure("progress.png", progress_figure(album.all(), steps), "One code per class while training goes on: blots become strokes, strokes digits")
    with ema.swapped() if ema else nullcontext():
        run.save(generator, "generator")
    run.save(discriminator, "discriminator")


FIRST = 6  # steps that are logged one by one, from 0 as B1 counts: it prints the losses of these


def fixed_codes(run) -> np.ndarray:
    """A hundred codes that stay the same over training and in ``samples.png``."""
    kind, length = prior(run.params)
    return draw(kind, 100, length, run.random("codes"))


def painter(p: Params, generator: keras.Model):
    """Compiles codes ``[n, length]`` and labels ``[n]`` → uint8 ``[n, 28, 28, 1]``; a net without classes ignores the labels."""

    @tf.function(input_signature=[tf.TensorSpec((None, prior(p)[1]), tf.float32), tf.TensorSpec((None,), tf.int32)])
    def paint(codes, labels):
        return to_pixels(p, generator([codes, labels] if conditional(p) else codes, training=False))

    def batched(codes, labels):
        return np.concatenate([paint(codes[i : i + 500], labels[i : i + 500]).numpy() for i in range(0, len(codes), 500)])

    return batched


# ## Evaluation
# The judge's classes say whether a digit is the one that was asked for, its features how far samples and real digits lie apart. Real test
# digits get the same treatment (`judge_fd_floor`): what they score is all that can be asked for. `copy_share` looks for a
# memorizer: the share of samples that lie nearer to a training digit than to any of as many digits never trained on; one half is honest.
REFERENCE = 5000  # training digits that samples are compared with, at most


def evaluate(run) -> dict:
    p, records = run.params, run.records("mnist")
    train, validation, test = (records.arrays(split) for split in ("train", "validation", "test"))
    generator = run.load(build(p)["generator"], "generator")
    paint, (kind, length) = painter(p, generator), prior(p)
    labels = np.arange(p.samples) % CLASSES
    samples = paint(draw(kind, p.samples, length, run.random("samples")), labels)
    judge = Judge(run.needed("mnist-cnn"))
    panel = Panel(judge, train["image"][:REFERENCE])
    answer = judge(samples)[1]
    real = test["image"][: p.samples]
    show(run, paint, fixed_codes(run), conditional(p), 3.0 if kind == "normal" else 1.0, samples, train["image"][: 2 * REFERENCE])
    return {
        **panel.scores(samples),
        "judge_fd_floor": panel.distance(real),
        "judge_confidence": answer.max(1).mean(),
        "label_accuracy": (answer.argmax(1) == labels).mean(),
        "copy_share": copy_share(samples, train["image"], validation["image"]),
        "checkerboard": checkerboard(samples, real),
        **{f"{name}_step_5": dict(run.series[f"early_{name}"])[5] for name in ("d_loss", "g_loss")},
    }


# ## Export
# `generate` for codes (and classes) of one's own, `sample` for whoever has none, class $i \bmod 10$ for picture $i$; `discriminate` gives the
# discriminator's logit for any picture, above zero for what it takes for real.
def export(run):
    p, nets = run.params, build(run.params)
    generator, discriminator = (run.load(nets[name], name) for name in ("generator", "discriminator"))
    told, (kind, length) = conditional(p), prior(p)
    label = [tf.TensorSpec((None,), tf.int32, name="label")] if told else []

    def generate(code, *label):
        return {"image": to_pixels(p, generator([code, *label] if told else code, training=False))}

    def sample(n, seed):
        draws = tf.random.stateless_normal if kind == "normal" else lambda shape, seed: tf.random.stateless_uniform(shape, seed, -1.0, 1.0)
        return generate(draws([n, length], [seed, 0]), *([tf.range(n) % CLASSES] if told else []))

    def discriminate(image, *label):
        image = to_range(p, image)
        return {"logit": discriminator([image, *label] if told else image, training=False)[:, 0]}

    functions = {
        "generate": (generate, [tf.TensorSpec((None, length), tf.float32, name="code"), *label]),
        "sample": (sample, [tf.TensorSpec((), tf.int32, name=name) for name in ("n", "seed")]),
        "discriminate": (discriminate, [tf.TensorSpec((None, 28, 28, 1), tf.uint8, name="image"), *label]),
    }
    folder = run.out / "export"
    example = {"code": np.zeros((1, length), np.float32), **({"label": [0]} if told else {})}
    saved_model(folder / "saved_model", functions, [*generator.weights, *discriminator.weights], example=example if told else example["code"])
    for net in (generator, discriminator):
        keras_file(net, folder / f"{net.name}.keras")


# ## Use
# `2024` draws that number, eight times; `count=` rows. With `interpolate=true` or `coordinate=j` each digit gets a row of `count` pictures, all from
# the same codes. `nice=20` draws twenty candidates for every picture and keeps the one that the discriminator likes best: nicer digits,
# and fewer kinds of them.
def answer(
    run,
    inputs: list[str],
    *,
    count: Annotated[int, Field(ge=1, le=32)] = 8,
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0,
    nice: Annotated[int, Field(ge=1, le=20)] = 1,
) -> list[dict]:
    found, (kind, length) = [], prior(run.params)
    for word in inputs:
        digits = digits_of(run, word, ASKED)
        codes = draw(kind, count * len(digits), length, np.random.default_rng(seed))
        found.append({"image": mosaic(generated(run, codes, np.resize(digits, len(codes)), nice, seed), len(digits))})
    return found


ASKED = 16  # digits of an answer


def digits_of(run, word: str, most: int) -> np.ndarray:
    """The digits asked for, int32 ``[n]``; all ten if none is."""
    if word and not conditional(run.params):
        raise UserError(f"net {run.params.net} draws digits as they come and cannot be asked for {word}: leave it out")
    if not all(c in "0123456789" for c in checked_text(word, most)):
        raise UserError(f"{word!r} is no number: give the digits to draw, such as 2024")
    return np.array([int(c) for c in word or "0123456789"], np.int32)


def generated(run, codes: np.ndarray, labels: np.ndarray, nice: int = 1, seed: int = 0) -> np.ndarray:
    """Codes ``[n, length]`` and labels ``[n]`` → uint8 ``[n, 28, 28, 1]``; with ``nice`` > 1 the best of as many codes for each picture."""
    given = [tf.constant(labels)] if conditional(run.params) else []
    pictures = run.model.generate(tf.constant(codes), *given)["image"].numpy()
    best, rng = run.model.discriminate(tf.constant(pictures), *given)["logit"].numpy(), np.random.default_rng((seed, 1))
    for _ in range(nice - 1):
        others = run.model.generate(tf.constant(draw(prior(run.params)[0], *codes.shape, rng)), *given)["image"]
        logits = run.model.discriminate(others, *given)["logit"].numpy()
        better = logits > best
        pictures[better], best[better] = others.numpy()[better], logits[better]
    return pictures


def predict(
    run,
    inputs: list[str],
    out: Path | None = None,
    *,
    count: int = 8,
    seed: int = 0,
    interpolate: bool = False,
    coordinate: int = -1,
    nice: int = 1,
):
    run.exported()
    word, walk, (kind, length) = "".join(map(str, inputs)), interpolate or coordinate >= 0, prior(run.params)
    digits = digits_of(run, word, MOST)
    if not 1 <= nice <= 100 or (nice > 1 and walk):
        raise UserError(f"nice = {nice}: must be between 1 and 100, and 1 with interpolate or coordinate")
    columns = count if walk else len(digits)

    def generate(codes):
        if walk and conditional(run.params):
            return generated(run, np.tile(codes, (len(digits), 1)), digits.repeat(count))
        return generated(run, codes, np.resize(digits, len(codes)), nice, seed)

    number = count if walk else count * columns
    options = {"count": number, "seed": seed, "interpolate": interpolate, "coordinate": coordinate, "kind": kind, "columns": columns}
    return predict_generator(run.chapter.id, generate, length, out, **options)
