"""Cross-entropy and focal loss on logits, with weights of classes and of samples.

Softmax for one class per image, binary for several labels per image.

Shapes: N = samples, C = classes, L = labels of a multi-label target.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from likeness.errors import UserError, require
from likeness.losses.base import LossTerms, floored, masked_logsumexp
from likeness.rows import label_probability, raised

ClassWeights = Literal["none", "balanced"]
CLASS_WEIGHTS: tuple[ClassWeights, ...] = ("none", "balanced")
Counts = Sequence[int] | Sequence[float]  # of samples by class; of shares where labels are soft


def cross_entropy(
    logits_NC: Float[Tensor, "N C"],
    labels_N: Int[Tensor, " N"],
    *,
    label_smoothing: float = 0.0,
    weight_C: Float[Tensor, " C"] | None = None,
    confidence_sigma: float | None = None,
) -> LossTerms:
    """Cross-entropy with the definition of `torch.nn.functional.cross_entropy`, split by sample.

    The mean is divided by the sum of the samples' weights, which are those of their classes, times
    `confidence_weights` where asked for. Half precision goes to float32; autocast is off inside.

    Args:
        logits_NC: logits, shape (N, C).
        labels_N: class indices in [0, C), shape (N,).
        label_smoothing: in [0, 1): mass spread evenly over all classes.
        weight_C: weight of each class, >= 0, shape (C,); None means 1.
        confidence_sigma: see `confidence_weights`; None means that every sample weighs 1.

    Returns:
        The loss; `n_active` counts samples whose most likely class is not their label.
    """
    with torch.autocast(logits_NC.device.type, enabled=False):
        raised_NC = raised(logits_NC)
        kept_C = None if weight_C is None else weight_C.to(raised_NC)
        cost_N = F.cross_entropy(
            raised_NC, labels_N, kept_C, reduction="none", label_smoothing=label_smoothing
        )
        share_N = torch.ones_like(cost_N) if kept_C is None else kept_C[labels_N]
        if confidence_sigma is not None:
            confidence_N = confidence_weights(raised_NC, labels_N, confidence_sigma)
            cost_N, share_N = cost_N * confidence_N, share_N * confidence_N
        per_anchor_N = cost_N / floored(share_N.sum())
        wrong_N = beaten(raised_NC.detach(), labels_N)
        return LossTerms(per_anchor_N.sum(), per_anchor_N, share_N > 0, wrong_N.sum())


def beaten(logits_NC: Float[Tensor, "N C"], labels_N: Int[Tensor, " N"]) -> Bool[Tensor, " N"]:
    """Whether another class has a larger logit than the sample's own; faster than an argmax."""
    return logits_NC.amax(1) > logits_NC.gather(1, labels_N[:, None])[:, 0]


def confidence_weights(
    logits_NC: Float[Tensor, "N C"], labels_N: Int[Tensor, " N"], sigma: float
) -> Float[Tensor, " N"]:
    """exp(-(p - 0.5)^2 / (2 sigma^2)), p the softmax probability of the sample's class; detached.

    Both what is learned and what is surely wrong counts little: with the official sigma of 0.18,
    1 at p = 0.5 and 0.02 at p = 0 and p = 1. Source: the Caffe code of OSM + CAA (Wang et al.
    2019), which makes them sum to 1 over the batch; nothing of it is in the paper's poster.

    At a start with many classes every p is near 0 and all samples weigh about the same.

    Args:
        logits_NC: logits, shape (N, C).
        labels_N: class indices in [0, C), shape (N,).
        sigma: > 0. Far below 0.1 the weights of certain samples are 0 in floating point.
    """
    probability_N = label_probability(logits_NC.detach(), labels_N)
    return torch.exp((probability_N - 0.5).square() / (-2 * sigma**2))


def focal(
    logits_NC: Float[Tensor, "N C"],
    labels_N: Int[Tensor, " N"],
    *,
    gamma: float,
    weight_C: Float[Tensor, " C"] | None = None,
) -> LossTerms:
    """Focal loss, (1 - p)^gamma * -log p with p the softmax probability of the sample's class.

    Lin et al. 2017, "Focal loss for dense object detection", which is for two classes by a
    sigmoid; the softmax form for any number is the usual one. `weight_C` is its alpha. The mean is
    divided as in `cross_entropy`, which this is at gamma = 0. (1 - p) is computed from the other
    classes' logits: near p = 1 the difference would be 0, and its power without a slope. Half
    precision goes to float32; autocast is off inside.

    Args:
        logits_NC: logits, shape (N, C).
        labels_N: class indices in [0, C), shape (N,).
        gamma: >= 0: how much less a sample counts that is classified well.
        weight_C: weight of each class, >= 0, shape (C,); None means 1.

    Returns:
        The loss; `n_active` counts samples whose most likely class is not their label.
    """
    with torch.autocast(logits_NC.device.type, enabled=False):
        raised_NC = raised(logits_NC)
        entropy_N = F.cross_entropy(raised_NC, labels_N, reduction="none")
        is_other_NC = torch.ones_like(raised_NC, dtype=torch.bool)
        is_other_NC = is_other_NC.scatter(1, labels_N[:, None], False)
        log_rest_N = masked_logsumexp(raised_NC, is_other_NC) - raised_NC.logsumexp(1)
        cost_N = (gamma * log_rest_N).exp() * entropy_N
        share_N = torch.ones_like(cost_N) if weight_C is None else weight_C.to(cost_N)[labels_N]
        per_anchor_N = cost_N * share_N / floored(share_N.sum())
        wrong_N = beaten(raised_NC.detach(), labels_N)
        return LossTerms(per_anchor_N.sum(), per_anchor_N, share_N > 0, wrong_N.sum())


def binary_cross_entropy(
    logits_NL: Float[Tensor, "N L"],
    targets_NL: Shaped[Tensor, "N L"],
    *,
    label_smoothing: float = 0.0,
    positive_weight_L: Float[Tensor, " L"] | None = None,
) -> LossTerms:
    """Binary cross-entropy of every label, split by sample.

    The definition of `torch.nn.functional.binary_cross_entropy_with_logits`: the mean over all
    N * L entries, whatever their weights. Half precision goes to float32; autocast is off inside.

    Args:
        logits_NL: logits, shape (N, L).
        targets_NL: 0 or 1 (or between), shape (N, L), of any type.
        label_smoothing: s in [0, 1): a target t becomes (1 - s) t + s / 2.
        positive_weight_L: factor on the cost of each label's positives, shape (L,); None means 1.

    Returns:
        The loss; `n_active` counts samples with a label on the wrong side of probability 0.5.
    """
    with torch.autocast(logits_NL.device.type, enabled=False):
        raised_NL = raised(logits_NL)
        wanted_NL = targets_NL.to(raised_NL)
        cost_NL = F.binary_cross_entropy_with_logits(
            raised_NL,
            wanted_NL * (1 - label_smoothing) + label_smoothing / 2,
            pos_weight=None if positive_weight_L is None else positive_weight_L.to(raised_NL),
            reduction="none",
        )
        per_anchor_N = cost_NL.sum(1) / max(cost_NL.numel(), 1)
        wrong_N = ((raised_NL.detach() > 0) != (wanted_NL > 0.5)).any(1)
        valid_N = torch.ones_like(wrong_N)
        return LossTerms(per_anchor_N.sum(), per_anchor_N, valid_N, wrong_N.sum())


class ClassificationLoss(nn.Module):
    """Softmax cross-entropy on a head's logits.

    Args:
        label_smoothing: in [0, 1).
        class_weights: `none`, or `balanced`: n / (C * n_k), the weights of scikit-learn.
        counts: training samples of each class, needed for `balanced`.
        confidence_sigma: > 0, see `confidence_weights`; None means that every sample weighs 1.

    Raises:
        UserError: if an argument is out of range, or counts are missing or zero where needed.
    """

    weight_C: Tensor | None

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weights: ClassWeights = "none",
        counts: Counts | None = None,
        confidence_sigma: float | None = None,
    ) -> None:
        super().__init__()
        check_options(label_smoothing, class_weights)
        if confidence_sigma is not None:
            rule = "> 0 and finite"
            require(0 < confidence_sigma < math.inf, "confidence_sigma", rule, confidence_sigma)
        self.label_smoothing, self.confidence_sigma = label_smoothing, confidence_sigma
        weight_C = balanced_weights(counts) if class_weights == "balanced" else None
        self.register_buffer("weight_C", weight_C)

    def forward(
        self, logits_NC: Float[Tensor, "N C"], labels_N: Int[Tensor, " N"]
    ) -> Float[Tensor, ""]:
        """The loss as a scalar."""
        return self.on_logits(logits_NC, labels_N).value

    def on_logits(self, logits_NC: Float[Tensor, "N C"], labels_N: Tensor) -> LossTerms:
        """The loss with its parts; see `cross_entropy`.

        Raises:
            UserError: if the labels are not one class per sample.
        """
        shape = tuple(labels_N.shape)
        require(labels_N.ndim == 1, "labels", "of shape (N,) for cross_entropy", shape)
        return cross_entropy(
            logits_NC,
            labels_N,
            label_smoothing=self.label_smoothing,
            weight_C=self.weight_C,
            confidence_sigma=self.confidence_sigma,
        )


class FocalLoss(ClassificationLoss):
    """Focal loss on a head's logits (Lin et al., ICCV 2017); see `focal`.

    Args:
        gamma: >= 0; the paper's best was 2.
        class_weights: as in `ClassificationLoss`.
        counts: likewise.

    Raises:
        UserError: as there, or if `gamma` is out of range.
    """

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        class_weights: ClassWeights = "none",
        counts: Counts | None = None,
    ) -> None:
        super().__init__(class_weights=class_weights, counts=counts)
        require(0 <= gamma < math.inf, "gamma", ">= 0 and finite", gamma)
        self.gamma = gamma

    def on_logits(self, logits_NC: Float[Tensor, "N C"], labels_N: Tensor) -> LossTerms:
        """The loss with its parts; see `focal`.

        Raises:
            UserError: if the labels are not one class per sample.
        """
        require(labels_N.ndim == 1, "labels", "of shape (N,) for focal", tuple(labels_N.shape))
        return focal(logits_NC, labels_N, gamma=self.gamma, weight_C=self.weight_C)


class MultiLabelClassificationLoss(nn.Module):
    """Binary cross-entropy on a head's logits, one for each label.

    Args:
        label_smoothing: in [0, 1).
        class_weights: `none`, or `balanced`: positives of a label weigh n_negative / n_positive,
            see `positive_weights`.
        counts: training samples that have each label, needed for `balanced`.
        images: all training samples, likewise.

    Raises:
        UserError: if an argument is out of range, or counts are missing or zero where needed.
    """

    weight_L: Tensor | None

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weights: ClassWeights = "none",
        counts: Counts | None = None,
        images: int | None = None,
    ) -> None:
        super().__init__()
        check_options(label_smoothing, class_weights)
        self.label_smoothing = label_smoothing
        weight_L = positive_weights(counts, images) if class_weights == "balanced" else None
        self.register_buffer("weight_L", weight_L)

    def forward(
        self, logits_NL: Float[Tensor, "N L"], targets_NL: Shaped[Tensor, "N L"]
    ) -> Float[Tensor, ""]:
        """The loss as a scalar."""
        return self.on_logits(logits_NL, targets_NL).value

    def on_logits(self, logits_NL: Float[Tensor, "N L"], targets_NL: Tensor) -> LossTerms:
        """The loss with its parts; see `binary_cross_entropy`.

        Raises:
            UserError: if the targets have not the shape of the logits.
        """
        rule = f"of shape {tuple(logits_NL.shape)} for binary_cross_entropy"
        require(targets_NL.shape == logits_NL.shape, "labels", rule, tuple(targets_NL.shape))
        return binary_cross_entropy(
            logits_NL,
            targets_NL,
            label_smoothing=self.label_smoothing,
            positive_weight_L=self.weight_L,
        )


def balanced_weights(counts: Counts | None) -> Float[Tensor, " C"]:
    """Weights n / (C * n_k): every class weighs the same in a pass over the data.

    Raises:
        UserError: if counts are missing, or one is below 1.
    """
    if counts is None or not len(counts):
        raise UserError("counts must be given for balanced class weights, got nothing")
    smallest = min(counts)
    require(smallest >= 1, "counts", ">= 1 for every class", smallest)
    count_C = torch.tensor([float(count) for count in counts])
    return count_C.sum() / (len(counts) * count_C)


def positive_weights(counts: Counts | None, images: int | None) -> Float[Tensor, " L"]:
    """Weights n_negative / n_positive: a label's positives weigh as much as its negatives.

    A label that every image has counts as if one image had it not, so that it is not ignored.

    Raises:
        UserError: if counts are missing, or a label has no sample.
    """
    if counts is None or not len(counts) or images is None:
        raise UserError("counts must be given for balanced class weights, got nothing")
    smallest, largest = min(counts), max(counts)
    require(smallest >= 1, "counts", ">= 1 for every label", smallest)
    require(largest <= images, "counts", f"<= {images}, the number of images", largest)
    count_L = torch.tensor([float(count) for count in counts])
    return (images - count_L).clamp_min(1) / count_L


def check_options(label_smoothing: float, class_weights: str) -> None:
    """Refuse options that all classification losses share, where they are out of range.

    Raises:
        UserError: naming the option.
    """
    require(0 <= label_smoothing < 1, "label_smoothing", "in [0, 1)", label_smoothing)
    names = ", ".join(CLASS_WEIGHTS)
    require(class_weights in CLASS_WEIGHTS, "class_weights", f"one of {names}", class_weights)
