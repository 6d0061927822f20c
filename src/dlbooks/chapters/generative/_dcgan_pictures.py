"""Figures of `dcgan-mnist`."""

import numpy as np

from dlbooks import figures
from dlbooks.nn.generative_metrics import squared_distances
from dlbooks.nn.latent import mosaic, slerp, traverse


def show(run, paint, same: np.ndarray, told: bool, reach: float, samples: np.ndarray, training: np.ndarray) -> None:
    """``samples.png``, ``interpolation.png``, ``traversal.png``, ``nearest.png``.

    ``paint``: codes and labels → pictures; ``same``: a hundred codes; ``told``: whether classes can be asked for; ``reach``: how far the
    prior's coordinates go; ``samples`` and ``training``: uint8 pictures.
    """
    length, digits = same.shape[1], np.arange(10)
    caption = "A hundred digits that nobody wrote" + (", ten of each class, the class of a row is asked for" if told else ", whatever the codes give")
    run.figure("samples.png", mosaic(paint(same, np.repeat(digits, 10)), 10), caption)

    ends = same[:2].repeat(10, 1).reshape(2, length, 10).transpose(2, 0, 1) if told else same[:20].reshape(10, 2, length)
    ways = np.concatenate([slerp(one, other, np.linspace(0, 1, 12)) for one, other in ends])
    caption = (
        "From one code to another, the same two for every class: what a code says, slant and weight and width, it says of all ten digits"
        if told
        else "Each row from one code to another: every picture on the way is a stroke, not a cross-fade of two"
    )
    run.figure("interpolation.png", mosaic(paint(ways, np.repeat(digits, 12)), 12), caption)

    values, label = np.linspace(-reach, reach, 11), np.full(11, 2)
    walks = np.stack([traverse(same[0], j, values) for j in range(length)])
    drawn = paint(walks.reshape(-1, length), np.tile(label, length)).reshape(length, 11, 28, 28, 1)
    change = np.abs(drawn[:, -1].astype(np.int64) - drawn[:, 0]).mean((1, 2, 3))
    top = np.argsort(-change, kind="stable")[:8]
    caption = (
        f"One code, one coordinate from {-reach:g} to {reach:g} in each row (the eight that change most: {', '.join(map(str, top))}): "
        "no coordinate has a name, each bends several things at once"
    )
    run.figure("traversal.png", mosaic(drawn[top].reshape(-1, 28, 28, 1), 11), caption)

    some = samples[:16]
    nearest = squared_distances(some.reshape(16, -1), training.reshape(len(training), -1)).argmin(1)
    caption = "Samples above, below each the training digit with the most similar pixels: related, but not the same"
    run.figure("nearest.png", mosaic(np.concatenate([some, training[nearest]]), 16), caption)


def progress_figure(albums: np.ndarray, steps: list[int]):
    """One picture per class, each tenth of ``albums`` ``[looks, 100, 28, 28, 1]``, at up to nine of the looks."""
    chosen = np.unique(np.round(np.linspace(0, 1, 9) ** 1.6 * (len(steps) - 1)).astype(int))  # denser where most happens
    figure, axes = figures.new(0.62 * len(chosen) + 0.1, 6.2, 1, len(chosen), squeeze=False)
    for cell, number in zip(axes[0], chosen, strict=True):
        cell.set_axis_off()
        cell.imshow(mosaic(albums[number][::10], 1, scale=1), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        cell.set_title(f"{steps[number]:,}", fontsize=8)
    return figure
