"""A simulated fleet: the coordinator of the rebuild and Prefect are the real ones, the stages sleep as long as they took when they were recorded.

    .venv/bin/python benchmarks/fleet.py [--workers 1 2 4 8 16] [--scale 1.0] [--stages 2000]

For every number of workers: wall time, the bound no schedule can beat (the longest chain, or the work divided evenly), their ratio (efficiency) and
what the coordinator itself spends per stage. Then: seconds to plan a graph of many stages, DVC's loading and checking of it included.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from postgresql import INSTALLED, postgres

from dlbooks import ledger, runtime, services
from dlbooks.plan import Plan, plan

POOL = "fleet"


def recorded(scale: float) -> Plan:
    """This project's graph; chapters take what the ledger says, the rest what it takes on two cores."""
    from dvc.repo import Repo

    found, known = plan(Repo(str(runtime.root())), [], force=True), ledger.read()
    for name in found.stages:
        spent = known.get(name, {}).get("mini", {}).get("newest", {}).get("seconds", {}).get("total")
        found.seconds[name] = scale * (spent or (0.3 if "@" in name else 8.0))
    return found


def sleepers(count: int, url: str) -> None:
    """So many workers in one process: each claims one stage at a time through Prefect, sleeps, and says that it is done."""
    os.environ.update(services.prefect_environment(), PREFECT_API_URL=url, PREFECT_WORKER_QUERY_SECONDS="0.5", PREFECT_LOGGING_LEVEL="CRITICAL")
    from prefect.states import Completed, Running
    from prefect.workers.process import ProcessWorkerResult

    from dlbooks import worker

    def sleeper(name: str):
        made = worker.worker(POOL, name, 1, Path())

        async def run(flow_run, configuration, task_status=None):
            task_status.started(flow_run.name)
            await made.client.set_flow_run_state(flow_run.id, Running(), force=True)
            await asyncio.sleep(flow_run.parameters["seconds"])
            message = json.dumps({"entry": {}, "how": "ran", "seconds": flow_run.parameters["seconds"]})
            await made.client.set_flow_run_state(flow_run.id, Completed(message=message), force=True)
            return ProcessWorkerResult(status_code=0, identifier=flow_run.name)

        made.run = run
        return made

    async def all_of_them():
        await asyncio.gather(*(sleeper(f"sleeper-{i}").start(printer=lambda _: None) for i in range(count)))

    asyncio.run(all_of_them())


def measured(todo: Plan, workers: int, url: str) -> tuple[float, float]:
    """Seconds of the whole, and seconds of processor time that the coordinator spends per stage."""
    from prefect.client.orchestration import get_client

    from dlbooks import fleet

    with get_client(sync_client=True) as client:
        pools = fleet.Pools(client, {"cpu": POOL})
        command = [sys.executable, __file__, "--sleep", str(workers), url]
        process = subprocess.Popen(command, preexec_fn=services.die_with_parent)
        try:
            while len(client.read_workers_for_work_pool(POOL)) < workers:
                time.sleep(0.2)
            began, spent = time.monotonic(), time.process_time()
            failed = fleet.follow(todo, pools, lambda _: "cpu", lambda name: {"seconds": todo.seconds[name]}, lambda _: None)
            assert not failed, failed
            return time.monotonic() - began, (time.process_time() - spent) / len(todo.stages)
        finally:
            process.kill()
            process.wait()
            client.delete_work_pool(POOL)


def many(count: int) -> tuple[float, float]:
    """Seconds to plan a pipeline of so many stages: all, and the part that is not DVC's."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=folder, check=True)
        lines = ["stages:"]
        for i in range(count):
            needs = sorted({i - 1 - (i * k) % 97 for k in (1, 3)} & set(range(i)))
            lines += [f"  s{i}:", f"    cmd: touch out{i}", f"    outs: [out{i}]"] + (
                [f"    deps: [{', '.join(f'out{n}' for n in needs)}]"] if needs else []
            )
        (Path(folder) / "dvc.yaml").write_text("\n".join(lines) + "\n")
        from dvc.repo import Repo

        os.chdir(folder)
        began = time.monotonic()
        repo = Repo()
        repo.index.graph  # noqa: B018
        loaded = time.monotonic() - began
        todo = plan(repo, [], force=True)
        todo.urgency()
        whole = time.monotonic() - began
        os.chdir("/")
    assert len(todo.stages) == count
    return whole, whole - loaded


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4, 8, 16])
    words.add_argument("--scale", type=float, default=1.0, help="factor on all durations")
    words.add_argument("--stages", type=int, default=2000)
    words.add_argument("--sleep", nargs=2, help=argparse.SUPPRESS)
    chosen = words.parse_args()
    if chosen.sleep:
        return sleepers(int(chosen.sleep[0]), chosen.sleep[1])
    os.environ.update(runtime.QUIET)
    print(runtime.hardware())
    if chosen.workers:
        todo = recorded(chosen.scale)
        kept = contextlib.ExitStack()
        folder = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="dlbooks-")))
        if INSTALLED:  # as in deploy/: SQLite refuses a second writer, and every refusal costs Prefect's client seconds
            port = kept.enter_context(postgres(folder / "postgres"))
            database = f"postgresql+asyncpg://dlbooks@127.0.0.1:{port}/prefect"
        else:
            database = f"sqlite+aiosqlite:///{folder / 'prefect.db'}"
        print(f"Prefect's database: {database.partition(':')[0]}")
        os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = database
        server, url = services.start_prefect(advertise=False)
        os.environ.update(services.prefect_environment(), PREFECT_API_URL=url)
        services.await_prefect(server, url)
        print(f"{len(todo.stages)} stages, {sum(todo.seconds.values()):.0f} s of work, longest chain {todo.bound(10**6):.0f} s")
        for workers in chosen.workers:
            wall, own = measured(todo, workers, url)
            print(
                f"{workers:3} workers  {wall:6.1f} s  bound {todo.bound(workers):6.1f} s  efficiency {todo.bound(workers) / wall:.2f}  coordinator {1000 * own:.0f} ms a stage",
                flush=True,
            )
        services.stop(server)
        kept.close()
    whole, ours = many(chosen.stages)
    print(f"{chosen.stages} stages planned in {whole:.1f} s, {ours:.1f} s of it not DVC's loading")
    return None


if __name__ == "__main__":
    main()
