"""Are the predicted probabilities honest?

Legend: N items, C classes, B bins of confidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from likeness.errors import require
from likeness.evaluation.values import MetricValue

_SMALLEST = float(np.finfo(np.float64).tiny)
_COLDEST, _HOTTEST = 1e-3, 1e3


@dataclass(frozen=True)
class ReliabilityTable:
    """Confidence against accuracy, in B equal bins (low, high] of the top probability.

    Attributes:
        low_B: lower edges, not included.
        high_B: upper edges, included.
        count_B: items.
        confidence_B: mean top probability; nan in an empty bin.
        accuracy_B: share of right predictions; nan in an empty bin.
    """

    low_B: Float[np.ndarray, " B"]
    high_B: Float[np.ndarray, " B"]
    count_B: Int[np.ndarray, " B"]
    confidence_B: Float[np.ndarray, " B"]
    accuracy_B: Float[np.ndarray, " B"]


@dataclass(frozen=True)
class Calibration:
    """Calibration of one set of predictions.

    Attributes:
        values: ece, brier, nll.
        per_item: brier and nll of every item, for resampling.
        table: what a reliability diagram shows.
    """

    values: dict[str, MetricValue]
    per_item: dict[str, Float[np.ndarray, " N"]]
    table: ReliabilityTable


@dataclass(frozen=True)
class Temperature:
    """A temperature fitted on validation logits.

    Attributes:
        value: divide logits by this before the softmax.
        nll_before: mean negative log-likelihood at temperature 1.
        nll_after: the same at `value`.
        at_bound: the best value lies outside [0.001, 1000]: every validation item is right, say.
    """

    value: float
    nll_before: float
    nll_after: float
    at_bound: bool


def calibration(
    probabilities_NC: Shaped[np.ndarray, "N C"], truth_N: Int[np.ndarray, " N"], *, bins: int = 15
) -> Calibration:
    """Expected calibration error, Brier score and negative log-likelihood.

    ece: sum over bins of share x |accuracy - confidence| of the top class (Guo et al. 2017, eq. 3).
    brier: mean over items of the squared error summed over classes, in [0, 2] (Brier 1950).
    nll: mean of -log p(true class), natural logarithm; a probability of 0 counts as 2.2e-308.

    Args:
        probabilities_NC: rows in [0, 1] that sum to 1 within 0.001.
        truth_N: class numbers.
        bins: bins of confidence.

    Raises:
        UserError: if probabilities or class numbers are out of range.
    """
    rows_NC = checked_probabilities(probabilities_NC)
    check_truth(truth_N, *rows_NC.shape)
    require(bins >= 1, "bins", ">= 1", bins)
    predicted_N = rows_NC.argmax(axis=1)
    table = reliability(rows_NC.max(axis=1), predicted_N == truth_N, bins=bins)
    items = np.arange(len(rows_NC))
    right_N = rows_NC[items, truth_N]
    per_item = {
        "brier": np.square(rows_NC).sum(axis=1) - np.square(right_N) + np.square(1 - right_N),
        "nll": -np.log(np.maximum(right_N, _SMALLEST)),
    }
    values = {"ece": MetricValue(expected_error(table), len(rows_NC))}
    for name, values_N in per_item.items():
        values[name] = MetricValue(float(values_N.mean()), len(rows_NC))
    return Calibration(values, per_item, table)


def reliability(
    confidence_N: Float[np.ndarray, " N"], correct_N: Bool[np.ndarray, " N"], *, bins: int = 15
) -> ReliabilityTable:
    """Count, mean confidence and accuracy in equal bins (low, high] over [0, 1]."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    bin_N = bin_numbers(confidence_N, bins)
    count_B = np.bincount(bin_N, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence_B = np.bincount(bin_N, confidence_N, minlength=bins) / count_B
        accuracy_B = np.bincount(bin_N, correct_N, minlength=bins) / count_B
    return ReliabilityTable(edges[:-1], edges[1:], count_B, confidence_B, accuracy_B)


def bin_numbers(confidence_N: Float[np.ndarray, " N"], bins: int) -> Int[np.ndarray, " N"]:
    """The bin (low, high] that each value of [0, 1] falls into; 0 itself goes into the first."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    # side="left" puts a value on an edge into the bin below.
    return np.clip(np.searchsorted(edges, confidence_N, side="left") - 1, 0, bins - 1)


def expected_error(table: ReliabilityTable) -> float:
    """Mean over the table's items of |accuracy - confidence| of their bin."""
    full = table.count_B > 0
    gap_B = np.abs(table.accuracy_B[full] - table.confidence_B[full])
    return float((table.count_B[full] * gap_B).sum() / table.count_B.sum())


def fit_temperature(
    logits_NC: Shaped[np.ndarray, "N C"], truth_N: Int[np.ndarray, " N"]
) -> Temperature:
    """The temperature that makes the validation labels most likely (Guo et al. 2017).

    The likelihood has one maximum in 1 / temperature; it is searched on a logarithmic scale.
    Fit it on validation or out-of-fold logits, never on the test split.

    Args:
        logits_NC: finite logits.
        truth_N: class numbers.

    Raises:
        UserError: if logits are not finite or class numbers are out of range.
    """
    logits = np.asarray(logits_NC, dtype=np.float64)
    require(logits.ndim == 2 and logits.size > 0, "logits", "a 2-D array with rows", logits.shape)
    require(np.isfinite(logits).all(), "logits", "finite", "nan or infinity")
    check_truth(truth_N, *logits.shape)
    right_N = logits[np.arange(len(logits)), truth_N]

    def loss(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        return float((logsumexp(logits * scale, axis=1) - right_N * scale).mean())

    low, high = math.log(_COLDEST), math.log(_HOTTEST)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-8})
    before = loss(0.0)
    # The ends first: of equally likely temperatures the extreme one tells the truth.
    best = min((low, high, float(found.x)), key=loss)
    if loss(best) >= before * (1 - 1e-12):  # flat, or already best
        best = 0.0
    at_bound = min(best - low, high - best) < 1e-3
    return Temperature(math.exp(best), before, loss(best), at_bound)


def apply_temperature(
    logits_NC: Shaped[np.ndarray, "N C"], temperature: float
) -> Float[np.ndarray, "N C"]:
    """Probabilities softmax(logits / temperature), float64.

    Raises:
        UserError: unless the temperature is positive.
    """
    require(temperature > 0, "temperature", "> 0", temperature)
    scaled = np.asarray(logits_NC, dtype=np.float64) / temperature
    return np.asarray(np.exp(scaled - logsumexp(scaled, axis=1, keepdims=True)))


def fit_thresholds(
    scores_NL: Float[np.ndarray, "N L"], truth_NL: Shaped[np.ndarray, "N L"]
) -> Float[np.ndarray, " L"]:
    """For each label the threshold on its score that makes its F1 largest.

    A label is predicted where score >= threshold. Thresholds lie half-way between neighbouring
    scores (below the lowest: half-way to 0). Of equally good ones the nearest to 0.5 is taken, then
    the higher. A label without true items gets 0.5. Fit them on validation or out-of-fold scores,
    never on the test split.

    Args:
        scores_NL: probabilities in [0, 1].
        truth_NL: booleans, or 0 and 1.

    Raises:
        UserError: if the tables are empty, differ in shape or are out of range.
    """
    require(scores_NL.ndim == 2 and scores_NL.size > 0, "scores", "a table", scores_NL.shape)
    require(truth_NL.shape == scores_NL.shape, "truth", f"{scores_NL.shape}", truth_NL.shape)
    inside = bool(((scores_NL >= 0) & (scores_NL <= 1)).all())
    require(inside, "scores", "in [0, 1]", "others")
    require(bool(np.isin(truth_NL, (0, 1)).all()), "truth", "0 or 1 everywhere", "others")
    columns = zip(scores_NL.T, truth_NL.T, strict=True)
    return np.array([_best_threshold(scores_N, truth_N) for scores_N, truth_N in columns])


def _best_threshold(scores_N: np.ndarray, truth_N: np.ndarray) -> float:
    if not truth_N.any():
        return 0.5
    order_N = np.argsort(-scores_N, kind="stable")
    ranked_N = scores_N[order_N].astype(np.float64)
    ends = np.flatnonzero(np.append(ranked_N[1:] != ranked_N[:-1], True))
    # The F1 of taking all items down to each distinct score.
    right = np.cumsum(truth_N[order_N].astype(np.int64))[ends]
    f1 = 2 * right / (ends + 1 + int(truth_N.sum()))
    score, below = ranked_N[ends], np.append(ranked_N[ends[1:]], 0.0)
    middle = (score + below) / 2
    threshold = np.where(middle > below, middle, score)  # no number lies between neighbours
    best = threshold[f1 == f1.max()]  # falling
    return float(best[np.argmin(np.abs(best - 0.5))])


def checked_probabilities(probabilities_NC: np.ndarray) -> np.ndarray:
    """The rows as float64; UserError unless they lie in [0, 1] and sum to 1 within 0.001."""
    rows = np.asarray(probabilities_NC, dtype=np.float64)
    shape_rule = "a 2-D array with rows"
    require(rows.ndim == 2 and rows.size > 0, "probabilities", shape_rule, rows.shape)
    inside_N = ((rows >= 0) & (rows <= 1)).all(axis=1)
    sums_N = rows.sum(axis=1)
    wrong_N = ~(inside_N & (np.abs(sums_N - 1) <= 1e-3))
    found = f"row {int(np.argmax(wrong_N))}" if wrong_N.any() else ""
    rule = "in [0, 1] with every row's sum 1 within 0.001"
    require(not wrong_N.any(), "probabilities", rule, found)
    return rows


def check_truth(truth_N: np.ndarray, count: int, classes: int) -> None:
    """Raise UserError unless there are `count` class numbers below `classes`."""
    require(truth_N.shape == (count,), "truth", f"{count} class numbers", truth_N.shape)
    outside_N = (truth_N < 0) | (truth_N >= classes)
    found = int(truth_N[outside_N][0]) if outside_N.any() else None
    require(found is None, "truth", f"between 0 and {classes - 1}", found)
