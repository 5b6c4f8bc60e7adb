"""The same figures for each level of a column: sex, age band, site, scanner.

Legend: N items, A items of a level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Shaped

from likeness.errors import require
from likeness.evaluation.values import MetricValue, plain

UNKNOWN = "unknown"
Measure = Callable[[Int[np.ndarray, " A"]], Mapping[str, MetricValue]]


@dataclass(frozen=True)
class Subgroup:
    """One level of a column.

    Attributes:
        level: its name; "unknown" for items that have none.
        items: how many.
        groups: how many patients, lesions, ...
        counts: items of each counted class.
        values: what was measured; empty if the level is too small.
        reason: why nothing was measured; "" otherwise.
    """

    level: str
    items: int
    groups: int
    counts: dict[str, int]
    values: dict[str, MetricValue]
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**vars(self), "values": plain(self.values)}


def subgroup_table(
    levels_N: Sequence[object] | Shaped[np.ndarray, " N"],
    groups_N: Shaped[np.ndarray, " N"],
    classes: Mapping[str, Bool[np.ndarray, " N"]],
    measure: Measure,
    *,
    minimum: int = 30,
    minimum_of_class: int = 10,
) -> list[Subgroup]:
    """Measure every level that is large enough; smaller ones are shown as counts only.

    Args:
        levels_N: the level of each item; see `level_names` for what counts as unknown.
        groups_N: patient, lesion, ...
        classes: which items belong to each class that must be well represented, by name
            ("melanoma", "other").
        measure: from row numbers to figures with their intervals, for instance
            `lambda rows: discrimination(truth[rows], scores[rows], groups[rows])`.
        minimum: least items of a level.
        minimum_of_class: least items of each of `classes` in a level.

    Returns:
        The levels in sorted order, "unknown" last.

    Raises:
        UserError: if levels, groups or classes do not count one per item.
    """
    names_N = np.array(level_names(levels_N), dtype=object)
    require(len(groups_N) == len(names_N), "groups", f"{len(names_N)} groups", len(groups_N))
    for name, members_N in classes.items():
        require(len(members_N) == len(names_N), name, f"{len(names_N)} values", len(members_N))
    found = []
    for level in sorted(set(names_N), key=lambda name: (name == UNKNOWN, name)):
        rows_A = np.flatnonzero(names_N == level)
        counts = {name: int(members_N[rows_A].sum()) for name, members_N in classes.items()}
        reason = _too_small(len(rows_A), counts, minimum, minimum_of_class)
        values = {} if reason else dict(measure(rows_A))
        groups = len(np.unique(groups_N[rows_A]))
        found.append(Subgroup(str(level), len(rows_A), groups, counts, values, reason))
    return found


def level_names(levels: Iterable[object]) -> list[str]:
    """Each level as text; None, nan, "", "nan" and "unknown" in any case are "unknown"."""
    texts = [str("" if level is None else level).strip() for level in levels]
    absent = ("", "nan", "none", "<na>", "nat", UNKNOWN)
    return [UNKNOWN if text.lower() in absent else text for text in texts]


def bands(values: Iterable[object], edges: Sequence[float | int]) -> list[str]:
    """The band "30 to <50" of each number, "<30" and ">=80" at the ends, "unknown" without one.

    Args:
        values: numbers or their texts; anything else is unknown.
        edges: rising.

    Raises:
        UserError: if the edges do not rise.
    """
    rising = len(edges) > 0 and all(a < b for a, b in pairwise(edges))
    require(rising, "edges", "rising numbers", list(edges))
    inner = [f"{low:g} to <{high:g}" for low, high in pairwise(edges)]
    names = [f"<{edges[0]:g}", *inner, f">={edges[-1]:g}"]
    numbers = [_number(value) for value in values]
    places = np.searchsorted(np.asarray(edges, dtype=np.float64), numbers, side="right")
    return [
        names[place] if np.isfinite(number) else UNKNOWN
        for number, place in zip(numbers, places, strict=True)
    ]


def _too_small(items: int, counts: dict[str, int], minimum: int, minimum_of_class: int) -> str:
    if items < minimum:
        return f"fewer than {minimum} items"
    rare = [name for name, count in counts.items() if count < minimum_of_class]
    return f"fewer than {minimum_of_class} items of {', '.join(rare)}" if rare else ""


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return float("nan")
