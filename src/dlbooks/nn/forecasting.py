r"""Forecasting: windows, a fast LSTM, free running with a band, the rulers every forecast must beat, pictures, a person's own series.

Two protocols score a forecast of a held-out tail. *One step*: before each prediction the model sees every value up to that moment. *Free running*: it
sees nothing of the tail and feeds its own predictions back. A small error per step says little about the second, where errors add up.

Values are ``[T, F]``: T times, F variables.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from dlbooks import UserError, figures
from dlbooks.datasets import _series
from dlbooks.inputs import checked_numbers
from dlbooks.nn.training import Adam

PATHS = 200  # futures drawn for a band


# ── data ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def load_series(records, name: str, features: int = 0) -> dict:
    """One series of the records: ``times`` int64 [T], ``values`` (and ``clean``, if it is known) float64 [T, F], ``train_length``, ``period``.

    A person's own series have other names: with ``features``, the first one is taken where there is none of that name; it must have so many variables.
    """
    items = {np.asarray(item["name"][0]).item().decode(): item for item in records.batches("train", 1)}
    chosen = name if name in items or not features else next(iter(items), name)
    if chosen not in items:
        raise UserError(f"{records.folder.name} holds no series {name!r}")
    item = items[chosen]
    count = int(item["num_features"][0])
    if features and count != features:
        raise UserError(f"{records.folder.name}: {chosen} has {count} variables, this chapter reads {features}")
    found = {k: np.asarray(item[k][0], np.float64).reshape(-1, count) for k in ("values", "clean") if k in item}
    counts = {k: int(item[k][0]) for k in ("train_length", "period")}
    return {"times": np.asarray(item["times"][0]), **found, **counts}


def random_windows(values: np.ndarray, length: int, batch: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Starts int64 [batch], uniform on 0 … T − length, and the windows float32 [batch, length, F] that begin there."""
    if length > len(values):
        raise UserError(f"a window of {length} rows does not fit into the {len(values)} rows for training")
    starts = rng.integers(0, len(values) - length + 1, batch)
    return starts, values[starts[:, None] + np.arange(length)].astype(np.float32)


def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every variable, the latter at least 1e-8, so that a constant variable standardizes to zero."""
    return values.mean(0), np.maximum(values.std(0), 1e-8)


# ── rulers ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def rmse(y: np.ndarray, forecast: np.ndarray) -> float:
    """Root of the mean squared error, √mean (y − ŷ)²."""
    return float(np.sqrt(np.mean(np.square(np.asarray(y, np.float64) - forecast))))


def mae(y: np.ndarray, forecast: np.ndarray) -> float:
    """Mean of \\|y − ŷ\\|."""
    return float(np.mean(np.abs(np.asarray(y, np.float64) - forecast)))


def mase(y: np.ndarray, forecast: np.ndarray, train: np.ndarray, period: int) -> float:
    """Mean absolute error over that of the seasonal-naive forecast inside the training part (Hyndman and Koehler, 2006)."""
    return mae(y, forecast) / mae(train[period:], train[:-period])


def gain(error: float, baseline: float) -> float:
    """1 − error / baseline: the share of a baseline's error that a forecast saves; negative where it is worse."""
    return 1.0 - error / baseline


def find_periods(train: np.ndarray) -> list[int]:
    """For every variable the lag of 2 … T/2 at which the training part repeats itself best: least mean squared difference, the shortest of equals."""
    lags = range(2, len(train) // 2 + 1)
    misfit = np.array([np.square(train[m:] - train[:-m]).mean(0) for m in lags])
    equal = misfit <= 1.01 * misfit.min(0) + 1e-9 * train.var(0)
    return [int(m) + 2 for m in equal.argmax(0)]


def persistence(values: np.ndarray, first: int, every: int = 1) -> np.ndarray:
    """Forecast of rows ``first`` … : the last value seen. A new origin after every ``every`` rows."""
    rows = np.arange(first, len(values))
    return values[rows - (rows - first) % every - 1]


def seasonal_naive(values: np.ndarray, first: int, periods: list[int], free: bool = False) -> np.ndarray:
    """Forecast of rows ``first`` … : the value one period ago, for every variable its own; ``free`` repeats the last period before ``first``."""
    rows = np.arange(first, len(values))
    columns = []
    for k, period in enumerate(periods):
        origin = first - period + (rows - first) % period if free else rows - period
        columns.append(values[origin, k])
    return np.stack(columns, 1)


def seasonal_drift(values: np.ndarray, first: int, period: int, every: int = 1) -> np.ndarray:
    """Seasonal naive plus the difference of the last two periods' means, both taken at the origin (a new one after every ``every`` rows)."""
    rows = np.arange(first, len(values))
    origins = rows - (rows - first) % every
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, 0)])
    drift = (sums[origins] - 2 * sums[origins - period] + sums[origins - 2 * period]) / period
    return values[rows - period] + drift


def linear_ar(train: np.ndarray, lags: int, steps: int = 1, ridge: float = 1.0) -> Callable[[np.ndarray], np.ndarray]:
    """Least squares from the last ``lags`` values of a variable to its next ``steps``, each variable by itself, after standardizing.

    Returns forecast(values [T, F], origins [N]) → [N, steps, F], where row ``origins[n]`` is the first one to be predicted.
    """
    mean, std = moments(train)
    z = (train - mean) / std
    ends = np.arange(lags, len(z) - steps + 1)
    weights = []
    for k in range(z.shape[1]):
        x = np.concatenate([z[ends[:, None] + np.arange(-lags, 0), k], np.ones((len(ends), 1))], 1)
        y = z[ends[:, None] + np.arange(steps), k]
        weights.append(np.linalg.solve(x.T @ x + ridge * np.diag([1.0] * lags + [0.0]), x.T @ y))

    def forecast(values: np.ndarray, origins: np.ndarray) -> np.ndarray:
        past = (values[np.asarray(origins)[:, None] + np.arange(-lags, 0)] - mean) / std
        answers = [past[:, :, k] @ w[:-1] + w[-1] for k, w in enumerate(weights)]
        return np.stack(answers, -1) * std + mean

    return forecast


# ── free running ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def free_run(step: Callable, state, first: tf.Tensor, steps) -> tuple[tf.Tensor, object]:
    """Feeds predictions back: ``step(state, x)`` → (next prediction, next state); ``first`` is the prediction at hand.

    Returns the predictions [steps, …], of which the first is ``first``, and the state from which the run goes on. ``steps`` may be a tensor.
    """
    answers = tf.TensorArray(first.dtype, steps, element_shape=first.shape)
    same_shape = lambda new, old: tf.ensure_shape(new, old.shape) if isinstance(old, tf.Tensor) else new  # noqa: E731

    def body(number, x, state, answers):
        answers = answers.write(number, x)
        found = tf.nest.map_structure(same_shape, step(state, x), (x, state))  # a loop's variables keep their shapes
        return number + 1, *found, answers

    _, x, state, answers = tf.while_loop(lambda number, *_: number < steps, body, (0, first, state, answers))
    return answers.stack(), (state, x)


def band(paths: tf.Tensor, share: float = 0.9) -> tuple[tf.Tensor, tf.Tensor]:
    """Lower and upper bound of the middle ``share`` of futures ``[steps, paths, …]`` → two times [steps, …]."""
    ordered = tf.sort(paths, axis=1)
    count = paths.shape[1]
    low = round((count - 1) * (1 - share) / 2)
    return ordered[:, low], ordered[:, count - 1 - low]


# ── LSTM ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class LSTM(keras.layers.Layer):
    """Keras's LSTM (its formula, its weights and their order) with the loop over time inside one kernel, forward and backward.

    x float32 [B, T, F] → h [B, T, units]; ``layer(x, state)`` starts from (h, c) instead of zeros, ``layer.run(x, state)`` also returns the last state.
    The kernel is TensorFlow's ``BlockLSTM``. For small layers it takes a fifth of the time of a loop of separate operations: 1.0 instead of 5.5 ms of
    CPU time for a training step with 4 × 100 × 32. (The gradient registered for ``BlockLSTMV2`` assumes another order of the gates and is wrong.)
    """

    def __init__(self, units: int, features: int, **options):
        super().__init__(**options)
        self.units = units
        self.kernel = self.add_weight(shape=(features, 4 * units), initializer="glorot_uniform", name="kernel")
        self.recurrent_kernel = self.add_weight(shape=(units, 4 * units), initializer="orthogonal", name="recurrent_kernel")
        forget = np.repeat([0.0, 1.0, 0.0, 0.0], units).astype(np.float32)
        self.bias = self.add_weight(shape=(4 * units,), initializer=lambda shape, dtype: tf.constant(forget), name="bias")
        self.built = True

    def run(self, x, state=None):
        h, c = state if state is not None else (tf.zeros((tf.shape(x)[0], self.units)),) * 2
        weights = tf.concat([self.kernel, self.recurrent_kernel], 0)

        def order(w):  # Keras has input, forget, cell, output; the kernel input, cell, forget, output
            i, f, g, o = tf.split(w, 4, -1)
            return tf.concat([i, g, f, o], -1)

        unused = tf.zeros((self.units,))
        found = tf.raw_ops.BlockLSTM(
            seq_len_max=tf.shape(x, tf.int64)[1],
            x=tf.transpose(x, (1, 0, 2)),
            cs_prev=c,
            h_prev=h,
            w=order(weights),
            wci=unused,
            wcf=unused,
            wco=unused,
            b=order(self.bias),
            forget_bias=0.0,
            cell_clip=-1.0,
            use_peephole=False,
        )
        hidden = tf.ensure_shape(found.h, (None, None, self.units))
        return tf.transpose(hidden, (1, 0, 2)), (hidden[-1], found.cs[-1])

    def call(self, x, state=None):
        return self.run(x, state)[0]


class Forecaster(keras.Model):
    """An LSTM that predicts at every step the next one: standardized values [B, T, F] → [B, T, F].

    ``shared`` reads every variable as a series of its own with the same weights; else one LSTM reads all of them together. Mean, standard deviation
    and the spread of the one-step errors are weights that are not trained, so that they are saved with the rest.
    """

    def __init__(self, units: int, features: int, shared: bool = False):
        super().__init__()
        self.features, self.shared, self.width = features, shared, 1 if shared else features
        self.lstm = LSTM(units, self.width, name="lstm")
        self.head = keras.layers.Dense(self.width, name="head")
        self.head.build((None, units))
        for name, start in (("mean", "zeros"), ("std", "ones"), ("spread", "zeros")):
            setattr(self, name, self.add_weight(shape=(features,), initializer=start, trainable=False, name=name))
        self.built = True
        series, number = tf.TensorSpec((1, None, features), tf.float32), tf.TensorSpec((), tf.int32)
        self.compiled_one_step = tf.function(self.one_step, input_signature=[series])  # one trace for all lengths
        self.compiled_forecast = tf.function(self.forecast, input_signature=[series, number, number])

    def _split(self, x):
        """[B, T, F] → [B·F, T, 1] if the weights are shared."""
        return tf.reshape(tf.transpose(x, (0, 2, 1)), (-1, tf.shape(x)[1], 1)) if self.shared else x

    def _join(self, y):
        return tf.transpose(tf.reshape(y, (-1, self.features, tf.shape(y)[1])), (0, 2, 1)) if self.shared else y

    def run(self, x, state=None):
        """Predictions [B, T, F] and the state after the last step."""
        h, state = self.lstm.run(self._split(x), state)
        return self._join(self.head(h)), state

    def call(self, x):
        return self.run(x)[0]

    def one_step(self, values):
        """Values [B, T, F] in data units → predictions of rows 1 … T in data units."""
        return self.run((values - self.mean) / self.std)[0] * self.std + self.mean

    def forecast(self, history, steps, seed=0):
        """A history [1, T, F] in data units → mean, low, high [1, steps, F]: the free run, and the middle 90 % of 200 futures.

        A future is a free run that adds a random one-step error to every prediction before it is fed back.
        """
        observed, state = self.run((history - self.mean) / self.std)
        first = observed[:, -1:]

        def step(state, x):
            y, state = self.run(x, state)
            return y, state

        mean, _ = free_run(step, state, first, steps)
        many = tuple(tf.repeat(s, PATHS, 0) if not self.shared else tf.tile(s, (PATHS, 1)) for s in state)
        noise = lambda number: self.spread * tf.random.stateless_normal((PATHS, 1, self.features), tf.stack([seed, number]))  # noqa: E731

        def noisy(carried, x):
            number, state = carried
            y, state = self.run(x, state)
            return y + noise(number), (number + 1, state)

        paths, _ = free_run(noisy, (1, many), tf.repeat(first, PATHS, 0) + noise(0), steps)
        low, high = band(paths[:, :, 0])
        return tuple(v[None] * self.std + self.mean for v in (mean[:, 0, 0], low, high))


def fit_forecaster(model: Forecaster, values: np.ndarray, p, run, label: str = "steps") -> None:
    """Teacher forcing on random windows: the loss is the mean squared error of each window's rows 1 …, given the true rows before.

    ``p`` has ``steps``, ``batch_size``, ``window``, ``learning_rate``, ``schedule``, ``input_noise``, ``flip``, ``skip`` and ``clip``; ``run`` counts the
    epochs, logs ``loss`` (under ``label``) and draws. ``input_noise`` is added to what the net sees but not to its targets, so that it learns to trust its memory more
    than the last value; ``flip`` turns windows of standardized variables upside down at random; ``skip`` leaves the first predictions of a window out of
    the loss, which are made with next to no history.
    """
    if p.skip >= p.window - 1:
        raise UserError(f"{run.chapter.id}.skip = {p.skip}: must be below window - 1 = {p.window - 1}")
    mean, std = moments(values)
    model.mean.assign(mean)
    model.std.assign(std)
    z = ((values - mean) / std).astype(np.float32)
    if p.window > len(z):
        raise UserError(f"a window of {p.window} rows does not fit into the {len(z)} rows for training: choose window <= {len(z)}")
    rate = keras.optimizers.schedules.CosineDecay(p.learning_rate, p.steps) if p.schedule == "cosine" else p.learning_rate
    optimizer = Adam(rate, **({"clipnorm": p.clip} if p.clip else {}))
    weights = model.trainable_variables
    optimizer.build(weights)

    @tf.function(reduce_retracing=True)
    def steps(windows, signs, seed):
        total = 0.0
        for number in tf.range(tf.shape(windows)[0]):
            x = windows[number] * signs[number]
            noise = p.input_noise * tf.random.stateless_normal(tf.shape(x[:, 1:]), tf.stack([seed, number]))
            with tf.GradientTape() as tape:
                error = model.run(x[:, :-1] + noise)[0] - x[:, 1:]
                loss = tf.reduce_mean(tf.square(error[:, p.skip :]))
            optimizer.apply(tape.gradient(loss, weights), weights)
            total += loss
        return total / tf.cast(tf.shape(windows)[0], tf.float32)

    every = min(100, p.steps)
    for part in run.epochs(-(-p.steps // every), label, model=model, optimizer=optimizer):
        rng = run.random(label, part)
        count = min(every, p.steps - part * every)
        windows = random_windows(z, p.window, count * p.batch_size, rng)[1].reshape(count, p.batch_size, p.window, -1)
        signs = rng.choice([-1.0, 1.0], (count, p.batch_size, 1, z.shape[1])) if p.flip else np.ones((count, 1, 1, 1))
        loss = steps(tf.constant(windows), tf.constant(signs, tf.float32), tf.constant(rng.integers(2**31), tf.int32))
        run.log(part * every + count, **{label: float(loss)})
    error = one_step(model, values)[p.skip : len(values) - 1] - values[1 + p.skip :]
    model.spread.assign((error / std).std(0))


def one_step(model: Forecaster, values: np.ndarray) -> np.ndarray:
    """Predictions of rows 1 … T (row t from rows 0 … t − 1), float64 [T, F]; the last one lies beyond the data."""
    return model.compiled_one_step(tf.constant(values[None], tf.float32)).numpy()[0].astype(np.float64)


def fitted(model: Forecaster, values: np.ndarray) -> np.ndarray:
    """Row t as predicted from rows 0 … t − 1, float64 [T, F], in step with the data; row 0, which nothing precedes, is itself."""
    return np.concatenate([values[:1], one_step(model, values)[:-1]])


def free(model: Forecaster, history: np.ndarray, steps: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, low, high float64 [steps, F] beyond a history [T, F]."""
    found = model.compiled_forecast(tf.constant(history[None], tf.float32), tf.constant(steps), tf.constant(seed))
    return tuple(v.numpy()[0].astype(np.float64) for v in found)


def fill_gaps(ahead: Callable, times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Missing times get a prediction from what lies before them: ``ahead(history [T, F], steps)`` → [steps, F]."""
    whole, rows = [int(times[0])], [values[0]]
    for time, row in zip(times[1:].tolist(), values[1:], strict=True):
        if (missing := time - whole[-1] - 1) > 0:
            if missing > 10_000:
                raise UserError(f"times jump from {whole[-1]} to {time}: more than 10,000 missing steps in a row")
            rows += list(ahead(np.array(rows), missing))
            whole += range(whole[-1] + 1, time)
        whole.append(time)
        rows.append(row)
    return np.array(whole), np.array(rows)


def export_forecaster(run, model: Forecaster, history: np.ndarray) -> None:
    """SavedModel with ``one_step(values [N, T, F])`` → the next value at every step, and ``forecast(history [1, T, F], steps, seed)`` → mean, low, high."""
    from dlbooks.export import saved_model

    features = model.features
    functions = {
        "one_step": (lambda values: {"next": model.one_step(values)}, [tf.TensorSpec((None, None, features), tf.float32, name="values")]),
        "forecast": (
            lambda history, steps, seed: dict(zip(("mean", "low", "high"), model.forecast(history, steps, seed), strict=True)),
            [
                tf.TensorSpec((1, None, features), tf.float32, name="history"),
                tf.TensorSpec((), tf.int32, name="steps"),
                tf.TensorSpec((), tf.int32, name="seed"),
            ],
        ),
    }
    saved_model(run.out / "export" / "saved_model", functions, model.variables, example=history[None, :50].astype(np.float32))


# ── pictures ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

OBSERVED, FITTED, FORECAST, RULER = figures.INK, figures.COLORS[2], figures.COLORS[1], figures.COLORS[0]


def draw_forecast(axes, times, observed, future, mean, low=None, high=None, *, fitted=None, truth=None, held_out=None, ruler=None, labels=True):
    """One variable: what was observed, what the model made of it, the start of the forecast, the forecast with its band, the truth.

    ``fitted``, ``truth``, ``held_out`` and ``ruler`` are (times, values).
    """
    name = (lambda text: text) if labels else (lambda text: None)
    axes.plot(times, observed, color="#8b98a5", linewidth=1.0, label=name("observed"))
    if held_out is not None:
        axes.plot(*held_out, ".", color=OBSERVED, markersize=3, label=name("observed, not seen by the model"))
    if fitted is not None:
        axes.plot(*fitted, color=FITTED, linewidth=1.2, label=name("one step ahead"))
    if low is not None:
        axes.fill_between(future, low, high, color=FORECAST, alpha=0.22, linewidth=0, label=name("90 % band"))
    if ruler is not None:
        axes.plot(*ruler, color=RULER, linewidth=1.1, linestyle=(0, (4, 2)), label=name("seasonal naive"))
    axes.plot(future, mean, color=FORECAST, linewidth=1.8, label=name("forecast, free running"))
    if truth is not None:
        axes.plot(*truth, color=OBSERVED, linewidth=1.0, linestyle=(0, (1, 1.5)), label=name("formula without noise"))
    axes.axvline(future[0] - 0.5, color=OBSERVED, linewidth=1, linestyle=":")
    axes.margins(x=0.01)


def mark_start(axes, at: float, text: str = "forecast starts") -> None:
    """Says what the dotted line is."""
    axes.annotate(text, (at, 1), xycoords=("data", "axes fraction"), xytext=(0, 2), textcoords="offset points", ha="center", fontsize=8)


def legend(figure, axes, columns: int = 6) -> None:
    """One row of labels above the plot."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False, fontsize=8)


# ── a person's own series ───────────────────────────────────────────────────────────────────────────────────────────────────────


def read_input(inputs: list[str], columns: int | None = None) -> tuple[str, np.ndarray, np.ndarray, list[str]]:
    """A CSV file or numbers (of one variable) from the command line: name, times, values [T, F], the variables' names."""
    words = [w for item in inputs for w in item.replace(",", " ").split()]
    if len(inputs) == 1 and words and not _is_number(words[0]):
        return inputs[0], *_series.read_csv(Path(inputs[0]), columns)
    for word in words:
        if not _is_number(word):
            raise UserError(f"{word!r} is no number: give one CSV file (time, value) or the values themselves")
    if not words:
        raise UserError("give a CSV file (time, value) or the values themselves, oldest first")
    if columns not in (None, 1):
        raise UserError(f"this model has {columns} variables: give a CSV file with a time and {columns} values per line")
    return "numbers", np.arange(len(words)), np.array(words, np.float64)[:, None], ["value"]


def _is_number(word: str) -> bool:
    try:
        return bool(np.isfinite(float(word)))
    except ValueError:
        return False


def write_forecast(out: Path | None, name: str, names: list[str], times, values, mean, low=None, high=None) -> None:
    """Prints the forecast and, where ``out`` is given, writes it as CSV and PNG: into a folder, or beside the file that ``out`` names."""
    future = times[-1] + 1 + np.arange(len(mean))
    fields = [f"{n}{part}" for n in names for part in ("", "_low90", "_high90")[: 3 if low is not None else 1]]
    columns = np.stack([mean, low, high] if low is not None else [mean], -1).reshape(len(mean), -1)
    print(f"{name}: {len(times)} rows up to time {times[-1]}, forecast of {len(mean)}")
    for time, row in list(zip(future, mean, strict=True))[:10]:
        print(f"{time:8d}  " + "  ".join(f"{v:.6g}" for v in row))
    if len(mean) > 10:
        print(f"          … to time {future[-1]}" + ("" if out else "; -o forecast.csv writes all of them"))
    if out is None:
        return
    if out.suffix in (".csv", ".png"):
        table, picture = out.with_suffix(".csv"), out.with_suffix(".png")
        out.parent.mkdir(parents=True, exist_ok=True)
    else:
        out.mkdir(parents=True, exist_ok=True)
        table, picture = out / "forecast.csv", out / "forecast.png"
    lines = [f"time,{','.join(fields)}", *(",".join([str(t), *(f"{v:.6g}" for v in row)]) for t, row in zip(future, columns, strict=True))]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    figures.save(input_figure(name, names, times, values, future, mean, low, high), picture)


def answered(values: np.ndarray, first: int, mean: np.ndarray, low: np.ndarray | None, high: np.ndarray | None, plot: bool) -> dict:
    """A forecast [steps, F] of a series [T, F] from time ``first`` as ``answer`` gives it: lists (of numbers, or of rows where F > 1), and its picture."""
    found = {k: v for k, v in {"mean": mean, "low": low, "high": high}.items() if v is not None}
    if not all(np.isfinite(v).all() for v in found.values()):
        raise UserError("the forecast leaves all bounds: this series is too unlike the one that was learned")
    names = [f"v{k + 1}" for k in range(values.shape[1])] if values.shape[1] > 1 else ["value"]
    picture = {}
    if plot:
        times = np.arange(first, first + len(values) + len(mean))
        with figures.DRAWING:
            picture["image"] = figures.array(input_figure("", names, times[: len(values)], values, times[len(values) :], mean, low, high))
    return {k: (v if len(names) > 1 else v[:, 0]).tolist() for k, v in found.items()} | picture


MOST_ROWS = 10_000  # of a series that is answered
Steps = Annotated[int, Field(ge=1, le=1000)]


def answer_forecaster(run, inputs: list[np.ndarray], *, steps: int, plot: bool, features: int) -> list[dict]:
    """Continues series with the exported ``Forecaster``: ``mean``, ``low`` and ``high`` of each, and with ``plot`` an ``image``."""
    rows = [checked_numbers(values, features, least=2, most=MOST_ROWS) for values in inputs]
    return [answered(values, 0, *continued(run, values, steps), plot) for values in rows]


def continued(run, history: np.ndarray, steps: int) -> list[np.ndarray]:
    """The exported ``Forecaster``'s mean, low and high, float64 [steps, F], beyond a history [T, F]."""
    found = run.model.forecast(tf.constant(history[None], tf.float32), tf.constant(steps), tf.constant(run.params.seed))
    return [found[k].numpy()[0].astype(np.float64) for k in ("mean", "low", "high")]


def input_figure(name, names, times, values, future, mean, low, high):
    """One panel per variable: the end of what was observed and the forecast."""
    shown = slice(-max(3 * len(mean), 50), None)
    count = len(names)
    figure, axes = figures.new(11, max(4.0, 1.5 * count + 1), count, 1, sharex=True, squeeze=False)
    for k, (cell, label) in enumerate(zip(axes[:, 0], names, strict=True)):
        bounds = (low[:, k], high[:, k]) if low is not None else (None, None)
        draw_forecast(cell, times[shown], values[shown, k], future, mean[:, k], *bounds)
        cell.set_ylabel(label)
    mark_start(axes[0, 0], future[0] - 0.5)
    axes[-1, 0].set_xlabel("time")
    legend(figure, axes[0, 0])
    return figure


class Untracked:
    """Counts epochs and draws as a ``Run`` does, but keeps no checkpoint and no history: for training on a person's file."""

    def __init__(self, run):
        self.run, self.chapter, self.random = run, run.chapter, run.random

    def epochs(self, total: int, label: str, **state):
        return self.run.progress(range(total), label)

    def log(self, step: int, **values: float) -> None:
        if not np.all(np.isfinite(list(values.values()))):
            raise UserError("training diverged on this series")


def predict_forecaster(run, build: Callable, inputs: list[str], out: Path | None, *, steps: int, refit: bool, features: int) -> None:
    """Continues a person's series with the exported ``Forecaster``, or with one trained on that series."""
    if not 1 <= steps <= 100_000:
        raise UserError(f"steps = {steps}: must be 1 … 100000")
    name, times, values, names = read_input(inputs, features)
    if len(values) < 2:
        raise UserError(f"{name}: {len(values)} row{'s' * (len(values) != 1)}, a forecast needs at least 2")
    model = build(run.params)
    if refit:
        if np.any(np.diff(times) != 1):
            raise UserError(f"{name}: times have gaps; training on it (refit=true) needs every step")
        window = min(run.params.window, len(values))
        if window < run.params.skip + 12:
            raise UserError(f"{name}: {len(values)} rows are too few to train on (refit=true): at least {run.params.skip + 12}")
        keras.utils.set_random_seed(run.params.seed)
        model = build(run.params)
        fit_forecaster(model, values, run.params.model_copy(update={"window": window}), Untracked(run), "refit")
        whole, filled = times, values
        mean, low, high = free(model, filled, steps, run.params.seed)
    else:
        whole, filled = fill_gaps(lambda history, missing: continued(run, history, missing)[0], times, values)
        mean, low, high = continued(run, filled, steps)
    if len(whole) > len(times):
        print(f"{name}: {len(whole) - len(times)} missing time{'s' * (len(whole) - len(times) > 1)} filled with the net's own predictions")
    write_forecast(out, name, names, whole, filled, mean, low, high)
