"""The wall and the sheets: neighbours as brute force finds them."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from fixtures.pages import Page, payload
from fixtures.reports import report_data
from likeness.errors import UserError
from likeness_apps.shell.report.cells import sheet_groups
from likeness_apps.shell.report.html import render_report
from likeness_apps.shell.report.pictures import Pictures
from likeness_apps.shell.report.wall import build_wall


@pytest.mark.parametrize("space", ["cosine", "euclidean"])
def test_wall_neighbours_equal_brute_force(space):
    data = report_data(classes=7, per_class=11, space=space)
    found = payload(render_report(data))
    points = data.embeddings_ND.astype(np.float64)[found["row"]]
    if space == "cosine":
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
    for i, (near, far) in enumerate(zip(found["near"], found["far"], strict=True)):
        gaps = [(float(np.linalg.norm(points[i] - p)), j) for j, p in enumerate(points) if j != i]
        expected = sorted(gaps)[: found["k"]]
        assert near == [j for _, j in expected]
        np.testing.assert_allclose(far, [gap for gap, _ in expected], atol=6e-5)
    names = found["classes"]
    assert [names[i] for i in found["truth"]] == [data.items.truths[r] for r in found["row"]]
    assert [names[i] for i in found["label"]] == [data.items.labels[r] for r in found["row"]]


def test_wall_is_capped_evenly_and_says_so():
    data = report_data(classes=5, per_class=20)
    text = render_report(data, max_tiles=23)
    parsed = Page(text)
    tiles = [a for a in parsed.all("button") if "tile" in a.get("class", "")]
    assert len(tiles) == 23
    found = payload(text)
    sizes = np.bincount(found["truth"], minlength=5)
    assert sizes.max() - sizes.min() <= 1
    assert "The wall shows 23 of 100 images" in parsed.text
    assert [int(a["data-n"]) for a in tiles] == list(range(23))


def test_a_wall_of_two_and_the_refusal_of_one(data):
    wall = build_wall(data, Pictures(None), 2, 0)
    assert wall is not None
    assert wall.payload["near"] == [[1], [0]]
    with pytest.raises(UserError, match="max_tiles must be >= 2, got 1"):
        render_report(data, max_tiles=1)


def test_duplicates_do_not_hide_themselves_and_self_never_appears(data):
    same = np.ones((len(data.items), 4), dtype=np.float32)
    twin = replace(data, embeddings_ND=same, training=None)
    groups, k = sheet_groups(twin, Pictures(None), 0)
    for line in (line for group in groups for line in group.rows):
        assert len(line.hits) == k
        assert line.query.path not in [hit.path for hit in line.hits]


def test_sheets_equal_brute_force_and_given_neighbours(data):
    points = data.embeddings_ND / np.linalg.norm(data.embeddings_ND, axis=1, keepdims=True)
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    order = np.argsort(gaps, axis=1, kind="stable")[:, :8]
    given_too = replace(data, neighbours=(order, np.take_along_axis(gaps, order, axis=1)))
    row_of = {path: row for row, path in enumerate(data.items.paths)}
    for source in (data, given_too):
        groups, k = sheet_groups(source, Pictures(None), 0)
        assert k == 8
        for line in (line for group in groups for line in group.rows):
            row = row_of[line.query.path]
            assert [hit.path for hit in line.hits] == [data.items.paths[i] for i in order[row]]
            same = [data.items.truths[i] == data.items.truths[row] for i in order[row]]
            assert [hit.verdict == "right" for hit in line.hits] == same
            assert line.right == sum(same)


def test_errors_are_ordered_by_confidence(data):
    parsed = Page(render_report(data))
    sure = [int(m[1]) for m in re.finditer(r"(\d+)% sure", parsed.text)]
    assert len(sure) == min(12, len(data.items.wrong))
    assert sure == sorted(sure, reverse=True)
    assert "its nearest training images" in parsed.text
    alone = Page(render_report(replace(data, training=None)))
    assert "its nearest test images" in alone.text
