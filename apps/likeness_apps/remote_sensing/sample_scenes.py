"""The scenes of the generated sample, one function per UC Merced class: what stands on the ground.

The classes share one palette, one light and much of their furniture (houses, cars, trees, roads),
and some pass into each other as they do on real pictures: a thin estate into scattered houses,
open woodland into thick scrub, a motorway into the motorway below a bridge.
"""

from __future__ import annotations

import math
from collections.abc import Callable

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
    ribbon,
    shade,
)
from likeness_apps.remote_sensing.sample_parts import (
    LANE,
    WHITE,
    aircraft,
    boat,
    building,
    car,
    carriageway,
    curve,
    house,
    lanes,
    lawn,
    lorry,
    parked,
    pavement,
    pool,
    road,
    scatter_trees,
    shifted,
    tank,
    traffic,
    tree_row,
)


def agricultural(canvas: Canvas) -> None:
    """Fields with crop rows, each parcel at its own stage; tracks and a hedge between them."""
    rng, palette, reach = canvas.rng, canvas.palette, canvas.reach
    cuts = [-reach, *sorted(rng.uniform(-0.7, 0.7, int(rng.integers(0, 3))) * reach), reach]
    across = float(rng.choice([0.0, math.pi / 2]))
    for left, right in zip(cuts, cuts[1:], strict=False):
        split = float(rng.uniform(-2, 2)) * reach
        for low, high in ((-reach, split), (split, reach)):
            if high <= low or low > reach:
                continue
            corners = [(left, low), (right, low), (right, high), (left, high)]
            crop = mix(palette.grass, palette.crown, float(rng.uniform(0, 0.9)))
            bare = mix(palette.soil, palette.dry, float(rng.uniform()))
            first = mix(crop, bare, float(rng.uniform(0, 1)))
            lawn(canvas, corners, first)
            angle = across if rng.uniform() < 0.8 else across + math.pi / 2
            period = float(rng.uniform(1.6, 5.5))
            second = shade(
                mix(first, bare, float(rng.uniform(0.1, 0.9))), float(rng.uniform(0.7, 1.2))
            )
            canvas.stripes(corners, angle, period, second, float(rng.uniform(0.25, 0.6)))
            if rng.uniform() < 0.5:
                canvas.stripes(corners, angle, period * 6, shade(bare, 0.95), 0.06)
    for at in cuts[1:-1]:
        canvas.line([(at, -reach), (at, reach)], float(rng.uniform(1.5, 4)), palette.soil)
        if rng.uniform() < 0.35:
            tree_row(canvas, [(at + 4, -reach), (at + 4, reach)], 6, 2.4)
    if rng.uniform() < 0.35:
        at = float(rng.uniform(-0.5, 0.5)) * reach
        road(canvas, [(-reach, at), (reach, at)], float(rng.uniform(4, 9)), pavement(canvas))
    for _ in range(int(rng.choice([0, 0, 1, 3]))):
        x, y = (float(value) for value in rng.uniform(-0.6, 0.6, 2) * reach)
        house(canvas, x, y, float(rng.uniform(12, 26)), 9, across)
        for _ in range(4):
            canvas.tree(x + float(rng.normal(0, 12)), y + float(rng.normal(0, 12)), 2.6)


def airplane(canvas: Canvas) -> None:
    """Aircraft standing on an apron: one airliner, or a row of small ones."""
    rng, palette, reach = canvas.rng, canvas.palette, canvas.reach
    apron = pavement(canvas)
    edge = float(rng.uniform(0.2, 0.9)) * reach
    canvas.polygon([(-reach, -reach), (reach, -reach), (reach, edge), (-reach, edge)], apron,
                   material=PAVED)  # fmt: skip
    for at in np.arange(-reach, reach, float(rng.uniform(6, 9))).tolist():
        canvas.line([(at, -reach), (at, edge)], 0.25, shade(apron, 0.86))
        if at < edge:
            canvas.line([(-reach, at), (reach, at)], 0.25, shade(apron, 0.86))
    if rng.uniform() < 0.35:
        building(canvas, float(rng.uniform(-20, 20)), -reach + 6, reach, 34, 0.0, 9)
    guide = float(rng.uniform(-0.5, 0.2)) * reach
    canvas.line([(-reach, guide), (reach, guide)], 0.5, (0.80, 0.68, 0.25))
    span = float(np.exp(rng.uniform(math.log(11), math.log(46))))
    heading = float(rng.choice([math.pi / 2, -math.pi / 2])) + float(rng.normal(0, 0.25))
    pitch, count = span * float(rng.uniform(1.15, 1.5)), max(1, round(60 / span))
    first = float(rng.uniform(-0.12, 0.12)) * canvas.extent - pitch * (count - 1) / 2
    for index in range(count):
        if count > 2 and rng.uniform() < 0.25:
            continue
        turn = heading + float(rng.normal(0, 0.04))
        aircraft(canvas, first + index * pitch, float(rng.normal(0, 2)), turn, span)
    for _ in range(int(rng.integers(0, 9))):
        x, y = (float(value) for value in rng.uniform(-0.6, 0.6, 2) * reach)
        if y < edge - 4 and abs(y) > span * 0.55:
            draw = lorry if rng.uniform() < 0.3 else car
            draw(canvas, x, y, float(rng.uniform(0, math.pi)))


def baseballdiamond(canvas: Canvas) -> None:
    """A ball field: dirt infield with a grass square, mown outfield, fence, stands."""
    rng, palette = canvas.rng, canvas.palette
    base = float(rng.uniform(17, 27))
    field = base * float(rng.uniform(2.3, 3.0))
    home_x, home_y = -base * 0.8, -base * 0.8
    dirt = mix(palette.soil, (0.66, 0.46, 0.32), float(rng.uniform(0, 0.8)))
    turf = mix(palette.grass, palette.dry, float(rng.uniform(0, 0.5)))

    def sector(
        radius: float, start: float = -0.04, stop: float = math.pi / 2 + 0.04
    ) -> list[Point]:
        arc = np.linspace(start, stop, 20).tolist()
        return [(home_x, home_y)] + [
            (home_x + radius * math.cos(a), home_y + radius * math.sin(a)) for a in arc
        ]

    canvas.disc(
        home_x, home_y, base * 0.62, mix(dirt, turf, float(rng.uniform(0, 1))), material=NATURAL
    )
    lawn(canvas, sector(field + 4), dirt)
    lawn(canvas, sector(field), turf)
    if rng.uniform() < 0.7:
        canvas.stripes(sector(field), float(rng.choice([0.0, math.pi / 4])),
                       float(rng.uniform(7, 12)), shade(turf, 1.12), 0.5)  # fmt: skip
    lawn(canvas, sector(base * float(rng.uniform(1.35, 1.6)), -0.1, math.pi / 2 + 0.1), dirt)
    inner = 0.12 * base
    square = [(home_x + a * base, home_y + b * base) for a, b in
              ((inner / base, inner / base), (0.93, 0.1), (0.93, 0.93), (0.1, 0.93))]  # fmt: skip
    if rng.uniform() < 0.75:
        lawn(canvas, square, turf)
        canvas.disc(home_x + base / 2, home_y + base / 2, 2.6, dirt)
    canvas.disc(home_x, home_y, 4, dirt)
    for end in ((field, 0.0), (0.0, field)):
        canvas.line([(home_x, home_y), (home_x + end[0], home_y + end[1])], 0.3, WHITE)
    for a, b in ((0, 0), (1, 0), (1, 1), (0, 1)):
        canvas.disc(home_x + a * base, home_y + b * base, 0.6, WHITE)
    if rng.uniform() < 0.6:
        for x, y in ((home_x + base * 0.5, home_y - 8), (home_x - 8, home_y + base * 0.5)):
            turn = 0.0 if y < home_y else math.pi / 2
            canvas.polygon(
                box(x, y, base * 0.6, 4, turn), palette.roof(rng), height=3, material=ROOF
            )
    far = field * 0.9
    for _ in range(int(rng.integers(0, 26))):
        angle = float(rng.uniform(-0.1, math.pi / 2 + 0.1))
        radius = field + float(rng.uniform(7, 20))
        canvas.tree(home_x + radius * math.cos(angle), home_y + radius * math.sin(angle),
                    float(rng.uniform(1.8, 4.5)))  # fmt: skip
    if rng.uniform() < 0.4:
        road(canvas, [(-canvas.reach, home_y - far * 0.45), (canvas.reach, home_y - far * 0.45)], 8,
             pavement(canvas))  # fmt: skip


def _shore(canvas: Canvas, offset: float, sand: Colour, width: float) -> None:
    """Sea beyond a curved line: dry sand, wet sand, surf, shallows, deep water."""
    rng, palette, reach = canvas.rng, canvas.palette, canvas.reach
    line = [(x, y + offset) for x, y in curve(canvas, 5.0)]
    shallow = mix(palette.water, palette.sand, float(rng.uniform(0.15, 0.5)))

    def beyond(distance: float, colour: Colour, material: int) -> None:
        edge = shifted(line, distance)
        canvas.polygon([*edge, (reach, reach * 1.5), (-reach, reach * 1.5)], colour, height=0.0,
                       material=material)  # fmt: skip

    beyond(-width, sand, NATURAL)
    beyond(-float(rng.uniform(2, 6)), shade(sand, 0.76), NATURAL)
    for step in range(9):
        colour = mix(shallow, palette.water, (step / 8) ** 0.7)
        beyond(step * float(rng.uniform(2.0, 4.5)), colour, WATER)
    for _ in range(int(rng.integers(1, 5))):
        wave = shifted(line, float(rng.uniform(-0.5, 16)))
        ragged = [(x, y + float(rng.normal(0, 0.5))) for x, y in wave]
        start = int(rng.integers(0, 9))
        stop = int(rng.integers(12, len(ragged)))
        thick = float(rng.uniform(0.4, 1.6))
        crest = ragged[start:stop]
        back = [
            (x, y + thick * math.sin(math.pi * index / (len(crest) - 1)))
            for index, (x, y) in enumerate(crest)
        ]
        canvas.polygon([*crest, *back[::-1]], mix(palette.water, WHITE, 0.75))


def beach(canvas: Canvas) -> None:
    """Sand between dunes and surf; footpaths, parasols, sometimes a groyne or a boat."""
    rng, palette, reach = canvas.rng, canvas.palette, canvas.reach
    offset = float(rng.uniform(-0.4, 0.4)) * canvas.extent
    width = float(rng.uniform(5, 45))
    sand = mix(palette.sand, pavement(canvas), float(rng.uniform(0, 0.7)))
    _shore(canvas, offset, sand, width)
    for _ in range(int(rng.integers(0, 22))):
        x = float(rng.uniform(-reach, reach))
        y = offset - float(rng.uniform(0.3, 0.95)) * width
        canvas.disc(x, y, float(rng.uniform(0.6, 1.5)), palette.car(rng), height=2.0)
    if rng.uniform() < 0.3:
        x = float(rng.uniform(-0.4, 0.4)) * canvas.extent
        pier = box(
            x, offset + 14, float(rng.uniform(30, 60)), float(rng.uniform(2.5, 5)), math.pi / 2
        )
        canvas.polygon(pier, mix(palette.soil, palette.concrete, 0.4), height=2.5, material=ROOF)
    if rng.uniform() < 0.35:
        for _ in range(int(rng.integers(1, 4))):
            boat(canvas, float(rng.uniform(-30, 30)), offset + float(rng.uniform(10, 40)),
                 float(rng.uniform(0, 6)), float(rng.uniform(5, 11)))  # fmt: skip
    inland = offset - width - 14
    if rng.uniform() < 0.35:
        road(canvas, [(-reach, inland), (reach, inland)], 8, pavement(canvas))
    if rng.uniform() < 0.3:
        for x in np.arange(-reach, reach, 22).tolist():
            house(canvas, x, inland - 14, 15, 10, float(rng.choice([0, math.pi / 2])))
    for _ in range(int(rng.integers(0, 60))):
        x, y = float(rng.uniform(-reach, reach)), offset - width - float(rng.exponential(14))
        if not canvas.covered(x, y):
            canvas.tree(x, y, float(rng.uniform(0.8, 3)))


def chaparral(canvas: Canvas) -> None:
    """Dry ground dotted with shrubs; thick scrub looks much like open woodland."""
    rng = canvas.rng
    _paths(canvas, 0.3)
    count = int(np.exp(rng.uniform(math.log(90), math.log(460))))
    scatter_trees(canvas, count, (0.7, float(rng.uniform(1.7, 3.0))), int(rng.choice([0, 0, 14])))


def forest(canvas: Canvas) -> None:
    """Closed to open woodland, sometimes with a track or a clearing."""
    rng = canvas.rng
    _paths(canvas, 0.3)
    count = int(np.exp(rng.uniform(math.log(170), math.log(520))))
    scatter_trees(canvas, count, (1.5, float(rng.uniform(3.4, 5.5))), int(rng.choice([0, 0, 16])))


def _paths(canvas: Canvas, chance: float) -> None:
    rng, palette = canvas.rng, canvas.palette
    if rng.uniform() < chance:
        width = float(rng.uniform(1.5, 5))
        colour = mix(palette.soil, palette.sand, 0.4)
        canvas.polygon(ribbon(curve(canvas, 14), (-width / 2, width / 2)), colour, material=PAVED)


def _estate(canvas: Canvas, plot: float, depth: float, built: float) -> None:
    """Streets with a house on most plots; `plot` m of frontage, `depth` m deep, share `built`."""
    rng, palette, reach = canvas.rng, canvas.palette, canvas.reach
    surface, width = pavement(canvas), float(rng.uniform(6, 9))
    period = 2 * depth + width + 3
    first = float(rng.uniform(-0.5, 0.5)) * period
    bend = float(rng.uniform(0, 5))
    middle = curve(canvas, bend)
    rows = [first + period * index for index in range(-3, 4)]
    for row in rows:
        street = shifted(middle, row)
        road(canvas, street, width, surface)
        traffic(canvas, street, width * 0.36, 0.5)
        for side in (-1, 1):
            houses = shifted(middle, row + side * (width / 2 + 2 + depth * 0.46))
            xs = np.arange(-reach, reach, plot) + rng.uniform(0, plot)
            line = np.asarray(houses)
            ys = np.interp(xs, line[:, 0], line[:, 1])
            slope = np.interp(xs, line[:, 0], np.gradient(line[:, 1], line[:, 0]))
            for x, y, tilt in zip(xs.tolist(), ys.tolist(), slope.tolist(), strict=True):
                if rng.uniform() < built:
                    _plot(canvas, x, y, math.atan(tilt), plot, depth, side, surface)
    if rng.uniform() < 0.3:
        x = float(rng.uniform(-0.3, 0.3)) * canvas.extent
        road(canvas, [(x, -reach), (x, reach)], width, surface, kerb=False)


def _plot(
    canvas: Canvas,
    x: float,
    y: float,
    angle: float,
    plot: float,
    depth: float,
    side: int,
    surface: Colour,
) -> None:
    """A house with its drive, lawn and perhaps a pool."""
    rng, palette = canvas.rng, canvas.palette
    if not canvas.inside(x, y, plot):
        return
    long = min(plot * float(rng.uniform(0.66, 0.86)), float(rng.uniform(13, 21)))
    wide = min(depth * float(rng.uniform(0.42, 0.6)), float(rng.uniform(9, 13)))
    lean = float(rng.normal(0, 0.02 if plot < 24 else 0.3))
    if rng.uniform() < 0.6:
        drive = box(x + long * 0.33, y - side * depth * 0.3, 3.6, depth * 0.6)
        canvas.polygon(drive, mix(surface, palette.concrete, 0.6), material=PAVED)
        if rng.uniform() < 0.5:
            car(canvas, x + long * 0.33, y - side * depth * 0.42, math.pi / 2)
    if rng.uniform() < 0.14 and depth > 14:
        pool(canvas, x + float(rng.uniform(-4, 4)), y + side * depth * 0.42, angle)
    turn = angle + lean + (math.pi / 2 if rng.uniform() < 0.2 else 0.0)
    house(canvas, x, y + float(rng.normal(0, 0.6)), long, wide, turn)


def denseresidential(canvas: Canvas) -> None:
    """Houses close together along streets."""
    rng = canvas.rng
    _estate(canvas, float(rng.uniform(12, 19)), float(rng.uniform(14, 19)), 0.96)
    scatter_trees(canvas, int(rng.integers(10, 90)), (1.2, 3.6))


def mediumresidential(canvas: Canvas) -> None:
    """Family houses with gardens and trees along streets."""
    rng = canvas.rng
    _estate(canvas, float(rng.uniform(18, 28)), float(rng.uniform(19, 27)), 0.9)
    scatter_trees(canvas, int(rng.integers(30, 150)), (1.4, 4.2))


def sparseresidential(canvas: Canvas) -> None:
    """A few houses among trees and lawns, on a lane."""
    rng = canvas.rng
    _estate(canvas, float(rng.uniform(27, 48)), float(rng.uniform(27, 44)), 0.75)
    scatter_trees(canvas, int(rng.integers(40, 220)), (1.5, 4.6), int(rng.choice([0, 12])))


def freeway(canvas: Canvas) -> None:
    """A motorway with a median, sometimes with a slip road or frontage houses."""
    rng, reach = canvas.rng, canvas.reach
    line = curve(canvas, float(rng.uniform(0, 7)))
    half = _motorway(canvas, line, float(rng.uniform(-0.12, 0.12)) * canvas.extent)
    if rng.uniform() < 0.4:
        slip = [(x, y + half + 6 + 16 * ((x + reach) / (2 * reach)) ** 2) for x, y in line]
        road(canvas, slip, 6, pavement(canvas), kerb=False)
        traffic(canvas, slip, 0.0, 0.5)
    _roadside(canvas)


def _motorway(canvas: Canvas, line: list[Point], offset: float) -> float:
    """Two carriageways around a centre line; returns half the whole width (m)."""
    rng, palette = canvas.rng, canvas.palette
    count = int(rng.integers(2, 5))
    median = float(rng.uniform(1.5, 14))
    colour = pavement(canvas)
    width = count * LANE + 4
    density = float(rng.uniform(0.05, 0.75))
    middle = shifted(line, offset)
    if median < 4:
        canvas.polygon(ribbon(middle, (-median, median)), colour, material=PAVED)
        canvas.polygon(ribbon(middle, (-0.3, 0.3)), palette.concrete, height=1.0, material=PAVED)
    for side in (-1, 1):
        tone = shade(colour, float(rng.normal(1, 0.03)))
        carriageway(canvas, middle, side * (median + width) / 2, count, tone, density)
    if median > 7 and rng.uniform() < 0.5:
        tree_row(canvas, middle, 5, 1.6)
    return abs(offset) + median / 2 + width


def _roadside(canvas: Canvas) -> None:
    """Trees, houses or a hall wherever nothing is paved."""
    rng, reach = canvas.rng, canvas.reach
    if rng.uniform() < 0.5:
        for _ in range(int(rng.integers(3, 26))):
            x, y = (float(value) for value in rng.uniform(-reach, reach, 2))
            spots = box(x, y, 22, 16)
            if not any(canvas.covered(*spot) for spot in [(x, y), *spots] if canvas.inside(*spot)):
                house(canvas, x, y, float(rng.uniform(11, 18)), float(rng.uniform(8, 11)), 0.0)
    scatter_trees(canvas, int(rng.integers(0, 130)), (1.2, 4.0), int(rng.choice([0, 10])))


def overpass(canvas: Canvas) -> None:
    """A road on a bridge across a motorway or another road, with its shadow below."""
    rng, palette, reach = canvas.rng, canvas.palette, canvas.reach
    below = [(x, y) for x, y in curve(canvas, float(rng.uniform(0, 5)))]
    shift = float(rng.uniform(-0.1, 0.1)) * canvas.extent
    if rng.uniform() < 0.75:
        _motorway(canvas, below, shift)
    else:
        road(canvas, shifted(below, shift), 11, pavement(canvas))
        traffic(canvas, shifted(below, shift), 2.2, 0.5)
    angle = math.pi / 2 + float(rng.normal(0, 0.3))
    x = float(rng.uniform(-0.16, 0.16)) * canvas.extent
    ends = np.linspace(-reach * 1.4, reach * 1.4, 24).tolist()
    above = [(x + t * math.cos(angle), t * math.sin(angle)) for t in ends]
    high = float(rng.uniform(4.5, 8))
    width = float(rng.choice([9.0, 13.0, 18.0, 24.0]))
    colour = pavement(canvas)
    for side in (-1, 1):
        edge = side * (width / 2 + 1.0)
        canvas.polygon(ribbon(above, (edge - 0.6, edge + 0.6)), palette.concrete, height=high + 0.9,
                       material=PAVED)  # fmt: skip
    road(canvas, above, width, colour, height=high, kerb=False)
    count = round((width - 2) / LANE)
    lanes(canvas, above, [(index - count / 2) * LANE for index in range(1, count)])
    for index in range(count):
        traffic(canvas, above, (index + 0.5 - count / 2) * LANE, float(rng.uniform(0.1, 0.7)), high)
    _roadside(canvas)


def intersection(canvas: Canvas) -> None:
    """Two streets crossing on one level: crosswalks, stop lines, corner buildings."""
    rng, reach = canvas.rng, canvas.reach
    surface = pavement(canvas)
    skew = math.pi / 2 + float(rng.normal(0, 0.12))
    x, y = (float(value) for value in rng.uniform(-0.13, 0.13, 2) * canvas.extent)
    widths = [float(rng.choice([8.0, 12.0, 16.0, 22.0])) for _ in range(2)]
    three = rng.uniform() < 0.2
    steps = np.linspace(-1.5 * reach, 1.5 * reach, 30).tolist()
    first = [(x + t, y) for t in steps]
    second = [(x + t * math.cos(skew), y + t * math.sin(skew)) for t in steps if t > 0 or not three]
    for kerb in (True, False):
        for line, width in ((second, widths[1]), (first, widths[0])):
            road(canvas, line, width, surface, kerb=kerb)
    for angle, width, other in ((0.0, *widths), (skew, widths[1], widths[0])):
        for side in (-1, 1):
            if three and angle and side < 0:
                continue
            _approach(canvas, (x, y), angle if side > 0 else angle + math.pi, width, other / 2 + 2)
    _corners(canvas, x, y, widths)
    scatter_trees(canvas, int(rng.integers(5, 80)), (1.2, 3.8))


def _approach(canvas: Canvas, centre: Point, angle: float, width: float, clear: float) -> None:
    """One arm of a crossing: stop line, crosswalk, centre line and waiting cars."""
    rng, reach = canvas.rng, canvas.reach
    cos, sin = math.cos(angle), math.sin(angle)

    def at(along: float, across: float) -> Point:
        return centre[0] + cos * along - sin * across, centre[1] + sin * along + cos * across

    if rng.uniform() < 0.75:
        for across in np.arange(-width / 2 + 0.8, width / 2, 1.3).tolist():
            canvas.line([at(clear, across), at(clear + 2.8, across)], 0.55, WHITE)
    canvas.line([at(clear + 4.2, 0), at(clear + 4.2, width / 2)], 0.5, WHITE)
    canvas.line([at(clear + 4.2, 0), at(2 * reach, 0)], 0.35, (0.80, 0.68, 0.25))
    for across in np.arange(LANE, width / 2 - 1, LANE).tolist():
        for side in (-1, 1):
            canvas.dashes(
                at(clear + 4.2, side * across), at(2 * reach, side * across), 0.25, 3, 4, WHITE
            )
    for lane in np.arange(LANE / 2, width / 2, LANE).tolist():
        along = clear + 7
        while rng.uniform() < 0.55 and along < reach:
            car(canvas, *at(along, lane), angle)
            along += float(rng.uniform(6, 11))
        if rng.uniform() < 0.6:
            car(canvas, *at(float(rng.uniform(clear, reach)), -lane), angle)


def _corners(canvas: Canvas, x: float, y: float, widths: list[float]) -> None:
    """What stands in the four quarters of a crossing: halls, houses, car parks or grass."""
    rng = canvas.rng
    for right in (-1, 1):
        for down in (-1, 1):
            kind = rng.choice(["hall", "houses", "cars", "grass"])
            left, top = widths[1] / 2 + 6, widths[0] / 2 + 6
            if kind == "hall":
                long, wide = (float(value) for value in rng.uniform(18, 38, 2))
                building(canvas, x + right * (left + long / 2), y + down * (top + wide / 2), long,
                         wide, 0.0, float(rng.uniform(4, 10)))  # fmt: skip
            elif kind == "houses":
                for step in range(6):
                    across = x + right * (left + 8 + 17 * (step % 3))
                    house(canvas, across, y + down * (top + 7 + 20 * (step // 3)), 13, 9, 0.0)
            elif kind == "cars":
                canvas.polygon(box(x + right * (left + 22), y + down * (top + 20), 44, 40),
                               pavement(canvas), material=PAVED)  # fmt: skip
                for row in (6, 21, 36):
                    parked(canvas, (x + right * (left + 22) - 20, y + down * (top + row)), 0.0, 15,
                           0.5, math.pi / 2)  # fmt: skip


def harbor(canvas: Canvas) -> None:
    """Floating piers with boats in their berths; a quay on one side."""
    rng, palette, reach = canvas.rng, canvas.palette, canvas.reach
    quay = float(rng.uniform(-0.55, 0.1)) * canvas.extent
    canvas.polygon([(-reach, quay), (reach, quay), (reach, reach), (-reach, reach)], palette.water,
                   height=0.0, material=WATER)  # fmt: skip
    if rng.uniform() < 0.3:
        _shore(canvas, quay, palette.sand, float(rng.uniform(4, 14)))
    else:
        strip = [(-reach, quay - 3), (reach, quay - 3), (reach, quay), (-reach, quay)]
        canvas.polygon(strip, palette.concrete, height=1.5, material=PAVED)
    length = float(rng.uniform(7, 17))
    deck = mix(palette.concrete, palette.soil, float(rng.uniform(0, 0.8)))
    lane = length * float(rng.uniform(2.7, 3.4)) + 2
    taken = float(rng.uniform(0.25, 0.95))
    pier_x = -reach + float(rng.uniform(0, lane))
    while pier_x < reach:
        stop = quay + float(rng.uniform(0.45, 1.1)) * canvas.extent
        canvas.polygon(
            box(pier_x, (quay + stop) / 2, 2.2, stop - quay), deck, height=0.8, material=ROOF
        )
        y = quay + float(rng.uniform(6, 14))
        pitch = length * float(rng.uniform(0.33, 0.42))
        while y < stop - pitch:
            for side in (-1, 1):
                size = length * float(rng.uniform(0.75, 1.0))
                if rng.uniform() < taken:
                    heading = (0.0 if side > 0 else math.pi) + (
                        math.pi if rng.uniform() < 0.3 else 0
                    )
                    boat(canvas, pier_x + side * (1.6 + size / 2), y, heading, size)
            finger = pier_x + 0.5 * length * np.array([-1.0, 1.0])
            canvas.line([(finger[0], y + pitch / 2), (finger[1], y + pitch / 2)], 0.5, deck)
            y += pitch
        pier_x += lane
    inland = quay - 14
    if rng.uniform() < 0.6:
        canvas.polygon([(-reach, -reach), (reach, -reach), (reach, quay - 3), (-reach, quay - 3)],
                       pavement(canvas), material=PAVED)  # fmt: skip
        parked(canvas, (-reach, inland), 0.0, round(2 * reach / 2.7), 0.6, math.pi / 2)
    scatter_trees(canvas, int(rng.integers(0, 60)), (1.2, 3.2))


def parkinglot(canvas: Canvas) -> None:
    """Rows of marked bays with cars, islands with trees, perhaps a shop at the edge."""
    rng, palette, reach = canvas.rng, canvas.palette, canvas.reach
    edge = float(rng.uniform(0.3, 1.2)) * reach
    surface = pavement(canvas)
    canvas.polygon([(-reach, -reach), (reach, -reach), (reach, edge), (-reach, edge)], surface,
                   material=PAVED)  # fmt: skip
    taken = float(rng.uniform(0.12, 0.97))
    lean = float(rng.choice([0.0, 0.0, 0.45]))
    aisle = float(rng.uniform(6, 8))
    bays = round(2 * reach / 2.7)
    row = edge - float(rng.uniform(4, 12))
    while row > -reach:
        share = taken * float(rng.uniform(0.6, 1.05))
        parked(canvas, (-reach, row), 0.0, bays, share, math.pi / 2 + lean)
        parked(canvas, (-reach, row - 5.4), 0.0, bays, share, math.pi / 2 - lean)
        row -= 10.8 + aisle
    islands = range(int(rng.integers(0, 4)))
    for x in (float(rng.uniform(-0.5, 0.5)) * canvas.extent for _ in islands):
        lawn(canvas, [(x - 1.4, -reach), (x + 1.4, -reach), (x + 1.4, edge), (x - 1.4, edge)],
             palette.grass)  # fmt: skip
        tree_row(canvas, [(x, -reach), (x, edge)], 10, 2.2)
    if rng.uniform() < 0.3:
        building(canvas, float(rng.uniform(-25, 25)), -reach + 14, 60, 44, 0.0, 8)
    scatter_trees(canvas, int(rng.integers(0, 60)), (1.2, 3.6))


def river(canvas: Canvas) -> None:
    """A winding river between banks, with trees, sandbars, sometimes a bridge."""
    rng, palette = canvas.rng, canvas.palette
    line = curve(canvas, float(rng.uniform(4, 22)))
    shift = float(rng.uniform(-0.12, 0.12)) * canvas.extent
    line = shifted(line, shift)
    half = float(rng.uniform(4, 20))
    bank = mix(palette.sand, palette.soil, float(rng.uniform()))
    spread = half + float(rng.uniform(0.5, 7))
    lawn(canvas, ribbon(line, (-spread, spread)), bank)
    canvas.polygon(ribbon(line, (-half, half)), mix(palette.water, bank, 0.3), material=WATER)
    for share in (0.9, 0.75, 0.55):
        tone = mix(palette.water, bank, 0.3 * share**4)
        canvas.polygon(ribbon(line, (-half * share, half * share)), tone, material=WATER)
    if rng.uniform() < 0.18:
        x = float(rng.uniform(-0.3, 0.3)) * canvas.extent
        bridge = [(x, -canvas.reach), (x, canvas.reach)]
        road(canvas, bridge, float(rng.uniform(6, 12)), pavement(canvas), height=4.0)
    scatter_trees(canvas, int(rng.integers(20, 260)), (1.2, 4.6), int(rng.choice([0, 0, 14])))
    for side in (-1, 1):
        if rng.uniform() < 0.5:
            tree_row(canvas, shifted(line, side * (spread + 3)), 5, 2.6)


def runway(canvas: Canvas) -> None:
    """A runway with its markings and rubber traces, grass strips and a taxiway."""
    rng, palette, reach = canvas.rng, canvas.palette, canvas.reach
    width = float(rng.uniform(18, 46))
    y = float(rng.uniform(-0.14, 0.14)) * canvas.extent
    colour = pavement(canvas)
    shoulder = mix(colour, palette.soil, 0.4)
    canvas.polygon(box(0, y, 3 * reach, width + 10), shoulder, material=PAVED)
    canvas.polygon(box(0, y, 3 * reach, width), colour, material=PAVED)
    canvas.polygon(box(0, y, 3 * reach, width * 0.3), shade(colour, float(rng.uniform(0.75, 1))))
    for side in (-1, 1):
        edge = y + side * (width / 2 - 1)
        canvas.line([(-reach * 1.5, edge), (reach * 1.5, edge)], 0.8, WHITE)
    canvas.dashes((-reach * 1.5, y), (reach * 1.5, y), 0.9, 18, 13, WHITE)
    kind = rng.uniform()
    start = float(rng.uniform(-0.3, 0.1)) * canvas.extent
    if kind < 0.35:
        for across in np.arange(2.0, width / 2 - 2, 3.4).tolist():
            for side in (-1, 1):
                canvas.polygon(box(start, y + side * across, 24, 1.7), WHITE)
        canvas.polygon(box(start - 15, y, 2, width - 2), WHITE)
    elif kind < 0.65:
        for side in (-1, 1):
            canvas.polygon(box(start + 10, y + side * width * 0.22, 26, width * 0.13), WHITE)
    if rng.uniform() < 0.5:
        turn = float(rng.normal(math.pi / 2, 0.3))
        x, way = float(rng.uniform(-0.3, 0.3)) * canvas.extent, float(rng.uniform(9, 16))
        far = (x + math.cos(turn) * 2 * reach, y + math.sin(turn) * 2 * reach)
        road(canvas, [(x, y + width / 2 - 2), far], way, colour, kerb=False)
        canvas.line([(x, y), far], 0.5, (0.80, 0.68, 0.25))
    if rng.uniform() < 0.25:
        aircraft(canvas, float(rng.uniform(-20, 20)), y, 0.0, width * 0.7)
    scatter_trees(canvas, int(rng.integers(0, 30)), (0.6, 1.6))


def storagetanks(canvas: Canvas) -> None:
    """A tank farm: tanks in bunds, pipes, service roads; or a few big tanks."""
    rng, palette, reach = canvas.rng, canvas.palette, canvas.reach
    radius = float(np.exp(rng.uniform(math.log(5), math.log(19))))
    pitch = radius * float(rng.uniform(2.5, 3.4))
    ground = palette.ground(rng)[0]
    yard = mix(mix(palette.soil, ground, float(rng.uniform())), pavement(canvas), float(rng.uniform()))
    rows = max(1, min(5, round(0.9 * canvas.extent / pitch)))
    offset_x, offset_y = (float(value) for value in rng.uniform(-0.18, 0.18, 2) * canvas.extent)
    half = rows * pitch / 2 + 3
    canvas.polygon(box(offset_x, offset_y, 2 * half, 2 * half), yard, material=PAVED)
    pipe = shade(palette.concrete, 1.1)
    for index in range(rows + 1):
        at = -half + 3 + index * pitch
        if rng.uniform() < 0.7:
            canvas.polygon(box(offset_x, offset_y + at, 2 * half, 0.9), pipe, height=1.5)
        if rng.uniform() < 0.5:
            canvas.polygon(box(offset_x + at, offset_y, 0.9, 2 * half), pipe, height=1.5)
    if rng.uniform() < 0.6:
        side = offset_y + half + 7
        road(canvas, [(-reach, side), (reach, side)], 7, pavement(canvas))
        traffic(canvas, [(-reach, side), (reach, side)], 1.7, 0.4)
    for row in range(rows):
        for column in range(rows):
            if rows > 1 and rng.uniform() < 0.22:
                continue
            x = offset_x + (column - (rows - 1) / 2) * pitch
            y = offset_y + (row - (rows - 1) / 2) * pitch
            tank(canvas, x, y, radius * float(rng.choice([1.0, 1.0, 0.75, 0.5])))
    scatter_trees(canvas, int(rng.integers(0, 90)), (1.2, 3.8), int(rng.choice([0, 8])))


def tenniscourt(canvas: Canvas) -> None:
    """One to eight courts in a row or a block, fenced, beside houses, a car park or trees."""
    rng, palette, reach = canvas.rng, canvas.palette, canvas.reach
    columns, rows = int(rng.integers(1, 5)), int(rng.integers(1, 3))
    choices = [(0.25, 0.42, 0.34), (0.24, 0.36, 0.52), (0.52, 0.32, 0.25), palette.asphalt]
    inner = choices[int(rng.integers(len(choices)))]
    outer = choices[int(rng.integers(len(choices)))] if rng.uniform() < 0.6 else inner
    shift_x, shift_y = (float(value) for value in rng.uniform(-0.16, 0.16, 2) * canvas.extent)
    canvas.polygon(box(shift_x, shift_y, columns * 17 + 3, rows * 36 + 3), outer, height=0.0,
                   material=PAVED)  # fmt: skip
    for column in range(columns):
        for row in range(rows):
            x = shift_x + (column - (columns - 1) / 2) * 17
            y = shift_y + (row - (rows - 1) / 2) * 36
            _court(canvas, x, y, inner)
    side = shift_x + columns * 8.5 + 16
    kind = rng.uniform()
    if kind < 0.4:
        canvas.polygon(box(side + 14, 0, 34, 3 * reach), pavement(canvas), material=PAVED)
        for along in (side + 4, side + 20):
            parked(canvas, (along, -reach), math.pi / 2, round(2 * reach / 2.7), 0.5, 0.0)
    elif kind < 0.75:
        for y in np.arange(-reach, reach, 19).tolist():
            house(canvas, side, y, 15, 10, float(rng.choice([0.0, math.pi / 2])))
    if rng.uniform() < 0.4:
        pool(canvas, shift_x - columns * 8.5 - 10, shift_y, 0.0)
    if rng.uniform() < 0.4:
        road(canvas, [(-reach, shift_y + rows * 18 + 12), (reach, shift_y + rows * 18 + 12)], 8,
             pavement(canvas))  # fmt: skip
    scatter_trees(canvas, int(rng.integers(10, 130)), (1.2, 4.2))


def _court(canvas: Canvas, x: float, y: float, colour: Colour) -> None:
    """One tennis court, 10.97 m x 23.77 m, with its lines and net."""
    canvas.polygon(box(x, y, 10.97, 23.77), shade(colour, 1.12))
    outline = [*box(x, y, 10.97, 23.77), box(x, y, 10.97, 23.77)[0]]
    canvas.line(outline, 0.35, WHITE)
    for across in (-4.1, 4.1):
        canvas.line([(x + across, y - 11.9), (x + across, y + 11.9)], 0.3, WHITE)
    for along in (-6.4, 6.4):
        canvas.line([(x - 4.1, y + along), (x + 4.1, y + along)], 0.3, WHITE)
    canvas.line([(x, y - 6.4), (x, y + 6.4)], 0.3, WHITE)
    canvas.polygon(box(x, y, 13, 0.5), (0.2, 0.22, 0.22), height=1.0)


SCENES: dict[str, Callable[[Canvas], None]] = {
    function.__name__: function
    for function in (
        agricultural, airplane, baseballdiamond, beach, chaparral, denseresidential, forest,
        freeway, harbor, intersection, mediumresidential, overpass, parkinglot, river, runway,
        sparseresidential, storagetanks, tenniscourt,
    )
}  # fmt: skip
