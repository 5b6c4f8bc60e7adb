"""The length of embeddings, held small.

Shapes: N = samples, D = embedding dimension.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.batch import Batch
from likeness.losses.base import BatchLoss, LossTerms


class EmbeddingNorm(BatchLoss):
    """The mean squared length of the raw embeddings.

    Sohn 2016 (multi-class N-pair loss) adds it where embeddings are compared by
    inner product, since those grow with the length: similarity could else be bought by length.
    `NPairLoss` has it built in, over anchors and positives; this is the same for any other loss.
    Losses in cosine space see no length, and there it keeps the raw embeddings from drifting.
    """

    def terms(self, embeddings_ND: Float[Tensor, "N D"], batch: Batch) -> LossTerms:
        """Every sample counts the same."""
        per_anchor_N = embeddings_ND.square().sum(1) / len(embeddings_ND)
        valid_N = torch.ones_like(per_anchor_N, dtype=torch.bool)
        return LossTerms(per_anchor_N.sum(), per_anchor_N, valid_N, (per_anchor_N > 0).sum())
