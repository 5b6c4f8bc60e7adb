"""Open-set figures of people against loops over pairs and probes, and where there are none."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from fixtures.tracklet_sets import draw_set
from likeness.evaluation.resampling import Bootstrap
from likeness.evaluation.verdict import Verdicts
from likeness.files import finite
from likeness_apps.person_reid import open_set
from likeness_apps.person_reid.open_set import (
    FALSE_ACCEPT_RATES,
    FALSE_POSITIVE_RATES,
    open_set_figures,
    stored_verdicts,
)

FEW = Bootstrap(replicates=40)
NOBODY = ("junk", "distractor")
STEP = 2 / 4096  # of the grid of thresholds


def test_a_large_set_says_that_not_every_pair_was_counted(monkeypatch):
    features_ND, table = draw_set(0)
    kept = int((table["label"] != "junk").sum())
    monkeypatch.setattr(open_set, "MOST_PAIRS", kept * (kept - 1) // 2)
    whole = open_set_figures(features_ND, table, None, bootstrap=FEW)["pairs"]
    assert whole["what"] == open_set.PAIRS
    monkeypatch.setattr(open_set, "MOST_PAIRS", kept * (kept - 1) // 2 - 1)
    part = open_set_figures(features_ND, table, None, bootstrap=FEW)["pairs"]
    assert f"more than {kept * (kept - 1) // 2 - 1:,} pairs" in part["what"]
    assert part["genuine"] + part["impostor"] < whole["genuine"] + whole["impostor"]


def some_verdicts(same_from=-0.5, different_below=-1.1):
    return Verdicts(
        same_from=same_from,
        different_below=different_below,
        false_accept_rate=0.01,
        false_reject_rate=0.05,
        prior=0.5,
        scores=(-1.0, 0.0),
        evidence=(-1.0, 1.0),
        genuine_pairs=100,
        impostor_pairs=1000,
        groups=20,
        validation={},
    )


def score_of(one, other):
    """Minus the chord between unit vectors."""
    one, other = (np.asarray(each, np.float64) / np.linalg.norm(each) for each in (one, other))
    return -float(np.linalg.norm(one - other))


def pairs_by_loops(features_ND, table):
    """Scores of genuine and of impostor pairs, from the definition."""
    genuine, impostor = [], []
    rows = list(zip(features_ND, table["label"], table["camera"], strict=True))
    for place, (one, label, camera) in enumerate(rows):
        for other, other_label, other_camera in rows[place + 1 :]:
            if camera == other_camera or "junk" in (label, other_label):
                continue
            if label == other_label == "distractor":
                continue
            into = genuine if label == other_label else impostor
            into.append(score_of(one, other))
    return np.array(genuine), np.array(impostor)


def probes_by_loops(features_ND, table):
    """(score, right, enrolled) of every probe that meets anybody, from the definition."""
    asking = [row for row in table.index if table["role"][row] == "query"]
    people = sorted({table["label"][row] for row in asking})
    order = np.random.default_rng(0).permutation(len(people))
    leaving = {people[place] for place in order[round(len(people) / 2) :]}
    gallery = [
        row
        for row in table.index
        if table["role"][row] == "gallery"
        and table["label"][row] != "junk"
        and table["label"][row] not in leaving
    ]
    found = []
    for row in asking:
        met = [other for other in gallery if table["camera"][other] != table["camera"][row]]
        if not met:
            continue
        scores = [score_of(features_ND[row], features_ND[other]) for other in met]
        best = met[int(np.argmax(scores))]
        own = [other for other in met if table["label"][other] == table["label"][row]]
        found.append((max(scores), table["label"][best] == table["label"][row], bool(own)))
    return pd.DataFrame(found, columns=["score", "right", "enrolled"])


@pytest.mark.parametrize("seed", range(3))
def test_verification_and_verdicts_by_loops_over_pairs(seed):
    features_ND, table = draw_set(seed, identities=24)
    genuine, impostor = pairs_by_loops(features_ND, table)
    verdicts = some_verdicts()
    found = open_set_figures(features_ND, table, verdicts, bootstrap=FEW)
    assert (found["pairs"]["genuine"], found["pairs"]["impostor"]) == (len(genuine), len(impostor))
    assert found["pairs"]["identities"] == 24
    points = {point["aim"]: point for point in found["verification"]}
    assert tuple(points) == FALSE_POSITIVE_RATES
    point = points[0.01]
    assert point["reason"] == ""
    reach = point["threshold"]
    assert point["true_rate"]["value"] == pytest.approx((genuine >= reach).mean())
    assert point["false_rate"]["value"] == pytest.approx((impostor >= reach).mean())
    assert (impostor >= reach).mean() <= 0.01 < (impostor >= reach - 1.01 * STEP).mean()
    assert point["true_rate"]["low"] <= point["true_rate"]["value"] <= point["true_rate"]["high"]
    assert "rule of three" in points[0.0001]["reason"]
    rates = found["verdicts"]["rates"]
    for kind, scores in (("genuine", genuine), ("impostor", impostor)):
        same, different = scores >= verdicts.same_from, scores < verdicts.different_below
        assert rates[f"{kind}_same"]["value"] == pytest.approx(same.mean())
        assert rates[f"{kind}_different"]["value"] == pytest.approx(different.mean())
        assert rates[f"{kind}_unknown"]["value"] == pytest.approx((~same & ~different).mean())
        assert rates[f"{kind}_same"]["count"] == len(scores)


@pytest.mark.parametrize("seed", range(3))
def test_the_curve_and_the_histogram_are_of_the_same_pairs(seed):
    features_ND, table = draw_set(seed)
    genuine, impostor = pairs_by_loops(features_ND, table)
    found = open_set_figures(features_ND, table, None, bootstrap=FEW)
    assert sum(found["scores"]["genuine"]) == len(genuine)
    assert sum(found["scores"]["impostor"]) == len(impostor)
    edges = np.array(found["scores"]["edges"])
    below = np.cumsum(found["scores"]["genuine"])
    half = len(edges) // 2  # a pair may be in the neighbouring bin of the fine grid
    assert (genuine < edges[half] - STEP).sum() <= below[half - 1]
    assert below[half - 1] <= (genuine < edges[half] + STEP).sum()
    false, true = (np.array(found["roc"][name]) for name in ("false", "true"))
    assert (np.diff(false) >= 0).all()
    assert (np.diff(true) >= 0).all()
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    for rate, share in list(zip(false, true, strict=True))[:: max(1, len(false) // 9)]:
        cut = np.sort(impostor)[::-1][round(rate * len(impostor)) - 1] if rate else impostor.max()
        near = [(genuine >= cut + off).mean() for off in (STEP, -STEP)]
        assert near[0] - 1e-9 <= share <= near[1] + 1e-9 or rate == 0


@pytest.mark.parametrize("seed", range(2))
def test_identification_by_loops_over_probes(seed):
    features_ND, table = draw_set(seed, identities=60, distractors=4)
    asked = probes_by_loops(features_ND, table)
    verdicts = some_verdicts()
    found = open_set_figures(features_ND, table, verdicts, bootstrap=FEW)["identification"]
    known, others = asked[asked["enrolled"]], asked[~asked["enrolled"]]
    assert (found["enrolled"], found["not_enrolled"]) == (len(known), len(others))
    assert found["enrolled"] > 0
    queries = (table["role"] == "query").sum()
    assert found["probes_that_meet_nobody"] == queries - len(asked)
    points = {point["aim"]: point for point in found["points"]}
    assert tuple(points) == FALSE_ACCEPT_RATES
    point = points[0.1]
    reach = point["threshold"] - 1e-6  # scores are float32
    assert point["true_rate"]["value"] == pytest.approx(
        ((known["score"] >= reach) & known["right"]).mean()
    )
    assert point["false_rate"]["value"] == pytest.approx((others["score"] >= reach).mean())
    assert point["false_rate"]["value"] <= 0.1
    stored = found["at_same_from"]
    says = known["score"] >= verdicts.same_from
    assert stored["dir"]["value"] == pytest.approx((says & known["right"]).mean())
    assert stored["far"]["value"] == pytest.approx((others["score"] >= verdicts.same_from).mean())
    assert stored["far"]["count"] == len(others)
    assert "Half of the identities" in found["what"]


def test_junk_changes_nothing_and_distractors_are_only_impostors():
    features_ND, table = draw_set(4)
    whole = open_set_figures(features_ND, table, some_verdicts(), bootstrap=FEW)
    kept = (table["label"] != "junk").to_numpy()
    without = open_set_figures(features_ND[kept], table[kept], some_verdicts(), bootstrap=FEW)
    assert finite(whole)["pairs"] == finite(without)["pairs"]
    assert whole["scores"] == without["scores"]
    assert whole["identification"]["gallery"] == without["identification"]["gallery"]
    somebody = (~table["label"].isin(NOBODY)).to_numpy()
    alone = open_set_figures(features_ND[somebody], table[somebody], None, bootstrap=FEW)
    assert alone["pairs"]["genuine"] == whole["pairs"]["genuine"]
    assert alone["pairs"]["impostor"] < whole["pairs"]["impostor"]


def test_without_roles_every_tracklet_of_somebody_asks():
    features_ND, table = draw_set(5)
    bare = table.drop(columns="role")
    found = open_set_figures(features_ND, bare, None, bootstrap=FEW)["identification"]
    asking = int((~table["label"].isin(NOBODY)).sum())
    asked = found["enrolled"] + found["not_enrolled"] + found["probes_that_meet_nobody"]
    assert asked == asking


def test_one_camera_has_no_pairs_and_says_so():
    features_ND, table = draw_set(6)
    found = open_set_figures(features_ND, table.assign(camera="1"), some_verdicts(), bootstrap=FEW)
    assert (found["pairs"]["genuine"], found["pairs"]["impostor"]) == (0, 0)
    assert {point["reason"] for point in found["verification"]} == {"there are no genuine pairs"}
    assert found["roc"] == {"false": [], "true": []}
    assert found["scores"]["edges"] == []
    assert "another camera" in found["identification"]["reason"]
    assert found["verdicts"]["rates"]["genuine_same"]["count"] == 0
    json.dumps(finite(found), allow_nan=False)


def test_one_person_has_no_impostors():
    features_ND = np.random.default_rng(7).normal(size=(4, 5)).astype(np.float32)
    table = pd.DataFrame(
        {"label": "0001", "camera": ["1", "2", "1", "2"], "tracklet": list("abcd")}
    )
    found = open_set_figures(features_ND, table, some_verdicts(), bootstrap=FEW)
    assert (found["pairs"]["genuine"], found["pairs"]["impostor"]) == (4, 0)
    assert "got 0" in found["verification"][0]["reason"]
    assert np.isnan(found["verdicts"]["rates"]["impostor_same"]["value"])


@pytest.mark.parametrize("space", ["euclidean", "dot"])
def test_thresholds_reach_over_all_scores_of_other_spaces(space):
    features_ND, table = draw_set(8)
    found = open_set_figures(100 * features_ND, table, None, space, bootstrap=FEW)
    filled = np.array(found["scores"]["genuine"]) + np.array(found["scores"]["impostor"])
    assert sum(found["scores"]["genuine"]) == found["pairs"]["genuine"]
    assert (filled > 0).sum() > 10  # spread out, not all in an open bin


def test_equal_results_whatever_is_asked_twice():
    features_ND, table = draw_set(9)
    twice = [open_set_figures(features_ND, table, some_verdicts(), bootstrap=FEW) for _ in "ab"]
    assert finite(twice[0]) == finite(twice[1])


def test_thresholds_hold_for_the_pooling_that_they_were_fixed_on():
    verdicts = some_verdicts(same_from=float("inf"))
    metrics = {"frames": "mean", "open_set": verdicts.as_dict()}
    assert stored_verdicts(metrics, "mean") == (verdicts, "")
    none, reason = stored_verdicts(metrics, "max")
    assert none is None
    assert "mean" in reason
    refused = {"frames": "mean", "open_set": {"reason": "too few pairs"}}
    assert stored_verdicts(refused, "mean") == (None, "too few pairs")
    features_ND, table = draw_set(10)
    found = open_set_figures(features_ND, table, None, reason="too few pairs", bootstrap=FEW)
    assert found["verdicts"] == {"reason": "too few pairs"}
    assert "at_same_from" not in found["identification"]
