"""Spoken digits: recordings and their twin, MFCCs against their formulas, the network on frames, a person's wav files."""

import csv
import hashlib
import math
import shutil
import warnings
import wave
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.fft import dct

from dlbooks import UserError, archives, fetch, runtime
from dlbooks.chapters.language import _sound, spoken_digits
from dlbooks.datasets import fsdd
from dlbooks.records import Records
from dlbooks.run import Run

TINY = {"epochs": 2, "batch_size": 20, "units": 16, "learning_rate": 0.01}


@pytest.fixture(scope="module", autouse=True)
def prepared():
    runtime.prepare("mini", 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Records of the smallest twin: 60 recordings to train on, 300 to test."""
    folder = tmp_path_factory.mktemp("data")
    params = fsdd.Params(takes=6)
    fetch.fetch(fsdd.DATASET, fsdd, params, folder / "raw" / "fsdd")
    fetch.preprocess(fsdd.DATASET, fsdd, params, folder / "raw" / "fsdd", folder / "tfrecords" / "fsdd")
    return folder


@pytest.fixture
def start(data, tmp_path, monkeypatch):
    monkeypatch.setenv("DLBOOKS_HOME", str(tmp_path))

    def make(out, **parameters):
        runtime.prepare("mini", 0)
        run = Run(spoken_digits.CHAPTER, spoken_digits.Params(**{**TINY, **parameters}), profile="mini", out=tmp_path / out, data=data, quiet=True)
        run.begin()
        return run

    return make


# ── data set ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_twin_has_upstreams_files_and_the_same_bytes(data, tmp_path):
    path = data / "raw" / "fsdd" / "fsdd.zip"
    fsdd.twin(tmp_path, fsdd.Params(takes=6))
    assert (tmp_path / "fsdd.zip").read_bytes() == path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == 360 and "recordings/7_theo_3.wav" in archive.namelist()
    digest = hashlib.sha256(fsdd.wav(fsdd.speak(7, 4, 3))).hexdigest()  # on every machine
    assert digest.startswith("bcbff8251f0386a4"), digest


def test_records_hold_every_recording_once(data):
    records = Records(data / "tfrecords" / "fsdd")
    seen = []
    for split, indices in (("train", {5}), ("test", {0, 1, 2, 3, 4})):
        arrays = records.arrays(split)
        assert set(arrays["index"].tolist()) == indices
        seen += list(zip(arrays["label"].tolist(), arrays["speaker"].tolist(), arrays["index"].tolist(), strict=True))
    assert len(seen) == len(set(seen)) == 360
    test = records.arrays("test")
    at = [k for k in range(300) if (test["label"][k], test["speaker"][k], test["index"][k]) == (7, 4, 3)]
    assert np.array_equal(test["audio"][at[0]], fsdd.speak(7, 4, 3))
    assert test["audio"][0].dtype == np.int16


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("recordings/seven.wav", b"", "seven.wav is not named"),
        ("recordings/7_nobody_3.wav", b"", "7_nobody_3.wav is not named .* george"),
        ("recordings/7_theo_3.wav", b"no sound", "7_theo_3.wav is no PCM wav file"),
        ("recordings/7_theo_3.wav", None, "16000 Hz, 16 bit, 1 channels, 100 samples; expected 8000 Hz"),
    ],
)
def test_wrong_recordings_are_named(tmp_path, name, content, message):
    if content is None:
        write(tmp_path / "a.wav", np.zeros(100), rate=16_000)
        content = (tmp_path / "a.wav").read_bytes()
    archives.pack(tmp_path / "fsdd.zip", {name: content})
    with pytest.raises(UserError, match=message):
        [list(items) for items in fsdd.examples(tmp_path, fsdd.Params()).values()]


# ── mel-frequency cepstral coefficients ─────────────────────────────────────────────────────────────────────────────────────────────


def test_frames():
    assert spoken_digits.frames_of(8000) == (8000 - 200) // 80 + 1 == 98
    assert spoken_digits.frames_of(6520) == 80
    assert spoken_digits.log_mel(tf.zeros((1, 8000))).shape == (1, 98, 40)


def reference(audio):
    """The five steps of the chapter's prose, in NumPy and SciPy."""
    frames = np.stack([audio[i : i + 200] for i in range(0, len(audio) - 199, 80)]).astype(np.float64)
    power = np.abs(np.fft.rfft(frames * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(200) / 200)), 256)) ** 2
    mel = 1127 * np.log(1 + np.arange(129) * 8000 / 256 / 700)
    edges = np.linspace(1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 3800 / 700), 42)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    up, down = (mel[:, None] - low) / (middle - low), (high - mel[:, None]) / (high - middle)
    triangles = np.maximum(0, np.minimum(up, down))
    triangles[0] = 0
    bands = np.log(power @ triangles + 1e-6)
    return bands, dct(bands, type=2, axis=1, norm=None)[:, :20] / math.sqrt(80)


def test_mfccs_are_those_of_the_formulas():
    audio = fsdd.speak(3, 1, 0)[:2000] / np.float32(32768)
    bands, mfcc = reference(audio)
    got = spoken_digits.log_mel(tf.constant(audio[None]))[0].numpy()
    np.testing.assert_allclose(got, bands, atol=2e-3)
    matrix = spoken_digits.cosine_matrix()
    i, b = np.arange(20), np.arange(40)[:, None]
    np.testing.assert_allclose(matrix, math.sqrt(2 / 40) * np.cos(np.pi * i / 40 * (b + 0.5)), atol=1e-5)
    np.testing.assert_allclose(got @ matrix, mfcc, atol=5e-3)


def test_half_the_amplitude_lowers_the_first_coefficient_alone():
    audio = np.random.default_rng(0).uniform(-1, 1, (1, 4000)).astype(np.float32)
    loud, soft = (spoken_digits.log_mel(tf.constant(audio * gain))[0].numpy() @ spoken_digits.cosine_matrix() for gain in (1.0, 0.5))
    assert math.log(4) * 80 / math.sqrt(80) == pytest.approx(12.40, abs=0.005)
    np.testing.assert_allclose((loud - soft)[:, 0], 12.40, atol=0.005)
    assert np.abs((loud - soft)[:, 1:]).max() < 1e-3


def test_bands_in_groups_are_bands_one_by_one(data):
    clips = Records(data / "tfrecords" / "fsdd").arrays("test")["audio"][:7]
    x = spoken_digits.bands(clips, 20)
    for mel, frames, clip in zip(x["mel"], x["frames"], clips, strict=True):
        assert frames == min(20, spoken_digits.frames_of(len(clip)))
        alone = spoken_digits.log_mel(tf.constant(clip[None] / np.float32(32768)))[0].numpy()
        np.testing.assert_allclose(mel[:frames], alone[:frames], atol=1e-5)
        assert not mel[frames:].any()


# ── network ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_number_of_weights():
    model = spoken_digits.build(spoken_digits.Params())
    assert sum(math.prod(w.shape) for w in model.trainable_weights) == 4 * 128 * (20 + 128 + 1) + 1290 == 77_578
    assert "77{,}578" in spoken_digits.__doc__
    book = spoken_digits.build(spoken_digits.Params(**spoken_digits.CHAPTER.variants["book"].overrides))
    assert sum(math.prod(w.shape) for w in book.trainable_weights) == 4 * 128 * (80 + 128 + 1) + 1290


def test_lstm_is_that_of_the_formulas():
    model = spoken_digits.build(spoken_digits.Params(units=3))
    mel = np.random.default_rng(0).normal(size=(1, 5, 40)).astype(np.float32)
    w, u, b = (np.asarray(v, np.float64) for v in model.get_layer("lstm").weights)
    dense, bias = (np.asarray(v) for v in model.get_layer("digit").weights)
    sigma = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    h = c = np.zeros(3)
    for x in mel[0] @ spoken_digits.cosine_matrix():
        i, f, new, o = np.split(x @ w + h @ u + b, 4)  # Keras's order
        c = sigma(f) * c + sigma(i) * np.tanh(new)
        h = sigma(o) * np.tanh(c)
    np.testing.assert_allclose(model({"mel": mel, "frames": np.array([5])})[0], h @ dense + bias, atol=1e-5)


@pytest.mark.parametrize(("axis", "center"), [("time", False), ("time", True), ("coefficients", True)])
def test_what_stands_behind_the_last_frame_changes_nothing(axis, center):
    model = spoken_digits.build(spoken_digits.Params(axis=axis, center=center, units=8))
    rng = np.random.default_rng(0)
    mel, frames = rng.normal(size=(3, 30, 40)).astype(np.float32), np.array([30, 12, 1], np.int32)
    other = np.where((np.arange(30) < frames[:, None])[:, :, None], mel, 99).astype(np.float32)
    longer = np.pad(other, ((0, 0), (0, 9), (0, 0)))
    answers = [model({"mel": x, "frames": frames}).numpy() for x in (mel, other, longer)]
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-5)
    np.testing.assert_allclose(answers[2], answers[0], atol=1e-5)


@pytest.mark.parametrize("center", [False, True])
def test_standardized_coefficients_have_mean_0_and_deviation_1(center):
    model = spoken_digits.build(spoken_digits.Params(center=center))
    rng = np.random.default_rng(0)
    mel, frames = rng.normal(5, 2, (50, 9, 40)).astype(np.float32), rng.integers(1, 10, 50)
    model.get_layer("mfcc").learn(mel, frames)
    values = model.get_layer("mfcc")(mel, frames).numpy()
    heard = values[np.arange(9) < frames[:, None]]
    np.testing.assert_allclose(heard.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(heard.std(0), 1, atol=1e-2)
    other_microphone = model.get_layer("mfcc")(mel + rng.normal(size=(50, 1, 40)).astype(np.float32), frames).numpy()
    assert (np.abs(other_microphone - values)[np.arange(9) < frames[:, None]].max() < 1e-3) == center


def test_batches_hold_recordings_of_like_length():
    rng, frames = np.random.default_rng(0), np.random.default_rng(1).integers(10, 80, 1000)
    pool = np.arange(100, 1000)
    order = spoken_digits.by_length(rng, pool, frames, 32)
    assert len(order) == 28 * 32 and len(set(order)) == len(order) and set(order) <= set(pool)
    spread = np.ptp(frames[order].reshape(28, 32), axis=1)
    assert np.median(spread) < 20 < np.median(np.ptp(frames[rng.permutation(pool)][: 28 * 32].reshape(28, 32), axis=1))


def test_random_changes():
    rng = np.random.default_rng(0)
    x = {"mel": tf.constant(rng.normal(size=(64, 50, 40)), tf.float32), "frames": tf.constant(rng.integers(10, 40, 64), tf.int32)}
    seed = tf.constant([1, 2])
    plain = spoken_digits.vary(0.0, 50)(x, seed)
    longest = int(x["frames"].numpy().max())
    np.testing.assert_array_equal(plain["mel"], x["mel"][:, :longest])
    np.testing.assert_allclose(spoken_digits.vary(1e-6, 50)(x, seed)["mel"][:, :9], x["mel"][:, :9], atol=1e-3)
    once, again, other = (spoken_digits.vary(1.0, 50)(x, s) for s in (seed, seed, seed + 1))
    np.testing.assert_array_equal(once["mel"], again["mel"])
    assert np.abs(once["mel"][:, :9] - other["mel"][:, :9]).max() > 0.1
    ratio = once["frames"].numpy() / x["frames"].numpy()
    assert 0.7 < ratio.min() < 0.9 and 1.1 < ratio.max() < 1.26
    assert once["mel"].shape[1] == once["frames"].numpy().max() <= 50


# ── from training to a person's recordings ──────────────────────────────────────────────────────────────────────────────────────────


def write(path, audio, rate=8000, width=2, channels=1):
    """A PCM wav file of a float wave in ±1."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        value = np.round(np.repeat(audio, channels) * (2.0 ** (8 * width - 1) - 1))
        raw = (value + 128).astype("u1") if width == 1 else value.astype("<i4")
        file.writeframes(raw.tobytes() if width in (1, 4) else raw.view("u1").reshape(-1, 4)[:, :width].tobytes())
    return str(path)


def test_wav_files_of_every_kind_sound_the_same(tmp_path):
    audio = 0.5 * np.sin(2 * np.pi * 440 * np.arange(4800) / 8000)
    for width, channels in ((1, 1), (2, 1), (2, 2), (3, 1), (4, 2)):
        got = _sound.read_wav(write(tmp_path / "a.wav", audio, 8000, width, channels), 8000, 200)
        np.testing.assert_allclose(got, audio, atol=0.01 if width == 1 else 1e-4)
    fast = 0.5 * np.sin(2 * np.pi * 440 * np.arange(26_460) / 44_100)
    got = _sound.read_wav(write(tmp_path / "a.wav", fast, 44_100), 8000, 200)
    assert len(got) == 4800
    np.testing.assert_allclose(got[200:-200], audio[200:-200], atol=0.01)


def test_the_loudest_stretch_is_heard():
    audio = np.concatenate([np.zeros(5000), np.ones(300), np.zeros(2000)]).astype(np.float32)
    assert _sound.loudest(audio, 400).sum() == 300
    assert _sound.loudest(audio, 9000) is audio


def test_unreadable_sound_is_named(tmp_path):
    (tmp_path / "text.wav").write_text("this is no sound at all")
    (tmp_path / "nothing.wav").write_bytes(b"")
    write(tmp_path / "empty.wav", np.zeros(0))
    write(tmp_path / "short.wav", np.zeros(150))
    good = bytearray(open(write(tmp_path / "mp3.wav", np.zeros(500)), "rb").read())
    good[20:22] = (85).to_bytes(2, "little")
    (tmp_path / "mp3.wav").write_bytes(good)
    write(tmp_path / "fast.wav", np.zeros(500), rate=2_000_000)
    for name, message in [
        ("text.wav", "not a wav file"),
        ("nothing.wav", "not a wav file"),
        ("empty.wav", "0 ms of sound"),
        ("short.wav", "19 ms of sound; at least 25"),
        ("mp3.wav", "MP3 sound; save it as PCM"),
        ("gone.wav", "no such file"),
        ("fast.wav", "2000000 samples a second of 16 bits; 1,000 to 192,000 of 8 to 32"),
    ]:
        with pytest.raises(UserError, match=f"{name}: {message}"):
            _sound.read_wav(tmp_path / name, 8000, 200)
        if name != "gone.wav":
            with pytest.raises(UserError, match=f"the sound: {message}"):
                _sound.read_wav((tmp_path / name).read_bytes(), 8000, 200)


def test_from_training_to_an_answer(start, tmp_path, capsys):
    run = start("whole", epochs=8)
    spoken_digits.train(run)
    run.evaluate(spoken_digits)
    assert run.metrics["test_accuracy"] > 0.3  # chance is 0.1
    rows = list(csv.DictReader(open(run.out / "errors.csv", encoding="utf-8")))
    assert len(rows) == round(300 * (1 - run.metrics["test_accuracy"]))
    keras.utils.clear_session()  # as in a fresh process, layers are numbered from the start
    spoken_digits.export(run)
    for name in ("confusion", "doubts", "mfcc", "steps", "curve_loss"):
        assert (run.out / "figures" / f"{name}.png").stat().st_size > 1000

    folder = tmp_path / "wavs"
    folder.mkdir()
    clips = [fsdd.speak(digit, 2, 7) for digit in range(10)]
    for digit, clip in enumerate(clips):
        (folder / f"{digit}.wav").write_bytes(fsdd.wav(clip))
    spoken_digits.predict(run, [str(folder)], tmp_path / "answer")
    lines = capsys.readouterr().out.splitlines()
    rows = list(csv.DictReader(open(tmp_path / "answer" / "predictions.csv", encoding="utf-8")))
    assert len(lines) == len(rows) == 10
    x = spoken_digits.bands(clips, 80)
    model = run.load(spoken_digits.build(run.params))
    expected = tf.nn.softmax(spoken_digits.forward(model)(x)).numpy()
    np.testing.assert_allclose([[float(row[f"p{k}"]) for k in range(10)] for row in rows], expected, atol=1e-5)

    spoken_digits.predict(run, [str(folder / "5.wav")])
    assert capsys.readouterr().out == f"{expected[5].argmax()} ({expected[5].max():.2f})\n"

    with warnings.catch_warnings():  # it announces its move to another package on every use
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(str(run.out / "export" / "model.tflite"))
    interpreter.allocate_tensors()
    inputs = {detail["name"].split("_")[-1].split(":")[0]: detail["index"] for detail in interpreter.get_input_details()}
    audio = np.zeros((1, 6520), np.float32)
    audio[0, : len(clips[5])] = clips[5] / np.float32(32768)
    interpreter.set_tensor(inputs["audio"], audio)
    interpreter.set_tensor(inputs["samples"], np.array([len(clips[5])], np.int32))
    interpreter.invoke()
    np.testing.assert_allclose(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0], expected[5], atol=1e-4)

    files = {p: p.read_bytes() for p in (run.out / "export").rglob("*") if p.is_file()}
    keras.utils.clear_session()
    spoken_digits.export(run)
    assert [p.name for p, content in files.items() if p.read_bytes() != content] == []
    with pytest.raises(UserError, match="has not been trained here"):
        spoken_digits.predict(start("empty"), [str(folder / "5.wav")])


def test_killed_and_resumed_ends_with_the_same_bits(start, monkeypatch):
    monkeypatch.setenv("DLBOOKS_CHECKPOINT_SECONDS", "0")
    whole = start("one", epochs=3, augment=1.0)
    spoken_digits.train(whole)
    shutil.rmtree(whole.work)

    killed = start("two", epochs=3, augment=1.0)
    log = killed.log

    def power_cut(step, **values):
        if step == 2 and "test_accuracy" in values:
            raise KeyboardInterrupt
        log(step, **values)

    killed.log = power_cut
    with pytest.raises(KeyboardInterrupt):
        spoken_digits.train(killed)
    resumed = start("three", epochs=3, augment=1.0)
    spoken_digits.train(resumed)
    for name in ("weights.npz", "unseen_speakers.npz"):
        assert (resumed.out / name).read_bytes() == (whole.out / name).read_bytes()
    assert resumed.series == whole.series


def test_book_variant_runs_and_few_recordings_are_refused(start):
    run = start("book", axis="coefficients", epochs=1)
    spoken_digits.train(run)
    assert run.series["test_accuracy"]
    with pytest.raises(UserError, match="40 recordings are less than one batch of 64"):
        spoken_digits.train(start("few", batch_size=64))
