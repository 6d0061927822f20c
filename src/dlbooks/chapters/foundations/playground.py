r"""# A playground of small networks

What can a line separate, what needs a hidden layer, and what does a good feature save? The book answers with a web page where one clicks
together inputs, layers and data and watches the decision surface turn. Here the same experiments stand side by side: four toys, five
networks, every pair of them trained from several starts.

**The task.** A point $(x_1, x_2)$ belongs to class $+1$ (blue) or $-1$ (orange). The toys are a disk inside a ring (`circle`), the four
quadrants (`xor`), two normal clouds (`gauss`) and two arms of a spiral, $r = 5\,(t - t_0) / 3.5\pi$ with $t_0 = 0$ for one class and $\pi$ for the
other (`spiral`).

**The network.** Each layer is an affine map and a squashing function, $a^{(l)} = \tanh(a^{(l-1)} W^{(l)} + b^{(l)})$, and $\hat y$, the last one, lies
between $-1$ and $1$; its sign is the answer. With the loss $L = \frac12 (\hat y - y)^2$, back-propagation is two lines, because $\tanh' = 1 - \tanh^2$:

$$\delta^{(L)} = (\hat y - y)(1 - \hat y^2), \qquad \delta^{(l-1)} = \bigl(\delta^{(l)} W^{(l)\top}\bigr) \odot \bigl(1 - (a^{(l-1)})^2\bigr),$$

$\partial L/\partial W^{(l)} = a^{(l-1)\top} \delta^{(l)}$ and $\partial L/\partial b^{(l)} = \delta^{(l)}$. Every step moves the weights by 0.03 against the mean gradient of ten points.

| net | inputs | hidden layers | weights | passes |
| --- | --- | --- | --- | --- |
| `linear` | $x_1, x_2$ | none | 3 | 50 |
| `small` | $x_1, x_2$ | 8, 4 | 65 | 200 |
| `features` | all seven: $x_1, x_2, x_1^2, x_2^2, x_1 x_2, \sin x_1, \sin x_2$ | 8, 4, 2 | 113 | 800 |
| `deep` | the first four | 8, 8, 8, 8, 6, 2 | 327 | 800 |
| `own` | yours; $x_1 x_2$ alone to begin with | yours; none | 2 | 50 |

**What to see.** Without a hidden layer the border is a straight line, whatever the training does: right for the clouds, a coin toss for the
rest. One hidden layer bends it around a disk. And `own` shows the other way out: with $x_1 x_2$ as the only input, xor is linear. The book's two
experiments on the spiral weigh the same two ways against each other. With seven hand-made inputs a small net separates the arms, and with four of
them a deep net does it, too: depth replaces features, at the price of more weights and of a slow start (the loss of `deep` stays near $\frac12$,
the value of $\hat y = 0$, until the signal has found its way through six layers; then the arms come apart, and its surface is the smoother one).

**Trained side by side.** A net this small keeps a processor busy with calls, not with arithmetic. So all toys and starts of one architecture
are one network with block-diagonal matrices: block $i$ maps the units of net $i$ to themselves and nothing else, the gradient of the sum of
their losses has the same blocks, and twelve nets cost little more than one. Each of them ends exactly where it would have ended alone.

The book names neither step size nor batch nor starting weights; those here are the public playground's. Its claim that both experiments
separate the spirals "perfectly" holds on the training half; on fresh points the median of the starts is about 0.98 and single starts lie
between 0.90 and 1, after ten seconds: `dlbooks run playground`. Build your own column with
`dlbooks run playground --set "features=[x1_squared, x2_squared]" --set "hidden=[3]"`.
"""

import csv
import itertools
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from dlbooks import UserError, figures
from dlbooks.catalog import Chapter, Metric, Use
from dlbooks.chapters.foundations import _playground_pictures as pictures
from dlbooks.export import saved_model
from dlbooks.inputs import checked_numbers
from dlbooks.nn.toys import two_class
from dlbooks.nn.training import compiled_epoch
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="playground",
    title="A playground of small networks",
    family="foundations",
    sources=["B5 3.1"],
    headline="test_accuracy_spiral_features",
    metrics={
        "test_accuracy_spiral_features": Metric(better="higher", floor=0.93),
        "test_accuracy_spiral_depth": Metric(better="higher", floor=0.90),
        "test_accuracy_circle": Metric(better="higher", floor=0.98),
        "test_accuracy_xor": Metric(better="higher", floor=0.97),
        "test_accuracy_gauss": Metric(better="higher", floor=0.99),
        "train_loss_spiral_features": Metric(better="lower"),
        "train_loss_spiral_depth": Metric(better="lower"),
        "train_loss_circle": Metric(better="lower"),
        "train_loss_xor": Metric(better="lower"),
        "train_loss_gauss": Metric(better="lower"),
        "test_loss_spiral_features": Metric(better="lower"),
        "test_loss_spiral_depth": Metric(better="lower"),
        "test_loss_circle": Metric(better="lower"),
        "test_loss_xor": Metric(better="lower"),
        "test_loss_gauss": Metric(better="lower"),
        "linear_test_accuracy_circle": Metric(better="lower", floor=0.70),
        "linear_test_accuracy_xor": Metric(better="lower", floor=0.70),
        "linear_test_accuracy_gauss": Metric(better="higher", floor=0.99),
        "linear_test_accuracy_spiral": Metric(better="lower", floor=0.70),
        "own_test_accuracy_circle": Metric(better="higher"),
        "own_test_accuracy_xor": Metric(better="higher"),
        "own_test_accuracy_gauss": Metric(better="higher"),
        "own_test_accuracy_spiral": Metric(better="higher"),
    },
    curves={"Loss on the spiral": ["train_loss_spiral_features", "test_loss_spiral_features", "train_loss_spiral_depth", "test_loss_spiral_depth"]},
    picture="grid.png",
    example="dlbooks predict playground 0,3 2,-2 net=features shape=spiral",
    data_parameters=["points", "noise", "train_share"],
    use=Use(takes="numbers", about="points of the plane, two numbers between −6 and 6 each", example="[[0, 3], [2, -2]]"),
)


class Params(ChapterParams):
    noise: float = Field(0.0, ge=0, le=0.5)
    """scatter of points and labels"""
    points: int = Field(500, ge=20, le=100_000)
    """points per toy, training and test together"""
    train_share: float = Field(0.5, ge=0.1, le=0.9)
    """share of the points that is trained on"""
    batch: int = Field(10, ge=1, le=30)
    """points per step"""
    learning_rate: float = Field(0.03, gt=0, le=10)
    """step size of gradient descent"""
    activation: Literal["tanh", "sigmoid", "relu", "linear"] = "tanh"
    """of the hidden layers; the output is always tanh"""
    l1: float = Field(0.0, ge=0, le=10)
    """penalty on Σ|w|"""
    l2: float = Field(0.0, ge=0, le=10)
    """penalty on ½Σw²"""
    restarts: int = Field(3, ge=1, le=50)
    """starts per toy and net; metrics are their median"""
    effort: float = Field(1.0, gt=0, le=20)
    """factor on the passes of all nets"""
    features: list[Literal["x1", "x2", "x1_squared", "x2_squared", "x1_x2", "sin_x1", "sin_x2"]] = Field(["x1_x2"], min_length=1, max_length=7)
    """inputs of net `own`"""
    hidden: list[Literal[1, 2, 3, 4, 5, 6, 7, 8]] = Field([], max_length=6)
    """units of the hidden layers of net `own`"""
    epochs: int = Field(50, ge=1, le=10_000)
    """passes of net `own`"""


SHAPES = ("circle", "xor", "gauss", "spiral")
FEATURES = {
    "x1": lambda x: x[..., 0],
    "x2": lambda x: x[..., 1],
    "x1_squared": lambda x: x[..., 0] ** 2,
    "x2_squared": lambda x: x[..., 1] ** 2,
    "x1_x2": lambda x: x[..., 0] * x[..., 1],
    "sin_x1": lambda x: tf.sin(x[..., 0]),
    "sin_x2": lambda x: tf.sin(x[..., 1]),
}
SYMBOLS = dict(zip(FEATURES, ("x₁", "x₂", "x₁²", "x₂²", "x₁x₂", "sin x₁", "sin x₂"), strict=True))
NETS = {  # inputs, hidden layers, passes
    "linear": (["x1", "x2"], [], 50),
    "small": (["x1", "x2"], [8, 4], 200),
    "features": (list(FEATURES), [8, 4, 2], 800),
    "deep": (list(FEATURES)[:4], [8, 8, 8, 8, 6, 2], 800),
}
PRESETS = {  # the pairs of net and toy that the metrics name
    "spiral_features": ("features", "spiral"),
    "spiral_depth": ("deep", "spiral"),
    "circle": ("small", "circle"),
    "xor": ("small", "xor"),
    "gauss": ("linear", "gauss"),
}


def nets(p: Params) -> dict[str, tuple[list[str], list[int], int]]:
    return {**NETS, "own": (p.features, p.hidden, p.epochs)}


def lift(x, names: list[str]):
    """Points ``[…, 2]`` → the named inputs ``[…, len(names)]``."""
    x = tf.convert_to_tensor(x, tf.float32)
    return tf.stack([FEATURES[name](x) for name in names], -1)


# ## Model
# `SideBySide` is a dense layer of block-diagonal weights: `count` nets that do not see each other, in one matrix product.
class SideBySide(keras.layers.Dense):
    def __init__(self, count: int, units: int, **options):
        super().__init__(count * units, **options)
        self.count = count

    def build(self, shape):
        super().build(shape)
        self.blocks = np.kron(np.eye(self.count), np.ones((shape[-1] // self.count, self.units // self.count))).astype(np.float32)

    def call(self, x):
        return self.activation(keras.ops.matmul(x, self.kernel * self.blocks) + self.bias)


def side_by_side(p: Params, count: int, inputs: int, hidden: list[int]) -> keras.Model:
    """``count`` nets of one architecture: ``[B, count · inputs]`` → ``[B, count]``."""
    x = lifted = keras.Input((count * inputs,), name="inputs")
    for number, units in enumerate([*hidden, 1], 1):
        start = keras.initializers.RandomUniform(-0.5, 0.5, seed=p.seed * 100 + number)
        activation = p.activation if number <= len(hidden) else "tanh"
        bias = keras.initializers.Constant(0.1)
        x = SideBySide(count, units, activation=activation, kernel_initializer=start, bias_initializer=bias, name=f"layer{number}")(x)
    return keras.Model(lifted, x)


def build(params: Params) -> dict[str, keras.Model]:
    count = len(SHAPES) * params.restarts
    return {name: side_by_side(params, count, len(inputs), hidden) for name, (inputs, hidden, _) in nets(params).items()}


def picked(p: Params, name: str, model: keras.Model, chosen: list[int]) -> keras.Model:
    """Some nets of a stack as a stack of their own."""
    inputs, hidden, _ = nets(p)[name]
    part, count = side_by_side(p, len(chosen), len(inputs), hidden), model.output_shape[-1]
    for layer, whole in zip(part.layers[1:], model.layers[1:], strict=True):
        kernel, bias = np.asarray(whole.kernel), np.asarray(whole.bias)
        rows, columns = kernel.shape[0] // count, kernel.shape[1] // count
        blocks = np.zeros(layer.kernel.shape, np.float32)
        for to, at in enumerate(chosen):
            blocks[to * rows : (to + 1) * rows, to * columns : (to + 1) * columns] = kernel[
                at * rows : (at + 1) * rows, at * columns : (at + 1) * columns
            ]
        layer.kernel.assign(blocks)
        layer.bias.assign(np.concatenate([bias[at * columns : (at + 1) * columns] for at in chosen]))
    return part


# ## Data
# The nets of a stack differ in toy, points and starting weights; toy `s` and start `k` are net number `s · restarts + k`.
def points(run) -> dict[str, np.ndarray]:
    """``x [n, nets, 2]`` and ``y [n, nets]`` of the training and the test half."""
    p = run.params
    x, y = [], []
    for shape in SHAPES:
        for restart in range(p.restarts):
            rng = run.random(shape, restart)
            one_x, one_y = two_class(shape, p.points, p.noise, rng)
            order = rng.permutation(p.points)
            x.append(one_x[order])
            y.append(one_y[order])
    x, y = np.stack(x, 1), np.stack(y, 1)
    cut = round(p.points * p.train_share)
    if cut < p.batch:
        raise UserError(f"playground: {p.points} points × train_share {p.train_share} = {cut} are less than one batch of {p.batch}")
    return {"x": x[:cut], "y": y[:cut], "test_x": x[cut:], "test_y": y[cut:]}


def inputs_of(x: np.ndarray, names: list[str]):
    """``[n, nets, 2]`` → the stack's input ``[n, nets · inputs]``."""
    return tf.reshape(lift(x, names), (len(x), -1))


def half_square(y, prediction):
    """The sum over the nets of their mean losses: its gradient is each net's own."""
    return tf.reduce_sum(losses(y, prediction))


def losses(y, prediction):
    return tf.reduce_mean(tf.square(prediction - y), 0) / 2


# ## Training
LOOKS = 30  # looks at the losses while a net trains


def train(run):
    p = run.params
    data, watched = points(run), {}
    spirals = slice(SHAPES.index("spiral") * p.restarts, None)
    for name, model in run.progress(build(p).items(), "nets", total=len(nets(p))):
        inputs, _, passes = nets(p)[name]
        x, test_x = inputs_of(data["x"], inputs), inputs_of(data["test_x"], inputs)
        surface = tf.tile(lift(pictures.MAP, inputs), (1, len(SHAPES) * p.restarts))
        epoch = compiled_epoch(model, keras.optimizers.SGD(p.learning_rate), penalized(p, model))
        answer = tf.function(lambda batch, model=model: model(batch), reduce_retracing=True)
        passes = max(1, round(passes * p.effort))
        whole = len(x) // p.batch * p.batch
        for start, stop in looks(passes):
            if stop:
                order = [run.random("order", name, number).permutation(len(x))[:whole] for number in range(start, stop)]
                epoch(x, data["y"], np.concatenate(order), p.batch)
            mean = {"train": losses(data["y"], answer(x)).numpy(), "test": losses(data["test_y"], answer(test_x)).numpy()}
            for preset, (net, shape) in PRESETS.items():
                if net == name:
                    run.log(stop, **{f"{half}_loss_{preset}": np.median(of(mean[half], shape, p)) for half in mean})
            if name in ("features", "deep"):
                watched.setdefault(name, []).append((stop, answer(surface).numpy()[:, spirals], mean["train"][spirals]))
        run.save(model, f"weights_{name}")
    strips = {}
    for name, looked in watched.items():
        start = int(np.argsort(looked[-1][2], kind="stable")[p.restarts // 2])  # the median one
        x, y = of(data["x"].transpose(0, 2, 1), "spiral", p)[..., start], of(data["y"], "spiral", p)[:, start]
        strips[name] = [(passes, scores[:, start], loss[start]) for passes, scores, loss in looked], x, y
    caption = "The net with seven inputs learns the spiral: the surface is cut, bent and wound until both arms are covered"
    run.gif("training.gif", pictures.film(*strips["features"]), caption, fps=8)
    caption = "The spiral while it is learned, with seven inputs above, deep with four below: the deep net hesitates longer, then winds smoother arms"
    run.figure("filmstrip.png", pictures.strip(strips), caption)


def penalized(p: Params, model: keras.Model):
    """The loss with its penalties on the weights, which are absent by default."""

    def loss(y, prediction):
        total = half_square(y, prediction)
        for layer in model.layers[1:] if p.l1 or p.l2 else []:
            kernel = layer.kernel * layer.blocks
            total += p.l1 * tf.reduce_sum(tf.abs(kernel)) + p.l2 / 2 * tf.reduce_sum(tf.square(kernel))
        return total

    return loss


def looks(passes: int) -> list[tuple[int, int]]:
    """(last look, this look) in passes, the first before training: close together in the beginning."""
    at = sorted({round(passes * (k / LOOKS) ** 1.5) for k in range(LOOKS + 1)} | {passes})
    return [(0, 0), *itertools.pairwise(at)]


def of(values: np.ndarray, shape: str, p: Params) -> np.ndarray:
    """The part of ``[…, nets]`` that belongs to a toy: ``[…, restarts]``."""
    first = SHAPES.index(shape) * p.restarts
    return values[..., first : first + p.restarts]


# ## Evaluation
# Of the starts the one with the median test accuracy is drawn, the one with the lowest training loss exported.
def evaluate(run) -> dict:
    p, data = run.params, points(run)
    table, middle, values = [], {}, {}
    for name, model in build(p).items():
        run.load(model, f"weights_{name}")
        inputs = nets(p)[name][0]
        answer, trained = (model(inputs_of(data[half], inputs)).numpy() for half in ("test_x", "x"))
        right = ((answer >= 0) == (data["test_y"] > 0)).mean(0)
        loss = {"train_loss": losses(data["y"], trained).numpy(), "test_loss": losses(data["test_y"], answer).numpy()}
        surfaces = model(tf.tile(lift(pictures.MAP, inputs), (1, model.output_shape[-1]))).numpy()
        for shape in SHAPES:
            accuracies = of(right, shape, p)
            at = int(np.argsort(accuracies, kind="stable")[p.restarts // 2])
            x, y = of(data["test_x"].transpose(0, 2, 1), shape, p)[..., at], of(data["test_y"], shape, p)[:, at]
            middle[name, shape] = of(surfaces, shape, p)[:, at], float(accuracies[at]), x, y
            row = {"net": name, "shape": shape, "test_accuracy": float(np.median(accuracies)), "worst_start": float(accuracies.min())}
            table.append({**row, **{key: float(np.median(of(value, shape, p))) for key, value in loss.items()}})
            if name in ("linear", "own"):
                values[f"{name}_test_accuracy_{shape}"] = row["test_accuracy"]
        if name in ("features", "deep"):
            best = int(np.argmin(of(loss["train_loss"], "spiral", p)))
            chosen = picked(p, name, model, [SHAPES.index("spiral") * p.restarts + best])
            layers = [lift(pictures.MAP, inputs)]
            for layer in chosen.layers[1:]:
                layers.append(layer(layers[-1]))
            plot = pictures.network([v.numpy() for v in layers], [np.asarray(v.kernel) for v in chosen.layers[1:]], [SYMBOLS[i] for i in inputs])
            caption = "Every unit's answer over the plane, inputs left, output right; lines are weights, solid blue positive, dashed orange negative"
            run.figure(f"neurons_{name}.png", plot, caption)
    run.table("all.csv", table)
    heads = {}
    for name, (inputs, hidden, _) in nets(p).items():
        shown = ", ".join(SYMBOLS[i] for i in inputs) if len(inputs) < len(FEATURES) else "all seven inputs"
        heads[name] = f"{name}\n{shown}\nhidden: {'-'.join(map(str, hidden)) or 'none'}"
    caption = "Five nets on four toys with their accuracy on the points shown, which no net has seen: lines, bends, spirals"
    run.figure("grid.png", pictures.grid(middle, heads, SHAPES), caption)
    rows = {(row["net"], row["shape"]): row for row in table}
    for preset, cell in PRESETS.items():
        values |= {f"{key}_{preset}": rows[cell][key] for key in ("test_accuracy", "train_loss", "test_loss")}
    return values


# ## Export
# One function per net, which gives the scores of its four toys; the inputs are made inside.
def export(run):
    p, data = run.params, points(run)
    functions, variables = {}, []
    for name, model in sorted(build(p).items(), key=lambda item: item[0] != "features"):
        run.load(model, f"weights_{name}")
        inputs = nets(p)[name][0]
        loss = losses(data["y"], model(inputs_of(data["x"], inputs))).numpy()
        best = [SHAPES.index(shape) * p.restarts + int(np.argmin(of(loss, shape, p))) for shape in SHAPES]
        chosen = picked(p, name, model, best)
        variables += chosen.variables
        functions[name] = scorer(chosen, inputs), [tf.TensorSpec((None, 2), tf.float32, name="points")]
    example = np.array([[0.0, 3.0], [2.0, -2.0]], np.float32)
    saved_model(run.out / "export" / "saved_model", functions, variables, example=example)


def scorer(model: keras.Model, inputs: list[str]):
    def score(points):
        scores = model(tf.tile(lift(points, inputs), (1, len(SHAPES))))
        return {shape: scores[:, index] for index, shape in enumerate(SHAPES)}

    return score


# ## Use
# `dlbooks predict playground 1,2 -3,0.5 net=deep shape=spiral` classifies points; `points.csv -o labels.csv` a table with the columns x1 and x2;
# `-o surface.png` draws the decision surface, with the points if there are any.
def answer(
    run,
    inputs: list[np.ndarray],
    *,
    net: Literal["linear", "small", "features", "deep", "own"] = "features",
    shape: Literal["circle", "xor", "gauss", "spiral"] = "spiral",
) -> list[dict]:
    for what, value, known in (("net", net, nets(run.params)), ("shape", shape, SHAPES)):
        if value not in known:
            raise UserError(f"{what} = {value}: must be one of {', '.join(known)}")
    points, score = [checked_numbers(x, 2) for x in inputs], getattr(run.model, net)
    scores = [score(tf.constant(x, tf.float32))[shape].numpy() for x in points]
    return [{"scores": s.tolist(), "labels": np.where(s >= 0, 1, -1).tolist()} for s in scores]


def predict(run, inputs: list[str], out: Path | None = None, *, net: str = "features", shape: str = "spiral"):
    x = np.array([point for item in inputs for point in read_points(item)]).reshape(-1, 2)
    picture = out is not None and out.suffix.lower() == ".png"
    if not len(x) and not picture:
        raise UserError("give points x1,x2 or a CSV file with the columns x1 and x2, or -o surface.png for the surface alone")
    found = answer(run, [pictures.MAP, x] if len(x) else [pictures.MAP], net=net, shape=shape)
    scores, labels = (np.array(found[-1][key] if len(x) else []) for key in ("scores", "labels"))
    for point, value, label in zip(x, scores, labels, strict=True):
        print(f"{point[0]:8.4g} {point[1]:8.4g}   {value:+.4f}   {'blue +1' if label > 0 else 'orange −1'}")
    if len(x) and np.abs(x).max() > 6:
        print("note: |x| > 6 lies outside the toys; the net has seen nothing there")
    if picture:
        figure, axes = figures.new(4.6, 4.4)
        image = pictures.surface(axes, np.array(found[0]["scores"]), x, labels, 5)
        axes.set(xticks=range(-6, 7, 2), yticks=range(-6, 7, 2), xlabel="x₁", ylabel="x₂", title=f"{net} on {shape}")
        figure.colorbar(image, shrink=0.8)
        figures.save(figure, out)
    elif out:
        rows = [f"{a:.6g},{b:.6g},{s:.6g},{n}" for (a, b), s, n in zip(x, scores, labels, strict=True)]
        out.write_text("\n".join(["x1,x2,score,label", *rows]) + "\n", encoding="utf-8")


def read_points(item: str) -> list[tuple[float, float]]:
    """``x1,x2`` or the rows of a CSV file."""
    if Path(item).suffix.lower() != ".csv":
        try:
            a, b = (float(word) for word in item.split(","))
        except ValueError:
            raise UserError(f"{item!r} is no point: write x1,x2, for example 0,3") from None
        return [finite((a, b), item)]
    try:
        with open(item, encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            if missing := {"x1", "x2"} - set(table.fieldnames or []):
                raise UserError(f"{item}, line 1: column {' and '.join(sorted(missing))} is missing")
            found = []
            for row in table:
                where = f"{item}, line {table.line_num}"
                try:
                    found.append(finite((float(row["x1"]), float(row["x2"])), where))
                except (TypeError, ValueError):
                    raise UserError(f"{where}: x1 = {row['x1']!r}, x2 = {row['x2']!r} are not two numbers") from None
    except FileNotFoundError:
        raise UserError(f"{item}: no such file") from None
    except UnicodeDecodeError:
        raise UserError(f"{item}: not a text file in UTF-8") from None
    if not found:
        raise UserError(f"{item}: no points below the header")
    return found


def finite(point: tuple[float, float], where: str) -> tuple[float, float]:
    if not np.isfinite(point).all():
        raise UserError(f"{where}: a coordinate is not finite")
    return point
