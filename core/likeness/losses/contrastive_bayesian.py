"""Contrastive Bayesian loss (CBML) with its constraint on the variance of the metric.

Shapes: N = anchors, M = references.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from likeness.errors import require
from likeness.losses.base import LossTerms, PairLoss, floored, weighted_logsumexp
from likeness.pairs import Pairs, Space
from likeness.rows import as_float, marked, most_similar, relatively_hard, row_any, within
from likeness.selection import Selection

BayesianForm = Literal["log", "sqrt", "const"]
BAYESIAN_FORMS: tuple[BayesianForm, ...] = ("log", "sqrt", "const")
MetricVariance = Literal["means", "extremes", "mined"]
METRIC_VARIANCES: tuple[MetricVariance, ...] = ("means", "extremes", "mined")
VarianceReduction = Literal["sum", "mean"]
VARIANCE_REDUCTIONS: tuple[VarianceReduction, ...] = ("sum", "mean")

CONST_WEIGHT = 0.25  # w_p = w_n of the form `const`, in the authors' settings


def metric_variance(
    similarity_NM: Float[Tensor, "N M"],
    positive_NM: Tensor,
    negative_NM: Tensor,
    *,
    mix: float,
    about: Literal["means", "extremes"],
    reduction: VarianceReduction,
    itself: bool,
) -> Float[Tensor, " N"]:
    """How far the negatives of each anchor lie from one similarity, (s_n - mu)^2 in sum or mean.

        means:    mu = mix * mean of positives + (1 - mix) * mean of negatives
        extremes: mu = mix * (least positive + greatest negative) / 2 + (1 - mix) * mean of all

    All pairs of the selection count, mined or not, and mu carries gradient. `itself` puts the
    anchor's similarity to itself, 1, among "all", as the authors' code does. A row without
    positives or without negatives has a finite value of no meaning.
    """
    of_positives, of_negatives = (
        as_float(w, similarity_NM.dtype) for w in (positive_NM, negative_NM)
    )
    sums = [(w * similarity_NM).sum(1) for w in (of_positives, of_negatives)]
    totals = [w.sum(1) for w in (of_positives, of_negatives)]
    if about == "means":
        means = [total / floored(weight) for total, weight in zip(sums, totals, strict=True)]
        mu_N = mix * means[0] + (1 - mix) * means[1]
    else:
        own = float(itself)
        mean_N = (sums[0] + sums[1] + own) / floored(totals[0] + totals[1] + own)
        lowest_N = similarity_NM.masked_fill(~marked(positive_NM), 1.0).amin(1)
        highest_N = similarity_NM.masked_fill(~marked(negative_NM), -1.0).amax(1)
        mu_N = mix * (lowest_N + highest_N) / 2 + (1 - mix) * mean_N
    spread_N = (of_negatives * (similarity_NM - mu_N[:, None]).square()).sum(1)
    return spread_N if reduction == "sum" else spread_N / floored(totals[1])


def mined_variance(
    similarity_NM: Float[Tensor, "N M"],
    every_NM: Float[Tensor, "N M"],
    kept_NM: Float[Tensor, "N M"],
    *,
    reduction: VarianceReduction,
    itself: bool,
) -> Float[Tensor, " N"]:
    """How far mean and variance of what an anchor keeps are from those of its whole row.

        |mean of all - mean of kept| + |spread of all - mean square about its mean of kept|

    The spread of all is their sum of squares about their mean, in `reduction` `mean` their mean
    square, with which both sides are of one kind. `itself` puts the anchor's similarity to itself,
    1, among "all". A row that keeps nothing has a finite value of no meaning.

    Args:
        similarity_NM: cosines, shape (N, M).
        every_NM: weights >= 0 of all pairs, shape (N, M).
        kept_NM: weights >= 0 of the pairs kept, shape (N, M).
        reduction: of the spread of all.
        itself: see above.
    """
    own = float(itself)
    total_N, total_kept_N = floored(every_NM.sum(1) + own), floored(kept_NM.sum(1))
    mean_N = ((every_NM * similarity_NM).sum(1) + own) / total_N
    mean_kept_N = (kept_NM * similarity_NM).sum(1) / total_kept_N
    spread_N = (every_NM * (similarity_NM - mean_N[:, None]).square()).sum(1)
    spread_N = spread_N + own * (1 - mean_N).square()
    if reduction == "mean":
        spread_N = spread_N / total_N
    square_kept_N = (kept_NM * (similarity_NM - mean_kept_N[:, None]).square()).sum(1)
    return (mean_N - mean_kept_N).abs() + (spread_N - square_kept_N / total_kept_N).abs()


class ContrastiveBayesianLoss(PairLoss):
    """Contrastive Bayesian metric learning of Kan et al., TPAMI 2022, with metric variance.

    Positives and negatives are mined as in the multi-similarity loss. With the sums over what is
    kept, A = sum over p of exp(-(s_p - positive_mean) / positive_width) and B = sum over n of
    exp((s_n - negative_mean) / negative_width), an anchor costs

        log:   log(1 + A) + log(1 + B)
        sqrt:  sqrt(1 + A) + sqrt(1 + B)
        const: (1 + A / 4) + (1 + B / 4)

    plus variance_weight times the variance; the mean is over all anchors. Anchors without a pair
    kept add 0, their variance too.

    With the authors' negative_mean 1 and negative_width 0.01 a negative of cosine 0.9 adds 5e-5 to
    B: nearly all push on negatives comes from the variance. Without it (variance_weight 0) nothing
    holds the classes apart.

    Formulas are the authors' code; the paper's equation of the variance is UNCONFIRMED. Its history
    holds three: the newest (`means`) and an earlier one (`extremes`), see `metric_variance`; and
    one older than the paper's name (`mined`), see `mined_variance`.

    Args:
        form: see above.
        positive_mean: a_p, in [-1, 1].
        positive_width: b_p, > 0.
        negative_mean: a_n, in [-1, 1].
        negative_width: b_n, > 0.
        epsilon: slack of the mining, >= 0, in units of the cosine.
        nearest_negatives: an anchor keeps this many negatives, the most similar ones (and those
            that equal the last of them), in place of those mined; 100 in the code where its
            `ADAPTIVE_NEG` is off. None: those mined.
        variance_weight: w, >= 0.
        mix: h, in [0, 1]; 0.1 in the code's defaults, 0.0 in its example.
        variance: see above; `mined` has no use for `mix`.
        variance_reduction: `sum` over the negatives (`mined`: over the row), the code's, which ties
            the weight to the size of the batch (60 to 100 there); or `mean`.
        space: `cosine` only.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("cosine",)

    def __init__(
        self,
        *,
        form: BayesianForm = "log",
        positive_mean: float = 0.5,
        positive_width: float = 0.5,
        negative_mean: float = 1.0,
        negative_width: float = 0.01,
        epsilon: float = 0.1,
        nearest_negatives: int | None = None,
        variance_weight: float = 1.0,
        mix: float = 0.1,
        variance: MetricVariance = "means",
        variance_reduction: VarianceReduction = "sum",
        space: Space | None = None,
    ) -> None:
        super().__init__(space)
        for name, chosen, known in (
            ("form", form, BAYESIAN_FORMS),
            ("variance", variance, METRIC_VARIANCES),
            ("variance_reduction", variance_reduction, VARIANCE_REDUCTIONS),
        ):
            require(chosen in known, name, f"one of {', '.join(known)}", chosen)
        for name, mean in (("positive_mean", positive_mean), ("negative_mean", negative_mean)):
            require(-1 <= mean <= 1, name, "in [-1, 1]", mean)
        for name, width in (("positive_width", positive_width), ("negative_width", negative_width)):
            require(0 < width < math.inf, name, "> 0 and finite", width)
        require(0 <= epsilon < math.inf, "epsilon", ">= 0 and finite", epsilon)
        some = nearest_negatives is None or nearest_negatives >= 1
        require(some, "nearest_negatives", ">= 1 or None", nearest_negatives)
        require(0 <= variance_weight < math.inf, "variance_weight", ">= 0", variance_weight)
        require(0 <= mix <= 1, "mix", "in [0, 1]", mix)
        self.form, self.epsilon, self.nearest_negatives = form, epsilon, nearest_negatives
        self.positive_mean, self.positive_width = positive_mean, positive_width
        self.negative_mean, self.negative_width = negative_mean, negative_width
        self.variance_weight, self.mix = variance_weight, mix
        self.variance, self.variance_reduction = variance, variance_reduction

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """The sum of the anchors' costs over their number; `n_active` counts the pairs kept."""
        similarity_NM = pairs.cosine
        chosen = (marked(selection.positive_NM), marked(selection.negative_NM))
        kept = self._kept(similarity_NM, *chosen)
        weights = [within(w, mask) for w, mask in zip(selection, kept, strict=True)]
        pull_NM = (self.positive_mean - similarity_NM) / self.positive_width
        push_NM = (similarity_NM - self.negative_mean) / self.negative_width
        cost_N = self._cost(weighted_logsumexp(pull_NM, weights[0]))
        cost_N = cost_N + self._cost(weighted_logsumexp(push_NM, weights[1]))
        variance_N = self._variance(pairs, selection, weights)
        counts_N = row_any(kept[0]) & row_any(kept[1])
        whole_N = cost_N + self.variance_weight * variance_N
        per_anchor_N = torch.where(counts_N, whole_N, 0.0) / len(whole_N)
        valid_N = row_any(chosen[0]) & row_any(chosen[1])
        n_active = kept[0].count_nonzero() + kept[1].count_nonzero()
        return LossTerms(per_anchor_N.sum(), per_anchor_N, valid_N, n_active)

    def _kept(
        self, similarity_NM: Tensor, positive_NM: Tensor, negative_NM: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The pairs that count; a row keeps some of both kinds or none."""
        kept = relatively_hard(similarity_NM, positive_NM, negative_NM, slack=self.epsilon)
        if self.nearest_negatives is None:
            return kept
        near_NM = most_similar(similarity_NM, negative_NM, self.nearest_negatives)
        both_N1 = (row_any(kept[0]) & row_any(near_NM))[:, None]
        return kept[0] & both_N1, near_NM & both_N1

    def _variance(
        self, pairs: Pairs, selection: Selection, kept: list[Tensor]
    ) -> Float[Tensor, " N"]:
        """What the constraint holds down, of every anchor."""
        similarity_NM, reduction = pairs.cosine, self.variance_reduction
        if self.variance != "mined":
            return metric_variance(
                similarity_NM,
                *selection,
                mix=self.mix,
                about=self.variance,
                reduction=reduction,
                itself=pairs.is_square,
            )
        every_NM, kept_NM = (
            as_float(first, similarity_NM.dtype) + as_float(second, similarity_NM.dtype)
            for first, second in (selection, kept)
        )
        return mined_variance(
            similarity_NM, every_NM, kept_NM, reduction=reduction, itself=pairs.is_square
        )

    def _cost(self, logsum_N: Tensor) -> Tensor:
        """One side's cost from the log of its sum."""
        if self.form == "log":
            return F.softplus(logsum_N)
        if self.form == "sqrt":
            return (F.softplus(logsum_N) / 2).exp()
        return 1 + CONST_WEIGHT * logsum_N.exp()
