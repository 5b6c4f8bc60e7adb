"""Multi-class N-pair loss: a positive against one sample of every other class at once.

Shapes: N = anchors, M = references, K = slots for the positives of a row.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from likeness.errors import require
from likeness.losses.base import LossTerms, PairLoss, floored, shares
from likeness.losses.supcon import supervised_contrastive
from likeness.pairs import Pairs, Space
from likeness.rows import as_float, marked, slots
from likeness.selection import Selection

NPairForm = Literal["multi_class", "one_vs_one"]
N_PAIR_FORMS: tuple[NPairForm, ...] = ("multi_class", "one_vs_one")


def one_vs_one(
    similarity_NM: Float[Tensor, "N M"], positive_NM: Tensor, negative_NM: Tensor
) -> LossTerms:
    """Mean over the anchors with a positive of the mean over their positives of single contests.

        l_i = 1/|P(i)| sum over p, n of log(1 + exp(s_in - s_ip))

    One slot of positives is compared at a time, and again in the backward pass: memory is O(N M)
    whatever the number of positives, time O(N K M). A weight of a positive weighs the mean over
    P(i), one of a negative its contests. `n_active` counts positive pairs with a cost above 0.

    Args:
        similarity_NM: inner products, shape (N, M).
        positive_NM: weights of positive pairs (bool or >= 0), shape (N, M).
        negative_NM: weights of negative pairs, shape (N, M).
    """
    kind = similarity_NM.dtype
    column_NK, real_NK = slots(marked(positive_NM))
    against_NM = as_float(negative_NM, kind)
    costs = []
    for column_N in column_NK.unbind(1):
        inputs = (similarity_NM, column_N, against_NM)
        cost_N = checkpoint(_contests, *inputs, use_reentrant=False, preserve_rng_state=False)
        costs.append(cost_N)
    cost_NK = torch.stack(costs, 1) if costs else similarity_NM[:, :0]
    weight_NK = as_float(positive_NM.gather(1, column_NK), kind) * real_NK
    valid_N = real_NK.any(1)
    mean_N = (weight_NK * cost_NK).sum(1) / floored(weight_NK.sum(1))
    per_anchor_N = shares(mean_N, valid_N)
    active = (marked(weight_NK) & (cost_NK.detach() > 0)).count_nonzero()
    return LossTerms(per_anchor_N.sum(), per_anchor_N, valid_N, active)


def _contests(similarity_NM: Tensor, column_N: Tensor, against_NM: Tensor) -> Tensor:
    """Sum over negatives of log(1 + exp(s_n - s_p)), one positive for each anchor, shape (N,)."""
    own_N1 = similarity_NM.gather(1, column_N[:, None])
    return (against_NM * F.softplus(similarity_NM - own_N1)).sum(1)


def mean_squared_norms(
    anchors_ND: Float[Tensor, "N D"],
    reference_MD: Float[Tensor, "M D"],
    positive_NM: Bool[Tensor, "N M"],
) -> Float[Tensor, " N"]:
    """Mean squared norm of the anchors with a positive plus that of the positives, by anchor.

    The shares of the anchors, shape (N,), add up to it; without a positive pair all are 0.
    """
    has_N, is_M = positive_NM.any(1), positive_NM.any(0)
    of_anchors_N = shares(anchors_ND.square().sum(1), has_N)
    of_positives = shares(reference_MD.square().sum(1), is_M).sum()
    return of_anchors_N + shares(of_positives.expand(len(has_N)), has_N)


class NPairLoss(PairLoss):
    """N-pair loss of Sohn, NIPS 2016, on inner products: `multi_class` is "N-pair-mc", the paper's.

        mean over anchors of -1/|P| sum over p of log (exp(a.p) / sum over all others j of exp(a.j))
        + norm_weight * (mean ||a||^2 + mean ||p||^2)

    `one_vs_one` ("N-pair-ovo") is the paper's other variant, in which every negative meets the
    positive alone: see `one_vs_one`. Its value grows with the number of negatives.

    The paper's batch is N pairs, one of each class: `sampler: class_balanced` with `per_class: 2`
    draws it, and the miner `n_pairs` (or anchors against a `reference` of positives) compares an
    anchor with the positives alone, which is the paper's loss. Without the miner both samples of a
    class are anchors, and all of another class are negatives; several positives share the target,
    as in TensorFlow's code.

    Embeddings are not normalised; the penalty holds their length. On unit rows a temperature would
    be needed: that is `supcon`, the same formula.

    Args:
        form: see above.
        norm_weight: of the squared norms, >= 0. 5e-4 is TensorFlow's 0.002 / 4 (the factor 1/4 is
            UNCONFIRMED); the CBML authors take 0.02.
        space: `dot` only.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("dot",)

    def __init__(
        self,
        *,
        form: NPairForm = "multi_class",
        norm_weight: float = 5e-4,
        space: Space | None = None,
    ) -> None:
        super().__init__(space)
        require(form in N_PAIR_FORMS, "form", f"one of {', '.join(N_PAIR_FORMS)}", form)
        require(0 <= norm_weight < math.inf, "norm_weight", ">= 0 and finite", norm_weight)
        self.form, self.norm_weight = form, norm_weight

    def on_products(
        self, gram_NM: Float[Tensor, "N M"], positive_NM: Tensor, negative_NM: Tensor
    ) -> LossTerms:
        """The loss from inner products, without the penalty."""
        if self.form == "one_vs_one":
            return one_vs_one(gram_NM, positive_NM, negative_NM)
        return supervised_contrastive(gram_NM, positive_NM, negative_NM)

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """The loss on inner products, and the penalty."""
        terms = self.on_products(pairs.gram, *selection)
        if not self.norm_weight:
            return terms
        chosen = marked(selection.positive_NM)
        norms_N = mean_squared_norms(pairs.embeddings, pairs.reference, chosen)
        per_anchor_N = terms.per_anchor + self.norm_weight * norms_N
        return terms._replace(value=per_anchor_N.sum(), per_anchor=per_anchor_N)
