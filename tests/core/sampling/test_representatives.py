"""Representatives: who stands for a class, how long, and with whom its class is in a batch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.config import parse
from likeness.errors import UserError
from likeness.sampling import BatchPlan, Representatives, RepresentativesSpec, build_plan
from likeness.training import EpochHook

LABELS = np.repeat([7, -3, 20, 5, 11, 2], [9, 4, 12, 6, 2, 8])
N = len(LABELS)


def plan_of(labels=LABELS, **options):
    given = {"classes_per_batch": 3, "per_class": 3, "epochs_per_round": 2, "seed": 4}
    return Representatives(labels, **{**given, **options})


def embedded(seed=0, count=N):
    rows = torch.randn(count, 5, generator=torch.Generator().manual_seed(seed))
    return {"embedding": rows}


def begin(plan, epoch, embeddings=None):
    plan.on_epoch_start(epoch, embedded() if embeddings is None else embeddings, torch.zeros(N))


@settings(max_examples=40)
@given(
    sizes=st.lists(st.integers(2, 20), min_size=1, max_size=9),
    per_class=st.integers(2, 5),
    share=st.floats(0, 1),
    hard=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_every_batch_has_p_classes_their_representatives_and_k_images_each(
    sizes, per_class, share, hard, seed
):
    generator = np.random.default_rng(seed)
    names = generator.choice(1000, size=len(sizes), replace=False) - 500
    labels = generator.permutation(np.repeat(names, sizes))
    classes = 1 + round(share * (len(sizes) - 1))
    plan = plan_of(
        labels, classes_per_batch=classes, per_class=per_class, hard_share=hard, seed=seed
    )
    if seed % 2:
        plan.on_epoch_start(0, embedded(seed, len(labels)), torch.zeros(len(labels)))
    batches = plan.batches(seed % 4)
    assert len(batches) == max(1, len(labels) // (classes * per_class))
    for batch in batches:
        assert set(Counter(labels[batch]).values()) == {per_class}
        assert len(set(labels[batch])) == classes
        marked = plan.is_representative(np.array(batch))
        assert marked.sum() == classes  # of each class once
        assert set(np.array(batch)[marked]) <= set(plan.chosen_C)
        assert all(isinstance(row, int) for row in batch)


def test_each_class_has_one_of_its_own():
    plan = plan_of()
    assert LABELS[plan.chosen_C].tolist() == sorted(set(LABELS.tolist()))
    assert isinstance(plan, BatchPlan)
    assert isinstance(plan, EpochHook)


def test_batches_depend_on_seed_epoch_and_round_only():
    plan, same, other = plan_of(), plan_of(), plan_of(seed=5)
    for each in (plan, same, other):
        begin(each, 0)
    first = [plan.batches(epoch) for epoch in (0, 1)]
    np.random.seed(5)  # noqa: NPY002  (a plan may not read the global generator)
    torch.manual_seed(5)
    assert [same.batches(epoch) for epoch in (1, 0)] == first[::-1]
    assert first[0] != first[1]
    assert other.batches(0) != first[0]


def test_representatives_stay_through_a_round_and_all_change_with_the_next():
    plan = plan_of()
    begin(plan, 0)
    kept = plan.chosen_C.copy()
    assert [plan.wants_embeddings(epoch) for epoch in range(5)] == [True, False, True, False, True]
    plan.on_epoch_start(1, embedded(3), torch.zeros(N))  # another hook wanted them
    assert np.array_equal(plan.chosen_C, kept)
    begin(plan, 2)
    assert (plan.chosen_C != kept).all()
    assert np.array_equal(LABELS[plan.chosen_C], LABELS[kept])


def test_other_images_are_dealt_before_any_comes_again():
    labels = np.repeat(np.arange(4), 9)
    plan = plan_of(labels, classes_per_batch=4, per_class=5)
    seen = Counter(row for batch in plan.batches(0) for row in batch)
    others = {row: times for row, times in seen.items() if row not in plan.chosen_C}
    assert max(others.values()) == 1
    assert all(seen[row] == 1 for row in plan.chosen_C)  # one batch


def two_modes(count=40):
    """One class in two clouds, and another class."""
    labels = np.repeat([0, 1], [count, count])
    mode = np.tile([0, 1], count)
    corners = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    noise = 0.05 * torch.randn(2 * count, 3, generator=torch.Generator().manual_seed(1))
    return labels, mode, {"embedding": corners[torch.from_numpy(mode)] + noise}


def changes_of_mode(choice):
    labels, mode, embeddings = two_modes()
    plan = plan_of(labels, classes_per_batch=2, choice=choice, epochs_per_round=1)
    changed = []
    for epoch in range(12):
        before = mode[plan.chosen_C]
        begin(plan, epoch, embeddings)
        changed += [] if epoch == 0 else (mode[plan.chosen_C] != before).tolist()
    return sum(changed) / len(changed)


def test_the_next_representative_is_far_from_the_last_and_chance_does_not_do_that():
    assert changes_of_mode("spread") >= 0.9
    assert changes_of_mode("random") < 0.9


def twins(hard_share):
    """Ten classes in five pairs of near ones: the share of batches of two that are such a pair."""
    labels = np.repeat(np.arange(10), 8)
    generator = torch.Generator().manual_seed(2)
    corner = torch.randn(5, 6, generator=generator)[torch.arange(10) // 2]
    rows = corner[torch.from_numpy(labels)] + 0.1 * torch.randn(80, 6, generator=generator)
    plan = plan_of(labels, classes_per_batch=2, per_class=2, hard_share=hard_share)
    begin(plan, 0, {"embedding": rows})
    batches = [labels[batch] // 2 for epoch in range(3) for batch in plan.batches(epoch)]
    return sum(len(set(batch.tolist())) == 1 for batch in batches) / len(batches)


def test_classes_of_a_batch_are_hard_to_tell_apart_and_not_by_chance():
    assert twins(1.0) == 1.0
    assert twins(0.0) < 0.5


def test_every_class_is_a_seed_in_turn():
    labels = np.repeat(np.arange(6), [2, 2, 2, 2, 2, 50])
    plan = plan_of(labels, classes_per_batch=1, per_class=2)
    first = [labels[batch[0]] for batch in plan.batches(0)]
    assert sorted(Counter(first).values()) == [5] * 6


def test_state_goes_on_as_it_was():
    plan, fresh = plan_of(), plan_of(seed=4)
    begin(plan, 0)
    begin(plan, 2, embedded(8))
    state = {name: tensor.clone() for name, tensor in plan.state_dict().items()}
    fresh.load_state_dict(state)
    assert fresh.batches(3) == plan.batches(3)
    begin(plan, 4, embedded(9))  # the copy is its own
    assert np.array_equal(fresh.chosen_C, state["chosen"].numpy())


def test_classes_of_two_images_and_zero_vectors_are_fine():
    labels = np.repeat([0, 1], 2)
    plan = plan_of(labels, classes_per_batch=2, per_class=4)
    begin(plan, 2, {"embedding": torch.zeros(4, 3, dtype=torch.bfloat16)})
    (batch,) = plan.batches(2)
    assert Counter(labels[batch]) == {0: 4, 1: 4}  # the other image three times


def test_the_configuration_builds_it():
    spec = parse(RepresentativesSpec, {"classes_per_batch": 2, "per_class": 2, "pool": 3})
    plan = build_plan(spec, LABELS, seed=1)
    assert isinstance(plan, Representatives)
    assert len(plan.batches(0)[0]) == 4


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"classes_per_batch": 7}, r"classes_per_batch must be in \[1, 6\], .*, got 7"),
        ({"per_class": 1}, "per_class must be >= 2, got 1"),
        ({"pool": 0}, "pool must be >= 1"),
        ({"epochs_per_round": 0}, "epochs_per_round must be >= 1"),
        ({"hard_share": 1.5}, r"hard_share must be in \[0, 1\]"),
        ({"seed": -1}, "seed must be >= 0"),
        (
            {"labels": np.array([0, 0, 1, 2, 2, 3, 3])},
            "labels must be at least two images of every class",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        plan_of(**options)


@pytest.mark.plain
def test_an_unknown_choice_is_named():
    with pytest.raises(UserError, match="choice must be one of spread, random, got 'near'"):
        plan_of(choice="near")


def test_several_labels_per_image_have_no_representatives():
    with pytest.raises(UserError, match=r"sampler.name must be 'multilabel' or 'shuffled'"):
        build_plan(RepresentativesSpec(), np.ones((6, 3), int), seed=0)
