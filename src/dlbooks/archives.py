"""Archives: the wanted members of an upstream archive kept as one zip whose bytes depend on the members alone.

A host that makes archives on the fly (a repository's ``archive/<commit>.tar.gz``) serves other bytes from year to year; what stays is
the *tree digest*: SHA-256 over the lines ``<SHA-256 of the file>  <path below the archive's top folder>``, sorted by path. Sixty thousand
small pictures are one file for DVC this way, and nothing is ever unpacked to a path that a stranger chose.

An archive is read once, front to back, and refused in one line as soon as it asks for more than a data set needs: names that lead out of
it, wanted members that are no files, more bytes or members than the limits below.
"""

from __future__ import annotations

import bz2
import fnmatch
import gzip
import hashlib
import io
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from dlbooks import UserError

ZIP_DATE = (1980, 1, 1, 0, 0, 0)
LIMIT = 32 << 30  # bytes that an archive unpacks to, where its data set sets no limit of its own
ENTRIES = 2_000_000  # members, wanted or not
DIRECTORY = 256 << 20  # bytes of a zip's directory, which is read as a whole
RATIO = 250  # unpacked bytes per packed byte; text reaches 20, and deflate at most 1,032
FREE = 64 << 20  # bytes that may unpack from nearly nothing: a small file of zeros is no bomb
HEADER = 1 << 20  # bytes of one tar header with its extensions
BLOCK = 1 << 20
OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, "": open}
MAGIC = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\0": ".xz", b"PK\3\4": ".zip", b"PK\5\6": ".zip"}
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, LookupError, struct.error)
DAMAGE += (ArithmeticError, RecursionError, NotImplementedError)  # what tarfile and zipfile let through on hostile headers


def tree_digest(digests: dict[str, str]) -> str:
    """SHA-256 over ``{path: SHA-256 of the file}``, sorted by path."""
    return hashlib.sha256("".join(f"{digests[path]}  {path}\n" for path in sorted(digests)).encode()).hexdigest()


def pack(path: Path, members: dict[str, bytes] | Iterable[tuple[str, bytes]]) -> str:
    """Writes an uncompressed zip with fixed dates, in the order given; returns its tree digest."""
    digests = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items() if isinstance(members, dict) else members:
            if name in digests:
                raise ValueError(f"{path.name}: {name} appears twice")
            archive.writestr(zipfile.ZipInfo(name, ZIP_DATE), data)
            digests[name] = hashlib.sha256(data).hexdigest()
    return tree_digest(digests)


def matcher(patterns: list[str]) -> Callable[[str], object]:
    """Whether a path matches one of the shell patterns, in which ``*`` also matches ``/``."""
    return re.compile("|".join(map(fnmatch.translate, patterns)) or "(?!)").match


def files_in(folder: Path, include: list[str], skip: Iterable[str] = ()) -> dict[str, Path]:
    """``{relative path: file}`` of the files below a person's own folder that match a pattern and are not skipped, sorted by path."""
    wanted, skipped = matcher(include), set(skip)
    plain = not any(set("*?[") & set(pattern) for pattern in include)  # files by name: their folder may be large
    places = (folder / name for name in include) if plain else folder.rglob("*")
    found = {p.relative_to(folder).as_posix(): p for p in places if p.is_file()}
    return {name: found[name] for name in sorted(found) if wanted(name) and name not in skipped}


def repack(source: Path, target: Path, include: list[str], *, name: str = "", top: bool = True, limit: int = 0) -> str:
    """The regular files of a tar or zip archive (or the one compressed file) that match a pattern, as a zip; returns their tree digest.

    With ``top``, paths are those below the archive's top folder; in a pattern ``*`` also matches ``/``. Members are read when a pattern wants
    them only. ``name`` is the file name at its publisher, which says what the archive must be and stands in messages; ``limit`` is the
    most bytes that it may unpack to. What cannot be read, is not what its name says, or is refused (see above) is a ``UserError``.
    """
    name, limit = name or source.name, limit or LIMIT
    try:
        return pack(target, _wanted(source, name, matcher(include), " or ".join(include), top, limit))
    except OSError as error:
        if error.errno:
            raise
        raise UserError(f"{name} is no readable archive: {_words(error)}") from None
    except DAMAGE as error:
        raise UserError(f"{name} is no readable archive: {_words(error)}") from None


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _wanted(source: Path, name: str, wants: Callable, patterns: str, top: bool, limit: int) -> Iterator[tuple[str, bytes]]:
    """Path and bytes of the wanted members, in the archive's order."""
    from dlbooks.status import Bar

    kind = _kind(source, name)
    walk = _zip_members if kind == ".zip" else _tar_members if kind.startswith(".tar") else _single
    with Bar(unit=" files", desc=name, leave=False, disable=None) as bar:
        seen = set()
        for number, (path, fault, size, read) in enumerate(walk(source, name, kind, limit)):
            where = f"{name}: member {path[:120]!r}"
            if number >= ENTRIES:
                raise UserError(f"{name}: more than {ENTRIES:,} members")
            parts = [part for part in path.split("/") if part not in ("", ".")]
            if path.startswith("/") or ".." in parts:
                raise UserError(f"{where} leads out of the archive")
            below = "/".join(parts[top and walk is not _single :])
            if path.endswith("/") or not wants(below):
                continue
            if fault := fault or _unfit(path):
                raise UserError(f"{where} {fault}")
            if below in seen:
                raise UserError(f"{where} appears twice")
            if size > limit:
                raise UserError(f"{where} makes it larger than the limit of {limit:,} bytes")
            seen.add(below)
            yield below, read()
            bar.update()
    if not seen:
        raise UserError(f"{name} holds no file {patterns}")


def _unfit(path: str) -> str:
    """What makes a member's name unfit for a file's name on some system, if anything."""
    if "\\" in path or path[1:2] == ":":
        return "has a backslash or a drive letter in its name"
    if re.search(r"[\x00-\x1f\x7f]", path):
        return "has a control character in its name"
    try:
        data = path.encode()
    except UnicodeEncodeError:
        return "has a name that is no UTF-8"
    return "has a name that is too long" if len(data) > 1024 or max(map(len, data.split(b"/"))) > 255 else ""


def _kind(source: Path, name: str) -> str:
    """``.zip``, ``.tar``, ``.tar.gz``, ``.tar.bz2``, ``.tar.xz``, or ``.gz``, ``.bz2``, ``.xz`` of one file: what it is and its name says."""
    with source.open("rb") as file:
        head = file.read(512)
    packing = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), "")
    named = re.sub(r"\.t(gz|bz2|xz)$", r".tar.\1", name.lower())
    suffix = PurePosixPath(named).suffix
    promised = suffix if suffix in (".zip", ".gz", ".bz2", ".xz") else ""
    if packing != promised and suffix in (".zip", ".gz", ".bz2", ".xz", ".tar"):
        found = f"a {packing} file" if packing else "a web page" if head.lstrip()[:1] == b"<" else "empty" if not head else "something else"
        raise UserError(f"{name} is no {suffix} file: it is {found}")
    if packing == ".zip":
        return packing
    with OPENERS[packing](source, "rb") as file:
        head = file.read(512)
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        return ".tar" + packing
    except tarfile.HeaderError:
        if not packing or ".tar" in named:
            raise UserError(f"{name} is no readable archive: it is no tar file") from None
    return packing


class _Stream:
    """Unpacked bytes of a compressed file, read front to back within limits: as much as tarfile needs of a file object."""

    def __init__(self, source: Path, name: str, packing: str, limit: int):
        self.packed = source.open("rb")
        self.file = io.BufferedReader(OPENERS[packing](self.packed), BLOCK) if packing else self.packed
        self.name, self.limit, self.position = name, limit, 0
        self.allowed = HEADER  # bytes until the next member

    def tell(self) -> int:
        return self.position

    def read(self, count: int) -> bytes:
        if count <= BLOCK:
            return self._block(count)
        blocks = []
        while count > 0 and (data := self._block(min(count, BLOCK))):
            blocks.append(data)
            count -= len(data)
        return b"".join(blocks)

    def seek(self, position: int) -> None:
        if position < self.position:
            raise ValueError("a header points backward")
        self.allowed += position - self.position
        while self.position < position and self._block(min(position - self.position, BLOCK)):
            pass

    def _block(self, count: int) -> bytes:
        if count < 0 or count > self.allowed:
            raise ValueError("a header is too large")
        data = self.file.read(count)
        self.position += len(data)
        self.allowed -= len(data)
        if self.position > self.limit:
            raise UserError(f"{self.name} unpacks to more than the limit of {self.limit:,} bytes")
        if self.position > FREE and self.position > RATIO * self.packed.tell():
            raise UserError(f"{self.name} unpacks to more than {RATIO} times its size")
        return data

    def close(self) -> None:
        self.file.close()
        self.packed.close()


# The three kinds of archives give (path, what is wrong with the member, bytes so far with it, its reader) of one member after another.
def _tar_members(source: Path, name: str, kind: str, limit: int) -> Iterator[tuple[str, str, int, Callable[[], bytes]]]:
    stream = _Stream(source, name, kind.removeprefix(".tar"), limit)
    kinds = {tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link", tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device"}
    kinds |= {tarfile.FIFOTYPE: "a pipe", tarfile.GNUTYPE_SPARSE: "a sparse file"}
    total = 0
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # it keeps all of them for random access
                fault = "" if member.isreg() and not member.issparse() else f"is {kinds.get(member.type, 'a sparse file or no file')}"

                def read(member=member) -> bytes:
                    nonlocal total
                    if stream.position != member.offset_data:
                        raise ValueError("a header points elsewhere")
                    total += member.size
                    padded = -(-member.size // 512) * 512
                    stream.allowed = padded
                    data = stream.read(padded)
                    if len(data) < member.size:
                        raise EOFError("it ends too soon")
                    return data[: member.size]

                yield member.name + "/" * member.isdir(), fault, total + max(member.size, 0), read
                stream.allowed = HEADER
    finally:
        stream.close()


def _zip_members(source: Path, name: str, kind: str, limit: int) -> Iterator[tuple[str, str, int, Callable[[], bytes]]]:
    _check_directory(source, name)
    with source.open("rb") as file:
        size, total = os.fstat(file.fileno()).st_size, 0
        for entry in _entries(file):
            mode, fault = stat.S_IFMT(entry.external_attr >> 16), ""
            if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
                fault = "is a symbolic link" if mode == stat.S_IFLNK else "is a device or pipe"
            elif entry.flag_bits & 1:
                fault = "is encrypted"
            elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                fault = f"is packed by method {entry.compress_type}, neither stored nor deflated"
            elif total + entry.file_size > FREE and total + entry.file_size > RATIO * size:
                fault = f"makes it unpack to more than {RATIO} times its size"

            def read(entry=entry) -> bytes:
                nonlocal total
                total += entry.file_size
                return _member(file.fileno(), *_place(entry))

            yield entry.orig_filename, fault, total + entry.file_size, read


def _single(source: Path, name: str, kind: str, limit: int) -> Iterator[tuple[str, str, int, Callable[[], bytes]]]:
    stream = _Stream(source, name, kind, limit)
    stream.allowed = limit + 1
    try:
        yield name[: -len(kind)] if name.lower().endswith(kind) else name, "", 0, lambda: stream.read(limit + 1)
    finally:
        stream.close()


def _check_directory(path: Path, name: str) -> None:
    """Refuses a zip whose directory is too large to be read; zipfile itself would hold any number of members in memory."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(size - (1 << 16) - 22, 0)
        file.seek(start)
        tail = file.read()
        at = tail.rfind(b"PK\5\6")
        if at < 0 or at + 22 > len(tail):
            raise zipfile.BadZipFile("its directory is missing or cut off")
        length = struct.unpack_from("<L", tail, at + 12)[0]
        if at >= 20 and tail[at - 20 : at - 16] == b"PK\6\7":
            file.seek(min(struct.unpack_from("<Q", tail, at - 12)[0], size))
            record = file.read(56)
            if len(record) < 56:
                raise zipfile.BadZipFile("its directory is missing or cut off")
            length = struct.unpack_from("<Q", record, 40)[0]
        if length > DIRECTORY:
            raise UserError(f"{name}: its directory has {length:,} bytes, more than {DIRECTORY:,}")
        file.seek(max(start + at - length - 76, 0))  # the directory stands before its end records
        if file.read(length + 76).count(b"PK\1\2") > ENTRIES:
            raise UserError(f"{name}: more than {ENTRIES:,} members")


def _entries(file: BinaryIO) -> list[zipfile.ZipInfo]:
    """The directory of a zip, if all its members have a place of their own in the file."""
    entries = zipfile.ZipFile(file).infolist()
    if sum(30 + len(e.orig_filename) + e.compress_size for e in entries) > os.fstat(file.fileno()).st_size:
        raise ValueError("members overlap or are larger than it is")
    if any(e.header_offset < 0 for e in entries):
        raise ValueError("a member lies before its beginning")
    return entries


def _place(entry: zipfile.ZipInfo) -> tuple[int, int, int, int, int]:
    return entry.header_offset, entry.compress_size, entry.file_size, entry.CRC, entry.compress_type


def _member(file: int, offset: int, stored: int, size: int, checksum: int, method: int) -> bytes:
    """A member's bytes from its place in a zip; anything but the bytes it promises is a ``ValueError``."""
    header = os.pread(file, 30, offset)  # name and extra field behind it may be longer than the directory's
    start = offset + 30 + sum(struct.unpack_from("<HH", header, 26)) if len(header) == 30 else 0
    data = os.pread(file, stored, start)
    while len(data) < stored and (more := os.pread(file, stored - len(data), start + len(data))):
        data += more  # one call reads 2 GB at most
    if method == zipfile.ZIP_DEFLATED:
        try:
            data = zlib.decompressobj(-15).decompress(data, size + 1)
        except zlib.error:
            data = None
    if header[:4] != b"PK\3\4" or data is None or len(data) != size or zlib.crc32(data) != checksum:
        raise ValueError("damaged")
    return data


class Members:
    """The members of a zip, read by their place in the file: safe in threads and forked processes, which share one open file.

    ``names`` is in the archive's order. A missing or damaged zip, or a damaged member, is a ``UserError`` that names it.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self._file = -1
        try:
            with self.path.open("rb") as file:
                entries = _entries(file)
            self._file = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            raise UserError(f"{self.path} is missing: fetch the data set again") from None
        except (*DAMAGE, OSError) as error:
            raise UserError(f"{self.path} is no readable zip archive ({_words(error)}): fetch the data set again") from None
        self.names = [entry.filename for entry in entries]
        self._places = {entry.filename: _place(entry) for entry in entries}

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __len__(self) -> int:
        return len(self.names)

    def read(self, name: str) -> bytes:
        """The bytes of a member, compared with their CRC-32."""
        if name not in self._places:
            raise UserError(f"{self.path} holds no {name}: fetch the data set again")
        try:
            return _member(self._file, *self._places[name])
        except ValueError as error:
            raise UserError(f"{self.path}, {name}: {error}: fetch the data set again") from None

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    __del__ = close


def digest_of(path: Path) -> str:
    """Tree digest of a zip that ``pack`` wrote."""
    members = Members(path)
    return tree_digest({name: hashlib.sha256(members.read(name)).hexdigest() for name in members.names})
