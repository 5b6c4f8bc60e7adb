"""The sub-classes of a set: numbers inside classes, guards, means, and numbers that last."""

from __future__ import annotations

import numpy as np
import pytest

from likeness.errors import UserError
from likeness.subclasses import Subclasses, agreement_inside, discover, subclass_name

SIZES = (160, 120, 60, 3)  # divided in two, in three; too small; next to nothing
PARTS = (2, 3, 1, 1)
LABELS = np.arange(4).repeat(SIZES)


def planted(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the four classes, and the cloud of each row."""
    draw = np.random.default_rng(seed)
    parts = np.concatenate([np.arange(n) % p for n, p in zip(SIZES, PARTS, strict=True)])
    centres = 9.0 * np.eye(4, 5)[parts] + 30.0 * np.eye(4, 5)[LABELS]
    return centres + draw.normal(size=(len(LABELS), 5)), parts


def find(rows: np.ndarray, **options: object) -> Subclasses:
    defaults = {"num_classes": 5, "space": "euclidean", "components": 3, "slots": 4, "seed": 1}
    return discover(rows.astype(np.float32), LABELS, **(defaults | options))


def test_every_class_is_divided_where_it_may_be() -> None:
    rows, parts = planted()
    found = find(rows)
    assert np.array_equal(found.assigned_N // 4, LABELS)  # none crosses a class
    assert np.bincount(found.classes_K).tolist() == [2, 3, 1, 1]
    inside, each = agreement_inside(LABELS, parts, found.assigned_N)
    assert inside > 0.98
    assert set(each) == {0, 1}
    assert found.sizes_K.sum() == len(LABELS)
    for number, size, mean in zip(found.numbers_K, found.sizes_K, found.means_KD, strict=True):
        own = rows[found.assigned_N == number]
        assert len(own) == size
        np.testing.assert_allclose(mean, own.mean(0), rtol=1e-5, atol=1e-4)
    assert np.isfinite(found.bic_CM[:2]).all()
    assert np.isnan(found.bic_CM[2:]).all()  # too small, or without a row
    assert found.slots_K.tolist() == [0, 1, 0, 1, 2, 0, 0]


def test_numbers_last_from_one_discovery_to_the_next() -> None:
    rows, _ = planted()
    first = find(rows)
    moved = rows + np.random.default_rng(9).normal(size=rows.shape) * 0.3
    later = find(moved, before_N=first.assigned_N, seed=44)
    assert (later.assigned_N == first.assigned_N).mean() > 0.98
    swapped = first.assigned_N.copy()
    swapped[LABELS == 0] ^= 1  # slots 0 and 1 of class 0 the other way round
    back = find(moved, before_N=swapped, seed=44)
    assert (back.assigned_N == swapped).mean() > 0.98


def test_other_classes_do_not_change_a_class() -> None:
    rows, _ = planted()
    changed = rows.copy()
    changed[LABELS == 1] = np.random.default_rng(2).normal(size=(SIZES[1], 5))
    first, second = find(rows), find(changed)
    own = LABELS == 0
    assert np.array_equal(first.assigned_N[own], second.assigned_N[own])


def test_the_cosine_space_sees_directions_only() -> None:
    rows, _ = planted()
    lengths = np.random.default_rng(3).uniform(0.5, 20.0, size=(len(rows), 1))
    plain, stretched = (find(each, space="cosine") for each in (rows, rows * lengths))
    assert np.array_equal(plain.assigned_N, stretched.assigned_N)
    np.testing.assert_allclose(plain.means_KD, stretched.means_KD, atol=1e-5)


def test_one_component_leaves_the_classes() -> None:
    found = find(planted()[0], components=1)
    assert np.array_equal(found.assigned_N, LABELS * 4)
    assert (found.certainty_N == 1).all()


def test_names_count_from_one() -> None:
    assert subclass_name("cat", 0) == "cat/1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"components": 5}, r"components must be in \[1, 4\], the slots of a class, got 5"),
        ({"num_classes": 3}, "labels must be class numbers from 0 to 2"),
        ({"before_N": LABELS * 0}, "before must be sub-classes of the classes of the same rows"),
        ({"space": "cosine", "rows": np.zeros((len(LABELS), 5))}, "embeddings must be of non-zero"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict, message: str) -> None:
    given = dict(options)
    rows = given.pop("rows", planted()[0])
    with pytest.raises(UserError, match=message):
        find(rows, **given)


@pytest.mark.plain
def test_earlier_numbers_of_other_rows_are_refused() -> None:
    with pytest.raises(UserError, match=r"before must be of shape \(343,\), got \(3,\)"):
        find(planted()[0], before_N=LABELS[:3])
