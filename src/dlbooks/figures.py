"""Pictures of results: curves, grids, confusion matrices, probability bars, GIFs. One look for the whole project."""

from __future__ import annotations

import io
import sys
import threading
from pathlib import Path

import numpy as np

INK, PALE = "#1c2733", "#dfe5ec"
COLORS = ("#1668a8", "#d9622b", "#2f8f5b", "#8a4fa3", "#b08b00", "#c2405f", "#4f6d7a", "#7a5c43")
DRAWING = threading.Lock()  # pyplot is one for all threads: whoever draws in one of several holds it


def new(width: float = 6.4, height: float = 4.0, rows: int = 1, columns: int = 1, **options):
    """A Matplotlib figure and its axes in the project's style."""
    import matplotlib

    if "matplotlib.pyplot" not in sys.modules:  # a notebook keeps the backend it has
        matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "axes.axisbelow": True,
            "axes.edgecolor": INK,
            "axes.grid": True,
            "axes.prop_cycle": plt.cycler(color=COLORS),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": 11,
            "font.size": 9,
            "grid.color": PALE,
            "savefig.dpi": 120,
            "text.color": INK,
        }
    )
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **options)


def save(figure, path: Path | io.BytesIO) -> None:
    """Writes a Matplotlib figure, PIL picture or uint8 array as PNG without time or version stamps."""
    from PIL import Image

    if hasattr(figure, "savefig"):
        import matplotlib.pyplot as plt

        figure.savefig(path, format="png", metadata={"Software": None})
        plt.close(figure)
    else:
        picture = figure if isinstance(figure, Image.Image) else Image.fromarray(np.asarray(figure))
        picture.save(path, format="PNG")


def array(figure) -> np.ndarray:
    """A Matplotlib figure as a uint8 RGB picture."""
    from PIL import Image

    with Image.open(io.BytesIO(png(figure))) as picture:
        return np.asarray(picture.convert("RGB"))


def png(figure) -> bytes:
    """The bytes of ``save``'s file."""
    with io.BytesIO() as buffer:
        save(figure, buffer)
        return buffer.getvalue()


def thinned(points: list, most: int = 600) -> list:
    """Every k-th of a series' points, about ``most``, and the last."""
    every = -(-len(points) // most) or 1
    return points[::every] + (points[-1:] if (len(points) - 1) % every else [])


def curves(series: dict[str, list[tuple[int, float]]], title: str, log: bool = False):
    """Lines of (step, value), one per series."""
    figure, axes = new(6.4, 3.6)
    for name, points in series.items():
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, label=name.replace("_", " "), marker="o" if len(points) < 30 else None, markersize=3, linewidth=1.6)
    if log:
        axes.set_yscale("log")
    axes.set(title=title, xlabel="step")
    if len(series) > 1:
        axes.legend(frameon=False)
    return figure


def grid(images: np.ndarray, columns: int = 10, captions: list[str] | None = None, title: str = "", size: float = 0.8):
    """Pictures ``[n, h, w]`` or ``[n, h, w, c]`` (uint8, or floats in 0…1) in rows, each with a caption below."""
    count = len(images)
    columns = min(columns, count) or 1
    rows = -(-count // columns) or 1
    figure, axes = new(size * columns + 0.2, (size + (0.22 if captions else 0.02)) * rows + (0.4 if title else 0.1), rows, columns, squeeze=False)
    for index, cell in enumerate(axes.ravel()):
        cell.set_axis_off()
        if index < count:
            image = np.squeeze(images[index])
            top = 255 if image.dtype == np.uint8 else 1.0
            cell.imshow(image, cmap="gray" if image.ndim == 2 else None, vmin=0, vmax=top, interpolation="nearest")
            if captions:
                cell.set_title(captions[index], fontsize=7, y=-0.04, va="top", pad=0)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def confusion(matrix: np.ndarray, names: list[str], title: str = "Confusion matrix, rows are true classes"):
    """Row-normalized colors, counts printed."""
    matrix = np.asarray(matrix)
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = max(4.2, 0.5 * len(names) + 1.6)
    figure, axes = new(side, side)
    axes.grid(False)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set(title=title, xlabel="predicted", ylabel="true", xticks=range(len(names)), yticks=range(len(names)))
    axes.set_xticklabels(names, rotation=45 if max(map(len, names)) > 2 else 0, ha="right" if max(map(len, names)) > 2 else "center")
    axes.set_yticklabels(names)
    for row in range(len(names)):
        for column in range(len(names)):
            if matrix[row, column]:
                tone = "white" if share[row, column] > 0.5 else INK
                axes.text(column, row, f"{matrix[row, column]}", ha="center", va="center", fontsize=7, color=tone)
    return figure


def bars(images: list[np.ndarray], names: list[list[str]], values: np.ndarray, titles: list[str]):
    """Each picture beside its top-k probability bars: ``names[i][k]`` and ``values[i, k]``."""
    count = len(images)
    figure, axes = new(6.4, 1.5 * count + 0.2, count, 2, squeeze=False, width_ratios=(1, 2.4))
    for index in range(count):
        picture, plot = axes[index]
        picture.set_axis_off()
        image = np.squeeze(images[index])
        picture.imshow(image, cmap="gray" if image.ndim == 2 else None, vmin=0, vmax=255)
        picture.set_title(titles[index], fontsize=8)
        places = np.arange(len(names[index]))[::-1]
        plot.barh(places, values[index], color=COLORS[0])
        plot.set(xlim=(0, 1.12), yticks=places)
        plot.set_yticklabels(names[index])
        for place, value in zip(places, values[index], strict=True):
            plot.text(value + 0.01, place, f"{value:.3f}", va="center", fontsize=7)
    return figure


def gif(frames: list[np.ndarray], path: Path, fps: int = 10) -> None:
    """Animated GIF of uint8 frames, looping for ever."""
    from PIL import Image

    pictures = [Image.fromarray(np.asarray(f)).convert("P", palette=Image.Palette.ADAPTIVE) for f in frames]
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0)


def animate(figure, update, frames: list) -> list[np.ndarray]:
    """Draws one figure again for every item of ``frames`` after ``update(item)``: uint8 RGB pictures for ``gif``."""
    import matplotlib.pyplot as plt

    pictures = []
    for item in frames:
        update(item)
        figure.canvas.draw()
        pictures.append(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())
    plt.close(figure)
    return pictures
