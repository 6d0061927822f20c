"""Text as people and upstreams have it → Python strings: one rule for every text file, whoever made it.

- UTF-8, with or without a byte order mark, or UTF-16 with one; a mark in the middle (joined files) is dropped. A byte that is neither, as in a file where
  Latin-1 and UTF-8 lines are mixed, is named with file, line and offset: guessing would put wrong letters into the training text unseen.
- CRLF, and a lone CR in a file without any LF, become LF; Unicode's composed form (NFC), so that é is one character however it was typed.
- A zero byte is refused: such a file is binary, or UTF-16 without its mark. So is a file of white space alone.

The whole file is decoded in one step, so a line of a million characters costs what a million lines of one do.
"""

from __future__ import annotations

import codecs
import gzip
import re
import struct
import unicodedata
import zlib
from itertools import islice
from pathlib import Path

from dlbooks import UserError

LISTED = 100  # faults of a file that are listed: a file with more is no text
UNZIPPED = 2 << 30  # bytes of a text file: more is read in pieces, if it is no bomb


def decode(data: bytes, where: str) -> tuple[str, list[tuple[int, str]]]:
    """The text of a file and its faults ``(line from 1, message naming where)``; line 0 = the whole file. No fault: the text is right.

    Undecodable bytes stand as U+FFFD in the text, so lines without a fault are right even in a faulty file.
    """
    name = "UTF-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "UTF-8"
    # `utf-16` would look for the mark again in every piece below.
    step = {codecs.BOM_UTF16_LE: codecs.utf_16_le_decode, codecs.BOM_UTF16_BE: codecs.utf_16_be_decode}.get(data[:2], codecs.utf_8_decode)
    view, at, line, parts, faults = memoryview(data), 0, 1, [], []
    while True:
        try:
            parts.append(step(view[at:], "strict", True)[0])
            break
        except UnicodeDecodeError as error:
            parts.append(step(view[at : at + error.start], "strict", True)[0] + "\ufffd")
            line += parts[-1].count("\n")
            at += error.start
            faults.append((line, f"{where} is not {name}: byte 0x{data[at]:02x} at offset {at} (line {line})"))
            at += error.end - error.start
            if len(faults) == LISTED:
                parts.append(step(view[at:], "replace", True)[0])
                faults.append((0, f"{where}: more than {LISTED} such bytes; is this a text file?"))
                break
    text = "".join(parts).replace("\ufeff", "").replace("\r\n", "\n")
    if "\r" in text and "\n" not in text:
        text = text.replace("\r", "\n")
    if "\0" in text:
        zeros = [text.count("\n", 0, match.start()) + 1 for match in islice(re.finditer("\0[^\n]*", text), LISTED)]
        hint = "a binary file, or UTF-16 without a byte order mark?"
        faults += [(number, f"{where}, line {number}: a zero byte; {hint}") for number in zeros]
        if len(zeros) == LISTED:
            faults.append((0, f"{where}: {LISTED} lines or more with zero bytes; is this a text file?"))
    if not text.strip():
        faults.append((0, f"{where} is empty"))
    return unicodedata.normalize("NFC", text), faults


def problems(data: bytes, where: str) -> list[str]:
    """What is wrong with a text file, each in one line that names ``where`` and the line; nothing: ``text`` reads it."""
    return [message for _, message in decode(data, where)[1]]


def text(data: bytes, where: str) -> str:
    """The text of a file's bytes; the first fault is a ``UserError``."""
    found, faults = decode(data, where)
    if faults:
        raise UserError(faults[0][1])
    return found


def lines(found: str) -> list[str]:
    """Lines without their ends. Only LF ends one (``str.splitlines`` also breaks at U+2028 or U+0085); the last needs none."""
    parts = found.split("\n")
    return parts[:-1] if not parts[-1] else parts


def read_bytes(path: Path) -> bytes:
    """The bytes of a raw file, unzipped if its name ends in ``.gz``."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(UNZIPPED + 1)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: fetch the data set again") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path.name}: truncated or damaged gzip ({error})") from None
    if len(data) > UNZIPPED:
        raise UserError(f"{path.name}: more than {UNZIPPED >> 30} GB of text")
    return data


def read_text(path: Path) -> str:
    """A text file, as this module's beginning says; ``.gz`` is unzipped."""
    return text(read_bytes(path), path.name)


def gzipped(data: bytes) -> bytes:
    """A gzip file of uncompressed blocks: compressed bytes differ between builds of zlib."""
    parts = [b"\x1f\x8b\x08" + bytes(6) + b"\xff"]  # no name, time 0, unknown system
    for start in range(0, len(data) or 1, 0xFFFF):
        block = data[start : start + 0xFFFF]
        parts.append(struct.pack("<BHH", start + 0xFFFF >= len(data), len(block), len(block) ^ 0xFFFF) + block)
    return b"".join([*parts, struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)])


def split(items):
    """The first 90 %, the next 5 %, the last 5 % of a sequence."""
    ends = [round(len(items) * share) for share in (0, 0.9, 0.95, 1)]
    return {name: items[a:b] for name, a, b in zip(("train", "validation", "test"), ends[:-1], ends[1:], strict=True)}
