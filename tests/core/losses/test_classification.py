"""Cross-entropies and focal loss against torch's own, loops and scikit-learn's weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from likeness.errors import UserError
from likeness.losses.classification import (
    ClassificationLoss,
    FocalLoss,
    MultiLabelClassificationLoss,
    balanced_weights,
    binary_cross_entropy,
    confidence_weights,
    cross_entropy,
    focal,
    positive_weights,
)

LABELS = torch.tensor([0, 2, 1, 1, 0, 0, 2])
TARGETS = torch.tensor(
    [[1, 0, 1], [0, 0, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1], [1, 0, 1]],
    dtype=torch.uint8,
)


def logits(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (3 * torch.randn(7, 3, generator=generator, dtype=torch.float64)).to(dtype)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("weighted", [False, True])
def test_value_and_gradient_are_torchs(smoothing: float, weighted: bool) -> None:
    weight = torch.tensor([0.5, 2.0, 1.3], dtype=torch.float64) if weighted else None
    ours, theirs = (logits().requires_grad_() for _ in range(2))
    terms = cross_entropy(ours, LABELS, label_smoothing=smoothing, weight_C=weight)
    expected = torch.nn.functional.cross_entropy(
        theirs, LABELS, weight=weight, label_smoothing=smoothing
    )
    torch.testing.assert_close(terms.value, expected)
    torch.testing.assert_close(terms.per_anchor.sum(), expected)
    terms.value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_by_hand() -> None:
    terms = cross_entropy(torch.tensor([[0.0, math.log(3)]]), torch.tensor([0]))
    assert terms.value.item() == pytest.approx(math.log(4))
    assert terms.valid.tolist() == [True]
    assert terms.n_active == 1  # class 1 is the more likely one


def test_gradcheck() -> None:
    loss = ClassificationLoss(label_smoothing=0.2, class_weights="balanced", counts=[3, 2, 2])
    assert torch.autograd.gradcheck(lambda x: loss(x, LABELS), (logits().requires_grad_(),))


def test_balanced_weights_are_scikit_learns() -> None:
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS.numpy())
    counts = torch.bincount(LABELS).tolist()
    np.testing.assert_allclose(balanced_weights(counts).numpy(), expected, rtol=1e-6)
    loss = ClassificationLoss(class_weights="balanced", counts=counts)
    assert list(loss.state_dict()) == ["weight_C"]
    plain = ClassificationLoss()
    assert plain.state_dict() == {}
    assert loss(logits(), LABELS) != plain(logits(), LABELS)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast(dtype: torch.dtype) -> None:
    loss = ClassificationLoss(label_smoothing=0.1)
    leaf = logits(dtype).requires_grad_()
    value = loss(leaf, LABELS)
    assert value.dtype == torch.float32
    assert value == loss(leaf.detach().float(), LABELS)
    value.backward()
    assert leaf.grad.dtype == dtype
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(leaf, LABELS) == value


def test_large_logits_stay_finite() -> None:
    leaf = torch.tensor([[1e30, -1e30], [0.0, 0.0]], requires_grad=True)
    value = cross_entropy(leaf, torch.tensor([0, 1])).value
    value.backward()
    assert value.item() == pytest.approx(math.log(2) / 2)
    assert torch.isfinite(leaf.grad).all()


def test_an_empty_batch_is_an_exact_zero() -> None:
    leaf = torch.zeros(0, 3, requires_grad=True)
    value = cross_entropy(leaf, torch.zeros(0, dtype=torch.int64)).value
    value.backward()
    assert value == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\), got 1.0"),
        ({"label_smoothing": math.nan}, r"label_smoothing must be in \[0, 1\), got nan"),
        ({"class_weights": "balanced"}, "counts must be given for balanced class weights"),
        (
            {"class_weights": "balanced", "counts": [3, 0]},
            "counts must be >= 1 for every class, got 0",
        ),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ClassificationLoss(**options)


# --- weights by confidence --------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.18, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_confidence_by_loops(sigma: float, weighted: bool, smoothing: float) -> None:
    """Value, and the slope of the same sum with the weights as numbers."""
    ours, theirs = (logits().requires_grad_() for _ in range(2))
    weights = [0.5, 2.0, 1.3] if weighted else [1.0, 1.0, 1.0]
    given = torch.tensor(weights).double() if weighted else None
    terms = cross_entropy(
        ours, LABELS, label_smoothing=smoothing, weight_C=given, confidence_sigma=sigma
    )
    counts, costs = [], []
    for row, label in zip(theirs, LABELS.tolist(), strict=True):
        chances = row.exp() / row.exp().sum()
        trust = math.exp(-((chances[label].item() - 0.5) ** 2) / (2 * sigma**2))
        target = [smoothing / 3 + (1 - smoothing) * (k == label) for k in range(3)]
        cost = sum(-t * w * p.log() for t, w, p in zip(target, weights, chances, strict=True))
        counts.append(trust * weights[label])
        costs.append(trust * cost)
    expected = sum(costs) / sum(counts)
    torch.testing.assert_close(terms.value, expected)
    torch.testing.assert_close(terms.per_anchor.sum(), expected)
    terms.value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    plain = cross_entropy(logits(), LABELS, label_smoothing=smoothing, weight_C=given)
    assert terms.value != plain.value
    assert terms.n_active == plain.n_active
    assert terms.valid.all()


def test_confidence_figures_of_the_specification() -> None:
    values = torch.tensor([[60.0, 0.0], [-60.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    found = confidence_weights(values, torch.zeros(3, dtype=torch.int64), 0.18)
    assert found.tolist() == pytest.approx([0.0211, 0.0211, 1.0], abs=1e-4)


def test_samples_of_one_confidence_weigh_the_same() -> None:
    """Any scale cancels: the weights sum to 1 over the batch."""
    values, labels = torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1])
    loss = ClassificationLoss(confidence_sigma=0.18)
    torch.testing.assert_close(loss(values, labels), ClassificationLoss()(values, labels))


def test_easy_and_surely_wrong_samples_count_less() -> None:
    leaf = torch.tensor([[9.0, 0.0], [0.1, 0.0], [-9.0, 0.0]], requires_grad=True)
    plain = leaf.detach().clone().requires_grad_()
    labels = torch.zeros(3, dtype=torch.int64)
    cross_entropy(leaf, labels, confidence_sigma=0.18).value.backward()
    cross_entropy(plain, labels).value.backward()
    ratio = leaf.grad.abs().sum(1) / plain.grad.abs().sum(1)
    assert ratio[1] > 2
    assert ratio[0] < 0.1
    assert ratio[2] < 0.1


def test_confidence_that_is_nowhere_is_an_exact_zero() -> None:
    leaf = torch.tensor([[90.0, 0.0], [-90.0, 0.0]], requires_grad=True)
    value = cross_entropy(leaf, torch.tensor([0, 0]), confidence_sigma=0.01).value
    value.backward()
    assert value == 0
    assert not leaf.grad.any()
    empty = torch.zeros(0, 3, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    assert cross_entropy(empty, none, confidence_sigma=0.18).value == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_confidence_in_half_precision_and_autocast(dtype: torch.dtype) -> None:
    loss = ClassificationLoss(confidence_sigma=0.18)
    leaf = logits(dtype).requires_grad_()
    value = loss(leaf, LABELS)
    assert value.dtype == torch.float32
    assert value == loss(leaf.detach().float(), LABELS)
    value.backward()
    assert leaf.grad.dtype == dtype
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(leaf, LABELS) == value


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.inf, math.nan])
def test_confidence_sigma_is_checked(sigma: float) -> None:
    with pytest.raises(UserError, match=f"confidence_sigma must be > 0 and finite, got {sigma}"):
        ClassificationLoss(confidence_sigma=sigma)


# --- focal loss -------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_focal_by_loops(gamma: float, weighted: bool) -> None:
    weights = [0.5, 2.0, 1.3] if weighted else [1.0, 1.0, 1.0]
    given = torch.tensor(weights).double() if weighted else None
    values = logits()
    values[0] = torch.tensor([2.0, 0.0, -1.0])  # one sample right
    terms = focal(values, LABELS, gamma=gamma, weight_C=given)
    costs, wrong = [], 0
    for row, label in zip(values.tolist(), LABELS.tolist(), strict=True):
        total = sum(math.exp(value) for value in row)
        p = math.exp(row[label]) / total
        costs.append(weights[label] * (1 - p) ** gamma * -math.log(p))
        wrong += max(row) != row[label]
    shared = sum(weights[label] for label in LABELS.tolist())
    torch.testing.assert_close(terms.per_anchor, torch.tensor(costs).double() / shared)
    assert terms.value.item() == pytest.approx(sum(costs) / shared)
    assert 0 < terms.n_active == wrong < 7
    assert terms.valid.all()


@pytest.mark.parametrize("weighted", [False, True])
def test_focal_without_gamma_is_cross_entropy(weighted: bool) -> None:
    weight = torch.tensor([0.5, 2.0, 1.3], dtype=torch.float64) if weighted else None
    ours, theirs = (logits().requires_grad_() for _ in range(2))
    terms = focal(ours, LABELS, gamma=0.0, weight_C=weight)
    expected = cross_entropy(theirs, LABELS, weight_C=weight)
    for one, other in zip(terms, expected, strict=True):
        torch.testing.assert_close(one, other)
    terms.value.backward()
    expected.value.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_focal_of_two_classes_is_the_papers() -> None:
    """With a sigmoid of the difference, gamma 2 and alpha 0.25 (equation 5); a sum there."""
    values = torch.linspace(-4, 4, 9, dtype=torch.float64)
    for label, alpha in ((1, 0.25), (0, 0.75)):
        p = torch.sigmoid(values if label else -values)
        expected = (-alpha * (1 - p) ** 2 * p.log()).sum()
        pairs = torch.stack([torch.zeros_like(values), values], 1)
        labels = torch.full((9,), label)
        weight = torch.tensor([0.75, 0.25], dtype=torch.float64)
        found = focal(pairs, labels, gamma=2.0, weight_C=weight).per_anchor
        torch.testing.assert_close(found.sum() * 9 * alpha, expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_gradcheck(gamma: float) -> None:
    loss = FocalLoss(gamma=gamma, class_weights="balanced", counts=[3, 2, 2])
    assert torch.autograd.gradcheck(lambda x: loss(x, LABELS), (logits().requires_grad_(),))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("size", [50.0, 1e30])
def test_focal_of_certain_samples_stays_finite(gamma: float, size: float) -> None:
    """Where 1 - p is 0 in floating point; a small gamma has an endless slope there."""
    leaf = torch.tensor([[size, -size], [size, -size]], requires_grad=True)
    terms = focal(leaf, torch.tensor([0, 1]), gamma=gamma)
    terms.value.backward()
    assert terms.per_anchor.tolist() == pytest.approx([0.0, size], rel=1e-6)
    assert torch.isfinite(leaf.grad).all()
    torch.testing.assert_close(leaf.grad, torch.tensor([[0.0, 0.0], [0.5, -0.5]]))


def test_focal_counts_easy_samples_less() -> None:
    leaf = torch.tensor([[4.0, 0.0], [0.5, 0.0]], requires_grad=True)
    focal(leaf, torch.tensor([0, 0]), gamma=2.0).value.backward()
    plain = leaf.detach().clone().requires_grad_()
    cross_entropy(plain, torch.tensor([0, 0])).value.backward()
    ratio = leaf.grad.abs().sum(1) / plain.grad.abs().sum(1)
    assert ratio[0] < 0.01 * ratio[1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_focal_in_half_precision_and_autocast(dtype: torch.dtype) -> None:
    loss = FocalLoss()
    leaf = logits(dtype).requires_grad_()
    value = loss(leaf, LABELS)
    assert value.dtype == torch.float32
    assert value == loss(leaf.detach().float(), LABELS)
    value.backward()
    assert leaf.grad.dtype == dtype
    assert torch.isfinite(leaf.grad).all()
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(leaf, LABELS) == value


@pytest.mark.parametrize(("shape", "labels"), [((0, 3), []), ((2, 1), [0, 0])])
def test_focal_of_nothing_to_tell_apart_is_an_exact_zero(shape: tuple, labels: list) -> None:
    leaf = torch.ones(shape, requires_grad=True)
    value = FocalLoss()(leaf, torch.tensor(labels, dtype=torch.int64))
    value.backward()
    assert value == 0
    assert not leaf.grad.any()


def test_focal_options_are_checked() -> None:
    for gamma in (-1.0, math.inf, math.nan):
        with pytest.raises(UserError, match=f"gamma must be >= 0 and finite, got {gamma}"):
            FocalLoss(gamma=gamma)
    with pytest.raises(UserError, match="counts must be given"):
        FocalLoss(class_weights="balanced")
    with pytest.raises(UserError, match=r"labels must be of shape \(N,\) for focal, got \(7, 3\)"):
        FocalLoss().on_logits(logits(), TARGETS)


# --- several labels per image -----------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("weighted", [False, True])
def test_binary_value_and_gradient_are_torchs(smoothing: float, weighted: bool) -> None:
    weight = torch.tensor([0.5, 2.0, 1.3], dtype=torch.float64) if weighted else None
    ours, theirs = (logits().requires_grad_() for _ in range(2))
    terms = binary_cross_entropy(ours, TARGETS, label_smoothing=smoothing, positive_weight_L=weight)
    smoothed = TARGETS.double() * (1 - smoothing) + smoothing / 2
    expected = torch.nn.BCEWithLogitsLoss(pos_weight=weight)(theirs, smoothed)
    torch.testing.assert_close(terms.value, expected)
    torch.testing.assert_close(terms.per_anchor.sum(), expected)
    assert terms.valid.all()
    terms.value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_binary_by_loops() -> None:
    weights, values = [0.5, 2.0, 1.3], logits()
    values[0] = 2.0 * TARGETS[0] - 1  # one sample all right
    terms = binary_cross_entropy(values, TARGETS, positive_weight_L=torch.tensor(weights).double())
    wrong = 0
    for row, (mine, wanted) in enumerate(zip(values.tolist(), TARGETS.tolist(), strict=True)):
        cost = 0.0
        for value, target, weight in zip(mine, wanted, weights, strict=True):
            probability = 1 / (1 + math.exp(-value))
            cost -= weight * math.log(probability) if target else math.log(1 - probability)
        assert terms.per_anchor[row].item() == pytest.approx(cost / 21, rel=1e-6)
        wrong += any((v > 0) != bool(t) for v, t in zip(mine, wanted, strict=True))
    assert 0 < terms.n_active == wrong < 7


@pytest.mark.parametrize("kind", [torch.bool, torch.int64, torch.float32, torch.float16])
def test_targets_of_any_type(kind: torch.dtype) -> None:
    loss = MultiLabelClassificationLoss()
    assert loss(logits(), TARGETS.to(kind)) == loss(logits(), TARGETS)


def test_binary_gradcheck() -> None:
    loss = MultiLabelClassificationLoss(
        label_smoothing=0.2, class_weights="balanced", counts=[5, 2, 4], images=7
    )
    assert torch.autograd.gradcheck(lambda x: loss(x, TARGETS), (logits().requires_grad_(),))


def test_positive_weights_make_both_sides_of_a_label_weigh_the_same() -> None:
    counts = TARGETS.sum(0).tolist()
    weights = positive_weights(counts, 7)
    assert weights.tolist() == pytest.approx([2 / 5, 5 / 2, 3 / 4])
    loss = MultiLabelClassificationLoss(class_weights="balanced", counts=counts, images=7)
    assert list(loss.state_dict()) == ["weight_L"]
    leaf = torch.zeros(7, 3, requires_grad=True)
    loss(leaf, TARGETS).backward()
    torch.testing.assert_close(leaf.grad.sum(0), torch.zeros(3))
    # A label of every image is not ignored: as if one image had it not.
    assert positive_weights([4, 1], 4).tolist() == pytest.approx([1 / 4, 3.0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_binary_half_precision_and_autocast(dtype: torch.dtype) -> None:
    loss = MultiLabelClassificationLoss(label_smoothing=0.1)
    leaf = logits(dtype).requires_grad_()
    value = loss(leaf, TARGETS)
    assert value.dtype == torch.float32
    assert value == loss(leaf.detach().float(), TARGETS)
    value.backward()
    assert leaf.grad.dtype == dtype
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(leaf, TARGETS) == value


def test_binary_large_logits_stay_finite() -> None:
    leaf = torch.tensor([[1e30, -1e30], [0.0, 0.0]], requires_grad=True)
    weight = torch.tensor([3.0, 3.0])
    wanted = torch.tensor([[1, 0], [0, 0]])
    value = binary_cross_entropy(leaf, wanted, positive_weight_L=weight).value
    value.backward()
    assert value.item() == pytest.approx(math.log(2) / 2)
    assert torch.isfinite(leaf.grad).all()


def test_binary_of_an_empty_batch_is_an_exact_zero() -> None:
    leaf = torch.zeros(0, 3, requires_grad=True)
    value = MultiLabelClassificationLoss()(leaf, torch.zeros(0, 3))
    value.backward()
    assert value == 0


def test_labels_of_the_other_form_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"labels must be of shape \(N,\) for cross_entropy, got \(7, 3\)"
    ):
        ClassificationLoss().on_logits(logits(), TARGETS)
    message = r"labels must be of shape \(7, 3\) for binary_cross_entropy, got \(7,\)"
    with pytest.raises(UserError, match=message):
        MultiLabelClassificationLoss().on_logits(logits(), LABELS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\), got 1.0"),
        ({"class_weights": "balanced"}, "counts must be given for balanced class weights"),
        (
            {"class_weights": "balanced", "counts": [3, 0], "images": 5},
            "counts must be >= 1 for every label, got 0",
        ),
        (
            {"class_weights": "balanced", "counts": [3, 6], "images": 5},
            "counts must be <= 5, the number of images, got 6",
        ),
    ],
)
def test_binary_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        MultiLabelClassificationLoss(**options)
