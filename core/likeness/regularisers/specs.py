"""Options of the regularisers: what `factory` makes them from."""

from __future__ import annotations

from typing import Literal

from likeness.config import Spec


class EmbeddingNormSpec(Spec):
    """See `EmbeddingNorm`."""

    name: Literal["embedding_norm"] = "embedding_norm"


RegulariserSpec = EmbeddingNormSpec
