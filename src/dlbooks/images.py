"""Reading a person's picture: bounded, upright, with errors that name the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dlbooks import UserError

MAX_BYTES = 64 << 20
MAX_PIXELS = 50_000_000
SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}


def files(inputs: list[str]) -> list[Path]:
    """Files named by paths and folders (their pictures, sorted); nothing found is an error."""
    found: list[Path] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            found += sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        elif path.exists():
            found.append(path)
        else:
            raise UserError(f"{name}: no such file or folder")
    if not found:
        raise UserError(f"no picture found in {', '.join(inputs) or 'an empty list of inputs'}")
    return found


def read(path: Path, mode: str = "RGB") -> np.ndarray:
    """Decodes a picture to uint8 ``[height, width(, channels)]`` in PIL mode ``RGB`` or ``L``, EXIF rotation applied.

    Transparent parts become white. Refuses, naming the file: no picture, truncated, over 64 MB or over 50 megapixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: {path.stat().st_size / 1e6:,.0f} MB, at most {MAX_BYTES / 1e6:.0f} MB are read")
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise UserError(f"{path}: {picture.width} × {picture.height} pixels, at most {MAX_PIXELS / 1e6:.0f} megapixels are read")
            picture = ImageOps.exif_transpose(picture)
            if "transparency" in picture.info or picture.mode in ("LA", "RGBA", "PA"):
                picture = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
            return np.asarray(picture.convert(mode))
    except UnidentifiedImageError:
        raise UserError(f"{path}: not a picture that can be read (PNG, JPEG, GIF, BMP, WebP, TIFF, PGM)") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: damaged picture ({error})") from None
