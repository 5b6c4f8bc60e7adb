"""Pooling the rows of a set against loops, in any order, with gradients."""

import os

import pytest
import torch

from likeness.errors import UserError
from likeness.models.sets import pool_sets, pool_weighted

# The hook that checks shapes refuses these first, in its own words.
HOOKED = pytest.mark.skipif(os.environ.get("LIKENESS_PLAIN") != "1", reason="LIKENESS_PLAIN=1")
SETS = torch.tensor([3, 0, 3, 2, 0, 3, 3, 2])  # set 1 is empty, no set lies in one piece
ONE_EACH = torch.tensor([4, 2, 0, 1, 3])


def rows(count=8) -> torch.Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def weights(count=8) -> torch.Tensor:
    return torch.rand(count, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1


def by_loops(rows_ND, set_N, sets, how, weight_N=None):
    pooled = torch.zeros(sets, rows_ND.shape[1], dtype=rows_ND.dtype)
    for s in range(sets):
        members = [n for n in range(len(rows_ND)) if int(set_N[n]) == s]
        for d in range(rows_ND.shape[1]):
            values = [float(rows_ND[n, d]) for n in members]
            counts = [1.0 if weight_N is None else float(weight_N[n]) for n in members]
            if members and how == "max":
                pooled[s, d] = max(values)
            elif members:
                sums = sum(v * c for v, c in zip(values, counts, strict=True))
                pooled[s, d] = sums / sum(counts)
    return pooled


@pytest.mark.parametrize("how", ["mean", "max"])
def test_pooling_is_its_definition(how):
    pooled = pool_sets(rows(), SETS, sets=5, how=how)
    torch.testing.assert_close(pooled, by_loops(rows(), SETS, 5, how))
    assert not pooled[1].any()  # nobody in it
    assert not pooled[4].any()


def test_the_weighted_mean_is_its_definition():
    pooled = pool_weighted(rows(), SETS, weights(), sets=4)
    torch.testing.assert_close(pooled, by_loops(rows(), SETS, 4, "mean", weights()))


def test_only_the_proportions_of_weights_count():
    factor_S = torch.tensor([3.0, 1.0, 0.01, 50.0], dtype=torch.float64)
    scaled = pool_weighted(rows(), SETS, weights() * factor_S[SETS], sets=4)
    torch.testing.assert_close(scaled, pool_weighted(rows(), SETS, weights(), sets=4))
    equal = pool_weighted(rows(), SETS, torch.full((len(SETS),), 7.0).double(), sets=4)
    torch.testing.assert_close(equal, pool_sets(rows(), SETS, sets=4))


def test_a_row_without_weight_does_not_count():
    weight_N = weights().where(torch.arange(len(SETS)) != 2, 0.0)
    kept = torch.arange(len(SETS)) != 2
    without = pool_weighted(rows()[kept], SETS[kept], weights()[kept], sets=4)
    torch.testing.assert_close(pool_weighted(rows(), SETS, weight_N, sets=4), without)
    nothing = pool_weighted(rows(), SETS, torch.zeros_like(weight_N), sets=4)
    assert torch.equal(nothing, torch.zeros_like(nothing))


@pytest.mark.parametrize("how", ["mean", "max"])
def test_sets_of_one_row_are_that_row(how):
    given = rows(len(ONE_EACH))
    assert torch.equal(pool_sets(given, ONE_EACH, sets=5, how=how)[ONE_EACH], given)
    weighted = pool_weighted(given, ONE_EACH, weights(len(ONE_EACH)), sets=5)
    torch.testing.assert_close(weighted[ONE_EACH], given)


def test_the_order_of_rows_does_not_matter():
    order = torch.randperm(len(SETS), generator=torch.Generator().manual_seed(2))
    for how in ("mean", "max"):
        shuffled = pool_sets(rows()[order], SETS[order], sets=4, how=how)
        torch.testing.assert_close(shuffled, pool_sets(rows(), SETS, sets=4, how=how))
    shuffled = pool_weighted(rows()[order], SETS[order], weights()[order], sets=4)
    torch.testing.assert_close(shuffled, pool_weighted(rows(), SETS, weights(), sets=4))


def test_the_numbers_of_sets_only_name_them():
    renamed = torch.tensor([2, 3, 0, 1])
    for how in ("mean", "max"):
        named = pool_sets(rows(), renamed[SETS], sets=4, how=how)
        torch.testing.assert_close(named[renamed], pool_sets(rows(), SETS, sets=4, how=how))


def test_the_mean_is_of_the_rows_as_they_are():
    """A long row counts more: normalising first, as some do, is another number."""
    given = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    pooled = pool_sets(given, torch.tensor([0, 0]), sets=1)
    torch.testing.assert_close(pooled, torch.tensor([[1.5, 0.5]]))


@pytest.mark.parametrize("how", ["mean", "max"])
def test_gradients_match_finite_differences(how):
    given = rows().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: pool_sets(x, SETS, sets=5, how=how), given)


def test_gradients_of_weights_match_finite_differences():
    given, counts = rows().requires_grad_(), weights().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: pool_weighted(x, SETS, w, sets=5), (given, counts))


def test_equal_rows_share_the_gradient_of_the_maximum():
    given = torch.ones(3, 2, requires_grad=True)
    pool_sets(given, torch.tensor([0, 0, 1]), sets=2, how="max").sum().backward()
    expected = torch.tensor([[0.5, 0.5], [0.5, 0.5], [1.0, 1.0]])
    assert torch.equal(given.grad, expected)


def test_no_rows_give_zeros_that_have_a_gradient():
    given = torch.zeros(0, 3, requires_grad=True)
    nobody = torch.zeros(0, dtype=torch.long)
    for how in ("mean", "max"):
        pooled = pool_sets(given, nobody, sets=2, how=how)
        assert torch.equal(pooled, torch.zeros(2, 3))
        pooled.sum().backward()


def test_half_precision_is_summed_in_full():
    """257 ones in bfloat16 would add up to 256."""
    given = torch.ones(257, 1, dtype=torch.bfloat16)
    pooled = pool_sets(given, torch.zeros(257, dtype=torch.long), sets=1)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, torch.ones(1, 1))


@pytest.mark.parametrize("sets", [0, -1])
def test_no_sets_are_refused(sets):
    with pytest.raises(UserError, match=f"sets must be >= 1, got {sets}"):
        pool_sets(rows(), SETS, sets=sets)


@pytest.mark.plain
@HOOKED
@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (
            lambda: pool_sets(rows(), SETS, sets=4, how="median"),
            "how must be 'mean' or 'max', got 'median'",
        ),
        (
            lambda: pool_sets(rows(), SETS[:3], sets=4),
            r"set_N must be of shape \(8,\), got \(3,\)",
        ),
        (
            lambda: pool_weighted(rows(), SETS, weights(3), sets=4),
            r"weight_N must be of shape \(8,\), got \(3,\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(ask, sentence):
    with pytest.raises(UserError, match=sentence):
        ask()
