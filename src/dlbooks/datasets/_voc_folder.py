"""A person's pictures with boxes in Pascal VOC's layout, see `_voc.py`: XML files beside the pictures, or in ``Annotations`` beside ``JPEGImages``.

A picture and its annotation share the name without suffix. Lists ``ImageSets/Main/{train,val,test}.txt`` are the splits if there is one of training; other
pictures, and everything without such lists, are dealt by a hash of seed and content as in `_image_folder.py`.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from dlbooks import UserError, archives, images, records
from dlbooks.datasets import _image_folder, _voc
from dlbooks.records import Feature

LISTS = {"train": "train", "val": "validation", "test": "test"}  # names of VOC's lists → ours


def features(names: tuple[str, ...]) -> dict[str, Feature]:
    """Picture, its path, boxes [ymin, xmin, ymax, xmax] in 0 … 1 and their classes."""
    return {
        "image": Feature("uint8", (None, None, 3), "jpeg"),
        "image/filename": Feature("string", encoding="text"),
        "objects/bbox": Feature("float32", (None, 4)),
        "objects/label": Feature("int64", (None,), names=names),
    }


def pairs(paths: Iterable[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """``{picture: annotation}``, pictures without an annotation, annotations without a picture; two pictures of one name count as having none."""
    pictures: dict[str, list[str]] = {}
    notes: dict[str, str] = {}
    for path in sorted(paths):
        place = PurePosixPath(path)
        if place.suffix.lower() == ".xml":
            notes[place.stem] = path
        elif place.suffix.lower() in images.SUFFIXES:
            pictures.setdefault(place.stem, []).append(path)
    whole = {found[0]: notes[stem] for stem, found in pictures.items() if stem in notes and len(found) == 1}
    alone = [path for found in pictures.values() for path in found if path not in whole]
    return whole, alone, [path for path in notes.values() if path not in whole.values()]


def lists(paths: Iterable[str]) -> dict[str, str]:
    """``{path of a list: split}``."""
    found = {p: PurePosixPath(p) for p in paths}
    return {path: LISTS[p.stem] for path, p in found.items() if p.parts[-3:-1] == ("ImageSets", "Main") and p.suffix == ".txt" and p.stem in LISTS}


def picture_size(data: bytes, where: str) -> tuple[int, int]:
    """Width and height in pixels of an upright picture."""
    from PIL import Image

    data, _ = images.stored(data, where)
    with Image.open(io.BytesIO(data)) as picture:
        return picture.size


def examples(path: Path, params, names: tuple[str, ...], origin: int) -> dict[str, records.Rows]:
    """The splits of the zip ``path``; ``params`` has ``size``, ``quality``, ``validation``, ``test`` and ``seed``."""
    members = archives.Members(path)
    whole, alone, orphans = pairs(members.names)
    if lost := [*alone, *orphans]:
        raise UserError(f"{path.name}: {lost[0]} has no partner of the same name")
    given: dict[str, str] = {}
    for name, split in lists(members.names).items():
        given |= dict.fromkeys(_voc.image_set(members.read(name), f"{path.name}, {name}"), split)
    with zipfile.ZipFile(path) as archive:
        contents = {e.filename: f"{e.CRC:08x} {e.file_size}" for e in archive.infolist()}
    known = {p: given[PurePosixPath(p).stem] for p in whole if PurePosixPath(p).stem in given} if "train" in given.values() else {}
    shares = [0.0 if split in known.values() else getattr(params, split) for split in ("validation", "test")]
    pool = {p: contents[p] for p in whole if known.get(p, "train") == "train"}
    split_of = known | _image_folder.drawn(pool, *shares, params.seed)
    make = partial(example, members, params, names, origin)
    return {s: records.Rows([(p, x) for p, x in whole.items() if split_of[p] == s], make) for s in ("train", "validation", "test")}


def example(members: archives.Members, params, names: tuple[str, ...], origin: int, item: tuple[str, str]) -> dict:
    """The record of one picture."""
    picture, note = item
    where = f"{members.path.name}, {picture}"
    source = members.read(picture)
    found = _voc.read(members.read(note), f"{members.path.name}, {note}", names, size=picture_size(source, where), origin=origin, drop_empty=True)
    data, _ = images.stored(source, where, params.size, params.quality)
    labels = np.array([names.index(n) for n in found.names], np.int64)
    return {"image": data, "image/filename": picture, "objects/bbox": found.boxes, "objects/label": labels}
