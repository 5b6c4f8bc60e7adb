"""Would the dermatologist see it? Malignant lesions among each patient's highest scores.

The secondary prize of ISIC 2024 ("top-15 retrieval sensitivity"): a visit leaves time for 15
lesions of a patient, those with the highest scores.

Legend: N lesions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from likeness.errors import require
from likeness.evaluation import resampling
from likeness.evaluation.classification import ratio
from likeness.evaluation.resampling import DEFAULT, Bootstrap
from likeness.evaluation.roc import checked_binary
from likeness.evaluation.values import MetricValue

NO_MALIGNANT = "patient without malignant lesions"


@dataclass(frozen=True)
class PatientRanking:
    """Malignant lesions within reach, with intervals over patients.

    Attributes:
        k: lesions looked at per patient.
        sensitivity: share of all malignant lesions that are found; counts lesions.
        patient_mean: mean over patients of the share of theirs that is found; counts patients.
        longer: patients with malignant lesions and more than k lesions; the others cannot miss any.
        tied: those of them where equal scores straddle the cut.
    """

    k: int
    sensitivity: MetricValue
    patient_mean: MetricValue
    longer: int
    tied: int


def top_k_per_patient(
    truth_N: Shaped[np.ndarray, " N"],
    scores_N: Shaped[np.ndarray, " N"],
    patients_N: Shaped[np.ndarray, " N"],
    *,
    k: int = 15,
    bootstrap: Bootstrap = DEFAULT,
) -> PatientRanking:
    """Malignant lesions among the k highest scores of each patient.

    Equal scores at the cut count with their chance of being looked at if their order is random;
    the official code takes them in the order of the file. Patients without malignant lesions are
    left out, as there.

    Args:
        truth_N: malignant or not: booleans, or 0 and 1.
        scores_N: finite, higher = more likely malignant.
        patients_N: whose lesion.
        k: lesions looked at, >= 1.
        bootstrap: replicates, seed, level of the intervals by drawing patients.

    Raises:
        UserError: if the arrays differ in length or are out of range.
    """
    truth, scores = checked_binary(truth_N, scores_N)
    require(len(patients_N) == len(truth), "patients", f"{len(truth)} names", len(patients_N))
    require(k >= 1, "k", ">= 1", k)
    _, codes_N = np.unique(patients_N, return_inverse=True)
    chance_N = _chance(codes_N, scores, k)
    found_P = np.bincount(codes_N, chance_N * truth)
    malignant_P = np.bincount(codes_N, truth)
    counted_P = malignant_P > 0
    cut_P = np.bincount(codes_N, (chance_N > 0) & (chance_N < 1)) > 0
    longer_P = np.bincount(codes_N) > k
    missing = int((~counted_P).sum())
    skipped = {NO_MALIGNANT: missing} if missing else {}
    share_P = ratio(found_P, malignant_P)[counted_P]
    # Each patient is a group, with sums (found, malignant) or (share, 1).
    pooled, mean = (
        resampling.interval(np.stack(sums, axis=1), resampling.mean_of_sums, bootstrap)
        for sums in (
            (found_P[counted_P], malignant_P[counted_P]),
            (share_P, np.ones(len(share_P))),
        )
    )
    return PatientRanking(
        k=k,
        sensitivity=pooled.on(MetricValue(pooled.value, int(truth.sum()), skipped)),
        patient_mean=mean.on(MetricValue(mean.value, len(share_P), skipped)),
        longer=int((longer_P & counted_P).sum()),
        tied=int((cut_P & counted_P).sum()),
    )


def _chance(codes_N: np.ndarray, scores_N: np.ndarray, k: int) -> Float[np.ndarray, " N"]:
    """Each lesion's chance of being among the k highest of its patient."""
    order_N = np.lexsort((-scores_N, codes_N))
    codes, scores = codes_N[order_N], scores_N[order_N]
    new_patient_N = np.append(True, codes[1:] != codes[:-1])
    new_score_N = new_patient_N | np.append(True, scores[1:] != scores[:-1])
    starts, tie_N = np.flatnonzero(new_score_N), np.cumsum(new_score_N) - 1
    first_N = np.flatnonzero(new_patient_N)[np.cumsum(new_patient_N) - 1]
    above_N = starts[tie_N] - first_N
    equal_N = np.bincount(tie_N)[tie_N]
    chance_N = np.empty(len(codes))
    chance_N[order_N] = np.clip((k - above_N) / equal_N, 0.0, 1.0)
    return chance_N
