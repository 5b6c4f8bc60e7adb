"""Soft mining: a weight for every pair instead of a choice of pairs.

Online soft mining (OSM) weighs a pair by how far it is, class-aware attention (CAA) by how sure
the classifier is of both its samples; in a list of miners the two multiply. Source: Wang, Hua,
Kodirov, Hu, Robertson, AAAI 2019: `paper` is the authors' poster, `caffe` their published code.

Shapes: N = anchors, M = references, C = classes.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.batch import Batch
from likeness.errors import UserError, require
from likeness.pairs import Pairs
from likeness.rows import label_probability
from likeness.selection import Selection

SoftVariant = Literal["paper", "caffe"]


def online_soft_mining(
    pairs: Pairs,
    batch: Batch,
    *,
    variant: SoftVariant = "paper",
    sigma: float = 0.8,
    margin: float = 1.2,
    differentiable: bool = False,
) -> Selection:
    """Near positives and near negatives weigh most.

        s+ = exp(-d^2 / sigma^2)  (paper)  or  exp(-d^2 / (2 sigma^2))  (caffe)
        s- = max(0, margin - d)

    The code writes s+ as a normal density; its constant cancels in a loss that divides by the sum
    of weights, and is left out.

    Args:
        pairs: the geometry, in a space that has a distance.
        batch: not read.
        variant: see above.
        sigma: > 0, in units of the distance. 0.8 is the third-party port's, and the code's for CUB
            and CARS; the code has 1.0 for MARS and 0.6 for LPW.
        margin: > 0; the same as the loss's (1.2 in the port).
        differentiable: let gradients through the weights, as the port does. The loss then also
            falls when hard positives move apart; in the authors' code weights are constants.

    Returns:
        Weights of shape (N, M), positive in [0, 1], negative in [0, margin]. Of raw embeddings in
        the euclidean space, positives several sigma apart weigh nothing in floating point; the
        chord of the `cosine` space is at most 2.

    Raises:
        UserError: if an argument is out of range, or the space has no distance.
    """
    check_soft(variant, sigma=sigma, margin=margin)
    distance_NM = (pairs if differentiable else pairs.detach()).distance
    # In place on matrices made here; exp_ and relu_ need only their results for the gradient.
    width = sigma**2 if variant == "paper" else 2 * sigma**2
    near_NM = distance_NM.square().div_(-width).exp_()
    return Selection(near_NM, distance_NM.neg().add_(margin).relu_())


def class_aware_attention(
    pairs: Pairs,
    batch: Batch,
    *,
    variant: SoftVariant = "paper",
    head: str = "class",
    sigma: float = 0.68,
    differentiable: bool = False,
) -> Selection:
    """Pairs of samples that the classifier knows for their class weigh most.

    A pair weighs as much as the lesser of its samples, a_ij = min(a_i, a_j); see `attention`. A
    sample with a wrong label, or that shows something else, has a small p and so have its pairs.

    Logits in [-1, 1] (unit features times unit class vectors, which the port reads) hardly tell
    samples apart: of 625 classes the largest p is 0.012, and at most 7.4 times the smallest. Use
    those of a linear layer.

    Args:
        pairs: the geometry of a batch with itself; nothing of it is read but that.
        batch: its labels (N,), and its logits of `head`, (N, C).
        variant: see `attention`.
        head: name of the logits; the objective fills in all that the model gives.
        sigma: of `caffe`, > 0; `paper` does not read it.
        differentiable: let gradients through the weights into the classifier, as the port does.

    Returns:
        The same weights of shape (N, N), in [0, 1], for positive and for negative pairs.

    Raises:
        UserError: if an argument is out of range, the references are not the batch, an image has
            several labels, or there are no such logits.
    """
    check_soft(variant, sigma=sigma)
    rule = "the batch itself where class_aware_attention weighs pairs"
    require(pairs.is_square, "reference", rule, "other references")
    shape = tuple(batch.labels.shape)
    require(len(shape) == 1, "labels", "of shape (N,) for class_aware_attention", shape)
    logits_NC = _logits(batch, head)
    if not differentiable:
        logits_NC = logits_NC.detach()
    attention_N = attention(logits_NC, batch.labels, variant=variant, sigma=sigma)
    attention_NN = torch.minimum(attention_N[:, None], attention_N[None, :])
    return Selection(attention_NN, attention_NN)


def attention(
    logits_NC: Float[Tensor, "N C"],
    labels_N: Int[Tensor, " N"],
    *,
    variant: SoftVariant = "paper",
    sigma: float = 0.68,
) -> Float[Tensor, " N"]:
    """How sure the classifier is of each sample's own class, p its softmax probability.

    `paper`: p itself. `caffe`: exp(-(p - 1)^2 / (2 sigma^2)), with the code's sigma of 0.68 from
    0.34 for p = 0 to 1, so that even a surely wrong label keeps a third of its weight.
    """
    probability_N = label_probability(logits_NC, labels_N)
    if variant == "paper":
        return probability_N
    return torch.exp((probability_N - 1).square() / (-2 * sigma**2))


def check_soft(variant: str, **above_zero: float) -> None:
    """Raise UserError unless the variant is known and every other option is > 0."""
    require(variant in ("paper", "caffe"), "variant", "'paper' or 'caffe'", variant)
    for name, value in above_zero.items():
        require(value > 0, name, "> 0", value)


def _logits(batch: Batch, head: str) -> Tensor:
    if head not in batch.logits:
        known = ", ".join(batch.logits) or "none at all"
        raise UserError(f"head of class_aware_attention must be one of {known}, got {head!r}")
    logits_NC = batch.logits[head]
    count = len(batch.labels)
    fits = logits_NC.ndim == 2 and len(logits_NC) == count
    require(fits, f"logits of {head!r}", f"of shape ({count}, C)", tuple(logits_NC.shape))
    return logits_NC
