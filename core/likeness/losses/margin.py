"""Margin-based loss: positives inside, negatives outside a boundary that is learned.

Shapes: N = anchors, M = references, T = triplets, C = classes.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from likeness.batch import Batch
from likeness.errors import require
from likeness.losses.base import LossTerms, PairLoss, floored
from likeness.pairs import Pairs, Space
from likeness.rows import as_float, marked
from likeness.selection import AnySelection, Selection, Triplets

Boundary = Literal["class", "global", "fixed"]
BOUNDARIES: tuple[Boundary, ...] = ("class", "global", "fixed")


def margin_of_all(
    distance_NM: Float[Tensor, "N M"],
    positive_NM: Tensor,
    negative_NM: Tensor,
    boundary_N: Float[Tensor, " N"],
    *,
    margin: float,
    boundary_weight: float,
) -> LossTerms:
    """The loss over all triplets (a, p, n) of the batch, weighted positive[a, p] * negative[a, n].

        sum of [d_ap - beta_a + margin]+ + [beta_a - d_an + margin]+ + boundary_weight * beta_a
        / number of the brackets above 0

    A pair costs the same in each of its triplets, so row sums do and none is listed. `n_active`
    counts pairs, not triplets.
    """
    kind = distance_NM.dtype
    pull_NM = (distance_NM - (boundary_N[:, None] - margin)).relu()
    push_NM = ((boundary_N[:, None] + margin) - distance_NM).relu()
    of_positives, of_negatives = as_float(positive_NM, kind), as_float(negative_NM, kind)
    positives_N, negatives_N = of_positives.sum(1), of_negatives.sum(1)
    sum_N = (of_positives * pull_NM).sum(1) * negatives_N
    sum_N = sum_N + (of_negatives * push_NM).sum(1) * positives_N
    pulled_NM, pushed_NM = pull_NM.detach() > 0, push_NM.detach() > 0
    counted_N = (of_positives * pulled_NM).sum(1) * negatives_N
    counted_N = counted_N + (of_negatives * pushed_NM).sum(1) * positives_N
    sum_N = sum_N + boundary_weight * boundary_N * positives_N * negatives_N
    valid_N = (positives_N > 0) & (negatives_N > 0)
    real = valid_N[:, None]
    n_active = (marked(positive_NM) & pulled_NM & real).count_nonzero()
    n_active = n_active + (marked(negative_NM) & pushed_NM & real).count_nonzero()
    return _reduced(sum_N, counted_N, valid_N, n_active)


def margin_of_listed(
    distance_NM: Float[Tensor, "N M"],
    triplets: Triplets,
    boundary_N: Float[Tensor, " N"],
    *,
    margin: float,
    boundary_weight: float,
) -> LossTerms:
    """As `margin_of_all`, over the given triplets; `n_active` counts their brackets above 0."""
    anchor_T, positive_T, negative_T, weight_T = triplets
    boundary_T = boundary_N[anchor_T]
    pull_T = (distance_NM[anchor_T, positive_T] - boundary_T + margin).relu()
    push_T = (boundary_T - distance_NM[anchor_T, negative_T] + margin).relu()
    brackets_T = (pull_T.detach() > 0).long() + (push_T.detach() > 0).long()
    cost_T = (pull_T + push_T + boundary_weight * boundary_T) * weight_T
    zeros_N = cost_T.new_zeros(len(distance_NM))
    sum_N = zeros_N.index_add(0, anchor_T, cost_T)
    counted_N = zeros_N.index_add(0, anchor_T, brackets_T * weight_T)
    is_real_T = marked(weight_T).long()
    valid_N = torch.zeros_like(zeros_N, dtype=torch.int64).index_add(0, anchor_T, is_real_T) > 0
    return _reduced(sum_N, counted_N, valid_N, (brackets_T * is_real_T).sum())


def _reduced(sum_N: Tensor, counted_N: Tensor, valid_N: Tensor, n_active: Tensor) -> LossTerms:
    counted = counted_N.sum()
    # Nothing active is an exact zero, also where the boundary has a weight.
    per_anchor_N = sum_N * ((n_active > 0) / floored(counted))
    return LossTerms(per_anchor_N.sum(), per_anchor_N, valid_N, n_active)


class MarginLoss(PairLoss):
    """Margin-based loss of Wu et al., ICCV 2017, made for distance-weighted sampling.

    See `margin_of_all`; with a miner of triplets (`distance_weighted`, the paper's) it is over
    those. The boundary beta is one number for each class, learned, as in the authors' code; one
    learned number; or fixed. The paper's further term for each image is left out, as it is there.

    Args:
        num_classes: C, needed for `boundary="class"` only; labels are then in [0, C).
        margin: alpha of the paper, >= 0, in units of the distance.
        beta: where the boundary starts, > 0.
        boundary: see above.
        boundary_weight: nu of the paper, >= 0: holds learned boundaries down.
        boundary_lr_mult: factor on the run's learning rate, > 0; 10 is our choice. The authors' 0.1
            beside 1e-4 is a rate of SGD, made for boundaries alone; with AdamW, whose steps do not
            shrink with the gradient, that factor of 1,000 throws them out of the distances.
        space: `cosine` (chord distance, default) or `euclidean`.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("cosine", "euclidean")
    reads: ClassVar[frozenset[str]] = frozenset({"dense", "triplets"})
    beta: Tensor

    def __init__(
        self,
        num_classes: int | None = None,
        *,
        margin: float = 0.2,
        beta: float = 1.2,
        boundary: Boundary = "class",
        boundary_weight: float = 0.0,
        boundary_lr_mult: float = 10.0,
        space: Space | None = None,
    ) -> None:
        super().__init__(space)
        require(0 <= margin < math.inf, "margin", ">= 0 and finite", margin)
        require(0 < beta < math.inf, "beta", "> 0 and finite", beta)
        require(boundary in BOUNDARIES, "boundary", f"one of {', '.join(BOUNDARIES)}", boundary)
        require(0 <= boundary_weight < math.inf, "boundary_weight", ">= 0", boundary_weight)
        require(0 < boundary_lr_mult < math.inf, "boundary_lr_mult", "> 0", boundary_lr_mult)
        self.margin, self.boundary, self.boundary_weight = margin, boundary, boundary_weight
        self.lr_mult = boundary_lr_mult
        shape: tuple[int, ...] = ()
        if boundary == "class":
            rule = ">= 1 for a boundary of each class"
            require(num_classes is not None and num_classes >= 1, "num_classes", rule, num_classes)
            assert num_classes is not None
            shape = (num_classes,)
        start = torch.full(shape, beta)
        if boundary == "fixed":
            self.register_buffer("beta", start)
        else:
            self.beta = nn.Parameter(start)

    def on_pairs(
        self, pairs: Pairs, selection: AnySelection | None = None, batch: Batch | None = None
    ) -> LossTerms:
        """The loss on shared geometry; see `PairLoss.on_pairs`.

        Raises:
            UserError: also if a label has no boundary (checked on the CPU only, where it stops no
                queue), or an image has several labels where each class has one.
        """
        if self.boundary == "class":
            labels, count = pairs.labels, len(self.beta)
            require(labels.ndim == 1, "labels", "of shape (N,)", tuple(labels.shape))
            if labels.device.type == "cpu" and labels.numel():
                low, high = (int(end) for end in labels.aminmax())
                fits = low >= 0 and high < count
                require(fits, "labels", f"in [0, {count})", low if low < 0 else high)
        return super().on_pairs(pairs, selection, batch)

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """See `margin_of_all`."""
        return margin_of_all(
            pairs.distance,
            *selection,
            self._boundaries(pairs),
            margin=self.margin,
            boundary_weight=self.boundary_weight,
        )

    def on_triplets(self, pairs: Pairs, triplets: Triplets) -> LossTerms:
        """See `margin_of_listed`."""
        return margin_of_listed(
            pairs.distance,
            triplets,
            self._boundaries(pairs),
            margin=self.margin,
            boundary_weight=self.boundary_weight,
        )

    def _boundaries(self, pairs: Pairs) -> Tensor:
        beta = self.beta.to(pairs.embeddings.dtype)
        if self.boundary == "class":
            return beta[pairs.labels]
        return beta.expand(len(pairs.labels))
