"""Options of the regularisers: what `factory` makes them from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from likeness.config import Spec
from likeness.errors import require


class EmbeddingNormSpec(Spec):
    """See `EmbeddingNorm`."""

    name: Literal["embedding_norm"] = "embedding_norm"


class HierarchicalSpec(Spec):
    """See `HierarchicalRegulariser`."""

    name: Literal["hier"] = "hier"
    proxies: int = Field(default=512, ge=2)
    nearest: int = Field(default=30, ge=1)
    draws: int = Field(default=50, ge=1)
    temperature: float = Field(default=0.1, gt=0)
    margin: float = Field(default=0.1, ge=0)
    curvature: float = Field(default=0.1, gt=0)
    radius: float = Field(default=2.3, gt=0)
    riemannian: bool = True
    gumbel: bool = True
    proxy_lr_mult: float = Field(default=50.0, gt=0)

    @model_validator(mode="after")
    def _somebody_is_far(self) -> HierarchicalSpec:
        rule = f"< proxies, {self.proxies}"
        require(self.nearest < self.proxies, "nearest", rule, self.nearest)
        return self


RegulariserSpec = Annotated[EmbeddingNormSpec | HierarchicalSpec, Field(discriminator="name")]
