"""Row operations against sorting in Python."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from likeness import rows
from likeness.rows import (
    as_float,
    extreme,
    facenet_negatives,
    marked,
    next_farther,
    rank_positives,
    row_any,
    row_count,
    total,
    width,
)


def draw(seed: int, count: int = 6, columns: int = 9) -> tuple[Tensor, Tensor]:
    """Coarse distances, so that there are ties, and a mask with an empty and a full row."""
    generator = torch.Generator().manual_seed(seed)
    distance = torch.randint(5, (count, columns), generator=generator) / 4
    mask = torch.rand(count, columns, generator=generator) < 0.5
    mask[0], mask[1] = False, True
    return distance, mask


@pytest.mark.parametrize("seed", range(3))
def test_rank_positives(seed: int) -> None:
    distance, mask = draw(seed)
    ranked = rank_positives(distance, mask)
    assert ranked.column_NK.shape == (6, 9)
    for a in range(6):
        real = ranked.real_NK[a]
        expected = sorted(distance[a][mask[a]].tolist())
        assert ranked.distance_NK[a][real].tolist() == expected
        assert sorted(ranked.column_NK[a][real].tolist()) == mask[a].nonzero()[:, 0].tolist()
        assert (ranked.distance_NK[a][~real] == math.inf).all()
        assert not real.tolist()[len(expected) :] or not any(real.tolist()[len(expected) :])


def test_slots_are_those_of_the_fullest_row() -> None:
    mask = torch.tensor([[True, False, True], [False, False, False]])
    assert rank_positives(torch.rand(2, 3), mask).column_NK.shape == (2, 2)
    assert rank_positives(torch.rand(2, 3), mask & False).column_NK.shape == (2, 0)
    assert rank_positives(torch.rand(0, 3), mask[:0]).column_NK.shape == (0, 3)
    assert width(torch.tensor([4, 9, 0]), 12) == 9
    assert width(torch.empty(3, dtype=torch.int64, device="meta"), 12) == 12  # not read there


def test_slots_hold_the_marked_columns() -> None:
    mask = torch.tensor([[False, True, False, True], [False] * 4, [True, False, False, False]])
    columns, real = rows.slots(mask)
    assert columns.shape == real.shape == (3, 2)
    found = [sorted(line[keep].tolist()) for line, keep in zip(columns, real, strict=True)]
    assert found == [[1, 3], [], [0]]
    assert all(part.shape == (3, 0) for part in rows.slots(torch.zeros(3, 4, dtype=torch.bool)))


def test_real_slots_survive_infinite_distances() -> None:
    distance = torch.tensor([[math.inf, 1.0]])
    ranked = rank_positives(distance, torch.ones(1, 2, dtype=torch.bool))
    assert ranked.real_NK.all()
    assert ranked.column_NK.tolist() == [[1, 0]]


@pytest.mark.parametrize("farthest", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_extreme_takes_the_first_of_equals(seed: int, farthest: bool) -> None:
    distance, mask = draw(seed)
    column, exists = extreme(distance, mask, farthest=farthest)
    assert exists.tolist() == mask.any(1).tolist()
    for a in range(1, 6):
        marks = mask[a].nonzero()[:, 0].tolist()
        values = [distance[a][j].item() for j in marks]
        best = max(values) if farthest else min(values)
        assert column[a] == marks[values.index(best)]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("few", [0, 16], ids=["sorting", "minimum"])
@pytest.mark.parametrize("seed", range(3))
def test_next_farther(seed: int, few: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "FEW", few)
    distance, mask = draw(seed)
    threshold = distance[:, :4] - 0.1 * (torch.arange(4) % 2)
    found = next_farther(distance, mask, threshold, count=count)
    assert found.column_NKE.shape == found.real_NKE.shape == (6, 4, count)
    for a in range(6):
        for k in range(4):
            marks = [j for j in range(9) if mask[a, j] and distance[a, j] > threshold[a, k]]
            marks = sorted(marks, key=lambda j: (distance[a, j].item(), j))[:count]
            real = found.real_NKE[a, k]
            assert found.column_NKE[a, k][real].tolist() == marks
            assert real.tolist() == [True] * len(marks) + [False] * (count - len(marks))


def test_no_threshold_at_all() -> None:
    distance, mask = draw(0)
    found = next_farther(distance, mask, torch.zeros(6, 0))
    assert found.column_NKE.shape == found.real_NKE.shape == (6, 0, 1)


def test_facenet_falls_back_to_the_farthest() -> None:
    distance = torch.tensor([[0.5, 0.2, 0.4, 0.4, 0.3]])
    negative = torch.tensor([[False, True, True, True, True]])
    thresholds = torch.tensor([[0.1, 0.3, 0.5]])
    column, exists = facenet_negatives(distance, thresholds, negative)
    assert column.tolist() == [[1, 2, 2]]
    assert exists.tolist() == [True]
    assert not facenet_negatives(distance, thresholds, negative & False)[1].any()


def test_nothing_here_carries_a_gradient() -> None:
    distance, mask = draw(1)
    distance.requires_grad_()
    assert not rank_positives(distance, mask).distance_NK.requires_grad


def test_weights_and_marks() -> None:
    bools, floats = torch.tensor([[True, False]]), torch.tensor([[0.5, 0.0]])
    assert marked(bools) is bools
    assert torch.equal(marked(floats), bools)
    assert as_float(bools, torch.float64).tolist() == [[1.0, 0.0]]
    assert as_float(bools, torch.float64).dtype == torch.float64
    assert as_float(floats, torch.float32) is floats
    assert as_float(bools.T, torch.float32).tolist() == [[1.0], [0.0]]
    assert row_count(bools).tolist() == [1]
    assert row_count(bools).dtype == torch.int64
    assert row_any(torch.tensor([[False, False], [False, True]])).tolist() == [False, True]
    assert total(bools) == 1
    assert total(bools).dtype == torch.int64
    assert total(floats) == 0.5
