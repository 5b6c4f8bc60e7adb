"""What losses with proxies share: samples against learned representatives, by cosine.

Shapes: N = samples, C = classes, K = proxies per class, D = embedding dimension.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.batch import Batch
from likeness.errors import UserError, require
from likeness.imprinting import LEAST_MEAN
from likeness.losses.base import LossTerms, PairLoss, check_classes
from likeness.losses.classification import beaten
from likeness.pairs import Pairs, Space, project
from likeness.proxies import ProxyBank
from likeness.selection import AnySelection

ProxyStart = Literal["random", "class_means"]
PROXY_STARTS: tuple[ProxyStart, ...] = ("random", "class_means")


class ProxyLoss(PairLoss):
    """Samples against the proxies of all classes, unit rows both; a subclass writes `judge`.

    The proxies are a parameter in float32 that is normalised whenever it is read and never cast to
    the batch's type. Memory is O(N C K), and no sample meets another: a miner's selection or a
    memory of past samples means nothing here and is refused.

    Attributes:
        factor: what cosines are multiplied by before `judge`; done to the embeddings, which costs
            N D and not N C K.

    Args:
        num_classes: C, >= 1.
        dim: D, >= 1.
        per_class: K, >= 1.
        proxy_lr_mult: factor on the run's learning rate for the proxies, > 0; they never decay.
        start: `random`, normal values of deviation `std`; or `class_means`: the class means of
            the training images before the first step (weight imprinting, Qi et al. 2018; where K >
            1 the centres of K clusters of each class).
        std: deviation of the random values, > 0; None makes rows of about unit length. Only
            directions count, but the smaller the rows, the farther a step of the optimiser turns
            them.
        space: `cosine` only.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("cosine",)
    reads: ClassVar[frozenset[str]] = frozenset()
    reads_references: ClassVar[bool] = False

    def __init__(
        self,
        num_classes: int,
        dim: int,
        *,
        per_class: int = 1,
        proxy_lr_mult: float,
        start: ProxyStart,
        std: float | None = None,
        space: Space | None,
    ) -> None:
        super().__init__(space)
        require(start in PROXY_STARTS, "start", f"one of {', '.join(PROXY_STARTS)}", start)
        require(proxy_lr_mult > 0, "proxy_lr_mult", "> 0", proxy_lr_mult)
        require(dim >= 1, "dim", ">= 1", dim)
        std = 1 / math.sqrt(dim) if std is None else std
        self.start: ProxyStart = start
        self.factor = 1.0
        self.bank = ProxyBank(num_classes, dim, per_class, lr_mult=proxy_lr_mult, std=std)

    def on_pairs(
        self, pairs: Pairs, selection: AnySelection | None = None, batch: Batch | None = None
    ) -> LossTerms:
        """The loss of the samples of `pairs` against the proxies.

        `n_active` counts samples that are more similar to another class than to their own.

        Raises:
            UserError: if there is a selection, references other than the batch, another space, or
                a label outside [0, C) (checked on the CPU only, where it stops no queue).
        """
        name = type(self).__name__
        if selection is not None:
            kind = type(selection).__name__
            raise UserError(f"miners of {name} must be none (it compares no pairs), got a {kind}")
        require(pairs.is_square, f"reference of {name}", "the batch itself", "other samples")
        require(pairs.space == self.space, "space of the pairs", self.space, pairs.space)
        rows_ND, labels_N = pairs.embeddings, pairs.labels
        if not len(rows_ND):
            return super().on_pairs(pairs)
        self._check(rows_ND, labels_N)
        with torch.autocast(rows_ND.device.type, enabled=False):
            proxies_KD = project(self.bank.weight.to(rows_ND.dtype), self.space)
            return self.judge((rows_ND * self.factor) @ proxies_KD.T, labels_N)

    def judge(self, similarity_NK: Float[Tensor, "N CK"], labels_N: Int[Tensor, " N"]) -> LossTerms:
        """The loss from `factor` times the cosines of samples and proxies, shape (N, C*K)."""
        raise NotImplementedError

    @property
    def needs_class_means(self) -> bool:
        """True where proxies start as class means."""
        return self.start == "class_means"

    @property
    def reads_absent_classes(self) -> bool:
        """True: every sample is compared with the proxies of all classes."""
        return True

    @torch.no_grad()
    def imprint(self, embeddings_ND: Float[Tensor, "N D"], labels_N: Tensor) -> None:
        """Set the proxies to class means (clusters) of raw embeddings, which count as unit rows.

        A class whose embeddings cancel out, or are zero, keeps what it had: a row of zeros has no
        direction, gets no gradient and would stay.

        Raises:
            UserError: if a label is outside [0, C) or the dimension differs.
        """
        self._check(embeddings_ND, labels_N)
        raised_ND = embeddings_ND.detach().to(self.bank.weight)
        weight, before = self.bank.weight, self.bank.weight.detach().clone()
        self.bank.imprint(project(raised_ND, self.space), labels_N)
        cancelled_K1 = torch.linalg.vector_norm(weight, dim=1, keepdim=True) < LEAST_MEAN
        weight.copy_(torch.where(cancelled_K1, before, weight))

    def _check(self, embeddings_ND: Tensor, labels_N: Tensor) -> None:
        bank = self.bank
        check_classes(embeddings_ND, labels_N, num_classes=bank.num_classes, dim=bank.dim)


def own_class(labels_N: Int[Tensor, " N"], num_classes: int) -> Bool[Tensor, "N C"]:
    """Which class is each sample's own."""
    return labels_N[:, None] == torch.arange(num_classes, device=labels_N.device)


def with_own_lowered(
    similarity_NC: Float[Tensor, "N C"], labels_N: Int[Tensor, " N"], margin: float
) -> Float[Tensor, "N C"]:
    """The similarities with `margin` taken off that of each sample to its own class."""
    own_N1 = labels_N[:, None]
    return similarity_NC.scatter(1, own_N1, similarity_NC.gather(1, own_N1) - margin)


def misplaced(similarity_NC: Float[Tensor, "N C"], labels_N: Int[Tensor, " N"]) -> Tensor:
    """How many samples are more similar to a class that is not their own; int64 scalar."""
    return beaten(similarity_NC.detach(), labels_N).sum()
