"""Tables of frames that somebody wrote."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fixtures.people import write_people_table
from likeness.errors import UserError
from likeness_apps.person_reid.layouts import recognise


def rows(**columns):
    """Two people by two cameras; further columns by name."""
    base = {
        "path": ["a1.png", "a2.png", "b1.png", "b2.png"],
        "label": ["ann", "ann", "bob", "bob"],
        "camera": ["1", "2", "1", "2"],
    }
    return pd.DataFrame(base | columns).to_dict("records")


def test_the_least_is_path_label_and_camera(tmp_path: Path) -> None:
    manifest = recognise(write_people_table(tmp_path, rows()))
    table = manifest.table
    assert manifest.layout == "table"
    assert table["tracklet"].tolist() == ["a1", "a2", "b1", "b2"]
    assert table["frame"].tolist() == [1, 1, 1, 1]
    assert table["group"].tolist() == table["label"].tolist()
    assert set(table["role"]) == set(table["split"]) == {""}
    assert manifest.findings == ()


def test_everything_that_may_be_given(tmp_path: Path) -> None:
    given = rows(
        tracklet=["x", "y", "z", "z"],
        frame=["7", "1", "2", "1"],
        split=["test", "test", "train", "train"],
        role=["query", "gallery", "", ""],
        group=["family", "family", "", ""],
        camera=["1", "2", "3", "3"],
        weather=["sun", "rain", "sun", "sun"],
    )
    table = recognise(write_people_table(tmp_path, given)).table
    assert table["tracklet"].tolist() == ["x", "y", "z", "z"]
    assert table["frame"].tolist() == [7, 1, 2, 1]
    assert table["role"].tolist() == ["query", "gallery", "", ""]
    assert table["group"].tolist() == ["family", "family", "bob", "bob"]
    assert table["weather"].tolist() == ["sun", "rain", "sun", "sun"]


def test_parquet_and_frames_by_the_numbers_in_names(tmp_path: Path) -> None:
    paths = ["f10.png", "f9.png", "f100.png"]
    given = pd.DataFrame({"path": paths, "label": "ann", "camera": [1, 1, 1], "tracklet": 5})
    given.to_parquet(tmp_path / "people.parquet")
    table = recognise(tmp_path / "people.parquet").table.set_index("path")
    assert table.loc[paths, "frame"].tolist() == [2, 1, 3]
    assert set(table["tracklet"]) == {"5"}
    assert set(table["camera"]) == {"1"}


def test_numbers_of_tracklets_that_start_anew_get_a_name_each(tmp_path: Path) -> None:
    manifest = recognise(write_people_table(tmp_path, rows(tracklet=["1", "1", "1", "1"])))
    assert manifest.table["tracklet"].tolist() == ["ann/1/1", "ann/2/1", "bob/1/1", "bob/2/1"]
    (finding,) = manifest.findings
    assert (finding.code, finding.path) == ("tracklet-of-several", "a1.png")


def test_rows_without_an_identity_stay_and_are_told(tmp_path: Path) -> None:
    given = rows(
        label=["ann", "ann", "", "bob"],
        split=["test"] * 4,
        role=["query", "gallery", "query", "gallery"],
    )
    manifest = recognise(write_people_table(tmp_path, given))
    assert len(manifest.table) == 4
    (finding,) = manifest.findings
    assert (finding.code, finding.path) == ("no-true-match", "b1.png")
    assert "they have no identity" in finding.message


@pytest.mark.plain
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"camera": ["", "", "", ""]}, "people.csv must have a column 'camera'"),
        ({"label": ["", "", "", ""]}, "people.csv must have a column 'label'"),
        ({"camera": ["1", "", "1", "2"]}, "camera of a2.png in people.csv must be given"),
        ({"role": ["probe", "", "", ""]}, "role of a1.png in people.csv must be query, gallery or"),
        ({"frame": ["1", "x", "1", "1"]}, "frame of a2.png must be a whole number, got 'x'"),
        ({"frame": ["1", "1.5", "1", "1"]}, "frame of a2.png must be a whole number, got '1.5'"),
        ({"path": ["a1.png"] * 4}, "must be listed once"),
    ],
)
def test_a_broken_table_is_one_sentence(tmp_path: Path, change: dict, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        recognise(write_people_table(tmp_path, rows(**change)))
    assert sentence in str(caught.value)
