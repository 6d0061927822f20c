r"""Losses and penalties of adversarial nets, all from the discriminator's logits: $r$ on real pictures, $f$ on generated ones.

With the logistic $\sigma$ and the softplus $\zeta(t) = \log(1 + e^t)$, so that no logarithm of a saturated $\sigma$ is ever taken:

| kind | the discriminator minimizes | the generator minimizes | gradient of the generator in $f$ |
| --- | --- | --- | --- |
| `minimax` | $E\,\zeta(-r) + E\,\zeta(f)$ | $-E\,\zeta(f) = E \log(1 - \sigma(f))$ | $-\sigma(f)$ |
| `ns` | same | $E\,\zeta(-f) = -E \log \sigma(f)$ | $-\sigma(-f)$ |
| `mixed` | same | $-E f$, the sum of both | $-1$ |
| `lsgan` | $\tfrac12 E(r-1)^2 + \tfrac12 E f^2$ | $\tfrac12 E(f-1)^2$ | $f - 1$ |
| `wgan` | $E f - E r$ (needs a bound on the slope) | $-E f$ | $-1$ |
| `hinge` | $E\max(0, 1-r) + E\max(0, 1+f)$ | $-E f$ | $-1$ |

Where the discriminator is sure, at $f = -5$, `minimax` teaches the generator with 0.0067 and `ns` with 0.9933: that is why `ns` is the default
everywhere. Goodfellow et al. 2014; Mao et al. 2017 (`lsgan`); Arjovsky et al. 2017 (`wgan`); Lim and Ye 2017 (`hinge`).
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

mean, softplus = tf.reduce_mean, tf.nn.softplus


def _cross_entropy(r, f):
    return mean(softplus(-r)) + mean(softplus(f))


LOSSES: dict[str, tuple[Callable, Callable]] = {
    "minimax": (_cross_entropy, lambda f: -mean(softplus(f))),
    "ns": (_cross_entropy, lambda f: mean(softplus(-f))),
    "mixed": (_cross_entropy, lambda f: -mean(f)),
    "lsgan": (lambda r, f: 0.5 * mean(tf.square(r - 1)) + 0.5 * mean(tf.square(f)), lambda f: 0.5 * mean(tf.square(f - 1))),
    "wgan": (lambda r, f: mean(f) - mean(r), lambda f: -mean(f)),
    "hinge": (lambda r, f: mean(tf.nn.relu(1 - r)) + mean(tf.nn.relu(1 + f)), lambda f: -mean(f)),
}


def adversarial(kind: str) -> tuple[Callable, Callable]:
    """The two losses of a kind: ``d(real, fake)`` and ``g(fake)``, logits of any shape → scalars."""
    if kind not in LOSSES:
        raise ValueError(f"loss is {kind!r}, must be one of {', '.join(LOSSES)}")
    return LOSSES[kind]


def r1(discriminator: Callable, images: tf.Tensor, gamma: float) -> tf.Tensor:
    r"""$\tfrac\gamma2 E\,\lVert\nabla_x D(x)\rVert^2$ on real pictures ``[B, …]``: scalar, differentiable once more.

    A discriminator that is flat where the data lie cannot push the generator away from them. ``discriminator`` maps pictures to one
    logit each. Done "lazily", on every k-th step with k times the weight, it costs little. Mescheder et al. 2018, Karras et al. 2020.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        total = tf.reduce_sum(discriminator(images))
    slope = tf.cast(tape.gradient(total, images), tf.float32)
    return 0.5 * gamma * tf.reduce_sum(tf.square(slope)) / tf.cast(tf.shape(images)[0], tf.float32)
