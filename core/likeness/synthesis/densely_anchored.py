"""Densely anchored sampling: more points of a class, where its samples leave room.

Shapes: N = samples of the batch, R = copies of each, P = R N, D = embedding dimension, C = classes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.batch import Batch
from likeness.errors import require
from likeness.losses.base import check_classes
from likeness.pairs import Space, project
from likeness.rows import raised
from likeness.synthesis.base import Synthesiser, check_one_class, uniform_like
from likeness.synthesis.copies import CopiedBatch, ids_of
from likeness.synthesis.difference_bank import ChannelCounts, DifferenceBank


class DenselyAnchoredSampling(Synthesiser):
    """Densely anchored sampling (DAS: Liu et al., ECCV 2022; official code lizhaoliu-Lec/DAS).

    Every sample gets R copies of its class in which

        the channels that are most often the largest in that class are scaled, each by a factor
        uniform in [scale_low, scale_high];
        beta times the difference of two earlier samples of the class is added.

    Copies are samples like any other, anchors too, and positives of what they came from: any loss
    and any miner then see a batch of N (1 + R). Both records are buffers and are brought up to date
    with the batch first, in training mode. In any loop:

        synthesis = DenselyAnchoredSampling(num_classes, dim, space=loss.space)
        value = synthesis(loss, embeddings, Batch(labels))

    The code works on the network's output, which is normalised for most losses: so the `cosine`
    space compares, records and moves unit rows; other spaces the embeddings as they are. Defaults
    are the code's for CUB and Cars; for SOP it has scales 0.5 to 2, beta 0.1 and no `detach`.

    Args:
        num_classes: C.
        dim: D.
        copies: R, >= 1.
        channels: how many channels are counted and scaled, in [1, D].
        scale_low: > 0.
        scale_high: >= scale_low.
        beta: factor on the differences, >= 0.
        bank: differences kept of each class, >= 1.
        detach: copies are constants; otherwise the gradient goes through them to their samples.
        space: of the losses that read it.

    Raises:
        UserError: if an argument is out of range.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        *,
        copies: int = 3,
        channels: int = 4,
        scale_low: float = 0.99,
        scale_high: float = 1.01,
        beta: float = 0.01,
        bank: int = 10,
        detach: bool = True,
        space: Space = "cosine",
    ) -> None:
        super().__init__()
        require(copies >= 1, "copies", ">= 1", copies)
        check_scales(scale_low, scale_high)
        require(0 <= beta < torch.inf, "beta", ">= 0 and finite", beta)
        self.num_classes, self.dim = num_classes, dim
        self.copies, self.beta, self.detach, self.space = copies, beta, detach, space
        self.scale_low, self.scale_high = scale_low, scale_high
        self.counts = ChannelCounts(num_classes, dim, channels=channels)
        self.bank = DifferenceBank(num_classes, dim, size=bank)

    def synthesise(
        self, embeddings_ND: Float[Tensor, "N D"], batch: Batch, *, epoch: float | None = None
    ) -> CopiedBatch:
        """See `Synthesiser.synthesise`; the same at every epoch.

        Raises:
            UserError: if the dimension differs, or a label is outside [0, C) (checked on the CPU).
        """
        check_one_class(batch.labels)
        sizes = {"num_classes": self.num_classes, "dim": self.dim}
        check_classes(embeddings_ND, batch.labels, **sizes)
        with torch.autocast(embeddings_ND.device.type, enabled=False):
            rows_ND = project(raised(embeddings_ND), self.space)
            if self.training:
                self.counts.record(rows_ND.detach(), batch.labels)
                self.bank.push(rows_ND.detach(), batch.labels, ids_of(batch))
            source_P = torch.arange(len(rows_ND), device=rows_ND.device).repeat(self.copies)
            points_PD = self._moved(rows_ND.detach() if self.detach else rows_ND, source_P, batch)
        return CopiedBatch(rows_ND, points_PD, source_P, as_samples=True, space=self.space)

    def _moved(self, rows_ND: Tensor, source_P: Tensor, batch: Batch) -> Tensor:
        labels_P = batch.labels[source_P]
        shape_PD = (len(source_P), self.dim)
        width = self.scale_high - self.scale_low
        factor_PD = self.scale_low + width * uniform_like(shape_PD, batch, rows_ND)
        loud_PD = self.counts.loudest(batch.labels)[source_P]
        scaled_PD = rows_ND[source_P] * torch.where(loud_PD, factor_PD, 1.0)
        drawn_P = uniform_like((len(source_P),), batch, rows_ND)
        return scaled_PD + self.beta * self.bank.draw(labels_P, drawn_P).to(rows_ND)


def check_scales(low: float, high: float) -> None:
    """Raise UserError unless 0 < low <= high, both finite."""
    require(0 < low < torch.inf, "scale_low", "> 0 and finite", low)
    require(low <= high < torch.inf, "scale_high", f">= scale_low, {low}, and finite", high)
