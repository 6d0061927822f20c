"""Hostile archives, each refused in one line that names archive and member, and what real archives look like."""

import bz2
import gzip
import hashlib
import io
import itertools
import lzma
import multiprocessing
import random
import stat
import struct
import tarfile
import warnings
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from dlbooks import UserError, archives
from dlbooks.archives import Members

MEMBERS = {"a/1.txt": b"one", "a/b/2.txt": b"two" * 100}
TREE = archives.tree_digest({name: hashlib.sha256(data).hexdigest() for name, data in MEMBERS.items()})
NOISE = random.Random(0).randbytes(3000)


def entry(name, data=b"", kind=tarfile.REGTYPE, form=tarfile.GNU_FORMAT, **fields):
    """One tar member: header, data, padding."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(form) + data + bytes(-len(data) % 512)


def tar(*entries):
    return b"".join([entry("top/a/1.txt", b"one"), *entries, bytes(1024)])


def zipped(members=None, method=zipfile.ZIP_DEFLATED, **fields):
    """A zip with one member whose header fields are set after packing, or of several members."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, data in members or [("top/a/1.txt", NOISE)]:
                info = zipfile.ZipInfo(name)
                info.compress_type = method
                for key, value in fields.items():
                    setattr(info, key, value)
                archive.writestr(info, data)
    return buffer.getvalue()


def patched(data, offset, fmt, value, mark=b"PK\1\2"):
    """A zip with one field of its (last) directory entry overwritten."""
    at = data.rfind(mark) + offset
    return data[:at] + struct.pack(fmt, value) + data[at + struct.calcsize(fmt) :]


def overlapping():
    """Fifield's trick: many directory entries that share one member's bytes."""
    data = zipped(method=zipfile.ZIP_STORED)
    start, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    one = data[start:end]
    entries = b"".join(one.replace(b"1.txt", b"%d.txt" % n) for n in range(9))
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 9, len(entries), start, 0)
    return data[:start] + entries + tail


def ten_million():
    """Ten million tar members: 512 bytes each, as 1,000 gzip members of 10,000."""
    return gzip.compress(entry("top/x") * 10_000) * 1000


def sparse():
    header = bytearray(entry("top/a/9.txt", kind=tarfile.GNUTYPE_SPARSE))
    header[386:410] = b"00000000000\0" * 2
    header[483:495] = b"77777777777\0"  # 8 GB of nothing
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * 32)
    return bytes(header)


HOSTILE = {
    "traversal": ("x.tar", lambda: tar(entry("top/a/../../../etc/1.txt", b"x")), "leads out of the archive"),
    "traversal of the top folder": ("x.tar", lambda: tar(entry("../a/2.txt", b"x")), "leads out of the archive"),
    "traversal nobody wants": ("x.tar", lambda: tar(entry("top/../../x.sh", b"x")), "leads out of the archive"),
    "absolute": ("x.tar", lambda: tar(entry("/top/a/2.txt", b"x")), "leads out of the archive"),
    "symbolic link": ("x.tar", lambda: tar(entry("top/a/2.txt", kind=tarfile.SYMTYPE, linkname="/etc/passwd")), "is a symbolic link"),
    "hard link": ("x.tar", lambda: tar(entry("top/a/2.txt", kind=tarfile.LNKTYPE, linkname="/etc/passwd")), "is a hard link"),
    "character device": ("x.tar", lambda: tar(entry("top/a/2.txt", kind=tarfile.CHRTYPE, devmajor=1)), "is a device"),
    "block device": ("x.tar", lambda: tar(entry("top/a/2.txt", kind=tarfile.BLKTYPE)), "is a device"),
    "pipe": ("x.tar", lambda: tar(entry("top/a/2.txt", kind=tarfile.FIFOTYPE)), "is a pipe"),
    "unknown kind": ("x.tar", lambda: tar(entry("top/a/2.txt", kind=b"Z")), "is a sparse file or no file"),
    "sparse": ("x.tar", lambda: tar(sparse()), "is a sparse file"),
    "duplicate": ("x.tar", lambda: tar(entry("top/a/1.txt", b"two")), "member 'top/a/1.txt' appears twice"),
    "duplicate, spelled otherwise": ("x.tar", lambda: tar(entry("./top//a/./1.txt", b"two")), "appears twice"),
    "backslash": ("x.tar", lambda: tar(entry("top/a/..\\..\\2.txt", b"x")), "has a backslash or a drive letter"),
    "drive letter": ("x.tar", lambda: tar(entry("C:/a/2.txt", b"x")), "has a backslash or a drive letter"),
    "control character": ("x.tar", lambda: tar(entry("top/a/2\n3.txt", b"x")), r"member 'top/a/2\\n3.txt' has a control character"),
    "NUL": ("x.tar", lambda: tar(entry("top/a/é.txt", b"x", form=tarfile.PAX_FORMAT).replace("é".encode(), b"\0\1")), "has a control character"),
    "no UTF-8": ("x.tar", lambda: tar(entry("top/a/\udcff\udcfe.txt", b"x")), "has a name that is no UTF-8"),
    "long name": ("x.tar", lambda: tar(entry(f"top/a/{'n' * 300}.txt", b"x")), "has a name that is too long"),
    "deep name": ("x.tar", lambda: tar(entry(f"top/a/{'n/' * 600}2.txt", b"x")), "has a name that is too long"),
    "huge header": ("x.tar", lambda: tar(entry("top/a/" + "n" * 200_000 + ".txt", b"x")), "a header is too large"),
    "headers of headers": ("x.tar", lambda: tar(entry("l", b"n", kind=b"L") * 90), "is no readable archive"),
    "bomb": ("x.tar.gz", lambda: gzip.compress(tar(entry("top/a/2.txt", bytes(3 << 20)))), "unpacks to more than 250 times its size"),
    "bomb nobody wants": ("x.tar.bz2", lambda: bz2.compress(tar(entry("top/x", bytes(3 << 20)))), "unpacks to more than 250 times its size"),
    "bomb of one file": ("a/1.txt.xz", lambda: lzma.compress(bytes(3 << 20)), "unpacks to more than 250 times its size"),
    "bomb of ten members": ("x.tar", lambda: tar(*(entry(f"top/a/x{n}.txt", NOISE * 100) for n in range(30))), "the limit of 4,000,000 bytes"),
    "size lie": ("x.tar", lambda: entry("top/a/2.txt", NOISE)[:-1024], "it ends too soon"),
    "huge size lie": ("x.tar", lambda: entry("top/a/2.txt", size=1 << 60), "makes it larger than the limit of 4,000,000 bytes"),
    "negative size": ("x.tar", lambda: tar(entry("top/x", size=-4096)), "is no readable archive"),
    "ten million members": ("x.tar.gz", lambda: ten_million(), "unpacks to more than 250 times its size|more than 1,000 members"),
    "ten thousand members": ("x.tar", lambda: tar(entry("top/x") * 1001), "more than 1,000 members"),
    "truncated": ("x.tar.gz", lambda: gzip.compress(tar(entry("top/a/2.txt", NOISE)))[:-900], "is no readable archive: Compressed file ended"),
    "truncated xz": ("x.tar.xz", lambda: lzma.compress(tar(entry("top/a/2.txt", NOISE)))[:-900], "is no readable archive: Compressed file ended"),
    "flipped": ("x.tar.gz", lambda: b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 100, "is no readable archive"),
    "flipped bz2": ("x.tar.bz2", lambda: bz2.compress(tar())[:20] + b"?" * 100, "is no readable archive"),
    "web page": ("x.tar.gz", lambda: b"<!DOCTYPE html><title>Sign in</title>", "x.tar.gz is no .gz file: it is a web page"),
    "empty": ("x.zip", lambda: b"", "x.zip is no .zip file: it is empty"),
    "zip called tar.gz": ("x.tar.gz", lambda: zipped(), "x.tar.gz is no .gz file: it is a .zip file"),
    "tar.gz called zip": ("x.zip", lambda: gzip.compress(tar()), "x.zip is no .zip file: it is a .gz file"),
    "gz called tar": ("x.tar", lambda: gzip.compress(tar()), "x.tar is no .tar file: it is a .gz file"),
    "no tar inside": ("x.tgz", lambda: gzip.compress(b"hello"), "it is no tar file"),
    "program": ("x.bin", lambda: b"\x7fELF" + bytes(600), "it is no tar file"),
    "nothing wanted": ("x.tar", lambda: entry("top/other.txt", b"x") + bytes(1024), r"x.tar holds no file a/\*.txt"),
    "zip traversal": ("x.zip", lambda: zipped([("top/a/../../../2.txt", b"x")]), "leads out of the archive"),
    "zip absolute": ("x.zip", lambda: zipped([("/etc/a/2.txt", b"x")]), "leads out of the archive"),
    "zip backslash": ("x.zip", lambda: zipped([("top/a/..\\..\\2.txt", b"x")]), "has a backslash or a drive letter"),
    "zip NUL": ("x.zip", lambda: zipped([("top/a/2?sh.txt", b"x")]).replace(b"2?sh", b"2\0sh"), "has a control character"),
    "zip symbolic link": ("x.zip", lambda: zipped(external_attr=(stat.S_IFLNK | 0o777) << 16), "is a symbolic link"),
    "zip device": ("x.zip", lambda: zipped(external_attr=(stat.S_IFCHR | 0o666) << 16), "is a device or pipe"),
    "zip duplicate": ("x.zip", lambda: zipped([("top/a/1.txt", b"1"), ("top/a/1.txt", b"2")]), "appears twice"),
    "zip encrypted": ("x.zip", lambda: patched(zipped(), 8, "<H", 1), "member 'top/a/1.txt' is encrypted"),
    "zip method": ("x.zip", lambda: zipped(method=zipfile.ZIP_LZMA), "is packed by method 14, neither stored nor deflated"),
    "zip bomb": ("x.zip", lambda: zipped([("top/a/1.txt", bytes(3 << 20))]), "makes it unpack to more than 250 times its size"),
    "zip size lie, small": ("x.zip", lambda: patched(zipped(), 24, "<L", 10), "is no readable archive: damaged"),
    "zip size lie, large": ("x.zip", lambda: patched(zipped(), 24, "<L", 100_000), "is no readable archive: damaged"),
    "zip size lie, huge": ("x.zip", lambda: patched(zipped(), 24, "<L", 2**32 - 2), "makes it unpack to more than 250 times|larger than the limit"),
    "zip packed size lie": ("x.zip", lambda: patched(zipped(), 20, "<L", 100_000), "members overlap or are larger than it is"),
    "zip overlapping members": ("x.zip", lambda: overlapping(), "members overlap or are larger than it is"),
    "zip checksum": ("x.zip", lambda: patched(zipped(), 16, "<L", 1), "is no readable archive: damaged"),
    "zip truncated": ("x.zip", lambda: zipped()[:-30], "is no readable archive: its directory is missing or cut off"),
    "zip beginning only": ("x.zip", lambda: zipped()[:50], "its directory is missing or cut off"),
    "zip directory lie": ("x.zip", lambda: patched(zipped(), 12, "<L", 2**31, b"PK\5\6"), "its directory has 2,147,483,648 bytes, more than 100,000"),
    "zip ten thousand members": ("x.zip", lambda: zipped([(f"{n}", b"") for n in range(1001)]), "more than 1,000 members"),
    "zip of a 64-bit directory lie": (
        "x.zip",
        lambda: zipped()[:-22] + struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, 2**60, 0) + struct.pack("<4sLQL", b"PK\6\7", 0, len(zipped()) - 22, 1) + zipped()[-22:],
        "its directory has 1,152,921,504,606,846,976 bytes",
    ),
}  # fmt: skip


@pytest.fixture
def limits(monkeypatch):
    monkeypatch.setattr(archives, "FREE", 1 << 20)
    monkeypatch.setattr(archives, "HEADER", 100_000)
    monkeypatch.setattr(archives, "ENTRIES", 1000)
    monkeypatch.setattr(archives, "DIRECTORY", 100_000)


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile(tmp_path, limits, case):
    name, make, message = HOSTILE[case]
    (tmp_path / "part").write_bytes(make())
    with pytest.raises(UserError, match=message) as caught:
        archives.repack(
            tmp_path / "part", tmp_path / "out.zip", ["a/*.txt", "*/a/*.txt"][: 1 + case.startswith("traversal")], name=name, limit=4_000_000
        )
    text = str(caught.value)
    assert text.startswith(name) and text.isprintable() and len(text) < 400, text


def test_enough_hostile_ones():
    assert len(HOSTILE) >= 25


def test_random_damage_is_refused_or_seen_in_the_tree(tmp_path, limits):
    """No flipped byte of any kind of archive leads to another exception than ``UserError``, or to other files under the same digest."""
    rng = random.Random(1)
    plain = b"".join(entry(f"top/{n}", d) for n, d in MEMBERS.items()) + bytes(1024)
    kinds = {"x.tar": plain, "x.tar.gz": gzip.compress(plain), "x.tar.xz": lzma.compress(plain), "x.tar.bz2": bz2.compress(plain)}
    kinds["x.zip"] = zipped([(f"top/{n}", d) for n, d in MEMBERS.items()])
    for (name, data), _ in itertools.product(kinds.items(), range(60)):
        broken = bytearray(data)
        broken[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (tmp_path / "part").write_bytes(broken)
        try:
            tree = archives.repack(tmp_path / "part", tmp_path / "out.zip", ["a/*.txt"], name=name, limit=4_000_000)
        except UserError as error:
            assert str(error).isprintable()
            continue
        with zipfile.ZipFile(tmp_path / "out.zip") as packed:
            assert (tree == TREE) == ({n: packed.read(n) for n in packed.namelist()} == MEMBERS)


PLAIN = b"".join(entry(f"top/{n}", d) for n, d in MEMBERS.items()) + bytes(1024)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.tar", PLAIN),
        ("x.tar.gz", gzip.compress(PLAIN)),
        ("x.tgz", gzip.compress(PLAIN)),
        ("x.tar.bz2", bz2.compress(PLAIN)),
        ("x.tar.xz", lzma.compress(PLAIN)),
        ("download", gzip.compress(PLAIN)),
        ("x.zip", zipped([(f"top/{n}", d) for n, d in MEMBERS.items()])),
        ("x.zip", zipped([(f"top/{n}", d) for n, d in MEMBERS.items()], method=zipfile.ZIP_STORED)),
    ],
)
def test_every_kind_gives_the_same_zip(tmp_path, name, data):
    (tmp_path / "part").write_bytes(data)
    assert archives.repack(tmp_path / "part", tmp_path / "out.zip", ["a/*"], name=name) == TREE == archives.digest_of(tmp_path / "out.zip")
    archives.pack(tmp_path / "again.zip", MEMBERS)
    assert (tmp_path / "out.zip").read_bytes() == (tmp_path / "again.zip").read_bytes()


@pytest.mark.parametrize("packer", [gzip, bz2, lzma])
def test_one_compressed_file(tmp_path, packer):
    (tmp_path / "part").write_bytes(packer.compress(NOISE))
    name = "notes.txt." + {gzip: "gz", bz2: "bz2", lzma: "xz"}[packer]
    archives.repack(tmp_path / "part", tmp_path / "out.zip", ["*.txt"], name=name)
    members = Members(tmp_path / "out.zip")
    assert members.names == ["notes.txt"] and members.read("notes.txt") == NOISE


def test_without_a_top_folder(tmp_path):
    (tmp_path / "part").write_bytes(b"".join(entry(f"./{n}", d) for n, d in MEMBERS.items()) + bytes(1024))
    assert archives.repack(tmp_path / "part", tmp_path / "out.zip", ["a/*"], name="x.tar", top=False) == TREE


def test_what_nobody_wants_is_never_read(tmp_path):
    """Real repositories hold links: ignored, like folders, odd names and members of another kind."""
    odd = [
        entry(f"top/{n}", kind=k, linkname="/etc/passwd")
        for n, k in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("null", tarfile.CHRTYPE))
    ]
    odd += [entry("top/a", kind=tarfile.DIRTYPE), entry("top/bad\\name", b"x"), entry("pax_global_header", b"20 comment=abcdefgh\n", kind=b"g")]
    (tmp_path / "part").write_bytes(b"".join(odd) + PLAIN)
    assert archives.repack(tmp_path / "part", tmp_path / "out.zip", ["a*"], name="x.tar") == TREE
    members = [("top/a/", b""), ("top/link", b"/etc/passwd"), *((f"top/{n}", d) for n, d in MEMBERS.items())]
    (tmp_path / "part").write_bytes(zipped(members))
    assert archives.repack(tmp_path / "part", tmp_path / "out.zip", ["a*"], name="x.zip") == TREE


def test_patterns_and_files_of_a_folder(tmp_path):
    for name in ("b/2.jpg", "a/1.jpg", "a/x/3.JPG", "a/note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    found = archives.files_in(tmp_path, ["*.jpg", "*.JPG"], ["b/2.jpg"])
    assert list(found) == ["a/1.jpg", "a/x/3.JPG"] and found["a/1.jpg"].read_bytes() == b"a/1.jpg"


def test_pack_refuses_a_second_member_of_a_name(tmp_path):
    with pytest.raises(ValueError, match=r"x.zip: a appears twice"):
        archives.pack(tmp_path / "x.zip", [("a", b"1"), ("a", b"2")])


# ── members ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_members_in_threads_and_forks(tmp_path):
    wanted = {f"d/{n}": random.Random(n).randbytes(n) for n in range(300)}
    archives.pack(tmp_path / "x.zip", wanted)
    members = Members(tmp_path / "x.zip")
    assert members.names == list(wanted) and len(members) == 300 and "d/7" in members and "d" not in members
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(members.read, wanted)) == list(wanted.values())
    found = multiprocessing.get_context("fork").SimpleQueue()

    def work(part):
        found.put((part, [zlib.crc32(members.read(name)) for name in members.names[part::3]]))

    workers = [multiprocessing.get_context("fork").Process(target=work, args=(part,)) for part in range(3)]
    for worker in workers:
        worker.start()
    sums = dict(found.get() for _ in workers)
    for worker in workers:
        worker.join()
    assert sums == {part: [zlib.crc32(d) for d in list(wanted.values())[part::3]] for part in range(3)}


def test_members_deflated_and_misplaced(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"#!/bin/sh\n" + zipped([("a", bytes(1000)), ("b", NOISE)]))  # zipfile allows a prefix
    members = Members(tmp_path / "x.zip")
    assert members.read("a") == bytes(1000) and members.read("b") == NOISE


def test_damaged_members_are_named(tmp_path):
    path = tmp_path / "x.zip"
    with pytest.raises(UserError, match=f"^{path} is missing: fetch the data set again$"):
        Members(path)
    path.write_bytes(b"no zip")
    with pytest.raises(UserError, match=rf"^{path} is no readable zip archive \(File is not a zip file\): fetch"):
        Members(path)
    archives.pack(path, {"a": NOISE, "b": NOISE})
    members = Members(path)
    with pytest.raises(UserError, match=f"^{path} holds no c: fetch the data set again$"):
        members.read("c")
    data = bytearray(path.read_bytes())
    data[100] ^= 4
    path.write_bytes(data)
    assert members.read("b") == NOISE
    with pytest.raises(UserError, match=f"^{path}, a: damaged: fetch the data set again$"):
        members.read("a")
    path.write_bytes(data[:60])
    with pytest.raises(UserError, match=f"^{path}, b: damaged"):
        members.read("b")
