"""A human at the model's task: one annotator against the others, and the model on the same labels.

The label of a picture is made of the votes of the very annotators that a human would be compared
with. So one is left out, the others give the label by our rule (`votes.judge`), and the one left
out is right or wrong; each annotator in turn, in expectation. The model is judged by these same
labels, which makes the two comparable: its figures here differ a little from those against the
label of all.

Legend: N pictures, C classes, A answers, G groups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from likeness.evaluation import resampling
from likeness.evaluation.classification import mean_defined, ratio
from likeness.evaluation.resampling import Bootstrap, Interval, Statistic
from likeness.evaluation.values import MetricValue
from likeness_apps.facial_expression import votes
from likeness_apps.facial_expression.expressions import EXPRESSIONS
from likeness_apps.facial_expression.measures.votes_figures import NO_VOTES
from likeness_apps.shell.measure import Answers

TOO_FEW = "No picture has the votes of two annotators."
FIGURES = ("overall_accuracy", "average_accuracy", "macro_f1")
# Blocks of C sums for each group: how often the others' label is the class, how often the human,
# and the model, agrees, and how often either gives the class.
_ASKED, _AGREED, _GIVEN, _HIT, _SAID = range(5)


def human_figures(answers: Answers, rows: pd.DataFrame, bootstrap: Bootstrap) -> dict[str, Any]:
    """Accuracy, balanced accuracy, macro-F1 and recall of one annotator and of the model.

    Args:
        answers: to N pictures.
        rows: of these, with the columns of `votes.COLUMNS` where the set has votes.
        bootstrap: replicates, seed, level; a difference is paired.

    Returns:
        pictures (with two votes at least), left_out, no_majority (in which share of the cases the
        others have no label among the classes; these count for nobody), human and model (figures
        and recall by class) and difference (model - human, with p_value); a reason without votes.
    """
    if not set(votes.COLUMNS) <= set(rows.columns) or not set(answers.classes) <= set(EXPRESSIONS):
        return {"reason": NO_VOTES}
    votes_NA = votes.votes_of(rows)
    kept_N = votes_NA.sum(axis=1) >= 2
    if not kept_N.any():
        return {"reason": TOO_FEW}
    classes, said_N = answers.classes, next(iter(answers.readouts.values()))[kept_N]
    found = votes.human_agreement(votes_NA[kept_N], classes)
    places = [EXPRESSIONS.index(name) for name in classes]
    asked_NC, agreed_NC = found.asked_NC[:, places], found.agreed_NC[:, places]
    said_NC = np.eye(len(classes))[said_N]
    blocks = {
        _ASKED: asked_NC,
        _AGREED: agreed_NC,
        _GIVEN: found.given_NA[:, places],
        _HIT: asked_NC * said_NC,
        _SAID: asked_NC.sum(axis=1, keepdims=True) * said_NC,
    }
    features_NF = np.hstack([blocks[place] for place in sorted(blocks)])
    sums_GF = resampling.group_sums(features_NF, answers.groups_N[kept_N])
    pictures = int(kept_N.sum())
    asked_C = asked_NC.sum(axis=0)
    there = {name: label for label, name in enumerate(classes) if asked_C[label] > 0}
    return {
        "pictures": pictures,
        "left_out": int((~kept_N).sum()),
        "no_majority": found.no_majority,
        **_compared(sums_GF, there, len(classes), pictures, bootstrap),
    }


def _compared(
    sums_GF: np.ndarray, there: dict[str, int], count: int, pictures: int, bootstrap: Bootstrap
) -> dict[str, Any]:
    """Both sides and their difference, all on the same draws."""
    human, model = _statistics(count, _AGREED, _GIVEN), _statistics(count, _HIT, _SAID)
    sides = {
        "human": human | {name: _recall_of(count, _AGREED, label) for name, label in there.items()},
        "model": model | {name: _recall_of(count, _HIT, label) for name, label in there.items()},
        "difference": {name: _less(model[name], human[name]) for name in FIGURES},
    }
    asked = {(side, name): one for side, named in sides.items() for name, one in named.items()}
    flat = {" ".join(key): one for key, one in asked.items()}
    drawn = resampling.intervals(sums_GF, flat, bootstrap, test_zero=True)
    found = {key: drawn[" ".join(key)] for key in asked}
    return {
        **{side: _side(found, side, there, pictures) for side in ("human", "model")},
        "difference": {
            name: {
                part: getattr(found["difference", name], part)
                for part in ("value", "low", "high", "p_value")
            }
            for name in FIGURES
        },
    }


def _side(
    found: Mapping[tuple[str, str], Interval], side: str, there: dict[str, int], pictures: int
) -> dict[str, Any]:
    """The figures of human or model, and recall by class."""

    def told(name: str) -> dict[str, Any]:
        one = found[side, name]
        return one.on(MetricValue(one.value, pictures)).as_dict()

    return {
        **{name: told(name) for name in FIGURES},
        "recall": {name: told(name) for name in there},
    }


def _statistics(count: int, right: int, given: int) -> dict[str, Statistic]:
    """`FIGURES` as functions of (R, 5 C) sums."""

    def accuracy(right_RC: np.ndarray, asked_RC: np.ndarray, _: np.ndarray) -> np.ndarray:
        return ratio(right_RC.sum(axis=1), asked_RC.sum(axis=1))

    def balanced(right_RC: np.ndarray, asked_RC: np.ndarray, _: np.ndarray) -> np.ndarray:
        return mean_defined(ratio(right_RC, asked_RC))

    def macro_f1(right_RC: np.ndarray, asked_RC: np.ndarray, given_RC: np.ndarray) -> np.ndarray:
        return mean_defined(ratio(2 * right_RC, asked_RC + given_RC))

    def on_blocks(figure: Callable[..., np.ndarray]) -> Statistic:
        def of_sums(sums_RF: np.ndarray) -> np.ndarray:
            blocks = [_block(sums_RF, place, count) for place in (right, _ASKED, given)]
            return figure(*blocks)

        return of_sums

    figures = (accuracy, balanced, macro_f1)
    return {name: on_blocks(figure) for name, figure in zip(FIGURES, figures, strict=True)}


def _recall_of(count: int, right: int, label: int) -> Statistic:
    def recall(sums_RF: np.ndarray) -> np.ndarray:
        asked_R = _block(sums_RF, _ASKED, count)[:, label]
        return ratio(_block(sums_RF, right, count)[:, label], asked_R)

    return recall


def _block(sums_RF: np.ndarray, place: int, count: int) -> np.ndarray:
    return sums_RF[:, place * count : (place + 1) * count]


def _less(first: Statistic, second: Statistic) -> Statistic:
    return lambda sums: first(sums) - second(sums)
