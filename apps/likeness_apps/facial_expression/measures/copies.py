"""How much of a figure is recognition of training pictures: those that are there twice, apart.

A copy is a picture whose file is byte for byte a training picture's, by the SHA-256 in the model's
splits. This sees copies inside of a published set, and the same file in two sets. It does not see
the same picture encoded anew, cut, resized, mirrored or of other brightness, nor other frames of
one video: `inspect` looks for near duplicates within a set and `--against` between sets.

Legend: N pictures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from likeness.evaluation.intervals import classification_intervals
from likeness.evaluation.resampling import Bootstrap
from likeness.evaluation.values import plain
from likeness_apps.shell.measure import Answers

SEEN = "byte-equal files only; not the same picture encoded anew, cut, resized or mirrored"
TRAINED_ON = "All pictures are training pictures themselves."
FIGURES = ("overall_accuracy", "macro_f1")


def copies(
    answers: Answers, rows: pd.DataFrame, splits: pd.DataFrame, bootstrap: Bootstrap
) -> dict[str, Any]:
    """The figures on pictures with a copy among the training pictures, and on those without.

    Args:
        answers: to N pictures.
        rows: of these, with `path` and `sha256`.
        splits: of the model: `path`, `label`, `split` and `sha256`.
        bootstrap: replicates, seed, level.

    Returns:
        means (what is seen), training_pictures (how many of the N are training pictures
        themselves, by content and path, and left out), then `with` and `without`: pictures and
        `FIGURES`; of `with` also same_label, how many have the label of a copy. A reason instead
        where all are training pictures.
    """
    training = splits[(splits["split"] == "train") & (splits["sha256"] != "")]
    labels_of = training.groupby("sha256")["label"].agg(set).to_dict()
    own = set(zip(training["sha256"], training["path"], strict=True))
    trained_N = np.array([key in own for key in zip(rows["sha256"], rows["path"], strict=True)])
    copied_N = rows["sha256"].isin(labels_of).to_numpy()
    facts: dict[str, Any] = {"means": SEEN, "training_pictures": int(trained_N.sum())}
    if trained_N.all():
        return facts | {"reason": TRAINED_ON}
    found_with = copied_N & ~trained_N
    same = sum(
        answers.classes[answers.truth_N[row]] in labels_of[rows["sha256"].iloc[row]]
        for row in np.flatnonzero(found_with)
    )
    return facts | {
        "with": _figures(answers, found_with, bootstrap) | {"same_label": same},
        "without": _figures(answers, ~copied_N & ~trained_N, bootstrap),
    }


def _figures(answers: Answers, kept_N: np.ndarray, bootstrap: Bootstrap) -> dict[str, Any]:
    pictures = {"pictures": int(kept_N.sum())}
    if not kept_N.any():
        return pictures
    said_N, count = next(iter(answers.readouts.values())), len(answers.classes)
    asked = answers.truth_N[kept_N], said_N[kept_N], count, answers.groups_N[kept_N]
    found = classification_intervals(*asked, bootstrap)
    return pictures | plain({name: found[name] for name in FIGURES})
