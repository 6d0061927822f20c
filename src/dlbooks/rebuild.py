"""``dlbooks repro``: DVC decides what is stale and runs it; here it gets a warm process and one Prefect server, and a table at the end."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dlbooks import UserError, catalog, ledger, own, runtime, services, sync, tracking

FAREWELL = """
Done in {seconds:.0f} s. Look further:
  data/report/index.html               every chapter with curves, pictures and the book's numbers
  make ui                              its runs in MLflow and Prefect
  .venv/bin/dlbooks show mnist-cnn     theory, parameters and results of one chapter
  .venv/bin/dlbooks predict mnist-cnn digit.png     use what was trained"""


def repro(targets: list[str], force: bool = False) -> int:
    """Rebuilds what changed, all or ``targets`` with what they need. Returns the exit code."""
    from rich.console import Console

    console = Console(highlight=False)
    began = time.monotonic()
    if sync.write():
        console.print("dvc.yaml was brought up to date with the chapters' files")
    os.chdir(runtime.root())
    os.environ.update(runtime.QUIET)
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    check_targets(targets)
    try:
        repo = Repo()
        with quiet():
            restore(repo)
            stale = stale_stages(repo, targets, force)
        if not stale:
            console.print(f"[green]Nothing changed:[/] data and {len(catalog.chapters())} chapters are up to date.")
            return 0
        console.print(f"{len(stale)} stages to run: {', '.join(stale)}")
        trained = {*catalog.chapters(), *own.stages()}
        with helpers(any(s in trained for s in stale)):
            forget_seconds(stale)
            repo.reproduce(targets=targets or None, force=force, single_item=force and bool(targets))
        for name in stale:
            if name in trained and f"chapter {name}" not in seconds():
                tracking.restored(name)
    except DvcException as error:
        message = dvc_message(error)
        if "exited with 130" in message:  # the stage took the Ctrl-C
            raise KeyboardInterrupt from None
        raise UserError(message) from None
    finally:
        sync.sort_lock()
    table(console)
    for line in differences():
        console.print(f"[yellow]{line}[/]")
    console.print(FAREWELL.format(seconds=time.monotonic() - began), soft_wrap=True)
    return 0


def check_targets(targets: list[str]) -> None:
    """Unknown stages are refused before anything starts."""
    data = {f"{kind}@{name}" for kind in ("fetch", "preprocess") for name in catalog.datasets()}
    for target in targets:
        if target not in data and target != "report" and target not in own.stages():
            catalog.chapter(target)


def stale_stages(repo, targets: list[str], force: bool) -> list[str]:
    """What DVC calls changed and everything that reads it, in the order it will run."""
    import networkx

    graph = repo.index.graph  # an edge leads from a stage to one that it reads
    names = {stage.addressing: stage for stage in graph}
    wanted = set(graph)
    if targets:
        wanted = {s for t in targets for s in (names[t], *networkx.descendants(graph, names[t]))}
    if force:
        changed = {names[t] for t in targets} if targets else set(graph)
    else:
        changed = {names[n] for n in repo.status(targets=targets or None, with_deps=bool(targets)) if n in names}
    stale = {s for c in changed for s in (c, *networkx.ancestors(graph, c))} & wanted
    return [s.addressing for s in networkx.dfs_postorder_nodes(graph) if s in stale]


def restore(repo) -> None:
    """Brings missing outputs back from DVC's cache in one go: stage by stage it takes thirty times longer."""
    if not (runtime.root() / "dvc.lock").exists():
        return
    missing = [o for o in repo.index.outs if o.hash_info and not Path(o.fs_path).exists()]
    if missing:
        with contextlib.suppress(Exception):  # what is not in the cache is rebuilt
            repo.checkout(allow_missing=True)


@contextlib.contextmanager
def same_results(targets: list[str]):
    """Stages that are up to date before the block stay so after it: it changes their code in a way that cannot change what they make."""
    os.chdir(runtime.root())
    os.environ.update(runtime.QUIET)
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with quiet():
            stale = Repo().status(targets=targets)
    except DvcException:  # they have never run
        stale = targets
    yield
    with quiet(), contextlib.suppress(DvcException):
        for target in targets:
            if target not in stale:
                Repo().commit(target, force=True)


@contextlib.contextmanager
def quiet():
    """DVC without its line per unchanged stage."""
    from dvc.ui import ui

    logger, enabled = logging.getLogger("dvc"), ui._enabled
    level = logger.level
    logger.setLevel(logging.ERROR)  # a stage that has never run is no matter for a warning
    ui._enabled = False
    try:
        yield
    finally:
        logger.setLevel(level)
        ui._enabled = enabled


@contextlib.contextmanager
def helpers(training: bool):
    """A warm process and a Prefect server for the rebuild, started side by side while DVC fetches and preprocesses."""
    with tempfile.TemporaryDirectory(prefix="dlbooks-") as folder:
        door = Path(folder) / "warm"
        own = None
        environment = {**os.environ, **runtime.environment("mini")}
        if training and "PREFECT_API_URL" not in os.environ:
            if not services.prefect_running():
                own, url = services.start_prefect(advertise=False)  # a run that outlives this rebuild must not find it
                os.environ["PREFECT_API_URL"] = environment["PREFECT_API_URL"] = url
            environment = {**services.prefect_environment(), **environment}
        command = [sys.executable, str(runtime.root() / "stages" / "warm.py"), str(door)]
        warm = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=services.die_with_parent)
        try:
            if training:
                tracking.prepare(runtime.profile_of(runtime.root() / "params.yaml"))
                if own:
                    services.await_prefect(own, url)
            while not door.exists() and warm.poll() is None:
                time.sleep(0.05)
            os.environ["DLBOOKS_WARM"] = str(door)
            yield
        finally:
            os.environ.pop("DLBOOKS_WARM", None)
            services.stop(warm)
            if own:
                os.environ.pop("PREFECT_API_URL")
                services.stop(own)


def seconds() -> dict[str, float]:
    """Seconds of every stage that was run in this checkout, not restored."""
    path = runtime.state() / "seconds.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def forget_seconds(stages: list[str]) -> None:
    """Drops the seconds of stages about to run: whichever has none afterwards came out of DVC's cache."""
    names = {s.replace("@", " ") if "@" in s else f"chapter {s}" for s in stages}
    kept = {k: v for k, v in seconds().items() if k not in names}
    (runtime.state() / "seconds.json").write_text(json.dumps(kept, indent=2), encoding="utf-8")


def dvc_message(error: BaseException) -> str:
    """DVC's words for a failure, with its cause, in one line."""
    cause = getattr(error, "cause", None) or error.__cause__
    return f"{error}" + (f" ({cause})" if cause else "")


def table(console) -> None:
    """Chapter, metric, measured, the book's number, seconds."""
    from rich.table import Table

    profile = runtime.profile_of(runtime.root() / "params.yaml")
    spent, known = seconds(), ledger.read()
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
