"""From a path to rows that a run can use: recognised, checked, without bad files, split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from likeness.data.checks import CheckResult, check, drop_unreadable
from likeness.data.manifest import Manifest
from likeness.data.splits import (
    assert_no_leak,
    complete_splits,
    join_duplicates,
    split_by_group,
)
from likeness.errors import UserError, require
from likeness.provenance import hash_table
from likeness.training.spec import DataSpec
from likeness_apps.shell.console import progress, say
from likeness_apps.shell.domain import Domain

SPLIT_COLUMNS = ("path", "label", "split", "group", "sha256")


@dataclass(frozen=True)
class Prepared:
    """A data set that is ready for training.

    Attributes:
        manifest: the readable, labelled rows, each in train, val or test.
        checked: what the check found in all rows.
        dropped: `path: reason` of rows that were left out.
        bands: bands of the images.
        dtype: type of their pixels.
        data_hash: over path, label, split, group and content of every row.
    """

    manifest: Manifest
    checked: CheckResult
    dropped: list[str]
    bands: int
    dtype: str
    data_hash: str

    @property
    def splits(self) -> pd.DataFrame:
        """What travels with the model: which picture was in which split."""
        return self.manifest.table[list(SPLIT_COLUMNS)]

    def numbers(self, split: str) -> np.ndarray:
        """The class number of every row of a split, int64."""
        number = {label: index for index, label in enumerate(self.manifest.classes)}
        labels = self.manifest.rows(split)["label"]
        return np.array([number[label] for label in labels], dtype=np.int64)


def prepare(
    domain: Domain, data: Path, spec: DataSpec, *, seed: int, quiet: bool = False
) -> Prepared:
    """Recognise, check, drop what cannot be read, and split.

    Args:
        domain: the application.
        data: a data set or a table.
        spec: shares of the splits, or a named protocol.
        seed: of the split.
        quiet: no progress bar.

    Raises:
        UserError: for an unknown layout, too many unreadable files, fewer than two classes, a
            class with one image, or a protocol of another data set.
    """
    manifest = domain.recognise(data)
    with progress("checking", quiet=quiet) as advance:
        checked = check(manifest, on_progress=advance)
    kept, dropped = drop_unreadable(checked.table)
    for line in dropped:
        say(f"left out: {line}", quiet=quiet)
    labelled = kept[kept["label"] != ""]
    classes = sorted(set(labelled["label"]))
    require(len(classes) >= 2, "data", "images of at least two classes", ", ".join(classes) or 0)
    table = _split(domain, manifest.layout, labelled, spec, seed)
    table = table[table["split"] != ""].reset_index(drop=True)
    _require_training_images(table)
    good = labelled.groupby(["bands", "dtype"]).size().idxmax()
    return Prepared(
        manifest=manifest.with_table(table),
        checked=checked,
        dropped=dropped,
        bands=int(good[0]),
        dtype=str(good[1]),
        data_hash=hash_table(table[list(SPLIT_COLUMNS)]),
    )


def _split(
    domain: Domain, layout: str, table: pd.DataFrame, spec: DataSpec, seed: int
) -> pd.DataFrame:
    if spec.protocol is None:
        if spec.groups == "group" and not (table["split"] != "").any():
            table = join_duplicates(table)  # copies of a picture never straddle a split of ours
        split = complete_splits(table, val=spec.val, test=spec.test, seed=seed, groups=spec.groups)
        if spec.groups == "group":
            assert_no_leak(split[["group", "split"]])
        return split
    known = ", ".join(domain.protocols) or "none"
    require(spec.protocol in domain.protocols, "data.protocol", f"one of {known}", spec.protocol)
    protocol = domain.protocols[spec.protocol]
    name = f"data of protocol {spec.protocol}"
    require(layout == protocol.layout, name, f"in the layout {protocol.layout}", layout)
    # Published splits are random over images: neighbours of one mosaic may straddle them.
    return split_by_group(
        table,
        val=spec.val * protocol.training,
        test=1.0 - protocol.training,
        seed=seed,
        groups="none",
    )


def _require_training_images(table: pd.DataFrame) -> None:
    """Every class needs two training images: a pair loss has nothing to pull otherwise."""
    counts = table[table["split"] == "train"]["label"].value_counts()
    for label in sorted(set(table["label"])):
        count = int(counts.get(label, 0))
        if count < 2:
            raise UserError(
                f"class {label!r} must be in at least two training images, got {count}; "
                "add images, lower data.val and data.test, or leave the class out"
            )
    require((table["split"] == "val").any(), "data.val", "large enough for one image", 0)
