"""The front doors of a pair loss, and the small reductions that all losses share."""

from __future__ import annotations

import math

import pytest
import torch

from likeness.batch import Batch
from likeness.errors import UserError
from likeness.losses import (
    BatchHardTripletLoss,
    ContrastiveLoss,
    GeneralisedLiftedLoss,
    LiftedStructuredLoss,
    Loss,
    LossTerms,
    PairLoss,
    TripletLoss,
    WeightedContrastiveLoss,
)
from likeness.losses.base import (
    check_reduction,
    floored,
    masked_logsumexp,
    mean_over,
    shares,
    weighted_logsumexp,
    zero_like,
)
from likeness.pairs import Pairs
from likeness.selection import Selection


def test_a_pair_loss_is_a_loss_and_does_nothing_after_a_step() -> None:
    loss = ContrastiveLoss()
    assert isinstance(loss, Loss)
    assert loss.reads == frozenset({"dense"})
    assert not loss.needs_class_means
    x, y = torch.randn(4, 3), torch.arange(4)
    loss.imprint(x, y)
    loss.after_step(x, y)
    assert loss.state_dict() == {}


def test_autocast_is_off_in_the_loss_itself() -> None:
    class Product(PairLoss):
        """A loss with a matrix product of its own, which autocast would lower."""

        def on_dense(self, pairs: Pairs, selection: Selection) -> LossTerms:
            product = pairs.embeddings.T @ pairs.embeddings
            return LossTerms(product.sum(), pairs.embeddings.sum(1), *selection)

    x, y = torch.randn(8, 4), torch.arange(8) % 3
    with torch.autocast("cpu", torch.bfloat16):
        value = Product()(x, y)
    assert value.dtype == torch.float32
    assert value == Product()(x, y)


def test_forward_is_the_value_on_pairs() -> None:
    x, y = torch.randn(8, 4), torch.arange(8) % 3
    loss = TripletLoss()
    assert loss(x, y) == loss.on_pairs(Pairs(x, y, space="cosine")).value


def test_forward_takes_the_ids_from_the_batch() -> None:
    """The same picture drawn twice is no positive pair."""
    x, y = torch.randn(4, 3), torch.tensor([0, 0, 1, 2])
    loss = LiftedStructuredLoss()
    ids = torch.tensor([7, 7, 8, 9])
    assert loss(x, y) > 0
    assert loss(x, y, batch=Batch(y, ids=ids)) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ContrastiveLoss(space="dot"), "space of ContrastiveLoss must be one of cosine"),
        (lambda: ContrastiveLoss(power=3), "power must be 1 or 2, got 3"),
        (lambda: ContrastiveLoss(positive_margin=-1.0), "positive_margin must be >= 0, got -1"),
        (
            lambda: ContrastiveLoss(positive_margin=0.5, negative_margin=0.4),
            r"negative_margin must be >= positive_margin \(0.5\), got 0.4",
        ),
        (lambda: WeightedContrastiveLoss(margin=0.0), "margin must be > 0, got 0"),
        (lambda: WeightedContrastiveLoss(negative_share=1.2), r"must be in \[0, 1\], got 1.2"),
        (lambda: LiftedStructuredLoss(margin=math.nan), "margin must be >= 0 and finite, got nan"),
        (lambda: GeneralisedLiftedLoss(margin=-1.0), "margin must be >= 0 and finite, got -1"),
        (lambda: check_reduction("mean"), "reduction must be one of active, all, got 'mean'"),
    ],
)
def test_mistakes_are_named(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_a_selection_of_another_shape_is_refused() -> None:
    pairs = Pairs(torch.randn(4, 3), torch.arange(4))
    wrong = Selection(torch.ones(1, 4), torch.ones(4, 4))
    with pytest.raises(UserError, match=r"selection must be of shape \(4, 4\), got \(1, 4\)"):
        ContrastiveLoss().on_pairs(pairs, wrong)


def test_no_reference_is_an_exact_zero() -> None:
    leaf = torch.randn(3, 2, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    for loss in (TripletLoss(), BatchHardTripletLoss(), LiftedStructuredLoss(space="cosine")):
        pairs = Pairs(
            leaf, torch.arange(3), reference=leaf[:0], reference_labels=none, space="cosine"
        )
        terms = loss.on_pairs(pairs)
        terms.value.backward()
        assert terms.value == 0
        assert terms.per_anchor.shape == terms.valid.shape == (3,)
        assert torch.equal(leaf.grad, torch.zeros(3, 2))


def test_zero_like_ignores_what_is_not_finite() -> None:
    leaf = torch.tensor([[math.inf, math.nan]], requires_grad=True)
    zero_like(leaf).backward()
    assert torch.equal(leaf.grad, torch.zeros(1, 2))


def test_mean_over_the_valid() -> None:
    values = torch.tensor([1.0, 5.0, math.inf, 3.0], requires_grad=True)
    valid = torch.tensor([True, False, False, True])
    assert mean_over(values, valid) == 2
    assert shares(values, valid).tolist() == [0.5, 0, 0, 1.5]
    nothing = mean_over(values, torch.zeros(4, dtype=torch.bool))
    nothing.backward()
    assert nothing == 0
    assert torch.equal(values.grad, torch.zeros(4))


def test_floored_totals() -> None:
    assert floored(torch.tensor(0)) == 1
    assert floored(torch.tensor(7)) == 7
    assert floored(torch.tensor(0.0)) == pytest.approx(1e-12)
    assert floored(torch.tensor(0.25)) == 0.25


def test_masked_logsumexp() -> None:
    values = torch.tensor([[0.0, 1.0, 2.0], [5.0, 5.0, 5.0]], requires_grad=True)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    result = masked_logsumexp(values, mask)
    assert result[0].item() == pytest.approx(math.log(1 + math.exp(2)))
    assert -math.inf < result[1] < -1e30
    result[0].backward()
    assert values.grad[0, 1] == 0


def test_an_empty_row_of_logsumexp_has_no_say_in_what_is_made_of_it() -> None:
    """Soft maxima with something else are flat there: no gradient comes through."""
    for change in (torch.nn.functional.softplus, torch.exp):
        values = torch.tensor([[5.0, 4.0, 3.0]], requires_grad=True)
        change(masked_logsumexp(values, torch.zeros(1, 3, dtype=torch.bool))).sum().backward()
        assert torch.equal(values.grad, torch.zeros(1, 3))
    values = torch.tensor([[5.0, 4.0, 3.0]], requires_grad=True)
    empty = masked_logsumexp(values, torch.zeros(1, 3, dtype=torch.bool))
    torch.logaddexp(empty, torch.zeros(1)).sum().backward()
    assert torch.equal(values.grad, torch.zeros(1, 3))


def test_weighted_logsumexp() -> None:
    values, weights = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[0.5, 0.0, 2.0]])
    expected = math.log(0.5 + 2 * math.exp(2))
    assert weighted_logsumexp(values, weights).item() == pytest.approx(expected)
