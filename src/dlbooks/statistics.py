"""Statistics of a data set, gathered while its records are written: exact, mergeable, one NumPy call per feature and chunk.

They stand in ``stats.json`` (``Records.info``), on the data cards, and beside every trained model for imputing and drift. Sums of
integers are exact. Floating-point sums are kept per chunk of rows and added with ``math.fsum``, which rounds once: so the numbers depend
on where chunks end, never on how many processes worked on them or in which order they were merged.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dlbooks.features import Feature

BLOCK = 1 << 15  # numbers converted at a time: their float64 copies stay in the processor's cache


class Statistics:
    """Statistics of the rows of one split.

    ``add`` takes chunks of rows, ``merge`` what another process gathered; ``result`` may be read at any time. Objects can be pickled.
    """

    def __init__(self, features: dict[str, Feature]):
        self.features = features
        self.kinds = {name: _kinds(feature) for name, feature in features.items()}
        self.label = next((n for n, f in features.items() if f.names and not f.shape), None)

    def add(self, rows: list[dict]) -> None:
        """Takes up to about a thousand rows ``{feature: value}``, as they are written."""
        if not rows:
            return
        for name, feature in self.features.items():
            _add(self.kinds[name], feature, [row[name] for row in rows])

    def merge(self, other: Statistics) -> None:
        """Adds what ``other`` has seen of the same features."""
        for name, kinds in self.kinds.items():
            for key, kind in kinds.items():
                kind.merge(other.kinds[name][key])

    def result(self) -> dict:
        """``{"features": {name: {…}}}`` as JSON takes it, and ``"classes": {name: count}`` of the first scalar class label.

        Numbers have ``count``, ``mean``, ``std`` (of the population), ``min``, ``max``; floats also ``nan``, which is left out of the rest,
        as is ``infinite`` (only there if it is not 0). Class labels have ``classes``. Sizes, that is ``lengths`` of sequences, ``characters``
        of texts, ``width``, ``height`` (pixels) and ``bytes`` of pictures, have ``min``, ``mean``, ``max`` and a ``histogram`` whose key
        "16" counts sizes of 16 … 31, and "0" those of 0. ``unreadable`` counts pictures without a JPEG or PNG header.
        """
        found: dict = {"features": {}}
        for name, kinds in self.kinds.items():
            entry: dict = {}
            for key, kind in kinds.items():
                value = kind.result()
                if key == "numbers":
                    entry |= value
                elif key != "unreadable" or value:
                    entry[key] = value
            found["features"][name] = entry
        if self.label:
            found["classes"] = dict(found["features"][self.label]["classes"])
        return found


def _kinds(feature: Feature) -> dict:
    """What is gathered of a feature, under the keys of its entry."""
    if feature.encoding in ("jpeg", "png"):
        return {"width": _Sizes(), "height": _Sizes(), "bytes": _Sizes(), "unreadable": _Count()}
    kinds: dict = {"lengths": _Sizes()} if None in feature.shape else {}
    if feature.encoding == "text":
        return kinds | {"characters": _Sizes()}
    if feature.names:
        return kinds | {"classes": _Classes(feature.names)}
    return kinds | {"numbers": _Floats() if feature.dtype.startswith("float") else _Integers()}


def _add(kinds: dict, feature: Feature, values: list) -> None:
    if feature.encoding in ("jpeg", "png"):
        sizes = [size_of(data) for data in values]
        known = [s for s in sizes if s]
        kinds["width"].add([w for w, _ in known])
        kinds["height"].add([h for _, h in known])
        kinds["bytes"].add([len(data) for data in values])
        kinds["unreadable"].add(len(sizes) - len(known))
        return
    if "lengths" in kinds:
        kinds["lengths"].add([len(v) for v in values])
    if feature.encoding == "text":
        texts = itertools.chain.from_iterable(values) if feature.shape else values
        kinds["characters"].add([len(t if isinstance(t, str) else bytes(t).decode("utf-8", "replace")) for t in texts])
        return
    # One flat array of the chunk, in the type in which TFRecords keep it (a list of floats is one of float32).
    dtype = "float32" if feature.dtype.startswith("float") else feature.dtype
    flat = np.concatenate(values, axis=0).reshape(-1) if feature.shape else np.asarray(values)
    kinds["classes" if feature.names else "numbers"].add(flat.astype(dtype, copy=False))


def size_of(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a JPEG or PNG file, from its header alone; ``None`` where it is neither."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data[:2] != b"\xff\xd8":
        return None
    at, end = 2, len(data)
    while at + 9 <= end and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame: height stands before width
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        # 0xFF may be repeated as padding; markers 0x01 and 0xD0 … 0xD9 have no content, all others name its length.
        at += 1 if marker == 0xFF else 2 if marker == 1 or 0xD0 <= marker <= 0xD9 else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


class _Count:
    """A number of things."""

    def __init__(self):
        self.count = 0

    def add(self, count: int) -> None:
        self.count += count

    def merge(self, other: _Count) -> None:
        self.count += other.count

    def result(self) -> int:
        return self.count


class _Classes:
    """How often each class occurs."""

    def __init__(self, names: tuple[str, ...]):
        self.names, self.counts = names, np.zeros(len(names), np.int64)

    def add(self, labels: np.ndarray) -> None:
        if labels.size and not 0 <= labels.min() <= labels.max() < len(self.names):
            raise ValueError(f"a class label is {labels.min() if labels.min() < 0 else labels.max()}, must be in 0 … {len(self.names) - 1}")
        self.counts += np.bincount(labels, minlength=len(self.names))

    def merge(self, other: _Classes) -> None:
        self.counts += other.counts

    def result(self) -> dict[str, int]:
        return dict(zip(self.names, self.counts.tolist(), strict=True))


class _Sizes:
    """Whole numbers ≥ 0 of things: their range, mean and a histogram whose bins double."""

    def __init__(self):
        self.count = self.total = self.high = 0
        self.low = math.inf
        self.bins = np.zeros(64, np.int64)

    def add(self, sizes: list[int]) -> None:
        if not sizes:
            return
        values = np.asarray(sizes, np.int64)
        self.count += len(sizes)
        self.total += int(values.sum())
        self.low, self.high = min(self.low, int(values.min())), max(self.high, int(values.max()))
        self.bins += np.bincount(np.frexp(values)[1], minlength=64)  # bin k: 2^(k-1) … 2^k - 1; bin 0: the zeros

    def merge(self, other: _Sizes) -> None:
        self.count, self.total = self.count + other.count, self.total + other.total
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.bins += other.bins

    def result(self) -> dict:
        if not self.count:
            return {"histogram": {}}
        histogram = {str(1 << k - 1 if k else 0): n for k, n in enumerate(self.bins.tolist()) if n}
        return {"min": self.low, "mean": self.total / self.count, "max": self.high, "histogram": histogram}


class _Integers:
    """Count, exact sum and exact sum of squares, minimum and maximum of integers."""

    def __init__(self):
        self.count = self.total = self.squares = 0
        self.low, self.high = math.inf, -math.inf

    def add(self, values: np.ndarray) -> None:
        if not values.size:
            return
        self.count += values.size
        if values.dtype == np.uint8:  # pixels: how often each of 256 values occurs says all
            counts, level = np.bincount(values, minlength=256), np.arange(256)
            self.total, self.squares = self.total + int((counts * level).sum()), self.squares + int((counts * level * level).sum())
            seen = np.flatnonzero(counts)
            self.low, self.high = min(self.low, int(seen[0])), max(self.high, int(seen[-1]))
            return
        low, high = int(values.min()), int(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        largest = max(abs(low), abs(high)) or 1
        # Below 2⁵³ float64 adds whole numbers without rounding, whatever the order, and far faster than integers are added.
        exact = largest * largest * BLOCK < 1 << 53
        for start in range(0, values.size, BLOCK):
            block = values[start : start + BLOCK].astype(np.float64 if exact else object)
            self.total += int(block.sum())
            block *= block  # no dot product: its threads would get in the way of the processes that write records side by side
            self.squares += int(block.sum())

    def merge(self, other: _Integers) -> None:
        self.count, self.total, self.squares = self.count + other.count, self.total + other.total, self.squares + other.squares
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def result(self) -> dict:
        if not self.count:
            return {"count": 0}
        variance = (self.count * self.squares - self.total**2) / self.count**2
        return {"count": self.count, "mean": self.total / self.count, "std": math.sqrt(variance), "min": self.low, "max": self.high}


class _Floats:
    """The moments of every chunk, so that the variance loses no digits to a large mean."""

    def __init__(self):
        self.chunks: list[tuple[int, float, float]] = []  # count, sum, sum of squared distances from the chunk's mean
        self.low, self.high = math.inf, -math.inf
        self.nan = self.infinite = 0

    def add(self, values: np.ndarray) -> None:
        finite = np.isfinite(values)
        if not finite.all():
            nan = int(np.isnan(values).sum())
            self.nan, self.infinite = self.nan + nan, self.infinite + int(values.size - finite.sum()) - nan
            values = values[finite]
        if not values.size:
            return
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        wide = values.astype(np.float64)
        total = float(wide.sum())
        wide -= total / wide.size
        np.square(wide, out=wide)
        self.chunks.append((wide.size, total, float(wide.sum())))

    def merge(self, other: _Floats) -> None:
        self.chunks += other.chunks
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.nan, self.infinite = self.nan + other.nan, self.infinite + other.infinite

    def result(self) -> dict:
        count = sum(n for n, _, _ in self.chunks)
        found: dict = {"count": count}
        if count:
            mean = math.fsum(total for _, total, _ in self.chunks) / count
            within = math.fsum(squares for _, _, squares in self.chunks)
            between = math.fsum(n * (total / n - mean) ** 2 for n, total, _ in self.chunks)
            found |= {"mean": mean, "std": math.sqrt((within + between) / count), "min": self.low, "max": self.high}
        return found | {"nan": self.nan} | ({"infinite": self.infinite} if self.infinite else {})
