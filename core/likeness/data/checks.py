"""What is wrong with a set of images: every file is read once, before anything is trained.

Legend: H height, W width, C bands, N images, P candidate pairs.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Shaped, UInt8, UInt64
from PIL import Image

from likeness.data.decode import DecodeError, decode_full, read_bytes
from likeness.data.findings import Finding, sort_findings
from likeness.data.manifest import Manifest
from likeness.data.splits import straddling
from likeness.errors import UserError, require
from likeness.threads import prefetched

Progress = Callable[[int, int], None]  # (done, total)
MAX_UNREADABLE = 0.05
_THUMB = 16  # side of the thumbnails that confirm a near duplicate, in pixels
_CORRELATION = 0.95  # recompressed and rescaled copies stay above it, different scenes do not
_FLAT = 2.0  # thumbnails whose grey values vary less (of 255) are too plain to compare
_BLOCK = 65_536  # candidate pairs that are compared at once
_COLUMNS = ("sha256", "width", "height", "bands", "dtype", "status", "reason", "pixels")


@dataclass(frozen=True, eq=False)
class CheckResult:
    """What `check` found.

    Attributes:
        table: the manifest's table with sha256 (of the file), width, height, bands, dtype, status
            (`ok`, `unreadable` or `unusable`), reason, pixels (hash of the decoded array, "" if
            there is none) and twin (the first path among near duplicates, "" if there are none).
        findings: everything worth knowing, errors first, with those of the manifest.
    """

    table: pd.DataFrame
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that make `inspect` exit 1."""
        return tuple(finding for finding in self.findings if finding.level == "error")


@dataclass(frozen=True)
class _Record:
    """One file; the first fields are columns of the table."""

    sha256: str = ""
    width: int = 0
    height: int = 0
    bands: int = 0
    dtype: str = ""
    status: str = "ok"
    reason: str = ""
    pixels: str = ""
    fingerprint: int = 0
    thumb: bytes = bytes(_THUMB * _THUMB)
    constant: bool = False
    empty_share: float = 0.0


def check(
    manifest: Manifest,
    *,
    bands: int | None = None,
    min_side: int = 16,
    near_distance: int = 4,
    threads: int = 2,
    on_progress: Progress | None = None,
) -> CheckResult:
    """Read every file once and look for what spoils training or a measurement.

    Errors: unreadable or unusable files (missing, truncated, no image, other band counts, no valid
    pixel), a picture or a group in several splits, a class with one image. Warnings: foreign
    files, grey among colour, mixed number types, no-data pixels, constant or tiny images,
    duplicates within a split or where there are no splits, near duplicates, and equal pictures
    with different labels. A perceptual hash can err, so near duplicates never are errors; mirrored,
    turned or shifted copies are not found.

    Args:
        manifest: what to check.
        bands: how many bands there should be; None takes the most frequent number.
        min_side: sides below this many pixels are warned of.
        near_distance: greatest Hamming distance of the 64-bit difference hashes, 0..10.
        threads: threads that read and decode; the result does not depend on it.
        on_progress: called with (done, total) after each file.
    """
    require(bands is None or bands >= 1, "bands", ">= 1", bands)
    require(0 <= near_distance <= 10, "near_distance", "in 0..10", near_distance)
    table = manifest.table
    files = [manifest.file(path) for path in table["path"]]
    records: list[_Record] = []
    for record in prefetched(files, _examine, threads=threads):
        records.append(record)
        if on_progress is not None:
            on_progress(len(records), len(files))
    expected = bands or _most_frequent([r.bands for r in records if r.status == "ok"])
    records = [_judge_bands(record, expected) for record in records]
    checked = table.reset_index(drop=True)
    for name in _COLUMNS:
        values = [getattr(record, name) for record in records]
        kind = int if name in ("width", "height", "bands") else str
        checked[name] = pd.Series(values, index=checked.index, dtype=kind)
    twins = _twins(checked["path"].tolist(), records, near_distance)
    checked["twin"] = pd.Series(twins, index=checked.index, dtype=str)
    findings = [
        *manifest.findings,
        *_file_findings(checked, records, expected, min_side),
        *_duplicate_findings(checked),
        *_twin_findings(checked),
        *_group_findings(checked),
        *_class_findings(manifest, checked),
    ]
    return CheckResult(checked, sort_findings(findings))


def drop_unreadable(
    table: pd.DataFrame, *, limit: float = MAX_UNREADABLE
) -> tuple[pd.DataFrame, list[str]]:
    """Leave out the rows that `check` could not use.

    Args:
        table: of a CheckResult.
        limit: the greatest share of rows that may be left out, in [0, 1].

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
    counts = Counter(kept["label"])
    for label in sorted(set(table["label"]) - {""}):
        require(counts[label] >= 2, f"class {label!r}", "of >= 2 readable images", counts[label])
    return kept, lines


def near_pairs(
    hashes_N: UInt64[np.ndarray, " N"], distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of 64-bit hashes that differ in at most `distance` bits.

    Of distance + 1 bit fields, one must be equal (pigeonhole): only hashes that share a field are
    compared, in a sorted list, so nothing of size N x N is ever built. A pair may come repeatedly.

    Args:
        hashes_N: the hashes.
        distance: >= 0.

    Yields:
        Two index arrays, each at most `_BLOCK` long, the pairs of one block.
    """
    edges = np.linspace(0, 64, distance + 2).astype(int)
    for low, high in pairwise(edges.tolist()):
        field = (hashes_N >> np.uint64(low)) & np.uint64(2 ** (high - low) - 1)
        order = np.argsort(field, kind="stable")
        field = field[order]
        active = np.arange(len(order) - 1)
        offset = 1
        while len(active):  # all pairs that lie `offset` apart in a run of equal fields
            active = active[active + offset < len(order)]
            active = active[field[active + offset] == field[active]]
            for start in range(0, len(active), _BLOCK):
                part = active[start : start + _BLOCK]
                left, right = order[part], order[part + offset]
                close = np.bitwise_count(hashes_N[left] ^ hashes_N[right]) <= distance
                yield left[close], right[close]
            offset += 1


def _examine(path: Path) -> _Record:
    """Read a file once: hash of the bytes, decoded shape, hash of the pixels, thumbnail."""
    sha = ""
    try:
        data = read_bytes(path)
        sha = hashlib.sha256(data).hexdigest()
        decoded = decode_full(data)
    except DecodeError as error:
        return _Record(sha256=sha, status="unreadable", reason=error.reason)
    image_HWC = decoded.pixels_HWC
    height, width, bands = image_HWC.shape
    head = f"{image_HWC.shape} {image_HWC.dtype} ".encode()
    valid_HWC = _valid(image_HWC, decoded.nodata)
    empty = 0.0 if valid_HWC is None else 1.0 - float(valid_HWC.mean())
    values = image_HWC if valid_HWC is None else image_HWC[valid_HWC]
    thumb, fingerprint = _fingerprint(
        image_HWC if valid_HWC is None else np.where(valid_HWC, image_HWC, 0)
    )
    return _Record(
        sha256=sha,
        width=width,
        height=height,
        bands=bands,
        dtype=image_HWC.dtype.name,
        status="ok" if values.size else "unusable",
        reason="" if values.size else "no valid pixel",
        pixels=hashlib.sha256(head + image_HWC.tobytes()).hexdigest(),
        fingerprint=fingerprint,
        thumb=thumb.tobytes(),
        constant=bool(values.size and values.min() == values.max()),
        empty_share=empty,
    )


def _valid(
    image_HWC: Shaped[np.ndarray, "H W C"], nodata: float | None
) -> Bool[np.ndarray, "H W C"] | None:
    """Which values are measurements; None = all."""
    if image_HWC.dtype.kind != "f" and nodata is None:
        return None
    # In float images the declared no-data value is NaN by now.
    measured: np.ndarray = np.isfinite(image_HWC)
    if nodata is not None:
        measured &= image_HWC != nodata
    return measured


def _fingerprint(image_HWC: Shaped[np.ndarray, "H W C"]) -> tuple[UInt8[np.ndarray, "T T"], int]:
    """A grey thumbnail and the 64-bit difference hash (signs of 8 x 8 horizontal differences)."""
    grey_HW = image_HWC.mean(axis=2, dtype=np.float64)
    if image_HWC.dtype != np.uint8:
        low, high = float(grey_HW.min()), float(grey_HW.max())
        grey_HW = (grey_HW - low) * (255.0 / max(high - low, 1e-12))
    grey = Image.fromarray(grey_HW.astype(np.float32))
    cells = np.asarray(grey.resize((9, 8), Image.Resampling.BOX))
    bits = (cells[:, 1:] > cells[:, :-1]).ravel()
    thumb = np.asarray(grey.resize((_THUMB, _THUMB), Image.Resampling.BOX))
    hashed = int.from_bytes(np.packbits(bits).tobytes(), "big")
    return np.rint(thumb).clip(0, 255).astype(np.uint8), hashed


def _judge_bands(record: _Record, expected: int) -> _Record:
    grey_is_fine = record.bands == 1 and expected == 3
    if record.status != "ok" or record.bands == expected or grey_is_fine:
        return record
    reason = f"{record.bands} bands where {expected} are expected"
    return replace(record, status="unusable", reason=reason)


def _most_frequent(values: Sequence[int]) -> int:
    counts = Counter(values)
    return max(counts, key=lambda value: (counts[value], value), default=0)


def _twins(paths: Sequence[str], records: Sequence[_Record], distance: int) -> list[str]:
    """For each row the first path of its cluster of near duplicates, or ""."""
    first_of: dict[str, int] = {}  # one row stands for all rows with the same pixels
    for row, record in enumerate(records):
        if record.status == "ok":
            first_of.setdefault(record.pixels, row)
    rows = np.fromiter(first_of.values(), np.int64, len(first_of))
    thumbs = np.frombuffer(b"".join(records[row].thumb for row in rows), np.uint8)
    thumbs_NT = thumbs.reshape(len(rows), _THUMB * _THUMB)
    plain_N = thumbs_NT.std(axis=1) < _FLAT
    rows, thumbs_NT = rows[~plain_N], thumbs_NT[~plain_N]
    hashes_N = np.array([records[row].fingerprint for row in rows], np.uint64)
    parent = np.arange(len(rows))

    def find(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = int(parent[node])
        return node

    for left_P, right_P in near_pairs(hashes_N, distance):
        alike_P = _correlation(thumbs_NT[left_P], thumbs_NT[right_P]) >= _CORRELATION
        for left, right in zip(left_P[alike_P], right_P[alike_P], strict=True):
            low, high = sorted((find(int(left)), find(int(right))))
            parent[high] = low  # rows are in path order, so the first path is the root
    roots = [find(node) for node in range(len(rows))]
    sizes = Counter(roots)
    name_of = {
        records[row].pixels: paths[rows[root]]
        for row, root in zip(rows, roots, strict=True)
        if sizes[root] > 1
    }
    return [name_of.get(record.pixels, "") for record in records]


def _correlation(
    left_PT: UInt8[np.ndarray, "P T"], right_PT: UInt8[np.ndarray, "P T"]
) -> Float32[np.ndarray, " P"]:
    left = left_PT.astype(np.float32) - left_PT.mean(axis=1, dtype=np.float32, keepdims=True)
    right = right_PT.astype(np.float32) - right_PT.mean(axis=1, dtype=np.float32, keepdims=True)
    scale = np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
    correlation: np.ndarray = (left * right).sum(axis=1) / scale
    return correlation


def _file_findings(
    table: pd.DataFrame, records: Sequence[_Record], expected: int, min_side: int
) -> Iterator[Finding]:
    dtype = Counter(r.dtype for r in records if r.status == "ok").most_common(1)
    usual = dtype[0][0] if dtype else ""
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
        if record.dtype != usual:
            advice = "bring all images to one type; the scale differs"
            message = f"{record.dtype} where most images are {usual}"
            yield Finding("warning", "mixed-dtype", path, message, advice)
        if record.constant:
            advice = "remove it if it shows nothing"
            yield Finding("warning", "constant", path, "every pixel has the same value", advice)
        if record.empty_share > 0:
            advice = "fill or mask it; in float images the band's mean stands in"
            message = f"{record.empty_share:.1%} of the values are NaN, infinite or no-data"
            yield Finding("warning", "no-data", path, message, advice)


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
    for cluster in _clusters(table, "pixels"):
        path, splits = cluster["path"].iloc[0], _splits(cluster)
        message = f"the same picture as {_others(cluster)}"
        if len(splits) > 1:
            message += f", in {' and '.join(splits)}"
            advice = "keep it in one split: a test of what was trained on says nothing"
            yield Finding("error", "duplicate-across-splits", path, message, advice)
        else:
            yield Finding("warning", "duplicate", path, message, "remove all but one")
        labels = sorted(set(cluster["label"]) - {""})
        if len(labels) > 1:
            names = cluster.drop_duplicates("label")
            told = [f"{p} is {k!r}" for p, k in zip(names["path"], names["label"], strict=True)]
            message = f"the same picture with different labels: {', '.join(told)}"
            yield Finding("warning", "conflicting-labels", path, message, "correct the labels")


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
