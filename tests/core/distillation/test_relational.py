"""Relational distillation: definitions in loops, slopes, degenerate batches, memory, configuration.

Shapes: N = samples, D, T = dimensions of student and teacher.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from fixtures.tensor_memory import peak_bytes
from likeness.batch import Batch
from likeness.config import parse
from likeness.distillation import (
    RelationalAngle,
    RelationalDistance,
    build_distillation,
    relational,
    relational_angle,
)
from likeness.errors import UserError
from likeness.losses.base import BatchLoss
from likeness.objective import ObjectiveSpec, build_objective

N, D, T = 7, 3, 5
LOSSES = {"distance": RelationalDistance, "angle": RelationalAngle}
every_loss = pytest.mark.parametrize("loss", [LOSSES[name]() for name in LOSSES], ids=list(LOSSES))


class Outputs(NamedTuple):
    embeddings: dict[str, Tensor]
    logits: dict[str, Tensor]


def rows(seed: int, dim: int, count: int = N, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64).to(dtype)


def taught(teacher: Tensor, generator: torch.Generator | None = None) -> Batch:
    labels = torch.zeros(len(teacher), dtype=torch.long)
    return Batch(labels, teacher=teacher, generator=generator)


def value(loss: BatchLoss, student: Tensor, teacher: Tensor) -> Tensor:
    batch = taught(teacher)
    return loss(student, batch.labels, batch=batch)


# --- the definitions, number by number ------------------------------------------------------


def huber(gap: float) -> float:
    return gap * gap / 2 if abs(gap) < 1 else abs(gap) - 0.5


def distance_oracle(student: list[list[float]], teacher: list[list[float]]) -> float:
    tables = []
    for points in (student, teacher):
        table = [[math.dist(p, q) for q in points] for p in points]
        there = [d for line in table for d in line if d > 0]
        mean = sum(there) / len(there) if there else 1.0
        tables.append([[d / mean for d in line] for line in table])
    gaps = [
        huber(s - t)
        for line, other in zip(*tables, strict=True)
        for s, t in zip(line, other, strict=True)
    ]
    return sum(gaps) / len(gaps)


def direction(start: list[float], end: list[float]) -> list[float]:
    length = math.dist(start, end)
    return [(e - s) / length if length > 0 else 0.0 for s, e in zip(start, end, strict=True)]


def angle_oracle(
    student: list[list[float]], teacher: list[list[float]], vertices: list[int]
) -> float:
    total, count = 0.0, 0
    for a in vertices:
        ways = [[direction(points[a], point) for point in points] for points in (student, teacher)]
        for b in range(len(student)):
            for c in range(len(student)):
                of_student, of_teacher = (
                    sum(x * y for x, y in zip(way[b], way[c], strict=True)) for way in ways
                )
                total, count = total + huber(of_student - of_teacher), count + 1
    return total / count


def oracle(loss: BatchLoss, student: Tensor, teacher: Tensor) -> float:
    points = student.tolist(), teacher.tolist()
    if isinstance(loss, RelationalDistance):
        return distance_oracle(*points)
    return angle_oracle(*points, list(range(len(student))))


@every_loss
@pytest.mark.parametrize("stretch", [1.0, 9.0])  # wide gaps reach the straight part
def test_it_is_the_definition(loss: BatchLoss, stretch: float) -> None:
    student, teacher = rows(0, D), rows(1, T)
    student[0] *= stretch
    expected = oracle(loss, student, teacher)
    assert value(loss, student, teacher).item() == pytest.approx(expected, rel=1e-12)


@every_loss
def test_samples_that_coincide_have_no_distance_and_no_angle(loss: BatchLoss) -> None:
    student, teacher = rows(2, D), rows(3, T)
    student[1], teacher[2], teacher[4] = student[0], teacher[5], teacher[3]
    expected = oracle(loss, student, teacher)
    student.requires_grad_()
    found = value(loss, student, teacher)
    assert found.item() == pytest.approx(expected, rel=1e-12)
    found.backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_angles_at_drawn_vertices() -> None:
    student, teacher = rows(0, D), rows(1, T)
    batch = taught(teacher, torch.Generator().manual_seed(4))
    loss = RelationalAngle(vertices=3)
    terms = loss.on_embeddings(student, batch)
    drawn = torch.randperm(N, generator=torch.Generator().manual_seed(4))[:3].tolist()
    expected = angle_oracle(student.tolist(), teacher.tolist(), drawn)
    assert terms.value.item() == pytest.approx(expected, rel=1e-12)
    assert terms.per_anchor.nonzero().squeeze(1).tolist() == sorted(drawn)
    again = loss.on_embeddings(student, taught(teacher, torch.Generator().manual_seed(4)))
    assert torch.equal(again.value, terms.value)
    assert RelationalAngle(vertices=N)._draw(N, None, student.device) is None


def test_the_mean_over_all_draws_of_a_vertex_is_the_whole() -> None:
    tables = [torch.cdist(points, points) for points in (rows(0, D), rows(1, T))]
    ones = [relational_angle(*tables, torch.tensor([vertex])).sum() for vertex in range(N)]
    torch.testing.assert_close(torch.stack(ones).mean(), relational_angle(*tables).sum())


# --- invariances ----------------------------------------------------------------------------


@every_loss
def test_a_turned_moved_and_stretched_teacher_asks_for_nothing(loss: BatchLoss) -> None:
    """Whatever the dimension: only relations count."""
    student = rows(5, D).requires_grad_()
    turn, _ = torch.linalg.qr(rows(6, T, T))
    teacher = 3.0 * torch.nn.functional.pad(student.detach(), (0, T - D)) @ turn + 2.0
    found = value(loss, student, teacher)
    assert found.item() < 1e-24
    found.backward()
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-12


@every_loss
def test_the_order_of_the_batch_plays_no_part(loss: BatchLoss) -> None:
    student, teacher = rows(0, D), rows(1, T)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    batch, moved = taught(teacher), taught(teacher[order])
    plain = loss.on_embeddings(student, batch)
    other = loss.on_embeddings(student[order], moved)
    torch.testing.assert_close(other.value, plain.value)
    torch.testing.assert_close(other.per_anchor, plain.per_anchor[order])
    torch.testing.assert_close(plain.per_anchor.sum(), plain.value)


def test_the_cosine_space_is_blind_to_lengths() -> None:
    student, teacher = rows(0, D), rows(1, T)
    lengths = torch.rand(N, 1, dtype=torch.float64) + 0.5
    for name in LOSSES:
        loss = LOSSES[name](space="cosine")
        stretched = value(loss, student * lengths, teacher)
        torch.testing.assert_close(stretched, value(loss, student, teacher))
        assert value(LOSSES[name](), student * lengths, teacher) != stretched


# --- slopes ---------------------------------------------------------------------------------


@every_loss
def test_slopes(loss: BatchLoss, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relational, "BLOCK", 3 * N**2)  # blocks of 3, 3 and 1 vertices
    student, teacher = rows(0, D).requires_grad_(), rows(1, T)
    assert torch.autograd.gradcheck(lambda x: value(loss, x, teacher), student)


def test_slopes_of_a_table_that_is_not_symmetric_and_of_each_vertex() -> None:
    """What the function of distances says by itself, without the embeddings behind them."""
    student = (torch.cdist(rows(0, D), rows(0, D)) + 0.01 * rows(1, N).abs()).requires_grad_()
    teacher = torch.cdist(rows(2, T), rows(2, T))
    vertices = torch.tensor([4, 0])
    assert torch.autograd.gradcheck(
        lambda table: relational_angle(table, teacher, vertices), student
    )


@every_loss
def test_the_teacher_learns_nothing(loss: BatchLoss) -> None:
    student, teacher = rows(0, D).requires_grad_(), rows(1, T).requires_grad_()
    value(loss, student, teacher).backward()
    assert teacher.grad is None


def test_the_students_mean_distance_is_not_held() -> None:
    """As in the official code: stretching one sample moves the scale of all."""
    student, teacher = rows(0, D).requires_grad_(), rows(1, T)
    value(RelationalDistance(), student, teacher).backward()
    assert student.grad is not None
    assert (student.grad * student.detach()).sum().abs() < 1e-12  # no slope along the scale


# --- degenerate batches, precision, cost ----------------------------------------------------


@every_loss
@pytest.mark.parametrize(
    "student",
    [torch.zeros(0, D), torch.ones(1, D), torch.zeros(N, D), torch.ones(N, D), 1e-30 * rows(0, D)],
    ids=["empty", "one", "zeros", "one-point", "tiny"],
)
def test_degenerate_batches(loss: BatchLoss, student: Tensor) -> None:
    student = student.float().requires_grad_()
    found = value(loss, student, rows(1, T, len(student)))
    found.backward()
    assert found.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    if len(student) < 2:
        assert found == 0
        assert not student.grad.any()


@every_loss
def test_fewer_than_three_samples_have_no_relation(loss: BatchLoss) -> None:
    """The one distance of two samples is its own mean."""
    for count in (2, 3):
        terms = loss.on_embeddings(rows(0, D, count), taught(rows(1, T, count)))
        assert terms.valid.tolist() == [count == 3] * count
        assert (terms.value > 1e-9) == (count == 3)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_full(loss: BatchLoss, dtype: torch.dtype) -> None:
    student, teacher = rows(0, D).to(dtype).requires_grad_(), rows(1, T)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = value(loss, student, teacher)
        found.backward()
    assert found.dtype == torch.float32
    exact = value(loss, student.detach().double(), teacher)
    assert found.item() == pytest.approx(exact.item(), rel=1e-4)
    whole = student.detach().double().requires_grad_()
    value(loss, whole, teacher).backward()
    assert student.grad is not None
    assert whole.grad is not None
    torch.testing.assert_close(student.grad.double(), whole.grad, rtol=2e-2, atol=1e-4)


def test_close_samples_far_from_the_origin_keep_their_angles() -> None:
    """Differences are taken of the embeddings and not of their squared lengths."""
    student, teacher = rows(0, D), rows(1, T)
    exact = value(RelationalAngle(), student, teacher)
    moved = value(RelationalAngle(), (1e-2 * student + 30.0).float(), teacher.float())
    assert moved.item() == pytest.approx(exact.item(), rel=1e-2)


@every_loss
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_nothing_is_read_from_the_device(loss: BatchLoss, device: str) -> None:
    with FakeTensorMode():  # tensors without data: reading one raises
        student = torch.randn(N, D, device=device, requires_grad=True)
        labels = torch.zeros(N, dtype=torch.long, device=device)
        terms = loss.on_embeddings(student, Batch(labels, teacher=torch.randn(N, T, device=device)))
        assert all(tensor.device.type == device for tensor in terms)
        if device == "cpu":  # slopes of the other need its driver
            terms.value.backward()


def step(loss: BatchLoss, count: int) -> int:
    """Peak bytes of tensors that one forward and backward pass adds."""
    student = rows(0, 16, count, torch.float32).requires_grad_()
    batch = taught(rows(1, 32, count, torch.float32))
    return peak_bytes(lambda: loss(student, batch.labels, batch=batch).backward())


def test_memory_of_distances_grows_no_faster_than_the_square() -> None:
    small, large = step(RelationalDistance(), 256), step(RelationalDistance(), 1024)
    assert large <= 1.1 * 16 * small
    assert large <= 16 * 4 * 1024**2


def test_memory_of_angles_grows_no_faster_than_the_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Blocks of one vertex; a batch of 1,024 shows its memory at 12 of its vertices already."""
    monkeypatch.setattr(relational, "BLOCK", 1)
    loss = RelationalAngle(vertices=12)
    small, large = step(loss, 256), step(loss, 1024)
    assert large <= 1.1 * 16 * small
    assert large <= 20 * 4 * 1024**2  # N^3 of anything would be 1,024 matrices


def test_all_vertices_need_no_more_memory_than_a_few() -> None:
    few, all_of_them = (step(RelationalAngle(vertices=v), 256) for v in (32, None))
    assert all_of_them <= 1.1 * few


# --- in a configuration ---------------------------------------------------------------------


def test_a_configuration_adds_it_with_its_weight() -> None:
    spec = {
        "terms": [{"loss": {"name": "contrastive"}}],
        "distillation": [
            {"loss": {"name": "relational_distance"}, "weight": 1.0},
            {"loss": {"name": "relational_angle", "space": "cosine"}, "weight": 2.0},
        ],
        "classification": None,
    }
    parsed = parse(ObjectiveSpec, spec, "objective")
    objective = build_objective(parsed, num_classes=2, dims={"embedding": D})
    student, batch = rows(0, D), taught(rows(1, T))
    result = objective(Outputs({"embedding": student}, {}), batch)
    parts = {name: part.value for name, part in result.parts.items()}
    expected = parts["contrastive"] + parts["relational_distance"] + 2 * parts["relational_angle"]
    torch.testing.assert_close(result.loss, expected)
    torch.testing.assert_close(
        parts["relational_angle"],
        value(RelationalAngle(space="cosine"), student, batch.teacher),
    )


def test_options_reach_the_losses() -> None:
    chosen = parse(
        ObjectiveSpec,
        {"distillation": [{"loss": {"name": "relational_angle", "vertices": 9}}]},
        "objective",
    )
    (item,) = chosen.distillation
    loss = build_distillation(item.loss)
    assert isinstance(loss, RelationalAngle)
    assert (loss.vertices, loss.space) == (9, "euclidean")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: RelationalAngle(vertices=0), "vertices must be >= 1 or null, got 0"),
        (lambda: RelationalDistance(space="dot"), "space must be one of euclidean, cosine, got"),
        (lambda: RelationalAngle(space="dot"), "space must be one of euclidean, cosine, got"),
        (
            lambda: RelationalDistance()(rows(0, D), torch.zeros(N)),
            "teacher must be given to losses of objective.distillation, got None",
        ),
    ],
)
@pytest.mark.plain
def test_mistakes(make: object, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        make()  # type: ignore[operator]
    assert sentence in str(caught.value)
