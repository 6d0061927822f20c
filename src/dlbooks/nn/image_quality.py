"""What is wrong with a picture, as a number. NumPy in, floats out."""

from __future__ import annotations

import numpy as np


def checkerboard(images: np.ndarray, real: np.ndarray, band: float = 0.45) -> float:
    r"""How much stronger than in ``real`` pictures the finest pattern is: 1 is right, a checkerboard of single pixels gives far more.

    Pictures ``[n, H, W, C]``, any numeric type. The share of the power spectrum $|F|^2$ (each channel without its mean) at frequencies with
    $\max(|u|, |v|) \ge$ ``band`` cycles per pixel, ½ being the finest there is, of ``images`` divided by that of ``real``.
    Odena et al., Deconvolution and Checkerboard Artifacts, 2016.
    """
    return _fine_share(images, band) / _fine_share(real, band)


def _fine_share(images: np.ndarray, band: float) -> float:
    pixels = np.asarray(images, np.float64)
    power = (np.abs(np.fft.fft2(pixels - pixels.mean((1, 2), keepdims=True), axes=(1, 2))) ** 2).sum((0, 3))
    u, v = (np.abs(np.fft.fftfreq(n)) for n in pixels.shape[1:3])
    return float(power[np.maximum(u[:, None], v) >= band].sum() / power.sum())
