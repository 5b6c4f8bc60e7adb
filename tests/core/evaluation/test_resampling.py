"""Bootstrap intervals against closed forms, plain loops and simulated coverage."""

import math
import os
import time

import numpy as np
import pytest
from sklearn import metrics as sk

from likeness.errors import UserError
from likeness.evaluation import resampling
from likeness.evaluation.classification import classification
from likeness.evaluation.intervals import (
    cell_statistics,
    classification_intervals,
    compare_classification,
    compare_retrieval,
    confusion_sums,
    mean_intervals,
    retrieval_intervals,
)
from likeness.evaluation.resampling import (
    EVALUATION_NOISE,
    RUNS_AND_GROUPS,
    TOO_FEW_GROUPS,
    TOO_FEW_RUNS,
    UNDEFINED,
    Bootstrap,
    holm,
    interval,
    mean_interval,
    mean_of_sums,
    mean_sums,
    paired_difference,
    paired_mean_difference,
    two_level_difference,
    two_level_interval,
)
from likeness.evaluation.retrieval import retrieval
from likeness.evaluation.values import MetricValue

UNHOOKED = pytest.mark.skipif(os.environ.get("LIKENESS_PLAIN") != "1", reason="hook is on")
NORMAL = 1.959964  # the 97.5 % point


def half_width(found):
    return (found.high - found.low) / 2


def test_the_interval_of_a_mean_has_the_textbook_width():
    rng = np.random.default_rng(0)
    values = rng.normal(size=2000)
    found = mean_interval(values, np.arange(2000), Bootstrap(replicates=4000))
    error = values.std() / math.sqrt(2000)
    assert found.value == pytest.approx(values.mean())
    assert half_width(found) == pytest.approx(NORMAL * error, rel=0.06)
    assert found.low < found.value < found.high
    assert (found.groups, found.replicates, found.label) == (2000, 4000, EVALUATION_NOISE)
    assert found.p_value is None


def test_equal_groups_behave_as_single_items():
    # Each of 100 items is repeated 20 times: 2,000 rows carry the information of 100.
    values = np.random.default_rng(1).normal(size=100)
    repeated, groups = np.repeat(values, 20), np.repeat(np.arange(100), 20)
    single = mean_interval(values, np.arange(100))
    grouped = mean_interval(repeated, groups)
    naive = mean_interval(repeated, np.arange(2000))
    assert (grouped.low, grouped.high) == (pytest.approx(single.low), pytest.approx(single.high))
    assert half_width(grouped) / half_width(naive) == pytest.approx(math.sqrt(20), rel=0.1)


def test_replicates_equal_a_loop_over_drawn_groups():
    """Unequal groups: a mean of sums over sums, not a mean of group means."""
    rng = np.random.default_rng(2)
    groups = rng.integers(0, 12, 90)
    values = rng.normal(size=90) + groups
    drawn = []
    for _ in range(4000):
        picked = rng.choice(np.unique(groups), 12)
        items = np.concatenate([values[groups == g] for g in picked])
        drawn.append(items.mean())
    expected = np.quantile(drawn, [0.025, 0.975])
    found = mean_interval(values, groups, Bootstrap(replicates=4000))
    np.testing.assert_allclose(
        [found.low, found.high], expected, atol=0.12 * (expected[1] - expected[0])
    )


def test_confusion_statistics_equal_a_loop_over_drawn_groups():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 4, 300)
    predicted = np.where(rng.random(300) < 0.7, truth, rng.integers(0, 4, 300))
    groups = np.array([f"scene {n}" for n in rng.integers(0, 40, 300)])
    drawn = []
    for _ in range(700):
        picked = rng.choice(np.unique(groups), 40)
        items = np.concatenate([np.flatnonzero(groups == g) for g in picked])
        drawn.append(
            (
                sk.balanced_accuracy_score(truth[items], predicted[items]),
                sk.cohen_kappa_score(truth[items], predicted[items]),
            )
        )
    expected = np.quantile(drawn, [0.025, 0.975], axis=0)
    found = classification_intervals(truth, predicted, 4, groups)
    for column, name in enumerate(("average_accuracy", "kappa")):
        ends = [found[name].low, found[name].high]
        width = expected[1, column] - expected[0, column]
        np.testing.assert_allclose(ends, expected[:, column], atol=0.15 * width)
    plain = classification(truth, predicted, 4).values
    assert {name: value.value for name, value in found.items()} == {
        name: value.value for name, value in plain.items()
    }


def test_about_95_of_100_intervals_cover_the_truth():
    rng = np.random.default_rng(4)
    covered = 0
    for repeat in range(300):
        effect = rng.normal(size=40)  # 40 groups of 3 items that share an effect; true mean 0
        values = np.repeat(effect, 3) + 0.5 * rng.normal(size=120)
        found = mean_interval(values, np.repeat(np.arange(40), 3), Bootstrap(400, seed=repeat))
        covered += found.low <= 0 <= found.high
    assert 0.90 <= covered / 300 <= 0.98


def test_many_items_take_well_under_a_second():
    rng = np.random.default_rng(5)
    values = {f"metric {n}": rng.random(10_000) for n in range(4)}
    start = time.process_time()
    found = resampling.mean_intervals(values, np.arange(10_000))
    assert time.process_time() - start < 3  # about 0.4 s on a quiet core
    assert all(item.replicates == 2000 for item in found.values())


def test_equal_seeds_give_equal_intervals_and_other_seeds_others():
    values, groups = np.random.default_rng(6).normal(size=60), np.arange(60)
    assert mean_interval(values, groups) == mean_interval(values, groups)
    assert mean_interval(values, groups) != mean_interval(values, groups, Bootstrap(seed=1))
    wide = mean_interval(values, groups, Bootstrap(level=0.99))
    assert half_width(wide) > half_width(mean_interval(values, groups))


def test_chunks_do_not_change_the_draws(monkeypatch):
    values, groups = np.random.default_rng(7).normal(size=60), np.arange(60)
    whole = mean_interval(values, groups)
    monkeypatch.setattr(resampling, "_WEIGHTS", 777)
    assert mean_interval(values, groups) == whole


def test_items_that_do_not_count_are_left_out():
    values = np.array([1.0, np.nan, 0.0, 1.0, np.nan, 1.0])
    groups = np.array(list("aabbcc"))
    found = mean_interval(values, groups)
    assert found.value == pytest.approx(3 / 4)
    # A replicate of nothing but skipped items has no mean and is not counted.
    only_c = mean_interval(np.array([1.0, np.nan]), np.array(["a", "c"]), Bootstrap(1000))
    assert 650 < only_c.replicates < 850
    assert (only_c.low, only_c.high) == (1.0, 1.0)


@pytest.mark.parametrize("groups", [np.zeros(5, int), np.array(["x"] * 5)])
def test_one_group_has_no_interval_but_a_reason(groups):
    found = mean_interval(np.arange(5.0), groups)
    assert found.value == 2.0
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert (found.reason, found.replicates, found.groups) == (TOO_FEW_GROUPS, 0, 1)
    metric = found.on(MetricValue(2.0, 5))
    assert metric.as_dict()["value"] == 2.0
    assert math.isnan(metric.low)


def test_undefined_values_have_no_interval_but_a_reason():
    found = mean_interval(np.full(4, np.nan), np.arange(4))
    assert math.isnan(found.value)
    assert found.reason == UNDEFINED
    constant = classification_intervals(np.zeros(6, int), np.zeros(6, int), 2, np.arange(6))
    assert math.isnan(constant["kappa"].low)
    assert (constant["overall_accuracy"].low, constant["overall_accuracy"].high) == (1.0, 1.0)


def test_pairing_removes_what_both_share():
    rng = np.random.default_rng(8)
    shared = rng.normal(size=500)
    a, b = shared + 0.1 + 0.05 * rng.normal(size=500), shared + 0.05 * rng.normal(size=500)
    groups = np.arange(500)
    found = paired_mean_difference(a, b, groups)
    error = (a - b).std() / math.sqrt(500)
    assert found.value == pytest.approx((a - b).mean())
    assert half_width(found) == pytest.approx(NORMAL * error, rel=0.1)
    assert half_width(found) < half_width(mean_interval(a, groups)) / 5
    assert found.p_value == pytest.approx(2 / 2001)  # no replicate on the other side
    by_sums = paired_difference(mean_sums(a, groups), mean_sums(b, groups), mean_of_sums)
    assert by_sums.low == pytest.approx(found.low)
    assert by_sums.p_value == found.p_value


def test_p_values_of_no_difference():
    a = np.random.default_rng(9).normal(size=80)
    assert paired_mean_difference(a, a, np.arange(80)).p_value == 1.0
    # Under the null hypothesis about one in twenty p-values is below 0.05.
    rng = np.random.default_rng(10)
    p = [
        paired_mean_difference(
            rng.normal(size=60), rng.normal(size=60), np.arange(60), Bootstrap(300, seed)
        ).p_value
        for seed in range(300)
    ]
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.09
    assert 0.4 < np.mean(p) < 0.6


def test_p_value_and_interval_agree():
    rng = np.random.default_rng(11)
    for shift in (0.0, 0.2, 0.4):
        a, b = rng.normal(size=100) + shift, rng.normal(size=100)
        found = paired_mean_difference(a, b, np.arange(100))
        if found.p_value < 0.048:
            assert not found.low <= 0 <= found.high
        if found.p_value > 0.052:
            assert found.low <= 0 <= found.high


def test_classifiers_are_compared_on_the_same_items():
    rng = np.random.default_rng(12)
    truth = rng.integers(0, 3, 400)
    good = np.where(rng.random(400) < 0.9, truth, (truth + 1) % 3)
    worse = np.where(rng.random(400) < 0.95, good, (truth + 2) % 3)
    found = compare_classification(truth, good, worse, 3, np.arange(400))
    a, b = classification(truth, good, 3).values, classification(truth, worse, 3).values
    for name, difference in found.items():
        assert difference.value == pytest.approx(a[name].value - b[name].value)
        assert 0 < difference.low < difference.value < difference.high
        assert difference.p_value < 0.01
    by_items = paired_mean_difference((good == truth) * 1.0, (worse == truth) * 1.0, np.arange(400))
    assert found["overall_accuracy"].low == pytest.approx(by_items.low)
    assert found["overall_accuracy"].high == pytest.approx(by_items.high)


def test_retrieval_intervals_and_comparison():
    rng = np.random.default_rng(13)
    labels = rng.integers(0, 15, 150)
    labels[0] = 99  # nothing to find
    centres = rng.normal(size=(100, 8))[labels]
    sharp = (centres + 0.5 * rng.normal(size=(150, 8))).astype(np.float32)
    blunt = (centres + 1.5 * rng.normal(size=(150, 8))).astype(np.float32)
    a = retrieval(sharp, labels, metrics=["recall@1", "map"])
    b = retrieval(blunt, labels, metrics=["recall@1", "map", "anmrr"])
    groups = rng.integers(0, 60, 150)
    found = retrieval_intervals(a, groups)
    assert found["map"].value == a.values()["map"].value
    assert found["map"].count == 149
    assert found["map"].low < found["map"].value < found["map"].high
    compared = compare_retrieval(a, b, groups)
    assert list(compared) == ["recall@1", "map"]
    assert compared["map"].value == pytest.approx(a.values()["map"].value - b.values()["map"].value)
    assert compared["map"].low > 0
    only = mean_intervals({"ece": MetricValue(0.1, 5)}, {}, groups)
    assert only == {"ece": MetricValue(0.1, 5)}


def test_runs_that_share_groups_vary_by_seed_and_by_item():
    """Var of the mean over S seeds = Var(seed) / S + Var(item) / N, closed form."""
    rng = np.random.default_rng(14)
    seeds, items = 30, 200
    seed_effect = 0.2 * rng.normal(size=seeds)
    item_effect = rng.normal(size=items)
    runs = [mean_sums(item_effect + effect, np.arange(items)) for effect in seed_effect]
    found = two_level_interval(runs, mean_of_sums, shared_groups=True)
    error = math.sqrt(seed_effect.var() / seeds + item_effect.var() / items)
    assert found.value == pytest.approx(item_effect.mean() + seed_effect.mean())
    assert half_width(found) == pytest.approx(NORMAL * error, rel=0.1)
    assert found.label == RUNS_AND_GROUPS
    # Drawing items anew for every seed would wrongly average the item effect away.
    wrong = two_level_interval(runs, mean_of_sums, shared_groups=False)
    assert half_width(wrong) < 0.75 * half_width(found)


def test_folds_have_groups_of_their_own():
    """Var = Var(fold means) / S + mean over folds of Var(item) / n / S, closed form."""
    rng = np.random.default_rng(15)
    folds = [rng.normal(size=50) + shift for shift in 0.1 * rng.normal(size=20)]
    runs = [mean_sums(fold, np.arange(50)) for fold in folds]
    found = two_level_interval(runs, mean_of_sums, shared_groups=False)
    means = np.array([fold.mean() for fold in folds])
    within = np.mean([fold.var() / 50 for fold in folds])
    error = math.sqrt((means.var() + within) / 20)
    assert found.value == pytest.approx(means.mean())
    assert half_width(found) == pytest.approx(NORMAL * error, rel=0.1)
    assert found.groups == 1000


def test_runs_are_compared_in_pairs():
    rng = np.random.default_rng(16)
    items = rng.normal(size=300)
    runs_a, runs_b = [], []
    for effect in rng.normal(size=12):  # a large effect of the seed that both methods share
        runs_a.append(mean_sums(items + effect + 0.2 + 0.01 * rng.normal(size=300), np.arange(300)))
        runs_b.append(mean_sums(items + effect + 0.01 * rng.normal(size=300), np.arange(300)))
    found = two_level_difference(runs_a, runs_b, mean_of_sums, shared_groups=True)
    assert found.value == pytest.approx(0.2, abs=0.01)
    assert 0.19 < found.low < found.high < 0.21
    assert found.p_value == pytest.approx(2 / 2001)
    same = two_level_difference(runs_a, runs_a, mean_of_sums, shared_groups=True)
    assert (same.low, same.high, same.p_value) == (0, 0, 1)


def test_two_levels_work_for_confusion_statistics():
    rng = np.random.default_rng(17)
    truth, groups = rng.integers(0, 3, 200), rng.integers(0, 50, 200)
    kappa = cell_statistics(3)["kappa"]
    runs, kappas = [], []
    for _ in range(5):
        predicted = np.where(rng.random(200) < 0.8, truth, rng.integers(0, 3, 200))
        runs.append(confusion_sums(truth, predicted, 3, groups))
        kappas.append(sk.cohen_kappa_score(truth, predicted))
    found = two_level_interval(runs, kappa, shared_groups=True)
    assert found.value == pytest.approx(np.mean(kappas))
    assert found.low < found.value < found.high
    single = interval(runs[0], kappa)
    assert single.label == EVALUATION_NOISE


def test_one_run_has_no_interval_over_runs():
    sums = mean_sums(np.arange(9.0), np.arange(9))
    found = two_level_interval([sums], mean_of_sums, shared_groups=True)
    assert (found.value, found.reason) == (4.0, TOO_FEW_RUNS)
    assert math.isnan(found.low)
    one_group = mean_sums(np.arange(9.0), np.zeros(9, int))
    found = two_level_interval([sums, one_group], mean_of_sums, shared_groups=False)
    assert found.reason == TOO_FEW_GROUPS


def test_holm_by_hand():
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 = 0.02, 0.03, 0.06, 0.04 -> rising: 0.06.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1.0, 1.0])
    np.testing.assert_allclose(holm([0.02]), [0.02])
    np.testing.assert_allclose(holm([0.02, 0.02, 0.02]), [0.06, 0.06, 0.06])
    assert holm([]).shape == (0,)
    for wrong in (-0.1, 1.5, math.nan):
        with pytest.raises(UserError, match=r"^p_values must be in \[0, 1\]"):
            holm([0.1, wrong])


def test_holm_equals_its_step_down_rule():
    rng = np.random.default_rng(18)
    for _ in range(30):
        p = rng.random(7) ** 3
        adjusted = holm(p.tolist())
        for level in (0.01, 0.05, 0.2):
            rejected = set()
            for step, index in enumerate(np.argsort(p)):
                if p[index] > level / (7 - step):
                    break
                rejected.add(int(index))
            assert set(np.flatnonzero(adjusted <= level).tolist()) == rejected


def test_mistakes_are_refused():
    sums = mean_sums(np.arange(9.0), np.arange(9))
    with pytest.raises(UserError, match=r"^replicates must be >= 1, got 0"):
        Bootstrap(replicates=0)
    for wrong in (0.0, 1.0, math.nan):
        with pytest.raises(UserError, match=r"^level must be between 0 and 1, got"):
            Bootstrap(level=wrong)
    with pytest.raises(
        UserError, match=r"^runs must be the same groups in every run, got \[9, 8\]"
    ):
        two_level_interval([sums, sums[:8]], mean_of_sums, shared_groups=True)
    with pytest.raises(UserError, match=r"^runs_b must be 1 runs, got 2"):
        two_level_difference([sums], [sums, sums], mean_of_sums, shared_groups=True)
    with pytest.raises(UserError, match=r"^runs must be at least one run, got 0"):
        two_level_interval([], mean_of_sums, shared_groups=False)


@pytest.mark.plain
@UNHOOKED
def test_shapes_are_refused_in_words():
    sums = mean_sums(np.arange(9.0), np.arange(9))
    with pytest.raises(UserError, match=r"^groups must be 9 groups, one per item, got 8"):
        mean_sums(np.arange(9.0), np.arange(8))
    with pytest.raises(
        UserError, match=r"^sums_b must be shaped like sums_a, \(9, 2\), got \(8, 2\)"
    ):
        paired_difference(sums, sums[:8], mean_of_sums)
