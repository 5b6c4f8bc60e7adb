"""P classes x K sequences x T frames, checked frame by frame with loops from the definition."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.config import parse
from likeness.errors import UserError
from likeness.sampling import BatchPlan, Clips, ClipsSpec, build_plan, pick_frames

PICKS = ("random", "segments", "even")


@dataclass
class Film:
    """Frames in any order: class, sequence, camera and number in its sequence of each row."""

    labels: np.ndarray
    sequence: np.ndarray
    camera: np.ndarray
    frame: np.ndarray

    def plan(self, classes=2, clips=2, frames=3, pick="random", seed=0, **changes):
        options = {"frame_N": self.frame, **changes}
        return Clips(
            self.labels, self.sequence, self.camera, classes, clips, frames, pick, seed, **options
        )

    def length(self, sequence):
        return int((self.sequence == sequence).sum())

    def sequences(self, label):
        return np.unique(self.sequence[self.labels == label]).tolist()

    def cameras(self, sequences):
        return {int(self.camera[self.sequence == number][0]) for number in sequences}


def film(classes, generator=None):
    """From `[[(camera, frames), ...] of each class]`; shuffled rows and odd numbers, if asked."""
    rows = []
    number = 0
    for label, sequences in enumerate(classes):
        for camera, frames in sequences:
            rows += [
                (label * 7 - 3, number * 5 + 2, camera, 10 + 2 * time) for time in range(frames)
            ]
            number += 1
    table = np.array(rows, dtype=np.int64)
    if generator is not None:
        table = generator.permutation(table)
    return Film(*table.T)


def blocks(batch, size):
    return [batch[start : start + size] for start in range(0, len(batch), size)]


SEQUENCE = st.tuples(st.integers(0, 3), st.integers(1, 7))
CLASSES = st.lists(st.lists(SEQUENCE, min_size=1, max_size=6), min_size=1, max_size=5)


@settings(max_examples=60)
@given(
    classes=CLASSES.filter(lambda found: min(sum(f for _, f in one) for one in found) >= 2),
    clips=st.integers(1, 4),
    frames=st.integers(1, 5),
    pick=st.sampled_from(PICKS),
    share=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_every_batch_has_p_classes_k_sequences_t_frames(classes, clips, frames, pick, share, seed):
    per_batch = 1 + round(share * (len(classes) - 1))
    data = film(classes, np.random.default_rng(seed))
    batches = data.plan(per_batch, clips, frames, pick, seed).batches(seed % 5)
    assert len(batches) == max(1, sum(map(len, classes)) // (per_batch * clips))
    for batch in batches:
        of_classes = blocks(batch, clips * frames)
        labels = [set(data.labels[block].tolist()) for block in of_classes]
        assert [len(one) for one in labels] == [1] * per_batch
        assert len(set.union(*labels)) == per_batch
        for (label,), block in zip(labels, of_classes, strict=True):
            check_class(data, label, block, clips, frames)


def check_class(data, label, block, clips, frames):
    """Distinct sequences and cameras as far as there are any; frames as few times as can be."""
    drawn = Counter(data.sequence[block].tolist())
    there = data.sequences(label)
    assert len(drawn) == min(clips, len(there))
    assert len(data.cameras(drawn)) == min(clips, len(data.cameras(there)))
    assert max(drawn.values()) - min(drawn.values()) <= frames  # times differ by one at most
    place = 0
    for sequence, count in drawn.items():
        rows = block[place : place + count]  # sequence by sequence
        place += count
        assert set(data.sequence[rows].tolist()) == {sequence}
        times = data.frame[rows].tolist()
        assert times == sorted(times)
        shown = Counter(times)
        length = data.length(sequence)
        assert len(shown) == min(count, length)
        assert max(shown.values()) == -(-count // length)


@pytest.mark.parametrize("pick", PICKS)
def test_batches_depend_on_seed_and_epoch_only(pick):
    data = film([[(0, 5), (1, 9), (2, 2)], [(0, 4), (0, 7)], [(1, 8), (2, 8), (3, 8), (0, 1)]])
    plan = data.plan(pick=pick, seed=3)
    assert isinstance(plan, BatchPlan)
    first = [plan.batches(epoch) for epoch in (0, 1, 2)]
    np.random.seed(5)  # noqa: NPY002  (a plan may not read the global generator)
    assert [plan.batches(epoch) for epoch in (2, 1, 0)] == first[::-1]
    assert first[0] != first[1]
    assert data.plan(pick=pick, seed=4).batches(0) != first[0]


def test_each_sequence_comes_once_per_epoch_where_cameras_allow():
    data = film([[(camera, 6) for camera in (0, 1, 0, 1)]] * 4)
    plan = data.plan(classes=2, clips=2, frames=3)
    for epoch in range(10):
        batches = plan.batches(epoch)
        shown = Counter(data.sequence[row] for batch in batches for row in batch)
        assert len(batches) == 4
        assert set(shown.values()) == {3}
        assert len(shown) == 16  # M * T = 48 images, of N = 96


def test_a_rare_camera_is_shown_more_often_and_nothing_is_left_out_over_epochs():
    data = film([[(0, 4)] * 7 + [(1, 4)], [(0, 4)] * 3 + [(2, 4)] * 5])
    plan = data.plan(classes=2, clips=2, frames=2)
    shown = Counter(
        data.sequence[row] for epoch in range(30) for batch in plan.batches(epoch) for row in batch
    )
    assert set(shown) == set(data.sequence.tolist())
    rare = data.sequence[(data.labels == -3) & (data.camera == 1)][0]
    others = [shown[number] for number in data.sequences(-3) if number != rare]
    assert shown[rare] == sum(others)  # it is in every pair
    assert max(others) < 2 * min(others)


def test_every_frame_is_reached_over_epochs_but_for_even_ones():
    data = film([[(0, 7), (1, 5)], [(0, 6), (1, 8)]])
    for pick in PICKS:
        plan = data.plan(pick=pick)
        met = {row for epoch in range(60) for batch in plan.batches(epoch) for row in batch}
        assert met == set(range(26)) if pick != "even" else len(met) == 12


def test_random_frames_are_uniform_and_without_replacement():
    generator = np.random.default_rng(0)
    drawn = np.stack([pick_frames(8, 3, "random", generator) for _ in range(4000)])
    assert (np.diff(drawn, axis=1) > 0).all()
    np.testing.assert_allclose(np.bincount(drawn.ravel()) / 4000, 3 / 8, atol=0.03)


@pytest.mark.parametrize(("frames", "wanted"), [(4, 4), (9, 3), (10, 4), (23, 7), (5, 1)])
def test_segments_are_equal_parts_with_one_random_frame_each(frames, wanted):
    generator = np.random.default_rng(1)
    met = [set() for _ in range(wanted)]
    for _ in range(200):
        for part, place in zip(
            met, pick_frames(frames, wanted, "segments", generator), strict=True
        ):
            part.add(int(place))
    assert [place for part in met for place in sorted(part)] == list(range(frames))
    sizes = [len(part) for part in met]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("frames", "wanted", "expected"),
    [
        (9, 3, [1, 4, 7]),
        (10, 4, [0, 3, 5, 8]),
        (5, 5, [0, 1, 2, 3, 4]),
        (7, 1, [3]),
        (3, 7, [0, 0, 0, 1, 1, 2, 2]),
        (1, 4, [0, 0, 0, 0]),
    ],
)
def test_even_frames(frames, wanted, expected):
    assert pick_frames(frames, wanted, "even", np.random.default_rng(0)).tolist() == expected


@pytest.mark.parametrize("pick", PICKS)
@pytest.mark.parametrize(("frames", "wanted"), [(2, 5), (3, 9), (4, 5), (1, 3)])
def test_short_sequences_repeat_in_turn(pick, frames, wanted):
    counts = Counter(pick_frames(frames, wanted, pick, np.random.default_rng(0)).tolist())
    assert len(counts) == frames
    assert set(counts.values()) <= {wanted // frames, -(-wanted // frames)}


def test_the_one_sequence_of_a_class_comes_as_one_long_clip():
    data = film([[(0, 6)], [(0, 6), (1, 6)]])
    (batch,) = data.plan(classes=2, clips=2, frames=3, pick="random").batches(0)
    rows = [row for row in batch if data.labels[row] == -3]
    assert data.frame[rows].tolist() == [10, 12, 14, 16, 18, 20]  # all six, none twice


def test_without_frame_numbers_the_rows_are_in_time_order():
    data = film([[(0, 6), (1, 6)], [(0, 6), (1, 6)]])
    backwards = replace(data, frame=data.frame[::-1].copy())
    (rows,) = data.plan(frame_N=None, pick="even").batches(0)
    (same,) = data.plan(pick="even").batches(0)
    (turned,) = backwards.plan(pick="even").batches(0)
    assert rows == same
    for clip, other in zip(blocks(rows, 3), blocks(turned, 3), strict=True):
        assert clip == sorted(clip)
        assert other == sorted(other, reverse=True)


GOOD = film([[(0, 3), (1, 2)], [(0, 3), (2, 3)]])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"classes": 3}, r"classes_per_batch must be in \[1, 2\], the number of classes, got 3"),
        ({"classes": 0}, r"classes_per_batch must be in \[1, 2\], the number of classes, got 0"),
        ({"clips": 0}, "clips_per_class must be >= 1, got 0"),
        ({"frames": 0}, "frames_per_clip must be >= 1, got 0"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
    ],
)
def test_arguments_out_of_range(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        GOOD.plan(**changes)


@pytest.mark.plain
def test_arguments_of_another_type():
    with pytest.raises(UserError, match=r"frame must be of shape \(11,\), got \(3,\)"):
        GOOD.plan(frame_N=np.arange(3))
    with pytest.raises(UserError, match="pick must be one of random, segments, even, got 'first'"):
        GOOD.plan(pick="first")


def test_a_sequence_of_two_classes_or_cameras_is_refused():
    labels = GOOD.labels.copy()
    labels[4] = 4
    with pytest.raises(UserError, match="of one class throughout, got -3 and 4 in sequence 7"):
        replace(GOOD, labels=labels).plan()
    camera = GOOD.camera.copy()
    camera[2] = 8
    with pytest.raises(UserError, match="of one camera throughout, got 0 and 8 in sequence 2"):
        replace(GOOD, camera=camera).plan()


def test_a_class_with_one_frame_is_refused_unless_one_frame_is_asked_for():
    data = film([[(0, 3), (1, 2)], [(0, 1)]])
    sentence = (
        r"at least two frames of every class for a plan of clips \(drop the class\), got 1 of"
    )
    for sizes in ((2, 1), (1, 2)):
        with pytest.raises(UserError, match=sentence + " class 4"):
            data.plan(1, *sizes)
    assert data.plan(2, 1, 1).batches(0)


def test_names_become_plans():
    spec = parse(ClipsSpec, {"classes_per_batch": 2, "frames_per_clip": 3, "pick": "segments"})
    columns = {"sequence": GOOD.sequence, "camera": GOOD.camera, "frame": GOOD.frame}
    plan = build_plan(spec, GOOD.labels, seed=2, columns=columns)
    assert plan.batches(1) == GOOD.plan(pick="segments", seed=2).batches(1)
    without = build_plan(spec, GOOD.labels, seed=2, columns={**columns, "frame": GOOD.frame * -1})
    assert without.batches(1) != plan.batches(1)
    rule = "sampler.name must be another than 'clips' for images without the column"
    with pytest.raises(UserError, match=f"{rule} sequence and camera, got 'clips'"):
        build_plan(spec, GOOD.labels, seed=2)
    with pytest.raises(UserError, match=f"{rule} camera, got 'clips'"):
        build_plan(spec, GOOD.labels, seed=2, columns={"sequence": GOOD.sequence})
    with pytest.raises(UserError, match=r"sampler\.name must be 'multilabel' or 'shuffled'"):
        build_plan(spec, np.ones((4, 2), np.uint8), seed=2, columns=columns)
