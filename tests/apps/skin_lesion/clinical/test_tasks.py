"""Binary tasks that classes make, and whose score is what."""

import numpy as np
import pytest

from fixtures.clinical import (
    HAM,
    ISIC_2017,
    lesions,
)
from likeness_apps.skin_lesion.clinical.tasks import binary_tasks, named, task_items


@pytest.mark.parametrize(
    ("classes", "tasks"),
    [
        (["benign", "malignant"], {"malignant": ({"malignant"}, {"benign"})}),
        (
            ISIC_2017,
            {
                "melanoma": ({"melanoma"}, {"nevus", "seborrheic_keratosis"}),
                "seborrheic_keratosis": ({"seborrheic_keratosis"}, {"melanoma", "nevus"}),
            },
        ),
        (
            HAM,
            {
                "malignant": ({"akiec", "bcc", "mel"}, {"bkl", "df", "nv", "vasc"}),
                "melanoma": ({"mel"}, set(HAM) - {"mel"}),
            },
        ),
        (
            ["mel", "nv", "scc", "unk"],
            {"malignant": ({"mel", "scc"}, {"nv"}), "melanoma": ({"mel"}, {"nv", "scc", "unk"})},
        ),
        (  # the same task is named once
            ["common_nevus", "atypical_nevus", "melanoma"],
            {"melanoma": ({"melanoma"}, {"common_nevus", "atypical_nevus"})},
        ),
        (  # a wart: nobody says what it is
            ["MEL", "Common nevus", "wart"],
            {"melanoma": ({"MEL"}, {"Common nevus"})},
        ),
        (["melanoma", "other"], {"melanoma": ({"melanoma"}, {"other"})}),
        (["mel", "bcc"], {"melanoma": ({"mel"}, {"bcc"})}),  # all are malignant
        (["nv", "df"], {}),
        (["wart", "cyst"], {}),
    ],
)
def test_tasks_of_classes(classes, tasks):
    found = {
        name: (set(named(classes, task.positive)), set(named(classes, task.negative)))
        for name, task in binary_tasks(classes).items()
    }
    assert found == tasks
    for task in binary_tasks(classes).values():
        parts = [*task.positive, *task.negative, *task.left_out]
        assert sorted(parts) == list(range(len(classes)))


def test_items_of_a_task_by_a_loop():
    classes = ["mel", "nv", "scc", "unk"]
    answers, _ = lesions(60, classes=classes)
    items = task_items(
        binary_tasks(classes)["malignant"],
        answers.truth_N,
        answers.probabilities_NC,
        answers.groups_N,
    )
    wanted = []
    for row, number in enumerate(answers.truth_N):
        if classes[number] != "unk":
            mel, _, scc, _ = answers.probabilities_NC[row]
            wanted.append((row, classes[number] in ("mel", "scc"), mel + scc))
    rows, truth, scores = zip(*wanted, strict=True)
    assert items.rows_A.tolist() == list(rows)
    assert items.truth_A.tolist() == list(truth)
    assert items.scores_A == pytest.approx(np.array(scores))
    assert items.groups_A.tolist() == [answers.groups_N[row] for row in rows]


def test_scores_never_leave_the_unit_interval():
    answers, _ = lesions(20, classes=["bcc", "mel", "nv"])
    both = np.full((20, 3), 0.9)
    items = task_items(
        binary_tasks(answers.classes)["malignant"], answers.truth_N, both, answers.groups_N
    )
    assert (items.scores_A == 1).all()
