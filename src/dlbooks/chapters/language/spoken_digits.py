r"""# Spoken digits

Which digit is being said? A second of telephone sound is 8,000 numbers, and two people saying "five" share not a single one of them. What they share
is how the *spectrum* moves, so that is what a recognizer looks at, in five steps that have stood for forty years.

1. **Framing.** The vocal tract holds still for about 25 ms. So the sound is cut into frames of 200 samples (25 ms at 8 kHz), one every 80 samples
   (10 ms): $\lfloor (n - 200) / 80 \rfloor + 1$ frames, 98 for a second.
2. **Spectrum.** Each frame is tapered by a Hann window, and the Fourier transform (256 points) tells how much power $|X_k|^2$ each frequency has.
3. **Mel bands.** The ear tells 200 from 300 Hz easily and 3,200 from 3,300 hardly. On the mel scale, $m = 1127 \ln(1 + f / 700)$, equal steps sound
   equal; 40 triangular bands, evenly spaced on it from 20 to 3,800 Hz, sum up the power.
4. **Logarithm.** $\ln(E_b + 10^{-6})$: loudness is felt in ratios. Sound is the voice's source *times* the throat's filter, and the logarithm turns
   the product into a sum.
5. **Cosine transform.** $c_i = \sqrt{2/40}\, \sum_{b=0}^{39} \ln E_b \cos\bigl(\tfrac{\pi i}{40} (b + \tfrac12)\bigr)$. The first 20 of these *mel-frequency cepstral
   coefficients* (MFCCs) hold the smooth outline, that is the throat and mouth, which makes the vowel; the pitch falls into the rest, which is
   dropped. Playing at half the amplitude lowers $c_0$ by $\ln 4 \cdot 80 / \sqrt{80} = 12.40$ and moves no other coefficient.

A recurrent network then reads the frames one after another. The cell of an LSTM carries a memory $c_t$, from which it can forget and to which it can add,

$$i, f, o = \sigma(W x_t + U h_{t-1} + b), \qquad c_t = f \odot c_{t-1} + i \odot \tanh(\cdot), \qquad h_t = o \odot \tanh c_t,$$

and after the last frame $h$ is classified. With 128 units and 20 coefficients that is $4 \cdot 128\,(20 + 128 + 1) + 1290 = 77{,}578$ weights. Recordings differ in
length; they are padded to at most 80 frames, and $h$ is taken at each one's own last frame, so that the padding says nothing.

**What is corrected.** The book's program trains and validates on one and the same batch of 64 recordings, in a loop that never ends and never saves; asked for
a prediction, it feeds the raw wave to a network that expects MFCCs. And its tensor is [coefficients, frames], so its LSTM walks along the *coefficients*
as if they were time: `--variant book` keeps that reading, with everything else repaired. It can still work, because 80 frames of one
coefficient are a fair description of a word, provided the word always starts at the same place.

**Who is speaking?** The usual test takes other recordings of the same six people. `unseen_speaker_accuracy` is the honest one: a second network, trained on four of
them for as many steps, listens to the other two. On the real recordings (`--profile book`, one minute on two cores; 98 % is
reached after seven seconds of training) the first gets 0.997 of the digits right, the second 0.797: much of what is learned is the voice. Two parameters try to change that. `augment` pretends to have more
speakers: in every step each recording's mel bands are stretched as a longer or shorter throat would, and its tempo and loudness are changed; with `augment=1` one run gave 0.987 and
0.744, so it is off. `center` subtracts each recording's own mean spectrum, and with it the microphone.

Everything from the wave to the probabilities lies in the export: `dlbooks run spoken-digits`, then `dlbooks predict spoken-digits my_voice.wav`.
"""

import csv
import time
from pathlib import Path
from typing import Annotated, Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from dlbooks import UserError, figures
from dlbooks.catalog import Chapter, Metric, Use, Variant
from dlbooks.chapters.language._sound import loudest, read_wav
from dlbooks.datasets.fsdd import RATE, SPEAKERS
from dlbooks.export import saved_model, tflite
from dlbooks.inputs import sound_files
from dlbooks.nn.metrics import accuracy, cross_entropy, log_softmax, top_classes
from dlbooks.nn.training import Adam, compiled_epoch
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="spoken-digits",
    title="Spoken digits",
    family="language",
    sources=["B5 11.2"],
    datasets=["fsdd"],
    headline="test_accuracy",
    metrics={
        "test_accuracy": Metric(better="higher", reported=0.98, source="B5 11.2", floor=0.93),
        "test_loss": Metric(better="lower"),
        "unseen_speaker_accuracy": Metric(better="higher", floor=0.8),
    },
    variants={
        "book": Variant(
            {"axis": "coefficients", "learning_rate": 1e-4, "batch_size": 64, "augment": 0.0},
            {"test_accuracy": 0.98},
            "B5 11.2",
            "the LSTM walks along the coefficients instead of the frames",
        )
    },
    curves={"Loss": ["loss", "loss_unseen_speakers"], "Accuracy on the test recordings": ["test_accuracy"]},
    picture="steps.png",
    example="dlbooks predict spoken-digits 5_theo_3.wav",
    use=Use(takes="sound", about="one spoken English digit, zero to nine, as a wav file", batched=True),
)


class Params(ChapterParams):
    axis: Literal["time", "coefficients"] = "time"
    """what the LSTM walks along"""
    units: int = Field(128, ge=1, le=1024)
    """of the LSTM"""
    dropout: float = Field(0.2, ge=0, lt=1)
    """share of inputs, and of the LSTM's last output, left out in training"""
    learning_rate: float = Field(2e-3, gt=0, le=1)
    """Adam's step size; it falls to zero along a cosine"""
    batch_size: int = Field(64, ge=1, le=1000)
    """recordings per step"""
    epochs: int = Field(25, ge=1, le=1000)
    """passes over the training recordings"""
    frames: int = Field(80, ge=10, le=1000)
    """frames that are heard at most"""
    augment: float = Field(0.0, ge=0, le=3)
    """strength of random changes; 1 means throats ±12 %, tempo ±20 %, loudness ±6 dB"""
    center: bool = False
    """subtract each recording's own mean spectrum"""
    held_out: list[Literal["george", "jackson", "lucas", "nicolas", "theo", "yweweler"]] = Field(["lucas", "theo"], min_length=1, max_length=5)
    """speakers whom the second network never hears in training"""


# ## From sound to mel bands
# All in TensorFlow, so that the export hears sound and not features. The cosine transform is linear, and its matrix is what it makes of the unit vectors.
FRAME, HOP, BANDS, COEFFICIENTS = 200, 80, 40, 20


def frames_of(samples):
    """How many whole frames ``samples`` samples hold."""
    return (samples - FRAME) // HOP + 1


def log_mel(audio):
    """Sound in ±1, float32 ``[B, samples]`` → ``[B, frames, 40]``."""
    spectrum = tf.signal.stft(audio, FRAME, HOP, fft_length=256)
    power = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
    bands = tf.signal.linear_to_mel_weight_matrix(BANDS, 129, RATE, 20.0, 3800.0)
    return tf.math.log(tf.matmul(power, tf.broadcast_to(bands, (tf.shape(power)[0], 129, BANDS))) + 1e-6)


traced_log_mel = tf.function(log_mel, input_signature=[tf.TensorSpec((None, None), tf.float32)])


def cosine_matrix() -> np.ndarray:
    """``[40, 20]``: log mel bands times this are the MFCCs."""
    return tf.signal.mfccs_from_log_mel_spectrograms(tf.eye(BANDS)).numpy()[:, :COEFFICIENTS]


# ## Model
class Cepstrum(keras.layers.Layer):
    """Log mel bands → MFCCs, standardized by the mean and deviation that ``learn`` was given.

    With ``center`` each recording's own mean is taken out first, and with it the microphone and the distance to it.
    """

    def __init__(self, center: bool, **options):
        super().__init__(**options)
        self.center = center

    def build(self, mel_shape, frames_shape):
        self.matrix = cosine_matrix()
        self.mean = self.add_weight(shape=(COEFFICIENTS,), initializer="zeros", trainable=False, name="mean")
        self.deviation = self.add_weight(shape=(COEFFICIENTS,), initializer="ones", trainable=False, name="deviation")

    def mfcc(self, mel, frames):
        if self.center:
            heard = tf.sequence_mask(frames, tf.shape(mel)[1], mel.dtype)[:, :, None]
            mel = mel - tf.reduce_sum(mel * heard, 1, keepdims=True) / tf.cast(frames, mel.dtype)[:, None, None]
        return tf.matmul(mel, tf.broadcast_to(self.matrix, (tf.shape(mel)[0], *self.matrix.shape)))

    def learn(self, mel: np.ndarray, frames: np.ndarray):
        heard = self.mfcc(mel, frames).numpy()[np.arange(mel.shape[1]) < frames[:, None]].astype(np.float64)
        self.mean.assign(heard.mean(0))
        self.deviation.assign(heard.std(0) + 1e-3)

    def call(self, mel, frames):
        return (self.mfcc(mel, frames) - self.mean) / self.deviation


class LastFrame(keras.layers.Layer):
    """``[B, T, units]`` and lengths ``[B]`` → each row's output at its own last frame."""

    def call(self, outputs, frames):
        return tf.gather(outputs, tf.cast(frames, tf.int32) - 1, axis=1, batch_dims=1)


class Transpose(keras.layers.Layer):
    """``[B, T ≤ size, 20]`` → ``[B, 20, size]``, zero behind the last frame: the book's reading."""

    def __init__(self, size: int, **options):
        super().__init__(**options)
        self.size = size

    def call(self, mfcc, frames):
        heard = tf.sequence_mask(frames, tf.shape(mfcc)[1], mfcc.dtype)[:, :, None]
        padded = tf.pad(mfcc * heard, ((0, 0), (0, self.size - tf.shape(mfcc)[1]), (0, 0)))
        return tf.ensure_shape(tf.transpose(padded, (0, 2, 1)), (None, COEFFICIENTS, self.size))


def build(params: Params) -> keras.Model:
    mel, frames = keras.Input((None, BANDS), name="mel"), keras.Input((), dtype="int32", name="frames")
    x = Cepstrum(params.center, name="mfcc")(mel, frames)
    if params.axis == "time":
        x = keras.layers.LSTM(params.units, dropout=params.dropout, return_sequences=True, name="lstm")(x)
        x = LastFrame(name="last")(x, frames)
    else:
        x = Transpose(params.frames, name="transpose")(x, frames)
        x = keras.layers.LSTM(params.units, dropout=params.dropout, name="lstm")(x)
    logits = keras.layers.Dense(10, name="digit")(keras.layers.Dropout(params.dropout)(x))
    return keras.Model({"mel": mel, "frames": frames}, logits)


# ## Sound in, bands out, once
# The bands of all recordings are computed before training, in groups of like length.
def bands(clips, limit: int) -> dict[str, np.ndarray]:
    """int16 recordings → ``mel [n, T, 40]``, zero behind the last frame, and ``frames [n]``; T ≤ ``limit`` is the longest one's."""
    samples = np.array([len(clip) for clip in clips])
    frames = np.minimum(frames_of(samples), limit).astype(np.int32)
    mel = np.zeros((len(clips), frames.max(), BANDS), np.float32)
    for group in np.array_split(np.argsort(frames, kind="stable"), -(-len(clips) // 200)):
        audio = np.zeros((len(group), (frames[group].max() - 1) * HOP + FRAME), np.float32)
        for row, clip in zip(audio, (clips[i] for i in group), strict=True):
            row[: len(clip)] = clip[: len(row)]
        found = traced_log_mel(audio / 32768).numpy()
        mel[group, : found.shape[1]] = found * (np.arange(found.shape[1]) < frames[group, None])[:, :, None]
    return {"mel": mel, "frames": frames}


# ## Training
def vary(strength: float, longest: int):
    """Random throats, tempos and loudness: a function for ``compiled_epoch``, which also cuts a batch to its longest recording."""

    def change(x, seed):
        mel, frames = x["mel"], x["frames"]
        if strength:
            throat, tempo, loudness = tf.unstack(tf.random.stateless_uniform((3, tf.shape(frames)[0]), seed, -strength, strength))
            band = tf.range(BANDS, dtype=tf.float32)
            source = tf.clip_by_value(band * (1 + 0.12 * throat[:, None]), 0, BANDS - 1)
            warp = tf.nn.relu(1 - tf.abs(source[:, None, :] - band[:, None]))  # [B, from, to]: linear interpolation
            mel = tf.matmul(mel, warp) + 1.4 * loudness[:, None, None]
            rate = 1 + 0.2 * tempo
            frames = tf.clip_by_value(tf.cast(tf.cast(frames, tf.float32) / rate, tf.int32), 1, longest)
            at = tf.cast(tf.round(tf.range(longest, dtype=tf.float32) * rate[:, None]), tf.int32)
            mel = tf.gather(mel, tf.minimum(at, x["frames"][:, None] - 1), axis=1, batch_dims=1)
        return {"mel": mel[:, : tf.reduce_max(frames)], "frames": frames}

    return change


def by_length(rng: np.random.Generator, pool: np.ndarray, frames: np.ndarray, batch: int) -> np.ndarray:
    """A shuffled pass in which recordings of like length share a batch: eight batches at a time are sorted, then all are shuffled."""
    order = rng.permutation(pool)
    pieces = [part[np.argsort(frames[part], kind="stable")] for part in np.array_split(order, range(8 * batch, len(order), 8 * batch))]
    order = np.concatenate(pieces)
    batches = order[: len(order) // batch * batch].reshape(-1, batch)
    return rng.permutation(batches).ravel()


def loss(labels, logits):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def train(run):
    p, records = run.params, run.records("fsdd")
    heard, test = records.arrays("train"), records.arrays("test")
    x, test_x = bands(heard["audio"], p.frames), bands(test["audio"], p.frames)
    everyone = np.arange(len(heard["label"]))
    four = np.flatnonzero(~np.isin(heard["speaker"], [SPEAKERS.index(name) for name in p.held_out]))
    model = build(p)
    steps = p.epochs * (len(everyone) // p.batch_size)
    optimizer = Adam(keras.optimizers.schedules.CosineDecay(p.learning_rate, max(1, steps)))
    epoch = compiled_epoch(model, optimizer, loss, augment=vary(p.augment, x["mel"].shape[1]))
    state = [*model.variables, *optimizer.variables]
    start = [np.array(variable) for variable in state]
    tensors, labels, score = {key: tf.constant(value) for key, value in x.items()}, tf.constant(heard["label"]), forward(model)
    for name, pool in (("unseen_speakers", four), ("weights", everyone)):
        if len(pool) < p.batch_size:
            raise UserError(f"spoken-digits: {len(pool)} recordings are less than one batch of {p.batch_size}")
        for variable, value in zip(state, start, strict=True):
            variable.assign(value)
        model.get_layer("mfcc").learn(x["mel"][pool], x["frames"][pool])
        passes = max(1, steps // (len(pool) // p.batch_size)) if steps else 1  # as many steps for the four as for all six
        began, reached = time.monotonic(), None
        for number in run.epochs(passes, name, model=model, optimizer=optimizer):
            rng = run.random(name, number)
            order = by_length(rng, pool, x["frames"], p.batch_size)
            mean = epoch(tensors, labels, order, p.batch_size, int(rng.integers(2**31)))
            if name == "unseen_speakers":
                run.log(number + 1, loss_unseen_speakers=mean)
                continue
            right = accuracy(score(test_x), test["label"])
            run.log(number + 1, loss=mean, test_accuracy=right)
            if right >= 0.98 and reached is None:
                reached = time.monotonic() - began
                run.timing(seconds_to_98=reached)
        run.save(model, name)


def forward(model: keras.Model, batch: int = 200):
    """Compiles inference: what ``bands`` returns → logits ``[n, 10]``."""
    spec = {"mel": tf.TensorSpec((None, None, BANDS), tf.float32), "frames": tf.TensorSpec((None,), tf.int32)}
    traced = tf.function(lambda x: model(x, training=False), input_signature=[spec])

    def run(x):
        parts = range(0, len(x["frames"]), batch)
        return np.concatenate([traced({key: tf.constant(value[i : i + batch]) for key, value in x.items()}).numpy() for i in parts])

    return run


# ## Evaluation
def evaluate(run) -> dict:
    from sklearn.metrics import confusion_matrix

    p, records = run.params, run.records("fsdd")
    test, names = records.arrays("test"), records.names()
    x, model = bands(test["audio"], p.frames), build(p)
    score = forward(model)

    run.load(model, "unseen_speakers")
    strangers = [SPEAKERS.index(name) for name in p.held_out]
    right, count = 0, 0
    for split in ("train", "test"):
        arrays = records.arrays(split)
        chosen = np.flatnonzero(np.isin(arrays["speaker"], strangers))
        logits = score(bands([arrays["audio"][i] for i in chosen], p.frames))
        right, count = right + int((logits.argmax(1) == arrays["label"][chosen]).sum()), count + len(chosen)

    run.load(model)
    logits, labels = score(x), test["label"]
    certain, guess = np.exp(log_softmax(logits)), logits.argmax(1)
    run.figure(
        "confusion.png",
        figures.confusion(confusion_matrix(labels, guess, labels=range(10)), names),
        "Test recordings by spoken and recognized digit: what is off the diagonal is confused",
    )
    doubt = np.argsort(certain[np.arange(len(labels)), labels], kind="stable")
    rows = [
        {
            "file": f"{labels[i]}_{SPEAKERS[test['speaker'][i]]}_{test['index'][i]}.wav",
            "digit": int(labels[i]),
            "recognized": int(guess[i]),
            "p_digit": certain[i, labels[i]],
            "p_recognized": certain[i, guess[i]],
        }
        for i in doubt
    ]
    run.table("errors.csv", [row for row in rows if row["digit"] != row["recognized"]] or rows[:1])
    run.figure(
        "doubts.png",
        doubt_figure(x, doubt[:8], rows),
        "The eight test recordings whose digit was given the lowest probability: mel bands over time, and what was heard instead",
    )
    first = {digit: int(np.flatnonzero((labels == digit) & (test["speaker"] == 1))[0]) for digit in range(10)}
    run.figure(
        "mfcc.png",
        mfcc_figure(x, model, first),
        "One speaker's ten digits as the network gets them: twenty standardized coefficients, frame by frame",
    )
    run.figure(
        "steps.png",
        steps_figure(test["audio"][first[7]], {key: value[[first[7]]] for key, value in x.items()}, model),
        "The word seven, from the wave through the spectrum and the mel bands to the coefficients: fewer numbers at every step, and the sounds still apart",
    )
    return {"test_accuracy": accuracy(logits, labels), "test_loss": cross_entropy(logits, labels), "unseen_speaker_accuracy": right / count}


def seconds(frames: int) -> tuple[float, float]:
    """When a picture of frames begins and ends."""
    return 0.0, frames * HOP / RATE


def doubt_figure(x, chosen, rows):
    figure, axes = figures.new(9.0, 4.2, 2, 4, sharey=True)
    for cell, i, row in zip(axes.ravel(), chosen, rows, strict=False):
        frames = x["frames"][i]
        cell.imshow(x["mel"][i, :frames].T, origin="lower", aspect="auto", cmap="magma", extent=(*seconds(frames), 0, BANDS))
        cell.grid(False)
        heard = "right" if row["digit"] == row["recognized"] else f"heard {row['recognized']}, p {row['p_recognized']:.2f}"
        cell.set_title(f"{row['file']}\n{heard}; p({row['digit']}) = {row['p_digit']:.2g}", fontsize=8)
    for cell in axes[-1]:
        cell.set_xlabel("seconds")
    for row in axes:
        row[0].set_ylabel("mel band")
    return figure


def mfcc_figure(x, model, first):
    figure, axes = figures.new(10.0, 4.4, 2, 5, sharey=True, sharex=True)
    mfcc = model.get_layer("mfcc")
    for cell, (digit, i) in zip(axes.ravel(), first.items(), strict=True):
        frames = x["frames"][i]
        values = mfcc(x["mel"][i : i + 1, :frames], x["frames"][i : i + 1])[0].numpy()
        look = {"origin": "lower", "aspect": "auto", "interpolation": "nearest", "cmap": "PuOr_r", "vmin": -3, "vmax": 3}
        image = cell.imshow(values.T, extent=(*seconds(frames), 0, COEFFICIENTS), **look)
        cell.grid(False)
        cell.set_title(str(digit))
    axes[0, 0].set_xlim(0, seconds(max(x["frames"][i] for i in first.values()))[1])
    for cell in axes[-1]:
        cell.set_xlabel("seconds")
    for row in axes:
        row[0].set_ylabel("coefficient")
    figure.colorbar(image, ax=axes, shrink=0.7, label="standard deviations from the mean")
    return figure


def steps_figure(clip, x, model):
    frames = int(x["frames"][0])
    clip = clip[: (frames - 1) * HOP + FRAME].astype(np.float32) / 32768
    power = np.abs(tf.signal.stft(clip, FRAME, HOP, fft_length=256).numpy().astype(np.complex128)) ** 2
    figure, axes = figures.new(7.2, 7.6, 4, 1, sharex=True)
    axes[0].plot(np.arange(len(clip)) / RATE, clip, color=figures.COLORS[0], linewidth=0.5)
    axes[0].set(ylabel="amplitude", title=f"wave: {len(clip):,} numbers")
    mel, mfcc = x["mel"][0, :frames], model.get_layer("mfcc")(x["mel"][:, :frames], x["frames"])[0].numpy()
    pictures = [
        (10 * np.log10(power + 1e-6), "magma", 4, "kHz", f"spectrum in decibels: {frames} frames × 129 frequencies"),
        (mel, "magma", BANDS, "mel band", f"logarithm of the mel bands: {frames} × {BANDS}"),
        (mfcc, "PuOr_r", COEFFICIENTS, "coefficient", f"MFCC, standardized: {frames} × {COEFFICIENTS} = {frames * COEFFICIENTS:,} numbers"),
    ]
    for cell, (values, colors, top, label, title) in zip(axes[1:], pictures, strict=True):
        reach = {"vmin": -3, "vmax": 3} if colors == "PuOr_r" else {}
        cell.imshow(values.T, origin="lower", aspect="auto", cmap=colors, extent=(*seconds(frames), 0, top), interpolation="nearest", **reach)
        cell.grid(False)
        cell.set(ylabel=label, title=title)
    axes[-1].set(xlabel="seconds", xlim=(0, len(clip) / RATE))
    return figure


# ## Export
# The SavedModel takes a batch of waves with their lengths; the TensorFlow Lite file one wave of at most 80 frames (6,520 samples), padded with zeros.
# Keras's LSTM draws its dropout masks even where it does not use them, which no converter likes: the exported network is built without.
def export(run):
    p = run.params
    model = run.load(build(p.model_copy(update={"dropout": 0.0})))
    longest = (p.frames - 1) * HOP + FRAME

    def serve(audio, samples):
        samples = tf.clip_by_value(samples, FRAME, tf.minimum(tf.shape(audio)[1], longest))
        logits = model({"mel": log_mel(audio[:, :longest]), "frames": frames_of(samples)}, training=False)
        return {"logits": logits, "probabilities": tf.nn.softmax(logits), "class_id": tf.argmax(logits, 1)}

    spec = [tf.TensorSpec((None, None), tf.float32, name="audio"), tf.TensorSpec((None,), tf.int32, name="samples")]
    folder = run.out / "export"
    folder.mkdir(parents=True, exist_ok=True)
    labels = {"labels.txt": "\n".join(run.records("fsdd").names()) + "\n"}
    tone = np.sin(np.arange(8000) * (2 * np.pi * 440 / 8000))[None]  # a second of 440 Hz
    saved_model(folder / "saved_model", {"serve": (serve, spec)}, model.weights, labels, {"audio": tone, "samples": [tone.shape[1]]})

    one = [tf.TensorSpec((1, longest), tf.float32, name="audio"), tf.TensorSpec((1,), tf.int32, name="samples")]
    tflite(folder / "model.tflite", lambda audio, samples: {"probabilities": serve(audio, samples)["probabilities"]}, one)


# ## Use
# Any PCM wav file: 8 to 32 bits, any rate, any number of channels (`_sound.py` reads it). Of a recording longer than the network hears, the
# loudest stretch is taken.
def answer(run, inputs: list[bytes], *, top: Annotated[int, Field(ge=1, le=10)] = 3) -> list[dict]:
    longest = (run.params.frames - 1) * HOP + FRAME
    clips = [loudest(read_wav(sound, RATE, FRAME), longest) for sound in inputs]
    audio = np.zeros((len(clips), max(map(len, clips))), np.float32)
    for row, clip in zip(audio, clips, strict=True):
        row[: len(clip)] = clip
    found = run.model.serve(tf.constant(audio), tf.constant([len(clip) for clip in clips], tf.int32))
    names = (run.exported() / "assets.extra" / "labels.txt").read_text(encoding="utf-8").splitlines()
    return [{"classes": classes} for classes in top_classes(names, found["probabilities"].numpy(), found["logits"].numpy(), top)]


def predict(run, inputs: list[str], out: Path | None = None):
    run.exported()
    files = sound_files(inputs)
    if not files:
        raise UserError("give wav files, or a folder that holds some")
    rows = []
    for file, found in zip(files, answer(run, files, top=10), strict=True):
        best, p = found["classes"][0], {c["class_id"]: c["probability"] for c in found["classes"]}
        print(f"{best['class_id']} ({best['probability']:.2f})" + (f"  {file.name}" if len(files) > 1 else ""))
        rows.append({"file": file.name, "digit": best["class_id"], **{f"p{k}": f"{p[k]:.6g}" for k in range(10)}})
    if out:
        path = out / "predictions.csv" if out.is_dir() or not out.suffix else out
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
