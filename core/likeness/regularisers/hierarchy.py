"""HIER: learned ancestors in the Poincaré ball, which draw a tree out of what is near to what.

Shapes: N = samples, H = hierarchical proxies, P = nodes (samples or proxies), D = embedding
dimension.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.batch import Batch
from likeness.errors import require
from likeness.losses.base import BatchLoss, LossTerms
from likeness.pairs import Pairs
from likeness.proxies import ProxyBank
from likeness.regularisers.ancestors import Costs, ancestor_costs, draw_relations, reciprocal
from likeness.regularisers.poincare import ball_distance, into_ball


class HierarchicalRegulariser(BatchLoss):
    """HIER: hierarchical proxies as common ancestors (Kim, Jeong, Kwak, CVPR 2023).

    Formulas and defaults are those of the authors' code (`tjddus9597/HIER-CVPR23`). Beside any
    metric loss. Raw embeddings u and the proxies become points of the Poincaré ball (see
    `poincare.into_ball`). Relatives, samples that are among each other's nearest, are drawn to a
    proxy of their own, and those that are none away from it; proxies among themselves likewise, so
    that ancestors get ancestors. Samples of one class are always nearest to each other; proxies
    know no class.

        value = mean over triplets of samples + mean over triplets of proxies, see `ancestor_costs`

    The mean divides by all triplets, those of one common ancestor too.

    Where this differs from the authors' code: an anchor is never drawn as its own stranger; the
    ball is this regulariser's own, so the metric loss reads u itself in its own space. There, the
    metric loss reads the point of the ball, whose direction is the same, and its gradient passes
    the ball's factor too (0.09 at the clipping radius). `riemannian: false` takes that factor from
    both, which weighs the two as the code does.

    Args:
        dim: D, >= 1.
        proxies: H, >= 2.
        nearest: how many count as near, the sample itself among them, in [1, H); 30 in the authors'
            code, 20 in its scripts. A batch of fewer samples takes all but one.
        draws: triplets for each anchor, >= 1.
        temperature: tau of the choice of ancestors, > 0.
        margin: delta, >= 0.
        curvature: c of the ball, > 0.
        radius: longer embeddings are shortened to it, > 0.
        riemannian: whether gradients are those of the ball's metric.
        gumbel: whether ancestors are drawn; without noise the nearest one is taken.
        proxy_lr_mult: factor on the learning rate of the proxies, > 0.

    Raises:
        UserError: if an argument is out of range.
    """

    def __init__(
        self,
        dim: int,
        *,
        proxies: int = 512,
        nearest: int = 30,
        draws: int = 50,
        temperature: float = 0.1,
        margin: float = 0.1,
        curvature: float = 0.1,
        radius: float = 2.3,
        riemannian: bool = True,
        gumbel: bool = True,
        proxy_lr_mult: float = 50.0,
    ) -> None:
        super().__init__()
        require(dim >= 1, "dim", ">= 1", dim)
        require(proxies >= 2, "proxies", ">= 2", proxies)
        require(1 <= nearest < proxies, "nearest", f"in [1, {proxies}), below proxies", nearest)
        require(draws >= 1, "draws", ">= 1", draws)
        require(0 < temperature < math.inf, "temperature", "> 0 and finite", temperature)
        require(0 <= margin < math.inf, "margin", ">= 0 and finite", margin)
        require(0 < curvature < math.inf, "curvature", "> 0 and finite", curvature)
        require(0 < radius < math.inf, "radius", "> 0 and finite", radius)
        self.nearest, self.draws = nearest, draws
        self.temperature, self.margin = temperature, margin
        self.curvature, self.radius = curvature, radius
        self.riemannian, self.gumbel = riemannian, gumbel
        start = 0.9 * radius / math.sqrt(dim)  # so long that hardly a proxy is clipped
        self.bank = ProxyBank(proxies, dim, lr_mult=proxy_lr_mult, std=start)

    def points(self, rows_ND: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """Raw embeddings (or proxies) as points of the ball, shape (N, D)."""
        options = {"curvature": self.curvature, "radius": self.radius}
        return into_ball(rows_ND, **options, riemannian=self.riemannian)

    def terms(self, embeddings_ND: Float[Tensor, "N D"], batch: Batch) -> LossTerms:
        """The costs of samples and of proxies; those of proxies are shared evenly by the samples.

        `n_active` counts triplets, of samples and of proxies, that cost something.

        Raises:
            UserError: if the embeddings have another dimension than the proxies.
        """
        dim = self.bank.dim
        require(embeddings_ND.shape[1] == dim, "dim", str(dim), embeddings_ND.shape[1])
        samples_ND = self.points(embeddings_ND)
        proxies_HD = self.points(self.bank.weight.to(embeddings_ND.dtype))
        same_NN = Pairs(samples_ND.detach(), batch.labels).positive
        to_proxies_NH = ball_distance(samples_ND, proxies_HD, curvature=self.curvature)
        between_HH = ball_distance(proxies_HD, proxies_HD, curvature=self.curvature)
        with torch.no_grad():
            between_NN = ball_distance(samples_ND, samples_ND, curvature=self.curvature)
            closeness_NN = (-between_NN).exp() + same_NN
            closeness_HH = (-between_HH).exp()
        of_samples = self._costs(closeness_NN, to_proxies_NH, batch.generator)
        of_proxies = self._costs(closeness_HH, between_HH, batch.generator)
        share_N = of_samples.per_node / of_samples.total.clamp_min(1)
        penalty = of_proxies.per_node.sum() / of_proxies.total.clamp_min(1)
        per_anchor_N = share_N + penalty / len(share_N)
        return LossTerms(
            per_anchor_N.sum(),
            per_anchor_N,
            torch.ones_like(share_N, dtype=torch.bool),
            of_samples.n_active + of_proxies.n_active,
        )

    def _costs(
        self, closeness_PP: Tensor, distance_PH: Tensor, generator: torch.Generator | None
    ) -> Costs:
        near_PP = reciprocal(closeness_PP, self.nearest)
        return ancestor_costs(
            distance_PH,
            draw_relations(near_PP, self.draws, generator),
            temperature=self.temperature,
            margin=self.margin,
            noise=generator,
            gumbel=self.gumbel,
        )
