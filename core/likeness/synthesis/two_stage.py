"""Two-stage hard-sample generation: pairs pulled apart, made real, and a hard negative for each.

THSG of Zhu, Hu, Dong, He, Yu, Zhang (arXiv 2112.02259). Only its abstract and that of a thesis were
readable: stage 1 stretches an anchor and its positive by a piecewise linear rule and makes them
real with a conditional GAN, stage 2 makes a hard negative under an adaptive reverse triplet
constraint. **Every formula, network and default here is our reconstruction.**
`likeness.training.methods.two_stage` trains with them.

Shapes: T = triplets, D = embedding dimension, F = features, C = classes, E = length of a class
vector, H = hidden units, R = rows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from likeness.errors import require
from likeness.pairs import SQUARED_FLOOR
from likeness.rows import raised


def stretched_distance(
    distance_T: Float[Tensor, " T"],
    usual: Float[Tensor, ""] | float,
    strength: Float[Tensor, ""] | float,
) -> Float[Tensor, " T"]:
    """How far apart a pair is to be: d + strength (usual - d) below `usual`, else d.

    Continuous and piecewise linear, with slope 1 - strength and then 1; strength 0 leaves all.

    Args:
        distance_T: of anchor and positive, >= 0.
        usual: the usual distance of positives, >= 0.
        strength: gamma in [0, 1].
    """
    return distance_T + strength * (usual - distance_T).clamp_min(0)


def stretch_pairs(
    anchor_TD: Float[Tensor, "T D"],
    positive_TD: Float[Tensor, "T D"],
    usual: Float[Tensor, ""] | float,
    strength: Float[Tensor, ""] | float,
    *,
    most: float = 3.0,
) -> tuple[Float[Tensor, "T D"], Float[Tensor, "T D"]]:
    """Anchor and positive moved apart from the middle between them, to `stretched_distance`.

    The factor is at most `most`: two images of almost one embedding would be thrown far.

    Args:
        anchor_TD: embeddings.
        positive_TD: embeddings of the same classes.
        usual: the usual distance of positives, >= 0.
        strength: gamma in [0, 1].
        most: >= 1.
    """
    require(most >= 1, "most_stretch", ">= 1", most)
    anchor_TD, positive_TD = raised(anchor_TD), raised(positive_TD)
    half_TD = (positive_TD - anchor_TD) / 2
    floor = SQUARED_FLOOR[half_TD.dtype]
    distance_T = (4 * half_TD.square().sum(1)).clamp_min(floor).sqrt()
    factor_T = stretched_distance(distance_T, usual, strength) / distance_T
    more_T1 = factor_T.clamp_max(most)[:, None] - 1
    # As a step from where they are: what is not moved stays to the last bit.
    return anchor_TD - more_T1 * half_TD, positive_TD + more_T1 * half_TD


def reverse_triplet(
    to_positive_T: Float[Tensor, " T"],
    to_negative_T: Float[Tensor, " T"],
    margin: Float[Tensor, ""] | float,
) -> Float[Tensor, " T"]:
    """[d_an - d_ap + margin]+: zero once the negative is nearer than the positive by the margin."""
    return (to_negative_T - to_positive_T + margin).clamp_min(0)


class ConditionalGenerator(nn.Module):
    """Features of a class from an embedding: Linear, ReLU, batch norm, Linear.

    The first layer reads the embedding beside a learned vector of the class.

    Args:
        dim: D.
        num_features: F.
        num_classes: C.
        hidden: H, >= 1.
        class_dim: E, >= 1.
    """

    def __init__(
        self,
        dim: int,
        num_features: int,
        num_classes: int,
        *,
        hidden: int = 512,
        class_dim: int = 64,
    ) -> None:
        super().__init__()
        require(hidden >= 1, "hidden", ">= 1", hidden)
        require(class_dim >= 1, "class_dim", ">= 1", class_dim)
        self.classes = nn.Embedding(num_classes, class_dim)
        self.layers = nn.Sequential(
            nn.Linear(dim + class_dim, hidden),
            nn.ReLU(),
            nn.BatchNorm1d(hidden),
            nn.Linear(hidden, num_features),
        )

    def forward(
        self, embedding_RD: Float[Tensor, "R D"], labels_R: Int[Tensor, " R"]
    ) -> Float[Tensor, "R F"]:
        """Features of the given classes; in training mode of two rows or more."""
        made_RF: Tensor = self.layers(torch.cat([embedding_RD, self.classes(labels_R)], 1))
        return made_RF


class NegativeGenerator(nn.Module):
    """A hard negative's features from those of anchor, positive and negative: 3F -> F -> F.

    Args:
        num_features: F.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3 * num_features, num_features),
            nn.ReLU(),
            nn.Linear(num_features, num_features),
        )

    def forward(
        self,
        anchor_TF: Float[Tensor, "T F"],
        positive_TF: Float[Tensor, "T F"],
        negative_TF: Float[Tensor, "T F"],
    ) -> Float[Tensor, "T F"]:
        """The features of one negative for each anchor and positive."""
        made_TF: Tensor = self.layers(torch.cat([anchor_TF, positive_TF, negative_TF], 1))
        return made_TF


class Judgement(NamedTuple):
    """What a discriminator says: a logit of being real (R,), and class logits (R, C)."""

    real_R: Tensor
    class_RC: Tensor


class ClassDiscriminator(nn.Module):
    """Whether features are real ones of a class, and of which class they look.

    The logit of being real is w . h + v_c . h, with a learned vector v of each class (a projection
    discriminator). A layer norm comes first: the scale of the features drifts as they are trained.

    Args:
        num_features: F.
        num_classes: C.
        hidden: H, >= 1.
    """

    def __init__(self, num_features: int, num_classes: int, *, hidden: int = 512) -> None:
        super().__init__()
        require(hidden >= 1, "hidden", ">= 1", hidden)
        self.body = nn.Sequential(
            nn.LayerNorm(num_features),
            nn.Linear(num_features, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
        )
        self.real = nn.Linear(hidden, 1)
        self.classes = nn.Embedding(num_classes, hidden)
        nn.init.normal_(self.classes.weight, std=hidden**-0.5)  # as a linear layer's, about
        self.classifier = nn.Linear(hidden, num_classes)

    def forward(self, features_RF: Float[Tensor, "R F"], labels_R: Int[Tensor, " R"]) -> Judgement:
        """Judge features that are said to be of the given classes."""
        hidden_RH = self.body(features_RF)
        projected_R = (self.classes(labels_R) * hidden_RH).sum(1)
        return Judgement(self.real(hidden_RH)[:, 0] + projected_R, self.classifier(hidden_RH))


def doubt(logit_R: Float[Tensor, " R"], *, real: bool) -> Float[Tensor, " R"]:
    """Binary cross-entropy of each row with being real, or with being made."""
    return F.softplus(-logit_R if real else logit_R)
