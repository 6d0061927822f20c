r"""How good are generated pictures? A frozen classifier looks at them, and its features are compared with those of real ones.

NumPy in, floats out. A judge's features are projected to the 64 directions in which real training pictures differ most and divided by one
number, so that the mean variance is 1 (``pca_axes``): 1,024 rectified units are too many for the covariance of 500 pictures. No single figure
is enough, for each can be cheated: the mean picture has perfect precision, a memorizer the best Fréchet distance, one class only a fair
share of both. So read fidelity (``judge_fd``, ``judge_precision``) beside variety (``judge_recall``, ``judge_coverage``, ``modes_hit``) and
``copy_share``.

Sources: M. Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", 2017 (Fréchet distance); T. Salimans et al., "Improved Techniques
for Training GANs", 2016 (score); T. Kynkäänniemi et al., "Improved Precision and Recall Metric", 2019; M. F. Naeem et al., "Reliable
Fidelity and Diversity Metrics", 2020 (coverage).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from dlbooks import UserError

AXES = 64  # directions of the judge's features that are compared
BATCH = 500


class Judge:
    """The exported classifier of a chapter's output ``folder`` (``run.needed("mnist-cnn")``), frozen.

    ``judge(images)``: uint8 ``[n, H, W, C]`` → features float32 ``[n, d]`` of its last hidden layer and probabilities float32 ``[n, K]``.
    ``judge.features(images)`` spares the second pass where only the features are asked for.
    """

    def __init__(self, folder: Path):
        import tensorflow as tf

        path = Path(folder) / "export" / "saved_model"
        if not path.exists():
            raise UserError(f"the judge {Path(folder).name} has not been trained here: run `dlbooks run {Path(folder).name}`")
        self.exported = tf.saved_model.load(str(path))  # its functions need it alive

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.features(images), self._batched(self.exported.serve, images, "probabilities")

    def features(self, images: np.ndarray) -> np.ndarray:
        return self._batched(self.exported.features, images, "features")

    @staticmethod
    def _batched(function, images: np.ndarray, answer: str) -> np.ndarray:
        import tensorflow as tf

        return np.concatenate([function(tf.constant(images[i : i + BATCH]))[answer].numpy() for i in range(0, len(images), BATCH)])


class Panel:
    """A judge with its reference: what stays the same while many sets of pictures are scored.

    ``reference``: real training pictures uint8 ``[m, H, W, C]``; they fix the axes and are what samples are compared with.
    """

    def __init__(self, judge: Judge, reference: np.ndarray):
        features = judge.features(reference)
        self.judge, self.axes = judge, pca_axes(features)
        self.reference = self.axes(features)

    def distance(self, images: np.ndarray) -> float:
        """Fréchet distance of ``images`` to the reference; of real test pictures it is the floor that no generator can be told from."""
        return frechet(self.reference, self.axes(self.judge.features(images)))

    def scores(self, images: np.ndarray) -> dict[str, float]:
        """``judge_fd``, ``judge_precision``, ``judge_recall``, ``judge_coverage``, ``judge_score`` and ``modes_hit`` of generated pictures."""
        features, probabilities = self.judge(images)
        fake = self.axes(features)
        n = min(len(fake), len(self.reference))
        precision, recall = precision_recall(self.reference[:n], fake[:n])
        return {
            "judge_fd": frechet(self.reference, fake),
            "judge_precision": precision,
            "judge_recall": recall,
            "judge_coverage": coverage(self.reference[:n], fake[:n]),
            "judge_score": judge_score(probabilities),
            "modes_hit": modes_hit(probabilities),
        }


def pca_axes(features: np.ndarray, count: int = AXES) -> Callable[[np.ndarray], np.ndarray]:
    """Fits the projection ``[n, d]`` → float64 ``[n, min(count, d, m − 1)]`` on features ``[m, d]`` of real pictures.

    Principal axes of their covariance, then one common scale: on ``features`` themselves the axes' variances have mean 1.
    """
    features = np.asarray(features, np.float64)
    mean = features.mean(0)
    values, vectors = np.linalg.eigh(np.cov(features - mean, rowvar=False))
    count = min(count, features.shape[1], len(features) - 1)
    chosen = vectors[:, ::-1][:, :count] / np.sqrt(values[::-1][:count].mean())
    return lambda other: (np.asarray(other, np.float64) - mean) @ chosen


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    r"""Squared Fréchet distance between the Gaussians that fit ``a`` ``[n, d]`` and ``b`` ``[m, d]``.

    $\|μ_a - μ_b\|^2 + \mathrm{tr}(Σ_a + Σ_b) - 2\,\mathrm{tr}\,(Σ_a^{1/2} Σ_b Σ_a^{1/2})^{1/2}$, in float64 by symmetric eigenvalues, which cannot
    turn complex where the covariances are nearly singular. Biased upward for few samples: compare sets of one size only.
    """
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    cov_a, cov_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ cov_b @ root), 0, None)).sum()
    return float(np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(cov_a) + np.trace(cov_b) - 2 * shared)


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``[n, d]``, ``[m, d]`` → ‖a_i − b_j‖² as float64 ``[n, m]``; exact for pixels, because they are whole numbers."""
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    return np.maximum((a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * (a @ b.T), 0.0)


def radii(points: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of every point to its ``k``-th nearest other point, ``[n]``."""
    apart = squared_distances(points, points)
    np.fill_diagonal(apart, 0.0)
    return np.partition(apart, min(k, len(points) - 1), axis=1)[:, min(k, len(points) - 1)]


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> tuple[float, float]:
    """Share of ``fake`` points inside the ball of a real one, and of ``real`` points inside the ball of a fake one.

    A point's ball reaches to its ``k``-th nearest neighbor in its own set; the sets should be of one size.
    """
    apart = squared_distances(real, fake)
    precision = (apart <= radii(real, k)[:, None]).any(0).mean()
    recall = (apart <= radii(fake, k)[None, :]).any(1).mean()
    return float(precision), float(recall)


def coverage(real: np.ndarray, fake: np.ndarray, k: int = 5) -> float:
    """Share of ``real`` points whose ball (to the ``k``-th nearest real neighbor) holds at least one ``fake`` point."""
    return float((squared_distances(real, fake).min(1) <= radii(real, k)).mean())


def judge_score(probabilities: np.ndarray) -> float:
    """exp of the mean KL divergence from p(class) to p(class | picture), for ``[n, K]``: between 1 and K ("inception score" of the judge)."""
    p = np.clip(np.asarray(probabilities, np.float64), 1e-12, 1.0)
    return float(np.exp((p * (np.log(p) - np.log(p.mean(0)))).sum(1).mean()))


def modes_hit(probabilities: np.ndarray, least: float = 0.02) -> int:
    """Number of classes that the judge finds in at least a share ``least`` of the pictures."""
    classes = np.argmax(probabilities, 1)
    return int((np.bincount(classes, minlength=np.shape(probabilities)[1]) >= least * len(classes)).sum())


def copy_share(samples: np.ndarray, training: np.ndarray, validation: np.ndarray) -> float:
    """Share of samples nearer (in pixels) to a training picture than to any of equally many validation pictures.

    Pictures ``[n, H, W, C]`` uint8. One half is honest, 1 is a memorizer; standard error √(1/4n).
    """
    m = min(len(training), len(validation))
    samples, training, validation = (np.asarray(x).reshape(len(x), -1) for x in (samples, training[:m], validation[:m]))
    nearest = [squared_distances(samples, other).min(1) for other in (training, validation)]
    return float((nearest[0] < nearest[1]).mean())
