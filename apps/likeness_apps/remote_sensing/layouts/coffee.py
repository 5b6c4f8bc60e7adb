"""Brazilian Coffee Scenes (Penatti et al. 2015): five folds, each a folder and a list of labels.

A line of `fold1.txt` is `coffee.<name>` or `noncoffee.<name>`; names hold dots themselves, and the
image is `fold1/<name>.jpg`. The channels of the JPEGs are green, red and near infrared.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from likeness.data.class_folders import outside_finding
from likeness.data.findings import Finding
from likeness.data.manifest import Manifest, build
from likeness.data.split_lists import lines_of
from likeness.errors import require

NAME = "brazilian-coffee"
CLASSES = ("coffee", "noncoffee")
BANDS = ("G", "R", "NIR")
_FOLD = re.compile(r"^fold(?P<number>[1-5])\.txt$", re.IGNORECASE)


def find(paths: Sequence[str]) -> list[str]:
    """The lists of the folds among the files beside the images; none if it is another set."""
    return [path for path in paths if _FOLD.match(PurePosixPath(path).name)]


def read(source: Path, lists: Sequence[str], images: Sequence[str]) -> Manifest:
    """The set in `source`; its column `fold` is "1" to "5".

    Args:
        source: the folder that was given.
        lists: the lists of the folds, relative to it.
        images: the image files in it, relative to it.

    Returns:
        The manifest. An unknown label, an image that is missing or listed twice is an error among
        the findings, with the list and the line.

    Raises:
        UserError: if the lists lie in several folders, or name no image that is there.
    """
    roots = {str(PurePosixPath(path).parent) for path in lists}
    require(len(roots) == 1, "data", "one set of folds", ", ".join(sorted(lists)))
    (root,) = roots
    there = set(images)
    rows: dict[str, tuple[str, str]] = {}  # (label, fold) by path
    findings: list[Finding] = []
    for path in lists:
        match = _FOLD.match(PurePosixPath(path).name)
        fold = match["number"] if match else ""
        for number, line in lines_of(source / path):
            label, _, name = line.partition(".")
            image = str(PurePosixPath(path).with_suffix("") / f"{name}.jpg")
            problem = _problem(label, image, there, rows)
            if problem:
                message = f"line {number}: {problem}"
                advice = "correct the line, or add the image; published folds need all of them"
                findings.append(Finding("error", "broken-fold", path, message, advice))
            else:
                rows[image] = (label, fold)
    require(rows, "data", "folds that name images in their folders", lists[0])
    for path in sorted(there - set(rows)):
        named = PurePosixPath(path).parent.name.lower().startswith("fold")
        findings.append(_unlisted(path) if named else outside_finding(path))
    columns = {
        "path": [str(PurePosixPath(path).relative_to(root)) for path in rows],
        "label": [label for label, _ in rows.values()],
        "fold": [fold for _, fold in rows.values()],
    }
    return replace(build(source.absolute() / root, columns, NAME, findings), band_names=BANDS)


def _problem(
    label: str, image: str, there: set[str], rows: dict[str, tuple[str, str]]
) -> str | None:
    """What is wrong with a line, or None."""
    if label not in CLASSES:
        return f"{label!r} is neither coffee nor noncoffee"
    if image not in there:
        return f"there is no image {image}"
    if image in rows:
        return f"{image} is listed twice"
    return None


def _unlisted(path: str) -> Finding:
    message, advice = "left out: no fold lists it", "add it to the fold's list if it belongs there"
    return Finding("warning", "not-in-a-list", path, message, advice)
