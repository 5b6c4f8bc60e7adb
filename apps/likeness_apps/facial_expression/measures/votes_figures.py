"""Answers beside what annotators said of the same pictures.

Legend: N pictures, K of them with votes, C classes, A answers of the taggers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64
from scipy.special import xlogy

from likeness.errors import UserError
from likeness.evaluation import resampling
from likeness.evaluation.calibration import checked_probabilities
from likeness.evaluation.resampling import Bootstrap
from likeness.evaluation.values import MetricValue, plain
from likeness_apps.facial_expression import votes
from likeness_apps.facial_expression.expressions import EXPRESSIONS
from likeness_apps.shell.measure import Answers

NO_VOTES = "The set does not say how annotators voted on these classes."
NO_PROBABILITIES = "The answers hold labels but no probabilities."
PER_PICTURE = ("kl_to_votes", "said_by_one", "said_by_three")
_SMALLEST = float(np.finfo(np.float64).tiny)


def votes_figures(
    answers: Answers, rows: pd.DataFrame, bootstrap: Bootstrap
) -> tuple[dict[str, Any], pd.DataFrame]:
    """How far answers and probabilities are what the taggers said.

    Distributions are shares of all votes for one of the classes, as soft targets have them.
    Pictures without such a vote are left out.

    Args:
        answers: to N pictures.
        rows: of these, with the columns of `votes.COLUMNS` where the set has votes.
        bootstrap: replicates, seed, level.

    Returns:
        The figures, or a reason, and the columns of `PER_PICTURE` (none without votes):

        - pictures (K) and left_out;
        - kl: mean of sum_c q_c log(q_c / p_c), the votes q and the probabilities p, in nats, >= 0;
          soft_cross_entropy: mean of -sum_c q_c log p_c, which is kl + entropy; entropy: of the
          votes alone, what no model can come below. A p of 0 counts as 2.2e-308. reason without
          probabilities that sum to 1;
        - said_by_one, said_by_three: share of the pictures whose answer at least one, or three, of
          the taggers gave;
        - official: see `_official`.
    """
    if not set(votes.COLUMNS) <= set(rows.columns) or not set(answers.classes) <= set(EXPRESSIONS):
        return {"reason": NO_VOTES}, pd.DataFrame(index=range(len(rows)))
    votes_NA = votes.votes_of(rows)
    votes_NC = votes_NA[:, [EXPRESSIONS.index(name) for name in answers.classes]]
    kept_N = votes_NC.sum(axis=1) > 0
    columns = pd.DataFrame(dict.fromkeys(PER_PICTURE, np.nan), index=range(len(rows)))
    facts = {"pictures": int(kept_N.sum()), "left_out": int((~kept_N).sum())}
    if not kept_N.any():
        return {**facts, "reason": NO_VOTES}, columns
    said_N = next(iter(answers.readouts.values()))
    for_answer_N = votes_NC[np.arange(len(said_N)), said_N]
    values: dict[str, np.ndarray] = {
        "said_by_one": np.where(kept_N, for_answer_N >= 1, np.nan),
        "said_by_three": np.where(kept_N, for_answer_N >= 3, np.nan),
    }
    shares_NC = _shares(votes_NC)
    reason = ""
    try:
        values |= _distances(shares_NC, answers.probabilities_NC, kept_N)
    except UserError as error:
        reason = str(error)
    columns["kl_to_votes"] = values.get("kl", np.full(len(rows), np.nan))
    for name in ("said_by_one", "said_by_three"):
        columns[name] = values[name]
    figures = {**facts, **_means(values, answers.groups_N, bootstrap)}
    figures["official"] = _official(votes_NA, answers, bootstrap)
    return figures | ({"reason": reason} if reason else {}), columns


def _distances(
    shares_NC: Float[np.ndarray, "N C"], probabilities_NC: np.ndarray | None, kept_N: np.ndarray
) -> dict[str, Float[np.ndarray, " N"]]:
    """kl, soft_cross_entropy and entropy of each picture; nan where it does not count.

    Raises:
        UserError: if there are no probabilities, or they do not sum to 1.
    """
    if probabilities_NC is None:
        raise UserError(NO_PROBABILITIES)
    model_NC = np.maximum(checked_probabilities(probabilities_NC), _SMALLEST)
    cross_N = -(shares_NC * np.log(model_NC)).sum(axis=1)
    entropy_N = -xlogy(shares_NC, shares_NC).sum(axis=1)
    found = {"kl": cross_N - entropy_N, "soft_cross_entropy": cross_N, "entropy": entropy_N}
    return {name: np.where(kept_N, values_N, np.nan) for name, values_N in found.items()}


def _official(
    votes_NA: Int64[np.ndarray, "N A"], answers: Answers, bootstrap: Bootstrap
) -> dict[str, Any]:
    """The figures by the rules of FER+'s authors, on those of the pictures that these rules keep.

    Returns:
        majority (pictures, left_out, overall_accuracy) and probability (with kl and
        soft_cross_entropy as well, to the official distribution; its truth is the most probable
        expression of that, the first in FER+'s order of equals). What the rules keep but is no
        class of the model is left out.
    """
    found: dict[str, Any] = {}
    said_N = next(iter(answers.readouts.values()))
    places = [EXPRESSIONS.index(name) for name in answers.classes]
    class_E = np.full(len(EXPRESSIONS), -1)
    class_E[places] = np.arange(len(places))
    modes: tuple[votes.Mode, ...] = ("majority", "probability")
    for mode in modes:
        shares_NE = votes.official_shares(votes_NA, mode)
        truth_N = np.where(shares_NE.any(axis=1), class_E[shares_NE.argmax(axis=1)], -1)
        kept_N = truth_N >= 0
        values = {"overall_accuracy": np.where(kept_N, said_N == truth_N, np.nan)}
        if mode == "probability":
            try:
                shares_NC = _shares(shares_NE[:, places])
                apart = _distances(shares_NC, answers.probabilities_NC, kept_N)
                values |= {name: apart[name] for name in ("kl", "soft_cross_entropy")}
            except UserError:  # said one level up
                pass
        counts = {"pictures": int(kept_N.sum()), "left_out": int((~kept_N).sum())}
        found[mode] = {**counts, **_means(values, answers.groups_N, bootstrap)}
    return found


def _shares(counts_NC: np.ndarray) -> Float[np.ndarray, "N C"]:
    """Rows that sum to 1, or of zeros."""
    total_N1 = counts_NC.sum(axis=1, keepdims=True)
    return np.asarray(counts_NC / np.where(total_N1 > 0, total_N1, 1), dtype=np.float64)


def _means(
    values: dict[str, Float[np.ndarray, " N"]], groups_N: np.ndarray, bootstrap: Bootstrap
) -> dict[str, dict[str, Any]]:
    """Mean of each column over the pictures that count, with its interval."""
    found = resampling.mean_intervals(values, groups_N, bootstrap)
    return plain(
        {
            name: one.on(MetricValue(one.value, int((~np.isnan(values[name])).sum())))
            for name, one in found.items()
        }
    )
