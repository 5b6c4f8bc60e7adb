"""Binary codes: the definition, what the rotation is for, and Hamming ranking by exact search."""

from __future__ import annotations

import numpy as np
import pytest

from likeness.errors import UserError
from likeness.search.exact import nearest
from likeness.search.itq import fit_itq


def clouds(seed: int = 0, dim: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Twelve classes around random centres."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(12), 20)
    centres = generator.normal(size=(12, dim))
    return centres[labels] + 0.3 * generator.normal(size=(len(labels), dim)), labels


def loss_of(rows: np.ndarray, rotation: np.ndarray) -> float:
    """What rounding to signs loses: |sign(v R) - v R|^2."""
    turned = rows @ rotation
    return float(np.square(np.sign(turned) - turned).sum())


def by_the_paper(rows: np.ndarray, bits: int) -> float:
    """Gong and Lazebnik's alternation in numpy, from the best of five random rotations."""
    centred = rows - rows.mean(0)
    axes = np.linalg.eigh(np.cov(centred.T))[1][:, ::-1][:, :bits]
    rows, best = centred @ axes, np.inf
    for seed in range(5):
        turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(bits, bits)))[0]
        for _ in range(50):
            left, _, right = np.linalg.svd(np.sign(rows @ turn).T @ rows)
            turn = (left @ right).T
        best = min(best, loss_of(rows, turn))
    return best


def test_the_axes_are_orthonormal_and_rounding_loses_as_little_as_in_the_paper() -> None:
    rows, _ = clouds()
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    itq = fit_itq(rows, bits=8)
    np.testing.assert_allclose(itq.rotation_BD @ itq.rotation_BD.T, np.eye(8), atol=1e-5)
    np.testing.assert_allclose(itq.mean_D, unit.mean(0), atol=1e-6)
    found = loss_of(unit - unit.mean(0), itq.rotation_BD.T)
    assert found <= 1.02 * by_the_paper(unit, 8)


def test_codes_are_bits_and_distances_count_them() -> None:
    rows, _ = clouds()
    codes = fit_itq(rows, bits=10).encode(rows)
    assert codes.shape == (240, 10)
    assert set(np.unique(codes)) == {0.0, 1.0}
    found = nearest(codes[:5], codes, 240, space="euclidean")
    for query in range(5):
        hamming = (codes[query] != codes).sum(1)[found.indices_QK[query]]
        np.testing.assert_allclose(np.square(found.distances_QK[query]), hamming, rtol=1e-6)
        assert (np.diff(hamming) >= 0).all()


def same_class(codes: np.ndarray, labels: np.ndarray) -> float:
    found = nearest(codes, None, 10, space="euclidean")
    return float((labels[found.indices_QK] == labels[:, None]).mean())


@pytest.mark.parametrize("seed", [0, 1])
def test_rotated_codes_find_the_class_and_unrotated_ones_less(seed: int) -> None:
    """Principal axes carry unequal variance, so their signs alone waste bits."""
    rows, labels = clouds(seed)
    turned = fit_itq(rows, bits=12)
    axes = np.linalg.eigh(np.cov((rows - rows.mean(0)).T))[1][:, ::-1][:, :12]
    plain = ((rows - rows.mean(0)) @ axes > 0).astype(np.float32)
    assert same_class(turned.encode(rows), labels) > same_class(plain, labels)
    assert same_class(turned.encode(rows), labels) > 0.9


def test_equal_seeds_give_equal_codes_and_a_mean_of_its_own_undoes_a_shift() -> None:
    rows, _ = clouds()
    first, second = (fit_itq(rows, bits=8, seed=2, space="euclidean") for _ in range(2))
    assert np.array_equal(first.encode(rows), second.encode(rows))
    moved = rows + 5
    mean = moved.astype(np.float32).mean(0)
    same = first.encode(moved, mean_D=mean) == first.encode(rows)
    assert same.mean() > 0.999


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 17}, r"bits must be in \[1, 16\], the length of the embeddings, got 17"),
        ({"bits": 0}, "bits must be in"),
        ({"bits": 8, "iterations": 0}, "iterations must be >= 1, got 0"),
        ({"bits": 8, "seed": -1}, "seed must be >= 0, got -1"),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fit_itq(clouds()[0], **options)


def test_too_few_rows_and_other_widths_are_refused() -> None:
    rows, _ = clouds()
    with pytest.raises(UserError, match="more than 8 rows for as many bits, got 8"):
        fit_itq(rows[:8], bits=8)
    with pytest.raises(UserError, match="16 numbers a row, as fitted, got 5"):
        fit_itq(rows, bits=8).encode(rows[:, :5])
