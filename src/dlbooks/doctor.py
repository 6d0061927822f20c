"""``dlbooks doctor``: what this machine lacks, in words, each with the remedy.

An error stops ``make repro`` or makes its results wrong (exit code 1), a warning only one of the things a person may want (exit code 0).
Everything is tried rather than looked up: files are written, locked and deleted, ports are bound.
"""

from __future__ import annotations

import configparser
import contextlib
import fcntl
import json
import locale
import os
import re
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from importlib.metadata import distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from dlbooks import devices, runtime

PORTS = (
    ("Prefect", 4200, "dlbooks ui --prefect-port"),
    ("MLflow", 5000, "dlbooks ui --mlflow-port"),
    ("dlbooks serve", 8000, "dlbooks serve --port"),
)
MINI, BOOK = 2, 50  # GB on the disk beside the environment: a rebuild of mini writes 0.6, the books' data and their records dozens
MEMORY = 4  # GB for two stages side by side, TensorFlow, Prefect and MLflow in each
DESCRIPTORS = 1024  # a rebuild holds sockets, logs and locks of every worker
FICLONE = 0x40049409  # Linux: share the blocks of another file


class Check(NamedTuple):
    """``state`` is ``ok``, ``warning`` or ``error``; ``fix`` says what to do, empty where nothing is to be done."""

    what: str
    state: str
    words: str
    fix: str = ""


def python() -> Check:
    found = sys.version.split()[0]
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Check("Python", "ok", found)
    return Check(
        "Python",
        "error",
        f"{found}: 3.11 to 3.13 are supported",
        "make the environment with another one: `rm -r .venv; make setup PYTHON=python3.12`",
    )


def packages() -> Check:
    """Every package of the lock that this platform needs, in the locked version."""
    from packaging.markers import Marker

    have = {re.sub(r"[-_.]+", "-", d.metadata["Name"]).lower(): d.version for d in distributions()}
    text = (runtime.root() / "requirements.lock").read_text(encoding="utf-8")
    locked = re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==([^\s;]+)(?: ; ([^\\\n]+))?", text, re.M)
    different, count = [], 0
    for name, wanted, marker in locked:
        if marker and not Marker(marker.strip()).evaluate():
            continue
        count += 1
        found = have.get(re.sub(r"[-_.]+", "-", name).lower(), "missing")
        if found != wanted:
            different.append(f"{name} {found} instead of {wanted}")
    if not different:
        return Check("packages", "ok", f"all {count} as requirements.lock says")
    more = f" and {len(different) - 4} more" if len(different) > 4 else ""
    return Check("packages", "error", ", ".join(different[:4]) + more, "install the lock again: `rm -f .venv/.ready; make setup`")


def git() -> Check:
    if not shutil.which("git"):
        return Check("git", "error", "not found: DVC needs it", "install it with the system's package manager")
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=runtime.root(), capture_output=True, text=True)
    if done.returncode:
        return Check("git", "error", (done.stderr.strip().splitlines() or ["no commit"])[0], "use a clone: `git clone`, not a downloaded archive")
    return Check("git", "ok", f"commit {done.stdout.strip()}")


def disk() -> Check:
    free = shutil.disk_usage(runtime.root()).free / 1e9
    if free < MINI:
        return Check(
            "disk",
            "error",
            f"{free:.1f} GB free: profile mini needs {MINI}",
            f"free some on the disk of {runtime.root()}; `dvc gc -w` drops old results",
        )
    if free < BOOK:
        return Check(
            "disk", "warning", f"{free:.0f} GB free: enough for mini, the books' data need up to {BOOK}", "move the checkout for profile book"
        )
    return Check("disk", "ok", f"{free:.0f} GB free")


def memory() -> Check:
    """Memory that is available to this process: the machine's, or what its container leaves."""
    try:
        available = int(re.search(r"^MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.M)[1]) / 1e6
    except (OSError, TypeError):
        return Check("memory", "ok", "unknown on this system")
    with contextlib.suppress(OSError, ValueError):
        limit, used = (int(Path("/sys/fs/cgroup", name).read_text()) for name in ("memory.max", "memory.current"))
        available = min(available, (limit - used) / 1e9)
    if available < MEMORY:
        return Check(
            "memory", "warning", f"{available:.1f} GB available: a rebuild likes {MEMORY}", "end other programs, or `dlbooks repro --jobs 1`"
        )
    return Check("memory", "ok", f"{available:.0f} GB available")


def processor() -> list[Check]:
    flags, cores = runtime.cpu_flags(), runtime.cores()
    share = f"; {cores} of them for this process" if cores != os.cpu_count() else ""
    words = runtime.hardware() + share
    if flags and "avx2" not in flags:
        found = Check("CPU", "warning", f"{words}: without AVX2 results differ from the committed ones", "compare by `dvc metrics diff`")
    elif cores < 2:
        found = Check("CPU", "warning", f"{words}: a rebuild takes twice as long as on two", "give the machine a second core")
    else:
        found = Check("CPU", "ok", words)
    return [found, Check("bfloat16", "ok", "fast here" if runtime.mixed_precision() else "slow on this CPU: profile book computes in float32")]


def gpus() -> Check:
    """The machine's GPUs, and what is missing to use them. TensorFlow is asked in a process of its own, and only where there is a GPU."""
    there = devices.installed()
    if not there:
        return Check("GPU", "ok", "none: every profile computes on the CPU")
    words, fixes = [", ".join(f"{gpu.index} ({gpu.name})" for gpu in there)], []
    code = "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"
    environment = {**os.environ, **runtime.QUIET, **devices.environment([gpu.index for gpu in there])}
    asked = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    seen = int(asked.stdout) if asked.stdout.strip().isdigit() else 0
    if seen < len(there):
        words.append(f"TensorFlow sees {seen or 'none'}: CUDA's libraries are missing")
        fixes.append(f"`pip install 'tensorflow[and-cuda]=={version('tensorflow')}'`")
    if not find_spec("pynvml"):
        words.append("their utilization is not logged")
        fixes.append("`pip install nvidia-ml-py`")
    return Check("GPU", "warning" if fixes else "ok", "; ".join(words), " and ".join(fixes))


def ports() -> list[Check]:
    found = []
    for name, port, option in PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                found.append(Check(f"port {port}", "ok", f"free for {name}"))
            except OSError as error:
                words = f"not free for {name}: {error.strerror}"
                found.append(Check(f"port {port}", "warning", words, f"choose another: `{option} {port + 1}`"))
    return found


def cache_settings() -> tuple[Path, list[str]]:
    """DVC's cache folder and the kinds of links it tries, from its settings for this user and this checkout."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    read = configparser.ConfigParser(strict=False, interpolation=None)
    with contextlib.suppress(configparser.Error):
        read.read([home / "dvc" / "config", runtime.home() / ".dvc" / "config", runtime.home() / ".dvc" / "config.local"], encoding="utf-8")
    folder = Path(read.get("cache", "dir", fallback="cache").strip("'\"")).expanduser()
    kinds = [kind.strip() for kind in read.get("cache", "type", fallback="reflink,copy").strip("'\"").split(",")]
    return runtime.home() / ".dvc" / folder, kinds


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists: where it would be made."""
    return next(p for p in (folder, *folder.parents) if p.exists())


def writing() -> list[Check]:
    """Writes, reads back and deletes a file in every folder that the project writes to."""
    places = {"checkout": runtime.root(), "state": runtime.home() / ".dlbooks", "data": runtime.root() / "data", "DVC cache": cache_settings()[0]}
    found = []
    for name, folder in places.items():
        place = _existing(folder)
        try:
            with tempfile.NamedTemporaryFile(dir=place, prefix=".doctor-") as file:
                file.write(b"written")
                file.flush()
                whole = Path(file.name).read_bytes() == b"written"
            words = str(folder) if whole else f"{folder}: a file read back differs from what was written"
            found.append(Check(f"write {name}", "ok" if whole else "error", words, "" if whole else "check the disk"))
        except OSError as error:
            words, fix = f"{place}: {error.strerror}", f"give yourself the folder: `sudo chown -R $(id -u) {place}`, or clone to another place"
            found.append(Check(f"write {name}", "error", words, fix))
    return found


def locking() -> list[Check]:
    """Whether two processes exclude each other by a lock, and SQLite's log beside its database works: network file systems promise both in vain."""
    place, fix = _existing(runtime.home() / ".dlbooks"), "put the checkout on a local disk"
    try:
        with tempfile.TemporaryDirectory(dir=place, prefix=".doctor-") as folder:
            with open(Path(folder, "lock"), "w") as one, open(Path(folder, "lock"), "w") as two:
                fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
                try:
                    fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    lock = Check("file locks", "error", f"{place}: two processes hold the same lock", fix)
                except BlockingIOError:
                    lock = Check("file locks", "ok", "one process at a time")
            with contextlib.closing(sqlite3.connect(Path(folder, "trial.db"), timeout=1)) as database:
                mode = database.execute("PRAGMA journal_mode=WAL").fetchone()[0]
                database.execute("CREATE TABLE trial (value INTEGER)")
                database.execute("INSERT INTO trial VALUES (7)")
                database.commit()
                kept = database.execute("SELECT value FROM trial").fetchall() == [(7,)]
            fine = kept and mode == "wal"
            words = "keeps its log beside the database" if fine else f"{place}: its log (WAL) does not work here, Prefect and MLflow need it"
            return [lock, Check("SQLite", "ok" if fine else "error", words, "" if fine else fix)]
    except (OSError, sqlite3.Error) as error:
        return [Check("file locks", "error", f"{place}: {error}", fix)]


def _links(kind: str, source: Path, target: Path) -> bool:
    """Whether a file can be linked so; all of it is deleted again."""
    try:
        with tempfile.NamedTemporaryFile(dir=source, prefix=".doctor-") as file:
            file.write(b"written")
            file.flush()
            path = target / (Path(file.name).name + ".link")
            try:
                if kind == "reflink":
                    with open(path, "wb") as copy:
                        fcntl.ioctl(copy.fileno(), FICLONE, file.fileno())
                else:
                    {"hardlink": os.link, "symlink": os.symlink, "copy": shutil.copy}[kind](file.name, path)
                return path.read_bytes() == b"written"
            finally:
                path.unlink(missing_ok=True)
    except (OSError, KeyError):
        return False


def links() -> Check:
    """The kind of link between DVC's cache and ``data`` that works first in the order of DVC's settings."""
    folder, kinds = cache_settings()
    works = next((kind for kind in kinds if _links(kind, _existing(folder), _existing(runtime.root() / "data"))), "")
    if not works:
        return Check("DVC links", "error", f"none of {', '.join(kinds)} works from {folder}", "`dvc config --local cache.type copy`")
    if works == "copy" and len(kinds) > 1 and set(kinds) & {"hardlink", "symlink"}:
        words = f"{' and '.join(kinds[:-1])} do not work from {folder}: outputs are copied"
        return Check("DVC links", "warning", words, "put the cache on the checkout's disk: `dvc cache dir --local`")
    return Check("DVC links", "ok", works + (": every output stands on the disk twice" if works == "copy" else ""))


def pipeline() -> Check:
    from dlbooks import UserError, sync

    try:
        stale = (runtime.root() / "dvc.yaml").read_text(encoding="utf-8") != sync.text()
    except (OSError, ValueError, UserError, SyntaxError) as error:
        return Check("dvc.yaml", "error", str(error), "put the file right")
    words = "differs from what the chapters' files say" if stale else "up to date"
    return Check("dvc.yaml", "error" if stale else "ok", words, "`dlbooks sync`" if stale else "")


def encoding() -> Check:
    found = {"files": locale.getencoding() if not sys.flags.utf8_mode else "utf-8", "names": sys.getfilesystemencoding()}
    wrong = [f"{what} are read as {name}" for what, name in found.items() if name.lower().replace("-", "") != "utf8"]
    if wrong:
        return Check("locale", "warning", ", ".join(wrong) + ": poems and names of data may come out wrong", "`export LC_ALL=C.UTF-8`")
    return Check("locale", "ok", "UTF-8")


def descriptors() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < DESCRIPTORS and soft != resource.RLIM_INFINITY:
        return Check(
            "open files", "warning", f"at most {soft}: a rebuild may need {DESCRIPTORS}", f"`ulimit -n {min(hard, 4096) if hard > 0 else 4096}`"
        )
    return Check("open files", "ok", f"at most {soft}" if soft != resource.RLIM_INFINITY else "without limit")


def leftovers() -> Check:
    """What an ended process left that others stumble over, and who trains here now."""
    trouble, fixes = [], []
    index = runtime.root() / ".git" / "index.lock"
    if index.exists():
        trouble.append("git's index is locked")
        fixes.append(f"if no git runs, `rm {index}`")
    with contextlib.suppress(OSError, ValueError, KeyError):
        known = json.loads((runtime.home() / ".dlbooks" / "prefect" / "server.json").read_text())
        port = int(known["url"].rpartition(":")[2].partition("/")[0])
        with socket.socket() as probe:
            probe.settimeout(0.5)
            answers = probe.connect_ex(("127.0.0.1", port)) == 0
        command = Path(f"/proc/{int(known['pid'])}/cmdline")
        if not answers and command.exists() and b"prefect" in command.read_bytes():
            trouble.append(f"the Prefect server of this checkout (process {known['pid']}) does not answer")
            fixes.append(f"`kill {known['pid']}`")
    training = []
    for path in sorted((runtime.home() / ".dlbooks" / "locks").glob("*.lock")):
        with contextlib.suppress(OSError), open(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                training.append(f"{path.stem} ({file.read().strip() or 'another process'})")
    if trouble:
        return Check("left behind", "warning", ", ".join(trouble), ", ".join(fixes))
    return Check("left behind", "ok", f"in training: {', '.join(training)}" if training else "nothing")


def proxies() -> Check:
    found = urllib.request.getproxies()
    caught = found.get("http") or found.get("all")
    if caught and not urllib.request.proxy_bypass("127.0.0.1"):
        return Check(
            "proxy",
            "error",
            f"{re.sub('//[^@/]*@', '//', caught)} is asked for 127.0.0.1, where this project's servers are",
            "`export NO_PROXY=127.0.0.1,localhost`",
        )
    return Check("proxy", "ok", "local servers are reached without one" if found else "none")


def mirror() -> list[Check]:
    """The place that ``DLBOOKS_MIRROR`` names: a folder that can be read, or a host that answers."""
    place = os.environ.get("DLBOOKS_MIRROR", "")
    if not place:
        return []
    fix = "correct DLBOOKS_MIRROR, or unset it"
    if "://" not in place:
        there = os.path.isdir(place) and os.access(place, os.R_OK | os.X_OK)
        return [Check("mirror", "ok" if there else "error", place if there else f"{place}: no folder that can be read", "" if there else fix)]
    try:
        with contextlib.suppress(urllib.error.HTTPError):  # it answers, whatever it has at its top
            urllib.request.urlopen(urllib.request.Request(place, method="HEAD"), timeout=1).close()
        return [Check("mirror", "ok", f"{place} answers")]
    except (OSError, ValueError) as error:
        return [Check("mirror", "error", f"{place}: {getattr(error, 'reason', error)}", fix)]


ALL = (
    python,
    packages,
    git,
    disk,
    memory,
    processor,
    gpus,
    ports,
    writing,
    locking,
    links,
    pipeline,
    encoding,
    descriptors,
    leftovers,
    proxies,
    mirror,
)


def checks() -> list[Check]:
    """All of them; no check of a broken machine breaks the others."""
    found: list[Check] = []
    for check in ALL:
        try:
            result = check()
        except Exception as error:
            result = Check(check.__name__, "error", f"could not be checked: {type(error).__name__}: {error}", "see the message")
        found += [result] if isinstance(result, Check) else result
    return found


def doctor(as_json: bool = False) -> int:
    """Prints the checks; exit code 1 if one is an error."""
    found = checks()
    errors, warnings = (sum(c.state == state for c in found) for state in ("error", "warning"))
    if as_json:
        print(json.dumps([c._asdict() for c in found], indent=2, ensure_ascii=False))
        return int(errors > 0)
    for check in found:
        print(f"{check.state:8} {check.what:16} {check.words}")
        if check.fix:
            print(f"{'':25} → {check.fix}")
    print(
        "\n" + ("nothing is missing" if not errors + warnings else f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}")
    )
    return int(errors > 0)
