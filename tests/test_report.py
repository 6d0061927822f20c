"""The results site: complete, honest, readable, the same bytes every time."""

import csv
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

from dlbooks import catalog, records, report, runtime
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
    assert {i["alt"] for i in pages["index.html"].all("img")} == {CAPTION}


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
    assert row(page, "error") == "error ↓ 0.25 B5 4.10.3 ○ not measured 0.0625 at most 0.5"  # better than the book, and not called so
    assert not re.search("(?<!not )(not )?reached<", page.source)

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
    assert row(page, "error") == "error ↓ 0.25 B5 4.10.3 0.1 ≠ not comparable 0.0625 at most 0.5"
    assert "reached<" not in page.source and "with a twin of dots, so not comparable" in page.source


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


def test_sections_have_the_titles_that_the_books_give_them(library):
    assert report.place("B5 4.10.3").sections == [("4.10.3", "从文件读取数据")]
    assert report.place("B5 4.7.1–4.7.2").sections == [("4.7.1–4.7.2", ""), ("4.7.1", "激活函数"), ("4.7.2", "卷积函数")]
    assert report.place("B5 4.7.1–4.7.4").span == ["4.7.1", "4.7.2", "4.7.3", "4.7.4"]
    assert report.place("B1 20.3").sections == [("20.3", ""), ("20", "深度强化学习：Deep Q Learning")]
    assert report.place("B1 1.3").sections == [("1.3", "")], "a section without a title on record keeps its number alone"
    lines = (report.SITE / "titles.yaml").read_text(encoding="utf-8").splitlines()[1:]
    places = [report.place(line.partition(": ")[0]) for line in lines]
    assert all(p.book in report.BOOKS and re.fullmatch(r"[\d.]+(–[\d.]+)?", p.number) for p in places)
    assert [p.order for p in places] == sorted(p.order for p in places) and len({p.text for p in places}) == len(places)
    page = built(library)["index.html"]
    listed = html.unescape(re.sub("<[^>]+>", " ", page.source[page.source.index('<h2 id="B5">') :]))
    assert all(title in listed for _, _, title in report.titles()["B5"]), "covered by a chapter, or named as not covered yet"
    assert '<span lang="zh">从文件读取数据</span>' in built(library)["chapter/line.html"].source


def test_what_the_search_finds(library):
    source = built(library)["index.html"].source
    known = json.loads(re.search(r'id="search-index">(.*?)</script>', source, re.S)[1])
    assert set(known) == {"curve", "line", "data/dots"} and known["data/dots"]["names"].startswith("dots")
    assert "从文件读取数据" in known["line"]["names"] and "a straight line" in known["line"]["names"]
    assert known["curve"]["sections"] == ["b5 4.7", "b5 4.7.1", "b5 4.7.2", "b5 4.7.3", "b5 4.7.4", "b5 4.7.5"]
    assert " convex " in known["line"]["words"] and " bent" in known["curve"]["words"]


def test_what_the_books_say_is_set_apart():
    text = "**The loss.** a\n\nB1 does it.\n\nz\n\n**What the book says.** b\n\n$$c$$\n\nd\n\ne\n\n**Corrected.** f\n\n- g\n\n**Why?** The book errs.\n\n## h\n\n**Why?** i"
    made = re.sub(r'<div class="math.*?</div>', "", prose.Prose(2)(text), flags=re.S)
    frames = re.findall(r'<div class="corrected">(.*?)\n</div>', made, re.S)
    plain = [re.sub(r"<[^>]+>|\s", "", body) for body in frames]
    assert plain == ["B1doesit.", "Whatthebooksays.bd", "Corrected.fgWhy?Thebookerrs."]


def test_pictures_over_time(library):
    figures = library / "data" / "runs" / "line" / "figures"
    for step in (5, 10, 100):
        Image.new("RGB", (8, 8)).save(figures / f"samples_step_{step}.png")
    Image.new("RGB", (8, 8)).save(figures / "net_step_1.png")
    page = built(library)["chapter/line.html"]
    part = page.source[page.source.index('class="picture sequence" data-unit="step"') :]
    assert re.findall(r"samples_step_(\d+)\.png\" title", part) == ["5", "10", "100"] and page.source.count("samples_step_10.png") == 1
    assert 'alt="net step 1"' in page.source, "one picture is no sequence"


def test_the_numbers_of_this_checkout_have_hashes_and_a_commit(library):
    write_dots(library)
    page = built(library)["chapter/line.html"]
    shown = dict(re.findall(r'<tr><th scope="row"><code>(\S+)</code></th><td><code>([0-9a-f.dir]+)</code></td></tr>', page.source))
    assert list(shown) == ["src/dlbooks/chapters/toys/line.py", "data/tfrecords/dots", "data/runs/line"]
    assert all(value == report.dvc_hash(library / name) for name, value in shown.items())
    assert "No run of the ledger has these numbers" in page.source

    twin = {**entry(0.0625), "metrics": {"error": 0.0625, "accuracy": 0.96875, "spread": 3}, "data": {"dots": shown["data/tfrecords/dots"]}}
    page = built(library, line={"mini": {"best": twin}})["chapter/line.html"]
    assert "The same numbers stand in the ledger: commit <code>c0ffeec0ff</code>, a CPU × 2, tensorflow 2.21.0." in page.source
    page = built(library, line={"mini": {"best": {**twin, "data": {"dots": "of other data"}}}})["chapter/line.html"]
    assert "No run of the ledger has these numbers" in page.source


def test_hashes_are_those_of_dvc(tmp_path):
    from dvc.repo import Repo

    Repo.init(tmp_path / "repo", no_scm=True).close()
    folder = tmp_path / "repo" / "folder"
    for name in ("b", "a/c", "a.txt", "a/d/e"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    with Repo(tmp_path / "repo") as repo:
        outs = [stage.outs[0] for stage in repo.add([str(folder), str(tmp_path / "repo" / ".dvcignore")])]
    assert [out.hash_info.value for out in outs] == [report.dvc_hash(Path(out.fs_path)) for out in outs]


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


def test_python_asks_with_the_own_example():
    assert [
        report.call(catalog.Use(takes=takes, about="", example=example)) for takes, example in (("text", "明"), ("numbers", "[1, 2]"), ("sound", ""))
    ] == [*("run.predict('明')", "run.predict([1, 2])", "run.predict('my.wav')")]
    assert report.call(None) == ""


def test_numbers_read_well():
    assert [report.number(v) for v in (61706, 0.00391947, 1.0, 1234567.0, 0.98765432, True, "sgd", 2**31)] == [
        *("61706", "0.0039195", "1", "1234567", "0.98765", "True", "sgd", "2147483648")
    ]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site of this checkout."""
    folder = tmp_path_factory.mktemp("site")
    report.build(folder)
    return folder


def test_every_chapter_of_the_library(site):
    """Every page builds, every formula converts, the books' places have their titles."""
    index = Page(site / "index.html").source
    for chapter in catalog.chapters().values():
        for path in (site / "chapter" / f"{chapter.id}.html", site / "chapter" / f"{chapter.id}-source.html"):
            unknown = re.findall('<code class="tex">(.*?)</code>', path.read_text(encoding="utf-8"), re.S)
            assert not unknown, f"{chapter.id}: no MathML for {unknown}"
        for source in chapter.sources:
            for number, title in report.place(source).sections:
                assert f'<span class="no">{number}</span>' in index and title in index


def test_every_page_is_accessible(site):
    pages = {p: Page(p) for p in sorted(site.glob("**/*.html"))}
    assert len(pages) > 2 * len(catalog.chapters())
    ids = {p.resolve(): set(page.ids()) for p, page in pages.items()}
    shared = sum((site / name).stat().st_size for name in ("style.css", "site.js"))
    titles, descriptions = [], []
    for path, page in pages.items():
        name = path.relative_to(site).as_posix()
        assert page.all("html") == [{"lang": "en"}] and page.headings.count(1) == 1 and page.headings[0] == 1, name
        assert all(b <= a + 1 for a, b in zip(page.headings, page.headings[1:], strict=False)), f"{name}: {page.headings}"
        assert len(page.ids()) == len(set(page.ids())), name
        meta = {m.get("name"): m.get("content") for m in page.all("meta")}
        assert meta["viewport"] == "width=device-width, initial-scale=1"
        titles.append(re.search("<title>(.+?)</title>", page.source)[1])
        descriptions.append(meta["description"])
        for image in page.all("img"):
            assert image.get("alt") and int(image["width"]) > 0 and int(image["height"]) > 0, f"{name}: {image}"
        for box in page.all("input"):
            assert any(label.get("for") == box["id"] for label in page.all("label")), f"{name}: {box}"
        for head in page.all("th"):
            assert head.get("scope") in ("col", "row", "rowgroup"), f"{name}: {head}"
        assert len(page.all("table")) <= len(page.all("thead")), name
        for tag, key in (("a", "href"), ("link", "href"), ("img", "src"), ("script", "src")):
            for found in page.all(tag):
                parts = urlsplit(found.get(key, ""))
                if parts.scheme or parts.netloc:  # links may lead elsewhere; nothing that a page loads does
                    assert (tag == "a" and parts.scheme == "https") or (tag == "a" and parts.scheme == "http") or found[key] == "data:,", (
                        f"{name}: {found}"
                    )
                    continue
                target = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
                assert target.is_file(), f"{name}: {found[key]}"
                assert not parts.fragment or parts.fragment in ids[target], f"{name}: no {found[key]}"
        assert not re.search(r"<(iframe|object|embed|video|audio)|@import|url\(", page.source), name
        prose_alone = re.sub(
            r"<(script|style|code|pre|title).*?</\1>|<(\w+)[^>]* lang=\"zh\"[^>]*>.*?</\2>",
            "",
            page.source[page.source.index("<body>") :],
            flags=re.S,
        )
        unmarked = re.findall("[\u4e00-\u9fff]+", re.sub("<[^>]*>", "", prose_alone))
        assert not unmarked, f"{name}: Chinese words that are not marked as such: {unmarked[:5]}"
        assert path.stat().st_size + shared < 400_000, f"{name}: {path.stat().st_size:,} bytes"
    assert len(set(titles)) == len(titles) and len(set(descriptions)) == len(descriptions) and all(map(str.strip, descriptions))


def test_colors_can_be_told_apart():
    """Contrast as WCAG 2 defines it: text 4.5 to 1 at least, lines of plots 3 to 1, in the light and in the dark scheme."""
    css = (report.SITE / "style.css").read_text(encoding="utf-8")

    def luminance(color: str) -> float:
        color = "".join(c * 2 for c in color[1:]) if len(color) == 4 else color[1:]
        parts = [int(color[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    def contrast(a: str, b: str) -> float:
        low, high = sorted((luminance(a), luminance(b)))
        return (high + 0.05) / (low + 0.05)

    assert contrast("#fff", "#000000") == pytest.approx(21) and contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    texts = set(re.findall(r"(?<![\w-])(?:color|fill): var\(--([\w-]+)\)", css)) - {"paper"}
    assert {"ink", "soft", "link", "good", "bad"} <= texts and not re.search(r"(?<![\w-])color: (?!var|inherit)", css)
    for block in re.findall(r":root \{(.*?)\}", css, re.S):
        colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})\b", block))
        for ground in ("paper", "panel"):
            for name in texts:
                assert contrast(colors[name], colors[ground]) >= 4.5, f"{name} on {ground}: {contrast(colors[name], colors[ground]):.2f}"
        for name in (n for n in colors if re.fullmatch(r"c\d", n)):
            assert contrast(colors[name], colors["paper"]) >= 3, name
    assert len(re.findall(r":root \{", css)) == 2


HARNESS = """<!doctype html><script>
addEventListener("error", (event) => { throw event.error; });
const pages = %s, found = {};
async function open(page, width) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width:${width}px;height:900px;border:0`;
  frame.src = page;
  const loaded = new Promise((done) => frame.addEventListener("load", done));
  document.body.append(frame);
  await loaded;
  return frame.contentDocument;
}
addEventListener("load", async () => {
  for (const page of pages) for (const width of [390, 1280]) found[`${page} ${width}`] = (await open(page, width)).scrollingElement.scrollWidth;
  const index = await open("index.html", 1280), search = index.getElementById("search");
  found.search = {};
  for (const words of %s) {
    search.value = words;
    search.dispatchEvent(new Event("input"));
    const rows = [...index.querySelectorAll("[data-section=family] tr[data-key]:not([hidden])")];
    found.search[words] = [index.getElementById("count").textContent, ...rows.map((row) => row.dataset.key)];
  }
  search.value = "";
  search.dispatchEvent(new Event("input"));
  const chip = index.querySelector('[data-filter=book][data-value=B4]');
  chip.click();
  found.chip = [...index.querySelectorAll("[data-section=family] tr[data-key]:not([hidden])")].map((row) => row.dataset.key);
  chip.click();
  const frame = index.defaultView.frameElement, gone = new Promise((done) => frame.addEventListener("load", done));
  index.dispatchEvent(new KeyboardEvent("keydown", { key: "/", bubbles: true }));
  found.focused = index.activeElement.id;
  search.value = "cartpole";
  search.dispatchEvent(new Event("input"));
  search.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
  await gone;
  found.opened = frame.contentDocument.title;
  document.body.innerHTML = "";
  const out = document.createElement("pre");
  out.textContent = JSON.stringify(found);
  document.body.append(out);
});
</script><body></body>
"""


def test_in_a_browser(site):
    """Nothing is wider than a phone or a desktop; the search and the filters find what they should."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("needs Chromium")
    some = ["mnist-softmax", "layer-lab", "maze-q-learning"]
    pages = ["index.html", "index.html#book", *(f"chapter/{c}{k}.html" for c in some for k in ("", "-source")), "data/mnist.html", "data/poems.html"]
    queries = ["b5 4.7.2", "B1 18.2", "卷积网络", "cartpole", "adadelta", "b5 4.7.2 nothing like that"]
    (site / "harness.html").write_text(HARNESS % (json.dumps(pages), json.dumps(queries)), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--virtual-time-budget=20000", "--dump-dom"]
    command = [browser, *flags, f"--user-data-dir={site}-profile", (site / "harness.html").as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    (site / "harness.html").unlink()
    found = json.loads(html.unescape(re.search("<pre>(.*?)</pre>", dom, re.S)[1]))
    widths = {page: width for page, width in found.items() if ".html" in page}
    assert len(widths) == 2 * len(pages) and not {page: width for page, width in widths.items() if width > int(page.split()[-1])}
    hits = found["search"]
    assert hits["b5 4.7.2"] == ["1 chapter found", "layer-lab"]
    assert hits["B1 18.2"] == ["1 chapter found", "maze-q-learning"]
    assert {"mnist-cnn", "mnist-softmax"} & set(hits["卷积网络"]) == {"mnist-cnn"}
    assert {"cartpole-policy-gradient", "maze-q-learning"} <= set(hits["cartpole"]) and "optimizer-lab" in hits["adadelta"]
    assert found["focused"] == "search" and found["opened"].startswith("REINFORCE on CartPole"), "a name comes before a word of the theory"
    assert hits["b5 4.7.2 nothing like that"] == ["0 chapters found"]
    assert sorted(found["chip"]) == sorted(c.id for c in catalog.chapters().values() if any(s.startswith("B4") for s in c.sources))


def test_the_chinese_readme_says_what_the_english_one_says():
    english, chinese = ((runtime.root() / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md"))
    assert "](README.zh.md)" in english and "](README.md)" in chinese
    rows, pictures, headings = (r"^\| (`.*?) \| ", r"!\[[^]]*\]\((.*?)\)", r"^(#+) ")
    for pattern in (rows, pictures, headings):
        assert re.findall(pattern, english, re.M) == re.findall(pattern, chinese, re.M)
    commands = [
        {re.split(r" {2,}", line)[0] for block in re.findall(r"```\n(.*?)```", text, re.S) for line in block.splitlines()}
        for text in (english, chinese)
    ]
    assert commands[0] <= commands[1], "a command that the Chinese one has not"
    assert set(re.findall(r"`([A-Z]+_[A-Z_]+)`", english)) <= set(re.findall(r"\b([A-Z]+_[A-Z_]+)\b", chinese)), "environment variables"
