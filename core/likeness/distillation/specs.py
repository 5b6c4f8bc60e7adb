"""Options of the losses of distillation: what `factory` makes them from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from likeness.config import Spec
from likeness.distillation.relational import RelationSpace


class RelationalDistanceSpec(Spec):
    """See `RelationalDistance`."""

    name: Literal["relational_distance"] = "relational_distance"
    space: RelationSpace = "euclidean"


class RelationalAngleSpec(Spec):
    """See `RelationalAngle`."""

    name: Literal["relational_angle"] = "relational_angle"
    vertices: int | None = Field(default=None, ge=1)
    space: RelationSpace = "euclidean"


DistillationSpec = Annotated[
    RelationalDistanceSpec | RelationalAngleSpec, Field(discriminator="name")
]
