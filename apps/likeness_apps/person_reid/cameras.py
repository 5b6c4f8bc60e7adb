"""Generated cameras: what they make of a walker who passes.

A camera keeps its colours, its blur and noise, its background and the side from which it sees
people.

Legend: H height, W width of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFilter

from likeness_apps.person_reid.walkers import (
    CLOTHES,
    Colour,
    Figure,
    Point,
    Walker,
    near,
    pick,
    scaled,
)

SIZE = (64, 32)  # height and width of a frame in pixels
_FINE = 4  # frames are drawn this many times larger


@dataclass(frozen=True)
class Camera:
    """How a camera sees.

    Attributes:
        yaw: direction of walking in radians: 0 to the right, pi / 2 towards the camera.
        gain: factor of red, green and blue.
        gamma: exponent of the light.
        blur: radius in pixels of a frame.
        noise: standard deviation, of 255.
        scale: height of a usual body, as a share of the frame.
        wall: colour of the upper part of the background; `ground` of the lower one.
        horizon: where they meet, as a share of the frame.
        posts: place, width and darkness of things that stand there; places in frame widths.
    """

    yaw: float
    gain: tuple[float, float, float]
    gamma: float
    blur: float
    noise: float
    scale: float
    wall: Colour
    ground: Colour
    horizon: float
    posts: tuple[tuple[float, float, float], ...]


def draw_camera(rng: np.random.Generator) -> Camera:
    """A camera that stands somewhere new."""
    grey = rng.uniform(100, 160)
    red, green, blue = rng.uniform(0.85, 1.1, 3).tolist()
    return Camera(
        yaw=float(rng.choice((0.0, 0.8, 1.57, 2.4, 3.14, 4.0, 4.71, 5.5)) + rng.normal(0, 0.15)),
        gain=(red, green, blue),
        gamma=float(rng.uniform(0.9, 1.15)),
        blur=float(rng.uniform(0.0, 0.7)),
        noise=float(rng.uniform(3, 6)),
        scale=float(rng.uniform(0.8, 0.94)),
        wall=near(tuple((grey + rng.normal(0, 6, 3)).tolist()), rng),
        ground=near(tuple((grey * 0.75 + rng.normal(0, 6, 3)).tolist()), rng),
        horizon=float(rng.uniform(0.45, 0.75)),
        posts=tuple(
            (float(x), float(rng.uniform(0.08, 0.5)), float(rng.uniform(0.5, 1.4)))
            for x in rng.uniform(-2, 4, rng.integers(3, 9))
        ),
    )


def photograph(
    walker: Walker | None,
    camera: Camera,
    *,
    step: float,
    place: float,
    rng: np.random.Generator,
    size: tuple[int, int] = SIZE,
    cover: float = 0.0,
    shift: Point = (0.0, 0.0),
) -> UInt8[np.ndarray, "H W 3"]:
    """One frame: what a person detector would cut out.

    Args:
        walker: who is seen; None for nobody.
        camera: who sees.
        step: phase of the walk in radians.
        place: how far the background has moved on, in frame widths.
        rng: of this frame: jitter of the box, light and noise.
        size: (height, width) in pixels.
        cover: share of the frame, from below, that something in front hides.
        shift: how far the box misses the person, in widths and heights of the frame.
    """
    height, width = size
    canvas = Image.new("RGB", (width * _FINE, height * _FINE), camera.wall)
    _background(canvas, camera, place)
    if walker is not None:
        x, y = shift[0] + rng.normal(0, 0.03), shift[1] + rng.normal(0, 0.012)
        tall = camera.scale * walker.height * rng.normal(1, 0.02) * canvas.height
        feet = (canvas.width * (0.5 + x), canvas.height * (0.97 + y))
        Figure(ImageDraw.Draw(canvas), walker, camera.yaw, step, feet, tall).draw()
    if cover > 0:
        _cover(canvas, cover, rng)
    small = canvas.resize((width, height), Image.Resampling.BOX)
    seen_HW3 = np.asarray(small.filter(ImageFilter.GaussianBlur(camera.blur)), np.float32) / 255
    lit_HW3 = (seen_HW3 * camera.gain * rng.normal(1, 0.04)).clip(0, 1) ** camera.gamma
    noisy_HW3 = 255 * lit_HW3 + rng.normal(0, camera.noise, lit_HW3.shape)
    return np.rint(noisy_HW3).clip(0, 255).astype(np.uint8)


def _background(canvas: Image.Image, camera: Camera, place: float) -> None:
    pen = ImageDraw.Draw(canvas)
    wide, high = canvas.size
    ground = camera.horizon * high
    pen.rectangle((0, ground, wide, high), fill=camera.ground)
    for x, width, light in camera.posts:
        left = ((x - place) % 4 - 1) * wide
        box = (left, 0.1 * light * high, left + width * wide, ground + 0.04 * high)
        pen.rectangle(box, fill=scaled(camera.wall, light))


def _cover(canvas: Image.Image, share: float, rng: np.random.Generator) -> None:
    """A parked thing in front: a block that reaches up from below."""
    pen = ImageDraw.Draw(canvas)
    wide, high = canvas.size
    colour = near(pick(CLOTHES, rng), rng)
    top = (1 - share) * high
    pen.rectangle((0, top, wide, high), fill=colour)
    pen.rectangle((0, top + 0.12 * high, wide, top + 0.16 * high), fill=scaled(colour, 0.6))
