"""From a path to rows that a run can use: recognised, checked, without bad files, split."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from likeness.data.bands import first_names, resolve_bands
from likeness.data.blocks import blocks_of
from likeness.data.checks import CheckResult, check, drop_unreadable
from likeness.data.findings import Finding, condense
from likeness.data.manifest import Manifest
from likeness.errors import UserError, require
from likeness.provenance import hash_table
from likeness.training.spec import DataSpec
from likeness_apps.shell.coarser import labelled_by
from likeness_apps.shell.console import progress, say
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.protocols import split_rows, trainable
from likeness_apps.shell.tasks import Labels, task_of

SPLIT_COLUMNS = ("path", "label", "split", "group", "sha256")


@dataclass(frozen=True)
class Prepared:
    """A data set that is ready for training.

    Attributes:
        manifest: the readable, labelled rows, each in train, val or test.
        checked: what the check found in all rows.
        labels: what the images are labelled with.
        dropped: `path: reason` of rows that were left out.
        bands: bands of the images.
        dtype: type of the pixels in their files.
        resolution: median ground size of a pixel of the training images in metres; None = unknown.
        chip: median of the shorter sides of the training images in pixels; None = unknown.
        band_numbers: the bands that are read; None = all but alpha.
        band_names: what they are called; None = not asked for, or not known.
        data_hash: over path, label, split, group and content of every row.
    """

    manifest: Manifest
    checked: CheckResult
    labels: Labels
    dropped: list[str]
    bands: int
    dtype: str
    data_hash: str
    resolution: float | None = None
    chip: int | None = None
    band_numbers: list[int] | None = None
    band_names: list[str] | None = None

    @property
    def splits(self) -> pd.DataFrame:
        """What travels with the model: which picture was in which split."""
        return self.manifest.table[list(SPLIT_COLUMNS)]

    def targets(self, split: str) -> np.ndarray:
        """The labels of every row of a split, as `labels` gives them."""
        return self.labels.targets(self.manifest.rows(split)["label"].tolist())


def prepare(
    domain: Domain, data: Path | Manifest, spec: DataSpec, *, seed: int, quiet: bool = False
) -> Prepared:
    """Recognise, check, drop what cannot be read, and split.

    Args:
        domain: the application.
        data: a data set or a table, or what was recognised in it.
        spec: shares of the splits, a test fold, or a named protocol.
        seed: of the split.
        quiet: no progress bar.

    Raises:
        UserError: for an unknown layout, too many unreadable files, fewer than two classes, a
            class with one image, or a protocol of another data set.
    """
    protocol = trainable(domain, spec.protocol)
    manifest = data if isinstance(data, Manifest) else domain.recognise(data)
    if protocol is not None:
        manifest = labelled_by(manifest, protocol.labels, protocol.coarser)
    numbers, names = _bands(manifest, spec)
    with progress("checking", quiet=quiet) as advance:
        checked = check(
            manifest,
            band_numbers=numbers,
            grey=spec.grey,
            remarks_on=domain.remarks_on,
            on_progress=advance,
        )
    kept, dropped = drop_unreadable(checked.table, names=manifest.names)
    for line in dropped:
        say(f"left out: {line}", quiet=quiet)
    for finding in condense(item for item in checked.errors if _concerns_training(item, manifest)):
        say(finding.line(), quiet=quiet)
    labelled = labelled_rows(kept, quiet=quiet)
    classes = manifest.with_table(labelled).classes
    require(len(classes) >= 2, "data", "images of at least two classes", ", ".join(classes) or 0)
    if spec.block_km is not None:
        labelled = labelled.assign(group=blocks_of(labelled, spec.block_km))
    table = split_rows(domain, manifest, labelled, spec, seed)
    table = table[table["split"] != ""].reset_index(drop=True)
    _require_training_images(manifest.with_table(table))
    training = table[table["split"] == "train"]
    resolution = float(training["resolution"].median())
    chip = float(training[["width", "height"]].min(axis=1).median())
    good = labelled.groupby(["bands", "dtype"]).size().idxmax()
    used = manifest.with_table(table)
    return Prepared(
        manifest=used,
        checked=checked,
        labels=task_of(used.classes, multilabel=used.multilabel),
        dropped=dropped,
        bands=int(good[0]),
        dtype=str(good[1]),
        data_hash=hash_table(table[list(SPLIT_COLUMNS)]),
        resolution=None if math.isnan(resolution) else resolution,
        chip=round(chip),
        band_numbers=numbers,
        band_names=names,
    )


def _concerns_training(finding: Finding, manifest: Manifest) -> bool:
    """What makes figures doubtful though nothing is left out; the rest is said where it matters."""
    return finding in manifest.findings or finding.code == "duplicate-across-splits"


def _bands(manifest: Manifest, spec: DataSpec) -> tuple[list[int] | None, list[str] | None]:
    """Numbers and names of the bands that the configuration asks for, by the first good file."""
    if spec.bands is None:
        return None, None
    training = manifest.rows("train")
    paths = (training if len(training) else manifest.table)["path"]
    names = first_names(map(manifest.file, paths), manifest.band_names)
    require(names, "data", "images of which one can be read", f"{len(paths)} that cannot")
    numbers = resolve_bands(spec.bands, names)
    called = [names[number - 1] for number in numbers]
    return numbers, called if all(called) else None


def labelled_rows(table: pd.DataFrame, *, quiet: bool = False) -> pd.DataFrame:
    """The rows that have a label; says how many have none."""
    bare = table["path"][table["label"] == ""]
    if len(bare):
        say(f"left out: {len(bare)} images without a label, the first {bare.iloc[0]}", quiet=quiet)
    return table[table["label"] != ""]


def _require_training_images(manifest: Manifest) -> None:
    """Every class needs two training images: a pair loss has nothing to pull otherwise."""
    cells = manifest.rows("train")["label"]
    counts = Counter(name for cell in cells for name in manifest.names(cell))
    for label in manifest.classes:
        count = counts[label]
        if count < 2:
            raise UserError(
                f"class {label!r} must be in at least two training images, got {count}; "
                "add images, lower data.val and data.test, or leave the class out"
            )
    require(len(manifest.rows("val")) > 0, "data.val", "large enough for one image", 0)
