"""Training loops that cost nothing but the arithmetic: one compiled function per pass, an average of the weights.

Keras's ``fit`` calls Python once per batch. Here a pass over the data is one ``tf.function`` with a ``tf.range`` loop inside: the
data stay in memory as tensors, batches are gathered by an index array, and Python is asked once per pass. The loop is as
deterministic as its ops: the order of the examples, the seed of the augmentation and the saved variables fix every bit.

    epoch = compiled_epoch(model, optimizer, loss)
    for number in run.epochs(10, model=model, optimizer=optimizer):
        run.log(number + 1, loss=epoch(x, y, run.random("order", number).permutation(len(x)), 128))
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from dlbooks import UserError, devices, runtime

if TYPE_CHECKING:
    from dlbooks.run import Run


def compiled_epoch(model: keras.Model, optimizer, loss: Callable, *, augment: Callable | None = None, ema: Ema | None = None) -> Callable:
    """Compiles a pass over the data: ``run(x, y, order, batch, seed=0)`` → mean loss of its batches, a float.

    ``x``, ``y``: arrays or tensors ``[n, …]``, or structures of them; pass tensors to spare a copy per call. ``order``: int ``[m]``, the
    indices of the examples in the order they are seen; a rest shorter than ``batch`` is dropped. A part of a pass is a slice
    of ``order``. ``loss(y, model(x))`` gives a scalar or one value per example, whose mean is taken; the model's own
    regularization losses are added. ``augment(x, seed)`` gets a batch and the int32 pair (``seed``, step) for stateless ops.
    ``ema`` is updated after every step.

    In the scope of a ``MirroredStrategy`` (building the model, the optimizer and ``ema``, and training) its devices share every batch. The result is
    that of one device up to rounding, if ``loss`` is a mean over examples and the net draws nothing at random; the masks of dropout are others.
    """
    optimizer.build(model.trainable_variables)
    strategy = tf.distribute.get_strategy()
    mirrored = strategy.num_replicas_in_sync > 1

    def step(x, y, share=None):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(loss(y, model(x, training=True)))
            total = tf.add_n([value, *model.losses]) if model.losses else value
            if share is not None:
                total *= tf.cast(share, total.dtype)
        optimizer.apply(tape.gradient(total, model.trainable_variables), model.trainable_variables)
        return total

    one_step = on_all(strategy, model, optimizer, step) if mirrored else devices.compiled(step)

    @tf.function
    def epoch(x, y, order, seed):
        total = 0.0
        steps = tf.shape(order)[0]
        if mirrored:
            spread_seeds(strategy, model)
        for number in tf.range(steps):
            chosen = order[number]
            batch_x = gather(x, chosen)
            if augment is not None:
                batch_x = augment(batch_x, tf.stack([seed, number]))
            total += tf.cast(one_step(batch_x, gather(y, chosen)), tf.float32)
            if ema is not None:
                ema.update()
        return total / tf.cast(steps, tf.float32)

    def run(x, y, order, batch: int, seed: int = 0) -> float:
        steps = len(order) // batch
        if steps == 0:
            raise ValueError(f"{len(order)} examples are less than one batch of {batch}")
        if batch < strategy.num_replicas_in_sync:
            raise UserError(f"a batch of {batch} cannot be shared by {strategy.num_replicas_in_sync} devices: raise batch_size or take fewer devices")
        x, y = (tf.nest.map_structure(tf.convert_to_tensor, a) for a in (x, y))
        rows = tf.constant(np.asarray(order)[: steps * batch].reshape(steps, batch), tf.int32)
        any_length = [tf.nest.map_structure(lambda a: tf.TensorSpec((None, *a.shape[1:]), a.dtype), a) for a in (x, y, rows)]
        traced = epoch.get_concrete_function(*any_length, tf.TensorSpec((), tf.int32))  # kept by tf.function: one trace per batch size
        return float(traced(x, y, rows, tf.constant(seed, tf.int32)))

    return run


def on_all(strategy, model: keras.Model, optimizer, step: Callable) -> Callable:
    """``step(x, y, share)`` on every device of ``strategy`` at once: a function of a whole batch → the sum of what the devices return.

    Each device gets its part of the examples, as equal as can be, and ``share``, the part's size over the batch's. A loss that is a mean over
    examples, times ``share``, adds up to the mean over the batch, and so do the gradients, which ``optimizer.apply`` sums over devices. Batch norm
    takes its statistics over the whole batch. What a layer draws at random, dropout's masks, is drawn per device.
    """
    count = strategy.num_replicas_in_sync
    if any(getattr(optimizer, name) is not None for name in ("clipnorm", "global_clipnorm", "clipvalue")):
        raise ValueError("Keras clips the gradients of each device before it sums them: a chapter whose optimizer clips cannot be mirrored")
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
            layer.call = functools.partial(keras.layers.BatchNormalization.call, layer)  # a fused kernel sees its own device's part alone
    devices.note(f"batches shared by {count} devices")

    def one_step(*batch):
        leaves = tf.nest.flatten(batch)
        examples = leaves[0].shape[0]
        sizes = [len(part) for part in np.array_split(range(examples), count)]
        parts = list(zip(*[tf.split(leaf, sizes) for leaf in leaves], strict=True))

        def own(context):
            number = context.replica_id_in_sync_group
            return (*tf.nest.pack_sequence_as(batch, parts[number]), sizes[number] / examples)

        values = strategy.run(step, args=strategy.experimental_distribute_values_from_function(own))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)

    return one_step


def spread_seeds(strategy, model: keras.Model) -> None:
    """Moves the state of each random layer apart on the devices of ``strategy``, which start as copies of the first: no two draw the same mask."""

    def move(variable, first):
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        variable.assign(first + tf.stack([tf.cast(number, first.dtype), 0]))

    for variable in model.variables:
        if variable.path.endswith("seed_generator_state"):
            strategy.run(move, args=(variable, tf.convert_to_tensor(variable.value)))


def gather(data, chosen):
    """Examples ``chosen`` of an array ``[n, …]`` or a structure of them."""
    return tf.nest.map_structure(lambda array: tf.gather(array, chosen), data)


def shuffled(run: Run, examples: int, batch: int, start: int, steps: int, stream: str = "order") -> np.ndarray:
    """Indices ``[steps · batch]`` of the examples seen in steps ``start`` … of an endless stream of shuffled passes.

    Every pass is a permutation of its own, drawn from ``run.random(stream, pass)``; its rest shorter than ``batch`` is left out.
    Any stretch can be asked for alone, which is how training resumes in the middle of a pass.
    """
    per_pass = examples // batch
    if per_pass == 0:
        raise ValueError(f"{examples} examples are less than one batch of {batch}")
    parts = []
    for number in range(start // per_pass, (start + steps - 1) // per_pass + 1):
        order = run.random(stream, number).permutation(examples)
        first, last = max(start - number * per_pass, 0), min(start + steps - number * per_pass, per_pass)
        parts.append(order[first * batch : last * batch])
    return np.concatenate(parts)


@contextlib.contextmanager
def precision(profile: str):
    """Layers built inside compute in bfloat16 if the profile is ``book`` and the device multiplies bfloat16; weights stay float32.

    Saved weights fit the same net built outside in float32, which is how it is evaluated and exported.
    """
    before = keras.config.dtype_policy()
    if profile == "book" and runtime.mixed_precision():
        keras.config.set_dtype_policy("mixed_bfloat16")
        devices.note("bfloat16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class Adam(keras.optimizers.Adam):
    """Keras's Adam with its update in one fused kernel instead of a dozen element-wise ops.

    The formula is the same; where a net has many weights and few multiply-adds per weight (dense layers, small batches) a step takes
    up to a third less time. ``weight_decay=…`` makes it AdamW, as in Keras.
    """

    def update_step(self, gradient, variable, learning_rate):
        if self.amsgrad or isinstance(gradient, tf.IndexedSlices) or variable.dtype != tf.float32:
            return super().update_step(gradient, variable, learning_rate)
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, tf.float32),
        )


class Ema:
    """Exponential moving average of a model's weights, batch-norm statistics included.

    After step $t = 0, 1, …$ every shadow weight moves by $s ← d_t s + (1 − d_t) θ$, $d_t = \\min(d, (1 + t)/(10 + t))$ with ``warmup``,
    else $d_t = d$. Without the warm-up (Keras's ``use_ema``) the initial weights would keep a share of $d^t$: 37 % after 10,000
    steps at $d = 0.9999$. ``swap()`` exchanges model and shadow; a second call swaps back, as does the end of ``with ema.swapped():``.
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

    @contextlib.contextmanager
    def swapped(self):
        """The model with averaged weights for a while."""
        self.swap()
        yield
        self.swap()
