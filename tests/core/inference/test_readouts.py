"""Readouts against scikit-learn and against loops from the definitions."""

import math
import os

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from likeness.errors import UserError
from likeness.inference.readouts import (
    class_centres,
    nearest_centre,
    nearest_neighbours,
    softmax,
    softmax_readout,
)

# The hook that checks shapes refuses this first, in its own words.
HOOKED = pytest.mark.skipif(os.environ.get("LIKENESS_PLAIN") != "1", reason="LIKENESS_PLAIN=1")


def cloud(seed, count, dim=5, classes=4):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    labels[:classes] = np.arange(classes)
    points = generator.normal(size=(count, dim)) + labels[:, None] * 0.7
    return points.astype(np.float32), labels


def test_softmax_by_hand():
    probabilities = softmax(np.array([[0.0, math.log(3.0)], [1000.0, 1000.0]]))
    np.testing.assert_allclose(probabilities, [[0.25, 0.75], [0.5, 0.5]], atol=1e-12)
    hot = softmax(np.array([[0.0, math.log(9.0)]]), 2.0)
    np.testing.assert_allclose(hot, [[0.25, 0.75]], atol=1e-12)
    np.testing.assert_allclose(softmax(np.array([[0.0, -np.inf]])), [[1.0, 0.0]])


def test_temperature_changes_probabilities_and_no_label():
    logits = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32) * 5
    plain, hot = softmax_readout(logits), softmax_readout(logits, temperature=3.0)
    np.testing.assert_array_equal(plain.labels_N, hot.labels_N)
    assert (hot.scores_NC.max(axis=1) < plain.scores_NC.max(axis=1)).all()
    np.testing.assert_allclose(hot.scores_NC.sum(axis=1), 1)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_temperature_out_of_range(temperature):
    with pytest.raises(UserError, match="temperature must be > 0 and finite, got"):
        softmax_readout(np.zeros((1, 2), np.float32), temperature=temperature)


def test_equal_logits_give_the_lower_class():
    assert softmax_readout(np.zeros((2, 3), np.float32)).labels_N.tolist() == [0, 0]


@pytest.mark.parametrize("space", ["euclidean", "cosine", "dot"])
def test_centres_are_means(space):
    points, labels = cloud(1, 40)
    centres = class_centres(points, labels, num_classes=4, space=space)
    for label in range(4):
        total, count = np.zeros(5), 0
        for point, own in zip(points.astype(float), labels, strict=True):
            if own == label:
                total += point / math.sqrt((point**2).sum()) if space == "cosine" else point
                count += 1
        np.testing.assert_allclose(centres[label], total / count, atol=1e-6)


@pytest.mark.parametrize("space", ["euclidean", "cosine", "dot"])
def test_nearest_centre_by_the_definition(space):
    points, labels = cloud(2, 60)
    queries, _ = cloud(3, 30)
    centres = class_centres(points, labels, num_classes=4, space=space)
    read = nearest_centre(queries, centres, space=space)
    for query, label, scores in zip(queries.astype(float), *read, strict=True):
        wanted = []
        for centre in centres.astype(float):
            if space == "euclidean":
                wanted.append(-sum((q - c) ** 2 for q, c in zip(query, centre, strict=True)))
            else:
                inner = sum(q * c for q, c in zip(query, centre, strict=True))
                lengths = math.dist(query, query * 0) * math.dist(centre, centre * 0)
                wanted.append(inner / lengths if space == "cosine" else inner)
        np.testing.assert_allclose(scores, wanted, atol=1e-4)
        assert label == wanted.index(max(wanted))


def test_nearest_centre_agrees_with_sklearn():
    points, labels = cloud(4, 80)
    queries, _ = cloud(5, 200)
    theirs = NearestCentroid().fit(points.astype(float), labels).predict(queries.astype(float))
    centres = class_centres(points, labels, num_classes=4, space="euclidean")
    mine = nearest_centre(queries, centres, space="euclidean").labels_N
    np.testing.assert_array_equal(mine, theirs)


def test_a_class_without_images_is_never_chosen():
    points, labels = cloud(6, 30, classes=3)
    centres = class_centres(points, labels, num_classes=5, space="cosine")
    assert np.isnan(centres[3:]).all()
    read = nearest_centre(points, centres, space="cosine")
    assert read.labels_N.max() <= 2
    assert (softmax(read.scores_NC)[:, 3:] == 0).all()


def test_equal_centres_give_the_lower_class():
    centres = np.array([[0, 1], [1, 0], [1, 0]], np.float32)
    read = nearest_centre(np.array([[2, 0]], np.float32), centres, space="cosine")
    assert read.labels_N.tolist() == [1]


def test_a_centre_of_no_direction_is_similar_to_nothing():
    points = np.array([[1, 0], [-1, 0], [0, 1]], np.float32)
    centres = class_centres(points, np.array([0, 0, 1]), num_classes=2, space="cosine")
    read = nearest_centre(np.array([[3, 0]], np.float32), centres, space="cosine")
    np.testing.assert_allclose(read.scores_NC, [[0, 0]], atol=1e-7)


@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize("weighting", ["majority", "distance"])
def test_neighbours_agree_with_sklearn(k, weighting):
    points, labels = cloud(7, 90)
    queries, _ = cloud(8, 120)
    theirs = KNeighborsClassifier(
        k, weights="uniform" if weighting == "majority" else "distance", algorithm="brute"
    ).fit(points.astype(float), labels)
    mine = nearest_neighbours(
        queries, points, labels, num_classes=4, space="euclidean", k=k, weighting=weighting
    )
    wanted = theirs.predict_proba(queries.astype(float))
    np.testing.assert_allclose(mine.scores_NC, wanted, atol=1e-5)
    clear = np.sort(wanted, axis=1)
    clear = clear[:, -1] - clear[:, -2] > 1e-6  # they break ties by class number, we by distance
    np.testing.assert_array_equal(
        mine.labels_N[clear], theirs.predict(queries.astype(float))[clear]
    )


def knn_by_loop(query, gallery, labels, k, space):
    """Labels in the order of (distance, row); votes; ties by nearest, then class number."""

    def distance(row):
        if space == "dot":
            return -float(np.dot(query.astype(float), row.astype(float)))
        if space == "cosine":
            q, g = (v.astype(float) / np.linalg.norm(v.astype(float)) for v in (query, row))
            return float(np.linalg.norm(q - g))
        return float(np.linalg.norm(query.astype(float) - row.astype(float)))

    ranked = sorted((distance(row), index) for index, row in enumerate(gallery))[:k]
    votes, first = {}, {}
    for far, index in ranked:
        label = int(labels[index])
        votes[label] = votes.get(label, 0) + 1
        first.setdefault(label, far)
    return min(votes, key=lambda label: (-votes[label], first[label], label)), votes


@pytest.mark.parametrize("space", ["euclidean", "cosine", "dot"])
@pytest.mark.parametrize("k", [1, 2, 4, 7])
def test_neighbours_by_the_definition(space, k):
    points, labels = cloud(9, 50)
    queries, _ = cloud(10, 40)
    read = nearest_neighbours(queries, points, labels, num_classes=4, space=space, k=k)
    for query, label, scores in zip(queries, *read, strict=True):
        winner, votes = knn_by_loop(query, points, labels, k, space)
        assert label == winner
        np.testing.assert_allclose(scores, [votes.get(index, 0) / k for index in range(4)])


def test_ties_of_votes_go_to_the_nearest_then_to_the_lower_class():
    gallery = np.array([[1.0], [2.0], [-1.0], [5.0]], np.float32)
    labels = np.array([2, 1, 0, 1])

    def label(query, k):
        query = np.array([[query]], np.float32)
        read = nearest_neighbours(query, gallery, labels, num_classes=3, space="euclidean", k=k)
        return int(read.labels_N[0])

    assert label(1.4, 2) == 2  # classes 2 and 1 with one vote each, row 0 is nearer
    assert label(0.0, 2) == 0  # rows 0 and 2 equally far: the lower class
    assert label(1.5, 4) == 1  # two votes beat nearness


def test_rows_equally_far_at_the_last_place_count_by_row():
    gallery = np.array([[1.0], [-1.0], [1.0]], np.float32)
    read = nearest_neighbours(
        np.zeros((1, 1), np.float32), gallery, np.array([1, 0, 0]), num_classes=2,
        space="euclidean", k=1,
    )  # fmt: skip
    assert read.labels_N.tolist() == [1]


def test_neighbours_at_distance_zero_vote_alone():
    gallery = np.array([[0.0], [0.0], [0.001]], np.float32)
    read = nearest_neighbours(
        np.array([[0.0], [1.0]], np.float32), gallery, np.array([0, 1, 1]), num_classes=2,
        space="euclidean", k=3, weighting="distance",
    )  # fmt: skip
    np.testing.assert_allclose(read.scores_NC[0], [0.5, 0.5])
    assert read.scores_NC[1, 1] > 0.6


def test_an_image_never_votes_for_itself():
    points, labels = cloud(11, 40)
    ids = np.arange(40)
    read = nearest_neighbours(
        points, points, labels, num_classes=4, space="cosine", k=1, own_ids=(ids, ids)
    )
    for index in range(40):
        rest = np.delete(ids, index)
        winner, _ = knn_by_loop(points[index], points[rest], labels[rest], 1, "cosine")
        assert read.labels_N[index] == winner


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"k": 0}, "k must be from 1 to the gallery's size 4, got 0"),
        ({"k": 5}, "k must be from 1 to the gallery's size 4, got 5"),
        ({"gallery_labels_G": np.array([0, 1, 2, 3])}, "gallery_labels_G must be class numbers"),
        ({"gallery_labels_G": np.array([0, 1, -1, 0])}, "gallery_labels_G must be class numbers"),
        ({"gallery_labels_G": np.array([0.0, 1, 1, 0])}, "gallery_labels_G must be class numbers"),
        pytest.param(
            {"gallery_labels_G": np.array([0])},
            r"gallery_labels_G must be of shape \(4,\)",
            marks=[pytest.mark.plain, HOOKED],
        ),
        ({"space": "dot", "weighting": "distance"}, "weighting must be 'majority' in the dot sp"),
        ({"k": 4, "own_ids": (np.arange(2), np.arange(4))}, "k must be at most the neighbours"),
    ],
)
def test_neighbours_refuse(change, sentence):
    given = {
        "embeddings_ND": np.ones((2, 3), np.float32),
        "gallery_GD": np.eye(4, 3, dtype=np.float32) + 1,
        "gallery_labels_G": np.array([0, 1, 2, 0]),
        "num_classes": 3,
        "space": "euclidean",
        "k": 1,
        **change,
    }
    with pytest.raises(UserError, match=f"^{sentence}"):
        nearest_neighbours(**given)


def test_centres_refuse():
    points = np.ones((2, 3), np.float32)
    with pytest.raises(UserError, match=r"labels must be class numbers from 0 to 1, got"):
        class_centres(points, np.array([0, 2]), num_classes=2, space="cosine")
    with pytest.raises(UserError, match="centres_CD must be finite for at least one class"):
        nearest_centre(points, np.full((2, 3), np.nan, np.float32), space="cosine")


@pytest.mark.plain
@HOOKED
def test_centres_of_another_width_are_refused():
    with pytest.raises(UserError, match=r"centres_CD must be of shape \(C, 3\), got \(2, 4\)"):
        nearest_centre(np.ones((2, 3), np.float32), np.ones((2, 4), np.float32), space="cosine")
