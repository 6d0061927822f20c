r"""# A sine curve, from TensorFlow 1 to 2

The smallest forecasting task there is: ten neighboring values of a sine, what is the eleventh? B3 solves it with two LSTM layers of 30 units and prints
one of the plainest examples of TensorFlow 1; it announces a Keras port and leaves it out. This is the port.

| TensorFlow 1.12 (B3) | TensorFlow 2 (here) |
| --- | --- |
| `MultiRNNCell([BasicLSTMCell(30)] * 2)`, `dynamic_rnn`, last output | two LSTM layers, the second read at its last step |
| `tf.contrib.layers.fully_connected`, `optimize_loss` | `keras.layers.Dense`, a gradient tape and an optimizer |
| `Dataset…make_one_shot_iterator().get_next()` | an array of indices |
| `with tf.Session(): sess.run(train_op)` per step | one `tf.function` per hundred steps, with the loop inside |

`tf_upgrade_v2` renames what was renamed; what lay in `tf.contrib`, it cannot replace, since that has no successor of the same shape.

**Two slips in the book's code.** Each input is built with one list level too many, shape (1, 10) instead of (10, 1): one step of ten features, so the net
never recurs (variant `book_bug`: 12,271 parameters instead of 11,191). And the number printed as *Mean Square Error* is its root; both stand here under
their own names.

**How easy is it?** The places lie 0.01 apart, so ten values span 0.1 of 6.28: nearly a straight line. The rulers on the 1,000 test values:

| forecast | gap 0.01 | gap 0.1 |
| --- | --- | --- |
| persistence | 0.0073 | 0.071 |
| seasonal naive, 628 or 63 steps ago | 0.0058 | 0.012 |
| straight line $2x_t - x_{t-1}$ | 0.00007 | 0.0071 |
| exact recurrence $2\cos(h)\,x_t - x_{t-1}$ | 0 | 0 |
| LSTM of the book, Adam 0.1 (variant `book`) | 0.025 | 0.0065 |
| LSTM that predicts the change (default) | 0.00001 | 0.0003 |

Predicting the *value*, the net spends its accuracy on copying $x_t$: what it must add is a hundredth of it. So the default predicts the **change** from the last
value, in units of the typical change, and gets the window relative to its last value, with that value itself as a second input. In 800 steps
the net becomes a hundred times more accurate than with raw values, beats the straight line and, fed with its own output for 300 steps, stays on the curve. A second net learns the
sine at gap 0.1, where a straight line is no forecast any more.

`dlbooks run sine-lstm`, then `dlbooks predict sine-lstm history.csv steps=300 -o sine.csv` continues a sine with neighbors 0.01 (or `gap=0.1`) apart from at least
ten rows.
"""

from pathlib import Path
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from dlbooks import UserError, figures
from dlbooks.catalog import Chapter, Metric, Use, Variant
from dlbooks.export import saved_model
from dlbooks.inputs import checked_numbers
from dlbooks.nn import forecasting as fc
from dlbooks.nn.training import Adam, compiled_epoch, shuffled
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="sine-lstm",
    title="The sine curve, TensorFlow 1 to 2",
    family="series-rl",
    sources=["B3 8"],
    datasets=["series-synthetic"],
    headline="test_rmse",
    metrics={
        "test_rmse": Metric(better="lower", floor=0.00004),
        "test_mse": Metric(better="lower"),
        "rollout_rmse_300": Metric(better="lower", floor=0.02),
        "gain_seasonal_naive": Metric(better="higher", floor=0.9),
        "persistence_rmse": Metric(better="lower"),
        "seasonal_naive_rmse": Metric(better="lower"),
        "linear_rmse": Metric(better="lower"),
        "test_rmse_gap01": Metric(better="lower", floor=0.0015),
        "test_mse_gap01": Metric(better="lower"),
        "rollout_rmse_300_gap01": Metric(better="lower", floor=0.05),
        "gain_seasonal_naive_gap01": Metric(better="higher", floor=0.5),
        "persistence_rmse_gap01": Metric(better="lower"),
        "seasonal_naive_rmse_gap01": Metric(better="lower"),
        "linear_rmse_gap01": Metric(better="lower"),
    },
    variants={
        "book": Variant(
            {"target": "value", "learning_rate": 0.1, "schedule": "constant", "steps": 10_000, "steps_gap01": 10_000},
            source="B3 8",
            about="raw values in and out, Adam with a constant rate of 0.1",
        ),
        "book_bug": Variant(
            {"target": "value", "shape": "book_bug", "learning_rate": 0.1, "schedule": "constant", "steps": 10_000, "steps_gap01": 10_000},
            source="B3 8",
            about="the inputs as the book builds them: one step of ten features",
        ),
        "value": Variant({"target": "value", "learning_rate": 0.03}, about="raw values in and out, the rate falling to zero"),
    },
    curves={"Loss": ["loss", "loss_gap01"]},
    picture="rollout.png",
    example="dlbooks predict sine-lstm history.csv steps=300 -o sine.csv",
    use=Use(
        takes="numbers",
        about="ten values of a sine or more, oldest first, 0.01 apart (or 0.1)",
        example="[0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09]",
    ),
)


class Params(ChapterParams):
    target: Literal["change", "value"] = "change"
    """predict the change from the last value, or the value itself"""
    shape: Literal["recurrent", "book_bug"] = "recurrent"
    """ten steps of one value, or, as in the book, one step of ten"""
    steps: int = Field(800, ge=1, le=1_000_000)
    """gradient steps at gap 0.01"""
    steps_gap01: int = Field(400, ge=1, le=1_000_000)
    """gradient steps at gap 0.1"""
    batch_size: int = Field(32, ge=1, le=10_000)
    """examples per step"""
    learning_rate: float = Field(0.01, gt=0, le=1)
    """step size of Adam"""
    schedule: Literal["constant", "cosine"] = "cosine"
    """whether the step size falls to zero along a cosine"""


WINDOW = 10
GAPS = {"": 0.01, "_gap01": 0.1}


# ## The network
class Sine(keras.Model):
    """Ten values float32 [N, 10, 1] → the next [N, 1]; ``unit``, the typical change, is kept with the weights."""

    def __init__(self, p: Params):
        super().__init__()
        self.p = p
        features = WINDOW if p.shape == "book_bug" else 2 if p.target == "change" else 1
        self.first, self.second = fc.LSTM(30, features, name="lstm1"), fc.LSTM(30, 30, name="lstm2")
        self.head = keras.layers.Dense(1, name="head")
        self.head.build((None, 30))
        self.unit = self.add_weight(shape=(), initializer="ones", trainable=False, name="unit")
        self.built = True

    def call(self, x, training=False):
        last = x[:, -1]
        inputs = x
        if self.p.target == "change":
            inputs = tf.concat([(x - last[:, None]) / self.unit, tf.repeat(last[:, None], WINDOW, 1)], 2)
        if self.p.shape == "book_bug":
            inputs = tf.transpose(inputs[:, :, :1], (0, 2, 1))
        found = self.head(self.second(self.first(inputs))[:, -1])
        return last + self.unit * found if self.p.target == "change" else found


def build(params: Params) -> dict[str, Sine]:
    return {name: Sine(params) for name in GAPS}


# ## Data
# The books' files at gap 0.01. At gap 0.1 every value is drawn from the sine by the same rule: 10,010 values for training, the next 1,010 for the test.
def curves(run, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Training and test values, float64 [T]."""
    if name:
        whole = tf.sin(tf.constant(0.1 * np.arange(11_020))).numpy()
        return whole[:10_010], whole[10_010:]
    records = run.records("series-synthetic")
    return tuple(fc.load_series(records, f"sine_{split}")["values"][:, 0] for split in ("train", "test"))


def examples(curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A curve of n + 10 values → float32 inputs [n, 10, 1] and targets [n, 1]."""
    rows = np.arange(len(curve) - WINDOW)[:, None] + np.arange(WINDOW)
    return curve[rows][:, :, None].astype(np.float32), curve[WINDOW:, None].astype(np.float32)


# ## Training
# The loss is the squared error in units of the typical change: at gap 0.01 squared errors of raw values would soon drown in Adam's ε.
def train(run):
    p = run.params
    models = build(p)
    for name, model in models.items():
        curve, _ = curves(run, name)
        x, y = (tf.constant(v) for v in examples(curve))
        model.unit.assign(np.std(np.diff(curve)))
        unit = model.unit if p.target == "change" else 1.0
        total = p.steps_gap01 if name else p.steps
        optimizer = Adam(keras.optimizers.schedules.CosineDecay(p.learning_rate, total) if p.schedule == "cosine" else p.learning_rate)
        epoch = compiled_epoch(model, optimizer, lambda truth, guess, u=unit: tf.square((truth - guess) / u))
        every = min(100, total)
        for part in run.epochs(-(-total // every), f"steps{name}", model=model, optimizer=optimizer):
            count = min(every, total - part * every)
            order = shuffled(run, len(x), p.batch_size, part * every, count, f"order{name}")
            run.log(part * every + count, **{f"loss{name}": epoch(x, y, order, p.batch_size)})
        run.save(model, f"weights{name}")


# ## Evaluation
def roll(model, window, steps):
    """Free run: window [N, 10, 1] → [N, steps, 1], each prediction pushed into the window that gives the next."""

    def step(window, x):
        window = tf.concat([window[:, 1:], x[:, None]], 1)
        return model(window), window

    found, _ = fc.free_run(step, tf.ensure_shape(window, (None, WINDOW, 1)), tf.ensure_shape(model(window), (None, 1)), steps)
    return tf.transpose(found, (1, 0, 2))


def evaluate(run) -> dict:
    result, rows, tested, rolled = {}, [], {}, {}
    for name, gap in GAPS.items():
        model = run.load(build(run.params)[name], f"weights{name}")
        train_curve, curve = curves(run, name)
        x, _ = examples(curve)
        guess = tf.function(model)(tf.constant(x)).numpy()[:, 0].astype(np.float64)
        free = tf.function(lambda w, m=model: roll(m, w, 300))(tf.constant(x[:1])).numpy()[0, :, 0].astype(np.float64)
        truth, whole = curve[WINDOW:], np.concatenate([train_curve, curve])
        period = round(2 * np.pi / gap)
        scores = {
            "test_rmse": fc.rmse(truth, guess),
            "test_mse": fc.rmse(truth, guess) ** 2,
            "rollout_rmse_300": fc.rmse(truth[:300], free),
            "persistence_rmse": fc.rmse(truth, curve[WINDOW - 1 : -1]),
            "seasonal_naive_rmse": fc.rmse(truth, whole[-len(truth) - period : -period]),
            "linear_rmse": fc.rmse(truth, 2 * curve[WINDOW - 1 : -1] - curve[WINDOW - 2 : -2]),
        }
        scores["gain_seasonal_naive"] = fc.gain(scores["test_rmse"], scores["seasonal_naive_rmse"])
        result |= {f"{k}{name}": v for k, v in scores.items()}
        exact = fc.rmse(truth, 2 * np.cos(gap) * curve[WINDOW - 1 : -1] - curve[WINDOW - 2 : -2])
        named = {"persistence": "persistence_rmse", "seasonal naive": "seasonal_naive_rmse", "straight line": "linear_rmse", "LSTM": "test_rmse"}
        rows += [{"gap": gap, "forecast": k, "rmse": scores[v]} for k, v in named.items()]
        if name:  # the files of gap 0.01 are 0.010001 and 0.01001 apart, and have ten decimals
            rows.append({"gap": gap, "forecast": "exact recurrence", "rmse": exact})
        tested[gap], rolled[gap] = (truth, guess), (curve[:WINDOW], truth[:300], free)
    run.table("baselines.csv", rows)
    run.figure(
        "sine.png", sine_figure(tested), "Predictions one step ahead over the test curves, and below them the errors, far smaller than a line's width"
    )
    run.figure(
        "rollout.png",
        rollout_figure(rolled),
        "Right of the dotted line the net sees only its own output: 300 steps are half a turn at gap 0.01 and nearly five turns at gap 0.1",
    )
    return result


def sine_figure(tested: dict):
    figure, axes = figures.new(11, 5, 2, 2, sharex="col", height_ratios=(2, 1))
    for (gap, (truth, guess)), column in zip(tested.items(), axes.T, strict=True):
        shown = slice(0, 1000 if gap < 0.05 else 200)
        column[0].plot(truth[shown], color=fc.OBSERVED, linewidth=4, alpha=0.25, label="sine")
        column[0].plot(guess[shown], color=fc.FITTED, linewidth=1.4, label="predicted from ten values")
        column[0].set_title(f"gap {gap:g}")
        column[1].plot((guess - truth)[shown], color=fc.FORECAST, linewidth=1)
        column[1].ticklabel_format(axis="y", scilimits=(0, 0))
        column[1].set(xlabel="test value", ylabel="error")
    fc.legend(figure, axes[0, 0], 2)
    return figure


def rollout_figure(rolled: dict):
    figure, axes = figures.new(11, 5.4, 2, 1)
    for axis, (gap, (seen, truth, free)) in zip(axes, rolled.items(), strict=True):
        future = np.arange(len(free))
        fc.draw_forecast(axis, np.arange(-WINDOW, 0), seen, future, free, truth=(future, truth))
        axis.lines[0].set(color=fc.FITTED, linewidth=3)
        fc.mark_start(axis, -0.5)
        axis.set(ylabel=f"gap {gap:g}", ylim=(-1.3, 1.3))
    axes[1].set_xlabel("steps ahead")
    handles, _ = axes[0].get_legend_handles_labels()
    figure.legend(handles, ["the ten values given", "forecast, free running", "sine"], loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return figure


def export(run):
    models = {name: run.load(model, f"weights{name}") for name, model in build(run.params).items()}
    spec = [tf.TensorSpec((None, WINDOW, 1), tf.float32, name="window")]
    functions = {f"serve{name}": (served(model), spec) for name, model in models.items()}
    functions |= {f"forecast{name}": (rolling(model), [*spec, tf.TensorSpec((), tf.int32, name="steps")]) for name, model in models.items()}
    _, curve = curves(run, "")
    saved_model(run.out / "export" / "saved_model", functions, [v for m in models.values() for v in m.variables], example=examples(curve)[0][:3])


def served(model: Sine):
    return lambda window: {"next": model(window)}


def rolling(model: Sine):
    return lambda window, steps: {"mean": roll(model, window, steps)}


# ## Use
# Ten rows of a sine and the number of steps; a curve of another frequency needs another net (`series-ar` fits one to any file).
def answer(run, inputs: list[np.ndarray], *, steps: fc.Steps = 300, gap: float = 0.01, plot: bool = False) -> list[dict]:
    rows = [checked_numbers(values, 1, least=WINDOW, most=fc.MOST_ROWS) for values in inputs]
    return [fc.answered(values, 0, continued(run, values, steps, gap), None, None, plot) for values in rows]


def continued(run, values: np.ndarray, steps: int, gap: float) -> np.ndarray:
    """Float64 [steps, 1] beyond values [T, 1]."""
    if gap not in GAPS.values():
        raise UserError(f"gap = {gap:g}: must be 0.01 or 0.1, the distances the nets were trained at")
    ahead = run.model.forecast if gap == 0.01 else run.model.forecast_gap01
    return ahead(tf.constant(values[None, -WINDOW:], tf.float32), tf.constant(steps))["mean"].numpy()[0].astype(np.float64)


def predict(run, inputs: list[str], out: Path | None = None, *, steps: int = 300, gap: float = 0.01):
    name, times, values, names = fc.read_input(inputs, 1)
    if len(values) < WINDOW:
        raise UserError(f"{name}: {len(values)} rows, the net needs at least {WINDOW}")
    if not 1 <= steps <= 100_000:
        raise UserError(f"steps = {steps}: must be 1 … 100000")
    holes = np.flatnonzero(np.diff(times[-WINDOW:]) != 1)
    if len(holes):
        raise UserError(f"{name}: the last {WINDOW} times have a gap after {times[-WINDOW:][holes[0]]}; the net needs neighbors")
    fc.write_forecast(out, name, names, times, values, continued(run, values, steps, gap))
