"""Re-ranking against the dense algorithm of the paper, set by set and row by row."""

import math
import tracemalloc

import numpy as np
import pytest
import torch

from likeness.errors import UserError
from likeness.search import reciprocal
from likeness.search.distances import distance_blocks
from likeness.search.reciprocal import (
    PUBLISHED,
    SOFT_MINING_SCRIPT,
    Reciprocal,
    ReciprocalSearch,
    rerank,
)


def halved(k):
    """Half of k; a half is rounded to the even number."""
    whole, rest = divmod(k, 2)
    return whole + (rest and whole % 2)


def dense(query, gallery, k1, k2, weight):
    """Zhong et al. 2017 with full matrices: raw Euclidean rows -> final distances (Q, G)."""
    items = np.concatenate([query, gallery]).astype(np.float64)
    count = len(items)
    distance = np.zeros((count, count), np.float32)
    for i in range(count):
        for j in range(count):
            distance[i, j] = math.dist(items[i], items[j])
    lists = [
        sorted(range(count), key=lambda j, i=i: (j != i, distance[i, j], j)) for i in range(count)
    ]

    def mutual(i, k):
        return {j for j in lists[i][: k + 1] if i in lists[j][: k + 1]}

    original = np.zeros((count, count))
    vectors = np.zeros((count, count))
    for i in range(count):
        largest = float(distance[i].max()) ** 2
        original[i] = distance[i].astype(np.float64) ** 2 / largest if largest else 0.0
        core = mutual(i, k1)
        members = set(core)
        for j in core:
            candidates = mutual(j, halved(k1))
            if 3 * len(candidates & core) > 2 * len(candidates):
                members |= candidates
        for j in members:
            vectors[i, j] = math.exp(-original[i, j])
        vectors[i] /= vectors[i].sum()
    mean = np.array([vectors[lists[i][:k2]].mean(axis=0) for i in range(count)])
    final = np.zeros((len(query), len(gallery)))
    for q in range(len(query)):
        for g in range(len(gallery)):
            other = len(query) + g
            lower = np.minimum(mean[q], mean[other]).sum()
            upper = np.maximum(mean[q], mean[other]).sum()
            final[q, g] = weight * original[q, other] + (1 - weight) * (1 - lower / upper)
    return final


def clusters(seed, queries, gallery, dim=5, identities=8):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(identities, dim))
    labels = rng.integers(0, identities, queries + gallery)
    rows = (centres[labels] + 0.5 * rng.normal(size=(len(labels), dim))).astype(np.float32)
    return rows[:queries], rows[queries:]


def found(query, gallery, settings, **options):
    search = ReciprocalSearch(query, gallery, settings, space="euclidean", **options)
    return np.concatenate([block for _, block in search.distance_blocks()])


def assert_equals_the_paper(query, gallery, k1, k2, weight):
    expected = dense(query, gallery, k1, k2, weight)
    answer = found(query, gallery, Reciprocal(k1, k2, weight))
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-6)
    return answer


@pytest.mark.parametrize(
    ("k1", "k2", "weight"),
    [(20, 6, 0.3), (7, 3, 0.85), (5, 1, 0.0), (1, 2, 0.5), (10, 11, 1.0), (9, 4, 0.3), (2, 1, 0.1)],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_the_dense_algorithm(seed, k1, k2, weight):
    assert_equals_the_paper(*clusters(seed, 11, 34), k1, k2, weight)


@pytest.mark.parametrize(("queries", "gallery"), [(1, 30), (30, 1), (20, 20), (2, 45)])
def test_queries_and_gallery_of_different_sizes(queries, gallery):
    assert_equals_the_paper(*clusters(3, queries, gallery), 8, 3, 0.3)


def test_the_defaults_are_the_published_ones():
    assert Reciprocal(20, 6, 0.3) == PUBLISHED
    assert Reciprocal(7, 3, 0.85) == SOFT_MINING_SCRIPT


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ties_everywhere(seed):
    """Points of a small grid: equal distances, and every point several times."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 3, size=(48, 2)).astype(np.float32)
    assert_equals_the_paper(rows[:12], rows[12:], 6, 3, 0.3)
    assert_equals_the_paper(rows[:12], rows[12:], 3, 4, 0.3)


def test_more_copies_than_neighbours():
    rows = np.repeat(np.array([[0, 0], [3, 0], [0, 4]], np.float32), 9, axis=0)
    answer = assert_equals_the_paper(rows[::3], rows, 5, 3, 0.3)
    assert np.isfinite(answer).all()


def test_all_items_in_one_place():
    rows = np.ones((12, 3), np.float32)
    answer = assert_equals_the_paper(rows[:4], rows[4:], 4, 2, 0.3)
    assert (answer >= 0).all()


def test_a_query_in_the_gallery_is_its_own_nearest():
    query, gallery = clusters(4, 10, 40)
    both = np.concatenate([gallery, query])
    answer = rerank(query, both, 1, Reciprocal(8, 3), space="euclidean")
    assert answer.indices_QK[:, 0].tolist() == list(range(40, 50))


def test_hubs_whose_entries_are_added_in_portions(monkeypatch):
    """One point in the middle of many is in everybody's list."""
    rng = np.random.default_rng(5)
    around = rng.normal(size=(44, 12)).astype(np.float32)
    around /= np.linalg.norm(around, axis=1, keepdims=True)
    rows = np.concatenate([np.zeros((3, 12), np.float32), around])
    settings = Reciprocal(6, 4, 0.3)
    at_once = found(rows[::4], rows, settings)
    monkeypatch.setattr(reciprocal, "_ENTRIES", 5)
    in_portions = found(rows[::4], rows, settings)
    np.testing.assert_allclose(in_portions, at_once, rtol=0, atol=1e-7)
    np.testing.assert_allclose(at_once, dense(rows[::4], rows, 6, 4, 0.3), rtol=0, atol=1e-6)


def test_blocks_and_threads_change_nothing(monkeypatch):
    query, gallery = clusters(6, 20, 45)
    expected = found(query, gallery, PUBLISHED)
    monkeypatch.setattr(reciprocal, "_ENCODED", 7)
    threads = torch.get_num_threads()
    try:
        for block_rows, count in ((1, 1), (7, 2), (1000, 3)):
            torch.set_num_threads(count)
            answer = found(query, gallery, PUBLISHED, block_rows=block_rows)
            np.testing.assert_array_equal(answer, expected)
    finally:
        torch.set_num_threads(threads)


def test_the_cosine_space_is_that_of_unit_rows():
    query, gallery = clusters(7, 12, 40)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (query, gallery)]
    answer = ReciprocalSearch(query * 3, gallery, Reciprocal(8, 3)).distances(slice(0, 12))
    np.testing.assert_allclose(answer, dense(*unit, 8, 3, 0.3), rtol=0, atol=1e-6)


def test_the_original_distance_alone_keeps_the_original_order():
    query, gallery = clusters(8, 9, 50)
    answer = found(query, gallery, Reciprocal(8, 3, 1.0))
    (_, plain), = distance_blocks(query, gallery, space="euclidean")  # fmt: skip
    np.testing.assert_array_equal(answer.argsort(kind="stable"), plain.argsort(kind="stable"))


def test_far_items_keep_their_original_order():
    """Where no neighbour is shared the Jaccard distance is 1, and the original one decides."""
    query, gallery = clusters(9, 6, 60)
    far = gallery + np.float32(40)
    answer = found(query, np.concatenate([gallery, far]), Reciprocal(6, 2, 0.3))[:, 60:]
    (_, plain), = distance_blocks(query, far, space="euclidean")  # fmt: skip
    assert (answer >= np.float32(0.7)).all()
    np.testing.assert_array_equal(answer.argsort(kind="stable"), plain.argsort(kind="stable"))


def test_nearest_are_the_smallest_distances_less_the_excluded():
    query, gallery = clusters(10, 9, 30)
    keys = [(np.arange(9) % 3, np.arange(30) % 4)]
    settings = Reciprocal(7, 3)
    free = found(query, gallery, settings)
    same = keys[0][0][:, None] == keys[0][1]
    held = np.where(same, np.float32(np.inf), free)  # the neighbourhoods stay as they are
    np.testing.assert_array_equal(found(query, gallery, settings, exclude=keys), held)
    answer = rerank(query, gallery, 30, settings, space="euclidean", exclude=keys)
    for row in range(9):
        order = [j for j in np.argsort(held[row], kind="stable") if not same[row, j]]
        assert answer.indices_QK[row].tolist() == order + [-1] * (30 - len(order))
        kept = held[row][order].tolist() + [np.inf] * (30 - len(order))
        assert answer.distances_QK[row].tolist() == kept


def test_ranks_of_listed_pairs():
    query, gallery = clusters(10, 9, 30)
    search = ReciprocalSearch(query, gallery, Reciprocal(7, 3), space="euclidean", block_rows=4)
    places = np.empty((9, 30), np.int64)

    def work(rows):
        owner, column = np.indices((rows.stop - rows.start, 30)).reshape(2, -1)
        places[rows] = search.ranks_of(rows, owner, column).reshape(-1, 30)

    search.for_each_block(work)
    order = search.nearest(30).indices_QK
    np.testing.assert_array_equal(np.take_along_axis(places, order, 1), [range(1, 31)] * 9)


def test_progress_reaches_the_end():
    query, gallery = clusters(11, 10, 30)
    told = []
    ReciprocalSearch(
        query,
        gallery,
        Reciprocal(5, 2),
        block_rows=7,
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert told[-1] == (40, 40)
    assert told == sorted(told)


def test_re_ranking_brings_neighbours_of_neighbours_forward():
    """Two banks of a river: right answers are further away, but share the query's neighbours."""
    rng = np.random.default_rng(12)
    along = np.linspace(0, 6, 40)
    bank = np.stack([along, np.zeros(40)], 1) + 0.02 * rng.normal(size=(40, 2))
    other = np.stack([along, np.full(40, 0.55)], 1) + 0.02 * rng.normal(size=(40, 2))
    gallery = np.concatenate([bank[1:], other]).astype(np.float32)
    right = np.arange(len(gallery)) < 39
    answer = rerank(bank[:1], gallery, 12, Reciprocal(6, 3, 0.1), space="euclidean")
    plain = rerank(bank[:1], gallery, 12, Reciprocal(6, 3, 1.0), space="euclidean")
    assert right[answer.indices_QK].sum() > right[plain.indices_QK].sum()


def test_memory_grows_with_the_items_and_not_with_their_square():
    def peak(count):
        query, gallery = clusters(13, 50, count - 50, identities=count // 10)
        tracemalloc.start()
        search = ReciprocalSearch(query, gallery, Reciprocal(8, 3), block_rows=64)
        search.nearest(5)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    small, large = peak(400), peak(1600)
    assert large < 7 * small  # the square would be 16


@pytest.mark.plain
def test_refusals():
    rows = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    with pytest.raises(UserError, match=r"^k1 must be between 1 and 11, the other items among"):
        ReciprocalSearch(rows, rows)
    ReciprocalSearch(rows, rows, Reciprocal(11))
    with pytest.raises(UserError, match=r"^k2 must be between 1 and k1 \+ 1 = 6, got 7$"):
        Reciprocal(5, 7)
    with pytest.raises(UserError, match=r"^k1 must be >= 1, got 0$"):
        Reciprocal(0)
    with pytest.raises(UserError, match=r"^original_weight must be between 0 and 1, got nan$"):
        Reciprocal(original_weight=float("nan"))
    with pytest.raises(UserError, match=r"^space must be cosine or euclidean for re-ranking"):
        ReciprocalSearch(rows, rows, Reciprocal(5), space="dot")
    with pytest.raises(UserError, match=r"^gallery must be as wide as the query"):
        ReciprocalSearch(rows, rows[:, :2], Reciprocal(5))
    with pytest.raises(UserError, match=r"^k must be between 1 and 6, the gallery rows, got 7$"):
        rerank(rows, rows, 7, Reciprocal(5))
    with pytest.raises(UserError, match=r"^gallery must be finite in every row"):
        ReciprocalSearch(rows, np.full((6, 3), np.nan), Reciprocal(5))
