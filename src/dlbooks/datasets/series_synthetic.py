"""# Series that the books draw themselves

B1 and B3 make three of their series in the script, without a seed. Here they are files like any other: drawn once, with a seed, in the
format of the data set `series` (an integer time and a value, no header), the same in every profile.

| file | formula | rows | for fitting |
| --- | --- | --- | --- |
| `trend.csv` | $\\sin(\\pi t / 100) + t/200 + U(-0.2, 0.2)$, period 200 (B1 15.3.1) | 1,000 | 800 |
| `waves.csv` | $\\sin(\\pi t / 50) + \\cos(\\pi t / 50) + \\sin(\\pi t / 25) + U(-0.2, 0.2)$, period 100 (B1 15.4.1) | 1,200 | 1,000 |
| `sine_train.csv` | $\\sin x$ at 10,010 places from 0 to 100.1 (B3) | 10,010 | 10,010 |
| `sine_test.csv` | $\\sin x$ at 1,010 places from 100.1 to 110.2 (B3) | 1,010 | 0 |

B1 has 1,000 rows of `waves`; the other 200 are the truth that its forecast is compared with. Uniform noise of ±0.2 has the standard
deviation $0.2/\\sqrt{3} = 0.1155$: no forecast of a noisy value can have a smaller error. The places of B3 are `linspace`'s, ends included, so
that neighbors are 0.010001 and 0.010010 apart. The field `clean` holds the values without noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dlbooks.catalog import DataSet
from dlbooks.datasets import _series
from dlbooks.datasets._drawing import cosine, sine
from dlbooks.params import DataSetParams
from dlbooks.records import Feature

DATASET = DataSet(
    id="series-synthetic",
    title="Drawn series: a trend with a period, two waves, a sine",
    homepage="https://github.com/hzy46/Deep-Learning-21-Examples",
    license="Apache-2.0 (drawn by this project)",
    citation="Formulas of B1 15.3.1 and 15.4.1 and of B3, drawn anew",
    files=[],
)


class Params(DataSetParams):
    pass


FEATURES = {**_series.FEATURES, "clean": Feature("float32", (None,))}
LENGTHS = {"trend": (1000, 800, 200), "waves": (1200, 1000, 100), "sine_train": (10_010, 10_010, 628), "sine_test": (1010, 0, 628)}


def clean(name: str, times: np.ndarray) -> np.ndarray:
    """A series without its noise, ``[T, 1]``, at any times."""
    t = np.asarray(times, np.float64)
    if name == "trend":
        y = sine(t / 200) + t / 200
    elif name == "waves":
        y = sine(t / 100) + cosine(t / 100) + sine(t / 50)
    else:
        start, stop, count = (0.0, 100.1, 10_010) if name == "sine_train" else (100.1, 110.2, 1010)
        y = sine((start + (stop - start) * t / (count - 1)) / 6.283185307179586)
    return y[:, None]


def twin(folder: Path, params: Params) -> None:
    """Draws the four files."""
    for seed, (name, (rows, _, _)) in enumerate(LENGTHS.items()):
        times = np.arange(rows)
        noise = 0.0 if name.startswith("sine") else 0.4 * np.random.default_rng(seed).random((rows, 1)) - 0.2
        _series.write_csv(folder / f"{name}.csv", times, clean(name, times) + noise)


fetch = twin


def examples(folder: Path, params: Params) -> dict[str, Iterator[dict]]:
    """One record per file."""

    def items() -> Iterator[dict]:
        for name, (_, train_length, period) in LENGTHS.items():
            record = _series.example(folder / f"{name}.csv", train_length, period, 1)
            yield {**record, "clean": clean(name, record["times"]).astype(np.float32).ravel()}

    return {"train": items()}
