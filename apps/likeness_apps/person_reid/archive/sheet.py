"""Contact sheets of tracklets: a query beside its ranks, with what was decided.

Pictures of people are on it only where somebody asked for them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from likeness.evaluation.verdict import DIFFERENT, SAME, UNKNOWN
from likeness_apps.person_reid.archive.embedding import Embedded
from likeness_apps.person_reid.archive.ranking import Judge, Ranked, answers
from likeness_apps.person_reid.identities import NOBODY
from likeness_apps.shell.answers import SHEET_COLUMNS
from likeness_apps.shell.console import say
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.report.data import Picture
from likeness_apps.shell.report.sheets import MAX_ROWS, SheetItem, SheetRow, write_sheet

SIGNS = {SAME: "=", DIFFERENT: "\N{NOT EQUAL TO}", UNKNOWN: "?"}  # there is no room for words
NO_PICTURES = "The sheet shows nobody: --include-images puts pictures on it"


def write_people_sheet(
    domain: Domain,
    sheet: Path,
    query: Embedded,
    gallery: Embedded,
    found: Ranked,
    judge: Judge,
    *,
    include_images: bool,
    quiet: bool,
) -> None:
    """Draw the first queries.

    Args:
        domain: the application.
        sheet: the PNG.
        query: who asked.
        gallery: who answered.
        found: what `rank` gave.
        judge: see `judge_of`.
        include_images: show pictures; without them there are names, distances and decisions.
        quiet: say nothing.
    """
    rows = []
    for asking in range(min(len(query), MAX_ROWS)):
        told = answers(query, gallery, found, slice(asking, asking + 1), judge)
        indices = found.indices_QK[asking]
        hits = zip(indices[indices >= 0].tolist(), told.itertuples(), strict=False)
        results = [
            _result(hit, gallery.picture if include_images else _nothing, row) for row, hit in hits
        ]
        picture = query.picture(asking) if include_images else None
        name = query.rows["tracklet"].iloc[asking]
        rows.append(SheetRow(SheetItem(picture, name=name), results[:SHEET_COLUMNS]))
    legend = ", ".join(f"{sign} {decision}" for decision, sign in SIGNS.items())
    caption = f"{legend}. A rank is a suggestion to look, never an identification"
    write_sheet(sheet, rows, title=f"likeness {domain.name}", caption=caption)
    say(f"{sheet}: {len(rows)} of {len(query)} queries", quiet=quiet)
    say(NO_PICTURES, quiet=quiet or include_images)


def _result(hit: Any, picture: Callable[[int], Picture | None], row: int) -> SheetItem:
    """A found tracklet, marked right or wrong where both identities are known."""
    known = not {hit.query_label, hit.label} & {"", *NOBODY}
    right = hit.query_label == hit.label if known else None
    text = f"{SIGNS[hit.decision]} {hit.tracklet}"
    distance = float(hit.distance) if np.isfinite(hit.distance) else None
    return SheetItem(picture(row), text, distance, right, hit.tracklet)


def _nothing(row: int) -> None:
    return None
