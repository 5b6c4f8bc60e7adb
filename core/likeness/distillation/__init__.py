"""Losses that ask of a student what a teacher's embeddings say."""

from likeness.distillation.factory import build_distillation
from likeness.distillation.relational import (
    RelationalAngle,
    RelationalDistance,
    relational_angle,
    relational_distance,
)
from likeness.distillation.specs import DistillationSpec

__all__ = [
    "DistillationSpec",
    "RelationalAngle",
    "RelationalDistance",
    "build_distillation",
    "relational_angle",
    "relational_distance",
]
