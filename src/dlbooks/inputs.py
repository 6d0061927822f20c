"""What a person gives a trained model: checked, or refused with one sentence. ``Use.takes`` of a chapter says which kind it is."""

from __future__ import annotations

import numpy as np

from dlbooks import UserError, images

LARGEST = 1e12  # of numbers: float32 arithmetic behind it stays finite


def checked_numbers(value, columns: int, *, least: int = 1, most: int = 1_000_000) -> np.ndarray:
    """Float64 ``[n, columns]`` of ``least`` to ``most`` rows; ``[n]`` stands for one column, ``[columns]`` for one row."""
    shape = f"[n, {columns}]" if columns > 1 else "[n]"
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"not numbers of the shape {shape}") from None
    rows = array if array.ndim != 1 else array[:, None] if columns == 1 else array[None]
    if rows.ndim != 2 or rows.shape[1] != columns:
        raise UserError(f"numbers of the shape {list(array.shape)} were given: {shape} is right")
    if not least <= len(rows) <= most:
        raise UserError(f"{len(rows)} row{'s' * (len(rows) != 1)} of numbers: {least:,} to {most:,} are right")
    if not np.isfinite(rows).all() or np.abs(rows).max() > LARGEST:
        raise UserError(f"numbers must be finite and at most {LARGEST:g} in size")
    return rows


def checked_text(value, most: int) -> str:
    """A text of at most ``most`` characters that can be written in UTF-8; it may be empty."""
    if not isinstance(value, str):
        raise UserError(f"a text is needed, not {type(value).__name__}")
    if len(value) > most:
        raise UserError(f"a text of {len(value):,} characters: at most {most:,} are read")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UserError("the text holds half a character (a lone surrogate)") from None
    return value


def checked_picture(value, colors: bool) -> np.ndarray:
    """Uint8 ``[H, W, 3]`` with ``colors``, else ``[H, W]``."""
    array, dimensions = np.asarray(value), 3 if colors else 2
    shape = "[height, width, 3]" if colors else "[height, width]"
    if array.dtype != np.uint8 or array.ndim != dimensions or (colors and array.shape[2] != 3) or 0 in array.shape:
        raise UserError(f"a picture of {array.dtype} {list(array.shape)} was given: uint8 {shape} is right")
    if array.shape[0] * array.shape[1] > images.MAX_PIXELS:
        raise UserError(f"{array.shape[1]} × {array.shape[0]} pixels, at most {images.MAX_PIXELS / 1e6:.0f} megapixels are read")
    return array
