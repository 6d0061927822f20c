"""The model registry: who becomes champion, how one goes back, and that a registered model needs nothing of this project."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from dlbooks import UserError, catalog, export, mlflow_flavor, own, registry, runtime, tracking
from dlbooks.run import Run, standing, trained

RUNS = runtime.root() / "data" / "runs"
EXPORTING = [c.id for c in catalog.chapters().values() if c.exports]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A finished run of ``parabola`` whose network is one line, y = 2x."""
    out = tmp_path_factory.mktemp("run")
    two = tf.Variable(2.0, name="two")
    spec = [tf.TensorSpec((None, 1), tf.float32, name="x")]
    export.saved_model(out / "export/saved_model", {"serve": (lambda x: {"y": two * x}, spec)}, [two], example=np.ones((1, 1), np.float32))
    (out / "export/table.json").write_text('{"two": 2}')
    (out / "export/model.keras").write_bytes(b"the same weights again")
    return out


def result(exported, folder, loss: float, profile="mini", **parameters) -> Run:
    """That run with another loss."""
    shutil.copytree(exported, folder)
    declared = catalog.chapter("parabola").declaration
    metrics = {**dict.fromkeys(declared.metrics, 1.0), "train_loss": loss}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "run.json").write_text(json.dumps({"profile": profile, "variant": None, "parameters": parameters}))
    return standing(own.stage("parabola"), folder)


@pytest.fixture
def enter(store, exported, tmp_path):
    """``enter(loss)``: logs and registers such a run, and returns its version."""

    def one(loss: float, profile: str = "mini", data: str = "a", **parameters) -> int:
        one.count += 1
        run = result(exported, tmp_path / f"run{one.count}", loss, profile, **parameters)
        tracker = tracking.Tracker(run, {"mlflow.source.git.commit": "c0ffee"}, {"data": data})
        tracker.model()
        tracker.end("FINISHED")
        return int(store.get_model_version_by_alias("dlbooks.parabola", "challenger").version)

    one.count = 0
    return one


def champion() -> int:
    return registry.version("parabola")


def test_champion_moves_when_the_headline_improves_and_only_then(store, enter):
    assert champion() is None and registry.version("parabola", "challenger") is None
    for loss, then in ((0.5, 1), (0.6, 1), (0.5, 1), (0.4, 4), (0.45, 4)):  # lower is better; a tie changes nothing
        enter(loss)
        assert champion() == then, loss
    assert registry.version("parabola", "challenger") == 5
    model = store.get_registered_model("dlbooks.parabola")
    assert model.tags["dlbooks.champions"] == "1 4" and "train_loss" in model.description
    version = store.get_model_version("dlbooks.parabola", "4")
    assert {k: version.tags[f"dlbooks.{k}"] for k in ("profile", "variant", "metric", "value", "commit")} == {
        "profile": "mini",
        "variant": "default",
        "metric": "train_loss",
        "value": "0.4",
        "commit": "c0ffee",
    }
    assert "train_loss 0.4" in version.description and "The book reports 0.00391947" in version.description


def test_other_profile_or_other_data_never_moves_the_champion(enter, capsys):
    enter(0.5)
    enter(0.1, profile="book")
    enter(0.1, data="b")
    assert champion() == 1
    enter(0.4)
    assert champion() == 4
    said = registry.promote("parabola", 2)
    assert (
        said
        == "parabola: champion is version 2 (train_loss 0.1), was version 4 (train_loss 0.4); their numbers cannot be compared: profile book, not mini"
    )
    assert registry.promote("parabola", 3).endswith("cannot be compared: profile mini, not book")
    enter(0.01)  # on data a: the champion is now on data b
    assert champion() == 3 and registry.promote("parabola").endswith("cannot be compared: other data")


def test_a_few_steps_of_smoke_are_no_candidate(store, exported, tmp_path):
    run = result(exported, tmp_path / "run", 0.1, "smoke")
    tracker = tracking.Tracker(run, {}, {})
    tracker.model()
    assert champion() is None and store.search_logged_models([tracker.experiment_id])


def test_what_shapes_the_data_is_part_of_its_hash(exported, tmp_path):
    run = result(exported, tmp_path / "run", 0.1)
    found = {registry.data_hash(run, {}), registry.data_hash(run, {"mnist": "1"}), registry.data_hash(run, {"mnist": "2"})}
    (run.out / "data.json").write_text('{"mnist": {"splits": {}}}')
    assert len({*found, registry.data_hash(run, {"mnist": "1"})}) == 4
    for chapter in catalog.chapters().values():
        fields = catalog.chapter(chapter.id).params.model_fields
        assert set(chapter.data_parameters) <= set(fields), chapter.id


def test_promote_and_rollback_go_back_as_far_as_there_were_champions(store, enter):
    for loss in (0.5, 0.4, 0.6, 0.3):
        enter(loss)
    assert champion() == 4
    assert registry.rollback("parabola") == "parabola: champion is version 2 (train_loss 0.4) again, was version 4 (train_loss 0.3)"
    assert registry.promote("parabola", 3).startswith("parabola: champion is version 3 (train_loss 0.6), was version 2")
    assert registry.promote("parabola", 3) == "parabola: version 3 (train_loss 0.6) is champion already"
    assert [registry.rollback("parabola").split()[4] for _ in range(2)] == ["2", "1"]
    with pytest.raises(UserError, match="no earlier champion: choose a version with `dlbooks promote parabola VERSION`"):
        registry.rollback("parabola")
    assert champion() == 1
    assert registry.promote("parabola").startswith("parabola: champion is version 4 ")  # the challenger
    with pytest.raises(UserError, match="parabola has no version 9: it has 4, 3, 2, 1"):
        registry.promote("parabola", 9)


def test_rollback_passes_over_deleted_versions_and_aliases_set_by_hand(store, enter):
    for loss in (0.5, 0.4, 0.3):
        enter(loss)
    store.delete_model_version("dlbooks.parabola", "2")
    assert registry.rollback("parabola").startswith("parabola: champion is version 1 ")
    store.set_registered_model_alias("dlbooks.parabola", "champion", "3")  # in the UI
    assert registry.rollback("parabola").startswith("parabola: champion is version 1 ")


def test_lost_alias_and_damaged_tags(store, enter):
    enter(0.5)
    store.delete_registered_model_alias("dlbooks.parabola", "champion")
    with pytest.raises(UserError, match="parabola has no champion: `dlbooks promote parabola VERSION`, it has the versions 1"):
        registry.run("parabola")
    assert registry.run("parabola", version=1).version == 1
    enter(0.6)
    assert champion() == 2, "where there is none, the next one is"
    store.set_model_version_tag("dlbooks.parabola", "2", "dlbooks.value", "much")
    store.set_registered_model_tag("dlbooks.parabola", "dlbooks.champions", "one 2 x")
    enter(0.1)
    assert champion() == 2, "what cannot be compared moves nothing"
    assert registry.promote("parabola") == "parabola: champion is version 3 (train_loss 0.1), was version 2 (train_loss unknown)"
    store.delete_model_version("dlbooks.parabola", "3")
    assert champion() is None and registry.promote("parabola", 1).endswith("version 1 (train_loss 0.5)")


def test_unknown_names_say_what_to_do(store, monkeypatch, tmp_path):
    monkeypatch.setattr(runtime, "root", lambda: tmp_path)  # nothing was trained there
    with pytest.raises(UserError, match="unknown chapter 'parabol': did you mean parabola"):
        registry.run("parabol")
    for action in (registry.run, registry.promote, registry.rollback, registry.rows):
        with pytest.raises(UserError, match="no model of parabola is registered: run `dlbooks run parabola`"):
            action("parabola")
    with pytest.raises(UserError, match="layer-lab exports no model"):
        registry.run("layer-lab")
    assert registry.rows() == []


def test_run_over_a_version_is_a_run(store, enter, exported):
    enter(0.5, points=100)
    run = registry.run("parabola")
    assert (run.version, run.profile, run.params.points, run.metrics["train_loss"]) == (1, "mini", 100, 0.5)
    assert run.model.serve(tf.constant([[3.0]]))["y"].numpy().tolist() == [[6.0]]
    assert json.loads(run.exported("table.json").read_text()) == {"two": 2}
    assert not (run.out / "export" / "model.keras").exists(), "the same weights again"
    assert run.out.is_relative_to(tracking.artifacts()), "no copy where the files are here"


def test_files_of_another_machine_are_fetched_once_and_whole(store, enter, tmp_path, monkeypatch):
    enter(0.5)
    version = store.get_model_version_by_alias("dlbooks.parabola", "champion")
    uri = store.get_model_version_download_uri("dlbooks.parabola", "1")
    monkeypatch.setattr(type(store), "get_model_version_download_uri", lambda *_: "mlflow-artifacts:/elsewhere")
    fetched = []

    def download(artifact_uri, dst_path, tracking_uri):
        fetched.append(artifact_uri)
        if len(fetched) == 1:
            (Path(dst_path) / "half").mkdir(parents=True)
            raise OSError("connection lost")
        return shutil.copytree(uri.removeprefix("file://"), dst_path)

    monkeypatch.setattr("mlflow.artifacts.download_artifacts", download)
    with pytest.raises(OSError, match="connection lost"):
        registry.run("parabola")
    cache = runtime.state() / "models" / "parabola"
    assert list(cache.iterdir()) == []
    for _ in range(2):
        run = registry.run("parabola")
    assert run.out == cache / f"1-{version.tags['dlbooks.digest'][:12]}" / "data" and len(fetched) == 2
    assert run.metrics["train_loss"] == 0.5 and [p.name for p in cache.iterdir()] == [run.out.parent.name]


def test_a_result_from_the_cache_is_registered_once(store, exported, tmp_path, monkeypatch):
    (tmp_path / "data" / "runs").mkdir(parents=True)
    (tmp_path / "requirements.lock").write_text("")
    result(exported, tmp_path / "data" / "runs" / "parabola", 0.5)
    monkeypatch.setattr(runtime, "root", lambda: tmp_path)
    assert registry.run("parabola").version == 1, "nothing was registered: what is here is"
    tracking.restored("parabola")
    assert [row["version"] for row in registry.rows("parabola")] == [1]
    shutil.rmtree(tmp_path / "data" / "runs" / "parabola")
    result(exported, tmp_path / "data" / "runs" / "parabola", 0.4)
    tracking.restored("parabola")
    assert [row["aliases"] for row in registry.rows("parabola")] == [["challenger", "champion"], []]


def test_models_lists_versions(store, enter, capsys):
    enter(0.5)
    enter(0.6, profile="book")
    registry.print_models("parabola", True)
    newest, first = json.loads(capsys.readouterr().out)
    assert (newest["version"], newest["aliases"], newest["profile"], newest["value"]) == (2, ["challenger"], "book", 0.6)
    assert (first["aliases"], first["headline"], first["commit"]) == (["champion"], "train_loss", "c0ffee")
    assert first["data"] == newest["data"] and first["date"].endswith("UTC")
    registry.print_models("", False)
    said = capsys.readouterr().out
    assert "train_loss 0.5" in said and "champion" in said and "challenger" in said


CROWD = """
import json, os, sys
from pathlib import Path
import mlflow.models, mlflow.tensorflow, mlflow.store.tracking.sqlalchemy_store, mlflow.store.model_registry.sqlalchemy_store
from dlbooks import own, tracking
from dlbooks.run import standing
tracking.reap = lambda store: 0
pids = []
for number in range(4):
    if not (pid := os.fork()):
        try:
            folder = Path(sys.argv[1]) / f"run{number}"
            run = standing(own.stage("parabola"), folder)
            store = tracking.client()
            experiment = tracking.experiment(store, "mini", "foundations")
            for _ in range(2):
                made = store.create_run(experiment)
                tracking.log_model(store, run, made.info.run_id, experiment, "c0ffee", {})
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    pids.append(pid)
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids])
"""


def test_four_processes_register_at_once(store, exported, tmp_path):
    for number, loss in enumerate((0.4, 0.2, 0.3, 0.5)):
        result(exported, tmp_path / f"run{number}", loss)
    done = subprocess.run([sys.executable, "-c", CROWD, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip().endswith("[0, 0, 0, 0]"), done.stdout + done.stderr
    found = registry.rows("parabola")
    assert [row["version"] for row in found] == list(range(8, 0, -1))
    assert [row["value"] for row in found if "champion" in row["aliases"]] == [0.2], "the best of them, whoever came first"
    assert found[0]["aliases"][0] == "challenger"


# ── what anybody can load ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", EXPORTING)
def test_every_export_carries_an_example_that_fits_its_signature(name):
    folder = trained(name).exported()
    described = json.loads((folder / "assets.extra" / "signature.json").read_text())["inputs"]
    example = mlflow_flavor.example(folder)
    assert example is not None
    values = example if len(described) > 1 else {next(iter(described)): example}
    for key, entry in described.items():
        assert values[key].ndim == len(entry["shape"]) and all(n in (None, m) for n, m in zip(entry["shape"], values[key].shape, strict=True))
        assert values[key].dtype.kind == "U" if entry["dtype"] == "string" else values[key].dtype == entry["dtype"]


CLEAN = """
import sys
sys.modules["dlbooks"] = None  # an import of it fails
import json, os, numpy as np, mlflow, mlflow.pyfunc, tensorflow as tf
os.environ["MLFLOW_TRACKING_URI"] = sys.argv[1]
answers = {}
for name in sys.argv[2:]:
    model = mlflow.pyfunc.load_model(f"models:/dlbooks.{name}@champion")
    example = model.input_example
    assert model.metadata.signature is not None and example is not None
    found = model.predict(example)
    folder = mlflow.artifacts.download_artifacts(f"models:/dlbooks.{name}@champion") + "/data/export/saved_model"
    plain = tf.saved_model.load(folder).signatures["serving_default"]
    given = example if isinstance(example, dict) else {next(iter(plain.structured_input_signature[1])): example}
    direct = plain(**{k: tf.constant(v.tolist() if v.dtype.kind == "U" else v) for k, v in given.items()})
    same = {k: v.numpy().astype(found[k].dtype) if found[k].dtype.kind != "U" else np.char.decode(np.array(v.numpy(), "S"), "utf-8") for k, v in direct.items()}
    answers[name] = {k: [list(v.shape), bool((same[k] == v).all())] for k, v in found.items()}
print(json.dumps(answers))
"""


def lines(exported, out):
    """A generator of text: several scalars in, a string out."""
    two = tf.Variable(2, name="two")
    spec = [tf.TensorSpec((), tf.string, name="start"), tf.TensorSpec((), tf.int32, name="length"), tf.TensorSpec((), tf.float32, name="warmth")]

    def serve(start, length, warmth):
        return {"text": tf.strings.join([start, tf.strings.as_string(length * two), tf.strings.as_string(warmth, precision=1)], "é")}

    example = {"start": "Roméo", "length": 4, "warmth": 0.5}
    export.saved_model(out / "export/saved_model", {"generate": (serve, spec)}, [two], example=example)


def test_a_registered_model_loads_in_a_clean_process(store, exported, tmp_path):
    """A classifier and a forecaster as they were trained, and a generator with several scalars: through pyfunc, and through TensorFlow alone."""
    generator = result(exported, tmp_path / "generator", 0.1)
    lines(exported, generator.out)
    experiment = tracking.experiment(store, "mini", "foundations")
    for run in (trained("mnist-cnn"), trained("series-lstm"), generator):
        tracking.log_model(store, run, store.create_run(experiment).info.run_id, experiment, "c0ffee", {})
    command = [sys.executable, "-I", "-c", CLEAN, tracking.uri(), "mnist-cnn", "series-lstm", "parabola"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, env={**os.environ, **runtime.QUIET})
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["mnist-cnn"] == {"class_id": [[1], True], "probabilities": [[1, 10], True], "logits": [[1, 10], True]}
    assert found["parabola"] == {"text": [[], True]}
    assert found["series-lstm"]["next"][1] is True


def test_mlflow_serves_several_scalars_as_json(exported, tmp_path):
    """The application of `mlflow models serve`, asked as its clients ask it."""
    import mlflow.models
    import mlflow.pyfunc
    from fastapi.testclient import TestClient
    from mlflow.pyfunc import scoring_server

    generator = result(exported, tmp_path / "generator", 0.1)
    lines(exported, generator.out)
    mlflow_flavor.save_model(str(tmp_path / "model"), mlflow.models.Model(), out=generator.out)
    asked = TestClient(scoring_server.init(mlflow.pyfunc.load_model(str(tmp_path / "model"))))
    body = json.loads((tmp_path / "model" / "serving_input_example.json").read_text())
    assert body == {"inputs": {"start": "Roméo", "length": 4, "warmth": 0.5}}
    answer = asked.post("/invocations", json=body)
    assert (answer.status_code, answer.json()) == (200, {"predictions": {"text": "Roméoé8é0.5"}})


def test_serving_default_is_what_tensorflow_serving_takes():
    """Names, types and shapes of the exported signature; the two JSON bodies of TensorFlow Serving, by row and by column."""
    loaded = tf.saved_model.load(str(trained("mnist-cnn").exported()))
    serve = loaded.signatures["serving_default"]
    inputs, outputs = serve.structured_input_signature[1], serve.structured_outputs
    assert {k: (v.dtype, v.shape.as_list()) for k, v in inputs.items()} == {"image": (tf.uint8, [None, 28, 28, 1])}
    assert {k: (v.dtype, v.shape.as_list()) for k, v in outputs.items()} == {
        "logits": (tf.float32, [None, 10]),
        "probabilities": (tf.float32, [None, 10]),
        "class_id": (tf.int64, [None]),
    }
    picture = mlflow_flavor.example(trained("mnist-cnn").exported())
    rows = json.loads(json.dumps({"signature_name": "serving_default", "instances": [{"image": picture[0].tolist()}]}))
    columns = json.loads(json.dumps({"inputs": {"image": picture.tolist()}}))
    by_row = serve(image=tf.constant([row["image"] for row in rows["instances"]], tf.uint8))
    by_column = serve(image=tf.constant(columns["inputs"]["image"], tf.uint8))
    assert all((by_row[k].numpy() == by_column[k].numpy()).all() for k in outputs)
