"""The figures of the official ISIC challenge scoring, and honest ones where its rules surprise.

The official rules (`isic-challenge-scoring`, read in its source):

- each class against all others; an image is called positive where p > 0.5, strictly;
- an undefined ratio is 1.0: precision where nothing is called positive, say;
- average precision of a class without true images is 0.0 (scikit-learn's convention);
- `macro_average` is the mean over classes; an AUC that is nan is left out of it;
- `balanced_accuracy` is the mean over classes of the share of its images whose largest probability
  is that class's; equal largest probabilities are "undecided" and wrong; images whose truth has no
  column (nevi of ISIC 2017), and classes without images, are left out. With a single class
  column it is 1.0 whatever was predicted.
- where a class has no true image the official code stops with an error; here `auc` and
  `auc_sens_80` are nan.

Names of the corrected figures say what differs: `_or_nan` (undefined is undefined and left out of
the mean), `_argmax` (the most probable class instead of p > 0.5), `_ties_shared` (an image with k
equal largest probabilities counts 1/k for each), `_with_rest` (images without a class are a class
of their own, with probability 1 - sum of the others, at least 0).

Legend: N images, C classes, K classes with the rest.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from likeness.errors import require
from likeness.evaluation.classification import mean_defined, ratio
from likeness.evaluation.roc import (
    auc_sens_floor,
    average_precision,
    pauc_above_tpr,
    prevalence,
    roc_auc,
)
from likeness_apps.skin_lesion.isic.tables import IsicTruth, read_submission, read_truth

FLOOR = 0.8  # sensitivity at which the official partial area begins
RATIOS = ("sensitivity", "specificity", "dice", "ppv", "npv")


@dataclass(frozen=True)
class IsicScore:
    """Figures by official rules and corrected ones.

    Attributes:
        per_class: class -> official figure -> value: accuracy, sensitivity, specificity, dice, ppv,
            npv, auc, auc_sens_80, ap.
        macro_average: their means over classes.
        balanced_accuracy: the official multi-class figure ("overall").
        validation: the same with the validation weights.
        corrected_per_class: class -> corrected figure -> value; also pauc_above_tpr_<floor> (and
            auc_sens_<floor> where the floor is not the official one), prevalence and positives
            (both weighted).
        corrected_macro_average: their means over the classes where they are defined.
        corrected: balanced_accuracy_ties_shared, and balanced_accuracy_with_rest if images without
            a class occur.
        remarks: where an odd rule took effect, one sentence each.
        floor: sensitivity at which the partial areas of `corrected_per_class` begin.
    """

    per_class: dict[str, dict[str, float]]
    macro_average: dict[str, float]
    balanced_accuracy: float
    validation: float
    corrected_per_class: dict[str, dict[str, float]]
    corrected_macro_average: dict[str, float]
    corrected: dict[str, float]
    remarks: list[str]
    floor: float = FLOOR

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def score_files(truth: Path, predictions: Path, *, floor: float = FLOOR) -> IsicScore:
    """Score a submission against a table of truth.

    Raises:
        UserError: as `read_truth`, `read_submission` and `score`.
    """
    true = read_truth(truth)
    return score(true, read_submission(predictions, true.names, true.classes), floor=floor)


def score(
    truth: IsicTruth, probabilities_NC: Float[np.ndarray, "N C"], *, floor: float = FLOOR
) -> IsicScore:
    """Score probabilities in the order of the truth's images and classes.

    Args:
        truth: N images, C classes.
        probabilities_NC: in [0, 1]; rows need not sum to 1.
        floor: sensitivity in (0, 1) at which the corrected partial areas begin; the official one
            begins at 0.8 whatever it is.

    Raises:
        UserError: if the shapes differ, a number is out of range, or all weights are 0.
    """
    require(0 < floor < 1, "floor", "in (0, 1)", floor)
    shape, weights_N = truth.truth_NC.shape, truth.score_weight_N
    require(probabilities_NC.shape == shape, "probabilities", f"{shape}", probabilities_NC.shape)
    inside = bool(((probabilities_NC >= 0) & (probabilities_NC <= 1)).all())
    require(inside, "probabilities", "in [0, 1]", "others")
    require(weights_N.sum() > 0, "score_weight", "above 0 for at least one image", 0.0)
    columns = list(zip(truth.classes, truth.truth_NC.T, probabilities_NC.T, strict=True))
    honest = {name: _honest(true_N, p_N, weights_N) for name, true_N, p_N in columns}
    areas = {name: _partial_areas(true_N, p_N, weights_N, floor) for name, true_N, p_N in columns}
    official = {name: _official(figures) for name, figures in honest.items()}
    corrected = {name: _corrected(figures) | areas[name] for name, figures in honest.items()}
    by_argmax, balanced = _argmax_figures(truth, probabilities_NC)
    for name in truth.classes:
        corrected[name] |= by_argmax[name]
    return IsicScore(
        per_class=official,
        macro_average=_means(official),
        balanced_accuracy=balanced_accuracy(truth.truth_NC, probabilities_NC, weights_N),
        validation=balanced_accuracy(truth.truth_NC, probabilities_NC, truth.validation_weight_N),
        corrected_per_class=corrected,
        corrected_macro_average=_means(corrected),
        corrected=balanced,
        remarks=[*truth.notes, *_remarks(truth, probabilities_NC, honest)],
        floor=floor,
    )


def balanced_accuracy(
    truth_NC: Bool[np.ndarray, "N C"],
    probabilities_NC: Float[np.ndarray, "N C"],
    weights_N: Float[np.ndarray, " N"],
) -> float:
    """The official multi-class figure; nan if no class has images with weight."""
    true_NC, said_NC = (_only_largest(values) for values in (truth_NC, probabilities_NC))
    right_C = weights_N @ (true_NC & said_NC)
    return float(mean_defined(ratio(right_C, weights_N @ true_NC)))


def _honest(true_N: np.ndarray, p_N: np.ndarray, weights_N: np.ndarray) -> dict[str, float]:
    """All figures of one class against the others, nan where undefined."""
    called_N = p_N > 0.5
    tp, fp = (float(weights_N[called_N & of].sum()) for of in (true_N, ~true_N))
    fn, tn = (float(weights_N[~called_N & of].sum()) for of in (true_N, ~true_N))
    return {
        "accuracy": _share(tp + tn, tp + tn + fp + fn),
        "sensitivity": _share(tp, tp + fn),
        "specificity": _share(tn, tn + fp),
        "dice": _share(2 * tp, 2 * tp + fp + fn),
        "ppv": _share(tp, tp + fp),
        "npv": _share(tn, tn + fn),
        "auc": roc_auc(true_N, p_N, weights_N),
        "auc_sens_80": auc_sens_floor(true_N, p_N, FLOOR, weights_N),
        "ap": average_precision(true_N, p_N, weights_N),
        "prevalence": prevalence(true_N, weights_N),
        "positives": tp + fn,
    }


def _official(honest: dict[str, float]) -> dict[str, float]:
    """The official figures: undefined ratios are 1.0, an undefined average precision is 0.0."""
    found = {}
    for name in ("accuracy", *RATIOS, "auc", "auc_sens_80", "ap"):
        instead = 1.0 if name in RATIOS else 0.0 if name == "ap" else float("nan")
        found[name] = instead if np.isnan(honest[name]) else honest[name]
    return found


def _corrected(honest: dict[str, float]) -> dict[str, float]:
    found = {f"{name}_or_nan": honest[name] for name in (*RATIOS, "ap")}
    return found | {name: honest[name] for name in ("prevalence", "positives")}


def _partial_areas(
    true_N: np.ndarray, p_N: np.ndarray, weights_N: np.ndarray, floor: float
) -> dict[str, float]:
    """Both areas with their floor in the name; the one to the axis is official at 0.8."""
    share = f"{100 * floor:g}"
    found = {f"pauc_above_tpr_{share}": pauc_above_tpr(true_N, p_N, floor, weights_N)}
    if floor != FLOOR:
        found[f"auc_sens_{share}"] = auc_sens_floor(true_N, p_N, floor, weights_N)
    return found


def _argmax_figures(
    truth: IsicTruth, probabilities_NC: np.ndarray
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Figures of the most probable class, ties shared: per class, and their balanced accuracy."""
    weights_N = truth.score_weight_N
    shared_CC = _shared_confusion(truth.truth_NC, probabilities_NC, weights_N)
    balanced = {"balanced_accuracy_ties_shared": _mean_recall(shared_CC)}
    rest_N = ~truth.truth_NC.any(axis=1)
    if weights_N[rest_N].sum() > 0:
        left_N = np.maximum(1 - probabilities_NC.sum(axis=1), 0)
        truth_NK = np.column_stack([truth.truth_NC, rest_N])
        with_rest_NK = np.column_stack([probabilities_NC, left_N])
        shared_CC = _shared_confusion(truth_NK, with_rest_NK, weights_N)
        balanced["balanced_accuracy_with_rest"] = _mean_recall(shared_CC)
    right, true, said = np.diag(shared_CC), shared_CC.sum(axis=1), shared_CC.sum(axis=0)
    total = float(shared_CC.sum())
    figures = {
        "sensitivity_argmax": ratio(right, true),
        "specificity_argmax": ratio(total - true - said + right, total - true),
        "ppv_argmax": ratio(right, said),
    }
    per_class = {
        name: {figure: float(values[number]) for figure, values in figures.items()}
        for number, name in enumerate(truth.classes)
    }
    return per_class, balanced


def _shared_confusion(
    truth_NK: np.ndarray, probabilities_NK: np.ndarray, weights_N: np.ndarray
) -> np.ndarray:
    """Weight by truth (rows) and largest probability (columns), of images with one class."""
    largest_NK = probabilities_NK == probabilities_NK.max(axis=1, keepdims=True)
    share_NK = largest_NK / largest_NK.sum(axis=1, keepdims=True)
    counted_N = np.where(truth_NK.sum(axis=1) == 1, weights_N, 0.0)
    return np.asarray((truth_NK * counted_N[:, None]).T @ share_NK)


def _mean_recall(confusion: np.ndarray) -> float:
    return float(mean_defined(ratio(np.diag(confusion), confusion.sum(axis=1))))


def _only_largest(values_NC: np.ndarray) -> np.ndarray:
    """True at the largest value of a row, nowhere if several are."""
    largest_NC = values_NC == values_NC.max(axis=1, keepdims=True)
    return np.asarray(largest_NC & (largest_NC.sum(axis=1, keepdims=True) == 1))


def _means(per_class: dict[str, dict[str, float]]) -> dict[str, float]:
    """Mean over the classes where a figure is defined."""
    names = next(iter(per_class.values()))
    return {
        name: float(mean_defined(np.array([figures[name] for figures in per_class.values()])))
        for name in names
    }


def _remarks(
    truth: IsicTruth, probabilities_NC: np.ndarray, honest: dict[str, dict[str, float]]
) -> list[str]:
    """One sentence for every rule that took effect."""
    counted_N = truth.score_weight_N > 0
    found = []
    for name, figures in honest.items():
        undefined = [figure for figure in RATIOS if np.isnan(figures[figure])]
        if undefined:
            found.append(f"{name}: undefined and officially 1.0: {', '.join(undefined)}")
        if figures["positives"] == 0:
            found.append(f"{name}: no true images; the official code stops with an error here")
        elif np.isnan(figures["auc"]):
            found.append(f"{name}: all images are true; auc and auc_sens_80 are nan")
    one_N = truth.truth_NC.sum(axis=1) == 1
    tied_N = ~_only_largest(probabilities_NC).any(axis=1)
    if tied := int((tied_N & one_N & counted_N).sum()):
        found.append(f"{tied} images with equal largest probabilities officially count as wrong")
    if left_out := int((~truth.truth_NC.any(axis=1) & counted_N).sum()):
        found.append(f"{left_out} images without a class column are not in balanced_accuracy")
    if several := int(((truth.truth_NC.sum(axis=1) > 1) & counted_N).sum()):
        found.append(f"{several} images with several classes are in no balanced accuracy")
    if len(truth.classes) == 1:
        found.append("with one class column balanced_accuracy is 1.0 whatever was predicted")
    return found


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
