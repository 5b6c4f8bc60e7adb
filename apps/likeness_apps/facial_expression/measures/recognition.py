"""What confusion matrices tell beyond the shared figures.

Legend: N pictures, C classes; `...` any leading shape (replicates of a bootstrap, say). Rows of a
matrix are the truth, columns the answers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from likeness.evaluation import resampling
from likeness.evaluation.classification import STATISTICS, mean_defined, ratio
from likeness.evaluation.intervals import confusion_sums
from likeness.evaluation.resampling import Bootstrap, Statistic
from likeness.evaluation.values import MetricValue, plain
from likeness_apps.shell.measure import Answers

HARMONIC = "harmonic_macro_precision_recall"
NONE_ABSENT = "Every class of the model has pictures."
OF_CLASSES = ("overall_accuracy", "average_accuracy", "macro_f1")


def macro_precision(counts: Shaped[np.ndarray, "... C C"]) -> Float[np.ndarray, " ..."]:
    """Mean precision over the classes in truth or answers; 0 for a class that is never answered."""
    return _macro(counts, counts.sum(axis=-2))


def harmonic_macro_precision_recall(
    counts: Shaped[np.ndarray, "... C C"],
) -> Float[np.ndarray, " ..."]:
    """Harmonic mean of macro precision and macro recall: what the first author's notebooks call F1.

    It is not macro-F1, the mean of the classes' own harmonic means, and is here for comparison
    only. Both means are taken over the classes in truth or answers, an empty ratio counts as 0
    (scikit-learn's default; which one the notebooks took is UNCONFIRMED). 0 if nothing is right.
    """
    precision, recall = macro_precision(counts), _macro(counts, counts.sum(axis=-1))
    found = ratio(2 * precision * recall, precision + recall)
    return np.where(precision + recall == 0, 0.0, found)


def recognition(answers: Answers, bootstrap: Bootstrap) -> dict[str, Any]:
    """macro_precision, harmonic_macro_precision_recall, and recall by class, with intervals."""
    truth_N, classes = answers.truth_N, answers.classes
    said_N, count = next(iter(answers.readouts.values())), len(answers.classes)
    support_C = np.bincount(truth_N, minlength=count)
    there = np.flatnonzero(support_C).tolist()
    statistics = {
        "macro_precision": _of_cells(macro_precision, count),
        HARMONIC: _of_cells(harmonic_macro_precision_recall, count),
        **{classes[label]: _of_cells(partial(_recall, label=label), count) for label in there},
    }
    sums = confusion_sums(truth_N, said_N, count, answers.groups_N)
    found = resampling.intervals(sums, statistics, bootstrap)
    occur = len(np.union1d(truth_N, said_N))
    figures = {
        name: found[name].on(MetricValue(found[name].value, occur)).as_dict()
        for name in ("macro_precision", HARMONIC)
    }
    recall = {
        classes[label]: found[classes[label]]
        .on(MetricValue(found[classes[label]].value, int(support_C[label])))
        .as_dict()
        for label in there
    }
    return {**figures, "recall": recall}


def absent_classes(answers: Answers, bootstrap: Bootstrap) -> dict[str, Any]:
    """What it does that the model knows classes of which there is no picture.

    The shared figures leave such answers as they are: wrong. `renormalised` takes these classes
    away from the model, as if it had been trained without them: the most probable of the others is
    its answer, which needs probabilities.

    Returns:
        classes, answers (how many) and renormalised, or a reason.
    """
    count, truth_N = len(answers.classes), answers.truth_N
    there = np.unique(truth_N)
    absent = np.setdiff1d(np.arange(count), there)
    if not len(absent):
        return {"reason": NONE_ABSENT}
    said_N = next(iter(answers.readouts.values()))
    facts: dict[str, Any] = {
        "classes": [answers.classes[label] for label in absent],
        "answers": int(np.isin(said_N, absent).sum()),
    }
    if answers.probabilities_NC is None:
        return facts | {"reason": "The answers hold labels but no probabilities."}
    left_N = answers.probabilities_NC[:, there].argmax(axis=1)
    sums = confusion_sums(np.searchsorted(there, truth_N), left_N, len(there), answers.groups_N)
    statistics = {name: _of_cells(STATISTICS[name], len(there)) for name in OF_CLASSES}
    found = resampling.intervals(sums, statistics, bootstrap)
    counts = {"overall_accuracy": len(truth_N)}
    values = {
        name: one.on(MetricValue(one.value, counts.get(name, len(there))))
        for name, one in found.items()
    }
    return facts | {"renormalised": plain(values)}


def _of_cells(statistic: Callable[[np.ndarray], np.ndarray], count: int) -> Statistic:
    return lambda sums: statistic(sums.reshape(-1, count, count))


def _macro(counts: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Mean of right / whole over the classes in truth or answers; an empty ratio is 0."""
    right = np.einsum("...ii->...i", counts)
    occurs = counts.sum(axis=-1) + counts.sum(axis=-2) > 0
    shares = np.nan_to_num(ratio(right, whole))
    return mean_defined(np.where(occurs, shares, np.nan))


def _recall(counts: np.ndarray, label: int) -> np.ndarray:
    return ratio(counts[..., label, label], counts[..., label, :].sum(axis=-1))
