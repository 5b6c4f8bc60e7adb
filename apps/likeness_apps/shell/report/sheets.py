"""Pictures for files: retrieval sheets, the picture of the README, learning curves.

Shape legend: H, W height and width of a picture, C its channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from likeness.errors import require
from likeness.files import atomic_path
from likeness_apps.shell.report.data import Picture
from likeness_apps.shell.report.figures import read_series
from likeness_apps.shell.report.pictures import as_image
from likeness_apps.shell.report.tables import validation_columns

MAX_ROWS = 60
GENERATED = "generated data"
_PAPER, _INK, _SOFT, _LINE = "#faf9f6", "#1f2328", "#5d6570", "#e5e2db"
_RIGHT, _WRONG, _ACCENT = "#1c6bb0", "#c44414", "#1d6b72"
_SIDE, _GAP, _EDGE, _FRAME, _CAPTION = 168, 18, 44, 6, 62
_QUERY_GAP = 46
_TICK = (((16, 50), (38, 72), (80, 22)),)
_CROSS = (((20, 20), (76, 76)), ((20, 76), (76, 20)))


@dataclass(frozen=True)
class SheetItem:
    """One picture of a sheet.

    Attributes:
        picture_HWC: uint8, or None where it could not be read.
        label: its class, "" if unknown.
        distance: to the query; None for the query itself.
        right: same class as the query; None where one of them is unknown.
        name: what identifies it, a path say.
    """

    picture_HWC: Picture | None
    label: str = ""
    distance: float | None = None
    right: bool | None = None
    name: str = ""


@dataclass(frozen=True)
class SheetRow:
    """A query, what was found for it in order, and a caption that may be ""."""

    query: SheetItem
    results: Sequence[SheetItem]
    caption: str = ""


def write_sheet(
    path: Path | str, rows: Sequence[SheetRow], *, title: str = "", caption: str = ""
) -> None:
    """Write a retrieval sheet as PNG: every query beside its results, right and wrong marked.

    A frame and a tick (right) or cross (wrong) say the same thing twice, so that colour is never
    needed. Distances stand below.

    Args:
        path: the file; written atomically, without metadata.
        rows: 1 to 60 queries.
        title: above the rows.
        caption: below them, `generated data` for example.

    Raises:
        UserError: if there are no rows or too many.
    """
    require(1 <= len(rows) <= MAX_ROWS, "rows", f"1 to {MAX_ROWS} queries", len(rows))
    image = _sheet(rows, title, caption)
    with atomic_path(path) as temporary:
        image.save(temporary, "PNG", optimize=True)


def write_hero(path: Path | str, rows: Sequence[SheetRow]) -> None:
    """Write the picture of the README: a sheet that the program made, captioned as generated data.

    Args:
        path: the PNG file.
        rows: queries on generated data only; nothing else may be published.
    """
    title = "Ask with an image, get the most alike"
    write_sheet(path, rows, title=title, caption=GENERATED)


def write_learning_curve(path: Path | str, epochs: pd.DataFrame) -> None:
    """Write loss and validation figures by epoch as PNG.

    Args:
        path: the file; written atomically.
        epochs: RUN/logs/epochs.csv.

    Raises:
        UserError: if there is no epoch, or nothing to draw.
    """
    good = "epoch" in epochs.columns and len(epochs) > 0
    require(good, "epochs", "a table with a column epoch and a finished epoch", len(epochs))
    panels = [
        ("training loss", read_series(epochs, {"train_loss": "training loss"})),
        ("validation", read_series(epochs, validation_columns(epochs))),
    ]
    panels = [(title, lines) for title, lines in panels if lines]
    require(panels, "epochs", "a table with train_loss or a val_ column", list(epochs.columns))
    style: Any = {"font.family": "DejaVu Sans", "font.size": 10, "axes.edgecolor": _SOFT}
    with mpl.rc_context(style):
        figure = Figure(figsize=(4.6 * len(panels), 3.2), dpi=160, facecolor=_PAPER)
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, (title, lines) in zip(axes, panels, strict=True):
            for colour, line in zip((_ACCENT, _WRONG, _RIGHT, _SOFT), lines, strict=False):
                axis.plot(line.xs, line.ys, color=colour, lw=1.8, marker=".", label=line.name)
            axis.set_title(title, loc="left", color=_INK, fontsize=11)
            axis.set_xlabel("epoch", color=_SOFT)
            axis.set_facecolor(_PAPER)
            axis.grid(axis="y", color=_LINE)
            axis.tick_params(colors=_SOFT, length=0)
            axis.spines[["top", "right", "left"]].set_visible(False)
            if len(lines) > 1:
                axis.legend(frameon=False, labelcolor=_SOFT)
        figure.tight_layout()
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})


def mosaic(pictures: Sequence[Picture], *, columns: int = 8, side: int = 72) -> Picture:
    """Pictures side by side in a grid, for a card of the gallery.

    Args:
        pictures: at least one, uint8.
        columns: of the grid.
        side: of one square tile, in pixels.

    Returns:
        (H, W, 3) uint8.

    Raises:
        UserError: if there is no picture.
    """
    require(len(pictures) > 0, "pictures", "at least one", 0)
    columns = min(columns, len(pictures))
    size = (columns * (side + 4) - 4, math.ceil(len(pictures) / columns) * (side + 4) - 4)
    image = Image.new("RGB", size, _PAPER)
    for place, picture in enumerate(pictures):
        at = (place % columns * (side + 4), place // columns * (side + 4))
        image.paste(_square(SheetItem(picture), side), at)
    return np.asarray(image)


def _sheet(rows: Sequence[SheetRow], title: str, caption: str) -> Image.Image:
    most = max(len(row.results) for row in rows)
    width = 2 * _EDGE + _SIDE + _QUERY_GAP + most * _SIDE + max(0, most - 1) * _GAP
    top = _EDGE + (64 if title else 0)
    heights = [_SIDE + _CAPTION + (26 if row.caption else 0) for row in rows]
    height = top + sum(heights) + _GAP * (len(rows) - 1) + (_EDGE if caption else 0) + _EDGE // 2
    image = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(image)
    if title:
        draw.text((_EDGE, _EDGE - 8), _fit(title, width - 2 * _EDGE, 34), _INK, _font(34))
    y = top
    for row, tall in zip(rows, heights, strict=True):
        at = y
        if row.caption:
            text = _fit(row.caption, width - 2 * _EDGE, 16)
            draw.text((_EDGE, at), text, _SOFT, _font(16))
            at += 26
        _item(image, draw, row.query, _EDGE, at, is_query=True)
        _arrow(draw, _EDGE + _SIDE + _QUERY_GAP // 2, at + _SIDE // 2)
        for place, item in enumerate(row.results):
            x = _EDGE + _SIDE + _QUERY_GAP + place * (_SIDE + _GAP)
            _item(image, draw, item, x, at, is_query=False)
        y += tall + _GAP
    if caption:
        draw.text((_EDGE, height - _EDGE), caption, _SOFT, _font(17))
    return image


def _item(
    image: Image.Image,
    draw: ImageDraw.ImageDraw,
    item: SheetItem,
    x: int,
    y: int,
    *,
    is_query: bool,
) -> None:
    """A framed picture; below it the mark with the distance, then the class."""
    frame = {True: _RIGHT, False: _WRONG, None: _LINE}[item.right]
    box = (x, y, x + _SIDE - 1, y + _SIDE - 1)
    draw.rounded_rectangle(box, 12, fill=_INK if is_query else frame)
    inner = _SIDE - 2 * _FRAME
    picture = _square(item, inner)
    mask = Image.new("L", (inner, inner), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, inner - 1, inner - 1), 7, fill=255)
    image.paste(picture, (x + _FRAME, y + _FRAME), mask)
    left, line = x, y + _SIDE + 7
    if item.right is not None and not is_query:
        _mark(image, item.right, x + 9, line + 10)
        left += 26
    label = _fit(item.label or item.name or "unknown", _SIDE, 16)
    if item.distance is not None and math.isfinite(item.distance):
        draw.text((left, line), f"{item.distance:.3f}", _INK, _font(17))
        line += 24
    elif is_query:
        draw.text((left, line), "query", _SOFT, _font(17))
        line += 24
    draw.text((x, line), label, _INK if is_query else _SOFT, _font(16, bold=is_query))


def _square(item: SheetItem, side: int) -> Image.Image:
    """The picture inside a square, aspect kept; a grey square where there is none."""
    square = Image.new("RGB", (side, side), "#e9e6df")
    if item.picture_HWC is None:
        text = "no picture"
        ImageDraw.Draw(square).text((side / 2, side / 2), text, _SOFT, _font(15), anchor="mm")
        return square
    picture = as_image(item.picture_HWC)
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    # Small pictures are scaled up too: a sheet of postage stamps cannot be read.
    method = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    fitted = picture.resize(size, method)
    square.paste(fitted, ((side - size[0]) // 2, (side - size[1]) // 2))
    return square


def _mark(image: Image.Image, right: bool, x: int, y: int) -> None:
    """A tick or a cross, about 18 pixels wide, centred on (x, y); drawn large to be smooth."""
    strokes = _TICK if right else _CROSS
    large = Image.new("L", (96, 96), 0)
    draw = ImageDraw.Draw(large)
    for stroke in strokes:
        draw.line(stroke, fill=255, width=16, joint="curve")
        for end_x, end_y in (stroke[0], stroke[-1]):
            draw.ellipse((end_x - 8, end_y - 8, end_x + 8, end_y + 8), fill=255)
    small = large.resize((24, 24), Image.Resampling.LANCZOS)
    image.paste(_RIGHT if right else _WRONG, (x - 12, y - 12), small)


def _arrow(draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
    draw.line([(x - 5, y - 9), (x + 4, y), (x - 5, y + 9)], fill=_SOFT, width=3, joint="curve")


def _fit(text: str, width: int, size: int) -> str:
    """Cut a line with an ellipsis so that it is at most `width` pixels wide."""
    text = " ".join(text.split())
    font = _font(size)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    # DejaVu comes with matplotlib, so that a sheet looks the same on every machine.
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / name), size)
