"""Record folders: what is written comes back, the same bytes every time, and damage is named."""

import hashlib
import io
import itertools
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dlbooks import UserError, features, records
from dlbooks.records import Feature, Records

FEATURES = {"image": Feature("uint8", (28, 28, 1)), "label": Feature(names=("no", "yes", "perhaps")), "index": Feature()}


def example(i):
    return {"image": np.full((28, 28, 1), i % 256, np.uint8), "label": i % 3, "index": i}


def write(folder, count=10, shards=1, *, features=FEATURES, items=None, **splits):
    rows = items if items is not None else [example(i) for i in range(count)]
    return records.write(folder, name="my-set", version="1.0.0", features=features, splits={"train": rows, **splits}, shards=shards)


def digest(folder):
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


# ── round trip ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

SHAPES = st.lists(st.integers(1, 4), max_size=3).map(tuple)
KINDS = st.one_of(
    st.builds(Feature, st.sampled_from(["int64", "int32", "int16", "uint8", "bool", "float32"]), SHAPES),
    st.builds(Feature, st.just("uint8"), st.just((None, None, 3)), st.sampled_from(["png", "jpeg"])),
    st.just(Feature("string", encoding="text")),
    st.just(Feature("string", (None,), "text")),
    st.just(Feature(shape=(None,), names=("a b", "ç", "z"))),
    st.just(Feature("float32", (None, 4))),
    st.just(Feature("int16", (None,))),
    st.just(Feature(names=("a b", "ç", "z"))),
)


def draw_value(feature, rng):
    if feature.ragged:
        one = Feature(feature.dtype, feature.shape[1:], feature.encoding, feature.names)
        values = [draw_value(one, rng) for _ in range(rng.integers(4))]
        return values if feature.encoding == "text" else np.array(values, feature.dtype).reshape(-1, *one.shape)
    if feature.names:
        return int(rng.integers(len(feature.names)))
    if feature.encoding == "text":
        return "".join(rng.choice(list("ab ß漢\n"), rng.integers(6)))
    if feature.encoding != "raw":
        return rng.bytes(rng.integers(1, 40))
    if feature.dtype == "float32":
        return rng.standard_normal(feature.shape, np.float32)
    if feature.dtype == "bool":
        return rng.random(feature.shape) < 0.5
    bounds = np.iinfo(feature.dtype)
    return rng.integers(bounds.min, bounds.max, feature.shape, feature.dtype, endpoint=True)


@settings(max_examples=15, deadline=None)
@given(
    features=st.dictionaries(st.from_regex(r"[a-z]{1,6}(/[a-z]{1,6})?", fullmatch=True), KINDS, min_size=1, max_size=4).filter(
        lambda names: not any(name.partition("/")[0] in names for name in names if "/" in name)
    ),
    count=st.integers(0, 9),
    seed=st.integers(0, 2**32),
)
def test_round_trip_of_any_features(features, count, seed):
    rng = np.random.default_rng(seed)
    rows = [{n: draw_value(f, rng) for n, f in features.items()} for _ in range(count)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "set"
        write(folder, features=features, items=[], test=rows)
        read = Records(folder)
        assert read.features == features
        test = read.arrays("test")
        assert read.count("test") == count and read.count("train") == 0 == len(next(iter(read.arrays("train").values())))
        for name, feature in features.items():
            assert len(test[name]) == count
            for got, row in zip(test[name], rows, strict=True):
                want = row[name].encode() if isinstance(row[name], str) else row[name]
                if feature.encoding == "text" and feature.shape:
                    assert got.tolist() == [text.encode() for text in want]
                    continue
                assert np.array_equal(got, want) if feature.encoding == "raw" else got == want


@pytest.mark.parametrize("lengths", [(2, 0, 3), (2, 2, 2), (0,)])
def test_features_of_unknown_length(tmp_path, lengths):
    features = {"boxes": Feature("float32", (None, 4)), "ids": Feature("int64", (None,)), "audio": Feature("int16", (None,))}
    rows = [{"boxes": np.full((n, 4), n / 8, np.float32), "ids": np.arange(n), "audio": np.arange(-n, n, dtype=np.int16)} for n in lengths]
    write(tmp_path / "set", features=features, items=[], test=rows)
    (batch,) = Records(tmp_path / "set").batches("test", 3)
    arrays = Records(tmp_path / "set").arrays("test")
    for i, row in enumerate(rows):
        assert np.array_equal(batch["boxes"][i], row["boxes"]) and np.array_equal(batch["ids"][i], row["ids"])
        assert batch["audio"][i].numpy() == row["audio"].tobytes()
        for name, value in row.items():
            assert arrays[name].dtype == object and arrays[name][i].dtype == value.dtype and np.array_equal(arrays[name][i], value)


# ── what is on the disk ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_names_and_metadata(tmp_path):
    stats = write(tmp_path / "set", 11, shards=3, test=[example(1)])
    folder = tmp_path / "set" / "1.0.0"
    shards = [f"my_set-train.tfrecord-0000{i}-of-00003" for i in range(3)]
    assert sorted(p.name for p in folder.iterdir()) == [
        *("SHA256SUMS", "dataset_info.json", "features.json", "label.labels.txt", "my_set-test.tfrecord-00000-of-00001"),
        *(*shards, "stats.json"),
    ]
    info = json.loads((folder / "dataset_info.json").read_text())
    assert info["name"] == "my_set" and info["splits"][0]["shardLengths"] == ["4", "4", "3"]
    assert stats["splits"]["train"]["classes"] == {"no": 4, "yes": 4, "perhaps": 3}
    values = np.concatenate([example(i)["image"].ravel() for i in range(11)])
    assert stats["features"]["image"] == {"count": values.size, "mean": values.mean(), "std": pytest.approx(values.std()), "min": 0, "max": 10}
    assert Records(tmp_path / "set").names() == ["no", "yes", "perhaps"]


@settings(max_examples=6, deadline=None)
@given(count=st.integers(1, 40), shards=st.integers(1, 50))
def test_shards_hold_every_item_once_and_the_same_bytes_twice(count, shards):
    with tempfile.TemporaryDirectory() as temporary:
        one, two = Path(temporary) / "one", Path(temporary) / "two"
        write(one, count, shards)
        write(two, count, shards)
        assert digest(one) == digest(two)
        read = Records(one)
        files = read.files("train")
        assert len(files) == min(count, shards) and all(Path(f).stat().st_size for f in files)
        arrays = read.arrays("train")
        assert sorted(arrays["index"]) == list(range(count))
        assert all((arrays["image"][k] == i).all() and arrays["label"][k] == i % 3 for k, i in enumerate(arrays["index"]))


def test_interrupted_writing_leaves_the_old_folder(tmp_path):
    write(tmp_path / "set", 3)
    before = digest(tmp_path / "set")

    def stops():
        yield example(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "set", items=stops())
    assert digest(tmp_path) == {f"set/{k}": v for k, v in before.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 3}, "label is 3, must be in 0 … 2"),
        ({"label": -1}, "label is -1, must be in 0 … 2"),
        ({"image": np.zeros((28, 27, 1), np.uint8)}, "image is uint8[28, 27, 1], declared is uint8[28, 28, 1]"),
        ({"image": np.zeros((28, 28, 1))}, "image is float64[28, 28, 1], declared is uint8[28, 28, 1]"),
        ({"index": 0.5}, "index is float64[], declared is int64[]"),
        ({"index": [1, 2]}, "index is int64[2], declared is int64[]"),
        ({"extra": 1}, "example has the fields ['extra', 'image', 'index', 'label'], declared are ['image', 'index', 'label']"),
    ],
)
def test_wrong_example_names_split_and_item(tmp_path, change, message):
    rows = [example(0), {**example(1), **change}]
    with pytest.raises(UserError) as caught:
        write(tmp_path / "set", validation=rows)
    assert str(caught.value) == f"my_set validation, item 1: {message}"
    assert not any(tmp_path.iterdir())


# ── damage ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

SHARD = "my_set-train.tfrecord-00001-of-00002"


@pytest.fixture
def damaged(tmp_path):
    """``damaged(change)`` applies a change to the second shard's bytes and returns what ``arrays`` then says."""
    write(tmp_path / "set", 20, shards=2)
    path = tmp_path / "set" / "1.0.0" / SHARD

    def say(change):
        whole = path.read_bytes()
        path.write_bytes(change(whole))
        with pytest.raises(UserError) as caught:
            Records(tmp_path / "set").arrays("train")
        path.write_bytes(whole)
        assert "\n" not in str(caught.value) and f"delete {tmp_path / 'set'} and run `dvc repro preprocess@set`" in str(caught.value)
        return str(caught.value).split(";")[0]

    return say


def spans(data):
    """Start and end of every record in a TFRecord file: length, its checksum, data, its checksum."""
    found, start = [], 0
    while start < len(data):
        end = start + 16 + struct.unpack("<Q", data[start : start + 8])[0]
        found.append((start, end))
        start = end
    return found


def test_truncated_and_corrupt_records_name_shard_and_item(damaged):
    def corrupt(data):
        middle = sum(spans(data)[4]) // 2
        return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]

    assert damaged(corrupt) == f"damaged record file {SHARD}, item 4: corrupt or truncated"
    assert damaged(lambda data: data[:-5]) == f"damaged record file {SHARD}, item 9: corrupt or truncated"
    assert damaged(lambda data: data[: spans(data)[7][0]]) == f"damaged record file {SHARD}, 7 items instead of 10"
    assert damaged(lambda data: b"") == f"damaged record file {SHARD}, 0 items instead of 10"
    assert damaged(lambda data: b"no record file at all") == f"damaged record file {SHARD}, item 0: corrupt or truncated"


@pytest.fixture
def second_shard(tmp_path):
    """Replaces one item of the second shard by fields of another schema."""
    import tensorflow as tf

    write(tmp_path / "set", 20, shards=2)
    path = str(tmp_path / "set" / "1.0.0" / SHARD)

    def replace(position, pixels=784, **fields):
        rows = [r.numpy() for r in tf.data.TFRecordDataset(path)]
        image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes(pixels)]))
        numbers = {k: tf.train.Feature(int64_list=tf.train.Int64List(value=[v])) for k, v in fields.items()}
        rows[position] = tf.train.Example(features=tf.train.Features(feature={"image": image, **numbers})).SerializeToString()
        with tf.io.TFRecordWriter(path) as writer:
            for row in rows:
                writer.write(row)
        with pytest.raises(UserError) as caught:
            Records(tmp_path / "set").arrays("train")
        return str(caught.value).split(";")[0]

    return replace


def test_record_of_783_bytes_names_shard_and_item(second_shard):
    assert second_shard(6, 783, label=0, index=0) == f"damaged record file {SHARD}, item 6: image has 783 bytes, expected 784"


def test_label_out_of_range_names_shard_and_item(second_shard):
    assert second_shard(3, label=3, index=0) == f"damaged record file {SHARD}, item 3: label is 3, must be in 0 … 2"


def test_missing_field_names_shard_and_item(second_shard):
    assert second_shard(5, label=0).startswith(f"damaged record file {SHARD}, item 5: ")


def test_missing_shard_split_and_folder(tmp_path):
    write(tmp_path / "set", 20, shards=2)
    for read in (Records.arrays, Records.files, Records.count, lambda r, s: r.batches(s, 4)):
        with pytest.raises(UserError, match=r"^set has no split 'test': it has train$"):
            read(Records(tmp_path / "set"), "test")
    (tmp_path / "set" / "1.0.0" / SHARD).unlink()
    with pytest.raises(UserError, match=r"^set train: 1 record files, dataset_info.json lists 2$"):
        Records(tmp_path / "set").arrays("train")
    with pytest.raises(UserError, match="holds no records: run `dvc repro preprocess@nothing`"):
        Records(tmp_path / "nothing").arrays("train")


def test_a_streamed_split_that_is_cut_between_two_items(tmp_path, monkeypatch):
    write(tmp_path / "set", 20, shards=2)
    path = tmp_path / "set" / "1.0.0" / SHARD
    path.write_bytes(path.read_bytes()[: spans(path.read_bytes())[7][0]])
    monkeypatch.setattr(records, "IN_MEMORY", 0)
    with pytest.raises(UserError, match=f"damaged record file {SHARD}, 7 items instead of 10"):
        Records(tmp_path / "set").batches("train", 4)


def test_a_damaged_streamed_split_is_named_by_the_stage(tmp_path, monkeypatch):
    import tensorflow as tf

    from dlbooks import runtime, stage

    write(tmp_path / "data" / "tfrecords" / "mnist", 20)
    path = next((tmp_path / "data").rglob("*train*"))
    path.write_bytes(path.read_bytes()[:-9] + b"x" + path.read_bytes()[-8:])
    monkeypatch.setattr(records, "IN_MEMORY", 0)
    with pytest.raises(tf.errors.DataLossError):
        list(Records(tmp_path / "data" / "tfrecords" / "mnist").batches("train", 4))
    monkeypatch.setattr(runtime, "root", lambda: tmp_path)
    assert path.name in stage.damaged("mnist-softmax") and "dvc repro preprocess@mnist" in stage.damaged("mnist-softmax")


# ── batches ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["kept in memory", "streamed"])
def twenty(request, tmp_path, monkeypatch):
    write(tmp_path / "set", 20, shards=2)
    if request.param == "streamed":
        monkeypatch.setattr(records, "IN_MEMORY", 0)
    return Records(tmp_path / "set")


def order(batches):
    return [i for b in batches for i in b["index"].numpy().tolist()]


def test_batches_cover_a_split_once(twenty):
    assert [len(b["index"]) for b in twenty.batches("train", 8)] == [8, 8, 4]
    assert order(twenty.batches("train", 8)) == twenty.arrays("train")["index"].tolist()
    assert [len(b["index"]) for b in twenty.batches("train", 8, drop_remainder=True)] == [8, 8]
    (whole,) = twenty.batches("train", 20, map=lambda b: {"index": b["index"], "double": b["index"] * 2})
    assert (whole["double"] == whole["index"] * 2).numpy().all()


def test_shuffle_depends_on_seed_and_epoch_alone(twenty):
    three = order(twenty.batches("train", 8, shuffle=True, seed=5, repeat=3))
    epochs = [three[:20], three[20:40], three[40:]]
    assert all(sorted(e) == list(range(20)) for e in epochs) and len({tuple(e) for e in epochs}) == 3
    for number, expected in enumerate(epochs):
        assert order(twenty.batches("train", 8, shuffle=True, seed=5, epoch=number, skip=1)) == expected[8:]
        assert order(twenty.batches("train", 8, shuffle=True, seed=5, epoch=number)) == expected, "as after a resume"
    assert order(twenty.batches("train", 8, shuffle=True, seed=6)) != epochs[0]
    assert order(twenty.batches("train", 8, shuffle=True, seed=5, repeat=None).take(7)) == three[:48]


def test_a_worker_gets_its_part(twenty):
    parts = [order(twenty.batches("train", 4, shuffle=True, seed=1, shard=(k, 3))) for k in range(3)]
    assert sorted(itertools.chain(*parts)) == list(range(20)) and [len(p) for p in parts] == [7, 7, 6]
    equal = [list(twenty.batches("train", 3, shuffle=True, shard=(k, 3), drop_remainder=True)) for k in range(3)]
    assert [len(e) for e in equal] == [2, 2, 2], "a worker without its last batch would make the others wait for ever"


def test_distributed(twenty):
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    batches = strategy.experimental_distribute_dataset(twenty.batches("train", 8))
    assert [i for b in batches for i in strategy.experimental_local_results(b)[0]["index"].numpy()] == order(twenty.batches("train", 8))


def test_augmentation_gets_a_seed_of_its_own_in_every_batch(twenty):
    import tensorflow as tf

    def noisy(batch, seed):
        return {**batch, "noise": tf.random.stateless_uniform((1,), seed), "seed": seed}

    def seeds(**options):
        return [tuple(b["seed"].numpy()) for b in twenty.batches("train", 8, shuffle=True, augment=noisy, **options)]

    three = seeds(repeat=3)
    assert len(set(three)) == 9 and three == seeds(repeat=3) and three[4:] == seeds(epoch=1, skip=1, repeat=2)
    assert len(set(seeds(seed=1)) & set(three)) == 0


def test_map_comes_before_augment(twenty):
    both = {"map": lambda b: {"x": b["index"] + 1}, "augment": lambda b, _: {"x": b["x"] * 2}}
    assert [v for b in twenty.batches("train", 20, **both) for v in b["x"].numpy()] == [2 * (i + 1) for i in order(twenty.batches("train", 20))]


# ── sequences ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

LENGTHS = (3, 9, 1, 4, 8, 2, 2, 5, 16, 0)


@pytest.fixture(params=["kept in memory", "streamed"])
def sequences(request, tmp_path, monkeypatch):
    features = {"ids": Feature(shape=(None,)), "audio": Feature("int16", (None,)), "text": Feature("string", encoding="text"), "index": Feature()}
    rows = [{"ids": np.arange(n), "audio": np.arange(-n, 0, dtype=np.int16), "text": "漢" * n, "index": i} for i, n in enumerate(LENGTHS)]
    write(tmp_path / "set", features=features, items=[], test=rows)
    if request.param == "streamed":
        monkeypatch.setattr(records, "IN_MEMORY", 0)
    return Records(tmp_path / "set")


def test_padding(sequences):
    first, second, third = sequences.batches("test", 4, pad={"ids": -1, "audio": 0})
    assert first["ids"].numpy().tolist()[2] == [0] + [-1] * 8 and first["ids"].shape == (4, 9) and second["ids"].shape == (4, 8)
    assert first["audio"].numpy()[3].tolist() == [-4, -3, -2, -1, 0, 0, 0, 0, 0] and third["ids"].shape == (2, 16)
    (empty,) = sequences.batches("test", 1, pad={"ids": 0, "audio": 0}, skip=9)
    assert empty["ids"].shape == (1, 0) and empty["audio"].shape[0] == 1
    with pytest.raises(ValueError, match="audio is stored as bytes: it can be padded with 0 only"):
        sequences.batches("test", 4, pad={"audio": 1})


@pytest.mark.parametrize("feature", ["ids", "audio", "text"])
def test_buckets_hold_items_of_like_length(sequences, feature):
    for shuffle in (False, True):
        batches = [b["index"].numpy().tolist() for b in sequences.batches("test", 2, buckets=(feature, (2, 5)), shuffle=shuffle, seed=3)]
        assert sorted(itertools.chain(*batches)) == list(range(10))
        for batch in batches:
            assert len({sum(LENGTHS[i] > b for b in (2, 5)) for i in batch}) == 1


# ── pictures ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

PICTURE = {"image": Feature("uint8", (None, None, 3), "jpeg"), "label": Feature(names=("a", "b"))}


def encoded(array, form="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form, **options)
    return buffer.getvalue()


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (8, 8, 3), np.uint8) for _ in range(6)]
    write(tmp_path / "set", features=PICTURE, items=(rows := [{"image": encoded(a), "label": i % 2} for i, a in enumerate(arrays)]), test=rows)
    return Records(tmp_path / "set"), arrays


def test_first_pass_and_later_ones_are_the_same(pictures):
    reader, arrays = pictures
    for data in (reader.batches("test", 4, decode=True, repeat=3), reader.batches("test", 4, decode=True, repeat=3)):
        found = np.concatenate([b["image"] for b in data])
        assert (found == np.concatenate([arrays] * 3)).all()
    assert [b["image"].shape[0] for b in reader.batches("test", 4, decode=True, repeat=2, skip=1)] == [2, 4, 2]
    assert reader.arrays("test")["image"][0] == encoded(arrays[0]), "arrays keep what is stored"


def test_jpeg_pixels_are_pillows():
    import tensorflow as tf

    array = np.asarray(Image.fromarray(np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)).resize((70, 50)))
    for data in (encoded(array, "JPEG", quality=80), encoded(array, "JPEG", quality=95, subsampling=0), encoded(array[..., 0], "JPEG")):
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert (features.decoded(tf.constant([data]), (50, 70, 3))[0].numpy() == expected).all()


def test_like_fits_pictures_to_another_schema(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = (200, 100, 50)  # what the centered crop keeps
    gray = np.full((9, 9), 77, np.uint8)
    rows = [{"image": encoded(wide), "label": 0}, {"image": encoded(gray), "label": 1}]
    write(tmp_path / "set", features=PICTURE, items=[], test=rows)
    color = Records(tmp_path / "set", like={"image": Feature("uint8", (10, 10, 3))}).arrays("test")["image"]
    assert color.shape == (2, 10, 10, 3) and (color[0] == (200, 100, 50)).all() and (color[1] == 77).all()
    flat = Records(tmp_path / "set", like={"image": Feature("uint8", (4, 4, 1))})
    assert flat.arrays("test")["image"].shape == (2, 4, 4, 1)
    (batch,) = flat.batches("test", 2)
    assert (batch["image"].numpy() == flat.arrays("test")["image"]).all()
    raw = {"image": Feature("uint8", (6, 6, 3)), "label": PICTURE["label"]}
    write(tmp_path / "raw", features=raw, items=[], test=[{"image": np.full((6, 6, 3), 9, np.uint8), "label": 0}])
    assert (Records(tmp_path / "raw", like={"image": Feature("uint8", (28, 28, 1))}).arrays("test")["image"] == 9).all()


def test_pictures_of_unlike_sizes_need_a_size(tmp_path):
    rows = [{"image": encoded(np.zeros((k, 5, 3), np.uint8)), "label": 0} for k in (4, 5)]
    write(tmp_path / "set", features=PICTURE, items=rows)
    with pytest.raises(ValueError, match=r"pictures of different sizes; say which they shall have: decode=\(height, width\)"):
        Records(tmp_path / "set").batches("train", 2, decode=True)
    (batch,) = Records(tmp_path / "set").batches("train", 2, decode=(3, 6))
    assert batch["image"].shape == (2, 3, 6, 3)


# ── many processes, one result ──────────────────────────────────────────────────────────────────────────────────────────────────────


def rows_of(count, wrong=-1):
    return records.Rows(range(count), lambda i: example(i) if i != wrong else {**example(i), "label": 7})


def test_any_number_of_processes_writes_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "ALONE", 0)  # seconds below which one process does all
    for processes in (1, 2, 5):
        items = rows_of(2500)
        records.write(
            tmp_path / str(processes),
            name="x",
            version="1.0.0",
            features=FEATURES,
            splits={"train": items, "test": items},
            shards=3,
            processes=processes,
        )
    assert digest(tmp_path / "1") == digest(tmp_path / "2") == digest(tmp_path / "5")
    whole = Records(tmp_path / "2").arrays("test")
    assert whole["index"].tolist() == list(range(2500)), "upstream's order"
    write(tmp_path / "list", items=[], test=list(rows_of(2500)))
    assert (Records(tmp_path / "list").arrays("test")["image"] == whole["image"]).all()


def test_wrong_example_in_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "ALONE", 0)
    with pytest.raises(UserError, match=r"^my_set train, item 1900: label is 7, must be in 0 … 2$"):
        write(tmp_path / "set", items=rows_of(2000, wrong=1900))
    assert not any(tmp_path.iterdir())


def test_splits_of_no_and_of_one_example(tmp_path):
    for shards in (1, 3):
        write(tmp_path / "set", items=rows_of(1), shards=shards, empty=[])
        read = Records(tmp_path / "set")
        assert read.count("train") == 1 and read.count("empty") == 0 and len(read.files("empty")) == 1
        assert [len(b["index"]) for b in read.batches("train", 8, shuffle=True, repeat=2)] == [1, 1]
        assert list(read.batches("empty", 8)) == [] and read.arrays("empty")["image"].shape == (0, 28, 28, 1)


KILLED = """
import os, shutil, signal, sys, time
from pathlib import Path
import numpy as np, tensorflow
from dlbooks import records
from dlbooks.records import Feature
records.ALONE, records.CHUNK, folder = 0, 32, Path(sys.argv[1])
def make(i):
    time.sleep(0.0005)
    return {"image": np.full((28, 28, 1), i % 256, np.uint8), "index": i}
features = {"image": Feature("uint8", (28, 28, 1)), "index": Feature()}
def write():
    splits = {"train": records.Rows(range(300), make), "test": records.Rows(range(50), make)}
    records.write(folder, name="x", version="1.0.0", features=features, splits=splits, shards=2, processes=2)
def content():
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
began = time.monotonic()
write()
seconds, expected, whole = time.monotonic() - began, content(), 0
for wait in np.linspace(0, 1.2 * seconds, 30):
    shutil.rmtree(folder, ignore_errors=True)
    if not (pid := os.fork()):
        write()
        os._exit(0)
    time.sleep(wait)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    whole += folder.exists()
    assert not folder.exists() or content() == expected
    write()
    assert content() == expected and [p.name for p in folder.parent.iterdir()] == [folder.name]
time.sleep(0.2)
left = [p for p in Path("/proc").glob("[0-9]*") if p.name != str(os.getpid()) and str(folder).encode() in (p / "cmdline").read_bytes()]
print(whole, len(left))
"""


def test_killed_at_any_moment_and_written_again_has_the_same_bytes(tmp_path):
    """Thirty kills over the whole time of writing: nothing that looks whole is left, no process either."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "set")], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    whole, left = map(int, result.stdout.split())
    assert whole < 25 and left == 0


# ── one wrong bit ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_any_flipped_bit_of_a_record_folder_is_found_and_named(tmp_path):
    """200 flips of one bit each over shards and metadata."""
    write(tmp_path / "set", 40, shards=2, test=[example(i) for i in range(10)])
    files = sorted(p for p in (tmp_path / "set").rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    rng = np.random.default_rng(0)
    for path in [files[i] for i in rng.integers(len(files), size=200)]:
        whole = path.read_bytes()
        place, bit = rng.integers(len(whole)), rng.integers(8)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
        with pytest.raises(UserError) as caught:
            for split in ("train", "test"):
                Records(tmp_path / "set").arrays(split)
        assert path.name in str(caught.value) and "dvc repro preprocess@set" in str(caught.value) and "\n" not in str(caught.value)
        path.write_bytes(whole)
    assert {split: Records(tmp_path / "set").arrays(split)["index"].size for split in ("train", "test")} == {"train": 40, "test": 10}
