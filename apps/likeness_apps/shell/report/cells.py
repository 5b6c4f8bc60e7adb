"""Rows of pictures: example queries with their neighbours, and the hardest errors.

Shape legend: N items that could be read, K neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likeness_apps.shell.report.data import (
    ReportData,
    balanced_sample,
    neighbours_of,
    training_neighbours,
)
from likeness_apps.shell.report.pictures import Pictures

SHEET_K = 8
_TYPICAL, _WORST = 8, 4
_SEARCHED = 1000  # queries among which the worst are sought
_CARDS, _CARD_HITS = 12, 4
_SIDE = 128


@dataclass(frozen=True)
class Cell:
    """One picture and what stands below it; verdict is "right", "wrong" or "".

    `meaning` says the verdict in words, `shared` how many of both images' labels they share.
    """

    uri: str | None
    path: str
    name: str
    class_index: int
    verdict: str = ""
    distance: str = ""
    meaning: str = ""
    shared: str = ""

    @property
    def alt(self) -> str:
        """What a screen reader says in the picture's place."""
        said = f", {self.meaning}" if self.meaning else ""
        return f"{self.name or 'unknown class'}{said}: {self.path}"


@dataclass(frozen=True)
class SheetLine:
    """A query, its neighbours, and how many of them share its class."""

    query: Cell
    hits: list[Cell]
    right: int


@dataclass(frozen=True)
class SheetGroup:
    """Queries that were chosen in one way; the title says how."""

    title: str
    rows: list[SheetLine]


def sheet_groups(data: ReportData, pictures: Pictures, seed: int) -> tuple[list[SheetGroup], int]:
    """Queries drawn by chance, and those where retrieval fails most, with their neighbours.

    Returns:
        The groups, none where embeddings or classes are missing; and K.
    """
    items = data.items
    known = [row for row, names in enumerate(items.truth_sets) if names]
    searched = data.embeddings_ND is not None or data.neighbours is not None
    if len(known) < 2 or not searched:
        return [], 0
    picked = balanced_sample([items.class_of[row] for row in known], _SEARCHED, seed)
    asked = [known[place] for place in picked]
    k = min(SHEET_K, len(items) - 1)
    indices, distances = neighbours_of(data, asked, k)
    right = [
        sum(items.alike(i, row) for i in line.tolist() if i >= 0)
        for row, line in zip(asked, indices, strict=True)
    ]
    draw = np.random.default_rng(seed).permutation(len(asked)).tolist()
    typical = _one_per_class([items.class_of[row] for row in asked], draw)[:_TYPICAL]
    rest = [place for place in draw if place not in typical and right[place] < k]
    worst = sorted(rest, key=lambda place: right[place])[:_WORST]

    def line(place: int) -> SheetLine:
        hits = _hits(data, pictures, asked[place], indices[place], distances[place])
        return SheetLine(_cell(data, pictures, asked[place]), hits, right[place])

    groups = [
        SheetGroup("Drawn by chance, from different classes", [line(p) for p in typical]),
        SheetGroup("Where retrieval fails most", [line(p) for p in worst]),
    ]
    return [group for group in groups if group.rows], k


def _one_per_class(classes: Sequence[int], draw: Sequence[int]) -> list[int]:
    """Places in the order drawn, the first of every class before the second of any."""
    seen: dict[int, int] = {}
    keyed = []
    for order, place in enumerate(draw):
        turn = seen[classes[place]] = seen.get(classes[place], -1) + 1
        keyed.append((turn, order, place))
    return [place for _, _, place in sorted(keyed)]


@dataclass(frozen=True)
class ErrorCard:
    """One error: what it is, what it was called, how sure, and what it lies close to."""

    query: Cell
    truth: str
    label: str
    sure: str
    hits: list[Cell]


@dataclass(frozen=True)
class ErrorCards:
    """The hardest errors, in words: by what they are ordered, and where the neighbours are from."""

    cards: list[ErrorCard]
    order: str
    source: str


def error_cards(data: ReportData, pictures: Pictures) -> ErrorCards:
    """The errors that the model was surest of; without probabilities, those nearest to an image.

    Of several labels: those that have the smallest share of labels right.
    """
    items = data.items
    wrong = items.wrong
    confidence = items.confidence_N[wrong]
    sure = bool(np.isfinite(confidence).any())
    order = "the surest first"
    if data.multilabel:
        shares = [overlap(items.truth_sets[row], items.label_sets[row]) for row in wrong]
        ranked = np.argsort(shares, kind="stable")
        order = "those that share the fewest labels with the truth first"
    elif sure:
        ranked = np.argsort(-np.nan_to_num(confidence, nan=-1.0), kind="stable")
    elif data.embeddings_ND is not None or data.neighbours is not None:
        gap = neighbours_of(data, wrong, 1)[1][:, 0]
        ranked = np.argsort(np.nan_to_num(gap, nan=np.inf), kind="stable")
        order = "those nearest to another image first (there are no probabilities)"
    else:
        ranked, order = np.arange(len(wrong)), "in the order of the table"
    rows = [wrong[place] for place in ranked[:_CARDS].tolist()]
    lines, source = _error_hits(data, pictures, rows)
    cards = [
        ErrorCard(
            _cell(data, pictures, row),
            items.truths[row],
            items.labels[row],
            f"{items.confidence_N[row]:.0%}" if np.isfinite(items.confidence_N[row]) else "",
            hits,
        )
        for row, hits in zip(rows, lines, strict=True)
    ]
    return ErrorCards(cards, order, source)


def _error_hits(
    data: ReportData, pictures: Pictures, rows: Sequence[int]
) -> tuple[list[list[Cell]], str]:
    found = training_neighbours(data, rows, _CARD_HITS)
    if found is None or data.training is None:
        indices, distances = neighbours_of(data, rows, _CARD_HITS)
        lines = [
            _hits(data, pictures, row, indices[place], distances[place])
            for place, row in enumerate(rows)
        ]
        source = "its nearest test images" if any(lines) else "nothing (no embeddings were given)"
        return lines, source
    training = data.training
    index = {name: i for i, name in enumerate(data.items.classes)}
    lines = []
    for place, row in enumerate(rows):
        line = []
        for i, far in zip(found[0][place].tolist(), found[1][place].tolist(), strict=True):
            if i < 0:
                continue
            names = data.names(str(training.labels[i]))
            path, name = str(training.paths[i]), ", ".join(sorted(names))
            uri = pictures.uri(path, _SIDE, training.thumbnail)
            verdict, meaning, shared = _judged(data, names, data.items.truth_sets[row])
            colour = index.get(min(names, default=""), -1)
            line.append(Cell(uri, path, name, colour, verdict, f"{far:.3f}", meaning, shared))
        lines.append(line)
    return lines, "its nearest training images"


def _cell(data: ReportData, pictures: Pictures, row: int) -> Cell:
    items = data.items
    uri = pictures.uri(items.paths[row], _SIDE)
    return Cell(uri, items.paths[row], items.truths[row], items.class_of[row])


def _hits(
    data: ReportData,
    pictures: Pictures,
    row: int,
    indices_K: NDArray[np.integer[Any]],
    distances_K: NDArray[np.floating[Any]],
) -> list[Cell]:
    items = data.items
    cells = []
    for i, far in zip(indices_K.tolist(), distances_K.tolist(), strict=True):
        if i < 0:
            continue
        verdict, meaning, shared = _judged(data, items.truth_sets[i], items.truth_sets[row])
        uri = pictures.uri(items.paths[i], _SIDE)
        shown = (uri, items.paths[i], items.truths[i], items.class_of[i])
        cells.append(Cell(*shown, verdict, f"{far:.3f}", meaning, shared))
    return cells


def _judged(
    data: ReportData, names: frozenset[str], others: frozenset[str]
) -> tuple[str, str, str]:
    """Verdict, its meaning, and of several labels `2 of 3 labels`: shared, of both images' all."""
    if not names or not others:
        return "", "", ""
    shared = f"{len(names & others)} of {len(names | others)} labels" if data.multilabel else ""
    if names & others:
        return "right", data.words.right, shared
    return "wrong", data.words.wrong, shared


def overlap(names: frozenset[str], others: frozenset[str]) -> float:
    """The shared part of all names in either set (Jaccard); 1 for two empty sets."""
    either = names | others
    return len(names & others) / len(either) if either else 1.0
