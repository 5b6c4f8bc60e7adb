"""One class as a mixture: how many components BIC allows, and when a class stays whole."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from likeness.errors import UserError
from likeness.subclasses import fit_mixture
from likeness.subclasses.mixtures import allowed_components

KINDS = ("full", "diag", "kmeans")
every_kind = pytest.mark.parametrize("kind", KINDS)


def modes(count: int, per: int = 60, dim: int = 3, *, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Round clouds 8 deviations apart, in random order, and the cloud of each row."""
    draw = np.random.default_rng(seed)
    truth = draw.permutation(np.arange(count).repeat(per))
    return 8.0 * np.eye(count, dim)[truth] + draw.normal(size=(count * per, dim)), truth


@every_kind
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_number_of_clouds_is_found(kind: str, count: int) -> None:
    rows, truth = modes(count)
    found = fit_mixture(rows, 4, kind=kind, seed=0)
    assert len(np.unique(found.component_N)) == count
    assert adjusted_rand_score(truth, found.component_N) > 0.98
    assert np.nanargmin(found.bic_M) == count - 1
    assert ((found.certainty_N > 0) & (found.certainty_N <= 1)).all()


def test_long_and_short_clouds_want_full_covariances() -> None:
    """Two crossed needles have one mean: only the full mixture tells them apart."""
    draw = np.random.default_rng(3)
    needles = np.concatenate([draw.normal(size=(150, 2)) * s for s in ((9, 0.5), (0.5, 9))])
    truth = np.arange(2).repeat(150)
    full = fit_mixture(needles, 2, kind="full", seed=0)
    assert adjusted_rand_score(truth, full.component_N) > 0.7
    halves = fit_mixture(needles, 2, kind="kmeans", seed=0)
    assert adjusted_rand_score(truth, halves.component_N) < 0.3


@every_kind
def test_bic_is_that_of_the_definition_for_one_component(kind: str) -> None:
    rows, _ = modes(2)
    scaled = rows - rows.mean(0)
    scaled /= np.sqrt(np.square(scaled).mean())
    count, dim = rows.shape
    covariance = np.cov(scaled.T, bias=True)
    if kind == "full":
        covariance, parameters = covariance + 1e-3 * np.eye(dim), dim + dim * (dim + 1) // 2
    elif kind == "diag":
        covariance, parameters = np.diag(np.diag(covariance)) + 1e-3 * np.eye(dim), 2 * dim
    else:
        covariance, parameters = np.trace(covariance) / dim * np.eye(dim), dim + 1
    inverse = np.linalg.inv(covariance)
    likelihood = sum(
        -0.5 * (dim * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1] + row @ inverse @ row)
        for row in scaled
    )
    expected = parameters * np.log(count) - 2 * likelihood
    bic = fit_mixture(rows, 2, kind=kind, seed=0).bic_M[0]
    assert bic == pytest.approx(expected, rel=1e-6)


@every_kind
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_the_unit_of_the_embedding_does_not_matter(kind: str, scale: float) -> None:
    rows, _ = modes(2)
    plain, scaled = (fit_mixture(each, 3, kind=kind, seed=0) for each in (rows, rows * scale))
    assert np.array_equal(plain.component_N, scaled.component_N)
    np.testing.assert_allclose(scaled.bic_M, plain.bic_M)


@every_kind
def test_the_same_rows_give_the_same_result(kind: str) -> None:
    rows, _ = modes(2, seed=5)
    first, second = (fit_mixture(rows, 4, kind=kind, seed=7) for _ in range(2))
    assert np.array_equal(first.component_N, second.component_N)
    assert np.array_equal(first.bic_M, second.bic_M)


def test_few_rows_for_many_dimensions_make_no_covariance_matrix() -> None:
    rows, _ = modes(2, per=20, dim=16)  # 40 rows, under 5 x 16
    full, diag = (fit_mixture(rows, 2, kind=kind, seed=0) for kind in ("full", "diag"))
    assert np.array_equal(full.bic_M, diag.bic_M)


@every_kind
def test_degenerate_classes_stay_whole_or_finite(kind: str) -> None:
    same = fit_mixture(np.full((120, 3), 0.1), 4, kind=kind, seed=0)
    assert not same.component_N.any()
    assert np.isnan(same.bic_M).all()
    points = np.array([[0.0, 0, 0], [1, 0, 0]])[np.arange(120) % 2]
    two = fit_mixture(points, 4, kind=kind, seed=0)
    assert np.isfinite(two.bic_M).all()
    assert adjusted_rand_score(np.arange(120) % 2, two.component_N) == 1.0


@pytest.mark.parametrize(
    ("rows", "most", "allowed"),
    [(5, 4, 1), (99, 4, 1), (100, 4, 4), (100, 2, 2), (1000, 4, 4)],
)
def test_small_classes_stay_whole(rows: int, most: int, allowed: int) -> None:
    assert allowed_components(rows, most, min_images=100) == allowed


@pytest.mark.parametrize(("rows", "allowed"), [(2, 1), (9, 1), (19, 1), (20, 2), (35, 3), (99, 4)])
def test_ten_rows_for_each(rows: int, allowed: int) -> None:
    assert allowed_components(rows, 4, min_images=2) == allowed


@pytest.mark.parametrize(
    ("rows", "most", "message"),
    [
        (np.zeros((3, 2)), 0, "most must be >= 1, got 0"),
        (np.zeros((0, 2)), 2, "rows must be at least one, got 0"),
        (np.array([[np.nan, 0.0]]), 2, "rows must be finite"),
    ],
)
def test_what_cannot_be_divided_is_refused(rows: np.ndarray, most: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fit_mixture(rows, most, seed=0)
