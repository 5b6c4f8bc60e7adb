"""Do clusters of the embeddings follow the labels?

Legend: N items, D embedding dimension.

Clusters come from k-means: k-means++ starts from scikit-learn, seeded, then Lloyd's iterations by
faiss on every item. The scores come from scikit-learn. They depend on that recipe, so it is part of
the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from jaxtyping import Int, Shaped
from sklearn import metrics
from sklearn.cluster import kmeans_plusplus

from likeness.errors import require
from likeness.evaluation.values import MetricValue
from likeness.search.space import Space, prepared


@dataclass(frozen=True)
class Clustering:
    """Agreement of clusters with labels.

    Attributes:
        values: nmi (arithmetic mean of the entropies), ami, ari.
        clusters_N: cluster of every item.
        protocol: how the clusters were made, in words.
    """

    values: dict[str, MetricValue]
    clusters_N: Int[np.ndarray, " N"]
    protocol: dict[str, str]


def kmeans(
    embeddings_ND: Shaped[np.ndarray, "N D"],
    clusters: int,
    *,
    space: Space = "cosine",
    seed: int = 0,
    iterations: int = 25,
    restarts: int = 1,
) -> Int[np.ndarray, " N"]:
    """Cluster of every item by k-means.

    Args:
        embeddings_ND: embeddings; rows are normalised first in the cosine space.
        clusters: how many, 1 <= clusters <= N.
        space: "cosine", "euclidean" or "dot" (both raw rows; k-means is Euclidean).
        seed: of the starting points.
        iterations: of Lloyd's algorithm.
        restarts: runs from different starts, of which the tightest is kept.

    Raises:
        UserError: if `clusters` is out of range or the embeddings are refused by `prepared`.
    """
    import faiss

    rows_ND = prepared(embeddings_ND, space, "embeddings")
    count, dim = rows_ND.shape
    require(1 <= clusters <= count, "clusters", f"between 1 and the {count} items", clusters)
    require(restarts >= 1, "restarts", ">= 1", restarts)
    generator = np.random.RandomState(seed)  # what scikit-learn takes
    best_N, least = np.zeros(count, np.int64), np.inf
    for _ in range(restarts):
        # One trial per centre, the original k-means++: the greedy form is slow for many clusters.
        start_CD, _ = kmeans_plusplus(rows_ND, clusters, random_state=generator, n_local_trials=1)
        model = faiss.Kmeans(
            dim,
            clusters,
            niter=iterations,
            min_points_per_centroid=1,  # faiss warns on stderr below 39
            max_points_per_centroid=count,  # and samples above 256
        )
        model.train(rows_ND, init_centroids=np.ascontiguousarray(start_CD))
        distance_N1, nearest_N1 = model.index.search(rows_ND, 1)
        spread = float(distance_N1.sum(dtype=np.float64))
        if spread < least:
            best_N, least = np.asarray(nearest_N1[:, 0], dtype=np.int64), spread
    return best_N


def agreement(
    labels_N: Shaped[np.ndarray, " N"], clusters_N: Int[np.ndarray, " N"]
) -> dict[str, MetricValue]:
    """NMI (arithmetic), AMI and ARI of two partitions; 1 for equal ones."""
    count = len(labels_N)
    scores = {
        "nmi": metrics.normalized_mutual_info_score,
        "ami": metrics.adjusted_mutual_info_score,
        "ari": metrics.adjusted_rand_score,
    }
    return {
        name: MetricValue(float(score(labels_N, clusters_N)), count)
        for name, score in scores.items()
    }


def clustering(
    embeddings_ND: Shaped[np.ndarray, "N D"],
    labels_N: Shaped[np.ndarray, " N"],
    *,
    space: Space = "cosine",
    seed: int = 0,
    iterations: int = 25,
    restarts: int = 1,
) -> Clustering:
    """k-means with as many clusters as there are labels, scored against them.

    Args and errors as in `kmeans`; `labels_N` are integers or strings, one per row.
    """
    rule = f"{len(embeddings_ND)} labels, one per embedding"
    require(labels_N.shape == (len(embeddings_ND),), "labels", rule, labels_N.shape)
    number = len(np.unique(labels_N))
    clusters_N = kmeans(
        embeddings_ND, number, space=space, seed=seed, iterations=iterations, restarts=restarts
    )
    protocol = {
        "clusters": f"faiss {version('faiss-cpu')} k-means, {number} clusters",
        "start": f"k-means++, seed {seed}, best of {restarts} runs of {iterations} iterations",
        "space": f"{space}, unit rows" if space == "cosine" else f"{space}, raw rows",
    }
    return Clustering(agreement(labels_N, clusters_N), clusters_N, protocol)
