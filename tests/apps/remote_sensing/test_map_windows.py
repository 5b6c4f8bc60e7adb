"""Windows cover every pixel, and a blend is the definition's weighted mean."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.mapping import starts
from likeness_apps.remote_sensing.mapping.windows import (
    blend_weights,
    blended,
    make_grid,
    samples,
)

sizes = st.integers(8, 90)


@given(height=sizes, width=sizes, side=st.integers(2, 8), share=st.floats(0.01, 1))
def test_every_pixel_is_covered_and_new_once(height, width, side, share):
    stride = max(1, int(share * side))
    grid = make_grid(height, width, side=side, stride=stride)
    assert grid.tops_R.tolist() == starts(height, side, stride)
    assert grid.lefts_C.tolist() == starts(width, side, stride)
    new = [grid.new_pixels(row) for row in range(grid.rows)]
    assert [row for first, stop in new for row in range(first, stop)] == list(range(height))


@given(
    side=st.integers(2, 12),
    length=st.integers(12, 60),
    bounds=st.tuples(st.integers(0, 59), st.integers(1, 60)),
    stride=st.integers(1, 12),
)
def test_a_sample_speaks_for_pixels_under_the_same_windows(side, length, bounds, stride):
    first, stop = min(bounds), min(max(bounds), length)
    if first >= stop or stride > side:
        return
    tops = np.array(starts(length, side, stride))
    positions, repeats = samples(first, stop, tops, side, "mean")
    assert (repeats > 0).all()
    assert repeats.sum() == stop - first
    over = [frozenset(np.flatnonzero((tops <= y) & (y < tops + side))) for y in range(length)]
    spread = np.repeat(positions, repeats)
    assert all(over[y] == over[p] for y, p in zip(range(first, stop), spread, strict=True))


@pytest.mark.parametrize("blend", ["mean", "gaussian"])
def test_blend_of_two_windows_where_one_has_no_answer(blend):
    answers = np.array([[[0.25, 0.75], [1.0, 0.0], [np.nan, np.nan]]], np.float32)
    weights = blend_weights(4, blend)
    tops, lefts = np.array([0]), np.array([0, 2, 4])
    found = blended(answers, tops, lefts, np.array([1]), np.arange(8), weights)[0]
    for x in range(8):
        over = [c for c, left in enumerate(lefts[:2]) if left <= x < left + 4]
        if not over:
            assert np.isnan(found[x]).all()
            continue
        shares = np.array([weights[x - lefts[c]] for c in over], dtype=float)
        wanted = (shares[:, None] * answers[0, over]).sum(axis=0) / shares.sum()
        np.testing.assert_allclose(found[x], wanted, atol=1e-6)


def test_gaussian_weights():
    """Standard deviation of an eighth of the side, about the middle."""
    weights = blend_weights(16, "gaussian")
    assert weights == pytest.approx([np.exp(-(((i - 7.5) / 2) ** 2) / 2) for i in range(16)])
    assert (blend_weights(16, "mean") == 1).all()
