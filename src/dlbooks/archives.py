"""Archives: the wanted members of an upstream tar file kept as one zip whose bytes depend on the members alone.

A host that makes archives on the fly (a repository's ``archive/<commit>.tar.gz``) serves other bytes from year to year; what stays is
the *tree digest*: SHA-256 over the lines ``<SHA-256 of the file>  <path below the archive's top folder>``, sorted by path. Sixty thousand
small pictures are one file for DVC this way, and nothing is ever unpacked to a path that a stranger chose.
"""

from __future__ import annotations

import fnmatch
import hashlib
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from dlbooks import UserError

ZIP_DATE = (1980, 1, 1, 0, 0, 0)
LIMIT = 16 << 30  # bytes of members: more is no data set of ours, but a decompression bomb


def tree_digest(digests: dict[str, str]) -> str:
    """SHA-256 over ``{path: SHA-256 of the file}``, sorted by path."""
    return hashlib.sha256("".join(f"{digests[path]}  {path}\n" for path in sorted(digests)).encode()).hexdigest()


def pack(path: Path, members: dict[str, bytes] | Iterable[tuple[str, bytes]]) -> str:
    """Writes an uncompressed zip with fixed dates, in the order given; returns its tree digest."""
    digests = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items() if isinstance(members, dict) else members:
            archive.writestr(zipfile.ZipInfo(name, ZIP_DATE), data)
            digests[name] = hashlib.sha256(data).hexdigest()
    return tree_digest(digests)


def repack(source: Path, target: Path, include: list[str]) -> str:
    """The regular files of a tar archive that match a pattern, as a zip; returns their tree digest.

    Paths are those below the archive's top folder; in a pattern ``*`` also matches ``/``. An archive that cannot be read or leads
    out of its folder is a ``UserError``.
    """
    from tqdm import tqdm

    def members():
        size = 0
        with tarfile.open(source, "r:*") as archive, tqdm(unit=" files", desc=target.stem, leave=False, disable=None) as bar:
            for member in archive:
                name = "/".join(PurePosixPath(member.name).parts[1:])
                if not member.isfile() or not any(fnmatch.fnmatchcase(name, pattern) for pattern in include):
                    continue
                size += member.size
                if ".." in PurePosixPath(member.name).parts or size > LIMIT:
                    raise UserError(
                        f"{source.name}: member {member.name!r} " + ("leads out of the archive" if size <= LIMIT else "makes it too large")
                    )
                yield name, archive.extractfile(member).read()
                bar.update()

    try:
        return pack(target, members())
    except (tarfile.TarError, EOFError, OSError) as error:
        if getattr(error, "errno", None):
            raise
        raise UserError(f"{source.name} is no readable tar archive: {error}") from None


def digest_of(path: Path) -> str:
    """Tree digest of a zip that ``pack`` wrote."""
    with zipfile.ZipFile(path) as archive:
        return tree_digest({name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()})
