"""Photographs in, a set of faces out: what became of each, killed calls, and who reads it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fixtures.face_videos import SIDE, find_squares, picture, square
from fixtures.front_door import assert_refused, likeness
from likeness.errors import UserError
from likeness_apps.facial_expression import crop as module
from likeness_apps.facial_expression.crop import crop
from likeness_apps.facial_expression.domain import DOMAIN
from likeness_apps.facial_expression.faces.detector import Face
from likeness_apps.facial_expression.layouts import recognise
from likeness_apps.facial_expression.layouts.cropped import absent
from likeness_apps.facial_expression.votes import COLUMNS

PLACES: dict[str, dict[int, tuple[int, int]]] = {
    "s1/a.png": {0: (90, 40)},
    "s1/b.png": {},
    "s2/c.jpg": {1: (10, 50)},
    "s2/d.png": {0: (5, 5), 1: (60, 50)},
    "s3/e.png": {2: (100, 20)},
}
LABELS = ["happy", "sad", "anger", "fear", ""]


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A table of five photographs and a broken file, each with votes."""
    folder = tmp_path / "photos"
    for name, squares in PLACES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(squares)).save(folder / name, quality=98)
    (folder / "s3" / "broken.jpg").write_bytes(b"\xff\xd8\xff not much")
    rows = pd.DataFrame(
        {
            "path": [*PLACES, "s3/broken.jpg"],
            "label": [*LABELS, "neutral"],
            "split": ["train", "test", "train", "test", "test", "test"],
            "subject": ["s1", "s1", "s2", "s2", "s3", "s3"],
            "status": "whatever the set says",
            "note": list("uvwxyz"),
            **dict.fromkeys(COLUMNS, 1),
        }
    )
    rows.to_csv(folder / "set.csv", index=False)
    return folder / "set.csv"


def cut(source: Path, out: Path, **options) -> pd.DataFrame:
    crop(DOMAIN, source, out, detector=find_squares, quiet=True, **options)
    return pd.read_csv(out / "manifest.csv", dtype=str, keep_default_na=False)


def test_every_photograph_is_a_row(photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "faces"
    table = cut(photographs, out).set_index("photograph")
    assert table["status"].to_dict() == {
        "s1/a.png": "ok",
        "s1/b.png": "no_face",
        "s2/c.jpg": "ok",
        "s2/d.png": "ok",
        "s3/broken.jpg": "error",
        "s3/e.png": "ok",
    }
    assert table["faces"].tolist() == ["1", "0", "1", "2", "", "1"]
    assert table["path"].tolist() == [
        *("faces/s1/a.png", "", "faces/s2/c.jpg.png", "faces/s2/d.png", "", "faces/s3/e.png")
    ]
    assert table["note"].tolist() == ["u", "v", "w", "x", "z", "y"]
    assert table["subject"].tolist() == table["group"].tolist()
    first = table.loc["s1/a.png"]
    box = [float(first[name]) for name in module.BOX[:4]]
    assert box == [90, 40, SIDE, SIDE]
    with Image.open(out / first["path"]) as image:
        np.testing.assert_array_equal(np.asarray(image), square(0))
    for row in table[table["status"] != "ok"].to_dict("records"):
        assert row["reason"]
        assert row["box_left"] == ""
    assert not list(tmp_path.glob("*.parts"))
    record = json.loads((out / "crop.json").read_text())
    assert record["photographs"] == {"error": 1, "no_face": 1, "ok": 4}
    assert (record["layout"], record["margin"]) == ("table", 0.0)
    assert "largest box" in record["of_several_faces"]


def test_the_largest_of_several_and_none_of_them(photographs: Path, tmp_path: Path) -> None:
    def two(image_HW3: np.ndarray) -> list[Face]:
        return [Face(0, 0, 10, 10, 9.0), Face(20, 20, 30, 30, 1.0), Face(60, 20, 30, 30, 2.0)]

    crop(DOMAIN, photographs, tmp_path / "largest", detector=two, quiet=True)
    table = pd.read_csv(tmp_path / "largest" / "manifest.csv")
    ok = table[table["status"] == "ok"]
    assert set(ok["box_left"]) == {60}  # of equally large ones the surest
    assert set(ok["faces"]) == {3}
    table = cut(photographs, tmp_path / "refused", several="refuse").set_index("photograph")
    assert table.loc["s2/d.png", ["status", "path", "faces"]].tolist() == ["several_faces", "", "2"]


def test_what_reads_it_gets_the_faces(photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "faces"
    cut(photographs, out)
    for manifest in (recognise(out), recognise(out / "manifest.csv")):
        assert manifest.root == out
        assert manifest.layout == "table"
        assert len(manifest.table) == 4
        labels = dict(zip(manifest.table["photograph"], manifest.table["label"], strict=True))
        assert labels["s1/a.png"] == "happiness"
        assert labels["s3/e.png"] == ""
        assert manifest.table[COLUMNS[0]].dtype.kind == "i"
        assert {finding.code for finding in manifest.findings} == {"face-no-face", "face-error"}
        rows = absent(manifest)
        assert rows["path"].tolist() == ["s1/b.png", "s3/broken.jpg"]
        assert rows["label"].tolist() == ["sadness", "neutral"]
        assert rows["split"].tolist() == ["test", "test"]
    assert absent(recognise(photographs)) is None
    told = likeness("inspect", out, application="facial-expression").out
    assert "1 of 6 photographs have no face here (status no_face)" in told
    assert "unreadable" not in told


def test_the_terms_stay_those_of_the_photographs(photographs: Path, tmp_path: Path) -> None:
    known = recognise(photographs)
    named = replace(DOMAIN, recognise=lambda _: replace(known, layout="ck-plus"))
    crop(named, photographs, tmp_path / "faces", detector=find_squares, quiet=True)
    assert recognise(tmp_path / "faces").layout == "ck-plus"


def test_the_boxes_of_the_set_are_taken_before_any_detector(tmp_path: Path) -> None:
    """As in AffectNet's tables; a box that is none is no face, one that is nowhere neither."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, squares in (("a", {0: (90, 40)}), ("b", {1: (10, 50)}), ("c", {}), ("d", {})):
        Image.fromarray(picture(squares)).save(folder / f"{name}.png")
    rows = [
        ("a", "90", "40", SIDE),
        ("b", "60", "20", 11),
        ("c", "?", "0", 5),
        ("d", "900", "0", 5),
    ]
    lines = [f"{name}.png,happy,{x},{y},{side},{side}" for name, x, y, side in rows]
    head = "path,label,face_x,face_y,face_width,face_height"
    (folder / "set.csv").write_text("\n".join([head, *lines, ""]))
    out = tmp_path / "out"
    words = ("crop", folder / "set.csv", "--out", out, "--quiet")
    assert likeness(*words, application="facial-expression").code == 0
    table = pd.read_csv(out / "manifest.csv", dtype=str, keep_default_na=False)
    assert table["status"].tolist() == ["ok", "ok", "no_face", "no_face"]
    with Image.open(out / "faces" / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), square(0))
    with Image.open(out / "faces" / "b.png") as image:
        assert image.size == (11, 11)
    assert json.loads((out / "crop.json").read_text())["boxes"] == "as the set says"
    table = cut(folder / "set.csv", tmp_path / "found")  # a detector that was named is asked
    assert table["status"].tolist() == ["ok", "ok", "no_face", "no_face"]
    assert table["box_left"].tolist()[:2] == ["90.0", "10.0"]
    ended = likeness(*words[:3], tmp_path / "x", "--find", application="facial-expression")
    assert ended.code == 1  # the cascade sees none in squares


def test_a_grey_photograph_stays_grey(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(picture({0: (10, 10)})).convert("L").save(folder / "1.png")
    (folder / "set.csv").write_text("path,label\n1.png,happy\n")

    def there(image_HW3: np.ndarray) -> list[Face]:
        return [Face(10, 10, 20, 20, 1.0)]

    crop(DOMAIN, folder / "set.csv", tmp_path / "out", detector=there, quiet=True)
    (file,) = (tmp_path / "out" / "faces").rglob("*.png")
    with Image.open(file) as image:
        assert image.mode == "L"


def test_a_killed_call_goes_on(photographs: Path, tmp_path: Path, monkeypatch) -> None:
    out, wanted = tmp_path / "faces", tmp_path / "wanted"
    cut(photographs, wanted)
    monkeypatch.setattr(module, "PART_PHOTOS", 2)
    monkeypatch.setattr(module, "prefetched", lambda names, look, threads: map(look, names))
    looked: list[int] = []

    def detector(image_HW3: np.ndarray) -> list[Face]:
        looked.append(1)
        if len(looked) == 3:
            raise KeyboardInterrupt
        return find_squares(image_HW3)

    with pytest.raises(KeyboardInterrupt):
        crop(DOMAIN, photographs, out, detector=detector, quiet=True)
    assert not out.exists()
    crop(DOMAIN, photographs, out, detector=detector, quiet=True)
    assert len(looked) == 6  # five that can be read, and the one that was cut off
    table = "manifest.csv"
    assert (out / table).read_bytes() == (wanted / table).read_bytes()
    for file in sorted(path for path in wanted.rglob("*.png")):
        assert (out / file.relative_to(wanted)).read_bytes() == file.read_bytes()


def test_other_work_is_refused(photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "faces"
    parts = tmp_path / "faces.parts"
    parts.mkdir()
    (parts / "job.json").write_text(json.dumps({"command": "other"}))
    with pytest.raises(UserError, match="out must be a name whose parts belong to the same work"):
        cut(photographs, out)
    with pytest.raises(UserError, match="margin must be in"):
        cut(photographs, tmp_path / "x", margin=2.0)
    with pytest.raises(UserError, match="several must be largest or refuse, got 'both'"):
        cut(photographs, tmp_path / "x", several="both")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    with pytest.raises(UserError, match="out must be"):
        cut(photographs, tmp_path / "full")


def test_no_face_anywhere(photographs: Path, tmp_path: Path) -> None:
    """The cascade sees none in squares; such a set is made, and refused as data."""
    out = tmp_path / "faces"
    words = ("crop", photographs, "--out", out, "--quiet")
    ended = likeness(*words, application="facial-expression")
    assert ended.code == 1, ended.err
    with pytest.raises(UserError, match="data must be a set with a face, got '6 photographs"):
        recognise(out)
    again = likeness(*words, application="facial-expression")
    assert_refused(again, "out must be")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda table: table.drop(columns="status"), "a table with the column status"),
        (lambda table: table.assign(label="grin"), "label of s1/a.png must be one of"),
    ],
)
def test_a_table_that_somebody_spoiled(photographs: Path, tmp_path: Path, spoil, sentence) -> None:
    out = tmp_path / "faces"
    spoil(cut(photographs, out)).to_csv(out / "manifest.csv", index=False)
    with pytest.raises(UserError) as caught:
        recognise(out)
    assert sentence in str(caught.value)
