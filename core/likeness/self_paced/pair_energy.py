"""The energy that samples' weights minimise, and what each sample adds to it.

    E(theta, v) = sum_i v_i (1/|P_i| sum over P_i of v_j l+_ij + 1/|N_i| sum over N_i of v_j l-_ij)
                  - age sum_i v_i + balance age n/2 sum_c n_c/n (mean_c v - mean v)^2

over v in [0, 1]^n, with P_i and N_i the other samples of the (perhaps wrong) class of i and those
of other classes, n_c the size of class c, and l the costs of pairs by their cosine. The paper
confirms weights for samples that enter in pairs, a regulariser that counters unequal mean weights
of classes, and that the problem in v is a nonconvex quadratic; this form of it is our
reconstruction.

Shapes: N = samples, D = embedding dimension, C = classes, B = rows of a block.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from likeness.errors import require
from likeness.losses.self_paced import COSTS, PairCosts, pair_costs
from likeness.pairs import unit_rows
from likeness.rows import raised

BLOCK = 256  # rows at once: what fits a cache is several times as fast


def energy(
    embeddings_ND: Float[Tensor, "N D"],
    labels_N: Int[Tensor, " N"],
    weight_N: Float[Tensor, " N"],
    *,
    age: float,
    balance: float,
    costs: PairCosts = COSTS,
) -> Float[Tensor, ""]:
    """E of all samples at the weights; differentiable, and exact.

    Args:
        embeddings_ND: raw embeddings; they are compared by cosine.
        labels_N: classes as observed, any integers.
        weight_N: v, in [0, 1].
        age: lambda of the paper's age of learning, >= 0: samples that cost less are worth having.
        balance: mu in units of `age`, >= 0.
        costs: of pairs.
    """
    load_N = loads(embeddings_ND, labels_N, weight_N, costs=costs)
    gap_N = class_means(labels_N, weight_N) - weight_N.mean()
    spread = gap_N.square().sum() / 2  # a class counts as often as it has samples
    return (weight_N * load_N).sum() / 2 + age * (balance * spread - weight_N.sum())


def loads(
    embeddings_ND: Float[Tensor, "N D"],
    labels_N: Int[Tensor, " N"],
    weight_N: Float[Tensor, " N"],
    *,
    costs: PairCosts = COSTS,
) -> Float[Tensor, " N"]:
    """G_i = sum_j Q_ij v_j: what the pairs of each sample cost, were it trusted wholly; >= 0.

    Q_ij = a_ij + a_ji from the coefficients of E, 0 on the diagonal. Positives are taken class by
    class, negatives in blocks of rows: Q itself is N x N and never formed. O(N^2 D) time.
    """
    rows_ND, class_N, sizes_C = prepared(embeddings_ND, labels_N)
    trust_N = weight_N.to(rows_ND.dtype)
    if not len(class_N):
        return trust_N
    others_N = (len(class_N) - sizes_C[class_N]).clamp_min(1)  # samples of other classes
    trust_N2 = torch.stack([trust_N, trust_N / others_N], dim=1)
    with torch.autocast(rows_ND.device.type, enabled=False):
        near_N = _near(rows_ND, trust_N, class_N, sizes_C, costs)
        blocks = (slice(start, start + BLOCK) for start in range(0, len(class_N), BLOCK))
        far = [_far(rows_ND, trust_N2, class_N, block, costs) for block in blocks]
    far_N2 = torch.cat(far)
    return near_N + far_N2[:, 0] / others_N + far_N2[:, 1]


def _near(
    rows_ND: Tensor, trust_N: Tensor, class_N: Tensor, sizes_C: Tensor, costs: PairCosts
) -> Float[Tensor, " N"]:
    """2 / |P_i| sum of v l+ over the positives of each sample."""
    order_N = class_N.argsort(stable=True)
    parts = []
    for members in order_N.split(sizes_C.tolist()):
        cosine_PP = rows_ND[members] @ rows_ND[members].T
        cost_PP = pair_costs(cosine_PP, torch.ones_like(cosine_PP, dtype=torch.bool), costs)
        own_PP = torch.eye(len(members), dtype=torch.bool, device=members.device)
        total_P = cost_PP.masked_fill(own_PP, 0.0) @ trust_N[members]
        parts.append(2 * total_P / max(len(members) - 1, 1))
    return torch.cat(parts)[order_N.argsort()]


def _far(
    rows_ND: Tensor, trust_N2: Tensor, class_N: Tensor, block: slice, costs: PairCosts
) -> Float[Tensor, "B 2"]:
    """Sums of the weighted l- over the negatives of a block of rows, for two weightings."""
    cosine_BN = rows_ND[block] @ rows_ND.T
    same_BN = class_N[block, None] == class_N[None, :]
    cost_BN = F.softplus(cosine_BN - costs.base, beta=costs.beta)  # l-, cheaper than `pair_costs`
    sums_B2: Tensor = cost_BN.masked_fill(same_BN, 0.0) @ trust_N2
    return sums_B2


def pair_shares(
    class_B1: Int[Tensor, "B 1"], class_1M: Int[Tensor, "1 M"], sizes_C: Int[Tensor, " C"]
) -> Float[Tensor, "B M"]:
    """What a pair's cost counts in Q: 2 / |P| inside a class, 1/|N_i| + 1/|N_j| between two."""
    inverse_C = 1 / (sizes_C.sum() - sizes_C).clamp_min(1)
    between_BM = inverse_C[class_B1] + inverse_C[class_1M]
    within_B1 = 2 / (sizes_C[class_B1] - 1).clamp_min(1)
    return torch.where(class_B1 == class_1M, within_B1, between_BM)


def class_means(labels_N: Int[Tensor, " N"], weight_N: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """The mean weight of each sample's class, shape (N,)."""
    _, class_N, sizes_C = torch.unique(labels_N, return_inverse=True, return_counts=True)
    sums_C = weight_N.new_zeros(len(sizes_C)).index_add(0, class_N, weight_N)
    means_C: Tensor = sums_C / sizes_C
    return means_C[class_N]


def prepared(
    embeddings_ND: Float[Tensor, "N D"], labels_N: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Unit rows in full precision, classes from 0 and their sizes."""
    require(labels_N.ndim == 1, "labels", "of shape (N,) for self_paced", tuple(labels_N.shape))
    _, class_N, sizes_C = torch.unique(labels_N, return_inverse=True, return_counts=True)
    return unit_rows(raised(embeddings_ND)), class_N, sizes_C
