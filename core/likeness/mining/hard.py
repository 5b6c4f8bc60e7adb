"""Hard and semi-hard mining: which pairs of a batch are worth looking at.

Shapes: N = anchors, M = references, K = slots for the positives of a row, E = negatives per pair.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.batch import Batch
from likeness.errors import require
from likeness.pairs import Pairs
from likeness.rows import Ranked, extreme, facenet_negatives, next_farther, rank_positives
from likeness.selection import Selection, Triplets

Rule = Literal["facenet", "band"]
RULES: tuple[Rule, ...] = ("facenet", "band")


def batch_hard(pairs: Pairs, batch: Batch) -> Selection:
    """The farthest positive and the nearest negative of every anchor (Hermans et al. 2017).

    Of equals the first column is taken. A row without positives (negatives) selects none. In the
    `dot` space far means a small inner product.

    Args:
        pairs: the geometry.
        batch: not read.

    Returns:
        Bool masks with at most one positive and one negative in each row. A triplet loss reads
        them as one triplet per anchor, a pair loss as two pairs.
    """
    seen = pairs.detach()
    far_NM = farness(seen)
    if not far_NM.shape[1]:
        return Selection(seen.positive, seen.negative)
    return Selection(
        marked_columns(seen.positive, *extreme(far_NM, seen.positive, farthest=True)),
        marked_columns(seen.negative, *extreme(far_NM, seen.negative, farthest=False)),
    )


def semi_hard(
    pairs: Pairs,
    batch: Batch,
    *,
    rule: Rule = "facenet",
    margin: float = 0.2,
    per_pair: int = 1,
) -> Triplets:
    """Semi-hard negatives for every positive pair (Schroff et al., CVPR 2015), by either rule.

    - `facenet`: the nearest negative with d_an > d_ap; if there is none, the farthest negative
      (TensorFlow's `triplet_semihard_loss`). One per pair.
    - `band`: negatives with 0 < d_an - d_ap <= margin, none otherwise (the miner of
      pytorch-metric-learning takes all of them). All would be O(N^3) triplets, so the `per_pair`
      nearest of the band are taken, which are the hardest; a large `per_pair` gives all.

    Of equals the first column comes first. Whatever the rule finds nothing for has weight 0.

    Args:
        pairs: the geometry.
        batch: not read.
        rule: see above.
        margin: width of the band, > 0, in units of the distance; `facenet` does not read it.
        per_pair: E, largest number of negatives per pair under `band`, >= 1.

    Returns:
        N * K * E triplets with weights 1 or 0, K = positives of the fullest row.

    Raises:
        UserError: if an argument is out of range.
    """
    check_semi_hard(rule, margin, per_pair)
    seen = pairs.detach()
    far_NM = farness(seen)
    ranked = rank_positives(far_NM, seen.positive)
    if not far_NM.shape[1]:
        return _listed(ranked, ranked.column_NK[..., None], ranked.real_NK[..., None])
    if rule == "facenet":
        column_NK, exists_N = facenet_negatives(far_NM, ranked.distance_NK, seen.negative)
        return _listed(ranked, column_NK[..., None], exists_N[:, None, None])
    beyond = next_farther(far_NM, seen.negative, ranked.distance_NK, count=per_pair)
    flat_NF = beyond.column_NKE.flatten(1)
    distance_NKE = far_NM.gather(1, flat_NF).view_as(beyond.column_NKE)
    inside_NKE = distance_NKE - ranked.distance_NK[..., None] <= margin
    return _listed(ranked, beyond.column_NKE, beyond.real_NKE & inside_NKE)


def check_semi_hard(rule: str, margin: float, per_pair: int) -> None:
    """Raise UserError unless the options of `semi_hard` make sense together."""
    require(rule in RULES, "rule", f"one of {', '.join(RULES)}", rule)
    require(margin > 0, "margin", "> 0", margin)
    require(per_pair >= 1, "per_pair", ">= 1", per_pair)
    require(rule == "band" or per_pair == 1, "per_pair", "1 under the facenet rule", per_pair)


def farness(pairs: Pairs) -> Float[Tensor, "N M"]:
    """The space's distance, detached where the pairs are; minus the inner product in `dot`."""
    return -pairs.gram if pairs.space == "dot" else pairs.distance


def marked_columns(
    like_NM: Bool[Tensor, "N M"], column_N: Int[Tensor, " N"], exists_N: Bool[Tensor, " N"]
) -> Bool[Tensor, "N M"]:
    """A mask of one column in each row that has one, M >= 1."""
    empty_NM = torch.zeros_like(like_NM)
    return empty_NM.scatter(1, column_N[:, None], exists_N[:, None])


def _listed(ranked: Ranked, negative_NKE: Tensor, real_NKE: Tensor) -> Triplets:
    shape = negative_NKE.shape
    rows = torch.arange(shape[0], device=negative_NKE.device)
    weight_NKE = ranked.real_NK[..., None] & real_NKE
    return Triplets(
        rows[:, None, None].expand(shape).flatten(),
        ranked.column_NK[..., None].expand(shape).flatten(),
        negative_NKE.flatten(),
        weight_NKE.expand(shape).flatten().to(ranked.distance_NK.dtype),
    )
