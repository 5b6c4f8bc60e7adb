"""Both cross-entropies against torch's own, loops and scikit-learn's weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from likeness.errors import UserError
from likeness.losses.classification import (
    ClassificationLoss,
    MultiLabelClassificationLoss,
    balanced_weights,
    binary_cross_entropy,
    cross_entropy,
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
