"""Two models on the same pictures: paired differences of the field's figures.

Legend: N pictures, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from likeness.evaluation import resampling
from likeness.evaluation.classification import average_accuracy, cohens_kappa, macro_f1
from likeness.evaluation.intervals import confusion_sums
from likeness.evaluation.resampling import DEFAULT, Bootstrap, Statistic
from likeness_apps.facial_expression.measures.recognition import (
    HARMONIC,
    harmonic_macro_precision_recall,
    macro_precision,
)

COMPARED = {
    "average_accuracy": average_accuracy,
    "macro_f1": macro_f1,
    "kappa": cohens_kappa,
    "macro_precision": macro_precision,
    HARMONIC: harmonic_macro_precision_recall,
}


def expression_differences(
    truth_N: Int[np.ndarray, " N"],
    classes: Sequence[str],
    probabilities_a_NC: Float[np.ndarray, "N C"],
    probabilities_b_NC: Float[np.ndarray, "N C"],
    groups_N: Shaped[np.ndarray, " N"],
    *,
    bootstrap: Bootstrap = DEFAULT,
) -> dict[str, dict[str, Any]]:
    """A minus B of the figures of `COMPARED`, of the most probable class of either.

    Figures that are means over pictures (accuracy, KL to the votes) `compare` pairs itself.
    p-values are of single figures: whoever shows several corrects them, as `compare` does.

    Args:
        truth_N: class numbers.
        classes: C names.
        probabilities_a_NC: of model A.
        probabilities_b_NC: of model B, for the same pictures.
        groups_N: subject, or picture; every replicate draws the same groups for both.
        bootstrap: replicates, seed, level.

    Returns:
        Figure -> the fields of `Interval`, with `a` and `b`, the figure of either; None where it is
        undefined.
    """
    count = len(classes)

    def of_cells(sums: np.ndarray, name: str) -> np.ndarray:
        return np.asarray(COMPARED[name](sums.reshape(-1, count, count)))

    def statistic(name: str) -> Statistic:
        return lambda sums: of_cells(sums, name)

    statistics = {name: statistic(name) for name in COMPARED}
    a, b = (
        confusion_sums(truth_N, given_NC.argmax(axis=1), count, groups_N)
        for given_NC in (probabilities_a_NC, probabilities_b_NC)
    )
    found = resampling.paired_differences(a, b, statistics, bootstrap)
    sides = {"a": a, "b": b}
    rows = {}
    for name, difference in found.items():
        values = {
            side: float(statistics[name](np.asarray(sums.sum(axis=0)).reshape(1, -1))[0])
            for side, sums in sides.items()
        }
        defined = {side: None if np.isnan(value) else value for side, value in values.items()}
        rows[name] = asdict(difference) | defined
    return rows
