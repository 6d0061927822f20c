"""Devices: which GPUs there are and are asked for, what is switched on for them, one batch on several of them, what a run's tags say.

No test needs a GPU: the driver and TensorFlow's list are replaced, and the CPU split in two stands for two GPUs.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from dlbooks import UserError, catalog, devices, doctor, runtime
from dlbooks.devices import GPU
from dlbooks.nn import forecasting
from dlbooks.nn.training import compiled_epoch, precision
from dlbooks.run import Run

H100 = GPU(0, "NVIDIA H100 80GB HBM3", (9, 0))
T4 = GPU(1, "Tesla T4", (7, 5))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without GPU and driver, whatever runs the test; ``machine(…)`` gives it an ``nvidia-smi`` that prints these lines."""
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "driver")
    monkeypatch.setenv("PATH", str(tmp_path))

    def smi(*lines, code=0):
        script = "\n".join(["#!/bin/sh", *(f"echo '{line}'" for line in lines), f"exit {code}", ""])
        (tmp_path / "nvidia-smi").write_text(script)
        (tmp_path / "nvidia-smi").chmod(0o755)

    return smi


@pytest.fixture
def seen(monkeypatch):
    """``seen(H100, …)``: TensorFlow sees these GPUs."""
    monkeypatch.setattr(devices, "_notes", [])

    def see(*gpus):
        monkeypatch.setattr(devices, "visible", lambda: list(gpus))

    return see


# ── which GPUs there are ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_asked_gpus(machine):
    machine("0, NVIDIA H100 80GB HBM3", "1, NVIDIA H100 80GB HBM3")
    assert devices.asked("1") == ([1], "stages run on GPU 1 (NVIDIA H100 80GB HBM3)")
    ids, words = devices.asked("0,1,0")
    assert ids == [0, 1] and words.count("GPU ") == 2
    assert devices.environment(ids) == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "0,1"}


def test_asked_without_gpu_goes_on_with_the_cpu(machine):
    ids, words = devices.asked("0")
    assert ids == [] and words == f"no GPU here: --device 0 is ignored, stages run on the CPU ({runtime.hardware()})"
    assert devices.environment(ids)["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize("words", ["x", "-1", "", "0,", "0;1", "0 1", "0,x", "1.0", "٣", "0\n"])
def test_malformed_device_is_one_line(machine, words):
    machine("0, A", "1, B")
    with pytest.raises(UserError, match=r"give GPUs by number, `0` or `0,1`; this machine has 0 \(A\), 1 \(B\)$"):
        devices.asked(words)


def test_missing_device_names_what_exists(machine):
    machine("0, A", "1, B")
    with pytest.raises(UserError, match=r"^--device 0,7: there is no GPU 7; this machine has 0 \(A\), 1 \(B\)$"):
        devices.asked("0,7")


def test_malformed_device_is_refused_without_gpu_too(machine):
    with pytest.raises(UserError, match="this machine has no GPU"):
        devices.asked("x")


def test_driver_files_stand_in_for_nvidia_smi(machine, tmp_path):
    for address, text in (
        ("0000:65:00.0", "Model: \t\t Tesla T4\nIRQ: 7\n"),
        ("0000:17:00.0", "Model: \t\t NVIDIA A100-SXM4-40GB\n"),
        ("0000:ca:00.0", ""),
    ):
        (tmp_path / "driver" / address).mkdir(parents=True)
        (tmp_path / "driver" / address / "information").write_text(text)
    expected = [GPU(0, "NVIDIA A100-SXM4-40GB"), GPU(1, "Tesla T4"), GPU(2, "NVIDIA GPU")]
    assert devices.installed() == expected
    machine("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", code=9)
    assert devices.installed() == expected


def test_worker_asks_without_tensorflow():
    code = (
        "import sys; from dlbooks import devices; devices.asked('0'); devices.visible(); print('tensorflow' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PATH": ""}, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_doctor_names_gpus_and_what_they_lack(machine, monkeypatch):
    assert doctor.gpus() == ("GPU", "ok", "none: every profile computes on the CPU", "")
    machine("0, NVIDIA L4")
    answers = {"0\n": True, "1\n": False, "": True}  # what TensorFlow says → whether CUDA's libraries are missing
    for answer, missing in answers.items():
        monkeypatch.setattr(devices, "installed", lambda: [GPU(0, "NVIDIA L4")])
        monkeypatch.setattr(subprocess, "run", lambda *a, answer=answer, **k: types.SimpleNamespace(stdout=answer))
        found = doctor.gpus()
        assert found.words.startswith("0 (NVIDIA L4)")
        assert ("TensorFlow sees none: CUDA's libraries are missing" in found.words, "`pip install 'tensorflow[and-cuda]==" in found.fix) == (
            missing,
        ) * 2
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert doctor.gpus().fix.endswith("`pip install nvidia-ml-py`") and doctor.gpus().state == "warning"


# ── what a process computes on ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("profile", "left"), [("mini", ""), ("smoke", ""), ("book", "0,1")])
def test_only_profile_book_sees_gpus(monkeypatch, profile, left):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")  # what a worker with GPUs hands on
    devices.confine(profile)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == left
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    runtime.prepare(profile, 0)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == left


def test_memory_grows_on_all_gpus(monkeypatch):
    grown = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["first", "second"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda device, grow: grown.append((device, grow)))
    devices.prepare("book")
    assert grown == [("first", True), ("second", True)]


def test_visible_gpus_with_their_capability(monkeypatch):
    details = {"a": {"device_name": "Tesla T4", "compute_capability": (7, 5)}, "b": {}}
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: list(details))
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details.get)
    assert devices.visible() == [GPU(0, "Tesla T4", (7, 5)), GPU(1, "GPU", (0, 0))]
    assert "Tesla T4" in runtime.hardware()


@pytest.mark.parametrize(
    ("gpus", "cpu", "expected"),
    [([], True, True), ([], False, False), ([H100], False, True), ([T4], True, False), ([H100, T4], True, False), ([H100, H100], False, True)],
)
def test_bfloat16_where_the_device_has_it(seen, monkeypatch, gpus, cpu, expected):
    """A GPU decides alone: what the CPU can does not matter then."""
    seen(*gpus)
    monkeypatch.setattr(runtime, "cpu_flags", lambda: {"avx2", *(["avx512_bf16"] if cpu else [])})
    assert runtime.mixed_precision() is expected
    for profile, policy in (("book", "mixed_bfloat16" if expected else "float32"), ("mini", "float32")):
        with precision(profile):
            assert keras.config.dtype_policy().name == policy
    assert (devices.words().endswith("bfloat16")) is expected or not gpus


def test_words(seen):
    seen(H100)
    assert devices.words() == "NVIDIA H100 80GB HBM3, compute capability 9.0"
    devices.note("bfloat16"), devices.note("XLA"), devices.note("XLA")
    assert devices.words() == "NVIDIA H100 80GB HBM3, compute capability 9.0, bfloat16, XLA"
    seen(H100, H100._replace(index=1))
    assert devices.words().startswith("first of 2 GPUs: NVIDIA H100 80GB HBM3, compute capability 9.0")
    devices.note("batches shared by 2 devices")
    assert devices.words() == "2 × NVIDIA H100 80GB HBM3, compute capability 9.0, bfloat16, XLA, batches shared by 2 devices"
    seen()
    assert devices.words().startswith(runtime.hardware())
    runtime.prepare("mini", 0)
    assert devices.words() == runtime.hardware()


@pytest.mark.parametrize(("visible", "expected"), [("1", [False, True]), ("0,1", [True, True]), ("", [False, False]), ("GPU-8a3f", [True, True])])
def test_own_gpus(monkeypatch, visible, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [devices.own(i) for i in range(2)] == expected


# ── XLA ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def net(kind):
    runtime.prepare("mini", 1)
    x = image = keras.Input((8, 8, 1))
    if kind == "recurrent":
        x = forecasting.LSTM(4, 8)(keras.layers.Reshape((8, 8))(x))  # BlockLSTM, which XLA lacks
    elif kind == "pooled":
        x = keras.layers.MaxPooling2D(2)(keras.layers.Conv2D(2, 3)(x))  # whose gradient XLA lacks in a deterministic form
    return keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(x)))


@pytest.mark.parametrize(("kind", "expected"), [("dense", True), ("pooled", False), ("recurrent", False)])
def test_xla_where_it_can(seen, kind, expected):
    """The same training with and without XLA; what it cannot compile runs all the same."""
    x, y = np.random.default_rng(0).normal(size=(20, 8, 8, 1)).astype(np.float32), np.arange(20) % 3
    losses = []
    for gpus in ([], [H100]):
        seen(*gpus)
        model = net(kind)
        step = compiled_epoch(model, keras.optimizers.Adam(0.01), lambda y, z: tf.nn.sparse_softmax_cross_entropy_with_logits(y, z))
        losses.append([step(x, y, np.arange(20), 5) for _ in range(3)])
    assert np.allclose(*losses, rtol=1e-4) and losses[0][-1] < losses[0][0]
    assert devices.words().endswith("XLA") is expected


def test_xla_takes_structures(seen):
    seen(H100)

    @tf.function
    def outer(a):
        return devices.compiled(lambda pair, third: pair["x"] * pair["y"][0] + third)({"x": a, "y": (a,)}, a)

    assert outer(tf.constant([1.0, 2.0])).numpy().tolist() == [2.0, 6.0] and devices.words().endswith("XLA")


# ── several devices ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

MIRROR = """
import dataclasses, json, os, sys
from pathlib import Path
from dlbooks import runtime
os.environ.update(runtime.environment("mini"))
runtime.load_tensorflow()
import keras, numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
runtime.prepare("mini", 0)
from dlbooks import UserError, catalog, devices, params
from dlbooks.nn.layers import FusedBatchNorm
from dlbooks.nn.training import Adam, Ema, compiled_epoch
from dlbooks.run import Run

runtime.state = lambda: Path(sys.argv[1])
L, said = keras.layers, {}
rng = np.random.default_rng(0)
x = {"image": rng.normal(size=(60, 6, 6, 2)).astype(np.float32), "shift": rng.normal(size=60).astype(np.float32)}
y = (rng.integers(0, 3, 60), rng.normal(size=60).astype(np.float32))

def net(dropout):
    image, shift = keras.Input((6, 6, 2), name="image"), keras.Input((), name="shift")
    h = FusedBatchNorm(momentum=0.8)(L.Conv2D(4, 3, use_bias=False, kernel_regularizer=keras.regularizers.L2(0.01))(image))
    h = L.BatchNormalization(momentum=0.8)(L.Dense(8, "relu")(L.Flatten()(h)))
    h = L.Dropout(0.5)(h) if dropout else h
    h = L.Concatenate()([h, L.Reshape((1,))(shift)])
    return keras.Model({"image": image, "shift": shift}, [L.Dense(3)(h), L.Dense(1)(h)])

def loss(y, z):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(y[0], z[0]) + tf.square(y[1] - z[1][:, 0])

def noisy(x, seed):
    return {**x, "image": x["image"] + 0.1 * tf.random.stateless_normal(tf.shape(x["image"]), seed)}

def train(run, batch=7, dropout=False, stop=None, optimizer=lambda: Adam(0.02, weight_decay=0.01)):
    model, optimizer = net(dropout), optimizer()
    ema = Ema(model, 0.9)
    epoch = compiled_epoch(model, optimizer, loss, augment=noisy, ema=ema)
    for number in run.epochs(4, model=model, optimizer=optimizer, ema=ema):
        run.log(number, loss=epoch(x, y, run.random("order", number).permutation(60), batch, number))
        if number == stop:
            return
    run.weights = [np.asarray(v.numpy(), float) for v in (*model.variables, *ema.variables, *optimizer.variables)]
    run.copies = max(float(np.abs(v.value.values[0].numpy() - v.value.values[1].numpy()).max()) for v in model.weights) if hasattr(model.weights[0].value, "values") else 0.0

def trained(count, name, mirrored=True, **options):
    devices.replicas = lambda: [f"CPU:{i}" for i in range(count)]
    found = catalog.chapter("parabola")
    chapter = dataclasses.replace(found.declaration, mirrored=mirrored)
    run = Run(chapter, found.params(), profile="mini", out=Path(sys.argv[1]) / "out", key=name, quiet=True)
    runtime.prepare("mini", 3)
    run.train(type("module", (), {"train": staticmethod(lambda run: train(run, **options))}))
    return run

def apart(first, second):
    return max(float(np.abs(a - b).max() / (np.abs(a).max() + 1e-3)) for a, b in zip(first.weights, second.weights, strict=True))

def curve(run):
    return [value for _, value in run.series["loss"]]

# one device and two
one, two = trained(1, "one"), trained(2, "two")
said["one"], said["two"], said["weights"], said["copies"] = curve(one), curve(two), apart(one, two), two.copies
said["words"] = devices.words()
said["left alone"] = curve(trained(2, "alone", mirrored=False)) == curve(one)
said["left alone, words"] = devices.words()

# killed and resumed, with masks
os.environ["DLBOOKS_CHECKPOINT_SECONDS"] = "0"
whole = trained(2, "whole", dropout=True)
trained(2, "killed", dropout=True, stop=2)
resumed = trained(2, "killed", dropout=True)
said["resumed"], said["masks"] = apart(whole, resumed), curve(whole)

# every device its own masks, the first one those of a single device
devices.replicas = lambda: ["CPU:0", "CPU:1"]
strategy = devices.strategy()
runtime.prepare("mini", 3)
with strategy.scope():
    model = keras.Sequential([keras.Input((50,)), L.Dense(50, kernel_initializer="identity"), L.Dropout(0.5)])
    from dlbooks.nn.training import spread_seeds
    tf.function(lambda: spread_seeds(strategy, model))()
    drawn = strategy.run(tf.function(lambda: model(tf.ones((1, 50)), training=True)))
    said["drawn"] = [(part.numpy() > 0).mean().item() for part in drawn.values]
    said["drawn apart"] = bool((drawn.values[0].numpy() != drawn.values[1].numpy()).any())

for name, options in {"small": {"batch": 1}, "clipped": {"optimizer": lambda: Adam(0.02, global_clipnorm=1.0)}}.items():
    try:
        trained(2, name, **options)
    except (UserError, ValueError) as error:
        said[name] = f"{type(error).__name__}: {error}"

# the nets of the chapters that are declared so, without their dropout
values = params.read(runtime.root() / "params.yaml")
said["chapters"] = {}
for chapter in (c for c in catalog.chapters().values() if c.mirrored):
    found, module = catalog.chapter(chapter.id), catalog.load(chapter)
    p, curves = params.validate(found.params, params.section(values, chapter.id, "smoke"), chapter.id), []
    for count in (1, 2):
        devices.replicas = lambda count=count: [f"CPU:{i}" for i in range(count)]
        strategy = devices.strategy() or tf.distribute.get_strategy()
        runtime.prepare("mini", 3)
        with strategy.scope():
            model = module.build(p)
            for layer in model._flatten_layers():
                if isinstance(layer, L.Dropout):
                    layer.rate = 0.0
            pictures = np.random.default_rng(1).integers(0, 256, (16, *model.input_shape[1:])).astype(np.uint8)
            epoch = compiled_epoch(model, keras.optimizers.SGD(1e-3), lambda y, z: tf.nn.sparse_softmax_cross_entropy_with_logits(y, z))
            curves.append([epoch(pictures, np.arange(16) % 10, np.arange(16), 8) for _ in range(2)])
    said["chapters"][chapter.id] = curves
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    """What the program above says: it splits the CPU in two before TensorFlow starts, so it is a process of its own."""
    command = [sys.executable, "-c", MIRROR, str(tmp_path_factory.mktemp("mirror"))]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(runtime.root() / "src")})
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_two_devices_train_as_one(mirror):
    """Batches of 7, so parts of 4 and 3; both kinds of batch norm, a regularizer, augmentation, averaged weights, AdamW."""
    assert np.allclose(mirror["one"], mirror["two"], rtol=1e-4) and mirror["two"][-1] < 0.9 * mirror["two"][0]
    assert mirror["weights"] < 1e-2, "the fused batch norm's moving variance is n / (n - 1) times as large, n = 7 · 4 · 4"
    assert mirror["copies"] == 0 and mirror["words"].endswith("batches shared by 2 devices")


def test_chapters_that_are_not_mirrored_stay_on_the_first_device(mirror):
    assert mirror["left alone"] and "shared" not in mirror["left alone, words"]


def test_a_killed_mirrored_training_resumes_bit_for_bit(mirror):
    assert mirror["resumed"] == 0 and mirror["masks"][-1] < mirror["masks"][0]


def test_each_device_draws_masks_of_its_own(mirror):
    assert mirror["drawn apart"] and all(0.2 < kept < 0.8 for kept in mirror["drawn"])


def test_what_cannot_be_shared_is_refused(mirror):
    assert mirror["small"] == "UserError: a batch of 1 cannot be shared by 2 devices: raise batch_size or take fewer devices"
    assert mirror["clipped"].startswith("ValueError: Keras clips the gradients of each device")


def test_nets_of_mirrored_chapters_train_as_on_one_device(mirror):
    assert set(mirror["chapters"]) == {c.id for c in catalog.chapters().values() if c.mirrored} >= {"mnist-cnn", "cifar10-cnn"}
    for name, (one, two) in mirror["chapters"].items():
        assert np.allclose(one, two, rtol=1e-3), name


# ── what a run says of its devices ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("state")


@pytest.fixture
def tracked(store, tmp_path, monkeypatch):
    """``tracked(profile)``: a run with an MLflow run in a store of these tests' own."""
    from dlbooks import tracking

    monkeypatch.setattr(runtime, "state", lambda: store)
    monkeypatch.setattr(tracking, "uri", lambda: f"sqlite:///{store}/mlflow.db")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    found = catalog.chapter("parabola")

    def track(profile):
        run = Run(found.declaration, found.params(), profile=profile, out=tmp_path / "out", key="test", quiet=True)
        run.begin()
        run.tracker = tracking.Tracker(run, {}, {})
        return run

    return track


def monitors():
    """Threads that MLflow's monitor has left behind; other libraries' threads come and go."""
    return [t for t in threading.enumerate() if t.is_alive() and t.name == "SystemMetricsMonitor"]


def module_that(work):
    return types.SimpleNamespace(train=lambda run: work())


def test_tags_and_system_metrics(tracked, seen, monkeypatch, caplog):
    """Only in profile ``book``; nothing of it stays: no thread, no file of the run."""
    memory, use = types.SimpleNamespace(used=20e9, total=80e9), types.SimpleNamespace(gpu=93)
    nvml = types.ModuleType("pynvml")
    nvml.NVMLError = OSError
    nvml.nvmlInit = lambda: None
    nvml.nvmlDeviceGetCount = lambda: 2
    nvml.nvmlDeviceGetHandleByIndex = lambda i: i
    nvml.nvmlDeviceGetMemoryInfo = lambda handle: memory
    nvml.nvmlDeviceGetUtilizationRates = lambda handle: use if handle == 1 else types.SimpleNamespace(gpu=0)
    nvml.nvmlDeviceGetPowerUsage = nvml.nvmlDeviceGetEnforcedPowerLimit = lambda handle: 350_000
    from mlflow.system_metrics.metrics import gpu_monitor

    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(gpu_monitor, "pynvml", nvml, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    seen(H100)
    run = tracked("book")
    devices.note("bfloat16")
    with caplog.at_level(logging.INFO, "mlflow.system_metrics"):
        run.train(module_that(lambda: time.sleep(0.6)))
    said = [r for r in caplog.records if r.name.startswith("mlflow.system_metrics")]
    assert not monitors() and not said and list(run.out.iterdir()) == []
    kept = run.tracker.store.get_run(run.tracker.id).data
    assert kept.tags["dlbooks.device"] == "NVIDIA H100 80GB HBM3, compute capability 9.0, bfloat16"
    assert kept.tags["dlbooks.system_metrics"] == "GPU, CPU, memory, disk, network"
    assert kept.metrics["system/gpu_0_utilization_percentage"] == 93 and "system/gpu_1_utilization_percentage" not in kept.metrics
    assert kept.metrics["system/gpu_0_memory_usage_percentage"] == 25 and kept.metrics["system/cpu_utilization_percentage"] >= 0

    run = tracked("book")
    with pytest.raises(ZeroDivisionError):
        run.train(module_that(lambda: 1 / 0))
    assert not monitors() and "dlbooks.device" in run.tracker.store.get_run(run.tracker.id).data.tags

    seen()
    runtime.prepare("mini", 0)
    run = tracked("mini")
    monkeypatch.setattr(run.tracker, "_monitor", None)  # not even asked for
    run.train(module_that(lambda: None))
    kept = run.tracker.store.get_run(run.tracker.id).data
    assert kept.tags["dlbooks.device"] == runtime.hardware() and "dlbooks.system_metrics" not in kept.tags
    assert not [name for name in kept.metrics if name.startswith("system/")] and os.environ["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(
    ("missing", "words"), [("pynvml", "CPU, memory, disk, network, not GPU: install nvidia-ml-py"), ("psutil", "none: psutil is not installed")]
)
def test_what_is_not_installed_is_said(tracked, seen, monkeypatch, missing, words):
    seen(H100)
    monkeypatch.setitem(sys.modules, missing, None)
    if missing == "pynvml":
        from mlflow.system_metrics import system_metrics_monitor

        monkeypatch.setattr(system_metrics_monitor, "GPUMonitor", lambda: (_ for _ in ()).throw(ImportError("nvidia-ml-py")))
    else:
        for name in [n for n in sys.modules if n.startswith("mlflow.system_metrics")]:
            monkeypatch.delitem(sys.modules, name)
    run = tracked("book")
    done = []
    run.train(module_that(lambda: done.append(True)))
    assert done and run.tracker.store.get_run(run.tracker.id).data.tags["dlbooks.system_metrics"] == words


def test_training_without_tracker(seen):
    seen(H100)
    run = Run(catalog.chapter("parabola").declaration, catalog.chapter("parabola").params(), profile="mini", out=runtime.root() / "nowhere")
    done = []
    with contextlib.suppress(KeyError):
        run.train(module_that(lambda: done.append(True)))
    assert done == [True]
