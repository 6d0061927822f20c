"""Data cards, samples, exports and the check of bytes: `dlbooks data list|show|export|check`."""

import csv
import io
import json
import re
import sys
import types

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image
from typer.testing import CliRunner

from dlbooks import UserError, cards, catalog, cli, digests, export_data, params, records, runtime
from dlbooks.features import Feature
from dlbooks.records import Records
from dlbooks.run import Run

MODULE = '''"""# {title}"""
DATASET = DataSet(
    id="{id}", title="{title}", homepage="https://example.org", license="CC0", citation="A. Nobody, 2026",
    files=[Source(urls=["https://example.org/a.bin"], name="a.bin", sha256="{digest}")],
)


class Params(DataSetParams):
    pass
'''


def picture(k, form="JPEG", size=(24, 16)):
    data = io.BytesIO()
    Image.fromarray(np.full((size[1], size[0], 3), 20 * k % 256, np.uint8)).save(data, form)
    return data.getvalue()


def box(*edges):
    return np.array(edges, np.float32).reshape(-1, 4)


rng = np.random.default_rng(0)
SETS = {
    "digits": (
        {"image": Feature("uint8", (6, 5, 1)), "label": Feature(names=("zero", "one/two")), "index": Feature()},
        [{"image": rng.integers(0, 256, (6, 5, 1), np.uint8), "label": k % 2, "index": 100 + k} for k in range(30)],
    ),
    "photos": (
        {"image": Feature("uint8", (None, None, 3), "jpeg"), "image/filename": Feature(encoding="text"), "label": Feature(names=("a", "b", "c"))},
        [{"image": picture(k, "PNG" if k % 5 == 0 else "JPEG"), "image/filename": f"x/{k % 4}.jpg", "label": k % 2} for k in range(12)],
    ),
    "cells": (
        {
            "image": Feature("uint8", (None, None, 3), "jpeg"),
            "objects/bbox": Feature("float32", (None, 4)),
            "objects/label": Feature("int64", (None,), names=("red", "white")),
        },
        [
            {"image": picture(1), "objects/bbox": box(0, 0, 0.5, 0.25, 0.25, 0.5, 1, 1), "objects/label": [0, 1]},
            {"image": picture(2), "objects/bbox": box(), "objects/label": []},
        ],
    ),
    "pairs": (
        {"en": Feature(encoding="text"), "zh": Feature(encoding="text"), "index": Feature()},
        [{"en": f"sentence {k}, $x_{k}$", "zh": f"句子 {k}。", "index": k} for k in range(25)],
    ),
    "plays": ({"text": Feature(encoding="text")}, [{"text": "To be,\nor not to be:\n\nthat is the question.\n"}]),
    "sounds": ({"audio": Feature("int16", (None,)), "label": Feature(names=("on", "off"))}, [
        {"audio": rng.integers(-9000, 9000, n, np.int16), "label": n % 2} for n in (100, 255, 256, 4001)
    ]),
    "series": (
        {"name": Feature(encoding="text"), "times": Feature("int64", (None,)), "values": Feature("float32", (None,)), "num_features": Feature()},
        [{"name": "two", "times": np.arange(3), "values": np.float32([0.1, 1, 2, 3, 4, 5]), "num_features": 2}],
    ),
    "tagged": (
        {"words": Feature("string", (None,), "text"), "tags": Feature("int64", (None,), names=("N", "V"))},
        [{"words": ["dogs", "run"], "tags": [0, 1]}, {"words": [], "tags": []}],
    ),
    "table": (
        {"height": Feature("float32"), "count": Feature(), "kind": Feature(names=("x", "y"))},
        [{"height": v, "count": k, "kind": k % 2} for k, v in enumerate([0.1, float("nan"), -3.0])],
    ),
    "weights": (
        {"name": Feature(encoding="text"), "shape": Feature("int64", (None,)), "values": Feature("float32", (None,))},
        [{"name": "layer/kernel", "shape": [2, 3], "values": np.arange(6, dtype=np.float32)}],
    ),
    "views": ({"a": Feature("uint8", (4, 4, 3)), "b": Feature("uint8", (4, 4, 3))}, [{"a": np.zeros((4, 4, 3), np.uint8), "b": np.ones((4, 4, 3), np.uint8)}]),
    "nothing": ({"text": Feature(encoding="text")}, []),
}  # fmt: skip


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout of its own with a data set of every kind."""
    root = tmp_path_factory.mktemp("checkout")
    folder = root / "src" / "dlbooks" / "datasets"
    folder.mkdir(parents=True)
    patch = pytest.MonkeyPatch()
    for name, (features, rows) in SETS.items():
        (folder / f"{name}.py").write_text(MODULE.format(id=name, title=f"The {name}", digest="ab" * 32), encoding="utf-8")
        about = {"description": f"The {name}" + (": a synthetic twin drawn by this project, not upstream's data" if name == "digits" else "")}
        splits = {"train": rows, "test": rows[:2]}
        records.write(root / "data" / "tfrecords" / name, name=name, version="1.0.0", features=features, splits=splits, about=about)
        module = types.ModuleType(f"dlbooks.datasets.{name}")
        module.FEATURES = features
        patch.setitem(sys.modules, module.__name__, module)
    raw = root / "data" / "raw" / "digits"
    raw.mkdir(parents=True)
    (raw / "a.bin").write_bytes(b"raw bytes")
    digests.write(raw)
    (folder / "absent.py").write_text(MODULE.format(id="absent", title="[Absent]", digest="cd" * 32), encoding="utf-8")
    patch.setitem(sys.modules, "dlbooks.datasets.absent", types.SimpleNamespace(FEATURES=SETS["plays"][0]))
    patch.setattr(catalog, "PACKAGE", root / "src" / "dlbooks")
    patch.setattr(runtime, "root", lambda: root)
    catalog._chapters.cache_clear()
    catalog._datasets.cache_clear()
    yield root
    patch.undo()
    catalog._chapters.cache_clear()
    catalog._datasets.cache_clear()


def run(*words):
    result = CliRunner().invoke(cli.app, ["data", *map(str, words)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


# ── cards ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_kinds_are_told_from_the_schema():
    kinds = {name: cards.kind(features) for name, (features, _) in SETS.items()}
    assert kinds == {
        "digits": "labeled pictures", "photos": "labeled pictures", "cells": "boxes", "pairs": "pairs of texts", "plays": "text", "nothing": "text",
        "sounds": "labeled sound", "series": "series", "tagged": "pairs of texts", "table": "table", "weights": "arrays", "views": "pairs of pictures",
    }  # fmt: skip


def test_list_shows_what_is_here_and_what_is_not(checkout):
    rows = {row["id"]: row for row in json.loads(run("list", "--json").output)}
    assert set(rows) == {*SETS, "absent"}
    assert rows["digits"]["splits"] == {"train": 30, "test": 2} and rows["digits"]["bytes"] > 1000
    assert (rows["digits"]["twin"], rows["digits"]["raw"], rows["photos"]["twin"], rows["photos"]["raw"]) == (True, True, False, False)
    assert (rows["absent"]["here"], rows["absent"]["kind"], rows["absent"]["splits"]) == (False, "text", {})
    printed = run("list").output
    assert re.search(r"digits .* train 30, test 2 .* twin", printed) and "[Absent]" in printed


@pytest.mark.parametrize("name", SETS)
def test_show_prints_the_card_and_draws_samples(checkout, tmp_path, name):
    out = tmp_path / "deep" / "samples.png"
    printed = run("show", name, "--out", out).output
    for words in (f"The {name}", "https://example.org/a.bin", "SHA-256 " + "ab" * 32, "CC0", "A. Nobody", *SETS[name][0]):
        assert words in printed.replace("\n", ""), words
    assert out.exists() == bool(SETS[name][1])
    if out.exists():
        with Image.open(out) as drawn:
            assert drawn.width > 100 and np.asarray(drawn.convert("L")).std() > 1
        first = out.read_bytes()
        run("show", name, "--out", out)
        assert out.read_bytes() == first


def test_show_as_json_and_to_the_default_place(checkout):
    this = json.loads(run("show", "digits", "--json").output)
    assert this["records"]["twin"] and this["records"]["splits"]["train"]["classes"] == {"zero": 15, "one/two": 15}
    assert this["records"]["statistics"]["index"]["mean"] == 114.5 and this["raw"][0]["name"] == "a.bin"
    assert (checkout / "data" / "cards" / "digits.png").exists()
    assert json.loads(run("show", "absent", "--json").output)["picture"] is None
    assert "No records here yet" in run("show", "absent").output
    with pytest.raises(UserError, match=r"must end in \.png"):
        run("show", "digits", "--out", "picture.jpg")


def test_samples_are_of_many_classes_and_boxes_are_drawn(checkout):
    split, rows = cards.samples(Records(checkout / "data" / "tfrecords" / "digits"))
    assert split == "train" and [row["label"] for row in rows] == [0] * 5 + [1] * 5
    features, rows = SETS["cells"]
    rows = [{**row, "objects/bbox": row["objects/bbox"]} for row in rows]
    figure = cards.picture(features, rows)
    first, second = figure.axes[:2]
    assert [(p.get_xy(), p.get_width(), p.get_height()) for p in first.patches] == [((-0.5, -0.5), 6, 8), ((11.5, 3.5), 12, 12)]
    assert not second.patches and [t.get_text() for t in figure.legends[0].get_texts()] == ["red", "white"]


def test_texts_are_shown_by_their_lines():
    features, rows = SETS["plays"]
    assert cards.table(features, rows) == (["text"], [["To be,"], ["or not to be:"], ["that is the question."]])
    features, rows = SETS["tagged"]
    assert cards.table(features, rows) == (["words", "tags"], [["dogs run", "N V"], ["", ""]])
    assert cards.cut("漢字" * 10, 7) == "漢字漢…" and cards.cut("short", 5) == "short"


def test_words_of_sizes():
    assert [cards.size(n) for n in (0, 999, 1000, 1_715_000, 5e9, 2e12)] == ["0 B", "999 B", "1 kB", "1.72 MB", "5 GB", "2,000 GB"]
    assert [cards.span(k) for k in ("0", "1", "2", "1024")] == ["0", "1", "2 … 3", "1,024 … 2,047"]
    assert [cards.bar(s, 2) for s in (0, 0.01, 0.5, 0.75, 1)] == ["", "", "█", "█▌", "██"]


# ── export ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def exported(name, folder, *words):
    run("export", name, "--to", folder, *words)
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def lines(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_image_folder_keeps_upstream_bytes(checkout, tmp_path):
    files = exported("photos", tmp_path / "a", "--split", "train")
    assert len(files) == 12 and {f.rpartition("/")[0] for f in files} == {"train/a", "train/b"}
    kept = sorted((tmp_path / "a" / f).read_bytes() for f in files)
    assert kept == sorted(row["image"] for row in SETS["photos"][1])
    for file in files:
        with Image.open(tmp_path / "a" / file) as opened:
            assert file.endswith({"JPEG": ".jpg", "PNG": ".png"}[opened.format])
    assert "train/a/2.jpg" in files and any(re.fullmatch(r"train/a/2-\d{6}\.jpg", f) for f in files), "names that occur twice get a number"


def test_raw_pixels_become_png_in_safe_class_folders(checkout, tmp_path):
    files = exported("digits", tmp_path / "a")
    assert "train/one_two/000101.png" in files and len(files) == 32
    for row in SETS["digits"][1]:
        with Image.open(tmp_path / "a" / "train" / ("zero", "one_two")[row["label"]] / f"{row['index']:06d}.png") as opened:
            assert np.array_equal(np.asarray(opened), row["image"][..., 0])
    with pytest.raises(UserError, match="'a/b' and 'a:b' would share the folder 'a_b'"):
        export_data._folders(("a/b", "a:b"))
    assert export_data._folders(("..", "CON ", "a.")) == ["_", "CON", "a"]


def test_boxes_in_pixels(checkout, tmp_path):
    assert {"train/boxes.csv", "test/boxes.csv"} < set(exported("cells", tmp_path / "a"))
    found = lines(tmp_path / "a" / "train" / "boxes.csv")
    assert found[0] == ["file", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"]
    assert [row[1:] for row in found[1:]] == [["24", "16", "red", "0", "0", "6", "8"], ["24", "16", "white", "12", "4", "24", "16"]]
    assert (tmp_path / "a" / "train" / found[1][0]).exists()
    assert exported("cells", tmp_path / "b", "--format", "csv") == ["test.csv", "train.csv"]


def test_csv_and_text(checkout, tmp_path):
    assert exported("table", tmp_path / "a", "--split", "test") == ["test.csv"]
    assert lines(tmp_path / "a" / "test.csv") == [["height", "count", "kind"], ["0.1", "0", "x"], ["", "1", "y"]]
    assert exported("series", tmp_path / "b", "--split", "train") == ["train/two.csv"]
    assert lines(tmp_path / "b" / "train" / "two.csv") == [["time", "v1", "v2"], ["0", "0.1", "1.0"], ["1", "2.0", "3.0"], ["2", "4.0", "5.0"]]
    assert exported("plays", tmp_path / "c") == ["test.txt", "train.txt"]
    assert (tmp_path / "c" / "train.txt").read_text() == SETS["plays"][1][0]["text"]
    assert exported("pairs", tmp_path / "d") == ["test.en", "test.zh", "train.en", "train.zh"]
    english, chinese = ((tmp_path / "d" / f"test.{k}").read_text(encoding="utf-8").splitlines() for k in ("en", "zh"))
    assert (english[1], chinese[1]) == ("sentence 1, $x_1$", "句子 1。") and len(english) == len(chinese) == 2
    assert exported("tagged", tmp_path / "e", "--split", "test") == ["test.tags", "test.words"]
    assert (tmp_path / "e" / "test.words").read_text() == "dogs run\n\n" and (tmp_path / "e" / "test.tags").read_text() == "N V\n\n"


@pytest.mark.parametrize("name", SETS)
def test_parquet_holds_everything(checkout, tmp_path, name):
    features, rows = SETS[name]
    assert exported(name, tmp_path / "a", "--format", "parquet") == ["test.parquet", "train.parquet"]
    table = pyarrow.parquet.read_table(tmp_path / "a" / "test.parquet")
    assert table.column_names == list(features) and table.num_rows == len(rows[:2])
    for got, row in zip(table.to_pylist(), rows[:2], strict=True):
        for field, feature in features.items():
            if feature.names:
                want = [feature.names[k] for k in row[field]] if feature.shape else feature.names[row[field]]
                assert got[field] == want
            elif field in cards.picture_names(features):
                value = got[field] if feature.picture else np.asarray(Image.open(io.BytesIO(got[field])))
                assert value == row[field] if feature.picture else np.array_equal(value, np.squeeze(row[field]))
            elif feature.encoding == "text":
                assert got[field] == row[field]
            else:
                assert np.array_equal(
                    np.array(got[field], feature.dtype).ravel(), np.array(row[field], feature.dtype).ravel(), equal_nan=feature.dtype[0] == "f"
                )


def test_what_does_not_fit_is_refused_and_leaves_nothing(checkout, tmp_path):
    for name, form, words in (
        ("digits", "csv", r"digits does not fit the format csv: image is uint8 \[6, 5, 1\], no single value; image-folder or parquet would"),
        ("plays", "image-folder", "it has no pictures; text or csv or parquet would"),
        ("views", "image-folder", "it has 2 pictures per example; parquet would"),
        ("sounds", "text", "audio would be lost; parquet would"),
        ("plays", "xlsx", "format 'xlsx' is unknown: plays fits text or csv or parquet"),
    ):
        with pytest.raises(UserError, match=words):
            run("export", name, "--to", tmp_path / "a", "--format", form)
    with pytest.raises(UserError, match="plays has no split 'trian': it has train, test"):
        run("export", "plays", "--to", tmp_path / "a", "--split", "trian")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is not an empty folder"):
        run("export", "plays", "--to", tmp_path / "full")
    (tmp_path / "empty").mkdir()
    assert exported("plays", tmp_path / "empty") == ["test.txt", "train.txt"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "full"]


def test_an_export_that_fails_leaves_nothing(checkout, tmp_path, monkeypatch):
    def half(folder, split, features, rows):
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setitem(export_data._WRITERS, "text", half)
    with pytest.raises(KeyboardInterrupt):
        export_data.export("plays", tmp_path / "a")
    assert not list(tmp_path.iterdir())
    features = {"en": Feature(encoding="text"), "de": Feature(encoding="text")}
    with pytest.raises(UserError, match="train, item 1: de holds a line break"):
        export_data.text(tmp_path, "train", features, iter([{"en": "a", "de": "b\n"}, {"en": "a", "de": "b\nc"}]))


# ── check ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_check_names_what_is_damaged(checkout):
    whole = run("check")
    assert whole.exit_code == 0 and "digits: raw: 1 files, 9 B, whole; records:" in whole.output and "absent: nothing here" in whole.output
    shard = next((checkout / "data" / "tfrecords" / "digits").glob("*/*test.tfrecord*"))
    for path, stage in ((checkout / "data" / "raw" / "digits" / "a.bin", "fetch"), (shard, "preprocess")):
        good = path.read_bytes()
        path.write_bytes(good[:5] + bytes([good[5] ^ 1]) + good[6:])
        result = run("check", "digits", "plays")
        assert result.exit_code == 1 and path.name in result.output and f"dvc repro {stage}@digits" in result.output and "damaged" in result.output
        assert "plays: records:" in result.output
        told = run("check", "digits", "--json")
        damaged = [entry for entry in json.loads(told.stdout) if not entry["whole"]]
        assert told.exit_code == 1 and len(damaged) == 1 and path.name in damaged[0]["words"]
        path.write_bytes(good)
    assert run("check", "digits").exit_code == 0
    with pytest.raises(UserError, match="did you mean plays"):
        run("check", "play")


# ── beside the model ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_keeps_the_statistics_of_what_it_read(checkout, tmp_path, monkeypatch):
    monkeypatch.delenv("DLBOOKS_HOME", raising=False)
    declared = {"title": "A line", "family": "toys", "sources": ["B1 1"], "headline": "hits", "metrics": {"hits": catalog.Metric(better="higher")}}
    for datasets in (["table", "digits"], []):
        chapter = catalog.Chapter(id="line", datasets=datasets, **declared)
        out = tmp_path / f"out-{len(datasets)}"
        this = Run(chapter, params.ChapterParams(), profile="mini", out=out, data=checkout / "data", quiet=True)
        this.begin()
        for name in datasets:
            this.records(name)
        this.finish()
        if not datasets:
            assert not (out / "data.json").exists()
            continue
        kept = json.loads((out / "data.json").read_text())
        assert list(kept) == ["digits", "table"] and kept["digits"]["version"] == "1.0.0"
        assert kept["digits"]["splits"]["train"]["examples"] == 30 and kept["table"]["features"]["height"]["nan"] == 1
