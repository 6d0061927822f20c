r"""# Input pipelines: from queues to `tf.data`

TensorFlow 1 fed its graphs through *queues*: threads of their own filled them, a training step emptied them, coordinators and queue runners kept
both alive. `tf.data` says the same as a chain of functions on a stream. This lab runs the queue programs of B1 2.1.3 and B5 4.9 once more, with what
they print as facts, and each one's successor beside it.

| then | now |
| --- | --- |
| `string_input_producer(files, num_epochs=5)` | `from_tensor_slices(files).repeat(5)` |
| `shuffle_batch(capacity, min_after_dequeue=m)` | `.shuffle(b).batch(n)` with a buffer of $b = m$ items |
| `QueueRunner`, `Coordinator`, `start_queue_runners` | `.prefetch(2)` |
| `TFRecordReader` + `read` | `TFRecordDataset(files)` |
| a program that ends in `OutOfRangeError` | a loop that ends |

**A shuffle buffer is a window.** `shuffle(b)` holds $b$ items and hands out a random one. What comes out at position $i$ came in at position $i + b - 1$ or
before: a buffer of one shuffles nothing, and a data set sorted by class needs a buffer as large as itself. `shuffle` **before** `repeat` gives every item once
per pass; after it, passes mix.

**Overlap.** Reading an item takes $r$, computing on it $c$. One after the other, $n$ items take $n(r + c)$; with the next item read during the
computation they take $r + (n-1)\max(r, c) + c$; $k$ readers divide $r$ by $k$. B1's example is $r = 0.1$ s, $c = 0.9$ s: 1.0 s per item becomes 0.9 s. So a
prefetch gains most where both are equal, and a second reader only where reading is the slower half. `overlap.png` is the schedule; what this machine's
`tf.data` really takes goes into the run's timings, for a clock proves nothing in a test.

**A record** is a protocol buffer of named lists. `FixedLenFeature([])` reads a scalar, `VarLenFeature` a sparse tensor; `GZIP` and plain files give the same
items. B3 has it that a record file is loaded in one go: it is streamed. The network trained from these records at the end has B5's curve, 2.29
at the start and 0.49 after 1,000 steps.

`dlbooks predict input-pipeline-lab my_pictures/ -o packed` packs a folder of class folders into TFRecords with the names and metadata of TensorFlow Datasets. B1's
script for this takes the classes in directory order, which differs from machine to machine, goes by file names to tell PNG from JPEG, and loses the pictures of
a thread that died; here classes are sorted, contents decide, and a broken picture is an error with its path.
"""

import io
import itertools
import tempfile
import threading
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from pydantic import Field

from dlbooks import UserError, figures, images, records
from dlbooks.catalog import Chapter, Metric
from dlbooks.facts import Facts
from dlbooks.nn.classification import forward
from dlbooks.nn.metrics import accuracy
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="input-pipeline-lab",
    title="Input pipelines: from queues to tf.data",
    family="foundations",
    sources=["B1 2.1.3", "B1 3.2", "B5 4.9", "B5 4.10"],
    datasets=["mnist", "satellite", "sample-pictures"],
    headline="facts_failed",
    metrics={
        "facts_total": Metric(better="higher"),
        "facts_failed": Metric(better="lower", floor=0),
        "loss_step_0": Metric(better="lower", reported=2.29, source="B5 4.10.3"),
        "loss_step_100": Metric(better="lower", reported=2.05, source="B5 4.10.3"),
        "loss_step_500": Metric(better="lower", reported=0.86, source="B5 4.10.3"),
        "loss_step_1000": Metric(better="lower", reported=0.49, source="B5 4.10.3", floor=0.9),
        "test_accuracy": Metric(better="higher", floor=0.75),
        "records_written": Metric(better="higher"),
    },
    curves={"Loss of the network fed from records": ["loss"]},
    exports=False,
    picture="overlap.png",
    example="dlbooks predict input-pipeline-lab my_pictures/ -o packed",
)


class Params(ChapterParams):
    digits: int = Field(2000, ge=200, le=60_000)
    """digits written to and trained from records"""
    batch: int = Field(20, ge=1, le=1000)
    """digits per step"""
    learning_rate: float = Field(0.05, gt=0, le=10)
    """rate of plain gradient descent (0.01 in the book)"""
    steps: int = Field(1001, ge=101, le=100_000)
    """steps of the trainer"""
    tiles: int = Field(60, ge=12, le=6000)
    """satellite tiles laid out as a folder and packed"""
    items: int = Field(12, ge=4, le=1000)
    """items of the timed pipelines"""


# ## Queues
# A FIFO queue keeps order. A shuffling queue hands out a random element but always holds back `min_after_dequeue` of them: asked for one more, it *blocks* until
# somebody enqueues or closes it. So the ninth call waits in a thread, never in the program.
def queues(facts: Facts) -> None:
    fifo = tf.queue.FIFOQueue(3, tf.float32, shapes=[()])
    fifo.enqueue_many([[0.1, 0.2, 0.3]])
    for _ in range(2):
        fifo.enqueue(fifo.dequeue() + 1)
    facts.check("FIFO queue after two rounds of dequeue, +1, enqueue", fifo.dequeue_many(3).numpy(), [0.3, 1.1, 1.2], "B5 4.9.1", 1e-6)

    shuffled = tf.queue.RandomShuffleQueue(10, 2, tf.int32, shapes=[()], seed=1)
    shuffled.enqueue_many([tf.range(10)])
    taken = [int(shuffled.dequeue()) for _ in range(8)]
    facts.check("eight dequeues give distinct values of 0 … 9", len(set(taken) & set(range(10))), 8, "B5 4.9.1")
    facts.check("two elements are held back", int(shuffled.size()), 2, "B5 4.9.1")
    rest: list = []

    def drain():
        try:
            while True:
                rest.append(int(shuffled.dequeue()))
        except tf.errors.OutOfRangeError:
            rest.append("OutOfRangeError")

    waiting = threading.Thread(target=drain, daemon=True)
    waiting.start()
    waiting.join(0.2)
    facts.check("the ninth dequeue blocks", waiting.is_alive(), True, "B5 4.9.1")
    shuffled.close()
    waiting.join(10)
    facts.check("closing the queue lets the rest out", sorted([*taken, *rest[:2]]), list(range(10)), "TensorFlow")
    facts.check("and then ends it", rest[-1], "OutOfRangeError", "B5 4.9.1")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        stuck = tf.queue.FIFOQueue(1, tf.int32, shapes=[()]).dequeue()
        try:
            session.run(stuck, options=tf.compat.v1.RunOptions(timeout_in_ms=100))
            outcome = "returned"
        except tf.errors.DeadlineExceededError:
            outcome = "DeadlineExceededError"
    facts.check("a time limit on an empty queue", outcome, "DeadlineExceededError", "B5 4.9.1")


# ## Threads
# Two producers share a counter: each adds one, then enqueues what it reads. Nothing orders the two steps of one against those of the other, so all orders in
# which two threads of two rounds can interleave are played through. The book prints 4 9 12 15 18 …: gaps, where one thread counted on while the other waited.
def race(facts: Facts) -> None:
    outcomes = []
    for turns in interleavings(4):
        counter, queue, done = 0, [], {"A": 0, "B": 0}
        for thread in turns:
            if done[thread] % 2 == 0:
                counter += 1
            else:
                queue.append(counter)
            done[thread] += 1
        outcomes.append(queue)
    facts.check("interleavings of two threads with four steps each", len(outcomes), 70, "8! / (4! 4!)")
    facts.check("the k-th value is at least k", all(v >= k for q in outcomes for k, v in enumerate(q, 1)), True, "B5 4.9.2")
    facts.check("a value can come twice", any(len(set(q)) < 4 for q in outcomes), True, "two reads after two increments")
    facts.check("1 2 3 4 in so many of them", sum(q == [1, 2, 3, 4] for q in outcomes), 6, "each increment followed by its own read")
    book = [4, 9, 12, 15, 18, 22, 25, 27, 32, 35]
    facts.check("the printed run is one of those that can happen", all(v >= k for k, v in enumerate(book, 1)), True, "B5 4.9.2")

    lock, stop, seen = threading.Lock(), threading.Event(), []

    def produce():
        while not stop.is_set():
            with lock:
                if len(seen) == 10:
                    stop.set()
                else:
                    seen.append(len(seen) + 1)

    threads = [threading.Thread(target=produce) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    facts.check("with one lock around both steps", seen, list(range(1, 11)), "B5 4.9.2")
    facts.check("a stop event and join end every thread", any(t.is_alive() for t in threads), False, "B5 4.9.2")


def interleavings(steps: int) -> list[str]:
    """All orders in which two threads of ``steps`` steps each can run."""
    places = itertools.combinations(range(2 * steps), steps)
    return ["".join("A" if i in chosen else "B" for i in range(2 * steps)) for chosen in map(set, places)]


# ## Epochs and order
def order(run, facts: Facts) -> None:
    names = ["A.jpg", "B.jpg", "C.jpg"]
    files = tf.data.Dataset.from_tensor_slices(names)
    plain = read_out(files.repeat(5))
    facts.check("five epochs in order", " ".join(plain), " ".join(names * 5), "B1 2.1.3")
    triples = np.array(read_out(files.shuffle(3, seed=run.params.seed).repeat(5))).reshape(5, 3)
    facts.check("shuffle before repeat: every pass has each file once", all(sorted(t) == names for t in triples), True, "tf.data")
    mixed = np.array(read_out(files.repeat(5).shuffle(15, seed=run.params.seed))).reshape(5, 3)
    facts.check("repeat before shuffle: passes mix", all(sorted(t) == names for t in mixed), False, "tf.data")
    pictures = run.records("sample-pictures").arrays("train")
    cards = dict(zip((n.decode() for n in pictures["image/filename"]), pictures["image"], strict=True))
    (run.out / "read").mkdir()
    for number, name in enumerate(plain, 1):
        (run.out / "read" / f"test_{number}.jpg").write_bytes(cards[name])
    facts.check("pictures written by the reading loop", len(list((run.out / "read").iterdir())), 15, "B1 2.1.3")
    for buffer in (1, 3, 10):
        got = list(tf.data.Dataset.range(10).shuffle(buffer, seed=3).as_numpy_iterator())
        facts.check(
            f"buffer {buffer}: position i holds at most i + {buffer - 1}", all(v <= i + buffer - 1 for i, v in enumerate(got)), True, "tf.data"
        )
        if buffer == 1:
            facts.check("a buffer of one shuffles nothing", got, list(range(10)), "tf.data")
    facts.check("B1's buffer for CIFAR-10", int(0.4 * 50_000), 20_000, "B1 2.1.3")

    def generate():
        yield from names

    text = tf.TensorSpec((), tf.string)
    facts.check(
        "a generator feeds the same items", read_out(tf.data.Dataset.from_generator(generate, output_signature=text)) == names, True, "B5 4.10.1"
    )


def read_out(dataset) -> list[str]:
    return [item.decode() for item in dataset.as_numpy_iterator()]


# ## Records
# B5's schema: three sizes, the label, and the picture's bytes. Pixels come back as $x/255 - \frac12$.
def write_digits(path: Path, digits: dict[str, np.ndarray], compression: str = "") -> None:
    def integers(value):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value)]))

    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for image, label in zip(digits["image"], digits["label"], strict=True):
            raw = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()]))
            sizes = {k: integers(v) for k, v in zip(("height", "width", "depth"), image.shape, strict=True)}
            example = tf.train.Example(features=tf.train.Features(feature={**sizes, "label": integers(label), "image_raw": raw}))
            writer.write(example.SerializeToString(deterministic=True))


def parse_digits(serialized):
    """A batch of serialized examples → pixels float32 ``[B, 784]`` in −½ … ½ and labels."""
    spec = {"image_raw": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
    parsed = tf.io.parse_example(serialized, spec)
    pixels = tf.ensure_shape(tf.io.decode_raw(parsed["image_raw"], tf.uint8), (None, 784))
    return tf.cast(pixels, tf.float32) / 255 - 0.5, parsed["label"]


def round_trip(facts: Facts, folder: Path, digits: dict[str, np.ndarray]) -> None:
    for name, compression in (("plain", ""), ("packed", "GZIP")):
        write_digits(folder / name, digits, compression)
    stored = [list(tf.data.TFRecordDataset(str(folder / n), c).as_numpy_iterator()) for n, c in (("plain", ""), ("packed", "GZIP"))]
    facts.check("GZIP gives the same items", stored[0] == stored[1], True, "B5 4.10.3")
    pixels, labels = parse_digits(tf.constant(stored[0]))
    facts.check(
        "pixels come back to the bit", np.rint((pixels.numpy() + 0.5) * 255).reshape(-1, 28, 28, 1).astype(np.uint8), digits["image"], "B5 4.10.3"
    )
    facts.check("labels come back", labels.numpy(), digits["label"], "B5 4.10.3")
    facts.check("pixels lie in −½ … ½", float(np.abs(pixels).max()) <= 0.5, True, "B5 4.10.3")
    spec = {"height": tf.io.FixedLenFeature([], tf.int64), "depth": tf.io.VarLenFeature(tf.int64)}
    one = tf.io.parse_single_example(stored[0][0], spec)
    facts.check("FixedLenFeature([]) reads a scalar", [*one["height"].shape, int(one["height"])], [28], "B5 4.10.3")
    facts.check("VarLenFeature reads a sparse tensor", type(one["depth"]).__name__, "SparseTensor", "B5 4.10.3")


# ## A network fed from records
# 784–128–32–10, the pipeline inside one compiled loop: read, shuffle, batch, parse, prefetch.
def build(params: Params) -> keras.Model:
    def dense(units, inputs, **options):
        start = keras.initializers.TruncatedNormal(stddev=1 / inputs**0.5)
        return keras.layers.Dense(units, kernel_initializer=start, **options)

    pixels = keras.Input((784,), name="pixels")
    x = dense(32, 128, activation="relu", name="hidden2")(dense(128, 784, activation="relu", name="hidden1")(pixels))
    return keras.Model(pixels, dense(10, 32, name="logits")(x))


def train(run):
    p, digits = run.params, {k: v[: run.params.digits] for k, v in run.records("mnist").arrays("train").items()}
    model = build(p)
    optimizer = keras.optimizers.SGD(p.learning_rate)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(pixels, labels):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model(pixels, training=True)))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    with tempfile.TemporaryDirectory() as temporary:
        path = str(Path(temporary) / "digits.tfrecord")
        write_digits(Path(path), digits)
        pipeline = tf.data.TFRecordDataset(path).shuffle(len(digits["label"]), seed=p.seed).repeat()
        pipeline = pipeline.batch(p.batch, drop_remainder=True).map(parse_digits).prefetch(2)
        for number, batch in enumerate(run.progress(pipeline.take(p.steps), "steps", total=p.steps)):
            loss = step(*batch)
            if number % 100 == 0:
                run.log(number, loss=loss)
    run.save(model)


# ## Packing a folder
# B1's plan cuts $n$ files into one range per worker and every range into `shards / workers` files, by ⌊linspace⌋ both times.
def plan(n: int, shards: int, workers: int) -> list[range]:
    """Files of every shard. ``workers`` must divide ``shards``."""
    if shards % workers:
        raise UserError(f"{workers} workers do not divide {shards} shards: give every worker the same number")
    ranges = []
    per_worker = np.linspace(0, n, workers + 1).astype(int)
    for first, last in itertools.pairwise(per_worker):
        ranges += [range(a, b) for a, b in itertools.pairwise(np.linspace(first, last, shards // workers + 1).astype(int))]
    return ranges


FEATURES = {
    "image": records.Feature("uint8", (None, None, 3), "jpeg"),
    "image/filename": records.Feature("string", encoding="text"),
}


def pack(folder: Path, out: Path, validation_share: float, shards: int, seed: int) -> dict:
    """Class folders → records with metadata; returns their ``stats.json``. Every picture is decoded once, so that none is broken."""
    names = sorted(p.name for p in folder.iterdir() if p.is_dir())
    if len(names) < 2:
        raise UserError(f"{folder}: needs a folder per class, two at least, found {', '.join(names) or 'none'}")
    items = []
    for label, name in enumerate(names):
        found = sorted(p for p in (folder / name).iterdir() if p.suffix.lower() in images.SUFFIXES)
        if not found:
            raise UserError(f"{folder / name}: an empty class folder")
        items += [(path, label) for path in found]
    order = np.random.default_rng(seed).permutation(len(items))
    held = int(len(items) * validation_share)

    def read(chosen):
        for index in chosen:
            path, label = items[index]
            picture, data = images.read(path), path.read_bytes()
            if not data.startswith(b"\xff\xd8"):  # what it is, not what its name says
                buffer = io.BytesIO()
                Image.fromarray(picture).save(buffer, "JPEG", quality=95)
                data = buffer.getvalue()
            yield {"image": data, "image/filename": f"{names[label]}/{path.name}", "label": label}

    features = {**FEATURES, "label": records.Feature(names=tuple(names))}
    splits = {"train": read(order[held:]), "validation": read(order[:held])}
    return records.write(out, name=out.name, version="1.0.0", features=features, splits=splits, shards=shards, seed=seed)


def packing(run, facts: Facts, folder: Path) -> None:
    facts.check("4,800 files, 2 shards, 2 workers", [len(r) for r in plan(4800, 2, 2)], [2400, 2400], "B1 3.2")
    facts.check("10 files, 4 shards, 2 workers", [len(r) for r in plan(10, 4, 2)], [2, 3, 2, 3], "B1 3.2")
    rng = run.random("plans")
    whole = True
    for _ in range(200):
        workers, each, n = int(rng.integers(1, 9)), int(rng.integers(1, 6)), int(rng.integers(0, 5000))
        whole &= list(itertools.chain(*plan(n, workers * each, workers))) == list(range(n))
    facts.check("200 random plans hold every file once", whole, True, "B1 3.2")

    tiles = run.records("satellite").arrays("train")
    names = run.records("satellite").names()
    for number in np.argsort(tiles["image/filename"], kind="stable")[:: max(1, len(tiles["label"]) // run.params.tiles)][: run.params.tiles]:
        place = folder / "pictures" / names[tiles["label"][number]] / Path(tiles["image/filename"][number].decode()).name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(tiles["image"][number])
    stats = [pack(folder / "pictures", folder / name / "tiles", 0.2, 2, 12345) for name in ("once", "twice")]
    count = len(list((folder / "pictures").rglob("*.jpg")))
    splits = stats[0]["splits"]
    facts.check("a fifth goes to validation", splits["validation"]["examples"], int(count * 0.2), "B1 3.2")
    facts.check("every picture is in a record", splits["train"]["examples"] + splits["validation"]["examples"], count, "B1 3.2")
    contents = [{p.relative_to(folder / n): p.read_bytes() for p in (folder / n).rglob("*") if p.is_file()} for n in ("once", "twice")]
    facts.check("two packings give the same bytes", list(contents[0].values()) == list(contents[1].values()), True, "records")
    back = records.Records(folder / "once" / "tiles")
    facts.check(
        "classes are the folders' names, sorted", " ".join(back.names()), " ".join(sorted(p.name for p in (folder / "pictures").iterdir())), "B1 3.2"
    )
    run.table("shards.csv", [{"class": n, **{s: splits[s]["classes"][n] for s in splits}} for n in back.names()])
    show(run, back)


# ## Pictures in batches
# Shuffled paths and labels must come from *one* permutation (TF 1 programs shuffled two lists with equal seeds); `prefetch` stands last.
def show(run, packed: records.Records) -> None:
    def decode(item):
        picture = tf.map_fn(lambda x: tf.image.resize(tf.io.decode_jpeg(x, 3), (192, 192)), item["image"], fn_output_signature=tf.float32)
        return {"image": picture / 255, "label": item["label"]}

    batch = next(iter(packed.batches("train", 8, shuffle=True, seed=run.params.seed, map=decode)))
    captions = [packed.names()[k] for k in batch["label"].numpy()]
    picture = figures.grid(batch["image"].numpy(), 4, captions, "A batch as the network gets it: 192 × 192, pixels in 0 … 1", 1.6)
    run.figure("batch.png", picture, "Eight tiles of one shuffled batch with their classes, decoded and resized inside the pipeline")


# ## Overlap
def schedule(items: int, read: float, compute: float, prefetch: bool, readers: int = 1) -> list[tuple[float, float, float, float]]:
    """(start of reading, its end, start of computing, its end) of every item, in the units of ``read`` and ``compute``."""
    rows, free, done = [], [0.0] * readers, 0.0
    for _ in range(items):
        slot = min(range(readers), key=lambda k: free[k])
        start = free[slot] if prefetch else done
        free[slot] = start + read
        begin = max(free[slot], done)
        done = begin + compute
        rows.append((start, free[slot], begin, done))
    return rows


SETTINGS = {"one after the other": (False, 1), "prefetch": (True, 1), "two readers": (True, 2)}
LOADS = {"reading is slower": (12, 6), "computing is slower": (6, 12)}


def overlap(run, facts: Facts) -> None:
    for read, compute in [(0.1, 0.9), *LOADS.values()]:
        n, ends = 50, {name: schedule(50, read, compute, *setting)[-1][3] for name, setting in SETTINGS.items()}
        label = f"read {read:g}, compute {compute:g}, {n} items"
        facts.check(f"{label}: in sequence", ends["one after the other"], n * (read + compute), "n (r + c)", 1e-6)
        facts.check(f"{label}: prefetch", ends["prefetch"], read + (n - 1) * max(read, compute) + compute, "r + (n − 1) max(r, c) + c", 1e-6)
        facts.check(f"{label}: a second reader never costs", ends["two readers"] <= ends["prefetch"], True, "schedule")
    facts.check("B1's example, seconds per item in the long run", schedule(1000, 0.1, 0.9, True)[-1][3] / 1000, 0.9, "B1 2.1.3", 1e-3)
    caption = "Reading (orange) and computing (blue) of six items: overlap hides the shorter half, a second reader helps only where reading is the longer one"
    run.figure("overlap.png", overlap_figure(), caption)
    run.timing(**measured(run.params.items))


def overlap_figure():
    figure, axes = figures.new(9.0, 4.4, 3, 2, sharex=True)
    for column, (load, (read, compute)) in enumerate(LOADS.items()):
        for row, (name, setting) in enumerate(SETTINGS.items()):
            cell, rows = axes[row, column], schedule(6, read, compute, *setting)
            for number, (start, end, begin, done) in enumerate(rows):
                line = 1.1 if setting[1] == 1 else 1.1 + 0.5 * (number % 2)
                cell.barh(line, end - start, left=start, height=0.42, color=figures.COLORS[1], edgecolor="white")
                cell.barh(0.4, done - begin, left=begin, height=0.5, color=figures.COLORS[0], edgecolor="white")
                cell.text((begin + done) / 2, 0.4, str(number + 1), color="white", ha="center", va="center", fontsize=8)
            cell.set(
                yticks=(0.4, 1.1),
                yticklabels=("compute", "read"),
                ylim=(0, 2),
                title=f"{name}: {rows[-1][3]:g} ms" + (f"   ({load}: {read} and {compute} ms)" if row == 0 else ""),
            )
            cell.title.set_fontsize(9)
            cell.grid(False)
    for cell in axes[-1]:
        cell.set_xlabel("ms")
    return figure


def measured(items: int) -> dict[str, float]:
    """Seconds per item of real pipelines that sleep where others read; nothing is asserted about them."""

    def read(number):
        time.sleep(0.006)
        return number

    data = tf.data.Dataset.range(items).map(lambda n: tf.py_function(read, [n], tf.int64))
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False  # tf.data adds one by itself, which is what is to be measured
    found = {}
    for name, pipeline in (("in_sequence", data), ("with_prefetch", data.prefetch(2))):
        began = time.monotonic()
        for _ in pipeline.with_options(options):
            time.sleep(0.006)
        found[f"per_item_{name}"] = (time.monotonic() - began) / items
    return found


# ## Evaluation
def evaluate(run) -> dict:
    facts = Facts()
    queues(facts)
    race(facts)
    order(run, facts)
    test = run.records("mnist").arrays("test")
    with tempfile.TemporaryDirectory() as temporary:
        round_trip(facts, Path(temporary), {k: v[:50] for k, v in test.items()})
        packing(run, facts, Path(temporary))
    overlap(run, facts)
    run.table("facts.csv", facts.rows)
    model = run.load(build(run.params))
    logits = forward(model)(test["image"].reshape(-1, 784).astype(np.float32) / 255 - 0.5)
    losses = dict(run.series["loss"])
    last = max(losses)
    return {
        **facts.metrics(),
        **{f"loss_step_{step}": losses[min(step, last)] for step in (0, 100, 500, 1000)},
        "test_accuracy": accuracy(logits, test["label"]),
        "records_written": min(run.params.digits, run.records("mnist").count("train")),
    }


# ## Use
def predict(run, inputs: list[str], out: Path | None = None, *, shards: int = 2, validation_share: float = 0.2, seed: int = 12345):
    if len(inputs) != 1 or not Path(inputs[0]).is_dir():
        raise UserError("give one folder that holds a folder of pictures per class")
    if out is None:
        raise UserError("say where to with -o: dlbooks predict input-pipeline-lab my_pictures/ -o packed")
    if not 0 <= validation_share < 1 or not 1 <= shards <= 1000:
        raise UserError(f"validation_share = {validation_share:g}, shards = {shards}: the share is in 0 … 1, shards in 1 … 1000")
    stats = pack(Path(inputs[0]), out, validation_share, shards, seed)
    for split, found in stats["splits"].items():
        print(f"{split}: {found['examples']} pictures, " + ", ".join(f"{name} {count}" for name, count in found["classes"].items()))
    print(f"records with metadata in {out / '1.0.0'}: tfds.builder_from_directory reads them, and so does dlbooks.records.Records")
