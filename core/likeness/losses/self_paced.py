"""The loss of self-paced metric learning: pairs of samples that are each trusted so far.

Shapes: N = anchors, M = references.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from likeness.batch import Batch
from likeness.errors import require
from likeness.losses.base import LossTerms, PairLoss, floored, weighted_logsumexp
from likeness.pairs import Pairs, Space
from likeness.rows import as_float, marked, row_any, row_count
from likeness.selection import AnySelection, Selection, Triplets, everything, restrict

SelfPacedForm = Literal["mean", "logsum"]
FORMS: tuple[SelfPacedForm, ...] = ("mean", "logsum")


class PairCosts(NamedTuple):
    """What a pair of cosine similarity s costs; see `pair_costs`.

    Attributes:
        alpha: sharpness of positives, > 0.
        beta: sharpness of negatives, > 0.
        base: the similarity that is neither near nor far, in [-1, 1].
    """

    alpha: float = 2.0
    beta: float = 40.0
    base: float = 0.5


COSTS = PairCosts()


def pair_costs(
    similarity_NM: Float[Tensor, "N M"], same_NM: Bool[Tensor, "N M"], costs: PairCosts
) -> Float[Tensor, "N M"]:
    """The cost of each pair, > 0, shape (N, M).

    1/alpha log(1 + exp(-alpha (s - base))) where `same`, else 1/beta log(1 + exp(beta (s - base))).
    """
    scale_NM = torch.where(same_NM, -costs.alpha, costs.beta)
    return F.softplus((similarity_NM - costs.base) * scale_NM) / scale_NM.abs()


def self_paced_similarity(
    similarity_NM: Float[Tensor, "N M"],
    positive_NM: Tensor,
    negative_NM: Tensor,
    trust_N: Float[Tensor, " N"],
    reference_trust_M: Float[Tensor, " M"],
    *,
    costs: PairCosts,
    form: SelfPacedForm,
) -> LossTerms:
    """The sum over anchors of trust times cost, divided by the sum of trust.

    With v the trust, P and N the positives and the negatives of an anchor, l the cost of a pair
    (`pair_costs`), an anchor costs

        mean:    1/|P| sum over P of v l  +  1/|N| sum over N of v l
        logsum:  1/alpha log(1 + sum over P of v exp(-alpha (s - base)))
                 + 1/beta log(1 + sum over N of v exp(beta (s - base)))

    |P| and |N| count the pairs that there are, trusted or not. `n_active` counts the pairs that
    weigh anything.

    Args:
        similarity_NM: cosines, shape (N, M).
        positive_NM: weights of positive pairs (bool or >= 0), shape (N, M).
        negative_NM: weights of negative pairs, shape (N, M).
        trust_N: v of the anchors, in [0, 1].
        reference_trust_M: v of the references, in [0, 1].
        costs: alpha, beta and base.
        form: see above.
    """
    kept = (marked(positive_NM), marked(negative_NM))
    of_anchor = _mean if form == "mean" else _logsum
    cost_N = of_anchor(similarity_NM, positive_NM, negative_NM, reference_trust_M, costs)
    per_anchor_N = trust_N * cost_N / floored(trust_N.sum())
    trusted_NM = (trust_N > 0)[:, None] & (reference_trust_M > 0)[None, :]
    n_active = (kept[0] & trusted_NM).count_nonzero() + (kept[1] & trusted_NM).count_nonzero()
    return LossTerms(per_anchor_N.sum(), per_anchor_N, row_any(kept[0] | kept[1]), n_active)


def _mean(
    similarity_NM: Tensor,
    positive_NM: Tensor,
    negative_NM: Tensor,
    trust_M: Tensor,
    costs: PairCosts,
) -> Tensor:
    same_NM = marked(positive_NM)
    shares = [
        as_float(weight_NM, similarity_NM.dtype)
        / row_count(marked(weight_NM)).clamp_min(1)[:, None]
        for weight_NM in (positive_NM, negative_NM)
    ]
    return (pair_costs(similarity_NM, same_NM, costs) * (shares[0] + shares[1])) @ trust_M


def _logsum(
    similarity_NM: Tensor,
    positive_NM: Tensor,
    negative_NM: Tensor,
    trust_M: Tensor,
    costs: PairCosts,
) -> Tensor:
    sides = []
    for weight_NM, scale in ((positive_NM, -costs.alpha), (negative_NM, costs.beta)):
        trusted_NM = as_float(weight_NM, similarity_NM.dtype) * trust_M
        total_N = weighted_logsumexp(scale * (similarity_NM - costs.base), trusted_NM)
        sides.append(F.softplus(total_N) / abs(scale))
    return sides[0] + sides[1]


class SelfPacedLoss(PairLoss):
    """The network's half of balanced self-paced metric learning (BSPML): our reconstruction.

    Zhang, Luo, Gu, AAAI 2023 ("Denoising Multi-Similarity Formulation"), arXiv 2211.11751. Only the
    abstract was readable and no code was found. Confirmed: each sample has a weight, they enter in
    pairs, and the network learns with them held fixed. **The formulas are UNCONFIRMED**:
    multi-similarity with a trust v (`Batch.weight`) for each sample. `mean` is what
    `likeness.self_paced` solves for v; `logsum` has v inside the logarithms, and with v = 1 it is
    `MultiSimilarityLoss` without mining, where every anchor has both kinds of pairs. A batch
    without `weight` is trusted wholly.

    To pace another loss of pairs, give it the miner `self_paced` instead, which weighs by v_i v_j.

    Args:
        form: `mean` or `logsum`, see `self_paced_similarity`.
        alpha: > 0.
        beta: > 0; 40 as in the code of multi-similarity, the paper of which has 50.
        base: in [-1, 1].
        space: `cosine` only.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("cosine",)
    reads_references: ClassVar[bool] = False

    def __init__(
        self,
        *,
        form: SelfPacedForm = "mean",
        alpha: float = 2.0,
        beta: float = 40.0,
        base: float = 0.5,
        space: Space | None = None,
    ) -> None:
        super().__init__(space)
        require(form in FORMS, "form", f"one of {', '.join(FORMS)}", form)
        require(0 < alpha < math.inf, "alpha", "> 0 and finite", alpha)
        require(0 < beta < math.inf, "beta", "> 0 and finite", beta)
        require(-1 <= base <= 1, "base", "in [-1, 1]", base)
        self.form: SelfPacedForm = form
        self.costs = PairCosts(alpha, beta, base)

    def on_pairs(
        self, pairs: Pairs, selection: AnySelection | None = None, batch: Batch | None = None
    ) -> LossTerms:
        """As any loss of pairs, with the batch's `weight` as trust.

        Raises:
            UserError: as `PairLoss.on_pairs`, or if samples have a weight and the references are
                not the batch.
        """
        trust_N = None if batch is None else batch.weight
        if trust_N is None or not len(trust_N) or isinstance(selection, Triplets):
            return super().on_pairs(pairs, selection, batch)
        rule = "the batch itself where its samples have a weight"
        require(pairs.is_square, "reference", rule, "other references")
        with torch.autocast(trust_N.device.type, enabled=False):
            chosen = everything(pairs) if selection is None else restrict(selection, pairs)
            trust_N = trust_N.to(pairs.cosine.dtype)
            return self._trusting(pairs, chosen, trust_N, trust_N)

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """See `self_paced_similarity`, with every sample trusted wholly."""
        rows, columns = pairs.cosine.shape
        ones = pairs.cosine.new_ones
        return self._trusting(pairs, selection, ones(rows), ones(columns))

    def _trusting(
        self, pairs: Pairs, selection: Selection, trust_N: Tensor, reference_trust_M: Tensor
    ) -> LossTerms:
        return self_paced_similarity(
            pairs.cosine,
            *selection,
            trust_N,
            reference_trust_M,
            costs=self.costs,
            form=self.form,
        )
