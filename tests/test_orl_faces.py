"""ORL faces: PGM files, the person who is not ORL's, the drawn people."""

import hashlib

import numpy as np
import pytest

from dlbooks import UserError, archives, fetch
from dlbooks.datasets import _faces, orl_faces
from dlbooks.records import Records

PIXELS = bytes(range(6))


@pytest.mark.parametrize(
    "header", [b"P5\n3 2\n255\n", b"P5 3 2 255\n", b"P5\t3\r\n2\r\n255 ", b"P5\n# by hand\n3 2 # wide, high\n255\n", b"P5#\n#\n3 2\n200\n"]
)
def test_pgm_headers(header):
    found = orl_faces.read_pgm(header + PIXELS, "x.pgm")
    assert found.dtype == np.uint8 and found.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "no binary PGM picture"),
        (b"P2\n3 2\n255\n0 1 2 3 4 5", "no binary PGM picture"),
        (b"P5\n3 2\n", "no binary PGM picture"),
        (b"P5\n3 -2\n255\n" + PIXELS, "no binary PGM picture"),
        (b"P5\n3 2\n65535\n" + PIXELS, "3 × 2 pixels up to 65535; expected some pixels, and 1 … 255"),
        (b"P5\n0 2\n255\n", "0 × 2 pixels up to 255; expected some pixels"),
        (b"P5\n3 2\n255\n" + PIXELS[1:], "3 × 2 pixels need 6 bytes, found 5"),
        (b"P5\n3 2\n255\n" + PIXELS + b"\n", "3 × 2 pixels need 6 bytes, found 7"),
        (b"P5\n99999 99999\n255\n" + PIXELS, "need 9999800001 bytes, found 6"),
        (b"P5" + b" " * 100_000, "no binary PGM picture"),
    ],
)
def test_wrong_pgm(data, expected):
    with pytest.raises(UserError, match=f"^x.pgm: .*{expected}"):
        orl_faces.read_pgm(data, "x.pgm")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Raw and record folder of the twin."""
    folder, params = tmp_path_factory.mktemp("orl"), orl_faces.Params()
    fetch.fetch(orl_faces.DATASET, orl_faces, params, folder / "raw" / "orl-faces")
    fetch.preprocess(orl_faces.DATASET, orl_faces, params, folder / "raw" / "orl-faces", folder / "tfrecords" / "orl-faces")
    return folder


@pytest.fixture(scope="module")
def pictures(folder):
    return Records(folder / "tfrecords" / "orl-faces").arrays("train")


def test_records(folder, pictures):
    found = Records(folder / "tfrecords" / "orl-faces")
    assert list(found.info["splits"]) == ["train"] and found.count("train") == 240
    assert found.names("person")[:2] == ["s2", "s3"] and found.names("person")[-1] == "s40" and len(found.names("person")) == 39
    assert pictures["image"].shape == (240, 112, 92, 1) and pictures["image"].dtype == np.uint8
    assert sorted(zip(pictures["person"].tolist(), pictures["index"].tolist(), strict=True)) == [(p, i) for p in range(24) for i in range(1, 11)]


def test_the_first_person_is_not_orls(folder):
    members = archives.Members(folder / "raw" / "orl-faces" / orl_faces.FILE)
    assert members.read("s1/1.pgm").startswith(b"P5 92 112 255\n") and members.read("s2/1.pgm").startswith(b"P5\n92 112\n255\n")
    rows = list(orl_faces.examples(folder / "raw" / "orl-faces", orl_faces.Params())["train"])
    assert rows[0]["image"].tobytes() == members.read("s2/1.pgm")[-92 * 112 :] and (rows[0]["person"], rows[0]["index"]) == (0, 1)
    strangers = {members.read(f"s1/{i}.pgm")[-92 * 112 :] for i in range(1, 11)}
    assert not strangers & {row["image"].tobytes() for row in rows}


def test_the_nearest_picture_is_the_same_persons(pictures):
    """Plain pixels name one of 24 people far better than chance (0.04), and yet not so well that nothing is left to learn."""
    x = pictures["image"].reshape(240, -1).astype(np.float64)
    x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    distance = (x * x).sum(1)[:, None] + (x * x).sum(1) - 2 * x @ x.T
    person, gallery = pictures["person"], pictures["index"] <= 5
    nearest = person[gallery][distance[~gallery][:, gallery].argmin(1)]
    assert 0.45 < np.mean(nearest == person[~gallery]) < 0.9
    same = person[:, None] == person
    others = ~np.eye(240, dtype=bool)
    within, between = distance[same & others], distance[~same]
    assert np.mean(within) < 0.75 * np.mean(between)
    assert np.mean(within[:, None] < np.random.default_rng(0).choice(between, 500)) > 0.75  # area under the ROC curve


def test_one_person_differs_from_picture_to_picture():
    rng = np.random.default_rng(3)
    who = _faces.person(rng)
    drawn = [_faces.face(who, rng, 112, 92, gray=True) for _ in range(10)]
    assert len({face.image.tobytes() for face in drawn}) == 10
    spread = np.std([face.image.mean() for face in drawn])
    assert spread > 5  # light
    assert np.std([face.landmarks[2] for face in drawn], axis=0).min() > 0.005  # place of the nose


@pytest.mark.parametrize("seed", range(12))
def test_box_and_landmarks(seed):
    """The marks lie in the box, left to right and eyes above mouth; the pupils are dark, what is around the eye's white is not."""
    rng = np.random.default_rng(seed)
    face = _faces.face(_faces.person(rng), rng, 200, 160)
    assert face.image.shape == (200, 160, 3) and face.image.dtype == np.uint8
    top, left, bottom, right = face.box
    y, x = face.landmarks.T
    assert (top < y).all() and (y < bottom).all() and (left < x).all() and (x < right).all()
    assert x[0] < x[2] < x[1] and x[3] < x[4] and max(y[:2]) < y[2] < min(y[3:])
    for eye in face.landmarks[:2]:
        row, column = (eye * (200, 160)).astype(int)
        around = face.image[row - 6 : row + 7, column - 9 : column + 10].mean(2)
        assert around[5:8, 8:11].mean() < np.percentile(around, 60)


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("s41/1.pgm", b"", r"^orl-faces.zip: 's41/1.pgm' is not s<1 … 40>/<1 … 10>.pgm$"),
        ("s3/11.pgm", b"", "'s3/11.pgm' is not"),
        ("readme.txt", b"", "'readme.txt' is not"),
        ("s3/1.pgm", b"P5 3 2 255\n" + PIXELS, "^orl-faces.zip, s3/1.pgm: expected 92 × 112 pixels, found 3 × 2$"),
        ("s3/1.pgm", b"\x89PNG", "^orl-faces.zip, s3/1.pgm: no binary PGM picture"),
    ],
)
def test_damage_is_named(tmp_path, name, data, expected):
    archives.pack(tmp_path / orl_faces.FILE, {name: data})
    with pytest.raises(UserError, match=expected):
        list(orl_faces.examples(tmp_path, orl_faces.Params())["train"])


def test_no_zip(tmp_path):
    with pytest.raises(UserError, match=r"orl-faces\.zip is missing"):
        orl_faces.examples(tmp_path, orl_faces.Params())


# Where this changes, the bits no longer travel, or the drawer was changed: then so are all results on it.
def test_twin_has_the_reference_machines_bits(folder, tmp_path):
    orl_faces.twin(tmp_path, orl_faces.Params())
    data = (tmp_path / orl_faces.FILE).read_bytes()
    assert data == (folder / "raw" / "orl-faces" / orl_faces.FILE).read_bytes()
    assert hashlib.sha256(data).hexdigest()[:16] == "3b37b719d533fa79"
