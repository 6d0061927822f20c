"""TFRecords with TensorFlow Datasets' names and metadata: written once by ``preprocess``, read by every chapter.

A record folder looks like ``data/tfrecords/mnist/1.0.0/mnist-train.tfrecord-00000-of-00002`` beside ``features.json`` and
``dataset_info.json`` (so that ``tfds.builder_from_directory`` reads it without our code) and ``stats.json`` (counts, classes,
mean and standard deviation). The same input gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from dlbooks import UserError

PARSE_BATCH = 4096  # examples parsed by one op call: large enough that Python's part vanishes
SHUFFLE_BLOCK = 10_000  # examples of a streamed split that are shuffled together; their files are shuffled as a whole already
CACHE_LIMIT = 1 << 30  # bytes; a split below this is parsed once and kept in memory


@dataclass(frozen=True)
class Feature:
    """One field of an example.

    ``shape`` may hold ``None`` (unknown length, first axis only). ``encoding``: ``raw`` (numbers; arrays of uint8 and int16 as plain
    bytes, because decoding PNG costs ten times more and a negative sample of sound would take ten bytes), ``jpeg`` or ``png`` (encoded image bytes), ``text`` (UTF-8 string).
    ``names`` makes an integer a class label.
    """

    dtype: str = "int64"
    shape: tuple[int | None, ...] = ()
    encoding: str = "raw"
    names: tuple[str, ...] = ()

    @property
    def as_bytes(self) -> bool:
        """Stored in a ``bytes_list``: encoded pictures, text and arrays of uint8 or int16."""
        return self.encoding != "raw" or (self.dtype in ("uint8", "int16") and self.shape != ())

    @property
    def ragged(self) -> bool:
        """Numbers whose count differs from item to item."""
        return self.encoding == "raw" and None in self.shape


def _example(features: dict[str, Feature], values: dict) -> bytes:
    import tensorflow as tf

    if set(values) != set(features):
        raise ValueError(f"example has the fields {sorted(values)}, declared are {sorted(features)}")
    fields = {}
    for name, feature in features.items():
        value = values[name]
        if feature.encoding == "raw":
            value = np.asarray(value)
            fits = len(value.shape) == len(feature.shape) and all(d in (n, None) for n, d in zip(value.shape, feature.shape, strict=True))
            if (
                not fits
                or value.dtype.kind not in ("fiu" if feature.dtype.startswith("float") else "iub")
                or (feature.as_bytes and value.dtype != feature.dtype)
            ):
                raise ValueError(f"{name} is {value.dtype}{list(value.shape)}, declared is {feature.dtype}{list(feature.shape)}")
        if feature.as_bytes:
            value = value.encode() if isinstance(value, str) else value.tobytes() if feature.encoding == "raw" else value
            fields[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        elif feature.dtype.startswith("float"):
            fields[name] = tf.train.Feature(float_list=tf.train.FloatList(value=np.ravel(value)))
        else:
            number = np.ravel(value).astype(np.int64)
            if feature.names and not 0 <= int(number[0]) < len(feature.names):
                raise ValueError(f"{name} is {int(number[0])}, must be in 0 … {len(feature.names) - 1}")
            fields[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=number))
    return tf.train.Example(features=tf.train.Features(feature=fields)).SerializeToString(deterministic=True)


def _tfds_feature(feature: Feature) -> dict:
    """The feature in ``features.json``'s spelling (JSON of TFDS's protocol buffer)."""
    base = "tensorflow_datasets.core.features."
    if feature.names:
        return {"pythonClassName": base + "class_label_feature.ClassLabel", "classLabel": {"numClasses": str(len(feature.names))}}
    shape = {"dimensions": [str(-1 if n is None else n) for n in feature.shape]} if feature.shape else {}
    if feature.encoding == "text":
        return {"pythonClassName": base + "text_feature.Text", "text": {}}
    if feature.encoding in ("jpeg", "png"):
        image = {"shape": shape, "dtype": feature.dtype, "encodingFormat": feature.encoding}
        return {"pythonClassName": base + "image_feature.Image", "image": image}
    tensor = {"shape": shape, "dtype": feature.dtype, "encoding": "bytes" if feature.as_bytes else "none"}
    name = "tensor_feature.Tensor" if feature.shape else "scalar.Scalar"
    return {"pythonClassName": base + name, "tensor": tensor}


def _labels(folder: Path, feature: str) -> Path:
    """Where TFDS keeps the class names of a feature."""
    return folder / f"{feature.replace('/', '.')}.labels.txt"


def _dump(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write(
    folder: Path,
    *,
    name: str,
    version: str,
    features: dict[str, Feature],
    splits: dict[str, Iterable[dict]],
    shards: int = 1,
    seed: int = 12345,
    about: dict[str, str] | None = None,
    progress: Callable[[Iterable, str], Iterable] = lambda items, _: items,
) -> dict:
    """Writes ``folder/<version>/`` in one step (a killed run leaves nothing that looks whole) and returns its ``stats.json``.

    ``splits`` maps a split's name to its examples. ``train`` is shuffled by a hash of (``seed``, position) and dealt to ``shards``
    files, every other split is one file in upstream's order. A wrong example is a ``UserError`` naming split and position.
    """
    import tensorflow as tf

    name = name.replace("-", "_")
    temporary = folder.with_name(folder.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    target = temporary / version
    target.mkdir(parents=True)
    stats: dict = {"splits": {}, "features": {}}
    info_splits = []
    label = next((n for n, f in features.items() if f.names), None)
    try:
        for split, examples in splits.items():
            rows, moments, classes = [], {}, dict.fromkeys(features[label].names, 0) if label else {}
            for position, values in enumerate(progress(examples, f"{name} {split}")):
                try:
                    rows.append(_example(features, values))
                except ValueError as error:
                    raise UserError(f"{name} {split}, item {position}: {error}") from None
                if label:
                    classes[features[label].names[int(values[label])]] += 1
                if split == "train":
                    for field_name, feature in features.items():
                        if feature.encoding == "raw" and feature.shape and feature.dtype in ("uint8", "float32"):
                            value = np.asarray(values[field_name], np.float64)
                            n, total, squares, low, high = moments.get(field_name, (0, 0.0, 0.0, math.inf, -math.inf))
                            total, squares = total + float(value.sum()), squares + float((value * value).sum())
                            moments[field_name] = (n + value.size, total, squares, min(low, float(value.min())), max(high, float(value.max())))
            count = max(1, min(shards, len(rows))) if split == "train" else 1
            if split == "train":
                rows = [rows[i] for i in sorted(range(len(rows)), key=lambda i: hashlib.sha256(f"{seed}/{i}".encode()).digest())]
            lengths = []
            for shard in range(count):
                file = target / f"{name}-{split}.tfrecord-{shard:05d}-of-{count:05d}"
                with tf.io.TFRecordWriter(str(file)) as writer:
                    for row in rows[shard::count]:
                        writer.write(row)
                lengths.append(len(rows[shard::count]))
            size = sum(p.stat().st_size for p in target.glob(f"{name}-{split}.tfrecord-*"))
            stats["splits"][split] = {"examples": len(rows), "bytes": size, **({"classes": classes} if label else {})}
            for field_name, (n, total, squares, low, high) in moments.items():
                mean = total / n
                deviation = math.sqrt(max(squares / n - mean * mean, 0.0))
                stats["features"][field_name] = {"mean": mean, "std": deviation, "min": low, "max": high}
            info_splits.append(
                {
                    "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                    "name": split,
                    "numBytes": str(size),
                    "shardLengths": [str(n) for n in lengths],
                }
            )
        fields = {n: _tfds_feature(f) for n, f in features.items()}
        dict_class = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
        _dump(target / "features.json", {"pythonClassName": dict_class, "featuresDict": {"features": fields}})
        _dump(target / "dataset_info.json", {**(about or {}), "fileFormat": "tfrecord", "name": name, "splits": info_splits, "version": version})
        for field_name, feature in features.items():
            if feature.names:
                _labels(target, field_name).write_text("\n".join(feature.names) + "\n", encoding="utf-8")
        _dump(target / "stats.json", stats)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return stats


def _items(values, feature: Feature) -> np.ndarray:
    """A parsed feature as numpy array ``[n, …]``; items of unknown length as an object array of arrays."""
    if not feature.ragged:
        return values.numpy()
    if feature.as_bytes:
        parts = [np.frombuffer(data, feature.dtype).reshape(-1, *feature.shape[1:]) for data in values.numpy()]
    else:
        inner = values.values
        parts = np.split((inner.to_tensor() if hasattr(inner, "to_tensor") else inner).numpy(), values.row_splits.numpy()[1:-1])
    items = np.empty(len(parts), object)
    items[:] = parts
    return items


@dataclass
class Records:
    """Reader of one record folder.

    ``records.info["splits"]`` has the counts, ``records.names()`` the classes, ``records.arrays("test")`` a whole split as numpy
    arrays, ``records.batches("train", 128, …)`` a ``tf.data.Dataset`` of dictionaries.
    """

    folder: Path
    _arrays: dict[str, dict[str, np.ndarray]] = field(default_factory=dict, repr=False)

    @cached_property
    def path(self) -> Path:
        versions = sorted(p for p in self.folder.glob("*") if (p / "dataset_info.json").exists())
        if not versions:
            raise UserError(f"{self.folder} holds no records: run `dvc repro preprocess@{self.folder.name}`")
        return versions[-1]

    @cached_property
    def info(self) -> dict:
        """Content of ``stats.json``: counts and classes per split, statistics of the training pictures."""
        return json.loads((self.path / "stats.json").read_text(encoding="utf-8"))

    @cached_property
    def features(self) -> dict[str, Feature]:
        """Fields of an example, read back from ``features.json``."""
        spec = json.loads((self.path / "features.json").read_text(encoding="utf-8"))["featuresDict"]["features"]
        found = {}
        for name, entry in spec.items():
            if "classLabel" in entry:
                found[name] = Feature("int64", names=tuple(self.names(name)))
                continue
            kind = entry.get("image") or entry.get("tensor") or {}
            sizes = kind.get("shape", {}).get("dimensions", [])
            shape = tuple(None if n == "-1" else int(n) for n in sizes)
            encoding = kind.get("encodingFormat") or ("text" if "text" in entry else "raw")
            found[name] = Feature(kind.get("dtype", "string"), shape, encoding)
        return found

    def names(self, feature: str = "label") -> list[str]:
        """Class names, in the order of their numbers."""
        return _labels(self.path, feature).read_text(encoding="utf-8").splitlines()

    def files(self, split: str) -> list[str]:
        if split not in self.info["splits"]:
            raise UserError(f"{self.folder.name} has no split {split!r}: it has {', '.join(self.info['splits'])}")
        return sorted(str(p) for p in self.path.glob(f"*-{split}.tfrecord-*"))

    def count(self, split: str) -> int:
        """Number of examples of a split."""
        self.files(split)
        return self.info["splits"][split]["examples"]

    def _parse(self, serialized):
        """A batch of serialized examples → dict of tensors; parsing after batching is ten times faster than before it."""
        import tensorflow as tf

        spec = {}
        for name, feature in self.features.items():
            if feature.as_bytes:
                spec[name] = tf.io.FixedLenFeature((), tf.string)
            elif None in feature.shape:
                inner = [tf.io.RaggedFeature.UniformRowLength(n) for n in feature.shape[1:]]
                spec[name] = tf.io.RaggedFeature(tf.float32 if feature.dtype.startswith("float") else tf.int64, partitions=inner)
            else:
                spec[name] = tf.io.FixedLenFeature(feature.shape, tf.float32 if feature.dtype.startswith("float") else tf.int64)
        parsed = tf.io.parse_example(serialized, spec)
        for name, feature in self.features.items():
            if feature.as_bytes and feature.encoding == "raw" and None not in feature.shape:
                flat = tf.ensure_shape(tf.io.decode_raw(parsed[name], feature.dtype), (None, math.prod(feature.shape)))
                parsed[name] = tf.reshape(flat, (-1, *feature.shape))
            elif not feature.as_bytes:
                parsed[name] = tf.cast(parsed[name], feature.dtype)
        return parsed

    def _damage(self, file: str) -> str:
        """Names the first item of a shard that cannot be read or parsed, and what is wrong with it."""
        import tensorflow as tf

        position = 0
        try:
            for position, one in enumerate(tf.data.TFRecordDataset(file)):
                example = tf.train.Example.FromString(one.numpy()).features.feature
                for name, feature in self.features.items():
                    if feature.as_bytes and feature.encoding == "raw" and None not in feature.shape:
                        got = len(b"".join(example[name].bytes_list.value))
                        expected = math.prod(feature.shape) * np.dtype(feature.dtype).itemsize
                        if got != expected:
                            return f"item {position}: {name} has {got} bytes, expected {expected}"
                self._parse(one[None])
                position += 1
        except tf.errors.DataLossError:
            return f"item {position}: corrupt or truncated"
        except Exception as error:  # whatever a damaged protocol buffer makes the parser say
            return f"item {position}: {str(getattr(error, 'message', error)).splitlines()[0]}"
        return "corrupt"

    def _read(self, file: str, expected: int) -> Iterator[dict]:
        """One shard in parsed batches; damage is a ``UserError`` naming the shard and the item."""
        import tensorflow as tf

        remedy = f"delete {self.folder} and run `dvc repro preprocess@{self.folder.name}`"
        position = 0
        try:
            for serialized in tf.data.TFRecordDataset(file).batch(PARSE_BATCH):
                parsed = {k: _items(v, self.features[k]) for k, v in self._parse(serialized).items()}
                for name, feature in self.features.items():
                    if feature.names and (wrong := np.flatnonzero((parsed[name] < 0) | (parsed[name] >= len(feature.names)))).size:
                        item, value = wrong[0], parsed[name][wrong[0]]
                        detail = f"item {position + item}: {name} is {value}, must be in 0 … {len(feature.names) - 1}"
                        raise UserError(f"damaged record file {Path(file).name}, {detail}; {remedy}")
                yield parsed
                position += len(serialized)
        except tf.errors.OpError:
            raise UserError(f"damaged record file {Path(file).name}, {self._damage(file)}; {remedy}") from None
        if position != expected:
            raise UserError(f"damaged record file {Path(file).name}, {position} items instead of {expected}; {remedy}")

    def _lengths(self, split: str) -> list[int]:
        """Examples in each shard, as TFDS's metadata say."""
        info = json.loads((self.path / "dataset_info.json").read_text(encoding="utf-8"))
        return [int(n) for entry in info["splits"] if entry["name"] == split for n in entry["shardLengths"]]

    def _empty(self) -> dict[str, np.ndarray]:
        """The arrays of a split without examples."""
        plain = {n: f.encoding == "raw" and not f.ragged for n, f in self.features.items()}
        return {n: np.zeros((0, *f.shape) if plain[n] else 0, f.dtype if plain[n] else object) for n, f in self.features.items()}

    def arrays(self, split: str) -> dict[str, np.ndarray]:
        """A whole split as numpy arrays ``{feature: [n, …]}``, parsed once and kept; items of unknown length as an object array of arrays."""
        if split not in self._arrays:
            files, lengths = self.files(split), self._lengths(split)
            if len(files) != len(lengths):
                raise UserError(f"{self.folder.name} {split}: {len(files)} record files, dataset_info.json lists {len(lengths)}")
            parts = [part for file, length in zip(files, lengths, strict=True) for part in self._read(file, length)]
            arrays = {name: np.concatenate([p[name] for p in parts]) for name in self.features} if parts else self._empty()
            for values in arrays.values():
                values.setflags(write=False)
            self._arrays[split] = arrays
        return self._arrays[split]

    def batches(
        self,
        split: str,
        size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        epoch: int = 0,
        repeat: int | None = 1,
        drop_remainder: bool = False,
        map: Callable | None = None,
    ):
        """A ``tf.data.Dataset`` of batches ``{feature: [size, …]}`` in an order that (``seed``, ``epoch``) fixes.

        A split below 1 GB is parsed once and gathered by index, so a shuffle is a true permutation, drawn anew for every
        repetition; ``epoch`` names the first one, which is how training resumes in the middle. A larger split is streamed from
        its shards in shuffled blocks of 10,000 examples. ``map`` gets and returns a batch.
        """
        import tensorflow as tf

        options = tf.data.Options()
        options.deterministic = True
        options.threading.private_threadpool_size = 2
        files = self.files(split)
        epochs = tf.data.Dataset.range(epoch, 2**62 if repeat is None else epoch + repeat)
        if self.info["splits"][split]["bytes"] < CACHE_LIMIT and not any(f.ragged for f in self.features.values()):
            arrays = {k: tf.constant(v) for k, v in self.arrays(split).items()}
            count = self.count(split)

            def order(number):
                if not shuffle:
                    return tf.data.Dataset.range(count)
                key = tf.stack([tf.cast(seed, tf.int64), number])
                return tf.data.Dataset.from_tensor_slices(tf.random.experimental.stateless_shuffle(tf.range(count, dtype=tf.int64), key))

            indices = epochs.flat_map(lambda n: order(n).batch(size, drop_remainder=drop_remainder))
            data = indices.map(lambda i: {k: tf.gather(v, i) for k, v in arrays.items()}, num_parallel_calls=1)
        else:

            def examples(number):
                data = tf.data.TFRecordDataset(files)
                if not shuffle:
                    return data

                # `Dataset.shuffle` takes no seed that depends on the epoch, so blocks are permuted by a stateless draw.
                def permuted(block, rows):
                    key = tf.stack([tf.cast(seed, tf.int64), number * 2**20 + block])
                    return tf.data.Dataset.from_tensor_slices(tf.random.experimental.stateless_shuffle(rows, key))

                return data.batch(SHUFFLE_BLOCK).enumerate().flat_map(permuted)

            serialized = epochs.flat_map(lambda n: examples(n).batch(size, drop_remainder=drop_remainder))
            data = serialized.map(self._parse, num_parallel_calls=2)
        if map:
            data = data.map(map, num_parallel_calls=2)
        return data.with_options(options).prefetch(2)
