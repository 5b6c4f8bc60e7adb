"""From typed options to regularisers."""

from __future__ import annotations

from likeness.losses.base import BatchLoss
from likeness.regularisers.hierarchy import HierarchicalRegulariser
from likeness.regularisers.norm import EmbeddingNorm
from likeness.regularisers.specs import EmbeddingNormSpec, HierarchicalSpec, RegulariserSpec


def build_regulariser(spec: RegulariserSpec, *, num_classes: int, dim: int) -> BatchLoss:
    """The regulariser that a configuration names.

    Args:
        spec: the configuration.
        num_classes: C, for what keeps something of each class.
        dim: D of the head that it reads.
    """
    match spec:
        case EmbeddingNormSpec():
            return EmbeddingNorm()
        case HierarchicalSpec():
            return HierarchicalRegulariser(dim, **spec.model_dump(exclude={"name"}))
