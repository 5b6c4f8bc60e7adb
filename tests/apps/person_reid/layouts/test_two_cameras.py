"""PRID2011 and iLIDS-VID, and their ten halves."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from fixtures.people import write_ilids, write_prid
from likeness.data.tables import read_table
from likeness.errors import UserError
from likeness_apps.person_reid.layouts import recognise
from likeness_apps.person_reid.layouts.halves import seeded_halves, splits, with_split

PUBLISHED = [
    {"train": [f"person_{n:04d}" for n in train], "test": [f"person_{n:04d}" for n in test]}
    for train, test in (((1, 2, 3), (4, 5, 6)), ((2, 4, 6), (1, 3, 5)))
]


def codes(manifest):
    return {(f.level, f.code) for f in manifest.findings}


def roles(manifest):
    rows = manifest.table.drop_duplicates("tracklet")
    return dict(zip(rows["tracklet"], zip(rows["split"], rows["role"], strict=True), strict=True))


@pytest.fixture(scope="module")
def prid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set with published splits beside it."""
    root = tmp_path_factory.mktemp("prid")
    write_prid(root, splits=PUBLISHED)
    return root


def test_prid_with_published_splits(prid: Path) -> None:
    for place in (prid, prid / "prid_2011"):  # the splits lie beside the set
        manifest = recognise(place)
        assert (manifest.layout, manifest.root) == ("prid2011", prid / "prid_2011")
        assert manifest.classes == [f"{n:04d}" for n in range(1, 7)]
        assert splits(manifest) == [
            (["0001", "0002", "0003"], ["0004", "0005", "0006"]),
            (["0002", "0004", "0006"], ["0001", "0003", "0005"]),
        ]
        assert ("warning", "own-splits") not in codes(manifest)
        assert not any(level == "error" for level, _ in codes(manifest))
    found = roles(manifest)
    assert found["cam_a/person_0004"] == ("test", "query")
    assert found["cam_b/person_0004"] == ("test", "gallery")
    assert found["cam_a/person_0001"] == ("train", "")
    second = with_split(manifest, 2)
    assert roles(second)["cam_a/person_0001"] == ("test", "query")
    assert roles(second)["cam_b/person_0004"] == ("train", "")
    assert Counter(manifest.table["tracklet"])["cam_a/person_0001"] == 27


def test_prid_leaves_out_who_is_too_short_or_somebody_else(prid: Path) -> None:
    manifest = recognise(prid)
    (finding,) = (f for f in manifest.findings if f.code == "outside-the-protocol")
    assert finding.message.startswith("left out: 4 tracklets")  # 7 in a and b, 201 of a, 201 of b
    single = [f for f in manifest.findings if "single_shot" in f.path]
    assert [f.path for f in single] == ["prid_2011/single_shot/"]


def test_prid_without_splits_draws_its_own(tmp_path: Path) -> None:
    manifest = recognise(write_prid(tmp_path))
    assert ("warning", "own-splits") in codes(manifest)
    halves = splits(manifest)
    assert len(halves) == 10
    for train, test in halves:
        assert (len(train), len(test)) == (3, 3)
        assert sorted([*train, *test]) == [f"{n:04d}" for n in range(1, 7)]
    assert halves == splits(recognise(tmp_path))


def test_halves_survive_a_table(tmp_path: Path) -> None:
    manifest = recognise(write_ilids(tmp_path))
    manifest.write_csv(manifest.root / "all.csv")
    assert splits(read_table(manifest.root / "all.csv")) == splits(manifest)


@pytest.mark.parametrize(
    "broken",
    [
        [{"train": ["person_0001"], "test": ["person_0900"]}],  # nobody of that number
        [PUBLISHED[0], {"train": ["person_0001"], "test": ["person_0002"]}],  # others
        [{"train": ["person_0001"]}],
        {"train": 3},
        [],
        [{"train": ["somebody"], "test": ["person_0001"]}],
    ],
)
def test_prid_splits_that_do_not_fit(prid: Path, tmp_path: Path, broken: object) -> None:
    import json

    shutil.copytree(prid / "prid_2011" / "multi_shot", tmp_path / "multi_shot")
    (tmp_path / "splits_prid2011.json").write_text(json.dumps(broken))
    manifest = recognise(tmp_path)
    assert ("error", "splits-do-not-fit") in codes(manifest)
    assert len(splits(manifest)) == 10


@pytest.mark.plain
def test_prid_with_nobody_long_enough(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two people of >= 27 frames in both cameras, got '0 in"):
        recognise(write_prid(tmp_path, frames=5))


def test_ilids(tmp_path: Path) -> None:
    top = write_ilids(tmp_path)
    for place in (tmp_path, top):
        manifest = recognise(place)
        assert (manifest.layout, manifest.root) == ("ilids-vid", top)
        assert manifest.classes == ["001", "002", "004", "319"]
        assert {f.code for f in manifest.findings} == {"foreign-file"}  # the single shots
    file = tmp_path / "train-test people splits" / "train_test_splits_ilidsvid.mat"
    rows = loadmat(file)["ls_set"]
    names = ("001", "002", "004", "319")  # sorted folders: the fourth is 319
    for number, row in enumerate(rows, start=1):
        train, test = splits(manifest)[number - 1]
        assert test == sorted(names[place - 1] for place in row[:2])  # the first half is tested
        assert train == sorted(names[place - 1] for place in row[2:])
    row = manifest.table[manifest.table["tracklet"] == "cam2/person319"].iloc[1]
    assert (row["camera"], row["frame"]) == ("2", 318)


@pytest.mark.parametrize("rows", [np.ones((10, 4)), np.tile([1, 2, 3], (10, 1))])
def test_ilids_splits_that_do_not_fit(tmp_path: Path, rows: np.ndarray) -> None:
    write_ilids(tmp_path)
    file = tmp_path / "train-test people splits" / "train_test_splits_ilidsvid.mat"
    savemat(file, {"ls_set": rows.astype(np.uint16)})
    manifest = recognise(tmp_path)
    assert ("error", "splits-do-not-fit") in codes(manifest)
    assert len(splits(manifest)) == 10


def test_ilids_without_splits_and_with_somebody_seen_once(tmp_path: Path) -> None:
    top = write_ilids(tmp_path, splits=False)
    shutil.rmtree(top / "sequences" / "cam2" / "person319")
    manifest = recognise(top)
    assert ("warning", "own-splits") in codes(manifest)
    number = next(n for n, (_, test) in enumerate(splits(manifest), start=1) if "319" in test)
    assert roles(with_split(manifest, number))["cam1/person319"] == ("test", "query")


@settings(max_examples=50)
@given(st.sets(st.text("abc", min_size=1), min_size=2), st.integers(0, 9))
def test_seeded_halves(people: set[str], seed: int) -> None:
    made = seeded_halves(sorted(people), count=3, seed=seed)
    assert made == seeded_halves(sorted(people, reverse=True), count=3, seed=seed)
    for train, test in made:
        assert set(train) | set(test) == people
        assert not set(train) & set(test)
        assert len(train) - len(test) in (0, 1)


@pytest.mark.plain
def test_halves_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="identities must be at least two"):
        seeded_halves(["a"], count=1, seed=0)
    with pytest.raises(UserError, match="count must be >= 1"):
        seeded_halves(["a", "b"], count=0, seed=0)
    manifest = recognise(write_ilids(tmp_path))
    with pytest.raises(UserError, match="split must be from 1 to 10, got 11"):
        with_split(manifest, 11)
