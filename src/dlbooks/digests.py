"""``SHA256SUMS``: what every folder of raw files and records carries, in the format of ``sha256sum``, so that one wrong bit is found and named."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dlbooks import UserError

SUMS = "SHA256SUMS"


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _found(folder: Path, wanted: Callable[[str], bool]) -> dict[str, str]:
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    names = [n for n in names if n != SUMS and wanted(n)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(names, pool.map(digest, (folder / n for n in names)), strict=True))


def write(folder: Path) -> None:
    """Writes ``SHA256SUMS`` of every other file, sorted by path, into a folder whose files are all there."""
    temporary = folder / (SUMS + ".part")
    temporary.unlink(missing_ok=True)
    text = "".join(f"{value}  {name}\n" for name, value in _found(folder, lambda name: True).items())
    temporary.write_text(text, encoding="utf-8", newline="\n")
    os.replace(temporary, folder / SUMS)


def remedy(folder: Path, stage: str) -> str:
    """What to do about a damaged folder of raw files (``fetch``) or records (``preprocess``)."""
    return f"delete {folder} and run `dvc repro {stage}@{folder.name}`"


def check(folder: Path, remedy: str, wanted: Callable[[str], bool] = lambda name: True) -> None:
    """Compares the files of a folder, those whose relative path is ``wanted``, with its ``SHA256SUMS``.

    The first difference is a ``UserError`` with both digests that ends with ``remedy``, the command that makes the folder anew.
    """
    try:
        lines = (folder / SUMS).read_bytes().decode("utf-8", "replace").split("\n")
    except FileNotFoundError:
        raise UserError(f"{folder / SUMS} is missing: {remedy}") from None
    if lines.pop() or any(len(line) < 67 or line[64:66] != "  " for line in lines):
        raise UserError(f"{folder / SUMS} is damaged: {remedy}")
    expected = {line[66:]: line[:64] for line in lines if wanted(line[66:])}
    actual = _found(folder, wanted)
    for name in sorted({*expected, *actual}):
        if name not in actual:
            raise UserError(f"{str(folder / name)!r} is missing, expected with SHA-256 {expected[name]} ({SUMS}): {remedy}")
        if name not in expected:
            raise UserError(f"{folder / name} (SHA-256 {actual[name]}) is not in {SUMS}: {remedy}")
        if actual[name] != expected[name]:
            raise UserError(f"{folder / name}: expected SHA-256 {expected[name]} ({SUMS}), found {actual[name]}: {remedy}")
