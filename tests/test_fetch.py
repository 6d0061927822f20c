"""Downloads against a local server that misbehaves on request, and the mirror folder."""

import errno
import hashlib
import http.server
import io
import re
import tarfile
import threading
import zipfile
from types import SimpleNamespace

import pytest

from dlbooks import UserError, archives, fetch
from dlbooks.catalog import Archive, DataSet, Source
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
        assert [p.name for p in (tmp_path / "raw" / "thing").iterdir()] == ["x.zip"]
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
        (None, "x.zip.part is no readable tar archive"),
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
    assert sorted(p.name for p in (tmp_path / "raw" / "thing").iterdir()) == ["a", "b"]
