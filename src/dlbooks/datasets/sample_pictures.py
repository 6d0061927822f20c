"""# Sample pictures: two photographs and three letter cards

For labs that need a picture rather than a data set. `china.jpg` and `flower.jpg` (640 × 427) come out of the installed scikit-learn package,
so no download is needed; they stand in for the books' own unpublished photographs. Three cards of 96 × 96, `A.jpg` on red, `B.jpg` on green and
`C.jpg` on blue, are drawn: the color alone tells which file a record came from.

The twin draws two scenes of 320 × 213 in place of the photographs: sky, rectangles, discs, a checkerboard and a little noise.
Raw format: JPEG files. One split, `train`, one record per file.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dlbooks import UserError, images
from dlbooks.catalog import DataSet, Source
from dlbooks.datasets._drawing import arc, distance, segments
from dlbooks.params import DataSetParams
from dlbooks.records import Feature

DATASET = DataSet(
    id="sample-pictures",
    title="Two photographs of scikit-learn and three letter cards",
    homepage="https://scikit-learn.org/stable/modules/generated/sklearn.datasets.load_sample_images.html",
    license="CC BY 2.0",
    citation="china.jpg by danielbuechele, flower.jpg by vultilion, both on Flickr",
    files=[
        Source(urls=[], sha256="8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29", name="china.jpg"),
        Source(urls=[], sha256="a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638", name="flower.jpg"),
    ],
)


class Params(DataSetParams):
    pass


FEATURES = {"image": Feature("uint8", (None, None, 3), "jpeg"), "image/filename": Feature("string", encoding="text")}

CARDS = {
    "A": segments([(0.2, 0.9), (0.5, 0.1), (0.8, 0.9)], [(0.31, 0.6), (0.69, 0.6)]),
    "B": segments(
        [(0.25, 0.1), *arc(0.55, 0.29, 0.19, 0.19, -90, 90), (0.25, 0.48)],
        [(0.25, 0.1), (0.25, 0.9), *arc(0.56, 0.69, 0.22, 0.21, 90, -90)],
    ),
    "C": segments(arc(0.53, 0.5, 0.31, 0.4, 45, 315, 24)),
}


def _save(path: Path, picture: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(np.rint(picture).astype(np.uint8)).save(path, quality=95)


def draw_cards(folder: Path) -> None:
    """``A.jpg``, ``B.jpg``, ``C.jpg``: a white letter on red, green, blue."""
    for channel, (letter, shape) in enumerate(CARDS.items()):
        white = np.clip(6.5 - distance(shape[None] * 76 + 10, 96, 96)[0], 0, 1)[..., None]
        ground = np.where(np.arange(3) == channel, 200, 30)
        _save(folder / f"{letter}.jpg", ground + (255 - ground) * white)


def draw_scene(seed: int) -> np.ndarray:
    """A picture ``[213, 320, 3]``: sky gradient, 6 rectangles, 5 discs, a checkerboard of 8-pixel squares, 2 % noise."""
    rng = np.random.default_rng(seed)
    y, x = np.arange(213)[:, None], np.arange(320)
    top, bottom = rng.uniform((40, 90, 180), (90, 150, 230)), rng.uniform((190, 200, 220), 250)
    picture = top + (bottom - top) * (y / 212)[..., None] * np.ones((1, 320, 1))
    for slot in range(6):
        left, up, width, height = rng.integers((52 * slot + 2, 95, 30, 40), (52 * slot + 14, 150, 44, 100))
        picture[up : up + height, left : left + width] = rng.uniform(20, 235, 3)
    for slot in range(5):
        column, row, radius = rng.integers((64 * slot + 20, 20, 9), (64 * slot + 44, 75, 26))
        picture[(x - column) ** 2 + (y - row) ** 2 < radius**2] = rng.uniform(20, 235, 3)
    row, column = rng.integers((120, 10), (145, 230))
    picture[row : row + 64, column : column + 80] = np.where(((y[:64] // 8 + x[:80] // 8) % 2)[..., None], 225, 30)
    return np.clip(picture + 255 * rng.uniform(-0.02, 0.02, picture.shape), 0, 255)


def twin(folder: Path, params: Params) -> None:
    """Draws all five files."""
    for name, seed in (("china", 1), ("flower", 2)):
        _save(folder / f"{name}.jpg", draw_scene(seed))
    draw_cards(folder)


def fetch(folder: Path, params: Params) -> None:
    """Copies the photographs with their credits out of scikit-learn and draws the cards."""
    package = importlib.util.find_spec("sklearn")  # found, not imported: that takes seconds
    if package is None:
        raise UserError("scikit-learn is not installed: sample-pictures copies its photographs")
    source = Path(package.origin).parent / "datasets" / "images"
    for file in DATASET.files:
        path = source / file.name
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "no such file"
        if found != file.sha256:
            raise UserError(f"{path}: expected SHA-256 {file.sha256}, found {found}; install scikit-learn anew")
        shutil.copy(path, folder)
    shutil.copy(source / "README.txt", folder)
    draw_cards(folder)


def examples(folder: Path, params: Params) -> dict[str, Iterator[dict]]:
    """Every JPEG file of the folder, decoded once to be sure that it can be."""

    def items() -> Iterator[dict]:
        for path in sorted(folder.glob("*.jpg")):
            images.read(path)
            yield {"image": path.read_bytes(), "image/filename": path.name}

    return {"train": items()}
