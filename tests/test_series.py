"""Series: the files and their reader, the fast LSTM, windows, rulers, free running, the four chapters' formulas and what users may do wrong."""

import hashlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from dlbooks import UserError, catalog, fetch, runtime
from dlbooks.chapters.series_rl import series_ar, series_lstm, series_lstm_multivariate, sine_lstm
from dlbooks.datasets import _series, series, series_synthetic
from dlbooks.nn import forecasting as fc
from dlbooks.records import Records
from dlbooks.run import Run

QUICK = {
    series_ar: {"steps_trend": 30, "steps_csv": 20},
    series_lstm: {"units": 4, "steps": 6, "window": 30},
    series_lstm_multivariate: {"units": 4, "steps": 6, "window": 30},
    sine_lstm: {"steps": 5, "steps_gap01": 5},
}


@pytest.fixture(scope="module", autouse=True)
def prepared():
    runtime.prepare("mini", 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    for name in ("series", "series-synthetic"):
        found = catalog.dataset(name)
        module, parameters = catalog.load(found.declaration), found.params()
        fetch.fetch(found.declaration, module, parameters, folder / "raw" / name)
        fetch.preprocess(found.declaration, module, parameters, folder / "raw" / name, folder / "tfrecords" / name)
    return folder


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """Every chapter, trained for a few steps and exported."""
    runs = {}
    for module, overrides in QUICK.items():
        runtime.prepare("mini", 0)
        out = tmp_path_factory.mktemp(module.CHAPTER.id)
        run = Run(module.CHAPTER, module.Params(**overrides), profile="mini", out=out, data=data, quiet=True)
        module.train(run)
        module.export(run)
        runs[module] = run
    return runs


# ── data sets ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_files_follow_their_formulas(data):
    raw = {p.stem: _series.read_csv(p) for p in data.glob("raw/*/*.csv")}
    shapes = {"period_trend": (500, 1), "multivariate_periods": (160, 5), "trend": (1000, 1), "waves": (1200, 1)}
    assert {k: v[1].shape for k, v in raw.items()} == {**shapes, "sine_train": (10_010, 1), "sine_test": (1010, 1)}
    assert raw["period_trend"][0][[0, -1]].tolist() == [1, 500] and raw["multivariate_periods"][0][0] == 0
    np.testing.assert_allclose(series.multivariate_periods(np.arange(1))[0], [1, 1.9571, 2.5, 3.0429, 4.0], atol=1e-4)
    np.testing.assert_allclose(series.period_trend(np.array([750]))[0], 75.0, atol=1e-8)
    t = np.arange(300)
    k, a = np.arange(5), np.pi * np.array([0.2, 0.65, 1.1, 1.55, 2.0])
    np.testing.assert_allclose(series.multivariate_periods(t), 1.25 * k + np.cos(t[:, None] / a + k * np.pi / 4), atol=1e-7)
    for name, deviation in (("period_trend", 1.0), ("multivariate_periods", 0.1)):
        times, values, _ = raw[name]
        noise = values - getattr(series, name)(times)
        assert abs(noise.mean()) < 0.1 * deviation and noise.std() == pytest.approx(deviation, rel=0.1)
    at = np.array([0, 50, 100, 150, 200, 999])
    np.testing.assert_allclose(series_synthetic.clean("trend", at)[:, 0], [0, 1.25, 0.5, -0.25, 1.0, 4.9636], atol=1e-4)
    np.testing.assert_allclose(series_synthetic.clean("waves", np.array([0, 25, 50, 75, 100]))[:, 0], [1, 1, -1, -1, 1], atol=1e-8)
    waves = series_synthetic.clean("waves", np.arange(1000))
    assert waves.var() == pytest.approx(1.5, abs=1e-6) and (waves.min(), waves.max()) == pytest.approx((-1.2496, 2.4115), abs=1e-3)
    noise = raw["waves"][1] - series_synthetic.clean("waves", np.arange(1200))
    assert np.abs(noise).max() <= 0.2 + 1e-9 and noise.std() == pytest.approx(0.2 / np.sqrt(3), rel=0.05)
    np.testing.assert_allclose(raw["sine_train"][1][:, 0], np.sin(np.linspace(0, 100.1, 10_010)), atol=1e-9)
    np.testing.assert_allclose(raw["sine_test"][1][:, 0], np.sin(np.linspace(100.1, 110.2, 1010)), atol=1e-9)


def test_records(data):
    found = fc.load_series(Records(data / "tfrecords" / "series"), "multivariate_periods")
    assert found["values"].shape == (160, 5) and (found["train_length"], found["period"]) == (120, 0)
    waves = fc.load_series(Records(data / "tfrecords" / "series-synthetic"), "waves")
    assert waves["train_length"] == 1000 and np.abs(waves["values"] - waves["clean"]).max() <= 0.2001
    with pytest.raises(UserError, match="holds no series 'tides'"):
        fc.load_series(Records(data / "tfrecords" / "series"), "tides")


# Where these change, the bits no longer travel, or the formulas were changed: then so are all results on them.
def test_files_have_the_reference_machines_bits(data):
    expected = {
        "series/period_trend.csv": "734e408756117bdd",
        "series/multivariate_periods.csv": "fed6ab841280b91f",
        "series-synthetic/waves.csv": "388a65e66bf881a7",
    }
    for path, digest in expected.items():
        assert hashlib.sha256((data / "raw" / path).read_bytes()).hexdigest().startswith(digest), path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n2,x\n", "line 2: 'x' is not a finite number"),
        ("1,2\n2,nan\n", "line 2: 'nan' is not a finite number"),
        ("1,2\n2,3,4\n", "line 2: 3 columns, the lines above have 2"),
        ("1,2\n2,3\n2,4\n", "line 3: time 2 appears again"),
        ("1,2\n3,3\n2,4\n", "line 3: time 2 comes after 3"),
        ("1.5,2\n", "line 1: time 1.5 is not an integer"),
        ("time,5\n1,2\n", "line 1: 'time' is not a finite number"),
        ("5\n", "line 1: 1 columns"),
        ("", "no rows"),
        ("t,a,b\n1,2,3\n", "line 2: expected 1 value column, found 2"),
    ],
)
def test_reader_names_file_and_line(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        _series.read_csv(path, 1)
    assert str(caught.value).startswith(str(path)) and message in str(caught.value) and "\n" not in str(caught.value)


def test_reader_accepts_header_and_blank_end(tmp_path):
    path = tmp_path / "good.csv"
    path.write_text("month,sales\n1,2.5\n3,4\n\n")
    times, values, names = _series.read_csv(path)
    assert times.tolist() == [1, 3] and values.tolist() == [[2.5], [4.0]] and names == ["sales"]
    with pytest.raises(UserError, match="times jump from 1 to 3"):
        _series.require_no_gaps(path, times)
    with pytest.raises(UserError, match="No such file"):
        _series.read_csv(tmp_path / "none.csv")


# ── blocks ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_windows_are_slices_and_reach_both_ends():
    values = np.arange(20.0)[:, None]
    starts, windows = fc.random_windows(values, 5, 500, np.random.default_rng(0))
    assert (windows[:, :, 0] == starts[:, None] + np.arange(5)).all() and {0, 15} <= set(starts) and starts.max() == 15
    with pytest.raises(UserError, match="a window of 21 rows does not fit into the 20 rows"):
        fc.random_windows(values, 21, 1, np.random.default_rng(0))


def test_rulers():
    y = np.array([[1.0], [2], [3], [11], [12], [13], [21]])
    assert fc.persistence(y, 3).ravel().tolist() == [3, 11, 12, 13] and fc.persistence(y, 3, 2).ravel().tolist() == [3, 3, 12, 12]
    assert fc.seasonal_naive(y, 3, [3]).ravel().tolist() == [1, 2, 3, 11]
    assert fc.seasonal_naive(y, 3, [3], free=True).ravel().tolist() == [1, 2, 3, 1]
    assert fc.seasonal_drift(y, 6, 3).ravel().tolist() == [21], "11 + (12 − 2)"
    assert fc.mase(np.array([4.0]), np.array([6.0]), np.array([0.0, 1, 0, 2]), 2) == pytest.approx(2 / 0.5)
    assert fc.gain(0.8, 1.0) == pytest.approx(0.2) and fc.rmse([3, 4], 0) == pytest.approx(np.sqrt(12.5)) and fc.mae([3.0, -4.0], 0) == 3.5
    wave = np.sin(2 * np.pi * np.arange(60) / 12)[:, None]
    assert fc.find_periods(wave) == [12]
    np.testing.assert_allclose(
        fc.linear_ar(wave[:48], 4, 3, 1e-9)(wave, np.arange(48, 57))[:, :, 0], wave[np.arange(48, 57)[:, None] + np.arange(3), 0], atol=1e-6
    )
    mean, std = fc.moments(np.full((5, 1), 7.0))
    assert ((np.full((5, 1), 7.0) - mean) / std == 0).all(), "a constant column becomes zero, not NaN"


def test_fast_lstm_is_keras_lstm():
    """Values, last state and every gradient; so does a cell unrolled by hand."""
    x = tf.constant(np.random.default_rng(0).normal(size=(3, 7, 2)), tf.float32)
    fast, slow = fc.LSTM(5, 2), keras.layers.LSTM(5, return_sequences=True, return_state=True)
    slow(x)
    slow.set_weights([np.random.default_rng(1).normal(size=w.shape) * 0.5 for w in slow.weights])
    fast.set_weights(slow.get_weights())
    with tf.GradientTape() as tape:
        h, (last, cell) = fast.run(x)
        loss = tf.reduce_sum(tf.square(h)) + tf.reduce_sum(cell)
    ours = tape.gradient(loss, fast.trainable_weights)
    with tf.GradientTape() as tape:
        expected, h_end, c_end = slow(x)
        loss = tf.reduce_sum(tf.square(expected)) + tf.reduce_sum(c_end)
    theirs = tape.gradient(loss, slow.trainable_weights)
    for a, b in ((h, expected), (last, h_end), (cell, c_end), *zip(ours, theirs, strict=True)):
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-4)
    kernel, recurrent, bias = slow.get_weights()
    hidden = memory = np.zeros((3, 5))
    for t in range(7):
        i, f, g, o = np.split(x.numpy()[:, t] @ kernel + hidden @ recurrent + bias, 4, -1)
        i, f, o = (1 / (1 + np.exp(-v)) for v in (i, f, o))
        memory = f * memory + i * np.tanh(g)
        hidden = o * np.tanh(memory)
        np.testing.assert_allclose(hidden, h[:, t], atol=1e-5)
    first, state = fast.run(x[:, :4])
    np.testing.assert_allclose(tf.concat([first, fast.run(x[:, 4:], state)[0]], 1), h, atol=1e-6)
    assert fc.LSTM(5, 2).bias.numpy()[5:10].tolist() == [1.0] * 5, "forget gates start open"


def some_forecaster(features, shared=False):
    model = fc.Forecaster(6, features, shared)
    model.mean.assign(np.arange(features) + 3.0)
    model.std.assign(np.arange(features) + 2.0)
    model.spread.assign(np.full(features, 0.1))
    return model


@pytest.mark.parametrize("shared", [False, True])
def test_forecaster(shared):
    model = some_forecaster(3, shared)
    values = np.random.default_rng(0).normal(size=(30, 3)) + 3
    ahead = fc.one_step(model, values)
    mean, low, high = fc.free(model, values, 20)
    np.testing.assert_allclose(mean[0], ahead[-1], atol=1e-5, err_msg="one step of a free run is the last one-step prediction")
    again = fc.free(model, np.concatenate([values, mean[:10]]), 10)[0]
    np.testing.assert_allclose(mean[10:], again, atol=1e-4, err_msg="20 steps are 10, fed back, and 10")
    assert (low < high).all() and mean.shape == low.shape == (20, 3)
    changed = values.copy()
    changed[15:] += 1
    np.testing.assert_allclose(fc.one_step(model, changed)[:15], ahead[:15], atol=1e-6, err_msg="a prediction knows no later value")
    if shared:
        other = fc.one_step(model, np.concatenate([values[:, :1], changed[:, 1:]], 1))
        np.testing.assert_allclose(other[:, 0], ahead[:, 0], atol=1e-6, err_msg="no variable knows another")


def test_permuted_variables_permute_the_forecast():
    model, twisted, order = some_forecaster(3), some_forecaster(3), [2, 0, 1]
    for name in ("mean", "std", "spread"):
        getattr(twisted, name).assign(getattr(model, name).numpy()[order])
    kernel, recurrent, bias = model.lstm.get_weights()
    twisted.lstm.set_weights([kernel[order], recurrent, bias])
    weights, offset = model.head.get_weights()
    twisted.head.set_weights([weights[:, order], offset[order]])
    values = np.random.default_rng(0).normal(size=(12, 3))
    np.testing.assert_allclose(fc.free(model, values, 5)[0][:, order], fc.free(twisted, values[:, order], 5)[0], atol=1e-5)


def test_a_gap_is_filled_with_the_models_own_prediction():
    model = some_forecaster(1)
    values = np.random.default_rng(0).normal(size=(9, 1))
    ahead = lambda history, steps: fc.free(model, history, steps)[0]  # noqa: E731
    times, filled = fc.fill_gaps(ahead, np.array([0, 1, 2, 3, 4, 6, 7, 8, 9]), values)
    assert times.tolist() == list(range(10))
    np.testing.assert_allclose(filled[5], fc.one_step(model, values[:5])[-1], atol=1e-5)
    np.testing.assert_allclose(np.delete(filled, 5, 0), values)


# ── chapters ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def count(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def test_parameter_counts():
    ar = series_ar.build(series_ar.Params())
    assert count(ar["trend"]) == 1020 and count(ar["csv"]) == 276
    assert count(series_ar.AR(30, 10, series_ar.Params(features="buckets"))) == (30 + 100 + 1) * 20
    assert count(series_lstm.build(series_lstm.Params(units=128))) == 66_560 + 129
    joint = series_lstm_multivariate.Params(network="joint", units=128)
    assert count(series_lstm_multivariate.build(joint)) == 68_608 + 645 == 69_253
    assert count(series_lstm_multivariate.build(series_lstm_multivariate.Params())) == 685
    for shape, target, expected in (("recurrent", "value", 11_191), ("book_bug", "value", 12_271), ("recurrent", "change", 11_311)):
        model = sine_lstm.Sine(sine_lstm.Params(shape=shape, target=target))
        assert count(model) == expected and model(tf.zeros((2, 10, 1))).shape == (2, 1)


def test_rolling_blocks_tile_to_the_end():
    trend, csv = series_ar.rolling_blocks(1000, 30, 10), series_ar.rolling_blocks(500, 10, 6)
    assert (len(trend), 10 * len(trend), trend[0], trend[-1]) == (97, 970, 30, 990)
    assert (len(csv), 6 * len(csv), csv[0], csv[-1]) == (81, 486, 14, 494)


def test_normal_likelihood_and_phase():
    nll = series_ar.gaussian_nll
    assert float(nll(0.0, 1.0, 0.0)) == pytest.approx(1.4189385) and float(nll(1.0, 1.0, 0.0)) == pytest.approx(0.9189385)
    times, period = tf.constant([[199, 200], [49, 50]], tf.int64), tf.constant(200, tf.int64)
    bucket = series_ar.phase_features(times, period, "buckets").numpy().reshape(2, 2, 10).argmax(-1)
    assert bucket.tolist() == [[9, 0], [2, 2]]
    wave = series_ar.phase_features(times, period, "sincos").numpy()
    np.testing.assert_allclose(wave[1, 2:], [1, 0], atol=1e-6)


@pytest.mark.parametrize(("center", "follows"), [("last", True), ("global", False)])
def test_a_raised_series_raises_the_forecast(center, follows):
    model = series_ar.AR(4, 2, series_ar.Params(center=center))
    model.period.assign(7)
    window, time = tf.constant([[1.0, 2, 0, 3]]), tf.constant([5], tf.int64)
    difference = (model(window + 10, time)[0] - model(window, time)[0]).numpy()
    assert np.allclose(difference, 10, atol=1e-4) == follows


def test_squared_loss_measures_its_deviation(trained):
    p = series_ar.Params(loss="squared", steps_trend=5)
    model = series_ar.AR(4, 2, p)
    values = np.random.default_rng(0).normal(size=(80, 1))
    series_ar.fit(model, np.arange(80), values, 10, 5, trained[series_ar], "squared")
    _, std = model(tf.constant(values[None, :4, 0], tf.float32), tf.constant([4], tf.int64))
    windows = tf.constant(np.lib.stride_tricks.sliding_window_view(values[:-2, 0], 4), tf.float32)
    mean, _ = model(windows, tf.range(4, 80 - 1, dtype=tf.int64))
    np.testing.assert_allclose(std[0, 0], fc.rmse(values[4:79, 0], mean[:, 0].numpy()), rtol=1e-4)


def test_sine_examples(data):
    run = Run(sine_lstm.CHAPTER, sine_lstm.Params(), profile="mini", out=data, data=data)
    train, test = sine_lstm.curves(run, "")
    (x, y), (x_test, _) = sine_lstm.examples(train), sine_lstm.examples(test)
    assert x.shape == (10_000, 10, 1) and x_test.shape == (1000, 10, 1)
    np.testing.assert_allclose(x[0, :, 0], train[:10], atol=1e-7)
    assert y[0, 0] == pytest.approx(train[10])
    h = 100.1 / 10_009
    np.testing.assert_allclose(2 * np.cos(h) * train[1:-1] - train[:-2], train[2:], atol=1e-6)
    fine, coarse = np.sin(0.01 * np.arange(1000)), np.sin(0.1 * np.arange(1000))
    assert fc.rmse(fine[2:], 2 * fine[1:-1] - fine[:-2]) == pytest.approx(0.00007, abs=1e-5)
    assert fc.rmse(coarse[2:], 2 * coarse[1:-1] - coarse[:-2]) == pytest.approx(0.0071, abs=1e-4)
    assert fc.rmse(coarse[1:], coarse[:-1]) == pytest.approx(0.071, abs=1e-3)


def test_window_and_skip_are_checked(data, tmp_path):
    def run(module, **values):
        return Run(module.CHAPTER, module.Params(**values), profile="mini", out=tmp_path, data=data, quiet=True)

    with pytest.raises(UserError, match="window of 1001 rows does not fit into the 1000 rows"):
        series_lstm.train(run(series_lstm, window=1001))
    with pytest.raises(UserError, match="skip = 10: must be below window - 1"):
        series_lstm.train(run(series_lstm, window=11))
    with pytest.raises(UserError, match="n_in = 900 and n_out = 10 need 910 rows, there are 800"):
        series_ar.train(run(series_ar, n_in_trend=900))


# ── a person's own series ───────────────────────────────────────────────────────────────────────────────────────────────────────


def history(path, rows=60, columns=1, gap=()):
    values = np.sin(0.3 * np.arange(rows))[:, None] + np.arange(columns)
    kept = [t for t in range(rows) if t not in gap]
    _series.write_csv(path, np.array(kept), values[kept])
    return str(path)


@pytest.mark.parametrize(("module", "columns"), [(series_ar, 1), (series_lstm, 1), (series_lstm_multivariate, 5), (sine_lstm, 1)])
def test_predict_continues_a_csv(trained, tmp_path, capsys, module, columns):
    file = history(tmp_path / "history.csv", columns=columns)
    module.predict(trained[module], [file], tmp_path / "answer.csv", steps=7)
    assert "forecast of 7" in capsys.readouterr().out
    lines = (tmp_path / "answer.csv").read_text().splitlines()
    assert lines[0].startswith("time,") and len(lines) == 8 and lines[1].startswith("60,") and (tmp_path / "answer.png").stat().st_size > 5000
    if module is sine_lstm:
        module.predict(trained[module], [file], tmp_path / "folder", steps=2)
        assert {p.name for p in (tmp_path / "folder").iterdir()} == {"forecast.csv", "forecast.png"}
    with pytest.raises(UserError, match="steps = 0"):
        module.predict(trained[module], [file], steps=0)
    wrong = history(tmp_path / "wrong.csv", columns=3)
    with pytest.raises(UserError, match=rf"wrong\.csv, line 1: expected {columns} value columns?, found 3"):
        module.predict(trained[module], [wrong])


def test_predict_refits_and_scores(trained, tmp_path, capsys):
    file = history(tmp_path / "history.csv", rows=100)
    series_ar.predict(trained[series_ar], [file], steps=5, period=21, n_in=8, n_out=4)
    text = capsys.readouterr().out
    assert "period 21; error on the last 20 rows" in text and "best: " in text and "seasonal naive" in text
    with pytest.raises(UserError, match="n_in = 90 and n_out = 4"):
        series_ar.predict(trained[series_ar], [file], n_in=90, n_out=4)
    with pytest.raises(UserError, match="period = 1: must be 2"):
        series_ar.predict(trained[series_ar], [file], period=1)
    with pytest.raises(UserError, match="line 11: times jump from 9 to 11"):
        series_ar.predict(trained[series_ar], [history(tmp_path / "gap.csv", gap=(10,))])
    series_ar.predict(trained[series_ar], [file], steps=5, refit=False)
    series_lstm.predict(trained[series_lstm], [file], steps=5, refit=True)


def test_predict_fills_gaps_and_takes_numbers(trained, tmp_path, capsys):
    series_lstm.predict(trained[series_lstm], [history(tmp_path / "gap.csv", gap=(10, 11))], steps=3)
    assert "2 missing times filled" in capsys.readouterr().out
    series_lstm.predict(trained[series_lstm], ["1,2,3", "4"], steps=12)
    assert "4 rows up to time 3" in capsys.readouterr().out
    for words, message in ((["1"], "1 row, a forecast needs at least 2"), ([], "give a CSV file"), (["1", "x"], "'x' is no number")):
        with pytest.raises(UserError, match=message):
            series_lstm.predict(trained[series_lstm], words)
    with pytest.raises(UserError, match="9 rows, the net needs at least 10"):
        sine_lstm.predict(trained[sine_lstm], ["1 2 3 4 5 6 7 8 9"])
    with pytest.raises(UserError, match=r"gap = 0\.5: must be 0\.01 or 0\.1"):
        sine_lstm.predict(trained[sine_lstm], ["1 2 3 4 5 6 7 8 9 10"], gap=0.5)
