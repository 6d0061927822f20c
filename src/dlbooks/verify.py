"""``dlbooks verify``: is a chapter trained from scratch the same to the last byte?"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from dlbooks import UserError, catalog, runtime


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def again(name: str, out: Path) -> None:
    """Runs a chapter in a process of its own, without DVC, Prefect and MLflow, into ``out``."""
    profile = runtime.profile_of(runtime.root() / "params.yaml")
    environment = {**os.environ, **runtime.environment(profile), "PYTHONPATH": str(runtime.root() / "src")}
    done = subprocess.run([sys.executable, "-m", "dlbooks.stage", "direct", name, str(out)], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{name} failed: {(done.stderr.strip() or done.stdout.strip()).splitlines()[-1]}")


def compare(names: list[str], said: Callable[[str, dict], None] = lambda *_: None) -> dict[str, dict]:
    """A fresh run of every chapter against ``data/runs`` (or against a second run where nothing is there): what differs."""
    for name in names:
        catalog.chapter(name)
    results = {}
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            again(name, Path(scratch) / "first")
            tracked = runtime.root() / "data" / "runs" / name
            against = "the tracked result"
            if not (tracked / "run.json").exists():
                tracked, against = Path(scratch) / "second", "a second run"
                again(name, tracked)
            first, second = digests(Path(scratch) / "first"), digests(tracked)
            different = sorted(k for k in first.keys() | second.keys() if first.get(k) != second.get(k))
        results[name] = {"identical": not different, "files": len(first), "different": different, "against": against}
        said(name, results[name])
    return results


def verify(names: list[str], as_json: bool = False) -> int:
    """Prints what ``compare`` finds. Exit code 1 if any chapter differs."""

    def said(name: str, found: dict) -> None:
        different, files = found["different"], found["files"]
        verdict = f"DIFFERS in {len(different)} of {files} files: {', '.join(different[:5])}" if different else f"bit-identical, {files} files"
        print(f"{name}: {verdict} (fresh run against {found['against']})", flush=True)

    results = compare(names) if as_json else compare(names, said)
    if as_json:
        print(json.dumps(results, indent=2))
    return int(not all(r["identical"] for r in results.values()))
