"""Writes an exported SavedModel in MLflow's model format without saving it a second time.

``mlflow.models.Model.log`` calls ``save_model`` here. The result has the flavors ``tensorflow`` and ``python_function`` and loads with
``mlflow.pyfunc`` in a process that has never seen this project.
"""

from __future__ import annotations

import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np


def save_model(path: str, mlflow_model, export: Path, **_) -> None:
    """Copies the SavedModel at ``export`` to ``path`` and writes ``MLmodel``, requirements, signature and input example."""
    import mlflow.pyfunc
    import mlflow.tensorflow
    from mlflow.models import ModelSignature
    from mlflow.models.utils import _save_example
    from mlflow.types import Schema, TensorSpec

    target = Path(path)
    shutil.copytree(export, target / "data" / "saved_model")
    described = json.loads((export / "assets.extra" / "signature.json").read_text(encoding="utf-8"))

    def schema(side: dict, named: bool) -> Schema:
        shapes = {name: tuple(-1 if n is None else n for n in entry["shape"]) for name, entry in side.items()}
        dtypes = {name: np.dtype("str" if entry["dtype"] == "string" else entry["dtype"]) for name, entry in side.items()}
        return Schema([TensorSpec(dtypes[name], shapes[name], name if named else None) for name in side])

    # A single input stays without a name: MLflow then hands the array itself to the model instead of a dictionary.
    mlflow_model.signature = ModelSignature(schema(described["inputs"], len(described["inputs"]) > 1), schema(described["outputs"], True))
    example = export / "assets.extra" / "example.npy"
    if example.exists():
        _save_example(mlflow_model, np.load(example), str(target))
    mlflow_model.add_flavor("tensorflow", code=None, saved_model_dir="data/saved_model", model_type="tf2-module")
    requirements = [f"{name}=={version(name)}" for name in ("mlflow", "tensorflow", "keras", "numpy")]
    python = platform.python_version()
    listing = "".join(f"- {r}\n" for r in requirements)
    (target / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    (target / "python_env.yaml").write_text(f"python: {python}\nbuild_dependencies: [pip]\ndependencies:\n- -r requirements.txt\n", encoding="utf-8")
    nested = "".join(f"  {line}\n" for line in listing.splitlines())
    (target / "conda.yaml").write_text(
        f"channels: [conda-forge]\nname: mlflow-env\ndependencies:\n- python={python}\n- pip\n- pip:\n{nested}", encoding="utf-8"
    )
    mlflow.pyfunc.add_to_model(mlflow_model, loader_module="mlflow.tensorflow", conda_env="conda.yaml", python_env="python_env.yaml")
    mlflow_model.save(str(target / "MLmodel"))
