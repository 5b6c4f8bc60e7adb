"""Which images belong to one patient or lesion, without saying to whom.

Identifiers of DICOM files, names of groups and names of files leave the data only as HMAC-SHA256
under a salt. The salt is given in the environment (`LIKENESS_SALT`), or made once and kept in the
user's own configuration folder: one for all sets, so that a patient who is in two of them is seen
to be. It is in no report, log, model or manifest. Without it nobody can find a patient's number by
trying all numbers.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from likeness.errors import UserError, require

if TYPE_CHECKING:
    from pydicom import Dataset

VARIABLE = "LIKENESS_SALT"
_LENGTH = 16  # hexadecimal digits: 64 bits, no two patients of a set share them
_LEAST = 16  # characters of a salt
TAGS = ("PatientID", "IssuerOfPatientID", "TrackingUID", "TrackingID", "StudyInstanceUID")


def salt_file() -> Path:
    """Where the salt is kept: `likeness/salt` in $XDG_CONFIG_HOME, else in ~/.config."""
    folder = os.environ.get("XDG_CONFIG_HOME")
    return Path(folder or os.path.expanduser("~/.config")) / "likeness" / "salt"


def own_salt() -> str:
    """The salt that is given in the environment, else the user's own, which is made if need be.

    Raises:
        UserError: if it is too short, or cannot be read or kept.
    """
    given, name = os.environ.get(VARIABLE), VARIABLE
    if given is None:
        given, name = _kept_salt(), str(salt_file())
    rule = f"of at least {_LEAST} characters"
    require(len(given) >= _LEAST, name, rule, f"{len(given)} characters")
    return given


def _kept_salt() -> str:
    file = salt_file()
    try:
        if not file.exists():
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):  # another process made it in this moment
                write_private(file, secrets.token_hex(32) + "\n")
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        rule = f"set, as {file} cannot be kept ({error.strerror})"
        raise UserError(f"{VARIABLE} must be {rule}, got nothing") from error


def write_private(file: Path, text: str) -> None:
    """Write a new file that only its owner may read; it appears whole or not at all.

    Raises:
        FileExistsError: if it is there; it stays as it was.
        OSError: if it cannot be written.
    """
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # of mode 0600
    try:
        with open(handle, "w", encoding="utf-8", errors="backslashreplace", newline="") as written:
            written.write(text)
            written.flush()
            os.fsync(written.fileno())
        os.link(name, file)  # unlike renaming, never replaces a file
    finally:
        os.unlink(name)


def hashed(text: str, salt: str) -> str:
    """A name for `text` that tells nothing of it: HMAC-SHA256 under the salt, 16 digits."""
    data = text.encode("utf-8", "surrogateescape")  # a file's name may be any bytes
    return hmac.new(salt.encode(), data, hashlib.sha256).hexdigest()[:_LENGTH]


def group_of(dataset: Dataset, salt: str) -> str:
    """What must not straddle a split: the patient, else the lesion, else the study.

    Args:
        dataset: with the elements of `TAGS`; those that are missing or empty count as unknown.
        salt: of the user.

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
