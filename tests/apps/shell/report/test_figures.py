"""Numbers and charts of a report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from fixtures.reports import report_data
from likeness_apps.shell.report.colours import class_colours
from likeness_apps.shell.report.data import balanced_sample
from likeness_apps.shell.report.figures import calibration_bins, ticks, wilson
from likeness_apps.shell.report.projection import project


def test_calibration_bins_equal_a_loop():
    rng = np.random.default_rng(3)
    confidence = np.append(rng.random(200), [0.0, 1.0])
    right = rng.random(202) < confidence
    expected = {}
    for c, r in zip(confidence, right, strict=True):
        expected.setdefault(min(int(c * 10), 9), []).append((c, r))
    bins = calibration_bins(confidence, right)
    assert len(bins) == len(expected)
    for found, (_, items) in zip(bins, sorted(expected.items()), strict=True):
        assert found.count == len(items)
        assert found.confidence == pytest.approx(np.mean([c for c, _ in items]))
        assert found.accuracy == pytest.approx(np.mean([r for _, r in items]))


@pytest.mark.parametrize(("hits", "count"), [(0, 5), (5, 5), (3, 10), (1, 1), (497, 500)])
def test_wilson_interval_equals_scipy(hits, count):
    expected = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert wilson(hits / count, count) == pytest.approx((expected.low, expected.high), abs=1e-5)


@given(low=st.floats(-1e4, 1e4), width=st.floats(1e-3, 1e5))
@settings(max_examples=60)
def test_ticks_are_inside_and_few(low, width):
    found = ticks(low, low + width)
    slack = width * 1e-6
    assert 1 <= len(found) <= 6
    assert all(low - slack <= tick <= low + width + slack for tick in found)
    assert found == sorted(set(found))


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(0, 70), st.integers(0, 3))
@settings(max_examples=60)
def test_balanced_sample_is_as_even_as_it_can_be(classes, cap, seed):
    chosen = balanced_sample(classes, cap, seed)
    assert len(chosen) == len(set(chosen)) == min(cap, len(classes))
    taken = {c: sum(classes[row] == c for row in chosen) for c in set(classes)}
    for c in taken:
        if taken[c] < classes.count(c):  # more could have been had: nobody got two more
            assert all(taken[c] >= other - 1 for other in taken.values())


def test_colours_differ_on_both_pages():
    pairs = class_colours(45)
    for colours in zip(*pairs, strict=True):
        rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours])
        gaps = np.abs(rgb[:, None] - rgb[None]).sum(axis=2) + 999 * np.eye(45, dtype=int)
        assert gaps.min() > 20


def test_projection_is_seeded_capped_and_says_its_method():
    data = report_data(classes=6, per_class=200)
    first = project(data.embeddings_ND[:90], _first(data, 90).items, "cosine", 0)
    again = project(data.embeddings_ND[:90], _first(data, 90).items, "cosine", 0)
    np.testing.assert_array_equal(first.points_P2, again.points_P2)
    assert first.method.startswith("t-SNE")
    assert 0.5 < first.trust <= 1
    few = project(data.embeddings_ND[:20], _first(data, 20).items, "cosine", 0)
    assert few.method.startswith("PCA")
    assert len(balanced_sample(data.items.class_of, 1000, 0)) == 1000


def _first(data, count):
    return replace(data, predictions=data.predictions[:count], embeddings_ND=None, training=None)


def test_projection_survives_copies_and_one_dimension():
    data = _first(report_data(classes=4, per_class=20), 80)
    for points in (np.ones((80, 3)), np.arange(80.0)[:, None] + 1):
        plane = project(points, data.items, "euclidean", 0)
        assert np.isfinite(plane.points_P2).all()
