"""The official ISIC scoring of a model's answers, where its classes are those of a challenge.

Legend: N images, C classes, K official columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from likeness_apps.shell.measure import Answers
from likeness_apps.skin_lesion.clinical.tasks import ISIC_2016
from likeness_apps.skin_lesion.diagnoses import ISIC_2018, ISIC_2019
from likeness_apps.skin_lesion.isic.scoring import score
from likeness_apps.skin_lesion.isic.tables import IGNORED, IsicTruth

COLUMNS_2017 = ("melanoma", "seborrheic_keratosis")  # a nevus is neither
NO_CHALLENGE = "The classes are those of no ISIC challenge."
NOT_COUNTED = "No image counts officially."


def official_scoring(answers: Answers, rows: pd.DataFrame) -> dict[str, Any]:
    """The figures of `isic.scoring.score` and `columns`, or the `reason` why there are none.

    Args:
        answers: with probabilities.
        rows: with `path`; the image that the official scoring ignores has weight 0.
    """
    assert answers.probabilities_NC is not None
    columns = official_columns(answers.classes)
    if not columns:
        return {"reason": NO_CHALLENGE}
    numbers = [answers.classes.index(column) for column in columns]
    stems = [PurePosixPath(path).stem.removesuffix("_downsampled") for path in rows["path"]]
    weight_N = np.array([float(stem != IGNORED) for stem in stems])
    if not weight_N.any():
        return {"reason": NOT_COUNTED}
    truth = IsicTruth(
        names=tuple(stems),
        classes=columns,
        truth_NC=answers.truth_N[:, None] == np.array(numbers),
        score_weight_N=weight_N,
        validation_weight_N=weight_N,
        notes=() if weight_N.all() else (f"{IGNORED} has weight 0, as in the official scoring",),
    )
    found = score(truth, answers.probabilities_NC[:, numbers].astype(np.float64))
    return {"columns": list(columns)} | found.as_dict()


def official_columns(classes: Sequence[str]) -> tuple[str, ...]:
    """The class columns of the challenge with these classes, in its order; none: of no challenge.

    2016 has the column `malignant` only; 2017 none for nevi; 2018 seven (HAM10000 has the same);
    2019 eight, and `unk` if the model knows it.
    """
    known = set(classes)
    if known == set(ISIC_2016):
        return ("malignant",)
    if known == {*COLUMNS_2017, "nevus"}:
        return COLUMNS_2017
    if known == set(ISIC_2018):
        return ISIC_2018
    if set(ISIC_2019) - {"unk"} <= known <= set(ISIC_2019):
        return tuple(name for name in ISIC_2019 if name in known)
    return ()
