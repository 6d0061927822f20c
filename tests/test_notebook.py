"""``dlbooks.load``, what it answers and shows; the example notebook. `python tests/test_notebook.py` writes the notebook's outputs anew."""

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dlbooks
from dlbooks import UserError, inputs, runtime
from dlbooks.records import Records

NOTEBOOK = runtime.root() / "docs" / "notebook.ipynb"
RUNS = runtime.root() / "data" / "runs"
trained = pytest.mark.skipif(not (RUNS / "mnist-cnn" / "export").exists(), reason="data/runs is empty: make repro")


def executed(folder: Path):
    """The notebook, run in a folder of its own by this interpreter."""
    import nbformat
    from nbclient import NotebookClient

    kernel = folder / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "Python 3", "language": "python"}))
    os.environ["JUPYTER_PATH"] = str(folder / "jupyter")
    environment = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"} | {"IPYTHONDIR": str(folder / "ipython")}
    book = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(book, timeout=300, record_timing=False, resources={"metadata": {"path": str(folder)}}).execute(env=environment)
    book.metadata["language_info"] = {"name": "python"}
    return book


def kinds(book) -> list:
    return [[sorted(output.get("data", [output["output_type"]])) for output in cell.outputs] for cell in book.cells if cell.cell_type == "code"]


@trained
def test_the_notebook_runs(tmp_path, monkeypatch):
    import nbformat

    monkeypatch.setenv("JUPYTER_PATH", "")
    kept, fresh = nbformat.read(NOTEBOOK, as_version=4), executed(tmp_path)
    assert kinds(kept) == kinds(fresh), "python tests/test_notebook.py writes the outputs anew"
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 300_000 and str(runtime.root()) not in text and '"stderr"' not in text


@trained
def test_a_picture_in_every_form(tmp_path):
    run = dlbooks.load("mnist-cnn")
    sheet = np.full((60, 50), 250, np.uint8)
    sheet[10:50, 22:27] = 20
    picture = Image.fromarray(sheet)
    picture.save(tmp_path / "one.png")
    colored = Image.fromarray(np.stack([sheet] * 3, -1))
    forms = [
        tmp_path / "one.png",
        str(tmp_path / "one.png"),
        (tmp_path / "one.png").read_bytes(),
        picture,
        colored,
        sheet,
        sheet.astype(int),
        sheet[..., None],
    ]
    expected = run.predict(sheet)
    assert expected["classes"][0]["class"] == "1" and len(expected["classes"]) == 3
    for form in forms:
        assert run.predict(form) == expected
    for many in (forms[:2], np.stack([sheet, sheet]), np.stack([sheet, sheet])[..., None]):
        assert [a["classes"][0]["class"] for a in run.predict(many)] == ["1", "1"]
    assert len(run.predict(tmp_path)) == 1, "a folder is a list of pictures"
    assert run.predict([]) == []
    assert run.predict(sheet, top=1, seen=True)["seen"].shape == (28, 28, 1)


def test_numbers_texts_and_sounds():
    def shapes(given):
        found, several = inputs.ready("numbers", given)
        return [np.shape(f) for f in found], several

    assert shapes([1, 2, 3]) == ([(3,)], False) and shapes([[1, 2], [3, 4]]) == ([(2, 2)], False) and shapes(4) == ([()], False)
    assert shapes([np.zeros(3), np.zeros((2, 2))]) == ([(3,), (2, 2)], True)
    assert inputs.ready("text", "to be") == (["to be"], False) and inputs.ready("text", ["to", "be"]) == (["to", "be"], True)
    assert inputs.ready("sound", b"RIFF") == ([b"RIFF"], False)
    with pytest.raises(UserError, match="all rows must have the same number"):
        inputs.ready("numbers", [[1], [2, 3]])
    with pytest.raises(UserError, match=r"no\.wav: no such file"):
        inputs.ready("sound", "no.wav")
    for odd, words in ((np.zeros((4, 4)), "float64"), (np.full((4, 4), 300), "0 … 255"), (None, "object"), (np.zeros((2, 2, 2, 2, 2), int), "shape")):
        with pytest.raises(UserError, match=words):
            inputs.ready("gray picture", odd)


@trained
def test_options_and_names_are_checked():
    run = dlbooks.load("word2vec")
    with pytest.raises(UserError, match=r"word2vec\.kk: unknown parameter; did you mean k\?"):
        run.predict("king", kk=3)
    with pytest.raises(UserError, match=r"word2vec\.k = 0: .*greater than or equal to 1"):
        run.predict("king", k=0)
    with pytest.raises(UserError, match="layer-lab cannot be asked"):
        dlbooks.load("layer-lab").predict("x")
    with pytest.raises(UserError, match="unknown chapter 'nope'"):
        dlbooks.load("nope")


def test_not_trained_says_how(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "root", lambda: tmp_path)
    with pytest.raises(UserError, match="mnist-cnn has not been trained here: run `dlbooks run mnist-cnn`"):
        dlbooks.load("mnist-cnn")


def test_a_version_of_the_registry(monkeypatch):
    from dlbooks import registry

    asked = []
    monkeypatch.setattr(registry, "run", lambda *given: asked.append(given))
    dlbooks.load("mnist-cnn", alias="challenger")
    dlbooks.load("mnist-cnn", version=3)
    assert asked == [("mnist-cnn", "challenger", None), ("mnist-cnn", "champion", 3)]


@trained
def test_what_a_notebook_shows(tmp_path):
    run = dlbooks.load("mnist-cnn")
    assert repr(run) == f"<Run mnist-cnn · mini · test_accuracy {run.metrics['test_accuracy']:.6g}>"
    page = run._repr_html_()
    assert f"{run.metrics['test_accuracy']:.6g}" in page and "0.9922" in page and "synthetic data" in page and "data:image/png;base64," in page
    assert str(run.out) not in page and len(page) < 100_000
    assert [step for step, _ in run.history["loss"]] == sorted(step for step, _ in run.history["loss"]) and len(run.history["loss"]) > 3
    assert "alt=" in run.figures["mistakes.png"]._repr_html_()

    records = run.records("mnist")
    assert repr(records).startswith("<Records mnist 1.0.0: train 2,000, validation 500, test 500 · image (uint8 [28, 28, 1])")
    shown = records._repr_html_()
    assert "2,000" in shown and "data:image/png;base64," in shown and len(shown) < 100_000
    assert repr(Records(tmp_path / "none")) == "<Records none: none here>" and "no records" in Records(tmp_path / "none")._repr_html_()

    run.params = run.params.model_copy(update={"net": "<script>"})
    assert "<script>" not in run._repr_html_() and "&lt;script&gt;" in run._repr_html_()


def test_small_pictures_stay_whole():
    from dlbooks.notebook import thumbnail

    with io.BytesIO() as buffer:
        Image.new("RGB", (900, 300), "navy").save(buffer, "PNG")
        assert Image.open(io.BytesIO(thumbnail(buffer, 300))).size == (300, 100)
        assert Image.open(io.BytesIO(thumbnail(buffer, 2000))).size == (900, 300)


if __name__ == "__main__":
    import tempfile

    import nbformat

    os.environ.update(runtime.environment("mini"))
    with tempfile.TemporaryDirectory() as temporary:
        nbformat.write(executed(Path(temporary)), NOTEBOOK)
