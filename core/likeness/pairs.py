"""The geometry of one batch, computed once and read by every loss, miner and regulariser.

Shapes: N = anchors, M = references (the batch itself, a memory, proxies, ...), D = embedding
dimension, L = labels of a multi-label target.
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.errors import UserError, require
from likeness.geometry import SPACES, SQUARED_FLOOR, Geometry, Space, project, unit_rows
from likeness.relations import Relations

__all__ = ["SPACES", "SQUARED_FLOOR", "Pairs", "Space", "project", "unit_rows"]


class Pairs:
    """Anchors against references: distances, similarities and who is positive to whom.

    Everything is lazy and computed once. The tensors that the properties return are shared by all
    readers: never write into them. Half precision is raised to float32 and autocast is switched
    off inside; float64 stays float64.

    A pair is positive when its labels agree (multi-label: when they share at least one) and
    negative when they do not. A sample is never paired with itself: with the batch as reference
    position i meets position i, and equal ids are the same picture drawn twice. `allow_views=True`
    keeps two views of one picture as a positive pair.

    Args:
        embeddings_ND: raw embeddings of shape (N, D); the space normalises.
        labels: class indices of shape (N,), or a multi-label target >= 0 of shape (N, L).
        ids: sample indices of shape (N,), integers.
        reference: raw embeddings of shape (M, D); None means the batch itself.
        reference_labels: labels of the references, of the same form as `labels`.
        reference_ids: ids of the references; needed for self-exclusion against a memory.
        and_batch: anchors are compared with each other too: the references are the N anchors, with
            their gradient, and then the M of `reference`.
        space: `euclidean` (as they are), `cosine` (unit rows; distance is the chord), `dot`.
        allow_views: keep pairs of equal ids.

    Raises:
        UserError: if the shapes do not agree or the space is unknown.
    """

    def __init__(
        self,
        embeddings_ND: Float[Tensor, "N D"],
        labels: Tensor,
        *,
        ids: Tensor | None = None,
        reference: Float[Tensor, "M D"] | None = None,
        reference_labels: Tensor | None = None,
        reference_ids: Tensor | None = None,
        and_batch: bool = False,
        space: Space = "euclidean",
        allow_views: bool = False,
    ) -> None:
        _check(embeddings_ND, labels, ids, reference, reference_labels, reference_ids, space)
        if and_batch:
            require(reference is not None, "reference", "given with and_batch", None)
            both = (ids is None) == (reference_ids is None)
            require(
                both, "reference_ids", "given exactly if ids are, with and_batch", "one of both"
            )
        self._geometry = Geometry(embeddings_ND, reference, space, and_batch)
        own = reference is None or and_batch
        self._relations = Relations(
            labels=labels,
            ids=ids,
            reference_labels=cast(Tensor, _joined(labels if own else None, reference_labels)),
            reference_ids=_joined(ids if own else None, reference_ids),
            square=reference is None,
            own=own,
            allow_views=allow_views,
        )
        self._detached = False

    # --- geometry -------------------------------------------------------------------------

    @property
    def space(self) -> Space:
        """The space in which the embeddings are compared."""
        return self._geometry.space

    @property
    def is_square(self) -> bool:
        """Whether the references are the batch itself."""
        return self._relations.square

    @property
    def embeddings(self) -> Float[Tensor, "N D"]:
        """The anchors as the space compares them (unit rows in `cosine`), shape (N, D)."""
        return self._read(self._geometry.anchors)

    @property
    def reference(self) -> Float[Tensor, "M D"]:
        """The references as the space compares them, shape (M, D)."""
        return self._read(self._geometry.references)

    @property
    def gram(self) -> Float[Tensor, "N M"]:
        """Inner products of `embeddings` and `reference`, shape (N, M)."""
        return self._read(self._geometry.gram)

    @property
    def cosine(self) -> Float[Tensor, "N M"]:
        """Cosine similarity, in [-1, 1] up to rounding, shape (N, M)."""
        return self._read(self._geometry.cosine)

    @property
    def squared_distance(self) -> Float[Tensor, "N M"]:
        """Squared Euclidean distance of what the space compares, >= 0, shape (N, M)."""
        return self._read(self._geometry.squared_distance)

    @property
    def distance(self) -> Float[Tensor, "N M"]:
        """The space's distance, > 0: Euclidean, or the chord between unit rows; shape (N, M).

        Raises:
            UserError: in the `dot` space, which has no distance.
        """
        return self._read(self._geometry.distance)

    def distance_to(
        self, column_NK: Int[Tensor, "N K"], *, squared: bool = False
    ) -> Float[Tensor, "N K"]:
        """Distances from each anchor to a few of its references.

        What `distance` (`squared_distance`) holds there, up to rounding, but read off the rows: the
        backward pass costs N K D and not N M D. For what a search in the detached matrix found.

        Raises:
            UserError: in the `dot` space, unless squared.
        """
        return self._read(self._geometry.distance_to(column_NK, squared=squared))

    # --- who is what to whom --------------------------------------------------------------

    @property
    def labels(self) -> Tensor:
        """The anchors' labels, shape (N,) or (N, L)."""
        return self._relations.labels

    @property
    def reference_labels(self) -> Tensor:
        """The references' labels, shape (M,) or (M, L)."""
        return self._relations.reference_labels

    @property
    def itself(self) -> Bool[Tensor, "N M"]:
        """Pairs of a sample with itself, shape (N, M)."""
        return self._relations.itself

    @property
    def relevance(self) -> Float[Tensor, "N M"]:
        """Graded relevance in [0, 1]: 1 or 0 for classes, cosine of the vectors for multi-label."""
        return self._relations.relevance

    @property
    def positive(self) -> Bool[Tensor, "N M"]:
        """Pairs of equal class, or that share a label; never a sample with itself."""
        return self._relations.positive

    @property
    def negative(self) -> Bool[Tensor, "N M"]:
        """Pairs of different class, or without a common label."""
        return self._relations.negative

    # --- views ----------------------------------------------------------------------------

    def detach(self) -> Pairs:
        """A view for miners: the same storage, no gradient.

        What the view computes first is computed with its graph and cached for the loss, so that a
        miner that runs before the loss never cuts the loss's gradient.
        """
        view = self._like()
        view._detached = True
        return view

    def excluding_group(self, group_N: Tensor, reference_group_M: Tensor | None = None) -> Pairs:
        """A view of the same geometry without positives from the same group (lesion, patient).

        Args:
            group_N: group index of each anchor, shape (N,).
            reference_group_M: of each reference, shape (M,); None means the batch itself.

        Raises:
            UserError: if a shape does not agree.
        """
        other = group_N if reference_group_M is None else reference_group_M
        rows, columns = self._relations.shape
        require(group_N.shape == (rows,), "group", f"of shape ({rows},)", tuple(group_N.shape))
        require(other.shape == (columns,), "group", f"of shape ({columns},)", tuple(other.shape))
        same = group_N[:, None] == other[None, :]
        view = self._like()
        view._relations = self._relations.without(same)
        return view

    def with_matrix(self, matrix_NM: Float[Tensor, "N M"]) -> Pairs:
        """A view that compares the same samples by another matrix, made by a synthesis say.

        Args:
            matrix_NM: what stands for the squared distances in the `euclidean` space, and for the
                inner products (of unit rows: the cosines) in the others; what the properties derive
                from it follows. `embeddings` and `reference` stay as they are.

        Raises:
            UserError: if its shape is not that of the pairs.
        """
        shape = self._relations.shape
        require(matrix_NM.shape == shape, "matrix", f"of shape {shape}", tuple(matrix_NM.shape))
        view = self._like()
        view._geometry = self._geometry.with_matrix(matrix_NM)
        return view

    def through_matrix(self) -> Pairs:
        """A view in which `distance_to` reads the matrix too.

        The slope by its `gram` then tells what every pair weighs.
        """
        view = self._like()
        view._geometry = self._geometry.through_matrix()
        return view

    def _like(self) -> Pairs:
        view = object.__new__(Pairs)
        view._geometry, view._relations = self._geometry, self._relations
        view._detached = self._detached
        return view

    def _read(self, value: Tensor) -> Tensor:
        return value.detach() if self._detached else value


def _joined(own: Tensor | None, others: Tensor | None) -> Tensor | None:
    """A column of all references: of the anchors, of others, or of the anchors and then others."""
    if own is None or others is None:
        return others if own is None else own
    return torch.cat([own, others.to(own)])


def _check(
    embeddings: Tensor,
    labels: Tensor,
    ids: Tensor | None,
    reference: Tensor | None,
    reference_labels: Tensor | None,
    reference_ids: Tensor | None,
    space: str,
) -> None:
    require(space in SPACES, "space", f"one of {', '.join(SPACES)}", space)
    require(embeddings.ndim == 2, "embeddings", "of shape (N, D)", tuple(embeddings.shape))
    _check_rows("", embeddings, labels, ids)
    if reference is None:
        require(
            reference_labels is None, "reference_labels", "absent without a reference", "labels"
        )
        require(reference_ids is None, "reference_ids", "absent without a reference", "ids")
        return
    require(
        reference.ndim == 2 and reference.shape[1] == embeddings.shape[1],
        "reference",
        f"of shape (M, {embeddings.shape[1]})",
        tuple(reference.shape),
    )
    if reference_labels is None:
        raise UserError("reference_labels must be given with a reference, got None")
    _check_rows("reference_", reference, reference_labels, reference_ids)
    require(
        reference_labels.shape[1:] == labels.shape[1:],
        "reference_labels",
        "of the same form as labels",
        tuple(reference_labels.shape),
    )


def _check_rows(prefix: str, rows: Tensor, labels: Tensor, ids: Tensor | None) -> None:
    count = len(rows)
    require(
        labels.ndim in (1, 2) and len(labels) == count,
        f"{prefix}labels",
        f"of shape ({count},) or ({count}, L)",
        tuple(labels.shape),
    )
    if ids is not None:
        require(ids.shape == (count,), f"{prefix}ids", f"of shape ({count},)", tuple(ids.shape))
