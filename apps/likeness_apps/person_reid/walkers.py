"""Drawing generated people.

A walker keeps clothes, proportions, a bag and a gait, whichever camera looks. Many walkers share
colours, so that colour alone says little. Nobody is shown: the figures are polygons, and no
photograph is involved.

Lengths of a body are in heights of the body.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

CLOTHES = (
    *((38, 40, 46), (214, 212, 206), (122, 122, 126), (40, 58, 108), (150, 38, 42)),
    *((58, 96, 62), (196, 168, 118), (92, 66, 48), (206, 150, 52), (110, 74, 128)),
)
_SKINS = ((236, 200, 178), (214, 166, 132), (166, 116, 82), (104, 70, 52))
_HAIR = ((34, 28, 26), (86, 56, 36), (176, 138, 84), (150, 148, 146))
BAGS = ("none", "none", "backpack", "handbag")
TROUSERS = ("long", "long", "short", "skirt")

Colour = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True)
class Walker:
    """How somebody looks, whichever camera looks.

    Attributes:
        skin: colour; hair, top, stripe, legs, shoes and bag_colour likewise.
        hat: whether the hair is a cap with a peak.
        striped: whether the top has stripes of the second colour.
        coat: how far the top reaches below the hips.
        sleeves: how much of the arms the top covers, 0..1.
        trousers: one of `TROUSERS`.
        bag: one of `BAGS`.
        height: of the body, as a share of the usual one.
        build: its width, as a share of the usual one.
        leg: length of the legs.
        stride: greatest angle of the legs in radians.
        cadence: how far a step goes on from frame to frame, in radians.
    """

    skin: Colour
    hair: Colour
    top: Colour
    stripe: Colour
    legs: Colour
    shoes: Colour
    bag_colour: Colour
    hat: bool
    striped: bool
    coat: float
    sleeves: float
    trousers: str
    bag: str
    height: float
    build: float
    leg: float
    stride: float
    cadence: float


def draw_walker(rng: np.random.Generator) -> Walker:
    """Somebody new."""
    top, stripe, legs, shoes, bag_colour = (near(pick(CLOTHES, rng), rng) for _ in range(5))
    return Walker(
        skin=near(pick(_SKINS, rng), rng),
        hair=near(pick(_HAIR, rng), rng),
        top=top,
        stripe=stripe,
        legs=legs,
        shoes=shoes,
        bag_colour=bag_colour,
        hat=bool(rng.random() < 0.2),
        striped=bool(rng.random() < 0.3),
        coat=float(rng.choice((0.0, 0.0, 0.06, 0.16))),
        sleeves=float(rng.choice((0.45, 1.0, 1.0))),
        trousers=str(rng.choice(TROUSERS)),
        bag=str(rng.choice(BAGS)),
        height=float(rng.uniform(0.88, 1.08)),
        build=float(rng.uniform(0.8, 1.3)),
        leg=float(rng.uniform(0.43, 0.5)),
        stride=float(rng.uniform(0.35, 0.6)),
        cadence=float(rng.uniform(0.6, 1.0)),
    )


def pick(colours: tuple[Colour, ...], rng: np.random.Generator) -> Colour:
    """One of them."""
    return colours[rng.integers(len(colours))]


def near(colour: tuple[float, ...], rng: np.random.Generator) -> Colour:
    """A colour that is nearly this one."""
    red, green, blue = (np.array(colour) + rng.normal(0, 9, 3)).round().clip(0, 255).astype(int)
    return int(red), int(green), int(blue)


def scaled(colour: Colour, factor: float) -> Colour:
    """The colour in other light."""
    red, green, blue = (min(255, round(value * factor)) for value in colour)
    return red, green, blue


@dataclass(frozen=True)
class Figure:
    """A walker on a canvas, seen from a side.

    Attributes:
        pen: draws on the canvas.
        walker: who.
        yaw: as of a camera.
        step: phase of the walk.
        feet: the point between the feet, in pixels of the canvas.
        tall: height of the body there.
    """

    pen: ImageDraw.ImageDraw
    walker: Walker
    yaw: float
    step: float
    feet: Point
    tall: float

    def draw(self) -> None:
        """From what is far to what is near."""
        who, towards = self.walker, math.sin(self.yaw)
        hip, neck = who.leg, who.leg + 0.36
        far, near = (-1, 1) if math.cos(self.yaw) >= 0 else (1, -1)
        if who.bag == "backpack" and towards >= 0:
            self._backpack(hip, neck)
        for side in (far, near):
            if side == near:
                self._torso(hip, neck)
            self._leg(side, hip)
            self._arm(side, neck - 0.05)
        if who.coat or who.trousers == "skirt":
            self._skirts(hip)
        if who.bag == "backpack" and towards < 0:
            self._backpack(hip, neck)
        self._head(neck)

    def _at(self, along: float, across: float, up: float) -> Point:
        """A point of the body: along the walk, across it and above the feet."""
        x = along * math.cos(self.yaw) + across * math.sin(self.yaw)
        return self.feet[0] + x * self.tall, self.feet[1] - up * self.tall

    def _line(self, points: list[Point], width: float, colour: Colour) -> None:
        pixels = max(2, round(width * self.tall))
        self.pen.line(points, fill=colour, width=pixels, joint="curve")
        for x, y in points:
            r = pixels / 2
            self.pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def _leg(self, side: int, hip: float) -> None:
        who, swing = self.walker, math.sin(self.step) * side * self.walker.stride
        across, half = 0.05 * side * who.build, hip / 2
        bend = 0.7 * max(0.0, math.cos(self.step) * side)  # the leg that comes forward is lifted
        top = self._at(0, across, hip)
        knee_along, knee_up = half * math.sin(swing), hip - half * math.cos(swing)
        knee = self._at(knee_along, across, knee_up)
        shin = swing - bend
        foot_along = knee_along + half * math.sin(shin)
        foot_up = max(knee_up - half * math.cos(shin), 0.0) + 0.012
        foot = self._at(foot_along, across, foot_up)
        bare = who.trousers != "long"
        wide = 0.075 * who.build
        self._line([top, knee], wide, who.skin if who.trousers == "skirt" else who.legs)
        self._line([knee, foot], wide * 0.75, who.skin if bare else who.legs)
        self._line([foot, self._at(foot_along + 0.06, across, foot_up)], 0.045, who.shoes)

    def _arm(self, side: int, shoulder: float) -> None:
        who, swing = self.walker, -math.sin(self.step) * side * self.walker.stride
        across = 0.12 * side * who.build
        elbow_along, elbow_up = 0.17 * math.sin(swing), shoulder - 0.17 * math.cos(swing)
        hand_along = elbow_along + 0.16 * math.sin(swing + 0.35)
        hand_up = elbow_up - 0.16 * math.cos(swing + 0.35)
        elbow, hand = self._at(elbow_along, across, elbow_up), self._at(hand_along, across, hand_up)
        wide = 0.05 * who.build
        self._line([elbow, hand], wide * 0.85, who.top if who.sleeves == 1 else who.skin)
        self._line([self._at(0, across, shoulder), elbow], wide, who.top)
        if who.bag == "handbag" and side == 1:
            x, y = hand
            w, h = 0.07 * self.tall, 0.1 * self.tall
            self.pen.rectangle((x - w, y, x + w, y + h), fill=who.bag_colour)

    def _torso(self, hip: float, neck: float) -> None:
        who = self.walker
        half = (0.075 + 0.055 * abs(math.sin(self.yaw))) * who.build
        rows = [(neck, 0.55 * half), (neck - 0.05, half), (hip, 0.85 * half), (hip - 0.03, half)]
        right = [(self.feet[0] + w * self.tall, self.feet[1] - u * self.tall) for u, w in rows]
        left = [(2 * self.feet[0] - x, y) for x, y in reversed(right)]
        self.pen.polygon([*right, *left], fill=who.top)
        if who.striped:
            for up in np.arange(hip + 0.02, neck - 0.06, 0.075):
                y, w = self.feet[1] - up * self.tall, 0.85 * half * self.tall
                box = (self.feet[0] - w, y - 0.03 * self.tall, self.feet[0] + w, y)
                self.pen.rectangle(box, fill=who.stripe)

    def _skirts(self, hip: float) -> None:
        """What hangs below the hips: a coat's, or a skirt."""
        who = self.walker
        half = (0.08 + 0.05 * abs(math.sin(self.yaw))) * who.build
        wanted = [(0.2, who.legs)] if who.trousers == "skirt" else []
        wanted += [(who.coat, who.top)] if who.coat else []
        for length, colour in wanted:
            x, y = self.feet[0], self.feet[1] - (hip + 0.02) * self.tall
            low, wide = y + (length + 0.02) * self.tall, (half + 0.25 * length) * self.tall
            narrow = 0.85 * half * self.tall
            corners = [(x - narrow, y), (x + narrow, y), (x + wide, low), (x - wide, low)]
            self.pen.polygon(corners, fill=colour)

    def _backpack(self, hip: float, neck: float) -> None:
        x, _ = self._at(-0.1, 0, 0)
        wide = (0.06 + 0.04 * abs(math.sin(self.yaw))) * self.tall
        top, low = (self.feet[1] - up * self.tall for up in (neck - 0.04, hip + 0.06))
        self.pen.rounded_rectangle(
            (x - wide, top, x + wide, low), wide / 2, fill=self.walker.bag_colour
        )

    def _head(self, neck: float) -> None:
        who, r = self.walker, 0.062 * self.tall
        self._line([self._at(0, 0, neck - 0.01), self._at(0, 0, neck + 0.03)], 0.05, who.skin)
        x, y = self._at(0.015, 0, neck + 0.085)
        self.pen.ellipse((x - 0.85 * r, y - r, x + 0.85 * r, y + 1.1 * r), fill=who.skin)
        start, end = (180, 360) if math.sin(self.yaw) > -0.5 else (90, 450)  # from behind: all hair
        self.pen.pieslice((x - r, y - 1.3 * r, x + r, y + r), start, end, fill=who.hair)
        if who.hat:
            tip, _ = self._at(0.11, 0, 0)
            low, high = sorted((x, tip))
            self.pen.rectangle((low, y - 0.45 * r, high, y - 0.1 * r), fill=who.hair)
