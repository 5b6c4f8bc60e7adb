"""Planes as SVG: faces as dots, classes and sub-classes as ellipses, faces at their centres.

Colours are presentation attributes that read the class's colour: a page's policy lets no inline
style in. A dot has the mark of its sub-class in its class, so that colour is not needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from markupsafe import Markup, escape

from likeness_apps.facial_expression.report.gathered import NONE, Gathered
from likeness_apps.facial_expression.report.plane import Oval, oval_of, plane_of
from likeness_apps.shell.report.data import balanced_sample
from likeness_apps.shell.report.figures import MARKS

MOST_DOTS = 1200
_EDGE = 14.0
_FILLED = 'fill="var(--k)" fill-opacity=".08" stroke-width="1.8"'
_DASHED = 'fill="none" stroke-width="1.3" stroke-dasharray="4 3"'
_OUTER = 1.0  # percent of the faces at either end of an axis that the frame need not hold


@dataclass(frozen=True)
class Look:
    """Sizes of a drawing, in units of its view box."""

    width: int
    height: int
    face: int
    text: int
    dot: float


WHOLE = Look(860, 600, face=54, text=14, dot=0.75)
PANEL = Look(420, 320, face=46, text=12, dot=0.7)


@dataclass(frozen=True)
class Group:
    """Faces that get an ellipse: which, what they are called, colour and mark by number."""

    name: str
    faces_M: Int[np.ndarray, " M"]
    colour: int
    mark: int


@dataclass(frozen=True)
class Drawn:
    """A plane that was drawn.

    Attributes:
        title: what it shows.
        svg: the drawing.
        shown: see `Plane.shown`.
        beyond: faces that lie beyond the frame.
        dots: faces that are drawn.
    """

    title: str
    svg: Markup
    shown: float
    beyond: int
    dots: int


def draw_classes(faces: Gathered, seed: int) -> Drawn | None:
    """All classes on one plane, their sub-classes dashed; None if fewer than two have faces."""
    known = sorted({*faces.class_N.tolist()} - {NONE})
    if len(known) < 2:
        return None
    groups = [
        Group(faces.classes[number], np.flatnonzero(faces.class_N == number), number, number)
        for number in known
    ]
    inner = [
        Group(faces.names[one], faces.faces_of(one), number, 0)
        for number, parts in faces.subclasses_of.items()
        for one in parts
    ]
    return _draw(faces, "The classes", groups, WHOLE, seed, inner)


def draw_inside(faces: Gathered, number: int, seed: int) -> Drawn:
    """The sub-classes of one class on a plane of their own."""
    groups = [
        Group(faces.names[one], faces.faces_of(one), number, mark)
        for mark, one in enumerate(faces.subclasses_of[number])
    ]
    return _draw(faces, faces.classes[number], groups, PANEL, seed)


def _draw(
    faces: Gathered,
    title: str,
    groups: Sequence[Group],
    look: Look,
    seed: int,
    inner: Sequence[Group] = (),
) -> Drawn:
    """Groups with dots, ellipses and names; of `inner` ones dashed ellipses alone."""
    all_M = np.concatenate([group.faces_M for group in groups])
    sizes = [len(group.faces_M) for group in groups]
    place_M = np.repeat(np.arange(len(groups)), sizes)
    plane = plane_of(faces.rows_ND[all_M], place_M)
    places_M2 = plane.of(faces.rows_ND[all_M])
    ovals = [oval_of(places_M2[place_M == place]) for place in range(len(groups))]
    frame = _Frame.around(places_M2, ovals, look)
    xy_M2 = frame.xy(places_M2)
    inside_M = ((xy_M2 >= 0) & (xy_M2 <= [look.width, look.height])).all(axis=1)
    chosen = balanced_sample(place_M[inside_M].tolist(), MOST_DOTS, seed)
    shown_M = np.flatnonzero(inside_M)[chosen]
    parts = [
        _dots(faces, group, all_M, xy_M2, shown_M[place_M[shown_M] == place], look)
        for place, group in enumerate(groups)
    ]
    parts += [
        _oval(group, frame.oval(oval), _FILLED) for group, oval in zip(groups, ovals, strict=True)
    ]
    for group in inner:
        oval = oval_of(plane.of(faces.rows_ND[group.faces_M]))
        parts.append(_oval(group, frame.oval(oval), _DASHED))
    centres = [(frame.oval(oval).x, frame.oval(oval).y) for oval in ovals]
    parts.append(_middles(faces, groups, centres, look))
    about = ", ".join(group.name for group in groups)
    svg = Markup(
        f'<svg viewBox="0 0 {look.width} {look.height}" width="100%" role="img" '
        f'aria-label="{escape(title)}: {escape(about)}">{"".join(parts)}</svg>'
    )
    return Drawn(title, svg, plane.shown, int((~inside_M).sum()), len(shown_M))


@dataclass(frozen=True)
class _Frame:
    """From the plane to the drawing: one scale for both axes, or ellipses would lie."""

    scale: float
    left: float
    top: float

    @classmethod
    def around(
        cls, places_M2: Float[np.ndarray, "M 2"], ovals: Sequence[Oval], look: Look
    ) -> _Frame:
        """Holds all ellipses, and all faces but the outermost."""
        low_2, high_2 = np.percentile(places_M2, [_OUTER, 100 - _OUTER], axis=0)
        for oval in ovals:
            turn = math.radians(oval.turn)
            wide = math.hypot(oval.long * math.cos(turn), oval.short * math.sin(turn))
            tall = math.hypot(oval.long * math.sin(turn), oval.short * math.cos(turn))
            low_2 = np.minimum(low_2, [oval.x - wide, oval.y - tall])
            high_2 = np.maximum(high_2, [oval.x + wide, oval.y + tall])
        span_2 = np.maximum(high_2 - low_2, 1e-12)
        room = (look.width - 2 * _EDGE, look.height - 2 * _EDGE)
        scale = float(min(room / span_2))
        middle_2 = (low_2 + high_2) / 2
        left, top = look.width / 2 - scale * middle_2[0], look.height / 2 + scale * middle_2[1]
        return cls(scale, float(left), float(top))

    def xy(self, places_N2: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N 2"]:
        """Places in the drawing, whose y points down."""
        placed: np.ndarray = places_N2 * [self.scale, -self.scale] + [self.left, self.top]
        return placed

    def oval(self, oval: Oval) -> Oval:
        """The ellipse in the drawing."""
        (x, y), scale = self.xy(np.array([[oval.x, oval.y]]))[0].tolist(), self.scale
        return replace(
            oval, x=x, y=y, long=scale * oval.long, short=scale * oval.short, turn=-oval.turn
        )


def _dots(
    faces: Gathered,
    group: Group,
    all_M: np.ndarray,
    xy_M2: np.ndarray,
    shown: Sequence[int],
    look: Look,
) -> str:
    path = MARKS[group.mark % len(MARKS)]
    dots = "".join(
        f'<path d="{path}" transform="translate({xy_M2[one, 0]:.1f} {xy_M2[one, 1]:.1f}) '
        f'scale({look.dot})" data-tip="{escape(group.name)} · {escape(faces.paths[all_M[one]])}"/>'
        for one in shown
    )
    return f'<g class="k{group.colour}" fill="var(--k)" fill-opacity=".42">{dots}</g>'


def _oval(group: Group, oval: Oval, style: str) -> str:
    if not oval.long:
        return ""
    tip = f"{group.name}: {len(group.faces_M):,} faces, {oval.inside:.0%} of them inside"
    return (
        f'<ellipse class="k{group.colour}" cx="{oval.x:.1f}" cy="{oval.y:.1f}" '
        f'rx="{oval.long:.1f}" ry="{oval.short:.1f}" '
        f'transform="rotate({oval.turn:.1f} {oval.x:.1f} {oval.y:.1f})" {style} '
        f'stroke="var(--k)" data-tip="{escape(tip)}"/>'
    )


def _middles(
    faces: Gathered,
    groups: Sequence[Group],
    centres: Sequence[tuple[float, float]],
    look: Look,
) -> str:
    """Names and, where there are pictures, the face nearest to each centre; none overlap."""
    pictures = [faces.uri(faces.central(group.faces_M, 1)[0]) for group in groups]
    line = look.text * 1.5
    boxes = []
    for group, uri in zip(groups, pictures, strict=True):
        wide = 0.58 * look.text * len(group.name) + 8
        boxes.append((max(wide, look.face), line + look.face) if uri else (wide, line))
    spots = _apart(centres, boxes, look)
    parts = []
    for group, uri, centre, spot in zip(groups, pictures, centres, spots, strict=True):
        parts.append(_middle(group, uri, centre, spot, look))
    return "".join(parts)


def _middle(
    group: Group,
    uri: str | None,
    centre: tuple[float, float],
    spot: tuple[float, float],
    look: Look,
) -> str:
    (x, y), (at_x, at_y) = centre, spot
    parts = []
    if math.dist(centre, spot) > 3:
        parts.append(
            f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{at_x:.1f}" y2="{at_y:.1f}" '
            'stroke="var(--k)" stroke-width="1.4"/>'
        )
    parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="var(--ink)"/>')
    text_y = at_y
    if uri:
        side, left = look.face, at_x - look.face / 2
        top = at_y - (look.face + 1.5 * look.text) / 2
        parts.append(
            f'<image href="{uri}" x="{left:.1f}" y="{top:.1f}" width="{side}" height="{side}"/>'
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{side}" height="{side}" rx="3" '
            'fill="none" stroke="var(--k)" stroke-width="2.5"/>'
        )
        text_y = top + side + 0.75 * look.text
    parts.append(
        f'<text x="{at_x:.1f}" y="{text_y:.1f}" dy=".35em" text-anchor="middle" '
        f'font-family="var(--sans)" font-weight="600" font-size="{look.text}" fill="var(--ink)" '
        f'stroke="var(--card)" stroke-width="4" paint-order="stroke">{escape(group.name)}</text>'
    )
    return f'<g class="k{group.colour}" pointer-events="none">{"".join(parts)}</g>'


def _apart(
    centres: Sequence[tuple[float, float]], boxes: Sequence[tuple[float, float]], look: Look
) -> list[tuple[float, float]]:
    """A spot for a box at each centre, or as near to it as one is free."""
    steps = [(0.0, 0.0)] + [
        (far * math.cos(turn), far * math.sin(turn))
        for far in range(12, 400, 12)
        for turn in np.linspace(0, 2 * math.pi, 16, endpoint=False)
    ]
    taken: list[tuple[float, float, float, float]] = []
    spots = []
    for (x, y), (wide, tall) in zip(centres, boxes, strict=True):
        x = min(max(x, wide / 2 + 2), look.width - wide / 2 - 2)
        y = min(max(y, tall / 2 + 2), look.height - tall / 2 - 2)
        free = (_box(x + dx, y + dy, wide, tall) for dx, dy in steps)
        fitting = (box for box in free if _fits(box, look) and not _meets(box, taken))
        box = next(fitting, _box(x, y, wide, tall))
        taken.append(box)
        spots.append(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))
    return spots


def _box(x: float, y: float, wide: float, tall: float) -> tuple[float, float, float, float]:
    return (x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2)


def _fits(box: tuple[float, float, float, float], look: Look) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= look.width and box[3] <= look.height


def _meets(
    box: tuple[float, float, float, float], taken: Sequence[tuple[float, float, float, float]]
) -> bool:
    return any(
        box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
        for other in taken
    )
