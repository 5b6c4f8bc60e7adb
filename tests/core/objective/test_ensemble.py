"""Learned weights: the definition, their bounds, one common factor, a planted useless loss."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from likeness.batch import Batch
from likeness.config import parse
from likeness.errors import UserError
from likeness.losses import ContrastiveLoss
from likeness.objective import (
    EnsembleWeights,
    LabelKind,
    Objective,
    ObjectiveSpec,
    Term,
    build_objective,
    join_heads,
)
from likeness.training.optimisers import parameter_groups
from likeness.training.spec import RunSpec, SGDSpec

FORMS = pytest.mark.parametrize("form", ["softmax", "penalty"])
LABELS = torch.arange(12) % 4
TERMS = [
    {"loss": {"name": "contrastive"}},
    {"loss": {"name": "triplet"}},
    {"loss": {"name": "multi_similarity"}, "weight": 2.0},
]


class Outputs(NamedTuple):
    embeddings: dict[str, Tensor]
    logits: dict[str, Tensor]


def outputs(seed: int = 0) -> Outputs:
    draw = torch.Generator().manual_seed(seed)
    return Outputs({"embedding": torch.randn(12, 5, generator=draw, requires_grad=True)}, {})


def scalars(*values: float) -> list[Tensor]:
    return [torch.tensor(value, requires_grad=True) for value in values]


def all_valid(count: int) -> list[Tensor]:
    return [torch.tensor(True)] * count


def build(**spec: object) -> Objective:
    given = {"terms": TERMS, "classification": None, "ensemble": {}, **spec}
    parsed = parse(ObjectiveSpec, given, "objective")
    return build_objective(parsed, num_classes=4, dims={"embedding": 5})


# --- the definition ---------------------------------------------------------------------------


@FORMS
def test_it_starts_at_its_prior_with_a_sum_of_one(form: str) -> None:
    made = EnsembleWeights([1.0, 1.0, 2.0], form=form)
    expected = 1 / 12 + 0.75 * torch.tensor([0.25, 0.25, 0.5])
    torch.testing.assert_close(made.weights().detach(), expected)


@FORMS
def test_the_value_is_the_definitions_step_by_step(form: str) -> None:
    """Equations 8 and 11 in plain numbers, with means of all steps so far."""
    made = EnsembleWeights([1.0, 3.0], form=form, penalty=10.0)
    with torch.no_grad():
        made.free.copy_(torch.tensor([0.4, 1.1]))
    seen: list[list[float]] = []
    for values in ([2.0, 0.1], [1.0, 0.3], [4.0, 0.2]):
        seen.append(values)
        losses = scalars(*values)
        found = made(losses, all_valid(2))
        means = [sum(step[j] for step in seen) / len(seen) for j in range(2)]
        m = sum(means) / 2
        w = made.weights().tolist()
        expected = sum(w[j] * m / means[j] * values[j] for j in range(2))
        if form == "penalty":
            assert w == pytest.approx([0.4**2 + 1 / 8, 1.1**2 + 1 / 8])
            expected += 10.0 * (sum(w) - 1) ** 2
        assert found.item() == pytest.approx(expected, rel=1e-5)
        slopes = torch.autograd.grad(found, losses)  # the factors are constants
        for j in range(2):
            assert slopes[j].item() == pytest.approx(w[j] * m / means[j], rel=1e-5)


@FORMS
def test_weights_stay_above_the_least_and_sum_to_one(form: str) -> None:
    """The first loss always lies far above its past, so its weight falls to 1 / (4 J)."""
    made = EnsembleWeights([1.0, 1.0], form=form)
    optimiser = torch.optim.Adam(made.parameters(), lr=0.03)
    for step in range(400):
        loss = made(scalars(1.0 + step, 1.0 / (1 + step)), all_valid(2))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    weights = made.weights().detach()
    assert (weights >= 1 / 8).all()
    assert weights[0] < 0.15
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0), atol=0.01, rtol=0)


def test_scaling_one_loss_changes_everything_by_one_factor() -> None:
    slopes = []
    for factor in (1.0, 100.0):
        made, ratios = EnsembleWeights([1.0, 2.0, 1.0]), []
        for step in range(3):
            shared = torch.tensor([0.5, 1.5], requires_grad=True)
            losses = [factor * shared[0] ** 2, shared[1] ** 2 * (1 + step), shared.sum()]
            ratios.append(torch.autograd.grad(made(losses, all_valid(3)), (shared, made.free)))
        slopes.append([torch.cat(pair) for pair in ratios])
    for plain, scaled in zip(*slopes, strict=True):
        factor = scaled[0] / plain[0]
        assert factor > 2
        torch.testing.assert_close(scaled, plain * factor, rtol=1e-4, atol=1e-4)


def test_a_loss_with_nothing_to_say_does_not_enter_its_mean() -> None:
    made = EnsembleWeights([1.0, 1.0])
    silent = [torch.tensor(False), torch.tensor(True)]
    first = made(scalars(0.0, 2.0), silent)
    assert first.item() == pytest.approx(0.5 * 2.0)
    assert made.count_J.tolist() == [0, 1]
    made(scalars(3.0, 4.0), all_valid(2))
    made(scalars(0.0, 6.0), silent)
    assert made.count_J.tolist() == [1, 3]
    torch.testing.assert_close(made.mean_J, torch.tensor([3.0, 4.0]))


@pytest.mark.parametrize("values", [(0.0, 1.0), (0.0, 0.0), (1e-30, 1e30), (-1.0, 2.0)])
def test_satisfied_losses_keep_everything_finite(values: tuple[float, float]) -> None:
    made = EnsembleWeights([1.0, 1.0])
    losses = scalars(*values)
    found = made(losses, all_valid(2))
    slopes = torch.autograd.grad(found, losses)
    assert all(torch.isfinite(item) for item in (found, *slopes))
    assert max(slopes) <= 0.5 / 1e-3  # weight over the least share


def test_out_of_training_nothing_is_remembered() -> None:
    made = EnsembleWeights([1.0, 1.0])
    made(scalars(1.0, 2.0), all_valid(2))
    made.eval()
    made(scalars(9.0, 9.0), all_valid(2))
    torch.testing.assert_close(made.mean_J, torch.tensor([1.0, 2.0]))


def test_joined_heads_add_up_their_weighted_squared_distances() -> None:
    draw = torch.Generator().manual_seed(0)
    heads = {name: torch.randn(6, 4, generator=draw) for name in ("a", "b")}
    weights = {"a": 0.3, "b": 0.7}
    found = torch.cdist(*[join_heads(heads, weights)] * 2).square()
    unit = {name: nn.functional.normalize(rows) for name, rows in heads.items()}
    expected = sum(w * torch.cdist(unit[k], unit[k]).square() for k, w in weights.items())
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


# --- in an objective --------------------------------------------------------------------------


def test_an_objective_learns_the_weights_of_its_terms_only() -> None:
    objective = build(regularisers=[{"loss": {"name": "embedding_norm"}, "weight": 0.5}])
    given = outputs()
    result = objective(given, Batch(LABELS))
    parts = {name: part.value for name, part in result.parts.items()}
    names = ["contrastive", "triplet", "multi_similarity"]
    weights = torch.stack([parts[f"weight.{name}"] for name in names])
    expected = 1 / 12 + 0.75 * torch.tensor([0.25, 0.25, 0.5])
    torch.testing.assert_close(weights, expected)
    losses = torch.stack([parts[name] for name in names])
    m = losses.mean()  # in the first step every loss is its own mean
    torch.testing.assert_close(result.loss, m + 0.5 * parts["embedding_norm"])
    result.loss.backward()
    assert given.embeddings["embedding"].grad.abs().max() > 0
    assert objective.ensemble.free.grad is not None
    state = objective.state_dict()
    assert {"ensemble.free", "ensemble.mean_J", "ensemble.count_J"} <= set(state)


def test_the_weights_learn_at_their_own_rate_and_never_decay() -> None:
    groups = parameter_groups([build(ensemble={"lr_mult": 7.0})], SGDSpec(lr=0.1))
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(pytest.approx(0.7), 0)]


def test_state_goes_on_as_it_was() -> None:
    one, other = build(), build()
    for seed in range(3):
        one(outputs(seed), Batch(LABELS))
    other.load_state_dict(one.state_dict())
    assert other(outputs(5), Batch(LABELS)).loss == one(outputs(5), Batch(LABELS)).loss


def test_bfloat16_autocast_changes_nothing() -> None:
    plain, inside = build(), build()
    expected = plain(outputs(), Batch(LABELS)).loss
    with torch.autocast("cpu", torch.bfloat16):
        found = inside(outputs(), Batch(LABELS)).loss
    assert found == expected


def test_it_never_reads_from_the_device() -> None:
    with FakeTensorMode():
        made = EnsembleWeights([1.0, 1.0])
        made.free = nn.Parameter(torch.empty(2, device="cuda:0"))
        made.mean_J = torch.empty(2, device="cuda:0")
        made.count_J = torch.empty(2, dtype=torch.int64, device="cuda:0")
        valid = torch.ones((), dtype=torch.bool, device="cuda:0")
        found = made([torch.empty((), device="cuda:0")] * 2, [valid, valid])
        assert found.device.type == "cuda"


REFUSED = [
    ({"terms": TERMS[:1]}, "ensemble must be of at least two terms, got 1"),
    (
        {"terms": [*TERMS[:1], {**TERMS[1], "weight": 0.0}]},
        r"weight must be > 0 in an ensemble, got \[1.0, 0.0\]",
    ),
    (
        {"terms": [*TERMS[:1], {**TERMS[1], "weight": {"start": 1, "end": 0, "epochs": 2}}]},
        "weight must be a number in an ensemble, which schedules weights itself, got",
    ),
    ({"ensemble": {"form": "sum"}}, "ensemble.form must be 'softmax' or 'penalty', got 'sum'"),
]


@pytest.mark.parametrize(("changes", "sentence"), REFUSED)
def test_refusals(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        build(**changes)


def test_a_penalty_that_plain_gradient_descent_cannot_take_is_refused() -> None:
    given = {
        "epochs": 1,
        "model": {"backbone": "resnet18", "image_size": 32},
        "objective": {"terms": TERMS, "ensemble": {"form": "penalty"}},
        "sampler": {"name": "class_balanced", "classes_per_batch": 2, "per_class": 2},
        "optimiser": {"name": "sgd", "lr": 0.01},
    }
    with pytest.raises(UserError, match=r"objective.ensemble.lr_mult must be at most 1 /"):
        parse(RunSpec, given)
    parse(RunSpec, {**given, "optimiser": {"name": "adamw", "lr": 0.01}})


# --- a planted useless loss -------------------------------------------------------------------


def train_with_useless_losses(seed: int, *, learned: bool) -> tuple[float, list[float]]:
    """A good loss and two that teach nothing: they take the wrong pairs for positive, every one.

    Returns how far apart classes are (mean cosine of fresh positive pairs minus that of negative
    ones), and the weights.
    """
    draw = torch.Generator().manual_seed(seed)
    means, nuisance = torch.randn(6, 24, generator=draw), torch.randn(12, 24, generator=draw)
    labels = torch.arange(6).repeat_interleave(4)
    wrong = torch.arange(4).repeat(6)

    def sample() -> Tensor:
        return means[labels] + torch.randn(len(labels), 12, generator=draw) @ nuisance

    def contrastive(labels: LabelKind) -> Term:
        loss = ContrastiveLoss(space="cosine", negative_margin=1.4)
        return Term(loss, None, 1.0, "embedding", labels=labels)

    terms = {"good": contrastive("class")}
    terms |= {name: contrastive("subclass") for name in ("useless", "idle")}
    torch.manual_seed(seed)
    net = nn.Linear(24, 6, bias=False)
    weights = EnsembleWeights([1.0, 1.0, 1.0])
    objective = Objective(terms, ensemble=weights)
    rates = [{"params": net.parameters(), "lr": 0.03}]
    optimiser = torch.optim.Adam([*rates, {"params": weights.parameters(), "lr": 0.05 * learned}])
    for _ in range(200):
        result = objective(Outputs({"embedding": net(sample())}, {}), Batch(labels, subclass=wrong))
        optimiser.zero_grad()
        result.loss.backward()
        optimiser.step()
    with torch.no_grad():
        rows = nn.functional.normalize(torch.cat([net(sample()) for _ in range(8)]))
    cosine, known = rows @ rows.T, labels.repeat(8)
    same = known[:, None] == known
    positive = cosine[same & ~torch.eye(len(known), dtype=torch.bool)]
    return (positive.mean() - cosine[~same].mean()).item(), weights.weights().tolist()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_useless_losses_are_dropped_and_under_fixed_weights_they_harm(seed: int) -> None:
    """Measured: classes 1.03 apart and more; at most 0.44 with the same weights held fixed."""
    apart, weights = train_with_useless_losses(seed, learned=True)
    harmed, fixed = train_with_useless_losses(seed, learned=False)
    assert weights[0] >= 0.75
    assert max(weights[1:]) <= 0.12  # of at least 1/12
    assert fixed == pytest.approx([1 / 3] * 3)
    assert apart >= 0.8
    assert harmed <= 0.6
