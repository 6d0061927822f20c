"""A person's pairs: sentences with their translations (`_pairs.py`), or pictures with their counterparts.

Sentences stand line by line in two files that differ in their suffix alone, the languages' codes (``talks.en``, ``talks.de``), or in the first two columns of
tab-separated files (``.tsv``). Pictures stand in two folders, a picture and its counterpart under the same name (``photos/1.jpg``, ``maps/1.png``). Names
that begin with a split's (``train.en``, ``val.de``) are that split; else pairs are dealt by a hash of seed and content of the left side.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path, PurePosixPath

from dlbooks import archives, images, records
from dlbooks.datasets import _image_folder, _pairs
from dlbooks.records import Feature

features = _pairs.features
PICTURES = {
    "left": Feature("uint8", (None, None, 3), "jpeg"),
    "right": Feature("uint8", (None, None, 3), "jpeg"),
    "image/filename": Feature("string", encoding="text"),
    "index": Feature("int64"),
}


def sides(paths: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
    """``{name that two files share: [left, right]}`` and the files without a partner: the first folder, or the suffix of files in one folder, tells the sides apart."""
    parts = {path: PurePosixPath(path) for path in sorted(paths)}
    folders = sorted({p.parts[0] for p in parts.values() if len(p.parts) > 1})
    found: dict[str, list[str]] = {}
    for path, p in parts.items():
        shared = "/".join(p.with_suffix("").parts[1:]) if len(folders) == 2 and len(p.parts) > 1 else p.with_suffix("").as_posix()
        found.setdefault(shared, []).append(path)
    return {k: v for k, v in found.items() if len(v) == 2}, [path for v in found.values() if len(v) != 2 for path in v]


def split_of(name: str) -> str:
    """The split whose name a file's name begins with, or an empty word."""
    word = PurePosixPath(name).name.lower().replace("_", ".").replace("-", ".").partition(".")[0]
    return _image_folder.SPLITS.get(word, "")


def texts(members: archives.Members) -> tuple[dict[str, list[_pairs.Pair]], dict[str, list[str]]]:
    """``{file or shared name: pairs}`` and ``{…: problems}`` of parallel files and tables."""
    tables = [n for n in members.names if n.lower().endswith(".tsv")]
    both, _ = sides(n for n in members.names if n not in tables)
    read = {name: _pairs.table(members.read(name), name) for name in tables}
    read |= {name: _pairs.aligned(*(members.read(f) for f in files), tuple(files)) for name, files in both.items()}
    return {n: pairs for n, (pairs, _) in read.items()}, {n: problems for n, (_, problems) in read.items()}


def examples(path: Path, params, left: str, right: str) -> dict[str, list[dict]]:
    """Sentences of the zip ``path``; ``params`` has ``validation``, ``test``, ``seed`` and ``bad_lines`` (``refuse`` or ``skip``)."""
    found, problems = texts(archives.Members(path))
    if params.bad_lines == "refuse":
        for name in found:
            _pairs.sound((found[name], problems[name]))
    splits: dict[str, list[dict]] = {"train": [], "validation": [], "test": []}
    rows = {f"{name}:{row['index']}": row for name in sorted(found) for row in _pairs.rows(found[name], left, right)}
    given = {key: split_of(key.rpartition(":")[0]) for key in rows}
    for key, split in _dealt(given, {key: row[left] for key, row in rows.items()}, params).items():
        splits[split].append(rows[key])
    return splits


def _dealt(given: dict[str, str], contents: dict[str, str], params) -> dict[str, str]:
    """``{key: split}``: the given ones if one is of training, and the others drawn from what is left for training."""
    known = given if "train" in given.values() else dict.fromkeys(given, "")
    pool = {key: contents[key] for key, split in known.items() if split in ("", "train")}
    shares = [0.0 if split in known.values() else getattr(params, split) for split in ("validation", "test")]
    return known | _image_folder.drawn(pool, *shares, params.seed)


def pictures(path: Path, params) -> dict[str, records.Rows]:
    """Pictures of the zip ``path``; ``params`` has ``size``, ``quality``, ``validation``, ``test`` and ``seed``."""
    members = archives.Members(path)
    both, _ = sides(members.names)
    with zipfile.ZipFile(path) as archive:
        contents = {e.filename: f"{e.CRC:08x} {e.file_size}" for e in archive.infolist()}
    dealt = _dealt({name: split_of(name) for name in both}, {name: contents[files[0]] for name, files in both.items()}, params)
    items = [(index, name, *files) for index, (name, files) in enumerate(both.items())]
    return {s: records.Rows([i for i in items if dealt[i[1]] == s], partial(example, members, params)) for s in ("train", "validation", "test")}


def example(members: archives.Members, params, item: tuple[int, str, str, str]) -> dict:
    """The record of one picture and its counterpart."""
    index, name, *files = item
    left, right = (images.stored(members.read(f), f"{members.path.name}, {f}", params.size, params.quality)[0] for f in files)
    return {"left": left, "right": right, "image/filename": name, "index": index}
