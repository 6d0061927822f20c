"""# Multi30k: thirty thousand captions in English and German

Sentences that describe photos of Flickr30k in English, each translated into German by people who did not see the photo (task 1 of the WMT multimodal
tasks). Upstream publishes two gzipped files per split, line by line a pair, in sentences as they are written: `train`, `val` and `test_2016_flickr`, 29,000,
1,014 and 1,000 pairs, 11.9 English words on average, at most 37. Here it stands where the book takes TED talks from Vietnamese (which no mirror has): small
enough for a CPU, large enough for real grammar.

The splits are upstream's. No pair is in two of them; one English and one German sentence of the training split occur in the validation split with another
partner. Features are `en`, `de` and `index`, the line in the split's file, from 0.

The twin is a small grammar in the same files, in lower case and with spaces around the full stop. English says subject, verb, object, time; German the time
first, the verb second and, in the future tense, the infinitive last: "my red horse will see the house tomorrow ." – "morgen wird mein rotes Pferd das Haus
sehen .". All twelve nouns are neuter, whose nominative is their accusative, but the adjective's ending depends on the word before it (das rote, ein rotes).
Three sentences in ten have two clauses. A translator has to reorder what it reads, farther than its neighbors: that is what attention is for.
"""

from __future__ import annotations

import random
from pathlib import Path

from pydantic import Field

from dlbooks.catalog import DataSet, Source
from dlbooks.datasets import _pairs, _text
from dlbooks.params import DataSetParams

DATASET = DataSet(
    id="multi30k",
    title="Multi30k, English and German captions",
    homepage="https://github.com/multi30k/dataset",
    license="not stated; for research (the captions are Flickr30k's)",
    citation="D. Elliott, S. Frank, K. Sima'an, L. Specia: Multi30K: Multilingual English-German image descriptions, 2016, arXiv:1605.00459",
    files=[
        Source(
            urls=[f"https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw/{name}"],
            name=name,
            sha256=sha256,
        )
        for name, sha256 in {
            "train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
            "train.de.gz": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
            "val.en.gz": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
            "val.de.gz": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
            "test_2016_flickr.en.gz": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
            "test_2016_flickr.de.gz": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
        }.items()
    ],
)


class Params(DataSetParams):
    train: int = Field(1_400, ge=1, le=100_000)
    """pairs of the twin for training"""
    validation: int = Field(100, ge=1, le=10_000)
    """pairs of the twin for validation"""
    test: int = Field(100, ge=1, le=10_000)
    """pairs of the twin for the test"""


FEATURES = _pairs.features("en", "de")
FILES = {"train": "train", "validation": "val", "test": "test_2016_flickr"}


def examples(folder: Path, params: Params) -> dict[str, list[dict]]:
    """The three splits, a dictionary per pair."""
    return {split: _pairs.rows(_pairs.read(folder / f"{name}.en.gz", folder / f"{name}.de.gz"), "en", "de") for split, name in FILES.items()}


# ## The twin

DETERMINERS = {"the": "das", "a": "ein", "this": "dieses", "my": "mein"}
WEAK = ("das", "dieses")  # they show the gender themselves, so the adjective need not
ADJECTIVES = {"red": "rot", "big": "groß", "small": "klein", "old": "alt", "new": "neu", "white": "weiß", "black": "schwarz", "beautiful": "schön"}
NOUNS = {
    **{"horse": "Pferd", "house": "Haus", "book": "Buch", "car": "Auto", "child": "Kind", "animal": "Tier"},
    **{"sheep": "Schaf", "boat": "Boot", "picture": "Bild", "bread": "Brot", "knife": "Messer", "girl": "Mädchen"},
}
VERBS = {  # infinitive: present and past
    ("see", "sehen"): (("sees", "sieht"), ("saw", "sah")),
    ("find", "finden"): (("finds", "findet"), ("found", "fand")),
    ("carry", "tragen"): (("carries", "trägt"), ("carried", "trug")),
    ("draw", "zeichnen"): (("draws", "zeichnet"), ("drew", "zeichnete")),
    ("buy", "kaufen"): (("buys", "kauft"), ("bought", "kaufte")),
    ("love", "lieben"): (("loves", "liebt"), ("loved", "liebte")),
    ("push", "schieben"): (("pushes", "schiebt"), ("pushed", "schob")),
    ("break", "zerbrechen"): (("breaks", "zerbricht"), ("broke", "zerbrach")),
}
TIMES = (("now", "jetzt", "present"), ("today", "heute", "present"), ("yesterday", "gestern", "past"), ("tomorrow", "morgen", "future"))
JOINTS = (("and", "und"), ("but", "aber"))


def phrase(rng: random.Random) -> tuple[str, str]:
    """A noun with its determiner and, three times in five, an adjective: English, German."""
    (determiner, german), (noun, neuter) = rng.choice(list(DETERMINERS.items())), rng.choice(list(NOUNS.items()))
    if rng.random() >= 0.6:
        return f"{determiner} {noun}", f"{german} {neuter}"
    adjective, stem = rng.choice(list(ADJECTIVES.items()))
    return f"{determiner} {adjective} {noun}", f"{german} {stem}{'e' if german in WEAK else 'es'} {neuter}"


def clause(rng: random.Random) -> tuple[str, str]:
    """Subject, verb, object and time: English, German."""
    (subject, subject_de), (thing, thing_de) = phrase(rng), phrase(rng)
    (infinitive, infinitive_de), (present, past) = rng.choice(list(VERBS.items()))
    time, time_de, tense = rng.choice(TIMES)
    if tense == "future":
        return f"{subject} will {infinitive} {thing} {time}", f"{time_de} wird {subject_de} {thing_de} {infinitive_de}"
    verb, verb_de = present if tense == "present" else past
    return f"{subject} {verb} {thing} {time}", f"{time_de} {verb_de} {subject_de} {thing_de}"


def sentence(rng: random.Random) -> tuple[str, str]:
    """One clause, or three times in ten two with `and` or `but`: English, German."""
    parts = [clause(rng)]
    if rng.random() < 0.3:
        parts += [rng.choice(JOINTS), clause(rng)]
    english, german = (" ".join(words) for words in zip(*parts, strict=True))
    return english + " .", german + " ."


def twin(folder: Path, params: Params) -> None:
    """Draws sentences that are distinct over all splits."""
    rng, known = random.Random(0), {}
    while len(known) < params.train + params.validation + params.test:
        english, german = sentence(rng)
        known[english] = german
    pairs = iter(known.items())
    for split, name in FILES.items():
        sides = zip(*(next(pairs) for _ in range(getattr(params, split))), strict=True)
        for language, side in zip(("en", "de"), sides, strict=True):
            (folder / f"{name}.{language}.gz").write_bytes(_text.gzipped("".join(line + "\n" for line in side).encode()))
