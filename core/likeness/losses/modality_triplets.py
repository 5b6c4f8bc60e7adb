"""Triplets that know which kind of picture each sample is: a sketch or a photograph, say (MATHM).

Shapes: N = anchors, M = references, K = kinds of triplets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from likeness.batch import Batch
from likeness.errors import require
from likeness.losses.base import LossTerms, PairLoss
from likeness.pairs import Pairs, Space
from likeness.rows import extreme, marked
from likeness.selection import AnySelection, Selection, Triplets, everything, restrict

ModalityVariant = Literal["weighted", "plain"]
MODALITY_VARIANTS: tuple[ModalityVariant, ...] = get_args(ModalityVariant)
TripletKind = Literal["within", "mixed", "cross"]
KINDS: tuple[TripletKind, ...] = get_args(TripletKind)

# Whose modality the positive and the negative of each kind share with the anchor.
_SAME = {"within": (True, True), "mixed": (False, True), "cross": (False, False)}


class KindGaps(NamedTuple):
    """The hardest triplet of every anchor and kind.

    Attributes:
        violation_KN: distance of the positive minus that of the negative plus the margin; any
            finite number where there is no such triplet.
        weight_KN: weight of the triplet, 0 where there is none; bool weights become 0 and 1.
    """

    violation_KN: Tensor
    weight_KN: Tensor


def hardest_by_modality(
    distance_NM: Float[Tensor, "N M"],
    positive_NM: Tensor,
    negative_NM: Tensor,
    same_modality_NM: Bool[Tensor, "N M"],
    *,
    margin: float,
    kinds: Sequence[TripletKind] = KINDS,
) -> KindGaps:
    """Farthest positive and nearest negative of each anchor, of its own and the other modality.

        within: positive and negative of the anchor's modality
        mixed:  positive of another modality, negative of the anchor's
        cross:  positive and negative of another modality

    Args:
        distance_NM: distances, shape (N, M).
        positive_NM: weights of positive pairs (bool or >= 0); a pair of weight 0 is no candidate.
        negative_NM: weights of negative pairs; a triplet weighs positive[a, p] * negative[a, n].
        same_modality_NM: whether anchor and reference are of one modality.
        margin: >= 0.
        kinds: K of the three.
    """
    places, there = [], []
    for weights_NM, farthest in ((positive_NM, True), (negative_NM, False)):
        mask_NM = marked(weights_NM)
        for side_NM in (same_modality_NM, ~same_modality_NM):
            place_N, has_N = extreme(distance_NM, mask_NM & side_NM, farthest=farthest)
            places.append(place_N)
            there.append(has_N)
    place_N4 = torch.stack(places, 1)
    distance_N4 = distance_NM.gather(1, place_N4)
    weight_N4 = torch.cat(
        [positive_NM.gather(1, place_N4[:, :2]), negative_NM.gather(1, place_N4[:, 2:])], 1
    ) * torch.stack(there, 1)
    chosen = [_SAME[kind] for kind in kinds]
    positives = [0 if same else 1 for same, _ in chosen]
    negatives = [2 if same else 3 for _, same in chosen]
    gap_NK = distance_N4[:, positives] - distance_N4[:, negatives]
    weight_NK = weight_N4[:, positives] * weight_N4[:, negatives]
    return KindGaps((gap_NK + margin).T, weight_NK.T.to(distance_NM.dtype))


def modality_triplets(
    gaps: KindGaps,
    *,
    variant: ModalityVariant,
    sharpness: float,
    least_gradient: float,
    detach_weight: bool,
) -> LossTerms:
    """The three kinds of triplets as one scalar; see `ModalityTripletLoss` for the formula."""
    violation_KN, weight_KN = gaps
    real_KN = weight_KN != 0
    anchors = violation_KN.shape[1]
    if variant == "plain":
        cost_KN = violation_KN.relu() / len(KINDS)
    else:
        slope_KN = torch.sigmoid(sharpness * violation_KN)
        gradient_K = torch.where(real_KN, slope_KN, 0.0).mean(1)
        share_K = gradient_K.mean() / gradient_K.clamp_min(least_gradient)
        share_K = share_K.detach() if detach_weight else share_K
        cost_KN = F.softplus(violation_KN, beta=sharpness) * share_K[:, None]
    # By `where`: a kind that is not there adds an exact zero, and no gradient of what stands in.
    counted_KN = torch.where(real_KN, cost_KN * weight_KN, 0.0)
    per_anchor_N = counted_KN.sum(0) / anchors
    active = (real_KN & (cost_KN.detach() > 0)).sum()
    return LossTerms(per_anchor_N.sum(), per_anchor_N, real_KN.any(0), active)


class ModalityTripletLoss(PairLoss):
    """Modality-aware triplet hard mining, MATHM (Huang, Sun, Han, Gao, Sang, arXiv 2112.07966).

    For classes that come as two kinds of pictures (`Batch.modality`): sketches and photographs.
    Every anchor has up to three triplets (`hardest_by_modality`), each of the hardest positive and
    the hardest negative: `within` its modality, `cross`, and `mixed`. With v the violation
    d_ap - d_an + margin, k the kind and N the anchors of the batch,

        weighted: sum over k of r_k mean over N of log(1 + exp(s v)) / s, s the sharpness
                  g_k = mean over N of sigmoid(s v), r_k = mean of g / max(g_k, least_gradient)
        plain:    mean over k and N of [v]+

    so that a kind with little gradient left counts more, at most 1 / least_gradient times the mean
    level. An anchor without a triplet of some kind adds 0 to that kind, and still counts in N: a
    batch of one modality is `within` alone, at a third of its weight. A batch that says nothing of
    modality is taken for one modality; a run without the column is refused.

    Formulas, margin and sharpness are those of the authors' code. It lets gradient through r_k
    (`detach_weight: false`); that a weight is held constant is our choice, UNCONFIRMED by the
    paper's text. There an anchor is also a positive of itself at distance 1e-6, which only matters
    where it has no other of its modality; here never. With `plain`, one kind of three keeps a third
    of the weight, as in that code, whose modes `basic`, `within`, `partial` and `all` are the kinds
    [within], [cross], [mixed] and all three.

    Args:
        margin: >= 0, in units of the distance.
        variant: `weighted` or `plain`.
        kinds: some of `within`, `mixed`, `cross`.
        sharpness: of `weighted`, > 0.
        least_gradient: of `weighted`, in (0, 1].
        detach_weight: of `weighted`: r_k is a constant.
        space: `cosine` (chord distance, the authors'; default) or `euclidean`.

    Raises:
        UserError: if an argument is out of range.
    """

    spaces: ClassVar[tuple[Space, ...]] = ("cosine", "euclidean")
    reads_references: ClassVar[bool] = False
    columns: ClassVar[frozenset[str]] = frozenset({"modality"})

    def __init__(
        self,
        *,
        margin: float = 0.2,
        variant: ModalityVariant = "weighted",
        kinds: tuple[TripletKind, ...] = KINDS,
        sharpness: float = 20.0,
        least_gradient: float = 0.1,
        detach_weight: bool = True,
        space: Space | None = None,
    ) -> None:
        super().__init__(space)
        require(0 <= margin < math.inf, "margin", ">= 0 and finite", margin)
        rule = f"one of {', '.join(MODALITY_VARIANTS)}"
        require(variant in MODALITY_VARIANTS, "variant", rule, variant)
        known = kinds and len(set(kinds)) == len(kinds) and set(kinds) <= set(KINDS)
        require(known, "kinds", f"different ones of {', '.join(KINDS)}", list(kinds))
        require(0 < sharpness < math.inf, "sharpness", "> 0 and finite", sharpness)
        require(0 < least_gradient <= 1, "least_gradient", "in (0, 1]", least_gradient)
        self.margin, self.variant, self.kinds = margin, variant, tuple(kinds)
        self.sharpness, self.least_gradient = sharpness, least_gradient
        self.detach_weight = detach_weight

    def on_pairs(
        self, pairs: Pairs, selection: AnySelection | None = None, batch: Batch | None = None
    ) -> LossTerms:
        """As any loss of pairs, with the batch's `modality`.

        Raises:
            UserError: as `PairLoss.on_pairs`, or if samples have a modality and the references are
                not the batch, of which nobody knows it.
        """
        modality_N = None if batch is None else batch.modality
        if modality_N is None or not len(modality_N) or isinstance(selection, Triplets):
            return super().on_pairs(pairs, selection, batch)
        rule = "the batch itself where its samples have a modality"
        require(pairs.is_square, "reference", rule, "other references")
        with torch.autocast(modality_N.device.type, enabled=False):
            chosen = everything(pairs) if selection is None else restrict(selection, pairs)
            same_NN = modality_N[:, None] == modality_N[None, :]
            return self._of_kinds(pairs, chosen, same_NN)

    def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
        """See `modality_triplets`, with all samples of one modality."""
        return self._of_kinds(pairs, selection, torch.ones_like(pairs.positive))

    def _of_kinds(self, pairs: Pairs, selection: Selection, same_NM: Tensor) -> LossTerms:
        gaps = hardest_by_modality(
            pairs.distance, *selection, same_NM, margin=self.margin, kinds=self.kinds
        )
        return modality_triplets(
            gaps,
            variant=self.variant,
            sharpness=self.sharpness,
            least_gradient=self.least_gradient,
            detach_weight=self.detach_weight,
        )
