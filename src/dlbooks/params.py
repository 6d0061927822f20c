"""Typed parameters: classes in the chapters' files, values in ``params.yaml`` per profile."""

from __future__ import annotations

import difflib
import re
from functools import cache
from pathlib import Path

import pydantic

from dlbooks import UserError, runtime


class ChapterParams(pydantic.BaseModel):
    """Base of every chapter's ``Params``: unknown keys and values out of range are refused by name.

    ``seed`` starts every random draw of the run: initial weights, shuffling, dropout, noise.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    seed: int = pydantic.Field(0, ge=0, lt=2**31, description="start of every random draw")


class DataSetParams(pydantic.BaseModel):
    """Base of every data set's ``Params``. ``twin`` draws the synthetic stand-in, otherwise upstream's files are fetched."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    twin: bool = pydantic.Field(True, description="draw the synthetic twin instead of downloading")
    shards: int = pydantic.Field(1, ge=1, le=1024, description="files the training split is written to")


def read(path: Path) -> dict:
    """The content of ``params.yaml``, parsed once and not to be changed; a syntax error names the line."""
    try:
        return _read(path, path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run this in a checkout of the project") from None


@cache
def _read(path: Path, text: str) -> dict:
    from ruamel.yaml import YAML, YAMLError

    try:
        values = YAML(typ="safe").load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise UserError(f"{path}, line {mark.line + 1 if mark else '?'}: {getattr(error, 'problem', error)}") from None
    if values.get("profile") not in runtime.PROFILES:
        raise UserError(f"{path}: profile is {values.get('profile')!r}, must be one of {', '.join(runtime.PROFILES)}")
    return values


def with_profile(text: str, profile: str) -> str:
    """The text of a ``params.yaml`` with another profile."""
    return re.sub(r"^profile:\s*\w+", f"profile: {profile}", text, count=1, flags=re.M)


def section(values: dict, key: str, profile: str) -> dict:
    """The values of ``key`` in ``profile``. ``smoke`` lists only what differs from ``mini``."""
    block = values
    for part in key.split("."):
        block = (block or {}).get(part)
    block = block or {}
    own = block.get(profile) or {}
    return {**(block.get("mini") or {}), **own} if profile == "smoke" else dict(own)


def validate(cls: type[pydantic.BaseModel], values: dict, where: str) -> pydantic.BaseModel:
    """``cls(**values)``; the first wrong entry becomes one line naming key, value and what is allowed."""
    try:
        return cls(**values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(p) for p in first["loc"]) or "(all)"
        if first["type"] == "extra_forbidden":
            close = difflib.get_close_matches(key, cls.model_fields, n=1)
            hint = f"did you mean {close[0]}?" if close else "known are " + ", ".join(cls.model_fields)
            raise UserError(f"{where}.{key}: unknown parameter; {hint}") from None
        message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        raise UserError(f"{where}.{key} = {first['input']!r}: {message}") from None


def assignments(words: list[str]) -> dict[str, object]:
    """``["rate=0.1", "net=b1"]`` → ``{"rate": 0.1, "net": "b1"}``; values are read as YAML."""
    from ruamel.yaml import YAML

    values = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise UserError(f"{word!r} is no assignment: write key=value")
        values[key] = YAML(typ="safe").load(value) if value else ""
    return values
