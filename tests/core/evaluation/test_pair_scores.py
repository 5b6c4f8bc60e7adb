"""Counted pairs against loops over all of them."""

import numpy as np
import pytest

from likeness.errors import UserError
from likeness.evaluation.pair_scores import count_blocks, count_scores, count_set, score_grid
from likeness.search.distances import distance_blocks
from likeness.search.reciprocal import Reciprocal, ReciprocalSearch


def bin_of(score, thresholds):
    return sum(score >= threshold for threshold in thresholds)


def table(pairs, groups, thresholds):
    """(genuine, impostor) as (groups, bins) from (group, same, score) triples, one by one."""
    found = np.zeros((2, len(groups), len(thresholds) + 1))
    for group, same, score in pairs:
        found[0 if same else 1, groups.index(group), bin_of(score, thresholds)] += 1
    return found


def assert_counts(found, pairs, groups, thresholds):
    expected = table(pairs, groups, thresholds)
    np.testing.assert_array_equal(found.genuine_UB.toarray(), expected[0])
    np.testing.assert_array_equal(found.impostor_UB.toarray(), expected[1])
    assert (found.genuine, found.impostor) == tuple(expected.sum(axis=(1, 2)))
    assert found.groups == len(groups)


def drawn(seed, rows):
    return np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)


def chord(a, b):
    a, b = (row.astype(np.float64) / np.linalg.norm(row.astype(np.float64)) for row in (a, b))
    return np.linalg.norm(a - b)


@pytest.mark.parametrize("thresholds", [None, np.array([-1.0, 0.5, 2.0, 9.0])])
def test_listed_pairs(thresholds):
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, 60).astype(float)
    same, groups = rng.random(60) < 0.4, rng.choice(["c", "a", "b"], 60)
    found = count_scores(same, scores, groups, thresholds)
    levels = [0.0, 1.0, 2.0, 3.0] if thresholds is None else thresholds.tolist()
    assert found.threshold_T.tolist() == levels
    pairs = zip(groups.tolist(), same, scores, strict=True)
    assert_counts(found, pairs, ["a", "b", "c"], levels)
    alone = count_scores(same, scores)
    np.testing.assert_array_equal(
        alone.genuine_UB.toarray()[0], count_scores(same, scores, groups).genuine_UB.sum(axis=0)
    )


@pytest.mark.parametrize("block_rows", [1, 4, None])
def test_blocks_of_distances(block_rows):
    query, gallery = drawn(1, 11), drawn(2, 17)
    labels, others = np.arange(11) % 4, np.arange(17) % 6  # 4 and 5 have no query
    cameras, places = np.arange(11) % 2, np.arange(17) % 3
    keys = [(cameras * 10 + labels, places * 10 + others)]
    grid = score_grid(2.0, 16)
    blocks = distance_blocks(query, gallery, exclude=keys, block_rows=block_rows)
    pairs = [
        (int(labels[i]), labels[i] == others[j], -chord(query[i], gallery[j]))
        for i in range(11)
        for j in range(17)
        if (cameras[i], labels[i]) != (places[j], others[j])
    ]
    found = count_blocks(blocks, labels, others, grid)
    assert_counts(found, pairs, [0, 1, 2, 3], grid.tolist())


def test_blocks_of_a_re_ranked_search():
    query, gallery = drawn(3, 9), drawn(4, 20)
    search = ReciprocalSearch(query, gallery, Reciprocal(5, 2))
    labels, others = np.arange(9) % 3, np.arange(20) % 3
    grid = score_grid(1.0, 20)
    found = count_blocks(search.distance_blocks(), labels, others, grid)
    scores = -search.distances(slice(0, 9)).astype(np.float64)
    same = labels[:, None] == others
    listed = count_scores(same.ravel(), scores.ravel(), np.repeat(labels, 20), grid)
    np.testing.assert_array_equal(found.genuine_UB.toarray(), listed.genuine_UB.toarray())
    np.testing.assert_array_equal(found.impostor_UB.toarray(), listed.impostor_UB.toarray())


def test_a_set_counts_each_pair_once():
    rows, labels, cameras = drawn(5, 30), np.arange(30) % 7, np.arange(30) % 3
    grid = score_grid(2.0, 32)
    found = count_set(rows, labels, grid, exclude=[(cameras, cameras)])
    pairs = [
        (0, labels[i] == labels[j], -chord(rows[i], rows[j]))
        for i in range(30)
        for j in range(i)
        if cameras[i] != cameras[j]
    ]
    expected = table(pairs, [0], grid.tolist())[:, 0]
    np.testing.assert_array_equal(found.genuine_UB.toarray().sum(axis=0), expected[0])
    np.testing.assert_array_equal(found.impostor_UB.toarray().sum(axis=0), expected[1])


def test_a_large_set_is_drawn_from():
    rows, labels = drawn(6, 60), np.arange(60) % 6
    grid = score_grid(2.0, 8)
    all_pairs = count_set(rows, labels, grid, most_pairs=1770)
    assert all_pairs.genuine + all_pairs.impostor == 60 * 59 // 2
    some = count_set(rows, labels, grid, most_pairs=600, seed=1)
    # Ten items ask sixty: the pairs among the ten count once, none asks itself.
    assert some.genuine + some.impostor == 10 * 60 - 10 - 45
    again = count_set(rows, labels, grid, most_pairs=600, seed=1)
    np.testing.assert_array_equal(some.impostor_UB.toarray(), again.impostor_UB.toarray())
    other = count_set(rows, labels, grid, most_pairs=600, seed=2)
    assert some.impostor_UB.toarray().tolist() != other.impostor_UB.toarray().tolist()


def test_the_grid():
    assert score_grid(2.0, 4).tolist() == [-2.0, -1.5, -1.0, -0.5, 0.0]


@pytest.mark.plain
def test_refusals():
    rows, labels = drawn(7, 6), np.arange(6)
    grid = score_grid(2.0, 4)
    with pytest.raises(UserError, match=r"^farthest must be a positive number, got 0"):
        score_grid(0.0)
    with pytest.raises(UserError, match=r"^thresholds must be at least one, finite and rising"):
        count_set(rows, labels, np.array([1.0, 0.0]))
    with pytest.raises(UserError, match=r"^labels must be 6, one per item"):
        count_set(rows, labels[:5], grid)
    with pytest.raises(UserError, match=r"^most_pairs must be at least 6, one per item, got 5"):
        count_set(rows, labels, grid, most_pairs=5)
    with pytest.raises(UserError, match=r"^gallery_labels must be blocks of 5 gallery rows"):
        count_blocks(distance_blocks(rows, rows), labels, labels[:5], grid)
    with pytest.raises(UserError, match=r"^groups must be 3, one per pair"):
        count_scores(np.ones(3), np.ones(3), np.ones(2))
