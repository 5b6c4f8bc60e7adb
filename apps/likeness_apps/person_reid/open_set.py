"""Open-set figures of people: what thresholds do on pairs, and who is found, and who wrongly so.

Pairs are every two tracklets of different cameras, each pair once. Two of one identity are genuine;
two of different identities are impostors, and so is somebody with a distractor. Two distractors
may be the same passer-by: such a pair is not counted, and none with junk is.

Legend: N tracklets, D feature dimension, Q probes, T thresholds, B bins between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from likeness.evaluation import resampling
from likeness.evaluation.open_set import (
    enrolled_rows,
    identification,
    identification_curve,
    verification,
    verification_curve,
)
from likeness.evaluation.pair_scores import PairCounts, count_set, score_grid
from likeness.evaluation.resampling import DEFAULT, Bootstrap
from likeness.evaluation.roc import RocCurve
from likeness.evaluation.values import MetricValue, mean_value, plain
from likeness.evaluation.verdict import Verdicts, verdict_rates, verdicts_from
from likeness.search.exact import nearest
from likeness.search.space import Space
from likeness_apps.person_reid.identities import DISTRACTOR, JUNK, NOBODY
from likeness_apps.person_reid.tracklet_table import tracklet_table

FALSE_POSITIVE_RATES = (0.01, 0.001, 0.0001)
FALSE_ACCEPT_RATES = (0.1, 0.01, 0.001)
ENROLLED, SEED = 0.5, 0
MOST_PAIRS = 50_000_000  # of a larger set so many are counted
FARTHEST = 2.0  # the chord between unit rows
PAIRS = (
    "every two tracklets of different cameras, each pair once; impostors are two identities, or "
    "somebody and a distractor; no pair of two distractors, none with junk"
)
DRAWN = (
    "; there are more than {most:,} pairs, so only those of some tracklets, drawn by seed {seed}"
)
PROBES = (
    "every query (every tracklet of somebody where the table has no roles) asks the gallery "
    "tracklets of all other cameras for its nearest. Half of the identities that ask, drawn by "
    "seed {seed}, are enrolled; gallery tracklets of the others are taken out, distractors stay, "
    "junk never counts. A probe of whose identity no tracklet of another camera is left counts as "
    "not enrolled"
)
OTHER_FRAMES = "thresholds were fixed on tracklets that are pooled in another way: {}"
_MOST_POINTS, _MOST_BARS = 400, 48


def tracklet_pairs(
    features_ND: np.ndarray,
    table: pd.DataFrame,
    *,
    space: Space = "cosine",
    verdicts: Verdicts | None = None,
) -> PairCounts:
    """Count the genuine and the impostor pairs of a set, see above.

    Args:
        features_ND: one row per tracklet, raw or normalised.
        table: N rows with label and camera.
        space: how features are compared.
        verdicts: counted at their thresholds as well.

    Returns:
        Counts by identity; each distractor is a group of its own.
    """
    kept_N = (table["label"] != JUNK).to_numpy()
    features_ND, rows = features_ND[kept_N], table[kept_N]
    crowd_N = (rows["label"] == DISTRACTOR).to_numpy()
    number_N = np.arange(len(rows))
    label_N = rows["label"].to_numpy(str).astype(object)
    label_N[crowd_N] = [f"{DISTRACTOR} {number}" for number in number_N[crowd_N]]
    camera_N, crowd_N = rows["camera"].to_numpy(str), np.where(crowd_N, -1, number_N)
    return count_set(
        features_ND,
        label_N.astype(str),
        _thresholds(features_ND, space, verdicts),
        space=space,
        exclude=[(camera_N, camera_N), (crowd_N, crowd_N)],
        most_pairs=MOST_PAIRS,
        seed=SEED,
    )


def open_set_figures(
    features_ND: np.ndarray,
    table: pd.DataFrame,
    verdicts: Verdicts | None,
    space: Space = "cosine",
    *,
    reason: str = "no thresholds were fixed for this model",
    bootstrap: Bootstrap = DEFAULT,
) -> dict[str, Any]:
    """What can be said of people who may not be there; intervals by drawing identities.

    The pairs are those of the whole table, whatever the protocol ranks and in whichever random
    split a tracklet is tested: so figures of different protocols can be compared.

    Args:
        features_ND: one row per tracklet, raw or normalised.
        table: N rows in the same order, see `tracklet_table`.
        verdicts: thresholds that were fixed on other people, or None.
        space: how features are compared.
        reason: why there are no verdicts.
        bootstrap: of the intervals.

    Returns:
        Plain data: pairs (how many of what), verification (TPR@FPR), verdicts (the rates of the
        thresholds here, or a reason), identification (DIR@FAR, or a reason), roc (the curve), and
        scores (a histogram of either kind of pairs).
    """
    rows = tracklet_table(table)
    pairs = tracklet_pairs(features_ND, rows, space=space, verdicts=verdicts)
    return {
        "pairs": {
            "what": PAIRS + _drawn(rows),
            "genuine": pairs.genuine,
            "impostor": pairs.impostor,
            "identities": int(rows["label"][~rows["label"].isin(NOBODY)].nunique()),
        },
        "verification": [
            point.as_dict() for point in verification(pairs, FALSE_POSITIVE_RATES, bootstrap)
        ],
        "verdicts": {"reason": reason} if verdicts is None else _rates(pairs, verdicts, bootstrap),
        "identification": _identification(features_ND, rows, verdicts, space, bootstrap),
        "roc": _curve(verification_curve(pairs)),
        "scores": _histogram(pairs),
    }


def stored_verdicts(metrics: Mapping[str, Any], frames: str) -> tuple[Verdicts | None, str]:
    """The thresholds that training fixed, or None and the reason.

    Args:
        metrics: of the bundle.
        frames: how the frames of a tracklet become one row.
    """
    stored = metrics.get("open_set") or {}
    if "same_from" not in stored:
        return None, str(stored.get("reason", "training fixed no thresholds"))
    if metrics.get("frames") != frames:
        return None, OTHER_FRAMES.format(metrics.get("frames"))
    return verdicts_from(stored), ""


def _drawn(rows: pd.DataFrame) -> str:
    """That not every pair was counted, if so."""
    items = int((rows["label"] != JUNK).sum())
    drawn = items * (items - 1) // 2 > MOST_PAIRS
    return DRAWN.format(most=MOST_PAIRS, seed=SEED) if drawn else ""


def _thresholds(features_ND: np.ndarray, space: Space, verdicts: Verdicts | None) -> np.ndarray:
    """A grid over all scores that can be, and the thresholds of the verdicts."""
    if space == "cosine":
        grid_T = score_grid(FARTHEST)
    else:
        longest = float(np.linalg.norm(features_ND.astype(np.float64), axis=1).max()) or 1.0
        grid_T = score_grid(2 * longest if space == "euclidean" else longest**2)
        if space == "dot":
            grid_T = np.union1d(grid_T, -grid_T)
    given = () if verdicts is None else (verdicts.same_from, verdicts.different_below)
    return np.union1d(grid_T, [value for value in given if np.isfinite(value)])


def _rates(pairs: PairCounts, verdicts: Verdicts, bootstrap: Bootstrap) -> dict[str, Any]:
    """The thresholds, and what is called what here."""
    left_out = ("scores", "evidence", "validation")
    told = {name: value for name, value in verdicts.as_dict().items() if name not in left_out}
    return told | {"rates": plain(verdict_rates(pairs, verdicts, bootstrap))}


def _identification(
    features_ND: np.ndarray,
    rows: pd.DataFrame,
    verdicts: Verdicts | None,
    space: Space,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """DIR@FAR, and what the threshold of "same" does to probes."""
    probes, gallery = _enrol(rows)
    told: dict[str, Any] = {"what": PROBES.format(seed=SEED), "gallery": len(gallery)}
    if not len(gallery):
        return told | {"reason": "the gallery has nobody left"}
    asked = _ask(features_ND, probes, gallery, space)
    told["probes_that_meet_nobody"] = len(probes) - len(asked)
    if not len(asked):
        return told | {"reason": "no probe meets a tracklet of another camera"}
    label_Q = asked["label"].to_numpy(str)
    score_Q, right_Q, enrolled_Q = (
        asked[name].to_numpy() for name in ("score", "right", "enrolled")
    )
    points = identification(
        score_Q, right_Q, enrolled_Q, label_Q, aims=FALSE_ACCEPT_RATES, bootstrap=bootstrap
    )
    told |= {
        "enrolled": int(enrolled_Q.sum()),
        "not_enrolled": int((~enrolled_Q).sum()),
        "points": [point.as_dict() for point in points],
        "curve": _curve(identification_curve(score_Q, right_Q, enrolled_Q)),
    }
    if verdicts is not None:
        told["at_same_from"] = _shares(asked, verdicts.same_from, label_Q, bootstrap)
    return told


def _enrol(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Who asks, and the gallery without those who are not to be enrolled."""
    asks_N, asked_N = ~rows["label"].isin(NOBODY), rows["label"] != JUNK
    if (rows["role"] != "").all():
        asks_N, asked_N = rows["role"] == "query", asked_N & (rows["role"] == "gallery")
    probes, gallery = rows[asks_N], rows[asked_N]
    labels = probes["label"].to_numpy(str), gallery["label"].to_numpy(str)
    return probes, gallery[enrolled_rows(*labels, ENROLLED, SEED)]


def _ask(
    features_ND: np.ndarray, probes: pd.DataFrame, gallery: pd.DataFrame, space: Space
) -> pd.DataFrame:
    """Label, score, right and enrolled of the probes that meet a tracklet of another camera."""
    found = nearest(
        features_ND[probes.index.to_numpy()],
        features_ND[gallery.index.to_numpy()],
        1,
        space=space,
        exclude=[(probes["camera"].to_numpy(str), gallery["camera"].to_numpy(str))],
    )
    index_Q = found.indices_QK[:, 0]
    nearest_Q = gallery["label"].to_numpy(str)[index_Q]
    table = probes[["label"]].assign(
        score=-found.distances_QK[:, 0].astype(np.float64),
        right=nearest_Q == probes["label"].to_numpy(str),
        enrolled=_enrolled(probes, gallery),
    )
    return table[index_Q >= 0]


def _enrolled(probes: pd.DataFrame, gallery: pd.DataFrame) -> np.ndarray:
    """Whether a probe's identity has a gallery tracklet of another camera."""
    of_all = gallery["label"].value_counts()
    of_one = gallery[["label", "camera"]].value_counts()
    all_Q = probes["label"].map(of_all).fillna(0).to_numpy()
    own = pd.MultiIndex.from_frame(probes[["label", "camera"]])
    return np.asarray(all_Q > of_one.reindex(own).fillna(0).to_numpy())


def _shares(
    asked: pd.DataFrame, same_from: float, label_Q: np.ndarray, bootstrap: Bootstrap
) -> dict[str, Any]:
    """DIR and FAR where "same" begins, with intervals."""
    says_Q, enrolled_Q = asked["score"] >= same_from, asked["enrolled"].to_numpy()
    each = {
        "dir": (says_Q & asked["right"], enrolled_Q, "not enrolled"),
        "far": (says_Q, ~enrolled_Q, "enrolled"),
    }
    values: dict[str, MetricValue] = {}
    per_probe = {}
    for name, (hits, counted_Q, others) in each.items():
        hit_Q = hits.to_numpy(np.float64)
        values[name] = mean_value(hit_Q, counted_Q, others)
        per_probe[name] = np.where(counted_Q, hit_Q, np.nan)
    found = resampling.mean_intervals(per_probe, label_Q, bootstrap)
    return plain({name: found[name].on(value) for name, value in values.items()})


def _curve(curve: RocCurve) -> dict[str, list[float]]:
    """The points where a rate changes, thinned to what can be drawn; none where it is undefined."""
    rates_T2 = np.stack([curve.fpr_T, curve.tpr_T], axis=1)
    if np.isnan(rates_T2).any():
        return {"false": [], "true": []}
    moved_T = np.append(True, (np.diff(rates_T2, axis=0) != 0).any(axis=1))
    rates_P2 = rates_T2[moved_T]
    places = np.linspace(0, len(rates_P2) - 1, min(len(rates_P2), _MOST_POINTS)).round().astype(int)
    return {"false": rates_P2[places, 0].tolist(), "true": rates_P2[places, 1].tolist()}


def _histogram(pairs: PairCounts) -> dict[str, list[float]]:
    """Counts of genuine and impostor pairs in even bins over the scores that occur."""
    at_T = pairs.threshold_T
    counts = [np.asarray(of.sum(axis=0)).ravel() for of in (pairs.genuine_UB, pairs.impostor_UB)]
    full = np.flatnonzero(counts[0] + counts[1])
    if not len(full):
        return {"edges": [], "genuine": [], "impostor": []}
    padded = np.concatenate([at_T[:1], at_T, at_T[-1:]])
    low, high = padded[full[0]], padded[full[-1] + 1]
    bars = min(_MOST_BARS, full[-1] - full[0] + 1)
    edges = np.linspace(low, high if high > low else low + 1e-9, bars + 1)
    middle_B = (padded[:-1] + padded[1:]) / 2
    genuine, impostor = (np.histogram(middle_B, edges, weights=of)[0] for of in counts)
    return {
        "edges": edges.tolist(),
        "genuine": genuine.astype(int).tolist(),
        "impostor": impostor.astype(int).tolist(),
    }
