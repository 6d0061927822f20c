"""The first classifiers and the blocks they share: counts, identities, resuming, exports, a person's pictures."""

import csv
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dlbooks import UserError, catalog, records, runtime
from dlbooks.chapters.classification import fashion_mlp, mnist_cnn, mnist_mlp, mnist_softmax
from dlbooks.nn import augment, classification, metrics, training
from dlbooks.records import Feature
from dlbooks.run import Run

CHAPTERS = [mnist_softmax, mnist_mlp, mnist_cnn, fashion_mlp]


@pytest.fixture(scope="module", autouse=True)
def prepared():
    runtime.prepare("mini", 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Records of blobs at ten places, under the names of both data sets."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:28, :28]

    def blobs(count):
        for index in range(count):
            row, column = 6 + 5 * (index % 10 % 4), 6 + 7 * (index % 10 // 4)
            blob = 255 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 12) + rng.uniform(0, 40, (28, 28))
            yield {"image": np.clip(blob, 0, 255).astype(np.uint8)[..., None], "label": index % 10, "index": index}

    features = {"image": Feature("uint8", (28, 28, 1)), "label": Feature(names=tuple("0123456789")), "index": Feature("int64")}
    for name in ("mnist", "fashion-mnist"):
        splits = {"train": blobs(300), "validation": blobs(40), "test": blobs(50)}
        records.write(folder / "tfrecords" / name, name=name, version="1.0.0", features=features, splits=splits)
    return folder


@pytest.fixture
def start(data, tmp_path, monkeypatch):
    """start(chapter, out, **parameters) → a Run on the blobs."""
    monkeypatch.setenv("DLBOOKS_HOME", str(tmp_path))

    def make(module, out, **parameters):
        runtime.prepare("mini", 0)
        run = Run(module.CHAPTER, module.Params(**parameters), profile="mini", out=tmp_path / out, data=data, quiet=True)
        run.begin()
        return run

    return make


def finish(module, run):
    """Evaluation and what the flow writes after it."""
    values = module.evaluate(run)
    run.write_history()
    run.write_metrics(values)
    return values


# ── training ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def small(dropout=0.0):
    runtime.prepare("mini", 1)
    layers = [
        keras.Input((4,)),
        keras.layers.Dense(5, "relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(dropout),
        keras.layers.Dense(3),
    ]
    return keras.Sequential(layers)


def points(count=64):
    rng = np.random.default_rng(2)
    return rng.normal(size=(count, 4)).astype(np.float32), rng.integers(0, 3, count)


def flat(model):
    return np.concatenate([np.ravel(v) for v in model.weights])


def test_compiled_epoch_is_the_plain_loop():
    x, y = points()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    order = np.random.default_rng(3).permutation(64)
    compiled, plain = small(), small()
    mean = training.compiled_epoch(compiled, keras.optimizers.SGD(0.1), loss)(x, y, order, 10)
    optimizer, losses = keras.optimizers.SGD(0.1), []
    for first in range(0, 60, 10):  # the rest of four is dropped
        chosen = order[first : first + 10]
        with tf.GradientTape() as tape:
            value = loss(y[chosen], plain(x[chosen], training=True))
        optimizer.apply(tape.gradient(value, plain.trainable_variables), plain.trainable_variables)
        losses.append(float(value))
    np.testing.assert_allclose(flat(compiled), flat(plain), atol=1e-6)
    assert mean == pytest.approx(np.mean(losses), abs=1e-6)


def test_compiled_epoch_repeats_bit_for_bit_and_refuses_less_than_a_batch():
    x, y = points()
    results = []
    for _ in range(2):
        model = small(dropout=0.5)
        ema = training.Ema(model, 0.9)
        noise = lambda images, seed: images + 0.1 * tf.random.stateless_normal(tf.shape(images), seed)  # noqa: E731
        run = training.compiled_epoch(model, training.Adam(0.01), tf.nn.sparse_softmax_cross_entropy_with_logits, augment=noise, ema=ema)
        losses = [run(x, y, np.arange(64), 16, seed) for seed in (0, 1)]
        ema.swap()
        results.append((losses, flat(model)))
    assert results[0][0] == results[1][0]
    assert np.array_equal(results[0][1], results[1][1])
    with pytest.raises(ValueError, match="less than one batch"):
        run(x, y, np.arange(8), 16)


def test_ema_follows_its_formula():
    model = small()
    ema = training.Ema(model, 0.5)
    first = flat(model)
    expected = first.astype(np.float64)
    for step in range(8):
        for variable in model.weights:
            variable.assign_add(tf.ones(variable.shape))
        ema.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * (first + step + 1)
    last = flat(model)
    ema.swap()
    np.testing.assert_allclose(flat(model), expected, atol=1e-5)
    ema.swap()
    assert np.array_equal(flat(model), last)
    assert 0.9999**10_000 == pytest.approx(0.368, abs=1e-3)


@pytest.mark.parametrize("decay", [None, 0.1])
def test_fused_adam_is_adam(decay):
    x, y = points()
    models = []
    for adam in (training.Adam, keras.optimizers.Adam):
        model = small()
        run = training.compiled_epoch(model, adam(0.01, weight_decay=decay), tf.nn.sparse_softmax_cross_entropy_with_logits)
        run(x, y, np.tile(np.arange(64), 5), 16)
        models.append(flat(model))
    np.testing.assert_allclose(models[0], models[1], atol=2e-6)


def test_shuffled_stretches_join_to_passes(start):
    run = start(mnist_softmax, "order")
    whole = training.shuffled(run, 23, 5, 0, 12)
    parts = [training.shuffled(run, 23, 5, first, 3) for first in range(0, 12, 3)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert len(set(whole[:20])) == 20  # four steps of five are a pass without repeats
    assert not np.array_equal(whole[:20], whole[20:40])


def test_precision_is_mixed_only_in_book_on_such_a_cpu(monkeypatch):
    for profile, cpu, expected in [("book", True, "mixed_bfloat16"), ("book", False, "float32"), ("mini", True, "float32")]:
        monkeypatch.setattr(runtime, "mixed_precision", lambda cpu=cpu: cpu)
        with training.precision(profile):
            assert keras.config.dtype_policy().name == expected
        assert keras.config.dtype_policy().name == "float32"


# ── metrics ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_losses_and_errors():
    labels = np.array([0, 1, 2])
    assert metrics.cross_entropy(np.zeros((3, 10)), labels) == pytest.approx(math.log(10))
    assert metrics.cross_entropy(np.array([[1000.0, 0.0]]), np.array([1])) == 1000  # no underflow
    logits = np.array([[3.0, 2, 1, 0], [3, 2, 1, 0], [1, 1, 1, 1]])
    assert metrics.accuracy(logits, labels) == pytest.approx(1 / 3)
    assert [metrics.topk_error(logits, labels, k) for k in (1, 2, 3, 4)] == pytest.approx([2 / 3, 1 / 3, 0, 0])


def test_ece_of_a_worked_example():
    p = np.array([[0.9, 0.1]] * 10 + [[0.4, 0.6]] * 10)
    labels = np.array([0] * 8 + [1] * 2 + [1] * 6 + [0] * 4)  # 0.8 right at 0.9, 0.6 right at 0.6
    assert metrics.ece(p, labels) == pytest.approx(0.5 * 0.1)
    assert metrics.ece(np.eye(3), np.arange(3)) == 0


# ── augmentation ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

SEED = np.array([3, 4], np.int32)


def picture(n=16):
    images = np.zeros((n, 28, 28, 1), np.uint8)
    images[:, 12:16, 10:20] = np.arange(50, 90).reshape(4, 10, 1)
    return images


def test_affine_keeps_type_and_repeats():
    images = picture()
    assert np.array_equal(augment.affine(images, SEED), images)
    once, again = (augment.affine(tf.constant(images), SEED, rotation=10, shift=2, zoom=0.1) for _ in range(2))
    assert once.dtype == tf.uint8
    assert np.array_equal(once, again)
    assert not np.array_equal(once, augment.affine(images, SEED + 1, rotation=10, shift=2, zoom=0.1))
    assert augment.affine(images.astype(np.float32), SEED, zoom=0.1).dtype == tf.float32


def test_shift_moves_whole_pixels_every_way():
    images = picture(200)
    moved = augment.affine(images, SEED, shift=2).numpy()
    seen = set()
    for image in moved:
        rows, columns = np.nonzero(image[:, :, 0])
        seen.add((rows[0] - 12, columns.min() - 10))
        assert np.array_equal(image[rows[0] : rows[0] + 4, columns.min() : columns.min() + 10], images[0, 12:16, 10:20])
    assert seen == {(a, b) for a in range(-2, 3) for b in range(-2, 3)}


def test_rotation_and_zoom_are_about_the_center():
    y, x = np.mgrid[:28, :28] - 13.5
    images = np.tile((200 * np.exp(-(x**2 + y**2) / 20))[None, :, :, None], (8, 1, 1, 1)).astype(np.float32)
    np.testing.assert_allclose(augment.affine(images, SEED, rotation=180), images, atol=5)  # a round spot does not see a rotation
    share = augment.affine(images, SEED, zoom=0.2).numpy().sum((1, 2, 3)) / images[0].sum()
    assert 0.64 <= share.min() < 0.95 and 1.05 < share.max() <= 1.45


def test_flip_mirrors_about_half():
    images = picture(400)
    flipped = augment.flip(tf.constant(images), SEED).numpy()
    mirrored = (flipped == images[:, :, ::-1]).all((1, 2, 3))
    assert 150 < mirrored.sum() < 250
    assert (flipped == images).all((1, 2, 3))[~mirrored].all()


# ── chapters: numbers in the prose ──────────────────────────────────────────────────────────────────────────────────────────────

COUNTS = [
    (mnist_softmax, {}, 7850),
    (mnist_softmax, {"hidden": 32}, 784 * 32 + 32 + 330),
    (mnist_mlp, {"net": "summaries"}, 397_510),
    (mnist_mlp, {"net": "restore"}, 886_875),
    (mnist_mlp, {"net": "reader"}, 104_938),
    (mnist_mlp, {"net": "best"}, 1_869_834),
    (mnist_cnn, {"net": "b1"}, 3_274_634),
    (mnist_cnn, {"net": "keras"}, 600_810),
    (mnist_cnn, {"net": "b5"}, 1_378_698),
    (mnist_cnn, {"net": "best"}, 162_026),
    (fashion_mlp, {"net": "mlp"}, 1_796_010),
    (fashion_mlp, {"net": "conv"}, 100 + 1820 + 500 * 128 + 128 + 1290),
]


@pytest.mark.parametrize(("module", "parameters", "count"), COUNTS, ids=lambda v: getattr(v, "__name__", str(v)).rpartition(".")[2])
def test_parameter_counts(module, parameters, count):
    model = module.build(module.Params(**parameters))
    assert model.count_params() == count
    assert f"{count:,}" in module.__doc__ or module in (mnist_softmax, fashion_mlp)
    assert model.get_layer("features") is not None
    penultimate = [layer for layer in model.layers if not isinstance(layer, keras.layers.Dropout)][-2]
    assert penultimate.name == "features"
    assert model.output_shape == (None, 10)


@pytest.mark.parametrize("module", CHAPTERS)
def test_variants_are_valid_and_reported_metrics_declared(module):
    declared = catalog.chapter(module.CHAPTER.id).declaration
    for variant in declared.variants.values():
        module.Params(**variant.overrides)
        assert set(variant.reported) <= set(declared.metrics)


def sizes(module, net, names):
    model = module.build(module.Params(net=net))
    return [28, *(model.get_layer(n).output.shape[1] for n in names)]


def test_sizes_of_feature_maps():
    assert sizes(mnist_cnn, "b1", ["pool1", "pool2"]) == [28, 14, 7]
    assert sizes(mnist_cnn, "keras", ["conv1", "conv2", "pool1"]) == [28, 26, 24, 12]
    assert sizes(mnist_cnn, "b5", ["pool1", "pool2", "pool3"]) == [28, 14, 7, 4]
    assert sizes(fashion_mlp, "conv", ["conv1", "pool1", "conv2", "pool2", "pixels"]) == [28, 26, 13, 11, 5, 500]
    assert 3136 * 1024 + 1024 == 3_212_288


def test_softmax_starts_at_ln_ten_and_says_zero(data):
    model = mnist_softmax.build(mnist_softmax.Params())
    test = records.Records(data / "tfrecords" / "mnist").arrays("test")
    logits = classification.forward(model)(test["image"])
    assert metrics.cross_entropy(logits, test["label"]) == pytest.approx(2.302585, abs=1e-6)
    assert metrics.accuracy(logits, test["label"]) == (test["label"] == 0).mean()


def test_softmax_identities():
    z = np.array([1.0, 2.0, 4.0])
    p = np.exp(metrics.log_softmax(z))
    np.testing.assert_allclose(p, np.exp(z) / np.exp(z).sum())
    np.testing.assert_allclose(np.exp(metrics.log_softmax(z + 7)), p)
    logits, labels = tf.constant(np.random.default_rng(0).normal(size=(6, 10))), np.array([0, 1, 2, 3, 4, 9])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = mnist_softmax.loss(mnist_softmax.Params())(labels, logits)
    expected = (tf.nn.softmax(logits).numpy() - np.eye(10)[labels]) / 6
    np.testing.assert_allclose(tape.gradient(value, logits), expected, atol=1e-12)
    dense = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(np.eye(10)[labels], logits))
    assert float(value) == pytest.approx(float(dense))
    assert np.array_equal(tf.one_hot(np.arange(10), 10), np.eye(10))


def test_worked_example_of_accuracy():
    example = mnist_softmax.accuracy_example()
    assert (example["hits"], example["cast"], example["accuracy"]) == ([True, False, False, True], [1.0, 0.0, 0.0, 1.0], 0.5)


def test_label_smoothing_is_cross_entropy_with_soft_labels():
    logits, labels = tf.constant(np.random.default_rng(0).normal(size=(5, 10))), np.arange(5)
    keras_loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.05, reduction="none")
    expected = keras_loss(np.eye(10)[labels], logits)
    np.testing.assert_allclose(classification.smoothed_cross_entropy(0.05)(labels, logits), expected, rtol=1e-5)


def test_passes_and_steps_of_the_books():
    assert 55_000 // 100 * 2 == 1100
    assert mnist_mlp.points(mnist_mlp.Params(**mnist_mlp.CHAPTER.variants["reader"].overrides))[-1] == 1100
    assert 55_000 // 128 * 100 == mnist_cnn.CHAPTER.variants["b5"].overrides["steps"]
    assert 60_000 // 128 * 12 == mnist_cnn.CHAPTER.variants["keras"].overrides["steps"]
    assert mnist_mlp.points(mnist_mlp.Params(steps=35, log_every=20)) == [10, 20, 35]


# ── chapters: running ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_softmax_keeps_its_symmetry_and_sum_is_a_hundredfold_mean(start):
    kernels = []
    for out, parameters in [("mean", {"learning_rate": 1.0}), ("sum", {"learning_rate": 0.01, "reduction": "sum"})]:
        run = start(mnist_softmax, out, steps=6, **parameters)
        mnist_softmax.train(run)
        kernels.append([np.asarray(w) for w in run.load(mnist_softmax.build(run.params)).weights])
    for mean, total in zip(*kernels, strict=True):
        np.testing.assert_allclose(mean, total, atol=1e-6)
        assert np.abs(mean).max() > 0.01
        np.testing.assert_allclose(mean.sum(-1), 0, atol=1e-6)  # Σ_k W[i, k] = 0, Σ_k b_k = 0
    assert run.series["loss"][0][1] < 3  # logged per example, though the sum was trained


def test_softmax_from_training_to_a_persons_pictures(start, tmp_path, capsys):
    run = start(mnist_softmax, "softmax", steps=60)
    mnist_softmax.train(run)
    values = finish(mnist_softmax, run)
    assert values["test_accuracy"] > 0.9
    mnist_softmax.export(run)
    for name in ("confusion", "weights", "samples", "digit_matrix", "curve_loss", "curve_accuracy"):
        assert (run.out / "figures" / f"{name}.png").stat().st_size > 1000
    rows = list(csv.DictReader(open(run.out / "predictions.csv", encoding="utf-8")))
    assert [int(r["index"]) for r in rows] == list(range(50))
    assert np.mean([r["label"] == r["predicted"] for r in rows]) == values["test_accuracy"]
    assert sum(int(r["n"]) for r in csv.DictReader(open(run.out / "per_class.csv", encoding="utf-8"))) == 50

    paper = np.full((60, 90), 250, np.uint8)
    paper[10:50, 40:46] = 20
    Image.fromarray(paper).save(tmp_path / "one.png")
    mnist_softmax.predict(run, [str(tmp_path / "one.png")], tmp_path / "answer", top=2)
    assert "one.png" in capsys.readouterr().out
    rows = list(csv.DictReader(open(tmp_path / "answer" / "predictions.csv", encoding="utf-8")))
    assert [r["rank"] for r in rows] == ["1", "2"]
    assert float(rows[0]["probability"]) >= float(rows[1]["probability"])
    assert (tmp_path / "answer" / "predictions.png").exists()

    Image.fromarray(np.full((40, 40), 255, np.uint8)).save(tmp_path / "white.png")
    (tmp_path / "text.png").write_text("no picture")
    for name, top, message in [
        ("white.png", 3, "white.png: no ink found"),
        ("text.png", 3, "text.png: not a picture"),
        ("missing.png", 3, "missing.png: no such file"),
        ("one.png", 11, "top = 11: must be between 1 and 10"),
    ]:
        with pytest.raises(UserError, match=message):
            mnist_softmax.predict(run, [str(tmp_path / name)], top=top)
    with pytest.raises(UserError, match="has not been trained here"):
        mnist_softmax.predict(start(mnist_softmax, "empty"), [str(tmp_path / "one.png")])


def test_mlp_killed_and_resumed_ends_with_the_same_bits(start, monkeypatch):
    monkeypatch.setenv("DLBOOKS_CHECKPOINT_SECONDS", "0")
    options = {"net": "restore", "steps": 12, "log_every": 3, "batch_size": 32, "shift": 1, "label_smoothing": 0.05}
    whole = start(mnist_mlp, "whole", **options)
    mnist_mlp.train(whole)
    whole.finish()

    killed = start(mnist_mlp, "killed", **options)
    log = killed.log

    def power_cut(step, **values):
        if step == 9:
            raise KeyboardInterrupt
        log(step, **values)

    killed.log = power_cut
    with pytest.raises(KeyboardInterrupt):
        mnist_mlp.train(killed)
    resumed = start(mnist_mlp, "resumed", **options)
    said = []
    resumed.say = said.append
    mnist_mlp.train(resumed)
    assert said == ["resuming at points 2"]  # points 3 and 6 were done
    for name in ("weights.npz", "weights_stats.csv", "figures/distributions.png"):
        assert (resumed.out / name).read_bytes() == (whole.out / name).read_bytes()
    assert resumed.series == whole.series


def test_mlp_evaluates_without_dropout_and_restores(start):
    run = start(mnist_mlp, "mlp", net="best", steps=12, log_every=6, batch_size=50)
    mnist_mlp.train(run)
    values = finish(mnist_mlp, run)
    assert values["accuracy_at_step_990"] == values["accuracy_at_step_900"] == pytest.approx(values["test_accuracy"])
    model = run.load(mnist_mlp.build(run.params))
    score, images = classification.forward(model), run.records("mnist").arrays("test")["image"]
    assert np.array_equal(score(images), score(images))
    found = mnist_mlp.restore_example(model, run.records("mnist").arrays("test"))
    assert found["checkpoints"] == [f"model-{n}" for n in (3, 4, 5, 6, 7)]
    assert found["loss"] == found["loss_restored"] != found["loss_spoiled"]
    assert found["restored"]


@pytest.mark.parametrize("net", ["b1", "keras", "best"])
def test_cnn_runs(start, net):
    parameters = {"net": net, "steps": 4, "log_every": 2, "batch_size": 20}
    parameters |= {"augment": 1.0, "ema": 0.9} if net == "best" else {}
    parameters |= {"learning_rate": 1.0, "hold_out": False, "shuffle": False} if net == "keras" else {}
    run = start(mnist_cnn, net, **parameters)
    mnist_cnn.train(run)
    values = finish(mnist_cnn, run)
    assert values["test_accuracy_256"] * min(256, 50) % 1 == pytest.approx(0, abs=1e-9)
    assert [s for s, _ in run.series["validation_accuracy"]] == [2, 4]
    for name in ("kernels", "feature_maps"):
        assert (run.out / "figures" / f"{name}.png").exists()


def test_export_is_byte_stable_and_gives_features(start):
    run = start(mnist_cnn, "judge", steps=2, batch_size=20)
    mnist_cnn.train(run)
    keras.utils.clear_session()  # as in a fresh process, layers are numbered from the start
    mnist_cnn.export(run)
    files = {p: p.read_bytes() for p in (run.out / "export").rglob("*") if p.is_file()}
    assert {p.name for p in files} >= {"saved_model.pb", "labels.txt", "model.keras", "model.tflite", "model_dynamic.tflite"}
    keras.utils.clear_session()
    mnist_cnn.export(run)
    assert [p.name for p, content in files.items() if p.read_bytes() != content] == []
    exported = tf.saved_model.load(str(run.out / "export" / "saved_model"))
    images = run.records("mnist").arrays("test")["image"][:3]
    answer = exported.serve(tf.constant(images))
    np.testing.assert_allclose(tf.nn.softmax(answer["logits"]), answer["probabilities"], atol=1e-6)
    assert np.array_equal(answer["class_id"], np.argmax(answer["logits"], 1))
    assert exported.features(tf.constant(images))["features"].shape == (3, 1024)


def test_tape_and_trainer_end_with_the_same_bits(start):
    digests = []
    for loop in ("tape", "fit"):
        run = start(fashion_mlp, loop, loop=loop, epochs=2, dropout=0.2, weight_decay=0.05, schedule="cosine", norm=True, augment=True, ema=0.9)
        fashion_mlp.train(run)
        values = finish(fashion_mlp, run)
        digests.append((run.out / "weights.npz").read_bytes())
        assert values["overfit_gap"] == pytest.approx(values["train_accuracy"] - values["test_accuracy"])
        assert values["best_epoch"] in (1, 2)
        assert len(list(csv.DictReader(open(run.out / "log.csv", encoding="utf-8")))) == 2
    assert digests[0] == digests[1]


# ── shared blocks of classifiers ────────────────────────────────────────────────────────────────────────────────────────────────


def test_forward_sees_every_item_once_whatever_the_batch(data):
    model = mnist_softmax.build(mnist_softmax.Params(hidden=8))
    test = records.Records(data / "tfrecords" / "mnist").arrays("test")
    model.get_layer("logits").kernel.assign(np.random.default_rng(0).normal(size=(8, 10)))
    whole, pieces = (classification.forward(model, batch)(test["image"]) for batch in (50, 7))
    np.testing.assert_allclose(whole, pieces, atol=1e-5)
    sums = [metrics.cross_entropy(pieces[i : i + 7], test["label"][i : i + 7]) * len(pieces[i : i + 7]) for i in range(0, 50, 7)]
    assert sum(sums) / 50 == pytest.approx(metrics.cross_entropy(whole, test["label"]), abs=1e-6)


def test_wrong_number_of_classes_is_named(start):
    run = start(mnist_softmax, "classes")
    test = run.records("mnist").arrays("test")
    with pytest.raises(UserError, match="the model gives 10 classes, the records have 3"):
        classification.evaluate_classifier(run, np.zeros((50, 10)), test, ["a", "b", "c"])


def test_mnist_like_inverts_crops_and_centers():
    stroke = np.full((200, 300), 255, np.uint8)
    stroke[40:140, 200:220] = 0
    light = 255 - stroke
    prepared = classification.mnist_like(stroke)
    assert prepared.shape == (28, 28, 1) and prepared.dtype == np.uint8
    assert np.array_equal(prepared, classification.mnist_like(light))
    rows, columns = np.nonzero(prepared[:, :, 0])
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (20, 4)
    assert abs(rows.mean() - 14) <= 0.5 and abs(columns.mean() - 14) <= 0.5
    full = classification.mnist_like(stroke, box=28, by_mass=False)
    assert np.nonzero(full[:, :, 0])[0].min() == 0
    for gray in (0, 128, 255):
        with pytest.raises(UserError, match="no ink found"):
            classification.mnist_like(np.full((50, 50), gray, np.uint8))
