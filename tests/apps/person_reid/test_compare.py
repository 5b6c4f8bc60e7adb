"""Two results over the same queries: by hand, and what cannot be compared."""

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
from likeness.files import write_json
from likeness_apps.person_reid.compare import compare_results
from likeness_apps.person_reid.scoring import score_tracklets

FEW = Bootstrap(replicates=20)


def written(folder, features_ND, table, protocol="mars-torchreid"):
    """A directory as `score` leaves it."""
    scored = score_tracklets(features_ND, table, protocol, bootstrap=FEW)
    write_json(folder / "metrics.json", scored.metrics)
    scored.queries.to_csv(folder / "queries.csv", index=False)
    return folder


def noisy(features_ND, amount, seed=0):
    noise = np.random.default_rng(seed).normal(size=features_ND.shape)
    return (features_ND + amount * noise).astype(np.float32)


@pytest.fixture
def results(tmp_path):
    features_ND, table = draw_set(0, identities=24)
    first = written(tmp_path / "a", features_ND, table)
    return first, written(tmp_path / "b", noisy(features_ND, 2.0), table)


def test_differences_by_hand(results, tmp_path, capsys):
    first, second = results
    found = compare_results(first, second, out=tmp_path / "out")
    a, b = (pd.read_csv(folder / "queries.csv") for folder in results)
    assert (a["tracklet"] == b["tracklet"]).all()
    names = {"map": "ap", "minp": "inp"} | {f"cmc@{k}": f"cmc@{k}" for k in (1, 5, 10, 20)}
    assert set(found["differences"]) == set(names)
    counted = a["ap"].notna()
    assert not counted.all()
    for figure, column in names.items():
        row = found["differences"][figure]
        values_a, values_b = a[column][counted], b[column][counted]
        assert row["a"] == pytest.approx(values_a.mean())
        assert row["b"] == pytest.approx(values_b.mean())
        assert row["value"] == pytest.approx((values_a - values_b).mean())
        assert row["low"] <= row["value"] <= row["high"]
        assert row["groups"] == a["label"].nunique()
        assert row["p_value"] <= row["p_holm"] <= 1
    assert found["differences"]["map"]["p_value"] < 0.01  # much noise is worse
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["items"] == len(a)
    said = capsys.readouterr().out
    assert f"A - B on {len(a)} queries" in said
    assert not any(name in said for name in a["tracklet"])


def test_the_interval_is_that_of_drawn_identities(results):
    """The same percentiles from a loop over replicates: identities drawn with replacement."""
    first, second = results
    row = compare_results(first, second, seed=3)["differences"]["map"]
    a, b = (pd.read_csv(folder / "queries.csv") for folder in results)
    difference = (a["ap"] - b["ap"]).dropna()
    parts = [part.to_numpy() for _, part in difference.groupby(a["label"])]
    generator, drawn = np.random.default_rng(11), []
    for _ in range(1000):
        picked = [parts[place] for place in generator.integers(len(parts), size=len(parts))]
        drawn.append(np.concatenate(picked).mean())
    low, high = np.percentile(drawn, [2.5, 97.5])
    width = row["high"] - row["low"]
    assert row["low"] == pytest.approx(low, abs=0.12 * width)
    assert row["high"] == pytest.approx(high, abs=0.12 * width)


def test_the_other_way_round_is_the_negative_and_order_does_not_matter(results):
    first, second = results
    one = compare_results(first, second)["differences"]["cmc@1"]
    table = pd.read_csv(first / "queries.csv", dtype=str, keep_default_na=False)
    table.sample(frac=1, random_state=1).to_csv(first / "queries.csv", index=False)
    two = compare_results(second, first)["differences"]["cmc@1"]
    assert two["value"] == pytest.approx(-one["value"])
    assert (two["low"], two["high"]) == pytest.approx((-one["high"], -one["low"]))


def test_a_result_does_not_differ_from_itself(results):
    rows = compare_results(results[0], results[0])["differences"].values()
    assert {(row["value"], row["low"], row["high"], row["p_holm"]) for row in rows} == {
        (0.0, 0.0, 0.0, 1.0)
    }


def test_over_random_splits_it_is_the_mean_over_splits(tmp_path):
    features_ND, table = draw_halves(1, people=24, splits=10)
    first = written(tmp_path / "a", features_ND, table, "prid2011")
    second = written(tmp_path / "b", noisy(features_ND, 1.0), table, "prid2011")
    row = compare_results(first, second)["differences"]["map"]
    stated = [json.loads((folder / "metrics.json").read_text()) for folder in (first, second)]
    values = [metrics["retrieval"]["map"]["value"] for metrics in stated]
    assert (row["a"], row["b"]) == pytest.approx(values)
    assert row["value"] == pytest.approx(values[0] - values[1])
    assert row["label"] == "runs, then groups"


def test_what_cannot_be_compared_is_refused(results, tmp_path):
    first, second = results
    features_ND, table = draw_set(0, identities=24)
    other = written(tmp_path / "official", features_ND, table, "mars-official")
    with pytest.raises(UserError, match=r"of one protocol .*mars-torchreid and mars-official"):
        compare_results(first, other)
    metrics = json.loads((second / "metrics.json").read_text())
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "queries.csv").write_bytes((second / "queries.csv").read_bytes())
    metrics["rules"]["curve"] = "trapezoid"
    (changed / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(UserError, match=r"the same rules of mars-torchreid, .*\['curve'\]"):
        compare_results(first, changed)
    fewer = table.drop(index=table.index[table["role"] == "query"][0])
    less = written(tmp_path / "less", features_ND[fewer.index], fewer)
    with pytest.raises(UserError, match=r"the same queries, .*1 that only A has and 0"):
        compare_results(first, less)
    gone = table.drop(index=table.index[table["label"] == "distractor"][0])
    smaller = written(tmp_path / "smaller", features_ND[gone.index], gone)
    with pytest.raises(UserError, match="the same queries and gallery"):
        compare_results(first, smaller)


def test_bad_results_end_in_one_sentence(results, tmp_path):
    first, second = results
    assert_refused(likeness("compare", first, tmp_path / "none"), "RESULT_B", "metrics.json")
    (second / "queries.csv").write_text("a,b\n1,2\n")
    assert_refused(likeness("compare", first, second), "RESULT_B/queries.csv", "split, tracklet")
    (second / "metrics.json").write_text("{")
    assert_refused(likeness("compare", first, second), "RESULT_B/metrics.json must be JSON")
    (second / "metrics.json").write_text("[]")
    assert_refused(likeness("compare", first, second), "of a ranking, with protocol and rules")


def test_a_cell_that_is_no_number_is_named(results):
    first, second = results
    table = pd.read_csv(second / "queries.csv", dtype=str, keep_default_na=False)
    table.loc[0, "ap"] = "high"
    table.to_csv(second / "queries.csv", index=False)
    assert_refused(likeness("compare", first, second), "RESULT_B/queries.csv, ap", "'high'")


def test_the_command_line_compares_what_evaluate_wrote(walkers_result, tmp_path):
    ended = likeness("compare", walkers_result, walkers_result, "--out", tmp_path)
    assert ended.code == 0, ended.err
    assert "queries" in ended.out
    assert (tmp_path / "comparison.json").is_file()
