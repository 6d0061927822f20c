"""# Satellite tiles in six classes (B1 3.3)

Six thousand map tiles, 256 × 256 RGB JPEG: glacier, rock, urban, water, wetland and wood, 800 for training and 200 for validation each. They come
with B1's own code as `chapter_3/data_prepare/pic/{train,validation}/<class>/<x>_<y>_18.jpg`; x and y are the tile's place on the map. The tiles carry a
watermark and no license: they are fetched, never passed on.

**The split leaks.** Neighboring tiles look alike, and of the 1,200 validation tiles 986 have a training tile within 16 steps: the nearest training
tile *on the map*, no pixel seen, has the right class for 0.887 of them, more than the book's network. Besides the book's split (`book`: its
validation tiles are our test set, a tenth of its training tiles our validation set) there is `blocked`: whole squares of 256 × 256 map positions go
to one side by a hash, so that no test tile has a neighbor in training. One picture (`76112_99580_18.jpg`) lies in two classes upstream; it stays.

**The twin** draws tiles of 64 × 64 in 24 areas, four per class. The tiles of an area share tint and brightness, the class shows in the texture, and
most tiles hold a piece of another class at their edge. The label is the class at the center.
"""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from dlbooks import UserError, images
from dlbooks.archives import Members, pack
from dlbooks.catalog import Archive, DataSet
from dlbooks.datasets._drawing import cosine, sine, uniform
from dlbooks.params import DataSetParams
from dlbooks.records import Feature, Rows

DATASET = DataSet(
    id="satellite",
    title="Satellite tiles in six classes",
    homepage="https://github.com/hzy46/Deep-Learning-21-Examples",
    license="not stated; tiles are watermarked, for local runs only",
    citation="He Zhiyuan: 21 Deep Learning Projects, chapter 3, 2018",
    files=[
        Archive(
            urls=["https://github.com/hzy46/Deep-Learning-21-Examples/archive/15c2d9edccad090cd67b033f24a43c544e5cba3e.tar.gz"],
            include=["chapter_3/data_prepare/pic/*.jpg"],
            tree="6500bd78c94a501f194bd0efd739b061a0e60337ec0eca31eef8ccb7e8f6a35b",
            name="satellite.zip",
        )
    ],
)


class Params(DataSetParams):
    split: Literal["book", "blocked"] = "book"
    """`book` as upstream has it, or `blocked`: whole squares of the map in one split"""
    train: int = Field(60, ge=10, le=800)
    """tiles per class in the twin's training folders"""
    validation: int = Field(20, ge=2, le=200)
    """tiles per class in the twin's validation folders"""
    size: int = Field(0, ge=0, le=4096)
    """pixels of the shorter side that larger tiles are shrunk to; 0 keeps upstream's size"""
    quality: int = Field(0, ge=0, le=100)
    """JPEG quality of tiles that are encoded again; 0 keeps upstream's bytes"""


NAMES = ("glacier", "rock", "urban", "water", "wetland", "wood")
FEATURES = {
    "image": Feature("uint8", (None, None, 3), "jpeg"),
    "image/filename": Feature("string", encoding="text"),
    "label": Feature(names=NAMES),
    "tile_x": Feature("int64"),
    "tile_y": Feature("int64"),
}

TOP = "chapter_3/data_prepare/pic"
BLOCK = 256  # map positions along a side of a block
SIDE = 64  # pixels of a twin's tile
SEED = 331


def examples(folder: Path, params: Params) -> dict[str, Rows]:
    """Splits ``train``, ``validation`` and ``test`` from the zip; a file that fits no pattern is named."""
    archive = Members(folder / "satellite.zip")
    chosen: dict[str, list[tuple[str, int, int, int]]] = {"train": [], "validation": [], "test": []}
    for name in sorted(archive.names):
        match = re.fullmatch(rf"{TOP}/(train|validation)/(\w+)/(\d+)_(\d+)_\d+\.jpg", name)
        if not match or match[2] not in NAMES:
            raise UserError(f"{archive.path}: {name!r} is not {TOP}/train|validation/<{'|'.join(NAMES)}>/<x>_<y>_<zoom>.jpg")
        x, y = int(match[3]), int(match[4])
        if params.split == "blocked":
            share = _share(f"{x // BLOCK} {y // BLOCK}")
            side = "train" if share < 0.7 else "validation" if share < 0.8 else "test"
        else:
            side = "test" if match[1] == "validation" else "validation" if _share(name) < 0.1 else "train"
        chosen[side].append((name, NAMES.index(match[2]), x, y))

    def make(row: tuple[str, int, int, int]) -> dict:
        name, label, x, y = row
        data = archive.read(name)
        if not data.startswith(b"\xff\xd8"):
            raise UserError(f"{archive.path}: {name} is no JPEG picture")
        picture, _ = images.stored(data, f"{archive.path}: {name}", params.size, params.quality)
        return {"image": picture, "image/filename": name.removeprefix(TOP + "/"), "label": label, "tile_x": x, "tile_y": y}

    return {side: Rows(rows, make) for side, rows in chosen.items()}


def _share(text: str) -> float:
    """A number in 0 … 1 that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


# ## The twin


def smooth(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Noise in −1 … 1, ``[SIDE, SIDE]``: a coarse random grid of ``cells`` cells, interpolated bilinearly."""
    coarse = rng.random((cells + 1, cells + 1)) * 2 - 1
    at = np.arange(SIDE) * (cells / SIDE)
    low = at.astype(int)
    part = at - low
    rows = coarse[low] + (coarse[low + 1] - coarse[low]) * part[:, None]
    return rows[:, low] + (rows[:, low + 1] - rows[:, low]) * part


def texture(label: int, rng: np.random.Generator) -> np.ndarray:
    """Ground of one class, float64 ``[SIDE, SIDE, 3]``."""
    name = NAMES[label]
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    turn, pitch, phase = (c[0] for c in uniform(rng, 1, (0, 1), (7, 12), (0, 1)))
    u, v = x * cosine(turn) + y * sine(turn), y * cosine(turn) - x * sine(turn)

    def paint(color, shade):
        return np.array(color, np.float64) + np.asarray(shade)[..., None]

    if name == "glacier":
        crack = np.abs(smooth(rng, 5)) < 0.04
        return paint((212, 220, 228), 24 * smooth(rng, 8)) * np.where(crack, 0.55, 1.0)[..., None]
    if name == "rock":
        octaves = sum(smooth(rng, 4 * 2**k) / 1.6**k for k in range(4))
        return paint((122, 98, 74), 32 * octaves)
    if name == "urban":
        row, column = np.floor(u / pitch).astype(int) + 64, np.floor(v / pitch).astype(int) + 64
        roofs = rng.random((160, 160))[row, column]
        street = (u / pitch - np.floor(u / pitch) < 0.25) | (v / pitch - np.floor(v / pitch) < 0.25)
        return paint((0, 0, 0), np.where(street, 92, 105 + 125 * roofs))
    if name == "water":
        return paint((26, 56, 96), 5 * sine(u / pitch + phase) + 4 * smooth(rng, 3))
    if name == "wetland":
        wet = np.clip(smooth(rng, 7) * 2.5 + 0.5, 0, 1)[..., None]
        return wet * np.array((38.0, 62, 84)) + (1 - wet) * paint((88, 112, 62), 14 * smooth(rng, 12))
    return paint((34, 74, 36), 26 * smooth(rng, 30) + 12 * smooth(rng, 16))


def tile(label: int, area: dict, rng: np.random.Generator) -> bytes:
    """One JPEG tile of an area: its class in the middle, perhaps others at the edges."""
    from PIL import Image

    picture = texture(label, rng)
    mixed, turn, reach, contrast, noise = (c[0] for c in uniform(rng, 1, (0, 1), (0, 1), (2, 26), (0.55, 1), (3, 12)))
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    for number in range(0 if mixed > 0.7 else 1 if mixed > 0.35 else 2):
        side = x * cosine(turn + 0.5 * number) + y * sine(turn + 0.5 * number) > reach
        picture = np.where(side[..., None], texture(int(rng.integers(6)), rng), picture)
    picture = (110 + (picture - 110) * contrast) * area["brightness"] + area["tint"]
    grain = 2 * rng.random((3, SIDE, SIDE, 1)).sum(0) - 3  # mean 0, deviation 1, nearly Gaussian
    data = io.BytesIO()
    Image.fromarray(np.rint(np.clip(picture + noise * grain, 0, 255)).astype(np.uint8)).save(data, "JPEG", quality=85)
    return data.getvalue()


def twin(folder: Path, params: Params) -> None:
    """Draws the stand-in as the zip that ``fetch`` keeps of upstream's archive."""
    rng = np.random.default_rng(SEED)
    areas = [
        {"brightness": uniform(rng, 1, (0.75, 1.2))[0][0], "tint": 15 * (2 * rng.random((3, 3)).sum(0) - 3), "x": 1000 * k, "y": 700 * k}
        for k in range(24)
    ]
    members = {}
    for side, count in (("train", params.train), ("validation", params.validation)):
        for label, name in enumerate(NAMES):
            for number in range(count):
                place = label + 6 * (number % 4)
                x, y = areas[place]["x"] + 2 * (number // 4) + (side == "validation"), areas[place]["y"] + int(rng.integers(200))
                members[f"{TOP}/{side}/{name}/{x}_{y}_18.jpg"] = tile(label, areas[place], rng)
    pack(folder / "satellite.zip", members)
