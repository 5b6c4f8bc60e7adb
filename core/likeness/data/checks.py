"""What is wrong with a set of images: every file is read once, before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
import pandas as pd

from likeness.data.examine import Examined, RemarksOn, examine
from likeness.data.findings import Finding, sort_findings
from likeness.data.manifest import Manifest
from likeness.data.splits import straddling
from likeness.data.twins import twins_of
from likeness.errors import UserError, require
from likeness.threads import prefetched

T = TypeVar("T", int, str)
Progress = Callable[[int, int], None]  # (done, total)
MAX_UNREADABLE = 0.05
NEAR = 4  # bits by which the hashes of near duplicates differ at most
_MANY = 10  # pictures in several splits; more are also told in one line
_SPREAD = 1.1  # ground resolutions that differ by more than this factor are told
_COLUMNS: dict[str, type] = {
    **dict.fromkeys(("sha256", "dtype", "status", "reason", "pixels", "crs"), str),
    **dict.fromkeys(("width", "height", "bands"), int),
    **dict.fromkeys(("left", "bottom", "right", "top", "resolution"), float),
}


@dataclass(frozen=True, eq=False)
class CheckResult:
    """What `check` found.

    Attributes:
        table: the manifest's table with the columns that `Examined` describes (sha256, width,
            height, bands, dtype, status, reason, pixels, crs, left, bottom, right, top,
            resolution) and twin (the first path among near duplicates, "" if there are none).
        findings: everything worth knowing, errors first, with those of the manifest.
        records: of each row, for comparisons with other sets.
    """

    table: pd.DataFrame
    findings: tuple[Finding, ...]
    records: tuple[Examined, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that make `inspect` exit 1."""
        return tuple(finding for finding in self.findings if finding.level == "error")


def check(
    manifest: Manifest,
    *,
    bands: int | None = None,
    band_numbers: Sequence[int] | None = None,
    grey: bool = False,
    min_side: int = 16,
    near_distance: int | None = NEAR,
    threads: int = 2,
    remarks_on: RemarksOn | None = None,
    on_progress: Progress | None = None,
) -> CheckResult:
    """Read every file once and look for what spoils training or a measurement.

    Errors: unreadable or unusable files (missing, truncated, no image, other band counts or number
    types than most, no valid pixel), a picture or a group in several splits, a class with one
    image. Warnings: foreign files, grey among colour, no-data pixels, constant or tiny images,
    images without a CRS among others with one, several ground resolutions, frames that are left
    out, text that a file says is burned in, duplicates within a split or where there are no splits,
    near duplicates, and equal pictures with different labels. A perceptual hash can err, so near
    duplicates never are errors; mirrored, turned or shifted copies are not found.

    Args:
        manifest: what to check.
        bands: how many bands there should be; None takes the most frequent number.
        band_numbers: which bands of each file are read and counted, as `decode` takes them.
        grey: whether images of three bands become grey: they count as of one.
        min_side: sides below this many pixels are warned of.
        near_distance: greatest Hamming distance of the 64-bit difference hashes, 0..10; None looks
            for none, as in a set of frames, where neighbours are alike.
        threads: threads that read and decode; the result does not depend on it.
        remarks_on: see `examine`; each remark becomes a warning.
        on_progress: called with (done, total) after each file.
    """
    require(bands is None or bands >= 1, "bands", ">= 1", bands)
    fits = near_distance is None or 0 <= near_distance <= 10
    require(fits, "near_distance", "in 0..10", near_distance)
    files = [manifest.file(path) for path in manifest.table["path"]]
    records: list[Examined] = []
    look = partial(examine, bands=band_numbers, remarks_on=remarks_on)
    for record in prefetched(files, look, threads=threads):
        records.append(record)
        if on_progress is not None:
            on_progress(len(records), len(files))
    if grey:
        records = [replace(each, bands=1) if each.bands == 3 else each for each in records]
    expected = bands or _most_frequent([r.bands for r in records if r.status == "ok"], default=0)
    records = _judged(records, expected)
    checked = _described(manifest.table, records, near_distance)
    findings = [
        *manifest.findings,
        *_file_findings(checked, records, expected, min_side),
        *_duplicate_findings(checked),
        *_twin_findings(checked),
        *_place_findings(checked),
        *_group_findings(checked),
        *_class_findings(manifest, checked),
    ]
    return CheckResult(checked, sort_findings(findings), tuple(records))


def drop_unreadable(
    table: pd.DataFrame,
    *,
    limit: float = MAX_UNREADABLE,
    names: Callable[[str], Sequence[str]] = lambda label: [label] if label else [],
) -> tuple[pd.DataFrame, list[str]]:
    """Leave out the rows that `check` could not use.

    Args:
        table: of a CheckResult.
        limit: the greatest share of rows that may be left out, in [0, 1].
        names: the classes in a cell of `label`; `Manifest.names` of a multi-label set.

    Returns:
        The rows with status `ok`, renumbered, and a line `path: reason` for each other row.

    Raises:
        UserError: if more than `limit` of the rows, or all but one of a class, are unusable.
    """
    bad = table[table["status"] != "ok"]
    lines = [f"{path}: {reason}" for path, reason in zip(bad["path"], bad["reason"], strict=True)]
    if len(bad) > limit * len(table):
        raise UserError(
            f"unreadable images must be at most {limit:.0%} of the data, got {len(bad)} of "
            f"{len(table)}; the first is {lines[0]}"
        )
    kept = table[table["status"] == "ok"].reset_index(drop=True)
    counts = Counter(name for cell in kept["label"] for name in names(cell))
    for label in sorted({name for cell in set(table["label"]) for name in names(cell)}):
        require(counts[label] >= 2, f"class {label!r}", "of >= 2 readable images", counts[label])
    return kept, lines


def _judged(records: Sequence[Examined], bands: int) -> list[Examined]:
    """The records, unusable where bands or number type are not those of the set."""
    records = [_judge_bands(record, bands) for record in records]
    dtype = _most_frequent([r.dtype for r in records if r.status == "ok"], default="")
    return [_judge_type(record, dtype) for record in records]


def _judge_bands(record: Examined, expected: int) -> Examined:
    grey_is_fine = record.bands == 1 and expected == 3
    if record.status != "ok" or record.bands == expected or grey_is_fine:
        return record
    reason = f"{record.bands} bands where {expected} are expected"
    return replace(record, status="unusable", reason=reason)


def _judge_type(record: Examined, expected: str) -> Examined:
    """Numbers of another type have another scale: 255 is white in one and black in the other."""
    if record.status != "ok" or record.dtype == expected:
        return record
    reason = f"{record.dtype} pixels where {expected} are expected"
    return replace(record, status="unusable", reason=reason)


def _most_frequent(values: Sequence[T], default: T) -> T:
    counts = Counter(values)
    return max(counts, key=lambda value: (counts[value], value), default=default)


def _described(
    table: pd.DataFrame, records: Sequence[Examined], near_distance: int | None
) -> pd.DataFrame:
    """The manifest's table with the columns of `CheckResult.table`."""
    described = table.reset_index(drop=True)
    for name, kind in _COLUMNS.items():
        values = [getattr(record, name) for record in records]
        described[name] = pd.Series(values, index=described.index, dtype=kind)
    twins = [""] * len(described)
    if near_distance is not None:
        twins = twins_of(described["path"].tolist(), records, near_distance)
    described["twin"] = pd.Series(twins, index=described.index, dtype=str)
    return described


def _file_findings(
    table: pd.DataFrame, records: Sequence[Examined], expected: int, min_side: int
) -> Iterator[Finding]:
    for path, record in zip(table["path"], records, strict=True):
        if record.status != "ok":
            advice = "replace or remove it; train leaves it out"
            yield Finding("error", record.status, path, record.reason, advice)
            continue
        size = f"{record.width} x {record.height} pixels"
        if min(record.width, record.height) < min_side:
            advice = "check whether this is meant to be an image of the set"
            yield Finding("warning", "tiny", path, f"only {size}", advice)
        if record.bands != expected:
            advice = "nothing, if grey is meant; the band is repeated"
            yield Finding("warning", "grey", path, "one band among images of three", advice)
        if record.constant:
            advice = "remove it if it shows nothing"
            yield Finding("warning", "constant", path, "every pixel has the same value", advice)
        if record.empty_share > 0:
            advice = "nothing, if it is meant; the band's mean stands in"
            message = f"{record.empty_share:.1%} of the values are NaN, infinite or no-data"
            yield Finding("warning", "no-data", path, message, advice)
        for remark in record.remarks:
            yield Finding("warning", remark.code, path, remark.message, remark.advice)


def _place_findings(table: pd.DataFrame) -> Iterator[Finding]:
    rows = table[table["status"] == "ok"]
    if (rows["crs"] != "").any():
        message = "no CRS, where other images have one"
        advice = "nothing, unless images are grouped by place or mapped"
        for path in rows.loc[rows["crs"] == "", "path"]:
            yield Finding("warning", "no-crs", path, message, advice)
    known = rows.dropna(subset="resolution")
    if len(known) and known["resolution"].max() > _SPREAD * known["resolution"].min():
        median = known["resolution"].median()
        ratio = np.log(known["resolution"] / median).abs()
        farthest = known.loc[ratio.idxmax()]
        others = int((ratio > np.log(_SPREAD)).sum())
        message = (
            f"a pixel shows {farthest['resolution']:.4g} m of ground; the median of the set is "
            f"{median:.4g} m, from which {others} images differ by more than 10 %"
        )
        advice = "bring all images to one ground resolution, or be aware of it"
        yield Finding("warning", "mixed-resolution", farthest["path"], message, advice)


def _clusters(table: pd.DataFrame, column: str) -> Iterator[pd.DataFrame]:
    """The sets of usable rows with the same non-empty value, of two rows and more."""
    rows = table[(table["status"] == "ok") & (table[column] != "")]
    for _, cluster in rows[rows.duplicated(column, keep=False)].groupby(column, sort=True):
        yield cluster


def _others(cluster: pd.DataFrame) -> str:
    """`b.jpg, c.jpg and 3 more`: the cluster without its first row."""
    paths = cluster["path"].tolist()[1:]
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + more


def _splits(cluster: pd.DataFrame) -> list[str]:
    return sorted(set(cluster["split"]) - {""})


def _duplicate_findings(table: pd.DataFrame) -> Iterator[Finding]:
    keep_apart = "keep it in one split: a test of what was trained on says nothing"
    across = []
    for cluster in _clusters(table, "pixels"):
        path, splits = cluster["path"].iloc[0], _splits(cluster)
        message = f"the same picture as {_others(cluster)}"
        if len(splits) > 1:
            across.append(len(cluster))
            message += f", in {' and '.join(splits)}"
            yield Finding("error", "duplicate-across-splits", path, message, keep_apart)
        else:
            yield Finding("warning", "duplicate", path, message, "remove all but one")
        labels = sorted(set(cluster["label"]) - {""})
        if len(labels) > 1:
            names = cluster.drop_duplicates("label")
            told = [f"{p} is {k!r}" for p, k in zip(names["path"], names["label"], strict=True)]
            message = f"the same picture with different labels: {', '.join(told)}"
            yield Finding("warning", "conflicting-labels", path, message, "correct the labels")
    if len(across) > _MANY:
        message = f"{len(across)} pictures are in several splits, in {sum(across)} files in all"
        yield Finding("error", "duplicate-across-splits", "", message, keep_apart)


def _twin_findings(table: pd.DataFrame) -> Iterator[Finding]:
    """Near duplicates; a cluster of exact duplicates alone has been told already."""
    for cluster in _clusters(table, "twin"):
        distinct, splits = cluster.drop_duplicates("pixels"), _splits(cluster)
        path, message = cluster["path"].iloc[0], f"looks the same as {_others(distinct)}"
        if len(splits) > 1:
            message += f", in {' and '.join(splits)}"
            advice = "look at them; if they show the same, keep them in one split"
            yield Finding("warning", "near-duplicate-across-splits", path, message, advice)
        else:
            advice = "look at them; if they show the same, give them one group"
            yield Finding("warning", "near-duplicate", path, message, advice)


def _group_findings(table: pd.DataFrame) -> Iterator[Finding]:
    first = dict(zip(table["group"][::-1], table["path"][::-1], strict=True))
    for group, splits in straddling(table, "group").items():
        message = f"group {group!r} is in {' and '.join(splits)}"
        advice = "keep the images of a group in one split"
        yield Finding("error", "group-in-several-splits", first[group], message, advice)


def _class_findings(manifest: Manifest, table: pd.DataFrame) -> Iterator[Finding]:
    usable: Counter[str] = Counter()
    first: dict[str, str] = {}
    for path, cell, status in zip(table["path"], table["label"], table["status"], strict=True):
        for label in manifest.names(cell):
            first.setdefault(label, path)
            usable[label] += status == "ok"
    for label, path in sorted(first.items()):
        if usable[label] < 2:
            message = f"class {label!r} has {usable[label]} usable image"
            advice = "add images of the class or leave it out"
            yield Finding("error", "class-too-small", path, message, advice)
