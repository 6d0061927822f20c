"""Layer lab, pictures: fixed kernels; ways to enlarge a picture and the patterns they leave."""

import numpy as np
import tensorflow as tf

from dlbooks import figures
from dlbooks.nn.convolution import KERNELS, apply_kernel, deconv_out, kernel


# ## Fixed kernels
# Deep learning's convolution does not mirror the kernel. Smoothing kernels sum to 1 and keep a flat picture; edge kernels sum to 0 and turn
# it black; sharpening is the picture minus its Laplacian.
def filtered(picture: np.ndarray, name: str, padding: str | int = "same", stride: int = 1) -> np.ndarray:
    return apply_kernel(picture, kernel(name), padding, stride)


def filters(facts, picture):
    height, width, _ = picture.shape
    ramp = np.tile(np.arange(9.0), (9, 1))
    for name, measured, expected, source in [
        ("identity leaves the picture", filtered(picture, "identity"), picture, "B5 6.2.1"),
        ("sharpened = picture − Laplacian", filtered(picture, "sharpen"), picture - filtered(picture, "laplace4"), "formula"),
        ("SAME keeps the size", filtered(picture, "gauss5").shape, picture.shape, "B5 6.2.1"),
        ("VALID, 3×3: two rows and columns less", filtered(picture, "sobel_x", "valid").shape, (height - 2, width - 2, 3), "B5 6.2.1"),
        ("Sobel of a ramp of slope 1", np.unique(filtered(ramp, "sobel_x", "valid")), [8], "formula"),
        ("Laplacian of a ramp", np.unique(filtered(ramp, "laplace8", "valid")), [0], "formula"),
        ("sums of the kernels", [round(float(kernel(k).sum()), 6) for k in KERNELS], (1,) * 5 + (0,) * 4, "formula"),
    ]:
        facts.check(name, measured, expected, source)


def visible(result: np.ndarray, name: str) -> np.ndarray:
    """A filtered picture as uint8; of edge kernels, whose result has both signs, the absolute value."""
    signed = abs(kernel(name).sum()) < 0.5
    return np.rint(np.clip(abs(result) if signed else result, 0, 255)).astype(np.uint8)


def filters_figure(picture):
    figure, axes = figures.new(10, 4.9, 2, 3)
    for cell, name in zip(axes.ravel(), ("identity", "sharpen", "laplace8", "sobel_x", "sobel_y", "gauss5"), strict=True):
        cell.imshow(visible(filtered(picture, name), name))
        cell.set_title(name)
        cell.set_axis_off()
    return figure


# ## Transposed convolution and the checkerboard
# The transposed convolution is the gradient of the convolution: each input cell stamps the kernel onto the output, $s$ cells apart. Where $s$
# does not divide $k$, stamps overlap unevenly. With the relative spread $c$ (standard deviation over mean) of the counts along one axis,
# two axes have $\sqrt{(1+c^2)^2-1}$: 0.484 for $k = 3$ (counts 1 and 2) and 0.286 for $k = 5$ (2 and 3). The 13 or 15 cells that six inputs give,
# less $k$ at each border, do not hold whole periods, and measure 0.504 and 0.292. Enlarging by repetition and then
# convolving has no such pattern; pixel shuffle has none as long as its four filters agree, which training does not promise.
def stamp(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Transposed convolution of a picture ``[h, w]`` with stride 2, VALID."""
    size = [deconv_out(n, len(weights), 2, "valid") for n in x.shape]
    x, weights = tf.cast(x[None, ..., None], tf.float32), tf.cast(weights[..., None, None], tf.float32)
    return tf.nn.conv2d_transpose(x, weights, (1, *size, 1), 2, "VALID")[0, ..., 0].numpy()


def repeat(x: np.ndarray) -> np.ndarray:
    """Every cell as a block of 2×2."""
    return x.repeat(2, 0).repeat(2, 1)


def shuffle(x: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """Pixel shuffle: four filters, one for each cell of a 2×2 block of the output."""
    maps = np.stack([apply_kernel(x, w) for w in weights], -1)
    return tf.nn.depth_to_space(maps[None], 2)[0, ..., 0].numpy()


def spread(x: np.ndarray) -> float:
    return float(x.std() / x.mean())


def upsampling(facts):
    ones = np.ones((6, 6))
    for k, counts, measured, periods in [(2, (1,), 0, 0), (3, (1, 2, 4), 0.504, 0.484), (4, (4,), 0, 0), (5, (4, 6, 9), 0.292, 0.286)]:
        inner = stamp(ones, np.ones((k, k)))[k:-k, k:-k]
        facts.check(f"k {k}, s 2: overlap counts", np.unique(inner), counts, "formula")
        facts.check(f"k {k}, s 2: spread", spread(inner), measured, "formula", 5e-4)
        facts.check(f"k {k}, s 2: spread over whole periods", spread(inner[:4, :4]), periods, "formula", 5e-4)
    facts.check("repetition, then 3×3: spread", spread(apply_kernel(repeat(ones), np.ones((3, 3)))[1:-1, 1:-1]), 0, "formula")
    facts.check("pixel shuffle, equal filters: spread", spread(shuffle(ones, [kernel("box3")] * 4)[2:-2, 2:-2]), 0, "formula", 1e-6)
    unequal = shuffle(ones, [n * kernel("identity") for n in (1, 2, 3, 4)])
    facts.check("pixel shuffle, filters 1, 2, 3, 4: a block", unequal[2:4, 2:4], [[1, 2], [3, 4]], "formula")
    weights, small = np.arange(9.0).reshape(3, 3) - 4, np.arange(25.0).reshape(5, 5)
    x = tf.zeros((1, 11, 11, 1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.nn.conv2d(x, tf.cast(weights[..., None, None], tf.float32), 2, "VALID")
    back = tape.gradient(y, x, output_gradients=tf.cast(small[None, ..., None], tf.float32))
    facts.check("transposed convolution = gradient of the convolution", stamp(small, weights), back[0, ..., 0], "formula", 1e-4)


def checkerboard_figure():
    figure, axes = figures.new(10, 2.9, 1, 4)
    for cell, k in zip(axes, (2, 3, 4, 5), strict=True):
        counts = stamp(np.ones((4, 4)), np.ones((k, k)))
        cell.imshow(counts, cmap="Blues", vmin=0, vmax=9)
        for (row, column), count in np.ndenumerate(counts):
            cell.text(column, row, f"{count:.0f}", ha="center", va="center", fontsize=7, color="white" if count > 5 else figures.INK)
        cell.set(title=f"kernel {k}, stride 2", xticks=[], yticks=[])
        cell.grid(False)
    return figure


WAYS = {
    "transposed, kernel 5": lambda x: stamp(x, np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1]) / 20.25)[1:-2, 1:-2],
    "transposed, kernel 4": lambda x: stamp(x, np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16)[1:-1, 1:-1],
    "repeat, then 3×3": lambda x: apply_kernel(repeat(x), kernel("gauss3")),
    "pixel shuffle": lambda x: shuffle(x, [gain * kernel("gauss3") for gain in (1.15, 0.95, 0.85, 1.05)]),
    "bilinear": lambda x: tf.image.resize(x[..., None], (2 * x.shape[0], 2 * x.shape[1]))[..., 0].numpy(),
}


def upsampling_figure(digit: np.ndarray):
    """A digit ``[28, 28]`` in 0 … 1 on gray and a flat gray picture, each enlarged twice in five ways."""
    shown = [enlarge(0.25 + 0.6 * digit) for enlarge in WAYS.values()]
    flat = [enlarge(np.full((14, 14), 0.5))[4:-4, 4:-4] for enlarge in WAYS.values()]
    captions = [*WAYS, *(f"flat gray: spread {spread(picture):.3f}" for picture in flat)]
    return figures.grid([*shown, *flat], columns=5, captions=captions, size=2)
