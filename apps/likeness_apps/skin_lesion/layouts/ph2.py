"""PH2 (Mendonca et al. 2013): a folder per lesion with its image, its mask and its colours.

`PH2 Dataset images/IMDnnn/IMDnnn_Dermoscopic_Image/IMDnnn.bmp` and
`IMDnnn_lesion/IMDnnn_lesion.bmp`; labels in `PH2_dataset.txt`, columns between `||`, or in
`PH2_dataset.xlsx` with an X in the column of the diagnosis.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from likeness.data.manifest import Manifest
from likeness.data.split_lists import lines_of
from likeness.data.truth import by_stem, missing_image_finding
from likeness.errors import UserError, require
from likeness_apps.skin_lesion.layouts.lesions import Known, lesion_manifest

NAME = "ph2"
CLASSES = ("common_nevus", "atypical_nevus", "melanoma")  # 0, 1, 2 in the text
_FOLDER = re.compile(r"^IMD\d{3}_Dermoscopic_Image$")
_PART = re.compile(r"^IMD\d{3}_(?:lesion|roi)$")
_IMAGE = re.compile(r"^IMD\d{3}$")
_TEXT, _SHEET = "PH2_dataset.txt", "PH2_dataset.xlsx"


def is_image(path: str) -> bool:
    """Whether it is a dermoscopic image of this set."""
    place = PurePosixPath(path)
    return bool(_FOLDER.match(place.parent.name) and _IMAGE.match(place.stem))


def read(
    source: Path, images: Sequence[str], others: Sequence[str], masks: Mapping[str, str]
) -> tuple[Manifest, list[str]]:
    """The set in `source`; its column `mask` is the lesion's mask.

    Args:
        source: the folder that was given.
        images: the image files in it, relative to it, without masks.
        others: the other files in it.
        masks: masks by the name of their image.

    Returns:
        The manifest, and the files that are no part of it.

    Raises:
        UserError: if no table of labels is there, or it is broken or needs openpyxl.
    """
    found = by_stem([path for path in images if is_image(path)])
    tables = {PurePosixPath(path).name: path for path in others}
    require(_TEXT in tables or _SHEET in tables, "data", f"a folder with {_TEXT} in it", source)
    if _TEXT in tables:
        table = tables[_TEXT]
        labels = _from_text(source / table)
    else:
        table = tables[_SHEET]
        labels = _from_sheet(source / table)
    findings = missing_image_finding(table, [name for name in labels if name not in found])
    # One lesion each, though nothing says whose.
    known = {stem: Known(label, lesion=stem) for stem, label in labels.items()}
    manifest = lesion_manifest(source, NAME, found, known, masks, findings)
    kept = {*found.values(), tables.get(_TEXT), tables.get(_SHEET)}
    rest = [path for path in (*images, *others) if path not in kept]
    return manifest, [path for path in rest if not _PART.match(PurePosixPath(path).parent.name)]


def _from_text(path: Path) -> dict[str, str]:
    """Label by name; a header tells the columns, lines without a name are a legend."""
    labels: dict[str, str] = {}
    column: dict[str, int] = {}
    for number, line in lines_of(path):
        cells = [cell.strip() for cell in line.split("||")]
        if not column and "Clinical Diagnosis" in cells and "Name" in cells:
            column = {name: place for place, name in enumerate(cells)}
        elif column and len(cells) > column["Name"] and _IMAGE.match(cells[column["Name"]]):
            name, where = cells[column["Name"]], f"line {number} of {path.name}"
            value = "".join(cells[column["Clinical Diagnosis"] :][:1])
            require(value in ("0", "1", "2"), f"diagnosis in {where}", "0, 1 or 2", value)
            require(name not in labels, where, "about an image that no other is about", name)
            labels[name] = CLASSES[int(value)]
    require(labels, path.name, "a table with || between Name, Clinical Diagnosis, ...", "no row")
    return labels


def _from_sheet(path: Path) -> dict[str, str]:
    """Label by name; the header is not the first row."""
    import importlib.util

    import pandas as pd

    if importlib.util.find_spec("openpyxl") is None:
        rule = f"in {_TEXT} (the .xlsx needs the package openpyxl, which likeness does not require)"
        raise UserError(f"labels of PH2 must be {rule}, got {path.name}")
    cells = pd.read_excel(path, header=None, dtype=str, keep_default_na=False).to_numpy()
    titles = [name.replace("_", " ") for name in CLASSES]
    labels: dict[str, str] = {}
    column: dict[str, int] = {}
    for row, texts in enumerate(([str(cell).strip() for cell in line] for line in cells), start=1):
        if not column and {*titles} <= {text.lower() for text in texts}:
            column = {text.lower(): place for place, text in enumerate(texts)}
        name = next((text for text in texts if _IMAGE.match(text)), None)
        if column and name:
            marked = [place for place, title in enumerate(titles) if texts[column[title]]]
            where = f"row {row} of {path.name}"
            require(len(marked) == 1, where, "marked with one diagnosis", f"{len(marked)} marks")
            labels[name] = CLASSES[marked[0]]
    require(labels, path.name, "a sheet with Common Nevus, Atypical Nevus, Melanoma", "no row")
    return labels
