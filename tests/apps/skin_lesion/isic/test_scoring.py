"""The official ISIC figures against scikit-learn and loops; a golden case for every odd rule."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn import metrics

from likeness.errors import UserError
from likeness_apps.skin_lesion.isic.scoring import balanced_accuracy, score, score_files
from likeness_apps.skin_lesion.isic.tables import IsicTruth, write_submission

OFFICIAL = [
    "accuracy", "sensitivity", "specificity", "dice", "ppv", "npv", "auc", "auc_sens_80", "ap",
]  # fmt: skip


def truth_of(rows, weights=None, validation=None, classes=None):
    """A truth table of one-hot rows, or of anything given as 0 and 1."""
    truth_NC = np.array(rows, dtype=bool)
    count = len(truth_NC)
    return IsicTruth(
        names=tuple(f"ISIC_{number:07}" for number in range(count)),
        classes=tuple(classes or "ABCDEFG"[: truth_NC.shape[1]]),
        truth_NC=truth_NC,
        score_weight_N=np.ones(count) if weights is None else np.array(weights, dtype=float),
        validation_weight_N=np.ones(count) if validation is None else np.array(validation, float),
    )


def random_case(seed, count=120, classes=4, weighted=False):
    """One-hot truth, coarse probabilities with ties, every class present."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, size=count - classes)])
    raw = rng.random((count, classes)) + np.eye(classes)[labels] * 0.8
    chances = np.round(raw / raw.sum(axis=1, keepdims=True), 1)
    weights = rng.integers(0, 4, size=count) if weighted else np.ones(count)
    weights[:classes] = 1
    return labels, chances, weights.astype(float)


def area_at_80(true, chances, weights):
    """The curve's points, a point at TPR 0.8 put in, trapezoids from there to the right end."""
    fpr, tpr, _ = metrics.roc_curve(true, chances, sample_weight=weights, drop_intermediate=False)
    first = next(i for i, t in enumerate(tpr) if t >= 0.8)
    share = (0.8 - tpr[first - 1]) / (tpr[first] - tpr[first - 1])
    x, y = fpr[first - 1] + share * (fpr[first] - fpr[first - 1]), 0.8
    total = 0.0
    for right, up in zip(fpr[first:], tpr[first:], strict=True):
        total += (right - x) * (up + y) / 2
        x, y = right, up
    return total


def official_by_hand(labels, chances, weights, number):
    true, called = labels == number, chances[:, number] > 0.5

    def total(mask):
        return sum(w for w, m in zip(weights, mask, strict=True) if m)

    tp, fp = total(true & called), total(~true & called)
    fn, tn = total(true & ~called), total(~true & ~called)

    def over(part, whole):
        return part / whole if whole else 1.0

    return {
        "accuracy": (tp + tn) / (tp + tn + fp + fn),
        "sensitivity": over(tp, tp + fn),
        "specificity": over(tn, tn + fp),
        "dice": over(2 * tp, 2 * tp + fp + fn),
        "ppv": over(tp, tp + fp),
        "npv": over(tn, tn + fn),
        "auc": metrics.roc_auc_score(true, chances[:, number], sample_weight=weights),
        "auc_sens_80": area_at_80(true, chances[:, number], weights),
        "ap": metrics.average_precision_score(true, chances[:, number], sample_weight=weights),
    }


def balanced_by_hand(labels, chances, weights, classes):
    recalls = []
    for number in range(classes):
        rows = [i for i, label in enumerate(labels) if label == number and weights[i] > 0]
        if not rows:
            continue
        right = 0.0
        for i in rows:
            largest = [c for c in range(classes) if chances[i, c] == max(chances[i])]
            right += weights[i] * (largest == [number])
        recalls.append(right / sum(weights[i] for i in rows))
    return sum(recalls) / len(recalls)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weighted", [False, True])
def test_official_figures_equal_scikit_learn_and_loops(seed, weighted):
    labels, chances, weights = random_case(seed, weighted=weighted)
    validation = np.roll(weights, 1)
    found = score(truth_of(np.eye(4)[labels], weights, validation), chances)
    for number, name in enumerate("ABCD"):
        expected = official_by_hand(labels, chances, weights, number)
        assert list(found.per_class[name]) == OFFICIAL
        assert found.per_class[name] == pytest.approx(expected)
    for figure in OFFICIAL:
        mean = np.mean([found.per_class[name][figure] for name in "ABCD"])
        assert found.macro_average[figure] == pytest.approx(mean)
    assert found.balanced_accuracy == pytest.approx(balanced_by_hand(labels, chances, weights, 4))
    assert found.validation == pytest.approx(balanced_by_hand(labels, chances, validation, 4))


def test_balanced_accuracy_without_ties_is_scikit_learns():
    rng = np.random.default_rng(1)
    labels, chances = rng.integers(0, 5, size=90), rng.random((90, 5))
    value = balanced_accuracy(np.eye(5, dtype=bool)[labels], chances, np.ones(90))
    expected = metrics.balanced_accuracy_score(labels, chances.argmax(axis=1))
    assert value == pytest.approx(expected)


def test_one_half_is_not_positive():
    found = score(truth_of([[1, 0], [0, 1]]), np.array([[0.5, 0.4], [0.2, np.nextafter(0.5, 1)]]))
    assert found.per_class["A"]["sensitivity"] == 0.0
    assert found.per_class["B"]["sensitivity"] == 1.0
    assert found.corrected_per_class["A"]["sensitivity_argmax"] == 1.0


def test_undefined_ratios_are_one_and_corrected_ones_are_nan():
    """Nothing reaches 0.5: precision is 1.0 officially, and lifts the macro average."""
    truth = truth_of([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    found = score(truth, np.full((3, 3), 1 / 3))
    for name in "ABC":
        assert found.per_class[name]["ppv"] == 1.0
        assert math.isnan(found.corrected_per_class[name]["ppv_or_nan"])
        assert found.per_class[name]["sensitivity"] == 0.0
    assert found.macro_average["ppv"] == 1.0
    assert math.isnan(found.corrected_macro_average["ppv_or_nan"])
    assert "A: undefined and officially 1.0: ppv" in found.remarks
    everything = score(truth_of([[1], [0]]), np.array([[0.9], [0.8]]))
    assert everything.per_class["A"]["npv"] == 1.0
    assert math.isnan(everything.corrected_per_class["A"]["npv_or_nan"])


def test_ties_are_undecided_and_wrong():
    """The toy of the specification: 0.667 instead of 1.0; shared, the tie is worth a half."""
    truth = truth_of([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    chances = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.45, 0.45]])
    found = score(truth, chances)
    assert found.balanced_accuracy == pytest.approx(2 / 3)
    assert found.corrected["balanced_accuracy_ties_shared"] == pytest.approx(2.5 / 3)
    assert "1 images with equal largest probabilities officially count as wrong" in found.remarks
    assert found.corrected_per_class["B"]["ppv_argmax"] == pytest.approx(1 / 1.5)
    assert found.corrected_per_class["B"]["specificity_argmax"] == pytest.approx(1.5 / 2)


def test_classes_without_images_are_skipped_in_balanced_accuracy():
    truth = truth_of([[1, 0, 0], [0, 1, 0], [1, 0, 0]])
    chances = np.array([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    found = score(truth, chances)
    assert found.balanced_accuracy == pytest.approx(0.75)
    absent = found.per_class["C"]
    assert absent["sensitivity"] == 1.0
    assert absent["specificity"] == pytest.approx(2 / 3)
    assert absent["ap"] == 0.0
    assert math.isnan(absent["auc"])
    assert math.isnan(absent["auc_sens_80"])
    assert math.isnan(found.corrected_per_class["C"]["ap_or_nan"])
    assert "C: no true images; the official code stops with an error here" in found.remarks
    # The AUC that is nan is left out of the mean.
    others = np.mean([found.per_class[name]["auc"] for name in "AB"])
    assert found.macro_average["auc"] == pytest.approx(others)


def test_a_class_that_all_images_have():
    found = score(truth_of([[1, 0], [1, 0]]), np.array([[0.9, 0.1], [0.4, 0.6]]))
    assert found.per_class["A"]["specificity"] == 1.0
    assert found.per_class["A"]["ap"] == 1.0
    assert math.isnan(found.per_class["A"]["auc"])
    assert "A: all images are true; auc and auc_sens_80 are nan" in found.remarks


def test_the_two_partial_areas():
    truth = truth_of([[0], [0], [1], [1]])
    perfect = score(truth, np.array([[0.2], [0.4], [0.6], [0.8]]))
    assert perfect.per_class["A"]["auc_sens_80"] == pytest.approx(1.0)
    assert perfect.corrected_per_class["A"]["pauc_above_tpr_80"] == pytest.approx(0.2)
    constant = score(truth, np.full((4, 1), 0.5))
    assert constant.per_class["A"]["auc_sens_80"] == pytest.approx(0.18)
    assert constant.corrected_per_class["A"]["pauc_above_tpr_80"] == pytest.approx(0.02)


def test_nevi_of_2017_are_not_in_the_official_balanced_accuracy():
    """Two columns, both 0 for a nevus: only the corrected figure sees that nevi were missed."""
    truth = truth_of([[1, 0], [0, 1], [0, 0], [0, 0]], classes=["melanoma", "keratosis"])
    chances = np.array([[0.8, 0.1], [0.1, 0.8], [0.6, 0.1], [0.2, 0.1]])
    found = score(truth, chances)
    assert found.balanced_accuracy == 1.0
    assert found.corrected["balanced_accuracy_ties_shared"] == 1.0
    assert found.corrected["balanced_accuracy_with_rest"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert "2 images without a class column are not in balanced_accuracy" in found.remarks
    assert found.corrected_per_class["melanoma"]["specificity_argmax"] == pytest.approx(2 / 3)
    with_all = score(truth_of(np.eye(2)), np.eye(2) * 0.6)
    assert "balanced_accuracy_with_rest" not in with_all.corrected


def test_one_column_makes_balanced_accuracy_one():
    truth = truth_of([[1], [0], [0]])
    found = score(truth, np.array([[0.1], [0.9], [0.2]]))
    assert found.balanced_accuracy == 1.0
    assert found.corrected["balanced_accuracy_with_rest"] == pytest.approx((0 + 0.5) / 2)
    remark = "with one class column balanced_accuracy is 1.0 whatever was predicted"
    assert remark in found.remarks


def test_an_image_with_two_classes_is_in_no_balanced_accuracy():
    truth = truth_of([[1, 1], [1, 0], [0, 1]])
    found = score(truth, np.array([[0.1, 0.2], [0.9, 0.1], [0.9, 0.1]]))
    assert found.balanced_accuracy == 0.5
    assert found.corrected["balanced_accuracy_ties_shared"] == 0.5
    assert found.per_class["A"]["sensitivity"] == 0.5


def test_weights_repeat_images_and_zero_takes_them_out():
    labels, chances, weights = random_case(7, count=40, weighted=True)
    rows = np.repeat(np.arange(40), weights.astype(int))
    weighted = score(truth_of(np.eye(4)[labels], weights), chances)
    repeated = score(truth_of(np.eye(4)[labels[rows]]), chances[rows])
    for name in "ABCD":
        assert weighted.per_class[name] == pytest.approx(repeated.per_class[name])
        own, other = weighted.corrected_per_class[name], repeated.corrected_per_class[name]
        assert own == pytest.approx(other, nan_ok=True)
    assert weighted.balanced_accuracy == pytest.approx(repeated.balanced_accuracy)
    assert weighted.corrected == pytest.approx(repeated.corrected)


def test_order_of_images_does_not_matter():
    labels, chances, _ = random_case(8)
    order = np.random.default_rng(0).permutation(len(labels))
    first = score(truth_of(np.eye(4)[labels]), chances).as_dict()
    again = score(truth_of(np.eye(4)[labels[order]]), chances[order]).as_dict()
    for name in "ABCD":
        assert again["per_class"][name] == pytest.approx(first["per_class"][name])
    assert again["balanced_accuracy"] == pytest.approx(first["balanced_accuracy"])


def test_files_in_figures_out_and_the_ignored_image(tmp_path):
    truth, said = tmp_path / "truth.csv", tmp_path / "said.csv"
    truth.write_text(
        "image,MEL,NV\nISIC_0000001,1.0,0.0\nISIC_0000002,0.0,1.0\nISIC_0035068,1.0,0.0\n"
    )
    names = ["ISIC_0035068", "ISIC_0000002", "ISIC_0000001.jpg"]
    write_submission(said, names, ["MEL", "NV"], np.array([[0.0, 1.0], [0.1, 0.9], [0.9, 0.1]]))
    found = score_files(truth, said)
    assert found.balanced_accuracy == 1.0
    assert found.validation == 1.0
    assert found.per_class["MEL"] == dict.fromkeys(OFFICIAL, 1.0)
    assert found.remarks == ["ISIC_0035068 has weight 0, as in the official scoring"]
    json.dumps(found.as_dict())


def test_mistakes_are_named():
    with pytest.raises(UserError, match=r"^score_weight must be above 0 for at least one image"):
        score(truth_of([[1, 0]], weights=[0]), np.array([[0.5, 0.5]]))
    with pytest.raises(UserError, match=r"^probabilities must be in \[0, 1\]"):
        score(truth_of([[1, 0]]), np.array([[0.5, 1.5]]))
    with pytest.raises(UserError, match=r"^probabilities must be \(1, 2\), got \(1, 3\)"):
        score(truth_of([[1, 0]]), np.zeros((1, 3)))
