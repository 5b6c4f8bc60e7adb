"""Multi-similarity mining: the definition in loops, the peer, and what it leaves out."""

from __future__ import annotations

import pytest
import torch
from pytorch_metric_learning import miners

from fixtures.free_points import normal
from likeness.batch import Batch
from likeness.errors import UserError
from likeness.mining import multi_similarity_pairs
from likeness.pairs import Pairs, Space
from likeness.selection import Selection, everything

Y = torch.tensor([0, 2, 0, 4, 2, 2, 0, 3, 4, 0, 2])


def mine(pairs: Pairs, epsilon: float = 0.1) -> Selection:
    return multi_similarity_pairs(pairs, Batch(pairs.labels), epsilon=epsilon)


@pytest.mark.parametrize("space", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_the_definition(space: Space, epsilon: float) -> None:
    pairs = Pairs(normal(11, 4), Y, space=space)
    found = mine(pairs, epsilon)
    s = -pairs.distance if space == "euclidean" else pairs.gram
    for i in range(11):
        positives = [j for j in range(11) if j != i and Y[j] == Y[i]]
        negatives = [j for j in range(11) if Y[j] != Y[i]]
        kept = [j for j in positives if s[i, j] < max(s[i, k] for k in negatives) + epsilon]
        near = [k for k in negatives if positives and s[i, k] > min(s[i, positives]) - epsilon]
        assert found.positive_NM[i].nonzero().flatten().tolist() == kept
        assert found.negative_NM[i].nonzero().flatten().tolist() == near
        assert bool(kept) == bool(near)


def test_the_peer_selects_the_same() -> None:
    x = normal(11, 4, seed=1)
    found = mine(Pairs(x, Y, space="cosine"))
    a1, p, a2, n = miners.MultiSimilarityMiner()(x, Y)
    has_both = found.positive_NM.any(1)
    expected = torch.zeros(2, 11, 11, dtype=torch.bool)
    expected[0, a1, p], expected[1, a2, n] = True, True
    # Of the anchor without a positive the peer keeps every negative.
    assert torch.equal(found.positive_NM, expected[0])
    assert torch.equal(found.negative_NM[has_both], expected[1][has_both])


@pytest.mark.parametrize("count", [0, 1])
def test_without_a_pair_nothing_is_kept(count: int) -> None:
    found = mine(Pairs(normal(count, 4), Y[:count], space="cosine"))
    assert not any(mask.any() for mask in found)
    one_class = mine(Pairs(normal(4, 4), torch.zeros(4, dtype=torch.int64), space="cosine"))
    assert not any(mask.any() for mask in one_class)


def test_a_nan_is_kept_so_that_the_loss_shows_it() -> None:
    x = normal(11, 4)
    x[4] = torch.nan
    found = mine(Pairs(x, Y, space="cosine"))
    assert found.positive_NM[0].any() or found.negative_NM[0].any()


def test_options_are_checked() -> None:
    with pytest.raises(UserError, match=r"epsilon must be >= 0, got -0\.1"):
        mine(Pairs(normal(4, 4), Y[:4], space="cosine"), -0.1)


# --- claim: of a batch that is mostly solved it keeps the few pairs that are not ----------------


def precision(selection: Selection, planted: torch.Tensor) -> float:
    chosen = selection.positive_NM | selection.negative_NM
    return (chosen & planted).sum().item() / chosen.sum().item()


def test_only_pairs_of_the_planted_samples_are_kept() -> None:
    """Ten classes in corners of their own; one sample lies half-way to another class."""
    y = torch.arange(10).repeat_interleave(4)
    x = 3 * torch.eye(10).double()[y] + 0.05 * normal(40, 10)
    x[0] = x[0] + 1.1 * x[5]
    pairs = Pairs(x, y, space="cosine")
    planted = torch.zeros(40, 40, dtype=torch.bool)
    in_doubt = torch.isin(y, torch.tensor([0, 1]))
    planted[in_doubt[:, None] & in_doubt[None, :]] = True
    found = mine(pairs)
    assert found.negative_NM[0, 4:8].all()
    assert found.positive_NM[0, 1:4].all()
    assert precision(found, planted) > 0.95
    assert precision(everything(pairs), planted) < 0.1
