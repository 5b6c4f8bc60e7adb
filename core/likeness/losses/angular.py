"""Angular loss: bounds the angle under which a negative sees an anchor and its positive.

Shapes: N = anchors, M = references, K = slots for the positives of a row, D = embedding dimension.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from likeness.errors import require
from likeness.losses.base import LossTerms, PairLoss, floored, weighted_logsumexp
from likeness.losses.n_pair import mean_squared_norms
from likeness.losses.supcon import supervised_contrastive
from likeness.pairs import Pairs, Space
from likeness.rows import as_float, marked, row_any, slots
from likeness.selection import Selection


def angular(
    anchor_ND: Float[Tensor, "N D"],
    reference_MD: Float[Tensor, "M D"],
    positive_NM: Tensor,
    negative_NM: Tensor,
    *,
    tan_squared: float,
) -> LossTerms:
    """Mean over positive pairs (a, p) of log(1 + sum over negatives n of exp(f_apn)).

        f_apn = 4 tan^2(alpha) (a + p).n - 2 (1 + tan^2(alpha)) a.p

    The N x M sums of one slot of positives are computed at a time, and again in the backward pass:
    memory is O(N M) whatever the number of positives, time O(N K M D). Weights of positives weigh
    the mean over pairs, those of negatives their exponentials. A pair without a negative is left
    out.

    Args:
        anchor_ND: anchors.
        reference_MD: references.
        positive_NM: weights of positive pairs (bool or >= 0).
        negative_NM: weights of negative pairs.
        tan_squared: tan^2(alpha), > 0.
    """
    column_NK, real_NK = slots(marked(positive_NM))
    has_negative_N = row_any(marked(negative_NM))
    costs = []
    for column_N in column_NK.unbind(1):
        inputs = (anchor_ND, reference_MD, column_N, negative_NM, tan_squared)
        cost_N = checkpoint(_cost_of_slot, *inputs, use_reentrant=False, preserve_rng_state=False)
        costs.append(cost_N)
    cost_NK = torch.stack(costs, 1) if costs else anchor_ND[:, :0]
    kept_NK = real_NK & has_negative_N[:, None]
    weight_NK = as_float(positive_NM.gather(1, column_NK), cost_NK.dtype) * kept_NK
    per_anchor_N = (cost_NK * weight_NK).sum(1) / floored(weight_NK.sum())
    active = (marked(weight_NK) & (cost_NK.detach() > 0)).sum()
    return LossTerms(per_anchor_N.sum(), per_anchor_N, kept_NK.any(1), active)


def _cost_of_slot(
    anchor_ND: Tensor,
    reference_MD: Tensor,
    column_N: Tensor,
    negative_NM: Tensor,
    tan_squared: float,
) -> Tensor:
    """log(1 + sum over n of exp(f_apn)) of every anchor with one positive, shape (N,)."""
    positive_ND = reference_MD[column_N]
    both_NM = (4 * tan_squared) * ((anchor_ND + positive_ND) @ reference_MD.T)
    agreement_N = (anchor_ND * positive_ND).sum(1)
    crowd_N = weighted_logsumexp(both_NM, negative_NM)
    return F.softplus(crowd_N - 2 * (1 + tan_squared) * agreement_N)


def angular_logits(
    first_KD: Float[Tensor, "K D"],
    second_KD: Float[Tensor, "K D"],
    same_KK: Bool[Tensor, "K K"],
    *,
    tan_squared: float,
) -> Float[Tensor, "K K"]:
    """Logits whose softmax cross-entropy is the angular loss of K pairs (u_i, v_i).

    2 (1 + tan^2) u_i.v_j where i and j are of the same class, 4 tan^2 (u_i + v_i).v_j elsewhere.

    Args:
        first_KD: u.
        second_KD: v.
        same_KK: pairs of equal class, the diagonal among them.
        tan_squared: tan^2(alpha), > 0.
    """
    own_KK = 2 * (1 + tan_squared) * (first_KD @ second_KD.T)
    other_KK = 4 * tan_squared * ((first_KD + second_KD) @ second_KD.T)
    return torch.where(same_KK, own_KK, other_KK)


class AngularLoss(PairLoss):
    """Angular loss of Wang, Zhou, Wen, Liu, Lin, ICCV 2017, smooth and over a whole batch.

    The angle at a negative, from which it sees anchor and positive, shall be below alpha: a bound
    of the triangle's shape, which does not depend on its size, where a margin does. See `angular`.

    Every positive pair and all negatives of the batch count, as in pytorch-metric-learning (which
    scales all embeddings to unit length); the miner `n_pairs` leaves one anchor and one positive
    for each class, and the positives of other classes as negatives: the batch of the paper's
    experiments, and of the code of symmetrical synthesis (clovaai).

    Args:
        alpha: upper bound of the angle in degrees, in (0, 90); 45 in the code of symmetrical
            synthesis, 40 in pytorch-metric-learning.
        norm_weight: of the squared norms, >= 0; 5e-4 is the 0.002 / 4 of the code of symmetrical
            synthesis. In the `cosine` space it adds a constant.
        space: `dot` (default: embeddings as they are) or `cosine`.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("dot", "cosine")

    def __init__(
        self, *, alpha: float = 45.0, norm_weight: float = 5e-4, space: Space | None = None
    ) -> None:
        super().__init__(space)
        require(0 < alpha < 90, "alpha", "in (0, 90) degrees", alpha)
        require(0 <= norm_weight < math.inf, "norm_weight", ">= 0 and finite", norm_weight)
        self.alpha, self.norm_weight = alpha, norm_weight

    @property
    def tan_squared(self) -> float:
        """tan^2(alpha)."""
        return math.tan(math.radians(self.alpha)) ** 2

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """See `angular`; and the penalty of the norms."""
        points = (pairs.embeddings, pairs.reference)
        terms = angular(*points, *selection, tan_squared=self.tan_squared)
        return self._with_norms(terms, pairs, selection)

    def on_logits(
        self, logits_KK: Float[Tensor, "K K"], pairs: Pairs, selection: Selection
    ) -> LossTerms:
        """The loss from ready `angular_logits`, say the hardest of several; and the penalty."""
        terms = supervised_contrastive(logits_KK, *selection)
        return self._with_norms(terms, pairs, selection)

    def _with_norms(self, terms: LossTerms, pairs: Pairs, selection: Selection) -> LossTerms:
        chosen_NM = marked(selection.positive_NM) & terms.valid[:, None]
        norms_N = mean_squared_norms(pairs.embeddings, pairs.reference, chosen_NM)
        per_anchor_N = terms.per_anchor + self.norm_weight * norms_N
        return terms._replace(value=per_anchor_N.sum(), per_anchor=per_anchor_N)
