"""Adversarial training and the convolutional GAN: losses and penalties by hand, the loop, layers, resuming, export, a person's numbers."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dlbooks import UserError, records, runtime
from dlbooks.chapters.generative import dcgan_mnist
from dlbooks.nn import gan, gan_losses, image_quality, layers
from dlbooks.nn.training import Adam, Ema
from dlbooks.records import Feature
from dlbooks.run import Run


@pytest.fixture(scope="module", autouse=True)
def prepared():
    runtime.prepare("mini", 0)


# ── losses ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "at_zero", "at_two"),
    [
        ("minimax", (1.386294, -0.693147), (0.440190, -0.313262)),
        ("ns", (1.386294, 0.693147), (0.440190, 1.313262)),
        ("mixed", (1.386294, 0.0), (0.440190, 1.0)),
        ("lsgan", (0.5, 0.5), (1.0, 2.0)),
        ("wgan", (0.0, 0.0), (-3.0, 1.0)),
        ("hinge", (2.0, 0.0), (0.0, 1.0)),
    ],
)
def test_losses_by_hand(kind, at_zero, at_two):
    d, g = gan_losses.adversarial(kind)
    for (r, f), expected in (((0.0, 0.0), at_zero), ((2.0, -1.0), at_two)):
        real, fake = tf.fill([3, 1], r), tf.fill([3, 1], f)
        np.testing.assert_allclose([d(real, fake), g(fake)], expected, atol=1e-6)


def test_saturation_is_why_ns_is_the_default():
    slopes = {}
    for kind in gan_losses.LOSSES:
        f = tf.Variable([[-5.0]])
        with tf.GradientTape() as tape:
            value = gan_losses.adversarial(kind)[1](f)
        slopes[kind] = float(tape.gradient(value, f)[0, 0])
    assert slopes["minimax"] == pytest.approx(-0.00669, abs=1e-5)
    assert slopes["ns"] == pytest.approx(-0.99331, abs=1e-5)
    assert slopes["mixed"] == pytest.approx(slopes["minimax"] + slopes["ns"], abs=1e-6) == pytest.approx(-1)
    assert (slopes["lsgan"], slopes["wgan"], slopes["hinge"]) == (-6, -1, -1)
    d, _ = gan_losses.adversarial("ns")
    assert np.isfinite(d(tf.constant([[-1e4]]), tf.constant([[1e4]]))), "logits far out give no infinity"
    with pytest.raises(ValueError, match="loss is 'w', must be one of minimax"):
        gan_losses.adversarial("w")


def test_optimal_discriminator_gives_the_jensen_shannon_divergence():
    x = np.linspace(-12, 14, 20_001)
    p, q = (np.exp(-((x - m) ** 2) / (2 * s**2)) / (s * np.sqrt(2 * np.pi)) for m, s in ((0.0, 1.0), (1.5, 1.3)))
    logit = np.log(p) - np.log(q)  # D = p / (p + q)
    value = -(np.trapezoid(p * np.logaddexp(0, -logit), x) + np.trapezoid(q * np.logaddexp(0, logit), x))
    middle = (p + q) / 2
    js = 0.5 * np.trapezoid(p * np.log(p / middle), x) + 0.5 * np.trapezoid(q * np.log(q / middle), x)
    assert value == pytest.approx(2 * js - np.log(4), abs=1e-6)


def test_r1_of_a_linear_discriminator():
    w = tf.Variable([[3.0], [4.0]])
    with tf.GradientTape() as tape:
        value = gan_losses.r1(lambda x: x @ w, tf.random.stateless_normal((7, 2), [1, 2]), 10.0)
    assert float(value) == pytest.approx(125.0)
    np.testing.assert_allclose(tape.gradient(value, w), 10.0 * w, rtol=1e-6)  # γ/2 ‖w‖² has the gradient γ w


# ── the loop ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def pair(told=True):
    runtime.prepare("mini", 3)
    code, image, label = keras.Input((3,)), keras.Input((4,)), keras.Input((), dtype="int32")
    kind = [keras.ops.one_hot(label, 2)] if told else []
    join = keras.layers.Concatenate() if told else lambda x: x[0]
    made = keras.layers.Dense(4)(join([code, *kind]))
    logit = keras.layers.Dense(1)(keras.layers.Dense(6, "tanh")(join([image, *kind])))
    given = [label] if told else []
    return keras.Model([code, *given] if told else code, made), keras.Model([image, *given] if told else image, logit)


def points():
    rng = np.random.default_rng(4)
    return rng.normal(size=(32, 4)).astype(np.float32), rng.integers(0, 2, 32).astype(np.int32)


def normal(count, seed):
    return tf.random.stateless_normal((count, 3), seed)


def values(model):
    return [np.array(v) for v in model.weights]


def test_loop_is_the_plain_loop():
    x, y = points()
    order = np.random.default_rng(5).permutation(32)
    compiled, plain = pair(), pair()
    options = {"draw": normal, "r1_gamma": 0.3, "r1_every": 2, "g_steps": 2}
    history = gan.adversarial_epoch(*compiled, keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.2), "ns", **options)(x, y, order, 10, 7)
    g, d = plain
    d_loss, g_loss = gan_losses.adversarial("ns")
    g_optimizer, d_optimizer = keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.2)
    expected = []
    for step in range(3):
        chosen = order[10 * step : 10 * step + 10]
        images, labels, codes = tf.constant(x[chosen]), tf.constant(y[chosen]), normal(10, [7, step])
        with tf.GradientTape() as tape:
            real, fake = d([images, labels]), d([g([codes, labels]), labels])
            value = first = d_loss(real, fake)
            if step % 2 == 0:
                value += 2 * gan_losses.r1(lambda i: d([i, labels]), images, 0.3)  # noqa: B023
        slopes = tape.gradient(value, d.trainable_variables)
        d_optimizer.apply(slopes, d.trainable_variables)
        for _ in range(2):
            with tf.GradientTape() as tape:
                value = g_loss(d([g([codes, labels]), labels]))
            g_optimizer.apply(tape.gradient(value, g.trainable_variables), g.trainable_variables)
        expected.append([first, value, tf.reduce_mean(tf.sigmoid(real)), tf.reduce_mean(tf.sigmoid(fake))])
    for one, other in zip(compiled, plain, strict=True):
        for a, b in zip(values(one), values(other), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    assert tuple(history) == gan.HISTORY
    np.testing.assert_allclose(np.stack(list(history.values()), 1), np.array(expected), atol=1e-5)


@pytest.mark.parametrize("still", [0, 1])
def test_a_step_of_one_network_leaves_the_other_alone(still):
    x, y = points()
    nets = pair(told=False)
    before = [values(net) for net in nets]
    rates = [0.1, 0.1]
    rates[still] = 0.0
    run = gan.adversarial_epoch(*nets, *(keras.optimizers.SGD(r) for r in rates), "hinge", draw=normal)
    run(x, y, np.arange(32), 8)
    same = [all(np.array_equal(a, b) for a, b in zip(values(net), old, strict=True)) for net, old in zip(nets, before, strict=True)]
    assert same[still] and not same[1 - still]
    with pytest.raises(ValueError, match="32 examples are less than one batch of 33"):
        run(x, y, np.arange(32), 33)


def test_loop_repeats_bit_for_bit_and_augments_both_sides():
    x, y = points()
    ends = []
    for seed in (1, 1, 2):
        g, d = pair()
        ema = Ema(g, 0.5, warmup=False)
        seen = []

        def moved(images, seed):
            seen.append(images.shape)  # noqa: B023
            return images + tf.random.stateless_normal((1, 4), seed)

        run = gan.adversarial_epoch(g, d, Adam(0.01), Adam(0.01), "lsgan", draw=normal, augment=moved, ema=ema)
        run(x, y, np.arange(32), 8, seed)
        assert len(seen) == 3, "real and generated pictures in the discriminator's step, generated ones in the generator's"
        with ema.swapped():
            ends.append(np.concatenate([np.ravel(v) for v in values(g)]))
    assert np.array_equal(ends[0], ends[1]) and not np.array_equal(ends[0], ends[2])


# ── layers ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", layers.UP)
def test_up_doubles(kind):
    x = keras.Input((7, 5, 3))
    assert layers.up(x, 4, kind).shape == (None, 14, 10, 4)
    with pytest.raises(ValueError, match="kind is 'pool'"):
        layers.up(x, 4, "pool")


def test_shuffle_is_depth_to_space():
    x = keras.Input((3, 2, 5))
    model = keras.Model(x, layers.up(x, 4, "shuffle"))
    picture = np.random.default_rng(0).normal(size=(2, 3, 2, 5)).astype(np.float32)
    expected = tf.nn.depth_to_space(model.layers[1](picture), 2)
    np.testing.assert_allclose(model(picture), expected, atol=1e-6)


def test_taps_of_transposed_convolutions():
    counts = {}
    for kernel in (4, 5):
        x = keras.Input((8, 8, 1))
        model = keras.Model(x, layers.up(x, 1, "transposed", kernel, use_bias=False, kernel_initializer="ones"))
        counts[kernel] = np.unique(model(np.ones((1, 8, 8, 1), np.float32))[0, 4:-4, 4:-4, 0]).tolist()
    assert counts == {4: [4.0], 5: [4.0, 6.0, 9.0]}


def test_checkerboard_is_there_before_anything_is_learned():
    rng = np.random.default_rng(0)
    smooth = rng.normal(size=(64, 4, 4, 1)).repeat(4, 1).repeat(4, 2) + 0.1 * rng.normal(size=(64, 16, 16, 1))
    board = np.indices((16, 16)).sum(0)[None, :, :, None] % 2 * np.ones((64, 1, 1, 1))
    assert image_quality.checkerboard(smooth, smooth) == 1
    assert image_quality._fine_share(board, 0.45) == pytest.approx(1)
    assert image_quality.checkerboard(smooth + 0.2 * board, smooth) > 1.5
    energy = {}
    for kind, kernel in (("resize", 3), ("transposed", 5)):
        runtime.prepare("mini", 0)
        x = first = keras.Input((7, 7, 8))
        for _ in range(2):
            x = keras.layers.ReLU()(layers.up(x, 8, kind, kernel))
        energy[kind] = image_quality.checkerboard(keras.Model(first, x)(rng.normal(size=(64, 7, 7, 8)).astype(np.float32)), smooth)
    assert energy["resize"] < energy["transposed"]


# ── the chapter ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Ink:
    """A judge that needs no training: rows' and columns' mean ink, and from it ten probabilities."""

    def __init__(self, folder):
        assert folder.name == "mnist-cnn"

    def features(self, images):
        ink = images[..., 0] / 255.0
        return np.concatenate([ink.mean(1), ink.mean(2)], 1)

    def __call__(self, images):
        features = self.features(images)
        scores = np.exp(features[:, 5:25:2] * 9)
        return features, scores / scores.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:28, :28]

    def blobs(count):
        for index in range(count):
            row, column = 6 + 5 * (index % 10 % 4), 6 + 7 * (index % 10 // 4)
            blob = 255 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 12) + rng.uniform(0, 40, (28, 28))
            yield {"image": np.clip(blob, 0, 255).astype(np.uint8)[..., None], "label": index % 10, "index": index}

    features = {"image": Feature("uint8", (28, 28, 1)), "label": Feature(names=tuple("0123456789")), "index": Feature("int64")}
    splits = {"train": blobs(200), "validation": blobs(60), "test": blobs(120)}
    records.write(folder / "tfrecords" / "mnist", name="mnist", version="1.0.0", features=features, splits=splits)
    return folder


@pytest.fixture
def start(data, tmp_path, monkeypatch):
    monkeypatch.setenv("DLBOOKS_HOME", str(tmp_path))
    monkeypatch.setattr(dcgan_mnist, "Judge", Ink)

    def make(out, **parameters):
        runtime.prepare("mini", 0)
        small = {"width": 8, "steps": 24, "log_every": 10, "batch_size": 8, "samples": 100}
        run = Run(dcgan_mnist.CHAPTER, dcgan_mnist.Params(**{**small, **parameters}), profile="mini", out=tmp_path / out, data=data, quiet=True)
        run.begin()
        return run

    return make


def test_parameters_of_the_books():
    def counts(net):
        nets = dcgan_mnist.build(dcgan_mnist.Params(net=net))
        return [(net.count_params(), sum(int(np.prod(v.shape)) for v in net.trainable_variables)) for net in nets.values()]

    (_, generator), (_, discriminator) = counts("b1")
    assert (generator, discriminator) == (7_065_211, 3_769_479)
    (generator, _), (discriminator, _) = counts("b2")
    assert (generator, discriminator) == (6_763_777, 3_485_441)
    b1 = dcgan_mnist.build(dcgan_mnist.Params(net="b1"))["discriminator"]
    assert [v.output.shape[1:] for v in b1.layers if isinstance(v, keras.layers.Conv2D)] == [(14, 14, 11), (7, 7, 74)]
    assert 7 * 7 * 74 == 3626 and 70_000 // 64 == 1093 and 60_000 // 128 == 468
    assert dcgan_mnist.CHAPTER.variants["b1"].overrides["steps"] == 55_000 // 64 * 25
    assert dcgan_mnist.CHAPTER.variants["b2"].overrides["steps"] == 55_000 // 128 * 100
    assert len(dcgan_mnist.build(dcgan_mnist.Params(net="best", conditional=False))["generator"].inputs) == 1


def test_ranges_and_pixels_are_inverse():
    image = np.arange(256, dtype=np.uint8)
    for net, low in (("b1", 0.0), ("b2", -1.0), ("best", -1.0)):
        p = dcgan_mnist.Params(net=net)
        scaled = dcgan_mnist.to_range(p, image)
        assert (float(scaled[0]), float(scaled[-1])) == (low, 1.0)
        assert np.array_equal(dcgan_mnist.to_pixels(p, scaled), image)


@pytest.mark.parametrize("net", ["b1", "b2"])
def test_the_books_nets_take_a_step(net, start):
    runtime.prepare("mini", 0)
    p = dcgan_mnist.Params(net=net)
    nets = dcgan_mnist.build(p)
    x, y = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 1), np.uint8), np.arange(8, dtype=np.int32)
    kind, length = dcgan_mnist.prior(p)
    assert (kind, length) == ("uniform", 100)
    optimizers = [dcgan_mnist.optimizer_of(p), dcgan_mnist.optimizer_of(p)]
    real = lambda images: dcgan_mnist.to_range(p, images)  # noqa: E731
    epoch = gan.adversarial_epoch(*nets.values(), *optimizers, "ns", draw=lambda n, s: tf.random.stateless_normal((n, length), s), real=real)
    history = epoch(x, y, np.arange(8), 4)
    assert all(np.isfinite(v).all() and len(v) == 2 for v in history.values())
    pictures = dcgan_mnist.painter(p, nets["generator"])(np.zeros((3, length), np.float32), np.arange(3, dtype=np.int32))
    assert pictures.shape == (3, 28, 28, 1) and pictures.dtype == np.uint8


def test_killed_and_resumed_ends_with_the_same_bits(start, monkeypatch):
    monkeypatch.setenv("DLBOOKS_CHECKPOINT_SECONDS", "0")
    options = {"steps": 20, "r1": 0.0, "conditional": False}
    whole = start("whole", **options)
    dcgan_mnist.train(whole)
    shutil.rmtree(whole.work.parent, ignore_errors=True)
    killed = start("killed", **options)
    log = killed.log

    def power_cut(step, **series):
        if step == 20:
            raise KeyboardInterrupt
        log(step, **series)

    killed.log = power_cut
    with pytest.raises(KeyboardInterrupt):
        dcgan_mnist.train(killed)
    resumed, said = start("resumed", **options), []
    resumed.say = said.append
    dcgan_mnist.train(resumed)
    assert said == ["resuming at 10 steps 1"]
    for name in ("generator.npz", "discriminator.npz", "figures/progress.gif", "figures/progress.png"):
        assert (resumed.out / name).read_bytes() == (whole.out / name).read_bytes(), name
    assert resumed.series == whole.series


def test_from_training_to_a_persons_number(start, tmp_path, capsys):
    run = start("out")
    dcgan_mnist.train(run)
    run.evaluate(dcgan_mnist)
    assert run.metrics["d_loss_step_5"] == pytest.approx(dict(run.series["early_d_loss"])[5], rel=1e-5)
    assert [s for s, _ in run.series["d_loss"]] == [10, 20, 24]
    assert [s for s, _ in run.series["judge_confidence"]] == [10, 20, 24]
    keras.utils.clear_session()  # as in a fresh process, layers are numbered from the start
    dcgan_mnist.export(run)
    keras.utils.clear_session()
    files = {p: p.read_bytes() for p in (run.out / "export").rglob("*") if p.is_file()}
    dcgan_mnist.export(run)
    assert [p.name for p, content in files.items() if p.read_bytes() != content] == [] and len(files) >= 5

    exported = tf.saved_model.load(str(run.out / "export" / "saved_model"))
    one, again, other = (exported.sample(tf.constant(12), tf.constant(seed))["image"].numpy() for seed in (4, 4, 5))
    assert one.shape == (12, 28, 28, 1) and np.array_equal(one, again) and not np.array_equal(one, other)
    codes = tf.random.stateless_normal([12, 64], [4, 0])
    assert np.array_equal(exported.generate(codes, tf.range(12) % 10)["image"], one), "picture i has the class i mod 10"
    assert exported.discriminate(tf.constant(one), tf.range(12) % 10)["logit"].shape == (12,)
    signature = json.loads((run.out / "export/saved_model/assets.extra/signature.json").read_text())
    assert signature["inputs"]["code"]["shape"] == [None, 64]
    loaded = keras.saving.load_model(run.out / "export" / "generator.keras")
    assert loaded([codes, tf.range(12) % 10]).shape == (12, 28, 28, 1)

    plain = dcgan_mnist.predict(run, ["2024"], tmp_path / "n.png", seed=3)
    assert "32 samples" in capsys.readouterr().out
    assert Image.open(tmp_path / "n.png").size == (2 * (4 * 30 + 2), 2 * (8 * 30 + 2)), "a column per digit, eight rows"
    assert np.array_equal(plain, dcgan_mnist.predict(run, ["2024"], seed=3, nice=1))
    liked = dcgan_mnist.predict(run, ["2024"], seed=3, nice=5)
    labels = tf.constant(np.resize([2, 0, 2, 4], 32), tf.int32)
    scores = [exported.discriminate(tf.constant(p), labels)["logit"].numpy() for p in (plain, liked)]
    assert (scores[1] >= scores[0]).all() and (scores[1] > scores[0]).any()
    walk = dcgan_mnist.predict(run, ["38"], tmp_path / "walk.gif", interpolate=True, count=5)
    assert len(walk) == 10 and not np.array_equal(walk[0], walk[5]), "a row per digit, from the same codes"
    assert len(dcgan_mnist.predict(run, ["7"], coordinate=3, count=4)) == 4
    for words, options, message in [
        (["seven"], {}, "'seven' is no number"),
        ([], {"nice": 0}, "nice = 0"),
        ([], {"nice": 2, "interpolate": True}, "and 1 with interpolate"),
        ([], {"count": 0}, "count = 0"),
        ([], {"coordinate": 64}, r"0 … 63"),
    ]:
        with pytest.raises(UserError, match=message):
            dcgan_mnist.predict(run, words, **options)
    with pytest.raises(UserError, match="has not been trained here"):
        dcgan_mnist.predict(start("empty"), [])
    free = start("free")
    free.params = free.params.model_copy(update={"conditional": False})
    free.out = run.out
    with pytest.raises(UserError, match="cannot be asked for 7"):
        dcgan_mnist.predict(free, ["7"])
