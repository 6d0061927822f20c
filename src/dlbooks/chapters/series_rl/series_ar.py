r"""# Autoregressive forecasts with uncertainty

The oldest forecaster: the next values are a linear function of the last ones. B1 15.3 fits one to a noisy sine on a rising line and to a CSV file.
From the last $n_{in}$ values, the model here predicts the next $n_{out}$ at once, and for each of them how sure it is: a mean $\mu$ and a logarithm of
the variance $s$. It is trained by the likelihood of what came,

$$L = -\ln \mathcal N(y \mid \mu, e^s) = \tfrac12 \bigl(\ln 2\pi + s + (y - \mu)^2 e^{-s}\bigr),$$

which is $\frac12 \ln 2\pi = 0.919$ at $y = \mu$, $s = 0$ and half a unit more at a distance of 1. With `loss: squared` only $(y - \mu)^2$ counts, and one deviation per
step ahead is measured on the training windows afterwards.

**Two things to feed in.** *Where in the period are we?* The book's library gave each target's time as one of ten buckets of the period; here it is
the pair $\sin 2\pi t/P$, $\cos 2\pi t/P$, which has no steps. *How high are we?* A rising series soon leaves the range of its training values. So
the window's last value is subtracted from all others, the model predicts offsets from it, and a constant added to the whole series adds exactly that
constant to the forecast. Variant `book` has buckets and values standardized as they are.

**Two ways to score.** In-sample pictures, as in the book, say little. A first fit sees only the beginning of each series and is scored on the rest. *Rolling
origin*: for each block of $n_{out}$ values the model sees all true values before it. *Free running*: it sees none of the tail, its own means are
fed back. (The book says that its evaluation feeds predictions back; its library used true values. Both are here, under their own names.) A second fit
sees everything, is exported and draws 250 steps beyond the end, where the formula is known. Of a series of 1,000 points the first 30 cannot be predicted:
970 fitted points, the number that the book prints.

**Rulers.** Seasonal naive repeats the value one period ago; on a rising series it is off by the rise of a period. *Seasonal drift* adds the difference of the
last two periods' means. Linear least squares on the same windows, without phase, is the third. On the book's CSV file (500 rows, the last 100 held
out, noise of deviation 1.0), in blocks of six:

| forecast | RMSE |
| --- | --- |
| seasonal naive | 10.06 |
| persistence | 1.72 |
| seasonal drift | 1.35 |
| least squares without phase | 1.23 |
| variant `book` | 1.14 |
| this model, in blocks / free over all 100 rows | 1.02 / 1.03 |

So 90 % of the seasonal-naive error is gone, and 24 % of seasonal drift's. On the drawn series, the errors are 0.122 (noise 0.1155), seasonal naive 1.02, seasonal drift
0.154, variant `book` 0.160.

`dlbooks run series-ar`, then `dlbooks predict series-ar sales.csv steps=24 period=12 n_in=24 n_out=6 -o forecast.csv`: the model is fitted to your file (a time
and a value per line), scored on its last fifth beside the rulers, fitted again to all of it, and continued.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from dlbooks import UserError, figures
from dlbooks.catalog import Chapter, Metric, Use, Variant
from dlbooks.datasets import _series, series, series_synthetic
from dlbooks.export import saved_model
from dlbooks.inputs import checked_numbers
from dlbooks.nn import forecasting as fc
from dlbooks.nn.training import Adam
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="series-ar",
    title="Autoregressive forecasting with uncertainty",
    family="series-rl",
    sources=["B1 15.2", "B1 15.3"],
    datasets=["series", "series-synthetic"],
    headline="test_rmse_trend",
    metrics={
        "test_rmse_trend": Metric(better="lower", floor=0.135),
        "test_mae_trend": Metric(better="lower"),
        "test_mase_trend": Metric(better="lower"),
        "test_nll_trend": Metric(better="lower"),
        "coverage90_trend": Metric(better="higher", floor=0.8),
        "test_rmse_free_trend": Metric(better="lower", floor=0.2),
        "forecast_rmse_truth_trend": Metric(better="lower", floor=0.3),
        "fit_rmse_trend": Metric(better="lower"),
        "fitted_points_trend": Metric(better="higher", reported=970, source="B1 15.3.2"),
        "gain_seasonal_naive_trend": Metric(better="higher", floor=0.5),
        "gain_seasonal_drift_trend": Metric(better="higher"),
        "persistence_rmse_trend": Metric(better="lower"),
        "seasonal_naive_rmse_trend": Metric(better="lower"),
        "seasonal_drift_rmse_trend": Metric(better="lower"),
        "linear_ar_rmse_trend": Metric(better="lower"),
        "test_rmse_csv": Metric(better="lower"),
        "test_mae_csv": Metric(better="lower"),
        "test_mase_csv": Metric(better="lower"),
        "test_nll_csv": Metric(better="lower"),
        "coverage90_csv": Metric(better="higher", floor=0.7),
        "test_rmse_free_csv": Metric(better="lower"),
        "forecast_rmse_truth_csv": Metric(better="lower"),
        "fit_rmse_csv": Metric(better="lower"),
        "fitted_points_csv": Metric(better="higher"),
        "gain_seasonal_naive_csv": Metric(better="higher", floor=0.5),
        "gain_seasonal_drift_csv": Metric(better="higher"),
        "skill_csv": Metric(better="higher", floor=0.15),
        "persistence_rmse_csv": Metric(better="lower"),
        "seasonal_naive_rmse_csv": Metric(better="lower"),
        "seasonal_drift_rmse_csv": Metric(better="lower"),
        "linear_ar_rmse_csv": Metric(better="lower"),
    },
    variants={
        "book": Variant(
            {"features": "buckets", "center": "global", "steps_trend": 6000, "steps_csv": 1000},
            {"fitted_points_trend": 970},
            "B1 15.3",
            about="ten buckets of the period, values standardized as they are",
        ),
        "squared": Variant({"loss": "squared"}, about="squared error instead of the likelihood"),
    },
    curves={"Loss": ["loss_trend_scored", "loss_csv_scored"]},
    picture="forecast_trend.png",
    example="dlbooks predict series-ar sales.csv steps=24 period=12 -o forecast.csv",
    use=Use(
        takes="numbers",
        about="30 values of a series or more, oldest first; what was learned is a sine of period 200 on a rising line",
        example="[0.0, 0.04, 0.07, 0.11, 0.15, 0.18, 0.22, 0.25, 0.29, 0.32, 0.36, 0.39, 0.43, 0.46, 0.5, 0.53, 0.56, 0.59, 0.63, 0.66, 0.69, 0.72, 0.75, 0.78, 0.8, 0.83, 0.86, 0.89, 0.91, 0.94]",
    ),
)


class Params(ChapterParams):
    n_in_trend: int = Field(30, ge=1, le=10_000)
    """last values that the model sees, series `trend`"""
    n_out_trend: int = Field(10, ge=1, le=10_000)
    """values it predicts at once, series `trend`"""
    n_in_csv: int = Field(10, ge=1, le=10_000)
    """last values that the model sees, series `period_trend`"""
    n_out_csv: int = Field(6, ge=1, le=10_000)
    """values it predicts at once, series `period_trend`"""
    steps_trend: int = Field(1500, ge=1, le=1_000_000)
    """gradient steps on `trend`"""
    steps_csv: int = Field(1000, ge=1, le=1_000_000)
    """gradient steps on `period_trend`"""
    batch_size: int = Field(16, ge=1, le=10_000)
    """random windows per step"""
    learning_rate: float = Field(0.003, gt=0, le=1)
    """step size of Adam"""
    loss: Literal["normal", "squared"] = "normal"
    """likelihood of a normal distribution, or squared error"""
    features: Literal["sincos", "buckets"] = "sincos"
    """how a target's place in the period is told"""
    center: Literal["last", "global"] = "last"
    """whether values are taken relative to the last one seen, or as they are"""


SERIES = {"trend": ("series-synthetic", "trend"), "csv": ("series", "period_trend")}
AHEAD = 250  # steps drawn beyond the end, as in the book


# ## The model
def phase_features(times: tf.Tensor, period: tf.Tensor, kind: str) -> tf.Tensor:
    """Times int64 [N, n] → [N, n · 2] with sine and cosine of the phase, or [N, n · 10] with one of ten buckets set."""
    phase = tf.cast(tf.math.floormod(times, period), tf.float32) / tf.cast(period, tf.float32)
    if kind == "buckets":
        found = tf.one_hot(tf.cast(10 * tf.math.floormod(times, period) // period, tf.int32), 10)
    else:
        found = tf.stack([tf.sin(2 * np.pi * phase), tf.cos(2 * np.pi * phase)], -1)
    return tf.reshape(found, (tf.shape(times)[0], times.shape[1] * found.shape[-1]))


def gaussian_nll(y, mean, log_variance):
    """−ln N(y | mean, exp log_variance)."""
    return 0.5 * (np.log(2 * np.pi) + log_variance + tf.square(y - mean) * tf.exp(-log_variance))


class AR(keras.Model):
    """(window float32 [N, n_in], time int64 [N] of the first target) → mean and standard deviation [N, n_out], all in data units."""

    def __init__(self, n_in: int, n_out: int, p: Params):
        super().__init__()
        self.n_in, self.n_out, self.p = n_in, n_out, p
        self.dense = keras.layers.Dense(2 * n_out, name="dense")
        self.dense.build((None, n_in + n_out * (2 if p.features == "sincos" else 10)))
        fixed = {"mean": ((), "zeros"), "std": ((), "ones"), "residual": ((n_out,), "ones")}
        for name, (shape, start) in fixed.items():
            setattr(self, name, self.add_weight(shape=shape, initializer=start, trainable=False, name=name))
        self.period = self.add_weight(shape=(), initializer="ones", dtype="int64", trainable=False, name="period")
        self.built = True

    def standardized(self, window, time):
        """Mean and log-variance of the targets in standardized units."""
        z = (window - self.mean) / self.std
        last = z[:, -1:] if self.p.center == "last" else 0.0
        times = time[:, None] + tf.range(self.n_out, dtype=tf.int64)
        found = self.dense(tf.concat([z - last, phase_features(times, tf.convert_to_tensor(self.period), self.p.features)], 1))
        return found[:, : self.n_out] + last, tf.clip_by_value(found[:, self.n_out :], -10.0, 2.0)

    def call(self, window, time):
        mean, log_variance = self.standardized(window, time)
        deviation = tf.exp(log_variance / 2) if self.p.loss == "normal" else tf.zeros_like(mean) + self.residual
        return mean * self.std + self.mean, deviation * self.std


def build(params: Params) -> dict[str, AR]:
    return {"trend": AR(params.n_in_trend, params.n_out_trend, params), "csv": AR(params.n_in_csv, params.n_out_csv, params)}


# ## Training
# Windows of $n_{in} + n_{out}$ rows at random places; the first part is seen, the second is to be predicted.
def fit(model: AR, times: np.ndarray, values: np.ndarray, period: int, steps: int, run, label: str) -> None:
    p, length = model.p, model.n_in + model.n_out
    if length > len(values):
        raise UserError(f"n_in = {model.n_in} and n_out = {model.n_out} need {length} rows, there are {len(values)} for training")
    mean, std = fc.moments(values)
    if p.center == "last":  # the unit is the typical change over a block: that of the level would be far too coarse for a rising series
        changes = [values[k:] - values[:-k] for k in range(1, model.n_out + 1)]
        std = np.maximum(np.sqrt(np.mean([np.square(c).mean(0) for c in changes], 0)), 1e-8)
    for variable, value in ((model.mean, mean[0]), (model.std, std[0]), (model.period, period)):
        variable.assign(value)
    optimizer = Adam(p.learning_rate)
    weights = model.trainable_variables
    optimizer.build(weights)

    @tf.function(reduce_retracing=True)
    def pass_over(windows, first):
        total = 0.0
        for number in tf.range(tf.shape(windows)[0]):
            y = (windows[number, :, model.n_in :] - model.mean) / model.std
            with tf.GradientTape() as tape:
                guess, s = model.standardized(windows[number, :, : model.n_in], first[number])
                loss = tf.reduce_mean(gaussian_nll(y, guess, s) if p.loss == "normal" else tf.square(y - guess))
            optimizer.apply(tape.gradient(loss, weights), weights)
            total += loss
        return total / tf.cast(tf.shape(windows)[0], tf.float32)

    every = min(250, steps)
    for part in run.epochs(-(-steps // every), label, model=model, optimizer=optimizer):
        count = min(every, steps - part * every)
        starts, windows = fc.random_windows(values, length, count * p.batch_size, run.random(label, part))
        shape = (count, p.batch_size)
        loss = pass_over(tf.constant(windows.reshape(*shape, length)), tf.constant(times[starts + model.n_in].reshape(shape)))
        run.log(part * every + count, **{f"loss_{label}": float(loss)})
    starts = np.arange(len(values) - length + 1)[:, None] + np.arange(length)
    guess, _ = tf.function(model)(tf.constant(values[starts[:, : model.n_in], 0], tf.float32), tf.constant(times[starts[:, model.n_in]]))
    model.residual.assign(np.sqrt(np.square(values[starts[:, model.n_in :], 0] - guess.numpy()).mean(0)) / std)


def train(run):
    p = run.params
    for key, (data, name) in SERIES.items():
        found = fc.load_series(run.records(data), name)
        for kind, rows in (("scored", found["train_length"]), ("all", len(found["values"]))):
            model = build(p)[key]
            steps = p.steps_trend if key == "trend" else p.steps_csv
            fit(model, found["times"][:rows], found["values"][:rows], found["period"], steps, run, f"{key}_{kind}")
            run.save(model, f"{key}_{kind}")


# ## Evaluation
def rolling_blocks(rows: int, n_in: int, n_out: int) -> np.ndarray:
    """First targets of blocks of n_out rows that end with the last row; the first (rows − n_in) mod n_out targets are left out."""
    return np.arange(n_in + (rows - n_in) % n_out, rows, n_out)


def rolling(model: AR, times: np.ndarray, values: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rolling origin over rows ``first`` …: the rows predicted, their means and deviations, each flat."""
    blocks = rolling_blocks(len(values) - first + model.n_in, model.n_in, model.n_out) + first - model.n_in
    windows = values[blocks[:, None] + np.arange(-model.n_in, 0), 0]
    mean, std = tf.function(model)(tf.constant(windows, tf.float32), tf.constant(times[blocks]))
    rows = (blocks[:, None] + np.arange(model.n_out)).ravel()
    return rows, mean.numpy().ravel().astype(np.float64), std.numpy().ravel().astype(np.float64)


def free(serve: Callable, history: np.ndarray, time: int, steps: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Free run of ``steps`` beyond a history [T] that ends before ``time``: mean, and the middle 90 % of 200 futures drawn block by block."""
    paths = np.repeat(np.asarray(history, np.float64)[None], fc.PATHS + 1, 0)  # row 0 is the run without draws
    given = paths.shape[1]
    while paths.shape[1] < given + steps:
        n_in = serve.n_in
        now = np.full(len(paths), time + paths.shape[1] - given, np.int64)
        mean, std = (np.asarray(v, np.float64) for v in serve(tf.constant(paths[:, -n_in:], tf.float32), tf.constant(now)))
        draws = np.concatenate([np.zeros((1, mean.shape[1])), rng.standard_normal((fc.PATHS, mean.shape[1]))])
        paths = np.concatenate([paths, mean + std * draws], 1)
    future = paths[:, given : given + steps]
    low, high = np.sort(future[1:], 0)[[round(0.05 * (fc.PATHS - 1)), round(0.95 * (fc.PATHS - 1))]]
    return future[0], low, high


class Serve:
    """A model or an exported function as (windows, times) → (means, deviations)."""

    def __init__(self, function: Callable, n_in: int):
        self.function, self.n_in = function, n_in

    def __call__(self, window, time):
        found = self.function(window, time)
        return (found["mean"], found["std"]) if isinstance(found, dict) else found


def rulers(model_n_in: int, n_out: int, values: np.ndarray, first: int, rows: np.ndarray, period: int) -> dict[str, float]:
    """RMSE of the baselines on the same rows from the same origins."""
    begin = int(rows[0])
    truth = values[rows]
    found = {"persistence": fc.persistence(values, begin, n_out)}
    if period < first:
        found["seasonal_naive"] = fc.seasonal_naive(values, begin, [period])
    if 2 * period <= first and period >= n_out:
        found["seasonal_drift"] = fc.seasonal_drift(values, begin, period, n_out)
    ar = fc.linear_ar(values[:first], model_n_in, n_out, ridge=1e-3)
    found["linear_ar"] = ar(values, rows[::n_out]).reshape(-1, 1)
    return {name: fc.rmse(truth, forecast) for name, forecast in found.items()}


def evaluate(run) -> dict:
    result, drawn, windows = {}, {}, []
    for key, (data, name) in SERIES.items():
        found = fc.load_series(run.records(data), name)
        times, values, n, period = (found[k] for k in ("times", "values", "train_length", "period"))
        model = run.load(build(run.params)[key], f"{key}_scored")
        rows, mean, std = rolling(model, times, values, n)
        truth = values[rows, 0]
        freely = free(Serve(tf.function(model), model.n_in), values[:n, 0], int(times[n]), len(values) - n, run.random("free", key))
        naive = {f"{k}_rmse": v for k, v in rulers(model.n_in, model.n_out, values, n, rows, period).items()}
        drawn[key] = (times, values, n, rows, mean, std, freely)
        error = fc.rmse(truth, mean)

        final = run.load(build(run.params)[key], f"{key}_all")
        seen, fitted, _ = rolling(final, times, values, final.n_in)
        future = times[-1] + 1 + np.arange(AHEAD)
        clean = (series_synthetic.clean("trend", future) if key == "trend" else series.period_trend(future))[:, 0]
        beyond = free(Serve(tf.function(final), final.n_in), values[:, 0], int(future[0]), AHEAD, run.random("beyond", key))
        run.figure(
            f"forecast_{key}.png",
            forecast_figure(times, values[:, 0], times[seen], fitted, future, beyond, clean),
            f"Series {name}: observations, fitted values and {AHEAD} steps of forecast with its 90 % band; the dotted formula runs through the band's middle",
        )
        if key == "trend":
            columns = dict(zip(("time", "mean", "low90", "high90"), (future, *beyond), strict=True))
            run.table("forecast_trend.csv", [{k: v[i].item() for k, v in columns.items()} for i in range(AHEAD)])
        number, length = (2, 10) if key == "trend" else (4, 16)
        starts, _ = fc.random_windows(values, length, number, run.random("windows", key))
        windows += [
            {"series": name, "window": w, "time": int(times[s + i]), "value": float(values[s + i, 0])}
            for w, s in enumerate(starts)
            for i in range(length)
        ]
        scores = {
            "test_rmse": error,
            "test_mae": fc.mae(truth, mean),
            "test_mase": fc.mase(truth, mean, values[:n, 0], period),
            "test_nll": float(np.mean(gaussian_nll(truth, mean, 2 * np.log(std)))),
            "coverage90": float(np.mean(np.abs(truth - mean) <= 1.645 * std)),
            "test_rmse_free": fc.rmse(values[n:, 0], freely[0]),
            "forecast_rmse_truth": fc.rmse(clean, beyond[0]),
            "fit_rmse": fc.rmse(values[seen, 0], fitted),
            "fitted_points": len(fitted),
            "gain_seasonal_naive": fc.gain(error, naive["seasonal_naive_rmse"]),
            "gain_seasonal_drift": fc.gain(error, naive["seasonal_drift_rmse"]),
            **naive,
        }
        result |= {f"{k}_{key}": v for k, v in scores.items()}
    result["skill_csv"] = fc.gain(result["test_rmse_csv"], result["persistence_rmse_csv"])
    run.table("window_batch.csv", windows)
    trend = fc.load_series(run.records("series-synthetic"), "trend")
    run.figure(
        "series_trend.png",
        series_figure(trend),
        "The drawn series: a sine of period 200 on a rising line, with uniform noise, and the formula behind it",
    )
    run.figure(
        "held_out.png",
        held_out_figure(drawn),
        "The held-out tails: forecasts in blocks from observed values, and the free run that never sees them, with the band",
    )
    return result


def series_figure(found: dict):
    figure, axes = figures.new(11, 3.4)
    axes.plot(found["times"], found["values"][:, 0], color="#8b98a5", linewidth=0.9, label="with noise")
    axes.plot(found["times"], found["clean"][:, 0], color=fc.FORECAST, linewidth=1.6, label="sin(πt/100) + t/200")
    axes.set(xlabel="time", ylabel="value")
    axes.margins(x=0.01)
    axes.legend(frameon=False)
    return figure


def forecast_figure(times, values, fitted_times, fitted, future, forecast, clean):
    figure, axes = figures.new(11, 4.2)
    fc.draw_forecast(axes, times, values, future, *forecast, fitted=(fitted_times, fitted), truth=(future, clean))
    fc.mark_start(axes, future[0] - 0.5)
    axes.set(xlabel="time", ylabel="value")
    fc.legend(figure, axes)
    return figure


def held_out_figure(drawn: dict):
    figure, axes = figures.new(11, 6.6, 2, 1)
    for axis, (key, (times, values, n, rows, mean, _, freely)) in zip(axes, drawn.items(), strict=True):
        start = n - len(values) // 10
        fc.draw_forecast(axis, times[start:n], values[start:n, 0], times[n:], *freely, held_out=(times[n:], values[n:, 0]))
        axis.plot(times[rows], mean, color=fc.RULER, linewidth=1.3, label="forecast in blocks, from observed values")
        fc.mark_start(axis, times[n] - 0.5)
        axis.set(xlabel="time", ylabel=SERIES[key][1])
    fc.legend(figure, axes[0], 5)
    return figure


def served(model: AR) -> Callable:
    """The exported form of a model."""
    return lambda window, phase: dict(zip(("mean", "std"), model(window, phase), strict=True))


def export(run):
    models = {key: run.load(model, f"{key}_all") for key, model in build(run.params).items()}
    functions = {}
    for name, key in (("serve", "trend"), ("serve_csv", "csv")):
        model = models[key]
        spec = [tf.TensorSpec((None, model.n_in), tf.float32, name="window"), tf.TensorSpec((None,), tf.int64, name="phase")]
        functions[name] = (served(model), spec)
    variables = [v for m in models.values() for v in m.variables]
    values = fc.load_series(run.records("series-synthetic"), "trend")["values"]
    example = {"window": values[None, -models["trend"].n_in :, 0], "phase": [len(values)]}
    saved_model(run.out / "export" / "saved_model", functions, variables, example=example)


# ## Use
# The exported weights know one series. Somebody else's needs a fit of its own, which takes a second or two; what it is worth is said beside
# the rulers, measured on the last fifth of the file, and the best of them is named even if it is not the model.
def answer(
    run, inputs: list[np.ndarray], *, steps: fc.Steps = 100, time: Annotated[int, Field(ge=0, le=10**9)] = 0, plot: bool = False
) -> list[dict]:
    rows = [checked_numbers(values, 1, least=run.params.n_in_trend, most=fc.MOST_ROWS) for values in inputs]
    return [fc.answered(values, time, *continued(run, values, time + len(values), steps), plot) for values in rows]


def continued(run, values: np.ndarray, time: int, steps: int) -> list[np.ndarray]:
    """The exported model's mean, low and high [steps, 1] from ``time``, beyond values [T, 1]."""
    found = free(Serve(run.model.serve, run.params.n_in_trend), values[:, 0], time, steps, run.random("predict"))
    return [v[:, None] for v in found]


def predict(
    run,
    inputs: list[str],
    out: Path | None = None,
    *,
    steps: int = 24,
    period: int = 0,
    n_in: int = 0,
    n_out: int = 0,
    refit: bool = True,
):
    name, times, values, names = fc.read_input(inputs, 1)
    _series.require_no_gaps(name, times)
    if not 1 <= steps <= 100_000:
        raise UserError(f"steps = {steps}: must be 1 … 100000")
    p = run.params
    if refit:
        if period and not 2 <= period <= len(values):
            raise UserError(f"period = {period}: must be 2 … {len(values)}, the number of rows")
        trial = len(values) - len(values) // 5
        if not period and trial < 6:
            raise UserError(f"{name}: {len(values)} rows are too few to find the period; give period=…")
        ramp = np.linspace(0, 1, len(values))[:, None]
        period = period or fc.find_periods(values - ramp * (values[-1] - values[0]))[0]
        n_out = n_out or min(p.n_out_trend, steps, max(1, trial // 8))
        n_in = n_in or min(p.n_in_trend, max(2, trial // 3))
        if min(n_in, n_out) < 1 or n_in + n_out > trial:
            raise UserError(f"n_in = {n_in} and n_out = {n_out}: must be at least 1 and together at most {trial}, the rows of the trial fit")
        keras.utils.set_random_seed(p.seed)
        model = AR(n_in, n_out, p)
        fit(model, times[:trial], values[:trial], period, p.steps_trend, fc.Untracked(run), "trial")
        rows, mean, _ = rolling(model, times, values, trial)
        if len(rows):
            table = {"this model": fc.rmse(values[rows, 0], mean), **rulers(n_in, n_out, values, trial, rows, period)}
            print(f"{name}: period {period}; error on the last {len(rows)} rows, {n_out} ahead from the {n_in} before:")
            for label, error in sorted(table.items(), key=lambda item: item[1]):
                print(f"  {label.replace('_', ' '):16s} {error:.6g}")
            print(f"  best: {min(table, key=table.get).replace('_', ' ')}")
        model = AR(n_in, n_out, p)
        fit(model, times, values, period, p.steps_trend, fc.Untracked(run), "refit")
        forecast = [v[:, None] for v in free(Serve(tf.function(model), n_in), values[:, 0], int(times[-1]) + 1, steps, run.random("predict"))]
    else:
        if len(values) < p.n_in_trend:
            raise UserError(f"{name}: {len(values)} rows, the exported model needs the last {p.n_in_trend}")
        forecast = continued(run, values, int(times[-1]) + 1, steps)
    fc.write_forecast(out, name, names, times, values, *forecast)
