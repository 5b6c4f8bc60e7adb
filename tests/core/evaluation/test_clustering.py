"""Clustering scores against loops from the definitions."""

import math
import os
from collections import Counter

import numpy as np
import pytest

from likeness.errors import UserError
from likeness.evaluation.clustering import agreement, clustering, kmeans

UNHOOKED = pytest.mark.skipif(os.environ.get("LIKENESS_PLAIN") != "1", reason="hook is on")


def entropy(labels):
    return -sum(n / len(labels) * math.log(n / len(labels)) for n in Counter(labels).values())


def mutual_information(a, b):
    n = len(a)
    both, left, right = Counter(zip(a, b, strict=True)), Counter(a), Counter(b)
    return sum(c / n * math.log(c * n / left[x] / right[y]) for (x, y), c in both.items())


def blobs(seed=0, classes=6, per=20, noise=0.2):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per)
    return (
        rng.normal(size=(classes, 8))[labels] + noise * rng.normal(size=(classes * per, 8))
    ).astype(np.float32), labels


def test_nmi_and_ari_equal_their_definitions():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, 60), rng.integers(0, 6, 60)
    b = np.where(rng.random(60) < 0.5, a, b)
    found = agreement(a, b)
    a, b = a.tolist(), b.tolist()
    nmi = mutual_information(a, b) / ((entropy(a) + entropy(b)) / 2)
    assert found["nmi"].value == pytest.approx(nmi)
    pairs = [(i, j) for i in range(60) for j in range(i)]
    same_a = sum(a[i] == a[j] for i, j in pairs)
    same_b = sum(b[i] == b[j] for i, j in pairs)
    same_both = sum(a[i] == a[j] and b[i] == b[j] for i, j in pairs)
    expected = same_a * same_b / len(pairs)
    ari = (same_both - expected) / ((same_a + same_b) / 2 - expected)
    assert found["ari"].value == pytest.approx(ari)
    assert {value.count for value in found.values()} == {60}


def test_ami_corrects_for_chance_by_permutations():
    rng = np.random.default_rng(1)
    a = rng.integers(0, 5, 80)
    b = np.where(rng.random(80) < 0.6, a, rng.integers(0, 5, 80))
    # The expected information of AMI's null model, by shuffling.
    shuffled = np.mean(
        [mutual_information(a.tolist(), rng.permutation(b).tolist()) for _ in range(800)]
    )
    mean = (entropy(a.tolist()) + entropy(b.tolist())) / 2
    expected = (mutual_information(a.tolist(), b.tolist()) - shuffled) / (mean - shuffled)
    assert agreement(a, b)["ami"].value == pytest.approx(expected, abs=0.01)
    independent = agreement(a, rng.permutation(a))
    assert abs(independent["ami"].value) < 0.1 < independent["nmi"].value


@pytest.mark.parametrize("space", ["cosine", "euclidean"])
def test_separated_groups_are_found(space):
    rows, labels = blobs(noise=0.01)
    result = clustering(rows, labels, space=space, restarts=10)
    for name in ("nmi", "ami", "ari"):
        assert result.values[name].value == pytest.approx(1), name
    assert "6 clusters" in result.protocol["clusters"]
    assert "best of 10 runs" in result.protocol["start"]


def test_clusters_are_those_of_lloyd():
    rows, labels = blobs(2, noise=0.8)
    found = clustering(rows, labels, space="euclidean", iterations=100)
    # A fixed point: every item is nearest to the mean of its own cluster.
    centres = np.stack([rows[found.clusters_N == c].mean(0) for c in range(6)])
    distance = ((rows[:, None] - centres) ** 2).sum(2)
    np.testing.assert_array_equal(distance.argmin(1), found.clusters_N)


def test_the_seed_decides_and_nothing_else():
    rows, labels = blobs(3, noise=1.5)
    first = clustering(rows, labels, seed=5)
    np.random.seed(0)  # noqa: NPY002
    second = clustering(rows, labels, seed=5)
    np.testing.assert_array_equal(first.clusters_N, second.clusters_N)
    others = [clustering(rows, labels, seed=seed).clusters_N for seed in range(6)]
    assert any((other != first.clusters_N).any() for other in others)


def test_cosine_space_ignores_lengths():
    rows, labels = blobs(4)
    stretched = rows * 2.0 ** np.random.default_rng(0).integers(-3, 4, len(rows))[:, None]
    np.testing.assert_array_equal(
        clustering(rows, labels).clusters_N, clustering(stretched, labels).clusters_N
    )


def test_small_cases_run_without_a_word(capfd):
    rows = np.random.default_rng(5).normal(size=(5, 3)).astype(np.float32)
    assert sorted(kmeans(rows, 5).tolist()) == [0, 1, 2, 3, 4]
    assert kmeans(rows, 1).tolist() == [0] * 5
    one = clustering(rows, np.zeros(5, int))
    assert one.values["nmi"].value == 1
    assert len(set(kmeans(np.tile(rows[:1], (6, 1)), 2).tolist())) <= 2
    assert capfd.readouterr() == ("", "")


def test_mistakes_are_refused():
    rows, labels = blobs()
    for wrong in (0, 121):
        with pytest.raises(
            UserError, match=rf"^clusters must be between 1 and the 120 items, got {wrong}"
        ):
            kmeans(rows, wrong)
    rows[0, 0] = np.nan
    with pytest.raises(UserError, match=r"^embeddings must be finite"):
        clustering(rows, labels)


@pytest.mark.plain
@UNHOOKED
def test_labels_of_another_length_are_refused():
    rows, labels = blobs()
    with pytest.raises(UserError, match=r"^labels must be 120 labels, one per embedding"):
        clustering(rows, labels[1:])
