"""Drawing for the twins with +, −, ×, ÷ and √ alone: those give the same bits on every processor, a library's sine does not."""

from __future__ import annotations

import numpy as np


def sine(turns):
    """sin(2π·``turns``), to 1e-9: folded to a quarter turn, then Taylor's polynomial of degree 13."""
    turns = np.asarray(turns, np.float64)
    turns = turns - np.floor(turns + 0.5)
    turns = np.where(turns > 0.25, 0.5 - turns, np.where(turns < -0.25, -0.5 - turns, turns))
    x = turns * 6.283185307179586
    square = x * x
    total = np.zeros_like(x)
    for k in (12, 10, 8, 6, 4, 2):  # x − x³/3! + x⁵/5! − …, innermost term first
        total = -square / (k * (k + 1)) * (1.0 + total)
    return x * (1.0 + total)


def cosine(turns):
    """cos(2π·``turns``)."""
    return sine(np.asarray(turns) + 0.25)


def arc(x: float, y: float, radius_x: float, radius_y: float, start: float = 0, stop: float = 360, pieces: int = 14) -> list[tuple]:
    """Points of an elliptic arc from ``start`` to ``stop`` degrees; y points down, so angles run clockwise."""
    turns = (start + (stop - start) * np.arange(pieces + 1) / pieces) / 360
    return list(zip(x + radius_x * cosine(turns), y + radius_y * sine(turns), strict=True))


def segments(*lines: list[tuple], pieces: int = 1) -> np.ndarray:
    """Polylines → their segments ``[n, 2 ends, 2 coordinates]``, each cut into ``pieces``."""
    found = []
    for line in lines:
        for a, b in zip(np.asarray(line[:-1], np.float64), np.asarray(line[1:], np.float64), strict=True):
            found += [(a + (b - a) * i / pieces, a + (b - a) * (i + 1) / pieces) for i in range(pieces)]
    return np.array(found)


def distance(ends: np.ndarray, height: int, width: int) -> np.ndarray:
    """Distance of every pixel's center to the nearest segment: ``[items, segments, 2 ends, (x, y)]`` → ``[items, height, width]``, float32."""
    ends = ends.astype(np.float32)
    x = np.arange(width, dtype=np.float32) + np.float32(0.5)
    y = (np.arange(height, dtype=np.float32) + np.float32(0.5))[:, None]
    nearest = np.full((len(ends), height, width), np.inf, np.float32)
    for index in range(ends.shape[1]):
        start = ends[:, index, 0, :, None, None]
        along = ends[:, index, 1, :, None, None] - start
        length = along[:, 0] * along[:, 0] + along[:, 1] * along[:, 1] + np.float32(1e-6)
        across_x, across_y = x - start[:, 0], y - start[:, 1]
        place = np.clip(across_x * (along[:, 0] / length) + across_y * (along[:, 1] / length), 0, 1)
        off_x, off_y = across_x - place * along[:, 0], across_y - place * along[:, 1]
        np.minimum(nearest, off_x * off_x + off_y * off_y, out=nearest)
    return np.sqrt(nearest)


def uniform(rng: np.random.Generator, items: int, *ranges: tuple[float, float]) -> list[np.ndarray]:
    """One column of uniform draws per range, in item order: fewer items are the beginning of more."""
    draws = rng.random((items, len(ranges)))
    return [low + (high - low) * draws[:, k] for k, (low, high) in enumerate(ranges)]
