"""One page that links what a run made: report, sheets, index, and the commands that made them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urlsplit

import numpy as np
from markupsafe import Markup
from PIL import Image

import likeness
from likeness.errors import require
from likeness.files import write_text
from likeness_apps.shell.report.data import Picture
from likeness_apps.shell.report.page import asset, csp_hash, environment
from likeness_apps.shell.report.pictures import as_image, shrink

_SIDE = 720  # pixels: a card is about 360 wide, shown sharp on a dense screen


@dataclass(frozen=True)
class GalleryItem:
    """One card.

    Attributes:
        title: what it is.
        href: where it lies, relative to the gallery's folder, with forward slashes.
        text: one or two sentences.
        picture: an image file, an (H, W, 3) uint8 array, or None for a card without one.
        generated: the data is generated; the card says so.
    """

    title: str
    href: str
    text: str = ""
    picture: Path | str | Picture | None = None
    generated: bool = False


@dataclass(frozen=True)
class Command:
    """A command that was run, and how many seconds it took."""

    line: str
    seconds: float


def write_gallery(
    path: Path | str,
    items: Sequence[GalleryItem],
    *,
    title: str = "Gallery",
    text: str = "",
    commands: Sequence[Command] = (),
) -> None:
    """Write one self-contained page of cards that link to the files beside it, atomically.

    Args:
        path: the html file.
        items: at least one.
        title: the heading.
        text: a sentence below it.
        commands: what was run, in order.

    Raises:
        UserError: if there is nothing to show, or a link is not a relative path.
    """
    require(len(items) > 0, "items", "at least one", 0)
    cards = [{"item": item, "href": _href(item.href), "uri": _uri(item.picture)} for item in items]
    style = asset("gallery.css")
    page = (
        environment()
        .get_template("gallery.html.j2")
        .render(
            title=title,
            text=text,
            cards=cards,
            commands=[(command.line, duration(command.seconds)) for command in commands],
            total=duration(sum(command.seconds for command in commands)),
            version=likeness.__version__,
            style=Markup(style),
            style_hash=csp_hash(style),
        )
    )
    write_text(path, page)


def duration(seconds: float) -> str:
    """Seconds in words: "0.8 s", "42 s", "3 min 05 s", "1 h 02 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _href(href: str) -> str:
    parts = urlsplit(href)
    relative = not parts.scheme and not parts.netloc and not PurePosixPath(href).is_absolute()
    require(relative and href and "\\" not in href, "href", "a relative path with /", href)
    return quote(href, safe="/")


def _uri(picture: Path | str | Picture | None) -> str | None:
    """A picture as a data URI: decoded and encoded anew, so that no metadata comes along."""
    if picture is None:
        return None
    if isinstance(picture, np.ndarray):
        image = as_image(picture)
    else:
        with Image.open(picture) as opened:
            image = opened.convert("RGB")
    buffer = io.BytesIO()
    small = shrink(image, _SIDE)
    Image.fromarray(np.asarray(small)).save(buffer, "WEBP", quality=80, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
