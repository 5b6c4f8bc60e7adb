"""Easy positives: the definition in loops, the peer, and what they spare."""

from __future__ import annotations

import pytest
import torch
from pytorch_metric_learning import miners

from fixtures.free_points import move, normal
from likeness.batch import Batch
from likeness.errors import UserError
from likeness.losses import TripletLoss
from likeness.mining import batch_hard, easy_positive
from likeness.pairs import Pairs
from likeness.selection import Miner

Y = torch.tensor([0, 2, 0, 4, 2, 2, 0, 3, 4, 0, 2])


@pytest.mark.parametrize("negatives", ["semi_hard", "hard"])
@pytest.mark.parametrize("seed", range(3))
def test_the_definition_and_the_peer(negatives: str, seed: int) -> None:
    x = normal(11, 4, seed=seed)
    pairs = Pairs(x, Y, space="cosine")
    found = easy_positive(pairs, Batch(Y), negatives=negatives)
    d, expected = pairs.distance, set()
    for a in range(11):
        positives = [j for j in range(11) if j != a and Y[j] == Y[a]]
        if not positives:
            continue
        p = min(positives, key=lambda j: d[a, j].item())
        beyond = negatives == "semi_hard"
        allowed = [j for j in range(11) if Y[j] != Y[a] and (not beyond or d[a, j] > d[a, p])]
        if allowed:
            expected.add((a, p, min(allowed, key=lambda j: d[a, j].item())))
    rows = found.positive_NM.any(1).nonzero().flatten().tolist()
    assert torch.equal(found.positive_NM.any(1), found.negative_NM.any(1))
    columns = [mask.int().argmax(1) for mask in found]
    assert {(a, columns[0][a].item(), columns[1][a].item()) for a in rows} == expected
    assert found.positive_NM.sum() == found.negative_NM.sum() == len(rows)
    peer = miners.BatchEasyHardMiner(
        pos_strategy="easy", neg_strategy="hard" if negatives == "hard" else "semihard"
    )
    anchors, positive, _, negative = peer(x, Y)
    listed = torch.stack([anchors, positive, negative], 1)
    assert {tuple(t) for t in listed.tolist()} == expected


def test_an_anchor_without_a_farther_negative_selects_nothing() -> None:
    x = torch.tensor([[1.0, 0], [-1, 0], [1, 0.1]])
    pairs = Pairs(x, torch.tensor([0, 0, 1]), space="cosine")
    found = easy_positive(pairs, Batch(pairs.labels))
    assert (
        found.positive_NM.any(1).tolist() == [False, True, False] or not found.positive_NM[0].any()
    )
    assert not found.negative_NM[0].any()


@pytest.mark.parametrize("count", [0, 1])
def test_without_a_pair_nothing_is_selected(count: int) -> None:
    found = easy_positive(Pairs(normal(count, 4), Y[:count]), Batch(Y[:count]))
    assert not any(mask.any() for mask in found)


@pytest.mark.plain
def test_options_are_checked() -> None:
    with pytest.raises(UserError, match="negatives must be one of semi_hard, hard, got 'easy'"):
        easy_positive(Pairs(normal(4, 4), Y[:4]), Batch(Y[:4]), negatives="easy")


# --- claim: a class may stay in several places -------------------------------------------------


def distance_of_modes(miner: Miner) -> float:
    """Between the two places of each class, which begin at a right angle."""
    y = torch.arange(3).repeat_interleave(8)
    x = torch.eye(6)[2 * y + torch.arange(24) % 2] + 0.2 * normal(24, 6, dtype=torch.float32)
    moved = move(TripletLoss(), x, y, steps=80, lr=0.02, miner=miner)
    unit = torch.nn.functional.normalize(moved, dim=1).view(3, 4, 2, 6).mean(1)
    return (unit[:, 0] - unit[:, 1]).norm(dim=1).min().item()


def test_both_places_of_a_class_stay() -> None:
    assert distance_of_modes(easy_positive) > 1.2


def test_with_the_hardest_positive_they_become_one() -> None:
    assert distance_of_modes(batch_hard) < 1.2
