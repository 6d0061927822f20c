"""Facts: numbers a book prints, checked against what our code computes. Labs collect them instead of training a model."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Facts:
    """Rows of (name, source, expected, measured, tolerance, ok); a failed check is recorded, never raised.

    ``facts.check("σ'(0)", measured, 0.25, "B5 4.7")``; then ``run.table("facts.csv", facts.rows)`` and ``return facts.metrics()``.
    """

    rows: list[dict] = field(default_factory=list)

    def check(self, name: str, measured, expected, source: str, tolerance: float = 0.0) -> bool:
        """Scalars, arrays, tuples or strings; numbers may differ by ``tolerance`` (absolute), strings not at all."""
        if isinstance(expected, str | bool) or isinstance(measured, str | bool):
            ok = measured == expected
        else:
            got, want = np.asarray(measured, np.float64), np.asarray(expected, np.float64)
            with np.errstate(invalid="ignore"):  # inf − inf
                ok = got.shape == want.shape and bool(np.all((got == want) | (np.abs(got - want) <= tolerance)))
        row = {"name": name, "source": source, "expected": _text(expected), "measured": _text(measured), "tolerance": tolerance, "ok": ok}
        self.rows.append(row)
        return ok

    def metrics(self) -> dict[str, int]:
        return {"facts_total": len(self.rows), "facts_failed": sum(not row["ok"] for row in self.rows)}


def _text(value) -> str:
    """A short, machine-independent spelling."""
    if isinstance(value, str | bool):
        return str(value)
    array = np.asarray(value)
    if array.ndim == 0:
        return f"{array.item():.6g}"
    flat = [f"{v:.6g}" for v in array.ravel()[:16].tolist()]
    return f"{'×'.join(map(str, array.shape))}: " + " ".join(flat) + (" …" if array.size > 16 else "")
