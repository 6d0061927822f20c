"""# Analogies and word groups: what anybody knows about words

Two small exams for word vectors. `questions-words.txt` asks analogies in the format of Google's test, one a line, *man woman king queen*: man is to woman as
king is to what? `groups.txt` lists words of a kind, *monday tuesday wednesday …*: words of one line should be closer to each other than to those of any
other line. In both, a line that starts with a colon names the section that follows.

Editions of the questions: `own` (the default), written for this project from common words, so that most of them occur in a million words of
text: every ordered pair of pairs of a section is a question; and `google`, the 19,544 questions of Mikolov et al., which ask for capitals, currencies and
cities too and fit text8. The groups are ours in both. The twin asks about the twin of `english-words`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Literal

from dlbooks import UserError
from dlbooks.catalog import DataSet, Source
from dlbooks.datasets import english_words
from dlbooks.fetch import download
from dlbooks.params import DataSetParams
from dlbooks.records import Feature

DATASET = DataSet(
    id="analogies",
    title="Analogies and word groups",
    homepage="https://aclweb.org/aclwiki/Google_analogy_test_set_(State_of_the_art)",
    license="Apache-2.0 (own); not stated (google)",
    citation="T. Mikolov, K. Chen, G. Corrado, J. Dean: Efficient Estimation of Word Representations in Vector Space, arXiv:1301.3781, 2013",
    files=[
        Source(
            urls=["http://download.tensorflow.org/data/questions-words.txt"],
            sha1="fa92df4bbe788f2d51827c762c63bd8e470edf31",
            name="questions-words.txt",
            edition="google",
        )
    ],
)


class Params(DataSetParams):
    edition: Literal["own", "google"] = "own"
    """whose questions: this project's, or Google's"""


FEATURES = {"section": Feature(encoding="text"), "words": Feature(encoding="text")}

PAIRS = {
    "family": "man woman, boy girl, he she, his her, him her, himself herself, father mother, son daughter, brother sister, husband wife, uncle aunt, "
    "king queen, prince princess, men women, boys girls, gentleman lady, sons daughters",
    "plural": "year years, day days, hand hands, eye eyes, word words, house houses, school schools, state states, problem problems, student students, "
    "car cars, book books, friend friends, church churches, tree trees, horse horses, road roads, hour hours, doctor doctors, nation nations",
    "past": "go went, see saw, take took, come came, make made, give gave, know knew, think thought, say said, tell told, find found, feel felt, "
    "begin began, write wrote, hold held, keep kept, leave left, become became, stand stood, bring brought",
    "participle": "go going, make making, take taking, look looking, work working, think thinking, try trying, say saying, come coming, play playing, "
    "live living, talk talking, walk walking, write writing, sit sitting, stand standing",
    "comparative": "good better, bad worse, high higher, low lower, large larger, small smaller, great greater, long longer, old older, young younger, "
    "strong stronger, late later, early earlier, easy easier, close closer",
    "opposite": "up down, in out, before after, above below, first last, open closed, day night, north south, east west, left right, young old, "
    "black white, rich poor, hot cold, long short",
    "capital": "france paris, germany berlin, england london, italy rome, russia moscow, japan tokyo, cuba havana, greece athens, laos vientiane",
    "nationality": "france french, germany german, england english, italy italian, russia russian, japan japanese, china chinese, america american, "
    "britain british, europe european, africa african, spain spanish",
}
GROUPS = {
    "days": "monday tuesday wednesday thursday friday saturday sunday",
    "months": "january february march april june july august september october november december",
    "numbers": "two three four five six seven eight nine ten",
    "time of day": "morning afternoon evening night noon midnight",
    "spans of time": "seconds minutes hours days weeks months years",
    "family": "father mother son daughter brother sister husband wife uncle aunt",
    "body": "head face eyes mouth lips hair neck shoulder arm hand leg foot knee",
    "colors": "red green blue yellow black white brown gray pink",
    "directions": "north south east west",
    "countries": "france germany italy russia england china japan india spain cuba",
    "states": "virginia texas georgia california massachusetts pennsylvania illinois ohio",
    "animals": "dog cat horse cow sheep bird fish snake",
    "house": "door window room kitchen floor wall roof bed table chair",
    "clothes": "shirt coat hat dress shoes trousers jacket",
    "vehicles": "car truck bus train ship boat plane",
    "military": "army navy troops soldiers officers captain general colonel",
    "government": "president vice secretary senator governor congress senate",
    "law": "court judge jury trial attorney lawyer police crime",
    "church": "god christ jesus church faith bible holy priest",
    "school": "school college university teacher students education classes",
    "medicine": "doctor hospital patient disease blood treatment medical",
    "money": "money dollars cents tax pay cost price income",
    "music": "music jazz orchestra symphony concert song songs opera",
    "arts": "poet novel poetry fiction drama literary artist painting",
    "sports": "game team ball baseball football player coach league",
    "science": "temperature pressure surface density energy radiation heat",
    "weather": "rain snow wind cold sun storm cloud",
    "food": "food meat milk bread coffee eggs sugar butter",
    "thinking": "know think believe suppose guess remember understand",
    "speaking": "said asked told replied answered whispered shouted cried",
}


def twin(folder: Path, params: Params) -> None:
    """Questions over the twin's couples and countries, 264 in all, and its four classes of words."""
    sections = {"couples": list(english_words.COUPLES), "capitals": list(english_words.COUNTRIES)}
    write(folder, {name: questions(pairs) for name, pairs in sections.items()}, english_words.CLASSES)


def fetch(folder: Path, params: Params) -> None:
    """Writes our questions and groups, or fetches Google's questions beside them."""
    own = {name: questions([tuple(pair.split()) for pair in pairs.split(", ")]) for name, pairs in PAIRS.items()}
    write(folder, own, {name: group.split() for name, group in GROUPS.items()})
    if params.edition == "google":
        download(DATASET, folder, "google")


def questions(pairs: list[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Every pair with every other one: a, b, c, d."""
    return [(*first, *second) for first, second in permutations(pairs, 2)]


def write(folder: Path, questions: dict[str, list], groups: dict) -> None:
    for name, sections in (("questions-words.txt", questions), ("groups.txt", {name: [words] for name, words in groups.items()})):
        lines = [line for section, rows in sections.items() for line in (f": {section}", *(" ".join(row) for row in rows))]
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def examples(folder: Path, params: Params) -> dict[str, Iterator[dict]]:
    """Lower case, as the corpus is."""
    return {"questions": sections(folder / "questions-words.txt", 4), "groups": sections(folder / "groups.txt", 0)}


def sections(path: Path, words: int) -> Iterator[dict]:
    """The lines of a file under the names of their sections; each must have so many words (0: two or more)."""
    section = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith(":"):
            section = line[1:].strip()
            continue
        found = line.lower().split()
        if section is None or (len(found) != words if words else len(found) < 2):
            expected = "a line `: section` first" if section is None else f"{words or 'two or more'} words"
            raise UserError(f"{path}, line {number}: expected {expected}, found {line!r}")
        yield {"section": section, "words": " ".join(found)}
