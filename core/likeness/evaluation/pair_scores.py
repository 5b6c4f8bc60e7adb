"""Scores of genuine pairs (same label) and impostor pairs, counted between thresholds by group.

A set of some thousand items has millions of pairs, and no figure needs them one by one: the shares
that reach a threshold need exact counts at a few thousand thresholds. Scores are higher = more
alike; of a distance the score is its negative.

Legend: Q queries, G gallery rows, N items or pairs, U groups, T rising thresholds, B = T + 1 bins:
below the first threshold, between two, from the last one on; L queries of one block of distances.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from scipy import sparse

from likeness.errors import require
from likeness.evaluation.roc import checked_binary
from likeness.search.distances import Block, distance_blocks
from likeness.search.exclusion import Keys
from likeness.search.space import Space

Sparse = Any  # scipy.sparse.csr_array, which has no type of its own


@dataclass(frozen=True, eq=False)
class PairCounts:
    """How many pairs of each group lie in each bin of scores.

    Attributes:
        threshold_T: rising and finite; a pair reaches a threshold where score >= threshold.
        genuine_UB: pairs of the same label, sparse (U, T + 1).
        impostor_UB: pairs of different labels.
    """

    threshold_T: Float[np.ndarray, " T"]
    genuine_UB: Sparse
    impostor_UB: Sparse

    @property
    def genuine(self) -> int:
        """Genuine pairs in all."""
        return int(self.genuine_UB.sum())

    @property
    def impostor(self) -> int:
        """Impostor pairs in all."""
        return int(self.impostor_UB.sum())

    @property
    def groups(self) -> int:
        """Groups that pairs were counted for."""
        return int(self.genuine_UB.shape[0])


def score_grid(farthest: float, steps: int = 4096) -> Float[np.ndarray, " T"]:
    """Even thresholds for the scores of distances in [0, `farthest`]: from -farthest up to 0.

    The chord of unit rows reaches 2, re-ranked distances 1.

    Raises:
        UserError: unless `farthest` is positive and finite and `steps` at least 1.
    """
    require(0 < farthest < np.inf, "farthest", "a positive number", farthest)
    require(steps >= 1, "steps", ">= 1", steps)
    return np.linspace(-farthest, 0.0, steps + 1)


def count_scores(
    same_N: Shaped[np.ndarray, " N"],
    scores_N: Shaped[np.ndarray, " N"],
    groups_N: Shaped[np.ndarray, " N"] | None = None,
    threshold_T: Float[np.ndarray, " T"] | None = None,
) -> PairCounts:
    """Count listed pairs.

    Args:
        same_N: whether a pair is genuine: booleans, or 0 and 1.
        scores_N: finite, higher = more alike.
        groups_N: what to resample: the identity of the pair's query, say. None = one group.
        threshold_T: rising; None = every distinct score, so that nothing is rounded.

    Raises:
        UserError: as `roc.roc_curve`, or if groups or thresholds do not fit.
    """
    same, scores = checked_binary(same_N, scores_N)
    groups = np.zeros(len(same), np.int64) if groups_N is None else groups_N
    require(groups.shape == same.shape, "groups", f"{len(same)}, one per pair", groups.shape)
    thresholds = np.unique(scores) if threshold_T is None else _checked_thresholds(threshold_T)
    _, code_N = np.unique(groups, return_inverse=True)
    bin_N = np.searchsorted(thresholds, scores, side="right")
    shape = (int(code_N.max()) + 1, len(thresholds) + 1)
    genuine, impostor = (_cells(code_N[of], bin_N[of], shape) for of in (same, ~same))
    return PairCounts(thresholds, genuine, impostor)


def count_blocks(
    blocks: Iterable[Block],
    query_labels_Q: Shaped[np.ndarray, " Q"],
    gallery_labels_G: Shaped[np.ndarray, " G"],
    threshold_T: Float[np.ndarray, " T"],
) -> PairCounts:
    """Count every pair of a query and a gallery row that may meet, block by block.

    Args:
        blocks: (rows, distances) as of `search.distances.distance_blocks` or
            `search.reciprocal.ReciprocalSearch.distance_blocks`, every query once; pairs at an
            infinite distance are not counted.
        query_labels_Q: what makes a pair genuine, and the groups: the queries are drawn by label,
            the gallery stays as it is.
        gallery_labels_G: labels of the same kind.
        threshold_T: rising, see `score_grid`.

    Raises:
        UserError: if thresholds or labels do not fit.
    """
    thresholds = _checked_thresholds(threshold_T)
    distinct, code = np.unique(
        np.concatenate([query_labels_Q, gallery_labels_G]), return_inverse=True
    )
    query_Q, gallery_G = code[: len(query_labels_Q)], code[len(query_labels_Q) :]
    shape = (len(distinct), len(thresholds) + 1)
    genuine, impostor = sparse.csr_array(shape), sparse.csr_array(shape)
    for rows, distance_LG in blocks:
        rule = f"blocks of {len(gallery_G)} gallery rows, one label each"
        require(distance_LG.shape[1] == len(gallery_G), "gallery_labels", rule, len(gallery_G))
        row_N, column_N = np.nonzero(np.isfinite(distance_LG))
        bin_N = np.searchsorted(thresholds, -distance_LG[row_N, column_N], side="right")
        owner_N = query_Q[rows][row_N]
        same_N = owner_N == gallery_G[column_N]
        genuine += _cells(owner_N[same_N], bin_N[same_N], shape)
        impostor += _cells(owner_N[~same_N], bin_N[~same_N], shape)
    asked = np.unique(query_Q)
    return PairCounts(thresholds, genuine[asked], impostor[asked])


def count_set(
    embeddings_ND: Shaped[np.ndarray, "N D"],
    labels_N: Shaped[np.ndarray, " N"],
    threshold_T: Float[np.ndarray, " T"],
    *,
    space: Space = "cosine",
    exclude: Sequence[Keys] = (),
    most_pairs: int = 50_000_000,
    seed: int = 0,
) -> PairCounts:
    """Count the pairs of one set (the validation items, say), each pair once.

    Where a set has more than `most_pairs` pairs, so many items are drawn at random that they and
    all items make about that number.

    Args:
        embeddings_ND: raw or normalised.
        labels_N: what makes a pair genuine; a pair belongs to the group of one of its items.
        threshold_T: rising, see `score_grid`.
        space: see `search.exact.nearest`.
        exclude: (keys, the same keys) of pairs that are not counted: same camera, say.
        most_pairs: at least N.
        seed: of the draw, and of which item of a pair has it in its group.

    Raises:
        UserError: if sizes do not fit or the embeddings are refused by `search.space.prepared`.
    """
    items = len(embeddings_ND)
    require(labels_N.shape == (items,), "labels", f"{items}, one per item", labels_N.shape)
    require(most_pairs >= items, "most_pairs", f"at least {items}, one per item", most_pairs)
    order_N = np.random.default_rng(seed).permutation(items)
    # Asking a of n items costs a n pairs, of which a (a + 1) / 2 are the same or met before.
    asked = items if items * (items - 1) // 2 <= most_pairs else most_pairs // items
    query_Q = order_N[:asked]
    turn_N = np.full(items, items)  # when an item asks; the last ones never do
    turn_N[query_Q] = np.arange(asked)
    keys = [(query_keys[query_Q], keys) for query_keys, keys in exclude]
    blocks = distance_blocks(embeddings_ND[query_Q], embeddings_ND, space=space, exclude=keys)

    def once() -> Iterable[Block]:
        for rows, distance_LN in blocks:
            met_LN = turn_N <= np.arange(rows.start, rows.stop)[:, None]
            yield rows, np.where(met_LN, np.float32(np.inf), distance_LN)

    return count_blocks(once(), labels_N[query_Q], labels_N, threshold_T)


def _cells(owner_N: np.ndarray, bin_N: np.ndarray, shape: tuple[int, int]) -> Sparse:
    """How often each (owner, bin) occurs."""
    distinct, local_N = np.unique(owner_N, return_inverse=True)
    count = np.bincount(local_N * shape[1] + bin_N, minlength=len(distinct) * shape[1])
    row, column = np.nonzero(count.reshape(-1, shape[1]))
    values = count.reshape(-1, shape[1])[row, column].astype(np.float64)
    return sparse.csr_array((values, (distinct[row], column)), shape)


def _checked_thresholds(threshold_T: np.ndarray) -> np.ndarray:
    rising = bool((np.diff(threshold_T) > 0).all() and np.isfinite(threshold_T).all())
    rule = "at least one, finite and rising"
    require(len(threshold_T) > 0 and rising, "thresholds", rule, threshold_T)
    return threshold_T.astype(np.float64)
