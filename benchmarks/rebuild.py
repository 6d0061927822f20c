"""How long a rebuild takes, in scratch clones: in parallel and by a plain serial `dvc repro`, with nothing changed, with outputs deleted, and what
a chapter costs beside its own work.

    .venv/bin/python benchmarks/rebuild.py [--rounds 1] [--jobs 0] [chapter …]

Without chapters, everything. All figures come from one run, parallel and serial in turns; quote them with the CPU that is printed.
"""

import argparse
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from dlbooks import catalog, runtime

OWN = ("seconds.train", "seconds.evaluate", "seconds.export")


def clone(folder: Path) -> Path:
    subprocess.run(["git", "clone", "-q", str(runtime.root()), str(folder)], check=True)
    return folder


def timed(folder: Path, command: list[str]) -> float:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DLBOOKS_", "PREFECT_", "MLFLOW_"))}
    environment = {**kept, **runtime.QUIET, "PYTHONPATH": str(folder / "src"), "DLBOOKS_PYTHON": sys.executable}
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.monotonic() - began


def overheads(folder: Path) -> dict[str, tuple[float, float]]:
    """Chapter → (seconds of its own work, seconds of its flow run on the worker beside them: DVC, Prefect, MLflow)."""
    os.environ["DLBOOKS_HOME"] = str(folder)
    from dlbooks import tracking

    with sqlite3.connect(folder / ".dlbooks" / "prefect" / "prefect.db") as base:
        rows = base.execute("select name, start_time, end_time from flow_run where end_time is not null").fetchall()
    slots = {}
    for name, start, end in rows:  # a chapter's own flow run has the same name and lies within the stage's
        seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
        slots[name] = max(seconds, slots.get(name, 0.0))
    store, found = tracking.client(), {}
    experiments = [e.experiment_id for e in store.search_experiments()]
    for run in store.search_runs(experiments, "attributes.status = 'FINISHED'", max_results=1000):
        name = run.data.tags.get("dlbooks.chapter")
        if name in slots and "dlbooks.restored" not in run.data.tags:
            own = sum(run.data.metrics[k] for k in OWN if k in run.data.metrics)
            found[name] = (own, slots[name] - own)
    return found


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--rounds", type=int, default=1)
    words.add_argument("--jobs", type=int, nargs="*", default=[0], help="stages at a time, several numbers are compared")
    words.add_argument("--no-serial", action="store_true")
    words.add_argument("chapters", nargs="*")
    chosen = words.parse_args()
    found: dict[str, list[float]] = {}
    locks: dict[str, str] = {}
    beside: dict[str, dict[str, tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        sides = {f"parallel, {jobs or 'fitting'} jobs": ["dlbooks.cli", "repro", *chosen.chapters, "--jobs", str(jobs)] for jobs in chosen.jobs}
        if not chosen.no_serial:
            sides["serial dvc repro"] = ["dvc", "repro", "--quiet", *chosen.chapters]
        for number in range(chosen.rounds):
            for side, command in sides.items():
                folder = clone(Path(scratch) / f"{side} {number}".replace(", ", "-").replace(" ", "-"))
                found.setdefault(side, []).append(timed(folder, command))
                locks[side] = (folder / "dvc.lock").read_text()
                print(f"{side:24} cold {found[side][-1]:6.1f} s", flush=True)
                if side.startswith("parallel"):
                    last, beside[side] = folder, overheads(folder)
        again = ["dlbooks.cli", "repro", *chosen.chapters]
        same = min(timed(last, again) for _ in range(3))
        stages = sum(1 for _ in (last / ".dlbooks/rebuild/logs").glob("*.log"))
        for part in ("raw", "tfrecords", "runs", "report"):
            shutil.rmtree(last / "data" / part, ignore_errors=True)
        restored = timed(last, again)
        status = subprocess.run(["git", "status", "--porcelain"], cwd=last, capture_output=True, text=True, check=True).stdout.strip()
    print(
        f"{runtime.hardware()}\nnothing changed {same:.2f} s   outputs of {stages} stages deleted {restored:.1f} s: {stages / restored:.0f} stages/s"
    )
    medians = {side: statistics.median(seconds) for side, seconds in found.items()}
    if "serial dvc repro" in medians:
        for side, seconds in medians.items():
            print(f"{side:24} {seconds:6.1f} s   {medians['serial dvc repro'] / seconds:.2f} x the speed of serial dvc repro")
    print(f"dvc.lock {'the same everywhere' if len(set(locks.values())) == 1 else 'DIFFERS'}; git status {status or 'clean'}")
    for side, rows in beside.items():
        for name in catalog.chapters():
            if name in rows:
                print(f"{side:24} {name:26} own work {rows[name][0]:6.2f} s   beside it {rows[name][1]:5.2f} s")
    for side, rows in beside.items():
        print(f"{side:24} beside its own work, median of {len(rows)} chapters: {statistics.median(b for _, b in rows.values()):.2f} s")


if __name__ == "__main__":
    main()
