"""Time series as CSV: one reader for data sets and for a person's own files, one writer, one record schema.

A file has two or more numeric columns: the first is an integer time, strictly increasing, the others are the variables. There is no header, or
one without a single number in it; a blank last line does no harm.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from dlbooks import UserError
from dlbooks.records import Feature

MAX_ROWS, MAX_COLUMNS = 1_000_000, 256
FEATURES = {
    "name": Feature("string", encoding="text"),
    "times": Feature("int64", (None,)),
    "values": Feature("float32", (None,)),
    "num_features": Feature("int64"),
    "train_length": Feature("int64"),
    "period": Feature("int64"),
}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def read_csv(path: Path, columns: int | None = None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Times int64 ``[T]``, values float64 ``[T, F]`` and the variables' names; ``columns`` is the number of variables expected.

    What is wrong with a file is one line that names file and line number.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise UserError(f"{path}: {reason}; expected a CSV file of times and values") from None
    while lines and not lines[-1].strip():
        lines.pop()
    names, rows = [], []
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        cells = [c.strip() for c in line.split(",")]
        if number == 1 and len(cells) > 1 and all(c and _number(c) is None for c in cells):
            names = cells[1:]
            width = len(cells)
            continue
        if not (rows or names):
            width = len(cells)
        if len(cells) != width:
            raise UserError(f"{where}: {len(cells)} columns, the lines above have {width}")
        if not 2 <= width <= MAX_COLUMNS:
            raise UserError(f"{where}: {width} columns, expected a time and 1 to {MAX_COLUMNS - 1} values, separated by commas")
        for cell in cells:
            if (value := _number(cell)) is None or not math.isfinite(value):
                raise UserError(f"{where}: {cell!r} is not a finite number")
        time = float(cells[0])
        if time != int(time):
            raise UserError(f"{where}: time {cells[0]} is not an integer")
        if rows and time <= rows[-1][0]:
            what = "appears again" if time == rows[-1][0] else f"comes after {rows[-1][0]}"
            raise UserError(f"{where}: time {int(time)} {what}; times must increase")
        if len(rows) == MAX_ROWS:
            raise UserError(f"{path}: more than {MAX_ROWS:,} rows")
        rows.append((int(time), *map(float, cells[1:])))
    if not rows:
        raise UserError(f"{path}: no rows")
    found = width - 1
    if columns is not None and found != columns:
        raise UserError(f"{path}, line {1 + bool(names)}: expected {columns} value column{'s' * (columns > 1)}, found {found}")
    times = np.array([r[0] for r in rows], np.int64)
    return times, np.array([r[1:] for r in rows], np.float64), names or [f"v{k + 1}" for k in range(found)] if found > 1 else names or ["value"]


def require_no_gaps(path: Path, times: np.ndarray, header: bool = False) -> None:
    """Refuses a file whose times do not rise by one."""
    jumps = np.flatnonzero(np.diff(times) != 1)
    if len(jumps):
        at = int(jumps[0])
        raise UserError(f"{path}, line {at + 2 + header}: times jump from {times[at]} to {times[at + 1]}; this model needs every step")


def write_csv(path: Path, times: np.ndarray, values: np.ndarray, decimals: int = 10) -> None:
    """The format that ``read_csv`` reads, without a header."""
    rows = (",".join([str(t), *(f"{v:.{decimals}f}" for v in row)]) for t, row in zip(times.tolist(), np.atleast_2d(values), strict=True))
    path.write_text("\n".join(rows) + "\n", encoding="ascii")


def example(path: Path, train_length: int, period: int, columns: int) -> dict:
    """One file as one record: the whole series with what belongs to its scoring."""
    times, values, _ = read_csv(path, columns)
    require_no_gaps(path, times)
    if len(times) < train_length:
        raise UserError(f"{path}: {len(times)} rows, expected at least {train_length}")
    return {
        "name": path.stem,
        "times": times,
        "values": values.astype(np.float32).ravel(),
        "num_features": values.shape[1],
        "train_length": train_length,
        "period": period,
    }
