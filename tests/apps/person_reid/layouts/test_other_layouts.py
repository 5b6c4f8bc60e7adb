"""LPW, DukeMTMC-VideoReID, Market-1501, PKU-Reid, folders: each by a tree with its quirks."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from fixtures.people import (
    picture,
    write_duke,
    write_lpw,
    write_market,
    write_mars,
    write_people,
    write_pku,
)
from likeness.data.checks import check
from likeness.errors import UserError
from likeness_apps.person_reid.domain import DOMAIN
from likeness_apps.person_reid.layouts import recognise
from likeness_apps.person_reid.layouts.recognition import PUBLISHED, WITHDRAWN

DATA = os.environ.get("LIKENESS_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="LIKENESS_DATA is unset")
ROOT = Path(__file__).parents[4]


def told(manifest):
    return {(f.level, f.code, f.path) for f in manifest.findings}


def tracklets(manifest):
    """identity, camera, split, role and frames of each tracklet."""
    sizes = Counter(manifest.table["tracklet"])
    rows = manifest.table.drop_duplicates("tracklet")
    columns = (rows[name] for name in ("tracklet", "label", "camera", "split", "role"))
    return {name: (*facts, sizes[name]) for name, *facts in zip(*columns, strict=True)}


def test_every_layout_has_a_card_and_a_licence() -> None:
    names = {layout.name for layout in PUBLISHED}
    assert set(WITHDRAWN) <= names
    assert names <= set(DOMAIN.licences)
    for name in (*names, "generated-walkers"):
        card = (ROOT / "datasets" / name / "CARD.md").read_text().lower()
        for word in ("licence", "consent", "withdrawn", "redistributable", "tried on", "layout"):
            assert word in card, (name, word)


def test_lpw(tmp_path: Path) -> None:
    top = write_lpw(tmp_path)
    for place in (tmp_path, top, top / "data_slim"):
        manifest = recognise(place)
        assert (manifest.layout, manifest.root) == ("lpw", top / "data_slim")
    found = tracklets(manifest)
    assert found["scen1/view2/0001"] == ("scen1-0001", "scen1-2", "test", "query", 3)
    assert found["scen1/view3/0001"] == ("scen1-0001", "scen1-3", "test", "gallery", 3)
    assert found["scen2/view1/0001"] == ("scen2-0001", "scen2-1", "train", "", 3)
    assert manifest.table["label"].nunique() == 6
    one = manifest.table[manifest.table["tracklet"] == "scen1/view1/0001"]
    order = dict(zip(one["path"].map(lambda path: Path(path).name), one["frame"], strict=True))
    assert order == {"1.jpg": 1, "2.jpg": 2, "10.jpg": 3}
    assert manifest.findings == ()


@pytest.mark.plain
def test_duke_is_refused_unless_acknowledged(tmp_path: Path) -> None:
    write_duke(tmp_path)
    with pytest.raises(UserError, match="has not withdrawn, or be taken with --acknowledge-withdr"):
        recognise(tmp_path)


def test_duke(tmp_path: Path) -> None:
    manifest = recognise(write_duke(tmp_path), acknowledge_withdrawn=True)
    assert manifest.layout == "dukemtmc-videoreid"
    found = tracklets(manifest)
    assert found["train/0001/0002"] == ("0001", "2", "train", "", 3)  # the form without _
    assert found["query/0006/0002"] == ("0006", "3", "test", "query", 3)
    assert found["gallery/0007/0004"] == ("0007", "5", "test", "gallery", 3)
    assert set(manifest.table["frame"]) == {2, 3, 5}
    assert told(manifest) == {("warning", "withdrawn", "")}


@pytest.mark.parametrize("old", [False, True])
def test_market(tmp_path: Path, old: bool) -> None:
    top = write_market(tmp_path, old=old)
    manifest = recognise(tmp_path)
    assert (manifest.layout, manifest.root) == ("market1501", top)
    found = tracklets(manifest)
    assert len(found) == len(manifest.table) == 10
    query = "query/0001_c1s1_001051_00"
    assert found[query] == ("0001", "1", "test", "query", 1)
    assert found["bounding_box_test/-1_c1s1_000401_03"][0] == "junk"
    assert found["bounding_box_test/0000_c1s1_000151_01"][0] == "distractor"
    assert found["bounding_box_train/0007_c3s3_077419_03"] == ("0007", "3", "train", "", 1)
    left = {
        path.removeprefix("Market-1501-v15.09.15/")
        for _, code, path in told(manifest)
        if code == "foreign-file"
    }
    thumbs = {
        f"{folder}/Thumbs.db" for folder in ("bounding_box_train", "bounding_box_test", "query")
    }
    assert left == {*thumbs, "gt_bbox/", "gt_bbox/Thumbs.db", "gt_query/"}
    unmatched = ("warning", "no-true-match", "query/0003_c4s6_015641_00.jpg")
    assert unmatched in told(manifest)


def test_pku_files_are_jpeg_inside(tmp_path: Path) -> None:
    manifest = recognise(write_pku(tmp_path))
    assert manifest.layout == "pku-reid"
    found = tracklets(manifest)
    assert found["003C2"] == ("003", "2", "", "", 8)
    assert len(found) == 6
    assert told(manifest) == {("warning", "pseudo-tracklets", "")}
    assert set(check(manifest).table["status"]) == {"ok"}


def test_folders_with_and_without_parts(tmp_path: Path) -> None:
    kinds = {"ann/c1/t1": 11, "ann/c2/t1": 2, "bob/c1/t1": 1, "bob/c2/t2": 3}
    plain = recognise(write_people(tmp_path / "plain", kinds))
    assert plain.layout == "identity-camera-tracklet"
    assert tracklets(plain)["ann/c1/t1"] == ("ann", "c1", "", "", 11)
    one = plain.table[plain.table["tracklet"] == "ann/c1/t1"].sort_values("frame")
    assert [Path(path).stem for path in one["path"]] == [str(n) for n in range(1, 12)]
    assert plain.findings == ()
    parts = {"train/ann/c1/t1": 1, "train/ann/c2/t1": 1, "Query/bob/c1/t1": 1}
    parts |= {"gallery/bob/c2/t1": 1, "val/cy/c1/t1": 1, "test/dee/c1/t1": 1, "test/dee/c2/t1": 1}
    manifest = recognise(write_people(tmp_path / "parts", parts))
    assert manifest.root == tmp_path / "parts"
    found = tracklets(manifest)
    assert found["train/ann/c1/t1"] == ("ann", "c1", "train", "", 1)
    assert found["Query/bob/c1/t1"] == ("bob", "c1", "test", "query", 1)
    assert found["gallery/bob/c2/t1"] == ("bob", "c2", "test", "gallery", 1)
    assert found["test/dee/c1/t1"] == ("dee", "c1", "test", "", 1)
    assert found["val/cy/c1/t1"][2] == "val"


def test_folders_that_hold_nothing_and_images_elsewhere(tmp_path: Path) -> None:
    write_people(tmp_path, {"ann/c1/t1": 2, "ann/c2/t1": 2, "bob/c1/t1": 0})
    picture(tmp_path / "ann" / "portrait.png", 1)
    found = told(recognise(tmp_path))
    assert ("warning", "empty-tracklet", "bob/c1/t1") in found
    assert ("warning", "foreign-file", "ann/portrait.png") in found


@pytest.mark.plain
def test_what_is_no_set_of_people(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="data must be an existing folder or table"):
        recognise(tmp_path / "nothing")
    with pytest.raises(UserError, match="a folder with image files in it"):
        recognise(tmp_path)
    write_people(tmp_path / "flat", {"ann": 2, "bob": 2})
    with pytest.raises(UserError, match=r"data must be MARS .* got .* with 'ann/1.jpg'"):
        recognise(tmp_path / "flat")
    write_people(tmp_path / "short", {"train/ann/t1": 2})
    with pytest.raises(UserError, match="above identity/camera/tracklet/frames, got 'train/ann/t1"):
        recognise(tmp_path / "short")
    write_mars(tmp_path / "two")
    write_pku(tmp_path / "two")
    with pytest.raises(UserError, match=r"one set, got .* with mars and pku-reid"):
        recognise(tmp_path / "two")
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match="archives must be unpacked"):
        recognise(tmp_path / "a.zip")


@pytest.mark.data
@needs_data
def test_real_pku() -> None:
    manifest = recognise(Path(DATA or "", "pku-reid"))
    assert manifest.layout == "pku-reid"
    assert (manifest.table["label"].nunique(), len(tracklets(manifest))) == (48, 96)
    assert {facts[-1] for facts in tracklets(manifest).values()} == {8}
    assert set(check(manifest, near_distance=0).table["status"]) == {"ok"}
