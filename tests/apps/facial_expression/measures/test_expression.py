"""The field's figures against scikit-learn, loops over taggers, and by hand."""

from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy
from sklearn import metrics as sklearn_metrics

from likeness.evaluation.resampling import Bootstrap
from likeness.files import finite
from likeness_apps.facial_expression.expressions import EXPRESSIONS
from likeness_apps.facial_expression.measures.comparison import COMPARED, expression_differences
from likeness_apps.facial_expression.measures.copies import copies
from likeness_apps.facial_expression.measures.expression import Expression
from likeness_apps.facial_expression.measures.human import human_figures
from likeness_apps.facial_expression.measures.recognition import (
    HARMONIC,
    absent_classes,
    harmonic_macro_precision_recall,
    macro_precision,
    recognition,
)
from likeness_apps.facial_expression.measures.subjects import by_subject, unit_of
from likeness_apps.facial_expression.measures.votes_figures import PER_PICTURE, votes_figures
from likeness_apps.facial_expression.votes import ANSWERS, COLUMNS, official_labels, votes_of
from likeness_apps.shell.measure import Answers

QUICK = Bootstrap(replicates=60)
CLASSES = sorted(EXPRESSIONS)


def answers_of(truth, said=None, *, classes=CLASSES, seed=0, groups=None) -> Answers:
    """Answers whose probabilities fit them."""
    truth = np.asarray(truth)
    generator = np.random.default_rng(seed)
    table = generator.dirichlet(np.ones(len(classes)), len(truth))
    if said is not None:
        table[np.arange(len(truth)), said] += 1
        table /= table.sum(axis=1, keepdims=True)
    groups = np.array([f"{i}.png" for i in range(len(truth))]) if groups is None else groups
    readouts = {"softmax": table.argmax(axis=1)}
    return Answers(truth, list(classes), np.asarray(groups), readouts, table)


def voted(count: int, seed: int = 1, taggers: int = 10) -> pd.DataFrame:
    """Votes that mostly agree, some for no expression at all."""
    generator = np.random.default_rng(seed)
    shares = generator.dirichlet(np.full(10, 0.25), count)
    votes = np.array([generator.multinomial(taggers, row) for row in shares])
    votes[:, :8][votes.argmax(axis=1) >= 8] += 1  # nobody is only unknown
    return pd.DataFrame(votes, columns=list(COLUMNS))


# Recognition


def test_harmonic_mean_and_macro_precision_agree_with_sklearn():
    generator = np.random.default_rng(2)
    for _ in range(20):
        truth, said = generator.integers(0, 5, 30), generator.integers(0, 6, 30)
        counts = np.zeros((8, 8), int)
        np.add.at(counts, (truth, said), 1)
        given = {"average": "macro", "zero_division": 0}
        precision = sklearn_metrics.precision_score(truth, said, **given)
        recall = sklearn_metrics.recall_score(truth, said, **given)
        assert macro_precision(counts) == pytest.approx(precision)
        wanted = 2 * precision * recall / (precision + recall)
        assert harmonic_macro_precision_recall(counts) == pytest.approx(wanted)


def test_it_is_not_macro_f1():
    counts = np.array([[5, 0], [5, 10]])
    f1 = sklearn_metrics.f1_score([0] * 5 + [1] * 15, [0] * 10 + [1] * 10, average="macro")
    assert harmonic_macro_precision_recall(counts) > f1 + 0.01


def test_nothing_right_is_zero():
    assert harmonic_macro_precision_recall(np.array([[0, 3], [2, 0]])) == 0


def test_recall_by_class_and_its_interval():
    truth = np.repeat([0, 1, 3], [30, 20, 1])
    answers = answers_of(truth, np.where(np.arange(51) % 3, truth, 2))
    found = recognition(answers, QUICK)
    assert list(found["recall"]) == [CLASSES[label] for label in (0, 1, 3)]
    for label in (0, 1):
        one = found["recall"][CLASSES[label]]
        own = truth == label
        assert one["value"] == pytest.approx((answers.readouts["softmax"] == truth)[own].mean())
        assert one["low"] < one["value"] < one["high"]
        assert one["count"] == own.sum()
    assert found[HARMONIC]["count"] == 4


def test_classes_without_pictures_are_taken_away():
    truth = np.array([0, 0, 1, 1, 1])
    answers = answers_of(truth, [0, 2, 1, 7, 0])
    found = absent_classes(answers, QUICK)
    assert found["classes"] == CLASSES[2:]
    assert found["answers"] == 2
    left = answers.probabilities_NC[:, :2].argmax(axis=1)
    renormalised = found["renormalised"]["overall_accuracy"]
    assert renormalised["value"] == pytest.approx((left == truth).mean())
    full = answers_of(np.arange(8))
    assert "reason" in absent_classes(full, QUICK)


# Votes


def test_divergence_and_cross_entropy_by_scipy():
    rows = voted(40)
    answers = answers_of(np.arange(40) % 8)
    figures, columns = votes_figures(answers, rows, QUICK)
    order = [EXPRESSIONS.index(name) for name in CLASSES]
    votes = votes_of(rows)[:, order]
    wanted = [
        entropy(own / own.sum(), said)
        for own, said in zip(votes, answers.probabilities_NC, strict=True)
    ]
    np.testing.assert_allclose(columns["kl_to_votes"], wanted, rtol=1e-9)
    assert figures["kl"]["value"] == pytest.approx(np.mean(wanted))
    parts = figures["kl"]["value"] + figures["entropy"]["value"]
    assert figures["soft_cross_entropy"]["value"] == pytest.approx(parts)
    said = answers.readouts["softmax"]
    given = votes[np.arange(40), said]
    assert figures["said_by_three"]["value"] == pytest.approx((given >= 3).mean())
    assert figures["said_by_one"]["value"] == pytest.approx((given >= 1).mean())
    assert tuple(columns.columns) == PER_PICTURE


def test_the_votes_themselves_have_no_divergence():
    rows = voted(20)
    votes = votes_of(rows)[:, [EXPRESSIONS.index(name) for name in CLASSES]].astype(float)
    shares = votes / votes.sum(axis=1, keepdims=True)
    truth = shares.argmax(axis=1)
    answers = Answers(truth, CLASSES, np.arange(20).astype(str), {"votes": truth}, shares)
    figures, _ = votes_figures(answers, rows, QUICK)
    assert figures["kl"]["value"] == pytest.approx(0, abs=1e-12)
    assert figures["said_by_one"]["value"] == 1


def test_pictures_without_a_vote_for_a_class_are_left_out():
    rows = voted(5)
    rows.loc[2, :] = 0
    rows.loc[2, "votes_unknown"] = 10
    figures, columns = votes_figures(answers_of(np.arange(5)), rows, QUICK)
    assert (figures["pictures"], figures["left_out"]) == (4, 1)
    assert columns.isna().any(axis=1).tolist() == [False, False, True, False, False]


def test_the_figures_by_the_authors_rules():
    rows = voted(60, seed=3)
    answers = answers_of(np.arange(60) % 8)
    official = votes_figures(answers, rows, QUICK)[0]["official"]
    said = [CLASSES[label] for label in answers.readouts["softmax"]]
    for mode in ("majority", "probability"):
        labels = official_labels(votes_of(rows), mode)
        kept = [place for place, label in enumerate(labels) if label]
        assert official[mode]["pictures"] == len(kept) < 60
        right = [said[place] == labels[place] for place in kept]
        assert official[mode]["overall_accuracy"]["value"] == pytest.approx(np.mean(right))
    assert official["probability"]["kl"]["count"] == official["probability"]["pictures"]


@pytest.mark.parametrize("broken", ["columns", "classes"])
def test_sets_without_votes(broken):
    rows, classes = voted(4), CLASSES
    if broken == "columns":
        rows = rows.drop(columns="votes_nf")
    else:
        classes = ["smile", *CLASSES[:7]]
    answers = answers_of(np.arange(4), classes=classes)
    figures, columns = votes_figures(answers, rows, QUICK)
    assert "reason" in figures
    assert list(columns.columns) == []
    assert "reason" in human_figures(answers, rows, QUICK)


def test_labels_without_probabilities():
    answers = answers_of(np.arange(6))
    bare = Answers(answers.truth_N, CLASSES, answers.groups_N, answers.readouts)
    figures, columns = votes_figures(bare, voted(6), QUICK)
    assert "no probabilities" in figures["reason"]
    assert "said_by_one" in figures
    assert "kl" not in figures
    assert columns["kl_to_votes"].isna().all()


# Humans


def by_taggers(rows: pd.DataFrame, said: list[str], classes: list[str]) -> dict[str, float]:
    """Every tagger of every picture in turn, weighted so that pictures count alike."""
    truth, human, model, weight = [], [], [], []
    for votes, answer in zip(votes_of(rows), said, strict=True):
        taggers = [ANSWERS[place] for place, count in enumerate(votes) for _ in range(count)]
        for place, own in enumerate(taggers):
            others = Counter(taggers[:place] + taggers[place + 1 :]).most_common()
            clear = len(others) == 1 or others[0][1] > others[1][1]
            if clear and others[0][0] in classes:
                truth.append(others[0][0])
                human.append(own)
                model.append(answer)
                weight.append(1 / len(taggers))
    found = {"asked": sum(weight)}
    for name, given in (("human", human), ("model", model)):
        found[f"{name} accuracy"] = sklearn_metrics.accuracy_score(
            truth, given, sample_weight=weight
        )
        f1 = sklearn_metrics.f1_score(
            *(truth, given),
            labels=sorted(set(truth) | (set(given) & set(classes))),
            average="macro",
            sample_weight=weight,
            zero_division=0,
        )
        found[f"{name} macro_f1"] = f1
        recall = sklearn_metrics.recall_score(
            truth, given, labels=sorted(set(truth)), average="macro", sample_weight=weight
        )
        found[f"{name} balanced"] = recall
    return found


@pytest.mark.parametrize("classes", [CLASSES, [name for name in CLASSES if name != "contempt"]])
def test_human_agreement_is_every_tagger_in_turn(classes):
    rows = voted(50, seed=4)
    answers = answers_of(np.arange(50) % len(classes), classes=classes)
    found = human_figures(answers, rows, QUICK)
    said = [classes[label] for label in answers.readouts["softmax"]]
    wanted = by_taggers(rows, said, classes)
    for side in ("human", "model"):
        assert found[side]["overall_accuracy"]["value"] == pytest.approx(wanted[f"{side} accuracy"])
        assert found[side]["macro_f1"]["value"] == pytest.approx(wanted[f"{side} macro_f1"])
        assert found[side]["average_accuracy"]["value"] == pytest.approx(wanted[f"{side} balanced"])
    assert found["no_majority"] == pytest.approx(1 - wanted["asked"] / 50)
    difference = found["difference"]["macro_f1"]
    gap = wanted["model macro_f1"] - wanted["human macro_f1"]
    assert difference["value"] == pytest.approx(gap)
    assert difference["low"] <= difference["value"] <= difference["high"]


def test_taggers_who_agree_are_always_right():
    rows = pd.DataFrame(np.eye(10, dtype=int)[:8] * 10, columns=list(COLUMNS))
    found = human_figures(answers_of(np.arange(8)), rows, QUICK)
    assert found["human"]["overall_accuracy"]["value"] == 1
    assert found["human"]["macro_f1"]["value"] == 1
    assert set(found["human"]["recall"]) == set(CLASSES)


def test_one_tagger_is_no_human_agreement():
    rows = pd.DataFrame(np.eye(10, dtype=int)[:4], columns=list(COLUMNS))
    assert "reason" in human_figures(answers_of(np.arange(4)), rows, QUICK)


# Subjects


def test_accuracy_by_subject_by_hand():
    subjects = np.array(["a", "a", "b", "b", "b", "c", ""])
    correct = np.array([True, True, True, False, False, True, False])
    found = by_subject(subjects, correct, QUICK)
    assert (found["subjects"], found["pictures"], found["unknown"]) == (3, 6, 1)
    assert found["accuracy"]["value"] == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert found["std"] == pytest.approx(np.std([1, 1 / 3, 1], ddof=1))
    assert found["median"] == 1
    assert found["worst"] == {"accuracy": pytest.approx(1 / 3), "pictures": 3}
    assert "a" not in json.dumps(list(found["worst"].values()))  # nobody is named


@pytest.mark.parametrize("subjects", [["", "", ""], ["a", "a", "a"]])
def test_too_few_subjects(subjects):
    assert "reason" in by_subject(np.array(subjects), np.ones(3, bool), QUICK)


def test_what_is_resampled():
    known, groups = np.array(["a", "a", "b"]), np.array(["a", "a", "b"])
    assert unit_of(known, groups) == "subject"
    assert unit_of(np.array(["", "", ""]), np.array(["1", "2", "3"])) == "picture"
    assert unit_of(np.array(["a", "", "b"]), groups) == "picture"


# Copies


def test_pictures_with_a_copy_in_training():
    answers = answers_of([0, 1, 2, 3], [0, 0, 2, 3])
    rows = pd.DataFrame({"path": list("wxyz"), "sha256": ["1", "2", "3", "9"]})
    splits = pd.DataFrame(
        {
            "path": ["p", "q", "r", "z", "u", "s"],
            "label": [CLASSES[0], CLASSES[5], CLASSES[2], CLASSES[3], CLASSES[1], CLASSES[7]],
            "split": ["train", "train", "val", "train", "train", "train"],
            "sha256": ["1", "2", "3", "9", "", "1"],
        }
    )
    found = copies(answers, rows, splits, QUICK)
    assert found["training_pictures"] == 1  # z itself
    assert (found["with"]["pictures"], found["with"]["same_label"]) == (2, 1)
    assert found["with"]["overall_accuracy"]["value"] == 0.5
    assert found["without"]["pictures"] == 1
    assert found["without"]["overall_accuracy"]["value"] == 1
    training = rows.iloc[[3]].reset_index(drop=True)
    assert "reason" in copies(answers_of([3]), training, splits, QUICK)


# All together


def test_everything_is_plain_and_can_be_scored_without_numbers_types():
    names = {"path": [f"{i}.png" for i in range(24)], "subject": [f"s{i % 4}" for i in range(24)]}
    rows = voted(24).assign(**names)
    groups = rows["subject"].to_numpy()
    answers = answers_of(np.arange(24) % 8, groups=groups)
    expression = Expression(bootstrap=QUICK)
    found = expression.scored(answers, rows)
    text = rows.astype(dict.fromkeys(COLUMNS, str))
    other = expression.scored(answers, text)  # as a CSV table has them
    pd.testing.assert_frame_equal(found.per_item, other.per_item)
    assert found.metrics["interval"]["unit"] == "subject"
    assert found.metrics["interval"]["groups"] == 4
    assert json.loads(json.dumps(finite(found.metrics), allow_nan=False))
    assert expression.recorded(answers, rows) == found.metrics
    expression.show(found.metrics, quiet=True)
    figures = expression.headlines(found.metrics)
    assert [figure.key for figure in figures] == ["human_agreement"]
    assert list(expression.headlines({})) == []


def test_pooled_over_folds():
    groups = np.array([f"s{i % 5}" for i in range(20)])
    answers = answers_of(np.arange(20) % 8, groups=groups)
    found = Expression().pooled(answers, np.arange(20) % 2, QUICK)
    assert found["by_subject"]["subjects"] == 5
    alone = answers_of(np.arange(20) % 8)
    assert "reason" in Expression().pooled(alone, np.arange(20) % 2, QUICK)["by_subject"]


def test_order_does_not_matter():
    rows = voted(30, seed=6)
    answers = answers_of(np.arange(30) % 8, seed=6)
    order = np.random.default_rng(7).permutation(30)
    moved = Answers(
        answers.truth_N[order],
        CLASSES,
        answers.groups_N[order],
        {"softmax": answers.readouts["softmax"][order]},
        answers.probabilities_NC[order],
    )
    one = human_figures(answers, rows, QUICK)
    other = human_figures(moved, rows.iloc[order].reset_index(drop=True), QUICK)
    for side in ("human", "model"):
        for name in ("overall_accuracy", "macro_f1"):
            for part in ("value", "low", "high"):
                assert one[side][name][part] == pytest.approx(other[side][name][part])


# Two models


def test_differences_are_those_of_the_figures():
    truth = np.arange(60) % 8
    a, b = answers_of(truth, truth, seed=8), answers_of(truth, seed=9)
    probabilities = a.probabilities_NC, b.probabilities_NC
    found = expression_differences(truth, CLASSES, *probabilities, a.groups_N, bootstrap=QUICK)
    assert list(found) == list(COMPARED)
    of_a, of_b = a.readouts["softmax"], b.readouts["softmax"]
    f1 = [sklearn_metrics.f1_score(truth, said, average="macro") for said in (of_a, of_b)]
    row = found["macro_f1"]
    assert (row["a"], row["b"]) == (pytest.approx(f1[0]), pytest.approx(f1[1]))
    assert row["value"] == pytest.approx(f1[0] - f1[1])
    assert row["low"] <= row["value"] <= row["high"]
    kappa = sklearn_metrics.cohen_kappa_score(truth, of_b)
    assert found["kappa"]["b"] == pytest.approx(kappa)
    same = expression_differences(
        *(truth, CLASSES, probabilities[0], probabilities[0], a.groups_N), bootstrap=QUICK
    )
    assert all(row["value"] == 0 and row["p_value"] == 1 for row in same.values())


def test_an_undefined_figure_of_a_side_is_none():
    truth = np.zeros(3, int)
    table = np.eye(8)[[0, 0, 0]]
    groups = np.array(["1", "2", "3"])
    found = expression_differences(truth, CLASSES, table, table, groups, bootstrap=QUICK)
    assert found["kappa"]["a"] is None
    assert math.isnan(found["kappa"]["value"])
