"""Discrimination with group intervals against a literal bootstrap, and paired comparisons."""

import numpy as np
import pytest
from sklearn import metrics

from likeness.errors import UserError
from likeness.evaluation.binary import (
    NO_NEGATIVE,
    NO_POSITIVE,
    compare_discrimination,
    discrimination,
)
from likeness.evaluation.delong import delong
from likeness.evaluation.resampling import Bootstrap
from likeness.evaluation.roc import pauc_above_tpr


def grouped(seed=0, groups=60):
    """Lesions of patients: one to three a patient, alike within a patient."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 4, size=groups)
    patient = np.repeat(np.arange(groups), sizes)
    truth = np.repeat(rng.random(groups) < 0.4, sizes)
    scores = np.repeat(rng.normal(size=groups), sizes) + 0.8 * truth
    return truth, np.round(scores + 0.3 * rng.normal(size=len(truth)), 1), patient


def test_values_equal_scikit_learn_and_intervals_a_literal_bootstrap():
    truth, scores, patient = grouped()
    bootstrap = Bootstrap(replicates=400, seed=3)
    found = discrimination(truth, scores, patient, bootstrap=bootstrap)
    assert found["roc_auc"].value == pytest.approx(metrics.roc_auc_score(truth, scores))
    ap = metrics.average_precision_score(truth, scores)
    assert found["average_precision"].value == pytest.approx(ap)
    assert found["prevalence"].value == pytest.approx(truth.mean())
    assert found["pauc_above_tpr_80"].value == pytest.approx(pauc_above_tpr(truth, scores, 0.8))
    # The same draws, the items of drawn patients written out.
    drawn = np.random.default_rng(3).integers(60, size=(400, 60))
    rows = [np.concatenate([np.flatnonzero(patient == p) for p in draw]) for draw in drawn]
    for name, score in (
        ("roc_auc", metrics.roc_auc_score),
        ("average_precision", metrics.average_precision_score),
    ):
        ends = np.quantile([score(truth[r], scores[r]) for r in rows], [0.025, 0.975])
        assert (found[name].low, found[name].high) == pytest.approx(tuple(ends))
    parts = [pauc_above_tpr(truth[r], scores[r], 0.8) for r in rows]
    ends = np.quantile(parts, [0.025, 0.975])
    value = found["pauc_above_tpr_80"]
    assert (value.low, value.high) == pytest.approx(tuple(ends))


def test_groups_widen_what_delong_takes_as_independent():
    truth, scores, patient = (np.repeat(part, 4) for part in grouped(1))
    found = discrimination(truth, scores, patient, bootstrap=Bootstrap(500))["roc_auc"]
    alone = delong(truth, scores)
    assert found.high - found.low > 1.5 * (alone.high - alone.low)


def test_without_groups_there_are_no_intervals_and_names_carry_the_floor():
    truth, scores, _ = grouped()
    found = discrimination(truth, scores, floor=0.88)
    assert list(found) == [
        "roc_auc", "auc_sens_88", "pauc_above_tpr_88", "average_precision", "prevalence",
    ]  # fmt: skip
    assert all(value.low is None for value in found.values())


@pytest.mark.parametrize(("truth", "reason"), [(0, NO_POSITIVE), (1, NO_NEGATIVE)])
def test_one_class_is_undefined_and_says_why(truth, reason):
    found = discrimination(np.full(5, truth), np.arange(5.0), np.arange(5))
    for name in ("roc_auc", "auc_sens_80", "pauc_above_tpr_80"):
        assert np.isnan([found[name].value, found[name].low]).all()
        assert found[name].skipped == {reason: 5}
        assert found[name].count == 0
    assert found["prevalence"].value == truth


def test_draws_without_one_class_are_left_out():
    truth, scores = np.array([1, 0, 0]), np.array([0.9, 0.2, 0.95])
    found = discrimination(truth, scores, np.arange(3), bootstrap=Bootstrap(300))["roc_auc"]
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)


def test_comparison_is_paired():
    truth, a, patient = grouped(2)
    b = a - 0.4 * truth
    bootstrap = Bootstrap(300)
    found = compare_discrimination(truth, a, b, patient, bootstrap=bootstrap)
    assert list(found) == ["roc_auc", "auc_sens_80", "pauc_above_tpr_80", "average_precision"]
    gap = metrics.roc_auc_score(truth, a) - metrics.roc_auc_score(truth, b)
    assert found["roc_auc"].value == pytest.approx(gap)
    assert found["roc_auc"].low > 0
    assert found["roc_auc"].p_value < 0.01
    same = compare_discrimination(truth, a, 2 * a, patient, bootstrap=bootstrap)["roc_auc"]
    assert (same.value, same.low, same.high, same.p_value) == (0, 0, 0, 1)


@pytest.mark.plain
def test_mistakes_are_named():
    truth, scores, _ = grouped()
    with pytest.raises(UserError, match=r"^groups must be \d+ groups"):
        discrimination(truth, scores, np.arange(3))
