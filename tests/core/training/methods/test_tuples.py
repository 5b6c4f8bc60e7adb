"""Tuples of a batch, and losses on tuples of their own against the modules and loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from fixtures.free_points import normal
from fixtures.planted_features import planted_objective
from fixtures.tensor_memory import peak_bytes
from likeness.batch import Batch
from likeness.errors import UserError
from likeness.losses import NPairLoss, TripletLoss
from likeness.mining import n_pairs
from likeness.models import Outputs
from likeness.pairs import Pairs
from likeness.selection import Triplets
from likeness.training.methods.tuples import (
    base_term,
    find_tuples,
    n_pair_tuples,
    term_of,
    triplet_tuples,
    tuple_loss,
)

LABELS = torch.tensor([3, 0, 5, 3, 0, 3, 7, 5])  # 7 is alone, 3 is there three times


def listed(tuples):
    """(anchor, positive, negatives) of every row that is a tuple."""
    found = []
    for row in tuples.valid_T.nonzero()[:, 0].tolist():
        others = tuples.other_TM[row]
        positive = others[tuples.positive_TM[row]].tolist()
        assert positive == [int(others[tuples.place_T[row]])]
        negatives = others[tuples.negative_TM[row]].tolist()
        found.append((int(tuples.anchor_T[row]), positive[0], sorted(negatives)))
    return sorted(found)


def test_n_pairs_are_the_first_two_of_each_class():
    tuples = n_pair_tuples(Pairs(normal(8, 3), LABELS))
    assert listed(tuples) == [(0, 3, [4, 7]), (1, 4, [3, 7]), (2, 7, [3, 4])]
    assert tuples.other_TM.shape == (4, 4)  # whatever the labels are


def test_n_pairs_agree_with_the_miner():
    pairs = Pairs(normal(8, 3), LABELS)
    chosen = n_pairs(pairs, Batch(LABELS))
    rows = [
        (row, int(chosen.positive_NM[row].nonzero()), chosen.negative_NM[row].nonzero()[:, 0])
        for row in chosen.positive_NM.any(1).nonzero()[:, 0].tolist()
    ]
    assert listed(n_pair_tuples(pairs)) == [(a, p, n.tolist()) for a, p, n in rows]


def test_the_same_picture_and_the_same_group_are_no_pair():
    labels = torch.tensor([0, 0, 1, 1])
    ids, group = torch.tensor([5, 5, 6, 7]), torch.tensor([0, 1, 2, 2])
    pairs = Pairs(normal(4, 3), labels, ids=ids)
    assert listed(n_pair_tuples(pairs)) == [(2, 3, [])]
    assert listed(n_pair_tuples(pairs.excluding_group(group))) == []


@pytest.mark.parametrize("labels", [[1, 1, 1, 1], [0, 1, 2, 3], [4]])
@pytest.mark.parametrize("build", [NPairLoss, TripletLoss])
def test_batches_without_a_comparison_cost_nothing(build, labels):
    labels = torch.tensor(labels, dtype=torch.int64)
    x = normal(len(labels), 3).requires_grad_()
    loss = build(norm_weight=0.0) if build is NPairLoss else build()
    objective = planted_objective({"loss": {"name": "n_pair" if build is NPairLoss else "triplet"}})
    term = next(iter(objective.terms.values()))
    outputs = Outputs(x, {"embedding": x}, {})
    tuples = find_tuples(objective, term, outputs, Batch(labels))
    value = tuple_loss(loss, x[tuples.anchor_T], x[tuples.other_TM], tuples)
    (slope,) = torch.autograd.grad(value, x)
    assert float(value.detach()) == pytest.approx(0, abs=1e-12)
    assert slope.shape == x.shape
    assert not slope.any()


@pytest.mark.parametrize("form", ["multi_class", "one_vs_one"])
def test_on_what_is_not_moved_the_n_pair_loss_is_the_modules(form):
    """With the paper's batch, value and slope; the module agrees with pytorch-metric-learning."""
    labels = torch.tensor([2, 0, 1, 0, 2, 1])
    loss, x = NPairLoss(form=form, norm_weight=0.3), normal(6, 4).requires_grad_()
    pairs = Pairs(x, labels, space="dot")
    whole = loss.on_pairs(pairs, n_pairs(pairs, Batch(labels))).value
    tuples = n_pair_tuples(pairs)
    ours = tuple_loss(loss, x[tuples.anchor_T], x[tuples.other_TM], tuples)
    torch.testing.assert_close(ours, whole)
    torch.testing.assert_close(
        *(torch.autograd.grad(value, x, retain_graph=True)[0] for value in (ours, whole))
    )


@pytest.mark.parametrize("space", ["cosine", "euclidean"])
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("reduction", ["active", "all"])
def test_on_what_is_not_moved_the_triplet_loss_is_the_modules(space, squared, reduction):
    x, labels = normal(6, 4).requires_grad_(), torch.tensor([0, 0, 1, 1, 2, 2])
    index = torch.tensor
    chosen = Triplets(index([0, 2, 5, 1]), index([1, 3, 4, 0]), index([2, 4, 0, 3]), torch.ones(4))
    loss = TripletLoss(margin=0.5, squared=squared, reduction=reduction, space=space)
    whole = loss.on_pairs(Pairs(x, labels, space=space), chosen).value
    tuples = triplet_tuples(chosen)
    ours = tuple_loss(loss, x[tuples.anchor_T], x[tuples.other_TM], tuples)
    torch.testing.assert_close(ours, whole)
    torch.testing.assert_close(
        *(torch.autograd.grad(value, x, retain_graph=True)[0] for value in (ours, whole))
    )


def test_the_n_pair_loss_in_loops():
    """Each anchor has others of its own, which no matrix of a batch could hold."""
    tuples = n_pair_tuples(Pairs(normal(8, 3), LABELS))
    anchor, other = normal(4, 3, seed=4), normal(16, 3, seed=5).view(4, 4, 3)
    costs, lengths, own = [], [], []
    for row in tuples.valid_T.nonzero()[:, 0].tolist():
        positive = int(tuples.positive_TM[row].nonzero())
        columns = [positive, *tuples.negative_TM[row].nonzero()[:, 0].tolist()]
        scores = [float(anchor[row] @ other[row, column]) for column in columns]
        costs.append(math.log(sum(map(math.exp, scores))) - scores[0])
        lengths.append(float(anchor[row].square().sum()))
        own.append(float(other[row, positive].square().sum()))
    expected = (sum(costs) + 0.2 * sum(lengths) + 0.2 * sum(own)) / len(costs)
    ours = tuple_loss(NPairLoss(norm_weight=0.2), anchor, other, tuples)
    assert float(ours) == pytest.approx(expected)


def test_slopes_of_tuples():
    tuples = n_pair_tuples(Pairs(normal(8, 3), LABELS))
    inputs = [normal(4, 3, seed=4), normal(16, 3, seed=5).view(4, 4, 3)]
    inputs = [item.requires_grad_() for item in inputs]
    for loss in (NPairLoss(norm_weight=0.2), TripletLoss(space="euclidean")):
        assert torch.autograd.gradcheck(lambda *both: tuple_loss(loss, *both, tuples), inputs)  # noqa: B023


def test_nothing_waits_for_the_device():
    with FakeTensorMode():  # without a device; it fails where a value of it is asked for
        x = torch.empty(8, 3, device="cuda:0")
        tuples = n_pair_tuples(Pairs(x, torch.empty(8, dtype=torch.int64, device="cuda:0")))
        for loss in (NPairLoss(), TripletLoss()):
            tuple_loss(loss, x[tuples.anchor_T], x[tuples.other_TM], tuples)


def test_memory_grows_with_the_square():
    def peak(count):
        x, labels = torch.randn(count, 4), torch.arange(count) // 2

        def run():
            tuples = n_pair_tuples(Pairs(x, labels, space="dot"))
            tuple_loss(NPairLoss(), x[tuples.anchor_T], x[tuples.other_TM], tuples)

        return peak_bytes(run)

    assert peak(1024) < 1.2 * 16 * peak(256)


def test_a_miner_of_triplets_chooses_them():
    miner = {"name": "distance_weighted"}
    objective = planted_objective({"loss": {"name": "triplet"}, "miners": [miner]})
    x, labels = normal(8, 3), torch.arange(8) // 2
    outputs = Outputs(x, {"embedding": x}, {})
    for name, count in (("mined", 8), ("drawn", 8)):
        chosen = objective if name == "mined" else planted_objective({"loss": {"name": "triplet"}})
        batch = Batch(labels, generator=torch.Generator().manual_seed(0))
        found = listed(find_tuples(chosen, term_of(chosen, "triplet"), outputs, batch))
        assert len(found) >= count
        for anchor, positive, (negative,) in found:
            assert labels[anchor] == labels[positive] != labels[negative]
            assert anchor != positive


def test_an_objective_without_a_base_loss_is_refused():
    objective = planted_objective({"loss": {"name": "contrastive"}}, {"loss": {"name": "nca"}})
    with pytest.raises(UserError, match=r"objective\.terms must be one with TripletLoss on .*hdml"):
        base_term(objective, (TripletLoss,), "hdml")
