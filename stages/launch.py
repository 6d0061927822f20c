"""Starts a stage from any Python: finds the project's interpreter, or hands over to a warm process that a rebuild keeps.

Standard library alone, so that ``dvc repro`` works under a bare PATH. The stage dies with whoever started it: a killed DVC leaves no
trainer behind.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from dlbooks import runtime, warm  # standard library only

SHELLS = {"sh", "bash", "dash", "zsh", "ksh"}


def interpreter() -> str:
    """``DLBOOKS_PYTHON``, else the nearest ``.venv`` of this folder and those above it (DVC's temporary workspaces lie below)."""
    if os.environ.get("DLBOOKS_PYTHON"):
        return os.environ["DLBOOKS_PYTHON"]
    for folder in (ROOT, *ROOT.parents):
        for python in (folder / ".venv/bin/python", folder / ".venv/Scripts/python.exe"):
            if python.exists():
                return str(python)
    sys.exit(f"error: no .venv in {ROOT} or above it: run `make setup`, or name an interpreter in DLBOOKS_PYTHON")


def clients() -> list[int]:
    """Process ids of the shell that runs this command and of what started that shell; empty for an interactive shell."""
    found, pid = [], os.getppid()
    while pid > 1:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return found
        shell = os.path.basename(command[0]).decode(errors="replace").lstrip("-") in SHELLS
        if shell and b"-c" not in command:
            return found
        found.append(pid)
        if not shell:
            return found
        pid = parent
    return found


def launch(stage: str) -> None:
    """Becomes ``python -m dlbooks.stage <stage> <arguments>`` in the project's environment."""
    if ROOT != Path.cwd():
        os.chdir(ROOT)
    command = [stage, *sys.argv[1:]]
    if line := warm.hand_over(command, ROOT, os.environ):
        follow(line)
    python = interpreter()
    environment = {**runtime.stage_environment(ROOT, os.environ), "DLBOOKS_CLIENTS": ",".join(map(str, clients()))}
    words = [python, "-m", "dlbooks.stage", *command]
    if os.name == "posix":
        os.execve(python, words, environment)
    import subprocess

    sys.exit(subprocess.call(words, env=environment))


def follow(line: socket.socket) -> None:
    """Waits for the exit code of what was handed over, and ends with it."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: os._exit(143))  # the line breaks, and the stage with it
    watched = [line.fileno(), *(os.pidfd_open(pid) for pid in clients())]
    try:
        ready, _, _ = select.select(watched, [], [])
    except KeyboardInterrupt:
        line.shutdown(socket.SHUT_WR)
        line.recv(4)
        os._exit(130)
    os._exit(warm.answer(line) if line.fileno() in ready else 143)
