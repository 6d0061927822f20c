"""Bring your own data: a person's folder becomes a data set, and chapters run on it.

``add`` looks at every file, then writes three things at once: the module ``datasets/<name>.py``, the parameters below ``data:`` in ``params.yaml`` and the stages in
``dvc.yaml``. A chapter run on it is a stage of its own, ``<chapter>-on-<data set>``; the module lists those chapters. Nothing of it enters
the ledger, whose numbers stand beside the books'.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import importlib
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from dlbooks import UserError, catalog, images, params, runtime

ON = "-on-"  # between chapter and data set in a stage's name
LONGEST = 64 << 20  # bytes of a text or CSV file that are validated
NAME = "[a-z0-9][a-z0-9-]*"
OPTIONAL = {"clean"}  # the formula behind a drawn series: nobody knows that of a person's own

# ── which chapters run on which data ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Stage:
    """A chapter's run, on the book's data or on a person's: ``swaps`` maps the chapter's data set to the person's."""

    found: catalog.Declared
    swaps: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return stage_id(self.found.declaration, self.swaps)

    @property
    def command(self) -> str:
        return command(self.found.declaration, self.swaps)


def stage_id(chapter: catalog.Chapter, swaps: dict[str, str]) -> str:
    """``mnist-cnn``, or ``mnist-cnn-on-my-digits``."""
    return chapter.id + "".join(ON + name for name in swaps.values())


def command(chapter: catalog.Chapter, swaps: dict[str, str]) -> str:
    """How a person runs it."""
    words = (f" --data {name if len(chapter.datasets) == 1 else f'{replaced}={name}'}" for replaced, name in swaps.items())
    return f"dlbooks run {chapter.id}{''.join(words)}"


def stages() -> dict[str, Stage]:
    """The runs on people's own data sets by id, as the data sets' modules list them: ``chapters=["cifar10-cnn", "lab satellite"]``."""
    found = {}
    for dataset in catalog.datasets().values():
        for entry in dataset.chapters:
            chapter, _, replaced = entry.partition(" ")
            declared = catalog.chapter(chapter)
            stage = Stage(declared, {replaced or declared.declaration.datasets[0]: dataset.id})
            found[stage.id] = stage
    return found


def stage(name: str) -> Stage:
    """The chapter, or the chapter on a data set of one's own, that a stage's name stands for."""
    chapter, on, dataset = name.rpartition(ON)
    if on and (found := stages().get(name)):
        return found
    if on and dataset in catalog.datasets():  # not in any list yet
        declared = catalog.chapter(chapter)
        return Stage(declared, {declared.declaration.datasets[0]: dataset})
    return Stage(catalog.chapter(name))


def missing(have: dict, want: dict) -> list[str]:
    """What records of the schema ``have`` lack to stand in for those of ``want``, in words; pictures of any size and any number of classes will do."""

    def picture(feature) -> bool:
        return feature.encoding in ("jpeg", "png") or (feature.dtype == "uint8" and len(feature.shape) == 3)

    lacking = []
    for name, feature in want.items():
        other = have.get(name)
        if picture(feature):
            fits, what = other is not None and picture(other), "a picture"
        elif feature.names:
            fits, what = (
                other is not None and bool(other.names) and other.shape == feature.shape,
                "a class" + (" for every object" if feature.shape else ""),
            )
        elif feature.encoding == "text":
            fits, what = other is not None and (other.encoding, other.shape) == ("text", feature.shape), "a text"
        else:
            fits = other is not None and (other.dtype, other.shape, bool(other.names)) == (feature.dtype, feature.shape, False)
            what = f"{feature.dtype}{list(feature.shape) if feature.shape else ''}"
        if not fits and name not in OPTIONAL:
            lacking.append(f"{name} ({what})")
    return lacking


def fitting(dataset: catalog.DataSet) -> list[str]:
    """Commands of all chapters that run on a data set of one's own."""
    have, commands = catalog.schema(dataset), []
    for chapter in catalog.chapters().values():
        for replaced in chapter.own_data:
            if not missing(have, catalog.schema(catalog.dataset(replaced).declaration)):
                commands.append(Stage(catalog.chapter(chapter.id), {replaced: dataset.id}).command)
    return commands


def enlisted(found: catalog.Declared, word: str, *, add: bool = False) -> Stage:
    """The stage of a chapter on the data that ``--data word`` names: ``my-photos``, or ``satellite=my-photos`` where a chapter reads several.

    ``add`` enters the chapter into the data set's list if it is not there, which makes it a stage of ``dvc.yaml``; data that do not fit are refused.
    """
    chapter = found.declaration
    replaced, equals, name = word.rpartition("=")
    if not chapter.datasets:
        raise UserError(f"{chapter.id} reads no data set, so there is nothing to put --data {word} in place of")
    if not equals:
        if len(chapter.datasets) > 1:
            raise UserError(f"{chapter.id} reads {', '.join(chapter.datasets)}: say which, --data {chapter.datasets[0]}={word}")
        replaced = chapter.datasets[0]
    if replaced not in chapter.datasets:
        raise UserError(f"{chapter.id} does not read {replaced!r}, it reads {', '.join(chapter.datasets)}")
    dataset = catalog.dataset(name).declaration
    if not dataset.own:
        raise UserError(f"{name} is a data set of the books, --data takes one of your own: `dlbooks data add FOLDER` makes one")
    lacking = missing(catalog.schema(dataset), catalog.schema(catalog.dataset(replaced).declaration))
    if lacking or replaced not in chapter.own_data:
        why = f"its examples lack {', '.join(lacking)}" if lacking else f"{chapter.id} needs the very data of {replaced}"
        others = fitting(dataset)
        raise UserError(
            f"{name} does not fit {chapter.id}: {why}; " + (f"it fits: {', '.join(others)}" if others else "no chapter reads such data yet")
        )
    chosen = Stage(found, {replaced: name})
    entry = chapter.id if len(chapter.datasets) == 1 else f"{chapter.id} {replaced}"
    if add and entry not in dataset.chapters:
        text = dataset.path.read_text(encoding="utf-8")
        line = f"    chapters={_literal(sorted([*dataset.chapters, entry]), 10_000)},"
        changed, count = re.subn(r"^    chapters=\[[^\]]*\],$", lambda _: line, text, count=1, flags=re.M)
        if not count:
            raise UserError(f"{dataset.path}: its DATASET statement has no line `chapters=[…],`: add the folder again")
        from dlbooks import rebuild

        with rebuild.same_results([f"fetch@{name}", f"preprocess@{name}"]):
            _write_all({dataset.path: changed})
    return chosen


# ── looking at a folder ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Found:
    """What a look at every file of a folder gave.

    ``files`` maps the path of each wanted file to the SHA-256 of its bytes; ``skip`` are paths that only ``--skip-bad`` leaves out; ``problems`` and ``warnings`` are lines;
    ``counts`` says what is there; ``names`` are the values of the module's constants, ``settings`` parameters that ``--skip-bad`` changes.
    """

    files: dict[str, str]
    problems: list[str] = field(default_factory=list)
    skip: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    counts: list[str] = field(default_factory=list)
    names: dict[str, object] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)


def wanted(folder: Path, suffixes: Iterable[str]) -> list[str]:
    """Relative paths, sorted, of the files with such a suffix; those that begin with a dot, or lie below such a folder, are no data."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__MACOSX")))
        found += [Path(place, f).relative_to(folder).as_posix() for f in files if not f.startswith(".") and Path(f).suffix.lower() in suffixes]
    return sorted(found)


def read_all(folder: Path, names: list[str], look: Callable[[str, bytes], object]) -> tuple[dict[str, str], dict[str, object], list[str]]:
    """``{name: SHA-256}``, ``{name: look(name, bytes)}`` and problems of all files, read side by side with a progress bar. A ``UserError`` of ``look`` is a problem."""
    from tqdm import tqdm

    def one(name: str):
        if not name.isprintable():
            return name, "", None, f"{name.encode('unicode_escape').decode()}: a file name with characters that cannot be printed"
        path = folder / name
        try:
            if path.is_symlink():
                return name, "", None, f"{name}: a link; put the file itself there"
            if (size := path.stat().st_size) > images.MAX_BYTES:
                return name, "", None, f"{name}: {size / 1e6:,.0f} MB, at most {images.MAX_BYTES / 1e6:.0f} MB are read"
            data = path.read_bytes()
            return name, hashlib.sha256(data).hexdigest(), look(name, data), ""
        except OSError as error:
            return name, "", None, f"{name}: {error.strerror or error}"
        except UserError as error:
            return name, hashlib.sha256(data).hexdigest(), None, str(error)

    digests, results, problems = {}, {}, []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, digest, result, problem in tqdm(
            pool.map(one, names), "looking at every file", len(names), leave=False, disable=None, unit=" files"
        ):
            if problem:
                problems.append(problem)
            else:
                digests[name], results[name] = digest, result
    return digests, results, problems


def image_folder(folder: Path, names: list[str]) -> Found:
    """Pictures in class folders."""
    from dlbooks.datasets import _image_folder

    digests, _, problems = read_all(folder, names, lambda name, data: images.stored(data, name) and None)
    places = _image_folder.places(names)
    bad = {n for n in names if n not in digests}
    loose = [n for n in digests if not places[n][1]]
    problems += [f"{n}: lies in no class folder" for n in loose]
    bad.update(loose)
    classes: dict[str, list[str]] = {}
    for name in names:
        if places[name][1]:
            classes.setdefault(places[name][1], [])
            if name not in bad:
                classes[places[name][1]].append(name)
    tops = [folder / s for s in sorted({n.split("/")[0] for n in names})] if any(split for split, _ in places.values()) else [folder]
    for top in tops:
        for child in sorted(top.iterdir()) if top.is_dir() else []:
            if child.is_dir() and not child.name.startswith((".", "__MACOSX")) and child.name not in classes:
                problems.append(f"{child.relative_to(folder).as_posix()}/: an empty class: no picture in it")
    for label, members in list(classes.items()):
        different = {digests[n] for n in members}
        if len(different) < 2:
            if members:
                problems.append(f"{members[0]}: the only example of class {label!r}: a class needs two, one to learn and one to test")
            elif any(places[n][1] == label for n in names):
                problems.append(f"{label}/: no picture of this class can be read")
            bad.update(members)
            del classes[label]
    kept = {n: d for n, d in digests.items() if n not in bad}
    result = Found(kept, problems, sorted(bad))
    owners: dict[str, list[str]] = {}
    for name, digest in kept.items():
        owners.setdefault(digest, []).append(name)
    for same in owners.values():
        if len({places[n][1] for n in same}) > 1:
            result.warnings.append(f"{same[0]}: the same bytes as {', '.join(same[1:])}, in another class")
    if len(classes) < 2:
        raise UserError(
            f"{folder}: {len(classes)} class{'' if len(classes) == 1 else 'es'} with two or more pictures, at least 2 are needed: one folder for every class",
            *problems,
        )
    result.counts = [f"{label}: {len(members)} pictures" for label, members in sorted(classes.items())]
    result.names = {"NAMES": tuple(sorted(classes))}
    return result


def voc(folder: Path, names: list[str]) -> Found:
    """Pictures with boxes."""
    from dlbooks.datasets import _voc, _voc_folder

    lists = _voc_folder.lists(names)
    names = [n for n in names if n in lists or not n.endswith(".txt")]
    whole, alone, orphans = _voc_folder.pairs(names)
    problems = [f"{n}: no annotation of the same name (or two pictures of one name)" for n in alone] + [
        f"{n}: no picture of the same name" for n in orphans
    ]

    def look(name: str, data: bytes):
        if name.lower().endswith(".xml") or name in lists:
            return data
        return _voc_folder.picture_size(data, name)

    digests, seen, wrong = read_all(folder, names, look)
    problems += wrong
    bad = {n for n in names if n not in digests} | {*alone, *orphans}
    notes = {p: x for p, x in whole.items() if p not in bad and x not in bad}
    for name in lists:
        try:
            _voc.image_set(seen.get(name, b""), name)
        except UserError as error:
            problems.append(str(error))
            bad.add(name)
    from_zero = [_voc.inspect(seen[x], x, size=seen[p], origin=0)[0] for p, x in notes.items()]
    origin = 0 if any(a is not None and (a.boxes[:, :2] == 0).any() for a in from_zero) else 1
    counts: Counter = Counter()
    for picture, note in notes.items():
        found, faults = _voc.inspect(seen[note], note, size=seen[picture], origin=origin, drop_empty=True)
        problems += faults
        if faults:
            bad.update((picture, note))
        else:
            counts.update(found.names)
    bad.update(n for p, x in whole.items() if p in bad or x in bad for n in (p, x))
    if not counts:
        raise UserError(f"{folder}: no picture with a sound annotation that has a box", *problems)
    total = sum(p not in bad for p in whole)
    lines = [f"{total} pictures, {sum(counts.values())} boxes, pixels count from {origin}", *(f"{n}: {k} boxes" for n, k in sorted(counts.items()))]
    return Found(
        {n: d for n, d in digests.items() if n not in bad}, problems, sorted(bad), [], lines, {"NAMES": tuple(sorted(counts)), "ORIGIN": origin}
    )


def text(folder: Path, names: list[str]) -> Found:
    """Text files."""
    from dlbooks.datasets import _text, _text_files

    faults: dict[str, list[str]] = {}

    def look(name: str, data: bytes):
        found, wrong = _text.decode(data, name)
        faults[name] = [message for _, message in wrong]
        return found

    digests, texts, problems = read_all(folder, names, look)
    bad = [n for n in names if n not in digests or faults[n]]
    problems += [line for n in names for line in faults.get(n, [])]
    good = {n: t for n, t in texts.items() if n not in bad}
    parts = _text_files.divided(good, 0.05, 0.05) if good else {"train": ""}
    if empty := [split for split, part in parts.items() if not part.strip()]:
        raise UserError(f"{folder}: too little text: nothing is left for {', '.join(empty)}", *problems)
    counts = [f"{split}: {len(part):,} characters" for split, part in parts.items()] + [f"{len(set(parts['train']))} different characters"]
    return Found({n: d for n, d in digests.items() if n not in bad}, problems, bad, [], counts)


def csv(folder: Path, names: list[str]) -> Found:
    """Time series."""
    from dlbooks.datasets import _csv

    digests, seen, problems = read_all(folder, names, lambda name, data: _csv.inspect(data, name))
    bad = [n for n in names if n not in digests]
    counts, settings, widths = [], {}, {}
    for name, (times, values, columns, faults) in seen.items():
        problems += faults
        jumps = [] if faults else _csv.gaps(times, name)
        problems += jumps
        if faults or jumps:
            settings = {"gaps": "fill"}
        if len(times) < _csv.LEAST:
            problems.append(f"{name}: {len(times)} sound rows, a series needs at least {_csv.LEAST}")
            bad.append(name)
            continue
        widths[name] = values.shape[1]
        counts.append(f"{name}: {len(times):,} rows of {', '.join(columns[:8])}{', …' if len(columns) > 8 else ''}")
    if not counts:
        raise UserError(f"{folder}: no series that can be read", *problems)
    return Found({n: d for n, d in digests.items() if n not in bad}, problems, sorted(bad), [], counts, {}, settings)


def pairs(folder: Path, names: list[str]) -> Found:
    """Sentences or pictures with their counterparts."""
    from dlbooks.datasets import _pair_files, _pairs

    tables = [n for n in names if n.lower().endswith(".tsv")]
    both, alone = _pair_files.sides(n for n in names if n not in tables)
    problems = [f"{n}: no partner of the same name" for n in alone]
    as_pictures = bool(both) and all(Path(f).suffix.lower() in images.SUFFIXES for files in both.values() for f in files)

    def look(name: str, data: bytes):
        return images.stored(data, name) and None if as_pictures else data

    digests, seen, wrong = read_all(folder, names, look)
    problems += wrong
    bad = {n for n in names if n not in digests} | set(alone)
    bad.update(f for files in both.values() if bad & set(files) for f in files)
    kept = {name: files for name, files in both.items() if not bad & set(files)}
    if as_pictures:
        if len(kept) < 3:
            raise UserError(f"{folder}: {len(kept)} pairs of pictures, at least 3 are needed", *problems)
        constants, settings, counts = {}, {}, [f"{len(kept)} pairs of pictures"]
        return Found({n: d for n, d in digests.items() if n not in bad}, problems, sorted(bad), [], counts, constants, settings)
    counts, total, settings = [], 0, {}
    for name, files in [*((n, [n]) for n in tables if n not in bad), *kept.items()]:
        data = [seen[f] for f in files]
        sound, faults = _pairs.table(data[0], name) if len(files) == 1 else _pairs.aligned(*data, tuple(files))
        problems += faults
        if faults:
            settings = {"bad_lines": "skip"}
        if not sound:
            bad.update(files)
            continue
        total += len(sound)
        counts.append(f"{name}: {len(sound):,} pairs")
    if total < 3:
        raise UserError(f"{folder}: {total} sound pairs, at least 3 are needed", *problems)
    suffixes = {tuple(Path(f).suffix[1:].lower() for f in files) for files in kept.values()}
    codes = next(iter(suffixes)) if len(suffixes) == 1 and not tables else ("left", "right")
    codes = tuple(re.sub("[^a-z0-9_]", "_", c) or "text" for c in codes) if codes[0] != codes[-1] else ("left", "right")
    constants = {"LEFT": codes[0], "RIGHT": codes[1]}
    return Found({n: d for n, d in digests.items() if n not in bad}, problems, sorted(bad), [], counts, constants, settings)


@dataclass(frozen=True)
class Kind:
    """One kind of folder: which suffixes count, who looks at it, and what its module says."""

    suffixes: frozenset[str]
    look: Callable[[Path, list[str]], Found]
    module: str
    what: str
    fields: tuple[str, ...]
    features: Callable[[Found], str]
    examples: Callable[[Found], str]


SHARES = ("validation", "test", "seed")
FIELDS = {
    "size": ("int = Field(0, ge=0, le=4096)", "pixels of the shorter side of the pictures in the records; 0 keeps them as they are"),
    "quality": ("int = Field(0, ge=0, le=100)", "JPEG quality of the pictures in the records; 0 keeps their bytes where they fit"),
    "validation": ("float = Field(0.1, ge=0, le=0.5)", "share of the validation split, where the folder has none"),
    "test": ("float = Field(0.1, ge=0, le=0.5)", "share of the test split, where the folder has none"),
    "seed": ("int = Field(0, ge=0, lt=2**31)", "start of the draw of the splits"),
    "gaps": ('Literal["refuse", "fill"] = "refuse"', "missing and wrong lines: refused, or filled by straight lines between their neighbors"),
    "period": ("int = Field(0, ge=0, le=1_000_000)", "steps after which the series repeats; 0 if it is not known"),
    "bad_lines": ('Literal["refuse", "skip"] = "refuse"', "wrong lines: refused, or left out"),
}
KINDS = {
    "image-folder": Kind(
        frozenset(images.SUFFIXES),
        image_folder,
        "_image_folder",
        "pictures in class folders",
        ("size", "quality", *SHARES),
        lambda found: "_image_folder.features(NAMES)",
        lambda found: "_image_folder.examples(folder / FILE, params, NAMES)",
    ),
    "voc": Kind(
        frozenset(images.SUFFIXES | {".xml", ".txt"}),
        voc,
        "_voc_folder",
        "pictures with boxes in Pascal VOC's layout",
        ("size", "quality", *SHARES),
        lambda found: "_voc_folder.features(NAMES)",
        lambda found: "_voc_folder.examples(folder / FILE, params, NAMES, ORIGIN)",
    ),
    "text": Kind(
        frozenset({".txt", ".md", ".text"}),
        text,
        "_text_files",
        "text",
        ("validation", "test"),
        lambda found: "_text_files.FEATURES",
        lambda found: "_text_files.examples(folder / FILE, params)",
    ),
    "csv": Kind(
        frozenset({".csv"}),
        csv,
        "_csv",
        "time series",
        ("test", "gaps", "period"),
        lambda found: "_csv.FEATURES",
        lambda found: "_csv.examples(folder / FILE, params)",
    ),
    "pairs": Kind(
        frozenset(),  # every file of the folder
        pairs,
        "_pair_files",
        "pairs",
        ("size", "quality", "bad_lines", *SHARES),
        lambda found: "_pair_files.features(LEFT, RIGHT)" if found.names else "_pair_files.PICTURES",
        lambda found: f"_pair_files.{'examples(folder / FILE, params, LEFT, RIGHT)' if found.names else 'pictures(folder / FILE, params)'}",
    ),
}


def guessed(folder: Path) -> str:
    """The kind of a folder, from the names of its files; what could be two things is for the person to say."""
    files = [folder.name] if folder.is_file() else wanted(folder, _Any())
    suffixes = Counter(Path(f).suffix.lower() for f in files)
    pictures = sum(n for s, n in suffixes.items() if s in images.SUFFIXES)
    if not files:
        raise UserError(f"{folder}: no file in it")
    choices = []
    if pictures and suffixes[".xml"]:
        choices = ["voc"]
    elif pictures:
        from dlbooks.datasets import _pair_files

        both, alone = _pair_files.sides(f for f in files if Path(f).suffix.lower() in images.SUFFIXES)
        folders = {f.split("/")[0] for f in files if "/" in f}
        choices = ["image-folder", "pairs"] if len(folders) == 2 and both and not alone else ["image-folder"]
    else:
        choices += ["csv"] * bool(suffixes[".csv"]) + ["pairs"] * bool(suffixes[".tsv"]) + ["text"] * bool(suffixes[".txt"] + suffixes[".md"])
        stems = Counter(str(Path(f).with_suffix("")) for f in files)
        if not choices and all(n == 2 for n in stems.values()):
            choices = ["pairs"]
    if len(choices) != 1:
        why = f"could be {' or '.join(choices)}" if choices else f"holds {', '.join(f'{n} × {s or chr(34) * 2}' for s, n in suffixes.most_common(4))}"
        raise UserError(f"{folder} {why}: say which with --kind {'|'.join(choices or KINDS)}")
    return choices[0]


class _Any:
    """Every suffix."""

    def __contains__(self, _) -> bool:
        return True


# ── writing it down ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def add(place: Path, kind: str = "", name: str = "", skip_bad: bool = False, assigned: dict[str, object] | None = None) -> None:
    """Makes a data set of a folder or a single file, or brings the one of that name up to date. All of it is written, or nothing."""
    place = place.expanduser().absolute()
    if not place.exists():
        raise UserError(f"{place}: no such folder or file")
    name = name or re.sub("[^a-z0-9]+", "-", (place.stem if place.is_file() else place.name).lower()).strip("-")
    if not re.fullmatch(NAME, name) or ON in name:
        raise UserError(f"{name!r} is no name for a data set: --name takes lower case letters, digits and hyphens, such as my-photos")
    before = _existing(name)
    for part in ("raw", "tfrecords", "runs", "report"):
        if place.is_relative_to(runtime.root() / "data" / part):
            raise UserError(f"{place} lies in data/{part}, which DVC empties: move it elsewhere")
    if kind and kind not in KINDS:
        raise UserError(f"--kind {kind!r} is unknown: it is one of {', '.join(KINDS)}")
    if not kind and before:
        kind = next(iter(re.findall(r"^Kind `([a-z-]+)`", before.doc, re.M)), "")
    chosen = KINDS[kind := kind or guessed(place)]
    folder, names = (place.parent, [place.name]) if place.is_file() else (place, wanted(place, chosen.suffixes or _Any()))
    if not names:
        raise UserError(f"{place}: no file of kind {kind} in it ({', '.join(sorted(chosen.suffixes))})")
    try:
        found = chosen.look(folder, names)
    except UserError as error:
        _list(error.args[1:])
        raise UserError(error.args[0]) from None
    _list(found.problems)
    if found.problems and not skip_bad:
        raise UserError(
            f"{len(found.problems)} problem{'s' * (len(found.problems) > 1)} in {place}, nothing was written: repair them, or go on without them with --skip-bad"
        )

    values = params.read(runtime.root() / "params.yaml")
    known = (values.get("data") or {}).get(name) or {}
    text = source(name, kind, place, found, before.declaration.chapters if before else [])
    entry = _settings(name, text, chosen, found, known if before else {}, assigned or {})
    yaml = runtime.root() / "params.yaml"
    target = catalog.PACKAGE / "datasets" / f"{name.replace('-', '_')}.py"
    _write_all({yaml: with_entry(yaml.read_text(encoding="utf-8"), name, entry), target: text})

    for line in found.warnings:
        print(f"warning: {line}")
    print(
        f"{name}: {chosen.what}, {len(found.files)} files"
        + (f", {len(found.problems)} problem{'s' * (len(found.problems) > 1)} left out" if found.problems else "")
    )
    for line in found.counts:
        print(f"  {line}")
    commands = fitting(catalog.dataset(name).declaration)
    print("Next:\n" + "\n".join(f"  {c}" for c in [f"dlbooks repro preprocess@{name}", f"dlbooks data show {name}", *commands]))


def remove(name: str) -> None:
    """Takes a data set of one's own away, with its records and the runs on it; the folder it came from stays."""
    before = _existing(name)
    if not before:
        raise UserError(f"there is no data set {name!r}; yours are: {', '.join(d.id for d in catalog.datasets().values() if d.own) or 'none'}")
    runs = [s.id for s in stages().values() if name in s.swaps.values()]
    yaml = runtime.root() / "params.yaml"
    _write_all({before.declaration.path: None, yaml: with_entry(yaml.read_text(encoding="utf-8"), name, None)})
    data = runtime.root() / "data"
    for path in (data / "raw" / name, data / "tfrecords" / name, *(data / "runs" / run for run in runs)):
        shutil.rmtree(path, ignore_errors=True)
    (data / "cards" / f"{name}.png").unlink(missing_ok=True)
    print(f"{name} is no data set any more" + (f", {', '.join(runs)} no stage" if runs else "") + "; your own files were not touched")


def _list(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)


def _existing(name: str) -> catalog.Declared | None:
    """The data set of that name if it is a person's own, nothing if there is none; one of ours is refused."""
    path = catalog.PACKAGE / "datasets" / f"{name.replace('-', '_')}.py"
    if not path.exists():
        return None
    found = catalog.declared(path)
    if not found.declaration.own:
        raise UserError(f"{name} is a data set of this project, not yours: choose another name with --name")
    return found


def _literal(value: object, width: int = 130) -> str:
    """A list or tuple of strings as Python source, one item a line where it is long; strings in double quotes."""
    import json

    if not isinstance(value, list | tuple):
        return json.dumps(value, ensure_ascii=False)
    items, (start, end) = [json.dumps(v, ensure_ascii=False) for v in value], "[]" if isinstance(value, list) else "()"
    comma = "," if end == ")" and len(items) == 1 else ""
    if len(line := f"{start}{', '.join(items)}{comma}{end}") <= width:
        return line
    return "\n".join([start, *(f"    {i}," for i in items), end])


def source(name: str, kind: str, place: Path, found: Found, chapters: list[str]) -> str:
    """The module of a data set of one's own."""
    chosen, file = KINDS[kind], f"{name}.zip"
    if place.is_file():
        folder, include = place.parent, [glob.escape(place.name)]
    else:
        folder, include = place, sorted({"*" + Path(f).suffix for f in found.files})
    skip = sorted(set(_matching(folder, include)) - found.files.keys())
    tree = _tree(found.files)
    title = f"{name}: {chosen.what} of one's own"
    skipped = _literal(skip).replace("\n", "\n" + 12 * " ")
    constants = "".join(f"{k} = {_literal(v)}\n" for k, v in found.names.items())
    fields = "".join(f'    {k}: {FIELDS[k][0]}\n    """{FIELDS[k][1]}"""\n' for k in _fields(chosen, found))
    counts = "\n".join(f"- {line}" for line in found.counts[:100]).replace("\\", "/").replace('"', "'")
    return f'''"""# {name}: {chosen.what} of one's own

Kind `{kind}`, see `{chosen.module}.py`. Written by `dlbooks data add`, which also brings it up to date after the files have changed.

{counts}
"""

from typing import Literal

from pydantic import Field

from dlbooks.catalog import DataSet, Folder
from dlbooks.datasets import {chosen.module}
from dlbooks.params import DataSetParams

DATASET = DataSet(
    id={_literal(name)},
    title={_literal(title)},
    homepage="",
    license="your own",
    citation="",
    files=[
        Folder(
            path={_literal(str(folder))},
            include={_literal(include)},
            tree={_literal(tree)},
            name={_literal(file)},
            skip={skipped},
        )
    ],
    chapters={_literal(chapters, 10_000)},
)


class Params(DataSetParams):
    twin: Literal[False] = False
    """data of one's own have no twin"""
{fields}

FILE = {_literal(file)}
{constants}FEATURES = {chosen.features(found)}


def examples(folder, params):
    """The splits, from the files in the raw folder."""
    return {chosen.examples(found)}
'''


def _fields(chosen: Kind, found: Found) -> list[str]:
    if chosen.module != "_pair_files":
        return list(chosen.fields)
    return [f for f in chosen.fields if (f == "bad_lines") == bool(found.names) or f in SHARES]


def _matching(folder: Path, include: list[str]) -> list[str]:
    """Every file below a folder that a pattern of ``include`` matches, hidden ones too."""
    import fnmatch

    files = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    return [f for f in files if any(fnmatch.fnmatchcase(f, pattern) for pattern in include)]


def _tree(files: dict[str, str]) -> str:
    from dlbooks import archives

    return archives.tree_digest(files)


def origin(dataset: catalog.DataSet) -> str:
    """Where a person's data lie: what their fetch depends on."""
    (files,) = dataset.files
    alone = len(files.include) == 1 and not files.include[0].startswith("*")
    return str(Path(files.path) / re.sub(r"\[(.)\]", r"\1", files.include[0])) if alone else files.path


def _settings(name: str, text: str, chosen: Kind, found: Found, known: dict, assigned: dict[str, object]) -> dict[str, dict]:
    """Values for ``params.yaml`` per profile, checked: what stood there, what ``--skip-bad`` asks for, what is assigned."""
    names = _fields(chosen, found)
    spec = {"Literal": catalog.typing.Literal, "Field": catalog.pydantic.Field, "DataSetParams": params.DataSetParams, "__name__": "dlbooks.own"}
    written = text[text.index("class Params") : text.index("\n\nFILE = ")]  # our own words of a moment ago
    exec(compile(written, name, "exec", dont_inherit=True), spec)
    usual = {"twin": False, "shards": 1, **{n: spec["Params"].model_fields[n].default for n in names}}
    if "validation" in usual and chosen.module == "_text_files":
        usual |= {"validation": 0.05, "test": 0.05}
    if chosen.module == "_csv":
        usual["test"] = 0.2
    entries = {}
    for profile in ("mini", "book"):
        kept = {k: v for k, v in (known.get(profile) or {}).items() if k in usual}
        values = {**usual, **kept, "twin": False, **found.settings, **assigned}
        entries[profile] = params.validate(spec["Params"], values, f"data.{name}.{profile}").model_dump(mode="json")
    return {**entries, "smoke": {}}


def with_entry(text: str, name: str, entry: dict[str, dict] | None) -> str:
    """The text of ``params.yaml`` with the data set's entry put in, changed or taken out; every other line stays as it is."""
    from ruamel.yaml import YAML, YAMLError

    lines = text.splitlines(keepends=True)
    start = next((i for i, line in enumerate(lines) if re.match(r"data:\s*(#.*)?$", line)), None)
    if start is None:
        raise UserError("params.yaml has no line `data:`, below which data sets stand")
    end = next((i for i in range(start + 1, len(lines)) if re.match(r"[^\s#]", lines[i])), len(lines))
    inside = [i for i in range(start + 1, end) if re.match(r"  ", lines[i]) and lines[i].strip()]
    end = inside[-1] + 1 if inside else start + 1  # before the comment that belongs to what follows
    first = next((i for i in range(start + 1, end) if re.match(rf"  {re.escape(name)}:", lines[i])), None)
    if first is not None:
        last = next((i for i in range(first + 1, end) if re.match(r"  \S", lines[i])), end)
        del lines[first:last]
        end -= last - first
    if entry is not None:
        new = [
            f"  {name}:\n",
            *(f"    {profile}: {{{', '.join(f'{k}: {_scalar(v)}' for k, v in values.items())}}}\n" for profile, values in entry.items()),
        ]
        at = first if first is not None else end
        lines[at:at] = new
    changed = "".join(lines)
    yaml = YAML(typ="safe")
    old = yaml.load(text)
    try:
        got = yaml.load(changed)
    except YAMLError:
        got = None
    old["data"] = {**{k: v for k, v in (old["data"] or {}).items() if k != name}, **({name: entry} if entry is not None else {})}
    if got != old:
        raise UserError(
            f"params.yaml: its section `data:` is written in a way that cannot be added to: write every data set as `  {name}:` with two spaces"
        )
    return changed


def _scalar(value: object) -> str:
    import json

    return value if isinstance(value, str) and re.fullmatch("[a-z]+", value) else json.dumps(value)


def _write_all(texts: dict[Path, str | None]) -> None:
    """Writes (or deletes) files and brings ``dvc.yaml`` up to date; if anything fails, everything is as it was."""
    from dlbooks import sync

    texts = {**texts, runtime.root() / "dvc.yaml": ""}
    old = {path: path.read_bytes() if path.exists() else None for path in texts}
    try:
        for path, content in list(texts.items())[:-1]:
            _put(path, None if content is None else content.encode())
        forget()
        sync.write()
        sync.sort_lock()
    except BaseException:
        for path, content in old.items():
            with contextlib.suppress(OSError):
                _put(path, content)
        forget()
        raise


def _put(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
        return
    with runtime.replacing(path) as part:
        part.write_bytes(content)


def forget() -> None:
    """What the catalog has read is read again: a data set's file was written."""
    for cached in (catalog.declared, catalog._datasets):
        cached.cache_clear()
    for dataset in [m for m in sys.modules if m.startswith("dlbooks.datasets.") and not m.rpartition(".")[2].startswith("_")]:
        file = getattr(sys.modules[dataset], "__file__", None)
        if file and "Folder(" in (Path(file).read_text(encoding="utf-8") if Path(file).exists() else "Folder("):
            del sys.modules[dataset]
    importlib.invalidate_caches()
