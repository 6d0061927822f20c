r"""# Fashion-MNIST: the loop by hand, the loop of the trainer, and over-fitting

Ten kinds of clothes instead of ten digits, in MNIST's format, and much harder: a shirt is nearly a pullover is nearly a coat. B4 trains a
perceptron of two hidden layers with 1,000 units each, 1,796,010 parameters for 60,000 pictures,

$$784 \to 1000 \to 1000 \to 10, \qquad W \sim \mathcal N\bigl(0,\ 1/n_\text{in}\bigr),$$

the variance chosen by LeCun so that activations keep their size from layer to layer. It trains the net twice.

**By hand** (3.2.8): take a batch, score it, take the loss, its gradient, a step. With a gradient tape:

```python
with tf.GradientTape() as tape:
    value = loss(labels, model(images, training=True))
optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
```

**By the trainer** (3.2.9): `model.compile`, `model.fit`, and callbacks for everything else. `loop: tape` and `loop: fit` must agree, and not about: after
the same batches the weights are equal bit for bit. A trainer adds convenience, no arithmetic.

**What the book found, and what one sees here.** The loss on the training pictures falls to the end; on new pictures it stops falling after about
five passes and *rises* after about twelve, while the accuracy just jitters: the net becomes ever surer of its mistakes. `overfit_gap` is the difference
of the two accuracies, `best_epoch` the pass with the lowest validation loss. B4's log gives 0.94793 on training, 0.8984 on test pictures after 20
passes, a gap of 0.05; `--variant book` runs along the same losses (0.459, 0.346 … 0.133 against the book's 0.465, 0.347 … 0.133) and ends anywhere
between 0.888 and 0.895 on the test pictures, depending on the pass at which one stops.

**The cure** is the default of profile `book`: the same widths with batch norm, dropout, decoupled weight decay, pictures mirrored at random, a
cosine schedule and an average of the weights. The loss on new pictures now falls for thirty passes, and the accuracy reaches 0.907. Shifting the
pictures as well makes a dense net worse (0.884): it would have to learn every place anew. `--variant conv`, the small convolutional net of B4
3.1.3, need not, and beats it with a twenty-fifth of the weights. Its flattened size is $5 \cdot 5 \cdot 20 = 500$ (28 → 26 → 13 → 11 → 5): the book writes 512,
which cannot run, and puts a rectifier on the logits, which forbids the net to speak against a class.
"""

from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from dlbooks.catalog import Chapter, Metric, Use, Variant
from dlbooks.nn.augment import flip
from dlbooks.nn.classification import bounded, classifier_export, classify, evaluate_classifier, forward, mnist_like, predict_pictures
from dlbooks.nn.metrics import accuracy, cross_entropy
from dlbooks.nn.training import Adam, Ema, compiled_epoch, precision
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="fashion-mlp",
    title="Fashion-MNIST: two loops and over-fitting",
    family="classification",
    sources=["B4 3.1.3", "B4 3.2.8", "B4 3.2.9"],
    datasets=["fashion-mnist"],
    own_data=["fashion-mnist"],
    headline="test_accuracy",
    metrics={
        "test_accuracy": Metric(better="higher", reported=0.8984, source="B4 3.2.8, epoch 20", floor=0.85),
        "test_loss": Metric(better="lower", reported=0.38144, source="B4 3.2.8, epoch 20"),
        "test_ece": Metric(better="lower"),
        "train_accuracy": Metric(better="higher", reported=0.94793, source="B4 3.2.8, epoch 20"),
        "overfit_gap": Metric(better="lower"),
        "best_epoch": Metric(better="higher"),
    },
    variants={
        "book": Variant(
            {
                **{"norm": False, "dropout": 0.0, "weight_decay": 0.0, "learning_rate": 1e-3, "schedule": "constant", "batch_size": 100},
                **{"epochs": 20, "augment": False, "ema": 0.0, "hold_out": False},
            },
            {"test_accuracy": 0.8984, "test_loss": 0.38144, "train_accuracy": 0.94793},
            "B4 3.2.8",
        ),
        "conv": Variant({"net": "conv", "dropout": 0.1, "weight_decay": 0.01, "learning_rate": 3e-3}, source="B4 3.1.3"),
    },
    curves={"Loss": ["loss", "validation_loss"], "Accuracy": ["accuracy", "validation_accuracy"]},
    picture="curve_loss.png",
    example="dlbooks predict fashion-mlp shoe.jpg",
    use=Use(takes="gray picture", about="a photo of one piece of clothing on a plain ground", batched=True),
)


class Params(ChapterParams):
    net: str = Field("mlp", pattern="^(mlp|conv)$")
    """`mlp` or the book's SimpleConvNet"""
    loop: str = Field("tape", pattern="^(tape|fit)$")
    """the loop by hand or Keras's trainer; the weights are the same"""
    norm: bool = False
    """batch norm before the rectifiers"""
    dropout: float = Field(0.0, ge=0, lt=1)
    """share of hidden activations dropped"""
    weight_decay: float = Field(0.0, ge=0, le=1)
    """decoupled decay: every step θ ← θ − rate · decay · θ"""
    learning_rate: float = Field(1e-3, gt=0, le=1)
    """Adam's rate, the highest one with `schedule: cosine`"""
    schedule: str = Field("constant", pattern="^(constant|cosine)$")
    """`cosine`: up during a twentieth of the steps, then down to 0 along a cosine"""
    batch_size: int = Field(100, ge=1, le=10_000)
    """examples per step"""
    epochs: int = Field(20, ge=1, le=10_000)
    """passes over the training pictures"""
    augment: bool = False
    """mirror half of the training pictures, at random"""
    ema: float = Field(0.0, ge=0, lt=1)
    """decay of the weights' moving average, used in place of the last weights; 0 for none"""
    hold_out: bool = True
    """keep the 5,000 validation pictures out of training; without, all 60,000 are seen and the test set is watched, as in the book"""


# ## Models
def build(params: Params, classes: int = 10) -> keras.Model:
    image = keras.Input((28, 28, 1), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = {"mlp": mlp, "conv": simple_conv_net}[params.net](x, params)
    return keras.Model(image, keras.layers.Dense(classes, dtype="float32", kernel_initializer="lecun_normal", name="logits")(x))


def mlp(x, params: Params):
    x = keras.layers.Flatten(name="pixels")(x)
    for name in ("hidden1", "features"):
        x = keras.layers.Dense(1000, kernel_initializer="lecun_normal", name=f"{name}_dense")(x)
        x = keras.layers.BatchNormalization(name=f"{name}_norm")(x) if params.norm else x
        x = keras.layers.ReLU(name=name)(x)
        x = keras.layers.Dropout(params.dropout)(x) if params.dropout else x
    return x


def simple_conv_net(x, params: Params):
    for number, maps in enumerate((10, 20), 1):
        x = keras.layers.Conv2D(maps, 3, name=f"conv{number}")(x)
        x = keras.layers.BatchNormalization(name=f"norm{number}")(x) if params.norm else x
        x = keras.layers.MaxPooling2D(2, name=f"pool{number}")(keras.layers.ReLU()(x))
    x = keras.layers.Dense(128, "relu", name="features")(keras.layers.Flatten(name="pixels")(x))
    return keras.layers.Dropout(params.dropout)(x) if params.dropout else x


# ## Two loops
# Each makes one pass in the given order and returns the mean loss. The first is the tape, run as one compiled function; the second feeds the same
# batches to `model.fit`. Random mirrors are drawn from (pass, step), so they too are the same in both.
def tape_loop(model, optimizer, loss, augment, ema):
    return compiled_epoch(model, optimizer, loss, augment=augment, ema=ema)


def fit_loop(model, optimizer, loss, augment, ema):
    model.compile(optimizer, loss, jit_compile=False)
    callbacks = [keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs=None: ema.update())] if ema else []

    def run(x, y, order, batch, seed):
        steps = len(order) // batch

        def gather(number, chosen):
            images = tf.gather(x, chosen)
            return (augment(images, tf.stack([seed, number])) if augment else images), tf.gather(y, chosen)

        rows = tf.constant(order[: steps * batch].reshape(steps, batch))
        data = tf.data.Dataset.from_tensor_slices((tf.range(steps), rows)).map(gather).prefetch(2)
        return model.fit(data, epochs=1, callbacks=callbacks, shuffle=False, verbose=0).history["loss"][0]

    return run


# ## Training
# After every pass: loss and accuracy on the validation pictures and, dropout off, the accuracy on the first 5,000 training pictures.
def training_pictures(p: Params, records):
    splits = [records.arrays("train")] if p.hold_out else [records.arrays("train"), records.arrays("validation")]
    return tuple(np.concatenate([split[name] for split in splits]) for name in ("image", "label"))


def train(run):
    p, records = run.params, run.records("fashion-mnist")
    images, labels = training_pictures(p, records)
    held_out = records.arrays("validation" if p.hold_out else "test")
    x, y, p = tf.constant(images), tf.constant(labels), bounded(p, len(labels))
    with precision(run.profile):
        model = build(p, len(records.names()))
    rate, steps = p.learning_rate, p.epochs * (len(x) // p.batch_size)
    if p.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(0.0, steps - steps // 20, warmup_target=rate, warmup_steps=max(1, steps // 20))
    optimizer = Adam(rate, weight_decay=p.weight_decay or None)
    optimizer.build(model.trainable_variables)
    ema = Ema(model, p.ema) if p.ema else None
    loop = {"tape": tape_loop, "fit": fit_loop}[p.loop]
    one_pass = loop(model, optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), flip if p.augment else None, ema)
    score = forward(model)
    state = {"model": model, "optimizer": optimizer, **({"ema": ema} if ema else {})}
    for epoch in run.epochs(p.epochs, **state):
        order = run.random("order", epoch).permutation(len(x)).astype(np.int32)
        loss = one_pass(x, y, order, p.batch_size, int(run.random("augment", epoch).integers(2**30)))
        with ema.swapped() if ema else nullcontext():
            seen, new = score(images[:5000]), score(held_out["image"])
        run.log(
            epoch + 1,
            loss=loss,
            validation_loss=cross_entropy(new, held_out["label"]),
            accuracy=accuracy(seen, labels[:5000]),
            validation_accuracy=accuracy(new, held_out["label"]),
        )
    with ema.swapped() if ema else nullcontext():
        run.save(model)
    series = {name: [value for _, value in run.series[name]] for name in ("loss", "validation_loss", "accuracy", "validation_accuracy")}
    run.table("log.csv", [{"epoch": i + 1, **{name: values[i] for name, values in series.items()}} for i in range(p.epochs)])


# ## Evaluation
def evaluate(run) -> dict:
    records = run.records("fashion-mnist")
    images, labels = training_pictures(run.params, records)
    test = records.arrays("test")
    score = forward(run.load(build(run.params, len(records.names()))))
    metrics = evaluate_classifier(run, score(test["image"]), test, records.names())
    on_training = accuracy(score(images), labels)
    return {
        **metrics,
        "train_accuracy": on_training,
        "overfit_gap": on_training - metrics["test_accuracy"],
        "best_epoch": 1 + int(np.argmin([value for _, value in run.series["validation_loss"]])),
    }


def export(run):
    records = run.records("fashion-mnist")
    classifier_export(run, run.load(build(run.params, len(records.names()))), records.names(), records.arrays("validation")["image"][:100])


# ## Use
# A photo of one piece of clothing on a plain ground becomes what the data set's makers made of theirs: gray, light on black, cut out, the longer side 28 pixels.
def answer(run, inputs: list[np.ndarray], *, top: int = 3, seen: bool = False) -> list[dict]:
    return classify(run, inputs, lambda picture: mnist_like(picture, box=28, by_mass=False), top, seen)


def predict(run, inputs: list[str], out: Path | None = None, *, top: int = 3):
    predict_pictures(run, answer, inputs, out, top=top)
