"""# Shakespeare: forty thousand lines of the plays

One text file, 1,115,394 ASCII characters of 65 kinds: speakers' names, speeches, blank lines between them. It is the file that made character
networks popular; B1's own copy is larger (its sample lets Proteus and Desdemona speak, who do not occur here).

Splits are stretches of the text, one example each: the first nine tenths for training, then a twentieth each for validation and test. A model that looked
at neighboring windows of what it is tested on would be asked nothing new.

The twin draws speeches from a small grammar of twenty-eight nouns, adjectives, verbs and adverbs in the same layout: 60,000 characters of 48 kinds. The last
character tells two bits more than none, the last four leave half a bit: the entropy of the choice of words.
"""

from __future__ import annotations

import random
from pathlib import Path

from pydantic import Field

from dlbooks.catalog import DataSet, Source
from dlbooks.datasets._text import read_text, split
from dlbooks.params import DataSetParams
from dlbooks.records import Feature

DATASET = DataSet(
    id="shakespeare",
    title="Shakespeare's plays, a megabyte of them",
    homepage="https://github.com/karpathy/char-rnn",
    license="public domain",
    citation="A. Karpathy: The unreasonable effectiveness of recurrent neural networks, 2015 (tinyshakespeare)",
    files=[
        Source(
            urls=[
                "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
            ],
            sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            name="input.txt",
        )
    ],
)


class Params(DataSetParams):
    characters: int = Field(60_000, ge=2_000, le=10_000_000)
    """length of the twin"""


FEATURES = {"text": Feature(encoding="text")}

SPEAKERS = ("ROMEO", "JULIET", "DUKE VINCENTIO", "NURSE", "CLOWN", "QUEEN ANNE")
ADJECTIVES = ("gentle", "noble", "wicked", "sweet", "bitter", "ancient", "fair", "honest")
NOUNS = ("king", "sword", "heart", "crown", "mother", "night", "friend", "ghost")
VERBS = ("doth love", "hath seen", "will follow", "did banish", "must obey", "shall kiss")
ADVERBS = ("tonight", "again", "in vain", "by my troth", "most gladly", "at dawn")
QUESTIONS = ("wouldst thou", "art thou", "say'st thou")


def twin(folder: Path, params: Params) -> None:
    """Draws speeches until the file is full."""
    rng = random.Random(0)

    def phrase() -> str:
        adjective = rng.choice(ADJECTIVES) + " " if rng.random() < 0.5 else ""
        return f"{rng.choice(('the', 'my', 'thy'))} {adjective}{rng.choice(NOUNS)}"

    def line() -> str:
        kind = rng.random()
        if kind < 0.5:
            text = f"{phrase()} {rng.choice(VERBS)} {phrase()} {rng.choice(ADVERBS)}."
        elif kind < 0.75:
            text = f"O {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}, what {rng.choice(QUESTIONS)}?"
        else:
            text = f"Speak, {rng.choice(NOUNS)}: {phrase()} {rng.choice(VERBS)} {phrase()}!"
        return text[0].upper() + text[1:]

    parts, length = [], 0
    while length < params.characters:
        lines = "".join(line() + "\n" for _ in range(rng.randint(1, 4)))
        parts.append(f"{rng.choice(SPEAKERS)}:\n{lines}\n")
        length += len(parts[-1])
    (folder / "input.txt").write_text("".join(parts)[: params.characters], encoding="utf-8")


def examples(folder: Path, params: Params) -> dict:
    text = read_text(folder / "input.txt")
    return {name: [{"text": part}] for name, part in split(text).items()}
