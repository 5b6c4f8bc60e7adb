"""Losses of the embeddings themselves, added to those of pairs."""

from likeness.regularisers.factory import build_regulariser
from likeness.regularisers.norm import EmbeddingNorm
from likeness.regularisers.specs import RegulariserSpec

__all__ = ["EmbeddingNorm", "RegulariserSpec", "build_regulariser"]
