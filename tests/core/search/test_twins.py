"""Identical rows are found, whatever else is in the gallery."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from likeness.search.twins import find_twins


@given(st.lists(st.sampled_from([(0.0, 1.0), (1.0, 0.0), (2.5, 2.5), (-1.0, 1e-30)]), min_size=1))
def test_twins_equal_a_scan_of_all_rows_before(rows):
    twins = find_twins(np.array(rows, np.float32))
    if len(set(rows)) == len(rows):
        assert twins is None
        return
    assert twins.first_G.tolist() == [rows.index(row) for row in rows]
    assert twins.before_G.tolist() == [rows[:place].count(row) for place, row in enumerate(rows)]


def test_rows_that_differ_in_the_last_bit_are_no_twins():
    row = np.float32([1.0, 2.0])
    near = np.nextafter(row, np.float32(3.0))
    assert find_twins(np.stack([row, near])) is None
