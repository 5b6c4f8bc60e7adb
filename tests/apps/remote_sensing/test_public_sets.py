"""Layouts of public sets beyond the first three, with their documented quirks."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fixtures.layouts import (
    EUROSAT,
    UCM_IMAGES,
    UCM_LABELS,
    write_bigearthnet_1,
    write_bigearthnet_2,
    write_coffee,
    write_eurosat_13,
    write_eurosat_rgb,
    write_kaggle_lists,
    write_patternnet,
    write_resisc45,
    write_siri_whu,
    write_ucm_multilabel,
)
from fixtures.scenes import save, texture, write_geotiff
from likeness.data.checks import check
from likeness.data.decode import decode
from likeness.data.manifest import Manifest
from likeness.data.tables import read_table
from likeness.errors import UserError
from likeness_apps.remote_sensing.layouts import recognise
from likeness_apps.remote_sensing.layouts.bigearthnet import CLASSES, DROPPED
from likeness_apps.remote_sensing.layouts.named import (
    EUROSAT_13,
    PATTERNNET,
    RESISC45,
    SIRI_WHU,
)

DATA = os.environ.get("LIKENESS_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="LIKENESS_DATA is unset")
TORCHGEO = "ds/images/remote_sensing/otherDatasets/sentinel_2/tif"
ORDER = [*(f"B{number:02d}" for number in range(1, 13)), "B8A"]


def told(manifest: Manifest) -> set[tuple[str, str, str]]:
    return {(f.level, f.code, f.path) for f in manifest.findings}


def column(manifest: Manifest, name: str) -> dict[str, str]:
    return dict(zip(manifest.table["path"], manifest.table[name], strict=True))


def test_published_numbers_of_classes() -> None:
    layouts = (EUROSAT_13, RESISC45, PATTERNNET, SIRI_WHU)
    assert [len(layout.classes) for layout in layouts] == [10, 45, 38, 12]
    old = [name for names in CLASSES.values() for name in names]
    assert (len(CLASSES), len(old), len(set(old) | DROPPED)) == (19, 32, 43)


@pytest.mark.parametrize("top", ["2750", "EuroSAT_RGB", "EuroSAT"])
def test_eurosat_rgb(tmp_path: Path, top: str) -> None:
    folder = write_eurosat_rgb(tmp_path, top)
    for place in (folder, tmp_path):
        manifest = recognise(place)
        assert manifest.layout == "eurosat-rgb"
        assert manifest.classes == list(EUROSAT)
        assert (len(manifest.table), manifest.findings) == (9, ())
        assert manifest.band_names == ()


@pytest.mark.parametrize("top", [TORCHGEO, "EuroSAT_MS", "EuroSATallBands"])
def test_eurosat_with_thirteen_bands(tmp_path: Path, top: str) -> None:
    folder = write_eurosat_13(tmp_path, top)
    for place in (folder, tmp_path):
        manifest = recognise(place)
        assert (manifest.layout, manifest.root) == ("eurosat-13", folder)
        assert manifest.band_names == tuple(ORDER)
    result = check(manifest)
    assert result.errors == ()
    assert set(result.table["bands"]) == {13}


@pytest.mark.parametrize(
    ("writer", "suffix", "per_class"),
    [(write_eurosat_rgb, ".jpg", 3), (write_eurosat_13, ".tif", 2)],
)
def test_eurosat_lists_of_kaggle(tmp_path: Path, writer, suffix: str, per_class: int) -> None:
    folder = writer(tmp_path, "EuroSAT", per_class=per_class)
    write_kaggle_lists(folder, suffix, per_class)
    splits = column(recognise(folder), "split")
    assert splits[f"Forest/Forest_1{suffix}"] == "train"
    assert splits[f"Forest/Forest_2{suffix}"] == "val"
    wanted = {"train": 3, "val": 3, "test": 3 * (per_class == 3)}
    assert Counter(splits.values()) == Counter(wanted)


def test_eurosat_lists_with_jpg_names_apply_to_tif(tmp_path: Path) -> None:
    write_eurosat_13(tmp_path, TORCHGEO)
    for split, number in (("train", 1), ("test", 2)):
        lines = "".join(f"{name}_{number}.jpg\n" for name in EUROSAT)
        (tmp_path / f"eurosat-{split}.txt").write_text(lines)
    manifest = recognise(tmp_path)
    assert Counter(manifest.table["split"]) == {"train": 3, "test": 3}
    assert manifest.findings == ()


def test_foreign_names_in_an_eurosat_class_are_left_out_and_named(tmp_path: Path) -> None:
    folder = write_eurosat_13(tmp_path)
    stack = texture(9, 9, side=64, bands=13, dtype="uint16")
    write_geotiff(folder / "SeaLake" / "Bombay_1.tif", stack)
    write_geotiff(folder / "SeaLake" / "Forest_9.tif", stack)  # another class's name
    save(folder / "SeaLake" / "SeaLake_7.jpg", texture(0, 0))
    manifest = recognise(folder)
    assert len(manifest.table) == 6
    names = ("Bombay_1.tif", "Forest_9.tif", "SeaLake_7.jpg")
    assert told(manifest) == {("warning", "foreign-file", f"SeaLake/{name}") for name in names}


def test_both_forms_of_eurosat_together_are_refused(tmp_path: Path) -> None:
    write_eurosat_rgb(tmp_path, "EuroSAT")
    write_eurosat_13(tmp_path, "EuroSATallBands")
    with pytest.raises(UserError, match="several levels: EuroSAT, EuroSATallBands"):
        recognise(tmp_path)


@pytest.mark.parametrize(
    ("writer", "layout", "example"),
    [
        (write_resisc45, "resisc45", "baseball_diamond/baseball_diamond_001.jpg"),
        (write_patternnet, "patternnet", "baseball_field/baseballfield001.jpg"),
        (write_siri_whu, "siri-whu", "idle_land/0001.tif"),
    ],
)
def test_one_folder_per_class(tmp_path: Path, writer, layout: str, example: str) -> None:
    folder = writer(tmp_path)
    save(folder / example.replace("001", "_1"), texture(5, 5))
    (foreign,) = (path for path in folder.rglob("*_1.*"))
    for place in (tmp_path, folder):
        manifest = recognise(place)
        assert manifest.layout == layout
        assert column(manifest, "label")[example] == example.partition("/")[0]
        assert column(manifest, "group")[example] == example
        (finding,) = manifest.findings
        assert finding.code == "foreign-file"
        assert finding.path.endswith(foreign.name) or "readme" in finding.path
    foreign.unlink()
    assert check(recognise(folder)).errors == ()


# Multi-label UC Merced


@pytest.mark.parametrize("table", ["LandUse_Multilabeled.txt", "multilabels.txt"])
@pytest.mark.parametrize("one_folder", [False, True])
@pytest.mark.parametrize("one", ["1", "1.0"])
def test_multilabel_table(tmp_path: Path, table: str, one_folder: bool, one: str) -> None:
    folder = write_ucm_multilabel(tmp_path, table=table, one_folder=one_folder, one=one)
    manifest = recognise(folder)
    assert (manifest.layout, manifest.multilabel) == ("uc-merced-multilabel", True)
    assert manifest.classes == ["field", "sand", "sea", "trees"]
    wanted = {stem: "|".join(sorted(labels.split())) for stem, labels in UCM_IMAGES.items()}
    assert {Path(p).stem: cell for p, cell in column(manifest, "label").items()} == wanted
    assert manifest.root == folder / ("images" if one_folder else "Images")
    assert check(manifest).errors == ()
    manifest.write_csv(manifest.root / "t.csv")
    again = read_table(manifest.root / "t.csv")
    assert again.multilabel
    assert column(again, "label") == column(manifest, "label")


def test_multilabel_blanks_for_tabs_and_another_order_of_columns(tmp_path: Path) -> None:
    folder = write_ucm_multilabel(tmp_path)
    labels = UCM_LABELS[::-1]
    lines = [" ".join(["image", *labels])]
    for stem, names in UCM_IMAGES.items():
        lines.append("  ".join([stem, *(str(int(n in names.split())) for n in labels)]))
    (folder / "LandUse_Multilabeled.txt").write_text("\n".join(lines))
    assert column(recognise(folder), "label")["beach/beach01.tif"] == "sand|sea|trees"


def test_multilabel_header_that_names_other_labels(tmp_path: Path) -> None:
    folder = write_ucm_multilabel(tmp_path)
    path = folder / "LandUse_Multilabeled.txt"
    path.write_text(path.read_text().replace("IMAGE\\LABEL\tairplane", "name\tplane"))
    manifest = recognise(folder)
    assert told(manifest) == {("warning", "unknown-header", path.name)}
    assert column(manifest, "label")["beach/beach00.tif"] == "sand|sea"


def test_multilabel_images_without_labels_and_lines_without_images(tmp_path: Path) -> None:
    folder = write_ucm_multilabel(tmp_path, images=UCM_IMAGES | {"river00": "", "river01": "water"})
    save(folder / "Images" / "river" / "river02.tif", texture(3, 3))
    save(folder / "preview.png", texture(3, 4))
    (folder / "Images" / "river" / "river01.tif").unlink()
    manifest = recognise(folder)
    assert told(manifest) == {
        ("warning", "no-label", "river/river00.tif"),
        ("warning", "no-label", "river/river02.tif"),
        ("warning", "list-without-image", "LandUse_Multilabeled.txt"),
        ("warning", "foreign-file", "preview.png"),
    }
    assert len(manifest.table) == 6


def test_multilabel_lists_fill_the_splits(tmp_path: Path) -> None:
    folder = write_ucm_multilabel(tmp_path)
    (folder / "train.txt").write_text("agricultural00\nbeach00\n")
    (folder / "test.txt").write_text("agricultural01\nbeach01\n")
    assert Counter(recognise(folder).table["split"]) == {"train": 2, "test": 2}


@pytest.mark.parametrize("name", ["LandUse_Multilabeled.xlsx", "LandUse_multilabels.mat"])
def test_multilabel_forms_that_are_not_read_are_told(tmp_path: Path, name: str) -> None:
    folder = write_ucm_multilabel(tmp_path)
    (folder / "LandUse_Multilabeled.txt").rename(folder / name)
    manifest = recognise(folder)
    assert (manifest.layout, manifest.multilabel) == ("uc-merced", False)
    assert told(manifest) == {("warning", "labels-not-read", name)}


@pytest.mark.plain
@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("\twater", "", "must be a table of a name and 17 labels, got '17 columns in its header'"),
        ("\t0 \r\n", "\r\n", "line 2 of LandUse_Multilabeled.txt must be a name and 17 values"),
        ("\t1\t", "\t2\t", "line 2 of LandUse_Multilabeled.txt must be of 0 and 1, got '2'"),
        ("\t1\t", "\tyes\t", "line 2 of LandUse_Multilabeled.txt must be of 0 and 1, got 'yes'"),
        ("\t1\t", "\tnan\t", "line 2 of LandUse_Multilabeled.txt must be of 0 and 1, got 'nan'"),
        ("beach01", "beach00", "line 5 of LandUse_Multilabeled.txt must be about an image that no"),
    ],
)
def test_broken_multilabel_tables(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    path = write_ucm_multilabel(tmp_path) / "LandUse_Multilabeled.txt"
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode(), 1))
    with pytest.raises(UserError) as caught:
        recognise(path.parent)
    assert sentence in str(caught.value)


@pytest.mark.plain
def test_multilabel_sets_that_are_ambiguous(tmp_path: Path) -> None:
    folder = write_ucm_multilabel(tmp_path)
    shutil.copy(folder / "LandUse_Multilabeled.txt", folder / "Images" / "multilabels.txt")
    with pytest.raises(UserError, match="one table of labels"):
        recognise(folder)
    (folder / "Images" / "multilabels.txt").unlink()
    save(folder / "images" / "beach00.tif", texture(0, 0))
    with pytest.raises(UserError, match="image 'beach00' must be there once"):
        recognise(folder)


# Brazilian Coffee Scenes


def test_coffee_folds(tmp_path: Path) -> None:
    folder = write_coffee(tmp_path)
    for place in (tmp_path, folder):
        manifest = recognise(place)
        assert manifest.layout == "brazilian-coffee"
        assert manifest.band_names == ("G", "R", "NIR")
        assert manifest.classes == ["coffee", "noncoffee"]
        assert manifest.findings == ()
        assert Counter(manifest.table["fold"]) == dict.fromkeys("12345", 4)
        assert column(manifest, "label")["fold2/area.2.tile.1.jpg"] == "noncoffee"
        assert column(manifest, "fold")["fold2/area.2.tile.1.jpg"] == "2"
    assert check(manifest).errors == ()


def test_broken_lines_of_folds_are_errors_with_file_and_line(tmp_path: Path) -> None:
    folder = write_coffee(tmp_path)
    (folder / "fold3" / "area.3.tile.0.jpg").unlink()
    with (folder / "fold1.txt").open("a") as lines:
        lines.write("\ntea.area.1.tile.0\ncoffee.area.1.tile.1\ncoffee\n")
    save(folder / "fold5" / "extra.jpg", texture(0, 0))
    save(folder / "preview.png", texture(0, 1))
    manifest = recognise(folder)
    found = {(f.code, f.path, f.message.partition(":")[0]) for f in manifest.findings}
    assert found == {
        ("broken-fold", "fold3.txt", "line 1"),
        ("broken-fold", "fold1.txt", "line 6"),
        ("broken-fold", "fold1.txt", "line 7"),
        ("broken-fold", "fold1.txt", "line 8"),
        ("not-in-a-list", "fold5/extra.jpg", "left out"),
        ("foreign-file", "preview.png", "left out"),
    }
    assert {f.level for f in manifest.findings if f.code == "broken-fold"} == {"error"}
    assert len(manifest.table) == 19


# BigEarthNet

LABELS_1 = (
    ("Continuous urban fabric", "Discontinuous urban fabric", "Airports"),
    ("Sea and ocean", "Peatbogs"),
    ("Airports",),
)


def test_bigearthnet_version_1(tmp_path: Path) -> None:
    folder = write_bigearthnet_1(tmp_path, LABELS_1)
    (folder / "train.csv").write_text("S2A_MSIL2A_20170613T101031_0_45\n")
    (folder / "test.csv").write_text("S2A_MSIL2A_20170613T101031_1_45\n")
    manifest = recognise(folder)
    assert (manifest.layout, manifest.multilabel) == ("bigearthnet-s2", True)
    labels = manifest.table["label"].tolist()
    assert labels == ["Urban fabric", "Inland wetlands|Marine waters", ""]
    assert manifest.table["split"].tolist() == ["train", "test", ""]
    assert ("warning", "no-label", "S2A_MSIL2A_20170613T101031_2_45") in told(manifest)
    image = decode(manifest.file(manifest.table["path"][0]))
    assert image.shape == (12, 12, len(manifest.band_names))
    assert check(manifest).table["status"].tolist() == ["ok"] * 3
    alone = recognise(folder / manifest.table["path"][1])
    assert alone.table["label"].tolist() == labels[1:2]
    assert recognise(tmp_path).table["label"].tolist() == labels


def test_bigearthnet_version_2(tmp_path: Path) -> None:
    labels = (("Pastures", "Transitional woodland, shrub"), ("Marine waters",))
    manifest = recognise(write_bigearthnet_2(tmp_path, labels, ("train", "validation")))
    assert manifest.table["label"].tolist() == ["|".join(labels[0]), "Marine waters"]
    assert manifest.table["split"].tolist() == ["train", "val"]
    assert manifest.findings == ()
    assert len(recognise(tmp_path, labelled=False).table) == 2


def test_bigearthnet_patches_that_are_not_whole(tmp_path: Path) -> None:
    folder = write_bigearthnet_1(tmp_path, LABELS_1)
    patches = sorted(path for path in folder.iterdir())
    (patches[0] / f"{patches[0].name}_B8A.tif").unlink()
    (patches[1] / f"{patches[1].name}_labels_metadata.json").write_text("{")
    manifest = recognise(folder)
    assert told(manifest) == {
        ("error", "missing-band", patches[0].name),
        ("error", "broken-labels", patches[1].name),
        ("warning", "no-label", patches[2].name),
    }
    assert len(manifest.table) == 1
    content = json.dumps({"labels": ["Moon"]})
    (patches[2] / f"{patches[2].name}_labels_metadata.json").write_text(content)
    with pytest.raises(UserError, match=r"labels of the patches must be in metadata\.parquet"):
        recognise(folder)


@pytest.mark.plain
def test_bigearthnet_tables_that_are_none(tmp_path: Path) -> None:
    write_bigearthnet_2(tmp_path, (("Pastures",),), ("train",))
    table = pd.read_parquet(tmp_path / "metadata.parquet")
    table.drop(columns="labels").to_parquet(tmp_path / "metadata.parquet")
    with pytest.raises(UserError, match=r"metadata\.parquet must be a table with patch_id"):
        recognise(tmp_path)
    (tmp_path / "metadata.parquet").write_bytes(b"x")
    with pytest.raises(UserError, match=r"metadata\.parquet must be a table with patch_id"):
        recognise(tmp_path)


# Real files with random pixels


@pytest.mark.data
@needs_data
@pytest.mark.parametrize("place", ["", TORCHGEO])
def test_real_eurosat_tree(place: str) -> None:
    manifest = recognise(Path(DATA or "", "layouts", "torchgeo", "eurosat", place))
    assert (manifest.layout, manifest.classes) == ("eurosat-13", ["AnnualCrop", "Forest"])
    assert manifest.band_names == tuple(ORDER)
    image = decode(manifest.file(manifest.table["path"][0]))
    assert (image.shape, image.dtype) == ((64, 64, 13), np.uint16)
    unused = [f.code for f in manifest.findings if f.code == "split-lists-unused"]
    assert len(unused) == (place == "")  # three families of lists lie in the top folder


@pytest.mark.data
@needs_data
def test_real_resisc45_tree() -> None:
    manifest = recognise(Path(DATA or "", "layouts", "torchgeo", "resisc45", "NWPU-RESISC45"))
    assert (manifest.layout, len(manifest.table), manifest.findings) == ("resisc45", 9, ())
    assert "baseball_diamond" in manifest.classes
