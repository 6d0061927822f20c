"""Measures of classifiers and of texts that the libraries lack. Numbers out."""

from __future__ import annotations

import numpy as np


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """``[n, K]`` → ``[n, K]``, z − log Σ exp z, in float64 and safe for any size of z."""
    shifted = np.asarray(logits, np.float64)
    shifted = shifted - shifted.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean of −log softmax(z)[y] over logits ``[n, K]`` and labels ``[n]``."""
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows whose largest entry is the label's; a tie goes to the lower class."""
    return float((np.argmax(logits, -1) == labels).mean())


def topk_error(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of rows whose label is not among the k largest entries; ties go to the lower class."""
    order = np.argsort(-np.asarray(logits), axis=-1, kind="stable")[:, :k]
    return float((order != np.asarray(labels)[:, None]).all(-1).mean())


def top_classes(names: list[str], probabilities: np.ndarray, logits: np.ndarray, top: int) -> list[list[dict]]:
    """The ``top`` likeliest classes of every row ``[n, K]``: dictionaries of ``class``, ``class_id``, ``probability``, ``logit``; ties go to the lower class."""
    found = []
    for p, z in zip(probabilities, logits, strict=True):
        order = np.argsort(-p, kind="stable")[:top]
        found.append([{"class": names[k], "class_id": int(k), "probability": float(p[k]), "logit": float(z[k])} for k in order])
    return found


def ece(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error Σ_b n_b/n · |accuracy_b − confidence_b| over equal bins of the largest probability.

    ``probabilities`` ``[n, K]``, ``labels`` ``[n]``. Guo et al., On Calibration of Modern Neural Networks, 2017.
    """
    confidence = np.asarray(probabilities, np.float64).max(-1)
    right = np.argmax(probabilities, -1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    hits, sure = np.bincount(place, right, bins), np.bincount(place, confidence, bins)
    return float(np.abs(hits - sure).sum() / len(confidence))


def distinct_n(texts: list, n: int) -> float:
    """Different n-grams over all n-grams of some sequences: 1 if none is repeated. Li et al., 2016."""
    grams = [tuple(text[i : i + n]) for text in texts for i in range(len(text) - n + 1)]
    return len(set(grams)) / max(len(grams), 1)
