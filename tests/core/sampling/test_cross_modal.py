from collections import Counter

import numpy as np
import pytest

from likeness.config import parse
from likeness.errors import UserError
from likeness.sampling import BatchPlan, CrossModal, CrossModalSpec, build_plan, epoch_length

# Classes of 12 + 6, 5 + 9, 4 + 4 and 20 + 2 images of the two modalities, mixed up.
SIZES = [(12, 6), (5, 9), (4, 4), (20, 2)]
CELLS = [
    (c, m) for c, sizes in enumerate(SIZES) for m, size in enumerate(sizes) for _ in range(size)
]
ORDER = np.random.default_rng(0).permutation(len(CELLS))
LABELS, MODALITY = np.array(CELLS)[ORDER].T


def plan(**changes):
    options = {"classes_per_batch": 3, "per_class": 4, "seed": 3, **changes}
    return CrossModal(options.pop("labels", LABELS), options.pop("modality", MODALITY), **options)


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_every_batch_has_p_classes_with_half_of_k_of_each_modality(epoch):
    batches = plan().batches(epoch)
    assert isinstance(plan(), BatchPlan)
    assert len(batches) == epoch_length(len(LABELS), 12)
    for batch in batches:
        cells = Counter(zip(LABELS[batch].tolist(), MODALITY[batch].tolist(), strict=True))
        assert len(cells) == 6
        assert set(cells.values()) == {2}


def test_nothing_comes_twice_before_all_of_its_class_and_modality_came():
    shown = Counter(row for batch in plan().batches(0) for row in batch)
    for cell in set(CELLS):
        rows = np.flatnonzero((cell[0] == LABELS) & (cell[1] == MODALITY))
        times = [shown[row] for row in rows.tolist()]
        assert max(times) - min(times) <= 1


def test_batches_depend_on_seed_and_epoch_only():
    first = [plan().batches(epoch) for epoch in (0, 1)]
    assert [plan().batches(epoch) for epoch in (1, 0)] == first[::-1]
    assert first[0] != first[1]
    assert plan(seed=4).batches(0) != first[0]


def test_a_single_image_of_a_modality_is_shown_as_often_as_needed():
    labels, modality = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 1, 0, 0, 1])
    (batch,) = plan(labels=labels, modality=modality, classes_per_batch=2).batches(0)
    assert Counter(modality[batch].tolist()) == {0: 4, 1: 4}


def test_it_is_built_by_name():
    spec = parse(CrossModalSpec, {"classes_per_batch": 3, "per_class": 4})
    built = build_plan(spec, LABELS, seed=3, columns={"modality": MODALITY})
    assert built.batches(2) == plan().batches(2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"per_class": 3}, "per_class must be even, half of it of each modality, got 3"),
        ({"per_class": 0}, "per_class must be even"),
        ({"classes_per_batch": 5}, r"classes_per_batch must be in \[1, 4\], .*, got 5"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
        ({"modality": np.zeros_like(LABELS)}, r"modality must be of two values, got \[0\]"),
        ({"modality": LABELS}, "modality must be of two values, got"),
        (
            {"modality": np.where(LABELS == 2, 1, MODALITY)},
            "images of both modalities in every class .*, got none of modality 0 in class 2",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        plan(**changes)


def test_images_without_the_column_and_several_labels_are_refused():
    with pytest.raises(UserError, match="another than 'cross_modal' for images without the column"):
        build_plan(CrossModalSpec(), LABELS, seed=0)
    with pytest.raises(UserError, match="'multilabel' or 'shuffled' for several labels per image"):
        build_plan(CrossModalSpec(), np.ones((3, 2)), seed=0, columns={"modality": np.arange(3)})
