"""Small seeded data sets that need no file."""

from __future__ import annotations

import numpy as np


def parabola(n: int, noise: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points on y = x² − ½ with Gaussian noise of standard deviation ``noise``.

    Returns x and y as float32 ``[n, 1]``, x evenly on [−1, 1] (B5 8.1).
    """
    x = np.linspace(-1.0, 1.0, n, dtype=np.float32)[:, None]
    return x, (np.square(x) - 0.5 + rng.normal(0.0, noise, x.shape)).astype(np.float32)


def two_class(shape: str, n: int, noise: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The four toys of the neural-network playground: points float32 ``[n, 2]`` in about ±6 and labels ±1 float32 ``[n]``, half of each.

    ``circle``: a disk of radius 2.5 (+1) inside a ring from 3.5 to 5. ``xor``: the square ±5, pushed 0.3 off the axes, +1 where x₁x₂ > 0.
    ``gauss``: normal clouds of variance ½ + 7·noise around (2, 2) and (−2, −2). ``spiral``: two arms r = 5 s, angle 3.5π s (+1) and
    3.5π s + π, s in 0 … 1. ``noise`` 0 … 0.5 flips labels near the border (``circle``, ``xor``: the label is read off a point moved by up
    to 5·noise) or scatters the points (B5 3.1; the formulas are the public playground's).
    """
    first = np.arange(n) < n - n // 2  # the half of class +1, where the class is chosen before the point
    if shape == "circle":
        radius = np.where(first, rng.uniform(0.0, 2.5, n), rng.uniform(3.5, 5.0, n))
        turn = rng.uniform(0.0, 2 * np.pi, n)
        x = np.stack([radius * np.sin(turn), radius * np.cos(turn)], 1)
        read = x + rng.uniform(-5.0, 5.0, x.shape) * noise
        y = np.where(np.sqrt(np.square(read).sum(1)) < 2.5, 1.0, -1.0)
    elif shape == "xor":
        x = rng.uniform(-5.0, 5.0, (n, 2))
        x += np.where(x > 0, 0.3, -0.3)
        read = x + rng.uniform(-5.0, 5.0, x.shape) * noise
        y = np.where(read[:, 0] * read[:, 1] >= 0, 1.0, -1.0)
    elif shape == "gauss":
        y = np.where(first, 1.0, -1.0)
        x = 2 * y[:, None] + rng.normal(0.0, np.sqrt(0.5 + 7 * noise), (n, 2))
    elif shape == "spiral":
        y = np.where(first, 1.0, -1.0)
        s = np.where(first, np.arange(n) / first.sum(), (np.arange(n) - first.sum()) / max(1, n // 2))
        turn = 3.5 * np.pi * s + np.where(first, 0.0, np.pi)
        x = 5 * s[:, None] * np.stack([np.sin(turn), np.cos(turn)], 1) + rng.uniform(-1.0, 1.0, (n, 2)) * noise
    else:
        raise ValueError(f"shape {shape!r} is none of circle, xor, gauss, spiral")
    return x.astype(np.float32), y.astype(np.float32)
