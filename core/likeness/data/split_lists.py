"""Splits from lists of file names that lie beside a set."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from likeness.data.findings import Finding
from likeness.data.manifest import SPLITS, Manifest, split_name

_LIST = re.compile(r"^(?:(?P<family>.*)[-_])?(?P<split>[a-z]+)\.(?:txt|csv)$", re.IGNORECASE)
_NAME_COLUMNS = ("filename", "path", "image", "file", "name")


def as_list(path: str) -> tuple[str, str] | None:
    """The family and the split of a list (`uc_merced`, `train`), or None for any other file."""
    match = _LIST.match(PurePosixPath(path).name)
    split = split_name(match["split"]) if match else None
    if match is None or split is None:
        return None
    return str(PurePosixPath(path).parent / (match["family"] or "")), split


def apply_lists(manifest: Manifest, source: Path, lists: Mapping[str, tuple[str, str]]) -> Manifest:
    """Fill `split` from lists of file names, one name or path per line, with or without ending.

    Several families of lists, a name in two lists, or splits that folders give already: nothing is
    applied and a finding says so.
    """
    families: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for path, (family, split) in lists.items():
        families[family][split] = path
    if not families:
        return manifest
    if len(families) > 1 or (manifest.table["split"] != "").any():
        names = ", ".join(sorted(lists))
        message = f"several ways to split, none of the lists is used: {names}"
        advice = "keep one family of lists, or give a table with a split column"
        finding = Finding("warning", "split-lists-unused", "", message, advice)
        return manifest.with_findings(finding)
    (chosen,) = families.values()
    rows = _row_index(manifest)
    split_of: dict[int, str] = {}
    findings: list[Finding] = []
    for split in sorted(chosen, key=SPLITS.index):
        path, unknown, doubled = chosen[split], [], []
        for name in names_in_list(source / path):
            row = _row(rows, name)
            if row is None:
                unknown.append(name)
            elif split_of.setdefault(row, split) != split:
                doubled.append(name)
        findings += _list_findings(path, unknown, doubled)
    if any(finding.level == "error" for finding in findings) or not split_of:
        return manifest.with_findings(*findings)
    splits = [split_of.get(row, "") for row in range(len(manifest.table))]
    if splits.count(""):
        message = f"{splits.count('')} images are in none of the split lists"
        advice = "add them to a list; without a split they are not used"
        findings.append(Finding("warning", "not-in-a-list", "", message, advice))
    return manifest.with_table(manifest.table.assign(split=splits)).with_findings(*findings)


def lines_of(path: Path) -> list[tuple[int, str]]:
    """The lines of a text file that hold something, stripped, with their numbers from 1."""
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def _list_findings(path: str, unknown: list[str], doubled: list[str]) -> list[Finding]:
    findings = []
    if unknown:
        message = f"{len(unknown)} names are no image of the set; the first is {unknown[0]!r}"
        advice = "correct the list, or add the images"
        findings.append(Finding("warning", "list-without-image", path, message, advice))
    if doubled:
        message = (
            f"{len(doubled)} names are in another split's list too; the first is {doubled[0]!r}; "
            "no list is used"
        )
        advice = "keep each image in one list"
        findings.append(Finding("error", "split-lists-overlap", path, message, advice))
    return findings


def names_in_list(path: Path) -> list[str]:
    """The names in a list; in a CSV those of the column that is called so, else of the first."""
    lines = [line for _, line in lines_of(path)]
    if path.suffix.lower() != ".csv" or not lines:
        return lines
    cells = [[cell.strip() for cell in row] for row in csv.reader(lines)]
    header = [name.lower() for name in cells[0]]
    column = next((header.index(name) for name in _NAME_COLUMNS if name in header), None)
    if column is None:
        return [row[0] for row in cells if row[0]]
    return [row[column] for row in cells[1:] if len(row) > column and row[column]]


def _row_index(manifest: Manifest) -> dict[str, int]:
    """Row by path and, where it is unique, by bare file name; without endings."""
    paths = [PurePosixPath(path).with_suffix("") for path in manifest.table["path"]]
    named = Counter(path.name for path in paths)
    index = {path.name: row for row, path in enumerate(paths) if named[path.name] == 1}
    return index | {str(path): row for row, path in enumerate(paths)}


def _row(rows: dict[str, int], line: str) -> int | None:
    """The row that a line of a list names; a number or label may follow the name."""
    for name in (line, line.rsplit(maxsplit=1)[0]):
        path = PurePosixPath(name.replace("\\", "/"))
        if not path.name:
            continue
        for key in (path, PurePosixPath(*path.parts[-2:]), PurePosixPath(path.name)):
            for candidate in (str(key.with_suffix("")), str(key)):
                if candidate in rows:
                    return rows[candidate]
    return None
