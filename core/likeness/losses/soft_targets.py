"""Learning from what several annotators said of a sample, and not from one label only.

Four ways to use a distribution over the classes (Barsoum et al. 2016, "Training deep networks for
facial expression recognition with crowd-sourced label distribution"), with the names of the
authors' options in the code of FER+ beside ours:

    label   `majority`       the class that most said; the cross-entropy of `classification`
    drawn   `probability`    one class drawn from the distribution anew in every step
    soft    `crossentropy`   the cross-entropy with the distribution itself
    multi   `multi_target`   any class with enough votes is right

Shapes: N = samples, C = classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from likeness.errors import UserError, require
from likeness.losses.base import LossTerms, floored
from likeness.losses.classification import (
    ClassWeights,
    Counts,
    balanced_weights,
    check_options,
)
from likeness.rows import raised

Targets = Literal["label", "drawn", "soft", "multi"]
LEAST_SHARE = 0.3  # of the votes; that of the code of FER+
_SUM_TOLERANCE = 1e-4


def soft_cross_entropy(
    logits_NC: Float[Tensor, "N C"],
    target_NC: Float[Tensor, "N C"],
    *,
    label_smoothing: float = 0.0,
    weight_C: Float[Tensor, " C"] | None = None,
) -> LossTerms:
    """-sum_k w_k t_k log p_k, divided by the sum of the samples' weights sum_k w_k t_k.

    The cross-entropy of `classification.cross_entropy` where every distribution is one class. (With
    class weights torch's own mean is another one: over the samples, whatever they weigh.) Half
    precision goes to float32; autocast is off inside.

    Args:
        logits_NC: logits, shape (N, C).
        target_NC: t, what share of the annotators said each class; rows sum to 1.
        label_smoothing: in [0, 1): mass spread evenly over all classes.
        weight_C: w, weight of each class, >= 0, shape (C,); None means 1.

    Returns:
        The loss; `n_active` counts samples whose most likely class is not (one of) the most named.
    """
    with torch.autocast(logits_NC.device.type, enabled=False):
        raised_NC = raised(logits_NC)
        wanted_NC = target_NC.to(raised_NC)
        kept_C = None if weight_C is None else weight_C.to(raised_NC)
        cost_N = F.cross_entropy(
            raised_NC, wanted_NC, kept_C, reduction="none", label_smoothing=label_smoothing
        )
        share_N = torch.ones_like(cost_N) if kept_C is None else wanted_NC @ kept_C
        per_anchor_N = cost_N / floored(share_N.sum())
        is_most_NC = wanted_NC == wanted_NC.amax(1, keepdim=True)
        return LossTerms(
            per_anchor_N.sum(), per_anchor_N, share_N > 0, _wrong(raised_NC, is_most_NC)
        )


def multi_target(
    logits_NC: Float[Tensor, "N C"],
    target_NC: Float[Tensor, "N C"],
    *,
    least_share: float = LEAST_SHARE,
) -> LossTerms:
    """-log p of the likeliest of the right classes, mean over the samples.

    Right are the classes with at least `least_share` of the votes, and always the most named ones:
    a sample may have no class with enough. The code of FER+ leaves such samples out beforehand, and
    lets wrong classes count a thousandth against a logarithm of 0, which cannot happen here: log p
    is computed from the logits. Half precision goes to float32; autocast is off inside.

    Args:
        logits_NC: logits, shape (N, C).
        target_NC: what share of the annotators said each class; rows sum to 1.
        least_share: in (0, 1].

    Returns:
        The loss; `n_active` counts samples whose most likely class is not right.
    """
    with torch.autocast(logits_NC.device.type, enabled=False):
        raised_NC = raised(logits_NC)
        is_right_NC = target_NC >= target_NC.amax(1, keepdim=True).clamp_max(least_share)
        log_NC = raised_NC.log_softmax(1).masked_fill(~is_right_NC, -torch.inf)
        per_anchor_N = -log_NC.amax(1) / max(len(log_NC), 1)
        valid_N = torch.ones_like(per_anchor_N, dtype=torch.bool)
        return LossTerms(per_anchor_N.sum(), per_anchor_N, valid_N, _wrong(raised_NC, is_right_NC))


def draw_labels(
    target_NC: Float[Tensor, "N C"], generator: torch.Generator | None
) -> Int[Tensor, " N"]:
    """One class for each sample, drawn from its distribution where the generator lives.

    Args:
        target_NC: shares >= 0 with a positive sum in each row; a class without share is never
            drawn.
        generator: that of the batch, so that a run repeats; None takes torch's own.
    """
    if not len(target_NC):
        return target_NC.new_zeros(0, dtype=torch.int64)
    source = target_NC.device if generator is None else generator.device
    drawn_N1 = torch.multinomial(target_NC.float().to(source), 1, generator=generator)
    return drawn_N1[:, 0].to(target_NC.device)


def check_distributions(
    target_NC: Tensor,
    *,
    classes: int | None = None,
    name_of: Callable[[int], str] = "row {}".format,
) -> None:
    """Refuse what is no distribution over the classes in each row.

    Args:
        target_NC: shape (N, C).
        classes: how many there must be; None for any.
        name_of: what a person calls a row.

    Raises:
        UserError: naming the first row that does not fit.
    """
    shape, columns = tuple(target_NC.shape), "C" if classes is None else classes
    fits = target_NC.ndim == 2 and classes in (None, shape[-1])
    require(fits, "targets", f"of shape (N, {columns}), a share of each class", shape)
    sum_N = target_NC.double().sum(1)
    good_N = (target_NC >= 0).all(1) & ((sum_N - 1).abs() <= _SUM_TOLERANCE)  # nan is in neither
    if not good_N.all():
        row = int((~good_N).int().argmax())
        shares = ", ".join(f"{share:g}" for share in target_NC[row].tolist())
        raise UserError(
            f"targets must be shares >= 0 that sum to 1 in every row, got {shares} at "
            f"{name_of(row)}"
        )


class SoftTargetLoss(nn.Module):
    """`soft_cross_entropy` on a head's logits.

    Args:
        label_smoothing: in [0, 1).
        class_weights: as in `ClassificationLoss`.
        counts: sum of the shares of each class over the training samples, needed for `balanced`.

    Raises:
        UserError: if an argument is out of range, or counts are missing or below 1 where needed.
    """

    weight_C: Tensor | None

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weights: ClassWeights = "none",
        counts: Counts | None = None,
    ) -> None:
        super().__init__()
        check_options(label_smoothing, class_weights)
        self.label_smoothing = label_smoothing
        weight_C = balanced_weights(counts) if class_weights == "balanced" else None
        self.register_buffer("weight_C", weight_C)

    def forward(
        self, logits_NC: Float[Tensor, "N C"], target_NC: Float[Tensor, "N C"]
    ) -> Float[Tensor, ""]:
        """The loss as a scalar."""
        return self.on_logits(logits_NC, target_NC).value

    def on_logits(self, logits_NC: Float[Tensor, "N C"], target_NC: Tensor) -> LossTerms:
        """The loss with its parts; see `soft_cross_entropy`.

        Raises:
            UserError: if the targets have not the shape of the logits.
        """
        _check_shape(logits_NC, target_NC)
        return soft_cross_entropy(
            logits_NC, target_NC, label_smoothing=self.label_smoothing, weight_C=self.weight_C
        )


class MultiTargetLoss(nn.Module):
    """`multi_target` on a head's logits.

    Args:
        least_share: in (0, 1].

    Raises:
        UserError: if it is not.
    """

    def __init__(self, *, least_share: float = LEAST_SHARE) -> None:
        super().__init__()
        require(0 < least_share <= 1, "least_share", "in (0, 1]", least_share)
        self.least_share = least_share

    def forward(
        self, logits_NC: Float[Tensor, "N C"], target_NC: Float[Tensor, "N C"]
    ) -> Float[Tensor, ""]:
        """The loss as a scalar."""
        return self.on_logits(logits_NC, target_NC).value

    def on_logits(self, logits_NC: Float[Tensor, "N C"], target_NC: Tensor) -> LossTerms:
        """The loss with its parts; see `multi_target`.

        Raises:
            UserError: if the targets have not the shape of the logits.
        """
        _check_shape(logits_NC, target_NC)
        return multi_target(logits_NC, target_NC, least_share=self.least_share)


def _check_shape(logits_NC: Tensor, target_NC: Tensor) -> None:
    wanted, got = tuple(logits_NC.shape), tuple(target_NC.shape)
    require(got == wanted, "target", f"of shape {wanted}, a share of each class", got)


def _wrong(logits_NC: Tensor, is_right_NC: Tensor) -> Int[Tensor, ""]:
    """How many samples have a most likely class that is none of the right ones."""
    likeliest_N1 = logits_NC.detach().argmax(1, keepdim=True)
    return (~is_right_NC.gather(1, likeliest_N1)).sum()
