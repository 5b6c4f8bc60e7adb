"""Stand-ins: public data pass untouched, other names become hashes that stay the same."""

from __future__ import annotations

import csv
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.lesions import (
    picture,
    write_dicom_folder,
    write_ham10000,
    write_isic_2016,
    write_isic_2017,
    write_isic_2018,
    write_isic_2019,
    write_ph2,
)
from fixtures.scenes import save
from likeness.data.decode import decode
from likeness.errors import UserError
from likeness.inference.sources import open_source
from likeness_apps.skin_lesion.layouts import recognise
from likeness_apps.skin_lesion.privacy import stand_ins
from likeness_apps.skin_lesion.privacy.plain_names import hidden_group, hidden_path, is_plain
from likeness_apps.skin_lesion.privacy.pseudonyms import VARIABLE, salt_file
from likeness_apps.skin_lesion.privacy.stand_ins import screen, screen_names, write_key
from likeness_apps.skin_lesion.sample import SAMPLES, write_sample

SALT = "a salt of sixteen characters and more"
NAME = "Zweistein"


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user without a salt."""
    folder = tmp_path_factory.mktemp("settings")
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    return folder


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")}


def write_folders(root: Path) -> Path:
    """Two classes of three images, named after people, with masks, lists and other files."""
    top = root / "clinic"
    for number in range(6):
        label = ("nevus", "melanoma")[number % 2]
        picture(top / label / f"{NAME}_{number}.png", number % 2, number)
    mask = np.zeros((32, 32), np.uint8)
    save(top / "nevus" / f"{NAME}_0_segmentation.png", mask)
    lists = {"train": range(4), "test": range(4, 6)}
    for split, numbers in lists.items():
        (top / f"{split}.txt").write_text("".join(f"{NAME}_{n}.png\n" for n in numbers))
    (top / f"{NAME} letter.pdf").write_text("x")
    (top / ".hidden").write_text("x")
    return top


PUBLIC: dict[str, Callable[[Path], Path]] = {
    "2016": write_isic_2016,
    "2017": write_isic_2017,
    "2018": write_isic_2018,
    "2019": write_isic_2019,
    "ham": write_ham10000,
    "ph2": write_ph2,
    **{
        name: lambda root, name=name: write_sample(root, layout=name, per_class=4, size=(16, 24))
        for name in SAMPLES
    },
}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_sets_pass_untouched(name: str, tmp_path: Path) -> None:
    top = PUBLIC[name](tmp_path)
    assert screen(top) is top
    for image in list(top.rglob("*.jpg"))[:2]:
        assert screen(image) is image
    manifest = recognise(top)
    table = tmp_path / "table.csv"
    manifest.table.to_csv(table, index=False)
    assert screen(table) is table
    assert not salt_file().exists()  # and nothing was made for them


@pytest.mark.parametrize(
    "name",
    [
        *(
            "nevus",
            "Basal cell carcinoma",
            "img_12",
            "IMG_0001",
            "case-7",
            "class 3",
            "BCC",
            "Test",
        ),
        *("ISIC_0024306", "ISIC-2017_Test_v2_Part3_GroundTruth", "HAM10000_images_part_1"),
        *("IMD003_Dermoscopic_Image", "PAT_46_881_939", "PH2 Dataset images", "HAM_0000118"),
        "HAM10000_segmentations_lesion_tschandl",
    ],
)
def test_names_that_name_nobody(name: str) -> None:
    assert is_plain(name)
    assert hidden_path(f"{name}/{name}.jpg", SALT) == f"{name}/{name}.jpg"
    assert hidden_group(name, SALT) == name


@pytest.mark.parametrize(
    "name",
    [
        *("Smith", "nevus_Smith", "case_12345678", "0001", "IM000001", "IMG_20240131_121314"),
        *(
            "lesion 12 03 1970",
            "1.2.840.10008.5",
            "Bowen",
            "Müller",
            "ISIC_1234567890",
            "J S",
            "J. Smith",
        ),
        *("case_ 4711 0815", "", "---", "李", "nevusSmith"),
    ],
)
def test_names_that_may_name_somebody(name: str) -> None:
    assert not is_plain(name)
    if name:
        shown = hidden_path(f"{name}/{name}.jpg", SALT)
        assert name not in shown
        assert shown.startswith("folder-")
        assert shown.endswith(".jpg")
        assert hidden_path(shown, "another salt of some length") == shown


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=4))
def test_every_part_becomes_plain_and_stays_so(parts: list[str]) -> None:
    path = "/".join(parts)
    shown = hidden_path(path, SALT)
    assert hidden_path(shown, SALT) == shown
    assert hidden_path(path, SALT) == shown
    kept = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    if shown != path:
        assert len(shown.split("/")) == len(kept)
        assert shown.isascii()


def test_different_names_stay_different_and_endings_stay(tmp_path: Path) -> None:
    names = [f"{NAME}.jpg", f"{NAME}.JPG", f"{NAME}.png", f"{NAME}", f"{NAME}.dcm", f"{NAME}2.jpg"]
    shown = screen_names(names)
    assert len(set(shown)) == len(names)
    assert [Path(name).suffix for name in shown] == [Path(name).suffix for name in names]
    assert hidden_path(f"a.{NAME}", SALT).count(".") == 0  # no ending: a part of the name
    assert hidden_path(f"{NAME}\\1.jpg", SALT) == hidden_path(f"{NAME}/1.jpg", SALT)


def test_a_folder_of_classes_becomes_the_same_set(tmp_path: Path) -> None:
    top = write_folders(tmp_path)
    shown = screen(top)
    assert shown != top
    assert stat.S_IMODE(shown.parent.stat().st_mode) == 0o700
    assert not any(NAME.lower() in name.lower() for name in names_in(shown))
    real, hidden = recognise(top), recognise(shown)
    assert hidden.layout == real.layout == "folder-per-class"
    by_stand_in = real.table.assign(path=screen_names(real.table["path"].tolist()))
    wanted = by_stand_in.sort_values("path")[["path", "label", "split"]]
    assert (
        hidden.table[["path", "label", "split"]].to_numpy().tolist() == wanted.to_numpy().tolist()
    )
    assert set(hidden.table["split"]) == {"train", "test"}  # the mask is no image
    for path, stand_in in zip(real.table["path"], by_stand_in["path"], strict=True):
        assert (decode(real.file(path)) == decode(hidden.file(stand_in))).all()
    assert NAME not in repr(hidden.findings)
    assert {f.code for f in hidden.findings} == {f.code for f in real.findings}
    mask = next(name for name in names_in(shown) if name.endswith("_segmentation.png"))
    assert mask.removesuffix("_segmentation.png") + ".png" in names_in(shown)


def test_the_same_names_in_another_process_and_nothing_is_left(tmp_path: Path) -> None:
    top = write_folders(tmp_path)
    here = names_in(screen(top))
    code = (
        "import sys; from pathlib import Path; "
        "from likeness_apps.skin_lesion.privacy.stand_ins import screen; "
        "top = screen(Path(sys.argv[1])); print(top); "
        "print(*sorted(path.name for path in top.rglob('*')), sep='\\n')"
    )
    command = [sys.executable, "-c", code, str(top)]
    folder, *names = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ}
    ).stdout.splitlines()
    assert set(names) == here
    assert not Path(folder).parent.exists()
    assert (top / "nevus" / f"{NAME}_0.png").is_file()  # links were removed, not files


def test_dicom_files_with_their_table(tmp_path: Path) -> None:
    top = write_dicom_folder(tmp_path)
    table = pd.read_csv(top / "labels.csv").assign(
        doctor=NAME, group=[f"P{n // 2}" for n in range(6)]
    )
    table.to_csv(top / "labels.csv", index=False)
    real, hidden = recognise(top), recognise(screen(top))
    assert hidden.layout == "dicom-folder"
    assert hidden.findings == real.findings == ()
    assert sorted(hidden.table["path"]) == sorted(screen_names(real.table["path"].tolist()))
    assert hidden.table["group"].nunique() == real.table["group"].nunique() == 3
    assert hidden.table["label"].value_counts().to_dict() == {"nevus": 3, "melanoma": 3}
    again = recognise(screen(top / "labels.csv"))  # the table alone says the same
    assert again.table["path"].tolist() == hidden.table["path"].tolist()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_keep_what_is_known_and_harmless(tmp_path: Path, suffix: str) -> None:
    rows = []
    for number in range(4):
        path = f"{NAME}/{number}_{NAME}.png" if number else "img_0.png"
        picture(tmp_path / path, number % 2, number)
        rows.append({"path": path, "label": f"{NAME} kind {number % 2}", "fold": number % 3})
    frame = pd.DataFrame(rows).assign(
        group=[NAME, NAME, "P1", ""],
        age=["45", "97", NAME, ""],
        sex=["F", "male", NAME, "unknown"],
        localization=["lower extremity", "head/neck", f"near {NAME}", ""],
        skin_type=["IV", "3", NAME, ""],
        split=["train", "test", "", ""],
        doctor=NAME,
        notes="",
    )
    table = tmp_path / f"{NAME}{suffix}"
    frame.to_csv(table, index=False) if suffix == ".csv" else frame.to_parquet(table)
    shown = screen(table)
    assert NAME not in str(shown)
    manifest = recognise(shown)
    found = manifest.table.set_index("path").loc[screen_names(frame["path"].tolist())]
    assert found.index[0] == "img_0.png"
    assert found["label"].tolist() == frame["label"].tolist()  # what somebody calls a class
    assert found["fold"].astype(str).tolist() == ["0", "1", "2", "0"]
    assert found["age"].tolist() == ["45", "90", "unknown", ""]
    assert found["sex"].tolist() == ["F", "male", "unknown", "unknown"]
    assert found["localization"].tolist() == ["lower extremity", "head/neck", "unknown", ""]
    assert found["skin_type"].tolist() == ["IV", "3", "unknown", ""]
    assert found["split"].tolist() == ["train", "test", "", ""]
    groups = found["group"].tolist()
    assert groups[0] == groups[1] != groups[2]
    assert groups[3] == found.index[3]
    assert "doctor" not in found
    text = found.drop(columns="label").to_csv()
    assert NAME not in text
    assert "P1" not in text
    for path, stand_in in zip(frame["path"], found.index, strict=True):
        assert (decode(tmp_path / path) == decode(manifest.file(stand_in))).all()
    assert list(open_source(shown).paths()) == found.index.tolist()


def test_a_table_with_paths_out_of_its_folder_missing_and_double(tmp_path: Path) -> None:
    picture(tmp_path / "other" / f"{NAME}.png", 0, 0)
    paths = [f"../other/{NAME}.png", "gone.png", f"../other/{NAME}.png", str(tmp_path / "img.png")]
    (tmp_path / "set").mkdir()
    table = tmp_path / "set" / "t.csv"
    pd.DataFrame({"path": paths}).to_csv(table, index=False)
    shown = screen(table)
    listed = list(open_source(shown).paths())
    assert listed[0] == listed[2]
    assert decode(shown.parent / listed[0]).shape == (32, 32, 3)
    assert not (shown.parent / listed[1]).exists()
    assert not any(NAME in name for name in listed)


def test_a_public_set_with_a_letter_stays_one(tmp_path: Path) -> None:
    top = write_ham10000(tmp_path, table="HAM10000_metadata.csv")
    real = recognise(top).table
    (top / f"{NAME} letter.pdf").write_text("x")
    hidden = recognise(screen(top))
    assert hidden.layout == "ham10000"
    assert hidden.table.equals(real)
    assert [f.code for f in hidden.findings] == ["foreign-file"]
    assert NAME not in hidden.findings[0].path


def test_a_table_that_is_called_like_an_archives_is_no_exception(tmp_path: Path) -> None:
    top = write_dicom_folder(tmp_path)
    frame = pd.read_csv(top / "labels.csv").assign(doctor=NAME)
    (top / "labels.csv").unlink()
    (top / frame["path"][0]).rename(top / f"{NAME}.dcm")
    frame.loc[0, "path"] = f"{NAME}.dcm"
    frame.to_csv(top / "isic_labels.csv", index=False)
    hidden = recognise(screen(top))
    assert set(hidden.table["path"]) == set(screen_names(frame["path"].tolist()))
    assert all(hidden.file(path).is_file() for path in hidden.table["path"])


def test_one_image_and_a_folder_of_patients(tmp_path: Path) -> None:
    image = picture(tmp_path / NAME / "visit 1" / f"{NAME}.png", 0, 0)
    shown = screen(image)
    assert shown.name.startswith("image-")
    assert shown.suffix == ".png"
    assert (decode(shown) == decode(image)).all()
    (path,) = open_source(screen(tmp_path)).paths()
    first, second, last = path.split("/")
    assert first.startswith("folder-")
    assert second.startswith("folder-")
    assert last == shown.name  # the same image has the same name


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    picture(tmp_path / "nevus" / f"{NAME}.png", 0, 0)
    (tmp_path / "nevus" / "again").symlink_to(tmp_path)
    assert len([path for path in screen(tmp_path).rglob("*") if path.is_file()]) == 1


def test_a_place_without_links_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(1, "Operation not permitted")

    image = picture(tmp_path / f"{NAME}.png", 0, 0)
    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(UserError, match="where no links can be made") as caught:
        screen(image)
    assert NAME not in str(caught.value)


def test_the_key_is_private_and_replaces_nothing(tmp_path: Path) -> None:
    top, out = write_folders(tmp_path), tmp_path / "key.csv"
    assert write_key(top, out) == 8  # six images, a mask, a letter
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    with out.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    shown = screen(top)
    for row in rows:
        assert (shown / row["name"]).resolve() == (top / row["path"]).resolve()
    with pytest.raises(UserError, match="which is there"):
        write_key(top, out)
    assert len(rows) == 8
    table = tmp_path / "t.csv"
    pd.DataFrame({"path": [f"clinic/nevus/{NAME}_0.png", "img.png"]}).to_csv(table)
    assert write_key(table, tmp_path / "second.csv") == 1
    image = top / "nevus" / f"{NAME}_0.png"
    assert write_key(image, tmp_path / "third.csv") == 1
    with pytest.raises(UserError, match="an existing folder"):
        write_key(tmp_path / "gone", tmp_path / "fourth.csv")


def test_public_names_are_enough_and_no_file_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        (tmp_path / f"ISIC_{number:07d}.jpg").touch()
    (tmp_path / "HAM10000_metadata.csv").touch()

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a file was opened, asked about, or linked")

    for name in ("open", "is_file", "exists", "stat", "symlink_to"):
        monkeypatch.setattr(Path, name, never)
    monkeypatch.setattr(stand_ins, "load_frame", never)
    assert stand_ins._is_plain_folder(tmp_path)
