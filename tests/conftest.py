import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dlbooks import runtime, tracking

os.environ.update(runtime.environment("mini"))


@pytest.fixture(scope="session", autouse=True)
def threads():
    """Whichever test runs the first operation: threads and determinism are those of profile ``mini``, and cannot be changed afterwards."""
    runtime.load_tensorflow()
    runtime.prepare("mini", 0)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A fresh clone with the working tree's changes committed, and one Prefect server for all tests."""
    folder = tmp_path_factory.mktemp("pipeline") / "clone"
    root = runtime.root()
    subprocess.run(["git", "clone", "-q", str(root), str(folder)], check=True)
    changed = subprocess.run(["git", "ls-files", "-mo", "--exclude-standard"], cwd=root, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    for name in filter(None, changed):
        if (root / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run([*git, "add", "-A"], cwd=folder, check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "working tree"], cwd=folder, check=True)
    return folder


def environment(clone, **more):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DLBOOKS_", "PREFECT_", "MLFLOW_"))}
    return {**kept, "DLBOOKS_PYTHON": sys.executable, "PATH": "/usr/bin:/bin:" + os.environ["PATH"], **more}


@functools.cache
def template() -> Path:
    """An empty store: making one takes a second, copying it none."""
    from mlflow import MlflowClient

    folder = Path(tempfile.mkdtemp(prefix="dlbooks-store-"))
    MlflowClient(f"sqlite:///{folder}/mlflow.db").search_registered_models()
    return folder / "mlflow.db"


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A home of its own, so that the store, its files and its locks are of this test alone."""
    monkeypatch.setenv("DLBOOKS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "home").mkdir()
    shutil.copy(template(), tracking.folder() / "mlflow.db")
    return tracking.client()
