"""``dlbooks worker``: a Prefect worker that forks a warm process for every flow run instead of starting a fresh interpreter.

A warm process has imported TensorFlow, Keras, MLflow, Prefect and DVC once; a fork of it begins after milliseconds and computes the same bits
(it has run no operation yet). The work pool is an ordinary ``process`` pool, so Prefect's own worker can serve it too, five seconds slower per run.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import random
import re
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from dlbooks import UserError, devices, fleet, runtime, services, warm, workspace

POLL = 0.5  # seconds between two questions for work
HEARTBEAT = 5  # seconds
CHOICE = 16  # runs at most among which a worker draws when others are quicker
NOT_SAID = r"> |Running stage |ERROR: failed to reproduce |\d\d:\d\d:\d\d\.\d+ \| "  # how DVC's and Prefect's own lines begin
SILENT = 30  # seconds without a heartbeat after which a worker is dead


def serve(pool: str, name: str, limit: int, device: str = "") -> None:
    """Serves a work pool until it is ended. ``limit`` is the number of stages at a time; ``device`` names the GPUs, ``0`` or ``0,1``."""
    computing = {}
    if device:
        ids, said = devices.asked(device)
        print(said, flush=True)
        computing = devices.environment(ids)
    url = services.prefect_url()
    settings = {
        **runtime.QUIET,
        **services.prefect_environment(),
        "PREFECT_API_URL": url,
        "PREFECT_WORKER_QUERY_SECONDS": str(POLL),
        "PREFECT_WORKER_HEARTBEAT_SECONDS": str(HEARTBEAT),
        "DLBOOKS_HOME": str(runtime.home()),
        **computing,
    }
    os.environ.update(settings)
    with tempfile.TemporaryDirectory(prefix="dlbooks-") as folder:
        door = Path(folder) / "warm"
        with services.kept_alive({"warm": lambda: warm.start(door, {**os.environ, **runtime.environment("mini")})}) as parents:
            # Prefect is imported here while the other process imports it too.
            made = worker(pool, name or f"{socket.gethostname()}-{os.getpid()}", limit, door)
            if not warm.ready(parents["warm"], door):
                raise UserError("the warm process of the worker did not start: see the lines above")
            services.await_prefect_at(url)
            os.environ["DLBOOKS_WARM"] = str(door)
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # an end in good order, as by Ctrl-C
            try:
                asyncio.run(made.start(printer=lambda line: print(line, flush=True)))
            except (KeyboardInterrupt, asyncio.CancelledError):
                pass
            finally:
                end_idle_threads()


def end_idle_threads() -> None:
    """Threads that AnyIO keeps for the next call: where the interrupt hit the wrong moment nobody ends them, and the process would wait for ever."""
    for thread in threading.enumerate():
        if thread.name == "AnyIO worker thread":
            thread.stop()


def worker(pool: str, name: str, limit: int, door: Path):
    """The worker; Prefect is imported now, and not before, because its settings are read then."""
    import anyio
    from prefect.workers.process import ProcessWorker, ProcessWorkerResult

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a second class for the type `process`

        async def begun(command, environment, streams, seconds=60):
            """A warm process that was killed is started again meanwhile."""
            deadline = time.monotonic() + seconds
            while True:
                try:
                    return warm.ask(door, command, runtime.root(), environment, streams)
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    await asyncio.sleep(0.5)

        class WarmWorker(ProcessWorker):
            """Forks ``python -m dlbooks.stage flow RUN`` where ``ProcessWorker`` starts ``python -m prefect.engine``."""

            type = "process"

            async def run(self, flow_run, configuration, task_status=None) -> ProcessWorkerResult:
                extra = {"DLBOOKS_WARM": str(door), "DLBOOKS_LOG": str(log(flow_run.name))}
                environment = {k: v for k, v in {**configuration.env, **extra}.items() if v is not None}
                with open(os.devnull) as nothing, open(log(flow_run.name), "w") as output:
                    streams = (nothing.fileno(), output.fileno(), output.fileno())
                    line = await begun(["flow", str(flow_run.id)], environment, streams)
                if task_status:
                    task_status.started(f"{self.name}:{flow_run.id}")
                self.lines[str(flow_run.id)] = line
                try:
                    code = await anyio.to_thread.run_sync(warm.answer, line, abandon_on_cancel=True, limiter=self.threads)
                except asyncio.CancelledError:  # this worker is told to end: somebody else shall do it
                    line.shutdown(socket.SHUT_WR)
                    with anyio.CancelScope(shield=True):
                        await hand_back(self.client, flow_run.id, self.name)
                    raise
                finally:
                    self.lines.pop(str(flow_run.id)).close()  # interrupts the child if it is still there
                return ProcessWorkerResult(status_code=code, identifier=str(flow_run.id))

            async def _get_scheduled_flow_runs(self):
                # The pool gives the same list to all workers. The most urgent run comes first, unless others have been quicker lately.
                found = await super()._get_scheduled_flow_runs()
                first = found[: self.choice]
                self.dice.shuffle(first)
                return first + found[self.choice :]

            async def _propose_pending_state(self, flow_run) -> bool:
                won = await super()._propose_pending_state(flow_run)
                self.choice = max(1, self.choice // 2) if won else min(CHOICE, 2 * self.choice)
                return won

            async def get_and_submit_flow_runs(self):
                if time.monotonic() >= self.rescued + SILENT / 2:
                    first, self.rescued = not self.rescued, time.monotonic()
                    await rescue(self.client, pool, self.name if first else "")
                if self.limiter.available_tokens < 1:  # nothing to ask for
                    return []
                return await super().get_and_submit_flow_runs()

            async def kill_infrastructure(self, infrastructure_pid, configuration, grace_seconds=30) -> None:
                if line := self.lines.get(infrastructure_pid.rpartition(":")[2]):
                    line.shutdown(socket.SHUT_RDWR)

    made = WarmWorker(work_pool_name=pool, name=name, limit=limit, heartbeat_interval_seconds=HEARTBEAT)
    made.lines, made.threads, made.rescued = {}, anyio.CapacityLimiter(max(limit, 1)), 0.0
    made.choice, made.dice = 1, random.Random()
    return made


async def hand_back(client, run: UUID, name: str) -> None:
    """Puts a run back into its pool unless it has ended by itself."""
    from prefect.states import Scheduled

    found = await client.read_flow_run(run)
    if not found.state or found.state.type.value in ("PENDING", "RUNNING"):
        await client.set_flow_run_state(run, Scheduled(message=f"worker {name} was told to end"), force=True)


async def rescue(client, pool: str, former: str = "") -> list[str]:
    """Puts back into the pool what dead workers had begun, and what one named ``former`` had: this one's predecessor. Returns the runs' names."""
    from prefect.states import Scheduled

    runs = await client.read_flow_runs(**fleet.standing(pool, "PENDING", "RUNNING"))
    if not runs:
        return []
    oldest = datetime.now(UTC) - timedelta(seconds=SILENT)
    workers = await client.read_workers_for_work_pool(pool, limit=200)
    alive = {w.name for w in workers if w.last_heartbeat_time and w.last_heartbeat_time > oldest} - {former}
    found = []
    for run in runs:
        name = run.labels.get("prefect.worker.name")
        if name in alive or (not name and run.state.timestamp > oldest):  # claimed a moment ago, its worker has not said its name yet
            continue
        await client.set_flow_run_state(run.id, Scheduled(message=f"worker {name} is gone"), force=True)
        found.append(run.name)
    return found


def log(run: str) -> Path:
    """What a stage printed, the last time it ran on this machine."""
    place = workspace.folder() / "logs"
    place.mkdir(exist_ok=True)
    return place / f"{run.replace('/', '_')}.log"


def last_words() -> str:
    """The last line of this run's log: what a failed stage said."""
    file = Path(os.environ.get("DLBOOKS_LOG", os.devnull))
    sys.stdout.flush()
    lines = [line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
    said = [line for line in lines if line and not re.match(NOT_SAID, line)]
    return said[-1] if said else ""


def execute(run: str) -> None:
    """Runs a flow run that a worker has claimed, in this forked process: what ``python -m prefect.engine`` does."""
    from prefect.engine import handle_engine_signals
    from prefect.flow_engine import load_flow, load_flow_run, run_flow

    sys.path.insert(0, str(runtime.root()))
    module, _, name = os.environ.pop("DLBOOKS_FLOW", "").partition(":")
    services.no_heartbeats()  # the worker's is enough
    with handle_engine_signals(UUID(run)):
        found = load_flow_run(UUID(run))
        flow = getattr(importlib.import_module(module), name) if module else load_flow(found)
        if module:  # the rebuild's own: nobody suspends a stage, and watching out for that takes a third of a second
            found.deployment_id = None
        run_flow(flow, flow_run=found)
