r"""# Character RNN: five-character Tang poems

The network of `char-rnn-shakespeare` on Chinese. A line of the old five-character form has two halves: five characters, a comma, five characters, a full stop. So whether a
generated line is well formed can be counted, and what the network remembers can be measured.

**Embedding.** A character of Chinese means something, and there are thousands. One-hot vectors of 3,501 entries make the first layer's matrix 3,501 × 512; a learned
*embedding* gives each character a vector $e_x$ of 128 numbers first and needs $3501 \cdot 128 + 128 \cdot 512$ instead. With two LSTM layers of 128 the network has 1,162,925
weights, one-hot 2,441,773. B1 says that the embedding "works better"; the variant `onehot` is the comparison. Characters used alike end up with similar vectors: `nearest_characters.csv`
lists the neighbors by cosine.

**The form as a test of memory.** All lines have 12 characters and a line break. Rows of text are cut to whole lines (multiples of 13), so every
window starts where a line starts; B1's 26 steps are two lines. `bits_by_position.png` shows the cost of each place: comma, stop and break cost nothing once the network counts, and
the second half is cheaper than the first by as much as it follows from it. In the twin both halves follow the same one of five patterns of word classes, and a model that looks back
one or two characters stays at 4.5 bits: only memory over six places does better.

The vocabulary is the 3,500 most frequent characters and `<unk>`, which is learned like any other (0.5 % of the text) and never written.

**Constrained writing.** Generation draws one character at a time, so it can be told what to draw from. In strict form the places of the marks allow nothing but
the mark and the others anything but marks; in an acrostic (藏头诗) the first character of each line is given. The network reads what was forced upon it and goes on from there.

On the real poems the default reaches 6.44 bits per character on the validation lines, where a table of character pairs stays at 7.52; of the lines that it writes freely 98.9 in 100 are
well formed, none of them copied, and a second half costs 0.40 bits per character less than a first one. `dlbooks run char-rnn-poems --profile book`: a quarter of an hour on two cores that
had other work, too.
"""

import re
from pathlib import Path
from typing import Annotated

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from dlbooks import UserError, figures
from dlbooks.catalog import Chapter, Metric, Use, Variant
from dlbooks.nn import language_model as lm
from dlbooks.nn.metrics import distinct_n
from dlbooks.nn.training import Adam, precision
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="char-rnn-poems",
    title="Character RNN: five-character Tang poems",
    family="language",
    sources=["B1 12.3", "B1 12.5.4"],
    datasets=["poems"],
    headline="valid_bits_per_char",
    metrics={
        "valid_bits_per_char": Metric(better="lower", floor=3.6),
        "test_bits_per_char": Metric(better="lower"),
        "order1_bits_per_char": Metric(better="lower"),
        "line_form_share": Metric(better="higher", floor=0.9),
        "second_half_gain_bits": Metric(better="higher", floor=0.3),
        "copied_line_share": Metric(better="lower"),
        "distinct_2": Metric(better="higher"),
    },
    variants={
        "book": Variant(
            {
                "units": 128,
                "embedding": 128,
                "dropout": 0.5,
                "learning_rate": 0.005,
                "schedule": "constant",
                "rows": 32,
                "window": 26,
                "steps": 10_000,
                "log_every": 500,
            },
            source="B1 12.5.4",
            about="embedding, half of the activations dropped",
        ),
        "onehot": Variant({"embedding": 0}, about="the same training without an embedding"),
    },
    picture="bits_by_position.png",
    example='dlbooks predict char-rnn-poems "春风" --set lines=4 --set seed=3',
    data_parameters=["max_vocabulary"],
    use=Use(takes="text", about="the first characters of a poem's first line, or nothing; the poem is written to its end", example="明月"),
)


class Params(ChapterParams):
    units: int = Field(96, ge=4, le=2048)
    """width of each of the two LSTM layers"""
    embedding: int = Field(32, ge=0, le=1024)
    """dimensions of the learned character vectors; 0 for one-hot input"""
    dropout: float = Field(0.2, ge=0, lt=1)
    """share of each layer's outputs dropped in training"""
    learning_rate: float = Field(0.01, gt=0, le=1)
    """Adam's step size, the first one if it falls"""
    schedule: str = Field("constant", pattern="^(constant|cosine)$")
    """constant, or falling to zero along a half cosine"""
    rows: int = Field(32, ge=1, le=4096)
    """streams read side by side: the batch"""
    window: int = Field(26, ge=13, le=1300, multiple_of=13)
    """characters through which the gradient runs back; 13 are a line"""
    steps: int = Field(240, ge=1, le=1_000_000)
    """windows trained on"""
    log_every: int = Field(60, ge=1, le=100_000)
    """steps between two looks at the validation text; the best weights are kept"""
    max_vocabulary: int = Field(3500, ge=2, le=100_000)
    """most frequent characters that get an id; the rest is <unk>"""
    sample_lines: int = Field(200, ge=10, le=10_000)
    """lines written to be counted, in poems of ten"""


TEMPERATURE = 0.8
LINE = 13  # five, comma, five, stop, break
FORM = re.compile("[^，。\n]{5}，[^，。\n]{5}。")
LOOKED_UP = "风月山水春秋日人"


# ## The network and its training
def build(params: Params, vocabulary: int = 3501) -> keras.Model:
    return lm.RecurrentLM(vocabulary, params.units, 2, params.embedding, params.dropout)


def train(run):
    p = run.params
    vocabulary, _, ids = lm.corpus(run.records("poems"), p.max_vocabulary)
    rate = keras.optimizers.schedules.CosineDecay(p.learning_rate, p.steps) if p.schedule == "cosine" else p.learning_rate
    with precision(run.profile):
        model = build(p, len(vocabulary))
    lm.train_on_streams(
        run,
        model,
        Adam(rate, global_clipnorm=5.0),
        ids["train"],
        ids["validation"],
        rows=p.rows,
        window=p.window,
        steps=p.steps,
        log_every=p.log_every,
        multiple=LINE,
        pieces=4 if run.profile == "book" else 1,
    )
    run.save(model)


# ## Evaluation
# Lines to be counted are written freely, at the temperature that `predict` takes, too: nothing but the network puts the marks in their places.
def evaluate(run) -> dict:
    p = run.params
    vocabulary, texts, ids = lm.corpus(run.records("poems"), p.max_vocabulary)
    model = run.load(build(p, len(vocabulary)))
    bits = lm.token_bits(model)
    held_out = np.concatenate([ids["validation"], ids["test"]])
    costs = bits(held_out)
    by_position = position_means(costs)
    first, second = by_position[0:5].mean(), by_position[6:11].mean()
    baseline = lm.ngram_bits(ids["train"], held_out, 2, len(vocabulary))

    sample = lm.sampler(model, vocabulary, lm.primer(texts["train"], "\n"))
    poems = sample(10 * LINE, p.seed, [TEMPERATURE] * -(-p.sample_lines // 10))
    lines = [line for poem in poems for line in poem.splitlines()]
    copied = set(texts["train"].splitlines())
    lm.write_samples(run, "poems", lm.side_by_side(sample, 4 * LINE, p.seed, [(0.7, 0), (0.9, 0), (1.0, 5)]))
    run.table("nearest_characters.csv", nearest(model, vocabulary))

    run.figure("loss.png", lm.loss_figure(run.series, baseline), "Bits per character during training, below what tables of the last characters reach")
    run.figure(
        "bits_by_position.png",
        position_figure(by_position),
        "Mean bits at each of the 13 places of a line: marks cost nothing, the second half line costs less than the first that it answers",
    )
    return {
        "valid_bits_per_char": bits(ids["validation"]).mean(),
        "test_bits_per_char": bits(ids["test"]).mean(),
        "order1_bits_per_char": baseline[1],
        "line_form_share": np.mean([bool(FORM.fullmatch(line)) for line in lines]),
        "second_half_gain_bits": first - second,
        "copied_line_share": np.mean([line in copied for line in lines]),
        "distinct_2": distinct_n(lines, 2),
    }


def position_means(costs: np.ndarray) -> np.ndarray:
    """Mean cost of each of a line's 13 places, from costs ``[rows, n]`` of targets in streams of a text that begins with a line."""
    place = (np.arange(costs.size) + 1) % LINE  # rows follow each other in the text; the first target is the second character
    return np.bincount(place, costs.ravel(), LINE) / np.maximum(np.bincount(place, minlength=LINE), 1)


def nearest(model, vocabulary, count: int = 5) -> list[dict]:
    """Neighbors by cosine among the input vectors of characters; without an embedding those are the first layer's rows."""
    vectors = np.asarray(model.embedding if model.embedding is not None else model.stack[0].kernel, np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    rows = []
    for character in (c for c in LOOKED_UP if c in vocabulary.ids):
        cosines = (vectors * vectors[vocabulary.ids[character]]).sum(1)
        order = [i for i in np.argsort(-cosines, kind="stable") if i not in (vocabulary.ids[character], vocabulary.unk_id)][:count]
        rows += [{"character": character, "rank": n, "neighbor": vocabulary.tokens[i], "cosine": cosines[i]} for n, i in enumerate(order, 1)]
    return rows


def position_figure(means: np.ndarray):
    figure, axes = figures.new(6.8, 3.6)
    marks = {5: "comma", 11: "stop", 12: "break"}
    colors = [figures.COLORS[6] if i in marks else figures.COLORS[0] if i < 5 else figures.COLORS[1] for i in range(LINE)]
    axes.bar(range(LINE), means, color=colors)
    for i, value in enumerate(means):
        axes.text(i, value + 0.02 * means.max(), f"{value:.1f}" if value >= 0.05 else "0", ha="center", fontsize=8)
    axes.set(xticks=range(LINE), ylabel="bits", title="What each place of a line costs")
    axes.set_xticklabels([marks.get(i, str(i + 1 if i < 5 else i - 5)) for i in range(LINE)])
    axes.set_xlabel("first half line (blue), second half line (orange), marks (gray)")
    axes.grid(axis="x", visible=False)
    return figure


# ## Export
# Beside `generate`, which all character models have, the function `poem` writes whole lines under constraints. Place and line follow from the number of
# characters written; a logit of −10⁹ rules a character out.
def export(run):
    vocabulary, texts, _ = lm.corpus(run.records("poems"), run.params.max_vocabulary)
    model, before = run.load(build(run.params, len(vocabulary))), lm.primer(texts["train"], "\n")
    lm.text_export(run, model, vocabulary, before, lambda lookup: {"poem": poem_function(model, vocabulary, lookup, before)})


def poem_function(model, vocabulary, lookup, before):
    marks = {5: "，", 11: "。", 12: "\n"}
    required = tf.constant([vocabulary.ids[marks[i]] if i in marks else -1 for i in range(LINE)])
    is_mark = tf.reduce_max(tf.one_hot([vocabulary.ids[m] for m in marks.values()], len(vocabulary)), 0) > 0

    def poem(start, lines, acrostic, strict, temperature, top_k, top_p, seed):
        written = tf.strings.length(start, "UTF8_CHAR")
        firsts = lookup.encode(tf.strings.unicode_split(acrostic, "UTF-8"))

        def constrain(step, logits):
            line, place = (written + step) // LINE, (written + step) % LINE
            forced = tf.where(strict, required[place], -1)
            if_first = (place == 0) & (line < tf.size(firsts))
            forced = tf.where(if_first, tf.concat([firsts, [-1]], 0)[tf.minimum(line, tf.size(firsts))], forced)
            allowed = tf.where(forced >= 0, tf.one_hot(forced, len(vocabulary)) > 0, ~is_mark | ~strict)
            return tf.where(allowed, logits, -1e9)

        length = lines * LINE - 1 - written
        drawn = lm.generate(model, lm.encoded(lookup, before, start), length, seed, temperature, top_k, top_p, vocabulary.unk_id, constrain)
        return {"text": tf.strings.join([start, tf.strings.reduce_join(lookup.decode(drawn[0]))])}

    spec = {"start": tf.string, "lines": tf.int32, "acrostic": tf.string, "strict": tf.bool}
    return poem, [*(tf.TensorSpec((), kind, name=name) for name, kind in spec.items()), *lm.SETTINGS]


# ## Use
# `lines` counts the line that the start begins. Without `strict` the network alone keeps the form.
def answer(
    run,
    inputs: list[str],
    *,
    lines: Annotated[int, Field(ge=1, le=100)] = 4,
    acrostic: Annotated[str, Field(max_length=100)] = "",
    strict: bool = True,
    temperature: lm.Temperature = TEMPERATURE,
    top_k: lm.TopK = 0,
    top_p: lm.TopP = 1.0,
    seed: lm.Seed = 0,
    unknown: lm.Unknown = "refuse",
) -> list[dict]:
    vocabulary = lm.known(run)
    if len(acrostic) > lines:
        raise UserError(f"acrostic = {acrostic!r} has {len(acrostic)} characters for {lines} lines")
    for start in inputs:
        lm.check_request(start, vocabulary, unknown, lines, 100, temperature, top_k, top_p, "lines")
        if len(start) > LINE - 2 or "\n" in start:
            raise UserError(f"{start!r}: a start is the beginning of one line, at most {LINE - 2} characters")
    lm.check_request(acrostic, vocabulary, unknown, lines, 100, temperature, top_k, top_p, "lines")
    poem = run.model.poem
    return [{"text": poem(start, lines, acrostic, strict, temperature, top_k, top_p, seed)["text"].numpy().decode()} for start in inputs]


def predict(
    run,
    inputs: list[str],
    out: Path | None = None,
    *,
    lines: int = 4,
    acrostic: str = "",
    strict: bool = True,
    temperature: float = TEMPERATURE,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: lm.Seed = 0,
    unknown: str = "refuse",
):
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed, "unknown": unknown}
    poems = [found["text"] for found in answer(run, inputs or [""], lines=lines, acrostic=acrostic, strict=strict, **settings)]
    print("\n\n".join(poems))
    if out:
        out.write_text("\n\n".join(poems) + "\n", encoding="utf-8")
