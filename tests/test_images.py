"""Pictures of every kind a person may have: what records keep of them, and what is refused by name."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dlbooks import UserError, images


def drawing(width: int = 40, height: int = 30) -> np.ndarray:
    """A smooth picture ``[height, width, 3]`` with a mark in its upper left corner, red in the middle, blue at the right."""
    y, x = np.mgrid[:height, :width]
    picture = np.stack([160 - 2 * np.abs(x - width // 2), 60 + y, 3 * x], -1)
    picture[: height // 4, : width // 4] = (250, 250, 30)
    return picture.astype(np.uint8)


def encoded(picture: np.ndarray | Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(buffer, form, **options)
    return buffer.getvalue()


def tensorflow(data: bytes) -> np.ndarray:
    import tensorflow as tf

    return tf.io.decode_image(data, channels=3, expand_animations=False).numpy()


def near(data: bytes, expected: np.ndarray, limit: float) -> None:
    got = tensorflow(data).astype(int)
    assert got.shape == expected.shape
    assert np.abs(got - expected).mean() < limit


def rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[images.ORIENTATION] = 6  # turn clockwise by 90 degrees to see it upright
    return exif


@pytest.mark.parametrize(
    "data, form",
    [
        (encoded(drawing(), "JPEG"), "jpeg"),
        (encoded(drawing(), "JPEG", progressive=True, quality=60), "jpeg"),
        (encoded(drawing()[..., 0], "JPEG"), "jpeg"),
        (encoded(drawing(), "PNG"), "png"),
        (encoded(drawing()[..., 0], "PNG"), "png"),
        (encoded(drawing(), "JPEG", exif=Image.Exif()), "jpeg"),
        (encoded(drawing(1, 1), "PNG"), "png"),
    ],
)
def test_plain_pictures_keep_their_bytes(data, form):
    kept = images.stored(data, "a.jpg")
    assert kept == (data, form)
    assert images.stored(data, "a.jpg", size=40) == kept  # already small enough
    assert tensorflow(kept[0]).shape[-1] == 3


@pytest.mark.parametrize("form", ["BMP", "GIF", "TIFF", "PPM", "WEBP"])
def test_other_formats_become_png_without_loss(form):
    options = {"lossless": True} if form == "WEBP" else {}
    picture = drawing()
    kept, kind = images.stored(encoded(picture, form, **options), "a")
    assert kind == "png"
    near(kept, picture, 4 if form == "GIF" else 1e-9)


def test_lossy_webp_becomes_jpeg():
    assert images.stored(encoded(drawing(), "WEBP", quality=90), "a.webp")[1] == "jpeg"


def test_cmyk():
    picture = Image.fromarray(drawing()).convert("CMYK")
    kept, kind = images.stored(encoded(picture, "JPEG", quality=95), "a.jpg")
    assert kind == "jpeg"
    near(kept, drawing(), 6)


def test_sixteen_bits():
    gray = drawing()[..., 2].astype(np.uint16) * 257
    for form, suffix in (("PNG", "png"), ("TIFF", "tif")):
        kept, kind = images.stored(encoded(Image.fromarray(gray), form), f"a.{suffix}")
        assert kind == "png"
        near(kept, np.repeat(drawing()[..., 2:], 3, -1), 1e-9)
    pgm = b"P5 40 30 65535\n" + gray.astype(">u2").tobytes()
    near(images.stored(pgm, "a.pgm")[0], np.repeat(drawing()[..., 2:], 3, -1), 1e-9)
    with pytest.raises(UserError, match=r"^a.tif: damaged picture \(32-bit pixels"):
        images.stored(encoded(Image.fromarray(np.full((4, 4), 1 << 20, np.int32)), "TIFF"), "a.tif")
    with pytest.raises(UserError, match="floating point"):
        images.stored(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "a.tif")


def test_palette_and_transparency():
    picture = Image.fromarray(drawing()).quantize(200)
    kept, kind = images.stored(encoded(picture, "PNG"), "a.png")
    assert kind == "png"
    near(kept, drawing(), 4)
    alpha = np.dstack([drawing(), np.zeros((30, 40), np.uint8)])
    alpha[:15, :, 3] = 255
    expected = drawing().copy()
    expected[15:] = 255
    near(images.stored(encoded(alpha, "PNG"), "a.png")[0], expected, 1e-9)
    key = encoded(Image.fromarray(drawing()), "PNG", transparency=(250, 250, 30))  # one color that is transparent
    assert (tensorflow(images.stored(key, "a.png")[0])[0, 0] == 255).all()
    bits = Image.fromarray(drawing()[..., 2] > 60)
    assert set(np.unique(tensorflow(images.stored(encoded(bits, "PNG"), "a.png")[0]))) == {0, 255}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_turned_by_exif(form):
    data = encoded(drawing(), form, exif=rotated(), **({"lossless": True} if form == "WEBP" else {"quality": 95} if form == "JPEG" else {}))
    kept, _ = images.stored(data, "a.jpg")
    assert kept != data
    near(kept, np.rot90(drawing(), -1), 6)
    assert images.stored(kept, "again")[0] == kept  # upright now, with no entry that says otherwise


def test_size_and_quality():
    picture = drawing(400, 300)
    kept, kind = images.stored(encoded(picture, "PNG"), "a.png", size=30)
    assert kind == "png"
    assert tensorflow(kept).shape == (30, 40, 3)
    near(kept, picture.reshape(30, 10, 40, 10, 3).mean((1, 3)), 6)
    assert tensorflow(images.stored(encoded(drawing(300, 7), "PNG"), "a.png", size=5)[0]).shape == (5, 214, 3)
    small, kind = images.stored(encoded(picture, "PNG"), "a.png", quality=20)
    assert kind == "jpeg"
    assert len(small) < len(images.stored(encoded(picture, "PNG"), "a.png", quality=90)[0])


def html() -> bytes:
    return b"<!DOCTYPE html><html><body>404 not found</body></html>"


def bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes whose header promises ``width`` × ``height`` pixels."""
    import struct
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", r"empty file \(0 bytes\)"),
        (html(), "not a picture that can be read .*; it begins with '<!DOCTYPE html>"),
        (bytes(100), "not a picture that can be read"),
        (encoded(drawing(200, 200), "JPEG")[:3000], "damaged picture .*truncated"),
        (encoded(drawing(200, 200), "JPEG", progressive=True)[:3000], "damaged picture .*truncated"),
        (encoded(drawing(), "JPEG")[:300], "damaged picture|not a picture"),
        (encoded(drawing(200, 200), "PNG")[:400], "damaged picture"),
        (encoded(drawing(), "GIF")[:900], "damaged picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a picture"),
        (bomb(9000, 9000), "9000 × 9000 pixels, at most 50 megapixels"),
        (bomb(60000, 60000), "over 50 megapixels"),
        (bytes(images.MAX_BYTES + 1), "67 MB, at most 67 MB"),
    ],
    ids=["empty", "html", "zeros", "jpeg", "progressive", "header", "png", "gif", "eps", "large", "bomb", "bytes"],
)
@pytest.mark.filterwarnings("error")
def test_refused_by_name(data, words, tmp_path):
    with pytest.raises(UserError, match=f"^x/a.jpg: .*({words})") as error:
        images.stored(data, "x/a.jpg")
    assert "\n" not in str(error.value)
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pytest.raises(UserError, match=words):
        images.read(path)


def test_every_truncation_is_found():
    """However a picture is cut, it is refused, or what is left is the whole picture."""
    for data in (encoded(drawing(), "JPEG", quality=70), encoded(drawing(), "PNG")):
        whole = tensorflow(data)
        for length in range(0, len(data), 7):
            try:
                kept, _ = images.stored(data[:length], "a")
            except UserError:
                continue
            assert (tensorflow(kept) == whole).all()


def test_read(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(drawing()[..., 2].astype(np.uint16) * 257), "PNG"))
    assert (images.read(path, "L") == drawing()[..., 2]).all()
    assert images.read(path).shape == (30, 40, 3)
