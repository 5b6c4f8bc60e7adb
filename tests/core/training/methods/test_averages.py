"""Running means: windows, fading ones, and the share that follows from one."""

from __future__ import annotations

import math

import pytest
import torch

from likeness.training.methods.averages import FadingMean, RealShare, WindowMean

YES, NO = torch.tensor(True), torch.tensor(False)


def test_a_window_counts_when_it_is_complete():
    mean, seen = WindowMean(3, start=1e6), []
    for value in range(1, 9):
        mean.update(torch.tensor(float(value)), counts=YES)
        seen.append(float(mean.value))
    assert seen == [1e6, 1e6, 2.0, 2.0, 2.0, 5.0, 5.0, 5.0]


def test_a_fading_mean_starts_at_its_first_value():
    mean = FadingMean(0.9)
    assert math.isinf(mean.value)
    for value, expected in ((4.0, 4.0), (2.0, 3.8), (0.0, 3.42)):
        mean.update(torch.tensor(value), counts=YES)
        assert float(mean.value) == pytest.approx(expected)


@pytest.mark.parametrize("build", [lambda: WindowMean(2, start=1e6), FadingMean])
def test_what_does_not_count_is_as_if_it_were_not_there(build):
    some, all_of_them = build(), build()
    for value in (3.0, 1.0, 4.0, 1.0, 5.0):
        all_of_them.update(torch.tensor(0.0), counts=NO)
        for mean in (some, all_of_them):
            mean.update(torch.tensor(value), counts=YES)
    assert torch.equal(some.value, all_of_them.value)


def test_before_anything_counts_only_real_tuples_do():
    for beta in (None, 2.0):
        share = RealShare(beta)
        share.update(torch.tensor(0.0), fixed=True, counts=NO)
        assert float(share.value) == 1
    share = RealShare(None)
    share.update(torch.tensor(0.0), fixed=True, counts=NO)
    share.update(torch.tensor(3.0), fixed=True, counts=YES)
    assert float(share.value) == pytest.approx(0.5)


@pytest.mark.parametrize("build", [lambda: WindowMean(3, start=1e6), FadingMean])
def test_a_saved_mean_goes_on(build):
    whole, first, second = build(), build(), build()
    values = [torch.tensor(value) for value in (3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0)]
    for place, value in enumerate(values):
        whole.update(value, counts=YES)
        (first if place < 4 else second).update(value, counts=YES)
        if place == 3:
            second.load_state_dict(first.state_dict())
    assert torch.equal(whole.value, second.value)


def test_a_given_beta_stays():
    share = RealShare(2.0)
    share.update(torch.tensor(4.0), fixed=False, counts=YES)
    assert float(share.value) == pytest.approx(math.exp(-0.5))


@pytest.mark.parametrize("before", [0, 3])
def test_half_counts_where_beta_is_fixed_and_less_as_the_generators_get_better(before):
    share = RealShare(None)
    for _ in range(before):
        share.update(torch.tensor(9.0), fixed=False, counts=YES)
        assert float(share.value) == pytest.approx(0.5)
    share.update(torch.tensor(9.0), fixed=True, counts=YES)
    assert float(share.value) == pytest.approx(0.5)
    share.update(torch.tensor(0.0), fixed=True, counts=YES)
    assert float(share.value) == pytest.approx(0.5 ** (1 / 0.9))
