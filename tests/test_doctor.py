"""``dlbooks doctor``: every check fails where what it looks for is wrong, and says what to do."""

import contextlib
import fcntl
import http.server
import json
import locale
import os
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from dlbooks import doctor, runtime, sync


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """An empty folder in the place of the checkout."""
    for name in ("root", "home"):
        monkeypatch.setattr(runtime, name, lambda: tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def states(found):
    return {check.what: check.state for check in found}


def test_this_machine_in_words_and_json(tmp_path):
    command = [sys.executable, "-m", "dlbooks.cli", "doctor"]
    told = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True)
    found = [doctor.Check(**entry) for entry in json.loads(told.stdout)]
    assert told.returncode == int(any(check.state == "error" for check in found))
    assert {check.state for check in found} <= {"ok", "warning", "error"} and all(check.words for check in found)
    assert all(bool(check.fix) == (check.state != "ok") for check in found), "whoever is told of trouble is told the remedy"
    places = (runtime.root(), runtime.root() / "data", runtime.state(), doctor.cache_settings()[0])
    assert not [p for place in places for p in place.glob(".doctor-*")], "it leaves nothing behind"


def test_errors_are_told_from_warnings(monkeypatch, capsys):
    for broken, code in ((("ok",), 0), (("ok", "warning"), 0), (("warning", "error"), 1)):
        monkeypatch.setattr(doctor, "ALL", [lambda s=s: doctor.Check(s, s, "words", "" if s == "ok" else "a remedy") for s in broken])
        assert doctor.doctor() == code
    assert capsys.readouterr().out.endswith("→ a remedy\n\n1 error, 1 warning\n")


def test_a_check_that_breaks_does_not_break_the_others(monkeypatch):
    monkeypatch.setattr(doctor, "disk", lambda: 1 / 0)
    monkeypatch.setattr(doctor, "ALL", [doctor.disk, doctor.descriptors])
    broken, other = doctor.checks()
    assert (broken.state, other.what) == ("error", "open files") and "division by zero" in broken.words


def test_python_and_packages(checkout, monkeypatch):
    (checkout / "requirements.lock").write_text(
        "numpy==0.1 \\\n    --hash=sha256:00\nNo_Such.Package==2.0\nwindows-only==1.0 ; sys_platform == 'win32' \\\n", encoding="utf-8"
    )
    found = doctor.packages()
    assert found.state == "error" and "instead of 0.1" in found.words and "No_Such.Package missing instead of 2.0" in found.words
    assert "windows" not in found.words and "make setup" in found.fix
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    assert doctor.python().state == "error"


def test_git(checkout, monkeypatch):
    assert doctor.git().state == "error", "a folder that is no clone"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert doctor.git().words.startswith("not found")


@pytest.mark.parametrize(("free", "state"), [(1, "error"), (20, "warning"), (100, "ok")])
def test_disk(monkeypatch, free, state):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free * 1e9))
    assert doctor.disk().state == state


def test_memory_and_cores(monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda path, *a: "MemAvailable: 2000000 kB" if path.name == "meminfo" else "max")
    assert doctor.memory().state == "warning" and doctor.memory().words.startswith("2.0 GB")
    monkeypatch.setattr(
        Path, "read_text", lambda path, *a: {"meminfo": "MemAvailable: 9000000 kB", "memory.max": "8000000000"}.get(path.name, "7500000000")
    )
    assert doctor.memory().words.startswith("0.5 GB"), "what the container leaves"
    monkeypatch.undo()
    monkeypatch.setattr(runtime, "cpu_flags", lambda: {"sse4_2"})
    assert "without AVX2" in doctor.processor()[0].words
    monkeypatch.setattr(runtime, "cpu_flags", lambda: {"avx2"})
    monkeypatch.setattr(runtime, "cores", lambda: 1)
    assert doctor.processor()[0].state == "warning"


def test_ports(monkeypatch):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        monkeypatch.setattr(doctor, "PORTS", (("dlbooks serve", port, "dlbooks serve --port"),))
        (found,) = doctor.ports()
        assert found.state == "warning" and found.fix == f"choose another: `dlbooks serve --port {port + 1}`"
    assert doctor.ports()[0].state == "ok"


def test_writing(checkout, monkeypatch):
    assert set(states(doctor.writing()).values()) == {"ok"} and not list(checkout.iterdir()), "tried, and nothing is left"
    (checkout / ".dvc").mkdir()
    (checkout / ".dvc" / "config.local").write_text("[cache]\n    dir = /proc/dvc\n")
    found = states(doctor.writing())
    assert found.pop("write DVC cache") == "error" and set(found.values()) == {"ok"}


def test_locks_and_databases(checkout, monkeypatch):
    assert set(states(doctor.locking()).values()) == {"ok"}
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    assert doctor.locking()[0] == ("file locks", "error", f"{checkout}: two processes hold the same lock", "put the checkout on a local disk")
    monkeypatch.undo()
    monkeypatch.setattr(runtime, "home", lambda: checkout)
    monkeypatch.setattr(sqlite3, "connect", lambda *_, **__: (_ for _ in ()).throw(sqlite3.OperationalError("locking protocol")))
    assert "locking protocol" in doctor.locking()[0].words


def test_links(checkout, monkeypatch):
    works = {"copy"}
    monkeypatch.setattr(doctor, "_links", lambda kind, *_: kind in works)
    assert doctor.links().state == "ok", "DVC's own setting: reflink or copy"
    (checkout / ".dvc").mkdir()
    (checkout / ".dvc" / "config").write_text("[cache]\n    type = hardlink,copy\n")
    assert doctor.links().state == "warning"
    works.clear()
    assert doctor.links().state == "error"
    monkeypatch.undo()
    assert doctor._links("hardlink", checkout, checkout) and doctor._links("symlink", checkout, checkout)
    assert not doctor._links("hardlink", checkout, Path("/proc"))


def test_pipeline(checkout, monkeypatch):
    monkeypatch.setattr(sync, "text", lambda: "stages: {}\n")
    (checkout / "dvc.yaml").write_text("stages: {old: {}}\n")
    assert doctor.pipeline().state == "error" and doctor.pipeline().fix == "`dlbooks sync`"
    (checkout / "dvc.yaml").write_text("stages: {}\n")
    assert doctor.pipeline().state == "ok"
    (checkout / "dvc.yaml").unlink()
    assert doctor.pipeline().state == "error"


def test_locale_and_open_files(monkeypatch):
    monkeypatch.setattr(locale, "getencoding", lambda: "ISO-8859-1")
    monkeypatch.setattr(sys, "flags", SimpleNamespace(utf8_mode=0))
    assert doctor.encoding().state == "warning" and "LC_ALL" in doctor.encoding().fix
    monkeypatch.setattr(resource, "getrlimit", lambda what: (256, 1 << 20))
    assert doctor.descriptors() == ("open files", "warning", "at most 256: a rebuild may need 1024", "`ulimit -n 4096`")


def test_leftovers(checkout):
    assert doctor.leftovers().words == "nothing"
    (checkout / ".dlbooks" / "locks").mkdir(parents=True)
    with open(checkout / ".dlbooks" / "locks" / "parabola.lock", "w+") as held:
        held.write("process 7")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        assert doctor.leftovers() == ("left behind", "ok", "in training: parabola (process 7)", "")
    (checkout / ".git").mkdir()
    (checkout / ".git" / "index.lock").touch()
    assert doctor.leftovers().state == "warning"
    (checkout / ".git" / "index.lock").unlink()
    (checkout / ".dlbooks" / "prefect").mkdir()
    silent = subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(60)", "prefect"], stdout=subprocess.PIPE)
    try:
        silent.stdout.readline()
        (checkout / ".dlbooks" / "prefect" / "server.json").write_text(json.dumps({"url": "http://127.0.0.1:9/api", "pid": silent.pid}))
        assert doctor.leftovers().fix == f"`kill {silent.pid}`"
    finally:
        silent.kill()
        silent.wait()
    assert doctor.leftovers().state == "ok", "a server that ended is started anew"


def test_proxies(monkeypatch):
    for name in [n for n in os.environ if n.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    assert doctor.proxies().words == "none"
    monkeypatch.setenv("http_proxy", "http://somebody:secret@proxy.example.org:3128")
    found = doctor.proxies()
    assert found.state == "error" and "NO_PROXY" in found.fix and "secret" not in found.words
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    assert doctor.proxies().state == "ok"


def test_mirror(tmp_path, monkeypatch):
    monkeypatch.delenv("DLBOOKS_MIRROR", raising=False)
    assert doctor.mirror() == []
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)  # answers every request with 501
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    with contextlib.closing(server.socket):
        for place, state in ((str(tmp_path), "ok"), (str(tmp_path / "missing"), "error"), (url, "ok"), ("nonsense://x", "error")):
            monkeypatch.setenv("DLBOOKS_MIRROR", place)
            assert doctor.mirror()[0].state == state, place
        server.shutdown()
    monkeypatch.setenv("DLBOOKS_MIRROR", url)
    assert doctor.mirror()[0].state == "error"
