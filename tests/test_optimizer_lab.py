"""The rules of the optimizer lab: worked steps, the bowl's limit, what `predict` refuses."""

import itertools
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

from dlbooks import UserError, runtime
from dlbooks.chapters.foundations import optimizer_lab as lab

PARAMS = lab.Params()


@pytest.fixture(autouse=True)
def prepared():
    runtime.prepare("mini", 0)


STEPS = {  # w after one, two and three gradients of 1 from w = 0
    "sgd": (-0.1, -0.2, -0.3),
    "momentum": (-0.1, -0.29, -0.561),
    "nesterov": (-0.19, -0.461, -0.8049),
    "adagrad": (-0.095346, -0.164353, -0.221149),
    "ftrl": (-0.095346, -0.164353, -0.221149),
    "rmsprop": (-0.316228, -0.545643, -0.737738),
    "adam": (-0.1, -0.2, -0.3),
    "lion": (-0.1, -0.2, -0.3),
}


@pytest.mark.parametrize(
    ("name", "rate", "expected"), [*((n, 0.1, w) for n, w in STEPS.items()), ("adadelta", 1.0, (-0.001414, -0.002846, -0.004291))]
)
def test_three_steps_by_hand(name, rate, expected):
    w, optimizer = keras.Variable(0.0), lab.MAKERS[name](rate)
    for value in expected:
        optimizer.apply([keras.ops.convert_to_tensor(1.0)], [w])
        assert float(w) == pytest.approx(value, abs=5e-6)


def test_limit_of_the_rate_on_the_bowl():
    curvature, minimum = lab.bowl()
    flat, steep = np.linalg.eigvalsh(curvature)
    assert 0.8 < flat < 1.2 and 8 < steep < 11

    def losses(rate):
        off = lab.path(keras.optimizers.SGD(rate), 40) - minimum
        return 0.5 * np.einsum("ti,ij,tj->t", off, curvature, off)

    inside, beyond = losses(1.9 / steep), losses(2.1 / steep)
    assert all(b < a for a, b in itertools.pairwise(inside)) and beyond[-1] > beyond[0]
    # one step along an eigenvector multiplies the distance by 1 − ηλ
    axis = np.linalg.eigh(curvature)[1][:, 1]
    places = lab.path(keras.optimizers.SGD(0.05), 1, start=minimum + axis)
    assert np.allclose(places[1] - minimum, (1 - 0.05 * steep) * axis, atol=1e-5)


def test_a_trainer_starts_again_from_the_same_place():
    rng = np.random.default_rng(0)
    digits = {"image": rng.integers(0, 256, (60, 28, 28, 1), np.uint8), "label": rng.integers(0, 10, 60)}
    trainer = lab.Trainer(lab.build(PARAMS), keras.optimizers.Adam(0.01))
    seen = []
    for rate in (0.01, 0.1, 0.01):
        trainer.start(rate, np.random.default_rng(1))
        seen.append(list(trainer.passes(digits, 2, 10, np.random.default_rng(2), parts=2)))
    assert seen[0] == seen[2] != seen[1] and [s for s, _ in seen[0]] == [3, 6, 9, 12]


def test_decay_is_half_the_sum_of_squares():
    model = lab.build(PARAMS, decay=0.1)
    squares = sum(float(np.sum(np.asarray(layer.kernel) ** 2)) for layer in model.layers if hasattr(layer, "kernel"))
    assert float(sum(model.losses)) == pytest.approx(0.1 / 2 * squares, rel=1e-5)


def test_claims_are_verdicts_not_wishes():
    def row(test):
        return {"test": test}

    names = ("adagrad", "sgd", "momentum")
    untuned, tuned = (dict(zip(names, map(row, v), strict=True)) for v in ((0.5, 0.4, 0.6), (0.7, 0.6, 0.85)))
    verdicts = lab.claims(untuned, tuned, {n: [untuned[n], tuned[n]] for n in names})
    assert [v["verdict"] for v in verdicts] == ["true", "false", "false", "false", "true", "true"]


def test_predict(tmp_path, capsys):
    run = SimpleNamespace()
    lab.predict(run, ["nesterov"], tmp_path / "path.gif", rate=0.05, momentum=0.8, steps=30)
    assert "from the minimum after 30 steps" in capsys.readouterr().out
    assert Image.open(tmp_path / "path.gif").n_frames == 31
    lab.predict(run, ["adam", "sgd"], tmp_path / "p.png", rate=0.1)
    assert {p.name for p in tmp_path.glob("*.png")} == {"p_adam.png", "p_sgd.png"}
    for inputs, options, message in [
        ([], {}, "name an optimizer"),
        (["adma"], {}, "unknown optimizer 'adma': one of sgd, momentum"),
        (["sgd"], {"rate": 0}, "rate must be above 0"),
        (["adam"], {"momentum": 0.9}, "adam has no momentum"),
        (["sgd"], {"steps": 0}, "steps 1 to 1000"),
    ]:
        with pytest.raises(UserError, match=message):
            lab.predict(run, inputs, None, **options)
    with pytest.raises(UserError, match=r"path.bmp: write a .gif"):
        lab.predict(run, ["sgd"], tmp_path / "path.bmp")
