"""`dlbooks serve`: every kind of input, every refusal, batches, models by alias, the switch, drift, the process."""

import asyncio
import base64
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import requests
import uvicorn
from PIL import Image
from starlette.testclient import TestClient

from dlbooks import UserError, drift, endpoint, images, registry, runtime, serve, wire

sys.path.insert(0, str(runtime.root() / "benchmarks"))
import serve as load  # benchmarks/serve.py

sys.path.pop(0)
if not (runtime.root() / "data" / "runs" / "mnist-cnn" / "run.json").exists():
    pytest.skip("mnist-cnn has not been trained here", allow_module_level=True)
CHAPTERS = ["mnist-cnn", "char-rnn-shakespeare", "parabola", "spoken-digits"]
PNG, NUMBERS = load.digit()
TEXT = base64.b64encode(PNG).decode()


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory):
    """A registry in which nothing is registered."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
    yield
    os.environ.pop("MLFLOW_TRACKING_URI")
    if before is not None:
        os.environ["MLFLOW_TRACKING_URI"] = before


def started(names, settings=None, **options):
    client = TestClient(serve.application(names, settings), base_url="http://127.0.0.1", raise_server_exceptions=False, **options)
    client.__enter__()
    for _ in range(600):
        if client.get("/health").status_code == 200:
            return client
        time.sleep(0.1)
    raise AssertionError(client.get("/health").text)


@pytest.fixture(scope="module")
def client(store):
    client = started(CHAPTERS)
    yield client
    client.__exit__(None, None, None)


def classes(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["answers"][0]["classes"]


def refused(answer, status, *words):
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    for word in words:
        assert word in answer.json()["error"]
    assert "Traceback" not in answer.text and "\n" not in answer.json()["error"]


# ── what is taken ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_way_to_give_a_picture_gets_the_same_answer(client):
    ways = [
        client.post("/v1/mnist-cnn", json={"input": TEXT}),
        client.post("/v1/mnist-cnn", json={"inputs": [f"data:image/png;base64,{TEXT}"]}),
        client.post("/v1/mnist-cnn", content=PNG, headers={"Content-Type": "image/png"}),
        client.post("/v1/mnist-cnn", files={"file": ("digit.png", PNG, "image/png")}),
    ]
    found = [classes(way) for way in ways]
    assert all(one == found[0] for one in found)
    assert len(found[0]) == 3 and 0.5 < sum(c["probability"] for c in found[0]) <= 1 + 1e-6
    first = ways[0].json()
    assert (first["chapter"], first["alias"]) == ("mnist-cnn", "champion") and first["version"].startswith("data/runs ")


def test_options_come_with_every_kind_of_body(client):
    several = client.post("/v1/mnist-cnn", json={"inputs": [TEXT, TEXT], "options": {"top": 5, "seen": True}}).json()["answers"]
    assert [len(a["classes"]) for a in several] == [5, 5]
    assert images.decode(base64.b64decode(several[0]["seen"].partition(",")[2]), "seen", "L").shape == (28, 28)
    assert len(classes(client.post("/v1/mnist-cnn?top=2", json={"input": TEXT}))) == 2
    assert len(classes(client.post("/v1/mnist-cnn?top=2", content=PNG, headers={"Content-Type": "image/png"}))) == 2
    assert len(classes(client.post("/v1/mnist-cnn", files={"file": PNG}, data={"top": "4"}))) == 4


def test_the_answer_is_a_picture_where_that_is_accepted(client):
    answer = client.post("/v1/mnist-cnn?seen=true", content=PNG, headers={"Content-Type": "image/png", "Accept": "image/png"})
    assert answer.headers["content-type"] == "image/png" and Image.open(io.BytesIO(answer.content)).size == (28, 28)
    refused(client.post("/v1/mnist-cnn", content=PNG, headers={"Content-Type": "image/png", "Accept": "image/png"}), 406, "no picture")


def test_text_numbers_and_sound(client):
    asked = {"input": "ROMEO:", "options": {"length": 20}}
    text = client.post("/v1/char-rnn-shakespeare", json=asked).json()["answers"][0]["text"]
    assert text.startswith("ROMEO:") and len(text) == 26
    plain = client.post("/v1/char-rnn-shakespeare?length=20", content="ROMEO:", headers={"Content-Type": "text/plain; charset=utf-8"})
    assert plain.json()["answers"][0]["text"] == text
    form = client.post("/v1/char-rnn-shakespeare", data={"length": "20"}, files={"input": (None, "ROMEO:")})
    assert form.json()["answers"][0]["text"] == text
    found = client.post("/v1/parabola", json={"input": [-1, 0, 1]}).json()["answers"][0]
    csv = client.post("/v1/parabola", content="-1\n0\n1\n", headers={"Content-Type": "text/csv"}).json()["answers"][0]
    assert found == csv and np.allclose(found["y"], [0.5, -0.5, 0.5], atol=0.3)
    sound = client.post("/v1/spoken-digits", content=endpoint.tone(), headers={"Content-Type": "audio/wav"})
    assert len(classes(sound)) == 3


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_hostile_requests_are_refused_in_one_sentence(client):
    for method, path, headers, body in load.hostile():
        if any(not line.isprintable() or not line.isascii() for line in headers.values()) or "\x00" in path or "%ff" in path:
            continue
        answer = client.request(method, path, headers=headers, content=body)
        assert 400 <= answer.status_code < 500, (method, path[:80], headers, body[:80], answer.status_code, answer.text[:300])
        assert method == "HEAD" or set(answer.json()) == {"error"}, (path, answer.text[:300])
        assert "Traceback" not in answer.text and len(answer.text) < 600


def test_refusals_say_what_is_wrong(client):
    refused(client.post("/v1/mnist-cn", json={}), 404, "did you mean mnist-cnn?")
    refused(client.post("/v1/cifar10-cnn", json={}), 404, "dlbooks serve cifar10-cnn")
    refused(client.get("/v1/mnist-cnn"), 405, "POST")
    refused(client.post("/v1/mnist-cnn", content=b"{", headers={"Content-Type": "application/json"}), 400, "malformed JSON")
    refused(client.post("/v1/mnist-cnn", json={"input": "?"}), 400, "input: not base64")
    refused(client.post("/v1/mnist-cnn", json={"input": TEXT, "options": {"top": 11}}), 422, "between 1 and 10")
    refused(client.post("/v1/mnist-cnn", json={"input": TEXT, "options": {"top": "a"}}), 422, "options.top")
    refused(client.post("/v1/mnist-cnn", json={"input": base64.b64encode(load.bomb()).decode()}), 422, "megapixels")
    refused(client.post("/v1/mnist-cnn", content=b"x", headers={"Content-Type": "text/html"}), 415, "image/png")
    refused(client.post("/v1/mnist-cnn", content=b"x" * (9 << 20), headers={"Content-Type": "image/png"}), 413, "8,388,608")
    refused(client.post("/v1/parabola", json={"input": [1, [2]]}), 422)
    refused(client.post("/v1/parabola", content="1, two", headers={"Content-Type": "text/csv"}), 422, "line 1", "two")
    refused(client.post("/v1/parabola", content="1e300", headers={"Content-Type": "text/csv"}), 422, "finite")
    refused(client.post("/v1/parabola", content=b'{"input": [NaN]}', headers={"Content-Type": "application/json"}), 422)
    refused(client.post("/v1/char-rnn-shakespeare", json={"input": "a" * 20_001}), 422, "20000")
    refused(client.post("/v1/char-rnn-shakespeare", content=b"\xff", headers={"Content-Type": "text/plain"}), 400, "UTF-8")
    refused(client.post("/v1/char-rnn-shakespeare", json={"input": "ROMEO:", "options": {"length": 10**6}}), 422, "options.length")
    refused(client.post("/v1/spoken-digits", content=b"RIFFxxxxWAVE", headers={"Content-Type": "audio/wav"}), 422)
    refused(client.get("/v1", headers={"Host": "evil.example"}), 421)
    refused(client.get("/v1", headers={"Origin": "http://evil.example"}), 403)
    assert client.get("/v1", headers={"Origin": "http://127.0.0.1", "Host": "127.0.0.1"}).status_code == 200


def test_a_body_that_never_ends_is_cut_off():
    """Without Content-Length the limit holds while the body arrives; one that stops arriving is given up."""
    gate = serve.Gate(None, serve.Settings(max_bytes=1000), serve.Metrics())
    state = {"held": 0, "reading": False}

    async def endless():
        return {"type": "http.request", "body": b"x" * 300, "more_body": True}

    with pytest.raises(wire.Refused) as error:
        asyncio.run(gate._body({"headers": []}, endless, state))
    assert error.value.status == 413 and state["held"] == 1200


def test_a_request_that_takes_too_long_is_given_up():
    async def slow(scope, receive, send):
        await scope["dlbooks.body"]() if scope["path"] == "/body" else await asyncio.sleep(60)

    async def nothing():
        await asyncio.sleep(60)

    async def status(path):
        sent = []

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "path": path, "method": "POST", "headers": [(b"host", b"127.0.0.1:8000")]}
        await serve.Gate(slow, serve.Settings(timeout=0.05), serve.Metrics())(scope, nothing, send)
        return sent[0]["status"]

    assert asyncio.run(status("/")) == 504 and asyncio.run(status("/body")) == 408


def test_half_a_request_is_not_waited_for():
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def seconds(text):
        with load.socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            config = uvicorn.Config(application, http=serve.patient(0.3), lifespan="off", log_level="error")
            server = uvicorn.Server(config)
            running = asyncio.create_task(server.serve(sockets=[listening]))
            while not server.started:
                await asyncio.sleep(0.01)
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            began = time.monotonic()
            writer.write(text)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.read() if not text.endswith(b"\r\n\r\n") else reader.readexactly(10_000), 1)
            took = time.monotonic() - began
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            server.should_exit = True
            await running
            return took

    assert 0.2 < asyncio.run(seconds(b"POST / HTTP/1.1\r\nHost: a\r\n")) < 0.9
    assert asyncio.run(seconds(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")) > 0.9  # answered, and kept open


def test_a_failing_model_answers_500_without_its_traceback(client, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("secret")

    monkeypatch.setattr(client.app.state.endpoints["parabola"].module, "answer", broken)
    answer = client.post("/v1/parabola", json={"input": [0]})
    assert answer.status_code == 500 and set(answer.json()) == {"error"} and "secret" not in answer.text


def test_fuzz(client):
    """Two hundred mutations of good and hostile requests; the benchmark sends thousands."""
    cases = [c for c in [*load.hostile(), *load.friendly()] if len(c[3]) < 1 << 20 and c[1].isascii() and "\x00" not in c[1]]
    counts = Counter()
    for (method, path, headers, body), _ in zip(load.mutated(cases, 1), range(200), strict=False):
        answer = client.request(method, path, headers={k: v for k, v in headers.items() if v.strip()}, content=body)
        counts[answer.status_code] += 1
        assert answer.status_code < 500 and "Traceback" not in answer.text, (method, path, headers, body[:200])
    assert counts[200] > 5 and len(counts) > 5


@pytest.mark.parametrize("name", CHAPTERS[:3])
def test_schemathesis(client, name):
    import schemathesis
    from hypothesis import HealthCheck, given, settings

    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())

    @given(case=schema[f"/v1/{name}"]["POST"].as_strategy())
    @settings(max_examples=15, database=None, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def ask(case):
        given = case.as_transport_kwargs(base_url="http://127.0.0.1")
        kept = {k: given[k] for k in ("method", "url", "params", "headers", "json", "data", "files") if given.get(k) is not None}
        sent = requests.Request(**kept).prepare()
        answer = client.request(sent.method, sent.url, headers=dict(sent.headers), content=sent.body)
        assert answer.status_code < 500, answer.text
        assert answer.status_code == 200 or set(answer.json()) == {"error"}

    ask()


# ── who may ask ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_token_and_host_names():
    def status(settings, path="/v1", **headers):
        client = TestClient(serve.application([], settings), base_url="http://127.0.0.1")
        return client.get(path, headers={k.title(): v for k, v in headers.items()}).status_code

    with_token = serve.Settings(token="correct horse")
    assert status(with_token) == 401 and status(with_token, authorization="Bearer wrong") == 401
    assert status(with_token, authorization="Bearer correct horse") == 200
    assert status(with_token, "/") == 200 and status(with_token, "/health") == 200 and status(with_token, "/metrics") == 401
    for host, code in {"localhost:8000": 200, "[::1]:8000": 200, "192.168.0.7": 200, "evil.example": 421, "127.0.0.1.evil.example": 421}.items():
        assert status(serve.Settings(), host=host) == code, host
    assert status(serve.Settings(host="digits.example"), host="digits.example:8000") == 200


def test_pages_need_nothing_from_elsewhere(client):
    for path in serve.PAGES:
        answer = client.get(path)
        assert answer.status_code == 200 and "default-src 'self'" in answer.headers["content-security-policy"]
        links = answer.text.replace("http://www.w3.org/2000/svg", "").replace("http://127.0.0.1:8000", "")
        assert "http://" not in links and "https://" not in links and "//cdn" not in links
    described = client.get("/v1").json()
    assert [d["chapter"] for d in described] == CHAPTERS and described[1]["options"]["temperature"]["type"] == "number"


def test_openapi_describes_options_with_their_limits(client):
    paths = client.get("/openapi.json").json()["paths"]
    body = paths["/v1/char-rnn-shakespeare"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    length = body["properties"]["options"]["properties"]["length"]
    assert (length["minimum"], length["maximum"], length["default"]) == (1, 2000, 500)
    assert {"application/json", "multipart/form-data", "image/png"} <= set(paths["/v1/mnist-cnn"]["post"]["requestBody"]["content"])
    assert "$ref" not in json.dumps(paths["/v1/mnist-cnn"]["post"]["requestBody"])


# ── batches ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def digits(count):
    kept = np.load(runtime.root() / "data/runs/mnist-cnn/export/saved_model/assets.extra/example.npy")[0, :, :, 0]
    return [np.roll(kept, (i % 5, i // 5), (0, 1)) for i in range(count)]


@pytest.fixture(scope="module")
def alone(store):
    found = endpoint.Endpoint("mnist-cnn", {"champion": 1.0})
    found.load("champion")
    return found


def test_a_batch_answers_as_one_by_one(alone):
    sizes = []
    alone.observe = lambda alias, size: sizes.append(size)

    async def together():
        asked = [alone.ask("champion", [picture], {"top": 10}) for picture in digits(20)]
        return [answers[0]["classes"] for _, answers in await asyncio.gather(*asked)]

    async def apart():
        return [(await alone.ask("champion", [picture], {"top": 10}))[1][0]["classes"] for picture in digits(20)]

    batched = asyncio.run(together())
    assert max(sizes) > 10 and sum(sizes) == 20
    for one, other in zip(batched, asyncio.run(apart()), strict=True):
        p, q = ({c["class"]: c["probability"] for c in found} for found in (one, other))
        assert max(abs(p[k] - q[k]) for k in p) < 1e-6


def test_a_bad_input_hurts_nobody_else_in_its_batch(alone):
    async def mixed():
        pictures = [*digits(3), np.zeros((28, 28), np.uint8), *digits(2)]
        return await asyncio.gather(*(alone.ask("champion", [p], {}) for p in pictures), return_exceptions=True)

    found = asyncio.run(mixed())
    assert [isinstance(f, Exception) for f in found] == [False] * 3 + [True] + [False] * 2
    assert found[3].status == 422 and "no ink" in found[3].sentence


def test_other_options_are_another_batch_and_a_full_queue_is_503(alone, monkeypatch):
    async def both():
        return await asyncio.gather(*(alone.ask("champion", [p], {"top": 1 + i % 2}) for i, p in enumerate(digits(6))))

    assert [len(answers[0]["classes"]) for _, answers in asyncio.run(both())] == [1, 2] * 3
    monkeypatch.setitem(endpoint.WAITING, True, 4)

    async def many():
        return await asyncio.gather(*(alone.ask("champion", [p], {}) for p in digits(8)), return_exceptions=True)

    found = asyncio.run(many())
    full = [f for f in found if isinstance(f, Exception)]
    assert len(full) == 4 and {f.status for f in full} == {503} and full[0].headers == {"Retry-After": "1"}


# ── models by alias ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_split_words():
    assert serve.split_of("champion=0.9,challenger=0.1") == {"champion": 0.9, "challenger": 0.1}
    for words in ("champion", "champion=x", "=1", "a=0", "a=-1", "a=nan", ""):
        with pytest.raises(UserError, match="--split"):
            serve.split_of(words)


def test_shares_pins_and_sticky_clients(alone):
    model = alone.models["champion"]
    alone.weights, alone.models = {"champion": 0.9, "challenger": 0.1}, {"champion": model, "challenger": model}
    try:
        drawn = Counter(alone.choose(client=f"client {i}") for i in range(4000))
        assert 0.08 < drawn["challenger"] / 4000 < 0.12
        assert 0.07 < Counter(alone.choose() for _ in range(4000))["challenger"] / 4000 < 0.13
        assert len({alone.choose(client="one") for _ in range(50)}) == 1
        assert alone.choose("challenger") == "challenger"
        with pytest.raises(wire.Refused, match="no alias"):
            alone.choose("nobody")
        alone.models = {"champion": model}
        assert alone.choose(client="client 7") == "champion"  # the challenger has gone
    finally:
        alone.weights, alone.models = {"champion": 1.0}, {"champion": model}


def test_two_aliases_answer_count_and_switch_without_a_dropped_request(store):
    registry.known("mnist-cnn")  # enters what lies in data/runs
    client = started(["mnist-cnn"], serve.Settings({"champion": 0.5, "challenger": 0.5}, poll=0.2))
    try:
        assert client.get("/health").json()["models"]["mnist-cnn"] == {"champion": "1", "challenger": "1"}
        for alias in ("champion", "challenger"):
            assert client.post(f"/v1/mnist-cnn?alias={alias}", json={"input": TEXT}).json()["alias"] == alias
        assert client.post("/v1/mnist-cnn", json={"input": TEXT}, headers={"X-Alias": "challenger"}).json()["alias"] == "challenger"
        text = client.get("/metrics").text
        assert 'dlbooks_requests_total{alias="challenger",chapter="mnist-cnn",status="200"} 2.0' in text
        assert 'dlbooks_request_seconds_count{alias="champion",chapter="mnist-cnn"} 1.0' in text

        found, over = [], threading.Event()

        def ask():
            while not over.is_set():
                answer = client.post("/v1/mnist-cnn?alias=champion", json={"input": TEXT})
                found.append((answer.status_code, answer.json().get("version")))

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for one in clients:
            one.start()
        model = registry.known("mnist-cnn")
        version = model[0].get_model_version(model[1].name, "1")
        model[0].create_model_version(model[1].name, version.source, version.run_id, tags=version.tags)
        registry.promote("mnist-cnn", 2)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and found[-1:] != [(200, "2")]:
            time.sleep(0.05)
        time.sleep(0.3)
        over.set()
        for one in clients:
            one.join()
        assert {status for status, _ in found} == {200}
        assert {version for _, version in found} == {"1", "2"} and found[-1][1] == "2"
    finally:
        client.__exit__(None, None, None)


def test_results_in_data_runs_are_kept_while_they_are_rebuilt(alone):
    held = alone.models["champion"].run.out
    assert held != runtime.root() / "data" / "runs" / "mnist-cnn" and (held / "export" / "saved_model" / "saved_model.pb").exists()


# ── drift ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_moments_by_hand():
    assert drift.moments(np.array([[0, 255]], np.uint8), "gray picture") == pytest.approx((0.5, 0.5))
    assert drift.moments(np.array([1.0, 3.0]), "numbers") == pytest.approx((2, 5))
    mean, square = drift.moments(endpoint.tone(1.0), "sound")
    assert mean == pytest.approx(0, abs=1e-3) and square == pytest.approx((8000 / 32768) ** 2 / 2, rel=1e-2)
    assert drift.moments(b"RIFF", "sound") is None


def test_population_stability_index_by_hand():
    trained = {"a": 50, "b": 50}
    assert drift.psi(trained, Counter(a=50, b=50)) == pytest.approx(0)
    p, q = 50.5 / 101, 90.5 / 101
    assert drift.psi(trained, Counter(a=90, b=10)) == pytest.approx((q - p) * np.log(q / p) + ((1 - q) - p) * np.log((1 - q) / p))
    assert drift.chance(9) == pytest.approx(27.88, rel=0.01) and drift.chance(1) == pytest.approx(10.83, rel=0.05)


def test_drift_is_said_in_words(alone):
    known = drift.reference(runtime.root() / "data/runs/mnist-cnn/data.json", "gray picture")
    assert known["mean"] == pytest.approx(0.0915, abs=1e-3) and known["std"] == pytest.approx(0.246, abs=1e-3) and len(known["classes"]) == 10
    watch = drift.Watch("gray picture")
    rng = np.random.default_rng(0)
    same = [{"seen": np.where(rng.random((28, 28)) < 0.1, 240, 0).astype(np.uint8), "classes": [{"class": str(i % 10)}]} for i in range(200)]
    watch.add([np.zeros((9, 9), np.uint8)] * 19, same[:19])
    assert "at least 20" in watch.report(known)["words"][0]
    watch.add([np.zeros((9, 9), np.uint8)] * 181, same[19:])
    quiet = watch.report(known)
    assert (
        not any(s["drift"] for s in quiet["statistics"].values())
        and "look like" in quiet["words"][0]
        and "like the training classes" in quiet["words"][-1]
    )
    watch.add([np.zeros((9, 9), np.uint8)] * 1000, [{"seen": 255 - a["seen"], "classes": [{"class": "7"}]} for a in same] * 5)
    loud = watch.report(known)
    assert loud["statistics"]["mean"]["drift"] and loud["statistics"]["answers"]["drift"]
    assert loud["words"][0].startswith("inputs are much brighter than the training pictures: mean 0.9") and "± 0.25" in loud["words"][0]
    assert "7 100% against 10%" in loud["words"][-1]


def test_drift_and_gauges_over_http(client):
    inputs = [base64.b64encode(wire.png(picture)).decode() for picture in digits(25)]
    assert client.post("/v1/mnist-cnn", json={"inputs": inputs}).status_code == 200
    found = client.get("/v1/mnist-cnn/drift").json()
    assert found["inputs"] >= 25 and found["statistics"]["mean"]["training"] == pytest.approx(0.0915, abs=1e-3)
    text = client.get("/metrics").text
    assert (
        'dlbooks_drift{chapter="mnist-cnn",statistic="mean"}' in text
        and 'dlbooks_batch_inputs_bucket{alias="champion",chapter="mnist-cnn",le="1.0"}' in text
    )


# ── the process ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_process_answers_what_it_has_begun_and_ends_with_0():
    with load.ours("char-rnn-shakespeare") as (process, port):
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/").read().decode()
        assert "Ask a trained chapter" in page
        body = json.dumps({"input": "ROMEO:", "options": {"length": 2000}}).encode()

        async def stopped():
            asked = asyncio.create_task(
                load.exchange(port, load.wire_bytes("POST", "/v1/char-rnn-shakespeare", {"Content-Type": "application/json"}, body, port))
            )
            await asyncio.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            return await asked

        status, answer, _ = asyncio.run(stopped())
        assert status == 200 and len(json.loads(answer)["answers"][0]["text"]) == 2006
        assert process.wait(20) == 0


def test_mistakes_at_the_command_line_are_one_line(tmp_path):
    def said(*words):
        command = [str(Path(sys.executable).parent / "dlbooks"), "serve", *words]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert result.returncode == 2 and "Traceback" not in result.stderr
        return result.stderr

    assert "did you mean mnist-cnn" in said("mnist-cn")
    with load.socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "cannot listen" in said("mnist-cnn", "--port", str(taken.getsockname()[1]))
