"""The one place where seeds, threads, instruction set and determinism are set. Standard library only at import.

Profile ``mini`` computes so that its bits travel between x86-64 machines with AVX2: oneDNN on and capped at AVX2, two threads
inside an operation, one between operations; numpy, OpenBLAS and OpenCV kept off AVX-512. Profile ``book`` uses what the
machine has and is bit-identical on one machine only.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from dlbooks import UserError

PROFILES = ("mini", "book", "smoke")
QUIET = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "GRPC_VERBOSITY": "NONE",
    "MPLBACKEND": "Agg",
    "PYTHONHASHSEED": "0",
}
PORTABLE = {
    "CUDA_VISIBLE_DEVICES": "",
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENCV_CPU_DISABLE": "AVX512_SKX,AVX512_ICL",
}
FAST = {"TF_ENABLE_ONEDNN_OPTS": "1"}


def check_profile(word: str) -> None:
    """Refuses a profile that does not exist."""
    if word not in PROFILES:
        raise UserError(f"profile {word!r} is unknown: it is one of {', '.join(PROFILES)}")


def environment(profile: str) -> dict[str, str]:
    """Environment variables that must stand before numpy or TensorFlow are imported."""
    return {**QUIET, **(FAST if profile == "book" else PORTABLE)}


def stage_environment(root: Path, outside: Mapping[str, str]) -> dict[str, str]:
    """What a stage's process gets in the checkout or workspace ``root``: the caller's variables, those of its profile, and where its code is."""
    return {**outside, **environment(profile_of(root / "params.yaml")), "PYTHONPATH": str(root / "src")}


def root() -> Path:
    """The checkout this code runs from: the folder of ``dvc.yaml`` and ``src``."""
    return Path(__file__).resolve().parents[2]


def home() -> Path:
    """The checkout that keeps environment and state: above DVC's temporary workspaces, else ``root()``."""
    if "DLBOOKS_HOME" in os.environ:
        return Path(os.environ["DLBOOKS_HOME"]).resolve()
    here = root()
    return next((p.parent for p in here.parents if p.name == ".dvc"), here)


def state() -> Path:
    """Ignored folder of everything that is no DVC output: MLflow's store, Prefect's home, locks, checkpoints, timings."""
    folder = home() / ".dlbooks"
    folder.mkdir(exist_ok=True)
    return folder


@contextlib.contextmanager
def replacing(path: Path, place: Path | None = None) -> Iterator[Path]:
    """A file to write, in the folder ``place`` or beside ``path``; it becomes ``path`` in one step, and goes if the block fails."""
    part = (place or path.parent) / f"{path.name}.{os.getpid()}.part"
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def instead(thing, name: str, other) -> Iterator[None]:
    """``other`` stands in for the attribute ``name`` of a module or class until the block ends."""
    kept = getattr(thing, name)
    setattr(thing, name, other)
    try:
        yield
    finally:
        setattr(thing, name, kept)


def profile_of(params: Path) -> str:
    """The profile in ``params.yaml``, read without a YAML parser."""
    found = re.search(r"^profile:\s*(\w+)", params.read_text(encoding="utf-8"), re.M) if params.exists() else None
    return found[1] if found else "mini"


def cores() -> int:
    """Processors this process may use: its affinity, and in a container its share of the machine's time."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        found = min(found, max(1, round(int(quota) / int(period))))
    return found


def cpu_flags() -> set[str]:
    """Instruction set flags of the CPU, empty where ``/proc/cpuinfo`` does not exist."""
    try:
        found = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        return set()
    return set(found[1].split()) if found else set()


def mixed_precision() -> bool:
    """Whether what this process computes on multiplies bfloat16: its GPUs, else the CPU, where it would be 8 to 25 times slower than float32."""
    from dlbooks import devices

    return devices.mixed_precision() if devices.visible() else bool(cpu_flags() & {"avx512_bf16", "amx_bf16"})


def hardware() -> str:
    """CPU model, cores and the widest instruction set in words; GPUs where TensorFlow is loaded and sees some."""
    from dlbooks import devices

    try:
        text = Path("/proc/cpuinfo").read_text()
        model = re.search(r"model name\s*:\s*(.*)", text)[1]
    except (OSError, TypeError):
        import platform

        model = platform.processor() or platform.machine()
    flags = cpu_flags()
    isa = next((f for f in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if f in flags), "")
    return ", ".join([f"{model} × {os.cpu_count()}", *([isa] if isa else []), *(gpu.name for gpu in devices.visible())])


@contextlib.contextmanager
def hushed():
    """Swallows what C++ code writes to standard error: TensorFlow greets with six lines before its log level counts."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


def load_tensorflow() -> None:
    """Imports TensorFlow and Keras without their greeting."""
    if "tensorflow" not in sys.modules:
        with hushed():
            import keras  # noqa: F401
            import tensorflow  # noqa: F401
    import absl.logging
    import tensorflow as tf

    absl.logging.set_verbosity(absl.logging.ERROR)
    tf.get_logger().setLevel("ERROR")  # a lab that compares optimizers traces many functions on purpose


def prepare(profile: str, seed: int) -> None:
    """Makes this process compute reproducibly: devices, threads, op determinism, every seed. Call before any tensor exists."""
    import random

    import keras
    import tensorflow as tf
    from keras.src.random import seed_generator

    from dlbooks import devices

    devices.prepare(profile)
    if profile != "book":
        tf.config.threading.set_intra_op_parallelism_threads(2)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    keras.utils.clear_session()  # names of layers count from zero again, on a retry too
    keras.utils.set_random_seed(seed)
    # Keras draws the seeds nobody names from Python's global generator, which Prefect's threads draw from, too: it gets one of its own.
    seed_generator.python_random = random.Random(seed)


def git(*words: str, cwd: Path | None = None) -> str:
    """Output of a git command, empty where it fails."""
    result = subprocess.run(["git", *words], cwd=cwd or root(), capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else ""


def commit() -> tuple[str, bool]:
    """The git commit of the code, and whether code or parameters differ from it; in a worker's folder what the rebuild's snapshot says."""
    packed = root() / "snapshot.json"
    if packed.exists():
        import json

        known = json.loads(packed.read_text(encoding="utf-8"))
        return known["commit"], known["dirty"]
    paths = ["src", "stages", "flows", *([] if "DVC_EXP_BASELINE_REV" in os.environ else ["params.yaml"])]
    return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", *paths))
