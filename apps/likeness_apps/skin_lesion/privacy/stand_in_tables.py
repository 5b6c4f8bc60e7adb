"""What of a table of images can be shown: known columns, and of these what names nobody."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd

from likeness.data.manifest import split_name
from likeness_apps.skin_lesion.layouts.lesions import UNKNOWN, age_text, sex_text
from likeness_apps.skin_lesion.privacy.plain_names import (
    hidden_group,
    hidden_path,
    is_phrase,
    is_plain,
)

PATHS = ("path", "image", "image_id", "filename", "file", "name", "mask", "twin")
_GROUPS = ("group", "lesion", "lesion_id", "patient", "patient_id")
_AGES = ("age", "age_approx", "age_approximate")
_PLACES = ("localization", "site", "anatom_site_general")
_SKIN_TYPES = ("skin_type", "fitzpatrick_skin_type", "fitzpatrick")
_PHRASES = ("diagnosis", "dx", "dx_type")
# Labels are what their writer calls classes; the others are what `inspect` writes of files.
_AS_THEY_ARE = (
    *("label", "labels", "sha256", "pixels", "dtype", "status", "width", "height", "bands"),
    *("left", "bottom", "right", "top", "resolution"),
)
OLDEST = 90  # a higher age names a person almost
_SKIN_TYPE = re.compile(r"^(?:[1-6]|I{1,3}|IV|VI?)$", re.IGNORECASE)
_SITE_LIST = """
head neck face scalp ear nose lip lips cheek forehead eyelid trunk torso anterior posterior
lateral medial upper lower extremity extremities limb arm forearm hand hands palm palms finger
fingers leg thigh calf foot feet sole soles toe toes nail nails back chest breast abdomen shoulder
hip buttock buttocks groin genital genitalia oral mucosa left right flank knee elbow histo
histopathology histology follow up consensus confocal expert biopsy single serial imaging showing
change confirmed
"""
_SITE_WORDS = frozenset(_SITE_LIST.split())
_FLAGS = {"0", "1", "0.0", "1.0", "True", "False"}


def plain_table(frame: pd.DataFrame, salt: str) -> pd.DataFrame:
    """The table without what could name a person; itself if there is nothing of the kind.

    Paths and groups become stand-ins, ages over 90 become 90, texts that are none of the field's
    become `unknown`, and columns that nobody knows are left out; so are columns of 0 and 1 unless
    their name is a plain one. Labels stay: they are classes.

    Args:
        frame: as `load_frame` gives it.
        salt: of the stand-ins.
    """
    kept, changed = [], {}
    for name in frame.columns:
        cells = frame[name].tolist()
        clean = _cleaner(str(name).lower(), cells, salt)
        if clean is None:
            continue
        kept.append(name)
        shown = [_cell(cell, clean) for cell in cells]
        if any(new is not old for new, old in zip(shown, cells, strict=True)):
            changed[name] = pd.Series(shown, frame.index, dtype=object)
    if not changed and len(kept) == frame.shape[1]:
        return frame
    return frame[kept].assign(**changed)


def _cell(cell: Any, clean: Callable[[str], str]) -> Any:
    """The cell itself where nothing is to be hidden, so that types stay."""
    text = "" if pd.isna(cell) else str(cell).strip()
    shown = clean(text)
    return cell if shown == text else shown


def _cleaner(name: str, cells: list[Any], salt: str) -> Callable[[str], str] | None:
    """What makes a cell of a column plain; None if the column is left out."""
    texts = {str(cell).strip() for cell in cells if not pd.isna(cell)} - {""}
    if name in PATHS:
        return partial(hidden_path, salt=salt)
    if name in _GROUPS:
        return partial(hidden_group, salt=salt)
    if name in _CELLS:
        return _CELLS[name]
    if not texts or name in _AS_THEY_ARE or (texts <= _FLAGS and is_plain(name)):
        return lambda text: text
    return None


def _age(text: str) -> str:
    years = age_text(text)
    if years == UNKNOWN:
        return _unless(text == "", text)
    return text if int(years) <= OLDEST else str(OLDEST)


def _sex(text: str) -> str:
    return _unless(text == "" or sex_text(text) != UNKNOWN, text)


def _phrase(text: str) -> str:
    return _unless(text == "" or is_phrase(text, _SITE_WORDS), text)


def _skin_type(text: str) -> str:
    return _unless(text == "" or bool(_SKIN_TYPE.match(text)), text)


def _split(text: str) -> str:
    return _unless(text == "" or split_name(text) is not None, text)


def _fold(text: str) -> str:
    return _unless(text == "" or bool(re.match(r"^\d{1,3}(?:\.0)?$", text)), text)


def _unless(good: bool, text: str) -> str:
    return text if good or text.lower() == UNKNOWN else UNKNOWN


_CELLS: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(_AGES, _age),
    **dict.fromkeys((*_PLACES, *_PHRASES), _phrase),
    **dict.fromkeys(_SKIN_TYPES, _skin_type),
    "sex": _sex,
    "split": _split,
    "fold": _fold,
}
