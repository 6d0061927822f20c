"""``Run``: what a chapter's functions get. It hides DVC's paths, MLflow, progress bars, seeds and resuming.

Everything below ``run.out`` is a DVC output: bytes without time, rate, host or absolute path. Seconds go to ``run.timing``.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import itertools
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlbooks import UserError, catalog, devices, own, params, runtime, status
from dlbooks.records import Records

if TYPE_CHECKING:
    import keras

CHECKPOINT_SECONDS = 10.0  # a mini chapter trains for less, so it writes none


class Run:
    """One run of one chapter.

    Attributes: ``chapter`` (its declaration), ``params`` (typed), ``profile``, ``variant``, ``out`` (output folder), ``work``
    (ignored folder of checkpoints, keyed by the hash of code, parameters and inputs).
    """

    def __init__(
        self,
        chapter: catalog.Chapter,
        parameters: params.ChapterParams,
        *,
        profile: str,
        out: Path,
        variant: str | None = None,
        data: Path | None = None,
        key: str = "",
        tracker=None,
        quiet: bool = False,
        swaps: dict[str, str] | None = None,
    ):
        self.swaps = swaps or {}  # the chapter's data set → a person's own that takes its place
        self.chapter, self.params, self.profile, self.variant = chapter, parameters, profile, variant
        self.out, self.data = Path(out), data or runtime.root() / "data"
        self.bar = None
        self.version: int | None = None  # of the registered model that it stands over
        self.work = runtime.state() / "work" / self.id / (key or f"direct-{os.getpid()}")
        self.tracker, self.quiet = tracker, quiet
        self.series: dict[str, list[tuple[int, float]]] = {}
        self.captions: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self.metrics: dict[str, float] = {}
        self.children: dict[str, dict] = {}
        self._records: dict[str, Records] = {}

    @property
    def id(self) -> str:
        """The stage's name: the chapter's, or ``cifar10-cnn-on-my-photos``."""
        return own.stage_id(self.chapter, self.swaps)

    # ── inputs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def records(self, name: str) -> Records:
        """Reader of a data set that the chapter declares, or of the person's own that takes its place, in the same fields and shapes."""
        if name not in self.chapter.datasets:
            raise ValueError(f"{self.chapter.id} reads {name!r} but declares {self.chapter.datasets}")
        if name not in self._records:
            runtime.load_tensorflow()
            mine = self.swaps.get(name, name)
            found = Records(self.data / "tfrecords" / mine, like=catalog.schema(catalog.dataset(name).declaration))
            if mine != name and (empty := [split for split, entry in found.info["splits"].items() if not entry["examples"]]):
                raise UserError(
                    f"{mine} has no example in its split {', '.join(empty)}, {self.chapter.id} needs one: add files and run `dlbooks data add` again"
                )
            self._records[name] = found
        return self._records[name]

    def needed(self, chapter_id: str) -> Path:
        """Output folder of another chapter that this one declares in ``needs``."""
        if chapter_id not in self.chapter.needs:
            raise ValueError(f"{self.chapter.id} reads {chapter_id!r} but needs {self.chapter.needs}")
        return self.data / "runs" / chapter_id

    def random(self, *stream: int | str) -> np.random.Generator:
        """A NumPy generator of its own for every named stream; the same in every process and after a resume."""
        digest = hashlib.sha256("/".join(map(str, (self.params.seed, *stream))).encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "little"))

    # ── training ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def epochs(self, total: int, label: str = "epoch", **state) -> Iterator[int]:
        """Counts 0 … ``total`` − 1 with a progress bar, resuming where a killed run stopped.

        ``state`` names the models and optimizers (anything with ``.variables``) whose every variable, seed generators and
        optimizer slots included, is saved at least ten seconds apart. Weights after a resume equal the uninterrupted run's bit for bit,
        provided that random draws inside an epoch come from ``run.random("…", epoch)`` or from the saved variables.
        """
        start = self._restore(label, state)
        every = float(os.environ.get("DLBOOKS_CHECKPOINT_SECONDS", CHECKPOINT_SECONDS))
        with self._bar(total, label, start) as advance:
            saved = time.monotonic()
            for number in range(start, total):
                yield number
                advance()
                if number + 1 < total and time.monotonic() - saved >= every:
                    self._checkpoint(label, number + 1, state)
                    saved = time.monotonic()

    def _restore(self, label: str, state: dict[str, Any]) -> int:
        path = self.work / f"{label}.npz"
        if not path.exists():
            return 0
        with np.load(path) as stored:
            for name, thing in state.items():
                if hasattr(thing, "build") and hasattr(thing, "_trainable_variables") and not thing.built:
                    raise ValueError(f"optimizer {name!r} must be built (`optimizer.build(model.trainable_variables)`) before run.epochs")
                for index, variable in enumerate(thing.variables):
                    variable.assign(stored[f"{name}/{index}"])
            book = json.loads(str(stored["book"]))
        for name, points in book["series"].items():
            self.series[name] = [tuple(p) for p in points]
        self.say(f"resuming at {label} {book['next']}")
        return book["next"]

    def _checkpoint(self, label: str, following: int, state: dict[str, Any]) -> None:
        arrays = {f"{n}/{i}": np.asarray(v.numpy()) for n, thing in state.items() for i, v in enumerate(thing.variables)}
        book = json.dumps({"next": following, "series": self.series})
        self.work.mkdir(parents=True, exist_ok=True)
        temporary = self.work / f"{label}.part.npz"
        np.savez(temporary, book=np.array(book), **arrays)
        os.replace(temporary, self.work / f"{label}.npz")

    def progress(self, items: Iterable, label: str = "", total: int | None = None) -> Iterator:
        """``items`` with a progress bar; for anything over two seconds."""
        with self._bar(total if total is not None else len(items), label) as advance:
            for item in items:
                yield item
                advance()

    @contextlib.contextmanager
    def _bar(self, total: int, label: str, start: int = 0):
        bar = status.Bar(total=total, initial=start, desc=f"{self.chapter.id} {label}", leave=False, disable=self.quiet or None, dynamic_ncols=True)
        self.bar = bar
        try:
            yield bar.update
        finally:
            bar.close()

    def say(self, line: str) -> None:
        """One line to the person at the terminal."""
        if not self.quiet:
            from tqdm import tqdm

            tqdm.write(f"{self.chapter.id}: {line}")

    def log(self, step: int, **values: float) -> None:
        """Logs values of named series at a step: MLflow's step metrics, ``history/<series>.csv`` and the chapter's curves."""
        for name, value in values.items():
            value = float(value)
            if not np.isfinite(value):
                raise UserError(f"{self.chapter.id}: {name} is {value} at step {step}: training diverged; lower the learning rate")
            self.series.setdefault(name, []).append((int(step), value))
        if self.tracker:
            self.tracker.flush()
        if status.watched():
            status.tell(step=int(step), values={name: points[-1][1] for name, points in self.series.items()})
        if self.bar is not None:
            self.bar.set_postfix({k: f"{float(v):.4g}" for k, v in values.items()}, refresh=False)

    def child(self, name: str, parameters: dict, metrics: dict[str, float], series: dict[str, list[tuple[int, float]]] | None = None) -> None:
        """One contestant of several that this run compares, an optimizer of a race, say: in MLflow a child run of its own.

        ``parameters`` are those it differs by, ``series`` its (step, value) points. Call it once per name, from ``train`` or ``evaluate``.
        """
        self.children[name] = {"parameters": parameters, "metrics": metrics, "series": series or {}}

    def timing(self, **seconds: float) -> None:
        """Seconds or rates: to MLflow and an undeclared side file, never into a DVC output."""
        self.seconds.update({k: float(v) for k, v in seconds.items()})

    # ── results ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def save(self, model: keras.Model, name: str = "weights") -> None:
        """Keeps a model's variables in ``<name>.npz``, the same bytes for the same weights."""
        from dlbooks.export import savez

        savez(self.out / f"{name}.npz", {f"{i:03d} {v.path}": np.asarray(v.numpy()) for i, v in enumerate(model.weights)})

    def load(self, model: keras.Model, name: str = "weights") -> keras.Model:
        """Puts saved variables back into a model that ``build`` made, and returns it. Names the first layer that differs."""
        path = self.kept(f"{name}.npz")
        with np.load(path) as stored:
            for key, variable in zip(stored.files, model.weights, strict=False):
                value = stored[key]
                if value.shape != tuple(variable.shape):
                    raise UserError(
                        f"{path}: {key.split(' ', 1)[1]} has shape {list(value.shape)}, the model's {variable.path} {list(variable.shape)}"
                    )
                variable.assign(value)
            if len(stored.files) != len(model.weights):
                raise UserError(f"{path} holds {len(stored.files)} variables, the model has {len(model.weights)}")
        return model

    def exported(self, name: str = "saved_model") -> Path:
        """File or folder ``name`` of the export, which ``predict`` reads; the SavedModel by default."""
        return self.kept(f"export/{name}")

    @cached_property
    def model(self):
        """The exported SavedModel, loaded once: its functions are attributes, ``run.model.serve(…)``."""
        runtime.load_tensorflow()
        import tensorflow as tf

        return tf.saved_model.load(str(self.exported()))

    def kept(self, name: str) -> Path:
        """File or folder of the output that training, evaluation or export has left."""
        path = self.out / name
        if not path.exists():
            raise UserError(f"{self.id} has not been trained here: run `{own.command(self.chapter, self.swaps)}`")
        return path

    # ── what a person does with a trained one ───────────────────────────────────────────────────────────────────────────────────

    def predict(self, given, **options) -> dict | list[dict]:
        """What the chapter answers: a dictionary for one input, a list of them for several, pictures as uint8 arrays.

        ``chapter.use`` says what an input is. A picture may be a path, a file's bytes, a PIL picture or an array (also a batch of them), a sound a
        path or the bytes of a wav file, a text a ``str``, numbers a list or an array. ``options`` are those of the chapter's ``answer``.
        """
        from dlbooks import inputs, wire

        if self.chapter.use is None:
            raise UserError(
                f"{self.id} cannot be asked: {'it answers no single input' if self.chapter.exports else 'its result are numbers and pictures'}"
            )
        runtime.load_tensorflow()
        module = catalog.load(self.chapter)
        chosen = params.validate(wire.options_of(module.answer, self.id), options, self.id).model_dump()
        ready, several = inputs.ready(self.chapter.use.takes, given)
        answers = module.answer(self, ready, **chosen) if ready else []
        return answers if several else answers[0]

    @property
    def history(self) -> dict[str, list[tuple[int, float]]]:
        """The series that training logged: (step, value) points by name."""
        found = {}
        for path in sorted(self.out.glob("history/*.csv")):
            with open(path, encoding="utf-8", newline="") as file:
                found[path.stem] = [(int(step), float(value)) for step, value in itertools.islice(csv.reader(file), 1, None)]
        return found

    @property
    def figures(self) -> dict:
        """The figures by their files' names; a notebook shows them."""
        from dlbooks.notebook import Figure

        path = self.out / "figures" / "captions.json"
        captions = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return {name: Figure(path.parent / name, caption) for name, caption in captions.items()}

    def __repr__(self) -> str:
        headline = self.chapter.headline
        result = f"{headline} {self.metrics[headline]:.6g}" if self.metrics else "not trained"
        return f"<Run {self.id} · {' · '.join(filter(None, (self.profile, self.variant, result)))}>"

    def _repr_html_(self) -> str:
        from dlbooks import notebook

        return notebook.of_run(self)

    # ── results ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def figure(self, name: str, figure, caption: str) -> None:
        """Saves a Matplotlib figure, a PIL picture or a uint8 array as ``figures/<name>``; the caption is its text for all readers."""
        from dlbooks import figures

        path = self.out / "figures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        figures.save(figure, path)
        self.captions[name] = caption

    def gif(self, name: str, frames: list[np.ndarray], caption: str, fps: int = 10) -> None:
        """Saves uint8 frames as an animated ``figures/<name>``."""
        from dlbooks import figures

        figures.gif(frames, self.out / "figures" / name, fps)
        self.captions[name] = caption

    def table(self, name: str, rows: list[dict]) -> None:
        """Saves rows as CSV (floats with six significant digits)."""
        with open(self.out / name, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: f"{v:.6g}" if isinstance(v, float | np.floating) else v for k, v in row.items()} for row in rows)

    def json(self, name: str, value: object) -> None:
        """Saves a value as JSON."""
        (self.out / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    # ── the life of a run, driven by the flow ───────────────────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        """Empties the output folder."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True)

    def train(self, module) -> None:
        """The chapter's training: on all GPUs of this process if it is declared ``mirrored``, else on the first, or on the CPU."""
        strategy = devices.strategy() if self.chapter.mirrored else None
        with strategy.scope() if strategy else contextlib.nullcontext(), self.tracker.watched() if self.tracker else contextlib.nullcontext():
            module.train(self)

    def evaluate(self, module) -> None:
        """The chapter's evaluation; then its history, curves and metrics are written."""
        values = module.evaluate(self)
        self.write_history()
        self.write_metrics(values)

    def write_history(self) -> None:
        """``history/<series>.csv`` (step, value) and the curves of ``Chapter.curves``."""
        from dlbooks import figures

        folder = self.out / "history"
        for name, points in self.series.items():
            folder.mkdir(exist_ok=True)
            lines = [f"step,{name}", *(f"{step},{value:.6g}" for step, value in points)]
            (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for title, names in self.chapter.curves.items():
            missing = [n for n in names if n not in self.series]
            if missing:
                raise ValueError(f"{self.chapter.id}: curve {title!r} names series that were not logged: {missing}")
            plot = figures.curves({n: self.series[n] for n in names}, title)
            self.figure(
                f"curve_{re.sub('[^a-z0-9]+', '_', title.lower())}.png", plot, f"{title} at the steps of training, as logged: {', '.join(names)}"
            )

    def write_metrics(self, values: dict[str, float]) -> None:
        """Checks the declared metrics and writes ``metrics.json``."""
        declared, given = set(self.chapter.metrics), set(values)
        if declared != given:
            raise ValueError(f"{self.chapter.id}: evaluate returned {sorted(given - declared)} undeclared, misses {sorted(declared - given)}")
        for name, value in values.items():
            if not re.fullmatch("[a-z0-9_]+", name) or not np.isfinite(float(value)):
                raise ValueError(f"{self.chapter.id}: metric {name} = {value}: names are [a-z0-9_]+, values finite numbers")
        self.metrics = {
            n: int(values[n]) if isinstance(values[n], int | np.integer) else float(f"{float(values[n]):.6g}") for n in self.chapter.metrics
        }
        self.json("metrics.json", self.metrics)

    def finish(self) -> None:
        """Writes what describes the result, then drops the checkpoints."""
        self.json("run.json", {"profile": self.profile, "variant": self.variant, "parameters": self.params.model_dump(mode="json")})
        if self._records:  # what it learned from, for imputing what is missing and noticing drift
            self.json("data.json", {r.folder.name: {"version": r.path.name, **r.info} for _, r in sorted(self._records.items())})
        if self.chapter.picture and self.chapter.picture not in self.captions:
            raise ValueError(f"{self.chapter.id}: the picture {self.chapter.picture!r} is no figure of this run: {', '.join(self.captions)}")
        if self.captions:
            self.json("figures/captions.json", dict(sorted(self.captions.items())))
        shutil.rmtree(self.work.parent, ignore_errors=True)


def parameters_of(found: catalog.Declared, values: dict, profile: str, variant: str = "", overrides: dict | None = None) -> params.ChapterParams:
    """Typed parameters: the profile's values in ``params.yaml``, then the variant's, then ``overrides``."""
    chapter_id, variants = found.declaration.id, found.declaration.variants
    runtime.check_profile(profile)
    if variant and variant not in variants:
        raise UserError(f"{chapter_id} has no variant {variant!r}; it has {', '.join(variants) or 'none'}")
    chosen = variants[variant].overrides if variant else {}
    merged = {**params.section(values, chapter_id, profile), **chosen, **(overrides or {})}
    return params.validate(found.params, merged, f"{chapter_id}.{profile}")


def input_hashes(chapter: catalog.Chapter, swaps: dict[str, str] | None = None) -> dict[str, str]:
    """DVC's hash of every data set and chapter that is read, from ``dvc.lock``; ``swaps`` as ``Run``'s."""
    lock = runtime.root() / "dvc.lock"
    if not lock.exists():
        return {}
    from ruamel.yaml import YAML

    stages = (YAML(typ="safe").load(lock.read_text(encoding="utf-8")) or {}).get("stages", {})
    read = [(swaps or {}).get(d, d) for d in chapter.datasets]
    names = {**{d: f"preprocess@{d}" for d in read}, **{n: n for n in chapter.needs}}
    return {name: stages[stage]["outs"][0]["md5"] for name, stage in names.items() if stage in stages}


def work_key(chapter: catalog.Chapter, parameters: params.ChapterParams, inputs: dict[str, str]) -> str:
    """Hash of code, parameters and inputs: a checkpoint of anything else is not continued."""
    digest = hashlib.sha256()
    for path in catalog.code_of(chapter.path):
        digest.update(path.read_bytes())
    digest.update(parameters.model_dump_json().encode() + repr(sorted(inputs.items())).encode())
    return digest.hexdigest()[:16]


def trained(name: str) -> Run:
    """A ``Run`` over what a stage left in ``data/runs``, with the parameters it was trained with; a lab without export needs none."""
    stage = own.stage(name)
    found = stage.found
    folder = runtime.root() / "data" / "runs" / name
    if not (folder / "run.json").exists():
        if not found.declaration.exports:
            return Run(found.declaration, found.params(), profile="mini", out=folder, swaps=stage.swaps)
        raise UserError(f"{name} has not been trained here: run `{stage.command}`")
    return standing(stage, folder)


def standing(stage: own.Stage, folder: Path) -> Run:
    """A ``Run`` over a finished run's folder, with the parameters it was trained with."""
    kept = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    parameters = params.validate(stage.found.params, kept["parameters"], stage.id)
    run = Run(stage.found.declaration, parameters, profile=kept["profile"], variant=kept["variant"], out=folder, swaps=stage.swaps)
    run.metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return run
