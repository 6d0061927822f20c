"""The results site: what every chapter teaches, what it measured, and what the book says, as pages that need no server.

The book's number and a measurement on the book's data stand side by side and are judged. A mini run, which trains in seconds and
mostly on a synthetic twin of the data, has a column of its own and is never judged by the book's number.

The pages depend on nothing but their inputs: no time, no path of this machine.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import re
import shutil
import struct
import typing
from collections import Counter
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from dlbooks import cards, catalog, digests, ledger, params, runtime
from dlbooks.figures import thinned
from dlbooks.records import Records
from dlbooks.site import prose
from dlbooks.statistics import size_of

SITE = Path(__file__).parent / "site"
CLASSES = 60  # of a data set that its page lists
ROWS = 20  # of a table that stand on the page; the whole is linked
POINTS = 600  # of a series that its plot gets; the whole is linked
COMMON = 0.3  # a word that a larger share of the chapters use tells none of them apart

BOOKS = {
    "B1": ("21 Deep Learning Projects", "21个项目玩转深度学习", "TensorFlow 1.4"),
    "B2": ("Learning Generative Adversarial Networks", "实战生成对抗网络", "TensorFlow 0.12 to 1.x, Keras, PyTorch"),
    "B3": ("A study blog on “TensorFlow in Practice”", "TensorFlow 实战Google深度学习框架", "TensorFlow 1.12"),
    "B4": ("Deep Learning Practice: Computer Vision", "深度学习实践：计算机视觉", "Keras, MXNet, PyTorch"),
    "B5": ("TensorFlow: Technical Analysis and Practice", "TensorFlow 技术解析与实战", "TensorFlow 1.1"),
}
FAMILIES = {
    "foundations": "Foundations",
    "classification": "Classification",
    "detection-segmentation": "Detection and segmentation",
    "faces-retrieval-style": "Faces, retrieval, dream and style",
    "generative": "Generative models",
    "image-translation": "Image translation",
    "language": "Language and speech",
    "series-rl": "Time series and reinforcement learning",
    "systems": "Systems",
}


def build(folder: Path, *, runs: Path | None = None, results: dict | None = None, data: Path | None = None) -> None:
    """Writes the site into ``folder``, which is emptied first.

    ``runs`` holds a folder per chapter that has run (default ``data/runs``), ``results`` is the ledger (default ``data/results.json``),
    ``data`` the folder that holds ``tfrecords`` (default ``data``).
    """
    import jinja2

    data = data or runtime.root() / "data"
    runs = runs or runtime.root() / "data" / "runs"
    results = ledger.read() if results is None else results
    values = params.read(runtime.root() / "params.yaml")
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("chapter", "data"):
        (folder / name).mkdir(parents=True)
    for name in ("style.css", "site.js"):
        shutil.copyfile(SITE / name, folder / name)

    hashes = cache(lambda path: dvc_hash(path) if path.exists() else "")
    views = [view(c, runs / c.id, results.get(c.id, {}), values, data / "tfrecords", hashes) for c in catalog.chapters().values()]
    families = [*FAMILIES, *sorted({v.chapter.family for v in views} - set(FAMILIES))]
    views.sort(key=lambda v: (families.index(v.chapter.family), [p.order for p in v.places[:1]], v.id))
    titles = {v.id: v.title for v in views}
    needed_by = {v.id: [w.id for w in views if v.id in w.chapter.needs] for v in views}

    loader = jinja2.FileSystemLoader(SITE)
    site = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    sets = [data_view(d, data, folder / "data") for d in catalog.datasets().values() if not d.own]
    names = {"views": views, "sets": sets, "search": search_index(views, sets)}
    site.filters |= {"number": number, "inline": prose.inline, "marked": prose.marked, "size": cards.size, "span": cards.span}
    site.tests["chinese"] = lambda text: re.search("[\u4e00-\u9fff]", text) is not None
    site.globals |= {"books": BOOKS, "families": FAMILIES, "titles": titles, "datasets": {s.id: s for s in sets}, "rows_shown": ROWS}

    def page(path: str, template: str, **names) -> None:
        (folder / path).write_text(site.get_template(template).render(up="../" * path.count("/"), **names), encoding="utf-8")

    by_family = [(FAMILIES.get(f, f.replace("-", " ").capitalize()), [v for v in views if v.chapter.family == f]) for f in families]
    page("index.html", "index.html", by_family=[g for g in by_family if g[1]], by_book=by_book(views), **names)
    for index, this in enumerate(views):
        around = {"previous": views[index - 1] if index else None, "following": views[index + 1] if index + 1 < len(views) else None}
        copy(runs / this.id, folder / "files" / this.id)
        theory = prose.Prose(2)(prose.untitled(this.doc)).replace('<div class="corrected">', '<div class="corrected" id="corrected">', 1)
        page(f"chapter/{this.id}.html", "chapter.html", v=this, needed_by=needed_by[this.id], theory=theory, **around)
        page(f"chapter/{this.id}-source.html", "source.html", v=this, files=sources(this.chapter), **around)
    for index, this in enumerate(sets):
        around = {"previous": sets[index - 1] if index else None, "following": sets[index + 1] if index + 1 < len(sets) else None}
        page(f"data/{this.id}.html", "data.html", d=this, about=prose.Prose(2)(prose.untitled(this.doc)), classes_shown=CLASSES, **around)


# ── what a page says about a chapter ────────────────────────────────────────────────────────────────────────────────────────────


def view(chapter: catalog.Chapter, folder: Path, held: dict, values: dict, tfrecords: Path, hashes: typing.Callable) -> SimpleNamespace:
    """All that the templates show of a chapter: its declaration, its run in ``folder``, what the ledger holds, DVC's ``hashes`` of what it read."""
    found = catalog.chapter(chapter.id)
    run = read_json(folder / "run.json")
    measured = read_json(folder / "metrics.json") if run else {}
    book, mini = held.get("book", {}).get("best", {}), held.get("mini", {}).get("best", {})
    if run.get("profile") == "book":  # this checkout computed on the real data itself
        book = book or {"metrics": measured, "variant": run["variant"] or "default"}
    elif run:
        mini = {"metrics": measured, "variant": run["variant"] or "default"}
    # A data set whose twin stands in for the real files even in profile `book` makes its numbers no measurement of the book's task.
    twins = [d for d in chapter.datasets if params.section(values, f"data.{d}", "book").get("twin")]
    rows = result_rows(chapter, book.get("metrics", {}), mini.get("metrics", {}), comparable=not twins)
    sequences, figures = over_time(pictures(folder))
    path = f"src/{chapter.path.relative_to(catalog.PACKAGE.parent).as_posix()}"
    records = {d: hashes(tfrecords / d) for d in chapter.datasets}
    plain = [f for f in figures if not f.name.startswith("curve_")]
    chosen = [f for f in figures if f.name == chapter.picture] + [f for f in plain if f.name.endswith(".png")] + plain
    hero = chosen[0] if chosen else None
    return SimpleNamespace(
        id=chapter.id,
        title=chapter.title,
        chapter=chapter,
        doc=found.doc,
        path=path,
        places=[place(s) for s in chapter.sources],
        run=run,
        run_name="run on real data" if run.get("profile") == "book" else f"{run.get('profile', 'mini')} run",
        mini_name=f"{run['profile']} run" if run.get("profile", "book") != "book" else "mini run",
        book=book,
        mini=mini,
        twins=twins,
        rows=rows,
        headline=next(r for r in rows if r.name == chapter.headline),
        verdict=next(r.verdict for r in rows if r.name == chapter.headline) or "no number in a book",
        variants=variant_rows(chapter, held, book, mini, comparable=not twins),
        parameters=parameter_rows(found.params, values, chapter.id),
        hero=hero,
        thumbnail=next((f for f in [*chosen, *figures] if f.name.endswith(".png")), None),
        figures=[f for f in plain if f is not hero],
        sequences=sequences,
        call=call(chapter.use),
        curves=curves(chapter, folder, figures),
        tables=[table(p) for p in sorted(folder.glob("*.csv"))],
        export=[(p.relative_to(folder).as_posix(), p.stat().st_size) for p in sorted(folder.glob("export/**/*")) if p.is_file()],
        entries=entries(held),
        hashes=[
            (path, dvc_hash(chapter.path)),
            *((f"data/tfrecords/{d}", value) for d, value in records.items() if value),
            *((f"data/runs/{n}", hashes(folder.parent / n)) for n in chapter.needs if (folder.parent / n).exists()),
            *([(f"data/runs/{chapter.id}", hashes(folder))] if run else []),
        ],
        same=same_numbers(held, run, measured, records),
    )


def call(use: catalog.Use | None) -> str:
    """How Python asks a chapter, with its own example."""
    files = {"picture": "'my.png'", "gray picture": "'my.png'", "sound": "'my.wav'"}
    return f"run.predict({files.get(use.takes) or (repr(use.example) if use.takes == 'text' else use.example)})" if use else ""


def same_numbers(held: dict, run: dict, measured: dict, records: dict) -> dict:
    """The ledger's entry with the numbers of the run that stands here, on the same records: it knows the commit and the machine. Empty without one."""
    numbers = {name: float(f"{value:.6g}") for name, value in measured.items()}
    kept = held.get(run.get("profile"), {})
    for entry in [kept.get("newest"), kept.get("best"), *kept.get("variants", {}).values()]:
        if entry and entry["metrics"].items() <= numbers.items() and all(entry["data"].get(d, value) == value for d, value in records.items()):
            return entry
    return {}


def dvc_hash(path: Path) -> str:
    """A file's or a folder's hash as ``dvc.lock`` writes it."""
    if path.is_file():
        return digests.digest(path, "md5")
    names = sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())
    rows = [{"md5": digests.digest(path / n, "md5"), "relpath": n} for n in names]
    return hashlib.md5(json.dumps(rows, sort_keys=True).encode()).hexdigest() + ".dir"


def search_index(views: list[SimpleNamespace], sets: list[SimpleNamespace]) -> dict[str, dict]:
    """What the search looks through, by id: names, sections of the books, words of the theory and of the code that are not everybody's."""
    found = {}
    for v in views:
        code = v.chapter.path.read_text(encoding="utf-8")
        text = re.sub(r"\$[^$]*\$|`{3}.*?`{3}", " ", v.doc, flags=re.S)
        words = {w.lower() for w in [*re.findall(r"[A-Za-z][A-Za-z0-9-]{2,}", text), *re.findall(r"\blayers\.([A-Z]\w+)", code)]}
        titles = [title for p in v.places for _, title in p.sections if title]
        names = [v.id, v.title, FAMILIES.get(v.chapter.family, v.chapter.family), *v.chapter.sources, *titles, *v.chapter.datasets]
        sections = sorted({f"{p.book} {n}".lower() for p in v.places for n in [*p.span, *(n for n, _ in p.sections)]})
        found[v.id] = {"names": " ".join([*names, v.headline.name]).lower(), "sections": sections, "words": words}
    count = Counter(w for entry in found.values() for w in entry["words"])
    for entry in found.values():
        rare = {w for w in entry["words"] if count[w] <= max(1, COMMON * len(views)) and w not in entry["names"]}
        entry["words"] = " ".join(["", *sorted(rare)])
    return found | {f"data/{d.id}": {"names": d.search, "sections": [], "words": ""} for d in sets}


def result_rows(chapter: catalog.Chapter, book: dict, mini: dict, comparable: bool = True, reported: dict | None = None) -> list[SimpleNamespace]:
    """One row per metric: the book's value, ours on the book's data with a verdict, that of the mini run without one."""
    rows = []
    for name, metric in chapter.metrics.items():
        said = metric.reported if reported is None else reported.get(name)
        ours, verdict = book.get(name), ""
        if said is not None:
            word = "reached" if ours is not None and (ours == said or metric.improves(ours, said)) else "not reached"
            verdict = "not measured" if ours is None else word if comparable else "not comparable"
        rows.append(SimpleNamespace(name=name, metric=metric, reported=said, source=metric.source, book=ours, verdict=verdict, mini=mini.get(name)))
    return rows


def variant_rows(chapter: catalog.Chapter, held: dict, book: dict, mini: dict, comparable: bool) -> list[SimpleNamespace]:
    """The default recipe and every variant with what its own source reports; empty where there are no variants."""
    rows = []
    for name in ["default", *chapter.variants] if chapter.variants else []:
        variant = chapter.variants.get(name, catalog.Variant({}, about="the chapter's own recipe"))
        ours = [_of_variant(held.get(p, {}), name, latest) for p, latest in (("book", book), ("mini", mini))]
        found = result_rows(chapter, *(o.get("metrics", {}) for o in ours), comparable, None if name == "default" else variant.reported)
        shown = [r for r in found if r.name == chapter.headline or r.reported is not None]
        rows.append(SimpleNamespace(name=name, variant=variant, results=shown))
    return rows


def _of_variant(profile: dict, name: str, latest: dict) -> dict:
    """The ledger's entry of a variant; the default recipe's is the best, the newest or this checkout's, where one of them is of it."""
    if name != "default":
        return profile.get("variants", {}).get(name, {})
    return next((e for e in (latest, profile.get("best", {}), profile.get("newest", {})) if e.get("variant") == "default"), {})


def parameter_rows(cls, values: dict, chapter_id: str) -> list[SimpleNamespace]:
    """Name, values per profile, allowed values, description."""
    mini, book = (params.section(values, chapter_id, p) for p in ("mini", "book"))
    rows = []
    for name, field in cls.model_fields.items():
        default = field.get_default(call_default_factory=True)
        row = {"name": name, "mini": mini.get(name, default), "book": book.get(name, default), "about": field.description or ""}
        rows.append(SimpleNamespace(**row, allowed=allowed(field)))
    return rows


def allowed(field) -> str:
    """A parameter's range, or the words it may be."""
    if typing.get_origin(field.annotation) is typing.Literal:
        return ", ".join(map(str, typing.get_args(field.annotation)))
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return ", ".join(f"{sign} {number(getattr(m, key))}" for m in field.metadata for key, sign in signs.items() if getattr(m, key, None) is not None)


def entries(held: dict) -> list[tuple[str, dict]]:
    """What the ledger holds, each run once, with what it is: ("book: best, newest", entry)."""
    found: dict[str, tuple[list[str], dict]] = {}
    for profile, kept in sorted(held.items()):
        named = {"best": kept.get("best"), "newest": kept.get("newest"), **{f"best of {v}": e for v, e in kept.get("variants", {}).items()}}
        for label, entry in named.items():
            if entry:
                found.setdefault(profile + json.dumps(entry, sort_keys=True), ([f"{profile}:"], entry))[0].append(label)
    return [(" ".join([labels[0], ", ".join(labels[1:])]), entry) for labels, entry in found.values()]


# ── what a page says about a data set ───────────────────────────────────────────────────────────────────────────────────────────


def data_view(dataset: catalog.DataSet, data: Path, folder: Path) -> SimpleNamespace:
    """The card of a data set and ten samples: a picture, drawn into ``folder``, or a table of text.

    Real data whose license nobody states are described and not shown: a site may be published.
    """
    card = cards.card(dataset.id, data)
    held = card["records"]
    columns, counts = cards.class_counts(card)
    sizes = cards.sizes(card)
    this = SimpleNamespace(
        **card,
        doc=catalog.dataset(dataset.id).doc,
        here="" if not held else "synthetic twin" if held["twin"] else "real data",
        shown=bool(held) and (held["twin"] or not dataset.license.startswith("not stated")),
        examples=sum(v["examples"] for v in held.get("splits", {}).values()),
        bytes=sum(v["bytes"] for v in held.get("splits", {}).values()),
        class_columns=columns,
        classes=[(n, row, max(row) / (max(map(max, counts.values())) or 1)) for n, row in counts.items()],
        sizes=[(f, what, e, [(low, n, n / max(e["histogram"].values())) for low, n in e["histogram"].items()]) for f, what, e in sizes],
        statistics=[(n, words, cards.numbers(held["statistics"].get(n, {}))) for n, words in held.get("features", {}).items()],
        picture=None,
        table=None,
        split="",
        search=" ".join([dataset.id, dataset.title, card["kind"], dataset.license, *card["chapters"]]).lower(),
    )
    if this.shown:
        runtime.load_tensorflow()
        records = Records(data / "tfrecords" / dataset.id)
        this.split, rows = cards.samples(records)
        if rows and cards.drawable(records.features):
            cards.draw(records, folder / f"{dataset.id}.png")
            width, height = size_of((folder / f"{dataset.id}.png").read_bytes())
            this.picture = SimpleNamespace(width=width, height=height, count=len(rows))
        elif rows:
            this.table = cards.table(records.features, rows)
    return this


# ── the books ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def place(source: str) -> SimpleNamespace:
    """A place such as B5 4.7.1–4.7.4 as book, number, what sorts it among the book's sections, and ``sections``: (number, the book's title or "")."""
    book, _, number_ = source.partition(" ")
    this = SimpleNamespace(text=source, book=book, number=number_, **_extent(number_))
    this.order = (book, this.first)
    inside = [(n, title) for n, extent, title in titles().get(book, []) if _within(extent["first"], vars(this))]
    around = [(n, title) for n, extent, title in titles().get(book, []) if _within(this.first, extent)][-1:]
    this.sections = inside or [(number_, ""), *around]
    if number_ not in dict(this.sections):
        this.sections.insert(0, (number_, ""))
    return this


@cache
def titles() -> dict[str, list[tuple[str, dict, str]]]:
    """(number, extent, title) of the sections whose title is on record, by book, in its order."""
    from ruamel.yaml import YAML

    found: dict[str, list] = {}
    for key, title in YAML(typ="safe").load((SITE / "titles.yaml").read_text(encoding="utf-8")).items():
        book, _, number_ = key.partition(" ")
        found.setdefault(book, []).append((number_, _extent(number_), title))
    return found


def _extent(number_: str) -> dict:
    """A place's first and last section as numbers, and all those between that a reader may look for: 4.7.1–4.7.3 has 4.7.1, 4.7.2 and 4.7.3."""
    ends = [[int(n) for n in re.findall(r"\d+", part)] for part in re.split("[–,-]", number_)[:2] if re.search(r"\d", part)]
    first, last = (ends[0], ends[-1]) if ends else ([], [])
    span = [[*first[:-1], n] for n in range(first[-1], last[-1] + 1)] if first and first[:-1] == last[:-1] else [first, last]
    return {"first": first, "last": last, "span": [".".join(map(str, numbers)) for numbers in span]}


def _within(section: list[int], extent: dict) -> bool:
    return extent["first"] <= section and section[: len(extent["last"])] <= extent["last"]


def by_book(views: list[SimpleNamespace]) -> list[tuple[str, tuple, list, list]]:
    """(key, names, [(sections, view)], missing) of every book in its own order; neighboring sections of one chapter share a row.

    ``missing`` are the book's sections that no chapter here covers, as far as their titles are on record.
    """
    groups = []
    for key, names in BOOKS.items():
        found = sorted(((p.order, v.id, p, v) for v in views for p in v.places if p.book == key), key=lambda row: row[:2])
        places = [vars(row[2]) for row in found]
        rows = [list(group) for _, group in itertools.groupby(found, key=lambda row: row[1])]
        listed = [([section for *_, p, _ in group for section in p.sections], group[0][3]) for group in rows]
        known = titles().get(key, [])
        missing = [(n, title) for n, e, title in known if not any(_within(e["first"], p) or _within(p["first"], e) for p in places)]
        groups.append((key, names, listed, missing))
    return [g for g in groups if g[2]]


# ── what a run left ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def read_csv(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def pictures(folder: Path) -> list[SimpleNamespace]:
    """Figures with captions and sizes in pixels, which keep a page from jumping while they load."""
    captions = read_json(folder / "figures" / "captions.json")
    found = []
    for path in sorted(p for p in folder.glob("figures/*") if p.suffix in (".png", ".gif")):
        with open(path, "rb") as file:
            head = file.read(24)
        width, height = struct.unpack(">II", head[16:24]) if path.suffix == ".png" else struct.unpack("<HH", head[6:10])
        caption = captions.get(path.name) or path.stem.replace("_", " ")
        found.append(SimpleNamespace(name=path.name, caption=caption, width=width, height=height))
    return found


def over_time(figures: list[SimpleNamespace]) -> tuple[list[SimpleNamespace], list[SimpleNamespace]]:
    """Figures of one thing at three or more steps (``samples_step_100.png``, ``…_epoch_2.png``) as sequences, and the other figures."""
    groups: dict[tuple, list] = {}
    for figure in figures:
        if found := re.fullmatch(r"(.+)_(step|epoch|episode)_?(\d+)\.png", figure.name):
            groups.setdefault((*found.groups()[:2], figure.width, figure.height), []).append((int(found[3]), figure))
    kept = [(name, unit, sorted(frames, key=lambda f: f[0])) for (name, unit, *_), frames in sorted(groups.items()) if len(frames) > 2]
    taken = {id(f) for *_, frames in kept for _, f in frames}
    return [SimpleNamespace(name=n, unit=u, frames=f) for n, u, f in kept], [f for f in figures if id(f) not in taken]


def curves(chapter: catalog.Chapter, folder: Path, figures: list[SimpleNamespace]) -> list[SimpleNamespace]:
    """The declared curves, then every other series by itself: points for the plot and the picture that stands in for it."""
    series = {p.stem: read_csv(p)[1:] for p in sorted(folder.glob("history/*.csv"))}
    declared = {title: [n for n in names if n in series] for title, names in chapter.curves.items()}
    rest = [n for n in series if not any(n in names for names in declared.values())]
    found = []
    for title, names in [*declared.items(), *((n.replace("_", " "), [n]) for n in rest)]:
        points = {n: [(int(step), float(value)) for step, value in thinned(series[n], POINTS)] for n in names}
        file = f"curve_{re.sub('[^a-z0-9]+', '_', title.lower())}.png"
        picture = next((f for f in figures if f.name == file), None) if title in declared else None
        if points:
            found.append(SimpleNamespace(title=title, points=points, picture=picture, declared=title in declared))
    return found


def table(path: Path) -> SimpleNamespace:
    """A CSV file's header and first rows."""
    header, *rows = read_csv(path) or [[]]
    return SimpleNamespace(name=path.name, header=header, rows=rows[:ROWS], count=len(rows))


def copy(folder: Path, target: Path) -> None:
    """What the pages link to: figures, series, tables."""
    for path in [*folder.glob("figures/*.png"), *folder.glob("figures/*.gif"), *folder.glob("history/*.csv"), *folder.glob("*.csv")]:
        goal = target / path.relative_to(folder)
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, goal)


def sources(chapter: catalog.Chapter) -> list[tuple[str, list[dict]]]:
    """The chapter's file and the private modules beside it that it imports, as annotated source."""
    text = chapter.path.read_text(encoding="utf-8")
    beside = [chapter.path.parent / f"{n}.py" for n in re.findall(r"^from dlbooks\.chapters\.\w+(?:\.| import )(_\w+)", text, re.M)]
    return [(path.name, prose.annotated(path.read_text(encoding="utf-8"))) for path in [chapter.path, *beside]]


def number(value) -> str:
    """A number as a person writes it: whole numbers whole, others with five significant digits; anything else as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.5g}"
