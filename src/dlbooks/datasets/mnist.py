"""# MNIST: handwritten digits

70,000 digits of 28 × 28 gray pixels by LeCun, Cortes and Burges, cut from NIST's forms: 0 is background, 255 is ink. Upstream
publishes four gzipped IDX files (`_idx.py`). As in the books, the first 5,000 of the 60,000 training items are the validation set, which leaves
55,000 for training; 10,000 are the test set.

The twin draws each digit as lines and arcs in the unit box, then scales, shears, rotates, bends and shifts it and strokes it with a
pen of random width and ink: 2,500 + 500 digits, the first 500 of the training file for validation. Like real digits, linear models get
nine in ten of them right, convolutional networks nearly all.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field

from dlbooks.catalog import DataSet, Source
from dlbooks.datasets import _idx
from dlbooks.datasets._drawing import arc, cosine, distance, segments, sine, uniform
from dlbooks.params import DataSetParams
from dlbooks.records import Feature

DATASET = DataSet(
    id="mnist",
    title="MNIST handwritten digits",
    homepage="https://yann.lecun.com/exdb/mnist/",
    license="CC BY-SA 3.0",
    citation="Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database of handwritten digits, 1998",
    files=[
        Source(
            urls=["https://storage.googleapis.com/cvdf-datasets/mnist/train-images-idx3-ubyte.gz"],
            sha256="440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            name="train-images-idx3-ubyte.gz",
        ),
        Source(
            urls=["https://storage.googleapis.com/cvdf-datasets/mnist/train-labels-idx1-ubyte.gz"],
            sha256="3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            name="train-labels-idx1-ubyte.gz",
        ),
        Source(
            urls=["https://storage.googleapis.com/cvdf-datasets/mnist/t10k-images-idx3-ubyte.gz"],
            sha256="8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            name="t10k-images-idx3-ubyte.gz",
        ),
        Source(
            urls=["https://storage.googleapis.com/cvdf-datasets/mnist/t10k-labels-idx1-ubyte.gz"],
            sha256="f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            name="t10k-labels-idx1-ubyte.gz",
        ),
    ],
)


class Params(DataSetParams):
    validation: int = Field(500, ge=1, le=30_000)
    """items at the front of the training file that become the validation split"""
    train: int = Field(2_500, ge=20, le=60_000)
    """items of the twin's training file, validation included"""
    test: int = Field(500, ge=10, le=10_000)
    """items of the twin's test file"""


NAMES = tuple("0123456789")
FEATURES = {"image": Feature("uint8", (28, 28, 1)), "label": Feature(names=NAMES), "index": Feature("int64")}

SEED = 28
SHAPES = [  # each digit's two ways to be written: polylines in the unit box, y pointing down
    (segments(arc(0.5, 0.5, 0.28, 0.42, pieces=18)),) * 2,
    (segments([(0.5, 0.08), (0.5, 0.92)], pieces=4), segments([(0.34, 0.26), (0.5, 0.08), (0.5, 0.92)], pieces=4)),
    (segments([*arc(0.5, 0.3, 0.26, 0.22, 190, 380, 10), (0.25, 0.9), (0.78, 0.9)], pieces=2),) * 2,
    (segments(arc(0.48, 0.29, 0.24, 0.21, 200, 440), arc(0.48, 0.71, 0.27, 0.22, -80, 160)),) * 2,
    (
        segments([(0.6, 0.92), (0.6, 0.08), (0.2, 0.62), (0.8, 0.62)], pieces=4),
        segments([(0.3, 0.1), (0.22, 0.58), (0.8, 0.58)], [(0.66, 0.12), (0.6, 0.92)], pieces=4),
    ),
    (segments([(0.75, 0.1), (0.32, 0.1), (0.3, 0.45), *arc(0.48, 0.66, 0.26, 0.24, -120, 150, 12)], pieces=2),) * 2,
    (segments(arc(0.75, 0.55, 0.48, 0.46, -100, -180, 8), arc(0.5, 0.68, 0.24, 0.24)),) * 2,
    (
        segments([(0.22, 0.1), (0.78, 0.1), (0.42, 0.92)], pieces=4),
        segments([(0.22, 0.1), (0.78, 0.1), (0.42, 0.92)], [(0.36, 0.52), (0.74, 0.52)], pieces=4),
    ),
    (segments(arc(0.5, 0.29, 0.21, 0.2), arc(0.5, 0.71, 0.25, 0.22)),) * 2,
    (segments(arc(0.48, 0.32, 0.24, 0.24), [(0.72, 0.32), (0.62, 0.92)], pieces=2),) * 2,
]


def draw(count: int, stream: int) -> tuple[np.ndarray, np.ndarray]:
    """``count`` digits in random order, every class as often as the others: images [n, 28, 28], labels [n]."""
    rng = np.random.default_rng([SEED, stream])
    labels = rng.permutation(np.arange(count) % 10)
    way, *columns = uniform(
        rng,
        count,
        (0, 1),
        (13, 21),
        (16, 21),
        (-0.3, 0.3),
        (-18 / 360, 18 / 360),
        (0, 1.1),
        (0, 1),
        (0.5, 1),
        *[(12.5, 15.5)] * 2,
        (0.6, 1.7),
        (0.75, 1),
    )
    images = np.zeros((count, 28, 28), np.uint8)
    for digit, shapes in enumerate(SHAPES):
        for half, shape in enumerate(shapes):
            chosen = np.flatnonzero((labels == digit) & ((way >= 0.5) == half))
            for items in np.array_split(chosen, -(-len(chosen) // 64) or 1):  # small enough for the processor's cache
                hand = [column[items, None, None] for column in columns]
                images[items] = _stroke(shape, *hand)
    return images, labels


def _stroke(shape, width, height, shear, turn, wobble, phase, waves, x, y, pen, ink) -> np.ndarray:
    """One shape in the hand of each item: scaled, sheared, bent, rotated, shifted, then inked where the pen's center line is near."""
    v = (shape[..., 1] - 0.5) * height
    u = (shape[..., 0] - 0.5) * width + v * shear
    u = u + wobble * sine(v / 20 * waves + phase)
    c, s = cosine(turn), sine(turn)
    ends = np.stack([c * u - s * v + x, s * u + c * v + y], -1)
    return np.rint(np.clip(pen + 0.5 - distance(ends, 28, 28), 0, 1) * ink * 255)


def twin(folder: Path, params: Params) -> None:
    """Draws the stand-in as upstream's four files."""
    _idx.write_pair(folder, "train", *draw(params.train, 0))
    _idx.write_pair(folder, "test", *draw(params.test, 1))


def examples(folder: Path, params: Params) -> dict:
    return _idx.examples(folder, params.validation)
