"""DICOM files with labels beside them: patients as groups, and no name anywhere."""

from __future__ import annotations

import io
import json
import stat
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from pydicom import Dataset
from pydicom.datadict import DicomDictionary, keyword_for_tag

from fixtures.lesions import dicom_bytes, write_dicom_folder
from fixtures.scenes import texture
from likeness.data.checks import check
from likeness.data.decode import DecodeError, decode
from likeness.errors import UserError
from likeness.provenance import collect_provenance, hash_table
from likeness_apps.skin_lesion.layouts import recognise
from likeness_apps.skin_lesion.privacy import pseudonyms
from likeness_apps.skin_lesion.privacy.pseudonyms import (
    VARIABLE,
    group_of,
    lesion_of,
    own_salt,
    salt_file,
)

SALT = "a salt of sixteen characters and more"
NAME = "ZWEISTEIN"


@pytest.fixture(autouse=True)
def no_salt(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("settings")))


def told(manifest):
    return {(f.level, f.code, f.path) for f in manifest.findings}


def groups_of(manifest):
    return manifest.table["group"].tolist()


@pytest.mark.parametrize("table", [True, False])
def test_patients_are_groups(tmp_path: Path, table: bool) -> None:
    top = write_dicom_folder(tmp_path, table=table)
    manifest = recognise(top)
    assert (manifest.layout, manifest.findings) == ("dicom-folder", ())
    assert Counter(manifest.table["label"]) == {"nevus": 3, "melanoma": 3}
    stems = (Path(path).stem for path in manifest.table["path"])
    by_file = dict(zip(stems, groups_of(manifest), strict=True))
    names = [by_file[f"IM{number:06d}"] for number in range(6)]
    assert names[0] == names[1] != names[2] == names[3] != names[4] == names[5]
    assert all(len(name) == 16 and set(name) <= set("0123456789abcdef") for name in names)
    assert set(manifest.table["age"]) == {"45"}
    assert set(manifest.table["sex"]) == {"female"}
    assert check(manifest).errors == ()
    assert groups_of(recognise(top)) == groups_of(manifest)  # the salt was kept


def test_the_salt_decides_and_is_kept_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = write_dicom_folder(tmp_path)
    own = groups_of(recognise(top))
    file = salt_file()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [path.name for path in file.parent.iterdir()] == ["salt"]
    assert not list(top.rglob(".*"))  # nothing beside the data
    made = file.read_text().strip()
    monkeypatch.setenv(VARIABLE, SALT)
    given = groups_of(recognise(top))
    assert not set(given) & set(own)
    monkeypatch.setenv(VARIABLE, made)
    assert groups_of(recognise(top)) == own
    assert made not in recognise(top).table.to_csv()


@pytest.mark.plain
def test_salts_that_will_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"LIKENESS_SALT must be set, as .*salt cannot be kept"):
        own_salt()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    salt_file().parent.mkdir()
    salt_file().write_text("brief\n")
    for place in ("salt", VARIABLE):
        with pytest.raises(UserError) as caught:
            own_salt()
        assert "must be of at least 16 characters, got '5 characters'" in str(caught.value)
        assert place in str(caught.value)
        assert "brief" not in str(caught.value)
        monkeypatch.setenv(VARIABLE, "brief")


def test_a_patient_in_two_sets_is_seen_to_be(tmp_path: Path) -> None:
    one, other = (recognise(write_dicom_folder(tmp_path / name)) for name in "ab")
    assert set(groups_of(one)) == set(groups_of(other))


def test_the_salt_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that makes it between the look and the writing wins."""
    made = []

    def late(file: Path, text: str) -> None:
        file.write_text(SALT)
        made.append(text)
        raise FileExistsError(str(file))

    monkeypatch.setattr(pseudonyms, "write_private", late)
    assert own_salt() == SALT == own_salt()
    assert len(made) == 1


def test_group_is_the_patient_else_the_lesion_else_the_study() -> None:
    one = Dataset()
    assert (group_of(one, SALT), lesion_of(one, SALT)) == ("", "")
    one.StudyInstanceUID = "1.2.3"
    study = group_of(one, SALT)
    one.TrackingUID = "1.2.4"
    lesion = group_of(one, SALT)
    assert lesion == lesion_of(one, SALT)
    one.PatientID = " P1 "
    patient = group_of(one, SALT)
    assert len({study, lesion, patient, ""}) == 4
    other = Dataset()
    other.PatientID = "P1"
    assert group_of(other, SALT) == patient
    assert group_of(other, SALT + "x") != patient
    other.IssuerOfPatientID = "another clinic"  # which counts its own patients from 1
    assert group_of(other, SALT) != patient


def test_files_without_identifiers_and_files_that_are_not_listed(tmp_path: Path) -> None:
    top = write_dicom_folder(tmp_path, PatientID="", PatientAge="", PatientSex="O")
    (top / "IM000009").write_bytes(dicom_bytes(texture(0, 9)))
    (top / "IM000003.dcm").write_bytes(dicom_bytes(texture(0, 3))[:400])
    (top / "notes.txt").write_text("x")
    manifest = recognise(top)
    assert groups_of(manifest) == manifest.table["path"].tolist()
    assert set(manifest.table["age"]) | set(manifest.table["sex"]) == {"unknown"}
    assert told(manifest) == {
        ("warning", "no-lesion-ids", ""),
        ("warning", "not-in-the-table", "IM000009"),
        ("warning", "foreign-file", "notes.txt"),
    }
    assert {f.path for f in check(manifest).errors} == {"IM000003.dcm"}


def planted(**more: object) -> bytes:
    """An image with the name in every text element of the dictionary that takes it."""
    elements: dict[str, object] = {}
    for tag, (kind, many, _, retired, _) in DicomDictionary.items():
        keyword = keyword_for_tag(tag)
        if keyword and not retired and (tag >> 16) not in (0x0000, 0x0002, 0x7FE0):
            text = {"PN": f"{NAME}^JANE", "AS": None, "UI": None}.get(kind, NAME)
            if kind in ("PN", "LO", "SH", "ST", "LT", "UT", "UC", "CS", "AE") and text:
                elements[keyword] = text
            del many
    elements |= {"SpecificCharacterSet": "ISO_IR 192", "PhotometricInterpretation": "RGB"}
    return dicom_bytes(texture(1, 1), **(elements | more))


def test_a_name_in_every_text_element_and_column_goes_nowhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    data = planted()
    assert data.count(NAME.encode()) > 500
    for number in range(4):
        (tmp_path / f"{number}.dcm").write_bytes(planted(SeriesNumber=number))
    (tmp_path / "4.dcm").write_bytes(data[: len(data) // 2])
    (tmp_path / "5.dcm").write_bytes(planted(PhotometricInterpretation=NAME))
    rows = [{"path": f"{n}.dcm", "label": f"kind {n % 2}", "doctor": NAME} for n in range(6)]
    pd.DataFrame(rows).assign(group=NAME, age=NAME, sex=NAME).to_csv(tmp_path / "t.csv")
    with caplog.at_level("DEBUG"):
        for place in (tmp_path, tmp_path / "t.csv"):
            manifest = recognise(place)
            result = check(manifest)
            table = result.table[[*manifest.table.columns, "status", "reason"]]
            facts = collect_provenance(seed=0, data_hash=hash_table(manifest.table), command=["x"])
            seen = [table.to_csv(), repr(result.findings), json.dumps(facts), caplog.text]
            seen += [*capfd.readouterr()]
            assert not any(NAME in text for text in seen)
    assert (result.table["status"] == "ok").sum() == 4
    assert manifest.table["group"].nunique() == 1  # the column of the table, hashed
    with pytest.raises(DecodeError) as caught:
        decode((tmp_path / "5.dcm").read_bytes())
    assert NAME not in str(caught.value)


def test_a_broken_identifier_is_no_identifier() -> None:
    data = dicom_bytes(texture(0, 0), PatientID="P1").replace(b"P1", b"\xff\xfe")
    from likeness.data.dicom import read_header
    from likeness_apps.skin_lesion.privacy.pseudonyms import TAGS

    assert NAME not in group_of(read_header(io.BytesIO(data), TAGS), SALT)


@pytest.mark.plain
def test_two_tables_and_no_labels(tmp_path: Path) -> None:
    top = write_dicom_folder(tmp_path)
    (top / "more.csv").write_text("path,label\n")
    with pytest.raises(UserError, match="DICOM files with one table of labels"):
        recognise(top)
    (top / "more.csv").unlink()
    (top / "labels.csv").unlink()
    with pytest.raises(UserError, match="images lie in no class folder"):
        recognise(top)
