"""Found again, and tighter than chance?"""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from likeness.errors import UserError
from likeness.subclasses import against_random_splits, agreement_inside

LABELS = np.arange(3).repeat(40)
HALVES = LABELS * 4 + np.tile(np.arange(2).repeat([15, 25]), 3)


def test_agreement_is_asked_inside_the_classes() -> None:
    """Over the whole set any two divisions agree, by the classes alone."""
    draw = np.random.default_rng(0)
    first, second = (LABELS * 2 + draw.integers(0, 2, len(LABELS)) for _ in range(2))
    assert adjusted_rand_score(first, second) > 0.3
    inside, each = agreement_inside(LABELS, first, second)
    assert abs(inside) < 0.1
    for label in range(3):
        own = label == LABELS
        assert each[label] == pytest.approx(adjusted_rand_score(first[own], second[own]))


def test_numbers_need_not_match_and_whole_classes_do_not_count() -> None:
    first, second = HALVES.copy(), HALVES.copy() ^ 1
    first[LABELS == 2] = second[LABELS == 2] = 8
    inside, each = agreement_inside(LABELS, first, second)
    assert inside == 1.0
    assert set(each) == {0, 1}
    whole, none = agreement_inside(LABELS, LABELS, LABELS)
    assert math.isnan(whole)
    assert none == {}
    inside, _ = agreement_inside(LABELS, LABELS, HALVES)  # only one of them divides
    assert inside == 0.0


def rows_of(shift: float, *, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    apart = shift * (HALVES % 4)[:, None] + 50.0 * LABELS[:, None]
    return draw.normal(size=(len(LABELS), 4)) + apart


def test_variants_of_another_embedding_beat_random_splits() -> None:
    found = against_random_splits(rows_of(2.0, seed=1), LABELS, HALVES, space="euclidean")
    assert found.p_value == 1 / 200
    assert found.observed < found.expected
    assert found.rows == len(LABELS)


def test_splits_by_lot_do_not() -> None:
    values = [
        against_random_splits(
            rows_of(0.0, seed=seed), LABELS, HALVES, space="euclidean", draws=49
        ).p_value
        for seed in range(40)
    ]
    assert 0.35 < np.mean(values) < 0.65  # uniform: 0.5, deviation 0.05
    assert sum(value <= 0.1 for value in values) <= 10


def test_the_statistic_is_the_mean_squared_distance_to_the_own_mean() -> None:
    rows = rows_of(1.0, seed=3).astype(np.float32)
    assigned = HALVES.copy()
    assigned[LABELS == 1] = 4  # left whole: does not count
    found = against_random_splits(rows, LABELS, assigned, space="euclidean", draws=1)
    total = 0.0
    for number in np.unique(assigned[LABELS != 1]):
        own = rows[assigned == number].astype(np.float64)
        total += sum(float(np.square(row - own.mean(0)).sum()) for row in own)
    assert found.rows == 80
    assert found.observed == pytest.approx(total / 80)
    # Over all divisions of n rows into k parts of any sizes: total variance times (n - k) / n.
    many = against_random_splits(rows, LABELS, assigned, space="euclidean", draws=400)
    classes = [rows[label == LABELS] for label in (0, 2)]
    whole = sum(float(np.square(each - each.mean(0)).sum()) for each in classes)
    assert many.expected == pytest.approx(whole / 39 * 38 / 80, rel=0.02)


def test_nothing_divided_says_nothing_and_mistakes_are_refused() -> None:
    rows = rows_of(0.0, seed=0)
    found = against_random_splits(rows, LABELS, LABELS, space="euclidean")
    assert math.isnan(found.p_value)
    assert found.rows == 0
    with pytest.raises(UserError, match="assigned must be sub-classes of one class each"):
        against_random_splits(rows, LABELS, HALVES % 4, space="euclidean")
    with pytest.raises(UserError, match="draws must be >= 1, got 0"):
        against_random_splits(rows, LABELS, HALVES, space="euclidean", draws=0)


@pytest.mark.plain
def test_divisions_of_other_rows_are_refused() -> None:
    with pytest.raises(UserError, match=r"first must be of shape \(120,\), got \(5,\)"):
        agreement_inside(LABELS, HALVES[:5], HALVES)
