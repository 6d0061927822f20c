"""Records as files that other tools read: a folder of pictures, CSV, Parquet, plain text."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from dlbooks import UserError, cards, catalog, runtime
from dlbooks.features import Feature
from dlbooks.records import Records

FORMS = ("image-folder", "text", "csv", "parquet")  # the first that fits is the default
BATCH = 1024  # rows read, and written to Parquet, at a time
SUFFIXES = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"GI": ".gif", b"BM": ".bmp"}


def export(name: str, to: Path, form: str = "", splits: list[str] | None = None, data: Path | None = None) -> list[Path]:
    """Writes the records of a data set into the folder ``to``, which must not exist or be empty; returns the files at its top.

    It appears whole or not at all. A form that does not fit the data set is refused, with those that do. ``data`` is the folder ``data/``.
    """
    dataset = catalog.dataset(name).declaration
    records = Records((data or runtime.root() / "data") / "tfrecords" / dataset.id)
    features, known = records.features, records.info["splits"]
    for split in splits or []:
        if split not in known:
            raise UserError(f"{name} has no split {split!r}: it has {', '.join(known)}")
    reasons = {f: misfit(features, f) for f in FORMS}
    fitting = [f for f, reason in reasons.items() if not reason]
    if form and form not in FORMS:
        raise UserError(f"format {form!r} is unknown: {name} fits {' or '.join(fitting)}")
    form = form or fitting[0]
    if reasons[form]:
        raise UserError(f"{name} does not fit the format {form}: {reasons[form]}; {' or '.join(fitting)} would")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"{to} is not an empty folder: name one that does not exist yet")
    to.parent.mkdir(parents=True, exist_ok=True)
    runtime.load_tensorflow()
    temporary = Path(tempfile.mkdtemp(prefix=f".{to.name}-", dir=to.parent))
    try:
        for split in dict.fromkeys(splits or known):
            _WRITERS[form](temporary, split, features, _rows(records, split, f"{name} {split}"))
        temporary.chmod(0o755)  # a temporary folder is its owner's alone
        os.replace(temporary, to)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    found = sorted(to.iterdir())
    print(f"{name}: {', '.join(p.name for p in found)} in {to}")
    return found


def misfit(features: dict[str, Feature], form: str) -> str:
    """Why a schema does not fit a format; empty if it does."""
    pictures, texts = cards.picture_names(features), cards.text_names(features)
    if form == "parquet":
        return ""
    if form == "image-folder":
        return "" if len(pictures) == 1 else f"it has {len(pictures)} pictures per example" if pictures else "it has no pictures"
    if form == "text":
        lost = [n for n, f in features.items() if n not in texts and (f.shape or f.encoding == "text" or f.dtype.startswith("float"))]
        return f"{lost[0]} would be lost" if lost else "" if texts else "it has no text"
    if _is_series(features) or (pictures and _has_boxes(features)):
        return ""
    wrong = [n for n, f in features.items() if f.shape]
    return f"{wrong[0]} is {cards.describe(features[wrong[0]])}, no single value" if wrong else ""


def _is_series(features: dict[str, Feature]) -> bool:
    return {"name", "times", "values"} <= set(features)


def _has_boxes(features: dict[str, Feature]) -> bool:
    return {"objects/bbox", "objects/label"} <= set(features)


def _rows(records: Records, split: str, label: str) -> Iterator[dict]:
    """The examples of a split in the order of its files, one after the other, with a progress bar."""
    import tensorflow as tf
    from tqdm import tqdm

    from dlbooks.features import to_numpy

    features = records.features
    with tqdm(total=records.count(split), desc=label, unit="", leave=False, disable=None) as bar:
        try:
            for batch in records.batches(split, BATCH):
                columns = {n: to_numpy(v, features[n]) for n, v in batch.items()}
                size = len(next(iter(columns.values())))
                for index in range(size):
                    yield {n: cards.plain(column[index], features[n]) for n, column in columns.items()}
                bar.update(size)
        except tf.errors.OpError:
            raise records.damage(split) from None


# ── pictures ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def image_folder(folder: Path, split: str, features: dict[str, Feature], rows: Iterator[dict]) -> None:
    """``<split>/<class>/<name>.jpg|png``, without the class where there are no labels; boxes in ``<split>/boxes.csv``."""
    picture = cards.picture_names(features)[0]
    label = next((n for n, f in features.items() if f.names and not f.shape), None)
    places = _folders(features[label].names) if label else [""]
    taken: set[str] = set()
    boxes = []
    for number, row in enumerate(rows):
        data = row[picture] if isinstance(row[picture], bytes) else _png(row[picture])
        stem = _safe(Path(str(row.get("image/filename", ""))).stem) or f"{int(row.get('index', number)):06d}"
        place = places[int(row[label])] if label else ""
        suffix = SUFFIXES.get(data[:2], ".png")
        # Names may differ in their folder or in the case of a letter only: then the number of the row makes them unique.
        path = f"{place}/{stem}{suffix}" if place else f"{stem}{suffix}"
        if path.lower() in taken:
            path = path.removesuffix(suffix) + f"-{number:06d}{suffix}"
        taken.add(path.lower())
        target = folder / split / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        if _has_boxes(features):
            boxes += _boxes(path, data, row, features["objects/label"].names)
    if _has_boxes(features) and taken:
        _csv(folder / split / "boxes.csv", BOXES, iter(boxes))


BOXES = ("file", "width", "height", "class", "xmin", "ymin", "xmax", "ymax")


def _boxes(path: str, data: bytes, row: dict, names: tuple[str, ...]) -> Iterator[tuple]:
    """One line per box: continuous edges in pixels, 0 is the left or upper edge of the picture."""
    from dlbooks.statistics import size_of

    width, height = size_of(data) or cards.pixels(data).shape[1::-1]
    for box, label in zip(row["objects/bbox"].astype(np.float64), row["objects/label"], strict=True):
        edges = (round(v * side, 3) for v, side in zip(box[[1, 0, 3, 2]], (width, height, width, height), strict=True))
        yield (path, width, height, names[int(label)], *(f"{e:g}" for e in edges))


def _png(picture: np.ndarray) -> bytes:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(cards.pixels(picture)).save(data, "PNG")
    return data.getvalue()


def _safe(name: str) -> str:
    """A name for a file or folder on any system: what is special there becomes ``_``."""
    return re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name).strip(" .")


def _folders(names: tuple[str, ...]) -> list[str]:
    """Folder names of classes; two that would share one are a ``UserError``."""
    found = [_safe(name) or "_" for name in names]
    for index, name in enumerate(found):
        if name.lower() in (n.lower() for n in found[:index]):
            first = next(n for n, f in zip(names, found, strict=True) if f.lower() == name.lower())
            raise UserError(f"classes {first!r} and {names[index]!r} would share the folder {name!r}: parquet keeps them apart")
    return found


# ── tables and texts ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def comma_separated(folder: Path, split: str, features: dict[str, Feature], rows: Iterator[dict]) -> None:
    """``<split>.csv`` of scalars and texts; a series as ``<split>/<name>.csv`` of time and values; of pictures their boxes alone."""
    if _is_series(features):
        (folder / split).mkdir()
        for row in rows:
            values = row["values"].reshape(len(row["times"]), -1)
            header = ["time", *(f"v{k + 1}" for k in range(values.shape[1]))] if values.shape[1] > 1 else ["time", "value"]
            lines = ([str(t), *(_cell(v) for v in line)] for t, line in zip(row["times"].tolist(), values, strict=True))
            _csv(folder / split / f"{_safe(row['name'])}.csv", header, lines)
    elif _has_boxes(features):
        picture = cards.picture_names(features)[0]
        named = ((str(row.get("image/filename") or f"{number:06d}"), row) for number, row in enumerate(rows))
        lines = (line for name, row in named for line in _boxes(name, row[picture], row, features["objects/label"].names))
        _csv(folder / f"{split}.csv", BOXES, lines)
    else:
        lines = ([features[n].names[int(row[n])] if features[n].names else _cell(row[n]) for n in features] for row in rows)
        _csv(folder / f"{split}.csv", list(features), lines)


def _cell(value) -> str:
    """A number in its shortest form that reads back the same, NaN as an empty cell; texts as they are."""
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else str(value)
    return str(value)


def _csv(path: Path, header, lines: Iterator) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(lines)


def text(folder: Path, split: str, features: dict[str, Feature], rows: Iterator[dict]) -> None:
    """``<split>.txt`` of the only text; of several ``<split>.<feature>`` each (``train.en``, ``train.de``), whose lines belong together."""
    names = [n for n in cards.text_names(features) if not features[n].names]
    labels = [n for n, f in features.items() if f.names]
    names = [*names, *labels] if labels else names
    paths = {n: f"{split}.{n.replace('/', '-')}" if len(names) > 1 else f"{split}.txt" for n in names}
    files = {n: open(folder / path, "w", encoding="utf-8", newline="") for n, path in paths.items()}
    try:
        for number, row in enumerate(rows):
            for name, file in files.items():
                value = row[name] if isinstance(row[name], str) else cards.words(row[name], features[name])
                if len(names) > 1 and "\n" in value.rstrip("\n"):
                    raise UserError(f"{split}, item {number}: {name} holds a line break, so lines would not belong together: parquet keeps it")
                file.write(value if value.endswith("\n") else value + "\n")
    finally:
        for file in files.values():
            file.close()


def parquet(folder: Path, split: str, features: dict[str, Feature], rows: Iterator[dict]) -> None:
    """``<split>.parquet``: class labels as their names, pictures as bytes of JPEG or PNG, arrays as lists."""
    import itertools

    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    pictures = cards.picture_names(features)
    types = {n: pa.binary() if n in pictures else _arrow(f) for n, f in features.items()}
    schema = pa.schema(list(types.items()))
    with ParquetWriter(folder / f"{split}.parquet", schema) as writer:
        while chunk := list(itertools.islice(rows, BATCH)):
            columns = [[_entry(row[n], features[n], n in pictures) for row in chunk] for n in features]
            writer.write_table(pa.table([pa.array(c, types[n]) for n, c in zip(features, columns, strict=True)], schema=schema))


def _arrow(feature: Feature):
    """The type of a column."""
    import pyarrow as pa

    inner = pa.string() if feature.names or feature.encoding == "text" else pa.from_numpy_dtype(np.dtype(feature.dtype))
    for size in reversed(feature.shape):
        inner = pa.list_(inner) if size is None else pa.list_(inner, size)
    return inner


def _entry(value, feature: Feature, picture: bool):
    if picture:
        return value if isinstance(value, bytes) else _png(value)
    if feature.names:
        return [feature.names[int(k)] for k in value] if feature.shape else feature.names[int(value)]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


_WRITERS: dict[str, Callable] = {"image-folder": image_folder, "csv": comma_separated, "text": text, "parquet": parquet}
