"""A PostgreSQL server for a test or a benchmark, from the distribution's packages."""

import contextlib
import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path

from dlbooks import services

INSTALLED = shutil.which("initdb") or next(iter(sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")))), None)


@contextlib.contextmanager
def postgres(folder: Path):
    """A PostgreSQL server on loopback with the databases ``prefect`` and ``mlflow``; yields its port. It refuses to be root."""
    bin_, port = Path(INSTALLED).resolve().parent, services.free_port()
    folder.mkdir()
    who = {}
    if os.getuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        for parent in folder.parents:
            if parent != Path("/") and parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    subprocess.run([bin_ / "initdb", "-D", folder / "data", "-A", "trust", "-U", "dlbooks"], check=True, capture_output=True, cwd=folder, **who)
    command = [bin_ / "postgres", "-D", folder / "data", "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-k", folder, "-c", "fsync=off"]
    with open(folder.parent / "postgres.log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **who)
    try:
        for name in ("prefect", "mlflow"):
            for _ in range(100):
                made = subprocess.run([bin_ / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "dlbooks", name], capture_output=True)
                if not made.returncode:
                    break
                time.sleep(0.2)
            assert made.returncode == 0, made.stderr
        yield port
    finally:
        process.terminate()
        process.wait(20)
