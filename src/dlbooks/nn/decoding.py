r"""Choosing the next token from a model's logits.

Sampling with temperature draws from $p_i \propto \exp(z_i/\tau)$: small $\tau$ sharpens the distribution, large $\tau$ flattens it. ``top_k`` keeps the k most
probable tokens, ``top_p`` (nucleus sampling) the smallest set whose probability reaches p; the rest is renormalized.
"""

from __future__ import annotations

import tensorflow as tf


def filtered(logits: tf.Tensor, temperature=1.0, top_k=0, top_p=1.0) -> tf.Tensor:
    """Logits float32 ``[B, V]`` → logits of the distribution to draw from: divided by the temperature, −∞ where a token is ruled out.

    ``temperature`` > 0, ``top_k`` (0 for all) and ``top_p`` are scalars or ``[B]``, Python numbers or tensors. Of equal logits the lower id goes first. The
    most probable token always stays. Holtzman et al., The curious case of neural text degeneration, 2020.
    """
    temperature, top_p = (tf.reshape(tf.cast(v, tf.float32), (-1, 1)) for v in (temperature, top_p))
    top_k = tf.reshape(tf.cast(top_k, tf.int32), (-1, 1))
    logits = logits / temperature
    order = tf.argsort(logits, direction="DESCENDING", stable=True)
    rank = tf.argsort(order)
    within = (rank < top_k) | (top_k <= 0)
    kept = tf.where(within, logits, float("-inf"))
    p = tf.gather(tf.nn.softmax(kept), order, batch_dims=1)
    above = tf.gather(tf.cumsum(p, axis=1, exclusive=True), rank, batch_dims=1)  # probability of all tokens before this one
    return tf.where((above < top_p) | (rank == 0) | (top_p >= 1), kept, float("-inf"))


def sample_next(logits: tf.Tensor, seed: tf.Tensor, temperature=1.0, top_k=0, top_p=1.0) -> tf.Tensor:
    r"""Draws ids int32 ``[B]`` from logits ``[B, V]``; the same int32 ``seed`` pair gives the same ids. Temperature 0 takes the largest logit.

    The largest of $z_i - \ln(-\ln u_i)$ with uniform $u_i$ is a draw from softmax(z) (the Gumbel-max trick).
    """
    temperature = tf.cast(temperature, tf.float32)
    chosen = filtered(logits, tf.where(temperature > 0, temperature, 1.0), top_k, top_p)
    u = tf.random.stateless_uniform(tf.shape(logits), seed, 1e-20, 1.0)
    noise = tf.where(tf.reshape(temperature, (-1, 1)) > 0, -tf.math.log(-tf.math.log(u)), 0.0)
    return tf.argmax(chosen + noise, axis=1, output_type=tf.int32)
