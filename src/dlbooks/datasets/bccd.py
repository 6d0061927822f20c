"""# BCCD: blood cells with their boxes

364 microscope pictures of stained blood smears, 640 × 480 JPEG, in which people drew boxes around red cells (RBC), white cells (WBC) and platelets.
A small set that a detector learns in minutes, and yet a real one: cells overlap, many at the border, or half hidden, have no box, and
eight pictures have a cell boxed twice. Accuracy ends well below 1.

Upstream keeps them in Pascal VOC's layout: `BCCD/JPEGImages/<name>.jpg`, `BCCD/Annotations/<name>.xml` and the splits as lists of
names in `BCCD/ImageSets/Main/{train,val,test}.txt`: 205, 87 and 72 pictures, no picture in two of them. The files hold 4,888 boxes: 4,155 RBC, 372 WBC, 361
Platelets. **Two of them, red cells in BloodImage_00338 and BloodImage_00343, have no area** (both corners are the same pixel), and a detector that divides by a
box's height meets infinity there. They are left out: 4,886 boxes, of them 4,153 RBC. All others lie inside their picture.

A record holds the picture as upstream's bytes and the boxes as [ymin, xmin, ymax, xmax] in 0 … 1. `pose` and `difficult` are the same
for all upstream, `truncated` nobody needs: none of them is kept.

The twin has 200 pictures of 160 × 120 in the same layout: 5 to 12 red cells with a pale center, up to two white cells with a nucleus of
three lobes, up to three platelets, all with their tight boxes; some overlap, some leave the picture. One red cell gets a box without
area besides its own, as upstream.
"""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import Field

from dlbooks import archives, images, records
from dlbooks.catalog import Archive, DataSet
from dlbooks.datasets import _voc
from dlbooks.datasets._drawing import cosine, sine
from dlbooks.params import DataSetParams
from dlbooks.records import Feature

DATASET = DataSet(
    id="bccd",
    title="BCCD: blood cells with their boxes",
    homepage="https://github.com/Shenggan/BCCD_Dataset",
    license="MIT",
    citation="S. Cheng: BCCD Dataset, 2017; pictures and annotations by cosmicad and akshaylamba",
    files=[
        Archive(
            urls=["https://github.com/Shenggan/BCCD_Dataset/archive/d272fb14cdff6e473fafeeeba32aba5f560e9e43.tar.gz"],
            include=["BCCD/*"],
            tree="3b1db28db9d7a990d024a116ac2a0b2f31cd4580658607f226c33030df352911",
            name="bccd.zip",
        )
    ],
)


class Params(DataSetParams):
    size: int = Field(0, ge=0, le=4096)
    """pixels of the shorter side of the pictures in the records; 0 keeps upstream's"""
    quality: int = Field(0, ge=0, le=100)
    """JPEG quality of the pictures in the records; 0 keeps upstream's bytes where they fit"""
    train: int = Field(120, ge=2, le=10_000)
    """pictures in the twin's training list"""
    validation: int = Field(40, ge=1, le=10_000)
    """pictures in the twin's validation list"""
    test: int = Field(40, ge=1, le=10_000)
    """pictures in the twin's test list"""


NAMES = ("RBC", "WBC", "Platelets")
FEATURES = {
    "image": Feature("uint8", (None, None, 3), "jpeg"),
    "image/filename": Feature("string", encoding="text"),
    "objects/bbox": Feature("float32", (None, 4)),
    "objects/label": Feature("int64", (None,), names=NAMES),
}

FILE = "bccd.zip"
SETS = {"train": "train", "validation": "val", "test": "test"}  # our name of a split, upstream's
WIDTH, HEIGHT = 160, 120  # pixels of a twin's picture
SEED = 505


# ## Reading
def examples(folder: Path, params: Params) -> dict[str, records.Rows]:
    """Upstream's three splits, in the order of its lists."""
    members = archives.Members(folder / FILE)
    splits = {}
    for split, name in SETS.items():
        path = f"BCCD/ImageSets/Main/{name}.txt"
        pictures = _voc.image_set(members.read(path), f"{FILE}, {path}")
        splits[split] = records.Rows(pictures, partial(example, members, params))
    return splits


def example(members: archives.Members, params: Params, name: str) -> dict:
    """The record of one picture; boxes without area are left out, anything else that is wrong is a ``UserError``."""
    from PIL import Image

    path = f"BCCD/JPEGImages/{name}.jpg"
    upstream = members.read(path)
    data, _ = images.stored(upstream, f"{FILE}, {path}", params.size, params.quality)
    with Image.open(io.BytesIO(upstream)) as picture:
        size = picture.size
    path = f"BCCD/Annotations/{name}.xml"
    found = _voc.read(members.read(path), f"{FILE}, {path}", NAMES, size=size, drop_empty=True)
    return {
        "image": data,
        "image/filename": f"{name}.jpg",
        "objects/bbox": found.boxes,
        "objects/label": np.array([NAMES.index(n) for n in found.names], np.int64),
    }


# ## The twin
# A cell is an ellipse of its own; where it lies is decided by its box. White cells come first, being the hardest to place,
# but they are painted over the red ones.
KINDS = {  # class: (fewest, most, mean radius, its deviation, color)
    "WBC": (0, 2, 23.0, 3.0, (190, 170, 205)),
    "RBC": (5, 12, 13.0, 1.2, (205, 120, 120)),
    "Platelets": (0, 3, 5.2, 0.8, (125, 75, 160)),
}
TRIES = 60  # places tried for a cell before it is left out
PAINTED = ("RBC", "WBC", "Platelets")


def normal(rng: np.random.Generator, shape=()) -> np.ndarray:
    """Mean 0, deviation 1, nearly Gaussian, never beyond ±3."""
    return 2 * rng.random((3, *shape)).sum(0) - 3


def cell(rng: np.random.Generator, kind: str) -> dict:
    """A cell somewhere: center and radii in pixels, turn, and its extent (left, top, right, bottom) inside the picture."""
    _, _, mean, deviation, _ = KINDS[kind]
    radius = max(mean + deviation * float(normal(rng)), mean / 2)
    stretch = 0.08 * float(normal(rng))
    stretch = (1 + stretch / 2) / (1 - stretch / 2)  # exp, nearly
    a, b = radius * stretch, radius / stretch
    turn = rng.random() / 2
    x = radius * 0.7 + (WIDTH - 1.4 * radius) * rng.random()  # up to 0.3 radii outside
    y = radius * 0.7 + (HEIGHT - 1.4 * radius) * rng.random()
    c, s = float(cosine(turn)), float(sine(turn))
    reach_x, reach_y = np.sqrt(a * a * c * c + b * b * s * s), np.sqrt(a * a * s * s + b * b * c * c)
    extent = (max(x - reach_x, 0.0), max(y - reach_y, 0.0), min(x + reach_x, WIDTH), min(y + reach_y, HEIGHT))
    return {"kind": kind, "x": x, "y": y, "a": a, "b": b, "c": c, "s": s, "extent": extent, "radius": radius}


def crowded(one: dict, other: dict) -> bool:
    """Whether two cells hide too much of the smaller one: 30 % for two red ones, 15 % otherwise."""
    (left, top, right, bottom), (left2, top2, right2, bottom2) = one["extent"], other["extent"]
    shared = max(min(right, right2) - max(left, left2), 0) * max(min(bottom, bottom2) - max(top, top2), 0)
    smaller = min((right - left) * (bottom - top), (right2 - left2) * (bottom2 - top2))
    return shared > (0.3 if one["kind"] == other["kind"] == "RBC" else 0.15) * smaller


def cover(x, y, a: float, b: float, c: float = 1.0, s: float = 0.0, soft: float = 1.0):
    """How much of each pixel at (x, y) from its center an ellipse covers; its edge is ``soft`` pixels wide."""
    across, down = (x * c + y * s) / a, (y * c - x * s) / b
    return np.clip((1 - np.sqrt(across * across + down * down)) * (min(a, b) / soft) + 0.5, 0, 1)[..., None]


def paint(picture: np.ndarray, one: dict, rng: np.random.Generator) -> None:
    """Adds a cell to the picture, in place."""
    left, top, right, bottom = one["extent"]
    window = np.s_[int(max(top - 2, 0)) : int(min(bottom + 3, HEIGHT)), int(max(left - 2, 0)) : int(min(right + 3, WIDTH))]
    y, x = np.mgrid[window]
    x, y = x + 0.5 - one["x"], y + 0.5 - one["y"]
    color = np.array(KINDS[one["kind"]][4]) + 6 * normal(rng, (3,))
    part, shape = picture[window], (one["a"], one["b"], one["c"], one["s"])
    body = cover(x, y, *shape)
    part += (color - part) * body
    if one["kind"] == "RBC":
        pale = 0.75 * cover(x, y, 0.4 * one["a"], 0.4 * one["b"], one["c"], one["s"], soft=4)
        part += ((235, 220, 205) - part) * pale
    elif one["kind"] == "WBC":
        radius, turn = one["radius"], rng.random()
        for lobe in range(3):
            away, at = 0.42 * radius, turn + lobe / 3 + 0.04 * float(normal(rng))
            nucleus = cover(x - away * float(cosine(at)), y - away * float(sine(at)), 0.5 * radius, 0.5 * radius) * body
            part += ((95, 50, 140) - part) * nucleus


def picture(number: int) -> tuple[bytes, bytes]:
    """The twin's picture of that number as JPEG, and its annotation."""
    from PIL import Image

    rng = np.random.default_rng([SEED, number])
    cells: list[dict] = []
    for kind, (fewest, most, *_) in KINDS.items():
        for _ in range(int(rng.integers(fewest, most + 1))):
            for _ in range(TRIES):
                one = cell(rng, kind)
                if not any(crowded(one, other) for other in cells):
                    cells.append(one)
                    break
    cells.sort(key=lambda one: PAINTED.index(one["kind"]))
    canvas = np.array((235.0, 220, 205)) + 8 * (2 * rng.random(3) - 1) + np.zeros((HEIGHT, WIDTH, 3))
    objects = []
    for one in cells:
        paint(canvas, one, rng)
        left, top, right, bottom = one["extent"]
        objects.append((one["kind"], (int(left + 0.5) + 1, int(top + 0.5) + 1, int(right + 0.5), int(bottom + 0.5))))
    if number == 0:
        objects.append(("RBC", (81, 61, 81, 61)))
    canvas += 7 * normal(rng, canvas.shape)
    data = io.BytesIO()
    Image.fromarray(np.rint(np.clip(canvas, 0, 255)).astype(np.uint8)).save(data, "JPEG", quality=90)
    return data.getvalue(), _voc.write(f"BloodImage_{number:05d}.jpg", WIDTH, HEIGHT, objects)


def twin(folder: Path, params: Params) -> None:
    """Draws the stand-in as the zip that ``fetch`` keeps of upstream's archive."""
    names = [f"BloodImage_{number:05d}" for number in range(params.train + params.validation + params.test)]
    drawn = [picture(number) for number in range(len(names))]
    lists = {"train": names[: params.train], "val": names[params.train : -params.test], "test": names[-params.test :]}
    lists["trainval"] = names[: -params.test]
    members = {f"BCCD/Annotations/{name}.xml": xml for name, (_, xml) in zip(names, drawn, strict=True)}
    members |= {f"BCCD/ImageSets/Main/{key}.txt": ("\n".join(found) + "\n").encode() for key, found in sorted(lists.items())}
    members |= {f"BCCD/JPEGImages/{name}.jpg": jpeg for name, (jpeg, _) in zip(names, drawn, strict=True)}
    archives.pack(folder / FILE, members)
