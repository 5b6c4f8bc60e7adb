"""What methods of several updates tell the log, and how a group of networks sits a phase out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from likeness.objective import Part
from likeness.training.step import Update


def quiet_parts(values: Mapping[str, Tensor]) -> dict[str, Part]:
    """Scalars for the log that count no pairs."""
    none = {name: torch.zeros_like(value, dtype=torch.int64) for name, value in values.items()}
    return {name: Part(value.detach(), none[name]) for name, value in values.items()}


def nothing(like: Tensor) -> Tensor:
    """A zero scalar whose gradient reaches no parameter: no optimiser moves for it."""
    return torch.zeros((), dtype=like.dtype, device=like.device, requires_grad=True)


def resting(group: str, names: Sequence[str], like: Tensor) -> Update:
    """An update that moves nothing, so that the log has the same columns in every phase.

    Args:
        group: who rests.
        names: its parts in other phases.
        like: for type and device.
    """
    zero = nothing(like)
    parts = quiet_parts(dict.fromkeys(names, zero))
    return Update(zero, group, fresh_forward=True, parts=parts)
