"""What a notebook shows of runs, figures and records: small HTML with its pictures inside, so that a saved notebook needs no other file."""

from __future__ import annotations

import html
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dlbooks import cards, figures, images

if TYPE_CHECKING:
    from dlbooks.records import Records
    from dlbooks.run import Run

WIDE = 420  # pixels of a run's picture
CELL = "padding:.15em .9em .15em 0;text-align:left"


@dataclass(frozen=True)
class Figure:
    """A figure that a run has left, with its caption; a notebook shows both."""

    path: Path
    caption: str

    def _repr_html_(self) -> str:
        kind = "gif" if self.path.suffix == ".gif" else "png"
        return f"<figure style='margin:0'>{image(self.path.read_bytes(), self.caption, kind)}<figcaption>{html.escape(self.caption)}</figcaption></figure>"

    def __repr__(self) -> str:
        return f"<Figure {self.path.name}: {self.caption}>"


def image(data: bytes, alt: str, kind: str = "png") -> str:
    """An ``<img>`` that holds its file."""
    return f"<img style='max-width:100%' alt='{html.escape(alt)}' src='{images.data_url(data, kind)}'>"


def thumbnail(source: Path | io.BytesIO, width: int) -> bytes:
    """A PNG at most ``width`` pixels wide of a picture's first frame."""
    from PIL import Image

    with Image.open(source) as picture, io.BytesIO() as buffer:
        small = picture.convert("RGB")
        small.thumbnail((width, 2 * width))
        small.quantize(64).save(buffer, "PNG", optimize=True)
        return buffer.getvalue()


def table(header: list[str], rows: list[list[str]]) -> str:
    """Rows of text, escaped."""
    lines = [f"<tr>{''.join(f'<th style={CELL!r}>{html.escape(c)}</th>' for c in header)}</tr>"] if header else []
    lines += [f"<tr>{''.join(f'<td style={CELL!r}>{html.escape(c)}</td>' for c in row)}</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def of_run(run: Run) -> str:
    """A run: title, headline beside the book's number, parameters, its picture."""
    from dlbooks import tracking

    chapter = run.chapter
    said = {} if run.swaps else tracking.reported(chapter, run.variant)
    ours = "ours" if run.profile == "book" and not run.swaps else f"ours, on {'data of one’s own' if run.swaps else 'synthetic data'}"
    rows = [[n, f"{v:.6g}", f"{said[n]:.6g}" if n in said else ""] for n, v in run.metrics.items() if n == chapter.headline or n in said]
    rows.sort(key=lambda row: row[0] != chapter.headline)
    about = [run.profile, *([run.variant] if run.variant else []), ", ".join(chapter.sources), *run.swaps.values()]
    parameters = " · ".join(f"{k} {v}" for k, v in run.params.model_dump(mode="json").items())
    words = f"<h3 style='margin:0'>{html.escape(chapter.title)}</h3><p><code>{html.escape(run.id)}</code> · {html.escape(' · '.join(about))}</p>"
    words += (
        table(["metric", ours, "the book"] if said else ["metric", ours], [row[: 3 if said else 2] for row in rows])
        if rows
        else "<p>not trained yet</p>"
    )
    words += f"<p style='max-width:40em'><small>{html.escape(parameters)}</small></p>"
    path = run.out / "figures" / chapter.picture
    shown = image(thumbnail(path, WIDE), run.figures[chapter.picture].caption) if chapter.picture and path.is_file() else ""
    return f"<div style='display:flex;flex-wrap:wrap;gap:2em'><div>{words}</div><div style='max-width:{WIDE}px'>{shown}</div></div>"


def of_records(records: Records) -> str:
    """A data set: splits, fields, ten samples where they are pictures by nature."""
    if not cards.here(records):
        return f"<p><code>{html.escape(records.folder.name)}</code>: no records here</p>"
    splits = records.info["splits"]
    words = f"<p><b>{html.escape(records.folder.name)}</b> {records.path.name} · {html.escape(cards.kind(records.features))}</p>"
    words += table([], [[name, f"{entry['examples']:,}"] for name, entry in splits.items()])
    known = records.info["features"]
    words += table([], [[name, cards.describe(feature, known.get(name, {}))] for name, feature in records.features.items()])
    if not cards.drawable(records.features):
        return words + table(*cards.table(records.features, cards.samples(records)[1]))
    with figures.DRAWING, io.BytesIO() as buffer:
        split, count = cards.draw(records, buffer)
        return words + (image(thumbnail(buffer, 2 * WIDE), f"{count} samples of the split {split}") if count else "")
