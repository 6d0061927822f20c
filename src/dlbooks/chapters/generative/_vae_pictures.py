"""Pictures of `vae-mnist`: reconstructions, samples, the plane of two coordinates, one coordinate at a time, ways between digits.

The plane shown is the one of the two coordinates with the highest KL, the others stay at zero; its cells are equal steps of *probability*, not of
z, so that each is equally likely under the prior. For a code of two numbers that is all there is.
"""

from statistics import NormalDist

import numpy as np

from dlbooks import figures
from dlbooks.nn.latent import mosaic, slerp, traverse


def show(run, test, answer, copies, samples, decode, order, active):
    means, latent, axis = answer["mean"], run.params.latent, np.linspace(-3, 3, 13)
    top = order[:2]
    caption = "Test digits above, below what is left of them after the squeeze through the code: the digit and its slant stay, the brush does not"
    run.figure("reconstruction.png", mosaic(np.concatenate([test["image"][:16], copies[:16]]), 16), caption)
    run.figure(
        "samples.png",
        mosaic(samples[:100], 10),
        "A hundred digits that nobody wrote, decoded from random codes: most are digits, some lie between two",
    )

    quantiles = [NormalDist().inv_cdf((cell + 0.5) / 20) for cell in range(20)]
    plane = np.zeros((400, latent))
    plane[:, top[0]], plane[:, top[1]] = np.tile(quantiles, 20), np.repeat(quantiles, 20)[::-1]
    caption = (
        f"What the decoder draws on the plane of coordinates {top[0]} (to the right) and {top[1]} (up), others zero: digits turn into each other"
    )
    run.figure("manifold.png", mosaic(decode(plane), 20, 1, 1), caption)

    kept = np.unique(np.concatenate([order[:5], order[-2:]]), return_index=True)[1]
    rows = np.concatenate([order[:5], order[-2:]])[np.sort(kept)]
    caption = (
        f"One test digit, one coordinate from −3 to 3 in each row ({', '.join(map(str, rows))}), most informative first: "
        "the first rows change the digit, the last ones little or nothing"
    )
    run.figure("traversal.png", mosaic(decode(np.concatenate([traverse(means[0], row, axis) for row in rows])), len(axis)), caption)

    ends = [np.flatnonzero(test["label"] == digit)[0] for digit in range(10) if (test["label"] == digit).any()]
    ways = [slerp(means[one], means[other], np.linspace(0, 1, 12)) for one, other in zip(ends[::2], ends[1::2], strict=False)]
    caption = (
        "From the code of one test digit to that of another: strokes bend, open and close on the way, where a cross-fade would show both at once"
    )
    run.figure("interpolation.png", mosaic(decode(np.concatenate(ways)), 12), caption)

    caption = "KL of every coordinate, in nats per digit, in order: what each one tells about a digit; those near zero have been switched off"
    run.figure("coordinates.png", kl_figure(answer["kl"].mean(0)[order], active), caption)
    caption = f"Test digits where their codes lie, coordinates {top[0]} and {top[1]}: classes gather, though no label was ever shown"
    run.figure("latent.png", code_figure(means[:1000][:, top], test["label"][:1000], top), caption)


def kl_figure(values: np.ndarray, active: int):
    figure, axes = figures.new(6.4, 3.4)
    places = np.arange(1, len(values) + 1)
    axes.bar(places, values, color=np.where(places <= active, figures.COLORS[0], figures.COLORS[6]))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="coordinate, by its KL", ylabel="nats", title=f"{active} of {len(values)} coordinates are active, {values.sum():.1f} nats in all")
    return figure


def code_figure(codes: np.ndarray, labels: np.ndarray, top):
    figure, axes = figures.new(6.0, 5.6)
    for digit in range(10):
        chosen = codes[labels == digit]
        color = figures.COLORS[digit % len(figures.COLORS)]
        axes.plot(chosen[:, 0], chosen[:, 1], linestyle="none", marker=f"${digit}$", markersize=6, color=color, markeredgewidth=0.3)
    axes.set(xlabel=f"mean of coordinate {top[0]}", ylabel=f"mean of coordinate {top[1]}", title="Codes of test digits")
    return figure
