"""Adversarial training: two networks, two optimizers, one compiled loop.

    epoch = adversarial_epoch(generator, discriminator, g_optimizer, d_optimizer, "ns", draw=draw, r1_gamma=1.0)
    history = epoch(x, y, order, batch, seed)

No network is ever frozen or compiled: each step asks the gradient of one loss in one network's variables, so the other one cannot move.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from dlbooks import devices
from dlbooks.nn.gan_losses import adversarial, r1
from dlbooks.nn.training import Ema, gather

HISTORY = ("d_loss", "g_loss", "d_real", "d_fake")


def adversarial_epoch(
    generator: keras.Model,
    discriminator: keras.Model,
    g_optimizer,
    d_optimizer,
    loss: str,
    *,
    draw: Callable,
    real: Callable = lambda images: images,
    augment: Callable | None = None,
    r1_gamma: float = 0.0,
    r1_every: int = 8,
    g_steps: int = 1,
    ema: Ema | None = None,
) -> Callable:
    """Compiles a stretch of training: ``run(x, y, order, batch, seed)`` → ``{name: float32 [steps]}`` for the names in ``HISTORY``.

    ``x`` pictures ``[n, …]``, ``y`` labels ``[n]``, ``order`` the indices in which they are seen, a rest shorter than ``batch`` left out. ``real``
    brings a batch of pictures to the generator's range. A network with two inputs gets the labels of the real batch as its
    second one. ``draw(count, seed)`` gives codes ``[count, dim]`` from an int32 pair, here (``seed``, step), by stateless ops alone.

    One step: generate a batch; the discriminator descends on real and generated pictures, each a batch of its own (batch
    statistics must not tell them apart by mixture); every ``r1_every``-th step it also descends on ``r1_every`` times the R1 penalty; then
    the generator descends ``g_steps`` times, with the same codes, against the new discriminator. ``augment(images, seed)`` changes all
    that the discriminator sees, so it must be differentiable. ``ema`` averages the generator. ``d_real`` and ``d_fake`` are means of
    σ(logit), before the discriminator's step.
    """
    d_loss, g_loss = adversarial(loss)
    g_variables, d_variables = generator.trainable_variables, discriminator.trainable_variables
    g_optimizer.build(g_variables)
    d_optimizer.build(d_variables)

    def call(network, first, labels):
        return network([first, labels] if len(network.inputs) > 1 else first, training=True)

    def judge(images, labels, seed):
        return call(discriminator, images if augment is None else augment(images, seed), labels)

    def generated(codes, labels):
        with tf.GradientTape() as tape:
            images = call(generator, codes, labels)
        return images, tape

    def step(images, labels, seed):
        codes = draw(tf.shape(images)[0], seed)
        fakes, lower = generated(codes, labels)
        with tf.GradientTape() as tape:
            on_real, on_fake = judge(images, labels, seed), judge(tf.stop_gradient(fakes), labels, seed)
            d_value = d_loss(on_real, on_fake)
        gradients = tape.gradient(d_value, d_variables)
        if r1_gamma:

            def penalty():
                with tf.GradientTape() as tape:
                    value = r1_every * r1(lambda x: judge(x, labels, seed), images, r1_gamma)
                slopes = tape.gradient(value, d_variables)  # the last bias has none
                return [tf.zeros(v.shape) if g is None else g for g, v in zip(slopes, d_variables, strict=True)]

            extra = tf.cond(seed[1] % r1_every == 0, penalty, lambda: [tf.zeros(v.shape) for v in d_variables])
            gradients = [g + e for g, e in zip(gradients, extra, strict=True)]
        d_optimizer.apply(gradients, d_variables)
        for number in range(g_steps):
            if number:
                fakes, lower = generated(codes, labels)
            with tf.GradientTape(watch_accessed_variables=False) as upper:
                upper.watch(fakes)
                g_value = g_loss(judge(fakes, labels, seed))
            gradients = lower.gradient(fakes, g_variables, output_gradients=upper.gradient(g_value, fakes))
            g_optimizer.apply(gradients, g_variables)
        if ema is not None:
            ema.update()
        return tf.stack([d_value, g_value, tf.reduce_mean(tf.sigmoid(on_real)), tf.reduce_mean(tf.sigmoid(on_fake))])

    compiled = devices.compiled(step)

    @tf.function
    def epoch(x, y, order, seed):
        steps = tf.shape(order)[0]
        history = tf.TensorArray(tf.float32, steps)
        for number in tf.range(steps):
            chosen = order[number]
            history = history.write(number, compiled(real(gather(x, chosen)), gather(y, chosen), tf.stack([seed, number])))
        return history.stack()

    def run(x, y, order, batch: int, seed: int = 0) -> dict[str, np.ndarray]:
        steps = len(order) // batch
        if steps == 0:
            raise ValueError(f"{len(order)} examples are less than one batch of {batch}")
        rows = tf.constant(np.asarray(order)[: steps * batch].reshape(steps, batch), tf.int32)
        any_length = tf.TensorSpec((None, batch), tf.int32)
        x, y = tf.convert_to_tensor(x), tf.convert_to_tensor(y)
        traced = epoch.get_concrete_function(
            tf.TensorSpec(x.shape, x.dtype), tf.TensorSpec(y.shape, y.dtype), any_length, tf.TensorSpec((), tf.int32)
        )
        history = traced(x, y, rows, tf.constant(seed, tf.int32)).numpy()
        return dict(zip(HISTORY, history.T, strict=True))

    return run


class Snapshots:
    """A fixed number of uint8 arrays taken during training; as a piece of state for ``run.epochs`` they survive a kill."""

    def __init__(self, count: int, shape: tuple[int, ...]):
        self.variables = [tf.Variable(tf.zeros((count, *shape), tf.uint8), trainable=False)]

    def take(self, number: int, array) -> None:
        self.variables[0][number].assign(array)

    def all(self) -> np.ndarray:
        return self.variables[0].numpy()
