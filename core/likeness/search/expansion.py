"""Average query expansion: ask again with the mean of a query and what it found.

Legend: Q queries, G gallery rows, D embedding dimension, K neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Shaped

from likeness.errors import require
from likeness.search.exact import nearest
from likeness.search.exclusion import Keys
from likeness.search.space import Space, prepared


def expanded_queries(
    query_QD: Shaped[np.ndarray, "Q D"],
    gallery_GD: Shaped[np.ndarray, "G D"],
    k: int,
    *,
    space: Space = "cosine",
    alpha: float = 0.0,
    exclude: Sequence[Keys] = (),
) -> Float[np.ndarray, "Q D"]:
    """The mean of every query and its k nearest gallery rows, weighted by similarity if wished.

    Chum et al., "Total Recall", ICCV 2007 (average query expansion): the query and its k
    results weigh 1 each. With `alpha` > 0 a result weighs max(0, cosine)^alpha and the query 1
    (Radenovic, Tolias and Chum, TPAMI 2019; often 3).

    Args:
        query_QD: embeddings, raw or normalised.
        gallery_GD: embeddings.
        k: how many results, see `exact.nearest`.
        space: how to compare; in the cosine space the rows that are averaged have unit length.
        alpha: >= 0; above 0 in the cosine space only.
        exclude: see `exact.nearest`. A query that stands in the gallery as well finds itself, and
            then counts twice, unless it is excluded.

    Returns:
        New queries, float32 (Q, D), to be used as raw embeddings are.

    Raises:
        UserError: as `exact.nearest`, or if alpha is out of range.
    """
    require(0 <= alpha < np.inf, "alpha", "a number >= 0", alpha)
    require(alpha == 0 or space == "cosine", "alpha", "0 outside the cosine space", alpha)
    found = nearest(query_QD, gallery_GD, k, space=space, exclude=exclude)
    gallery = prepared(gallery_GD, space, "gallery")
    sum_QD = prepared(query_QD, space, "query").astype(np.float64)
    total_Q = np.ones(len(sum_QD))
    for index_Q, distance_Q in zip(found.indices_QK.T, found.distances_QK.T, strict=True):
        weight_Q = (index_Q >= 0).astype(np.float64)  # 0 where exclusion left fewer than k
        if alpha > 0:
            cosine_Q = 1 - np.square(distance_Q.astype(np.float64)) / 2
            weight_Q *= np.maximum(cosine_Q, 0.0) ** alpha
        sum_QD += weight_Q[:, None] * gallery[index_Q]
        total_Q += weight_Q
    return (sum_QD / total_Q[:, None]).astype(np.float32)
