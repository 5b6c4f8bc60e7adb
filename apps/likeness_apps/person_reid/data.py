"""From recognised frames to what a run can use: checked, and split so that no identity straddles.

Test identities are others than those trained on, and so are validation identities: nothing is
classified there, everything is ranked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from likeness.data.checks import check, drop_unreadable
from likeness.data.manifest import Manifest
from likeness.data.splits import assert_no_leak, split_by_group
from likeness.errors import require
from likeness.provenance import hash_table
from likeness.training.spec import DataSpec, RunSpec
from likeness_apps.person_reid.identities import NOBODY
from likeness_apps.person_reid.layouts.halves import TESTED_IN, with_split
from likeness_apps.shell.console import progress, say
from likeness_apps.shell.data import SPLIT_COLUMNS, Prepared
from likeness_apps.shell.domain import Domain


@dataclass(frozen=True)
class Identities:
    """The people of a training split, for `shell.tasks.Labels`.

    Attributes:
        classes: their names; the class layer has one output for each.
    """

    classes: list[str]
    multilabel = False

    def targets(self, cells: Sequence[str]) -> np.ndarray:
        """Numbers of identities; who was not trained on gets numbers behind the classes."""
        others = sorted(set(cells) - set(self.classes))
        number = {name: place for place, name in enumerate([*self.classes, *others])}
        return np.array([number[cell] for cell in cells], dtype=np.int64)

    def counts(self, targets: np.ndarray) -> list[int]:
        """Frames of each identity that is trained on."""
        count = len(self.classes)
        return [int(frames) for frames in np.bincount(targets, minlength=count)[:count]]


def prepare_people(domain: Domain, manifest: Manifest, spec: RunSpec, *, quiet: bool) -> Prepared:
    """Check the frames, leave out what cannot be used, and split by identity.

    Args:
        domain: the application.
        manifest: one row per frame, see `layouts`.
        spec: the configuration; of `data` it reads `val`, `test` and `fold` (the number of a
            published random split).
        quiet: no progress bar, nothing said.

    Raises:
        UserError: if too many frames cannot be read, a published split is asked of a set that has
            none, or fewer than two identities are left to train on.
    """
    manifest = _chosen_split(manifest, spec.data)
    with progress("checking", quiet=quiet) as advance:
        checked = check(manifest, grey=spec.data.grey, near_distance=None, on_progress=advance)
    kept, dropped = drop_unreadable(checked.table, names=lambda label: [])
    for line in dropped:
        say(f"left out: {line}", quiet=quiet)
    table = _split(kept, spec.data, spec.seed)
    training = table[table["split"] == "train"]
    classes = sorted(training["label"].unique())
    require(len(classes) >= 2, "data", "frames of at least two identities to train on", classes)
    good = kept.groupby(["bands", "dtype"]).size().idxmax()
    return Prepared(
        manifest=manifest.with_table(table),
        checked=checked,
        labels=Identities(classes),
        dropped=dropped,
        bands=int(good[0]),
        dtype=str(good[1]),
        data_hash=hash_table(table[list(SPLIT_COLUMNS)]),
    )


def _chosen_split(manifest: Manifest, spec: DataSpec) -> Manifest:
    """The published random split that the configuration asks for; the first one otherwise."""
    require(spec.protocol is None, "data.protocol", "null: `evaluate` names it", spec.protocol)
    if spec.fold is None:
        return manifest
    there = TESTED_IN in manifest.table.columns
    require(
        there, "data.fold", f"null for {manifest.layout}, which has no random splits", spec.fold
    )
    return with_split(manifest, spec.fold)


def _split(kept: pd.DataFrame, spec: DataSpec, seed: int) -> pd.DataFrame:
    """Train, val and test by identity: published ones stay, and what is missing is drawn."""
    split = kept["split"].copy()
    somebody = ~kept["label"].isin(NOBODY)
    bare = somebody & (split == "")
    if not (split == "train").any():
        split[bare] = _drawn(
            kept[bare], spec.val, 0.0 if (split == "test").any() else spec.test, seed
        )
    elif not (split == "val").any():
        trained = somebody & (split == "train")
        split[trained] = _drawn(kept[trained], spec.val, 0.0, seed)
    nobody_tested = ~somebody & split.isin(("", "train", "val"))
    split[nobody_tested] = ""  # distractors and junk belong to a test set, and to no other
    table = kept.assign(split=split)
    table = table[table["split"] != ""].reset_index(drop=True)
    assert_no_leak(table[~table["label"].isin(NOBODY)][["group", "split"]])
    rule = "enough for one identity of at least two cameras"
    cameras = table[table["split"] == "val"].groupby("label")["camera"].nunique()
    require(bool((cameras > 1).any()), "data.val", rule, f"{len(cameras)} identities of one camera")
    return table


def _drawn(rows: pd.DataFrame, val: float, test: float, seed: int) -> pd.Series:
    """Identities at random; frames of everybody are alike, so nothing is stratified."""
    people = rows.assign(label="somebody", group=rows["label"])
    return split_by_group(people, val=val, test=test, seed=seed)["split"]
