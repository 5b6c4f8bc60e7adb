"""The report: one self-contained page that works from file:// and asks the network for nothing."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

import likeness
from likeness.errors import require
from likeness.files import write_text
from likeness_apps.shell.report import tables
from likeness_apps.shell.report.colours import class_colours
from likeness_apps.shell.report.data import ReportData
from likeness_apps.shell.report.page import asset, csp_hash, embedded_json, environment, section
from likeness_apps.shell.report.pictures import Pictures
from likeness_apps.shell.report.sections import Build, interval_label, sections_of
from likeness_apps.shell.report.wall import build_wall

MAX_TILES = 420


def write_report(
    path: Path | str,
    data: ReportData,
    *,
    include_images: bool = False,
    max_tiles: int = MAX_TILES,
    seed: int = 0,
) -> None:
    """Write the report as one HTML file, atomically; equal input gives equal bytes.

    Args:
        path: the file.
        data: what it shows.
        include_images: put small re-encoded pictures in (no EXIF). Without them tiles show class
            and name: images of people or patients never appear unless asked for.
        max_tiles: tiles of the wall at most, >= 2.
        seed: of every choice: tiles, example queries, the map.

    Raises:
        UserError: if `max_tiles` is too small or the file cannot be written.
    """
    text = render_report(data, include_images=include_images, max_tiles=max_tiles, seed=seed)
    write_text(path, text)


def render_report(
    data: ReportData,
    *,
    include_images: bool = False,
    max_tiles: int = MAX_TILES,
    seed: int = 0,
) -> str:
    """The text of the page; see `write_report`."""
    require(max_tiles >= 2, "max_tiles", ">= 2", max_tiles)
    pictures = Pictures(data.thumbnail if include_images else None)
    numbers = tables.all_figures(data.metrics)
    matrix = tables.confusion(data.metrics)
    wall = build_wall(data, pictures, max_tiles, seed)
    build = Build(data, numbers, matrix, pictures, wall, seed)
    made = [(name, title, body(build)) for name, title, body in sections_of(data)]
    shown = [item for item in made if isinstance(item[2], Markup)]
    missing = [(title, body) for _, title, body in made if not isinstance(body, Markup)]
    if missing:
        shown.append(("left-out", "Left out of this report", section("leftout", reasons=missing)))
    script = asset("report.js")
    style = asset("report.css") + class_styles(len(data.items.classes))
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            data=data,
            version=likeness.__version__,
            summary=_summary(build),
            headlines=_headlines(data, numbers),
            interval_label=interval_label(data),
            sections=shown,
            payload=embedded_json(wall.payload) if wall is not None else "",
            style=Markup(style),
            style_hash=csp_hash(style),
            script=Markup(script),
            script_hash=csp_hash(script),
        )
    )


def _headlines(data: ReportData, numbers: list[tables.Figure]) -> list[tables.Figure]:
    """The field's own, then shared ones that are not among them."""
    own = {item.key for item in data.headlines}
    shared = tables.headlines(item for item in numbers if item.key not in own)
    return [*data.headlines, *shared][: tables.MOST_HEADLINES]


def _summary(build: Build) -> str:
    items, metrics = build.data.items, build.data.metrics
    counted = sum(1 for truth in items.truths if truth)
    right = counted - len(items.wrong)
    split = f"{metrics['split']} " if metrics.get("split") else ""
    kind = "with {} labels" if build.data.multilabel else "in {} classes"
    text = f"{len(items):,} {split}images {kind.format(len(items.classes))}"
    if counted and build.data.multilabel:
        text += f"; {right:,} of the {counted:,} with known labels got exactly these"
    elif counted:
        text += f"; {right:,} of the {counted:,} with a known class were called by it"
    lost = len(build.data.predictions) - len(items)
    if lost:
        text += f". {lost:,} more could not be used and are listed below"
    return text + "."


def class_styles(count: int) -> str:
    """The style rules that give each of so many classes its colour, on light and on dark."""
    light, dark = [], []
    for index, (on_light, on_dark) in enumerate(class_colours(count)):
        light.append(f".k{index}{{--k:{on_light}}}")
        dark.append(f".k{index}{{--k:{on_dark}}}")
    auto = ":root:not([data-theme=light]) "
    return (
        "".join(light)
        + "".join(f":root[data-theme=dark] {rule}" for rule in dark)
        + "@media screen and (prefers-color-scheme:dark){"
        + "".join(auto + rule for rule in dark)
        + "}"
    )
