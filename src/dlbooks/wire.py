"""Requests and answers of ``dlbooks serve`` as bytes: JSON, forms and raw bodies become a chapter's inputs, its answers JSON or a PNG.

Whatever a client got wrong is ``Refused``: a status and one sentence. Nothing here knows models or threads.
"""

from __future__ import annotations

import binascii
import inspect
import io
import math
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pydantic
from pydantic import Field

from dlbooks import UserError, images, inputs

MAX_INPUTS = 64  # in one request
MAX_CHARACTERS = 20_000  # of one text
MAX_NUMBERS = 100_000  # in one input
MAX_PIXELS = 16_000_000  # in one request
WHOLE = 2**53  # up to here every JSON reader agrees about whole numbers
SOUNDS = ("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave")
STRICT = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)


class Refused(Exception):  # noqa: N818
    """A request that is not answered: HTTP status, one sentence, extra headers."""

    def __init__(self, status: int, sentence: str, **headers: str):
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, {k.replace("_", "-"): v for k, v in headers.items()}


# ── what a chapter takes, as pydantic models ────────────────────────────────────────────────────────────────────────────────────────


def options_of(answer: Callable, name: str) -> type[pydantic.BaseModel]:
    """The keyword-only parameters of a chapter's ``answer`` as a pydantic model; whole numbers and words without limits get wide ones."""
    hints = typing.get_type_hints(answer, include_extras=True)
    fields = {}
    for key, parameter in inspect.signature(answer).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            hint = hints[key]
            wide = {int: Field(ge=-WHOLE, le=WHOLE), str: Field(max_length=MAX_CHARACTERS)}.get(hint)
            fields[key] = (typing.Annotated[hint, wide] if wide else hint, parameter.default)
    return pydantic.create_model(f"{name}-options", __config__=STRICT, **fields)


Text = typing.Annotated[str, Field(max_length=MAX_CHARACTERS)]
Number = typing.Annotated[float, Field(ge=-inputs.LARGEST, le=inputs.LARGEST)]
Numbers = typing.Annotated[list[Number], Field(min_length=1, max_length=MAX_NUMBERS)]
Rows = typing.Annotated[list[typing.Annotated[list[Number], Field(min_length=1, max_length=1000)]], Field(min_length=1, max_length=MAX_NUMBERS)]


def _item(takes: str):
    if takes == "text":
        return Text
    if takes == "numbers":
        return Numbers | Rows
    what = "a wav file" if takes == "sound" else "a picture file"
    return typing.Annotated[str, Field(description=f"{what} in base64, or as a data: URL", json_schema_extra={"contentEncoding": "base64"})]


def request_of(takes: str, options: type[pydantic.BaseModel], name: str) -> type[pydantic.BaseModel]:
    """The JSON body: ``input`` or ``inputs``, and ``options``."""
    item = _item(takes)
    either = {"oneOf": [{"required": ["input"]}, {"required": ["inputs"]}]}
    return pydantic.create_model(
        f"{name}-request",
        __config__=pydantic.ConfigDict(**STRICT, json_schema_extra=either),
        input=(item, Field(None, description="one input")),
        inputs=(list[item], Field(None, min_length=1, max_length=MAX_INPUTS, description="several inputs, answered in order")),
        options=(options, Field(default_factory=options)),
    )


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Asked:
    """Inputs as they came (bytes of files, texts, arrays of numbers), what to call each in an error, and the options that were given."""

    inputs: list
    names: list[str]
    options: dict


def from_json(body: bytes, model: type[pydantic.BaseModel], takes: str) -> Asked:
    """A JSON body."""
    try:
        found = model.model_validate_json(body, strict=True)
    except pydantic.ValidationError as error:
        raise _refusal(error) from None
    given = found.model_fields_set
    if ("input" in given) == ("inputs" in given):
        raise Refused(422, "give either input or inputs, exactly one of them")
    inputs = found.inputs if "inputs" in given else [found.input]
    names = [f"inputs.{i}" for i in range(len(inputs))] if "inputs" in given else ["input"]
    if takes == "numbers":
        inputs = [_array(value, name) for value, name in zip(inputs, names, strict=True)]
    elif takes != "text":
        inputs = [_unpacked(value, name) for value, name in zip(inputs, names, strict=True)]
    return Asked(inputs, names, found.options.model_dump(exclude_unset=True))


def _refusal(error: pydantic.ValidationError) -> Refused:
    first = error.errors(include_url=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return Refused(400, f"malformed JSON: {first['msg'].removeprefix('Invalid JSON: ')}")
    place = ".".join(str(part) for part in first["loc"] if not re.search(r"[\[(]", str(part)))  # without the branches of a union
    return Refused(422, f"{place or 'body'}: {first['msg'][0].lower()}{first['msg'][1:]}")


def _unpacked(text: str, name: str) -> bytes:
    """The bytes of a base64 text or data: URL."""
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise Refused(400, f"{name}: a data: URL must hold base64, data:image/png;base64,…")
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Refused(400, f"{name}: not base64") from None


def _array(value: list, name: str) -> np.ndarray:
    """float64 ``[n]`` or ``[n, k]``."""
    widths = {len(row) if isinstance(row, list) else 0 for row in value}
    if len(widths) > 1:
        raise Refused(422, f"{name}: all rows must have the same number of columns")
    array = np.asarray(value, np.float64)
    if array.size > MAX_NUMBERS:
        raise Refused(422, f"{name}: {array.size:,} numbers, at most {MAX_NUMBERS:,} are taken")
    return array


def from_words(text: str, name: str) -> np.ndarray:
    """Numbers as a person writes them: a row per line, parted by commas, semicolons or blanks; one column or one row is ``[n]``."""
    rows = []
    for line, words in enumerate(text.splitlines(), 1):
        parts = [p for p in re.split(r"[,;\s]+", words.strip()) if p]
        try:
            rows += [[float(p) for p in parts]] if parts else []
        except ValueError:
            raise Refused(422, f"{name}, line {line}: not a number: {next(p for p in parts if not _number(p))[:40]!r}") from None
    if not rows:
        raise Refused(422, f"{name}: no number found")
    if any(not math.isfinite(v) or abs(v) > inputs.LARGEST for row in rows for v in row):
        raise Refused(422, f"{name}: numbers must be finite, at most {inputs.LARGEST:g}")
    if len(rows) == 1 or all(len(row) == 1 for row in rows):
        rows = [v for row in rows for v in row]
    return _array(rows, name)


def _number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _utf8(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(400, f"{name}: not UTF-8 (byte {error.start})") from None


def from_file(data: bytes, name: str, takes: str):
    """One input out of a raw body or an uploaded file."""
    if takes == "numbers":
        return from_words(_utf8(data, name), name)
    if takes == "text":
        text = _utf8(data, name)
        if len(text) > MAX_CHARACTERS:
            raise Refused(422, f"{name}: {len(text):,} characters, at most {MAX_CHARACTERS:,} are taken")
        return text
    return data


def from_words_of_query(pairs: list[tuple[str, str]], options: type[pydantic.BaseModel]) -> dict:
    """Options out of a query string or a form's fields, where everything is text."""
    given: dict[str, str] = {}
    for key, value in pairs:
        if key in given:
            raise Refused(422, f"{key}: given twice")
        given[key] = value
    try:
        return options.model_validate(given).model_dump(exclude_unset=True)
    except pydantic.ValidationError as error:
        raise _refusal(error) from None


async def from_form(headers, body: bytes, takes: str) -> tuple[list, list[str], list[tuple[str, str]]]:
    """Inputs, their names and the remaining fields of a multipart form. Files are inputs, and so are the fields ``input`` and ``inputs``."""
    from starlette.datastructures import UploadFile
    from starlette.formparsers import MultiPartException, MultiPartParser

    async def stream():
        yield body

    try:
        form = await MultiPartParser(headers, stream(), max_files=MAX_INPUTS, max_fields=MAX_INPUTS + 32, max_part_size=1 << 20).parse()
    except (MultiPartException, KeyError, ValueError, UnicodeError) as error:
        words = str(getattr(error, "message", "") or "its parts cannot be told apart").rstrip(".")
        raise Refused(400, f"malformed form: {words}") from None
    inputs, names, fields = [], [], []
    for key, value in form.multi_items():
        if isinstance(value, UploadFile):
            name = re.sub(r"[^\w. -]", "_", (value.filename or "").rpartition("/")[2])[:80] or key[:80]
            inputs.append(from_file(await value.read(), name, takes))
            names.append(name)
        elif key in ("input", "inputs") and takes in ("text", "numbers"):
            inputs.append(from_file(value.encode("utf-8", "replace"), key, takes))
            names.append(key)
        else:
            fields.append((key, value))
    await form.close()
    if not inputs:
        raise Refused(
            422, "the form holds no input: give a file, or a field named input" if takes in ("text", "numbers") else "the form holds no file"
        )
    return inputs, names, fields


def kind_of(content_type: str, takes: str) -> str:
    """``json``, ``form`` or ``raw``; another content type than the chapter takes is refused."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind in ("application/json", "") or kind.endswith("+json"):
        return "json"
    if kind == "multipart/form-data":
        return "form"
    fits = {"text": ("text/plain",), "numbers": ("text/csv", "text/plain"), "sound": SOUNDS}.get(takes)
    if kind in fits if fits else kind.startswith("image/"):
        return "raw"
    right = " or ".join(fits[:2]) if fits else "image/png, image/jpeg …"
    raise Refused(415, f"content type {kind[:60]!r} is not taken: send application/json, multipart/form-data, or the input itself as {right}")


def decoded(asked: Asked, takes: str) -> list:
    """The inputs as ``answer`` takes them: pictures decoded, sounds looked at."""
    if takes in ("text", "numbers"):
        return asked.inputs
    if takes == "sound":
        for data, name in zip(asked.inputs, asked.names, strict=True):
            if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
                raise Refused(422, f"{name}: not a wav file")
        return asked.inputs
    mode, left, found = ("L" if takes == "gray picture" else "RGB"), MAX_PIXELS, []
    for data, name in zip(asked.inputs, asked.names, strict=True):
        try:
            picture = images.decode(data, name, mode, MAX_PIXELS)
        except UserError as error:
            raise Refused(422, str(error)) from None
        left -= picture.shape[0] * picture.shape[1]
        if left < 0:
            raise Refused(422, f"{name}: more than {MAX_PIXELS / 1e6:.0f} megapixels in one request")
        found.append(picture)
    return found


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def png(picture: np.ndarray) -> bytes:
    """uint8 ``[H, W]``, ``[H, W, 1]`` or ``[H, W, 3]`` as a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.ndim == 3 and picture.shape[-1] == 1 else picture).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def is_picture(value) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.uint8 and (value.ndim == 2 or (value.ndim == 3 and value.shape[-1] in (1, 3)))


def plain(value):
    """A chapter's answer as JSON takes it: pictures as data: URLs of PNG files, arrays as lists, what is no number as null."""
    if is_picture(value):
        return images.data_url(png(value))
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 4:
        return [plain(picture) for picture in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def first_picture(value) -> np.ndarray | None:
    """The first picture in an answer."""
    if is_picture(value):
        return value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return next((found for part in parts if (found := first_picture(part)) is not None), None)
