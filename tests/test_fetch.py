"""Downloads against a local server that misbehaves on request, and the mirror folder."""

import errno
import hashlib
import http.server
import threading
from types import SimpleNamespace

import pytest

from dlbooks import UserError, fetch
from dlbooks.catalog import DataSet, Source
from dlbooks.params import DataSetParams

BODY = bytes(range(256)) * 4000  # 1 MB
SHA = hashlib.sha256(BODY).hexdigest()
REAL = DataSetParams(twin=False)


class Handler(http.server.BaseHTTPRequestHandler):
    """``/good`` supports ranges, ``/plain`` does not; ``/broken`` drops the first ``server.drops`` connections half way, ``/busy`` says 503."""

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        kind = self.path.split("/")[1]
        if kind == "missing" or (kind == "busy" and server.drops > 0):
            server.drops -= 1
            return self.send_error(404 if kind == "missing" else 503)
        start = int(self.headers["Range"].split("=")[1].rstrip("-")) if "Range" in self.headers and kind != "plain" else 0
        body = {"wrong": b"not the file", "short": BODY[:-1]}.get(kind, BODY)
        if start >= len(body):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if kind == "broken" and server.drops > 0:
            server.drops -= 1
            body = body[: start + (len(body) - start) // 2]
        self.wfile.write(body[start:])
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch, "BACKOFF", 0.001)
    monkeypatch.delenv("DLBOOKS_MIRROR", raising=False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.drops = [], 0
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def dataset(*urls, name="file.bin"):
    source = Source(urls=list(urls), sha256=SHA, name=name)
    return DataSet(id="thing", title="Thing", homepage="", license="", citation="", files=[source])


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
    def full(place, part):
        part.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch, "_transfer", full)
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
        assert {p.name: p.read_text() for p in (tmp_path / "thing").iterdir()} == {"f": text}

    def fails(folder, parameters):
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch.fetch(dataset(), SimpleNamespace(twin=fails), DataSetParams(), tmp_path / "thing")
    assert [p.name for p in tmp_path.iterdir()] == ["thing"], "the old folder stays, the half-written one goes"


def test_preprocess_without_raw_folder(tmp_path):
    with pytest.raises(UserError, match="run `dvc repro fetch@thing`"):
        fetch.preprocess(dataset(), SimpleNamespace(), REAL, tmp_path / "raw", tmp_path / "records")
