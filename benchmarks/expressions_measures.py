"""The figures of the experiment on displayed expressions, from what was said of each test picture.

`expressions_answers.answers` says what items are. Every figure but the calibration error is a
statistic of sums over items, so that groups can be resampled (`likeness.evaluation.resampling`).

Legend: N pictures, C classes, in the order of a model's numbers, G groups, R replicates.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from scipy.special import rel_entr

from likeness.evaluation.classification import mean_defined, ratio
from likeness.evaluation.intervals import cell_statistics, confusion_sums
from likeness.evaluation.resampling import Sums, group_sums
from likeness_apps.facial_expression.expressions import EXPRESSIONS
from likeness_apps.facial_expression.votes import human_agreement, votes_of
from skin_lesions_measures import calibration_error, confusion_of, numbers, probabilities, value_of
from summaries import Measure, mean_of

CLASSES = tuple(sorted(EXPRESSIONS))
OTHER_READOUTS = ("nearest_centre", "gaussian", "nearest_subclass", "knn")
_RECOGNITION = {  # column -> title, name in `likeness.evaluation.classification`
    "accuracy": ("accuracy", "overall_accuracy"),
    "balanced_accuracy": ("balanced accuracy", "average_accuracy"),
    "macro_f1": ("macro-F1", "macro_f1"),
}
VOTES = {
    "kl": mean_of("KL to the votes", "kl"),
    "kl_as_said": mean_of("KL, calibrated on labels", "kl_as_said"),
}
RANKINGS = {
    "map_at_r": mean_of("MAP@R", "map@r"),
    "recall_at_1": mean_of("R@1", "recall@1"),
    "map_at_r_cosine": mean_of("MAP@R by the cosine", "map@r_cosine"),
}
FIGURES = (*_RECOGNITION, "ece", *VOTES, *RANKINGS)


def recognition(readout: str = "") -> dict[str, Measure]:
    """Accuracy, balanced accuracy and macro-F1, by the name of their column.

    Args:
        readout: one of `OTHER_READOUTS`; "" for what the model says, its most probable class.
    """
    confusion = partial(confusion_of, classes=CLASSES)
    if readout:
        confusion = partial(confusion_of_labels, column=f"said_{readout}")
    known = cell_statistics(len(CLASSES))
    return {
        column: Measure(title, confusion, known[name])
        for column, (title, name) in _RECOGNITION.items()
    }


def confusion_of_labels(items: pd.DataFrame, column: str) -> Sums:
    """The confusion matrix of each group, of the labels in a column."""
    said_N = np.array([CLASSES.index(label) for label in items[column]])
    groups_N = items["group"].to_numpy(dtype=str)
    return confusion_sums(numbers(items, CLASSES), said_N, len(CLASSES), groups_N)


def figures(items: pd.DataFrame) -> dict[str, float]:
    """All figures of one run, by the name of their column."""
    known = {**recognition(), **VOTES, **RANKINGS}
    items = completed(items)
    found = {name: round(value_of(measure, items), 6) for name, measure in known.items()}
    return found | {"ece": round(calibration_error(items, CLASSES), 6)}


def completed(items: pd.DataFrame) -> pd.DataFrame:
    """Items with kl_as_said, the divergence of the probabilities as they are."""
    votes_NC = items[[f"votes_{name}" for name in CLASSES]].to_numpy(np.int64)
    return items.assign(kl_as_said=kl_to_votes(votes_NC, probabilities(items, CLASSES)))


def kl_to_votes(votes_NC: np.ndarray, said_NC: np.ndarray) -> np.ndarray:
    """The divergence sum q log(q / p) of each picture in nats: votes q, probabilities p.

    q are shares of the votes for the classes. A p of 0 counts as the least number of float32.
    """
    shares_NC = votes_NC / votes_NC.sum(axis=1, keepdims=True)
    least = float(np.finfo(np.float32).tiny)
    return np.asarray(rel_entr(shares_NC, np.maximum(said_NC, least)).sum(axis=1))


def by_others(who: str) -> tuple[Measure, Measure]:
    """Accuracy and balanced accuracy where the label is that of all annotators but one.

    Args:
        who: `human`, the one who is left out, each annotator in turn; or `model`, judged likewise.
    """
    sums = partial(sums_by_others, who=who)
    return Measure("accuracy", sums, share_of_all), Measure("balanced accuracy", sums, mean_share)


def sums_by_others(items: pd.DataFrame, who: str) -> Sums:
    """How often each class was the others' label and somebody agreed, then how often it was it.

    Both in expectation, for each group: (G, 2 C). Nobody is asked where the others have no label.
    """
    order = [EXPRESSIONS.index(name) for name in CLASSES]
    found = human_agreement(votes_of(items))
    asked_NC, right_NC = found.asked_NC[:, order], found.agreed_NC[:, order]
    if who == "model":
        said_N = probabilities(items, CLASSES).argmax(axis=1)
        right_NC = asked_NC * np.eye(len(CLASSES))[said_N]
    return group_sums(np.hstack([right_NC, asked_NC]), items["group"].to_numpy(dtype=str))


def share_of_all(sums_RF: np.ndarray) -> np.ndarray:
    """Accuracy of `sums_by_others`."""
    right_RC, asked_RC = np.split(sums_RF, 2, axis=1)
    return ratio(right_RC.sum(axis=1), asked_RC.sum(axis=1))


def mean_share(sums_RF: np.ndarray) -> np.ndarray:
    """Balanced accuracy of `sums_by_others`, over the classes that were a label."""
    return mean_defined(ratio(*np.split(sums_RF, 2, axis=1)))
