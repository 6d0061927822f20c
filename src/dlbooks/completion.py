"""What the shell offers behind a TAB: names read off the files, with the standard library alone, so that an answer takes a blink.

Every function takes the beginning of the word to complete and gives words, or (word, what it is) pairs; typer keeps those that begin so. A file
that cannot be read offers nothing: a TAB never shows an error.
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

from dlbooks import runtime

PACKAGE = Path(__file__).parent
Offers = list[tuple[str, str]]


def _files(pattern: str) -> dict[str, Path]:
    """Files by the id that their name stands for."""
    return {p.stem.replace("_", "-"): p for p in sorted(PACKAGE.glob(pattern))}


def _body(path: Path) -> list[ast.stmt]:
    try:
        return ast.parse(path.read_text(encoding="utf-8")).body
    except (OSError, SyntaxError, ValueError):
        return []


def _literal(node: ast.expr | None):
    try:
        return ast.literal_eval(node) if node is not None else None
    except ValueError:
        return None


def _declared(path: Path, name: str) -> dict[str, ast.expr]:
    """The keyword arguments of ``CHAPTER = Chapter(…)`` or ``DATASET = DataSet(…)``."""
    for node in _body(path):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name and isinstance(node.value, ast.Call):
            return {k.arg: k.value for k in node.value.keywords if k.arg}
    return {}


def chapters(incomplete: str = "") -> Offers:
    """Chapters with their titles."""
    found = {name: path for name, path in _files("chapters/*/[!_]*.py").items() if name.startswith(incomplete)}
    return [(name, _literal(_declared(path, "CHAPTER").get("title")) or "") for name, path in found.items()]


def datasets(incomplete: str = "") -> Offers:
    """Data sets with their titles."""
    found = {name: path for name, path in _files("datasets/[!_]*.py").items() if name.startswith(incomplete)}
    return [(name, _literal(_declared(path, "DATASET").get("title")) or "") for name, path in found.items()]


def _own() -> dict[str, list[str]]:
    """Data sets of the person's own, each with the chapters that run on it."""
    found = {}
    for name, path in _files("datasets/[!_]*.py").items():
        if b"Folder(" in path.read_bytes():
            found[name] = [str(entry).partition(" ")[0] for entry in _literal(_declared(path, "DATASET").get("chapters")) or []]
    return found


def own(incomplete: str = "") -> list[str]:
    """Data sets of the person's own, for ``--data``; ``satellite=`` before the name stays."""
    before = incomplete.rpartition("=")
    return [f"{before[0]}{before[1]}{name}" for name in _own()]


def stages(incomplete: str = "") -> list[str]:
    """Stages of the pipeline."""
    data, mine = _files("datasets/[!_]*.py"), _own()
    on_own = [f"{chapter}-on-{name}" for name, names in mine.items() for chapter in names]
    return [*_files("chapters/*/[!_]*.py"), *on_own, *(f"{what}@{name}" for name in data for what in ("fetch", "preprocess")), "report"]


def _chapter() -> Path | None:
    """The file of the chapter that stands on the command line: typer's context knows it only behind options that are complete."""
    known = _files("chapters/*/[!_]*.py")
    words = (os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")).split()
    return next((known[word] for word in words[2:] if word in known), None)


def variants(incomplete: str = "") -> list[str]:
    """Recipes of the chapter on the command line."""
    path = _chapter()
    node = _declared(path, "CHAPTER").get("variants") if path else None
    return [str(_literal(key)) for key in node.keys if key is not None] if isinstance(node, ast.Dict) else []


def profiles(incomplete: str = "") -> list[str]:
    return list(runtime.PROFILES)


def aliases(incomplete: str = "") -> list[str]:
    """The registry's aliases."""
    return ["champion", "challenger"]


def runs(incomplete: str = "") -> list[str]:
    """Chapters, and behind ``@`` the registry's aliases, for ``dlbooks compare``."""
    name, at, _ = incomplete.partition("@")
    return [f"{name}@{alias}" for alias in aliases()] if at else list(_files("chapters/*/[!_]*.py"))


def assignments(incomplete: str = "") -> Offers:
    """``steps=`` and what it is, for every parameter of the chapter on the command line; behind ``net=`` the values that it can have."""
    path, (key, before) = _chapter(), _key(incomplete)
    if path is None:
        return []
    found = parameters(path)
    if key:
        return [(f"{before}{value}", "") for value in found.get(key, ("", []))[1]]
    return [(f"{name}=", about) for name, (about, _) in found.items()]


def _key(incomplete: str) -> tuple[str, str]:
    """The key of an assignment whose value is being typed, and what of it stands in the word: bash hands ``net=b`` over as three words."""
    key, equals, _ = incomplete.partition("=")
    if key and equals:
        return key, f"{key}="
    words = os.environ.get("COMP_WORDS", "").split()[: int(os.environ.get("COMP_CWORD") or 0)]
    return (words[-2], "") if len(words) > 1 and words[-1] == "=" else ("", "")


def parameters(path: Path) -> dict[str, tuple[str, list[str]]]:
    """Parameters of a chapter's ``class Params``: what each is, and its values where they can be counted."""
    found: dict[str, tuple[str, list[str]]] = {}
    body = next((node.body for node in _body(path) if isinstance(node, ast.ClassDef) and node.name == "Params"), [])
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            about = _literal(following.value) if isinstance(following, ast.Expr) else ""
            found[node.target.id] = (str(about or ""), _values(node))
    return {**found, "seed": ("start of every random draw", [])}


def _values(node: ast.AnnAssign) -> list[str]:
    """Yes and no, the words of a ``Literal[…]``, or those of a pattern ``^(adam|sgd)$``."""
    words = ast.unparse(node)
    if re.match(r"\w+: bool\b", words):
        return ["true", "false"]
    if literal := re.match(r"\w+: Literal\[([^\]]*)\]", words):
        return [str(v) for v in _literal(ast.parse(f"({literal[1]},)", mode="eval").body) or ()]
    choice = re.match(r"\w+: str = .*\^\(([\w|-]+)\)\$", words)
    return choice[1].split("|") if choice else []


def options(incomplete: str = "") -> list[str]:
    """``top=`` for every option of ``predict`` of the chapter on the command line."""
    path = _chapter()
    for node in _body(path) if path and not any(_key(incomplete)) else []:
        if isinstance(node, ast.FunctionDef) and node.name == "predict":
            return [f"{argument.arg}=" for argument in node.args.kwonlyargs]
    return []
