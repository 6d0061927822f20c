"""Bring your own data: looking at a folder, writing it down, and running a chapter on it. A copy of declarations and parameters stands in for the checkout."""

from __future__ import annotations

import io
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw
from ruamel.yaml import YAML

import dlbooks.datasets
from dlbooks import UserError, catalog, fetch, own, params, runtime, sync, tracking
from dlbooks.datasets import _csv, _image_folder, _pair_files, _text_files, _voc
from dlbooks.records import Records
from dlbooks.run import Run

WRITE = sync.write
SHAPES = {"disc": (220, 60, 60), "bar": (60, 60, 220), "frame": (40, 160, 60)}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of its own: `add` writes here and not into the project."""
    root, package = tmp_path / "checkout", tmp_path / "checkout" / "src" / "dlbooks"
    for part in ("chapters", "datasets", "nn"):
        shutil.copytree(catalog.PACKAGE / part, package / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(runtime.root() / "params.yaml", root)
    monkeypatch.setattr(catalog, "PACKAGE", package)
    monkeypatch.setattr(runtime, "root", lambda: root)
    monkeypatch.setattr(runtime, "home", lambda: root)
    monkeypatch.setattr(dlbooks.datasets, "__path__", [*dlbooks.datasets.__path__, str(package / "datasets")])
    caches = (catalog.declared, catalog._chapters, catalog._datasets)
    for cache in caches:
        cache.cache_clear()
    monkeypatch.setattr(sync, "write", lambda: False)  # writing dvc.yaml takes a second: the tests that look at it call for `pipeline`
    yield root
    own.forget()
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def pipeline(checkout, monkeypatch):
    """The checkout's ``dvc.yaml``, kept up to date."""
    monkeypatch.setattr(sync, "write", WRITE)
    sync.write()
    return lambda: YAML(typ="safe").load(checkout / "dvc.yaml")


def drawing(shape: str, number: int) -> Image.Image:
    """A shape of its class's color on a light ground, of its own size."""
    width, height = 40 + 7 * (number % 5), 36 + 5 * (number % 7)
    picture = Image.new("RGB", (width, height), (200 + number, 210, 220 - number))
    pen, side = ImageDraw.Draw(picture), min(width, height)
    box = (side // 5 + number % 3, side // 5, side * 4 // 5, side * 4 // 5)
    if shape == "disc":
        pen.ellipse(box, SHAPES[shape])
    elif shape == "bar":
        pen.rectangle((side // 3, 0, side // 2, height), SHAPES[shape])
    else:
        pen.rectangle(box, outline=SHAPES[shape], width=4)
    return picture


def photos(folder, count: int = 8):
    for shape in SHAPES:
        (folder / shape).mkdir(parents=True)
        for number in range(count):
            picture, path = drawing(shape, number), folder / shape / f"{number}.jpg"
            if number == 1:
                picture.save(path.with_suffix(".png"))
            elif number == 2:
                picture.convert("CMYK").save(path)
            else:
                picture.save(path, quality=90)
    return folder


def state(root) -> dict:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts}


# ── pictures in class folders ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_add_and_remove(checkout, pipeline, tmp_path, capsys):
    before = state(checkout)
    own.add(photos(tmp_path / "My Photos"))
    said = capsys.readouterr().out
    assert "my-photos: pictures in class folders, 24 files\n  bar: 8 pictures\n  disc: 8 pictures\n  frame: 8 pictures\n" in said
    assert "  dlbooks repro preprocess@my-photos\n" in said and "  dlbooks run cifar10-cnn --data my-photos\n" in said
    found = catalog.dataset("my-photos")
    assert found.declaration.own and found.declaration.chapters == [] and "Kind `image-folder`" in found.doc
    assert catalog.schema(found.declaration)["label"].names == ("bar", "disc", "frame")
    values = params.read(checkout / "params.yaml")
    for profile in runtime.PROFILES:
        parameters = params.validate(found.params, params.section(values, "data.my-photos", profile), "my-photos")
        assert not parameters.twin and parameters.validation == 0.1
    with pytest.raises(UserError, match="twin"):
        params.validate(found.params, {"twin": True}, "my-photos")
    lines = (checkout / "params.yaml").read_text().splitlines()
    at = lines.index("  my-photos:")
    assert lines[at + 1] == "    mini: {twin: false, shards: 1, size: 0, quality: 0, validation: 0.1, test: 0.1, seed: 0}"
    assert lines[:at] + lines[at + 4 :] == before["params.yaml"].decode().splitlines()  # comments, order and style stay
    items = pipeline()["stages"]["fetch"]["foreach"]
    assert str(tmp_path / "My Photos") in items["my-photos"]["code"] and "src/dlbooks/datasets/my_photos.py" in items["my-photos"]["code"]
    own.remove("my-photos")
    assert state(checkout) == before
    with pytest.raises(UserError, match="there is no data set 'my-photos'"):
        own.remove("my-photos")


def messy(folder):
    photos(folder, 4)
    (folder / "disc" / "empty.jpg").write_bytes(b"")
    (folder / "disc" / "page.jpg").write_bytes(b"<!DOCTYPE html><p>not found")
    (folder / "bar" / "cut.jpg").write_bytes((folder / "bar" / "0.jpg").read_bytes()[:400])
    (folder / "loose.png").write_bytes((folder / "bar" / "1.png").read_bytes())
    (folder / "alone").mkdir()
    drawing("disc", 9).save(folder / "alone" / "one.png")
    (folder / "nothing").mkdir()
    shutil.copy(folder / "bar" / "3.jpg", folder / "frame" / "same.jpg")
    (folder / "link").mkdir()
    (folder / "disc" / "link.jpg").symlink_to(folder / "disc" / "0.jpg")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x.jpg").write_bytes(b"")
    (folder / "disc" / "notes.txt").write_text("no picture, no problem")
    return folder


PROBLEMS = {
    "disc/empty.jpg: empty file (0 bytes)",
    "disc/page.jpg: not a picture",
    "bar/cut.jpg: damaged picture",
    "loose.png: lies in no class folder",
    "alone/one.png: the only example of class 'alone'",
    "nothing/: an empty class",
    "link/: an empty class",
    "disc/link.jpg: a link",
}


def test_every_problem_is_listed_and_nothing_written(checkout, tmp_path, capsys):
    before = state(checkout)
    messy(tmp_path / "mess")
    with pytest.raises(UserError, match=r"8 problems in .*mess, nothing was written: .*--skip-bad"):
        own.add(tmp_path / "mess")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(PROBLEMS) and all(any(line.startswith(p) for line in lines) for p in PROBLEMS)
    assert state(checkout) == before
    own.add(tmp_path / "mess", skip_bad=True)
    said = capsys.readouterr().out
    assert "warning: bar/3.jpg: the same bytes as frame/same.jpg, in another class" in said
    assert "mess: pictures in class folders, 13 files, 8 problems left out" in said
    (files,) = catalog.dataset("mess").declaration.files
    wrong = [".cache/x.jpg", "alone/one.png", "bar/cut.jpg", "disc/empty.jpg", "disc/link.jpg", "disc/page.jpg", "loose.png"]
    assert files.skip == wrong and files.include == ["*.jpg", "*.png"]
    module, raw = made("mess", checkout)
    assert module.NAMES == ("bar", "disc", "frame") and (raw / "mess.zip").exists()


def made(name: str, root, **changes):
    """Fetches and preprocesses a data set of one's own; returns its module and raw folder."""
    found = catalog.dataset(name)
    values = {**params.section(params.read(root / "params.yaml"), f"data.{name}", "mini"), **changes}
    parameters, module = params.validate(found.params, values, name), catalog.load(found.declaration)
    raw = root / "data" / "raw" / name
    fetch.fetch(found.declaration, module, parameters, raw)
    fetch.preprocess(found.declaration, module, parameters, raw, root / "data" / "tfrecords" / name)
    return module, raw


def test_again_brings_it_up_to_date(checkout, tmp_path, capsys):
    folder = photos(tmp_path / "p")
    own.add(folder, name="pets", assigned={"size": 24, "validation": 0.25})
    path = catalog.dataset("pets").declaration.path
    path.write_text(path.read_text().replace("chapters=[]", 'chapters=["cifar10-cnn"]'))
    own.forget()
    drawing("disc", 11).save(folder / "disc" / "more.png")
    own.add(folder, name="pets", assigned={"seed": 3})
    found, values = catalog.dataset("pets").declaration, params.read(checkout / "params.yaml")
    assert found.chapters == ["cifar10-cnn"]
    assert values["data"]["pets"]["mini"] | {"shards": 1} == {
        **{"twin": False, "shards": 1, "size": 24, "quality": 0},
        **{"validation": 0.25, "test": 0.1, "seed": 3},
    }
    assert "disc: 9 pictures" in capsys.readouterr().out
    drawing("disc", 12).save(folder / "disc" / "late.png")
    with pytest.raises(UserError, match=r"changed since it was added .* run `dlbooks data add` again"):
        made("pets", checkout)


def test_all_or_nothing(checkout, tmp_path, monkeypatch):
    before = state(checkout)
    folder = photos(tmp_path / "p", 3)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sync, "write", full)
    with pytest.raises(OSError):
        own.add(folder)
    assert state(checkout) == before
    assert "p" not in catalog.datasets()


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("mnist", {}, "mnist is a data set of this project, not yours"),
        ("series-synthetic", {}, "a data set of this project"),
        ("My_Photos", {}, "is no name for a data set"),
        ("../x", {}, "is no name"),
        ("a-on-b", {}, "is no name"),
        ("p", {"kind": "movies"}, "--kind 'movies' is unknown: it is one of image-folder, voc, text, csv, pairs"),
        ("p", {"kind": "csv"}, "no file of kind csv"),
        ("p", {"assigned": {"sise": 3}}, r"data.p.mini.sise: unknown parameter; did you mean size\?"),
        ("p", {"assigned": {"test": 2}}, r"data.p.mini.test = 2"),
    ],
)
def test_refused(checkout, tmp_path, name, options, words):
    before = state(checkout)
    photos(tmp_path / "p", 2)
    with pytest.raises(UserError, match=words):
        own.add(tmp_path / "p", name=name, **options)
    assert state(checkout) == before


def test_refused_places(checkout, tmp_path):
    with pytest.raises(UserError, match="gone: no such folder or file"):
        own.add(tmp_path / "gone")
    (tmp_path / "one" / "cat").mkdir(parents=True)
    with pytest.raises(UserError, match="one: no file in it"):
        own.add(tmp_path / "one")
    for number in range(3):
        drawing("disc", number).save(tmp_path / "one" / "cat" / f"{number}.png")
    with pytest.raises(UserError, match="1 class with two or more pictures, at least 2 are needed"):
        own.add(tmp_path / "one")
    inside = photos(checkout / "data" / "raw" / "mine", 2)
    with pytest.raises(UserError, match="lies in data/raw, which DVC empties"):
        own.add(inside)


def test_splits_are_drawn_by_content():
    contents = {f"{c}/{k}.jpg": f"{c}{k}" for c, n in {"a": 20, "b": 10, "c": 3, "d": 2, "e": 1}.items() for k in range(n)}
    found = _image_folder.divide(contents, 0.1, 0.2, 0)

    def counts(label):
        return [sum(f == (split, label) for f in found.values()) for split in ("train", "validation", "test")]

    assert [counts(c) for c in "abcde"] == [[14, 2, 4], [7, 1, 2], [1, 1, 1], [1, 0, 1], [1, 0, 0]]
    assert found == _image_folder.divide(dict(reversed(contents.items())), 0.1, 0.2, 0) != _image_folder.divide(contents, 0.1, 0.2, 1)
    renamed = _image_folder.divide({p.replace("/", "/new "): c for p, c in contents.items()}, 0.1, 0.2, 0)
    assert {p.replace("new ", ""): s for p, s in renamed.items()} == found
    twice = {**contents, **{f"a/copy {k}.jpg": f"a{k}" for k in range(20)}}
    again = _image_folder.divide(twice, 0.1, 0.2, 0)
    assert all(again[f"a/copy {k}.jpg"] == again[f"a/{k}.jpg"] for k in range(20))
    assert {s for s, _ in _image_folder.divide(contents, 0.0, 0.0, 0).values()} == {"train"}


def test_own_splits_stay():
    paths = [f"{split}/{label}/{k}.jpg" for split in ("train", "val") for label in "ab" for k in range(4)]
    found = _image_folder.divide({p: p for p in paths}, 0.25, 0.25, 0)
    assert {found[p] for p in paths if p.startswith("val/")} == {("validation", "a"), ("validation", "b")}
    assert sorted(s for p, (s, _) in found.items() if p.startswith("train/a")) == ["test", "train", "train", "train"]
    classes = _image_folder.places(["train/1.jpg", "car/2.jpg", "test/3.jpg"])  # a class may be called train
    assert set(classes.values()) == {("", "train"), ("", "car"), ("", "test")}


# ── other kinds ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_guessing(checkout, tmp_path):
    def folder(name, files):
        for file in files:
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text("x")
        return tmp_path / name

    assert own.guessed(folder("a", ["cat/1.jpg", "dog/2.jpg", "read.me"])) == "image-folder"
    assert own.guessed(folder("b", ["1.jpg", "1.xml"])) == "voc"
    assert own.guessed(folder("c", ["1.txt", "b/2.txt"])) == "text"
    assert own.guessed(folder("d", ["1.csv"])) == "csv" == own.guessed(tmp_path / "d" / "1.csv")
    assert own.guessed(folder("e", ["talk.en", "talk.de"])) == "pairs" == own.guessed(folder("f", ["x.tsv"]))
    with pytest.raises(UserError, match=r"could be image-folder or pairs: say which with --kind image-folder\|pairs"):
        own.guessed(folder("g", ["cat/1.jpg", "dog/1.jpg"]))
    with pytest.raises(UserError, match="could be csv or text"):
        own.guessed(folder("h", ["1.csv", "2.txt"]))
    with pytest.raises(UserError, match=r"holds 2 × .exe: say which with --kind image-folder"):
        own.guessed(folder("i", ["1.exe", "2.exe"]))


def test_voc(checkout, tmp_path, capsys):
    folder = tmp_path / "cells"
    (folder / "Annotations").mkdir(parents=True)
    (folder / "JPEGImages").mkdir()

    def put(name, objects, size=(60, 40)):
        Image.new("RGB", (60, 40), (len(name), 90, 90 + 7 * len(list(folder.rglob("*"))))).save(folder / "JPEGImages" / f"{name}.jpg")
        (folder / "Annotations" / f"{name}.xml").write_bytes(_voc.write(f"{name}.jpg", *size, objects))

    for number in range(6):
        put(f"good{number}", [("ring", (1, 1, 10 + number, 20)), ("dot", (30, 30, 35, 40))])
    put("wide", [("ring", (50, 1, 70, 20))])
    put("wrong_size", [], size=(61, 40))
    Image.new("RGB", (60, 40)).save(folder / "JPEGImages" / "no_note.jpg")
    (folder / "Annotations" / "no_picture.xml").write_bytes(_voc.write("x.jpg", 6, 4, []))
    with pytest.raises(UserError, match="4 problems"):
        own.add(folder)
    errors = capsys.readouterr().err
    assert "Annotations/wide.xml, line " in errors and "box of 'ring' leaves the picture of 60 × 40 pixels: xmax 70" in errors
    assert "wrong_size.xml, line 3: size is 61 × 40, but the picture has 60 × 40 pixels" in errors
    assert "JPEGImages/no_note.jpg: no annotation" in errors and "no_picture.xml: no picture" in errors
    own.add(folder, skip_bad=True)
    assert "6 pictures, 12 boxes, pixels count from 1" in capsys.readouterr().out
    module, _ = made("cells", checkout)
    assert (module.NAMES, module.ORIGIN) == (("dot", "ring"), 1)
    records = Records(checkout / "data" / "tfrecords" / "cells")
    assert {s: records.count(s) for s in ("train", "validation", "test")} == {"train": 4, "validation": 1, "test": 1}
    first = records.arrays("test")
    np.testing.assert_allclose(np.asarray(first["objects/bbox"][0])[1], [29 / 40, 29 / 60, 1, 35 / 60], atol=1e-6)


def test_text(checkout, tmp_path, capsys):
    folder = tmp_path / "diary"
    folder.mkdir()
    for name, encoding in (("1.txt", "utf-8"), ("2.txt", "utf-16")):
        (folder / name).write_bytes("".join(f"Line {k} of {name}, naïve.\r\n" for k in range(60)).encode(encoding))
    (folder / "3.txt").write_bytes(b"a right line\nna\xefve\n")
    with pytest.raises(UserError, match="1 problem in"):
        own.add(folder)
    assert "3.txt is not UTF-8: byte 0xef at offset 15 (line 2)" in capsys.readouterr().err
    own.add(folder, skip_bad=True)
    assert "  dlbooks run char-rnn-shakespeare --data diary\n" in capsys.readouterr().out
    made("diary", checkout)
    records = Records(checkout / "data" / "tfrecords" / "diary")
    texts = {s: records.arrays(s)["text"][0].decode() for s in ("train", "validation", "test")}
    whole = "".join(texts.values())
    assert whole.startswith("Line 0 of 1.txt, naïve.\nLine 1") and "naïve.\n\nLine 0 of 2.txt" in whole and "\r" not in whole
    assert [round(len(t) / len(whole), 2) for t in texts.values()] == [0.9, 0.05, 0.05]
    (tmp_path / "short.txt").write_text("a\n")
    with pytest.raises(UserError, match="too little text: nothing is left for validation, test"):
        own.add(tmp_path / "short.txt")


def test_text_files_named_after_splits():
    texts = {"train.txt": "a" * 100, "val.txt": "b" * 5, "test.txt": "c"}
    assert _text_files.divided(texts, 0.1, 0.1) == {"train": "a" * 100 + "\n", "validation": "b" * 5, "test": "c"}
    assert _text_files.divided({"train.txt": "a" * 99, "val.txt": "b"}, 0.1, 0.2) == {"train": "a" * 80, "validation": "b", "test": "a" * 19 + "\n"}


def test_csv(checkout, tmp_path, capsys):
    rows = [f"{t},{np.sin(t / 5):.4f}" for t in range(60)]
    rows[7], rows[9], rows[20], rows[30] = "7,nan", "9,cold", "19,0.5", "30,1,2"
    del rows[40]
    (tmp_path / "tide.csv").write_text("\n".join(["hour,level", *rows]) + "\n")
    with pytest.raises(UserError, match="4 problems"):
        own.add(tmp_path / "tide.csv")
    assert capsys.readouterr().err.splitlines() == [
        "tide.csv, line 9: 'nan' is not a finite number",
        "tide.csv, line 11: 'cold' is not a finite number",
        "tide.csv, line 22: time 19 appears again; times must increase",
        "tide.csv, line 32: 3 columns, the others have 2",
    ]
    own.add(tmp_path / "tide.csv", skip_bad=True)
    said = capsys.readouterr().out
    assert "tide.csv: 55 rows of level" in said and said.endswith("  dlbooks run series-lstm --data tide\n")
    assert params.read(checkout / "params.yaml")["data"]["tide"]["mini"]["gaps"] == "fill"
    assert own.origin(catalog.dataset("tide").declaration) == str(tmp_path / "tide.csv")
    made("tide", checkout)
    (one,) = Records(checkout / "data" / "tfrecords" / "tide").batches("train", 1)
    values = np.asarray(one["values"][0])
    assert np.asarray(one["times"][0]).tolist() == list(range(60)) and int(one["train_length"][0]) == 48
    assert values[7] == pytest.approx((values[6] + values[8]) / 2) and values[40] == pytest.approx((values[39] + values[41]) / 2)


@pytest.mark.parametrize(
    "text, words",
    [
        ("1,2\n3,4\n", "2 sound rows, a series needs at least 30"),
        ("1;2\n3;4\n", "line 1: 1 column, expected a time and 1 to 255 values"),
        ("t,v\n" + "\n".join(f"{t}.5,1" for t in range(40)), "line 2: time 0.5 is not an integer"),
        ("\n".join(f"{2 * t},1" for t in range(40)), "times jump from 0 to 2; every step is needed"),
        ("\0" * 50, "a zero byte"),
        ("", "is empty"),
    ],
)
def test_csv_of_no_use(checkout, tmp_path, capsys, text, words):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(UserError):
        own.add(tmp_path / "x.csv")
    assert words in capsys.readouterr().err


def test_csv_with_a_gap_is_refused_at_reading():
    data = "\n".join(f"{t},1" for t in [*range(40), 41]).encode()
    with pytest.raises(UserError, match=r"z, s\.csv: times jump from 39 to 41"):
        _csv.example(data, "z, s.csv", "s", SimpleNamespace(gaps="refuse", test=0.2, period=0))
    with pytest.raises(UserError, match="period = 40 is longer than the 34 rows for fitting"):
        _csv.example(data, "z, s.csv", "s", SimpleNamespace(gaps="fill", test=0.2, period=40))


def test_pairs_of_sentences(checkout, tmp_path, capsys):
    folder = tmp_path / "talks"
    folder.mkdir()
    (folder / "talks.en").write_text("".join(f"sentence {k}\n" for k in range(20)))
    (folder / "talks.de").write_text("".join(f"Satz {k}\n" if k != 4 else "\n" for k in range(20)))
    with pytest.raises(UserError, match="1 problem"):
        own.add(folder)
    assert "talks.de, line 5: an empty line has no translation" in capsys.readouterr().err
    own.add(folder, skip_bad=True)
    module, _ = made("talks", checkout)
    assert (module.LEFT, module.RIGHT) == ("de", "en")
    records = Records(checkout / "data" / "tfrecords" / "talks")
    assert {s: records.count(s) for s in ("train", "validation", "test")} == {"train": 15, "validation": 2, "test": 2}
    train = records.arrays("train")
    assert all(d.decode() == f"Satz {i}" and e.decode() == f"sentence {i}" for d, e, i in zip(train["de"], train["en"], train["index"], strict=True))
    (folder / "talks.de").write_text("Satz\n")
    with pytest.raises(UserError, match="0 sound pairs"):
        own.add(folder)
    assert "talks.de has 1 lines, talks.en 20: line 2 of talks.en has no partner in talks.de" in capsys.readouterr().err


def test_pairs_of_pictures(checkout, tmp_path, capsys):
    folder = tmp_path / "maps"
    for side in ("photo", "map"):
        (folder / side).mkdir(parents=True)
        for number in range(5):
            drawing("disc" if side == "map" else "bar", number).save(folder / side / f"{number}.png")
    drawing("bar", 9).save(folder / "photo" / "9.png")
    own.add(folder, kind="pairs", skip_bad=True)
    assert "photo/9.png: no partner" in capsys.readouterr().err
    made("maps", checkout)
    train = Records(checkout / "data" / "tfrecords" / "maps").arrays("train")
    assert len(train["index"]) == 3 and Image.open(io.BytesIO(train["left"][0])).size == Image.open(io.BytesIO(train["right"][0])).size
    assert _pair_files.split_of("a/val_3.en") == "validation" and _pair_files.split_of("evaluate.en") == ""


# ── chapters on it ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def photo_set(checkout, tmp_path, monkeypatch):
    from dlbooks import rebuild

    monkeypatch.setattr(rebuild, "same_results", lambda _: tracking.contextlib.nullcontext())  # needs DVC
    own.add(photos(tmp_path / "photos"), name="pets")
    return checkout


def test_a_stage_of_its_own(photo_set, pipeline):
    found = catalog.chapter("cifar10-cnn")
    before = pipeline()
    assert own.enlisted(found, "pets").id == "cifar10-cnn-on-pets" and not own.stages()
    stage = own.enlisted(found, "cifar10=pets", add=True)
    assert stage.swaps == {"cifar10": "pets"} and stage.command == "dlbooks run cifar10-cnn --data pets"
    assert catalog.dataset("pets").declaration.chapters == ["cifar10-cnn"] and list(own.stages()) == ["cifar10-cnn-on-pets"]
    assert own.stage("cifar10-cnn-on-pets").swaps == stage.swaps and own.stage("cifar10-cnn").swaps == {}
    after = pipeline()
    added = after["stages"].pop("cifar10-cnn-on-pets")
    assert added["cmd"] == "python3 stages/chapter.py cifar10-cnn-on-pets" and added["outs"] == ["data/runs/cifar10-cnn-on-pets"]
    assert "data/tfrecords/pets" in added["deps"] and "data/tfrecords/cifar10" not in added["deps"]
    assert added["params"] == ["profile", "cifar10-cnn.${profile}"]
    after["metrics"].remove("data/runs/cifar10-cnn-on-pets/metrics.json")
    for part in ("fetch", "preprocess"):
        after["stages"][part]["foreach"] = before["stages"][part]["foreach"]
    assert after == before  # the site and everything else stay as they are
    text = (photo_set / "src/dlbooks/datasets/pets.py").read_text()
    own.enlisted(found, "pets", add=True)
    assert (photo_set / "src/dlbooks/datasets/pets.py").read_text() == text
    with pytest.raises(UserError, match="unknown chapter 'cifar10-cnn-on-pots'"):
        own.stage("cifar10-cnn-on-pots")


REFUSED = [
    ("parabola", "pets", "parabola reads no data set"),
    ("input-pipeline-lab", "pets", "input-pipeline-lab reads .*: say which, --data mnist=pets"),
    ("cifar10-cnn", "mnist=pets", "cifar10-cnn does not read 'mnist', it reads cifar10"),
    ("cifar10-cnn", "mnist", "mnist is a data set of the books"),
    ("cifar10-cnn", "pots", "unknown data set 'pots': did you mean pets"),
    ("char-rnn-shakespeare", "pets", r"its examples lack text \(a text\); it fits: dlbooks run cifar10-cnn --data pets, .*mnist-softmax"),
    ("spoken-digits", "pets", r"lack audio \(int16\[None\]\), speaker \(a class\)"),
    ("vae-mnist", "pets", "pets does not fit vae-mnist: vae-mnist needs the very data of mnist"),
]


def test_data_that_do_not_fit(photo_set):
    before = state(photo_set)
    for chapter, word, words in REFUSED:
        with pytest.raises(UserError, match=words):
            own.enlisted(catalog.chapter(chapter), word, add=True)
    assert state(photo_set) == before


def test_pictures_come_in_the_chapters_shape(photo_set):
    made("pets", photo_set)
    run = Run(catalog.chapter("cifar10-cnn").declaration, None, profile="mini", out=photo_set / "out", swaps={"cifar10": "pets"})
    records = run.records("cifar10")
    train = records.arrays("train")
    assert records.names() == ["bar", "disc", "frame"] and set(train["label"]) == {0, 1, 2}
    assert train["image"].shape == (18, 32, 32, 3) and train["image"].dtype == np.uint8
    assert {records.count(s) for s in ("validation", "test")} == {3}
    for image, label in zip(train["image"], train["label"], strict=True):  # every picture has the color of its class
        color = np.array(SHAPES[records.names()[label]])
        assert np.abs(image.astype(int) - color).sum(-1).min() < 90
    gray = Run(catalog.chapter("mnist-cnn").declaration, None, profile="mini", out=photo_set / "out", swaps={"mnist": "pets"})
    assert gray.records("mnist").arrays("test")["image"].shape == (3, 28, 28, 1)


def test_an_empty_split_is_refused(photo_set):
    made("pets", photo_set, test=0.0)
    run = Run(catalog.chapter("cifar10-cnn").declaration, None, profile="mini", out=photo_set / "out", swaps={"cifar10": "pets"})
    with pytest.raises(UserError, match="pets has no example in its split test, cifar10-cnn needs one"):
        run.records("cifar10")


def test_a_chapter_learns_them(photo_set, capsys):
    """Training, scores, export and prediction with three classes; fewer pictures than a batch."""
    made("pets", photo_set)
    found = catalog.chapter("mnist-softmax")
    parameters = found.params(steps=100, batch_size=100)
    out = photo_set / "data" / "runs" / "mnist-softmax-on-pets"
    run = Run(found.declaration, parameters, profile="mini", out=out, quiet=True, swaps={"mnist": "pets"})
    module = catalog.load(found.declaration)
    assert run.id == "mnist-softmax-on-pets"
    with pytest.raises(UserError, match="mnist-softmax-on-pets has not been trained here: run `dlbooks run mnist-softmax --data pets`"):
        run.exported()
    run.begin()
    module.train(run)
    run.evaluate(module)
    module.export(run)
    assert run.metrics["test_accuracy"] >= 2 / 3
    assert (out / "export/saved_model/assets.extra/labels.txt").read_text() == "bar\ndisc\nframe\n"
    drawing("bar", 20).save(photo_set / "new.png")
    module.predict(run, [str(photo_set / "new.png")])
    assert capsys.readouterr().out.split()[1] == "bar"
    assert tracking.own_data(run) == {"dlbooks.data": "mnist=pets"} and "data of one's own: not the book's task" in tracking.note(run)


@pytest.mark.parametrize("name", [n for n, c in catalog.chapters().items() if c.own_data and c.family == "classification"])
def test_networks_have_as_many_outputs_as_classes(name):
    found = catalog.chapter(name)
    module = catalog.load(found.declaration)
    nets = found.params.model_json_schema()["properties"].get("net", {})
    names = nets.get("enum") or nets.get("pattern", "^()$")[2:-2].split("|")
    for net in names:
        parameters = found.params(**({"net": net} if net else {}))
        assert module.build(parameters, 3).output_shape == (None, 3) and module.build(parameters).output_shape == (None, 10)


def test_chapters_name_only_what_they_read():
    for chapter in catalog.chapters().values():
        assert set(chapter.own_data) <= set(chapter.datasets)


def test_params_yaml_is_changed_line_by_line():
    text = "profile: mini\ndata:\n  a:\n    mini: {x: 1}  # why\n\n# Chapters\nb:\n  mini: {y: [1, 2]}\n"
    entry = {"mini": {"twin": False, "gaps": "fill"}, "smoke": {}}
    added = own.with_entry(text, "new", entry)
    assert added == text.replace("# why\n", "# why\n  new:\n    mini: {twin: false, gaps: fill}\n    smoke: {}\n")
    assert own.with_entry(added, "new", None) == text
    assert own.with_entry(own.with_entry(text, "a", entry), "new", None).count("  a:\n") == 1
    with pytest.raises(UserError, match="no line `data:`"):
        own.with_entry("profile: mini\n", "new", entry)
    with pytest.raises(UserError, match="written in a way"):
        own.with_entry("data:\n    a: {}\nb: 1\n", "new", entry)


def test_module_survives_strange_names(checkout, tmp_path):
    folder = tmp_path / 'say "hi"'
    for label in ('a"""b', "tab\\new", "été [x]"):
        (folder / label).mkdir(parents=True)
        for number in range(3):
            drawing("disc", number + 3 * len(label)).save(folder / label / f"{number} [1].png")
    own.add(folder, name="odd")
    module, _ = made("odd", checkout)
    assert module.NAMES == tuple(sorted(('a"""b', "tab\\new", "été [x]")))
    assert json.loads((next((checkout / "data/tfrecords/odd").glob("*")) / "stats.json").read_text())["splits"]["train"]["examples"] == 3


def test_the_series_of_that_name_or_the_first_of_ones_own():
    from dlbooks.nn.forecasting import load_series

    def item(name, features):
        numbers = {"times": [[0, 1]], "values": [[1.0] * 2 * features], "num_features": [features], "train_length": [1], "period": [0]}
        return {"name": [name.encode()], **{k: np.asarray(v) for k, v in numbers.items()}}

    def records(*items):
        return SimpleNamespace(folder=SimpleNamespace(name="tide"), batches=lambda *_: iter(items))

    assert load_series(records(item("trend", 1), item("waves", 1)), "waves", 1)["values"].shape == (2, 1)
    assert load_series(records(item("harbor", 1)), "waves", 1)["values"].shape == (2, 1)
    with pytest.raises(UserError, match="tide: harbor has 3 variables, this chapter reads 1"):
        load_series(records(item("harbor", 3)), "waves", 1)
    with pytest.raises(UserError, match="tide holds no series 'waves'"):
        load_series(records(item("harbor", 1)), "waves")
