"""What scripts and mistaken people get from the command line: JSON alone on standard output, one line per mistake."""

import base64
import io
import json
import sys
import wave

import numpy as np
import pytest
from PIL import Image

from dlbooks import catalog, cli, ledger, runtime, sync

TRAINED = [n for n in catalog.chapters() if (runtime.root() / "data" / "runs" / n / "export").exists()]


@pytest.fixture
def dlbooks(monkeypatch, capfd, tmp_path):
    """Runs the command in this process, in an empty folder → exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["dlbooks", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capfd.readouterr()

    return call


@pytest.fixture
def files(tmp_path):
    """A digit, dark on white, and a tone."""
    Image.fromarray(np.pad(np.zeros((40, 6), np.uint8), 20, constant_values=255)).save(tmp_path / "digit.png")
    with wave.open(str(tmp_path / "tone.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes((8000 * np.sin(0.3 * np.arange(4000))).astype("<i2").tobytes())
    (tmp_path / "series.csv").write_text("1\n1.2\n1.3\n1.45\n1.5\n1.55\n1.6\n1.7\n1.75\n1.7\n1.8\n1.75\n")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["serv"], "error: no such command 'serv'. Did you mean 'serve'?"),
        (["data", "lst"], "error: no such command 'lst'. Did you mean 'list'?"),
        (["show"], "error: missing argument 'CHAPTER': see `dlbooks show --help`"),
        (["list", "--jsn"], "error: no such option: --jsn"),
        (["predict", "mnist-cnn"], "error: give one handwritten digit, drawn or photographed, as picture files"),
        (["predict", "mnist-cnn", "--json"], "error: give one handwritten digit, drawn or photographed, as picture files"),
        (["run", "parabola", "--profile", "large"], "error: profile 'large' is unknown: it is one of mini, book, smoke"),
    ],
)
def test_a_mistake_is_one_line(dlbooks, words, line):
    if "predict" in words and "mnist-cnn" not in TRAINED:
        pytest.skip("mnist-cnn is not trained here: make repro")
    code, out, err = dlbooks(*words)
    assert code == 2 and err.startswith(line) and err.count("\n") == 1
    assert ("--json" in words and json.loads(out) == {"error": err.removeprefix("error: ").strip()}) or not out


def test_nothing_asked_for_is_help(dlbooks):
    assert "Usage: dlbooks" in "".join(dlbooks()[1:]) and "Usage: dlbooks data" in "".join(dlbooks("data")[1:])
    assert dlbooks("--help")[0] == 0


@pytest.mark.parametrize("name", [n for n in TRAINED if catalog.chapter(n).declaration.use])
def test_predict_in_json(name, dlbooks, files):
    use = catalog.chapter(name).declaration.use
    given = {"sound": files / "tone.wav", "picture": files / "digit.png", "gray picture": files / "digit.png"}.get(use.takes, use.example)
    code, out, err = dlbooks("predict", name, "--json", given)
    assert code == 0, err
    answered = json.loads(out)
    assert answered["chapter"] == name and len(answered["answers"]) == 1
    assert answered["answers"][0]["input"] and answered["answers"][0]["answer"]


def test_pictures_and_options_of_an_answer(dlbooks, files):
    if not {"vae-mnist", "mnist-cnn", "parabola", "series-lstm"} <= set(TRAINED):
        pytest.skip("not trained here: make repro")
    code, out, _ = dlbooks("predict", "vae-mnist", "--json", "digit.png")
    url = next(v for v in json.loads(out)["answers"][0]["answer"].values() if str(v).startswith("data:image/png;base64,"))
    Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).verify()
    code, out, _ = dlbooks("predict", "vae-mnist", "--json", "digit.png", "-o", "drawn")
    kept = [v for v in json.loads(out)["answers"][0]["answer"].values() if str(v).startswith("drawn/1-")]
    assert kept and all(Image.open(path).size for path in kept) and "data:" not in out
    code, out, _ = dlbooks("predict", "mnist-cnn", "--json", "digit.png", "top=2")
    assert len(json.loads(out)["answers"][0]["answer"]["classes"]) == 2
    (files / "note.png").write_text("no picture")
    for words, message in (
        (["mnist-cnn", "digit.png", "top=0"], "top = 0: must be between 1 and 10"),
        (["mnist-cnn", "digit.png", "--set", "tops=1"], "mnist-cnn predict has no option 'tops'; it has top"),
        (["mnist-cnn", "digit.png", "note.png"], "note.png: not a picture"),
        (["mnist-cnn", "none.png"], "none.png: no such file or folder"),
        (["parabola", "0.5", "half"], "the input, line 2: not a number: 'half'"),
        (["parabola", "[[1], [2, 3]]"], "the input: all rows must have the same number of columns"),
        (["parabola", "[1,"], "[1,: not JSON"),
        (["layer-lab", "x"], "layer-lab answers no single input"),
    ):
        code, out, err = dlbooks("predict", "--json", *words)
        assert code == 2 and json.loads(out)["error"].startswith(message) and err.count("\n") == 1, (words, out)
    code, out, _ = dlbooks("predict", "--json", "series-lstm", "series.csv")
    assert code == 0 and json.loads(out)["answers"][0]["input"] == "series.csv"
    code, out, _ = dlbooks("predict", "--json", "parabola", "0.5", "1")
    assert json.loads(out)["answers"][0]["answer"]["x"] == [0.5, 1.0], "numbers are one input together"


def test_sync_and_record_in_json(dlbooks, monkeypatch):
    assert dlbooks("sync", "--check", "--json")[:2] == (0, '{\n  "stale": false,\n  "written": false\n}\n')
    monkeypatch.setattr(sync, "text", lambda: "stages: {}\n")
    code, out, _ = dlbooks("sync", "--check", "--json")
    assert code == 1 and json.loads(out) == {"stale": True, "written": False}
    assert dlbooks("sync", "--check")[:2] == (1, "dvc.yaml is stale: run `dlbooks sync`\n")
    monkeypatch.setattr(ledger, "record", lambda names, dirty: [*names, dirty])
    assert json.loads(dlbooks("record", "--json", "parabola", "--dirty")[1]) == {"changes": ["parabola", True]}
    monkeypatch.setattr(ledger, "record", lambda names, dirty: [])
    assert dlbooks("record")[1].startswith("nothing new")
