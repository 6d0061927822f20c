"""One chapter as a Prefect flow: train → evaluate → export, tracked by MLflow.

DVC runs it in process (``python3 stages/chapter.py mnist-cnn``), a Prefect deployment on its worker, and a person by hand, beside DVC:

    .venv/bin/python flows/chapter.py mnist-softmax smoke
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from dlbooks import catalog, own, params, runtime, services

# A worker or a person starts here; a DVC stage has set these before.
for name, value in {**runtime.environment(runtime.profile_of(runtime.root() / "params.yaml")), **services.prefect_environment()}.items():
    os.environ.setdefault(name, value)

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import TagsContext
from prefect.exceptions import TerminationSignal

from dlbooks import status, tracking
from dlbooks.run import Run, input_hashes, parameters_of, work_key

HOURS = {"smoke": 0.25, "mini": 0.5, "book": 48}  # the longest a task may take


def transient(_task, _run, state) -> bool:
    """Only trouble outside the code is worth a second try: a full queue, a network file system, a lost connection."""
    try:
        state.result()
    except (OSError, TimeoutError):
        return True
    except BaseException:
        return False
    return False


def step(function):
    return task(function, retries=1, retry_delay_seconds=5, retry_condition_fn=transient, cache_policy=NO_CACHE, persist_result=False)


@step
def train(run: Run, module) -> None:
    runtime.prepare(run.profile, run.params.seed)  # again on a retry: the same seeds
    run.begin()
    timed(run, "train", lambda: run.train(module))


@step
def evaluate(run: Run, module) -> None:
    timed(run, "evaluate", lambda: run.evaluate(module))


@step
def export(run: Run, module) -> None:
    if hasattr(module, "export"):
        timed(run, "export", lambda: module.export(run))


def timed(run: Run, name: str, work) -> None:
    started = time.monotonic()
    status.enter(name)
    work()
    run.timing(**{name: time.monotonic() - started})
    if run.tracker:
        run.tracker.flush()


@flow(name="chapter", flow_run_name="{chapter_id}", persist_result=False)
def chapter(chapter_id: str, profile: str = "", variant: str = "", overrides: dict | None = None, out: str = "") -> dict[str, float]:
    """Trains, evaluates and exports one chapter, or one on a person's own data (``cifar10-cnn-on-my-photos``), and returns its metrics.

    ``profile`` defaults to the one in ``params.yaml``; ``variant`` and ``overrides`` change parameters; ``out`` is the output folder
    (by default a folder of its own below ``.dlbooks/flows``, so that a deployment never touches what DVC tracks).
    """
    began = time.monotonic()
    runtime.load_tensorflow()
    stage = own.stage(chapter_id)
    found, declaration = stage.found, stage.found.declaration
    values = params.read(runtime.root() / "params.yaml")
    profile = profile or values["profile"]
    parameters = parameters_of(found, values, profile, variant, overrides or {})
    inputs = input_hashes(declaration, stage.swaps)
    key = work_key(declaration, parameters, inputs)
    target = Path(out) if out else runtime.state() / "flows" / chapter_id
    run = Run(declaration, parameters, profile=profile, variant=variant or None, out=target, key=key, swaps=stage.swaps)
    tags = {**tracking.provenance(), **{f"dlbooks.input.{k}": v for k, v in inputs.items()}, "dlbooks.key": key}
    run.tracker = tracking.Tracker(run, tags, inputs)
    try:
        module = catalog.load(declaration)
        with TagsContext(current_tags=set()):  # the flow run carries the tags; on a task each asks the server for a slot, 0.6 s
            for action in (train, evaluate, export):
                action.with_options(task_run_name=f"{action.name} {chapter_id}", timeout_seconds=HOURS[profile] * 3600)(run, module)
        run.finish()
        run.timing(total=time.monotonic() - began)
        run.tracker.result()
        run.tracker.model()
        run.tracker.end("FINISHED")
    except BaseException as error:
        shutil.rmtree(target, ignore_errors=True)  # nothing half-written is left behind
        killed = isinstance(error, KeyboardInterrupt | SystemExit | TerminationSignal)
        if killed:  # Prefect may report that to a server that the same Ctrl-C has ended; it gets five seconds
            threading.Timer(5, os._exit, [130]).start()
        run.tracker.end("KILLED" if killed else "FAILED", f"{type(error).__name__}: {error}")
        raise
    create_markdown_artifact(key=f"{chapter_id}-result", markdown=table(run), description=declaration.title)
    return run.metrics


def table(run: Run) -> str:
    said = {} if run.swaps else tracking.reported(run.chapter, run.variant)
    rows = [f"| {n} | {v:.6g} | {f'{said[n]:.6g}' if n in said else ''} |" for n, v in run.metrics.items()]
    head = f"**{run.chapter.title}**, profile {run.profile}, {', '.join(run.chapter.sources)}"
    return "\n".join([head, "", "| metric | measured | the book |", "| --- | --- | --- |", *rows])


if __name__ == "__main__":
    print(chapter(*sys.argv[1:]))
