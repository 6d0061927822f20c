"""CIFAR-10: both editions of the data set, the changes of its pictures, the layers and the nets of `cifar10-cnn`."""

import hashlib
import io
import math
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dlbooks import UserError, catalog, features, fetch, runtime
from dlbooks.archives import pack
from dlbooks.chapters.classification import cifar10_cnn as chapter
from dlbooks.datasets import cifar10
from dlbooks.nn import augment, layers
from dlbooks.nn.classification import forward
from dlbooks.records import Records
from dlbooks.run import Run

SMALL = {"train": 200, "validation": 100, "test": 30}


@pytest.fixture(scope="module", autouse=True)
def prepared():
    runtime.prepare("mini", 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Raw and record folders of a small twin."""
    folder = tmp_path_factory.mktemp("data")
    found = catalog.dataset("cifar10")
    parameters = cifar10.Params(**SMALL)
    fetch.fetch(found.declaration, cifar10, parameters, folder / "raw" / "cifar10")
    fetch.preprocess(found.declaration, cifar10, parameters, folder / "raw" / "cifar10", folder / "tfrecords" / "cifar10")
    return folder


@pytest.fixture
def start(data, tmp_path, monkeypatch):
    monkeypatch.setenv("DLBOOKS_HOME", str(tmp_path))

    def make(out, **parameters):
        runtime.prepare("mini", 0)
        values = {"width": 8, "batch_size": 20, "epochs": 2, "pair_width": 8, "pair_epochs": 1, "pair_batch": 40, **parameters}
        run = Run(chapter.CHAPTER, chapter.Params(**values), profile="mini", out=tmp_path / out, data=data, quiet=True)
        run.begin()
        return run

    return make


# ── the data set ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_twin_has_the_reference_machines_bits():
    images, labels = cifar10.draw(200, 0)
    assert hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()[:16] == "362168a93509f663"
    assert np.bincount(labels).tolist() == [20] * 10


def test_binary_splits_and_places(data):
    records = Records(data / "tfrecords" / "cifar10")
    assert {s: records.count(s) for s in records.info["splits"]} == {"train": 100, "validation": 100, "test": 30}
    train, validation, test = (records.arrays(s) for s in ("train", "validation", "test"))
    assert validation["index"].tolist() == list(range(100, 200)), "the end of the five files"
    assert sorted(train["index"]) == list(range(100)) and test["index"].tolist() == list(range(30))
    images, labels = cifar10.draw(200, 0)
    for split in (train, validation):
        assert (split["image"] == images[split["index"]]).all() and (split["label"] == labels[split["index"]]).all()
    assert records.names() == list(cifar10.NAMES) == sorted(cifar10.NAMES)


def test_records_are_planes():
    red = np.zeros((1, 32, 32, 3), np.uint8)
    red[0, 2, 5] = (200, 10, 20)
    data = cifar10.records_of(red, np.array([7]))
    assert len(data) == 3073 and data[0] == 7 and (data[1 + 2 * 32 + 5], data[1025 + 2 * 32 + 5], data[2049 + 2 * 32 + 5]) == (200, 10, 20)
    images, labels = cifar10.read_batch("one.bin", data, 1)
    assert images.shape == (1, 32, 32, 3) and images[0, 2, 5].tolist() == [200, 10, 20] and labels.tolist() == [7]


def test_wrong_binary_files(tmp_path):
    with pytest.raises(UserError, match=r"data_batch_3\.bin: expected 30730000 bytes \(10000 records of 3073\), found 30729999"):
        cifar10.read_batch("data_batch_3.bin", bytes(30_729_999), 10_000)
    parameters = cifar10.Params(**SMALL)
    with pytest.raises(UserError, match=r"cifar10\.zip is missing"):
        cifar10.examples(tmp_path, parameters)
    pack(tmp_path / "cifar10.zip", {"data_batch_1.bin": b""})
    with pytest.raises(UserError, match=r"holds no data_batch_2\.bin, .*test_batch\.bin"):
        cifar10.examples(tmp_path, parameters)
    cifar10.twin(tmp_path, parameters)
    with pytest.raises(UserError, match="validation = 200: the training files hold only 200 items"):
        cifar10.examples(tmp_path, parameters.model_copy(update={"validation": 200}))


def jpegs(folder, size=(32, 32), damage=""):
    members = {}
    for part, each in (("train", 3), ("test", 2)):
        for label, name in enumerate(cifar10.NAMES):
            for number in range(each):
                buffer = io.BytesIO()
                Image.new("RGB", size, (20 * label, 100, 50 * number)).save(buffer, "JPEG", quality=95)
                path = f"{part}/{name}/{number:04d}.jpg"
                members[path] = b"\xff\xd8 no picture" if path == damage else buffer.getvalue()
    pack(folder / "cifar10.zip", members)
    return cifar10.examples(folder, cifar10.Params(twin=False, edition="jpeg", validation=10))


def test_jpeg_edition(tmp_path):
    splits = {name: list(items) for name, items in jpegs(tmp_path).items()}
    assert {name: len(items) for name, items in splits.items()} == {"train": 20, "validation": 10, "test": 20}
    assert [e["index"] for e in splits["validation"]] == list(range(2, 30, 3)), "the last of each class"
    assert [e["label"] for e in splits["validation"]] == list(range(10))
    picture = features.decoded(tf.constant([splits["train"][3]["image"]]), (32, 32, 3))[0]
    np.testing.assert_allclose(picture[5, 5], (20, 100, 50), atol=4)
    assert cifar10.features(cifar10.Params(twin=False, edition="jpeg"))["image"].encoding == "jpeg"
    assert cifar10.features(cifar10.Params()) == cifar10.features(cifar10.Params(twin=False)) == cifar10.FEATURES
    with pytest.raises(UserError, match=r"train/cat/0001\.jpg: damaged picture"):
        list(jpegs(tmp_path, damage="train/cat/0001.jpg")["train"])
    with pytest.raises(UserError, match=r"test/airplane/0000\.jpg: expected 32 × 32 pixels, found 40 × 30"):
        list(jpegs(tmp_path, size=(40, 30))["test"])


# ── changes of pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def places(count, side=32):
    """Pictures whose pixel (y, x) holds (y, x, number of the picture)."""
    y, x = np.mgrid[:side, :side]
    return np.stack([np.stack([y, x, np.full_like(y, k % 256)], -1) for k in range(count)]).astype(np.uint8)


def test_crop_takes_every_window_alike():
    images, seed = places(4000), tf.constant([3, 4])
    cut = augment.crop(images, seed, 24).numpy()
    corner = cut[:, 0, 0]
    y, x = np.mgrid[:24, :24]
    assert (cut[..., 0] == corner[:, None, None, 0] + y).all() and (cut[..., 1] == corner[:, None, None, 1] + x).all()
    assert (corner[:, 2] == np.arange(4000) % 256).all()
    counts = np.bincount(corner[:, 0].astype(int) * 9 + corner[:, 1], minlength=81)
    assert counts.shape == (81,) and ((counts - 4000 / 81) ** 2 / (4000 / 81)).sum() < 124.8, "chi-squared, 80 degrees, 0.1 %"
    assert (augment.crop(images[:9], seed, 24) == augment.crop(images[:9], seed, 24).numpy()).numpy().all()
    assert (augment.crop(images[:9], seed, 24) != augment.crop(images[:9], tf.constant([3, 5]), 24)).numpy().any()
    assert (augment.central_crop(images[:2], 24)[:, 0, 0, :2] == 4).all() and augment.central_crop(images, 24).shape == (4000, 24, 24, 3)


def test_pad_crop_shifts_and_reflects():
    images = places(500)
    moved = augment.pad_crop(images, tf.constant([0, 1]), 2).numpy()
    assert moved.shape == images.shape and moved.dtype == np.uint8
    shifts = moved[:, 16, 16, :2].astype(int) - 16
    assert set(map(tuple, shifts)) == {(a, b) for a in range(-2, 3) for b in range(-2, 3)}
    expected = np.pad(images[0], ((2, 2), (2, 2), (0, 0)), "reflect")
    a, b = shifts[0] + 2
    assert (moved[0] == expected[a : a + 32, b : b + 32]).all()


def test_alternating_mirrors_show_both_sides_in_two_passes():
    first = np.random.default_rng(0).random(200) < 0.5
    passes = [augment.alternating(first, n) for n in range(4)]
    assert (passes[0] ^ passes[1]).all() and (passes[0] == passes[2]).all() and (passes[1] == passes[3]).all()
    images = places(200)
    turned = augment.mirror(images, tf.constant(passes[1])).numpy()
    assert all((turned[k] == (images[k, :, ::-1] if passes[1][k] else images[k])).all() for k in range(200))


def test_brightness_is_undone_and_contrast_only_shifts_colors():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 24, 24, 3)).astype(np.float32) * [1.0, 0.5, 0.2]
    images = images.astype(np.float32)
    seed = tf.constant([1, 2])
    brighter = augment.jitter(images, seed, 63, (1.0, 1.0)).numpy()
    moved = (brighter - images)[:, 0, 0, 0]
    assert np.abs(moved).max() <= 63 and np.ptp(moved) > 10
    np.testing.assert_allclose(brighter - images, np.broadcast_to(moved[:, None, None, None], images.shape), atol=1e-4)
    plain = np.asarray(chapter.standardized(images))
    np.testing.assert_allclose(chapter.standardized(brighter), plain, atol=1e-4)
    np.testing.assert_allclose(plain, tf.image.per_image_standardization(images), atol=1e-5)
    contrast = augment.jitter(images, seed, 0, (0.2, 1.8)).numpy()
    mean = images.mean((1, 2), keepdims=True)
    factor = ((contrast - mean) / (images - mean))[:, 3, 3, 0]
    np.testing.assert_allclose(contrast, (images - mean) * factor[:, None, None, None] + mean, atol=1e-2)
    assert (factor >= 0.2).all() and (factor <= 1.8).all() and np.ptp(factor) > 0.1
    assert np.abs(chapter.standardized(contrast) - plain).max() > 1e-2, "colors shift"
    gray = np.repeat(images[..., :1], 3, -1)
    np.testing.assert_allclose(chapter.standardized(augment.jitter(gray, seed, 0, (0.2, 1.8))), chapter.standardized(gray), atol=1e-4)
    flat = np.full((1, 24, 24, 3), 7, np.float32)
    assert np.abs(chapter.standardized(flat)).max() < 1e-3, "a picture of one color is no division by zero"


def test_six_views_and_their_mean():
    images = places(3)
    looks = augment.views(images)
    assert looks.shape == (6, 3, 32, 32, 3) and (looks[0] == images).all() and (looks[3:] == looks[:3, :, :, ::-1]).all()
    assert (looks[1][:, 1:, 1:] == images[:, :-1, :-1]).all() and (looks[2][:, :-1, :-1] == images[:, 1:, 1:]).all()
    assert (looks[1][:, 0, 1:, 0] == 1).all(), "reflected"
    a, b = np.log([[0.9, 0.1]]), np.log([[0.5, 0.5]])
    np.testing.assert_allclose(np.exp(chapter.averaged([a, b + 3])), [[0.7, 0.3]])


# ── layers ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("radius", "alpha", "beta"), [(4, 0.001 / 9, 0.75), (2, 1.0, 0.5), (1, 0.3, 0.75)])
def test_local_response_norm_is_tensorflows(radius, alpha, beta):
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 3, 4, 16)).astype(np.float32) * 5)
    layer, results = layers.LocalResponseNorm(radius, 1.0, alpha, beta), []
    for function in (layer, lambda x: tf.nn.local_response_normalization(x, radius, 1.0, alpha, beta)):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
            total = tf.reduce_sum(y * y * y)
        results.append((y.numpy(), tape.gradient(total, x).numpy()))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-5)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-3, atol=1e-4)
    assert layers.LocalResponseNorm.from_config(layer.get_config()).alpha == alpha
    one = layers.LocalResponseNorm(4, 1.0, 0.001 / 9, 0.75)(np.full((1, 9), 30.0, np.float32)).numpy()
    assert one[0, 4] == pytest.approx(30 / (1 + 0.001 / 9 * 9 * 900) ** 0.75)


def test_fused_batch_norm_is_keras_batch_norm():
    x = tf.constant(np.random.default_rng(0).normal(2, 3, (8, 4, 4, 5)).astype(np.float32))
    fused, plain = (kind(momentum=0.8, epsilon=1e-5) for kind in (layers.FusedBatchNorm, keras.layers.BatchNormalization))
    grads = []
    for layer in (fused, plain):
        layer.build(x.shape)
        layer.gamma.assign([1.0, 2.0, 0.5, 3.0, 1.0])
        layer.beta.assign([0.0, 1.0, 2.0, 3.0, -1.0])
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(layer(x, training=True) ** 3)
        grads.append([g.numpy() for g in tape.gradient(total, [x, layer.gamma.value, layer.beta.value])])
    for a, b in zip(*grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(fused.moving_mean, plain.moving_mean, atol=1e-5)
    np.testing.assert_allclose((fused.moving_variance - 0.8) * (127 / 128), plain.moving_variance - 0.8, rtol=1e-4)
    plain.moving_variance.assign(fused.moving_variance)
    np.testing.assert_allclose(fused(x), plain(x), atol=1e-5)


# ── the nets ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_books_net_has_the_printed_numbers():
    model = chapter.build(chapter.Params(net="book", width=64))
    assert model.count_params() == 1_068_298
    assert model.get_layer("dense1").kernel.shape == (6 * 6 * 64, 384)
    decay = float(tf.add_n(model.losses))
    expected = 0.002 * 0.7737 * 0.04**2 * (884_736 + 73_728)
    assert expected == pytest.approx(2.373, abs=1e-3) and decay == pytest.approx(expected, rel=0.01)
    assert math.log(10) + expected == pytest.approx(4.68, abs=0.01)
    pictures = np.random.default_rng(0).integers(0, 256, (4, 24, 24, 3), dtype=np.uint8)
    score = forward(model)(pictures)
    assert -np.log(np.exp(score)[:, 0] / np.exp(score).sum(1)).mean() == pytest.approx(math.log(10), abs=0.2)
    assert chapter.build(chapter.Params(net="cifarnet", width=64)).get_layer("dense1").kernel.shape == (8 * 8 * 64, 384)
    assert 79 * 128 - 10_000 == 112


def test_rates():
    rate = chapter.optimizer_of(chapter.Params(net="book"), 50_000)._learning_rate
    assert [float(rate(s)) for s in (0, 136_717, 136_718, 273_436, 410_154)] == pytest.approx([0.1, 0.1, 0.01, 0.001, 0.0001])
    decay = lambda t: min(0.9999, (1 + t) / (10 + t))  # noqa: E731
    assert decay(0) == 0.1 and decay(1) == 2 / 11 and decay(89_989) < 0.9999 == decay(89_990)
    triangle = chapter.Triangular(0.75, 100)
    assert [float(triangle(s)) for s in (0, 10, 20, 60, 100)] == pytest.approx([0.15, 0.45, 0.75, 0.375, 0.0])


def test_whitening_makes_patches_uncorrelated():
    images, _ = cifar10.draw(60, 5)
    kernels = chapter.whitening(images)
    assert kernels.shape == (2, 2, 3, 24) and np.array_equal(kernels[..., :12], -kernels[..., 12:])
    answers = tf.nn.conv2d(images.astype(np.float32) / 64 - 2, kernels[..., :12].astype(np.float32), 1, "VALID").numpy().reshape(-1, 12)
    covariance = np.cov(answers.T)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.02 and (np.diag(covariance) < 1.01).all()
    assert np.diag(covariance)[:6] == pytest.approx(1, abs=0.05)


def test_fast_starts_as_identity_and_learns_no_whitening():
    model = chapter.build(chapter.Params(net="fast", width=32))
    x = np.random.default_rng(0).normal(size=(1, 6, 6, 24)).astype(np.float32)
    y = tf.nn.conv2d(x, model.get_layer("conv11").kernel, 1, "SAME").numpy()
    np.testing.assert_allclose(y[..., :24], x, atol=1e-6)
    assert np.abs(y[..., 24:]).max() > 0.1
    assert "whiten" not in " ".join(v.path for v in model.trainable_variables)
    assert model.output_shape == (None, 10) and model.get_layer("features").output.shape == (None, 128)


# ── the chapter ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_fast_runs_to_the_end(start, tmp_path, capsys):
    run = start("fast", net="fast", ema=0.0, label_smoothing=0.2, learning_rate=0.05, epochs=5)
    chapter.train(run)
    run.evaluate(chapter)
    assert run.metrics["augmentation_gain"] == pytest.approx(run.series["with_augmentation"][-1][1] - run.series["without_augmentation"][-1][1])
    assert run.metrics["accuracy_at_60k"] == pytest.approx(run.series["validation_accuracy"][-1][1])
    for name in ("samples", "augmentation", "kernels", "confusion", "curve_precision", "curve_learning_rate", "curve_augmentation"):
        assert (run.out / "figures" / f"{name}.png").stat().st_size > 1000
    chapter.export(run)
    pictures = run.records("cifar10").arrays("test")["image"][:4]
    loaded = keras.models.load_model(run.out / "export" / "model.keras")
    np.testing.assert_allclose(loaded(pictures), run.load(chapter.build(run.params))(pictures), atol=1e-5)
    Image.new("RGB", (90, 60), (200, 30, 60)).save(tmp_path / "red.png")
    chapter.predict(run, [str(tmp_path / "red.png")], tmp_path / "answer")
    assert "red.png" in capsys.readouterr().out and (tmp_path / "answer" / "predictions.csv").exists()


def test_killed_in_the_second_net_and_resumed_ends_with_the_same_bits(start, monkeypatch):
    monkeypatch.setenv("DLBOOKS_CHECKPOINT_SECONDS", "0")
    whole = start("whole", pair_epochs=2)
    chapter.train(whole)
    shutil.rmtree(whole.work)
    killed = start("killed", pair_epochs=2)
    log = killed.log

    def power_cut(step, **values):
        if "with_augmentation" in values and step > 2:
            raise KeyboardInterrupt
        log(step, **values)

    killed.log = power_cut
    with pytest.raises(KeyboardInterrupt):
        chapter.train(killed)
    resumed = start("resumed", pair_epochs=2)
    said = []
    resumed.say = said.append
    chapter.train(resumed)
    assert said == ["resuming at passes 1", "resuming at with_augmentation 1"]
    assert (resumed.out / "weights.npz").read_bytes() == (whole.out / "weights.npz").read_bytes()
    assert resumed.series == whole.series


def test_rescaled_scores_fit_best():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(500, 10)), rng.integers(0, 10, 500)
    logits[np.arange(500), labels] += 2.0
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10, use_bias=False, kernel_initializer="identity", name="logits")])
    chapter.rescale(model, 0.1 * logits, labels)
    scale = float(model.get_layer("logits").kernel[0, 0])
    loss = [chapter.cross_entropy(0.1 * s * logits, labels) for s in (0.9 * scale, scale, 1.1 * scale)]
    assert loss[1] < min(loss[0], loss[2])


@pytest.mark.parametrize(("height", "width"), [(60, 90), (500, 32), (8, 8), (32, 32)])
def test_any_picture_becomes_a_small_square(height, width):
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    for side in (24, 32):
        small = chapter.small_square(picture, side)
        assert small.shape == (side, side, 3) and small.dtype == np.uint8
    if (height, width) == (32, 32):
        assert (chapter.small_square(picture, 32) == picture).all()
