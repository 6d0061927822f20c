"""Time series as CSV files, as people keep them: an integer time and one or more values a line, with or without a line of names.

Every file is one series, one record of the data set's only split, ``train``; of its rows the last share ``test`` is held out when a forecast is scored.
What is no such line (text, NaN, infinity, another number of columns, a time that does not rise) is named by file and line. With ``gaps: fill`` such lines
and missing times are filled by straight lines between their neighbors instead; ``refuse`` is the default. A ``period`` of 0 is unknown: who needs one finds it in the data.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from dlbooks import UserError, archives
from dlbooks.datasets import _series, _text

FEATURES = _series.FEATURES
LEAST = 30  # rows of a series: there must be something to learn from and something to score


def inspect(data: bytes, where: str) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    """Times int64 ``[T]``, values float64 ``[T, F]`` and names of the lines that are right, and a message for every line that is wrong."""
    text, faults = _text.decode(data, where)
    problems = [message for _, message in faults]
    if not text.strip():
        return np.zeros(0, np.int64), np.zeros((0, 1)), [], problems
    lines = _text.lines(text.rstrip("\n"))
    cells = [[c.strip().strip('"') for c in line.split(",")] for line in lines]
    header = len(cells[0]) > 1 and all(_number(c) is None for c in cells[0])
    width = len(cells[1] if header and len(cells) > 1 else cells[0])
    names = cells[0][1:] if header and len(cells[0]) == width else []
    bad_lines = {line for line, _ in faults}
    times, rows = [], []
    if not 2 <= width <= _series.MAX_COLUMNS:
        return (
            np.zeros(0, np.int64),
            np.zeros((0, 1)),
            [],
            [
                *problems,
                f"{where}, line 1: {width} column{'s' * (width != 1)}, expected a time and 1 to {_series.MAX_COLUMNS - 1} values, separated by commas",
            ],
        )
    for number, row in enumerate(cells[header:], 1 + header):
        if number in bad_lines:
            continue
        if fault := _fault(row, width, times[-1] if times else None):
            problems.append(f"{where}, line {number}: {fault}")
            continue
        times.append(int(float(row[0])))
        rows.append([float(c) for c in row[1:]])
    values = np.array(rows, np.float64).reshape(-1, width - 1)
    return np.array(times, np.int64), values, names or [f"v{k + 1}" for k in range(width - 1)], problems


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _fault(row: list[str], width: int, before: int | None) -> str:
    """What is wrong with a line, given the time of the right one before it; an empty word if nothing is."""
    if len(row) != width:
        return f"{len(row)} column{'s' * (len(row) != 1)}, the others have {width}"
    for cell in row:
        if (value := _number(cell)) is None or not math.isfinite(value):
            return f"{cell[:40]!r} is not a finite number"
    time = float(row[0])
    if time != int(time) or abs(time) > 2**53:
        return f"time {row[0]} is not an integer"
    if before is not None and time <= before:
        return f"time {int(time)} " + ("appears again" if time == before else f"comes after {before}") + "; times must increase"
    return ""


def gaps(times: np.ndarray, where: str) -> list[str]:
    """A message for every place where times do not rise by one."""
    at = np.flatnonzero(np.diff(times) != 1)
    return [f"{where}: times jump from {times[i]} to {times[i + 1]}; every step is needed" for i in at]


def filled(times: np.ndarray, values: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Every time from the first to the last, missing values on straight lines between their neighbors."""
    if len(times) and times[-1] - times[0] >= _series.MAX_ROWS:
        raise UserError(f"{where}: times run from {times[0]} to {times[-1]}, more than {_series.MAX_ROWS:,} steps")
    whole = np.arange(times[0], times[-1] + 1)
    return whole, np.stack([np.interp(whole, times, column) for column in values.T], 1)


def examples(path: Path, params) -> dict[str, list[dict]]:
    """One record per file of the zip ``path``; ``params`` has ``test``, ``period`` and ``gaps``."""
    members = archives.Members(path)
    return {"train": [example(members.read(name), f"{path.name}, {name}", Path(name).stem, params) for name in sorted(members.names)]}


def example(data: bytes, where: str, name: str, params) -> dict:
    """The record of one series."""
    times, values, _, problems = inspect(data, where)
    if params.gaps == "fill" and len(times):
        times, values = filled(times, values, where)
    elif problems := problems or gaps(times, where):
        raise UserError(problems[0])
    if len(times) < LEAST:
        raise UserError(f"{where}: {len(times)} rows, a series needs at least {LEAST}")
    train_length = len(times) - max(1, round(len(times) * params.test))
    if params.period > train_length:
        raise UserError(f"{where}: period = {params.period} is longer than the {train_length} rows for fitting")
    return {
        "name": name,
        "times": times,
        "values": values.astype(np.float32).ravel(),
        "num_features": values.shape[1],
        "train_length": train_length,
        "period": params.period,
    }
