"""The plane keeps lengths and Gaussians; ellipses hold half; drawings show what they are given."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from likeness_apps.facial_expression.report.gathered import NONE, Gathered, spread
from likeness_apps.facial_expression.report.ovals import PANEL, WHOLE, draw_classes, draw_inside
from likeness_apps.facial_expression.report.plane import oval_of, plane_of

RNG = np.random.default_rng(0)


def cloud(middle, count=400, scale=1.0):
    return np.random.default_rng(len(middle)).normal(middle, scale, (count, len(middle)))


def test_the_axes_are_at_right_angles_and_no_length_grows():
    rows = RNG.normal(size=(60, 7))
    plane = plane_of(rows, np.arange(60) % 5)
    assert plane.axes_D2.T @ plane.axes_D2 == pytest.approx(np.eye(2))
    placed = plane.of(rows)
    for i in range(0, 60, 7):
        for j in range(0, 60, 11):
            assert math.dist(placed[i], placed[j]) <= math.dist(rows[i], rows[j]) + 1e-9


def test_means_that_lie_in_a_plane_are_shown_whole():
    """Three groups in ten dimensions: their triangle is drawn as it is."""
    middles = RNG.normal(size=(3, 10)) * 9
    rows = np.concatenate([middle + 0.01 * RNG.normal(size=(20, 10)) for middle in middles])
    group = np.repeat([4, 9, 2], 20)
    plane = plane_of(rows, group)
    assert plane.shown == pytest.approx(1, abs=1e-6)
    means = [plane.of(rows[group == one]).mean(axis=0) for one in (4, 9, 2)]
    for i, j in ((0, 1), (1, 2), (0, 2)):
        wanted = math.dist(rows[20 * i : 20 * i + 20].mean(0), rows[20 * j : 20 * j + 20].mean(0))
        assert math.dist(means[i], means[j]) == pytest.approx(wanted, rel=1e-6)


def test_a_group_counts_the_same_however_large_it_is():
    """A million smiles must not turn the plane away from three rare classes."""
    middles = np.eye(4)[:3] * 5
    few = np.repeat(middles, [3, 3, 3], axis=0)
    many = np.repeat(middles, [900, 3, 3], axis=0)
    one = plane_of(few, np.repeat([0, 1, 2], 3)).axes_D2
    other = plane_of(many, np.repeat([0, 1, 2], [900, 3, 3])).axes_D2
    assert abs(np.linalg.det(one.T @ other)) == pytest.approx(1)  # the same plane


def test_two_means_are_a_line_and_the_rest_is_where_rows_differ():
    rows = RNG.normal(size=(200, 3)) * [0.1, 0.1, 4]
    rows[:100, 0] += 10
    plane = plane_of(rows, np.repeat([0, 1], 100))
    assert abs(plane.axes_D2[0, 0]) == pytest.approx(1, abs=0.01)
    assert abs(plane.axes_D2[2, 1]) == pytest.approx(1, abs=0.01)
    assert plane.shown == pytest.approx(1)


@pytest.mark.parametrize("rows", [np.zeros((1, 3)), np.ones((5, 3)), np.arange(4.0)[:, None]])
def test_what_has_no_plane_still_has_places(rows):
    plane = plane_of(rows, np.zeros(len(rows), dtype=int))
    assert plane.of(rows).shape == (len(rows), 2)
    assert np.isfinite(plane.of(rows)).all()
    assert math.isnan(plane.shown)


def test_an_ellipse_is_the_exact_marginal_and_holds_half_of_a_gaussian():
    """The covariance on the plane is the projected one; half of 20,000 draws lie inside."""
    deviation = np.diag([5.0, 2.0, 1.0, 0.5])
    rows = np.random.default_rng(1).normal(size=(20_000, 4)) @ deviation
    plane = plane_of(rows, np.zeros(len(rows), dtype=int))
    oval = oval_of(plane.of(rows))
    covariance = plane.axes_D2.T @ np.cov(rows.T, bias=True) @ plane.axes_D2
    half = math.sqrt(2 * math.log(2))
    assert sorted((oval.short, oval.long)) == pytest.approx(
        half * np.sqrt(np.linalg.eigvalsh(covariance))
    )
    assert oval.inside == pytest.approx(0.5, abs=0.01)
    assert (oval.x, oval.y) == pytest.approx(tuple(plane.of(rows).mean(0)))


def test_the_angle_is_that_of_the_longer_axis():
    turn = math.radians(30)
    line = np.random.default_rng(2).normal(size=(500, 2)) * [6, 1]
    placed = line @ [[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]]
    assert oval_of(placed).turn % 180 == pytest.approx(30, abs=2)


def test_two_faces_have_no_ellipse():
    oval = oval_of(np.array([[0.0, 0.0], [2.0, 2.0]]))
    assert (oval.x, oval.y, oval.long) == (1, 1, 0)
    assert math.isnan(oval.inside)


def faces(uri=lambda face: None, paths=None, size=90):
    """Three classes; the first has two sub-classes, one face of it is in none."""
    middles = np.eye(6)[:4] * 12
    part = np.repeat(np.arange(4), [size, size, size, size])
    rows = middles[part] + np.random.default_rng(3).normal(size=(len(part), 6))
    subclass = np.where(part < 2, part, NONE)
    subclass[0] = NONE
    return Gathered(
        rows_ND=rows,
        class_N=np.maximum(part - 1, 0),
        subclass_N=subclass,
        classes=["anger", "fear", "joy"],
        names=["anger/1", "anger/3"],
        paths=paths or [f"{i}.png" for i in range(len(part))],
        uri=uri,
    )


def drawn(svg):
    return ElementTree.fromstring(str(svg))


def test_every_class_has_an_ellipse_in_its_colour_and_its_name():
    picture = draw_classes(faces(), seed=0)
    root = drawn(picture.svg)
    assert [one.get("class") for one in root.iter("ellipse")] == ["k0", "k1", "k2", "k0", "k0"]
    dashed = [one.get("stroke-dasharray") is not None for one in root.iter("ellipse")]
    assert dashed == [False, False, False, True, True]  # the sub-classes of the first
    assert [one.text for one in root.iter("text")] == ["anger", "fear", "joy"]
    assert picture.dots + picture.beyond == 360
    assert len(list(root.iter("path"))) == picture.dots
    assert not list(root.iter("image"))
    width, height = map(float, root.get("viewBox").split()[2:])
    assert (width, height) == (WHOLE.width, WHOLE.height)
    for one in root.iter("ellipse"):
        assert 0 < float(one.get("cx")) < width
        assert 0 < float(one.get("cy")) < height


def test_scales_are_equal_so_round_stays_round():
    root = drawn(draw_classes(faces(), seed=0).svg)
    for one in list(root.iter("ellipse"))[1:]:  # all but the class of two clouds
        assert float(one.get("rx")) / float(one.get("ry")) < 1.4


def test_the_face_at_a_mean_is_the_nearest_one_and_no_two_lie_on_each_other():
    given = faces(uri=lambda face: f"data:image/webp;base64,{face}")
    root = drawn(draw_classes(given, seed=0).svg)
    images = list(root.iter("image"))
    for image, number in zip(images, range(3), strict=True):
        own = np.flatnonzero(given.class_N == number)
        middle = given.rows_ND[own].mean(axis=0)
        nearest = own[np.argmin([math.dist(given.rows_ND[one], middle) for one in own])]
        assert image.get("href").endswith(f",{nearest}")
    corners = [(float(one.get("x")), float(one.get("y"))) for one in images]
    for i, (x, y) in enumerate(corners):
        for left, top in corners[:i]:
            assert abs(x - left) >= WHOLE.face or abs(y - top) >= WHOLE.face


def test_means_in_one_place_are_drawn_beside_it_with_a_line():
    given = faces(uri=lambda face: "data:,x")
    same = Gathered(**{**vars(given), "rows_ND": RNG.normal(size=given.rows_ND.shape)})
    root = drawn(draw_classes(same, seed=0).svg)
    spots = {(one.get("x"), one.get("y")) for one in root.iter("image")}
    assert len(spots) == 3
    assert len(list(root.iter("line"))) >= 2


def test_sub_classes_have_a_plane_of_their_own_without_faces_in_none():
    given = faces()
    assert given.subclasses_of == {0: [0, 1]}
    picture = draw_inside(given, 0, seed=0)
    root = drawn(picture.svg)
    assert [one.text for one in root.iter("text")] == ["anger/1", "anger/3"]
    assert {one.get("class") for one in root.iter("ellipse")} == {"k0"}
    assert picture.dots + picture.beyond == 179
    assert picture.shown == pytest.approx(1)
    assert root.get("viewBox") == f"0 0 {PANEL.width} {PANEL.height}"


def test_names_of_files_are_escaped():
    paths = [f'<b>"{i}".png' for i in range(360)]
    svg = str(draw_classes(faces(paths=paths), seed=0).svg)
    assert "<b>" not in svg
    tips = re.findall(r'data-tip="([^"]*)"', svg)
    assert any("&lt;b&gt;" in tip for tip in tips)
    drawn(svg)


def test_one_class_has_no_map():
    given = faces()
    alone = Gathered(**{**vars(given), "class_N": np.zeros_like(given.class_N)})
    assert draw_classes(alone, seed=0) is None


def test_spread_is_the_root_of_the_mean_square():
    given = faces()
    own = given.faces_of(1)
    middle = given.rows_ND[own].mean(axis=0)
    wanted = math.sqrt(np.mean([math.dist(given.rows_ND[one], middle) ** 2 for one in own]))
    assert spread(given.gaps(own)) == pytest.approx(wanted)
    order = given.central(own, 5)
    far = [math.dist(given.rows_ND[one], middle) for one in order]
    assert far == sorted(far)
    assert far[0] == min(math.dist(given.rows_ND[one], middle) for one in own)
