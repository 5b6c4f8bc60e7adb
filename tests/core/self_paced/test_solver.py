"""The doubly stochastic solver against exact projected gradient, and the options of section 11."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from fixtures.tensor_memory import peak_bytes
from likeness.data.label_noise import symmetric_noise
from likeness.errors import UserError
from likeness.losses.self_paced import PairCosts, pair_costs
from likeness.self_paced import energy, loads, solve_weights
from likeness.self_paced.solver import populate, sampled_loads

COSTS = PairCosts()


def planted(count: int = 200, seed: int = 0, share: float = 0.2) -> tuple[Tensor, Tensor, Tensor]:
    """Eight classes around their centres, labels of which a share is wrong, and which."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(count) % 8
    centre = torch.nn.functional.normalize(torch.randn(8, 16, generator=generator), dim=1)
    x = centre[truth] + 0.2 * torch.randn(count, 16, generator=generator)
    noisy = symmetric_noise(truth.numpy(), share, seed=seed)
    return x.double(), torch.from_numpy(noisy.labels_N), torch.from_numpy(noisy.wrong_N)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def matrix(x: Tensor, y: Tensor) -> Tensor:
    """Q, N x N."""
    unit = torch.nn.functional.normalize(x)
    same = y[:, None] == y[None, :]
    cost = pair_costs(unit @ unit.T, same, COSTS).fill_diagonal_(0)
    within = cost * same / (same.sum(1, keepdim=True) - 1)
    a = within + cost * ~same / (~same).sum(1, keepdim=True)
    return a + a.T


def projected_gradient(q: Tensor, y: Tensor, *, age: float, balance: float) -> Tensor:
    """All coordinates at once, small steps, until nothing moves."""
    v = torch.ones(len(y), dtype=torch.float64)
    mean = (y[:, None] == y[None, :]).double()
    mean = mean / mean.sum(1, keepdim=True) - 1 / len(y)
    for _ in range(4000):
        slope = q @ v / age - 1 + balance * (mean @ v)
        moved = (v - 0.05 * slope).clamp(0, 1)
        if torch.equal(moved, v):
            break
        v = moved
    return v


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("balance", [0.0, 1.0])
def test_the_solver_finds_what_exact_projected_gradient_finds(seed: int, balance: float) -> None:
    """n = 200: the energy to 2 %, and nearly every weight."""
    x, y, _ = planted(seed=seed)
    ones = torch.ones(200, dtype=torch.float64)
    age = float(loads(x, y, ones).quantile(0.7))
    options = {"age": age, "balance": balance}
    exact = projected_gradient(matrix(x, y), y, **options)
    found = solve_weights(x, y, ones, passes=20, generator=draws(seed), **options)
    least, ours = (float(energy(x, y, v, **options)) for v in (exact, found))
    start = float(energy(x, y, ones, **options))
    assert least < start
    assert ours <= least + 0.02 * (start - least)
    assert (found - exact).abs().mean() < 0.03
    assert 0.6 < exact.mean() < 0.95


def test_estimates_of_the_loads_are_unbiased() -> None:
    x, y, _ = planted()
    v = torch.rand(200, generator=draws(3), dtype=torch.float64)
    everyone, row = populate(x, y), torch.arange(0, 200, 7)
    generator = draws(5)
    found = [sampled_loads(everyone, v, row, COSTS, 64, generator) for _ in range(400)]
    mean, spread = torch.stack(found).mean(0), torch.stack(found).std(0)
    error = (mean - loads(x, y, v)[row]).abs()
    assert (error < 4.5 * spread / 400**0.5 + 1e-9).all()
    assert (spread > 0).all()


def test_exact_steps_of_one_coordinate_never_raise_the_energy() -> None:
    """E is linear in one coordinate but for the balance, so a clipped small step goes down."""
    x, y, _ = planted(64)
    v = torch.rand(64, generator=draws(1), dtype=torch.float64)
    age, q = float(loads(x, y, v).median()), matrix(x, y)
    before = float(energy(x, y, v, age=age, balance=1.0))
    for place in torch.randperm(64, generator=draws(2)).tolist():
        own = v[y == y[place]].mean()
        slope = q[place] @ v / age - 1 + own - v.mean()
        v[place] = (v[place] - 0.5 * slope).clamp(0, 1)
        after = float(energy(x, y, v, age=age, balance=1.0))
        assert after <= before + 1e-12
        before = after


def test_a_great_age_trusts_all_and_none_trusts_nobody() -> None:
    x, y, _ = planted()
    start = torch.rand(200, generator=draws(1))
    old = solve_weights(x, y, start, age=1e6, balance=0.0, passes=8, generator=draws())
    assert torch.equal(old, torch.ones(200))
    young = solve_weights(x, y, start, age=1e-3, balance=0.0, passes=8, generator=draws())
    assert young.mean() < 0.1 * start.mean()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_wrong_labels_are_trusted_less(seed: int) -> None:
    x, y, wrong = planted(seed=seed)
    ones = torch.ones(200)
    age = float(loads(x, y, ones).quantile(0.7))
    v = solve_weights(x, y, ones, age=age, balance=1.0, generator=draws(seed))
    assert v[wrong].mean() < 0.5 * v[~wrong].mean()
    assert roc_auc_score(wrong, -v) >= 0.9
    assert ((v >= 0) & (v <= 1)).all()


def test_one_seed_gives_one_answer_and_leaves_its_start_alone() -> None:
    x, y, _ = planted(100)
    start = torch.full((100,), 0.5)
    first, again, other = (
        solve_weights(x, y, start, age=0.3, balance=1.0, passes=1, generator=draws(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(start, torch.full((100,), 0.5))
    assert first.dtype == start.dtype


@pytest.mark.parametrize(
    "y",
    [torch.zeros(6, dtype=torch.int64), torch.arange(6), torch.tensor([0, 0, 0, 0, 0, 1])],
    ids=["one class", "all distinct", "a lonely one"],
)
def test_degenerate_sets(y: Tensor) -> None:
    for x in (torch.randn(6, 4, generator=draws()), torch.zeros(6, 4, dtype=torch.bfloat16)):
        v = solve_weights(x, y, torch.ones(6), age=0.2, balance=1.0, generator=draws())
        assert v.isfinite().all()
    one = solve_weights(x[:1], y[:1], torch.zeros(1), age=0.2, balance=1.0, generator=draws())
    assert one == 1  # it costs nothing


def test_nothing_is_the_square_of_the_set() -> None:
    def peak(count: int) -> int:
        x, y, _ = planted(count)
        options = {"age": 0.2, "balance": 1.0, "passes": 1, "sample": 64, "block": 512}
        return peak_bytes(lambda: solve_weights(x.float(), y, torch.ones(count), **options))

    assert peak(8192) < 2.2 * peak(4096)
    assert peak(8192) < 8192**2  # a byte for each pair


@pytest.mark.parametrize(
    "options",
    [{"age": 0.0}, {"balance": -1.0}, {"passes": 0}, {"block": 0}, {"sample": 0}, {"step": 0.0}],
)
def test_options_are_checked(options: dict) -> None:
    x, y, _ = planted(16)
    with pytest.raises(UserError, match=f"{next(iter(options))} must be >"):
        solve_weights(x, y, torch.ones(16), **{"age": 1.0, "balance": 1.0, **options})
