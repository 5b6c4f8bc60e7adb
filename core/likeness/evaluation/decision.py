"""What a decision costs: net benefit over threshold probabilities, and risk against coverage.

Legend: N items, T points of a curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped

from likeness.errors import require
from likeness.evaluation.classification import ratio
from likeness.evaluation.roc import checked_binary

THRESHOLDS_T = np.arange(1, 100) / 100


@dataclass(frozen=True, eq=False)
class DecisionCurve:
    """Net benefit per item; treating nobody has 0 everywhere.

    Attributes:
        threshold_T: the probability from which one would treat (biopsy, refer).
        model_T: treating where probability >= threshold.
        treat_all_T: treating everybody.
        treat_none_T: 0.
        standardised_T: model_T / prevalence, at most 1; nan without positives.
        prevalence: share of positives.
    """

    threshold_T: Float[np.ndarray, " T"]
    model_T: Float[np.ndarray, " T"]
    treat_all_T: Float[np.ndarray, " T"]
    treat_none_T: Float[np.ndarray, " T"]
    standardised_T: Float[np.ndarray, " T"]
    prevalence: float


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Risk among the items that are kept when the least sure ones are handed to somebody else.

    Attributes:
        confidence_T: items at least as sure as this are kept; falling.
        coverage_T: share of items kept, > 0, rising to 1.
        risk_T: mean loss among them.
        area: mean risk over keeping 1, 2, ..., N items (0 is best), items of equal confidence in
            random order.
        best_area: the area if the items were kept in order of rising loss.
    """

    confidence_T: Float[np.ndarray, " T"]
    coverage_T: Float[np.ndarray, " T"]
    risk_T: Float[np.ndarray, " T"]
    area: float
    best_area: float

    @property
    def excess_area(self) -> float:
        """The area above the best one: what the order of confidences costs."""
        return self.area - self.best_area


def decision_curve(
    truth_N: Shaped[np.ndarray, " N"],
    probabilities_N: Shaped[np.ndarray, " N"],
    thresholds_T: Float[np.ndarray, " T"] = THRESHOLDS_T,
) -> DecisionCurve:
    """Net benefit tp / N - fp / N x t / (1 - t) (Vickers and Elkin 2006).

    It presumes that the test items have the prevalence of the clinic and that the probabilities are
    calibrated; a threshold of 5 % says that one melanoma found is worth 19 needless biopsies.

    Args:
        truth_N: booleans, or 0 and 1.
        probabilities_N: of the positive class, in [0, 1].
        thresholds_T: probabilities in (0, 1).

    Raises:
        UserError: if the arrays are empty, differ in length or are out of range.
    """
    truth, chances = checked_binary(truth_N, probabilities_N)
    inside = bool(((chances >= 0) & (chances <= 1)).all())
    require(inside, "probabilities", "in [0, 1]", "others")
    within = bool(((thresholds_T > 0) & (thresholds_T < 1)).all())
    require(len(thresholds_T) > 0 and within, "thresholds", "between 0 and 1", "others")
    positive, negative = np.sort(chances[truth]), np.sort(chances[~truth])
    tp_T = len(positive) - np.searchsorted(positive, thresholds_T, side="left")
    fp_T = len(negative) - np.searchsorted(negative, thresholds_T, side="left")
    odds_T = thresholds_T / (1 - thresholds_T)
    model_T = (tp_T - fp_T * odds_T) / len(truth)
    share = len(positive) / len(truth)
    return DecisionCurve(
        threshold_T=np.asarray(thresholds_T, dtype=np.float64),
        model_T=model_T,
        treat_all_T=share - (1 - share) * odds_T,
        treat_none_T=np.zeros(len(thresholds_T)),
        standardised_T=ratio(model_T, np.full(len(thresholds_T), share)),
        prevalence=share,
    )


def risk_coverage(
    confidence_N: Shaped[np.ndarray, " N"],
    loss_N: Float[np.ndarray, " N"] | Bool[np.ndarray, " N"],
) -> RiskCoverage:
    """The risk-coverage curve of abstaining by confidence (Geifman and El-Yaniv 2017).

    Args:
        confidence_N: finite, higher = surer.
        loss_N: of each item, finite: True where the answer is wrong, or any number.

    Raises:
        UserError: if the arrays are empty, differ in length or are not finite.
    """
    rule = "one number per item, at least one item"
    require(
        confidence_N.ndim == 1 and len(confidence_N) > 0, "confidence", rule, confidence_N.shape
    )
    items = len(confidence_N)
    require(loss_N.shape == (items,), "loss", f"{items} numbers", loss_N.shape)
    losses = loss_N.astype(np.float64)
    finite = bool(np.isfinite(confidence_N).all() and np.isfinite(losses).all())
    require(finite, "confidence and loss", "finite", "nan or infinity")
    order_N = np.argsort(-confidence_N.astype(np.float64), kind="stable")
    ranked_N = confidence_N[order_N].astype(np.float64)
    ends = np.flatnonzero(np.append(ranked_N[1:] != ranked_N[:-1], True))
    kept_T, lost_T = ends + 1, np.cumsum(losses[order_N])[ends]
    # Within a tie the expected loss rises evenly.
    every = np.arange(1, items + 1)
    expected_N = np.interp(every, np.append(0, kept_T), np.append(0.0, lost_T))
    return RiskCoverage(
        confidence_T=ranked_N[ends],
        coverage_T=kept_T / items,
        risk_T=lost_T / kept_T,
        area=float((expected_N / every).mean()),
        best_area=float((np.cumsum(np.sort(losses)) / every).mean()),
    )
