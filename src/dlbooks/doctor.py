"""``dlbooks doctor``: what this machine lacks, in words, each with the remedy."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from dlbooks import devices, runtime

PINNED = ("tensorflow", "keras", "dvc", "prefect", "mlflow", "numpy")


def checks() -> list[tuple[str, bool, str]]:
    """(what, all right?, words)."""
    found = []
    python = sys.version_info[:2]
    found.append(("Python", (3, 11) <= python <= (3, 13), f"{sys.version.split()[0]}; 3.11 to 3.13 are supported"))
    locked = dict(
        line.split(" ")[0].split("==")
        for line in (runtime.root() / "requirements.lock").read_text().splitlines()
        if "==" in line and line[0].isalpha()
    )
    for name in PINNED:
        try:
            have = version(name)
        except PackageNotFoundError:
            have = "missing"
        found.append(
            (name, have == locked.get(name), have if have == locked.get(name) else f"{have}, the lock says {locked.get(name)}: run `make setup`")
        )
    git = shutil.which("git")
    found.append(("git", bool(git), "found" if git else "not found: DVC needs it, install it with the system's package manager"))
    free = shutil.disk_usage(runtime.root()).free / 1e9
    found.append(("disk", free > 5, f"{free:.0f} GB free" if free > 5 else f"only {free:.1f} GB free: mini needs 5, book 50"))
    writable = all(os.access(p, os.W_OK) for p in (runtime.root(), runtime.root() / "data"))
    found.append(("write access", writable, "yes" if writable else f"no permission to write in {runtime.root()}"))
    flags = runtime.cpu_flags()
    portable = not flags or "avx2" in flags
    found.append(("CPU", portable, runtime.hardware() + ("" if portable else ": without AVX2 results differ from the committed ones")))
    found.append(("bfloat16", True, "fast on this CPU" if runtime.mixed_precision() else "slow on this CPU: profile book computes in float32"))
    found.append(("GPU", True, gpus()))
    for name, port in (("Prefect UI", 4200), ("MLflow UI", 5000)):
        with socket.socket() as probe:
            busy = probe.connect_ex(("127.0.0.1", port)) == 0
        found.append((f"port {port}", True, f"in use: give `make ui` another port for the {name}" if busy else f"free for the {name}"))
    mirror = os.environ.get("DLBOOKS_MIRROR")
    if mirror and "://" not in mirror:
        there = os.path.isdir(mirror)
        found.append(("mirror", there, f"DLBOOKS_MIRROR={mirror}" + ("" if there else ": no such folder")))
    return found


def gpus() -> str:
    """The machine's GPUs, and what is missing to use them. TensorFlow is asked in a process of its own, and only where there is a GPU."""
    there = devices.installed()
    if not there:
        return "none: every profile computes on the CPU"
    words = [", ".join(f"{gpu.index} ({gpu.name})" for gpu in there)]
    code = "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"
    environment = {**os.environ, **runtime.QUIET, **devices.environment([gpu.index for gpu in there])}
    asked = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    seen = int(asked.stdout) if asked.stdout.strip().isdigit() else 0
    if seen < len(there):
        words.append(f"TensorFlow sees {seen or 'none'}: CUDA's libraries are missing, `pip install 'tensorflow[and-cuda]=={version('tensorflow')}'`")
    if not find_spec("pynvml"):
        words.append("their utilization is not logged: `pip install nvidia-ml-py`")
    return "; ".join(words)


def doctor(as_json: bool = False) -> int:
    """Prints the checks; exit code 1 if something is missing."""
    found = checks()
    if as_json:
        print(json.dumps([{"what": w, "ok": ok, "words": words} for w, ok, words in found], indent=2))
    else:
        for what, ok, words in found:
            print(f"{'ok' if ok else 'MISSING':8} {what:14} {words}")
    return int(not all(ok for _, ok, _ in found))
