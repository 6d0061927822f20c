"""Record folders: what is written comes back, the same bytes every time, and damage is named."""

import hashlib
import json
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbooks import UserError, records
from dlbooks.records import Feature, Records

FEATURES = {"image": Feature("uint8", (28, 28, 1)), "label": Feature(names=("no", "yes", "perhaps")), "index": Feature()}


def example(i):
    return {"image": np.full((28, 28, 1), i % 256, np.uint8), "label": i % 3, "index": i}


def write(folder, count=10, shards=1, features=FEATURES, items=None, **splits):
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
    st.just(Feature(names=("a b", "ç", "z"))),
)


def draw_value(feature, rng):
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
    features=st.dictionaries(st.from_regex(r"[a-z]{1,6}(/[a-z]{1,6})?", fullmatch=True), KINDS, min_size=1, max_size=4),
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
        *("dataset_info.json", "features.json", "label.labels.txt", "my_set-test.tfrecord-00000-of-00001"),
        *(*shards, "stats.json"),
    ]
    info = json.loads((folder / "dataset_info.json").read_text())
    assert info["name"] == "my_set" and info["splits"][0]["shardLengths"] == ["4", "4", "3"]
    assert stats["splits"]["train"]["classes"] == {"no": 4, "yes": 4, "perhaps": 3}
    values = np.concatenate([example(i)["image"].ravel() for i in range(11)])
    assert stats["features"]["image"] == {"mean": values.mean(), "std": pytest.approx(values.std()), "min": 0, "max": 10}
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


def test_item_behind_the_first_parsed_batch(second_shard, monkeypatch):
    monkeypatch.setattr(records, "PARSE_BATCH", 4)
    assert second_shard(6, 783, label=0, index=0) == f"damaged record file {SHARD}, item 6: image has 783 bytes, expected 784"
    assert second_shard(6, label=5, index=0) == f"damaged record file {SHARD}, item 6: label is 5, must be in 0 … 2"


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


# ── batches ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["kept in memory", "streamed"])
def twenty(request, tmp_path, monkeypatch):
    write(tmp_path / "set", 20, shards=2)
    if request.param == "streamed":
        monkeypatch.setattr(records, "CACHE_LIMIT", 0)
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
        assert order(twenty.batches("train", 8, shuffle=True, seed=5, epoch=number)) == expected, "as after a resume"
    assert order(twenty.batches("train", 8, shuffle=True, seed=6)) != epochs[0]
    assert order(twenty.batches("train", 8, shuffle=True, seed=5, repeat=None).take(7)) == three[:48]
