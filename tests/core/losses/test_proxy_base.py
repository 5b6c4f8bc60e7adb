"""What all losses with proxies share: how proxies start, train and are kept; what is refused."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
from pytorch_metric_learning import losses as pml
from torch import Tensor

from likeness.errors import UserError
from likeness.losses import (
    ArcFaceLoss,
    CosFaceLoss,
    GaussianStructuredLoss,
    MultiProxiesAnchorLoss,
    NormalisedSoftmaxLoss,
    ProxyAnchorLoss,
    ProxyLoss,
    ProxyNCALoss,
    SoftTripleLoss,
)
from likeness.losses.factory import ClassificationSpec, check_labels
from likeness.losses.specs import NormalisedSoftmaxSpec
from likeness.mining import BatchHardMinerSpec, SemiHardMinerSpec, check_combination
from likeness.objective import ObjectiveSpec, build_objective
from likeness.pairs import Pairs
from likeness.selection import Selection, everything
from likeness.training.optimisers import parameter_groups
from likeness.training.spec import AdamWSpec

C, D = 4, 3
PAIRS = torch.arange(3).repeat_interleave(2)
KINDS = [
    ProxyNCALoss,
    ProxyAnchorLoss,
    MultiProxiesAnchorLoss,
    NormalisedSoftmaxLoss,
    ArcFaceLoss,
    CosFaceLoss,
    SoftTripleLoss,
]
SEVERAL = (MultiProxiesAnchorLoss, SoftTripleLoss)  # proxies of a class
every_kind = pytest.mark.parametrize("kind", KINDS)


def batch(
    seed: int = 0, count: int = 12, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, D, generator=generator, dtype=dtype)
    y = torch.arange(count) % (C - 1)  # the last class never occurs
    return x, y[torch.randperm(count, generator=generator)]


# --- how proxies start ----------------------------------------------------------------------


@every_kind
def test_only_class_means_want_an_embedding_pass(kind: type[ProxyLoss]) -> None:
    assert not kind(C, D).needs_class_means
    assert kind(C, D, start="class_means").needs_class_means


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in SEVERAL])
def test_imprint_sets_the_mean_directions(kind: type[ProxyLoss]) -> None:
    loss = kind(C, D)
    x, y = batch()
    before = loss.bank.weight.detach().clone()
    loss.imprint(x.half().requires_grad_(), y)
    units = x.half().float() / x.half().float().norm(dim=1, keepdim=True)
    for k in range(C - 1):
        torch.testing.assert_close(loss.bank.weight[k], units[y == k].mean(0))
    assert torch.equal(loss.bank.weight[C - 1], before[C - 1])
    assert loss.bank.weight.requires_grad


@every_kind
def test_a_class_without_a_mean_direction_keeps_its_proxies(kind: type[ProxyLoss]) -> None:
    """A row of zeros gets no gradient: it would stay where it is for good."""
    loss = kind(3, 4)
    before = loss.bank.weight.detach().clone().view(3, -1, 4)
    axes = torch.eye(4)
    loss.imprint(
        torch.stack([0 * axes[0], 0 * axes[0], axes[1], -axes[1], axes[2], axes[2]]), PAIRS
    )
    after = loss.bank.weight.detach().view(3, -1, 4)
    assert torch.equal(after[0], before[0])
    assert (after.norm(dim=2) > 0.01).all()
    torch.testing.assert_close(after[2], axes[2].expand_as(after[2]))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (ProxyNCALoss, 1 / 8),
        (ProxyAnchorLoss, math.sqrt(2 / 300)),
        (MultiProxiesAnchorLoss, math.sqrt(2 / 3000)),
        (NormalisedSoftmaxLoss, 1 / 8),
        (ArcFaceLoss, 1 / 8),
        (CosFaceLoss, 1 / 8),
        (SoftTripleLoss, 1 / 8),
    ],
)
def test_random_values_are_those_of_the_sources(kind: type[ProxyLoss], expected: float) -> None:
    torch.manual_seed(0)
    assert kind(300, 64).bank.weight.std().item() == pytest.approx(expected, rel=0.05)


# --- how they train and are kept ------------------------------------------------------------


@every_kind
def test_every_proxy_gets_a_gradient_absent_classes_too(kind: type[ProxyLoss]) -> None:
    torch.manual_seed(0)
    loss = kind(C, D)
    loss(*batch()).backward()
    assert (loss.bank.weight.grad != 0).any(1).all()


@every_kind
def test_the_optimiser_gives_them_their_rate_and_no_decay(kind: type[ProxyLoss]) -> None:
    loss = kind(C, D, proxy_lr_mult=7.0)
    (group,) = parameter_groups([loss], AdamWSpec(lr=0.01, weight_decay=0.1))
    assert group["params"] == [loss.bank.weight]
    assert group["lr"] == pytest.approx(0.07)
    assert group["weight_decay"] == 0


@every_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_batch_never_changes_their_type(kind: type[ProxyLoss], dtype: torch.dtype) -> None:
    loss = kind(C, D)
    x, y = batch()
    loss(x.to(dtype), y).backward()
    assert loss.bank.weight.dtype == loss.bank.weight.grad.dtype == torch.float32


@every_kind
def test_after_a_restart_training_goes_on_exactly(kind: type[ProxyLoss]) -> None:
    """Two steps, against one step, a copy by state, and one more."""

    def step(loss: ProxyLoss, optimiser: torch.optim.Optimizer, seed: int) -> None:
        optimiser.zero_grad()
        loss(*batch(seed)).backward()
        optimiser.step()

    def adam(loss: ProxyLoss) -> torch.optim.Optimizer:
        return torch.optim.AdamW(loss.parameters(), lr=0.1)

    through, later = kind(C, D), kind(C, D)
    first = adam(through)
    step(through, first, 1)
    later.load_state_dict(through.state_dict())
    second = adam(later)
    second.load_state_dict(deepcopy(first.state_dict()))
    step(through, first, 2)
    step(later, second, 2)
    assert torch.equal(through.bank.weight, later.bank.weight)


# --- agreement with pytorch-metric-learning -------------------------------------------------


def peers() -> list[tuple[ProxyLoss, torch.nn.Module]]:
    size = (C, D)
    return [
        (ProxyNCALoss(*size), pml.ProxyNCALoss(*size, softmax_scale=9)),
        (ProxyAnchorLoss(*size), pml.ProxyAnchorLoss(*size)),
        (MultiProxiesAnchorLoss(*size, per_class=1), pml.ProxyAnchorLoss(*size)),
        (NormalisedSoftmaxLoss(*size), pml.NormalizedSoftmaxLoss(*size)),
        (ArcFaceLoss(*size), pml.ArcFaceLoss(*size, margin=math.degrees(0.5))),
        (ArcFaceLoss(*size, margin=1.5), pml.ArcFaceLoss(*size, margin=math.degrees(1.5))),
        (CosFaceLoss(*size), pml.CosFaceLoss(*size)),
    ]


@pytest.mark.parametrize("which", range(7))
@pytest.mark.parametrize("seed", [0, 1])
def test_value_and_gradients_are_the_peers(which: int, seed: int) -> None:
    torch.manual_seed(seed)
    ours, theirs = peers()[which]
    ours = ours.double()
    ((_, proxies),) = theirs.named_parameters()
    lies = proxies.shape == (D, C)
    rows = torch.randn(C, D, dtype=torch.float64)
    ours.bank.weight.data = rows.clone()
    proxies.data = (rows.T if lies else rows).clone()
    x, y = batch(seed, dtype=torch.float64)
    mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    value, expected = ours(mine, y), theirs(other, y)
    torch.testing.assert_close(value, expected, rtol=1e-8, atol=1e-9)
    value.backward()
    expected.backward()
    torch.testing.assert_close(mine.grad, other.grad, rtol=1e-6, atol=1e-8)
    slope = proxies.grad.T if lies else proxies.grad
    torch.testing.assert_close(ours.bank.weight.grad, slope, rtol=1e-6, atol=1e-8)


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*KINDS, GaussianStructuredLoss])
def test_miners_are_refused_by_name_before_training(kind: type[ProxyLoss]) -> None:
    check_combination(kind(C, D), [])
    names = r"batch_hard, semi_hard"
    with pytest.raises(UserError, match=rf"miners of {kind.__name__} must be none .*got {names}"):
        check_combination(kind(C, D), [BatchHardMinerSpec(), SemiHardMinerSpec()])


@every_kind
def test_selections_and_memories_are_refused(kind: type[ProxyLoss]) -> None:
    loss, (x, y) = kind(C, D), batch()
    pairs = Pairs(x, y, space="cosine")
    with pytest.raises(UserError, match=f"miners of {kind.__name__} must be none .*a Selection"):
        loss.on_pairs(pairs, Selection(*everything(pairs)))
    memory = Pairs(x, y, reference=x, reference_labels=y, space="cosine")
    with pytest.raises(UserError, match=f"reference of {kind.__name__} must be the batch itself"):
        loss.on_pairs(memory)
    with pytest.raises(UserError, match="space of the pairs must be cosine, got 'euclidean'"):
        loss.on_pairs(Pairs(x, y))


@every_kind
def test_labels_and_sizes_that_do_not_fit_are_named(kind: type[ProxyLoss]) -> None:
    loss, (x, y) = kind(C, D), batch()
    for wrong in (-1, C):
        mistaken = y.clone()
        mistaken[3] = wrong
        for call in (loss, loss.imprint):
            with pytest.raises(UserError, match=rf"labels must be in \[0, 4\), got {wrong}"):
                call(x, mistaken)
    with pytest.raises(UserError, match=r"labels must be class indices of shape \(N,\)"):
        loss(x, torch.nn.functional.one_hot(y, C))
    with pytest.raises(UserError, match="dim must be 3, got 5"):
        loss(torch.randn(12, 5), y)


def test_several_labels_and_sub_classes_are_refused() -> None:
    binary = ClassificationSpec(name="binary_cross_entropy")
    with pytest.raises(UserError, match=r"a proxy per class .*got 'normalised_softmax'"):
        check_labels([NormalisedSoftmaxSpec()], binary, multilabel=True)
    spec = ObjectiveSpec(terms=({"loss": {"name": "proxy_nca"}, "labels": "subclass"},))
    with pytest.raises(UserError, match=r"on sub-classes.* proxies.* proxy_nca keeps for every"):
        build_objective(spec, num_classes=3, dims={"embedding": 5}, subclasses=4)


@every_kind
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proxy_lr_mult": 0.0}, "proxy_lr_mult must be > 0, got 0.0"),
        ({"space": "euclidean"}, "space of .* must be one of cosine, got 'euclidean'"),
    ],
)
def test_shared_options_are_checked(kind: type, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        kind(C, D, **options)


@every_kind
def test_sizes_are_checked(kind: type[ProxyLoss]) -> None:
    with pytest.raises(UserError, match="num_classes must be >= 1, got 0"):
        kind(0, D)
    with pytest.raises(UserError, match="dim must be >= 1, got 0"):
        kind(C, 0)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (ProxyNCALoss, {"scale": 0.0}, "scale must be > 0 and finite, got 0.0"),
        (ProxyAnchorLoss, {"alpha": math.inf}, "alpha must be > 0 and finite, got inf"),
        (ProxyAnchorLoss, {"margin": -0.1}, r"margin must be in \[0, 1\], got -0.1"),
        (MultiProxiesAnchorLoss, {"per_class": 0}, "per_class must be >= 1, got 0"),
        (MultiProxiesAnchorLoss, {"gamma": 0.0}, "gamma must be > 0 and finite, got 0.0"),
        (MultiProxiesAnchorLoss, {"merge_weight": math.nan}, "merge_weight must be >= 0 and"),
        (NormalisedSoftmaxLoss, {"temperature": 0.0}, "temperature must be > 0 and finite"),
        (ArcFaceLoss, {"scale": math.nan}, "scale must be > 0 and finite, got nan"),
        (ArcFaceLoss, {"margin": 1.6}, r"margin must be in \[0, pi / 2\], got 1.6"),
        (CosFaceLoss, {"scale": math.inf}, "scale must be > 0 and finite, got inf"),
        (CosFaceLoss, {"margin": 1.1}, r"margin must be in \[0, 1\], got 1.1"),
        (SoftTripleLoss, {"per_class": 0}, "per_class must be >= 1, got 0"),
        (SoftTripleLoss, {"scale": 0.0}, "scale must be > 0 and finite, got 0.0"),
        (SoftTripleLoss, {"gamma": 0.0}, "gamma must be > 0 and finite, got 0.0"),
        (SoftTripleLoss, {"margin": -0.1}, r"margin must be in \[0, 1\], got -0.1"),
        (SoftTripleLoss, {"merge_weight": math.nan}, "merge_weight must be >= 0 and"),
    ],
)
def test_options_are_checked(kind: type, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        kind(C, D, **options)


@pytest.mark.plain
@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        *((kind, {"start": "zero"}, "start must be one of random, class_means") for kind in KINDS),
        (ProxyNCALoss, {"variant": "nca"}, "variant must be one of prob, classic, got 'nca'"),
        (MultiProxiesAnchorLoss, {"gradient": "all"}, "gradient must be one of class, data, both"),
    ],
)
def test_words_are_checked(kind: type, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        kind(C, D, **options)


def test_one_class_has_nothing_to_be_told_from() -> None:
    with pytest.raises(UserError, match="num_classes must be >= 2 for classic, got 1"):
        ProxyNCALoss(1, D, variant="classic")
    x, y = torch.randn(4, D), torch.zeros(4, dtype=torch.int64)
    assert ProxyNCALoss(1, D)(x, y) == NormalisedSoftmaxLoss(1, D)(x, y) == 0
    assert ProxyAnchorLoss(1, D)(x, y) > 0
