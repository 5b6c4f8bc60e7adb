"""Figures after re-ranking: beside the plain ones, true to them, and told everywhere."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from fixtures.front_door import assert_refused
from fixtures.people_door import likeness
from fixtures.tracklet_sets import draw_halves, draw_set
from likeness.errors import UserError
from likeness.evaluation.resampling import Bootstrap
from likeness.search.reciprocal import PUBLISHED, rerank
from likeness_apps.person_reid.reordering import KINDS, ranked_again, require_kinds
from likeness_apps.person_reid.scoring import score_tracklets

FEW = Bootstrap(replicates=40)


def again(features_ND, table, protocol, *kinds):
    scored = score_tracklets(features_ND, table, protocol, bootstrap=FEW)
    before = json.dumps(scored.metrics, default=str)
    found = ranked_again(features_ND, table, scored, kinds, bootstrap=FEW, quiet=True)
    assert json.dumps(scored.metrics, default=str) == before  # nothing plain is replaced
    return scored, found


def test_first_ranks_by_the_full_re_ranked_order() -> None:
    """Queries and the gallery without junk, re-ranked as a whole; then the rules, by a loop."""
    features_ND, table = draw_set(1, identities=20)
    _, found = again(features_ND, table, "market1501", "k-reciprocal")
    label, camera = table["label"].to_numpy(), table["camera"].to_numpy()
    asks = (table["role"] == "query").to_numpy()
    queries, gallery = np.flatnonzero(asks), np.flatnonzero(~asks & (label != "junk"))
    full = rerank(features_ND[queries], features_ND[gallery], len(gallery), PUBLISHED)
    for place, (q, order) in enumerate(zip(queries, full.indices_QK, strict=True)):
        met = [g for g in gallery[order] if not (label[g] == label[q] and camera[g] == camera[q])]
        right = [rank for rank, g in enumerate(met, 1) if label[g] == label[q]]
        assert found["k-reciprocal"].queries["first_rank"][place] == (right or [0])[0]


def test_the_gain_is_the_paired_difference() -> None:
    features_ND, table = draw_set(2)
    scored, found = again(features_ND, table, "mars-official", *KINDS)
    assert list(found) == ["k-reciprocal", "query-expansion"]
    for each in found.values():
        for name, column in (("cmc@1", "cmc@1"), ("map", "ap"), ("minp", "inp")):
            change = each.queries[column] - scored.queries[column]
            gain = each.metrics["gain"][name]
            assert gain["value"] == pytest.approx(change.mean())
            assert gain["low"] <= gain["value"] <= gain["high"]
            plain = scored.metrics["retrieval"][name]["value"]
            assert each.metrics["retrieval"][name]["value"] == pytest.approx(plain + change.mean())
    settings = found["k-reciprocal"].metrics["settings"]
    assert settings["reciprocal"] == {"k1": 20, "k2": 6, "original_weight": 0.3}
    assert found["query-expansion"].metrics["settings"]["expanded_by"] == 5


def test_every_random_split_is_ranked_again() -> None:
    features_ND, table = draw_halves(3, people=24, splits=4)
    scored, found = again(features_ND, table, "prid2011", "k-reciprocal")
    queries = found["k-reciprocal"].queries
    assert queries[["split", "tracklet"]].equals(scored.queries[["split", "tracklet"]])
    each = queries.groupby("split")["ap"].mean()
    value = found["k-reciprocal"].metrics["retrieval"]["map"]["value"]
    assert value == pytest.approx(each.mean())


def test_smaller_settings_for_a_handful_are_told() -> None:
    features_ND, table = draw_halves(4, people=16, splits=2)  # 8 people: 16 rows or fewer
    _, found = again(features_ND, table, "ilids-vid", *KINDS)
    metrics = found["k-reciprocal"].metrics
    assert not metrics["published"]
    assert metrics["settings"]["reciprocal"]["k1"] < 16
    assert found["query-expansion"].metrics["published"]


def test_unknown_kinds_and_impossible_spaces_are_refused() -> None:
    assert require_kinds(["k-reciprocal", "k-reciprocal"], "cosine") == ["k-reciprocal"]
    assert require_kinds(["query-expansion"], "dot") == ["query-expansion"]
    with pytest.raises(UserError, match="re-rank must be one of k-reciprocal, query-expansion"):
        require_kinds(["gnn"], "cosine")
    with pytest.raises(UserError, match="space must be cosine or euclidean for k-reciprocal"):
        require_kinds(["k-reciprocal"], "dot")


def test_evaluate_and_score_tell_the_same(walkers, walkers_run, walkers_result, tmp_path) -> None:
    asked = ("--protocol", "mars-official", "--re-rank", "k-reciprocal")
    results = {"evaluate": (walkers_run, walkers)}
    results["score"] = (walkers_result / "tracklets.csv", walkers_result / "features.npy")
    told = {}
    for name, inputs in results.items():
        out = tmp_path / name
        ended = likeness(name, *inputs, *asked, "--out", out)
        assert ended.code == 0, ended.err
        assert "mars-official, k-reciprocal" in " ".join(ended.out.split())
        assert "queries-k-reciprocal.csv" in ended.out
        page = (out / "report.html").read_text(encoding="utf-8")
        assert "After re-ranking" in page
        assert "k1 = 20, k2 = 6, weight of the plain distance (lambda) = 0.3" in page
        queries = pd.read_csv(out / "queries-k-reciprocal.csv")
        metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
        told[name] = metrics["reordered"]
        value = metrics["reordered"]["k-reciprocal"]["retrieval"]["map"]["value"]
        assert value == pytest.approx(queries["ap"].mean())
        plain = json.loads((walkers_result / "metrics.json").read_text(encoding="utf-8"))
        assert metrics["retrieval"] == plain["retrieval"]
    assert told["evaluate"] == told["score"]


def test_an_unknown_kind_is_named_before_anything_is_embedded(walkers, walkers_run, tmp_path):
    out = tmp_path / "result"
    ended = likeness("evaluate", walkers_run, walkers, "--rerank", "gnn", "--out", out)
    assert_refused(ended, "re-rank must be one of k-reciprocal", left=out)
