"""Running means of a run's losses, kept on the device and saved with the method.

A batch in which there was nothing to measure says nothing: its value does not count.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from likeness.losses.base import SMALLEST_TOTAL


class WindowMean(nn.Module):
    """The mean over the last complete window of values; `start` before there is one.

    Attributes:
        value: the mean, a scalar buffer.

    Args:
        window: values in a window, >= 1.
        start: what `value` is at first.
    """

    value: Tensor
    total: Tensor
    count: Tensor

    def __init__(self, window: int, *, start: float) -> None:
        super().__init__()
        self.window = window
        self.register_buffer("value", torch.tensor(float(start)))
        self.register_buffer("total", torch.tensor(0.0))
        self.register_buffer("count", torch.tensor(0))

    @torch.no_grad()
    def update(self, found: Float[Tensor, ""], *, counts: Bool[Tensor, ""]) -> None:
        """One value more, where it counts; no host read."""
        total, count = self.total + torch.where(counts, found, 0.0), self.count + counts
        full = count == self.window
        self.value.copy_(torch.where(full, total / self.window, self.value))
        self.total.copy_(torch.where(full, 0.0, total))
        self.count.copy_(torch.where(full, 0, count))


class FadingMean(nn.Module):
    """An exponentially fading mean that starts at its first value; infinite before there is one.

    Attributes:
        value: the mean, a scalar buffer.

    Args:
        momentum: what is kept of the mean at each value, in [0, 1).
    """

    value: Tensor

    def __init__(self, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("value", torch.tensor(torch.inf))

    @torch.no_grad()
    def update(self, found: Float[Tensor, ""], *, counts: Bool[Tensor, ""]) -> None:
        """One value more, where it counts; no host read."""
        moved = self.momentum * self.value + (1 - self.momentum) * found
        moved = torch.where(self.value.isinf(), found, moved)
        self.value.copy_(torch.where(counts, moved, self.value))


class RealShare(nn.Module):
    """exp(-beta / J_gen): how much real tuples count beside made ones, J_gen a fading mean.

    Attributes:
        beta: a scalar buffer.

    Args:
        beta: > 0; None: ln 2 times the J_gen at which it is fixed, so that both count alike there.
    """

    beta: Tensor

    def __init__(self, beta: float | None) -> None:
        super().__init__()
        self.mean = FadingMean()
        self._follows = beta is None
        self.register_buffer("beta", torch.tensor(math.inf if beta is None else beta))

    @property
    def value(self) -> Float[Tensor, ""]:
        """The share, in [0, 1]; 1 before the first value that counts."""
        share = torch.exp(-self.beta / self.mean.value.clamp_min(SMALLEST_TOTAL))  # never 0 / 0
        return torch.where(self.mean.value.isinf(), 1.0, share)

    @torch.no_grad()
    def update(self, found: Float[Tensor, ""], *, fixed: bool, counts: Bool[Tensor, ""]) -> None:
        """One value of J_gen more; a beta that was not given stays from the first `fixed` on."""
        self.mean.update(found, counts=counts)
        if self._follows:
            half = math.log(2) * self.mean.value  # infinite as long as nothing counted
            stays = self.beta.isfinite() if fixed else torch.zeros_like(self.beta).bool()
            self.beta.copy_(torch.where(stays, self.beta, half))
