"""What a process computes on: which GPUs there are, which of them are its own, what is switched on for them.

Profiles ``mini`` and ``smoke`` always compute on the CPU, so that their bits travel; ``book`` takes every GPU that TensorFlow sees (those of
``CUDA_VISIBLE_DEVICES``), else the CPU. Standard library only at import: a worker asks which GPUs exist without loading TensorFlow.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from dlbooks import UserError, runtime

DRIVER = Path("/proc/driver/nvidia/gpus")
BFLOAT16 = (8, 0)  # the compute capability from which a GPU multiplies bfloat16


class GPU(NamedTuple):
    """``index`` counts from 0, as ``nvidia-smi`` does; ``capability`` is the compute capability, (0, 0) where nobody said."""

    index: int
    name: str
    capability: tuple[int, int] = (0, 0)


# ── what the machine has, for a worker ──────────────────────────────────────────────────────────────────────────────────────────────


def installed() -> list[GPU]:
    """The machine's NVIDIA GPUs, whatever this process may see of them: from ``nvidia-smi``, else from the driver's files."""
    command = ["nvidia-smi", "--query-gpu=index,name", "--format=csv,noheader"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
        return [GPU(int(index), name.strip()) for index, name in (line.split(",", 1) for line in lines if line.strip())]
    except (OSError, ValueError, subprocess.SubprocessError):
        pass
    found = []
    for number, file in enumerate(sorted(DRIVER.glob("*/information"))):  # a folder per PCI address, the order of `nvidia-smi`
        model = re.search(r"^Model:\s*(.+)$", file.read_text(errors="replace"), re.M)
        found.append(GPU(number, model[1].strip() if model else "NVIDIA GPU"))
    return found


def asked(words: str) -> tuple[list[int], str]:
    """The GPUs that ``--device`` names, ``0`` or ``0,1``, and what to say about them; none, with the reason, on a machine without GPU.

    What is no list of numbers, and a GPU that does not exist beside others that do, are a ``UserError``.
    """
    if not re.fullmatch("[0-9]+(,[0-9]+)*", words):
        raise UserError(f"--device {words}: give GPUs by number, `0` or `0,1`; {_there(installed())}")
    ids, there = list(dict.fromkeys(map(int, words.split(",")))), installed()
    if not there:
        return [], f"no GPU here: --device {words} is ignored, stages run on the CPU ({runtime.hardware()})"
    names = {gpu.index: gpu.name for gpu in there}
    if missing := [str(i) for i in ids if i not in names]:
        raise UserError(f"--device {words}: there is no GPU {', '.join(missing)}; {_there(there)}")
    return ids, "stages run on " + ", ".join(f"GPU {i} ({names[i]})" for i in ids)


def _there(gpus: list[GPU]) -> str:
    return "this machine has " + (", ".join(f"{gpu.index} ({gpu.name})" for gpu in gpus) or "no GPU")


def environment(ids: list[int]) -> dict[str, str]:
    """Environment of a process that computes on these GPUs alone, numbered as ``nvidia-smi`` does; on the CPU if there are none."""
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(map(str, ids))}


# ── what this process computes on ───────────────────────────────────────────────────────────────────────────────────────────────────

_notes: list[str] = []


def own(index: int) -> bool:
    """Whether ``CUDA_VISIBLE_DEVICES`` leaves this process the GPU that ``nvidia-smi`` gives this number. One that names no numbers leaves all."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    return str(index) in names.split(",") if re.fullmatch("[0-9,]*", names) else True


def note(fact: str) -> None:
    """Keeps what a training really switches on (``bfloat16``, ``XLA``), for ``words``."""
    if fact not in _notes:
        _notes.append(fact)


def confine(profile: str) -> None:
    """Keeps every profile but ``book`` on the CPU, whatever the environment says. Works until TensorFlow has looked for GPUs."""
    if profile != "book":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def prepare(profile: str) -> None:
    """Before a run's first tensor: confines the process, lets GPU memory grow instead of taking all of it, forgets the last run's notes."""
    import tensorflow as tf

    _notes.clear()
    confine(profile)
    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)


def visible() -> list[GPU]:
    """The GPUs that this process computes on, in TensorFlow's order; empty on a CPU, and before TensorFlow is loaded."""
    if "tensorflow" not in sys.modules:
        return []
    import tensorflow as tf

    details = [tf.config.experimental.get_device_details(device) for device in tf.config.get_visible_devices("GPU")]
    return [GPU(i, d.get("device_name", "GPU"), d.get("compute_capability", (0, 0))) for i, d in enumerate(details)]


def words() -> str:
    """What this process computes on and what its training switched on: "NVIDIA H100, compute capability 9.0, bfloat16, XLA".

    Of several GPUs a chapter uses the first unless it is declared ``mirrored``; the words say which.
    """
    gpus = visible()
    if not gpus:
        return ", ".join([runtime.hardware(), *_notes])
    first = gpus[0]
    capability = ["compute capability {}.{}".format(*first.capability)] if first.capability != (0, 0) else []
    several = {gpu.name for gpu in gpus} if len(gpus) > 1 else set()
    shared = any(fact.startswith("batches shared") for fact in _notes)
    name = first.name if not several else f"{len(gpus)} × {' and '.join(sorted(several))}" if shared else f"first of {len(gpus)} GPUs: {first.name}"
    return ", ".join([name, *capability, *_notes])


def mixed_precision() -> bool:
    """Whether all GPUs of this process multiply bfloat16, which they do from compute capability 8.0.

    Those of 7.x have float16 instead, whose gradients vanish unless the loss is scaled; no training step here does that, so they get float32.
    """
    gpus = visible()
    return bool(gpus) and all(gpu.capability >= BFLOAT16 for gpu in gpus)


def compiled(step):
    """``step`` (of tensors or structures of them) as a ``tf.function``, on a GPU compiled by XLA, which halves the time of a training step there.

    On a CPU XLA would double it. Some operations XLA lacks, ``BlockLSTM`` for one, some it has not in a deterministic form, such as the gradient of
    max pooling; a step with such a one runs as it would without XLA. That is found by translating it, before anything is computed.
    """
    import tensorflow as tf

    plain = tf.function(step, jit_compile=False)
    if not visible():
        return plain

    def call(*arguments):
        leaves = tf.nest.flatten(arguments)
        fused = tf.function(lambda *leaves: step(*tf.nest.pack_sequence_as(arguments, leaves)), jit_compile=True)
        specs = [tf.TensorSpec(leaf.shape, leaf.dtype) for leaf in leaves]
        try:
            with ThreadPoolExecutor(1) as aside:  # this thread may be in the middle of another function's trace
                aside.submit(lambda: fused.experimental_get_compiler_ir(*specs)(stage="hlo")).result()
        except ValueError:
            return plain(*arguments)
        note("XLA")
        return fused(*leaves)

    return call


def replicas() -> list[str]:
    """TensorFlow's names of the devices that a mirrored training runs on."""
    return [f"GPU:{gpu.index}" for gpu in visible()]


def strategy():
    """``MirroredStrategy`` over all GPUs of this process; None where there is one device. Build variables and train in its ``scope()``."""
    names = replicas()
    return _mirrored(tuple(names)) if len(names) > 1 else None


@functools.cache
def _mirrored(names: tuple[str, ...]):
    """One per process, for a retry too: the messages of two would be mixed up, since both count theirs from the same number."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(names)
