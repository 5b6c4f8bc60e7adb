"""Distance-weighted sampling: the density, high dimensions, fallbacks, and what it is for."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from fixtures.free_points import normal
from fixtures.tensor_memory import peak_bytes
from likeness.batch import Batch
from likeness.errors import UserError
from likeness.mining import distance_weighted
from likeness.mining.distance_weighted import chances, log_inverse_density
from likeness.pairs import Pairs
from likeness.selection import Triplets


def mine(x: Tensor, y: Tensor, *, seed: int = 0, **options: float) -> Triplets:
    batch = Batch(y, generator=torch.Generator().manual_seed(seed))
    return distance_weighted(Pairs(x, y, space="cosine"), batch, **options)


@pytest.mark.parametrize("dim", [3, 8])
def test_the_weights_undo_the_density(dim: int) -> None:
    """Random points of the sphere, weighted: every distance is then as likely."""
    pairs = Pairs(normal(1500, dim), torch.zeros(1500, dtype=torch.int64), space="cosine")
    d = pairs.distance[pairs.positive]
    edges = torch.linspace(0.6, 1.6, 6, dtype=torch.float64)
    inside = (d > 0.6) & (d < 1.6)
    place = torch.bucketize(d[inside], edges)
    weight = log_inverse_density(d[inside][None], dim)[0].exp()
    mass = torch.zeros(7, dtype=torch.float64).index_add(0, place, weight)[1:6]
    torch.testing.assert_close(mass / mass.mean(), torch.ones(5).double(), rtol=0.06, atol=0)


def test_draws_follow_the_chances() -> None:
    """One anchor with many positives draws as often as its softmax says."""
    x, y = normal(2006, 4, seed=3), torch.cat([torch.zeros(2000), torch.arange(1, 7)]).long()
    x[:2000] = x[0]
    pairs = Pairs(x, y, space="cosine")
    drawn = mine(x, y, farthest=2.0)
    of_first = drawn.negative_T[drawn.anchor_T == 0]
    d = pairs.distance[0, 2000:].clamp(0.5, 2.0)
    expected = (-2 * d.log() - 0.5 * (1 - d.square() / 4).log()).softmax(0)
    share = torch.bincount(of_first - 2000, minlength=6) / len(of_first)
    torch.testing.assert_close(share.double(), expected, rtol=0, atol=0.04)


def test_one_close_pair_does_not_silence_the_other_anchors_at_512() -> None:
    """Where the maximum of the whole matrix is subtracted, 5 of 128 anchors are left."""
    x, y = normal(128, 512, dtype=torch.float32), torch.arange(128) // 4
    x[4] = x[0] + 1e-3 * x[1]
    drawn = mine(x, y)
    assert (drawn.weight_T == 1).all()
    assert drawn.anchor_T.unique().tolist() == list(range(128))
    assert (y[drawn.anchor_T] == y[drawn.positive_T]).all()
    assert (y[drawn.anchor_T] != y[drawn.negative_T]).all()
    near = drawn.anchor_T == 0
    assert (drawn.negative_T[near] == 4).all()  # exp(-300) is left for the others


def test_beyond_the_cutoff_negatives_are_equally_likely_and_positives_never() -> None:
    y = torch.tensor([0] * 600 + [1, 1, 2])
    x = torch.tensor([[1.0, 0, 0]] * 600 + [[-1, 0, 0.1], [-1, 0.1, 0], [-1, -0.1, 0]])
    drawn = mine(x, y)
    share = torch.bincount(drawn.negative_T[drawn.anchor_T < 600] - 600, minlength=3)
    torch.testing.assert_close(share / share.sum(), torch.ones(3) / 3, rtol=0, atol=0.01)


def test_chances_by_hand() -> None:
    log = torch.tensor([[0.0, 1.0, 2.0, 5.0], [0.0, 1.0, 2.0, 5.0], [0.0, 1.0, 2.0, 5.0]])
    near = torch.tensor([[True, True, True, False], [False] * 4, [True] * 4])
    negative = torch.tensor([[True, False, True, True], [True, False, True, True], [False] * 4])
    e = torch.tensor([0.0, 2.0]).softmax(0)
    expected = torch.tensor([[e[0], 0, e[1], 0], [1 / 3, 0, 1 / 3, 1 / 3], [0.0, 0, 0, 0]])
    torch.testing.assert_close(chances(log, near, negative), expected)


EMPTY = {
    "one class": (normal(4, 3), torch.zeros(4, dtype=torch.int64)),
    "all distinct": (normal(4, 3), torch.arange(4)),
    "one sample": (normal(1, 3), torch.zeros(1, dtype=torch.int64)),
    "no sample": (normal(0, 3), torch.zeros(0, dtype=torch.int64)),
    "zero vectors": (torch.zeros(4, 3), torch.tensor([0, 0, 1, 1])),
    "opposite": (torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]]), torch.tensor([0, 0, 1, 1])),
}


@pytest.mark.parametrize("kind", EMPTY)
def test_degenerate_batches(kind: str) -> None:
    drawn = mine(*EMPTY[kind])
    assert torch.isfinite(drawn.weight_T).all()
    expected = 4 if kind in ("zero vectors", "opposite") else 0
    assert drawn.weight_T.sum() == expected


def test_the_same_generator_draws_the_same() -> None:
    x, y = normal(40, 8), torch.arange(40) % 8
    first, again, other = (mine(x, y, seed=s).negative_T for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_memory_is_of_the_matrix() -> None:
    """The peer's takes 1 GB at 1,024."""
    x, y = normal(1024, 16, dtype=torch.float32), torch.arange(1024) // 4
    assert peak_bytes(lambda: mine(x, y)) < 16 * 4 * 1024**2


def test_nothing_is_read_from_the_device() -> None:
    with FakeTensorMode():
        y = torch.empty(12, dtype=torch.int64, device="cuda:0")
        x = torch.empty(12, 4, device="cuda:0")
        drawn = distance_weighted(Pairs(x, y, space="cosine"), Batch(y))
        assert all(tensor.device.type == "cuda" for tensor in drawn)


def test_options_are_checked() -> None:
    x, y = normal(4, 3), torch.tensor([0, 0, 1, 1])
    with pytest.raises(UserError, match=r"nearest must be in \(0, 2\), got 0.0"):
        mine(x, y, nearest=0.0)
    with pytest.raises(UserError, match=r"farthest must be in \(0.5, 2\], got 0.4"):
        mine(x, y, farthest=0.4)
    with pytest.raises(UserError, match=r"space must be 'cosine' where .*, got 'euclidean'"):
        distance_weighted(Pairs(x, y), Batch(y))
    with pytest.raises(UserError, match="dimension must be >= 2 for distance_weighted, got 1"):
        mine(x[:, :1], y)


# --- claim: near negatives are seen although nearly all are far --------------------------------


def mean_distance(monkeypatch: pytest.MonkeyPatch | None) -> float:
    if monkeypatch is not None:  # every negative as likely
        module = importlib.import_module("likeness.mining.distance_weighted")
        monkeypatch.setattr(module, "log_inverse_density", lambda d_NM, dim: torch.zeros_like(d_NM))
    x, y = normal(256, 64), torch.arange(256) // 4
    drawn = mine(x, y)
    distance = Pairs(x, y, space="cosine").distance
    return distance[drawn.anchor_T, drawn.negative_T].mean().item()


def test_near_negatives_are_drawn() -> None:
    assert mean_distance(None) < 1.28


def test_uniform_draws_are_nearly_all_far(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mean_distance(monkeypatch) > 1.28
