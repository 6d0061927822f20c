"""What a DVC stage runs: ``python -m dlbooks.stage fetch|preprocess|chapter|report [NAME]``, through the launchers in ``stages/``."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path

from dlbooks import UserError, catalog, params, runtime, status


def fetch(name: str) -> None:
    from dlbooks import fetch as fetching

    declaration, parameters, module = _dataset(name)
    fetching.fetch(declaration, module, parameters, runtime.root() / "data" / "raw" / name)


def preprocess(name: str) -> None:
    from dlbooks import fetch as fetching

    declaration, parameters, module = _dataset(name)
    data = runtime.root() / "data"
    fetching.preprocess(declaration, module, parameters, data / "raw" / name, data / "tfrecords" / name)


def _dataset(name: str):
    found = catalog.dataset(name)
    values = params.read(runtime.root() / "params.yaml")
    profile = values["profile"]
    parameters = params.validate(found.params, params.section(values, f"data.{name}", profile), f"data.{name}.{profile}")
    return found.declaration, parameters, catalog.load(found.declaration)


def chapter(name: str) -> None:
    from dlbooks import own, services
    from dlbooks.run import parameters_of

    found = own.stage(name).found
    recipe = json.loads(os.environ.get("DLBOOKS_RECIPE", "{}"))  # set by `dlbooks run --variant` for its experiment
    values = params.read(runtime.root() / "params.yaml")
    parameters_of(found, values, values["profile"], **recipe)  # a wrong word is refused before anything heavy is imported
    sys.path.insert(0, str(runtime.root()))
    with Alone(name), prefect_server():
        from flows.chapter import chapter as flow
        from prefect import tags

        chapter = found.declaration
        if values["profile"] != "book":
            services.no_heartbeats()
        try:
            with tags(chapter.family, values["profile"], chapter.hardware):
                metrics = flow(name, **recipe, out=str(runtime.root() / "data" / "runs" / name))
        except RuntimeError as error:
            if "Failed to reach API" in str(error):
                url = os.environ.get("PREFECT_API_URL")
                raise UserError(f"Prefect server {url} does not answer: start it (`make ui`), or unset PREFECT_API_URL") from None
            raise
    print(f"{name}: {chapter.headline} {metrics[chapter.headline]:.6g}", flush=True)


def direct(name: str, out: str, profile: str = "", overrides: str = "{}") -> None:
    """A chapter without DVC, Prefect and MLflow, into a folder of its own: what `dlbooks verify` and the contract tests compare."""
    from dlbooks.run import Run, parameters_of

    found = catalog.chapter(name)
    values = params.read(runtime.root() / "params.yaml")
    profile = profile or values["profile"]
    parameters = parameters_of(found, values, profile, overrides=json.loads(overrides))
    data = Path(os.environ["DLBOOKS_DATA"]) if "DLBOOKS_DATA" in os.environ else None
    run = Run(found.declaration, parameters, profile=profile, out=Path(out), data=data, quiet=True)
    module = catalog.load(found.declaration)
    runtime.prepare(profile, parameters.seed)
    run.begin()
    run.train(module)
    run.evaluate(module)
    if hasattr(module, "export"):
        module.export(run)
    run.finish()


def predict(name: str, words: list[str], out: Path | None, assigned: list[str]) -> None:
    """Calls a chapter's ``predict``; trailing ``key=value`` words that name one of its options are options."""
    import inspect

    import pydantic

    from dlbooks import images
    from dlbooks.run import trained

    run = trained(name)
    module = catalog.load(run.chapter)
    options = [k for k, p in inspect.signature(module.predict).parameters.items() if p.kind is p.KEYWORD_ONLY]
    words, given = _parted(name, words, assigned, options)
    try:
        pydantic.validate_call(config={"arbitrary_types_allowed": True})(module.predict)(run, words, out, **given)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{name} predict: {'.'.join(map(str, first['loc']))} = {first['input']!r}: {first['msg'].removeprefix('Input ')}") from None
    except images.NothingGiven as error:
        raise UserError(_wanted(run.chapter) if run.chapter.use else str(error)) from None


def _parted(name: str, words: list[str], assigned: list[str], options) -> tuple[list[str], dict]:
    """Inputs and options: trailing ``key=value`` words that name one of ``options`` are options."""
    words = list(words)
    while words and words[-1].partition("=")[0] in options:
        assigned = [words.pop(), *assigned]
    given = params.assignments(assigned)
    for key in given:
        if key not in options:
            raise UserError(f"{name} predict has no option {key!r}; it has {', '.join(options) or 'none'}")
    return words, given


def _wanted(chapter: catalog.Chapter) -> str:
    """What to give a chapter, in words."""
    use = chapter.use
    about, semicolon, more = use.about.partition(";")
    form = ", as picture files" if use.takes.endswith("picture") else ""
    example = f", for example {use.example if use.takes == 'numbers' else repr(use.example)}" if use.example else ""
    return f"give {about}{form}{example}{semicolon}{more}"


def ask(name: str, words: list[str], out: Path | None, assigned: list[str]) -> dict:
    """``predict`` for scripts: ``{"chapter", "answers": [{"input", "answer"}]}`` as the chapter's ``answer`` gives them, ready for JSON.

    Pictures in an answer become data: URLs of PNG files or, with ``out``, files in that folder, named by the input's number and their place.
    """
    from dlbooks import inputs, wire
    from dlbooks.run import trained

    run = trained(name)
    if run.chapter.use is None:
        raise UserError(f"{name} answers no single input, so there is nothing to say in JSON: leave --json out")
    module = catalog.load(run.chapter)
    options = wire.options_of(module.answer, name)
    words, given = _parted(name, words, assigned, options.model_fields)
    chosen = params.validate(options, given, name).model_dump()
    named = _inputs(run.chapter, words)

    def answers(items: list) -> list[dict]:
        return module.answer(run, items, **chosen)

    try:
        found = answers([item for _, item in named])
    except UserError:
        if len(named) > 1:
            inputs.blame(answers, [item for _, item in named], [where for where, _ in named])
        raise
    if out:
        out.mkdir(parents=True, exist_ok=True)
        found = [_pictures_kept(answer, out, str(number)) for number, answer in enumerate(found, 1)]
    return {"chapter": name, "answers": [{"input": where, "answer": wire.plain(a)} for (where, _), a in zip(named, found, strict=True)]}


def _inputs(chapter: catalog.Chapter, words: list[str]) -> list[tuple[str, object]]:
    """What the words of a command line stand for, each with its name: files, texts, or numbers: all words together, or a file or JSON each."""
    from dlbooks import images, inputs, wire

    takes = chapter.use.takes
    if not words:
        raise UserError(_wanted(chapter))
    if takes == "text":
        return [(word, word) for word in words]
    if takes == "sound":
        files = inputs.sound_files(words)
        if not files:
            raise UserError(_wanted(chapter))
        return [(str(file), inputs.ready(takes, file)[0][0]) for file in files]
    if takes != "numbers":
        return [(str(file), images.read(file, "L" if takes == "gray picture" else "RGB")) for file in images.files(words)]
    try:
        if words[0].lstrip().startswith("["):
            return [(word, wire.from_words(_rows(word), "the input")) for word in words]
        if any(Path(word).is_file() for word in words):
            return [(word, wire.from_file(Path(word).read_bytes(), word, takes)) for word in words]
        return [(" ".join(words), wire.from_words("\n".join(words), "the input"))]
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: no such file") from None
    except wire.Refused as error:
        raise UserError(error.sentence) from None


def _rows(word: str) -> str:
    """JSON numbers as lines."""
    try:
        value = json.loads(word)
    except ValueError as error:
        raise UserError(f"{word[:40]}: not JSON: {error}") from None
    return "\n".join(" ".join(map(str, row)) if isinstance(row, list) else str(row) for row in value)


def _pictures_kept(value, folder: Path, name: str):
    """The answer with every picture written to ``folder`` and named in its place."""
    from dlbooks import wire

    if wire.is_picture(value):
        path = folder / f"{name}.png"
        path.write_bytes(wire.png(value))
        return str(path)
    if isinstance(value, dict):
        return {key: _pictures_kept(part, folder, f"{name}-{key}") for key, part in value.items()}
    if isinstance(value, list | tuple) or getattr(value, "ndim", 0) == 4:
        return [_pictures_kept(part, folder, f"{name}-{number}") for number, part in enumerate(value, 1)]
    return value


def flow(run: str) -> None:
    """A flow run that a worker has claimed."""
    from dlbooks import worker

    worker.execute(run)


def report(_name: str = "") -> None:
    from dlbooks import report as site

    site.build(runtime.root() / "data" / "report")


@contextlib.contextmanager
def prefect_server():
    """The server that ``PREFECT_API_URL`` names, else this checkout's (`make ui`, a rebuild), else one of this stage's own."""
    from dlbooks import services

    for key, value in services.prefect_environment().items():
        os.environ.setdefault(key, value)
    own = None
    if "PREFECT_API_URL" not in os.environ:
        own, os.environ["PREFECT_API_URL"] = services.start_prefect(advertise=False)
        runtime.load_tensorflow()  # while the server starts
        services.await_prefect(own, os.environ["PREFECT_API_URL"])
    try:
        yield
    finally:
        if own:
            services.stop(own)


class Alone:
    """One trainer per output folder: a second one waits, so what a killed DVC left behind never writes beside a new run."""

    def __init__(self, name: str):
        (runtime.state() / "locks").mkdir(exist_ok=True)
        key = str(runtime.root()).replace("/", "_") if runtime.root() != runtime.home() else ""
        self.path = runtime.state() / "locks" / f"{name}{key}.lock"

    def __enter__(self):
        self.file = open(self.path, "a+")
        deadline = time.monotonic() + 60
        while True:
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    self.file.seek(0)
                    holder = self.file.read().strip() or "another process"
                    raise UserError(f"{self.path.stem} is being trained by {holder}: wait for it or end it") from None
                time.sleep(0.2)
        self.file.truncate(0)
        self.file.write(f"process {os.getpid()}")
        self.file.flush()

    def __exit__(self, *_):
        self.file.close()


def main(argv: list[str]) -> int:
    """Runs one stage; exit code 0, 1 (a defect, with traceback), 2 (a user's mistake, one line) or 130 (interrupted)."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    end_with(os.environ.pop("DLBOOKS_CLIENTS", ""))
    actions = {"fetch": fetch, "preprocess": preprocess, "chapter": chapter, "direct": direct, "report": report, "flow": flow}
    began = time.monotonic()
    if argv[0] in ("fetch", "preprocess"):
        status.begin("@".join(argv), argv[0])
    elif argv[0] in ("chapter", "report"):
        status.begin(argv[-1], argv[0])
    try:
        actions[argv[0]](*argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        print(f"{' '.join(argv)}: interrupted", file=sys.stderr, flush=True)
        return 130
    except Exception as error:
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error) or "disk is full" in str(error):
            print(f"error: no space left on the disk of {runtime.root()}: free some and run the command again", file=sys.stderr, flush=True)
            return 2
        if type(error).__name__ == "DataLossError" and argv[0] == "chapter" and (words := damaged(argv[1])):
            print(f"error: {words}", file=sys.stderr, flush=True)
            return 2
        raise
    finally:
        if argv[0] not in ("direct", "flow"):
            status.end()
    if argv[0] not in ("direct", "flow"):
        note_seconds(" ".join(argv), time.monotonic() - began)
    return 0


def damaged(name: str) -> str:
    """What is wrong with the records of a stage that could not be read to their end."""
    from dlbooks import digests, own
    from dlbooks.records import Records

    stage = own.stage(name)
    for dataset in stage.found.declaration.datasets:
        dataset = stage.swaps.get(dataset, dataset)
        records = Records(runtime.root() / "data" / "tfrecords" / dataset)
        try:
            digests.check(records.path, digests.remedy(records.folder, "preprocess"))
        except UserError as error:
            return str(error)
    return ""


def end_with(pids: str) -> None:
    """Ends this process soon after one of ``pids`` (comma-separated) is gone: DVC killed hard leaves no trainer behind."""
    if not pids or not hasattr(os, "pidfd_open"):
        return

    def watch():
        with contextlib.suppress(OSError):
            select.select([os.pidfd_open(int(pid)) for pid in pids.split(",")], [], [])
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def note_seconds(stage: str, seconds: float) -> None:
    """Keeps a stage's seconds in an undeclared side file, for the table at the end of a rebuild; an experiment's are not the checkout's.
    A worker names a file of its own in ``DLBOOKS_SECONDS``."""
    if runtime.root() != runtime.home() and "DLBOOKS_SECONDS" not in os.environ:
        return
    path = Path(os.environ.get("DLBOOKS_SECONDS") or runtime.state() / "seconds.json")
    with open(path, "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = file.read()
        known = json.loads(text) if text else {}
        known[stage] = round(seconds, 2)
        file.truncate(0)
        file.write(json.dumps(known, indent=2))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
