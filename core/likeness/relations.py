"""Who is what to whom: the masks that follow from the labels and ids of anchors and references.

Shapes: N = anchors, M = references, L = labels of a multi-label target.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from likeness.geometry import SMALLEST_NORM, full_precision


@dataclass(frozen=True)
class Relations:
    """Labels and ids of anchors and references, and the masks that `Pairs` reads off them.

    Attributes:
        labels: of the anchors, shape (N,) or (N, L).
        ids: of the anchors, shape (N,), if they are known.
        reference_labels: of the references, in the same form.
        reference_ids: of the references, if they are known.
        square: the references are the anchors.
        own: the first N references are the anchors.
        allow_views: pairs of equal ids count.
        blocked: pairs that may not be positive, shape (N, M).
    """

    labels: Tensor
    ids: Tensor | None
    reference_labels: Tensor
    reference_ids: Tensor | None
    square: bool
    own: bool
    allow_views: bool
    blocked: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """N and M."""
        return len(self.labels), len(self.reference_labels)

    def without(self, blocked: Tensor) -> Relations:
        """The same, with more pairs (N, M) that may not be positive."""
        merged = blocked if self.blocked is None else self.blocked | blocked
        return replace(self, blocked=merged)

    @cached_property
    def itself(self) -> Tensor:
        """See `Pairs.itself`."""
        rows, columns = self.shape
        if self.own:
            mask = torch.eye(rows, columns, dtype=torch.bool, device=self.labels.device)
        else:
            mask = torch.zeros(rows, columns, dtype=torch.bool, device=self.labels.device)
        if self.ids is not None and self.reference_ids is not None and not self.allow_views:
            mask = mask | (self.ids[:, None] == self.reference_ids[None, :])
        return mask

    @cached_property
    def shares_label(self) -> Tensor:
        """Pairs of equal class or with a common label, a sample with itself too; shape (N, M)."""
        if self.labels.ndim == 1:
            return self.labels[:, None] == self.reference_labels[None, :]
        return (self.labels.float() @ self.reference_labels.float().T) > 0

    @cached_property
    def relevance(self) -> Tensor:
        """See `Pairs.relevance`."""
        if self.labels.ndim == 1:
            return self.shares_label.float()
        rows, columns = self.labels.float(), self.reference_labels.float()
        with full_precision(rows):
            shared = rows @ columns.T
            sizes = rows.square().sum(1)[:, None] * columns.square().sum(1)[None, :]
            # As a fraction of whole numbers: equal relevance is then equal to the last bit.
            return (shared.square() / sizes.clamp_min(SMALLEST_NORM)).sqrt().clamp_max(1.0)

    @cached_property
    def positive(self) -> Tensor:
        """See `Pairs.positive`."""
        allowed = self.shares_label & ~self.itself
        return allowed if self.blocked is None else allowed & ~self.blocked

    @cached_property
    def negative(self) -> Tensor:
        """See `Pairs.negative`."""
        return ~(self.shares_label | self.itself)
