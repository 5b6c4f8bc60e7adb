"""Triplets for graded labels: informative and representative ones, and random ones to compare.

Works for labels (N, L), where images are alike in degrees, and for classes (N,), where they are
alike or not. The label distance is Dl(i, j) = 1 - cosine of the label vectors; a triplet
(a, p, n) says something only if Dl(a, p) < Dl(a, n), so its negative may well share labels.

Shapes: N = images of the batch, H = anchors, K = images chosen for an anchor, T = triplets.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.batch import Batch
from likeness.errors import require
from likeness.pairs import Pairs
from likeness.selection import Triplets

Aggregate = Literal["min", "max"]
AGGREGATES: tuple[Aggregate, ...] = ("min", "max")


class Candidates(NamedTuple):
    """Who may stand beside an anchor.

    Attributes:
        label_distance_HN: Dl(a, i), in [0, 1].
        positive_HN: shares a label with a, and some image lies farther in labels.
        negative_HN: some candidate positive lies nearer in labels.
    """

    label_distance_HN: Float[Tensor, "H N"]
    positive_HN: Bool[Tensor, "H N"]
    negative_HN: Bool[Tensor, "H N"]


class Chosen(NamedTuple):
    """The images chosen for each anchor, best first; slots that stayed empty are not real."""

    column_HK: Int[Tensor, "H K"]
    real_HK: Bool[Tensor, "H K"]


def informative_triplets(
    pairs: Pairs,
    batch: Batch,
    *,
    anchors: int = 30,
    positives: int = 30,
    negatives: int = 30,
    beta: float = 0.5,
    gamma: float = 0.2,
    aggregate: Aggregate = "min",
    squared: bool = True,
) -> Triplets:
    """Diverse anchors, each with relevant, hard and diverse positives and negatives.

    Sumbul et al. 2021 (arXiv 2105.03647). With Dn the feature distance divided by the largest of
    the batch, the value of image i for anchor a is

        as a positive  q = (1 - beta) Dn(a, i) - beta Dl(a, i)     (far, yet alike in labels)
        as a negative  -q                                          (near, yet unlike)

    Anchors: `farthest_first` from a random image. Positives and negatives: `choose_diverse`.
    Every triplet of them with Dl(a, p) < Dl(a, n) has weight 1.

    The defaults are the settings of a public port of the method; the paper's are unconfirmed. Our
    reconstruction, since the paper's text is unconfirmed: which distances are aggregated by the
    minimum, and who is a candidate (`candidates_of`). The port's loss is the mean over *all* these
    triplets, with margin 0.5 on 1 - cosine: here `TripletLoss(squared=True, margin=1.0,
    reduction="all", space="cosine")`, for the squared chord is twice that.

    Args:
        pairs: the geometry of a batch with itself, in a space that has a distance.
        batch: its generator draws the first anchor.
        anchors: H, >= 1; all images where there are fewer.
        positives: K of each anchor, >= 1, as far as there are candidates.
        negatives: likewise.
        beta: in [0, 1]: relevance (1) against hardness (0).
        gamma: in [0, 1]: value (1) against diversity (0).
        aggregate: of the distances to the anchors chosen so far; `max` is the port's, see
            `farthest_first`.
        squared: compare squared distances, which order unit rows by 1 - cosine as the port does.

    Returns:
        H * K * K triplets with weights 1 or 0; O(N^2 + H K (N + K)) time.

    Raises:
        UserError: if an argument is out of range or the references are not the batch.
    """
    check_informative(anchors, positives, negatives, beta, gamma, aggregate)
    seen = _of_batch(pairs)
    count = len(seen.labels)
    distance_NN = seen.squared_distance if squared else seen.distance
    if not count:
        return _no_triplets(distance_NN)
    start_1 = _random_order(count, batch.generator, distance_NN.device)[:1]
    anchor_H = farthest_first(distance_NN, start_1, min(anchors, count), aggregate)
    candidates = candidates_of(seen, anchor_H)
    largest = distance_NN.max().clamp_min(torch.finfo(distance_NN.dtype).tiny)
    scaled_NN = distance_NN / largest
    value_HN = (1 - beta) * scaled_NN[anchor_H] - beta * candidates.label_distance_HN
    positive = choose_diverse(value_HN, candidates.positive_HN, scaled_NN, positives, gamma)
    negative = choose_diverse(-value_HN, candidates.negative_HN, scaled_NN, negatives, gamma)
    return _combined(anchor_H, candidates, positive, negative, distance_NN.dtype)


def random_triplets(
    pairs: Pairs, batch: Batch, *, anchors: int = 30, positives: int = 30, negatives: int = 30
) -> Triplets:
    """Uniform anchors, each with uniform positives and negatives: what chance would choose.

    Same candidates and same number of triplets as `informative_triplets`, to compare with it.

    Args:
        pairs: the geometry of a batch with itself; only its labels are read.
        batch: its generator draws.
        anchors: H, >= 1; all images where there are fewer.
        positives: K of each anchor, >= 1, as far as there are candidates.
        negatives: likewise.

    Returns:
        H * K * K triplets with weights 1 or 0.

    Raises:
        UserError: if an argument is out of range or the references are not the batch.
    """
    check_counts(anchors, positives, negatives)
    seen = _of_batch(pairs)
    count = len(seen.labels)
    if not count:
        return _no_triplets(seen.embeddings)
    device = seen.embeddings.device
    anchor_H = _random_order(count, batch.generator, device)[:anchors]
    candidates = candidates_of(seen, anchor_H)
    keys_2HN = _uniform((2, len(anchor_H), count), batch.generator, device)
    positive = _largest_keys(keys_2HN[0], candidates.positive_HN, positives)
    negative = _largest_keys(keys_2HN[1], candidates.negative_HN, negatives)
    return _combined(anchor_H, candidates, positive, negative, seen.embeddings.dtype)


def candidates_of(pairs: Pairs, anchor_H: Int[Tensor, " H"]) -> Candidates:
    """The images that some triplet of each anchor could hold (our reconstruction).

    A positive shares a label with the anchor and is a positive pair there (not the same picture,
    not of an excluded group). An image without labels is at distance 1 from all: a possible
    negative, never a positive. Of classes all positives and all negatives are candidates, as long
    as the anchor has both.
    """
    label_distance_HN = 1 - pairs.relevance[anchor_H]
    itself_HN = pairs.itself[anchor_H]
    infinity = float("inf")
    farthest_H1 = label_distance_HN.masked_fill(itself_HN, -infinity).amax(1, keepdim=True)
    positive_HN = pairs.positive[anchor_H] & (label_distance_HN < farthest_H1)
    nearest_H1 = label_distance_HN.masked_fill(~positive_HN, infinity).amin(1, keepdim=True)
    negative_HN = ~itself_HN & (label_distance_HN > nearest_H1)
    return Candidates(label_distance_HN, positive_HN, negative_HN)


def farthest_first(
    distance_NN: Float[Tensor, "N N"],
    start_1: Int[Tensor, " 1"],
    count: int,
    aggregate: Aggregate = "min",
) -> Int[Tensor, " H"]:
    """`count` <= N images, each the farthest from those before it; of equals the first.

    `min` is the farthest-first traversal (k-centre): no image close to a chosen one is next.
    Under `max` one far chosen image is enough to be called far, so that two nearly identical
    outliers are both chosen; it is there to compare with the port.
    """
    merge = torch.minimum if aggregate == "min" else torch.maximum
    chosen = [start_1]
    spread_N = distance_NN[start_1][0]
    taken_N = torch.zeros_like(spread_N, dtype=torch.bool).index_fill(0, start_1, True)
    for _ in range(count - 1):
        next_1 = spread_N.masked_fill(taken_N, -float("inf")).argmax(keepdim=True)
        chosen.append(next_1)
        taken_N = taken_N.index_fill(0, next_1, True)
        spread_N = merge(spread_N, distance_NN[next_1][0])
    return torch.cat(chosen)


def choose_diverse(
    value_HN: Float[Tensor, "H N"],
    allowed_HN: Bool[Tensor, "H N"],
    scaled_NN: Float[Tensor, "N N"],
    count: int,
    gamma: float,
) -> Chosen:
    """For each anchor up to `count` images of high value that differ from each other.

    The first has the highest value; each further one the highest
    gamma * value + (1 - gamma) * (distance to the nearest image already chosen). The distance is
    between candidates: that to the anchor, which the port reads, is the same for every candidate
    and never changes the choice. Of equals the first column. All anchors advance together: each
    round is O(H N).
    """
    columns, reals = [], []
    open_HN, score_HN = allowed_HN, value_HN
    spread_HN = torch.full_like(value_HN, float("inf"))
    for _ in range(min(count, value_HN.shape[1])):
        best_H1 = score_HN.masked_fill(~open_HN, -float("inf")).argmax(1, keepdim=True)
        columns.append(best_H1)
        reals.append(open_HN.gather(1, best_H1))
        open_HN = open_HN.scatter(1, best_H1, False)
        spread_HN = torch.minimum(spread_HN, scaled_NN[best_H1[:, 0]])
        score_HN = gamma * value_HN + (1 - gamma) * spread_HN
    return Chosen(torch.cat(columns, 1), torch.cat(reals, 1))


def check_informative(
    anchors: int, positives: int, negatives: int, beta: float, gamma: float, aggregate: str
) -> None:
    """Raise UserError unless the options of `informative_triplets` are in range."""
    check_counts(anchors, positives, negatives)
    require(0 <= beta <= 1, "beta", "in [0, 1]", beta)
    require(0 <= gamma <= 1, "gamma", "in [0, 1]", gamma)
    require(aggregate in AGGREGATES, "aggregate", f"one of {', '.join(AGGREGATES)}", aggregate)


def check_counts(anchors: int, positives: int, negatives: int) -> None:
    """Raise UserError unless there is at least one of each."""
    for name, count in (("anchors", anchors), ("positives", positives), ("negatives", negatives)):
        require(count >= 1, name, ">= 1", count)


def _of_batch(pairs: Pairs) -> Pairs:
    rule = "the batch itself where triplets of graded labels are mined"
    require(pairs.is_square, "reference", rule, "other references")
    return pairs.detach()


def _combined(
    anchor_H: Tensor,
    candidates: Candidates,
    positive: Chosen,
    negative: Chosen,
    kind: torch.dtype,
) -> Triplets:
    """Every positive with every negative of its anchor; weight 1 where the labels agree."""
    to_positive_HK = candidates.label_distance_HN.gather(1, positive.column_HK)
    to_negative_HK = candidates.label_distance_HN.gather(1, negative.column_HK)
    real_HKK = positive.real_HK[:, :, None] & negative.real_HK[:, None, :]
    kept_HKK = real_HKK & (to_positive_HK[:, :, None] < to_negative_HK[:, None, :])
    shape = kept_HKK.shape
    return Triplets(
        anchor_H[:, None, None].expand(shape).flatten(),
        positive.column_HK[:, :, None].expand(shape).flatten(),
        negative.column_HK[:, None, :].expand(shape).flatten(),
        kept_HKK.flatten().to(kind),
    )


def _largest_keys(keys_HN: Tensor, allowed_HN: Tensor, count: int) -> Chosen:
    marked_HN = keys_HN.masked_fill(~allowed_HN, -1.0)
    top = marked_HN.topk(min(count, keys_HN.shape[1]), dim=1)
    return Chosen(top.indices, top.values >= 0)


def _random_order(count: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    source = device if generator is None else generator.device
    return torch.randperm(count, generator=generator, device=source).to(device)


def _uniform(
    shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device
) -> Tensor:
    source = device if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=source).to(device)


def _no_triplets(like: Tensor) -> Triplets:
    none = torch.zeros(0, dtype=torch.int64, device=like.device)
    return Triplets(none, none, none, like.new_zeros(0))
