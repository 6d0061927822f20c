"""What a running stage tells whoever watches it: one small file, written in one step at most once a second, gone when the stage ends.

``DLBOOKS_STATUS`` names the file; without it nothing is written and progress bars go to the terminal. It holds ``stage``, ``process``, ``began``
(seconds since 1970), ``state`` ("training" …), of a progress bar ``label``, ``done``, ``total``, ``unit``, ``rate`` (per second), ``left`` (seconds),
and ``values``, the newest of every logged series.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

from tqdm import tqdm

from dlbooks import runtime

EVERY = 1.0  # seconds between two writings
STATES = {
    "fetch": "fetching",
    "preprocess": "preprocessing",
    "report": "building",
    "train": "training",
    "evaluate": "evaluating",
    "export": "exporting",
}

_known: dict = {}
_written = 0.0


def watched() -> bool:
    return "DLBOOKS_STATUS" in os.environ


def begin(stage: str, step: str) -> None:
    """A stage begins in this process; ``step`` is a key of ``STATES``, or anything for one that has yet to say what it does."""
    _known.clear()
    tell(True, stage=stage, process=os.getpid(), began=time.time(), state=STATES.get(step, "starting"))


def enter(step: str) -> None:
    """The stage goes on to its next step: whatever a bar has shown is over."""
    for key in ("label", "done", "total", "unit", "rate", "left"):
        _known.pop(key, None)
    tell(True, state=STATES[step])


def tell(now: bool = False, **entries) -> None:
    """Notes entries and writes them if the last writing is a second old, or ``now``."""
    global _written
    if not watched():
        return
    _known.update(entries)
    if not now and time.monotonic() < _written + EVERY:
        return
    _written = time.monotonic()
    with contextlib.suppress(OSError), runtime.replacing(Path(os.environ["DLBOOKS_STATUS"])) as part:  # nobody's training ends because of it
        part.write_text(json.dumps(_known))


def end() -> None:
    if watched():
        with contextlib.suppress(OSError):
            Path(os.environ["DLBOOKS_STATUS"]).unlink()


class Bar(tqdm):
    """A progress bar on the terminal, or, where somebody watches, in the status file."""

    monitor_interval = 0  # no thread beside the training

    def __init__(self, *words, **options):
        self.told = watched() and not options.get("disable")
        if self.told:
            self.nowhere = open(os.devnull, "w")
            options |= {"disable": False, "file": self.nowhere, "mininterval": EVERY}
        super().__init__(*words, **options)

    def display(self, *words, **options):
        if not self.told:
            return super().display(*words, **options)
        shown = self.format_dict
        since, total = shown["n"] - shown["initial"], shown["total"]
        rate = shown["rate"] or (since / shown["elapsed"] if shown["elapsed"] and since else None)
        left = (total - shown["n"]) / rate if total and rate else None
        tell(label=self.desc.removesuffix(": "), done=shown["n"], total=total, unit=self.unit, rate=rate, left=left)
        return True

    def close(self):
        super().close()
        if self.told:
            self.told = False
            self.nowhere.close()


def read(folder: Path) -> dict[str, dict]:
    """What the stages in progress tell: ``{stage: entries}`` of every file in ``folder`` whose process is alive."""
    found = {}
    for file in folder.glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            entries = json.loads(file.read_text())
            os.kill(entries["process"], 0)
            found[entries["stage"]] = entries
    return found
