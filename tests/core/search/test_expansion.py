"""Query expansion against a loop over queries."""

import numpy as np
import pytest

from likeness.errors import UserError
from likeness.search.expansion import expanded_queries


def looped(query, gallery, k, space, alpha=0.0, allowed=None):
    query, gallery = query.astype(np.float64), gallery.astype(np.float64)
    if space == "cosine":
        query = query / np.linalg.norm(query, axis=1, keepdims=True)
        gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    result = []
    for index, row in enumerate(query):
        distance = -gallery @ row if space == "dot" else np.linalg.norm(gallery - row, axis=1)
        order = [j for j in np.argsort(distance) if allowed is None or allowed[index, j]][:k]
        total, weights = row.copy(), 1.0
        for j in order:
            weight = max(0.0, float(gallery[j] @ row)) ** alpha if alpha else 1.0
            total += weight * gallery[j]
            weights += weight
        result.append(total / weights)
    return np.array(result)


def drawn(seed, rows):
    return np.random.default_rng(seed).normal(size=(rows, 6)).astype(np.float32)


@pytest.mark.parametrize("space", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize("k", [1, 5, 40])
def test_the_mean_of_a_query_and_its_results(space, k):
    query, gallery = drawn(0, 9), drawn(1, 40)
    found = expanded_queries(query, gallery, k, space=space)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, looped(query, gallery, k, space), atol=1e-6)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 3.0])
def test_weights_of_similarity(alpha):
    query, gallery = drawn(2, 9), drawn(3, 12)  # k = 12: some results point away and weigh nothing
    found = expanded_queries(query, gallery, 12, alpha=alpha)
    expected = looped(query, gallery, 12, "cosine", alpha)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_excluded_rows_have_no_part():
    query, gallery = drawn(4, 6), drawn(5, 10)
    keys = (np.arange(6) % 2, np.arange(10) % 2)
    found = expanded_queries(query, gallery, 8, exclude=[keys])  # five rows are left to each
    allowed = keys[0][:, None] != keys[1]
    np.testing.assert_allclose(found, looped(query, gallery, 8, "cosine", 0, allowed), atol=1e-6)


def test_a_query_among_its_own_copies_stays():
    query = drawn(6, 1)
    found = expanded_queries(query, np.repeat(query, 4, axis=0), 4, space="euclidean")
    np.testing.assert_allclose(found, query, rtol=1e-6)


@pytest.mark.plain
def test_refusals():
    query, gallery = drawn(7, 3), drawn(8, 5)
    with pytest.raises(UserError, match=r"^k must be between 1 and 5, the gallery rows"):
        expanded_queries(query, gallery, 6)
    with pytest.raises(UserError, match=r"^alpha must be a number >= 0, got -1"):
        expanded_queries(query, gallery, 2, alpha=-1.0)
    with pytest.raises(UserError, match=r"^alpha must be 0 outside the cosine space, got 3.0$"):
        expanded_queries(query, gallery, 2, space="euclidean", alpha=3.0)
