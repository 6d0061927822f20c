"""Run: resuming bit for bit, what it writes, byte-stable exports."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from dlbooks import UserError, catalog, export, runtime
from dlbooks.run import Run
from dlbooks.verify import digests

runtime.prepare("mini", 0)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "state", lambda: tmp_path / "state")
    found = catalog.chapter("parabola")
    made = Run(found.declaration, found.params(), profile="mini", out=tmp_path / "out", key="test", quiet=True)
    made.begin()
    return made


def net():
    runtime.prepare("mini", 3)
    model = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(16, "relu"), keras.layers.Dropout(0.5), keras.layers.BatchNormalization(), keras.layers.Dense(2)]
    )
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(model.trainable_variables)
    return model, optimizer


def train(run, model, optimizer, stop=None):
    for epoch in run.epochs(6, model=model, optimizer=optimizer):
        x = run.random("x", epoch).normal(size=(32, 8)).astype(np.float32)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True)))
        optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True))
        run.log(epoch, loss=loss)
        if epoch == stop:
            return


def test_resume_is_bit_exact_with_dropout_and_batch_norm(run, monkeypatch):
    monkeypatch.setenv("DLBOOKS_CHECKPOINT_SECONDS", "1000")
    model, optimizer = net()
    train(run, model, optimizer)
    whole, losses = [v.numpy() for v in model.variables], list(run.series["loss"])
    run.series.clear()
    monkeypatch.setenv("DLBOOKS_CHECKPOINT_SECONDS", "0")
    train(run, *net(), stop=3)  # killed during the fourth epoch: the third is the last one saved
    run.series.clear()
    model, optimizer = net()
    train(run, model, optimizer)
    assert run.series["loss"] == losses
    assert all(np.array_equal(a, b) for a, b in zip(whole, (v.numpy() for v in model.variables), strict=True))


def test_random_streams_are_named_and_repeat(run):
    assert run.random("a", 1).integers(1 << 30) == run.random("a", 1).integers(1 << 30) != run.random("a", 2).integers(1 << 30)


def test_seeds_nobody_names_do_not_depend_on_pythons_generator():
    """Threads of other libraries draw from Python's global generator at moments of their own."""
    import random

    drawn = []
    for disturb in (False, True):
        runtime.prepare("mini", 5)
        if disturb:
            random.random()
        drawn.append((np.asarray(keras.initializers.GlorotUniform()((3, 3))), np.asarray(keras.layers.Dropout(0.5)(np.ones((4, 4)), training=True))))
    assert all(np.array_equal(a, b) for a, b in zip(*drawn, strict=True))


def test_undeclared_data_sets_and_metrics_are_refused(run):
    with pytest.raises(ValueError, match="declares"):
        run.records("mnist")
    with pytest.raises(ValueError, match="undeclared"):
        run.write_metrics({"train_loss": 1.0, "other": 2.0})


def test_divergence_is_one_line(run):
    with pytest.raises(UserError, match="loss is nan at step 7: training diverged"):
        run.log(7, loss=float("nan"))


def test_weights_round_trip_and_mismatch_names_the_variable(run):
    model, _ = net()
    run.save(model)
    other, _ = net()
    other.set_weights([w + 1 for w in other.get_weights()])
    assert all(np.array_equal(a, b) for a, b in zip(run.load(other).get_weights(), model.get_weights(), strict=True))
    wrong = keras.Sequential([keras.Input((8,)), keras.layers.Dense(17)])
    with pytest.raises(UserError, match=r"dense.*shape \[8, 16\].*\[8, 17\]"):
        run.load(wrong)


EXPORT = """
import sys, os
from pathlib import Path
from dlbooks import runtime
os.environ.update(runtime.environment("mini"))
import keras, numpy as np, tensorflow as tf
from dlbooks import export
runtime.prepare("mini", 0)
out = Path(sys.argv[1]); out.mkdir()
for i in range(int(sys.argv[2])):  # whatever the process traced before must not show
    tf.function(lambda x: x * i)(tf.constant(1.0))
model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(), keras.layers.Flatten(), keras.layers.Dense(10)])
serve = lambda image: {"logits": model(tf.cast(image, tf.float32) / 255)}
spec = [tf.TensorSpec((None, 28, 28, 1), tf.uint8, name="image")]
export.saved_model(out / "saved_model", {"serve": (serve, spec)}, model.variables, {"labels.txt": "a"}, np.zeros((1, 28, 28, 1), np.uint8))
export.tflite(out / "model.tflite", serve, spec)
export.keras_file(model, out / "model.keras")
export.savez(out / "weights.npz", {"a/b": np.arange(3)})
"""


def test_exports_of_two_processes_are_the_same_bytes(tmp_path):
    for name, traces in (("first", "0"), ("second", "7")):
        subprocess.run([sys.executable, "-c", EXPORT, str(tmp_path / name), traces], check=True, capture_output=True, env=dict(os.environ))
    first, second = digests(tmp_path / "first"), digests(tmp_path / "second")
    assert first == second and "saved_model/saved_model.pb" in first and "saved_model/fingerprint.pb" not in first
    loaded = tf.saved_model.load(str(tmp_path / "first" / "saved_model"))
    image = np.random.default_rng(0).integers(0, 255, (2, 28, 28, 1)).astype(np.uint8)
    direct = loaded(image)["logits"].numpy()
    assert np.array_equal(direct, loaded.signatures["serving_default"](image=tf.constant(image))["logits"].numpy())
    again = keras.saving.load_model(tmp_path / "first" / "model.keras")
    assert np.allclose(again(image.astype(np.float32) / 255), direct, atol=1e-6)
    assert np.array_equal(np.load(tmp_path / "first" / "weights.npz")["a/b"], [0, 1, 2])


def test_images(tmp_path):
    from PIL import Image

    from dlbooks import images

    (tmp_path / "note.png").write_text("no picture")
    with pytest.raises(UserError, match=r"note.png: not a picture"):
        images.read(tmp_path / "note.png")
    Image.new("RGBA", (4, 3), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert images.read(tmp_path / "clear.png", "L").tolist() == [[255] * 4] * 3
    Image.effect_noise((64, 64), 90).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    with pytest.raises(UserError, match=r"cut.jpg: damaged picture"):
        images.read(tmp_path / "cut.jpg")
    with open(tmp_path / "huge.png", "wb") as file:
        file.truncate(4 << 30)
    with pytest.raises(UserError, match=r"huge.png: 4,295 MB, at most 67 MB"):
        images.read(tmp_path / "huge.png")
    Image.new("1", (9000, 9000)).save(tmp_path / "bomb.png")
    with pytest.raises(UserError, match=r"bomb.png: 9000 × 9000 pixels, at most 50 megapixels"):
        images.read(tmp_path / "bomb.png")
    with pytest.raises(UserError, match=r"gone.png: no such file"):
        images.files([str(tmp_path / "gone.png")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no picture found"):
        images.files([str(tmp_path / "empty")])


def test_model_loads_in_a_clean_process_without_the_source_tree(run, tmp_path):
    """The logged MLflow model needs mlflow and tensorflow only."""
    import mlflow.models

    from dlbooks import mlflow_flavor

    x = keras.Input((1,))
    model = keras.Model(x, keras.layers.Dense(1, kernel_initializer="ones")(x))
    spec = [tf.TensorSpec((None, 1), tf.float32, name="x")]
    export.saved_model(
        tmp_path / "out/export/saved_model", {"serve": (lambda x: {"y": model(x)}, spec)}, model.variables, example=np.array([[2.0]], np.float32)
    )
    mlflow_flavor.save_model(str(tmp_path / "model"), mlflow.models.Model(), out=tmp_path / "out")
    code = (
        "import sys, json, numpy as np, mlflow.pyfunc\n"
        f"m = mlflow.pyfunc.load_model({str(tmp_path / 'model')!r})\n"
        "print(float(m.predict(np.array([[2.0]], np.float32))['y'][0, 0]), m.metadata.signature is not None, m.input_example.tolist())\n"
        "print('dlbooks' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.split("\n")[:2] == ["2.0 True [[2.0]]", "False"]


def test_what_a_run_compares_are_child_runs(tmp_path, monkeypatch):
    from dlbooks import tracking

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/store.db")
    found = catalog.chapter("parabola")
    run = Run(found.declaration, found.params(), profile="smoke", out=tmp_path / "out", quiet=True)
    run.begin()
    for name, rate in (("sgd", 0.1), ("adam", 0.01)):
        run.child(name, {"rate": rate}, {"accuracy": rate + 0.5}, {"loss": [(1, 2.0), (2, 1.0)]})
    run.metrics = dict.fromkeys(run.chapter.metrics, 1.0)
    tracker = tracking.Tracker(run, {}, {})
    tracker.result()
    tracker.end("FINISHED")
    runs = tracker.store.search_runs([tracker.experiment_id], f"tags.`mlflow.parentRunId` = '{tracker.id}'")
    assert {r.data.tags["dlbooks.child"]: (r.data.params["rate"], r.data.metrics["accuracy"], r.info.status) for r in runs} == {
        "sgd": ("0.1", 0.6, "FINISHED"),
        "adam": ("0.01", 0.51, "FINISHED"),
    }
    assert [p.value for p in tracker.store.get_metric_history(runs[0].info.run_id, "loss")] == [2.0, 1.0]
    assert all("dlbooks.chapter" not in r.data.tags for r in runs), "the ledger looks for runs of the chapter"
