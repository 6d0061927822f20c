"""Reading a person's picture: bounded, upright, with errors that name the file; and what of it is kept in records."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

from dlbooks import UserError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

MAX_BYTES = 64 << 20
MAX_PIXELS = 50_000_000
SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")  # Pillow knows more, and starts other programs for some of them
QUALITY = 95  # of JPEG that has to be encoded again
ORIENTATION = 0x0112  # EXIF: how the camera was held


class NothingGiven(UserError):  # noqa: N818
    """No file was named at all."""


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
    if not inputs:
        raise NothingGiven("give picture files, or a folder that holds some")
    if not found:
        raise UserError(f"no picture found in {', '.join(inputs)}")
    return found


def read(path: Path, mode: str = "RGB") -> np.ndarray:
    """Decodes a picture to uint8 ``[height, width(, channels)]`` in PIL mode ``RGB`` or ``L``, EXIF rotation applied.

    Transparent parts become white, 16-bit pixels lose their lower byte. Refuses, naming the file: no picture, truncated, over 64 MB or
    over 50 megapixels.
    """
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: {path.stat().st_size / 1e6:,.0f} MB, at most {MAX_BYTES / 1e6:.0f} MB are read")
    return decode(path.read_bytes(), str(path), mode)


def decode(data: bytes, where: str, mode: str = "RGB", pixels: int = MAX_PIXELS) -> np.ndarray:
    """``read`` for a picture's bytes: ``where`` names it in errors, ``pixels`` is the most that are decoded."""
    import numpy as np

    return np.asarray(_decoded(data, where, pixels)[0].convert(mode))


def data_url(data: bytes, kind: str = "png") -> str:
    """A picture file as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def stored(data: bytes, where: str, size: int = 0, quality: int = 0) -> tuple[bytes, str]:
    """What records keep of a picture: its bytes and their format, ``jpeg`` or ``png``, such that TensorFlow decodes what a person sees.

    8-bit gray or RGB pictures, JPEG or PNG, that no EXIF entry turns are kept byte for byte. Everything else is decoded (turned upright;
    CMYK, palettes, 16 bits, transparency on white; GIF, BMP, WebP, TIFF, PGM) and encoded again: JPEG where the source was lossy, else PNG.
    ``size`` > 0 shrinks larger pictures until their shorter side has that many pixels; ``quality`` > 0 makes every picture a JPEG of that
    quality. A ``UserError`` names ``where``: no bytes, no picture, truncated, over 64 MB or 50 megapixels.
    """
    if len(data) > MAX_BYTES:
        raise UserError(f"{where}: {len(data) / 1e6:,.0f} MB, at most {MAX_BYTES / 1e6:.0f} MB are read")
    if not quality and (kept := _kept(data, size)):
        return data, kept
    picture, lossy = _decoded(data, where)
    if 0 < size < min(picture.size):
        from PIL import Image

        scale = size / min(picture.size)
        target = tuple(max(size, round(side * scale)) for side in picture.size)
        picture = picture.resize(target, Image.Resampling.BICUBIC)  # polynomials: no sine whose last bit differs between machines
    buffer = io.BytesIO()
    if lossy or quality:
        picture.save(buffer, "JPEG", quality=quality or QUALITY)
        return buffer.getvalue(), "jpeg"
    picture.save(buffer, "PNG")
    return buffer.getvalue(), "png"


def _kept(data: bytes, size: int) -> str:
    """``jpeg`` or ``png`` if the bytes can stay as they are, which takes a look at every one of them; else an empty word."""
    from PIL import Image

    jpeg, png = data.startswith(b"\xff\xd8\xff"), data.startswith(b"\x89PNG\r\n\x1a\n")
    whole = png and data[24:26] in (b"\x08\x00", b"\x08\x02") and b"IEND" in data[-64:]  # 8 bits of gray or RGB; Pillow can do without an end
    if not (jpeg or whole):
        return ""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",) if jpeg else ("PNG",)) as picture:
            if picture.mode not in ("L", "RGB") or picture.width * picture.height > MAX_PIXELS or 0 < size < min(picture.size):
                return ""
            if jpeg:
                picture.draft(None, (1, 1))  # an eighth of the picture's size: all bytes are read, few pixels computed
            picture.load()
            told = {"exif", "xmp", "XML:com.adobe.xmp"} & picture.info.keys()
            if "transparency" in picture.info or (told and picture.getexif().get(ORIENTATION, 1) != 1):
                return ""
    except Exception:  # whatever is wrong is found again and named by who decodes it
        return ""
    return "jpeg" if jpeg else "png"


def _decoded(data: bytes, where: str, pixels: int = MAX_PIXELS) -> tuple[Image.Image, bool]:
    """An upright picture in PIL mode ``L`` or ``RGB``, and whether its format is lossy."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not data:
        raise UserError(f"{where}: empty file (0 bytes)")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            if picture.width * picture.height > pixels:
                raise UserError(f"{where}: {picture.width} × {picture.height} pixels, at most {pixels / 1e6:.0f} megapixels are read")
            lossy = picture.format in ("JPEG", "MPO") or (picture.format == "WEBP" and data[12:16] != b"VP8L")
            return _plain(ImageOps.exif_transpose(picture)), lossy
    except UnidentifiedImageError:
        begins = " ".join(data[:24].decode("ascii", "replace").split())
        hint = f"; it begins with {begins!r}" if begins.isprintable() and begins.isascii() else ""
        raise UserError(f"{where}: not a picture that can be read (PNG, JPEG, GIF, BMP, WebP, TIFF, PGM){hint}") from None
    except Image.DecompressionBombError:
        raise UserError(f"{where}: far over {pixels / 1e6:.0f} megapixels, the most that are read") from None
    except UserError:
        raise
    except Exception as error:  # Pillow's readers meet damage with errors of all kinds
        raise UserError(f"{where}: damaged picture ({str(error).splitlines()[0] if str(error) else type(error).__name__})") from None


def _plain(picture: Image.Image) -> Image.Image:
    """8-bit gray or RGB from any of Pillow's modes."""
    import numpy as np
    from PIL import Image

    if picture.mode in ("L", "RGB") and "transparency" not in picture.info:
        picture.load()
        return picture
    if picture.mode.startswith("I"):  # Pillow's own conversion would clip 16 bits at 255
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("32-bit pixels, whose white nobody can know")
        return Image.fromarray((values >> 8).astype(np.uint8))
    if picture.mode == "F":
        raise ValueError("floating point pixels, whose white nobody can know")
    if "transparency" in picture.info or picture.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture.convert("L" if picture.mode == "1" else "RGB")
