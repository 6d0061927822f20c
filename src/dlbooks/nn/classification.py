"""What every picture classifier shares: scores and the files that show them, the export, prediction for a person's own pictures.

A classifier here is a Keras model from uint8 pictures ``[B, H, W, C]`` to logits ``[B, K]``, its scaling inside. Its last hidden layer is
named ``features``.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from dlbooks import UserError, export, figures, images
from dlbooks.features import fitted
from dlbooks.inputs import blame, checked_picture
from dlbooks.nn import metrics

MISTAKES = 36  # wrong test pictures shown
SHOWN = 20  # pictures drawn into predictions.png


def forward(model: keras.Model, batch: int = 500) -> Callable[[np.ndarray], np.ndarray]:
    """Compiles inference: pictures ``[n, H, W, C]`` → logits float32 ``[n, K]``, dropout off, in batches of one fixed size.

    Keep the function while the model trains: it always sees the current weights and is traced once.
    """
    traced = tf.function(lambda x: tf.cast(model(x, training=False), tf.float32), reduce_retracing=True)

    def run(pictures: np.ndarray) -> np.ndarray:
        return np.concatenate([traced(tf.convert_to_tensor(pictures[i : i + batch])).numpy() for i in range(0, len(pictures), batch)])

    return run


def smoothed_cross_entropy(smoothing: float) -> Callable:
    """Cross-entropy ``loss(labels [B], logits [B, K])`` → ``[B]`` with labels softened by ``smoothing`` s.

    (1 − s) of the weight stays on the label, s is spread evenly over all K classes. Szegedy et al., 2016.
    """

    def loss(labels, logits):
        log_p = tf.nn.log_softmax(logits)
        return -(1 - smoothing) * tf.gather(log_p, labels, batch_dims=1) - smoothing * tf.reduce_mean(log_p, -1)

    return loss


def bounded(params, examples: int):
    """``params`` with a ``batch_size`` of at most all examples: a person's own data may be few."""
    return params if params.batch_size <= examples else params.model_copy(update={"batch_size": examples})


def evaluate_classifier(run, logits: np.ndarray, test: dict[str, np.ndarray], names: list[str]) -> dict[str, float]:
    """``test_accuracy``, ``test_loss`` (mean cross-entropy) and ``test_ece`` of all test items, and the files that show them.

    ``logits`` ``[n, K]`` for the records ``test`` with ``image``, ``label`` and ``index``. Writes ``confusion.png``, ``mistakes.png`` (the most
    confident ones first), ``per_class.csv`` and ``predictions.csv``.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    labels, classes = test["label"], range(len(names))
    if logits.shape != (len(labels), len(names)):
        raise UserError(f"{run.chapter.id}: the model gives {logits.shape[1]} classes, the records have {len(names)}")
    log_p = metrics.log_softmax(logits)
    p = np.exp(log_p)
    guess, rows = logits.argmax(1), np.arange(len(labels))
    run.figure(
        "confusion.png",
        figures.confusion(confusion_matrix(labels, guess, labels=classes), names),
        "Test items by true and predicted class: what is off the diagonal is confused",
    )
    precision, recall, f1, count = precision_recall_fscore_support(labels, guess, labels=classes, zero_division=0)
    run.table(
        "per_class.csv",
        [{"class": names[k], "n": int(count[k]), "precision": precision[k], "recall": recall[k], "f1": f1[k]} for k in classes],
    )
    wrong = rows[guess != labels]
    wrong = wrong[np.argsort(-p[wrong, guess[wrong]], kind="stable")]
    shown = wrong[:MISTAKES]
    if len(shown):
        short = max(map(len, names)) < 3
        captions = [f"{names[labels[i]]}{' ' if short else chr(10)}→ {names[guess[i]]} {p[i, guess[i]]:.2f}" for i in shown]
        run.figure(
            "mistakes.png",
            figures.grid(test["image"][shown], 9, captions, "True → predicted, with its probability", 0.8 if short else 1.1),
            f"The {len(shown)} most confident of {len(wrong)} mistakes on {len(labels)} test pictures",
        )
    entropy = -(p * log_p).sum(1)
    run.table(
        "predictions.csv",
        [
            {
                "index": int(test["index"][i]),
                "label": int(labels[i]),
                "predicted": int(guess[i]),
                "p_true": p[i, labels[i]],
                "p_predicted": p[i, guess[i]],
                "entropy": entropy[i],
            }
            for i in rows
        ],
    )
    return {"test_accuracy": metrics.accuracy(logits, labels), "test_loss": metrics.cross_entropy(logits, labels), "test_ece": metrics.ece(p, labels)}


def classifier_export(run, model: keras.Model, names: list[str], sample: np.ndarray) -> None:
    """Writes ``export/``: a SavedModel, ``model.keras``, ``model.tflite`` (float32) and ``model_dynamic.tflite`` (8-bit weights).

    The SavedModel answers ``serve(image: uint8 [None, H, W, C])`` with ``logits``, ``probabilities`` and ``class_id``, and ``features(image)`` with
    the last hidden layer's output; it carries ``labels.txt`` (line k is class k). The TFLite files give probabilities. On the
    pictures ``sample`` all four must agree, or this raises: SavedModel within 1e-5, TFLite within 1e-3, with 8-bit weights the
    same class for at least 98 %.
    """
    folder = run.out / "export"
    folder.mkdir(parents=True, exist_ok=True)
    spec = [tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, name="image")]
    both = keras.Model(model.input, [model.output, model.get_layer("features").output])

    def serve(image):
        logits = model(image, training=False)
        return {"logits": logits, "probabilities": tf.nn.softmax(logits), "class_id": tf.argmax(logits, 1)}

    def features(image):
        return {"features": both(image, training=False)[1]}

    labels = {"labels.txt": "\n".join(names) + "\n"}
    export.saved_model(folder / "saved_model", {"serve": (serve, spec), "features": (features, spec)}, model.weights, labels, sample[:1])
    export.keras_file(model, folder / "model.keras")
    for name, quantize in (("model.tflite", False), ("model_dynamic.tflite", True)):
        export.tflite(folder / name, lambda image: {"probabilities": serve(image)["probabilities"]}, spec, quantize)

    expected = tf.nn.softmax(model(sample, training=False)).numpy()
    exported = tf.saved_model.load(str(folder / "saved_model"))  # its functions need it alive
    saved = exported.serve(tf.constant(sample))["probabilities"].numpy()
    plain, dynamic = (lite(folder / name, sample) for name in ("model.tflite", "model_dynamic.tflite"))
    for what, got, limit in (("SavedModel", saved, 1e-5), ("TFLite", plain, 1e-3)):
        if (apart := np.abs(got - expected).max()) > limit:
            raise ValueError(
                f"{run.chapter.id}: the exported {what} gives probabilities {apart:.2g} away from the model's, at most {limit:g} is right"
            )
    agreement = (dynamic.argmax(1) == expected.argmax(1)).mean()
    if agreement < 0.98 and (1 - agreement) * len(sample) > 1.5:  # of few pictures one may differ
        raise ValueError(f"{run.chapter.id}: TFLite with 8-bit weights agrees on {agreement:.1%} of the classes, at least 98 % is right")


def lite(path: Path, pictures: np.ndarray) -> np.ndarray:
    """Output of a TFLite file with one input and one output."""
    with warnings.catch_warnings():  # it announces its move to another package on every use
        warnings.simplefilter("ignore")
        plain = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = tf.lite.Interpreter(str(path), experimental_op_resolver_type=plain)
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(source["index"], pictures.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], pictures)
    interpreter.invoke()
    return interpreter.get_tensor(target["index"])


def classify(run, pictures: list[np.ndarray], prepare: Callable[[np.ndarray], np.ndarray], top: int, seen: bool) -> list[dict]:
    """Classes of decoded pictures, the likeliest first: a dictionary with ``classes`` (``class``, ``class_id``, ``probability``, ``logit``) for each,
    and with ``seen``, the picture that reached the net, if that is asked for.

    ``prepare`` turns a picture into the net's uint8 ``[H, W, C]``; a gray one of a model that was trained on a person's own data is only cropped and
    resized, as those were.
    """
    names = labels(run)
    if not 1 <= top <= len(names):
        raise UserError(f"top = {top}: must be between 1 and {len(names)}, the number of classes")
    colors = run.chapter.use.takes == "picture"
    pictures = [checked_picture(picture, colors) for picture in pictures]
    if run.swaps and not colors:
        ready = [fitted(tf.constant(picture[..., None]), (28, 28, 1)).numpy() for picture in pictures]
    else:
        ready = [prepare(picture) for picture in pictures]
    scores = run.model.serve(tf.constant(np.stack(ready)))
    found = metrics.top_classes(names, scores["probabilities"].numpy(), scores["logits"].numpy(), top)
    return [{"classes": classes, "seen": picture} if seen else {"classes": classes} for picture, classes in zip(ready, found, strict=True)]


def labels(run) -> list[str]:
    """The class names that the export carries."""
    return (run.exported() / "assets.extra" / "labels.txt").read_text(encoding="utf-8").splitlines()


def predict_pictures(run, answer: Callable, inputs: list[str], out: Path | None, *, top: int, mode: str = "L") -> list[dict]:
    """Classifies picture files and folders and prints one line for each: file, then class and probability.

    ``answer`` is the chapter's, ``mode`` the PIL mode of its pictures. With ``out`` writes ``predictions.csv`` (file, rank, class_id, class, probability,
    logit) and ``predictions.png`` (each picture, as the net saw it, beside its bars). Returns the rows of the CSV.
    """
    files = images.files(inputs)
    pictures = [images.read(file, mode) for file in files]
    try:
        found = answer(run, pictures, top=top, seen=True)
    except UserError:
        blame(lambda one: answer(run, one, top=top), pictures, files)
        raise
    rows = []
    for file, item in zip(files, found, strict=True):
        print(f"{file}  " + "   ".join(f"{c['class']} {c['probability']:.3f}" for c in item["classes"]))
        for rank, c in enumerate(item["classes"], 1):
            row = {"file": str(file), "rank": rank, "class_id": c["class_id"], "class": c["class"]}
            rows.append({**row, "probability": f"{c['probability']:.6g}", "logit": f"{c['logit']:.6g}"})
    if out:
        out.mkdir(parents=True, exist_ok=True)
        with open(out / "predictions.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        shown = [item["classes"] for item in found[:SHOWN]]
        named = [[c["class"] for c in classes] for classes in shown]
        certain = np.array([[c["probability"] for c in classes] for classes in shown])
        figures.save(figures.bars([item["seen"] for item in found[:SHOWN]], named, certain, [f.name for f in files[:SHOWN]]), out / "predictions.png")
    return rows


def mnist_like(picture: np.ndarray, box: int = 20, by_mass: bool = True) -> np.ndarray:
    """Makes a gray picture ``[H, W]`` of one thing look like MNIST's: uint8 ``[28, 28, 1]``, light ink on black.

    A bright border means dark ink on paper: inverted. The box around the ink is cut out and shrunk or enlarged until its longer side has
    ``box`` pixels, then placed with its center of mass on pixel (14, 14), where MNIST's digits have it, or in the middle without
    ``by_mass``. No ink is a ``UserError``.
    """
    from PIL import Image

    gray = picture.astype(np.float32)
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    ground = float(np.median(border))
    ink = ground - gray if ground > 127 else gray - ground
    if ink.max() < 40:
        raise UserError("no ink found: nothing stands out from the background")
    ink = np.clip(ink / ink.max(), 0.0, 1.0)
    rows, columns = (np.flatnonzero((ink > 0.2).any(axis)) for axis in (1, 0))
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = box / max(cut.shape)
    height, width = (max(1, round(side * scale)) for side in cut.shape)
    if cut.shape != (height, width):
        cut = np.asarray(Image.fromarray(cut).resize((width, height), Image.Resampling.BILINEAR))
    top, left = (28 - height) / 2, (28 - width) / 2
    if by_mass:
        total = cut.sum()
        top = 14 - float((cut.sum(1) * np.arange(height)).sum() / total)
        left = 14 - float((cut.sum(0) * np.arange(width)).sum() / total)
    top, left = (min(max(round(at), 0), 28 - side) for at, side in ((top, height), (left, width)))
    result = np.zeros((28, 28, 1), np.uint8)
    result[top : top + height, left : left + width, 0] = np.round(cut * 255)
    return result
