"""The pipeline as a person uses it: a clone, `dvc repro`, a changed parameter, a killed run. Slow; everything happens in a scratch clone."""

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import environment

from dlbooks import runtime

pytestmark = pytest.mark.pipeline
BIN = Path(sys.executable).parent


def repro(clone, *targets, **more):
    """`dlbooks repro` in the clone; returns the names of the stages that ran."""
    command = [sys.executable, "-m", "dlbooks.cli", "repro", *targets]
    done = subprocess.run(command, cwd=clone, env={**environment(clone, **more), "PYTHONPATH": str(clone / "src")}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    ran = r"Running stage '([^']+)'|✓ +\d+/\d+ +[\d.]+ s  (\S+)"  # one by one, or on workers
    return [one or other for one, other in re.findall(ran, done.stdout + done.stderr)], done.stdout


def set_param(clone, old, new):
    path = clone / "params.yaml"
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in params.yaml"
    path.write_text(text.replace(old, new))


def test_rebuild_runs_exactly_what_changed(clone):
    ran, shown = repro(clone, "parabola", "mnist-softmax")
    assert set(ran) == {"fetch@mnist", "preprocess@mnist", "parabola", "mnist-softmax"}
    assert "mnist-softmax" in shown and "test_accuracy" in shown
    status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True).stdout
    # The committed dvc.lock describes these very results: on any x86-64 machine with AVX2 nothing differs.
    if "avx2" in runtime.cpu_flags():
        assert status == ""
    ran, shown = repro(clone, "parabola", "mnist-softmax")
    assert ran == [] and "Nothing changed" in shown

    values = (clone / "params.yaml").read_text()
    block = values[values.index("\nparabola:") :]
    line = next(line for line in block.splitlines() if line.strip().startswith("mini:"))
    set_param(clone, line.strip() + "\n  book", line.strip().replace("learning_rate: 0.1", "learning_rate: 0.05") + "\n  book")
    ran, _ = repro(clone, "parabola", "mnist-softmax")
    assert ran == ["parabola"], "changing one chapter's rate reruns that chapter alone"

    dvc = subprocess.run(
        [str(BIN / "dvc"), "metrics", "diff", "--json"], cwd=clone, env=environment(clone), capture_output=True, text=True, check=True
    )
    assert "train_loss" in json.loads(dvc.stdout)["data/runs/parabola/metrics.json"]

    book = next(line for line in block.splitlines() if line.strip().startswith("book:"))
    set_param(clone, book.strip() + "\n  smoke", book.strip().replace("steps: 1000", "steps: 2000") + "\n  smoke")
    ran, _ = repro(clone, "parabola", "mnist-softmax")
    assert ran == [], "a value of another profile makes nothing stale"

    shutil.rmtree(clone / "data" / "runs")
    ran, _ = repro(clone, "parabola", "mnist-softmax")
    assert ran == [] and (clone / "data/runs/parabola/metrics.json").exists(), "outputs come back from the cache"
    subprocess.run(["git", "checkout", "-q", "."], cwd=clone, check=True)


def test_plain_dvc_under_a_bare_path_gives_the_same_bytes(clone):
    repro(clone, "mnist-softmax")
    before = (clone / "dvc.lock").read_text()
    command = [str(BIN / "dvc"), "repro", "--force", "--single-item", "mnist-softmax"]
    done = subprocess.run(command, cwd=clone, env={**environment(clone), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (clone / "dvc.lock").read_text() == before


def test_experiment_leaves_the_checkout_alone(clone):
    repro(clone, "parabola")
    lock = (clone / "dvc.lock").read_text()
    command = [sys.executable, "-m", "dlbooks.cli", "run", "parabola", "--profile", "smoke", "units=5"]
    done = subprocess.run(command, cwd=clone, env={**environment(clone), "PYTHONPATH": str(clone / "src")}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (clone / "dvc.lock").read_text() == lock
    assert subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True).stdout == ""
    shown = subprocess.run([str(BIN / "dvc"), "exp", "show", "--json"], cwd=clone, env=environment(clone), capture_output=True, text=True, check=True)
    assert '"units": 5' in shown.stdout


def mlflow_runs(clone, chapter):
    code = (
        "import json; from dlbooks import tracking; s = tracking.client(); tracking.reap(s)\n"
        "e = [x.experiment_id for x in s.search_experiments()]\n"
        f"r = s.search_runs(e, \"tags.`dlbooks.chapter` = '{chapter}'\", order_by=['attributes.start_time ASC'])\n"
        "print(json.dumps([(x.info.status, x.data.tags.get('mlflow.source.git.commit'), sorted(x.data.metrics)) for x in r]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environment(clone), "PYTHONPATH": str(clone / "src")}, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def children(pid):
    found = subprocess.run(["ps", "-eo", "pid,ppid", "--no-headers"], capture_output=True, text=True, check=True).stdout.split("\n")
    tree = {int(a): int(b) for a, b in (line.split() for line in found if line.strip())}
    wanted, grown = {pid}, True
    while grown:
        grown = {p for p, parent in tree.items() if parent in wanted} - wanted
        wanted |= grown
    return wanted - {pid}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_dvc_leaves_no_trainer_and_the_next_one_finishes(clone, how):
    repro(clone, "mnist-mlp")
    whole = json.loads((clone / "data/runs/mnist-mlp/metrics.json").read_text())
    known = len(mlflow_runs(clone, "mnist-mlp"))
    shutil.rmtree(clone / ".dlbooks/work", ignore_errors=True)
    command = [str(BIN / "dvc"), "repro", "--force", "--single-item", "mnist-mlp"]
    slow = environment(clone, DLBOOKS_CHECKPOINT_SECONDS="0")
    process = subprocess.Popen(command, cwd=clone, env=slow, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    work = clone / ".dlbooks/work/mnist-mlp"
    deadline = time.monotonic() + 90
    while not [p for p in work.glob("*/*.npz") if ".part" not in p.name]:
        assert time.monotonic() < deadline and process.poll() is None, "no checkpoint appeared"
        time.sleep(0.05)
    trainers = children(process.pid)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as Ctrl-C does: the whole foreground group
    else:
        process.kill()
    process.wait(30)
    deadline = time.monotonic() + 25
    while any(Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3] for pid in trainers):
        assert time.monotonic() < deadline, "a trainer outlived DVC"
        time.sleep(0.1)
    assert not (clone / "data/runs/mnist-mlp/metrics.json").exists(), "nothing half-written"
    runs = mlflow_runs(clone, "mnist-mlp")
    assert len(runs) == known + 1 and runs[-1][0] == "KILLED"
    lock = clone / ".dvc/tmp/rwlock"
    if lock.exists():
        lock.unlink()
    command = [str(BIN / "dvc"), "repro", "--force", "--single-item", "mnist-mlp"]
    done = subprocess.run(command, cwd=clone, env=environment(clone), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resuming at" in done.stdout + done.stderr
    assert json.loads((clone / "data/runs/mnist-mlp/metrics.json").read_text()) == whole


def failing_stage(clone, **more):
    command = [sys.executable, str(clone / "stages/chapter.py"), "parabola"]
    done = subprocess.run(command, cwd=clone, env=environment(clone, **more), capture_output=True, text=True)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert lines[-1].startswith("error: "), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return lines[-1]


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_unreachable_servers_are_one_line(clone):
    assert "MLflow server http://127.0.0.1:" in failing_stage(clone, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{closed_port()}")
    assert "Prefect server http://127.0.0.1:" in failing_stage(clone, PREFECT_API_URL=f"http://127.0.0.1:{closed_port()}/api")


def test_wrong_parameter_stops_the_stage_with_one_line(clone):
    values = (clone / "params.yaml").read_text()
    (clone / "params.yaml").write_text(values.replace("units: 20", "units: 0", 1))
    try:
        assert "parabola.mini.units = 0: should be greater than or equal to 1" in failing_stage(clone)
    finally:
        (clone / "params.yaml").write_text(values)


def test_a_failed_stage_fails_only_what_reads_it_and_a_rerun_goes_on(clone):
    file = clone / "src/dlbooks/chapters/foundations/parabola.py"
    text = file.read_text()
    head, line, body = re.split(r"^(def train\(.*\n)", text, maxsplit=1, flags=re.M)
    file.write_text(head + line + '    raise RuntimeError("broken on purpose")\n' + body)
    command = [sys.executable, "-m", "dlbooks.cli", "repro", "--force", "parabola", "mnist-softmax", "maze-sarsa", "--jobs", "2"]
    done = subprocess.run(command, cwd=clone, env={**environment(clone), "PYTHONPATH": str(clone / "src")}, capture_output=True, text=True)
    shown = done.stdout + done.stderr
    assert done.returncode == 1 and re.search(r"1 of \d stages failed", shown) and "Traceback" not in shown, shown
    assert re.search(r"✗ .*parabola", shown) and re.search(r"✓ .*maze-sarsa", shown) and re.search(r"✓ .*mnist-softmax", shown)
    assert "broken on purpose" in next(line for line in shown.splitlines() if "✗" in line), "the reason is the stage's own"
    assert "broken on purpose" in (clone / ".dlbooks/rebuild/logs/parabola.log").read_text(), "what the stage printed is kept"
    file.write_text(text)
    ran, _ = repro(clone, "parabola", "mnist-softmax", "maze-sarsa")
    assert set(ran) <= {"parabola"}, "the others are done"


@pytest.mark.parametrize("victims", [["dlbooks.cli repro"], ["prefect server start", "stages/warm.py", "dlbooks.cli worker"]])
def test_whatever_is_killed_the_rebuild_ends_right(clone, victims):
    targets = ["parabola", "maze-sarsa", "series-ar"]
    repro(clone, *targets)
    lock = (clone / "dvc.lock").read_text()
    for part in ("data/raw", "data/tfrecords", "data/runs", ".dvc/cache"):
        shutil.rmtree(clone / part, ignore_errors=True)
    command = [sys.executable, "-m", "dlbooks.cli", "repro", *targets, "--jobs", "2"]
    env = {**environment(clone), "PYTHONPATH": str(clone / "src")}
    process = subprocess.Popen(command, cwd=clone, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    logs, deadline = clone / ".dlbooks/rebuild/logs", time.monotonic() + 120
    started = time.time()
    while time.monotonic() < deadline and not any(f.stat().st_mtime > started for f in logs.glob("*.log")):
        time.sleep(0.1)
    for victim in victims:
        time.sleep(2)
        for pid in of(clone, victim)[:1]:
            os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=300)
    repro(clone, *targets)
    assert (clone / "dvc.lock").read_text() == lock
    status = subprocess.run([str(BIN / "dvc"), "status", *targets], cwd=clone, env=env, capture_output=True, text=True, check=True)
    assert "up to date" in status.stdout
    base = sqlite3.connect(clone / ".dlbooks/mlflow/mlflow.db")
    assert base.execute("select count(*) from runs where status = 'RUNNING'").fetchone() == (0,)
    deadline = time.monotonic() + 20
    while of(clone, "warm.py") and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not of(clone, "warm.py"), "nothing is left behind"


def of(clone, words):
    """Processes of the clone whose command line holds these words."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line, place = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(), os.readlink(entry / "cwd")
        except OSError:
            continue
        if words in line and place.startswith(str(clone)):
            found.append(int(entry.name))
    return sorted(found)
