"""Training as projections onto one feasible set after another, each near the last point.

Shapes: T = parameters of the embedder, as one vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from likeness.batch import Batch
from likeness.errors import require
from likeness.models import Outputs
from likeness.objective import Objective, Part
from likeness.training.step import Method, Update


class AlternatingProjections(Method):
    """The objective plus weight/2 ||theta - theta_prev||^2, in rounds.

    "Deep Metric Learning with Alternating Projections onto Feasible Sets" (Can, Gurbuz, Alatan,
    ICIP 2021): each round's representatives (`sampler: representatives`) define a set of weights
    for which the data keep their distances to them. A point in all of these sets is looked for by
    projecting onto one after another, and a projection is "minimise the usual loss, and stay near
    where the last one ended". The abstract confirms this; the paper itself was not readable.
    UNCONFIRMED are the size of the weight, 0 in the first round and 2e-4 after it, which is that of
    the same group's later code (ccp-dml, arXiv 2209.09060), and the length of a round, our choice.
    theta_k is where round k ends, not its best epoch as in that code.

    theta are the parameters of the embedder: running statistics of batch norms are none, and what
    losses keep (proxies) moves freely. theta_prev is saved with the run.

    The term is part of the loss, so the optimiser sees its slope. Plain gradient descent then goes
    lr x weight of the way back in each step, but AdamW scales the slope to its own step. With
    `decoupled` theta instead goes back by `weight` of the way after each step, whatever the
    optimiser.

    A round begins with the step whose `epoch` is a whole multiple of `epochs_per_round`.

    Args:
        embedder: images -> `Outputs`.
        objective: the usual loss; with the miner `with_representative` on the pairs that the
            feasible set bounds only.
        weight: > 0; lambda of the proximal term, or with `decoupled` a share of the way, < 1.
        epochs_per_round: >= 1.
        decoupled: see above.

    Raises:
        UserError: if an argument is out of range.
    """

    previous_T: Tensor

    def __init__(
        self,
        embedder: nn.Module,
        objective: Objective,
        *,
        weight: float = 2e-4,
        epochs_per_round: int = 1,
        decoupled: bool = False,
    ) -> None:
        super().__init__(embedder, objective)
        require(0 < weight < math.inf, "weight", "> 0 and finite", weight)
        require(not decoupled or weight < 1, "weight", "< 1 where it is decoupled", weight)
        require(epochs_per_round >= 1, "epochs_per_round", ">= 1", epochs_per_round)
        self.weight, self.epochs_per_round = weight, epochs_per_round
        self.decoupled = decoupled
        self._first_round = True
        self.register_buffer("previous_T", parameter_vector(embedder).detach().clone())

    def updates(
        self, forward: Callable[[], Outputs], batch: Batch, epoch: float
    ) -> Iterator[Update]:
        """The objective, and after the first round the proximal term."""
        if epoch % self.epochs_per_round == 0:
            self._begin_round()
        self._first_round = epoch < self.epochs_per_round
        loss, parts = self.objective(forward(), batch, epoch=epoch)
        squared = loss.new_zeros(())  # in the first round, so that its log has the same columns
        if not self._first_round:
            squared = proximal(self.embedder, self.previous_T)
            if not self.decoupled:
                loss = loss + self.weight * squared
        nothing = torch.zeros((), dtype=torch.int64, device=squared.device)
        yield Update(loss, parts={**parts, "proximal": Part(squared.detach(), nothing)})

    def after_step(self, outputs: Outputs, batch: Batch) -> None:
        """Where it is decoupled, go back by a share of the way."""
        if self.decoupled and not self._first_round:
            self._go_back()
        super().after_step(outputs, batch)

    @torch.no_grad()
    def _begin_round(self) -> None:
        self.previous_T.copy_(parameter_vector(self.embedder))

    @torch.no_grad()
    def _go_back(self) -> None:
        own = list(self.embedder.parameters())
        for now, before in zip(own, _like(own, self.previous_T), strict=True):
            now.lerp_(before, self.weight)


def proximal(embedder: nn.Module, previous_T: Float[Tensor, " T"]) -> Float[Tensor, ""]:
    """Half the squared distance between the embedder's parameters and an earlier point."""
    own = list(embedder.parameters())
    parts = [
        (now.to(before.dtype) - before).square().sum()
        for now, before in zip(own, _like(own, previous_T), strict=True)
    ]
    return torch.stack(parts).sum() / 2


def parameter_vector(embedder: nn.Module) -> Float[Tensor, " T"]:
    """All parameters in one vector, in the order of `parameters()`."""
    return torch.cat([item.reshape(-1) for item in embedder.parameters()])


def _like(parameters: list[nn.Parameter], vector_T: Tensor) -> list[Tensor]:
    """A vector in pieces of the parameters' shapes."""
    pieces = vector_T.split([item.numel() for item in parameters])
    return [piece.view_as(item) for piece, item in zip(pieces, parameters, strict=True)]
