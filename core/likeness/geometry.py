"""How far anchors are from references: matrices in one of three spaces, each computed once.

Shapes: N = anchors, M = references, D = embedding dimension, K = chosen references of an anchor.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from likeness.errors import UserError
from likeness.rows import raised

Space = Literal["euclidean", "cosine", "dot"]
SPACES: tuple[Space, ...] = ("euclidean", "cosine", "dot")

# Below this the square root's slope explodes; such pairs count as coincident and get no gradient.
SQUARED_FLOOR = {torch.float32: 1e-12, torch.float64: 1e-24}

# A row shorter than this has no direction.
SMALLEST_NORM = 1e-12


def project(embeddings_ND: Float[Tensor, "N D"], space: Space) -> Float[Tensor, "N D"]:
    """Raw embeddings as the space compares them: unit rows for `cosine`, unchanged otherwise.

    A zero row has no direction: it stays zero and gets no gradient.
    """
    return unit_rows(embeddings_ND) if space == "cosine" else embeddings_ND


def unit_rows(rows_ND: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
    """Rows divided by their Euclidean norm; a zero row stays zero and gets no gradient.

    `F.normalize` would hand a zero row the gradient 1 / eps = 1e12.
    """
    norm_N1: Tensor = torch.linalg.vector_norm(rows_ND, dim=1, keepdim=True)
    return rows_ND / norm_N1.masked_fill(norm_N1 <= SMALLEST_NORM, torch.inf)


class Geometry:
    """The matrices of one anchor set against one reference set; what `Pairs` reads.

    Args:
        embeddings: raw embeddings of the anchors, shape (N, D).
        reference: raw embeddings of the references, shape (M, D); None means the anchors.
        space: how rows are compared.
        and_batch: the anchors come before the references, as references too.

    Attributes:
        given: whether the matrix is another than that of the rows.
    """

    def __init__(
        self, embeddings: Tensor, reference: Tensor | None, space: Space, and_batch: bool
    ) -> None:
        self.space = space
        self._raw_anchors = embeddings
        self._raw_references = reference
        self._and_batch = and_batch
        self.given = False

    def with_matrix(self, matrix: Tensor) -> Geometry:
        """The same rows, with another matrix (N, M); see `Pairs.with_matrix`."""
        options = (self._raw_anchors, self._raw_references, self.space, self._and_batch)
        other = Geometry(*options)
        given = {"squared_distance" if self.space == "euclidean" else "gram": matrix}
        # What is cached counts as computed; the rows are the same ones.
        vars(other).update(given, given=True, anchors=self.anchors, references=self.references)
        return other

    def through_matrix(self) -> Geometry:
        """The same matrices, all of which go through `gram`; see `Pairs.through_matrix`."""
        other = copy(self)
        vars(other).update(given=True, gram=self.gram)
        return other

    @cached_property
    def anchors(self) -> Tensor:
        """Shape (N, D), as the space compares them."""
        with full_precision(self._raw_anchors):
            return project(raised(self._raw_anchors), self.space)

    @cached_property
    def references(self) -> Tensor:
        """Shape (M, D), likewise."""
        if self._raw_references is None:
            return self.anchors
        with full_precision(self._raw_references):
            rows = project(raised(self._raw_references).to(self.anchors.dtype), self.space)
            return torch.cat([self.anchors, rows]) if self._and_batch else rows

    @cached_property
    def gram(self) -> Tensor:
        """See `Pairs.gram`."""
        with full_precision(self.anchors):
            return self.anchors @ self.references.T

    @cached_property
    def cosine(self) -> Tensor:
        """See `Pairs.cosine`."""
        if self.space == "cosine":
            return self.gram
        with full_precision(self.anchors):
            # Rows are scaled before the product: gram / norms would divide 0 by 0 for zero rows.
            return unit_rows(self.anchors) @ unit_rows(self.references).T

    @cached_property
    def squared_distance(self) -> Tensor:
        """See `Pairs.squared_distance`."""
        # In place on matrices made here: relu_ and sqrt_ need only their results for the gradient,
        # so two N x M matrices fewer stay alive than with clamp_min and sqrt.
        with full_precision(self.anchors):
            if self.space == "cosine":
                return self.gram.mul(-2.0).add_(2.0).relu_()
            norms_N1 = self.anchors.square().sum(1, keepdim=True)
            if self.references is self.anchors:
                norms_1M = norms_N1.T
            else:
                norms_1M = self.references.square().sum(1, keepdim=True).T
            return (norms_N1 + norms_1M).sub_(self.gram, alpha=2.0).relu_()

    @cached_property
    def distance(self) -> Tensor:
        """See `Pairs.distance`."""
        if self.space == "dot":
            raise UserError("space must be euclidean or cosine where a distance is read, got 'dot'")
        with full_precision(self.anchors):
            return _floored_root(self.squared_distance)

    def distance_to(self, column_NK: Tensor, *, squared: bool) -> Tensor:
        """See `Pairs.distance_to`."""
        if self.given:
            return (self.squared_distance if squared else self.distance).gather(1, column_NK)
        if self.space == "dot" and not squared:
            raise UserError("space must be euclidean or cosine where a distance is read, got 'dot'")
        with full_precision(self.anchors):
            chosen_NKD = self.references[column_NK]
            if self.space == "cosine":  # as in the matrix: a zero row is sqrt(2) from any other
                cosine_NK = (self.anchors[:, None] * chosen_NKD).sum(2)
                squared_NK = cosine_NK.mul(-2.0).add(2.0).relu()
            else:
                squared_NK = (self.anchors[:, None] - chosen_NKD).square().sum(2)
            return squared_NK if squared else _floored_root(squared_NK)


@contextmanager
def full_precision(tensor: Tensor) -> Iterator[None]:
    """Autocast off, gradient on: a value cached under `no_grad` would cut the loss's graph."""
    with torch.autocast(tensor.device.type, enabled=False), torch.enable_grad():
        yield


def _floored_root(squared: Tensor) -> Tensor:
    floor = SQUARED_FLOOR[squared.dtype]
    # As clamp_min, whose gradient takes several times as long on the CPU.
    return F.threshold(squared, floor, floor).sqrt_()
