"""Same, different or unknown: thresholds and probabilities, chosen on validation items.

A pair is called the same where its score reaches a threshold that few impostor pairs of the
validation set reach, different where it stays below one that few genuine pairs stay below, and
unknown, the default, in between and wherever there is no score. Of test items these thresholds
promise nothing by themselves: `verdict_rates` counts what they do there.

Legend: N pairs, U groups, T thresholds, B bins between them, K knots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

from likeness.errors import require
from likeness.evaluation import resampling
from likeness.evaluation.open_set import accepted, enough_trials
from likeness.evaluation.pair_scores import PairCounts
from likeness.evaluation.resampling import DEFAULT, Bootstrap, Statistic, mean_of_columns
from likeness.evaluation.values import MetricValue, plain

SAME, DIFFERENT, UNKNOWN = "same", "different", "unknown"


@dataclass(frozen=True)
class Verdicts:
    """How to decide about a pair, and what that did on the validation pairs.

    Attributes:
        same_from: "same" where score >= this; +inf: never.
        different_below: "different" where score < this; -inf: never. Never above `same_from`.
        false_accept_rate: largest share of impostor pairs that may be called the same.
        false_reject_rate: largest share of genuine pairs that may be called different.
        prior: the share of genuine pairs that `probability` presumes where none is given.
        scores: knots of the calibration, rising.
        evidence: natural logarithm of the likelihood ratio genuine : impostor at the knots, rising;
            straight in between, level beyond.
        genuine_pairs: validation pairs of the same label.
        impostor_pairs: validation pairs of different labels.
        groups: groups (identities) that they come from.
        validation: `verdict_rates` of these pairs, as plain data.
    """

    same_from: float
    different_below: float
    false_accept_rate: float
    false_reject_rate: float
    prior: float
    scores: tuple[float, ...]
    evidence: tuple[float, ...]
    genuine_pairs: int
    impostor_pairs: int
    groups: int
    validation: dict[str, dict[str, Any]]

    def decide(self, scores_N: Shaped[np.ndarray, " N"]) -> Shaped[np.ndarray, " N"]:
        """SAME, DIFFERENT or UNKNOWN for every score; UNKNOWN for nan and infinities."""
        scores = np.asarray(scores_N, dtype=np.float64)
        verdict_N = np.full(len(scores), UNKNOWN, dtype=object)
        finite_N = np.isfinite(scores)
        verdict_N[finite_N & (scores >= self.same_from)] = SAME
        verdict_N[finite_N & (scores < self.different_below)] = DIFFERENT
        return verdict_N

    def probability(
        self, scores_N: Shaped[np.ndarray, " N"], prior: float | None = None
    ) -> Float[np.ndarray, " N"]:
        """Probability that a pair is genuine, by Bayes' rule; nan where the score is.

        It stands and falls with the prior, the share of genuine pairs among those that are asked
        about. For the nearest of 1,000 gallery rows, of which one is right, it is 0.001 and not
        0.5.

        Args:
            scores_N: higher = more alike.
            prior: in (0, 1); None = `self.prior`.

        Raises:
            UserError: if the prior is out of range.
        """
        share = self.prior if prior is None else prior
        require(0 < share < 1, "prior", "between 0 and 1", share)
        scores = np.asarray(scores_N, dtype=np.float64)
        evidence_N = np.interp(scores, self.scores, self.evidence)
        return np.asarray(expit(evidence_N + logit(share)))

    def at(self, point: Mapping[str, Any]) -> Verdicts:
        """The same evidence, decided at another point of `thresholds_at`."""
        return verdicts_from({**self.as_dict(), **point, "validation": {}})

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, which has no infinities: a threshold of None is never reached."""
        return asdict(self) | _without_infinity(self.same_from, self.different_below)


def verdicts_from(plain_data: Mapping[str, Any]) -> Verdicts:
    """What `Verdicts.as_dict` wrote.

    Raises:
        UserError: if anything is missing or too much.
    """
    names = set(Verdicts.__dataclass_fields__)
    rule = f"a table with exactly {', '.join(sorted(names))}"
    require(set(plain_data) == names, "verdicts", rule, sorted(plain_data))
    same, different = plain_data["same_from"], plain_data["different_below"]
    values = dict(plain_data) | {
        "same_from": np.inf if same is None else same,
        "different_below": -np.inf if different is None else different,
        "scores": tuple(plain_data["scores"]),
        "evidence": tuple(plain_data["evidence"]),
    }
    return Verdicts(**values)


def calibrate(
    pairs: PairCounts,
    *,
    false_accept_rate: float,
    false_reject_rate: float,
    prior: float,
    bootstrap: Bootstrap = DEFAULT,
) -> Verdicts:
    """Choose thresholds and fit probabilities on counted validation pairs.

    `same_from` is the lowest counted threshold that at most `false_accept_rate` of the impostor
    pairs reach; `different_below` the highest that at most `false_reject_rate` of the genuine pairs
    stay below. Where the two kinds lie so far apart that the second is above the first, they change
    places: both rates still hold, and what lies in between, where hardly any pair was seen, is
    unknown.

    Probabilities: the likelihood ratio by isotonic regression (pool adjacent violators) on the
    counts, both kinds weighing the same, with one genuine pair added at the lowest and one impostor
    pair at the highest score: no evidence is infinite, or stronger than the number of pairs allows.
    (After the BOSARIS toolkit, Bruemmer and de Villiers 2013, arXiv 1304.2865, which adds pairs to
    the ends in the same spirit; one of each is our choice.)

    Args:
        pairs: of identities that neither training nor the test has seen; see `pair_scores`.
        false_accept_rate: in (0, 1).
        false_reject_rate: in (0, 1).
        prior: the share of genuine pairs to presume, in (0, 1), see `Verdicts.probability`.
        bootstrap: of the intervals of `validation`.

    Raises:
        UserError: if a rate or the prior is out of range, or there are too few pairs for a rate
            (fewer than 3 / rate).
    """
    require(0 < false_accept_rate < 1, "false_accept_rate", "between 0 and 1", false_accept_rate)
    require(0 < false_reject_rate < 1, "false_reject_rate", "between 0 and 1", false_reject_rate)
    require(0 < prior < 1, "prior", "between 0 and 1", prior)
    _require_trials("false_accept_rate", false_accept_rate, pairs.impostor, "impostor pairs")
    _require_trials("false_reject_rate", false_reject_rate, pairs.genuine, "genuine pairs")
    genuine_B = np.asarray(pairs.genuine_UB.sum(axis=0), dtype=np.float64).ravel()
    impostor_B = np.asarray(pairs.impostor_UB.sum(axis=0), dtype=np.float64).ravel()
    different_below, same_from = _thresholds(
        genuine_B, impostor_B, pairs.threshold_T, false_accept_rate, false_reject_rate
    )
    scores_K, evidence_K = _evidence(genuine_B, impostor_B, pairs.threshold_T)
    found = Verdicts(
        same_from=same_from,
        different_below=different_below,
        false_accept_rate=false_accept_rate,
        false_reject_rate=false_reject_rate,
        prior=prior,
        scores=tuple(scores_K.tolist()),
        evidence=tuple(evidence_K.tolist()),
        genuine_pairs=pairs.genuine,
        impostor_pairs=pairs.impostor,
        groups=pairs.groups,
        validation={},
    )
    return replace(found, validation=plain(verdict_rates(pairs, found, bootstrap)))


def thresholds_at(
    pairs: PairCounts, false_accept_rates: Sequence[float], *, false_reject_rate: float
) -> list[dict[str, Any]]:
    """The thresholds of `calibrate` at several false-accept rates, for `Verdicts.at`.

    Args:
        pairs: see `calibrate`.
        false_accept_rates: in (0, 1); those that need more impostor pairs (3 / rate) are left out.
        false_reject_rate: in (0, 1).

    Returns:
        Plain data, one per rate: false_accept_rate, same_from, different_below.
    """
    genuine_B = np.asarray(pairs.genuine_UB.sum(axis=0), dtype=np.float64).ravel()
    impostor_B = np.asarray(pairs.impostor_UB.sum(axis=0), dtype=np.float64).ravel()
    points = []
    for rate in false_accept_rates:
        if enough_trials(rate, pairs.impostor, "impostor pairs"):
            continue
        different_below, same_from = _thresholds(
            genuine_B, impostor_B, pairs.threshold_T, rate, false_reject_rate
        )
        thresholds = _without_infinity(same_from, different_below)
        points.append({"false_accept_rate": rate, **thresholds})
    return points


def verdict_rates(
    pairs: PairCounts, verdicts: Verdicts, bootstrap: Bootstrap = DEFAULT
) -> dict[str, MetricValue]:
    """Shares of genuine and of impostor pairs by what they are called.

    `impostor_same` is the false accept rate, `genuine_different` the false reject rate; the
    thresholds stay as they are in every replicate. There are intervals if there are two groups.

    Args:
        pairs: counted at thresholds with those of `verdicts` among them (`count_scores` and
            `count_blocks` take them).
        verdicts: see `calibrate`.
        bootstrap: replicates, seed, level.

    Returns:
        genuine_same, genuine_unknown, genuine_different, and the same of impostor.

    Raises:
        UserError: if the pairs were counted at other thresholds.
    """
    values: dict[str, MetricValue] = {}
    statistics: dict[str, Statistic] = {}
    columns: list[np.ndarray] = []
    for kind, counts_UB in (("genuine", pairs.genuine_UB), ("impostor", pairs.impostor_UB)):
        of_all_U = np.asarray(counts_UB.sum(axis=1), dtype=np.float64)
        called = _called(pairs.threshold_T, counts_UB, verdicts)
        for name, count_U in called.items():
            total, hits = int(of_all_U.sum()), float(count_U.sum())
            skipped = {} if total else {f"no {kind} pairs": 0}
            value = MetricValue(hits / total if total else float("nan"), total, skipped)
            values[f"{kind}_{name}"] = value
            statistics[f"{kind}_{name}"] = mean_of_columns(len(columns))
            columns += [count_U, of_all_U]
    if pairs.groups < 2:
        return values
    found = resampling.intervals(np.stack(columns, axis=1), statistics, bootstrap)
    return {name: found[name].on(value) for name, value in values.items()}


def _called(
    threshold_T: np.ndarray, counts_UB: Any, verdicts: Verdicts
) -> dict[str, Float[np.ndarray, " U"]]:
    """Pairs of every group by what they are called."""
    first_same = _bin_from(threshold_T, verdicts.same_from)
    first_open = _bin_from(threshold_T, verdicts.different_below)
    parts = {
        SAME: counts_UB[:, first_same:],
        UNKNOWN: counts_UB[:, first_open:first_same],
        DIFFERENT: counts_UB[:, :first_open],
    }
    return {
        name: np.asarray(part.sum(axis=1), dtype=np.float64).ravel() for name, part in parts.items()
    }


def _bin_from(threshold_T: np.ndarray, threshold: float) -> int:
    """The first bin whose scores reach the threshold."""
    if not np.isfinite(threshold):
        return 0 if threshold < 0 else len(threshold_T) + 1
    place = int(np.searchsorted(threshold_T, threshold))
    among = place < len(threshold_T) and threshold_T[place] == threshold
    require(among, "pairs", f"counted at the threshold {threshold!r} as well", "other thresholds")
    return place + 1


def _require_trials(name: str, rate: float, trials: int, kind: str) -> None:
    least = round(3 / trials, 6) if trials else None
    rule = f"at least {least}: with {trials} {kind} no smaller rate can be told (rule of three)"
    rule = rule if trials else f"left until there are {kind}"
    require(not enough_trials(rate, trials, kind), name, rule, rate)


def _without_infinity(same_from: float, different_below: float) -> dict[str, float | None]:
    given = {"same_from": same_from, "different_below": different_below}
    return {name: value if np.isfinite(value) else None for name, value in given.items()}


def _thresholds(
    genuine_B: np.ndarray,
    impostor_B: np.ndarray,
    threshold_T: np.ndarray,
    false_accept_rate: float,
    false_reject_rate: float,
) -> tuple[float, float]:
    """Where "different" ends and where "same" begins; far apart kinds change places."""
    accept = _same_from(impostor_B, threshold_T, false_accept_rate)
    reject = _different_below(genuine_B, threshold_T, false_reject_rate)
    return min(accept, reject), max(accept, reject)


def _same_from(impostor_B: np.ndarray, threshold_T: np.ndarray, rate: float) -> float:
    reach_P = accepted(impostor_B[None])[0]  # from +inf down
    allowed = np.floor(np.round(rate * impostor_B.sum(), 9))
    return float(np.append(np.inf, threshold_T[::-1])[(reach_P <= allowed).sum() - 1])


def _different_below(genuine_B: np.ndarray, threshold_T: np.ndarray, rate: float) -> float:
    below_P = np.append(0.0, np.cumsum(genuine_B[:-1]))  # from -inf up
    allowed = np.floor(np.round(rate * genuine_B.sum(), 9))
    return float(np.append(-np.inf, threshold_T)[(below_P <= allowed).sum() - 1])


def _evidence(
    genuine_B: np.ndarray, impostor_B: np.ndarray, threshold_T: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Knots of the log-likelihood ratio."""
    genuine_B, impostor_B = genuine_B.copy(), impostor_B.copy()
    genuine_B[0] += 1
    impostor_B[-1] += 1
    genuine_B /= genuine_B.sum()
    impostor_B /= impostor_B.sum()
    # A bin stands at its middle, the open ones half a step outside.
    step = np.diff(threshold_T).mean() if len(threshold_T) > 1 else 1.0
    edges = np.concatenate([[threshold_T[0] - step], threshold_T, [threshold_T[-1] + step]])
    middle_B = (edges[:-1] + edges[1:]) / 2
    weight_B = genuine_B + impostor_B
    full = weight_B > 0
    fitted = IsotonicRegression(y_min=0.0, y_max=1.0).fit(
        middle_B[full], genuine_B[full] / weight_B[full], sample_weight=weight_B[full]
    )
    return np.asarray(fitted.X_thresholds_), np.asarray(logit(fitted.y_thresholds_))
