import os
import shutil
import subprocess
import sys

import pytest

from dlbooks import runtime

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
