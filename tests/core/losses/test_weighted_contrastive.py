"""The whole of OSM + CAA against double loops, and what the official code does differently."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fixtures.tensor_memory import peak_bytes
from likeness.batch import Batch
from likeness.config import parse
from likeness.errors import UserError
from likeness.losses import WeightedContrastiveLoss
from likeness.losses.weighted_contrastive import damped, possible_pairs
from likeness.mining import online_soft_mining
from likeness.objective import ObjectiveResult, ObjectiveSpec, build_objective
from likeness.pairs import Pairs

Y = torch.tensor([0, 2, 0, 1, 2, 2, 0, 3, 1])  # class 3 has one sample
SIGMA, MARGIN = 0.6, 1.3
both_variants = pytest.mark.parametrize("variant", ["paper", "caffe"])


class Outputs:
    """What a model gives, as leaves."""

    def __init__(self, x: Tensor, logits: Tensor) -> None:
        self.embeddings = {"embedding": x.clone().requires_grad_()}
        self.logits = {"class": logits.clone().requires_grad_()}


def rows(count: int = len(Y), dim: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64)


def trained(
    outputs: Outputs, y: Tensor, variant: str, *, share: float = 0.5, differentiable: bool = False
) -> ObjectiveResult:
    """The objective that a configuration of the method names; the classification is left out."""
    free = {"variant": variant, "differentiable": differentiable}
    term = {
        "loss": {
            "name": "weighted_contrastive",
            "margin": MARGIN,
            "negative_share": share,
            "variant": variant,
        },
        "miners": [
            {"name": "online_soft_mining", "sigma": SIGMA, "margin": MARGIN} | free,
            {"name": "class_aware_attention"} | free,
        ],
    }
    spec = parse(ObjectiveSpec, {"terms": [term], "classification": {"weight": 0.0}})
    return build_objective(spec, num_classes=4, dims={"embedding": 3})(outputs, Batch(y))


# --- oracles: every pair once, i < j --------------------------------------------------------------


def by_the_poster(
    x: Tensor, y: Tensor, logits: Tensor, *, share: float, differentiable: bool
) -> Tensor:
    """Scalars and their graph; weights are numbers unless `differentiable`."""
    f = [row / row.pow(2).sum().sqrt() for row in x]
    a = [row[k].exp() / row.exp().sum() for row, k in zip(logits, y.tolist(), strict=True)]
    sums = {True: [x.sum() * 0, 0.0], False: [x.sum() * 0, 0.0]}
    for i in range(len(y)):
        for j in range(i + 1, len(y)):
            d = (f[i] - f[j]).pow(2).sum().sqrt()
            alike = bool(y[i] == y[j])
            hinge = torch.relu(MARGIN - d)
            soft = torch.exp(-(d**2) / SIGMA**2) if alike else hinge
            weight = soft * (a[i] if a[i] < a[j] else a[j])
            weight = weight if differentiable else weight.item()
            cost = d**2 if alike else hinge**2
            sums[alike] = [sums[alike][0] + weight * cost, sums[alike][1] + weight]
    pull, push = (sums[alike][0] / sums[alike][1] / 2 for alike in (True, False))
    return (1 - share) * pull + share * push


def by_the_official_code(x: Tensor, y: Tensor, logits: Tensor) -> tuple[float, Tensor]:
    """The formula's value over all pairs, and the slope at unit rows, by plain arithmetic."""
    f = torch.nn.functional.normalize(x).tolist()
    pairs = [(i, j) for i in range(len(y)) for j in range(i + 1, len(y))]
    a = []
    for row, k in zip(logits.tolist(), y.tolist(), strict=True):
        p = math.exp(row[k]) / sum(math.exp(each) for each in row)
        a.append(math.exp(-((p - 1) ** 2) / (2 * 0.68**2)))
    distance, weight = {}, {}
    for i, j in pairs:
        d = math.dist(f[i], f[j])
        soft = math.exp(-(d**2) / (2 * SIGMA**2)) if y[i] == y[j] else max(0.0, MARGIN - d)
        distance[i, j], weight[i, j] = d, soft * min(a[i], a[j])
    value, slope = 0.0, [[0.0] * len(row) for row in f]
    for alike in (True, False):
        chosen = [(i, j) for i, j in pairs if (y[i] == y[j]).item() == alike]
        whole = sum(weight[pair] for pair in chosen) + 1e-12
        for i, j in chosen:
            d, share = distance[i, j], 0.5 * weight[i, j] / whole
            hinge = max(0.0, MARGIN - d)
            value += share * (d**2 if alike else hinge**2) / 2 / len(pairs)
            along = 1.0 if alike else -hinge / (d + 1e-4)
            for k in range(len(f[i])):
                step = share * along * (f[i][k] - f[j][k]) / len(pairs)
                slope[i][k] += step
                slope[j][k] -= step
    return value, torch.tensor(slope, dtype=torch.float64)


@pytest.mark.parametrize("share", [0.5, 0.2])
@pytest.mark.parametrize("differentiable", [False, True], ids=["detached", "differentiable"])
def test_paper_value_and_gradient(share: float, differentiable: bool) -> None:
    logits = 2 * rows(dim=4, seed=1)
    ours, other = Outputs(rows(), logits), Outputs(rows(), logits)
    found = trained(ours, Y, "paper", share=share, differentiable=differentiable)
    x, read = other.embeddings["embedding"], other.logits["class"]
    expected = by_the_poster(x, Y, read, share=share, differentiable=differentiable)
    assert expected > 0.05
    torch.testing.assert_close(found.loss, expected)
    found.loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.embeddings["embedding"].grad, x.grad)
    seen = torch.zeros_like(logits) if read.grad is None else read.grad
    assert seen.any() == differentiable
    torch.testing.assert_close(ours.logits["class"].grad, seen)


def test_caffe_value_and_gradient() -> None:
    logits = 2 * rows(dim=4, seed=1)
    ours = Outputs(rows(), logits)
    found = trained(ours, Y, "caffe")
    value, slope = by_the_official_code(rows(), Y, logits)
    torch.testing.assert_close(found.loss.item(), value)
    found.loss.backward()
    x = rows().requires_grad_()
    (torch.nn.functional.normalize(x) * slope).sum().backward()
    gradient = ours.embeddings["embedding"].grad
    torch.testing.assert_close(gradient, x.grad, rtol=1e-8, atol=1e-12)
    # Without the 1e-4 it would be another one.
    plain = Outputs(rows(), logits)
    trained(plain, Y, "paper").loss.backward()
    assert not torch.allclose(plain.embeddings["embedding"].grad / 36, x.grad, rtol=1e-3)


# --- what the official code does ------------------------------------------------------------------


@pytest.mark.parametrize(("count", "pairs"), [(54, 1431), (56, 1540), (6, 15)])
def test_the_codes_loss_is_the_formula_over_the_number_of_pairs(count: int, pairs: int) -> None:
    x, y = rows(count), torch.arange(count) % 3
    paper, caffe = (WeightedContrastiveLoss(variant=v)(x, y) for v in ("paper", "caffe"))
    torch.testing.assert_close(paper / caffe, torch.tensor(float(pairs), dtype=torch.float64))
    assert possible_pairs(Pairs(x, y)) == pairs
    memory = Pairs(x, y, reference=x[:5], reference_labels=y[:5])
    assert possible_pairs(memory) == 5 * count
    assert possible_pairs(Pairs(x[:1], y[:1])) == 1


def test_damped_distances_are_the_same_with_another_slope() -> None:
    d = torch.tensor([[1e-6, 1e-4, 0.5, 0.5]], dtype=torch.float64, requires_grad=True)
    negative = torch.tensor([[0.5, 1.0, 2.0, 0.0]])
    seen = damped(d, negative)
    assert torch.equal(seen, d)
    seen.sum().backward()
    expected = [1e-6 / 1.01e-4, 0.5, 0.5 / 0.5001, 1.0]
    assert d.grad[0].tolist() == pytest.approx(expected, rel=1e-12)


def test_the_value_is_the_weighted_loss_and_not_the_unweighted_one_that_the_code_prints() -> None:
    x, y = rows(12), torch.arange(12) % 3
    pairs = Pairs(x, y, space="cosine")
    loss = WeightedContrastiveLoss(variant="caffe")
    mined = online_soft_mining(pairs, Batch(y), variant="caffe")
    assert loss.on_pairs(pairs, mined).value != loss.on_pairs(pairs).value


# --- degenerate batches ---------------------------------------------------------------------------

CORNERS = torch.eye(3, dtype=torch.float64)  # sqrt(2) apart: beyond the margin


@both_variants
def test_far_negatives_alone_weigh_nothing_and_cost_nothing(variant: str) -> None:
    outputs = Outputs(CORNERS, rows(3, 4))
    found = trained(outputs, torch.tensor([0, 1, 2]), variant)
    found.loss.backward()
    assert found.loss == 0
    assert not outputs.embeddings["embedding"].grad.any()


@both_variants
def test_far_negatives_leave_the_pull_alone(variant: str) -> None:
    y = torch.tensor([0, 0, 1, 1])
    x = CORNERS[[0, 0, 1, 1]] + 0.05 * torch.tensor([[0, 0, 1.0], [0, 0, 0], [0, 0, 1], [0, 0, 0]])
    outputs, pull = Outputs(x, rows(4, 4)), Outputs(x, rows(4, 4))
    found = trained(outputs, y, variant)
    alone = trained(pull, y, variant, share=0.0)
    assert found.loss > 0
    torch.testing.assert_close(found.loss, alone.loss / 2)
    found.loss.backward()
    assert torch.isfinite(outputs.embeddings["embedding"].grad).all()


BATCHES = {
    "one class": (rows(4), torch.tensor([2, 2, 2, 2])),
    "all distinct": (rows(4), torch.tensor([0, 1, 2, 3])),
    "one sample": (rows(1), torch.tensor([2])),
    "duplicates": (rows(3)[[0, 0, 1, 1, 0]], torch.tensor([0, 0, 1, 1, 1])),
    "zero vectors": (torch.zeros(4, 3, dtype=torch.float64), torch.tensor([0, 0, 1, 1])),
}


@both_variants
@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
def test_a_side_without_pairs_is_an_exact_zero(variant: str, kind: str, dtype) -> None:
    x, y = BATCHES[kind]
    outputs = Outputs(x.to(dtype), rows(len(y), 4).to(dtype))
    found = trained(outputs, y, variant)
    found.loss.backward()
    assert torch.isfinite(found.loss)
    assert torch.isfinite(outputs.embeddings["embedding"].grad).all()
    if kind in ("one class", "all distinct"):
        absent = 1.0 if kind == "one class" else 0.0
        other = Outputs(x.to(dtype), rows(len(y), 4).to(dtype))
        nothing = trained(other, y, variant, share=absent)
        nothing.loss.backward()
        assert nothing.loss == 0 < found.loss
        assert not other.embeddings["embedding"].grad.any()


@both_variants
def test_wrong_guesses_of_the_classifier_are_no_division_by_zero(variant: str) -> None:
    """Attention is 0 in floating point for every pair."""
    y = torch.tensor([0, 0, 1, 1])
    outputs = Outputs(rows(4), 1e4 * torch.tensor([[0, 0, 1.0, 0]] * 4, dtype=torch.float64))
    found = trained(outputs, y, variant)
    found.loss.backward()
    assert (found.loss == 0) == (variant == "paper")
    assert torch.isfinite(outputs.embeddings["embedding"].grad).all()


@both_variants
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_raised(variant: str, dtype: torch.dtype) -> None:
    x, logits = rows().to(dtype), rows(dim=4, seed=1).to(dtype)
    half, full = Outputs(x, logits), Outputs(x.float(), logits.float())
    found = trained(half, Y, variant)
    assert found.loss == trained(full, Y, variant).loss
    found.loss.backward()
    assert half.embeddings["embedding"].grad.dtype == dtype


@both_variants
def test_memory_grows_no_faster_than_the_square(variant: str) -> None:
    def peak(count: int) -> int:
        outputs = Outputs(rows(count).float(), torch.zeros(count, 4))
        y = torch.arange(count) % 4
        return peak_bytes(lambda: trained(outputs, y, variant).loss.backward())

    small, large = peak(256), peak(512)
    assert large <= 1.1 * 4 * small
    assert large <= 14.5 * 4 * 512**2


@pytest.mark.plain
def test_an_unknown_variant_is_named() -> None:
    with pytest.raises(UserError, match="variant must be 'paper' or 'caffe', got 'port'"):
        WeightedContrastiveLoss(variant="port")
