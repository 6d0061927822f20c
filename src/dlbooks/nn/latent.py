r"""Walking through a generator's latent space: draws, straight and curved ways between two codes, one coordinate at a time, a grid of pictures.

A code $z$ of independent normal numbers lies close to the sphere of radius $\sqrt d$. The middle of the straight line between two such codes has
norm $\sqrt{d/2}$ only (7.1 instead of 10 for $d = 100$), a place the generator was never shown; the great circle (``slerp``) keeps the norm.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from dlbooks import UserError, figures

MOST = 10_000  # pictures drawn in one go


def draw(kind: str, n: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    """``n`` codes float32 ``[n, dim]``: ``normal`` N(0, I) or ``uniform`` U(−1, 1)."""
    if kind not in ("normal", "uniform"):
        raise ValueError(f"kind is {kind!r}, must be normal or uniform")
    values = rng.standard_normal((n, dim)) if kind == "normal" else rng.uniform(-1.0, 1.0, (n, dim))
    return values.astype(np.float32)


def lerp(a: np.ndarray, b: np.ndarray, t) -> np.ndarray:
    """(1 − t) a + t b for codes ``[dim]`` and t in 0 … 1: float32 ``[dim]``, or ``[len(t), dim]`` for a list of t."""
    t = np.asarray(t, np.float64)[..., None]
    return ((1 - t) * a + t * b).astype(np.float32)


def slerp(a: np.ndarray, b: np.ndarray, t) -> np.ndarray:
    r"""Along the great circle: $(\sin((1-t)θ)\,a + \sin(tθ)\,b) / \sin θ$ with θ the angle between a and b; shapes as in ``lerp``.

    For nearly parallel or opposite codes the formula has no good answer and the straight line is taken.
    """
    one, other = (np.asarray(x, np.float64) for x in (a, b))
    norms = np.linalg.norm(one) * np.linalg.norm(other)
    angle = np.arccos(np.clip(one @ other / norms, -1.0, 1.0)) if norms > 0 else 0.0
    if np.sin(angle) < 1e-3:
        return lerp(a, b, t)
    t = np.asarray(t, np.float64)[..., None]
    way = (np.sin((1 - t) * angle) * one + np.sin(t * angle) * other) / np.sin(angle)
    return np.where(t == 0, one, np.where(t == 1, other, way)).astype(np.float32)  # the ends exactly


def traverse(z: np.ndarray, coordinate: int, values) -> np.ndarray:
    """Copies of the code ``z`` ``[dim]`` with one coordinate set to each of ``values``: float32 ``[len(values), dim]``."""
    codes = np.repeat(np.asarray(z, np.float32)[None], len(values), axis=0)
    codes[:, coordinate] = values
    return codes


def mosaic(pictures: np.ndarray, columns: int | None = None, scale: int = 2, gap: int = 2) -> np.ndarray:
    """Pictures uint8 ``[n, H, W, C]`` side by side in one: uint8 ``[…, …]`` for C = 1, else ``[…, …, C]``.

    ``columns`` defaults to ⌈√n⌉; cells that stay empty and the ``gap`` around pictures are pale. Every pixel becomes ``scale`` × ``scale``.
    """
    count, height, width, channels = pictures.shape
    columns = columns or int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), 232, np.uint8)
    for index, picture in enumerate(pictures):
        top, left = gap + index // columns * (height + gap), gap + index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    sheet = sheet.repeat(scale, 0).repeat(scale, 1)
    return sheet[..., 0] if channels == 1 else sheet


def predict_generator(
    name: str,
    generate: Callable[[np.ndarray], np.ndarray],
    dim: int,
    out: Path | None,
    *,
    count: int = 64,
    seed: int = 0,
    interpolate: bool = False,
    coordinate: int = -1,
    kind: str = "normal",
    ends: np.ndarray | None = None,
    columns: int | None = None,
) -> np.ndarray:
    """What ``dlbooks predict`` does for every generator: draws pictures, prints a line, writes them to ``out``; returns uint8 ``[n, H, W, C]``.

    ``name``: the chapter's id. ``generate``: float32 ``[n, dim]`` → uint8 ``[n, H, W, C]``. Three modes: ``count`` independent samples; with
    ``interpolate`` ``count`` steps from one code to another (``ends`` ``[2, dim]``, else drawn); with ``coordinate`` = j ≥ 0 one code whose coordinate
    j runs over the prior's range (±3, or ±1 for ``uniform``) in ``count`` steps. ``out``: a ``.png`` (mosaic of ``columns``), a ``.gif`` (there and back),
    or a folder for ``samples.png``.
    """
    if not 1 <= count <= MOST:
        raise UserError(f"count = {count}: must be between 1 and {MOST:,}")
    if interpolate and coordinate >= 0:
        raise UserError("interpolate and coordinate exclude each other")
    if coordinate >= dim:
        raise UserError(f"coordinate = {coordinate}: the code of {name} has the coordinates 0 … {dim - 1}")
    if interpolate and count < 2:
        raise UserError("interpolate needs at least count=2 pictures")
    if out and out.suffix and out.suffix.lower() not in (".png", ".gif"):
        raise UserError(f"{out}: give a name ending in .png or .gif, or a folder")
    rng = np.random.default_rng(seed)
    if interpolate:
        one, other = draw(kind, 2, dim, rng) if ends is None else ends
        codes = (slerp if kind == "normal" else lerp)(one, other, np.linspace(0, 1, count))
        what = f"{count} steps from one code to another"
    elif coordinate >= 0:
        reach = 3.0 if kind == "normal" else 1.0
        codes = traverse(draw(kind, 1, dim, rng)[0], coordinate, np.linspace(-reach, reach, count))
        what = f"coordinate {coordinate} of one code from {-reach:g} to {reach:g} in {count} steps"
    else:
        codes, what = draw(kind, count, dim, rng), f"{count} samples"
    pictures = generate(codes)
    print(f"{name}: {what}, seed {seed}" + (f" → {write_pictures(pictures, out, columns)}" if out else "; -o samples.png keeps them"))
    return pictures


def write_pictures(pictures: np.ndarray, out: Path, columns: int | None = None) -> Path:
    """Writes pictures as a mosaic (``.png``), as an animation there and back (``.gif``), or into a folder as ``samples.png``; returns the file."""
    file = out if out.suffix else out / "samples.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix.lower() == ".gif":
        frames = [mosaic(p[None], scale=4) for p in pictures]
        figures.gif(frames + frames[-2:0:-1], file, fps=12)
    else:
        figures.save(mosaic(pictures, columns), file)
    return file
