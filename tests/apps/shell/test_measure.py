"""Arrays in, metrics.json out: the figures against scikit-learn and plain loops."""

import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, log_loss, recall_score

from likeness.evaluation.resampling import Bootstrap
from likeness.files import finite
from likeness_apps.shell.measure import (
    Answers,
    measure,
    measure_embeddings,
    retrieval_metrics,
    validation_scores,
)

CLASSES = ["field", "lake", "town"]
FEW = Bootstrap(replicates=50)


def answers(count=30, *, embeddings=True, probabilities=True, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % 3
    logits = 1.5 * np.eye(3)[truth] + rng.normal(size=(count, 3))
    wide = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    centres = rng.normal(size=(3, 5))
    return Answers(
        truth_N=truth,
        classes=CLASSES,
        groups_N=np.array([f"block {row // 2}" for row in range(count)]),
        readouts={"softmax": wide.argmax(1), "knn": rng.permutation(truth)},
        probabilities_NC=wide if probabilities else None,
        embeddings_ND=centres[truth] + rng.normal(size=(count, 5)) if embeddings else None,
    )


def test_classification_is_of_the_headline_readout():
    given = answers()
    metrics = measure(given, FEW).metrics
    said = given.readouts["softmax"]
    shown = {name: value["value"] for name, value in metrics["classification"].items()}
    assert shown["overall_accuracy"] == pytest.approx(accuracy_score(given.truth_N, said))
    assert shown["kappa"] == pytest.approx(cohen_kappa_score(given.truth_N, said))
    assert shown["macro_f1"] == pytest.approx(f1_score(given.truth_N, said, average="macro"))
    assert metrics["classification_readout"] == "softmax"
    assert list(metrics["readouts"]) == ["softmax", "knn"]
    other = metrics["readouts"]["knn"]["average_accuracy"]["value"]
    expected = recall_score(given.truth_N, given.readouts["knn"], average="macro")
    assert other == pytest.approx(expected)
    assert np.diag(metrics["confusion"]["counts"]).sum() == (said == given.truth_N).sum()
    assert [row["class"] for row in metrics["per_class"]] == CLASSES
    shown = metrics["calibration"]["nll"]["value"]
    assert shown == pytest.approx(log_loss(given.truth_N, given.probabilities_NC))


def test_retrieval_is_leave_one_out():
    given = answers()
    measured = measure(given, FEW)
    unit = given.embeddings_ND / np.linalg.norm(given.embeddings_ND, axis=1, keepdims=True)
    hits, precisions = [], []
    for row in range(30):
        others = sorted(set(range(30)) - {row}, key=lambda other: -float(unit[row] @ unit[other]))
        right = [given.truth_N[other] == given.truth_N[row] for other in others]
        hits.append(right[0])
        found = [sum(right[: k + 1]) / (k + 1) for k in range(9) if right[k]]
        precisions.append(sum(found) / 9)
    shown = measured.metrics["retrieval"]
    assert shown["recall@1"]["value"] == pytest.approx(np.mean(hits))
    assert shown["map@r"]["value"] == pytest.approx(np.mean(precisions))
    assert measured.per_item["recall@1"].tolist() == hits
    assert measured.per_item["map@r"].to_numpy() == pytest.approx(precisions)


def test_intervals_say_how_they_were_made():
    metrics = measure(answers(), Bootstrap(replicates=50, seed=3, level=0.9)).metrics
    assert metrics["interval"] == {
        "method": "group bootstrap, percentile",
        "level": 0.9,
        "replicates": 50,
        "seed": 3,
        "groups": 15,
        "label": "evaluation noise only",
    }
    for family in ("classification", "retrieval"):
        for name, value in metrics[family].items():
            assert value["low"] <= value["value"] <= value["high"], name


def test_everything_can_be_written():
    metrics = measure(answers(), FEW).metrics
    assert json.loads(json.dumps(finite(metrics)))["interval"]["groups"] == 15


def test_only_what_was_given_is_measured():
    measured = measure(answers(embeddings=False, probabilities=False), FEW)
    assert not {"retrieval", "clustering", "calibration"} & set(measured.metrics)
    assert measured.per_item.shape == (30, 0)


def test_one_and_two_items():
    one = measure(answers(1), FEW)
    assert "retrieval" not in one.metrics
    assert len(one.per_item) == 1
    assert one.metrics["classification"]["overall_accuracy"]["count"] == 1
    two = measure(answers(2), FEW)  # two classes: no query has anything to find
    shown = two.metrics["retrieval"]["recall@1"]
    assert np.isnan(shown["value"])
    assert shown["count"] == 0
    assert sum(shown["skipped"].values()) == 2
    assert two.per_item["map@r"].isna().all()


def test_a_depth_beyond_the_items_is_left_out():
    assert retrieval_metrics(1) == ["recall@1", "r_precision", "map@r", "map", "anmrr"]
    assert {"recall@8", "precision@10", "ndcg@10"} <= set(retrieval_metrics(10))
    assert not {"precision@10", "ndcg@10"} & set(retrieval_metrics(9))
    assert "recall@8" in retrieval_metrics(8)
    assert set(measure(answers(6), FEW).metrics["retrieval"]) == set(retrieval_metrics(5))


def test_scores_of_validation_are_the_measured_ones():
    given = answers()
    metrics = measure(given, FEW).metrics
    assert validation_scores(given) == {
        "accuracy": metrics["classification"]["overall_accuracy"]["value"],
        "average_accuracy": metrics["classification"]["average_accuracy"]["value"],
        "map_at_r": metrics["retrieval"]["map@r"]["value"],
    }
    without = validation_scores(answers(embeddings=False))
    assert set(without) == {"accuracy", "average_accuracy"}


def test_embeddings_alone():
    given = answers()
    alone = measure_embeddings(
        given.embeddings_ND, given.truth_N, given.groups_N, space="cosine", bootstrap=FEW
    )
    whole = measure(given, FEW)
    assert alone.metrics.items() <= whole.metrics.items()
    assert {"retrieval", "clustering"} <= set(alone.metrics)
    assert alone.per_item.equals(whole.per_item)
