"""Pictures in class folders, as people keep them: the folder's name is the class.

    photos/cat/*.jpg                    photos/train/cat/*.jpg
    photos/dog/*.png          or        photos/validation/cat/*.jpg
                                        photos/test/cat/*.jpg

Folders below a class belong to it. Splits that have folders of their own (``train`` or ``training``; ``validation``, ``valid`` or ``val``; ``test`` or
``testing``) stay as they are. The others are drawn class by class, by a hash of seed and content: the same bytes under two names never stand in two
splits, and every class is in ``train``. Of a class of n different pictures each of validation and test gets its share, rounded, and at least one where
n > 2; with n = 2 only test gets one; with n = 1 the class is in ``train`` alone. A split may be empty.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path, PurePosixPath

from dlbooks import UserError, archives, images, records
from dlbooks.records import Feature

SPLITS = {"train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation"} | {
    "test": "test",
    "testing": "test",
}


def features(names: tuple[str, ...]) -> dict[str, Feature]:
    """Picture, its path, class and place in the sorted list of all pictures."""
    return {
        "image": Feature("uint8", (None, None, 3), "jpeg"),
        "image/filename": Feature("string", encoding="text"),
        "label": Feature(names=names),
        "index": Feature("int64"),
    }


def places(paths: Iterable[str]) -> dict[str, tuple[str, str]]:
    """``{path: (split, class)}`` of relative paths; the split is empty where it is to be drawn, the class where a picture lies in no class folder.

    The first folders are splits if all of them have a split's name, one of them is ``train``, and none of their pictures lies without a class.
    """
    parts = {path: PurePosixPath(path).parts for path in paths}
    firsts = {p[0] for p in parts.values() if len(p) > 1}
    divided = firsts <= SPLITS.keys() and "train" in {SPLITS[f] for f in firsts} and all(len(p) > 2 for p in parts.values())
    if divided:
        return {path: (SPLITS[p[0]], p[1]) for path, p in parts.items()}
    return {path: ("", p[0] if len(p) > 1 else "") for path, p in parts.items()}


def drawn(contents: dict[str, str], validation: float, test: float, seed: int) -> dict[str, str]:
    """``{path: split}`` for the pictures of one class, from ``{path: fingerprint of its content}`` and the shares of two splits."""
    ranked = sorted(set(contents.values()), key=lambda content: hashlib.sha256(f"{seed}/{content}".encode()).digest())
    count = len(ranked)
    tested = min(max(1, round(count * test)), count - 1) if test and count > 1 else 0
    checked = min(max(1, round(count * validation)), count - tested - 1) if validation and count > 1 else 0
    split = {c: "test" if k < tested else "validation" if k < tested + checked else "train" for k, c in enumerate(ranked)}
    return {path: split[content] for path, content in contents.items()}


def divide(contents: dict[str, str], validation: float, test: float, seed: int) -> dict[str, tuple[str, str]]:
    """``{path: (split, class)}`` of all pictures, sorted by path: the folder's own splits, and what it lacks drawn from its training pictures."""
    found = places(sorted(contents))
    given = {split for split, _ in found.values()}
    shares = {"validation": 0.0 if "validation" in given else validation, "test": 0.0 if "test" in given else test}
    for name in sorted({label for _, label in found.values()}):
        rows = {p: contents[p] for p, (split, label) in found.items() if label == name and split in ("", "train")}
        found |= {path: (split, name) for path, split in drawn(rows, **shares, seed=seed).items()}
    return found


def examples(path: Path, params, names: tuple[str, ...]) -> dict[str, records.Rows]:
    """The splits of the zip ``path``; ``params`` has ``size``, ``quality``, ``validation``, ``test`` and ``seed``."""
    members = archives.Members(path)
    with zipfile.ZipFile(path) as archive:  # the directory holds a fingerprint of every picture: none is read for this
        contents = {e.filename: f"{e.CRC:08x} {e.file_size}" for e in archive.infolist()}
    rows: dict[str, list[tuple[int, str, int]]] = {"train": [], "validation": [], "test": []}
    for index, (name, (split, label)) in enumerate(divide(contents, params.validation, params.test, params.seed).items()):
        if label not in names:
            raise UserError(f"{path.name}, {name}: unknown class {label!r}; known are {', '.join(names)}")
        rows[split].append((index, name, names.index(label)))
    return {split: records.Rows(items, partial(example, members, params)) for split, items in rows.items()}


def example(members: archives.Members, params, item: tuple[int, str, int]) -> dict:
    """The record of one picture."""
    index, name, label = item
    data, _ = images.stored(members.read(name), f"{members.path.name}, {name}", params.size, params.quality)
    return {"image": data, "image/filename": name, "label": label, "index": index}
