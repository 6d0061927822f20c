"""Loads an exported SavedModel for ``mlflow.pyfunc``. A copy of this file travels in every logged model, so it imports nothing of this project.

MLflow's own loader knows SavedModels of one input without a name, and hands TensorFlow's tensors back, which `mlflow models serve` cannot write as JSON.
"""

import numpy as np


class SavedModel:
    """The signature ``serving_default``: arrays in, a dictionary of arrays out; texts are strings."""

    def __init__(self, folder: str):
        import tensorflow as tf

        self.model = tf.saved_model.load(folder)
        self.function = self.model.signatures["serving_default"]

    def get_raw_model(self):
        return self.model

    def predict(self, data, params=None) -> dict:
        """``data`` is one array where there is one input, else a dictionary or a data frame of arrays by the inputs' names."""
        import tensorflow as tf

        specs = self.function.structured_input_signature[1]
        if not hasattr(data, "keys"):
            if len(specs) > 1:
                raise ValueError(f"the model takes a dictionary of arrays: {', '.join(specs)}")
            data = {next(iter(specs)): data}
        feed = {}
        for name, spec in specs.items():
            value = data[name].tolist() if hasattr(data[name], "iloc") else data[name]
            value = np.asarray(value).reshape([]) if spec.shape.rank == 0 else np.asarray(value)
            feed[name] = tf.constant(value.tolist() if spec.dtype == tf.string else value, spec.dtype)
        return {name: words(value.numpy()) for name, value in self.function(**feed).items()}


def words(value):
    """An array as it is; bytes, or an array of them, as text."""
    if isinstance(value, bytes):
        return np.array(value.decode("utf-8", "replace"))
    return np.array([v.decode("utf-8", "replace") for v in value.ravel()]).reshape(value.shape) if value.dtype == object else np.asarray(value)


def _load_pyfunc(folder: str) -> SavedModel:
    return SavedModel(folder)
