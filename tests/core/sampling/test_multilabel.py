"""The plan of batches for images with several labels: its promises, checked on whole epochs."""

import os
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.config import parse
from likeness.errors import UserError
from likeness.sampling import (
    BatchPlan,
    ClassBalancedSpec,
    MultiLabel,
    MultiLabelSpec,
    Shuffled,
    ShuffledSpec,
    build_plan,
    epoch_length,
)

UNHOOKED = pytest.mark.skipif(os.environ.get("LIKENESS_PLAIN") != "1", reason="hook is on")


def table(images, shares, seed=0):
    """Labels drawn with the given shares; every image has the first if it has no other."""
    found = np.random.default_rng(seed).random((images, len(shares))) < shares
    found[~found.any(axis=1), 0] = True
    return found.astype(np.uint8)


def seen(batches):
    return Counter(row for batch in batches for row in batch)


@settings(max_examples=80)
@given(
    images=st.integers(1, 150),
    shares=st.lists(st.floats(0.01, 0.9), min_size=1, max_size=8),
    share=st.floats(0, 1),
    per_label=st.integers(1, 5),
    spare=st.integers(0, 20),
    seed=st.integers(0, 1000),
)
def test_every_batch_holds_k_images_of_p_labels(images, shares, share, per_label, spare, seed):
    labels = table(images, shares, seed)
    sizes = labels.sum(axis=0)
    drawn = 1 + round(share * (int((sizes > 0).sum()) - 1))
    size = drawn * per_label + spare
    batches = MultiLabel(labels, size, drawn, per_label, seed).batches(seed % 5)
    assert len(batches) == epoch_length(images, size)
    for batch in batches:
        assert len(batch) == len(set(batch)) == min(size, images)
        assert set(batch) <= set(range(images))
        # As many as the label has, if it has fewer than K.
        enough = (labels[batch].sum(axis=0) >= np.minimum(per_label, sizes)) & (sizes > 0)
        assert enough.sum() >= drawn


@settings(max_examples=40)
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 4))
def test_an_image_comes_again_only_when_all_of_a_label_have_come(seed, drawn, per_label):
    labels = table(120, [0.6, 0.3, 0.1, 0.03, 0.5], seed)
    drawn = min(drawn, int(labels.any(axis=0).sum()))
    shown = seen(MultiLabel(labels, 20, drawn, per_label, seed).batches(0))
    times = np.array([shown[row] for row in range(len(labels))])
    for row in np.flatnonzero(times > 1):
        least = [times[labels[:, label] > 0].min() for label in np.flatnonzero(labels[row])]
        assert max(least) >= 1


def test_each_image_comes_about_once():
    labels = table(1000, [0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02])
    plan = MultiLabel(labels, 50, 4, 5, seed=0)
    for epoch in range(5):
        shown = seen(plan.batches(epoch))
        assert sum(shown.values()) == 1000
        assert len(shown) >= 970
        assert max(shown.values()) <= 2


def test_rare_labels_come_no_more_rarely_than_their_share():
    labels = table(1000, [0.5, 0.4, 0.3, 0.2, 0.1, 0.02, 0.01])
    plan = MultiLabel(labels, 50, 4, 5, seed=0)
    epochs = [np.array([row for batch in plan.batches(e) for row in batch]) for e in range(20)]
    shown = np.mean([labels[rows].sum(axis=0) for rows in epochs], axis=0)
    assert (shown[4:] >= 0.97 * labels.sum(axis=0)[4:]).all()
    assert (shown >= 0.95 * labels.sum(axis=0)).all()


def test_images_of_a_rare_label_meet():
    """In random batches an image with a rare label is nearly always alone with it."""
    labels = table(1000, [0.5, 0.4, 0.3, 0.02])

    def company(plan):
        """Share of the images with the rare label that come with another one."""
        counts = np.array([labels[batch, 3].sum() for e in range(10) for batch in plan.batches(e)])
        return counts[counts > 1].sum() / counts.sum()

    assert company(Shuffled(1000, 20, 0)) < 0.45
    assert company(MultiLabel(labels, 20, 4, 5, 0)) > 0.9


def test_batches_depend_on_seed_and_epoch_only():
    labels = table(80, [0.5, 0.3, 0.2])
    plan = MultiLabel(labels, 12, 2, 3, seed=3)
    assert isinstance(plan, BatchPlan)
    first = [plan.batches(epoch) for epoch in (0, 1, 2)]
    np.random.seed(5)  # noqa: NPY002  (a plan may not read the global generator)
    assert [plan.batches(epoch) for epoch in (2, 1, 0)] == first[::-1]
    assert first[0] != first[1]
    assert MultiLabel(labels, 12, 2, 3, seed=4).batches(0) != first[0]


def test_equal_budget_with_shuffled():
    labels = table(97, [0.5, 0.3, 0.2])
    several = [len(batch) for batch in MultiLabel(labels, 12, 2, 3, 0).batches(0)]
    assert several == [len(batch) for batch in Shuffled(97, 12, 0).batches(0)]


def test_labels_that_never_occur_and_images_without_labels():
    labels = np.zeros((30, 4), np.uint8)
    labels[:10, 1] = labels[5:20, 3] = 1
    plan = MultiLabel(labels, 10, 2, 4, seed=0)
    shown = Counter()
    for epoch in range(10):
        for batch in plan.batches(epoch):
            assert (labels[batch][:, [1, 3]].sum(axis=0) >= 4).all()
            shown.update(batch)
    assert set(shown) == set(range(30))


def test_plans_are_built_for_the_form_of_the_labels():
    labels, classes = table(40, [0.5, 0.3, 0.2]), np.arange(40) % 4
    spec = parse(MultiLabelSpec, {"batch_size": 9, "labels_per_batch": 2, "per_label": 3})
    assert build_plan(spec, labels, seed=2).batches(1) == MultiLabel(labels, 9, 2, 3, 2).batches(1)
    shuffled = build_plan(parse(ShuffledSpec, {"batch_size": 4}), labels, seed=2)
    assert shuffled.batches(0) == Shuffled(40, 4, 2).batches(0)
    message = "'class_balanced' or 'shuffled' for one class per image, got 'multilabel'"
    with pytest.raises(UserError, match=f"^sampler.name must be {message}"):
        build_plan(spec, classes, seed=0)
    message = "'multilabel' or 'shuffled' for several labels per image, got 'class_balanced'"
    with pytest.raises(UserError, match=f"^sampler.name must be {message}"):
        build_plan(ClassBalancedSpec(), labels, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            (9, 0, 3),
            r"labels_per_batch must be in \[1, 2\], the number of labels that occur, got 0",
        ),
        (
            (9, 3, 3),
            r"labels_per_batch must be in \[1, 2\], the number of labels that occur, got 3",
        ),
        ((9, 2, 0), "per_label must be >= 1, got 0"),
        ((5, 2, 3), "batch_size must be >= 6, labels_per_batch times per_label, got 5"),
    ],
)
def test_options_are_checked(options, message):
    labels = table(40, [0.5, 0.3, 0.0])
    with pytest.raises(UserError, match=message):
        MultiLabel(labels, *options, seed=0)


def test_other_arguments_are_checked():
    labels = table(40, [0.5, 0.3])
    with pytest.raises(UserError, match="seed must be >= 0, got -1"):
        MultiLabel(labels, 9, 2, 3, seed=-1)
    with pytest.raises(UserError, match="labels must be at least one image's, got 0"):
        MultiLabel(labels[:0], 9, 2, 3, seed=0)


@pytest.mark.plain
@UNHOOKED
def test_classes_are_refused():
    with pytest.raises(UserError, match=r"labels must be of shape \(N, L\), got \(4,\)"):
        MultiLabel(np.arange(4), 9, 2, 3, seed=0)
