"""Sets that are tested on ten random halves of their people: which half is tested when.

The column `tested_in` says in which splits (from 1) an identity is tested; in the others it trains.
A manifest starts with the first split; `with_split` gives any other one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from likeness.data.manifest import Manifest
from likeness.errors import require
from likeness_apps.person_reid.layouts.roles import role_of

Halves = tuple[list[str], list[str]]  # identities to train on, identities to test
TESTED_IN = "tested_in"


def seeded_halves(identities: Sequence[str], *, count: int, seed: int) -> list[Halves]:
    """Random halves, the same for the same identities in any order.

    Args:
        identities: all of them; with an odd number one more is trained on than tested.
        count: how many splits, >= 1.
        seed: of the generator, >= 0.

    Raises:
        UserError: if there are fewer than two identities or `count` or `seed` is out of range.
    """
    ordered = sorted(set(identities))
    require(len(ordered) >= 2, "identities", "at least two", len(ordered))
    require(count >= 1, "count", ">= 1", count)
    require(seed >= 0, "seed", ">= 0", seed)
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        order = [ordered[place] for place in generator.permutation(len(ordered))]
        tested = len(ordered) // 2
        made.append((sorted(order[tested:]), sorted(order[:tested])))
    return made


def with_halves(frames: pd.DataFrame, halves: Sequence[Halves]) -> pd.DataFrame:
    """The frames with `tested_in`, and with split and role of the first split.

    Args:
        frames: with columns label and camera.
        halves: each of the same identities, those of the frames.

    Raises:
        UserError: if a split is not of these identities, or has one on both sides or on none.
    """
    everybody = sorted(frames["label"].unique())
    tested: dict[str, list[str]] = {name: [] for name in everybody}
    for number, (train, test) in enumerate(halves, start=1):
        rule = f"of the {len(everybody)} identities of the set, each once"
        told = f"{len(train)} and {len(test)}"
        require(sorted([*train, *test]) == everybody, f"split {number}", rule, told)
        for name in test:
            tested[name].append(str(number))
    column = frames["label"].map({name: " ".join(numbers) for name, numbers in tested.items()})
    return _take(frames.assign(**{TESTED_IN: column.astype(str)}), 1)


def splits(manifest: Manifest) -> list[Halves]:
    """Identities to train on and to test of each split; [] for a set without `tested_in`."""
    if TESTED_IN not in manifest.table:
        return []
    rows = manifest.table.drop_duplicates("label")
    numbers = {
        label: {int(number) for number in str(cell).split()}
        for label, cell in zip(rows["label"], rows[TESTED_IN], strict=True)
    }
    count = max((number for of in numbers.values() for number in of), default=0)
    return [
        (
            sorted(label for label, of in numbers.items() if number not in of),
            sorted(label for label, of in numbers.items() if number in of),
        )
        for number in range(1, count + 1)
    ]


def with_split(manifest: Manifest, number: int) -> Manifest:
    """The same set with split and role of another of its splits; queries are of the first camera.

    Args:
        manifest: with the column `tested_in`.
        number: from 1.

    Raises:
        UserError: if there is no such split.
    """
    count = len(splits(manifest))
    require(1 <= number <= count, "split", f"from 1 to {count}", number)
    return manifest.with_table(_take(manifest.table, number))


def _take(frames: pd.DataFrame, number: int) -> pd.DataFrame:
    tested = {cell: str(number) in str(cell).split() for cell in frames[TESTED_IN].unique()}
    test = frames[TESTED_IN].map(tested).astype(bool)
    split = pd.Series(np.where(test, "test", "train"), index=frames.index, dtype=str)
    first = min(frames["camera"], default="")
    return frames.assign(split=split, role=role_of(split, (frames["camera"] == first).to_numpy()))
