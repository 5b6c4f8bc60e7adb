"""Figures of a task against scikit-learn and loops."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from fixtures.clinical import HAM, lesions, melanoma_scores, rates_at
from likeness.evaluation.resampling import Bootstrap
from likeness_apps.skin_lesion.clinical.measures import clinical_figures


def test_discrimination_and_calibration_equal_scikit_learn(ham, figures):
    truth, scores = melanoma_scores(ham[0])
    task = figures["tasks"]["melanoma"]
    assert (task["positives"], task["negatives"]) == (truth.sum(), (~truth).sum())
    assert task["prevalence"] == truth.mean()
    wanted = {
        "roc_auc": sklearn_metrics.roc_auc_score(truth, scores),
        "average_precision": sklearn_metrics.average_precision_score(truth, scores),
        "prevalence": truth.mean(),
    }
    for name, value in wanted.items():
        found = task["discrimination"][name]
        assert found["value"] == pytest.approx(value)
        assert found["low"] < value < found["high"]
    assert {"auc_sens_80", "pauc_above_tpr_80"} < set(task["discrimination"])
    assert task["auc_delong"]["auc"] == pytest.approx(wanted["roc_auc"])
    assert task["auc_delong"]["low"] < wanted["roc_auc"] < task["auc_delong"]["high"]
    calibration = task["calibration"]
    brier = sklearn_metrics.brier_score_loss(truth, scores)
    assert calibration["brier"]["value"] == pytest.approx(brier)
    assert calibration["brier"]["low"] < brier < calibration["brier"]["high"]
    assert calibration["nll"]["value"] == pytest.approx(sklearn_metrics.log_loss(truth, scores))


def test_reliability_by_a_loop(ham, figures):
    truth, scores = melanoma_scores(ham[0])
    task = figures["tasks"]["melanoma"]
    table, error = task["reliability"], 0.0
    for place in range(15):
        inside = (scores > place / 15) & (scores <= (place + 1) / 15)
        assert table["count"][place] == inside.sum()
        if inside.any():
            assert table["observed"][place] == pytest.approx(truth[inside].mean())
            assert table["mean_probability"][place] == pytest.approx(scores[inside].mean())
            ends = table["low_band"][place], table["high_band"][place]
            assert ends[0] <= table["observed"][place] <= ends[1]
            error += abs(truth[inside].sum() - scores[inside].sum()) / len(scores)
    assert task["calibration"]["ece"]["value"] == pytest.approx(error)


def test_decision_curve_by_a_loop(ham, figures):
    truth, scores = melanoma_scores(ham[0])
    curve = figures["tasks"]["melanoma"]["decision"]
    for place in (4, 49, 98):
        threshold = curve["threshold"][place]
        assert threshold == pytest.approx((place + 1) / 100)
        counts = rates_at(truth, scores, threshold)
        gain = (counts["tp"] - counts["fp"] * threshold / (1 - threshold)) / len(truth)
        assert curve["model"][place] == pytest.approx(gain)
        assert curve["standardised"][place] == pytest.approx(gain / truth.mean())
        everybody = truth.mean() - (1 - truth.mean()) * threshold / (1 - threshold)
        assert curve["treat_all"][place] == pytest.approx(everybody)


def test_thinned_curves_keep_their_ends_and_invent_no_point():
    answers, rows = lesions(1200, classes=["benign", "malignant"])
    found = clinical_figures(answers, rows, {}, Bootstrap(replicates=2))
    curve = found["tasks"]["malignant"]["roc"]
    scores = answers.probabilities_NC[:, 1]
    whole = sklearn_metrics.roc_curve(answers.truth_N, scores, drop_intermediate=False)
    points = set(zip(whole[0].round(12), whole[1].round(12), strict=True))
    kept = list(zip(np.round(curve["fpr"], 12), np.round(curve["tpr"], 12), strict=True))
    assert set(kept) <= points
    assert (kept[0], kept[-1]) == ((0, 0), (1, 1))
    assert 150 < len(kept) <= 200
    area = sklearn_metrics.auc(curve["fpr"], curve["tpr"])
    assert area == pytest.approx(found["tasks"]["malignant"]["auc_delong"]["auc"], abs=0.005)
    assert len(found["abstention"]["risk"]) <= 200
    assert found["abstention"]["coverage"][-1] == 1


def test_figures_of_all_classes(ham, figures):
    answers, _ = ham
    said = answers.readouts["softmax"]
    balanced = sklearn_metrics.balanced_accuracy_score(answers.truth_N, said)
    assert figures["balanced_accuracy_classes"]["value"] == pytest.approx(balanced)
    order = np.argsort(-answers.probabilities_NC.max(axis=1))
    wrong = (said != answers.truth_N)[order]
    risks = [wrong[: kept + 1].mean() for kept in range(len(wrong))]
    assert figures["abstention"]["area"] == pytest.approx(np.mean(risks))
    assert figures["abstention"]["risk"][-1] == pytest.approx(wrong.mean())
    errors = figures["classwise_ece"]
    assert list(errors["per_class"]) == HAM
    melanoma = figures["tasks"]["melanoma"]["calibration"]["ece"]["value"]
    assert errors["per_class"]["mel"] == pytest.approx(melanoma)
    assert errors["mean"] == pytest.approx(np.mean(list(errors["per_class"].values())))
