"""Similar cases against loops over all pairs, written from the rules."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from likeness.bundle import Bundle, Gallery
from likeness.data.transforms import Preprocessing
from likeness.errors import UserError
from likeness.evaluation.resampling import Bootstrap
from likeness.models import ModelSpec, build_embedder
from likeness_apps.skin_lesion.cases.known_cases import known_cases
from likeness_apps.skin_lesion.cases.similar import similar_cases

CLASSES = ["melanoma", "nevus", "seborrheic_keratosis"]
QUICK = Bootstrap(replicates=20)


def bundle_of(embeddings, labels, groups, hashes, *, space="cosine", rows=True, **changes):
    """A model that knows these training images; two test rows stand before and behind them."""
    with torch.device("meta"):
        embedder = build_embedder(
            ModelSpec(backbone="resnet18", image_size=32, space=space), num_classes=3
        )
    count = len(labels)
    splits = pd.DataFrame(
        {
            "path": [f"{i}.jpg" for i in range(count + 2)],
            "label": ["nevus", *(CLASSES[label] for label in labels), "melanoma"],
            "split": ["test", *["train"] * count, "test"],
            "group": ["test-a", *groups, "test-b"],
            "sha256": ["0a", *hashes, "0b"],
        }
    )
    rows_M = torch.arange(1, count + 1) if rows else None
    gallery = Gallery(torch.tensor(embeddings).float(), torch.tensor(labels), rows_M)
    given = {
        "embedder": embedder,
        "config": {},
        "classes": CLASSES,
        "preprocessing": Preprocessing(size=32, mean=[0.5] * 3, std=[0.2] * 3),
        "splits": splits,
        "metrics": {},
        "provenance": {},
        "card": "",
        "centres_CD": None,
        "gallery": gallery,
        "model_id": "0",
        "path": Path("."),
    }
    return Bundle(**(given | changes))


def drawn(seed, images, lesions, dim=6):
    """Images of lesions, unevenly many of each; some without a group."""
    draw = np.random.default_rng(seed)
    groups = [f"L{number}" for number in draw.integers(0, lesions, images)]
    for place in draw.integers(0, images, images // 10):
        groups[place] = ""
    labels = draw.integers(0, 3, images).tolist()
    return draw.normal(size=(images, dim)), labels, groups, [f"h{i}" for i in range(images)]


def unit(row, space):
    row = np.asarray(row, dtype=np.float32)
    return row / math.sqrt(sum(float(x) ** 2 for x in row)) if space == "cosine" else row


def far_apart(a, b, space):
    a, b = unit(a, space), unit(b, space)
    if space == "dot":
        return -sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    return math.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))


def cases_by_hand(query, group, content, known, space, k, self_row=None):
    """(distance, row) of the nearest image of each lesion, from the rules in words."""
    embeddings, _, groups, hashes = known
    lesion = [name or f"alone {row}" for row, name in enumerate(groups)]
    own = {group} - {""}
    own |= {lesion[row] for row in range(len(groups)) if content and hashes[row] == content}
    if self_row is not None:
        own.add(lesion[self_row])
    for row in range(len(groups)):
        a, b = unit(query, space), unit(embeddings[row], space)
        if np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(a):
            own.add(lesion[row])
    best = {}
    for row in range(len(groups)):
        if lesion[row] not in own:
            reach = (far_apart(query, embeddings[row], space), row)
            best[lesion[row]] = min(reach, best.get(lesion[row], reach))
    return sorted(best.values())[:k]


@pytest.mark.parametrize("space", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize("seed", range(3))
def test_the_cases_are_those_of_the_rules(space, seed):
    known = drawn(seed, 60, 15)
    queries = np.random.default_rng(100 + seed).normal(size=(12, 6))
    queries[3] = known[0][7]  # a training image by another name
    queries[4] = 2 * np.asarray(known[0][8]) if space == "cosine" else known[0][8]
    groups = ["", "L3", "new", "", "L5", *["L1"] * 7]
    hashes = ["", "", "h11", "h7", "", *["other"] * 7]
    found = similar_cases(queries, groups, hashes, bundle_of(*known, space=space), k=4)
    for row, query in enumerate(queries):
        expected = cases_by_hand(query, groups[row], hashes[row], known, space, 4)
        assert found.images_NK[row].tolist() == [place for _, place in expected]
        distances = [far for far, _ in expected]
        np.testing.assert_allclose(found.distances_NK[row], distances, atol=1e-5)
        assert found.labels_NK[row].tolist() == [known[1][place] for _, place in expected]


@pytest.mark.parametrize("space", ["cosine", "euclidean"])
def test_the_percentile_is_the_rank_among_training_lesions(space):
    known = drawn(5, 50, 20)
    embeddings, _, groups, hashes = known
    lesion = [name or f"alone {row}" for row, name in enumerate(groups)]
    apart = []
    for name in dict.fromkeys(lesion):
        row = lesion.index(name)
        nearest = cases_by_hand(
            embeddings[row], groups[row], hashes[row], known, space, 1, self_row=row
        )
        apart.append(nearest[0][0])
    queries = np.random.default_rng(6).normal(size=(9, 6))
    found = similar_cases(queries, [""] * 9, None, bundle_of(*known, space=space), k=3)
    for distances, percentiles in zip(found.distances_NK, found.percentiles_NK, strict=True):
        for far, percentile in zip(distances, percentiles, strict=True):
            below = sum(other <= far for other in apart)
            assert percentile == pytest.approx(100 * below / len(apart))
    assert len(set(found.percentiles_NK.ravel().tolist())) > 5


def test_a_lesion_with_many_images_is_one_case():
    """Deeper than the first candidates reach: 40 images of one lesion are the nearest of all."""
    angles = np.concatenate([np.linspace(0.10, 0.11, 40), [0.5, 0.6, 0.7]])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    groups = ["many"] * 40 + ["a", "b", "b"]
    bundle = bundle_of(embeddings, [0] * 40 + [1, 2, 2], groups, [f"h{i}" for i in range(43)])
    found = similar_cases(np.array([[1.0, 0.0]]), [""], None, bundle, k=3)
    assert found.images_NK.tolist() == [[0, 40, 41]]


def test_the_query_never_meets_its_own_lesion():
    """By group, by the group its file has in the splits, by content, by place: none may get in."""
    draw = np.random.default_rng(0)
    embeddings = draw.normal(size=(12, 5))
    embeddings[1] = embeddings[0] + 1e-3  # another image of the first lesion
    groups = ["own", "own", *(f"g{i}" for i in range(10))]
    bundle = bundle_of(embeddings, [0] * 12, groups, [f"h{i}" for i in range(12)])
    for group, content, query in (
        ("own", "", embeddings[0] + 0.01),
        ("", "h1", embeddings[0] + 0.01),  # the file is known, whatever its embedding
        ("", "", embeddings[0]),  # a copy of its embedding only
        ("", "", 3 * embeddings[1]),
    ):
        found = similar_cases(query[None], [group], [content], bundle, k=12)
        assert set(found.images_NK[0, :10].tolist()) == set(range(2, 12))
        assert found.images_NK[0, 10:].tolist() == [-1, -1]
    stranger = similar_cases(embeddings[:1] + 0.01, ["x"], ["y"], bundle, k=2)
    assert stranger.images_NK[0, 0] in (0, 1)  # without a reason it would be the nearest
    validation = similar_cases(embeddings[:1] + 0.01, [""], ["0a"], bundle, k=2)
    assert validation.images_NK[0, 0] in (0, 1)  # a test row's own group is another one


def test_copies_in_several_groups_all_leave():
    embeddings = np.eye(4)[[0, 0, 1, 2, 0]] + 0.0
    bundle = bundle_of(embeddings, [0, 0, 1, 2, 0], ["a", "b", "a", "c", "d"], list("vwxyz"))
    found = similar_cases(embeddings[:1], [""], ["v"], bundle, k=4)
    assert found.images_NK[0].tolist() == [3, -1, -1, -1]


def test_fewer_lesions_than_asked_for():
    known = drawn(1, 8, 3)
    known = (known[0], known[1], ["a", "a", "b", "b", "b", "c", "c", "c"], known[3])
    found = similar_cases(known[0][:1] + 0.5, ["b"], None, bundle_of(*known), k=50)
    assert found.images_NK.shape == (1, 50)
    assert found.counts_N.tolist() == [2]
    assert np.isinf(found.distances_NK[0, 2:]).all()
    assert np.isnan(found.percentiles_NK[0, 2:]).all()
    facts = found.summary(truth_N=np.array([0]), bootstrap=QUICK)
    assert (facts["with_fewer_than_k"], facts["without_case"]) == (1, 0)


def test_a_single_training_lesion():
    """Nothing to measure a distance against; asked by its own kind there is no case at all."""
    bundle = bundle_of(np.eye(2), [1, 1], ["a", "a"], ["h0", "h1"])
    found = similar_cases(np.array([[1.0, 0.2], [1.0, 0.2]]), ["", "a"], None, bundle, k=2)
    assert found.images_NK.tolist() == [[0, -1], [-1, -1]]
    assert np.isnan(found.percentiles_NK).all()
    facts = found.summary(truth_N=np.array([1, 1]), bootstrap=QUICK)
    assert facts["agreement"]["same_as_truth@2"]["value"] == 1.0
    assert facts["agreement"]["same_as_truth@2"]["count"] == 1
    assert facts["agreement"]["same_as_truth@2"]["skipped"] == {"no case": 1}
    assert facts["agreement"]["far"]["count"] == 0
    assert facts["median_percentile_of_nearest"] is None
    assert math.isnan(facts["knn_auc"]["melanoma"]["value"])  # one class only


def test_a_collapsed_model_has_no_cases():
    bundle = bundle_of(np.ones((5, 3)), [0, 1, 2, 0, 1], list("abcde"), list("vwxyz"))
    found = similar_cases(np.ones((2, 3)), ["", ""], None, bundle)
    assert (found.images_NK == -1).all()


def test_no_query_at_all():
    found = similar_cases(np.empty((0, 3)), [], [], bundle_of(np.eye(3), [0, 1, 2], *["abc"] * 2))
    assert found.images_NK.shape == (0, 5)


def test_agreement_by_hand():
    """Cases on a circle: the labels of every query's three nearest are known."""
    angles = np.array([0.1, 0.2, 0.3, 1.0, 1.1, 1.2, 2.0, 2.1, 2.3])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    labels = [0, 0, 1, 1, 1, 1, 2, 0, 2]
    groups = list("abcdefghi")
    bundle = bundle_of(embeddings, labels, groups, [f"h{i}" for i in range(9)])
    asked = np.array([0.19, 1.09, 2.11])  # cases 0 0 1; 1 1 1; 0 2 2, the nearest first
    queries = np.stack([np.cos(asked), np.sin(asked)], axis=1)
    found = similar_cases(queries, list("xyz"), None, bundle, k=3)
    assert found.labels_NK.tolist() == [[0, 0, 1], [1, 1, 1], [0, 2, 2]]
    assert found.majority_N().tolist() == [0, 1, 2]
    truth, predicted = np.array([0, 1, 0]), np.array([1, 1, 2])
    facts = found.summary(truth_N=truth, predicted_N=predicted, bootstrap=QUICK)
    values = {name: value["value"] for name, value in facts["agreement"].items()}
    assert values["same_as_truth@3"] == pytest.approx((2 / 3 + 1 + 1 / 3) / 3)
    assert values["same_as_predicted@3"] == pytest.approx((1 / 3 + 1 + 2 / 3) / 3)
    assert values["majority_is_truth@3"] == pytest.approx(2 / 3)
    assert values["majority_is_predicted@3"] == pytest.approx(2 / 3)
    assert values["unanimous@3"] == pytest.approx(1 / 3)
    assert facts["agreement"]["same_as_truth@3"]["low"] is not None
    # Shares of melanoma 2/3, 0, 1/3; two of three queries are melanoma.
    assert facts["knn_auc"]["melanoma"]["value"] == 1.0
    assert facts["knn_auc"]["melanoma"]["positives"] == 2
    assert "same_as_predicted@3" not in found.summary(truth_N=truth, bootstrap=QUICK)["agreement"]


def test_a_tie_of_votes_goes_to_the_nearest():
    embeddings = np.array([[1.0, 0.1], [1.0, 0.2], [1.0, 0.3], [1.0, 0.4]])
    bundle = bundle_of(embeddings, [2, 0, 0, 2], list("abcd"), list("wxyz"))
    found = similar_cases(np.array([[1.0, 0.0]]), [""], None, bundle, k=4)
    assert found.majority_N().tolist() == [2]


def test_the_area_is_that_of_the_shares():
    known = drawn(9, 80, 40)
    draw = np.random.default_rng(3)
    queries, truth = draw.normal(size=(40, 6)), draw.integers(0, 3, 40)
    found = similar_cases(queries, [""] * 40, None, bundle_of(*known), k=5)
    facts = found.summary(truth_N=truth, bootstrap=QUICK)
    for name, positive in (("melanoma", 0), ("seborrheic_keratosis", 2)):
        share = [
            sum(known[1][row] == positive for row in rows) / 5 for rows in found.images_NK.tolist()
        ]
        expected = roc_auc_score(truth == positive, share)
        assert facts["knn_auc"][name]["value"] == pytest.approx(expected)
        assert facts["knn_auc"][name]["count"] == 40


def test_blocks_and_repeats_change_nothing(monkeypatch):
    known = drawn(2, 70, 12)
    queries = np.random.default_rng(4).normal(size=(20, 6))
    bundle = bundle_of(*known)
    whole = similar_cases(queries, ["L1"] * 20, None, bundle, k=6)
    monkeypatch.setattr("likeness_apps.skin_lesion.cases.known_cases._CANDIDATES", 40)
    again = similar_cases(queries, ["L1"] * 20, None, known_cases(bundle), k=6)
    np.testing.assert_array_equal(whole.images_NK, again.images_NK)
    np.testing.assert_array_equal(whole.percentiles_NK, again.percentiles_NK)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"gallery": None}, "model must keep its training embeddings to show similar cases, got"),
        ({"multilabel": True}, "model must be one with one class per image, got 'several labels'"),
    ],
)
def test_models_without_known_cases(changes, sentence):
    bundle = bundle_of(np.eye(3), [0, 1, 2], *["abc"] * 2, **changes)
    with pytest.raises(UserError, match=sentence):
        similar_cases(np.eye(3), [""] * 3, None, bundle)


def test_an_old_model_is_matched_only_where_that_is_safe():
    known = drawn(3, 30, 10)
    queries = np.random.default_rng(1).normal(size=(3, 6))
    new, old = bundle_of(*known), bundle_of(*known, rows=False)
    expected = similar_cases(queries, [""] * 3, None, new).images_NK
    assert (similar_cases(queries, [""] * 3, None, old).images_NK == expected).all()
    short = Gallery(old.gallery.embeddings_MD[1:], old.gallery.labels_M[1:])
    with pytest.raises(UserError, match="model must say whose its training embeddings are"):
        similar_cases(queries, [""] * 3, None, bundle_of(*known, gallery=short))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"k": 0}, "k must be >= 1, got 0"),
        ({"groups_N": ["a"]}, r"groups_N must be one for each of 2 images, got \(1,\)"),
        ({"hashes_N": list("abc")}, r"hashes_N must be one for each of 2 images, got \(3,\)"),
        ({"embeddings_ND": np.full((2, 3), np.nan)}, "embeddings must be finite in every row"),
    ],
)
def test_what_does_not_fit_is_refused(given, sentence):
    usual = {"embeddings_ND": np.eye(3)[:2], "groups_N": ["", ""], "hashes_N": None}
    with pytest.raises(UserError, match=sentence):
        similar_cases(**(usual | given), bundle=bundle_of(np.eye(3), [0, 1, 2], *["abc"] * 2))
