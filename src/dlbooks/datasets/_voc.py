"""Pascal VOC's annotations: one XML file per picture with its size and the boxes of its objects, and lists of the pictures of each split.

    <annotation>
        <filename>000001.jpg</filename>
        <size><width>353</width><height>500</height><depth>3</depth></size>
        <object>
            <name>dog</name>
            <bndbox><xmin>48</xmin><ymin>240</ymin><xmax>195</xmax><ymax>371</ymax></bndbox>
        </object>
    </annotation>

Pixels count from 1 and a box holds its last pixel, so its continuous edges are (ymin − 1)/H, (xmin − 1)/W, ymax/H, xmax/W: the whole picture is
0, 0, 1, 1. Many drawing tools count from 0 all the same; ``origin=0`` reads those. Coordinates may be fractions (VOC 2012 has some). Parts of an
object (`<part>`, with boxes of their own) are no objects. Such files come from strangers, so one with a document type, and with it every entity, is refused.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape

import numpy as np

from dlbooks import UserError

MAX_BYTES = 8 << 20
MAX_SIDE = 65_535  # pixels of a JPEG picture
MAX_DEPTH = 32  # elements inside each other; VOC has five
EDGES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Annotation:
    """One picture's objects: ``boxes`` float32 ``[n, 4]`` = ymin, xmin, ymax, xmax in 0 … 1, ``names`` their ``n`` classes; ``empty`` counts the boxes left out for having no area."""

    filename: str
    width: int
    height: int
    boxes: np.ndarray
    names: list[str]
    empty: int = 0


class _ProblemError(Exception):
    """What is wrong, and in which line."""

    def __init__(self, line: int, text: str):
        super().__init__(f"line {line}: {text}")


@dataclass
class _Node:
    tag: str
    line: int
    text: list[str] = field(default_factory=list)
    children: list[_Node] = field(default_factory=list)

    def all(self, tag: str) -> list[_Node]:
        return [child for child in self.children if child.tag == tag]

    def get(self, tag: str) -> _Node:
        """The child of that name."""
        found = self.all(tag)
        if not found:
            raise _ProblemError(self.line, f"<{self.tag}> holds no <{tag}>")
        return found[0]

    def words(self) -> str:
        return "".join(self.text).strip()

    def number(self) -> float:
        text = self.words()
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or "_" in text:
            raise _ProblemError(self.line, f"<{self.tag}> is {text[:40]!r}, must be a number")
        return value


def _tree(data: bytes) -> _Node:
    """The XML document as nodes that know their line."""
    if len(data) > MAX_BYTES:
        raise _ProblemError(1, f"{len(data) / 1e6:.0f} MB, an annotation has at most {MAX_BYTES / 1e6:.0f} MB")
    parser = expat.ParserCreate()
    parser.buffer_text = True
    stack = [_Node("", 1)]

    def start(tag, attributes):
        if len(stack) > MAX_DEPTH:
            raise _ProblemError(parser.CurrentLineNumber, f"more than {MAX_DEPTH} elements inside each other")
        node = _Node(tag, parser.CurrentLineNumber)
        stack[-1].children.append(node)
        stack.append(node)

    def refuse(*_):
        raise _ProblemError(parser.CurrentLineNumber, "a document type (<!DOCTYPE …>) is not read: entities could be anything; delete it")

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda tag: stack.pop()
    parser.CharacterDataHandler = lambda text: stack[-1].text.append(text)
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise _ProblemError(error.lineno, f"no readable XML: {expat.ErrorString(error.code)}") from None
    except (ValueError, LookupError) as error:  # an encoding that expat or Python does not know
        raise _ProblemError(parser.CurrentLineNumber, f"no readable XML: {error}; save the file as UTF-8") from None
    return stack[0].children[0]


def _size(root: _Node, size: tuple[int, int] | None) -> tuple[int, int]:
    """Width and height in pixels; ``size`` is what the picture itself has."""
    node = root.get("size")
    width, height = (node.get(tag).number() for tag in ("width", "height"))
    if not all(1 <= side <= MAX_SIDE and side == int(side) for side in (width, height)):
        raise _ProblemError(node.line, f"size is {width:g} × {height:g}, must be whole pixels, 1 … {MAX_SIDE} each")
    if size and size != (width, height):
        raise _ProblemError(node.line, f"size is {width:g} × {height:g}, but the picture has {size[0]} × {size[1]} pixels")
    return int(width), int(height)


def _object(node: _Node, width: int, height: int, names: Sequence[str], origin: int, keep: bool) -> tuple[str, list[float]] | None:
    """Class and [ymin, xmin, ymax, xmax] of one object; None for a box without area, unless they are an error (``keep``)."""
    name = node.get("name").words()
    if not name:
        raise _ProblemError(node.get("name").line, "<name> is empty, must be the object's class")
    if names and name not in names:
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.5) or [n for n in names if n.lower() == name.lower()]
        raise _ProblemError(
            node.get("name").line, f"unknown class {name[:60]!r}; " + (f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}")
        )
    shown = repr(name[:60])
    box = node.get("bndbox")
    edges = {tag: box.get(tag).number() for tag in EDGES}
    low_x, low_y, high_x, high_y = edges.values()
    for low, high in (("xmin", "xmax"), ("ymin", "ymax")):
        if edges[low] > edges[high]:
            raise _ProblemError(box.line, f"box of {shown} is inverted: {low} {edges[low]:g}, {high} {edges[high]:g}")
    for tag, value in edges.items():
        limit = width if tag[0] == "x" else height
        if not origin <= value <= limit:
            where = f"{tag} {value:g} is not in {origin} … {limit}"
            hint = " (Pascal VOC counts pixels from 1)" if origin == 1 and value == 0 else ""
            raise _ProblemError(box.line, f"box of {shown} leaves the picture of {width} × {height} pixels: {where}{hint}")
    if min(high_x - low_x, high_y - low_y) < 0.01:  # pixels; less, float32 in 0 … 1 could not hold
        if keep:
            raise _ProblemError(box.line, f"box of {shown} is empty: xmin {low_x:g}, ymin {low_y:g}, xmax {high_x:g}, ymax {high_y:g}")
        return None
    return name, [(low_y - origin) / height, (low_x - origin) / width, high_y / height, high_x / width]


def inspect(
    data: bytes,
    where: str,
    names: Sequence[str] = (),
    *,
    size: tuple[int, int] | None = None,
    origin: int = 1,
    drop_empty: bool = False,
) -> tuple[Annotation | None, list[str]]:
    """Everything that is wrong with one annotation, and what of it can be used all the same.

    Takes an XML file's bytes; ``where`` names it in messages. ``names`` are the classes there are (none: any), ``size`` the picture's true (width, height), if
    known, ``origin`` the number of the first pixel (1 in Pascal VOC; where any edge in a folder is 0, its tool counts from 0), ``drop_empty``
    leaves boxes without area out, counted instead of listed.

    Returns the annotation with those objects that are right and a list of messages "<where>, line <n>: <what>", one for every wrong object; an
    empty list means a right file. The annotation is None if the file as a whole is of no use: no XML, no <annotation>, no or a wrong size.
    Whoever checks many files joins their lists and, to go on, takes the annotation (or skips the picture if it is None).
    """
    try:
        root = _tree(data)
        if root.tag != "annotation":
            raise _ProblemError(root.line, f"the outermost element is <{root.tag[:40]}>, must be <annotation>")
        width, height = _size(root, size)
    except _ProblemError as problem:
        return None, [f"{where}, {problem}"]
    found, problems, empty = [], [], 0
    for node in root.all("object"):
        try:
            item = _object(node, width, height, names, origin, not drop_empty)
        except _ProblemError as problem:
            problems.append(f"{where}, {problem}")
            continue
        if item:
            found.append(item)
        else:
            empty += 1
    filename = next((node.words() for node in root.all("filename")), "")
    boxes = np.array([box for _, box in found], np.float64).reshape(-1, 4).astype(np.float32)
    return Annotation(filename, width, height, boxes, [name for name, _ in found], empty), problems


def read(data: bytes, where: str, names: Sequence[str] = (), **options) -> Annotation:
    """One annotation; the first thing that is wrong with it is a ``UserError`` naming file and line. Arguments as ``inspect``'s."""
    annotation, problems = inspect(data, where, names, **options)
    if problems:
        raise UserError(problems[0])
    return annotation


def write(filename: str, width: int, height: int, objects: Iterable[tuple[str, tuple[int, int, int, int]]]) -> bytes:
    """An annotation of (class, (xmin, ymin, xmax, ymax)) in pixels that count from 1, last pixel inside."""
    size = f"<width>{width}</width>\n\t\t<height>{height}</height>\n\t\t<depth>3</depth>"
    lines = ["<annotation>", f"\t<filename>{escape(filename)}</filename>", f"\t<size>\n\t\t{size}\n\t</size>"]
    for name, box in objects:
        edges = "".join(f"\t\t\t<{tag}>{value}</{tag}>\n" for tag, value in zip(EDGES, box, strict=True))
        flags = "\t\t<pose>Unspecified</pose>\n\t\t<truncated>0</truncated>\n\t\t<difficult>0</difficult>\n"
        lines.append(f"\t<object>\n\t\t<name>{escape(name)}</name>\n{flags}\t\t<bndbox>\n{edges}\t\t</bndbox>\n\t</object>")
    return "\n".join([*lines, "</annotation>", ""]).encode()


def image_set(data: bytes, where: str) -> list[str]:
    """The pictures of a split (`ImageSets/Main/<split>.txt`): one name without suffix per line; none, or one twice, is a ``UserError``."""
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{where}, line {line}: is not UTF-8 text") from None
    found: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if name := line.strip():
            if name in found:
                raise UserError(f"{where}, line {number}: {name!r} stands in line {found[name]} already")
            found[name] = number
    if not found:
        raise UserError(f"{where} names no picture")
    return list(found)
