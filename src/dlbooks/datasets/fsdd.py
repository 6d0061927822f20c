"""# Free Spoken Digit Dataset

Six people say the digits zero to nine fifty times each: 3,000 wav files `recordings/{digit}_{speaker}_{index}.wav`, 8 kHz, 16 bit, mono, cut
close to the word (0.14 to 2.3 seconds, median 0.42). The recordings with index 0 … 4 of every speaker and digit are the official test split.

Upstream publishes a repository, whose archive has other bytes from year to year; its wav files are kept in one zip, checked file by file.

The twin speaks with a source and a filter, as a throat does. Voiced sounds are the harmonics of a falling pitch, weighted by two
resonances (*formants*) that differ from sound to sound; hisses are differenced noise, stops a silence and a decaying burst. A digit is a fixed
sequence of one to five sounds; its speaker decides pitch and length of the throat, each recording tempo, loudness, pitch and background noise.
"""

from __future__ import annotations

import io
import re
import wave
from functools import cache
from pathlib import Path

import numpy as np
from pydantic import Field

from dlbooks import UserError, archives
from dlbooks.catalog import Archive, DataSet
from dlbooks.datasets._drawing import sine
from dlbooks.params import DataSetParams
from dlbooks.records import Feature, Rows

DATASET = DataSet(
    id="fsdd",
    title="Free Spoken Digit Dataset",
    homepage="https://github.com/Jakobovski/free-spoken-digit-dataset",
    license="CC BY-SA 4.0",
    citation="Z. Jackson, C. Souza, J. Flaks, Y. Pan, H. Nicolas, A. Thite: Free Spoken Digit Dataset, 2018, doi:10.5281/zenodo.1342401",
    files=[
        Archive(
            urls=["https://github.com/Jakobovski/free-spoken-digit-dataset/archive/26eb9aaf76e81b692f806f9140c2d2777410d7a1.tar.gz"],
            include=["recordings/*.wav"],
            tree="04e1baae96c6a26e39c623f2b01d0182ddae627ba0ac02a3cdc17ba2af99fd9b",
            name="fsdd.zip",
        )
    ],
)


class Params(DataSetParams):
    takes: int = Field(12, ge=6, le=50)
    """recordings of every digit by every speaker of the twin; the first five are for the test"""


RATE = 8000
TEST = 5  # recordings 0 … 4 of every speaker and digit
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
DIGITS = tuple("0123456789")
FEATURES = {
    "audio": Feature("int16", (None,)),
    "label": Feature(names=DIGITS),
    "speaker": Feature(names=SPEAKERS),
    "index": Feature("int64"),
}


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def examples(folder: Path, params: Params) -> dict[str, Rows]:
    archive = archives.Members(folder / "fsdd.zip")
    found = []
    for name in archive.names:
        match = re.fullmatch(r"recordings/(\d)_([a-z]+)_(\d+)\.wav", name)
        if not match or match[2] not in SPEAKERS:
            raise UserError(
                f"{archive.path}: {name} is not named recordings/{{digit}}_{{speaker}}_{{index}}.wav with a speaker of {', '.join(SPEAKERS)}"
            )
        found.append((int(match[1]), SPEAKERS.index(match[2]), int(match[3]), name))
    found.sort()

    def make(item: tuple[int, int, int, str]) -> dict:
        label, speaker, index, name = item
        return {"audio": read(archive.read(name), f"{archive.path}: {name}"), "label": label, "speaker": speaker, "index": index}

    return {
        "train": Rows([item for item in found if item[2] >= TEST], make),
        "test": Rows([item for item in found if item[2] < TEST], make),
    }


def read(data: bytes, where: str) -> np.ndarray:
    """The samples of a wav file of 8 kHz, 16 bit, mono; anything else is a ``UserError`` that begins with ``where``."""
    try:
        with wave.open(io.BytesIO(data)) as file:
            form = file.getframerate(), file.getsampwidth() * 8, file.getnchannels()
            audio = np.frombuffer(file.readframes(file.getnframes()), "<i2" if form[1] == 16 else "u1")
    except (wave.Error, EOFError) as error:
        raise UserError(f"{where} is no PCM wav file: {error or 'it is cut short'}") from None
    if form != (RATE, 16, 1) or not len(audio):
        raise UserError(f"{where} has {form[0]} Hz, {form[1]} bit, {form[2]} channels, {len(audio)} samples; expected 8000 Hz, 16 bit, mono")
    return audio


# ── the twin ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

SEED = 5
WORDS = {  # sounds of a digit: (kind, first formant, second formant) or (kind,)
    0: [("z", 300, 1700), ("vowel", 420, 1900), ("vowel", 450, 1250), ("vowel", 480, 850)],
    1: [("vowel", 320, 800), ("vowel", 650, 1200), ("nasal", 250, 1500)],
    2: [("t",), ("vowel", 300, 1700), ("vowel", 320, 1000)],
    3: [("f",), ("vowel", 400, 1300), ("vowel", 280, 2300), ("vowel", 290, 2350)],
    4: [("f",), ("vowel", 500, 850), ("vowel", 480, 1250)],
    5: [("f",), ("vowel", 750, 1200), ("vowel", 380, 2050), ("f",)],
    6: [("s",), ("vowel", 400, 1900), ("p",), ("s",)],
    7: [("s",), ("vowel", 550, 1750), ("f",), ("vowel", 500, 1400), ("nasal", 250, 1500)],
    8: [("vowel", 520, 1900), ("vowel", 330, 2250), ("t",)],
    9: [("nasal", 250, 1500), ("vowel", 750, 1200), ("vowel", 350, 2100), ("nasal", 250, 1500)],
}
PITCH = (96, 108, 132, 118, 140, 102)  # Hz, of each speaker
THROAT = (0.93, 1.0, 1.07, 0.97, 1.04, 0.9)  # factor on the formants
FADE = 64  # samples in which a sound gives way to the next
PERIOD = 256  # samples of the table that holds one period of a voice


@cache
def voice(pitch: float, first: float, second: float) -> np.ndarray:
    """One period of a voiced sound: harmonics weighted by two Lorentz resonances, falling off upward."""
    turns = np.arange(PERIOD)
    whole = sine(turns / PERIOD)
    total = np.zeros(PERIOD)
    for k in range(1, int(3800 / pitch)):
        low, high = (k * pitch - first) / 70, (k * pitch - second) / 110
        total = total + (1 / (1 + low * low) + 0.6 / (1 + high * high) + 0.02) * whole[k * turns % PERIOD]
    return total / np.abs(total).max()


def sound(kind: str, voiced: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One sound of ``len(voiced)`` samples, at its loudness."""
    count = len(voiced)
    if kind in ("vowel", "nasal"):
        return voiced * (0.35 if kind == "nasal" else 1.0)
    white = 2 * rng.random(count + 1) - 1
    hiss = (white[1:] - white[:-1]) / 2
    if kind in ("t", "p"):  # the mouth is shut, then the air escapes
        left = np.clip((np.arange(count) - 0.4 * count) / (0.6 * count), 0, 1)
        decay = (left > 0) * (1 - left) * (1 - left)
        return decay * decay * (hiss if kind == "t" else (white[1:] + white[:-1]) / 4)
    return {"s": 0.6 * hiss, "z": 0.35 * hiss + 0.3 * voiced, "f": 0.12 * white[1:]}[kind]


def speak(digit: int, speaker: int, index: int) -> np.ndarray:
    """A recording of the twin, int16."""
    rng = np.random.default_rng((SEED, digit, speaker, index))
    throat = THROAT[speaker] * (0.97, 1.0, 1.03)[rng.integers(3)]
    tempo, loudness, background, lift, fall = rng.random(5)
    sounds = WORDS[digit]
    lengths = ((0.05 + 0.04 * rng.random(len(sounds))) * (0.85 + 0.3 * tempo) * RATE).astype(int)
    ends = np.cumsum(lengths)
    time = np.arange(ends[-1] + FADE) / RATE
    pitch = PITCH[speaker] * (0.92 + 0.16 * lift)
    turns = time * pitch * (1 - time * (0.1 + 0.3 * fall))  # the voice falls toward the end
    place = (turns - np.floor(turns)) * PERIOD
    before = place.astype(int)
    part = place - before
    mixed = np.zeros(len(time))
    for (kind, *formants), start, stop in zip(sounds, ends - lengths, ends, strict=True):
        window = slice(start, stop + FADE)
        table = voice(PITCH[speaker], *(f * throat for f in formants or (400, 1500)))
        left, right = table[before[window]], table[(before[window] + 1) % PERIOD]
        ramp = np.clip(np.minimum(np.arange(stop + FADE - start), np.arange(stop + FADE - start)[::-1]) / FADE, 0, 1)
        mixed[window] += ramp * sound(kind, left + (right - left) * part[window], rng)
    mixed = mixed / np.abs(mixed).max() * (0.3 + 0.6 * loudness)
    mixed += (0.002 + 0.018 * background) * (2 * rng.random(len(mixed)) - 1)
    return np.floor(np.clip(mixed, -1, 1) * 32767 + 0.5).astype("<i2")


def wav(audio: np.ndarray) -> bytes:
    """A mono 16-bit wav file at 8 kHz."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(audio.astype("<i2").tobytes())
    return buffer.getvalue()


def twin(folder: Path, params: Params) -> None:
    members = {
        f"recordings/{digit}_{name}_{index}.wav": wav(speak(digit, speaker, index))
        for digit in range(10)
        for speaker, name in enumerate(SPEAKERS)
        for index in range(params.takes)
    }
    archives.pack(folder / "fsdd.zip", members)
