"""DICOM files with labels in a table beside them or in the names of their folders.

Patients are groups, by salted hashes; no text of a file or of further columns of the table gets
into the manifest. Paths stay as they are: files must be found (`stand_ins` hides their names).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from likeness.data.class_folders import class_folders, class_manifest, outside_finding, require_two
from likeness.data.decoded import DecodeError
from likeness.data.dicom import is_dicom, read_header
from likeness.data.findings import Finding
from likeness.data.manifest import Manifest
from likeness.data.tables import TABLE_SUFFIXES, read_table
from likeness.errors import require
from likeness_apps.skin_lesion.layouts.lesions import (
    UNKNOWN,
    Known,
    age_text,
    lesion_findings,
    sex_text,
)
from likeness_apps.skin_lesion.privacy.pseudonyms import TAGS, group_of, hashed, lesion_of, own_salt

NAME = "dicom-folder"
SUFFIXES = (".dcm", ".dicom")
_OLDEST = 90  # a higher age names a person almost
_AGE = re.compile(r"^(\d{3})Y$")
_START = 132  # bytes that tell a DICOM file


def find(source: Path, images: Sequence[str], others: Sequence[str]) -> list[str]:
    """The DICOM files: by ending among the images, by content among the others."""
    named = [path for path in images if path.lower().endswith(SUFFIXES)]
    return named + [path for path in others if not path.endswith("/") and _starts(source / path)]


def read(
    source: Path, files: Sequence[str], others: Sequence[str], looked_for: str
) -> tuple[Manifest, list[str]]:
    """The set in `source`.

    Args:
        source: the folder that was given.
        files: the DICOM files in it, relative to it.
        others: all other files in it.
        looked_for: what a person could have given, for messages.

    Returns:
        The manifest, and the files that are no part of it.

    Raises:
        UserError: if there are several tables, or neither a table nor class folders; or about the
            salt.
    """
    tables = [path for path in others if Path(path).suffix.lower() in TABLE_SUFFIXES]
    require(len(tables) < 2, "data", "DICOM files with one table of labels", ", ".join(tables))
    if tables:
        manifest = from_table(source / tables[0])
        listed = {(manifest.root / path).resolve() for path in manifest.table["path"]}
        unlisted = [path for path in files if (source / path).resolve() not in listed]
        rest = [path for path in others if (source / path).resolve() not in listed]
        told = [_unlisted(path) for path in unlisted]
        return manifest.with_findings(*told), [path for path in rest if path != tables[0]]
    root, found, outside = class_folders(files, str(source), looked_for)
    require_two(found, looked_for)
    told = [outside_finding(path) for path in outside]
    return _pseudonymous(class_manifest(source, root, found, NAME, told)), list(others)


def from_table(table: Path) -> Manifest:
    """The DICOM files that a table of `path` and `label` lists; its `group` is hashed, too."""
    return _pseudonymous(read_table(table))


def is_listed(manifest: Manifest) -> bool:
    """Whether the images of a table are DICOM files, by the first one that is there."""
    there = (file for path in manifest.table["path"] if (file := manifest.file(path)).is_file())
    first = next(there, None)
    return first is not None and _starts(first)


def patient_of(file: Path) -> str:
    """The group that an image's patient, or lesion, has in a set; "" if the file names none."""
    if not _starts(file):
        return ""
    return _known(file, own_salt())[0].lesion


def _pseudonymous(manifest: Manifest) -> Manifest:
    """With groups by hash, ages and sexes, and nothing else of the files or of further columns."""
    salt, table = own_salt(), manifest.table
    rows = [_known(manifest.file(path), salt) for path in table["path"]]
    own = table["group"].where(table["group"] != table["path"], "")  # the path stands for no group
    groups = [
        hashed(f"group {given}", salt) if given else row.lesion
        for given, (row, _) in zip(own, rows, strict=True)
    ]
    columns = table[["path", "label", "split"]].assign(
        group=[group or path for path, group in zip(table["path"], groups, strict=True)],
        age=[row.age for row, _ in rows],
        sex=[row.sex for row, _ in rows],
        lesion=[lesion for _, lesion in rows],
    )
    for name, clean in (("age", age_text), ("sex", sex_text)):
        if name in table:
            columns[name] = [clean(str(cell)) for cell in table[name]]
    found = Manifest(manifest.root, columns, NAME, manifest.findings)
    return found.with_findings(*lesion_findings(groups))


def _known(file: Path, salt: str) -> tuple[Known, str]:
    """Group (as `lesion`), age and sex; then the lesion's hash. Nothing of an unreadable file."""
    nothing = Known(age=UNKNOWN, sex=UNKNOWN)
    try:
        if not _starts(file):
            return nothing, ""
        with file.open("rb") as handle:
            header = read_header(handle, (*TAGS, "PatientAge", "PatientSex"))
    except (OSError, DecodeError):  # the check of all files says why
        return nothing, ""
    age = _AGE.match(str(header.get("PatientAge")))
    known = Known(
        lesion=group_of(header, salt),
        age=str(min(int(age[1]), _OLDEST)) if age else UNKNOWN,
        sex=sex_text(str(header.get("PatientSex"))),
    )
    return known, lesion_of(header, salt)


def _starts(file: Path) -> bool:
    try:
        with file.open("rb") as handle:
            return is_dicom(handle.read(_START))
    except OSError:
        return False


def _unlisted(path: str) -> Finding:
    message, advice = "left out: the table does not list it", "add a line if it belongs to the set"
    return Finding("warning", "not-in-the-table", path, message, advice)
