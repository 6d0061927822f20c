"""The rebuild's side of Prefect: hand stages to work pools, follow them, begin again what a process did not survive.

What a dead worker left is no matter of the rebuild: the next worker of the pool takes it over (``worker.rescue``).
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from dlbooks import UserError
from dlbooks.plan import Plan

ASK = 0.5  # seconds between two looks at the runs
TRIES = 3  # times that a stage is begun whose process dies
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass
class Outcome:
    """How a stage ended: ``result`` is the worker's answer (``workspace.run``), or ``error`` says in a line why there is none."""

    stage: str
    result: dict = field(default_factory=dict)
    error: str = ""


@dataclass
class Attempt:
    """A stage that stands in a pool or runs."""

    stage: str
    number: int


def work_pool(client, name: str, about: str = "") -> None:
    """Makes an ordinary ``process`` pool where there is none of that name."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
    from prefect.workers.process import ProcessWorker

    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        with contextlib.suppress(ObjectAlreadyExists):  # its worker starts meanwhile, and makes it too
            client.create_work_pool(WorkPoolCreate(name=name, description=about or None, type="process", base_job_template=template))


def standing(pool: str, *states: str) -> dict:
    """The question, for either of Prefect's clients, which flow runs of a pool are in one of these states; two hundred at most are answered."""
    from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter

    runs, there = {"state": {"type": {"any_": states}}}, {"name": {"any_": [pool]}}
    return {"flow_run_filter": FlowRunFilter.model_validate(runs), "work_pool_filter": WorkPoolFilter.model_validate(there), "limit": 200}


def empty(client, pool: str) -> None:
    """Cancels what stands in a pool that is a rebuild's own: one that was killed has left it there, and its stages may be of old code."""
    from prefect.states import Cancelled

    while runs := client.read_flow_runs(**standing(pool, "SCHEDULED", "PENDING", "RUNNING")):
        for run in runs:
            client.set_flow_run_state(run.id, Cancelled(message="its rebuild is gone"), force=True)


class Pools:
    """Prefect's work pools, as a rebuild uses them."""

    def __init__(self, client, pools: dict[str, str]):
        """``pools`` maps a stage's hardware class to the name of a pool; deployments of the flow ``stage`` are made where they are missing."""
        self.client, self.pools, self.started = client, pools, datetime.now(UTC)
        self.running: dict[UUID, Attempt] = {}
        self.deployments: dict[str, UUID] = {}
        flow = client.create_flow_from_name("stage")
        for pool in set(pools.values()):
            work_pool(client, pool)
            self.deployments[pool] = client.create_deployment(
                flow,
                pool,
                work_pool_name=pool,
                entrypoint="flows/stage.py:stage",
                path=".",
                description="One DVC stage of a rebuild",
                job_variables={"env": {"DLBOOKS_FLOW": "flows.stage:stage"}},
                enforce_parameter_schema=False,
            )

    def submit(self, stage: str, hardware: str, parameters: dict, urgency: float, number: int = 1) -> None:
        """Hands a stage to the pool of its hardware class. Prefect serves the earliest first: what is urgent is dated back."""
        from prefect.states import Scheduled

        pool = self.pools.get(hardware) or self.pools["cpu"]
        due = self.started - timedelta(seconds=urgency)
        made = self.client.create_flow_run_from_deployment(
            self.deployments[pool], parameters=parameters, name=stage, state=Scheduled(scheduled_time=due), tags=["rebuild"]
        )
        self.running[made.id] = Attempt(stage, number)

    def look(self) -> Iterator[tuple[Attempt, Outcome | None]]:
        """Runs whose end has come since the last look, with their outcome; ``None`` for one that its process did not survive."""
        for run in self._read(FINAL):  # what has not ended is not sent: with its parameters it would be a megabyte four times a second
            attempt = self.running.pop(run.id)
            message = (run.state.message or "").strip()
            if run.state.type.value == "COMPLETED":
                yield attempt, Outcome(attempt.stage, json.loads(message))
            elif run.state.type.value == "FAILED":
                yield attempt, Outcome(attempt.stage, error=message.splitlines()[-1] if message else "failed without a word")
            elif run.state.type.value == "CANCELLED":
                yield attempt, Outcome(attempt.stage, error="cancelled in Prefect")
            else:
                yield attempt, None

    def begun(self) -> list[str]:
        """Stages that a worker has begun."""
        return [run.name for run in self._read(("PENDING", "RUNNING"))]

    def _read(self, states: Iterable[str]) -> list:
        from prefect.client.schemas.filters import FlowRunFilter

        ids, found = list(self.running), []
        for start in range(0, len(ids), 200):
            chosen = {"id": {"any_": ids[start : start + 200]}, "state": {"type": {"any_": list(states)}}}
            found += self.client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(chosen), limit=200)
        return found

    def cancel(self) -> None:
        """Takes back what stands in the pools and asks running stages to stop."""
        from prefect.states import Cancelled

        for run in list(self.running):
            self.client.set_flow_run_state(run, Cancelled(message="the rebuild ended"), force=True)
            del self.running[run]


def follow(
    plan: Plan,
    pools: Pools,
    hardware: Callable[[str], str],
    parameters: Callable[[str], dict],
    done: Callable[[Outcome], None],
    keep_going: bool = True,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, str]:
    """Runs a plan: whatever is ready goes to its pool, a failure blocks only what reads it, a run whose worker or process died begins again.

    ``parameters(stage)`` is asked when all that the stage reads is there; ``done`` gets every outcome; ``tick`` is called between looks.
    Returns the stages that failed, each with the reason.
    """
    urgency, failed = plan.urgency(), {}
    waiting = {name: set(needed) for name, needed in plan.needs.items()}

    def submit(name: str, number: int = 1) -> None:
        waiting.pop(name, None)
        pools.submit(name, hardware(name), parameters(name), urgency[name], number)

    def submit_ready() -> None:
        for name in sorted((n for n, needed in waiting.items() if not needed), key=urgency.get, reverse=True):
            submit(name)

    def again(attempt: Attempt) -> Outcome | None:
        if attempt.number < TRIES:
            submit(attempt.stage, attempt.number + 1)
            return None
        return Outcome(attempt.stage, error=f"its process died {TRIES} times: see the stage's log in .dlbooks/rebuild/logs")

    submit_ready()
    while pools.running:
        ended = list(pools.look())
        for attempt, outcome in ended:
            outcome = outcome or again(attempt)
            if outcome is None:
                continue
            if outcome.error:
                failed[attempt.stage] = outcome.error
                for reader in plan.readers(attempt.stage):
                    waiting.pop(reader, None)
                if not keep_going:
                    waiting.clear()
            done(outcome)
            for reader in [] if outcome.error else plan.read_by[attempt.stage]:
                if reader in waiting:
                    waiting[reader].discard(attempt.stage)
        submit_ready()
        tick()
        if not ended:
            time.sleep(ASK)
    if waiting:
        raise UserError(f"stages that can never start: {', '.join(sorted(waiting))}")
    return failed
