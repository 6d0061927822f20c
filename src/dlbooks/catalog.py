"""What exists: chapters and data sets, found in their files without importing them.

A chapter's file declares itself in two top-level statements, ``CHAPTER = Chapter(...)`` and ``class Params(ChapterParams)``;
a data set's file in ``DATASET = DataSet(...)`` and ``class Params(DataSetParams)``. Both are data: this module evaluates those
statements alone, so listing a hundred chapters costs milliseconds and never loads TensorFlow.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import itertools
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pydantic

from dlbooks import UserError, runtime
from dlbooks.params import ChapterParams, DataSetParams

PACKAGE = Path(__file__).parent
IMPORT = re.compile(
    r"^[ \t]*((?:from|import) dlbooks[\w.]*(?: import (?:\([^)]*\)|[\w, ]+)| as \w+)?)[ \t]*(?:#.*)?$", re.M
)  # one statement, anywhere
OUTLINE = re.compile(
    r'\A(?:#.*\n)*[rR]?"""(?:[^"\\]|\\[\s\S]|"(?!""))*"""|^(?:CHAPTER = |DATASET = |class Params\().*\n(?:[ \t)}\]].*\n|\n)*', re.M
)  # docstring and declaring statements


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One declared number of a chapter's result.

    ``reported`` is what the book prints and ``source`` where; ``floor`` is the value (a ceiling if ``better="lower"``) that a
    right implementation passes with room to spare on the twin, checked on what ``make repro`` left.
    """

    better: typing.Literal["higher", "lower"]
    reported: float | None = None
    source: str = ""
    floor: float | None = None

    def improves(self, new: float, old: float) -> bool:
        return new > old if self.better == "higher" else new < old

    def passes(self, value: float) -> bool:
        return self.floor is None or (value >= self.floor if self.better == "higher" else value <= self.floor)


@dataclass(frozen=True)
class Variant:
    """A named recipe: parameter overrides with the values that its own source reports."""

    overrides: dict[str, object]
    reported: dict[str, float] = field(default_factory=dict)
    source: str = ""
    about: str = ""


@dataclass(frozen=True, kw_only=True)
class Use:
    """How a person asks the trained model: what ``answer(run, inputs, *, …options) -> list[dict]`` of the chapter's file takes.

    ``takes`` is the kind of one input: ``picture`` (uint8 ``[H, W, 3]``), ``gray picture`` (uint8 ``[H, W]``), ``sound`` (the bytes of a wav file),
    ``text`` (str) or ``numbers`` (float64 ``[n]`` or ``[n, k]``). ``answer`` gives one dictionary per input, in their order: words, numbers,
    lists of them, and pictures as uint8 arrays; an input that cannot be used is a ``UserError``. ``about`` tells a person what to give,
    ``example`` is a text or JSON numbers to begin with. ``batched``: many inputs at once cost less than one by one.
    """

    takes: typing.Literal["picture", "gray picture", "sound", "text", "numbers"]
    about: str
    example: str = ""
    batched: bool = False


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """The declaration of one chapter; the single source of truth for its DVC stage, its MLflow run and its page.

    ``sources`` are places in the books ("B1 1.2.1"); ``datasets`` and ``needs`` are ids of data sets and of other chapters whose
    artifacts it reads; ``hardware`` names the work pool; ``curves`` groups logged series into plots (title → series names);
    ``picture`` is the figure that stands for the chapter, ``example`` a ``dlbooks predict`` command line for its page,
    ``use`` what the server, the notebook and Python ask its model. ``own_data`` are those of
    ``datasets`` that a person's own data set of the same kind may take the place of. ``data_parameters`` are those parameters that
    shape the data or the task itself: results that differ in one are never compared. ``mirrored`` says that training goes through
    ``nn.training.compiled_epoch`` alone, so that several GPUs can share every batch.
    """

    id: str
    title: str
    family: str
    sources: list[str]
    headline: str
    metrics: dict[str, Metric]
    datasets: list[str] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)
    hardware: typing.Literal["cpu", "gpu"] = "cpu"
    mirrored: bool = False
    variants: dict[str, Variant] = field(default_factory=dict)
    curves: dict[str, list[str]] = field(default_factory=dict)
    exports: bool = True
    picture: str = ""
    example: str = ""
    use: Use | None = None
    own_data: list[str] = field(default_factory=list)
    data_parameters: list[str] = field(default_factory=list)

    def __post_init__(self):
        if self.headline not in self.metrics:
            raise ValueError(f"{self.id}: headline {self.headline!r} is not among its metrics: {', '.join(self.metrics)}")

    @property
    def module(self) -> str:
        return f"dlbooks.chapters.{self.family.replace('-', '_')}.{self.id.replace('-', '_')}"

    @property
    def path(self) -> Path:
        return PACKAGE / "chapters" / self.family.replace("-", "_") / f"{self.id.replace('-', '_')}.py"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file upstream publishes: its URLs in the order to try, its digest and its name below ``data/raw/<data set>/``.

    ``sha1`` is for files of which nobody has published a stronger digest.
    """

    urls: list[str]
    name: str
    sha256: str = ""
    sha1: str = ""
    edition: str = ""

    def __post_init__(self):
        if not (self.sha256 or self.sha1):
            raise ValueError(f"file {self.name}: needs a SHA-256 or a SHA-1")


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One archive upstream publishes (tar, zip, or one compressed file), of which the members that match ``include`` are kept as the zip ``name``.

    ``tree`` is the tree digest of the wanted members (see ``archives``), ``md5`` that of the archive's bytes, for hosts that publish no better one.
    ``top`` says that all members lie in one folder, which is left out of their paths.
    """

    urls: list[str]
    include: list[str]
    name: str
    tree: str = ""
    md5: str = ""
    edition: str = ""
    top: bool = True

    def __post_init__(self):
        if not (self.tree or self.md5):
            raise ValueError(f"archive {self.name}: needs a tree digest or the MD5 of its bytes")


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A person's own folder, of which the files that match ``include`` and are not in ``skip`` are kept as the zip ``name``.

    ``path`` is absolute; ``include`` (shell patterns, ``*`` also matches ``/``) and ``skip`` (names) are relative to it. ``tree`` is the
    tree digest of the wanted files when the folder was added: a later change is noticed before anything is trained on it.
    """

    path: str
    include: list[str]
    tree: str
    name: str
    skip: list[str] = field(default_factory=list)
    edition: str = ""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """The declaration of one data set: where it comes from, under which license, which files, which version of our records.

    Where upstream's data exist in several editions, a file that belongs to one says so, and the parameter ``edition`` chooses.
    ``form`` is the address of a license form: such files are never downloaded, a person puts them at ``data/by-hand/<id>/<file name>``.
    ``chapters`` are those that are run on a person's own data set. ``limit`` is the most bytes that are downloaded, and the most unpacked.
    """

    id: str
    title: str
    homepage: str
    license: str
    citation: str
    files: list[Source | Archive | Folder]
    version: str = "1.0.0"
    form: str = ""
    chapters: list[str] = field(default_factory=list)
    limit: int = 32 << 30

    @property
    def own(self) -> bool:
        """Whether it is a person's own, added from a folder."""
        return any(isinstance(f, Folder) for f in self.files)

    @property
    def module(self) -> str:
        return f"dlbooks.datasets.{self.id.replace('-', '_')}"

    @property
    def path(self) -> Path:
        return PACKAGE / "datasets" / f"{self.id.replace('-', '_')}.py"


@dataclass(frozen=True)
class Declared:
    """A declaration with what stands beside it in the file: its parameters' class and the prose of its docstring."""

    declaration: Chapter | DataSet
    params: type[pydantic.BaseModel]
    doc: str


@cache
def declared(path: Path) -> Declared:
    """Evaluates the declaring statements of a chapter's or data set's file and nothing else of it."""
    tree = ast.parse(_outline(path.read_text(encoding="utf-8")), str(path))
    names = {
        **{c.__name__: c for c in (Chapter, Metric, Variant, Use, DataSet, Source, Archive, Folder, ChapterParams, DataSetParams)},
        **{n: getattr(typing, n) for n in ("Literal", "Annotated")},
        **{"Field": pydantic.Field, "pydantic": pydantic, "__name__": path.stem},
    }
    exec(compile(tree, str(path), "exec", dont_inherit=True), names)  # annotations as objects, not strings
    declaration = names.get("CHAPTER") or names.get("DATASET")
    if declaration is None or "Params" not in names:
        raise ValueError(f"{path}: needs both a CHAPTER or DATASET statement and a class Params")
    if declaration.path != path:
        raise ValueError(f"{path}: declares {declaration.id!r}, whose place is {declaration.path.relative_to(PACKAGE)}")
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            _describe(names["Params"], node)
    return Declared(declaration, names["Params"], ast.get_docstring(tree) or "")


def _outline(text: str) -> str:
    """A file's docstring and declaring statements, each in its lines; to parse the rest would take most of the time."""
    kept, end = "", 0
    for found in OUTLINE.finditer(text):
        kept += "\n" * text.count("\n", end, found.start()) + found[0]
        end = found.end()
    return kept


def _describe(params: type[pydantic.BaseModel], node: ast.ClassDef) -> None:
    """Makes the docstring below a field its description (pydantic would read the file again for it, and look through all modules)."""
    for line, below in itertools.pairwise(node.body):
        if isinstance(line, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            params.model_fields[line.target.id].description = inspect.cleandoc(below.value.value)


@cache
def _chapters() -> dict[str, Declared]:
    found = [declared(p) for p in sorted(PACKAGE.glob("chapters/*/[!_]*.py"))]
    return {d.declaration.id: d for d in found}


@cache
def _datasets() -> dict[str, Declared]:
    found = [declared(p) for p in sorted(PACKAGE.glob("datasets/[!_]*.py"))]
    return {d.declaration.id: d for d in found}


def chapters() -> dict[str, Chapter]:
    """All chapters by id, those that others need first."""
    found = {i: d.declaration for i, d in _chapters().items()}
    order: dict[str, Chapter] = {}

    def visit(chapter_id: str):
        for needed in found[chapter_id].needs:
            visit(needed)
        order[chapter_id] = found[chapter_id]

    for chapter_id in found:
        visit(chapter_id)
    return order


def datasets() -> dict[str, DataSet]:
    """All data sets by id."""
    return {i: d.declaration for i, d in _datasets().items()}


def _one(pattern: str, every: Callable[[], dict[str, Declared]], name: str, kind: str, listing: str) -> Declared:
    """The file of that name alone, so that a mistake in another one is that one's; the others only to suggest a name."""
    if re.fullmatch("[a-z0-9][a-z0-9-]*", name):
        for path in PACKAGE.glob(pattern.format(name.replace("-", "_"))):
            return declared(path)
    found = every()
    close = difflib.get_close_matches(name, found, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else listing.format(", ".join(found))
    raise UserError(f"unknown {kind} {name!r}: {hint}")


def chapter(name: str) -> Declared:
    """One chapter's declaration, parameters' class and docstring; an unknown id names the nearest known ones."""
    return _one("chapters/*/{}.py", _chapters, name, "chapter", "`dlbooks list` shows all chapters")


def dataset(name: str) -> Declared:
    """One data set's declaration, parameters' class and docstring."""
    return _one("datasets/{}.py", _datasets, name, "data set", "known are {}")


def load(declaration: Chapter | DataSet):
    """Imports the module of a chapter or data set, heavy imports and all."""
    runtime.load_tensorflow()
    return importlib.import_module(declaration.module)


def schema(dataset: DataSet) -> dict:
    """Fields of a data set's examples that chapters read: ``FEATURES`` of its module, which is imported without TensorFlow."""
    return importlib.import_module(dataset.module).FEATURES


def code_of(path: Path) -> list[Path]:
    """The file and the modules of ``nn`` and ``datasets`` it imports, however deep: what makes its stage stale."""
    seen: dict[Path, None] = {}

    def visit(file: Path):
        if file not in seen:
            seen[file] = None
            for target in _imports(file, file.stat().st_mtime_ns):
                visit(target)

    visit(path)
    return [path, *sorted(p for p in seen if p != path)]


@cache
def _imports(file: Path, _changed: int) -> list[Path]:
    """Modules of chapters, ``nn`` and ``datasets`` that a file imports itself."""
    found = []
    statements = IMPORT.findall(file.read_text(encoding="utf-8"))  # a tenth of the time that walking the whole file's tree takes
    for node in ast.parse("\n".join(statements)).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        else:
            continue
        for name in names:
            if name.startswith(("dlbooks.nn.", "dlbooks.datasets.", "dlbooks.chapters.")):
                target = PACKAGE.parent / (name.replace(".", "/") + ".py")
                if target.exists():
                    found.append(target)
    return found
