"""What a terminal shows of a rebuild, what a log shows instead, and the status files behind both."""

import fcntl
import io
import itertools
import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time

import pytest
from rich.console import Console

from dlbooks import UserError, board, catalog, experiment, fleet, own, runtime, stage, status, workspace
from dlbooks.plan import Plan
from dlbooks.run import Run

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def told(tmp_path, monkeypatch):
    """The status file of a stage that somebody watches."""
    file = tmp_path / "status" / "one.json"
    file.parent.mkdir()
    monkeypatch.setenv("DLBOOKS_STATUS", str(file))
    monkeypatch.setattr(status, "_known", {})
    return file


def plan(*names: str, **seconds: float) -> Plan:
    return Plan(list(names), {n: [] for n in names}, {}, seconds)


# ── the status file ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_status_is_written_at_most_once_a_second(told, monkeypatch):
    clock, replaced = [100.0], []
    monkeypatch.setattr(status.time, "monotonic", lambda: clock[0])
    replace = os.replace
    monkeypatch.setattr(status.os, "replace", lambda *words: (replaced.append(clock[0]), replace(*words)))
    status.begin("parabola", "chapter")
    for number in range(50):
        clock[0] += 0.1
        status.tell(step=number)
    assert len(replaced) == 5 and min(b - a for a, b in itertools.pairwise(replaced)) >= 0.99
    assert [p.name for p in told.parent.iterdir()] == ["one.json"], "no half-written file stays"
    status.enter("evaluate")
    assert replaced[-1] == clock[0] and json.loads(told.read_text())["state"] == "evaluating", "a new step is told at once"
    assert json.loads(told.read_text())["step"] == 49, "what was not written in time comes with the next writing"


def test_status_is_never_seen_half_written(told):
    status.begin("parabola", "train")
    over = threading.Event()

    def write():
        while not over.is_set():
            status.tell(True, values={f"series {n}": 0.1 for n in range(200)})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(300):
            assert json.loads(told.read_text())["stage"] == "parabola"
    finally:
        over.set()
        writer.join()


def test_status_of_a_dead_process_or_a_damaged_file_is_ignored(told):
    status.begin("parabola", "train")
    assert list(status.read(told.parent)) == ["parabola"]
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    status.tell(True, process=gone.pid)
    (told.parent / "half.json").write_text('{"stage": "x"')
    (told.parent / "other.json").write_text("[1]")
    assert status.read(told.parent) == {} and status.read(told.parent / "nowhere") == {}


@pytest.mark.parametrize("end, code", [(None, 0), (UserError("no"), 2), (KeyboardInterrupt(), 130)])
def test_status_is_gone_when_the_stage_ends(told, monkeypatch, tmp_path, end, code):
    seen = []

    def fetch(name):
        seen.append(status.read(told.parent))
        if end:
            raise end

    monkeypatch.setattr(stage, "fetch", fetch)
    monkeypatch.setattr(stage.signal, "signal", lambda *_: None)
    monkeypatch.setenv("DLBOOKS_SECONDS", str(tmp_path / "seconds.json"))
    assert stage.main(["fetch", "mnist"]) == code
    assert seen[0]["fetch@mnist"]["state"] == "fetching" and seen[0]["fetch@mnist"]["process"] == os.getpid()
    assert not told.exists()


def test_status_is_no_output_and_nobodys_training_ends_by_it(told, monkeypatch):
    assert workspace.statuses().is_relative_to(runtime.state()) and runtime.git("check-ignore", str(workspace.statuses()))
    monkeypatch.setenv("DLBOOKS_STATUS", str(told.parent / "no folder" / "one.json"))
    status.begin("parabola", "train")
    status.end()
    monkeypatch.delenv("DLBOOKS_STATUS")
    status.begin("parabola", "train")
    assert not list(told.parent.iterdir())


def test_a_run_tells_bar_step_and_newest_values(told, tmp_path, monkeypatch):
    monkeypatch.setattr(status, "EVERY", 0.0)
    found = catalog.chapter("parabola")
    run = Run(found.declaration, found.params(), profile="mini", out=tmp_path / "out")
    status.begin("parabola", "train")
    for number in run.epochs(4):
        run.log(number, loss=1 / (number + 1), accuracy=0.5)
        entries = status.read(told.parent)["parabola"]
        assert (entries["step"], entries["values"]) == (number, {"loss": 1 / (number + 1), "accuracy": 0.5})
        time.sleep(0.02)
    assert (entries["label"], entries["done"], entries["total"]) == ("parabola epoch", 3, 4) and entries["left"] > 0 < entries["rate"]
    assert re.fullmatch(r"epoch 3/4 · 0 s left · loss 0.25 · accuracy 0.5 · [\d.]+/s", board.progress(entries)), board.progress(entries)
    status.enter("evaluate")
    assert board.progress(status.read(told.parent)["parabola"]) == "loss 0.25 · accuracy 0.5"
    assert not (tmp_path / "out").exists(), "nothing of it lies among the results"


# ── words ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_words_for_spans_amounts_and_progress():
    assert [board.span(s) for s in (0.4, 59.4, 125, 3725)] == ["0 s", "59 s", "2:05", "1:02:05"]
    assert [board.amount(n) for n in (0.1234, 812, 9999, 12345, 3.4e7, 2e9)] == ["0.123", "812", "9999", "12.3 k", "34 M", "2 G"]
    assert board.progress({}) == "" and board.progress({"state": "training", "step": 7, "values": {"loss": 2.0}}) == "step 7 · loss 2"
    bar = {"stage": "fetch@mnist", "label": "mnist", "done": 2e7, "total": 4e7, "unit": "B", "rate": 5e6, "left": 4.0}
    assert board.progress(bar) == "20 M/40 MB · 4 s left · 5 MB/s"
    assert board.progress({"label": "x", "done": 1, "rate": 0.02}) == "x 1 · 50 s each"


# ── the table and its lines, drawn here ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("width", [100, 60, 40])
def test_table_fits_the_width(width, tmp_path):
    console = Console(width=width, record=True, file=io.StringIO(), force_terminal=True, highlight=False)
    shown = board.Board(console, plan("cartpole-policy-gradient", "parabola", **{"cartpole-policy-gradient": 50.0}), tmp_path, 2)
    entries = {"state": "training", "label": "epoch", "done": 3, "total": 10, "left": 70.0, "rate": 0.1, "values": {"loss": 0.5}}
    shown.ended(fleet.Outcome("parabola", error="it [failed]"))
    console.print(board.table({"cartpole-policy-gradient": (20.0, entries)}, shown))
    lines = console.export_text().rstrip().splitlines()
    assert max(map(len, lines)) <= width and len(lines) == 3, lines
    assert lines[0].startswith("✗   1/2 ") and lines[0].rstrip().endswith("it [failed]")
    assert lines[1].startswith("cartpole-pol") and "20 s" in lines[1] and "epoch 3/10" in lines[1]
    assert ("of 50 s" in lines[1]) == (width >= 80) and ("training" in lines[1]) == (width >= 60)
    assert re.search(r"━ 1/2 stages · \d s", lines[2]) and ("1 failed" in lines[2]) == (width > 40)


def test_a_log_gets_a_line_per_stage_and_now_and_then_one_about_a_long_one(tmp_path, monkeypatch):
    clock, file = [0.0], io.StringIO()
    monkeypatch.setattr(board.time, "monotonic", lambda: clock[0])
    (tmp_path / "a.json").write_text(
        json.dumps({"stage": "parabola", "process": os.getpid(), "state": "training", "step": 7, "values": {"loss": 2.0}})
    )
    with board.Board(Console(file=file, highlight=False), plan("fetch@mnist", "parabola", parabola=500.0), tmp_path, 2) as shown:
        for second in range(1, 201):
            clock[0] = float(second)
            shown.show(lambda: ["parabola"])
        shown.ended(fleet.Outcome("parabola", {"how": "ran", "seconds": 200.0, "metrics": {"train_loss": 0.5}}))
        shown.ended(fleet.Outcome("fetch@mnist", {"how": "cached"}))
    assert file.getvalue().splitlines() == [
        *(f"…  parabola  {s} of about 8:20, training, step 7 · loss 2" for s in ("30 s", "1:00", "2:00")),
        "✓   1/2  200.0 s  parabola  train_loss 0.5",
        "✓   2/2   cached  fetch@mnist  ",
    ]


def test_results_of_what_did_not_run_say_why(monkeypatch):
    todo = Plan(["parabola", "mnist-mlp", "mnist-cnn"], {"parabola": [], "mnist-mlp": ["parabola"], "mnist-cnn": []}, {})
    console = Console(file=io.StringIO(), record=True, width=120)
    monkeypatch.setattr(board.ledger, "here", lambda name: {catalog.chapter(name).declaration.headline: 0.5})
    board.results(console, {"chapter mnist-cnn": 7.0}, board.outcomes(todo, {"parabola": "no"}, {"mnist-cnn": 7.0}))
    last = {line.split()[0]: line.split()[-1] for line in console.export_text().splitlines() if line}
    assert {n: last[n] for n in (*todo.stages, "vae-mnist")} == {
        "parabola": "failed",
        "mnist-mlp": "blocked",
        "mnist-cnn": "7.0",
        "vae-mnist": "cached",
    }


def test_time_left_follows_the_plan(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(board.time, "monotonic", lambda: clock[0])
    shown = board.Board(Console(file=io.StringIO()), plan("a", "b", a=10.0, b=30.0), tmp_path, 1)
    assert shown.left() is None, "nothing has begun"
    shown.show(lambda: ["a"])
    clock[0] = 104.0
    shown.show(lambda: ["a"])
    assert shown.left() == 36.0
    clock[0] = 120.0
    shown.ended(fleet.Outcome("a", {"how": "cached"}))
    assert shown.left() == 60.0, "it took twice as long as expected, so will the rest"
    shown.ended(fleet.Outcome("b", {"how": "cached"}))
    assert shown.left() is None


def test_a_failing_experiment_says_the_stages_own_reason(tmp_path, monkeypatch, capfd):
    """DVC is a script here that prints what DVC prints; the table stands for it."""
    words = "print('> python3 stages/chapter.py parabola'); print('error: loss is nan'); print(\"ERROR: failed to reproduce 'parabola'\"); exit(255)"
    call = subprocess.call
    monkeypatch.setattr(experiment.subprocess, "call", lambda command, **options: call([sys.executable, "-c", words]))
    monkeypatch.setattr(experiment.workspace, "folder", lambda: tmp_path)
    monkeypatch.setattr(experiment.runtime, "home", lambda: tmp_path)
    monkeypatch.setattr(experiment, "result", lambda *_: {"metrics": {}})
    monkeypatch.setattr(board, "interactive", lambda *_: True)
    runs: list[dict] = []
    code = experiment.run(own.stage("parabola"), {"profile": "mini"}, "mini", [], {}, summary=runs)
    assert code == 2 and runs == [{"metrics": {}, "error": "loss is nan"}]
    out, err = capfd.readouterr()
    assert err == "error: loss is nan (the rest stands in logs/parabola-experiment.log)\n" and "stages/chapter.py" not in out
    assert "DLBOOKS_STATUS" not in os.environ and "DLBOOKS_LOG" not in os.environ


# ── under a pseudo terminal ─────────────────────────────────────────────────────────────────────────────────────────────────────────

SHOW = """
import os, subprocess, sys, time
from pathlib import Path
from rich.console import Console
from dlbooks import board, status
from dlbooks.plan import Plan
folder, spent = Path(sys.argv[1]), {}
todo = Plan(["parabola", "report"], {"parabola": [], "report": ["parabola"]}, {}, {"parabola": 3.0, "report": 2.0})
print("BEFORE")
try:
    with board.Board(Console(highlight=False), todo, folder, 1, "plain" in sys.argv, folder / "logs" / "stages.log") as shown, shown.alone(lambda: spent):
        status.begin("parabola", "train")
        bar = status.Bar(total=60, desc="parabola epoch")
        for step in range(60 if "interrupt" in sys.argv else 26):
            time.sleep(0.1)
            bar.update()
            status.tell(values={"loss": 1.0})
        bar.close()
        print("a stage prints")
        subprocess.run(["sh", "-c", "echo its child prints, too; echo and complains >&2"])
        status.end()
        spent["parabola"] = 1.5
        time.sleep(0.7)
except BaseException as error:
    print(repr(error))
print("AFTER")
"""
SCENES = {  # columns (0: no terminal), environment, words
    "wide": (100, {}, []),
    "narrow": (40, {"NO_COLOR": "1"}, []),
    "ci": (100, {"CI": "1"}, []),
    "dumb": (100, {"TERM": "dumb"}, []),
    "plain": (100, {}, ["plain"]),
    "pipe": (0, {}, []),
    "SIGINT": (60, {}, ["interrupt"]),
    "SIGTERM": (60, {}, ["interrupt"]),
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """What each scene wrote to its terminal, and its folder; all run side by side."""
    running, found, sent = {}, {}, {}
    kept = {k: v for k, v in os.environ.items() if k not in ("CI", "NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR") and not k.startswith("DLBOOKS_")}
    for name, (columns, more, words) in SCENES.items():
        folder = tmp_path_factory.mktemp(name)
        reads, writes = os.openpty() if columns else os.pipe()
        if columns:
            fcntl.ioctl(writes, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
        command = [sys.executable, "-c", SHOW, str(folder), *words]
        streams = {"stdin": writes if columns else subprocess.DEVNULL, "stdout": writes, "stderr": writes}
        process = subprocess.Popen(command, env={**kept, "TERM": "xterm-256color", **more}, start_new_session=True, **streams)
        os.close(writes)
        running[reads] = (name, process, folder)
        found[name] = b""
    deadline = time.monotonic() + 60
    while running and time.monotonic() < deadline:
        for reads in select.select(list(running), [], [], 1)[0]:
            name, process, folder = running[reads]
            try:
                data = os.read(reads, 65536)
            except OSError:  # the terminal's other end is closed
                data = b""
            found[name] += data
            if name.startswith("SIG") and b"epoch" in data and not sent.get(name):
                process.send_signal(getattr(signal, name))
                sent[name] = True
            if not data:
                os.close(reads)
                del running[reads]
                found[name] = (found[name].decode().replace("\r\n", "\n"), folder, process.wait(10))
    assert not running and len(sent) == 2
    return found


@pytest.mark.parametrize("name", ["wide", "narrow"])
def test_on_a_terminal_a_table_stands_below_the_lines(scenes, name):
    text, folder, code = scenes[name]
    columns, environment, _ = SCENES[name]
    assert code == 0 and text.startswith("BEFORE\n\x1b[?25l") and text.rstrip().endswith("AFTER")
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1, "the cursor comes back"
    lines = CODES.sub("", text.replace("\r", "\n")).splitlines()
    assert max(map(len, lines)) <= columns
    assert any(line.startswith("parabola") and "epoch" in line for line in lines)
    assert any("0/2 stages" in line for line in lines) and any("1/2 stages" in line for line in lines)
    assert sum(line.startswith("✓   1/2    1.5 s  parabola") for line in lines) == 1
    colors = re.findall(r"\x1b\[([0-9;]*)m", text)
    assert bool({"32", "36"} & {part for code in colors for part in code.split(";")}) == ("NO_COLOR" not in environment)
    assert "prints" not in text and (folder / "logs/stages.log").read_text().splitlines() == [
        "a stage prints",
        "its child prints, too",
        "and complains",
    ]
    assert not list(folder.glob("*.json"))


@pytest.mark.parametrize("name", ["ci", "dumb", "plain", "pipe"])
def test_elsewhere_what_stages_print_comes_through_and_nothing_moves(scenes, name):
    text, folder, code = scenes[name]
    assert code == 0 and not CODES.search(text) and "\r" not in text
    assert sorted(text.splitlines()) == ["AFTER", "BEFORE", "a stage prints", "and complains", "its child prints, too"]
    assert not list(folder.iterdir())


@pytest.mark.parametrize("name, error", [("SIGINT", "KeyboardInterrupt()"), ("SIGTERM", "SystemExit(143)")])
def test_interrupted_the_terminal_is_as_it_was(scenes, name, error):
    text, folder, code = scenes[name]
    assert code == 0 and CODES.sub("", text).splitlines()[-2:] == [error, "AFTER"], "standard output is the terminal again"
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l") and not list(folder.glob("*.json"))
