"""Data cards: where a data set comes from, under which license, what is in it; ten samples as a picture. Also the check of its bytes.

A card is a dictionary that JSON takes. `dlbooks data show` prints it and the results site makes a page of it. Everything in it comes from the
data set's file and from its record folder, so a page changes only with those.
"""

from __future__ import annotations

import io
import itertools
import json
import os
from functools import cache
from pathlib import Path

import numpy as np

from dlbooks import UserError, catalog, digests, runtime
from dlbooks.features import Feature
from dlbooks.records import Records

SAMPLES = 10
LOOK = 200  # first rows among which samples of different classes are looked for
WIDTH = 110  # characters of a typeset line; those of Chinese count twice
POINTS = 2000  # of a line that are drawn
CHINESE = ("notosanscjk", "notosanssc", "sourcehansans", "wqy", "pingfang", "hiragino sans gb", "msyh", "simhei")  # beginnings of font files
SIZES = {"width": "pixels", "height": "pixels", "bytes": "bytes", "lengths": "entries", "characters": "characters"}


# ── what a data set is ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def kind(features: dict[str, Feature]) -> str:
    """What the examples are, in a word or two, from the schema alone."""
    pictures, texts = picture_names(features), text_names(features)
    labeled = any(f.names and not f.shape for f in features.values())
    if pictures:
        words = "boxes" if "objects/bbox" in features else "pictures" if len(pictures) == 1 else "pairs of pictures"
    elif sound_names(features):
        words = "sound"
    elif {"times", "values"} <= set(features):
        words = "series"
    elif any(f.shape and f.dtype.startswith("float") for f in features.values()):
        words = "arrays"
    elif texts:
        words = "text" if len(texts) == 1 else "pairs of texts" if len(texts) == 2 else "texts"
    elif all(not f.shape for f in features.values()):
        words = "table"
    else:
        words = "arrays"
    return f"labeled {words}" if labeled and words != "table" else words


def picture_names(features: dict[str, Feature]) -> list[str]:
    """Features that are pictures: encoded ones, and uint8 arrays ``[h, w, 1 or 3]``."""
    return [n for n, f in features.items() if f.picture or (f.dtype == "uint8" and len(f.shape) == 3 and f.shape[2] in (1, 3))]


def sound_names(features: dict[str, Feature]) -> list[str]:
    return [n for n, f in features.items() if f.dtype == "int16" and f.shape == (None,)]


def text_names(features: dict[str, Feature]) -> list[str]:
    """Features that are texts, or sequences of words or tags; names of files and of series are neither."""
    words = [n for n, f in features.items() if f.encoding == "text" or (f.names and f.shape)]
    return [n for n in words if not n.endswith("/filename") and not n.startswith("objects/") and n not in ("name", "section")]


def describe(feature: Feature, statistics: dict | None = None) -> str:
    """A feature's type in words: "uint8 [28, 28, 1]", "class label of 10", "JPEG picture, 160 × 120" if the statistics know of one size."""
    if feature.names:
        return f"class label{'s' if feature.shape else ''} of {len(feature.names)}"
    if feature.encoding == "text":
        return "texts" if feature.shape else "text"
    if feature.picture:
        sides = [(statistics or {}).get(side, {}) for side in ("width", "height")]
        same = all("min" in s and s["min"] == s["max"] for s in sides)
        gray = " in gray" if feature.shape[-1:] == (1,) else ""
        return f"{feature.encoding.upper()} picture{gray}" + (f", {sides[0]['min']} × {sides[1]['min']}" if same else "")
    return f"{feature.dtype} [{', '.join('?' if n is None else str(n) for n in feature.shape)}]" if feature.shape else feature.dtype


def card(name: str, data: Path | None = None) -> dict:
    """All that is known of a data set; ``raw``, ``records`` and ``kind`` are empty where they are not here. ``data`` is the folder ``data/``."""
    declared = catalog.dataset(name)
    dataset, data = declared.declaration, data or runtime.root() / "data"
    found: dict = {"id": dataset.id, "title": dataset.title, "homepage": dataset.homepage, "license": dataset.license}
    found |= {"citation": dataset.citation, "form": dataset.form, "own": dataset.own, "files": [_file(f) for f in dataset.files]}
    found |= {"chapters": users(dataset), "kind": "", "records": {}, "raw": _raw(data / "raw" / name)}
    records = Records(data / "tfrecords" / name)
    if here(records):
        features, about = records.features, records.about.get("description", "")
        found["kind"] = kind(features)
        found["records"] = {
            "version": records.path.name,
            "about": about,
            "twin": "synthetic twin" in about,
            "splits": records.info["splits"],
            "features": {n: describe(f, records.info["features"].get(n, {})) for n, f in features.items()},
            "statistics": records.info["features"],
        }
    return found


def here(records: Records) -> bool:
    """Whether there is a record folder, whole or damaged."""
    return any(records.folder.glob("*/dataset_info.json"))


def users(dataset: catalog.DataSet) -> list[str]:
    """Chapters that read the data set."""
    return [*(c.id for c in catalog.chapters().values() if dataset.id in c.datasets), *(entry.split()[0] for entry in dataset.chapters)]


def _file(file) -> dict:
    """A declared file: name, where it comes from, digest."""
    label = {"sha256": "SHA-256", "sha1": "SHA-1", "tree": "tree digest", "md5": "MD5"}
    digest = next((f"{label[k]} {getattr(file, k)}" for k in label if getattr(file, k, "")), "")
    urls = list(getattr(file, "urls", [])) or [getattr(file, "path", "")]
    return {"name": file.name, "urls": urls, "digest": digest, "edition": file.edition}


def _raw(folder: Path) -> list[dict]:
    """Files of a raw folder with their digests."""
    sums = folder / digests.SUMS
    if not sums.exists():
        return []
    rows = [line.split("  ", 1) for line in sums.read_text(encoding="utf-8").splitlines()]
    return [{"name": n, "bytes": (folder / n).stat().st_size if (folder / n).exists() else None, "sha256": d} for d, n in rows]


# ── ten samples ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def first_rows(records: Records, split: str, count: int) -> list[dict]:
    """The first ``count`` rows of a split in the order of its files; NumPy values, texts as ``str``, encoded pictures as ``bytes``."""
    import tensorflow as tf

    from dlbooks.features import parse, to_numpy

    features, rows = records.features, []
    for batch in tf.data.TFRecordDataset(records.files(split)).take(count).batch(64):
        columns = {n: to_numpy(v, features[n]) for n, v in parse(features, batch).items()}
        for index in range(len(batch)):
            rows.append({n: plain(column[index], features[n]) for n, column in columns.items()})
    return rows


def plain(value, feature: Feature):
    """A value as it was written: texts as ``str`` (a sequence of them as a list), everything else as it is."""
    if feature.encoding != "text":
        return value
    return [t.decode("utf-8", "replace") for t in value] if feature.shape else value.decode("utf-8", "replace")


def samples(records: Records) -> tuple[str, list[dict]]:
    """A split and up to ten rows of it, of as many classes as the first 200 rows have."""
    splits = records.info["splits"]
    split = next((s for s in ("train", *splits) if s in splits and splits[s]["examples"]), "")
    if not split:
        return "", []
    label = next((n for n, f in records.features.items() if f.names and not f.shape), None)
    rows = first_rows(records, split, LOOK if label else SAMPLES)
    if label and len(rows) > SAMPLES:
        groups: dict[int, list[dict]] = {}
        for row in rows:
            groups.setdefault(int(row[label]), []).append(row)
        # One of every class, then a second one, and so on; shown in the order of classes.
        rounds = itertools.zip_longest(*(groups[k] for k in sorted(groups)))
        rows = [row for turn in rounds for row in turn if row is not None][:SAMPLES]
        rows.sort(key=lambda row: int(row[label]))
    return split, rows[:SAMPLES]


def table(features: dict[str, Feature], rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    """Samples of texts and numbers as a header and rows of short strings. A few long texts are shown by their first lines."""
    text = kind(features).endswith(("text", "texts"))
    shown = [n for n, f in features.items() if f.names or f.encoding == "text" or not (f.shape or text)]
    texts = [n for n in shown if features[n].encoding == "text" and not features[n].shape]
    if len(rows) < SAMPLES and len(texts) == 1 and text:
        lines = [line for row in rows for line in row[texts[0]].splitlines() if line.strip()]
        if len(lines) > len(rows):
            return [texts[0]], [[line.strip()] for line in lines[:SAMPLES]]
    return shown, [[words(row[n], features[n]) for n in shown] for row in rows]


def words(value, feature: Feature) -> str:
    """A value as one line of text."""
    if feature.names:
        return " ".join(feature.names[int(k)] for k in np.ravel(value))
    if feature.encoding == "text":
        return " ".join((value if isinstance(value, str) else " ".join(value)).split())
    return f"{value:.6g}" if feature.dtype.startswith("float") else str(value)


def cut(text: str, width: int = WIDTH) -> str:
    """At most ``width`` columns of a text, of which a Chinese character takes two."""
    import unicodedata

    used = 0
    for index, character in enumerate(text):
        used += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if used > width:
            return text[:index] + "…"
    return text


def drawable(features: dict[str, Feature]) -> bool:
    """Whether samples are a picture by nature; texts and tables are better read than looked at."""
    return not kind(features).endswith(("text", "texts", "table"))


def picture(features: dict[str, Feature], rows: list[dict]):
    """A Matplotlib figure of samples: pictures with their boxes, sound as wave and spectrogram, series as lines, texts as lines of
    type, arrays as histograms."""
    word = kind(features).removeprefix("labeled ")
    if word in ("boxes", "pictures", "pairs of pictures"):
        return _pictures(features, rows)
    if word == "sound":
        return _sounds(features, rows)
    if word == "series":
        return _series(rows)
    return _arrays(features, rows) if word == "arrays" else _lines(features, rows)


def _caption(features: dict[str, Feature], row: dict) -> str:
    """Class names of a row, else its file's name."""
    labels = [features[n].names[int(row[n])] for n, f in features.items() if f.names and not f.shape]
    names = [row[n].rsplit("/", 1)[-1] for n in features if n.endswith("/filename")] if not labels else []
    return cut(", ".join(labels or names[:1]), 22)


def _pictures(features: dict[str, Feature], rows: list[dict]):
    from dlbooks import figures

    names = picture_names(features)
    columns = min(len(rows), 5 if len(names) == 1 else 10) or 1
    lines = -(-len(rows) // columns) * len(names)
    boxes = "objects/bbox" in features
    side = 2.2 if boxes else 1.35
    figure, axes = figures.new(side * columns, (side * 0.8 + 0.45 if boxes else side + 0.22) * lines, lines, columns, squeeze=False)
    for cell in axes.ravel():
        cell.set_axis_off()
    kinds: dict[int, None] = {}
    for index, row in enumerate(rows):
        for offset, name in enumerate(names):
            cell = axes[index // columns * len(names) + offset, index % columns]
            image = pixels(row[name])
            cell.imshow(image, cmap="gray" if image.ndim == 2 else None, vmin=0, vmax=255)
            if offset == 0:
                cell.set_title(_caption(features, row), fontsize=8, parse_math=False, fontfamily=_fonts())
            if boxes and offset == 0:
                height, width = image.shape[:2]
                for (top, left, bottom, right), label in zip(row["objects/bbox"], row["objects/label"], strict=True):
                    kinds.setdefault(int(label))
                    place = ((left * width - 0.5, top * height - 0.5), (right - left) * width, (bottom - top) * height)
                    cell.add_patch(_patch(*place, color=figures.COLORS[int(label) % len(figures.COLORS)]))
    if kinds:
        from matplotlib.lines import Line2D

        keys = [Line2D([], [], color=figures.COLORS[k % len(figures.COLORS)], label=features["objects/label"].names[k]) for k in sorted(kinds)]
        figure.legend(handles=keys, loc="outside lower center", ncols=min(6, len(keys)), frameon=False)
    return figure


def _patch(corner: tuple[float, float], width: float, height: float, color: str):
    from matplotlib.patches import Rectangle

    return Rectangle(corner, width, height, fill=False, edgecolor=color, linewidth=1.2)


def pixels(value) -> np.ndarray:
    """Encoded or raw picture → uint8 ``[h, w]`` or ``[h, w, 3]``."""
    import io

    from PIL import Image

    if isinstance(value, bytes):
        with Image.open(io.BytesIO(value)) as opened:
            return np.asarray(opened.convert("L" if opened.mode in ("L", "1") else "RGB"))
    return value[..., 0] if value.shape[-1] == 1 else value


def _sounds(features: dict[str, Feature], rows: list[dict]):
    """Every sample as its wave above its spectrogram; time runs in samples."""
    from dlbooks import figures

    name = sound_names(features)[0]
    columns = min(len(rows), 5) or 1
    lines = -(-len(rows) // columns)
    figure, axes = figures.new(1.9 * columns, 2.1 * lines, 2 * lines, columns, squeeze=False, height_ratios=[1, 1.5] * lines)
    for cell in axes.ravel():
        cell.set_axis_off()
    for index, row in enumerate(rows):
        wave, heat = axes[index // columns * 2 : index // columns * 2 + 2, index % columns]
        sound = row[name].astype(np.float64) / 32768
        every = -(-len(sound) // POINTS) or 1
        wave.plot(sound[::every], linewidth=0.6)
        wave.set(ylim=(-1, 1) if np.abs(sound).max(initial=0) > 0.3 else None)
        wave.set_title(f"{_caption(features, row)}\n{len(sound):,} samples", fontsize=8, parse_math=False, fontfamily=_fonts())
        if len(sound) >= 256:
            starts = np.arange(0, len(sound) - 255, max(64, len(sound) // 400))
            power = np.abs(np.fft.rfft(sound[starts[:, None] + np.arange(256)] * np.hanning(256))) ** 2
            heat.imshow(np.log10(power + 1e-7).T, origin="lower", aspect="auto", cmap="magma")
    return figure


def _series(rows: list[dict]):
    """Every series as lines over its time steps, one color per variable."""
    from dlbooks import figures

    figure, axes = figures.new(6.8, 1.5 * len(rows) + 0.3, len(rows), 1, squeeze=False)
    for cell, row in zip(axes[:, 0], rows, strict=True):
        values = row["values"].reshape(len(row["times"]), -1)
        every = -(-len(values) // POINTS) or 1
        for column in values.T:
            cell.plot(row["times"][::every], column[::every], linewidth=1.1)
        cell.set_title(str(row.get("name", "")), fontsize=9, loc="left", parse_math=False)
    return figure


def _arrays(features: dict[str, Feature], rows: list[dict]):
    """Every array of every row as a histogram of its numbers, named by the row's short texts."""
    from dlbooks import figures

    arrays = [n for n, f in features.items() if f.shape and f.encoding == "raw" and not f.names]
    arrays = [n for n in arrays if features[n].dtype.startswith("float")] or arrays
    titles = [n for n, f in features.items() if f.encoding == "text" and not f.shape]
    panels = [
        (" ".join([*(row[t] for t in titles), n] if len(arrays) > 1 else [row[t] for t in titles]) or n, row[n]) for row in rows for n in arrays
    ]
    panels = panels[:SAMPLES]
    columns = min(len(panels), 5) or 1
    lines = -(-len(panels) // columns)
    figure, axes = figures.new(2.1 * columns, 1.6 * lines + 0.1, lines, columns, squeeze=False)
    for cell in axes.ravel()[len(panels) :]:
        cell.set_axis_off()
    for cell, (title, value) in zip(axes.ravel(), panels, strict=False):
        numbers = np.asarray(value, np.float64).ravel()
        cell.hist(numbers[np.isfinite(numbers)], bins=40)
        cell.set_yticks([])
        cell.tick_params(labelsize=7)
        cell.set_title(cut(f"{title}  {numbers.size:,}", 30), fontsize=8, parse_math=False)
    return figure


def _lines(features: dict[str, Feature], rows: list[dict]):
    """Samples as lines of type, every value of a row on a line of its own, class labels in front."""
    from dlbooks import figures

    header, cells = table(features, rows)
    blocks = [[(n, cut(c)) for n, c in zip(header, row, strict=True)] for row in cells]
    height = 0.21 * sum(len(b) for b in blocks) + (0.1 * len(blocks) if len(header) > 1 else 0) + 0.2
    figure, axes = figures.new(8.6, max(height, 0.8))
    axes.set_axis_off()
    axes.set(xlim=(0, 8.6), ylim=(height, 0))
    indent = 0.3 + 0.075 * max(map(len, header)) if len(header) > 1 else 0.1
    top = 0.2
    for block in blocks:
        for name, text in block:
            if len(header) > 1:
                axes.text(0.05, top, name, color=figures.COLORS[6], fontsize=8, va="center", parse_math=False)
            axes.text(indent, top, text, fontsize=9, va="center", parse_math=False, fontfamily=_fonts())
            top += 0.21
        top += 0.1 if len(header) > 1 else 0.0
    return figure


@cache
def _fonts() -> tuple[str, ...]:
    """Matplotlib's own font, then one with Chinese characters if this machine has any."""
    from matplotlib import font_manager

    # By file: Matplotlib's list of names is a cache that fonts installed later do not enter.
    files = {Path(p).name.lower(): p for p in font_manager.findSystemFonts()}
    found = next((files[name] for stem in CHINESE for name in sorted(files) if name.startswith(stem)), None)
    if found is None:
        return ("DejaVu Sans",)
    font_manager.fontManager.addfont(found)
    return ("DejaVu Sans", next(f.name for f in font_manager.fontManager.ttflist if f.fname == found))  # a collection's first face


def draw(records: Records, path: Path | io.BytesIO) -> tuple[str, int]:
    """Writes the picture of ten samples, PNG; returns their split and number (0: nothing was drawn, no split has an example)."""
    import logging
    import warnings

    from dlbooks import figures

    logging.getLogger("matplotlib.font_manager").setLevel("ERROR")

    split, rows = samples(records)
    if rows:
        if isinstance(path, Path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # no font with Chinese characters here: they are drawn as boxes
            figures.save(picture(records.features, rows), path)
    return split, len(rows)


# ── printing ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def print_list(as_json: bool = False) -> None:
    """`dlbooks data list`."""
    rows = []
    for name, dataset in catalog.datasets().items():
        try:
            this, damaged = card(name), False
        except UserError:
            this, damaged = {"kind": "", "raw": [], "records": {}}, True
        splits = this["records"].get("splits", {})
        row = {
            "id": name,
            "title": dataset.title,
            "license": dataset.license,
            "kind": this["kind"] or kind(catalog.schema(dataset)),
            "own": dataset.own,
        }
        row |= {"splits": {s: v["examples"] for s, v in splits.items()}, "bytes": sum(v["bytes"] for v in splits.values())}
        row |= {"raw": bool(this["raw"]), "here": bool(splits), "twin": this["records"].get("twin"), "damaged": damaged}
        rows.append(row)
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    import sys

    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("data set", "title", "kind", "license", "examples", "records", "here"):
        shown.add_column(column, justify="right" if column == "records" else "left", no_wrap=column in ("data set", "records", "here"))
    for row in rows:
        state = (
            "damaged"
            if row["damaged"]
            else ("twin" if row["twin"] else "own" if row["own"] else "real")
            if row["here"]
            else "raw files"
            if row["raw"]
            else "–"
        )
        counts = ", ".join(f"{s} {n:,}" for s, n in row["splits"].items())
        shown.add_row(row["id"], _safe(row["title"]), row["kind"], _safe(row["license"]), counts, size(row["bytes"]) if row["here"] else "", state)
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(shown)


def size(count: float) -> str:
    """Bytes as people write them: "1.7 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.3g} {unit}" if count < 1000 else f"{count:,.0f} GB"
        count /= 1000
    raise AssertionError


def print_card(name: str, out: Path | None = None, as_json: bool = False) -> None:
    """`dlbooks data show`: the card, and the picture where there are records."""
    this = card(name)
    this["kind"] = this["kind"] or kind(catalog.schema(catalog.dataset(name).declaration))
    records = Records(runtime.root() / "data" / "tfrecords" / name)
    path = out or Path(os.path.relpath(runtime.root() / "data" / "cards" / f"{name}.png"))
    if path.suffix != ".png":
        raise UserError(f"{path}: the picture is a PNG file, so its name must end in .png")
    drawn = 0
    if this["records"]:
        runtime.load_tensorflow()
        _, drawn = draw(records, path)
    this["picture"] = str(path) if drawn else None
    if as_json:
        print(json.dumps(this, indent=2, ensure_ascii=False))
        return
    _print(this)


def _safe(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _print(this: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=min(Console().width, 120))

    def show(title: str, columns: list[str], rows: list[list], right: int = 99) -> None:
        """A table; columns from ``right`` on are numbers."""
        shown = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left", title_style="bold", show_header=any(columns))
        for index, column in enumerate(columns):
            shown.add_column(column, justify="right" if column and index >= right else "left", overflow="fold")
        for row in rows:
            shown.add_row(*(_safe(str(c)) for c in row))
        console.print(shown, "")

    facts = [["data set", this["id"]], ["kind", this["kind"]], ["license", this["license"]]]
    facts += [["homepage", this["homepage"]]] if this["homepage"] else []
    facts += [["citation", this["citation"]]] if this["citation"] else []
    facts += [["license form", this["form"]]] if this["form"] else []
    facts += [["chapters", ", ".join(this["chapters"]) or "none"]]
    records = this["records"]
    if records:
        what = "a synthetic twin, not upstream's data" if records["twin"] else "a person's own files" if this["own"] else "upstream's data"
        facts += [["here", f"{what}, records version {records['version']}"]]
    show(this["title"], ["", ""], facts)
    sources = [[f["name"] + (f" ({f['edition']})" if f["edition"] else ""), "\n".join([*f["urls"], f["digest"]])] for f in this["files"]]
    if sources:
        show("Sources", ["file", "address and digest"], sources)
    if this["raw"]:
        show(f"data/raw/{this['id']}", ["file", "bytes", "SHA-256"], [[r["name"], f"{r['bytes'] or 0:,}", r["sha256"]] for r in this["raw"]])
    if not records:
        console.print(f"No records here yet: `dvc repro preprocess@{this['id']}`")
        return
    splits = records["splits"]
    show("Splits", ["split", "examples", "bytes"], [[s, f"{v['examples']:,}", f"{v['bytes']:,}"] for s, v in splits.items()], 1)
    names, classes = class_counts(this)
    if classes:
        top = max(max(row) for row in classes.values()) or 1
        rows = [[c, *(f"{n:,}" for n in row), bar(max(row) / top)] for c, row in list(classes.items())[:60]]
        show(f"Classes ({len(classes)})" + (", the first 60" if len(classes) > 60 else ""), ["class", *names, ""], rows, 1)
    rows = [[n, t, *numbers(records["statistics"].get(n, {}))] for n, t in records["features"].items()]
    show("Features, with statistics of the training split", ["feature", "type", "count", "mean", "std", "min", "max", "NaN"], rows, 2)
    for feature, what, entry in sizes(this):
        title = f"{feature}: {what if what == 'characters' else f'{what} in {SIZES[what]}' if what not in ('bytes', 'lengths') else what}"
        top = max(entry["histogram"].values())
        rows = [[span(low), f"{n:,}", bar(n / top)] for low, n in entry["histogram"].items()]
        show(f"{title}, {entry['min']:,} to {entry['max']:,}, mean {entry['mean']:,.5g}", ["size", "items", ""], rows)
    if this["picture"]:
        console.print(f"[bold]Samples[/] {_safe(this['picture'])}")


def bar(share: float, width: int = 30) -> str:
    """A bar of eighths of a character."""
    eighths = round(share * width * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def span(low: str) -> str:
    """A histogram's key as the range that it counts."""
    return low if int(low) < 2 else f"{int(low):,} … {2 * int(low) - 1:,}"


def numbers(entry: dict) -> list[str]:
    """Count, mean, standard deviation, minimum, maximum, number of NaN as text; empty where a feature has none."""
    return [
        f"{v:,}" if isinstance(v, int) else f"{v:.6g}" if v is not None else ""
        for v in (entry.get(k) for k in ("count", "mean", "std", "min", "max", "nan"))
    ]


def sizes(this: dict) -> list[tuple[str, str, dict]]:
    """(feature, what, entry) of every size that the statistics know, without those that are always the same and those said already:
    ``objects/label`` is as long as ``objects/bbox``."""
    found: dict[tuple, tuple[str, str, dict]] = {}
    for name, entry in this["records"].get("statistics", {}).items():
        for what in SIZES:
            known = entry.get(what, {})
            if known.get("histogram") and known["min"] != known["max"]:
                found.setdefault((name.split("/")[0], what, str(known)), (name, what, known))
    return list(found.values())


def class_counts(this: dict) -> tuple[list[str], dict[str, list[int]]]:
    """Column names and {class: counts}: examples of every split; where a row holds several labels, their number in the training split."""
    records = this["records"]
    splits = records.get("splits", {})
    label = next((v["classes"] for v in splits.values() if "classes" in v), None)
    if label:
        return list(splits), {name: [v.get("classes", {}).get(name, 0) for v in splits.values()] for name in label}
    several = {n: e["classes"] for n, e in records.get("statistics", {}).items() if "classes" in e}
    return (["labels in train"], {c: [count] for c, count in next(iter(several.values())).items()}) if several else ([], {})


# ── checking ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def check(names: list[str], as_json: bool = False) -> int:
    """`dlbooks data check`: compares every file with the digests beside it and says what is damaged; exit code 1 if anything is."""
    data = runtime.root() / "data"
    damaged, folders = 0, []
    for name in [catalog.dataset(n).declaration.id for n in names] or list(catalog.datasets()):
        found = []
        for label, stage, folder in (("raw", "fetch", data / "raw" / name), ("records", "preprocess", data / "tfrecords" / name)):
            for inner in (
                [folder] if stage == "fetch" and folder.is_dir() else sorted(p for p in folder.glob("*") if p.is_dir() and stage == "preprocess")
            ):
                try:
                    digests.check(inner, digests.remedy(folder, stage))
                    files = [p for p in inner.rglob("*") if p.is_file() and p.name != digests.SUMS]
                    found.append(f"{label}: {len(files)} files, {size(sum(p.stat().st_size for p in files))}, whole")
                    wrong = ""
                except UserError as error:
                    damaged, wrong = damaged + 1, str(error)
                    found.append(f"damaged: {error}")
                folders.append({"dataset": name, "kind": label, "folder": str(inner.relative_to(runtime.root())), "whole": not wrong, "words": wrong})
        if not as_json:
            print(f"{name}: {'; '.join(found) or f'nothing here (dvc repro preprocess@{name})'}", flush=True)
    if as_json:
        print(json.dumps(folders, indent=2, ensure_ascii=False))
    return int(damaged > 0)
