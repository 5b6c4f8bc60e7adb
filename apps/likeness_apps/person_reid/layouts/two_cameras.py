"""PRID2011 (Hirzer et al. 2011) and iLIDS-VID (Wang et al. 2014): two cameras, ten halves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.data.findings import Finding
from likeness.data.manifest import Manifest
from likeness.errors import UserError, require
from likeness_apps.person_reid.layouts.frames import people_manifest, tracklets_of
from likeness_apps.person_reid.layouts.halves import Halves, seeded_halves, with_halves
from likeness_apps.person_reid.layouts.matlab import read_numbers
from likeness_apps.person_reid.layouts.tree import Files, Tree, beside

PRID, ILIDS = "prid2011", "ilids-vid"
PRID_FOLDER = re.compile(
    r"^(?:(?P<root>.*)/)?multi_shot/cam_(?P<camera>[ab])/person_(?P<person>\d{4})$"
)
PRID_FILE = re.compile(r"^(?P<frame>\d{4})\.(?i:png)$")
ILIDS_FOLDER = re.compile(
    r"^(?:(?P<root>.*)/)?sequences/cam(?P<camera>[12])/person(?P<person>\d{3})$"
)
ILIDS_FILE = re.compile(r"^cam[12]_person\d{3}_(?P<frame>\d{5})\.(?i:png)$")
PRID_SPLITS = "splits_prid2011.json"
ILIDS_SPLITS, _ILIDS_KEY = "train_test_splits_ilidsvid.mat", "ls_set"
BESIDE = re.compile(rf"^(?:{re.escape(PRID_SPLITS)}|{re.escape(ILIDS_SPLITS)})$")
MIN_FRAMES = 27  # in each camera; 178 people of PRID2011 have them
SHARED = 200  # numbers up to this one are the same person in both cameras of PRID2011
_SEED, _COUNT = 0, 10


def read_prid(tree: Tree, files: Files) -> Manifest:
    """PRID2011: people that both cameras saw long enough, or those of the published splits.

    Args:
        tree: what is there.
        files: the images that are called as this layout says.

    Raises:
        UserError: if nobody is in both cameras with enough frames.
    """
    frames = files.table
    number, alone = frames["person"].astype(int), frames["camera"] + "-" + frames["person"]
    frames["label"] = frames["person"].where(number <= SHARED, alone)
    frames["tracklet"] = "cam_" + frames["camera"] + "/person_" + frames["person"]
    tracklets = tracklets_of(frames.assign(split="", role="", group=""))
    enough = tracklets[tracklets["frames"] >= MIN_FRAMES]["label"].value_counts()
    in_both = tracklets["label"].value_counts()
    people = in_both.index[in_both == 2].tolist()
    file = beside(tree, PRID_SPLITS)
    halves, told = _published(file, PRID_SPLITS, _json_halves, people)
    if halves is None:
        used = sorted(enough.index[enough == 2])
        rule = f"a set with at least two people of >= {MIN_FRAMES} frames in both cameras"
        require(len(used) >= 2, "data", rule, f"{len(used)} in {tree.source}")
        halves = seeded_halves(used, count=_COUNT, seed=_SEED)
    used = sorted([*halves[0][0], *halves[0][1]])
    kept = frames[frames["label"].isin(used)].drop(columns="folder")
    told += _left_out(tracklets[~tracklets["label"].isin(used)], len(used))
    return _manifest(tree, files, PRID, kept, halves, told)


def read_ilids(tree: Tree, files: Files) -> Manifest:
    """iLIDS-VID: all people; published splits count the sorted names of their folders.

    Args:
        tree: what is there.
        files: the images that are called as this layout says.
    """
    frames = files.table.drop(columns="folder")
    frames["label"] = frames["person"]
    frames["tracklet"] = "cam" + frames["camera"] + "/person" + frames["person"]
    people = sorted(frames["label"].unique())
    file = beside(tree, ILIDS_SPLITS, "train-test people splits")
    halves, told = _published(file, ILIDS_SPLITS, _matlab_halves, people)
    if halves is None:
        halves = seeded_halves(people, count=_COUNT, seed=_SEED)
    return _manifest(tree, files, ILIDS, frames, halves, told)


def _manifest(
    tree: Tree,
    files: Files,
    layout: str,
    frames: pd.DataFrame,
    halves: list[Halves],
    findings: list[Finding],
) -> Manifest:
    frames = with_halves(frames.drop(columns="person"), halves)
    return people_manifest(tree.source / files.root, layout, frames, findings)


def _published(
    file: Path | None,
    name: str,
    read: Callable[[Path, Sequence[str]], list[Halves]],
    people: list[str],
) -> tuple[list[Halves] | None, list[Finding]]:
    """The halves in a file; None, and a finding, if it is missing or does not fit."""
    drawn = f"{_COUNT} halves are drawn (seed {_SEED}), which are not the published ones"
    if file is None:
        advice = f"add {name} for published figures"
        return None, [Finding("warning", "own-splits", "", f"no {name}: {drawn}", advice)]
    try:
        return read(file, people), []
    except UserError as error:
        advice = "download it again, or remove it"
        return None, [Finding("error", "splits-do-not-fit", name, f"{error}: {drawn}", advice)]


def _json_halves(file: Path, people: Sequence[str]) -> list[Halves]:
    """A list of `{"train": ["person_0001", ...], "test": [...]}`."""
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
        halves = [
            ([_number(name) for name in one["train"]], [_number(name) for name in one["test"]])
            for one in given
        ]
    except (ValueError, TypeError, KeyError) as error:
        rule = "a list of splits with names under train and test"
        raise UserError(f"{file.name} must be {rule}, got {error!r}") from error
    require(halves, file.name, "of at least one split", 0)
    everybody = sorted([*halves[0][0], *halves[0][1]])
    lost = sorted(set(everybody) - set(people))
    require(not lost, file.name, "of people who are in both cameras", ", ".join(lost[:3]))
    for number, (train, test) in enumerate(halves, start=1):
        rule = "of the people of the first one, each once"
        same = sorted([*train, *test]) == everybody and len(set(everybody)) == len(everybody)
        require(same, f"split {number} of {file.name}", rule, f"{len(train)} and {len(test)}")
    return halves


def _number(name: Any) -> str:
    """`0001` of `person_0001`, `0001` or 1."""
    return f"{int(str(name).rpartition('_')[2]):04d}"


def _matlab_halves(file: Path, people: Sequence[str]) -> list[Halves]:
    """A row per split of places in the sorted people, from 1; the first half is tested."""
    places_SP = read_numbers(file, _ILIDS_KEY)
    count = len(people)
    require(places_SP.shape[1] == count, file.name, f"of {count} people", places_SP.shape[1])
    complete = (np.sort(places_SP, axis=1) == np.arange(1, count + 1)).all()
    require(complete, file.name, f"of rows that hold 1 to {count} once", "others")
    halves = []
    for row_P in places_SP:
        names = [people[place - 1] for place in row_P]
        halves.append((sorted(names[count // 2 :]), sorted(names[: count // 2])))
    return halves


def _left_out(tracklets: pd.DataFrame, used: int) -> list[Finding]:
    """What is told of PRID2011's people who are in no split."""
    if tracklets.empty:
        return []
    message = (
        f"left out: {len(tracklets)} tracklets of people who are not among the {used} of the "
        f"splits (seen by one camera, or in fewer than {MIN_FRAMES} frames)"
    )
    advice = "nothing: the protocol is defined so"
    return [Finding("warning", "outside-the-protocol", tracklets["path"].iloc[0], message, advice)]
