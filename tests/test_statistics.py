"""Statistics of records: what NumPy says of all rows at once, whatever the chunks and the order in which they are merged."""

import io
import itertools
import json
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dlbooks.features import Feature
from dlbooks.statistics import Statistics, size_of


def gathered(features, rows, chunk=1024):
    found = Statistics(features)
    for start in range(0, len(rows), chunk):
        found.add(rows[start : start + chunk])
    return found


def one(feature, values, **options):
    return gathered({"x": feature}, [{"x": v} for v in values], **options).result()["features"]["x"]


# ── numbers ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "bool"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2, 3), (None,), (None, 2)])
def test_numbers_are_numpys(dtype, shape):
    rng = np.random.default_rng(0)
    bounds = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min // 4, np.iinfo(dtype).max // 4)
    values = []
    for _ in range(50):
        size = tuple(int(rng.integers(4)) if n is None else n for n in shape)
        values.append(rng.integers(*bounds, size, endpoint=True).astype(dtype))
    found = one(Feature(dtype, shape), values, chunk=7)
    exact = [int(v) for value in values for v in np.ravel(value)]
    mean = Fraction(sum(exact), len(exact))
    assert (found["count"], found["min"], found["max"]) == (len(exact), min(exact), max(exact))
    assert found["mean"] == float(mean)
    variance = sum((v - mean) ** 2 for v in exact) / len(exact)
    assert found["std"] == pytest.approx(math.sqrt(variance), rel=1e-15)
    assert ("lengths" in found) == (None in shape)


def test_large_integers_lose_nothing():
    values = [2**62, 2**62 + 1, -(2**62), 2**62 + 3]
    found = one(Feature("int64"), values)
    assert found["mean"] == float(Fraction(sum(values), 4)) and found["max"] == 2**62 + 3
    times = [1_700_000_000 + k for k in range(2000)]  # seconds of our days: their squares exceed what float64 holds
    assert one(Feature("int64"), times)["std"] == pytest.approx(np.std(np.arange(2000)), rel=1e-14)


def test_floats_are_those_that_are_stored():
    values = [0.1, 0.2, 0.7]
    found = one(Feature("float32"), values)
    stored = np.float32(values).astype(np.float64)
    assert found["mean"] == pytest.approx(stored.mean(), rel=1e-15) and found["min"] == stored.min() and found["nan"] == 0
    assert one(Feature("float64"), values)["min"] == stored.min(), "TFRecords keep floats as float32"


def test_a_large_mean_costs_no_digits():
    rng = np.random.default_rng(1)
    values = (4096 + rng.integers(0, 4, (4000, 5))).astype(np.float32)
    assert one(Feature("float32", (5,)), list(values), chunk=100)["std"] == pytest.approx(np.std(values.astype(np.float64)), rel=1e-12)


def test_nan_and_infinity_are_counted_and_left_out():
    found = one(Feature("float32", (None,)), [[1.0, math.nan, 3.0], [math.inf, -math.inf], [], [math.nan]])
    assert (found["count"], found["nan"], found["infinite"], found["mean"], found["std"]) == (2, 2, 2, 2.0, 1.0)
    only = one(Feature("float32"), [math.nan, math.nan])
    assert only == {"count": 0, "nan": 2}
    json.dumps([found, only], allow_nan=False)


def test_no_rows_and_no_values():
    features = {"a": Feature(), "b": Feature("float32", (None,)), "c": Feature(names=("x",)), "d": Feature(encoding="text")}
    features |= {"e": Feature("uint8", (None, None, 3), "png"), "f": Feature("int64", (None,), names=("x", "y"))}
    result = Statistics(features).result()
    json.dumps(result, allow_nan=False)
    assert result["classes"] == {"x": 0} and result["features"]["a"] == {"count": 0}
    found = Statistics(features)
    found.add([])
    assert found.result() == result
    assert one(Feature("int64", (None,), names=("x", "y")), [[], []])["classes"] == {"x": 0, "y": 0}


# ── merging ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

FEATURES = {
    "x": Feature("float32", (None,)),
    "n": Feature("int64"),
    "label": Feature(names=("no", "yes")),
    "tags": Feature("int64", (None,), names=("a", "b", "c")),
    "text": Feature(encoding="text"),
    "words": Feature("string", (None,), "text"),
}


def row(rng):
    return {
        "x": rng.standard_normal(int(rng.integers(5))).astype(np.float32) * 10.0 ** int(rng.integers(-6, 7)),
        "n": int(rng.integers(-(2**40), 2**40)),
        "label": int(rng.integers(2)),
        "tags": rng.integers(0, 3, int(rng.integers(4))),
        "text": "漢é" * int(rng.integers(20)),
        "words": ["ab"] * int(rng.integers(3)),
    }


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), counts=st.lists(st.integers(0, 6), min_size=1, max_size=6), order=st.randoms(use_true_random=False))
def test_any_order_of_merging_gives_the_same_bits(seed, counts, order):
    rng = np.random.default_rng(seed)
    chunks = [[row(rng) for _ in range(count)] for count in counts]
    whole = Statistics(FEATURES)
    parts = []
    for chunk in chunks:
        whole.add(chunk)
        part = Statistics(FEATURES)
        part.add(chunk)
        parts.append(pickle.loads(pickle.dumps(part)))
    order.shuffle(parts)
    merged = Statistics(FEATURES)
    for part in parts:
        merged.merge(part)
    assert merged.result() == whole.result()
    rows = list(itertools.chain.from_iterable(chunks))
    result = whole.result()
    assert result["classes"] == {name: sum(r["label"] == k for r in rows) for k, name in enumerate(("no", "yes"))}
    assert result["features"]["tags"]["classes"] == {name: sum(int((r["tags"] == k).sum()) for r in rows) for k, name in enumerate("abc")}
    numbers = np.concatenate([r["x"] for r in rows]).astype(np.float64) if rows else np.zeros(0)
    if numbers.size:
        assert result["features"]["x"]["mean"] == pytest.approx(numbers.mean(), rel=1e-12, abs=1e-12)
        assert result["features"]["x"]["std"] == pytest.approx(numbers.std(), rel=1e-12, abs=1e-12)


# ── sizes and classes ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_sizes_in_bins_that_double():
    found = one(Feature(encoding="text"), ["", "a", "ab", "abc", "é" * 4, "x" * 15, "x" * 16, "漢".encode()])["characters"]
    assert found == {"min": 0, "mean": 42 / 8, "max": 16, "histogram": {"0": 1, "1": 2, "2": 2, "4": 1, "8": 1, "16": 1}}
    words = one(Feature("string", (None,), "text"), [["ab", "c"], [], ["def"]])
    assert words["lengths"]["histogram"] == {"0": 1, "1": 1, "2": 1} and words["characters"]["mean"] == 2.0


def test_a_label_out_of_range_is_refused():
    for wrong in (3, -1):
        with pytest.raises(ValueError, match=f"class label is {wrong}, must be in 0 … 2"):
            one(Feature(names=("a", "b", "c")), [0, wrong, 2])


def test_only_the_first_scalar_label_stands_on_top():
    features = {"tags": Feature("int64", (None,), names=("a",)), "digit": Feature(names=("0", "1")), "speaker": Feature(names=("ann", "bob"))}
    result = gathered(features, [{"tags": [0], "digit": 1, "speaker": 0}]).result()
    assert result["classes"] == {"0": 0, "1": 1} and result["features"]["speaker"]["classes"] == {"ann": 1, "bob": 0}


def encoded(form, mode="RGB", size=(48, 32), **options):
    data = io.BytesIO()
    Image.effect_noise(size, 60).convert(mode).save(data, form, **options)
    return data.getvalue()


def test_pictures_are_measured_by_their_header():
    exif = Image.Exif()
    exif[0x0112] = 6
    for data in (
        encoded("JPEG"),
        encoded("JPEG", "L", progressive=True),
        encoded("JPEG", "CMYK"),
        encoded("JPEG", exif=exif, comment=b"x" * 3000),
        encoded("PNG"),
        encoded("PNG", "P"),
        encoded("PNG", "I;16"),
    ):
        assert size_of(data) == (48, 32)
        assert size_of(b"") is size_of(data[:10]) is size_of(b"GIF89a" + data) is None
    padded = encoded("JPEG")
    assert size_of(padded[:2] + b"\xff\xff\xff" + padded[2:]) == (48, 32), "markers may be padded"
    rows = [encoded("JPEG", size=(20, 7)), encoded("PNG", size=(64, 7)), b"\xff\xd8 no picture", b""]
    found = one(Feature("uint8", (None, None, 3), "jpeg"), rows)
    assert found["width"] == {"min": 20, "mean": 42.0, "max": 64, "histogram": {"16": 1, "64": 1}}
    assert found["height"]["min"] == found["height"]["max"] == 7 and found["unreadable"] == 2 and found["bytes"]["min"] == 0
    assert "unreadable" not in one(Feature("uint8", (None, None, 3), "jpeg"), rows[:2])


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_can_break_the_header_reader(data):
    for start in (b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b""):
        found = size_of(start + data)
        assert found is None or min(found) >= 0
