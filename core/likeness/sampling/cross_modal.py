"""A batch plan for classes that come as two kinds of pictures: sketches and photographs, say.

Shapes: N = images, C = classes, P = classes of a batch, K = images of each of them, L = batches of
an epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from likeness.errors import UserError, require
from likeness.sampling.plans import choose_classes, deal, epoch_length, members, share_out


@dataclass(frozen=True, eq=False)
class CrossModal:
    """P different classes with K / 2 images of each of two modalities.

    That is the batch of MATHM (Huang et al., arXiv 2112.07966: 15 classes x (4 sketches + 4
    photographs)). Classes get hands in proportion to their images of both modalities, as in
    `ClassBalanced`, and an epoch is as long. Of each modality a class's images are dealt from a
    shuffled deck of their own, so the rarer modality is shown more often. (The authors' code ends
    an epoch's choice of a class when its rarer modality is used up.)

    Args:
        labels_N: class of each image, any integers.
        modality_N: modality of each image, two different integers.
        classes_per_batch: P, in [1, C].
        per_class: K, even, >= 2.
        seed: of the run, >= 0.

    Raises:
        UserError: if an argument is out of range, there are not two modalities, or a class has
            images of one only.
    """

    labels_N: Int[np.ndarray, " N"]
    modality_N: Int[np.ndarray, " N"]
    classes_per_batch: int
    per_class: int
    seed: int

    def __post_init__(self) -> None:
        shape = self.labels_N.shape
        require(len(shape) == 1 and shape[0] >= 1, "labels", "one class per image", shape)
        got = self.modality_N.shape
        require(got == shape, "modality", f"of shape {shape}", got)
        fits = self.per_class >= 2 and self.per_class % 2 == 0
        require(fits, "per_class", "even, half of it of each modality", self.per_class)
        require(self.seed >= 0, "seed", ">= 0", self.seed)
        kinds = np.unique(self.modality_N)
        require(len(kinds) == 2, "modality", "of two values", kinds.tolist())
        classes = np.unique(self.labels_N)
        rule, wanted = f"in [1, {len(classes)}], the number of classes", self.classes_per_batch
        require(1 <= wanted <= len(classes), "classes_per_batch", rule, wanted)
        for kind in kinds:
            lacking = np.setdiff1d(classes, self.labels_N[self.modality_N == kind])
            if len(lacking):
                raise UserError(
                    "labels must be of images of both modalities in every class for a cross-modal "
                    f"plan (drop the class), got none of modality {kind} in class {lacking[0]}"
                )

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch, L lists of P * K row numbers in random order."""
        generator = np.random.default_rng((self.seed, epoch))
        by_class = members(self.labels_N)
        length = epoch_length(len(self.labels_N), self.classes_per_batch * self.per_class)
        sizes_C = np.array([len(rows) for rows in by_class])
        hands_C = share_out(sizes_C, length, self.classes_per_batch, generator)
        hands = [
            self._hands(rows, int(count), generator)
            for rows, count in zip(by_class, hands_C, strict=True)
        ]
        batches: list[list[int]] = []
        for chosen in choose_classes(hands_C, length, self.classes_per_batch, generator):
            rows = [row for index in chosen for row in hands[index].pop()]
            batches.append(generator.permutation(rows).tolist())
        return batches

    def _hands(
        self, rows: Int[np.ndarray, " M"], count: int, generator: np.random.Generator
    ) -> list[list[int]]:
        """`count` hands of one class, each of K / 2 images of each modality."""
        halves = [
            deal(rows[places], count, self.per_class // 2, generator)
            for places in members(self.modality_N[rows])
        ]
        return [first + second for first, second in zip(*halves, strict=True)]
