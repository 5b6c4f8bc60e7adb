"""What is measured of a split, and what happens where figures cannot be had."""

import json

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from fixtures.clinical import (
    HAM,
    QUICK,
    SHARES,
    assert_alike,
    bundle_of,
    changed,
    lesions,
    melanoma_scores,
)
from likeness.errors import UserError
from likeness.files import finite
from likeness_apps.skin_lesion.cases import similar
from likeness_apps.skin_lesion.clinical.measures import (
    NO_PROBABILITIES,
    SEVERAL,
    Clinical,
    clinical_columns,
    clinical_figures,
)
from likeness_apps.skin_lesion.clinical.tasks import binary_tasks, task_items
from likeness_apps.skin_lesion.clinical.thresholds import (
    operating,
    recorded_thresholds,
)


def test_answers_without_probabilities(ham):
    answers = changed(ham[0], probabilities_NC=None)
    found = clinical_figures(answers, ham[1], {}, QUICK)
    assert (found["tasks"], found["reason"]) == ({}, NO_PROBABILITIES)
    assert found["balanced_accuracy_classes"]["count"] == 7
    assert Clinical().recorded(answers, ham[1])["reason"] == NO_PROBABILITIES
    assert list(clinical_columns(answers).columns) == []


def test_several_labels_per_image(ham):
    table = np.eye(7, dtype=np.uint8)[ham[0].truth_N]
    answers = changed(ham[0], truth_N=table, readouts={"sigmoid": table})
    assert clinical_figures(answers, ham[1], {}, QUICK)["reason"] == SEVERAL
    assert Clinical().recorded(answers, ham[1])["reason"] == SEVERAL
    assert len(clinical_columns(answers)) == len(table)


@pytest.mark.parametrize("only", ["nv", "mel"])
def test_a_split_of_one_class(only, ham, record):
    answers, rows = ham
    answers = changed(answers, truth_N=np.full(len(rows), HAM.index(only)))
    task = clinical_figures(answers, rows, record, QUICK)["tasks"]["melanoma"]
    assert np.isnan(task["discrimination"]["roc_auc"]["value"])
    assert task["roc"] == {"fpr": [], "tpr": []}
    assert task["calibration"]["brier"]["value"] > 0
    assert len(task["operating"]) == 6


def test_one_item(record):
    answers, rows = lesions(2, shares=SHARES)
    one = changed(
        answers,
        truth_N=answers.truth_N[:1],
        groups_N=answers.groups_N[:1],
        readouts={"softmax": answers.readouts["softmax"][:1]},
        probabilities_NC=answers.probabilities_NC[:1],
    )
    found = clinical_figures(one, rows[:1], record, QUICK)
    assert found["tasks"]["melanoma"]["positives"] + found["tasks"]["melanoma"]["negatives"] == 1
    json.dumps(finite(found), allow_nan=False)


def test_scores_that_do_not_sum_to_one(ham):
    """Somebody's table: independent probabilities of the classes."""
    answers = changed(ham[0], probabilities_NC=np.sqrt(ham[0].probabilities_NC))
    found = clinical_figures(answers, ham[1], {}, QUICK)
    assert "sum" in found["classwise_ece"]["reason"]
    truth, scores = melanoma_scores(answers)
    area = sklearn_metrics.roc_auc_score(truth, scores)
    assert found["tasks"]["melanoma"]["discrimination"]["roc_auc"]["value"] == pytest.approx(area)


def test_classes_without_a_task():
    found = clinical_figures(*lesions(40, classes=["wart", "cyst"]), {}, QUICK)
    assert found["tasks"] == {}
    assert "malignant" in found["tasks_reason"]
    assert found["abstention"]["coverage"][-1] == 1


def test_order_does_not_matter(ham, record, figures):
    answers, rows = ham
    order = np.random.default_rng(5).permutation(len(rows))
    other = changed(
        answers,
        truth_N=answers.truth_N[order],
        groups_N=answers.groups_N[order],
        readouts={"softmax": answers.readouts["softmax"][order]},
        probabilities_NC=answers.probabilities_NC[order],
    )
    found = clinical_figures(other, rows.iloc[order].reset_index(drop=True), record, QUICK)
    assert_alike(finite(found), finite(figures))


def test_figures_are_plain_and_small(figures):
    text = json.dumps(finite(figures), allow_nan=False)
    assert len(text) < 200_000

    def numpy_free(value):
        if isinstance(value, dict):
            return all(map(numpy_free, value.values()))
        if isinstance(value, list):
            return all(map(numpy_free, value))
        return value is None or type(value) in (str, int, float, bool)

    assert numpy_free(json.loads(json.dumps(figures)))  # json refuses arrays and numpy's integers
    assert "research only" in figures["disclaimer"].lower()


def test_measured_takes_the_record_of_the_bundle(monkeypatch, ham, record):
    asked = {}

    class Found:
        def summary(self, **given):
            asked.update(given)
            return {"k": 5}

    def similar_cases(embeddings_ND, groups_N, hashes_N, bundle):
        asked.update(embeddings=embeddings_ND, hashes=hashes_N)
        return Found()

    monkeypatch.setattr(similar, "similar_cases", similar_cases)
    answers = changed(ham[0], embeddings_ND=np.zeros((len(ham[1]), 3)))
    clinical = Clinical(bootstrap=QUICK)
    measured = clinical.measured(answers, ham[1].assign(sha256="aa"), bundle_of(record))
    points = measured.metrics["tasks"]["melanoma"]["operating"]
    saved = record["thresholds"]["melanoma"]["points"]
    assert [point["threshold"] for point in points] == [point["threshold"] for point in saved]
    assert measured.metrics["similar"] == {"k": 5}
    assert asked["embeddings"].shape == (len(ham[1]), 3)
    assert set(asked["hashes"]) == {"aa"}
    assert (asked.pop("truth_N") == answers.truth_N).all()
    assert (asked.pop("predicted_N") == answers.readouts["softmax"]).all()
    clinical.measured(answers, ham[1], bundle_of(record, ["benign", "malignant"]))
    assert "truth_N" not in asked  # class numbers of other classes
    columns = measured.per_item
    assert list(columns.columns) == ["score_malignant", "score_melanoma"]
    assert columns["score_melanoma"].to_numpy() == pytest.approx(melanoma_scores(answers)[1])


def test_a_model_without_known_cases_says_so(monkeypatch):
    def refused(*_):
        raise UserError("model must keep its training embeddings, got none")

    answers, rows = lesions(40, classes=["benign", "malignant"])
    without = Clinical(QUICK).measured(answers, rows, bundle_of({}))
    assert without.metrics["similar"] == {"reason": "The answers hold no embeddings."}
    monkeypatch.setattr(similar, "similar_cases", refused)
    answers = changed(answers, embeddings_ND=np.zeros((40, 3)))
    found = Clinical(QUICK).measured(answers, rows, bundle_of({})).metrics["similar"]
    assert found["reason"].startswith("model must keep")


def test_recorded_points_are_judged_one_by_one(ham, record):
    """`operating` is what `clinical_figures` shows, and needs nothing else."""
    items = task_items(
        binary_tasks(HAM)["melanoma"], ham[0].truth_N, ham[0].probabilities_NC, ham[0].groups_N
    )
    again = recorded_thresholds(items, ["mel"])
    for point in operating(items, again["points"], QUICK):
        assert point["counts"] == point["validation"]
        assert point[point["fixed"]]["value"] >= point["aim"] - 1e-9
