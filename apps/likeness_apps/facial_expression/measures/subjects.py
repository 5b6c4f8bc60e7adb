"""How evenly a model does over people: figures by subject.

Nobody is named: a figure of a single subject could only be read against that person.

Legend: N pictures, S subjects.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Shaped

from likeness.evaluation import resampling
from likeness.evaluation.resampling import Bootstrap
from likeness.evaluation.values import MetricValue

SUBJECT, PICTURE = "subject", "picture"
NOBODY = "The set does not say who is in the pictures."
COLUMN = "subject"  # of a manifest


def subjects_of(rows: pd.DataFrame) -> Shaped[np.ndarray, " N"]:
    """The subject of each row as text; "" where nobody is known."""
    if COLUMN not in rows:
        return np.full(len(rows), "")
    return np.array(rows[COLUMN].fillna("").astype(str).tolist(), dtype=str)


def unit_of(subjects_N: Shaped[np.ndarray, " N"], groups_N: Shaped[np.ndarray, " N"]) -> str:
    """What the shared group bootstrap resamples: a subject, where all are known, or a picture.

    Groups may also be several subjects, of whom the same picture is in the set twice.
    """
    known = bool((subjects_N != "").all()) and len(np.unique(groups_N)) < len(groups_N)
    return SUBJECT if known else PICTURE


def by_subject(
    subjects_N: Shaped[np.ndarray, " N"], correct_N: Bool[np.ndarray, " N"], bootstrap: Bootstrap
) -> dict[str, Any]:
    """Accuracy by subject; the interval of its mean is made by resampling subjects.

    Args:
        subjects_N: "" where nobody is known.
        correct_N: whether the answer is right.
        bootstrap: replicates, seed, level.

    Returns:
        See `expression`; a reason without two subjects.
    """
    known_N = subjects_N != ""
    names, place_N = np.unique(subjects_N[known_N], return_inverse=True)
    if len(names) < 2:
        return {"reason": NOBODY if not len(names) else "All pictures are of one subject."}
    pictures_S = np.bincount(place_N)
    accuracy_S = np.bincount(place_N, correct_N[known_N]) / pictures_S
    found = resampling.mean_interval(accuracy_S, np.arange(len(names)), bootstrap)
    # Of equally bad ones the one with the most pictures says most.
    worst = np.lexsort((-pictures_S, accuracy_S))[0]
    return {
        "subjects": len(names),
        "pictures": int(known_N.sum()),
        "unknown": int((~known_N).sum()),
        "accuracy": found.on(MetricValue(found.value, len(names))).as_dict(),
        "std": float(accuracy_S.std(ddof=1)),
        "median": float(np.median(accuracy_S)),
        "worst": {"accuracy": float(accuracy_S[worst]), "pictures": int(pictures_S[worst])},
    }
