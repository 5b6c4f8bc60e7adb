"""Which images belong to one patient or lesion, without saying to whom.

Identifiers of DICOM files leave this module only as HMAC-SHA256 under a salt. The salt is given in
the environment (`LIKENESS_SALT`), or made once per set and kept in a hidden file beside the data,
which is as private as the identifiers in it. It is in no report, log, model or manifest. Without it
nobody can find a patient's number by trying all numbers.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from likeness.errors import UserError, require
from likeness.files import atomic_path

if TYPE_CHECKING:
    from pydicom import Dataset

VARIABLE = "LIKENESS_SALT"
SALT_FILE = ".likeness-salt"
_LENGTH = 16  # hexadecimal digits: 64 bits, no two patients of a set share them
_LEAST = 16  # characters of a salt
TAGS = ("PatientID", "IssuerOfPatientID", "TrackingUID", "TrackingID", "StudyInstanceUID")


def salt_of(folder: Path) -> str:
    """The salt of the set in `folder`; made and kept there if there is none.

    Raises:
        UserError: if the one that is given is too short, or none can be kept.
    """
    given = os.environ.get(VARIABLE)
    file = folder / SALT_FILE
    if given is None and file.is_file():
        given = file.read_text(encoding="ascii", errors="replace").strip()
    if given is not None:
        rule = f"of at least {_LEAST} characters"
        require(len(given) >= _LEAST, VARIABLE, rule, f"{len(given)} characters")
        return given
    made = secrets.token_hex(32)
    try:
        with atomic_path(file) as temporary:
            temporary.write_text(made + "\n", encoding="ascii")
        file.chmod(0o600)
    except UserError as error:
        rule = f"set, as no file can be written to {folder}"
        raise UserError(f"{VARIABLE} must be {rule}, got nothing") from error
    return made


def hashed(text: str, salt: str) -> str:
    """A name for `text` that tells nothing of it: HMAC-SHA256 under the salt, 16 digits."""
    return hmac.new(salt.encode(), text.encode(), hashlib.sha256).hexdigest()[:_LENGTH]


def group_of(dataset: Dataset, salt: str) -> str:
    """What must not straddle a split: the patient, else the lesion, else the study.

    Args:
        dataset: with the elements of `TAGS`; those that are missing or empty count as unknown.
        salt: of the set.

    Returns:
        `hashed` identifiers; "" if the file has none of them.
    """
    patient = _text(dataset, "PatientID")
    if patient:
        return hashed(f"patient {_text(dataset, 'IssuerOfPatientID')} {patient}", salt)
    study = _text(dataset, "StudyInstanceUID")
    return lesion_of(dataset, salt) or (hashed(f"study {study}", salt) if study else "")


def lesion_of(dataset: Dataset, salt: str) -> str:
    """The tracked lesion as `hashed`; "" if the file names none."""
    tracked = _text(dataset, "TrackingUID") or _text(dataset, "TrackingID")
    return hashed(f"lesion {tracked}", salt) if tracked else ""


def _text(dataset: Dataset, name: str) -> str:
    try:
        return str(dataset.get(name) or "").strip()
    except Exception:  # a value that breaks its own format is no identifier
        return ""
