"""Out-of-fold operating points: judged at thresholds of the other folds, also by `pool`."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from likeness.errors import UserError
from likeness.evaluation.resampling import Bootstrap
from likeness.files import write_json
from likeness_apps.shell.measure import Answers
from likeness_apps.shell.pool import pool
from likeness_apps.shell.results import predictions_table, write_results
from likeness_apps.shell.tasks import task_of
from likeness_apps.skin_lesion.clinical.measures import Clinical, clinical_columns
from likeness_apps.skin_lesion.clinical.thresholds import out_of_fold_operating
from likeness_apps.skin_lesion.domain import DOMAIN

QUICK = Bootstrap(replicates=40)


def folds_of(count=150, seed=0):
    """Three folds whose models have scales of their own."""
    rng = np.random.default_rng(seed)
    folds = rng.integers(3, size=count)
    truth = rng.random(count) < 0.3
    scores = (rng.random(count) + truth) / 2 * (0.5 + 0.25 * folds)
    return truth, scores, folds, rng.integers(count // 2, size=count)


def test_each_fold_is_judged_at_the_threshold_of_the_others():
    truth, scores, folds, groups = folds_of()
    found = out_of_fold_operating(truth, scores, folds, groups, bootstrap=QUICK)
    assert [(row["fixed"], row["aim"]) for row in found] == [
        (fixed, aim) for fixed in ("sensitivity", "specificity") for aim in (0.8, 0.9, 0.95)
    ]
    for row in found:
        held = truth if row["fixed"] == "sensitivity" else ~truth
        counts = dict.fromkeys(("tp", "fp", "tn", "fn"), 0)
        for fold in range(3):
            threshold = row["thresholds"][str(fold)]
            others = folds != fold
            right = (scores >= threshold) == truth
            assert right[others & held].mean() >= row["aim"] - 1e-9
            # The next score on the costly side would break the aim.
            distinct = np.unique(scores[others])
            sensitive = row["fixed"] == "sensitivity"
            beyond = distinct[distinct > threshold] if sensitive else distinct[distinct < threshold]
            stricter = beyond[1] if sensitive else beyond[-1]
            assert ((scores >= stricter) == truth)[others & held].mean() < row["aim"]
            for score, true in zip(scores[folds == fold], truth[folds == fold], strict=True):
                called = score >= threshold
                counts[("t" if called == true else "f") + ("p" if called else "n")] += 1
        assert row["counts"] == counts
        sensitivity = counts["tp"] / truth.sum()
        assert row["sensitivity"]["value"] == pytest.approx(sensitivity)
        assert row["sensitivity"]["group_low"] <= sensitivity <= row["sensitivity"]["group_high"]
        assert row["specificity"]["value"] == pytest.approx(counts["tn"] / (~truth).sum())
        assert row["reason"] == ""


def test_a_fold_has_no_say_in_its_own_threshold():
    truth, scores, folds, groups = folds_of()
    before = out_of_fold_operating(truth, scores, folds, groups, bootstrap=QUICK)
    other = np.where(folds == 1, 1 - scores, scores)
    after = out_of_fold_operating(truth, other, folds, groups, bootstrap=QUICK)
    for one, two in zip(before, after, strict=True):
        assert one["thresholds"]["1"] == two["thresholds"]["1"]
    assert any(
        one["thresholds"]["0"] != two["thresholds"]["0"]
        for one, two in zip(before, after, strict=True)
    )


def test_a_fold_that_holds_all_positives_has_no_threshold():
    truth, scores, folds, groups = folds_of()
    truth &= folds == 2
    found = out_of_fold_operating(truth, scores, folds, groups, bootstrap=QUICK)
    assert found[0]["reason"] == "no positive items outside fold 2"
    assert found[0]["counts"] is None
    assert np.isnan(found[0]["sensitivity"]["value"])
    assert found[3]["reason"] == ""  # specificity needs negatives only


def test_one_fold_is_refused():
    truth, scores, folds, groups = folds_of()
    with pytest.raises(UserError, match=r"^folds must be two at least, got 1$"):
        out_of_fold_operating(truth, scores, folds * 0, groups)


CLASSES = ["melanoma", "nevus", "seborrheic_keratosis"]


def result(folder, fold, *, probabilities=True, count=60):
    """A directory as `evaluate` leaves it."""
    rng = np.random.default_rng(fold)
    truth = rng.integers(3, size=count)
    odds = np.exp(rng.normal(size=(count, 3)) + 1.5 * np.eye(3)[truth])
    answers = Answers(
        truth_N=truth,
        classes=CLASSES,
        groups_N=np.array([f"{fold}-{number // 2}" for number in range(count)]),
        readouts={"softmax": odds.argmax(axis=1)},
        probabilities_NC=odds / odds.sum(axis=1, keepdims=True) if probabilities else None,
    )
    measured = task_of(CLASSES, multilabel=False).figures.measure(answers, QUICK)
    rows = pd.DataFrame(
        {"path": [f"{fold}-{n}.jpg" for n in range(count)], "group": answers.groups_N}
    )
    table = pd.concat(
        [predictions_table(rows, answers, measured, f"m{fold}"), clinical_columns(answers)], axis=1
    )
    facts = {"app": "skin-lesion", "protocol": "five", "split": "test", "classes": CLASSES}
    write_results(folder, {**measured.metrics, **facts, "fold": fold}, table, None)
    return folder


def test_pool_joins_the_folds(tmp_path):
    folders = [result(tmp_path / str(fold), fold) for fold in (1, 2, 3)]
    pool(DOMAIN, folders, tmp_path / "joined", quiet=True)
    found = json.loads((tmp_path / "joined" / "metrics.json").read_text())["clinical"]
    assert list(found["tasks"]) == ["melanoma", "seborrheic_keratosis"]
    table = pd.read_csv(tmp_path / "joined" / "predictions.csv")
    truth = (table["truth"] == "melanoma").to_numpy()
    task = found["tasks"]["melanoma"]
    area = sklearn_metrics.roc_auc_score(truth, table["p_melanoma"])
    assert task["discrimination"]["roc_auc"]["value"] == pytest.approx(area)
    assert task["auc_delong"]["auc"] == pytest.approx(area)
    wanted = out_of_fold_operating(
        truth, table["p_melanoma"].to_numpy(), table["fold"].to_numpy(), table["group"].to_numpy()
    )
    for row, expected in zip(task["operating"], wanted, strict=True):
        assert row["counts"] == expected["counts"]
        assert row["thresholds"] == pytest.approx(expected["thresholds"])
        assert row["sensitivity"]["group_low"] == pytest.approx(
            expected["sensitivity"]["group_low"]
        )


def test_pool_without_probabilities_says_so(tmp_path):
    folders = [result(tmp_path / str(fold), fold, probabilities=False) for fold in (1, 2)]
    metrics = pool(DOMAIN, folders, tmp_path / "joined", quiet=True)
    assert metrics["clinical"]["tasks"] == {}
    assert "probabilities" in metrics["clinical"]["reason"]
    write_json(tmp_path / "again.json", metrics["clinical"])


def test_pooled_tasks_without_items():
    classes = ["mel", "nv", "scc", "unk"]
    answers = Answers(
        truth_N=np.full(4, 3),
        classes=classes,
        groups_N=np.arange(4),
        readouts={"softmax": np.full(4, 3)},
        probabilities_NC=np.full((4, 4), 0.25),
    )
    found = Clinical().pooled(answers, np.array(["1", "1", "2", "2"]), QUICK)["tasks"]
    assert "no image" in found["malignant"]["reason"].lower()
    assert found["melanoma"]["operating"][0]["reason"].startswith("no positive items")
