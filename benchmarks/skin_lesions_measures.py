"""The figures of the skin lesion experiments, from what was said of each test image.

Items are tables with image, group (lesion), truth and one column p_<class> for each class; those of
a network also have map@r and recall@1, and run (fold) where several are together. Every figure is a
statistic of sums over items, so that lesions can be resampled (`likeness.evaluation.resampling`).

Legend: N items, C classes, G groups, R replicates, F summed features.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from scipy import sparse

from likeness.evaluation.calibration import calibration
from likeness.evaluation.intervals import cell_statistics, confusion_sums
from likeness.evaluation.operating import Fixed, OperatingPoint, at_threshold, threshold_at
from likeness.evaluation.resampling import Sums, cell_sums
from likeness_apps.skin_lesion.diagnoses import DIAGNOSES
from summaries import BOOTSTRAP, Measure, mean_of

CLASSES = {
    "ham": ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"),
    "isic": ("melanoma", "nevus", "seborrheic_keratosis"),
}
TASKS: dict[str, dict[str, tuple[str, ...]]] = {  # study -> task -> its positive classes
    "ham": {
        "melanoma": ("mel",),
        "malignant": tuple(name for name in CLASSES["ham"] if DIAGNOSES[name].malignant),
    },
    "isic": {"melanoma": ("melanoma",), "keratosis": ("seborrheic_keratosis",)},
}
RANKINGS = {"map_at_r": ("MAP@R", "map@r"), "recall_at_1": ("R@1", "recall@1")}


def measures(study: str) -> dict[str, Measure]:
    """The figures of a study that read probabilities, by the name of their column."""
    classes = CLASSES[study]
    balanced = cell_statistics(len(classes))["average_accuracy"]
    confusion = partial(confusion_of, classes=classes)
    found = {"balanced_accuracy": Measure("balanced accuracy", confusion, balanced)}
    for task, positive in TASKS[study].items():
        ranked = partial(ranked_by_task, positive=positive)
        found[f"{task}_auc"] = Measure(f"{task} AUC", ranked, auc_of_ranks)
    each = partial(ranked_by_class, classes=classes)
    found["macro_auc"] = Measure("macro AUC", each, partial(mean_auc, classes=len(classes)))
    return found


def rankings() -> dict[str, Measure]:
    """The figures of a network's embeddings, by the name of their column."""
    return {name: mean_of(title, column) for name, (title, column) in RANKINGS.items()}


def value_of(measure: Measure, items: pd.DataFrame) -> float:
    """The figure of these items."""
    total_1F = np.asarray(measure.sums(items).sum(axis=0), dtype=np.float64).reshape(1, -1)
    return float(measure.statistic(total_1F)[0])


def figures(study: str, items: pd.DataFrame) -> dict[str, float]:
    """All figures of one run, by the name of their column."""
    known = {**measures(study), **rankings()}
    found = {name: round(value_of(measure, items), 6) for name, measure in known.items()}
    return found | {"ece": round(calibration_error(items, CLASSES[study]), 6)}


def calibration_error(items: pd.DataFrame, classes: Sequence[str]) -> float:
    """Expected calibration error of the most probable class, 15 bins."""
    return calibration(probabilities(items, classes), numbers(items, classes)).values["ece"].value


def probabilities(items: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """Of each class, (N, C), float64."""
    columns = [f"p_{name}" for name in classes]
    return np.asarray(items[columns], dtype=np.float64)


def numbers(items: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """The number of the true class of each item."""
    return np.array([list(classes).index(label) for label in items["truth"]])


def groups_of(items: pd.DataFrame) -> np.ndarray:
    """The lesion of each item."""
    return np.asarray(items["group"], dtype=str)


def task_scores(items: pd.DataFrame, positive: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Who is positive, and the summed probability of the positive classes."""
    return items["truth"].isin(positive).to_numpy(), probabilities(items, positive).sum(axis=1)


def confusion_of(items: pd.DataFrame, classes: Sequence[str]) -> Sums:
    """The confusion matrix of each group; the most probable class is what was said."""
    predicted_N = probabilities(items, classes).argmax(axis=1)
    return confusion_sums(numbers(items, classes), predicted_N, len(classes), groups_of(items))


def ranked_by_task(items: pd.DataFrame, positive: Sequence[str]) -> Sums:
    """`ranked_sums` of a task."""
    truth_N, scores_N = task_scores(items, positive)
    return ranked_sums(truth_N, scores_N, groups_of(items), places_of(truth_N))


def ranked_by_class(items: pd.DataFrame, classes: Sequence[str]) -> Sums:
    """`ranked_sums` of every class against all others, side by side and equally wide."""
    tasks = [task_scores(items, [name]) for name in classes]
    places = max(places_of(truth_N) for truth_N, _ in tasks)
    groups_N = groups_of(items)
    return sparse.hstack([ranked_sums(*task, groups_N, places) for task in tasks]).tocsr()


def places_of(positive_N: np.ndarray) -> int:
    """How many places of a ranking are enough, see `ranked_sums`: 2 (rarer class's items) + 1."""
    return 2 * int(min(positive_N.sum(), (~positive_N).sum())) + 1


def ranked_sums(
    positive_N: np.ndarray, scores_N: np.ndarray, groups_N: np.ndarray, places: int
) -> Sums:
    """How many positives, then negatives, each group has at each place of the ranking: (G, 2 P).

    Place 0 has the highest scores. Equal scores share a place, and so do neighbours of one class,
    on whose order no area depends.

    Args:
        positive_N: who is positive.
        scores_N: higher = more likely positive.
        groups_N: what is resampled.
        places: P, at least `places_of`.
    """
    _, ranks_N = np.unique(-scores_N, return_inverse=True)
    positive_P, negative_P = (
        np.bincount(ranks_N, chosen_N) > 0 for chosen_N in (positive_N, ~positive_N)
    )
    one_class_P = positive_P != negative_P
    goes_on = one_class_P[1:] & one_class_P[:-1] & (positive_P[1:] == positive_P[:-1])
    places_N = np.append(0, np.cumsum(~goes_on))[ranks_N]
    return cell_sums(places_N + np.where(positive_N, 0, places), groups_N, 2 * places)


def auc_of_ranks(sums_RF: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each row of `ranked_sums`; nan without one of the classes."""
    positive_RN, negative_RN = np.split(sums_RF, 2, axis=1)
    above_RN = positive_RN.cumsum(axis=1) - positive_RN / 2
    won_R = (negative_RN * above_RN).sum(axis=1)
    pairs_R = positive_RN.sum(axis=1) * negative_RN.sum(axis=1)
    undefined_R = np.full(len(sums_RF), np.nan)
    return np.asarray(np.divide(won_R, pairs_R, out=undefined_R, where=pairs_R > 0))


def mean_auc(sums_RF: np.ndarray, classes: int) -> np.ndarray:
    """Mean over the classes of the areas of `ranked_by_class`."""
    parts = np.split(sums_RF, classes, axis=1)
    return np.asarray(np.mean([auc_of_ranks(part) for part in parts], axis=0))


def out_of_fold_point(
    items: pd.DataFrame, positive: Sequence[str], fixed: Fixed, aim: float
) -> OperatingPoint:
    """Every image called by the threshold that all other folds chose; counts over all folds.

    Args:
        items: out-of-fold items of all folds, `run` is the fold.
        positive: the positive classes.
        fixed: the rate that the threshold is to hold.
        aim: its least value on the other folds.
    """
    truth_N, scores_N = task_scores(items, positive)
    called_N = np.zeros(len(items))
    for fold in items["run"].unique():
        other_N = (items["run"] != fold).to_numpy()
        threshold = threshold_at(truth_N[other_N], scores_N[other_N], fixed, aim)
        called_N[~other_N] = scores_N[~other_N] >= threshold
    return at_threshold(truth_N, called_N, 0.5, groups_of(items), bootstrap=BOOTSTRAP)
