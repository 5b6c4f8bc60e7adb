"""General pair weighting: weights read off a loss give that loss's gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fixtures.free_points import move, nearest_twins, normal, twins
from fixtures.losses.cases import PAIR_CASES, Case
from likeness.batch import Batch
from likeness.errors import UserError
from likeness.losses import MultiSimilarityLoss, PairWeightingLoss, TripletLoss, pair_weights
from likeness.mining import general_pair_weighting
from likeness.pairs import Pairs
from likeness.selection import Selection

Y = torch.tensor([0, 2, 0, 4, 2, 2, 0, 3, 4, 0, 2])
# What a loss of pairs in the cosine space reads is all in the inner products.
# (The angular loss reads three samples at once.)
COSINE = [
    case for case in PAIR_CASES if case.build().space == "cosine" and "angular" not in case.name
]


def slope(value: Tensor, leaf: Tensor) -> Tensor:
    return torch.autograd.grad(value, leaf, retain_graph=True)[0]


@pytest.mark.parametrize("case", COSINE, ids=lambda case: case.name)
def test_the_linear_loss_of_the_weights_has_the_losss_gradient(case: Case) -> None:
    loss, leaf = case.build(), normal(11, 4).requires_grad_()
    pairs = Pairs(leaf, Y, space="cosine")
    expected = slope(loss.on_pairs(pairs).value, leaf)
    weights = pair_weights(loss, pairs)
    assert not any(w.requires_grad for w in weights)
    # As they are: weights below 0 are not for selections, but the loss is linear in them.
    found = slope(PairWeightingLoss().on_pairs(pairs, Selection(*weights)).value, leaf)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)


def test_a_selection_and_other_references() -> None:
    loss, x, memory = MultiSimilarityLoss(), normal(5, 4), normal(7, 4, seed=1)
    leaf = x.requires_grad_()
    pairs = Pairs(leaf, Y[:5], reference=memory, reference_labels=Y[:7], space="cosine")
    mask = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(0)) < 0.7
    selection = Selection(mask[0], mask[1])
    weights = pair_weights(loss, pairs, Selection(mask[0] & pairs.positive, mask[1]))
    found = slope(PairWeightingLoss().on_pairs(pairs, Selection(*weights)).value, leaf)
    torch.testing.assert_close(found, slope(loss.on_pairs(pairs, selection).value, leaf))
    assert weights.negative_NM[~mask[1]].count_nonzero() == 0


def test_the_loss_is_left_alone() -> None:
    loss = TripletLoss()
    pairs = Pairs(normal(11, 4).requires_grad_(), Y, space="cosine")
    pair_weights(loss, pairs)
    gram = pairs.gram
    with torch.no_grad():
        general_pair_weighting(pairs.detach(), Batch(Y), loss=loss)
    assert pairs.gram is gram
    assert slope(loss.on_pairs(pairs).value, pairs.embeddings).abs().max() > 0


@pytest.mark.parametrize("count", [0, 1])
def test_without_a_pair_there_is_no_weight(count: int) -> None:
    pairs = Pairs(normal(count, 4), Y[:count], space="cosine")
    for weights in general_pair_weighting(pairs, Batch(Y[:count]), loss=MultiSimilarityLoss()):
        assert weights.shape == (count, count)
        assert weights.count_nonzero() == 0


def test_another_space_is_refused() -> None:
    pairs = Pairs(normal(11, 4), Y, space="euclidean")
    message = "space of the weighting loss must be euclidean, got 'cosine'"
    with pytest.raises(UserError, match=message):
        general_pair_weighting(pairs, Batch(Y), loss=MultiSimilarityLoss())


# --- claim: the weights are the method --------------------------------------------------------


def weighted(pairs: Pairs, batch: Batch) -> Selection:
    return general_pair_weighting(pairs, batch, loss=MultiSimilarityLoss())


@pytest.mark.parametrize("seed", [0, 1])
def test_the_weights_of_multi_similarity_part_classes_in_one_place(seed: int) -> None:
    x, y = twins(seed)
    moved = move(PairWeightingLoss(), x, y, steps=60, lr=0.02, miner=weighted)
    assert nearest_twins(moved) < 0.9


def test_without_weights_they_stay() -> None:
    x, y = twins(0)
    assert nearest_twins(move(PairWeightingLoss(), x, y, steps=60, lr=0.02)) > 0.9
