"""NT-Xent: by hand, its weights, and views as the only pairs."""

from __future__ import annotations

import math

import pytest
import torch

from fixtures.planted_rows import Batches, generator_of, recall_at_1, train
from likeness.batch import Batch
from likeness.losses import NTXentLoss
from likeness.models import Outputs
from likeness.objective import ObjectiveSpec, build_objective

ITEMS, CONTENT = 60, 6


def test_by_hand() -> None:
    """Two views of one picture and one other, at right angles."""
    x = torch.tensor([[1.0, 0], [2, 0], [0, 3]])
    value = NTXentLoss(temperature=0.5)(x, torch.tensor([0, 0, 1]))
    assert value.item() == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-6)


def test_one_positive_pair_does_not_weigh_on_another() -> None:
    """Other positives are in no denominator: with no negatives there is nothing to pay."""
    x = torch.randn(5, 3)
    assert NTXentLoss()(x, torch.zeros(5, dtype=torch.int64)) == 0


def test_an_objective_knows_views_too() -> None:
    """The other loss of the same head and space does not see them."""
    x = torch.randn(6, 4, requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    batch = Batch(labels, ids=labels + 10)
    losses = [{"name": "nt_xent"}, {"name": "nt_xent", "views": False}, {"name": "supcon"}]
    spec = ObjectiveSpec(terms=tuple({"loss": loss} for loss in losses), classification=None)
    objective = build_objective(spec, num_classes=3, dims={"embedding": 4})
    parts = objective(Outputs(x, {"embedding": x}, {}), batch).parts
    torch.testing.assert_close(parts["nt_xent"].value, NTXentLoss()(x, labels).detach())
    assert parts["nt_xent_again"].value == 0
    assert parts["supcon"].n_active == parts["nt_xent"].n_active == 6


# --- claim ----------------------------------------------------------------------------------


def looks(seed: int) -> torch.Tensor:
    """One view of every picture: its content, and more that is larger and changes with the view."""
    content = torch.randn(ITEMS, CONTENT, generator=generator_of(0))
    draw = torch.randn(ITEMS, 2 * CONTENT, generator=generator_of(seed))
    return torch.cat([content + 0.1 * draw[:, :CONTENT], 3 * draw[:, CONTENT:]], 1)


def pictures(seed: int) -> Batches:
    ids = torch.arange(ITEMS).repeat(2)
    while True:
        seed += 2
        yield torch.cat([looks(seed), looks(seed + 1)]), Batch(ids, ids=ids)


def found(seed: int, *, views: bool) -> float:
    """How often the nearest of all new views is the other one of the same picture."""
    loss = NTXentLoss(views=views)
    sizes = (2 * CONTENT, CONTENT)
    embed = train(loss, pictures(1000 * (seed + 1)), sizes=sizes, steps=120, lr=0.02, seed=seed)
    unseen = torch.cat([looks(1), looks(2)])
    return recall_at_1(embed(unseen), torch.arange(ITEMS).repeat(2))


@pytest.mark.parametrize("seed", [0, 1])
def test_two_views_teach_what_does_not_change(seed: int) -> None:
    assert found(seed, views=True) > 0.8


@pytest.mark.parametrize("seed", [0, 1])
def test_without_views_there_is_nothing_to_learn_from(seed: int) -> None:
    assert found(seed, views=False) < 0.2
