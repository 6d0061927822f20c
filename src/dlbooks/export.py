"""Exports whose bytes depend on the model alone: SavedModel, TensorFlow Lite, ``.keras`` and ``.npz``.

Keras's own exports differ from process to process (variable order, function counters, fingerprint, clocks in zip files). Here a
``tf.Module`` with an explicit variable list is saved, its functions are renumbered, the fingerprint is left out, zips carry a
fixed date.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def savez(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """``np.savez`` with fixed dates; names may hold slashes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, value in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asanyarray(value), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", ZIP_DATE), buffer.getvalue())


def keras_file(model, path: Path) -> None:
    """A ``.keras`` file with fixed dates and without ``date_saved``."""
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(members["metadata.json"])
    metadata.pop("date_saved", None)
    members["metadata.json"] = json.dumps(metadata).encode()
    ids: dict[bytes, bytes] = {}  # Keras writes memory addresses to mark objects that a configuration holds twice
    members["config.json"] = re.sub(
        rb'("shared_object_id": )(\d+)', lambda m: m[1] + ids.setdefault(m[2], str(len(ids)).encode()), members["config.json"]
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            data = members[name]
            archive.writestr(zipfile.ZipInfo(name, ZIP_DATE), data)


def saved_model(
    folder: Path,
    functions: dict[str, tuple[Callable, list]],
    variables: list,
    assets: dict[str, str] | None = None,
    example: np.ndarray | dict | None = None,
) -> None:
    """Saves ``functions`` (name → (callable, list of ``tf.TensorSpec``)) over ``variables`` as a SavedModel.

    The first function also answers under ``serving_default`` and as ``__call__``. Each function returns a dictionary of tensors.
    ``assets`` are text files for ``assets.extra/``; ``example`` is an input of the first function, for whoever wants to try the model. Beside
    ``signature.json`` it is kept as ``example.npy``, or, a dictionary of values by the inputs' names, as ``example.npz``.
    """
    import tensorflow as tf

    module = tf.Module()
    module.model_variables = list(variables)
    signatures = {}
    for name, (function, spec) in functions.items():
        traced = tf.function(function, input_signature=spec)
        setattr(module, name, traced)
        signatures[name] = traced.get_concrete_function()
    first = next(iter(functions))
    module.__call__ = getattr(module, first)
    shutil.rmtree(folder, ignore_errors=True)
    tf.saved_model.save(module, str(folder), signatures={**signatures, "serving_default": signatures[first]})
    (folder / "fingerprint.pb").unlink(missing_ok=True)
    _renumber(folder / "saved_model.pb")
    extra = folder / "assets.extra"
    extra.mkdir()
    for name, text in (assets or {}).items():
        (extra / name).write_text(text, encoding="utf-8")
    sides = {"inputs": functions[first][1], "outputs": signatures[first].structured_outputs}
    described = {side: {} for side in sides}
    for spec in sides["inputs"]:
        described["inputs"][spec.name] = {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}
    for name, spec in sides["outputs"].items():
        described["outputs"][name] = {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}
    (extra / "signature.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    if example is not None and isinstance(example, dict) != (len(described["inputs"]) > 1):
        raise ValueError(f"the example of {first} is a dictionary just where there are several inputs: {', '.join(described['inputs'])}")
    if isinstance(example, dict):
        kinds = {spec.name: np.str_ if spec.dtype == tf.string else spec.dtype.as_numpy_dtype for spec in sides["inputs"]}
        savez(extra / "example.npz", {name: np.asarray(example[name], kind) for name, kind in kinds.items()})
    elif example is not None:
        np.save(extra / "example.npy", example)


def _renumber(path: Path) -> None:
    """Numbers traced functions from 0 in the order they were traced, whatever else the process had traced before."""
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    (meta,) = proto.meta_graphs
    traced = [f.signature.name for f in meta.graph_def.library.function]
    traced.sort(key=lambda name: int(name.rpartition("_")[2]))
    names = {old: f"{old.rpartition('_')[0]}_{number}" for number, old in enumerate(traced)}
    _rename(proto, names)
    for function in meta.graph_def.library.function:  # a captured variable's "name" is a counter, too
        for arguments in function.arg_attr.values():
            if "_user_specified_name" in arguments.attr and arguments.attr["_user_specified_name"].s.isdigit():
                del arguments.attr["_user_specified_name"]
        _rename_counters(function)
    library = meta.graph_def.library
    ordered = sorted(library.function, key=lambda f: f.signature.name)
    copies = [type(f).FromString(f.SerializeToString(deterministic=True)) for f in ordered]
    del library.function[:]
    library.function.extend(copies)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _rename_counters(function) -> None:
    """Arguments and results of a loop's body named after a counter of the process (``while_6537_0``) → after their place; unused ones lose it."""
    names: dict[str, str] = {}
    for kind, arguments in (("argument", function.signature.input_arg), ("result", function.signature.output_arg)):
        for place, argument in enumerate(arguments):
            argument.name = re.sub(r"_\d+(?=___redundant_placeholder\d+$)", "", argument.name)
            if re.fullmatch(r"(while|cond)_\d+(_\d+)?", argument.name):
                names[argument.name] = argument.name = f"{kind}_{place}"
    if not names:
        return
    for node in function.node_def:
        node.input[:] = [names.get(name, name) for name in node.input]
    results = {names.get(key, key): names.get(value, value) for key, value in function.ret.items()}
    function.ret.clear()
    function.ret.update(results)


def _rename(message, names: dict[str, str]) -> None:
    """Replaces whole strings in a protocol buffer: fields, list items, map keys."""
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            entry = field.message_type.fields_by_name
            for key in list(value):
                if entry["value"].message_type is not None:
                    _rename(value[key], names)
                    if key in names:
                        value[names[key]].CopyFrom(value[key])
                        del value[key]
        elif field.message_type is not None:
            for item in value if field.is_repeated else [value]:
                _rename(item, names)
        elif field.type == field.TYPE_STRING:
            if field.is_repeated:
                value[:] = [names.get(item, item) for item in value]
            elif value in names:
                setattr(message, field.name, names[value])


def tflite(path: Path, function: Callable, spec: list, quantize: bool = False) -> None:
    """Converts a function to TensorFlow Lite (float32, or dynamic-range weights)."""
    import tensorflow as tf

    concrete = tf.function(function, input_signature=spec).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    if quantize:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    path.write_bytes(converter.convert())
