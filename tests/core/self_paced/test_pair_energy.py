"""The energy of weights against sums over pairs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fixtures.tensor_memory import peak_bytes
from likeness.errors import UserError
from likeness.losses.self_paced import PairCosts
from likeness.self_paced import energy, loads, solve_weights
from likeness.self_paced.pair_energy import prepared

Y = torch.tensor([4, 7, 4, 4, -2, 7, -2, 4, 9])  # 9 has a single sample
COSTS = PairCosts(alpha=3.0, beta=8.0, base=0.3)


def rows(count: int = len(Y), seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 5, generator=generator, dtype=torch.float64)


def trust(count: int = len(Y)) -> Tensor:
    return torch.rand(count, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(6)


def coefficients(x: Tensor, y: list[int]) -> list[list[float]]:
    """a_ij, from the definition."""
    n = len(y)
    table = [[0.0] * n for _ in y]
    for i in range(n):
        same = [j for j in range(n) if y[j] == y[i] and j != i]
        other = [j for j in range(n) if y[j] != y[i]]
        for j in [*same, *other]:
            s = float(x[i] @ x[j] / x[i].norm() / x[j].norm())
            if j in same:
                table[i][j] = math.log(1 + math.exp(-3 * (s - 0.3))) / 3 / len(same)
            else:
                table[i][j] = math.log(1 + math.exp(8 * (s - 0.3))) / 8 / len(other)
    return table


def by_loops(x: Tensor, y: list[int], v: list[float], age: float, balance: float) -> float:
    a, n = coefficients(x, y), len(y)
    pairs = sum(v[i] * a[i][j] * v[j] for i in range(n) for j in range(n))
    spread = 0.0
    for c in set(y):
        own = [v[i] for i in range(n) if y[i] == c]
        spread += len(own) / n * (sum(own) / len(own) - sum(v) / n) ** 2
    return pairs - age * sum(v) + balance * age * n / 2 * spread


@pytest.mark.parametrize("block", [2, 256])
def test_energy_and_loads_by_loops(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("likeness.self_paced.pair_energy.BLOCK", block)
    x, v, a = rows(), trust(), coefficients(rows(), Y.tolist())
    found = energy(x, Y, v, age=0.7, balance=2.0, costs=COSTS)
    assert found.item() == pytest.approx(by_loops(x, Y.tolist(), v.tolist(), 0.7, 2.0))
    load_N = loads(x, Y, v, costs=COSTS)
    for i in range(len(Y)):
        expected = sum((a[i][j] + a[j][i]) * float(v[j]) for j in range(len(Y)))
        assert load_N[i].item() == pytest.approx(expected)


def test_the_slope_in_v_is_the_one_that_the_solver_goes_by() -> None:
    """G_i - age + balance age (mean of the class - mean of all)."""
    x, v = rows(), trust().requires_grad_()
    energy(x, Y, v, age=0.7, balance=2.0, costs=COSTS).backward()
    means = torch.stack([v[label == Y].mean() for label in Y])
    load_N = loads(x, Y, v, costs=COSTS)
    expected = load_N - 0.7 + 2.0 * 0.7 * (means - v.mean())
    torch.testing.assert_close(v.grad, expected.detach())


def test_gradcheck_in_both_halves() -> None:
    def both(x: Tensor, v: Tensor) -> Tensor:
        return energy(x, Y, v, age=0.7, balance=2.0, costs=COSTS)

    assert torch.autograd.gradcheck(both, (rows().requires_grad_(), trust().requires_grad_()))


def test_order_names_and_lengths_do_not_matter() -> None:
    order = torch.randperm(len(Y), generator=torch.Generator().manual_seed(3))
    plain = loads(rows(), Y, trust())
    torch.testing.assert_close(loads(rows()[order], Y[order], trust()[order]), plain[order])
    torch.testing.assert_close(loads(7 * rows(), 10 - Y, trust()), plain)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (rows(4), torch.tensor([1, 1, 1, 1])),
        (rows(1), torch.tensor([1])),
        (rows(0), torch.tensor([], dtype=torch.int64)),
        (rows(4), torch.arange(4)),
        (rows(2)[[0, 0, 1, 1]], torch.tensor([0, 0, 1, 1])),
        (torch.zeros(4, 5, dtype=torch.float64), torch.tensor([0, 0, 1, 1])),
    ],
    ids=["one class", "one sample", "none", "all distinct", "duplicates", "zero vectors"],
)
def test_degenerate_sets(x: Tensor, y: Tensor) -> None:
    for raised in (x, x.to(torch.bfloat16)):
        load_N = loads(raised, y, torch.ones(len(y)))
        assert load_N.shape == y.shape
        assert load_N.isfinite().all()
        assert (load_N >= 0).all()
    if len(y) == 1:
        assert not load_N.any()


def test_half_precision_is_raised_under_autocast() -> None:
    x = rows().to(torch.bfloat16)
    plain = loads(x.float(), Y, trust().float())
    with torch.autocast("cpu", torch.bfloat16):
        found = loads(x, Y, trust().float())
        v = solve_weights(x, Y, trust().float(), age=0.3, balance=1.0, generator=draws())
    again = solve_weights(x.float(), Y, trust().float(), age=0.3, balance=1.0, generator=draws())
    assert torch.equal(v, again)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, plain)


def test_memory_is_linear_in_the_set() -> None:
    """A block of rows at a time; Q of 1,536 samples alone would be 9 MiB."""

    def peak(count: int) -> int:
        x, y = rows(count).float(), torch.arange(count) % 16
        with torch.no_grad():
            return peak_bytes(lambda: loads(x, y, torch.ones(count)))

    assert peak(1536) <= 2.2 * peak(768)
    assert peak(1536) < 4 * 1536**2


def test_several_labels_are_refused() -> None:
    with pytest.raises(UserError, match=r"labels must be of shape \(N,\) for self_paced"):
        prepared(rows(), torch.zeros(9, 3))
