"""The figures of several labels per image, against scikit-learn and plain loops."""

import json
import math

import numpy as np
import pytest
from sklearn import metrics as sk

from likeness.evaluation.resampling import Bootstrap
from likeness.files import finite
from likeness_apps.shell.measure import Answers
from likeness_apps.shell.measure_multilabel import (
    PER_LABELS,
    PER_QUERY,
    measure,
    measure_embeddings,
    measure_search,
    retrieval_metrics,
    validation_scores,
)

LABELS = ["cars", "ship", "trees", "water"]
FEW = Bootstrap(replicates=50)


def answers(count=30, *, embeddings=True, probabilities=True, seed=0):
    rng = np.random.default_rng(seed)
    truth = (rng.random((count, 4)) < 0.4).astype(np.uint8)
    truth[truth.sum(axis=1) == 0, 1] = 1
    scores = np.clip(0.3 + 0.4 * truth + rng.normal(scale=0.2, size=truth.shape), 0, 1)
    centres = rng.normal(size=(4, 6))
    points = truth @ centres + rng.normal(scale=0.6, size=(count, 6))
    return Answers(
        truth_N=truth,
        classes=LABELS,
        groups_N=np.array([f"block {row // 2}" for row in range(count)]),
        readouts={"sigmoid": (scores >= 0.5).astype(int), "knn": truth[::-1].astype(int)},
        probabilities_NC=scores if probabilities else None,
        embeddings_ND=points if embeddings else None,
    )


def values(metrics, family):
    return {name: value["value"] for name, value in metrics[family].items()}


def test_classification_equals_scikit_learn():
    given = answers()
    metrics = measure(given, FEW).metrics
    truth, said = given.truth_N, given.readouts["sigmoid"]
    shown = values(metrics, "classification")
    for average in ("micro", "macro"):
        expected = sk.f1_score(truth, said, average=average)
        assert shown[f"{average}_f1"] == pytest.approx(expected), average
    options = {"average": "samples", "zero_division": 0}
    assert shown["example_f1"] == pytest.approx(sk.f1_score(truth, said, **options))
    assert shown["example_precision"] == pytest.approx(sk.precision_score(truth, said, **options))
    assert shown["example_recall"] == pytest.approx(sk.recall_score(truth, said, **options))
    assert shown["example_accuracy"] == pytest.approx(sk.jaccard_score(truth, said, **options))
    assert shown["hamming_loss"] == pytest.approx(sk.hamming_loss(truth, said))
    assert shown["subset_accuracy"] == pytest.approx(sk.accuracy_score(truth, said))
    expected = sk.average_precision_score(truth, given.probabilities_NC, average="macro")
    assert shown["macro_ap"] == pytest.approx(expected)
    other = metrics["readouts"]["knn"]
    expected = sk.f1_score(truth, given.readouts["knn"], average="micro")
    assert other["micro_f1"]["value"] == pytest.approx(expected)
    assert "macro_ap" not in other
    rows = metrics["per_class"]
    assert [row["class"] for row in rows] == LABELS
    assert [row["support"] for row in rows] == truth.sum(axis=0).tolist()
    recall = sk.recall_score(truth, said, average=None)
    assert [row["recall"] for row in rows] == pytest.approx(recall)
    assert metrics["task"] == "multi-label"
    assert metrics["classification_readout"] == "sigmoid"


def test_retrieval_equals_its_definition():
    """Sections 2.7 of the specification: c shared labels, d = shares one, cut at 10."""
    given = answers()
    measured = measure(given, FEW)
    unit = given.embeddings_ND / np.linalg.norm(given.embeddings_ND, axis=1, keepdims=True)
    truth = given.truth_N.astype(int)
    found = {name: [] for name in ("recall@1", "ap@10", "wap@10", "acg@10", "ndcg@10", "map")}
    pairs = {"accuracy": [], "precision": [], "recall": [], "f1": []}
    for row in range(30):
        others = sorted(set(range(30)) - {row}, key=lambda other: -float(unit[row] @ unit[other]))
        shared = [int(truth[row] @ truth[other]) for other in others]
        top = shared[:10]
        hits = [count > 0 for count in shared]
        found["recall@1"].append(float(hits[0]))
        found["acg@10"].append(sum(top) / 10)
        gain = [(2**c - 1) / math.log2(2 + place) for place, c in enumerate(top)]
        best = sorted(shared, reverse=True)[:10]
        ideal = [(2**c - 1) / math.log2(2 + place) for place, c in enumerate(best)]
        found["ndcg@10"].append(sum(gain) / sum(ideal))
        at = [place for place in range(10) if hits[place]]
        precision = [sum(hits[: place + 1]) / (place + 1) for place in at]
        gains = [sum(top[: place + 1]) / (place + 1) for place in at]
        found["ap@10"].append(np.mean(precision) if at else 0.0)
        found["wap@10"].append(np.mean(gains) if at else 0.0)
        whole = [place for place in range(29) if hits[place]]
        found["map"].append(np.mean([sum(hits[: p + 1]) / (p + 1) for p in whole]))
        own, sizes = truth[row].sum(), [truth[other].sum() for other in others[:10]]
        part = list(zip(top, sizes, strict=True))
        pairs["accuracy"].append(np.mean([c / (own + size - c) for c, size in part]))
        pairs["precision"].append(np.mean([c / size for c, size in part]))
        pairs["recall"].append(np.mean([c / own for c, size in part]))
        total = pairs["precision"][-1] + pairs["recall"][-1]
        product = pairs["precision"][-1] * pairs["recall"][-1]
        pairs["f1"].append(2 * product / total if total else 0.0)
    shown = values(measured.metrics, "retrieval")
    for name, expected in found.items():
        np.testing.assert_allclose(measured.per_item[name], expected, atol=1e-9, err_msg=name)
        assert shown[name] == pytest.approx(np.mean(expected)), name
    for name, expected in pairs.items():
        assert shown[f"example_{name}@10"] == pytest.approx(np.mean(expected)), name


def test_every_figure_has_an_interval_and_can_be_written():
    metrics = measure(answers(), FEW).metrics
    assert json.loads(json.dumps(finite(metrics)))["interval"]["groups"] == 15
    for family in ("classification", "retrieval"):
        assert metrics[family]
        for name, value in metrics[family].items():
            assert value["low"] <= value["value"] <= value["high"], name


def test_what_stands_beside_each_item():
    measured = measure(answers(), FEW)
    assert list(measured.per_item) == [*PER_LABELS, *PER_QUERY]
    for name in PER_LABELS:
        shown = measured.metrics["classification"][name]["value"]
        assert measured.per_item[name].mean() == pytest.approx(shown), name
    assert list(measure(answers(embeddings=False), FEW).per_item) == [*PER_LABELS]
    assert list(measure(answers(9), FEW).per_item) == [*PER_LABELS, "recall@1", "map"]


def test_an_item_without_labels_is_counted_where_it_can_be():
    given = answers()
    given.truth_N[3] = 0
    metrics = measure(given, FEW).metrics
    assert metrics["classification"]["example_f1"]["count"] == 29
    assert sum(metrics["classification"]["example_f1"]["skipped"].values()) == 1
    assert metrics["classification"]["hamming_loss"]["count"] == 30
    assert metrics["retrieval"]["map"]["count"] == 29


def test_one_and_two_items():
    one = measure(answers(1), FEW)
    assert "retrieval" not in one.metrics
    assert len(one.per_item) == 1
    given = answers(2)
    given.truth_N[:] = [[1, 0, 0, 0], [0, 1, 0, 0]]  # nothing to find
    shown = measure(given, FEW).metrics["retrieval"]["map"]
    assert np.isnan(shown["value"])
    assert shown["count"] == 0


def test_a_depth_beyond_the_items_is_left_out():
    assert retrieval_metrics(1) == ["recall@1", "exact_recall@1", "map"]
    assert "wap@10" in retrieval_metrics(10)
    assert "wap@20" not in retrieval_metrics(19)
    assert {"wap@20", "ndcg@20", "acg@20", "ap@20"} <= set(retrieval_metrics(20))


def test_scores_of_validation_are_the_measured_ones():
    given = answers()
    metrics = measure(given, FEW).metrics
    assert validation_scores(given) == {
        "macro_ap": metrics["classification"]["macro_ap"]["value"],
        "map": metrics["retrieval"]["map"]["value"],
        "wmap": metrics["retrieval"]["wap@20"]["value"],
        "ndcg": metrics["retrieval"]["ndcg@20"]["value"],
    }
    assert set(validation_scores(answers(embeddings=False))) == {"macro_ap"}
    assert set(validation_scores(answers(4))) == {"macro_ap", "map", "wmap", "ndcg"}


def test_queries_that_ask_a_gallery():
    given = answers()
    points, truth, groups = given.embeddings_ND, given.truth_N, given.groups_N
    found = measure_search(points[:8], truth[:8], points[8:], truth[8:], groups[:8], space="cosine")
    assert len(found.per_item) == 8
    assert found.metrics["retrieval_protocol"]["gallery"] == "separate"
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    first = 8 + (unit[:8] @ unit[8:].T).argmax(axis=1)
    hits = (truth[:8] & truth[first]).any(axis=1)
    assert found.per_item["recall@1"].tolist() == hits.astype(float).tolist()
    alone = measure_embeddings(points, truth, groups, space="cosine", bootstrap=FEW)
    assert alone.metrics["retrieval"] == measure(given, FEW).metrics["retrieval"]
