"""The command ``dlbooks``."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from dlbooks import UserError, completion, runtime

app = typer.Typer(no_args_is_help=True, add_completion=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)
data_app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Data sets: list, show, export, check, bring your own.")
app.add_typer(data_app, name="data")
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
ChapterName = Annotated[str, typer.Argument(metavar="CHAPTER", help="`dlbooks list` shows them.", autocompletion=completion.chapters)]
Names = Annotated[list[str] | None, typer.Argument(metavar="[CHAPTER]…", help="Chapters; all if none is named.", autocompletion=completion.chapters)]
DataSetName = Annotated[str, typer.Argument(metavar="DATA SET", help="`dlbooks data list` shows them.", autocompletion=completion.datasets)]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="[DATA SET=]MINE",
        help="A data set of your own in place of the chapter's, see `dlbooks data add`.",
        autocompletion=completion.own,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a parameter; may be repeated.", autocompletion=completion.assignments),
]
Profile = Annotated[str, typer.Option(help="`mini`, `book` or `smoke`; default is the one in params.yaml.", autocompletion=completion.profiles)]
Plain = Annotated[bool, typer.Option("--plain", help="Lines instead of a table that changes in place; so it is in logs and CI anyway.")]


@contextlib.contextmanager
def document(as_json: bool) -> Iterator[dict]:
    """With ``--json``, standard output is one JSON document: the dictionary that the block fills, or ``{"error": …}``; words go to standard error."""
    found: dict = {}
    if not as_json:
        yield found
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)  # what other programs and C++ print, too
    try:
        yield found
    except UserError as error:
        found["error"] = str(error)
        raise
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
        print(json.dumps(found, indent=2, ensure_ascii=False), flush=True)


@app.callback()
def root():
    """Deep-learning books that run. `dlbooks list` shows the chapters, `dlbooks show CHAPTER` one of them."""


@app.command("list")
def list_(as_json: Json = False):
    """Chapters with their places in the books, data sets, metric, the book's number and ours."""
    from dlbooks import catalog, ledger

    known, rows = ledger.read(), []
    for chapter in catalog.chapters().values():
        metric = chapter.metrics[chapter.headline]
        row = {"id": chapter.id, "title": chapter.title, "family": chapter.family, "sources": chapter.sources, "datasets": chapter.datasets}
        row |= {"headline": chapter.headline, "better": metric.better, "reported": metric.reported}
        row["mini"] = ledger.here(chapter.id).get(chapter.headline)
        row["book"] = ledger.best(known, chapter.id).get(chapter.headline)
        rows.append(row)
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("chapter", "places", "data", "metric", "the book", "ours, real data", "ours, mini"):
        number_column = name.startswith(("the", "ours"))
        table.add_column(name, justify="right" if number_column else "left", no_wrap=name in ("chapter", "metric", "data") or number_column)

    def number(value):
        return "" if value is None else f"{value:.5g}"

    for row in rows:
        table.add_row(
            row["id"],
            ", ".join(row["sources"]),
            ", ".join(row["datasets"]) or "–",
            row["headline"],
            number(row["reported"]),
            number(row["book"]),
            number(row["mini"]),
        )
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)


@app.command()
def show(chapter: ChapterName, as_json: Json = False):
    """Theory, parameters, results and figures of a chapter."""
    from dlbooks import catalog, ledger, params

    found = catalog.chapter(chapter)
    declaration = found.declaration
    values = params.read(runtime.root() / "params.yaml")
    folder = runtime.root() / "data" / "runs" / declaration.id
    metrics, known = ledger.here(declaration.id), ledger.read()
    figures = sorted(p.relative_to(runtime.root()).as_posix() for p in folder.glob("figures/*.*") if p.suffix != ".json")
    profiles = {p: params.section(values, declaration.id, p) for p in ("mini", "book")}
    if as_json:
        entry = {"id": declaration.id, "title": declaration.title, "sources": declaration.sources, "metrics": metrics, "figures": figures}
        print(json.dumps({**entry, "parameters": profiles, "ledger": known.get(declaration.id, {})}, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.table import Table

    console = Console(highlight=False, width=min(Console().width, 110))
    console.print(Markdown(found.doc))
    console.print(f"\n[bold]Code[/] {declaration.path.relative_to(runtime.root())}   [bold]Places[/] {', '.join(declaration.sources)}\n")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("parameter", "mini", "book", "what it is"):
        table.add_column(name)
    for name, field in found.params.model_fields.items():
        cells = [str(profiles[p].get(name, field.default)) for p in ("mini", "book")]
        table.add_row(name, *cells, field.description or "")
    console.print(table)
    best = ledger.best(known, declaration.id)
    results = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("metric", "the book", "ours, real data", "ours, mini"):
        results.add_column(name, justify="left" if name == "metric" else "right")
    for name, metric in declaration.metrics.items():
        cells = [metric.reported, best.get(name), metrics.get(name)]
        results.add_row(name, *("" if c is None else f"{c:.6g}" for c in cells))
    console.print("\n", results)
    if figures:
        console.print("\n[bold]Figures[/]", *figures, sep="\n  ")
    else:
        console.print(f"\nNo results here yet: `dlbooks run {declaration.id}`")
    if declaration.example:
        console.print(f"\n[bold]Use it[/]  {declaration.example}")


@app.command()
def repro(
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="[STAGE]…", help="Stages; all if none is named.", autocompletion=completion.stages)
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Run although nothing changed.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=0, help="Stages at a time; 0: as many as pay here; 1: DVC runs them one by one.")] = 0,
    pool: Annotated[
        list[str] | None, typer.Option(metavar="CLASS=POOL", help="Send stages to a Prefect work pool: `--pool cpu=cpu --pool gpu=gpu`.")
    ] = None,
    keep_going: Annotated[bool, typer.Option(help="After a failure, still run what does not depend on it.")] = True,
    profile: Annotated[
        str,
        typer.Option(
            help="`mini` or `book`; another one than in params.yaml is rebuilt in a checkout of its own.", autocompletion=completion.profiles
        ),
    ] = "",
    plain: Plain = False,
    as_json: Json = False,
):
    """Rebuild what changed: DVC says what is stale, Prefect's workers run it in parallel, dvc.lock is the one of `dvc repro`."""
    from dlbooks import rebuild

    pools = dict(entry.partition("=")[::2] for entry in pool or [])
    if any(not name for name in pools.values()) or (pools and "cpu" not in pools):
        raise UserError("--pool takes CLASS=POOL, and the class cpu is needed: --pool cpu=cpu --pool gpu=gpu")
    if profile:
        runtime.check_profile(profile)
    with document(as_json) as found:
        code = rebuild.repro(targets or [], force, jobs, pools, keep_going, profile, plain, found if as_json else None)
    raise typer.Exit(code)


@app.command()
def worker(
    pool: Annotated[str, typer.Option(help="Work pool to serve; made where it is missing.")] = "cpu",
    name: Annotated[str, typer.Option(help="Name in Prefect; default is host and process.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Stages at a time; 0: as many as pay here, or one with --device.")] = 0,
    device: Annotated[str, typer.Option(help="GPUs of this worker: `0`, or `0,1` to share a training between them.")] = "",
):
    """Serve a Prefect work pool: run the stages of rebuilds, here or for another machine."""
    from dlbooks import rebuild
    from dlbooks import worker as working

    working.serve(pool, name, limit or (1 if device else rebuild.fitting_jobs()), device)


@app.command()
def deploy():
    """Register the deployments of prefect.yaml, schedules paused, and their work pools at the Prefect server."""
    from dlbooks import deployments

    print("\n".join(deployments.deploy()))
    print(
        "Schedules are paused: switch them on in the UI. Serve the pools with `dlbooks worker --pool main --limit 2`, `dlbooks worker --pool cpu` …"
    )


@app.command(context_settings={"ignore_unknown_options": True})
def run(
    chapter: ChapterName,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]…", help="Parameters to override.", autocompletion=completion.assignments)
    ] = None,
    profile: Profile = "",
    variant: Annotated[
        list[str] | None,
        typer.Option(help="A named recipe of the chapter; several become child runs of one MLflow run.", autocompletion=completion.variants),
    ] = None,
    set_: Set = None,
    data: Data = "",
    force: Annotated[bool, typer.Option(help="Run although nothing changed.")] = False,
    plain: Plain = False,
    as_json: Json = False,
):
    """Run one chapter: its DVC stage, or, with another profile, variant or parameters, a DVC experiment that leaves the checkout alone."""
    from dlbooks import catalog, ledger, own, params, rebuild

    overrides = params.assignments([*(set_ or []), *(words or [])])
    values = params.read(runtime.root() / "params.yaml")
    found = catalog.chapter(chapter)
    if profile:
        runtime.check_profile(profile)
    stage = own.enlisted(found, data, add=True) if data else own.Stage(found)
    chosen = profile or values["profile"]
    with document(as_json) as answer:
        from dlbooks import experiment

        if overrides or variant or chosen != values["profile"]:
            runs: list[dict] = []
            code = experiment.run(stage, values, chosen, variant or [], overrides, plain, runs if as_json else None)
            answer |= runs[0] if len(runs) == 1 else {"runs": runs}
        else:
            summary: dict = {}
            code = rebuild.repro([stage.id], force, plain=plain, summary=summary)
            if as_json:
                kept = ledger.here(stage.id)
                answer |= {**experiment.result(stage, chosen), "metrics": kept, "output": str(runtime.root() / "data" / "runs" / stage.id)}
                answer |= {"how": summary["stages"].get(stage.id, {}).get("how", "unchanged")}
    raise typer.Exit(code)


@app.command(context_settings={"ignore_unknown_options": True})
def predict(
    chapter: ChapterName,
    inputs: Annotated[
        list[str] | None, typer.Argument(help="What the chapter takes: files, numbers, text. Trailing KEY=VALUE words are options.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File or folder for the answer.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An option; may be repeated.", autocompletion=completion.options)
    ] = None,
    data: Data = "",
    as_json: Json = False,
):
    """Use what a chapter trained. With `--json`, pictures in the answer are data: URLs, or with `-o` files of that folder."""
    from dlbooks import catalog, own, stage

    with document(as_json) as found:
        name = own.enlisted(catalog.chapter(chapter), data).id if data else chapter
        if as_json:
            found |= stage.ask(name, inputs or [], out, set_ or [])
        else:
            stage.predict(name, inputs or [], out, set_ or [])


@app.command()
def serve(
    chapters: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CHAPTER]…",
            help="Chapters; all that can be asked and have a model here if none is named.",
            autocompletion=completion.chapters,
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    alias: Annotated[str, typer.Option(help="The registered model that answers.", autocompletion=completion.aliases)] = "champion",
    split: Annotated[str, typer.Option(metavar="ALIAS=SHARE,…", help="Several models that share the requests: `champion=0.9,challenger=0.1`.")] = "",
    token: Annotated[str, typer.Option(envvar="DLBOOKS_TOKEN", help="Clients must send it: `Authorization: Bearer …`.")] = "",
    max_mb: Annotated[float, typer.Option(min=0.001, max=1024, help="The largest request.")] = 8,
    timeout: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds for a request.")] = 10,
    poll: Annotated[float, typer.Option(min=0.1, max=86400, help="Seconds between two looks for a newer model.")] = 5,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
):
    """Serve what chapters trained: a REST service, and a page to try it."""
    from dlbooks import serve as serving

    weights = serving.split_of(split) if split else {alias: 1.0}
    settings = serving.Settings(weights, host, token, int(max_mb * 2**20), timeout, poll)
    serving.serve(chapters or [], settings, port, browser)


@app.command()
def models(
    chapter: Annotated[str, typer.Argument(help="Only this chapter's versions, with all their metrics.", autocompletion=completion.chapters)] = "",
    as_json: Json = False,
):
    """Registered models: versions, aliases, the headline and what it was measured on."""
    from dlbooks import registry

    registry.print_models(chapter, as_json)


@app.command()
def promote(chapter: ChapterName, version: Annotated[int | None, typer.Argument(min=1, help="Version; default is the challenger's.")] = None):
    """Make a registered model's challenger, or another version, its champion: what is served by default."""
    from dlbooks import registry

    print(registry.promote(chapter, version))


@app.command()
def rollback(chapter: ChapterName):
    """Put the champion before the present one back."""
    from dlbooks import registry

    print(registry.rollback(chapter))


@app.command()
def verify(chapters: Names = None, as_json: Json = False):
    """Train chapters again from scratch and compare every byte with the tracked result."""
    from dlbooks import catalog
    from dlbooks import verify as checking

    raise typer.Exit(checking.verify(chapters or list(catalog.chapters()), as_json))


@app.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="CHAPTER|RUN…",
            help="Chapters, MLflow run ids or their beginnings, `mnist-cnn@champion`, `mnist-cnn@3`.",
            autocompletion=completion.runs,
        ),
    ],
    profile: Annotated[str, typer.Option(help="Only runs of this profile.", autocompletion=completion.profiles)] = "",
    last: Annotated[int, typer.Option(min=1, max=50, help="Of one chapter alone: so many runs that differ.")] = 5,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A page (`.html`), a picture of the curves (`.png`), or a folder for both.")] = None,
    as_json: Json = False,
):
    """Runs side by side: parameters that differ, metrics, curves, pictures."""
    from dlbooks import compare as comparing

    comparing.compare(runs, profile, last, out, as_json)


@data_app.command("add")
def data_add(
    folder: Annotated[Path, typer.Argument(help="A folder of yours, or a single file.")],
    kind: Annotated[str, typer.Option(help="`image-folder`, `voc`, `text`, `csv` or `pairs`; guessed from the files if there is no doubt.")] = "",
    name: Annotated[str, typer.Option(help="Name of the data set; default is the folder's.")] = "",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Go on without what is wrong.")] = False,
    set_: Set = None,
):
    """Make a data set of a folder of yours: every file is looked at, then chapters run on it (`dlbooks run CHAPTER --data NAME`)."""
    from dlbooks import own, params

    own.add(folder, kind, name, skip_bad, params.assignments(set_ or []))


@data_app.command("remove")
def data_remove(name: Annotated[str, typer.Argument(help="A data set of yours.", autocompletion=completion.own)]):
    """Take a data set of yours away, with its records and the runs on it; your files stay."""
    from dlbooks import own

    own.remove(name)


@data_app.command("list")
def data_list(as_json: Json = False):
    """Data sets with license, kind, counts and bytes of their records, and what of them is here."""
    from dlbooks import cards

    cards.print_list(as_json)


@data_app.command("show")
def data_show(
    dataset: DataSetName,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="PNG file for the picture; default is data/cards/<data set>.png.")] = None,
    as_json: Json = False,
):
    """The card of a data set: sources, license, counts, classes, sizes, statistics; and a picture of ten samples."""
    from dlbooks import cards

    cards.print_card(dataset, out, as_json)


@data_app.command("export")
def data_export(
    dataset: DataSetName,
    to: Annotated[Path, typer.Option("--to", help="Folder to write; must not exist yet, or be empty.")],
    form: Annotated[str, typer.Option("--format", help="`image-folder`, `csv`, `parquet` or `text`; default is the one that fits best.")] = "",
    split: Annotated[list[str] | None, typer.Option(help="Only this split; may be repeated.")] = None,
):
    """Write the records of a data set as files that other tools read."""
    from dlbooks import export_data

    export_data.export(dataset, to, form, split or [])


@data_app.command("check")
def data_check(
    datasets: Annotated[
        list[str] | None, typer.Argument(metavar="[DATA SET]…", help="Data sets; all if none is named.", autocompletion=completion.datasets)
    ] = None,
    as_json: Json = False,
):
    """Compare every byte of raw files and records with their digests; exit code 1 if any is damaged."""
    from dlbooks import cards

    raise typer.Exit(cards.check(datasets or [], as_json))


@app.command()
def sync(check: Annotated[bool, typer.Option(help="Only say whether dvc.yaml is up to date; exit code 1 if not.")] = False, as_json: Json = False):
    """Write dvc.yaml from the chapters' and data sets' files, and put dvc.lock in its order."""
    from dlbooks import sync as syncing

    with document(as_json) as found:
        stale = (runtime.root() / "dvc.yaml").read_text(encoding="utf-8") != syncing.text() if check else syncing.write()
        if not check:
            syncing.sort_lock()
        found |= {"stale": stale and check, "written": stale and not check}
    if not as_json:
        words = "is stale: run `dlbooks sync`" if stale and check else "written" if stale else "is up to date" if check else "was up to date"
        print(f"dvc.yaml {words}")
    raise typer.Exit(int(stale and check))


@app.command()
def record(chapters: Names = None, dirty: Annotated[bool, typer.Option(help="Also runs of uncommitted code.")] = False, as_json: Json = False):
    """Enter finished MLflow runs into data/results.json."""
    from dlbooks import ledger

    with document(as_json) as found:
        found["changes"] = lines = ledger.record(chapters or [], dirty)
    if not as_json:
        print("\n".join(lines) if lines else "nothing new: only finished runs of committed code are entered")


@app.command()
def ui(
    prefect_port: Annotated[int, typer.Option(help="Port of the Prefect UI.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow UI.")] = 5000,
):
    """Start the Prefect and MLflow UIs on loopback and say where."""
    from dlbooks import services

    services.ui(prefect_port, mlflow_port)


@app.command()
def doctor(as_json: Json = False):
    """What this machine lacks, in words."""
    from dlbooks import doctor as checking

    raise typer.Exit(checking.doctor(as_json))


def _help_of(error: typer.TyperException) -> str:
    """Where to read on, if the message does not say what would be right."""
    command = getattr(getattr(error, "ctx", None), "command_path", "")
    return f": see `{command} --help`" if command and not error.format_message().endswith("?") else ""


def main() -> None:
    """Entry point: a user's mistake is one line and exit code 2."""
    os.environ.update(runtime.QUIET)
    try:
        sys.exit(app(prog_name="dlbooks", standalone_mode=False))
    except typer.TyperException as error:
        words = error.format_message().strip()
        if "\n" in words or not words:  # the help, where nothing was asked for
            error.show()
        else:
            print(f"error: {words[0].lower()}{words[1:].rstrip('.?')}{'?' * words.endswith('?')}{_help_of(error)}", file=sys.stderr)
        sys.exit(error.exit_code)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


if __name__ == "__main__":
    main()
