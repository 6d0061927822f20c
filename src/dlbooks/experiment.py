"""``dlbooks run CHAPTER --profile book``: DVC's own ``dvc exp run --temp``, so that the checkout and its ``dvc.lock`` stay as they are."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dlbooks import board, catalog, fleet, ledger, own, runtime, tracking, worker, workspace
from dlbooks.plan import Plan
from dlbooks.run import parameters_of


def run(
    stage: own.Stage, values: dict, profile: str, variants: list[str], overrides: dict, plain: bool = False, summary: list[dict] | None = None
) -> int:
    """Runs a chapter in DVC's temporary workspace, once per variant; each result is a DVC experiment and an MLflow run.

    Several variants become child runs of one MLflow run. Parameters are checked before anything starts. ``plain`` shows what DVC and the stage print
    where a terminal would get a table; ``summary`` gets what ``result`` says of every variant. Returns DVC's exit code, or 2 where the table gives the reason.
    """
    found, variants = stage.found, variants or [""]
    for variant in variants:
        parameters_of(found, values, profile, variant, overrides)
    environment = {**os.environ, **runtime.QUIET, "DLBOOKS_HOME": str(runtime.home())}
    if len(variants) == 1:
        return once(stage, values, profile, variants[0], overrides, environment, plain, summary)

    with tracking.parent(found.declaration, profile, variants) as parent:
        environment["DLBOOKS_PARENT_RUN"] = parent
        return max(once(stage, values, profile, v, overrides, environment, plain, summary) for v in variants)


def once(
    stage: own.Stage,
    values: dict,
    profile: str,
    variant: str,
    overrides: dict,
    environment: dict[str, str],
    plain: bool = False,
    summary: list[dict] | None = None,
) -> int:
    """One experiment: the overridden keys are named to DVC, which records them; the recipe's name travels in the environment."""
    from rich.console import Console

    found, chapter_id = stage.found, stage.found.declaration.id
    chosen = {**(found.declaration.variants[variant].overrides if variant else {}), **overrides}
    listed = (values.get(chapter_id) or {}).get(profile) or {}
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "-S", f"profile={profile}"]
    for key, value in chosen.items():
        command += ["-S", f"{'' if key in listed else '+'}{chapter_id}.{profile}.{key}={json.dumps(value)}"]
    for name in stage.swaps.values():  # the workspace holds tracked files, and what is named here
        command += ["-C", str(catalog.dataset(name).declaration.path.relative_to(runtime.root()))]
    recipe = json.dumps({"variant": variant, "overrides": overrides})

    console, began = Console(highlight=False), time.time()
    log = workspace.folder() / "logs" / f"{stage.id}-experiment.log"
    seconds = ledger.read().get(chapter_id, {}).get(profile, {}).get("newest", {}).get("seconds", {}).get("total")
    todo = Plan([stage.id], {stage.id: []}, {}, {stage.id: seconds} if seconds else {})
    with (
        tempfile.TemporaryDirectory(prefix="dlbooks-") as folder,
        board.Board(console, todo, Path(folder), 1, plain, log) as shown,
        shown.alone(dict),
    ):
        told = {"DLBOOKS_STATUS": os.environ["DLBOOKS_STATUS"]}
        code = subprocess.call([*command, stage.id], cwd=runtime.root(), env={**environment, **told, "DLBOOKS_RECIPE": recipe})
        said = worker.last_words() if shown.live and code else ""
    outcome = result(stage, profile, variant, began) if summary is not None or shown.live else {}
    if code:
        outcome["error"] = f"dvc exp run ended with {code}: the lines above say why"
    if said:  # no exception: the next variant gets its turn, as it does without a table
        outcome["error"] = said.removeprefix("error: ")
        print(f"error: {outcome['error']} (the rest stands in {log.relative_to(runtime.home())})", file=sys.stderr)
    if shown.live and not code:
        name = re.search(r"Ran experiment\(s\): (\S+)", log.read_text(encoding="utf-8", errors="replace"))
        known = f"  [dim]MLflow run {outcome['mlflow_run'][:8]}, experiment {name[1] if name else '?'}: `dvc exp show`[/]"
        shown.ended(fleet.Outcome(stage.id, {"how": "ran", "seconds": time.time() - began, "metrics": outcome["metrics"]}))
        console.print(known, soft_wrap=True)
    if summary is not None:
        summary.append(outcome)
    return 2 if said else code


def result(stage: own.Stage, profile: str, variant: str = "", since: float = 0.0) -> dict:
    """The newest finished MLflow run of a chapter's stage that began after ``since`` (seconds since 1970), for scripts.

    ``{"chapter", "profile", "variant", "metrics", "seconds", "mlflow_run", "artifacts"}``; the last four are empty where there is none.
    """
    store = tracking.client()
    experiments = [e.experiment_id for e in store.search_experiments(filter_string="tags.dlbooks = 'yes'")]
    chapter = stage.found.declaration
    query = f"attributes.status = 'FINISHED' and attributes.start_time >= {int(since * 1000)}"
    for key, value in {"chapter": chapter.id, "profile": profile, **({"variant": variant} if variant else {})}.items():
        query += f" and tags.`dlbooks.{key}` = '{value}'"
    runs = store.search_runs(experiments, query, order_by=["attributes.start_time DESC"], max_results=100) if experiments else []
    data = ", ".join(f"{replaced}={name}" for replaced, name in stage.swaps.items())
    found = {"chapter": chapter.id, "profile": profile, "variant": variant or "default"}
    for run in runs:
        values = run.data.metrics
        if run.data.tags.get("dlbooks.data", "") == data:
            metrics = {name: values[name] for name in chapter.metrics if name in values}
            return {
                **found,
                "metrics": metrics,
                "seconds": values.get("seconds.total"),
                "mlflow_run": run.info.run_id,
                "artifacts": run.info.artifact_uri,
            }
    return {**found, "metrics": {}, "seconds": None, "mlflow_run": "", "artifacts": ""}
