"""# English words: the Brown corpus or text8

A stream of English words in lower case, a to z and nothing else, digits spelled out one by one: what word vectors and word models are trained
on. It comes in two editions, made alike:

- `brown` (the default): the Brown corpus, 500 texts of about 2,000 words printed in the United States in 1961, from news to romance.
  Upstream's zip holds a file per text, `brown/ca01` … `brown/cr09`, with tokens `word/tag`. Cleaned: 1,046,939 words, 41,433 of them distinct.
- `text8`: the corpus of the books. The first hundred million characters of an English Wikipedia of 2006 after the same cleaning, 17,005,207 words in
  one zip with the one member `text8`. Set `edition: text8` in `params.yaml` to have it.

A record is one text of Brown, or 100,000 words of text8; `index` is its place in the corpus.

The twin has upstream's layout and a small world: twelve couples (king and queen, crown and throne, he and she), twelve countries with their capitals,
six animals, fruits, colors and numbers, in phrases that say who goes with whom. Who belongs together is told by company alone, as in real text, only
far more often: 60,000 words, 145 of them distinct.
"""

from __future__ import annotations

import random
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from dlbooks import UserError, archives
from dlbooks.catalog import DataSet, Source
from dlbooks.params import DataSetParams
from dlbooks.records import Feature

DATASET = DataSet(
    id="english-words",
    title="English words: the Brown corpus or text8",
    homepage="http://mattmahoney.net/dc/textdata.html",
    license="Brown corpus: non-commercial use; text8: CC BY-SA 3.0 (Wikipedia)",
    citation="W. N. Francis, H. Kučera: A Standard Corpus of Present-Day Edited American English, Brown University, 1964/1979; "
    "M. Mahoney: About the test data, 2011",
    files=[
        Source(
            urls=["https://raw.githubusercontent.com/nltk/nltk_data/5db857e6f7df11eabb5e5665836db9ec8df07e28/packages/corpora/brown.zip"],
            sha256="9b275f9b3b95d7bd66ccfb7cd259f445a13bbe5d1f4107aba09fd3e8364bafa6",
            name="brown.zip",
            edition="brown",
        ),
        Source(
            urls=["http://mattmahoney.net/dc/text8.zip"],
            sha256="a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
            name="text8.zip",
            edition="text8",
        ),
    ],
)


class Params(DataSetParams):
    edition: Literal["brown", "text8"] = "brown"
    """which corpus: the Brown corpus (a million words) or text8 (seventeen)"""
    words: int = Field(60_000, ge=1_000, le=1_000_000)
    """words of the twin"""


FEATURES = {"text": Feature(encoding="text"), "index": Feature("int64")}
BLOCK = 100_000  # words of text8 in a record

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def text8_clean(text: str) -> str:
    """Lower case, digits spelled out one by one, everything else than a–z to one space: what made text8 of Wikipedia's pages.

    "B1, Word2Vec" → "b one word two vec". M. Mahoney, About the test data, http://mattmahoney.net/dc/textdata.html
    """
    spelled = re.sub("[0-9]", lambda digit: f" {DIGITS[int(digit[0])]} ", text.lower())
    return re.sub("[^a-z]+", " ", spelled).strip()


# ## The twin's world
# Each pair of words has two words of its own that both of its halves keep company with, and each half the four words of its side.
COUPLES = {
    ("king", "queen"): ("crown", "throne"),
    ("man", "woman"): ("adult", "person"),
    ("boy", "girl"): ("school", "toy"),
    ("father", "mother"): ("parent", "child"),
    ("brother", "sister"): ("sibling", "twin"),
    ("husband", "wife"): ("wedding", "ring"),
    ("son", "daughter"): ("heir", "family"),
    ("uncle", "aunt"): ("cousin", "visit"),
    ("prince", "princess"): ("castle", "palace"),
    ("actor", "actress"): ("stage", "film"),
    ("waiter", "waitress"): ("menu", "tip"),
    ("lord", "lady"): ("manor", "servant"),
}
COUPLE_SIDES = (("he", "his", "him", "himself"), ("she", "her", "hers", "herself"))
COUNTRIES = {
    ("france", "paris"): ("wine", "french"),
    ("germany", "berlin"): ("beer", "german"),
    ("italy", "rome"): ("pasta", "italian"),
    ("spain", "madrid"): ("bull", "spanish"),
    ("russia", "moscow"): ("snow", "russian"),
    ("japan", "tokyo"): ("sushi", "japanese"),
    ("china", "beijing"): ("tea", "chinese"),
    ("england", "london"): ("fog", "english"),
    ("egypt", "cairo"): ("pyramid", "egyptian"),
    ("greece", "athens"): ("olive", "greek"),
    ("poland", "warsaw"): ("amber", "polish"),
    ("sweden", "stockholm"): ("elk", "swedish"),
}
COUNTRY_SIDES = (("nation", "border", "army", "flag"), ("city", "mayor", "street", "capital"))
CLASSES = {
    "animals": ("cat", "dog", "horse", "cow", "sheep", "goat"),
    "fruits": ("apple", "pear", "plum", "cherry", "grape", "lemon"),
    "colors": ("red", "green", "blue", "yellow", "black", "white"),
    "numbers": ("two", "three", "four", "five", "six", "seven"),
}
PHRASES = ("the {x} {s} {p}", "{s} the {x} {p}", "{s} of {x} and {p}", "{x} {s} in {p}")


def story(words: int, seed: int = 0) -> list[str]:
    """The first ``words`` words of the twin's endless text."""
    draw = random.Random(seed)
    told: list[str] = []
    while len(told) < words:
        kind = draw.random()
        if kind < 0.7:
            pairs, sides = (COUPLES, COUPLE_SIDES) if kind < 0.35 else (COUNTRIES, COUNTRY_SIDES)
            pair, half = draw.choice(list(pairs)), draw.randrange(2)
            company = [draw.choice(pairs[pair]), draw.choice(sides[half])]
            draw.shuffle(company)
            sentence = draw.choice(PHRASES).format(x=pair[half], s=company[0], p=company[1])
        else:
            animal, fruit, color, number = (draw.choice(CLASSES[name]) for name in CLASSES)
            other = draw.choice(CLASSES["colors"])
            sentence = draw.choice(
                (
                    f"the {color} {animal} eats the {other} {fruit}",
                    f"{number} {animal} ran and {draw.choice(CLASSES['numbers'])} {fruit} fell",
                    f"a {animal} likes a {color} {fruit}",
                )
            )
        told += sentence.split()
    return told[:words]


def twin(folder: Path, params: Params) -> None:
    """Writes the story in the layout of the wanted edition: six tagged texts of Brown, or text8's one member."""
    told = story(params.words)
    if params.edition == "text8":
        archives.pack(folder / "text8.zip", {"text8": (" " + " ".join(told)).encode()})
        return
    length = -(-len(told) // 6)
    texts = [told[start : start + length] for start in range(0, len(told), length)]
    members = {f"brown/ca{number:02d}": (" ".join(f"{word}/nn" for word in text) + "\n").encode() for number, text in enumerate(texts, 1)}
    archives.pack(folder / "brown.zip", {**members, "brown/cats.txt": "".join(f"{name[6:]} news\n" for name in members).encode()})


# ## From files to records
def examples(folder: Path, params: Params) -> dict[str, Iterator[dict]]:
    path = folder / f"{params.edition}.zip"
    texts = brown_texts(path) if params.edition == "brown" else text8_blocks(path)
    return {"train": ({"text": text, "index": index} for index, text in enumerate(texts))}


def brown_texts(path: Path) -> Iterator[str]:
    """The clean words of every text, in the order of their names; the tag behind the last slash of a token is dropped."""
    with opened(path) as archive:
        names = sorted(name for name in archive.namelist() if re.fullmatch(r"brown/c[a-r][0-9][0-9]", name))
        if not names:
            raise UserError(f"{path}: expected texts brown/ca01 … brown/cr09, found {', '.join(archive.namelist()[:3])}")
        for name in names:
            tokens = decoded(archive, name, path).split()
            if wrong := next((token for token in tokens if "/" not in token), None):
                raise UserError(f"{path}, {name}: expected tokens word/tag, found {wrong!r}")
            yield text8_clean(" ".join(token.rpartition("/")[0] for token in tokens))


def text8_blocks(path: Path) -> Iterator[str]:
    """Blocks of 100,000 words; anything but a to z and spaces is refused."""
    with opened(path) as archive:
        if archive.namelist() != ["text8"]:
            raise UserError(f"{path}: expected the one member text8, found {', '.join(archive.namelist()[:3])}")
        text = decoded(archive, "text8", path)
    if wrong := re.search("[^a-z ]", text):
        raise UserError(f"{path}, text8: byte {wrong.start()} is {wrong[0]!r}, expected a to z and spaces")
    words = text.split()
    for start in range(0, len(words), BLOCK):
        yield " ".join(words[start : start + BLOCK])


def opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: expected a zip archive, found {error}; run `dvc repro fetch@english-words`") from None


def decoded(archive: zipfile.ZipFile, name: str, path: Path) -> str:
    """A member as text; bytes that are no UTF-8 are named with their place."""
    data = archive.read(name)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}, {name}: byte {error.start} is 0x{data[error.start]:02x}, expected UTF-8") from None
