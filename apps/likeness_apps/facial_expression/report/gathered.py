"""Embedded faces with their classes and sub-classes: what maps and galleries are drawn from.

Legend: N faces, D embedding dimension, K sub-classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from likeness_apps.shell.report.cells import Cell

NONE = -1  # of a class or a sub-class: not known
Uri = Callable[[int], str | None]  # face -> its picture as a data URI, or None


@dataclass(frozen=True, eq=False)
class Gathered:
    """Faces of one report.

    Attributes:
        rows_ND: embeddings as the space compares them (unit rows for cosine).
        class_N: number of each face's class, `NONE` if it is not known.
        subclass_N: number of each face's sub-class, `NONE` if it has none.
        classes: names of the classes.
        names: number of a sub-class -> its name, `happiness/2`.
        paths: of the faces.
        uri: gives pictures.
    """

    rows_ND: Float[np.ndarray, "N D"]
    class_N: Int[np.ndarray, " N"]
    subclass_N: Int[np.ndarray, " N"]
    classes: Sequence[str]
    names: Sequence[str]
    paths: Sequence[str]
    uri: Uri

    @cached_property
    def subclasses_of(self) -> dict[int, list[int]]:
        """Class -> its sub-classes that have faces, for classes with two or more of them."""
        found = {}
        for number in sorted({*self.class_N.tolist()} - {NONE}):
            own = np.unique(self.subclass_N[self.class_N == number])
            own = own[own != NONE]
            if len(own) > 1:
                found[number] = own.tolist()
        return found

    def faces_of(self, subclass: int) -> Int[np.ndarray, " M"]:
        """The faces of a sub-class."""
        return np.flatnonzero(self.subclass_N == subclass)

    def central(self, faces_M: Int[np.ndarray, " M"], count: int) -> list[int]:
        """Those of some faces that lie nearest to the mean of all of them, the nearest first."""
        gap_M = self.gaps(faces_M)
        order_M = np.argsort(gap_M, kind="stable")
        nearest: list[int] = faces_M[order_M[:count]].tolist()
        return nearest

    def gaps(self, faces_M: Int[np.ndarray, " M"]) -> Float[np.ndarray, " M"]:
        """Euclidean distances of some faces from their mean."""
        rows_MD = self.rows_ND[faces_M].astype(np.float64)
        found: np.ndarray = np.linalg.norm(rows_MD - rows_MD.mean(axis=0), axis=1)
        return found

    def cell(self, face: int, note: str = "") -> Cell:
        """A face as a figure of the page."""
        number = int(self.class_N[face])
        name = self.classes[number] if number != NONE else ""
        return Cell(self.uri(face), self.paths[face], name, number, distance=note)


def spread(gaps_M: Float[np.ndarray, " M"]) -> float:
    """Root of the mean squared distance of faces from their mean."""
    return float(np.sqrt(np.square(gaps_M).mean()))
