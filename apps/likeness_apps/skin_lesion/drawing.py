"""Drawing generated lesions as seen through a dermatoscope.

A lesion is drawn once on a canvas and may be photographed several times: turned, shifted, nearer,
in another light, with other hairs. Its classes share pigments, skins and light, so that colour says
little; border, symmetry and texture tell them apart, and every class has members that look like
another one (`_DISGUISED`), so that nothing tells them apart for sure.

Skin tones vary, but they are made up: how a model does on them says nothing about real dark skin.

Legend: S side of the canvas, H height, W width of a photograph.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

KINDS = ("nevus", "melanoma", "seborrheic_keratosis")
SIDE = 128  # of the canvas, in pixels
_REACH = 1.6  # half of the canvas, in mean radii of the largest lesion
_DISGUISED = 0.1  # share of lesions that look like another class
_SKINS = ((233, 196, 176), (222, 178, 150), (198, 150, 118), (160, 114, 84), (112, 76, 56))
_PIGMENTS = ((150, 92, 58), (122, 74, 50), (138, 84, 68), (104, 66, 48))
_BLUE_GREY, _PALE = (108, 112, 128), (214, 184, 170)


@dataclass(frozen=True)
class Lesion:
    """A lesion on its canvas.

    Attributes:
        pigment_SS3: its colours, 0..255.
        cover_SS: how far it covers the skin, 0..1.
        skin: the colour of the skin around it.
    """

    pigment_SS3: Float32[np.ndarray, "S S 3"]
    cover_SS: Float32[np.ndarray, "S S"]
    skin: tuple[float, float, float]


@dataclass(frozen=True)
class _Look:
    """What a class tends to; each lesion draws its own.

    Attributes:
        border: how irregular the outline is.
        edge: how wide it fades into the skin, in radii.
        lopsided: how far its darkest part lies from the middle.
        patches: how many spots of another tone it has.
        network: how strong the pigment network is.
        disorder: how much the network is bent and broken.
        grains: how many pale and dark dots it has.
    """

    border: float
    edge: float
    lopsided: float
    patches: float
    network: float
    disorder: float
    grains: float


_LOOKS = {
    "nevus": _Look(0.015, 0.10, 0.08, 0.5, 0.95, 0.10, 1),
    "melanoma": _Look(0.085, 0.09, 0.50, 3.2, 0.60, 0.90, 3),
    "seborrheic_keratosis": _Look(0.025, 0.04, 0.15, 0.9, 0.10, 0.4, 26),
}


def draw_lesion(kind: str, rng: np.random.Generator) -> Lesion:
    """A lesion of a class of `KINDS`."""
    looks_like = kind
    if rng.random() < _DISGUISED:
        looks_like = str(rng.choice([name for name in KINDS if name != kind]))
    look = _own_look(_LOOKS[looks_like], rng)
    axis = np.linspace(-_REACH, _REACH, SIDE, dtype=np.float32)
    x_SS, y_SS = np.meshgrid(axis, axis)
    depth_SS = _outline(x_SS, y_SS, look, rng) - np.hypot(x_SS, y_SS)
    cover_SS = 1 / (1 + np.exp(-np.clip(depth_SS / look.edge * 3, -30, 30)))
    skin = _mixed(_SKINS, rng)
    dark = np.array(_mixed(_PIGMENTS, rng), np.float32) * (0.75 + 0.25 * skin[0] / 233)
    tone_SS = _tone(x_SS, y_SS, depth_SS, look, rng)
    pigment_SS3 = np.array(skin, np.float32) * (1 - tone_SS[..., None]) + dark * tone_SS[..., None]
    pigment_SS3 = _with_patches(pigment_SS3, x_SS, y_SS, look, rng)
    pigment_SS3 = _with_grains(pigment_SS3, x_SS, y_SS, look, rng)
    pigment_SS3 += 5 * rng.normal(size=(SIDE, SIDE, 1))
    return Lesion(pigment_SS3.astype(np.float32), cover_SS.astype(np.float32), skin)


def photograph(
    lesion: Lesion, rng: np.random.Generator, size: tuple[int, int]
) -> tuple[UInt8[np.ndarray, "H W 3"], Bool[np.ndarray, "H W"]]:
    """One picture of a lesion.

    Args:
        lesion: what is photographed.
        rng: of this picture: place, light, hairs, ruler, vignette.
        size: (height, width) in pixels.

    Returns:
        The picture, and the true mask of the lesion in it.
    """
    height, width = size
    planes = [*np.moveaxis(lesion.pigment_SS3, -1, 0), lesion.cover_SS]
    turn, zoom = rng.uniform(0, 2 * math.pi), rng.uniform(0.62, 0.85)
    shift_x, shift_y = rng.normal(0, 0.06 * SIDE, 2)
    scale = zoom * SIDE / min(height, width)
    cos, sin = math.cos(turn) * scale, math.sin(turn) * scale
    flip = rng.choice((-1, 1))
    middle = SIDE / 2
    affine = (
        *(flip * cos, -sin, middle + shift_x - flip * cos * width / 2 + sin * height / 2),
        *(flip * sin, cos, middle + shift_y - flip * sin * width / 2 - cos * height / 2),
    )
    drawn = [
        np.asarray(
            Image.fromarray(plane).transform(
                (width, height), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
            )
        )
        for plane in planes
    ]
    cover_HW1 = drawn[3][..., None]
    skin_HW3 = np.array(lesion.skin, np.float32) + 3 * _cloud(rng, 9, size)[..., None]
    picture_HW3 = skin_HW3 * (1 - cover_HW1) + np.stack(drawn[:3], axis=-1) * cover_HW1
    lit_HW3 = _lit(_with_ruler(_with_hairs(picture_HW3, rng), rng), rng)
    noisy_HW3 = lit_HW3 + rng.normal(0, 3, lit_HW3.shape)
    return np.rint(noisy_HW3).clip(0, 255).astype(np.uint8), drawn[3] > 0.5


def _own_look(look: _Look, rng: np.random.Generator) -> _Look:
    """A member of the class; the spread makes neighbouring classes meet."""
    factors = np.exp(rng.normal(0, 0.35, 7))
    border, edge, lopsided, patches, network, disorder, grains = factors
    return _Look(
        border=look.border * border,
        edge=look.edge * edge,
        lopsided=min(look.lopsided * lopsided, 0.7),
        patches=look.patches * patches,
        network=min(look.network * network, 1.0),
        disorder=min(look.disorder * disorder, 1.2),
        grains=look.grains * grains,
    )


def _outline(
    x_SS: np.ndarray, y_SS: np.ndarray, look: _Look, rng: np.random.Generator
) -> np.ndarray:
    """The radius of the border in the direction of each pixel."""
    angle_SS = np.arctan2(y_SS, x_SS)
    radius = rng.uniform(0.62, 0.95)
    outline_SS = np.ones_like(x_SS) + 0.14 * rng.random() * np.cos(
        2 * angle_SS + rng.uniform(0, 2 * math.pi)
    )
    for waves in range(3, 12):
        height = look.border * rng.normal() / math.sqrt(waves / 3)
        outline_SS += height * np.cos(waves * angle_SS + rng.uniform(0, 2 * math.pi))
    return np.asarray(radius * outline_SS)


def _tone(
    x_SS: np.ndarray,
    y_SS: np.ndarray,
    depth_SS: np.ndarray,
    look: _Look,
    rng: np.random.Generator,
) -> np.ndarray:
    """How much pigment there is, 0..1: overall, towards the darkest part, and in the network."""
    angle = rng.uniform(0, 2 * math.pi)
    off_x, off_y = look.lopsided * math.cos(angle), look.lopsided * math.sin(angle)
    near_SS = np.exp(-((x_SS - off_x) ** 2 + (y_SS - off_y) ** 2) / 0.35)
    tone_SS = rng.uniform(0.35, 0.75) + rng.uniform(0.1, 0.4) * near_SS
    tone_SS += 0.08 * _cloud(rng, 8)
    lines_SS = _network(x_SS, y_SS, look, rng) * np.clip(depth_SS * 4 + 0.6, 0, 1)
    tone: np.ndarray = (tone_SS + 0.45 * look.network * (lines_SS - 0.35)).clip(0.05, 1.15)
    return tone


def _network(
    x_SS: np.ndarray, y_SS: np.ndarray, look: _Look, rng: np.random.Generator
) -> np.ndarray:
    """A honeycomb of dark lines, 0..1: three plane waves at 60 degrees, bent and broken."""
    bent_x = x_SS + 0.07 * look.disorder * _cloud(rng, 8)
    bent_y = y_SS + 0.07 * look.disorder * _cloud(rng, 8)
    turn, frequency = rng.uniform(0, math.pi), rng.uniform(19, 25)
    waves_SS = sum(
        np.cos(frequency * (math.cos(a) * bent_x + math.sin(a) * bent_y))
        for a in (turn, turn + math.pi / 3, turn + 2 * math.pi / 3)
    )
    lines_SS = np.clip(0.55 - waves_SS / 3, 0, 1)
    gaps_SS = np.clip(1 - look.disorder * (0.4 + 0.5 * _cloud(rng, 7)), 0, 1)
    return np.asarray(lines_SS * gaps_SS)


def _cloud(
    rng: np.random.Generator, cells: int, size: tuple[int, int] = (SIDE, SIDE)
) -> np.ndarray:
    """Smooth noise of mean 0 and spread about 1, with some `cells` hills across."""
    coarse = Image.fromarray(rng.normal(0, 1.4, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC))


def _with_patches(
    pigment_SS3: np.ndarray,
    x_SS: np.ndarray,
    y_SS: np.ndarray,
    look: _Look,
    rng: np.random.Generator,
) -> np.ndarray:
    """Spots of darker, lighter, blue-grey or pale tone."""
    for _ in range(rng.poisson(look.patches)):
        angle, far = rng.uniform(0, 2 * math.pi), 0.6 * math.sqrt(rng.random())
        wide = rng.uniform(0.10, 0.28)
        distance_SS = np.hypot(x_SS - far * math.cos(angle), y_SS - far * math.sin(angle))
        spot_SS1 = np.exp(-((distance_SS / wide) ** 4))[..., None] * rng.uniform(0.35, 0.75)
        mean = pigment_SS3.mean(axis=(0, 1))
        tones = (0.55 * mean, 1.25 * mean, np.array(_BLUE_GREY), np.array(_PALE))
        tone = tones[rng.choice(4, p=(0.5, 0.25, 0.15, 0.10))]
        pigment_SS3 = pigment_SS3 * (1 - spot_SS1) + tone * spot_SS1
    return pigment_SS3


def _with_grains(
    pigment_SS3: np.ndarray,
    x_SS: np.ndarray,
    y_SS: np.ndarray,
    look: _Look,
    rng: np.random.Generator,
) -> np.ndarray:
    """Small pale and dark dots, as cysts and openings are."""
    plane_SS = np.zeros_like(x_SS)
    for _ in range(rng.poisson(look.grains)):
        angle, far = rng.uniform(0, 2 * math.pi), 0.75 * math.sqrt(rng.random())
        column = int((far * math.cos(angle) / _REACH + 1) / 2 * SIDE)
        row = int((far * math.sin(angle) / _REACH + 1) / 2 * SIDE)
        plane_SS[row, column] += rng.choice((-1.0, 1.0))
    return np.asarray(pigment_SS3 + (1300 * gaussian_filter(plane_SS, 1.8))[..., None])


def _with_hairs(picture_HW3: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Dark curved hairs on two pictures of five."""
    count = int(rng.integers(2, 10)) if rng.random() < 0.4 else 0
    if not count:
        return picture_HW3
    height, width = picture_HW3.shape[:2]
    layer = Image.new("L", (2 * width, 2 * height))
    draw = ImageDraw.Draw(layer)
    for _ in range(count):
        start, end, bow = (rng.uniform(-0.1, 1.1, 2) * (2 * width, 2 * height) for _ in range(3))
        steps = np.linspace(0, 1, 12)[:, None]
        middle = (start + end) / 2 + 0.25 * (bow - (start + end) / 2)
        points = (1 - steps) ** 2 * start + 2 * steps * (1 - steps) * middle + steps**2 * end
        draw.line([tuple(point) for point in points.tolist()], fill=255, width=2)
    cover_HW = np.asarray(layer.resize((width, height), Image.Resampling.BOX), np.float32) / 255
    colour = np.array((48, 36, 30)) * rng.uniform(0.6, 1.6)
    return picture_HW3 * (1 - cover_HW[..., None]) + colour * cover_HW[..., None]


def _with_ruler(picture_HW3: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A scale along one side of every sixth picture or so."""
    if rng.random() > 0.17:
        return picture_HW3
    marked_HW3 = picture_HW3.copy()
    width = picture_HW3.shape[1]
    step = max(3, width // 18)
    for number, column in enumerate(range(step // 2, width, step)):
        length = (7 if number % 5 == 0 else 4) * width // 128 + 1
        marked_HW3[-length:, column : column + 1] = 40
    return marked_HW3[::-1] if rng.random() < 0.5 else marked_HW3


def _lit(picture_HW3: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Colour of the light, its strength, and the dark ring of the lens on some pictures."""
    height, width = picture_HW3.shape[:2]
    lit_HW3 = picture_HW3 * rng.uniform(0.82, 1.14) * rng.normal(1, 0.05, 3)
    rows, columns = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    far_HW = np.hypot(rows, columns)
    lit_HW3 = lit_HW3 * (1 - rng.uniform(0, 0.12) * far_HW[..., None] ** 2)
    if rng.random() < 0.3:
        ring_HW = 1 / (1 + np.exp(-(rng.uniform(1.12, 1.3) - far_HW) * 30))
        lit_HW3 = lit_HW3 * (0.06 + 0.94 * ring_HW[..., None])
    return lit_HW3


def _mixed(
    colours: tuple[tuple[int, int, int], ...], rng: np.random.Generator
) -> tuple[float, float, float]:
    """A colour between two neighbours of a scale."""
    place = rng.uniform(0, len(colours) - 1)
    low = int(place)
    share = place - low
    high = colours[min(low + 1, len(colours) - 1)]
    red, green, blue = (
        a * (1 - share) + b * share for a, b in zip(colours[low], high, strict=True)
    )
    return red, green, blue
