"""# Tang poems: 72,514 lines of ten characters

B1's file of five-character poems in simplified script. Every line has twelve characters: five, a comma, five, a full stop (in 100 lines the comma
stands elsewhere); 2,749 lines occur more than once. There are no titles and no marks between poems, so a model learns couplets, not poems. Of 5,387
kinds of characters the 3,500 most frequent cover 99.5 % of the text.

Splits are by lines in the file's order, 90 : 5 : 5, one example each: its lines, every one with its line break.

The twin has the same layout. A character is a noun, an adjective, a verb, an adverb or a number, and both halves of a line follow the same one of five
patterns of these classes: parallelism, the rule of the real form that a program can check. No character occurs twice in a half line. What
comes next depends on what stood six characters before, so no short context does well: 4.5 bits with one character, no less with two.
"""

from __future__ import annotations

import random
from pathlib import Path

from pydantic import Field

from dlbooks import UserError
from dlbooks.catalog import DataSet, Source
from dlbooks.datasets._text import read_text, split
from dlbooks.params import DataSetParams
from dlbooks.records import Feature

DATASET = DataSet(
    id="poems",
    title="Tang poems of five-character lines",
    homepage="https://github.com/hzy46/Deep-Learning-21-Examples",
    license="not stated (the poems are in the public domain)",
    citation="He Zhiyuan: 21 projects of deep learning, chapter 12, 2018",
    files=[
        Source(
            urls=[
                "https://raw.githubusercontent.com/hzy46/Deep-Learning-21-Examples/15c2d9edccad090cd67b033f24a43c544e5cba3e/chapter_12/data/poetry.txt",
            ],
            sha256="ffc4d1112de038bc26cd0271ef3094fe9bae98e36c72537f4997959dec167154",
            name="poetry.txt",
        )
    ],
)


class Params(DataSetParams):
    lines: int = Field(1_500, ge=60, le=1_000_000)
    """lines of the twin"""


FEATURES = {"text": Feature(encoding="text")}

CLASSES = {
    "N": "山水云月花鸟风雨松竹江海雪霜烟草",
    "A": "青白红寒远空孤清长深高明新古寂幽",
    "V": "照落生飞归来去过入出望听惊开满随",
    "D": "独常初又不未已自",
    "Q": "一两三几千万",
}
PATTERNS = ("ANVAN", "QNDVN", "NADVN", "ANQNV", "DVNAN")


def twin(folder: Path, params: Params) -> None:
    """Draws couplets whose halves are parallel."""
    rng = random.Random(0)

    def half(pattern: str) -> str:
        characters = ""
        for kind in pattern:
            characters += rng.choice([c for c in CLASSES[kind] if c not in characters])
        return characters

    lines = []
    for _ in range(params.lines):
        pattern = rng.choice(PATTERNS)
        lines.append(f"{half(pattern)}，{half(pattern)}。")
    (folder / "poetry.txt").write_text("\n".join(lines), encoding="utf-8")


def examples(folder: Path, params: Params) -> dict:
    lines = read_text(folder / "poetry.txt").split("\n")
    for number, line in enumerate(lines, 1):
        if len(line) != 12:
            raise UserError(f"poetry.txt, line {number}: {len(line)} characters, expected 12")
    return {name: [{"text": "".join(line + "\n" for line in part)}] for name, part in split(lines).items()}
