r"""# Five series, one LSTM

A series of vectors: five variables per time step, each a wave of its own period (3.95 to 39.5 steps) with noise of 0.1, and only 100 rows of them
(B1 15.4.2). The net of `series-lstm` takes them as it stands, with $F = 5$ inputs and outputs.

**What goes wrong.** With 128 units that read all five variables together the net has 69,253 parameters for 400 numbers (the 80 rows for fitting). The five phases together never
repeat within 100 rows, so they name each moment uniquely, and the net learns *when* it is instead of what comes next: its error on the training rows falls
below the noise (0.093 after the book's 200 steps), which can only be memory, while on held-out rows it is 0.43, not far from repeating the last value.

**What helps.** Let one small net read every variable *as a series of its own*, with the same weights (`network: shared`; *channel independence* in today's
papers). It has five times as many series, none of which tells the time, and must learn the one thing they have in common: to recognize a wave by its past and
to continue it. Two kinds of disturbance push the same way: noise on the inputs (0.3 standard deviations), and windows turned upside down, since
minus a wave is a wave. On the book's file, 80 rows for fitting and 20 held out:

| forecast of the 20 held-out rows | one step | free |
| --- | --- | --- |
| persistence, or the last row held | 0.525 | 1.21 |
| the book's recipe (variant `book`) | 0.43 | 0.55 |
| seasonal naive, every variable with the period found in the 80 rows | 0.158 | 0.181 |
| shared LSTM, 12 units, 685 parameters | 0.114 | 0.149 |
| linear autoregression, 16 lags, every variable by itself | 0.110 | 0.122 |
| noise alone | 0.10 | 0.10 |

The nets are measured with seed 0; seeds 1 and 2 give 0.111 and 0.114 one step ahead, 0.131 and 0.167 free. So 28 % of the seasonal-naive error is gone one
step ahead, and 7 to 28 % free. The last row but one belongs to the truth: for a sine, a linear rule $\hat x_{t+1} = \sum_i w_i x_{t-i}$ is the right model, and it
leaves a net nothing to gain. The seasonal-naive forecast is a hard ruler here, too: it is only $\sqrt2$ above the noise, plus what a period that is no whole number costs.

Two nets are trained: one on the rows for fitting, which is scored, and one on all rows, as in the book, which draws the 100 steps beyond the end
and is exported.

`dlbooks run series-lstm-multivariate`, then `dlbooks predict series-lstm-multivariate data.csv steps=100 -o forecast.csv` with an integer time and five values
per line.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from dlbooks import figures
from dlbooks.catalog import Chapter, Metric, Use, Variant
from dlbooks.datasets.series import multivariate_periods
from dlbooks.nn import forecasting as fc
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="series-lstm-multivariate",
    title="LSTM forecaster for five series at once",
    family="series-rl",
    sources=["B1 15.4.2"],
    datasets=["series"],
    headline="test_rmse_onestep",
    metrics={
        "test_rmse_onestep": Metric(better="lower", floor=0.125),
        "test_rmse_free": Metric(better="lower", floor=0.3),
        "gain_seasonal_naive_onestep": Metric(better="higher", floor=0.1),
        "gain_seasonal_naive_free": Metric(better="higher"),
        "forecast_rmse_truth": Metric(better="lower"),
        "coverage90_free": Metric(better="higher"),
        "fit_rmse": Metric(better="lower"),
        "test_rmse_onestep_v1": Metric(better="lower"),
        "test_rmse_onestep_v2": Metric(better="lower"),
        "test_rmse_onestep_v3": Metric(better="lower"),
        "test_rmse_onestep_v4": Metric(better="lower"),
        "test_rmse_onestep_v5": Metric(better="lower"),
        "persistence_rmse": Metric(better="lower"),
        "seasonal_naive_rmse": Metric(better="lower"),
        "seasonal_naive_free_rmse": Metric(better="lower"),
        "linear_ar_rmse": Metric(better="lower"),
        "hold_last_rmse": Metric(better="lower"),
        "mean_rmse": Metric(better="lower"),
    },
    variants={
        "book": Variant(
            {
                "network": "joint",
                "units": 128,
                "batch_size": 4,
                "window": 32,
                "steps": 200,
                "learning_rate": 0.001,
                "schedule": "constant",
                "clip": 0.0,
                "input_noise": 0.0,
                "flip": False,
                "skip": 0,
            },
            source="B1 15.4.2",
            about="one net of 128 units reads all five variables together; the steps are those of the book's code",
        ),
        "joint": Variant(
            {
                "network": "joint",
                "units": 64,
                "batch_size": 8,
                "window": 33,
                "steps": 300,
                "learning_rate": 0.005,
                "input_noise": 0.2,
                "flip": False,
                "skip": 8,
            },
            about="all five variables together, with input noise",
        ),
    },
    curves={"Loss": ["loss_scored", "loss_all"]},
    picture="forecast.png",
    example="dlbooks predict series-lstm-multivariate data.csv steps=100 -o forecast.csv",
    use=Use(
        takes="numbers",
        about="rows of five values, oldest first; what was learned are five waves",
        example="[[-0.3, 1.0, 1.5, 3.0, 5.5], [-0.9, 0.6, 1.5, 2.9, 5.6], [0.4, 0.3, 1.6, 2.8, 5.7], [0.9, 0.3, 1.8, 2.8, 5.8], "
        "[-0.4, 0.5, 2.0, 2.8, 5.9], [-0.9, 0.9, 2.3, 2.8, 6.0], [0.4, 1.3, 2.6, 2.9, 6.0], [0.9, 1.8, 2.9, 3.0, 6.0]]",
    ),
)


class Params(ChapterParams):
    network: Literal["shared", "joint"] = "shared"
    """one net reads every variable by itself, or all of them together"""
    units: int = Field(12, ge=1, le=1024)
    """width of the LSTM's state"""
    batch_size: int = Field(8, ge=1, le=1024)
    """windows per step, each of all five variables"""
    window: int = Field(61, ge=3, le=100_000)
    """rows of a training window: one less are inputs"""
    steps: int = Field(800, ge=1, le=1_000_000)
    """gradient steps"""
    learning_rate: float = Field(0.02, gt=0, le=1)
    """step size of Adam"""
    schedule: Literal["constant", "cosine"] = "cosine"
    """whether the step size falls to zero along a cosine"""
    clip: float = Field(1.0, ge=0, le=100)
    """longest gradient of one weight array; 0 for any"""
    input_noise: float = Field(0.3, ge=0, le=2)
    """Gaussian noise on the inputs in training, in standard deviations of each variable"""
    flip: bool = True
    """turn training windows upside down at random, every variable by itself"""
    skip: int = Field(8, ge=0, le=1000)
    """first predictions of a window that do not count: they know next to nothing"""


NAMES = [f"v{k}" for k in range(1, 6)]


def build(params: Params) -> fc.Forecaster:
    return fc.Forecaster(params.units, 5, shared=params.network == "shared")


def train(run):
    series = fc.load_series(run.records("series"), "multivariate_periods")
    for name, rows in (("scored", series["train_length"]), ("all", None)):
        model = build(run.params)
        fc.fit_forecaster(model, series["values"][:rows], run.params, run, f"loss_{name}")
        run.save(model, name)


# ## Evaluation
def evaluate(run) -> dict:
    series = fc.load_series(run.records("series"), "multivariate_periods")
    values, times, n = series["values"], series["times"], series["train_length"]
    truth = values[n:]
    model = run.load(build(run.params), "scored")
    ahead = fc.fitted(model, values)
    mean, low, high = fc.free(model, values[:n], len(truth), run.params.seed)
    periods = fc.find_periods(values[:n])
    naive = fc.seasonal_naive(values, n, periods, free=True)
    rulers = {
        "persistence_rmse": fc.rmse(truth, fc.persistence(values, n)),
        "seasonal_naive_rmse": fc.rmse(truth, fc.seasonal_naive(values, n, periods)),
        "seasonal_naive_free_rmse": fc.rmse(truth, naive),
        "linear_ar_rmse": fc.rmse(truth, fc.linear_ar(values[:n], 16)(values, np.arange(n, len(values)))[:, 0]),
        "hold_last_rmse": fc.rmse(truth, values[n - 1]),
        "mean_rmse": fc.rmse(truth, values[:n].mean(0)),
    }
    final = run.load(build(run.params), "all")
    future = times[-1] + 1 + np.arange(100)
    beyond = fc.free(final, values, len(future), run.params.seed)
    run.figure(
        "held_out.png",
        panels(times[:n], values[:n], times[n:], mean, low, high, held_out=truth, fitted=ahead[:n], ruler=naive),
        f"Fitted to the first {n} rows, then running free through the {len(truth)} held-out ones: all five waves keep amplitude and phase",
    )
    run.figure(
        "forecast.png",
        panels(times, values, future, *beyond, truth=multivariate_periods(future)),
        f"The net fitted to all {len(values)} rows draws the next 100, beside the formula the file follows: where the band widens, the net is unsure of the phase",
    )
    rows = np.concatenate([future[:, None], beyond[0]], 1)
    run.table("forecast.csv", [{"time": int(r[0]), **dict(zip(NAMES, r[1:].tolist(), strict=True))} for r in rows])
    onestep, freely = fc.rmse(truth, ahead[n:]), fc.rmse(truth, mean)
    return {
        "test_rmse_onestep": onestep,
        "test_rmse_free": freely,
        "gain_seasonal_naive_onestep": fc.gain(onestep, rulers["seasonal_naive_rmse"]),
        "gain_seasonal_naive_free": fc.gain(freely, rulers["seasonal_naive_free_rmse"]),
        "forecast_rmse_truth": fc.rmse(multivariate_periods(future), beyond[0]),
        "coverage90_free": float(np.mean((truth >= low) & (truth <= high))),
        "fit_rmse": fc.rmse(values[16:n], ahead[16:n]),
        **{f"test_rmse_onestep_{name}": fc.rmse(truth[:, k], ahead[n:, k]) for k, name in enumerate(NAMES)},
        **rulers,
    }


def panels(times, values, future, mean, low, high, *, truth=None, held_out=None, fitted=None, ruler=None):
    """One row per variable."""
    figure, axes = figures.new(11, 7.6, 5, 1, sharex=True)
    for k, axis in enumerate(axes):
        more = {"truth": truth, "held_out": held_out, "ruler": ruler}
        extra = {name: (future, v[:, k]) for name, v in more.items() if v is not None}
        if fitted is not None:
            extra["fitted"] = (times[8:], fitted[8:, k])
        fc.draw_forecast(axis, times, values[:, k], future, mean[:, k], low[:, k], high[:, k], **extra)
        axis.set_ylabel(NAMES[k])
    fc.mark_start(axes[0], future[0] - 0.5)
    axes[-1].set_xlabel("time")
    fc.legend(figure, axes[0])
    return figure


def export(run):
    series = fc.load_series(run.records("series"), "multivariate_periods")
    fc.export_forecaster(run, run.load(build(run.params), "all"), series["values"])


# ## Use
# Five values per line; a missing time is filled with the net's own prediction. `refit=true` trains on the given file first.
def answer(run, inputs: list[np.ndarray], *, steps: fc.Steps = 100, plot: bool = False) -> list[dict]:
    return fc.answer_forecaster(run, inputs, steps=steps, plot=plot, features=5)


def predict(run, inputs: list[str], out: Path | None = None, *, steps: int = 100, refit: bool = False):
    fc.predict_forecaster(run, build, inputs, out, steps=steps, refit=refit, features=5)
