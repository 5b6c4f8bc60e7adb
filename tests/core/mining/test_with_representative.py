"""The pairs of representatives."""

from __future__ import annotations

import pytest
import torch

from likeness.batch import Batch
from likeness.errors import UserError
from likeness.losses import ContrastiveLoss, TripletLoss
from likeness.mining import with_representative
from likeness.pairs import Pairs

Y = torch.tensor([0, 1, 0, 1, 2, 2, 0])
MARKED = torch.tensor([True, False, False, True, True, False, False])


def pairs_of(rows: torch.Tensor) -> Pairs:
    return Pairs(rows, Y, space="cosine")


def rows() -> torch.Tensor:
    return torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("side", ["either", "anchor"])
def test_pairs_by_loops(side: str) -> None:
    found = with_representative(pairs_of(rows()), Batch(Y, representative=MARKED), side=side)
    for i in range(7):
        for j in range(7):
            wanted = MARKED[i] or (side == "either" and MARKED[j])
            assert found.positive_NM[i, j] == found.negative_NM[i, j] == wanted


def test_representatives_as_anchors_are_the_triplets() -> None:
    leaf = rows().requires_grad_()
    pairs = pairs_of(leaf)
    chosen = with_representative(pairs, Batch(Y, representative=MARKED), side="anchor")
    terms = TripletLoss().on_pairs(pairs, chosen)
    assert terms.valid.tolist() == MARKED.tolist()


def test_other_pairs_move_nothing() -> None:
    alone = MARKED & (Y == 2)
    leaf = rows().requires_grad_()
    pairs = pairs_of(leaf)
    chosen = with_representative(pairs, Batch(Y, representative=alone))
    chosen = chosen._replace(negative_NM=torch.zeros_like(chosen.negative_NM))
    ContrastiveLoss().on_pairs(pairs, chosen).value.backward()
    assert leaf.grad.any(1).tolist() == [False, False, False, False, True, True, False]


def test_no_representative_is_an_exact_zero() -> None:
    leaf = rows().requires_grad_()
    pairs = pairs_of(leaf)
    chosen = with_representative(pairs, Batch(Y, representative=torch.zeros(7).bool()))
    value = ContrastiveLoss().on_pairs(pairs, chosen).value
    value.backward()
    assert value == 0
    assert not leaf.grad.any()


def test_what_it_cannot_choose_from_is_refused() -> None:
    with pytest.raises(UserError, match="representative must be given where with_representative"):
        with_representative(pairs_of(rows()), Batch(Y))
    memory = Pairs(rows(), Y, reference=rows()[:3], reference_labels=Y[:3])
    with pytest.raises(UserError, match="reference must be the batch itself"):
        with_representative(memory, Batch(Y, representative=MARKED))


@pytest.mark.plain
def test_an_unknown_side_is_named() -> None:
    with pytest.raises(UserError, match="side must be one of either, anchor, got 'both'"):
        with_representative(pairs_of(rows()), Batch(Y, representative=MARKED), side="both")
