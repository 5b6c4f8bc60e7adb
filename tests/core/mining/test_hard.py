"""Miners against loops over the definitions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fixtures.losses import oracles
from likeness.batch import Batch
from likeness.errors import UserError
from likeness.mining import batch_hard, semi_hard
from likeness.mining.hard import check_semi_hard
from likeness.pairs import Pairs
from likeness.selection import Triplets

Y = torch.tensor([0, 2, 0, 4, 2, 2, 0, 3, 4, 0, 2])


def draw(count: int = len(Y), seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, generator=generator, dtype=torch.float64)


def kept(triplets: Triplets) -> set[tuple[int, int, int]]:
    real = triplets.weight_T > 0
    assert set(triplets.weight_T.unique().tolist()) <= {0.0, 1.0}
    listed = [tuple(t) for t in torch.stack(triplets[:3], 1)[real].tolist()]
    assert len(set(listed)) == len(listed)
    return set(listed)


@pytest.mark.parametrize("space", ["euclidean", "cosine"])
@pytest.mark.parametrize("memory", [False, True])
def test_batch_hard(space: str, memory: bool) -> None:
    options = {"reference": draw(7, 5), "reference_labels": Y[:7]} if memory else {}
    pairs = Pairs(draw(), Y, space=space, **options)
    selection = batch_hard(pairs, Batch(Y))
    t = oracles.table(draw(), Y, space, **options)
    for a in t.rows:
        far = max(t.positives(a), key=lambda j: t.distance[a][j].item(), default=None)
        near = min(t.negatives(a), key=lambda j: t.distance[a][j].item(), default=None)
        assert selection.positive_NM[a].nonzero().flatten().tolist() == [far] * (far is not None)
        assert selection.negative_NM[a].nonzero().flatten().tolist() == [near] * (near is not None)
    assert selection.positive_NM.dtype == selection.negative_NM.dtype == torch.bool


def test_batch_hard_in_the_dot_space_takes_the_least_similar() -> None:
    x = torch.tensor([[1.0, 0], [3, 0], [0.5, 0], [2, 0], [9, 9]])
    y = torch.tensor([0, 0, 0, 1, 1])
    selection = batch_hard(Pairs(x, y, space="dot"), Batch(y))
    assert selection.positive_NM[0].nonzero().tolist() == [[2]]
    assert selection.negative_NM[0].nonzero().tolist() == [[4]]


def test_of_equals_the_first_is_taken() -> None:
    x = torch.tensor([[0.0, 0], [0, 1], [1, 0], [0, -1], [2, 0], [0, 2]])
    y = torch.tensor([0, 0, 0, 0, 1, 1])
    pairs = Pairs(x, y)
    selection = batch_hard(pairs, Batch(y))
    assert selection.positive_NM[0].nonzero().tolist() == [[1]]
    assert selection.negative_NM[0].nonzero().tolist() == [[4]]
    facenet = {t for t in kept(semi_hard(pairs, Batch(y))) if t[0] == 0}
    assert facenet == {(0, 1, 4), (0, 2, 4), (0, 3, 4)}
    band = semi_hard(pairs, Batch(y), rule="band", margin=1.5)
    assert {t for t in kept(band) if t[0] == 0} == facenet


@pytest.mark.parametrize("space", ["euclidean", "cosine"])
@pytest.mark.parametrize("memory", [False, True])
def test_facenet(space: str, memory: bool) -> None:
    options = {"reference": draw(7, 5), "reference_labels": Y[:7]} if memory else {}
    pairs = Pairs(draw(), Y, space=space, **options)
    t = oracles.table(draw(), Y, space, **options)
    expected = {(a, p, oracles.facenet_negative(t, a, p)) for a in t.rows for p in t.positives(a)}
    assert kept(semi_hard(pairs, Batch(Y))) == expected


@pytest.mark.parametrize("per_pair", [1, 2, 30])
@pytest.mark.parametrize("margin", [0.1, 0.5])
def test_band_takes_the_nearest_of_the_band(per_pair: int, margin: float) -> None:
    pairs = Pairs(draw(), Y, space="cosine")
    t = oracles.table(draw(), Y, "cosine")
    expected = set()
    for a in t.rows:
        for p in t.positives(a):
            inside = [
                n
                for n in t.negatives(a)
                if 0 < t.distance[a][n].item() - t.distance[a][p].item() <= margin
            ]
            inside.sort(key=lambda n: t.distance[a][n].item())
            expected |= {(a, p, n) for n in inside[:per_pair]}
    found = semi_hard(pairs, Batch(Y), rule="band", margin=margin, per_pair=per_pair)
    assert kept(found) == expected
    assert 0 < len(expected) < len(found.weight_T)


EMPTY = {
    "one class": (draw(4), torch.zeros(4, dtype=torch.int64)),
    "all distinct": (draw(4), torch.arange(4)),
    "one sample": (draw(1), torch.zeros(1, dtype=torch.int64)),
    "no sample": (draw(0), torch.zeros(0, dtype=torch.int64)),
}


@pytest.mark.parametrize("kind", EMPTY)
def test_empty_rows_select_nothing(kind: str) -> None:
    x, y = EMPTY[kind]
    pairs = Pairs(x, y)
    selection = batch_hard(pairs, Batch(y))
    assert selection.positive_NM.sum() == (4 if kind == "one class" else 0)
    assert selection.negative_NM.sum() == (4 if kind == "all distinct" else 0)
    for rule in ("facenet", "band"):
        assert kept(semi_hard(pairs, Batch(y), rule=rule)) == set()


def test_no_reference_selects_nothing() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    pairs = Pairs(draw(3), torch.arange(3), reference=draw(0), reference_labels=none)
    assert batch_hard(pairs, Batch(torch.arange(3))).positive_NM.shape == (3, 0)
    assert kept(semi_hard(pairs, Batch(torch.arange(3)))) == set()


def test_miners_are_detached_and_leave_the_pairs_alone() -> None:
    pairs = Pairs(draw().requires_grad_(), Y)
    distance = pairs.distance
    before = distance.detach().clone()
    found = [*batch_hard(pairs, Batch(Y)), *semi_hard(pairs, Batch(Y))]
    assert not any(tensor.requires_grad for tensor in found)
    assert pairs.distance is distance
    assert torch.equal(distance, before)
    assert distance.requires_grad


def test_labels_blocked_by_a_group_are_not_mined() -> None:
    pairs = Pairs(draw(), Y).excluding_group(torch.zeros(len(Y), dtype=torch.int64))
    assert batch_hard(pairs, Batch(Y)).positive_NM.sum() == 0
    assert kept(semi_hard(pairs, Batch(Y))) == set()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("facenett", 0.2, 1), "rule must be one of facenet, band, got 'facenett'"),
        (("band", 0.0, 1), "margin must be > 0, got 0.0"),
        (("band", 0.2, 0), "per_pair must be >= 1, got 0"),
        (("facenet", 0.2, 2), "per_pair must be 1 under the facenet rule, got 2"),
    ],
)
def test_options_are_checked(options: tuple, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_semi_hard(*options)
