"""The results site: complete, honest, readable, the same bytes every time."""

import csv
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

from dlbooks import catalog, ledger, records, report, runtime
from dlbooks.features import Feature
from dlbooks.site import prose

LINE = '''r"""# A straight line

The model is $\\hat y = w x + b$, and the loss

$$L = \\frac1n \\sum_i (\\hat y_i - y_i)^2, \\qquad \\hat w = \\arg\\min_w L.$$

## Why it works

It is `convex`.
"""

from dlbooks.catalog import Chapter, Metric, Variant
from dlbooks.chapters.toys._helper import double
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="line",
    title="A straight line & its <error>",
    family="toys",
    sources=["B5 4.10.3", "B1 1.2.1"],
    datasets=["dots"],
    headline="error",
    metrics={
        "error": Metric(better="lower", reported=0.25, source="B5 4.10.3", floor=0.5),
        "accuracy": Metric(better="higher", reported=0.9, source="B5 4.10.3"),
        "spread": Metric(better="lower"),
    },
    variants={"wide": Variant({"units": 64}, {"error": 0.2}, "B1 1.2.1", "a *wider* net")},
    curves={"Loss": ["loss"]},
    example="dlbooks predict line 1,2",
)


class Params(ChapterParams):
    units: int = Field(4, ge=1, le=99)
    """hidden units, `4` in the book"""


# ## Model
# It has $w$ and $b$.
def build(params):
    """Two numbers."""
    # one remark stays
    return "# no comment", params


def train(run):
    # A block inside a function,
    # two lines long.
    run.log(1, loss=double(2))
'''
CURVE = '''"""# A curve

Bent.
"""

CHAPTER = Chapter(
    id="curve", title="A curve", family="toys", sources=["B5 4.7"], needs=["line"], headline="hits", metrics={"hits": Metric(better="higher")}
)


class Params(ChapterParams):
    pass
'''
HELPER = '"""Helps."""\n\n\ndef double(x):\n    """Twice $x$."""\n    return 2 * x\n'
DOTS = '''"""# Dots"""
DATASET = DataSet(id="dots", title="Dots", homepage="https://example.org/dots", license="CC0", citation="", files=[])


class Params(DataSetParams):
    pass
'''
PARAMS = """\
profile: mini
data:
  dots: {mini: {twin: true}, book: {twin: false}}
line: {mini: {units: 2}, book: {units: 8}}
"""
CAPTION = 'Errors where x < 0 & the "tail"'


def entry(error, variant="default", **more):
    numbers = {"metrics": {"error": error, "accuracy": 0.9, "spread": 1.0}, "seconds": {"train": 3.5, "total": 4.25}, "variant": variant, "seed": 0}
    origin = {"commit": "c0ffee" * 6, "data": {"dots": "d1ce" * 8}, "lock": "10c4", "hardware": "a CPU × 2", "versions": "tensorflow 2.21.0"}
    return {**numbers, **origin, "finished": "2026-01-02 03:04:05 UTC", **more}


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Two chapters and a data set of their own, in a checkout of their own; the first has run."""
    package = tmp_path / "src" / "dlbooks"
    toys = package / "chapters" / "toys"
    toys.mkdir(parents=True)
    (package / "datasets").mkdir()
    for path, text in ((toys / "line.py", LINE), (toys / "curve.py", CURVE), (toys / "_helper.py", HELPER), (package / "datasets" / "dots.py", DOTS)):
        path.write_text(text, encoding="utf-8")
    (tmp_path / "params.yaml").write_text(PARAMS)
    monkeypatch.setattr(catalog, "PACKAGE", package)
    monkeypatch.setattr(runtime, "root", lambda: tmp_path)
    catalog._chapters.cache_clear()
    catalog._datasets.cache_clear()
    fabricate(tmp_path / "data" / "runs" / "line")
    yield tmp_path
    catalog._chapters.cache_clear()
    catalog._datasets.cache_clear()


def fabricate(folder: Path, profile: str = "mini"):
    (folder / "figures").mkdir(parents=True)
    (folder / "history").mkdir()
    (folder / "export").mkdir()
    (folder / "export" / "model.bin").write_bytes(b"12345")
    (folder / "run.json").write_text(json.dumps({"profile": profile, "variant": None, "parameters": {"seed": 0, "units": 2}}))
    (folder / "metrics.json").write_text(json.dumps({"error": 0.0625, "accuracy": 0.96875, "spread": 3}))
    for name, size in (("curve_loss.png", (64, 36)), ("fit.png", (40, 30)), ("rest.png", (10, 20))):
        Image.new("RGB", size, "white").save(folder / "figures" / name)
    Image.new("P", (12, 8)).save(folder / "figures" / "motion.gif", save_all=True, append_images=[Image.new("P", (12, 8), 1)])
    captions = {"curve_loss.png": "Loss over training steps: loss", "fit.png": CAPTION, "motion.gif": "It moves", "rest.png": "The rest"}
    (folder / "figures" / "captions.json").write_text(json.dumps(captions))
    for name, count in (("loss", 2000), ("rate", 3)):
        rows = "".join(f"{step},{1 / (step + 1):.6g}\n" for step in range(count))
        (folder / "history" / f"{name}.csv").write_text(f"step,{name}\n{rows}")
    (folder / "facts.csv").write_text("name,ok\n" + "".join(f"fact {n},True\n" for n in range(25)))


class Page(HTMLParser):
    """What the tests ask of a page; fails on tags that do not close in order."""

    VOID = frozenset({"meta", "link", "img", "input", "br", "hr"})

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.open, self.tags, self.headings, self.text = path, [], [], [], {}
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert not self.open, f"{path.name}: {self.open} never close"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"{self.path.name}, line {self.getpos()[0]}: </{tag}>"

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def all(self, tag):
        return [a for t, a in self.tags if t == tag]

    def ids(self):
        return [a["id"] for _, a in self.tags if "id" in a]


def built(library, **results) -> dict[str, Page]:
    folder = library / "data" / "report"
    report.build(folder, results=results)
    return {p.relative_to(folder).as_posix(): Page(p) for p in sorted(folder.glob("**/*.html"))}


def row(page: Page, name: str) -> str:
    """The text of a row of the table of results."""
    found = re.search(rf"<tr[^>]*>\s*<th scope=\"row\"><code>{name}</code>.*?</tr>", page.source, re.S)
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", found[0])).split())


def test_pages_are_complete_and_in_order(library):
    pages = built(library, line={"book": {"best": entry(0.2), "newest": entry(0.3)}})
    chapters = ["chapter/curve-source.html", "chapter/curve.html", "chapter/line-source.html", "chapter/line.html"]
    assert list(pages) == [*chapters, "data/dots.html", "index.html"]
    for name, page in pages.items():
        assert page.source.startswith('<!doctype html>\n<html lang="en">')
        assert "<title>" in page.source and len(page.ids()) == len(set(page.ids()))
        assert page.headings[0] == 1 and page.headings.count(1) == 1
        assert all(b <= a + 1 for a, b in zip(page.headings, page.headings[1:], strict=False)), f"{name}: {page.headings}"


def test_links_resolve_and_pictures_speak(library):
    pages = built(library, line={"book": {"best": entry(0.2)}})
    for page in pages.values():
        for tag, key in (("a", "href"), ("link", "href"), ("img", "src"), ("script", "src")):
            for attributes in page.all(tag):
                parts = urlsplit(attributes.get(key, ""))
                if parts.scheme:
                    assert attributes[key] in ("data:,", "https://example.org/dots")
                    continue
                target = page.path.parent / unquote(parts.path) if parts.path else page.path
                assert target.is_file(), f"{page.path.name}: {attributes[key]}"
                assert not parts.fragment or parts.fragment in Page(target).ids()
        for image in page.all("img"):
            assert "alt" in image and int(image["width"]) > 0 and int(image["height"]) > 0
    chapter = {Path(i["src"]).name: i for i in pages["chapter/line.html"].all("img")}
    assert chapter["fit.png"]["alt"] == CAPTION
    assert (chapter["motion.gif"]["width"], chapter["motion.gif"]["height"]) == ("12", "8")
    assert {i["alt"] for i in pages["index.html"].all("img")} == {""}, "the title stands beside a thumbnail"


def test_same_inputs_give_the_same_bytes(library, tmp_path):
    results = {"line": {"book": {"best": entry(0.2)}}}
    sites = []
    for name in ("one", "two"):
        report.build(tmp_path / name, results=results)
        sites.append({p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).glob("**/*") if p.is_file()})
    assert sites[0] == sites[1]
    for path, content in sites[0].items():
        assert str(tmp_path).encode() not in content, f"{path} holds a path of this machine"


def test_a_rebuild_leaves_nothing_of_the_last(library):
    built(library)
    (library / "data" / "report" / "chapter" / "gone.html").write_text("old")
    assert "chapter/gone.html" not in built(library)


def test_only_real_data_is_judged(library):
    page = built(library)["chapter/line.html"]
    assert row(page, "error") == "error ↓ 0.25 B5 4.10.3 – 0.0625 at most 0.5"  # better than the book, and not called so
    assert "verdict" not in page.source

    page = built(library, line={"book": {"best": entry(0.3)}, "mini": {"best": entry(0.01)}})["chapter/line.html"]
    assert row(page, "error") == "error ↓ 0.25 B5 4.10.3 0.3 ✗ not reached 0.0625 at most 0.5"
    assert row(page, "accuracy") == "accuracy ↑ 0.9 B5 4.10.3 0.9 ✓ reached 0.96875"
    assert row(page, "spread") == "spread ↓ – 1 3"
    for fragment in ("c0ffee", "d1ce" * 8, "a CPU × 2", "tensorflow 2.21.0", "total 4.25 s", "2026-01-02 03:04:05 UTC"):
        assert fragment in page.source

    page = built(library, line={"book": {"best": entry(0.24)}})["index.html"]
    assert page.source.count("✓ reached") == 4  # in the legend, by subject, at its place in either book
    assert "1 of 1 with a number in a book reach it" in page.source


def test_a_twin_in_profile_book_is_not_judged(library):
    (library / "params.yaml").write_text(PARAMS.replace("book: {twin: false}", "book: {twin: true}"))
    page = built(library, line={"book": {"best": entry(0.1)}})["chapter/line.html"]
    assert "verdict" not in page.source and "with a twin of dots, so not comparable" in page.source


def write_dots(library, about=""):
    features = {"image": Feature("uint8", (4, 4, 1)), "label": Feature(names=("left <", "right")), "size": Feature("float32")}
    rows = [{"image": np.full((4, 4, 1), 9 * k, np.uint8), "label": k % 2, "size": k / 4} for k in range(20)]
    folder = library / "data" / "tfrecords" / "dots"
    records.write(folder, name="dots", version="1.0.0", features=features, splits={"train": rows, "test": rows[:3]}, about={"description": about})


def test_the_page_of_a_data_set(library):
    page = built(library)["data/dots.html"]
    assert "<dd>Nothing<small><code>dvc repro preprocess@dots</code>" in page.source and not page.all("img")

    write_dots(library, "Dots: a synthetic twin drawn by this project, not upstream's data")
    pages = built(library)
    page, text = pages["data/dots.html"], " ".join(html.unescape(re.sub("<[^>]+>", " ", pages["data/dots.html"].source)).split())
    for words in (
        "Synthetic twin",
        "train 20, test 3",
        "license: CC0",
        "left < 10 2",
        "size float32 20 2.375 1.44157 0 4.75 0",
        "every count and sample",
    ):
        assert words in text, words
    drawn = library / "data" / "report" / "data" / "dots.png"
    with Image.open(drawn) as opened:
        assert [(i["src"], int(i["width"]), int(i["height"])) for i in page.all("img")] == [("dots.png", *opened.size)]
    assert any(a["href"] == "../chapter/line.html" for a in page.all("a"))
    assert any(a["href"] == "../data/dots.html" for a in pages["chapter/line.html"].all("a"))
    assert any(a["href"] == "data/dots.html" for a in pages["index.html"].all("a"))

    before = drawn.read_bytes()
    built(library)
    assert drawn.read_bytes() == before


def test_real_data_without_a_license_are_not_shown(library):
    write_dots(library)
    path = library / "src" / "dlbooks" / "datasets" / "dots.py"
    assert built(library)["data/dots.html"].all("img")
    path.write_text(path.read_text().replace('"CC0"', '"not stated by the authors"'))
    catalog.declared.cache_clear()
    catalog._datasets.cache_clear()
    page = built(library)["data/dots.html"]
    assert not page.all("img") and "Nobody states a license" in page.source and "train 20" in page.source


def test_a_run_on_real_data_outside_the_ledger(library):
    path = library / "data" / "runs" / "line" / "run.json"
    path.write_text(path.read_text().replace('"mini"', '"book"'))
    page = built(library, line={"mini": {"best": entry(0.02)}})["chapter/line.html"]
    assert row(page, "error") == "error ↓ 0.25 B5 4.10.3 0.0625 ✓ reached 0.02 at most 0.5"
    assert "not in the ledger yet" in page.source


def test_variants_are_judged_by_their_own_source(library):
    kept = {"best": entry(0.19, "wide"), "newest": entry(0.3), "variants": {"wide": entry(0.21, "wide")}}
    page = built(library, line={"book": kept})["chapter/line.html"]
    table = page.source[page.source.index("<h3>Variants</h3>") : page.source.index("</section>", page.source.index("<h3>Variants</h3>"))]
    text = " ".join(html.unescape(re.sub("<[^>]+>", " ", table)).split())
    assert "error ↓ 0.25 0.3 ✗ not reached 0.0625" in text  # the default: newest, as the best is of another recipe
    assert "wide B1 1.2.1 a wider net units=64 error ↓ 0.2 0.21 ✗ not reached –" in text
    assert "variant wide" in page.source  # whose value heads the page


def test_chapters_that_have_not_run(library):
    pages = built(library)
    assert "not run" in pages["index.html"].source and "2 chapters, 1 run here" in pages["index.html"].source
    page = pages["chapter/curve.html"]
    assert "This checkout has not run the chapter" in page.source and not page.all("img")
    assert {"line.html", "curve-source.html"} <= {a.get("href") for a in page.all("a")}


def test_books_keep_their_own_numbering(library):
    places = [report.place(f"B5 {n}") for n in ("4.10.3", "4.7.1–4.7.4", "12", "4.7", "2 A")]
    assert [p.number for p in sorted(places, key=lambda p: p.order)] == ["2 A", "4.7", "4.7.1–4.7.4", "4.10.3", "12"]
    source = built(library)["index.html"].source
    part = source[source.index('<h2 id="B5">') :]
    assert part.index("4.7") < part.index("A curve") < part.index("4.10.3") < part.index("A straight line &amp; its &lt;error&gt;")


def test_tables_parameters_series_commands(library):
    page = built(library)["chapter/line.html"]
    assert "fact 19" in page.source and "fact 20" not in page.source and "The first 20 of 25 rows." in page.source
    text = " ".join(html.unescape(re.sub("<[^>]+>", " ", page.source)).split())
    assert "units 2 8 hidden units, 4 in the book ≥ 1, ≤ 99" in text
    for command in ("dvc repro line", "dlbooks run line --profile book", "dlbooks run line --variant wide", "dlbooks predict line 1,2"):
        assert f"<code>{command}</code>" in page.source
    data = json.loads(re.search(r'id="curves-data">(.*?)</script>', page.source)[1])
    assert [list(series) for series in data] == [["loss"], ["rate"]]
    points = data[0]["loss"]
    assert len(points) <= report.POINTS + 1 and points[0] == [0, 1.0] and points[-1][0] == 1999
    whole = dict(csv.reader((library / "data/report/files/line/history/loss.csv").read_text().splitlines()[1:]))
    assert all(value == float(whole[str(step)]) for step, value in points)


def test_source_stands_beside_its_prose(library):
    page = built(library)["chapter/line-source.html"]
    assert page.headings == [1, 2, 2, 2]  # title, "Why it works", "Model", the helper's file
    assert "_helper.py" in page.source and 'Twice <span class="math inline"><math' in page.source
    first, model, block = prose.annotated(LINE)
    assert "A straight line" not in first["prose"] and "<h2>Why it works</h2>" in first["prose"]
    assert "Two numbers." in model["prose"] and "It has" in model["prose"]
    assert block["prose"] == "<p>A block inside a function,\ntwo lines long.</p>\n"
    code = [html.unescape(re.sub("<[^>]+>", "", piece["code"])) for piece in (first, model, block)]
    assert code[0].startswith("from dlbooks.catalog") and '"""hidden units' in code[0]
    assert code[1] == 'def build(params):\n    # one remark stays\n    return "# no comment", params\n\n\ndef train(run):\n'
    assert code[2] == "    run.log(1, loss=double(2))\n"
    assert '<span class="s">"# no comment"</span>' in model["code"] and '<span class="c"># one remark stays</span>' in model["code"]


def test_formulas_are_mathml_that_browsers_draw(library):
    for name in ("chapter/line.html", "chapter/line-source.html"):
        page = built(library)[name]
        assert len(page.all("math")) >= 3 and 'class="tex"' not in page.source
    assert prose.formula(r"\mathcal N + \mathbb{R} + \mathbf x + \mathcal L").count("mathvariant") == 0
    assert all(sign in prose.formula(r"\mathcal N + \mathbb R + \mathbf x + \mathcal L") for sign in "𝒩ℝ𝐱ℒ")
    assert "<munder><mi>max</mi><mi>a</mi></munder>" in prose.formula(r"\max_a Q", True)
    assert "<msub><mi>max</mi><mi>a</mi></msub>" in prose.formula(r"\max_a Q")
    assert prose.formula(r"\ln 10").count('<mspace width="0.167em" />') == 1 and "mspace" not in prose.formula(r"\max(a)")
    assert prose.formula(r"\begin{aligned} a &= b \\ c &= d \end{aligned}", True).count("<mtr>") == 2
    assert prose.formula(r"a = 1, \qquad b = 2", True).count("<math") == 2
    assert "⌈" in prose.formula(r"\Bigl\lceil x \Bigr\rceil") and "∼" in prose.formula(r"x \sim p")
    assert '<mo form="prefix">−</mo>' in prose.formula("x = -1") and "form" not in prose.formula("x - 1")
    assert prose.formula(r"\unheard{x}") == r'<code class="tex">\unheard{x}</code>'


def test_headings_never_jump():
    assert re.findall(r"<h\d>\w+</h\d>", prose.Prose(2)("#### a\n\n##### b\n\n## c")) == ["<h3>a</h3>", "<h4>b</h4>", "<h3>c</h3>"]
    assert prose.untitled("# T\n\ntext\n\n# U") == "text\n\n# U"


def test_code_is_colored_and_nothing_is_lost():
    code = '@cache\ndef f(x: int = 1e-3) -> str:\n    """a\n    # b"""\n    return f"{x!r:>8}" + \'it\\\'s\' if x < 1_000 else None  # end\n'
    lines = prose.highlighted(code)
    assert html.unescape(re.sub("<[^>]+>", "", "\n".join(lines))) == code
    assert lines[2] == '    <span class="s">"""a</span>' and lines[3] == '<span class="s">    # b"""</span>'
    assert '<span class="f">f</span>' in lines[1] and '<span class="m">1e-3</span>' in lines[1] and lines[0] == '<span class="d">@cache</span>'
    assert lines[4].endswith('<span class="c"># end</span>') and '<span class="k">None</span>' in lines[4]


def test_numbers_read_well():
    assert [report.number(v) for v in (61706, 0.00391947, 1.0, 1234567.0, 0.98765432, True, "sgd", 2**31)] == [
        *("61706", "0.0039195", "1", "1234567", "0.98765", "True", "sgd", "2147483648")
    ]


def test_every_chapter_of_the_library(tmp_path):
    """The real chapters: every page builds, every formula converts."""
    report.build(tmp_path / "site", runs=tmp_path / "none", results=ledger.read())
    for name in catalog.chapters():
        for path in (tmp_path / "site" / "chapter" / f"{name}.html", tmp_path / "site" / "chapter" / f"{name}-source.html"):
            page = Page(path)
            assert page.headings.count(1) == 1
            unknown = re.findall('<code class="tex">(.*?)</code>', page.source, re.S)
            assert not unknown, f"{name}: no MathML for {unknown}"
