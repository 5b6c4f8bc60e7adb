"""The classes of the generated set: one function each, from a prepared canvas to a scene."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from likeness_apps.remote_sensing.scenes import (
    ASPHALT,
    GROUNDS,
    ROOFS,
    TREES,
    Canvas,
    Point,
    ground_label,
    pick,
    shade,
)

Painter = Callable[[Canvas], None]
EDGE = 0.75  # beyond the corners of a turned square


def agricultural(c: Canvas) -> None:
    """Fields with rows of crops, parted by a track."""
    cuts = sorted(c.rng.uniform(-0.45, 0.45, int(c.rng.integers(1, 3))))
    edges = [-EDGE, *cuts, EDGE]
    for left, right in pairwise(edges):
        field, rows = pick(GROUNDS + TREES, c.rng), c.rng.uniform(0.03, 0.07)
        c.box((left + right) / 2, 0, right - left, 2 * EDGE, field, "field")
        along = c.rng.random() < 0.5
        for k in range(int(1.5 / rows)):
            v = -EDGE + k * rows
            ends = [(left, v), (right, v)] if along else None
            if ends is None:
                if not left < left + k * rows < right:
                    break
                ends = [(left + k * rows, -EDGE), (left + k * rows, EDGE)]
            c.line(ends, rows * 0.35, shade(field, 0.8), "field")
        c.line([(right, -EDGE), (right, EDGE)], 0.012, pick(ASPHALT, c.rng), "pavement")
    c.trees(int(c.rng.integers(0, 5)))


def airplane(c: Canvas) -> None:
    """One to three aircraft on an apron."""
    c.box(0, 0, 2, 2, pick(ASPHALT, c.rng), "pavement")
    for k in range(int(c.rng.integers(2, 5))):
        ends = [(-EDGE, -0.5 + 0.3 * k), (EDGE, -0.5 + 0.3 * k)]
        c.line(ends, 0.006, (196, 186, 140), "pavement")
    count = int(c.rng.integers(1, 4))
    for k in range(count):
        x, y = (k - (count - 1) / 2) * 0.36 + c.rng.normal(0, 0.02), c.rng.uniform(-0.15, 0.15)
        _aircraft(c, x, y, c.rng.uniform(0.11, 0.17) if count > 1 else c.rng.uniform(0.16, 0.26))
    if c.rng.random() < 0.4:
        c.roof(0, -0.47, 0.8, 0.16)


def _aircraft(c: Canvas, x: float, y: float, r: float) -> None:
    body = (222, 222, 220)
    dark = (70, 72, 76)
    for shift, colour, label in ((0.02, dark, ""), (0.0, body, "airplane")):
        px, py = x + shift, y + shift
        c.line([(px, py - r), (px, py + r)], r * 0.22, colour, label)
        wing: list[Point] = [(px, py - r * 0.2), (px + r, py + r * 0.35)]
        c.line(wing, r * 0.2, colour, label)
        c.line([(px, py - r * 0.2), (px - r, py + r * 0.35)], r * 0.2, colour, label)
        c.line([(px - r * 0.4, py + r), (px + r * 0.4, py + r)], r * 0.14, colour, label)


def baseballdiamond(c: Canvas) -> None:
    """A dirt infield with a grass square and a wide outfield arc."""
    r = c.rng.uniform(0.3, 0.42)
    soil, grass = pick(GROUNDS[2:4], c.rng), pick(GROUNDS[:2] + GROUNDS[4:5], c.rng)
    start, sweep = (0.0, -0.25), math.pi / 2
    fan = [start] + [
        (start[0] + 2 * r * math.sin(a), start[1] + 2 * r * math.cos(a))
        for a in [(-sweep / 2) + sweep * k / 12 for k in range(13)]
    ]
    c.polygon(fan, grass, "grass")
    inner = [start] + [
        (start[0] + r * math.sin(a), start[1] + r * math.cos(a))
        for a in [(-sweep / 2) + sweep * k / 12 for k in range(13)]
    ]
    c.polygon(inner, soil, "bare-soil")
    s = r * 0.5
    x, y = start[0], start[1] + s * 0.95
    square = [(x, y - s * 0.75), (x + s * 0.75, y), (x, y + s * 0.75), (x - s * 0.75, y)]
    c.polygon(square, grass, "grass")
    c.disc(x, y, r * 0.07, soil, "bare-soil")
    c.trees(int(c.rng.integers(3, 12)), lambda px, py: math.hypot(px, py) < 0.55)


def beach(c: Canvas) -> None:
    """Water, a pale strip, land; sometimes a pier."""
    shore = c.rng.uniform(-0.2, 0.15)
    bends = [c.rng.normal(0, 0.03) for _ in range(9)]
    line = [(-EDGE + 1.5 * k / 8, shore + bends[k]) for k in range(9)]
    strip = [*[(x, y + 0.16) for x, y in line], (EDGE, -EDGE), (-EDGE, -EDGE)]
    c.polygon(strip, (204, 190, 156), "sand")
    c.water([*line, (EDGE, -EDGE), (-EDGE, -EDGE)], "sea")
    c.line(line, 0.014, (214, 220, 218), "sea")
    if c.rng.random() < 0.35:
        _pier(c, c.rng.uniform(-0.3, 0.3), shore)
    c.trees(int(c.rng.integers(0, 25)), lambda _, py: py < shore + 0.2)


def _pier(c: Canvas, x: float, shore: float) -> None:
    wood = pick(ASPHALT, c.rng)
    c.line([(x, shore + 0.1), (x, shore - 0.4)], 0.03, wood, "dock")


def harbor(c: Canvas) -> None:
    """Boats moored at piers in a basin."""
    shore = c.rng.uniform(0.25, 0.45)
    c.water([(-EDGE, shore), (EDGE, shore), (EDGE, -EDGE), (-EDGE, -EDGE)])
    quay = pick(ASPHALT, c.rng)
    c.box(0, shore + 0.03, 2, 0.06, quay, "pavement")
    for x in [-0.45 + 0.3 * k + c.rng.normal(0, 0.02) for k in range(4)]:
        length = c.rng.uniform(0.45, 0.8)
        c.line([(x, shore), (x, shore - length)], 0.025, quay, "dock")
        for k in range(int(length / 0.075)):
            for side in (-1, 1):
                if c.rng.random() < 0.75:
                    _boat(c, x + side * 0.07, shore - 0.06 - 0.075 * k, side)


def _boat(c: Canvas, x: float, y: float, side: int) -> None:
    hull = (226, 226, 224) if c.rng.random() < 0.8 else pick(ROOFS, c.rng)
    tail, bow, tip = x - side * 0.045, x + side * 0.02, x + side * 0.05
    outline = [(tail, y - 0.016), (bow, y - 0.016), (tip, y), (bow, y + 0.016), (tail, y + 0.016)]
    c.polygon(outline, hull, "ship")


def river(c: Canvas) -> None:
    """A winding band of water between banks of trees."""
    phase, swing, wide = c.rng.uniform(0, 6), c.rng.uniform(0.05, 0.2), c.rng.uniform(0.12, 0.26)
    xs = [-EDGE + 1.5 * k / 24 for k in range(25)]
    mid = [swing * math.sin(4 * x + phase) for x in xs]
    upper = [(x, m + wide / 2) for x, m in zip(xs, mid, strict=True)]
    lower = [(x, m - wide / 2) for x, m in zip(xs, mid, strict=True)]
    c.line(upper, 0.05, pick(GROUNDS[2:4], c.rng), "bare-soil")
    c.line(lower, 0.05, pick(GROUNDS[2:4], c.rng), "bare-soil")
    c.water([*upper, *reversed(lower)])

    def wet(x: float, y: float) -> bool:
        return abs(y - swing * math.sin(4 * x + phase)) < wide / 2 + 0.03

    c.trees(int(c.rng.integers(10, 160)), wet)


def forest(c: Canvas) -> None:
    """Crowns over crowns, sometimes with a clearing or a track."""
    gap = c.rng.uniform(-0.4, 0.4, 2) if c.rng.random() < 0.4 else None
    track = c.rng.random() < 0.25

    def clear(x: float, y: float) -> bool:
        return gap is not None and math.hypot(x - gap[0], y - gap[1]) < 0.16

    c.trees(int(c.rng.integers(420, 620)), clear)
    if track:
        ends = [(-EDGE, c.rng.uniform(-0.3, 0.3)), (EDGE, c.rng.uniform(-0.3, 0.3))]
        c.line(ends, 0.02, pick(GROUNDS[2:4], c.rng), "bare-soil")


def chaparral(c: Canvas) -> None:
    """Scattered bushes on open ground."""
    c.trees(int(c.rng.integers(70, 210)), label="chaparral")


def _houses(c: Canvas, step: float, fill: float, size: float) -> None:
    street = c.rng.uniform(0.035, 0.05)
    count = int(1.5 / step)
    for k in range(count):
        y = -EDGE + k * step
        if k % 2 == 0:
            c.road([(-EDGE, y), (EDGE, y)], street)
            continue
        for j in range(int(1.5 / (step * 0.8))):
            x = -EDGE + j * step * 0.8 + c.rng.normal(0, 0.008)
            if c.rng.random() < fill:
                wide, tall = size * c.rng.uniform(0.75, 1.2, 2)
                c.roof(x, y + c.rng.normal(0, 0.01), wide, tall)
            if c.rng.random() < 0.5:
                c.tree(x + step * 0.4, y + c.rng.normal(0, step * 0.3), c.rng.uniform(0.012, 0.03))


def denseresidential(c: Canvas) -> None:
    """Rows of houses close together along streets."""
    _houses(c, c.rng.uniform(0.12, 0.165), c.rng.uniform(0.8, 1.0), c.rng.uniform(0.085, 0.11))


def sparseresidential(c: Canvas) -> None:
    """Few houses with wide gardens and trees."""
    _houses(c, c.rng.uniform(0.185, 0.3), c.rng.uniform(0.3, 0.75), c.rng.uniform(0.09, 0.13))
    c.trees(int(c.rng.integers(20, 80)))


def freeway(c: Canvas) -> None:
    """A wide road with several lanes and a median."""
    y, wide = c.rng.uniform(-0.12, 0.12), c.rng.uniform(0.14, 0.2)
    for side in (-1, 1):
        c.road([(-EDGE, y + side * wide * 0.6), (EDGE, y + side * wide * 0.6)], wide, lanes=3)
    _traffic(c, y, wide)
    if c.rng.random() < 0.3:
        c.road([(-EDGE, -0.55), (0.0, y + wide), (EDGE, y + wide * 1.2)], 0.06)
    c.trees(int(c.rng.integers(0, 60)), lambda _, py: abs(py - y) < wide * 1.3)


def _traffic(c: Canvas, y: float, wide: float) -> None:
    for _ in range(int(c.rng.integers(3, 16))):
        lane = c.rng.choice([-1, 1]) * wide * (0.6 + c.rng.choice([-0.33, 0.0, 0.33]))
        c.car(c.rng.uniform(-0.6, 0.6), y + lane)


def intersection(c: Canvas) -> None:
    """Two streets that cross at grade."""
    wide, other = c.rng.uniform(0.11, 0.18, 2)
    lean = c.rng.normal(0, 0.1)
    c.road([(-EDGE, 0), (EDGE, 0)], wide, lanes=2)
    c.road([(lean, -EDGE), (-lean, EDGE)], other, lanes=2)
    c.box(0, 0, wide, wide, pick(ASPHALT[:1], c.rng), "pavement")
    for x in (-0.38, 0.38):
        for y in (-0.38, 0.38):
            if c.rng.random() < 0.6:
                c.roof(x, y, *c.rng.uniform(0.14, 0.3, 2))
    for _ in range(int(c.rng.integers(1, 8))):
        c.car(c.rng.uniform(-0.6, 0.6), c.rng.choice([-1, 1]) * wide / 4)
    c.trees(int(c.rng.integers(0, 30)), lambda x, y: min(abs(x), abs(y)) < 0.16)


def overpass(c: Canvas) -> None:
    """A road on a bridge over another: its edges and shadow cut the lower one."""
    wide, upper = c.rng.uniform(0.12, 0.22), c.rng.uniform(0.12, 0.2)
    lean = c.rng.normal(0, 0.15)
    c.road([(-EDGE, 0), (EDGE, 0)], wide, lanes=3)
    for _ in range(int(c.rng.integers(1, 8))):
        c.car(c.rng.uniform(-0.6, 0.6), c.rng.choice([-1, 1]) * wide / 4)
    ends = [(lean, -EDGE), (-lean, EDGE)]
    c.line([(x + 0.035, y) for x, y in ends], upper * 1.25, (52, 54, 58))
    c.road(ends, upper, lanes=2)
    for side in (-1, 1):
        edge = [(x + side * upper * 0.56, y) for x, y in ends]
        c.line(edge, 0.014, (196, 194, 188), "pavement")
    c.trees(int(c.rng.integers(0, 40)), lambda x, y: min(abs(x), abs(y)) < 0.16)


def parkinglot(c: Canvas) -> None:
    """Rows of parked cars."""
    c.box(0, 0, 2, 2, pick(ASPHALT, c.rng), "pavement")
    rows, fill = c.rng.uniform(0.11, 0.15), c.rng.uniform(0.35, 0.95)
    for k in range(int(1.5 / rows)):
        y = -EDGE + k * rows
        for j in range(38):
            x = -EDGE + j * 0.04
            c.line([(x, y - 0.03), (x, y + 0.03)], 0.004, (200, 198, 190), "pavement")
            if c.rng.random() < fill and k % 3 != 2:
                c.car(x + 0.02, y, math.pi / 2)
    if c.rng.random() < 0.3:
        c.roof(0.4, -0.3, 0.4, 0.5)


def storagetanks(c: Canvas) -> None:
    """Round tanks in rows, each with its shadow."""
    count, r = int(c.rng.integers(2, 5)), c.rng.uniform(0.07, 0.13)
    soil = pick(GROUNDS[2:], c.rng)
    c.box(0, 0, 0.95, 0.95, soil, ground_label(soil))
    for i in range(count):
        for j in range(count):
            if c.rng.random() < 0.75:
                x, y = ((k - (count - 1) / 2) * r * 2.5 for k in (i, j))
                _tank(c, x + c.rng.normal(0, 0.01), y, r * c.rng.uniform(0.8, 1.0))
    c.road([(-EDGE, 0.55), (EDGE, 0.55)], 0.05)


def _tank(c: Canvas, x: float, y: float, r: float) -> None:
    c.disc(x + 0.03, y + 0.03, r, (56, 58, 60))
    top = pick(ROOFS[2:5], c.rng)
    for part, shading in ((1.0, 1.0), (0.82, 0.92), (0.08, 0.7)):
        c.disc(x, y, r * part, shade(top, shading), "tanks")


def tenniscourt(c: Canvas) -> None:
    """Courts with white lines, side by side."""
    inner, outer = pick(GROUNDS + ROOFS[:1], c.rng), pick(GROUNDS + ROOFS[:1], c.rng)
    count = int(c.rng.integers(1, 5))
    wide, tall = c.rng.uniform(0.15, 0.2), c.rng.uniform(0.34, 0.44)
    c.box(0, 0, count * wide * 1.45, tall * 1.4, outer, "court")
    for k in range(count):
        _court(c, (k - (count - 1) / 2) * wide * 1.4, wide, tall, inner)
    c.trees(int(c.rng.integers(0, 60)), lambda x, y: abs(y) < 0.36 and abs(x) < count * 0.16)
    if c.rng.random() < 0.3:
        c.road([(-EDGE, 0.5), (EDGE, 0.5)], 0.07)


def _court(c: Canvas, x: float, wide: float, tall: float, colour: tuple[int, int, int]) -> None:
    white = (226, 226, 220)
    c.box(x, 0, wide, tall, white, "court")
    c.box(x, 0, wide * 0.92, tall * 0.96, colour, "court")
    for y in (-tall * 0.25, 0.0, tall * 0.25):
        c.line([(x - wide * 0.45, y), (x + wide * 0.45, y)], 0.008, white, "court")
    c.line([(x, -tall * 0.25), (x, tall * 0.25)], 0.008, white, "court")


PAINTERS: dict[str, Painter] = {
    painter.__name__: painter
    for painter in (
        agricultural, airplane, baseballdiamond, beach, chaparral, denseresidential, forest,
        freeway, harbor, intersection, overpass, parkinglot, river, sparseresidential,
        storagetanks, tenniscourt,
    )
}  # fmt: skip
