"""Text files as people have them, parallel text, and the two data sets of sentence pairs."""

import gzip
import hashlib
import random
from itertools import pairwise

import pytest

from dlbooks import UserError
from dlbooks.catalog import declared
from dlbooks.datasets import _pairs, _text, multi30k, poems, shakespeare, tatoeba_en_zh
from dlbooks.records import Feature

PROSE = "Grüße an Zoë\nund an 小明\n"


# ── text ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "data",
    [
        PROSE.encode(),
        PROSE.encode("utf-8-sig"),
        PROSE.encode("utf-16"),
        b"\xfe\xff" + PROSE.encode("utf-16-be"),
        PROSE.replace("\n", "\r\n").encode(),
        PROSE.replace("\n", "\r\n").encode("utf-16"),
        PROSE.replace("\n", "\r").encode(),
        "Gru\u0308ße an Zoe\u0308\nund an 小明\n".encode(),
        "Grüße an Zoë\n".encode("utf-8-sig") + "und an 小明\n".encode("utf-8-sig"),
    ],
    ids="utf-8 mark utf-16-le utf-16-be crlf crlf-utf-16 cr decomposed joined".split(),
)
def test_spellings_of_one_text(data):
    assert _text.text(data, "x.txt") == PROSE
    assert _text.problems(data, "x.txt") == []


def test_what_is_no_line_end_stays():
    text = "a\u2028b\x85c\x0bd\re\nf"
    assert _text.text(text.encode(), "x") == text
    assert _text.lines(text) == ["a\u2028b\x85c\x0bd\re", "f"]
    assert _text.lines("a\n\nb\n") == ["a", "", "b"] and _text.lines("") == []


HINT = "a zero byte; a binary file, or UTF-16 without a byte order mark?"


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        (b"", ["x.txt is empty"]),
        (b" \r\n\t\n", ["x.txt is empty"]),
        (b"\xef\xbb\xbf", ["x.txt is empty"]),
        (b"\xff\xfe", ["x.txt is empty"]),
        (
            "süß\n".encode() + "süß\n".encode("latin1") + b"fine\n" + b"caf\xe9\r\n",
            [
                "x.txt is not UTF-8: byte 0xfc at offset 7 (line 2)",
                "x.txt is not UTF-8: byte 0xdf at offset 8 (line 2)",
                "x.txt is not UTF-8: byte 0xe9 at offset 18 (line 4)",
            ],
        ),
        ("ab\n".encode("utf-16") + b"c", ["x.txt is not UTF-16: byte 0x63 at offset 8 (line 2)"]),
        ("a\n".encode("utf-16") + b"\x00\xdc" + "b\n".encode("utf-16-le"), ["x.txt is not UTF-16: byte 0x00 at offset 6 (line 2)"]),
        (b"one\ntwo\0\0two\nthree\0", [f"x.txt, line 2: {HINT}", f"x.txt, line 3: {HINT}"]),
        ("ab\n".encode("utf-16-le"), [f"x.txt, line 1: {HINT}", f"x.txt, line 2: {HINT}"]),
        ("\n中".encode("gb18030"), ["x.txt is not UTF-8: byte 0xd6 at offset 1 (line 2)", "x.txt is not UTF-8: byte 0xd0 at offset 2 (line 2)"]),
    ],
)
def test_faults_of_a_text_are_listed(data, messages):
    assert _text.problems(data, "x.txt") == messages
    with pytest.raises(UserError) as caught:
        _text.text(data, "x.txt")
    assert str(caught.value) == messages[0]


def test_binary_file_is_not_listed_byte_by_byte():
    faults = _text.problems(random.Random(0).randbytes(200_000), "x.txt")
    assert len(faults) <= 2 * (_text.LISTED + 1) and "x.txt: more than 100 such bytes; is this a text file?" in faults
    assert _text.problems(b"a\0\n" * 5000, "x.txt")[-1] == "x.txt: 100 lines or more with zero bytes; is this a text file?"
    assert all(fault.startswith("x.txt") and "\n" not in fault for fault in faults)


def test_lines_of_a_million_characters():
    text = ("小é" * 500_000 + "\n") * 2
    data = text.encode()
    assert _text.text(data, "x") == text
    assert _text.problems(data + b"\xff", "x") == [f"x is not UTF-8: byte 0xff at offset {len(data)} (line 3)"]


def test_gzip(tmp_path):
    data = bytes(range(256)) * 600
    for size in (0, 1, 0xFFFF, 0x10000, len(data)):
        assert gzip.decompress(_text.gzipped(data[:size])) == data[:size]
    packed, path = gzip.compress(PROSE.encode()), tmp_path / "x.txt.gz"
    path.write_bytes(packed)
    assert _text.read_text(path) == PROSE
    for damaged in (packed[:-3], packed[:-6] + b"?" + packed[-5:], packed[:12] + b"\xff" + packed[13:], packed + b"more", b"no gzip"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"^x\.txt\.gz: truncated or damaged gzip \([^\n]*\)$"):
            _text.read_text(path)
    with pytest.raises(UserError, match=r"y\.txt is missing: fetch the data set again$"):
        _text.read_text(tmp_path / "y.txt")


@pytest.mark.parametrize(
    ("module", "name"),
    [(shakespeare, "input.txt"), (poems, "poetry.txt")],
)
def test_texts_are_what_they_were(tmp_path, module, name):
    module.twin(tmp_path, module.Params())
    texts = [row["text"] for rows in module.examples(tmp_path, module.Params()).values() for row in rows]
    assert "".join(texts).rstrip("\n") == (tmp_path / name).read_text(encoding="utf-8").rstrip("\n")
    (tmp_path / name).write_bytes((tmp_path / name).read_text(encoding="utf-8").replace("\n", "\r\n").encode("utf-16"))
    again = [row["text"] for rows in module.examples(tmp_path, module.Params()).values() for row in rows]
    assert again == texts, "saved by an editor of another system"


# ── pairs ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

NAMES = ("a.en", "a.de")


def test_aligned_lines():
    pairs, problems = _pairs.aligned(b"one\r\n two \nthree", "eins\nzwei\ndrei \n".encode("utf-16"), NAMES)
    assert pairs == [(0, "one", "eins"), (1, "two", "zwei"), (2, "three", "drei")] and problems == []
    assert _pairs.rows(pairs[:1], "en", "de") == [{"en": "one", "de": "eins", "index": 0}]
    assert _pairs.features("en", "de") == {"en": Feature(encoding="text"), "de": Feature(encoding="text"), "index": Feature("int64")}


@pytest.mark.parametrize(
    ("left", "right", "kept", "messages"),
    [
        (b"1\n2\n3\n", b"1\n2\n", [], ["a.en has 3 lines, a.de 2: line 3 of a.en has no partner in a.de"]),
        (b"1\n", b"1\n2\n\n", [], ["a.en has 1 lines, a.de 3: line 2 of a.de has no partner in a.en"]),
        (b"1\n \n3\n", b"1\n2\n\n", [0], ["a.en, line 2: an empty line has no translation", "a.de, line 3: an empty line has no translation"]),
        (b"1\n2\n3\n", b"1\n\xff\n3\n", [0, 2], ["a.de is not UTF-8: byte 0xff at offset 2 (line 2)"]),
        (
            b"1\n2\n",
            b"1\n\xff\n3\n",
            [],
            ["a.de is not UTF-8: byte 0xff at offset 2 (line 2)", "a.en has 2 lines, a.de 3: line 3 of a.de has no partner in a.en"],
        ),
        (b"", b"", [], ["a.en is empty", "a.de is empty"]),
    ],
)
def test_faults_of_aligned_files(left, right, kept, messages):
    pairs, problems = found = _pairs.aligned(left, right, NAMES)
    assert [place for place, *_ in pairs] == kept and problems == messages
    with pytest.raises(UserError) as caught:
        _pairs.sound(found)
    assert str(caught.value) == messages[0]


def test_table():
    data = "Hi.\t嗨。\tCC-BY 2.0 (France) Attribution: #1 & #2\r\nRun!\t 跑！ ".encode()
    assert _pairs.table(data, "x.tsv") == ([(0, "Hi.", "嗨。"), (1, "Run!", "跑！")], [])
    pairs, problems = _pairs.table(b"a\tb\nno tab\n\tonly\nonly\t \n\nx\t\xe9\ny\tz\n", "x.tsv")
    assert pairs == [(0, "a", "b"), (6, "y", "z")]
    assert problems == [
        "x.tsv is not UTF-8: byte 0xe9 at offset 27 (line 6)",
        "x.tsv, line 2: no tab between a sentence and its translation",
        "x.tsv, line 3: the first column is empty",
        "x.tsv, line 4: the second column is empty",
        "x.tsv, line 5: no tab between a sentence and its translation",
    ]


# ── the data sets ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def everything(splits):
    return [row for rows in splits.values() for row in rows]


def test_multi30k(tmp_path):
    multi30k.twin(tmp_path, multi30k.Params())
    assert {p.name for p in tmp_path.iterdir()} == {source.name for source in multi30k.DATASET.files}
    splits = multi30k.examples(tmp_path, multi30k.Params())
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 1400, "validation": 100, "test": 100}
    assert [row["index"] for row in splits["test"]] == list(range(100))
    rows = everything(splits)
    assert len({r["en"] for r in rows}) == len({r["de"] for r in rows}) == 1600, "no sentence twice, and each has one translation"
    lengths = [len(r["en"].split()) for r in rows]
    assert 10 < sum(lengths) / 1600 < 12 and max(lengths) <= 20
    assert len({w for r in rows for w in r["en"].split()}) == 56 and len({w for r in rows for w in r["de"].split()}) == 64
    digest = hashlib.sha256("".join(f"{r['en']}\t{r['de']}\n" for r in rows).encode()).hexdigest()
    assert digest[:16] == "cad245fe430900db"
    (tmp_path / "val.de.gz").write_bytes(gzip.compress(b"nur eine\n"))
    with pytest.raises(UserError, match=r"^val\.en\.gz has 100 lines, val\.de\.gz 1: line 2 of val\.en\.gz has no partner in val\.de\.gz$"):
        multi30k.examples(tmp_path, multi30k.Params())


def test_german_of_the_twin():
    """The verb comes second, the infinitive last; an adjective ends in -e after das and dieses, in -es after ein and mein."""
    rng = random.Random(1)
    for _ in range(300):
        english, german = multi30k.clause(rng)
        words = german.split()
        assert (words[1] == "wird") == (" will " in english) == (words[-1] in {de for _, de in multi30k.VERBS})
        for before, adjective in pairwise(words):
            if before in multi30k.DETERMINERS.values() and adjective not in multi30k.NOUNS.values():
                assert adjective.endswith("e" if before in ("das", "dieses") else "es")


def test_tatoeba(tmp_path):
    tatoeba_en_zh.twin(tmp_path, tatoeba_en_zh.Params())
    data = (tmp_path / "cmn.txt").read_bytes()
    lines = data.decode().split("\n")
    assert len(lines) == 1600 and lines == sorted(lines, key=lambda line: len(line.split("\t")[0])), "the last row has no line break and counts"
    splits = tatoeba_en_zh.examples(tmp_path, tatoeba_en_zh.Params())
    rows = everything(splits)
    assert sorted(r["index"] for r in rows) == list(range(1600)) and len({r["en"] for r in rows}) == 1600
    assert 50 <= len(splits["test"]) <= 110 and 50 <= len(splits["validation"]) <= 110
    assert {"test": 77, "validation": 102, "train": 1421} == {name: len(split) for name, split in splits.items()}
    assert hashlib.sha256(data).hexdigest()[:16] == "0375dcae4de24cfc"
    assert all(row["zh"] == row["zh"].translate(tatoeba_en_zh.SCRIPTS) for row in rows), "the twin is in the simplified script"


def test_an_english_sentence_is_in_one_split(tmp_path):
    (tmp_path / "cmn.txt").write_text("\n".join(f"Say {n % 300}.\t说{n}" for n in range(900)), encoding="utf-8")
    splits = tatoeba_en_zh.examples(tmp_path, tatoeba_en_zh.Params())
    sides = [{row["en"] for row in rows} for rows in splits.values()]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 300 and sum(map(len, splits.values())) == 900
    (tmp_path / "cmn.txt").write_text("Hi.\t嗨。\nRun! 跑！\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"^cmn\.txt, line 2: no tab between a sentence and its translation$"):
        tatoeba_en_zh.examples(tmp_path, tatoeba_en_zh.Params())


def test_traditional_script(tmp_path):
    (tmp_path / "cmn.txt").write_text("Cheers!\t乾杯!\nI'm OK.\t我沒事，謝謝。\nListen.\t听着。", encoding="utf-8")
    rows = {script: everything(tatoeba_en_zh.examples(tmp_path, tatoeba_en_zh.Params(script=script))) for script in ("upstream", "simplified")}
    assert {r["zh"] for r in rows["upstream"]} == {"乾杯!", "我沒事，謝謝。", "听着。"}
    assert {r["zh"] for r in rows["simplified"]} == {"干杯!", "我没事，谢谢。", "听着。"}
    assert len(tatoeba_en_zh.SCRIPTS) == 869 and not set(tatoeba_en_zh.SCRIPTS) & set(tatoeba_en_zh.SCRIPTS.values()), "one step is enough"


@pytest.mark.parametrize("module", [multi30k, tatoeba_en_zh])
def test_declarations(module):
    found = declared(module.DATASET.path)
    assert found.declaration == module.DATASET and all(source.sha256 for source in found.declaration.files)
