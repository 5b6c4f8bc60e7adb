"""What generated scenes are put together from: roads, cars, houses, aircraft, boats, trees.

Everything is drawn on a `Canvas` at its true size in metres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from likeness_apps.remote_sensing.sample_canvas import (
    NATURAL,
    PAVED,
    ROOF,
    WATER,
    Canvas,
    Colour,
    Point,
    box,
    mix,
    place,
    ribbon,
    shade,
)

WHITE: Colour = (0.92, 0.92, 0.89)
YELLOW: Colour = (0.86, 0.72, 0.30)
LANE = 3.6


def pavement(canvas: Canvas) -> Colour:
    """Asphalt or concrete of this place, at any age."""
    share = float(canvas.rng.uniform(0, 1))
    return mix(canvas.palette.asphalt, canvas.palette.concrete, share**1.5)


def curve(canvas: Canvas, bend: float, steps: int = 24) -> list[Point]:
    """A centre line along x through the square: a bow plus a swing, about `bend` metres deep."""
    rng, reach = canvas.rng, canvas.reach
    x = np.linspace(-reach, reach, steps)
    t = x / reach
    bow, swing = (float(value) for value in rng.normal(0, bend, 2))
    phase = float(rng.uniform(0, 2 * math.pi))
    y = bow * (t**2 - 0.2) + swing * (np.sin(2.4 * t + phase) - math.sin(phase))
    return list(zip(x.tolist(), y.tolist(), strict=True))


def shifted(centre: Sequence[Point], offset: float) -> list[Point]:
    """The parallel of a centre line, `offset` metres to its side."""
    outline = ribbon(centre, (offset, offset))
    return outline[: len(centre)]


def car(canvas: Canvas, x: float, y: float, angle: float, height: float = 0.0) -> None:
    """A passenger car or van, on a surface `height` metres up."""
    rng = canvas.rng
    if not canvas.inside(x, y, 3):
        return
    long = float(rng.uniform(4.2, 5.2))
    paint = canvas.palette.car(rng)
    canvas.polygon(box(x, y, long, 1.9, angle), paint, height=height + 1.4, material=ROOF)
    glass = (0.12, 0.14, 0.17)
    for along, length in ((0.13, 0.12), (-0.30, 0.09)):
        at = (x + math.cos(angle) * long * along, y + math.sin(angle) * long * along)
        canvas.polygon(box(*at, long * length, 1.6, angle), glass)


def lorry(canvas: Canvas, x: float, y: float, angle: float, height: float = 0.0) -> None:
    """A lorry or coach, on a surface `height` metres up."""
    if not canvas.inside(x, y, 8):
        return
    long = float(canvas.rng.uniform(9, 15))
    paint = shade(canvas.palette.car(canvas.rng), 1.05)
    canvas.polygon(box(x, y, long, 2.6, angle), paint, height=height + 3.2, material=ROOF)
    cab = (x + math.cos(angle) * (long / 2 + 1.4), y + math.sin(angle) * (long / 2 + 1.4))
    canvas.polygon(box(*cab, 2.2, 2.4, angle), shade(paint, 0.7), height=height + 2.6)


def traffic(
    canvas: Canvas, centre: Sequence[Point], offset: float, density: float, height: float = 0.0
) -> None:
    """Vehicles in one lane: about one per 20 m at density 1."""
    lane = shifted(centre, offset)
    for (x0, y0), (x1, y1) in pairwise(lane):
        length = math.hypot(x1 - x0, y1 - y0)
        if canvas.rng.uniform() < density * length / 20:
            share = float(canvas.rng.uniform())
            at = (x0 + (x1 - x0) * share, y0 + (y1 - y0) * share)
            draw = lorry if canvas.rng.uniform() < 0.1 else car
            draw(canvas, *at, math.atan2(y1 - y0, x1 - x0), height)


def road(
    canvas: Canvas,
    centre: Sequence[Point],
    width: float,
    colour: Colour,
    *,
    height: float | None = None,
    kerb: bool = True,
) -> None:
    """A paved strip along a centre line, with lighter kerbs or pavements beside it."""
    if kerb:
        edge = mix(colour, canvas.palette.concrete, 0.7)
        canvas.polygon(
            ribbon(centre, (-width / 2 - 1.6, width / 2 + 1.6)), edge, height=height, material=PAVED
        )
    canvas.polygon(ribbon(centre, (-width / 2, width / 2)), colour, height=height, material=PAVED)


def lanes(canvas: Canvas, centre: Sequence[Point], offsets: Sequence[float]) -> None:
    """Dashed white lane lines along a centre line, at the given offsets (m)."""
    for offset in offsets:
        line = shifted(centre, offset)
        for start, end in zip(line[::2], line[1::2], strict=False):
            canvas.line([start, end], 0.3, WHITE)


def carriageway(
    canvas: Canvas,
    centre: Sequence[Point],
    middle: float,
    count: int,
    colour: Colour,
    density: float,
    height: float | None = None,
) -> None:
    """One direction of a motorway, `count` lanes around the parallel at `middle` metres."""
    line = shifted(centre, middle)
    width = count * LANE + 4
    canvas.polygon(ribbon(line, (-width / 2, width / 2)), colour, height=height, material=PAVED)
    canvas.line(shifted(line, -count * LANE / 2), 0.25, YELLOW)
    canvas.line(shifted(line, count * LANE / 2), 0.25, WHITE)
    lanes(canvas, line, [(index - count / 2) * LANE for index in range(1, count)])
    for index in range(count):
        traffic(canvas, line, (index + 0.5 - count / 2) * LANE, density, height or 0.0)


def building(
    canvas: Canvas, x: float, y: float, length: float, width: float, angle: float, height: float
) -> None:
    """A flat roof with a parapet and machines on it."""
    rng = canvas.rng
    colour = canvas.palette.roof(rng)
    corners = box(x, y, length, width, angle)
    canvas.polygon(corners, shade(colour, 1.2), height=height + 0.5, material=ROOF)
    canvas.polygon(box(x, y, length - 1.2, width - 1.2, angle), colour, height=height)
    for _ in range(int(rng.integers(2, 7))):
        along, across = (float(value) for value in rng.uniform(-0.38, 0.38, 2))
        cos, sin = math.cos(angle), math.sin(angle)
        at = (
            x + cos * length * along - sin * width * across,
            y + sin * length * along + cos * width * across,
        )
        unit = float(rng.uniform(1.2, 3))
        canvas.polygon(
            box(*at, unit, unit * 0.8, angle), canvas.palette.concrete, height=height + 2
        )


def house(canvas: Canvas, x: float, y: float, length: float, width: float, angle: float) -> None:
    """A house with a gabled or hipped roof whose sides are lit by the sun, maybe with a wing."""
    rng = canvas.rng
    if not canvas.inside(x, y, length):
        return
    colour = canvas.palette.roof(rng)
    if length > 13 and rng.uniform() < 0.5:
        side = width * 0.5 * (1 if rng.uniform() < 0.5 else -1)
        at = place([(length * 0.25, side)], x, y, angle, 1.0)[0]
        _roof(canvas, *at, width * 1.1, length * 0.42, angle + math.pi / 2, colour)
    _roof(canvas, x, y, length, width, angle, colour)


def _roof(
    canvas: Canvas, x: float, y: float, length: float, width: float, angle: float, colour: Colour
) -> None:
    eaves = float(canvas.rng.uniform(3.5, 5.5))
    hip = float(canvas.rng.choice([0.0, width * 0.45]))
    half, side = length / 2, width / 2
    ridge = half - hip

    def put(points: Sequence[Point]) -> list[Point]:
        return place(points, x, y, angle, 1.0)

    def lit(direction: float) -> Colour:
        return shade(colour, 1 + 0.28 * canvas.facing_sun(angle + direction))

    canvas.polygon(box(x, y, length, width, angle), colour, height=eaves, material=ROOF)
    canvas.polygon(put([(-half, side), (half, side), (ridge, 0), (-ridge, 0)]), lit(math.pi / 2))
    canvas.polygon(put([(-half, -side), (half, -side), (ridge, 0), (-ridge, 0)]), lit(-math.pi / 2))
    if hip:
        canvas.polygon(put([(half, side), (half, -side), (ridge, 0)]), lit(0))
        canvas.polygon(put([(-half, side), (-half, -side), (-ridge, 0)]), lit(math.pi))
    canvas.line(put([(-ridge, 0), (ridge, 0)]), 0.3, shade(colour, 1.3))


def pool(canvas: Canvas, x: float, y: float, angle: float) -> None:
    """A garden pool with its terrace."""
    canvas.polygon(box(x, y, 10, 7, angle), canvas.palette.concrete, material=PAVED)
    canvas.polygon(box(x, y, 7, 3.8, angle), (0.30, 0.62, 0.70), material=WATER)


def aircraft(canvas: Canvas, x: float, y: float, angle: float, span: float) -> None:
    """An airliner or a small aeroplane of `span` metres, nose along `angle`."""
    rng = canvas.rng
    sweep = float(rng.uniform(0.05, 0.26)) if span > 16 else 0.0
    body = float(rng.uniform(0.052, 0.065))
    paint = shade((0.93, 0.93, 0.92), float(rng.uniform(0.8, 1.05)))
    accent = canvas.palette.car(rng)
    high = 0.11 * span

    def put(points: Sequence[Point]) -> list[Point]:
        return place(points, x, y, angle, span)

    for side in (-1, 1):
        wing: list[Point] = [
            (0.12, 0.03 * side), (0.02 - sweep, 0.5 * side), (-0.045 - sweep, 0.5 * side),
            (-0.09, 0.04 * side),
        ]  # fmt: skip
        tail: list[Point] = [
            (-0.38, 0.01 * side), (-0.43 - sweep * 0.4, 0.19 * side),
            (-0.48 - sweep * 0.4, 0.19 * side), (-0.48, 0.01 * side),
        ]  # fmt: skip
        canvas.polygon(put(wing), shade(paint, 0.93), height=high * 0.7, material=ROOF)
        canvas.polygon(put(tail), shade(paint, 0.9), height=high * 0.8, material=ROOF)
        for at in (0.18, 0.33)[: 2 if span > 38 else 1]:
            nose = 0.13 - sweep * at * 1.4
            engine: list[Point] = [
                (nose, (at - 0.025) * side), (nose, (at + 0.025) * side),
                (nose - 0.11, (at + 0.02) * side), (nose - 0.11, (at - 0.02) * side),
            ]  # fmt: skip
            canvas.polygon(put(engine), shade(paint, 0.7), height=high * 0.6)
    turn = np.linspace(-math.pi / 2, math.pi / 2, 7)
    nose_points = [(0.40 + 0.1 * math.cos(a), body * math.sin(a)) for a in turn.tolist()]
    hull: list[Point] = [*nose_points, (-0.3, body), (-0.5, 0.008), (-0.5, -0.008), (-0.3, -body)]
    canvas.polygon(put(hull), paint, height=high, material=ROOF)
    canvas.polygon(put([(-0.37, 0.012), (-0.52, 0.014), (-0.52, -0.014), (-0.37, -0.012)]), accent,
                   height=high * 2.2)  # fmt: skip
    canvas.polygon(put([(0.45, body * 0.5), (0.47, 0.0), (0.45, -body * 0.5)]), (0.15, 0.17, 0.2))


def boat(canvas: Canvas, x: float, y: float, angle: float, length: float) -> None:
    """A motor or sailing boat with its bow along `angle`."""
    rng = canvas.rng
    if not canvas.inside(x, y, length):
        return
    wide = float(rng.uniform(0.13, 0.17))
    hull: list[Point] = [(0.5, 0), (0.22, wide), (-0.48, wide * 0.85), (-0.48, -wide * 0.85),
                         (0.22, -wide)]  # fmt: skip
    paint = shade(WHITE, float(rng.uniform(0.7, 1.05)))
    canvas.polygon(place(hull, x, y, angle, length), paint, height=1.2, material=ROOF)
    deck = mix(canvas.palette.car(rng), canvas.palette.soil, 0.5)
    back: list[Point] = [(-0.1, wide * 0.6), (-0.42, wide * 0.6), (-0.42, -wide * 0.6),
                         (-0.1, -wide * 0.6)]  # fmt: skip
    canvas.polygon(place(back, x, y, angle, length), deck)
    if rng.uniform() < 0.5:
        cabin: list[Point] = [(0.2, wide * 0.5), (-0.12, wide * 0.6), (-0.12, -wide * 0.6),
                              (0.2, -wide * 0.5)]  # fmt: skip
        canvas.polygon(place(cabin, x, y, angle, length), shade(paint, 0.75), height=2.6)


def tank(canvas: Canvas, x: float, y: float, radius: float) -> None:
    """A storage tank: fixed cone roof or a floating roof sunk inside its wall."""
    rng = canvas.rng
    if not canvas.inside(x, y, radius * 1.5):
        return
    base = mix(WHITE, canvas.palette.roof(rng), float(rng.choice([0.0, 0.15, 0.35, 0.8])))
    high = float(rng.uniform(6, 12))
    canvas.disc(x, y, radius + 1.2, canvas.palette.concrete, material=PAVED)
    canvas.disc(x, y, radius, shade(base, 1.05), height=high, material=ROOF)
    if rng.uniform() < 0.35:
        canvas.disc(
            x, y, radius * 0.93, shade(base, 0.7), height=high * float(rng.uniform(0.4, 0.9))
        )
    else:
        for index in range(12):
            angle = index * math.pi / 6
            tone = shade(base, 1 + 0.07 * canvas.facing_sun(angle + math.pi / 12))
            rim = [
                (
                    x + radius * 0.93 * math.cos(angle + step),
                    y + radius * 0.93 * math.sin(angle + step),
                )
                for step in (0, math.pi / 12, math.pi / 6)
            ]
            canvas.polygon([(x, y), *rim], tone)
        canvas.disc(x, y, radius * 0.12, shade(base, 0.8))
    stair = float(rng.uniform(0, 2 * math.pi))
    ends = [(x + reach * math.cos(stair), y + reach * math.sin(stair)) for reach in (0.0, radius)]
    canvas.line(ends, 0.5, shade(base, 0.75))


def scatter_trees(canvas: Canvas, count: int, radii: tuple[float, float], clumps: int = 0) -> None:
    """Plant trees on unpaved ground: evenly, or in `clumps` groups; radii in metres."""
    rng, half = canvas.rng, canvas.extent * 0.74
    spots = rng.uniform(-half, half, (count, 2))
    if clumps:
        hearts = rng.uniform(-half, half, (clumps, 2))
        spots = hearts[rng.integers(clumps, size=count)] + rng.normal(0, half * 0.16, (count, 2))
    sizes = rng.uniform(*radii, count)
    for (x, y), radius in zip(spots.tolist(), sizes.tolist(), strict=True):
        if not canvas.covered(x, y):
            canvas.tree(x, y, radius)


def tree_row(canvas: Canvas, line: Sequence[Point], spacing: float, radius: float) -> None:
    """Trees along a line, every `spacing` metres or so, with gaps."""
    for (x0, y0), (x1, y1) in pairwise(line):
        count = max(1, round(math.hypot(x1 - x0, y1 - y0) / spacing))
        for index in range(count):
            share = (index + float(canvas.rng.uniform(0, 0.7))) / count
            x, y = x0 + (x1 - x0) * share, y0 + (y1 - y0) * share
            if canvas.rng.uniform() < 0.85 and not canvas.covered(x, y):
                canvas.tree(x, y, radius * float(canvas.rng.uniform(0.7, 1.25)))


def parked(
    canvas: Canvas, start: Point, angle: float, bays: int, taken: float, ahead: float
) -> None:
    """A row of marked parking bays 2.7 m wide, some with a car standing along `ahead`."""
    cos, sin = math.cos(angle), math.sin(angle)
    dx, dy = math.cos(ahead) * 2.6, math.sin(ahead) * 2.6
    for index in range(bays + 1):
        x, y = start[0] + cos * 2.7 * index, start[1] + sin * 2.7 * index
        if not canvas.inside(x, y, 4):
            continue
        canvas.line([(x - dx, y - dy), (x + dx, y + dy)], 0.25, WHITE)
        if index < bays and canvas.rng.uniform() < taken:
            turn = ahead + (math.pi if canvas.rng.uniform() < 0.4 else 0.0)
            car(canvas, x + cos * 1.35, y + sin * 1.35, turn)


def lawn(canvas: Canvas, points: Sequence[Point], colour: Colour) -> None:
    """A patch of one kind of unpaved ground."""
    canvas.polygon(points, colour, material=NATURAL)
