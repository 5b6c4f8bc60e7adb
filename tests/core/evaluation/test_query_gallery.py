"""Rankings under explicit rules: plain loops, the official MARS rules, worked examples."""

import itertools
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from fixtures import mars_official
from likeness.errors import UserError
from likeness.evaluation.query_gallery import (
    NOWHERE,
    OWN_CAMERA,
    Items,
    gallery_rows,
    rank_queries,
)
from likeness.evaluation.ranking_rules import RankingRules
from likeness.search.exact import nearest
from likeness.search.expansion import expanded_queries
from likeness.search.reciprocal import Reciprocal, rerank
from likeness.search.reordering import Reordering

AT = (1, 5, 10, 20)
EVERY_RULE = [
    RankingRules(queries, camera, junk, distractors, curve, unmatched, pairs)
    for queries, camera, junk, distractors, (curve, unmatched, pairs) in itertools.product(
        (False, True),
        ("ranked", "same identity removed", "removed"),
        (False, True),
        (False, True),
        (("step", "skipped", False), ("trapezoid", "zero", True)),
    )
]


def draw(seed, *, identities=9, cameras=3, count=70):
    """Features and items; identity 0 is junk, 1 a distractor, 2 only in camera 0, 3 there once."""
    rng = np.random.default_rng(seed)
    label, camera = rng.integers(0, identities, count), rng.integers(0, cameras, count)
    camera[label == 2] = 0
    label[np.flatnonzero(label == 3)[1:]] = 4
    features = rng.normal(size=(identities, 5))[label] + rng.normal(size=(count, 5))
    asks = (rng.random(count) < 0.4) & (label > 1)
    asks[np.flatnonzero(label == 3)] = True
    return features, Items(label, camera, asks, label == 0, label == 1)


def distances(features, space="cosine"):
    rows = np.asarray(features, np.float64)
    if space == "cosine":
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    if space == "dot":
        return -(rows @ rows.T)
    return np.linalg.norm(rows[:, None] - rows, axis=2)


def by_definition(features, items, rules, space="cosine", gap=None):
    """Per query: first rank, relevant, ranked, figures (nan where skipped)."""
    gap = distances(features, space) if gap is None else gap
    rows = range(len(items.label_N))
    found = []
    for q in np.flatnonzero(items.query_N):
        met, right = [], set()
        for g in rows:
            same = items.label_N[g] == items.label_N[q]
            own = items.camera_N[g] == items.camera_N[q]
            out = g == q
            out = out or (items.query_N[g] and not rules.queries_in_gallery)
            out = out or (items.junk_N[g] and rules.junk_removed)
            out = out or (items.distractor_N[g] and not rules.distractors_kept)
            out = out or (rules.same_camera == "removed" and own)
            out = out or (rules.same_camera == "same identity removed" and own and same)
            if not out:
                met.append(g)
                if same:
                    right.add(g)
        met.sort(key=lambda g: (round(gap[q, g], 9), g))
        ranks = [rank for rank, g in enumerate(met, start=1) if g in right]
        figures = dict.fromkeys([*(f"cmc@{k}" for k in AT), "map", "minp"], math.nan)
        if rules.unmatched == "zero":
            figures = dict.fromkeys(figures, 0.0)
        if ranks:
            figures = {f"cmc@{k}": float(ranks[0] <= k) for k in AT}
            figures["map"] = mars_official.area_and_first(met, right, set())[0]
            if rules.curve == "step":
                figures["map"] = np.mean([hits / rank for hits, rank in enumerate(ranks, 1)])
            figures["minp"] = len(ranks) / ranks[-1]
        found.append((ranks[0] if ranks else 0, len(ranks), len(met), figures))
    return found


@pytest.mark.parametrize(
    "rules", EVERY_RULE, ids=lambda rules: "-".join(map(str, vars(rules).values()))
)
def test_every_rule_is_what_it_says(rules):
    features, items = draw(3)
    found = rank_queries(features, items, rules, block_rows=7)
    expected = by_definition(features, items, rules)
    for index, (first, relevant, ranked, figures) in enumerate(expected):
        assert (found.first_Q[index], found.relevant_Q[index]) == (first, relevant)
        assert found.ranked_Q[index] == ranked
        for name, value in figures.items():
            assert found.per_query[name][index] == pytest.approx(value, abs=1e-12, nan_ok=True)
    counted = [figures["map"] for *_, figures in expected if not math.isnan(figures["map"])]
    assert found.values()["map"].value == pytest.approx(np.mean(counted))
    assert found.values()["map"].count == len(counted)


@pytest.mark.parametrize("space", ["cosine", "euclidean", "dot"])
def test_spaces(space):
    features, items = draw(4)
    found = rank_queries(features, items, RankingRules(), space=space)
    expected = by_definition(features, items, RankingRules(), space)
    assert found.first_Q.tolist() == [first for first, *_ in expected]


def reordered(features, items, rules, how):
    """Distances of all items (inf where two never meet) after expansion and re-ranking."""
    queries, gallery = np.flatnonzero(items.query_N), gallery_rows(items, rules)
    exclude = [(queries, gallery)]
    if rules.same_camera == "removed":
        exclude.append((items.camera_N[queries], items.camera_N[gallery]))
    asked = features[queries]
    if how.expanded_by:
        asked = expanded_queries(asked, features[gallery], how.expanded_by, exclude=exclude)
    answer = nearest if how.reciprocal is None else partial(rerank, settings=how.reciprocal)
    found = answer(asked, features[gallery], k=len(gallery), exclude=exclude)
    gap = np.full((len(features), len(features)), np.inf)
    for q, columns, far in zip(queries, found.indices_QK, found.distances_QK, strict=True):
        met = columns >= 0
        gap[q, gallery[columns[met]]] = far[met]
    return gap


@pytest.mark.parametrize("rules", EVERY_RULE[::7], ids=str)
@pytest.mark.parametrize(
    "how",
    [
        Reordering(reciprocal=Reciprocal(k1=6, k2=3)),
        Reordering(expanded_by=4),
        Reordering(expanded_by=2, reciprocal=Reciprocal(k1=5, k2=1, original_weight=0.6)),
    ],
    ids=("re-ranked", "expanded", "both"),
)
def test_rules_after_another_order(rules, how):
    """Neighbourhoods are made of all that the search meets; only then identities are taken out."""
    features, items = draw(9)
    found = rank_queries(features, items, rules, reordering=how, block_rows=7)
    gap = reordered(features, items, rules, how)
    expected = by_definition(features, items, rules, gap=gap)
    assert found.first_Q.tolist() == [first for first, *_ in expected]
    assert found.ranked_Q.tolist() == [ranked for _, _, ranked, _ in expected]
    for name in ("cmc@5", "map", "minp"):
        wanted = [figures[name] for *_, figures in expected]
        np.testing.assert_allclose(found.per_query[name], wanted, atol=1e-12)
    plain = rank_queries(features, items, rules, block_rows=7)
    assert not np.array_equal(found.per_query["map"], plain.per_query["map"])


OFFICIAL = RankingRules(
    queries_in_gallery=True, curve="trapezoid", unmatched="zero", pairs_keep_junk=True
)


@pytest.mark.parametrize("seed", range(4))
def test_official_mars_rules_read_independently(seed):
    """All figures and both matrices, with junk, distractors and unmatched queries."""
    features, items = draw(seed, identities=12, cameras=4, count=160)
    labels = np.where(items.junk_N, mars_official.JUNK, items.label_N)
    queries = np.flatnonzero(items.query_N)
    gap = distances(features)[queries].round(9)
    theirs = mars_official.evaluate(
        gap.tolist(), queries.tolist(), labels.tolist(), items.camera_N.tolist(), AT
    )
    ours = rank_queries(features, items, OFFICIAL, block_rows=11)
    values = ours.values()
    assert [values[f"cmc@{k}"].value for k in AT] == pytest.approx(theirs["cmc"])
    assert values["map"].value == pytest.approx(theirs["map"], abs=1e-12)
    assert ours.pairs.cameras == ("0", "1", "2", "3")
    np.testing.assert_allclose(ours.pairs.map_CC, theirs["pair_map"], atol=1e-12)
    np.testing.assert_allclose(ours.pairs.rank1_CC, theirs["pair_rank1"], atol=1e-12)
    assert OWN_CAMERA in ours.unmatched


def test_camera_pairs_without_junk_are_those_of_a_set_without_junk():
    features, items = draw(7)
    rules = replace(OFFICIAL, pairs_keep_junk=False)
    kept = ~items.junk_N
    cleaned = Items(*(column[kept] for column in vars(items).values()))
    with_junk = rank_queries(features, items, rules).pairs
    without = rank_queries(features[kept], cleaned, rules).pairs
    assert with_junk.as_dict() == without.as_dict()
    assert with_junk.as_dict() != rank_queries(features, items, OFFICIAL).pairs.as_dict()


def test_the_mean_over_pairs_leaves_the_diagonal_and_empty_cells_out():
    features, items = draw(8)
    pairs = rank_queries(features, items, RankingRules(queries_in_gallery=True)).pairs
    cells = [
        pairs.map_CC[a, b]
        for a in range(3)
        for b in range(3)
        if a != b and not math.isnan(pairs.map_CC[a, b])
    ]
    assert pairs.as_dict()["mean_over_different_cameras"]["map"] == pytest.approx(np.mean(cells))
    apart = rank_queries(features, items, RankingRules(same_camera="removed")).pairs
    assert np.isnan(apart.map_CC.diagonal()).all()


@pytest.mark.parametrize("block_rows", [1, 2, 5, 1000])
def test_the_block_size_changes_nothing(block_rows):
    features, items = draw(5)
    whole, blocks = (
        rank_queries(features, items, OFFICIAL, block_rows=rows) for rows in (None, block_rows)
    )
    for name, values in whole.per_query.items():
        np.testing.assert_array_equal(blocks.per_query[name], values)
    assert blocks.pairs.as_dict() == whole.pairs.as_dict()


def test_names_and_order_of_identities_change_nothing():
    features, items = draw(6)
    rng = np.random.default_rng(0)
    names = np.array([f"person {number}" for number in rng.permutation(20)], object)
    order = rng.permutation(len(features))
    moved = Items(*(column[order] for column in vars(items).values()))
    moved = replace(moved, label_N=names[moved.label_N], camera_N=moved.camera_N.astype(str))
    there, here = (
        rank_queries(f, i, OFFICIAL) for f, i in ((features[order], moved), (features, items))
    )
    back = np.argsort(order[there.rows_Q])
    for name, values in here.per_query.items():
        np.testing.assert_array_equal(there.per_query[name][back], values)
    assert there.reason_Q[back].tolist() == here.reason_Q.tolist()


def items_of(labels, cameras, asks, junk=None, distractors=None):
    none = np.zeros(len(labels), bool)
    return Items(
        np.array(labels),
        np.array(cameras),
        np.array(asks, bool),
        none if junk is None else np.array(junk, bool),
        none if distractors is None else np.array(distractors, bool),
    )


def test_ties_are_ranked_by_the_order_of_the_items():
    same = np.ones((5, 2), np.float32)
    items = items_of([1, 2, 2, 1, 1], [0, 1, 1, 1, 1], [1, 0, 0, 0, 0])
    found = rank_queries(same, items, RankingRules(), cmc_at=(1, 2, 3))
    assert found.first_Q.tolist() == [3]
    assert found.per_query["map"][0] == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert found.per_query["minp"][0] == pytest.approx(2 / 4)


def test_one_query_one_answer():
    items = items_of([7, 7], [0, 1], [1, 0])
    found = rank_queries(np.eye(2), items, RankingRules(), cmc_at=(1,))
    assert {name: value.value for name, value in found.values().items()} == {
        "cmc@1": 1.0,
        "map": 1.0,
        "minp": 1.0,
    }
    assert found.unmatched == {}


def test_reasons_without_a_match():
    items = items_of([1, 1, 2, 3], [0, 0, 0, 1], [1, 0, 1, 0])
    features = np.eye(4)
    found = rank_queries(features, items, RankingRules(), cmc_at=(1,))
    assert found.reason_Q.tolist() == [OWN_CAMERA, NOWHERE]
    assert math.isnan(found.values()["map"].value)
    assert found.values()["map"].skipped == {NOWHERE: 1, OWN_CAMERA: 1}
    zero = rank_queries(features, items, RankingRules(unmatched="zero"), cmc_at=(1,))
    assert (zero.values()["map"].value, zero.values()["map"].count) == (0.0, 2)
    assert zero.values()["map"].skipped == {}
    assert zero.unmatched == {NOWHERE: 1, OWN_CAMERA: 1}
    kept = rank_queries(features, items, RankingRules(same_camera="ranked"), cmc_at=(1,))
    assert kept.reason_Q.tolist() == ["", NOWHERE]


def test_a_single_camera_answers_nobody():
    items = items_of([1, 1, 2, 2], [0, 0, 0, 0], [1, 0, 1, 0])
    for same_camera in ("same identity removed", "removed"):
        rules = RankingRules(same_camera=same_camera)
        found = rank_queries(np.eye(4), items, rules, cmc_at=(1,))
        assert found.unmatched == {OWN_CAMERA: 2}
        assert found.ranked_Q.tolist() == ([0, 0] if same_camera == "removed" else [1, 1])


@pytest.mark.plain
def test_what_cannot_be_measured_is_refused():
    features, items = draw(1)
    all_junk = items_of([1, 0, 0], [0, 1, 1], [1, 0, 0], junk=[0, 1, 1])
    with pytest.raises(UserError, match="gallery must be left with rows by the rules, got 'none"):
        rank_queries(np.eye(3), all_junk, RankingRules())
    spoilt = features.copy()
    spoilt[7, 2] = np.nan
    with pytest.raises(UserError, match=r"features must be finite in every row, got 'row 8 that"):
        rank_queries(spoilt, items, RankingRules())
    with pytest.raises(UserError, match="features must be 70 rows, one per item"):
        rank_queries(features[1:], items, RankingRules())
    with pytest.raises(UserError, match="K of cmc@K must be from 1 to 1, the gallery, got 5"):
        rank_queries(np.eye(2), items_of([1, 1], [0, 1], [1, 0]), RankingRules())
    with pytest.raises(UserError, match="items must be with at least one query, got 'none'"):
        items_of([1, 1], [0, 1], [0, 0])
    with pytest.raises(UserError, match="queries must be of somebody: no junk, no distractors"):
        items_of([1, 1], [0, 1], [1, 0], junk=[1, 0])
    with pytest.raises(UserError, match="items must be columns of one length"):
        items_of([1, 1], [0], [1, 0])


@pytest.mark.plain
def test_unknown_rules_are_refused():
    with pytest.raises(UserError, match="curve must be one of step, trapezoid, got 'smooth'"):
        RankingRules(curve="smooth")
    with pytest.raises(UserError, match="junk_removed must be true or false, got 1"):
        RankingRules(junk_removed=1)


def test_no_two_sets_of_rules_read_alike():
    assert len({tuple(rules.words().items()) for rules in EVERY_RULE}) == len(EVERY_RULE)


def test_gallery_rows():
    items = items_of([1, 2, 0, 3], [0, 1, 1, 1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1])
    assert gallery_rows(items, RankingRules()).tolist() == [1, 3]
    rules = RankingRules(queries_in_gallery=True, junk_removed=False, distractors_kept=False)
    assert gallery_rows(items, rules).tolist() == [0, 1, 2]
