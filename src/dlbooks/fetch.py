"""The two stages of a data set: ``fetch`` puts upstream's files (or the twin's) into a raw folder, ``preprocess`` turns them into records.

A file is looked up in ``data/by-hand/<data set>/`` first, then in ``DLBOOKS_MIRROR`` (a folder or a base URL, laid out as
``<host>/<path of the URL>``), then at each declared URL in turn. Whatever the place, the same digest must match before a file gets its
name. The raw folder appears whole or not at all, with ``SHA256SUMS`` of all it holds; ``preprocess`` reads nothing before they match.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import os
import queue
import re
import shutil
import threading
import time
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from dlbooks import UserError, archives, catalog, digests, params, records

PARALLEL = 4  # files at a time
ATTEMPTS = 4  # per URL
BACKOFF = 0.5  # seconds before the second attempt, doubled before each further one
TIMEOUT = (10, 60)  # seconds to connect, seconds without a byte
ANSWER = 60  # seconds until the headers of an answer are complete, redirects included
REDIRECTS = 20
WINDOW = 30  # seconds over which a rate is taken
LOWEST = 1000  # bytes per second: a server below this rate is given up, and asked again
CHUNK = 1 << 18


class DigestError(UserError):
    """The bytes are not the declared ones: nothing of them is kept."""


class _AttemptError(Exception):
    """What went wrong with one attempt at one place, in a few words; ``again`` says whether another attempt may help."""

    def __init__(self, words: str, again: bool):
        super().__init__(words)
        self.again = again


class _StoppedError(Exception):
    """Another file's fault, or Ctrl-C, ended the fetch."""


# ## Digests
def _fault(source: catalog.Source | catalog.Archive, path: Path) -> str:
    """What is wrong with the bytes, by the strongest digest declared of them."""
    for label, algorithm in (("SHA-256", "sha256"), ("SHA-1", "sha1"), ("MD5", "md5")):
        if expected := getattr(source, algorithm, ""):
            actual = digests.digest(path, algorithm)
            return "" if actual == expected else f"expected {label} {expected}, found {actual}"
    return ""


def _packed_from(target: Path) -> Path:
    """Beside the zip of an archive without a tree digest, until the fetch is complete: the MD5 of the bytes it was packed from."""
    return target.with_name(target.name + ".md5")


def _keep(dataset: catalog.DataSet, source: catalog.Source | catalog.Archive, found: Path, target: Path) -> str:
    """Makes verified bytes the file ``target``; what is wrong with them otherwise."""
    if fault := _fault(source, found):
        return fault
    if isinstance(source, catalog.Source):
        os.replace(found, target)
        return ""
    packed = target.with_name(target.name + ".packed")
    try:
        actual = archives.repack(found, packed, source.include, name=_names(source)[0], top=source.top, limit=dataset.limit)
        if source.tree and actual != source.tree:
            return f"expected tree digest {source.tree} of {', '.join(source.include)}, found {actual}"
        if not source.tree:
            _packed_from(target).write_text(source.md5, encoding="ascii")
        os.replace(packed, target)
        return ""
    except UserError as error:
        return str(error)
    finally:
        packed.unlink(missing_ok=True)


def _here(source: catalog.Source | catalog.Archive | catalog.Folder, target: Path) -> bool:
    """Whether an interrupted fetch left the file, and it is right."""
    if not target.is_file():
        return False
    if isinstance(source, catalog.Source):
        return not _fault(source, target)
    if source.tree:
        try:
            return archives.digest_of(target) == source.tree
        except UserError:
            return False
    note = _packed_from(target)
    return note.is_file() and note.read_text(encoding="ascii", errors="replace") == source.md5


# ## Places
def _names(source: catalog.Source | catalog.Archive) -> list[str]:
    """What a file is called at its publisher's, then with us."""
    return list(dict.fromkeys([*(unquote(urlsplit(url).path).rpartition("/")[2] or source.name for url in source.urls[:1]), source.name]))


def _by_hand(dataset: catalog.DataSet, folder: Path) -> Path:
    """Where a person puts files of a data set; ``folder`` is its raw folder, complete or in the making."""
    return folder.parent.parent / "by-hand" / dataset.id


def _places(dataset: catalog.DataSet, source: catalog.Source | catalog.Archive, folder: Path) -> list[str]:
    """Where to look for a file: the folder for files put there by hand, each URL's mirrored place, if there is a mirror, then the URL."""
    mirror = os.environ.get("DLBOOKS_MIRROR", "").rstrip("/")
    places = [str(path) for name in _names(source) if (path := _by_hand(dataset, folder) / name).is_file()]
    for url in source.urls:
        parts = urlsplit(url)
        places += [f"{mirror}/{parts.netloc}{parts.path}"] * bool(mirror) + [url] * (not dataset.form)
    return list(dict.fromkeys(places))


def _is_url(place: str) -> bool:
    return place.startswith(("http://", "https://"))


# ## Transfer
class _Meter:
    """What the files in transfer share: the progress bar, the limit of their bytes, their rates, and the word to stop."""

    def __init__(self, dataset: catalog.DataSet):
        from dlbooks.status import Bar

        self.limit = dataset.limit
        self.bar = Bar(unit="B", unit_scale=True, unit_divisor=1024, desc=dataset.id, leave=False, disable=None)
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.sizes: dict[Path, list[int]] = {}  # file → bytes here, bytes expected
        self.answers: dict[object, list] = {}  # answer in transfer → bytes since the window began, its beginning, whether too slow

    def at(self, part: Path, count: int, expected: int = 0) -> None:
        """Notes how much of a file is here; too much of all files together, or announced, fails."""
        with self.lock:
            self.sizes[part] = [count, max(expected, count)]
            here, total = (sum(column) for column in zip(*self.sizes.values(), strict=True))
            self.bar.total = total
            self.bar.update(here - self.bar.n)
        if self.stop.is_set():
            raise _StoppedError
        if total > self.limit:
            raise _AttemptError(f"larger than the limit of {self.limit:,} bytes per data set", again=False)

    def drop(self, part: Path) -> None:
        """Forgets a file that no place could give."""
        with self.lock:
            self.sizes.pop(part, None)

    def watch(self) -> None:
        """Cuts the connections that deliver too little, in the body or between its parts: their readers would wait for ever."""
        now = time.monotonic()
        for answer, state in list(self.answers.items()):
            if now - state[1] >= WINDOW:
                if state[0] < LOWEST * WINDOW:
                    state[2] = True
                    _cut(answer)
                state[:2] = 0, now
            if self.stop.is_set():
                _cut(answer)


def _cut(answer) -> None:
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # it may have ended by itself
        answer.raw.shutdown()


def _ask(url: str, headers: dict[str, str], meter: _Meter):
    """The answer to a GET request, its body unread. It comes from a thread of its own, which is left behind when it takes too long."""
    import requests

    class Session(requests.Session):
        def get_redirect_target(self, _):
            return None  # requests would read the body of a redirect, however long

    def ask(url=url):
        with Session() as session:
            for _ in range(REDIRECTS):
                answer = session.get(url, headers=headers, stream=True, timeout=TIMEOUT)
                if answer.status_code not in (301, 302, 303, 307, 308) or "Location" not in answer.headers:
                    return answer
                answer.close()
                url = urljoin(url, answer.headers["Location"])
        raise _AttemptError("too many redirects", again=False)

    future = concurrent.futures.Future()

    def work():
        try:
            future.set_result(ask())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    end = time.monotonic() + ANSWER
    while not concurrent.futures.wait([future], 0.1).done:
        if meter.stop.is_set() or time.monotonic() > end:
            future.add_done_callback(lambda late: late.exception() or late.result().close())
            raise _StoppedError if meter.stop.is_set() else _AttemptError("timed out", again=True)
    return future.result()


def _tag_of(part: Path) -> Path:
    """Beside an unfinished download: the server's word for the version it is of."""
    return part.with_name(part.name + ".tag")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_of(part).unlink(missing_ok=True)


def _download(url: str, part: Path, meter: _Meter) -> None:
    """Downloads ``url`` to ``part``, from where an earlier attempt stopped if the server can do that and still has the same file."""
    import requests
    import urllib3

    try:
        _receive(url, part, meter)
    except _AttemptError:
        raise
    except (requests.Timeout, urllib3.exceptions.TimeoutError):
        raise _AttemptError("timed out", again=True) from None
    except (requests.exceptions.ChunkedEncodingError, urllib3.exceptions.HTTPError, ConnectionError):
        raise _AttemptError("connection broke", again=True) from None
    except requests.exceptions.SSLError:
        raise _AttemptError("no valid certificate", again=False) from None
    except requests.ConnectionError:
        raise _AttemptError("no connection", again=True) from None
    except (requests.RequestException, ValueError) as error:
        raise _AttemptError(type(error).__name__, again=False) from None


def _receive(url: str, part: Path, meter: _Meter) -> None:
    import urllib3

    start = part.stat().st_size if part.exists() else 0
    known = _tag_of(part).read_text(encoding="utf-8", errors="replace") if start and _tag_of(part).exists() else ""
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-"} | ({"If-Range": known} if known else {})
    with _ask(url, headers, meter) as answer:
        status = answer.status_code
        tag = answer.headers.get("ETag", "W/")
        tag = answer.headers.get("Last-Modified", "") if tag.startswith("W/") else tag  # a weak tag promises no equal bytes
        spot = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if status == 416 and start and spot and spot[2] == str(start):
            return  # nothing is missing
        if status == 416 or (status == 206 and ((spot and spot[1] != str(start)) or (known and tag and tag != known))):
            _forget(part)
            raise _AttemptError("the file changed midway", again=True)
        if status not in (200, 206) or (status == 206 and not start):
            raise _AttemptError(f"HTTP {status}", again=status >= 500 or status in (408, 425, 429))
        length = answer.headers.get("Content-Length", "")
        length = int(length) if length.isdecimal() else 0
        if status == 200:
            start = 0
            _forget(part)
            _tag_of(part).write_text(tag, encoding="utf-8")
        meter.answers[answer] = state = [0, time.monotonic(), False]
        try:
            meter.at(part, start, start + length)
            with part.open("ab") as file:
                while block := answer.raw.read1(CHUNK):
                    file.write(block)
                    state[0] += len(block)
                    meter.at(part, file.tell(), start + length)
                received = file.tell() - start
        except Exception as error:
            if meter.stop.is_set():
                raise _StoppedError from None
            if isinstance(error, _AttemptError):  # too large
                _forget(part)
            if state[2]:
                raise _AttemptError(f"slower than {LOWEST:,} bytes per second", again=True) from None
            if length and isinstance(error, urllib3.exceptions.ProtocolError):
                raise _AttemptError(f"connection broke after {part.stat().st_size - start:,} of {length:,} bytes", again=True) from None
            raise
        finally:
            del meter.answers[answer]
        if meter.stop.is_set():
            raise _StoppedError
        if state[2]:
            raise _AttemptError(f"slower than {LOWEST:,} bytes per second", again=True)
        if received < length:
            raise _AttemptError(f"connection broke after {received:,} of {length:,} bytes", again=True)


def _copy(place: str, part: Path, meter: _Meter) -> None:
    with open(place, "rb") as source, part.open("wb") as target:
        size = os.fstat(source.fileno()).st_size
        while block := source.read(CHUNK):
            meter.at(part, target.tell(), size)
            target.write(block)


def _take(dataset: catalog.DataSet, source: catalog.Source | catalog.Archive, place: str, target: Path, meter: _Meter) -> str:
    """One file from one place, whole and verified: what is wrong with its bytes, or ``_AttemptError`` if they cannot be had."""
    part = target.with_name(target.name + ".part")
    if not _is_url(place):
        try:
            with open(place, "rb"):
                pass
        except OSError as error:
            raise _AttemptError(error.strerror, again=False) from None
        if isinstance(source, catalog.Archive):
            return _keep(dataset, source, Path(place), target)
        try:
            _copy(place, part, meter)
            return _keep(dataset, source, part, target)
        finally:
            _forget(part)
    attempt = 1
    while True:
        resumed = part.exists()
        try:
            _download(place, part, meter)
            fault = _keep(dataset, source, part, target)
            _forget(part)
            if not fault or not resumed:
                return fault
            # A resumed file may have begun as another version: that is worth a fresh start.
        except _AttemptError as failed:
            if not failed.again or attempt == ATTEMPTS:
                raise
            if meter.stop.wait(BACKOFF * 2 ** (attempt - 1)):
                raise _StoppedError from None
            attempt += 1


def _get(dataset: catalog.DataSet, source: catalog.Source | catalog.Archive, folder: Path, meter: _Meter) -> None:
    """One declared file, whole and verified, or a ``UserError``."""
    target = folder / source.name
    part = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    if _here(source, target):
        return
    for stale in (target, _packed_from(target)):
        stale.unlink(missing_ok=True)
    if isinstance(source, catalog.Folder):
        _pack(source, target)
        return
    wrong, failed = [], []
    try:
        for place in _places(dataset, source, folder):
            try:
                if not (fault := _take(dataset, source, place, target, meter)):
                    return
                wrong.append(f"{place}: {fault}; nothing was kept")
            except _AttemptError as error:
                failed.append(f"{place} ({error})")
            meter.drop(part)
    except OSError as error:
        _forget(part)
        detail = "disk full" if error.errno == errno.ENOSPC else error.strerror
        raise UserError(f"{detail}: {target.name} could not be written to {target.parent}") from None
    if wrong:
        raise DigestError(wrong[0])
    if dataset.form:
        where = _by_hand(dataset, folder) / _names(source)[0]
        raise UserError(f"{dataset.title} is behind a license form and not downloaded: accept it at {dataset.form} and put the file at {where}")
    hint = "DLBOOKS_MIRROR can name a folder (or base URL) that holds <host>/<path of the URL>"
    raise UserError(f"cannot download {target.name}: {', '.join(failed)}; {hint}")


def _pack(source: catalog.Folder, target: Path) -> None:
    """A person's own folder as a zip, if it is what it was when it was added."""
    folder, packed = Path(source.path), target.with_name(target.name + ".packed")
    if not folder.is_dir():
        raise UserError(f"{folder} is missing: put the folder back, or run `dlbooks data add` again")
    try:
        files = archives.files_in(folder, source.include, source.skip)
        actual = archives.pack(packed, ((name, path.read_bytes()) for name, path in files.items()))
        if actual != source.tree:
            raise UserError(f"{folder} changed since it was added (expected tree digest {source.tree}, found {actual}): run `dlbooks data add` again")
        os.replace(packed, target)
    except OSError as error:
        detail = "disk full" if error.errno == errno.ENOSPC else error.strerror
        raise UserError(f"{detail}: {error.filename or packed} ({target.name} of {folder})") from None
    finally:
        packed.unlink(missing_ok=True)


def download(dataset: catalog.DataSet, folder: Path, edition: str = "") -> None:
    """Every file that the data set declares (of all editions, or of this one) into ``folder``; what is there and right is kept, broken downloads continued.

    A few files are fetched at a time; the first that cannot be had, or Ctrl-C, stops all of them.
    """
    wanted = [source for source in dataset.files if source.edition in ("", edition)]
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(wanted)):
        waiting.put(number)
    faults: dict[int, BaseException] = {}
    meter = _Meter(dataset)

    def work():
        with contextlib.suppress(queue.Empty):
            while not meter.stop.is_set():
                number = waiting.get_nowait()
                try:
                    _get(dataset, wanted[number], folder, meter)
                except _StoppedError:
                    pass
                except BaseException as error:
                    faults[number] = error
                    meter.stop.set()

    # Daemons: Ctrl-C must not wait for a server.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(PARALLEL, len(wanted)))]
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            threads[0].join(0.02) if threads[0].is_alive() else time.sleep(0.02)
            meter.watch()
    finally:
        meter.stop.set()
        end = time.monotonic() + 2
        while any(thread.is_alive() for thread in threads) and time.monotonic() < end:
            meter.watch()
            time.sleep(0.01)
        meter.bar.close()
    if faults:
        raise faults[min(faults)]


def _sweep(dataset: catalog.DataSet, folder: Path, edition: str) -> None:
    """Takes away what earlier attempts left of other editions or older declarations."""
    kept = {folder / source.name for source in dataset.files if source.edition in ("", edition)}
    kept |= {path.with_name(path.name + end) for path in kept for end in (".part", ".part.tag", ".md5")}
    for path in folder.rglob("*"):
        if path.is_file() and path not in kept:
            path.unlink()


def fetch(dataset: catalog.DataSet, module, parameters: params.DataSetParams, folder: Path) -> None:
    """Fills the raw folder: with the twin, by the module's own ``fetch``, or by downloading. It appears whole or not at all.

    The work is done in a sibling folder; that of an interrupted download stays, and the next call goes on from there.
    """
    temporary, old = (folder.with_name(folder.name + end) for end in (".twin" if parameters.twin else ".part", ".old"))
    edition = getattr(parameters, "edition", "")
    if parameters.twin:
        shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True, exist_ok=True)
    try:
        if parameters.twin:
            module.twin(temporary, parameters)
        else:
            _sweep(dataset, temporary, edition)
            if hasattr(module, "fetch"):
                module.fetch(temporary, parameters)
            else:
                download(dataset, temporary, edition)
            for source in dataset.files:
                _packed_from(temporary / source.name).unlink(missing_ok=True)
        digests.write(temporary)
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            os.replace(folder, old)
        os.replace(temporary, folder)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        if parameters.twin or not any(path.is_file() for path in temporary.rglob("*")):
            shutil.rmtree(temporary, ignore_errors=True)
        raise


def preprocess(dataset: catalog.DataSet, module, parameters: params.DataSetParams, raw: Path, folder: Path) -> dict:
    """Raw folder → record folder, the same code for the twin and for upstream's files; returns the records' ``stats.json``."""
    if not raw.is_dir():
        raise UserError(f"{raw} is missing: run `dvc repro fetch@{dataset.id}`")
    digests.check(raw, digests.remedy(raw, "fetch"))
    twin, edition = parameters.twin, getattr(parameters, "edition", "")
    title = f"{dataset.title}, edition {edition}" if edition else dataset.title
    about = {
        "citation": dataset.citation,
        "description": f"{title}: a synthetic twin drawn by this project, not upstream's data" if twin else title,
        "location": {"urls": [dataset.homepage]},
        "redistributionInfo": {"license": "Apache-2.0 (the twin; upstream's data: " + dataset.license + ")" if twin else dataset.license},
    }
    features = module.features(parameters) if hasattr(module, "features") else module.FEATURES
    if {"image", "label"} <= set(features):
        about["supervisedKeys"] = {"tuple": {"items": [{"featureKey": "image"}, {"featureKey": "label"}]}}
    return records.write(
        folder,
        name=dataset.id,
        version=dataset.version,
        features=features,
        splits=module.examples(raw, parameters),
        shards=parameters.shards,
        about=about,
    )
