"""Streamed retrieval metrics against a full sort per query and loops from the definitions."""

import math
import os

import numpy as np
import pytest
from sklearn import metrics as sk

from likeness.errors import UserError
from likeness.evaluation.retrieval import NO_RELEVANT, retrieval

UNHOOKED = pytest.mark.skipif(os.environ.get("LIKENESS_PLAIN") != "1", reason="hook is on")
TOP = ("recall@1", "recall@4", "precision@4", "ndcg@4", "r_precision", "map@r")
ALL = (*TOP, "map", "anmrr")


def rankings(query, gallery, excluded, space):
    query, gallery = np.asarray(query, np.float64), np.asarray(gallery, np.float64)
    if space == "cosine":
        query = query / np.linalg.norm(query, axis=1, keepdims=True)
        gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    for index, row in enumerate(query):
        score = -(gallery @ row) if space == "dot" else np.sqrt(((gallery - row) ** 2).sum(1))
        score = np.round(score, 9)
        yield sorted(
            (j for j in range(len(gallery)) if not excluded[index][j]), key=lambda j: (score[j], j)
        )


def by_definition(orders, gains, metrics):
    """Per metric a list of per-query values. gains[q][g] = 0 for irrelevant."""
    ranked = [[gains[q][j] for j in order] for q, order in enumerate(orders)]
    largest = max((sum(gain > 0 for gain in row) for row in ranked), default=0)
    return {name: [value_of(name, row, largest) for row in ranked] for name in metrics}


def value_of(name, ranked, largest):
    """One query. `ranked`: the gains in order; `largest`: the most relevant items of any query."""
    kind, _, k = name.partition("@")
    hits = [int(gain > 0) for gain in ranked]
    total = sum(hits)
    if total == 0:
        return math.nan
    ranks = [rank for rank, hit in enumerate(hits, start=1) if hit]
    precision = [found / rank for found, rank in enumerate(ranks, start=1)]
    if name == "map@r":
        return sum(p for p, rank in zip(precision, ranks, strict=True) if rank <= total) / total
    if kind == "r_precision":
        return sum(hits[:total]) / total
    if kind == "map":
        return sum(precision) / total
    if kind == "recall":
        return float(any(hits[: int(k)]))
    if kind == "precision":
        return sum(hits[: int(k)]) / int(k)
    if kind == "ndcg":
        return gain_sum(ranked[: int(k)]) / gain_sum(sorted(ranked, reverse=True)[: int(k)])
    assert kind == "anmrr"
    reach = min(4 * total, 2 * largest)
    best = (1 + total) / 2
    mean = sum(rank if rank <= reach else 1.25 * reach for rank in ranks) / total
    return (mean - best) / (1.25 * reach - best)


def gain_sum(gains):
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


def assert_equals_definition(result, expected):
    assert list(result.per_query) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(result.per_query[name], values, atol=1e-12, err_msg=name)
        defined = [value for value in values if not math.isnan(value)]
        value = result.values()[name]
        assert value.count == len(defined)
        assert value.value == pytest.approx(np.mean(defined) if defined else math.nan, nan_ok=True)
        missing = len(values) - len(defined)
        assert value.skipped == ({NO_RELEVANT: missing} if missing else {})


def clusters(rng, count=150, classes=12, dim=6, noise=0.7):
    labels = rng.integers(0, classes, count)
    return (rng.normal(size=(classes, dim))[labels] + noise * rng.normal(size=(count, dim))).astype(
        np.float32
    ), labels


# `TOP` with few relevant items looks at the nearest only; "map" needs every relevant rank.
@pytest.mark.parametrize("metrics", [TOP, ALL, ("anmrr",), ("map",)])
@pytest.mark.parametrize("space", ["euclidean", "cosine", "dot"])
def test_leave_one_out(space, metrics):
    rng = np.random.default_rng(0)
    rows, labels = clusters(rng, 300, 40)
    labels[:3] = [1000, 1001, 1002]  # lone items
    result = retrieval(rows, labels, metrics=metrics, space=space, block_rows=17)
    gains = (labels[:, None] == labels).astype(int)
    orders = list(rankings(rows, rows, np.eye(300, dtype=bool), space))
    assert_equals_definition(result, by_definition(orders, gains, metrics))
    assert (~result.valid_Q[:3]).all()
    assert result.skipped[NO_RELEVANT] == 300 - result.valid_Q.sum()


@pytest.mark.parametrize("metrics", [TOP, ALL])
def test_queries_against_a_gallery_with_exclusion(metrics):
    rng = np.random.default_rng(1)
    rows, labels = clusters(rng, 400, 50)
    camera = rng.integers(0, 3, 400)
    query, gallery = slice(0, 60), slice(60, 400)
    shot = labels * 10 + camera  # the same thing seen by the same camera is never asked for
    names = np.array([f"identity {label}" for label in labels])
    result = retrieval(
        rows[query],
        names[query],
        rows[gallery],
        names[gallery],
        metrics=metrics,
        exclude=[(shot[query], shot[gallery])],
    )
    gains = (labels[query, None] == labels[gallery]).astype(int)
    excluded = shot[query, None] == shot[gallery]
    orders = list(rankings(rows[query], rows[gallery], excluded, "cosine"))
    assert_equals_definition(result, by_definition(orders, gains, metrics))
    np.testing.assert_array_equal(result.relevant_Q, (gains & ~excluded).sum(1))
    assert result.protocol["exclusion"] == "1 rules of equal keys"


@pytest.mark.parametrize(
    "metrics", [("recall@1", "precision@5", "ndcg@5"), ("map", "ndcg@5", "ndcg@200", "anmrr")]
)
def test_label_tables_with_graded_gains(metrics):
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(240, 5)).astype(np.float32)
    table = rng.random((240, 7)) < 0.08  # some rows have no label at all
    result = retrieval(rows, table, metrics=metrics)
    shared = table.astype(int) @ table.astype(int).T
    orders = list(rankings(rows, rows, np.eye(240, dtype=bool), "cosine"))
    assert_equals_definition(result, by_definition(orders, 2.0**shared - 1, metrics))
    assert not result.valid_Q[~table.any(axis=1)].any()


def test_ties_and_duplicates_are_ranked_by_gallery_index():
    rows = np.zeros((6, 3), np.float32) + np.float32([1, 2, 3])
    labels = np.array([0, 1, 0, 1, 0, 1])
    for metrics in (("recall@1", "map@r"), (*ALL[:1], "map")):
        result = retrieval(rows, labels, metrics=metrics)
        # query 0 sees 1, 2, 3, 4, 5; query 1 sees 0, 2, 3, 4, 5; ...
        orders = [[j for j in range(6) if j != q] for q in range(6)]
        gains = (labels[:, None] == labels).astype(int)
        assert_equals_definition(result, by_definition(orders, gains, metrics))


def test_map_equals_scikit_learn_without_ties():
    rng = np.random.default_rng(3)
    rows, labels = clusters(rng, 120, 10)
    result = retrieval(rows, labels, metrics=["map"], space="euclidean")
    for q in range(0, 120, 7):
        others = np.arange(120) != q
        distance = np.linalg.norm(rows - rows[q], axis=1)
        if (labels[others] == labels[q]).any():
            expected = sk.average_precision_score(labels[others] == labels[q], -distance[others])
            assert result.per_query["map"][q] == pytest.approx(expected)


def test_ndcg_at_r_equals_scikit_learn():
    """Classes of one size each: R is the same for all queries."""
    rng = np.random.default_rng(5)
    rows, labels = rng.normal(size=(40, 5)), np.repeat(np.arange(8), 5)
    result = retrieval(rows, labels, metrics=["ndcg@r", "ndcg@4", "ndcg@1", "recall@1"])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    others = ~np.eye(40, dtype=bool)
    gains = (labels[:, None] == labels)[others].reshape(40, 39)
    expected = sk.ndcg_score(gains, (unit @ unit.T)[others].reshape(40, 39), k=4)
    values = {name: value.value for name, value in result.values().items()}
    assert values["ndcg@r"] == values["ndcg@4"] == pytest.approx(expected)
    assert values["ndcg@1"] == values["recall@1"]


def test_ndcg_equals_scikit_learn():
    rng = np.random.default_rng(4)
    query, gallery = rng.normal(size=(20, 5)), rng.normal(size=(90, 5))
    table_q, table_g = rng.random((20, 4)) < 0.5, rng.random((90, 4)) < 0.5
    table_q[:, 0] = True
    result = retrieval(query, table_q, gallery, table_g, metrics=["ndcg@10"], space="dot")
    gains = 2.0 ** (table_q.astype(int) @ table_g.T.astype(int)) - 1
    expected = sk.ndcg_score(gains, query.astype(np.float32) @ gallery.astype(np.float32).T, k=10)
    assert result.values()["ndcg@10"].value == pytest.approx(expected)


def test_matches_pytorch_metric_learning_where_definitions_agree():
    import torch
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN

    rng = np.random.default_rng(5)
    rows, labels = clusters(rng, 200, 20)
    calculator = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        k="max_bin_count",
        knn_func=CustomKNN(LpDistance()),
        device=torch.device("cpu"),
    )
    theirs = calculator.get_accuracy(torch.from_numpy(rows), torch.from_numpy(labels))
    ours = retrieval(rows, labels, metrics=["recall@1", "r_precision", "map@r"]).values()
    assert ours["recall@1"].value == pytest.approx(theirs["precision_at_1"], abs=1e-9)
    assert ours["r_precision"].value == pytest.approx(theirs["r_precision"], abs=1e-9)
    assert ours["map@r"].value == pytest.approx(theirs["mean_average_precision_at_r"], abs=1e-9)


@pytest.mark.parametrize("metrics", [TOP, ALL])
def test_values_do_not_depend_on_row_order_or_blocks(metrics):
    rng = np.random.default_rng(6)
    rows, labels = clusters(rng, 260, 30)
    order = rng.permutation(260)
    straight = retrieval(rows, labels, metrics=metrics)
    shuffled = retrieval(rows[order], labels[order], metrics=metrics, block_rows=7)
    for name in metrics:
        np.testing.assert_allclose(
            shuffled.per_query[name], straight.per_query[name][order], atol=1e-12
        )


def test_values_do_not_change_under_increasing_transforms_of_the_distance():
    rng = np.random.default_rng(7)
    rows, labels = clusters(rng, 200, 20)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = retrieval(rows, labels, metrics=ALL, space="cosine")
    # On unit rows chord, angle and negative inner product rise together, and scale is nothing.
    for other in (
        retrieval(unit, labels, metrics=ALL, space="euclidean"),
        retrieval(unit, labels, metrics=ALL, space="dot"),
        retrieval(unit * 37, labels, metrics=ALL, space="euclidean"),
    ):
        for name in ALL:
            np.testing.assert_allclose(other.per_query[name], cosine.per_query[name], atol=1e-12)


def test_one_class_is_perfect_and_no_class_is_nothing():
    rows = np.random.default_rng(8).normal(size=(30, 4)).astype(np.float32)
    values = retrieval(rows, np.zeros(30, int), metrics=ALL).values()
    for name in ALL:
        assert values[name].value == pytest.approx(0.0 if name == "anmrr" else 1.0), name
    values = retrieval(rows, np.arange(30), metrics=ALL).values()
    for name in ALL:
        assert math.isnan(values[name].value)
        assert (values[name].count, values[name].skipped) == (0, {NO_RELEVANT: 30})


def test_large_identities_do_not_collide():
    # A peer casts labels to float32, where 2^24 and 2^24 + 1 are the same person.
    rows = np.random.default_rng(9).normal(size=(40, 4)).astype(np.float32)
    result = retrieval(rows, 2**24 + np.arange(40), metrics=["recall@1"])
    assert not result.valid_Q.any()
    with pytest.raises(
        UserError, match=r"^query_labels must be integers or strings .*got 'float64'"
    ):
        retrieval(rows, np.arange(40) + 0.0)


def test_protocol_says_what_was_done():
    rows, labels = clusters(np.random.default_rng(10))
    protocol = retrieval(rows, labels, metrics=["recall@1"]).protocol
    assert protocol["gallery"] == "leave-one-out: the queries ask each other"
    assert protocol["ties"] == "equal float32 distances are ranked by gallery index"
    assert protocol["exclusion"] == "none"
    assert (
        retrieval(rows, labels, rows, labels, metrics=["recall@1"]).protocol["gallery"]
        == "separate"
    )


def test_what_cannot_be_met_is_refused():
    rows, labels = clusters(np.random.default_rng(11), 20, 4)
    with pytest.raises(
        UserError, match=r"^recall@20 must be between 1 and 19, the gallery rows .*got 20"
    ):
        retrieval(rows, labels, metrics=["recall@20"])
    assert (
        retrieval(rows, labels, rows, labels, metrics=["recall@20"]).values()["recall@20"].value
        == 1
    )
    for wrong in ("recall", "recall@0", "recall@-1", "accuracy", "map@5", "recall@1.5"):
        with pytest.raises(UserError, match=rf"^metrics must be among recall@K, .*got '{wrong}'"):
            retrieval(rows, labels, metrics=["recall@1", wrong])
    with pytest.raises(UserError, match=r"^metrics must be at least one name"):
        retrieval(rows, labels, metrics=[])
    with pytest.raises(UserError, match=r"^gallery_labels must be given exactly if"):
        retrieval(rows, labels, rows)
    with pytest.raises(UserError, match=r"^query_labels must be integers or strings"):
        retrieval(rows, np.ones((20, 3)))
    with pytest.raises(
        UserError, match=r"^gallery_labels must be like query_labels, \(3,\), got \(2,\)"
    ):
        retrieval(rows, np.ones((20, 3), bool), rows, np.ones((20, 2), bool))


@pytest.mark.plain
@UNHOOKED
def test_labels_of_another_length_are_refused():
    rows, labels = clusters(np.random.default_rng(11), 20, 4)
    with pytest.raises(
        UserError, match=r"^query_labels must be 20 rows, one per embedding, got 19"
    ):
        retrieval(rows, labels[1:])
    with pytest.raises(UserError, match=r"^query_labels must be 1-D labels or a 2-D"):
        retrieval(rows, np.ones((20, 2, 2), bool))
