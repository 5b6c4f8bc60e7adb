"""What plans share that choose the classes of a batch by what the network makes of them.

One class begins the batch, the others are chosen to go with it.

Shapes: N = images, C = classes, P = classes of a batch, L = batches of an epoch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from likeness.errors import require
from likeness.sampling.plans import deal, members


def classes_of_pairs(
    labels_N: Int[np.ndarray, " N"], classes_per_batch: int, *, purpose: str
) -> tuple[Int[np.ndarray, " N"], list[np.ndarray]]:
    """The class of each row, counted from 0, and the rows of each class, in ascending order.

    Args:
        labels_N: class of each image, any integers.
        classes_per_batch: P, in [1, C].
        purpose: why every class needs two images, to finish the sentence "where ...".

    Raises:
        UserError: if P is out of range or a class has a single image.
    """
    require(labels_N.ndim == 1, "labels", "of shape (N,)", labels_N.shape)
    classes, class_N, sizes_C = np.unique(labels_N, return_inverse=True, return_counts=True)
    rule = f"in [1, {len(classes)}], the number of classes"
    require(1 <= classes_per_batch <= len(classes), "classes_per_batch", rule, classes_per_batch)
    rule = f"at least two images of every class where {purpose}"
    require(sizes_C.min() >= 2, "labels", rule, f"1 of class {classes[sizes_C.argmin()]}")
    return class_N, members(labels_N)


def first_classes(classes: int, length: int, generator: np.random.Generator) -> list[int]:
    """The class that begins each of L batches: one shuffled deck of classes after another."""
    decks = [generator.permutation(classes) for _ in range(-(-length // classes))]
    first_L: list[int] = np.concatenate(decks)[:length].tolist()
    return first_L


def dealt_batches(
    chosen_LP: Sequence[Int[np.ndarray, " P"]],
    members_C: Sequence[np.ndarray],
    size: int,
    generator: np.random.Generator,
    *,
    always_C: Int[np.ndarray, " C"] | None = None,
) -> list[list[int]]:
    """The rows of each batch in random order: a hand of each class chosen for it.

    None of the rows of a class is dealt again before all of them were.

    Args:
        chosen_LP: the classes of each batch.
        members_C: the rows of each class.
        size: rows of a hand.
        generator: draws.
        always_C: a row of each class that is in every batch of it, beside the hand; never dealt.
    """
    if always_C is not None:
        members_C = [rows[rows != row] for rows, row in zip(members_C, always_C, strict=True)]
    hands_C = np.bincount(np.concatenate(chosen_LP), minlength=len(members_C))
    hands = [
        deal(rows, int(count), size, generator)
        for rows, count in zip(members_C, hands_C, strict=True)
    ]
    batches: list[list[int]] = []
    for chosen_P in chosen_LP:
        rows = [row for index in chosen_P for row in hands[index].pop()]
        if always_C is not None:
            rows = [*always_C[chosen_P].tolist(), *rows]
        batches.append(generator.permutation(rows).tolist())
    return batches
