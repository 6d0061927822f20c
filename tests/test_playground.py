"""The playground: its four toys, nets trained side by side, decision surfaces, points of a person's own."""

import csv
import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from dlbooks import UserError, runtime
from dlbooks.chapters.foundations import playground
from dlbooks.nn.toys import two_class
from dlbooks.nn.training import compiled_epoch
from dlbooks.run import Run


@pytest.fixture(scope="module", autouse=True)
def prepared():
    runtime.prepare("mini", 0)


@pytest.fixture
def start(tmp_path, monkeypatch):
    monkeypatch.setenv("DLBOOKS_HOME", str(tmp_path))

    def make(out="run", **parameters):
        runtime.prepare("mini", 0)
        run = Run(playground.CHAPTER, playground.Params(**parameters), profile="mini", out=tmp_path / out, quiet=True)
        run.begin()
        return run

    return make


# ── toys ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", playground.SHAPES)
def test_toys_are_balanced_and_seeded(shape):
    x, y = two_class(shape, 2000, 0.0, np.random.default_rng(3))
    assert x.shape == (2000, 2) and x.dtype == y.dtype == np.float32
    assert set(y.tolist()) == {-1.0, 1.0} and 0.45 <= (y > 0).mean() <= 0.55
    assert np.abs(x).max() < 6
    again, _ = two_class(shape, 2000, 0.0, np.random.default_rng(3))
    assert np.array_equal(x, again)
    assert len(two_class(shape, 7, 0.2, np.random.default_rng(0))[0]) == 7


def test_toys_follow_their_formulas():
    rng = np.random.default_rng(0)
    x, y = two_class("circle", 500, 0.0, rng)
    r = np.hypot(*x.T)
    assert r[y > 0].max() <= 2.5 and 3.5 <= r[y < 0].min() and r.max() <= 5.0001
    x, y = two_class("xor", 500, 0.0, rng)
    assert np.array_equal(np.sign(x[:, 0] * x[:, 1]), y) and np.abs(x).min() >= 0.3
    x, y = two_class("gauss", 20_000, 0.1, rng)
    np.testing.assert_allclose(x[y > 0].mean(0), 2, atol=0.05)
    np.testing.assert_allclose(x[y < 0].var(0), 0.5 + 7 * 0.1, rtol=0.05)
    x, y = two_class("spiral", 500, 0.0, rng)
    for label, t0 in ((1, 0.0), (-1, math.pi)):
        r, angle = np.hypot(*x[y == label].T), np.unwrap(np.arctan2(*x[y == label].T))  # angle from the second axis
        turned = angle - angle[1] + 3.5 * math.pi / 250
        np.testing.assert_allclose(r[1:], 5 * turned[1:] / (3.5 * math.pi), atol=1e-4)
        assert math.remainder(angle[1] - 3.5 * math.pi / 250 - t0, 2 * math.pi) == pytest.approx(0, abs=1e-4)
    with pytest.raises(ValueError, match="none of circle, xor"):
        two_class("moon", 10, 0.0, rng)


@pytest.mark.parametrize("shape", playground.SHAPES)
def test_noise_blurs_the_toys(shape):
    x, y = two_class(shape, 4000, 0.5, np.random.default_rng(1))
    truth = {
        "circle": np.where(np.hypot(*x.T) < 2.5, 1, -1),
        "xor": np.sign(x[:, 0] * x[:, 1]),
        "gauss": np.where(x.sum(1) > 0, 1, -1),
    }
    if shape in truth:
        assert 0.6 < (truth[shape] == y).mean() < 0.95
    else:
        clean, _ = two_class(shape, 4000, 0.0, np.random.default_rng(1))
        assert 0.2 < np.abs(x - clean).mean() < 0.3  # uniform in ±0.5


# ── model ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_inputs_and_weights():
    x = np.array([[2.0, -3.0]], np.float32)
    np.testing.assert_allclose(playground.lift(x, list(playground.FEATURES)), [[2, -3, 4, 9, -6, math.sin(2), math.sin(-3)]], rtol=1e-6)
    for name, count in (("linear", 3), ("small", 65), ("features", 113), ("deep", 327), ("own", 2)):
        inputs, hidden, _ = playground.nets(playground.Params())[name]
        model = playground.side_by_side(playground.Params(), 1, len(inputs), hidden)
        assert model.count_params() == count
        (row,) = [line for line in playground.__doc__.splitlines() if line.startswith(f"| `{name}`")]
        assert row.split("|")[4].strip() == str(count)
        start = np.concatenate([np.ravel(layer.kernel) for layer in model.layers[1:]])
        assert np.abs(start).max() <= 0.5
        assert all(np.all(np.asarray(layer.bias) == np.float32(0.1)) for layer in model.layers[1:])
    stack = playground.build(playground.Params(restarts=2))["small"]
    assert stack.input_shape == (None, 16) and stack.output_shape == (None, 8)


def test_backpropagation_is_that_of_the_prose():
    model = playground.side_by_side(playground.Params(), 1, 2, [3, 2])
    x, y = np.random.default_rng(0).normal(size=(1, 2)).astype(np.float32), np.array([[1.0]], np.float32)
    with tf.GradientTape() as tape:
        value = playground.half_square(y, model(x))
    gradients = tape.gradient(value, model.trainable_variables)
    a = [x]
    for layer in model.layers[1:]:
        a.append(np.tanh(a[-1] @ np.asarray(layer.kernel) + np.asarray(layer.bias)))
    assert float(value) == pytest.approx((a[-1] - y).item() ** 2 / 2, rel=1e-5)
    delta = (a[-1] - y) * (1 - a[-1] ** 2)
    for index in (3, 2, 1):
        np.testing.assert_allclose(gradients[2 * index - 2], a[index - 1].T @ delta, atol=1e-6)
        np.testing.assert_allclose(gradients[2 * index - 1], delta[0], atol=1e-6)
        delta = (delta @ np.asarray(model.layers[index].kernel).T) * (1 - a[index - 1] ** 2)


def test_a_net_trained_beside_others_ends_where_it_ends_alone():
    p = playground.Params(seed=5)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3 * 2)).astype(np.float32), np.sign(rng.normal(size=(40, 3))).astype(np.float32)
    order = np.tile(np.arange(40), 20)
    stack = playground.side_by_side(p, 3, 2, [4, 3])
    singles = [playground.picked(p.model_copy(update={"features": ["x1", "x2"], "hidden": [4, 3]}), "own", stack, [k]) for k in range(3)]
    for model, columns in [(stack, range(3)), *((single, [k]) for k, single in enumerate(singles))]:
        inputs = np.concatenate([x[:, 2 * k : 2 * k + 2] for k in columns], 1)
        compiled_epoch(model, keras.optimizers.SGD(0.1), playground.half_square)(inputs, y[:, list(columns)], order, 10)
    together = stack(x).numpy()
    for k, single in enumerate(singles):
        np.testing.assert_allclose(single(x[:, 2 * k : 2 * k + 2])[:, 0], together[:, k], atol=1e-5)
    apart = playground.picked(p.model_copy(update={"features": ["x1", "x2"], "hidden": [4, 3]}), "own", stack, [2, 0])
    np.testing.assert_allclose(apart(np.concatenate([x[:, 4:6], x[:, :2]], 1)), together[:, [2, 0]], atol=1e-6)


def test_penalties():
    p = playground.Params(l1=0.3, l2=0.7)
    model = playground.side_by_side(p, 2, 2, [3])
    x, y = np.ones((5, 4), np.float32), np.ones((5, 2), np.float32)
    weights = np.concatenate([np.ravel(np.asarray(layer.kernel) * layer.blocks) for layer in model.layers[1:]])
    assert np.count_nonzero(weights) == 2 * (6 + 3)
    expected = float(playground.half_square(y, model(x))) + 0.3 * np.abs(weights).sum() + 0.35 * np.square(weights).sum()
    assert float(playground.penalized(p, model)(y, model(x))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [{"noise": 0.6}, {"noise": -0.1}, {"batch": 31}, {"batch": 0}, {"features": []}, {"features": ["x3"]}, {"hidden": [0]}, {"train_share": 0.95}],
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(ValidationError):
        playground.Params(**wrong)


def test_too_few_points_are_named(start):
    with pytest.raises(UserError, match="= 2 are less than one batch of 10"):
        playground.train(start(points=20, train_share=0.1))


def test_looks_cover_all_passes():
    for passes in (1, 3, 50, 800):
        looks = playground.looks(passes)
        assert looks[0] == (0, 0) and looks[-1][1] == passes
        assert all(a[1] == b[0] and b[0] < b[1] for a, b in itertools.pairwise(looks))


# ── running ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_product_alone_solves_xor_and_squares_the_circle(start):
    accuracy = {}
    for features in (["x1_x2"], ["x1_squared", "x2_squared"]):
        p = playground.Params(features=features, epochs=40, restarts=1)
        run = start(features=features, restarts=1)
        data = playground.points(run)
        model = playground.build(p)["own"]
        epoch = compiled_epoch(model, keras.optimizers.SGD(0.03), playground.half_square)
        epoch(playground.inputs_of(data["x"], features), data["y"], np.tile(np.arange(250), 40), 10)
        answer = model(playground.inputs_of(data["test_x"], features)).numpy()
        accuracy[features[0]] = ((answer >= 0) == (data["test_y"] > 0)).mean(0)
    assert accuracy["x1_x2"][1] == 1.0  # xor
    assert accuracy["x1_squared"][0] > 0.95  # circle


def test_from_training_to_an_answer(start, tmp_path, capsys):
    run = start(effort=0.01, restarts=2, points=100)
    playground.train(run)
    run.evaluate(playground)
    keras.utils.clear_session()  # as in a fresh process, layers are numbered from the start
    playground.export(run)
    run.finish()
    rows = list(csv.DictReader(open(run.out / "all.csv", encoding="utf-8")))
    assert [(r["net"], r["shape"]) for r in rows] == [(n, s) for n in playground.nets(run.params) for s in playground.SHAPES]
    assert run.metrics["test_accuracy_circle"] == pytest.approx(float(rows[4]["test_accuracy"]))
    for name in ("grid.png", "filmstrip.png", "training.gif", "neurons_features.png", "neurons_deep.png", "curve_loss_on_the_spiral.png"):
        assert (run.out / "figures" / name).stat().st_size > 1000

    (tmp_path / "points.csv").write_text("x1,x2\n0,3\n2,-2\n", encoding="utf-8")
    playground.predict(run, [str(tmp_path / "points.csv"), "-1,0.5"], tmp_path / "labels.csv", net="small", shape="xor")
    said = capsys.readouterr().out.splitlines()
    answer = list(csv.DictReader(open(tmp_path / "labels.csv", encoding="utf-8")))
    assert len(said) == len(answer) == 3 and (answer[2]["x1"], answer[2]["x2"]) == ("-1", "0.5")
    assert all((float(r["score"]) >= 0) == (r["label"] == "1") for r in answer)
    model = run.load(playground.build(run.params)["small"], "weights_small")
    data = playground.points(run)
    loss = playground.of(playground.losses(data["y"], model(playground.inputs_of(data["x"], ["x1", "x2"]))).numpy(), "xor", run.params)
    tiled = np.tile(np.array([[-1.0, 0.5]], np.float32), (1, 8))
    expected = playground.of(model(tiled).numpy()[0], "xor", run.params)[loss.argmin()]
    assert float(answer[2]["score"]) == pytest.approx(expected, abs=1e-5)

    playground.predict(run, ["9,0"], tmp_path / "surface.png")
    assert "outside" in capsys.readouterr().out and (tmp_path / "surface.png").stat().st_size > 1000
    playground.predict(run, [], tmp_path / "alone.png", net="own", shape="circle")

    (tmp_path / "bad.csv").write_text("x1,x2\n0,3\n2,red\n", encoding="utf-8")
    (tmp_path / "columns.csv").write_text("x,y\n0,3\n", encoding="utf-8")
    for words, options, message in [
        (["1;2"], {}, "'1;2' is no point"),
        (["nan,1"], {}, "not finite"),
        ([str(tmp_path / "bad.csv")], {}, "bad.csv, line 3: x1 = '2', x2 = 'red' are not two numbers"),
        ([str(tmp_path / "columns.csv")], {}, "columns.csv, line 1: column x1 and x2 is missing"),
        ([str(tmp_path / "gone.csv")], {}, "gone.csv: no such file"),
        (["1,2"], {"net": "huge"}, "net = huge: must be one of linear"),
        (["1,2"], {"shape": "moon"}, "shape = moon: must be one of circle"),
        ([], {}, "give points x1,x2"),
    ]:
        with pytest.raises(UserError, match=message):
            playground.predict(run, words, **options)

    files = {p: p.read_bytes() for p in (run.out / "export").rglob("*") if p.is_file()}
    keras.utils.clear_session()
    playground.export(run)
    assert [p.name for p, content in files.items() if p.read_bytes() != content] == []
