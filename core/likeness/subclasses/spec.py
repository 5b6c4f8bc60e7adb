"""The options of sub-classes, as a configuration file writes them."""

from __future__ import annotations

from pydantic import Field, model_validator

from likeness.config import Spec
from likeness.errors import require
from likeness.subclasses.mixtures import Kind


class SubclassSpec(Spec):
    """Rounds in which every class is divided anew; see `training.subclass_rounds.SubclassRounds`.

    What divides it is where its embeddings lie.

    In round 0 the sub-classes are the classes. Each later round begins with their discovery: at
    most `first` in round 1, one more in each round, and never more than `most`.

    Attributes:
        epochs_per_round: >= 1; 20 in the authors' script. The last round may be shorter.
        first: sub-classes of a class in round 1, at most; >= 2.
        most: sub-classes of a class in any round, at most; >= `first`.
        kind: what divides a class: Gaussians with diagonal covariances of their own (`diag`), with
            full ones (`full`, as in the authors' script; `diag` where a class has fewer than 5
            images for each dimension), or `kmeans`. In many dimensions BIC rarely allows `full` a
            second component: each has D^2 / 2 numbers of its own.
        min_images: a smaller class stays whole, >= 2; 100 in the authors' script.
    """

    epochs_per_round: int = Field(ge=1)
    first: int = Field(default=2, ge=2)
    most: int = Field(default=4, ge=2)
    kind: Kind = "diag"
    min_images: int = Field(default=100, ge=2)

    @model_validator(mode="after")
    def _grows(self) -> SubclassSpec:
        require(self.most >= self.first, "most", f">= first, {self.first}", self.most)
        return self

    def begins(self, epoch: int) -> bool:
        """Whether a round begins with this epoch, counted from 0."""
        return epoch % self.epochs_per_round == 0

    def components(self, epoch: int) -> int:
        """The largest number of sub-classes of a class in this epoch's round; 1 in round 0."""
        number = epoch // self.epochs_per_round
        return 1 if number == 0 else min(self.first + number - 1, self.most)
