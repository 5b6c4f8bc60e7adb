"""Decision curves and risk-coverage curves against loops and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.errors import UserError
from likeness.evaluation.decision import decision_curve, risk_coverage


def test_net_benefit_equals_a_loop():
    rng = np.random.default_rng(0)
    chances = np.round(rng.random(50), 2)  # many equal a threshold
    truth = rng.random(50) < chances
    found = decision_curve(truth, chances)
    assert found.threshold_T[[0, -1]].tolist() == [0.01, 0.99]
    share = sum(truth) / 50
    for index, t in enumerate(found.threshold_T):
        tp = sum(1 for p, y in zip(chances, truth, strict=True) if p >= t and y)
        fp = sum(1 for p, y in zip(chances, truth, strict=True) if p >= t and not y)
        benefit = tp / 50 - fp / 50 * t / (1 - t)
        assert found.model_T[index] == pytest.approx(benefit)
        assert found.standardised_T[index] == pytest.approx(benefit / share)
        assert found.treat_all_T[index] == pytest.approx(share - (1 - share) * t / (1 - t))
    assert not found.treat_none_T.any()
    assert found.prevalence == share


def test_closed_forms():
    truth = np.array([1, 0, 0, 0])
    perfect = decision_curve(truth, truth.astype(float))
    assert perfect.model_T == pytest.approx(np.full(99, 0.25))
    assert perfect.standardised_T == pytest.approx(np.ones(99))
    everybody = decision_curve(truth, np.ones(4))
    np.testing.assert_allclose(everybody.model_T, everybody.treat_all_T)
    nobody = decision_curve(truth, np.zeros(4))
    assert not nobody.model_T.any()
    # Treating all pays exactly below the prevalence.
    at = decision_curve(truth, truth.astype(float), np.array([0.2, 0.25, 0.3])).treat_all_T
    assert at[0] > 0
    assert at[1] == pytest.approx(0)
    assert at[2] < 0


def test_without_positives_the_standardised_curve_is_undefined():
    found = decision_curve(np.zeros(3, int), np.array([0.2, 0.4, 0.6]))
    assert np.isnan(found.standardised_T).all()
    assert (found.model_T <= 0).all()


def test_risk_coverage_equals_a_loop():
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    wrong = np.array([0, 1, 0, 0, 1])
    found = risk_coverage(confidence, wrong.astype(bool))
    risks = [wrong[:k].mean() for k in range(1, 6)]
    assert found.risk_T.tolist() == pytest.approx(risks)
    assert found.coverage_T.tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert found.confidence_T.tolist() == confidence.tolist()
    assert found.area == pytest.approx(np.mean(risks))
    best = np.mean([0, 0, 0, 1 / 4, 2 / 5])
    assert found.best_area == pytest.approx(best)
    assert found.excess_area == pytest.approx(np.mean(risks) - best)


def test_ties_count_as_the_mean_over_all_their_orders():
    confidence = np.array([0.9, 0.5, 0.5, 0.5, 0.1])
    loss = np.array([0.0, 1.0, 0.0, 0.0, 1.0])
    found = risk_coverage(confidence, loss)
    broken = []
    for place in range(3):  # the one wrong item of the tie first, second or last
        tie = np.insert(np.zeros(2), place, 1.0)
        ordered = np.concatenate([[0.0], tie, [1.0]])
        broken.append(np.mean([ordered[:k].mean() for k in range(1, 6)]))
    assert found.area == pytest.approx(np.mean(broken))
    assert found.coverage_T.tolist() == pytest.approx([0.2, 0.8, 1.0])


def test_constant_confidence_has_the_overall_risk():
    found = risk_coverage(np.full(8, 0.5), np.array([1, 0, 0, 0, 1, 0, 0, 0], dtype=bool))
    assert found.area == pytest.approx(0.25)
    assert found.risk_T.tolist() == [0.25]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
def test_bounds_and_order(items):
    confidence = np.array([float(item[0]) for item in items])
    wrong = np.array([item[1] for item in items])
    found = risk_coverage(confidence, wrong)
    order = np.random.default_rng(0).permutation(len(items))
    assert risk_coverage(confidence[order], wrong[order]).area == pytest.approx(found.area)
    assert found.best_area - 1e-12 <= found.area <= 1
    assert found.risk_T[-1] == pytest.approx(wrong.mean())
    oracle = risk_coverage(-wrong.astype(float), wrong)
    assert oracle.excess_area <= found.excess_area + 1e-12


def test_mistakes_are_named():
    truth, chances = np.array([0, 1]), np.array([0.2, 0.4])
    with pytest.raises(UserError, match=r"^probabilities must be in \[0, 1\]"):
        decision_curve(truth, chances * 3)
    with pytest.raises(UserError, match=r"^thresholds must be between 0 and 1"):
        decision_curve(truth, chances, np.array([0.0, 0.5]))
    with pytest.raises(UserError, match=r"^confidence and loss must be finite"):
        risk_coverage(np.array([np.nan]), np.array([1.0]))
    with pytest.raises(UserError, match=r"^confidence must be one number per item"):
        risk_coverage(np.array([]), np.array([], dtype=float))
