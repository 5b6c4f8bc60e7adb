"""The tables in `info/` of MARS (Zheng et al. 2016): who is in which frames, and who asks.

`tracks_train_info.mat` and `tracks_test_info.mat` hold a row per tracklet: first and last frame
(1-based, inclusive, into `train_name.txt` and `test_name.txt`), identity (-1 junk, 0 distractor)
and camera. `query_IDX.mat` holds rows of the test table, 1-based. The name files are the sorted
names of the images, so everything but the queries can be rebuilt from a listing.

Shapes: T tracklets, Q queries.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int64

from likeness.errors import require
from likeness.files import atomic_path, write_text
from likeness_apps.person_reid.layouts.matlab import read_numbers

KEYS = {"train": "track_train_info", "test": "track_test_info"}
QUERIES, QUERY_KEY = "query_IDX.mat", "query_IDX"
PERSON = r"\d{4,}|00-1"  # -1 as four characters
TRACKLET = rf"(?P<tracklet>(?P<pid>{PERSON})C(?P<camera>\d{{1,2}})T\d{{4,}})"
NAME = rf"^{TRACKLET}F(?P<frame>\d{{3,}})\.(?i:jpe?g)$"


def tracks_name(part: str) -> str:
    """The file with the tracklets of `train` or `test`."""
    return f"tracks_{part}_info.mat"


def names_name(part: str) -> str:
    """The file with the frames of `train` or `test`."""
    return f"{part}_name.txt"


def read_tracks(path: Path, part: str) -> Int64[np.ndarray, "T 4"]:
    """First frame, last frame, identity and camera of each tracklet, as they stand there.

    Raises:
        UserError: if it is no such table, or a row has no frame.
    """
    tracks_T4 = read_numbers(path, KEYS[part])
    require(tracks_T4.shape[1] == 4, path.name, "a table with four columns", tracks_T4.shape[1])
    wrong = np.flatnonzero((tracks_T4[:, 0] < 1) | (tracks_T4[:, 1] < tracks_T4[:, 0]))
    if len(wrong):
        row = wrong[0]
        told = tracks_T4[row, :2].tolist()
        require(False, f"row {row + 1} of {path.name}", "from a first to a last frame", told)
    return tracks_T4


def read_queries(path: Path, number: int) -> Int64[np.ndarray, " Q"]:
    """The rows of the test table that are queries, from 0.

    Args:
        path: `query_IDX.mat`.
        number: rows of the test table.

    Raises:
        UserError: if it is no such table, or it names a row that is not there or one twice.
    """
    rows_Q = read_numbers(path, QUERY_KEY).ravel()
    wrong = rows_Q[(rows_Q < 1) | (rows_Q > number)]
    require(len(wrong) == 0, path.name, f"of rows from 1 to {number}", wrong[:1].tolist())
    require(len(np.unique(rows_Q)) == len(rows_Q), path.name, "of different rows", len(rows_Q))
    return rows_Q - 1


def tracklets_of_rows(
    tracks_T4: Int64[np.ndarray, "T 4"],
    names: Sequence[str] | None,
    listed: Sequence[str],
    file: str,
) -> list[str]:
    """The tracklet of each row: `0001C1T0001`.

    Args:
        tracks_T4: as `read_tracks` gives it.
        names: those of the frames, in the order of their file; None if it is not there.
        listed: the tracklets in the folders, sorted; without `names` they are the rows.
        file: the table, for messages.

    Raises:
        UserError: if rows and names, or rows and folders, do not fit.
    """
    if names is None:
        require(len(listed) == len(tracks_T4), file, f"of {len(listed)} tracklets", len(tracks_T4))
        found = list(listed)
    else:
        last = int(tracks_T4[:, 1].max(initial=0))
        require(last <= len(names), file, f"of the {len(names)} frames that have names", last)
        first_T = [_tracklet(names[row - 1]) for row in tracks_T4[:, 0]]
        found = [_tracklet(names[row - 1]) for row in tracks_T4[:, 1]]
        odd = next((n for n, name in enumerate(found) if name != first_T[n]), None)
        rule = "of frames of one tracklet in every row"
        require(odd is None, file, rule, f"row {(odd or 0) + 1}")
        require(len(set(found)) == len(found), file, "of a row per tracklet", len(found))
    parsed = pd.Series(found, dtype=str).str.extract(f"^{TRACKLET}$")
    same = parsed["camera"].astype(float).to_numpy() == tracks_T4[:, 3]
    person = parsed["pid"].replace({"00-1": "-1"}).astype(float).to_numpy()
    wrong = np.flatnonzero(~(same & (person == tracks_T4[:, 2])))
    if len(wrong):
        row, rule = wrong[0], f"about the identity and camera of {found[wrong[0]]}"
        require(False, f"row {row + 1} of {file}", rule, tracks_T4[row, 2:].tolist())
    return found


def write_info(root: Path, names: dict[str, list[str]], queries: Collection[str]) -> None:
    """Write `info/` for images that lie in `bbox_train` and `bbox_test`.

    Args:
        root: the folder of the set.
        names: those of the images, for `train` and `test`.
        queries: tracklets of the test part that ask.
    """
    from scipy.io import savemat

    for part, key in KEYS.items():
        ordered = sorted(names[part])
        frames = pd.Series(ordered, dtype=str).str.extract(NAME)
        last = frames.drop_duplicates("tracklet", keep="last").index.to_numpy() + 1
        rows = frames.drop_duplicates("tracklet")
        pid = rows["pid"].replace({"00-1": "-1"}).astype("int32")
        camera = rows["camera"].astype("int32")
        tracks_T4 = np.stack([rows.index.to_numpy() + 1, last, pid, camera], axis=1)
        write_text(root / "info" / names_name(part), "".join(f"{name}\n" for name in ordered))
        with atomic_path(root / "info" / tracks_name(part)) as temporary:
            savemat(temporary, {key: tracks_T4.astype(np.int32)}, appendmat=False)
        if part == "test":
            asking = np.flatnonzero(rows["tracklet"].isin(list(queries)).to_numpy()) + 1
            with atomic_path(root / "info" / QUERIES) as temporary:
                savemat(temporary, {QUERY_KEY: asking[None].astype(np.uint16)}, appendmat=False)


def _tracklet(name: str) -> str:
    return name.rpartition("F")[0]
