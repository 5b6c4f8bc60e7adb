"""Faces keep their numbers: on their way, through each other, behind gaps; and lose them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.errors import UserError
from likeness_apps.facial_expression.faces.detector import Face
from likeness_apps.facial_expression.faces.follow import Follower, Following

RATE = 25.0


def patch(kind: int) -> np.ndarray:
    """Looks that have nothing in common."""
    values = np.random.default_rng(kind).normal(size=256)
    values -= values.mean()
    return values / np.linalg.norm(values)


def at(x: float, y: float = 50, side: float = 40) -> Face:
    return Face(x - side / 2, y - side / 2, side, side, 1)


def follow(
    frames: Sequence[Sequence[tuple[Face, int]]],
    *,
    rules: Following | None = None,
    step_s: float = 1 / RATE,
) -> list[list[int]]:
    """Numbers of the faces of each frame, each given with the kind of its look."""
    follower = Follower(rules)
    return [
        follower.update(index * step_s, [f for f, _ in faces], [patch(kind) for _, kind in faces])
        for index, faces in enumerate(frames)
    ]


def test_a_face_that_moves_keeps_its_number() -> None:
    frames = [[(at(50 + 6 * index, 50 + 2 * index), 0)] for index in range(30)]
    assert follow(frames) == [[1]] * 30


@pytest.mark.parametrize("looks", [(0, 0), (0, 1)])
@pytest.mark.parametrize("speed", [2, 5, 9])
def test_faces_that_cross_keep_their_numbers(looks: tuple[int, int], speed: int) -> None:
    """By their ways alone, where they look alike."""
    frames = []
    for index in range(60):
        way = speed * (index - 30) + 1
        frames.append([(at(200 + way), looks[0]), (at(200 - way), looks[1])])
    assert follow(frames) == [[1, 2]] * 60


@pytest.mark.parametrize("hidden", [0, 4, 8])
def test_where_one_hides_the_other_both_come_out_as_themselves(hidden: int) -> None:
    """Only the nearer face is seen while they overlap much."""
    frames: list[list[tuple[Face, int]]] = []
    for index in range(60):
        way = 4 * (index - 30) + 1
        faces = [(at(200 + way), 0), (at(200 - way), 1)]
        frames.append(faces[:1] if abs(index - 30) < hidden / 2 else faces)
    for faces, numbers in zip(frames, follow(frames), strict=True):
        assert numbers == [1, 2][: len(faces)]


def test_faces_that_meet_and_turn_back_are_known_by_their_looks() -> None:
    frames = []
    for index in range(60):
        way = 4 * abs(index - 30) + 2  # where their ways lead, each meets the other
        frames.append([(at(200 + way), 0), (at(200 - way), 1)])
    assert follow(frames) == [[1, 2]] * 60


def test_the_order_of_a_frames_faces_does_not_count() -> None:
    generator = np.random.default_rng(0)
    places = generator.uniform(0, 600, (5, 2))
    follower, expected = Follower(), np.arange(1, 6)
    for index in range(20):
        order = np.arange(5) if index == 0 else generator.permutation(5)
        faces = [at(*(places[kind] + 3 * index)) for kind in order]
        found = follower.update(index / RATE, faces, [patch(kind) for kind in order])
        assert found == expected[order].tolist()


@pytest.mark.parametrize(
    ("missed", "step_s", "number"),
    [(5, 0.04, 1), (20, 0.04, 1), (30, 0.04, 2), (5, 2.0, 1), (6, 2.0, 2)],
)
def test_a_face_that_was_missed(missed: int, step_s: float, number: int) -> None:
    """It has gone after a second and five frames, whichever is later."""
    frames = [[(at(50), 0)], *([[]] * missed), [(at(52), 0)]]
    assert follow(frames, step_s=step_s)[-1] == [number]


def test_a_moving_face_is_met_where_its_way_leads() -> None:
    """Behind a gap in which it moved by two widths, and somebody else is where it was."""
    before = [[(at(50 + 8 * index), 0)] for index in range(10)]
    after = [[(at(122), 1), (at(50 + 8 * 20), 0)]]
    assert follow([*before, *[[]] * 10, *after])[-1] == [2, 1]


def test_a_face_far_away_is_another() -> None:
    frames = [[(at(50), 0)], [(at(300), 0)], [(at(50), 0)]]
    assert follow(frames) == [[1], [2], [1]]


def test_another_face_at_the_same_place_is_another_if_it_looks_otherwise() -> None:
    assert follow([[(at(50), 0)]] * 5)[-1] == [1]
    rules = Following(max_cost=0.4)
    assert follow([[(at(50), 0)], [(at(50), 1)]], rules=rules)[-1] == [2]


def test_looks_are_not_learned_from_a_face_that_another_covers() -> None:
    """Covered for two seconds, the face is known again by its old look."""
    apart = [[(at(100), 0), (at(160), 1)]] * 3
    covered = [[(at(120), 0), (at(130), 7)]] * 50
    turned = [[(at(100), 0), (at(150), 1)]]
    numbers = follow([*apart, *covered, *turned], rules=Following(max_cost=1.0))
    assert numbers[-1] == [1, 2]
    follower = Follower(Following(max_cost=1.0))
    for index, faces in enumerate([*apart, *covered]):
        follower.update(index / RATE, [f for f, _ in faces], [patch(k) for _, k in faces])
    assert np.dot(follower.state["tracks"][1]["patch"], patch(1)) == pytest.approx(1)


def test_time_that_goes_back_ends_all_tracks() -> None:
    follower = Follower()
    for time_s, number in ((5.0, 1), (5.04, 1), (0.0, 2), (0.0, 2)):
        assert follower.update(time_s, [at(50)], [patch(0)]) == [number]


def test_flat_patches_and_frames_of_one_time_do_no_harm() -> None:
    follower = Follower()
    for index in range(4):
        assert follower.update(1.0, [at(50 + index)], [np.zeros(256)]) == [1]
    assert follower.update(1.1, [], []) == []
    assert follower.update(1.2, [at(52)], [np.zeros(256)]) == [1]


scenes = st.lists(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), max_size=4), min_size=2, max_size=8
)


@settings(max_examples=40)
@given(scenes, st.integers(0, 7))
def test_a_follower_that_is_made_of_a_state_goes_on_exactly(
    frames: list[list[tuple[int, int]]], cut: int
) -> None:
    one, other = Follower(), Follower()
    for index, faces in enumerate(frames):
        if index == cut:
            other = Follower(state=json.loads(json.dumps(other.state)))
        asked = index * 0.3, [at(8 * x) for x, _ in faces], [patch(kind) for _, kind in faces]
        numbers = one.update(*asked)
        assert numbers == other.update(*asked)
        assert len(set(numbers)) == len(numbers)
    assert one.state == other.state


def test_memory_holds_the_faces_that_may_go_on() -> None:
    follower = Follower()
    for index in range(400):
        follower.update(index / RATE, [at(500 * (index % 7))], [patch(index)])
    assert len(follower.state["tracks"]) <= 27


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"max_gap_s": -1}, "max_gap_s must be >= 0, got -1"),
        ({"max_gap_s": float("nan")}, "max_gap_s must be >= 0, got nan"),
        ({"max_missed": -1}, "max_missed must be >= 0, got -1"),
        ({"max_cost": 0}, r"max_cost must be in \(0, 2\], got 0"),
    ],
)
def test_rules_out_of_range(setting: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Following(**setting)  # type: ignore[arg-type]
