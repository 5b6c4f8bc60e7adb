"""Thresholds are fixed on validation images and judged on others."""

import json

import numpy as np
import pytest

from fixtures.clinical import (
    HAM,
    QUICK,
    SHARES,
    lesions,
    melanoma_scores,
    rates_at,
)
from likeness.files import write_json
from likeness_apps.skin_lesion.clinical.measures import (
    NOTHING,
    Clinical,
    clinical_figures,
)
from likeness_apps.skin_lesion.clinical.thresholds import (
    NOT_RECORDED,
    OTHER_CLASSES,
    points_of,
)


def test_thresholds_hold_their_aim_on_validation_and_waste_nothing(record):
    truth, scores = melanoma_scores(lesions(seed=1, shares=SHARES, tilt=2.0)[0])
    found = record["thresholds"]["melanoma"]
    assert (found["positives"], found["negatives"]) == (truth.sum(), (~truth).sum())
    assert [(point["fixed"], point["aim"]) for point in found["points"]] == [
        (fixed, aim) for fixed in ("sensitivity", "specificity") for aim in (0.8, 0.9, 0.95)
    ]
    for point in found["points"]:
        held, free = ("tp", "tn") if point["fixed"] == "sensitivity" else ("tn", "tp")
        total = {"tp": truth.sum(), "tn": (~truth).sum()}
        counts = rates_at(truth, scores, point["threshold"])
        assert point["counts"] == counts
        assert counts[held] >= point["aim"] * total[held] - 1e-9
        for other in [*scores, 2.0]:  # no threshold that holds the aim has more of the other rate
            told = rates_at(truth, scores, other)
            assert told[held] < point["aim"] * total[held] - 1e-9 or told[free] <= counts[free]


def test_thresholds_are_those_of_validation_on_a_split_of_another_scale(ham, record, figures):
    truth, scores = melanoma_scores(ham[0])
    points = figures["tasks"]["melanoma"]["operating"]
    saved = record["thresholds"]["melanoma"]["points"]
    assert [point["threshold"] for point in points] == [point["threshold"] for point in saved]
    for point, kept in zip(points, saved, strict=True):
        counts = rates_at(truth, scores, kept["threshold"])
        assert point["counts"] == counts
        assert point["validation"] == kept["counts"]
        sensitivity = counts["tp"] / (counts["tp"] + counts["fn"])
        specificity = counts["tn"] / (counts["tn"] + counts["fp"])
        assert point["sensitivity"]["value"] == pytest.approx(sensitivity)
        assert point["specificity"]["value"] == pytest.approx(specificity)
        assert point["balanced_accuracy"] == pytest.approx((sensitivity + specificity) / 2)
    own = Clinical().recorded(*ham)["thresholds"]["melanoma"]["points"]
    assert own[1]["threshold"] > saved[1]["threshold"] + 0.02  # chosen here it would be another
    usual = figures["tasks"]["melanoma"]["default_operating"]
    assert usual["counts"] == rates_at(truth, scores, 0.5)


def test_a_threshold_that_calls_nothing_survives_the_file(tmp_path):
    answers, rows = lesions(40, classes=["benign", "malignant"])
    answers.probabilities_NC[:, 1] = np.where(answers.truth_N == 0, 0.9, 0.1)
    answers.probabilities_NC[:, 0] = 1 - answers.probabilities_NC[:, 1]
    write_json(tmp_path / "metrics.json", Clinical().recorded(answers, rows))
    record = json.loads((tmp_path / "metrics.json").read_text())
    found = clinical_figures(answers, rows, record, QUICK)["tasks"]["malignant"]["operating"]
    assert found[-1]["fixed"] == "specificity"
    assert (found[-1]["counts"]["tp"], found[-1]["counts"]["fp"]) == (0, 0)
    assert found[-1]["specificity"]["value"] == 1


@pytest.mark.parametrize(("only", "missing"), [("nv", "positives"), ("mel", "negatives")])
def test_validation_of_one_class_fixes_no_threshold_and_says_why(only, missing, ham):
    answers, rows = lesions(30)
    answers.truth_N[:] = HAM.index(only)
    record = Clinical().recorded(answers, rows)
    found = record["thresholds"]["melanoma"]
    assert found["points"] == []
    assert found["reason"] == f"The validation split holds no {missing} to fix thresholds on."
    task = clinical_figures(*ham, record, QUICK)["tasks"]["melanoma"]
    assert (task["operating"], task["operating_reason"]) == ([], found["reason"])
    assert task["discrimination"]["roc_auc"]["value"] > 0.5


def test_no_thresholds_are_invented(ham, record):
    found = clinical_figures(*ham, {}, QUICK)
    for task in found["tasks"].values():
        assert (task["operating"], task["operating_reason"]) == ([], NOT_RECORDED)
    saved = record["thresholds"]
    assert points_of(saved, "malignant", ["mel"]) == ([], OTHER_CLASSES)
    # A class that sums the classes of the task has the task's name.
    assert points_of(saved, "malignant", ["malignant"]) == (saved["malignant"]["points"], "")
    assert all("sensitivity" not in row["values"] for row in found["subgroups"]["sex"])


def test_no_item_of_the_task_in_validation():
    classes = ["mel", "nv", "scc", "unk"]
    answers, rows = lesions(10, classes=classes)
    answers.truth_N[:] = 3
    reason = Clinical().recorded(answers, rows)["thresholds"]["malignant"]["reason"]
    assert "no positives and no negatives" in reason
    task = clinical_figures(answers, rows, {}, QUICK)["tasks"]["malignant"]
    assert task["reason"] == NOTHING
    assert "discrimination" not in task
