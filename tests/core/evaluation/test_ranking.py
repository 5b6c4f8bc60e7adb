"""Metrics of ranks against loops written from the definitions, and worked examples."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.errors import UserError
from likeness.evaluation import ranking
from likeness.evaluation.ranking import RelevantRanks, from_hits


def by_definition(hits, relevant, k, largest):
    """Every metric of one query's full ranking, as plain loops. hits: list of bool."""
    if relevant == 0:
        return dict.fromkeys(
            ("recall", "precision", "r_precision", "map@r", "ndcg@r", "map", "ndcg", "nmrr"),
            math.nan,
        )
    found, precisions = 0, {}
    for rank, hit in enumerate(hits, start=1):
        if hit:
            found += 1
            precisions[rank] = found / rank
    reach = min(4 * relevant, 2 * largest)
    ranks = [rank if rank <= reach else 1.25 * reach for rank in precisions]
    mean_rank = sum(ranks) / relevant
    best = 0.5 * (1 + relevant)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, relevant) + 1))
    ideal_r = sum(1 / math.log2(rank + 1) for rank in range(1, relevant + 1))
    return {
        "recall": float(any(hits[:k])),
        "ndcg@r": sum(1 / math.log2(r + 1) for r in precisions if r <= relevant) / ideal_r,
        "precision": sum(hits[:k]) / k,
        "r_precision": sum(hits[:relevant]) / relevant,
        "map@r": sum(p for rank, p in precisions.items() if rank <= relevant) / relevant,
        "map": sum(precisions.values()) / relevant,
        "ndcg": sum(1 / math.log2(rank + 1) for rank in precisions if rank <= k) / ideal,
        "nmrr": (mean_rank - best) / (1.25 * reach - best),
    }


@settings(max_examples=80)
@given(data=st.data())
def test_every_metric_equals_its_definition(data):
    width = data.draw(st.integers(1, 25))
    hits = np.array(
        data.draw(
            st.lists(
                st.lists(st.booleans(), min_size=width, max_size=width), min_size=1, max_size=6
            )
        )
    )
    relevant = hits.sum(axis=1)
    k = data.draw(st.integers(1, width))
    query, place = np.nonzero(hits)
    ranks = RelevantRanks(query, place + 1, relevant)
    found = {
        "recall": ranking.recall_at(ranks, k),
        "precision": ranking.precision_at(ranks, k),
        "r_precision": ranking.r_precision(ranks),
        "map@r": ranking.map_at_r(ranks),
        "map": ranking.average_precision(ranks),
        "ndcg": ranking.ndcg_at(ranks, k),
        "ndcg@r": ranking.ndcg_at_r(ranks),
        "nmrr": ranking.nmrr(ranks),
    }
    for index, row in enumerate(hits.tolist()):
        expected = by_definition(row, int(relevant[index]), k, int(relevant.max()))
        for name, value in expected.items():
            assert found[name][index] == pytest.approx(value, abs=1e-12, nan_ok=True), name


def test_worked_examples():
    hits = np.array([[True, False, True, False, True]])
    ranks = from_hits(hits, np.array([3]))
    # nDCG@4 with R = 3 and hits at 1 and 3: (1 + 1/2) / (1 + 1/log2 3 + 1/2)
    assert ranking.ndcg_at(ranks, 4)[0] == pytest.approx(0.70392, abs=1e-5)
    # nDCG@R looks at 3 ranks: (1 + 1/2) / the same
    assert ranking.ndcg_at_r(ranks)[0] == pytest.approx(0.70392, abs=1e-5)
    assert ranking.ndcg_at(ranks, 1)[0] == ranking.recall_at(ranks, 1)[0]
    assert ranking.map_at_r(ranks)[0] == pytest.approx((1 + 2 / 3) / 3)
    assert ranking.average_precision(ranks)[0] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert ranking.r_precision(ranks)[0] == pytest.approx(2 / 3)
    # recall@k is "any of k", not the share found
    assert ranking.recall_at(ranks, 1)[0] == 1
    # precision@5 divides by 5 although only 3 are relevant
    assert ranking.precision_at(ranks, 5)[0] == pytest.approx(3 / 5)


def test_one_found_of_five_relevant_is_not_perfect():
    # A peer divides by the hits found and reads 1.0 here.
    ranks = RelevantRanks(np.array([0] * 5), np.array([1, 60, 70, 80, 90]), np.array([5]))
    assert ranking.map_at_r(ranks)[0] == pytest.approx(1 / 5)
    assert ranking.average_precision(ranks)[0] == pytest.approx(
        (1 + 2 / 60 + 3 / 70 + 4 / 80 + 5 / 90) / 5
    )


def test_anmrr_by_hand():
    # NG = 2 and 1; GTM = 2. Query 0: K = min(8, 4) = 4, ranks 1 and 5 -> 1 and 5 (1.25 * 4):
    # AVR 3, MRR 1.5, NMRR 1.5 / (5 - 1.5). Query 1: K = 4, rank 4: MRR 3, NMRR 3 / (5 - 1).
    ranks = RelevantRanks(np.array([0, 0, 1]), np.array([1, 5, 4]), np.array([2, 1]))
    np.testing.assert_allclose(ranking.nmrr(ranks), [1.5 / 3.5, 3 / 4])
    # The rest of the evaluation may hold a query with more: K = min(8, 20) = 8 and min(4, 20) = 4.
    np.testing.assert_allclose(ranking.nmrr(ranks, largest=10), [1.5 / 8.5, 3 / 4])


def test_anmrr_is_0_for_perfect_and_1_for_hopeless_rankings():
    perfect = RelevantRanks(np.array([0, 0, 0, 1]), np.array([1, 2, 3, 1]), np.array([3, 1]))
    np.testing.assert_allclose(ranking.nmrr(perfect), [0, 0], atol=1e-15)
    hopeless = RelevantRanks(np.array([0, 0, 0, 1]), np.array([50, 51, 52, 60]), np.array([3, 1]))
    np.testing.assert_allclose(ranking.nmrr(hopeless), [1, 1])


def test_a_truncated_ranking_is_enough_or_refused():
    hits = np.array([[True, False, False], [False, True, True]])
    short = from_hits(hits, np.array([2, 2]))
    np.testing.assert_allclose(ranking.map_at_r(short), [0.5, 0.25])
    np.testing.assert_allclose(ranking.r_precision(short), [0.5, 0.5])
    short = from_hits(hits, np.array([4, 2]))
    for metric in (ranking.map_at_r, ranking.r_precision, ranking.ndcg_at_r):
        with pytest.raises(
            UserError, match=r"^R, .* must be <= 3, the depth of the ranking, got 4"
        ):
            metric(short)
    for metric in (ranking.recall_at, ranking.precision_at, ranking.ndcg_at):
        with pytest.raises(UserError, match=r"^k must be <= 3, the depth of the ranking, got 4"):
            metric(short, 4)
        with pytest.raises(UserError, match=r"^k must be >= 1, got 0"):
            metric(short, 0)
    with pytest.raises(UserError, match=r"^K, .* must be <= 3"):
        ranking.nmrr(short)
    with pytest.raises(UserError, match=r"^depth must be the full ranking for average precision"):
        ranking.average_precision(short)
    # All relevant items lie within: nothing is missing after all.
    whole = from_hits(hits, np.array([1, 2]))
    np.testing.assert_allclose(ranking.average_precision(whole), [1, (1 / 2 + 2 / 3) / 2])


def test_no_query_has_anything_to_find():
    empty = RelevantRanks(np.empty(0, np.int64), np.empty(0, np.int64), np.zeros(3, np.int64))
    for values in (
        ranking.recall_at(empty, 5),
        ranking.precision_at(empty, 5),
        ranking.ndcg_at(empty, 5),
        ranking.r_precision(empty),
        ranking.map_at_r(empty),
        ranking.average_precision(empty),
        ranking.nmrr(empty),
    ):
        assert np.isnan(values).all()
        assert values.shape == (3,)


def test_graded_ndcg_by_hand():
    # Gains 3, 1, 7 at ranks 1, 2, 4; two more relevant items of gain 3 and 1 were never reached.
    query = np.zeros(3, np.int64)
    ranks = RelevantRanks(query, np.array([1, 2, 4]), np.array([5]), 4, np.array([3.0, 1.0, 7.0]))
    gains = np.array([1.0, 3.0, 7.0, 3.0, 1.0])
    ideal = ranking.ideal_dcg(np.zeros(5, np.int64), gains, 1, 3)
    assert ideal[0] == pytest.approx(7 + 3 / math.log2(3) + 3 / 2)
    assert ranking.ndcg_at(ranks, 3, ideal)[0] == pytest.approx((3 + 1 / math.log2(3)) / ideal[0])
    with pytest.raises(UserError, match=r"^ideal_Q must be given with graded gains"):
        ranking.ndcg_at(ranks, 3)


def trapezoids(hits):
    """Area under precision and recall, drawn from (0, 1) through every rank."""
    found, recall, precision, area = 0, 0.0, 1.0, 0.0
    for rank, hit in enumerate(hits, start=1):
        found += hit
        area += (found / sum(hits) - recall) * (precision + found / rank) / 2
        recall, precision = found / sum(hits), found / rank
    return area


@settings(max_examples=60)
@given(data=st.data())
def test_what_re_identification_measures_equals_its_definition(data):
    width = data.draw(st.integers(1, 20))
    row = st.lists(st.booleans(), min_size=width, max_size=width)
    hits = np.array(data.draw(st.lists(row, min_size=1, max_size=5)))
    query, place = np.nonzero(hits)
    ranks = RelevantRanks(query, place + 1, hits.sum(axis=1))
    area = ranking.average_precision(ranks, "trapezoid")
    penalty, first = ranking.inverse_negative_penalty(ranks), ranking.first_rank(ranks)
    for index, row in enumerate(hits.tolist()):
        if not any(row):
            assert math.isnan(area[index])
            assert math.isnan(penalty[index])
            assert first[index] == 0
            continue
        places = [rank for rank, hit in enumerate(row, start=1) if hit]
        assert area[index] == pytest.approx(trapezoids(row), abs=1e-12)
        assert area[index] <= ranking.average_precision(ranks)[index] + 1e-12
        assert penalty[index] == pytest.approx(len(places) / places[-1])
        assert first[index] == places[0]


@settings(max_examples=60)
@given(data=st.data())
def test_taking_items_out_is_ranking_without_them(data):
    width = data.draw(st.integers(1, 15))
    row = st.lists(st.sampled_from("wrd"), min_size=width, max_size=width)  # wrong, right, dropped
    table = np.array(data.draw(st.lists(row, min_size=1, max_size=5)))
    query, place = np.nonzero(table != "w")
    ranks = RelevantRanks(query, place + 1, (table != "w").sum(axis=1))
    kept = ranking.without(ranks, table[query, place] == "d")
    expected = [
        [rank for rank, kind in enumerate([k for k in row if k != "d"], start=1) if kind == "r"]
        for row in table.tolist()
    ]
    assert kept.query_M.tolist() == [q for q, found in enumerate(expected) for _ in found]
    assert kept.rank_M.tolist() == [rank for found in expected for rank in found]
    assert kept.relevant_Q.tolist() == [len(found) for found in expected]


def test_a_truncated_ranking_says_nothing_of_what_comes_last():
    short = from_hits(np.array([[True, False]]), np.array([2]))
    dropped = np.array([True])
    for measure in (
        ranking.inverse_negative_penalty,
        ranking.average_precision,
        lambda ranks: ranking.without(ranks, dropped),
    ):
        with pytest.raises(UserError, match="depth must be the full ranking for"):
            measure(short)
