"""A person's text files, see `_text.py` for what is read: one example per split, a stretch of text.

Files named ``train.txt``, ``validation.txt`` (``valid``, ``val``) and ``test.txt`` are the splits. All others are joined in the order of their names, an empty line
between two, and cut: first the training text, then the shares ``validation`` and ``test``, so that no model is asked about a neighbor of what it has read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from dlbooks import archives
from dlbooks.datasets import _text
from dlbooks.datasets._image_folder import SPLITS
from dlbooks.records import Feature

FEATURES = {"text": Feature(encoding="text")}


def split_names(names: Sequence[str]) -> dict[str, str]:
    """``{file: split}`` if the files are named after splits, one of them ``train``; else nothing."""
    found = {name: SPLITS.get(PurePosixPath(name).stem.lower(), "") for name in names}
    return found if "train" in found.values() and all(found.values()) else {}


def divided(texts: dict[str, str], validation: float, test: float) -> dict[str, str]:
    """``{split: text}`` from ``{file: text}``; a split that is not given is cut from the end of the training text."""
    names = split_names(list(texts))
    parts = {
        split: "\n\n".join(texts[n].strip("\n") for n in sorted(texts) if names.get(n, "train") == split) for split in ("train", "validation", "test")
    }
    whole = parts["train"] + "\n"
    checked, tested = (0 if parts[s] else round(len(whole) * share) for s, share in (("validation", validation), ("test", test)))
    end = len(whole) - checked - tested
    cut = {"train": whole[:end], "validation": whole[end : end + checked], "test": whole[end + checked :]}
    return {split: parts[split] if split != "train" and parts[split] else cut[split] for split in cut}


def examples(path: Path, params) -> dict[str, list[dict]]:
    """The splits of the zip ``path``; ``params`` has the shares ``validation`` and ``test``."""
    members = archives.Members(path)
    texts = {name: _text.text(members.read(name), f"{path.name}, {name}") for name in members.names}
    return {split: [{"text": part}] for split, part in divided(texts, params.validation, params.test).items()}
