"""Area-weighted accuracy against the paper's printed example, loops, and repeated sampling."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from likeness.errors import UserError
from likeness.evaluation.area import (
    Z,
    area_accuracy,
    area_proportions,
    overall_accuracy,
    producers_accuracy,
    stratum_weights,
    users_accuracy,
)

# Olofsson et al. 2014, section 5: deforestation, forest gain, stable forest, stable non-forest.
COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])
HECTARES = 0.09  # of a Landsat pixel


def by_loops(counts, areas):
    """Equations 1 to 11 as the paper writes them, one sum at a time."""
    classes = range(len(areas))
    size = [sum(counts[i]) for i in classes]
    weight = [areas[i] / sum(areas) for i in classes]
    p = [[weight[i] * counts[i][j] / size[i] for j in classes] for i in classes]
    overall = sum(p[i][i] for i in classes)
    users = [p[i][i] / sum(p[i]) for i in classes]
    column = [sum(p[i][j] for i in classes) for j in classes]
    producers = [p[j][j] / column[j] if column[j] else float("nan") for j in classes]
    v_overall = sum(weight[i] ** 2 * users[i] * (1 - users[i]) / (size[i] - 1) for i in classes)
    v_users = [users[i] * (1 - users[i]) / (size[i] - 1) for i in classes]
    v_producers = []
    for j in classes:
        estimated = sum(areas[i] / size[i] * counts[i][j] for i in classes)
        first = areas[j] ** 2 * (1 - producers[j]) ** 2 * users[j] * (1 - users[j]) / (size[j] - 1)
        rest = 0.0
        for i in classes:
            share = counts[i][j] / size[i]
            if i != j:
                rest += areas[i] ** 2 * share * (1 - share) / (size[i] - 1)
        total = first + producers[j] ** 2 * rest
        v_producers.append(total / estimated**2 if estimated else float("nan"))
    v_share = [
        sum((weight[i] * p[i][k] - p[i][k] ** 2) / (size[i] - 1) for i in classes) for k in classes
    ]
    return {
        "overall": (overall, v_overall**0.5),
        "users": (users, np.sqrt(v_users)),
        "producers": (producers, np.sqrt(v_producers)),
        "areas": (np.array(column) * sum(areas), np.sqrt(np.maximum(v_share, 0)) * sum(areas)),
    }


def test_the_example_of_the_paper():
    found = area_accuracy(COUNTS, PIXELS * HECTARES)
    assert round(float(found.overall.values), 2) == 0.95
    assert round(float(Z * found.overall.errors), 2) == 0.02
    assert np.round(found.users.values, 2).tolist() == [0.88, 0.73, 0.93, 0.96]
    assert np.round(Z * found.users.errors, 2).tolist() == [0.07, 0.10, 0.04, 0.02]
    assert np.round(found.producers.values, 2).tolist() == [0.75, 0.85, 0.93, 0.96]
    assert np.round(Z * found.producers.errors, 2).tolist() == [0.21, 0.25, 0.03, 0.02]
    assert np.round(found.areas.values).tolist() == [21_158, 11_686, 285_770, 581_386]
    assert np.round(Z * found.areas.errors).tolist() == [6_158, 3_756, 15_510, 16_282]
    assert found.covered == 1.0
    np.testing.assert_allclose(found.areas.low, found.areas.values - Z * found.areas.errors)


def test_another_published_pair():
    """Two classes of very different size: values that the R package mapac prints in its manual."""
    found = area_accuracy(np.array([[410, 26], [67, 369]]), np.array([828_837, 33_067_283]))
    np.testing.assert_allclose(found.overall.values, 0.84862969, atol=1e-8)
    np.testing.assert_allclose(found.overall.errors, 0.01687046, atol=1e-8)
    np.testing.assert_allclose(found.producers.values, [0.132986, 0.998237], atol=1e-6)


matrices = st.integers(1, 5).flatmap(
    lambda c: st.tuples(
        arrays.arrays(np.int64, (c, c), elements=st.integers(0, 40)),
        arrays.arrays(np.int64, (c,), elements=st.integers(1, 10**6)),
    )
)


@given(matrices)
def test_equals_the_sums_of_the_paper(drawn):
    counts, areas = drawn
    counts = counts + 2 * np.eye(len(areas), dtype=np.int64)  # two units a row, else no variance
    found, expected = area_accuracy(counts, areas), by_loops(counts.tolist(), areas.tolist())
    for name, (values, errors) in expected.items():
        estimates = getattr(found, name)
        np.testing.assert_allclose(estimates.values, values, rtol=1e-9, atol=1e-12)
        scale = areas.sum() if name == "areas" else 1.0
        np.testing.assert_allclose(estimates.errors, errors, rtol=1e-6, atol=1e-7 * scale)
    np.testing.assert_allclose(found.proportions_CC.sum(), 1.0)
    np.testing.assert_allclose(found.areas.values.sum(), areas.sum())


def test_standard_errors_are_what_repeated_sampling_shows():
    """4,000 stratified samples of a known map: the estimates scatter as their errors say."""
    rng = np.random.default_rng(0)
    areas = np.array([5_000.0, 20_000.0, 75_000.0])
    truth = np.array([[0.8, 0.15, 0.05], [0.1, 0.85, 0.05], [0.01, 0.04, 0.95]])
    sizes = (60, 80, 150)
    drawn = [rng.multinomial(n, row, 4_000) for n, row in zip(sizes, truth, strict=True)]
    samples = np.stack(drawn, axis=1)
    found = [area_accuracy(sample, areas) for sample in samples]
    for name in ("overall", "users", "producers", "areas"):
        values = np.stack([getattr(one, name).values for one in found])
        errors = np.stack([getattr(one, name).errors for one in found])
        np.testing.assert_allclose(values.std(axis=0), errors.mean(axis=0), rtol=0.06)
    shares = (areas[:, None] * truth).sum(axis=0)
    areas_found = np.mean([one.areas.values for one in found], axis=0)
    np.testing.assert_allclose(areas_found, shares, rtol=0.01)


def test_proportional_samples_give_the_plain_accuracy():
    """Where every class was sampled in proportion to its area, weights change nothing."""
    counts = np.array([[8, 2], [3, 27]])
    found = area_accuracy(counts, counts.sum(axis=1) * 1000)
    assert float(found.overall.values) == pytest.approx(35 / 40)
    np.testing.assert_allclose(found.producers.values, [8 / 11, 27 / 29])


def test_a_class_without_reference_is_left_out_and_said_so():
    counts = np.array([[8, 2, 0], [3, 27, 0], [0, 0, 0]])
    found = area_accuracy(counts, np.array([100, 300, 600]))
    alone = area_accuracy(counts[:2, :2], np.array([100, 300]))
    assert found.sampled_C.tolist() == [True, True, False]
    assert found.covered == pytest.approx(0.4)
    assert float(found.overall.values) == float(alone.overall.values)
    assert float(found.overall.errors) == float(alone.overall.errors)
    np.testing.assert_array_equal(found.areas.values[:2], alone.areas.values)
    assert found.areas.values[2] == 0
    assert np.isnan(found.users.values[2])
    assert np.isnan(found.producers.values[2])


def test_a_single_unit_has_no_standard_error():
    found = area_accuracy(np.array([[1, 0], [2, 8]]), np.array([10, 90]))
    assert float(found.overall.values) == pytest.approx(0.1 + 0.9 * 0.8)
    assert np.isnan(found.overall.errors)
    assert np.isnan(found.overall.low)
    assert np.isnan(found.users.errors).tolist() == [True, False]


def test_a_perfect_sample_has_an_interval_of_no_width_within_its_limits():
    found = area_accuracy(np.diag([5, 9]), np.array([10, 90]))
    assert (found.overall.low, found.overall.high) == (1.0, 1.0)
    assert found.areas.values.tolist() == [10, 90]
    wide = area_accuracy(np.array([[1, 1], [1, 9]]), np.array([10, 90]))
    assert wide.users.low[0] == 0.0
    assert wide.users.high[0] == 1.0
    assert wide.areas.low[0] == 0.0


def test_an_empty_class_of_the_map_may_still_be_in_the_reference():
    found = area_accuracy(np.array([[0, 0], [3, 7]]), np.array([0, 50]))
    assert found.areas.values.tolist() == [15, 35]
    assert found.producers.values[0] == 0.0
    assert np.isnan(found.users.values[0])
    assert found.covered == 1.0


def test_replicates_are_estimated_all_at_once():
    rng = np.random.default_rng(3)
    samples = rng.integers(0, 9, (20, 3, 3)) + np.eye(3, dtype=int)
    samples[4, 1] = 0  # a replicate that lost a class
    areas = np.array([10.0, 20.0, 70.0])
    weights = stratum_weights(samples[0], areas)
    together = area_proportions(samples, weights)
    for name in (overall_accuracy, users_accuracy, producers_accuracy):
        alone = [name(area_proportions(sample, weights)) for sample in samples]
        np.testing.assert_array_equal(name(together), np.stack(alone))
    assert np.isnan(overall_accuracy(together)).tolist() == [i == 4 for i in range(20)]


@pytest.mark.parametrize(
    ("counts", "areas", "message"),
    [
        (np.zeros((2, 2)), [1, 1], "counts must be a matrix with at least one reference unit"),
        (np.ones((2, 3)), [1, 1], "counts must be of shape"),
        ([[1, -1], [1, 1]], [1, 1], "counts must be finite and >= 0"),
        (np.ones((2, 2)), [1, np.nan], "areas must be finite and >= 0"),
        (np.ones((2, 2)), [1, 0], "areas must be > 0 for every map class with reference units"),
    ],
)
@pytest.mark.plain
def test_what_cannot_be_estimated_is_refused(counts, areas, message):
    with pytest.raises(UserError, match=message):
        area_accuracy(np.asarray(counts), np.asarray(areas))
