"""Contact sheets and curves as PNG: right size, right marks, repeatable, no metadata."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fixtures.reports import draw_scene, report_data
from likeness.errors import UserError
from likeness_apps.shell.report.sheets import (
    SheetItem,
    SheetRow,
    mosaic,
    write_hero,
    write_learning_curve,
    write_sheet,
)

BLUE, ORANGE = (28, 107, 176), (196, 68, 20)


def row(*marks, picture=None, label="Beach", caption=""):
    grey = np.full((20, 20, 3), 128, dtype=np.uint8) if picture is None else picture
    hits = [SheetItem(grey, label, 0.1 * i, mark) for i, mark in enumerate(marks)]
    return SheetRow(SheetItem(grey, label), hits, caption)


def read(path):
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB")), dict(opened.info)


def pixels_of(path, colour):
    return int((read(path)[0] == colour).all(axis=2).sum())


def test_marks_follow_right_and_wrong(tmp_path):
    for name, marks in {"right": (True, True), "wrong": (False, False), "none": (None,)}.items():
        write_sheet(tmp_path / f"{name}.png", [row(*marks)])
    blue = {name: pixels_of(tmp_path / f"{name}.png", BLUE) for name in ("right", "wrong", "none")}
    orange = {n: pixels_of(tmp_path / f"{n}.png", ORANGE) for n in ("right", "wrong", "none")}
    assert blue["right"] > 1000
    assert blue["wrong"] == blue["none"] == 0
    assert orange["wrong"] > 1000
    assert orange["right"] == orange["none"] == 0


def test_tick_and_cross_differ_in_shape_not_only_in_colour(tmp_path):
    masks = []
    for mark, colour in ((True, BLUE), (False, ORANGE)):
        write_sheet(tmp_path / "x.png", [row(mark)])
        masks.append((read(tmp_path / "x.png")[0] == colour).all(axis=2))
    assert masks[0].shape == masks[1].shape
    assert (masks[0] != masks[1]).sum() > 40


def test_sheet_is_repeatable_and_carries_no_metadata(tmp_path):
    rows = [row(True, False, caption="a long caption " * 40), row(None, label="木" * 60)]
    for name in ("a.png", "b.png"):
        write_sheet(tmp_path / name, rows, title="T" * 300, caption="generated data")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert read(tmp_path / "a.png")[1] == {}


def test_ragged_rows_missing_pictures_and_odd_shapes(tmp_path):
    rows = [
        SheetRow(SheetItem(None), []),
        row(True, picture=np.zeros((300, 20), dtype=np.uint8)),
        row(True, False, None, picture=np.zeros((8, 90, 5), dtype=np.uint8)),
        SheetRow(SheetItem(None, "x"), [SheetItem(None, "", float("nan"), True)]),
    ]
    write_sheet(tmp_path / "x.png", rows)
    assert read(tmp_path / "x.png")[0].shape[1] > 168 * 4


@pytest.mark.parametrize("count", [0, 61])
def test_too_few_or_many_rows_are_refused(tmp_path, count):
    with pytest.raises(UserError, match=f"rows must be 1 to 60 queries, got {count}"):
        write_sheet(tmp_path / "x.png", [row(True)] * count)
    assert list(tmp_path.iterdir()) == []


def test_hero_is_captioned_as_generated(tmp_path):
    rows = [row(True, True, False)]
    write_hero(tmp_path / "hero.png", rows)
    write_sheet(tmp_path / "same.png", rows, title="Ask with an image, get the most alike")
    hero, same = read(tmp_path / "hero.png")[0], read(tmp_path / "same.png")[0]
    assert len(hero) > len(same)  # the line that says "generated data"
    foot = hero[len(same) - 22 :]
    assert foot.min() < 140


def test_mosaic_puts_pictures_in_order():
    reds = [np.full((10, 10, 3), 10 * i, dtype=np.uint8) for i in range(5)]
    grid = mosaic(reds, columns=3, side=20)
    assert grid.shape == (44, 68, 3)
    assert [int(grid[10, 10 + 24 * i, 0]) for i in range(3)] == [0, 10, 20]
    assert [int(grid[34, 10 + 24 * i, 0]) for i in range(2)] == [30, 40]
    with pytest.raises(UserError, match="pictures must be at least one"):
        mosaic([])


def test_learning_curve_is_drawn_and_repeatable(tmp_path):
    epochs = report_data(classes=3, per_class=4).epochs
    for name in ("a.png", "b.png"):
        write_learning_curve(tmp_path / name, epochs)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    image, info = read(tmp_path / "a.png")
    assert "Software" not in info
    assert pixels_of(tmp_path / "a.png", (29, 107, 114)) > 300
    write_learning_curve(tmp_path / "c.png", epochs[["epoch", "train_loss"]])
    assert read(tmp_path / "c.png")[0].shape[1] < image.shape[1]


@pytest.mark.parametrize(
    "epochs",
    [
        pd.DataFrame({"epoch": []}),
        pd.DataFrame({"epoch": [1], "lr": [0.1]}),
        pd.DataFrame({"epoch": [1], "train_loss": [float("nan")]}),
    ],
)
def test_nothing_to_draw_is_refused(tmp_path, epochs):
    with pytest.raises(UserError, match="epochs must be a table"):
        write_learning_curve(tmp_path / "x.png", epochs)


def test_pictures_are_enlarged_not_lost(tmp_path):
    write_sheet(tmp_path / "x.png", [row(None, picture=draw_scene("a_1.jpg", 16))])
    image = read(tmp_path / "x.png")[0][60:200, 60:200]
    assert image.std() > 10
