"""Declarations, parameters, the generated pipeline, facts, ledger."""

import ast
import json
import re

import numpy as np
import pytest

from dlbooks import UserError, catalog, ledger, params, runtime, sync
from dlbooks.facts import Facts


def test_every_file_declares_itself_without_heavy_imports():
    import subprocess
    import sys

    code = "import sys; from dlbooks import catalog, sync; sync.text(); print([m for m in ('tensorflow', 'mlflow', 'prefect', 'dvc') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_outline_of_a_file_holds_its_declarations_whole_and_in_their_lines():
    for found in [*catalog._chapters().values(), *catalog._datasets().values()]:
        text = found.declaration.path.read_text(encoding="utf-8")
        whole, outline = ast.parse(text), ast.parse(catalog._outline(text))
        declared = [
            n
            for n in whole.body
            if isinstance(n, ast.ClassDef | ast.Assign) and ast.unparse(n).startswith(("CHAPTER =", "DATASET =", "class Params("))
        ]
        assert [ast.dump(n, include_attributes=True) for n in [whole.body[0], *declared]] == [
            ast.dump(n, include_attributes=True) for n in outline.body
        ]
    tricky = '# from\nr"""A title.\n\nCHAPTER = of words, \\"\\"\\" and\nclass Params(too).\n"""\n\nX = 1\n\nCHAPTER = Chapter(\n    a="(",\n\n    b=[\n    ],\n)\nY = 2\n'
    assert catalog._outline(tricky).count("CHAPTER") == 2 and [ast.unparse(n) for n in ast.parse(catalog._outline(tricky)).body[1:]] == [
        "CHAPTER = Chapter(a='(', b=[])"
    ]


@pytest.mark.parametrize("name", catalog.chapters())
def test_declaration(name):
    found = catalog.chapter(name)
    chapter = found.declaration
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", chapter.id)
    assert all(re.fullmatch("[a-z0-9_]+", metric) for metric in chapter.metrics)
    assert all(metric.source for metric in chapter.metrics.values() if metric.reported is not None), "a reported number names its place"
    assert set(chapter.datasets) <= set(catalog.datasets())
    assert chapter.sources and all(re.match(r"B[1-5] \d", place) for place in chapter.sources)
    assert len(found.doc) > 800, "the docstring carries the theory"
    for variant in chapter.variants.values():
        assert set(variant.overrides) <= set(found.params.model_fields)
        assert set(variant.reported) <= set(chapter.metrics)


@pytest.mark.parametrize("name", [*catalog.chapters(), *(f"data.{n}" for n, d in catalog.datasets().items() if not d.own)])
@pytest.mark.parametrize("profile", runtime.PROFILES)
def test_params_yaml_is_complete_and_valid(name, profile):
    values = params.read(runtime.root() / "params.yaml")
    found = catalog.dataset(name.removeprefix("data.")) if name.startswith("data.") else catalog.chapter(name)
    section = params.section(values, name, profile)
    params.validate(found.params, section, name)
    if not name.startswith("data.") and profile != "smoke":
        assert set(section) == set(found.params.model_fields), "mini and book list every parameter, so that `-S` and `dvc params diff` know it"
    assert all(field.description for field in found.params.model_fields.values())


def test_dvc_yaml_is_up_to_date():
    assert (runtime.root() / "dvc.yaml").read_text(encoding="utf-8") == sync.text(), "run `dlbooks sync`"


def test_code_of_follows_imports_into_nn_and_datasets():
    found = [p.name for p in catalog.code_of(catalog.chapter("parabola").declaration.path)]
    assert found == ["parabola.py", "toys.py", "training.py"]


def test_unknown_chapter_names_the_nearest():
    with pytest.raises(UserError, match=r"unknown chapter 'mnist-softmx': did you mean mnist-softmax"):
        catalog.chapter("mnist-softmx")
    with pytest.raises(UserError, match=r"unknown data set 'imagenet': known are .*mnist"):
        catalog.dataset("imagenet")


def test_parameter_errors_name_key_and_range():
    cls = catalog.chapter("parabola").params
    with pytest.raises(UserError, match=r"^parabola.mini.unts: unknown parameter; did you mean units\?$"):
        params.validate(cls, {"unts": 3}, "parabola.mini")
    with pytest.raises(UserError, match=r"^parabola.mini.units = -3: should be greater than or equal to 1$"):
        params.validate(cls, {"units": -3}, "parabola.mini")
    with pytest.raises(UserError, match=r"write key=value"):
        params.assignments(["units"])
    assert params.assignments(["a=1", "b=x y", "c=[1, 2]", "d=0.5"]) == {"a": 1, "b": "x y", "c": [1, 2], "d": 0.5}


def test_params_file_errors_name_the_line(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("profile: mini\nx: [1\ny: 2\n")
    with pytest.raises(UserError, match=r"params.yaml, line \d"):
        params.read(path)
    path.write_text("profile: large\n")
    with pytest.raises(UserError, match="profile is 'large', must be one of mini, book, smoke"):
        params.read(path)


def test_smoke_lists_only_what_differs():
    values = {"c": {"mini": {"a": 1, "b": 2}, "smoke": {"b": 3}}}
    assert params.section(values, "c", "smoke") == {"a": 1, "b": 3}


def test_facts():
    facts = Facts()
    assert facts.check("sum", 61706, 61706, "B3 6")
    assert facts.check("array", np.array([1.0, 2.0]), [1.0, 2.0000001], "", tolerance=1e-6)
    assert not facts.check("shape", [1.0], [1.0, 1.0], "")
    assert not facts.check("nan", float("nan"), 0.0, "", tolerance=1.0)
    assert facts.check("minus infinity", -np.inf, -np.inf, "")
    assert not facts.check("text", "same", "other", "")
    assert facts.metrics() == {"facts_total": 6, "facts_failed": 3}


def entry(value, finished, variant="default"):
    return {"metrics": {"train_loss": value}, "finished": finished, "variant": variant}


def test_ledger_moves_best_only_when_the_headline_improves():
    chapter, profile = catalog.chapter("parabola").declaration, {}
    ledger.enter(profile, entry(0.004, "2026-01-01"), chapter, "book")
    assert ledger.enter(profile, entry(0.005, "2026-01-02"), chapter, "book") == ["parabola book newest (default): train_loss 0.005"]
    assert (profile["best"]["metrics"]["train_loss"], profile["newest"]["metrics"]["train_loss"]) == (0.004, 0.005)
    ledger.enter(profile, entry(0.003, "2026-01-03", "adam"), chapter, "book")
    assert profile["best"]["variant"] == "adam" and set(profile["variants"]) == {"adam"}
    assert ledger.enter(profile, entry(0.003, "2026-01-03", "adam"), chapter, "book") == [], "the same run twice changes nothing"


def test_committed_ledger_holds_declared_chapters_and_metrics():
    for name, profiles in ledger.read().items():
        chapter = catalog.chapter(name).declaration
        for places in profiles.values():
            for kept in (places["best"], places["newest"], *places.get("variants", {}).values()):
                assert set(kept["metrics"]) == set(chapter.metrics)
                assert re.fullmatch("[0-9a-f]{40}", kept["commit"]) and kept["hardware"] and kept["seconds"]["total"] > 0


@pytest.mark.parametrize("name", catalog.chapters())
def test_floors_hold_on_what_repro_left(name):
    folder = runtime.root() / "data" / "runs" / name
    if not (folder / "metrics.json").exists() or json.loads((folder / "run.json").read_text())["profile"] != "mini":
        pytest.skip("no mini result here: `make repro` makes one")
    metrics = json.loads((folder / "metrics.json").read_text())
    for metric, declared in catalog.chapter(name).declaration.metrics.items():
        assert declared.passes(metrics[metric]), f"{metric} {metrics[metric]} against {declared.floor}"


def test_imports_are_those_of_the_syntax_tree():
    """``catalog`` finds them by a pattern, which is faster; what it overlooked would not make a stage stale."""
    for file in (f for part in ("chapters", "datasets", "nn") for f in catalog.PACKAGE.glob(f"{part}/**/*.py")):
        names = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
            elif isinstance(node, ast.Import):
                names |= {a.name for a in node.names}
        paths = {catalog.PACKAGE.parent / f"{n.replace('.', '/')}.py" for n in names if re.match(r"dlbooks\.(nn|datasets|chapters)\.", n)}
        assert set(catalog._imports(file, 0)) == {p for p in paths if p.exists()}, file
