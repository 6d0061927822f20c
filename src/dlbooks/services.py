"""The local servers: one Prefect server per checkout, the MLflow UI. A home and a free port each, loopback only."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from dlbooks import UserError, runtime


def _home() -> Path:
    path = runtime.state() / "prefect"
    path.mkdir(exist_ok=True)
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def log() -> Path:
    """What the Prefect server printed."""
    return _home() / "server.log"


def prefect_environment() -> dict[str, str]:
    """Settings of every process that talks to Prefect: quiet, at home in this checkout, pointed at its server where one runs."""
    values = {
        "PREFECT_HOME": str(_home()),
        "PREFECT_LOGGING_LEVEL": "CRITICAL",  # an exception is reported once, by the stage itself
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    }
    if "PREFECT_API_URL" not in os.environ and (running := prefect_running()):
        values["PREFECT_API_URL"] = running
    return values


def no_heartbeats() -> None:
    """Switches the heartbeats of this process's flow runs off: they are for runs of hours, and their thread ends up to a second after the flow."""
    from prefect.context import get_settings_context

    get_settings_context().settings.flows.heartbeat_frequency = None


def prefect_running() -> str:
    """API URL of this checkout's server if it answers, else empty."""
    try:
        known = json.loads((_home() / "server.json").read_text())
        return known["url"] if _answers(known["url"] + "/health") else ""
    except (OSError, ValueError, KeyError):
        return ""


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
        return answer.status == 200
    return False


def prefect_url() -> str:
    """API URL of the server that ``PREFECT_API_URL`` names, else of this checkout's; none is a ``UserError``."""
    url = os.environ.get("PREFECT_API_URL") or prefect_running()
    if not url:
        raise UserError("no Prefect server: start one (`dlbooks ui`), or name one in PREFECT_API_URL")
    return url


# Prefect's services that a rebuild's own server does without: beside their writes, SQLite refuses others', and a refused client waits two seconds.
IDLE = "CANCELLATION_CLEANUP CLEANUP_RECONCILER EVENT_PERSISTER FOREMAN LATE_RUNS PAUSE_EXPIRATIONS REPOSSESSOR SCHEDULER TRIGGERS".split()


def start_prefect(port: int = 0, advertise: bool = True) -> tuple[subprocess.Popen, str]:
    """Starts the server without waiting for it (``await_prefect`` does); returns it and its API URL. Its database is a file in this checkout.

    ``advertise`` lets other processes of this checkout find it. It ends with the process that started it, but not by a Ctrl-C: Prefect
    must be able to say that a run was cancelled.
    """
    port = port or free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = {**os.environ, **runtime.QUIET, **prefect_environment(), "PREFECT_API_URL": url}
    if not advertise:
        environment |= {f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false" for service in IDLE}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    process = start(command, environment, log())
    if advertise:
        (_home() / "server.json").write_text(json.dumps({"url": url, "pid": process.pid}))
    return process, url


def start(command: list[str], environment: dict[str, str], log: Path, cwd: Path | None = None) -> subprocess.Popen:
    """A server in a session of its own that writes to ``log`` and ends with this process."""
    with open(log, "w") as file:
        options = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file, "start_new_session": True, "preexec_fn": die_with_parent}
        return subprocess.Popen(command, env=environment, cwd=cwd, **options)


def await_answer(url: str, process: subprocess.Popen, name: str, log: Path, seconds: float = 90) -> None:
    """Returns once ``url`` answers; a server that ends or never answers is one line naming its log."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if _answers(url):
            return
        time.sleep(0.1)
    raise UserError(f"the {name} server did not start: see {log}")


def await_prefect(process: subprocess.Popen, url: str) -> None:
    await_answer(url + "/health", process, "Prefect", log())


@contextlib.contextmanager
def kept_alive(starters: dict[str, Callable[[], subprocess.Popen]], tries: int = 5):
    """Starts processes by name and starts each again when it ends, ``tries`` times; all are stopped behind the block. Yields the running ones."""
    running = {name: start() for name, start in starters.items()}
    over = threading.Event()

    def watch() -> None:
        left = dict.fromkeys(starters, tries)
        while not over.wait(0.5):
            for name, process in running.items():
                if process.poll() is not None and left[name]:
                    left[name] -= 1
                    running[name] = starters[name]()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield running
    finally:
        over.set()
        watcher.join()
        for process in reversed(list(running.values())):
            stop(process)


def await_prefect_at(url: str, seconds: float = 90, remedy: str = "start it (`dlbooks ui`), or set PREFECT_API_URL") -> None:
    """Returns once a Prefect server answers that somebody else starts, or that is started again if it ends."""
    deadline = time.monotonic() + seconds
    while not _answers(url + "/health"):
        if time.monotonic() > deadline:
            raise UserError(f"Prefect server {url} does not answer: {remedy}")
        time.sleep(0.2)


def die_with_parent() -> None:
    """For a child before it starts its program: end when the process that started it ends, however it ends (Linux only)."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def stop(process: subprocess.Popen) -> None:
    """Ends a server and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def ui(prefect_port: int, mlflow_port: int) -> None:
    """Starts both UIs on loopback, prints where they are, and serves until Ctrl-C."""
    from dlbooks import tracking

    for name, port in (("Prefect", prefect_port), ("MLflow", mlflow_port)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise UserError(f"port {port} for {name} is in use: choose another with --{name.lower()}-port") from None
    tracking.prepare("mini")
    running = prefect_running()
    prefect, url = (None, running) if running else start_prefect(prefect_port)
    environment = {**os.environ, **runtime.QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # no queue of evaluation jobs: ten processes less
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(mlflow_port), "--backend-store-uri", tracking.uri()]
    command += ["--artifacts-destination", str(tracking.artifacts()), "--workers", "1"]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    mlflow = start(command, environment, tracking.folder() / "server.log")
    try:
        if prefect:
            await_prefect(prefect, url)
        await_answer(f"http://127.0.0.1:{mlflow_port}/health", mlflow, "MLflow", tracking.folder() / "server.log")
        print(f"Prefect  {url.removesuffix('/api')}\nMLflow   http://127.0.0.1:{mlflow_port}\nCtrl-C ends both.", flush=True)
        mlflow.wait()
    except KeyboardInterrupt:
        print()
    finally:
        stop(mlflow)
        if prefect:
            stop(prefect)
