"""A piece of ground seen from above: drawn flat in metres, then lit, shaded and photographed.

A scene is three layers (colour, height, material). Height casts the shadows and shades the crowns,
so everything on a picture agrees on where the sun stands.

Legend: S side of the drawn (supersampled) square in pixels, 3 = red, green, blue in 0..1;
points are (x, y) in metres from the centre of the square, before the scene's own rotation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Array = npt.NDArray[np.float32]
Colour = tuple[float, float, float]
Point = tuple[float, float]

NATURAL, PAVED, ROOF, WATER = range(4)
# How strongly the two noise fields (patches of metres, grain of pixels) show on each material.
PATCHES = np.array([0.085, 0.045, 0.03, 0.06], dtype=np.float32)
GRAIN = np.array([0.12, 0.045, 0.03, 0.045], dtype=np.float32)
SUPERSAMPLING = 2


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour `share` (0..1) of the way from `first` to `second`."""
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return red, green, blue


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made darker (factor < 1) or lighter, kept in 0..1."""
    red, green, blue = (min(1.0, max(0.0, channel * factor)) for channel in colour)
    return red, green, blue


def box(x: float, y: float, length: float, width: float, angle: float = 0.0) -> list[Point]:
    """Corners of a rectangle around (x, y), in metres; `length` runs along `angle` (radians)."""
    cos, sin = math.cos(angle), math.sin(angle)
    along_x, along_y = cos * length / 2, sin * length / 2
    across_x, across_y = -sin * width / 2, cos * width / 2
    return [
        (x + along_x + across_x, y + along_y + across_y),
        (x + along_x - across_x, y + along_y - across_y),
        (x - along_x - across_x, y - along_y - across_y),
        (x - along_x + across_x, y - along_y + across_y),
    ]


def place(points: Sequence[Point], x: float, y: float, angle: float, scale: float) -> list[Point]:
    """A shape drawn around the origin, moved to (x, y), turned and scaled."""
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    return [(x + px * cos - py * sin, y + px * sin + py * cos) for px, py in points]


def ribbon(centre: Sequence[Point], offsets: tuple[float, float]) -> list[Point]:
    """The polygon between two parallels of a centre line, `offsets` metres to its side."""
    line = np.asarray(centre, dtype=np.float64)
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    outline = np.concatenate([line + across * offsets[0], (line + across * offsets[1])[::-1]])
    return [(float(x), float(y)) for x, y in outline]


def noise_field(rng: np.random.Generator, side: int, cells: Sequence[int]) -> Array:
    """Smooth noise, (side, side), about unit variance: equal parts of the given cell counts."""
    total = np.zeros((side, side), dtype=np.float32)
    for count in cells:
        coarse = rng.standard_normal((count + 2, count + 2), dtype=np.float32)
        total += np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
    return total * np.float32(1.4 / math.sqrt(len(cells)))


@dataclass(frozen=True)
class Palette:
    """The colours of one place and season; every class draws from the same ones."""

    grass: Colour
    dry: Colour
    soil: Colour
    crown: Colour
    asphalt: Colour
    concrete: Colour
    water: Colour
    sand: Colour
    roofs: tuple[Colour, ...]

    def ground(self, rng: np.random.Generator) -> tuple[Colour, Colour]:
        """Two colours of unpaved ground, to be mixed in patches."""
        first = mix(self.grass, self.dry, float(rng.uniform(0, 0.8)))
        return first, mix(first, self.soil, float(rng.uniform(0.1, 0.9)))

    def roof(self, rng: np.random.Generator) -> Colour:
        """One of the place's roof colours, a little varied."""
        return shade(self.roofs[int(rng.integers(len(self.roofs)))], float(rng.uniform(0.8, 1.2)))

    def car(self, rng: np.random.Generator) -> Colour:
        """A car's paint: mostly white, silver and black, some red and blue."""
        paints: tuple[Colour, ...] = (
            (0.93, 0.93, 0.93), (0.74, 0.75, 0.77), (0.10, 0.10, 0.12), (0.36, 0.37, 0.40),
            (0.88, 0.88, 0.86), (0.58, 0.10, 0.10), (0.14, 0.22, 0.44), (0.72, 0.66, 0.54),
        )  # fmt: skip
        return paints[int(rng.integers(len(paints)))]


def draw_palette(rng: np.random.Generator) -> Palette:
    """A place and a season: lush to parched, red to grey soil, blue to brown water."""
    parched, red, clear = (float(value) for value in rng.uniform(0, 1, 3))
    grass = mix((0.24, 0.36, 0.15), (0.52, 0.47, 0.30), parched)
    soil = mix((0.47, 0.42, 0.35), (0.58, 0.39, 0.26), red)
    asphalt = mix((0.25, 0.26, 0.28), (0.50, 0.49, 0.47), float(rng.uniform()))
    murky = mix((0.30, 0.34, 0.26), (0.42, 0.38, 0.28), float(rng.uniform()))
    crown = mix((0.14, 0.24, 0.11), (0.34, 0.30, 0.16), float(rng.uniform()) * parched)
    roofs: list[Colour] = [
        (0.55, 0.36, 0.28), (0.40, 0.37, 0.35), (0.60, 0.58, 0.55), (0.80, 0.79, 0.76),
        (0.48, 0.42, 0.36), (0.30, 0.31, 0.34), (0.66, 0.47, 0.36), (0.42, 0.48, 0.52),
    ]  # fmt: skip
    kept = rng.permutation(len(roofs))[: int(rng.integers(2, 5))]
    return Palette(
        grass=grass,
        dry=mix(grass, (0.62, 0.55, 0.38), 0.7),
        soil=soil,
        crown=crown,
        asphalt=asphalt,
        concrete=mix((0.60, 0.59, 0.56), (0.78, 0.76, 0.72), float(rng.uniform())),
        water=mix(murky, (0.12, 0.27, 0.36), clear),
        sand=mix(soil, (0.84, 0.77, 0.64), float(rng.uniform(0.2, 1))),
        roofs=tuple(roofs[int(index)] for index in kept),
    )


@lru_cache(maxsize=256)
def _dome(radius: int, lobes: int) -> Array:
    """Height of a crown of about `radius` pixels and top 1, -1 outside; `lobes` shape its edge."""
    axis = np.arange(-radius, radius + 1, dtype=np.float32) / np.float32(radius + 0.5)
    distance = np.hypot(axis[:, None], axis[None, :])
    turn = np.arctan2(axis[:, None], axis[None, :])
    edge = 0.86 + 0.09 * np.sin(lobes * turn + lobes) + 0.05 * np.sin(2 * lobes * turn + 2)
    inside = np.clip(1 - (distance / edge) ** 2, 0, 1)
    return np.where(inside > 0, np.sqrt(inside) * 0.7 + 0.3, -1).astype(np.float32)


class Canvas:
    """A square of ground, `extent` metres wide, turned by a random angle against the picture.

    Args:
        side: pixels of the drawn square (already supersampled).
        extent: its width in metres.
        rng: the scene's only source of chance.
        palette: the colours of the place.
    """

    def __init__(
        self, side: int, extent: float, rng: np.random.Generator, palette: Palette
    ) -> None:
        self.side, self.extent, self.rng, self.palette = side, extent, rng, palette
        self.scale = side / extent
        self.reach = extent * 0.75  # covers the corners whatever the rotation
        angle = float(rng.uniform(0, 2 * math.pi))
        mirror = 1.0 if rng.uniform() < 0.5 else -1.0
        cos, sin = math.cos(angle), math.sin(angle)
        self._to_pixels = np.array([[cos * mirror, sin * mirror], [-sin, cos]]) * self.scale
        self._patches = noise_field(rng, side, (3, 7, 17, 40))
        azimuth = math.radians(float(rng.uniform(100, 260)))  # north up: the sun stands south
        self.sun: Point = (math.sin(azimuth), -math.cos(azimuth))  # towards it, in the picture
        self.sun_slope = math.tan(math.radians(float(rng.uniform(38, 64))))
        first, second = palette.ground(rng)
        self._image = self._two_tone(first, second)
        self._height = Image.new("F", (side, side))
        self._material = Image.new("L", (side, side), NATURAL)
        self._pens = tuple(
            ImageDraw.Draw(layer) for layer in (self._image, self._height, self._material)
        )
        self._trees: list[tuple[float, float, float]] = []

    def _two_tone(self, first: Colour, second: Colour) -> Image.Image:
        share = np.clip(self._patches * np.float32(0.45 * 255) + np.float32(128), 0, 255)
        level = Image.fromarray(share.astype(np.uint8))
        ramps = [
            [round(255 * (a + (b - a) * step / 255)) for step in range(256)]
            for a, b in zip(first, second, strict=True)
        ]
        return Image.merge("RGB", [level.point(ramp) for ramp in ramps])

    def pixels(self, points: Sequence[Point]) -> list[float]:
        """Metres to a flat list of pixel coordinates, as PIL takes them."""
        flat = np.asarray(points) @ self._to_pixels + self.side / 2
        return flat.ravel().tolist()

    def inside(self, x: float, y: float, margin: float = 0.0) -> bool:
        """Whether a point lies on the picture, or within `margin` metres of it."""
        px, py = self.pixels([(x, y)])
        slack = margin * self.scale
        return -slack <= px < self.side + slack and -slack <= py < self.side + slack

    def facing_sun(self, angle: float) -> float:
        """Cosine between a direction of the scene (radians) and the sun's, seen from above."""
        cos, sin = math.cos(angle), math.sin(angle)
        px, py = (np.array([cos, sin]) @ self._to_pixels) / self.scale
        return float(px * self.sun[0] + py * self.sun[1])

    def polygon(
        self,
        points: Sequence[Point],
        colour: Colour,
        *,
        height: float | None = None,
        material: int | None = None,
    ) -> None:
        """Fill a polygon; without `height` or `material` it is paint on what is there."""
        flat = self.pixels(points)
        self._pens[0].polygon(flat, fill=_bytes(colour))
        if height is not None:
            self._pens[1].polygon(flat, fill=height)
        if material is not None:
            self._pens[2].polygon(flat, fill=material)

    def disc(
        self,
        x: float,
        y: float,
        radius: float,
        colour: Colour,
        *,
        height: float | None = None,
        material: int | None = None,
    ) -> None:
        """Fill a circle of `radius` metres."""
        px, py = self.pixels([(x, y)])
        reach = radius * self.scale
        bounds = (px - reach, py - reach, px + reach, py + reach)
        self._pens[0].ellipse(bounds, fill=_bytes(colour))
        if height is not None:
            self._pens[1].ellipse(bounds, fill=height)
        if material is not None:
            self._pens[2].ellipse(bounds, fill=material)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Paint a line, at least one drawn pixel wide."""
        self._pens[0].line(
            self.pixels(points), fill=_bytes(colour), width=max(1, round(width * self.scale))
        )

    def dashes(
        self, start: Point, end: Point, width: float, on: float, off: float, colour: Colour
    ) -> None:
        """Paint a dashed line of `on` metres paint and `off` metres gap."""
        length = math.hypot(end[0] - start[0], end[1] - start[1])
        unit = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)
        at = float(self.rng.uniform(0, on + off))
        while at < length:
            stop = min(at + on, length)
            head = (start[0] + unit[0] * at, start[1] + unit[1] * at)
            tail = (start[0] + unit[0] * stop, start[1] + unit[1] * stop)
            self.line([head, tail], width, colour)
            at += on + off

    def stripes(
        self, points: Sequence[Point], angle: float, period: float, colour: Colour, share: float
    ) -> None:
        """Paint straight rows across a polygon: `share` of every `period` metres is covered."""
        mask = Image.new("L", (self.side, self.side))
        ImageDraw.Draw(mask).polygon(self.pixels(points), fill=255)
        across = np.array([-math.sin(angle), math.cos(angle)]) @ self._to_pixels / self.scale
        axis = (np.arange(self.side, dtype=np.float32) - self.side / 2) / self.scale
        waver = self._patches * np.float32(0.12)
        phase = (axis[None, :] * across[0] + axis[:, None] * across[1] + waver) / period
        rows = (phase - np.floor(phase) < share).astype(np.uint8)
        covered = Image.fromarray(np.asarray(mask) * rows)
        self._image.paste(_bytes(colour), (0, 0), covered)

    def tree(self, x: float, y: float, radius: float) -> None:
        """Plant a tree with a crown of `radius` metres; trees stand above all that is drawn."""
        self._trees.append((x, y, radius))

    def covered(self, x: float, y: float) -> bool:
        """Whether something stands or is paved at a point of the picture (no place for a tree)."""
        px, py = (round(value) for value in self.pixels([(x, y)]))
        if not (0 <= px < self.side and 0 <= py < self.side):
            return True
        return self._material.getpixel((px, py)) != NATURAL

    def photograph(self) -> npt.NDArray[np.uint8]:
        """Light the scene, look at it through the air, and return (size, size, 3) uint8.

        The size is the drawn side divided by the supersampling. Sun height, haze, white balance,
        exposure, blur and sensor noise are drawn from the scene's generator, alike for all classes.
        """
        albedo = np.asarray(self._image).transpose(2, 0, 1).astype(np.float32, order="C")
        albedo /= 255
        height = np.array(self._height)
        material = np.asarray(self._material)
        grain = self.rng.standard_normal((self.side, self.side), dtype=np.float32)
        crowns = self._grow(albedo, height, grain)
        texture = np.take(PATCHES, material) * self._patches + np.take(GRAIN, material) * grain
        albedo *= (texture + 1) * self._relief(height, crowns)
        shadow = cast_shadow(height, self.sun, self.sun_slope / self.scale)
        depth = float(self.rng.uniform(0.5, 0.75))
        for channel, sky in zip(albedo, (1.0, 0.93, 0.82), strict=True):  # shadows are bluish
            channel[shadow] *= np.float32(1 - depth * sky)
        return self._expose(albedo)

    def _grow(self, albedo: Array, height: Array, grain: Array) -> npt.NDArray[np.bool_]:
        """Stamp the trees into colour and height; returns where their crowns are."""
        crowns = np.zeros((self.side, self.side), dtype=bool)
        if not self._trees:
            return crowns
        places = np.asarray(self._trees)
        centres = np.rint(places[:, :2] @ self._to_pixels + self.side / 2).astype(int)
        tints = self.rng.normal(1, 0.14, (len(places), 1)) + self.rng.normal(
            0, 0.04, (len(places), 3)
        )
        colours = np.clip(np.asarray(self.palette.crown) * tints, 0.02, 1).tolist()
        lobes = self.rng.integers(3, 7, len(places)).tolist()
        for (column, row), crown, colour, lobe in zip(
            centres.tolist(), places[:, 2].tolist(), colours, lobes, strict=True
        ):
            radius = max(1, round(crown * self.scale))
            top, left = max(0, row - radius), max(0, column - radius)
            area = np.s_[top : max(top, row + radius + 1), left : max(left, column + radius + 1)]
            ground = height[area]
            dome = _dome(radius, lobe)[top - row + radius :, left - column + radius :]
            dome = dome[: ground.shape[0], : ground.shape[1]] * np.float32(crown * 1.9)
            above = dome > ground
            ground[above] = dome[above]
            for channel, value in zip(albedo, colour, strict=True):
                channel[area][above] = value
            crowns[area] |= above
        height[crowns] += self._patches[crowns] * 0.25 + grain[crowns] * 0.22
        return crowns

    def _relief(self, height: Array, crowns: npt.NDArray[np.bool_]) -> Array:
        """Brightness of slopes by how they face the sun: strong on crowns, faint elsewhere."""
        slope = np.zeros_like(height)
        slope[:, 1:] -= (height[:, 1:] - height[:, :-1]) * np.float32(self.sun[0])
        slope[1:] -= (height[1:] - height[:-1]) * np.float32(self.sun[1])
        gain = np.where(crowns, np.float32(0.17), np.float32(0.04)) * np.float32(self.scale)
        relief: Array = np.clip(1 + gain * slope, 0.45, 1.75)
        return relief

    def _expose(self, light: Array) -> npt.NDArray[np.uint8]:
        """Colour cast, saturation, haze, exposure, blur, sensor noise and quantisation."""
        rng = self.rng
        rows = light[:, ::2] + light[:, 1::2]
        light = rows[:, :, ::2] + rows[:, :, 1::2]
        light /= SUPERSAMPLING**2
        grey = light.mean(axis=0)
        saturation, levelling = float(rng.uniform(0.45, 1.15)), float(rng.uniform(0.0, 0.6))
        chroma = light - grey
        cast = chroma.mean(axis=(1, 2)) * levelling  # a mosaic's frames are levelled to each other
        warm, green = rng.normal(0, (0.02, 0.008)).tolist()
        tint = np.array([warm, green, -warm], dtype=np.float32) - cast
        contrast = np.clip(float(rng.uniform(0.08, 0.20)) / float(grey.std()), 0.5, 1.6)
        grey = (grey - grey.mean()) * np.float32(contrast) + np.float32(rng.uniform(0.35, 0.57))
        light = grey + (chroma + tint[:, None, None]) * np.float32(saturation * contrast**0.5)
        bright = np.maximum(light - 0.7, 0)  # a film's shoulder: highlights keep their drawing
        light = np.minimum(light, 0.7) + 0.3 * np.tanh(bright / 0.3)
        light = np.clip(light, 0, 1) * 255
        picture = Image.fromarray(light.transpose(1, 2, 0).astype(np.uint8, order="C"))
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.0, 0.6))))
        noise = rng.standard_normal((light.shape[1], light.shape[2], 3), dtype=np.float32)
        noisy = np.asarray(picture) + noise * np.float32(rng.uniform(1, 4))
        pixels: npt.NDArray[np.uint8] = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
        return pixels


def cast_shadow(height: Array, sun: Point, drop: float) -> npt.NDArray[np.bool_]:
    """Where the sun is hidden, (S, S), marching from every pixel towards the sun.

    Args:
        height: metres above the ground, (S, S).
        sun: horizontal unit vector towards the sun, (column, row).
        drop: metres that a ray rises per pixel it travels.
    """
    side = height.shape[0]
    shadow = np.zeros(height.shape, dtype=bool)
    tallest = float(height.max())
    for step in range(2, min(side, int(tallest / drop) + 1), 2):
        dx, dy = round(sun[0] * step), round(sun[1] * step)
        here = np.s_[max(0, -dy) : side - max(0, dy), max(0, -dx) : side - max(0, dx)]
        there = np.s_[max(0, dy) : side + min(0, dy), max(0, dx) : side + min(0, dx)]
        shadow[here] |= height[there] - np.float32(step * drop + 0.25) > height[here]
    return shadow


def _bytes(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = (round(min(1.0, max(0.0, channel)) * 255) for channel in colour)
    return red, green, blue
