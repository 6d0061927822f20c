r"""Arithmetic of layers: output sizes, parameters, connections, receptive fields; fixed 3×3 and 5×5 kernels.

Pure Python and NumPy. Sizes are per axis: a layer that treats height and width differently is two calls. With kernel size $k$,
stride $s$, dilation $d$ and the spread $k' = d(k-1)+1$ of the dilated kernel:

- SAME: $\lceil n/s \rceil$, zeros added in total $\max((\lceil n/s \rceil - 1)s + k' - n, 0)$, the smaller half in front;
- VALID: $\lceil (n-k'+1)/s \rceil$; explicit padding $p$ on both sides: $\lfloor (n+2p-k')/s \rfloor + 1$ (VALID is $p = 0$);
- transposed: SAME $n s$; VALID $(n-1)s + \max(k, s)$.

Source: the TensorFlow guide to convolution padding; V. Dumoulin and F. Visin, "A guide to convolution arithmetic", 2016.
"""

from __future__ import annotations

import numpy as np


def _positive(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} is {value}, must be at least 1")


def conv_out(n: int, k: int, s: int = 1, p: str | int = "same", d: int = 1) -> int:
    """Output size of a convolution or pooling over ``n`` cells; ``p`` is ``"same"``, ``"valid"`` or zeros added on each side."""
    _positive(size=n, kernel=k, stride=s, dilation=d)
    if p == "same":
        return -(-n // s)
    if p == "valid":
        p = 0
    if not isinstance(p, int) or p < 0:
        raise ValueError(f"padding is {p!r}, must be same, valid or a number of cells")
    spread = d * (k - 1) + 1
    if n + 2 * p < spread:
        raise ValueError(f"kernel covers {spread} cells, the picture has {n}" + (f" + 2·{p} of padding" if p else ""))
    return (n + 2 * p - spread) // s + 1


def same_pad(n: int, k: int, s: int = 1, d: int = 1) -> tuple[int, int]:
    """Zeros that SAME padding adds before and after ``n`` cells."""
    total = max((conv_out(n, k, s, "same", d) - 1) * s + d * (k - 1) + 1 - n, 0)
    return total // 2, total - total // 2


def deconv_out(n: int, k: int, s: int = 1, p: str = "same") -> int:
    """Output size of a transposed convolution, as Keras chooses it; every size that a convolution maps to ``n`` is legal."""
    _positive(size=n, kernel=k, stride=s)
    if p not in ("same", "valid"):
        raise ValueError(f"padding is {p!r}, must be same or valid")
    return n * s if p == "same" else (n - 1) * s + max(k, s)


def _area(size: int | tuple[int, int]) -> int:
    height, width = size if isinstance(size, tuple) else (size, size)
    _positive(height=height, width=width)
    return height * width


def conv_params(k: int | tuple[int, int], c_in: int, c_out: int, bias: bool = True) -> int:
    """Weights $k_h k_w c_{in} c_{out}$ and $c_{out}$ biases of a convolution, shared by all positions."""
    return _area(k) * c_in * c_out + c_out * bias


def conv_connections(k: int | tuple[int, int], c_in: int, c_out: int, out: int | tuple[int, int], bias: bool = True) -> int:
    """Edges of the unrolled graph: every parameter once per output position. Edges to padding cells count."""
    return conv_params(k, c_in, c_out, bias) * _area(out)


def dense_params(n_in: int, n_out: int, bias: bool = True) -> int:
    """Weights $n_{in} n_{out}$ and $n_{out}$ biases; a dense layer has as many connections."""
    return n_in * n_out + n_out * bias


def rnn_params(n_in: int, units: int, cell: str = "simple", reset_after: bool = True) -> int:
    r"""Parameters of a recurrent cell: $g\,u(n + u + b)$ with $g$ gates and $b$ bias vectors.

    ``cell`` is ``simple`` (g 1), ``lstm`` (g 4) or ``gru`` (g 3; Keras's ``reset_after`` form has two bias vectors).
    """
    gates = {"simple": 1, "lstm": 4, "gru": 3}
    if cell not in gates:
        raise ValueError(f"cell is {cell!r}, must be one of {', '.join(gates)}")
    return gates[cell] * units * (n_in + units + (2 if cell == "gru" and reset_after else 1))


def receptive_field(layers: list[tuple[int, int]]) -> list[int]:
    r"""Input cells that one output of each layer sees, after each ``(kernel, stride)``: $r \mathrel{+}= (k-1)j$, $j \mathrel{*}= s$.

    A dilated kernel is given by its spread. Padding is ignored: near a border part of the field lies outside the picture.
    """
    field, jump, fields = 1, 1, []
    for k, s in layers:
        _positive(kernel=k, stride=s)
        field, jump = field + (k - 1) * jump, jump * s
        fields.append(field)
    return fields


KERNELS = {
    "identity": ([[0, 0, 0], [0, 1, 0], [0, 0, 0]], 1),
    "box3": ([[1, 1, 1]] * 3, 9),
    "gauss3": (np.outer([1, 2, 1], [1, 2, 1]), 16),
    "gauss5": (np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]), 256),
    "sharpen": ([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], 1),
    "laplace4": ([[0, 1, 0], [1, -4, 1], [0, 1, 0]], 1),
    "laplace8": ([[1, 1, 1], [1, -8, 1], [1, 1, 1]], 1),
    "sobel_x": (np.outer([1, 2, 1], [-1, 0, 1]), 1),
    "sobel_y": (np.outer([-1, 0, 1], [1, 2, 1]), 1),
}


def kernel(name: str) -> np.ndarray:
    """A fixed kernel as float32 ``[k, k]``. Smoothing and sharpening kernels sum to 1, edge kernels to 0."""
    if name not in KERNELS:
        raise ValueError(f"kernel is {name!r}, must be one of {', '.join(KERNELS)}")
    numbers, divisor = KERNELS[name]
    return np.asarray(numbers, np.float32) / np.float32(divisor)


def apply_kernel(image: np.ndarray, weights: np.ndarray, padding: str | int = "same", stride: int = 1) -> np.ndarray:
    r"""Cross-correlates every channel of ``image`` ``[h, w]`` or ``[h, w, c]`` with ``weights`` ``[k, l]``; float32 of the same rank.

    One shifted copy of the picture per weight: $y_{ij} = \sum_{ab} w_{ab}\, x_{is+a,\,js+b}$ on the zero-padded picture. This is
    what deep learning calls convolution (no mirrored kernel) and ``tf.nn.depthwise_conv2d`` computes.
    """
    image, weights = np.asarray(image, np.float32), np.asarray(weights, np.float32)
    height, width = (conv_out(n, k, stride, padding) for n, k in zip(image.shape[:2], weights.shape, strict=True))
    fixed = (padding, padding) if isinstance(padding, int) else (0, 0)
    pads = [same_pad(n, k, stride) if padding == "same" else fixed for n, k in zip(image.shape[:2], weights.shape, strict=True)]
    padded = np.pad(image, [*pads, *[(0, 0)] * (image.ndim - 2)])
    result = np.zeros((height, width, *image.shape[2:]), np.float32)
    for (row, column), weight in np.ndenumerate(weights):
        result += weight * padded[row : row + height * stride : stride, column : column + width * stride : stride]
    return result
