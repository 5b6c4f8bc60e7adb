"""What methods that recycle features share: tuples of a batch, and a loss on tuples of their own.

A tuple is an anchor with the others that it alone is compared with, so a synthetic negative can be
made for one anchor and shown to no other.

Shapes: N = samples of the batch, T = tuples, M = others of each anchor, D = embedding dimension.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from likeness.batch import Batch, groups_of
from likeness.errors import UserError, require
from likeness.losses import NPairLoss, TripletLoss
from likeness.losses.base import zero_like
from likeness.losses.n_pair import mean_squared_norms
from likeness.losses.triplet import all_triplets
from likeness.mining import class_balanced_triplets
from likeness.models import Outputs
from likeness.models.heads import EMBEDDING
from likeness.objective import Objective, Term
from likeness.objective.terms import head_of
from likeness.pairs import SQUARED_FLOOR, Pairs, project
from likeness.selection import Triplets

BaseLoss = NPairLoss | TripletLoss


@runtime_checkable
class FeatureEmbedder(Protocol):
    """A model whose embedding head can be put on features that no image gave."""

    num_features: int
    embedding_dim: int

    @property
    def reads_features(self) -> bool:
        """Whether the head reads pooled features."""
        ...

    def embed_features(self, features_NF: Tensor) -> Tensor:
        """Features (N, F) -> raw embeddings (N, D)."""
        ...


class Tuples(NamedTuple):
    """Places in a batch, and who is what to whom.

    Attributes:
        anchor_T: rows of the anchors.
        other_TM: rows of what each is compared with.
        positive_TM: the one positive of each anchor; a row without any is no tuple and counts for
            nothing (their number must not depend on the labels, or the device would be waited for).
        negative_TM: its negatives.
        place_T: the column where the positive is, or would be.
    """

    anchor_T: Int[Tensor, " T"]
    other_TM: Int[Tensor, "T M"]
    positive_TM: Bool[Tensor, "T M"]
    negative_TM: Bool[Tensor, "T M"]
    place_T: Int[Tensor, " T"]

    @property
    def valid_T(self) -> Bool[Tensor, " T"]:
        """Which rows are tuples."""
        return self.positive_TM.any(1)


def feature_embedder(embedder: nn.Module, method: str) -> FeatureEmbedder:
    """The embedder, if its head can be put on made features.

    Raises:
        UserError: if not, naming the method.
    """
    rule = f"a network whose embedding head reads pooled features, for method {method}"
    fits = isinstance(embedder, FeatureEmbedder) and embedder.reads_features
    require(fits, "model", rule, type(embedder).__name__)
    assert isinstance(embedder, FeatureEmbedder)
    return embedder


def base_term(objective: Objective, kinds: tuple[type[nn.Module], ...], method: str) -> str:
    """The name of the first term on the embedding whose loss is one of `kinds`.

    Raises:
        UserError: if there is none.
    """
    for name in objective.terms:
        term = term_of(objective, name)
        if isinstance(term.loss, kinds) and term.head == EMBEDDING:
            return name
    wanted = " or ".join(kind.__name__ for kind in kinds)
    rule = f"one with {wanted} on the head {EMBEDDING!r}, for method {method}"
    raise UserError(f"objective.terms must be {rule}, got {list(objective.terms)}")


def term_of(objective: Objective, name: str) -> Term:
    """The term of an objective by its name."""
    term = objective.terms[name]
    assert isinstance(term, Term)
    return term


def find_tuples(objective: Objective, term: Term, outputs: Outputs, batch: Batch) -> Tuples:
    """The tuples of a batch that go with a term: N-pair batches, or triplets."""
    embeddings_ND = head_of(outputs.embeddings, EMBEDDING, "embeddings")
    labels = term.labels_of(batch)
    require(labels.ndim == 1, "labels", "one class for each image", tuple(labels.shape))
    pairs = Pairs(embeddings_ND.detach(), labels, ids=batch.ids, space=term.loss.space)
    if objective.exclude_groups:
        pairs = pairs.excluding_group(groups_of(batch))
    if isinstance(term.loss, NPairLoss):
        return n_pair_tuples(pairs)
    known = {name: value.detach() for name, value in outputs.logits.items()}
    chosen = term.select(pairs, outputs, batch.with_logits(known))
    if not isinstance(chosen, Triplets):
        chosen = class_balanced_triplets(pairs, batch, count=len(labels))
    return triplet_tuples(chosen)


def n_pair_tuples(pairs: Pairs) -> Tuples:
    """The first image of each class against the second of every class: T = M = N // 2.

    With two images of each class, as `sampler: class_balanced` with `per_class: 2` draws them, that
    is the whole batch. Of further images of a class, and of classes with one, no tuple is made.

    Args:
        pairs: the geometry of a batch with itself; only labels and masks are read.
    """
    labels = pairs.labels
    same_NN = labels[:, None] == labels[None, :]
    used_N = (same_NN.tril(-1).sum(1) < 2) & (same_NN.sum(1) >= 2)
    # Those in use come first, the two of each class beside each other.
    key_N = torch.where(used_N, labels, torch.iinfo(labels.dtype).max)
    order_N = key_N.argsort(stable=True)
    count = len(labels) // 2
    anchor_T, positive_T = order_N[0 : 2 * count : 2], order_N[1 : 2 * count : 2]
    valid_T = used_N[anchor_T] & pairs.positive[anchor_T, positive_T]
    place_T = torch.arange(count, device=labels.device)
    other_TT = positive_T.expand(count, count)
    positive_TT = (place_T[:, None] == place_T[None, :]) & valid_T[:, None]
    negative_TT = pairs.negative[anchor_T[:, None], other_TT] & valid_T[:, None] & valid_T[None, :]
    return Tuples(anchor_T, other_TT, positive_TT, negative_TT, place_T)


def triplet_tuples(triplets: Triplets) -> Tuples:
    """Triplets as tuples of M = 2 others: the positive, then the negative."""
    anchor_T, positive_T, negative_T, weight_T = triplets
    there_T = weight_T > 0
    absent_T = torch.zeros_like(there_T)
    return Tuples(
        anchor_T,
        torch.stack([positive_T, negative_T], 1),
        torch.stack([there_T, absent_T], 1),
        torch.stack([absent_T, there_T], 1),
        torch.zeros_like(anchor_T),
    )


def tuple_distance(
    loss: TripletLoss, anchor_TD: Float[Tensor, "T D"], other_TMD: Float[Tensor, "T M D"]
) -> Float[Tensor, "T M"]:
    """The distances, of raw embeddings, that a triplet loss compares: squared or not."""
    count, others, dim = other_TMD.shape
    flat = project(other_TMD.reshape(-1, dim), loss.space)
    way_TMD = project(anchor_TD, loss.space)[:, None] - flat.reshape(count, others, dim)
    squared_TM = way_TMD.square().sum(2)
    return (
        squared_TM if loss.squared else squared_TM.clamp_min(SQUARED_FLOOR[squared_TM.dtype]).sqrt()
    )


def tuple_loss(
    loss: BaseLoss,
    anchor_TD: Float[Tensor, "T D"],
    other_TMD: Float[Tensor, "T M D"],
    tuples: Tuples,
) -> Float[Tensor, ""]:
    """A loss on tuples of raw embeddings, by the mathematics of the module and with its options.

    An exact zero with a graph where there is no tuple. Of N-pairs the length that is penalised is
    that of anchors and of their own positives.
    """
    if not len(anchor_TD):
        return zero_like(anchor_TD)
    positive_TM, negative_TM = tuples.positive_TM, tuples.negative_TM
    if isinstance(loss, TripletLoss):
        distance_TM = tuple_distance(loss, anchor_TD, other_TMD)
        return all_triplets(
            distance_TM, positive_TM, negative_TM, margin=loss.margin, reduction=loss.reduction
        ).value
    gram_TM = (anchor_TD[:, None] * other_TMD).sum(2)
    own_TD = at_place(other_TMD, tuples.place_T)
    cost = loss.on_products(gram_TM, positive_TM, negative_TM).value
    diagonal_TT = torch.diag(tuples.valid_T)
    return cost + loss.norm_weight * mean_squared_norms(anchor_TD, own_TD, diagonal_TT).sum()


def at_place(rows_TMX: Float[Tensor, "T M X"], place_T: Int[Tensor, " T"]) -> Float[Tensor, "T X"]:
    """The row of each tuple at a column."""
    index_T = torch.arange(len(place_T), device=place_T.device)
    return rows_TMX[index_T, place_T]
