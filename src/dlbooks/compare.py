"""``dlbooks compare``: runs side by side. What differs in their parameters, which metric is best, curves overlaid, pictures next to each other.

A *side* is one finished run, whether MLflow tracks it or only ``data/runs`` holds it. Numbers are compared, and the best marked, only where
headline, profile and data are the same; where they are not, one line says so.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from dlbooks import UserError, catalog, figures, images, own, params, runtime

PANELS = 12  # series in the picture of the curves; the page and the JSON have all
BLOCKS = "▁▂▃▄▅▆▇█"


@dataclass
class Side:
    """One run as it is compared. ``data`` maps data sets and needed chapters to DVC's hashes, ``reported`` metrics to the book's numbers of the
    same task (empty for any other), ``series`` names to (step, value) points, ``pictures`` is the folder of the figures."""

    name: str
    chapter: catalog.Chapter
    run: str = ""
    profile: str = ""
    variant: str = "default"
    own_data: str = ""
    status: str = "FINISHED"
    finished: str = ""
    commit: str = ""
    dirty: bool = False
    device: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    reported: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    series: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    pictures: Path | None = None
    same: int = 1  # runs with the same parameters, inputs and results, of which this is the newest
    label: str = ""  # what tells it from the others


# ── finding runs ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def sides(words: list[str], profile: str = "", last: int = 5) -> list[Side]:
    """The runs that ``words`` name: chapters, MLflow run ids or their beginnings, ``CHAPTER@ALIAS`` or ``CHAPTER@VERSION``.

    A chapter among several arguments is its newest finished run, of ``profile`` if that is given; a chapter alone its ``last`` different ones.
    """
    from dlbooks import tracking

    if profile:
        runtime.check_profile(profile)
    stages = {word: _stage(word) for word in words}  # a wrong word is refused before MLflow is imported
    store = tracking.client()
    experiments = [e.experiment_id for e in store.search_experiments(filter_string="tags.dlbooks = 'yes'")]
    found = []
    for word, stage in stages.items():
        if stage is None:
            runs = _by_id(store, experiments, word)
        elif "@" in word:
            runs = [_registered(store, *word.split("@", 1))]
        else:
            runs = _of_chapter(store, experiments, stage, profile, last if len(words) == 1 else 1)
        made = [_from_mlflow(store, run) for run in runs]
        if not made:
            made = [from_folder(stage, runtime.root() / "data" / "runs" / stage.id)]
            if profile and made[0].profile != profile:
                raise UserError(f"{word} has no finished run of profile {profile}: `dlbooks run {word} --profile {profile}`")
        found += [side for side in made if not side.run or side.run not in [s.run for s in found]]  # a run named twice stands once
    _name(found)
    return found


def _stage(word: str) -> own.Stage | None:
    """The chapter's run that a word names; None for what looks like the beginning of a run id."""
    name = word.partition("@")[0]
    if name in own.stages():
        return own.stages()[name]
    if re.fullmatch("[0-9a-f]{4,32}", word):
        return None
    try:
        return own.Stage(catalog.chapter(name))
    except UserError as error:
        raise UserError(f"{error}; a run is named by the first letters of its MLflow id, four at least") from None


def _by_id(store, experiments: list[str], word: str) -> list:
    """The run whose id begins so; for one that holds variants, these."""
    runs = store.search_runs(experiments, f"attributes.run_id LIKE '{word}%'", max_results=20) if experiments else []
    if not runs:
        raise UserError(f"no run {word!r} in {_store_name()}: `dlbooks compare CHAPTER` shows a chapter's runs with their ids")
    if len(runs) > 1:
        listed = ", ".join(f"{r.info.run_id[:8]} ({r.info.run_name}, {_when(r)})" for r in runs[:8])
        raise UserError(f"{word!r} begins the ids of {len(runs)} runs: {listed}{' …' if len(runs) > 8 else ''}; give more letters")
    run = runs[0]
    if run.info.status in ("RUNNING", "SCHEDULED"):
        raise UserError(f"run {run.info.run_id[:8]} ({run.info.run_name}) is still running: compare it when it has ended")
    if "dlbooks.chapter" not in run.data.tags and "mlflow.parentRunId" not in run.data.tags:  # of several variants
        children = store.search_runs(experiments, f"tags.`mlflow.parentRunId` = '{run.info.run_id}' and attributes.status = 'FINISHED'")
        if not children:
            raise UserError(f"run {run.info.run_id[:8]} ({run.info.run_name}) is no chapter's run and holds none that has finished")
        return children[::-1]
    return [run]


def _store_name() -> str:
    from dlbooks import tracking

    return f"the MLflow store {tracking.uri()}" if tracking.uri().startswith("http") else "this checkout's MLflow store"


def _registered(store, name: str, which: str):
    """The MLflow run of a registered version."""
    from mlflow.exceptions import MlflowException

    from dlbooks import registry

    rows = registry.rows(name)
    for row in rows:
        if which in row["aliases"] or which == str(row["version"]):
            try:
                return store.get_run(row["run"] or "none")
            except MlflowException:
                raise UserError(f"{name} version {row['version']} is registered, but its run is not in {_store_name()}") from None
    known = [*sorted({alias for row in rows for alias in row["aliases"]}), *(str(row["version"]) for row in rows)]
    raise UserError(f"{name} has no registered version {which!r}: it has {', '.join(known) or 'none'}")


def _of_chapter(store, experiments: list[str], stage: own.Stage, profile: str, count: int) -> list:
    """The newest finished runs of a chapter that differ in parameters, inputs or results; those that came out of a cache do not count."""
    query = f"attributes.status = 'FINISHED' and tags.`dlbooks.chapter` = '{stage.found.declaration.id}'"
    query += f" and tags.`dlbooks.profile` = '{profile}'" if profile else ""
    listed = store.search_runs(experiments, query, order_by=["attributes.end_time DESC"], max_results=1000) if experiments else []
    data = ", ".join(f"{replaced}={name}" for replaced, name in stage.swaps.items())
    different: dict[str, list] = {}
    for run in listed:
        tags, metrics = run.data.tags, run.data.metrics
        if "dlbooks.restored" in tags or tags.get("dlbooks.data", "") != data:
            continue
        read = {k: v for k, v in tags.items() if k.startswith("dlbooks.input.")}
        values = [metrics.get(name) for name in stage.found.declaration.metrics]
        key = json.dumps([tags.get("dlbooks.profile"), tags.get("dlbooks.variant"), dict(run.data.params), read, values], sort_keys=True)
        different.setdefault(key, []).append(run)
    chosen = list(different.values())[:count][::-1]  # the newest stands last
    for same in chosen:
        same[0].data.tags["dlbooks.same"] = str(len(same))
    return [same[0] for same in chosen]


def _when(run) -> str:
    return datetime.fromtimestamp(run.info.end_time / 1000, UTC).strftime("%Y-%m-%d %H:%M") if run.info.end_time else ""


def _from_mlflow(store, run) -> Side:
    tags, values = run.data.tags, run.data.metrics
    parent = store.get_run(tags["mlflow.parentRunId"]).data.tags if "dlbooks.chapter" not in tags and "mlflow.parentRunId" in tags else {}
    chapter_id = tags.get("dlbooks.chapter") or parent.get("dlbooks.chapter", "")
    if not chapter_id:
        raise UserError(f"run {run.info.run_id[:8]} ({run.info.run_name}) is no run of a chapter")
    chapter = catalog.chapter(chapter_id).declaration
    about = {**parent, **tags}
    variant, profile = about.get("dlbooks.variant", "default"), about.get("dlbooks.profile", "")
    final = {*chapter.metrics, *(k for k in values if k.startswith(("reported.", "seconds.", "system/")))}
    return Side(
        name=run.info.run_name or chapter_id,
        chapter=chapter,
        run=run.info.run_id,
        profile=profile,
        variant=variant,
        own_data=about.get("dlbooks.data", ""),
        status=run.info.status,
        finished=_when(run),
        commit=about.get("mlflow.source.git.commit", ""),
        dirty=about.get("dlbooks.dirty") == "yes",
        device=about.get("dlbooks.device") or about.get("dlbooks.hardware", ""),
        parameters=dict(run.data.params),
        metrics={k: values[k] for k in chapter.metrics if math.isfinite(values.get(k, math.nan))},
        reported=_reported(chapter, variant, profile, about.get("dlbooks.data", "")),
        seconds={k.removeprefix("seconds."): v for k, v in sorted(values.items()) if k.startswith("seconds.")},
        data={k.removeprefix("dlbooks.input."): v for k, v in sorted(about.items()) if k.startswith("dlbooks.input.")},
        series={k: points for k in values if k not in final and len(points := _history(store, run.info.run_id, k)) > 1},
        same=int(tags.get("dlbooks.same", 1)),
    )


def _history(store, run_id: str, name: str) -> list[tuple[int, float]]:
    return sorted((point.step, point.value) for point in store.get_metric_history(run_id, name) if math.isfinite(point.value))


def _reported(chapter: catalog.Chapter, variant: str, profile: str, data: str) -> dict[str, float]:
    """The book's numbers, where the run did the book's task: profile ``book``, its data and not a twin of them."""
    from dlbooks import tracking

    if profile != "book" or data:
        return {}
    values = params.read(runtime.root() / "params.yaml")
    if any(params.section(values, f"data.{d}", "book").get("twin") for d in chapter.datasets):
        return {}
    return tracking.reported(chapter, variant if variant in chapter.variants else None)


def from_folder(stage: own.Stage, folder: Path) -> Side:
    """A side of what a stage left in ``data/runs``: no time, commit or device stands there."""
    from dlbooks import rebuild, tracking
    from dlbooks.run import input_hashes, standing

    if not (folder / "run.json").exists():
        raise UserError(f"{stage.id} has no finished run: `{stage.command}`")
    try:
        run = standing(stage, folder)
        series = run.history
    except (ValueError, KeyError, OSError) as error:
        raise UserError(f"{folder} is damaged ({error}): `{stage.command}`") from None
    chapter, variant, spent = run.chapter, run.variant or "default", rebuild.seconds().get(rebuild.command(stage.id))
    data = tracking.own_data(run).get("dlbooks.data", "")
    return Side(
        name=stage.id,
        chapter=chapter,
        profile=run.profile,
        variant=variant,
        own_data=data,
        parameters={p.key: p.value for p in tracking.parameters(run)},
        metrics=run.metrics,
        reported=_reported(chapter, variant, run.profile, data),
        seconds={} if spent is None else {"total": spent},
        data=input_hashes(chapter, stage.swaps),
        series={name: points for name, points in series.items() if len(points) > 1},
        pictures=folder / "figures" if (folder / "figures").exists() else None,
    )


def fetch_pictures(found: list[Side]) -> None:
    """Brings the figures of MLflow's runs here; those of a store on this machine are read where they lie."""
    import mlflow.artifacts

    from dlbooks import tracking

    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    for side in found:
        if side.run and side.pictures is None:
            store = tracking.client()
            if any(a.path == "figures" for a in store.list_artifacts(side.run)):
                side.pictures = Path(mlflow.artifacts.download_artifacts(run_id=side.run, artifact_path="figures", tracking_uri=tracking.uri()))


# ── what differs ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def differing(found: list[Side]) -> list[str]:
    """Parameters whose values are not the same in all sides, in the order of the chapters' declarations."""
    names = list(dict.fromkeys(name for side in found for name in [*catalog.chapter(side.chapter.id).params.model_fields, *side.parameters]))
    return [name for name in names if len({side.parameters.get(name) for side in found}) > 1]


def _name(found: list[Side]) -> None:
    """Labels: what tells a side from the others, the run's id where nothing else does."""
    apart = [k for k in ("chapter", "profile", "variant", "own_data") if len({_plain(getattr(s, k)) for s in found}) > 1]
    within = [n for n in differing(found) if all(n in s.parameters for s in found)]
    for side in found:
        words = [_plain(getattr(side, k)) for k in apart]
        words += [f"{n}={side.parameters[n]}" for n in within[:3]]
        side.label = ", ".join(w for w in words if w) or side.name
    for side in found:
        if sum(s.label == side.label for s in found) > 1:
            side.label = f"{side.label} · {side.run[:8] or 'data/runs'}"


def _plain(value) -> str:
    return value.id if isinstance(value, catalog.Chapter) else str(value)


def note(found: list[Side]) -> str:
    """In one line why the numbers cannot be held against each other; empty where they can."""
    apart = []
    for what, values in (("headline", [s.chapter.headline for s in found]), ("profile", [s.profile for s in found])):
        if len(set(values)) > 1:
            apart.append(f"{what} ({', '.join(dict.fromkeys(values))})")
    names = dict.fromkeys(n for s in found for n in s.data)
    other = [n for n in names if len({s.data.get(n) for s in found}) > 1]
    other += [n for n in differing(found) if any(n in s.chapter.data_parameters for s in found)]
    if other or len({s.own_data for s in found}) > 1:
        apart.append(f"data ({', '.join(other or dict.fromkeys(s.own_data or 'the book’s' for s in found))})")
    return f"not the same task, so no best is marked: they differ in {', '.join(apart)}" if apart else ""


def best(found: list[Side]) -> dict[str, list[int]]:
    """For every metric the indices of the sides with the best value; empty where sides cannot be compared or all are equal."""
    if len(found) < 2 or note(found):
        return {}
    marked = {}
    for name, metric in _metrics(found).items():
        values = {i: s.metrics[name] for i, s in enumerate(found) if name in s.metrics}
        if len(set(values.values())) > 1:
            top = (max if metric.better == "higher" else min)(values.values())
            marked[name] = [i for i, v in values.items() if v == top]
    return marked


def _metrics(found: list[Side]) -> dict[str, catalog.Metric]:
    """Declared metrics of all sides, headlines first."""
    declared = {s.chapter.headline: s.chapter.metrics[s.chapter.headline] for s in found}
    for side in found:
        declared |= {n: m for n, m in side.chapter.metrics.items() if n not in declared}
    return {n: m for n, m in declared.items() if any(n in s.metrics for s in found)}


def _series(found: list[Side]) -> list[str]:
    """Names of all series: those of the chapters' curves first."""
    declared = [n for s in found for names in s.chapter.curves.values() for n in names]
    return [n for n in dict.fromkeys([*declared, *(n for s in found for n in sorted(s.series))]) if any(n in s.series for s in found)]


def table(found: list[Side]) -> list[dict]:
    """Rows ``{"group", "name", "cells", "best", "book"}``: what differs about the runs, their metrics, where they come from."""
    rows = []

    def row(group: str, name: str, cells: list[str], marked: list[int] = (), book: str = "") -> None:
        if any(cells):
            rows.append({"group": group, "name": name, "cells": cells, "best": list(marked), "book": book})

    row("run", "run", [(s.run[:8] or "data/runs") + (f" × {s.same}" if s.same > 1 else "") for s in found])
    row("run", "finished", [s.finished if s.status == "FINISHED" else f"{s.finished} {s.status}" for s in found])
    for key, name in (("chapter", "chapter"), ("profile", "profile"), ("variant", "variant"), ("own_data", "own data")):
        values = [_plain(getattr(s, key)) for s in found]
        if len(set(values)) > 1:
            row("run", name, values)
    for name in differing(found):
        row("parameters", name, [s.parameters.get(name, "–") for s in found])
    marked = best(found)
    for name, metric in _metrics(found).items():
        said = {s.reported[name] for s in found if name in s.reported}
        cells = [number(s.metrics.get(name)) for s in found]
        row(
            "metrics",
            f"{name} {'↑' if metric.better == 'higher' else '↓'}",
            cells,
            marked.get(name, ()),
            number(said.pop()) if len(said) == 1 else "",
        )
        if said:
            row("metrics", "  the book", [number(s.reported.get(name)) for s in found])
    for name in dict.fromkeys(n for s in found for n in s.seconds):
        row("seconds", name, [f"{s.seconds[name]:.1f}" if name in s.seconds else "" for s in found])
    row("origin", "commit", [s.commit[:8] + ("+" if s.dirty else "") for s in found])
    for name in dict.fromkeys(n for s in found for n in s.data):
        row("origin", f"data {name}", [s.data.get(name, "–")[:8] for s in found])
    row("origin", "device", [s.device for s in found])
    return rows


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def as_dict(found: list[Side]) -> dict:
    """Everything, for scripts."""
    runs = []
    for side in found:
        entry = {k: v for k, v in vars(side).items() if k not in ("chapter", "pictures")}
        names = sorted(p.name for p in side.pictures.glob("*.*") if p.suffix in (".png", ".gif")) if side.pictures else []
        entry |= {"chapter": side.chapter.id, "headline": side.chapter.headline, "pictures": names}
        runs.append(entry)
    winners = {name: [found[i].label for i in where] for name, where in best(found).items()}
    better = {name: metric.better for name, metric in _metrics(found).items()}
    return {"runs": runs, "differing": differing(found), "better": better, "best": winners, "note": note(found)}


# ── the terminal ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def sparkline(values: list[float], low: float, high: float, width: int = 16) -> str:
    """A curve as one line of blocks, ``low`` to ``high``; of none nothing."""
    count = min(width, len(values))
    places = [round(i * (len(values) - 1) / max(count - 1, 1)) for i in range(count)]
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((values[p] - low) * scale)] for p in places)


def logarithmic(values: list[float]) -> bool:
    """Whether a curve is better seen on a logarithmic axis."""
    return min(values) > 0 and max(values) / min(values) > 30


def show(found: list[Side], console) -> None:
    """The table on a terminal, in as many parts as its width needs."""
    from rich.markup import escape

    rows, alone = table(found), len({s.chapter.id for s in found}) == 1
    title = found[0].chapter.title if alone else f"{len(found)} runs side by side"
    common = [found[0].chapter.id] if alone else []
    common += [f"profile {found[0].profile}"] if len({s.profile for s in found}) == 1 else []
    common += [f"variant {found[0].variant}"] if len({s.variant for s in found}) == 1 and found[0].variant != "default" else []
    console.print(f"[bold]{title}[/]  [dim]{escape(', '.join(common))}[/]")
    if words := note(found):
        console.print(f"[yellow]{escape(words)}[/]")
    for name in _series(found)[:PANELS]:
        lines = [[v for _, v in s.series.get(name, [])] for s in found]
        if log := logarithmic([v for line in lines for v in line]):
            lines = [[math.log(v) for v in line] for line in lines]
        low, high = min(v for line in lines for v in line), max(v for line in lines for v in line)
        cells = [sparkline(line, low, high) for line in lines]
        rows.append({"group": "curves", "name": name + (" (log)" if log else ""), "cells": cells, "best": [], "book": ""})
    same_device = len({s.device for s in found}) == 1
    if same_device:  # as a row it would be the widest
        rows = [r for r in rows if r["name"] != "device"]
    first = min(max(len(r["name"]) for r in rows), 26) + 2
    wide = min(max(len(c) + 2 * (i in r["best"]) for r in rows for i, c in enumerate(r["cells"])), 24) + 2
    each = max(1, (console.width - first - (12 if any(r["book"] for r in rows) else 0)) // wide)
    for start in range(0, len(found), each):
        console.print(_grid(rows, range(start, min(start + each, len(found))), last=start + each >= len(found)))
    if same_device and found[0].device:
        console.print(f"[dim]on {escape(found[0].device)}[/]")
    if len(found) == 1:
        console.print("[dim]one run alone: name a second one, or change a parameter: `dlbooks run CHAPTER KEY=VALUE`[/]")


def _grid(rows: list[dict], indices: range, last: bool):
    from rich.markup import escape
    from rich.table import Table

    book = last and any(r["book"] for r in rows)
    grid = Table(box=None, pad_edge=False, header_style="bold", show_header=True)
    grid.add_column("", overflow="fold")
    for index in indices:
        grid.add_column(str(index + 1), justify="right", overflow="fold")
    if book:
        grid.add_column("the book", justify="right")
    group = ""
    for row in rows:
        if row["group"] != group and row["group"] != "run":
            grid.add_row(f"[dim]{row['group']}[/]")
        group = row["group"]
        cells = [f"[bold green]★ {row['cells'][i]}[/]" if i in row["best"] else escape(row["cells"][i]) for i in indices]
        grid.add_row(escape(row["name"]), *cells, *([row["book"]] if book else []))
    return grid


# ── pictures and the page ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def curves(found: list[Side], names: list[str] | None = None):
    """One panel per series, a line per run, as a Matplotlib figure; None where no run logged a series."""
    names = _series(found)[:PANELS] if names is None else names
    if not names:
        return None
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    legend = 0.24 * len(found) + 0.2
    figure, axes = figures.new(5.2 * columns, 3.0 * rows + legend, rows, columns, squeeze=False)
    lines = {}
    for panel, name in zip(axes.ravel(), names, strict=False):
        values = []
        for index, side in enumerate(found):
            if points := side.series.get(name):
                steps, heights = zip(*points, strict=True)
                dots = "o" if len(points) < 30 else None
                color = figures.COLORS[index % len(figures.COLORS)]
                style = ("-", "--", ":")[index // len(figures.COLORS) % 3]
                (lines[side.label],) = panel.plot(steps, heights, color=color, linestyle=style, marker=dots, markersize=3, linewidth=1.5)
                values += heights
        panel.set(title=name.replace("_", " "), xlabel="step")
        if logarithmic(values):
            panel.set_yscale("log")
    for panel in axes.ravel()[len(names) :]:
        panel.set_axis_off()
    figure.legend(lines.values(), [_short(label, 78 * columns // 2) for label in lines], loc="outside lower left", frameon=False)
    return figure


def _short(text: str, most: int) -> str:
    return (text if len(text) <= most else text[: most - 1] + "…").replace("$", r"\$")  # no formula


def page(found: list[Side]) -> str:
    """A self-contained page: style, script and pictures inside."""
    import jinja2
    from markupsafe import Markup

    site = Path(__file__).parent / "site"
    look, script = ((site / name).read_text(encoding="utf-8") for name in ("style.css", "site.js"))
    loader = jinja2.FileSystemLoader(site)
    templates = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    names = _series(found)
    plots = [{"name": n, "points": {s.label: figures.thinned(s.series[n]) for s in found if n in s.series}} for n in names]
    for plot in plots:
        plot["picture"] = images.data_url(figures.png(curves(found, [plot["name"]])))
    rows = table(found)
    return templates.get_template("compare.html").render(
        found=found,
        chapters=list({s.chapter.id: s.chapter for s in found}.values()),
        rows=rows,
        book=any(r["book"] for r in rows),
        note=note(found),
        plots=plots,
        galleries=galleries(found),
        look=Markup(look),
        script=Markup(script),
    )


def galleries(found: list[Side]) -> list[dict]:
    """Pictures with the same name next to each other; curves stand overlaid already."""
    names = dict.fromkeys(p.name for s in found if s.pictures for p in sorted(s.pictures.glob("*.*")) if p.suffix in (".png", ".gif"))
    shown = []
    for name in names:
        if name.startswith("curve_"):
            continue
        pictures, caption = [], ""
        for side in found:
            file = side.pictures / name if side.pictures else None
            if file and file.exists():
                with contextlib.suppress(OSError, ValueError):  # no captions, or damaged ones
                    caption = caption or json.loads((side.pictures / "captions.json").read_text(encoding="utf-8")).get(name, "")
                with contextlib.suppress(OSError):  # damaged: there is nothing to see
                    width, height = _size(file)
                    pictures.append(
                        {"label": side.label, "uri": images.data_url(file.read_bytes(), file.suffix[1:]), "width": width, "height": height}
                    )
        if pictures:
            shown.append({"name": name, "caption": caption or name, "pictures": pictures})
    return sorted(shown, key=lambda g: -len(g["pictures"]))


def _size(file: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(file) as picture:
        return picture.size


def compare(words: list[str], profile: str = "", last: int = 5, out: Path | None = None, as_json: bool = False) -> None:
    """Prints runs side by side; ``out`` is a page (``.html``), the curves (``.png``) or a folder for both."""
    if out and out.suffix not in (".html", ".png") and (out.suffix or out.is_file()):
        raise UserError(f"{out}: give a page (.html), a picture of the curves (.png) or a folder for both")
    found = sides(words, profile, last)
    if out or as_json:
        fetch_pictures(found)
    try:
        written = write(found, out) if out else []
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}") from None
    if as_json:
        print(json.dumps({**as_dict(found), "written": [str(p) for p in written]}, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    show(found, console)
    for path in written:
        console.print(f"written: {path}", markup=False)


def write(found: list[Side], out: Path) -> list[Path]:
    """Writes a page, a picture or a folder of both; returns the files."""
    folder, figure = not out.suffix, curves(found) if out.suffix != ".html" else None
    if out.suffix == ".png" and figure is None:
        raise UserError("none of these runs logged a curve: give --out a page (.html) instead")
    contents = {}
    if out.suffix != ".png":
        contents[out / "compare.html" if folder else out] = page(found).encode()
    if figure is not None:
        contents[out / "curves.png" if folder else out] = figures.png(figure)
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return list(contents)
