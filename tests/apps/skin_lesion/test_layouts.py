"""The public lesion sets, each by a tree with its quirks, and the real ones where they are."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from fixtures.lesions import (
    isic,
    picture,
    write_ham10000,
    write_isic_2016,
    write_isic_2017,
    write_isic_2018,
    write_isic_2019,
    write_ph2,
)
from fixtures.scenes import save, texture, write_folders, write_table
from likeness.data.checks import check
from likeness.errors import UserError
from likeness_apps.skin_lesion.diagnoses import DIAGNOSES
from likeness_apps.skin_lesion.domain import DOMAIN
from likeness_apps.skin_lesion.layouts import ham10000, ph2, recognise
from likeness_apps.skin_lesion.layouts.challenges import CHALLENGES

DATA = os.environ.get("LIKENESS_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="LIKENESS_DATA is unset")
ROOT = Path(__file__).parents[3]


def told(manifest):
    return {(f.level, f.code, f.path) for f in manifest.findings}


def column(manifest, name):
    stems = [Path(path).stem for path in manifest.table["path"]]
    return dict(zip(stems, manifest.table[name], strict=True))


NO_LESIONS = ("warning", "no-lesion-ids", "")


def test_every_layout_has_a_card_a_licence_and_known_labels() -> None:
    names = {known.name for known in CHALLENGES} | {ham10000.NAME, ph2.NAME}
    assert names == set(DOMAIN.licences)
    for name in (*names, "generated-lesions"):
        card = (ROOT / "datasets" / name / "CARD.md").read_text().lower()
        for word in ("licence", "consent", "withdrawn", "redistributable", "tried on", "checksums"):
            assert word in card, (name, word)
    assert {layout for p in DOMAIN.protocols.values() for layout in p.layouts} <= names
    undecided = {name for name, known in DIAGNOSES.items() if known.malignant is None}
    assert undecided == {"other", "unk"}


# The challenges


def test_isic_2016(tmp_path: Path) -> None:
    top = write_isic_2016(tmp_path)
    for place in (tmp_path, top):
        manifest = recognise(place)
        assert (manifest.layout, manifest.root) == ("isic-2016", top)
        assert Counter(manifest.table["split"]) == {"train": 3, "test": 3}
        labels = column(manifest, "label")
        assert [labels[isic(n)] for n in (0, 1, 10, 11)] == ["benign", "malignant"] * 2
        assert told(manifest) == {NO_LESIONS}
    assert check(manifest).errors == ()


def test_isic_2017(tmp_path: Path) -> None:
    top = write_isic_2017(tmp_path)
    manifest = recognise(tmp_path)
    assert (manifest.layout, manifest.root) == ("isic-2017", top)
    assert manifest.classes == ["melanoma", "nevus", "seborrheic_keratosis"]
    assert Counter(manifest.table["split"]) == {"train": 6, "val": 6, "test": 6}
    labels, kinds = column(manifest, "label"), ("nevus", "melanoma", "seborrheic_keratosis")
    assert [labels[isic(n)] for n in range(3)] == list(kinds)
    ages, sexes = column(manifest, "age"), column(manifest, "sex")
    assert (ages[isic(0)], sexes[isic(0)]) == ("unknown", "unknown")
    assert (ages[isic(1)], sexes[isic(1)]) == ("35", "female")
    assert column(manifest, "diagnosis")[isic(0)] == "melanocytic nevus"
    assert told(manifest) == {NO_LESIONS}
    assert check(manifest).errors == ()


def test_isic_2017_masks_metadata_beside_and_foreign_files(tmp_path: Path) -> None:
    top = write_isic_2017(tmp_path)
    mask = f"ISIC-2017_Training_Part1_GroundTruth/{isic(0)}_segmentation.png"
    save(top / mask, texture(0, 0))
    data = top / "ISIC-2017_Training_Data"
    shutil.move(data / "ISIC-2017_Training_Data_metadata.csv", top)
    picture(data / "holiday.jpg", 0, 0)
    (top / "notes.txt").write_text("x")
    manifest = recognise(top)
    assert len(manifest.table) == 18
    assert column(manifest, "mask")[isic(0)] == mask
    assert column(manifest, "mask")[isic(1)] == ""
    assert column(manifest, "age")[isic(1)] == "35"
    foreign = {("warning", "foreign-file", f"{data.name}/holiday.jpg")}
    assert told(manifest) == {NO_LESIONS, ("warning", "foreign-file", "notes.txt"), *foreign}


@pytest.mark.parametrize(("groupings", "groups"), [(True, 5), (False, 6)])
def test_isic_2018(tmp_path: Path, groupings: bool, groups: int) -> None:
    manifest = recognise(write_isic_2018(tmp_path, groupings=groupings))
    assert manifest.layout == "isic-2018"
    assert Counter(manifest.table["label"]) == {"nv": 2, "mel": 1, "akiec": 1, "": 2}
    assert Counter(manifest.table["split"]) == {"train": 4, "val": 2}
    assert manifest.table["group"].nunique() == groups
    unlabelled = [f.path for f in manifest.findings if f.code == "no-label"]
    assert len(unlabelled) == 2  # the validation part came without a table: nothing is lost
    (finding,) = (f for f in manifest.findings if f.code == "no-lesion-ids")
    assert finding.message.startswith("2 images" if groupings else "6 images")


def test_isic_2019(tmp_path: Path) -> None:
    manifest = recognise(write_isic_2019(tmp_path))
    assert manifest.layout == "isic-2019"
    first = "ISIC_0000002_downsampled"
    stems = (first, isic(3), isic(4), isic(5))
    assert [column(manifest, "label")[stem] for stem in stems] == ["mel", "nv", "scc", "unk"]
    assert [column(manifest, "age")[stem] for stem in stems] == ["55", "unknown", "85", "0"]
    assert column(manifest, "localization")[isic(3)] == "unknown"
    groups = column(manifest, "group")
    assert groups[first] == groups[isic(5)] == "MSK4_0000001"
    assert groups[isic(3)].endswith(f"{isic(3)}.jpg")
    assert told(manifest) == {NO_LESIONS}


@pytest.mark.plain
@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("0.0,0.0", "0.0,0.5", "ISIC_0000000 in ISIC-2017_Training_Part3_GroundTruth.csv must be"),
        ("0.0,0.0", "1.0,1.0", "must be of one class, got 'melanoma and seborrheic_keratosis'"),
        ("ISIC_0000001", "ISIC_0000000", "row 2 of ISIC-2017_Training_Part3_GroundTruth.csv must"),
        ("image_id,melanoma", "image,melanoma", "must have a column 'image_id', got image"),
    ],
)
def test_broken_truth_is_told_in_one_sentence(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    path = write_isic_2017(tmp_path) / "ISIC-2017_Training_Part3_GroundTruth.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        recognise(tmp_path)
    assert sentence in str(caught.value)


@pytest.mark.plain
def test_headerless_truth_that_is_broken(tmp_path: Path) -> None:
    path = write_isic_2016(tmp_path) / "ISBI2016_ISIC_Part3_Training_GroundTruth.csv"
    good = path.read_text()
    for new, sentence in (
        (good.replace("malignant", "perhaps"), "must be of 0 and 1, got 'perhaps'"),
        (good.replace("ISIC_0000001", "ISIC_0000000"), "line 2 of ISBI2016"),
        (good.replace(",benign", "", 1), "line 1 of ISBI2016"),
    ):
        path.write_text(new)
        with pytest.raises(UserError, match=sentence):
            recognise(tmp_path)


def test_missing_rows_and_missing_images_lose_nothing_else(tmp_path: Path) -> None:
    top = write_isic_2017(tmp_path)
    table = top / "ISIC-2017_Training_Part3_GroundTruth.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:1], *lines[2:], "ISIC_7777777,0.0,0.0"]))
    manifest = recognise(top)
    assert len(manifest.table) == 18
    assert column(manifest, "label")[isic(0)] == ""
    image = f"ISIC-2017_Training_Data/{isic(0)}.jpg"
    missing = ("warning", "list-without-image", table.name)
    assert told(manifest) == {NO_LESIONS, ("warning", "no-label", image), missing}


@pytest.mark.plain
def test_a_folder_without_its_tables_and_two_sets_in_one_folder(tmp_path: Path) -> None:
    top = write_isic_2017(tmp_path)
    with pytest.raises(UserError, match="images lie in no class folder"):
        recognise(top / "ISIC-2017_Training_Data")
    write_ph2(top)
    with pytest.raises(UserError, match=r"one set, got '.* with isic-2017 and ph2'"):
        recognise(tmp_path)
    shutil.rmtree(top / "PH2Dataset")
    for table in top.glob("*_Part3_*"):
        table.unlink()
    with pytest.raises(UserError, match="tables of labels of isic-2017"):
        recognise(top)


# HAM10000


@pytest.mark.parametrize(
    "table", ["HAM10000_metadata", "HAM10000_metadata.csv", "HAM10000_metadata.tab"]
)
@pytest.mark.parametrize(
    "folders", [("HAM10000_images_part_1", "HAM10000_images_part_2"), ("any",)]
)
def test_ham10000(tmp_path: Path, table: str, folders: tuple[str, ...]) -> None:
    top = write_ham10000(tmp_path, table=table, folders=folders)
    manifest = recognise(tmp_path)
    assert (manifest.layout, manifest.root, manifest.findings) == ("ham10000", top, ())
    assert manifest.classes == ["bkl", "mel", "nv"]
    assert manifest.table["group"].nunique() == 5
    one = manifest.table[manifest.table["path"].str.contains(isic(24308))].iloc[0]
    assert one["diagnosis"] == "melanocytic nevus"
    assert one[["age", "sex", "localization"]].tolist() == ["unknown", "female", "back"]
    assert column(manifest, "age")[isic(24306)] == "80"


def test_ham10000_copied_folder_and_images_that_are_elsewhere(tmp_path: Path) -> None:
    top = write_ham10000(tmp_path, folders=("HAM10000_images_part_1",))
    shutil.copytree(top / "HAM10000_images_part_1", top / "ham10000_images_part_1")
    (top / "hmnist_8_8_L.csv").write_text("pixel0000\n1\n")
    manifest = recognise(top)
    assert len(manifest.table) == 6
    codes = {code for _, code, _ in told(manifest)}
    assert codes == {"copied-folder", "foreign-file"}


@pytest.mark.plain
def test_ham10000_that_is_broken(tmp_path: Path) -> None:
    top = write_ham10000(tmp_path)
    path = top / "HAM10000_metadata"
    path.write_text(path.read_text().replace(",mel,", ",melanoma,", 1))
    with pytest.raises(UserError, match="dx of ISIC_0024310 in HAM10000_metadata must be one of"):
        recognise(top)
    shutil.copy(path, top / "HAM10000_metadata.csv")
    with pytest.raises(UserError, match="one HAM10000_metadata"):
        recognise(top)


def test_a_lesion_in_two_given_splits_and_a_picture_twice_are_errors(tmp_path: Path) -> None:
    manifest = recognise(write_ham10000(tmp_path))
    part_1, part_2 = manifest.table["path"][:3].tolist(), manifest.table["path"][3:].tolist()
    split = ["train"] * 3 + ["test"] * 3  # the first lesion's second image is in part 2
    shutil.copy(manifest.file(part_1[2]), manifest.file(part_2[2]))
    result = check(manifest.with_table(manifest.table.assign(split=split)))
    assert {(f.code, f.path) for f in result.errors} == {
        ("group-in-several-splits", part_1[0]),
        ("duplicate-across-splits", part_1[2]),
    }
    (group,) = (f for f in result.errors if f.code == "group-in-several-splits")
    assert "HAM_0000000" in group.message


# PH2


def test_ph2(tmp_path: Path) -> None:
    top = write_ph2(tmp_path)
    manifest = recognise(tmp_path)
    assert manifest.layout == "ph2"
    assert column(manifest, "label") == {
        "IMD002": "common_nevus",
        "IMD004": "atypical_nevus",
        "IMD058": "melanoma",
        "IMD061": "melanoma",
    }
    assert manifest.findings == ()
    for stem, mask in column(manifest, "mask").items():
        assert manifest.file(mask).resolve() == next(top.rglob(f"{stem}_lesion.bmp")).resolve()
    assert set(check(manifest).table["status"]) == {"ok"}


@pytest.mark.plain
def test_ph2_that_is_broken(tmp_path: Path) -> None:
    path = write_ph2(tmp_path) / "PH2_dataset.txt"
    good = path.read_text()
    for new, sentence in (
        (good.replace("        1     ", "        7     "), "must be 0, 1 or 2, got '7'"),
        (good.replace("IMD061", "IMD058"), "line 5 of PH2_dataset.txt must be about an image"),
        ("nothing", "PH2_dataset.txt must be a table with"),
    ):
        path.write_text(new)
        with pytest.raises(UserError) as caught:
            recognise(tmp_path)
        assert sentence in str(caught.value)
    path.unlink()
    with pytest.raises(UserError, match=r"a folder with PH2_dataset\.txt in it"):
        recognise(tmp_path)


HAS_OPENPYXL = importlib.util.find_spec("openpyxl") is not None


@pytest.mark.plain
@pytest.mark.skipif(HAS_OPENPYXL, reason="openpyxl is there")
def test_ph2_sheet_without_openpyxl(tmp_path: Path) -> None:
    top = write_ph2(tmp_path)
    (top / "PH2_dataset.txt").rename(top / "PH2_dataset.xlsx")
    with pytest.raises(
        UserError, match=r"PH2_dataset\.txt \(the \.xlsx needs the package openpyxl"
    ):
        recognise(top)


@pytest.mark.skipif(not HAS_OPENPYXL, reason="openpyxl is no dependency")
def test_ph2_sheet_with_openpyxl(tmp_path: Path) -> None:
    import pandas as pd

    top = write_ph2(tmp_path)
    text = column(recognise(top), "label")
    (top / "PH2_dataset.txt").unlink()
    rows = [["PH2 Dataset", "", "", ""], [""] * 4]
    rows.append(["Image Name", "Common Nevus", "Atypical Nevus", "Melanoma"])
    for name, label in text.items():
        rows.append([name, *("X" if label == known else "" for known in ph2.CLASSES)])
    pd.DataFrame(rows).to_excel(top / "PH2_dataset.xlsx", header=False, index=False)
    assert column(recognise(top), "label") == text


# Sets of one's own


def test_class_folders_and_tables(tmp_path: Path) -> None:
    top = write_folders(tmp_path, ("nevus", "melanoma"), splits=("train", "val"))
    manifest = recognise(top)
    assert (manifest.layout, manifest.classes) == ("folder-per-class", ["melanoma", "nevus"])
    assert Counter(manifest.table["split"]) == {"train": 8, "val": 8}
    table = write_table(tmp_path / "t", classes=("nevus", "melanoma"))
    assert recognise(table).layout == "table"
    assert len(recognise(table).table) == 8


def test_masks_in_class_folders_are_no_images(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(2):
            save(tmp_path / name / f"{name}{number}.jpg", texture(number, 0))
        save(tmp_path / name / f"{name}0_segmentation.png", texture(0, 0))
    manifest = recognise(tmp_path)
    assert sorted(Path(path).name for path in manifest.table["path"]) == [
        *("a0.jpg", "a1.jpg", "b0.jpg", "b1.jpg"),
    ]


def test_split_lists_beside_class_folders(tmp_path: Path) -> None:
    top = write_folders(tmp_path, ("nevus", "melanoma"), per_class=2)
    (top / "train.txt").write_text("nevus/0.png\nmelanoma/0.png\n")
    (top / "test.txt").write_text("nevus/1.png\nmelanoma/1.png\n")
    assert Counter(recognise(top).table["split"]) == {"train": 2, "test": 2}


@pytest.mark.plain
def test_nothing_that_is_known(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="an existing folder or table"):
        recognise(tmp_path / "no")
    with pytest.raises(UserError, match="a folder with image files"):
        recognise(tmp_path)
    picture(tmp_path / "one" / "a.jpg", 0, 0)
    with pytest.raises(UserError, match="single folder 'one'"):
        recognise(tmp_path)
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match="archives must be unpacked"):
        recognise(tmp_path / "a.zip")


# Real data


@pytest.mark.data
@needs_data
def test_real_isic_2017() -> None:
    manifest = recognise(Path(DATA or "", "isic2017"))
    assert manifest.layout == "isic-2017"
    counts = Counter(zip(manifest.table["split"], manifest.table["label"], strict=True))
    assert counts == {
        ("train", "nevus"): 1372,
        ("train", "melanoma"): 374,
        ("train", "seborrheic_keratosis"): 254,
        ("val", "nevus"): 78,
        ("val", "melanoma"): 30,
        ("val", "seborrheic_keratosis"): 42,
    }
    assert Counter(manifest.table["sex"])["unknown"] == 229 + 1
    assert Counter(manifest.table["age"])["unknown"] == 256 + 1
    assert told(manifest) == {NO_LESIONS}


@pytest.mark.data
@needs_data
def test_real_ham10000() -> None:
    manifest = recognise(Path(DATA or "", "ham10000"))
    assert (manifest.layout, manifest.findings) == ("ham10000", ())
    counts = {"nv": 5384, "mel": 895, "bkl": 894, "bcc": 398, "akiec": 259, "vasc": 115, "df": 89}
    assert Counter(manifest.table["label"]) == counts
    assert manifest.table["group"].nunique() == 6000
    assert Counter(manifest.table["age"])["unknown"] == 48
    assert Counter(manifest.table["age"])["0"] == 33
    assert Counter(manifest.table["localization"])["unknown"] == 186
