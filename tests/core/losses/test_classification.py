"""Cross-entropy against torch's own, its weights against scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from likeness.errors import UserError
from likeness.losses.classification import ClassificationLoss, balanced_weights, cross_entropy

LABELS = torch.tensor([0, 2, 1, 1, 0, 0, 2])


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
