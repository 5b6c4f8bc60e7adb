"""Intra-class adaptive augmentation: copies spread as their class is, known from all images.

Shapes: N = samples of the batch, R = copies of each, P = R N, C = classes, D = embedding dimension.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.batch import Batch
from likeness.errors import require
from likeness.losses.base import PairLoss, check_classes
from likeness.rows import raised
from likeness.synthesis.base import Synthesiser, check_one_class, normal_like
from likeness.synthesis.class_statistics import (
    ClassStatistics,
    Correction,
    class_statistics,
    corrected_variance,
    merged,
)
from likeness.synthesis.copies import CopiedBatch

SHARES = (1.0, 0.9, 0.75, 0.6)  # of the strength, after 0, 1, 2 and 3 of `decay_epochs`


class IntraClassAugmentation(Synthesiser):
    """Intra-class adaptive augmentation with neighbour correction (IAA: Fu et al., TMM 2022).

    (arXiv 2211.16264, official code darkpromise98/IAA.) Every sample z of class c gets R copies

        z + sqrt(strength) sqrt(variance_c) * noise,   noise ~ N(0, I)

    which originals are compared with, and which are never positives of the sample they came from;
    copies are no anchors, so a loss must read references beside the batch. The gradient goes
    through z. Variances are those of raw embeddings of the training images, class by class and
    channel by channel, found at the start of an epoch and merged with the earlier ones (`merged`).
    In a set of many classes with few samples each they give way to those of classes with similar
    means (`corrected_variance`). All statistics are buffers. In any loop:

        synthesis = IntraClassAugmentation(num_classes, dim)
        synthesis.refresh(embeddings_of_all_images, labels)      # now and then
        value = synthesis(loss, embeddings, Batch(labels))

    Defaults are the code's; its epochs are of 100. It takes the square root once more for every
    further copy (the third copy gets the variance to the power 1/8), and never calls its neighbour
    correction: here the root is taken once, and the corrected variance is what is used. Distances
    of neighbours are scaled over valid classes; its marks of 1e12 for others make them all 0. It
    passes augmented images; here the pass that all hooks of an epoch share is of plain ones.

    Args:
        num_classes: C.
        dim: D.
        copies: R, >= 1.
        strength: lambda, >= 0; 0.6 for SOP and 0.5 for large networks in the code.
        momentum: in [0, 1]; 1 - momentum is the least weight of new statistics.
        start_epoch: the first epoch with copies, from 0; until then the batch is left alone.
        every: epochs from one refresh to the next, >= 1.
        decay_epochs: three epochs, ascending, from which on the strength is 0.9, 0.75 and 0.6 of
            itself; in the code after 40, 60 and 80 % of all.
        correct_above: neighbours correct the variances of more classes than this.
        neighbours: K of `corrected_variance`, >= 1.
        global_share: gamma, in [0, 1].
        distrust: b, > 0.
        trusted_from: samples from which on a class keeps its own variance, >= 1.

    Raises:
        UserError: if an argument is out of range.
    """

    mean_CD: Tensor
    variance_CD: Tensor
    count_C: Tensor
    deviation_CD: Tensor

    def __init__(
        self,
        num_classes: int,
        dim: int,
        *,
        copies: int = 3,
        strength: float = 0.8,
        momentum: float = 0.2,
        start_epoch: int = 30,
        every: int = 2,
        decay_epochs: Sequence[int] = (40, 60, 80),
        correct_above: int = 1000,
        neighbours: int = 25,
        global_share: float = 0.1,
        distrust: float = 0.1,
        trusted_from: int = 40,
    ) -> None:
        super().__init__()
        require(copies >= 1, "copies", ">= 1", copies)
        require(0 <= strength < math.inf, "strength", ">= 0 and finite", strength)
        require(0 <= momentum <= 1, "momentum", "in [0, 1]", momentum)
        require(every >= 1, "every", ">= 1", every)
        require(neighbours >= 1, "neighbours", ">= 1", neighbours)
        require(0 <= global_share <= 1, "global_share", "in [0, 1]", global_share)
        require(0 < distrust < math.inf, "distrust", "> 0 and finite", distrust)
        check_decay(decay_epochs)
        self.num_classes, self.dim, self.copies = num_classes, dim, copies
        self.strength, self.momentum = strength, momentum
        self.start_epoch, self.every, self.decay_epochs = start_epoch, every, tuple(decay_epochs)
        self.correct_above = correct_above
        self.correction = Correction(neighbours, global_share, distrust, trusted_from)
        self.register_buffer("mean_CD", torch.zeros(num_classes, dim))
        self.register_buffer("variance_CD", torch.zeros(num_classes, dim))
        self.register_buffer("count_C", torch.zeros(num_classes, dtype=torch.int64))
        self.register_buffer("deviation_CD", torch.zeros(num_classes, dim))

    def wants_embeddings(self, epoch: int) -> bool:
        """At the first epoch with copies, and every so many after it."""
        return epoch >= self.start_epoch and (epoch - self.start_epoch) % self.every == 0

    @torch.no_grad()
    def refresh(self, embeddings_ND: Float[Tensor, "N D"], labels_N: Tensor) -> None:
        """Merge the statistics of all training images, and correct the variances."""
        sizes = {"num_classes": self.num_classes, "dim": self.dim}
        labels_N = labels_N.to(embeddings_ND.device)
        check_classes(embeddings_ND, labels_N, **sizes)
        new = class_statistics(embeddings_ND, labels_N, self.num_classes)
        old = ClassStatistics(self.mean_CD.double(), self.variance_CD.double(), self.count_C)
        now = merged(old, new, momentum=self.momentum)
        used_CD = now.variance_CD
        if self.num_classes > self.correct_above:
            used_CD = corrected_variance(now, new.count_C, self.correction)
        self.mean_CD.copy_(now.mean_CD)
        self.variance_CD.copy_(now.variance_CD)
        self.count_C.copy_(now.count_C)
        self.deviation_CD.copy_(used_CD.clamp_min(0).sqrt())

    def strength_at(self, epoch: float | None) -> float:
        """The strength at a (fractional) epoch; full without one."""
        passed = 0 if epoch is None else sum(epoch >= step for step in self.decay_epochs)
        return self.strength * SHARES[passed]

    def synthesise(
        self, embeddings_ND: Float[Tensor, "N D"], batch: Batch, *, epoch: float | None = None
    ) -> CopiedBatch:
        """See `Synthesiser.synthesise`; before `start_epoch` there are no copies.

        Raises:
            UserError: if the dimension differs, or a label is outside [0, C) (checked on the CPU).
        """
        check_one_class(batch.labels)
        sizes = {"num_classes": self.num_classes, "dim": self.dim}
        check_classes(embeddings_ND, batch.labels, **sizes)
        begun = epoch is None or epoch >= self.start_epoch
        rows_ND = raised(embeddings_ND)
        place_N = torch.arange(len(rows_ND), device=rows_ND.device)
        source_P = place_N.repeat(self.copies if begun else 0)
        noise_PD = normal_like((len(source_P), self.dim), batch, rows_ND)
        deviation_PD = self.deviation_CD.to(rows_ND)[batch.labels[source_P]]
        scale = math.sqrt(self.strength_at(epoch))
        points_PD = rows_ND[source_P] + scale * deviation_PD * noise_PD
        # Without a copy there is nothing beside the batch, and it is compared with itself.
        return CopiedBatch(rows_ND, points_PD, source_P, as_samples=not begun)


def check_intra_class(loss: PairLoss) -> None:
    """Refuse losses that read nothing but the batch, of which copies are no part.

    Raises:
        UserError: naming the loss.
    """
    rule = "one that reads references beside the batch for intra-class augmentation"
    require(loss.reads_references, "loss", rule, type(loss).__name__)


def check_decay(epochs: Sequence[int]) -> None:
    """Raise UserError unless there are three epochs >= 0 in ascending order."""
    steps = list(epochs)
    ascending = all(first <= second for first, second in pairwise([0, *steps]))
    fits = len(steps) == len(SHARES) - 1 and ascending
    require(fits, "decay_epochs", "three epochs >= 0 in ascending order", steps)
