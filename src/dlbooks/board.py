"""What a rebuild shows: stages as they end, the chapters' results beside the book's, what failed and why."""

from __future__ import annotations

import time

from dlbooks import catalog, fleet, ledger, own, runtime
from dlbooks.plan import Plan

FAREWELL = """
Done in {seconds:.0f} s. Look further:
  data/report/index.html               every chapter with curves, pictures and the book's numbers
  make ui                              its runs in MLflow and Prefect
  .venv/bin/dlbooks show mnist-cnn     theory, parameters and results of one chapter
  .venv/bin/dlbooks predict mnist-cnn digit.png     use what was trained"""


class Board:
    """What a rebuild shows: on a terminal a line per running stage, else a line per stage that ended."""

    def __init__(self, console, todo: Plan):
        from rich.live import Live

        self.console, self.todo, self.ended_count, self.began, self.shown = console, todo, 0, time.monotonic(), 0.0
        self.live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None

    def __enter__(self):
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_):
        if self.live:
            self.live.stop()

    def ended(self, outcome: fleet.Outcome) -> None:
        self.ended_count += 1
        how = outcome.result.get("how", "failed")
        words = f"{outcome.result['seconds']:6.1f} s" if how == "ran" else f"{how:>8}"
        mark = "[red]✗[/]" if outcome.error else "[green]✓[/]"
        value = outcome.error or headline(outcome)
        self.console.print(f"{mark} {self.ended_count:3}/{len(self.todo.stages)} {words}  {outcome.stage}  {value}", soft_wrap=True)

    def show(self, pools: fleet.Pools) -> None:
        """Once a second, on a terminal: what runs."""
        if self.live and time.monotonic() > self.shown + 1:
            self.shown = time.monotonic()
            self.live.update(f"{self.shown - self.began:5.0f} s  running: {', '.join(pools.begun()) or 'waiting for a worker'}")


def headline(outcome: fleet.Outcome) -> str:
    """A chapter's result: its headline metric."""
    metrics = outcome.result.get("metrics")
    name = own.stage(outcome.stage).found.declaration.headline if metrics else ""
    return f"[dim]{name} {metrics[name]:.5g}[/]" if name else ""


def summary(todo: Plan, failed: dict[str, str]) -> str:
    """What failed and why, and what could not run because of it."""
    lines = [f"[red]{len(failed)} of {len(todo.stages)} stages failed:[/]"]
    for name, reason in failed.items():
        blocked = sorted(todo.readers(name) - failed.keys(), key=todo.stages.index)
        lines.append(f"  [bold]{name}[/]  {reason}" + (f"\n      not run because of it: {', '.join(blocked)}" if blocked else ""))
    return "\n".join([*lines, "`dlbooks repro` goes on from here; what a stage printed stands in .dlbooks/rebuild/logs"])


def artifact(client, todo: Plan, failed: dict[str, str]) -> None:
    """The summary as an artifact in Prefect, of the flow run this is, if it is one."""
    from prefect.client.schemas.actions import ArtifactCreate
    from prefect.context import FlowRunContext

    blocked = {s: name for name in failed for s in todo.readers(name)}
    rows = [
        f"| {s} | {'failed' if s in failed else 'blocked by ' + blocked[s] if s in blocked else 'done'} | {failed.get(s, '')} |" for s in todo.stages
    ]
    words = f"{len(todo.stages) - len(failed.keys() | blocked.keys())} of {len(todo.stages)} stages done"
    data = "\n".join(["| stage | state | why |", "| --- | --- | --- |", *rows])
    run = getattr(FlowRunContext.get(), "flow_run", None)
    client.create_artifact(ArtifactCreate(key="rebuild", type="markdown", description=words, data=data, flow_run_id=run and run.id))


def table(console, spent: dict[str, float]) -> None:
    """Chapter, metric, measured, the book's number, seconds."""
    from rich.table import Table

    profile = runtime.profile_of(runtime.root() / "params.yaml")
    known = ledger.read()
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("chapter", "metric", f"ours, {profile}", "the book", "ours, real data", "seconds"):
        grid.add_column(name, justify="left" if name in ("chapter", "metric") else "right", no_wrap=name == "chapter")
    for name, stage in {**{c: own.Stage(catalog.chapter(c)) for c in catalog.chapters()}, **own.stages()}.items():
        chapter, mine = stage.found.declaration, bool(stage.swaps)  # a floor, the book's number and ours are of other data than a person's own
        value = ledger.here(name).get(chapter.headline)
        if value is None:
            continue
        headline = chapter.metrics[chapter.headline]
        real = None if mine else ledger.best(known, name).get(chapter.headline)
        took = spent.get(f"chapter {name}")
        grid.add_row(
            name,
            chapter.headline,
            f"{value:.5g}" + ("" if mine or headline.passes(value) else " [red]below its floor[/]"),
            "" if mine or headline.reported is None else f"{headline.reported:.5g}",
            "" if real is None else f"{real:.5g}",
            "cached" if took is None else f"{took:.1f}",
        )
    console.print()
    console.print(grid)


def differences() -> list[str]:
    """Stages whose inputs equal those of the committed ``dvc.lock`` while their results do not."""
    from ruamel.yaml import YAML

    committed = runtime.git("show", "HEAD:dvc.lock")
    path = runtime.root() / "dvc.lock"
    if not committed or not path.exists():
        return []
    yaml = YAML(typ="safe")
    old, new = (yaml.load(t)["stages"] for t in (committed, path.read_text(encoding="utf-8")))
    inputs = ("cmd", "deps", "params")
    found = [n for n in new if n in old and all(new[n].get(k) == old[n].get(k) for k in inputs) and new[n].get("outs") != old[n].get("outs")]
    if not found:
        return []
    return [
        f"differs from the committed result although nothing it reads changed: {', '.join(found)}",
        "this machine computes other bits; see `dvc metrics diff`",
    ]
