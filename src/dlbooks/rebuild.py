"""``dlbooks repro``: DVC decides what is stale and runs it; here it gets a warm process and one Prefect server, and a table at the end."""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dlbooks import UserError, board, catalog, fleet, ledger, own, runtime, services, sync, tracking, warm, worker, workspace
from dlbooks.plan import Plan, expected, plan

LOCAL = "local"  # the pool of a rebuild's own worker


def repro(
    targets: list[str],
    force: bool = False,
    jobs: int = 0,
    pools: dict[str, str] | None = None,
    keep_going: bool = True,
    profile: str = "",
    plain: bool = False,
    summary: dict | None = None,
) -> int:
    """Rebuilds what changed, all or ``targets`` with what they need. Returns the exit code.

    ``jobs`` stages run at a time (default: as many as pay here); with 1, DVC runs them one by one. ``pools`` sends them to the work pools of a Prefect
    server instead, by hardware class: ``{"cpu": "cpu", "gpu": "gpu"}``. A ``profile`` that is not the checkout's is rebuilt elsewhere. ``plain`` shows
    lines where a terminal would get a table. ``summary`` is filled with what ran: ``{"stages": {name: {"how", "seconds", "headline", "error"}}, "seconds"}``.
    """
    from rich.console import Console

    if profile and profile != runtime.profile_of(runtime.root() / "params.yaml"):
        return elsewhere(profile, targets, force, jobs, pools, keep_going, plain, summary)

    summary = {} if summary is None else summary
    summary |= {"stages": {}, "seconds": 0.0}
    console = Console(highlight=False)
    began = time.monotonic()
    if sync.stale() and sync.write():
        console.print("dvc.yaml was brought up to date with the chapters' files")
    os.chdir(runtime.root())
    os.environ.update(runtime.QUIET)
    from dvc.exceptions import DvcException
    from dvc.repo import Repo, lock_repo

    check_targets(targets)
    tracking.reap_here()
    trained = {*catalog.chapters(), *own.stages()}
    failed: dict[str, str] = {}
    try:
        with uncollected():
            repo = Repo()
            with quiet(), lock_repo(repo):
                restore(repo)
                todo = plan(repo, targets, force, expected(seconds()))
        if not todo.stages:
            console.print(f"[green]Nothing changed:[/] data and {len(catalog.chapters())} chapters are up to date.")
            return 0
        console.print(f"{len(todo.stages)} stage{'s' * (len(todo.stages) != 1)} to run: {', '.join(todo.stages)}")
        forget_seconds(todo.stages)
        jobs = jobs or fitting_jobs()
        if pools or (jobs > 1 and len(todo.stages) > 2):
            with board.Board(console, todo, workspace.statuses(), jobs, plain) as shown:
                failed = parallel(repo, todo, set(targets or todo.stages) if force else set(), jobs, pools, keep_going, shown)
        else:
            one_by_one(repo, todo, targets, force, any(s in trained for s in todo.stages), console, plain)
        for name in todo.stages:
            if name in trained and name not in failed and f"chapter {name}" not in seconds() and ledger.here(name):
                tracking.restored(name)
    except DvcException as error:
        message = dvc_message(error)
        if "exited with 130" in message:  # the stage took the Ctrl-C
            raise KeyboardInterrupt from None
        raise UserError(message) from None
    finally:
        sync.sort_lock()
        summary["seconds"] = round(time.monotonic() - began, 2)
    summary["stages"] = board.outcomes(todo, failed, spent(todo.stages))
    board.results(console, seconds(), summary["stages"])
    for line in board.differences():
        console.print(f"[yellow]{line}[/]")
    if failed:
        console.print(board.summary(todo, failed))
        return 1
    console.print(board.FAREWELL.format(seconds=time.monotonic() - began), soft_wrap=True)
    return 0


def one_by_one(repo, todo: Plan, targets: list[str], force: bool, training: bool, console, plain: bool) -> None:
    """Has DVC itself run a plan in this checkout. On a terminal the table stands in for what the stages print, which goes to a log."""
    from dvc.exceptions import DvcException

    log = workspace.folder() / "logs" / "one-by-one.log"
    with (
        tempfile.TemporaryDirectory(prefix="dlbooks-") as folder,
        board.Board(console, todo, Path(folder), 1, plain, log) as shown,
        shown.alone(lambda: spent(todo.stages)),
    ):
        try:
            with helpers(training):
                if not force or set(todo.stages) - set(targets):
                    repo.reproduce(targets=targets or None, force=force and not targets)
                if force and targets:
                    repo.reproduce(targets=targets, force=True, single_item=True)
        except DvcException as error:
            if shown.live and (said := worker.last_words()) and "exited with 130" not in dvc_message(error):
                raise UserError(f"{said.removeprefix('error: ')} (what the stages printed stands in {log.relative_to(runtime.home())})") from None
            raise


def elsewhere(
    profile: str, targets: list[str], force: bool, jobs: int, pools: dict[str, str] | None, keep_going: bool, plain: bool, summary: dict | None
) -> int:
    """Rebuilds another profile in a checkout of its own, ``.dlbooks/rebuild/<profile>``: DVC's cache and MLflow's store are this one's, ``dvc.lock`` is not."""
    root = workspace.folder() / profile
    workspace.unpacked(workspace.snapshot(profile), root)
    words = [*targets, "--jobs", str(jobs), *(["--force"] if force else []), *([] if keep_going else ["--no-keep-going"])]
    words += [w for name, pool in (pools or {}).items() for w in ("--pool", f"{name}={pool}")]
    environment = {**os.environ, "DLBOOKS_HOME": str(runtime.home()), "DLBOOKS_PYTHON": sys.executable, "PYTHONPATH": str(root / "src")}
    words += ["--plain"] if plain else []
    command = [sys.executable, "-m", "dlbooks.cli", "repro", *words]
    if summary is None:
        return subprocess.call(command, cwd=root, env=environment)
    done = subprocess.run([*command, "--json"], cwd=root, env=environment, stdout=subprocess.PIPE, text=True)
    summary |= json.loads(done.stdout or "{}")
    return done.returncode


def fitting_jobs() -> int:
    """Stages at a time that pay on this machine: one per core; each takes about a gigabyte. One more would only make all wait for a core."""
    cores = runtime.cores()
    try:
        gigabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (ValueError, OSError):
        gigabytes = 2.0 * cores
    return max(1, min(cores, int(gigabytes / 1.5), 16)) if hasattr(os, "fork") else 1


def parallel(repo, todo: Plan, forced: set[str], jobs: int, pools: dict[str, str] | None, keep_going: bool, shown) -> dict[str, str]:
    """Has workers run a plan, merges their entries into ``dvc.lock`` and brings the outputs here. Returns the stages that failed, with reasons."""
    import httpx
    from dvc.repo import lock_repo

    with quiet(), lock_repo(repo):
        lock, digest = sync.Lock(), workspace.snapshot()
        shared = workspace.remote(repo) if pools else None
        if shared:
            workspace.send(repo, shared, digest, outside(repo, todo))
        book = runtime.profile_of(runtime.root() / "params.yaml") == "book"

        def parameters(name: str) -> dict:
            needed = {n: {k: lock.entries[n][k] for k in ("cmd", "outs")} for n in todo.reads[name]}
            entries = {**needed, **({name: lock.entries[name]} if name in lock.entries else {})}
            words = {"target": name, "snapshot": digest, "producers": todo.reads[name], "entries": entries}
            return {**words, "force": name in forced, "shared": bool(shared)}

        def hardware(name: str) -> str:
            return own.stage(name).found.declaration.hardware if book and "@" not in name and name != "report" else "cpu"

        with crew(jobs, pools) as client:

            def done(outcome: fleet.Outcome) -> None:
                shown.ended(outcome)
                if not outcome.error:
                    lock.enter(outcome.stage, outcome.result["entry"])
                    if outcome.result["how"] == "ran":
                        keep_seconds(outcome.stage, outcome.result["seconds"])

            crews = fleet.Pools(client, pools or {"cpu": LOCAL})
            try:
                failed = fleet.follow(todo, crews, hardware, parameters, done, keep_going, lambda: shown.show(crews.begun))
            except httpx.HTTPError as error:
                raise UserError(f"Prefect server {client.api_url} does not answer ({error}): run the command again, it goes on from here") from None
            except BaseException:
                crews.cancel()
                raise
            finally:
                shown.close()
                bring(repo, todo, shared)
            board.artifact(client, todo, failed)
    return failed


def outside(repo, todo: Plan) -> list:
    """Stages that a plan reads and does not run."""
    names = {stage.addressing: stage for stage in repo.index.graph}
    return [names[n] for n in sorted({n for s in todo.stages for n in todo.reads[s]} - set(todo.stages))]


def bring(repo, todo: Plan, shared: str | None) -> None:
    """Links the outputs that ``dvc.lock`` names into the checkout, all at once; those of other machines come from the remote before."""
    repo._reset()  # dvc.lock was written behind its back
    if shared:
        workspace.remote(repo)
        done = [stage for stage in repo.index.stages if stage.addressing in todo.stages]
        workspace.pull(repo, shared, done)
    with asked_once():
        repo.checkout(force=True, allow_missing=True)


@contextlib.contextmanager
def crew(jobs: int, pools: dict[str, str] | None):
    """A client of Prefect's server; without ``pools`` a server of this rebuild's own, and a worker for ``jobs`` stages at a time."""
    if pools:
        services.prefect_url()  # or an error, before anything starts
        tracking.prepare(runtime.profile_of(runtime.root() / "params.yaml"))
        os.environ.update(services.prefect_environment())  # before Prefect is imported, which reads them once
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            yield client
        return
    port = services.free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = {**os.environ, "PREFECT_API_URL": url, "DLBOOKS_HOME": str(runtime.home())}
    command = [sys.executable, "-m", "dlbooks.cli", "worker", "--pool", LOCAL, "--name", LOCAL, "--limit", str(jobs)]
    kept = {
        "server": lambda: services.start_prefect(port, advertise=False)[0],
        "worker": lambda: services.start(command, environment, workspace.folder() / "worker.log"),
    }
    with services.kept_alive(kept):
        os.environ.update(services.prefect_environment(), PREFECT_API_URL=url)
        from prefect.client.orchestration import get_client

        tracking.prepare(runtime.profile_of(runtime.root() / "params.yaml"))
        services.await_prefect_at(url, remedy=f"see {services.log()}")
        try:
            with get_client(sync_client=True) as client:
                fleet.empty(client, LOCAL)  # before its worker is ready
                yield client
        finally:
            os.environ.pop("PREFECT_API_URL", None)


def check_targets(targets: list[str]) -> None:
    """Unknown stages are refused before anything starts."""
    data = {f"{kind}@{name}" for kind in ("fetch", "preprocess") for name in catalog.datasets()}
    for target in targets:
        if target not in data and target != "report" and target not in own.stages():
            catalog.chapter(target)


def restore(repo) -> None:
    """Brings missing outputs back from DVC's cache, all by this one process: `dvc repro` asks stage by stage, at thirty times the time."""
    if not (runtime.root() / "dvc.lock").exists():
        return
    with asked_once():
        for out in repo.index.outs:
            with contextlib.suppress(Exception):  # what is not in the cache is rebuilt
                if out.hash_info and not out.exists and out.get_obj():
                    out.checkout()


@contextlib.contextmanager
def uncollected():
    """No garbage is looked for: DVC makes half a million objects until it knows what is stale, and nearly all of them stay."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def asked_once():
    """DVC tries for every file whether the file system lets two files share their blocks, by making one and deleting it again. Where it does not,
    that takes longer than copying: here the first no counts for all."""
    from dvc_objects.fs import system

    reflink, refused = system.reflink, False

    def unless_refused(source, target) -> None:
        nonlocal refused
        if refused:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        try:
            reflink(source, target)
        except OSError:
            refused = True
            raise

    with runtime.instead(system, "reflink", unless_refused):
        yield


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
        parent = warm.start(door, environment)
        try:
            if training:
                tracking.prepare(runtime.profile_of(runtime.root() / "params.yaml"))
                if own:
                    services.await_prefect(own, url)
            warm.ready(parent, door)
            os.environ["DLBOOKS_WARM"] = str(door)
            yield
        finally:
            os.environ.pop("DLBOOKS_WARM", None)
            services.stop(parent)
            if own:
                os.environ.pop("PREFECT_API_URL")
                services.stop(own)


def seconds() -> dict[str, float]:
    """Seconds of every stage that was run in this checkout, not restored."""
    path = seconds_file()
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def spent(stages: list[str]) -> dict[str, float]:
    """Seconds of those of ``stages`` that were run here."""
    known = seconds()
    return {name: known[command(name)] for name in stages if command(name) in known}


def seconds_file() -> Path:
    here = runtime.root() == runtime.home()
    return runtime.state() / ("seconds.json" if here else f"seconds-{runtime.root().name}.json")


def command(stage: str) -> str:
    """The name of a DVC stage among the seconds: what its command says."""
    return stage.replace("@", " ") if "@" in stage else stage if stage == "report" else f"chapter {stage}"


def keep_seconds(stage: str, spent: float) -> None:
    """Notes what a stage took on a worker."""
    seconds_file().write_text(json.dumps({**seconds(), command(stage): round(spent, 2)}, indent=2), encoding="utf-8")


def forget_seconds(stages: list[str]) -> None:
    """Drops the seconds of stages about to run: whichever has none afterwards came out of DVC's cache."""
    names = {command(s) for s in stages}
    kept = {k: v for k, v in seconds().items() if k not in names}
    seconds_file().write_text(json.dumps(kept, indent=2), encoding="utf-8")


def dvc_message(error: BaseException) -> str:
    """DVC's words for a failure, with its cause, in one line."""
    cause = getattr(error, "cause", None) or error.__cause__
    return f"{error}" + (f" ({cause})" if cause else "")
