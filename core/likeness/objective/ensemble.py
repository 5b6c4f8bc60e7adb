"""Learned weights of the terms of an objective: an ensemble of losses.

"Ensemble of loss functions to improve generalizability of deep metric learning methods" (EnsLoss;
Zabihzadeh, Alitbi, Mousavirad, Multimedia Tools and Applications 2023). Equations 8 and 11 are as a
third party's code names them (`QinLab-WFU/MCRDH`); the paper itself was not readable.

Shapes: J = losses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from likeness.config import Spec
from likeness.errors import require
from likeness.pairs import unit_rows

WeightForm = Literal["softmax", "penalty"]
WEIGHT_FORMS: tuple[WeightForm, ...] = ("softmax", "penalty")

# A mean below this share of the mean of all (or below this number) is not divided by.
LEAST_SHARE, LEAST_MEAN = 1e-3, 1e-8
# Of the sum of weights, 1: what is left to share out when each has its least, 1 / (4 J).
_SHARED = 0.75


class EnsembleSpec(Spec):
    """See `EnsembleWeights`."""

    form: WeightForm = "softmax"
    penalty: float = Field(default=1e4, gt=0)
    lr_mult: float = Field(default=10.0, gt=0)


class EnsembleWeights(nn.Module):
    """One learned weight for each loss (EnsLoss, Zabihzadeh et al. 2023, by third-party code).

        l^_j = (m / m_j) l_j           m_j: mean of |l_j| so far, m: mean of these; constants
        w_j >= a = 1 / (4 J)           so no loss dies
        value = sum over j of w_j l^_j [+ eta (sum of w_j - 1)^2]

    With every loss brought to one mean, weight flows to what falls fastest below its own past, and
    from a loss that teaches nothing. The factors are constants: multiplying one loss by a number
    multiplies the whole by one, and changes no direction.

    `form: penalty` is the third party's: w_j = s_j^2 + a and the penalty, whose curvature of
    8 eta s^2 needs Adam, or a rate of at most 1e-4. `form: softmax`, w = a + (1 - J a) softmax(t),
    has the same range and no penalty; it is UNCONFIRMED, our choice. So is the start, which makes
    the sum 1: the third party's is 1.25, for a penalty of 625. `lr_mult` is our choice, too. In the
    log of a run the weights are the columns `loss_weight.<term>`.

    Means are of all steps in which a loss had something to say, this one included: a loss without a
    valid anchor adds nothing to its mean. They move in training mode, once for each call.

    Args:
        prior: how much each loss should count at the start, > 0; only their ratios matter.
        form: `softmax` or `penalty`.
        penalty: eta > 0, read by `penalty` only.
        lr_mult: factor on the run's learning rate for the weights, > 0; they never decay.

    Raises:
        UserError: if there are fewer than two losses or an argument is out of range.
    """

    mean_J: Tensor
    count_J: Tensor

    def __init__(
        self,
        prior: Sequence[float],
        *,
        form: WeightForm = "softmax",
        penalty: float = 1e4,
        lr_mult: float = 10.0,
    ) -> None:
        super().__init__()
        count = len(prior)
        require(count >= 2, "ensemble", "of at least two terms", count)
        require(all(0 < w < math.inf for w in prior), "weight", "> 0 in an ensemble", [*prior])
        require(form in WEIGHT_FORMS, "form", f"one of {', '.join(WEIGHT_FORMS)}", form)
        require(0 < penalty < math.inf, "penalty", "> 0 and finite", penalty)
        require(0 < lr_mult < math.inf, "lr_mult", "> 0 and finite", lr_mult)
        self.form, self.penalty, self.lr_mult = form, penalty, lr_mult
        self.least = 1 / (4 * count)
        share_J = torch.tensor([weight / sum(prior) for weight in prior])
        start_J = share_J.log() if form == "softmax" else (_SHARED * share_J).sqrt()
        self.free = nn.Parameter(start_J)
        self.register_buffer("mean_J", torch.zeros(count))
        self.register_buffer("count_J", torch.zeros(count, dtype=torch.int64))

    def forward(
        self, losses: Sequence[Float[Tensor, ""]], valid: Sequence[Bool[Tensor, ""]]
    ) -> Float[Tensor, ""]:
        """The weighted sum of this step's losses.

        Args:
            losses: J scalars.
            valid: whether each had a valid anchor.
        """
        loss_J = torch.stack(list(losses))
        if self.training:
            self._remember(loss_J.detach(), torch.stack(list(valid)))
        weight_J = self.weights()
        value = (weight_J * self._factors().to(loss_J.dtype) * loss_J).sum()
        if self.form == "penalty":
            value = value + self.penalty * (weight_J.sum() - 1).square()
        return value

    def weights(self) -> Float[Tensor, " J"]:
        """The weights as they are, each >= 1 / (4 J), with their graph."""
        own_J = _SHARED * self.free.softmax(0) if self.form == "softmax" else self.free.square()
        return own_J + self.least

    @torch.no_grad()
    def _remember(self, loss_J: Tensor, valid_J: Tensor) -> None:
        self.count_J += valid_J
        step_J = (loss_J.abs().to(self.mean_J) - self.mean_J) / self.count_J.clamp_min(1)
        self.mean_J += torch.where(valid_J, step_J, 0.0)

    def _factors(self) -> Float[Tensor, " J"]:
        """What each is multiplied by: m / m_j, m over the losses that have said something."""
        known_J = self.count_J > 0
        mean = (self.mean_J * known_J).sum() / known_J.sum().clamp_min(1)
        mean = mean.clamp_min(LEAST_MEAN)
        return mean / torch.maximum(self.mean_J, LEAST_SHARE * mean)


def join_heads(
    embeddings: Mapping[str, Float[Tensor, "N _"]], weights: Mapping[str, float]
) -> Float[Tensor, "N D"]:
    """The heads of an ensemble as one vector: its squared distance is their weighted sum.

    ||x - y||^2 = sum over heads of w ||x_head - y_head||^2, of unit vectors each. UNCONFIRMED, our
    choice: the paper's abstract says only that embeddings and coefficients become one vector.

    Args:
        embeddings: raw embeddings by head.
        weights: w >= 0 of each head that counts.
    """
    parts = [unit_rows(embeddings[name]) * math.sqrt(w) for name, w in weights.items()]
    return torch.cat(parts, dim=1)
