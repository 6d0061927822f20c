"""Every registered chapter, in profile `smoke`, on data sets made for this test: the contract's functions, outputs and bytes."""

import ast
import inspect
import io
import json
import os
import subprocess
import sys
import wave

import numpy as np
import pytest
from PIL import Image

import dlbooks
from dlbooks import UserError, catalog, fetch, params, runtime, stage, wire
from dlbooks.records import Records
from dlbooks.run import Run, parameters_of
from dlbooks.verify import digests

ONE_OF_EACH_KIND = ("mnist-softmax", "parabola", "layer-lab", "vae-mnist", "char-rnn-poems", "spoken-digits", "word2vec", "cartpole-policy-gradient")


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """``tfrecords/<data set>`` of every data set, from smoke-sized twins."""
    folder = tmp_path_factory.mktemp("data")
    values = params.read(runtime.root() / "params.yaml")
    for name in (n for n, d in catalog.datasets().items() if not d.own):
        found = catalog.dataset(name)
        parameters = params.validate(found.params, params.section(values, f"data.{name}", "smoke"), name)
        module = catalog.load(found.declaration)
        fetch.fetch(found.declaration, module, parameters, folder / "raw" / name)
        fetch.preprocess(found.declaration, module, parameters, folder / "raw" / name, folder / "tfrecords" / name)
    return folder


@pytest.fixture(scope="session")
def trained(data):
    """Trains a chapter once, in this process; returns its output folder, where other chapters find it."""
    done, folder = {}, data / "runs"

    def train(name):
        if name not in done:
            for needed in catalog.chapter(name).declaration.needs:
                train(needed)
            os.environ["DLBOOKS_DATA"] = str(data)
            stage.direct(name, str(folder / name), "smoke")
            done[name] = folder / name
        return done[name]

    return train


@pytest.mark.parametrize("name", catalog.chapters())
def test_contract(name, trained):
    chapter = catalog.chapter(name).declaration
    out = trained(name)
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics) == set(chapter.metrics)
    kept = json.loads((out / "run.json").read_text())
    assert kept["profile"] == "smoke" and "seed" in kept["parameters"]
    captions = json.loads((out / "figures" / "captions.json").read_text())
    drawn = {p.name for p in (out / "figures").iterdir()} - {"captions.json"}
    assert drawn == set(captions) and all(len(text) > 30 for text in captions.values()), "every figure has a caption that says what it shows"
    for picture in drawn:
        with Image.open(out / "figures" / picture) as image:
            assert min(image.size) > 100
    assert (out / "export").exists() == chapter.exports
    if chapter.exports:
        assert json.loads((out / "export/saved_model/assets.extra/signature.json").read_text())["inputs"]
    for series in {s for names in chapter.curves.values() for s in names}:
        assert (out / "history" / f"{series}.csv").read_text().startswith(f"step,{series}\n")
    text = "".join(p.read_text(errors="ignore") for p in out.rglob("*") if p.suffix in (".json", ".csv"))
    assert str(runtime.root()) not in text and "/tmp" not in text, "outputs carry no path of a machine"


@pytest.mark.parametrize("name", catalog.chapters())
def test_file_keeps_the_contract(name):
    chapter = catalog.chapter(name).declaration
    tree = ast.parse(chapter.path.read_text(encoding="utf-8"))
    imported = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)} | {
        a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names
    }
    assert not {m.partition(".")[0] for m in imported if m} & {"dvc", "prefect", "mlflow"}
    module = catalog.load(chapter)
    assert {"train", "evaluate", "predict"} <= set(vars(module)) and hasattr(module, "export") == chapter.exports
    assert list(inspect.signature(module.predict).parameters)[:3] == ["run", "inputs", "out"]
    assert hasattr(module, "answer") == bool(chapter.use) and (chapter.exports or not chapter.use)


@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
def test_a_fresh_process_gives_the_same_bytes(name, trained, data, tmp_path):
    here = digests(trained(name))  # with what it needs
    environment = {**os.environ, **runtime.environment("mini"), "PYTHONPATH": str(runtime.root() / "src"), "DLBOOKS_DATA": str(data)}
    command = [sys.executable, "-m", "dlbooks.stage", "direct", name, str(tmp_path / "again"), "smoke"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert digests(tmp_path / "again") == here


def opened(name, trained):
    found = catalog.chapter(name)
    kept = json.loads((trained(name) / "run.json").read_text())["parameters"]
    return Run(found.declaration, params.validate(found.params, kept, name), profile="smoke", out=trained(name), quiet=True), catalog.load(
        found.declaration
    )


@pytest.mark.parametrize("name", [n for n, c in catalog.chapters().items() if c.family == "classification"])
def test_predict_pictures(name, trained, data, tmp_path, capsys):
    run, module = opened(name, trained)
    image = Records(data / "tfrecords" / run.chapter.datasets[0]).arrays("test")["image"][0]
    Image.fromarray(np.squeeze(image)).resize((56, 56)).save(tmp_path / "picture.png")
    module.predict(run, [str(tmp_path / "picture.png")], tmp_path / "out", top=2)
    assert "picture.png" in capsys.readouterr().out
    rows = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert len(rows) == 3 and (tmp_path / "out" / "predictions.png").exists()
    (tmp_path / "note.png").write_text("no picture")
    with pytest.raises(UserError, match=r"note\.png: not a picture"):
        module.predict(run, [str(tmp_path / "note.png")])


def test_predict_numbers(trained, capsys):
    run, module = opened("parabola", trained)
    module.predict(run, ["-1,-0.5,0", "0.5 1"])
    assert len(capsys.readouterr().out.splitlines()) == 5
    with pytest.raises(UserError, match="'x' is not a number"):
        module.predict(run, ["x"])


def test_predict_options_are_checked(trained, monkeypatch):
    import dlbooks.run

    run, _ = opened("mnist-softmax", trained)
    monkeypatch.setattr(dlbooks.run, "trained", lambda name: run)
    with pytest.raises(UserError, match="mnist-softmax predict has no option 'tops'; it has top"):
        stage.predict("mnist-softmax", [], None, ["tops=2"])
    with pytest.raises(UserError, match="mnist-softmax predict: top = 'many'"):
        stage.predict("mnist-softmax", ["a.png", "top=many"], None, [])


STROKE = np.pad(np.zeros((40, 6), np.uint8), 20, constant_values=255)  # a one, dark on white


def tone(samples=4000, rate=8000):
    """The bytes of a wav file."""
    with io.BytesIO() as buffer:
        with wave.open(buffer, "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", ""))
            file.writeframes((8000 * np.sin(0.3 * np.arange(samples))).astype("<i2").tobytes())
        return buffer.getvalue()


def usual(use):
    """An input that a chapter's model can be asked with."""
    if use.takes in ("text", "numbers"):
        assert use.example, "a text or numbers to begin with"
        return use.example if use.takes == "text" else np.asarray(json.loads(use.example), np.float64)
    return tone() if use.takes == "sound" else STROKE if use.takes == "gray picture" else np.stack([STROKE] * 3, -1)


ODD = {
    "text": [7, "\ud800", "x" * 30_000],
    "numbers": [[], [np.nan] * 50, [[np.inf] * 5] * 50, "abc", [[1.0], [2.0, 3.0]], np.zeros((2, 2, 2)), np.full((50, 3), 1.0), np.full(50, 1e300)],
    "sound": [b"", b"RIFF of no kind", tone(10), tone()[:30], 7],
    "gray picture": [np.zeros((0, 9), np.uint8), STROKE / 255.0, np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.uint8)],
    "picture": [np.zeros((0, 9, 3), np.uint8), np.zeros((9, 9, 3)), STROKE, np.zeros((9, 9, 4), np.uint8)],
}


def leaves(value):
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from leaves(part)
    else:
        yield value


@pytest.mark.parametrize("name", [n for n, c in catalog.chapters().items() if c.use])
def test_answers(name):
    """On the models of ``make repro``: one answer per input, of plain values and pictures; what cannot be used is refused in one line."""
    if not (runtime.root() / "data" / "runs" / name / "export").exists():
        pytest.skip(f"{name} is not trained here: make repro")
    run = dlbooks.load(name)
    use, answer = run.chapter.use, catalog.load(run.chapter).answer
    first, second, *options = inspect.signature(answer).parameters.values()
    assert (first.name, second.name) == ("run", "inputs")
    assert all(o.kind is o.KEYWORD_ONLY and o.default is not o.empty and o.annotation is not o.empty for o in options)
    wire.options_of(answer, name)()  # the defaults keep the limits
    given = usual(use)
    answers = answer(run, [given, given])
    assert len(answers) == 2 and all(isinstance(a, dict) and a for a in answers)
    for leaf in leaves(answers):
        assert type(leaf) in (str, bool, int, float) or (isinstance(leaf, np.ndarray) and leaf.dtype == np.uint8 and leaf.ndim in (2, 3))
    json.dumps(wire.plain(answers), allow_nan=False)
    alone = run.predict(given)
    assert alone.keys() == answers[0].keys()
    for here, there in zip(leaves(alone), leaves(answers[1]), strict=True):  # rounded elsewhere in a product of more rows
        if isinstance(here, float):
            assert here == pytest.approx(there, rel=1e-3, abs=1e-5)
        else:
            assert np.array_equal(here, there) if isinstance(here, str) else np.abs(np.subtract(here, there, dtype=float)).max() <= 1
    if "plot" in inspect.signature(answer).parameters:
        height, width, channels = answer(run, [given], steps=20, plot=True)[0]["image"].shape
        assert height > 300 and width > 1000 and channels == 3
    for odd in ODD[use.takes]:
        with pytest.raises(UserError) as error:
            answer(run, [given, odd])
        assert "\n" not in str(error.value)


def test_variants_are_valid():
    values = params.read(runtime.root() / "params.yaml")
    for name, chapter in catalog.chapters().items():
        for variant in chapter.variants:
            parameters_of(catalog.chapter(name), values, "book", variant)


def test_parabola_is_a_broken_line(trained):
    run, module = opened("parabola", trained)
    model = run.load(module.build(run.params), "weights_0")
    x = np.linspace(-1, 1, 2001, dtype=np.float32)
    y = model(x[:, None]).numpy()[:, 0].astype(np.float64)
    bends = np.abs(np.diff(y, 2)) > 1e-5
    assert len(module.kinks(model)) <= run.params.units == 20
    near = np.array([np.min(np.abs(module.kinks(model) - at)) < 0.003 for at in x[1:-1][bends]])
    assert near.all(), "second differences vanish except at the kinks"


def test_parabola_rulers():
    """The prose's figures: the constant leaves 4/45 + noise, the initial loss depends on the seed alone."""
    from dlbooks.nn.toys import parabola

    x, y = parabola(300, 0.0, np.random.default_rng(0))
    assert abs(np.var(y) - 4 / 45) < 0.0015 and np.allclose(y, x**2 - 0.5)
    _, noisy = parabola(20_000, 0.05, np.random.default_rng(0))
    assert abs(np.var(noisy) - (4 / 45 + 0.0025)) < 0.002
