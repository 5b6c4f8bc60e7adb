"""N-pair: the paper's cross-entropy, the peer's pairs, the norm, and what many negatives do."""

from __future__ import annotations

import pytest
import torch
from pytorch_metric_learning import distances, losses
from torch import Tensor
from torch.nn import functional as F

from fixtures.free_points import move, normal
from likeness.batch import Batch
from likeness.errors import UserError
from likeness.losses import NPairLoss
from likeness.mining import n_pairs
from likeness.pairs import Pairs
from likeness.selection import Selection


def cross_entropy(anchors: Tensor, positives: Tensor) -> Tensor:
    return F.cross_entropy(anchors @ positives.T, torch.arange(len(anchors)))


def test_against_a_reference_of_positives_it_is_the_papers() -> None:
    a, b, y = normal(6, 4), normal(6, 4, seed=1), torch.arange(6)
    pairs = Pairs(a, y, reference=b, reference_labels=y, space="dot")
    value = NPairLoss(norm_weight=0.3).on_pairs(pairs).value
    norms = a.square().sum(1).mean() + b.square().sum(1).mean()
    torch.testing.assert_close(value, cross_entropy(a, b) + 0.3 * norms)


def test_the_miner_makes_it_the_papers_in_one_batch() -> None:
    a, b, y = normal(6, 4), normal(6, 4, seed=1), torch.arange(6)
    leaf = torch.cat([a, b]).requires_grad_()
    pairs = Pairs(leaf, y.repeat(2), space="dot")
    value = NPairLoss(norm_weight=0.0).on_pairs(pairs, n_pairs(pairs, Batch(y.repeat(2)))).value
    expected = cross_entropy(leaf[:6], leaf[6:])
    torch.testing.assert_close(value, expected)
    slopes = [torch.autograd.grad(v, leaf)[0] for v in (value, expected)]
    torch.testing.assert_close(*slopes)


def test_value_and_gradient_are_the_peers() -> None:
    """Which takes the first two samples of each class, and must be told not to normalise."""
    y = torch.arange(5).repeat(3)[torch.randperm(15, generator=torch.Generator().manual_seed(0))]
    ours, theirs = (normal(15, 6, seed=2).requires_grad_() for _ in range(2))
    pairs = Pairs(ours, y, space="dot")
    value = NPairLoss(norm_weight=0.0).on_pairs(pairs, n_pairs(pairs, Batch(y))).value
    raw = distances.DotProductSimilarity(normalize_embeddings=False)
    expected = losses.NPairsLoss(distance=raw)(theirs, y)
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_long_embeddings_do_not_overflow() -> None:
    x = (300 * torch.eye(4)).half().requires_grad_()  # 90,000 is infinite in float16
    value = NPairLoss(norm_weight=0.0)(x, torch.tensor([0, 0, 1, 1]))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(x.grad).all()


def test_against_one_other_class_both_forms_are_one() -> None:
    """A single contest is a softmax of two."""
    x, y = normal(2, 4), torch.arange(2)
    pairs = Pairs(x, y, reference=normal(2, 4, seed=1), reference_labels=y, space="dot")
    values = [NPairLoss(form=form).on_pairs(pairs).value for form in ("multi_class", "one_vs_one")]
    torch.testing.assert_close(*values)


def test_in_single_contests_a_negative_is_pushed_whatever_the_others_do() -> None:
    """The softmax leaves it alone once another is far more similar."""
    y = torch.arange(3)
    anchor, others = torch.eye(3)[:1], torch.diag(torch.tensor([1.0, 1.0, 1.0]))
    pushes = {}
    for form in ("multi_class", "one_vs_one"):
        for third in (0.0, 8.0):
            reference = others.clone()
            reference[2, 0] = third
            reference.requires_grad_()
            pairs = Pairs(anchor, y[:1], reference=reference, reference_labels=y, space="dot")
            NPairLoss(form=form, norm_weight=0.0).on_pairs(pairs).value.backward()
            pushes[form, third] = reference.grad[1, 0].item()
    assert pushes["one_vs_one", 8.0] == pytest.approx(pushes["one_vs_one", 0.0])
    assert pushes["multi_class", 8.0] < 0.01 * pushes["multi_class", 0.0]


@pytest.mark.plain
def test_the_form_is_checked() -> None:
    with pytest.raises(UserError, match="form must be one of multi_class, one_vs_one, got 'ovo'"):
        NPairLoss(form="ovo")


def test_options_are_checked() -> None:
    with pytest.raises(UserError, match="norm_weight must be >= 0 and finite, got -1"):
        NPairLoss(norm_weight=-1.0)
    with pytest.raises(UserError, match="space of NPairLoss must be one of dot, got 'cosine'"):
        NPairLoss(space="cosine")


# --- claims ---------------------------------------------------------------------------------


def farthest(norm_weight: float) -> float:
    x, y = normal(12, 4, dtype=torch.float32), torch.arange(6).repeat(2)
    moved = move(NPairLoss(norm_weight=norm_weight), x, y, steps=200, lr=0.1)
    return moved.norm(dim=1).max().item()


def test_the_penalty_holds_the_length() -> None:
    assert farthest(0.05) < 3


def test_without_it_embeddings_grow() -> None:
    assert farthest(0.0) > 3


def next_class(pairs: Pairs, batch: Batch) -> Selection:
    """One negative class for each anchor instead of all."""
    positive_NN, negative_NN = n_pairs(pairs, batch)
    is_next = (batch.labels[:, None] + 1) % 12 == batch.labels[None, :]
    return Selection(positive_NN, negative_NN & is_next)


def solved(miner: object, seed: int) -> float:
    """Share of anchors whose own positive is more similar than that of every other class."""
    x, y = 0.1 * normal(24, 6, seed=seed, dtype=torch.float32), torch.arange(12).repeat(2)
    moved = move(NPairLoss(), x, y, steps=100, lr=0.02, miner=miner)
    return ((moved[:12] @ moved[12:].T).argmax(1) == torch.arange(12)).float().mean().item()


@pytest.mark.parametrize("seed", [0, 1])
def test_all_classes_are_told_apart_at_once(seed: int) -> None:
    assert solved(n_pairs, seed) > 0.9


@pytest.mark.parametrize("seed", [0, 1])
def test_with_one_negative_each_they_are_not(seed: int) -> None:
    assert solved(next_class, seed) < 0.9
