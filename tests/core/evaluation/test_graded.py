"""Graded retrieval metrics against loops over each query's ranking."""

import math

import numpy as np
import pytest

from likeness.errors import UserError
from likeness.evaluation import graded
from likeness.evaluation.intervals import retrieval_intervals
from likeness.evaluation.ranking import RelevantRanks
from likeness.evaluation.resampling import Bootstrap
from likeness.evaluation.retrieval import NO_RELEVANT, NO_SAME_SET, retrieval

KINDS = (
    "acg",
    "wap",
    "ap",
    "ap_min",
    "example_accuracy",
    "example_precision",
    "example_recall",
    "example_f1",
    "exact_recall",
)
AT = tuple(f"{kind}@{k}" for kind in KINDS for k in (1, 4, 9))


def order_of(row, gallery, excluded):
    distance = np.round(np.sqrt(((gallery - row) ** 2).sum(axis=1)), 6)
    kept = [j for j in range(len(gallery)) if not excluded[j]]
    return sorted(kept, key=lambda j: (distance[j], j))


def by_definition(kind, k, query, ranked):
    """One query: its label set, and the label sets of the gallery in ranked order."""
    if not any(query & item for item in ranked):
        return math.nan
    if kind == "exact_recall":
        return float(query in ranked[:k]) if query in ranked else math.nan
    top = ranked[:k]
    shared = [len(query & item) for item in top]
    hits = [count > 0 for count in shared]
    precisions = [sum(hits[: j + 1]) / (j + 1) for j in range(k)]
    gains = [sum(shared[: j + 1]) / (j + 1) for j in range(k)]
    if kind == "acg":
        return sum(shared) / k
    if kind in ("ap", "ap_min", "wap"):
        worth = sum((gains if kind == "wap" else precisions)[j] for j in range(k) if hits[j])
        possible = sum(1 for item in ranked if query & item)
        return worth / (min(k, possible) if kind == "ap_min" else max(sum(hits), 1))
    accuracy = sum(len(query & item) / len(query | item) for item in top) / k
    precision = sum(len(query & item) / len(item) for item in top if item) / k
    recall = sum(len(query & item) / len(query) for item in top) / k
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {
        "example_accuracy": accuracy,
        "example_precision": precision,
        "example_recall": recall,
        "example_f1": f1,
    }[kind]


def label_sets(table):
    return [frozenset(np.flatnonzero(row).tolist()) for row in table]


def assert_equals_definition(result, orders, queries, gallery):
    for name in AT:
        kind, k = name.split("@")
        expected = [
            by_definition(kind, int(k), query, [gallery[j] for j in order])
            for query, order in zip(queries, orders, strict=True)
        ]
        found = result.per_query[name]
        np.testing.assert_allclose(found, expected, atol=1e-12, err_msg=name)
        assert np.isfinite(expected).sum() > 0


# "map" asks for every relevant rank, the others alone for the nearest of a large gallery only.
@pytest.mark.parametrize("extra", [(), ("map",)])
def test_leave_one_out(extra):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 4, (240, 3)).astype(np.float32)  # many ties and duplicates
    table = rng.random((240, 6)) < 0.2  # some items without labels
    table[0] = table[1] = False
    table[2:] &= ~np.eye(238, 6, dtype=bool)
    lone = np.zeros((240, 7), bool)
    lone[:, :6], lone[5, :6], lone[5, 6] = table, False, True  # shares with nobody
    result = retrieval(rows, lone, metrics=[*AT, *extra], space="euclidean", block_rows=37)
    sets = label_sets(lone)
    orders = [order_of(row, rows, np.arange(240) == q) for q, row in enumerate(rows)]
    assert_equals_definition(result, orders, sets, sets)
    assert not result.valid_Q[[0, 1, 5]].any()


def test_queries_against_a_gallery_with_exclusion():
    rng = np.random.default_rng(1)
    query, gallery = rng.normal(size=(30, 4)), rng.normal(size=(120, 4))
    query_table, gallery_table = rng.random((30, 5)) < 0.4, rng.random((120, 5)) < 0.4
    scene_q, scene_g = rng.integers(0, 5, 30), rng.integers(0, 5, 120)
    asked = (query, query_table, gallery, gallery_table)
    how = {"metrics": AT, "space": "euclidean"}
    result = retrieval(*asked, **how, exclude=[(scene_q, scene_g)])
    orders = [
        order_of(row, gallery, scene_g == scene) for row, scene in zip(query, scene_q, strict=True)
    ]
    assert_equals_definition(result, orders, label_sets(query_table), label_sets(gallery_table))
    pairs = (found.per_query["acg@9"] for found in (result, retrieval(*asked, **how)))
    assert not np.array_equal(*pairs, equal_nan=True)


def test_by_hand():
    """Query {a, b}; ranked: {a}, {c}, {a, b}, {a, b, c}."""
    rows = np.arange(4, dtype=np.float32)[:, None] + 1
    table = np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0], [1, 1, 1]], bool)
    query = np.array([[1, 1, 0]], bool)
    metrics = ["acg@4", "wap@4", "ap@4", "ap_min@2", "ap@2", "exact_recall@2", "exact_recall@3"]
    metrics += ["example_accuracy@4", "example_precision@4", "example_recall@4", "ndcg@2"]
    start = np.zeros((1, 1), np.float32)
    found = retrieval(start, query, rows, table, metrics=metrics, space="euclidean").values()
    values = {name: value.value for name, value in found.items()}
    assert values == pytest.approx(
        {
            "acg@4": (1 + 0 + 2 + 2) / 4,
            "wap@4": (1 + 3 / 3 + 5 / 4) / 3,
            "ap@4": (1 + 2 / 3 + 3 / 4) / 3,
            "ap_min@2": 1 / 2,
            "ap@2": 1.0,
            "exact_recall@2": 0.0,
            "exact_recall@3": 1.0,
            "example_accuracy@4": (1 / 2 + 0 + 1 + 2 / 3) / 4,
            "example_precision@4": (1 + 0 + 1 + 2 / 3) / 4,
            "example_recall@4": (1 / 2 + 0 + 1 + 1) / 4,
            "ndcg@2": 1 / (3 + 3 / math.log2(3)),
        }
    )


def test_the_labels_of_the_nearest_are_not_united_first():
    """{a} and {b} together are the query's {a, b}; pair by pair each is half of it."""
    rows = np.array([[1.0], [2.0]], np.float32)
    query, table = np.array([[True, True]]), np.eye(2, dtype=bool)
    start = np.zeros((1, 1), np.float32)
    metrics = ["example_accuracy@2", "example_recall@2"]
    found = retrieval(start, query, rows, table, metrics=metrics, space="euclidean").values()
    assert [value.value for value in found.values()] == [0.5, 0.5]


def test_queries_without_the_same_set_are_skipped_for_their_own_reason():
    table = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1]], bool)
    rows = np.arange(4, dtype=np.float32)[:, None]
    result = retrieval(rows, table, metrics=["exact_recall@1", "acg@1"], space="euclidean")
    values = result.values()
    assert (values["exact_recall@1"].count, values["exact_recall@1"].value) == (2, 1.0)
    assert values["exact_recall@1"].skipped == {NO_SAME_SET: 2}
    assert values["acg@1"].skipped == {NO_RELEVANT: 1}
    intervals = retrieval_intervals(result, np.arange(4), Bootstrap(replicates=50))
    assert intervals["acg@1"].low <= intervals["acg@1"].value <= intervals["acg@1"].high


def test_one_class_per_item_is_one_label_per_item():
    rng = np.random.default_rng(2)
    rows, classes = rng.normal(size=(60, 3)), rng.integers(0, 5, 60)
    single = retrieval(rows, classes, metrics=[*AT, "recall@4", "precision@4"]).per_query
    table = np.eye(5, dtype=bool)[classes]
    several = retrieval(rows, table, metrics=AT).per_query
    for name in AT:
        np.testing.assert_allclose(single[name], several[name], err_msg=name)
    for kind in ("acg", "example_accuracy", "example_recall", "example_f1"):
        np.testing.assert_allclose(single[f"{kind}@4"], single["precision@4"])
    np.testing.assert_allclose(single["exact_recall@4"], single["recall@4"])


def test_many_shared_labels_keep_their_number():
    ranks = RelevantRanks(
        np.array([0, 0]), np.array([1, 2]), np.array([2]), None, 2.0 ** np.array([60, 1]) - 1
    )
    assert graded.shared_labels(ranks).tolist() == [60, 1]


def test_nothing_can_be_asked_beyond_the_gallery():
    rows, table = np.eye(4, dtype=np.float32), np.ones((4, 2), bool)
    for kind in KINDS:
        with pytest.raises(UserError, match=rf"^{kind}@4 must be between 1 and 3"):
            retrieval(rows, table, metrics=[f"{kind}@4"])
    truncated = RelevantRanks(np.array([0]), np.array([1]), np.array([1]), depth=2)
    for kind in KINDS:
        measure = getattr(graded, f"{kind}_at")
        with pytest.raises(UserError, match=r"^k must be <= 2, the depth of the ranking, got 3"):
            measure(truncated, 3)
