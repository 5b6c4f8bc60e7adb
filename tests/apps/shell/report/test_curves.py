"""Curves on given axes, and the points that stand out."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fixtures.pages import Page
from likeness_apps.shell.report.curves import Mark, curve_chart
from likeness_apps.shell.report.figures import Bin, Frame, Series, calibration_chart

FRAME = Frame(400, 300, (0.0, 1.0), (0.0, 1.0), left=50, right=10, top=20, bottom=40)
nan = float("nan")


def chart(lines, marks=(), **more):
    more = {"x_label": "x", "y_label": "y", **more}
    return str(curve_chart("curve", lines, frame=FRAME, marks=marks, **more))


def points_of(svg):
    """Of every line, its pieces as lists of places in the view box."""
    paths = re.findall(r'<path class="line[^"]*" d="([^"]*)"', svg)
    return [
        [
            [tuple(map(float, pair.split())) for pair in piece.split("L")]
            for piece in path.split("M")
            if piece
        ]
        for path in paths
    ]


def test_a_line_goes_through_its_points():
    (pieces,) = points_of(chart([Series("a", [0, 0.5, 1], [0, 0.25, 1])]))
    assert pieces == [[(50, 260), (220, 200), (390, 20)]]


def test_a_line_breaks_at_nan_and_outside():
    line = Series("a", [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0, 0.5, nan, 0.5, -3.0, 0.5, 0.6])
    (pieces,) = points_of(chart([line]))
    assert [len(piece) for piece in pieces] == [2, 1, 2]


def test_diagonal_and_description_only_if_asked():
    bare = chart([Series("a", [0, 1], [0, 1])])
    assert "ideal" not in bare
    assert "<desc>" not in bare
    full = chart([Series("a", [0, 1], [0, 1])], diagonal=True, about="a < b")
    assert '<line class="ideal" x1="50.0" y1="260.0" x2="390.0" y2="20.0"/>' in full
    assert "<desc>a &lt; b</desc>" in full


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6))
@example([(1.0, 1.0)] * 6)
@example([(0.0, 1.0)] * 6)
@settings(max_examples=60)
def test_labels_of_marks_do_not_lie_on_each_other(places):
    marks = [Mark(x, y, str(i), "tip") for i, (x, y) in enumerate(places)]
    svg = chart([], marks)
    dots = re.findall(r'<circle class="mark" cx="([\d.]+)" cy="([\d.-]+)"[^>]*/><text', svg)
    assert len(dots) == len(places)
    for (x, y), (cx, cy) in zip(places, dots, strict=True):
        assert float(cx) == pytest.approx(50 + 340 * x, abs=0.06)
        assert float(cy) == pytest.approx(260 - 240 * y, abs=0.06)
    texts = re.findall(r'/><text class="mid" x="([\d.]+)" y="([\d.-]+)">\d', svg)
    texts = [(float(x), float(y)) for x, y in texts[-len(places) :]]
    for i, (x, y) in enumerate(texts):
        assert 50 <= x <= 390
        assert all(abs(x - u) + abs(y - v) > 8 for u, v in texts[:i])


def test_everything_is_escaped():
    evil = '"><script>alert(1)</script>'
    line = Series(evil, [0, 1], [0, 1])
    text = str(
        curve_chart(
            evil,
            [line],
            frame=FRAME,
            x_label=evil,
            y_label=evil,
            marks=[Mark(0.5, 0.5, evil, evil)],
            about=evil,
        )
    )
    text += str(calibration_chart([Bin(3, 0.5, 0.5, 0.1, 0.9)], x_label=evil, right=evil))
    assert not Page(text).all("script")
    assert "<script" not in text


def test_a_bin_without_an_interval_is_drawn_without_one():
    bins = [Bin(3, 0.2, 0.1, 0.05, 0.4), Bin(1, 0.5, 0.5, nan, nan), Bin(2, 0.8, 1.0, 0.6, 1.0)]
    svg = str(calibration_chart(bins))
    assert "nan" not in svg
    assert svg.count('class="whisker"') == 2
    assert svg.count('<circle class="s0"') == 3
    band = re.search(r'<polygon class="between" points="([^"]*)"', svg)[1].split()
    assert len(band) == 2 * 2 * 2  # two ends of two bins, two numbers each
