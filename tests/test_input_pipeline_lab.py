"""The input-pipeline lab: its schedule against the formulas, the packer, the satellite tiles it packs."""

import io
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dlbooks import UserError
from dlbooks.chapters.foundations import input_pipeline_lab as lab
from dlbooks.datasets import satellite
from dlbooks.records import Records


@pytest.mark.parametrize(("read", "compute"), [(0.1, 0.9), (12, 6), (6, 12), (5, 5)])
def test_schedule_is_the_formula(read, compute):
    for n in (1, 2, 7):
        assert lab.schedule(n, read, compute, False)[-1][3] == pytest.approx(n * (read + compute))
        assert lab.schedule(n, read, compute, True)[-1][3] == pytest.approx(read + (n - 1) * max(read, compute) + compute)
    many = 1000
    assert lab.schedule(many, read, compute, True, 2)[-1][3] / many == pytest.approx(max(read / 2, compute), rel=0.01)


def test_interleavings():
    turns = lab.interleavings(4)
    assert len(turns) == len(set(turns)) == 70 and all(t.count("A") == t.count("B") == 4 for t in turns)


def test_plan():
    assert lab.plan(10, 4, 2) == [range(2), range(2, 5), range(5, 7), range(7, 10)]
    with pytest.raises(UserError, match="2 workers do not divide 3 shards"):
        lab.plan(10, 3, 2)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, suffix in (("cat", "png"), ("ant", "jpg")):
        (tmp_path / "in" / name).mkdir(parents=True)
        for number in range(6):
            Image.fromarray(rng.integers(0, 256, (8, 9, 3), np.uint8)).save(tmp_path / "in" / name / f"{number}.{suffix}")
    return tmp_path / "in"


def test_pack(folder, tmp_path, capsys):
    (folder / "cat" / "5.png").rename(folder / "cat" / "5.jpg")  # the name lies, the content decides
    lab.predict(SimpleNamespace(), [str(folder)], tmp_path / "packed", validation_share=0.25, shards=3)
    assert "validation: 3 pictures" in capsys.readouterr().out
    packed = Records(tmp_path / "packed")
    assert packed.names() == ["ant", "cat"] and len(packed.files("train")) == 3
    rows = packed.arrays("train")
    assert len(rows["label"]) == 9 and all(data.startswith(b"\xff\xd8") for data in rows["image"])
    for name, label in zip(rows["image/filename"], rows["label"], strict=True):
        assert name.decode().startswith(packed.names()[label])


def test_pack_refuses(folder, tmp_path):
    def refused(message, **options):
        with pytest.raises(UserError, match=message):
            lab.predict(SimpleNamespace(), [str(folder)], tmp_path / "packed", **options)
        assert not (tmp_path / "packed").exists()

    refused("the share is in 0 … 1", validation_share=1.0)
    (folder / "ant" / "3.jpg").write_bytes((folder / "ant" / "3.jpg").read_bytes()[:300])
    refused(r"ant/3\.jpg: damaged picture")
    (folder / "dog").mkdir()
    refused("dog: an empty class folder")
    with pytest.raises(UserError, match="say where to with -o"):
        lab.predict(SimpleNamespace(), [str(folder)])
    with pytest.raises(UserError, match="needs a folder per class"):
        lab.predict(SimpleNamespace(), [str(folder / "cat")], tmp_path / "packed")


# ── satellite ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("satellite")
    satellite.twin(folder, satellite.Params(train=20, validation=5))
    return folder


def test_tiles_and_their_splits(raw):
    book, blocked = (
        {side: list(items) for side, items in satellite.examples(raw, satellite.Params(split=split)).items()} for split in ("book", "blocked")
    )
    for splits in (book, blocked):
        assert sum(map(len, splits.values())) == 6 * 25
    assert len(book["test"]) == 30 and 0 < len(book["validation"]) < 30
    blocks = {side: {(row["tile_x"] // 256, row["tile_y"] // 256) for row in rows} for side, rows in blocked.items()}
    assert not blocks["train"] & blocks["test"] and not blocks["train"] & blocks["validation"]
    row = book["train"][0]
    assert Image.open(io.BytesIO(row["image"])).size == (64, 64)
    assert row["image/filename"] == f"train/{satellite.NAMES[row['label']]}/{row['tile_x']}_{row['tile_y']}_18.jpg"


def test_twin_can_be_learned(raw):
    """Texture statistics and a nearest-centroid rule beat chance by far; the mean color alone does not get as far."""
    rows = [r for rows in satellite.examples(raw, satellite.Params()).values() for r in rows]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(r["image"])).convert("RGB"), np.float64) for r in rows])[:, 20:44, 20:44]
    labels = np.array([r["label"] for r in rows])
    means = pixels.mean((1, 2))
    edges = np.abs(np.diff(pixels.mean(-1), axis=2)).mean((1, 2))[:, None]
    features = np.concatenate([means / means.sum(1, keepdims=True) * 3, np.log(edges), means.mean(1, keepdims=True) / 100], 1)
    half = np.arange(len(rows)) % 2 == 0
    centers = np.stack([features[half & (labels == k)].mean(0) for k in range(6)])
    guess = ((features[~half, None] - centers) ** 2).sum(-1).argmin(1)
    assert (guess == labels[~half]).mean() > 0.45


def test_wrong_member_is_named(raw, tmp_path):
    with zipfile.ZipFile(tmp_path / "satellite.zip", "w") as archive:
        archive.writestr(f"{satellite.TOP}/train/desert/1_2_18.jpg", b"\xff\xd8")
    with pytest.raises(UserError, match=r"desert/1_2_18.jpg' is not .*glacier\|rock"):
        satellite.examples(tmp_path, satellite.Params())
    with zipfile.ZipFile(tmp_path / "satellite.zip", "w") as archive:
        archive.writestr(f"{satellite.TOP}/train/wood/1_2_18.jpg", b"GIF89a")
    with pytest.raises(UserError, match=r"train/wood/1_2_18.jpg is no JPEG"):
        for split in ("train", "validation"):
            list(satellite.examples(tmp_path, satellite.Params())[split])
