"""Small seeded data sets that need no file."""

from __future__ import annotations

import numpy as np


def parabola(n: int, noise: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points on y = x² − ½ with Gaussian noise of standard deviation ``noise``.

    Returns x and y as float32 ``[n, 1]``, x evenly on [−1, 1] (B5 8.1).
    """
    x = np.linspace(-1.0, 1.0, n, dtype=np.float32)[:, None]
    return x, (np.square(x) - 0.5 + rng.normal(0.0, noise, x.shape)).astype(np.float32)
