"""Options of the syntheses of embeddings: what `factory` makes them from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from likeness.config import Spec
from likeness.synthesis.densely_anchored import check_scales
from likeness.synthesis.intra_class import check_decay
from likeness.synthesis.symmetrical import SetPairs


class _SynthesisSpec(Spec):
    """What all have.

    Attributes:
        head: the head whose embeddings are read; all terms on it that are `synthetic` see what is
            made.
    """

    head: str = "embedding"


class SymmetricalSpec(_SynthesisSpec):
    """See `SymmetricalSynthesis`."""

    name: Literal["symmetrical"] = "symmetrical"
    pairs: SetPairs = "six"
    keep_diagonal: bool = False


class IntraClassSpec(_SynthesisSpec):
    """See `IntraClassAugmentation`."""

    name: Literal["intra_class"] = "intra_class"
    copies: int = Field(default=3, ge=1)
    strength: float = Field(default=0.8, ge=0)
    momentum: float = Field(default=0.2, ge=0, le=1)
    start_epoch: int = Field(default=30, ge=0)
    every: int = Field(default=2, ge=1)
    decay_epochs: tuple[int, ...] = (40, 60, 80)
    correct_above: int = Field(default=1000, ge=0)
    neighbours: int = Field(default=25, ge=1)
    global_share: float = Field(default=0.1, ge=0, le=1)
    distrust: float = Field(default=0.1, gt=0)
    trusted_from: int = Field(default=40, ge=1)

    @model_validator(mode="after")
    def _decay_ascends(self) -> IntraClassSpec:
        check_decay(self.decay_epochs)
        return self


class DenselyAnchoredSpec(_SynthesisSpec):
    """See `DenselyAnchoredSampling`; its space is that of the terms on the head."""

    name: Literal["densely_anchored"] = "densely_anchored"
    copies: int = Field(default=3, ge=1)
    channels: int = Field(default=4, ge=1)
    scale_low: float = Field(default=0.99, gt=0)
    scale_high: float = Field(default=1.01, gt=0)
    beta: float = Field(default=0.01, ge=0)
    bank: int = Field(default=10, ge=1)
    detach: bool = True

    @model_validator(mode="after")
    def _scales_ascend(self) -> DenselyAnchoredSpec:
        check_scales(self.scale_low, self.scale_high)
        return self


SynthesisSpec = Annotated[
    SymmetricalSpec | IntraClassSpec | DenselyAnchoredSpec, Field(discriminator="name")
]
