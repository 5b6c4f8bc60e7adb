"""Numbers stay with their rows from round to round."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.errors import UserError
from likeness.subclasses import match_slots

SLOTS = 4
columns = st.lists(st.tuples(st.integers(0, 3), st.integers(0, SLOTS - 1)), min_size=1, max_size=40)


def shared_rows(slot_N: np.ndarray, before_N: np.ndarray) -> int:
    return int((slot_N == before_N).sum())


@given(columns)
def test_no_other_numbering_keeps_more_rows(pairs: list[tuple[int, int]]) -> None:
    component, before = (np.array(column) for column in zip(*pairs, strict=True))
    found = match_slots(component, before, slots=SLOTS)
    names = np.unique(component)
    for name in names:  # one slot for each component, none twice
        assert len(np.unique(found[component == name])) == 1
    assert len(np.unique(found)) == len(names)
    best = 0
    for choice in permutations(range(SLOTS), len(names)):
        renamed = np.array(choice)[np.searchsorted(names, component)]
        best = max(best, shared_rows(renamed, before))
    assert shared_rows(found, before) == best


@given(columns, st.permutations(range(4)))
def test_the_components_own_numbers_say_nothing(
    pairs: list[tuple[int, int]], order: list[int]
) -> None:
    component, before = (np.array(column) for column in zip(*pairs, strict=True))
    plain = match_slots(component, before, slots=SLOTS)
    renamed = match_slots(np.array(order)[component] - 7, before, slots=SLOTS)
    assert np.array_equal(plain, renamed)


def test_the_larger_half_of_a_whole_class_keeps_its_number() -> None:
    component = np.array([5, 5, 9, 9, 9, 2])
    found = match_slots(component, np.zeros(6, np.int64), slots=SLOTS)
    assert found.tolist() == [1, 1, 0, 0, 0, 2]


def test_a_vanished_number_stays_free_and_comes_back_last() -> None:
    before = np.array([0, 0, 1, 1, 2, 2])
    merged = match_slots(np.array([0, 0, 0, 0, 1, 1]), before, slots=SLOTS)
    assert merged.tolist() == [0, 0, 0, 0, 2, 2]
    again = match_slots(np.array([0, 0, 1, 1, 2, 2]), merged, slots=SLOTS)
    assert again.tolist() == [0, 0, 1, 1, 2, 2]


def test_more_components_than_slots_are_refused() -> None:
    with pytest.raises(UserError, match="components must be at most 2, got 3"):
        match_slots(np.arange(3), np.zeros(3, np.int64), slots=2)
    with pytest.raises(UserError, match=r"before must be slots in \[0, 2\)"):
        match_slots(np.zeros(3, np.int64), np.array([0, 1, 2]), slots=2)
    assert len(match_slots(np.zeros(0, np.int64), np.zeros(0, np.int64), slots=2)) == 0
