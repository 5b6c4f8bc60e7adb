"""UC Merced with several labels per image (Chaudhuri et al. 2018): a table beside the images.

The table has a header and a line per image: its name without ending, then 0 or 1 for each of the
17 labels, separated by tabs (any blanks will do). The images lie in one folder or in class folders.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from likeness.data.class_folders import outside_finding
from likeness.data.findings import Finding
from likeness.data.manifest import Manifest, build, join_labels, unlabelled_findings
from likeness.data.split_lists import lines_of
from likeness.data.truth import by_stem, flag, missing_image_finding
from likeness.errors import require

NAME = "uc-merced-multilabel"
LABELS = (
    *("airplane", "bare-soil", "buildings", "cars", "chaparral", "court", "dock", "field", "grass"),
    *("mobile-home", "pavement", "sand", "sea", "ship", "tanks", "trees", "water"),
)
TABLES = ("landuse_multilabeled.txt", "multilabels.txt")
_UNREAD = ("landuse_multilabeled.xlsx", "landuse_multilabeled.mat", "landuse_multilabels.mat")
_IMAGE = re.compile(r"^[a-z]+\d\d$")


def find(paths: Sequence[str]) -> str | None:
    """The table of labels among the files beside the images.

    Raises:
        UserError: if there are several.
    """
    found = [path for path in paths if PurePosixPath(path).name.lower() in TABLES]
    require(len(found) < 2, "data", "a set with one table of labels", ", ".join(found))
    return found[0] if found else None


def set_aside(paths: Sequence[str]) -> tuple[list[str], list[Finding]]:
    """The paths without tables of labels in a form that is not read, and a warning for each."""
    advice = f"put {TABLES[0]!r} beside it, or give a table of paths and labels"
    message = "left out: labels in this form are not read, each image has its folder's label only"
    unread = [path for path in paths if PurePosixPath(path).name.lower() in _UNREAD]
    findings = [Finding("warning", "labels-not-read", path, message, advice) for path in unread]
    return [path for path in paths if path not in unread], findings


def read(source: Path, table: str, images: Sequence[str]) -> Manifest:
    """The set in `source`.

    Args:
        source: the folder that was given.
        table: the table of labels, relative to it.
        images: the image files in it, relative to it.

    Raises:
        UserError: if the table has another number of columns or other values than 0 and 1, names
            no image that is there, or an image is there or listed twice.
    """
    labels, findings = _labels(source / table, table)
    place = by_stem(images)
    found = {stem: path for stem, path in place.items() if stem in labels or _IMAGE.match(stem)}
    missing = [stem for stem in labels if stem not in found]
    some = next(iter(labels), "no line")
    require(len(missing) < len(labels), table, "about images in the folder", some)
    findings += missing_image_finding(table, missing)
    kept = set(found.values())
    findings += [outside_finding(path) for path in images if path not in kept]
    root = os.path.commonpath([PurePosixPath(path).parent for path in kept])
    paths = [os.path.relpath(path, root or ".") for path in found.values()]
    cells = [labels.get(stem, "") for stem in found]
    findings += unlabelled_findings(paths, cells)
    columns = {"path": paths, "label": cells}
    return build(source.absolute() / root, columns, NAME, findings, multilabel=True)


def _labels(path: Path, name: str) -> tuple[dict[str, str], list[Finding]]:
    """Cell of `label` by image name, in the order of the table."""
    lines = lines_of(path)
    require(len(lines) > 1, name, "a table with a header and a line per image", "nothing")
    # Tabs, where there are any: a name in the header may hold a blank ("mobile home").
    rows = [(number, line.split("\t" if "\t" in line else None)) for number, line in lines]
    names, findings = _header(rows[0][1], name)
    labels: dict[str, str] = {}
    for number, cells in rows[1:]:
        where = f"line {number} of {name}"
        require(len(cells) == 1 + len(LABELS), where, "a name and 17 values", f"{len(cells)} cells")
        stem = PurePosixPath(cells[0].strip()).stem
        require(stem not in labels, where, "about an image that no other is about", stem)
        chosen = zip(names, cells[1:], strict=True)
        labels[stem] = join_labels(label for label, cell in chosen if flag(cell, where))
    return labels, findings


def _header(cells: Sequence[str], table: str) -> tuple[Sequence[str], list[Finding]]:
    """The labels in the order of the columns: the header's own if it names them, else as published.

    Raises:
        UserError: if there are not 17 of them.
    """
    rule = f"a table of a name and {len(LABELS)} labels"
    require(len(cells) == 1 + len(LABELS), table, rule, f"{len(cells)} columns in its header")
    known = {label.replace("-", ""): label for label in LABELS}
    given = [re.sub("[^a-z]", "", cell.lower()) for cell in cells[1:]]
    if set(given) == set(known):
        return [known[name] for name in given], []
    message = "the header does not name the 17 labels; columns are taken in the published order"
    advice = f"check that they are {' '.join(LABELS)}"
    return LABELS, [Finding("warning", "unknown-header", table, message, advice)]
