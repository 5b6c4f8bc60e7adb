"""Are sub-classes found again, and do they say more than chance? Both questions are our own.

Legend: N = rows, D = embedding dimension.

Either is asked inside classes: two divisions of the same classes agree well by their classes alone,
and any division is tighter than the whole set by them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped

from likeness.errors import require
from likeness.evaluation.clustering import agreement
from likeness.search.space import Space, prepared


@dataclass(frozen=True)
class RandomSplits:
    """A division of the classes against random ones of the same sizes.

    Attributes:
        observed: mean squared distance of a row to the mean of its sub-class, over the rows of
            classes that are divided; nan if none is.
        expected: the mean of the same over the random divisions.
        p_value: (1 + number of random divisions as tight or tighter) / (1 + draws); nan likewise.
        draws: random divisions.
        rows: rows that counted.
    """

    observed: float
    expected: float
    p_value: float
    draws: int
    rows: int


def agreement_inside(
    labels_N: Int[np.ndarray, " N"],
    first_N: Int[np.ndarray, " N"],
    second_N: Int[np.ndarray, " N"],
) -> tuple[float, dict[int, float]]:
    """Adjusted Rand index of two divisions (two seeds, two rounds) inside the classes.

    Args:
        labels_N: classes.
        first_N: sub-class of each row, any integers.
        second_N: the same of another discovery; its numbers need not match.

    Returns:
        The mean over classes, weighted by their rows, and the value of each class. Classes that
        both leave whole are not counted; nan if that is all of them. A class that only one of the
        two divides has 0.

    Raises:
        UserError: if the shapes differ.
    """
    for name, other_N in (("first", first_N), ("second", second_N)):
        require(other_N.shape == labels_N.shape, name, f"of shape {labels_N.shape}", other_N.shape)
    found: dict[int, float] = {}
    weighted, rows = 0.0, 0
    for label in np.unique(labels_N).tolist():
        own_N = labels_N == label
        one_N, other_N = first_N[own_N], second_N[own_N]
        if len(np.unique(one_N)) == len(np.unique(other_N)) == 1:
            continue
        found[label] = agreement(one_N, other_N)["ari"].value
        weighted += found[label] * len(one_N)
        rows += len(one_N)
    return (weighted / rows if rows else math.nan), found


def against_random_splits(
    embeddings_ND: Shaped[np.ndarray, "N D"],
    labels_N: Int[np.ndarray, " N"],
    assigned_N: Int[np.ndarray, " N"],
    *,
    space: Space,
    draws: int = 199,
    seed: int = 0,
) -> RandomSplits:
    """Whether sub-classes are tighter than random divisions of their classes of equal sizes.

    In the embedding that they were found in they always are: any cut through a cloud makes two
    tighter halves. Ask an embedding that had no part in finding them (another seed's, another
    model's); only there is a small p-value a finding.

    Args:
        embeddings_ND: raw embeddings.
        labels_N: classes.
        assigned_N: sub-class of each row; none may lie in two classes.
        space: the space of the embeddings.
        draws: random divisions, >= 1.
        seed: of them, >= 0.

    Raises:
        UserError: if the shapes differ, a sub-class crosses classes, or `draws` is below 1.
    """
    require(draws >= 1, "draws", ">= 1", draws)
    rows_ND = prepared(embeddings_ND, space, "embeddings").astype(np.float64)
    for name, column_N in (("labels", labels_N), ("assigned", assigned_N)):
        require(column_N.shape == (len(rows_ND),), name, f"{len(rows_ND)} numbers", column_N.shape)
    blocks = _divided(rows_ND, labels_N, assigned_N)
    rows = sum(len(rows_MD) for rows_MD, _ in blocks)
    if not rows:
        return RandomSplits(math.nan, math.nan, math.nan, draws, 0)
    observed = sum(_scatter(*block) for block in blocks) / rows
    generator = np.random.default_rng(seed)
    drawn = np.zeros(draws)
    for rows_MD, sizes_K in blocks:
        for draw in range(draws):
            drawn[draw] += _scatter(generator.permutation(rows_MD), sizes_K) / rows
    as_tight = int((drawn <= observed * (1 + 1e-12)).sum())
    expected = float(drawn.mean())
    return RandomSplits(observed, expected, (1 + as_tight) / (1 + draws), draws, rows)


def _divided(
    rows_ND: np.ndarray, labels_N: np.ndarray, assigned_N: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each class with two sub-classes or more: its centred rows by sub-class, and their sizes.

    Raises:
        UserError: if a sub-class has rows of two classes.
    """
    blocks, parts = [], 0
    for label in np.unique(labels_N).tolist():
        own = np.flatnonzero(labels_N == label)
        _, sizes_K = np.unique(assigned_N[own], return_counts=True)
        parts += len(sizes_K)
        if len(sizes_K) > 1:
            rows_MD = rows_ND[own[np.argsort(assigned_N[own], kind="stable")]]
            blocks.append((rows_MD - rows_MD.mean(axis=0), sizes_K))
    different = len(np.unique(assigned_N))
    require(parts == different, "assigned", "sub-classes of one class each", "one of two classes")
    return blocks


def _scatter(rows_MD: np.ndarray, sizes_K: np.ndarray) -> float:
    """Sum of squared distances to the means of consecutive parts of these sizes."""
    starts_K = np.cumsum(sizes_K) - sizes_K
    sums_KD = np.add.reduceat(rows_MD, starts_K, axis=0)
    return float(np.square(rows_MD).sum() - (np.square(sums_KD).sum(axis=1) / sizes_K).sum())
