"""Blocks of distances against the definition of one pair, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.errors import UserError
from likeness.search import distances
from likeness.search.distances import (
    block_distances,
    distance_blocks,
    nearest_of_block,
    ranks_in_block,
)
from likeness.search.exact import nearest
from likeness.search.space import pair_distances, prepared

SPACES = ("euclidean", "cosine", "dot")


def drawn(rng, rows, dim=6):
    return rng.normal(size=(rows, dim)).astype(np.float32)


def one_by_one(query, gallery, space):
    """`pair_distances` of every pair, which an oracle of its own guards in test_exact.py."""
    row, column = np.indices((len(query), len(gallery))).reshape(2, -1)
    return pair_distances(query, gallery, row, column, space).reshape(len(query), -1)


def whole(blocks):
    return np.concatenate([block for _, block in blocks])


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("dim", [1, 6, 300])
@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e15])
def test_every_pair_has_its_own_distance_to_the_last_bit(space, dim, scale):
    rng = np.random.default_rng(dim)
    query, gallery = drawn(rng, 9, dim) * np.float32(scale), drawn(rng, 400, dim) * scale
    gallery = gallery.astype(np.float32)
    gallery[::5] = query[np.arange(80) % 9]  # copies: exactly 0 apart
    query, gallery = prepared(query, space, "query"), prepared(gallery, space, "gallery")
    found = block_distances(query, gallery, space)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, one_by_one(query, gallery, space))


def test_an_offset_that_drowns_the_products_changes_nothing():
    rng = np.random.default_rng(0)
    query, gallery = drawn(rng, 5) + 3000, drawn(rng, 300) + 3000
    found = block_distances(query, gallery, "euclidean")
    np.testing.assert_array_equal(found, one_by_one(query, gallery, "euclidean"))


def test_few_pairs_are_computed_one_by_one(monkeypatch):
    asked = []

    def counted(query, gallery, rows, columns, space):
        asked.append(len(rows))
        return pair_distances(query, gallery, rows, columns, space)

    monkeypatch.setattr(distances, "pair_distances", counted)
    rng = np.random.default_rng(1)
    block_distances(drawn(rng, 50, 64), drawn(rng, 5000, 64), "euclidean")
    assert sum(asked) < 50


@pytest.mark.parametrize("space", SPACES)
def test_blocks_in_order_with_excluded_pairs(space):
    rng = np.random.default_rng(2)
    query, gallery = drawn(rng, 23), drawn(rng, 40)
    keys = (np.arange(23) % 4, np.arange(40) % 5)
    blocks = list(distance_blocks(query, gallery, space=space, exclude=[keys], block_rows=5))
    assert [(rows.start, rows.stop) for rows, _ in blocks] == [
        (0, 5), (5, 10), (10, 15), (15, 20), (20, 23),
    ]  # fmt: skip
    ready = (prepared(query, space, "query"), prepared(gallery, space, "gallery"))
    same = keys[0][:, None] == keys[1]
    expected = np.where(same, np.float32(np.inf), one_by_one(*ready, space))
    np.testing.assert_array_equal(whole(blocks), expected)
    at_once = whole(distance_blocks(query, gallery, space=space, exclude=[keys]))
    np.testing.assert_array_equal(at_once, expected)


def test_queries_that_ask_each_other_never_meet_themselves():
    rows = drawn(np.random.default_rng(3), 20)
    found = whole(distance_blocks(rows, None, block_rows=7))
    assert np.isinf(np.diag(found)).all()
    assert np.isfinite(found[~np.eye(20, dtype=bool)]).all()
    np.testing.assert_array_equal(found, found.T)


@settings(max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 12), st.booleans())
def test_the_nearest_of_a_block_are_those_of_the_search(seed, k, many_ties):
    rng = np.random.default_rng(seed)
    query, gallery = drawn(rng, 6, 2), drawn(rng, 12, 2)
    if many_ties:
        query, gallery = np.round(query), np.round(gallery)
    keys = [(np.arange(6) % 2, np.arange(12) % 2)]
    expected = nearest(query, gallery, k, space="euclidean", exclude=keys)
    block = whole(distance_blocks(query, gallery, space="euclidean", exclude=keys))
    found = nearest_of_block(block, k)
    np.testing.assert_array_equal(found.indices_QK, expected.indices_QK)
    np.testing.assert_array_equal(found.distances_QK, expected.distances_QK)


@settings(max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 9), st.integers(1, 30))
def test_ranks_are_the_places_in_a_sorted_row(seed, levels, columns):
    rng = np.random.default_rng(seed)
    block = rng.integers(0, levels, (5, columns)).astype(np.float32)
    listed = rng.random((5, columns)) < 0.4
    block[~listed & (rng.random((5, columns)) < 0.3)] = np.inf
    owner, column = np.nonzero(listed)
    shuffled = np.lexsort((rng.random(len(owner)), owner))  # columns of a row in any order
    owner, column = owner[shuffled], column[shuffled]
    expected = [
        1 + sorted(range(columns), key=lambda j: (block[row, j], j)).index(place)
        for row, place in zip(owner, column, strict=True)
    ]
    assert ranks_in_block(block, owner, column).tolist() == expected


@pytest.mark.plain
def test_refusals():
    rows = np.ones((3, 2), np.float32)
    with pytest.raises(UserError, match=r"^gallery must be as wide as the query, 2 numbers a row"):
        distance_blocks(rows, np.ones((3, 4), np.float32))
    with pytest.raises(UserError, match=r"^block_rows must be >= 1, got 0$"):
        distance_blocks(rows, rows, block_rows=0)
