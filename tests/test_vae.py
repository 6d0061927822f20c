"""The variational autoencoder and what it shares: measures of generated pictures, walks in latent space, the KL of a Gaussian."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dlbooks import UserError, export, records, runtime
from dlbooks.chapters.generative import vae_mnist
from dlbooks.nn import generative_metrics as gm
from dlbooks.nn import latent
from dlbooks.nn.losses import gaussian_kl
from dlbooks.records import Feature
from dlbooks.run import Run


@pytest.fixture(scope="module", autouse=True)
def prepared():
    runtime.prepare("mini", 0)


# ── measures ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def gaussian(n, mean, deviations, seed=0):
    """Points whose mean and covariance are exactly the given ones."""
    x = np.random.default_rng(seed).standard_normal((n, len(deviations)))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return x * deviations + mean


def test_frechet_has_the_closed_form_of_gaussians():
    ones = np.ones(5)
    a, b = gaussian(200, 0 * ones, ones), gaussian(300, np.array([3.0, 0, 0, 0, 0]), ones, 1)
    assert gm.frechet(a, b) == pytest.approx(9, abs=1e-9)
    assert gm.frechet(a, a) == pytest.approx(0, abs=1e-6) and gm.frechet(a, b) == pytest.approx(gm.frechet(b, a))
    wide = gaussian(200, ones, np.array([1.0, 2.0, 3.0, 0.5, 0.0]), 2)  # Σ (μ² + (s − 1)²), also where a covariance is singular
    assert gm.frechet(a, wide) == pytest.approx(5 + 0 + 1 + 4 + 0.25 + 1)


def test_axes_make_the_mean_variance_one():
    features = gaussian(400, np.arange(6.0), np.array([9.0, 4, 2, 1, 0.1, 0.1]))
    projected = gm.pca_axes(features, 3)(features)
    assert projected.shape == (400, 3) and projected.var(0, ddof=1).mean() == pytest.approx(1)
    assert projected.var(0, ddof=1) == pytest.approx(np.array([81, 16, 4]) / (101 / 3))
    assert gm.pca_axes(features[:4], 64)(features).shape == (400, 3)


def test_precision_and_recall_tell_fidelity_from_variety():
    real = np.random.default_rng(0).standard_normal((300, 4))
    assert gm.precision_recall(real, real) == (1, 1) and gm.coverage(real, real) == 1
    one = np.repeat(real[:1], 300, 0)
    precision, recall = gm.precision_recall(real, one)
    assert precision == 1 and recall < 0.02 and gm.coverage(real, one) < 0.1, "collapse: faithful, without variety"
    precision, recall = gm.precision_recall(real, real + 100)
    assert (precision, recall, gm.coverage(real, real + 100)) == (0, 0, 0)
    line = np.array([[0.0], [1.0], [3.0], [7.0]])
    assert gm.radii(line, 1).tolist() == [1, 1, 4, 16] and gm.radii(line, 2).tolist() == [9, 4, 9, 36]


def test_score_and_modes():
    p = np.eye(10)[np.arange(100) % 10]
    assert gm.judge_score(p) == pytest.approx(10) and gm.modes_hit(p) == 10
    assert gm.judge_score(np.full((50, 10), 0.1)) == pytest.approx(1)
    assert gm.judge_score(p[p[:, 5:].sum(1) == 0]) == pytest.approx(5) and gm.modes_hit(p[p[:, 5:].sum(1) == 0]) == 5
    rare = np.eye(10)[[0] * 99 + [1]]
    assert gm.modes_hit(rare) == 1, "one in a hundred is no mode"


def test_copy_share():
    pictures = np.random.default_rng(0).integers(0, 256, (1200, 4, 4, 1)).astype(np.uint8)
    training, validation, fresh = pictures[:400], pictures[400:800], pictures[800:]
    assert gm.copy_share(training, training, validation) == 1 and gm.copy_share(validation, training, validation) == 0
    assert gm.copy_share(fresh, training, validation) == pytest.approx(0.5, abs=4 * np.sqrt(1 / 1600))
    assert gm.squared_distances([[0, 0], [3, 4]], [[0, 0]]).tolist() == [[0], [25]]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Blobs at ten places, and a judge that sees where the ink is."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:28, :28]

    def blobs(count):
        for index in range(count):
            row, column = 6 + 5 * (index % 10 % 4), 6 + 7 * (index % 10 // 4)
            blob = rng.uniform(180, 255) * np.exp(-((y - row) ** 2 + (x - column) ** 2) / rng.uniform(8, 20))
            yield {"image": blob.astype(np.uint8)[..., None], "label": index % 10, "index": index}

    features = {"image": Feature("uint8", (28, 28, 1)), "label": Feature(names=tuple("0123456789")), "index": Feature("int64")}
    splits = {"train": blobs(400), "validation": blobs(40), "test": blobs(80)}
    records.write(folder / "tfrecords" / "mnist", name="mnist", version="1.0.0", features=features, splits=splits)

    weights = tf.Variable(rng.standard_normal((784, 12)), dtype=tf.float32)

    def see(image):
        return {"features": tf.nn.relu(tf.reshape(tf.cast(image, tf.float32) / 255, (-1, 784)) @ weights)}

    def serve(image):
        return {"probabilities": tf.nn.softmax(see(image)["features"][:, :10])}

    spec = [tf.TensorSpec((None, 28, 28, 1), tf.uint8, name="image")]
    folder.joinpath("runs/mnist-cnn/export").mkdir(parents=True)
    export.saved_model(folder / "runs/mnist-cnn/export/saved_model", {"serve": (serve, spec), "features": (see, spec)}, [weights])
    return folder


def test_judge_and_panel(data):
    judge = gm.Judge(data / "runs" / "mnist-cnn")
    images = records.Records(data / "tfrecords" / "mnist").arrays("train")["image"]
    features, p = judge(np.concatenate([images, images]))  # more than one batch
    assert features.shape == (800, 12) and p.shape == (800, 10)
    assert np.array_equal(features[:400], features[400:]) and p.sum(1) == pytest.approx(1, abs=1e-5)
    panel = gm.Panel(judge, images)
    scores = panel.scores(images)
    assert scores["judge_fd"] == pytest.approx(0, abs=1e-6) == panel.distance(images) and scores["judge_precision"] == scores["judge_coverage"] == 1
    assert panel.scores(np.zeros_like(images))["judge_fd"] > 1
    with pytest.raises(UserError, match="the judge mnist-cnn has not been trained here"):
        gm.Judge(data / "nowhere" / "mnist-cnn")


# ── latent space ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ways_between_codes():
    one, other = latent.draw("normal", 2, 100, np.random.default_rng(0))
    t = np.linspace(0, 1, 5)
    for way in (latent.lerp, latent.slerp):
        codes = way(one, other, t)
        assert codes.shape == (5, 100) and codes.dtype == np.float32
        assert np.array_equal(codes[0], one) and np.array_equal(codes[-1], other)
        assert np.allclose(way(one, other, 0.25), codes[1])
    norms = [np.linalg.norm(latent.draw("normal", 1, 100, np.random.default_rng(n))) for n in range(50)]
    pairs = [latent.draw("normal", 2, 100, np.random.default_rng(n)) for n in range(50)]
    assert np.mean(norms) == pytest.approx(10, abs=0.35)
    assert np.mean([np.linalg.norm(latent.lerp(*p, 0.5)) for p in pairs]) == pytest.approx(7.1, abs=0.35)
    assert np.mean([np.linalg.norm(latent.slerp(*p, 0.5)) for p in pairs]) == pytest.approx(10, abs=0.35)
    assert np.allclose(latent.slerp(np.array([1.0, 0]), np.array([0, 1.0]), 1 / 3), [np.cos(np.pi / 6), 0.5])
    assert np.allclose(latent.slerp(one, 2 * one, t), latent.lerp(one, 2 * one, t)) and np.isfinite(latent.slerp(one, -one, t)).all()
    assert np.isfinite(latent.slerp(0 * one, one, t)).all()


def test_draw_and_traverse():
    z = latent.draw("uniform", 500, 3, np.random.default_rng(0))
    assert z.dtype == np.float32 and z.min() < -0.95 and z.max() < 1 and abs(z.mean()) < 0.1
    with pytest.raises(ValueError, match="kind is 'gauss'"):
        latent.draw("gauss", 1, 1, np.random.default_rng(0))
    codes = latent.traverse(z[0], 1, [-1, 0, 1])
    assert codes[:, 1].tolist() == [-1, 0, 1] and (codes[:, [0, 2]] == z[0, [0, 2]]).all()


def test_mosaic_leaves_empty_cells():
    sheet = latent.mosaic(np.zeros((65, 28, 28, 1), np.uint8), scale=1)
    assert sheet.shape == (8 * 30 + 2, 9 * 30 + 2) and (sheet == 0).sum() == 65 * 784
    assert latent.mosaic(np.zeros((3, 4, 5, 3), np.uint8), 3, scale=2, gap=1).shape == (12, 38, 3)


def test_every_generator_draws_the_same_way(tmp_path, capsys):
    seen = []

    def generate(codes):
        seen.append(codes)
        return np.zeros((len(codes), 8, 8, 1), np.uint8)

    assert latent.predict_generator("g", generate, 5, tmp_path / "a.png", count=10, seed=3).shape == (10, 8, 8, 1)
    latent.predict_generator("g", generate, 5, None, count=10, seed=3)
    assert np.array_equal(seen[0], seen[1]) and "g: 10 samples, seed 3" in capsys.readouterr().out
    latent.predict_generator("g", generate, 5, tmp_path / "folder", count=4, coordinate=2)
    assert seen[-1][:, 2].tolist() == [-3, -1, 1, 3] and (tmp_path / "folder" / "samples.png").exists()
    latent.predict_generator("g", generate, 5, tmp_path / "walk.gif", count=4, interpolate=True, ends=np.eye(5)[:2])
    assert np.array_equal(seen[-1][[0, -1]], np.eye(5)[:2])
    with Image.open(tmp_path / "walk.gif") as animation:
        assert animation.size == (48, 48)
    for options, message in (
        ({"count": 0}, "count = 0"),
        ({"count": 10_001}, "count = 10001"),
        ({"coordinate": 5}, r"coordinates 0 … 4"),
        ({"interpolate": True, "coordinate": 1}, "exclude each other"),
        ({"interpolate": True, "count": 1}, "at least count=2"),
    ):
        with pytest.raises(UserError, match=message):
            latent.predict_generator("g", generate, 5, None, **options)
    with pytest.raises(UserError, match=r"ending in \.png or \.gif"):
        latent.predict_generator("g", generate, 5, tmp_path / "a.jpg")


# ── the bound ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_gaussian_kl():
    assert gaussian_kl([0.0, 1.0, 0.0], [0.0, 0.0, np.log(4.0)]).numpy() == pytest.approx([0, 0.5, 0.806853], abs=1e-6)
    rng = np.random.default_rng(0)  # against the definition, E_q[log q − log p], by sampling
    mean, log_variance = 0.7, -0.9
    z = mean + np.exp(log_variance / 2) * rng.standard_normal(400_000)
    gap = 0.5 * (z**2 - (z - mean) ** 2 / np.exp(log_variance) - log_variance)
    assert gap.mean() == pytest.approx(float(gaussian_kl(mean, log_variance)), abs=0.01)


def test_gray_cross_entropy_is_the_mean_over_binarized_pictures():
    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(size=(1, 28, 28, 1)), tf.float32)
    gray = tf.constant(rng.integers(0, 256, (1, 28, 28, 1)), tf.uint8)
    x = tf.cast(gray, tf.float32) / 255
    p = 1 / (1 + np.exp(-logits.numpy().astype(np.float64)))
    by_hand = -(x * np.log(p) + (1 - x) * np.log(1 - p)).numpy().sum()
    assert float(vae_mnist.bernoulli_nll(logits, x)[0]) == pytest.approx(by_hand, rel=1e-5)
    draws = [tf.cast(vae_mnist.binarized(gray, [n, 0]), tf.float32) / 255 for n in range(300)]
    assert set(np.unique(draws[0])) == {0, 1} and np.mean(draws) == pytest.approx(float(tf.reduce_mean(x)), abs=0.005)
    values = [float(vae_mnist.bernoulli_nll(logits, b)[0]) for b in draws]
    assert np.mean(values) == pytest.approx(by_hand, abs=4 * np.std(values) / np.sqrt(300))


def test_gradient_passes_the_random_draw():
    mean, log_variance, noise = tf.constant([0.3]), tf.constant([-0.4]), tf.constant([1.7])
    with tf.GradientTape() as tape:
        tape.watch([mean, log_variance])
        z = vae_mnist.reparametrize((mean, log_variance, noise))
    slopes = [float(g[0]) for g in tape.gradient(z, [mean, log_variance])]
    assert slopes == pytest.approx([1, 0.5 * np.exp(-0.2) * 1.7], rel=1e-5)
    step = 1e-2
    up, down = (float(vae_mnist.reparametrize((mean, log_variance + s, noise))[0]) for s in (step, -step))
    assert (up - down) / (2 * step) == pytest.approx(slopes[1], abs=1e-3)


@pytest.mark.parametrize(("net", "code", "count"), [("b2", 100, 240_344), ("b4", 20, 815_824), ("best", 20, 1_085_752)])
def test_parameters(net, code, count):
    model = vae_mnist.build(vae_mnist.Params(net=net, latent=code, width=512))
    assert model.count_params() == count
    pixels, logits, mean, _ = model([np.zeros((3, 28, 28, 1), np.uint8), np.zeros((3, code), np.float32)])
    assert pixels.shape == logits.shape == (3, 28, 28, 1) and mean.shape == (3, code)


@pytest.fixture
def start(data, tmp_path, monkeypatch):
    monkeypatch.setenv("DLBOOKS_HOME", str(tmp_path))

    def make(out="out", **parameters):
        runtime.prepare("mini", 0)
        settings = {"width": 32, "latent": 4, "batch_size": 20, "steps": 200, "log_every": 50, "warm_up": 0, "learning_rate": 5e-3, **parameters}
        run = Run(vae_mnist.CHAPTER, vae_mnist.Params(**settings), profile="mini", out=tmp_path / out, data=data, quiet=True)
        run.begin()
        return run

    return make


def test_one_run_from_training_to_use(start, tmp_path, capsys):
    run = start()
    vae_mnist.train(run)
    run.evaluate(vae_mnist)
    vae_mnist.export(run)
    run.finish()
    found = run.metrics
    assert found["test_elbo"] == pytest.approx(-found["test_recon"] - found["test_kl"], rel=1e-4)
    assert run.series["validation_elbo"][-1][1] > run.series["validation_elbo"][0][1]
    p, test = run.params, run.records("mnist").arrays("test")["image"]
    model = run.load(vae_mnist.build(p))
    bound = {k: vae_mnist.bounds(model, p, k)(test) for k in (1, 8, 64)}
    assert bound[1]["iwae"].mean() < bound[8]["iwae"].mean() < bound[64]["iwae"].mean()
    assert found["test_elbo"] < found["test_iwae64"] == pytest.approx(bound[64]["iwae"].mean(), rel=1e-5)

    saved = tf.saved_model.load(str(run.out / "export/saved_model"))
    code = saved.encode(tf.constant(test))["mean"].numpy()
    assert np.allclose(code, bound[1]["mean"], atol=1e-5)
    again = saved.decode(tf.constant(code))["image"].numpy()
    assert again.dtype == np.uint8 and np.array_equal(again, saved.decode(tf.constant(code))["image"].numpy())
    assert np.abs(again.astype(int) - test).mean() < np.abs(test.mean(0) - test).mean(), "a reconstruction beats the mean picture"
    draws = [saved.sample(tf.constant(3), tf.constant(seed))["image"].numpy() for seed in (1, 1, 2)]
    assert draws[0].shape == (3, 28, 28, 1) and np.array_equal(draws[0], draws[1]) and not np.array_equal(draws[0], draws[2])
    elbo = saved.elbo(tf.constant(test))["elbo"].numpy()
    assert elbo.mean() == pytest.approx(found["test_elbo"], abs=1)
    assert saved.elbo(tf.constant(test[5:6]))["elbo"].numpy() == pytest.approx(elbo[5:6], rel=1e-5), "no picture depends on its neighbors"
    assert json.loads((run.out / "export/saved_model/assets.extra/signature.json").read_text())["inputs"]["image"]["shape"] == [None, 28, 28, 1]

    capsys.readouterr()
    files = []
    for index in (0, 3):
        files.append(str(tmp_path / f"{index}.png"))
        Image.fromarray(test[index, ..., 0]).save(files[-1])
    vae_mnist.predict(run, files, tmp_path / "pairs.png", rank=True)
    lines = capsys.readouterr().out.splitlines()
    values = [float(line.split("elbo ")[1].split()[0]) for line in lines]
    assert len(lines) == 2 and values == sorted(values) and (tmp_path / "pairs.png").exists()
    vae_mnist.predict(run, files, tmp_path / "morph.gif", interpolate=True, count=6)
    vae_mnist.predict(run, [], tmp_path / "new", count=9)
    assert (tmp_path / "morph.gif").exists() and (tmp_path / "new" / "samples.png").exists()
    with pytest.raises(UserError, match="give two, not 1"):
        vae_mnist.predict(run, files[:1], interpolate=True)
    (tmp_path / "note.png").write_text("no picture")
    with pytest.raises(UserError, match=r"note\.png: not a picture"):
        vae_mnist.predict(run, [str(tmp_path / "note.png")])


def test_the_weight_of_the_kl_term_decides_how_much_the_code_says(start):
    kl = {}
    for beta in (0, 1, 100):
        run = start(f"beta{beta}", beta=beta, steps=150)
        vae_mnist.train(run)
        kl[beta] = run.series["validation_kl"][-1][1]
        if beta == 100:
            run.load(model := vae_mnist.build(run.params))
            means = vae_mnist.bounds(model, run.params, 1)(run.records("mnist").arrays("test")["image"])["mean"]
            assert (means.var(0) > 0.01).sum() == 0, "posterior collapse"
    assert kl[0] > kl[1] > 0.5 > kl[100]


def test_a_killed_run_goes_on_bit_for_bit(start, monkeypatch):
    monkeypatch.setenv("DLBOOKS_CHECKPOINT_SECONDS", "0")
    whole = start("whole", steps=8, log_every=2, warm_up=6, binarize=True)
    vae_mnist.train(whole)
    run = start("killed", steps=8, log_every=2, warm_up=6, binarize=True)
    run.work = run.work.with_name("killed")
    log = run.log

    def stop(step, **values):
        if step == 6:
            raise KeyboardInterrupt
        log(step, **values)

    run.log = stop
    with pytest.raises(KeyboardInterrupt):
        vae_mnist.train(run)
    run.log = log
    runtime.prepare("mini", 0)
    vae_mnist.train(run)
    assert run.series == whole.series and (run.out / "weights.npz").read_bytes() == (whole.out / "weights.npz").read_bytes()
