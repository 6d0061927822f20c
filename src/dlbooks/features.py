"""Fields of an example: what is declared, how it lies in a ``tf.train.Example``, how TensorFlow Datasets spells it in ``features.json``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

PICTURES = ("jpeg", "png")
TFDS = "tensorflow_datasets.core.features."


@dataclass(frozen=True)
class Feature:
    """One field of an example.

    ``shape`` may begin with ``None`` (unknown length). ``encoding``: ``raw`` (numbers; arrays of uint8 and int16 as plain bytes,
    because decoding PNG costs ten times more and a negative sample of sound would take ten bytes), ``jpeg`` or ``png`` (encoded picture
    of which ``shape`` says height, width and channels), ``text`` (a UTF-8 string; with the shape ``(None,)`` several).
    ``names`` makes an integer, or integers of unknown number, class labels.
    """

    dtype: str = "int64"
    shape: tuple[int | None, ...] = ()
    encoding: str = "raw"
    names: tuple[str, ...] = ()

    @property
    def picture(self) -> bool:
        """An encoded picture."""
        return self.encoding in PICTURES

    @property
    def as_bytes(self) -> bool:
        """Stored in a ``bytes_list``: encoded pictures, text and arrays of uint8 or int16."""
        return self.encoding != "raw" or (self.dtype in ("uint8", "int16") and self.shape != ())

    @property
    def ragged(self) -> bool:
        """Numbers or texts whose count differs from item to item."""
        return not self.picture and None in self.shape


def serialized(features: dict[str, Feature], values: dict) -> bytes:
    """One example as the bytes of a ``tf.train.Example``; a value that does not fit its declaration is a ``ValueError``."""
    import tensorflow as tf

    if values.keys() != features.keys():
        raise ValueError(f"example has the fields {sorted(values)}, declared are {sorted(features)}")
    fields = {}
    for name, feature in features.items():
        value = values[name]
        if feature.encoding == "raw":
            whole = not feature.dtype.startswith("float")
            if not feature.shape and whole and isinstance(value, int | np.integer):  # most fields are: without an array in between
                if feature.names and not 0 <= value < len(feature.names):
                    raise ValueError(f"{name} is {value}, must be in 0 … {len(feature.names) - 1}")
                fields[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=(value,)))
                continue
            value = np.asarray(value)
            fits = value.ndim == len(feature.shape) and all(d in (n, None) for n, d in zip(value.shape, feature.shape, strict=True))
            typed = value.dtype == feature.dtype if feature.as_bytes else value.dtype.kind in ("iub" if whole else "fiu") or not value.size
            if not (fits and typed):
                raise ValueError(f"{name} is {value.dtype}{list(value.shape)}, declared is {feature.dtype}{list(feature.shape)}")
            if feature.names and (wrong := value[(value < 0) | (value >= len(feature.names))]).size:
                raise ValueError(f"{name} is {int(wrong.flat[0])}, must be in 0 … {len(feature.names) - 1}")
        if feature.as_bytes:
            parts = value if feature.encoding == "text" and feature.shape else (value,)
            data = [v.encode() if isinstance(v, str) else v.tobytes() if feature.encoding == "raw" else v for v in parts]
            fields[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=data))
        elif whole:
            fields[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=value.ravel().astype(np.int64)))
        else:
            fields[name] = tf.train.Feature(float_list=tf.train.FloatList(value=value.ravel()))
    return tf.train.Example(features=tf.train.Features(feature=fields)).SerializeToString(deterministic=True)


def parse(features: dict[str, Feature], rows):
    """A batch of serialized examples, string ``[n]`` → dict of tensors ``[n, …]``; features of unknown length are ragged.

    Arrays of uint8 and int16 are decoded where their shape is known, else they stay bytes, as encoded pictures and texts do.
    Parsing a whole batch at once is ten times faster than example by example.
    """
    import tensorflow as tf

    spec = {}
    for name, feature in features.items():
        number = tf.float32 if feature.dtype.startswith("float") else tf.int64
        if feature.as_bytes:
            spec[name] = tf.io.RaggedFeature(tf.string) if feature.encoding == "text" and feature.shape else tf.io.FixedLenFeature((), tf.string)
        elif feature.ragged:
            spec[name] = tf.io.RaggedFeature(number, partitions=[tf.io.RaggedFeature.UniformRowLength(n) for n in feature.shape[1:]])
        else:
            spec[name] = tf.io.FixedLenFeature(feature.shape, number)
    parsed = tf.io.parse_example(rows, spec)
    for name, feature in features.items():
        if feature.as_bytes and feature.encoding == "raw" and not feature.ragged:
            flat = tf.io.decode_raw(parsed[name], feature.dtype)
            parsed[name] = tf.reshape(flat, (tf.shape(rows)[0], *feature.shape))
        elif not feature.as_bytes:
            parsed[name] = tf.cast(parsed[name], feature.dtype)
    return parsed


def to_numpy(values, feature: Feature) -> np.ndarray:
    """A parsed feature as numpy array ``[n, …]``; items of unknown length as an object array of arrays."""
    if not feature.ragged:
        return values.numpy() if values.dtype == "string" else np.asarray(memoryview(values))
    if feature.as_bytes and feature.encoding == "raw":
        parts = [np.frombuffer(data, feature.dtype).reshape(-1, *feature.shape[1:]) for data in values.numpy()]
    else:
        inner = values.values
        parts = np.split((inner.to_tensor() if hasattr(inner, "to_tensor") else inner).numpy(), values.row_splits.numpy()[1:-1])
    items = np.empty(values.shape[0], object)
    items[:] = parts[: len(items)]  # of no items at all, split makes one empty part
    return items


def decoded(data, shape: tuple[int, int, int], fit: bool = True):
    """Encoded JPEG or PNG pictures, string ``[n]`` → uint8 ``[n, height, width, channels]``.

    With ``fit``, pictures of another size are cropped at the center and resized; without, they are an error. The pixels are those of Pillow.
    """
    import tensorflow as tf

    def one(item):
        picture = tf.io.decode_jpeg(item, channels=shape[2], dct_method="INTEGER_ACCURATE")  # reads PNG as well
        return tf.ensure_shape(fitted(picture, shape) if fit else picture, shape)

    return tf.map_fn(one, data, fn_output_signature=tf.TensorSpec(shape, tf.uint8))


def fitted(pictures, shape: tuple[int, int, int]):
    """uint8 pictures ``[(n,) h, w, c]`` → uint8 ``[(n,) height, width, channels]``: the largest centered crop of the right aspect, resized; gray ↔ color."""
    import tensorflow as tf

    height, width, channels = shape
    if pictures.shape[-1] != channels:
        pictures = tf.image.grayscale_to_rgb(pictures) if channels == 3 else tf.image.rgb_to_grayscale(pictures)
    have = tf.shape(pictures)[-3:-1]
    scale = tf.reduce_min(tf.cast(have, tf.float32) / (height, width))
    crop = tf.clip_by_value(tf.cast(tf.round(scale * (height, width)), tf.int32), 1, have)
    top = (have - crop) // 2
    cut = pictures[..., top[0] : top[0] + crop[0], top[1] : top[1] + crop[1], :]
    resized = tf.image.resize(cut, (height, width), antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)


# ── TensorFlow Datasets' spelling ───────────────────────────────────────────────────────────────────────────────────────────────


def labels_file(name: str, feature: Feature) -> str:
    """Name of the file in which TFDS keeps a feature's class names."""
    return f"{name.replace('/', '-' if feature.ragged else '.')}.labels.txt"


def to_tfds(features: dict[str, Feature]) -> dict:
    """Content of ``features.json`` (JSON of TFDS's protocol buffer).

    Features of unknown length with a common prefix, ``objects/bbox`` and ``objects/label``, become one ``Sequence`` of a dictionary.
    """
    fields: dict[str, dict] = {}
    for name, feature in features.items():
        outer, slash, inner = name.partition("/")
        if feature.ragged and slash:
            if outer in features:
                raise ValueError(f"{outer} and {name} cannot both be fields: the second is part of a sequence of that name")
            kept = fields.setdefault(outer, _sequence(_dictionary({})))
            kept["sequence"]["feature"]["featuresDict"]["features"][inner] = _item(inner, feature)
        elif feature.ragged and (feature.names or feature.encoding == "text"):
            fields[name] = _sequence(_item(name, feature))
        else:
            fields[name] = _whole(feature)
    return _dictionary(fields)


def _dictionary(fields: dict) -> dict:
    return {"pythonClassName": TFDS + "features_dict.FeaturesDict", "featuresDict": {"features": fields}}


def _sequence(item: dict) -> dict:
    return {"pythonClassName": TFDS + "sequence_feature.Sequence", "sequence": {"feature": item, "length": "-1"}}


def _item(name: str, feature: Feature) -> dict:
    """One element of a feature of unknown length."""
    if name == "bbox" and feature.shape == (None, 4):
        box = {"shape": {"dimensions": ["4"]}, "dtype": feature.dtype, "bboxFormat": "REL_YXYX"}
        return {"pythonClassName": TFDS + "bounding_boxes.BBoxFeature", "boundingBox": box}
    return _whole(Feature(feature.dtype, feature.shape[1:], feature.encoding, feature.names))


def _whole(feature: Feature) -> dict:
    if feature.names:
        return {"pythonClassName": TFDS + "class_label_feature.ClassLabel", "classLabel": {"numClasses": str(len(feature.names))}}
    if feature.encoding == "text":
        return {"pythonClassName": TFDS + "text_feature.Text", "text": {}}
    shape = {"dimensions": [str(-1 if n is None else n) for n in feature.shape]} if feature.shape else {}
    if feature.picture:
        return {
            "pythonClassName": TFDS + "image_feature.Image",
            "image": {"shape": shape, "dtype": feature.dtype, "encodingFormat": feature.encoding},
        }
    tensor = {"shape": shape, "dtype": feature.dtype, "encoding": "bytes" if feature.as_bytes else "none"}
    return {"pythonClassName": TFDS + ("tensor_feature.Tensor" if feature.shape else "scalar.Scalar"), "tensor": tensor}


def from_tfds(content: dict, names: Callable[[str], tuple[str, ...]]) -> dict[str, Feature]:
    """Features as ``to_tfds`` wrote them; ``names`` gives the lines of a labels file."""
    found: dict[str, Feature] = {}
    for name, entry in content["featuresDict"]["features"].items():
        if "sequence" not in entry:
            found[name] = _read(name, entry, (), names)
            continue
        item = entry["sequence"]["feature"]
        inner = item.get("featuresDict", {}).get("features")
        parts = {f"{name}/{key}": value for key, value in inner.items()} if inner else {name: item}
        found |= {key: _read(key, value, (None,), names) for key, value in parts.items()}
    return found


def _read(name: str, entry: dict, outer: tuple, names: Callable[[str], tuple[str, ...]]) -> Feature:
    if "classLabel" in entry:
        return Feature("int64", outer, names=names(labels_file(name, Feature("int64", outer))))
    kind = entry.get("image") or entry.get("tensor") or entry.get("boundingBox") or {}
    shape = tuple(None if n == "-1" else int(n) for n in kind.get("shape", {}).get("dimensions", []))
    encoding = kind.get("encodingFormat") or ("text" if "text" in entry else "raw")
    return Feature(kind.get("dtype", "string"), (*outer, *shape), encoding)
