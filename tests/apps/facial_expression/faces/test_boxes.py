"""Overlaps of boxes, against a count of cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness_apps.facial_expression.faces.boxes import generalised_overlap, overlap

Box = tuple[int, int, int, int]
box = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 9)] * 2)


def cells(b: Box) -> set[tuple[int, int]]:
    left, top, width, height = b
    return {(x, y) for x in range(left, left + width) for y in range(top, top + height)}


def around(a: Box, b: Box) -> int:
    both = cells(a) | cells(b)
    xs, ys = {x for x, _ in both}, {y for _, y in both}
    return (max(xs) - min(xs) + 1) * (max(ys) - min(ys) + 1)


@given(st.lists(box, min_size=1, max_size=4), st.lists(box, min_size=1, max_size=4))
def test_overlaps_are_shares_of_cells(firsts: list[Box], seconds: list[Box]) -> None:
    arrays = np.array(firsts, float), np.array(seconds, float)
    plain, general = overlap(*arrays), generalised_overlap(*arrays)
    for i, a in enumerate(firsts):
        for j, b in enumerate(seconds):
            shared, union = len(cells(a) & cells(b)), len(cells(a) | cells(b))
            assert plain[i, j] == pytest.approx(shared / union)
            outer = around(a, b)
            assert general[i, j] == pytest.approx(shared / union - (outer - union) / outer)


def test_boxes_further_apart_overlap_less() -> None:
    one = np.array([[0.0, 0, 10, 10]])
    others = np.array([[0.0, 0, 10, 10], [10, 0, 10, 10], [20, 0, 10, 10], [90, 0, 10, 10]])
    assert overlap(one, others).tolist() == [[1, 0, 0, 0]]
    found = generalised_overlap(one, others)[0]
    assert found[0] == 1
    assert found[1] == 0
    assert (np.diff(found) < 0).all()
    assert found[-1] > -1


def test_no_boxes() -> None:
    assert overlap(np.empty((0, 4)), np.ones((3, 4))).shape == (0, 3)
    assert generalised_overlap(np.ones((2, 4)), np.empty((0, 4))).shape == (2, 0)
