"""The examination of word vectors in `word2vec`: words of a kind, analogies, and the pictures of both."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from dlbooks import figures
from dlbooks.nn.skipgram import analogy, nearest, unit
from dlbooks.nn.text import Vocabulary


class Exam:
    """The questions of the `analogies` data set as ids of a vocabulary, and the marks that a table of vectors gets."""

    def __init__(self, run, vocabulary: Vocabulary):
        self.vocabulary, records = vocabulary, run.records("analogies")
        known = vocabulary.ids
        self.groups = [[known[w] for w in line.decode().split() if w in known] for line in records.arrays("groups")["words"]]
        self.words = np.array(sorted({i for group in self.groups for i in group}), np.int64)
        member = np.array([[i in group for group in map(set, self.groups)] for i in self.words], np.float32)
        upper = np.triu_indices(len(self.words), 1)
        self.pairs, self.alike = upper, (member @ member.T > 0)[upper]
        questions = records.arrays("questions")
        self.sections = [name.decode() for name in questions["section"]]
        self.questions = [[known.get(w) for w in line.decode().split()] for line in questions["words"]]

    def cosines(self, vectors: np.ndarray) -> np.ndarray:
        """The cosine of every pair of words from the groups."""
        rows = unit(vectors[self.words])
        return (rows @ rows.T)[self.pairs]

    def pair_auc(self, vectors: np.ndarray) -> float:
        return float(roc_auc_score(self.alike, self.cosines(vectors)))

    def neighbor_precision(self, table: np.ndarray) -> float:
        found = dict(zip(self.words, nearest(table, table[self.words], 5, self.words[:, None])[0], strict=True))
        hits = [(len(set(found[i][: len(group) - 1]) & set(group)), min(5, len(group) - 1)) for group in self.groups for i in group if len(group) > 1]
        return sum(hit for hit, _ in hits) / sum(best for _, best in hits)

    def analogies(self, table: np.ndarray) -> list[dict]:
        """One row per section: questions asked and skipped, share answered right at the first and within five answers."""
        rows = []
        for section in dict.fromkeys(self.sections):
            all_of = [q for q, name in zip(self.questions, self.sections, strict=True) if name == section]
            asked = np.array([q for q in all_of if None not in q], np.int64).reshape(-1, 4)
            right = analogy(table, asked[:, :3], 5) == asked[:, 3:] if len(asked) else np.zeros((0, 5), bool)
            first, five = (float(right[:, :n].any(1).mean()) if len(asked) else 0.0 for n in (1, 5))
            rows.append({"section": section, "asked": len(asked), "skipped": len(all_of) - len(asked), "at_1": first, "at_5": five})
        return rows


def map_figure(exam: Exam, table: np.ndarray):
    """500 words on a plane: those of the groups and the most frequent ones.

    t-SNE lays them out so that close rows stay close. It starts from the principal components, so the seed has no say; distances between far
    clusters mean nothing.
    """
    from sklearn.manifold import TSNE

    colors = {i: figures.COLORS[n % len(figures.COLORS)] for n, group in enumerate(exam.groups) for i in group}
    shown = np.array(list(dict.fromkeys([*colors, *range(1, len(table))]))[:500])
    effort = 500 if len(shown) < 300 else 1000
    places = TSNE(perplexity=min(30, (len(shown) - 1) / 3), init="pca", random_state=0, max_iter=effort).fit_transform(table[shown])
    figure, axes = figures.new(10, 10)
    axes.set_axis_off()
    for i, (x, y) in zip(shown, places, strict=True):
        bold = {"color": colors[i], "fontweight": "bold", "zorder": 3} if i in colors else {"color": "#66727e"}
        axes.text(x, y, exam.vocabulary.tokens[i], fontsize=7.5, ha="center", va="center", **bold)
    low, high = places.min(0), places.max(0)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), title=f"{len(shown)} words: those of the groups in color, frequent ones in gray")
    return figure


def kinds_figure(exam: Exam, vectors: np.ndarray, untrained: np.ndarray):
    """Cosines within and across groups, before and after training."""
    figure, axes = figures.new(7.2, 3.2, 1, 2, sharex=True)
    for cell, rows, title in zip(axes, (untrained, vectors), ("before training", "after training"), strict=True):
        cosines = exam.cosines(rows)
        for kind, label, color in ((False, "two groups", figures.COLORS[6]), (True, "one group", figures.COLORS[1])):
            cell.hist(cosines[exam.alike == kind], np.linspace(-0.6, 1, 41), density=True, alpha=0.65, color=color, label=label)
        cell.set(xlabel="cosine of a pair of words", yticks=[], title=f"{title}: AUC {exam.pair_auc(rows):.3f}")
    axes[1].legend(frameon=False)
    return figure


def pairs_figure(exam: Exam, table: np.ndarray):
    """The pairs of the first section in the plane of their two principal components."""
    section = exam.sections[0]
    lines = [tuple(q[:2]) for q, name in zip(exam.questions, exam.sections, strict=True) if name == section and None not in q]
    pairs = np.array(list(dict.fromkeys(lines)), np.int64).reshape(-1, 2)
    figure, axes = figures.new(7.2, 5.4)
    if len(pairs) > 1:
        rows = table[pairs.ravel()].astype(np.float64)
        rows -= rows.mean(0)
        axis = np.linalg.svd(rows, full_matrices=False)[2][:2]
        axis *= np.sign(axis[np.arange(2), np.abs(axis).argmax(1)])[:, None]
        for (a, b), ((x0, y0), (x1, y1)) in zip(pairs, (rows @ axis.T).reshape(-1, 2, 2), strict=True):
            axes.plot((x0, x1), (y0, y1), color=figures.PALE, linewidth=1.2, zorder=1)
            for i, x, y, color in ((a, x0, y0, figures.COLORS[0]), (b, x1, y1, figures.COLORS[1])):
                axes.plot(x, y, ".", color=color)
                axes.annotate(exam.vocabulary.tokens[i], (x, y), (3, 3), textcoords="offset points", fontsize=8, color=color)
    axes.set(xlabel="first principal component", ylabel="second", title=f"Pairs of words: {section}")
    return figure
