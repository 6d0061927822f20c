"""# Two series of B1

The CSV files that chapter 15 of B1 reads: no header, an integer time, then the values. `period_trend.csv` has 500 rows of one variable,
`multivariate_periods.csv` 100 rows of five. Their origin is not told, but they follow

$$y(t) = \\tfrac{t}{10} + 4 \\sin\\tfrac{2\\pi t}{100} + \\mathcal{N}(0, 1), \\qquad v_k(t) = \\tfrac{5}{4} k + \\cos\\bigl(\\tfrac{t}{a_k} + \\tfrac{k \\pi}{4}\\bigr) + \\mathcal{N}(0, 0.1),$$

with $k = 0 … 4$ and $a_k = \\pi \\cdot (0.2, 0.65, 1.1, 1.55, 2)$, that is, periods of 3.95, 12.83, 21.71, 30.59 and 39.48 steps: the residuals have a mean of
zero and the deviations 0.99 and 0.08 to 0.12. The twin is drawn by these formulas in the same format, with 160 rows instead of 100
of the second kind.

One split, `train`, with one record per file: the whole series and how many of its first rows are for fitting when a forecast is scored.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dlbooks.catalog import DataSet, Source
from dlbooks.datasets import _series
from dlbooks.datasets._drawing import cosine, sine
from dlbooks.params import DataSetParams

DATASET = DataSet(
    id="series",
    title="B1's two series: a trend with a period, five periods together",
    homepage="https://github.com/hzy46/Deep-Learning-21-Examples",
    license="not stated",
    citation="Z. He, 21 Deep Learning Projects, 2018, chapter 15: the book's companion code",
    files=[
        Source(
            urls=[
                "https://raw.githubusercontent.com/hzy46/Deep-Learning-21-Examples/"
                "15c2d9edccad090cd67b033f24a43c544e5cba3e/chapter_15/data/period_trend.csv"
            ],
            sha256="a62f508b55fe829fc5b0e140b257979fc084dacae52c8acd6d2b86b0fddddd54",
            name="period_trend.csv",
        ),
        Source(
            urls=[
                "https://raw.githubusercontent.com/hzy46/Deep-Learning-21-Examples/"
                "15c2d9edccad090cd67b033f24a43c544e5cba3e/chapter_15/data/multivariate_periods.csv"
            ],
            sha256="5fd1b63e20b5d681055771cf04c80409ffcee756ee9abdcfaed67718a4c1de2f",
            name="multivariate_periods.csv",
        ),
    ],
)


class Params(DataSetParams):
    pass


FEATURES = _series.FEATURES


def period_trend(times: np.ndarray) -> np.ndarray:
    """The first file's formula without its noise, ``[T, 1]``."""
    return (times / 10 + 4 * sine(times / 100))[:, None]


def multivariate_periods(times: np.ndarray) -> np.ndarray:
    """The second file's formula without its noise, ``[T, 5]``. A cosine's argument in turns: t/(2π²·(0.2 … 2)) + k/8."""
    k = np.arange(5)
    turns = times[:, None] / (19.739208802178716 * (0.2 + 0.45 * k)) + k / 8
    return 1.25 * k + cosine(turns)


def _normal(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Nearly Gaussian draws without a logarithm: the sum of twelve uniform ones has a variance of exactly 1."""
    return np.random.default_rng(seed).random((12, *shape)).sum(0) - 6


def twin(folder: Path, params: Params) -> None:
    """Draws both files by their formulas."""
    one, five = np.arange(1, 501), np.arange(160)
    _series.write_csv(folder / "period_trend.csv", one, period_trend(one) + _normal(0, (500, 1)))
    _series.write_csv(folder / "multivariate_periods.csv", five, multivariate_periods(five) + 0.1 * _normal(1, (160, 5)))


def examples(folder: Path, params: Params) -> dict[str, Iterator[dict]]:
    """Both files; the last fifth of the first is held out, of the second 20 of 100 rows (twin: 40 of 160)."""
    return {
        "train": iter(
            [
                _series.example(folder / "period_trend.csv", 400, 100, 1),
                _series.example(folder / "multivariate_periods.csv", 120 if params.twin else 80, 0, 5),
            ]
        )
    }
