"""A table with one row per tracklet: read, checked, and as what the evaluation asks for.

Columns: `label` (identity, or distractor or junk), `camera`, `tracklet` (its name), `role` (query
or gallery; without the column, or with no role in it, every tracklet of somebody asks all others).
`tested_in` has the numbers of the random splits, with blanks between, that a row is tested in; a
table with a role in every row is one test set, whatever it says of splits, and one with a role in
some rows (those of its first split) has none for the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from likeness.data.tables import load_frame
from likeness.errors import require
from likeness.evaluation.query_gallery import Items
from likeness_apps.person_reid.identities import DISTRACTOR, JUNK, NOBODY
from likeness_apps.person_reid.layouts.halves import TESTED_IN
from likeness_apps.person_reid.protocols import RankingProtocol

NEEDED = ("label", "camera", "tracklet")
ROLES = ("query", "gallery")


@dataclass(frozen=True, eq=False)
class TrackletSet:
    """One test set within a table.

    Attributes:
        split: the number of the random split; "" if the table has one test set.
        rows: its rows in the table.
        items: who is who among them.
    """

    split: str
    rows: np.ndarray
    items: Items


def read_tracklets(path: Path) -> pd.DataFrame:
    """A csv or parquet table of tracklets; rows whose `status` is not ok are left out.

    Raises:
        UserError: as `tracklet_table`, or if it cannot be read.
    """
    table = load_frame(path)
    if "status" in table.columns:
        table = table[table["status"] == "ok"].reset_index(drop=True)
    return tracklet_table(table)


def tracklet_table(table: pd.DataFrame) -> pd.DataFrame:
    """The columns that count, as text: label, camera, tracklet, role, and maybe `tested_in`.

    Raises:
        UserError: if a column is missing, a label is empty or a role is unknown.
    """
    missing = [name for name in NEEDED if name not in table.columns]
    require(not missing, "table", f"one with the columns {', '.join(NEEDED)}", f"no {missing}")
    require(len(table) > 0, "table", "one row per tracklet", "no row")
    kept = [*NEEDED, *(name for name in ("role", TESTED_IN) if name in table.columns)]
    texts = table[kept].fillna("").astype(str).apply(lambda column: column.str.strip())
    if "role" not in texts.columns:
        texts["role"] = ""
    if (texts["role"] != "").all():
        texts = texts.drop(columns=TESTED_IN, errors="ignore")
    elif TESTED_IN in texts.columns:
        texts["role"] = texts["role"].where(~texts["role"].isin(ROLES), "")
    wrong = sorted(set(texts["role"]) - {*ROLES, ""})
    require(not wrong, "role", "query, gallery or empty", wrong[:3])
    empty = int((texts["label"] == "").sum())
    rule = f"an identity, {DISTRACTOR} or {JUNK} in every row"
    require(not empty, "label", rule, f"{empty} empty ones")
    return texts.reset_index(drop=True)


def sets_of(table: pd.DataFrame, protocol: RankingProtocol) -> list[TrackletSet]:
    """The test sets in a table: one, or one for each number in `tested_in`.

    Args:
        table: of `tracklet_table`.
        protocol: says who asks where that is fixed by the camera.

    Raises:
        UserError: if a tracklet is listed twice in a set, roles are given to some rows only, nobody
            asks, or a query's camera is in the gallery against the protocol.
    """
    if TESTED_IN not in table.columns:
        return [_set("", table, np.arange(len(table)), protocol)]
    cells = [set(cell.split()) for cell in table[TESTED_IN]]
    numbers = sorted(set().union(*cells), key=lambda number: (len(number), number))
    require(numbers, TESTED_IN, "the numbers of splits", "empty in every row")
    tested = {number: np.array([number in cell for cell in cells]) for number in numbers}
    return [_set(number, table, np.flatnonzero(in_N), protocol) for number, in_N in tested.items()]


def require_rankable(table: pd.DataFrame, protocol: RankingProtocol) -> None:
    """Refuse a table in which everybody asks and nobody is left to be found.

    Args:
        table: of `tracklet_table`.
        protocol: says whether queries stay in the gallery.

    Raises:
        UserError: saying what to write, or as `sets_of`.
    """
    rule = (
        "query in the rows that ask and gallery in the rows that they are looked for in: protocol "
        f"{protocol.name} leaves queries out of the gallery (cross-camera and mars-official keep "
        "them in)"
    )
    for each in sets_of(table, protocol):
        part = table.iloc[each.rows]
        given = bool((part["role"] != "").any())
        nobody = part["label"].isin((JUNK,) if given else NOBODY).to_numpy()
        left = protocol.rules.queries_in_gallery or (~each.items.query_N & ~nobody).any()
        got = "no row with gallery" if given else "a table that says so of no row"
        require(left, "role", rule, got)


def _set(
    split: str, table: pd.DataFrame, rows: np.ndarray, protocol: RankingProtocol
) -> TrackletSet:
    part = table.iloc[rows]
    twice = part["tracklet"][part["tracklet"].duplicated()].tolist()
    require(not twice, "tracklet", "listed once in a test set", twice[:3])
    label_N, camera_N = part["label"].to_numpy(object), part["camera"].to_numpy(object)
    asks_N = _asking(part, protocol)
    if protocol.one_camera_asks:
        asking, asked = set(camera_N[asks_N]), set(camera_N[~asks_N])
        rule = f"of one camera that the gallery has nothing of, for protocol {protocol.name}"
        got = f"queries of {sorted(asking)} and a gallery of {sorted(asked)}"
        require(len(asking) == 1 and not asking & asked, "queries", rule, got)
    items = Items(label_N, camera_N, asks_N, label_N == JUNK, label_N == DISTRACTOR)
    return TrackletSet(split, rows, items)


def _asking(part: pd.DataFrame, protocol: RankingProtocol) -> np.ndarray:
    """Which rows are queries; where no role says so, all rows of somebody, or the first camera."""
    if protocol.one_camera_asks and TESTED_IN in part.columns:
        return np.asarray(part["camera"] == part["camera"].min())
    roles = part["role"]
    if not (roles != "").any():
        return np.asarray(~part["label"].isin(NOBODY))
    empty = int((roles == "").sum())
    require(not empty, "role", "query or gallery in every row, or in none", f"{empty} empty ones")
    return np.asarray(roles == "query")
