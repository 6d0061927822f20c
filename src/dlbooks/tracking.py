"""MLflow, in one place: where the store is, what a run carries, how a run that died is marked.

The default store is an SQLite file and a folder below ``.dlbooks/mlflow``; ``MLFLOW_TRACKING_URI`` names another. Every run stands in the
experiment ``<profile>/<family>``, so that runs of one experiment can be compared.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import socket
import sqlite3
import time
from pathlib import Path

from dlbooks import UserError, catalog, devices, runtime

FLUSH_SECONDS = 5.0
VIEW = "mlflow.sharedViewState.results"  # tag of an experiment
SAMPLE_SECONDS = 10.0  # between two looks at utilization and memory; MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL names another


def folder() -> Path:
    path = runtime.state() / "mlflow"
    path.mkdir(exist_ok=True)
    return path


def uri() -> str:
    """The tracking URI, absolute: the user's or the local default."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder() / 'mlflow.db'}"


def artifacts() -> Path:
    """Folder of the files of a store that is no server: beside its database."""
    return (Path(uri().removeprefix("sqlite:///")).absolute().parent if uri().startswith("sqlite:///") else folder()) / "artifacts"


@contextlib.contextmanager
def locked(name: str):
    """One process of this checkout at a time."""
    with open(runtime.state() / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def client():
    """A client of the store; an unreachable server is one line."""
    from mlflow import MlflowClient

    if uri().startswith("http"):
        host = uri().split("://", 1)[1].split("/")[0]
        name, _, port = host.rpartition("@")[2].partition(":")
        try:
            socket.create_connection((name, int(port or (443 if uri().startswith("https") else 80))), timeout=5).close()
        except (OSError, ValueError) as error:
            raise UserError(f"MLflow server {uri()} does not answer ({error}): start it, or unset MLFLOW_TRACKING_URI for the local store") from None
    return MlflowClient(tracking_uri=uri())


def experiment(store, profile: str, family: str) -> str:
    """Id of the experiment ``<profile>/<family>``, made where it is missing. One process at a time opens a fresh store."""
    from mlflow.exceptions import MlflowException

    name = f"{profile}/{family}"
    with locked("mlflow"):
        found = store.get_experiment_by_name(name)
        if found:
            return found.experiment_id
        place = None if uri().startswith("http") else f"file://{artifacts() / profile / family}"
        tags = {"mlflow.experimentKind": "custom_model_development", VIEW: view(profile, family), "dlbooks": "yes"}
        try:
            made = store.create_experiment(name, artifact_location=place, tags=tags)
        except MlflowException as error:
            raise UserError(f"MLflow store {uri()} refuses experiment {name}: {str(error).splitlines()[0]}") from None
        results = f"#/experiments/{made}/runs?viewStateShareKey={VIEW.rpartition('.')[2]}"
        about = f"Chapters of the family {family}, profile {profile}, a run each: **[headlines, recipes and seconds]({results})**."
        store.set_experiment_tag(made, "mlflow.note.content", about)
        return made


def view(profile: str, family: str) -> str:
    """The columns of an experiment in MLflow's UI, as a view that its description links: the UI itself begins without any metric."""
    chapters = [c for c in catalog.chapters().values() if c.family == family]
    names = list(dict.fromkeys(c.headline for c in chapters))
    said = [f"reported.{c.headline}" for c in chapters if profile == "book" and c.metrics[c.headline].reported is not None]
    columns = [f"metrics.`{n}`" for n in dict.fromkeys([*names, *said, "seconds.train"])]
    columns += ["tags.`dlbooks.variant`", "tags.`dlbooks.sources`", "tags.`dlbooks.device`"]
    state = {"searchFilter": "", "orderByKey": "attributes.start_time", "orderByAsc": False, "startTime": "ALL", "lifecycleFilter": "Active"}
    state |= {"modelVersionFilter": "All Runs", "datasetsFilter": [], "selectedColumns": columns, "runListHidden": False}
    return json.dumps(state)


def prepare(profile: str) -> None:
    """Makes the store and all experiments before any worker starts: of four processes that create one file, three would fail."""
    store = client()
    for family in sorted({c.family for c in catalog.chapters().values()}):
        experiment(store, profile, family)


def reap(store) -> int:
    """Marks runs that stand as running although their process on this machine is gone; returns how many."""
    found = store.search_experiments(filter_string="tags.dlbooks = 'yes'")
    if not found:
        return 0
    alive = 0
    stale = store.search_runs([e.experiment_id for e in found], "attributes.status = 'RUNNING'")
    for run in stale:
        tags = run.data.tags
        if tags.get("dlbooks.host") != socket.gethostname() or _alive(tags.get("dlbooks.process", "")):
            alive += 1
            continue
        store.set_tag(run.info.run_id, "dlbooks.killed", "its process was gone when the next run started")
        store.set_terminated(run.info.run_id, "KILLED")
    return len(stale) - alive


def reap_here() -> int:
    """``reap`` for the local store, without importing MLflow where no run stands as running."""
    file = folder() / "mlflow.db"
    if uri() != f"sqlite:///{file}" or not file.exists():
        return 0
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as store:
        if store.execute("select count(*) from runs where status = 'RUNNING'").fetchone()[0]:
            return reap(client())
    return 0


def process_mark(pid: int | None = None) -> str:
    """``pid:start time``, which no later process repeats."""
    pid = pid or os.getpid()
    try:
        return f"{pid}:{Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    except OSError:
        return f"{pid}:0"


def _alive(mark: str) -> bool:
    pid = mark.partition(":")[0]
    return pid.isdigit() and process_mark(int(pid)) == mark and not mark.endswith(":0")


class Tracker:
    """The MLflow run of one chapter run. ``Run`` calls it; a chapter never does."""

    def __init__(self, run, tags: dict[str, str], inputs: dict[str, str]):
        from mlflow.entities import RunTag

        self.run, self.store = run, client()
        self.sent: dict[str, int] = {}
        self.flushed = time.monotonic()
        reap(self.store)
        devices.confine(run.profile)  # before the first look at the hardware
        chapter, parent = run.chapter, os.environ.get("DLBOOKS_PARENT_RUN")
        name = run.id if run.variant is None else f"{run.id} · {run.variant}"
        self.inputs, self.commit = inputs, tags.get("mlflow.source.git.commit", "")
        tags = {
            "mlflow.runName": name,
            "mlflow.source.name": str(chapter.path.relative_to(runtime.root())),
            "mlflow.source.type": "LOCAL",
            "mlflow.user": os.environ.get("USER", "dlbooks"),
            "dlbooks.chapter": chapter.id,
            "dlbooks.profile": run.profile,
            "dlbooks.variant": run.variant or "default",
            "dlbooks.sources": ", ".join(chapter.sources),
            "dlbooks.headline": chapter.headline,
            "dlbooks.hardware": runtime.hardware(),
            "dlbooks.host": socket.gethostname(),
            "dlbooks.process": process_mark(),
            **own_data(run),
            **tags,
            **({"mlflow.parentRunId": parent} if parent else {}),
        }
        created = self.store.create_run(experiment(self.store, run.profile, chapter.family), run_name=name)
        self.id = created.info.run_id
        self.experiment_id = created.info.experiment_id
        self.store.log_batch(self.id, params=parameters(run), tags=[RunTag(k, str(v)) for k, v in tags.items()])
        self._inputs(inputs)

    def _inputs(self, inputs: dict[str, str]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        found = []
        for name, digest in inputs.items():
            kind = "runs" if name in self.run.chapter.needs else "tfrecords"
            source = json.dumps({"uri": f"data/{kind}/{name}"})
            found.append(DatasetInput(Dataset(name, digest[:36], "local", source), [InputTag("mlflow.data.context", "training")]))
        if found:
            self.store.log_inputs(self.id, datasets=found)

    def flush(self, force: bool = False) -> None:
        """Sends the series' new points, at most every five seconds: 300 single calls cost five seconds, one batch a tenth of one."""
        if not force and time.monotonic() - self.flushed < FLUSH_SECONDS:
            return
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = []
        for name, series in self.run.series.items():
            points += [Metric(name, value, now, step) for step, value in series[self.sent.get(name, 0) :]]
            self.sent[name] = len(series)
        self._send(self.id, points)
        self.flushed = time.monotonic()

    def _send(self, run_id: str, points: list) -> None:
        """A batch holds a thousand points at most."""
        for start in range(0, len(points), 1000):
            self.store.log_batch(run_id, metrics=points[start : start + 1000])

    @contextlib.contextmanager
    def watched(self):
        """Goes around training: the tag ``dlbooks.device`` says what it computed on. In profile ``book`` MLflow's system metrics
        (``system/gpu_0_utilization_percentage`` …) are logged meanwhile; the tag ``dlbooks.system_metrics`` says which.
        """
        monitor = self._monitor() if self.run.profile == "book" else None
        if monitor:
            monitor.start()
        try:
            yield
        finally:
            if monitor:
                monitor.finish()
            self.store.set_tag(self.id, "dlbooks.device", devices.words())

    def _monitor(self):
        """MLflow's monitor of this process's GPUs, CPU, memory, disk and network, not yet started; None, and a tag that says so, without ``psutil``."""
        try:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
        except ImportError as error:
            self.store.set_tag(self.id, "dlbooks.system_metrics", f"none: {error.name} is not installed")
            return None
        logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)  # it announces its start and its end
        monitor = SystemMetricsMonitor(self.id, sampling_interval=SAMPLE_SECONDS, tracking_uri=uri())
        said, gpus = ["CPU", "memory", "disk", "network"], devices.visible()
        for part in monitor.monitors:
            if hasattr(part, "gpu_handles"):  # those of all GPUs of the machine
                part.gpu_handles = [handle for i, handle in enumerate(part.gpu_handles) if devices.own(i)]
                said = [*(["GPU"] if part.gpu_handles else []), *said]
        if gpus and said[0] != "GPU":
            said.append("not GPU: install nvidia-ml-py")
        self.store.set_tag(self.id, "dlbooks.system_metrics", ", ".join(said))
        return monitor

    def result(self) -> None:
        """Final metrics, the book's beside them, figures, files and the exported model."""
        from mlflow.entities import Metric

        self.flush(force=True)
        run, now = self.run, int(time.time() * 1000)
        values = dict(run.metrics)
        for name, number in ({} if run.swaps else reported(run.chapter, run.variant)).items():
            values[f"reported.{name}"] = number
        values |= {f"seconds.{k}": v for k, v in run.seconds.items()}
        self.store.log_batch(self.id, metrics=[Metric(k, float(v), now, 0) for k, v in values.items()])
        self.store.set_tag(self.id, "mlflow.note.content", note(run, self.id))
        for name, child in run.children.items():
            self._child(name, **child)
        for entry in sorted(run.out.iterdir()):
            if entry.name == "figures":
                self.store.log_artifacts(self.id, str(entry), "figures")
            elif entry.is_file() and entry.suffix in (".json", ".csv"):
                self.store.log_artifact(self.id, str(entry))

    def _child(self, name: str, parameters: dict, metrics: dict, series: dict) -> None:
        """A finished run below this one, for ``Run.child``."""
        from mlflow.entities import Metric, Param, RunTag

        label, now = f"{self.run.id} · {name}", int(time.time() * 1000)
        made = self.store.create_run(self.experiment_id, run_name=label)
        tags = {"mlflow.parentRunId": self.id, "dlbooks.child": name, "dlbooks.profile": self.run.profile}
        points = [Metric(k, float(v), now, step) for k, line in ({k: [(0, v)] for k, v in metrics.items()} | series).items() for step, v in line]
        self.store.log_batch(made.info.run_id, params=[Param(k, str(v)) for k, v in parameters.items()], tags=[RunTag(k, v) for k, v in tags.items()])
        self._send(made.info.run_id, points)
        self.store.set_terminated(made.info.run_id)

    def model(self) -> None:
        """The export as an MLflow model, and as the newest version of the registered model; a few steps of ``smoke`` are no candidate."""
        log_model(self.store, self.run, self.id, self.experiment_id, self.commit, self.inputs)

    def end(self, status: str, reason: str = "") -> None:
        """``FINISHED``, ``FAILED`` or ``KILLED``, with the reason as a tag."""
        if reason:
            self.store.set_tag(self.id, "dlbooks.reason", reason[:500])
        self.store.set_terminated(self.id, status)


@contextlib.contextmanager
def parent(chapter: catalog.Chapter, profile: str, variants: list[str]):
    """A run that holds one child run per variant; yields its id."""
    from mlflow.entities import RunTag

    store = client()
    made = store.create_run(experiment(store, profile, chapter.family), run_name=f"{chapter.id} · variants")
    tags = {"dlbooks.profile": profile, "dlbooks.host": socket.gethostname(), "dlbooks.process": process_mark()}
    tags["mlflow.note.content"] = f"{chapter.title}: {', '.join(variants)} side by side, a child run each"
    store.log_batch(made.info.run_id, tags=[RunTag(k, v) for k, v in tags.items()])
    try:
        yield made.info.run_id
    except BaseException:
        store.set_terminated(made.info.run_id, "KILLED")
        raise
    store.set_terminated(made.info.run_id)


def restored(name: str) -> None:
    """A light run for a chapter that DVC brought back from its cache: metrics and parameters, and a tag that says so.

    Its model is logged and registered where the store has no version of the same contents: a clone serves what it did not train.
    """
    from mlflow.entities import Metric, RunTag

    from dlbooks import mlflow_flavor, registry
    from dlbooks.run import input_hashes, trained

    run, store, now = trained(name), client(), int(time.time() * 1000)
    label, inputs = f"{name} · from cache", input_hashes(run.chapter, run.swaps)
    made = store.create_run(experiment(store, run.profile, run.chapter.family), run_name=label)
    commit, _ = runtime.commit()
    tags = {
        "dlbooks.chapter": run.chapter.id,
        "dlbooks.profile": run.profile,
        "dlbooks.restored": "yes",
        "mlflow.source.git.commit": commit,
        **own_data(run),
        **{f"dlbooks.input.{k}": v for k, v in inputs.items()},
        "mlflow.note.content": note(run),
    }
    store.log_batch(
        made.info.run_id,
        metrics=[Metric(k, float(v), now, 0) for k, v in run.metrics.items()],
        params=parameters(run),
        tags=[RunTag(k, v) for k, v in tags.items()],
    )
    if (run.out / "export" / "saved_model").exists() and not registry.has(store, run.id, mlflow_flavor.digest(run.out)):
        log_model(store, run, made.info.run_id, made.info.experiment_id, commit, inputs)
    store.set_terminated(made.info.run_id)


def log_model(store, run, run_id: str, experiment_id: str, commit: str, inputs: dict[str, str]) -> None:
    """The export of ``run`` as an MLflow model of the MLflow run ``run_id``: flavors, signature and input example; then as a registered version."""
    if not (run.out / "export" / "saved_model").exists():
        return
    runtime.load_tensorflow()  # MLflow's flavor imports it with its greeting
    import mlflow.models

    from dlbooks import mlflow_flavor, registry

    mlflow.set_tracking_uri(uri())
    mlflow.set_experiment(experiment_id=experiment_id)  # where MLflow puts the model, whatever the run says
    logged = mlflow.models.Model.log(
        artifact_path=None,
        name=run.id,
        flavor=mlflow_flavor,
        run_id=run_id,
        out=run.out,
        validate_serving_input=False,  # the tests do that; here it would load the model a second time, for half a second
    )
    if run.profile != "smoke":
        registry.register(store, run, logged.model_id, run_id, commit, inputs, mlflow_flavor.digest(run.out))


def parameters(run) -> list:
    """A run's parameters as MLflow keeps them; lists and dictionaries as JSON."""
    from mlflow.entities import Param

    return [Param(k, json.dumps(v) if isinstance(v, list | dict) else str(v)) for k, v in run.params.model_dump(mode="json").items()]


def own_data(run) -> dict[str, str]:
    """The tag of a run on a person's own data, which keeps it out of the ledger."""
    return {"dlbooks.data": ", ".join(f"{replaced}={name}" for replaced, name in run.swaps.items())} if run.swaps else {}


def reported(chapter: catalog.Chapter, variant: str | None) -> dict[str, float]:
    """The book's numbers for a variant, or for the default recipe those of the chapter's metrics."""
    if variant and chapter.variants[variant].reported:
        return dict(chapter.variants[variant].reported)
    return {n: m.reported for n, m in chapter.metrics.items() if m.reported is not None}


def note(run, run_id: str = "") -> str:
    """The note of an MLflow run in the UI: headline, the book's number, places, and the picture that it logged."""
    chapter = run.chapter
    said = None if run.swaps else reported(chapter, run.variant).get(chapter.headline)
    task = "" if run.profile == "book" else " (synthetic twin: not the book's task)"
    if run.swaps:
        task = f" on {', '.join(run.swaps.values())}, data of one's own: not the book's task"
    lines = [f"## {chapter.title}", f"**{chapter.headline} {run.metrics[chapter.headline]:.6g}**{task}"]
    if said is not None:
        lines.append(f"The book reports {said:g} on the real data.")
    lines.append("Places: " + ", ".join(chapter.sources))
    if run_id and (run.out / "figures" / chapter.picture).is_file():
        lines.append(f"![{chapter.picture}](get-artifact?path=figures/{chapter.picture}&run_uuid={run_id})")
    return "\n\n".join(lines)


def lock_hash() -> str:
    """SHA-256 of ``requirements.lock``, shortened."""
    return hashlib.sha256((runtime.root() / "requirements.lock").read_bytes()).hexdigest()[:16]


def provenance() -> dict[str, str]:
    """Git commit, whether code or parameters differ from it, hash of the lock file, versions."""
    import keras
    import tensorflow as tf

    commit, dirty = runtime.commit()
    return {
        "mlflow.source.git.commit": commit,
        "dlbooks.dirty": "yes" if dirty else "no",
        "dlbooks.lock": lock_hash(),
        "dlbooks.versions": f"tensorflow {tf.__version__}, keras {keras.__version__}",
    }
