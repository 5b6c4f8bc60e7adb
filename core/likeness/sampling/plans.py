"""Batch plans: which images make up which batch, as pure functions of (seed, epoch).

A plan that needs more than the seed (class representatives, the nearest classes) keeps it as the
state of an epoch hook (`likeness.training.hooks`), so the position in a run is always one integer.

Shapes: N = images, C = classes, P = classes of a batch, K = images of each of them,
L = batches of an epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from likeness.errors import UserError, require

_PARTS = 2**32  # of a hand, when hands are shared out


@runtime_checkable
class BatchPlan(Protocol):
    """The batches of every epoch."""

    def batches(self, epoch: int) -> list[list[int]]:
        """The row numbers of each batch of an epoch; the same call gives the same answer."""
        ...


def epoch_length(images: int, batch_size: int) -> int:
    """Batches of an epoch: as many whole ones as the images fill, at least one.

    Every plan of images has this length, so runs with different plans see equally many images per
    epoch, to within one batch. `Clips` counts sequences instead.
    """
    return max(1, images // batch_size)


@dataclass(frozen=True)
class Shuffled:
    """All images in random order, cut into whole batches.

    What does not fill a batch is left out of this epoch; it is other images each time. With fewer
    images than `batch_size` the one batch holds them all.

    Args:
        images: N, >= 1.
        batch_size: images of a batch, >= 1.
        seed: of the run, >= 0.

    Raises:
        UserError: if an argument is out of range.
    """

    images: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        require(self.images >= 1, "images", ">= 1", self.images)
        require(self.batch_size >= 1, "batch_size", ">= 1", self.batch_size)
        require(self.seed >= 0, "seed", ">= 0", self.seed)

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch, L lists of `batch_size` row numbers."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.images).tolist()
        size = min(self.batch_size, self.images)
        count = epoch_length(self.images, self.batch_size)
        return [order[start : start + size] for start in range(0, count * size, size)]


@dataclass(frozen=True, eq=False)
class ClassBalanced:
    """P different classes with K images each, each image about once per epoch.

    An epoch has as many batches as `Shuffled` would have. A class gets hands of K images in
    proportion to its size, at most one per batch; what a large class may not use goes to the
    others. Hands are dealt from the shuffled class: nothing is shown a second time before all of
    the class has been shown, and a hand holds an image twice only if the class has fewer than K.

    A class with one image is refused for K >= 2: copies of one image are no pair, so it would fill
    a K-th part of the batch with nothing to learn.

    Args:
        labels_N: class of each image, any integers.
        classes_per_batch: P, in [1, C].
        per_class: K, >= 1.
        seed: of the run, >= 0.

    Raises:
        UserError: if an argument is out of range or a class has a single image.
    """

    labels_N: Int[np.ndarray, " N"]
    classes_per_batch: int
    per_class: int
    seed: int

    def __post_init__(self) -> None:
        require(self.labels_N.ndim == 1, "labels", "of shape (N,)", self.labels_N.shape)
        require(len(self.labels_N) >= 1, "labels", "at least one", 0)
        require(self.per_class >= 1, "per_class", ">= 1", self.per_class)
        require(self.seed >= 0, "seed", ">= 0", self.seed)
        classes, sizes = np.unique(self.labels_N, return_counts=True)
        require(
            1 <= self.classes_per_batch <= len(classes),
            "classes_per_batch",
            f"in [1, {len(classes)}], the number of classes",
            self.classes_per_batch,
        )
        if self.per_class >= 2 and sizes.min() < 2:
            lone = classes[sizes.argmin()]
            raise UserError(
                "labels must be at least two images of every class for a class-balanced plan "
                f"(drop the class, or use sampler.name=shuffled), got 1 of class {lone}"
            )

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch, L lists of P * K row numbers in random order."""
        generator = np.random.default_rng((self.seed, epoch))
        by_class = members(self.labels_N)
        length = epoch_length(len(self.labels_N), self.classes_per_batch * self.per_class)
        sizes_C = np.array([len(rows) for rows in by_class])
        hands_C = share_out(sizes_C, length, self.classes_per_batch, generator)
        hands = [
            deal(rows, int(count), self.per_class, generator)
            for rows, count in zip(by_class, hands_C, strict=True)
        ]
        batches: list[list[int]] = []
        for chosen in choose_classes(hands_C, length, self.classes_per_batch, generator):
            rows = [row for index in chosen for row in hands[index].pop()]
            batches.append(generator.permutation(rows).tolist())
        return batches


def members(labels_N: Int[np.ndarray, " N"]) -> list[np.ndarray]:
    """The rows of each class, classes in ascending order."""
    order = np.argsort(labels_N, kind="stable")
    _, starts = np.unique(labels_N[order], return_index=True)
    return np.split(order, starts[1:])


def share_out(
    sizes_C: Int[np.ndarray, " C"], length: int, per_batch: int, generator: np.random.Generator
) -> Int[np.ndarray, " C"]:
    """How many hands each class gets: L * P in all, at most L each, in proportion to its size.

    Systematic rounding at random keeps the sum exact and the expectation of each class right. It
    counts in whole parts of a hand: a rounding error may never give a class L + 1 hands.
    """
    shares_C = np.rint(_capped_shares(sizes_C, length, per_batch) * _PARTS).astype(np.int64)
    shares_C[shares_C.argmin()] += length * per_batch * _PARTS - shares_C.sum()
    order = generator.permutation(len(sizes_C))
    edges = np.concatenate([[0], np.cumsum(shares_C[order])]) + generator.integers(_PARTS)
    hands_C = np.empty(len(sizes_C), np.int64)
    hands_C[order] = np.diff(edges // _PARTS)
    return hands_C


def _capped_shares(
    sizes_C: Int[np.ndarray, " C"], length: int, per_batch: int
) -> Float[np.ndarray, " C"]:
    """Shares of L * P in proportion to the sizes, none above L."""
    shares_C = np.zeros(len(sizes_C))
    open_C = np.ones(len(sizes_C), bool)
    while True:
        left = length * per_batch - length * int((~open_C).sum())
        shares_C[open_C] = sizes_C[open_C] * (left / max(sizes_C[open_C].sum(), 1))
        over_C = open_C & (shares_C > length)
        if not over_C.any():
            return np.minimum(shares_C, length)
        shares_C[over_C] = length
        open_C &= ~over_C


def deal(
    rows: Int[np.ndarray, " M"], hands: int, size: int, generator: np.random.Generator
) -> list[list[int]]:
    """`hands` hands of `size` rows from one shuffled deck after another."""
    dealt: list[list[int]] = []
    deck: list[int] = []
    for _ in range(hands):
        hand: list[int] = []
        while len(hand) < size:
            if not deck:
                fresh = generator.permutation(rows).tolist()
                held = set(hand)  # dealt last: popped from the end, so they lie first
                deck = [row for row in fresh if row in held]
                deck += [row for row in fresh if row not in held]
            hand.append(deck.pop())
        dealt.append(hand)
    return dealt


def choose_classes(
    hands_C: Int[np.ndarray, " C"], length: int, per_batch: int, generator: np.random.Generator
) -> list[list[int]]:
    """For each batch P different classes; class c is chosen `hands_C[c]` times in all.

    Weighted draws without replacement (Efraimidis and Spirakis 2006), in which a class that must
    be in every remaining batch comes first. No class then ever has more hands than there are
    batches left, so the draws cannot get stuck.
    """
    left_C = hands_C.copy()
    chosen: list[list[int]] = []
    for remaining in range(length, 0, -1):
        keys_C = np.log1p(-generator.random(len(left_C))) / np.maximum(left_C, 1)
        keys_C[left_C == 0] = -np.inf
        keys_C[left_C == remaining] = np.inf
        picked = np.argsort(-keys_C, kind="stable")[:per_batch]
        left_C[picked] -= 1
        chosen.append(picked.tolist())
    return chosen
