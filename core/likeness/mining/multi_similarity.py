"""Multi-similarity mining: the pairs near the border between an anchor's positives and negatives.

Shapes: N = anchors, M = references.
"""

from __future__ import annotations

from likeness.batch import Batch
from likeness.errors import require
from likeness.pairs import Pairs
from likeness.rows import relatively_hard
from likeness.selection import Selection


def multi_similarity_pairs(pairs: Pairs, batch: Batch, *, epsilon: float = 0.1) -> Selection:
    """The mining of the multi-similarity loss (Wang et al., CVPR 2019) for any loss.

    Keeps positives less similar than the most similar negative plus epsilon, and negatives more
    similar than the least similar positive minus epsilon. An anchor keeps pairs of both kinds or of
    none. The similarity is the space's own: the cosine (the paper's), the inner product, or minus
    the distance in the `euclidean` space.

    Args:
        pairs: the geometry.
        batch: not read.
        epsilon: >= 0, in units of that similarity.

    Returns:
        Bool masks of shape (N, M).

    Raises:
        UserError: if epsilon is out of range.
    """
    require(epsilon >= 0, "epsilon", ">= 0", epsilon)
    seen = pairs.detach()
    similarity_NM = -seen.distance if seen.space == "euclidean" else seen.gram
    if not similarity_NM.shape[1]:
        return Selection(seen.positive, seen.negative)
    return Selection(*relatively_hard(similarity_NM, seen.positive, seen.negative, slack=epsilon))
