"""Gaussian structure: every class a Gaussian around its mean in the batch, judged by posteriors.

Shapes: N = samples, C = classes (or sub-classes), D = embedding dimension.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.batch import Batch
from likeness.errors import UserError, require
from likeness.losses.base import LossTerms, PairLoss, check_classes, shares
from likeness.pairs import Pairs, Space
from likeness.proxies import class_means
from likeness.rows import as_float
from likeness.selection import AnySelection


class GaussianStructuredLoss(PairLoss):
    """Brier score of the Gaussian posterior (Marrero Fernandez et al., arXiv 2001.06612).

        L = 1/n sum_i sum_j (p_ij - 1[y_i = j])^2 + norm_weight * 1/N sum_i ||z_i||^2
        p_i = softmax over the classes j of the batch of -||z_i - mu_j||^2 / (2 sigma^2)

    mu_j is the mean of class j in the batch, and the gradient flows through it; embeddings are not
    normalised; priors are equal. This is the loss of the first author's code (FERAtt) with the
    softmax in place of exp / sum, which underflows to p = 0 for far samples. That the paper prints
    exactly this is UNCONFIRMED; the penalty on the norm is our reconstruction (`norm_weight: 0`
    leaves it out), against growth without end: where classes are apart, scaling lowers L.

    The sum runs over the n samples whose class has two samples or more in the batch: a single
    sample is its own mean, so it would count as perfect. Its mean still repels the others. Batches
    of P classes x K >= 2 samples have no such sample. Without any class of two the first term is 0.

    **A sample is an n-th part of its own mean**, so that mean is nearer than the others even where
    embeddings know nothing of classes: rows of noise with variance s^2 in each direction have their
    own mean nearer by about 2 D s^2 / n, and bring L towards 0 by growing. With the authors' 80
    samples of a class the leak is small, with 8 it is large. `leave_one_out` (ours) takes the
    sample out of its own mean.

    Far from every mean of its class a sample has p near 0 and next to no gradient: start from a
    trained network, or add cross-entropy.

    A miner's selection of pairs means nothing here and is refused. Memory is O(N C).

    Args:
        num_classes: C, >= 1.
        dim: D, >= 1.
        sigma: standard deviation of every class in every direction, > 0.
        norm_weight: >= 0.
        leave_one_out: compare each sample with the mean of the others of its class.
        eta: share of the batch mean in a running class mean, in (0, 1]; see `running_means`.
        space: `euclidean` only.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("euclidean",)
    reads: ClassVar[frozenset[str]] = frozenset()
    reads_references: ClassVar[bool] = False
    running_CD: Tensor
    seen_C: Tensor

    def __init__(
        self,
        num_classes: int,
        dim: int,
        *,
        sigma: float = 1.0,
        norm_weight: float = 1e-4,
        leave_one_out: bool = False,
        eta: float = 0.1,
        space: Space | None = None,
    ) -> None:
        super().__init__(space)
        require(num_classes >= 1, "num_classes", ">= 1", num_classes)
        require(dim >= 1, "dim", ">= 1", dim)
        require(0 < sigma < math.inf, "sigma", "> 0 and finite", sigma)
        require(0 <= norm_weight < math.inf, "norm_weight", ">= 0 and finite", norm_weight)
        require(0 < eta <= 1, "eta", "in (0, 1]", eta)
        self.num_classes, self.dim = num_classes, dim
        self.sigma, self.norm_weight, self.eta = sigma, norm_weight, eta
        self.leave_one_out = leave_one_out
        self.register_buffer("running_CD", torch.zeros(num_classes, dim))
        self.register_buffer("seen_C", torch.zeros(num_classes, dtype=torch.bool))

    def on_pairs(
        self, pairs: Pairs, selection: AnySelection | None = None, batch: Batch | None = None
    ) -> LossTerms:
        """The loss of the anchors of `pairs`; `n_active` counts samples with p below 1.

        Raises:
            UserError: if there is a selection, or labels are not class numbers in [0, C) (the range
                is checked on the CPU only, where it stops no queue).
        """
        if selection is not None:
            raise UserError(
                "miners of gaussian_structured must be none (it compares samples with class means, "
                f"not with each other), got a {type(selection).__name__}"
            )
        rows_ND, labels_N = pairs.embeddings, pairs.labels
        if not len(rows_ND):
            return super().on_pairs(pairs)
        self._check(rows_ND, labels_N)
        with torch.autocast(rows_ND.device.type, enabled=False):
            mean_CD, count_C = class_means(rows_ND, labels_N, self.num_classes)
            score_NC = gaussian_scores(rows_ND, mean_CD, count_C > 0, sigma=self.sigma)
            if self.leave_one_out:
                own_N = (rows_ND - mean_CD[labels_N]).square().sum(1) / (2 * self.sigma**2)
                farther_N = own_N * farther_without(count_C[labels_N])
                score_NC = score_NC.scatter_add(1, labels_N[:, None], -farther_N[:, None])
            brier_N = brier_scores(score_NC.softmax(1), labels_N)
            valid_N = count_C[labels_N] >= 2
            per_anchor_N = shares(brier_N, valid_N)
            per_anchor_N = per_anchor_N + self.norm_weight / len(rows_ND) * rows_ND.square().sum(1)
        active = ((brier_N.detach() > 0) & valid_N).sum()
        return LossTerms(per_anchor_N.sum(), per_anchor_N, valid_N, active)

    @property
    def running_means(self) -> Float[Tensor, "C D"]:
        """Running class means, nan for a class that never occurred; for a read-out on the way.

        They lag behind the network: a finished model takes the class means of one embedding pass.
        """
        return torch.where(self.seen_C[:, None], self.running_CD, torch.nan)

    @property
    def needs_class_means(self) -> bool:
        """True: running means start as the means of the training set."""
        return True

    @torch.no_grad()
    def imprint(self, embeddings_ND: Float[Tensor, "N D"], labels_N: Tensor) -> None:
        """Set the running means; classes that do not occur have none from now on."""
        self._check(embeddings_ND, labels_N)
        rows_ND = embeddings_ND.to(self.running_CD)
        mean_CD, count_C = class_means(rows_ND, labels_N, self.num_classes)
        self.running_CD.copy_(mean_CD)
        self.seen_C.copy_(count_C > 0)

    @torch.no_grad()
    def after_step(self, embeddings_ND: Float[Tensor, "N D"], labels_N: Tensor) -> None:
        """Move the running means of the classes of the (global) batch by `eta`."""
        self._check(embeddings_ND, labels_N)
        rows_ND = embeddings_ND.to(self.running_CD)
        mean_CD, count_C = class_means(rows_ND, labels_N, self.num_classes)
        present_C = count_C > 0
        share_C = torch.where(self.seen_C, self.eta, 1.0) * as_float(present_C, mean_CD.dtype)
        self.running_CD.lerp_(mean_CD, share_C[:, None])
        self.seen_C.logical_or_(present_C)

    def _check(self, embeddings_ND: Tensor, labels_N: Tensor) -> None:
        check_classes(embeddings_ND, labels_N, num_classes=self.num_classes, dim=self.dim)


def gaussian_posterior(
    embeddings_ND: Float[Tensor, "N D"],
    means_CD: Float[Tensor, "C D"],
    present_C: Bool[Tensor, " C"],
    *,
    sigma: float,
) -> Float[Tensor, "N C"]:
    """Probability of each class under equal priors and one isotropic covariance sigma^2 I.

    Rows sum to 1 over the classes present (one at least); the others get 0. However far the rows
    are from all means, no row underflows.
    """
    return gaussian_scores(embeddings_ND, means_CD, present_C, sigma=sigma).softmax(1)


def gaussian_scores(
    embeddings_ND: Float[Tensor, "N D"],
    means_CD: Float[Tensor, "C D"],
    present_C: Bool[Tensor, " C"],
    *,
    sigma: float,
) -> Float[Tensor, "N C"]:
    """-||z_i - mu_j||^2 / (2 sigma^2) but for a constant of each row; -inf for absent classes."""
    # ||z||^2 is the same for all classes and cancels in the softmax, so it is never formed; moving
    # the origin into the batch changes no distance and keeps what is left exact.
    origin_D = embeddings_ND.detach().mean(0)
    rows_ND, means_CD = embeddings_ND - origin_D, means_CD - origin_D
    score_NC = (rows_ND @ means_CD.T - means_CD.square().sum(1) / 2) / sigma**2
    return score_NC.masked_fill(~present_C, -math.inf)


def farther_without(count_N: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """By how much of itself a squared distance to the own mean grows without the own share.

    Of n samples z_i - mean of the others = n / (n - 1) (z_i - mu), so (n / (n - 1))^2 - 1.
    """
    return (2 * count_N - 1) / (count_N - 1).clamp_min(1).square()


def brier_scores(
    posterior_NC: Float[Tensor, "N C"], labels_N: Int[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """Squared distance of each row of probabilities to its class's one-hot row, in [0, 2]."""
    classes_C = torch.arange(posterior_NC.shape[1], device=labels_N.device)
    own_NC = labels_N[:, None] == classes_C
    return (posterior_NC - as_float(own_NC, posterior_NC.dtype)).square().sum(1)
