"""What a synthesis of embeddings is: more points than the network gave, and how they pair.

Shapes: N = samples of the batch, P = synthetic points, D = embedding dimension.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from likeness.batch import Batch
from likeness.errors import require
from likeness.losses.base import LossTerms, PairLoss
from likeness.selection import Miner


@runtime_checkable
class Synthetic(Protocol):
    """One batch with what was made of it; every loss of a step reads the same."""

    def terms(
        self,
        loss: PairLoss,
        batch: Batch,
        *,
        labels: Tensor | None = None,
        miner: Miner | None = None,
        exclude_groups: bool = False,
    ) -> LossTerms:
        """The loss of the batch and of what was made of it.

        Args:
            loss: what is minimised.
            batch: what is known of the originals.
            labels: what tells them apart in place of the batch's labels, shape (N,).
            miner: chooses among all pairs, synthetic ones too.
            exclude_groups: no positive pair inside one group of the batch.
        """
        ...


class Synthesiser(nn.Module):
    """The two front doors of a synthesis: alone in any loop, or for all losses of an objective.

    A subclass writes `synthesise`; one that keeps statistics of all training images overrides
    `wants_embeddings` and `refresh`. What it keeps is in its buffers.
    """

    def forward(
        self,
        loss: PairLoss,
        embeddings_ND: Float[Tensor, "N D"],
        batch: Batch,
        *,
        epoch: float | None = None,
    ) -> Float[Tensor, ""]:
        """The loss with synthesis, of raw embeddings: a scalar to call `backward()` on."""
        return self.synthesise(embeddings_ND, batch, epoch=epoch).terms(loss, batch).value

    def synthesise(
        self, embeddings_ND: Float[Tensor, "N D"], batch: Batch, *, epoch: float | None = None
    ) -> Synthetic:
        """What is made of a batch; in training mode what is kept of past batches moves first.

        Args:
            embeddings_ND: raw embeddings of the (global) batch.
            batch: what is known of it; its generator draws.
            epoch: fractional epoch from 0, for what changes with time; None is at full strength.
        """
        raise NotImplementedError

    def wants_embeddings(self, epoch: int) -> bool:
        """Whether `refresh` is wanted at the start of an epoch, counted from 0."""
        return False

    def refresh(self, embeddings_ND: Float[Tensor, "N D"], labels_N: Tensor) -> None:
        """Told the raw embeddings of all training images; nothing to do by default."""


def check_one_class(labels: Tensor) -> None:
    """Refuse labels of which an image has several.

    Raises:
        UserError: unless the shape is (N,).
    """
    rule = "class indices of shape (N,) for synthesis"
    require(labels.ndim == 1, "labels", rule, tuple(labels.shape))


def uniform_like(shape: tuple[int, ...], batch: Batch, like: Tensor) -> Tensor:
    """Uniform in [0, 1), drawn where the batch's generator lives."""
    source = like.device if batch.generator is None else batch.generator.device
    drawn = torch.rand(shape, generator=batch.generator, device=source)
    return drawn.to(like)


def normal_like(shape: tuple[int, ...], batch: Batch, like: Tensor) -> Tensor:
    """Standard normal, drawn where the batch's generator lives."""
    source = like.device if batch.generator is None else batch.generator.device
    drawn = torch.randn(shape, generator=batch.generator, device=source)
    return drawn.to(like)
