r"""# A race of optimizers, and what the hyper-parameters do

Every optimizer here is a rule that turns a gradient $g_t$ into a step. Plain gradient descent takes the gradient as it is,

$$w_{t+1} = w_t - \eta\, g_t,$$

*momentum* lets steps add up ($v_{t+1} = \mu v_t - \eta g_t$, $w_{t+1} = w_t + v_{t+1}$), *Nesterov* takes the gradient where that step will lead, and the
*adaptive* ones divide each weight's step by the size of its own past gradients:

| rule | step | after three gradients of 1 at $\eta = 0.1$, $w$ has gone from 0 to |
| --- | --- | --- |
| SGD | $-\eta g$ | −0.3 |
| momentum 0.9 | $v ← 0.9 v − η g$ | −0.561 |
| Nesterov 0.9 | $0.9 v − η g$ with the new $v$ | −0.8049 |
| Adagrad | $-\eta g/\sqrt{0.1 + \sum g^2}$ | −0.2211 |
| RMSprop 0.9 | $-\eta g/\sqrt{s}$, $s ← 0.9 s + 0.1 g^2$ | −0.7377 |
| Adadelta 0.95, $\eta = 1$ | the ratio of two such averages, of past steps and gradients | −0.0043 |
| Adam | $-\eta \hat m/\sqrt{\hat v}$: bias-corrected averages of $g$ and $g^2$ | −0.3 |
| Lion | $-\eta\,\mathrm{sign}$ of an average | −0.3 |

AdamW is Adam with its weight decay outside the division, Nadam is Adam with Nesterov's look ahead, Ftrl without its penalties is Adagrad.

**The race.** B5 compares eight optimizers on digits, at one rate for all and then at each one's best rate. Which wins is a question of how far the
rate is from the right one, so both readings stand side by side: *untuned*, the same rate of 0.01 for all, and *tuned*, the best of four on the
**validation** set. The book's two claims, "untuned, Adagrad is steadier and better than SGD and momentum" and "tuned, SGD and momentum beat it", are
measured in `claims.csv`. A false verdict is a result, not a failure. AdagradDA is missing: dual averaging rebuilds the weights from the
sum of all gradients and forgets where they started, and Keras has no such rule.

**The advice.** B5's rules of thumb become sweeps: the learning rate over five powers of ten, the batch size at equal epochs, L2 decay and dropout when
200 pictures are all there is, and the plateau rule "no improvement in $n$ epochs: halve the rate".

**On a bowl.** A quadratic loss with curvatures $\lambda_1 \ge \lambda_2$ tells why the rate has an upper limit: along axis $i$ gradient descent multiplies
the distance to the minimum by $1 - \eta\lambda_i$ per step, so it converges for $\eta < 2/\lambda_1$, slowly along the flat axis, and beyond that it leaves
the bowl. `dlbooks predict optimizer-lab nesterov rate=0.05 -o path.gif` draws a path of your own.
"""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from dlbooks import UserError, figures
from dlbooks.catalog import Chapter, Metric
from dlbooks.nn.classification import forward
from dlbooks.nn.metrics import accuracy, cross_entropy
from dlbooks.nn.training import compiled_epoch
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="optimizer-lab",
    title="A race of optimizers, and what the hyper-parameters do",
    family="foundations",
    sources=["B5 4.7.5", "B5 8.2"],
    datasets=["mnist"],
    headline="best_test_accuracy",
    metrics={
        "best_test_accuracy": Metric(better="higher", floor=0.85),
        "optimizers_above_0_80": Metric(better="higher", floor=8),
        "rank_of_adagrad_untuned": Metric(better="lower"),
        "lr_too_small_accuracy": Metric(better="higher"),
        "few_train_accuracy": Metric(better="higher", floor=0.99),
        "few_test_accuracy": Metric(better="higher"),
        "decay_test_accuracy": Metric(better="higher"),
        "dropout_test_accuracy": Metric(better="higher"),
        "plateau_halvings": Metric(better="lower"),
        **{
            f"test_accuracy_{reading}_{name}": Metric(better="higher")
            for reading in ("untuned", "tuned")
            for name in ("sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "nadam", "ftrl", "lion")
        },
    },
    curves={"Loss under the plateau rule": ["plateau_loss", "plateau_validation_loss"]},
    exports=False,
    picture="rates.png",
    example="dlbooks predict optimizer-lab nesterov rate=0.05 momentum=0.9 -o path.gif",
)


class Params(ChapterParams):
    digits: int = Field(2000, ge=200, le=60_000)
    """training digits of the race"""
    batch: int = Field(50, ge=1, le=1000)
    """examples per step"""
    epochs: int = Field(5, ge=1, le=100)
    """passes of every contestant"""
    seeds: int = Field(1, ge=1, le=20)
    """initial weights and orders per contestant; accuracies are means over them"""
    few: int = Field(200, ge=50, le=5000)
    """training digits of the over-fitting part"""
    few_epochs: int = Field(60, ge=1, le=1000)
    """passes over the few"""
    patience: int = Field(3, ge=1, le=100)
    """epochs without improvement after which the plateau rule halves the rate (10 in the book)"""


# ## The contestants
# Each entry makes an optimizer from a rate; all other settings are the common ones. The first eight are the book's.
MAKERS: dict[str, Callable[[float], keras.optimizers.Optimizer]] = {
    "sgd": keras.optimizers.SGD,
    "momentum": lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
    "nesterov": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
    "adagrad": keras.optimizers.Adagrad,
    "adadelta": keras.optimizers.Adadelta,
    "rmsprop": keras.optimizers.RMSprop,
    "adam": keras.optimizers.Adam,
    "ftrl": keras.optimizers.Ftrl,
    "adamw": keras.optimizers.AdamW,
    "nadam": keras.optimizers.Nadam,
    "lion": keras.optimizers.Lion,
}
RATES = (0.001, 0.01, 0.1, 1.0)
UNTUNED = 0.01  # one rate for all, as the book's first comparison has it
TOO_SMALL = 0.0001
BATCHES = (8, 32, 128, 512)
DECAYS = (0.0, 0.001, 0.01, 0.03, 0.1)
PARTS = 4  # losses logged per epoch


# ## Model
# One hidden layer is enough to tell optimizers apart, and small enough for dozens of trainings.
def build(params: Params, decay: float = 0.0, dropout: float = 0.0) -> keras.Model:
    image = keras.Input((28, 28, 1), dtype="uint8", name="image")
    regularizer = keras.regularizers.L2(decay / 2) if decay else None  # ½ λ‖w‖², so that its gradient is λ w
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Dense(128, "relu", kernel_regularizer=regularizer, name="hidden")(x)
    x = keras.layers.Dropout(dropout, seed=params.seed)(x) if dropout else x
    return keras.Model(image, keras.layers.Dense(10, kernel_regularizer=regularizer, name="logits")(x))


def loss(labels, logits):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


# ## One training, many times
# A contestant is traced once and used for all its rates and seeds: weights and the optimizer's memory go back to their start, and the rate is a
# variable like any other.
class Trainer:
    """A model, an optimizer and a compiled pass over the data, to be started again at will."""

    def __init__(self, model: keras.Model, optimizer: keras.optimizers.Optimizer):
        self.model, self.optimizer = model, optimizer
        self.epoch, self.score = compiled_epoch(model, optimizer, loss), forward(model, 1000)
        self.memory = [np.asarray(v) for v in optimizer.variables]
        self.shapes = [v.shape for v in model.trainable_variables]

    def start(self, rate: float, rng: np.random.Generator) -> None:
        """Glorot's uniform weights drawn from ``rng``, zero biases, an optimizer without memory."""
        for variable, value in zip(self.optimizer.variables, self.memory, strict=True):
            variable.assign(value)
        self.optimizer.learning_rate.assign(rate)
        for variable, shape in zip(self.model.trainable_variables, self.shapes, strict=True):
            limit = np.sqrt(6 / sum(shape)) if len(shape) == 2 else 0.0
            variable.assign(rng.uniform(-limit, limit, shape))

    def passes(self, train: dict, epochs: int, batch: int, rng: np.random.Generator, parts: int = 1):
        """Yields (step, mean loss) after every ``1/parts`` of an epoch."""
        x, y = tf.constant(train["image"]), tf.constant(train["label"])
        per_epoch = len(x) // batch
        cuts = [per_epoch * part // parts for part in range(parts + 1)]
        for epoch in range(epochs):
            order = rng.permutation(len(x))
            for first, last in itertools.pairwise(cuts):
                if last > first:
                    yield epoch * per_epoch + last, self.epoch(x, y, order[first * batch : last * batch], batch)

    def accuracy(self, digits: dict) -> float:
        return accuracy(self.score(digits["image"]), digits["label"])


def split(run, digits: int) -> tuple[dict, dict, dict]:
    """Training digits, validation, test; every class as often as it comes."""
    records = run.records("mnist")
    train = records.arrays("train")
    if digits > len(train["label"]):
        raise UserError(f"optimizer-lab.digits = {digits}: the training split has {len(train['label'])}")
    return {k: v[:digits] for k, v in train.items()}, records.arrays("validation"), records.arrays("test")


# ## Training
# Eleven rules, four rates, as many seeds as asked for; then the sweeps. A rate that is far too high may end in not-a-number: that contestant
# scores what guessing would, and its loss is left out of the picture.
def train(run):
    p = run.params
    digits = split(run, p.digits)
    rows = race(run, *digits)
    run.json("race.json", rows)
    found = sweeps(run, rows, *digits)
    run.json("sweeps.json", found)
    for row in found["plateau"]:
        run.log(row["epoch"], plateau_loss=row["loss"], plateau_validation_loss=row["validation_loss"])


def race(run, train, validation, test) -> list[dict]:
    p, model, rows = run.params, build(run.params), []
    for name in run.progress(list(MAKERS), "optimizers"):
        trainer = Trainer(model, MAKERS[name](UNTUNED))
        for rate in RATES:
            found = [contest(run, trainer, rate, (seed,), train, validation, test) for seed in range(p.seeds)]
            mean = {k: float(np.mean([f[k] for f in found])) for k in ("train", "validation", "test")}
            rows.append({"optimizer": name, "rate": rate, **mean, "loss": found[0]["loss"], "accuracy": found[0]["accuracy"]})
    return rows


def contest(run, trainer, rate, stream, train, validation, test) -> dict:
    """One training: final accuracies, the loss and the test accuracy along the way."""
    p = run.params
    trainer.start(rate, run.random("weights", *stream))
    losses, seen = [], []
    for step, value in trainer.passes(train, p.epochs, p.batch, run.random("order", *stream), PARTS):
        if np.isfinite(value):
            losses.append((step, float(f"{value:.5g}")))
        if step % (len(train["label"]) // p.batch) == 0:
            seen.append((step, trainer.accuracy(test)))
    return {
        **{"train": trainer.accuracy(train), "validation": trainer.accuracy(validation), "test": seen[-1][1]},
        **{"loss": losses, "accuracy": seen},
    }


def sweeps(run, rows, train, validation, test) -> dict:
    """Learning rate (four of the five from the race), batch size, decay and dropout on few digits, the plateau rule: what `evaluate` draws."""
    p = run.params
    sgd = Trainer(build(p), keras.optimizers.SGD(0.1))
    raced = {str(r["rate"]): {k: v for k, v in r.items() if k not in ("optimizer", "rate")} for r in reversed(rows) if r["optimizer"] == "sgd"}
    found = {"rates": {**raced, str(TOO_SMALL): contest(run, sgd, TOO_SMALL, (0,), train, validation, test)}}
    found["batches"] = {}
    for batch in BATCHES:
        sgd.start(0.1, run.random("weights", 0))
        for _ in sgd.passes(train, p.epochs, min(batch, p.digits), run.random("order", 0)):
            pass
        found["batches"][batch] = sgd.accuracy(test)
    few = {k: v[: p.few] for k, v in train.items()}
    found["few"] = {}
    for label, decay, dropout in [*((f"λ = {d:g}", d, 0.0) for d in DECAYS), ("dropout ½", 0.0, 0.5)]:
        trainer = Trainer(build(p, decay, dropout), keras.optimizers.SGD(0.1))
        trainer.start(0.1, run.random("weights", 0))
        for _ in trainer.passes(few, p.few_epochs, min(50, p.few), run.random("few")):
            pass
        found["few"][label] = {"train": trainer.accuracy(few), "test": trainer.accuracy(test)}
    found["plateau"] = plateau(run, few, validation)
    return found


# The plateau rule on the few digits with momentum: halve the rate after `patience` epochs without a better validation loss, stop when it has
# fired five times. Validation loss rises long before accuracy falls: the network grows surer of its mistakes.
def plateau(run, few, validation) -> list[dict]:
    p, rate, best, waited, halvings, rows = run.params, 0.05, np.inf, 0, 0, []
    trainer = Trainer(build(p), keras.optimizers.SGD(rate, momentum=0.9))
    trainer.start(rate, run.random("weights", 0))
    for epoch, (_, value) in enumerate(trainer.passes(few, 10 * p.few_epochs, min(50, p.few), run.random("plateau")), 1):
        held = cross_entropy(trainer.score(validation["image"]), validation["label"])
        rows.append({"epoch": epoch, "rate": rate, "loss": value, "validation_loss": held})
        waited = 0 if held < best - 1e-4 else waited + 1
        best = min(best, held)
        if waited == p.patience:
            rate, waited, halvings = rate / 2, 0, halvings + 1
            trainer.optimizer.learning_rate.assign(rate)
        if halvings == 5:
            break
    return rows


# ## Evaluation
# Tuned means: the rate with the best *validation* accuracy, read on the test set. Every contestant becomes a child run, so that they can be
# compared in the tracking server's interface, curve by curve.
def evaluate(run) -> dict:
    rows, found = (json.loads((run.out / name).read_text()) for name in ("race.json", "sweeps.json"))
    by_name = {name: [r for r in rows if r["optimizer"] == name] for name in MAKERS}
    untuned = {name: next(r for r in own if r["rate"] == UNTUNED) for name, own in by_name.items()}
    tuned = {name: max(own, key=lambda r: r["validation"]) for name, own in by_name.items()}
    tolerance = {name: sum(r["test"] >= max(q["test"] for q in own) - 0.02 for r in own) for name, own in by_name.items()}
    columns = ("optimizer", "rate", "train", "validation", "test")
    run.table("race.csv", [{k: r[k] for k in columns} for r in rows])
    run.table(
        "tuned.csv",
        [{"optimizer": n, "best_rate": t["rate"], "test_accuracy": t["test"], "rates_within_0.02": tolerance[n]} for n, t in tuned.items()],
    )
    verdicts = claims(untuned, tuned, by_name)
    run.table("claims.csv", verdicts)
    for name, own in by_name.items():
        best = tuned[name]
        run.child(
            name,
            {"optimizer": name, "rate": best["rate"]},
            {"test_accuracy_tuned": best["test"], "test_accuracy_untuned": untuned[name]["test"], "rates_within_0_02": tolerance[name]},
            {"loss": best["loss"], "test_accuracy": best["accuracy"], **{f"loss_rate_{r['rate']:g}": r["loss"] for r in own if r["loss"]}},
        )
    run.figure(
        "rates.png",
        rates_figure(by_name, tuned),
        "Test accuracy of every optimizer at four rates: each has a right rate of its own, for Adam a tenth of what gradient descent wants",
    )
    caption = "Loss and test accuracy during training, above at the common rate 0.01, below at each one's best: the race is decided by the rate"
    run.figure("race.png", race_figure(untuned, tuned), caption)
    run.figure(
        "paths.png",
        paths_figure(),
        "Sixty steps of six rules on the same bowl, and how far away each ends: plain descent creeps along the flat axis, momentum overshoots",
    )
    caption = (
        "Left: loss at five learning rates; middle: batch size at equal epochs, small batches take more steps; right: decay and dropout on few digits"
    )
    run.figure("sweeps.png", sweeps_figure(found, run.params.few), caption)
    ranking = sorted(untuned, key=lambda name: -untuned[name]["test"])
    few = found["few"]
    rates = [r["rate"] for r in found["plateau"]]
    return {
        "best_test_accuracy": max(t["test"] for t in tuned.values()),
        "optimizers_above_0_80": sum(t["test"] >= 0.8 for t in tuned.values()),
        "rank_of_adagrad_untuned": 1 + ranking.index("adagrad"),
        "lr_too_small_accuracy": found["rates"][str(TOO_SMALL)]["test"],
        "few_train_accuracy": few["λ = 0"]["train"],
        "few_test_accuracy": few["λ = 0"]["test"],
        "decay_test_accuracy": max(v["test"] for k, v in few.items() if k.startswith("λ") and k != "λ = 0"),
        "dropout_test_accuracy": few["dropout ½"]["test"],
        "plateau_halvings": sum(b < a for a, b in itertools.pairwise(rates)),
        **{f"test_accuracy_untuned_{name}": r["test"] for name, r in untuned.items()},
        **{f"test_accuracy_tuned_{name}": r["test"] for name, r in tuned.items()},
    }


def claims(untuned: dict, tuned: dict, by_name: dict) -> list[dict]:
    """B5's sentences with what was measured; "steadier" is read as the smaller spread over the four rates."""
    spread = {name: max(r["test"] for r in own) - min(r["test"] for r in own) for name, own in by_name.items()}
    rows = []
    for rival in ("sgd", "momentum"):
        pairs = [
            (f"untuned, Adagrad is better than {rival}", untuned["adagrad"]["test"], untuned[rival]["test"]),
            (f"Adagrad is steadier over the rates than {rival} (less spread)", -spread["adagrad"], -spread[rival]),
            (f"tuned, {rival} beats Adagrad", tuned[rival]["test"], tuned["adagrad"]["test"]),
        ]
        rows += [{"claim": text, "source": "B5 4.7.5", "first": a, "second": b, "verdict": str(a > b).lower()} for text, a, b in pairs]
    return rows


LOOKS = {  # color by kind, line style within it
    **{name: (0, style) for name, style in zip(("sgd", "momentum", "nesterov"), ("-", "--", ":"), strict=True)},
    **{name: (1, style) for name, style in zip(("adagrad", "adadelta", "rmsprop"), ("-", "--", ":"), strict=True)},
    **{name: (2, style) for name, style in zip(("adam", "adamw", "nadam"), ("-", "--", ":"), strict=True)},
    **{name: (3, style) for name, style in zip(("ftrl", "lion"), ("-", "--"), strict=True)},
}


def race_figure(untuned, tuned):
    figure, axes = figures.new(9.2, 6.4, 2, 2, sharex=True, sharey="col")
    for row, (label, chosen) in enumerate((("rate 0.01 for all", untuned), ("each at its best rate", tuned))):
        for name, r in chosen.items():
            color, style = LOOKS[name]
            look = {"color": figures.COLORS[color], "linestyle": style, "linewidth": 1.5}
            text = name if row == 0 else f"{name} {r['rate']:g}"
            if r["loss"]:
                axes[row, 0].plot(*zip(*r["loss"], strict=True), label=text, **look)
            axes[row, 1].plot(*zip(*r["accuracy"], strict=True), label=text, **look)
        axes[row, 0].set(title=f"Training loss, {label}", ylim=(0, 2.5))
        axes[row, 1].set(title=f"Test accuracy, {label}", ylim=(0, 1))
        axes[row, 1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    for cell in axes[1]:
        cell.set_xlabel("step")
    return figure


def rates_figure(by_name, tuned):
    order = sorted(by_name, key=lambda name: -tuned[name]["test"])
    values = np.array([[r["test"] for r in by_name[name]] for name in order])
    figure, axes = figures.new(5.4, 5.0)
    axes.grid(False)
    axes.imshow(values, cmap="cividis", vmin=0.1, vmax=1, aspect="auto")
    axes.set(xticks=range(len(RATES)), yticks=range(len(order)), xlabel="learning rate", title="Test accuracy; ○ the rate that validation chose")
    axes.set_xticklabels([f"{r:g}" for r in RATES])
    axes.set_yticklabels(order)
    for (row, column), value in np.ndenumerate(values):
        chosen = "○ " if by_name[order[row]][column] is tuned[order[row]] else ""
        axes.text(column, row, f"{chosen}{value:.3f}", ha="center", va="center", color="white" if value < 0.55 else figures.INK, fontsize=8)
    return figure


def sweeps_figure(found, few):
    figure, (left, middle, right) = figures.new(10.5, 3.4, 1, 3, width_ratios=(1.1, 0.8, 1.2))
    for (rate, r), style in zip(found["rates"].items(), ("-", "--", "-.", ":", (0, (1, 3))), strict=True):
        if r["loss"]:
            left.plot(*zip(*r["loss"], strict=True), linestyle=style, label=f"{float(rate):g}: test {r['test']:.2f}")
    left.set(title="Gradient descent, learning rate", xlabel="step", ylabel="training loss", ylim=(0, 2.6))
    left.legend(frameon=False, fontsize=8)
    middle.bar(range(len(found["batches"])), list(found["batches"].values()), color=figures.COLORS[0])
    middle.set(title="Batch size, equal epochs", xlabel="batch", ylabel="test accuracy", ylim=(0, 1), xticks=range(len(BATCHES)))
    middle.set_xticklabels(list(found["batches"]))
    places = np.arange(len(found["few"]))
    for shift, (side, color) in zip((-0.2, 0.2), (("train", 4), ("test", 0)), strict=True):
        right.bar(places + shift, [v[side] for v in found["few"].values()], 0.38, color=figures.COLORS[color], label=side)
    right.set(title=f"Decay λ and dropout, {few} digits", ylabel="accuracy", ylim=(0, 1.18), xticks=places)
    right.set_xticklabels([k.replace("λ = ", "λ\n").replace("dropout ", "drop\n") for k in found["few"]])
    right.legend(frameon=False, ncols=2, loc="upper right")
    return figure


# ## The bowl
# Least squares with two weights: 200 points, the second feature three times the first in scale. The curvatures are the eigenvalues of
# $X^\top X / n$, about 9 and 1.
def bowl() -> tuple[np.ndarray, np.ndarray]:
    """Curvature matrix ``[2, 2]`` and minimum ``[2]`` of $\\frac12 (w-w^*)^\\top A\\,(w-w^*)$."""
    x = np.random.default_rng(0).standard_normal((200, 2)) * (1.0, 3.0)
    return x.T @ x / len(x), np.array([1.0, -0.5])


def path(optimizer: keras.optimizers.Optimizer, steps: int, start=(-2.0, 1.5)) -> np.ndarray:
    """Weights ``[steps + 1, 2]`` on the way down the bowl."""
    curvature, minimum = bowl()
    w = keras.Variable(np.array(start, np.float32))
    optimizer.build([w])
    a, m = tf.constant(curvature, tf.float32), tf.constant(minimum, tf.float32)

    @tf.function
    def walk():
        places = tf.TensorArray(tf.float32, steps + 1, element_shape=(2,)).write(0, w.value)
        for step in tf.range(steps):
            optimizer.apply([tf.linalg.matvec(a, w.value - m)], [w])
            places = places.write(step + 1, w.value)
        return places.stack()

    return walk().numpy()


def draw_bowl(axes, places: np.ndarray | None = None):
    curvature, minimum = bowl()
    u, v = np.meshgrid(np.linspace(-2.6, 2.6, 90), np.linspace(-2.2, 2.2, 90))
    off = np.stack([u - minimum[0], v - minimum[1]], -1)
    height = 0.5 * np.einsum("...i,ij,...j", off, curvature, off)
    axes.grid(False)
    axes.contour(u, v, height, levels=np.geomspace(0.05, 40, 12), colors=figures.PALE, linewidths=1)
    axes.plot(*minimum, "*", color=figures.COLORS[4], markersize=11)
    if places is not None:
        axes.plot(*places.T, "-o", color=figures.COLORS[0], markersize=2.5, linewidth=1.1)
    axes.set(xlim=(-2.6, 2.6), ylim=(-2.2, 2.2), xticks=(), yticks=())


def paths_figure():
    shown = {"sgd": 0.05, "momentum": 0.05, "nesterov": 0.05, "adagrad": 0.5, "rmsprop": 0.1, "adam": 0.2}
    figure, axes = figures.new(8.6, 5.0, 2, 3)
    for cell, (name, rate) in zip(axes.ravel(), shown.items(), strict=True):
        places = path(MAKERS[name](rate), 60)
        draw_bowl(cell, places)
        cell.set_title(f"{name} {rate:g}, {np.linalg.norm(places[-1] - bowl()[1]):.2g} away", fontsize=10)
    return figure


# ## Use
# A path of your own on the bowl, as a GIF; above $2/\lambda_1$ plain descent is seen to leave it.
def predict(run, inputs: list[str], out: Path | None = None, *, rate: float = 0.05, momentum: float | None = None, steps: int = 60):
    if not inputs:
        raise UserError(f"name an optimizer: one of {', '.join(MAKERS)}")
    if rate <= 0 or not 1 <= steps <= 1000:
        raise UserError(f"rate = {rate:g}, steps = {steps}: rate must be above 0, steps 1 to 1000")
    limit = 2 / np.linalg.eigvalsh(bowl()[0])[1]
    for name in inputs:
        if name not in MAKERS:
            raise UserError(f"unknown optimizer {name!r}: one of {', '.join(MAKERS)}")
        optimizer = MAKERS[name](float(rate))
        if momentum is not None:
            if name not in ("sgd", "momentum", "nesterov"):
                raise UserError(f"{name} has no momentum: sgd, momentum and nesterov have")
            optimizer = keras.optimizers.SGD(float(rate), momentum=momentum, nesterov=name == "nesterov")
        places = path(optimizer, steps)
        print(f"{name}, rate {rate:g}: {np.linalg.norm(places[-1] - bowl()[1]):.4g} from the minimum after {steps} steps", end="")
        print(f" (plain descent diverges above {limit:.3f})" if name == "sgd" else "")
        if out:
            target = out if len(inputs) == 1 else out.with_name(f"{out.stem}_{name}{out.suffix}")
            save_path(places, f"{name}, rate {rate:g}", target)


def save_path(places: np.ndarray, title: str, target: Path) -> None:
    if target.suffix not in (".gif", ".png"):
        raise UserError(f"{target.name}: write a .gif (the path growing) or a .png")
    figure, axes = figures.new(4.4, 3.8)
    draw_bowl(axes)
    axes.set_title(title)
    if target.suffix == ".png":
        draw_bowl(axes, places)
        return figures.save(figure, target)
    (line,) = axes.plot(*places[:1].T, "-o", color=figures.COLORS[0], markersize=2.5, linewidth=1.1)
    frames = list(range(1, len(places) + 1, max(1, len(places) // 60)))
    return figures.gif(figures.animate(figure, lambda n: line.set_data(*places[:n].T), frames), target)
