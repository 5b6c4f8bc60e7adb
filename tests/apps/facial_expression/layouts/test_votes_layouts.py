"""FER2013 and FER+: tables of pixels, lists of votes, and the real ones."""

from __future__ import annotations

import os
import shutil
import stat
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fixtures.expressions import (
    VOTES,
    grey,
    pixels,
    write_fer2013,
    write_fer2013_folders,
    write_ferplus,
    write_ferplus_tables,
    write_rows,
)
from likeness.data.checks import check
from likeness.errors import UserError
from likeness_apps.facial_expression.layouts import pixels as unpacking
from likeness_apps.facial_expression.layouts import recognise
from likeness_apps.facial_expression.votes import COLUMNS, votes_of

DATA = os.environ.get("LIKENESS_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="LIKENESS_DATA is unset")
FER2013 = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Unpacked pictures go into a folder of the test's own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LIKENESS_CACHE", str(folder))
    return folder / "faces"


def told(manifest):
    return {(f.level, f.code, f.path) for f in manifest.findings}


def column(manifest, name):
    stems = [Path(path).stem for path in manifest.table["path"]]
    return dict(zip(stems, manifest.table[name], strict=True))


# FER2013


@pytest.mark.parametrize("form", ["fer2013.csv", "icml_face_data.csv", "train.csv"])
def test_three_headers_give_the_same_pictures(tmp_path: Path, form: str) -> None:
    table = write_fer2013(tmp_path, form, rows=28)
    for place in (tmp_path, table.parent, table):
        manifest = recognise(place)
        assert (manifest.layout, told(manifest)) == ("fer2013", set())
        labels, splits = column(manifest, "label"), column(manifest, "split")
        for number in range(28):
            stem = f"fer{number:07d}"
            assert labels[stem] == FER2013[number % 7]
            usual = ("train", "train", "val", "test")[number // 7]
            assert splits[stem] == ("" if form == "train.csv" else usual)
        path = next(p for p in manifest.table["path"] if p.endswith("fer0000005.png"))
        picture = np.asarray(Image.open(manifest.file(path)))
        np.testing.assert_array_equal(picture, grey(5)[..., 0])
    assert check(manifest).errors == ()


def test_pictures_are_unpacked_once_for_the_user_alone(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_fer2013(tmp_path)
    first = recognise(table)
    assert [path.name for path in cache.iterdir()] == [first.root.name]
    assert stat.S_IMODE(first.root.stat().st_mode) == 0o700
    monkeypatch.setattr(unpacking, "_write_pictures", lambda *_: pytest.fail("unpacked again"))
    shutil.copy(table, tmp_path / "copy.csv")  # the content decides
    again = recognise(tmp_path / "copy.csv")
    assert again.root == first.root
    assert again.table.equals(first.table)


def test_a_cut_off_unpacking_leaves_nothing(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_fer2013(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(unpacking, "_rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            recognise(table)
    assert list(cache.iterdir()) == []
    assert len(recognise(table).table) == 14


def test_somebody_faster_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_fer2013(tmp_path)
    rename = unpacking._rename

    def after_another(temporary: Path, folder: Path) -> None:
        shutil.copytree(temporary, folder)
        rename(temporary, folder)

    monkeypatch.setattr(unpacking, "_rename", after_another)
    assert len(recognise(table).table) == 14


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        (pixels(3, count=2303), "2303 pixels, where 48 x 48 = 2304 are expected"),
        ("", "0 pixels, where 48 x 48 = 2304 are expected"),
        (pixels(3).replace(" ", " x", 1), "a pixel that is no whole number, 'x"),
        ("256 " + pixels(3, count=2303), "where 0 to 255 are expected"),
        ("-1 " + pixels(3, count=2303), "pixels from -1 to"),
    ],
)
def test_a_row_whose_pixels_are_no_picture_is_left_out_and_told(
    tmp_path: Path, cell: str, fault: str
) -> None:
    rows = [[0, pixels(0), "Training"], [1, cell, "Training"], [2, pixels(2), "PublicTest"]]
    table = write_rows(tmp_path / "fer2013.csv", [["emotion", "pixels", "Usage"], *rows])
    for _ in range(2):  # also when it is unpacked already
        manifest = recognise(table)
        assert [Path(path).stem for path in manifest.table["path"]] == ["fer0000002", "fer0000000"]
        (finding,) = manifest.findings
        assert (finding.level, finding.code, finding.path) == ("error", "bad-pixels", table.name)
        assert finding.message.startswith("row 2: ")
        assert fault in finding.message


def test_folders_of_fer2013(tmp_path: Path) -> None:
    manifest = recognise(write_fer2013_folders(tmp_path))
    assert manifest.layout == "fer2013"
    assert manifest.table["path"].tolist()[0] == "test/angry/PublicTest_10007120.jpg"
    assert manifest.table["label"].tolist() == ["anger", "surprise", "anger", "happiness"]
    assert manifest.table["split"].tolist() == ["val", "test", "train", "train"]
    assert told(manifest) == set()


def test_the_complete_table_is_meant_beside_a_part_of_it(tmp_path: Path) -> None:
    write_fer2013(tmp_path, "icml_face_data.csv", rows=28)
    write_fer2013(tmp_path, "train.csv")
    manifest = recognise(tmp_path)
    assert len(manifest.table) == 28
    assert told(manifest) == {("warning", "foreign-file", "fer2013/train.csv")}


@pytest.mark.plain
@pytest.mark.parametrize(
    ("header", "row", "sentence"),
    [
        ("emotion,pixels,Usage", "7,{P},Training", "emotion in row 1 of fer2013.csv must be a num"),
        ("emotion,pixels,Usage", "glad,{P},Training", "must be a number from 0 to 6, got 'glad'"),
        (
            "emotion,pixels,Usage",
            "3,{P},Test",
            "Usage in row 1 of fer2013.csv must be one of Train",
        ),
        ("pixels,Usage", "{P},Training", "fer2013.csv must be a table with a column emotion"),
        ("emotion,pixels,Usage", "3,1 2 3,Training", "fer2013.csv must be a table with a picture"),
    ],
)
def test_bad_tables_are_one_sentence(tmp_path: Path, header: str, row: str, sentence: str) -> None:
    table = tmp_path / "fer2013.csv"
    table.write_text(f"{header}\n{row.format(P=pixels(0))}\n")
    with pytest.raises(UserError, match=sentence):
        recognise(table)


@pytest.mark.plain
def test_two_complete_tables_are_refused(tmp_path: Path) -> None:
    write_fer2013(tmp_path)
    write_fer2013(tmp_path, "icml_face_data.csv")
    with pytest.raises(UserError, match=r"one table of FER2013 with emotions.*fer2013/icml_face"):
        recognise(tmp_path)
    write_rows(tmp_path / "other" / "test.csv", [["pixels"], [pixels(0)]])
    with pytest.raises(UserError, match=r"one table of FER2013 .* with test.csv"):
        recognise(tmp_path / "other")


# FER+


def test_lists_of_votes(tmp_path: Path) -> None:
    top = write_ferplus(tmp_path)
    for place in (tmp_path, top, top / "data"):
        manifest = recognise(place)
        assert (manifest.layout, manifest.root) == ("ferplus", top / "data")
        assert Counter(manifest.table["split"]) == {"train": 7, "val": 7, "test": 7}
        labels, outcomes = column(manifest, "label"), column(manifest, "outcome")
        for first in (0, 10, 20):
            stems = [f"fer{first + number:07d}" for number in range(7)]
            assert [labels[s] for s in stems] == ["neutral", "happiness", *[""] * 4, "contempt"]
            assert [outcomes[s] for s in stems] == [
                *("label", "label", "tie", "unknown", "nf", "no votes", "label")
            ]
        official = column(manifest, "label_official")
        assert official["fer0000000"] == ""  # 4 of the 9 votes that count
        assert official["fer0000001"] == "happiness"
        np.testing.assert_array_equal(votes_of(manifest.table), [*VOTES.values()] * 3)
        readme = "" if place.name == "data" else "README.md"
        expected = {
            ("warning", "missing-picture", _list_path(place, top)),
            ("warning", "not-in-the-table", ""),
            *(("warning", f"no-label-{kind}", "") for kind in ("tie", "unknown", "nf", "no-votes")),
        }
        if readme:
            expected.add(("warning", "foreign-file", str((top / readme).relative_to(place))))
        assert told(manifest) == expected
    counts = {f.code: f.message for f in manifest.findings}
    reason = "several answers have the most votes"
    assert counts["no-label-tie"] == f"no label for 3 of the pictures: {reason}"
    assert "'fer0000099.png'" in counts["missing-picture"]
    assert check(manifest).errors == ()


def _list_path(place: Path, top: Path) -> str:
    return (top / "data" / "FER2013Train" / "label.csv").relative_to(place).as_posix()


@pytest.mark.parametrize("unpacked", [False, True])
def test_the_table_of_votes(tmp_path: Path, unpacked: bool) -> None:
    top = write_ferplus_tables(tmp_path, unpacked=unpacked)
    for place in (tmp_path, top, top / "fer2013new.csv"):
        manifest = recognise(place)
        assert manifest.layout == "ferplus"
        there = [0, 1, 2, 3, 5] + ([] if unpacked else [6])
        votes = column(manifest, "votes_happiness")
        assert sorted(votes) == [f"fer{number:07d}" for number in there]
        assert votes["fer0000001"] == 9
        splits = column(manifest, "split")
        assert [splits[f"fer{number:07d}"] for number in (0, 2, 3)] == ["train", "val", "test"]
        codes = {f.code for f in manifest.findings}
        missing = {"missing-picture"} if unpacked else set()
        assert codes == {
            *("no-label-tie", "no-label-unknown", "no-label-no-votes", "not-a-face"),
            *missing,
        }
    picture = next(p for p in manifest.table["path"] if p.endswith("fer0000001.png"))
    np.testing.assert_array_equal(np.asarray(Image.open(manifest.file(picture))), grey(1)[..., 0])


def test_the_older_table_alone_is_fer2013_and_both_are_ferplus(tmp_path: Path) -> None:
    top = write_ferplus_tables(tmp_path)
    assert recognise(top).layout == "ferplus"
    assert recognise(top / "fer2013.csv").layout == "fer2013"


def test_bad_pixels_of_ferplus_are_told(tmp_path: Path) -> None:
    top = write_ferplus_tables(tmp_path)
    lines = (top / "fer2013.csv").read_text().splitlines()
    lines[2] = "1,1 2 3,Training"
    (top / "fer2013.csv").write_text("\n".join(lines))
    manifest = recognise(top)
    assert ("error", "bad-pixels", "fer2013.csv") in told(manifest)
    assert "fer0000001" not in column(manifest, "label")


@pytest.mark.plain
@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (",0,9,0", ",0,many,0", "votes in row 2 of fer2013new.csv must be 10 whole numbers >= 0"),
        (",0,9,0", ",0,-9,0", "votes in row 2 of fer2013new.csv must be 10 whole numbers >= 0"),
        (",0,9,0", ",0,9.5,0", "votes in row 2 of fer2013new.csv must be 10 whole numbers >= 0"),
        (",0,9,0", ",9,0", "row 2 of fer2013new.csv must be 12 cells, got 11"),
        ("sadness", "grief", "fer2013new.csv must be a table with the columns usage, image name"),
        ("Training,fer0000001", "PublicTest,fer0000001", "of the same Usage as in fer2013.csv"),
        ("Training,fer0000001", "Test,fer0000001", "Usage in row 2 of fer2013new.csv must be one"),
    ],
)
def test_tables_of_votes_that_do_not_fit(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    path = write_ferplus_tables(tmp_path) / "fer2013new.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=sentence):
        recognise(tmp_path)


@pytest.mark.plain
def test_tables_of_other_lengths_and_lists_without_votes(tmp_path: Path) -> None:
    top = write_ferplus_tables(tmp_path / "tables")
    lines = (top / "fer2013new.csv").read_text().splitlines()
    (top / "fer2013new.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(UserError, match=r"of as many rows as fer2013.csv, 7, got 6"):
        recognise(top)
    (top / "fer2013.csv").unlink()
    with pytest.raises(UserError, match=r"a folder with one fer2013.csv in it"):
        recognise(top)
    labels = write_ferplus(tmp_path / "lists") / "data" / "FER2013Valid" / "label.csv"
    labels.write_text("fer0000010.png,1,2,3\n")
    with pytest.raises(UserError, match=r"row 1 of FER2013Valid/label.csv must be a name, a box"):
        recognise(tmp_path / "lists")
    labels.write_text("\n".join(["fer0000010.png,1,2,3,4,5,6,7,8,9,0"] * 2))
    with pytest.raises(UserError, match=r"row 2 of FER2013Valid/label.csv must be about a pict"):
        recognise(tmp_path / "lists")


# The real ones


@pytest.mark.data
@needs_data
def test_the_real_votes() -> None:
    manifest = recognise(Path(DATA or "", "ferplus"))
    table = manifest.table
    assert manifest.layout == "ferplus"
    assert Counter(table["split"]) == {"train": 9386, "val": 3533}
    assert (votes_of(table).sum(axis=1) == 10).all()
    assert Counter(table["outcome"]) == {"label": 12218, "tie": 624, "unknown": 76, "nf": 1}
    assert (table["label_official"] != "").sum() == 11390
    both = table[table["label_official"] != ""]
    assert (both["label"] == both["label_official"]).all()
    assert table["label"].value_counts()["happiness"] == 2480 + 869
    assert not any(f.level == "error" for f in manifest.findings)
    assert set(COLUMNS) < set(table.columns)


@pytest.mark.data
@needs_data
def test_the_real_table_of_pixels_holds_the_pictures_of_ferplus() -> None:
    root = Path(DATA or "", "ferplus")
    manifest = recognise(root / "fer2013.csv")
    assert (manifest.layout, len(manifest.table)) == ("fer2013", 1072)
    assert Counter(manifest.table["split"]) == {"train": 779, "val": 293}
    assert manifest.classes == sorted(FER2013)
