"""Drawing generated scenes as seen from above: ground, roads, roofs, water and what is on them.

Every scene draws its season, light and haze from the same distributions, whatever its class, so
that colour gives little away: shape and arrangement tell the classes apart.

Shapes: S = side of the drawing in pixels (twice the final image).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Fill = Colour | int  # of a picture, or a number in a plan
Point = tuple[float, float]

# What may be seen in a scene; "" = none of these.
LABELS = (
    *("", "airplane", "bare-soil", "buildings", "cars", "chaparral", "court", "dock", "field"),
    *("grass", "mobile-home", "pavement", "sand", "sea", "ship", "tanks", "trees", "water"),
)
_SEEN = 0.001  # share of the scene: a large tree, or two cars

# Grounds and waters that any class may meet.
GROUNDS: tuple[Colour, ...] = (
    (96, 118, 66), (121, 126, 78), (148, 134, 94), (166, 148, 112), (88, 102, 74), (132, 124, 108),
)  # fmt: skip
WATERS: tuple[Colour, ...] = ((58, 92, 108), (84, 106, 96), (104, 108, 84), (48, 78, 92))
ROOFS: tuple[Colour, ...] = (
    (158, 92, 74), (142, 142, 146), (176, 164, 148), (104, 104, 112), (188, 180, 170),
)  # fmt: skip
ASPHALT: tuple[Colour, ...] = ((104, 104, 106), (128, 126, 122), (86, 86, 90), (148, 146, 142))
TREES: tuple[Colour, ...] = ((58, 84, 46), (74, 92, 52), (92, 98, 56), (66, 78, 58))
CARS: tuple[Colour, ...] = (
    (214, 212, 208),
    (60, 60, 66),
    (150, 44, 40),
    (52, 74, 120),
    (176, 176, 180),
)


class Drawing:
    """Filled shapes in scene coordinates, turned by a common angle about the centre.

    Scene coordinates are in [-0.5, 0.5] across the picture; what lies beyond is cut off.
    """

    def __init__(self, image: Image.Image, angle: float) -> None:
        self.image, self.angle, self.side = image, angle, image.width
        self.draw = ImageDraw.Draw(image)

    def at(self, x: float, y: float) -> Point:
        """Scene coordinates to pixels."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        return ((x * c - y * s + 0.5) * self.side, (x * s + y * c + 0.5) * self.side)

    def polygon(self, points: list[Point], fill: Fill) -> None:
        """A filled polygon."""
        self.draw.polygon([self.at(x, y) for x, y in points], fill=fill)

    def line(self, points: list[Point], width: float, fill: Fill) -> None:
        """A thick line with round joints."""
        pixels = [self.at(x, y) for x, y in points]
        thick = max(1, round(width * self.side))
        self.draw.line(pixels, fill=fill, width=thick, joint="curve")

    def disc(self, x: float, y: float, radius: float, fill: Fill) -> None:
        """A filled circle."""
        px, py = self.at(x, y)
        r = radius * self.side
        self.draw.ellipse((px - r, py - r, px + r, py + r), fill=fill)


class Canvas:
    """A drawing with its random numbers: the picture and, as numbers, the plan of what is where.

    The plan holds the place of a label in `LABELS` for each pixel, 0 where there is none.
    """

    def __init__(self, side: int, rng: np.random.Generator) -> None:
        self.side, self.rng = side, rng
        angle = rng.uniform(0, 2 * math.pi)
        self.ground = pick(GROUNDS, rng)
        self.picture = Drawing(_textured(self.ground, side, rng), angle)
        plan = Image.new("L", (side, side), LABELS.index(ground_label(self.ground)))
        self.plan = Drawing(plan, angle)
        sun = rng.uniform(0, 2 * math.pi)
        self.shadow = (math.cos(sun), math.sin(sun))

    def labels(self) -> list[str]:
        """The labels of what can be seen on at least 0.1 % of the scene."""
        pixels = np.bincount(np.asarray(self.plan.image).ravel(), minlength=len(LABELS))
        seen = pixels >= _SEEN * self.side**2
        return [label for label, there in zip(LABELS, seen, strict=True) if label and there]

    def polygon(self, points: list[Point], colour: Colour, label: str = "") -> None:
        """A filled polygon in scene coordinates."""
        self.picture.polygon(points, colour)
        self.plan.polygon(points, LABELS.index(label))

    def box(
        self, x: float, y: float, wide: float, tall: float, colour: Colour, label: str = ""
    ) -> None:
        """A filled rectangle around (x, y), turned with the scene."""
        self.polygon(rectangle(x, y, wide, tall), colour, label)

    def line(self, points: list[Point], width: float, colour: Colour, label: str = "") -> None:
        """A thick line through scene points, with round joints."""
        self.picture.line(points, width, colour)
        self.plan.line(points, width, LABELS.index(label))

    def disc(self, x: float, y: float, radius: float, colour: Colour, label: str = "") -> None:
        """A filled circle."""
        self.picture.disc(x, y, radius, colour)
        self.plan.disc(x, y, radius, LABELS.index(label))

    def roof(self, x: float, y: float, wide: float, tall: float) -> None:
        """A building: shadow, roof, and a ridge where it is pitched."""
        colour, depth = pick(ROOFS, self.rng), self.rng.uniform(0.012, 0.035)
        c, s = math.cos(-self.picture.angle), math.sin(-self.picture.angle)
        dx, dy = self.shadow
        shift = ((dx * c - dy * s) * depth, (dx * s + dy * c) * depth)
        self.box(x + shift[0], y + shift[1], wide, tall, (44, 46, 50))
        self.box(x, y, wide, tall, colour, "buildings")
        if self.rng.random() < 0.6:
            self.box(x, y + tall / 4, wide, tall / 2, shade(colour, 0.86), "buildings")

    def tree(self, x: float, y: float, radius: float, label: str = "trees") -> None:
        """A crown with its shadow and a lit side."""
        px, py = self.picture.at(x, y)
        r = radius * self.side
        dx, dy = self.shadow[0] * r * 0.6, self.shadow[1] * r * 0.6
        crown, draw = pick(TREES, self.rng), self.picture.draw
        draw.ellipse((px - r + dx, py - r + dy, px + r + dx, py + r + dy), fill=(40, 46, 36))
        draw.ellipse((px - r, py - r, px + r, py + r), fill=crown)
        q = r * 0.5
        lit = (px - dx * 0.5, py - dy * 0.5)
        box = (lit[0] - q, lit[1] - q, lit[0] + q, lit[1] + q)
        draw.ellipse(box, fill=shade(crown, 1.18))
        self.plan.disc(x, y, radius, LABELS.index(label))

    def trees(
        self,
        count: int,
        keep_out: Callable[[float, float], bool] | None = None,
        label: str = "trees",
    ) -> None:
        """Scattered trees, none where `keep_out` says so."""
        for _ in range(count):
            x, y = self.rng.uniform(-0.7, 0.7, 2)
            if keep_out is None or not keep_out(x, y):
                self.tree(x, y, self.rng.uniform(0.012, 0.035), label)

    def car(self, x: float, y: float, along: float = 0.0) -> None:
        """A car whose long side points to `along` radians."""
        long, wide = 0.026, 0.012
        c, s = math.cos(along), math.sin(along)
        corners = [(-long, -wide), (long, -wide), (long, wide), (-long, wide)]
        shifted = [(x + (a * c - b * s) / 1.6, y + (a * s + b * c) / 1.6) for a, b in corners]
        self.polygon(shifted, pick(CARS, self.rng), "cars")

    def road(self, points: list[Point], width: float, *, lanes: int = 1) -> None:
        """Asphalt with a kerb and lane markings."""
        asphalt = pick(ASPHALT, self.rng)
        self.line(points, width * 1.18, shade(asphalt, 1.22), "pavement")
        self.line(points, width, asphalt, "pavement")
        (x0, y0), (x1, y1) = points[0], points[-1]
        length = math.hypot(x1 - x0, y1 - y0)
        nx, ny = -(y1 - y0) / length, (x1 - x0) / length
        for lane in range(1, lanes):
            offset = (lane / lanes - 0.5) * width
            ends = [(x0 + nx * offset, y0 + ny * offset), (x1 + nx * offset, y1 + ny * offset)]
            self.line(ends, 0.005, (206, 204, 194), "pavement")

    def water(self, points: list[Point], label: str = "water") -> None:
        """A body of water with a soft gradient of ripples."""
        image = self.picture.image
        mask = Image.new("L", image.size)
        ImageDraw.Draw(mask).polygon([self.picture.at(x, y) for x, y in points], fill=255)
        image.paste(_textured(pick(WATERS, self.rng), self.side, self.rng, rough=4), mask=mask)
        self.plan.polygon(points, LABELS.index(label))


def rectangle(x: float, y: float, wide: float, tall: float) -> list[Point]:
    """The corners of a rectangle around (x, y)."""
    w, h = wide / 2, tall / 2
    return [(x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h)]


def ground_label(colour: Colour) -> str:
    """`grass` where green outweighs red, else `bare-soil`."""
    return "grass" if colour[1] > colour[0] else "bare-soil"


@dataclass(frozen=True)
class Light:
    """Season, light, haze and sensor of a scene.

    Attributes:
        blur: radius of a Gaussian in pixels; 0 = none.
        saturation: of the colours.
        gain: of red, green and blue.
        haze: share of the sky's light, in [0, 1].
        sky: brightness of the haze.
        gamma: of the tone curve.
        noise: standard deviation, of 1.
    """

    blur: float
    saturation: float
    gain: np.ndarray
    haze: float
    sky: float
    gamma: float
    noise: float


def draw_light(rng: np.random.Generator) -> Light:
    """A light; the same distribution for every class."""
    return Light(
        blur=float(rng.uniform(0.3, 0.8)) if rng.random() < 0.3 else 0.0,
        saturation=rng.uniform(0.35, 1.25),
        gain=rng.uniform(0.92, 1.08, 3) * rng.uniform(0.72, 1.2),
        haze=rng.uniform(0.0, 0.22),
        sky=rng.uniform(0.6, 0.85),
        gamma=rng.uniform(0.8, 1.3),
        noise=rng.uniform(0.006, 0.03),
    )


def finish(canvas: Canvas, size: int, light: Light | None = None) -> np.ndarray:
    """Light and sensor noise, then half the resolution: (size, size, 3) uint8.

    Args:
        canvas: the drawing.
        size: of the image, in pixels.
        light: of the scene; None draws one.
    """
    rng = canvas.rng
    light = light or draw_light(rng)
    small = canvas.picture.image.resize((size, size), Image.Resampling.LANCZOS)
    if light.blur:
        small = small.filter(ImageFilter.GaussianBlur(light.blur))
    pixels = np.asarray(small, dtype=np.float64) / 255.0
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = (grey + (pixels - grey) * light.saturation) * light.gain
    pixels = pixels * (1 - light.haze) + light.haze * light.sky
    pixels = np.clip(pixels, 0, 1) ** light.gamma
    pixels += rng.normal(0, light.noise, pixels.shape)
    rounded: np.ndarray = np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)
    return rounded


def pick(colours: tuple[Colour, ...], rng: np.random.Generator) -> Colour:
    """One of the colours, a little varied."""
    base = np.array(colours[int(rng.integers(len(colours)))], dtype=float)
    red, green, blue = (base + rng.normal(0, 7, 3)).clip(0, 255)
    return int(red), int(green), int(blue)


def _textured(colour: Colour, side: int, rng: np.random.Generator, rough: int = 9) -> Image.Image:
    """A colour with clouds of several sizes: grass, soil, sand, ripples."""
    field = np.zeros((side, side), dtype=np.float32)
    for cells, strength in ((4, 1.0), (13, 0.7), (side // 4, 0.8)):
        coarse = rng.normal(0, strength, (cells, cells)).astype(np.float32)
        cloud = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        field += np.asarray(cloud)
    pixels = np.asarray(colour, dtype=np.float32) + field[..., None] * rough
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def shade(colour: Colour, factor: float) -> Colour:
    """A colour made darker (factor < 1) or lighter."""
    red, green, blue = (min(255, int(part * factor)) for part in colour)
    return red, green, blue
