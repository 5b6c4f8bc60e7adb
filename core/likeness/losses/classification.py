"""Softmax cross-entropy on logits, with label smoothing and class weights.

Shapes: N = samples, C = classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from likeness.errors import UserError, require
from likeness.losses.base import LossTerms, floored

ClassWeights = Literal["none", "balanced"]
CLASS_WEIGHTS: tuple[ClassWeights, ...] = ("none", "balanced")


def cross_entropy(
    logits_NC: Float[Tensor, "N C"],
    labels_N: Int[Tensor, " N"],
    *,
    label_smoothing: float = 0.0,
    weight_C: Float[Tensor, " C"] | None = None,
) -> LossTerms:
    """Cross-entropy with the definition of `torch.nn.functional.cross_entropy`, split by sample.

    The mean is divided by the sum of the samples' class weights. Half precision goes to float32;
    autocast is off inside.

    Args:
        logits_NC: logits, shape (N, C).
        labels_N: class indices in [0, C), shape (N,).
        label_smoothing: in [0, 1): mass spread evenly over all classes.
        weight_C: weight of each class, >= 0, shape (C,); None means 1.

    Returns:
        The loss; `n_active` counts samples whose most likely class is not their label.
    """
    with torch.autocast(logits_NC.device.type, enabled=False):
        raised_NC = logits_NC if logits_NC.dtype == torch.float64 else logits_NC.float()
        kept_C = None if weight_C is None else weight_C.to(raised_NC)
        cost_N = F.cross_entropy(
            raised_NC, labels_N, kept_C, reduction="none", label_smoothing=label_smoothing
        )
        share_N = torch.ones_like(cost_N) if kept_C is None else kept_C[labels_N]
        per_anchor_N = cost_N / floored(share_N.sum())
        wrong_N = raised_NC.detach().argmax(1) != labels_N
        return LossTerms(per_anchor_N.sum(), per_anchor_N, share_N > 0, wrong_N.sum())


class ClassificationLoss(nn.Module):
    """Softmax cross-entropy on a head's logits.

    Args:
        label_smoothing: in [0, 1).
        class_weights: `none`, or `balanced`: n / (C * n_k), the weights of scikit-learn.
        counts: training samples of each class, needed for `balanced`.

    Raises:
        UserError: if an argument is out of range, or counts are missing or zero where needed.
    """

    weight_C: Tensor | None

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weights: ClassWeights = "none",
        counts: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        require(0 <= label_smoothing < 1, "label_smoothing", "in [0, 1)", label_smoothing)
        require(
            class_weights in CLASS_WEIGHTS,
            "class_weights",
            f"one of {', '.join(CLASS_WEIGHTS)}",
            class_weights,
        )
        self.label_smoothing = label_smoothing
        weight_C = balanced_weights(counts) if class_weights == "balanced" else None
        self.register_buffer("weight_C", weight_C)

    def forward(
        self, logits_NC: Float[Tensor, "N C"], labels_N: Int[Tensor, " N"]
    ) -> Float[Tensor, ""]:
        """The loss as a scalar."""
        return self.on_logits(logits_NC, labels_N).value

    def on_logits(self, logits_NC: Float[Tensor, "N C"], labels_N: Int[Tensor, " N"]) -> LossTerms:
        """The loss with its parts; see `cross_entropy`."""
        return cross_entropy(
            logits_NC, labels_N, label_smoothing=self.label_smoothing, weight_C=self.weight_C
        )


def balanced_weights(counts: Sequence[int] | None) -> Float[Tensor, " C"]:
    """Weights n / (C * n_k): every class weighs the same in a pass over the data.

    Raises:
        UserError: if counts are missing, or a class has no sample.
    """
    if counts is None or not len(counts):
        raise UserError("counts must be given for balanced class weights, got nothing")
    smallest = min(counts)
    require(smallest >= 1, "counts", ">= 1 for every class", smallest)
    count_C = torch.tensor([float(count) for count in counts])
    return count_C.sum() / (len(counts) * count_C)
