"""The weekly check: chapters trained again from scratch must equal the tracked results to the last byte."""

from __future__ import annotations

import random
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.states import Completed, Failed

from dlbooks import catalog
from dlbooks import verify as checking


@flow(name="verify", persist_result=False)
def verify(chapters: list[str] | None = None, sample: int = 4):
    """Compares ``chapters``, or ``sample`` of all drawn by the number of the week: within some weeks every chapter has its turn."""
    names = list(chapters or catalog.chapters())
    if not chapters:
        year, week, _ = datetime.now(UTC).isocalendar()
        order = random.Random(year).sample(names, len(names))
        names = [order[(week * sample + i) % len(order)] for i in range(min(sample, len(order)))]
    results = checking.compare(names)
    rows = [{"chapter": n, "identical": r["identical"], "files": r["files"], "different": ", ".join(r["different"][:5])} for n, r in results.items()]
    create_table_artifact(key="verify", table=rows, description="Fresh runs against the tracked results")
    different = [n for n, r in results.items() if not r["identical"]]
    return Failed(message=f"other bits: {', '.join(different)}") if different else Completed(message=f"bit-identical: {', '.join(names)}")


if __name__ == "__main__":
    verify(sys.argv[1:] or None)
