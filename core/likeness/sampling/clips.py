"""A batch plan of clips: P classes, K sequences of each, T frames of each sequence.

For classes that are seen in sequences of frames by several cameras. A row is a frame.

Shapes: N = frames, M = sequences, C = classes, P = classes of a batch, K = sequences of each of
them, T = frames of each sequence, L = batches of an epoch, F = frames of one sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from likeness.errors import UserError, require
from likeness.sampling.plans import choose_classes, epoch_length, members, share_out

Pick = Literal["random", "segments", "even"]
PICKS: tuple[Pick, ...] = ("random", "segments", "even")


@dataclass(frozen=True, eq=False)
class Clips:
    """P different classes with K sequences of T frames each; each sequence about once per epoch.

    A batch has P * K * T rows, class by class, sequence by sequence, the frames of a sequence in
    time order. The K sequences of a class differ, and come from different cameras as far as the
    class has them; among those, the ones shown least come first. So where one camera has few
    sequences of a class, they are shown more often than the others. A sequence comes m times only
    if its class has fewer than K; it is then one clip of m * T frames, not m clips: a sequence is
    no positive of itself.

    Of the F frames of a sequence come

    - `random`: any T, none twice (Wang et al. 2019, official code);
    - `segments`: a random one out of each of T equal parts (Wang et al. 2016, temporal segments);
    - `even`: the middle one of each of T equal parts, the same ones in each epoch.

    A sequence of fewer than T frames repeats them in turn.

    An epoch has M // (P * K) batches, at least one. It therefore shows about M * T images, where
    the other plans show all N: to compare plans on equally many images, compare epochs times
    batches times batch size.

    Args:
        labels_N: class of each frame, any integers.
        sequence_N: sequence of each frame, any integers.
        camera_N: camera of each frame, any integers.
        classes_per_batch: P, in [1, C].
        clips_per_class: K, >= 1.
        frames_per_clip: T, >= 1.
        pick: which frames, see above.
        seed: of the run, >= 0.
        frame_N: number of each frame in its sequence; None: the rows are in time order.

    Raises:
        UserError: if an argument is out of range, a sequence has two classes or two cameras, or a
            class has a single frame.
    """

    labels_N: Int[np.ndarray, " N"]
    sequence_N: Int[np.ndarray, " N"]
    camera_N: Int[np.ndarray, " N"]
    classes_per_batch: int
    clips_per_class: int
    frames_per_clip: int
    pick: Pick
    seed: int
    frame_N: Int[np.ndarray, " N"] | None = None

    def __post_init__(self) -> None:
        shape = self.labels_N.shape
        require(len(shape) == 1 and shape[0] >= 1, "labels", "one class per frame", shape)
        for name, column in (
            ("sequence", self.sequence_N),
            ("camera", self.camera_N),
            ("frame", self.frame_N),
        ):
            if column is not None:
                require(column.shape == shape, name, f"of shape {shape}", column.shape)
        require(self.clips_per_class >= 1, "clips_per_class", ">= 1", self.clips_per_class)
        require(self.frames_per_clip >= 1, "frames_per_clip", ">= 1", self.frames_per_clip)
        require(self.pick in PICKS, "pick", f"one of {', '.join(PICKS)}", self.pick)
        require(self.seed >= 0, "seed", ">= 0", self.seed)
        classes, sizes = np.unique(self.labels_N, return_counts=True)
        rule = f"in [1, {len(classes)}], the number of classes"
        wanted = self.classes_per_batch
        require(1 <= wanted <= len(classes), "classes_per_batch", rule, wanted)
        if self.clips_per_class * self.frames_per_clip >= 2 and sizes.min() < 2:
            raise UserError(
                "labels must be at least two frames of every class for a plan of clips (drop the "
                f"class), got 1 of class {classes[sizes.argmin()]}"
            )
        _check_constant("class", self.labels_N, self.sequence_N)
        _check_constant("camera", self.camera_N, self.sequence_N)

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch, L lists of P * K * T row numbers."""
        generator = np.random.default_rng((self.seed, epoch))
        table = self._sequences()
        sequences = members(table.labels_M)  # of each class
        per_batch, per_class = self.classes_per_batch, self.clips_per_class
        length = epoch_length(len(table.rows), per_batch * per_class)
        sizes_C = np.array([len(numbers) for numbers in sequences])
        hands_C = share_out(sizes_C, length, per_batch, generator)
        hands = [
            _deal(numbers, table.cameras_M[numbers], int(count), per_class, generator)
            for numbers, count in zip(sequences, hands_C, strict=True)
        ]
        return [
            [
                row
                for index in chosen
                for row in self._frames(hands[index].pop(), table.rows, generator)
            ]
            for chosen in choose_classes(hands_C, length, per_batch, generator)
        ]

    def _sequences(self) -> _Sequences:
        time_N = np.zeros_like(self.sequence_N) if self.frame_N is None else self.frame_N
        order = np.lexsort((time_N, self.sequence_N))  # stable: equal times keep the row order
        _, starts = np.unique(self.sequence_N[order], return_index=True)
        first = order[starts]
        rows = np.split(order, starts[1:])
        return _Sequences(rows, self.labels_N[first], self.camera_N[first])

    def _frames(
        self, hand: _Hand, rows: list[np.ndarray], generator: np.random.Generator
    ) -> list[int]:
        """The frames of a hand, sequence by sequence."""
        found: list[int] = []
        for sequence, times in hand:
            wanted = times * self.frames_per_clip
            places = pick_frames(len(rows[sequence]), wanted, self.pick, generator)
            found += rows[sequence][places].tolist()
        return found


_Hand = list[tuple[int, int]]  # sequences, and how often each is dealt


class _Sequences(NamedTuple):
    """The rows of each sequence in time order, its class and its camera."""

    rows: list[np.ndarray]
    labels_M: np.ndarray
    cameras_M: np.ndarray


def pick_frames(
    frames: int, wanted: int, pick: Pick, generator: np.random.Generator
) -> Int[np.ndarray, " T"]:
    """Places of `wanted` frames in a sequence of `frames`, ascending; see `Clips`.

    Args:
        frames: F >= 1.
        wanted: T >= 1; more than F repeat each frame T // F times or once more.
        pick: which frames.
        generator: of `random` and `segments`.
    """
    if pick == "random":
        return np.sort(np.resize(generator.permutation(frames), wanted))
    if frames < wanted:
        return np.sort(np.resize(np.arange(frames), wanted))
    edges = np.arange(wanted + 1) * frames // wanted  # of T parts, none of them empty
    if pick == "segments":
        return generator.integers(edges[:-1], edges[1:])
    return (edges[:-1] + edges[1:] - 1) // 2


def _deal(
    numbers: Int[np.ndarray, " M"],
    cameras_M: Int[np.ndarray, " M"],
    hands: int,
    size: int,
    generator: np.random.Generator,
) -> list[_Hand]:
    """`hands` hands of `size` sequences: distinct, then of other cameras, then shown least."""
    _, camera_M = np.unique(cameras_M, return_inverse=True)
    shown_M = np.zeros(len(numbers), np.int64)
    dealt: list[_Hand] = []
    for _ in range(hands):
        chance_M = generator.random(len(numbers))
        held_M = np.zeros(len(numbers), np.int64)
        for _ in range(size):
            of_camera_M = np.bincount(camera_M, weights=held_M)[camera_M]
            place = np.lexsort((chance_M, shown_M + held_M, of_camera_M, held_M))[0]
            held_M[place] += 1
        shown_M += held_M
        places = np.flatnonzero(held_M)
        dealt.append(list(zip(numbers[places].tolist(), held_M[places].tolist(), strict=True)))
    return dealt


def _check_constant(name: str, column_N: np.ndarray, sequence_N: np.ndarray) -> None:
    """Refuse a sequence with two values of a column."""
    sequences, first_M, inverse_N = np.unique(sequence_N, return_index=True, return_inverse=True)
    differs_N = column_N[first_M][inverse_N] != column_N
    if differs_N.any():
        row = int(differs_N.argmax())
        before = column_N[first_M[inverse_N[row]]]
        raise UserError(
            f"sequence must be of one {name} throughout, got {before} and {column_N[row]} in "
            f"sequence {sequences[inverse_N[row]]}"
        )
