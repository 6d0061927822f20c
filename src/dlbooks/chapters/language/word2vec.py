r"""# Word vectors: skip-gram, negative sampling, analogies

You shall know a word by the company it keeps. Give every word of the vocabulary a row of numbers, let the rows guess each word's neighbors in running text,
and words that keep the same company end up with the same row: *morning* beside *night*, *three* beside *four*. Nobody said what they mean.

**Guessing a neighbor.** There are two tables, $E$ (`vectors`) for words that are seen and $O$ (`outputs`) for words that are guessed. *Skip-gram* takes a word $w$, its hidden
layer is the row $h = E_w$, and the score of a neighbor $c$ is $h \cdot O_c$. *CBOW* turns it around: $h$ is the mean of the rows of the whole window, and the word in
the middle is guessed (B1 14.2.1 explains it with the sum, `combine: sum`). A softmax over $V = 13{,}806$ words would touch all of $O$ for every pair. Two ways around it
ask an easier question, *is this pair real or noise?*, with a few noise words $n$ drawn from a known distribution $P$:

- **Negative sampling** with $P(w) \propto \mathrm{count}(w)^{3/4}$ minimizes
  $$-\ln \sigma(h \cdot O_c) - \sum_{i=1}^{k} \ln \sigma(-h \cdot O_{n_i}).$$
- **Noise-contrastive estimation** (NCE) does the same with $h \cdot O_w + b_w - \ln (k P(w))$ in place of the score, and so the score itself tends to $\ln p(w \mid h)$: it
  stays an estimate of the softmax. TensorFlow's `nce_loss` draws from $P(i) = \ln\frac{i+2}{i+1} / \ln(V+1)$, which fits word counts only if ids are sorted by
  frequency: $P(0) = 0.0641$, $P(9) = 0.0088$ for 50,000 words. B1 prints the first formula and calls the second function.

**Two tricks that matter.** Frequent words say little about their neighbors: a word that makes up the share $f$ of the text is kept with probability
$(\sqrt{f/s} + 1)\, s/f$, so at $s = 10^{-3}$ one of 1 % is kept 42 times in 100 and one of 0.1 % always. And the window is drawn anew for every word, 1 … 5: near words count more.
Here 128 noise words are drawn per batch and shared by its 4,096 pairs, each weighted $k/128$: one matrix product instead of thirty thousand lookups.

**Arithmetic.** If *queen* − *king* is about *woman* − *man*, the word next to $v_{king} - v_{man} + v_{woman}$ (unit rows, the three words excluded) is *queen*.

**What the books do.** B1 14 and B5 3.3 train `nce_loss` with plain SGD at rate 1.0 on text8, window 1, 128 dimensions, batches of 128, 50,000 words, and print the mean loss of every 2,000 steps:
263.7 at the start, then 113.9, 53.0, 33.6, 23.2 and 17.8 at step 10,000. The first value is arithmetic: with rows of ±1, scores spread so widely that 64 noise words cost 285 on average.
After their 100,000 steps 38 % of text8 has been read once. `b1` is this recipe. The loss of one corpus, vocabulary or loss function says nothing about another's; so vectors are examined here
instead, on words of a kind and on analogies (the `analogies` data set), beside the rows as they were before training.

The default data are the Brown corpus, a million words; `data.english-words.book.edition: text8` in `params.yaml` takes the books' seventeen million.

On Brown, seven passes (two minutes on two cores) bring pairs of one kind above pairs of two in 95 comparisons of 100, where the untrained rows score 49, and answer 19 % of 1,896
analogies at the first and 37 % within five attempts, 63 % in the section *family*, none in *capital*: a million words are few. The neighbors of *three* are two, four, six, five; of *night*
saturday, evening, morning; of *president* vice, kennedy, eisenhower. `dlbooks run word2vec --profile book`.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from dlbooks import UserError
from dlbooks.catalog import Chapter, Metric, Use, Variant
from dlbooks.chapters.language._word_exam import Exam, kinds_figure, map_figure, pairs_figure
from dlbooks.export import saved_model
from dlbooks.inputs import checked_text
from dlbooks.nn.skipgram import (
    NONE,
    WordVectors,
    context_windows,
    draw,
    keep_probability,
    log_uniform,
    logistic_loss,
    nearest,
    noise_distribution,
    skip_pairs,
    unit,
)
from dlbooks.nn.text import Vocabulary
from dlbooks.nn.training import Adam
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="word2vec",
    title="Word vectors: skip-gram, negative sampling, analogies",
    family="language",
    sources=["B1 14.2", "B1 14.3", "B5 3.3.1", "B5 3.3.2"],
    datasets=["english-words", "analogies"],
    headline="pair_auc",
    metrics={
        "pair_auc": Metric(better="higher", floor=0.9),
        "pair_auc_untrained": Metric(better="higher"),
        "neighbor_precision": Metric(better="higher", floor=0.85),
        "analogy_accuracy_at_1": Metric(better="higher", floor=0.85),
        "analogy_accuracy_at_5": Metric(better="higher"),
        "average_loss": Metric(better="lower"),
    },
    variants={
        "cbow": Variant({"model": "cbow"}, about="guess the word in the middle of the window instead of its neighbors"),
        "nce": Variant({"loss": "nce", "shared": 64}, about="noise-contrastive estimation in place of negative sampling"),
        "b1": Variant(
            {
                "model": "skipgram",
                "loss": "nce",
                "dimension": 128,
                "window": 1,
                "min_count": 1,
                "subsample": 0.0,
                "shared": 64,
                "optimizer": "sgd",
                "learning_rate": 1.0,
                "decay": False,
                "batch_size": 128,
                "passes": 6.0,
            },
            about="the books' recipe: NCE, SGD 1.0, window 1",
        ),
    },
    curves={"Loss": ["loss"], "Words of a kind": ["pair_auc"]},
    picture="map.png",
    example='dlbooks predict word2vec night "king - man + woman"',
    data_parameters=["vocabulary", "min_count"],
    use=Use(takes="text", about="an English word, or a sum of words", example="king - man + woman", batched=True),
)


class Params(ChapterParams):
    model: Literal["skipgram", "cbow"] = "skipgram"
    """guess the neighbors from the word, or the word from its neighbors"""
    loss: Literal["ns", "nce"] = "ns"
    """negative sampling or noise-contrastive estimation"""
    dimension: int = Field(100, ge=2, le=1024)
    """numbers per word"""
    window: int = Field(5, ge=1, le=20)
    """words to either side that are neighbors; drawn from 1 up to this for every word"""
    vocabulary: int = Field(50_000, ge=10, le=1_000_000)
    """most words to know, the unknown one included"""
    min_count: int = Field(5, ge=1, le=1000)
    """words seen less often are unknown"""
    subsample: float = Field(1e-3, ge=0, le=1)
    """share of the text above which a word is thinned out; 0 keeps all"""
    noise: int = Field(8, ge=1, le=1000)
    """noise words that a pair is weighed against in negative sampling"""
    shared: int = Field(128, ge=1, le=10_000)
    """noise words drawn per batch, shared by its pairs"""
    combine: Literal["mean", "sum"] = "mean"
    """how CBOW joins the rows of a window"""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Adam, or plain gradient descent as in the books"""
    learning_rate: float = Field(0.01, gt=0, le=10)
    """step size at the start"""
    decay: bool = True
    """let the step size fall to zero in a straight line"""
    batch_size: int = Field(4096, ge=1, le=1_000_000)
    """pairs per step"""
    passes: float = Field(7.0, gt=0, le=1000)
    """times that the text is read; 0.5 reads half of it"""
    stretch: int = Field(200_000, ge=1000, le=10_000_000)
    """words of text whose pairs are shuffled together"""


# ## The two tables
# Negative sampling starts from small rows and outputs of zero; NCE from TensorFlow's tutorial, rows of ±1 and outputs of $1/\sqrt d$.
def build(params: Params, words: int | None = None) -> keras.Model:
    return WordVectors(
        words or params.vocabulary,
        params.dimension,
        start="nce" if params.loss == "nce" else "word2vec",
        biases=params.loss == "nce",
        combine=params.combine,
        seed=params.seed,
    )


# ## The text as numbers
# Words by falling frequency, ties by the alphabet (the books' order of ties changes from run to run), the unknown word in front.
class Corpus:
    def __init__(self, run):
        p, texts = run.params, run.records("english-words").arrays("train")
        order = np.argsort(texts["index"])
        documents = [texts["text"][i].decode().split() for i in order]
        counts = Counter(word for words in documents for word in words)
        self.vocabulary = Vocabulary.from_counts(counts, p.vocabulary, p.min_count, specials=("UNK",), unk="UNK")
        self.texts = [self.vocabulary.encode(words) for words in documents]
        self.size = sum(map(len, self.texts))
        if self.size < 10 * p.window:
            raise UserError(f"word2vec: the text has {self.size} words, a window of {p.window} needs {10 * p.window}")
        self.counts = np.bincount(np.concatenate(self.texts), minlength=len(self.vocabulary))

    def stretch(self, run, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Stretch ``number`` of an endless reading: the texts in a new order in every pass, cut into equal pieces → words ``[m, n]``, targets ``[m]``."""
        p, per_pass = run.params, self.stretches(run.params)
        order = run.random("texts", number // per_pass).permutation(len(self.texts))
        first, last = (self.size * (number % per_pass + i) // per_pass for i in (0, 1))
        ids, documents, start = [], [], 0
        for document in order:
            piece = self.texts[document][max(first - start, 0) : max(last - start, 0)]
            start += len(self.texts[document])
            ids.append(piece)
            documents.append(np.full(len(piece), document))
        ids, documents = np.concatenate(ids), np.concatenate(documents)
        random = run.random("stretch", number)
        share = np.maximum(self.counts, 1) / self.size
        kept = random.random(len(ids)) < keep_probability(share, p.subsample)[ids]
        ids, documents = ids[kept], documents[kept]
        reach = random.integers(1, p.window + 1, len(ids))
        if p.model == "cbow":
            words, targets = context_windows(ids, p.window, reach, documents), ids
            some = (words != NONE).any(1)
            words, targets = words[some], targets[some]
        else:
            words, targets = skip_pairs(ids, p.window, reach, documents)
            words = words[:, None]
        shuffled = random.permutation(len(targets))
        return words[shuffled], targets[shuffled]

    def stretches(self, p: Params) -> int:
        """Stretches in a pass."""
        return -(-self.size // p.stretch)


# ## Training
# One compiled call per stretch of text. The step size falls with the share of the text that has been read, as in the original program.
def train(run):
    p, corpus = run.params, Corpus(run)
    exam = Exam(run, corpus.vocabulary)
    model = build(p, len(corpus.vocabulary))
    optimizer = Adam(p.learning_rate) if p.optimizer == "adam" else keras.optimizers.SGD(p.learning_rate)
    optimizer.build(model.trainable_variables)
    steps = compiled_steps(model, optimizer, p, corpus.counts)
    total = max(1, round(p.passes * corpus.stretches(p)))
    done = 0
    for number in run.epochs(total, "stretch", model=model, optimizer=optimizer):
        words, targets = corpus.stretch(run, number)
        rates = [p.learning_rate * (1 - (number + i) / total if p.decay else 1) for i in (0, 1)]
        loss = steps(words, targets, int(run.random("noise", number).integers(2**31)), rates)
        done = len(targets) // p.batch_size * (number + 1)
        run.log(number + 1, loss=loss, pair_auc=exam.pair_auc(np.asarray(model.vectors)))
    run.say(f"{len(corpus.vocabulary)} words, about {done} steps of {p.batch_size} pairs")
    run.save(model)
    (run.out / "vocabulary.json").write_text(corpus.vocabulary.to_json(), encoding="utf-8")


def compiled_steps(model, optimizer, p: Params, counts: np.ndarray):
    """``steps(words [m, n], targets [m], seed, (first rate, last rate))`` → mean loss; a rest smaller than a batch is left out."""
    noise_share = noise_distribution(counts) if p.loss == "ns" else log_uniform(len(counts))
    cumulative = tf.constant(np.cumsum(noise_share), tf.float32)
    expected = tf.constant(np.log(p.shared * np.maximum(noise_share, 1e-12)), tf.float32)

    def loss(words, targets, noise):
        true, false = model((words, targets, noise))
        if p.loss == "ns":
            return tf.reduce_mean(logistic_loss(true, false, p.noise / p.shared))
        return tf.reduce_mean(logistic_loss(true - tf.gather(expected, targets), false - tf.gather(expected, noise)))

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None, None), tf.int32),
            tf.TensorSpec((None, None), tf.int32),
            tf.TensorSpec((), tf.int32),
            tf.TensorSpec(2),
        ]
    )
    def run(words, targets, seed, rates):
        total, count = 0.0, tf.shape(targets)[0]
        for number in tf.range(count):
            share = tf.cast(number, tf.float32) / tf.cast(count, tf.float32)
            optimizer.learning_rate.assign(rates[0] + (rates[1] - rates[0]) * share)
            noise = draw(cumulative, p.shared, tf.stack([seed, number]))
            with tf.GradientTape() as tape:
                value = loss(words[number], targets[number], noise)
            gradients = tape.gradient(value, model.trainable_variables)
            if p.optimizer == "adam":  # moves every row anyway; SGD only those that were looked up
                gradients = [tf.convert_to_tensor(g) for g in gradients]
            optimizer.apply(gradients, model.trainable_variables)
            total += value
        return total / tf.cast(count, tf.float32)

    def steps(words, targets, seed: int, rates) -> float:
        number = len(targets) // p.batch_size
        if number == 0:
            raise UserError(f"word2vec: a stretch of text gives {len(targets)} pairs, less than one batch of {p.batch_size}: enlarge `stretch`")
        words, targets = (a[: number * p.batch_size].reshape(number, p.batch_size, *a.shape[1:]) for a in (words, targets))
        return float(run(words, targets, seed, tf.constant(rates, tf.float32)))

    return steps


# ## Examination
# **Words of a kind**: of all pairs of words from the groups, is a pair of one group closer than a pair of two? The share of such comparisons that come out right is
# the area under the ROC curve, 0.5 for vectors that know nothing. `neighbor_precision` is stricter: how many of the five nearest words *of the whole vocabulary*
# (fewer if the group is smaller) are of the word's group. **Analogies** are answered from the whole vocabulary, too; questions with an unknown word are left out and counted.
PROBES = "three president night woman house war money good he think red church doctor car king france".split()


def evaluate(run) -> dict:
    p, vocabulary = run.params, words_of(run.out)
    exam, model = Exam(run, vocabulary), run.load(build(p, len(vocabulary)))
    vectors = np.asarray(model.vectors)
    table, untrained = unit(vectors), np.asarray(build(p, len(vocabulary)).vectors)
    sections = exam.analogies(table)
    asked = max(1, sum(row["asked"] for row in sections))
    run.table("analogies.csv", sections)
    probes = [w for w in dict.fromkeys([*PROBES, *vocabulary.tokens[1:17]]) if w in vocabulary.ids][:16]
    run.table("neighbors.csv", neighbors(table, vocabulary, probes, 8))
    run.figure(
        "map.png",
        map_figure(exam, table),
        "A map of words by t-SNE: words of a kind, colored alike, gather in one place, though nobody said what they mean",
    )
    run.figure(
        "kinds.png",
        kinds_figure(exam, vectors, untrained),
        "Cosines of pairs of one group and of two groups, before and after training: only training pulls them apart",
    )
    run.figure(
        "pairs.png",
        pairs_figure(exam, table),
        "Pairs of the first section of analogies in their first two principal components: where an analogy holds, the lines between the halves run alike",
    )
    return {
        "pair_auc": exam.pair_auc(vectors),
        "pair_auc_untrained": exam.pair_auc(untrained),
        "neighbor_precision": exam.neighbor_precision(table),
        **{f"analogy_accuracy_{k}": sum(row[k] * row["asked"] for row in sections) / asked for k in ("at_1", "at_5")},
        "average_loss": run.series["loss"][-1][1],
    }


def words_of(folder: Path) -> Vocabulary:
    return Vocabulary.from_json((folder / "vocabulary.json").read_text(encoding="utf-8"))


def neighbors(table: np.ndarray, vocabulary: Vocabulary, words: list[str], k: int) -> list[dict]:
    ids = vocabulary.encode(words)
    found, cosines = nearest(table, table[ids], k, ids[:, None])
    return [
        {"word": word, **{f"{n}": vocabulary.tokens[i] for n, i in enumerate(row, 1)}, "cosine_1": float(c[0])}
        for word, row, c in zip(words, found, cosines, strict=True)
    ]


# ## Export
# Unit rows in `embeddings.npy` for other chapters, `vectors.tsv` and `metadata.tsv` for TensorBoard's or the web's embedding projector (at most 10,000 points, as in B5), and a
# SavedModel that takes words.
def export(run):
    vocabulary, folder = words_of(run.out), run.out / "export"
    table = unit(np.asarray(run.load(build(run.params, len(vocabulary))).vectors))
    folder.mkdir()
    np.save(folder / "embeddings.npy", table)
    (folder / "vocabulary.json").write_text(vocabulary.to_json(), encoding="utf-8")
    rows = ("\t".join(f"{x:.4f}" for x in row) for row in table[:10_000].tolist())
    (folder / "vectors.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "metadata.tsv").write_text("\n".join(vocabulary.tokens[:10_000]) + "\n", encoding="utf-8")
    rows, lookup = tf.Variable(table), vocabulary.lookup()

    def vectors(words):
        return {"vectors": tf.gather(rows, lookup.encode(words))}

    def near(words, k):
        ids = lookup.encode(words)
        size = tf.shape(rows)[0]
        hidden = tf.one_hot(tf.zeros_like(ids), size) + tf.one_hot(ids, size)  # neither the unknown word nor the word itself
        found = tf.math.top_k(tf.matmul(tf.gather(rows, ids), rows, transpose_b=True) - 4.0 * hidden, k)
        return {"words": lookup.decode(found.indices), "cosines": found.values}

    words = tf.TensorSpec((None,), tf.string, name="words")
    functions = {"vectors": (vectors, [words]), "nearest": (near, [words, tf.TensorSpec((), tf.int32, name="k")])}
    saved_model(folder / "saved_model", functions, [rows, lookup], example=np.array(vocabulary.tokens[1:3]))


# ## Use
# A word, or a sum of words: `king - man + woman`.
def answer(run, inputs: list[str], *, k: Annotated[int, Field(ge=1, le=1000)] = 8) -> list[dict]:
    folder = run.exported("embeddings.npy").parent
    vocabulary, table = words_of(folder), np.load(folder / "embeddings.npy")
    if not 1 <= k <= len(vocabulary) // 2:
        raise UserError(f"k = {k}: must be in 1 … {len(vocabulary) // 2}")
    answers = []
    for text in inputs:
        terms = parsed(text, vocabulary)
        ids = np.array([i for _, i in terms])
        query = sum(sign * table[i] for sign, i in terms)
        found, cosines = nearest(table, query[None], k, ids[None])
        answers.append({"words": [{"word": vocabulary.tokens[i], "cosine": float(c)} for i, c in zip(found[0], cosines[0], strict=True)]})
    return answers


def predict(run, inputs: list[str], out: Path | None = None, *, k: int = 8):
    if not inputs:
        raise UserError('give a word or a sum of words, for example: dlbooks predict word2vec night "king - man + woman"')
    lines = ["query,rank,word,cosine"]
    for text, found in zip(inputs, answer(run, inputs, k=k), strict=True):
        print(f"{text}: " + ", ".join(f"{w['word']} {w['cosine']:.2f}" for w in found["words"]))
        lines += [f"{text},{rank},{w['word']},{w['cosine']:.4f}" for rank, w in enumerate(found["words"], 1)]
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "neighbors.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


LONGEST = 500  # characters of a sum


def parsed(text: str, vocabulary: Vocabulary) -> list[tuple[int, int]]:
    """``"king - man + woman"`` → [(1, id of king), (−1, id of man), (1, id of woman)]."""
    checked_text(text, LONGEST)
    if not re.fullmatch(r"\s*-?\s*[a-z]+(\s*[+-]\s*[a-z]+)*\s*", text.lower()):
        raise UserError(f"{text!r}: write words of a to z with + or − between them, such as king - man + woman")
    terms = []
    for sign, word in re.findall(r"([+-]?)\s*([a-z]+)", text.lower()):
        if word not in vocabulary.ids:
            close = difflib.get_close_matches(word, vocabulary.tokens[1:], n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else f"the vocabulary has {len(vocabulary) - 1} words"
            raise UserError(f"{word!r} is not in the vocabulary: {hint}")
        terms.append((-1 if sign == "-" else 1, vocabulary.ids[word]))
    return terms
