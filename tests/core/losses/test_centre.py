"""Class centres: how they move, what they cost, where they are refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fixtures.losses.cases import STRUCTURED
from likeness.errors import UserError
from likeness.losses import CentreLoss, CentreStructuredLoss
from likeness.losses.centre import Centres, between_hinge, negative_variance
from likeness.pairs import Pairs
from likeness.selection import Selection

C, D = 4, 3
KINDS = [CentreLoss, CentreStructuredLoss]
both_losses = pytest.mark.parametrize("kind", KINDS)


def batch(seed: int = 0, count: int = 9) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, D, generator=generator)
    y = torch.arange(count) % (C - 1)  # the last class never occurs
    return x, y[torch.randperm(count, generator=generator)]


def weight(loss: torch.nn.Module) -> Tensor:
    return loss.centres.bank.weight


# --- how centres move -----------------------------------------------------------------------


@both_losses
@pytest.mark.parametrize("space", ["euclidean", "cosine"])
def test_ema_follows_the_rule(kind: type, space: str) -> None:
    loss = kind(C, D, centres="ema", eta=0.3, space=space)
    x, y = batch()
    z = x / x.norm(dim=1, keepdim=True) if space == "cosine" else x
    before = weight(loss).clone()
    loss.after_step(x, y)
    for k in range(C):
        mine = [z[i] for i in range(len(z)) if y[i] == k]
        step = sum((before[k] - row for row in mine), torch.zeros(D)) / (1 + len(mine))
        torch.testing.assert_close(weight(loss)[k], before[k] - 0.3 * step)
    assert torch.equal(weight(loss)[C - 1], before[C - 1])


@both_losses
def test_ema_comes_to_the_class_mean(kind: type) -> None:
    loss = kind(C, D, centres="ema", space="euclidean")
    x, y = batch()
    for _ in range(200):
        loss.after_step(x, y)
    for k in y.unique():
        torch.testing.assert_close(weight(loss)[k], x[y == k].mean(0), rtol=1e-4, atol=1e-5)


@both_losses
def test_a_batch_split_over_processes_and_gathered_gives_the_same_centres(kind: type) -> None:
    x, y = batch()
    order = torch.tensor([5, 6, 7, 8, 0, 1, 2, 3, 4])
    centres = []
    for rows in (torch.arange(9), order):
        torch.manual_seed(0)
        loss = kind(C, D, centres="ema")
        loss.after_step(x[rows].requires_grad_(), y[rows])
        centres.append(weight(loss).detach())
    torch.testing.assert_close(*centres)


@both_losses
@pytest.mark.parametrize("mode", ["grad", "batch_mean"])
def test_only_ema_moves_after_a_step(kind: type, mode: str) -> None:
    loss = kind(C, D, centres=mode)
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    loss.after_step(*batch())
    assert all(torch.equal(loss.state_dict()[name], value) for name, value in before.items())


@both_losses
@pytest.mark.parametrize("space", ["euclidean", "cosine"])
def test_imprint_sets_the_class_means(kind: type, space: str) -> None:
    loss = kind(C, D, centres="grad", space=space)
    x, y = batch()
    z = x / x.norm(dim=1, keepdim=True) if space == "cosine" else x
    before = weight(loss).detach().clone()
    loss.imprint(x.half().requires_grad_(), y)
    for k in range(C - 1):
        torch.testing.assert_close(weight(loss)[k], z[y == k].mean(0), rtol=1e-2, atol=2e-3)
    assert torch.equal(weight(loss)[C - 1], before[C - 1])
    assert weight(loss).requires_grad
    assert weight(loss).dtype == torch.float32


@both_losses
def test_who_wants_class_means(kind: type) -> None:
    wants = {mode: kind(C, D, centres=mode).needs_class_means for mode in ("grad", "ema")}
    assert wants == {"grad": True, "ema": True}
    batch_mean = kind(C, D, centres="batch_mean")
    assert not batch_mean.needs_class_means
    batch_mean.imprint(*batch())
    assert list(batch_mean.parameters()) == []


@both_losses
@pytest.mark.parametrize("mode", ["grad", "ema"])
def test_the_state_is_in_the_state_dict(kind: type, mode: str) -> None:
    loss, other = kind(C, D, centres=mode), kind(C, D, centres=mode)
    loss.after_step(*batch())
    x, y = batch(1)
    assert loss(x, y) != other(x, y)
    other.load_state_dict(loss.state_dict())
    assert loss(x, y) == other(x, y)


def test_the_bank_asks_for_its_own_learning_rate() -> None:
    loss = CentreStructuredLoss(C, D, centre_lr_mult=7.0)
    assert loss.centres.bank.lr_mult == 7.0
    assert [p.requires_grad for p in loss.parameters()] == [True]
    assert [p.requires_grad for p in CentreLoss(C, D, centres="ema").parameters()] == [False]


# --- gradients ------------------------------------------------------------------------------


def centre_gradient(**options: object) -> Tensor | None:
    torch.manual_seed(0)
    loss = CentreStructuredLoss(C, D, **options)
    x, y = batch()
    loss(x.requires_grad_(), y).backward()
    return weight(loss).grad


def test_centres_are_pulled_by_their_samples_and_push_each_other() -> None:
    both = centre_gradient(delta=2.0)
    pulled = centre_gradient(between_weight=0.0)
    assert (pulled[: C - 1] != 0).any(1).all()
    assert (pulled[C - 1] == 0).all()  # no sample of this class
    assert (both[C - 1] != 0).any()  # but neighbours
    assert centre_gradient(centre_weight=0.0).abs().max() == 0


def test_ema_centres_get_no_gradient() -> None:
    assert centre_gradient(centres="ema") is None


def test_batch_means_carry_gradient() -> None:
    """The between term alone moves the samples, through the class means."""
    x, y = batch()
    x.requires_grad_()
    loss = CentreStructuredLoss(C, D, centres="batch_mean", delta=2.0, structured_weight=0.0)
    part = loss.terms(Pairs(x, y, space="cosine"))["between"].value
    assert torch.autograd.grad(part, x)[0].abs().max() > 0


def test_batch_mean_counts_every_class_the_same() -> None:
    """Nine samples of one class weigh as much as two of another."""
    spread = torch.tensor([[1.0, 0, 0], [-1, 0, 0]])
    tight = torch.zeros(9, 3)
    x, y = torch.cat([spread, tight]), torch.tensor([0, 0] + [1] * 9)
    balanced = CentreLoss(C, D, centres="batch_mean")(x, y)
    assert balanced.item() == pytest.approx(0.5 * (1 + 0) / 2)


def test_training_pulls_classes_together_and_centres_apart() -> None:
    torch.manual_seed(0)
    x = torch.nn.Parameter(torch.randn(24, D))
    y = torch.arange(24) % C
    loss = CentreStructuredLoss(C, D, centre_weight=1.0, delta=1.4)
    loss.imprint(x, y)
    optimiser = torch.optim.SGD([x, *loss.parameters()], lr=0.5)
    values = []
    for _ in range(60):
        optimiser.zero_grad()
        value = loss(x, y)
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert values[-1] < 0.3 * values[0]
    units = torch.nn.functional.normalize(weight(loss).detach(), dim=1)
    gaps = torch.cdist(units, units)[~torch.eye(C, dtype=torch.bool)]
    assert gaps.min() > 1.2


# --- values ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["grad", "ema", "batch_mean"])
def test_terms_add_up(mode: str) -> None:
    loss = CentreStructuredLoss(C, D, centres=mode, delta=1.5, **STRUCTURED)
    pairs = Pairs(*batch(), space="cosine")
    parts = loss.terms(pairs)
    assert list(parts) == ["structured", "within", "between"]
    expected = 0.3 * parts["structured"].value + 0.7 * (
        parts["within"].value + 0.9 * parts["between"].value
    )
    terms = loss.on_pairs(pairs)
    torch.testing.assert_close(terms.value, expected)
    for part in (*parts.values(), terms):
        torch.testing.assert_close(part.per_anchor.sum(), part.value)
    assert terms.n_active == parts["structured"].n_active


def test_a_selection_reaches_the_structured_term_alone() -> None:
    x, y = batch()
    loss = CentreStructuredLoss(C, D)
    pairs = Pairs(x, y, space="cosine")
    nothing = Selection(torch.zeros(9, 9), torch.zeros(9, 9))
    parts = loss.terms(pairs, nothing)
    assert parts["structured"].value == 0
    assert parts["within"].value == loss.terms(pairs)["within"].value > 0
    centre = CentreLoss(C, D)
    flat = Pairs(x, y, space="euclidean")
    assert centre.on_pairs(flat, nothing).value == centre.on_pairs(flat).value


def test_between_is_bounded_and_leaves_absent_classes_out() -> None:
    centres = torch.tensor([[0.0, 0], [0.6, 0], [0, 5], [0.1, 0.1]])
    present = torch.tensor([True, True, True, False])
    value, active = between_hinge(centres, present, margin=1.0)
    assert value.item() == pytest.approx(2 * 0.4**2 / 6)
    assert active == 2
    value, active = between_hinge(centres[:1], present[:1], margin=1.0)
    assert value == 0
    assert active == 0


def test_negative_variance_leaves_absent_classes_out() -> None:
    centres = torch.tensor([[1.0, 0], [-1, 0], [50, 50]], dtype=torch.float64)
    value = negative_variance(centres, torch.tensor([True, True, False]))
    assert value.item() == pytest.approx(-1.0)


def test_samples_on_their_centres_cost_nothing() -> None:
    loss = CentreLoss(C, D)
    x = weight(loss).detach().clone().requires_grad_()
    terms = loss.on_pairs(Pairs(x, torch.arange(C)))
    terms.value.backward()
    assert terms.value == 0
    assert terms.n_active == 0
    assert torch.equal(x.grad, torch.zeros(C, D))


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"between": "neg_variance", "space": "euclidean"}, "between must be 'hinge' unless"),
        ({"structured_weight": -1.0}, "structured_weight must be >= 0 and finite, got -1.0"),
        ({"centre_weight": math.nan}, "centre_weight must be >= 0 and finite, got nan"),
        ({"between_weight": math.inf}, "between_weight must be >= 0 and finite, got inf"),
        ({"alpha": -0.5}, "alpha must be >= 0 and finite, got -0.5"),
        ({"delta": 0.0}, "delta must be > 0 and finite, got 0.0"),
        ({"eta": 0.0}, r"eta must be in \(0, 1\], got 0.0"),
        ({"centre_lr_mult": 0.0}, "lr_mult must be > 0, got 0.0"),
        ({"space": "dot"}, "space of CentreStructuredLoss must be one of cosine, euclidean"),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        CentreStructuredLoss(C, D, **options)


def test_sizes_are_checked() -> None:
    with pytest.raises(UserError, match="num_classes must be >= 1, got 0"):
        Centres(0, D, mode="batch_mean", space="cosine", lr_mult=1.0, eta=0.5)


@both_losses
@pytest.mark.parametrize("mode", ["grad", "ema", "batch_mean"])
@pytest.mark.parametrize("wrong", [-1, C])
def test_labels_outside_the_classes_are_named(kind: type, mode: str, wrong: int) -> None:
    loss = kind(C, D, centres=mode)
    x, y = batch()
    y[3] = wrong
    with pytest.raises(UserError, match=rf"labels must be in \[0, 4\), got {wrong}"):
        loss(x, y)
    if mode == "ema":
        with pytest.raises(UserError, match="labels must be in"):
            loss.after_step(x, y)
    if mode != "batch_mean":
        with pytest.raises(UserError, match="labels must be in"):
            loss.imprint(x, y)


@both_losses
def test_other_mismatches_are_named(kind: type) -> None:
    loss = kind(C, D)
    x, y = batch()
    with pytest.raises(UserError, match=r"labels must be class indices of shape \(N,\)"):
        loss(x, torch.nn.functional.one_hot(y, C))
    with pytest.raises(UserError, match="dim must be 3, got 5"):
        loss(torch.randn(9, 5), y)
    other = "cosine" if loss.space == "euclidean" else "euclidean"
    with pytest.raises(UserError, match="space of the pairs must be"):
        loss.on_pairs(Pairs(x, y, space=other))
