"""MLflow's model registry: every finished run's export is a version of the registered model ``dlbooks.<run id>`` (``dlbooks.mnist-cnn``).

Two aliases: ``challenger`` is the newest version; ``champion`` moves to it only when the chapter's headline improves under the same profile on the
same data. What was measured on anything else stays a challenger until somebody says ``dlbooks promote``. The registered model keeps the champions
in their order, so that ``dlbooks rollback`` puts the one before back. MLflow cannot compare and set: registrations take turns on one machine; of two
machines that register one chapter in the same few milliseconds the later one decides.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from dlbooks import UserError, own, runtime, tracking

CHAMPION, CHALLENGER = "champion", "challenger"
PREFIX = "dlbooks."
CHAMPIONS = "dlbooks.champions"  # tag of the registered model: versions in the order in which they became champion
KEPT = 100  # champions that it remembers


def data_hash(run, inputs: dict[str, str]) -> str:
    """Hash of what the result was measured on: DVC's hashes of the ``inputs``, their statistics, and the parameters that shape the data."""
    seen = run.out / "data.json"
    values = {name: getattr(run.params, name) for name in run.chapter.data_parameters}
    described = [sorted(inputs.items()), json.loads(seen.read_text(encoding="utf-8")) if seen.exists() else {}, values]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


def comparable(one: dict[str, str], other: dict[str, str]) -> str:
    """In words why the headlines of two versions, given by their tags, cannot be compared; empty where they can."""
    for key, what in (("metric", "metric"), ("profile", "profile"), ("data", "data")):
        mine, its = one.get(f"dlbooks.{key}"), other.get(f"dlbooks.{key}")
        if mine != its or not mine:
            return f"other {what}" if key == "data" else f"{what} {mine}, not {its}"
    return ""


def value(tags: dict[str, str]) -> float | None:
    """A version's headline; None where its tag was lost or damaged."""
    try:
        return float(tags["dlbooks.value"])
    except (KeyError, ValueError):
        return None


def beats(metric, new: dict[str, str], old: dict[str, str]) -> bool:
    """Whether the new version's headline improves on the old one's, and may be compared with it."""
    mine, its = value(new), value(old)
    return not comparable(new, old) and mine is not None and its is not None and metric.improves(mine, its)


def register(store, run, model_id: str, mlflow_run: str, commit: str, inputs: dict[str, str], digest: str) -> int:
    """Makes a logged model the newest version; returns its number. The version's source is the logged model itself: nothing is copied."""
    name, headline = PREFIX + run.id, run.chapter.headline
    metric = run.chapter.metrics[headline]
    tags = {
        "dlbooks.profile": run.profile,
        "dlbooks.variant": run.variant or "default",
        "dlbooks.metric": headline,
        "dlbooks.value": repr(run.metrics[headline]),
        "dlbooks.data": data_hash(run, inputs),
        "dlbooks.commit": commit,
        "dlbooks.digest": digest,
    }
    with tracking.locked("registry"):
        model = _model(store, name) or _create(store, name, run)
        champion = _version(store, name, model.aliases.get(CHAMPION))
        made = store.create_model_version(
            name, f"models:/{model_id}", mlflow_run, tags=tags, description=tracking.note(run), await_creation_for=0, model_id=model_id
        )
        number = int(made.version)
        store.set_registered_model_alias(name, CHALLENGER, str(number))
        if champion is None or beats(metric, tags, champion.tags):
            _crown(store, model, number)
    return number


def has(store, run_id: str, digest: str) -> bool:
    """Whether some version holds the same contents (``mlflow_flavor.digest``)."""
    return bool(store.search_model_versions(f"name = '{PREFIX}{run_id}' and tags.`dlbooks.digest` = '{digest}'", max_results=1))


def _model(store, name: str):
    """A registered model; None where there is none."""
    from mlflow.exceptions import MlflowException

    try:
        return store.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _create(store, name: str, run):
    from mlflow.exceptions import MlflowException

    about = f"{run.chapter.title} ({', '.join(run.chapter.sources)}). Headline: {run.chapter.headline}."
    about += " `champion` is the best under one profile on the same data, `challenger` the newest."
    try:
        return store.create_registered_model(name, {"dlbooks.chapter": run.chapter.id}, about)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another machine was faster
            raise
        return store.get_registered_model(name)


def _version(store, name: str, number):
    """A version; None where it was deleted, or no number is given."""
    from mlflow.exceptions import MlflowException

    if number is None:
        return None
    try:
        return store.get_model_version(name, str(number))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _champions(model) -> list[int]:
    return [int(word) for word in model.tags.get(CHAMPIONS, "").split() if word.isdigit()]


def _crown(store, model, number: int, history: list[int] | None = None) -> None:
    """Puts the alias ``champion`` on a version and notes it in the history (or notes ``history`` instead)."""
    history = [*_champions(model), number] if history is None else history
    store.set_registered_model_alias(model.name, CHAMPION, str(number))
    store.set_registered_model_tag(model.name, CHAMPIONS, " ".join(map(str, history[-KEPT:])))


# ── what a person does ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def known(name: str):
    """Store and registered model of a chapter (``mnist-cnn``, ``mnist-cnn-on-my-digits``).

    Where the store has none but ``data/runs`` holds a result, that is entered first: a clone that got its results from DVC's cache has trained nothing.
    """
    stage = own.stage(name)  # an unknown chapter is named before MLflow is imported
    if not stage.found.declaration.exports:
        raise UserError(f"{name} exports no model: its result are numbers and pictures, see `dlbooks show {name}`")
    store = _store(tracking.uri())
    model = _model(store, PREFIX + name)
    here = runtime.root() / "data" / "runs" / name
    if model is None and (here / "export" / "saved_model").exists():
        if json.loads((here / "run.json").read_text(encoding="utf-8"))["profile"] == "smoke":
            raise UserError(
                f"no model of {name} is registered: results of profile smoke are not, set another in params.yaml and run `{stage.command}`"
            )
        tracking.restored(name)
        model = _model(store, PREFIX + name)
    if model is None:
        raise UserError(f"no model of {name} is registered: run `{stage.command}`")
    return store, model


@cache
def _store(_uri: str):
    """A client of the store, which is made first where it is missing, by one process alone."""
    store = tracking.client()
    with tracking.locked("mlflow"):
        store.search_registered_models(max_results=1)
    return store


def promote(name: str, number: int | None = None) -> str:
    """Makes the challenger, or the version with that number, champion; returns what happened in one line."""
    store, model = known(name)
    with tracking.locked("registry"):
        model = _model(store, model.name)
        wanted = number or model.aliases.get(CHALLENGER)
        if wanted is None:
            raise UserError(f"{name} has no challenger: name a version, `dlbooks promote {name} VERSION` (`dlbooks models {name}` lists them)")
        version, champion = _existing(store, model, wanted), _version(store, model.name, model.aliases.get(CHAMPION))
        if champion is not None and champion.version == version.version:
            return f"{name}: {_words(version)} is champion already"
        _crown(store, model, int(version.version))
    return f"{name}: champion is {_words(version)}{_instead(version, champion)}"


def rollback(name: str) -> str:
    """Puts the champion before the present one back; returns what happened in one line."""
    store, model = known(name)
    with tracking.locked("registry"):
        model = _model(store, model.name)
        champion = _version(store, model.name, model.aliases.get(CHAMPION))
        history = _champions(model)
        while history:  # those that were deleted since are passed over
            previous = _version(store, model.name, history[-1])
            if previous is not None and (champion is None or previous.version != champion.version):
                _crown(store, model, history[-1], history)
                return f"{name}: champion is {_words(previous)} again{_instead(previous, champion)}"
            history.pop()
    raise UserError(f"{name} has no earlier champion: choose a version with `dlbooks promote {name} VERSION`")


def _existing(store, model, number):
    version = _version(store, model.name, number)
    if version is None:
        present = ", ".join(str(v.version) for v in _versions(store, model.name))
        raise UserError(f"{model.name.removeprefix(PREFIX)} has no version {number}: it has {present or 'none'}")
    return version


def _versions(store, name: str) -> list:
    """All versions of a registered model, the newest first."""
    found, token = [], None
    while token or not found:
        page = store.search_model_versions(f"name = '{name}'", max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            break
    return sorted(found, key=lambda v: -int(v.version))


def _words(version) -> str:
    number = value(version.tags)
    return f"version {version.version} ({version.tags.get('dlbooks.metric', 'headline')} {'unknown' if number is None else f'{number:.6g}'})"


def _instead(version, champion) -> str:
    """What it replaces, and whether the two numbers say which is better."""
    if champion is None:
        return ""
    why = comparable(version.tags, champion.tags)
    return f", was {_words(champion)}" + (f"; their numbers cannot be compared: {why}" if why else "")


def rows(name: str = "") -> list[dict]:
    """Versions of one chapter, or of all that are registered, the newest first: what `dlbooks models` prints."""
    if name:
        store, model = known(name)
        models = [model]
    else:
        store, models, token = _store(tracking.uri()), [], None
        while token or not models:
            page = store.search_registered_models(f"name LIKE '{PREFIX}%'", max_results=1000, order_by=["name"], page_token=token)
            models += page
            token = page.token
            if not token:
                break
    found = []
    for model in models:
        for version in _versions(store, model.name):
            tags = version.tags
            row = {"chapter": model.name.removeprefix(PREFIX), "version": int(version.version)}
            row["aliases"] = sorted(alias for alias, number in model.aliases.items() if int(number) == row["version"])
            row |= {"headline": tags.get("dlbooks.metric"), "value": value(tags), "metrics": _metrics(store, version) if name else {}}
            row |= {key: tags.get(f"dlbooks.{key}") for key in ("profile", "variant", "data", "commit")}
            row["date"] = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            row["run"] = version.run_id
            found.append(row)
    return found


def _metrics(store, version) -> dict[str, float]:
    """The chapter's metrics of a version, as its run logged them; none where the run was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        logged = store.get_run(version.run_id).data.metrics if version.run_id else {}
    except MlflowException:
        return {}
    return {name: number for name, number in logged.items() if "." not in name and "/" not in name}


def print_models(name: str, as_json: bool) -> None:
    """`dlbooks models`."""
    found = rows(name)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    if not found:
        print("no model is registered: `make repro`, or `dlbooks run CHAPTER`")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("chapter", "version", "alias", "headline", "profile", "variant", "data", "date", *(["other metrics"] if name else [])):
        table.add_column(title, justify="right" if title == "version" else "left", no_wrap=title != "other metrics")
    for row in found:
        headline = f"{row['headline']} {'?' if row['value'] is None else format(row['value'], '.6g')}"
        cells = [row["profile"] or "", row["variant"] or "", (row["data"] or "")[:8], row["date"][:16]]
        others = ", ".join(f"{k} {v:.6g}" for k, v in row["metrics"].items() if k != row["headline"])
        table.add_row(row["chapter"], str(row["version"]), ", ".join(row["aliases"]), headline, *cells, *([others] if name else []))
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)


# ── what serves it ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def version(name: str, alias: str = CHAMPION) -> int | None:
    """Number of the version that the alias names; None where there is none. Milliseconds, so a server may ask every few seconds."""
    from mlflow.exceptions import MlflowException

    try:
        return int(_store(tracking.uri()).get_model_version_by_alias(PREFIX + name, alias).version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # no such model; no such alias
            return None
        raise


def run(name: str, alias: str = CHAMPION, version: int | None = None):
    """A ``Run`` over the version that the alias names, or over that one: ``run.model``, ``run.metrics``, ``run.exported(…)``; ``run.version`` is its number.

    Where the store's files lie on this machine it stands over them, else over a copy below ``.dlbooks/models``.
    """
    from dlbooks.run import standing

    store, model = known(name)
    number = version or model.aliases.get(alias)
    if number is None:
        remedy = f"dlbooks promote {name} VERSION" if alias == CHAMPION else f"dlbooks models {name}"
        raise UserError(f"{name} has no {alias}: `{remedy}`, it has the versions {', '.join(str(v.version) for v in _versions(store, model.name))}")
    found = _existing(store, model, number)
    folder = place(store, found) / "data"
    if not (folder / "run.json").exists():
        raise UserError(
            f"version {number} of {model.name} is no run of this project, or its files are gone: `dlbooks promote {name} VERSION` another"
        )
    result = standing(own.stage(name), folder)
    result.version = int(found.version)
    return result


def place(store, version) -> Path:
    """Folder of a version's files on this machine, fetched once where the store keeps them elsewhere."""
    uri = store.get_model_version_download_uri(version.name, version.version)
    parts = urllib.parse.urlparse(uri)
    if parts.scheme in ("", "file") and (here := Path(urllib.request.url2pathname(parts.path))).exists():
        return here
    # Another store may have a version of the same number: the digest of its contents tells them apart.
    label = f"{version.version}-{version.tags.get('dlbooks.digest', version.source.rpartition('/')[2])[:12]}"
    target = runtime.state() / "models" / version.name.removeprefix(PREFIX) / label
    if not target.exists():
        _fetch(uri, target)
    return target


def _fetch(uri: str, target: Path) -> None:
    """Downloads beside ``target`` and renames: a folder that exists is whole."""
    import mlflow.artifacts

    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        got = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(part / "model"), tracking_uri=tracking.uri()))
        os.replace(got, target)
    except OSError:
        if not target.exists():  # else another process was faster
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
