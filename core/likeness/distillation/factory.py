"""From typed options to losses of distillation."""

from __future__ import annotations

from likeness.distillation.relational import RelationalAngle, RelationalDistance
from likeness.distillation.specs import (
    DistillationSpec,
    RelationalAngleSpec,
    RelationalDistanceSpec,
)
from likeness.losses.base import BatchLoss


def build_distillation(spec: DistillationSpec) -> BatchLoss:
    """The loss of distillation that a configuration names."""
    match spec:
        case RelationalDistanceSpec():
            return RelationalDistance(space=spec.space)
        case RelationalAngleSpec():
            return RelationalAngle(vertices=spec.vertices, space=spec.space)
