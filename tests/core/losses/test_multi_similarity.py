"""Multi-similarity: its weights in closed form, lone anchors, and what the weighting is for."""

from __future__ import annotations

import pytest
import torch

from fixtures.free_points import move, nearest_twins, normal, twins
from likeness.batch import Batch
from likeness.errors import UserError
from likeness.losses import MultiSimilarityLoss, PairWeightingLoss, pair_weights
from likeness.mining import multi_similarity_pairs
from likeness.pairs import Pairs

Y = torch.arange(12) % 4


def test_the_weights_of_pairs_are_the_papers() -> None:
    """Eq. 11 and 12: each pair against the others of its row that were kept."""
    pairs = Pairs(normal(12, 4), Y, space="cosine")
    alpha, beta, base = 2.0, 50.0, 0.5
    found = pair_weights(MultiSimilarityLoss(), pairs)
    kept = multi_similarity_pairs(pairs, Batch(Y))
    s = pairs.cosine
    for i in range(12):
        for mask, weights, sharp in (
            (kept.positive_NM, found.positive_NM, -alpha),
            (kept.negative_NM, found.negative_NM, beta),
        ):
            columns = mask[i].nonzero().flatten().tolist()
            for j in columns:
                others = sum(torch.exp(sharp * (s[i, k] - s[i, j])) for k in columns)
                expected = 1 / (torch.exp(sharp * (base - s[i, j])) + others)
                torch.testing.assert_close(weights[i, j], expected)
            assert weights[i][~mask[i]].count_nonzero() == 0


def test_mining_inside_is_the_miner_before() -> None:
    pairs = Pairs(normal(12, 4, seed=1), Y, space="cosine")
    inside = MultiSimilarityLoss(epsilon=0.2).on_pairs(pairs)
    mined = multi_similarity_pairs(pairs, Batch(Y), epsilon=0.2)
    before = MultiSimilarityLoss(epsilon=None).on_pairs(pairs, mined)
    torch.testing.assert_close(before.value, inside.value)
    assert before.n_active == inside.n_active


def test_an_anchor_without_a_positive_costs_nothing_and_counts() -> None:
    """The authors' code takes the least of no positives there, and stops."""
    x = torch.tensor([[1.0, 0], [0.8, 0.6], [0.9, 0.1]])
    terms = MultiSimilarityLoss().on_pairs(Pairs(x, torch.tensor([0, 0, 1]), space="cosine"))
    assert terms.valid.tolist() == [True, True, False]
    assert terms.per_anchor[2] == 0
    pair = MultiSimilarityLoss().on_pairs(
        Pairs(
            x[:2],
            torch.zeros(2),
            reference=x,
            reference_labels=torch.tensor([0, 0, 1]),
            reference_ids=torch.arange(3),
            ids=torch.arange(2),
            space="cosine",
        )
    )
    torch.testing.assert_close(terms.value, pair.value * 2 / 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_equal_negatives_do_not_overflow(dtype: torch.dtype) -> None:
    """exp(50 * 0.5) is infinite in half precision."""
    x = torch.ones(4, 3, dtype=dtype, requires_grad=True)
    value = MultiSimilarityLoss()(x, torch.tensor([0, 0, 1, 1]))
    value.backward()
    assert 0.5 < value.item() < 1.5
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "alpha must be > 0 and finite, got 0.0"),
        ({"beta": -1.0}, "beta must be > 0 and finite, got -1.0"),
        ({"base": 1.5}, r"base must be in \[-1, 1\], got 1.5"),
        ({"epsilon": -0.1}, "epsilon must be >= 0 or none, got -0.1"),
        ({"space": "euclidean"}, "space of MultiSimilarityLoss must be one of cosine"),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        MultiSimilarityLoss(**options)


# --- claim: a near negative weighs more for being nearer than the others ---------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_classes_in_one_place_part(seed: int) -> None:
    x, y = twins(seed)
    assert nearest_twins(move(MultiSimilarityLoss(), x, y, steps=60, lr=0.02)) < 0.9


@pytest.mark.parametrize("seed", [0, 1])
def test_with_equal_weights_they_stay(seed: int) -> None:
    x, y = twins(seed)
    assert nearest_twins(move(PairWeightingLoss(), x, y, steps=60, lr=0.02)) > 0.9
