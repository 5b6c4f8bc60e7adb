"""The cascade finds the faces of a photograph that comes with scikit-image, and drawn ones."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from likeness.errors import UserError
from likeness_apps.facial_expression.drawn_faces import paste_head
from likeness_apps.facial_expression.faces.boxes import overlap
from likeness_apps.facial_expression.faces.cascade import CascadeDetector, merged
from likeness_apps.facial_expression.faces.detector import Face

ASTRONAUT = (175.0, 68.0, 100.0, 100.0)  # her face: left, top, width, height


def same(face: Face, box: tuple[float, ...]) -> bool:
    return bool(overlap(np.array([face[:4]]), np.array([box]))[0, 0] > 0.6)


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """Shrunk to 256 pixels; her face has about 50."""
    return np.asarray(Image.fromarray(astronaut()).resize((256, 256)))


def test_the_face_of_a_photograph_is_the_surest(photograph: np.ndarray) -> None:
    first, *others = CascadeDetector(min_face=32)(photograph)
    assert same(first, tuple(value / 2 for value in ASTRONAUT))
    assert all(first.score > other.score for other in others)
    assert first.eyes is None


def test_boxes_are_in_pixels_of_the_picture_at_any_scale(photograph: np.ndarray) -> None:
    double = photograph.repeat(2, axis=0).repeat(2, axis=1)
    first, *_ = CascadeDetector(share=0.14)(double)
    assert same(first, ASTRONAUT)


def test_faces_below_the_smallest_are_not_looked_for(photograph: np.ndarray) -> None:
    assert not any(same(face, ASTRONAUT) for face in CascadeDetector(min_face=80)(photograph))


def test_several_drawn_faces() -> None:
    generator = np.random.default_rng(0)
    photo = np.full((150, 400, 3), 200, np.uint8)
    for subject, x in ((2, 70), (3, 200), (7, 330)):
        drawn = photo, "anger", "pressed", subject
        paste_head(*drawn, centre=(x, 75), side=70, generator=generator)
    found = sorted(CascadeDetector(min_face=40)(photo))
    middles = [(face.left + face.width / 2, face.top + face.height / 2) for face in found]
    assert np.array(middles) == pytest.approx(np.array([[70, 75], [200, 75], [330, 75]]), abs=9)


@pytest.mark.parametrize("size", [(90, 120), (30, 30), (10, 400), (1, 1)])
def test_nothing_is_found_where_there_is_nothing(size: tuple[int, int]) -> None:
    flat = np.full((*size, 3), 90, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for image in (flat, noise):
        assert list(CascadeDetector()(image)) == []
        assert list(CascadeDetector(min_face=1)(image)) == []


def test_the_time_is_that_of_the_shrunken_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is searched is at most 24 / smallest of the picture, and 2048 pixels a side."""
    seen: list[tuple[tuple[int, ...], int]] = []

    def windows(self: CascadeDetector, grey_HW: np.ndarray, least: int) -> np.ndarray:
        seen.append((grey_HW.shape, least))
        return np.empty((0, 4))

    monkeypatch.setattr(CascadeDetector, "_windows", windows)
    for detector, size in (
        (CascadeDetector(), (300, 600)),
        (CascadeDetector(), (100, 200)),
        (CascadeDetector(min_face=48), (100, 200)),
        (CascadeDetector(min_face=10), (100, 200)),
        (CascadeDetector(min_face=24), (100, 4096)),
        (CascadeDetector(share=0.5), (480, 480)),
    ):
        list(detector(np.zeros((*size, 3), np.uint8)))
    assert seen == [
        *(((240, 480), 24), ((100, 200), 24), ((50, 100), 24)),
        *(((100, 200), 24), ((50, 2048), 24), ((48, 48), 24)),
    ]


def test_windows_are_merged_in_any_order() -> None:
    """A face of four windows, a box inside it of one, and one elsewhere of two."""
    face = [[10, 10, 40, 40], [12, 10, 40, 40], [10, 12, 40, 40], [8, 8, 44, 44]]
    windows = np.array([*face, [20, 20, 12, 12], [80, 80, 30, 30], [82, 80, 30, 30]], float)
    for seed in range(5):
        shuffled = np.random.default_rng(seed).permutation(windows)
        (first, votes), (second, fewer) = merged(shuffled)
        assert first.tolist() == [10, 10, 41, 41]
        assert second.tolist() == [81, 80, 30, 30]
        assert (votes, fewer) == (4, 2)
    assert merged(np.empty((0, 4))) == []


def test_threads_and_copies_answer_alike(photograph: np.ndarray) -> None:
    detector = CascadeDetector(min_face=40)
    expected = list(detector(photograph))
    assert expected
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: list(detector(photograph)), range(4))) == [expected] * 4
    assert list(pickle.loads(pickle.dumps(detector))(photograph)) == expected  # noqa: S301


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"min_face": 0}, "min_face must be > 0, got 0"),
        ({"min_face": float("nan")}, "min_face must be > 0, got nan"),
        ({"share": 0}, r"share must be in \(0, 1\], got 0"),
        ({"share": 1.5}, r"share must be in \(0, 1\], got 1.5"),
        ({"min_votes": 0}, "min_votes must be >= 1, got 0"),
    ],
)
def test_numbers_out_of_range(setting: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        CascadeDetector(**setting)
