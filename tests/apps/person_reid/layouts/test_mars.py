"""MARS: with its tables, without them, with broken ones; and the published tables themselves."""

from __future__ import annotations

import os
import shutil
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from fixtures.people import (
    MARS_QUERIES,
    MARS_TEST,
    MARS_TRAIN,
    picture,
    write_mars,
    write_queries,
    write_tracks,
)
from likeness.data.checks import check
from likeness.errors import UserError
from likeness_apps.person_reid.layouts import mars, mars_info, recognise
from likeness_apps.person_reid.layouts.tree import Tree, files_of

DATA = os.environ.get("LIKENESS_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="LIKENESS_DATA is unset")


def told(manifest):
    return {(f.level, f.code, f.path) for f in manifest.findings}


def roles(manifest):
    tracklets = manifest.table.drop_duplicates("tracklet")
    return dict(zip(tracklets["tracklet"], tracklets["role"], strict=True))


def queries(manifest):
    return {name for name, role in roles(manifest).items() if role == "query"}


UNMATCHED = ("warning", "no-true-match", "bbox_test/0003/0003C4T0002F001.jpg")


def test_rows_and_roles(tmp_path: Path) -> None:
    top = write_mars(tmp_path)
    for place in (tmp_path, top):
        manifest = recognise(place)
        assert (manifest.layout, manifest.root) == ("mars", top)
        table = manifest.table
        assert len(table) == sum(MARS_TRAIN.values()) + sum(MARS_TEST.values())
        assert table["path"].is_monotonic_increasing
        assert list(table.index) == list(range(len(table)))
        row = table[table["path"] == "bbox_train/0005/0005C3T0001F004.jpg"].iloc[0]
        assert row[["label", "split", "group", "camera", "tracklet", "frame", "role"]].tolist() == [
            *("0005", "train", "0005", "3", "0005C3T0001", 4, "")
        ]
        lengths = Counter(table["tracklet"])
        for (pid, camera, track), frames in {**MARS_TRAIN, **MARS_TEST}.items():
            assert lengths[f"{pid}C{camera}T{track:04d}"] == frames
        labels = dict(zip(table["tracklet"], table["label"], strict=True))
        assert (labels["00-1C1T0001"], labels["0000C2T0002"]) == ("junk", "distractor")
        assert queries(manifest) == set(MARS_QUERIES)
        gallery = {name for name, role in roles(manifest).items() if role == "gallery"}
        assert gallery | set(MARS_QUERIES) == set(table["tracklet"][table["split"] == "test"])
        assert told(manifest) == {UNMATCHED}


def test_without_names_and_without_info_the_listing_decides(tmp_path: Path) -> None:
    full = recognise(write_mars(tmp_path / "full"))
    bare = recognise(write_mars(tmp_path / "bare", names=False))
    pd.testing.assert_frame_equal(bare.table, full.table)
    rebuilt = recognise(write_mars(tmp_path / "none", info=False))
    columns = ["path", "label", "split", "camera", "tracklet", "frame"]
    pd.testing.assert_frame_equal(rebuilt.table[columns], full.table[columns])
    # 0003 was seen by one camera: the published queries have nobody of that kind
    assert queries(rebuilt) == set(MARS_QUERIES) - {"0003C4T0002"}
    (finding,) = (f for f in rebuilt.findings if f.code == "derived-queries")
    assert "rule of ours" in finding.message


def test_info_without_queries_is_told(tmp_path: Path) -> None:
    manifest = recognise(write_mars(tmp_path, queries=None))
    assert ("warning", "derived-queries", "") in told(manifest)
    assert len(queries(manifest)) == 4


def test_write_info_is_read_back(tmp_path: Path) -> None:
    top = write_mars(tmp_path, info=False)
    listing = {
        part: [p.name for p in (top / f"bbox_{part}").rglob("*.jpg")] for part in ("train", "test")
    }
    mars_info.write_info(top, listing, {"0002C1T0001"})
    tracks_T4 = mars_info.read_tracks(top / "info" / "tracks_test_info.mat", "test")
    assert tracks_T4[:3].tolist() == [[1, 2, -1, 1], [3, 5, 0, 2], [6, 7, 0, 2]]
    assert tracks_T4[-1, 1] == sum(MARS_TEST.values())
    assert queries(recognise(top)) == {"0002C1T0001"}


# What is broken


@pytest.mark.parametrize("row", [0, len(MARS_TEST) + 1])
def test_a_query_that_is_no_row_is_told_and_queries_are_derived(tmp_path: Path, row: int) -> None:
    top = write_mars(tmp_path)
    write_queries(top, [row])
    manifest = recognise(top)
    (finding,) = (f for f in manifest.findings if f.level == "error")
    assert finding.code == "tables-do-not-fit"
    assert finding.message == f"query_IDX.mat must be of rows from 1 to 12, got [{row}]"
    assert len(queries(manifest)) == 4


@pytest.mark.parametrize("names", [True, False])
def test_tables_of_another_listing_are_told(tmp_path: Path, names: bool) -> None:
    top = write_mars(tmp_path, names=names)
    write_tracks(top, "test", {**MARS_TEST, ("0008", 1, 1): 3})
    manifest = recognise(top)
    assert ("error", "tables-do-not-fit", "info/tracks_test_info.mat") in told(manifest)
    assert len(manifest.table) == sum(MARS_TRAIN.values()) + sum(MARS_TEST.values())


def test_a_row_about_somebody_else_is_named(tmp_path: Path) -> None:
    top = write_mars(tmp_path)
    others = {(pid.replace("0004", "0009"), c, t): n for (pid, c, t), n in MARS_TEST.items()}
    write_tracks(top, "test", others)
    (finding,) = (f for f in recognise(top).findings if f.level == "error")
    sentence = "row 10 of tracks_test_info.mat must be about the identity and camera of 0004C5T0001"
    assert finding.message == f"{sentence}, got [9, 5]"


@pytest.mark.plain
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"no mat", "tracks_test_info.mat must be a readable .mat file"),
        ({"other": np.ones((2, 4))}, "a file with the variable 'track_test_info'"),
        ({"track_test_info": np.ones((2, 3))}, "a table with four columns, got 3"),
        ({"track_test_info": np.array([[0.5, 1, 1, 1]])}, "a table of whole numbers"),
        (
            {"track_test_info": np.array([[3, 2, 1, 1]])},
            "row 1 of tracks_test_info.mat must be from",
        ),
    ],
)
def test_a_broken_table_is_one_sentence(tmp_path: Path, content, sentence: str) -> None:
    file = tmp_path / "tracks_test_info.mat"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        savemat(file, content)
    with pytest.raises(UserError) as caught:
        mars_info.read_tracks(file, "test")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_folders_and_frames_that_are_wrong(tmp_path: Path) -> None:
    top = write_mars(tmp_path)
    odd = top / "bbox_test" / "0002" / "0002_c1_x.jpg"
    picture(odd, 99)
    shutil.move(top / "bbox_train/0001/0001C2T0001F002.jpg", top / "bbox_train/0005")
    (top / "bbox_test/0004/0004C6T0001F001.jpg").unlink()
    (top / "bbox_test" / "0099").mkdir()
    manifest = recognise(top)
    assert told(manifest) == {
        UNMATCHED,
        ("warning", "foreign-name", "bbox_test/0002/0002_c1_x.jpg"),
        ("warning", "misplaced", "bbox_train/0005/0001C2T0001F002.jpg"),
        ("warning", "other-length", "info/tracks_test_info.mat"),
        ("warning", "other-length", "info/tracks_train_info.mat"),
        ("warning", "empty-tracklet", "bbox_test/0099"),
    }
    (one,) = (f for f in manifest.findings if f.path == "info/tracks_test_info.mat")
    assert "0004C6T0001 with 1 of 2" in one.message


def test_a_tracklet_without_a_frame_and_one_without_a_row(tmp_path: Path) -> None:
    top = write_mars(tmp_path)
    for file in (top / "bbox_test/0004").glob("0004C6T0001*"):
        file.rename(file.with_name(file.name.replace("T0001", "T0007")))
    manifest = recognise(top)
    codes = {(f.code, f.path) for f in manifest.findings}
    assert ("empty-tracklet", "info/tracks_test_info.mat") in codes
    assert ("unlisted", "bbox_test/0004/0004C6T0007F001.jpg") in codes
    assert "0004C6T0007" not in set(manifest.table["tracklet"])


def test_an_unreadable_frame_stays_a_row(tmp_path: Path) -> None:
    top = write_mars(tmp_path)
    name = "bbox_test/0002/0002C2T0001F002.jpg"
    (top / name).write_bytes(b"\xff\xd8 cut off")
    checked = check(recognise(top))
    status = dict(zip(checked.table["path"], checked.table["status"], strict=True))
    assert status.pop(name) == "unreadable"
    assert set(status.values()) == {"ok"}


def test_only_a_test_part(tmp_path: Path) -> None:
    top = write_mars(tmp_path)
    shutil.rmtree(top / "bbox_train")
    for file in ("tracks_train_info.mat", "train_name.txt"):
        (top / "info" / file).unlink()
    assert set(recognise(top).table["split"]) == {"test"}


@pytest.mark.plain
def test_two_copies_are_refused(tmp_path: Path) -> None:
    write_mars(tmp_path / "a")
    write_mars(tmp_path / "b")
    with pytest.raises(UserError, match="data must be one set, got"):
        recognise(tmp_path)


# The published tables, with names as they must have been (no picture is there)


def published_tree() -> Tree:
    """All images of MARS by name, rebuilt from its tables."""
    images = defaultdict(list)
    source = Path(DATA or "", "layouts", "mars-info")
    for part in ("test", "train"):
        tracks_T4 = mars_info.read_tracks(source / "info" / mars_info.tracks_name(part), part)
        numbers = Counter()
        for first, last, person, camera in tracks_T4.tolist():
            pid = "00-1" if person == -1 else f"{person:04d}"
            numbers[pid, camera] += 1
            stem = f"{pid}C{camera}T{numbers[pid, camera]:04d}"
            names = [f"{stem}F{frame:03d}.jpg" for frame in range(1, last - first + 2)]
            images[f"bbox_{part}/{pid}"] += names
    others = [f"info/{file.name}" for file in (source / "info").iterdir()]
    return Tree(source, dict(images), others, [])


@pytest.mark.data
@needs_data
def test_the_published_tables() -> None:
    info = Path(DATA or "", "layouts", "mars-info", "info")
    train_T4 = mars_info.read_tracks(info / "tracks_train_info.mat", "train")
    test_T4 = mars_info.read_tracks(info / "tracks_test_info.mat", "test")
    rows_Q = mars_info.read_queries(info / "query_IDX.mat", len(test_T4))
    assert (len(train_T4), len(test_T4), len(rows_Q)) == (8298, 12180, 1980)
    assert len(np.unique(train_T4[:, 2])) == 625
    assert ((test_T4[:, 2] == -1).sum(), (test_T4[:, 2] == 0).sum()) == (870, 3248)
    assert (train_T4[-1, 1], test_T4[-1, 1]) == (509914, 681089)
    # by a loop: a gallery tracklet of the same person from another camera
    asking = set(rows_Q.tolist())
    seen = {(int(t[2]), int(t[3])) for n, t in enumerate(test_T4) if n not in asking}
    alone = [
        n
        for n in asking
        if not any((int(test_T4[n, 2]), c) in seen for c in range(1, 7) if c != test_T4[n, 3])
    ]
    assert len(alone) == 140


@pytest.mark.data
@needs_data
def test_a_set_of_the_published_size_and_the_derived_queries() -> None:
    found, full = {}, published_tree()
    bare = replace(full, source=Path("nowhere"), others=[])
    for name, tree in (("tables", full), ("names", bare)):
        files = files_of(tree, mars.FOLDER, mars.FILE)
        assert files is not None
        found[name] = mars.read(tree, files)
    manifest = found["tables"]
    assert len(manifest.table) == 509914 + 681089
    assert sum(role == "gallery" for role in roles(manifest).values()) == 10200
    # what `roles.derived_queries` claims: the rule gives the published queries
    assert queries(found["names"]) == queries(manifest)
    assert len(queries(manifest)) == 1980
    sentences = [f.message for f in manifest.findings if f.code == "no-true-match"]
    counts = [sentence.partition(" queries")[0] for sentence in sentences]
    assert counts == ["no true match for 28 of 1980", "no true match for 112 of 1980"]
