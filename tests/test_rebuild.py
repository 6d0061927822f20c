"""The parallel rebuild without its servers: the plan, the order, failures, what a dead process leaves, snapshots, `dvc.lock`."""

import asyncio
import contextlib
import errno
import json
import random
import re
import shutil
import subprocess
import sys
import tarfile
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from ruamel.yaml import YAML

from dlbooks import UserError, catalog, deployments, fleet, params, rebuild, runtime, sync, warm, worker, workspace
from dlbooks.plan import Plan, hashed_once, parsed_once


def graph(needs: dict[str, list[str]], seconds: dict[str, float] | None = None) -> Plan:
    return Plan(list(needs), needs, needs, seconds or {})


DIAMOND = {"fetch": [], "left": ["fetch"], "right": ["fetch"], "end": ["left", "right"], "alone": []}


class FakePools:
    """Pools in which every stage ends at once, as ``fates`` says: an error, or None for a dead process, once per entry."""

    def __init__(self, fates=None):
        self.fates, self.running, self.log = {k: list(v) for k, v in (fates or {}).items()}, {}, []

    def submit(self, stage, hardware, parameters, urgency, number=1):
        self.log.append(stage)
        self.running[len(self.log)] = fleet.Attempt(stage, number)

    def look(self):
        for key, attempt in list(self.running.items()):
            del self.running[key]
            fate = self.fates.get(attempt.stage, [])
            what = fate.pop(0) if fate else "fine"
            yield attempt, None if what is None else fleet.Outcome(attempt.stage, {"entry": {}}, error="" if what == "fine" else what)


def followed(plan, fates=None, **more):
    pools, ended = FakePools(fates), []
    failed = fleet.follow(plan, pools, lambda _: "cpu", lambda name: {"target": name}, lambda o: ended.append(o.stage), **more)
    return failed, pools.log, ended


def test_stages_start_when_what_they_read_is_there_and_urgent_ones_first():
    seconds = {"fetch": 1, "left": 1, "right": 50, "end": 1, "alone": 5}
    failed, log, ended = followed(graph(DIAMOND, seconds))
    assert failed == {} and log == ["fetch", "alone", "right", "left", "end"] and sorted(ended) == sorted(DIAMOND)


def test_a_failure_blocks_only_what_reads_it():
    failed, log, _ = followed(graph(DIAMOND), {"left": ["no luck"]})
    assert failed == {"left": "no luck"} and set(log) == {"fetch", "left", "right", "alone"}
    assert graph(DIAMOND).readers("left") == {"end"} and graph(DIAMOND).readers("fetch") == {"left", "right", "end"}


def test_without_keep_going_nothing_starts_after_a_failure():
    failed, log, _ = followed(graph(DIAMOND), {"fetch": ["no luck"]}, keep_going=False)
    assert failed == {"fetch": "no luck"} and set(log) == {"fetch", "alone"}


def test_a_dead_process_is_begun_again_but_not_for_ever():
    failed, log, _ = followed(graph(DIAMOND), {"left": [None]})
    assert failed == {} and log.count("left") == 2
    failed, log, _ = followed(graph(DIAMOND), {"left": [None] * 9})
    assert log.count("left") == fleet.TRIES and "died 3 times" in failed["left"]


def test_urgency_and_bound():
    plan = graph(DIAMOND, {"fetch": 2, "left": 3, "right": 10, "end": 4, "alone": 5})
    assert plan.urgency() == {"fetch": 16, "left": 7, "right": 14, "end": 4, "alone": 5}
    assert plan.bound(1) == 24 and plan.bound(16) == 16


def test_a_graph_of_two_thousand_stages_is_dealt_with_quickly():
    rng, needs = random.Random(0), {}
    for i in range(2000):
        needs[f"s{i}"] = [f"s{j}" for j in {rng.randrange(i) for _ in range(3)}] if i else []
    began = time.monotonic()
    failed, log, _ = followed(graph(needs))
    assert failed == {} and len(log) == 2000 and all(log.index(n) < log.index(s) for s in ("s1999", "s1500") for n in needs[s])
    assert time.monotonic() - began < 10


# ── dvc.lock ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_entries_handed_in_one_by_one_give_the_bytes_that_dvc_writes(tmp_path, monkeypatch):
    committed = (runtime.root() / "dvc.lock").read_text(encoding="utf-8")
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    monkeypatch.setattr(sync.runtime, "root", lambda: tmp_path)
    names = list(entries := YAML(typ="safe").load(committed)["stages"])
    monkeypatch.setattr(sync, "order", lambda: names)
    lock = sync.Lock()
    for name in random.Random(3).sample(names, len(names)):  # workers end in any order
        lock.enter(name, entries[name])
    assert (tmp_path / "dvc.lock").read_text(encoding="utf-8") == committed
    again = sync.Lock()
    again.enter(names[0], entries[names[0]])
    assert (tmp_path / "dvc.lock").read_text(encoding="utf-8") == committed


# ── snapshots and workspaces ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setattr(workspace.runtime, "state", lambda: tmp_path)
    return tmp_path


def test_a_snapshot_holds_the_code_and_its_name_says_what_is_in_it(state):
    first = workspace.snapshot()
    with tarfile.open(workspace.folder() / f"{first}.tar") as archive:
        names = archive.getnames()
    assert {"dvc.yaml", "params.yaml", "src/dlbooks/nn/training.py", "stages/chapter.py", ".dvc/config", "snapshot.json"} <= set(names)
    assert not any(n.startswith(("data/raw", "tests/", ".venv", "dvc.lock")) for n in names)
    assert workspace.snapshot() == first
    other = workspace.snapshot("book")
    with tarfile.open(workspace.folder() / f"{other}.tar") as archive:
        text = archive.extractfile("params.yaml").read().decode()
    assert other != first and "\nprofile: book\n" in "\n" + text


def test_unpacking_writes_what_differs_and_removes_what_is_gone(state):
    digest, root = workspace.snapshot(), state / "here"
    root.mkdir()
    workspace.unpacked(digest, root)
    assert (root / "params.yaml").read_bytes() == (runtime.root() / "params.yaml").read_bytes()
    (root / "data" / "runs").mkdir(parents=True)
    (root / "data" / "runs" / "kept").write_text("an output")
    old = root / "src" / "dlbooks" / "catalog.py"
    before = old.stat().st_mtime_ns
    other = workspace.snapshot("book")
    workspace.unpacked(other, root)
    assert runtime.profile_of(root / "params.yaml") == "book" and old.stat().st_mtime_ns == before
    assert (root / "data" / "runs" / "kept").exists()
    assert "no_scm = true" in (root / ".dvc" / "config.local").read_text()


def test_an_unknown_snapshot_without_a_remote_is_one_line(state, monkeypatch):
    monkeypatch.delenv("DLBOOKS_REMOTE", raising=False)
    with pytest.raises(UserError, match="set DLBOOKS_REMOTE"):
        workspace.unpacked("0" * 32, state / "nowhere")


def test_two_stages_never_share_a_workspace(state):
    with workspace.slot() as one, workspace.slot() as two:
        assert one != two
    with workspace.slot() as again:
        assert again == one


def test_a_profile_is_changed_in_its_own_line_only():
    assert (
        params.with_profile("# profile: x\nprofile: mini  # why\nother: profile\n", "book") == "# profile: x\nprofile: book  # why\nother: profile\n"
    )


# ── workers ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_takes_over_what_a_dead_one_had_begun():
    now = datetime.now(UTC)
    old = now - timedelta(seconds=2 * worker.SILENT)

    def run(name, of, since=now):
        return SimpleNamespace(id=name, name=name, labels={"prefect.worker.name": of} if of else {}, state=SimpleNamespace(timestamp=since))

    class Client:
        def __init__(self):
            self.put_back = []

        async def read_flow_runs(self, **_):
            return [run("a", "dead"), run("b", "alive"), run("c", "me"), run("d", ""), run("e", "", old)]

        async def read_workers_for_work_pool(self, *_, **__):
            beats = {"alive": now, "me": now, "dead": old}
            return [SimpleNamespace(name=n, last_heartbeat_time=t) for n, t in beats.items()]

        async def set_flow_run_state(self, run_id, state, force):
            assert force and state.type.value == "SCHEDULED"
            self.put_back.append(run_id)

    client = Client()
    assert asyncio.run(worker.rescue(client, "cpu")) == ["a", "e"] == client.put_back
    client = Client()
    assert asyncio.run(worker.rescue(client, "cpu", former="me")) == ["a", "c", "e"], "a worker that starts again knows what it had"


def test_a_worker_without_a_server_is_one_line(monkeypatch, state):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(worker.services, "prefect_running", lambda: "")
    with pytest.raises(UserError, match="no Prefect server"):
        worker.serve("cpu", "", 1)


# ── deployments ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_family_has_a_deployment_and_schedules_are_paused():
    declared = YAML(typ="safe").load((runtime.root() / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    families = {c.family for c in catalog.chapters().values()}
    forms = {d["name"]: d for d in declared if d["entrypoint"] == "flows/chapter.py:chapter"}
    assert set(forms) == families
    for family, form in forms.items():
        assert catalog.chapter(form["parameters"]["chapter_id"]).declaration.family == family
    scheduled = [s for d in declared for s in d.get("schedules", [])]
    assert len(scheduled) == 2 and all(s["active"] is False and s["timezone"] for s in scheduled)
    for deployment in declared:
        file, _, name = deployment["entrypoint"].partition(":")
        assert f"def {name}(" in (runtime.root() / file).read_text(encoding="utf-8")


def test_the_form_offers_a_familys_chapters():
    schema = {"properties": {"chapter_id": {"type": "string"}, "profile": {"type": "string"}, "out": {}}, "type": "object"}
    made = deployments.with_choices(schema, "generative")["properties"]
    assert made["chapter_id"]["enum"] == [c.id for c in catalog.chapters().values() if c.family == "generative"]
    assert made["profile"]["enum"][0] == "" and "enum" not in schema["properties"]["chapter_id"]


def test_the_lock_is_sorted_without_parsing_it(tmp_path, monkeypatch):
    committed = (runtime.root() / "dvc.lock").read_text(encoding="utf-8")
    names = sync.order()
    monkeypatch.setattr(sync.runtime, "root", lambda: tmp_path)
    monkeypatch.setattr(sync, "order", lambda: names)
    head, *parts = re.split(r"^(?=  \S)", committed, flags=re.M)
    random.Random(1).shuffle(parts)
    (tmp_path / "dvc.lock").write_text(head + "".join(parts), encoding="utf-8")
    sync.sort_lock()
    assert (tmp_path / "dvc.lock").read_text(encoding="utf-8") == committed


def test_a_failed_stage_is_quoted_without_dvcs_and_prefects_own_lines(tmp_path, monkeypatch):
    log = tmp_path / "stage.log"
    log.write_text(
        "Running stage 'x':\n> python3 stages/x.py\nstep 1\nerror: x.mini.steps = -1: must be at least 1\n02:18:22.531 | WARNING | Events - late\n"
    )
    monkeypatch.setenv("DLBOOKS_LOG", str(log))
    assert worker.last_words() == "error: x.mini.steps = -1: must be at least 1"
    log.write_text("Running stage 'x':\n> python3 stages/x.py\n")
    assert worker.last_words() == ""


def test_a_pool_that_its_worker_makes_meanwhile_is_no_failure():
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

    class Client:
        def read_work_pool(self, name):
            raise ObjectNotFound(http_exc=None)

        def create_work_pool(self, pool):
            asked.append(pool.name)
            raise ObjectAlreadyExists(http_exc=None)

    asked = []
    fleet.work_pool(Client(), "local")
    assert asked == ["local"]


def test_a_parameter_is_looked_up_as_dvc_does():
    from dvc.dependency import param
    from dvc.fs import localfs

    path, read = str(runtime.root() / "params.yaml"), param.read_param_file
    keys = ["profile", *(f"{name}.mini" for name in catalog.chapters()), "data.mnist.book", "data.mnist.none", "nobody.mini", "profile.mini"]
    with parsed_once():
        found = param.read_param_file(localfs, path, keys, flatten=True)
        assert param.read_param_file(localfs, path) == read(localfs, path)
    assert found == read(localfs, path, keys, flatten=True) and len(found) == len(keys) - 3
    assert param.read_param_file is read


@pytest.fixture
def pipeline(tmp_path, monkeypatch):
    """A small DVC project that has run: `one` and `two` read the same file, `three` reads the folder that `one` writes."""
    from dvc.repo import Repo

    make = "python3 -c \"import os, sys; os.mkdir(sys.argv[1]); [open(f'{sys.argv[1]}/{i}', 'w').write(sys.argv[1] * i) for i in (1, 2, 3)]\""
    stages = {
        name: {"cmd": f"{make} {name}", "deps": deps, "outs": [name]} for name, deps in {"one": ["in"], "two": ["in"], "three": ["one"]}.items()
    }
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    (tmp_path / "in").write_text("1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runtime, "root", lambda: tmp_path)
    Repo.init(no_scm=True).reproduce()
    return tmp_path


def test_a_file_that_several_stages_name_is_looked_at_once(pipeline, monkeypatch):
    from dvc.output import Output
    from dvc.repo import Repo

    look, seen = Output._get_hash_meta, []
    monkeypatch.setattr(Output, "_get_hash_meta", lambda output: seen.append(output.fs_path) or look(output))

    def status(*contexts):
        seen.clear()
        with contextlib.ExitStack() as stack:
            [stack.enter_context(c()) for c in contexts]
            return Repo().status()

    for change in (lambda: None, lambda: (pipeline / "in").write_text("2"), lambda: (pipeline / "one" / "2").write_text("other")):
        change()
        assert status(hashed_once) == status()
    assert len(status()) == 3 and len(seen) == 6  # three outputs, three dependencies
    status(hashed_once)
    assert sorted(seen) == sorted(str(pipeline / name) for name in ("in", "one", "two", "three"))


def test_outputs_come_back_from_the_cache_and_a_lost_one_holds_up_no_other(pipeline, caplog):
    from dvc.repo import Repo

    entry = YAML(typ="safe").load(pipeline / "dvc.lock")["stages"]["two"]["outs"][0]["md5"]
    for name in ("one", "two", "three"):
        shutil.rmtree(pipeline / name)
    (pipeline / ".dvc/cache/files/md5" / entry[:2] / entry[2:]).unlink()
    rebuild.restore(Repo())
    assert not caplog.records, "a clone without any cache says nothing of it"
    assert (pipeline / "one" / "3").read_text() == "one" * 3 and (pipeline / "three" / "1").read_text() == "three"
    assert not (pipeline / "two").exists() and set(Repo().status()) == {"two"}


def test_a_file_system_that_shares_no_blocks_is_asked_once(tmp_path, monkeypatch):
    from dvc_objects.fs import system, utils

    asked = []

    def reflink(source, target):
        asked.append(target)
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(system, "reflink", reflink)
    (tmp_path / "from").write_text("text")
    with rebuild.asked_once():
        for number in range(3):
            utils.copyfile(str(tmp_path / "from"), str(tmp_path / f"to{number}"))
    assert asked == [str(tmp_path / "to0")] and (tmp_path / "to2").read_text() == "text" and system.reflink is reflink


@pytest.mark.parametrize(("profile", "code"), [("mini", 0), ("mini", 3), ("mini", None), ("book", None)])
def test_a_stages_command_goes_to_the_warm_process_while_there_is_one(tmp_path, monkeypatch, profile, code):
    """A ``code`` of None: nobody listens, or it is not to be asked; then DVC starts the command as ever."""
    from dvc.stage import run
    from dvc.stage.exceptions import StageCmdFailedError

    asked, started = [], []

    def ask(*request):
        asked.append(request)
        if code is None:
            raise ConnectionRefusedError
        return contextlib.nullcontext()

    monkeypatch.setattr(warm, "ask", ask)
    monkeypatch.setattr(warm, "answer", lambda line: code)
    monkeypatch.setattr(run, "_run", ordinary := lambda *words, **options: started.append(words))
    monkeypatch.setenv("DLBOOKS_WARM", "door")
    (tmp_path / "params.yaml").write_text(f"profile: {profile}\n")
    with workspace.handed_over(tmp_path), pytest.raises(StageCmdFailedError) if code else contextlib.nullcontext():
        run._run("/bin/sh", "python3 stages/chapter.py mnist-cnn", env={"DVC_STAGE": "mnist-cnn"}, cwd=str(tmp_path))
    assert run._run is ordinary
    assert started == ([("/bin/sh", "python3 stages/chapter.py mnist-cnn")] if code is None else [])
    if profile == "book":
        assert not asked
    else:
        ((door, command, folder, environment),) = asked
        assert (door, command, folder) == ("door", ["chapter", "mnist-cnn"], tmp_path)
        assert environment["DVC_STAGE"] == "mnist-cnn" and environment["PYTHONPATH"] == str(tmp_path / "src")
        assert environment["ONEDNN_MAX_CPU_ISA"] == "AVX2"


def test_what_a_killed_rebuild_left_in_its_pool_is_cancelled():
    standing = [SimpleNamespace(id=number) for number in range(3)]

    class Client:
        def read_flow_runs(self, flow_run_filter, work_pool_filter, limit):
            assert work_pool_filter.name.any_ == ["local"] and {t.value for t in flow_run_filter.state.type.any_} == {
                "SCHEDULED",
                "PENDING",
                "RUNNING",
            }
            return standing[:2]  # a page

        def set_flow_run_state(self, run, state, force):
            assert state.type.value == "CANCELLED" and force
            standing[:] = [r for r in standing if r.id != run]

    fleet.empty(Client(), "local")
    assert not standing


LEFT_OVER = """
import asyncio, collections
from anyio._backends._asyncio import WorkerThread
from dlbooks import worker


async def start():  # as AnyIO does, whose threads end with the task that started them, unless that is interrupted
    WorkerThread(asyncio.current_task(), set(), collections.deque()).start()


asyncio.run(start())
worker.end_idle_threads()
"""


def test_threads_of_an_interrupted_worker_do_not_keep_its_process():
    subprocess.run([sys.executable, "-c", LEFT_OVER], check=True, timeout=30)
