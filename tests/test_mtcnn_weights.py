"""MTCNN's files: upstream's pickle read without trusting it, the twin in the same format, records and back."""

import hashlib
import io
import pickle
import re
import struct

import numpy as np
import pytest

from dlbooks import UserError, fetch
from dlbooks.catalog import declared
from dlbooks.datasets import mtcnn_weights
from dlbooks.records import Records

PARAMS = mtcnn_weights.Params()


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    mtcnn_weights.twin(folder, PARAMS)
    return folder


def npy(body: bytes, header: bytes = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n" + body


def test_sizes_of_the_networks():
    """Layers and numbers of the files that facenet ships."""
    layers = {net: len({layer for layer, _ in mtcnn_weights.shapes(net)}) for net in "PRO"}
    numbers = {net: sum(int(np.prod(shape)) for shape in mtcnn_weights.shapes(net).values()) for net in "PRO"}
    assert layers == {"P": 8, "R": 10, "O": 13}
    assert numbers == {"P": 6_632, "R": 100_178, "O": 389_040}


def test_the_twin_has_the_reference_machines_bits(raw):
    digest = hashlib.sha256(b"".join((raw / name).read_bytes() for name in mtcnn_weights.FILES.values())).hexdigest()
    assert digest[:16] == "e09e0b80398ad4ad"


def test_numpy_reads_what_we_write(raw):
    for net, name in mtcnn_weights.FILES.items():
        there = np.load(raw / name, allow_pickle=True, encoding="latin1").item()  # our own file
        ours = mtcnn_weights.read((raw / name).read_bytes(), name)
        assert [(layer, p, a.shape) for layer, arrays in there.items() for p, a in arrays.items()] == [
            (*key, shape) for key, shape in mtcnn_weights.shapes(net).items()
        ]
        for layer, arrays in there.items():
            for parameter, array in arrays.items():
                np.testing.assert_array_equal(ours[layer][parameter], array)
                assert array.dtype == np.float32
        assert there["conv2"]["weights"].std() == pytest.approx(np.sqrt(2 / np.prod(there["conv2"]["weights"].shape[:-1])), rel=0.05)


def test_columns_first():
    """Upstream's heads are stored by columns, as MATLAB does."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    pickled = mtcnn_weights._floats(array)
    false, data = b"\x89" + mtcnn_weights._string(array.tobytes()), b"\x88" + mtcnn_weights._string(array.tobytes(order="F"))
    assert false in pickled
    layers = mtcnn_weights._array((), (b"O8", b"|", 63), b"](}(U\x01a}(U\x01b" + pickled.replace(false, data) + b"uue")
    read = mtcnn_weights.read(npy(b"\x80\x02" + layers + b"."), "x.npy")
    np.testing.assert_array_equal(read["a"]["b"], array)


def test_records_and_back(raw, tmp_path):
    fetch.fetch(mtcnn_weights.DATASET, mtcnn_weights, PARAMS, tmp_path / "raw" / "mtcnn-weights")
    fetch.preprocess(mtcnn_weights.DATASET, mtcnn_weights, PARAMS, tmp_path / "raw" / "mtcnn-weights", tmp_path / "records")
    records = Records(tmp_path / "records")
    assert records.count("train") == 50 and list(records.features) == ["net", "name", "shape", "values"]
    nets = mtcnn_weights.load(records)
    assert list(nets) == ["P", "R", "O"] and list(nets["P"]) == ["conv1", "PReLU1", "conv2", "PReLU2", "conv3", "PReLU3", "conv4-1", "conv4-2"]
    for net, name in mtcnn_weights.FILES.items():
        layers = mtcnn_weights.read((raw / name).read_bytes(), name)
        for (layer, parameter), shape in mtcnn_weights.shapes(net).items():
            assert nets[net][layer][parameter].shape == shape and nets[net][layer][parameter].dtype == np.float32
            np.testing.assert_array_equal(nets[net][layer][parameter], layers[layer][parameter])


# ── files that are not what they should be ──────────────────────────────────────────────────────────────────────────────────────────


class Evil:
    """What an attacker's pickle does: call something with an argument."""

    def __init__(self, function, *words):
        self.call = function, words

    def __reduce__(self):
        return self.call


def numpys(protocol):
    file = io.BytesIO()
    pickle.dump(np.zeros(3, np.float32), file, protocol)
    return file.getvalue()


HOSTILE = {
    "shell": lambda mark: pickle.dumps(Evil(__import__("os").system, f"touch {mark}"), 2),
    "open": lambda mark: pickle.dumps(Evil(open, str(mark), "w"), 2),
    "eval": lambda mark: pickle.dumps({"conv1": Evil(eval, f"open({str(mark)!r}, 'w')")}, 4),
    "dotted": lambda mark: b"\x80\x04\x8c\x05numpy\x8c\x0eos.system.thing\x93.",
    "getattr": lambda mark: b"cbuiltins\ngetattr\n.",
    "old spelling": lambda mark: b"\x80\x02(S'touch %b'\nios\nsystem\n." % str(mark).encode(),
    "numpy's own functions": lambda mark: b"cnumpy.core.multiarray\nfromfile\n.",
    "attributes on a stand-in": lambda mark: b"\x80\x02cnumpy\ndtype\nN}U\x04codeU\x01xs\x86b.",
    "a stand-in called with too much": lambda mark: b"\x80\x02cnumpy\ndtype\n(t\x81.",
    "persistent name": lambda mark: b"Pother\n.",
    "endless memory": lambda mark: b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b".",
    "unfinished": lambda mark: b"\x80\x02}(",
    "nothing": lambda mark: b"",
    "a number": lambda mark: pickle.dumps(7, 2),
    "a dictionary of numbers": lambda mark: b"\x80\x02" + mtcnn_weights._array((), (b"O8", b"|", 63), b"](}(U\x01a}(U\x01bK\x01uue") + b".",
    "an array of our NumPy": lambda mark: numpys(2),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_pickle_is_refused_and_runs_nothing(raw, tmp_path, kind):
    mark = tmp_path / "it-ran"
    for name in mtcnn_weights.FILES.values():
        (tmp_path / name).write_bytes((raw / name).read_bytes())
    (tmp_path / "det2.npy").write_bytes(npy(HOSTILE[kind](mark)))
    with pytest.raises(UserError) as caught:
        mtcnn_weights.examples(tmp_path, PARAMS)
    message = str(caught.value)
    assert message.startswith("det2.npy is no file of MTCNN's weights: ") and "\n" not in message and not mark.exists()


def test_a_pickle_names_what_it_wanted():
    with pytest.raises(UserError, match=r"^x\.npy is no file of MTCNN's weights: it names posix\.system, which no array needs$"):
        mtcnn_weights.read(npy(pickle.dumps(Evil(__import__("os").system, "true"), 2)), "x.npy")


def test_upstreams_digest_comes_before_the_pickle(raw, monkeypatch):
    """With upstream's files expected, other bytes are never opened, not even harmless ones."""
    monkeypatch.setattr(mtcnn_weights, "read", lambda *_: pytest.fail("opened"))
    expected, found = mtcnn_weights.DATASET.files[0].sha256, hashlib.sha256((raw / "det1.npy").read_bytes()).hexdigest()
    message = f"{raw / 'det1.npy'}: expected SHA-256 {expected}, found {found}; delete {raw} and fetch the data set again"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        mtcnn_weights.examples(raw, mtcnn_weights.Params(twin=False))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda layers: layers["conv1"].pop("biases"), "det1.npy: conv1/biases has shape none, expected (10,)"),
        (lambda layers: layers.update(conv9={"weights": np.zeros(2)}), "det1.npy: conv9/weights has shape (2,), expected none"),
        (lambda layers: layers["conv2"].update(weights=np.zeros((3, 3))), "det1.npy: conv2/weights has shape (3, 3), expected (3, 3, 10, 16)"),
    ],
)
def test_other_networks_are_named(raw, tmp_path, change, message):
    layers = mtcnn_weights.read((raw / "det1.npy").read_bytes(), "det1.npy")
    change(layers)
    mtcnn_weights.write(tmp_path / "det1.npy", layers)
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        mtcnn_weights.examples(tmp_path, PARAMS)


def test_damaged_headers(raw, tmp_path):
    data = (raw / "det1.npy").read_bytes()
    for damaged in (b"", data[:7], data[:40], b"\x94" + data[1:], data[:6] + b"\x07" + data[7:], data[:-1000]):
        with pytest.raises(UserError, match=r"^det1\.npy is no file of MTCNN's weights: [^\n]+$"):
            mtcnn_weights.read(damaged, "det1.npy")
    with pytest.raises(UserError, match=r"it holds float32 of shape \(3,\), expected one object$"):
        mtcnn_weights.read(npy(bytes(12), b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }"), "det1.npy")
    with pytest.raises(UserError, match=r"det1\.npy is missing: fetch the data set again$"):
        mtcnn_weights.examples(tmp_path, PARAMS)


def test_declaration():
    assert declared(mtcnn_weights.DATASET.path).declaration == mtcnn_weights.DATASET
