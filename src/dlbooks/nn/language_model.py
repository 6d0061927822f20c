r"""Recurrent language models: the network, training on streams of text, evaluation in bits, generation, n-gram baselines.

A language model gives every text a probability, one token at a time: $p(x_1 \dots x_N) = \prod_t p(x_t \mid x_1 \dots x_{t-1})$. Here the past is summed up in the
states of a stack of LSTM layers. Text is read as **streams**: the token ids cut into B long rows that are read side by side, window by window; a
window starts with the states in which the one before ended, gradients stop at its border.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from dlbooks import UserError, export, figures
from dlbooks.inputs import checked_text
from dlbooks.nn.decoding import sample_next
from dlbooks.nn.text import Vocabulary

# ── the network ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def lstm_step(z: tf.Tensor, h: tf.Tensor, c: tf.Tensor, recurrent: tf.Tensor):
    r"""One step of an LSTM: (gates, h, c) from the inputs' part ``z`` ``[B, 4U]`` of the gates i, f, g, o and the states ``[B, U]``.

    ``z`` and ``recurrent`` ``[U, 4U]`` hold **half** of what enters i, f and o: since $\sigma(2a) = (1 + \tanh a)/2$, one tanh then makes all four, at a third
    of the sigmoid's price. The product is taken in ``recurrent``'s dtype, everything else in float32. The gates are those tanhs.
    """
    product = tf.matmul(tf.cast(h, recurrent.dtype), recurrent)
    gates = tf.tanh(tf.cast(z, tf.float32) + tf.cast(product, tf.float32))
    i, f, g, o = tf.split(gates, 4, axis=1)
    c = 0.5 * (c + f * c + g + i * g)
    return gates, (0.5 + 0.5 * o) * tf.tanh(c), c


def lstm_scan(z: tf.Tensor, recurrent: tf.Tensor, h: tf.Tensor, c: tf.Tensor):
    """``lstm_step`` over a window: all outputs ``[T, B, U]`` and the last h and c, from ``z`` ``[T, B, 4U]``."""
    recurrent = tf.cast(recurrent, z.dtype)
    if z.shape[0] == 1:
        _, h, c = lstm_step(z[0], h, c, recurrent)
        return h[None], h, c
    steps = tf.shape(z)[0]

    def body(t, h, c, hs):
        _, h, c = lstm_step(z[t], h, c, recurrent)
        return t + 1, h, c, hs.write(t, h)

    hs = tf.TensorArray(tf.float32, steps, element_shape=(None, None))
    _, h, c, hs = tf.while_loop(lambda t, *_: t < steps, body, (0, h, c, hs), parallel_iterations=1)
    return hs.stack(), h, c


@tf.custom_gradient
def trained_lstm_scan(z: tf.Tensor, recurrent: tf.Tensor, h: tf.Tensor, c: tf.Tensor):
    """``lstm_scan`` with its gradient written out, for training.

    One pass back over the window with one product per step; the recurrent weights' gradient becomes a single large product over all steps.
    """
    steps, units, dtype = tf.shape(z)[0], recurrent.shape[0], z.dtype
    weights = tf.cast(recurrent, dtype)

    def array(kind=tf.float32):
        return tf.TensorArray(kind, steps, element_shape=(None, None))

    def forward(t, h, c, hs, cs, gates):
        a, h, c = lstm_step(z[t], h, c, weights)
        return t + 1, h, c, hs.write(t, h), cs.write(t, c), gates.write(t, a)

    loop = (0, h, c, array(), array(), array())
    _, last_h, last_c, hs, cs, gates = tf.while_loop(lambda t, *_: t < steps, forward, loop, parallel_iterations=1)
    outputs = hs.stack()

    def gradient(d_outputs, d_h, d_c):
        transposed = tf.transpose(weights)
        before = tf.concat([c[None], cs.stack()], 0)

        def backward(t, d_h, d_c, d_z):
            a = gates.read(t)
            i, f, g, o = tf.split(a, 4, axis=1)
            q = tf.tanh(before[t + 1])
            d_h += d_outputs[t]
            d_c += d_h * (0.5 + 0.5 * o) * (1 - q * q)
            half = 0.5 * d_c
            d = tf.concat([half * g, half * before[t], half + half * i, 0.5 * d_h * q], 1) * (1 - a * a)
            d = tf.cast(d, dtype)
            return t - 1, tf.cast(tf.matmul(d, transposed), tf.float32), half + half * f, d_z.write(t, d)

        loop = (steps - 1, d_h, d_c, array(dtype))
        _, d_h, d_c, d_z = tf.while_loop(lambda t, *_: t >= 0, backward, loop, parallel_iterations=1)
        d_z = d_z.stack()
        previous = tf.reshape(tf.concat([h[None], outputs[:-1]], 0), (-1, units))
        d_recurrent = tf.matmul(tf.cast(previous, dtype), tf.reshape(d_z, (-1, 4 * units)), transpose_a=True)
        return d_z, tf.cast(d_recurrent, tf.float32), d_h, d_c

    return (outputs, last_h, last_c), gradient


class Lstm(keras.layers.Layer):
    r"""One LSTM layer, time first: input ``[T, B, D]``, or ids int32 ``[T, B]`` that stand for one-hot vectors, → outputs ``[T, B, U]``, (h, c).

    $$i, f, o = \sigma(W x_t + R h_{t-1} + b), \quad g = \tanh(\dots), \quad c_t = f \odot c_{t-1} + i \odot g, \quad h_t = o \odot \tanh c_t .$$

    Weights, their order (i, f, g, o) and their start are those of ``keras.layers.LSTM``, so is the result; a step takes about half the time, because the
    inputs' part is one product for the whole window and the rest is ``trained_lstm_scan``. A product with a one-hot vector is a row of W: it is looked up.
    """

    def __init__(self, units: int, **options):
        super().__init__(autocast=False, **options)  # states stay float32 whatever the policy
        self.units = units

    def build(self, shape):
        width = 4 * self.units
        self.kernel = self.add_weight(name="kernel", shape=(shape[-1], width), initializer="glorot_uniform", autocast=False)
        self.recurrent = self.add_weight(name="recurrent_kernel", shape=(self.units, width), initializer="orthogonal", autocast=False)
        forget = np.repeat(np.array([0, 1, 0, 0], np.float32), self.units)  # the forget gate starts open
        self.bias = self.add_weight(name="bias", shape=(width,), initializer=lambda shape, dtype=None: tf.constant(forget), autocast=False)
        self.built = True

    def call(self, x, h, c, training=False):
        half = tf.repeat(tf.constant([0.5, 0.5, 1.0, 0.5]), self.units)
        dtype = tf.as_dtype(self.compute_dtype)
        kernel, recurrent, bias = (tf.convert_to_tensor(w) * half for w in (self.kernel, self.recurrent, self.bias))
        if x.dtype.is_integer:
            z = tf.cast(tf.gather(kernel + bias, x), dtype)
        else:
            z = tf.tensordot(tf.cast(x, dtype), tf.cast(kernel, dtype), 1) + tf.cast(bias, dtype)
        return (trained_lstm_scan if training else lstm_scan)(z, recurrent, h, c)


class RecurrentLM(keras.Model):
    """ids int32 ``[B, T]`` and states → logits float32 ``[B, T, V]`` for the ids that follow, and the states after.

    One-hot input, or a learned ``embedding`` of that many dimensions; ``layers`` LSTM layers of ``units``, each followed by ``dropout``; a dense layer to the
    vocabulary (kernel from a truncated normal of σ 0.1, bias 0). States are a list of (h, c), float32 ``[B, units]`` each. ``pieces`` cuts the window: a layer
    can read the second piece while the layer above reads the first, which keeps several cores busy.
    """

    def __init__(self, vocabulary: int, units: int = 128, layers: int = 2, embedding: int = 0, dropout: float = 0.0, **options):
        super().__init__(autocast=False, **options)  # states stay float32 whatever the policy
        self.embedding = None
        if embedding:
            limit = keras.initializers.RandomUniform(-1.0, 1.0)
            self.embedding = self.add_weight(name="embedding", shape=(vocabulary, embedding), initializer=limit, autocast=False)
        self.stack = [Lstm(units, name=f"lstm{n}") for n in range(1, layers + 1)]
        for layer, width in zip(self.stack, [embedding or vocabulary] + [units] * (layers - 1), strict=True):
            layer.build((width,))
        self.drop = keras.layers.Dropout(dropout, dtype="float32")
        self.readout = keras.layers.Dense(vocabulary, kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.1), name="logits")
        self.readout.build((None, units))
        self.built = True

    def zero_states(self, batch: int) -> list:
        """States before the first token."""
        return [tuple(tf.zeros((batch, layer.units)) for _ in "hc") for layer in self.stack]

    def call(self, ids, states=None, training=False, pieces=1):
        ids = tf.transpose(ids)
        states = self.zero_states(tf.shape(ids)[1]) if states is None else list(states)
        x = ids if self.embedding is None else tf.gather(tf.convert_to_tensor(self.embedding), ids)
        length, parts = tf.shape(x)[0], []
        for piece in range(pieces):
            part = x if pieces == 1 else x[length * piece // pieces : length * (piece + 1) // pieces]
            for n, layer in enumerate(self.stack):
                part, *states[n] = layer(part, *states[n], training=training)
                part = self.drop(part, training=training)
            parts.append(part)
        x = parts[0] if pieces == 1 else tf.concat(parts, 0)
        logits = tf.cast(self.readout(tf.transpose(x, (1, 0, 2))), tf.float32)
        return logits, [tuple(s) for s in states]


# ── streams ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def streams(ids: np.ndarray, rows: int, multiple: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Cuts ids ``[N]`` into contiguous rows: inputs and targets int32 ``[rows, n]``, the target one id later than the input everywhere.

    n is the largest number that fits, rounded down to a ``multiple``; the rest of the text is left out.
    """
    length = (len(ids) - 1) // rows // multiple * multiple
    if length < 1:
        raise UserError(f"{len(ids)} characters are too few for {rows} rows of at least {multiple}")
    ids = np.asarray(ids, np.int32)
    return ids[: rows * length].reshape(rows, length), ids[1 : rows * length + 1].reshape(rows, length)


def token_bits(model: RecurrentLM, rows: int = 8, window: int = 128) -> Callable[[np.ndarray], np.ndarray]:
    r"""Compiles ``bits(ids)``: $-\log_2 p$ of every token of a text, float64 ``[rows, n]``, read in ``rows`` streams with carried states, dropout off.

    Keep the function while the model trains: it sees the current weights. The first token of a stream is given, not predicted; how long the windows are
    does not matter to the result. The mean is the model's bits per token.
    """

    @tf.function(reduce_retracing=True)
    def losses(inputs, targets):
        states, length = model.zero_states(rows), tf.shape(inputs)[1]
        found, number = tf.TensorArray(tf.float32, 0, dynamic_size=True, infer_shape=False, element_shape=(None, rows)), 0
        for start in tf.range(0, length, window):
            part = slice(start, tf.minimum(start + window, length))
            logits, states = model(inputs[:, part], states)
            nats = tf.nn.sparse_softmax_cross_entropy_with_logits(targets[:, part], logits)
            found, number = found.write(number, tf.transpose(nats)), number + 1
        return tf.transpose(found.concat())

    def bits(ids: np.ndarray) -> np.ndarray:
        inputs, targets = (tf.constant(a) for a in streams(ids, rows))
        return losses(inputs, targets).numpy().astype(np.float64) / math.log(2)

    return bits


# ── training ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Best:
    """The weights with the lowest validation loss so far: a piece of state for ``run.epochs``."""

    def __init__(self, model: keras.Model):
        self.model, self.loss = model, tf.Variable(math.inf, dtype=tf.float64, trainable=False)
        self.copies = [tf.Variable(w, trainable=False) for w in model.trainable_variables]

    @property
    def variables(self) -> list[tf.Variable]:
        return [self.loss, *self.copies]

    def offer(self, loss: float) -> None:
        """Keeps the model's weights if ``loss`` is the lowest yet."""
        if loss < float(self.loss):
            self.loss.assign(loss)
            for copy, weight in zip(self.copies, self.model.trainable_variables, strict=True):
                copy.assign(weight)

    def restore(self) -> None:
        """Puts the kept weights back into the model."""
        for copy, weight in zip(self.copies, self.model.trainable_variables, strict=True):
            weight.assign(copy)


class Carried:
    """The states that one window hands to the next, as variables: a piece of state for ``run.epochs``."""

    def __init__(self, model: RecurrentLM, rows: int):
        self.variables = [tf.Variable(s, trainable=False) for pair in model.zero_states(rows) for s in pair]

    def read(self) -> list:
        values = [tf.convert_to_tensor(v) for v in self.variables]
        return list(zip(values[::2], values[1::2], strict=True))

    def write(self, states: list) -> None:
        for variable, value in zip(self.variables, [s for pair in states for s in pair], strict=True):
            variable.assign(value)


def train_on_streams(
    run,
    model: RecurrentLM,
    optimizer,
    train: np.ndarray,
    validation: np.ndarray,
    *,
    rows: int,
    window: int,
    steps: int,
    log_every: int,
    multiple: int = 1,
    pieces: int = 1,
) -> None:
    """Trains on ``steps`` windows and leaves the weights with the best validation loss in the model.

    Logs ``train_bits`` (mean over the last ``log_every`` steps, dropout on) and ``valid_bits``. States are carried from window to window and start from
    zero at each pass over the text; the last, shorter window of a pass is used, too. ``multiple`` rounds the rows' length down (to whole lines).
    """
    inputs, targets = (tf.constant(a) for a in streams(train, rows, multiple))
    per_pass = -(-inputs.shape[1] // window)
    carried, best, score = Carried(model, rows), Best(model), token_bits(model)
    optimizer.build(model.trainable_variables)
    weights = model.trainable_variables

    @tf.function
    def advance(first, count):
        total = tf.constant(0.0)
        for step in tf.range(first, first + count):
            place = step % per_pass
            start = place * window
            part = slice(start, tf.minimum(start + window, inputs.shape[1]))
            states = [(h * k, c * k) for k in [tf.cast(place > 0, tf.float32)] for h, c in carried.read()]
            with tf.GradientTape() as tape:
                logits, states = model(inputs[:, part], states, training=True, pieces=pieces)
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets[:, part], logits))
            optimizer.apply([tf.convert_to_tensor(g) for g in tape.gradient(loss, weights)], weights)
            carried.write(states)
            total += loss
        return total / tf.cast(count, tf.float32)

    for part in run.epochs(-(-steps // log_every), f"{log_every} steps", model=model, optimizer=optimizer, carried=carried, best=best):
        start = part * log_every
        count = min(log_every, steps - start)
        nats = float(advance(tf.constant(start), tf.constant(count)))
        bits = float(score(validation).mean())
        best.offer(bits)
        run.log(start + count, train_bits=nats / math.log(2), valid_bits=bits)
    best.restore()


# ── generation ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def generate(
    model: RecurrentLM,
    prompt: tf.Tensor,
    length: tf.Tensor | int,
    seed: tf.Tensor | int,
    temperature=1.0,
    top_k=0,
    top_p=1.0,
    forbidden: int | None = None,
    constrain: Callable | None = None,
) -> tf.Tensor:
    """Continues prompts int32 ``[B, n]`` (n ≥ 1) by ``length`` ids: int32 ``[B, length]``. Runs in a graph; the seed fixes the text.

    Temperature and filters are ``sample_next``'s. The id ``forbidden`` is never drawn; ``constrain(step, logits)`` may change the logits of step 0, 1, ….
    """
    length, seed = tf.convert_to_tensor(length), tf.cast(seed, tf.int32)
    logits, states = model(prompt)

    def draw(step, logits):
        if forbidden is not None:
            logits += tf.one_hot(forbidden, logits.shape[-1], on_value=-1e9, off_value=0.0)
        if constrain is not None:
            logits = constrain(step, logits)
        return sample_next(logits, tf.stack([seed, step]), temperature, top_k, top_p)

    def body(step, logits, states, drawn):
        ids = draw(step, logits)
        following, states = model(ids[:, None], states)
        return step + 1, following[:, 0], states, drawn.write(step, ids)

    drawn = tf.TensorArray(tf.int32, length, element_shape=(None,))
    loop = (0, logits[:, -1], states, drawn)
    *_, drawn = tf.while_loop(lambda step, *_: step < length, body, loop, parallel_iterations=1)
    return tf.transpose(drawn.stack())


def primer(text: str, ending: str, length: int = 8 * 13) -> str:
    """The last ``length`` characters of a text up to and with its last ``ending``: what a generator reads before it writes.

    A network trained with carried states has hardly ever seen a text begin: from zero states its first line is poor.
    """
    end = text.rfind(ending)  # a person's own text may have none
    return text[: end + len(ending) if end >= 0 else None][-length:]


def sampler(model: RecurrentLM, vocabulary: Vocabulary, before: str) -> Callable[..., list[str]]:
    """Compiles ``sample(length, seed, temperature, top_k=None)``: one text of ``length`` characters per entry of the lists of settings.

    The network has read the text ``before``.
    """
    prompt = vocabulary.encode(before)

    @tf.function(reduce_retracing=True)
    def compiled(length, seed, temperature, top_k):
        prompts = tf.tile(tf.constant(prompt)[None], (tf.size(temperature), 1))
        return generate(model, prompts, length, seed, temperature, top_k, forbidden=vocabulary.unk_id)

    def sample(length: int, seed: int, temperature: list[float], top_k: list[int] | None = None) -> list[str]:
        settings = tf.constant(temperature, tf.float32), tf.constant(top_k or [0] * len(temperature))
        drawn = compiled(tf.constant(length), tf.constant(seed), *settings)
        return ["".join(vocabulary.decode(row)) for row in drawn.numpy()]

    return sample


SETTINGS = [  # of an exported generator, after its own arguments
    tf.TensorSpec((), tf.float32, name="temperature"),
    tf.TensorSpec((), tf.int32, name="top_k"),
    tf.TensorSpec((), tf.float32, name="top_p"),
    tf.TensorSpec((), tf.int32, name="seed"),
]


def text_export(run, model: RecurrentLM, vocabulary: Vocabulary, before: str, more: Callable | None = None) -> None:
    """Writes ``export/saved_model``: ``generate(start, length, temperature, top_k, top_p, seed)`` → ``text``, strings in, strings out.

    ``text`` holds the ``length`` characters that follow the text ``before`` and ``start``, which may be empty. The vocabulary is part of the graph and lies beside it as
    ``vocabulary.json``. ``more(lookup)`` gives further functions.
    """
    lookup = vocabulary.lookup()

    def serve(start, length, temperature, top_k, top_p, seed):
        drawn = generate(model, encoded(lookup, before, start), length, seed, temperature, top_k, top_p, vocabulary.unk_id)
        return {"text": tf.strings.reduce_join(lookup.decode(drawn[0]))}

    spec = [tf.TensorSpec((), tf.string, name="start"), tf.TensorSpec((), tf.int32, name="length"), *SETTINGS]
    functions = {"generate": (serve, spec), **(more(lookup) if more else {})}
    assets = {"vocabulary.json": vocabulary.to_json()}
    example = {"start": run.chapter.use.example, "length": 20, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 0}
    export.saved_model(run.out / "export" / "saved_model", functions, [*model.weights, lookup], assets, example)


def encoded(lookup, before: str, start: tf.Tensor) -> tf.Tensor:
    """Two strings in a graph → ids int32 ``[1, n]``."""
    return lookup.encode(tf.strings.unicode_split(tf.strings.join([before, start]), "UTF-8"))[None]


def known(run) -> Vocabulary:
    """The vocabulary of ``text_export``'s SavedModel."""
    return Vocabulary.from_json((run.exported() / "assets.extra" / "vocabulary.json").read_text(encoding="utf-8"))


# Options of an exported generator, as `answer` and `predict` of a chapter take them.
Temperature = Annotated[float, Field(ge=0, le=100)]
TopK = Annotated[int, Field(ge=0, le=1_000_000)]
TopP = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Unknown = Literal["refuse", "allow"]
LONGEST_START = 10_000  # characters


def check_request(
    start: str, vocabulary: Vocabulary, unknown: str, amount: int, most: int, temperature: float, top_k: int, top_p: float, what: str = "length"
) -> None:
    """Refuses settings that mean nothing, and a start with characters the model never saw unless ``unknown`` is ``allow``."""
    checked_text(start, LONGEST_START)
    if not 1 <= amount <= most:
        raise UserError(f"{what} = {amount}: must be between 1 and {most}")
    if not (math.isfinite(temperature) and temperature >= 0):
        raise UserError(f"temperature = {temperature}: must be 0 (always the likeliest character) or more")
    if top_k < 0 or not 0 < top_p <= 1:
        raise UserError(f"top_k = {top_k}, top_p = {top_p}: top_k must be 0 (all) or more, top_p above 0 and at most 1")
    if unknown not in ("refuse", "allow"):
        raise UserError(f"unknown = {unknown!r}: it is refuse or allow")
    strange = [c for c in dict.fromkeys(start) if c not in vocabulary.ids]
    if strange and unknown == "refuse":
        names = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in strange[:10]) + (" …" if len(strange) > 10 else "")
        raise UserError(f"the model does not know {names}; unknown=allow reads such characters as {vocabulary.unk}")


# ── corpora, samples, pictures ──────────────────────────────────────────────────────────────────────────────────────────────────


def corpus(records, most: int) -> tuple[Vocabulary, dict[str, str], dict[str, np.ndarray]]:
    """A text data set: the vocabulary of its training text (``<unk>`` and at most ``most`` characters), the splits as texts and as ids."""
    texts = {split: records.arrays(split)["text"][0].decode() for split in ("train", "validation", "test")}
    vocabulary = Vocabulary.from_counts(Counter(texts["train"]), most + 1, specials=["<unk>"])
    return vocabulary, texts, {split: vocabulary.encode(text) for split, text in texts.items()}


def side_by_side(sample: Callable, length: int, seed: int, settings: list[tuple[float, int]], each: int = 3) -> list[dict]:
    """``each`` texts for every (temperature, top_k), drawn in one go by a ``sampler``: dictionaries of settings, the last entry ``text``."""
    rows = [setting for setting in settings for _ in range(each)]
    texts = sample(length, seed, [t for t, _ in rows], [k for _, k in rows])
    return [{"temperature": t, "top_k": k, "seed": seed, "row": n, "text": text} for n, ((t, k), text) in enumerate(zip(rows, texts, strict=True))]


def write_samples(run, name: str, samples: list[dict]) -> None:
    """``<name>.txt`` to read and ``<name>.json`` to draw again: dictionaries of settings, the last entry ``text``."""
    parts = [" · ".join(f"{k} {v}" for k, v in s.items() if k != "text") + f"\n{'─' * 60}\n{s['text'].rstrip()}\n" for s in samples]
    (run.out / f"{name}.txt").write_text("\n".join(parts), encoding="utf-8")
    run.json(f"{name}.json", samples)


def loss_figure(series: dict, baseline: list[float]):
    """Training and validation bits against steps, with the n-gram models' bits as lines."""
    figure, axes = figures.new(6.4, 3.8)
    for n, bits in enumerate(baseline):
        axes.axhline(bits, color=figures.INK, linewidth=0.7, linestyle=(0, (4, 3)))
        axes.text(1.01, bits, f"last {n}" if n else "frequency", transform=axes.get_yaxis_transform(), fontsize=7, va="center")
    for name, label in (("train_bits", "training, with dropout"), ("valid_bits", "validation")):
        axes.plot(*zip(*series[name], strict=True), label=label, linewidth=1.8)
    axes.set(xlabel="step", ylabel="bits per character", title="The network against tables of the last n characters")
    axes.legend(frameon=False, loc="lower left")  # curves fall from the upper left
    return figure


# ── the baseline ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def ngram_bits(train: np.ndarray, test: np.ndarray, order: int, size: int) -> list[float]:
    r"""Bits per token of n-gram models on ``test``: entry n looks at the last n tokens, n = 0 … ``order``.

    Witten–Bell: what a context has not shown is left to the context one shorter, in proportion to the number of its different followers,
    $p_n(x \mid s) = \dfrac{N(s x) + T(s)\, p_{n-1}(x \mid s')}{N(s) + T(s)}$ with counts N, follower types T and $p_{-1} = 1/$``size``.
    """
    if size ** (order + 1) >= 2**63:
        raise ValueError(f"contexts of {order} among {size} tokens do not fit 64 bits")
    train, test = np.asarray(train, np.int64), np.asarray(test, np.int64)
    p = np.full(len(test), 1.0 / size)
    bits = []
    for n in range(order + 1):
        grams, counts = np.unique(_codes(train, n, size), return_counts=True)
        contexts, first, types = np.unique(grams // size, return_index=True, return_counts=True)
        totals = np.add.reduceat(counts, first)
        wanted = _codes(test, n, size)  # belongs to positions n, n + 1, … of the test text
        seen, found = _find(grams, wanted), _find(contexts, wanted // size)
        count = np.where(seen >= 0, counts[seen], 0)
        known = found >= 0
        t, total = np.where(known, types[found], 1), np.where(known, totals[found], 0)
        p[n:] = (count + t * p[n:]) / (total + t)
        bits.append(float(-np.log2(p).mean()))
    return bits


def _codes(ids: np.ndarray, n: int, size: int) -> np.ndarray:
    """Every n + 1 neighbors as one number, the last as its lowest digit."""
    code = np.zeros(len(ids) - n, np.int64)
    for k in range(n + 1):
        code = code * size + ids[k : len(ids) - n + k]
    return code


def _find(table: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Places in a sorted table, −1 where missing."""
    place = np.minimum(np.searchsorted(table, wanted), len(table) - 1)
    return np.where(table[place] == wanted, place, -1)
