"""Generated Sentinel-2 chips of the ten EuroSAT classes: materials with spectra, drawn as plans.

Every class is made of materials that others have too, in other arrangements; season, soil and haze
belong to the region. Reflectances are our own round figures in the range of Sentinel-2 level 1C.

Shapes: S = side of the plan in pixels (twice the chip's), B = 13 bands, M = materials of a chip.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from likeness_apps.remote_sensing.scenes import Drawing, Point, rectangle

SIDE = 64  # pixels of 10 m
_EDGE = 0.75  # beyond the corners of a turned square
_FINE = (1, 2, 3, 7)  # bands of 10 m: B02 B03 B04 B08
_COARSE = (0, 8, 9)  # bands of 60 m: B01 B09 B10; the others have 20 m
# Reflectance x 10,000 in the order B01 to B12, B8A last.
_SPECTRA = {
    "water": (1180, 880, 660, 430, 380, 340, 320, 300, 150, 8, 130, 90, 290),
    "conifer": (1150, 820, 640, 430, 720, 1550, 1850, 1780, 500, 8, 880, 420, 1980),
    "broadleaf": (1170, 850, 760, 490, 920, 2250, 2850, 2780, 780, 9, 1480, 680, 3050),
    "crop": (1240, 980, 950, 690, 1150, 2750, 3500, 3400, 880, 10, 1850, 900, 3700),
    "grass": (1250, 1000, 980, 810, 1260, 2350, 2750, 2700, 800, 11, 2100, 1180, 2950),
    "shrub": (1220, 930, 860, 670, 1060, 2000, 2350, 2320, 700, 10, 1900, 1050, 2520),
    "stubble": (1390, 1290, 1420, 1620, 1880, 2180, 2380, 2480, 800, 14, 3150, 2350, 2640),
    "soil": (1340, 1190, 1240, 1430, 1630, 1840, 1990, 2040, 700, 13, 2880, 2380, 2180),
    "asphalt": (1430, 1290, 1240, 1250, 1350, 1450, 1510, 1550, 600, 14, 1780, 1600, 1600),
    "house": (1480, 1380, 1390, 1530, 1730, 1930, 2030, 2090, 700, 15, 2280, 2000, 2190),
    "hall": (1850, 1830, 1880, 1980, 2120, 2230, 2290, 2380, 900, 20, 2450, 2150, 2480),
}
_PLANTS = frozenset(("conifer", "broadleaf", "crop", "grass", "shrub"))
_FIELDS = ("crop", "crop", "grass", "stubble", "soil", "shrub")


@dataclass(frozen=True, eq=False)
class Region:
    """What the chips of one place and day share.

    Attributes:
        green: how green plants are, in [0, 1]; the rest is straw.
        soil: brightness of bare ground, about 1.
        haze: what the sky adds to the blue bands, reflectance x 10,000.
        gain: per band, about 1.
    """

    green: float
    soil: float
    haze: float
    gain: np.ndarray


def draw_region(rng: np.random.Generator) -> Region:
    """A region; the same distribution everywhere."""
    gain = 1 + rng.normal(0, 0.04, 13)
    return Region(rng.uniform(0.45, 1.0), rng.uniform(0.8, 1.2), rng.uniform(0, 220), gain)


class Plan:
    """What lies where on a chip, as numbers of materials; no two of a kind are quite alike."""

    def __init__(self, side: int, rng: np.random.Generator, region: Region) -> None:
        self.rng, self.region = rng, region
        self.drawing = Drawing(Image.new("L", (side, side)), rng.uniform(0, 2 * math.pi))
        self.spectra: list[np.ndarray] = []

    def material(self, name: str) -> int:
        """The number of a new material, a little different from all others of that name."""
        spectrum = np.array(_SPECTRA[name], dtype=np.float64)
        straw = np.array(_SPECTRA["stubble"], dtype=np.float64)
        if name in _PLANTS:
            green = float(np.clip(self.region.green + self.rng.normal(0, 0.12), 0.2, 1))
            spectrum = green * spectrum + (1 - green) * (0.5 * spectrum + 0.5 * straw)
        elif name in ("soil", "stubble"):
            spectrum = spectrum * self.region.soil
        spread = self.rng.normal(0, 0.035, 13) + self.rng.normal(0, 0.09)
        self.spectra.append(spectrum * np.clip(1 + spread, 0.5, 1.5))
        return len(self.spectra) - 1

    def any_of(self, names: tuple[str, ...]) -> int:
        """The number of a new material of one of these names."""
        return self.material(names[int(self.rng.integers(len(names)))])

    def fields(self, names: tuple[str, ...] = _FIELDS) -> None:
        """Parcels over the whole chip."""
        rows = np.sort(self.rng.uniform(-_EDGE, _EDGE, int(self.rng.integers(2, 6))))
        for low, high in zip([-_EDGE, *rows], [*rows, _EDGE], strict=True):
            cuts = np.sort(self.rng.uniform(-_EDGE, _EDGE, int(self.rng.integers(1, 4))))
            for left, right in zip([-_EDGE, *cuts], [*cuts, _EDGE], strict=True):
                corners = [(left, low), (right, low), (right, high), (left, high)]
                self.drawing.polygon(corners, self.any_of(names))

    def blobs(self, count: int, names: tuple[str, ...], most: float = 0.25) -> None:
        """Round patches over each other."""
        for _ in range(count):
            x, y = self.rng.uniform(-0.6, 0.6, 2)
            self.drawing.disc(x, y, self.rng.uniform(most / 4, most), self.any_of(names))

    def bend(self) -> list[Point]:
        """A winding line across the chip."""
        phase, swing = self.rng.uniform(0, 6), self.rng.uniform(0.02, 0.18)
        shift = self.rng.uniform(-0.2, 0.2)
        xs = np.linspace(-_EDGE, _EDGE, 25)
        return [(x, shift + swing * math.sin(5 * x + phase)) for x in xs.tolist()]


def _annual_crop(p: Plan) -> None:
    p.fields(("crop", "crop", "soil", "stubble", "grass"))


def _permanent_crop(p: Plan) -> None:
    """Fields, some of them with rows of trees or vines."""
    p.fields()
    for _ in range(int(p.rng.integers(2, 5))):
        x, y = p.rng.uniform(-0.4, 0.4, 2)
        wide, tall = p.rng.uniform(0.25, 0.7, 2)
        p.drawing.polygon(rectangle(x, y, wide, tall), p.any_of(("soil", "stubble", "grass")))
        step, row = p.rng.uniform(0.035, 0.06), p.any_of(("shrub", "broadleaf", "crop"))
        for k in range(int(wide / step)):
            left = x - wide / 2 + (k + 0.5) * step
            p.drawing.line([(left, y - tall / 2), (left, y + tall / 2)], step * 0.5, row)


def _forest(p: Plan) -> None:
    woods = ("conifer", "broadleaf", "conifer", "shrub")
    p.drawing.polygon(rectangle(0, 0, 2, 2), p.any_of(woods[:2]))
    p.blobs(int(p.rng.integers(4, 14)), woods)
    p.blobs(int(p.rng.integers(0, 4)), ("grass", "shrub", "soil"), 0.12)


def _herbaceous(p: Plan) -> None:
    p.drawing.polygon(rectangle(0, 0, 2, 2), p.any_of(("shrub", "grass", "stubble")))
    p.blobs(int(p.rng.integers(12, 40)), ("shrub", "grass", "stubble", "soil", "conifer"), 0.2)


def _pasture(p: Plan) -> None:
    """Few large meadows with hedges and single trees."""
    p.fields(("grass", "grass", "crop", "grass"))
    hedge = p.any_of(("broadleaf", "conifer"))
    for _ in range(int(p.rng.integers(1, 4))):
        y = p.rng.uniform(-0.5, 0.5)
        ends = [(-_EDGE, y), (_EDGE, y + p.rng.normal(0, 0.1))]
        p.drawing.line(ends if p.rng.random() < 0.5 else [(b, a) for a, b in ends], 0.03, hedge)
    p.blobs(int(p.rng.integers(2, 12)), ("broadleaf", "conifer"), 0.05)


def _highway(p: Plan) -> None:
    p.fields()
    p.blobs(int(p.rng.integers(0, 8)), ("conifer", "broadleaf", "house"), 0.12)
    line, asphalt = p.bend(), p.material("asphalt")
    p.drawing.line(line, p.rng.uniform(0.045, 0.08), asphalt)
    if p.rng.random() < 0.5:
        x = p.rng.uniform(-0.4, 0.4)
        p.drawing.line([(x, -_EDGE), (-x, _EDGE)], p.rng.uniform(0.025, 0.045), asphalt)


def _river(p: Plan) -> None:
    p.fields()
    p.blobs(int(p.rng.integers(2, 12)), ("conifer", "broadleaf", "shrub"), 0.2)
    line, wide = p.bend(), p.rng.uniform(0.06, 0.28)
    p.drawing.line(line, wide * 1.4, p.any_of(("broadleaf", "shrub", "soil")))
    p.drawing.line(line, wide, p.material("water"))


def _sea_lake(p: Plan) -> None:
    p.drawing.polygon(rectangle(0, 0, 2, 2), p.material("water"))
    if p.rng.random() < 0.5:
        shore = [(x, y + p.rng.uniform(0.25, 0.5)) for x, y in p.bend()]
        ground = p.any_of(("soil", "grass", "conifer", "shrub", "stubble"))
        p.drawing.polygon([*shore, (_EDGE, _EDGE), (-_EDGE, _EDGE)], ground)


def _residential(p: Plan) -> None:
    """Streets with houses and gardens."""
    p.drawing.polygon(rectangle(0, 0, 2, 2), p.any_of(("grass", "shrub")))
    p.blobs(int(p.rng.integers(5, 25)), ("broadleaf", "grass", "crop"), 0.08)
    step, fill = p.rng.uniform(0.09, 0.15), p.rng.uniform(0.45, 0.95)
    street, roofs = p.material("asphalt"), [p.any_of(("house", "house", "hall")) for _ in range(6)]
    for k in range(int(2 * _EDGE / step)):
        y = -_EDGE + k * step
        p.drawing.line([(-_EDGE, y), (_EDGE, y)], 0.022, street)
        for j in range(int(2 * _EDGE / 0.06)):
            if p.rng.random() < fill:
                x = -_EDGE + j * 0.06 + p.rng.normal(0, 0.006)
                roof = roofs[int(p.rng.integers(len(roofs)))]
                p.drawing.polygon(rectangle(x, y + step / 2, 0.034, 0.03), roof)


def _industrial(p: Plan) -> None:
    """Large halls with yards between them."""
    p.drawing.polygon(rectangle(0, 0, 2, 2), p.any_of(("asphalt", "grass", "soil")))
    p.blobs(int(p.rng.integers(2, 10)), ("asphalt", "soil", "grass"), 0.2)
    step = p.rng.uniform(0.24, 0.36)
    for k in range(5):
        for j in range(5):
            if p.rng.random() < 0.75:
                x, y = ((n - 2) * step + p.rng.normal(0, 0.02) for n in (j, k))
                wide, tall = p.rng.uniform(0.3, 0.9, 2) * step
                roof = p.any_of(("hall", "house", "asphalt"))
                p.drawing.polygon(rectangle(x, y, wide, tall), roof)
    p.drawing.line([(-_EDGE, 0), (_EDGE, 0)], 0.04, p.material("asphalt"))


PLANNERS: dict[str, Callable[[Plan], None]] = {
    "AnnualCrop": _annual_crop,
    "Forest": _forest,
    "HerbaceousVegetation": _herbaceous,
    "Highway": _highway,
    "Industrial": _industrial,
    "Pasture": _pasture,
    "PermanentCrop": _permanent_crop,
    "Residential": _residential,
    "River": _river,
    "SeaLake": _sea_lake,
}


def chip(name: str, rng: np.random.Generator, region: Region) -> np.ndarray:
    """One chip of a class, (64, 64, 13) uint16: reflectance x 10,000, EuroSAT's order of bands."""
    plan = Plan(2 * SIDE, rng, region)
    PLANNERS[name](plan)
    numbers_SS = np.asarray(plan.drawing.image)
    fine_SSB = np.array(plan.spectra, dtype=np.float32)[numbers_SS]
    pixels_HWB = fine_SSB.reshape(SIDE, 2, SIDE, 2, -1).mean(axis=(1, 3))
    pixels_HWB *= 1 + _relief(rng)[..., None]
    pixels_HWB = _as_sensed(pixels_HWB)
    pixels_HWB *= region.gain.astype(np.float32)
    pixels_HWB[..., :4] += region.haze * np.array([1.0, 0.8, 0.5, 0.3], dtype=np.float32)
    pixels_HWB += rng.normal(0, 12, pixels_HWB.shape).astype(np.float32)
    rounded: np.ndarray = np.rint(pixels_HWB.clip(1, 10_000)).astype(np.uint16)
    return rounded


def _relief(rng: np.random.Generator) -> np.ndarray:
    """Light and dark of slopes and canopies, the same in all bands; (64, 64), about 0."""
    field = rng.normal(0, 0.03, (SIDE, SIDE)).astype(np.float32)
    for cells, strength in ((4, 0.03), (16, 0.03)):
        coarse = Image.fromarray(rng.normal(0, strength, (cells, cells)).astype(np.float32))
        field += np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return field


def _as_sensed(pixels_HWB: np.ndarray) -> np.ndarray:
    """The bands at their own 10, 20 or 60 m, resampled to 10 m as in the data set."""
    sensed = pixels_HWB.copy()
    for band in range(pixels_HWB.shape[2]):
        if band in _FINE:
            continue
        cells = SIDE * 10 // 60 if band in _COARSE else SIDE // 2
        coarse = Image.fromarray(pixels_HWB[..., band]).resize((cells, cells), Image.Resampling.BOX)
        sensed[..., band] = coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return sensed
