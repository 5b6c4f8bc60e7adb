"""Losses of the embeddings themselves, added to those of pairs."""

from likeness.regularisers.factory import build_regulariser
from likeness.regularisers.hierarchy import HierarchicalRegulariser
from likeness.regularisers.norm import EmbeddingNorm
from likeness.regularisers.specs import EmbeddingNormSpec, HierarchicalSpec, RegulariserSpec

__all__ = [
    "EmbeddingNorm",
    "EmbeddingNormSpec",
    "HierarchicalRegulariser",
    "HierarchicalSpec",
    "RegulariserSpec",
    "build_regulariser",
]
