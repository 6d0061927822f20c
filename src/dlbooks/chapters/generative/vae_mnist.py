r"""# Variational autoencoder

An autoencoder squeezes a digit into a few numbers and draws it again; but who knows which numbers are digits? A *variational* autoencoder does,
because it is a probability model. A code $z$ is drawn from the *prior* $p(z) = \mathcal N(0, I)$, a *decoder* turns it into a probability of
ink for every pixel, and the picture is drawn from these. To make a new digit, draw $z$ and decode.

Training should maximize $\log p(x) = \log \int p(x \mid z)\, p(z)\, dz$, which nobody can integrate. A second network, the *encoder*,
guesses which codes could have drawn $x$, $q(z \mid x) = \mathcal N(\mu(x), \operatorname{diag} \sigma^2(x))$, and gives a bound, the ELBO:

$$\log p(x) \;\ge\; \underbrace{\mathbb E_{q(z \mid x)} \log p(x \mid z)}_{-\text{reconstruction}} \;-\; \underbrace{\mathrm{KL}\bigl(q(z \mid x) \,\|\, p(z)\bigr)}_{\text{what the code costs}}.$$

The KL term is the price in nats of telling $z$ to somebody who knows the prior only, and it has a closed form,
$\mathrm{KL} = \frac12 \sum_j (\sigma_j^2 + \mu_j^2 - 1 - \log \sigma_j^2)$: 0 for a coordinate that says nothing, ½ for $\mu = 1, \sigma = 1$.
So a coordinate that does not pay for itself is switched off. The gradient goes through the random draw because the noise is drawn first,
$z = \mu + \sigma\, \varepsilon$ with $\varepsilon \sim \mathcal N(0, I)$: the *reparametrization*.

**Which likelihood?** A pixel's gray value is taken as a probability of ink, as both books do, and the reconstruction term is
$\sum_i \mathrm{CE}(x_i, p_i) = -\sum_i \bigl(x_i \log p_i + (1 - x_i) \log(1 - p_i)\bigr)$. It is linear in $x$, so it equals the mean over pictures $b$ whose
pixels are flipped to 0 or 1 with these probabilities, and the ELBO of the gray pictures bounds the log-likelihood of such *dynamically binarized*
digits from below. The encoder never sees $b$ here; with the variant `binarized` it does, and the bound is tighter by several nats. That one
is comparable with published tables.

**A tighter bound** takes $K$ codes at once,
$\log \frac1K \sum_k p(x \mid z_k)\, p(z_k) / q(z_k \mid x)$: the ELBO for $K = 1$, and in the mean never lower for more. `test_iwae64` has $K = 64$.

| net | encoder, code, decoder | parameters | the book's training |
| --- | --- | --- | --- |
| `b2` | 784-128 ReLU, 100, 128-784 | 240,344 | Adam 1e-3, batch 64, 10,000 steps |
| `b4` | 784-500 tanh, 20, 500-784 | 815,824 | Adam 1e-3, batch 100, 100 epochs (the sizes of the example it points to; there on Fashion-MNIST) |
| `best` | 784-512-256 with layer norm, 20, 256-512-784 ReLU | 1,085,752 | Adam 2e-3 → 0, batch 128 |

The books print pictures and no numbers. On the 10,000 real test digits, gray values as above, `best` reaches an ELBO of −96.2 nats (72.2 of reconstruction, 24.0 of KL, all 20
coordinates in use) and −92.5 with 64 codes, after seven minutes on two cores: `dlbooks run vae-mnist --profile book`.

**Why are the samples soft?** B2 blames the mean squared error, but its own loss is a cross-entropy. The cause is the same in both: given
$z$, every pixel is decided on its own, so whatever the code leaves open is averaged instead of chosen.
"""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from dlbooks import UserError, images
from dlbooks.catalog import Chapter, Metric, Use, Variant
from dlbooks.chapters.generative._vae_pictures import show
from dlbooks.export import saved_model
from dlbooks.inputs import checked_picture
from dlbooks.nn.classification import mnist_like
from dlbooks.nn.generative_metrics import Judge, Panel, copy_share
from dlbooks.nn.latent import predict_generator, write_pictures
from dlbooks.nn.losses import gaussian_kl
from dlbooks.nn.training import Adam, compiled_epoch, shuffled
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="vae-mnist",
    title="Variational autoencoder",
    family="generative",
    sources=["B2 5.4–5.5", "B4 8.1.2", "B2 5.6"],
    datasets=["mnist"],
    needs=["mnist-cnn"],
    headline="test_elbo",
    metrics={
        "test_elbo": Metric(better="higher", floor=-104.0),
        "test_recon": Metric(better="lower"),
        "test_kl": Metric(better="lower"),
        "test_iwae64": Metric(better="higher"),
        "active_units": Metric(better="higher"),
        "judge_fd": Metric(better="lower", floor=9.0),
        "judge_fd_floor": Metric(better="lower"),
        "judge_precision": Metric(better="higher"),
        "judge_recall": Metric(better="higher"),
        "judge_coverage": Metric(better="higher", floor=0.6),
        "judge_score": Metric(better="higher"),
        "modes_hit": Metric(better="higher", floor=9),
        "recon_judge_fd": Metric(better="lower", floor=5.0),
        "sharpness": Metric(better="higher"),
        "recon_sharpness": Metric(better="higher"),
        "copy_share": Metric(better="lower"),
    },
    variants={
        "b2": Variant(
            {"net": "b2", "latent": 100, "learning_rate": 1e-3, "batch_size": 64, "steps": 10_000, "decay": False, "warm_up": 0},
            source="B2 5.5",
            about="one small hidden layer, a code of 100",
        ),
        "b4": Variant(
            {"net": "b4", "latent": 20, "learning_rate": 1e-3, "batch_size": 100, "steps": 55_000, "decay": False, "warm_up": 0},
            source="B4 8.1.2",
            about="one hidden layer of 500 tanh units, here on MNIST",
        ),
        "binarized": Variant({"binarize": True}, about="pixels drawn anew at every step: comparable with published log-likelihoods"),
        "plane": Variant({"latent": 2}, about="a code of two numbers: manifold.png shows all that the decoder can draw"),
    },
    curves={"Loss": ["loss"], "ELBO": ["validation_elbo"], "Its two parts": ["validation_recon", "validation_kl"]},
    picture="manifold.png",
    example="dlbooks predict vae-mnist 3.png 8.png interpolate=true -o morph.gif",
    use=Use(takes="gray picture", about="one handwritten digit; it is drawn again from its code", batched=True),
)


class Params(ChapterParams):
    net: str = Field("best", pattern="^(b2|b4|best)$")
    """which network, see the table"""
    width: int = Field(256, ge=8, le=8192)
    """units of the first hidden layer of `best`; the second has half"""
    latent: int = Field(20, ge=2, le=1000)
    """numbers in a code"""
    beta: float = Field(1.0, ge=0, le=1000)
    """weight of the KL term; 1 is the bound"""
    warm_up: int = Field(300, ge=0, le=1_000_000)
    """steps in which that weight rises from 0, so that coordinates are not switched off before they are of use"""
    binarize: bool = False
    """draw black or white pixels anew at every step, with the gray value as probability"""
    learning_rate: float = Field(3e-3, gt=0, le=1)
    """step size of Adam"""
    decay: bool = True
    """let the step size fall to 0 along a cosine"""
    batch_size: int = Field(32, ge=1, le=10_000)
    """pictures per step"""
    steps: int = Field(1500, ge=1, le=1_000_000)
    """gradient steps"""
    log_every: int = Field(150, ge=1, le=100_000)
    """steps between two looks at the validation set"""


# ## Model
# One model for training, picture and noise in; `encoder` and `decoder` are its parts. It also returns the scaled picture: the loss compares
# the decoder's answer with what the encoder saw.
def build(params: Params) -> keras.Model:
    hidden, activation, norm = {
        "b2": ((128,), "relu", False),
        "b4": ((500,), "tanh", False),
        "best": ((params.width, params.width // 2), "relu", True),
    }[params.net]

    def layers(x, widths):
        for width in widths:
            x = L.Dense(width, None if norm else activation)(x)
            x = L.Activation(activation)(L.LayerNormalization()(x)) if norm else x
        return x

    pixels = keras.Input((28, 28, 1), name="pixels")
    x = layers(L.Flatten()(pixels), hidden)
    heads = [L.Dense(params.latent, name=name)(x) for name in ("mean", "log_variance")]
    encoder = keras.Model(pixels, heads, name="encoder")
    code = keras.Input((params.latent,), name="z")
    logits = L.Dense(28 * 28, name="logits")(layers(code, hidden[::-1]))
    decoder = keras.Model(code, L.Reshape((28, 28, 1))(logits), name="decoder")

    image, noise = keras.Input((28, 28, 1), dtype="uint8", name="image"), keras.Input((params.latent,), name="noise")
    x = L.Rescaling(1 / 255)(image)
    mean, log_variance = encoder(x)
    z = L.Lambda(reparametrize, name="reparametrize")([mean, log_variance, noise])
    return keras.Model([image, noise], [x, decoder(z), mean, log_variance])


L = keras.layers


def reparametrize(parts):
    mean, log_variance, noise = parts
    return mean + tf.exp(log_variance / 2) * noise


def bernoulli_nll(logits, pixels):
    """−log p(x | z), summed over the pixels: ``[…, 28, 28, 1]`` → ``[…]``. From logits, since log of a rounded sigmoid is −∞."""
    return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(pixels, logits), (-3, -2, -1))


def binarized(image, seed):
    """Black or white pixels with the gray values as probabilities: uint8 0 or 255."""
    drawn = tf.random.stateless_uniform(tf.shape(image), seed) * 255.0 < tf.cast(image, tf.float32)
    return tf.cast(drawn, tf.uint8) * tf.constant(255, tf.uint8)


# ## Training
# Noise comes from stateless draws of (part, step), so a killed run goes on bit for bit.
def train(run):
    p, records = run.params, run.records("mnist")
    x, watched = tf.constant(records.arrays("train")["image"]), records.arrays("validation")["image"]
    model = build(p)
    optimizer = Adam(keras.optimizers.schedules.CosineDecay(p.learning_rate, p.steps) if p.decay else p.learning_rate)

    def drawn(image, seed):
        noise = tf.random.stateless_normal((tf.shape(image)[0], p.latent), seed)
        return [binarized(image, seed + 1) if p.binarize else image, noise]

    def loss(_, outputs):
        pixels, logits, mean, log_variance = outputs
        rise = tf.minimum(1.0, tf.cast(optimizer.iterations + 1, tf.float32) / p.warm_up) if p.warm_up else 1.0
        return bernoulli_nll(logits, pixels) + p.beta * rise * tf.reduce_sum(gaussian_kl(mean, log_variance), -1)

    epoch, score = compiled_epoch(model, optimizer, loss, augment=drawn), bounds(model, p, 1)
    for part in run.epochs(-(-p.steps // p.log_every), f"{p.log_every} steps", model=model, optimizer=optimizer):
        start = part * p.log_every
        steps = min(p.log_every, p.steps - start)
        order = shuffled(run, len(x), p.batch_size, start, steps)
        mean = epoch(x, x, order, p.batch_size, int(run.random("noise", part).integers(2**30)))
        parts = score(watched)
        kl = parts["kl"].sum(1).mean()
        run.log(start + steps, loss=mean, validation_elbo=parts["elbo"].mean(), validation_recon=parts["recon"].mean(), validation_kl=kl)
    run.save(model)


# ## Evaluation
# With $z_k = \mu + \sigma \varepsilon_k$ the weight of a code is $\log w_k = \log p(x \mid z_k) + \frac12 \sum_j (\varepsilon_{kj}^2 + \log \sigma_j^2 - z_{kj}^2)$.
# The ELBO takes the KL term from its formula and the mean of the reconstructions, the tighter bound $\log \frac1K \sum_k w_k$.
def bound(model: keras.Model, pixels, noise) -> dict:
    """``elbo``, ``iwae``, ``recon`` ``[n]``, ``kl`` and ``mean`` ``[n, latent]`` of pixels ``[n, 28, 28, 1]`` in 0 … 1, with noise ``[codes, n or 1, latent]``."""
    mean, log_variance = model.get_layer("encoder")(pixels, training=False)
    z = reparametrize((mean, log_variance, noise))
    logits = model.get_layer("decoder")(tf.reshape(z, (-1, z.shape[-1])), training=False)
    logits = tf.reshape(logits, (z.shape[0], -1, 28, 28, 1))
    nll = bernoulli_nll(logits, tf.broadcast_to(pixels, tf.shape(logits)))
    log_w = -nll + 0.5 * tf.reduce_sum(noise**2 + log_variance - z**2, -1)
    kl, recon = gaussian_kl(mean, log_variance), tf.reduce_mean(nll, 0)
    iwae = tf.reduce_logsumexp(log_w, 0) - tf.math.log(float(z.shape[0]))
    return {"elbo": -recon - tf.reduce_sum(kl, -1), "iwae": iwae, "recon": recon, "kl": kl, "mean": mean}


def scaled(image):
    return tf.cast(image, tf.float32) / 255.0


def bounds(model: keras.Model, p: Params, codes: int, batch: int = 100):
    """Compiles pictures uint8 ``[n, 28, 28, 1]`` → NumPy arrays of ``bound`` with ``codes`` codes per picture."""

    @tf.function(input_signature=[tf.TensorSpec((None, 28, 28, 1), tf.uint8), tf.TensorSpec((), tf.int32)])
    def compute(image, number):
        pixels = scaled(binarized(image, [number, 1]) if p.binarize else image)
        return bound(model, pixels, tf.random.stateless_normal((codes, tf.shape(image)[0], p.latent), [number, 0]))

    def run(pictures):
        parts = [compute(tf.constant(pictures[i : i + batch]), tf.constant(i)) for i in range(0, len(pictures), batch)]
        return {name: np.concatenate([part[name].numpy() for part in parts]).astype(np.float64) for name in parts[0]}

    return run


def sharpness(pictures: np.ndarray) -> float:
    """Mean absolute difference of horizontal neighbors."""
    return float(np.abs(np.diff(pictures.astype(np.int64), axis=2)).mean())


CODES = 64  # of the tighter bound
JUDGED, REFERENCE = 2500, 5000  # pictures that are scored, and training pictures that they are compared with, at most


def evaluate(run) -> dict:
    p, records = run.params, run.records("mnist")
    train, validation, test = (records.arrays(split) for split in ("train", "validation", "test"))
    model = run.load(build(p))
    decode = painter(model)
    answer = bounds(model, p, CODES)(test["image"])
    real = test["image"][:JUDGED]
    samples = decode(run.random("samples").standard_normal((len(real), p.latent)))
    copies = decode(answer["mean"][: len(real)])
    panel = Panel(Judge(run.needed("mnist-cnn")), train["image"][:REFERENCE])
    order = np.argsort(-answer["kl"].mean(0), kind="stable")
    active = int((answer["mean"].var(0) > 0.01).sum())
    show(run, test, answer, copies, samples, decode, order, active)
    return {
        "test_elbo": answer["elbo"].mean(),
        "test_recon": answer["recon"].mean(),
        "test_kl": answer["kl"].sum(1).mean(),
        "test_iwae64": answer["iwae"].mean(),
        "active_units": active,
        **panel.scores(samples),
        "judge_fd_floor": panel.distance(real),
        "recon_judge_fd": panel.distance(copies),
        "sharpness": sharpness(samples) / sharpness(real),
        "recon_sharpness": sharpness(copies) / sharpness(real),
        "copy_share": copy_share(samples, train["image"], validation["image"]),
    }


def painter(model: keras.Model):
    """Compiles codes ``[n, latent]`` → uint8 pictures ``[n, 28, 28, 1]`` of the pixels' probabilities."""
    decoder = model.get_layer("decoder")
    decode = tf.function(lambda z: gray(decoder(z, training=False)), input_signature=[tf.TensorSpec((None, *decoder.input_shape[1:]), tf.float32)])
    return lambda z: decode(tf.constant(z, tf.float32)).numpy()


def gray(logits):
    return tf.cast(tf.round(tf.sigmoid(logits) * 255.0), tf.uint8)


# ## Export
# `encode` and `decode`, `sample` for whoever has no random numbers of their own, and `elbo`: how likely is this picture? All take and give
# uint8 pictures.
def export(run):
    p, model = run.params, run.load(build(run.params))
    encoder, decoder = model.get_layer("encoder"), model.get_layer("decoder")
    image = [tf.TensorSpec((None, 28, 28, 1), tf.uint8, name="image")]
    number = [tf.TensorSpec((), tf.int32, name=name) for name in ("n", "seed")]

    def encode(image):
        mean, log_variance = encoder(scaled(image), training=False)
        return {"mean": mean, "log_variance": log_variance}

    def decode(z):
        return {"image": gray(decoder(z, training=False))}

    def sample(n, seed):
        return decode(tf.random.stateless_normal([n, p.latent], [seed, 0]))

    def elbo(image):  # the same noise for every picture: its bound does not depend on its neighbors
        found = bound(model, scaled(image), tf.random.stateless_normal((SEEN, 1, p.latent), [0, 0]))
        return {"elbo": found["elbo"], "recon": found["recon"], "kl": tf.reduce_sum(found["kl"], -1)}

    functions = {
        "encode": (encode, image),
        "decode": (decode, [tf.TensorSpec((None, p.latent), tf.float32, name="z")]),
        "sample": (sample, number),
        "elbo": (elbo, image),
    }
    example = run.records("mnist").arrays("test")["image"][:1]
    saved_model(run.out / "export" / "saved_model", functions, model.weights, example=example)


SEEN = 16  # codes per picture of the exported bound


# ## Use
# Without a picture: new digits, `count` of them, from `seed`; `coordinate=j` moves one coordinate of one code. With pictures: each is made
# MNIST-like, encoded and drawn again, and the ELBO says how digit-like it is (`rank=true` puts the strangest first). With two pictures and
# `interpolate=true`: the way from one to the other.
def answer(run, inputs: list[np.ndarray], *, seen: bool = False) -> list[dict]:
    return drawn_again(run, np.stack([mnist_like(checked_picture(picture, False)) for picture in inputs]), seen)


def drawn_again(run, pictures: np.ndarray, seen: bool) -> list[dict]:
    """Pictures uint8 ``[n, 28, 28, 1]`` → their reconstructions and bounds, and with ``seen`` themselves."""
    bound = run.model.elbo(tf.constant(pictures))
    again = run.model.decode(run.model.encode(tf.constant(pictures))["mean"])["image"].numpy()
    found = [{"image": picture[..., 0], **{k: float(bound[k][n]) for k in ("elbo", "recon", "kl")}} for n, picture in enumerate(again)]
    return [{**one, "seen": picture[..., 0]} for one, picture in zip(found, pictures, strict=True)] if seen else found


def predict(
    run,
    inputs: list[str],
    out: Path | None = None,
    *,
    count: int = 64,
    seed: int = 0,
    interpolate: bool = False,
    coordinate: int = -1,
    rank: bool = False,
):
    run.exported()
    ends = None
    if inputs:
        files = images.files(inputs)
        pictures = np.stack([prepared(file) for file in files])
        if not interpolate:
            return reconstruct(run, files, pictures, out, rank)
        if len(files) != 2:
            raise UserError(f"interpolate goes from one picture to another: give two, not {len(files)}")
        ends = run.model.encode(tf.constant(pictures))["mean"].numpy()
    decode = lambda z: run.model.decode(tf.constant(z))["image"].numpy()  # noqa: E731
    options = {"count": count, "seed": seed, "interpolate": interpolate, "coordinate": coordinate, "ends": ends}
    return predict_generator(run.chapter.id, decode, run.params.latent, out, **options)


def prepared(file: Path) -> np.ndarray:
    try:
        return mnist_like(images.read(file, "L"))
    except UserError as error:
        raise UserError(str(error) if str(file) in str(error) else f"{file}: {error}") from None


def reconstruct(run, files, pictures, out, rank):
    found = drawn_again(run, pictures, False)
    order = np.argsort([one["elbo"] for one in found], kind="stable") if rank else np.arange(len(files))
    for index in order:
        print(f"{files[index]}  elbo {found[index]['elbo']:.1f}   recon {found[index]['recon']:.1f}   kl {found[index]['kl']:.1f}")
    again = np.stack([one["image"] for one in found])[..., None]
    if out:
        both = np.stack([pictures[order], again[order]], 1).reshape(-1, 28, 28, 1)
        write_pictures(both, out, 2 * min(8, len(files)))
    return again
