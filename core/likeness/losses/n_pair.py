"""Multi-class N-pair loss: a positive against one sample of every other class at once.

Shapes: N = anchors, M = references.
"""

from __future__ import annotations

import math
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from likeness.errors import require
from likeness.losses.base import LossTerms, PairLoss, shares
from likeness.losses.supcon import supervised_contrastive
from likeness.pairs import Pairs, Space
from likeness.rows import marked
from likeness.selection import Selection


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
    """Multi-class N-pair loss of Sohn, NIPS 2016 ("N-pair-mc"), on inner products.

        mean over anchors of -1/|P| sum over p of log (exp(a.p) / sum over all others j of exp(a.j))
        + norm_weight * (mean ||a||^2 + mean ||p||^2)

    The paper's batch is N pairs, one of each class: `sampler: class_balanced` with `per_class: 2`
    draws it, and the miner `n_pairs` (or anchors against a `reference` of positives) compares an
    anchor with the positives alone, which is the paper's loss. Without the miner both samples of a
    class are anchors, and all of another class are negatives; several positives share the target,
    as in TensorFlow's code.

    Embeddings are not normalised; the penalty holds their length. On unit rows a temperature would
    be needed: that is `supcon`, the same formula.

    Args:
        norm_weight: of the squared norms, >= 0. 5e-4 is TensorFlow's 0.002 / 4 (the factor 1/4 is
            UNCONFIRMED); the CBML authors take 0.02.
        space: `dot` only.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("dot",)

    def __init__(self, *, norm_weight: float = 5e-4, space: Space | None = None) -> None:
        super().__init__(space)
        require(0 <= norm_weight < math.inf, "norm_weight", ">= 0 and finite", norm_weight)
        self.norm_weight = norm_weight

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """The cross-entropy of `supervised_contrastive` on inner products, and the penalty."""
        terms = supervised_contrastive(pairs.gram, *selection)
        if not self.norm_weight:
            return terms
        chosen = marked(selection.positive_NM)
        norms_N = mean_squared_norms(pairs.embeddings, pairs.reference, chosen)
        per_anchor_N = terms.per_anchor + self.norm_weight * norms_N
        return terms._replace(value=per_anchor_N.sum(), per_anchor=per_anchor_N)
