"""Verification of listed pairs: are the two pictures of the same person, object or place?

The protocol of Labeled Faces in the Wild (Huang et al. 2007, view 2): the accuracy of each fold at
the threshold that is best on all other folds, and the mean over the folds. Scores are higher = more
alike. What is found where few impostors are accepted (TAR@FAR) is `open_set.verification`.

Legend: N pairs, F folds, D embedding dimension, T thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.stats import t as student

from likeness.errors import require
from likeness.evaluation.binary import discrimination
from likeness.evaluation.open_set import verification
from likeness.evaluation.pair_scores import count_scores
from likeness.evaluation.resampling import DEFAULT, Bootstrap
from likeness.evaluation.roc import checked_binary
from likeness.evaluation.values import MetricValue, plain

FALSE_ACCEPT_RATES = (0.0001, 0.001, 0.01)
LEVEL = 0.95  # of the interval over folds


@dataclass(frozen=True, eq=False)
class FoldAccuracy:
    """Accuracy by cross-validated thresholds.

    Attributes:
        value: the mean over the folds; the interval is Student's over folds, which are disjoint in
            people where the protocol is LFW's.
        standard_error: of that mean: deviation of the folds (n - 1) / sqrt(F), the "S_E" of LFW.
        folds_F: the names of the folds, ascending.
        accuracy_F: share of the pairs of each fold that are called rightly.
        threshold_F: of each fold, chosen on the others; a pair is called the same from there on.
        accepted_N: whether each pair was called the same.
    """

    value: MetricValue
    standard_error: float
    folds_F: Shaped[np.ndarray, " F"]
    accuracy_F: Float[np.ndarray, " F"]
    threshold_F: Float[np.ndarray, " F"]
    accepted_N: Bool[np.ndarray, " N"]


def fold_accuracy(
    same_N: Shaped[np.ndarray, " N"],
    scores_N: Shaped[np.ndarray, " N"],
    folds_N: Shaped[np.ndarray, " N"],
) -> FoldAccuracy:
    """The accuracy of every fold at the threshold that is best on all the others.

    Args:
        same_N: whether a pair is genuine: booleans, or 0 and 1.
        scores_N: finite, higher = more alike.
        folds_N: the fold of each pair.

    Raises:
        UserError: as `roc.roc_curve`, if there is one fold only, or folds do not count one per
            pair.
    """
    same, scores = checked_binary(same_N, scores_N)
    require(folds_N.shape == same.shape, "folds", f"{len(same)}, one per pair", folds_N.shape)
    folds_F = np.unique(folds_N)
    require(len(folds_F) >= 2, "folds", "at least two", len(folds_F))
    accepted_N = np.zeros(len(same), bool)
    threshold_F, accuracy_F = np.empty(len(folds_F)), np.empty(len(folds_F))
    for place, fold in enumerate(folds_F):
        held_N = folds_N == fold
        threshold_F[place] = best_threshold(same[~held_N], scores[~held_N])
        accepted_N[held_N] = scores[held_N] >= threshold_F[place]
        accuracy_F[place] = (accepted_N[held_N] == same[held_N]).mean()
    mean, error = float(accuracy_F.mean()), float(accuracy_F.std(ddof=1) / np.sqrt(len(folds_F)))
    reach = float(student.ppf((1 + LEVEL) / 2, len(folds_F) - 1)) * error
    value = MetricValue(mean, len(same), low=max(mean - reach, 0.0), high=min(mean + reach, 1.0))
    return FoldAccuracy(value, error, folds_F, accuracy_F, threshold_F, accepted_N)


def best_threshold(same_N: Shaped[np.ndarray, " N"], scores_N: Shaped[np.ndarray, " N"]) -> float:
    """The threshold of highest accuracy: half way between two neighbouring scores.

    Of equally good ones the highest, which accepts the fewest; -inf accepts everything and +inf
    nothing.

    Raises:
        UserError: as `roc.roc_curve`.
    """
    same, scores = checked_binary(same_N, scores_N)
    levels_T, place_N = np.unique(scores, return_inverse=True)
    genuine_T = np.bincount(place_N[same], minlength=len(levels_T))
    impostor_T = np.bincount(place_N[~same], minlength=len(levels_T))
    # Right calls with 0, 1, ... of the lowest levels rejected: impostors below, genuine above.
    below = np.append(0, np.cumsum(impostor_T))
    above = genuine_T.sum() - np.append(0, np.cumsum(genuine_T))
    right = below + above
    cut = len(right) - 1 - int(right[::-1].argmax())
    if cut in (0, len(levels_T)):
        return -np.inf if cut == 0 else np.inf
    return float(levels_T[cut - 1] + levels_T[cut]) / 2


def verification_figures(
    same_N: Shaped[np.ndarray, " N"],
    scores_N: Shaped[np.ndarray, " N"],
    folds_N: Shaped[np.ndarray, " N"],
    groups_N: Shaped[np.ndarray, " N"],
    *,
    aims: Sequence[float] = FALSE_ACCEPT_RATES,
    bootstrap: Bootstrap = DEFAULT,
) -> dict[str, Any]:
    """All figures of a list of pairs, as plain data for JSON.

    Args:
        same_N: whether a pair is genuine.
        scores_N: finite, higher = more alike.
        folds_N: the fold of each pair; with a single fold there is no accuracy, but a reason.
        groups_N: what the bootstrap of the other figures draws as a whole: the identity of the
            pair's first picture, say.
        aims: false accept rates, in (0, 1).
        bootstrap: replicates, seed, level.

    Returns:
        pairs (genuine, impostor, folds, groups), accuracy (the mean with its interval, the standard
        error and every fold) and verification (`roc_auc`, and TAR at each FAR as `tar_at_far`).

    Raises:
        UserError: as `fold_accuracy`, or if an aim is out of range.
    """
    same, scores = checked_binary(same_N, scores_N)
    points = verification(count_scores(same, scores, groups_N), aims, bootstrap)
    auc = discrimination(same, scores, groups_N, bootstrap=bootstrap)["roc_auc"]
    return {
        "pairs": {
            "genuine": int(same.sum()),
            "impostor": int((~same).sum()),
            "folds": len(np.unique(folds_N)),
            "groups": len(np.unique(groups_N)),
        },
        "accuracy": _accuracy(same, scores, folds_N),
        "verification": {
            **plain({"roc_auc": auc}),
            "tar_at_far": [point.as_dict() for point in points],
        },
    }


def _accuracy(same_N: np.ndarray, scores_N: np.ndarray, folds_N: np.ndarray) -> dict[str, Any]:
    if len(np.unique(folds_N)) < 2:
        return {"reason": "a threshold for each fold needs other folds to choose it on"}
    found = fold_accuracy(same_N, scores_N, folds_N)
    columns = (found.folds_F, found.accuracy_F, found.threshold_F)
    keys = ("fold", "accuracy", "threshold")
    return {
        "mean": found.value.as_dict(),
        "standard_error": found.standard_error,
        "folds": [
            dict(zip(keys, row, strict=True))
            for row in zip(*(column.tolist() for column in columns), strict=True)
        ],
    }
