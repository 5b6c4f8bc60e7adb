"""Hardness-aware synthesis: negatives pulled to their anchor, and a network that makes them real.

The two halves of HDML (Zheng, Chen, Lu, Zhou, CVPR 2019; formulas as in the official code,
wzzheng/HDML). `likeness.training.methods.hdml` trains with them.

Shapes: T = anchors, M = others of each anchor, D = embedding dimension, F = features, R = rows.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from likeness.errors import require
from likeness.losses.base import floored
from likeness.pairs import SQUARED_FLOOR
from likeness.rows import raised


def share_left(average: Float[Tensor, ""], *, alpha: float) -> Float[Tensor, ""]:
    """How much of a negative's distance is left to it: lambda = exp(-alpha / average) in [0, 1].

    A large average loss (the start) gives 1, and nothing is moved; as the loss falls, lambda falls
    to 0, where a negative comes as near as the positive.

    Args:
        average: running mean of the metric loss, >= 0.
        alpha: > 0.
    """
    return torch.exp(-alpha / average)


def pull_negatives(
    anchor_TD: Float[Tensor, "T D"],
    other_TMD: Float[Tensor, "T M D"],
    positive_TD: Float[Tensor, "T D"],
    negative_TM: Bool[Tensor, "T M"],
    left: Float[Tensor, ""] | float,
    *,
    detach: bool = False,
) -> Float[Tensor, "T M D"]:
    """Each negative on its line to the anchor, at lambda d_an + (1 - lambda) d_ap from it.

    That is the augmentor of HDML. Negatives that are no farther than the positive stay, and so do
    others that are no negatives.

    Args:
        anchor_TD: embeddings of the anchors.
        other_TMD: what each anchor is compared with.
        positive_TD: the positive of each anchor, which sets d_ap.
        negative_TM: which of the others are negatives.
        left: lambda in [0, 1], see `share_left`.
        detach: the factor on the way to the anchor gets no gradient, as in GeDML's port; in the
            official code it has one.
    """
    anchor_TD, other_TMD, positive_TD = map(raised, (anchor_TD, other_TMD, positive_TD))
    way_TMD = other_TMD - anchor_TD[:, None]
    far_TM = _length(way_TMD)
    near_T1 = _length(positive_TD - anchor_TD)[:, None]
    factor_TM = (left * far_TM + (1 - left) * near_T1) / far_TM
    factor_TM = torch.where(negative_TM & (far_TM > near_T1), factor_TM, 1.0)
    if detach:
        factor_TM = factor_TM.detach()
    # As a step from where it is: what is not moved stays to the last bit.
    return other_TMD + (factor_TM - 1.0)[..., None] * way_TMD


class FeatureGenerator(nn.Module):
    """From an embedding back to features: Linear, ReLU, batch norm, Linear, in that order.

    Args:
        dim: D.
        num_features: F.
        hidden: width between, >= 1; 512 in the official code.
    """

    def __init__(self, dim: int, num_features: int, *, hidden: int = 512) -> None:
        super().__init__()
        require(hidden >= 1, "hidden", ">= 1", hidden)
        self.layers = nn.Sequential(
            nn.Linear(dim, hidden),
            nn.ReLU(),
            nn.BatchNorm1d(hidden),
            nn.Linear(hidden, num_features),
        )

    def forward(self, embedding_RD: Float[Tensor, "R D"]) -> Float[Tensor, "R F"]:
        """Features, in the precision of the weights; in training mode of two rows or more."""
        made_RF: Tensor = self.layers(embedding_RD)
        return made_RF


def mean_label_cost(
    logits_RC: Float[Tensor, "R C"], labels_R: Int[Tensor, " R"], weight_R: Tensor
) -> Float[Tensor, ""]:
    """Weighted mean of the cross-entropy; an exact zero where all weights are 0."""
    cost_R = F.cross_entropy(logits_RC, labels_R, reduction="none")
    weight_R = weight_R.to(cost_R.dtype)
    return (weight_R * cost_R).sum() / floored(weight_R.sum())


def generator_cost(
    made_NF: Float[Tensor, "N F"],
    features_NF: Float[Tensor, "N F"],
    label_cost: Float[Tensor, ""],
    *,
    label_share: float = 0.5,
    label_factor: float = 1e4,
) -> Float[Tensor, ""]:
    """J_gen: the generator gives back what it knows, and what is new is of its label.

        (1 - label_share) * sum over rows and features of (made - features)^2
        + label_share * label_factor * label_cost

    The first is a sum and not a mean, as in the official code: `label_factor`, and beta of HDML,
    belong to a batch of 128 images with 1,024 features each.

    Args:
        made_NF: features made from the embeddings of originals.
        features_NF: what those are.
        label_cost: cross-entropy of what was made from pulled embeddings.
        label_share: in [0, 1).
        label_factor: >= 0.
    """
    require(0 <= label_share < 1, "label_share", "in [0, 1)", label_share)
    require(0 <= label_factor < math.inf, "label_factor", ">= 0 and finite", label_factor)
    difference = (made_NF - features_NF).square().sum()
    return (1 - label_share) * difference + label_share * label_factor * label_cost


def _length(rows: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows"]:
    """Euclidean length with a floor inside the root: no division by 0, no gradient at 0."""
    floor = SQUARED_FLOOR[rows.dtype]
    return rows.square().sum(-1).clamp_min(floor).sqrt()
