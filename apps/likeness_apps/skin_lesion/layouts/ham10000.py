"""HAM10000 (Tschandl, Rosendahl, Kittler 2018): one table, several images of many lesions.

The images lie in `HAM10000_images_part_1` and `_part_2`, or in one folder of any name; the table is
`HAM10000_metadata`, without an ending or with one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from likeness.data.findings import Finding
from likeness.data.manifest import Manifest
from likeness.data.truth import by_stem, missing_image_finding, rows_by_name
from likeness.errors import require
from likeness_apps.skin_lesion.diagnoses import ISIC_2018
from likeness_apps.skin_lesion.layouts.lesions import (
    IMAGE,
    Known,
    age_text,
    lesion_manifest,
    place_text,
    sex_text,
)

NAME = "ham10000"
_TABLE = re.compile(r"^HAM10000_metadata(?:\.(?:csv|tab|txt))?$")
_COLUMNS = ("lesion_id", "dx", "dx_type", "age", "sex", "localization")


def find(paths: Sequence[str]) -> str | None:
    """The table among the files beside the images.

    Raises:
        UserError: if there are several.
    """
    found = [path for path in paths if _TABLE.match(PurePosixPath(path).name)]
    require(len(found) < 2, "data", "a set with one HAM10000_metadata", ", ".join(found))
    return found[0] if found else None


def read(
    source: Path, table: str, images: Sequence[str], masks: Mapping[str, str]
) -> tuple[Manifest, list[str]]:
    """The set in `source`.

    Args:
        source: the folder that was given.
        table: `HAM10000_metadata`, relative to it.
        images: the image files in it, relative to it.
        masks: masks by the name of their image.

    Returns:
        The manifest, whose groups are lesions, and the images that are no part of it.

    Raises:
        UserError: if the table lacks a column, names an image twice or an unknown diagnosis, or no
            image is there, or one is there twice.
    """
    known, name = {}, PurePosixPath(table).name
    for stem, row in rows_by_name(source / table, _COLUMNS, "image_id").items():
        where = f"dx of {stem} in {name}"
        require(row["dx"] in ISIC_2018, where, f"one of {', '.join(sorted(ISIC_2018))}", row["dx"])
        known[stem] = Known(
            label=row["dx"],
            lesion=row["lesion_id"],
            age=age_text(row["age"]),
            sex=sex_text(row["sex"]),
            localization=place_text(row["localization"]),
            dx_type=row["dx_type"],
        )
    named = [path for path in images if IMAGE.match(PurePosixPath(path).name)]
    single, findings = _without_copies(named)
    found = by_stem(single)
    require(found, "data", "a folder with the images of HAM10000 in it", str(source))
    findings += missing_image_finding(table, [stem for stem in known if stem not in found])
    manifest = lesion_manifest(source, NAME, found, known, masks, findings)
    taken = set(named)
    return manifest, [path for path in images if path not in taken]


def _without_copies(paths: Sequence[str]) -> tuple[list[str], list[Finding]]:
    """A copy in the wild holds each folder twice, the second time in lower case."""
    kept: dict[str, str] = {}
    copies = [path for path in paths if kept.setdefault(path.lower(), path) != path]
    if not copies:
        return list(kept.values()), []
    message = f"left out: {len(copies)} images that are there again in a folder of the same name"
    advice = "remove the second folder"
    return list(kept.values()), [Finding("warning", "copied-folder", copies[0], message, advice)]
