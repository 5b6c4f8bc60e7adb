import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from fixtures.scenes import (
    save,
    texture,
    write_aid,
    write_folders,
    write_rsscn7,
    write_table,
    write_ucmerced,
)
from likeness.data.checks import check
from likeness.errors import UserError
from likeness_apps.remote_sensing.layouts import recognise
from likeness_apps.remote_sensing.layouts.named import AID, RSSCN7, UC_MERCED

DATA = os.environ.get("LIKENESS_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="LIKENESS_DATA is unset")


def told(manifest):
    return {(f.level, f.code, f.path) for f in manifest.findings}


def row(manifest, path):
    (found,) = manifest.table[manifest.table["path"] == path].to_dict("records")
    return found


def test_uc_merced_from_every_folder_around_it(tmp_path):
    top = write_ucmerced(tmp_path)
    inner = recognise(top / "Images")
    assert inner.layout == "uc-merced"
    assert inner.classes == ["agricultural", "airplane", "beach"]
    assert len(inner.table) == 12
    zero = row(inner, "agricultural/agricultural00.tif")
    assert zero["label"] == "agricultural"
    assert zero["group"] == "agricultural/agricultural00.tif"  # an image is its own group
    for place in (tmp_path, top):
        manifest = recognise(place)
        assert manifest.root == inner.root == top / "Images"
        assert manifest.table.equals(inner.table)
    assert told(inner) == set()
    assert told(recognise(top)) == {("warning", "foreign-file", "readme.txt")}


def test_aid_from_every_folder_around_it(tmp_path):
    top = write_aid(tmp_path, per_class=21)
    manifest = recognise(top)
    assert manifest.layout == "aid"
    assert manifest.classes == ["Airport", "BareLand", "Beach"]
    assert recognise(tmp_path).table.equals(manifest.table)
    blocks = {n: row(manifest, f"Airport/airport_{n}.jpg")["group"] for n in (1, 10, 11, 20, 21)}
    assert blocks == {
        1: "Airport/block-0",
        10: "Airport/block-0",
        11: "Airport/block-1",
        20: "Airport/block-1",
        21: "Airport/block-2",
    }
    assert manifest.findings == ()


def test_rsscn7_from_every_folder_around_it(tmp_path):
    top = write_rsscn7(tmp_path)
    for place in (tmp_path, top):
        manifest = recognise(place)
        assert manifest.layout == "rsscn7"
        assert manifest.classes == ["aGrass", "bField", "cIndustry"]
        assert row(manifest, "aGrass/a001.jpg")["group"] == "aGrass/a001.jpg"


@pytest.mark.parametrize("writer", [write_ucmerced, write_aid, write_rsscn7])
def test_fixtures_pass_their_own_check(tmp_path, writer):
    assert check(recognise(writer(tmp_path))).errors == ()


def test_class_lists_have_the_published_lengths():
    assert (len(AID.classes), len(UC_MERCED.classes), len(RSSCN7.classes)) == (30, 21, 7)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_any_folder_per_class(tmp_path, suffix):
    top = write_folders(tmp_path, suffix=suffix)
    manifest = recognise(top)
    assert manifest.layout == "folder-per-class"
    assert manifest.root == top
    assert manifest.classes == ["lake", "town"]
    assert Counter(manifest.table["label"]) == {"lake": 4, "town": 4}
    assert set(manifest.table["split"]) == {""}
    assert recognise(tmp_path).table.equals(manifest.table)


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Train", "validation", "testing")])
def test_splits_from_folders(tmp_path, names):
    manifest = recognise(write_folders(tmp_path, splits=names))
    assert manifest.layout == "folder-per-class"
    assert manifest.classes == ["lake", "town"]
    assert Counter(manifest.table["split"]) == {"train": 8, "val": 8, "test": 8}
    assert row(manifest, f"{names[1]}/lake/0.png")["split"] == "val"


def test_one_split_folder_is_a_set_of_its_own(tmp_path):
    top = write_folders(tmp_path, splits=("train", "test"))
    manifest = recognise(top / "train")
    assert set(manifest.table["split"]) == {""}
    assert manifest.table["path"].tolist()[0] == "lake/0.png"


def test_aid_below_split_folders_keeps_its_blocks(tmp_path):
    top = write_aid(tmp_path, per_class=4)
    for split, numbers in (("train", (1, 2)), ("test", (3, 4))):
        for name in ("Airport", "BareLand", "Beach"):
            (top / split / name).mkdir(parents=True)
            for n in numbers:
                file = f"{name.lower()}_{n}.jpg"
                shutil.move(top / name / file, top / split / name / file)
    manifest = recognise(top)
    assert manifest.layout == "aid"
    assert row(manifest, "test/Beach/beach_3.jpg")["group"] == "Beach/block-0"
    leaks = {f.code for f in check(manifest).errors}
    assert leaks == {"group-in-several-splits"}


LINES = {
    "names": "{name}{n:02d}.tif",
    "paths": "{name}/{name}{n:02d}.tif",
    "long paths": "./Images/{name}/{name}{n:02d}.tif",
    "windows paths": "{name}\\{name}{n:02d}.tif",
    "other endings": "{name}{n:02d}.jpg",
    "no endings": "{name}{n:02d}",
    "labels behind": "{name}/{name}{n:02d}.tif 3",
}


@pytest.mark.parametrize("form", LINES)
@pytest.mark.parametrize("prefix", ["", "uc_merced-", "my_"])
def test_splits_from_lists(tmp_path, form, prefix):
    top = write_ucmerced(tmp_path)
    for split, numbers in (("train", (0, 1)), ("val", (2,)), ("test", (3,))):
        lines = [
            LINES[form].format(name=name, n=n)
            for name in ("agricultural", "airplane", "beach")
            for n in numbers
        ]
        (top / f"{prefix}{split}.txt").write_text("\r\n".join([*lines, ""]))
    manifest = recognise(top)
    assert Counter(manifest.table["split"]) == {"train": 6, "val": 3, "test": 3}
    assert row(manifest, "beach/beach02.tif")["split"] == "val"
    assert told(manifest) == {("warning", "foreign-file", "readme.txt")}


def test_lists_that_name_too_much_or_too_little(tmp_path):
    top = write_ucmerced(tmp_path)
    (top / "train.txt").write_text("airplane00.tif\nairplane99.tif\n\n/\n")
    (top / "test.txt").write_text("airplane01.tif\n")
    manifest = recognise(top)
    assert Counter(manifest.table["split"]) == {"": 10, "train": 1, "test": 1}
    messages = {f.code: f.message for f in manifest.findings}
    assert messages["list-without-image"].startswith("2 names are no image of the set")
    assert "'airplane99.tif'" in messages["list-without-image"]
    assert messages["not-in-a-list"] == "10 images are in none of the split lists"


def test_a_bare_name_that_two_classes_share_names_none(tmp_path):
    top = write_folders(tmp_path)
    (top / "train.txt").write_text("0.png\nlake/1.png\n")
    manifest = recognise(top)
    assert manifest.table.loc[manifest.table["split"] != "", "path"].tolist() == ["lake/1.png"]
    assert any("'0.png'" in f.message for f in manifest.findings)


def test_overlapping_lists_are_an_error_and_not_used(tmp_path):
    top = write_ucmerced(tmp_path)
    (top / "train.txt").write_text("airplane00.tif\nairplane01.tif\n")
    (top / "test.txt").write_text("airplane01.tif\n")
    manifest = recognise(top)
    assert set(manifest.table["split"]) == {""}
    (error,) = [f for f in manifest.findings if f.level == "error"]
    assert (error.code, error.path) == ("split-lists-overlap", "test.txt")
    assert "'airplane01.tif'" in error.message


def test_several_families_of_lists_are_told_and_not_used(tmp_path):
    top = write_ucmerced(tmp_path)
    for name in ("a-train.txt", "a-test.txt", "b-train.txt", "b-test.txt"):
        (top / name).write_text("airplane00.tif\n")
    manifest = recognise(top)
    assert set(manifest.table["split"]) == {""}
    (finding,) = [f for f in manifest.findings if f.code == "split-lists-unused"]
    assert "a-train.txt" in finding.message


def test_lists_do_not_overrule_folders(tmp_path):
    top = write_folders(tmp_path, splits=("train", "test"))
    (top / "train.txt").write_text("test/lake/0.png\n")
    manifest = recognise(top)
    assert Counter(manifest.table["split"]) == {"train": 8, "test": 8}
    assert told(manifest) == {("warning", "split-lists-unused", "")}


def test_unrelated_text_files_change_nothing(tmp_path):
    top = write_folders(tmp_path)
    (top / "test.txt").write_text("hello world\n")
    manifest = recognise(top)
    assert set(manifest.table["split"]) == {""}
    assert told(manifest) == {("warning", "list-without-image", "test.txt")}


def test_foreign_files_are_left_out_and_told(tmp_path):
    top = write_aid(tmp_path)
    for name in ("Thumbs.db", "labels.csv", ".DS_Store", "Airport/notes.txt"):
        (top / name).write_text("x")
    (top / "__MACOSX").mkdir()
    save(top / "__MACOSX" / "airport_1.jpg", texture(0, 0))
    save(top / "Airport" / "Bombay_3.jpg", texture(0, 99))
    save(top / "preview.png", texture(0, 98))
    manifest = recognise(top)
    assert len(manifest.table) == 36
    assert {(level, code) for level, code, _ in told(manifest)} == {("warning", "foreign-file")}
    assert {f.path for f in manifest.findings} == {
        "Thumbs.db",
        "labels.csv",
        ".DS_Store",
        "Airport/notes.txt",
        "__MACOSX/",
        "Airport/Bombay_3.jpg",
        "preview.png",
    }


def test_a_class_of_the_users_own_is_kept_beside_known_ones(tmp_path):
    top = write_aid(tmp_path)
    for n in range(3):
        save(top / "Docks" / f"dock-{n}.png", texture(7, n))
    manifest = recognise(top)
    assert manifest.layout == "aid"
    assert row(manifest, "Docks/dock-0.png")["group"] == "Docks/dock-0.png"
    assert told(manifest) == {("warning", "unknown-class", "Docks")}


def test_class_names_of_aid_with_other_file_names_are_folders_per_class(tmp_path):
    top = tmp_path / "mine"
    for kind, name in enumerate(("Airport", "Beach")):
        for n in range(3):
            save(top / name / f"scene-{n}.jpg", texture(kind, n))
    assert recognise(top).layout == "folder-per-class"


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_table(tmp_path, form):
    manifest = recognise(write_table(tmp_path, form, splits=("train", "test")))
    assert manifest.layout == "table"
    assert check(manifest).errors == ()


def test_without_labels_anything_with_images_will_do(tmp_path):
    top = write_aid(tmp_path)
    assert set(recognise(top, labelled=False).table["label"]) == {""}
    assert len(recognise(top / "Airport", labelled=False).table) == 12
    alone = recognise(top / "Airport" / "airport_1.jpg", labelled=False)
    assert alone.table["path"].tolist() == ["airport_1.jpg"]
    (tmp_path / "t.csv").write_text("path\nAID/Airport/airport_1.jpg\n")
    assert recognise(tmp_path / "t.csv", labelled=False).layout == "table"


@pytest.mark.plain
def test_what_is_no_data_is_told_in_one_sentence(tmp_path):
    def sentence(path):
        with pytest.raises(UserError) as caught:
            recognise(path)
        text = str(caught.value)
        assert "\n" not in text
        return text

    assert sentence(tmp_path / "none").startswith("data must be an existing folder or table, got")
    assert sentence(tmp_path).startswith("data must be a folder with image files in it, got")
    (tmp_path / "set.zip").write_bytes(b"PK")
    assert "(archives must be unpacked)" in sentence(tmp_path / "set.zip")

    flat = tmp_path / "flat"
    save(flat / "1.png", texture(0, 0))
    assert "AID (Airport/airport_1.jpg), UC Merced" in sentence(flat)
    assert "images lie in no class folder" in sentence(flat)

    single = tmp_path / "single"
    save(single / "images" / "1.png", texture(0, 0))
    assert "the single folder 'images'" in sentence(single)

    both = tmp_path / "both"
    write_aid(both)
    write_ucmerced(both)
    assert sentence(both).endswith("several levels: AID, UCMerced_LandUse/Images")

    mixed = tmp_path / "mixed"
    write_folders(mixed, per_class=2)
    for n in range(4):
        save(mixed / "scenes" / f"{n}.png", texture(1, n))
    assert "images beside class folders" in sentence(mixed / "scenes")


@pytest.mark.data
@needs_data
@pytest.mark.parametrize("place", ["aid", "aid/AID"])
def test_real_aid(place):
    manifest = recognise(Path(DATA, place))
    assert (manifest.layout, len(manifest.table), len(manifest.classes)) == ("aid", 2100, 30)
    assert set(manifest.classes) == AID.classes
    assert manifest.table["group"].nunique() == 30 * 7
    assert manifest.findings == ()


@pytest.mark.data
@needs_data
@pytest.mark.parametrize(
    "place", ["ucmerced", "ucmerced/UCMerced_LandUse", "ucmerced/UCMerced_LandUse/Images"]
)
def test_real_uc_merced_files(place):
    manifest = recognise(Path(DATA, "layouts", "torchgeo", place))
    assert (manifest.layout, manifest.classes) == ("uc-merced", ["agricultural", "airplane"])
    assert manifest.table["path"].tolist()[0] == "agricultural/agricultural00.tif"
    # That tree's three lists name the same files, as lists of a real set never may.
    overlaps = {f.path for f in manifest.findings if f.level == "error"}
    assert overlaps == (
        {"uc_merced-val.txt", "uc_merced-test.txt"} if place == "ucmerced" else set()
    )
    sizes = check(manifest).table[["height", "width"]].to_numpy().tolist()
    assert [249, 256] in sizes  # not every image is 256 x 256


@pytest.mark.data
@needs_data
def test_several_real_sets_at_once_are_refused():
    with pytest.raises(UserError, match="several levels: eurosat/"):
        recognise(Path(DATA, "layouts", "torchgeo"))
