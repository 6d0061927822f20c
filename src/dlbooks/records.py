"""TFRecords with TensorFlow Datasets' names and metadata: written once by ``preprocess``, read by every chapter.

A record folder looks like ``data/tfrecords/mnist/1.0.0/mnist-train.tfrecord-00000-of-00002`` beside ``features.json`` and
``dataset_info.json`` (so that ``tfds.builder_from_directory`` reads it without our code), ``stats.json`` (counts, classes,
statistics) and ``SHA256SUMS``. The same input gives the same bytes, whatever the number of processes.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import itertools
import json
import math
import multiprocessing
import os
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from dlbooks import UserError, digests
from dlbooks import features as schema
from dlbooks.features import Feature
from dlbooks.statistics import Statistics

ALONE = 0.5  # seconds of work that one process does sooner than several
CHUNK = 1024  # rows that one process works on at a time, fewer of a small split
IN_MEMORY = 192 << 20  # bytes; the records of a smaller split are kept, so that a shuffle is a true permutation
DECODED = 256 << 20  # bytes; a split that is smaller when parsed and decoded is kept so: beyond it, fresh memory costs as much as decoding
BLOCK = 32 << 20  # bytes of a larger split that are shuffled together


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Rows:
    """The examples of a split as light ``items`` and a pure function that makes an example of one: work that can be dealt to processes.

    ``make`` runs in forked processes: it must read its own bytes (``archives.Members`` does) and not call TensorFlow.
    """

    items: Sequence
    make: Callable[[object], dict]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[dict]:
        return map(self.make, self.items)


@dataclass
class _Writer:
    """The examples of one split on their way to a spool, a record file per chunk, in the order given."""

    where: str  # data set and split, for messages
    features: dict[str, Feature]
    rows: Rows | None
    spool: Path

    def chunk(self, start: int, rows: Iterable[dict] | None = None, stop: int = 0) -> tuple[int, np.ndarray, Statistics]:
        """Writes ``rows``, or those of ``self.rows`` from ``start`` to ``stop``; returns ``start``, the records' sizes on disk, statistics."""
        import tensorflow as tf

        found, statistics, kept = [], Statistics(self.features), []
        with tf.io.TFRecordWriter(str(self.spool / f"{start:012d}")) as writer:
            for values in rows if rows is not None else map(self.rows.make, self.rows.items[start:stop]):
                try:
                    data = schema.serialized(self.features, values)
                except ValueError as error:
                    raise UserError(f"{self.where}, item {start + len(found)}: {error}") from None
                writer.write(data)
                found.append(len(data) + 16)  # length, its checksum, data, its checksum
                kept.append(values)
        statistics.add(kept)
        return start, np.array(found, np.int64), statistics

    def run(self, source: Iterable[dict], processes: int, advance: Callable[[int], object]) -> tuple[list[tuple[int, np.ndarray]], Statistics]:
        """All chunks: by this process, and, where the first one shows that there is more than half a second of work, by several."""
        done, statistics = [], Statistics(self.features)

        def take(result) -> None:
            start, sizes, gathered = result
            done.append((start, sizes))
            statistics.merge(gathered)
            advance(len(sizes))

        if self.rows is None:
            source = iter(source)
            for start in itertools.count(0, CHUNK):
                rows = list(itertools.islice(source, CHUNK))
                if not rows:
                    return done, statistics
                take(self.chunk(start, rows))
        total = len(self.rows)
        size = max(1, min(CHUNK, -(-total // 32)))  # depends on the count alone, as the rounding of statistics depends on it
        jobs = [(start, None, min(start + size, total)) for start in range(0, total, size)]
        began = time.monotonic()
        while jobs and (processes == 1 or (time.monotonic() - began) * len(jobs) < ALONE * max(1, len(done))):
            take(self.chunk(*jobs.pop(0)))
        if jobs:
            with _pool(processes, self) as pool:
                for result in pool.map(_chunk, jobs):
                    take(result)
        return done, statistics


_working: _Writer | None = None  # in a forked process: what it works on, inherited instead of pickled


def _chunk(job) -> tuple[int, np.ndarray, Statistics]:
    return _working.chunk(*job)


@contextlib.contextmanager
def _pool(processes: int, writer: _Writer):
    """Forked processes that end with this one; what is left of their work is dropped on an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads: these wait in system calls
        pool = ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), _begin, (writer,))
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(writer: _Writer) -> None:
    global _working
    _working = writer
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _deal(spool: Path, done: list[tuple[int, np.ndarray]], order: Iterable[int] | None, files: list[Path]) -> list[int]:
    """Records from the spool to their shards: in ``order``, dealt in turns, or (one shard) as they lie. Returns counts per shard."""
    if order is None:
        with open(files[0], "wb") as target:
            for start, _ in done:
                with open(spool / f"{start:012d}", "rb") as source:
                    shutil.copyfileobj(source, target, 1 << 20)
        return [sum(len(sizes) for _, sizes in done)]
    spools, places = [], []
    try:
        for start, sizes in done:
            spools.append(os.open(spool / f"{start:012d}", os.O_RDONLY))
            ends = np.cumsum(sizes)
            places += zip(itertools.repeat(spools[-1]), sizes.tolist(), (ends - sizes).tolist())
        order = list(order)
        for shard, file in enumerate(files):
            with open(file, "wb", buffering=1 << 20) as target:
                for index in order[shard :: len(files)]:
                    target.write(os.pread(*places[index]))
    finally:
        for descriptor in spools:
            os.close(descriptor)
    return [len(order[shard :: len(files)]) for shard in range(len(files))]


def _one_size(statistics: dict) -> list[int]:
    """Height and width of a split's pictures, if all have the same."""
    sides = [statistics[side] for side in ("height", "width")]
    same = all(side.get("min", -1) == side.get("max") for side in sides) and not statistics.get("unreadable")
    return [side["min"] for side in sides] if same else []


def _dump(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write(
    folder: Path,
    *,
    name: str,
    version: str,
    features: dict[str, Feature],
    splits: dict[str, Iterable[dict] | Rows],
    shards: int = 1,
    seed: int = 12345,
    about: dict[str, str] | None = None,
    processes: int | None = None,
) -> dict:
    """Writes ``folder/<version>/`` in one step (a killed run leaves nothing that looks whole) and returns its ``stats.json``.

    ``splits`` maps a split's name to its examples; those given as ``Rows`` are made by ``processes`` processes (default: one per core).
    ``train`` is shuffled by a hash of (``seed``, position) and dealt to ``shards`` files, every other split is one file in
    upstream's order. Examples wait on the disk, so a split may be larger than memory. A wrong example is a ``UserError`` naming split and
    position.
    """
    from dlbooks.status import Bar

    name = name.replace("-", "_")
    forks = sys.platform == "linux" and hasattr(os, "sched_getaffinity")
    processes = (processes or len(os.sched_getaffinity(0))) if forks else 1
    temporary = folder.with_name(folder.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    target = temporary / version
    target.mkdir(parents=True)
    stats: dict = {"splits": {}, "features": {}}
    info_splits = []
    try:
        for split, examples in splits.items():
            spool = temporary / "spool"
            spool.mkdir()
            total = len(examples) if hasattr(examples, "__len__") else None
            writer = _Writer(f"{name} {split}", features, examples if isinstance(examples, Rows) else None, spool)
            with Bar(total=total, desc=writer.where, unit="", leave=False, disable=None) as bar:
                done, statistics = writer.run(examples, processes, bar.update)
            count = sum(len(sizes) for _, sizes in done)
            number = max(1, min(shards, count)) if split == "train" else 1
            files = [target / f"{name}-{split}.tfrecord-{i:05d}-of-{number:05d}" for i in range(number)]
            shuffled = sorted(range(count), key=lambda i: hashlib.sha256(f"{seed}/{i}".encode()).digest()) if split == "train" else None
            lengths = _deal(spool, done, shuffled, files)
            shutil.rmtree(spool)
            size = sum(file.stat().st_size for file in files)
            gathered = statistics.result()
            entry = {"classes": gathered["classes"]} if "classes" in gathered else {}
            if same := {n: s for n, f in features.items() if f.picture and (s := _one_size(gathered["features"][n]))}:
                entry["sizes"] = same
            stats["splits"][split] = {"examples": count, "bytes": size, **entry}
            if split == "train" or ("train" not in splits and not stats["features"]):
                stats["features"] = gathered["features"]
            template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
            info_splits.append({"filepathTemplate": template, "name": split, "numBytes": str(size), "shardLengths": [str(n) for n in lengths]})
        _dump(target / "features.json", schema.to_tfds(features))
        _dump(target / "dataset_info.json", {**(about or {}), "fileFormat": "tfrecord", "name": name, "splits": info_splits, "version": version})
        for field_name, feature in features.items():
            if feature.names:
                (target / schema.labels_file(field_name, feature)).write_text("\n".join(feature.names) + "\n", encoding="utf-8")
        _dump(target / "stats.json", stats)
        digests.write(target)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return stats


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(repr=False)
class Records:
    """Reader of one record folder.

    ``records.info["splits"]`` has the counts, ``records.names()`` the classes, ``records.arrays("test")`` a whole split as numpy
    arrays, ``records.batches("train", 128, …)`` a ``tf.data.Dataset`` of dictionaries.

    ``like`` is the schema that the reader of these records expects: where it declares a picture as an array of fixed shape, pictures
    stored encoded, or of another shape, are decoded, cropped at the center and resized to it.
    """

    folder: Path
    like: dict[str, Feature] = field(default_factory=dict, repr=False)
    _rows: dict = field(default_factory=dict, repr=False)
    _arrays: dict = field(default_factory=dict, repr=False)
    _stores: dict = field(default_factory=dict, repr=False)

    @cached_property
    def path(self) -> Path:
        versions = sorted(p for p in self.folder.glob("*") if (p / "dataset_info.json").exists())
        if not versions:
            raise UserError(f"{self.folder} holds no records: run `dvc repro preprocess@{self.folder.name}`")
        digests.check(versions[-1], self._remedy, lambda name: name.endswith((".json", ".txt")))  # shards have checksums of their own
        return versions[-1]

    def __repr__(self) -> str:
        from dlbooks import cards

        if not cards.here(self):
            return f"<Records {self.folder.name}: none here>"
        splits = ", ".join(f"{name} {entry['examples']:,}" for name, entry in self.info["splits"].items())
        known = self.info["features"]
        fields = ", ".join(f"{name} ({cards.describe(feature, known.get(name, {}))})" for name, feature in self.features.items())
        return f"<Records {self.folder.name} {self.path.name}: {splits} · {fields}>"

    def _repr_html_(self) -> str:
        from dlbooks import notebook

        return notebook.of_records(self)

    @property
    def _remedy(self) -> str:
        return digests.remedy(self.folder, "preprocess")

    @cached_property
    def info(self) -> dict:
        """Content of ``stats.json``: counts and classes per split, statistics of the training split (of the first, if there is none)."""
        return json.loads((self.path / "stats.json").read_text(encoding="utf-8"))

    @cached_property
    def about(self) -> dict:
        """Content of ``dataset_info.json``: description, citation, license, splits with the lengths of their shards."""
        return json.loads((self.path / "dataset_info.json").read_text(encoding="utf-8"))

    @cached_property
    def features(self) -> dict[str, Feature]:
        """Fields of an example as they are stored, read back from ``features.json``."""
        content = json.loads((self.path / "features.json").read_text(encoding="utf-8"))
        return schema.from_tfds(content, lambda file: tuple((self.path / file).read_text(encoding="utf-8").splitlines()))

    def names(self, feature: str = "label") -> list[str]:
        """Class names, in the order of their numbers."""
        return list(self.features[feature].names)

    def _shards(self, split: str) -> list[tuple[Path, int]]:
        """Record files of a split and how many examples each holds; all there and of the size that the metadata say."""
        entry = next((e for e in self.about["splits"] if e["name"] == split), None)
        if entry is None:
            raise UserError(f"{self.folder.name} has no split {split!r}: it has {', '.join(self.info['splits'])}")
        lengths = [int(n) for n in entry["shardLengths"]]
        files = sorted(self.path.glob(f"*-{split}.tfrecord-*"))
        if len(files) != len(lengths):
            raise UserError(f"{self.folder.name} {split}: {len(files)} record files, dataset_info.json lists {len(lengths)}")
        return list(zip(files, lengths, strict=True))

    def files(self, split: str) -> list[str]:
        """Record files of a split."""
        return [str(file) for file, _ in self._shards(split)]

    def count(self, split: str) -> int:
        """Number of examples of a split."""
        return sum(length for _, length in self._shards(split))

    # ── damage ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _fault(self, file: Path, expected: int) -> str:
        """The first thing wrong with a shard: which item, and what; empty if nothing is."""
        import tensorflow as tf

        position = 0
        try:
            for one in tf.data.TFRecordDataset(str(file)):
                fields = tf.train.Example.FromString(one.numpy()).features.feature
                for name, feature in self.features.items():
                    if feature.as_bytes and feature.encoding == "raw" and not feature.ragged:
                        have, want = len(b"".join(fields[name].bytes_list.value)), math.prod(feature.shape) * np.dtype(feature.dtype).itemsize
                        if have != want:
                            return f"item {position}: {name} has {have} bytes, expected {want}"
                    for value in fields[name].int64_list.value if feature.names else ():
                        if not 0 <= value < len(feature.names):
                            return f"item {position}: {name} is {value}, must be in 0 … {len(feature.names) - 1}"
                schema.parse(self.features, one[None])
                position += 1
        except tf.errors.DataLossError:
            return f"item {position}: corrupt or truncated"
        except Exception as error:  # whatever a damaged protocol buffer makes the parser say
            return f"item {position}: {str(getattr(error, 'message', error)).splitlines()[0]}"
        return "" if position == expected else f"{position} items instead of {expected}"

    def damage(self, split: str) -> UserError:
        """What is wrong with a split whose reading failed: the shard and the item, by name. A split that is streamed raises TensorFlow's own
        ``DataLossError`` on the way; this names it."""
        for file, expected in self._shards(split):
            if fault := self._fault(file, expected):
                return UserError(f"damaged record file {file.name}, {fault}; {self._remedy}")
        return UserError(f"the record files of {self.folder.name} {split} cannot be read; {self._remedy}")

    # ── whole splits ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _serialized(self, split: str):
        """The serialized examples of a split, string ``[n]``, checksums checked."""
        import tensorflow as tf

        if split not in self._rows:
            try:
                # Deprecated for a loop's body; for a whole split it takes two thirds of the time of a dataset, for a small one a tenth.
                records = tf.compat.v1.io.tf_record_iterator
                rows = tf.constant([row for file in self.files(split) for row in records(file)], tf.string)
            except tf.errors.OpError:
                raise self.damage(split) from None
            if len(rows) != self.count(split):
                raise self.damage(split)
            self._rows[split] = rows
        return self._rows[split]

    def _pictures(self, split: str, decode: bool | tuple[int, int]) -> dict[str, tuple[int, int, int]]:
        """Pictures that are to be decoded or fitted, and the shape they get."""
        found = {}
        for name, feature in self.features.items():
            goal = self.like.get(name)
            if goal and goal.encoding == "raw" and len(goal.shape) == 3 and (feature.picture or feature.shape != goal.shape):
                found[name] = goal.shape
            elif feature.picture and decode:
                declared = feature.shape[:2]
                size = decode if decode is not True else self._size(split, name) if None in declared else declared
                if None in size:
                    raise ValueError(f"{self.folder.name}: pictures of different sizes; say which they shall have: decode=(height, width)")
                found[name] = (*size, feature.shape[2])
        return found

    def _size(self, split: str, name: str) -> tuple[int | None, int | None]:
        """Height and width of all pictures of a split, ``None`` where they differ."""
        return tuple(self.info["splits"][split].get("sizes", {}).get(name, (None, None)))

    def _finish(self, split: str, parsed: dict, pictures: dict[str, tuple[int, int, int]]) -> dict:
        """A parsed batch with its pictures decoded or fitted."""
        for name, shape in pictures.items():
            if self.features[name].picture:
                parsed[name] = schema.decoded(parsed[name], shape, fit=self._size(split, name) != shape[:2])
            else:
                parsed[name] = schema.fitted(parsed[name], shape)
        return parsed

    def arrays(self, split: str) -> dict[str, np.ndarray]:
        """A whole split as numpy arrays ``{feature: [n, …]}``, parsed once and kept; items of unknown length as an object array of arrays."""
        import tensorflow as tf

        if split not in self._arrays:
            rows, pictures = self._serialized(split), self._pictures(split, False)
            try:
                if pictures:
                    read = tf.autograph.experimental.do_not_convert(lambda r: self._finish(split, schema.parse(self.features, r), pictures))
                    batches = tf.data.Dataset.from_tensor_slices(rows).batch(256).map(read, num_parallel_calls=2, deterministic=True)
                    parts = list(batches) or [read(rows)]
                    parsed = {name: tf.concat([part.pop(name) for part in parts], 0) for name in self.features}
                else:
                    parsed = schema.parse(self.features, rows)
            except tf.errors.OpError:
                raise self.damage(split) from None
            for name, feature in self.features.items():
                if feature.names:
                    values = parsed[name].flat_values if feature.ragged else parsed[name]
                    if tf.reduce_any((values < 0) | (values >= len(feature.names))):
                        raise self.damage(split)
            shown = {n: Feature("uint8", pictures[n]) if n in pictures else f for n, f in self.features.items()}
            arrays = {name: schema.to_numpy(parsed[name], feature) for name, feature in shown.items()}
            for values in arrays.values():
                values.setflags(write=False)
            self._arrays[split] = arrays
        return self._arrays[split]

    # ── batches ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def batches(
        self,
        split: str,
        size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        epoch: int = 0,
        skip: int = 0,
        repeat: int | None = 1,
        drop_remainder: bool = False,
        map: Callable | None = None,
        augment: Callable | None = None,
        decode: bool | tuple[int, int] = False,
        pad: dict[str, object] | None = None,
        buckets: tuple[str, Sequence[int]] | None = None,
        shard: tuple[int, int] = (0, 1),
        deterministic: bool = True,
    ):
        """A ``tf.data.Dataset`` of batches ``{feature: [size, …]}`` in an order that (``seed``, ``epoch``) fixes.

        - ``shuffle`` draws a new order for every pass: a permutation of the whole split, or, of one whose records take more than
          192 MB, of its shards and of blocks of 32 MB.
        - ``epoch`` and ``skip`` say where to go on: the number of the first pass, and how many of its batches have been seen.
        - ``repeat`` is the number of passes, ``None`` for ever.
        - ``decode`` turns encoded pictures into uint8 ``[size, height, width, channels]``: ``True`` where all have one size, else
          (height, width) to which they are cropped at the center and resized.
        - ``pad`` names features of unknown length that become dense, with the value put behind shorter items.
        - ``buckets=("ids", (16, 32))`` makes batches of items of like length: up to 16, up to 32, longer.
        - ``shard=(index, count)`` gives one of ``count`` workers its part; with ``drop_remainder`` all get the same number of batches.
        - ``map`` gets and returns a batch; ``augment(batch, seed)`` as well, with a seed ``[2]`` for stateless draws that no other batch of any pass has.

        A split is parsed and decoded batch by batch in its first pass, so that the first batch comes at once; where it takes less than 256 MB so,
        later passes, of this dataset or of the next one that these records give, gather from memory. Iterating over the same dataset again,
        as Keras's ``fit`` does for every epoch, goes on with the next passes.
        """
        import tensorflow as tf

        pictures, options = self._pictures(split, decode), tf.data.Options()
        options.deterministic = deterministic
        options.threading.private_threadpool_size = 2
        options.autotune.enabled = False  # what is tuned and fused here is done by hand: looking for more delays the first batch
        options.experimental_optimization.apply_default_optimizations = False
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        count, stored = self.count(split), self.info["splits"][split]["bytes"]
        order = _Order(size, shuffle, seed, *shard, drop_remainder, tuple(buckets[1]) if buckets else ())
        parallel = {"num_parallel_calls": 2, "deterministic": deterministic}
        graph = tf.autograph.experimental.do_not_convert  # functions without control flow: converting them takes a second

        def plan(number, block, rows):
            places, seeds = order.plan(number, block, tf.size(rows), self._lengths(rows, buckets[0]) if buckets else None, bool(augment))
            return (places, seeds) if augment else (places,)

        def seeded(batch, seed):
            return (batch, *seed) if seed else batch

        def trimmed(places):
            return tf.ensure_shape(places, (size,)) if drop_remainder else places[: tf.math.count_nonzero(places >= 0)]

        def fresh(rows):
            return self._finish(split, schema.parse(self.features, rows), pictures)

        def within(number, block, rows):
            """Serialized examples of a block, batch by batch."""
            batches = tf.data.Dataset.from_tensor_slices(plan(number, block, rows))
            return batches.map(graph(lambda places, *seed: (tf.gather(rows, trimmed(places)), *seed)))

        def blocks(number):
            """A split too large for memory, a block after the other."""
            files = tf.constant(self.files(split))
            files = tf.random.experimental.stateless_shuffle(files, [tf.cast(seed, tf.int64), number]) if shuffle else files
            at_once = min(4, len(self.files(split))) if shuffle else None
            together = max(1, BLOCK * count // stored // (size * shard[1])) * size * shard[1]
            found = tf.data.TFRecordDataset(files, buffer_size=1 << 20, num_parallel_reads=at_once).batch(together).enumerate()
            return found.flat_map(graph(lambda block, rows: within(number, block, rows)))

        def kept(number, rows, store):
            """One pass of a split that is parsed and decoded once: a batch that is not there yet is made and kept."""

            def batch(places, *seed):
                places = trimmed(places)
                found = tf.cond(store.has(places), lambda: store.take(places), lambda: store.put(places, fresh(tf.gather(rows, places))))
                return seeded(found, seed)

            return tf.data.Dataset.from_tensor_slices(plan(number, 0, rows)).map(graph(batch), **reading)

        def passes(one):
            """All passes, each made of its number. Whoever iterates again, as Keras's `fit` does for every epoch, goes on with the next ones."""
            many = 2**40 if repeat is None else repeat
            with tf.device("/CPU:0"):
                begun = tf.Variable(-1, dtype=tf.int64, trainable=False)

            def numbers(_):
                first = epoch + many * begun.assign_add(1)
                return tf.data.Dataset.range(first, first + many)

            return tf.data.Dataset.range(1).flat_map(graph(numbers)).flat_map(graph(one)).skip(skip)

        # Resizing is slow: all cores work at the pictures of one batch instead of at two batches, and the first one comes sooner.
        fits = any(self.features[n].picture and self._size(split, n) != shape[:2] for n, shape in pictures.items())
        reading = {} if fits else parallel
        read = graph(lambda rows, *seed: seeded(fresh(rows), seed))
        if stored > IN_MEMORY:
            if sum(os.path.getsize(file) for file in self.files(split)) != self.info["splits"][split]["bytes"]:
                raise self.damage(split)
            data = passes(blocks).map(read, **reading)
        else:
            rows, key = self._serialized(split), (split, *pictures.items())
            decoded = stored + count * sum(math.prod(shape) for shape in pictures.values())  # bytes
            if decoded > DECODED or any(f.ragged for f in self.features.values()):
                data = passes(lambda n: within(n, 0, rows)).map(read, **reading)
            elif shuffle or augment:
                if key not in self._stores:
                    self._stores[key] = _Store(count, self._spec(pictures))
                data = passes(lambda n: kept(n, rows, self._stores[key]))
            else:  # every pass has the same batches
                key = (*key, *astuple(order), deterministic)
                if key not in self._stores:
                    self._stores[key] = within(tf.constant(0, tf.int64), 0, rows).map(read, **reading).cache()
                data = self._stores[key].repeat(repeat).skip(skip)
        for function in [lambda batch: self._padded(batch, pad)] * bool(pad) + [map] * bool(map):
            data = data.map(lambda batch, *seed, f=function: seeded(f(batch), seed), **parallel)
        if augment:
            data = data.map(augment, **parallel)
        return data.with_options(options).prefetch(2)

    def _spec(self, pictures: dict[str, tuple[int, int, int]]) -> dict:
        """Types and shapes of a batch ``[n, …]``."""
        import tensorflow as tf

        found = {}
        for name, feature in self.features.items():
            stored = feature.encoding == "text" or (feature.picture and name not in pictures)
            shape, dtype = ((), tf.string) if stored else (pictures[name], tf.uint8) if name in pictures else (feature.shape, feature.dtype)
            found[name] = tf.TensorSpec((None, *shape), dtype)
        return found

    def _lengths(self, rows, name: str):
        """Lengths of one feature of serialized examples, int64 ``[n]``."""
        import tensorflow as tf

        feature = self.features[name]
        values = schema.parse({name: feature}, rows)[name]
        if not feature.as_bytes or (feature.encoding == "text" and feature.shape):
            return tf.cast(values.row_lengths(), tf.int64)
        if feature.encoding == "text":
            return tf.cast(tf.strings.length(values, "UTF8_CHAR"), tf.int64)
        return tf.cast(tf.strings.length(values) // np.dtype(feature.dtype).itemsize, tf.int64)

    def _padded(self, batch: dict, pad: dict[str, object]) -> dict:
        """A batch in which the named features are dense, as long as the longest item."""
        import tensorflow as tf

        batch = dict(batch)
        for name, value in pad.items():
            feature = self.features[name]
            if feature.as_bytes and feature.encoding == "raw":
                if value:
                    raise ValueError(f"{name} is stored as bytes: it can be padded with 0 only")
                longest = tf.maximum(tf.reduce_max(tf.strings.length(batch[name])), np.dtype(feature.dtype).itemsize)
                batch[name] = tf.io.decode_raw(batch[name], feature.dtype, fixed_length=longest)
            else:
                batch[name] = batch[name].to_tensor(value)
        return batch


@dataclass(frozen=True)
class _Order:
    """Which examples make up which batch."""

    size: int
    shuffle: bool
    seed: int
    index: int
    count: int
    drop_remainder: bool
    bounds: tuple[int, ...]

    def plan(self, number, block, rows, lengths=None, seeds: bool = True):
        """Positions int64 ``[batches, size]`` of a block in one pass, -1 at the end of shorter batches, which come last; seeds int32 ``[batches, 2]``.

        TensorFlow's own operations alone: Python called in the middle of a dataset can hang when that is dropped.
        """
        import tensorflow as tf

        key = tf.stack([tf.cast(self.seed, tf.int64), number * 2**20 + tf.cast(block, tf.int64)])
        order = tf.range(tf.cast(rows, tf.int64))
        if self.shuffle:
            order = tf.random.experimental.stateless_shuffle(order, key)
        if self.drop_remainder:
            order = order[: tf.cast(rows, tf.int64) // self.count * self.count]
        order = order[self.index :: self.count]
        if self.bounds:
            bucket = tf.searchsorted(tf.constant(self.bounds, tf.int64), tf.gather(lengths, order))
            places = tf.concat([self._batched(tf.boolean_mask(order, bucket == b)) for b in range(len(self.bounds) + 1)], 0)
            whole = places[:, -1] >= 0
            full = places[whole]
            if self.shuffle:
                full = tf.random.experimental.stateless_shuffle(full, key + tf.constant([1, 0], tf.int64))
            places = full if self.drop_remainder else tf.concat([full, places[~whole]], 0)
        else:
            places = self._batched(order)
            places = places[: tf.size(order) // self.size] if self.drop_remainder else places
        seeds = tf.random.stateless_uniform((tf.shape(places)[0], 2), key + tf.constant([2, 0], tf.int64), 0, 2**31 - 1, tf.int32) if seeds else None
        return tf.ensure_shape(places, (None, self.size)), seeds

    def _batched(self, order):
        """Positions in rows of ``size``, the last one filled with -1."""
        import tensorflow as tf

        return tf.reshape(tf.pad(order, [[0, -tf.size(order) % self.size]], constant_values=-1), (-1, self.size))


class _Store:
    """A split parsed and decoded, filled while it is read for the first time."""

    def __init__(self, count: int, spec: dict):
        import tensorflow as tf

        def empty(shape, dtype):  # memory is taken when it is written
            return tf.Variable(tf.raw_ops.Empty(shape=(count, *shape), dtype=dtype), trainable=False)

        with tf.device("/CPU:0"):  # where datasets run, GPU or not
            self.values = {name: empty(s.shape[1:], s.dtype) for name, s in spec.items()}
            self.there = tf.Variable(tf.zeros([count], tf.bool), trainable=False)

    def has(self, places):
        """Whether all examples at these positions are there."""
        import tensorflow as tf

        return tf.reduce_all(tf.gather(self.there, places))

    def put(self, places, batch: dict) -> dict:
        """Keeps a batch, and returns it."""
        import tensorflow as tf

        done = [variable.scatter_update(tf.IndexedSlices(batch[name], places)) for name, variable in self.values.items()]
        with tf.control_dependencies(done):
            there = self.there.scatter_update(tf.IndexedSlices(tf.ones_like(places, tf.bool), places))
        with tf.control_dependencies([there]):
            return {name: tf.identity(value) for name, value in batch.items()}

    def take(self, places) -> dict:
        """The examples at these positions."""
        import tensorflow as tf

        return {name: tf.gather(variable, places) for name, variable in self.values.items()}
