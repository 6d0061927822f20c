"""Training loops that cost nothing but the arithmetic: one compiled function per pass, an average of the weights.

Keras's ``fit`` calls Python once per batch. Here a pass over the data is one ``tf.function`` with a ``tf.range`` loop inside: the
data stay in memory as tensors, batches are gathered by an index array, and Python is asked once per pass. The loop is as
deterministic as its ops: the order of the examples, the seed of the augmentation and the saved variables fix every bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from dlbooks import runtime


def compiled_epoch(model: keras.Model, optimizer, loss: Callable, *, augment: Callable | None = None, ema: Ema | None = None) -> Callable:
    """Compiles a pass over the data: ``run(x, y, order, batch, seed=0)`` → mean loss of its batches, a float.

    ``x``, ``y``: arrays or tensors ``[n, …]``, or structures of them; pass tensors to spare a copy per call. ``order``: int ``[m]``, the
    indices of the examples in the order they are seen; a rest shorter than ``batch`` is dropped. A part of a pass is a slice
    of ``order``. ``loss(y, model(x))`` gives a scalar or one value per example, whose mean is taken; the model's own
    regularization losses are added. ``augment(x, seed)`` gets a batch and the int32 pair (``seed``, step) for stateless ops.
    ``ema`` is updated after every step.
    """
    optimizer.build(model.trainable_variables)
    on_gpu = bool(tf.config.list_physical_devices("GPU"))

    @tf.function(jit_compile=on_gpu)  # XLA halves a step's time on a GPU and doubles it on a CPU
    def step(x, y):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(loss(y, model(x, training=True)))
            total = tf.add_n([value, *model.losses]) if model.losses else value
        optimizer.apply(tape.gradient(total, model.trainable_variables), model.trainable_variables)
        return total

    @tf.function
    def epoch(x, y, order, seed):
        total = 0.0
        steps = tf.shape(order)[0]
        for number in tf.range(steps):
            chosen = order[number]
            batch_x = tf.nest.map_structure(lambda a: tf.gather(a, chosen), x)
            batch_y = tf.nest.map_structure(lambda a: tf.gather(a, chosen), y)
            if augment is not None:
                batch_x = augment(batch_x, tf.stack([seed, number]))
            total += tf.cast(step(batch_x, batch_y), tf.float32)
            if ema is not None:
                ema.update()
        return total / tf.cast(steps, tf.float32)

    def run(x, y, order, batch: int, seed: int = 0) -> float:
        steps = len(order) // batch
        if steps == 0:
            raise ValueError(f"{len(order)} examples are less than one batch of {batch}")
        x, y = (tf.nest.map_structure(tf.convert_to_tensor, a) for a in (x, y))
        rows = tf.constant(np.asarray(order)[: steps * batch].reshape(steps, batch), tf.int32)
        any_length = [tf.nest.map_structure(lambda a: tf.TensorSpec((None, *a.shape[1:]), a.dtype), a) for a in (x, y, rows)]
        traced = epoch.get_concrete_function(*any_length, tf.TensorSpec((), tf.int32))  # kept by tf.function: one trace per batch size
        return float(traced(x, y, rows, tf.constant(seed, tf.int32)))

    return run


@contextlib.contextmanager
def precision(profile: str):
    """Layers built inside compute in bfloat16 if the profile is ``book`` and the CPU multiplies bfloat16; weights stay float32.

    Saved weights fit the same net built outside in float32, which is how it is evaluated and exported.
    """
    before = keras.config.dtype_policy()
    if profile == "book" and runtime.mixed_precision():
        keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class Ema:
    """Exponential moving average of a model's weights, batch-norm statistics included.

    After step $t = 0, 1, …$ every shadow weight moves by $s ← d_t s + (1 − d_t) θ$, $d_t = \\min(d, (1 + t)/(10 + t))$ with ``warmup``,
    else $d_t = d$. Without the warm-up (Keras's ``use_ema``) the initial weights would keep a share of $d^t$: 37 % after 10,000
    steps at $d = 0.9999$. ``swap()`` exchanges model and shadow, for evaluation and before saving; a second call swaps back.
    ``variables`` makes it a piece of state for ``run.epochs``.
    """

    def __init__(self, model: keras.Model, decay: float, warmup: bool = True):
        self.decay, self.warmup = decay, warmup
        self.weights = [v for v in model.weights if v.dtype.startswith(("float", "bfloat"))]
        self.shadows = [tf.Variable(v.value, trainable=False) for v in self.weights]
        self.steps = tf.Variable(0, dtype=tf.int64, trainable=False)

    @property
    def variables(self) -> list[tf.Variable]:
        return [self.steps, *self.shadows]

    def update(self) -> None:
        """One step; works inside a ``tf.function``."""
        step = tf.cast(self.steps, tf.float32)
        decay = tf.minimum(self.decay, (1.0 + step) / (10.0 + step)) if self.warmup else tf.constant(self.decay)
        for shadow, weight in zip(self.shadows, self.weights, strict=True):
            shadow.assign_add(tf.cast(1.0 - decay, shadow.dtype) * (weight.value - shadow))
        self.steps.assign_add(1)

    def swap(self) -> None:
        """Exchanges the model's weights with their averages."""
        for shadow, weight in zip(self.shadows, self.weights, strict=True):
            current = tf.identity(weight.value)
            weight.assign(shadow)
            shadow.assign(current)
