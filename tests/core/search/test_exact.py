"""Exact search against a sort of every distance, row by row."""

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.errors import UserError
from likeness.search import exact
from likeness.search.exact import ExactSearch, nearest
from likeness.search.ranks import ranks_of
from likeness.search.space import distances_from, full_precision, pair_distances

SPACES = ("euclidean", "cosine", "dot")
UNHOOKED = pytest.mark.skipif(os.environ.get("LIKENESS_PLAIN") != "1", reason="hook is on")


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return (rows / np.sqrt((rows.astype(np.float64) ** 2).sum(1))[:, None]).astype(np.float32)


def full_order(query, gallery, space, excluded=None):
    """Per query: (gallery rows in order, their float32 distances), from the definition."""
    if space == "cosine":
        query, gallery = unit(query), unit(gallery)
    result = []
    for index, row in enumerate(np.asarray(query, np.float32).astype(np.float64)):
        other = np.asarray(gallery, np.float32).astype(np.float64)
        exact = -(other * row).sum(1) if space == "dot" else np.sqrt(((other - row) ** 2).sum(1))
        distance = exact.astype(np.float32) + np.float32(0)
        allowed = [j for j in range(len(gallery)) if excluded is None or not excluded[index][j]]
        order = sorted(allowed, key=lambda j: (distance[j], j))
        result.append((order, [distance[j] for j in order]))
    return result


def assert_equals_oracle(query, gallery, k, space, exclude=(), block_rows=None):
    reference = query if gallery is None else gallery
    excluded = np.zeros((len(query), len(reference)), bool)
    if gallery is None:
        np.fill_diagonal(excluded, True)
    for query_keys, gallery_keys in exclude:
        excluded |= np.asarray(query_keys)[:, None] == np.asarray(gallery_keys)
    found = nearest(query, gallery, k, space=space, exclude=exclude, block_rows=block_rows)
    assert found.indices_QK.dtype == np.int64
    assert found.distances_QK.dtype == np.float32
    for index, (order, distance) in enumerate(full_order(query, reference, space, excluded)):
        missing = max(0, k - len(order))
        assert found.indices_QK[index].tolist() == order[:k] + [-1] * missing
        expected = np.array(distance[:k] + [np.inf] * missing, np.float32)
        np.testing.assert_array_equal(found.distances_QK[index], expected)


def gaussian(rng, rows, dim=24):
    return rng.normal(size=(rows, dim)).astype(np.float32)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("k", [1, 7, 60])
def test_equals_a_full_sort(space, k):
    # 3,000 rows with k = 7 take the path through lanes; k = 60 looks at all columns.
    rng = np.random.default_rng(0)
    assert_equals_oracle(gaussian(rng, 11), gaussian(rng, 3000), k, space, block_rows=4)


@pytest.mark.parametrize("space", SPACES)
def test_leave_one_out_with_duplicates_of_the_query(space):
    rng = np.random.default_rng(1)
    rows = gaussian(rng, 40)[rng.integers(0, 40, 600)]  # each row about 15 times
    assert_equals_oracle(rows, None, 20, space)
    first = nearest(rows, None, 1, space="euclidean")
    assert (first.indices_QK[:, 0] != np.arange(600)).all()
    twins = (rows[:, None, 0] == rows[None, :, 0]).sum(1) > 1
    assert (first.distances_QK[twins, 0] == 0).all()  # zero, not the rounding noise of a product


@pytest.mark.parametrize("space", SPACES)
def test_lattice_of_ties_is_ordered_by_index_also_at_the_kth_place(space):
    rng = np.random.default_rng(2)
    lattice = rng.integers(-1, 2, size=(900, 5)).astype(np.float32)
    lattice[(lattice == 0).all(1), 0] = 1  # no direction otherwise
    for k in (1, 13, 300):
        assert_equals_oracle(lattice[:15], lattice, k, space, block_rows=7)


@pytest.mark.parametrize("space", SPACES)
def test_all_rows_equal(space):
    rows = np.tile(np.float32([[0.3, -0.1, 0.7]]), (500, 1))
    found = nearest(rows, None, 3, space=space)
    assert found.indices_QK[:4].tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    assert found.indices_QK[-1].tolist() == [0, 1, 2]


@pytest.mark.parametrize("space", ["euclidean", "cosine"])
def test_a_large_common_offset_does_not_drown_the_differences(space):
    rng = np.random.default_rng(3)
    rows = (rng.normal(size=(700, 8)) * 1e-3 + 100).astype(np.float32)
    assert_equals_oracle(rows[:20], rows, 5, space)


@pytest.mark.parametrize("scale", [1e-25, 1e-18, 1e15])
@pytest.mark.parametrize("space", SPACES)
def test_extreme_scales(space, scale):
    rng = np.random.default_rng(4)
    rows = (rng.normal(size=(500, 6)) * scale).astype(np.float32)
    assert_equals_oracle(rows[:10], rows, 9, space)


def test_one_far_row_does_not_spoil_the_others():
    rng = np.random.default_rng(5)
    rows = gaussian(rng, 600, 6)
    rows[17] *= 1e6
    assert_equals_oracle(rows[:20], rows, 4, "euclidean")


def test_near_ties_below_the_resolution_of_float32_products():
    # All but two rows lie on a sphere around the query, up to float32 rounding.
    rng = np.random.default_rng(6)
    rows = unit(gaussian(rng, 2000, 512))
    query = np.zeros((1, 512), np.float32)
    assert_equals_oracle(query, rows, 10, "euclidean")
    assert_equals_oracle(query, rows, 10, "dot")  # exact ties at 0 throughout


@pytest.mark.parametrize("space", SPACES)
def test_the_result_does_not_depend_on_blocks_or_threads(space):
    rng = np.random.default_rng(7)
    rows = gaussian(rng, 300, 37)[rng.integers(0, 200, 300)]
    results = []
    threads = torch.get_num_threads()
    try:
        for block_rows, count in ((None, 1), (1, 1), (7, 2), (299, 2)):
            torch.set_num_threads(count)
            results.append(nearest(rows, None, 12, space=space, block_rows=block_rows))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0].indices_QK, other.indices_QK)
        np.testing.assert_array_equal(results[0].distances_QK, other.distances_QK)


def test_a_permuted_gallery_gives_the_permuted_answer():
    rng = np.random.default_rng(8)
    query, gallery = gaussian(rng, 9), gaussian(rng, 800)
    order = rng.permutation(800)
    straight = nearest(query, gallery, 6)
    shuffled = nearest(query, gallery[order], 6)
    np.testing.assert_array_equal(order[shuffled.indices_QK], straight.indices_QK)
    np.testing.assert_array_equal(shuffled.distances_QK, straight.distances_QK)


def test_cosine_distance_is_the_chord_whatever_the_lengths():
    rng = np.random.default_rng(9)
    query, gallery = gaussian(rng, 5, 3), gaussian(rng, 30, 3)
    stretched = gallery * rng.uniform(0.01, 100, size=(30, 1)).astype(np.float32)
    found = nearest(query, stretched, 30, space="cosine")
    for row in range(5):
        for column, distance in zip(found.indices_QK[row], found.distances_QK[row], strict=True):
            a, b = query[row].astype(float), stretched[column].astype(float)
            cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            assert distance == pytest.approx(np.sqrt(2 - 2 * cosine), abs=1e-6)


def test_exclusion_by_id_and_by_group_and_both():
    rng = np.random.default_rng(10)
    query, gallery = gaussian(rng, 30, 4), gaussian(rng, 600, 4)
    ids = (rng.integers(0, 50, 30), rng.integers(0, 50, 600))
    camera = (
        np.array(list("abc"))[rng.integers(0, 3, 30)],
        np.array(list("abc"))[rng.integers(0, 3, 600)],
    )
    for exclude in ([ids], [camera], [ids, camera]):
        for space in SPACES:
            assert_equals_oracle(query, gallery, 8, space, exclude, block_rows=11)


def test_blocks_with_very_many_near_ties_are_split(monkeypatch):
    rng = np.random.default_rng(19)
    rows = gaussian(rng, 4, 6)[rng.integers(0, 4, 300)]
    expected = nearest(rows, None, 20)
    monkeypatch.setattr(exact, "_MOST_CANDIDATES", 100)
    found = nearest(rows, None, 20)
    np.testing.assert_array_equal(found.indices_QK, expected.indices_QK)
    assert_equals_oracle(rows, None, 20, "cosine")


def test_rows_that_exclusion_leaves_short_are_filled_with_minus_one():
    rng = np.random.default_rng(11)
    rows = gaussian(rng, 40, 4)
    group = np.repeat([0, 1], [39, 1])
    assert_equals_oracle(rows, None, 30, "cosine", [(group, group)])
    found = nearest(rows, None, 2, exclude=[(group, group)])
    assert found.indices_QK[0].tolist() == [39, -1]
    assert found.distances_QK[0, 1] == np.inf
    everything = np.zeros(40, int)
    found = nearest(rows, None, 2, exclude=[(everything, everything)])
    assert (found.indices_QK == -1).all()


def test_reduced_precision_and_autocast_do_not_reach_the_search():
    rng = np.random.default_rng(12)
    rows = gaussian(rng, 500, 64)
    expected = nearest(rows, None, 10)
    allowed = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = nearest(rows, None, 10)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(allowed)
    np.testing.assert_array_equal(found.indices_QK, expected.indices_QK)


def test_products_are_taken_in_full_precision():
    allowed = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with full_precision():
                assert torch.get_float32_matmul_precision() == "highest"
                assert not torch.is_autocast_enabled("cpu")
                assert not torch.is_grad_enabled()
            assert torch.is_autocast_enabled("cpu")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(allowed)


def test_blocks_in_several_threads_all_multiply_in_full_precision():
    search = ExactSearch(gaussian(np.random.default_rng(0), 40, 4), None, block_rows=3)
    seen, done = set(), []

    def look(rows):
        search.scores(rows)
        seen.add(torch.get_float32_matmul_precision())
        done.append(rows.start)

    allowed, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    try:
        torch.set_float32_matmul_precision("medium")
        search.for_each_block(look)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(allowed)
    assert seen == {"highest"}
    assert sorted(done) == [rows.start for rows in search.blocks()]
    assert torch.get_num_threads() == threads


def test_an_offset_does_not_widen_the_error_bound():
    rng = np.random.default_rng(16)
    rows = gaussian(rng, 300, 16)
    centred, shifted = (ExactSearch(rows + shift, None, space="euclidean") for shift in (0, 1000))
    ratio = shifted.tolerance_Q / centred.tolerance_Q
    assert ((ratio > 0.9) & (ratio < 1.1)).all()  # a wide bound is right too, and far slower


@pytest.mark.parametrize("space", SPACES)
def test_a_tight_gallery_far_away(space):
    # Distances differ by little more than float32 resolves: products alone cannot order them.
    rng = np.random.default_rng(17)
    query = unit(gaussian(rng, 12, 8))
    for size in (1e-6, 1e-3):
        assert_equals_oracle(query, (rng.normal(size=(600, 8)) * size).astype(np.float32), 9, space)


def test_collapsed_embeddings_are_measured_few_times(monkeypatch):
    """Of 1,500 identical rows only the first few can matter: no 1,500 x 1,500 distances."""
    rows = np.concatenate([np.tile(np.float32([[0.3, -0.1, 0.7]]), (1500, 1)), np.eye(3)])
    measured = []

    def counting(*arguments):
        found = pair_distances(*arguments)
        measured.append(len(found))
        return found

    monkeypatch.setattr(exact, "pair_distances", counting)
    found = nearest(rows, None, 4)
    assert sum(measured) < 1503 * 20
    assert found.indices_QK[[0, 3, 1499]].tolist() == [[1, 2, 3, 4], [0, 1, 2, 4], [0, 1, 2, 3]]
    assert_equals_oracle(rows[-40:], rows, 7, "euclidean", [(np.arange(40), np.arange(1503) % 9)])


def test_collapsed_embeddings_are_ranked_by_few_distances(monkeypatch):
    rows = np.tile(np.float32([[0.3, -0.1, 0.7]]), (900, 1))
    measured = []

    def counting(*arguments):
        found = distances_from(*arguments)
        measured.append(len(found))
        return found

    monkeypatch.setattr(exact, "distances_from", counting)
    search = ExactSearch(rows, None)
    owner, column = np.array([0, 0, 5, 5]), np.array([1, 899, 4, 6])
    assert ranks_of(search, next(search.blocks()), owner, column).tolist() == [1, 899, 5, 6]
    assert sum(measured) == 2  # one for each query that asks


@pytest.mark.parametrize("space", SPACES)
def test_one_query_and_listed_pairs_are_measured_alike(space):
    rng = np.random.default_rng(20)
    for dim in (1, 5, 128):
        query, gallery = gaussian(rng, 3, dim), gaussian(rng, 700, dim)
        column = rng.integers(0, 700, 900)
        alone = distances_from(query[1], gallery, column, space)
        pairs = pair_distances(query, gallery, np.full(900, 1), column, space)
        np.testing.assert_array_equal(alone, pairs)


def test_other_number_types_are_converted():
    rng = np.random.default_rng(13)
    rows = gaussian(rng, 50, 8)
    expected = nearest(rows, None, 3)
    found = nearest(rows.astype(np.float64), None, 3)
    np.testing.assert_array_equal(found.indices_QK, expected.indices_QK)
    half = rows.astype(np.float16)
    assert_equals_oracle(half, None, 3, "euclidean")
    assert_equals_oracle(np.arange(30).reshape(10, 3), None, 3, "euclidean")


@settings(max_examples=30)
@given(data=st.data())
def test_small_cases_of_every_kind(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    dim, rows = data.draw(st.integers(1, 12)), data.draw(st.integers(2, 60))
    space = data.draw(st.sampled_from(SPACES))
    table = {
        "gaussian": rng.normal(size=(rows, dim)),
        "lattice": rng.integers(1, 3, size=(rows, dim)) * rng.choice([-1, 1], size=(rows, dim)),
        "offset": rng.normal(size=(rows, dim)) * 1e-4 + 1000,
        "twins": rng.normal(size=(rows, dim))[rng.integers(0, max(1, rows // 4), rows)],
    }[data.draw(st.sampled_from(["gaussian", "lattice", "offset", "twins"]))].astype(np.float32)
    keys = rng.integers(0, 4, rows)
    exclude = [(keys, keys)] if data.draw(st.booleans()) else []
    k = data.draw(st.integers(1, rows - 1))
    assert_equals_oracle(table, None, k, space, exclude, data.draw(st.integers(1, 70)))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", ["gaussian", "lattice", "twins", "far", "offset", "tight"])
def test_ranks_of_listed_pairs_equal_their_places_in_the_full_order(space, kind):
    rng = np.random.default_rng(14)
    gallery = {
        "gaussian": gaussian(rng, 700),
        "lattice": rng.integers(1, 3, size=(700, 4)).astype(np.float32),
        "twins": gaussian(rng, 60)[rng.integers(0, 60, 700)],
        "far": gaussian(rng, 700)
        * np.where(np.arange(700) == 3, 1e6, 1)[:, None].astype(np.float32),
        "offset": (rng.normal(size=(700, 5)) * 1e-3 + 50).astype(np.float32),
        "tight": (rng.normal(size=(700, 8)) * 1e-4).astype(np.float32),
    }[kind]
    query = unit(gallery[::60]) if kind == "tight" else gallery[::60]
    keys = (rng.integers(0, 5, len(query)), rng.integers(0, 5, 700))
    search = ExactSearch(query, gallery, space=space, exclude=[keys], block_rows=5)
    excluded = keys[0][:, None] == keys[1]
    orders = full_order(query, gallery, space, excluded)
    for rows in search.blocks():
        listed = (rng.random((rows.stop - rows.start, 700)) < 0.1) & ~excluded[rows]
        listed[0] = False  # a query with nothing to find
        owner, column = np.nonzero(listed)
        expected = [
            orders[rows.start + b][0].index(c) + 1 for b, c in zip(owner, column, strict=True)
        ]
        assert ranks_of(search, rows, owner, column).tolist() == expected


def test_ranks_across_the_edges_of_bins():
    # A thousand bins of the error bound's width with three rows in each: rows that tie as float32
    # fall into neighbouring bins, of which only one holds a listed row.
    rng = np.random.default_rng(18)
    query, gallery = unit(gaussian(rng, 6, 64)), gaussian(rng, 3000, 64) * np.float32(2e-4)
    search = ExactSearch(query, gallery, space="euclidean")
    owner, column = np.nonzero(rng.random((6, 3000)) < 0.1)
    ranks = ranks_of(search, next(search.blocks()), owner, column)
    expected = np.empty((6, 3000), np.int64)
    for index, row in enumerate(query.astype(np.float64)):
        distance = np.sqrt(((gallery.astype(np.float64) - row) ** 2).sum(1)).astype(np.float32)
        expected[index, np.lexsort((np.arange(3000), distance))] = np.arange(1, 3001)
    np.testing.assert_array_equal(ranks, expected[owner, column])


def test_ranks_where_a_query_may_meet_nobody():
    rng = np.random.default_rng(15)
    rows = gaussian(rng, 30)
    keys = np.repeat([0, 1], [1, 29])
    search = ExactSearch(rows[:2], rows, exclude=[(keys[:2], np.zeros(30, int))])
    block = next(search.blocks())
    found = ranks_of(search, block, np.array([1, 1]), np.array([0, 1]))
    order = full_order(rows[1:2], rows, "cosine")[0][0]
    assert found.tolist() == [order.index(0) + 1, 1]


@pytest.mark.parametrize(("k", "gallery"), [(0, 9), (10, 9), (9, None), (-1, 9)])
def test_k_beyond_the_gallery_is_refused(k, gallery):
    rows = gaussian(np.random.default_rng(0), 9, 3)
    most = 9 if gallery else 8
    with pytest.raises(UserError, match=f"^k must be between 1 and {most}, .*, got {k}$"):
        nearest(rows, rows if gallery else None, k)


def test_rows_that_cannot_be_compared_are_refused():
    rows = gaussian(np.random.default_rng(0), 9, 3)
    broken = rows.copy()
    broken[4, 1] = np.nan
    with pytest.raises(UserError, match=r"^gallery must be finite in every row, got .*row 4"):
        nearest(rows, broken, 1)
    broken[4] = 0
    with pytest.raises(UserError, match=r"^query must be of non-zero length .*row 4"):
        nearest(broken, None, 1, space="cosine")
    assert nearest(broken, None, 1, space="euclidean").indices_QK.shape == (9, 1)
    with pytest.raises(UserError, match=r"^query must be a 2-D array with rows"):
        nearest(rows[:0], None, 1)
    with pytest.raises(UserError, match=r"^query must be finite"):
        nearest(rows.astype(np.float64) * 1e300, None, 1)
    with pytest.raises(UserError, match=r"^exclude\[0\] must be one key per query"):
        nearest(rows, None, 1, exclude=[(np.arange(9), np.arange(8))])
    with pytest.raises(UserError, match=r"^block_rows must be >= 1, got 0"):
        nearest(rows, None, 1, block_rows=0)


@pytest.mark.plain
@UNHOOKED
def test_shapes_and_spaces_are_refused_in_words():
    rows = gaussian(np.random.default_rng(0), 9, 3)
    with pytest.raises(UserError, match=r"^gallery must be as wide as the query, 3 numbers"):
        nearest(rows, rows[:, :2], 1)
    with pytest.raises(UserError, match=r"^space must be one of euclidean, cosine, dot, got 'l1'"):
        nearest(rows, None, 1, space="l1")
    with pytest.raises(UserError, match=r"^query must be a 2-D array"):
        nearest(rows[0], None, 1)
