"""From a chapter's file to HTML: Markdown with formulas as MathML, and the file itself as annotated source."""

from __future__ import annotations

import ast
import keyword
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
OPENING, CLOSING = "([{⌈⌊⟨", ")]}⌉⌋⟩"
BELOW = {"max", "min", "sup", "inf", "lim", "argmax", "argmin"}


@cache
def formula(tex: str, display: bool = False) -> str:
    """TeX as MathML of the kind browsers draw themselves; TeX as code where it cannot be converted.

    Displayed formulas side by side (``\\qquad``) become elements of their own, so that a narrow page sets them one below the other.
    """
    parts = tex.split(r"\qquad") if display and r"\begin" not in tex else [tex]
    if any(part.count("{") != part.count("}") for part in parts):
        parts = [tex]
    made = [_mathml(part.strip(), display) for part in parts if part.strip()]
    return f'<code class="tex">{escape(tex)}</code>' if None in made else "\n".join(made)


def _mathml(tex: str, display: bool) -> str | None:
    import latex2mathml.converter

    for pattern, replacement in BEFORE:
        tex = re.sub(pattern, replacement, tex)
    try:
        text = latex2mathml.converter.convert(tex, display="block" if display else "inline")
        for command, sign in AFTER.items():
            text = text.replace(command, sign)
        root = ElementTree.fromstring(text.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', ""))
    except Exception:  # the converter has its own exceptions for every mistake, and plain ones for what it does not foresee
        return None
    for element in root.iter():
        _repair(element, display)
    for element in list(root.iter()):
        _space(element)
    text = ElementTree.tostring(root, encoding="unicode")
    return None if "\\" in text or ">&amp;<" in text else text


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
        word = text.replace("\u2009", "").isalpha() or text in "∞∅⊤"
        symbol = len(text) == 1 and unicodedata.category(text) in ("Sm", "Po", "Ps", "Pe")
        element.tag = "mi" if word else "mo" if symbol else element.tag
        if text == "~" and element.get("stretchy") is None:
            element.text = "∼"
        if text in "/|‖":
            element.attrib.update(lspace="0", rspace="0")
        if form := "prefix" if text in OPENING else "postfix" if text in CLOSING else "":
            element.set("form", form)
    if align := element.attrib.pop("columnalign", ""):
        element.set("style", f"text-align:{align}")
    if element.get("width") == "negativethinmathspace":
        element.set("width", "-0.167em")
    if display and element.tag == "msub" and (element[0].text or "").replace("\u2009", "") in BELOW:
        element.tag = "munder"


def _space(parent: ElementTree.Element) -> None:
    """Spaces as TeX sets them: a thin one between a function's name and an argument without parentheses, none after a sign."""
    if parent.tag not in ("math", "mrow", "mstyle", "mtd"):
        return
    for position in range(len(parent) - 1, 0, -1):
        before, this = pair = parent[position - 1 : position + 1]
        bases = [e[0] if e.tag in ("msub", "msup", "msubsup", "munder") else e for e in pair]
        if any(b.tag == "mi" and len(b.text or "") > 1 for b in bases) and not {"mo", "mspace", "mtext"} & {e.tag for e in pair}:
            parent.insert(position, ElementTree.Element("mspace", width="0.167em"))
        if before.tag == this.tag == "mo" and this.text in ("+", "−", "±") and before.text not in (*CLOSING, "|", "‖", "!"):
            this.set("form", "prefix")


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


CHINESE = re.compile("[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]*[\u4e00-\u9fff][\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]*")


@cache
def _markdown():
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    options = {"html": False, "highlight": lambda code, language, _: "\n".join(highlighted(code)) if language == "python" else ""}
    parser = MarkdownIt("commonmark", options).enable("table")
    parser.use(dollarmath_plugin, renderer=lambda tex, options: formula(tex, options["display_mode"]), double_inline=True)
    parser.add_render_rule("text", lambda self, tokens, i, *_: marked(tokens[i].content))
    parser.add_render_rule("table_open", lambda *_: '<div class="scroll" tabindex="0"><table>\n')
    parser.add_render_rule("th_open", lambda self, tokens, i, *_: tokens[i].attrSet("scope", "col") or self.renderToken(tokens, i, {}, {}))
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return parser


# How a paragraph begins in bold that tells what the books say, and what was corrected: "**What the book says, and what holds.** …"
CORRECTED = re.compile(r"\b(books?|B[1-5]|corrected|slips?|was wrong|holds)\b", re.I)


class Prose:
    """Renders the prose of one page; its headings continue the page's outline, which stands at ``level``, without a jump.

    What begins with a word about the books stands in a frame of class ``corrected``.
    """

    def __init__(self, level: int = 1):
        self.base = self.level = level

    def __call__(self, text: str) -> str:
        """HTML of a Markdown text."""
        tokens = _markdown().parse(text)
        for token in tokens:
            if token.type in ("heading_open", "heading_close"):
                if token.type == "heading_open":
                    self.level = min(max(int(token.tag[1]) - 2, 0) + self.base + 1, self.level + 1, 6)
                token.tag = f"h{self.level}"
        return _markdown().renderer.render(self._framed(tokens), _markdown().options, {})

    def _framed(self, tokens: list) -> list:
        """The tokens with a frame around what a page sets apart: from such a beginning to the next bold one, heading, or paragraph after a paragraph."""
        from markdown_it.token import Token

        framed, inside = [], False
        for before, token, content in zip([None, *tokens], tokens, [*tokens[1:], None], strict=False):
            opens = token.type == "paragraph_open" and token.level == 0
            begins, lead = _lead(content) if opens else (False, "")
            after = opens and before is not None and before.type == "paragraph_close"
            if inside and not begins and (lead or after or token.type == "heading_open"):
                framed.append(Token("html_block", "", 0, content="</div>\n"))
                inside = False
            if begins and not inside:
                framed.append(Token("html_block", "", 0, content='<div class="corrected">\n'))
                inside = True
            framed.append(token)
        return [*framed, Token("html_block", "", 0, content="</div>\n")] if inside else framed


def _lead(paragraph) -> tuple[bool, str]:
    """Whether a paragraph tells what the books say, by its first or its bold first words (of a question: by its answer); and those bold words."""
    parts = [t for t in paragraph.children or [] if t.type != "text" or t.content]
    if not parts or parts[0].type != "strong_open":
        return bool(re.match(r"(The books?|Both books|B[1-5])\b", paragraph.content)), ""
    lead = " ".join(t.content for t in parts[1 : [t.type for t in parts].index("strong_close")])
    return bool(CORRECTED.search(lead) or (lead.endswith("?") and re.search(r"\b([Tt]he|both) books?\b|\bB[1-5]\b", paragraph.content))), lead


def untitled(text: str) -> str:
    """A module's docstring without its title, which the page shows already."""
    return re.sub(r"\A# [^\n]*\n*", "", text)


def marked(text: str) -> str:
    """HTML of plain text, Chinese words marked as such: a reader's voice and font change with them."""
    return CHINESE.sub(r'<span lang="zh">\g<0></span>', escape(text))


def inline(text: str) -> str:
    """HTML of one line of Markdown."""
    return _markdown().renderInline(text)


# ── code ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

# Enough of Python's grammar to color it; a full lexer takes ten times as long for the same look.
TEXT = r"""[rRbBfFuU]{0,2}(?:\"{3}(?:\\.|[^\\])*?\"{3}|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')"""
PYTHON = re.compile(
    rf"(?P<c>#[^\n]*)|(?P<s>\b{TEXT}|{TEXT})|(?P<d>^[ ]*@[\w.]+)|(?P<f>(?<=\bdef )\w+|(?<=\bclass )\w+)"
    rf"|(?P<k>\b(?:{'|'.join(keyword.kwlist)})\b)|(?P<m>\b\d[\w.]*(?:(?<=e)-\d+)?)",
    re.MULTILINE | re.DOTALL,
)


def highlighted(code: str) -> list[str]:
    """Lines of HTML with comments, strings, decorators, names, keywords and numbers marked; a string over several lines in each of them."""

    def mark(found: re.Match) -> str:
        kind, lines = found.lastgroup, found[0].split("\n")
        return "\n".join(f'<span class="{kind}">{line}</span>' if line else "" for line in lines)

    return PYTHON.sub(mark, escape(code, quote=False)).split("\n")


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
    nodes: list[ast.AST] = [ast.parse(text)]
    for node in nodes:  # grows by what it finds
        nodes += [n for n in node.body if isinstance(n, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
        doc, statement = ast.get_docstring(node), node.body[0] if node.body else node
        if doc and node is nodes[0]:
            first, doc = 0, untitled(doc)
        elif doc and statement.lineno > node.lineno:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 1
        else:
            continue
        found.setdefault(first, []).append(doc)
        hidden.update(range(statement.lineno - 1, statement.end_lineno))
    return found, hidden
