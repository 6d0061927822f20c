"""Watching a training: how every weight, and the last hidden layer before and after its rectifier, is spread over the steps."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from dlbooks import figures

PERCENTILES = (0, 7, 16, 31, 50, 69, 84, 93, 100)  # those of TensorBoard's panel


class Distributions(tf.Module):
    """Mean, deviation and percentiles of every tensor at about twenty of the steps ``marks``, on the pictures ``probe``.

    They live in a variable, so a resumed run remembers what the first one saw.
    """

    def __init__(self, model: keras.Model, marks: list[int], probe: np.ndarray):
        super().__init__()
        self.steps = [0, *marks[:: -(-len(marks) // 20)]]
        self.model, self.probe = model, probe
        dense = [layer for layer in model.layers if layer.name.startswith("dense")][-1]
        self.last = dense.name
        self.inside = tf.function(keras.Model(model.input, [dense.output, model.get_layer("features").output]))
        self.names = [v.path for v in model.trainable_variables] + ["pre-activations", "activations"]
        self.table = tf.Variable(tf.zeros((len(self.steps), len(self.names), 2 + len(PERCENTILES))))

    @property
    def variables(self):
        return [self.table]

    def look(self, step: int) -> None:
        if step in self.steps:
            tensors = [*self.model.trainable_variables, *self.inside(tf.constant(self.probe))]
            arrays = [np.asarray(tf.cast(t, tf.float32)).ravel() for t in tensors]
            values = [[a.mean(), a.std(), *np.percentile(a, PERCENTILES)] for a in arrays]
            self.table[self.steps.index(step)].assign(np.float32(values))

    def rows(self) -> list[dict]:
        columns = ("mean", "stddev", *(f"p{p}" for p in PERCENTILES))
        table = self.table.numpy()
        return [
            {"step": step, "tensor": name, **dict(zip(columns, map(float, table[i, j]), strict=True))}
            for i, step in enumerate(self.steps)
            for j, name in enumerate(self.names)
        ]

    def figure(self):
        table = self.table.numpy()[:, :, 2:]
        figure, axes = figures.new(9.6, 3.2, 1, 3)
        shown = (f"{self.last}/kernel", "pre-activations", "activations")
        for axis, name, color in zip(axes, shown, figures.COLORS, strict=False):
            bands = table[:, self.names.index(name)]
            for k in range(len(PERCENTILES) // 2):
                axis.fill_between(self.steps, bands[:, k], bands[:, -1 - k], color=color, alpha=0.22, linewidth=0)
            axis.plot(self.steps, bands[:, len(PERCENTILES) // 2], color=color, linewidth=1.5)
            axis.set(title=name, xlabel="step")
        figure.suptitle("Median and bands of 31–69, 16–84, 7–93 and 0–100 %", fontsize=9)
        return figure
