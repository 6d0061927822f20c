"""One served chapter: its models by alias, the queue in front of them, the thread that answers, the switch to a newer model.

Requests that wait while the thread is busy are answered together in one call, if the chapter says that this pays (``Use.batched``) and their options
are equal. Nothing waits for company: an idle thread takes what is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import random
import shutil
import tempfile
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dlbooks import UserError, catalog, drift, own, registry, runtime, wire
from dlbooks.run import Run, trained

log = logging.getLogger("dlbooks.serve")
HERE = "data/runs"
MAX_BATCH = 32  # inputs in one call
WAITING = {True: 256, False: 8}  # requests that may wait, batched or not


@dataclass
class Model:
    """A loaded model of a chapter: its run, where it came from, its training statistics."""

    alias: str
    version: str
    run: Run
    known: dict
    folder: tempfile.TemporaryDirectory  # goes with the last batch that still uses the model


@dataclass
class Job:
    """A request's inputs in the queue."""

    alias: str
    inputs: list
    options: dict
    pictures: bool
    future: asyncio.Future
    key: str = field(init=False)

    def __post_init__(self):
        self.key = f"{self.alias} {sorted(self.options.items())}"


class Endpoint:
    """What answers for one chapter. ``weights`` are the aliases with their shares of the requests; ``observe(alias, size)`` hears of every batch."""

    def __init__(self, name: str, weights: dict[str, float], observe: Callable[[str, int], None] = lambda alias, size: None):
        self.name, self.weights, self.observe = name, weights, observe
        self.chapter = own.stage(name).found.declaration
        if self.chapter.use is None:
            raise UserError(f"{name} cannot be asked: {_askable()}")
        self.use = self.chapter.use
        self.module = catalog.load(self.chapter)
        self.options = wire.options_of(self.module.answer, name)
        self.request = wire.request_of(self.use.takes, self.options, name)
        self.defaults = self.options().model_dump()
        self.shows = "seen" in self.defaults
        self.models: dict[str, Model] = {}
        self.watch = drift.Watch(self.use.takes)
        self.waiting: deque[Job] = deque()
        self.busy = self.settled = False
        self.thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    # ── models ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def ready(self) -> bool:
        """Whether every alias has been looked at and some model answers."""
        return self.settled and bool(self.models)

    def load(self, alias: str) -> None:
        """Loads and warms the model that the alias names now, then puts it in the place of the old one, which finishes what it has begun."""
        model = opened(self.name, alias, self.use.takes)
        self._warm(model)
        self.models[alias] = model

    def _warm(self, model: Model) -> None:
        """Answers examples in all batch sizes, so that no request pays for what happens once per shape."""
        example = example_of(model.run, self.use)
        for size in range(1, MAX_BATCH + 1 if self.use.batched else 2):
            try:
                self.module.answer(model.run, [example] * size, **self.defaults)
            except UserError as error:
                log.info("%s: not warmed up, its example is refused: %s", self.name, error)
                return

    def stale(self, seen: dict[str, str]) -> list[str]:
        """Aliases whose newest version is not the one that answers. ``seen`` remembers versions between two looks: a folder that is still
        being written is another one the next time, and waits."""
        found = []
        for alias in self.weights:
            newest = version(self.name, alias)
            current = self.models[alias].version if alias in self.models else ""
            if newest and newest != current and (seen.get(alias) == newest or not newest.startswith(HERE)):
                found.append(alias)
            seen[alias] = newest
        return found

    def choose(self, pinned: str = "", client: str = "") -> str:
        """The alias that answers: the pinned one, else one drawn by weight, always the same for the same client."""
        if pinned:
            if pinned not in self.models:
                raise wire.Refused(404, f"{self.name} has no alias {pinned[:60]!r} here; it has {', '.join(self.models)}")
            return pinned
        known = [alias for alias in self.weights if alias in self.models]
        if len(known) == 1:
            return known[0]
        draw = int.from_bytes(hashlib.sha256(f"{self.name}/{client}".encode()).digest()[:8], "little") / 2**64 if client else random.random()
        draw *= sum(self.weights[alias] for alias in known)
        for alias in known:
            draw -= self.weights[alias]
            if draw < 0:
                break
        return alias

    # ── the queue ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def ask(self, alias: str, inputs: list, options: dict, pictures: bool = False) -> tuple[str, list]:
        """The version that answered and the answers: as JSON takes them, or with ``pictures`` as the chapter gave them."""
        if len(self.waiting) >= WAITING[self.use.batched]:
            raise wire.Refused(503, f"{self.name} has {len(self.waiting)} requests waiting: try again in a second", Retry_After="1")
        loop = asyncio.get_running_loop()
        job = Job(alias, inputs, self.defaults | options, pictures, loop.create_future())
        self.waiting.append(job)
        if not self.busy:
            self.busy = True
            loop.call_soon(self._next, loop)  # after the other requests that arrived together with this one
        return await job.future

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        while self.waiting and self.waiting[0].future.done():  # its client has gone
            self.waiting.popleft()
        if not self.waiting:
            self.busy = False
            return
        jobs = [self.waiting.popleft()]
        if self.use.batched:
            room, others = MAX_BATCH - len(jobs[0].inputs), []
            for job in self.waiting:
                if job.key == jobs[0].key and len(job.inputs) <= room and not job.future.done():
                    jobs.append(job)
                    room -= len(job.inputs)
                else:
                    others.append(job)
            self.waiting = deque(others)
        model = self.models[jobs[0].alias]
        loop.run_in_executor(self.thread, self._answer, model, jobs).add_done_callback(lambda done: self._answered(loop, jobs, done))

    def _answered(self, loop: asyncio.AbstractEventLoop, jobs: list[Job], done: asyncio.Future) -> None:
        self._next(loop)
        for job, result in zip(jobs, done.result(), strict=True):
            if job.future.done():
                continue
            if isinstance(result, Exception):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)

    def _answer(self, model: Model, jobs: list[Job]) -> list[tuple[str, list] | Exception]:
        """In the chapter's thread: one call for all; if that fails, one for each, so that a bad input hurts nobody else."""
        options = jobs[0].options | ({"seen": True} if self.shows else {})
        inputs = [value for job in jobs for value in job.inputs]
        self.observe(model.alias, len(inputs))
        try:
            answers = self.module.answer(model.run, inputs, **options)
            self.watch.add(inputs, answers)
        except Exception as error:
            if len(jobs) > 1:
                return [self._answer(model, [job])[0] for job in jobs]
            if isinstance(error, UserError):
                return [wire.Refused(422, " ".join(str(error).split()))]
            return [error]
        found, at = [], 0
        for job in jobs:
            mine = answers[at : at + len(job.inputs)]
            at += len(job.inputs)
            if self.shows and not job.options["seen"]:
                mine = [{k: v for k, v in answer.items() if k != "seen"} for answer in mine]
            found.append((model.version, mine if job.pictures else wire.plain(mine)))
        return found


def _askable() -> str:
    return "chapters that can be asked are " + ", ".join(c.id for c in catalog.chapters().values() if c.use)


# ── where models come from ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def version(name: str, alias: str) -> str:
    """What the alias names now: a version of the registry, else, for the champion, the result in ``data/runs``, else an empty word."""
    if number := registry.version(name, alias):
        return str(number)
    folder = runtime.root() / "data" / "runs" / name
    digest = hashlib.sha256()
    with contextlib.suppress(OSError):
        for file in ("metrics.json", "run.json"):  # the last of which is written when everything else is
            digest.update((folder / file).read_bytes())
        return f"{HERE} {digest.hexdigest()[:8]}" if alias == registry.CHAMPION else ""
    return ""


def opened(name: str, alias: str, takes: str) -> Model:
    """The model of that alias, its files linked into a folder of its own: a rebuild empties ``data/runs``, and a store may be cleaned."""
    label = version(name, alias)
    if not label:
        raise UserError(f"{name} has no model with the alias {alias}: `dlbooks models {name}` lists them")
    run = trained(name) if label.startswith(HERE) else registry.run(name, alias)
    label = label if label.startswith(HERE) else str(run.version)
    folder = tempfile.TemporaryDirectory(prefix="dlbooks-")
    shutil.copytree(run.out, Path(folder.name) / name, copy_function=_link)
    run.out = Path(folder.name) / name
    return Model(alias, label, run, drift.reference(run.out / "data.json", takes), folder)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def example_of(run: Run, use: catalog.Use):
    """An input that the model can be tried with: the one its export carries, else one made here."""
    if use.takes == "text":
        return use.example or "to be"
    if use.takes == "numbers":
        return np.asarray(json.loads(use.example or "[0, 1, 2]"), np.float64)
    if use.takes == "sound":
        return tone()
    stored = run.out / "export" / "saved_model" / "assets.extra" / "example.npy"
    size = np.load(stored).shape[1:3] if stored.exists() else (64, 64)
    picture = np.zeros(size if len(size) == 2 else (64, 64), np.uint8)
    picture[len(picture) // 4 : -len(picture) // 4, picture.shape[1] // 2 - 2 : picture.shape[1] // 2 + 2] = 255
    return picture if use.takes == "gray picture" else np.stack([picture] * 3, -1)


def tone(seconds: float = 0.5, rate: int = 8000) -> bytes:
    """A wav file with a tone of 440 Hz."""
    import io
    import wave

    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((8000 * np.sin(np.arange(int(seconds * rate)) * (2 * np.pi * 440 / rate))).astype("<i2").tobytes())
    return buffer.getvalue()
