"""Downloads against a local server that misbehaves on request, and the mirror folder."""

import contextlib
import errno
import hashlib
import http.server
import io
import os
import random
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from types import SimpleNamespace

import pytest

from dlbooks import UserError, archives, digests, fetch
from dlbooks.catalog import Archive, DataSet, Folder, Source
from dlbooks.params import DataSetParams

BODY = bytes(range(256)) * 4000  # 1 MB
SHA = hashlib.sha256(BODY).hexdigest()
REAL = DataSetParams(twin=False)


class Handler(http.server.BaseHTTPRequestHandler):
    """One kind of server per first word of the path.

    ``good`` supports ranges, ``plain`` does not; ``broken`` drops the first ``server.drops`` connections half way, ``busy`` says 503 as
    often. ``versioned`` also has ETags and honors ``If-Range``, ``careless`` has ETags and does not look at it; both serve
    ``server.body``. The hostile ones speak for themselves.
    """

    def do_GET(self):
        server, kind = self.server, self.path.split("/")[1]
        server.requests.append((self.path, self.headers.get("Range")))
        with contextlib.suppress(OSError):
            if hasattr(self, kind):
                return getattr(self, kind)()
            return self.serve(kind, server.body)

    def serve(self, kind, body):
        server = self.server
        if kind == "missing" or (kind == "busy" and server.drops > 0):
            server.drops -= 1
            return self.send_error(404 if kind == "missing" else 503)
        body = {"wrong": b"not the file", "short": BODY[:-1]}.get(kind, body)
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        fresh = kind == "plain" or (kind == "versioned" and self.headers.get("If-Range", tag) != tag)
        start = int(self.headers["Range"].split("=")[1].rstrip("-")) if "Range" in self.headers and not fresh else 0
        if start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            return self.end_headers()
        self.begin(len(body) - start, **({"ETag": tag} if kind in ("versioned", "careless") else {}), status=206 if start else 200)
        if kind in ("broken", "versioned", "careless") and server.drops > 0:
            server.drops -= 1
            body = body[: start + (len(body) - start) // 2]
            server.body = BODY  # from now on
        self.wfile.write(body[start:])

    def begin(self, length=None, status=200, **headers):
        self.send_response(status)
        for name, value in {**({"Content-Length": str(length)} if length is not None else {}), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def drips(self, data, seconds=0.02):
        for _ in range(1500):
            if self.server.closing.wait(seconds):
                return
            self.wfile.write(data)

    def silent(self):
        self.server.closing.wait(30)

    def stall(self):
        self.begin(len(BODY))
        self.wfile.write(BODY[:1000])
        self.server.closing.wait(30)

    def drip(self):
        self.begin(len(BODY))
        self.drips(b"x")

    def header(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        self.drips(b"x")

    def chunk(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n")
        self.drips(b"0")  # the length of the next chunk, digit by digit

    def trailer(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n")
        self.drips(b"X: y\r\n")

    def longer(self):
        self.begin(len(BODY) + 100)
        self.wfile.write(BODY)

    def shorter(self):
        self.begin(len(BODY) - 100)
        self.wfile.write(BODY)

    def excused(self):  # the length is a lie, the bytes are right, ranges are honored
        if "Range" in self.headers:
            return self.serve("good", BODY)
        self.longer()

    def endless(self):
        self.begin()
        while not self.server.closing.is_set():
            self.wfile.write(BODY)

    def announced(self):
        self.begin(10**15)
        self.wfile.write(BODY)

    def failing(self):
        self.send_error(500)

    def nothing(self):
        self.begin(0, status=204)

    def partial(self):
        self.begin(len(BODY), status=206, Content_Range=f"bytes 0-{len(BODY) - 1}/{len(BODY)}")
        self.wfile.write(BODY)

    def forever(self):
        number = int(self.path.split("/")[2])
        self.begin(0, status=302, Location=f"/forever/{number + 1}")

    def circle(self):
        self.begin(0, status=301, Location=self.path)

    def away(self):
        self.begin(0, status=302, Location="file:///etc/passwd")

    def heavy(self):  # a redirect with an endless body
        self.begin(status=302, Location="/good/file.bin")
        self.drips(BODY, 0)

    def moved(self):
        self.begin(0, status=307, Location="../good/file.bin")

    def zipped(self):  # claims an encoding of what is the file itself
        self.begin(len(BODY), Content_Encoding="gzip")
        self.wfile.write(BODY)

    def garbage(self):
        self.wfile.write(b"SSH-2.0-OpenSSH\r\n")

    def late(self):
        self.server.closing.wait(0.3)
        self.send_error(404)

    def slow(self):  # half a second, with ranges
        start = int(self.headers["Range"].split("=")[1].rstrip("-")) if "Range" in self.headers else 0
        self.begin(len(BODY) - start, status=206 if start else 200, ETag='"1"')
        self.server.active += 1
        self.server.most = max(self.server.most, self.server.active)
        for at in range(start, len(BODY), 20_000):
            self.wfile.write(BODY[at : at + 20_000])
            time.sleep(0.01)
        self.server.active -= 1

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch, "BACKOFF", 0.001)
    monkeypatch.delenv("DLBOOKS_MIRROR", raising=False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None
    server.active, server.most = 0, 0
    server.requests, server.drops, server.body, server.closing = [], 0, BODY, threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()


def dataset(*urls, name="file.bin", files=(), **fields):
    files = list(files) or [Source(urls=list(urls), sha256=SHA, name=name)]
    return DataSet(id="thing", title="Thing", homepage="", license="", citation="", files=files, **fields)


def content(folder):
    """Every file but ``SHA256SUMS``, after a check of all of them."""
    digests.check(folder, digests.remedy(folder, "fetch"))
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS"}


def test_download(server, tmp_path):
    fetch.download(dataset(f"{server.url}/good/file.bin", name="sub/file.bin"), tmp_path)
    assert (tmp_path / "sub/file.bin").read_bytes() == BODY
    fetch.download(dataset(f"{server.url}/good/file.bin", name="sub/file.bin"), tmp_path)
    assert len(server.requests) == 1, "a file that is there and right is not fetched again"


def test_the_next_url_is_tried(server, tmp_path):
    fetch.download(dataset(f"{server.url}/missing/file.bin", f"{server.url}/wrong/file.bin", f"{server.url}/good/file.bin"), tmp_path)
    assert [p for p, _ in server.requests] == ["/missing/file.bin", "/wrong/file.bin", "/good/file.bin"]
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]


def test_broken_connection_is_resumed(server, tmp_path):
    server.drops = 2
    fetch.download(dataset(f"{server.url}/broken/file.bin"), tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == BODY
    (_, first), (_, second), (_, third) = server.requests
    starts = [int(r.removeprefix("bytes=").removesuffix("-")) for r in (second, third)]
    assert first is None and 0 < starts[0] < starts[1], "each attempt goes on where the last one stopped"


def test_busy_server_is_asked_again_but_not_forever(server, tmp_path):
    server.drops = 2
    fetch.download(dataset(f"{server.url}/busy/file.bin"), tmp_path)
    assert len(server.requests) == 3
    (tmp_path / "file.bin").unlink()
    server.drops = 1000
    with pytest.raises(
        UserError, match=r"^cannot download file.bin: http://[^ ]*/busy/file.bin \(HTTP 503\); DLBOOKS_MIRROR can name a folder[^\n]*$"
    ):
        fetch.download(dataset(f"{server.url}/busy/file.bin"), tmp_path)
    assert len(server.requests) == 3 + fetch.ATTEMPTS


def test_server_without_ranges_starts_over(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(BODY[:1000])
    fetch.download(dataset(f"{server.url}/plain/file.bin"), tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == BODY


@pytest.mark.parametrize("left", [b"another version", BODY + b"too long"])
def test_part_that_does_not_fit_starts_over(server, tmp_path, left):
    (tmp_path / "file.bin.part").write_bytes(left)
    fetch.download(dataset(f"{server.url}/good/file.bin"), tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == BODY


@pytest.mark.parametrize(("kind", "body"), [("wrong", b"not the file"), ("short", BODY[:-1])])
def test_wrong_digest_leaves_nothing(server, tmp_path, kind, body):
    url = f"{server.url}/{kind}/file.bin"
    with pytest.raises(UserError) as caught:
        fetch.fetch(dataset(url), SimpleNamespace(), REAL, tmp_path / "raw" / "thing")
    message = str(caught.value)
    assert message == f"{url}: expected SHA-256 {SHA}, found {hashlib.sha256(body).hexdigest()}; nothing was kept"
    assert not any((tmp_path / "raw").iterdir())


def test_unreachable(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "BACKOFF", 0.001)
    monkeypatch.setenv("DLBOOKS_MIRROR", str(tmp_path / "mirror"))
    with pytest.raises(UserError) as caught:
        fetch.fetch(dataset("http://127.0.0.1:9/file.bin"), SimpleNamespace(), REAL, tmp_path / "raw" / "thing")
    place = tmp_path / "mirror" / "127.0.0.1:9" / "file.bin"
    assert f"{place} (No such file or directory), http://127.0.0.1:9/file.bin (no connection); DLBOOKS_MIRROR can name" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not any((tmp_path / "raw").iterdir())


def test_interrupted_fetch_goes_on(server, tmp_path):
    server.drops = 1000
    folder = tmp_path / "thing"
    with pytest.raises(UserError, match="connection broke"):
        fetch.fetch(dataset(f"{server.url}/broken/file.bin"), SimpleNamespace(), REAL, folder)
    assert not folder.exists()
    server.drops = 0
    fetch.fetch(dataset(f"{server.url}/broken/file.bin"), SimpleNamespace(), REAL, folder)
    assert server.requests[-1][1] is not None
    assert (folder / "file.bin").read_bytes() == BODY
    assert [p.name for p in tmp_path.iterdir()] == ["thing"]


def test_mirror_folder_comes_first(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "BACKOFF", 0.001)
    monkeypatch.setenv("DLBOOKS_MIRROR", str(tmp_path / "mirror"))
    mirrored = tmp_path / "mirror" / "127.0.0.1:9" / "path" / "file.bin"
    mirrored.parent.mkdir(parents=True)
    mirrored.write_bytes(BODY)
    fetch.download(dataset("http://127.0.0.1:9/path/file.bin"), tmp_path / "out")  # nothing listens there
    assert (tmp_path / "out" / "file.bin").read_bytes() == BODY

    mirrored.write_bytes(BODY[:-1])
    with pytest.raises(UserError, match=f"^{mirrored}: expected SHA-256 {SHA}, found [0-9a-f]{{64}}; nothing was kept$"):
        fetch.download(dataset("http://127.0.0.1:9/path/file.bin"), tmp_path / "bad")
    assert not any((tmp_path / "bad").iterdir())


def test_mirror_server(server, tmp_path, monkeypatch):
    monkeypatch.setenv("DLBOOKS_MIRROR", f"{server.url}/good/")
    fetch.download(dataset("https://host.example/path/file.bin"), tmp_path)
    assert server.requests == [("/good/host.example/path/file.bin", None)]


def test_full_disk(server, tmp_path, monkeypatch):
    def full(place, part, meter):
        part.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch, "_receive", full)
    with pytest.raises(UserError, match=r"^disk full: file.bin could not be written to"):
        fetch.fetch(dataset("http://host.example/file.bin"), SimpleNamespace(), REAL, tmp_path / "raw" / "thing")
    assert not any((tmp_path / "raw").iterdir())


def test_fetch_chooses_twin_own_fetch_or_download(server, tmp_path):
    def writer(text):
        return lambda folder, parameters: (folder / "f").write_text(text)

    module = SimpleNamespace(twin=writer("twin"), fetch=writer("own"))
    for parameters, text in ((DataSetParams(), "twin"), (REAL, "own")):
        (tmp_path / "thing").mkdir(exist_ok=True)
        (tmp_path / "thing" / "old").touch()
        fetch.fetch(dataset(), module, parameters, tmp_path / "thing")
        assert content(tmp_path / "thing") == {"f": text.encode()}

    def fails(folder, parameters):
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch.fetch(dataset(), SimpleNamespace(twin=fails), DataSetParams(), tmp_path / "thing")
    assert [p.name for p in tmp_path.iterdir()] == ["thing"], "the old folder stays, the half-written one goes"


def test_preprocess_without_raw_folder(tmp_path):
    with pytest.raises(UserError, match="run `dvc repro fetch@thing`"):
        fetch.preprocess(dataset(), SimpleNamespace(), REAL, tmp_path / "raw", tmp_path / "records")


# ── hostile servers ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

LAST = {
    "silent": "timed out",
    "header": "timed out",
    "stall": "slower than 5,000 bytes per second",
    "drip": "slower than 5,000 bytes per second",
    "chunk": "slower than 5,000 bytes per second",
    "trailer": "slower than 5,000 bytes per second",
    "longer": "connection broke after 1,024,000 of 1,024,100 bytes",
    "endless": "larger than the limit of 8,000,000 bytes per data set",
    "announced": "larger than the limit of 8,000,000 bytes per data set",
    "failing": "HTTP 500",
    "nothing": "HTTP 204",
    "partial": "HTTP 206",
    "forever/1": "too many redirects",
    "circle": "too many redirects",
    "away": "InvalidSchema",
    "garbage": "no connection",
}


@pytest.mark.parametrize("kind", LAST)
def test_hostile_server(server, tmp_path, monkeypatch, kind):
    """It ends in bounded time, with one clear word, and the next source is tried."""
    monkeypatch.setattr(fetch, "ANSWER", 0.15)
    monkeypatch.setattr(fetch, "WINDOW", 0.15)
    monkeypatch.setattr(fetch, "LOWEST", 5000)
    monkeypatch.setattr(fetch, "ATTEMPTS", 2)
    url, began = f"{server.url}/{kind}", time.monotonic()
    bad = dataset(url, limit=8_000_000)
    with pytest.raises(UserError, match=f"^cannot download file.bin: {url} \\({re.escape(LAST[kind])}\\); DLBOOKS_MIRROR") as caught:
        fetch.fetch(bad, SimpleNamespace(), REAL, tmp_path / "raw" / "thing")
    assert time.monotonic() - began < 2 and "\n" not in str(caught.value)
    assert not (tmp_path / "raw" / "thing").exists()
    once = kind in ("endless", "announced", "nothing", "partial", "away")
    expected = fetch.REDIRECTS if kind.startswith(("forever", "circle")) else 1 if once else fetch.ATTEMPTS
    assert len(server.requests) == expected, "what another attempt cannot mend is not tried again"
    fetch.fetch(dataset(url, f"{server.url}/good/file.bin", limit=8_000_000), SimpleNamespace(), REAL, tmp_path / "raw" / "thing")
    assert content(tmp_path / "raw" / "thing") == {"file.bin": BODY}


@pytest.mark.parametrize("kind", ["moved/x", "zipped", "excused", "heavy"])
def test_odd_server(server, tmp_path, kind):
    fetch.download(dataset(f"{server.url}/{kind}"), tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_body_longer_than_announced_is_another_file(server, tmp_path):
    with pytest.raises(fetch.DigestError, match=f"expected SHA-256 {SHA}, found {hashlib.sha256(BODY[:-100]).hexdigest()}; nothing was kept"):
        fetch.download(dataset(f"{server.url}/shorter/file.bin"), tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["versioned", "careless", "broken"])
def test_file_that_changes_midway_is_started_afresh(server, tmp_path, kind):
    """The first connection breaks half way through another version of the file."""
    server.body, server.drops = BODY[::-1], 1
    fetch.download(dataset(f"{server.url}/{kind}/file.bin"), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"] and (tmp_path / "file.bin").read_bytes() == BODY
    assert server.requests[1][1] == f"bytes={len(BODY) // 2}-"
    assert len(server.requests) == (2 if kind == "versioned" else 3)


def test_limit_holds_for_all_files_together(server, tmp_path):
    files = [Source(urls=[f"{server.url}/good/{n}"], sha256=SHA, name=n) for n in "abcdef"]
    with pytest.raises(UserError, match=r"larger than the limit of 5,000,000 bytes per data set"):
        fetch.download(dataset(files=files, limit=5_000_000), tmp_path / "thing")
    fetch.download(dataset(files=files, limit=6_200_000), tmp_path / "thing")
    assert len(list((tmp_path / "thing").iterdir())) == 6


def test_files_come_in_parallel(server, tmp_path):
    files = [Source(urls=[f"{server.url}/slow/{n}"], sha256=SHA, name=n) for n in "abcde"]
    fetch.download(dataset(files=files), tmp_path)
    assert server.most >= fetch.PARALLEL and [p.read_bytes() for p in sorted(tmp_path.iterdir())] == [BODY] * 5


def test_one_fault_stops_the_others_and_the_next_fetch_goes_on(server, tmp_path):
    folder = tmp_path / "raw" / "thing"
    files = [Source(urls=[f"{server.url}/{kind}/{n}"], sha256=SHA, name=n) for n, kind in (("a", "stall"), ("b", "good"), ("c", "late"))]
    began = time.monotonic()
    with pytest.raises(UserError, match=r"^cannot download c: "):
        fetch.fetch(dataset(files=files), SimpleNamespace(), REAL, folder)
    assert time.monotonic() - began < 1.5
    files[::2] = [Source(urls=[f"{server.url}/good/{n}"], sha256=SHA, name=n) for n in "ac"]
    server.requests.clear()
    fetch.fetch(dataset(files=files), SimpleNamespace(), REAL, folder)
    assert content(folder) == dict.fromkeys("abc", BODY)
    assert sorted(server.requests) == [("/good/a", "bytes=1000-"), ("/good/c", None)], "what was verified or begun is kept"
    assert [p.name for p in folder.parent.iterdir()] == ["thing"]


def test_ctrl_c_stops_all(server, tmp_path):
    files = [
        Source(urls=[f"{server.url}/{kind}/{n}"], sha256=SHA, name=n) for n, kind in zip("abcd", ("stall", "slow", "silent", "drip"), strict=True)
    ]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    began = time.monotonic()
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        fetch.fetch(dataset(files=files), SimpleNamespace(), REAL, tmp_path / "thing")
    assert time.monotonic() - began < 1.5
    signal.signal(signal.SIGINT, before)
    sizes = {p: p.stat().st_size for p in (tmp_path / "thing.part").iterdir()}
    time.sleep(0.1)
    assert sizes == {p: p.stat().st_size for p in (tmp_path / "thing.part").iterdir()}, "nobody writes any more"


# ── by hand, one's own ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_behind_a_license_form(server, tmp_path, monkeypatch):
    form, folder = "https://host.example/form", tmp_path / "raw" / "thing"
    behind = dataset(f"{server.url}/good/upstream%20name.bin", form=form)
    place = tmp_path / "by-hand" / "thing" / "upstream name.bin"
    with pytest.raises(UserError) as caught:
        fetch.fetch(behind, SimpleNamespace(), REAL, folder)
    assert str(caught.value) == f"Thing is behind a license form and not downloaded: accept it at {form} and put the file at {place}"
    assert not any((tmp_path / "raw").iterdir())
    place.parent.mkdir(parents=True)
    place.write_bytes(b"the form's web page")
    with pytest.raises(UserError, match=f"^{place}: expected SHA-256 {SHA}, found [0-9a-f]{{64}}"):
        fetch.fetch(behind, SimpleNamespace(), REAL, folder)
    place.write_bytes(BODY)
    fetch.fetch(behind, SimpleNamespace(), REAL, folder)
    assert content(folder) == {"file.bin": BODY} and place.read_bytes() == BODY and not server.requests
    fetch.fetch(dataset(f"{server.url}/missing/upstream%20name.bin"), SimpleNamespace(), REAL, folder)
    assert not server.requests, "a file put there by hand serves any data set"


def test_own_folder(tmp_path):
    own = tmp_path / "my photos"
    for name in ("b/2.jpg", "a/1.jpg", "a/bad.jpg", "notes.txt"):
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_bytes(name.encode())
    tree = archives.pack(tmp_path / "expected.zip", {n: n.encode() for n in ("a/1.jpg", "b/2.jpg")})
    mine = dataset(files=[Folder(path=str(own), include=["*.jpg"], skip=["a/bad.jpg"], tree=tree, name="photos.zip")])
    assert mine.own and not dataset("x").own
    fetch.fetch(mine, SimpleNamespace(), REAL, tmp_path / "raw" / "thing")
    assert content(tmp_path / "raw" / "thing") == {"photos.zip": (tmp_path / "expected.zip").read_bytes()}
    (own / "a/1.jpg").write_bytes(b"another")
    with pytest.raises(UserError, match=rf"^{own} changed since it was added \(expected tree digest {tree}, found .*run `dlbooks data add` again$"):
        fetch.fetch(mine, SimpleNamespace(), REAL, tmp_path / "raw" / "thing")
    own.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=f"^{own} is missing: put the folder back, or run `dlbooks data add` again$"):
        fetch.fetch(mine, SimpleNamespace(), REAL, tmp_path / "raw" / "thing")
    assert [p.name for p in (tmp_path / "raw").iterdir()] == ["thing"]


# ── SHA256SUMS ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_flipped_bit_is_found_and_named(tmp_path):
    folder, rng = tmp_path / "thing", random.Random(0)
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "file-1.bin").write_bytes(BODY[:20_000])
    archives.pack(folder / "x.zip", {str(n): BODY[:n] for n in range(50)})
    digests.write(folder)
    listing = (folder / "SHA256SUMS").read_text()
    assert listing == "".join(f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in ("sub/file-1.bin", "x.zip"))
    digests.check(folder, digests.remedy(folder, "fetch"))
    for number in range(60):
        path = [folder / "sub" / "file-1.bin", folder / "x.zip", folder / "SHA256SUMS"][number % 3]
        whole = path.read_bytes()
        broken = bytearray(whole)
        broken[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(broken)
        with pytest.raises(UserError, match=r": delete .*thing and run `dvc repro fetch@thing`$") as caught:
            digests.check(folder, digests.remedy(folder, "fetch"))
        assert path.name in str(caught.value)
        if number % 3 < 2:
            assert str(caught.value).startswith(f"{path}: expected SHA-256 {hashlib.sha256(whole).hexdigest()} (SHA256SUMS), found ")
        path.write_bytes(whole)
    digests.check(folder, digests.remedy(folder, "fetch"))


def test_missing_and_additional_files_are_named(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    with pytest.raises(UserError, match="SHA256SUMS is missing: delete"):
        digests.check(tmp_path, digests.remedy(tmp_path, "fetch"))
    digests.write(tmp_path)
    (tmp_path / "b").write_bytes(b"2")
    with pytest.raises(UserError, match=f"^{tmp_path}/b .* run `make it`$"):
        digests.check(tmp_path, "run `make it`")
    (tmp_path / "b").unlink()
    (tmp_path / "a").unlink()
    with pytest.raises(UserError, match=f"{tmp_path}/a.* is missing, expected with SHA-256 [0-9a-f]{{64}}"):
        digests.check(tmp_path, digests.remedy(tmp_path, "fetch"))


def test_preprocess_reads_nothing_before_the_check(tmp_path):
    def examples(raw, parameters):
        raise AssertionError("read")

    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a").write_bytes(b"1")
    digests.write(tmp_path / "raw")
    (tmp_path / "raw" / "a").write_bytes(b"2")
    with pytest.raises(UserError, match=r"/raw/a: expected SHA-256"):
        fetch.preprocess(dataset(), SimpleNamespace(FEATURES={}, examples=examples), REAL, tmp_path / "raw", tmp_path / "records")


# ── kill -9 ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

PARENT = """
import os, signal, sys
from types import SimpleNamespace
import requests, tqdm
from dlbooks import fetch
from dlbooks.catalog import Archive, DataSet, Folder, Source
from pathlib import Path
for line in iter(sys.stdin.readline, ""):  # every line is a fetch in a process of its own, the next one its end
    files, folder = line.split("|")
    pid = os.fork()
    if not pid:
        wanted = DataSet(id="thing", title="", homepage="", license="", citation="", files=eval(files))
        fetch.fetch(wanted, SimpleNamespace(), SimpleNamespace(twin=False), Path(folder.strip()))
        os._exit(0)
    print("begun", flush=True)
    sys.stdin.readline()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    print("ended", flush=True)
"""


def test_killed_fetch_goes_on_and_gives_the_same_bytes(server, tmp_path, monkeypatch):
    """Two files and two archives (by tree digest, by MD5), from a slow server and a mirror, killed at twelve random moments."""
    make_tar(tmp_path / "mirror" / "127.0.0.1:9" / "x.tar.gz", {f"a/{n}.txt": BODY[:n] for n in range(2500)})
    tar = tmp_path / "mirror" / "127.0.0.1:9" / "x.tar.gz"
    tree = archives.repack(tar, tmp_path / "x.zip", ["a/*"])
    url = "http://127.0.0.1:9/x.tar.gz"
    files = [Source(urls=[f"{server.url}/slow/{n}"], sha256=SHA, name=n) for n in "ab"]
    files += [Archive(urls=[url], include=["a/*"], name="tree.zip", tree=tree)]
    files += [Archive(urls=[url], include=["a/*"], name="md5.zip", md5=hashlib.md5(tar.read_bytes()).hexdigest())]
    monkeypatch.setenv("DLBOOKS_MIRROR", str(tmp_path / "mirror"))
    mirrored = SimpleNamespace(twin=False)
    expected = {"a": BODY, "b": BODY, "tree.zip": (tmp_path / "x.zip").read_bytes(), "md5.zip": (tmp_path / "x.zip").read_bytes()}
    rng, unfinished = random.Random(5), 0
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        for number in range(26):
            folder = tmp_path / f"raw{number}" / "thing"
            for _ in range(1 + (number % 4 == 0)):  # some are killed again and again
                for line, answer in ((f"{files!r}|{folder}", "begun"), ("kill", "ended")):
                    time.sleep(rng.uniform(0, 0.8) if line == "kill" else 0)
                    print(line, file=parent.stdin, flush=True)
                    assert parent.stdout.readline() == answer + "\n"
            unfinished += not folder.exists()
            if folder.exists():
                assert content(folder) == expected
            quick = [Source(urls=[f.urls[0].replace("/slow/", "/good/")], sha256=SHA, name=f.name) if isinstance(f, Source) else f for f in files]
            fetch.fetch(dataset(files=quick), SimpleNamespace(), mirrored, folder)
            assert content(folder) == expected
            assert [p.name for p in folder.parent.iterdir()] == ["thing"]
        parent.stdin.close()
    assert unfinished > 8, "many were killed before they ended"


def test_leftovers_of_another_edition_are_swept_away(server, tmp_path, monkeypatch):
    """Both editions have the same name: what a killed fetch of one left is not taken for the other."""
    monkeypatch.setenv("DLBOOKS_MIRROR", str(tmp_path / "mirror"))
    tars = {}
    for edition in ("new", "old"):
        make_tar(tmp_path / "mirror" / "127.0.0.1:9" / edition / "x.tar.gz", {"a/1.txt": edition.encode()})
        data = (tmp_path / "mirror" / "127.0.0.1:9" / edition / "x.tar.gz").read_bytes()
        tars[edition] = Archive(
            urls=[f"http://127.0.0.1:9/{edition}/x.tar.gz"], include=["a/*"], name="x.zip", md5=hashlib.md5(data).hexdigest(), edition=edition
        )
    both, part = dataset(files=tars.values()), tmp_path / "raw" / "thing.part"
    fetch.download(both, part, "new")
    (part / "stray.part").write_bytes(b"?")
    fetch.fetch(both, SimpleNamespace(), SimpleNamespace(twin=False, edition="old"), tmp_path / "raw" / "thing")
    assert list(content(tmp_path / "raw" / "thing")) == ["x.zip"]
    assert archives.Members(tmp_path / "raw" / "thing" / "x.zip").read("a/1.txt") == b"old"


# ── archives ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

MEMBERS = {"a/1.txt": b"one", "a/b/2.txt": b"two", "note.md": b"not wanted"}
# two lines "<SHA-256>  <path>", as sha256sum prints them
TREE = hashlib.sha256("".join(f"{hashlib.sha256(MEMBERS[n]).hexdigest()}  {n}\n" for n in ("a/1.txt", "a/b/2.txt")).encode()).hexdigest()


def make_tar(path, members=MEMBERS, top="repo-123"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size, info.mtime = len(data), hash(path) % 2**31
            archive.addfile(info, io.BytesIO(data))


def archive_set(tmp_path, monkeypatch, **options):
    monkeypatch.setenv("DLBOOKS_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setattr(fetch, "BACKOFF", 0.001)
    archive = Archive(urls=["http://127.0.0.1:9/x.tar.gz"], include=["a/*.txt"], name="x.zip", **({"tree": TREE} | options))
    return DataSet(id="thing", title="Thing", homepage="", license="", citation="", files=[archive])


def test_archive_is_kept_as_one_zip_with_the_same_bytes(tmp_path, monkeypatch):
    wanted, zips = archive_set(tmp_path, monkeypatch), []
    for number in range(2):
        make_tar(tmp_path / "mirror" / "127.0.0.1:9" / "x.tar.gz", top=f"repo-{number}")
        fetch.fetch(wanted, SimpleNamespace(), REAL, tmp_path / "raw" / "thing")
        assert list(content(tmp_path / "raw" / "thing")) == ["x.zip"]
        zips.append((tmp_path / "raw" / "thing" / "x.zip").read_bytes())
    assert zips[0] == zips[1]
    with zipfile.ZipFile(tmp_path / "raw" / "thing" / "x.zip") as packed:
        assert {n: packed.read(n) for n in packed.namelist()} == {n: MEMBERS[n] for n in ("a/1.txt", "a/b/2.txt")}
    assert archives.pack(tmp_path / "again.zip", {n: MEMBERS[n] for n in ("a/1.txt", "a/b/2.txt")}) == TREE
    assert archives.digest_of(tmp_path / "again.zip") == TREE


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({**MEMBERS, "a/1.txt": b"changed"}, f"expected tree digest {TREE} of a/*.txt, found"),
        ({**MEMBERS, "a/../../evil.txt": b"x"}, "leads out of the archive"),
        (None, "x.tar.gz is no readable archive: Compressed file ended"),
    ],
)
def test_wrong_archive_leaves_nothing(tmp_path, monkeypatch, members, message):
    place = tmp_path / "mirror" / "127.0.0.1:9" / "x.tar.gz"
    make_tar(place, members or MEMBERS)
    if members is None:
        place.write_bytes(place.read_bytes()[:60])
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        fetch.fetch(archive_set(tmp_path, monkeypatch), SimpleNamespace(), REAL, tmp_path / "raw" / "thing")
    assert str(place) in str(caught.value) and "\n" not in str(caught.value)
    assert not any((tmp_path / "raw").iterdir())


def test_archive_by_the_digest_of_its_bytes(tmp_path, monkeypatch):
    place = tmp_path / "mirror" / "127.0.0.1:9" / "x.tar.gz"
    make_tar(place)
    right = hashlib.md5(place.read_bytes()).hexdigest()
    with pytest.raises(UserError, match=f"expected MD5 {'0' * 32}, found {right}"):
        fetch.fetch(archive_set(tmp_path, monkeypatch, tree="", md5="0" * 32), SimpleNamespace(), REAL, tmp_path / "raw" / "thing")
    fetch.fetch(archive_set(tmp_path, monkeypatch, tree="", md5=right), SimpleNamespace(), REAL, tmp_path / "raw" / "thing")
    assert archives.digest_of(tmp_path / "raw" / "thing" / "x.zip") == TREE


def test_an_edition_is_fetched_alone(server, tmp_path):
    urls = [f"{server.url}/good/{n}" for n in "abc"]
    files = [Source(urls=[url], sha256=SHA, name=url[-1], edition=edition) for url, edition in zip(urls, ("", "new", "old"), strict=True)]
    both = DataSet(id="thing", title="Thing", homepage="", license="", citation="", files=files)
    fetch.fetch(both, SimpleNamespace(), SimpleNamespace(twin=False, edition="new"), tmp_path / "raw" / "thing")
    assert sorted(content(tmp_path / "raw" / "thing")) == ["a", "b"]
