from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.config import parse
from likeness.errors import UserError
from likeness.sampling import (
    BatchPlan,
    ClassBalanced,
    ClassBalancedSpec,
    Shuffled,
    ShuffledSpec,
    build_plan,
    epoch_length,
)


def labels_of(sizes):
    return np.repeat(np.arange(len(sizes)), sizes)


def seen(batches):
    return Counter(row for batch in batches for row in batch)


def test_shuffled_shows_each_image_at_most_once_and_drops_less_than_a_batch():
    batches = Shuffled(images=23, batch_size=5, seed=0).batches(0)
    assert [len(batch) for batch in batches] == [5, 5, 5, 5]
    assert max(seen(batches).values()) == 1
    assert set(seen(batches)) <= set(range(23))


def test_shuffled_leaves_out_other_images_each_epoch():
    plan = Shuffled(images=23, batch_size=5, seed=0)
    left_out = [frozenset(range(23)) - set(seen(plan.batches(epoch))) for epoch in range(6)]
    assert len(set(left_out)) > 1
    assert frozenset.intersection(*left_out) == frozenset()


def test_shuffled_with_fewer_images_than_a_batch_shows_all_of_them():
    (batch,) = Shuffled(images=3, batch_size=5, seed=0).batches(7)
    assert sorted(batch) == [0, 1, 2]


@pytest.mark.parametrize(
    "plan",
    [Shuffled(40, 6, seed=3), ClassBalanced(labels_of([12, 4, 20, 9]), 3, 2, seed=3)],
    ids=["shuffled", "class_balanced"],
)
def test_batches_depend_on_seed_and_epoch_only(plan):
    assert isinstance(plan, BatchPlan)
    first = [plan.batches(epoch) for epoch in (0, 1, 2)]
    np.random.seed(5)  # noqa: NPY002  (a plan may not read the global generator)
    assert [plan.batches(epoch) for epoch in (2, 1, 0)] == first[::-1]
    assert first[0] != first[1]


def test_another_seed_gives_other_batches():
    labels = labels_of([12, 4, 20, 9])
    assert Shuffled(40, 6, seed=0).batches(0) != Shuffled(40, 6, seed=1).batches(0)
    assert ClassBalanced(labels, 3, 2, 0).batches(0) != ClassBalanced(labels, 3, 2, 1).batches(0)


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(2, 30), min_size=1, max_size=12),
    per_class=st.integers(1, 6),
    share=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_every_batch_has_p_classes_with_k_images_each(sizes, per_class, share, seed):
    classes = 1 + round(share * (len(sizes) - 1))
    generator = np.random.default_rng(seed)
    # Names and order of the rows must not matter.
    names = generator.choice(10_000, size=len(sizes), replace=False) - 5_000
    labels = generator.permutation(np.repeat(names, sizes))
    batches = ClassBalanced(labels, classes, per_class, seed).batches(seed % 5)
    assert len(batches) == epoch_length(len(labels), classes * per_class)
    for batch in batches:
        counts = Counter(labels[batch].tolist())
        assert len(counts) == classes
        assert set(counts.values()) == {per_class}
    for name in names:  # no image a second time before all of its class came once
        shown = seen(batches)
        times = [shown[row] for row in np.flatnonzero(labels == name).tolist()]
        assert max(times) - min(times) <= 1


def test_equal_classes_are_covered_but_for_rounding():
    labels = labels_of([16] * 6)
    batches = ClassBalanced(labels, 3, 4, seed=1).batches(0)
    assert len(batches) == 8
    assert seen(batches) == Counter(range(96))


def test_images_of_a_hand_differ_when_the_class_has_enough_of_them():
    plan = ClassBalanced(labels_of([5, 7, 30]), 3, 4, seed=0)
    for epoch in range(20):
        for batch in plan.batches(epoch):
            assert len(set(batch)) == len(batch)


def test_a_class_smaller_than_k_repeats_its_images_evenly():
    labels = labels_of([2, 40])
    for batch in ClassBalanced(labels, 2, 5, seed=0).batches(0):
        counts = Counter(row for row in batch if labels[row] == 0)
        assert sorted(counts.values()) == [2, 3]


def test_equal_budget_with_shuffled():
    labels = labels_of([12, 4, 20, 9, 2, 50])
    balanced = sum(len(batch) for batch in ClassBalanced(labels, 4, 3, seed=0).batches(0))
    shuffled = sum(len(batch) for batch in Shuffled(len(labels), 12, seed=0).batches(0))
    assert balanced == shuffled == 96
    assert abs(len(labels) - balanced) < 12


def test_a_large_class_is_in_every_batch_and_the_rest_goes_to_the_others():
    labels = labels_of([900, 60, 30, 30])
    batches = ClassBalanced(labels, 2, 5, seed=0).batches(0)
    assert len(batches) == 102
    by_class = Counter(labels[row] for batch in batches for row in batch)
    assert by_class[0] == 102 * 5
    shares = np.array([by_class[1], by_class[2], by_class[3]]) / (102 * 5)
    np.testing.assert_allclose(shares, [0.5, 0.25, 0.25], atol=0.02)


def test_over_epochs_each_class_is_shown_in_proportion_to_its_size():
    sizes = np.array([3, 5, 8, 13, 21, 50])
    plan = ClassBalanced(labels_of(sizes), 2, 4, seed=0)
    shown = np.zeros(6)
    for epoch in range(400):
        for batch in plan.batches(epoch):
            shown += np.bincount(plan.labels_N[batch], minlength=6)
    np.testing.assert_allclose(shown / shown.sum(), sizes / sizes.sum(), rtol=0.06)


def test_more_classes_than_hands_are_all_shown_sooner_or_later():
    labels = labels_of([2] * 50)  # one batch of 8 classes x 12 images per epoch
    plan = ClassBalanced(labels, 8, 12, seed=0)
    met = {int(labels[row]) for epoch in range(60) for row in plan.batches(epoch)[0]}
    assert met == set(range(50))


def test_a_class_with_one_image_is_refused_unless_k_is_one():
    labels = labels_of([4, 1, 4])
    with pytest.raises(UserError, match=r"at least two images of every class.*got 1 of class 1"):
        ClassBalanced(labels, 2, 2, seed=0)
    batch = ClassBalanced(labels, 3, 1, seed=0).batches(0)[0]
    assert sorted(labels[batch].tolist()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((3, 4, 0), r"classes_per_batch must be in \[1, 2\], the number of classes, got 3"),
        ((0, 4, 0), r"classes_per_batch must be in \[1, 2\], the number of classes, got 0"),
        ((2, 0, 0), "per_class must be >= 1, got 0"),
        ((2, 2, -1), "seed must be >= 0, got -1"),
    ],
)
def test_arguments_out_of_range(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        ClassBalanced(labels_of([4, 4]), *arguments)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0, 4, 0), "images must be >= 1, got 0"),
        ((4, 0, 0), "batch_size must be >= 1, got 0"),
        ((4, 4, -1), "seed must be >= 0, got -1"),
    ],
)
def test_shuffled_arguments_out_of_range(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        Shuffled(*arguments)


def test_names_become_plans():
    labels = labels_of([6, 6, 6])
    shuffled = build_plan(parse(ShuffledSpec, {"batch_size": 4}), labels, seed=2)
    assert shuffled == Shuffled(18, 4, seed=2)
    spec = parse(ClassBalancedSpec, {"classes_per_batch": 3, "per_class": 2})
    balanced = build_plan(spec, labels, seed=2)
    assert balanced.batches(1) == ClassBalanced(labels, 3, 2, seed=2).batches(1)
