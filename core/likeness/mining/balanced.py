"""Triplets of a batch at random, every class alike: the sampling of DeMAL-CNN.

Shapes: N = images of the batch, T = triplets.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.batch import Batch
from likeness.errors import require
from likeness.pairs import Pairs
from likeness.selection import Triplets


def class_balanced_triplets(pairs: Pairs, batch: Batch, *, count: int = 64) -> Triplets:
    """`count` random triplets, every class alike: our reconstruction.

    They stand for those of DeMAL-CNN (He et al. 2022), whose abstract says only that its network
    sees triplets. Every class of the batch that has an anchor is drawn equally often,
    however many images it has; within the class the anchors are equally likely, and so are the
    anchor's positives and its negatives. Anchors are images with both. Triplets are drawn with
    replacement, anew in every step, as indices into a batch that is embedded once.

    A positive is a positive pair of `pairs`: never the same picture, and with the objective's
    `exclude_groups` never of the anchor's group (lesion, patient). A class whose images are all of
    one group then has no anchor.

    Args:
        pairs: the geometry of a batch with itself; only its labels and groups are read.
        batch: its generator draws.
        count: T, >= 1.

    Returns:
        T triplets of weight 1; in a batch without any anchor all have weight 0. O(N^2 + T N).

    Raises:
        UserError: if `count` is out of range, the references are not the batch or an image has
            several labels.
    """
    require(count >= 1, "count", ">= 1", count)
    rule = "the batch itself where class-balanced triplets are drawn"
    require(pairs.is_square, "reference", rule, "other references")
    labels = pairs.labels
    rule = "of shape (N,) for class_balanced_triplets: one class per image"
    require(labels.ndim == 1, "labels", rule, tuple(labels.shape))
    if not len(labels):
        none = labels.new_zeros(0, dtype=torch.int64)
        return Triplets(none, none, none, pairs.detach().embeddings.new_zeros(0))
    drawn_3T = uniform((3, count), batch.generator, labels.device)
    is_anchor_N = pairs.positive.any(1) & pairs.negative.any(1)
    anchor_T = _draw_weighted(class_shares(labels, is_anchor_N), drawn_3T[0])
    positive_T = _draw_marked(pairs.positive, anchor_T, drawn_3T[1])
    negative_T = _draw_marked(pairs.negative, anchor_T, drawn_3T[2])
    weight_T = is_anchor_N[anchor_T].to(pairs.detach().embeddings.dtype)
    return Triplets(anchor_T, positive_T, negative_T, weight_T)


def class_shares(
    labels_N: Int[Tensor, " N"], is_anchor_N: Bool[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """A weight for each image: 1 / (anchors of its class) for anchors, 0 for the others."""
    same_NN = labels_N[:, None] == labels_N[None, :]
    anchors_N = (same_NN & is_anchor_N).sum(1)
    return is_anchor_N.double() / anchors_N.clamp_min(1)


def _draw_weighted(weight_N: Tensor, uniform_T: Tensor) -> Tensor:
    """Indices with probabilities in proportion to the weights; any index if all are 0."""
    edges_N = weight_N.cumsum(0)
    place_T = torch.searchsorted(edges_N, uniform_T * edges_N[-1], right=True)
    return place_T.clamp_max(len(weight_N) - 1)


def _draw_marked(mask_NN: Tensor, row_T: Tensor, uniform_T: Tensor) -> Tensor:
    """A uniform marked column of each row: the k-th of them, k = floor(u * how many there are)."""
    rank_NN = mask_NN.cumsum(1)
    rank_T = (uniform_T * rank_NN[row_T, -1]).long() + 1
    place_T = torch.searchsorted(rank_NN[row_T], rank_T[:, None])[:, 0]
    return place_T.clamp_max(mask_NN.shape[1] - 1)


def uniform(
    shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """In [0, 1), float64: drawn where the generator lives."""
    source = device if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=source, dtype=torch.float64).to(device)
