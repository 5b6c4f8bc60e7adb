"""One page with two pictures of the same ground, one drawn over the other by a slider.

Shape legend: H, W height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

import likeness
from likeness.errors import require
from likeness.files import write_text
from likeness_apps.shell.report.data import Picture
from likeness_apps.shell.report.page import asset, csp_hash, environment
from likeness_apps.shell.report.pictures import data_uri

_SIDE = 1400  # pixels: sharp on a wide screen, and some hundred kB


@dataclass(frozen=True)
class LegendRow:
    """A class of the upper picture.

    Attributes:
        name: of the class.
        colour: "#rrggbb", as in the picture.
        share: of the area, in [0, 1].
    """

    name: str
    colour: str
    share: float


def write_swipe(
    path: Path | str,
    below_HW3: Picture,
    above_HW3: Picture,
    *,
    title: str,
    text: str = "",
    names: tuple[str, str] = ("scene", "classes"),
    legend: Sequence[LegendRow] = (),
    generated: bool = False,
) -> None:
    """Write one self-contained page, atomically.

    Args:
        path: the html file.
        below_HW3: uint8; what the slider uncovers on its right.
        above_HW3: uint8, of the same height and width; seen on its left.
        title: the heading.
        text: a sentence below it.
        names: what the two pictures are, below first.
        legend: classes of the upper picture, in the order shown.
        generated: the data is generated; the page says so.

    Raises:
        UserError: if the pictures differ in size.
    """
    sizes = [picture.shape[:2] for picture in (below_HW3, above_HW3)]
    require(sizes[0] == sizes[1], "pictures", "of one height and width", sizes)
    style = asset("gallery.css") + asset("swipe.css")
    script = asset("swipe.js")
    page = (
        environment()
        .get_template("swipe.html.j2")
        .render(
            title=title,
            text=text,
            below=data_uri(below_HW3, _SIDE),
            above=data_uri(above_HW3, _SIDE),
            names=names,
            legend=legend,
            generated=generated,
            version=likeness.__version__,
            style=Markup(style),
            style_hash=csp_hash(style),
            script=Markup(script),
            script_hash=csp_hash(script),
        )
    )
    write_text(path, page)
