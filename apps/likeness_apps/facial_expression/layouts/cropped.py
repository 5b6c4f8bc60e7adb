"""What `crop` leaves: the faces out of a set of photographs, and a table of all photographs.

`crop.json` says of which layout the photographs were: terms and protocols stay those of their set.
`manifest.csv` has a row for every photograph, also for one in which no face was found.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from likeness.data.findings import Finding
from likeness.data.manifest import COLUMNS, Manifest, build
from likeness.data.tables import load_frame
from likeness.errors import UserError, require
from likeness_apps.facial_expression import votes
from likeness_apps.facial_expression.expressions import require_expression
from likeness_apps.facial_expression.layouts.tables import with_votes

TABLE, RECORD = "manifest.csv", "crop.json"
OK = "ok"
OWN = ("photograph", "status", "reason", "faces")  # columns beside those of the photographs' set


def is_here(folder: Path) -> bool:
    """Whether `crop` made this folder."""
    return (folder / TABLE).is_file() and (folder / RECORD).is_file()


def read(folder: Path) -> Manifest:
    """The faces that were cut out; `layout` is that of the photographs.

    Raises:
        UserError: if the table is not as `crop` wrote it, a label is no expression, or there is no
            face.
    """
    table = _table(folder)
    found = table[table["status"] == OK]
    require(len(found) > 0, "data", "a set with a face", f"{len(table)} photographs without one")
    findings = [
        Finding(
            "warning",
            f"face-{status.replace('_', '-')}",
            "",
            f"{count} of {len(table)} photographs have no face here (status {status})",
            f"`evaluate` counts them, {TABLE} names them",
        )
        for status, count in table["status"].value_counts().items()
        if status != OK
    ]
    columns = {str(name): found[name].tolist() for name in found.columns}
    return build(folder.absolute(), columns, _layout(folder), findings)


def absent(manifest: Manifest) -> pd.DataFrame | None:
    """The labelled photographs of a set without a face in it, by their own paths; see `Domain`.

    None for a set that `crop` did not make.
    """
    if not is_here(manifest.root):
        return None
    table = _table(manifest.root)
    rows = table[(table["status"] != OK) & (table["label"] != "")]
    return rows.assign(path=rows["photograph"]).reset_index(drop=True)


def _table(folder: Path) -> pd.DataFrame:
    """All photographs; labels are expressions, and votes numbers."""
    table = load_frame(folder / TABLE)
    missing = sorted({*COLUMNS, *OWN} - set(table.columns))
    require(not missing, TABLE, f"a table with the column {', '.join(missing)}", "none")
    labels = [
        require_expression(label, f"label of {photograph}") if label else ""
        for photograph, label in zip(table["photograph"], table["label"], strict=True)
    ]
    table = table.assign(label=labels)
    return with_votes(table) if set(votes.COLUMNS) <= set(table.columns) else table


def _layout(folder: Path) -> str:
    try:
        record: Any = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / RECORD} must be readable JSON, got {error}") from None
    layout = record.get("layout") if isinstance(record, dict) else None
    require(isinstance(layout, str), RECORD, "an object with the name of a layout", layout)
    return str(layout)
