"""Sub-classes as rows of pictures: how many, how far apart, and the faces nearest to the middle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from likeness_apps.facial_expression.report.gathered import NONE, Gathered, spread
from likeness_apps.shell.report.cells import Cell

FACES = 8
SIDE = 96


@dataclass(frozen=True)
class Shown:
    """A sub-class on a page.

    Attributes:
        name: of it.
        colour: number of its class.
        size: its faces.
        share: of the faces of its class.
        spread: root of the mean squared distance of its faces to their mean.
        cells: the faces nearest to that mean, the nearest first.
    """

    name: str
    colour: int
    size: int
    share: float
    spread: float
    cells: Sequence[Cell]


def shown_subclasses(faces: Gathered) -> list[Shown]:
    """Every sub-class that has faces."""
    found = []
    for number in sorted({*faces.subclass_N.tolist()} - {NONE}):
        faces_M = faces.faces_of(number)
        colour = int(faces.class_N[faces_M[0]])
        near = faces.central(faces_M, FACES)
        gaps_M = faces.gaps(faces_M)
        far = dict(zip(faces_M.tolist(), gaps_M.tolist(), strict=True))
        cells = [faces.cell(face, f"{far[face]:.3f}") for face in near]
        of_class = int(np.sum(faces.class_N == colour))
        share = len(faces_M) / of_class
        found.append(Shown(faces.names[number], colour, len(faces_M), share, spread(gaps_M), cells))
    return found
