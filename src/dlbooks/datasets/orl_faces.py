"""# ORL faces: ten pictures each of 39 people

Gray pictures, 92 × 112, that the Olivetti Research Laboratory in Cambridge (later AT&T's) took from 1992 to 1994: ten of each of forty people, upright
before a plain ground, eyes open or closed, smiling or not, some with and without glasses. With five pictures of each at hand, the nearest one, pixel by
pixel, names the person of the other five in nine cases of ten: a network has to show itself on people that it never saw. Splits differ from chapter
to chapter, always by person, so the records hold one split, `train`, and every chapter names its people.

The archive holds `s1/1.pgm` … `s40/10.pgm`. **`s1` is not ORL's first person**: its ten pictures show somebody else, come from the web (brighter, with
JPEG's traces) and have the header in one line. It is left out: 39 people, `s2` … `s40`, 390 pictures, whose tree digest is
d426bd67df5d6da35cd9347fdccda0590fd7de0d2d6f2f63ee736d4c98115b0e. Free for research with credit to AT&T Laboratories Cambridge.

The twin draws 24 people, `s2` … `s25`, ten times each with other pose, expression and light, and an `s1` that is to be left out as well.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import Field

from dlbooks import UserError, archives, records
from dlbooks.catalog import Archive, DataSet
from dlbooks.datasets import _faces
from dlbooks.params import DataSetParams
from dlbooks.records import Feature

DATASET = DataSet(
    id="orl-faces",
    title="ORL (AT&T) faces",
    homepage="https://cam-orl.co.uk/facedatabase.html",
    license="free for research with credit to AT&T Laboratories Cambridge",
    citation="F. S. Samaria, A. C. Harter: Parameterisation of a stochastic model for human face identification, IEEE Workshop on Applications of Computer Vision, 1994",
    files=[
        Archive(
            urls=["https://github.com/Radhikadua123/Face-recognition/archive/e5ecd45b369edad100e9f9d51dd07974d99ecb8f.tar.gz"],
            include=["s[1-9]/*.pgm", "s[1-3][0-9]/*.pgm", "s40/*.pgm"],
            tree="8764f48c953c07337012b9365f582723f7d96e9b38e1c7ae8e40a47c3c66db96",
            name="orl-faces.zip",
        )
    ],
)


class Params(DataSetParams):
    people: int = Field(24, ge=2, le=39)
    """people of the twin, ten pictures each"""


NAMES = tuple(f"s{number}" for number in range(2, 41))
HEIGHT, WIDTH = 112, 92
EACH = 10  # pictures of a person
FEATURES = {"image": Feature("uint8", (HEIGHT, WIDTH, 1)), "person": Feature(names=NAMES), "index": Feature("int64")}

FILE = "orl-faces.zip"
SEED = 40


# ## Reading
def read_pgm(data: bytes, where: str) -> np.ndarray:
    """A binary PGM file of 8 bits → uint8 ``[height, width]``.

    Words of the header may be parted by any white space and by comments; exactly one such character stands before the pixels.
    """
    header = re.match(rb"P5" + rb"(?:\s|#[^\n]*\n)+(\d{1,5})" * 3 + rb"\s", data)
    if not header:
        raise UserError(f"{where}: no binary PGM picture (P5, width, height, brightest value)")
    width, height, brightest = map(int, header.groups())
    if not 1 <= brightest <= 255 or not width * height:
        raise UserError(f"{where}: {width} × {height} pixels up to {brightest}; expected some pixels, and 1 … 255")
    if len(data) - header.end() != width * height:
        raise UserError(f"{where}: {width} × {height} pixels need {width * height} bytes, found {len(data) - header.end()}")
    return np.frombuffer(data, np.uint8, offset=header.end()).reshape(height, width)


def examples(folder: Path, params: Params) -> dict[str, records.Rows]:
    """The only split, by person and number; ``index`` is the picture's number, 1 … 10. Person s1 is left out (see above)."""
    members = archives.Members(folder / FILE)
    found = []
    for name in members.names:
        match = re.fullmatch(r"s([1-9]|[1-3]\d|40)/([1-9]|10)\.pgm", name)
        if not match:
            raise UserError(f"{FILE}: {name!r} is not s<1 … 40>/<1 … 10>.pgm")
        if match[1] != "1":
            found.append((int(match[1]), int(match[2])))
    return {"train": records.Rows(sorted(found), partial(example, members))}


def example(members: archives.Members, item: tuple[int, int]) -> dict:
    """The record of one picture, named by (person, number)."""
    person, number = item
    name = f"s{person}/{number}.pgm"
    pixels = read_pgm(members.read(name), f"{FILE}, {name}")
    if pixels.shape != (HEIGHT, WIDTH):
        raise UserError(f"{FILE}, {name}: expected {WIDTH} × {HEIGHT} pixels, found {pixels.shape[1]} × {pixels.shape[0]}")
    return {"image": pixels[..., None], "person": NAMES.index(f"s{person}"), "index": number}


# ## The twin
def twin(folder: Path, params: Params) -> None:
    """Draws the stand-in as the zip that ``fetch`` keeps of upstream's archive; s1 has its header in one line, as upstream."""
    members = {}
    for person in range(1, params.people + 2):
        rng = np.random.default_rng([SEED, person])
        who = _faces.person(rng)
        for number in range(1, EACH + 1):
            drawn = _faces.face(who, rng, HEIGHT, WIDTH, scale=0.4, shift=0.03, gray=True)
            header = b"P5 92 112 255\n" if person == 1 else b"P5\n92 112\n255\n"
            members[f"s{person}/{number}.pgm"] = header + drawn.image.tobytes()
    archives.pack(folder / FILE, members)
