"""The ISIC challenges: a folder of images and tables per split (Gutman et al. 2016 and later)."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from likeness.data.findings import Finding
from likeness.data.manifest import Manifest, split_name
from likeness.data.split_lists import lines_of
from likeness.data.truth import (
    by_stem,
    flag,
    missing_image_finding,
    one_hot,
    rows_by_name,
    stem_of,
)
from likeness.errors import require
from likeness_apps.skin_lesion.diagnoses import ISIC_2018, ISIC_2019
from likeness_apps.skin_lesion.layouts.lesions import (
    IMAGE,
    Known,
    age_text,
    lesion_manifest,
    place_text,
    sex_text,
)

Table = dict[str, Known]  # by the image's name without ending


@dataclass(frozen=True)
class Challenge:
    """A challenge whose folders and tables are known.

    Attributes:
        name: the layout and its dataset card.
        folder: the name of a folder of images; group `split`.
        truth: the name of a table of labels; group `split`.
        read_truth: reads it; fills `label`.
        details: further tables by name pattern, each with what reads it and fills the rest.
    """

    name: str
    folder: re.Pattern[str]
    truth: re.Pattern[str]
    read_truth: Callable[[Path], Table]
    details: Mapping[re.Pattern[str], Callable[[Path], Table]]

    def images(self, paths: Sequence[str]) -> list[str]:
        """Those in the folders of this challenge that are named like its images."""
        return [path for path in paths if self.split(path) and IMAGE.match(Path(path).name)]

    def split(self, path: str) -> str:
        """The split of an image by the name of its folder; "" if that is none of the challenge."""
        match = self.folder.match(PurePosixPath(path).parent.name)
        return split_name(match["split"]) or "" if match else ""


def read(
    source: Path,
    challenge: Challenge,
    images: Sequence[str],
    others: Sequence[str],
    masks: Mapping[str, str],
) -> tuple[Manifest, list[str]]:
    """The set in `source`.

    Args:
        source: the folder that was given.
        challenge: the one whose folders are in it.
        images: the image files in it, relative to it.
        others: the other files in it.
        masks: masks by the name of their image.

    Returns:
        The manifest, and the files of `images` and `others` that are no part of it.

    Raises:
        UserError: if no table of labels is there, one is broken, or there are two for a split.
    """
    found = by_stem(challenge.images(images))
    truths = [path for path in others if challenge.truth.match(PurePosixPath(path).name)]
    rule = f"the folder that holds the tables of labels of {challenge.name}, too"
    require(truths, "data", rule, str(source))
    known: Table = {}
    findings: list[Finding] = []
    for path in truths:
        rows = challenge.read_truth(source / path)
        findings += missing_image_finding(path, [stem for stem in rows if stem not in found])
        twice = next((stem for stem in rows if stem in known), None)
        require(twice is None, f"image {twice!r}", "in one table of labels", ", ".join(truths))
        known |= rows
    read_tables = set(truths)
    for pattern, read_details in challenge.details.items():
        for path in others:
            if pattern.match(PurePosixPath(path).name):
                known = _joined(known, read_details(source / path))
                read_tables.add(path)
    for stem, path in found.items():
        known[stem] = replace(known.get(stem, Known()), split=challenge.split(path))
    manifest = lesion_manifest(source, challenge.name, found, known, masks, findings)
    kept = set(found.values()) | read_tables
    return manifest, [path for path in (*images, *others) if path not in kept]


def _joined(known: Table, more: Table) -> Table:
    """Rows with what `more` says of them; empty texts say nothing."""
    joined = dict(known)
    for stem, row in more.items():
        given = {name: text for name, text in vars(row).items() if text}
        joined[stem] = replace(joined.get(stem, Known()), **given)
    return joined


def _truth_2016(table: Path) -> Table:
    """Without a header: a name, then `benign` or `malignant` (training) or 0.0 or 1.0 (test)."""
    rows: Table = {}
    for number, line in lines_of(table):
        cells = [cell.strip() for cell in next(csv.reader([line]))]
        where = f"line {number} of {table.name}"
        require(len(cells) == 2, where, "a name and a label", line)
        stem, label = stem_of(cells[0]), cells[1].lower()
        require(stem not in rows, where, "about an image that no other line is about", stem)
        if label not in ("benign", "malignant"):
            label = "malignant" if flag(label, f"label in {where}") else "benign"
        rows[stem] = Known(label)
    return rows


def _truth_2017(table: Path) -> Table:
    """Two columns of 0.0 and 1.0; neither = nevus."""
    lesions = ("melanoma", "seborrheic_keratosis")
    rows = rows_by_name(table, lesions, "image_id")
    return {
        stem: Known(one_hot(row, lesions, f"{stem} in {table.name}") or "nevus")
        for stem, row in rows.items()
    }


def _one_hot_truth(classes: Sequence[str]) -> Callable[[Path], Table]:
    """A column of 0.0 and 1.0 per class, named as the class in capitals."""

    def read_truth(table: Path) -> Table:
        rows = rows_by_name(table, classes, "image")
        return {
            stem: Known(one_hot(row, classes, f"{stem} in {table.name}"))
            for stem, row in rows.items()
        }

    return read_truth


def _details_2017(table: Path) -> Table:
    rows = rows_by_name(table, ("age_approximate", "sex"), "image_id")
    return {
        stem: Known(age=age_text(row["age_approximate"]), sex=sex_text(row["sex"]))
        for stem, row in rows.items()
    }


def _lesions_2018(table: Path) -> Table:
    rows = rows_by_name(table, ("lesion_id",), "image")
    return {stem: Known(lesion=row["lesion_id"]) for stem, row in rows.items()}


def _details_2019(table: Path) -> Table:
    """The test part has no column `lesion_id`."""
    rows = rows_by_name(table, ("age_approx", "anatom_site_general", "sex"), "image")
    return {
        stem: Known(
            lesion=row.get("lesion_id", ""),
            age=age_text(row["age_approx"]),
            sex=sex_text(row["sex"]),
            localization=place_text(row["anatom_site_general"]),
        )
        for stem, row in rows.items()
    }


ISIC_2016_SET = Challenge(
    "isic-2016",
    re.compile(r"^ISBI2016_ISIC_Part3B?_(?P<split>Training|Test)_Data$"),
    re.compile(r"^ISBI2016_ISIC_Part3B?_(?P<split>Training|Test)_GroundTruth\.csv$"),
    _truth_2016,
    {},
)
ISIC_2017_SET = Challenge(
    "isic-2017",
    re.compile(r"^ISIC-2017_(?P<split>Training|Validation|Test)(?:_v2)?_Data$"),
    re.compile(r"^ISIC-2017_(?P<split>Training|Validation|Test)(?:_v2)?_Part3_GroundTruth\.csv$"),
    _truth_2017,
    {re.compile(r"^ISIC-2017_[A-Za-z]+(?:_v2)?_Data_metadata\.csv$"): _details_2017},
)
ISIC_2018_SET = Challenge(
    "isic-2018",
    re.compile(r"^ISIC2018_Task3_(?P<split>Training|Validation|Test)_Input$"),
    re.compile(r"^ISIC2018_Task3_(?P<split>Training|Validation|Test)_GroundTruth\.csv$"),
    _one_hot_truth(ISIC_2018),
    {re.compile(r"^ISIC2018_Task3_Training_LesionGroupings\.csv$"): _lesions_2018},
)
ISIC_2019_SET = Challenge(
    "isic-2019",
    re.compile(r"^ISIC_2019_(?P<split>Training|Test)_Input$"),
    re.compile(r"^ISIC_2019_(?P<split>Training|Test)_GroundTruth\.csv$"),
    _one_hot_truth(ISIC_2019),
    {re.compile(r"^ISIC_2019_(?:Training|Test)_Metadata\.csv$"): _details_2019},
)
CHALLENGES = (ISIC_2016_SET, ISIC_2017_SET, ISIC_2018_SET, ISIC_2019_SET)
