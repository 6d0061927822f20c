"""From a chapter's file to HTML: Markdown with formulas as MathML, and the file itself as annotated source."""

from __future__ import annotations

import ast
import re
import unicodedata
import xml.etree.ElementTree as ElementTree
from functools import cache
from html import escape

# ── formulas ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

# What the converter does not know, said in words that it knows, and what it leaves in TeX.
BEFORE = (
    (r"\\(begin|end)\{(?:aligned|gathered)\}", r"\\\1{align*}"),
    (r"\\mathrm\s*(\{[^{}]*\}|[A-Za-z])", lambda m: r"\text{" + m[1].strip("{}") + "}"),
    (r"\\operatorname\*", r"\\operatorname"),
    (r"\\arg\s*\\(max|min)", r"\\arg\1"),
)
AFTER = {r"\lceil": "⌈", r"\rceil": "⌉", r"\lfloor": "⌊", r"\rfloor": "⌋", r"\langle": "⟨", r"\rangle": "⟩", r"\lVert": "‖", r"\rVert": "‖"}
AFTER |= {r"\lvert": "|", r"\rvert": "|", r"\{": "{", r"\}": "}", r"\|": "‖", r"\_": "_", r"\%": "%", r"\&": "&amp;"}
ALPHABETS = {"bold": "BOLD", "bold-italic": "BOLD ITALIC", "script": "SCRIPT", "double-struck": "DOUBLE-STRUCK", "fraktur": "FRAKTUR"}
ALPHABETS |= {"monospace": "MONOSPACE", "sans-serif": "SANS-SERIF"}
STYLES = {"bold": "font-weight:bold", "italic": "font-style:italic", "monospace": "font-family:monospace"}
BELOW = {"max", "min", "sup", "inf", "lim", "argmax", "argmin"}


@cache
def formula(tex: str, display: bool = False) -> str:
    """TeX as MathML of the kind browsers draw themselves; TeX as code where it cannot be converted."""
    import latex2mathml.converter

    source = tex.strip()
    for pattern, replacement in BEFORE:
        source = re.sub(pattern, replacement, source)
    try:
        text = latex2mathml.converter.convert(source, display="block" if display else "inline")
        for command, sign in AFTER.items():
            text = text.replace(command, sign)
        root = ElementTree.fromstring(text.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', ""))
    except Exception:
        return f'<code class="tex">{escape(tex)}</code>'
    for element in root.iter():
        _repair(element, display)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<code class="tex">{escape(tex)}</code>' if "\\" in text or ">&amp;<" in text else text


def _repair(element: ElementTree.Element, display: bool) -> None:
    """Browsers know MathML Core: letters of other alphabets by code point, alignment by style, operators by their element."""
    alphabet = element.attrib.pop("mathvariant", "")
    text = (element.text or "").strip()
    if alphabet in STYLES and element.tag == "mtext":
        element.set("style", STYLES[alphabet])
    elif alphabet in ALPHABETS and element.tag in ("mi", "mn"):
        element.text = "".join(_letter(c, ALPHABETS[alphabet]) for c in text)
    elif alphabet == "normal" and element.tag == "mi":
        element.set("mathvariant", "normal")
    if element.tag in ("mi", "mo") and text:
        word = text.replace("\u2009", "").isalpha() or text in ("∞", "∅", "⊤")
        symbol = len(text) == 1 and unicodedata.category(text) in ("Sm", "Po", "Ps", "Pe") and text != "∞"
        element.tag = "mi" if word else "mo" if symbol else element.tag
        if text == "~" and element.get("stretchy") is None:
            element.text = "∼"
    if align := element.attrib.pop("columnalign", ""):
        element.set("style", f"text-align:{align}")
    if element.get("width") == "negativethinmathspace":
        element.set("width", "-0.167em")
    if display and element.tag == "msub" and (element[0].text or "").replace("\u2009", "") in BELOW:
        element.tag = "munder"


def _letter(letter: str, alphabet: str) -> str:
    """The letter or digit in a mathematical alphabet; some capitals stand among the letter-like symbols instead."""
    name = unicodedata.name(letter, "").replace("LATIN ", "").replace("GREEK ", "").replace(" LETTER", "").replace("MATHEMATICAL ", "")
    short = {"SCRIPT": "SCRIPT", "DOUBLE-STRUCK": "DOUBLE-STRUCK", "FRAKTUR": "BLACK-LETTER"}.get(alphabet)
    for candidate in (f"MATHEMATICAL {alphabet} {name}", f"{short} {name}"):
        try:
            return unicodedata.lookup(candidate)
        except KeyError:
            continue
    return letter


# ── Markdown ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def _markdown():
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    options = {"html": False, "highlight": lambda code, language, _: "\n".join(highlighted(code, language or "text"))}
    parser = MarkdownIt("commonmark", options).enable("table")
    parser.use(dollarmath_plugin, renderer=lambda tex, options: formula(tex, options["display_mode"]), double_inline=True)
    parser.add_render_rule("table_open", lambda *_: '<div class="scroll" tabindex="0"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return parser


class Prose:
    """Renders the prose of one page; its headings continue the page's outline, which stands at ``level``, without a jump."""

    def __init__(self, level: int = 1):
        self.base = self.level = level

    def __call__(self, text: str) -> str:
        """HTML of a Markdown text. A first heading of level one is dropped: the page shows it."""
        text = re.sub(r"\A#\s[^\n]*\n*", "", text)
        tokens = _markdown().parse(text)
        for token in tokens:
            if token.type in ("heading_open", "heading_close"):
                if token.type == "heading_open":
                    self.level = min(max(int(token.tag[1]) - 2, 0) + self.base + 1, self.level + 1, 6)
                token.tag = f"h{self.level}"
        return _markdown().renderer.render(tokens, _markdown().options, {})


def inline(text: str) -> str:
    """HTML of one line of Markdown."""
    return _markdown().renderInline(text)


# ── code ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

MARKED = {"Comment": "c", "Keyword": "k", "Operator.Word": "k", "Literal.String": "s", "Literal.Number": "m", "Name.Function": "f", "Name.Class": "f"}
MARKED |= {"Name.Decorator": "d", "Name.Builtin": "b", "Literal.String.Interpol": "", "Name.Builtin.Pseudo": ""}


@cache
def _lexer(language: str):
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        return get_lexer_by_name(language)
    except ClassNotFound:
        return get_lexer_by_name("text")


@cache
def _mark(kind) -> str:
    """The CSS class of a kind of token: that of its nearest ancestor with one."""
    return MARKED.get(str(kind).removeprefix("Token."), "") if str(kind).removeprefix("Token.") in MARKED or not kind.parent else _mark(kind.parent)


def highlighted(code: str, language: str = "python") -> list[str]:
    """Lines of HTML; a token over several lines is marked in each of them."""
    parts = []
    for _, kind, text in _lexer(language).get_tokens_unprocessed(code):
        mark, text = _mark(kind), escape(text, quote=False)
        parts.append("\n".join(f'<span class="{mark}">{part}</span>' if part else "" for part in text.split("\n")) if mark else text)
    return "".join(parts).split("\n")


def annotated(text: str) -> list[dict]:
    """A Python file as pieces ``{prose: HTML, code: HTML}``: docstrings and comment blocks beside the code that they explain."""
    lines, shown = text.split("\n"), highlighted(text)
    prose, hidden = _places(text, lines, shown)
    pieces: list[tuple[list[str], list[int]]] = [([], [])]
    for index, line in enumerate(lines):
        if index in prose:
            if any(lines[i].strip() for i in pieces[-1][1]):
                pieces.append(([], []))
            pieces[-1][0].extend(prose[index])
        if index not in hidden and (line.strip() or pieces[-1][1]):
            pieces[-1][1].append(index)
    render, made = Prose(), []
    for texts, code in pieces:
        while code and not lines[code[-1]].strip():
            code.pop()
        rows = (f'<span style="--i:{len(lines[i]) - len(lines[i].lstrip())}">{shown[i]}\n</span>' for i in code)
        made.append({"prose": "".join(map(render, texts)), "code": "".join(rows)})
    return made


def _places(text: str, lines: list[str], shown: list[str]) -> tuple[dict[int, list[str]], set[int]]:
    """Prose by the index of the line it stands before, and the indices of the lines that hold it."""
    found: dict[int, list[str]] = {}
    blocks: list[range] = []
    for index, line in enumerate(shown):
        if line.lstrip().startswith('<span class="c">'):  # a line that looks like a comment inside a string is marked as a string
            follows = blocks and blocks[-1].stop == index and lines[index].index("#") == lines[index - 1].index("#")
            blocks.append(range(blocks.pop().start if follows else index, index + 1))
    blocks = [b for b in blocks if len(b) > 1 or lines[b.start].startswith("#")]  # a single comment inside a function stays where it is
    for block in blocks:
        found[block.start] = ["\n".join(re.sub(r"^\s*# ?(─+ )?|\s*─+$", "", lines[i]) for i in block)]
    hidden = {index for block in blocks for index in block}
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (doc := ast.get_docstring(node)):
            first = 1 if node is tree else min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if node is tree or node.body[0].lineno > node.lineno:
                found.setdefault(first - 1, []).append(doc)
                hidden.update(range(node.body[0].lineno - 1, node.body[0].end_lineno))
    return found, hidden
