"""``data/results.json``: the best and the newest measured result of every chapter per profile, committed with the code.

Shape: ``{chapter: {profile: {"best": entry, "newest": entry, "variants": {variant: entry}}}}``. Only ``dlbooks record`` writes it, from finished
MLflow runs whose code was committed; runs on a person's own data stay out.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from dlbooks import catalog, runtime


def path():
    return runtime.root() / "data" / "results.json"


def read() -> dict:
    """The ledger, empty where the file is missing."""
    return json.loads(path().read_text(encoding="utf-8")) if path().exists() else {}


def best(known: dict, chapter_id: str) -> dict[str, float]:
    """Metrics of a chapter's best run on the book's data, empty where there is none."""
    return known.get(chapter_id, {}).get("book", {}).get("best", {}).get("metrics", {})


def here(chapter_id: str) -> dict[str, float]:
    """Metrics of the run that this checkout holds in ``data/runs``, empty where there is none."""
    file = runtime.root() / "data" / "runs" / chapter_id / "metrics.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def record(names: list[str], dirty: bool = False) -> list[str]:
    """Enters finished runs of ``names`` (all chapters if empty); returns a line per change. Runs of uncommitted code are left out."""
    from dlbooks import tracking

    store = tracking.client()
    known, lines = read(), []
    experiments = [e.experiment_id for e in store.search_experiments(filter_string="tags.dlbooks = 'yes'")]
    wanted = [catalog.chapter(n).declaration for n in names] or list(catalog.chapters().values())
    for chapter in wanted:
        query = f"attributes.status = 'FINISHED' and tags.`dlbooks.chapter` = '{chapter.id}'"
        runs = store.search_runs(experiments, query, order_by=["attributes.end_time ASC"], max_results=1000) if experiments else []
        for run in runs:
            tags = run.data.tags
            if (
                tags["dlbooks.profile"] == "smoke"
                or {"dlbooks.restored", "dlbooks.data"} & tags.keys()
                or (tags.get("dlbooks.dirty") != "no" and not dirty)
            ):
                continue
            entry = entry_of(chapter, run)
            profile = known.setdefault(chapter.id, {}).setdefault(tags["dlbooks.profile"], {})
            lines += enter(profile, entry, chapter, tags["dlbooks.profile"])
    if lines:
        ordered = {c: dict(sorted(known[c].items())) for c in sorted(known)}
        path().write_text(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return lines


def entry_of(chapter: catalog.Chapter, run) -> dict:
    """What the ledger keeps of an MLflow run."""
    tags, metrics = run.data.tags, run.data.metrics
    return {
        "metrics": {n: float(f"{metrics[n]:.6g}") for n in chapter.metrics if n in metrics},
        "seconds": {k.removeprefix("seconds."): round(v, 2) for k, v in sorted(metrics.items()) if k.startswith("seconds.")},
        "variant": tags["dlbooks.variant"],
        "seed": int(run.data.params["seed"]),
        "commit": tags.get("mlflow.source.git.commit", ""),
        "data": {k.removeprefix("dlbooks.input."): v for k, v in sorted(tags.items()) if k.startswith("dlbooks.input.")},
        "lock": tags.get("dlbooks.lock", ""),
        "hardware": tags["dlbooks.hardware"],
        "versions": tags.get("dlbooks.versions", ""),
        "finished": datetime.fromtimestamp(run.info.end_time / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    }


def enter(profile: dict, entry: dict, chapter: catalog.Chapter, name: str) -> list[str]:
    """Puts an entry where it belongs; ``best`` and a variant's place move only when the headline improves."""
    headline = chapter.headline
    value, lines = entry["metrics"].get(headline), []
    if value is None:
        return []
    newest = profile.get("newest")
    if newest is None or entry["finished"] > newest["finished"]:
        profile["newest"] = entry
        lines.append(f"{chapter.id} {name} newest ({entry['variant']}): {headline} {value:.6g}")
    better = chapter.metrics[headline].improves
    if "best" not in profile or better(value, profile["best"]["metrics"][headline]):
        profile["best"] = entry
        lines.append(f"{chapter.id} {name} best ({entry['variant']}): {headline} {value:.6g}")
    if entry["variant"] != "default":
        places = profile.setdefault("variants", {})
        held = places.get(entry["variant"])
        if held is None or better(value, held["metrics"][headline]):
            places[entry["variant"]] = entry
    return lines
