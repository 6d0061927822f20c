r"""# Character RNN: English plays

Given the text so far, which character comes next? A network that answers well has found out, from nothing but characters, what words are, that a speaker's name
stands alone on its line and that *thou* takes *art*. Asked again and again, each time with its own answer appended, it writes.

**The recurrent network** reads one character a step and carries a state: $h_t = f(U x_t + W h_{t-1} + b)$, $y_t = \operatorname{softmax}(V h_t + c)$. Input and output are
sequences of the same length (N to N): "Hello!" is the input H, e, l, l, o with the targets e, l, l, o, !. The loss is the mean of $-\ln p(\text{target})$ over all
positions; divided by $\ln 2$ it counts **bits per character**. Knowing nothing costs $\log_2 66 = 6.04$ bits (4.19 nats), and $2^{\text{bits}}$, the perplexity, is the number
of equally likely characters between which the model hesitates.

**Why LSTM.** Through T steps the gradient is multiplied T times by $W^\top \operatorname{diag} f'$: it vanishes or explodes. The LSTM's cell is changed by addition,

$$c_t = f_t \odot c_{t-1} + i_t \odot g_t, \qquad h_t = o_t \odot \tanh c_t,$$

with gates $i, f, o = \sigma(\dots)$ and candidate $g = \tanh(\dots)$ computed from $x_t$ and $h_{t-1}$, so the factor along the cell is the forget gate $f_t$, which the network can hold near 1. A layer
has $4u(d + u + 1)$ weights; two layers of 128 on one-hot characters, V = 66: 99,840 + 131,584, and 8,514 of the output layer make 239,938.

**One-hot or embedding.** B1 feeds letters as one-hot vectors, since a letter has no meaning of its own, and Chinese characters through a learned embedding
(`char-rnn-poems`). The product of a one-hot vector with a matrix is a row of it: the first layer is a lookup either way. Here the default learns 64 dimensions.

**Sampling.** From $p_i \propto \exp(z_i/\tau)$: logits 2, 1, 0, −1 give .64, .24, .09, .03 at temperature τ = 1 and .87, .12, .02, .00 at ½. B1 draws from the five most probable
characters only. The best single character each time (τ = 0) runs into a loop.

**What was wrong in B1's program** and is right here: the last target of each window was the window's own first character (2 % of all targets); rows were shuffled at
each pass while their LSTM states stayed behind; a text without a start began with one of the five *rarest* characters; nothing was held out, so overfitting
could not be seen. The model had to be told its own sizes again for sampling; here the exported model holds sizes and vocabulary.

**The measure.** Tables of n-grams are the baseline: on the last tenth of the real text, smoothed (Witten–Bell), 4.83 bits with the frequencies alone, 2.56 with the last
three characters, 2.41 with four, and no better with five. B1's recipe, the variant `book`, comes to about 2.4. The default (two layers of 256, dropout, falling learning rate)
reaches 1.46 nats = 2.10 bits on that tenth after 20 million characters: `dlbooks run char-rnn-shakespeare --profile book`, a quarter of an hour on two cores.
(The tenth is cut in half: 1.98 bits on the first part, by which the best weights are chosen, 2.22 on the second.)
"""

import re
from pathlib import Path
from typing import Annotated

import keras
import numpy as np
from pydantic import Field

from dlbooks import figures
from dlbooks.catalog import Chapter, Metric, Use, Variant
from dlbooks.nn import language_model as lm
from dlbooks.nn.training import Adam, precision
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="char-rnn-shakespeare",
    title="Character RNN: English plays",
    family="language",
    sources=["B1 12.3", "B1 12.5"],
    datasets=["shakespeare"],
    own_data=["shakespeare"],
    headline="valid_bits_per_char",
    metrics={
        "valid_bits_per_char": Metric(better="lower", floor=0.7),
        "test_bits_per_char": Metric(better="lower"),
        "test_perplexity": Metric(better="lower"),
        "held_out_nats": Metric(better="lower"),
        "order4_bits_per_char": Metric(better="lower"),
        "known_word_share": Metric(better="higher", floor=0.8),
        "novel_8gram_share": Metric(better="higher"),
    },
    variants={
        "book": Variant(
            {
                "units": 128,
                "embedding": 0,
                "dropout": 0.5,
                "learning_rate": 0.01,
                "schedule": "constant",
                "rows": 32,
                "window": 50,
                "steps": 20_000,
                "log_every": 1000,
            },
            source="B1 12.5",
            about="one-hot input, 2 × LSTM 128, half of the activations dropped",
        ),
    },
    picture="surprise.png",
    example='dlbooks predict char-rnn-shakespeare "ROMEO:" --set length=300 --set seed=7',
    data_parameters=["max_vocabulary"],
    use=Use(takes="text", about="the beginning of a play, a speaker's name for example; it is continued", example="ROMEO:"),
)


class Params(ChapterParams):
    units: int = Field(96, ge=4, le=2048)
    """width of each of the two LSTM layers"""
    embedding: int = Field(0, ge=0, le=1024)
    """dimensions of the learned character vectors; 0 for one-hot input"""
    dropout: float = Field(0.2, ge=0, lt=1)
    """share of each layer's outputs dropped in training"""
    learning_rate: float = Field(0.01, gt=0, le=1)
    """Adam's step size, the first one if it falls"""
    schedule: str = Field("constant", pattern="^(constant|cosine)$")
    """constant, or falling to zero along a half cosine"""
    rows: int = Field(32, ge=1, le=4096)
    """streams read side by side: the batch"""
    window: int = Field(32, ge=2, le=2000)
    """characters through which the gradient runs back"""
    steps: int = Field(200, ge=1, le=1_000_000)
    """windows trained on"""
    log_every: int = Field(50, ge=1, le=100_000)
    """steps between two looks at the validation text; the best weights are kept"""
    max_vocabulary: int = Field(3500, ge=2, le=100_000)
    """most frequent characters that get an id; the rest is <unk>"""
    sample: int = Field(400, ge=20, le=100_000)
    """characters of each sample text"""


BREAK = "\n\n"  # between two speeches


# ## The network and its training
# The output layer's size is that of the text's vocabulary, so `build` takes it beside the parameters.
def build(params: Params, vocabulary: int = 66) -> keras.Model:
    return lm.RecurrentLM(vocabulary, params.units, 2, params.embedding, params.dropout)


# Gradients longer than 5 are shortened to 5: at a window's border an LSTM's loss has cliffs. Text is read in `rows` streams whose states are carried on; in
# profile `book` matrix products are taken in bfloat16 where the CPU has them, and the two layers work on different quarters of a window at the same time.
def train(run):
    p = run.params
    vocabulary, _, ids = lm.corpus(run.records("shakespeare"), p.max_vocabulary)
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
        pieces=4 if run.profile == "book" else 1,
    )
    run.save(model)


# ## Evaluation
# Besides bits: how many of the words it writes occur in the training text (does it spell?), and how many of its stretches of eight characters do not (does it copy?).
def evaluate(run) -> dict:
    p = run.params
    vocabulary, texts, ids = lm.corpus(run.records("shakespeare"), p.max_vocabulary)
    model = run.load(build(p, len(vocabulary)))
    bits = lm.token_bits(model)
    held_out = np.concatenate([ids["validation"], ids["test"]])
    scores = {name: float(bits(part).mean()) for name, part in {**ids, "both": held_out}.items() if name != "train"}
    baseline = lm.ngram_bits(ids["train"], held_out, 4, len(vocabulary))

    sample = lm.sampler(model, vocabulary, lm.primer(texts["train"], BREAK))
    drawn = lm.side_by_side(sample, p.sample, p.seed, [(0.5, 0), (0.8, 0), (1.0, 0), (1.0, 5)])
    lm.write_samples(run, "samples", drawn)
    free = [s["text"] for s in drawn if s["temperature"] == 1.0 and not s["top_k"]]
    known = set(words(texts["train"]))
    written = [w for text in free for w in words(text)]
    grams = [text[i : i + 8] for text in free for i in range(len(text) - 7)]
    seen = {texts["train"][i : i + 8] for i in range(len(texts["train"]) - 7)}

    run.figure("loss.png", lm.loss_figure(run.series, baseline), "Bits per character during training, below what tables of the last characters reach")
    passage = texts["test"][texts["test"].find("\n\n") + 2 :][:1200]
    run.figure(
        "surprise.png",
        surprise_figure(passage, lm.token_bits(model, rows=1)(vocabulary.encode("\n" + passage))[0]),
        "A passage of the test text, each character shaded by the bits it cost: the model hesitates where words begin and is sure inside them",
    )
    return {
        "valid_bits_per_char": scores["validation"],
        "test_bits_per_char": scores["test"],
        "test_perplexity": 2 ** scores["test"],
        "held_out_nats": scores["both"] * np.log(2),
        "order4_bits_per_char": baseline[4],
        "known_word_share": np.mean([w in known for w in written]) if written else 0.0,
        "novel_8gram_share": np.mean([g not in seen for g in grams]),
    }


def words(text: str) -> list[str]:
    return re.findall("[A-Za-z]+(?:'[A-Za-z]+)*", text)


def surprise_figure(text: str, bits: np.ndarray, width: int = 64, most: int = 16):
    """Text in a fixed-width grid, cells shaded from 0 to 6 bits."""
    cells, row, column = [], 0, 0
    for character, cost in zip(text, bits, strict=True):
        if column == width:
            row, column = row + 1, 0
        if row == most:
            break
        cells.append((row, column, character, cost))
        row, column = (row + 1, 0) if character == "\n" else (row, column + 1)
    grid = np.full((min(row + 1, most), width), np.nan)
    for r, c, _, cost in cells:
        grid[r, c] = cost
    figure, axes = figures.new(8.4, 0.24 * len(grid) + 0.5)
    shown = axes.imshow(grid, cmap="Oranges", vmin=0, vmax=6, aspect="auto", interpolation="nearest")
    for r, c, character, cost in cells:
        mark = "↵" if character == "\n" else character
        axes.text(c, r, mark, family="monospace", fontsize=8.5, ha="center", va="center", color="white" if cost > 4 else figures.INK)
    axes.set(xticks=[], yticks=[], title="What each character cost")
    axes.grid(False)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.colorbar(shown, ax=axes, label="bits", shrink=0.9, pad=0.01)
    return figure


def export(run):
    vocabulary, texts, _ = lm.corpus(run.records("shakespeare"), run.params.max_vocabulary)
    lm.text_export(run, run.load(build(run.params, len(vocabulary))), vocabulary, lm.primer(texts["train"], BREAK))


# ## Use
# A start, or none: then a speech begins. The network first reads the training text's last lines, for it was never taught to begin from nothing. The same seed writes
# the same text.
def answer(
    run,
    inputs: list[str],
    *,
    length: Annotated[int, Field(ge=1, le=2000)] = 500,
    temperature: lm.Temperature = 0.8,
    top_k: lm.TopK = 0,
    top_p: lm.TopP = 1.0,
    seed: lm.Seed = 0,
    unknown: lm.Unknown = "refuse",
) -> list[dict]:
    vocabulary = lm.known(run)
    for start in inputs:
        lm.check_request(start, vocabulary, unknown, length, 100_000, temperature, top_k, top_p)
    drawn = [run.model.generate(start, length, temperature, top_k, top_p, seed)["text"].numpy().decode() for start in inputs]
    return [{"text": start + text} for start, text in zip(inputs, drawn, strict=True)]


def predict(
    run,
    inputs: list[str],
    out: Path | None = None,
    *,
    length: int = 500,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: lm.Seed = 0,
    unknown: str = "refuse",
):
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed, "unknown": unknown}
    texts = [found["text"] for found in answer(run, inputs or [""], length=length, **settings)]
    print("\n\n".join(texts))
    if out:
        out.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
