"""CBML: where its push comes from, lone anchors, and what the variance is for."""

from __future__ import annotations

import pytest
import torch

from fixtures.free_points import move, normal, similarities
from likeness.errors import UserError
from likeness.losses import ContrastiveBayesianLoss, pair_weights
from likeness.losses.contrastive_bayesian import metric_variance, mined_variance
from likeness.pairs import Pairs

Y = torch.arange(12) % 4


def test_variance_by_hand() -> None:
    """Positives 0.8 and 0.6, negatives 0.1 and 0.5; the anchor itself counts among all."""
    s = torch.tensor([[0.8, 0.6, 0.1, 0.5]], dtype=torch.float64)
    of = (torch.tensor([[True, True, False, False]]), torch.tensor([[False, False, True, True]]))
    options = {"mix": 0.25, "itself": True}
    mu = 0.25 * 0.7 + 0.75 * 0.3
    expected = (0.1 - mu) ** 2 + (0.5 - mu) ** 2
    found = metric_variance(s, *of, about="means", reduction="sum", **options)
    assert found.item() == pytest.approx(expected)
    mu = 0.25 * (0.6 + 0.5) / 2 + 0.75 * (1 + 0.8 + 0.6 + 0.1 + 0.5) / 5
    expected = ((0.1 - mu) ** 2 + (0.5 - mu) ** 2) / 2
    found = metric_variance(s, *of, about="extremes", reduction="mean", **options)
    assert found.item() == pytest.approx(expected)


def test_variance_of_the_mined_by_hand() -> None:
    """A row of 1 (itself), 0.8, 0.6, 0.1 and 0.5, of which 0.6 and 0.5 are kept."""
    s = torch.tensor([[0.8, 0.6, 0.1, 0.5]], dtype=torch.float64)
    every, kept = torch.ones_like(s), torch.tensor([[0.0, 1.0, 0.0, 1.0]], dtype=torch.float64)
    of_all = 0.16 + 0.04 + 0.0 + 0.25 + 0.01  # about 0.6
    for reduction, spread in (("sum", of_all), ("mean", of_all / 5)):
        found = mined_variance(s, every, kept, reduction=reduction, itself=True)
        assert found.item() == pytest.approx(abs(0.6 - 0.55) + abs(spread - 0.0025))


def test_an_anchor_that_keeps_nothing_pays_for_no_variance() -> None:
    x = torch.tensor([[1.0, 0, 0], [1, 0.01, 0], [0, 1, 0], [0, 1, 0.01], [0, 0.5, 1]])
    terms = ContrastiveBayesianLoss().on_pairs(
        Pairs(x, torch.tensor([0, 0, 1, 1, 2]), space="cosine")
    )
    assert terms.n_active == 0
    assert terms.value == 0
    assert terms.valid.tolist() == [True, True, True, True, False]


def test_the_nearest_negatives_count_however_far_they_are() -> None:
    """Mining keeps two near ones and leaves the far one out; the two nearest are others."""
    angles = torch.deg2rad(torch.tensor([0.0, 60.0, 20.0, 40.0, 150.0], dtype=torch.float64))
    x, y = torch.stack([angles.cos(), angles.sin()], dim=1), torch.tensor([0, 0, 1, 2, 3])

    def negatives_of_the_first(**options: object) -> list[bool]:
        loss = ContrastiveBayesianLoss(variance_weight=0.0, **options)
        weights = pair_weights(loss, Pairs(x, y, space="cosine")).negative_NM
        return (weights[0] != 0).tolist()

    assert negatives_of_the_first() == [False, False, True, True, False]
    for count, kept in ((1, [2]), (2, [2, 3]), (3, [2, 3, 4]), (100, [2, 3, 4])):
        found = negatives_of_the_first(nearest_negatives=count)
        assert found == [column in kept for column in range(5)], count


def test_the_authors_numbers_push_negatives_by_the_variance_alone() -> None:
    pairs = Pairs(normal(12, 8), Y, space="cosine")
    alone = pair_weights(ContrastiveBayesianLoss(variance_weight=0.0), pairs).negative_NM
    whole = pair_weights(ContrastiveBayesianLoss(), pairs).negative_NM
    assert alone.abs().max() < 0.01 * whole.abs().max()


@pytest.mark.plain
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "exp"}, "form must be one of log, sqrt, const, got 'exp'"),
        ({"variance": "mean"}, "variance must be one of means, extremes, mined, got 'mean'"),
        ({"variance_reduction": "max"}, "variance_reduction must be one of sum, mean"),
        ({"positive_mean": 2.0}, r"positive_mean must be in \[-1, 1\], got 2.0"),
        ({"negative_width": 0.0}, "negative_width must be > 0 and finite, got 0.0"),
        ({"nearest_negatives": 0}, "nearest_negatives must be >= 1 or None, got 0"),
        ({"epsilon": -0.1}, "epsilon must be >= 0 and finite, got -0.1"),
        ({"variance_weight": -1.0}, "variance_weight must be >= 0, got -1.0"),
        ({"mix": 1.1}, r"mix must be in \[0, 1\], got 1.1"),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ContrastiveBayesianLoss(**options)


# --- claim: negatives end at one similarity, so that one threshold serves all classes ---------


def spread_of_negatives(variance_weight: float, seed: int) -> float:
    x, y = normal(24, 16, seed=seed, dtype=torch.float32), torch.arange(8).repeat_interleave(3)
    loss = ContrastiveBayesianLoss(variance_weight=variance_weight)
    return similarities(move(loss, x, y, steps=100, lr=0.03), y)[1].std().item()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_variance_gathers_negatives(seed: int) -> None:
    assert spread_of_negatives(1.0, seed) < 0.18


@pytest.mark.parametrize("seed", [0, 1])
def test_without_it_they_spread(seed: int) -> None:
    assert spread_of_negatives(0.0, seed) > 0.18
