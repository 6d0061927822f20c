"""# Fashion-MNIST: ten kinds of clothes

Zalando's 70,000 product photos, made gray and shrunk to 28 × 28, in MNIST's files, sizes and splits, but harder: a linear model gets
0.84 of them right instead of 0.92. Shirt, T-shirt, pullover and coat are what networks confuse.

The twin draws silhouettes (torso and sleeves, legs, skirt, sole and straps, box and handle) at 112 × 112, shrinks them to
28 × 28, and gives them cloth: ink, smooth texture, stripes, a fold, noise. Its classes are confused in the same order as the real ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field

from dlbooks.catalog import DataSet, Source
from dlbooks.datasets import _idx
from dlbooks.datasets._drawing import cosine, sine, uniform
from dlbooks.params import DataSetParams
from dlbooks.records import Feature

DATASET = DataSet(
    id="fashion-mnist",
    title="Fashion-MNIST",
    homepage="https://github.com/zalandoresearch/fashion-mnist",
    license="MIT",
    citation="H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST: a novel image dataset for benchmarking machine learning, arXiv:1708.07747, 2017",
    files=[
        Source(
            urls=["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz"],
            sha256="3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            name="train-images-idx3-ubyte.gz",
        ),
        Source(
            urls=["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz"],
            sha256="a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            name="train-labels-idx1-ubyte.gz",
        ),
        Source(
            urls=["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-images-idx3-ubyte.gz"],
            sha256="346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            name="t10k-images-idx3-ubyte.gz",
        ),
        Source(
            urls=["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-labels-idx1-ubyte.gz"],
            sha256="67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
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


NAMES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
FEATURES = {"image": Feature("uint8", (28, 28, 1)), "label": Feature(names=NAMES), "index": Feature("int64")}

SEED = 112
SLEEVES = {0: ((0.20, 0.26), (0.75, 1.0)), 2: ((0.58, 0.68), (0.2, 0.32)), 4: ((0.62, 0.72), (0.12, 0.22)), 6: ((0.45, 0.66), (0.25, 0.45))}

# Garments are masks over unit coordinates u (right, 0 = middle) and v (down, 0 … 1), arrays of shape [items, 112, 112]. `draw` gives one
# column of uniform draws per range, shaped to be combined with them.


def between(low, value, high):
    return (low < value) & (value < high)


def line(u, v, start, end, width):
    """A straight band of half-width ``width`` from ``start`` to ``end`` with square ends."""
    (x, y), (dx, dy) = start, (end[0] - start[0], end[1] - start[1])
    length = np.sqrt(dx * dx + dy * dy)
    along, across = ((u - x) * dx + (v - y) * dy) / length, ((u - x) * dy - (v - y) * dx) / length
    return between(0, along, length) & (np.abs(across) < width)


def ellipse(u, v, x, y, radius_x, radius_y):
    a, b = (u - x) / radius_x, (v - y) / radius_y
    return a * a + b * b < 1


def upper_body(label, u, v, draw):
    """T-shirt, pullover, coat and shirt: a trapezoid with two sleeves, told apart by the sleeves and by what is drawn upon the front."""
    half, top, bottom, length, angle, wide, flare, neck = draw(
        (0.17, 0.23), (0.12, 0.18), (0.8, 0.9), *SLEEVES[label], (0.05, 0.07), (-0.03, 0.02), (0.06, 0.1)
    )
    if label == 4:
        bottom = bottom + 0.04
    side = np.abs(u)
    turns = angle / 6.283185307179586
    shoulder = half - 0.03, top + 0.04
    hand = half - 0.03 + length * sine(turns), top + 0.04 + length * cosine(turns)
    torso = between(top, v, bottom) & (side < half + flare * (v - top) / (bottom - top) - 0.25 * np.maximum(top + 0.06 - v, 0))
    mask = torso | line(side, v, shoulder, hand, wide)
    mask &= ~ellipse(u, v, 0, top, neck, neck * (0.9 if label in (0, 2) else 0.5))
    dark = line(side, v, (half, top + 0.16), (half + 0.01, bottom), 0.012)  # where the arm lies on the body
    if label == 4:
        dark |= between(top, v, bottom) & (side < 0.018)
    if label == 6:
        dark |= (side < 0.02) & (np.abs((v - top - 0.1) % 0.13 - 0.065) < 0.022) & between(top + 0.1, v, top + 0.75)
        dark |= line(side, v, (0.015, top + 0.1), (neck + 0.03, top - 0.01), 0.018)
    return mask, dark


def trouser(u, v, draw):
    waist, hem, gap, top, bottom, crotch = draw((0.13, 0.18), (0.07, 0.1), (0.015, 0.05), (0.05, 0.1), (0.9, 0.96), (0.28, 0.38))
    down = (v - top) / (bottom - top)
    inner = np.where(v < crotch, -1, gap * (v - crotch) / (bottom - crotch) * 2 + 0.008)
    outer = waist + (gap * 2 + 2 * hem - waist) * down
    return between(top, v, bottom) & between(inner, np.abs(u), outer), np.zeros(u.shape, bool)


def dress(u, v, draw):
    shoulder, waist, hem, top, middle, bottom, straps = draw((0.1, 0.17), (0.07, 0.14), (0.12, 0.26), (0.06, 0.14), (0.3, 0.48), (0.8, 0.96), (0, 1))
    side, below = np.abs(u), (v - middle) / (bottom - middle)
    width = np.where(v < middle, shoulder + (waist - shoulder) * (v - top) / (middle - top), waist + (hem - waist) * below)
    mask = between(top, v, bottom) & (side < width)
    mask &= ~ellipse(u, v, 0, top, shoulder * 0.6, 0.03 + 0.1 * (straps > 0.5))
    return mask, np.abs(v - middle) < 0.012


def sandal(u, v, draw):
    heel, sole, thick, ankle, lean = draw((0.0, 0.22), (0.62, 0.82), (0.02, 0.05), (0.22, 0.4), (-0.06, 0.06))
    back = (0.36, sole - heel)
    mask = line(u, v, (-0.4, sole), (-0.05, sole), thick) | line(u, v, (-0.06, sole), back, thick)
    mask |= between(0.3, u, 0.38) & between(sole - heel, v, sole + thick)
    mask |= line(u, v, (-0.3, sole), (-0.16 + lean, sole - 0.17), 0.024) | line(u, v, (-0.16 + lean, sole - 0.17), (-0.04, sole), 0.024)
    mask |= line(u, v, (-0.12, sole - 0.05), (0.3, sole - ankle), 0.022) | line(u, v, (0.35, sole - heel), (0.3, sole - ankle - 0.03), 0.026)
    return mask, np.zeros(u.shape, bool)


def sneaker(u, v, draw):
    height, sole, toe, thick, laces = draw((0.2, 0.42), (0.6, 0.8), (0.1, 0.17), (0.02, 0.05), (0.05, 0.2))
    top = sole - height
    rise = np.clip((u + 0.28) / 0.4, 0, 1)  # from the toe up to the ankle
    upper = sole - toe - (sole - toe - top) * rise * rise * (3 - 2 * rise)
    mask = between(-0.42, u, 0.4) & between(upper, v, sole + thick) & ~((u < -0.3) & ~ellipse(u, v, -0.29, sole, 0.13, toe))
    mask &= ~ellipse(u, v, 0.24, top, 0.1, 0.05)
    dark = (np.abs(v - sole) < 0.013) | (
        between(-0.2, u, -0.2 + 2 * laces) & (np.abs((u - 1.5 * (v - upper)) % 0.09 - 0.045) < 0.012) & (v < upper + 0.1)
    )
    return mask, dark


def bag(u, v, draw):
    wide, top, bottom, arch, taper, flap = draw((0.22, 0.4), (0.3, 0.5), (0.7, 0.92), (0.03, 0.28), (-0.06, 0.06), (0.2, 0.6))
    box = between(top, v, bottom) & (np.abs(u) < wide + taper * (v - top) / (bottom - top))
    handle = ellipse(u, v, 0, top, wide * 0.62, arch) & ~ellipse(u, v, 0, top, wide * 0.62 - 0.055, arch - 0.055) & (v < top + 0.01)
    return box | handle, (np.abs(v - top - flap * (bottom - top)) < 0.012) & box


def boot(u, v, draw):
    top, sole, toe, shaft, heel = draw((0.1, 0.42), (0.74, 0.86), (0.12, 0.2), (0.12, 0.2), (0.0, 0.08))
    shin = between(top, v, sole) & (np.abs(u - 0.16) < shaft - 0.02 * (v - top))
    foot = between(sole - 1.3 * toe, v, sole) & between(-0.25, u, 0.16 + shaft - 0.02) & (v > sole - toe - 0.4 * np.maximum(u + 0.1, 0))
    cap = ellipse(u, v, -0.25, sole, 0.13, toe) & (v < sole)
    under = between(sole - 0.01, v, sole + 0.03) & between(-0.37, u, 0.16 + shaft) | (
        between(sole, v, sole + 0.03 + heel) & between(0.08, u, 0.14 + shaft)
    )
    return shin | foot | cap | under, np.abs(v - sole) < 0.01


SHAPES = {1: trouser, 3: dress, 5: sandal, 7: sneaker, 8: bag, 9: boot}


def cloth(rng: np.random.Generator, items: int) -> np.ndarray:
    """Brightness of the cloth ``[items, 28, 28]`` before it is cut: ink, smooth texture, stripes on a third, a fold on a third."""
    ink, texture, striped, waves, phase, lean, deep, folded, place, slope, width, shade, dim = (
        c[:, None, None]
        for c in uniform(
            rng,
            items,
            (110, 240),
            (0.02, 0.16),
            (0, 1),
            (3.5, 9),
            (0, 1),
            (-1, 1),
            (0.1, 0.35),
            (0, 1),
            (8, 20),
            (-0.6, 0.6),
            (0.5, 1.5),
            (0.35, 1),
            (0, 1),
        )
    )
    coarse = rng.random((items, 6, 6)) * 2 - 1
    at = np.arange(28) * (5 / 28)
    low, part = np.floor(at).astype(int), at - np.floor(at)
    rows = coarse[:, low] + (coarse[:, low + 1] - coarse[:, low]) * part[:, None]
    smooth = rows[..., low] + (rows[..., low + 1] - rows[..., low]) * part
    y, x = np.arange(28)[:, None], np.arange(28)
    value = ink * (1 + texture * smooth)
    value = np.where(striped < 1 / 3, value * (1 - deep * (0.5 + 0.5 * sine((y + lean * x) / waves + phase))), value)
    value = np.where((folded < 1 / 3) & (np.abs(y - place - slope * (x - 14)) < width), value * 0.5, value)
    return np.where(dim < 0.5, value * shade, value)


def draw(count: int, stream: int) -> tuple[np.ndarray, np.ndarray]:
    """``count`` pieces in random order, every class as often as the others: images [n, 28, 28], labels [n]."""
    rng = np.random.default_rng([SEED, stream])
    labels = rng.permutation(np.arange(count) % 10)
    images = np.zeros((count, 28, 28), np.uint8)
    for label in range(10):
        chosen = np.flatnonzero(labels == label)
        for items in np.array_split(chosen, -(-len(chosen) // 32) or 1):  # small enough for the processor's cache
            images[items] = _pieces(rng, label, len(items))
    return images, labels


def _pieces(rng: np.random.Generator, label: int, count: int) -> np.ndarray:
    """Pieces of one class: the mask at 112 × 112 in turned, scaled, shifted coordinates, shrunk to 28 × 28, times cloth and noise."""

    def columns(*ranges):
        return [c.astype(np.float32)[:, None, None] for c in uniform(rng, count, *ranges)]

    scale, turn, x, y, noise = columns((0.75, 1.08), (-14 / 360, 14 / 360), (-2 / 28, 2 / 28), (-2 / 28, 2 / 28), (2, 22))
    grid = ((np.arange(112) + 0.5) / 112 - 0.5).astype(np.float32)
    across, down = grid - x, grid[:, None] - y
    c, s = (cosine(turn) / scale).astype(np.float32), (sine(turn) / scale).astype(np.float32)
    u, v = across * c + down * s, down * c - across * s + np.float32(0.5)
    mask, dark = upper_body(label, u, v, columns) if label in SLEEVES else SHAPES[label](u, v, columns)
    cover = (mask * np.uint8(2) - (mask & dark)).reshape(count, 28, 4, 28, 4).sum((2, 4), dtype=np.int64) / 32
    grain = 2 * rng.random((3, count, 28, 28)).sum(0) - 3  # mean 0, standard deviation 1, nearly Gaussian
    return np.rint(np.clip(cover * (cloth(rng, count) + noise * grain), 0, 255))


def twin(folder: Path, params: Params) -> None:
    """Draws the stand-in as upstream's four files."""
    _idx.write_pair(folder, "train", *draw(params.train, 0))
    _idx.write_pair(folder, "test", *draw(params.test, 1))


def examples(folder: Path, params: Params) -> dict:
    return _idx.examples(folder, params.validation)
