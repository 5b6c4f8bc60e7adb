"""Class centres: the centre loss and the centre-based structured metric.

Shapes: N = samples, C = classes, D = embedding dimension.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from likeness.errors import require
from likeness.losses.base import LossTerms, PairLoss, check_classes, shares
from likeness.losses.lifted import lifted_structured
from likeness.pairs import Pairs, Space, project
from likeness.proxies import ProxyBank, class_means
from likeness.rows import as_float, raised
from likeness.selection import Selection, everything

CentreMode = Literal["grad", "ema", "batch_mean"]
CENTRE_MODES: tuple[CentreMode, ...] = ("grad", "ema", "batch_mean")
Between = Literal["hinge", "neg_variance"]
BETWEENS: tuple[Between, ...] = ("hinge", "neg_variance")


class Current(NamedTuple):
    """The centres that one step compares with, as the space compares them.

    Attributes:
        centre_CD: one centre per class, shape (C, D).
        present_C: classes that have a centre, shape (C,).
        weight_N: each sample's share of the mean over samples, shape (N,).
    """

    centre_CD: Float[Tensor, "C D"]
    present_C: Bool[Tensor, " C"]
    weight_N: Float[Tensor, " N"]


class Centres(nn.Module):
    """One centre per class, in one of three modes.

    - `grad`: a parameter with its own learning rate; the gradient comes from the loss.
    - `ema`: moved by `update` after each step, c_k -= eta * sum over i of class k of (c_k - z_i) /
      (1 + n_k) (the centre-loss rule); no gradient goes through the centres.
    - `batch_mean`: the batch's class means, with gradient; nothing is kept. Samples are weighted
      so that every class present counts the same.

    Args:
        num_classes: C, >= 1.
        dim: D, >= 1.
        mode: see above.
        space: in `cosine` samples and centres are unit rows when they are compared.
        lr_mult: factor on the run's learning rate in mode `grad`, > 0.
        eta: step of mode `ema`, in (0, 1].

    Raises:
        UserError: if an argument is out of range.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        *,
        mode: CentreMode,
        space: Space,
        lr_mult: float,
        eta: float,
    ) -> None:
        super().__init__()
        require(mode in CENTRE_MODES, "centres", f"one of {', '.join(CENTRE_MODES)}", mode)
        require(0 < eta <= 1, "eta", "in (0, 1]", eta)
        require(num_classes >= 1, "num_classes", ">= 1", num_classes)
        self.num_classes, self.dim = num_classes, dim
        self.mode, self.space, self.eta = mode, space, eta
        self.bank: ProxyBank | None = None
        if mode != "batch_mean":
            self.bank = ProxyBank(num_classes, dim, lr_mult=lr_mult)
            self.bank.weight.requires_grad_(mode == "grad")

    def current(self, embeddings_ND: Float[Tensor, "N D"], labels_N: Tensor) -> Current:
        """The centres for a batch whose embeddings are already as the space compares them.

        Raises:
            UserError: if the labels are not class indices in [0, C) (the range is checked on the
                CPU only, where it stops no queue; `imprint` checks it everywhere).
        """
        self._check(embeddings_ND, labels_N)
        if self.bank is not None:
            centre_CD = project(self.bank.weight.to(embeddings_ND.dtype), self.space)
            present_C = torch.ones(self.num_classes, dtype=torch.bool, device=labels_N.device)
            count = len(embeddings_ND)
            return Current(centre_CD, present_C, embeddings_ND.new_full((count,), 1 / count))
        mean_CD, count_C = class_means(embeddings_ND, labels_N, self.num_classes)
        present_C = count_C > 0
        weight_N = 1 / (count_C[labels_N] * present_C.sum())
        return Current(project(mean_CD, self.space), present_C, weight_N)

    def imprint(self, embeddings_ND: Float[Tensor, "N D"], labels_N: Tensor) -> None:
        """Set the centres to the class means of raw embeddings.

        Raises:
            UserError: if a label is outside [0, C) or the dimension differs.
        """
        self._check(embeddings_ND, labels_N)
        if self.bank is not None:
            self.bank.imprint(self._compared(embeddings_ND), labels_N)

    @torch.no_grad()
    def update(self, embeddings_ND: Float[Tensor, "N D"], labels_N: Tensor) -> None:
        """In mode `ema`, move the centres of the classes of a batch of raw embeddings.

        Every process must pass the whole gathered batch, so that all keep the same centres.
        """
        if self.mode != "ema" or self.bank is None:
            return
        self._check(embeddings_ND, labels_N)
        mean_CD, count_C = class_means(self._compared(embeddings_ND), labels_N, self.num_classes)
        weight_CD = self.bank.weight
        step_C = self.eta * count_C / (1 + count_C)
        weight_CD.sub_(step_C[:, None].to(weight_CD) * (weight_CD - mean_CD.to(weight_CD)))

    def _compared(self, embeddings_ND: Tensor) -> Tensor:
        return project(raised(embeddings_ND.detach()), self.space)

    def _check(self, embeddings_ND: Tensor, labels_N: Tensor) -> None:
        check_classes(embeddings_ND, labels_N, num_classes=self.num_classes, dim=self.dim)


def within_classes(
    embeddings_ND: Float[Tensor, "N D"], labels_N: Int[Tensor, " N"], current: Current
) -> LossTerms:
    """Weighted mean of ||z_i - c_{y_i}||^2; `n_active` counts samples away from their centre."""
    gap_ND = embeddings_ND - current.centre_CD.index_select(0, labels_N)
    squared_N = gap_ND.square().sum(1)
    per_anchor_N = squared_N * current.weight_N
    valid_N = torch.ones_like(labels_N, dtype=torch.bool)
    return LossTerms(per_anchor_N.sum(), per_anchor_N, valid_N, (squared_N.detach() > 0).sum())


def between_hinge(
    centre_CD: Float[Tensor, "C D"], present_C: Bool[Tensor, " C"], *, margin: float
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """Mean over ordered pairs of present classes of [margin - ||c_j - c_k||]+^2.

    Returns:
        The value and the number of ordered pairs closer than `margin`.
    """
    classes_C = torch.arange(len(centre_CD), device=centre_CD.device)
    distance_CC = Pairs(centre_CD, classes_C, space="euclidean").distance
    other_CC = ~torch.eye(len(centre_CD), dtype=torch.bool, device=centre_CD.device)
    pair_CC = present_C[:, None] & present_C[None, :] & other_CC
    excess_CC = torch.where(pair_CC, (margin - distance_CC).relu(), 0.0)
    value = excess_CC.square().sum() / pair_CC.sum().clamp_min(1)
    return value, (excess_CC.detach() > 0).sum()


def negative_variance(
    centre_CD: Float[Tensor, "C D"], present_C: Bool[Tensor, " C"]
) -> Float[Tensor, ""]:
    """Minus the mean over present classes of ||c_k - mean of the centres||^2.

    Equal to minus the sum over ordered pairs of ||c_j - c_k||^2 / (2 C^2). Unbounded below unless
    the centres are normalised.
    """
    share_C1 = (as_float(present_C, centre_CD.dtype) / present_C.sum().clamp_min(1))[:, None]
    mean_1D = (centre_CD * share_C1).sum(0, keepdim=True)
    return -((centre_CD - mean_1D).square() * share_C1).sum()


class CentreLoss(PairLoss):
    """Half the mean squared distance of each sample to its class centre (Wen et al. 2016).

    The paper sums over the batch; the mean is ours. It is meant beside a classification loss:
    alone, everything may collapse onto one point.

    Args:
        num_classes: C, >= 1.
        dim: D, >= 1.
        centres: `ema` (the paper's update rule, default), `grad` or `batch_mean`; see `Centres`.
        centre_lr_mult: factor on the run's learning rate in mode `grad`, > 0; 10 is our choice.
        eta: step of mode `ema`, in (0, 1]; 0.5 in the paper's experiments.
        space: `euclidean` (the paper's) or `cosine`.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("euclidean", "cosine")
    reads_references: ClassVar[bool] = False

    def __init__(
        self,
        num_classes: int,
        dim: int,
        *,
        centres: CentreMode = "ema",
        centre_lr_mult: float = 10.0,
        eta: float = 0.5,
        space: Space | None = None,
    ) -> None:
        super().__init__(space)
        self.centres = Centres(
            num_classes, dim, mode=centres, space=self.space, lr_mult=centre_lr_mult, eta=eta
        )

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """Half of `within_classes`; a selection of pairs says nothing to it."""
        _check_space(self, pairs)
        current = self.centres.current(pairs.embeddings, pairs.labels)
        return _scaled(within_classes(pairs.embeddings, pairs.labels, current), 0.5)

    @property
    def needs_class_means(self) -> bool:
        """True where centres are kept from step to step."""
        return self.centres.bank is not None

    def imprint(self, embeddings_ND: Float[Tensor, "N D"], labels_N: Tensor) -> None:
        """Set the centres to the class means of raw embeddings."""
        self.centres.imprint(embeddings_ND, labels_N)

    def after_step(self, embeddings_ND: Float[Tensor, "N D"], labels_N: Tensor) -> None:
        """Move the centres in mode `ema`."""
        self.centres.update(embeddings_ND, labels_N)


class CentreStructuredLoss(PairLoss):
    """The centre-based structured metric, our reconstruction of Gong et al. 2019.

        L = structured_weight * L_str + centre_weight * (L_within + between_weight * L_between)

    Confirmed by the abstract: a structured term over all pairs of the batch, and learned class
    centres that draw each class together and push the centres apart, beside softmax cross-entropy
    (which the objective adds). The formulas below, every weight and the way the centres move are
    UNCONFIRMED, our choice, and never the paper's values.

    - L_str: `lifted_structured` with margin `alpha`.
    - L_within: mean of ||z_i - c_{y_i}||^2; in mode `batch_mean` a mean over the classes present
      (as in later code of the same first author).
    - L_between: `hinge`, the mean over pairs of classes of [delta - ||c_j - c_k||]+^2, bounded; or
      `neg_variance`, minus the variance of the centres, bounded only where they are normalised.

    All terms read the metric branch's features as the space compares them: in `cosine` (default)
    samples and centres are unit rows, so distances lie in [0, 2]. The network's classification
    branch is not touched. In mode `ema` no gradient goes through the centres: L_between is then a
    constant that shows in the value and moves nothing.

    Args:
        num_classes: C, >= 1.
        dim: D, >= 1.
        structured_weight: lambda_s, >= 0.
        centre_weight: lambda_c, >= 0.
        between_weight: mu, >= 0.
        alpha: margin of the structured term, >= 0.
        delta: distance from which two centres are far enough apart, > 0.
        between: `hinge` or `neg_variance` (in `cosine` only).
        centres: `grad` (default), `ema` or `batch_mean`; see `Centres`.
        centre_lr_mult: factor on the run's learning rate in mode `grad`, > 0.
        eta: step of mode `ema`, in (0, 1].
        space: `cosine` (default) or `euclidean`.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("cosine", "euclidean")

    def __init__(
        self,
        num_classes: int,
        dim: int,
        *,
        structured_weight: float = 0.1,
        centre_weight: float = 0.01,
        between_weight: float = 1.0,
        alpha: float = 1.0,
        delta: float = 1.0,
        between: Between = "hinge",
        centres: CentreMode = "grad",
        centre_lr_mult: float = 10.0,
        eta: float = 0.5,
        space: Space | None = None,
    ) -> None:
        super().__init__(space)
        for name, weight in (
            ("structured_weight", structured_weight),
            ("centre_weight", centre_weight),
            ("between_weight", between_weight),
            ("alpha", alpha),
        ):
            require(0 <= weight < math.inf, name, ">= 0 and finite", weight)
        require(0 < delta < math.inf, "delta", "> 0 and finite", delta)
        require(between in BETWEENS, "between", f"one of {', '.join(BETWEENS)}", between)
        require(
            between == "hinge" or self.space == "cosine",
            "between",
            "'hinge' unless the space is cosine (the variance of free centres has no bound)",
            between,
        )
        self.structured_weight, self.centre_weight = structured_weight, centre_weight
        self.between_weight, self.alpha, self.delta = between_weight, alpha, delta
        self.between: Between = between
        self.centres = Centres(
            num_classes, dim, mode=centres, space=self.space, lr_mult=centre_lr_mult, eta=eta
        )

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """The weighted sum of `terms`; `n_active` is the structured term's."""
        parts = self.terms(pairs, selection)
        centre = self.centre_weight
        structured = _scaled(parts["structured"], self.structured_weight)
        within = _scaled(parts["within"], centre)
        between = _scaled(parts["between"], centre * self.between_weight)
        return LossTerms(
            structured.value + within.value + between.value,
            structured.per_anchor + within.per_anchor + between.per_anchor,
            within.valid,
            structured.n_active,
        )

    def terms(self, pairs: Pairs, selection: Selection | None = None) -> dict[str, LossTerms]:
        """The parts before their weights, for a log: `structured`, `within`, `between`.

        What belongs to no anchor (`between`) is shared evenly; its `n_active` counts ordered
        pairs of classes closer than `delta`, or with `neg_variance` the classes present.
        """
        _check_space(self, pairs)
        chosen = everything(pairs) if selection is None else selection
        with torch.autocast(pairs.embeddings.device.type, enabled=False):
            current = self.centres.current(pairs.embeddings, pairs.labels)
            structured = lifted_structured(
                pairs.distance, *chosen, margin=self.alpha, square=pairs.is_square
            )
            within = within_classes(pairs.embeddings, pairs.labels, current)
            between = self._between(current)
        return {"structured": structured, "within": within, "between": between}

    def _between(self, current: Current) -> LossTerms:
        if self.between == "hinge":
            value, active = between_hinge(current.centre_CD, current.present_C, margin=self.delta)
        else:
            value = negative_variance(current.centre_CD, current.present_C)
            active = current.present_C.sum()
        valid_N = torch.ones_like(current.weight_N, dtype=torch.bool)
        return LossTerms(value, shares(value.expand(len(valid_N)), valid_N), valid_N, active)

    @property
    def needs_class_means(self) -> bool:
        """True where centres are kept from step to step."""
        return self.centres.bank is not None

    @property
    def reads_absent_classes(self) -> bool:
        """True where centres are kept: they push each other, whatever the batch holds."""
        return self.centres.bank is not None

    def imprint(self, embeddings_ND: Float[Tensor, "N D"], labels_N: Tensor) -> None:
        """Set the centres to the class means of raw embeddings."""
        self.centres.imprint(embeddings_ND, labels_N)

    def after_step(self, embeddings_ND: Float[Tensor, "N D"], labels_N: Tensor) -> None:
        """Move the centres in mode `ema`."""
        self.centres.update(embeddings_ND, labels_N)


def _scaled(terms: LossTerms, factor: float) -> LossTerms:
    return terms._replace(value=terms.value * factor, per_anchor=terms.per_anchor * factor)


def _check_space(loss: PairLoss, pairs: Pairs) -> None:
    require(pairs.space == loss.space, "space of the pairs", loss.space, pairs.space)
