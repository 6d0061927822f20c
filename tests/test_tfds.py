"""TensorFlow Datasets reads every record folder without this project's code: types, names, splits, counts and values."""

import importlib.util
import io
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dlbooks import catalog, fetch, params, records, runtime
from dlbooks.records import Feature, Records

pytestmark = pytest.mark.skipif(importlib.util.find_spec("tensorflow_datasets") is None, reason="tensorflow-datasets is not installed (extra `dev`)")

# Runs in a process of its own: argv is a pickle of folders to read and the pickle to write.
READER = """
import pickle, sys
import numpy as np
import tensorflow_datasets as tfds

def flat(prefix, feature):
    kind = type(feature).__name__
    if kind in ("FeaturesDict", "Sequence"):
        inner = feature if kind == "FeaturesDict" else feature.feature
        outer = () if kind == "FeaturesDict" else ("Sequence",)
        if type(inner).__name__ != "FeaturesDict":
            return {prefix: (outer + (type(inner).__name__,), np.dtype(inner.np_dtype).name, tuple(inner.shape), getattr(inner, "names", None))}
        found = {}
        for key in inner:
            for name, (kinds, *rest) in flat(f"{prefix}/{key}" if prefix else key, inner[key]).items():
                found[name] = (outer + kinds, *rest)
        return found
    return {prefix: ((kind,), np.dtype(feature.np_dtype).name, tuple(feature.shape), getattr(feature, "names", None))}

def row(prefix, value):
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for key, inner in value.items() for k, v in row(f"{prefix}/{key}" if prefix else key, inner).items()}

found = {}
for name, folder in pickle.load(open(sys.argv[1], "rb")).items():
    builder = tfds.builder_from_directory(folder)
    splits = {split: info.num_examples for split, info in builder.info.splits.items()}
    shards = {split: info.num_shards for split, info in builder.info.splits.items()}
    config = tfds.ReadConfig(interleave_cycle_length=1)
    rows = {}
    for split, count in splits.items():
        data = builder.as_dataset(split=split, read_config=config) if count else []
        rows[split] = [row("", example) for example in tfds.as_numpy(data)]
    about = {"name": builder.name, "version": str(builder.version), "license": builder.info.redistribution_info.license,
             "supervised": builder.info.supervised_keys, "citation": builder.info.citation, "description": builder.info.description}
    found[name] = {"features": flat("", builder.info.features), "splits": splits, "shards": shards, "rows": rows, "about": about}
assert not any(module.split(".")[0] == "dlbooks" for module in sys.modules), "this must work without dlbooks"
pickle.dump(found, open(sys.argv[2], "wb"))
"""


def picture(rng, encoding, height, width, channels):
    data = io.BytesIO()
    pixels = rng.integers(0, 256, (height, width, channels), np.uint8)
    Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels).save(data, encoding)
    return data.getvalue()


NAMES = ("a b", "ç", "漢字", "z")
EVERY = {
    **{f"scalar_{dtype}": Feature(dtype) for dtype in ("int64", "int32", "int16", "uint8", "bool", "float32")},
    **{f"fixed_{dtype}": Feature(dtype, (3, 2)) for dtype in ("int64", "int32", "int16", "uint8", "bool", "float32")},
    "ids": Feature("int64", (None,)),
    "curve": Feature("float32", (None, 3)),
    "audio": Feature("int16", (None,)),
    "blob": Feature("uint8", (None, 2)),
    "photo": Feature("uint8", (None, None, 3), "jpeg"),
    "photo/filename": Feature("string", encoding="text"),
    "gray": Feature("uint8", (None, None, 1), "jpeg"),
    "drawing": Feature("uint8", (5, 7, 3), "png"),
    "mask": Feature("uint8", (None, None, 1), "png"),
    "caption": Feature("string", encoding="text"),
    "tokens": Feature("string", (None,), "text"),
    "label": Feature(names=NAMES),
    "tags": Feature("int64", (None,), names=NAMES),
    "objects/bbox": Feature("float32", (None, 4)),
    "objects/label": Feature("int64", (None,), names=NAMES),
    "objects/difficult": Feature("bool", (None,)),
    "objects/name": Feature("string", (None,), "text"),
}


def example(i):
    """One example with ``i`` objects, tokens and samples, so the first has none."""
    rng = np.random.default_rng(i)
    row = {}
    for name, feature in EVERY.items():
        shape = tuple(i if n is None else n for n in feature.shape)
        if feature.picture:
            height, width = (n or 4 + i + k for k, n in enumerate(feature.shape[:2]))
            row[name] = picture(rng, feature.encoding, height, width, feature.shape[2])
        elif feature.encoding == "text":
            words = [f"línea {i} 漢 {k}" * k for k in range(shape[0] if shape else 2)]
            row[name] = words if shape else words[-1]
        elif feature.names:
            row[name] = rng.integers(0, len(NAMES), shape) if shape else int(rng.integers(len(NAMES)))
        elif feature.dtype == "float32":
            row[name] = rng.random(shape, np.float32) if shape else np.float32(rng.random())
        elif feature.dtype == "bool":
            row[name] = rng.random(shape) < 0.5
        else:
            bounds = np.iinfo(feature.dtype)
            row[name] = rng.integers(bounds.min, bounds.max, shape, feature.dtype, endpoint=True)
    return row


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Record folders: every data set's smoke-sized twin, and one with every kind of feature."""
    top = tmp_path_factory.mktemp("tfds")
    values = params.read(runtime.root() / "params.yaml")
    for name in catalog.datasets():
        found = catalog.dataset(name)
        chosen = params.validate(found.params, params.section(values, f"data.{name}", "smoke"), name)
        module = catalog.load(found.declaration)
        fetch.fetch(found.declaration, module, chosen, top / "raw" / name)
        fetch.preprocess(found.declaration, module, chosen, top / "raw" / name, top / "tfrecords" / name)
    splits = {"train": [example(i) for i in range(7)], "test": [example(i) for i in range(3)], "nothing": []}
    about = {"citation": "none", "description": "every kind of feature", "redistributionInfo": {"license": "CC0"}}
    records.write(top / "tfrecords" / "every-kind", name="every-kind", version="2.1.0", features=EVERY, splits=splits, shards=2, about=about)
    return top / "tfrecords"


@pytest.fixture(scope="session")
def read(folders):
    """What TensorFlow Datasets makes of them, in a process that never imports this project."""
    wanted, answer = folders / "wanted.pickle", folders / "answer.pickle"
    wanted.write_bytes(pickle.dumps({p.name: str(Records(p).path) for p in sorted(folders.iterdir()) if p.is_dir()}))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", READER, wanted, answer], env=environment, cwd=folders, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return pickle.loads(answer.read_bytes())


def kinds(name, feature):
    """TFDS's feature classes from the outside in."""
    if feature.names:
        inner = "ClassLabel"
    elif feature.picture:
        inner = "Image"
    elif feature.encoding == "text":
        inner = "Text"
    elif feature.ragged and name.endswith("/bbox"):
        inner = "BBoxFeature"
    else:
        plain = feature.shape[1:] if feature.ragged and "/" in name else feature.shape
        inner = "Tensor" if plain else "Scalar"
    outer = feature.ragged and ("/" in name or feature.names or feature.encoding == "text")
    return ("Sequence", inner) if outer else (inner,)


def pixels(data, channels):
    import tensorflow as tf

    return tf.io.decode_image(data, channels=channels, expand_animations=False).numpy()


ALL = [*catalog.datasets(), "every-kind"]


@pytest.mark.parametrize("name", ALL)
def test_types_names_splits_and_counts(folders, read, name):
    ours, theirs = Records(folders / name), read[name]
    assert set(theirs["features"]) == set(ours.features)
    for key, feature in ours.features.items():
        kind, dtype, shape, names = theirs["features"][key]
        assert kind == kinds(key, feature), key
        if feature.names:
            assert tuple(names) == feature.names and dtype == "int64", key
        elif feature.encoding != "text":
            assert dtype == feature.dtype, key
            assert shape == (feature.shape[1:] if kind[0] == "Sequence" else feature.shape), key
    assert theirs["splits"] == {split: ours.count(split) for split in ours.info["splits"]}
    assert theirs["shards"] == {split: len(ours.files(split)) for split in ours.info["splits"]}
    assert theirs["about"]["name"] == name.replace("-", "_") and theirs["about"]["version"] == ours.path.name
    assert theirs["about"]["license"] and theirs["about"]["citation"] and theirs["about"]["description"]
    if {"image", "label"} <= set(ours.features):
        assert theirs["about"]["supervised"] == ("image", "label")


@pytest.mark.parametrize("name", ALL)
def test_values_are_those_of_our_reader(folders, read, name):
    ours, theirs = Records(folders / name), read[name]["rows"]
    for split in ours.info["splits"]:
        arrays = ours.arrays(split)
        assert len(theirs[split]) == ours.count(split)
        for i, row in enumerate(theirs[split]):
            assert set(row) == set(arrays)
            for key, feature in ours.features.items():
                want, got = arrays[key][i], row[key]
                if feature.picture:
                    want = pixels(want, feature.shape[2])
                if feature.encoding == "text":
                    assert np.array_equal(np.asarray(got, object), np.asarray(want, object)), (split, i, key)
                else:
                    assert got.dtype == want.dtype and got.shape == want.shape and np.array_equal(got, want), (split, i, key)


def test_values_are_those_that_were_written(read):
    """Not only both readers agree: what went in came out, in upstream's order."""
    for i, row in enumerate(read["every-kind"]["rows"]["test"]):
        for key, value in example(i).items():
            feature = EVERY[key]
            if feature.picture:
                assert np.array_equal(row[key], pixels(value, feature.shape[2])), key
            elif feature.encoding == "text":
                assert (row[key].tolist() if feature.shape else row[key]) == ([v.encode() for v in value] if feature.shape else value.encode()), key
            else:
                assert np.array_equal(row[key], value), key
    assert len(read["every-kind"]["rows"]["train"]) == 7 and read["every-kind"]["rows"]["nothing"] == []
