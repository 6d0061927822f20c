"""Runs side by side: which runs a word names, what differs, which is best, and what the page and the JSON hold of it."""

import dataclasses
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from dlbooks import UserError, catalog, compare, own, tracking
from dlbooks.run import input_hashes, standing, trained

HOSTILE = "</script><script>alert('[/]$x')</script>"


@pytest.fixture
def enter(store, tmp_path):
    """``enter(0.5, steps=100)``: logs a finished run of ``parabola`` with this loss and these parameters, and returns its id."""

    def one(loss: float, profile="mini", status="FINISHED", tags=None, data="a", series=True, **parameters) -> str:
        folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        (folder / "figures").mkdir(parents=True)
        Image.new("RGB", (6, 4), (200, 0, 0)).save(folder / "figures/fit.png")
        (folder / "figures/captions.json").write_text('{"fit.png": "points & fit"}')
        metrics = {**dict.fromkeys(catalog.chapter("parabola").declaration.metrics, 1.0), "train_loss": loss}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        (folder / "run.json").write_text(json.dumps({"profile": profile, "variant": None, "parameters": parameters}))
        run = standing(own.stage("parabola"), folder)
        run.series = {"loss": [(0, 8.0), (1, 2 * loss), (2, loss)]} if series else {}
        run.seconds = {"train": 1.25}
        given = {"mlflow.source.git.commit": "c0ffee00aa", "dlbooks.input.points": data, "dlbooks.device": "a CPU", **(tags or {})}
        tracker = tracking.Tracker(run, given, {})
        if status != "RUNNING":
            tracker.result()
            tracker.end(status)
        return tracker.id

    return one


def cells(found, name: str) -> list[str]:
    return {row["name"].rstrip(" ↑↓"): row["cells"] for row in compare.table(found)}.get(name)


def said(capsys, *words, **options) -> str:
    compare.compare(list(words), **options)
    return capsys.readouterr().out


# ── which runs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_chapter_alone_is_its_last_runs_that_differ(store, enter):
    ids = [enter(0.5), enter(0.5), enter(0.4, steps=200), enter(0.3, steps=300)]
    enter(0.1, steps=400, tags={"dlbooks.restored": "yes"})
    enter(0.1, steps=500, status="FAILED")
    found = compare.sides(["parabola"])
    assert [s.run for s in found] == ids[1:], "the newest last; equal ones stand once; nothing restored, nothing failed"
    assert [s.same for s in found] == [2, 1, 1]
    assert [s.label for s in found] == ["steps=1000", "steps=200", "steps=300"]
    assert cells(found, "run")[0].endswith(" × 2")
    assert [s.run for s in compare.sides(["parabola"], last=2)] == ids[2:]


def test_profile_chooses(store, enter):
    book, mini = enter(0.5, profile="book"), enter(0.4)
    assert [s.run for s in compare.sides(["parabola"], "book")] == [book]
    assert [s.run for s in compare.sides(["parabola"], "mini")] == [mini]
    with pytest.raises(UserError, match="parabola has no finished run of profile smoke: `dlbooks run parabola --profile smoke`"):
        compare.sides(["parabola"], "smoke")
    with pytest.raises(UserError, match="profile 'huge' is unknown: it is one of mini, book, smoke"):
        compare.sides(["parabola"], "huge")


def test_beginning_of_an_id(store, enter):
    first, second = enter(0.5), enter(0.4)
    assert [s.run for s in compare.sides([first[:9], second])] == [first, second]
    assert [s.run for s in compare.sides([first[:9], first])] == [first], "named twice, shown once"
    with pytest.raises(UserError, match="no run '0000' in this checkout's MLflow store: `dlbooks compare CHAPTER` shows a chapter's runs"):
        compare.sides(["0000"])


def test_ambiguous_beginning_lists_the_candidates(store, enter, monkeypatch):
    first, second = enter(0.5), enter(0.4)
    search = type(store).search_runs
    monkeypatch.setattr(type(store), "search_runs", lambda s, e, query="", **k: search(s, e, query.replace("beef%", "%"), **k))
    with pytest.raises(UserError, match=r"'beef' begins the ids of 2 runs: .*; give more letters") as error:
        compare.sides(["beef"])
    assert first[:8] in str(error.value) and f"{second[:8]} (parabola, 20" in str(error.value)


def test_unknown_words_and_running_ones(store, enter):
    with pytest.raises(UserError, match=r"unknown chapter 'parabol': did you mean parabola.*first letters of its MLflow id"):
        compare.sides(["parabol"])
    with pytest.raises(UserError, match="unknown chapter 'beef'"):
        compare.sides(["beef@1' or 1"])
    running = enter(0.5, status="RUNNING")
    with pytest.raises(UserError, match=rf"run {running[:8]} \(parabola\) is still running: compare it when it has ended"):
        compare.sides([running])


def test_a_failed_run_is_shown_as_that(store, enter):
    failed = enter(0.5, status="FAILED")
    assert cells(compare.sides([failed]), "finished")[0].endswith(" FAILED")


def test_run_that_holds_variants_stands_for_them(store, enter):
    with tracking.parent(catalog.chapter("parabola").declaration, "mini", ["a", "b"]) as parent:
        pass
    with pytest.raises(UserError, match=r"parabola · variants\) is no chapter's run and holds none that has finished"):
        compare.sides([parent])
    children = [enter(loss, tags={"mlflow.parentRunId": parent}, steps=int(1000 * loss)) for loss in (0.5, 0.4)]
    assert [s.run for s in compare.sides([parent])] == children


def test_child_run_takes_what_its_parent_says(store, enter):
    run = enter(0.5)
    made = store.create_run(store.get_run(run).info.experiment_id, run_name="parabola · one", tags={"mlflow.parentRunId": run})
    store.log_metric(made.info.run_id, "train_loss", 0.25)
    store.set_terminated(made.info.run_id)
    (side,) = compare.sides([made.info.run_id])
    assert (side.chapter.id, side.profile, side.commit, side.metrics) == ("parabola", "mini", "c0ffee00aa", {"train_loss": 0.25})


def test_registered_versions(store, enter):
    runs = [enter(0.5), enter(0.4)]
    store.create_registered_model("dlbooks.parabola")
    for run in runs:
        store.create_model_version("dlbooks.parabola", source="file:///none", run_id=run)
    store.set_registered_model_alias("dlbooks.parabola", "champion", "1")
    assert [s.run for s in compare.sides(["parabola@champion", "parabola@2"])] == runs
    assert [s.run for s in compare.sides(["parabola@champion", "parabola@1"])] == runs[:1]
    with pytest.raises(UserError, match="parabola has no registered version '3': it has champion, 2, 1"):
        compare.sides(["parabola@3"])
    with pytest.raises(UserError, match="layer-lab exports no model"):
        compare.sides(["layer-lab@champion"])
    store.create_model_version("dlbooks.parabola", source="file:///none", run_id="0" * 32)
    with pytest.raises(UserError, match="parabola version 3 is registered, but its run is not in this checkout's MLflow store"):
        compare.sides(["parabola@3"])


def test_what_is_in_the_checkout_stands_in(store, tmp_path):
    (side,) = compare.sides(["parabola"])
    run = trained("parabola")
    assert (side.run, side.profile, side.metrics, side.pictures) == ("", "mini", run.metrics, run.out / "figures")
    assert side.parameters["learning_rate"] == "0.1" and len(side.series["loss"]) > 1
    assert cells([side], "run") == ["data/runs"]
    with pytest.raises(UserError, match="parabola has no finished run of profile book: `dlbooks run parabola --profile book`"):
        compare.sides(["parabola"], "book")
    shutil.copytree(run.out, tmp_path / "damaged")
    (tmp_path / "damaged/metrics.json").write_text("{")
    with pytest.raises(UserError, match=r"damaged is damaged .*: `dlbooks run parabola`"):
        compare.from_folder(own.stage("parabola"), tmp_path / "damaged")
    with pytest.raises(UserError, match="parabola has no finished run: `dlbooks run parabola`"):
        compare.from_folder(own.stage("parabola"), tmp_path / "nothing")


def test_a_result_from_the_cache_is_comparable_with_a_trained_one(store, enter):
    tracking.restored("mnist-mlp")
    (run,) = store.search_runs([e.experiment_id for e in store.search_experiments()], "tags.`dlbooks.restored` = 'yes'")
    side = compare.sides([run.info.run_id])[0]
    assert side.data == input_hashes(side.chapter) and side.data


# ── what differs, what is best ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_parameters_that_differ_and_the_best_by_its_direction(store, enter):
    found = compare.sides([enter(0.5, steps=100), enter(0.4, steps=100, learning_rate=0.2)])
    assert compare.differing(found) == ["learning_rate"] and cells(found, "steps") is None
    assert cells(found, "learning_rate") == ["0.1", "0.2"] and [s.label for s in found] == ["learning_rate=0.1", "learning_rate=0.2"]
    assert compare.best(found) == {"train_loss": [1]}, "lower is better; what is equal marks nothing"
    higher = dataclasses.replace(found[0].chapter, metrics={**found[0].chapter.metrics, "train_loss": catalog.Metric(better="higher")})
    for side in found:
        side.chapter = higher
    assert compare.best(found) == {"train_loss": [0]}
    assert compare.best(found[:1]) == {}


def test_what_is_not_the_same_task_is_said_in_a_line_and_no_best_marked(store, enter, capsys):
    one, book, other = enter(0.5), enter(0.4, profile="book"), enter(0.3, data="b")
    for second, why in ((book, "profile (mini, book)"), (other, "data (points)")):
        found = compare.sides([one, second])
        assert compare.note(found) == f"not the same task, so no best is marked: they differ in {why}" and not compare.best(found)
        text = said(capsys, one, second)
        assert compare.note(found) in text.splitlines() and "★" not in text
    found = compare.sides([one, enter(0.3, noise=0.1, steps=100)])
    assert compare.note(found).endswith("they differ in data (noise)") and not compare.best(found), "what shapes the data, by the declaration"


def test_the_books_number_stands_beside_its_own_task_only(store, enter):
    mini, book = (compare.sides([enter(0.5, profile=p)])[0] for p in ("mini", "book"))
    assert not mini.reported and book.reported["train_loss"] == 0.00391947
    row = next(r for r in compare.table([book]) if r["name"].startswith("train_loss"))
    assert row["book"] == "0.00391947"


def test_numbers_that_are_none(store, enter):
    run = enter(0.5)
    for step, value in enumerate((1.0, float("nan"), 3.0)):
        store.log_metric(run, "odd", value, step=step)
    store.log_metric(run, "loss_step_50", float("nan"))
    (side,) = compare.sides([run])
    assert [step for step, _ in side.series["odd"]] == [0, 2] and "loss_step_50" not in side.metrics


# ── what is shown and written ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_terminal(store, enter, capsys):
    text = said(capsys, enter(0.5), enter(0.4, tags={"dlbooks.dirty": "yes"}, learning_rate=0.2))
    lines = {line.split("  ")[0].strip(): line for line in text.splitlines()}
    assert "First program" in text and "parabola, profile mini" in text
    assert re.search(r"0\.5 +★ 0\.4$", lines["train_loss ↓"].rstrip()), lines["train_loss ↓"]
    assert re.search(r"c0ffee00 +c0ffee00\+$", lines["commit"].rstrip())
    assert "█" in lines["loss"] and "on a CPU" in text and "steps" not in lines
    assert "one run alone" in said(capsys, "parabola", last=1)


@pytest.mark.parametrize("width", [100, 60, 40])
def test_many_runs_fold_into_the_width(store, enter, width):
    from rich.console import Console

    for number in range(5):
        enter(0.5 + number / 10, steps=100 + number)
    console = Console(width=width, record=True, file=open("/dev/null", "w"))
    found = compare.sides(["parabola"])
    compare.show(found, console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width and text.count("★") == 1
    assert all(f"{0.5 + n / 10:.6g}" in text for n in range(5))


def test_json_is_one_document(store, enter, capsys, tmp_path):
    runs = [enter(0.5), enter(0.4, learning_rate=0.2)]
    found = json.loads(said(capsys, "parabola", as_json=True, out=tmp_path / "both"))
    assert [r["run"] for r in found["runs"]] == runs and found["differing"] == ["learning_rate"]
    assert found["best"] == {"train_loss": ["learning_rate=0.2"]} and found["better"]["train_loss"] == "lower" and found["note"] == ""
    assert found["runs"][0]["series"]["loss"] == [[0, 8.0], [1, 1.0], [2, 0.5]] and found["runs"][0]["pictures"] == ["fit.png"]
    assert found["runs"][0]["seconds"] == {"train": 1.25}
    assert found["written"] == [str(tmp_path / "both/compare.html"), str(tmp_path / "both/curves.png")]
    assert Image.open(tmp_path / "both/curves.png").size > (100, 100)


def test_page_is_self_contained_and_every_value_escaped(store, enter, capsys, tmp_path):
    runs = [enter(0.5, tags={"dlbooks.device": HOSTILE, "mlflow.runName": HOSTILE}), enter(0.4, tags={"dlbooks.device": HOSTILE})]
    for number, run in enumerate(runs):
        store.log_param(run, "odd", f"{HOSTILE}{number}")
    text = said(capsys, *runs, out=tmp_path / "new" / "page.html")
    assert "page.html" in text and HOSTILE in text, "a terminal reads no HTML, and no markup of a value is taken for ours"
    page = (tmp_path / "new" / "page.html").read_text()
    assert "<script>alert" not in page and "</script><script>" not in page and "&lt;script&gt;alert" in page
    assert len(re.findall(r"<script\b", page)) == 2
    assert not re.findall(r"""(?:src|href)=["']?(?!data:|#)[^"' >]""", page.split("<script", 1)[0])
    assert not re.search(r"@import|url\((?!data:|['\"]data:)|https?://(?!www\.w3\.org/)", page)
    points = json.loads(re.search(r'id="curves-data">(.*?)</script>', page, re.S)[1])
    assert [list(plot.values()) for plot in points] == [[[[0, 8.0], [1, 1.0], [2, 0.5]], [[0, 8.0], [1, 0.8], [2, 0.4]]]]
    assert page.count('<figure class="picture">') == 2 and "points &amp; fit" in page and 'class="best"' in page


def test_picture_of_the_curves(store, enter, capsys, tmp_path):
    said(capsys, enter(0.5), enter(0.4), out=tmp_path / "c.png")
    assert Image.open(tmp_path / "c.png").format == "PNG"
    bare = enter(0.3, series=False)
    with pytest.raises(UserError, match=r"none of these runs logged a curve: give --out a page \(.html\) instead"):
        compare.compare([bare], out=tmp_path / "new" / "d.png")
    assert not (tmp_path / "new").exists()
    said(capsys, bare, out=tmp_path / "folder")
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["compare.html"]


def test_where_nothing_can_be_written(store, enter, tmp_path):
    run = enter(0.5)
    (tmp_path / "file").write_text("")
    for out, why in (("a.pdf", "give a page"), ("file", "give a page"), ("file/a.html", "file/a.html cannot be written: File exists")):
        with pytest.raises(UserError, match=why):
            compare.compare([run], out=tmp_path / out)


def test_missing_and_broken_artifacts_leave_gaps(store, enter, capsys, tmp_path):
    whole, broken, gone = enter(0.5), enter(0.4), enter(0.3)
    folders = [Path(store.get_run(r).info.artifact_uri.removeprefix("file://")) for r in (whole, broken, gone)]
    (folders[1] / "figures/fit.png").write_bytes(b"\x89PNG, cut off")
    (folders[1] / "figures/captions.json").write_text("{")
    shutil.rmtree(folders[2])
    said(capsys, broken, whole, gone, out=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count('<figure class="picture">') == 1 and "points &amp; fit" in page


def test_command(store, enter, monkeypatch, capsys):
    from dlbooks import cli

    enter(0.5)
    monkeypatch.setattr(sys, "argv", ["dlbooks", "compare", "parabola", "--json"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code and len(json.loads(capsys.readouterr().out)["runs"]) == 1
    monkeypatch.setattr(sys, "argv", ["dlbooks", "compare", "parabol"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2 and capsys.readouterr().err.startswith("error: unknown chapter 'parabol'")
