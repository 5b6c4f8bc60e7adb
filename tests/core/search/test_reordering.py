"""What is done to a ranking: which search it makes, and what few items allow."""

import numpy as np
import pytest

from likeness.errors import UserError
from likeness.search.exact import ExactSearch
from likeness.search.expansion import expanded_queries
from likeness.search.reciprocal import PUBLISHED, Reciprocal, ReciprocalSearch
from likeness.search.reordering import PLAIN, Reordering


def rows(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)


def test_nothing_is_done_by_default():
    search = PLAIN.search(rows(3), rows(9, 1), space="cosine")
    assert isinstance(search, ExactSearch)
    plain = ExactSearch(rows(3), rows(9, 1))
    np.testing.assert_array_equal(search.query_QD, plain.query_QD)


def test_queries_are_expanded_before_anything_is_compared():
    query, gallery = rows(3), rows(9, 1)
    search = Reordering(expanded_by=4).search(query, gallery, space="euclidean")
    expected = expanded_queries(query, gallery, 4, space="euclidean")
    np.testing.assert_array_equal(search.query_QD, expected)


def test_settings_shrink_to_what_is_there():
    published = Reordering(expanded_by=5, reciprocal=PUBLISHED)
    assert published.fitting(6, 15) == published
    small = published.fitting(2, 3)
    assert small == Reordering(3, Reciprocal(k1=4, k2=5))
    search = published.search(rows(2), rows(3, 1), space="cosine")
    assert isinstance(search, ReciprocalSearch)
    assert search.settings == small.reciprocal
    assert small.described() == {
        "expanded_by": 3,
        "reciprocal": {"k1": 4, "k2": 5, "original_weight": 0.3},
    }


def test_progress_is_told_while_neighbours_are_found():
    told = []
    how = Reordering(reciprocal=PUBLISHED)
    search = how.search(
        rows(4), rows(30, 1), space="cosine", on_progress=lambda *done: told.append(done)
    )
    assert told[-1] == (34, 34)
    assert search.queries == 4


def test_a_negative_number_of_rows_is_refused():
    with pytest.raises(UserError, match=r"expanded_by must be >= 0, got -1"):
        Reordering(expanded_by=-1)
