"""Embedding norm: the definition in a loop, through a configuration, degenerate batches."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from likeness.batch import Batch
from likeness.config import parse
from likeness.objective import ObjectiveSpec, build_objective
from likeness.regularisers import EmbeddingNorm

LABELS = torch.tensor([0, 0, 1])


class Outputs(NamedTuple):
    embeddings: dict[str, Tensor]
    logits: dict[str, Tensor]


def test_it_is_the_mean_squared_length() -> None:
    points = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    points.requires_grad_()
    value = EmbeddingNorm()(points, LABELS)
    expected = sum(x * x + y * y for x, y in points.tolist()) / 3
    torch.testing.assert_close(value, torch.tensor(expected, dtype=torch.float64))
    value.backward()
    torch.testing.assert_close(points.grad, 2 * points.detach() / 3)


def test_half_precision_is_computed_in_full() -> None:
    points = torch.full((3, 4), 200.0, dtype=torch.float16)  # its square is beyond float16
    assert EmbeddingNorm()(points, LABELS).item() == 4 * 200.0**2


def test_an_empty_batch_is_an_exact_zero_with_a_graph() -> None:
    points = torch.zeros(0, 4, requires_grad=True)
    value = EmbeddingNorm()(points, torch.zeros(0, dtype=torch.long))
    value.backward()
    assert value.item() == 0


def test_a_configuration_adds_it_with_its_weight() -> None:
    spec = {
        "terms": [{"loss": {"name": "contrastive"}}],
        "regularisers": [{"loss": {"name": "embedding_norm"}, "weight": 0.5}],
        "classification": None,
    }
    parsed = parse(ObjectiveSpec, spec, "objective")
    objective = build_objective(parsed, num_classes=2, dims={"embedding": 3})
    points = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    result = objective(Outputs({"embedding": points}, {}), Batch(LABELS))
    of_pairs = result.parts["contrastive"].value
    expected = of_pairs + 0.5 * points.square().sum(1).mean()
    torch.testing.assert_close(result.loss, expected)
    assert result.parts["embedding_norm"].n_active.item() == 3


def test_training_with_it_shortens_embeddings() -> None:
    """Lengths that a loss of angles never sees shrink, and without it they stay."""
    for weight, shrinks in ((0.1, True), (0.0, False)):
        points = torch.randn(8, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
        before = points.detach().norm(dim=1)
        optimiser = torch.optim.SGD([points], lr=1.0)
        for _ in range(50):
            optimiser.zero_grad()
            (weight * EmbeddingNorm()(points, torch.zeros(8, dtype=torch.long))).backward()
            optimiser.step()
        assert bool((points.detach().norm(dim=1) < 0.5 * before).all()) is shrinks
