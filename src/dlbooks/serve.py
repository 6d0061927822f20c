"""``dlbooks serve``: trained chapters behind HTTP, with a page to try them.

``POST /v1/<chapter>`` asks, ``GET /v1`` says what can be asked, ``GET /v1/<chapter>/drift`` whether the questions look like the training data;
``/health``, ``/metrics`` and ``/openapi.json`` are for machines, ``/`` and ``/docs`` for people. One process: TensorFlow computes on all cores without
Python's lock, and concurrent requests are answered together (``endpoint``).
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import gc
import hmac
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
import time
import typing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pydantic
import pydantic_core
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.openapi.utils import get_openapi
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.responses import Response
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from dlbooks import UserError, __version__, catalog, own, params, runtime, wire
from dlbooks.endpoint import HERE, Endpoint, version
from dlbooks.run import trained
from dlbooks.statistics import size_of

SITE = Path(__file__).parent / "site"
log = logging.getLogger("dlbooks.serve")
IN_FLIGHT = 256 << 20  # bytes of request bodies held at the same time
CONNECTIONS = 1000  # at the same time; more get 503
SMALL = 128 * 128  # pixels decoded at once; larger pictures leave the loop to others
LARGE = 1 << 20  # bytes of files from which one request at a time is worked on
POLICY = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
PAGES = {
    "/": ("serve.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/serve.css": ("serve.css", "text/css; charset=utf-8"),
    "/serve.js": ("serve.js", "text/javascript; charset=utf-8"),
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
}
OPEN = {*PAGES, "/health"}  # without a token


@dataclass
class Settings:
    """How to serve. ``weights`` are aliases with their shares, ``timeout`` is in seconds, ``poll`` the seconds between two looks for newer models."""

    weights: dict[str, float] = field(default_factory=lambda: {"champion": 1.0})
    host: str = "127.0.0.1"
    token: str = ""
    max_bytes: int = 8 << 20
    timeout: float = 10.0
    poll: float = 5.0


# ── the application ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def application(names: list[str], settings: Settings | None = None) -> FastAPI:
    """The ASGI application for these chapters. Their models are loaded when it starts; until then ``/health`` says 503."""
    settings = settings or Settings()
    metrics = Metrics()
    endpoints = {name: Endpoint(name, settings.weights, metrics.batch(name)) for name in names}

    @contextlib.asynccontextmanager
    async def lifespan(_app):
        tasks = [asyncio.create_task(_load_all(endpoints, settings))]
        tasks += [asyncio.create_task(_follow(endpoints, settings.poll))]
        yield
        for task in tasks:
            task.cancel()
        for endpoint in endpoints.values():
            endpoint.thread.shutdown(wait=False, cancel_futures=True)

    about = 'Trained chapters of dlbooks. Every refusal is `{"error": "one sentence"}`.'
    app = FastAPI(title="dlbooks", version=__version__, description=about, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.router.redirect_slashes = False
    app.state.endpoints, app.state.metrics = endpoints, metrics

    @app.exception_handler(wire.Refused)
    async def refused(_request, error: wire.Refused):
        return _json({"error": error.sentence}, error.status, error.headers)

    @app.exception_handler(HTTPException)
    async def failed(request, error):
        words = {404: f"nothing at {request.url.path[:100]}", 405: f"{request.method[:20]} is not possible at {request.url.path[:100]}"}
        return _json({"error": words.get(error.status_code, str(error.detail))}, error.status_code, error.headers or {})

    app.add_exception_handler(404, failed)
    app.add_exception_handler(405, failed)

    for path, (file, kind) in PAGES.items():
        if (SITE / file).exists():
            app.add_route(path, _page((SITE / file).read_bytes(), kind), methods=["GET"])

    @app.get("/health", summary="Whether the models are loaded", tags=["server"], responses={503: _error("models are being loaded")})
    def health() -> Health:
        loading = [name for name, e in endpoints.items() if not e.ready]
        state = {name: {alias: m.version for alias, m in e.models.items()} for name, e in endpoints.items() if e.ready}
        return _json({"status": "loading" if loading else "ready", "models": state, "loading": loading}, 503 if loading else 200)

    @app.get(
        "/metrics", summary="Counters for Prometheus", tags=["server"], response_class=Response, responses={200: {"content": {"text/plain": {}}}}
    )
    def prometheus():
        metrics.refresh(endpoints)
        return Response(generate_latest(metrics.registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/openapi.json", include_in_schema=False)
    def openapi():
        if not app.openapi_schema:
            app.openapi_schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            if settings.token:
                app.openapi_schema.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
                app.openapi_schema["security"] = [{"token": []}]
        return _json(app.openapi_schema)

    @app.get("/v1", summary="The chapters that can be asked", tags=["chapters"])
    def chapters() -> list[Described]:
        return _json([_described(e) for e in endpoints.values()])

    for endpoint in endpoints.values():
        _route(app, endpoint)

    @app.api_route("/v1/{chapter}", methods=["GET", "POST"], include_in_schema=False)
    @app.api_route("/v1/{chapter}/drift", methods=["GET"], include_in_schema=False)
    def unknown(chapter: str):
        close = difflib.get_close_matches(chapter[:100], endpoints, n=1, cutoff=0.4)
        here = f"did you mean {close[0]}?" if close else f"there is {', '.join(endpoints)}"
        if chapter in endpoints:
            raise wire.Refused(405, f"ask {chapter} by POST", Allow="POST")
        if any(chapter == c.id and c.use for c in catalog.chapters().values()):
            here = f"start the server with it, `dlbooks serve {chapter}`"
        raise wire.Refused(404, f"no chapter {chapter[:100]!r} is served here: {here}")

    app.add_middleware(Gate, settings=settings, metrics=metrics)
    return app


async def _load_all(endpoints: dict[str, Endpoint], settings: Settings) -> None:
    for endpoint in endpoints.values():
        for alias in settings.weights:
            try:
                await asyncio.to_thread(endpoint.load, alias)
                model = endpoint.models[alias]
                words = "nothing is registered, so it is what lies in " if model.version.startswith(HERE) else "version "
                log.info("%s: %s, %s%s", endpoint.name, alias, words, model.version)
            except UserError as error:
                log.warning("%s", error)
            except Exception as error:
                log.exception("%s: %s cannot be loaded: %s", endpoint.name, alias, error)
        endpoint.settled = True
    _settle()
    if all(e.ready for e in endpoints.values()):
        log.info("ready")


def _settle() -> None:
    """Takes what is loaded now out of Python's garbage collection: looking through a million objects of TensorFlow and MLflow stops every
    request for a quarter of a second, again and again. Of a model that was replaced nothing stays."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


async def _follow(endpoints: dict[str, Endpoint], seconds: float) -> None:
    """Looks for newer models for ever; what cannot be loaded is said once, and the model that answers stays."""
    seen: dict[str, dict[str, str]] = {name: {} for name in endpoints}
    said: dict[str, str] = {}
    while True:
        await asyncio.sleep(seconds)
        for name, endpoint in endpoints.items():
            try:
                for alias in await asyncio.to_thread(endpoint.stale, seen[name]):
                    before = endpoint.models[alias].version if alias in endpoint.models else "nothing"
                    await asyncio.to_thread(endpoint.load, alias)
                    _settle()
                    log.info("%s: %s is now %s, it was %s", name, alias, endpoint.models[alias].version, before)
                said.pop(name, None)
            except Exception as error:
                words = (str(error).splitlines() or [type(error).__name__])[0]
                if said.get(name) != words:
                    log.warning("%s: no newer model can be loaded: %s", name, words)
                said[name] = words


def _page(data: bytes, kind: str):
    async def page(_request):
        return Response(data, media_type=kind, headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"})

    return page


def _json(value, status: int = 200, headers: typing.Mapping[str, str] | None = None):
    return Response(pydantic_core.to_json(value), status, dict(headers or {}), "application/json")


# ── one chapter ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Health(pydantic.BaseModel):
    status: str
    models: dict[str, dict[str, str]]
    loading: list[str]


class Described(pydantic.BaseModel):
    chapter: str
    title: str
    takes: str
    about: str
    example: str
    options: dict
    aliases: dict[str, str]


class Answered(pydantic.BaseModel):
    chapter: str
    alias: str
    version: str
    answers: list[dict]


class Failure(pydantic.BaseModel):
    error: str


class Drift(pydantic.BaseModel):
    chapter: str
    inputs: int
    window: int
    statistics: dict[str, dict]
    words: list[str]


def _error(words: str) -> dict:
    return {"description": words, "model": Failure}


ERRORS = {
    400: _error("the body is malformed"),
    404: _error("no such alias"),
    406: _error("the answer is no picture"),
    408: _error("the body did not arrive in time"),
    413: _error("the body is too large"),
    415: _error("a content type that the chapter does not take"),
    422: _error("an input or option that cannot be used"),
    503: _error("busy, or the model is being loaded: try again"),
    504: _error("the answer took too long"),
}


def _described(endpoint: Endpoint) -> Described:
    use = endpoint.use
    return {
        "chapter": endpoint.name,
        "title": endpoint.chapter.title,
        "takes": use.takes,
        "about": use.about,
        "example": use.example,
        "options": _schema(endpoint.options).get("properties", {}),
        "aliases": {alias: model.version for alias, model in endpoint.models.items()},
    }


def _route(app: FastAPI, endpoint: Endpoint) -> None:
    takes, large = endpoint.use.takes, asyncio.Semaphore(1)

    async def ask(request: Request):
        began = request.scope["dlbooks"] = {"chapter": endpoint.name, "alias": ""}
        if not endpoint.ready:
            raise wire.Refused(503, f"{endpoint.name} is being loaded: try again in a few seconds", Retry_After="3")
        query = [(k, v) for k, v in request.query_params.multi_items() if k != "alias"]
        alias = endpoint.choose(request.query_params.get("alias") or request.headers.get("x-alias", ""), request.headers.get("x-client", "")[:1000])
        began["alias"] = alias
        body = await request.scope["dlbooks.body"]()
        kind = wire.kind_of(request.headers.get("content-type", ""), takes)
        if kind == "json":
            asked = wire.from_json(body, endpoint.request, takes)
            asked.options |= wire.from_words_of_query(query, endpoint.options)
        elif kind == "form":
            inputs, names, fields = await wire.from_form(request.headers, body, takes)
            asked = wire.Asked(inputs, names, wire.from_words_of_query([*query, *fields], endpoint.options))
        else:
            asked = wire.Asked([wire.from_file(body, "body", takes)], ["body"], wire.from_words_of_query(query, endpoint.options))
        del body
        picture = "image/png" in request.headers.get("accept", "")
        async with large if _large(asked, takes) else contextlib.nullcontext():
            inputs = wire.decoded(asked, takes) if _small(asked, takes) else await asyncio.to_thread(wire.decoded, asked, takes)
            label, answers = await endpoint.ask(alias, inputs, asked.options, picture)
        if picture:
            found = wire.first_picture(answers)
            if found is None:
                raise wire.Refused(406, "the answer holds no picture: leave image/png out of Accept")
            return Response(wire.png(found), media_type="image/png", headers={"X-Alias": alias, "X-Version": label})
        return _json({"chapter": endpoint.name, "alias": alias, "version": label, "answers": answers})

    ask.__doc__ = f"Takes {endpoint.use.takes}: {endpoint.use.about}."
    app.add_api_route(
        f"/v1/{endpoint.name}",
        ask,
        methods=["POST"],
        name=endpoint.name,
        summary=endpoint.chapter.title,
        tags=["chapters"],
        response_model=None,
        responses={
            200: {"model": Answered, "content": {"image/png": {}}, "description": "an answer per input, in order; pictures are data: URLs"},
            **ERRORS,
        },
        openapi_extra=_openapi(endpoint),
    )

    def drifted() -> Drift:
        return _json({"chapter": endpoint.name, **_drift(endpoint)})

    app.add_api_route(
        f"/v1/{endpoint.name}/drift",
        drifted,
        methods=["GET"],
        name=f"{endpoint.name} drift",
        summary="Requests against training data",
        tags=["chapters"],
    )


def _drift(endpoint: Endpoint) -> dict:
    model = next(iter(endpoint.models.values()), None)
    return endpoint.watch.report(model.known if model else {})


def _openapi(endpoint: Endpoint) -> dict:
    """Request body and query parameters of a chapter's route, from its pydantic models."""
    takes, schema = endpoint.use.takes, _schema(endpoint.request)
    for name in ("input", "inputs"):  # none is no value for them, only their absence
        del schema["properties"][name]["default"]
    raw = {"text": ["text/plain"], "numbers": ["text/csv"], "sound": ["audio/wav"]}.get(takes, ["image/png", "image/jpeg"])
    file = {"type": "string"} if takes in ("text", "numbers") else {"type": "string", "contentMediaType": raw[0]}
    fields = _schema(endpoint.options).get("properties", {})
    form = {"type": "object", "required": ["input"], "additionalProperties": False, "properties": {"input": file, **fields}}
    content = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": form}, **{kind: {"schema": file} for kind in raw}}
    parameters = [{"name": name, "in": "query", "required": False, "schema": entry} for name, entry in fields.items()]
    parameters += [
        {"name": "alias", "in": "query", "required": False, "schema": {"type": "string"}, "description": "the model that is to answer"},
        {"name": "X-Client", "in": "header", "required": False, "schema": {"type": "string"}, "description": "the same client gets the same model"},
    ]
    return {"requestBody": {"required": True, "content": content}, "parameters": parameters}


def _schema(model: type[pydantic.BaseModel]) -> dict:
    """A model's JSON schema without references."""
    schema = model.model_json_schema()
    return _inlined(schema, schema.pop("$defs", {}))


def _inlined(schema, definitions: dict):
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inlined({**definitions[schema["$ref"].rpartition("/")[2]], **{k: v for k, v in schema.items() if k != "$ref"}}, definitions)
        return {k: _inlined(v, definitions) for k, v in schema.items()}
    return [_inlined(v, definitions) for v in schema] if isinstance(schema, list) else schema


def _small(asked: wire.Asked, takes: str) -> bool:
    """Whether the inputs are decoded faster than a thread is asked to."""
    if "picture" not in takes:
        return True
    sizes = [size_of(data) for data in asked.inputs]
    return all(sizes) and sum(width * height for width, height in sizes) <= SMALL


def _large(asked: wire.Asked, takes: str) -> bool:
    """Whether the decoded inputs may need so much memory that one request at a time is enough."""
    if "picture" not in takes:
        return False
    return sum(size[0] * size[1] if (size := size_of(data)) else LARGE + 1 for data in asked.inputs) > LARGE


# ── around every request ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Gate:
    """ASGI middleware around everything: who may ask, how much, how long; counts every request; no answer carries a traceback."""

    def __init__(self, app, settings: Settings, metrics: Metrics):
        self.app, self.settings, self.metrics = app, settings, metrics
        self.token = f"Bearer {settings.token}".encode() if settings.token else b""
        self.names = {"localhost", socket.gethostname().lower(), settings.host.lower()}
        self.held = 0

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await (self.app(scope, receive, send) if scope["type"] == "lifespan" else send({"type": "websocket.close"}))
        began, state, sent = time.perf_counter(), {"status": 500, "reading": False, "held": 0}, []

        async def answer(message):
            if message["type"] == "http.response.start":
                state["status"] = message["status"]
                sent.append(True)
                message["headers"] = [*message.get("headers", ()), (b"x-content-type-options", b"nosniff")]
            await send(message)

        scope["dlbooks.body"] = lambda: self._body(scope, receive, state)
        try:
            self._admit(scope)
            async with asyncio.timeout(self.settings.timeout):
                await self.app(scope, receive, answer)
        except wire.Refused as error:
            await _json({"error": error.sentence}, error.status, error.headers)(scope, receive, answer)
        except TimeoutError:
            if not sent:
                status, words = (408, "the body did not arrive") if state["reading"] else (504, "no answer")
                await _json({"error": f"{words} in {self.settings.timeout:g} seconds"}, status)(scope, receive, answer)
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if not sent:
                await _json({"error": "the model failed on this input: the server's log says why"}, 500)(scope, receive, answer)
        finally:
            self.held -= state["held"]
            if about := scope.get("dlbooks"):
                self.metrics.request(about["chapter"], about["alias"], state["status"], time.perf_counter() - began)

    def _admit(self, scope) -> None:
        """Refuses foreign host names (a web page whose name was rebound to this machine), foreign origins, and wrong tokens."""
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._ours(_name(host)):
            raise wire.Refused(421, "this server is not known by that host name")
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and _host_of(origin) != host.lower():
            raise wire.Refused(403, "pages of other origins may not ask this server")
        if self.token and scope["path"] not in OPEN and not hmac.compare_digest(headers.get(b"authorization", b""), self.token):
            raise wire.Refused(401, "a token is needed: Authorization: Bearer …", WWW_Authenticate="Bearer")

    def _ours(self, name: str) -> bool:
        """This machine's names, and any address: only a name can be rebound."""
        if name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    async def _body(self, scope, receive, state) -> bytes:
        """The whole body, never more than allowed."""
        limit = self.settings.max_bytes
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > limit:
            raise wire.Refused(413, f"the body has {int(length):,} bytes, at most {limit:,} are read")
        parts, size = [], 0
        state["reading"] = True
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise wire.Refused(400, "the client has gone")
            part = message.get("body", b"")
            size += len(part)
            self.held += len(part)
            state["held"] += len(part)
            if size > limit:
                raise wire.Refused(413, f"the body has more than the {limit:,} bytes that are read")
            if self.held > IN_FLIGHT:
                raise wire.Refused(503, "too many large requests at the same time: try again in a second", Retry_After="1")
            parts.append(part)
            if not message.get("more_body"):
                break
        state["reading"] = False
        return b"".join(parts)


def patient(seconds: float) -> type[AutoHTTPProtocol]:
    """uvicorn's protocol, which closes a connection whose first request has not begun after so long: half a header holds nobody up."""

    class Patient(AutoHTTPProtocol):
        def connection_made(self, transport):
            super().connection_made(transport)
            self.loop.call_later(seconds, lambda: self.cycle or transport.close())

    return Patient


def _name(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    host = host.strip().lower()
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0].rstrip(".")


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


class Metrics:
    """What ``/metrics`` says, in a registry of its own."""

    def __init__(self):
        self.registry = registry = CollectorRegistry()
        who = ["chapter", "alias"]
        times = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
        self.requests = Counter("dlbooks_requests", "Requests by the status of their answer", [*who, "status"], registry=registry)
        self.seconds = Histogram("dlbooks_request_seconds", "Seconds from headers to answer", who, buckets=times, registry=registry)
        self.batches = Histogram("dlbooks_batch_inputs", "Inputs answered in one call", who, buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry)
        self.waiting = Gauge("dlbooks_waiting_requests", "Requests that wait for the model", ["chapter"], registry=registry)
        self.model = Gauge("dlbooks_model_info", "1 for the version that answers", [*who, "version"], registry=registry)
        self.drift = Gauge("dlbooks_drift", "Distance of the last inputs from the training data", ["chapter", "statistic"], registry=registry)

    def request(self, chapter: str, alias: str, status: int, seconds: float) -> None:
        self.requests.labels(chapter, alias, str(status)).inc()
        if status < 400:
            self.seconds.labels(chapter, alias).observe(seconds)

    def batch(self, chapter: str):
        return lambda alias, size: self.batches.labels(chapter, alias).observe(size)

    def refresh(self, endpoints: dict[str, Endpoint]) -> None:
        """Gauges are computed when somebody looks."""
        self.model.clear()
        for name, endpoint in endpoints.items():
            self.waiting.labels(name).set(len(endpoint.waiting))
            for alias, model in endpoint.models.items():
                self.model.labels(name, alias, model.version).set(1)
            for statistic, entry in _drift(endpoint)["statistics"].items():
                if entry["distance"] is not None:
                    self.drift.labels(name, statistic).set(entry["distance"])


# ── the command ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def split_of(words: str) -> dict[str, float]:
    """``champion=0.9,challenger=0.1`` as a dictionary."""
    found: dict[str, float] = {}
    for word in words.split(","):
        alias, _, share = word.strip().partition("=")
        try:
            found[alias] = float(share)
        except ValueError:
            found[alias] = -1
        if not alias or not 0 <= found[alias] <= 1e6:
            raise UserError(f"--split {words}: give aliases with their shares, champion=0.9,challenger=0.1")
    if not sum(found.values()) > 0:
        raise UserError(f"--split {words}: at least one share must be above 0")
    return found


def serve(chapters: list[str], settings: Settings, port: int, browser: bool = False) -> None:
    """Serves until SIGTERM or Ctrl-C; requests that have begun are answered first."""
    os.environ.update(runtime.environment(params.read(runtime.root() / "params.yaml")["profile"]))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    for noisy in ("alembic", "absl"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    asked = chapters or [c.id for c in catalog.chapters().values() if c.use]
    for name in asked:
        own.stage(name)  # an unknown chapter and a taken port are named before anything heavy is imported
    listening = _listen(settings.host, port)
    port = listening.getsockname()[1]
    here = [name for name in asked if any(version(name, alias) for alias in settings.weights)]
    for name in chapters:
        if name not in here:
            trained(name)  # says so if it has not been trained
            raise UserError(f"{name} has no model with the alias {' or '.join(settings.weights)}: `dlbooks models {name}` lists what there is")
    if not here:
        raise UserError("nothing has been trained here: run `make repro`, or `dlbooks run mnist-cnn`")
    runtime.load_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(runtime.cores())
    tf.config.threading.set_inter_op_parallelism_threads(1)
    sys.setswitchinterval(0.001)  # Python's lock changes hands between loop and models: the default of 5 ms is as long as a batch
    url = f"http://{f'[{settings.host}]' if ':' in settings.host else settings.host}:{port}"
    if not _loopback(settings.host) and not settings.token:
        log.warning("anybody who reaches %s may ask: set DLBOOKS_TOKEN or --token", url)
    app = application(here, settings)
    log.info("%s serves %s; Ctrl-C ends it", url, ", ".join(here))
    options = {"log_level": "warning", "access_log": False, "timeout_graceful_shutdown": int(settings.timeout) + 1, "timeout_keep_alive": 30}
    options |= {"http": patient(settings.timeout), "limit_concurrency": CONNECTIONS, "server_header": False, "date_header": False}
    server = uvicorn.Server(uvicorn.Config(app, **options))
    for ending in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises the signal again when it has shut down: that is no failure
        signal.signal(ending, lambda *_: None)
    if browser:
        import webbrowser

        threading.Timer(1, webbrowser.open, [url]).start()
    server.run(sockets=[listening])
    log.info("stopped")


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket, before anything heavy is imported."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot listen on {host}:{port} ({getattr(error, 'strerror', error)}): choose another with --host and --port") from None
    return found
