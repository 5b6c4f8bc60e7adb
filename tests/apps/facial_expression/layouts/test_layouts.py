"""The other public sets of faces, folders and tables, each by a tree with its quirks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fixtures.expressions import (
    grey,
    write_affectnet,
    write_affectnet_arrays,
    write_affectnet_folders,
    write_bu_3dfe,
    write_ck_48,
    write_ck_plus,
    write_expression_folders,
    write_fer2013_folders,
    write_ferplus,
    write_jaffe,
    write_raf_db,
)
from fixtures.scenes import save
from likeness.data.checks import check
from likeness.errors import UserError
from likeness_apps.facial_expression.domain import DOMAIN
from likeness_apps.facial_expression.expressions import EXPRESSIONS
from likeness_apps.facial_expression.layouts import recognise
from likeness_apps.facial_expression.layouts.recognition import PUBLISHED
from likeness_apps.facial_expression.votes import COLUMNS

ROOT = Path(__file__).parents[4]


def told(manifest):
    return {(f.level, f.code, f.path) for f in manifest.findings}


def messages(manifest):
    return {f.code: f.message for f in manifest.findings}


def column(manifest, name):
    return dict(zip(manifest.table["path"], manifest.table[name], strict=True))


def assert_folds_of_whole_subjects(table, count=10):
    assert (table.groupby("subject")["fold"].nunique() == 1).all()
    assert set(table["fold"]) == {str(number) for number in range(1, count + 1)}
    assert (table["group"] == table["subject"]).all()


def test_every_layout_has_a_card_a_licence_and_a_protocol_names_no_other() -> None:
    names = {layout.name for layout in PUBLISHED}
    assert names == set(DOMAIN.licences)
    for name in (*names, "generated-faces"):
        card = (ROOT / "datasets" / name / "CARD.md").read_text().lower()
        for word in ("licence", "consent", "withdrawn", "redistributable", "tried on", "checksums"):
            assert word in card, (name, word)
    assert {layout for p in DOMAIN.protocols.values() for layout in p.layouts} <= names


# CK+


def test_ck_plus(tmp_path: Path) -> None:
    top = write_ck_plus(tmp_path)
    for place in (tmp_path, top):
        manifest = recognise(place)
        assert (manifest.layout, manifest.root) == ("ck-plus", top / "cohn-kanade-images")
        table = manifest.table
        # S005: take 1 of 3 frames, take 2 of 4; take 3 has no label
        rows = table[table["subject"] == "S005"]
        assert rows["path"].tolist() == [
            f"S005/{take:03d}/S005_{take:03d}_{frame:08d}.png"
            for take, frames in ((1, (1, 2, 3)), (2, (1, 2, 3, 4)))
            for frame in frames
        ]
        assert rows["role"].tolist() == ["neutral", "apex", "apex", "neutral", *["apex"] * 3]
        assert rows["label"].tolist() == [
            *("neutral", "contempt", "contempt"),
            *("neutral", "disgust", "disgust", "disgust"),
        ]
        assert Counter(rows["sequence"]) == {"S005_001": 3, "S005_002": 4}
        assert manifest.classes == sorted(EXPRESSIONS)
        assert_folds_of_whole_subjects(table)
        assert told(manifest) == {("warning", "no-label", "")}
        assert "12 of the sequences" in messages(manifest)["no-label"]
    long = [rows for _, rows in table.groupby("sequence") if len(rows) == 4]
    assert any(rows["path"].iloc[1].endswith("0004.png") for rows in long)  # of 6 frames 4, 5, 6
    assert check(manifest, grey=DOMAIN.grey).errors == ()  # grey pictures and some in colour


def test_the_folds_do_not_depend_on_where_the_set_lies(tmp_path: Path) -> None:
    first = recognise(write_ck_plus(tmp_path / "one"))
    again = recognise(write_ck_plus(tmp_path / "deep" / "down").parent)
    assert column(first, "fold") == column(again, "fold")


def test_labels_of_sequences_that_are_missing_are_told(tmp_path: Path) -> None:
    top = write_ck_plus(tmp_path)
    for frame in (top / "cohn-kanade-images" / "S005" / "001").glob("*.png"):
        frame.unlink()
    manifest = recognise(top)
    assert "'S005_001'" in messages(manifest)["missing-picture"]
    assert not (manifest.table["sequence"] == "S005_001").any()


def test_ck_plus_48(tmp_path: Path) -> None:
    top = write_ck_48(tmp_path)
    manifest = recognise(tmp_path)
    assert (manifest.layout, manifest.root) == ("ck-plus-48", top)
    assert len(manifest.table) == 72
    assert column(manifest, "label")["happy/S014_001_00000016.png"] == "happiness"
    assert manifest.classes == sorted(set(EXPRESSIONS) - {"neutral"})
    assert_folds_of_whole_subjects(manifest.table)
    assert told(manifest) == set()


@pytest.mark.plain
@pytest.mark.parametrize("text", ["   9.0000000e+00\n", "happy", ""])
def test_a_label_outside_the_map_of_ck_plus(tmp_path: Path, text: str) -> None:
    top = write_ck_plus(tmp_path)
    next(top.rglob("*_emotion.txt")).write_text(text)
    with pytest.raises(
        UserError, match=r"label in S.*_emotion.txt must be a number from 0 to 7, got"
    ):
        recognise(top)


# JAFFE and BU-3DFE


@pytest.mark.parametrize("suffix", [".tiff", ".tif", ".jpg"])
def test_jaffe(tmp_path: Path, suffix: str) -> None:
    top = write_jaffe(tmp_path, suffix=suffix)
    manifest = recognise(tmp_path)
    assert (manifest.layout, manifest.root, len(manifest.table)) == ("jaffe", top, 70)
    labels = column(manifest, "label")
    assert [labels[f"KA.{code}1.{n}{suffix}"] for n, code in ((1, "AN"), (5, "NE"))] == [
        *("anger", "neutral")
    ]
    assert "contempt" not in manifest.classes
    assert_folds_of_whole_subjects(manifest.table)
    assert told(manifest) == {("warning", "foreign-file", "jaffe/README")}


def test_few_subjects_get_no_folds_and_it_is_told(tmp_path: Path) -> None:
    manifest = recognise(write_jaffe(tmp_path, ("KA", "UY")))
    assert "fold" not in manifest.table
    assert "to the number of groups, 2, got 10" in messages(manifest)["no-folds"]


def test_bu_3dfe(tmp_path: Path) -> None:
    top = write_bu_3dfe(tmp_path)
    manifest = recognise(tmp_path)
    assert (manifest.layout, manifest.root, len(manifest.table)) == ("bu-3dfe", top, 70)
    row = manifest.table.set_index("path").loc["F0001/F0001_AN04WH_F2D.bmp"]
    assert row[["label", "subject", "level"]].tolist() == ["anger", "F0001", "04"]
    assert_folds_of_whole_subjects(manifest.table)
    assert told(manifest) == set()


# AffectNet


@pytest.mark.parametrize("header", [False, True])
def test_affectnet_tables(tmp_path: Path, header: bool) -> None:
    write_affectnet(tmp_path, header=header)
    manifest = recognise(tmp_path)
    assert manifest.layout == "affectnet"
    assert Counter(manifest.table["split"]) == {"train": 7, "test": 7}
    rows = manifest.table.set_index("path")
    row = rows.loc[f"101/{105:032x}.png"]
    assert row[["label", "face_x", "face_y", "face_width", "face_height"]].tolist() == [
        *("disgust", 4, 5, 35, 31)
    ]
    assert rows.loc[f"0/{6:032x}.jpg", "label"] == "anger"
    assert (row["valence"], row["arousal"]) == ("-0.25", "0.5")
    assert Counter(f.code for f in manifest.findings) == {
        **dict.fromkeys(("annotated-none-of-them", "annotated-uncertain", "annotated-no-face"), 2),
        "missing-picture": 2,
    }
    assert check(manifest).errors == ()


def test_affectnet_arrays(tmp_path: Path) -> None:
    top = write_affectnet_arrays(tmp_path)
    manifest = recognise(top)
    assert (manifest.layout, manifest.root) == ("affectnet", top)
    labels, splits = column(manifest, "label"), column(manifest, "split")
    assert (labels["val_set/images/9.jpg"], splits["val_set/images/9.jpg"]) == ("happiness", "test")
    assert (labels["train_set/images/2.jpg"], splits["train_set/images/2.jpg"]) == (
        *("sadness", "train"),
    )
    assert len(labels) == 16
    assert "2 of the pictures" in messages(manifest)["missing-picture"]
    assert "2 of the pictures" in messages(manifest)["not-in-the-table"]


def test_affectnet_folders_say_how_their_numbers_are_read(tmp_path: Path) -> None:
    manifest = recognise(write_affectnet_folders(tmp_path))
    assert manifest.layout == "affectnet"
    labels = column(manifest, "label")
    assert [labels[f"val/{n}/{n}.jpg"] for n in range(8)] == [
        *("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
    ]
    assert Counter(manifest.table["split"]) == {"train": 8, "test": 8}
    assert "2 sadness, 3 surprise" in messages(manifest)["numbered-folders"]


@pytest.mark.plain
def test_what_affectnet_does_not_have(tmp_path: Path) -> None:
    top = write_affectnet(tmp_path / "tables")
    table = top / "Manually_Annotated_file_lists" / "training.csv"
    text = table.read_text()
    table.write_text(text.replace(",2,-0.25", ",11,-0.25"))
    with pytest.raises(
        UserError, match=r"expression in row 3 of training.csv .* 0 to 10, got '11'"
    ):
        recognise(top)
    table.write_text(text.replace(",32,31,", ",wide,31,"))
    with pytest.raises(UserError, match=r"face_width of 0/.*2.png must be a number, got 'wide'"):
        recognise(top)
    arrays = write_affectnet_arrays(tmp_path / "arrays")
    broken = arrays / "train_set" / "annotations" / "1_exp.npy"
    np.save(broken, np.array([{"not": "plain"}], dtype=object), allow_pickle=True)
    with pytest.raises(
        UserError, match=r"1_exp.npy must be an array of one value, got Object array"
    ):
        recognise(arrays)
    broken.write_bytes(b"")
    with pytest.raises(UserError, match=r"1_exp.npy must be an array of one value"):
        recognise(arrays)
    folders = write_affectnet_folders(tmp_path / "folders")
    (folders / "val" / "7").rename(folders / "val" / "12")
    with pytest.raises(UserError, match=r"folder of val/12/7.jpg must be a number from 0 to 10"):
        recognise(folders)


# RAF-DB


def test_raf_db(tmp_path: Path) -> None:
    top = write_raf_db(tmp_path)
    for place in (tmp_path, top):
        manifest = recognise(place)
        assert (manifest.layout, manifest.root) == ("raf-db", top / "Image" / "aligned")
        labels = column(manifest, "label")
        assert [labels[f"train_{n:05d}_aligned.jpg"] for n in range(1, 8)] == [
            *("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
        ]
        assert Counter(manifest.table["split"]) == {"train": 7, "test": 7}
        assert {f.code for f in manifest.findings} == {"missing-picture", "not-in-the-table"}


@pytest.mark.plain
@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("train_00001.jpg 8", "label in line 1 of list_patition_label.txt must be a number from 1"),
        ("train_00001.jpg", "line 1 of list_patition_label.txt must be of a name like train_00001"),
        ("test_0001.jpg 1\ntest_0001.jpg 2", "line 2 of .* must be about a picture of its own"),
    ],
)
def test_lines_that_are_none_of_raf_db(tmp_path: Path, line: str, sentence: str) -> None:
    top = write_raf_db(tmp_path)
    (top / "EmoLabel" / "list_patition_label.txt").write_text(line)
    with pytest.raises(UserError, match=sentence):
        recognise(top)


# Folders and tables of one's own


def test_folders_of_any_spelling(tmp_path: Path) -> None:
    top = write_expression_folders(tmp_path)
    manifest = recognise(tmp_path)
    assert (manifest.layout, manifest.root) == ("folder-per-class", top)
    assert manifest.classes == ["anger", "happiness", "sadness"]
    assert Counter(manifest.table["split"]) == {"train": 6, "val": 6}
    assert set(manifest.table["subject"]) == {""}
    assert (manifest.table["group"] == manifest.table["path"]).all()


@pytest.mark.plain
def test_what_is_no_expression_or_no_set(tmp_path: Path) -> None:
    write_expression_folders(tmp_path / "a", ("happy", "bored"))
    with pytest.raises(UserError, match=r"folder of .* must be one of neutral, .*, got 'bored'"):
        recognise(tmp_path / "a")
    with pytest.raises(UserError, match="data must be an existing folder or table"):
        recognise(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="data must be a folder with image files in it"):
        recognise(tmp_path / "empty")
    (tmp_path / "set.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match="archives must be unpacked"):
        recognise(tmp_path / "set.zip")
    write_jaffe(tmp_path / "two")
    write_fer2013_folders(tmp_path / "two")
    with pytest.raises(UserError, match=r"data must be one set, got .* with fer2013 and jaffe"):
        recognise(tmp_path / "two")


def write_own_table(root: Path, **columns) -> Path:
    names = [f"{number:02d}.png" for number in range(24)]
    for number, name in enumerate(names):
        save(root / name, grey(number))
    labels = [("happy", "Sad", "surprised")[number % 3] for number in range(24)]
    table = root / "faces.csv"
    pd.DataFrame({"path": names, "label": labels} | columns).to_csv(table, index=False)
    return table


def test_a_table_with_subjects_gets_folds(tmp_path: Path) -> None:
    subjects = [f"person {number % 12}" for number in range(24)]
    manifest = recognise(write_own_table(tmp_path, subject=subjects))
    assert manifest.classes == ["happiness", "sadness", "surprise"]
    assert_folds_of_whole_subjects(manifest.table)
    split = recognise(write_own_table(tmp_path, subject=subjects, split=["train", "test"] * 12))
    assert "fold" not in split.table
    assert (split.table["group"] == split.table["subject"]).all()
    own = recognise(write_own_table(tmp_path, subject=subjects, group=["a", "b"] * 12, fold="1"))
    assert set(own.table["group"]) == {"a", "b"}
    assert set(own.table["fold"]) == {"1"}
    assert "fold" not in recognise(write_own_table(tmp_path, subject=["x", *[""] * 23])).table


def test_a_written_manifest_is_read_back_with_its_votes(tmp_path: Path) -> None:
    first = recognise(write_ferplus(tmp_path))
    first.write_csv(first.root / "manifest.csv")
    again = recognise(first.root / "manifest.csv")
    columns = ["path", "label", "split", "group", "subject", *COLUMNS]
    pd.testing.assert_frame_equal(again.table[columns], first.table[columns])
    assert "12 of the pictures" in messages(again)["no-label"]


@pytest.mark.plain
def test_tables_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"label of 03.png must be one of neutral.*, got 'tired'"):
        recognise(write_own_table(tmp_path, label=["happy", "sad", "happy", "tired"] * 6))
    votes = {name: ["1"] * 23 + ["some"] for name in COLUMNS}
    with pytest.raises(
        UserError, match=r"votes in the row of 23.png must be 10 whole numbers >= 0"
    ):
        recognise(write_own_table(tmp_path, **votes))
    with pytest.raises(UserError, match=r"faces.csv must be a table with labels, got 'none'"):
        recognise(write_own_table(tmp_path, label=""))
    flags = pd.DataFrame({"path": ["00.png"], "happy": [1], "sad": [1]})
    flags.to_csv(tmp_path / "faces.csv", index=False)
    with pytest.raises(UserError, match=r"faces.csv must be a table with one column label"):
        recognise(tmp_path / "faces.csv")
