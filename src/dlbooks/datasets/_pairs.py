"""Parallel text: sentences in two languages, line by line in two files, or in the first two columns of a tab-separated one.

Both readers return the pairs ``(place, left, right)`` that are sound, ``place`` the line's number from 0, and one line of text for everything that is
wrong; ``sound`` takes only a text without faults. White space around a sentence is taken away. What is refused: files of different length (one missing
line shifts all that follow, so then no pair is returned), an empty side, a line without a tab, and what `_text.py` refuses.

Records have TFDS's translation style: a text per language under its code (`en`, `de`), and ``index``, the pair's place in its file.
"""

from __future__ import annotations

from pathlib import Path

from dlbooks import UserError
from dlbooks.datasets import _text
from dlbooks.records import Feature

Pair = tuple[int, str, str]


def features(left: str, right: str) -> dict[str, Feature]:
    """The schema of two languages, by their codes."""
    return {left: Feature(encoding="text"), right: Feature(encoding="text"), "index": Feature("int64")}


def aligned(left: bytes, right: bytes, where: tuple[str, str]) -> tuple[list[Pair], list[str]]:
    """Two line-aligned files and their names → pairs, problems."""
    (first, faults), (second, others) = (_text.decode(data, name) for data, name in zip((left, right), where, strict=True))
    wrong, problems = {line for line, _ in (*faults, *others)}, [message for _, message in (*faults, *others)]
    rows = _text.lines(first), _text.lines(second)
    lengths = [len(side) for side in rows]
    if lengths[0] != lengths[1]:
        longer, shorter = where if lengths[0] > lengths[1] else where[::-1]
        alone = min(lengths) + 1
        counts = f"{where[0]} has {lengths[0]} lines, {where[1]} {lengths[1]}"
        return [], [*problems, f"{counts}: line {alone} of {longer} has no partner in {shorter}"]
    pairs = []
    for place, sides in enumerate(zip(*rows, strict=True)):
        empty = [name for name, side in zip(where, sides, strict=True) if not side.strip()]
        problems += [f"{name}, line {place + 1}: an empty line has no translation" for name in empty]
        if not empty and place + 1 not in wrong:
            pairs.append((place, sides[0].strip(), sides[1].strip()))
    return ([], problems) if 0 in wrong else (pairs, problems)


def table(data: bytes, where: str) -> tuple[list[Pair], list[str]]:
    """A tab-separated file and its name → pairs, problems; columns after the second, such as Tatoeba's attribution, are dropped."""
    found, faults = _text.decode(data, where)
    wrong, problems = {line for line, _ in faults}, [message for _, message in faults]
    pairs = []
    for place, line in enumerate(_text.lines(found)):
        sides = [side.strip() for side in line.split("\t")[:2]]
        if len(sides) == 1:
            problems.append(f"{where}, line {place + 1}: no tab between a sentence and its translation")
        elif not all(sides):
            problems.append(f"{where}, line {place + 1}: the {'second' if sides[0] else 'first'} column is empty")
        elif place + 1 not in wrong:
            pairs.append((place, *sides))
    return ([], problems) if 0 in wrong else (pairs, problems)


def sound(found: tuple[list[Pair], list[str]]) -> list[Pair]:
    """The pairs of a text without faults; the first fault is a ``UserError``."""
    pairs, problems = found
    if problems:
        raise UserError(problems[0])
    return pairs


def read(left: Path, right: Path | None = None) -> list[Pair]:
    """The pairs of two raw files, or of a tab-separated one; ``.gz`` is unzipped."""
    if right is None:
        return sound(table(_text.read_bytes(left), left.name))
    return sound(aligned(_text.read_bytes(left), _text.read_bytes(right), (left.name, right.name)))


def rows(pairs: list[Pair], left: str, right: str) -> list[dict]:
    """Pairs → examples with the languages' codes as names."""
    return [{left: a, right: b, "index": place} for place, a, b in pairs]
