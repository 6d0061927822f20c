"""`dlbooks serve` under load, against `mlflow models serve`, under hostile requests, for a long time.

    python benchmarks/serve.py [load] [--seconds 10]       requests/s and latencies of mnist-cnn beside MLflow's server
    python benchmarks/serve.py soak --minutes 10           good and (one in ten) hostile requests: no 5xx, memory flat
    python benchmarks/serve.py fuzz --requests 2000        schemathesis against the OpenAPI description, and the hostile cases below

`load` needs `wrk` (`apt-get install wrk`). Both servers get the same model, one digit per request, from the same machine: ours a PNG in base64, MLflow's the
numbers of its pixels, what each documents. wrk keeps 1 … 64 connections busy; the best rate counts. Then requests arrive at fixed times, at half of our best
rate, whether or not earlier ones are answered, and latencies are counted from those times. Bars: 2 × MLflow's rate, and a 99th percentile
under 50 ms at half of the load.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import io
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
TOOLS = Path(sys.executable).parent
CHAPTER = "mnist-cnn"
CONNECTIONS = (1, 4, 16, 32, 64)


# ── servers ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def running(command: list[str], ready: str, environment: dict[str, str] | None = None):
    """A server process, from when ``ready`` answers 200 until it has ended; its output is shown if it does not start."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **(environment or {})}, cwd=ROOT, start_new_session=True)
        try:
            for _ in range(600):
                with contextlib.suppress(OSError), urllib.request.urlopen(ready, timeout=2) as answer:
                    if answer.status == 200:
                        break
                if process.poll() is not None:
                    break
                time.sleep(0.2)
            else:
                process.kill()
            if process.poll() is not None:
                output.seek(0)
                sys.exit(f"{' '.join(command)} did not start:\n{output.read()}")
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


@contextlib.contextmanager
def ours(*chapters: str, options: tuple[str, ...] = ()):
    port = free_port()
    command = [str(TOOLS / "dlbooks"), "serve", *(chapters or (CHAPTER,)), "--port", str(port), *options]
    with running(command, f"http://127.0.0.1:{port}/health") as process:
        yield process, port


@contextlib.contextmanager
def mlflows(model: Path, workers: int):
    port = free_port()
    command = [
        str(TOOLS / "mlflow"),
        "models",
        "serve",
        "-m",
        str(model),
        "--env-manager",
        "local",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "-w",
        str(workers),
    ]
    environment = {"MLFLOW_DISABLE_TELEMETRY": "true", "TF_ENABLE_ONEDNN_OPTS": "1", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with running(command, f"http://127.0.0.1:{port}/ping", environment | {"PATH": f"{TOOLS}:{os.environ['PATH']}"}):
        yield port


def digit() -> tuple[bytes, list]:
    """One digit: as a PNG file, and as the numbers ``[1, 28, 28, 1]``."""
    import numpy as np

    from dlbooks import wire

    image = np.load(ROOT / "data" / "runs" / CHAPTER / "export" / "saved_model" / "assets.extra" / "example.npy")[:1]
    return wire.png(image[0]), image.tolist()


def rss(pid: int) -> float:
    """Resident memory of a process in MB."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


# ── load ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def wrk(url: str, body: bytes, connections: int, seconds: float) -> dict:
    """Requests/s and latencies in ms of wrk with one thread."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f"wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = [==[{body.decode()}]==]\n")
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "-s", script.name, url]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    scale = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    found = {f"p{p}": float(v) * scale[u] for p, v, u in re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)", text, re.M)}
    bad = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", text)))
    return {"connections": connections, "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]), **found, "bad": bad}


async def steady(port: int, path: str, body: bytes, rate: float, seconds: float) -> dict:
    """Latencies in ms, counted from the times at which requests were due, ``rate`` a second; as many connections as that takes."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    idle: list = []
    late, failed = [], Counter()
    loop = asyncio.get_running_loop()

    async def one(due: float):
        try:
            reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
            writer.write(head + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"content-length: (\d+)", answer, re.I)[1])
            await reader.readexactly(length)
            if answer[9:12] != b"200":
                failed[answer[9:12].decode()] += 1
            late.append(1000 * (loop.time() - due))
            idle.append((reader, writer))
        except OSError as error:
            failed[type(error).__name__] += 1

    start, tasks = loop.time() + 0.1, set()
    for number in range(int(rate * seconds)):
        due = start + number / rate
        if (wait := due - loop.time()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    took = loop.time() - start
    late.sort()
    result = {f"p{p:g}": late[min(len(late) - 1, int(p / 100 * len(late)))] for p in (50, 90, 99, 99.9)}
    return {"rate": len(late) / took, **result, "most connections": len(idle), "failed": dict(failed)}


def load(seconds: float, rounds: int) -> int:
    if not shutil.which("wrk"):
        sys.exit("wrk is missing: apt-get install wrk")
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    png, numbers = digit()
    mine = json.dumps({"input": base64.b64encode(png).decode()}).encode()
    theirs = json.dumps({"inputs": numbers}).encode()
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}; {len(mine):,} bytes a request here, {len(theirs):,} for MLflow")
    best = {"dlbooks": 0.0, "mlflow": 0.0, "mlflow, 2 workers": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        model = logged(Path(folder))
        for _ in range(rounds):
            with ours() as (_, port):
                url = f"http://127.0.0.1:{port}/v1/{CHAPTER}"
                wrk(url, mine, 16, 2)
                best["dlbooks"] = max(best["dlbooks"], *(say("dlbooks", wrk(url, mine, c, seconds)) for c in CONNECTIONS))
            for workers in (1, 2):
                with mlflows(model, workers) as port:
                    url, name = f"http://127.0.0.1:{port}/invocations", "mlflow" if workers == 1 else "mlflow, 2 workers"
                    wrk(url, theirs, 16, 2)
                    best[name] = max(best[name], *(say(name, wrk(url, theirs, c, seconds)) for c in CONNECTIONS))
    half = best["dlbooks"] / 2
    with ours() as (_, port):
        asyncio.run(steady(port, f"/v1/{CHAPTER}", mine, half, 2))
        found = asyncio.run(steady(port, f"/v1/{CHAPTER}", mine, half, max(seconds, 10)))
    print(f"\nat half of our best rate, {half:.0f}/s:", ", ".join(f"{k} {v:.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in found.items()))
    ratios = {name: best["dlbooks"] / best[name] for name in list(best)[1:]}
    print("; ".join(f"{name} {rate:.0f}/s" for name, rate in best.items()))
    print("; ".join(f"{ratio:.2f} × {name}" for name, ratio in ratios.items()))
    passed = ratios["mlflow"] >= 2 and found["p99"] < 50 and not found["failed"]
    print("passed" if passed else "FAILED", "(2 × mlflow's requests/s, p99 < 50 ms at half the load)")
    return int(not passed)


def say(name: str, found: dict) -> float:
    print(
        f"{name:18} {found['connections']:3} connections {found['rate']:7.0f}/s   p50 {found['p50']:7.1f} ms   p99 {found['p99']:7.1f} ms   not 200: {found['bad']}",
        flush=True,
    )
    return found["rate"] if not found["bad"] else 0.0


def logged(folder: Path) -> Path:
    """The chapter's model as the registry keeps it, in a store of its own."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    from dlbooks import registry

    store, model = registry.known(CHAPTER)
    found = registry.place(store, store.get_model_version_by_alias(model.name, "champion"))
    del os.environ["MLFLOW_TRACKING_URI"]
    return found


# ── hostile requests ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def bomb(width: int = 30_000, height: int = 30_000) -> bytes:
    """A PNG of few bytes that claims to be huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1 << 16))) + chunk(b"IEND", b"")


def hostile(chapter: str = CHAPTER) -> list[tuple[str, str, dict, bytes]]:
    """Requests that must be refused with 4xx: (method, path, headers, body), for a chapter that takes pictures."""
    path, plain = f"/v1/{chapter}", {"Content-Type": "application/json"}
    good = base64.b64encode(bomb(28, 28)).decode()
    bodies = [
        b"", b"{", b"null", b"[]", b'"x"', b"{}", b"\xff\xfe{}", b'{"input": "\xff"}', b'{"input": "\\ud800"}', b'{"input": null}', b'{"input": 7}',
        b'{"inputs": []}', b'{"inputs": [null]}', b'{"inputs": {}}', b'{"input": "AA==", "inputs": ["AA=="]}', b'{"input": "!!!"}', b'{"input": "AA="}',
        b'{"input": ""}', b'{"input": "data:image/png,AAAA"}', b'{"input": "data:;base64,@@@@"}', b'{"input": "AAAA", "more": 1}',
        b'{"input": "AAAA", "options": {"top": NaN}}', b'{"input": "AAAA", "options": {"top": 1e999}}', b'{"input": "AAAA", "options": 3}',
        b"[" * 100_000, b'{"input": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", b'{"a":' * 5_000 + b"1" + b"}" * 5_000, b"NaN", b"-Infinity", b"\x00" * 100,
        json.dumps({"input": good, "options": {"top": 0}}).encode(), json.dumps({"input": good, "options": {"top": 10**30}}).encode(),
        json.dumps({"input": good, "options": {"top": "3"}}).encode(), json.dumps({"input": good, "options": {"top": 2.5}}).encode(),
        json.dumps({"input": good, "options": {"bottom": 1}}).encode(), json.dumps({"input": good, "options": {"top": -(2**63)}}).encode(),
        json.dumps({"inputs": [good] * 65}).encode(), json.dumps({"inputs": [good] * 3 + ["AAAA"]}).encode(),
        json.dumps({"input": base64.b64encode(bomb()).decode()}).encode(), json.dumps({"input": base64.b64encode(bomb(2**31 - 1, 1)).decode()}).encode(),
        json.dumps({"inputs": [base64.b64encode(bomb(4000, 4000)).decode()] * 4}).encode(), b'{"input": "' + b"A" * (9 << 20) + b'"}',
    ]  # fmt: skip
    found = [("POST", path, plain, body) for body in bodies]
    picture = {"Content-Type": "image/png"}
    files = [
        b"",
        b"\x89PNG\r\n\x1a\n",
        bomb()[:60],
        b"GIF89a" + b"\xff" * 50,
        b"\xff\xd8\xff\xe0" + b"\x00" * 100,
        b"RIFF\x00\x00\x00\x00WEBPVP8 ",
        b"II*\x00" + b"\xff" * 60,
    ]
    files += [
        b"<svg onload=alert(1)>",
        b"%!PS-Adobe\n",
        b"P5 99999 99999 255\n",
        b"P5 28 28 255\n" + bytes(28 * 28),
        random.Random(1).randbytes(5000),
        bytes(9 << 20),
    ]
    found += [("POST", path, picture, body) for body in files]
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    file = b'--x\r\nContent-Disposition: form-data; name="file"; filename="../../etc/passwd"\r\n\r\n'
    forms = [
        b"",
        b"--x--\r\n",
        b"--x\r\n\r\n",
        file,
        file + b"no picture\r\n--x--\r\n",
        b"--y\r\n",
        b'--x\r\nContent-Disposition: form-data; name="top"\r\n\r\n3\r\n--x--\r\n',
    ]
    forms += [
        file + bomb(28, 28) + b'\r\n--x\r\nContent-Disposition: form-data; name="other"\r\n\r\n3\r\n--x--\r\n',
        (file + b"a\r\n") * 70 + b"--x--\r\n",
    ]
    forms += [b"--x\r\n" + b"A: b\r\n" * 5000 + b"\r\n\r\n--x--\r\n", b"--x\r\nContent-Disposition: form-data\r\n\r\n3\r\n--x--\r\n"]
    found += [("POST", path, form, body) for body in forms]
    found += [
        ("POST", path, {"Content-Type": kind}, b"{}")
        for kind in ("multipart/form-data", "multipart/form-data; boundary=", "text/html", "application/xml", "x", "/", ";", "text/plain")
    ]
    found += [
        ("POST", path + query, plain, json.dumps({"input": good}).encode())
        for query in ("?top=x", "?top=0", "?top=1&top=2", "?wrong=1", "?alias=nobody", "?alias=%00", "?%ff=1", "?top=" + "9" * 500)
    ]
    found += [
        ("POST", p, plain, b"{}")
        for p in ("/v1/nobody", "/v1/", "/v1/" + "a" * 5000, "/v1/%2e%2e%2f", f"{path}/drift", "/metrics", "/", "/v1/%00", f"{path}/x")
    ]
    found += [(method, path, {}, b"") for method in ("GET", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND")]
    found += [
        ("POST", path, plain | {"Host": host}, b"{}")
        for host in ("evil.example", "", "127.0.0.1.evil.example", "localhost@evil.example", "[::1", "\t")
    ]
    found += [
        ("POST", path, plain | {"Origin": origin}, b"{}") for origin in ("http://evil.example", "null", "http://[", "https://localhost.evil.example")
    ]
    return found


def wire_bytes(method: str, path: str, headers: dict, body: bytes, port: int) -> bytes:
    """A request as it goes over the wire."""
    lines = {"Host": f"127.0.0.1:{port}", **headers, "Content-Length": str(len(body))}
    return "\r\n".join([f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in lines.items()), "", ""]).encode("latin-1") + body


async def exchange(port: int, request: bytes, connection=None) -> tuple[int, bytes, object]:
    """Status and body of the answer, and the connection if it is still open; status 0 if the server closed without one."""
    reader, writer = connection or await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):  # it may answer and close before it has read everything
        writer.write(request)
        await writer.drain()
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        length = re.search(rb"content-length: (\d+)", head, re.I)
        body = await reader.readexactly(int(length[1])) if length else await reader.read()
    except (ConnectionError, asyncio.IncompleteReadError):
        writer.close()
        return 0, b"", None
    if b"connection: close" in head.lower() or not length:
        writer.close()
        return int(head[9:12]), body, None
    return int(head[9:12]), body, (reader, writer)


def friendly() -> list[tuple[str, str, dict, bytes]]:
    """Requests that must be answered with 200."""
    png, _ = digit()
    text, path = base64.b64encode(png).decode(), f"/v1/{CHAPTER}"
    plain, form = {"Content-Type": "application/json"}, {"Content-Type": "multipart/form-data; boundary=x"}
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="digit.png"\r\nContent-Type: image/png\r\n\r\n' + png + b"\r\n"
    large = io.BytesIO()
    from PIL import Image

    Image.open(io.BytesIO(png)).resize((700, 700)).save(large, "JPEG")
    return [
        ("POST", path, plain, json.dumps({"input": text}).encode()),
        ("POST", path, plain, json.dumps({"inputs": [text] * 5, "options": {"top": 10}}).encode()),
        ("POST", path, plain, json.dumps({"input": "data:image/png;base64," + text, "options": {"seen": True}}).encode()),
        ("POST", path + "?top=1", {"Content-Type": "image/png"}, png),
        ("POST", path, {"Content-Type": "image/jpeg"}, large.getvalue()),
        ("POST", path, form, part + b'--x\r\nContent-Disposition: form-data; name="top"\r\n\r\n4\r\n--x--\r\n'),
        ("POST", path + "?seen=true", {"Content-Type": "image/png", "Accept": "image/png"}, png),
        ("GET", "/metrics", {}, b""),
        ("GET", "/health", {}, b""),
        ("GET", f"{path}/drift", {}, b""),
    ]


def soak(minutes: float, clients: int = 16) -> int:
    """Exit code 1 on any 5xx, a good request refused, a hostile one answered, or memory that moves by more than 5 % after the first minute."""
    good, bad = friendly(), hostile()
    counts: Counter = Counter()
    wrong: Counter = Counter()
    memory: list[tuple[float, float]] = []

    async def client(port: int, number: int, until: float):
        draw, connection = random.Random(number), None
        while time.monotonic() < until:
            attack = draw.random() < 0.1
            method, path, headers, body = draw.choice(bad if attack else good)
            status, answer, connection = await exchange(port, wire_bytes(method, path, headers, body, port), connection)
            counts["hostile" if attack else "good", status] += 1
            right = (400 <= status < 500 or (status == 0 and len(body) > 1 << 16)) if attack else status == 200
            if not right or b"Traceback" in answer:
                wrong[f"{method} {path[:60]} {headers} {body[:60]!r} → {status} {answer[:100]!r}"] += 1

    async def everything(pid: int, port: int):
        began, until = time.monotonic(), time.monotonic() + 60 * minutes
        tasks = [asyncio.create_task(client(port, n, until)) for n in range(clients)]
        while time.monotonic() < until:
            await asyncio.sleep(1)
            memory.append((time.monotonic() - began, rss(pid)))
        await asyncio.gather(*tasks)

    with ours() as (process, port):
        asyncio.run(everything(process.pid, port))
    settled = [m for t, m in memory if t > min(60, 60 * minutes / 3)]
    early, late = (sum(part) / len(part) for part in (settled[:10], settled[-10:]))
    total = sum(counts.values())
    print(f"{total:,} requests in {minutes:g} minutes, {sum(n for (k, _), n in counts.items() if k == 'hostile') / total:.1%} hostile:", dict(counts))
    print(f"memory {early:.0f} MB after the first minute, {late:.0f} MB at the end ({late / early - 1:+.1%}), at most {max(settled):.0f} MB")
    for words, times in wrong.most_common(10):
        print(f"wrong {times} ×: {words}")
    passed = not wrong and abs(late / early - 1) <= 0.05
    print("passed" if passed else "FAILED", "(no 5xx, good ones answered, hostile ones refused, memory ± 5 %)")
    return int(not passed)


# ── fuzz ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def mutated(requests: list[tuple[str, str, dict, bytes]], seed: int):
    """Good and hostile requests with bytes changed, cut, doubled, for ever."""
    draw = random.Random(seed)
    while True:
        method, path, headers, body = draw.choice(requests)
        data = bytearray(body)
        for _ in range(draw.randint(1, 8)):
            at = draw.randrange(len(data) + 1)
            match draw.randrange(4):
                case 0:
                    data[at : at + 1] = draw.randbytes(1)
                case 1:
                    del data[at : at + draw.randint(1, 200)]
                case 2:
                    data[at:at] = draw.choice([b"\x00", b'"', b"}", b"[[", b"\\u0000", b"1e400", b"\xf0\x9f", b"--x\r\n", b"{" * 500])
                case 3:
                    data[at:at] = data[: draw.randint(0, 100)]
        yield method, path, headers, bytes(data)


def fuzz(requests: int, chapters: tuple[str, ...] = ()) -> int:
    """Exit code 1 if any answer is 5xx, holds a traceback, or refuses without one sentence."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings

    from dlbooks import catalog

    counts: Counter = Counter()
    wrong: list[str] = []

    def judge(words: str, status: int, body: bytes) -> None:
        counts[status] += 1
        known = {"error"}
        broken = status >= 500 or b"Traceback" in body or b'File "' in body
        if status >= 400 and not broken:
            try:
                broken = set(json.loads(body)) != known
            except ValueError:
                broken = not body.startswith(b"Invalid HTTP request")  # what is no HTTP never reaches the application
        if broken:
            wrong.append(f"{words} → {status} {body[:200]!r}")

    with ours(*(chapters or tuple(c.id for c in catalog.chapters().values() if c.use))) as (_, port):
        base = f"http://127.0.0.1:{port}"
        schema = schemathesis.openapi.from_url(f"{base}/openapi.json")
        operations = [found.ok() for found in schema.get_all_operations()]
        share = max(1, requests * 3 // 4 // (2 * len(operations)))
        for operation, mode in itertools.product(operations, schemathesis.GenerationMode):
            if mode is schemathesis.GenerationMode.NEGATIVE and not (operation.body or any(operation.iter_parameters())):
                continue  # nothing in it can be wrong

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(
                max_examples=share, database=None, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
            )
            def ask(case):
                answer = case.call(timeout=60)
                judge(f"{case.method} {case.path} {case.media_type}", answer.status_code, answer.content)

            ask()
        cases = [*hostile(), *friendly()]

        async def own(count: int):
            for method, path, headers, body in itertools.chain(cases, itertools.islice(mutated([c for c in cases if len(c[3]) < 1 << 20], 0), count)):
                status, answer, connection = await exchange(port, wire_bytes(method, path, headers, body, port))
                if connection:
                    connection[1].close()
                if status:
                    judge(f"{method} {path[:60]} {headers} {body[:80]!r}", status, answer)
                else:
                    counts["closed"] += 1

        asyncio.run(own(max(0, requests - sum(counts.values()) - len(cases))))
    print(f"{sum(counts.values()):,} requests:", dict(counts))
    for words in wrong[:10]:
        print("wrong:", words)
    print("passed" if not wrong else f"FAILED, {len(wrong)} wrong", "(no 5xx, no traceback, every refusal one sentence)")
    return int(bool(wrong))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["load", "soak", "fuzz"], default="load")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--requests", type=int, default=2000)
    given = parser.parse_args()
    sys.exit(
        {"load": lambda: load(given.seconds, given.rounds), "soak": lambda: soak(given.minutes), "fuzz": lambda: fuzz(given.requests)}[given.what]()
    )
