"""How long a rebuild takes, in a scratch clone: cold, with nothing changed, with outputs deleted, and what a chapter costs beside its own work.

    .venv/bin/python benchmarks/rebuild.py

All figures come from one run; quote them with the CPU that is printed.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dlbooks import catalog, runtime

OWN = ("seconds.train", "seconds.evaluate", "seconds.export")


def timed(clone: Path) -> float:
    environment = {**os.environ, "PYTHONPATH": str(clone / "src"), "DLBOOKS_PYTHON": sys.executable}
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "dlbooks.cli", "repro"], cwd=clone, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.monotonic() - began


def overheads(clone: Path) -> dict[str, tuple[float, float]]:
    """Chapter → (seconds of its own work, seconds of its stage beside them)."""
    os.environ["DLBOOKS_HOME"] = str(clone)
    import json

    from dlbooks import tracking

    store = tracking.client()
    spent = json.loads((clone / ".dlbooks" / "seconds.json").read_text())
    found = {}
    for name in catalog.chapters():
        experiments = [e.experiment_id for e in store.search_experiments()]
        (run,) = store.search_runs(experiments, f"tags.`dlbooks.chapter` = '{name}' and attributes.status = 'FINISHED'", max_results=1)
        own = sum(run.data.metrics[k] for k in OWN if k in run.data.metrics)
        found[name] = (own, spent[f"chapter {name}"] - own)
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "clone"
        subprocess.run(["git", "clone", "-q", str(runtime.root()), str(clone)], check=True)
        cold, same = timed(clone), min(timed(clone) for _ in range(3))
        rows = overheads(clone)
        shutil.rmtree(clone / "data" / "runs")
        restored = timed(clone)
        status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True).stdout.strip()
    print(f"{runtime.hardware()}\ncold {cold:.1f} s   nothing changed {same:.2f} s   outputs deleted {restored:.1f} s")
    print(f"git status after the cold rebuild: {status or 'clean'}")
    for name, (own, beside) in rows.items():
        print(f"{name:24} own work {own:6.2f} s   beside it {beside:5.2f} s")
    print(f"beside its own work, median of {len(rows)} chapters: {statistics.median(b for _, b in rows.values()):.2f} s")


if __name__ == "__main__":
    main()
