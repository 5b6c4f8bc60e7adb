"""Wrong labels on purpose, for experiments: what is lost when annotators err?

Shapes: N = images, C = classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from likeness.errors import require


class NoisyLabels(NamedTuple):
    """Labels of which some are wrong.

    Attributes:
        labels_N: the labels, int64.
        wrong_N: which of them were changed.
    """

    labels_N: Int[np.ndarray, " N"]
    wrong_N: Bool[np.ndarray, " N"]


def symmetric_noise(labels_N: Int[np.ndarray, " N"], share: float, *, seed: int) -> NoisyLabels:
    """A share of the labels replaced by another class, every other class alike.

    Exactly round(share x N) labels are wrong. With one seed, what is wrong at a share is wrong in
    the same way at every larger one, so that a step of noise adds to the last. Do this to training
    labels only. A class may lose all its images where it has few.

    Args:
        labels_N: class of each image, any integers; two classes at least where share > 0.
        share: in [0, 1].
        seed: >= 0.

    Raises:
        UserError: if an argument is out of range.
    """
    require(labels_N.ndim == 1, "labels", "of shape (N,)", labels_N.shape)
    require(0 <= share <= 1, "share", "in [0, 1]", share)
    require(seed >= 0, "seed", ">= 0", seed)
    classes_C, class_N = np.unique(labels_N, return_inverse=True)
    require(len(classes_C) >= 2 or share == 0, "labels", "of two classes or more", len(classes_C))
    generator = np.random.default_rng(seed)
    order_N = generator.permutation(len(labels_N))
    shift_N = generator.integers(1, max(len(classes_C), 2), size=len(labels_N))
    wrong_N = np.zeros(len(labels_N), bool)
    wrong_N[order_N[: round(share * len(labels_N))]] = True
    moved_N = np.where(wrong_N, class_N + shift_N, class_N) % max(len(classes_C), 1)
    return NoisyLabels(classes_C[moved_N].astype(np.int64), wrong_N)
