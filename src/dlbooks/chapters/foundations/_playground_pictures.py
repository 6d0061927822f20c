"""Playground, pictures: decision surfaces alone, in a grid, while they are learned, and unit by unit.

Blue is +1, orange −1, white undecided: a pair that color-blind readers tell apart, and the classes' points differ in their marks, too.
"""

import numpy as np

from dlbooks import figures

AXIS = np.linspace(-6.0, 6.0, 61, dtype=np.float32)
MAP = np.stack(np.meshgrid(AXIS, AXIS), -1).reshape(-1, 2)  # the points of a decision surface, row by row


def surface(axes, values: np.ndarray, x=None, y=None, size: float = 2.6):
    """A heat map of the scores at ``MAP`` under the points ``x [n, 2]``: circles where ``y`` is +1, triangles where −1."""
    from matplotlib.colors import LinearSegmentedColormap

    colors = LinearSegmentedColormap.from_list("playground", ["#c8641e", "#f5c59b", "#f7f7f7", "#a9cbe6", "#1668a8"], N=12)
    image = axes.imshow(values.reshape(len(AXIS), -1), extent=(-6.1, 6.1, -6.1, 6.1), origin="lower", cmap=colors, vmin=-1, vmax=1)
    axes.set(xticks=[], yticks=[], xlim=(-6.1, 6.1), ylim=(-6.1, 6.1))
    axes.grid(False)
    for label, mark, color in ((1, "o", "#0b3d68"), (-1, "^", "#7a3208")) if x is not None else ():
        axes.plot(*x[y == label].T, mark, markersize=size, color=color, markeredgecolor="white", markeredgewidth=size / 10)
    return image


def grid(cells: dict[tuple[str, str], tuple], heads: dict[str, str], shapes: tuple[str, ...]):
    """``cells[net, shape]`` = (scores at ``MAP``, accuracy, points, labels); a row per toy, a column per net."""
    figure, axes = figures.new(2 * len(heads) + 0.4, 2.15 * len(shapes) + 0.3, len(shapes), len(heads))
    for row, shape in zip(axes, shapes, strict=True):
        for cell, name in zip(row, heads, strict=True):
            scores, accuracy, x, y = cells[name, shape]
            surface(cell, scores, x, y)
            cell.set_title(f"{accuracy:.3f}", fontsize=9, pad=3, fontweight="bold" if accuracy >= 0.9 else "normal")
        row[0].set_ylabel(shape, fontsize=11)
    for cell, head in zip(axes[0], heads.values(), strict=True):
        cell.annotate(head, (0.5, 1.14), xycoords="axes fraction", ha="center", va="bottom", fontsize=9)
    return figure


def film(looks: list[tuple], x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Frames of (pass, scores at ``MAP``, training loss); the last one stands for a while."""
    figure, axes = figures.new(3.2, 3.4)
    image = surface(axes, looks[0][1], x, y)

    def update(look):
        image.set_data(look[1].reshape(len(AXIS), -1))
        axes.set_title(f"pass {look[0]}, training loss {look[2]:.3f}")

    frames = figures.animate(figure, update, looks)
    return frames + frames[-1:] * 10


def strip(rows: dict[str, tuple]):
    """Seven moments of each net: ``rows[net]`` = (looks as in ``film``, points, labels)."""
    figure, axes = figures.new(10.5, 1.8 * len(rows) + 0.1, len(rows), 7)
    for row, (name, (looks, x, y)) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(name, fontsize=10)
        passes = [look[0] for look in looks]
        chosen = [0, *(int(np.searchsorted(passes, passes[-1] * share)) for share in (0.03, 0.1, 0.2, 0.4, 0.7)), -1]
        for cell, index in zip(row, chosen, strict=True):
            surface(cell, looks[index][1], x, y, 1.5)
            cell.set_title(f"pass {passes[index]}\nloss {looks[index][2]:.3f}", fontsize=8)
    return figure


def network(layers: list[np.ndarray], kernels: list[np.ndarray], names: list[str]):
    """A net as a graph: a unit is the map of its answers (``layers``: inputs first, ``[len(MAP), units]``), an edge a weight."""
    from matplotlib.collections import LineCollection

    widths = [values.shape[1] for values in layers]
    columns, rows = len(layers), max(widths)
    figure, axes = figures.new(1.35 * columns + 0.6, 0.92 * rows + 0.5)
    axes.set_axis_off()
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(-rows / 2 - 0.1, rows / 2 + 0.2))
    figure.canvas.draw()  # fixes the layout, so that the maps below stand still
    figure.set_layout_engine("none")

    def height(column, unit):
        return (widths[column] - 1) / 2 - unit

    for positive, color, style in ((True, figures.COLORS[0], "-"), (False, figures.COLORS[1], (0, (3, 1.5)))):
        edges, widths_of = [], []
        for column, kernel in enumerate(kernels):
            for (source, target), weight in np.ndenumerate(kernel):
                if (weight > 0) == positive:
                    edges.append([(column, height(column, source)), (column + 1, height(column + 1, target))])
                    widths_of.append(min(4.0, 1.2 * abs(weight)))
        axes.add_collection(LineCollection(edges, linewidths=widths_of, colors=color, linestyles=[style], alpha=0.75, zorder=1))
    for column, values in enumerate(layers):
        for unit in range(widths[column]):
            inset = axes.inset_axes((column - 0.29, height(column, unit) - 0.42, 0.58, 0.84), transform=axes.transData, zorder=2)
            surface(inset, values[:, unit] / (np.abs(values[:, unit]).max() if column == 0 else 1))
            if column == 0:
                inset.set_ylabel(names[unit], fontsize=8, rotation=0, ha="right", va="center")
    return figure
