"""Drawing generated faces: nobody's face, with an expression that a person would recognise.

A subject keeps the shape of the head, its hair, its tones and the thickness of its brows; an
expression moves brows, lids, nose and mouth, strongly or weakly. Some expressions have variants (a
smile shows the teeth or not): sub-classes that are known, to try out what finds them. The drawing
is shaded and blurred, so that a detector which knows photographs of faces finds it.

A face lies in a square from -1 to 1: x to the right, y down, the eyes at y = -0.3, the chin near 1.
Hair and neck reach beyond it, to `MARGIN`.

Legend: S side of a canvas, H height, W width, in pixels.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image
from scipy.ndimage import gaussian_filter

from likeness.errors import require
from likeness_apps.facial_expression.drawn_looks import (
    LOOKS,
    Look,
    Subject,
    subject_of,
    variants,
)

MARGIN = 1.6  # half of a whole head's canvas, in halves of the face's square
_Grid = Float32[np.ndarray, "S S"]


def draw_face(
    expression: str, variant: str, subject: int, size: int, generator: np.random.Generator
) -> UInt8[np.ndarray, "S S"]:
    """One grey picture of a face that fills it, as the pictures of FER2013 do.

    Args:
        expression: one of `expressions.EXPRESSIONS`.
        variant: one of `variants(expression)`.
        subject: number of the made-up person, >= 0.
        size: side of the picture in pixels, >= 16.
        generator: of what differs from picture to picture: strength, pose, light, noise.

    Raises:
        UserError: if there is no such expression or variant, or a number is out of range.
    """
    canvas = round(size * MARGIN)
    tone_SS, cover_SS = draw_head(expression, variant, subject, canvas, generator)
    behind = generator.uniform(0.25, 0.9)
    grey_SS = tone_SS * cover_SS + behind * (1 - cover_SS)
    shift = generator.uniform(-0.03, 0.03, 2) * size
    top, left = np.rint((canvas - size) / 2 + shift).astype(int).tolist()
    cut_SS = grey_SS[top : top + size, left : left + size]
    noisy_SS = cut_SS + generator.normal(0, 0.015, cut_SS.shape)
    face_SS: np.ndarray = np.rint(255 * noisy_SS.clip(0, 1)).astype(np.uint8)
    return face_SS


def paste_head(
    photo: UInt8[np.ndarray, "H W"] | UInt8[np.ndarray, "H W 3"],
    expression: str,
    variant: str,
    subject: int,
    *,
    centre: tuple[float, float],
    side: int,
    generator: np.random.Generator,
) -> None:
    """Draw a whole head into a picture, in place; it may reach beyond the picture's borders.

    Args:
        photo: grey or RGB; in RGB the head is grey.
        expression: see `draw_face`.
        variant: see `draw_face`.
        subject: see `draw_face`.
        centre: (x, y) of the face's square in pixels.
        side: of the face's square in pixels, >= 16.
        generator: see `draw_face`.

    Raises:
        UserError: see `draw_face`.
    """
    canvas = round(side * MARGIN)
    tone_SS, cover_SS = draw_head(expression, variant, subject, canvas, generator)
    height, width = photo.shape[:2]
    left, top = (round(middle - canvas / 2) for middle in centre)
    rows = slice(max(0, top), max(0, min(height, top + canvas)))
    columns = slice(max(0, left), max(0, min(width, left + canvas)))
    inside = (
        slice(rows.start - top, rows.stop - top),
        slice(columns.start - left, columns.stop - left),
    )
    cover, tone = cover_SS[inside], tone_SS[inside]
    if photo.ndim == 3:
        cover, tone = cover[..., None], tone[..., None]
    mixed = 255 * tone * cover + photo[rows, columns] * (1 - cover)
    photo[rows, columns] = np.rint(mixed.clip(0, 255)).astype(np.uint8)


def draw_head(
    expression: str, variant: str, subject: int, canvas: int, generator: np.random.Generator
) -> tuple[Float32[np.ndarray, "S S"], Float32[np.ndarray, "S S"]]:
    """A head with hair and neck, without what is behind it.

    Args:
        expression: see `draw_face`.
        variant: see `draw_face`.
        subject: see `draw_face`.
        canvas: side in pixels; the face's square is `canvas / MARGIN` wide, >= 16 pixels.
        generator: see `draw_face`.

    Returns:
        The tones in 0..1, and how far the head covers what is behind it, in 0..1.

    Raises:
        UserError: see `draw_face`.
    """
    require(expression in LOOKS, "expression", f"one of {', '.join(LOOKS)}", expression)
    known = variants(expression)
    require(variant in known, "variant", f"one of {', '.join(known)}", variant)
    require(subject >= 0, "subject", ">= 0", subject)
    require(canvas >= 16 * MARGIN, "size", "of a face of 16 pixels at least", canvas)
    look = _weakened(LOOKS[expression][variant], generator)
    head = subject_of(subject)
    side = max(2 * canvas, 160)  # drawn larger and shrunk: smooth edges
    x, y = _turned_grid(side, generator)
    tone, cover = _head(x, y, head, generator)
    for part in (_brows, _eyes, _nose, _mouth):
        tone = part(tone, x, y, head, look)
    tone = gaussian_filter(tone, side / 240)
    return _shrunk(tone, canvas).clip(0, 1), _shrunk(cover, canvas).clip(0, 1)


def _weakened(look: Look, generator: np.random.Generator) -> Look:
    """The look as strong as it is this time; every part differs a little."""
    strength = generator.uniform(0.7, 1.1)
    parts = {name: part * strength * generator.normal(1, 0.12) for name, part in vars(look).items()}
    for name in ("inner_brow", "outer_brow", "corners"):
        parts[name] += generator.normal(0, 0.012)  # no face is quite at rest
    return Look(**parts)


def _turned_grid(side: int, generator: np.random.Generator) -> tuple[_Grid, _Grid]:
    """The x and y of every pixel's centre, for a head that is tilted and turned a little."""
    line = (((np.arange(side) + 0.5) / side * 2 - 1) * MARGIN).astype(np.float32)
    y, x = np.meshgrid(line, line, indexing="ij")
    tilt = math.radians(generator.normal(0, 3))
    scale = generator.uniform(0.95, 1.05)
    x, y = (math.cos(tilt) * x + math.sin(tilt) * y, math.cos(tilt) * y - math.sin(tilt) * x)
    return (x * np.float32(scale)).astype(np.float32), (y * np.float32(scale)).astype(np.float32)


def _head(x: _Grid, y: _Grid, head: Subject, generator: np.random.Generator) -> tuple[_Grid, _Grid]:
    """Hair, neck and a shaded face without features; and where any of it is."""
    narrow = 1 - head.jaw * np.clip(y, 0, None) ** 2 * 0.5
    across = x / (head.width * narrow)
    round_face = np.hypot(across, (y + 0.05) / 1.12)
    bulge = np.sqrt(np.clip(1.05 - round_face**2, 0, None))
    light = generator.normal(0, 0.06)
    brightness = generator.uniform(0.88, 1.08)
    skin = head.skin * brightness * (0.66 + 0.36 * bulge + light * across - 0.05 * y)
    cheeks = _spot(x, y, -0.48, 0.2, 0.26) + _spot(x, y, 0.48, 0.2, 0.26)
    skin = skin * (1 + 0.05 * cheeks + 0.06 * _spot(x, y, 0, -0.7, 0.3))
    neck = _soft(np.maximum(np.abs(x) - 0.45 * head.width, 0.6 - y), 0.02)
    round_hair = np.hypot(x / (head.width + 0.12), (y + 0.3) / 1.12)
    mane = _soft(round_hair - 1, 0.02) * _soft(y - 0.35, 0.1)
    face = _soft(round_face - 1, 0.02)
    hairline = head.fringe + 0.25 * across**2
    bare = face * _soft(hairline - y, 0.03)
    tone = head.skin * brightness * 0.5 * np.ones_like(x)  # the neck, in shadow
    tone = _over(tone, head.hair, mane)
    tone = _over(tone, skin, np.maximum(bare, face * _soft(-y - 0.3, 0.05)))
    tone = _over(tone, head.hair, face * _soft(y - hairline, 0.03))
    return tone.astype(np.float32), np.maximum.reduce([neck, mane, face]).astype(np.float32)


def _brows(tone: _Grid, x: _Grid, y: _Grid, head: Subject, look: Look) -> _Grid:
    """Two strokes above the eyes; brows that are drawn together make a shadow between them."""
    out = np.abs(x) - head.eye_gap  # 0 above the pupil, + towards the temples
    along = (out / 0.27 + 1) / 2  # 0 at the inner end, 1 at the outer one
    rise = look.inner_brow * (1 - along) + look.outer_brow * along
    line = -0.53 - rise + 0.1 * (along - 0.55) ** 2
    thick = head.brow * (1.15 - 0.5 * along.clip(0, 1))
    pulled = max(0.0, -look.inner_brow)  # frowning brings the inner ends together
    inside = _soft(np.abs(along - 0.5 + 0.7 * pulled) - 0.5 - 0.3 * pulled, 0.04)
    stroke = inside * _soft(np.abs(y - line) - thick, 0.018)
    tone = _over(tone, 0.7 * head.hair + 0.04, 0.9 * stroke)
    frown = 3.0 * pulled * _spot(x, y, 0, -0.48, 0.1)
    return _dimmed(tone, 0.5 * frown.clip(0, 1))


def _eyes(tone: _Grid, x: _Grid, y: _Grid, head: Subject, look: Look) -> _Grid:
    """Sockets, eyeballs with irises, lids; eyes that are nearly shut are a dark line."""
    out = (np.abs(x) - head.eye_gap) / 0.2
    for side in (-1, 1):
        tone = _dimmed(tone, 0.3 * _spot(x, y, side * head.eye_gap, -0.32, 0.2))
    half = head.eye_size * max(0.06, 1 + look.eyes)
    upper = -0.3 - half * (1 - out**2)
    lower = -0.3 + 0.75 * half * (1 - out**2)
    inside = _soft(np.maximum(upper - y, y - lower), 0.008) * (np.abs(out) < 1)
    iris = np.hypot(np.abs(x) - head.eye_gap, y + 0.3)
    ball = _over(np.full_like(tone, 0.8), 0.16, _soft(iris - 0.095, 0.012))
    ball = _over(ball, 0.95, _spot(np.abs(x), y, head.eye_gap - 0.03, -0.33, 0.02))
    tone = _over(tone, ball, inside)
    lid = _soft(np.abs(y - upper) - 0.02, 0.01) * _soft(np.abs(out) - 1.05, 0.03)
    tone = _over(tone, 0.12, 0.85 * lid)
    bag = _soft(np.abs(y - lower - 0.05) - 0.015, 0.02) * _soft(np.abs(out) - 0.8, 0.1)
    return _dimmed(tone, 0.15 * bag)


def _nose(tone: _Grid, x: _Grid, y: _Grid, head: Subject, look: Look) -> _Grid:
    """A light bridge, shadows beside it, two nostrils; wrinkles where it is drawn up."""
    tip = -0.2 + head.nose - 0.06 * look.nose
    bridge = _soft(np.abs(x) - 0.06, 0.04) * _soft(np.maximum(-0.25 - y, y - tip), 0.04)
    height = _soft(np.maximum(-0.15 - y, y - tip), 0.06)
    sides = height * _soft(np.abs(np.abs(x) - 0.15) - 0.03, 0.03)
    tone = _dimmed(_dimmed(tone, -0.1 * bridge), 0.14 * sides)
    holes = _spot(np.abs(x), y, 0.11, tip + 0.04, 0.045)
    below = _spot(x / 1.8, y, 0, tip + 0.08, 0.07)
    tone = _dimmed(_dimmed(tone, 0.6 * holes), 0.22 * below)
    ripples = np.cos((y + 0.2) * 60) * _spot(x / 1.3, y, 0, -0.18, 0.14)
    return _dimmed(tone, 0.22 * look.nose * ripples.clip(0, 1))


def _mouth(tone: _Grid, x: _Grid, y: _Grid, head: Subject, look: Look) -> _Grid:
    """Lips around an opening that is dark but for the teeth, and folds beside it."""
    half = head.mouth * (1 + look.width)
    along = x / half
    arch = (1 - along**2).clip(0, None)
    rise = look.corners + look.one_side * (along > 0)
    line = 0.5 + 0.5 * look.corners - rise * along**2 + 0.25 * look.open * arch
    upper = line - (0.45 * look.open + look.upper_lip) * arch
    lower = line + look.open * arch
    within = _soft(np.abs(along) - 1, 0.03)
    lips = np.maximum(upper - 0.09 * arch - y, y - lower - 0.12 * arch)
    tone = _over(tone, 0.62 * head.skin, 0.8 * within * _soft(lips, 0.015))
    gap = within * _soft(np.maximum(upper - y, y - lower), 0.012)
    closed = within * _soft(np.abs(y - line) - 0.016, 0.01)
    tone = _over(tone, 0.1, 0.85 * np.maximum(gap, closed))
    shown = upper + look.teeth * (lower - upper)
    white = gap * _soft(y - shown, 0.01) * (look.teeth > 0.05) * (np.abs(along) < 0.9)
    tone = _over(tone, 0.9, 0.95 * white * (lower - upper > 0.03))
    chin = _spot(x / 1.6, y, 0, 0.72 + look.open, 0.09)
    return _folds(_dimmed(tone, 0.12 * chin), x, y, half, look)


def _folds(tone: _Grid, x: _Grid, y: _Grid, half: float, look: Look) -> _Grid:
    """Lines from the nose to the corners of the mouth."""
    down = (y - 0.2) / 0.35  # 0 at the nose, 1 at the mouth
    place = 0.2 + (half + 0.1 - 0.2) * down.clip(0, 1)
    line = _soft(np.abs(np.abs(x) - place) - 0.02, 0.02) * _soft(np.abs(down - 0.5) - 0.5, 0.08)
    raised = (look.one_side > 0.05) * _spot(x, y, half + 0.08, 0.42, 0.07)
    return _dimmed(_dimmed(tone, 0.28 * look.folds * line), 0.25 * raised)


def _soft(distance: _Grid, width: float) -> _Grid:
    """1 where a distance is negative, 0 where it is positive, smooth over about 4 widths."""
    fallen: np.ndarray = 1 / (1 + np.exp((distance / width).clip(-30, 30)))
    return fallen


def _spot(x: _Grid, y: _Grid, centre_x: float, centre_y: float, radius: float) -> _Grid:
    """A blurred disc: 1 in its centre."""
    disc: np.ndarray = np.exp(-((x - centre_x) ** 2 + (y - centre_y) ** 2) / (2 * radius**2))
    return disc


def _dimmed(tone: _Grid, share: _Grid) -> _Grid:
    """Darker by a share; lighter, if it is negative."""
    dimmed: np.ndarray = tone * (1 - share)
    return dimmed


def _over(below: _Grid, above: _Grid | float, cover: _Grid) -> _Grid:
    """`above` painted over `below` where `cover` is 1."""
    mixed: np.ndarray = below + (above - below) * cover
    return mixed


def _shrunk(canvas_SS: _Grid, side: int) -> Float32[np.ndarray, "S S"]:
    picture = Image.fromarray(canvas_SS.astype(np.float32))
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX), np.float32)
