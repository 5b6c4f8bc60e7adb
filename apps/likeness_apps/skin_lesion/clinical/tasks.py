"""The yes-or-no questions of a set of diagnoses: malignant? melanoma? seborrheic keratosis?

Legend: N items, C classes, A items that count for a task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from likeness_apps.skin_lesion.binary import MALIGNANT, MELANOMA, tidy
from likeness_apps.skin_lesion.diagnoses import DIAGNOSES

KERATOSIS = "seborrheic_keratosis"
MELANOMA_LABELS = ("mel", "melanoma")
ISIC_2016 = ("malignant", "benign")
ISIC_2017 = ("melanoma", "seborrheic_keratosis", "nevus")
NO_TASK = "no class is known to be malignant, or no other class is known not to be"


@dataclass(frozen=True)
class BinaryTask:
    """One class, or several, against the others.

    Attributes:
        positive: numbers of the classes whose summed probability is the score.
        negative: numbers of the classes that they are told from.
        left_out: numbers of the classes whose items do not count, since nobody says which they are.
    """

    positive: tuple[int, ...]
    negative: tuple[int, ...]
    left_out: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class TaskItems:
    """The items of a task.

    Attributes:
        rows_A: their places among all N items, rising.
        truth_A: whether they are positive.
        scores_A: summed probability of the positive classes, in [0, 1].
        groups_A: patient, lesion, ...
    """

    rows_A: Int[np.ndarray, " A"]
    truth_A: Bool[np.ndarray, " A"]
    scores_A: Float[np.ndarray, " A"]
    groups_A: Shaped[np.ndarray, " A"]


def binary_tasks(classes: Sequence[str]) -> dict[str, BinaryTask]:
    """The tasks that these classes allow, by name.

    `malignant`: the classes that `DIAGNOSES` calls malignant against those that it calls benign.
    `melanoma`: that class against all others. `seborrheic_keratosis`: only in the three classes of
    ISIC 2017, whose second task it is. A label that `DIAGNOSES` does not know takes part in none
    (see `binary.tidy` for its writing); one of unsaid malignancy (`unk`) is no melanoma, but takes
    no part in `malignant`. Where melanoma is the only malignant class, both would be the same task:
    it is called `melanoma`. A task without a positive or without a negative class is none.

    Args:
        classes: the labels, in the order of their numbers.
    """
    labels = [tidy(label) for label in classes]
    known = [number for number, label in enumerate(labels) if label in DIAGNOSES]
    said = [number for number in known if DIAGNOSES[labels[number]].malignant is not None]
    malignant = [number for number in said if DIAGNOSES[labels[number]].malignant]
    melanoma = [number for number in known if labels[number] in MELANOMA_LABELS]
    keratosis = [number for number in known if labels[number] == KERATOSIS]
    found = {}
    if malignant != melanoma:
        found[MALIGNANT] = _task(len(labels), malignant, said)
    found[MELANOMA] = _task(len(labels), melanoma, known)
    if set(labels) <= set(ISIC_2017):
        found[KERATOSIS] = _task(len(labels), keratosis, known)
    return {name: task for name, task in found.items() if task.positive and task.negative}


def task_scores(
    task: BinaryTask, probabilities_NC: Shaped[np.ndarray, "N C"]
) -> Float[np.ndarray, " N"]:
    """Summed probability of the positive classes, float64, cut to [0, 1].

    Only rows that sum to more than 1 (class scores of somebody's table) are cut by more than the
    last digit.
    """
    summed_N = probabilities_NC[:, list(task.positive)].astype(np.float64).sum(axis=1)
    return np.asarray(summed_N.clip(0.0, 1.0))


def task_items(
    task: BinaryTask,
    truth_N: Int[np.ndarray, " N"],
    probabilities_NC: Shaped[np.ndarray, "N C"],
    groups_N: Shaped[np.ndarray, " N"],
) -> TaskItems:
    """The items of the task's classes, maybe none.

    Args:
        task: the task.
        truth_N: class numbers.
        probabilities_NC: in [0, 1].
        groups_N: patient, lesion, ...
    """
    rows_A = np.flatnonzero(~np.isin(truth_N, task.left_out))
    return TaskItems(
        rows_A=rows_A,
        truth_A=np.isin(truth_N[rows_A], task.positive),
        scores_A=task_scores(task, probabilities_NC[rows_A]),
        groups_A=groups_N[rows_A],
    )


def named(classes: Sequence[str], numbers: Sequence[int]) -> list[str]:
    """The names of class numbers."""
    return [classes[number] for number in numbers]


def _task(count: int, positive: Sequence[int], counted: Sequence[int]) -> BinaryTask:
    return BinaryTask(
        positive=tuple(positive),
        negative=tuple(number for number in counted if number not in positive),
        left_out=tuple(number for number in range(count) if number not in counted),
    )
