"""The scenes of the generated sample, one function per UC Merced class: what stands on the ground.

The classes share one palette, one light and much of their furniture (houses, cars, trees, roads),
and some pass into each other as they do on real pictures: a thin estate into scattered houses,
open woodland into thick scrub, a motorway into the motorway below a bridge.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from likeness_apps.remote_sensing import sample_built as built
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
    WHITE,
    boat,
    curve,
    house,
    lawn,
    parked,
    pavement,
    road,
    scatter_trees,
    shifted,
    tree_row,
)


def agricultural(canvas: Canvas) -> None:
    """Fields with crop rows, each parcel at its own stage; tracks and a hedge between them."""
    rng, palette, reach = canvas.rng, canvas.palette, canvas.reach
    cuts = [-reach, *sorted(rng.uniform(-0.7, 0.7, int(rng.integers(0, 3))) * reach), reach]
    across = float(rng.choice([0.0, math.pi / 2]))
    for left, right in pairwise(cuts):
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
            period = float(rng.uniform(2.0, 5.5))
            second = shade(
                mix(first, bare, float(rng.uniform(0.1, 0.9))), float(rng.uniform(0.62, 0.9))
            )
            canvas.stripes(corners, angle, period, second, float(rng.uniform(0.25, 0.6)))
            if rng.uniform() < 0.5:
                canvas.stripes(corners, angle, period * 6, shade(bare, 0.95), 0.06)
    for at in cuts[1:-1]:
        canvas.line([(at, -reach), (at, reach)], float(rng.uniform(1.5, 4)), palette.soil)
        if rng.uniform() < 0.35:
            tree_row(canvas, [(at + 4, -reach), (at + 4, reach)], 6, 2.4)
    if rng.uniform() < 0.2:
        at = float(rng.uniform(-0.5, 0.5)) * reach
        road(canvas, [(-reach, at), (reach, at)], float(rng.uniform(4, 9)), pavement(canvas))
    for _ in range(int(rng.choice([0, 0, 1, 3]))):
        x, y = (float(value) for value in rng.uniform(-0.6, 0.6, 2) * reach)
        house(canvas, x, y, float(rng.uniform(12, 26)), 9, across)
        for _ in range(4):
            canvas.tree(x + float(rng.normal(0, 12)), y + float(rng.normal(0, 12)), 2.6)


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
    count = int(np.exp(rng.uniform(math.log(170), math.log(620))))
    scatter_trees(canvas, count, (1.5, float(rng.uniform(3.4, 6.0))), int(rng.choice([0, 0, 16])))


def _paths(canvas: Canvas, chance: float) -> None:
    rng, palette = canvas.rng, canvas.palette
    if rng.uniform() < chance:
        width = float(rng.uniform(1.5, 5))
        colour = mix(palette.soil, palette.sand, 0.4)
        canvas.polygon(ribbon(curve(canvas, 14), (-width / 2, width / 2)), colour, material=PAVED)


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


def river(canvas: Canvas) -> None:
    """A winding river between banks, with trees, sandbars, sometimes a bridge."""
    rng, palette = canvas.rng, canvas.palette
    line = curve(canvas, float(rng.uniform(4, 22)))
    shift = float(rng.uniform(-0.12, 0.12)) * canvas.extent
    line = shifted(line, shift)
    half = float(rng.uniform(6, 17))
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


SCENES: dict[str, Callable[[Canvas], None]] = {
    function.__name__: function
    for function in (
        agricultural, built.airplane, baseballdiamond, beach, chaparral, built.denseresidential, forest,
        built.freeway, harbor, built.intersection, built.mediumresidential, built.overpass, built.parkinglot, river, built.runway,
        built.sparseresidential, built.storagetanks, built.tenniscourt,
    )
}  # fmt: skip
