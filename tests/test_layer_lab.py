"""The layer lab: every fact holds, the calculator agrees with Keras, mistakes are one line."""

import csv
import json

import keras
import numpy as np
import pytest
from PIL import Image

from dlbooks import UserError, catalog, records, runtime
from dlbooks.chapters.foundations import _layer_pictures, _layer_sizes, layer_lab
from dlbooks.facts import Facts
from dlbooks.records import Feature
from dlbooks.run import Run

SECTIONS = [
    "dense_is_convolution",
    "pooling",
    "activations",
    "dropout",
    "losses",
    "batch_normalization",
    "upsampling",
    "sizes",
    "operators",
    "lenet5",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Records of blobs at ten places, as digits, and a small china.jpg."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:28, :28]
    places = [(6 + 5 * (d % 4), 6 + 7 * (d // 4)) for d in range(10)]

    def digits(count):
        for index in range(count):
            row, column = places[index % 10]
            blob = 255 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 12) + rng.uniform(0, 40, (28, 28))
            yield {"image": np.clip(blob, 0, 255).astype(np.uint8)[..., None], "label": index % 10, "index": index}

    features = {"image": Feature("uint8", (28, 28, 1)), "label": Feature(names=tuple("0123456789")), "index": Feature("int64")}
    splits = {"train": digits(600), "test": digits(100)}
    records.write(folder / "tfrecords" / "mnist", name="mnist", version="1.0.0", features=features, splits=splits)
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / "china.jpg")
    picture = {"image": (folder / "china.jpg").read_bytes(), "image/filename": "china.jpg"}
    features = {"image": Feature("uint8", (None, None, 3), "jpeg"), "image/filename": Feature("string", encoding="text")}
    target = folder / "tfrecords" / "sample-pictures"
    records.write(target, name="sample-pictures", version="1.0.0", features=features, splits={"train": [picture]})
    return folder


def test_lab_runs_and_normalization_wins(data, tmp_path, monkeypatch):
    monkeypatch.setenv("DLBOOKS_HOME", str(tmp_path))
    runtime.prepare("mini", 0)
    run = Run(layer_lab.CHAPTER, layer_lab.Params(), profile="mini", out=tmp_path / "lab", data=data, quiet=True)
    run.begin()
    layer_lab.train(run)
    run.write_metrics(layer_lab.evaluate(run))
    run.write_history()
    run.finish()
    assert run.metrics["facts_failed"] == 0 and run.metrics["facts_total"] > 120
    assert run.metrics["bn_test_accuracy"] >= 0.75 and run.metrics["plain_test_accuracy"] <= 0.30
    assert (run.metrics["lenet5_params"], run.metrics["lenet5_connections_c1"], run.metrics["lenet5_connections_c3"]) == (61706, 122304, 241600)
    names = {p.name for p in (run.out / "figures").iterdir()}
    assert {"activations.png", "filters.png", "bn_ab.png", "checkerboard.png", "upsampling.png"} < names
    assert set(json.loads((run.out / "figures" / "captions.json").read_text())) == names - {"captions.json"}
    facts = list(csv.DictReader((run.out / "facts.csv").open(encoding="utf-8")))
    assert len(facts) == run.metrics["facts_total"] == len({row["name"] for row in facts})
    assert next(csv.DictReader((run.out / "shapes.csv").open(encoding="utf-8")))["measured"] == "10×9×9×2"
    assert [step for step, _ in run.series["bn_loss"]][:3] == [10, 12, 22]  # 12 steps in a pass


def test_both_networks_start_alike():
    models = layer_lab.build(layer_lab.Params())
    kernels = [[np.asarray(v) for v in model.trainable_variables if "kernel" in v.path] for model in models.values()]
    assert len(kernels[0]) == 5
    for a, b in zip(*kernels, strict=True):
        np.testing.assert_array_equal(a, b)
    assert models["plain"].count_params() == 784 * 64 + 64 + 3 * (64 * 64 + 64) + 650
    assert models["bn"].count_params() == 784 * 64 + 3 * 64 * 64 + 4 * 4 * 64 + 650


def test_a_wrong_formula_is_found(monkeypatch):
    monkeypatch.setattr(_layer_sizes, "conv_out", lambda n, k, s=1, p="same", d=1: n // s)
    facts = Facts()
    _layer_sizes.sizes(facts)
    _layer_sizes.lenet5(facts)
    assert facts.metrics()["facts_failed"] >= 5


@pytest.mark.parametrize("section", SECTIONS)
def test_facts(section):
    facts = Facts()
    getattr(layer_lab, section)(facts)
    assert facts.rows and not [row for row in facts.rows if not row["ok"]]


def test_spread_of_two_axes():
    for axis, expected in (([1, 2], 0.484), ([2, 3], 0.286)):
        c = np.std(axis) / np.mean(axis)
        assert np.sqrt((1 + c * c) ** 2 - 1) == pytest.approx(expected, abs=5e-4)
        assert _layer_pictures.spread(np.outer(axis, axis)) == pytest.approx(expected, abs=5e-4)


# The calculator


def test_lenet5_table():
    rows = layer_lab.calculate(_layer_sizes.LENET5)
    assert [row["output"] for row in rows] == ["32×32×1", "28×28×6", "14×14×6", "10×10×16", "5×5×16", "1×1×120", "1×1×84", "1×1×10"]
    assert [row["receptive_field"] for row in rows] == ["1×1", "5×5", "6×6", "14×14", "16×16", "32×32", "32×32", "32×32"]
    assert [row["multiplications"] for row in rows] == [0, 28 * 28 * 6 * 25, 0, 10 * 10 * 16 * 150, 0, 48_000, 10_080, 840]
    assert [row["connections"] for row in rows] == [0, 122_304, 14 * 14 * 6 * 4, 241_600, 5 * 5 * 16 * 4, 48_120, 10_164, 850]


@pytest.mark.parametrize(
    "line, layers",
    [
        (
            "in 33x47x3; conv 5 8 s2; depthwise 3; conv 1 12; pool 3 s2 same; dense 7",
            lambda k: [k.Conv2D(8, 5, 2, "same"), k.DepthwiseConv2D(3, padding="same"), k.Conv2D(12, 1), k.MaxPool2D(3, 2, "same"), k.Dense(7)],
        ),
        (
            "in 40x31; conv 3 4 valid d2; pool 2; conv 3 5 p1 s2",
            lambda k: [k.Conv2D(4, 3, dilation_rate=2), k.MaxPool2D(2), k.ZeroPadding2D(1), k.Conv2D(5, 3, 2)],
        ),
    ],
)
def test_calculator_equals_keras(line, layers):
    first, *rows = layer_lab.calculate(line)
    x = keras.Input(tuple(int(n) for n in first["output"].split("×")))
    expected = []
    for layer in layers(keras.layers):
        x = layer(keras.layers.Flatten()(x) if isinstance(layer, keras.layers.Dense) else x)
        if not isinstance(layer, keras.layers.ZeroPadding2D):
            expected.append((([1, 1, *x.shape[1:]])[-3:], layer.count_params()))
    assert [([int(n) for n in row["output"].split("×")], row["parameters"]) for row in rows] == [(list(shape), count) for shape, count in expected]


def test_receptive_field_per_axis():
    rows = layer_lab.calculate("in 20x30x1; conv 3 1 d2; pool 2; dense 4")
    assert [row["receptive_field"] for row in rows] == ["1×1", "5×5", "6×6", "24×34"]  # dense: 6 + (10 − 1)·2 and 6 + (15 − 1)·2, borders included


@pytest.mark.parametrize(
    "line, message",
    [
        ("in 32x32x1; konv 5 6", r"layer 2, word 1: unknown word 'konv'; allowed are conv, depthwise, pool, dense"),
        ("in 32x32x1; conv 5 6 vaild", r"layer 2, word 4: unknown word 'vaild'; after conv KERNEL FILTERS allowed: same, valid, s<stride>"),
        ("in 32x32x1; dense 5 relu", r"layer 2, word 3: unknown word 'relu'; after dense UNITS allowed: nothing"),
        ("in 4x9x1; conv 5 6 valid", r"layer 2, conv 5 6 valid on 4×9×1: kernel covers 5 cells, the picture has 4"),
        ("in 9x9x1; pool 2; conv 3 4 valid d2", r"layer 3, conv 3 4 valid d2 on 4×4×1: kernel covers 5 cells, the picture has 4"),
        ("in 8x8x1; conv 3 4 s0", r"layer 2, conv 3 4 s0 on 8×8×1: stride is 0, must be at least 1"),
        ("in 8x8x1; conv 0 4", r"layer 2, conv 0 4 on 8×8×1: kernel is 0"),
        ("in 8x8x1; dense 0", r"layer 2, dense 0 on 8×8×1: units is 0"),
        ("in 8x8x1; conv 3", r"layer 2: 'conv 3'; write conv KERNEL FILTERS in whole numbers"),
        ("in 8x8x1; conv 3x3 4", r"layer 2: 'conv 3x3 4'; write conv KERNEL FILTERS"),
        ("in 8x8x1; conv -3 4", r"write conv KERNEL FILTERS"),
        ("in 8x8x1;; dense 3", r"layer 2, word 1: unknown word ''"),
        ("in 8; dense 3", r"layer 1: 'in 8'; start with in HEIGHTxWIDTHxCHANNELS"),
        ("conv 3 4; dense 3", r"layer 1: 'conv 3 4'; start with in"),
        ("in 8x0x1", r"the picture is 8×0×1"),
        ("in 9999999x8x1", r"start with in"),
    ],
)
def test_mistakes_in_a_network_are_named(line, message):
    with pytest.raises(UserError, match=message):
        layer_lab.predict(None, [line])


# Use


def test_predict_counts_a_network(capsys, tmp_path):
    layer_lab.predict(None, [_layer_sizes.LENET5], tmp_path / "made" / "lenet.csv")
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 10 and len({len(line) for line in printed}) == 1
    assert printed[-1].split() == ["total", "9,118", "61,706", "429,342", "416,520"]
    rows = list(csv.DictReader((tmp_path / "made" / "lenet.csv").open(encoding="utf-8")))
    assert rows[1]["layer"] == "conv 5 6 valid" and rows[1]["connections"] == "122304"


def test_predict_filters_pictures(capsys, tmp_path):
    flat = np.full((12, 16, 3), 100, np.uint8)
    Image.fromarray(flat).save(tmp_path / "flat.png")
    layer_lab.predict(None, [str(tmp_path / "flat.png")], tmp_path / "edges.png", kernel="laplace8", padding="valid", stride=2)
    result = np.asarray(Image.open(tmp_path / "edges.png"))
    assert result.shape == (5, 7, 3) and not result.any()
    assert "laplace8, valid, stride 2: 12×16 → 5×7, written to" in capsys.readouterr().out
    layer_lab.predict(None, [str(tmp_path / "flat.png"), "in 4x4x1; dense 2"], tmp_path / "both")
    assert sorted(p.name for p in (tmp_path / "both").iterdir()) == ["flat.png", "network2.csv"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "both" / "flat.png"))[1:-1, 1:-1], flat[1:-1, 1:-1])
    layer_lab.predict(None, [str(tmp_path / "flat.png")])
    assert "not kept" in capsys.readouterr().out


def test_mistakes_with_pictures_are_named(tmp_path):
    Image.new("RGB", (3, 2)).save(tmp_path / "tiny.png")
    (tmp_path / "text.jpg").write_text("no picture")
    tiny = str(tmp_path / "tiny.png")
    for inputs, options, message in [
        ([], {}, "give a picture or a network"),
        ([str(tmp_path / "none.jpg")], {}, "no such file"),
        ([str(tmp_path / "text.jpg")], {}, "not a picture"),
        ([tiny], {"kernel": "emboss"}, "tiny.png: kernel is 'emboss', must be one of identity, box3"),
        ([tiny], {"padding": "valid"}, "kernel covers 3 cells, the picture has 2"),
        ([tiny], {"padding": "full"}, "padding is 'full'"),
        ([tiny], {"stride": 0}, "stride is 0"),
        ([tiny], {"out": tmp_path / "x.jpg"}, "PNG files"),
        ([tiny, tiny], {"out": tmp_path / "x.png"}, "name a folder for 2 results"),
    ]:
        with pytest.raises(UserError, match=message):
            layer_lab.predict(None, inputs, **options)


def test_declaration():
    found = catalog.chapter("layer-lab")
    assert found.declaration.metrics["lenet5_params"].reported == 61706 and not found.declaration.exports
    assert catalog.code_of(found.declaration.path)[0].name == "layer_lab.py"
    assert {"_layer_sizes.py", "_layer_pictures.py", "convolution.py", "training.py"} <= {p.name for p in catalog.code_of(found.declaration.path)}
