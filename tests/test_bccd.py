"""Blood cells: VOC's annotations and everything that can be wrong with them, splits, boxes, the twin."""

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dlbooks import UserError, archives, fetch
from dlbooks.datasets import _voc, bccd
from dlbooks.records import Records

XML = """<?xml version="1.0"?>
<annotation>
  <folder>JPEGImages</folder>
  <filename>a.jpg</filename>
  <size><width>640</width><height>480</height><depth>3</depth></size>
  <object>
    <name>RBC</name>
    <part><name>edge</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>9999</xmax><ymax>9</ymax></bndbox></part>
    <bndbox><xmin>1</xmin><ymin>121</ymin><xmax>640</xmax><ymax>240</ymax></bndbox>
  </object>
  <object><name>WBC</name><bndbox>
    <ymin>11</ymin><xmin> 33.5 </xmin>
    <xmax>64</xmax><ymax>48</ymax>
  </bndbox></object>
</annotation>
"""
BOX = "<xmin>1</xmin><ymin>121</ymin><xmax>640</xmax><ymax>240</ymax>"


def inspect(text, **options):
    return _voc.inspect(text.encode() if isinstance(text, str) else text, "a.xml", bccd.NAMES, **options)


# ── annotations ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pixels_count_from_one_and_the_last_belongs_to_the_box():
    found, problems = inspect(XML)
    assert problems == [] and found.names == ["RBC", "WBC"] and (found.filename, found.width, found.height) == ("a.jpg", 640, 480)
    assert found.boxes.dtype == np.float32
    assert np.allclose(found.boxes, [[120 / 480, 0, 240 / 480, 1], [10 / 480, 32.5 / 640, 48 / 480, 64 / 640]], rtol=0, atol=1e-7)


def test_a_tool_that_counts_from_zero():
    text = XML.replace(BOX, "<xmin>0</xmin><ymin>120</ymin><xmax>640</xmax><ymax>240</ymax>")
    assert "xmin 0 is not in 1 … 640 (Pascal VOC counts pixels from 1)" in inspect(text)[1][0]
    found, problems = inspect(text, origin=0)
    assert problems == [] and np.allclose(found.boxes[0], [0.25, 0, 0.5, 1])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "iso-8859-1"])
def test_encodings_and_line_ends(encoding):
    text = XML.replace('"1.0"', f'"1.0" encoding="{encoding.removesuffix("-sig")}"').replace("\n", "\r\n")
    assert inspect(text.encode(encoding))[0].names == ["RBC", "WBC"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (BOX, BOX.replace("640", "641"), "line 9: box of 'RBC' leaves the picture of 640 × 480 pixels: xmax 641 is not in 1 … 640"),
        (BOX, BOX.replace("121", "-3"), "line 9: box of 'RBC' leaves the picture of 640 × 480 pixels: ymin -3 is not in 1 … 480"),
        (BOX, BOX.replace("121", "300"), "line 9: box of 'RBC' is inverted: ymin 300, ymax 240"),
        (BOX, BOX.replace("640", "1"), "line 9: box of 'RBC' is empty: xmin 1, ymin 121, xmax 1, ymax 240"),
        (BOX, BOX.replace("121", "nan"), "line 9: <ymin> is 'nan', must be a number"),
        (BOX, BOX.replace("121", "1_0"), "line 9: <ymin> is '1_0', must be a number"),
        (BOX, BOX.replace("<xmin>1</xmin>", ""), "line 9: <bndbox> holds no <xmin>"),
        (f"<bndbox>{BOX}</bndbox>", "", "line 6: <object> holds no <bndbox>"),
        ("<name>RBC</name>", "<name>RBCs</name>", "line 7: unknown class 'RBCs'; did you mean RBC?"),
        ("<name>RBC</name>", "<name>rbc</name>", "line 7: unknown class 'rbc'; did you mean RBC?"),
        ("<name>RBC</name>", "<name>dog</name>", "line 7: unknown class 'dog'; known are RBC, WBC, Platelets"),
        ("<name>RBC</name>", "<name/>", "line 7: <name> is empty, must be the object's class"),
    ],
)
def test_a_wrong_object_is_named_and_the_others_are_found(old, new, expected):
    found, problems = inspect(XML.replace(old, new, 1))
    assert problems == [f"a.xml, {expected}"] and found.names == ["WBC"]
    with pytest.raises(UserError, match=r"^a\.xml, line"):
        _voc.read(XML.replace(old, new, 1).encode(), "a.xml", bccd.NAMES)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("<size><width>640</width><height>480</height><depth>3</depth></size>", "", "line 2: <annotation> holds no <size>"),
        ("<width>640</width>", "", "line 5: <size> holds no <width>"),
        ("<width>640</width>", "<width>0</width>", "line 5: size is 0 × 480, must be whole pixels, 1 … 65535 each"),
        ("<width>640</width>", "<width>1e300</width>", "line 5: size is 1e+300 × 480, must be whole pixels, 1 … 65535 each"),
        ("<width>640</width>", "<width>64.5</width>", "line 5: size is 64.5 × 480, must be whole pixels, 1 … 65535 each"),
        ("<width>640</width>", "<width>480</width>", "line 5: size is 480 × 480, but the picture has 640 × 480 pixels"),
        ("</annotation>", "", "line 16: no readable XML: no element found"),
        ("</object>", "</objects>", "line 10: no readable XML: mismatched tag"),
        ("annotation>", "html>", "line 2: the outermost element is <html>, must be <annotation>"),
        (
            "<annotation>",
            '<!DOCTYPE a [<!ENTITY x "y">]><annotation>',
            "line 2: a document type (<!DOCTYPE …>) is not read: entities could be anything",
        ),
        ("<annotation>", '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation>', "line 2: a document type (<!DOCTYPE …>) is not read"),
        ('"1.0"', '"1.0" encoding="GBK"', "line 1: no readable XML: multi-byte encodings are not supported; save the file as UTF-8"),
        ('"1.0"', '"1.0" encoding="klingon"', "line 1: no readable XML: unknown encoding"),
        ("<folder>", "<folder>" + "<a>" * 40, "line 3: more than 32 elements inside each other"),
    ],
)
def test_a_file_of_no_use(old, new, expected):
    found, problems = inspect(XML.replace(old, new), size=(640, 480))
    assert found is None and len(problems) == 1 and problems[0].startswith(f"a.xml, {expected}") and "\n" not in problems[0]


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"\xff\xd8\xff", b"<", b" " * (9 << 20)])
def test_no_xml_at_all(data):
    assert inspect(data)[0] is None


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, len(XML.encode()) - 1), data=st.binary(max_size=3))
def test_damaged_files_never_crash(place, data):
    whole = XML.encode()
    found, problems = inspect(whole[:place] + data + whole[place + 1 :])
    assert found is not None or len(problems) == 1
    assert all(p.startswith("a.xml, line ") and "\n" not in p for p in problems)
    if found:
        assert (found.boxes >= 0).all() and (found.boxes <= 1).all() and len(found.boxes) == len(found.names)


def test_all_problems_of_a_file_in_one_go():
    text = XML.replace(BOX, BOX.replace("640", "9999")).replace("<name>WBC</name>", "<name>cat</name>")
    found, problems = inspect(text)
    assert [p.split(":")[0] for p in problems] == ["a.xml, line 9", "a.xml, line 11"] and found.boxes.shape == (0, 4)


def test_no_object_is_no_mistake():
    found, problems = inspect("<annotation><size><width>9</width><height>9</height></size></annotation>")
    assert problems == [] and found.boxes.shape == (0, 4) and found.names == []


def test_any_class_where_none_is_given():
    assert _voc.read(XML.replace("RBC", "dog &amp; cat").encode(), "a.xml").names == ["dog & cat", "WBC"]


BOXES = st.tuples(st.integers(1, 99), st.integers(1, 79), st.integers(2, 100), st.integers(2, 80)).filter(lambda b: b[0] < b[2] and b[1] < b[3])


@settings(max_examples=30, deadline=None)
@given(objects=st.lists(st.tuples(st.text(st.characters(categories=("L", "P", "S")), min_size=1, max_size=9), BOXES), max_size=5))
def test_what_is_written_is_read(objects):
    found = _voc.read(_voc.write("a&b.jpg", 100, 80, objects), "a.xml")
    assert found.filename == "a&b.jpg" and found.names == [name for name, _ in objects]
    pixels = np.rint(found.boxes * [80, 100, 80, 100] + [1, 1, 0, 0]).astype(int)[:, [1, 0, 3, 2]]
    assert pixels.tolist() == [list(box) for _, box in objects]


def test_lists_of_pictures():
    assert _voc.image_set("\ufeffa\r\n\r\n b \nä".encode(), "x.txt") == ["a", "b", "ä"]
    for data, expected in (
        (b"a\nb\na\n", "x.txt, line 3: 'a' stands in line 1 already"),
        (b"a\n\xff\n", "x.txt, line 2: is not UTF-8 text"),
        (b"\n\n", "x.txt names no picture"),
    ):
        with pytest.raises(UserError, match=f"^{expected}$"):
            _voc.image_set(data, "x.txt")


# ── the data set ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

SMALL = {"train": 30, "validation": 8, "test": 12}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Raw and record folder of a small twin."""
    folder, params = tmp_path_factory.mktemp("bccd"), bccd.Params(**SMALL)
    fetch.fetch(bccd.DATASET, bccd, params, folder / "raw" / "bccd")
    fetch.preprocess(bccd.DATASET, bccd, params, folder / "raw" / "bccd", folder / "tfrecords" / "bccd")
    return folder


def repacked(folder, target, changes):
    """The twin's zip with other members in place of some; None takes a member out."""
    members = archives.Members(folder / "raw" / "bccd" / bccd.FILE)
    found = {name: members.read(name) for name in members.names} | changes
    archives.pack(target / bccd.FILE, {name: data for name, data in found.items() if data is not None})
    return target


def test_records(folder):
    found = Records(folder / "tfrecords" / "bccd")
    assert {split: found.count(split) for split in SMALL} == SMALL
    assert found.names("objects/label") == list(bccd.NAMES)
    arrays = found.arrays("test")
    assert arrays["image/filename"].astype(str)[0] == "BloodImage_00038.jpg"
    for picture, boxes, labels in zip(arrays["image"], arrays["objects/bbox"], arrays["objects/label"], strict=True):
        assert boxes.dtype == np.float32 and boxes.shape == (len(labels), 4) and set(labels) <= {0, 1, 2}
        assert (boxes >= 0).all() and (boxes <= 1).all() and (boxes[:, :2] < boxes[:, 2:]).all()
        assert Image.open(io.BytesIO(picture)).size == (bccd.WIDTH, bccd.HEIGHT)


def test_the_box_without_area_is_left_out(folder):
    members = archives.Members(folder / "raw" / "bccd" / bccd.FILE)
    data = members.read("BCCD/Annotations/BloodImage_00000.xml")
    _, problems = _voc.inspect(data, "0.xml", bccd.NAMES)
    assert len(problems) == 1 and "box of 'RBC' is empty: xmin 81, ymin 61, xmax 81, ymax 61" in problems[0]
    found = _voc.read(data, "0.xml", bccd.NAMES, drop_empty=True)
    assert found.empty == 1 and len(found.names) == data.count(b"<object>") - 1
    first = bccd.example(members, bccd.Params(), "BloodImage_00000")
    assert first["objects/bbox"].shape == (len(found.names), 4)
    assert first["image"] == members.read("BCCD/JPEGImages/BloodImage_00000.jpg")


def test_boxes_fit_the_cells():
    """Colors and sizes inside the boxes tell the classes apart; just outside of a box is mostly ground."""
    rows = []
    for number in range(30):
        jpeg, xml = bccd.picture(number)
        pixels = np.asarray(Image.open(io.BytesIO(jpeg))).astype(np.float64)
        found = _voc.read(xml, "x", bccd.NAMES, drop_empty=True)
        for box, name in zip(found.boxes, found.names, strict=True):
            top, left, bottom, right = np.rint(box * [120, 160, 120, 160]).astype(int)
            inside = pixels[top:bottom, left:right]
            darkest = inside.sum(2) < 3 * 185
            # A tight box: the cell touches all four sides, within two pixels.
            reach = [np.flatnonzero(darkest.any(axis))[[0, -1]] for axis in (1, 0)]
            slack = max(reach[0][0], reach[1][0], bottom - top - 1 - reach[0][1], right - left - 1 - reach[1][1])
            middle = inside[len(inside) // 3 : -(len(inside) // 3) or None].mean((0, 1))
            rows.append((bccd.NAMES.index(name), slack, *middle, 2 * (bottom - top + right - left)))
    rows = np.array(rows)
    assert np.mean(rows[:, 1] <= 2) > 0.95
    labels, points = rows[:, 0].astype(int), rows[:, 2:]
    train = np.arange(len(rows)) % 2 == 0
    centers = np.stack([points[train & (labels == k)].mean(0) for k in range(3)])
    nearest = ((points[~train, None] - centers) ** 2).sum(-1).argmin(1)
    assert np.mean(nearest == labels[~train]) > 0.95
    assert np.bincount(labels).min() > 15


def test_size_and_quality(folder):
    rows = bccd.examples(folder / "raw" / "bccd", bccd.Params(**SMALL, size=60, quality=80))["test"]
    whole = bccd.examples(folder / "raw" / "bccd", bccd.Params(**SMALL))["test"]
    for small, large in zip(rows, whole, strict=True):
        assert Image.open(io.BytesIO(small["image"])).size == (80, 60) and len(small["image"]) < len(large["image"])
        assert np.array_equal(small["objects/bbox"], large["objects/bbox"])


@pytest.mark.parametrize(
    ("member", "data", "expected"),
    [
        ("BCCD/ImageSets/Main/val.txt", None, "holds no BCCD/ImageSets/Main/val.txt"),
        ("BCCD/ImageSets/Main/val.txt", b"nobody\n", "holds no BCCD/JPEGImages/nobody.jpg"),
        ("BCCD/Annotations/BloodImage_00031.xml", None, "holds no BCCD/Annotations/BloodImage_00031.xml"),
        ("BCCD/Annotations/BloodImage_00031.xml", b"<a", "^bccd.zip, BCCD/Annotations/BloodImage_00031.xml, line 1: no readable XML"),
        ("BCCD/Annotations/BloodImage_00031.xml", _voc.write("x", 9, 9, []), "line 3: size is 9 × 9, but the picture has 160 × 120 pixels"),
        ("BCCD/JPEGImages/BloodImage_00031.jpg", b"", "bccd.zip, BCCD/JPEGImages/BloodImage_00031.jpg"),
        ("BCCD/JPEGImages/BloodImage_00031.jpg", b"GIF?", "bccd.zip, BCCD/JPEGImages/BloodImage_00031.jpg"),
    ],
)
def test_damage_is_named(folder, tmp_path, member, data, expected):
    with pytest.raises(UserError, match=expected) as error:
        list(bccd.examples(repacked(folder, tmp_path, {member: data}), bccd.Params(**SMALL))["validation"])
    assert "\n" not in str(error.value)


def test_no_zip(tmp_path):
    with pytest.raises(UserError, match=r"bccd\.zip is missing"):
        bccd.examples(tmp_path, bccd.Params())


# Where these change, the bits no longer travel, or the drawer was changed: then so are all results on it.
def test_twin_has_the_reference_machines_bits(folder, tmp_path):
    bccd.twin(tmp_path, bccd.Params(**SMALL))
    data = (tmp_path / bccd.FILE).read_bytes()
    assert data == (folder / "raw" / "bccd" / bccd.FILE).read_bytes()
    assert hashlib.sha256(data).hexdigest()[:16] == "07dd25bbd735f8b3"
