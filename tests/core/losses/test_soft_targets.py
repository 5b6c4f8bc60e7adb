"""Learning from distributions: against loops, torch, closed forms and counted draws."""

from __future__ import annotations

import math

import pytest
import torch

from likeness.config import parse
from likeness.errors import UserError
from likeness.losses.classification import ClassificationLoss, FocalLoss, cross_entropy
from likeness.losses.factory import ClassificationSpec, build_classification
from likeness.losses.soft_targets import (
    MultiTargetLoss,
    SoftTargetLoss,
    check_distributions,
    draw_labels,
    multi_target,
    soft_cross_entropy,
)

# Ten votes each: agreed, split, spread, one vote only, a tie of all, two right ones.
VOTES = torch.tensor(
    [[10, 0, 0, 0], [0, 6, 4, 0], [4, 3, 2, 1], [0, 0, 0, 1], [1, 1, 1, 1], [5, 0, 5, 0]]
)
SHARES = VOTES.double() / VOTES.sum(1, keepdim=True)
WEIGHTS = [0.5, 2.0, 1.3, 0.0]


def logits(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (3 * torch.randn(6, 4, generator=generator, dtype=torch.float64)).to(dtype)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
def test_soft_by_loops(smoothing: float, weighted: bool) -> None:
    weights = WEIGHTS if weighted else [1.0] * 4
    given = torch.tensor(weights).double() if weighted else None
    ours, theirs = (logits().requires_grad_() for _ in range(2))
    terms = soft_cross_entropy(ours, SHARES, label_smoothing=smoothing, weight_C=given)
    costs, counts, wrong = [], [], 0
    for row, shares in zip(theirs, SHARES.tolist(), strict=True):
        chances = row.exp() / row.exp().sum()
        smoothed = [(1 - smoothing) * share + smoothing / 4 for share in shares]
        costs.append(
            sum(-s * w * p.log() for s, w, p in zip(smoothed, weights, chances, strict=True))
        )
        counts.append(sum(s * w for s, w in zip(shares, weights, strict=True)))
        wrong += shares[row.tolist().index(max(row.tolist()))] < max(shares)
    expected = sum(costs) / sum(counts)
    torch.testing.assert_close(terms.value, expected)
    torch.testing.assert_close(terms.per_anchor, torch.stack(costs) / sum(counts))
    assert 0 < terms.n_active == wrong < 6
    assert terms.valid.tolist() == [count > 0 for count in counts]
    terms.value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_soft_without_weights_is_torchs() -> None:
    ours, theirs = (logits().requires_grad_() for _ in range(2))
    loss = SoftTargetLoss(label_smoothing=0.1)
    expected = torch.nn.CrossEntropyLoss(label_smoothing=0.1)(theirs, SHARES)
    torch.testing.assert_close(loss(ours, SHARES), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
def test_where_all_agree_it_is_the_cross_entropy_of_the_label(
    smoothing: float, weighted: bool
) -> None:
    labels = torch.tensor([0, 2, 1, 1, 3, 0])
    given = torch.tensor([0.5, 2.0, 1.3, 0.7]).double() if weighted else None
    options = {"label_smoothing": smoothing, "weight_C": given}
    found = soft_cross_entropy(logits(), torch.eye(4).double()[labels], **options)
    for one, other in zip(found, cross_entropy(logits(), labels, **options), strict=True):
        torch.testing.assert_close(one, other)


def test_its_least_value_is_the_entropy_of_the_votes() -> None:
    """Reached where the network says what the annotators said."""
    shares = SHARES[[1, 2, 4]]
    entropy = sum(-s * math.log(s) for row in shares.tolist() for s in row if s) / 3
    assert SoftTargetLoss()((shares + 1e-300).log(), shares).item() == pytest.approx(entropy)


@pytest.mark.parametrize("least", [0.25, 0.3, 0.5, 1.0])
def test_multi_by_loops(least: float) -> None:
    ours, theirs = (logits().requires_grad_() for _ in range(2))
    terms = multi_target(ours, SHARES, least_share=least)
    costs, wrong = [], 0
    for row, shares in zip(theirs, SHARES.tolist(), strict=True):
        right = [k for k, share in enumerate(shares) if share >= min(least, max(shares))]
        chances = row.exp() / row.exp().sum()
        best = max(right, key=lambda k: row[k].item())
        costs.append(-chances[best].log())
        wrong += max(range(4), key=lambda k: row[k].item()) not in right
    expected = sum(costs) / 6
    torch.testing.assert_close(terms.per_anchor, torch.stack(costs) / 6)
    assert terms.n_active == wrong
    terms.value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_two_right_classes_need_not_share_a_probability() -> None:
    """What tells `multi` from `soft`: all on one of two right classes costs nothing."""
    sure, shares = torch.tensor([[50.0, 0.0, 0.0, 0.0]]), SHARES[5:]
    assert MultiTargetLoss()(sure, shares).item() == pytest.approx(0, abs=1e-6)
    assert SoftTargetLoss()(sure, shares).item() == pytest.approx(25)


@pytest.mark.parametrize(
    "loss",
    [SoftTargetLoss(label_smoothing=0.2), SoftTargetLoss(), MultiTargetLoss()],
    ids=["smoothed", "soft", "multi"],
)
def test_gradcheck(loss: torch.nn.Module) -> None:
    assert torch.autograd.gradcheck(lambda x: loss(x, SHARES), (logits().requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss", [SoftTargetLoss(label_smoothing=0.1), MultiTargetLoss()])
def test_half_precision_and_autocast(dtype: torch.dtype, loss: torch.nn.Module) -> None:
    leaf, shares = logits(dtype).requires_grad_(), SHARES.float()
    value = loss(leaf, shares)
    assert value.dtype == torch.float32
    assert value == loss(leaf.detach().float(), shares)
    value.backward()
    assert leaf.grad.dtype == dtype
    assert torch.isfinite(leaf.grad).all()
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(leaf, shares) == value


@pytest.mark.parametrize("loss", [SoftTargetLoss(), MultiTargetLoss()])
def test_large_logits_and_nothing_at_all(loss: torch.nn.Module) -> None:
    leaf = torch.tensor([[1e30, -1e30, 0.0, 0.0]], requires_grad=True)
    value = loss(leaf, torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    value.backward()
    assert value == 0
    assert torch.isfinite(leaf.grad).all()
    empty = torch.zeros(0, 4, requires_grad=True)
    value = loss(empty, torch.zeros(0, 4))
    value.backward()
    assert value == 0


def test_draws_follow_the_votes_and_the_generator() -> None:
    many = SHARES.float().repeat(2000, 1)
    first, again, other = (
        draw_labels(many, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    counts = torch.nn.functional.one_hot(first.view(2000, 6), 4).sum(0) / 2000
    assert (counts - SHARES).abs().max() < 0.05  # four and a half standard deviations
    assert not counts[SHARES == 0].any()
    assert draw_labels(torch.zeros(0, 4), None).tolist() == []


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shares", "sentence"),
    [
        ([[0.5, 0.5], [0.0, 0.0]], "sum to 1 in every row, got 0, 0 at row 1"),
        ([[0.5, 0.6]], "got 0.5, 0.6 at row 0"),
        ([[1.5, -0.5]], "got 1.5, -0.5 at row 0"),
        ([[1.0, 0.0], [math.nan, 1.0]], "got nan, 1 at row 1"),
        ([[math.inf, 0.0]], "got inf, 0 at row 0"),
    ],
)
def test_what_is_no_distribution_is_named(shares: list, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        check_distributions(torch.tensor(shares))
    assert sentence in str(caught.value)


def test_distributions_need_a_column_for_each_class() -> None:
    check_distributions(SHARES, classes=4)
    check_distributions(SHARES[:0])
    message = r"targets must be of shape \(N, 8\), a share of each class, got \(6, 4\)"
    with pytest.raises(UserError, match=message):
        check_distributions(SHARES, classes=8)
    with pytest.raises(UserError, match=r"of shape \(N, C\), .*, got \(6,\)"):
        check_distributions(SHARES[:, 0])
    with pytest.raises(UserError, match=r"target must be of shape \(6, 4\), .*, got \(6, 3\)"):
        SoftTargetLoss().on_logits(logits(), SHARES[:, :3])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"name": "focal", "targets": "soft"}, "targets must be 'label' or 'drawn' for focal, got"),
        (
            {"name": "binary_cross_entropy", "targets": "drawn"},
            "targets must be 'label' for binary_cross_entropy, got 'drawn'",
        ),
        (
            {"targets": "soft", "confidence_sigma": 0.2},
            "confidence_sigma must be left out for targets 'soft', got 0.2",
        ),
        ({"targets": "multi", "confidence_sigma": 0.2}, "confidence_sigma must be left out"),
        (
            {"targets": "multi", "label_smoothing": 0.1},
            "label_smoothing must be left out for targets 'multi', got 0.1",
        ),
        ({"targets": "multi", "class_weights": "balanced"}, "class_weights must be left out"),
        (
            {"targets": "soft", "least_share": 0.4},
            "least_share must be left out for targets 'soft', got 0.4",
        ),
        ({"targets": "majority"}, "targets must be 'label', 'drawn', 'soft' or 'multi', got"),
        ({"targets": "multi", "least_share": 0.0}, "least_share must be"),
    ],
)
def test_combinations_that_make_no_sense_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(ClassificationSpec, options, "c")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_each_target_has_its_loss() -> None:
    def built(**options: object) -> torch.nn.Module:
        spec = parse(ClassificationSpec, options, "c")
        return build_classification(spec, counts=[3.5, 1.5, 1.0, 6.0])

    drawn = built(targets="drawn", confidence_sigma=0.2, label_smoothing=0.1)
    assert isinstance(drawn, ClassificationLoss)
    assert (drawn.confidence_sigma, drawn.label_smoothing) == (0.2, 0.1)
    assert isinstance(built(targets="drawn", name="focal"), FocalLoss)
    soft = built(targets="soft", class_weights="balanced", label_smoothing=0.1)
    assert isinstance(soft, SoftTargetLoss)
    assert soft.weight_C.tolist() == pytest.approx([12 / 4 / n for n in (3.5, 1.5, 1.0, 6.0)])
    assert built(targets="multi").least_share == 0.3
    assert built(targets="multi", least_share=0.4).least_share == 0.4
    for share in (0.0, 1.1, math.nan):
        with pytest.raises(UserError, match=r"least_share must be in \(0, 1\], got"):
            MultiTargetLoss(least_share=share)
