"""What a rebuild shows: what runs and how far it is, stages as they end, the chapters' results beside the book's, what failed and why."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dlbooks import catalog, fleet, ledger, own, runtime, status
from dlbooks.plan import Plan

FAREWELL = """
Done in {seconds:.0f} s. Look further:
  data/report/index.html               every chapter with curves, pictures and the book's numbers
  make ui                              its runs in MLflow and Prefect
  .venv/bin/dlbooks show mnist-cnn     theory, parameters and results of one chapter
  .venv/bin/dlbooks predict mnist-cnn digit.png     use what was trained"""
FIRST, MOST = 30.0, 600.0  # seconds until a line about a stage that still runs, where there is no table; the longest gap to the next


def interactive(console, plain: bool = False) -> bool:
    """Whether a table that changes in place makes sense: not in a log, in CI or on a terminal that cannot move its cursor."""
    return console.is_terminal and not (plain or console.is_dumb_terminal or os.environ.get("CI"))


class Board:
    """What a rebuild shows: on a terminal a table of the running stages below a line per stage that ended, else these lines alone,
    and now and then one about a stage that takes long.

    ``folder`` holds the status files of the stages on this machine, ``jobs`` run at a time. Where stages run in this very process (``alone``),
    what they print goes to ``log`` while the table stands.
    """

    def __init__(self, console, todo: Plan, folder: Path, jobs: int = 1, plain: bool = False, log: Path | None = None):
        from rich.live import Live

        self.console, self.todo, self.folder, self.jobs, self.log, self.began = console, todo, folder, jobs, log, time.monotonic()
        self.outcomes: dict[str, fleet.Outcome] = {}
        self.seen: dict[str, float] = {}  # stage → when it was first seen running
        self.due: dict[str, float] = {}  # running stage → its seconds at the next line
        self.shown, self.former = 0.0, None
        through = {"redirect_stdout": log is None, "redirect_stderr": log is None}
        self.live = Live(console=console, auto_refresh=False, transient=True, **through) if interactive(console, plain) else None

    def __enter__(self):
        if self.live:
            self.live.start()
            if threading.current_thread() is threading.main_thread():  # ended from outside: the cursor comes back, too
                self.former = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """Takes the table away."""
        if self.live:
            self.live.stop()
        if self.former is not None:
            signal.signal(signal.SIGTERM, self.former)
            self.former = None

    def ended(self, outcome: fleet.Outcome) -> None:
        from rich.markup import escape

        self.outcomes[outcome.stage] = outcome
        self.shown = 0.0  # the table no longer holds
        how = "failed" if outcome.error else outcome.result.get("how", "")
        words = f"{outcome.result['seconds']:6.1f} s" if how == "ran" else f"{how:>8}"
        mark = "[red]✗[/]" if outcome.error else "[green]✓[/]"
        value = escape(outcome.error) or headline(outcome)
        self.console.print(f"{mark} {len(self.outcomes):3}/{len(self.todo.stages)} {words}  {outcome.stage}  {value}", soft_wrap=not self.live)

    def show(self, begun: Callable[[], list[str]]) -> None:
        """Once a second: what runs, given the names of the stages that were begun, as far as anybody here knows what they do."""
        now = time.monotonic()
        if now < self.shown + 1:
            return
        self.shown = now
        told = status.read(self.folder)
        names = [n for n in begun() if n not in self.outcomes]
        self.seen |= {n: now for n in names if n not in self.seen}
        running = {n: (now - self.seen[n], told.get(n, {})) for n in names}
        if self.live:
            self.live.update(table(running, self), refresh=True)
            return
        for name, (spent, entries) in running.items():
            if spent >= self.due.get(name, FIRST):
                self.due[name] = spent + min(max(spent, FIRST), MOST)
                expected = self.todo.seconds.get(name)
                words = [f"{span(spent)}" + (f" of about {span(expected)}" if expected and expected > spent else ""), entries.get("state", "running")]
                self.console.print(f"…  {name}  {', '.join(filter(None, [*words, progress(entries)]))}", soft_wrap=True)

    def left(self) -> float | None:
        """Seconds until the end, as far as the plan's expectations and the pace so far tell; None where they cannot."""
        now, rest = time.monotonic(), [s for s in self.todo.stages if s not in self.outcomes]
        if not rest or not self.todo.seconds or not (self.seen or self.outcomes):
            return None
        expected = {s: max(self.todo.seconds.get(s, 1.0) - (now - self.seen[s] if s in self.seen else 0.0), 0.0) for s in rest}
        after = Plan(rest, {s: [n for n in self.todo.needs[s] if n in expected] for s in rest}, {}, expected).bound(self.jobs)
        done = self.todo.bound(self.jobs) - after
        pace = (now - self.began) / done if self.outcomes and done > 5 else 1.0  # two trainings side by side take longer than one alone
        return after * min(max(pace, 1.0), 4.0)

    @contextlib.contextmanager
    def alone(self, spent: Callable[[], dict[str, float]]) -> Iterator[None]:
        """Goes around DVC while it runs stages one by one: a thread shows what they tell.

        ``spent`` gives the seconds of the stages that have ended.
        """
        over, kept = threading.Event(), None
        own_file = self.folder / f"{os.getpid()}.json"

        def look() -> None:
            took = spent()
            for name in [s for s in self.todo.stages if s in took and s not in self.outcomes] if self.live else []:
                self.ended(fleet.Outcome(name, {"how": "ran", "seconds": took[name], "metrics": ledger.here(name)}))
            self.show(lambda: list(status.read(self.folder)))

        def watch() -> None:
            while not over.wait(0.5):
                with contextlib.suppress(ValueError):  # a file that a stage is just writing
                    look()

        os.environ["DLBOOKS_STATUS"] = str(own_file)
        if self.live:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            os.environ["DLBOOKS_LOG"] = str(self.log)
            sys.stdout.flush()
            sys.stderr.flush()
            kept = os.dup(1), os.dup(2)
            self.console.file = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
            with open(self.log, "w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
            with contextlib.suppress(ValueError):
                look()
            os.environ.pop("DLBOOKS_STATUS")
            own_file.unlink(missing_ok=True)
            if kept:
                self.close()
                sys.stdout.flush()
                sys.stderr.flush()
                for number, descriptor in enumerate(kept, 1):
                    os.dup2(descriptor, number)
                    os.close(descriptor)
                self.console.file.close()
                self.console.file = None
                os.environ.pop("DLBOOKS_LOG")


def span(seconds: float) -> str:
    """``8 s``, ``2:05``, ``1:02:05``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def amount(number: float) -> str:
    """``812``, ``1.2 k``, ``34 M``."""
    for least, unit, letter in ((1e9, 1e9, " G"), (1e6, 1e6, " M"), (1e4, 1e3, " k")):
        if number >= least:
            return f"{number / unit:.3g}{letter}"
    return f"{number:.3g}" if number < 10 else f"{number:.0f}"


def progress(entries: dict) -> str:
    """How far a stage is: step, time left, newest values, rate."""
    words, values = [], entries.get("values", {})
    unit = entries.get("unit", "it").strip()
    unit = {"it": "", "B": "B"}.get(unit, f" {unit}".rstrip())
    if entries.get("total") or entries.get("done"):
        label = entries.get("label", "").removeprefix(entries.get("stage", "").rpartition("@")[2]).strip()
        of = f"/{amount(entries['total'])}" if entries.get("total") else ""
        words.append(f"{label} {amount(entries['done'])}{of}{unit}".strip())
        if entries.get("left") is not None:
            words.append(f"{span(entries['left'])} left")
    elif "step" in entries and entries.get("state") == "training":
        words.append(f"step {entries['step']}")
    words += [f"{name} {value:.4g}" for name, value in list(values.items())[:2]]
    if entries.get("rate"):
        words.append(f"{amount(entries['rate'])}{unit}/s" if entries["rate"] >= 1 else f"{amount(1 / entries['rate'])} s each")
    return " · ".join(words)


def table(running: dict[str, tuple[float, dict]], shown: Board):
    """The running stages, and below them how far the whole is."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    wide = shown.console.width
    grid = Table(box=None, pad_edge=False, show_header=False, expand=True)
    grid.add_column(no_wrap=True, overflow="ellipsis", max_width=max(14, wide // 3), style="bold")
    if wide >= 60:
        grid.add_column(no_wrap=True, style="cyan")
    grid.add_column(no_wrap=True, justify="right")
    if wide >= 80:
        grid.add_column(no_wrap=True, style="dim", justify="right")
    grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for name, (spent, entries) in running.items():
        state, how = entries.get("state", "running"), Text(progress(entries))
        expected = shown.todo.seconds.get(name)
        about = f"of {span(expected)}" if expected and expected >= spent else ""
        if wide >= 60:
            cells = (name, state, span(spent), *([about] if wide >= 80 else []), how)
        else:
            cells = (name, span(spent), how if how.plain else Text(state))
        grid.add_row(*cells)
    count, total = len(shown.outcomes), len(shown.todo.stages)
    length = min(24, max(6, wide - 56))
    part = round(length * count / max(total, 1))
    foot = Text.assemble(("━" * part, "green"), ("━" * (length - part), "dim"), f" {count}/{total} stages · {span(time.monotonic() - shown.began)}")
    if (left := shown.left()) is not None and left >= 1:
        foot.append(f" · about {span(left)} left")
    failed = sum(bool(o.error) for o in shown.outcomes.values())
    if failed:
        foot.append(f" · {failed} failed", "red")
    if not running and not shown.seen:
        foot.append(" · waiting for a worker" if shown.jobs > 1 else " · starting")
    foot.no_wrap, foot.overflow = True, "ellipsis"
    return Group(grid, foot)


def headline(outcome: fleet.Outcome) -> str:
    """A chapter's result: its headline metric."""
    metrics = outcome.result.get("metrics")
    name = own.stage(outcome.stage).found.declaration.headline if metrics else ""
    return f"[dim]{name} {metrics[name]:.5g}[/]" if name else ""


def outcomes(todo: Plan, failed: dict[str, str], spent: dict[str, float]) -> dict[str, dict]:
    """How every stage of a plan ended, given the seconds of those that ran, for scripts: ``ran``, ``cached`` (DVC knew the result), ``failed`` or ``blocked`` by one that failed."""
    blocked = {s: name for name in failed for s in todo.readers(name)}
    found = {}
    for name in todo.stages:
        took = spent.get(name)
        how = "failed" if name in failed else "blocked" if name in blocked else "cached" if took is None else "ran"
        error = failed.get(name) or (f"{blocked[name]} failed" if name in blocked else None)
        found[name] = {"how": how, "seconds": took if how == "ran" else None, "headline": None, "error": error}
        if how in ("ran", "cached") and (name in catalog.chapters() or name in own.stages()):
            measured, headline = ledger.here(name), own.stage(name).found.declaration.headline
            found[name]["headline"] = {headline: measured.get(headline)}
    return found


def summary(todo: Plan, failed: dict[str, str]) -> str:
    """What failed and why, and what could not run because of it."""
    from rich.markup import escape

    lines = [f"[red]{len(failed)} of {len(todo.stages)} stages failed:[/]"]
    for name, reason in failed.items():
        blocked = sorted(todo.readers(name) - failed.keys(), key=todo.stages.index)
        lines.append(f"  [bold]{name}[/]  {escape(reason)}" + (f"\n      not run because of it: {', '.join(blocked)}" if blocked else ""))
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


def results(console, spent: dict[str, float], ended: dict[str, dict]) -> None:
    """Chapter, metric, measured, the book's number, seconds; where a stage did not run, how it ``ended`` (``outcomes``)."""
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
            ended.get(name, {}).get("how", "cached") if took is None else f"{took:.1f}",
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
