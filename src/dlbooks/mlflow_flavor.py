"""Writes a run's export in MLflow's model format without saving it a second time.

``mlflow.models.Model.log`` calls ``save_model`` here. The result has the flavors ``tensorflow`` and ``python_function`` and loads with
``mlflow.pyfunc`` in a process that has never seen this project. Its folder ``data`` is laid out as the run's output folder:

    MLmodel  requirements.txt  input_example.json  code/mlflow_loader.py
    data/run.json  data/metrics.json  data/data.json        parameters, result, statistics of the data it learned from
    data/export/saved_model                                 what TensorFlow Serving takes, and `tf.saved_model.load`
    data/export/…                                           vocabularies, tables, whatever else the chapter's `answer` reads
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np

from dlbooks import digests

LOADER = "mlflow_loader"
OTHER_FORMATS = (".keras", ".tflite")  # the same weights again


def contents(out: Path) -> list[str]:
    """Files of a run's output folder that travel with its model, relative to it, sorted."""
    found = [name for name in ("data.json", "metrics.json", "run.json") if (out / name).exists()]
    export = [p for p in (out / "export").rglob("*") if p.is_file() and p.suffix not in OTHER_FORMATS]
    return sorted([*found, *(p.relative_to(out).as_posix() for p in export)])


def digest(out: Path) -> str:
    """SHA-256 over names and bytes of ``contents``: equal for equal results."""
    listing = "".join(f"{digests.digest(out / name)}  {name}\n" for name in contents(out))
    return hashlib.sha256(listing.encode()).hexdigest()


def signature(saved_model: Path):
    """MLflow's signature of an export; a single input stays without a name: MLflow then takes the array itself instead of a dictionary."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    described = json.loads((saved_model / "assets.extra" / "signature.json").read_text(encoding="utf-8"))

    def schema(side: dict, named: bool) -> Schema:
        shapes = {name: tuple(-1 if n is None else n for n in entry["shape"]) for name, entry in side.items()}
        dtypes = {name: np.dtype("str" if entry["dtype"] == "string" else entry["dtype"]) for name, entry in side.items()}
        return Schema([TensorSpec(dtypes[name], shapes[name], name if named else None) for name in side])

    return ModelSignature(schema(described["inputs"], len(described["inputs"]) > 1), schema(described["outputs"], True))


def example(saved_model: Path) -> np.ndarray | dict[str, np.ndarray] | None:
    """The input example that ``export.saved_model`` kept: an array, or a dictionary of them where the model has several inputs."""
    folder = saved_model / "assets.extra"
    if (folder / "example.npy").exists():
        return np.load(folder / "example.npy")
    if (folder / "example.npz").exists():
        with np.load(folder / "example.npz") as stored:
            return dict(stored)
    return None


def save_model(path: str, mlflow_model, out: Path, **_) -> None:
    """Copies what travels of the run's output folder ``out`` to ``path`` and writes ``MLmodel``, requirements, signature and input example."""
    import mlflow.pyfunc
    import mlflow.tensorflow
    from mlflow.models.utils import _save_example

    target, saved_model = Path(path), out / "export" / "saved_model"
    for name in contents(out):
        (target / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(out / name, target / "data" / name)
    (target / "code").mkdir()
    shutil.copyfile(Path(__file__).with_name(f"{LOADER}.py"), target / "code" / f"{LOADER}.py")
    mlflow_model.signature = signature(saved_model)
    if (given := example(saved_model)) is not None:
        _save_example(mlflow_model, given, str(target))
    where = "data/export/saved_model"
    mlflow_model.add_flavor("tensorflow", code=None, saved_model_dir=where, model_type="tf2-module")
    requirements = [f"{name}=={version(name)}" for name in ("mlflow", "tensorflow", "keras", "numpy")]
    python = platform.python_version()
    listing = "".join(f"- {r}\n" for r in requirements)
    (target / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    (target / "python_env.yaml").write_text(f"python: {python}\nbuild_dependencies: [pip]\ndependencies:\n- -r requirements.txt\n", encoding="utf-8")
    nested = "".join(f"  {line}\n" for line in listing.splitlines())
    (target / "conda.yaml").write_text(
        f"channels: [conda-forge]\nname: mlflow-env\ndependencies:\n- python={python}\n- pip\n- pip:\n{nested}", encoding="utf-8"
    )
    environment = {"conda_env": "conda.yaml", "python_env": "python_env.yaml"}
    mlflow.pyfunc.add_to_model(mlflow_model, loader_module=LOADER, data=where, code="code", **environment)
    mlflow_model.save(str(target / "MLmodel"))
