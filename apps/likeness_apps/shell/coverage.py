"""How many items of a split have an answer, and the figures if the others count as wrong.

An item may have no answer because its file is broken, or because there never was an image of it: no
face was found in a photograph, say. Figures of the answered ones alone flatter a method that gives
up on the hard ones.

Legend: N items, C classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from likeness.bundle import Bundle
from likeness.data.manifest import SPLITS, Manifest
from likeness.evaluation import resampling
from likeness.evaluation.classification import (
    average_accuracy,
    mean_defined,
    overall_accuracy,
    ratio,
)
from likeness.evaluation.intervals import confusion_sums
from likeness.evaluation.resampling import DEFAULT, Bootstrap
from likeness.evaluation.values import MetricValue, plain
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.matching import EXTERNAL
from likeness_apps.shell.terms import Terms

ANSWERED = "ok"
UNKNOWN_SPLIT = "the set does not say in which split they are"


def with_absent(
    domain: Domain,
    bundle: Bundle,
    manifest: Manifest,
    terms: Terms,
    split: str,
    table: pd.DataFrame,
    classes: Sequence[str],
    bootstrap: Bootstrap = DEFAULT,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """predictions.csv with the items of the split that have no image, and the entry `coverage`.

    Args:
        domain: the application.
        bundle: the model.
        manifest: the set.
        terms: on what terms the model is measured.
        split: the one that turned out to be measured.
        table: predictions.csv of the items with an image.
        classes: C names.
        bootstrap: of the intervals.

    Returns:
        The table, and `coverage` if the set has items without an image; see `coverage`. Those of
        which nobody knows whether they belong to the split are counted as `unplaced` only.
    """
    absent = None if domain.absent is None else domain.absent(manifest)
    if absent is None or not len(absent):
        return table, {}
    absent = terms.labelled(manifest.with_table(absent), bundle.classes).table
    absent = absent[absent["label"] != ""]
    mine, unplaced = _of_split(absent, manifest, terms, split)
    added = pd.DataFrame(
        {
            "path": mine["path"],
            "status": mine["status"],
            "reason": mine["reason"],
            "truth": mine["label"],
            "label": "",
            "group": mine["group"],
        }
    )
    whole = pd.concat([table, added], ignore_index=True)
    found = coverage(whole, classes, bootstrap)
    if unplaced:
        found |= {"unplaced": unplaced, "unplaced_reason": UNKNOWN_SPLIT}
    return whole, {"coverage": found}


def coverage(
    table: pd.DataFrame, classes: Sequence[str], bootstrap: Bootstrap = DEFAULT
) -> dict[str, Any]:
    """Shares and figures over all N items of a table, answered or not.

    Args:
        table: of predictions.csv: `status`, `truth`, `label` and `group` of N >= 1 items.
        classes: C names; every truth is one of them.
        bootstrap: of the intervals.

    Returns:
        items (N); by_status (how many of each); answered (the share with an answer); on_all:
        overall_accuracy, average_accuracy and macro_f1 where an item without an answer is wrong. On
        the answered items alone these are the shared figures.
    """
    number = {name: place for place, name in enumerate(classes)}
    answered_N = (table["status"] == ANSWERED).to_numpy()
    truth_N = np.array([number[name] for name in table["truth"]], dtype=np.int64)
    nothing = len(classes)  # a class of its own: nothing is it, and whoever says nothing says it
    said = zip(table["label"], answered_N, strict=True)
    said_N = np.array([number[name] if ok else nothing for name, ok in said], dtype=np.int64)
    groups_N = table["group"].to_numpy()
    sums = confusion_sums(truth_N, said_N, nothing + 1, groups_N)
    figures = {
        "overall_accuracy": overall_accuracy,
        "average_accuracy": average_accuracy,
        "macro_f1": _macro_f1,
    }
    side = nothing + 1
    statistics = {
        name: lambda cells, one=one: one(cells.reshape(-1, side, side))
        for name, one in figures.items()
    }
    found = resampling.intervals(sums, statistics, bootstrap)
    share = resampling.mean_interval(answered_N.astype(np.float64), groups_N, bootstrap)
    counts = {"overall_accuracy": len(table), "average_accuracy": len(np.unique(truth_N))}
    occur = len(np.union1d(truth_N, said_N[answered_N]))
    return {
        "items": len(table),
        "by_status": dict(sorted(Counter(table["status"]).items())),
        "answered": share.on(MetricValue(share.value, len(table))).as_dict(),
        "on_all": plain(
            {
                name: one.on(MetricValue(one.value, counts.get(name, occur)))
                for name, one in found.items()
            }
        ),
    }


def _macro_f1(counts: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes in truth or answers; the last one is no class."""
    right = np.einsum("...ii->...i", counts)
    both = counts.sum(axis=-1) + counts.sum(axis=-2)
    return mean_defined(ratio(2 * right, both)[..., :-1])


def _of_split(
    absent: pd.DataFrame, manifest: Manifest, terms: Terms, split: str
) -> tuple[pd.DataFrame, int]:
    """Those in the measured split, and of how many nobody knows it."""
    if split in (EXTERNAL, "all"):
        return absent, 0
    fold = terms.stated.get("fold")
    if fold is not None and split == "test" and "fold" in absent:
        return absent[absent["fold"].astype(str) == str(fold)], 0
    if fold is None and split in SPLITS and (manifest.table["split"] == split).any():
        return absent[absent["split"] == split], 0
    return absent[:0], len(absent)
