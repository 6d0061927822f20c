"""The data layer against TensorFlow Datasets, a PyTorch DataLoader and bare libjpeg-turbo, on two cores with a warm page cache.

    python benchmarks/data.py [--mirror FOLDER] [--torch /path/to/python] [--scratch FOLDER] [--gigabytes 10] [case …]

Cases (default: all):

- `write`: MNIST's 70,000 digits and the 60,000 JPEG files of CIFAR-10 from raw files to records. TFDS's side is a builder as its guide writes one,
  with its own MNIST features (digits become PNG), the JPEG files' bytes handed on as they are; shuffled and ordered, and the faster one counts.
- `read`: examples per second in batches of 128, decoded, TFDS reading what TFDS wrote. The first pass reads and decodes; three more, of the same
  iterator, find what either side keeps in memory. TFDS reads as its performance guide says (automatic cache, a shuffle buffer as large as the split,
  prefetch), and once more tuned: two decoders, a private pool of two threads, any order. The fastest counts, for each figure by itself.
- `satellite`: 256 × 256 JPEG, every pass decoded, against a loop of two processes that decode the same files' bytes from memory and keep nothing, and
  against a DataLoader of two workers, already started, over the same files. Every decoder that their interpreter has is tried; the fastest counts.
  A loop that decodes into one and the same buffer (simplejpeg) is shown beside them: it never waits for memory, as whoever keeps pictures must.
- `first`: seconds to the first batch of every split of every data set, each in a process that has imported TensorFlow and nothing more.
- `memory`: a split of 10 GB (raw pictures of 256 × 256), written and read once, in order and shuffled: peak memory.

Sides run in processes of their own, pinned to two cores, in turns; medians of three are compared. The first pass begins with building its pipeline,
after the test split has warmed up either library. Without a mirror of upstream's files (DLBOOKS_MIRROR or --mirror) twins of the same size are drawn.

PyTorch, torchvision, OpenCV and simplejpeg are no dependencies of this project: name an interpreter that has them, for example one made by
`python -m venv torchenv && torchenv/bin/pip install torch torchvision opencv-python-headless pillow simplejpeg`.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

CORES, ROUNDS, PASSES, BATCH = 2, 3, 4, 128
SETS = {"mnist": {"validation": 5000, "shards": 4}, "cifar10": {"edition": "jpeg", "validation": 5000, "shards": 4}, "satellite": {"shards": 4}}
NAMES = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())
BIG = "ten-gigabytes"


# ── what is measured on ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def core(profile: str = "book") -> None:
    """Makes this a process of the project: imports come after the environment."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    from dlbooks import runtime

    os.environ.update(runtime.environment(profile))
    runtime.load_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(CORES)


def parameters_of(name: str, real: bool):
    """Data set's declaration, module and parameters."""
    from dlbooks import catalog, params, runtime

    found = catalog.dataset(name)
    if name in SETS and (real or name == "cifar10"):  # CIFAR-10's twin is turned into JPEG files, which then stand for upstream's
        chosen = found.params(twin=False, **SETS[name])
    elif name in SETS:
        size = {"mnist": {"train": 60_000, "test": 10_000}}.get(name, {"train": 800, "validation": 200})
        chosen = found.params(**{**SETS[name], **size})
    else:
        values = params.read(runtime.root() / "params.yaml")
        chosen = params.validate(found.params, params.section(values, f"data.{name}", "book" if real else "mini"), name)
    return found.declaration, catalog.load(found.declaration), chosen


def prepare(scratch: Path, name: str) -> dict:
    """Raw files and our records of one data set; whether they are upstream's."""
    core()
    from dlbooks import UserError, fetch

    raw, folder, real = scratch / "raw" / name, scratch / "tfrecords" / name, bool(os.environ.get("DLBOOKS_MIRROR"))
    declaration, module, chosen = parameters_of(name, real)
    if real:
        try:
            fetch.fetch(declaration, module, chosen, raw)
        except UserError as error:
            print(f"{name}: a twin, because {error}", file=sys.stderr)
            real = False
            declaration, module, chosen = parameters_of(name, real)
    if not real:
        (jpeg_twin if name in ("cifar10", "satellite") else fetch.fetch)(declaration, module, chosen, raw)
    fetch.preprocess(declaration, module, chosen, raw, folder)
    if name == "satellite":
        with zipfile.ZipFile(raw / "satellite.zip") as archive:
            for member in (n for n in archive.namelist() if "/train/" in n):
                file = scratch / "files" / "/".join(member.split("/")[-2:])
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(archive.read(member))
    return {"real": real}


def jpeg_twin(declaration, module, chosen, raw: Path) -> None:
    """CIFAR-10's JPEG edition and satellite's large tiles, of drawn pictures."""
    import io

    import numpy as np
    from PIL import Image

    from dlbooks import archives, digests, fetch

    def jpeg(pixels, side):
        data = io.BytesIO()
        Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(data, "JPEG", quality=90)
        return data.getvalue()

    members = {}
    if declaration.id == "cifar10":
        raw.mkdir(parents=True)
        for part, count, stream in (("train", 50_000, 0), ("test", 10_000, 1)):
            for i, (pixels, label) in enumerate(zip(*module.draw(count, stream), strict=True)):
                members[f"{part}/{NAMES[label]}/{i:05d}.jpg"] = jpeg(pixels, 32)
    else:
        fetch.fetch(declaration, module, chosen, raw)
        with zipfile.ZipFile(raw / "satellite.zip") as archive:
            for member in archive.namelist():
                with Image.open(io.BytesIO(archive.read(member))) as tile:
                    members[member] = jpeg(np.asarray(tile.convert("RGB")), 256)
    archives.pack(raw / f"{declaration.id}.zip", members)
    digests.write(raw)


# ── write ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def our_writing(scratch: Path, name: str, real: str) -> dict:
    core()
    from dlbooks import fetch

    declaration, module, chosen = parameters_of(name, real == "real")
    target = scratch / "written" / name
    began = time.perf_counter()
    fetch.preprocess(declaration, module, chosen, scratch / "raw" / name, target)
    return {"seconds": time.perf_counter() - began}


def tfds_writing(scratch: Path, name: str, order: str) -> dict:
    """TFDS's own writer; ``order`` is shuffled, its default, ordered, or plain (digits as bytes of a Tensor instead of PNG)."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import gzip

    import numpy as np
    import tensorflow as tf
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    raw = scratch / "raw" / name

    def digits(part):
        with gzip.open(raw / f"{part}-images-idx3-ubyte.gz") as images, gzip.open(raw / f"{part}-labels-idx1-ubyte.gz") as labels:
            pixels = np.frombuffer(images.read()[16:], np.uint8).reshape(-1, 28, 28, 1)
            for i, (image, label) in enumerate(zip(pixels, labels.read()[8:], strict=True)):
                yield i, {"image": image, "label": label, "index": i}

    def photos(part):
        with zipfile.ZipFile(raw / "cifar10.zip") as archive:
            for i, member in enumerate(n for n in archive.namelist() if n.startswith(part)):
                yield i, {"image": archive.read(member), "label": member.split("/")[1], "index": i}

    if name == "mnist":
        image, examples, test = tfds.features.Image(shape=(28, 28, 1)), digits, "t10k"
        label = tfds.features.ClassLabel(num_classes=10)
        if order == "plain":
            image = tfds.features.Tensor(shape=(28, 28, 1), dtype=np.uint8, encoding="bytes")
    else:
        image, examples, test = tfds.features.Image(shape=(32, 32, 3), encoding_format="jpeg"), photos, "test"
        label = tfds.features.ClassLabel(names=NAMES)

    class Copy(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict({"image": image, "label": label, "index": tf.int64})
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=order == "ordered")

        def _split_generators(self, _):
            return {"train": examples("train"), "test": examples(test)}

        def _generate_examples(self, part):
            raise NotImplementedError  # the generators stand in `_split_generators`

    target = scratch / "tfds" / f"{name}-{order}"
    shutil.rmtree(target, ignore_errors=True)
    began = time.perf_counter()
    Copy(data_dir=target).download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    return {"seconds": time.perf_counter() - began}


# ── read ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def passes(make, count: int) -> dict:
    """Examples per second of the first pass and of those after it; ``make(split, repeat)`` builds a dataset; its train split has ``count``."""
    for _ in make("test", 2):
        pass
    marks, seen = [time.perf_counter()], 0
    for batch in make("train", PASSES):
        seen += len(batch["label"])
        if seen == count * len(marks):
            marks.append(time.perf_counter())
    if len(marks) != PASSES + 1:
        sys.exit(f"{len(marks) - 1} passes of {count} examples seen, expected {PASSES}")
    return {"first": count / (marks[1] - marks[0]), "later": count * (PASSES - 1) / (marks[-1] - marks[1])}


def warm(folder: Path) -> None:
    """Puts every file into the page cache."""
    for file in folder.rglob("*"):
        if file.is_file():
            file.read_bytes()


def our_reading(scratch: Path, name: str, order: str) -> dict:
    core()
    from dlbooks.records import Records

    folder = scratch / "tfrecords" / name
    warm(folder)

    def make(split, repeat):
        return Records(folder).batches(split, BATCH, shuffle=order == "shuffled", repeat=repeat, decode=True)

    return passes(make, Records(folder).count("train"))


def our_decoding(scratch: Path, name: str) -> dict:
    """Pictures per second of a split that is too large to be kept decoded, in the middle one of three passes: as much is decoded ahead at its
    beginning as at its end."""
    core()
    from dlbooks.records import DECODED, Records

    records = Records(scratch / "tfrecords" / name)
    count, marks, seen, size = records.count("train"), [], 0, 0
    for batch in records.batches("train", BATCH, decode=True, repeat=3):
        seen, size = seen + len(batch["label"]), size + batch["image"].shape.num_elements()
        if seen in (count, 2 * count):
            marks.append(time.perf_counter())
    if size < 3 * DECODED:
        sys.exit(f"{name} is kept in memory: this would measure no decoding")
    return {"first": count / (marks[1] - marks[0])}


def tfds_reading(scratch: Path, name: str, order: str, settings: str) -> dict:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf
    import tensorflow_datasets as tfds

    tf.config.threading.set_intra_op_parallelism_threads(CORES)
    (found,) = (scratch / "tfds" / f"{name}-shuffled").glob("*/1.0.0")
    warm(found)
    builder = tfds.builder_from_directory(found)

    def make(split, repeat):
        config = tfds.ReadConfig()
        if settings == "tuned":
            options = tf.data.Options()
            options.deterministic = False
            options.threading.private_threadpool_size = CORES
            options.threading.max_intra_op_parallelism = 1
            config = tfds.ReadConfig(options=options, num_parallel_calls_for_decode=CORES, interleave_cycle_length=1, skip_prefetch=True)
        data = builder.as_dataset(split=split, read_config=config)
        if order == "shuffled":
            data = data.shuffle(builder.info.splits[split].num_examples)
        return data.batch(BATCH).repeat(repeat).prefetch(tf.data.AUTOTUNE)

    return passes(make, builder.info.splits["train"].num_examples)


# ── bare decoding and PyTorch, without this project's code ──────────────────────────────────────────────────────────────────────


def decoder_of(name: str):
    """A function of a JPEG file's bytes that returns RGB pixels."""
    import numpy as np

    if name == "Pillow":
        import io

        from PIL import Image

        return lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    if name == "torchvision":
        import torch
        from torchvision.io import decode_jpeg

        return lambda data: decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    if name == "one buffer":
        import simplejpeg

        buffer = np.empty((256, 256, 3), np.uint8)
        return lambda data: simplejpeg.decode_jpeg(data, buffer=buffer)
    import cv2

    cv2.setNumThreads(1)
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    return lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), flags)


def bare(scratch: Path, decoder: str) -> dict:
    """Pictures per second of as many processes as cores, from a common start to the end of the last."""
    import multiprocessing

    global share  # what a forked process finds without its being sent
    files = [p.read_bytes() for p in sorted((scratch / "files").rglob("*.jpg"))]
    start = time.monotonic() + 2

    def share(k):
        decode = decoder_of(decoder)
        for data in files[:100]:
            decode(data)
        time.sleep(max(0, start - time.monotonic()))
        for data in files[k::CORES]:
            decode(data)
        return time.monotonic()

    with multiprocessing.get_context("fork").Pool(CORES) as pool:
        ends = pool.map(share, range(CORES), chunksize=1)
    return {"first": len(files) / (max(ends) - start)}


def loader(scratch: Path, decoder: str) -> dict:
    """Pictures per second of a DataLoader over a folder of classes; its workers stand since the pass before."""
    import torch

    files = sorted((scratch / "files").rglob("*.jpg"))
    classes = {name: k for k, name in enumerate(sorted({p.parent.name for p in files}))}

    class Folder(torch.utils.data.Dataset):
        def __len__(self):
            return len(files)

        def __getitem__(self, i):
            label = classes[files[i].parent.name]
            if decoder == "torchvision":
                from torchvision.io import decode_jpeg, read_file

                return decode_jpeg(read_file(str(files[i]))), label
            self.decode = getattr(self, "decode", None) or decoder_of(decoder)
            return torch.as_tensor(self.decode(files[i].read_bytes())), label

    import warnings

    warnings.simplefilter("ignore")  # Pillow's arrays are read-only
    data = torch.utils.data.DataLoader(Folder(), BATCH, num_workers=CORES, persistent_workers=True)
    for _ in range(2):
        began, count = time.perf_counter(), 0
        for _, labels in data:
            count += len(labels)
    return {"first": count / (time.perf_counter() - began)}


# ── first batch and memory ──────────────────────────────────────────────────────────────────────────────────────────────────────


def first_batches(scratch: Path, *names: str) -> dict:
    """The slowest first batch of each data set: seconds and which split; each is a fork of a process that has imported everything."""
    core()
    import numpy  # noqa: F401

    from dlbooks.records import Records

    def seconds(folder, split, shuffle):
        began = time.perf_counter()
        read = Records(folder)
        pictures = [n for n, f in read.features.items() if f.picture and None in f.shape]
        one_size = set(pictures) <= set(read.info["splits"][split].get("sizes", {}))
        next(iter(read.batches(split, BATCH, shuffle=shuffle, decode=one_size or (224, 224))), None)
        return time.perf_counter() - began

    found = {}
    for name in names:
        folder = scratch / "tfrecords" / name
        for split in Records(folder).info["splits"]:
            for shuffle in (False, True):
                read_end, write_end = os.pipe()
                if not (child := os.fork()):
                    os.write(write_end, json.dumps(seconds(folder, split, shuffle)).encode())
                    os._exit(0)
                os.close(write_end)
                with os.fdopen(read_end) as answer:
                    text = answer.read()
                os.waitpid(child, 0)
                if not text:
                    sys.exit(f"{name} {split} gave no batch")
                found[name] = max(found.get(name, (0, "")), (json.loads(text), f"{split}{', shuffled' if shuffle else ''}"))
    return found


def peak() -> float:
    """Peak resident memory of this process, and of its children that have ended, in GB."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * 1024 / 1e9


def big_writing(scratch: Path, gigabytes: str) -> dict:
    core()
    import numpy as np

    from dlbooks import records
    from dlbooks.records import Feature, Rows

    side = 256
    count = int(float(gigabytes) * 1e9 / (side * side * 3))

    def make(i):
        return {"image": np.random.default_rng(i).integers(0, 256, (side, side, 3), np.uint8), "label": i % 10, "index": i}

    features = {"image": Feature("uint8", (side, side, 3)), "label": Feature(names=NAMES), "index": Feature()}
    began = time.perf_counter()
    splits = {"train": Rows(range(count), make), "test": Rows(range(BATCH), make)}
    records.write(scratch / "tfrecords" / BIG, name=BIG, version="1.0.0", features=features, splits=splits, shards=16)
    return {"gigabytes": count * side * side * 3 / 1e9, "seconds": time.perf_counter() - began, "peak": peak()}


def big_reading(scratch: Path, order: str) -> dict:
    core()
    from dlbooks.records import Records

    began, size, waited = time.perf_counter(), 0, None
    for batch in Records(scratch / "tfrecords" / BIG).batches("train", BATCH, shuffle=order == "shuffled"):
        waited = waited or time.perf_counter() - began
        size += len(batch["label"]) * 256 * 256 * 3
    return {"rate": size / 1e9 / (time.perf_counter() - began), "peak": peak(), "waited": waited, "gigabytes": size / 1e9}


# ── in turns ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

MEASURES = {
    f.__name__: f
    for f in (prepare, our_writing, tfds_writing, our_reading, our_decoding, tfds_reading, bare, loader, first_batches, big_writing, big_reading)
}


def measured(scratch: Path, measure: str, *words: str, interpreter: str = sys.executable) -> dict:
    """What one process of its own says about itself."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(CORES), "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [interpreter, __file__, "--measure", measure, str(scratch), *words],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{measure} {' '.join(words)} failed:\n{done.stderr}")
    if measure == "prepare" and (note := [line for line in done.stderr.splitlines() if "a twin, because" in line]):
        print(*note, sep="\n")
    return json.loads(done.stdout.splitlines()[-1])


def in_turns(scratch: Path, kinds: dict[str, tuple], interpreters: dict[str, str] | None = None) -> dict[str, dict]:
    """Medians of every number of every kind; a kind is the words of its measure."""
    found = {kind: [] for kind in kinds}
    for _ in range(ROUNDS):
        for kind, words in kinds.items():
            found[kind].append(measured(scratch, *words, interpreter=(interpreters or {}).get(kind, sys.executable)))
    return {kind: {key: statistics.median(one[key] for one in ones) for key in ones[0]} for kind, ones in found.items()}


class Table:
    """What is printed at the end: our figure, the other one, their ratio, the bar and whether it is reached."""

    def __init__(self):
        self.rows: list[tuple[str, str, str, str, str, str]] = []

    def ratio(self, label: str, ours: float, other: float, who: str, bar: float | None, unit: str) -> None:
        """``unit`` is ``s`` (less is better) or ``/s``."""
        found = other / ours if unit == "s" else ours / other
        shown = [f"{v:,.2f} s" if unit == "s" else f"{v:,.0f}/s" for v in (ours, other)]
        verdict = ("reached" if found >= bar else "MISSED") if bar else ""
        self.rows.append((label, shown[0], f"{who} {shown[1]}", f"{found:.2f} ×", f"≥ {bar:g} ×" if bar else "", verdict))
        print("  ".join(self.rows[-1]), flush=True)

    def below(self, label: str, value: float, unit: str, bar: float | None, note: str = "") -> None:
        verdict = ("reached" if value < bar else "MISSED") if bar else ""
        self.rows.append((label, f"{value:.2f} {unit}", note, "", f"< {bar:g} {unit}" if bar else "", verdict))
        print("  ".join(self.rows[-1]), flush=True)

    def __str__(self) -> str:
        rows = [("", "ours", "other", "ratio", "bar", ""), *self.rows]
        widths = [max(len(row[k]) for row in rows) for k in range(6)]
        return "\n".join("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def write(scratch: Path, table: Table, real: dict[str, str], _) -> None:
    for name, title in (("mnist", "MNIST, 70,000"), ("cifar10", "CIFAR-10 JPEG, 60,000")):
        kinds = {"ours": ("our_writing", name, real[name])}
        kinds |= {order: ("tfds_writing", name, order) for order in ("shuffled", "ordered", *(["plain"] if name == "mnist" else []))}
        found = {kind: one["seconds"] for kind, one in in_turns(scratch, kinds).items()}
        best = min("shuffled", "ordered", key=found.get)
        table.ratio(f"write {title}", found["ours"], found[best], f"TFDS {best}", 2.0, "s")
        if "plain" in found:
            table.ratio(f"write {title}, no PNG", found["ours"], found["plain"], "TFDS Tensor", None, "s")


def read(scratch: Path, table: Table, *_) -> None:
    for name, title, bar in (("mnist", "MNIST", 5.0), ("cifar10", "CIFAR-10 JPEG", 1.5)):
        if not (scratch / "tfds" / f"{name}-shuffled").exists():
            measured(scratch, "tfds_writing", name, "shuffled")
        for order in ("in order", "shuffled"):
            kinds = {"ours": ("our_reading", name, order)}
            kinds |= {f"TFDS {s}": ("tfds_reading", name, order, s) for s in ("by its guide", "tuned")}
            found = in_turns(scratch, kinds)
            for number in ("first", "later"):
                best = max((k for k in found if k != "ours"), key=lambda k, number=number: found[k][number])
                label = f"read {title}, {order}, {'first pass' if number == 'first' else 'later passes'}"
                table.ratio(label, found["ours"][number], found[best][number], best, bar if number == "first" else 1.0, "/s")


def satellite(scratch: Path, table: Table, _, torch: str) -> None:
    def has(module):
        return subprocess.run([torch, "-c", f"import {module}"], capture_output=True).returncode == 0

    decoders = [name for name, module in (("OpenCV", "cv2"), ("Pillow", "PIL")) if has(module)]
    kinds = {"ours": ("our_decoding", "satellite"), **{name: ("bare", name) for name in decoders}}
    if has("simplejpeg"):
        kinds["one buffer"] = ("bare", "one buffer")
    if "OpenCV" not in decoders:
        print(f"{torch} has no OpenCV: bare decoding is Pillow's alone")
    if has("torch"):
        kinds |= {f"DataLoader, {name}": ("loader", name) for name in [*decoders, *(["torchvision"] if has("torchvision") else [])]}
    else:
        print(f"{torch} has no PyTorch: no DataLoader to compare with. To have one:\n{__doc__.strip().splitlines()[-1].strip()}")
    found = {kind: one["first"] for kind, one in in_turns(scratch, kinds, dict.fromkeys(kinds.keys() - {"ours"}, torch)).items()}
    best = max(decoders, key=found.get)
    table.ratio("satellite, decoded", found["ours"], found[best], f"bare {best}", 0.9, "/s")
    if "one buffer" in found:
        table.ratio("satellite, decoded", found["ours"], found["one buffer"], "bare, one buffer", None, "/s")
    if loaders := [k for k in found if k.startswith("DataLoader")]:
        best = max(loaders, key=found.get)
        table.ratio("satellite, decoded", found["ours"], found[best], best, 1.0, "/s")


def first(scratch: Path, table: Table, real: dict[str, str], _) -> None:
    from dlbooks import catalog

    for name in catalog.datasets():
        if name not in real:
            real[name] = "real" if measured(scratch, "prepare", name)["real"] else "twin"
    rounds = [measured(scratch, "first_batches", *real) for _ in range(ROUNDS)]
    for name, kind in real.items():
        value, split = sorted(one[name] for one in rounds)[ROUNDS // 2]
        table.below(f"first batch, {name}", value, "s", 0.5, f"{split} ({kind})")


def memory(scratch: Path, table: Table, _, __, gigabytes: float = 10.0) -> None:
    room = shutil.disk_usage(scratch).free / 1e9
    if room < 2.2 * gigabytes:
        sys.exit(f"{scratch} has {room:.0f} GB free, {2.2 * gigabytes:.0f} are needed: choose another folder (--scratch) or fewer --gigabytes")
    wrote = measured(scratch, "big_writing", str(gigabytes))
    print(f"wrote {wrote['gigabytes']:.1f} GB in {wrote['seconds']:.0f} s, peak {wrote['peak']:.2f} GB in one process", flush=True)
    for order in ("in order", "shuffled"):
        found = measured(scratch, "big_reading", order)
        table.below(f"memory, {found['gigabytes']:.1f} GB {order}", found["peak"], "GB", 1.0, f"{found['rate']:.2f} GB/s")
        table.below(f"first batch of it, {order}", found["waited"], "s", 0.5)
    shutil.rmtree(scratch / "tfrecords" / BIG)


CASES = {f.__name__: f for f in (write, read, satellite, first, memory)}
NEEDED = {"write": ("mnist", "cifar10"), "read": ("mnist", "cifar10"), "satellite": ("satellite",)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--mirror", default=os.environ.get("DLBOOKS_MIRROR", ""), help="folder or base URL of upstream's files (default: DLBOOKS_MIRROR)"
    )
    parser.add_argument("--torch", default=sys.executable, help="interpreter that has PyTorch, torchvision and OpenCV (default: this one)")
    parser.add_argument("--scratch", type=Path, help="folder to work in, deleted afterwards (default: a new one in TMPDIR)")
    parser.add_argument("--gigabytes", type=float, default=10.0, help="size of the split of case memory")
    parser.add_argument("cases", nargs="*", help=f"{', '.join(CASES)} (default: all)")
    words = parser.parse_args()
    if unknown := set(words.cases) - set(CASES):
        parser.error(f"unknown case {', '.join(sorted(unknown))}: cases are {', '.join(CASES)}")
    if words.mirror:
        os.environ["DLBOOKS_MIRROR"] = words.mirror
    else:
        print("no mirror of upstream's files (--mirror or DLBOOKS_MIRROR): measured on twins of the same size")
    cases = [case for case in CASES if case in (words.cases or CASES)]
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    from dlbooks import runtime

    with tempfile.TemporaryDirectory(dir=words.scratch, prefix="data-") as temporary:
        scratch, table = Path(temporary), Table()
        needed = dict.fromkeys(name for case in cases for name in NEEDED.get(case, ()))
        real = {name: "real" if measured(scratch, "prepare", name)["real"] else "twin" for name in needed}
        for case in cases:
            CASES[case](scratch, table, real, words.torch, *([words.gigabytes] if case == "memory" else []))
    upstream = [name for name, kind in real.items() if kind == "real"]
    print(f"\n{table}\n\n{runtime.hardware()}, {CORES} used; upstream's files of {', '.join(upstream) or 'no data set'}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
        measure, folder, *arguments = sys.argv[2:]
        print(json.dumps(MEASURES[measure](Path(folder), *arguments)))
    else:
        main()
