"""Subgroups are counted and measured on their own items."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from fixtures.clinical import QUICK, melanoma_scores, rates_at
from likeness_apps.skin_lesion.clinical.measures import clinical_figures


def rows_of(figures, column, task="melanoma"):
    return {row["level"]: row for row in figures["subgroups"][column] if row["task"] == task}


def test_subgroups_count_and_measure_their_own_items(ham, record, figures):
    answers, rows = ham
    truth, scores = melanoma_scores(answers)
    found = rows_of(figures, "sex")
    assert list(found) == ["female", "male", "unknown"]
    threshold = record["thresholds"]["melanoma"]["points"][1]["threshold"]
    for level in ("female", "male"):
        inside = (rows["sex"] == level).to_numpy()
        row = found[level]
        assert row["items"] == inside.sum()
        assert row["groups"] == len(set(answers.groups_N[inside]))
        positives = int(truth[inside].sum())
        assert row["counts"] == {"positive": positives, "negative": inside.sum() - positives}
        area = sklearn_metrics.roc_auc_score(truth[inside], scores[inside])
        assert row["values"]["roc_auc"]["value"] == pytest.approx(area)
        assert row["values"]["roc_auc"]["low"] < area < row["values"]["roc_auc"]["high"]
        counts = rates_at(truth[inside], scores[inside], threshold)
        sensitivity = row["values"]["sensitivity"]
        assert sensitivity["value"] == pytest.approx(counts["tp"] / positives)
        assert sensitivity["count"] == positives
        assert sensitivity["low"] <= sensitivity["value"] <= sensitivity["high"]
        specificity = counts["tn"] / (inside.sum() - positives)
        assert row["values"]["specificity"]["value"] == pytest.approx(specificity)
    assert sum(row["items"] for row in found.values()) == len(rows)


def test_small_levels_are_counted_only_and_ages_rise(ham, figures):
    rows = ham[1]
    face = rows_of(figures, "site")["face"]
    assert face["values"] == {}
    assert face["items"] == (rows["localization"] == "face").sum()
    assert face["reason"].startswith("fewer than 30 items")
    ages = rows_of(figures, "age")
    assert list(ages) == ["<30", "30 to <50", "50 to <70", ">=70", "unknown"]
    assert ages["30 to <50"]["items"] == rows["age"].isin(["30", "45"]).sum()
    assert figures["subgroups_facts"]["not_given"] == ["skin_type"]


def test_without_metadata_and_with_nothing_known(ham):
    answers, rows = ham
    bare = clinical_figures(answers, rows[["path"]], {}, QUICK)
    assert bare["subgroups"] == {}
    assert bare["subgroups_facts"]["not_given"] == ["sex", "age", "site", "skin_type"]
    unsaid = rows.assign(sex="unknown", age="", localization=None, fitzpatrick=np.nan)
    found = clinical_figures(answers, unsaid, {}, QUICK)
    for column in ("sex", "age", "site", "skin_type"):
        assert list(rows_of(found, column)) == ["unknown"]
        assert rows_of(found, column)["unknown"]["items"] == len(rows)
        overall = found["tasks"]["melanoma"]["discrimination"]["roc_auc"]["value"]
        values = rows_of(found, column)["unknown"]["values"]
        assert values["roc_auc"]["value"] == pytest.approx(overall)
