"""SupCon: who is compared with whom, and what labels add to views."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fixtures.planted_rows import clouds, drawn, generator_of, train
from likeness.batch import Batch
from likeness.errors import UserError
from likeness.losses import NTXentLoss, SupConLoss
from likeness.mining import SemiHardMinerSpec, check_combination
from likeness.pairs import Pairs
from likeness.selection import Triplets

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.tensor([0, 0, 0, 1, 1, 2])


def test_with_one_positive_for_each_anchor_it_is_nt_xent() -> None:
    """Where every anchor has one positive the two denominators are the same."""
    y = torch.tensor([0, 0, 1, 1, 2, 2])
    value = SupConLoss(temperature=0.3)(X, y)
    torch.testing.assert_close(value, NTXentLoss(temperature=0.3)(X, y))
    assert SupConLoss(temperature=0.3)(X, Y) != NTXentLoss(temperature=0.3)(X, Y)


def test_equal_rows_of_one_class_cost_the_logarithm_of_the_others() -> None:
    value = SupConLoss()(torch.ones(5, 3), torch.zeros(5, dtype=torch.int64))
    assert value.item() == pytest.approx(math.log(4), rel=1e-6)


@pytest.mark.parametrize("kind", [SupConLoss, NTXentLoss])
def test_views_of_one_picture_are_pairs_only_where_asked(kind: type) -> None:
    ids = torch.tensor([4, 4, 7, 8, 8, 9])
    batch = Batch(Y, ids=ids)
    torch.testing.assert_close(kind()(X, Y, batch=batch), kind()(X, Y))
    apart = kind(views=False)(X, Y, batch=batch)
    assert apart > 0
    assert apart != kind()(X, Y)
    assert kind(views=False)(X[:2], Y[:2], batch=Batch(Y[:2], ids=ids[:2])) == 0


@pytest.mark.parametrize("kind", [SupConLoss, NTXentLoss])
def test_triplets_are_refused_by_name(kind: type) -> None:
    with pytest.raises(UserError, match=f"miners of {kind.__name__} must be such that give dense"):
        check_combination(kind(), [SemiHardMinerSpec()])
    places = torch.tensor([0])
    with pytest.raises(UserError, match=f"selection of {kind.__name__} must be a weight for every"):
        kind().on_pairs(
            Pairs(X, Y, space="cosine"), Triplets(places, places + 1, places + 3, torch.ones(1))
        )


@pytest.mark.parametrize("kind", [SupConLoss, NTXentLoss])
@pytest.mark.parametrize("wrong", [0.0, math.inf, math.nan])
def test_the_temperature_is_checked(kind: type, wrong: float) -> None:
    with pytest.raises(UserError, match="temperature must be > 0 and finite"):
        kind(temperature=wrong)


# --- claim ----------------------------------------------------------------------------------


def across_modes(seed: int, *, by_class: bool) -> float:
    """Classes look three ways; how often is the nearest image of another look of one's class?

    The same loss learns either from the classes, or from what alone a view can tell: the look.
    """
    classes, looks = 5, 3
    means = torch.randn(classes * looks, 20, generator=generator_of(seed))
    x, look = clouds(means, 8, noise=0.2, seed=seed + 1)
    y = look % classes
    batches = drawn(x, y if by_class else look, len(x), 5)
    embed = train(SupConLoss(), batches, sizes=(20, 5), steps=150, lr=0.01, seed=seed)
    return nearest_elsewhere(embed(x), y, look)


def nearest_elsewhere(embeddings: Tensor, y: Tensor, look: Tensor) -> float:
    rows = F.normalize(embeddings)
    similar = (rows @ rows.T).masked_fill(look[:, None] == look[None, :], -2.0)
    return (y[similar.argmax(1)] == y).float().mean().item()


@pytest.mark.parametrize("seed", [0, 1])
def test_labels_bring_the_looks_of_a_class_together(seed: int) -> None:
    assert across_modes(seed, by_class=True) > 0.9


@pytest.mark.parametrize("seed", [0, 1])
def test_without_labels_they_stay_apart(seed: int) -> None:
    assert across_modes(seed, by_class=False) < 0.5
