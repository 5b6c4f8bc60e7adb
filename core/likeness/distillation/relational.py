"""What a teacher's embeddings say of each other, asked of a student: distances and angles.

Shapes: N = samples, D = dimension of the student, T = of the teacher, V = vertices of angles,
B = vertices of one block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from likeness.batch import Batch
from likeness.errors import require
from likeness.losses.base import BatchLoss, LossTerms
from likeness.pairs import project

RelationSpace = Literal["euclidean", "cosine"]
RELATION_SPACES: tuple[RelationSpace, ...] = ("euclidean", "cosine")

# Cosines that are held at once, beyond the N^2 of one vertex.
BLOCK = 2**20


def relational_distance(
    distance_NN: Float[Tensor, "N N"], teacher_NN: Float[Tensor, "N N"]
) -> Float[Tensor, " N"]:
    """RKD-D: each sample's share of the mean gap between the two tables of distances.

    Both tables are divided by the mean of their own entries > 0 (the student's with gradient); the
    gap is a smooth L1 with its corner at 1, the mean goes over all N^2 entries.
    """
    gap_NN = F.smooth_l1_loss(_scaled(distance_NN), _scaled(teacher_NN), reduction="none")
    return gap_NN.sum(1) / gap_NN.numel()


def relational_angle(
    distance_NN: Float[Tensor, "N N"],
    teacher_NN: Float[Tensor, "N N"],
    vertices_V: Int[Tensor, " V"] | None = None,
) -> Float[Tensor, " N"]:
    """RKD-A: each vertex's share of the mean gap between the two tables of angles.

    The cosine of the angle at a between the ways to b and to c follows from the three distances:

        cos(a; b, c) = (d_ab^2 + d_ac^2 - d_bc^2) / (2 d_ab d_ac)

    so no difference of two embeddings is kept. It is 0 where b or c lies on a: closer than
    sqrt(machine epsilon) times the largest distance, where rounding hides the direction. The mean
    goes over all V N^2 entries. Arithmetic is O(V N^2), memory O(N^2): cosines live in blocks of
    vertices, and are computed a second time for the gradient.

    Args:
        distance_NN: of the student, symmetric, zero diagonal.
        teacher_NN: of the teacher, of the same type; it gets no gradient.
        vertices_V: the samples at which angles are compared; None takes all.
    """
    count = len(distance_NN)
    if vertices_V is None:
        vertices_V = torch.arange(count, device=distance_NN.device)
    sums_V: Tensor = _AngleGaps.apply(distance_NN, teacher_NN.detach(), vertices_V)
    entries = max(len(vertices_V) * count**2, 1)
    return sums_V.new_zeros(count).index_add(0, vertices_V, sums_V / entries)


class RelationalDistance(BatchLoss):
    """RKD-D: distances between samples as the teacher has them (Park et al., CVPR 2019).

    The relation is free of scale and of dimension: the student's embeddings need not be as long as
    the teacher's. Official code: `metric/loss.py` of lenscloth/RKD. It differs for samples that
    coincide: there they are 1e-6 apart, here 0 and no part of the mean distance, so a student with
    one point for all is an exact, finite gap. The code's weight is 1, beside 2 for the angles.

    Args:
        space: which of the student's embeddings have the relations: `euclidean`, the raw ones, as
            the official code trains (its student is not normalised); `cosine`, unit rows, for a
            student that is searched by angle.

    Raises:
        UserError: if the space is another one.
    """

    def __init__(self, *, space: RelationSpace = "euclidean") -> None:
        super().__init__()
        require(space in RELATION_SPACES, "space", f"one of {', '.join(RELATION_SPACES)}", space)
        self.space: RelationSpace = space

    def terms(self, embeddings_ND: Float[Tensor, "N D"], batch: Batch) -> LossTerms:
        """The gap to `batch.teacher`; labels play no part.

        Raises:
            UserError: if the batch has no teacher.
        """
        student_NN, teacher_NN = _both(embeddings_ND, batch, self.space)
        return _terms(relational_distance(student_NN, teacher_NN))


class RelationalAngle(BatchLoss):
    """RKD-A: angles between triples of samples as the teacher has them (Park et al., CVPR 2019).

    Official code: `metric/loss.py` of lenscloth/RKD, which weighs it by 2 (beside 1 for distances)
    and holds N x N x D differences and N^3 cosines; here memory is O(N^2), see
    `relational_angle`, which also says where the two differ.

    Args:
        vertices: angles are compared at so many samples, >= 1, drawn anew in each step with the
            batch's generator (an unbiased estimate of the whole); None takes all. Our addition for
            large batches, since arithmetic grows with N^3.
        space: see `RelationalDistance`.

    Raises:
        UserError: if an argument is out of range.
    """

    def __init__(self, *, vertices: int | None = None, space: RelationSpace = "euclidean") -> None:
        super().__init__()
        require(vertices is None or vertices >= 1, "vertices", ">= 1 or null", vertices)
        require(space in RELATION_SPACES, "space", f"one of {', '.join(RELATION_SPACES)}", space)
        self.vertices, self.space = vertices, space

    def terms(self, embeddings_ND: Float[Tensor, "N D"], batch: Batch) -> LossTerms:
        """The gap to `batch.teacher`; labels play no part.

        Raises:
            UserError: if the batch has no teacher.
        """
        student_NN, teacher_NN = _both(embeddings_ND, batch, self.space)
        vertices_V = self._draw(len(student_NN), batch.generator, student_NN.device)
        return _terms(relational_angle(student_NN, teacher_NN, vertices_V))

    def _draw(
        self, count: int, generator: torch.Generator | None, device: torch.device
    ) -> Tensor | None:
        if self.vertices is None or self.vertices >= count:
            return None
        source = device if generator is None else generator.device
        order_N = torch.randperm(count, generator=generator, device=source)
        return order_N[: self.vertices].to(device)


def _both(embeddings_ND: Tensor, batch: Batch, space: RelationSpace) -> tuple[Tensor, Tensor]:
    """The distances of student and teacher, (N, N) each."""
    known_NT = batch.teacher
    require(known_NT is not None, "teacher", "given to losses of objective.distillation", None)
    assert known_NT is not None
    teacher_NT = known_NT.detach().to(embeddings_ND)
    return _distances(project(embeddings_ND, space)), _distances(teacher_NT)


def _distances(rows_ND: Tensor) -> Tensor:
    """Euclidean, from differences: rows that are equal are at exactly 0, where slopes are 0."""
    return torch.cdist(rows_ND, rows_ND, compute_mode="donot_use_mm_for_euclid_dist")


def _scaled(distance_NN: Tensor) -> Tensor:
    """Over the mean of the entries > 0; a table of zeros stays one."""
    total, count = distance_NN.sum(), (distance_NN > 0).sum()
    return distance_NN / torch.where(count > 0, total / count.clamp_min(1), 1.0)


def _terms(per_anchor_N: Tensor) -> LossTerms:
    """Every sample counts, from three on: the one distance of two is its own mean."""
    valid_N = torch.full_like(per_anchor_N, len(per_anchor_N) >= 3, dtype=torch.bool)
    return LossTerms(per_anchor_N.sum(), per_anchor_N, valid_N, (per_anchor_N > 0).sum())


class _AngleGaps(torch.autograd.Function):
    """At each vertex the sum of the smooth L1 gaps of N^2 cosines; slopes by hand, in blocks."""

    @staticmethod
    def forward(ctx: Any, student_NN: Tensor, teacher_NN: Tensor, vertices_V: Tensor) -> Tensor:
        ctx.save_for_backward(student_NN, teacher_NN, vertices_V)
        sums_V = student_NN.new_zeros(len(vertices_V))
        student_q, teacher_q = _inverse(student_NN), _inverse(teacher_NN)
        for part in _blocks(len(vertices_V), len(student_NN)):
            block_B = vertices_V[part]
            cosine_BNN = _cosines(student_NN, student_q, block_B)
            gap_BNN = cosine_BNN.sub_(_cosines(teacher_NN, teacher_q, block_B)).abs_()
            # Huber's function of a gap g: g^2 / 2 up to 1, then g - 1/2.
            inner_BNN = gap_BNN.clamp_max(1.0)
            sums_V[part] = (gap_BNN.sub_(inner_BNN, alpha=0.5).mul_(inner_BNN)).sum((1, 2))
        return sums_V

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> tuple[Tensor, None, None]:
        """With q = 1 / d: dcos/dd_ab = q_ac - cos q_ab, dcos/dd_bc = -d_bc q_ab q_ac."""
        student_NN, teacher_NN, vertices_V = ctx.saved_tensors
        slope_NN = torch.zeros_like(student_NN)
        opposite_NN = torch.zeros_like(student_NN)
        student_q, teacher_q = _inverse(student_NN), _inverse(teacher_NN)
        for part in _blocks(len(vertices_V), len(student_NN)):
            block_B = vertices_V[part]
            q_BN, cosine_BNN = student_q[block_B], _cosines(student_NN, student_q, block_B)
            gap_BNN = cosine_BNN - _cosines(teacher_NN, teacher_q, block_B)
            gap_BNN.clamp_(-1.0, 1.0).mul_(upstream[0][part][:, None, None])
            turned_BNN = cosine_BNN.mul_(gap_BNN)
            turned_BN = turned_BNN.sum(1) + turned_BNN.sum(2)
            to_first_BNN = gap_BNN.mul(q_BN[:, None, :])
            to_second_BN = gap_BNN.mul_(q_BN[:, :, None]).sum(1)
            own_BN = to_first_BNN.sum(2) + to_second_BN - turned_BN * q_BN
            slope_NN.index_add_(0, block_B, torch.where(q_BN > 0, own_BN, 0.0))
            opposite_NN.add_(gap_BNN.mul_(q_BN[:, None, :]).sum(0))
        return slope_NN.addcmul_(opposite_NN, student_NN, value=-1.0), None, None


def _blocks(vertices: int, count: int) -> Iterator[slice]:
    size = max(1, BLOCK // max(count, 1) ** 2)
    return (slice(start, start + size) for start in range(0, vertices, size))


def _inverse(distance_NN: Tensor) -> Tensor:
    """1 / d; 0 for samples that coincide, so their cosines and slopes are 0."""
    if not distance_NN.numel():
        return distance_NN
    least = distance_NN.amax() * torch.finfo(distance_NN.dtype).eps ** 0.5
    return torch.where(distance_NN > least, 1.0 / distance_NN, 0.0)


def _cosines(distance_NN: Tensor, inverse_NN: Tensor, block_B: Tensor) -> Tensor:
    """Of the angles at the vertices of a block, (B, N, N)."""
    d_BN, q_BN = distance_NN[block_B], inverse_NN[block_B]
    squared_BN = d_BN.square()
    whole_BNN = squared_BN[:, :, None] + squared_BN[:, None, :]
    whole_BNN.sub_(distance_NN.square()).mul_(q_BN[:, :, None] * 0.5)
    return whole_BNN.mul_(q_BN[:, None, :])
