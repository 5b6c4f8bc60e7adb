"""Binary calibration, class-wise error and the band against scikit-learn, loops, a bootstrap."""

import numpy as np
import pytest
from sklearn import metrics

from likeness.errors import UserError
from likeness.evaluation.calibration import calibration
from likeness.evaluation.reliability import binary_calibration, classwise_ece, reliability_band
from likeness.evaluation.resampling import Bootstrap


def drawn(seed=0, count=400):
    rng = np.random.default_rng(seed)
    chances = rng.random(count)
    return chances, rng.random(count) < chances**1.5


def loop_ece(chances, truth, bins):
    total = 0.0
    for b in range(bins):
        inside = [i for i, p in enumerate(chances) if b / bins < p <= (b + 1) / bins or p == b == 0]
        if inside:
            gap = abs(sum(truth[i] for i in inside) - sum(chances[i] for i in inside))
            total += gap / len(chances)
    return total


def test_scores_equal_scikit_learn_and_a_loop():
    chances, truth = drawn()
    found = binary_calibration(chances, truth)
    assert found.values["brier"].value == pytest.approx(metrics.brier_score_loss(truth, chances))
    assert found.values["nll"].value == pytest.approx(metrics.log_loss(truth, chances))
    assert found.values["ece"].value == pytest.approx(loop_ece(chances, truth, 15))
    assert found.per_item["brier"].mean() == pytest.approx(found.values["brier"].value)
    assert found.values["ece"].count == 400


def test_two_class_scores_relate():
    """The two-class Brier score is twice the binary one; the likelihood is the same."""
    chances, truth = drawn(1)
    both = calibration(np.stack([1 - chances, chances], axis=1), truth.astype(int)).values
    one = binary_calibration(chances, truth).values
    assert both["brier"].value == pytest.approx(2 * one["brier"].value)
    assert both["nll"].value == pytest.approx(one["nll"].value)


def test_closed_forms():
    truth = np.array([1, 1, 0, 0])
    sure = binary_calibration(truth.astype(float), truth).values
    assert [sure[name].value for name in ("ece", "brier", "nll")] == [0, 0, 0]
    wrong = binary_calibration(1.0 - truth, truth).values
    assert (wrong["ece"].value, wrong["brier"].value) == (1, 1)
    constant = binary_calibration(np.full(4, 0.3), truth).values
    assert constant["ece"].value == pytest.approx(0.2)
    one_class = binary_calibration(np.full(4, 0.3), np.zeros(4, int)).values
    assert one_class["ece"].value == pytest.approx(0.3)


def test_overconfidence_in_the_wrong_direction_cancels_only_inside_a_bin():
    """p = 0.1 with 20 % positives and p = 0.9 with 80 %: top-class ECE and this one agree here."""
    chances = np.repeat([0.1, 0.9], 10)
    truth = np.array(([1] * 2 + [0] * 8) + ([1] * 8 + [0] * 2))
    found = binary_calibration(chances, truth)
    assert found.values["ece"].value == pytest.approx(0.1)
    assert found.table.accuracy_B[found.table.count_B > 0].tolist() == pytest.approx([0.2, 0.8])


def test_classwise_error_equals_a_loop():
    rng = np.random.default_rng(2)
    rows = rng.dirichlet(np.ones(4), size=150)
    truth = rng.integers(0, 3, size=150)  # class 3 never occurs
    found = classwise_ece(rows, truth)
    expected = [loop_ece(rows[:, c], truth == c, 15) for c in range(4)]
    np.testing.assert_allclose(found, expected)
    assert found[3] == pytest.approx(rows[:, 3].mean())


def test_band_is_a_literal_bootstrap():
    chances, truth = drawn(3, 80)
    patient = np.repeat(np.arange(40), 2)
    found = reliability_band(chances, truth, patient, bins=4, bootstrap=Bootstrap(300, seed=2))
    draws = np.random.default_rng(2).integers(40, size=(300, 40))
    shares, errors = [[] for _ in range(4)], []
    for draw in draws:
        rows = np.concatenate([[2 * p, 2 * p + 1] for p in draw])
        errors.append(loop_ece(chances[rows], truth[rows], 4))
        for b in range(4):
            inside = rows[(chances[rows] > b / 4) & (chances[rows] <= (b + 1) / 4)]
            if len(inside):
                shares[b].append(truth[inside].mean())
    assert (found.table.count_B > 0).all()
    for b in range(4):
        ends = tuple(np.quantile(shares[b], [0.025, 0.975]))
        assert (found.low_B[b], found.high_B[b]) == pytest.approx(ends)
    assert (found.ece.low, found.ece.high) == pytest.approx(
        tuple(np.quantile(errors, [0.025, 0.975]))
    )
    assert found.ece.value == pytest.approx(loop_ece(chances, truth, 4))


def test_an_empty_bin_and_a_single_group_have_no_band():
    chances, truth = np.array([0.1, 0.15, 0.9]), np.array([0, 1, 1])
    found = reliability_band(chances, truth, np.arange(3), bins=5, bootstrap=Bootstrap(50))
    assert np.isnan(found.low_B[1:4]).all()
    assert np.isfinite(found.low_B[[0, 4]]).all()
    alone = reliability_band(chances, truth, np.zeros(3), bins=5)
    assert np.isnan(alone.low_B).all()


def test_order_and_repetition():
    chances, truth = drawn(4, 60)
    order = np.random.default_rng(0).permutation(60)
    first = binary_calibration(chances, truth).values
    for c, t in ((chances[order], truth[order]), (np.tile(chances, 3), np.tile(truth, 3))):
        again = binary_calibration(c, t).values
        for name, value in first.items():
            assert again[name].value == pytest.approx(value.value)


def test_mistakes_are_named():
    with pytest.raises(UserError, match=r"^probabilities must be in \[0, 1\], got 1.5"):
        binary_calibration(np.array([0.5, 1.5]), np.array([0, 1]))
    with pytest.raises(UserError, match=r"^bins must be >= 1, got 0"):
        binary_calibration(np.array([0.5, 0.5]), np.array([0, 1]), bins=0)
