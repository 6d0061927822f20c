r"""# An LSTM that forecasts a series, alone

A recurrent net reads a series one value at a time and keeps in its state what it needs of the past. At every step it predicts the next value:

$$h_t, c_t = \mathrm{LSTM}(x_t, h_{t-1}, c_{t-1}), \qquad \hat x_{t+1} = W h_t + b, \qquad L = \frac{1}{n} \sum_t (\hat x_{t+1} - x_{t+1})^2 .$$

In training the true value is always fed (**teacher forcing**), in windows of 100 cut out of the series at random places. After the last
observation nothing is left to feed but the prediction itself: the net runs **free**, and its errors come back as inputs.

**The series** of B1 15.4.1 is a sum of two waves, $\sin(\pi t/50) + \cos(\pi t/50) + \sin(\pi t/25)$, with uniform noise of ±0.2 on top. The book trains on
the 1,000 points and draws the next 200; here those 200 exist, so the drawing can be scored. The noise has the deviation $0.2/\sqrt3 = 0.1155$: that is
the smallest error any forecast can have. The rulers, on the same 200 points:

| forecast | one step | 200 steps free |
| --- | --- | --- |
| mean of the training part | 1.23 | 1.23 |
| persistence: the last value again | 0.189 | |
| seasonal naive: the value one period (100 steps) ago | 0.149 | 0.161 |
| linear autoregression on the last 30 values | 0.138 | |
| LSTM, the book's recipe (variant `book`) | 0.132 | 0.193 |
| LSTM, default | 0.119 | 0.119 |
| noise alone | 0.1155 | 0.1155 |

Seasonal naive pays for the noise twice, $\sqrt2 \cdot 0.1155 = 0.163$ on average; a net that has understood the waves pays once. But trained on noisy inputs with
little data the book's recipe listens too much to the last value, and its free run drifts out of phase. The cure is to make the last value *less*
reliable: **noise added to the inputs, not to the targets**, in training (0.2 standard deviations). Then only the memory over many steps helps, and
both errors fall: with 24 units, 16 windows per step and a rate that falls to zero, to 0.119 one step ahead and 0.119 to 0.131 free (three seeds), in three seconds.
Variant `book` is the recipe as printed: 128 units, 4 windows per step, Adam 0.001, 2,000 steps, no added noise. (The book's code divides by the variance
where it should divide by the deviation; that is corrected here.)

**The band.** 200 futures are drawn: free runs that add a random one-step error to each prediction before they feed it back. The middle 90 % of them
is the band. It is narrow because a net trained with input noise forgets a single error.

`dlbooks run series-lstm`, then `dlbooks predict series-lstm history.csv steps=200 -o forecast.csv`. A CSV holds an integer time and a value per line; times may be
missing: the net fills them with its own predictions. `refit=true` trains on your file first.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from dlbooks import figures
from dlbooks.catalog import Chapter, Metric, Use, Variant
from dlbooks.datasets.series_synthetic import clean
from dlbooks.nn import forecasting as fc
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="series-lstm",
    title="LSTM forecaster, one step ahead and free running",
    family="series-rl",
    sources=["B1 15.4.1"],
    datasets=["series-synthetic"],
    own_data=["series-synthetic"],
    headline="test_rmse_onestep",
    metrics={
        "test_rmse_onestep": Metric(better="lower", floor=0.13),
        "test_rmse_free": Metric(better="lower", floor=0.2),
        "test_rmse_free_first50": Metric(better="lower"),
        "forecast_rmse_truth": Metric(better="lower"),
        "gain_seasonal_naive_onestep": Metric(better="higher", floor=0.1),
        "gain_seasonal_naive_free": Metric(better="higher"),
        "coverage90_free": Metric(better="higher"),
        "fit_rmse": Metric(better="lower"),
        "persistence_rmse": Metric(better="lower"),
        "seasonal_naive_rmse": Metric(better="lower"),
        "seasonal_naive_free_rmse": Metric(better="lower"),
        "linear_ar_rmse": Metric(better="lower"),
        "mean_rmse": Metric(better="lower"),
    },
    variants={
        "book": Variant(
            {
                "units": 128,
                "batch_size": 4,
                "window": 100,
                "steps": 2000,
                "learning_rate": 0.001,
                "schedule": "constant",
                "clip": 0.0,
                "input_noise": 0.0,
                "flip": False,
                "skip": 0,
            },
            source="B1 15.4.1",
            about="the book's recipe, standardized by the deviation",
        )
    },
    curves={"Mean squared error": ["loss"]},
    picture="forecast.png",
    example="dlbooks predict series-lstm history.csv steps=200 -o forecast.csv",
    use=Use(
        takes="numbers",
        about="a series, oldest first; what was learned is a sum of two waves",
        example="[1, 1.2, 1.3, 1.45, 1.5, 1.55, 1.6, 1.7, 1.75, 1.7, 1.8, 1.75]",
    ),
)


class Params(ChapterParams):
    units: int = Field(24, ge=1, le=1024)
    """width of the LSTM's state"""
    batch_size: int = Field(16, ge=1, le=1024)
    """windows per step"""
    window: int = Field(101, ge=3, le=100_000)
    """rows of a training window: one less are inputs"""
    steps: int = Field(800, ge=1, le=1_000_000)
    """gradient steps"""
    learning_rate: float = Field(0.02, gt=0, le=1)
    """step size of Adam"""
    schedule: Literal["constant", "cosine"] = "cosine"
    """whether the step size falls to zero along a cosine"""
    clip: float = Field(1.0, ge=0, le=100)
    """longest gradient of one weight array; 0 for any"""
    input_noise: float = Field(0.2, ge=0, le=2)
    """Gaussian noise on the inputs in training, in standard deviations of the series"""
    flip: bool = False
    """turn training windows upside down at random"""
    skip: int = Field(10, ge=0, le=1000)
    """first predictions of a window that do not count: they know next to nothing"""


def build(params: Params) -> fc.Forecaster:
    return fc.Forecaster(params.units, 1)


def train(run):
    series = fc.load_series(run.records("series-synthetic"), "waves", 1)
    model = build(run.params)
    fc.fit_forecaster(model, series["values"][: series["train_length"]], run.params, run, "loss")
    run.save(model)


# ## Evaluation
# One step ahead the net reads the whole series, tail included, and is scored on its predictions of the tail. Free, it reads the first
# 1,000 points and then only itself.
def evaluate(run) -> dict:
    series = fc.load_series(run.records("series-synthetic"), "waves", 1)
    values, times, n = series["values"], series["times"], series["train_length"]
    period = series["period"] or fc.find_periods(values[:n])[0]
    model = run.load(build(run.params))
    truth, horizon, formula = values[n:], len(values) - n, series.get("clean", values)  # nobody knows the formula of a person's own series
    ahead = fc.fitted(model, values)
    mean, low, high = fc.free(model, values[:n], horizon, run.params.seed)
    naive = fc.seasonal_naive(values, n, [period], free=True)
    rulers = {
        "persistence_rmse": fc.rmse(truth, fc.persistence(values, n)),
        "seasonal_naive_rmse": fc.rmse(truth, fc.seasonal_naive(values, n, [period])),
        "seasonal_naive_free_rmse": fc.rmse(truth, naive),
        "linear_ar_rmse": fc.rmse(truth, fc.linear_ar(values[:n], 30)(values, np.arange(n, len(values)))[:, 0]),
        "mean_rmse": fc.rmse(truth, values[:n].mean(0)),
    }
    onestep, freely = fc.rmse(truth, ahead[n:]), fc.rmse(truth, mean)
    columns = {"time": times[n:], "mean": mean, "low90": low, "high90": high, "observed": truth, "clean": formula[n:], "one_step": ahead[n:]}
    run.table("forecast.csv", [{k: v.ravel()[i].item() for k, v in columns.items()} for i in range(horizon)])
    run.figure(
        "forecast.png",
        forecast_figure(times, values, n, ahead, (mean, low, high), naive),
        f"Left of the dotted line observations and one-step predictions; right of it the net runs on its own output for {horizon} steps, "
        "with the values it never saw as dots: it keeps phase and shape",
    )
    run.figure(
        "error_by_horizon.png",
        horizon_figure(formula[n:], mean, naive),
        "Distance of the free run and of the seasonal-naive forecast to the noise-free formula, by steps ahead: errors that are fed back, and noise that is repeated",
    )
    return {
        "test_rmse_onestep": onestep,
        "test_rmse_free": freely,
        "test_rmse_free_first50": fc.rmse(truth[:50], mean[:50]),
        "forecast_rmse_truth": fc.rmse(truth if run.swaps else clean("waves", times[n:]), mean),
        "gain_seasonal_naive_onestep": fc.gain(onestep, rulers["seasonal_naive_rmse"]),
        "gain_seasonal_naive_free": fc.gain(freely, rulers["seasonal_naive_free_rmse"]),
        "coverage90_free": float(np.mean((truth >= low) & (truth <= high))),
        "fit_rmse": fc.rmse(values[30:n], ahead[30:n]),
        **rulers,
    }


def forecast_figure(times, values, n, ahead, forecast, naive):
    figure, axes = figures.new(11, 4.2)
    start = n - 250
    mean, low, high = (v[:, 0] for v in forecast)
    fitted, held_out, ruler = (times[start:n], ahead[start:n, 0]), (times[n:], values[n:, 0]), (times[n:], naive[:, 0])
    fc.draw_forecast(axes, times[start:n], values[start:n, 0], times[n:], mean, low, high, fitted=fitted, held_out=held_out, ruler=ruler)
    fc.mark_start(axes, times[n] - 0.5)
    axes.set(xlabel="time", ylabel="value")
    fc.legend(figure, axes)
    return figure


def horizon_figure(truth, mean, naive, width: int = 20):
    figure, axes = figures.new(7.2, 3.6)
    edges = np.arange(0, len(truth) - width + 1, width)
    for name, forecast, color in (("seasonal naive", naive, fc.RULER), ("LSTM, free running", mean, fc.FORECAST)):
        errors = [fc.rmse(truth[i : i + width], forecast[i : i + width]) for i in edges]
        axes.plot(edges + width / 2, errors, "o-", color=color, label=name, linewidth=1.6, markersize=4)
    axes.set(xlabel="steps ahead", ylabel=f"RMSE to the formula, {width} steps at a time", ylim=(0, None))
    axes.legend(frameon=False)
    return figure


def export(run):
    series = fc.load_series(run.records("series-synthetic"), "waves", 1)
    fc.export_forecaster(run, run.load(build(run.params)), series["values"][: series["train_length"]])


# ## Use
# The exported net expects a series like the one it learned. For another one, `refit=true` standardizes and trains anew on the given file.
def answer(run, inputs: list[np.ndarray], *, steps: fc.Steps = 100, plot: bool = False) -> list[dict]:
    return fc.answer_forecaster(run, inputs, steps=steps, plot=plot, features=1)


def predict(run, inputs: list[str], out: Path | None = None, *, steps: int = 200, refit: bool = False):
    fc.predict_forecaster(run, build, inputs, out, steps=steps, refit=refit, features=1)
