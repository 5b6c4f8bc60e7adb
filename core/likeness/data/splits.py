"""Splits on groups: seeded, stratified, the same whatever the order of the rows.

No paper fixes how to split on groups; the greedy assignment below is our reconstruction of what
scikit-learn's StratifiedGroupKFold does, with a hash instead of a shuffled list.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int64

from likeness.data.manifest import SEPARATOR, SPLITS
from likeness.errors import UserError, require

Groups = Literal["group", "none"]


def split_by_group(
    table: pd.DataFrame, *, val: float, test: float, seed: int, groups: Groups = "group"
) -> pd.DataFrame:
    """Assign every labelled row to train, val or test; no group straddles.

    Within each class the shares come as close to the wanted ones as whole groups allow. The result
    depends on the seed and on the set of rows, not on their order. Splits that the table already
    has are overwritten; unlabelled rows get "".

    Args:
        table: with columns path, label, group.
        val: share of the images for validation, in [0, 1).
        test: share of the images for testing, in [0, 1); val + test < 1.
        seed: >= 0.
        groups: "none" treats each image as its own group, as most published splits do.

    Returns:
        A copy with a new `split` column, rows in the order given.

    Raises:
        UserError: if a share is out of range, or a wanted split would stay empty.
    """
    require(0 <= val < 1, "val", "in [0, 1)", val)
    require(0 <= test < 1, "test", "in [0, 1)", test)
    require(val + test < 1, "val + test", "< 1", val + test)
    shares = {"train": 1.0 - val - test, "val": float(val), "test": float(test)}
    wanted = [name for name in SPLITS if shares[name] > 0]
    labelled = (table["label"] != "").to_numpy()
    rows = table[labelled]
    places = _assign(rows, [shares[name] for name in wanted], seed, groups)
    for place, name in enumerate(wanted):
        if not (places == place).any():
            count = len(set(_units(rows, groups)))
            raise UserError(
                f"groups must be enough for a {name} split of {shares[name]:.3g}, got {count}"
            )
    names = np.array([*wanted, ""], dtype=object)
    chosen = np.full(len(table), len(wanted))
    chosen[labelled] = places
    return table.assign(split=pd.Series(names[chosen], index=table.index, dtype=str))


def complete_splits(
    table: pd.DataFrame, *, val: float, test: float, seed: int, groups: Groups = "group"
) -> pd.DataFrame:
    """Keep the splits that a table brings and make those that it lacks.

    Without any split, all rows are split. Otherwise rows without one stay out; a missing val is
    taken from train (the share `val` of the train rows), and so is a missing test.

    Args:
        table: with columns path, label, split, group.
        val: share for validation if there is no val split; 0 makes none.
        test: share for testing if there is no test split; 0 makes none.
        seed: >= 0.
        groups: as in `split_by_group`.

    Raises:
        UserError: if there are splits but no train rows, a share is out of range, or a split that
            is to be made would stay empty.
    """
    have = set(table["split"]) - {""}
    if not have:
        return split_by_group(table, val=val, test=test, seed=seed, groups=groups)
    require("train" in have, "split", "train for some rows", ", ".join(sorted(have)))
    part = table[table["split"] == "train"]
    made = split_by_group(
        part,
        val=0.0 if "val" in have else val,
        test=0.0 if "test" in have else test,
        seed=seed,
        groups=groups,
    )
    split = table["split"].copy()
    split.loc[part.index] = made["split"]
    return table.assign(split=split)


def cross_fit(
    table: pd.DataFrame, *, folds: int, seed: int, groups: Groups = "group"
) -> Int64[np.ndarray, " N"]:
    """The fold of each row, 0 .. folds - 1: groups whole, classes balanced.

    Args:
        table: with columns path, label, group.
        folds: >= 2, and no more than there are groups.
        seed: >= 0.
        groups: "none" treats each image as its own group.

    Raises:
        UserError: if `folds` is out of range.
    """
    count = len(set(_units(table, groups)))
    require(2 <= folds <= count, "folds", f"from 2 to the number of groups, {count}", folds)
    places = _assign(table, [1.0 / folds] * folds, seed, groups)
    filled = len(np.unique(places))
    require(filled == folds, "folds", f"<= {filled} for groups as uneven as these", folds)
    return places


def join_duplicates(table: pd.DataFrame) -> pd.DataFrame:
    """Merge the groups of rows that hold the same or nearly the same picture.

    Reads the columns `pixels` and `twin` of `checks.check`, where they are present: rows with an
    equal, non-empty value belong together, and so do all rows of their groups. Split afterwards,
    and no duplicate can leak.

    Returns:
        A copy whose `group` is the least name among the merged groups.
    """
    parent = {group: group for group in table["group"]}

    def find(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    for column in ("pixels", "twin"):
        if column not in table.columns:
            continue
        first: dict[str, str] = {}
        for value, group in zip(table[column], table["group"], strict=True):
            if value:
                low, high = sorted((find(first.setdefault(value, group)), find(group)))
                parent[high] = low
    merged = [find(group) for group in table["group"]]
    return table.assign(group=pd.Series(merged, index=table.index, dtype=str))


def assert_no_leak(table: pd.DataFrame) -> None:
    """Refuse a table in which a group or a picture is in several splits.

    Args:
        table: with columns split and group; `sha256` and `pixels` are looked at if present.

    Raises:
        UserError: naming the first group or picture and its splits.
    """
    for column in ("group", "sha256", "pixels"):
        if column not in table.columns:
            continue
        for value, splits in straddling(table, column).items():
            names = " and ".join(splits)
            what = f"group {value!r}"
            if column != "group":
                what = f"image {table.loc[table[column] == value, 'path'].iloc[0]!r}"
            raise UserError(f"{what} must be in one split, got {names}")


def straddling(table: pd.DataFrame, column: str) -> dict[str, list[str]]:
    """The non-empty values of a column that occur in several splits, with these splits, sorted."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for value, split in zip(table[column], table["split"], strict=True):
        if value and split:
            found[value].add(split)
    return {
        value: [name for name in SPLITS if name in splits]
        for value, splits in sorted(found.items())
        if len(splits) > 1
    }


def _units(table: pd.DataFrame, groups: Groups) -> list[str]:
    """What must stay whole; a row without a group is its own."""
    require(groups in ("group", "none"), "groups", "'group' or 'none'", groups)
    paths: list[str] = table["path"].tolist()
    if groups == "none":
        return paths
    return [group or path for group, path in zip(table["group"], paths, strict=True)]


def _assign(
    table: pd.DataFrame, shares: Sequence[float], seed: int, groups: Groups
) -> Int64[np.ndarray, " N"]:
    """Give each group to one place, largest groups first, in two rounds.

    First every group that still fits whole goes where its rarest class has most room. What is left
    over (at most about a group per class and place) goes to a place that is still empty, else to
    one where the class is missing and half the group fits, else to the place that lacks most images
    over all classes: so rounding does not push every class the same way.

    Args:
        table: with columns path, label, group.
        shares: of the images, one for each place; they sum to 1.
        seed: >= 0.
        groups: what stays whole.

    Returns:
        The place of each row.
    """
    require(seed >= 0, "seed", ">= 0", seed)
    units = _units(table, groups)
    state = _Places(units, table["label"].tolist(), np.asarray(shares, dtype=np.float64))
    left_over = []
    for unit in sorted(state.counts, key=lambda u: (-state.images[u], _key(seed, u), u)):
        free = state.room(unit)
        if free.max() >= 1:
            state.put(unit, _best(free, state.needy()))
        else:
            left_over.append(unit)
    for unit in left_over:
        free = state.room(unit)
        empty = state.empty() & (state.needy() >= state.images[unit] / 2)
        first = np.where(state.missing(unit) & (free >= 0.5), free, 0.0)
        needy = np.where(free > 0, state.needy(), -np.inf)
        state.put(unit, _best(empty, first, needy, free))
    return np.array([state.place_of[unit] for unit in units], dtype=np.int64)


class _Places:
    """What each place still lacks, of each class and of all images."""

    def __init__(self, units: list[str], labels: list[str], shares: np.ndarray) -> None:
        self.counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        sizes: Counter[str] = Counter()
        for unit, cell in zip(units, labels, strict=True):
            names = cell.split(SEPARATOR)  # a multi-label image counts for each of its labels
            self.counts[unit].update(names)
            sizes.update(names)
        self.want = {label: shares * size for label, size in sizes.items()}
        self.lack = {label: values.copy() for label, values in self.want.items()}
        self.images = Counter(units)
        self.want_all = shares * len(units)
        self.lack_all = self.want_all.copy()
        self.place_of: dict[str, int] = {}

    def put(self, unit: str, place: int) -> None:
        self.place_of[unit] = place
        self.lack_all[place] -= self.images[unit]
        for label, count in self.counts[unit].items():
            self.lack[label][place] -= count

    def room(self, unit: str) -> np.ndarray:
        """How many such groups each place could take; rounded, so that ties stay ties."""
        fits = [self.lack[label] / count for label, count in self.counts[unit].items()]
        least: np.ndarray = np.stack(fits).min(axis=0)
        return np.round(least, 9)

    def needy(self) -> np.ndarray:
        return np.round(self.lack_all, 9)

    def empty(self) -> np.ndarray:
        """Which places have no image yet."""
        untouched: np.ndarray = self.lack_all == self.want_all
        return untouched

    def missing(self, unit: str) -> np.ndarray:
        """Which places have no image yet of one of the group's classes."""
        untouched = [self.lack[label] == self.want[label] for label in self.counts[unit]]
        fresh: np.ndarray = np.logical_or.reduce(untouched)
        return fresh


def _best(*keys: np.ndarray) -> int:
    """The place with the greatest keys, the earlier key first; then the lowest place."""
    places = range(len(keys[0]))
    return max(places, key=lambda place: (*(key[place] for key in keys), -place))


def _key(seed: int, name: str) -> bytes:
    """A random-looking key that depends on the seed and the name alone."""
    return hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()
