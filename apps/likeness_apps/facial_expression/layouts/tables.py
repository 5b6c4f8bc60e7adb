"""A table of faces that somebody wrote: path and label, and what else is known."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from likeness.data.manifest import Manifest
from likeness.data.tables import read_table
from likeness.errors import require
from likeness_apps.facial_expression import votes
from likeness_apps.facial_expression.expressions import require_expression
from likeness_apps.facial_expression.layouts.folds import with_subject_folds
from likeness_apps.facial_expression.layouts.tree import counted


def read(path: Path) -> Manifest:
    """A CSV or Parquet table with the columns path and label.

    `split`, `group`, `fold` and `subject` may be there, and the votes of annotators in the columns
    of `votes.COLUMNS`; further columns are kept. Without groups, subjects are the groups; where
    every labelled row names its subject and there is neither `split` nor `fold`, folds of whole
    subjects are made. A row without a label stays, and is counted.

    Raises:
        UserError: naming the column or row, if it is no such table, a label is no expression, or
            votes are no numbers of votes.
    """
    manifest = read_table(path, labelled=False)
    table = manifest.table
    require(not manifest.multilabel, path.name, "a table with one column label", "several labels")
    require((table["label"] != "").any(), path.name, "a table with labels", "none")
    labels = [
        require_expression(label, f"label of {row}") if label else ""
        for row, label in zip(table["path"], table["label"], strict=True)
    ]
    table = _with_subjects(table.assign(label=labels))
    if set(votes.COLUMNS) <= set(table.columns):
        table = with_votes(table)
    bare = labels.count("")
    told = counted("no-label", "", bare, f"no label for {bare} of the pictures", "give them one")
    manifest = manifest.with_table(table).with_findings(*told)
    everybody = (table.loc[table["label"] != "", "subject"] != "").all()
    alone = "fold" not in table and not (table["split"] != "").any()
    return with_subject_folds(manifest) if everybody and alone else manifest


def _with_subjects(table: pd.DataFrame) -> pd.DataFrame:
    if "subject" not in table:
        return table.assign(subject="")
    subject = table["subject"].fillna("").astype(str).str.strip()
    own = (table["group"] == table["path"]) & (subject != "")
    return table.assign(subject=subject, group=table["group"].where(~own, subject))


def with_votes(table: pd.DataFrame) -> pd.DataFrame:
    """A table with the columns of `votes.COLUMNS`, these as numbers.

    Raises:
        UserError: naming the path of a row whose votes are no numbers of votes.
    """
    cells = table[list(votes.COLUMNS)].astype(str).to_numpy()
    counts = [
        votes.read_votes(row.tolist(), f"the row of {path}")
        for path, row in zip(table["path"], cells, strict=True)
    ]
    columns = dict(zip(votes.COLUMNS, zip(*counts, strict=True), strict=True))
    return table.assign(**{name: list(values) for name, values in columns.items()})
