"""The two stages of a data set: ``fetch`` puts upstream's files (or the twin's) into a raw folder, ``preprocess`` turns them into records.

A download is looked up in ``DLBOOKS_MIRROR`` first (a folder or a base URL, laid out as ``<host>/<path of the URL>``), then at each
declared URL in turn. Whatever the place, the same SHA-256 must match before a file gets its name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from pathlib import Path
from urllib.parse import urlsplit

from dlbooks import UserError, archives, catalog, params, records

ATTEMPTS = 4  # per URL
BACKOFF = 0.5  # seconds before the second attempt, doubled before each further one
TIMEOUT = (10, 60)  # seconds to connect, seconds without a byte
CHUNK = 1 << 16


class DigestError(UserError):
    """The bytes are not the declared ones: nothing of them is kept."""


def _digest(path: Path, algorithm: str = "sha256") -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _fault(source: catalog.Source | catalog.Archive, path: Path) -> str:
    """What is wrong with the bytes, by the strongest digest declared of them."""
    for label, algorithm in (("SHA-256", "sha256"), ("SHA-1", "sha1"), ("MD5", "md5")):
        if expected := getattr(source, algorithm, ""):
            actual = _digest(path, algorithm)
            return "" if actual == expected else f"expected {label} {expected}, found {actual}"
    return ""


def _keep(source: catalog.Source | catalog.Archive, part: Path, target: Path) -> str:
    """Makes verified bytes the file ``target`` and takes ``part`` away; what is wrong with them otherwise."""
    if fault := _fault(source, part):
        return fault
    if isinstance(source, catalog.Source):
        os.replace(part, target)
        return ""
    packed = target.with_name(target.name + ".packed")
    try:
        actual = archives.repack(part, packed, source.include)
        if source.tree and actual != source.tree:
            return f"expected tree digest {source.tree} of {', '.join(source.include)}, found {actual}"
        os.replace(packed, target)
        part.unlink()
        return ""
    except UserError as error:
        return str(error)
    finally:
        packed.unlink(missing_ok=True)


def _here(source: catalog.Source | catalog.Archive, target: Path) -> bool:
    """Whether the file is there and right; an archive without a tree digest got its name only after its bytes were checked."""
    if isinstance(source, catalog.Archive):
        return target.exists() and (not source.tree or archives.digest_of(target) == source.tree)
    return target.exists() and not _fault(source, target)


def _places(url: str) -> list[str]:
    """Where to look for a URL: its mirrored place, if there is a mirror, then itself."""
    mirror = os.environ.get("DLBOOKS_MIRROR", "").rstrip("/")
    parts = urlsplit(url)
    return [f"{mirror}/{parts.netloc}{parts.path}", url] if mirror else [url]


def _transfer(place: str, part: Path) -> None:
    """Copies a file or downloads a URL to ``part``, from where an earlier attempt stopped if the server can do that."""
    import requests
    from tqdm import tqdm

    bar = tqdm(unit="B", unit_scale=True, unit_divisor=1024, desc=part.name.removesuffix(".part"), leave=False, disable=None)
    with bar:
        if not place.startswith(("http://", "https://")):
            with open(place, "rb") as source, part.open("wb") as target:
                bar.reset(os.fstat(source.fileno()).st_size)
                while block := source.read(CHUNK):
                    bar.update(target.write(block))
            return
        start = part.stat().st_size if part.exists() else 0
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
        with requests.get(place, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code == 416:  # the part is no beginning of this file
                part.unlink()
            answer.raise_for_status()
            if answer.status_code != 206:
                start = 0
            bar.reset(start + int(answer.headers.get("Content-Length", 0)) or None)
            bar.update(start)
            with part.open("ab" if start else "wb") as target:
                for block in answer.iter_content(CHUNK):
                    bar.update(target.write(block))


def _reason(error: OSError) -> str:
    """A failed request in two or three words instead of the library's nested objects."""
    import requests

    if isinstance(error, requests.HTTPError):
        return f"HTTP {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "timed out"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "connection broke"
    return "no connection" if isinstance(error, requests.ConnectionError) else type(error).__name__


def _get(source: catalog.Source | catalog.Archive, target: Path) -> None:
    """One declared file, whole and verified, or a ``UserError``."""
    import requests

    part = target.with_name(target.name + ".part")
    wrong, failed = [], []
    for place in dict.fromkeys(place for url in source.urls for place in _places(url)):
        attempt = 0
        while attempt < ATTEMPTS:
            resumed = part.exists()
            try:
                _transfer(place, part)
                if not (fault := _keep(source, part, target)):
                    return
                part.unlink()
                if not resumed:  # a resumed file may have begun as another version: then it is worth a fresh start
                    wrong.append(f"{place}: {fault}; nothing was kept")
                    break
            except requests.RequestException as error:
                attempt += 1
                status = getattr(error.response, "status_code", 500)
                if (status < 500 and status not in (408, 416, 429)) or attempt == ATTEMPTS:
                    failed.append(f"{place} ({_reason(error)})")
                    break
                time.sleep(BACKOFF * 2 ** (attempt - 1))
            except OSError as error:
                if error.filename == place:  # the mirror's folder does not hold it
                    failed.append(f"{place} ({error.strerror})")
                    break
                part.unlink(missing_ok=True)
                detail = "disk full" if error.errno == errno.ENOSPC else error.strerror
                raise UserError(f"{detail}: {target.name} could not be written to {target.parent}") from None
    if wrong:
        raise DigestError(wrong[0])
    hint = "DLBOOKS_MIRROR can name a folder (or base URL) that holds <host>/<path of the URL>"
    raise UserError(f"cannot download {target.name}: {', '.join(failed)}; {hint}")


def download(dataset: catalog.DataSet, folder: Path, edition: str = "") -> None:
    """Every file that the data set declares (of all editions, or of this one) into ``folder``; what is there and right is kept, broken downloads continued."""
    for source in dataset.files:
        if source.edition in ("", edition):
            target = folder / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not _here(source, target):
                _get(source, target)


def fetch(dataset: catalog.DataSet, module, parameters: params.DataSetParams, folder: Path) -> None:
    """Fills the raw folder: with the twin, by the module's own ``fetch``, or by downloading. It appears whole or not at all.

    The work is done in a sibling folder; that of an interrupted download stays, and the next call goes on from there.
    """
    temporary = folder.with_name(folder.name + (".twin" if parameters.twin else ".part"))
    if parameters.twin:
        shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True, exist_ok=True)
    try:
        if parameters.twin:
            module.twin(temporary, parameters)
        elif hasattr(module, "fetch"):
            module.fetch(temporary, parameters)
        else:
            download(dataset, temporary, getattr(parameters, "edition", ""))
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    except BaseException as error:
        if parameters.twin or isinstance(error, DigestError) or not any(temporary.rglob("*")):
            shutil.rmtree(temporary, ignore_errors=True)
        raise


def preprocess(dataset: catalog.DataSet, module, parameters: params.DataSetParams, raw: Path, folder: Path) -> dict:
    """Raw folder → record folder, the same code for the twin and for upstream's files; returns the records' ``stats.json``."""
    from tqdm import tqdm

    if not raw.is_dir():
        raise UserError(f"{raw} is missing: run `dvc repro fetch@{dataset.id}`")
    twin, edition = parameters.twin, getattr(parameters, "edition", "")
    title = f"{dataset.title}, edition {edition}" if edition else dataset.title
    about = {
        "citation": dataset.citation,
        "description": f"{title}: a synthetic twin drawn by this project, not upstream's data" if twin else title,
        "location": {"urls": [dataset.homepage]},
        "redistributionInfo": {"license": "Apache-2.0 (the twin; upstream's data: " + dataset.license + ")" if twin else dataset.license},
    }
    if {"image", "label"} <= set(module.FEATURES):
        about["supervisedKeys"] = {"tuple": {"items": [{"featureKey": "image"}, {"featureKey": "label"}]}}
    return records.write(
        folder,
        name=dataset.id,
        version=dataset.version,
        features=module.FEATURES,
        splits=module.examples(raw, parameters),
        shards=parameters.shards,
        about=about,
        progress=lambda items, label: tqdm(items, desc=label, unit="", leave=False, disable=None),
    )
