"""Word vectors: which words are neighbors, which are noise, the loss that tells them apart, and what the vectors know afterwards.

The corpus is a stream of word ids; id 0 is the unknown word, and ids are sorted by falling frequency. NumPy for what is drawn and
measured, TensorFlow for what is trained. T. Mikolov et al., Distributed Representations of Words and Phrases and their
Compositionality, arXiv:1310.4546, 2013.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

NONE = -1  # the id of no word: a place beyond the edge of the text


# ── neighbors in the text ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def context_windows(ids: np.ndarray, window: int, reach: np.ndarray | None = None, documents: np.ndarray | None = None) -> np.ndarray:
    """The words around every word: ids ``[n]`` → int32 ``[n, 2·window]``, from left to right, ``NONE`` where there is none.

    ``reach`` ``[n]`` narrows the window of each word to its own 1 … ``window``; a window ends where ``documents`` ``[n]`` changes.
    """
    ids = np.asarray(ids)
    if ids.ndim != 1:
        raise ValueError("ids must be a vector")
    if window < 1:
        raise ValueError(f"window is {window}, must be ≥ 1")
    offsets = np.concatenate([np.arange(-window, 0), np.arange(1, window + 1)])
    places = np.arange(len(ids))[:, None] + offsets
    there = (places >= 0) & (places < len(ids))
    places = np.clip(places, 0, max(len(ids) - 1, 0))
    if reach is not None:
        there &= np.abs(offsets) <= np.asarray(reach)[:, None]
    if documents is not None:
        there &= documents[places] == documents[:, None]
    return np.where(there, ids[places], NONE).astype(np.int32)


def skip_pairs(ids: np.ndarray, window: int, reach: np.ndarray | None = None, documents: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (center, word at most ``window`` away), in the order of the text: int32 ``[m]`` twice."""
    contexts = context_windows(ids, window, reach, documents)
    there = contexts != NONE
    return np.repeat(np.asarray(ids, np.int32), there.sum(1)), contexts[there]


def keep_probability(share: np.ndarray, threshold: float) -> np.ndarray:
    """Chance (√(f/s) + 1)·s/f that a word of share f of the text is kept, s = ``threshold``; above 1 it always is; s = 0 keeps all.

    word2vec's own program has this form; the paper's is √(s/f).
    """
    share = np.asarray(share, np.float64)
    return np.ones_like(share) if threshold == 0 else (np.sqrt(share / threshold) + 1) * threshold / share


# ── noise ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def noise_distribution(counts: np.ndarray) -> np.ndarray:
    """P(w) ∝ count^¾, float64 ``[V]``; as √c·√√c, which has the same bits everywhere."""
    root = np.sqrt(np.asarray(counts, np.float64))
    weights = root * np.sqrt(root)
    return weights / weights.sum()


def log_uniform(size: int) -> np.ndarray:
    """P(id) = ln((id + 2)/(id + 1)) / ln(V + 1), float64 ``[V]``: Zipf's law for ids sorted by frequency, TensorFlow's default sampler."""
    ids = np.arange(size, dtype=np.float64)
    return np.log((ids + 2) / (ids + 1)) / np.log(size + 1.0)


def draw(cumulative, number: int, seed):
    """``number`` ids from a distribution given by its running sum ``[V]`` (TensorFlow, stateless: ``seed`` is a pair of integers)."""
    ids = tf.searchsorted(cumulative, tf.random.stateless_uniform([number], seed, dtype=cumulative.dtype), side="right")
    return tf.minimum(ids, tf.shape(cumulative)[0] - 1)


# ── the model ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class WordVectors(keras.Model):
    """Two tables: a row of ``vectors`` ``[V, d]`` per word that is seen, a row of ``outputs`` ``[V, d]`` per word that is guessed.

    ``model((words, targets, noise))``: words int32 ``[B, n]`` (``NONE`` for no word), targets int32 ``[B]``, noise int32 ``[K]``,
    shared by the batch → scores of the true words float32 ``[B]`` and of the noise ``[B, K]``. The hidden layer is the mean (or sum) of
    the words' rows: one row for skip-gram, the whole window's for CBOW. ``biases`` gives every guessed word one.
    """

    def __init__(self, size: int, dimension: int, start: str = "word2vec", biases: bool = False, combine: str = "mean", seed: int = 0):
        super().__init__(name="word_vectors")
        init = keras.initializers
        if start == "word2vec":  # small rows and no opinion
            rows, guesses = init.RandomUniform(-0.5 / dimension, 0.5 / dimension, seed=seed), init.Zeros()
        else:  # "nce": TensorFlow's tutorial
            rows, guesses = init.RandomUniform(-1.0, 1.0, seed=seed), init.TruncatedNormal(stddev=dimension**-0.5, seed=seed + 1)
        self.vectors = self.add_weight(shape=(size, dimension), initializer=rows, name="vectors")
        self.outputs_table = self.add_weight(shape=(size, dimension), initializer=guesses, name="outputs")
        self.biases = self.add_weight(shape=(size,), initializer="zeros", name="biases") if biases else None
        self.combine = combine
        self.built = True

    def call(self, inputs):
        words, targets, noise = inputs
        there = tf.cast(words >= 0, tf.float32)
        hidden = tf.reduce_sum(tf.gather(self.vectors.value, tf.maximum(words, 0)) * there[..., None], 1)
        if self.combine == "mean":
            hidden /= tf.maximum(tf.reduce_sum(there, 1, keepdims=True), 1.0)
        true = tf.reduce_sum(hidden * tf.gather(self.outputs_table.value, targets), 1)
        false = tf.matmul(hidden, tf.gather(self.outputs_table.value, noise), transpose_b=True)
        if self.biases is not None:
            true += tf.gather(self.biases.value, targets)
            false += tf.gather(self.biases.value, noise)
        return true, false


def logistic_loss(true, false, weight: float = 1.0):
    """−ln σ(true) − weight · Σ_k ln σ(−false_k): ``[B]``, ``[B, K]`` → ``[B]``.

    On plain scores this is negative sampling (``weight`` k/K counts K shared noise words as k); on scores minus the logarithm of how
    often a word is expected among the noise, ln(K·P(w)), it is noise-contrastive estimation.
    """
    return tf.nn.softplus(-true) + weight * tf.reduce_sum(tf.nn.softplus(false), 1)


# ── what vectors know ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows divided by their length; a row of zeros stays."""
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.maximum(np.sqrt(np.sum(np.square(vectors), -1, keepdims=True)), 1e-12)


def nearest(table: np.ndarray, queries: np.ndarray, k: int, exclude: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The k rows of ``table`` (unit rows ``[V, d]``) with the largest cosine to each query ``[n, d]``: ids and cosines ``[n, k]``.

    ``exclude`` ``[n, m]`` names ids that are no answer to a query; the unknown word, id 0, never is. Ties go to the lower id.
    """
    ids, cosines = [], []
    for start in range(0, len(queries), 256):
        scores = unit(queries[start : start + 256]) @ table.T
        scores[:, 0] = -np.inf
        if exclude is not None:
            np.put_along_axis(scores, np.asarray(exclude)[start : start + 256], -np.inf, 1)
        order = np.argsort(-scores, 1, kind="stable")[:, :k] if scores.shape[1] < 1024 else _largest(scores, k)
        ids.append(order)
        cosines.append(np.take_along_axis(scores, order, 1))
    return np.concatenate(ids), np.concatenate(cosines)


def _largest(scores: np.ndarray, k: int) -> np.ndarray:
    """Columns of the k largest scores of each row, largest first, without sorting the rest."""
    found = np.sort(np.argpartition(-scores, k - 1, 1)[:, :k], 1)
    return np.take_along_axis(found, np.argsort(-np.take_along_axis(scores, found, 1), 1, kind="stable"), 1)


def analogy(table: np.ndarray, questions: np.ndarray, k: int) -> np.ndarray:
    """Answers to "a is to b as c is to …": questions ``[n, 3]`` of ids → the k ids ``[n, k]`` next to v_b − v_a + v_c (unit rows).

    The three words of the question are no answers to it.
    """
    a, b, c = (table[questions[:, i]] for i in range(3))
    return nearest(table, b - a + c, k, exclude=questions)[0]
