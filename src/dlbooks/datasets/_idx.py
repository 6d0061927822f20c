"""IDX, the format of MNIST and of the sets that copy it: gzip over a big-endian header and unsigned bytes.

The header's magic number is two zero bytes, the type (0x08 = unsigned byte) and the number of dimensions; then follow the sizes as
32-bit integers: 0x801 and the count for labels, 0x803, count, rows and columns for images.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from dlbooks import UserError
from dlbooks.records import Rows

FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


def write(path: Path, array: np.ndarray) -> None:
    """Writes a uint8 array as gzipped IDX, uncompressed blocks inside: compressed bytes differ between builds of zlib."""
    data = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()
    parts = [b"\x1f\x8b\x08" + bytes(6) + b"\xff"]  # no name, time 0, unknown system
    for start in range(0, len(data), 0xFFFF):
        block = data[start : start + 0xFFFF]
        parts.append(struct.pack("<BHH", start + 0xFFFF >= len(data), len(block), len(block) ^ 0xFFFF) + block)
    path.write_bytes(b"".join([*parts, struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)]))


def read(path: Path, dimensions: int) -> np.ndarray:
    """Reads gzipped IDX of 1 (labels) or 3 (images) dimensions; anything else is a ``UserError`` that names the file."""
    expected, kind = 0x800 + dimensions, {1: "labels", 3: "images"}[dimensions]
    try:
        with gzip.open(path) as file:
            header = file.read(4 + 4 * dimensions)
            magic = struct.unpack(">I", header[:4])[0] if len(header) >= 4 else 0
            if magic != expected:
                raise UserError(f"{path.name}: expected IDX {kind} ({expected:#x}), found {magic:#x}")
            shape = struct.unpack(f">{dimensions}I", header[4:])
            data = file.read(math.prod(shape) + 1)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: fetch the data set again") from None
    except (EOFError, OSError, zlib.error, struct.error) as error:
        raise UserError(f"{path.name}: truncated or damaged gzip ({error})") from None
    if len(data) != math.prod(shape):
        more = "more" if len(data) > math.prod(shape) else f"{len(data)}"
        raise UserError(f"{path.name}: its header says {' × '.join(map(str, shape))} = {math.prod(shape)} bytes, found {more}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def write_pair(folder: Path, part: str, images: np.ndarray, labels: np.ndarray) -> None:
    """The images and labels of ``train`` or ``test`` under upstream's names."""
    for name, array in zip(FILES[part], (images, labels), strict=True):
        write(folder / name, array.astype(np.uint8))


def examples(folder: Path, validation: int) -> dict[str, Rows]:
    """The four files → three splits; the first ``validation`` items of the training file are validation, as in the books.

    ``index`` is the position in upstream's file.
    """
    arrays = {}
    for part, (image_file, label_file) in FILES.items():
        images, labels = read(folder / image_file, 3), read(folder / label_file, 1)
        if len(images) != len(labels):
            raise UserError(f"{image_file} holds {len(images)} images, {label_file} {len(labels)} labels")
        if images.shape[1:] != (28, 28):
            raise UserError(f"{image_file}: expected pictures of 28 × 28, found {images.shape[1]} × {images.shape[2]}")
        arrays[part] = images[..., None], labels
    total = len(arrays["train"][1])
    if validation >= total:
        raise UserError(f"validation = {validation}: {FILES['train'][1]} holds only {total} items")

    def items(part: str, start: int, stop: int) -> Rows:
        images, labels = arrays[part]
        return Rows(range(start, stop), lambda i: {"image": images[i], "label": int(labels[i]), "index": i})

    return {
        "train": items("train", validation, total),
        "validation": items("train", 0, validation),
        "test": items("test", 0, len(arrays["test"][1])),
    }
