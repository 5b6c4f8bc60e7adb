"""What a report of a multi-label set shows instead of a confusion matrix and single classes.

Shape legend: L labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from likeness_apps.shell.report.data import Items
from likeness_apps.shell.report.tables import number_of, share_bar

SHARES = ("average_precision", "recall", "precision", "f1")


@dataclass(frozen=True)
class LabelRow:
    """One label; numbers are None where undefined. `shares`: `SHARES`, each with its bar."""

    index: int
    name: str
    support: int | None
    given: int | None
    shares: list[tuple[float | None, Markup]]


def label_rows(metrics: Mapping[str, Any], items: Items) -> list[LabelRow]:
    """The per-class table of metrics.json as rows of labels."""
    index = {name: place for place, name in enumerate(items.classes)}
    rows = []
    for record in metrics.get("per_class") or []:
        name = str(record.get("class", ""))
        support, given = (number_of(record.get(key)) for key in ("support", "predicted"))
        values = [number_of(record.get(key)) for key in SHARES]
        rows.append(
            LabelRow(
                index=index.get(name, -1),
                name=name,
                support=None if support is None else int(support),
                given=None if given is None else int(given),
                shares=[(value, share_bar(value)) for value in values],
            )
        )
    return rows


@dataclass(frozen=True)
class Together:
    """How often labels occur together in the truth.

    Attributes:
        names: L labels that some image has.
        counts: L x L images with both labels; the diagonal counts a label's own.
        shares: L x L, of the images of the row's label.
        levels: L x L shade of each cell, 0 to 10.
    """

    names: list[str]
    counts: list[list[int]]
    shares: list[list[float]]
    levels: list[list[int]]


def together(items: Items) -> Together | None:
    """Count the pairs of labels of all images; None if no image has a label."""
    used = set().union(*items.truth_sets) if items.truth_sets else set()
    names = [name for name in items.classes if name in used]
    if not names:
        return None
    has_NL = np.array([[name in labels for name in names] for labels in items.truth_sets], np.int64)
    counts_LL = has_NL.T @ has_NL
    shares_LL = counts_LL / np.diag(counts_LL)[:, None]
    levels_LL = np.ceil(10 * shares_LL).astype(int)
    return Together(names, counts_LL.tolist(), shares_LL.tolist(), levels_LL.tolist())
