"""Symmetrical synthesis: two samples of a class mirrored at each other, and the hardest negative.

Shapes: N = samples of the batch, K = pairs of samples of one class, at most N // 2, D = embedding
dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations, permutations, product
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.batch import Batch, groups_of
from likeness.errors import require
from likeness.losses.angular import AngularLoss, angular_logits
from likeness.losses.base import LossTerms, PairLoss
from likeness.losses.lifted import GeneralisedLiftedLoss, LiftedStructuredLoss
from likeness.losses.n_pair import NPairLoss
from likeness.losses.triplet import BatchHardTripletLoss, SemiHardTripletLoss, TripletLoss
from likeness.pairs import Pairs
from likeness.rows import raised
from likeness.selection import Miner, Selection
from likeness.synthesis.base import Synthesiser, check_one_class

SetPairs = Literal["six", "sixteen"]
# Of the four sets of points: anchors, positives, and the images of either.
SET_PAIRS: dict[SetPairs, tuple[tuple[int, int], ...]] = {
    "six": tuple(combinations(range(4), 2)),
    "sixteen": tuple((u, v) for u, v in product(range(4), repeat=2)),
}
# The angular measure is not symmetric: the six in both orders.
TWELVE = tuple(permutations(range(4), 2))
# Losses of one positive and many negatives for each anchor: what the hardest negative is for.
FITTING = (
    *(NPairLoss, AngularLoss, TripletLoss, BatchHardTripletLoss, SemiHardTripletLoss),
    *(LiftedStructuredLoss, GeneralisedLiftedLoss),
)
SMALLEST_SQUARE = 1e-12  # below it a point is no axis
Measure = Callable[[Tensor, Tensor], Tensor]  # of K points with K points: (K, K)


def reflect(points_KD: Float[Tensor, "K D"], axes_KD: Float[Tensor, "K D"]) -> Float[Tensor, "K D"]:
    """Each point mirrored at the line through the origin and its axis: 2 (p.a) a / |a|^2 - p.

    The image has the point's length, inner product with the axis, and distance from it.
    """
    square_K1 = axes_KD.square().sum(1, keepdim=True).clamp_min(SMALLEST_SQUARE)
    along_K1 = (points_KD * axes_KD).sum(1, keepdim=True) / square_K1
    return 2 * along_K1 * axes_KD - points_KD


class Partners(NamedTuple):
    """Pairs of samples of one class, each sample in one pair at most.

    Attributes:
        first_K: place of the one, the anchor.
        second_K: place of the other, its positive.
        real_K: whether the slot holds a pair.
    """

    first_K: Int[Tensor, " K"]
    second_K: Int[Tensor, " K"]
    real_K: Bool[Tensor, " K"]


def pair_up(labels_N: Int[Tensor, " N"]) -> Partners:
    """The samples of each class two by two, in the order of the batch; an odd one is left out.

    With two samples of every class that is the official code's batch: K = N / 2 classes.
    """
    order_N = labels_N.argsort(stable=True)
    sorted_N = labels_N[order_N]
    first_place_N = torch.searchsorted(sorted_N, sorted_N)
    place_N = torch.arange(len(labels_N), device=labels_N.device)
    is_even_N = (place_N - first_place_N) % 2 == 0
    starts_N = is_even_N[:-1] & (sorted_N[:-1] == sorted_N[1:])
    # Those that start a pair come first; there are N // 2 of them at most.
    slot_K = (~starts_N).int().argsort(stable=True)[: len(labels_N) // 2]
    return Partners(order_N[slot_K], order_N[slot_K + 1], starts_N[slot_K])


def hardest(
    sets_4KD: Float[Tensor, "4 K D"], measure: Measure, set_pairs: Sequence[tuple[int, int]]
) -> Float[Tensor, "K K"]:
    """The largest measure of pair i with pair j over the chosen pairs of sets.

    A set with itself has no diagonal: a point says nothing of itself.

    Args:
        sets_4KD: anchors, positives, the images of positives and those of anchors.
        measure: larger for points that are nearer.
        set_pairs: of sets, by their numbers.
    """
    found = []
    for u, v in set_pairs:
        block_KK = measure(sets_4KD[u], sets_4KD[v])
        found.append(block_KK.fill_diagonal_(-torch.inf) if u == v else block_KK)
    return torch.stack(found).amax(0)


@dataclass(frozen=True)
class MirroredBatch:
    """A batch, of which pairs of one class are mirrored at each other (a `Synthetic`)."""

    embeddings_ND: Float[Tensor, "N D"]
    pairs: SetPairs
    keep_diagonal: bool

    def terms(
        self,
        loss: PairLoss,
        batch: Batch,
        *,
        labels: Tensor | None = None,
        miner: Miner | None = None,
        exclude_groups: bool = False,
    ) -> LossTerms:
        """See `Synthetic.terms`; shares and validity are those of the K pairs.

        Raises:
            UserError: for a miner, or a loss that the synthesis does not fit.
        """
        check_symmetrical(loss, self.pairs)
        require(miner is None, "miners", "none with symmetrical synthesis", "a miner")
        known = batch if labels is None else replace(batch, labels=labels)
        check_one_class(known.labels)
        partners = pair_up(known.labels)
        plain = self._partners(loss, known, partners, exclude_groups)
        real_KK = partners.real_K[:, None] & partners.real_K[None, :]
        chosen = Selection(plain.positive & real_KK, plain.negative & real_KK)
        if not len(real_KK):
            return loss.on_pairs(plain, chosen)
        with torch.autocast(self.embeddings_ND.device.type, enabled=False):
            return self._on_hardest(loss, plain, chosen)

    def _on_hardest(self, loss: PairLoss, plain: Pairs, chosen: Selection) -> LossTerms:
        first_KD, second_KD = plain.embeddings, plain.reference
        images = (reflect(second_KD, first_KD), reflect(first_KD, second_KD))
        sets_4KD = torch.stack([first_KD, second_KD, *images])
        same_KK = ~plain.negative
        if isinstance(loss, AngularLoss):
            angle = partial(angular_logits, same_KK=same_KK, tan_squared=loss.tan_squared)
            most_KK = hardest(sets_4KD, angle, TWELVE)
            if self.keep_diagonal:
                most_KK = torch.where(same_KK, angle(first_KD, second_KD), most_KK)
            return loss.on_logits(most_KK, plain, chosen)
        measure = _minus_squared_distance if plain.space == "euclidean" else _product
        most_KK = hardest(sets_4KD, measure, SET_PAIRS[self.pairs])
        if self.keep_diagonal or plain.space != "dot":
            most_KK = torch.where(same_KK, measure(first_KD, second_KD), most_KK)
        if plain.space == "euclidean":
            most_KK = (-most_KK).clamp_min(0)
        return loss.on_pairs(plain.with_matrix(most_KK), chosen)

    def _partners(
        self, loss: PairLoss, batch: Batch, partners: Partners, exclude_groups: bool
    ) -> Pairs:
        """The first of each pair against the second of every pair."""
        first_K, second_K, _ = partners
        rows_ND, ids = raised(self.embeddings_ND), batch.ids
        pairs = Pairs(
            rows_ND[first_K],
            batch.labels[first_K],
            ids=None if ids is None else ids[first_K],
            reference=rows_ND[second_K],
            reference_labels=batch.labels[second_K],
            reference_ids=None if ids is None else ids[second_K],
            space=loss.space,
            allow_views=loss.allow_views,
        )
        if not exclude_groups:
            return pairs
        group_N = groups_of(batch)
        return pairs.excluding_group(group_N[first_K], group_N[second_K])


class SymmetricalSynthesis(Synthesiser):
    """Symmetrical synthesis of hard negatives (Symm: Gu, Ko, AAAI 2020; official code of clovaai).

    The samples of each class are taken two by two, a and p; each is mirrored at the axis of the
    other (`reflect`). Of pair i with pair j the hardest of four points each is taken: a matrix
    (K, K) in the place of the inner products a_i.p_j. No parameters and no state; the gradient goes
    through what is made. In any loop:

        synthesis = SymmetricalSynthesis()
        value = synthesis(NPairLoss(), embeddings, Batch(labels))

    With `n_pair` the mathematics is the loss's own; with `angular` the largest over all twelve
    ordered pairs of two sets. Embeddings are not normalised. As in the official code the maximum is
    also taken of positives, unless `keep_diagonal`: the images of two samples more than 90 degrees
    apart are nearer to each other than these, so such a pair is driven apart, to 120 degrees. From
    a network whose classes are not yet together, keep the diagonal.

    With triplet and lifted losses positives stay what they are, and the smallest distance is taken;
    in the `cosine` space images stay on the sphere. That is our reconstruction: the paper's form is
    UNCONFIRMED. Four and more samples of a class make several pairs, positives of each other, where
    the code has exactly two.

    Args:
        pairs: `six` unordered pairs of the four sets, as the official code has them (so the matrix
            is not symmetric), or all `sixteen`; `angular` has its own twelve.
        keep_diagonal: of `n_pair` and `angular`: positives are the originals'.

    Raises:
        UserError: if an argument is unknown.
    """

    def __init__(self, *, pairs: SetPairs = "six", keep_diagonal: bool = False) -> None:
        super().__init__()
        require(pairs in SET_PAIRS, "pairs", f"one of {', '.join(SET_PAIRS)}", pairs)
        self.pairs, self.keep_diagonal = pairs, keep_diagonal

    def synthesise(
        self, embeddings_ND: Float[Tensor, "N D"], batch: Batch, *, epoch: float | None = None
    ) -> MirroredBatch:
        """See `Synthesiser.synthesise`; it depends on the space, so the work is in `terms`."""
        return MirroredBatch(embeddings_ND, self.pairs, self.keep_diagonal)


def check_symmetrical(loss: PairLoss, pairs: SetPairs) -> None:
    """Refuse losses that have no place for a hardest negative of other points.

    Raises:
        UserError: naming the loss.
    """
    known = ", ".join(kind.__name__ for kind in FITTING)
    kind, rule = type(loss).__name__, f"one of {known} for symmetrical synthesis"
    require(isinstance(loss, FITTING), "loss", rule, kind)
    fits = pairs == "six" or not isinstance(loss, AngularLoss)
    rule = "six for AngularLoss, which takes those in both orders"
    require(fits, "pairs of symmetrical synthesis", rule, pairs)


def _product(first_KD: Tensor, second_KD: Tensor) -> Tensor:
    return first_KD @ second_KD.T


def _minus_squared_distance(first_KD: Tensor, second_KD: Tensor) -> Tensor:
    norms_KK = first_KD.square().sum(1)[:, None] + second_KD.square().sum(1)[None, :]
    return 2 * first_KD @ second_KD.T - norms_KK
