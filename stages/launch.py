"""Starts a stage from any Python: finds the project's interpreter, or hands over to a warm process that a rebuild keeps.

Standard library alone, so that ``dvc repro`` works under a bare PATH. The stage dies with whoever started it: a killed DVC leaves no
trainer behind.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from dlbooks import runtime  # standard library only

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
    profile = runtime.profile_of(ROOT / "params.yaml")
    command = [stage, *sys.argv[1:]]
    environment = {**os.environ, **runtime.environment(profile), "PYTHONPATH": str(ROOT / "src")}
    warm = os.environ.get("DLBOOKS_WARM")
    if warm and profile != "book" and os.path.exists(warm):
        hand_over(warm, command, environment)
    python = interpreter()
    environment["DLBOOKS_CLIENTS"] = ",".join(map(str, clients()))
    words = [python, "-m", "dlbooks.stage", *command]
    if os.name == "posix":
        os.execve(python, words, environment)
    import subprocess

    sys.exit(subprocess.call(words, env=environment))


def hand_over(warm: str, command: list[str], environment: dict[str, str]) -> None:
    """Sends everything to the warm process, waits for the exit code and ends with it. Returns if nobody answers."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.connect(warm)
        request = json.dumps({"command": command, "environment": environment, "folder": str(ROOT)}).encode()
        socket.send_fds(line, [len(request).to_bytes(8, "little")], [0, 1, 2])
        line.sendall(request)
    except OSError:
        line.close()
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: os._exit(143))  # the line breaks, and the stage with it
    watched = [line.fileno(), *(os.pidfd_open(pid) for pid in clients())]
    try:
        ready, _, _ = select.select(watched, [], [])
        answer = line.recv(4) if line.fileno() in ready else b""
    except KeyboardInterrupt:
        line.shutdown(socket.SHUT_WR)
        line.recv(4)
        os._exit(130)
    os._exit(int.from_bytes(answer, "little") if answer else 143)
