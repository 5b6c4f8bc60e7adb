"""Tables of boxes: both forms, any order, and what is wrong with a line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.videos import json_lines, mot_lines, write_mot
from likeness.errors import UserError
from likeness_apps.person_reid.tracklets import sorting, statuses
from likeness_apps.person_reid.tracklets.detections import Box, box_of, read_boxes
from likeness_apps.person_reid.tracklets.sorting import Line, sorted_lines


def boxes_in(folder: Path, lines: list[str], **options: int) -> list[Box]:
    return list(read_boxes(write_mot(folder / "boxes.txt", lines), folder, **options))


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    lines = mot_lines(4)
    expected = []
    for line in lines:
        frame, track, left, top, width, height, confidence = line.split(",")[:7]
        box = (float(left), float(top), float(width), float(height), float(confidence))
        expected.append(Box(int(frame), int(track), *box))
    assert boxes_in(tmp_path, lines) == expected
    assert boxes_in(tmp_path, json_lines(lines, per_frame=False)) == expected
    assert boxes_in(tmp_path, json_lines(lines, per_frame=True)) == expected


@pytest.mark.parametrize(
    "line",
    [
        "2,7,1,2,30,40",
        "2, 7, 1.0, 2, 30, 40",
        "2;7;1;2;30;40",
        "2 7 1 2 30 40",
        "2.0\t7.0\t1\t2\t30\t40",
        "2,7,1,2,30,40,",
    ],
)
def test_separators_and_whole_numbers_with_a_point(tmp_path: Path, line: str) -> None:
    assert boxes_in(tmp_path, [line]) == [Box(2, 7, 1, 2, 30, 40)]


def test_a_header_a_byte_order_mark_and_empty_lines_are_passed_over(tmp_path: Path) -> None:
    lines = ["\ufeffframe,id,bb_left,bb_top,bb_width,bb_height,conf", "", "1,3,0,0,5,6,0.5", ""]
    assert boxes_in(tmp_path, lines) == [Box(1, 3, 0, 0, 5, 6, 0.5)]


@settings(max_examples=30)
@given(order=st.permutations(range(12)), at_once=st.integers(1, 20))
def test_any_order_gives_the_order_of_the_frames(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], at_once: int
) -> None:
    """Within a frame, the order of the table; whatever number of lines memory holds."""
    folder = tmp_path_factory.mktemp("sorted")
    lines = [Line(place % 5, number, f"{place},é") for number, place in enumerate(order)]
    found = list(sorted_lines(lines, folder, at_once=at_once))
    assert found == sorted(lines, key=lambda line: line.frame)
    assert len(list(folder.iterdir())) == math.ceil(len(lines) / at_once)


def test_a_table_by_track_is_sorted_on_the_disk_and_one_by_frame_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = mot_lines(6)
    by_track = sorted(lines, key=lambda line: int(line.split(",")[1]))
    expected = boxes_in(tmp_path, lines)
    assert not list(tmp_path.glob("run-*"))
    monkeypatch.setattr(sorting.sorted_lines, "__kwdefaults__", {"at_once": 4})
    assert boxes_in(tmp_path, by_track) == expected
    assert len(list(tmp_path.glob("run-*"))) == 5


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("5,7,1,2,30", "not as many numbers"),
        ("5,7,one,2,30,40", "one"),
        ("5,7,nan,2,30,40", "left is nan"),
        ("5,7,1,2,inf,40", "width is inf"),
        ("5,7.5,1,2,30,40", "track is 7.5, no whole number"),
        ("2.5,7,1,2,30,40", "frame is 2.5, no whole number"),
        ("x,7,1,2,30,40", "x"),
        ("{broken", "Expecting"),
        ('{"frame": 5, "track": "7", "box": [1, 2, 3, 4]}', "track is '7'"),
        ('{"frame": 5, "track": true, "box": [1, 2, 3, 4]}', "track is True"),
        ('{"frame": 5, "track": 7, "box": [1, 2, 3]}', "box is no list"),
        ('{"frame": 5, "track": 7, "box": [1, 2, 3, 1e999]}', "height is inf"),
        ('{"frame": 5, "boxes": 7}', "boxes is no list"),
        ('{"track": 7, "box": [1, 2, 3, 4]}', "frame is None"),
        (f'{{"frame": {10**400}, "track": 7, "box": [1, 2, 3, 4]}}', "frame is 1000"),
        ("[" * 5000, "no detection"),
        ('{"frame": ' + "[" * 100_000, "no detection"),
        ("\x00\x01\x02", "no detection"),
    ],
)
def test_a_line_that_is_no_detection_is_a_row_of_its_own(
    tmp_path: Path, line: str, said: str
) -> None:
    good = "4,3,0,0,5,6"
    first, bad, last = boxes_in(tmp_path, [good, line, "6,3,0,0,5,6"])
    assert (first.frame, last.frame, first.status, last.status) == (4, 6, "", "")
    assert bad.status == statuses.MALFORMED
    assert bad.reason.startswith("line 2 is no detection: ")
    assert said in bad.reason
    assert "\n" not in bad.reason
    assert len(bad.reason) < 200


def test_a_bad_box_in_a_frame_leaves_the_others(tmp_path: Path) -> None:
    items = [{"track": 3, "box": [0, 0, 5, 6]}, {"track": 7, "box": [0, 0, None, 6]}]
    lines = ["{}", json.dumps({"frame": 2, "boxes": items})]
    lines[0] = json.dumps({"frame": 1, "boxes": []})
    with pytest.raises(UserError, match="width is None"):
        boxes_in(tmp_path, lines[1:] + lines[:1])  # not in the first line
    good, bad = boxes_in(tmp_path, lines)
    assert (good.track, good.status, bad.status) == (3, "", statuses.MALFORMED)


def test_detections_without_a_track(tmp_path: Path) -> None:
    """`det.txt` of the MOT challenge has -1 everywhere; a single one is a row."""
    with pytest.raises(UserError, match=r"those of a tracker.*line 1 has track -1"):
        boxes_in(tmp_path, ["1,-1,0,0,5,6,0.9"])
    good, bad = boxes_in(tmp_path, ["1,3,0,0,5,6", "1,-1,0,0,5,6"])
    assert (good.status, bad.status) == ("", statuses.NO_TRACK)


def test_frames_that_count_from_zero_have_to_be_said(tmp_path: Path) -> None:
    lines = ["1,3,0,0,5,6", "0,3,0,0,5,6"]
    with pytest.raises(UserError, match=r"frame in line 2 of boxes.txt must be >= 1 .*, got 0"):
        boxes_in(tmp_path, lines)
    assert [box.frame for box in boxes_in(tmp_path, lines, first_frame=0)] == [0, 1]


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"frame,id\n", b"hello world\n", b"\x89PNG\r\n\x1a\n" + bytes(99)]
)
def test_what_is_no_table_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "boxes.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^detections must be .* got .*boxes\.csv") as caught:
        list(read_boxes(path, tmp_path))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="detections must be an existing file"):
        list(read_boxes(tmp_path / "none.csv", tmp_path))


def test_a_box_from_numbers() -> None:
    assert box_of(5, [7, 1, 2, 3, 4]) == Box(5, 7, 1, 2, 3, 4)
    assert box_of(5, [7.0, 1, 2, 3, 4, 0.5]) == Box(5, 7, 1, 2, 3, 4, 0.5)
    for bad in ([7, 1, 2, 3], [7.5, 1, 2, 3, 4], [7, math.nan, 2, 3, 4]):
        with pytest.raises(ValueError, match=r"number|left is nan"):
            box_of(5, bad)
