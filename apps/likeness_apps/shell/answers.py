"""What `search` found, as a table, a contact sheet and a list on the screen.

Shapes: Q = queries, D = embedding dimension.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.errors import require
from likeness.files import atomic_path
from likeness.search.index import Index
from likeness_apps.shell.console import say, show_table
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.report.data import Picture
from likeness_apps.shell.report.sheets import MAX_ROWS, SheetItem, SheetRow, write_sheet
from likeness_apps.shell.results import thumbnail
from likeness_apps.shell.tasks import Task, task_of

SHEET_COLUMNS = 10
SHOWN = 50  # rows on the screen
HitPicture = Callable[[Any], Picture | None]  # of a row of the found table
HitName = Callable[[Any], str]


def _path(hit: Any) -> str:
    return str(hit.path)


@dataclass(frozen=True, eq=False)
class Query:
    """What is known of a query beside its embedding.

    Attributes:
        name: in the table.
        title: on the sheet.
        key: rows of the index whose `sha256` equals it are copies of the query.
        label: its class, "" if unknown.
        picture: gives a small picture of it, or None.
    """

    name: str
    title: str
    key: str
    label: str
    picture: Callable[[], Picture | None]


@dataclass(frozen=True, eq=False)
class Asked:
    """Queries that could be read, with their embeddings, and those that could not.

    Attributes:
        queries: Q of them.
        embeddings_QD: theirs.
        failed: (name, reason) of the others.
    """

    queries: list[Query]
    embeddings_QD: np.ndarray
    failed: list[tuple[str, str]]


def require_outputs(out: Path | None, sheet: Path | None) -> None:
    """Refuse names that `search` cannot write, before any work."""
    if out is not None:
        require(out.suffix in (".csv", ".parquet"), "out", "a .csv or .parquet file", str(out))
    if sheet is not None:
        require(sheet.suffix == ".png", "sheet", "a .png file", str(sheet))


def deliver(
    domain: Domain,
    opened: Index,
    asked: Asked,
    found: pd.DataFrame,
    *,
    out: Path | None = None,
    sheet: Path | None = None,
    note: str = "",
    picture: HitPicture | None = None,
    name: HitName = _path,
    quiet: bool = False,
) -> pd.DataFrame:
    """Show and write what was found, as `search` does.

    Args:
        domain: the application.
        opened: the index.
        asked: the queries.
        found: what `nearest_rows` gave.
        out: table file, see `search`.
        sheet: picture file, see `search`.
        note: said below the sheet.
        picture: gives the picture of a row of `found`; None: the file at its path.
        name: what a row of `found` is called on the sheet and on the screen.
        quiet: no table on the screen.

    Returns:
        `found`, and one more row for each query that could not be read.
    """
    for query, reason in asked.failed:
        say(f"cannot be asked: {query}: {reason}", quiet=quiet)
    table = _with_failures(found, asked.failed)
    if out is not None:
        write_found(table, out)
    if sheet is not None:
        root = Path(opened.facts["root"])
        rows = _sheet_rows(
            found,
            asked.queries,
            picture or (lambda hit: thumbnail(root / str(hit.path))),
            task_of([], multilabel=bool(opened.facts.get("multilabel"))),
            name,
        )
        caption = ". ".join(filter(None, (note, f"distances in the {opened.space} space")))
        title = f"likeness {domain.name}, model {opened.model_id}"
        write_sheet(sheet, rows, title=title, caption=caption)
        shown = f"{min(len(asked.queries), MAX_ROWS)} of {len(asked.queries)} queries"
        say(f"{sheet}: {shown}", quiet=quiet)
    _show(found, name, quiet=quiet)
    return table


def _with_failures(found: pd.DataFrame, failed: list[tuple[str, str]]) -> pd.DataFrame:
    """One more row for each query that could not be read."""
    if not failed:
        return found
    names, reasons = zip(*failed, strict=True)
    rows = pd.DataFrame({"query": names, "status": "error", "reason": reasons})
    typed = found.astype({"rank": "Int64"})  # holds "none", unlike a plain integer
    return pd.concat([typed, rows], ignore_index=True)


def _sheet_rows(
    found: pd.DataFrame,
    queries: Sequence[Query],
    picture: HitPicture,
    task: Task,
    name: HitName = _path,
) -> list[SheetRow]:
    rows = []
    for query in queries[:MAX_ROWS]:
        results = []
        for hit in found[found["query"] == query.name].head(SHEET_COLUMNS).itertuples():
            both = query.label and hit.label
            right = task.alike(str(hit.label), query.label) if both else None
            distance = float(hit.distance)
            results.append(SheetItem(picture(hit), str(hit.label), distance, right, name(hit)))
        rows.append(SheetRow(SheetItem(query.picture(), query.label, name=query.title), results))
    return rows


def write_found(found: pd.DataFrame, out: Path) -> None:
    """Write the table, as its name says: .csv or .parquet."""
    with atomic_path(out) as temporary:
        if out.suffix == ".csv":
            found.to_csv(temporary, index=False, lineterminator="\n")
        else:
            found.to_parquet(temporary, index=False)


def _show(found: pd.DataFrame, name: HitName, *, quiet: bool) -> None:
    shown = found.head(SHOWN)
    names = _short_names(shown["query"].tolist())
    rows = [
        (query, hit.rank, f"{hit.distance:.4f}", hit.label, name(hit))
        for query, hit in zip(names, shown.itertuples(), strict=True)
    ]
    columns = ("query", "rank", "distance", "label", "path")
    show_table("Nearest", columns, rows, numeric=("rank", "distance"), quiet=quiet)
    if len(found) > len(shown):
        say(f"{len(found) - len(shown)} more rows; use --out for all", quiet=quiet)


def _short_names(queries: Sequence[str]) -> list[str]:
    """Without the folder that all share: `a.tif`, or `forest/a.tif` where there are several."""
    folders = {os.path.dirname(query) for query in queries}
    shared = os.path.commonpath(folders) if folders else ""
    return [os.path.relpath(query, shared or ".") for query in queries]
