"""# MTCNN's weights: three small networks that find faces

The trained networks of *multi-task cascaded convolutional networks* as B1 and B5 use them, from the facenet repository: `det1.npy` proposes (P-Net,
6,632 numbers), `det2.npy` refines (R-Net, 100,178), `det3.npy` decides and points at eyes, nose and mouth (O-Net, 389,040). Each file is an object
array of NumPy around a pickle of Python 2, `{layer: {parameter: array}}`: convolutions and dense layers have `weights` (height, width, in, out or in,
out) and `biases`, PReLU layers `alpha`.

A pickle is a program, so it is run only after the file's digest matched, and in an interpreter that knows three words: array, array's type, and how
to begin an array. Each of them is a plain holder of numbers here; whatever else a pickle names is refused. After this nothing sees a pickle: a record
is one array, `net` (P, R, O), `name` (`conv1/weights`), `shape` and `values`, row by row as float32; all stand in the one split `train`, and `load`
puts them together again.

    nets = mtcnn_weights.load(run.records("mtcnn-weights"))
    nets["P"]["conv1"]["weights"].shape  # (3, 3, 3, 10)

The numbers are upstream's, untouched. They expect pictures in −1 … 1 **with x and y exchanged**, for they were trained in MATLAB: transpose the
picture, or the first two axes of every convolution (and of the first dense layers, whose inputs are 3 × 3 maps). Nothing crashes without, but faces
are missed or misplaced.

The twin has the same names, shapes and file format, and random numbers for values (uniform, with He's deviation; PReLU ¼, biases 0). **It detects
nothing.** It is there so that code that reads these files runs without them.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import struct
from pathlib import Path

import numpy as np

from dlbooks import UserError
from dlbooks.catalog import DataSet, Source
from dlbooks.datasets._text import read_bytes
from dlbooks.params import DataSetParams
from dlbooks.records import Feature, Records

DATASET = DataSet(
    id="mtcnn-weights",
    title="MTCNN's trained networks",
    homepage="https://github.com/davidsandberg/facenet",
    license="MIT",
    citation="K. Zhang, Z. Zhang, Z. Li, Y. Qiao: Joint face detection and alignment using multitask cascaded convolutional networks, 2016, arXiv:1604.02878; "
    "weights as shipped with D. Sandberg's facenet",
    files=[
        Source(
            urls=[
                "https://raw.githubusercontent.com/hzy46/Deep-Learning-21-Examples/15c2d9edccad090cd67b033f24a43c544e5cba3e/chapter_6/src/align/"
                + name,
            ],
            name=name,
            sha256=sha256,
        )
        for name, sha256 in {
            "det1.npy": "3285cf7a3de2651c5784cb9e32013f5919aae95fd1ed1bc371dd9691affb39af",
            "det2.npy": "716b8b83e42476791c9096f14dbb09fefc88bf5c7ec876b1683f9acd52b3f39c",
            "det3.npy": "396ead803d85d3443307ff8f45fb6aed2536579b415a4f4d4cb8f93ea6b1476a",
        }.items()
    ],
)


class Params(DataSetParams):
    pass


FEATURES = {
    "net": Feature(encoding="text"),
    "name": Feature(encoding="text"),
    "shape": Feature("int64", (None,)),
    "values": Feature("float32", (None,)),
}
FILES = {"P": "det1.npy", "R": "det2.npy", "O": "det3.npy"}
LAYERS = {  # in the order of the forward pass: the shape of a layer's weights, or the number of a PReLU's channels
    "P": {
        **{"conv1": (3, 3, 3, 10), "PReLU1": 10, "conv2": (3, 3, 10, 16), "PReLU2": 16, "conv3": (3, 3, 16, 32), "PReLU3": 32},
        **{"conv4-1": (1, 1, 32, 2), "conv4-2": (1, 1, 32, 4)},  # face or not; box. The paper's third head, landmarks, is not in the file
    },
    "R": {
        **{"conv1": (3, 3, 3, 28), "prelu1": 28, "conv2": (3, 3, 28, 48), "prelu2": 48, "conv3": (2, 2, 48, 64), "prelu3": 64},
        **{"conv4": (576, 128), "prelu4": 128, "conv5-1": (128, 2), "conv5-2": (128, 4)},
    },
    "O": {
        **{"conv1": (3, 3, 3, 32), "prelu1": 32, "conv2": (3, 3, 32, 64), "prelu2": 64, "conv3": (3, 3, 64, 64), "prelu3": 64},
        **{"conv4": (2, 2, 64, 128), "prelu4": 128, "conv5": (1152, 256), "prelu5": 256},
        **{"conv6-1": (256, 2), "conv6-2": (256, 4), "conv6-3": (256, 10)},  # face or not; box; five landmarks
    },
}


def shapes(net: str) -> dict[tuple[str, str], tuple[int, ...]]:
    """``{(layer, parameter): shape}`` of a network, in the order of the forward pass."""
    found = {}
    for layer, size in LAYERS[net].items():
        if isinstance(size, int):
            found[layer, "alpha"] = (size,)
        else:
            found[layer, "weights"], found[layer, "biases"] = size, size[-1:]
    return found


def load(records: Records) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """The records → ``{net: {layer: {parameter: float32 array}}}``, nets P, R, O and their layers in the order of the forward pass."""
    rows = records.arrays("train")
    stored = {(net.decode(), name.decode()): row for row, (net, name) in enumerate(zip(rows["net"], rows["name"], strict=True))}
    nets: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    for net in FILES:
        for layer, parameter in shapes(net):
            row = stored[net, f"{layer}/{parameter}"]
            nets.setdefault(net, {}).setdefault(layer, {})[parameter] = rows["values"][row].reshape(rows["shape"][row])
    return nets


# ## Reading


class _Type:
    """A pickled ``numpy.dtype``: its name and byte order."""

    __slots__ = ("order", "text")

    def __init__(self, text: str, *_):
        self.text, self.order = text, "?"

    def __setstate__(self, state: tuple):
        self.order = state[1]


class _Array:
    """A pickled ``numpy.ndarray``: shape, type, whether columns come first, and its bytes, which Python 2 wrote as a string."""

    __slots__ = ("columns", "data", "shape", "type")

    def __setstate__(self, state: tuple):
        _, self.shape, self.type, self.columns, self.data = state

    def values(self) -> np.ndarray:
        if (self.type.text, self.type.order) != ("f4", "<"):
            raise ValueError(f"holds {self.type.order}{self.type.text}, expected <f4")
        return np.frombuffer(self.data.encode("latin1"), "<f4").reshape(self.shape, order="F" if self.columns else "C")


class _Unpickler(pickle.Unpickler):
    """Knows the three names that an array's pickle needs, and what stands for them here: nothing of NumPy, nothing else is ever called."""

    def find_class(self, module: str, name: str):
        known = {
            "numpy.core.multiarray _reconstruct": lambda *_: _Array(),
            "numpy dtype": lambda *words: _Type(*words),
            "numpy ndarray": "ndarray",  # only an argument of the first
        }
        if f"{module} {name}" not in known:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no array needs")
        return known[f"{module} {name}"]


def read(data: bytes, where: str) -> dict[str, dict[str, np.ndarray]]:
    """The bytes of a ``.npy`` file, whose digest was checked → ``{layer: {parameter: float32 array}}``; anything else is a ``UserError``."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if (version, shape, dtype) != ((1, 0), (), np.dtype("O")):
            raise ValueError(f"it holds {dtype} of shape {shape}, expected one object")
        whole = _Unpickler(file, encoding="latin1").load()  # the array of one object, itself pickled
        layers = whole.data[0] if type(whole) is _Array and type(whole.data) is list and len(whole.data) == 1 else None
        if type(layers) is not dict or any(type(layer) is not dict for layer in layers.values()):
            raise ValueError("expected a dictionary of layers")
        found = {}
        for name, layer in layers.items():
            for parameter, array in layer.items():
                if type(array) is not _Array:
                    raise ValueError(f"{name}/{parameter} is no array")
                found.setdefault(name, {})[parameter] = array.values()
        return found
    except Exception as error:  # a damaged pickle can fail in any way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{where} is no file of MTCNN's weights: {reason[:200]}") from None


def examples(folder: Path, params: Params) -> dict[str, list[dict]]:
    """One split; a dictionary per array, in the order of ``shapes``."""
    declared = {} if params.twin else {source.name: source.sha256 for source in DATASET.files}
    rows = []
    for net, name in FILES.items():
        data = read_bytes(folder / name)
        # The stage has checked the folder; these very bytes must be the right ones before a pickle is run.
        if (digest := hashlib.sha256(data).hexdigest()) != declared.get(name, digest):
            raise UserError(f"{folder / name}: expected SHA-256 {declared[name]}, found {digest}; delete {folder} and fetch the data set again")
        layers = read(data, name)
        found = {(layer, parameter): array for layer, arrays in layers.items() for parameter, array in arrays.items()}
        for key in dict.fromkeys([*shapes(net), *found]):
            expected, actual = shapes(net).get(key), found[key].shape if key in found else None
            if expected != actual:
                raise UserError(f"{name}: {'/'.join(map(str, key))} has shape {actual or 'none'}, expected {expected or 'none'}")
            shape, values = np.array(expected, np.int64), np.ascontiguousarray(found[key]).ravel()
            rows.append({"net": net, "name": "/".join(key), "shape": shape, "values": values})
    return {"train": rows}


# ## The twin


def _string(text: bytes) -> bytes:
    """Python 2's pickle of a string."""
    return b"U" + bytes([len(text)]) + text if len(text) < 256 else b"T" + struct.pack("<i", len(text)) + text


def _number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _tuple(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def _array(shape: tuple[int, ...], kind: tuple[bytes, bytes, int], content: bytes) -> bytes:
    """Python 2's pickle of an array: its beginning, then its state. ``kind`` is the type's name, byte order and flags."""
    false, none = b"\x89", b"N"
    begun = b"cnumpy.core.multiarray\n_reconstruct\n" + _tuple(b"cnumpy\nndarray\n", _tuple(_number(0)), _string(b"b")) + b"R"
    name, order, flags = kind
    dtype = b"cnumpy\ndtype\n" + _tuple(_string(name), _number(0), _number(1)) + b"R"
    dtype += _tuple(_number(3), _string(order), none, none, none, _number(-1), _number(-1), _number(flags)) + b"b"
    return begun + _tuple(_number(1), _tuple(*map(_number, shape)), dtype, false, content) + b"b"


def _floats(array: np.ndarray) -> bytes:
    return _array(array.shape, (b"f4", b"<", 0), _string(array.astype("<f4").tobytes()))


def write(path: Path, layers: dict[str, dict[str, np.ndarray]]) -> None:
    """Writes upstream's format, a protocol-2 pickle of Python 2 in an object array: NumPy's own would differ from version to version."""
    body = b"".join(
        _string(name.encode()) + b"}(" + b"".join(_string(parameter.encode()) + _floats(array) for parameter, array in layer.items()) + b"u"
        for name, layer in layers.items()
    )
    whole = _array((), (b"O8", b"|", 63), b"](}(" + body + b"ue")  # a list of one dictionary
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(69) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\x80\x02" + whole + b".")


def twin(folder: Path, params: Params) -> None:
    """Random numbers in the three files' format."""
    rng = np.random.default_rng(0)
    for net, name in FILES.items():
        layers: dict[str, dict[str, np.ndarray]] = {}
        for (layer, parameter), shape in shapes(net).items():
            if parameter == "weights":
                spread = math.sqrt(6 / math.prod(shape[:-1]))
                values = spread * (2 * rng.random(shape) - 1)
            else:
                values = np.full(shape, 0.25 if parameter == "alpha" else 0.0)
            layers.setdefault(layer, {})[parameter] = values.astype(np.float32)
        write(folder / name, layers)
