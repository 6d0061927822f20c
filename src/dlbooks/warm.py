"""Both ends of the line to a warm process: it has imported the third-party packages once and forks a child for every stage.

Standard library alone. A request is a command of ``dlbooks.stage``, a folder, an environment and the client's three streams; the answer is
the child's exit code. The child ends with its client: a closed line interrupts it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from dlbooks import runtime


def start(door: Path, environment: dict[str, str]) -> subprocess.Popen:
    """Starts a warm process that will listen at ``door`` (``ready`` waits for it) and ends with this one."""
    from dlbooks import services

    command = [sys.executable, str(runtime.root() / "stages" / "warm.py"), str(door)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=services.die_with_parent)


def ready(process: subprocess.Popen, door: Path) -> bool:
    """Waits until the process listens; False if it ended instead."""
    while not door.exists() and process.poll() is None:
        time.sleep(0.05)
    return door.exists()


def ask(door: str | Path, command: list[str], folder: Path, environment: dict[str, str], streams: tuple[int, int, int] = (0, 1, 2)) -> socket.socket:
    """Hands a command over; returns the line on which the exit code will come (``answer``). ``OSError`` if nobody answers."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.connect(str(door))
        request = json.dumps({"command": command, "environment": environment, "folder": str(folder)}).encode()
        socket.send_fds(line, [len(request).to_bytes(8, "little")], list(streams))
        line.sendall(request)
    except OSError:
        line.close()
        raise
    return line


def hand_over(command: list[str], root: Path, outside: Mapping[str, str]) -> socket.socket | None:
    """``ask`` for a stage of the checkout or workspace ``root``, of the process that ``DLBOOKS_WARM`` names. None if there is none or it does not
    answer, and for profile ``book``, which computes in a process of its own, with what the machine has."""
    door = os.environ.get("DLBOOKS_WARM")
    if not door or runtime.profile_of(root / "params.yaml") == "book":
        return None
    with contextlib.suppress(OSError):
        return ask(door, command, root, runtime.stage_environment(root, outside))
    return None


def request(line: socket.socket) -> dict:
    """The other end of ``ask``: puts the client's streams in place of this process's and returns what it wants."""
    head, streams, _, _ = socket.recv_fds(line, 8, 3)
    size, data = int.from_bytes(head, "little"), b""
    while len(data) < size:
        data += line.recv(size - len(data))
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    return json.loads(data)


def answer(line: socket.socket) -> int:
    """The child's exit code; 143 if it was killed and could not say."""
    data = b""
    with contextlib.suppress(OSError):
        data = line.recv(4)
    return int.from_bytes(data, "little") if data else 143
