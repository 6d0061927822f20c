"""Where a worker runs a stage: a folder of its own with the code as it stood when the rebuild began, and DVC's cache shared with the others.

The rebuild packs the checkout's files (what git tracks and does not ignore) into one *snapshot*, named by its digest. A worker unpacks it,
gets the entries of ``dvc.lock`` that the stage needs, links its inputs from the cache, lets DVC run the stage, and answers with the
stage's own entry. So nobody waits for DVC's lock of the checkout, and an edit during a rebuild changes nothing.

On one machine snapshot and cache lie in the checkout; several machines share them through a DVC remote (``DLBOOKS_REMOTE``, or the default
remote of ``.dvc/config``).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from dlbooks import UserError, runtime, warm
from dlbooks.plan import parsed_once

SLOTS = 64  # folders of one machine, that is, stages at a time
REMOTE = "rebuild"  # name of the remote that DLBOOKS_REMOTE describes


def folder() -> Path:
    """Snapshots, logs and workspaces of this checkout's rebuilds."""
    path = runtime.state() / "rebuild"
    path.mkdir(exist_ok=True)
    return path


def statuses() -> Path:
    """Where the stages that run on this machine tell what they do (``status``)."""
    path = folder() / "status"
    path.mkdir(exist_ok=True)
    return path


# ── snapshots ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def files() -> list[str]:
    """The checkout's files: tracked or new, not ignored; beside them a person's own data sets, and without git everything of the project."""
    from dlbooks import catalog

    root = runtime.root()
    listed = runtime.git("ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    if not listed:
        parts = ("src", "stages", "flows", ".dvc/config", "data/results.json")
        found = [f for p in parts for f in ([root / p] if (root / p).is_file() else sorted((root / p).rglob("*")))]
        found += [f for f in sorted(root.iterdir()) if f.is_file()]
        listed = [f.relative_to(root).as_posix() for f in found if "__pycache__" not in f.parts]
    own = [d.path.relative_to(root).as_posix() for d in catalog.datasets().values() if d.own]
    skipped = ("tests/", "docs/", "benchmarks/", "deploy/", "dvc.lock")
    return sorted({f for f in [*listed, *own] if (root / f).is_file() and not f.startswith(skipped)})


def snapshot(profile: str = "") -> str:
    """Packs the checkout into ``.dlbooks/rebuild/<digest>.tar`` and returns the digest; same files, same digest. ``profile`` replaces that of
    ``params.yaml``. Of earlier snapshots only the last ones are kept."""
    from dlbooks import params

    root, packed = runtime.root(), io.BytesIO()
    commit, dirty = runtime.commit()
    texts = {name: (root / name).read_bytes() for name in files()}
    if profile:
        texts["params.yaml"] = params.with_profile(texts["params.yaml"].decode(), profile).encode()
    texts["snapshot.json"] = json.dumps({"commit": commit, "dirty": dirty}).encode()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in texts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    digest = hashlib.sha256(packed.getvalue()).hexdigest()[:32]
    file = folder() / f"{digest}.tar"
    if not file.exists():
        with runtime.replacing(file) as part:
            part.write_bytes(packed.getvalue())
    os.utime(file)
    for old in sorted(folder().glob("*.tar"), key=lambda f: f.stat().st_mtime)[:-4]:
        old.unlink()
    return digest


def unpacked(digest: str, root: Path) -> None:
    """Brings ``root`` to the state of a snapshot: what differs is written, what is not in it goes, DVC's outputs stay."""
    file = folder() / f"{digest}.tar"
    if not file.exists():
        fetch_snapshot(digest, file)
    known = root / "snapshot.txt"
    if known.exists() and known.read_text() == digest:
        return
    known.unlink(missing_ok=True)
    before = json.loads((root / "files.json").read_text()) if (root / "files.json").exists() else {}
    after = {}
    with tarfile.open(file) as archive:
        for entry in archive:
            data = archive.extractfile(entry).read()
            target = root / entry.name
            after[entry.name] = hashlib.sha256(data).hexdigest()
            if before.get(entry.name) != after[entry.name] or not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
    for name in before.keys() - after.keys():
        (root / name).unlink(missing_ok=True)
    (root / "files.json").write_text(json.dumps(after))
    configure(root)
    known.write_text(digest)


def configure(root: Path) -> None:
    """DVC in a workspace: no git, the checkout's cache, hard links instead of copies, the remote that machines share; files put there by hand."""
    from configobj import ConfigObj

    home = runtime.home()
    config = ConfigObj(str(root / ".dvc" / "config.local"))
    (root / ".dvc").mkdir(exist_ok=True)
    config.update({"core": {"no_scm": "true"}, "cache": {"dir": str(home / ".dvc" / "cache"), "type": "hardlink,copy"}})
    for name, values in named_remote().items():
        config["core"]["remote"] = name
        config[f'remote "{name}"'] = values
    config.write()
    by_hand = home / "data" / "by-hand"
    if by_hand.exists() and not (root / "data" / "by-hand").exists():
        (root / "data").mkdir(exist_ok=True)
        (root / "data" / "by-hand").symlink_to(by_hand)


# ── several machines ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def named_remote() -> dict[str, dict[str, str]]:
    """The DVC remote that ``DLBOOKS_REMOTE`` names, as DVC's configuration has it; empty if none is named."""
    values = {"url": os.environ.get("DLBOOKS_REMOTE", ""), "endpointurl": os.environ.get("AWS_ENDPOINT_URL", "")}
    return {REMOTE: {k: v for k, v in values.items() if v}} if values["url"] else {}


def remote(repo) -> str | None:
    """The DVC remote that machines share: ``DLBOOKS_REMOTE``, which is made known to ``repo``, else the default one of ``.dvc/config``."""
    for name, values in named_remote().items():
        repo.config["remote"][name] = values
        return name
    return repo.config["core"].get("remote")


def store(repo, name: str, digest: str) -> tuple:
    """Object store of a remote, and where a snapshot lies beside DVC's own files in it."""
    odb = repo.cloud.get_remote_odb(name, "rebuild")
    return odb, odb.fs.join(odb.fs.parent(odb.path.rstrip("/")), "snapshots", f"{digest}.tar")


def send(repo, name: str, digest: str, stages: list) -> None:
    """Puts a snapshot, and the outputs of ``stages``, where other machines find them."""
    push(repo, name, stages)
    odb, place = store(repo, name, digest)
    if not odb.fs.exists(place):
        odb.fs.makedirs(odb.fs.parent(place), exist_ok=True)
        odb.fs.put_file(str(folder() / f"{digest}.tar"), place)


def fetch_snapshot(digest: str, file: Path) -> None:
    """Brings a snapshot from the remote."""
    from dvc.repo import Repo

    repo = Repo(str(runtime.home()))
    name = remote(repo)
    if not name:
        raise UserError(f"the rebuild's snapshot {digest} is not on this machine: set DLBOOKS_REMOTE to the DVC remote that the machines share")
    odb, place = store(repo, name, digest)
    try:
        with runtime.replacing(file) as part:
            odb.fs.get_file(place, str(part))
    except FileNotFoundError:
        raise UserError(f"the remote {odb.fs.unstrip_protocol(odb.path)} has no snapshot {digest}: does the rebuild use the same remote?") from None


# ── running a stage ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def slot() -> Iterator[Path]:
    """A workspace nobody else uses; it is given back with the process, however that ends."""
    for number in range(SLOTS):
        root = folder() / "workspaces" / f"{number:02d}"
        root.mkdir(parents=True, exist_ok=True)
        with open(root.with_suffix(".lock"), "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            yield root
            return
    raise UserError(f"{SLOTS} stages run on this machine already")


def run(stage: str, digest: str, entries: dict[str, dict], producers: list[str], force: bool = False, shared: bool = False) -> dict:
    """Lets DVC run ``stage`` of a snapshot, given the ``entries`` of ``dvc.lock`` of the stages it reads (``producers``) and of its last run.
    With ``shared``, inputs come from the machines' remote and outputs go there.

    Returns ``{"entry": its entry, "how": "ran" | "restored" | "unchanged", "seconds": …, "metrics": of a chapter}``. A stage that fails raises DVC's exception.
    """
    began = time.monotonic()
    with slot() as root:
        unpacked(digest, root)
        (root / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": entries}))  # JSON is YAML
        spent = root / "seconds.json"
        spent.unlink(missing_ok=True)
        for area in ("tmp/lock", "tmp/rwlock"):  # of a run that was killed here
            (root / ".dvc" / area).unlink(missing_ok=True)
        os.chdir(root)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # a stage's `python3` is found at once, past version managers
        os.environ.update(runtime.QUIET, DLBOOKS_HOME=str(runtime.home()), DLBOOKS_SECONDS=str(spent), DLBOOKS_PYTHON=sys.executable, PATH=path)
        os.environ["DLBOOKS_STATUS"] = str(statuses() / f"{root.name}.json")
        entry, how = reproduced(root, stage, producers, force, shared)
        if how == "ran" and not spent.exists():
            how = "restored"
        took = json.loads(spent.read_text()) if spent.exists() else {}
        measured = root / "data" / "runs" / stage / "metrics.json"
        metrics = json.loads(measured.read_text(encoding="utf-8")) if measured.exists() else {}
        return {"entry": entry, "how": how, "seconds": sum(took.values()) if took else time.monotonic() - began, "metrics": metrics}


def reproduced(root: Path, name: str, producers: list[str], force: bool, shared: bool) -> tuple[dict, str]:
    """``dvc repro --single-item`` in a workspace, without loading the other hundred stages."""
    from dvc.dvcfile import load_file
    from dvc.repo import Repo, lock_repo
    from dvc.stage.serialize import to_single_stage_lockfile

    repo = Repo(str(root))
    there = remote(repo) if shared else None
    with lock_repo(repo), parsed_once(), handed_over(root):
        known = load_file(repo, str(root / "dvc.yaml")).stages
        stage = known[name]
        inputs = [known[producer] for producer in producers]
        before = [stage] if all(out.hash_info for out in stage.outs) and not force else []  # the stage as it ended last time
        if there:
            pull(repo, there, inputs)
            with contextlib.suppress(Exception):  # what no machine has is made again
                pull(repo, there, before)
        for producer in inputs:
            for out in producer.outs:
                out.checkout(force=True)
        here = bool(before) and stage.outs_cached()
        if not here:
            clear(stage)
        done = stage.reproduce(force=force, allow_missing=here)
        if there and done:
            push(repo, there, [stage])
        return json.loads(json.dumps(to_single_stage_lockfile(stage))), "ran" if done else "unchanged"


@contextlib.contextmanager
def handed_over(root: Path):
    """DVC gives a stage's command to the warm process itself: the shell and the Python that it would start do no more, in a tenth of a second."""
    from dvc.stage import run
    from dvc.stage.exceptions import StageCmdFailedError

    start = run._run

    def ask(executable, command: str, **options) -> None:
        _, script, *words = command.split()  # python3 stages/chapter.py mnist-cnn
        line = warm.hand_over([Path(script).stem, *words], root, options["env"])
        if line is None:
            return start(executable, command, **options)
        with line:  # closed, it interrupts the stage
            code = warm.answer(line)
        if code:
            raise StageCmdFailedError(command, code)

    with runtime.instead(run, "_run", ask):
        yield


def clear(stage) -> None:
    """Empties the places of a stage's outputs: what another rebuild left in this workspace."""
    for out in stage.outs:
        path = Path(out.fs_path)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def pull(repo, there: str, stages: list) -> None:
    """Brings the outputs of stages from the remote, those that the cache lacks."""
    wanted = {item for stage in stages if not stage.outs_cached() for items in stage.get_used_objs(remote=there).values() for item in items}
    if wanted:
        repo.cloud.pull(wanted, remote=there)


def push(repo, there: str, stages: list) -> None:
    """Sends the outputs of stages to the remote."""
    repo.cloud.push({item for stage in stages for items in stage.get_used_objs(remote=there).values() for item in items}, remote=there)
