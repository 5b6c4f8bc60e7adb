"""The wall: a grid of tiles where one tile lights up its nearest neighbours.

Shape legend: N items that could be read, T tiles, K neighbours, D embedding size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from likeness.search.exact import nearest
from likeness_apps.shell.report.data import ReportData, balanced_sample
from likeness_apps.shell.report.pictures import Pictures

NEIGHBOURS = 8
TILE_SIDE = 96


@dataclass(frozen=True)
class Tile:
    """One tile: `row` among the items, `uri` of its picture or None, and what is said of it."""

    number: int
    row: int
    uri: str | None
    name: str
    class_index: int
    truth: str
    label: str
    right: bool | None

    @property
    def spoken(self) -> str:
        """What a screen reader says."""
        if self.right is None:
            return f"Tile {self.number}: called {self.label}, truth unknown"
        verdict = "right" if self.right else f"wrong, called {self.label}"
        return f"Tile {self.number}: {self.truth}, {verdict}"


@dataclass(frozen=True)
class Wall:
    """Tiles by class, and the neighbours of each among the tiles, as the page embeds them."""

    tiles: list[Tile]
    payload: dict[str, Any]
    whole: bool


def build_wall(data: ReportData, pictures: Pictures, max_tiles: int, seed: int) -> Wall | None:
    """Choose tiles evenly over the classes and search each one's neighbours among them.

    The wall is its own gallery: every neighbour that lights up can be seen.

    Args:
        data: with embeddings.
        pictures: for the tiles; without pictures a tile shows its class.
        max_tiles: the greatest number of tiles, >= 2.
        seed: of the choice.

    Returns:
        The wall; None without embeddings or with fewer than 2 items.
    """
    if data.embeddings_ND is None or len(data.items) < 2:
        return None
    items = data.items
    rows = balanced_sample(items.class_of, max_tiles, seed)
    k = min(NEIGHBOURS, len(rows) - 1)
    found = nearest(data.embeddings_ND[rows], None, k, space=data.space)
    tiles = [
        Tile(
            number,
            row,
            pictures.uri(items.paths[row], TILE_SIDE),
            items.paths[row],
            items.class_of[row],
            items.truths[row],
            items.labels[row],
            items.right[row],
        )
        for number, row in enumerate(rows)
    ]
    called = {name: i for i, name in enumerate(items.classes)}
    payload = {
        "k": k,
        "classes": items.classes,
        "row": rows,
        "name": [items.paths[row] for row in rows],
        "truth": [called.get(items.truths[row], -1) for row in rows],
        "label": [called.get(items.labels[row], -1) for row in rows],
        "sets": [[called[name] for name in sorted(items.truth_sets[row])] for row in rows],
        "said": [items.truths[row] for row in rows],
        "called": [items.labels[row] for row in rows],
        "good": [items.right[row] for row in rows],
        "words": {"right": data.words.right, "wrong": data.words.wrong},
        "sure": [_short(items.confidence_N[row], 3) for row in rows],
        "near": found.indices_QK.tolist(),
        "far": [[_short(x, 4) for x in line] for line in found.distances_QK.tolist()],
    }
    return Wall(tiles, payload, whole=len(rows) == len(items))


def _short(value: float, digits: int) -> float | None:
    return round(float(value), digits) if np.isfinite(value) else None
