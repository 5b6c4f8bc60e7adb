"""The pace: from which epoch samples may be left out, and how many.

Shapes: N = samples, D = embedding dimension, C = classes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from likeness.config import Spec
from likeness.errors import require
from likeness.losses.self_paced import PairCosts
from likeness.self_paced.pair_energy import loads
from likeness.self_paced.solver import solve_weights

# A class whose weights sum to less has no pair left that counts.
LEAST_SUM = 1.0
# Where samples cost nothing there is nothing to leave out.
SMALLEST_AGE = 1e-12


class SelfPacedSpec(Spec):
    """Samples are trusted by and by; see `training.self_pacing.SelfPacing`.

    Those that cost least come first. The numbers are our reconstruction. What matters most is
    `noise`. No share of samples is left out for its own sake: with some out the others cost less,
    so that without wrong labels nearly all are trusted whatever is expected.

    Attributes:
        warmup_epochs: all samples are trusted wholly so long, >= 1, and fewer than the run's: an
            untrained network knows no wrong label from a hard sample. About 10 for CUB and CARS,
            5 for Stanford Online Products.
        first_quantile: share of samples that are worth having right after that, in (0, 1]. It
            grows linearly to 1 - `noise` in the last epoch.
        noise: share of labels that are expected to be wrong, in [0, 1).
        balance: mu, how much classes are kept equally trusted, in units of the age, >= 0.
        alpha: of the costs of pairs, see `PairCosts`; usually those of the loss.
        beta: likewise.
        base: likewise.
        passes: of the solver over all samples in each epoch, >= 1.
        sample: samples drawn for a step of the solver, >= 1.
    """

    warmup_epochs: int = Field(default=5, ge=1)
    first_quantile: float = Field(default=0.6, gt=0, le=1)
    noise: float = Field(default=0.2, ge=0, lt=1)
    balance: float = Field(default=1.0, ge=0)
    alpha: float = Field(default=2.0, gt=0)
    beta: float = Field(default=40.0, gt=0)
    base: float = Field(default=0.5, ge=-1, le=1)
    passes: int = Field(default=5, ge=1)
    sample: int = Field(default=256, ge=1)

    @model_validator(mode="after")
    def _grows(self) -> SelfPacedSpec:
        last, rule = 1 - self.noise, f"<= 1 - noise, {1 - self.noise:g}"
        require(self.first_quantile <= last, "first_quantile", rule, self.first_quantile)
        return self

    @property
    def costs(self) -> PairCosts:
        """What a pair costs."""
        return PairCosts(self.alpha, self.beta, self.base)

    def quantile(self, epoch: int, epochs: int) -> float:
        """The share of samples worth having in an epoch (from 0) after the warm-up."""
        span = max(epochs - 1 - self.warmup_epochs, 1)
        share = min(max((epoch - self.warmup_epochs) / span, 0.0), 1.0)
        return self.first_quantile + share * (1 - self.noise - self.first_quantile)


@torch.no_grad()
def next_weights(
    embeddings_ND: Float[Tensor, "N D"],
    labels_N: Int[Tensor, " N"],
    weight_N: Float[Tensor, " N"],
    spec: SelfPacedSpec,
    *,
    quantile: float,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " N"]:
    """The weights of the next epoch, from where the network has brought the samples.

    The age is the given quantile of the samples' loads (`loads`), so it grows as the
    quantile does and shrinks as the network learns; the solver goes on from the weights there are.

    Args:
        embeddings_ND: raw embeddings of all training samples.
        labels_N: their classes, as observed.
        weight_N: the last epoch's weights.
        spec: the options.
        quantile: in (0, 1].
        generator: on the CPU.
    """
    load_N = loads(embeddings_ND, labels_N, weight_N, costs=spec.costs)
    age = max(float(load_N.cpu().double().quantile(quantile)), SMALLEST_AGE)
    solved_N = solve_weights(
        embeddings_ND,
        labels_N,
        weight_N,
        age=age,
        balance=spec.balance,
        costs=spec.costs,
        passes=spec.passes,
        sample=spec.sample,
        generator=generator,
    )
    return keep_pairs(solved_N, labels_N, load_N)


def keep_pairs(
    weight_N: Float[Tensor, " N"], labels_N: Int[Tensor, " N"], load_N: Float[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """A class whose weights sum to less than 1 gets its two samples of least load back.

    Otherwise its positives vanish from the loss, and it can never earn its weights again.
    """
    _, class_N, sizes_C = torch.unique(labels_N, return_inverse=True, return_counts=True)
    by_load_N = load_N.argsort(stable=True)
    order_N = by_load_N[class_N[by_load_N].argsort(stable=True)]  # by class, then by load
    first_C = sizes_C.cumsum(0) - sizes_C
    place_N = torch.arange(len(order_N), device=order_N.device)
    lightest_N = torch.empty_like(class_N, dtype=torch.bool)
    lightest_N[order_N] = place_N - first_C[class_N[order_N]] < 2
    sums_C = weight_N.new_zeros(len(sizes_C)).index_add(0, class_N, weight_N)
    return weight_N.masked_fill(lightest_N & (sums_C < LEAST_SUM)[class_N], 1.0)
