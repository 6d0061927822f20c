"""Loss terms that several chapters share. Tensors in, tensors out."""

from __future__ import annotations

import tensorflow as tf


def gaussian_kl(mean, log_variance):
    r"""KL divergence of N(μ, diag σ²) from the standard normal, in nats and per coordinate: $\frac12 (e^{\log σ^2} + μ^2 - 1 - \log σ^2)$.

    Shapes alike, float32, sum over the last axis for the divergence of a code. 0 for (0, 0), ½ for μ = 1, 0.806853 for σ² = 4.
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", 2014, appendix B.
    """
    return 0.5 * (tf.exp(log_variance) + tf.square(mean) - 1.0 - log_variance)
