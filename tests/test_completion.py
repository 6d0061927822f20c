"""What the shell offers behind a TAB, and how soon."""

import os
import subprocess
import sys

import pytest

from dlbooks import catalog, completion, params, runtime, sync

PROGRAM = "import sys; sys.argv = ['dlbooks']; from dlbooks.cli import main; main()"


def answered(shell, words):
    """What ``dlbooks`` prints in a shell's completion protocol; the last word is the one to complete."""
    asked = {"bash": {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}, "zsh": {"_TYPER_COMPLETE_ARGS": words}}[shell]
    environment = {**os.environ, **asked, "_DLBOOKS_COMPLETE": f"complete_{shell}"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert not done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("dlbooks run mnis", "mnist-cnn mnist-mlp mnist-softmax"),
        ("dlbooks run mnist-cnn --set st", "steps="),
        ("dlbooks run mnist-cnn lea", "learning_rate="),
        ("dlbooks run mnist-cnn net = b", "b1 b5 best"),
        ("dlbooks run mnist-cnn steps = 1", ""),
        ("dlbooks run mnist-cnn --variant ", "b1 keras b5"),
        ("dlbooks run --profile ", "mini book smoke"),
        ("dlbooks predict mnist-cnn --set ", "top="),
        ("dlbooks repro preprocess@mn", "preprocess@mnist"),
        ("dlbooks serve --alias ch", "champion challenger"),
        ("dlbooks compare parabola@", "parabola@champion parabola@challenger"),
        ("dlbooks data show fa", "fashion-mnist"),
        ("dlbooks run no-such-chapter --set ", ""),
    ],
)
def test_bash_is_offered(words, expected):
    assert answered("bash", words).split() == expected.split()


def test_zsh_is_offered_words_with_what_they_are():
    assert '"mnist-softmax":"Softmax regression on MNIST"' in answered("zsh", "dlbooks run mnist-s")
    assert '"net=keras"' in answered("zsh", "dlbooks run mnist-cnn net=")


@pytest.mark.parametrize("name", catalog.chapters())
def test_offers_are_those_of_the_declarations(name, monkeypatch):
    found = catalog.chapter(name)
    known = completion.parameters(found.declaration.path)
    assert set(known) == set(found.params.model_fields)
    assert {n: about for n, (about, _) in known.items()} == {n: field.description for n, field in found.params.model_fields.items()}
    monkeypatch.setenv("COMP_WORDS", f"dlbooks run {name} --variant ")
    assert completion.variants() == list(found.declaration.variants)
    for parameter, (_, values) in known.items():
        for value in values:
            read = params.assignments([f"{parameter}={value}"])
            assert read == params.validate(found.params, read, name).model_dump(include={parameter}), "what is offered is taken"


def test_lists_are_those_of_the_catalog():
    assert dict(completion.chapters()) == {name: chapter.title for name, chapter in catalog.chapters().items()}
    assert dict(completion.datasets()) == {name: dataset.title for name, dataset in catalog.datasets().items()}
    assert set(completion.stages()) == set(sync.order())
    assert completion.profiles() == list(runtime.PROFILES)


def test_data_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "my_photos.py").write_text('DATASET = DataSet(id="my-photos", chapters=["cifar10-cnn"], files=[Folder("/photos")])\n')
    (tmp_path / "datasets" / "half_written.py").write_text("DATASET = DataSet(Folder(\n")
    monkeypatch.setattr(completion, "PACKAGE", tmp_path)
    assert completion.own("satellite=") == ["satellite=half-written", "satellite=my-photos"]
    assert "cifar10-cnn-on-my-photos" in completion.stages()


def test_help_and_completion_load_nothing_heavy():
    heavy = "('pydantic', 'numpy', 'yaml', 'ruamel.yaml', 'tensorflow', 'mlflow', 'prefect', 'dvc', 'fastapi', 'dlbooks.catalog', 'dlbooks.params')"
    code = f"import sys, dlbooks.cli; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
