"""Symmetric label noise: how many, which, and what they become."""

import numpy as np
import pytest

from likeness.data.label_noise import symmetric_noise
from likeness.errors import UserError

LABELS = np.repeat([3, 7, 20, -1], [40, 30, 20, 10])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 1.0])
def test_exactly_the_share_is_wrong_and_known(share):
    noisy = symmetric_noise(LABELS, share, seed=2)
    assert noisy.wrong_N.sum() == round(share * 100)
    assert np.array_equal(noisy.labels_N != LABELS, noisy.wrong_N)
    assert set(noisy.labels_N) <= set(LABELS)


def test_noise_grows_on_the_noise_there_is():
    small, large = (symmetric_noise(LABELS, share, seed=5) for share in (0.2, 0.5))
    assert large.wrong_N[small.wrong_N].all()
    assert np.array_equal(large.labels_N[small.wrong_N], small.labels_N[small.wrong_N])


def test_every_other_class_alike():
    labels = np.repeat(np.arange(5), 4000)
    found = symmetric_noise(labels, 1.0, seed=0).labels_N
    table = np.array([np.bincount(found[labels == c], minlength=5) for c in range(5)])
    assert not table.diagonal().any()
    others = table[~np.eye(5, dtype=bool)]
    assert np.abs(others - 1000).max() < 150  # five standard deviations


def test_one_seed_is_one_noise():
    first, again, other = (symmetric_noise(LABELS, 0.3, seed=seed).labels_N for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("labels", "share", "sentence"),
    [
        (LABELS, 1.5, r"share must be in \[0, 1\], got 1.5"),
        (np.zeros(4, int), 0.5, "labels must be of two classes or more, got 1"),
    ],
)
def test_what_cannot_be_is_refused(labels, share, sentence):
    with pytest.raises(UserError, match=sentence):
        symmetric_noise(labels, share, seed=0)


def test_no_noise_needs_no_second_class():
    assert not symmetric_noise(np.zeros(4, int), 0.0, seed=0).wrong_N.any()
    assert len(symmetric_noise(np.zeros(0, int), 0.0, seed=0).labels_N) == 0
