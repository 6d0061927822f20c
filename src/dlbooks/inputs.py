"""What a person gives a trained model: checked, or refused with one sentence. ``Use.takes`` of a chapter says which kind it is."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path

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


def sound_files(words: list[str]) -> list[Path]:
    """Files named by paths and folders (their wav files, sorted)."""
    return [file for item in map(Path, words) for file in (sorted(item.glob("*.wav")) if item.is_dir() else [item])]


def blame(answer: Callable[[list], list], inputs: list, names: Iterable) -> None:
    """Asks one by one after all together were refused: the ``UserError`` of the first that is refused alone names it."""
    for value, name in zip(inputs, names, strict=True):
        try:
            answer([value])
        except UserError as error:
            raise UserError(f"{name}: {error}") from None


def ready(takes: str, given) -> tuple[list, bool]:
    """Whatever a person gives in Python as ``answer`` takes it: the list of inputs, and whether there were several. ``takes`` is ``Use``'s."""
    if takes == "numbers":
        several = isinstance(given, list | tuple) and any(getattr(item, "ndim", 0) for item in given)
        return [_array(item) for item in (given if several else [given])], several
    several = isinstance(given, list | tuple)
    if takes == "text":
        return list(given) if several else [given], several
    if takes == "sound":
        return [_bytes(item) for item in (given if several else [given])], several
    colors = takes == "picture"
    if hasattr(given, "__array__") and not hasattr(given, "save"):
        array = _array(given)
        several = array.ndim == 4 or (array.ndim == 3 and array.shape[2] not in (1, 3, 4))
        return [_picture(item, colors) for item in (array if several else [array])], several
    if isinstance(given, str | Path) and Path(given).is_dir():
        given, several = images.files([str(given)]), True
    return [_picture(item, colors) for item in (given if several else [given])], several


def _array(value) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError:
        raise UserError("all rows must have the same number of columns") from None


def _bytes(sound) -> bytes:
    if isinstance(sound, str | Path):
        path = Path(sound)
        if not path.is_file():
            raise UserError(f"{sound}: no such file")
        if path.stat().st_size > images.MAX_BYTES:
            raise UserError(f"{sound}: {path.stat().st_size / 1e6:,.0f} MB, at most {images.MAX_BYTES / 1e6:.0f} MB are read")
        return path.read_bytes()
    if isinstance(sound, bytes | bytearray | memoryview):
        return bytes(sound)
    raise UserError(f"a sound is a path or the bytes of a wav file, not {type(sound).__name__}")


def _picture(one, colors: bool) -> np.ndarray:
    """A path, a file's bytes, a PIL picture or an array of whole numbers 0 … 255 → uint8 ``[H, W, 3]`` with ``colors``, else ``[H, W]``."""
    mode = "RGB" if colors else "L"
    if isinstance(one, str | Path):
        (file,) = images.files([str(one)])
        return images.read(file, mode)
    if isinstance(one, bytes | bytearray | memoryview):
        return images.decode(bytes(one), "the picture", mode)
    if not hasattr(one, "save"):
        one = _pillow(_array(one))
    with io.BytesIO() as buffer:  # the same way as a file's: upright, transparent parts white
        one.save(buffer, "PNG", compress_level=1)
        return images.decode(buffer.getvalue(), "the picture", mode)


def _pillow(array: np.ndarray):
    from PIL import Image

    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    whole = array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= 255
    if not whole or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise UserError(
            f"a picture of {array.dtype} {list(array.shape)}: whole numbers 0 … 255 of the shape [height, width] or [height, width, 3] are right"
        )
    return Image.fromarray(array.astype(np.uint8))
