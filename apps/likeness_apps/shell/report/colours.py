"""One colour per class, as far apart as the eye allows, for light and for dark pages."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

_LIGHT = (0.46, 0.58, 0.70)
_CHROMA = (0.06, 0.15)
_LIFT = 0.14  # how much lighter the same hue is on a dark page


def class_colours(count: int) -> list[tuple[str, str]]:
    """Choose `count` colours by farthest-point search over hues, lightness and chroma in OKLab.

    Args:
        count: number of classes, >= 0. Past 120 the colours repeat.

    Returns:
        One ("#rrggbb" for a light page, "#rrggbb" for a dark page) per class.
    """
    order = _order()
    return [
        (_hex(light, chroma, hue), _hex(light + _LIFT, chroma, hue))
        for light, chroma, hue in (order[i % len(order)] for i in range(count))
    ]


@cache
def _order() -> tuple[tuple[float, float, float], ...]:
    grid = [
        (light, chroma, float(hue))
        for light in _LIGHT
        for chroma in _CHROMA
        for hue in range(0, 360, 18)
    ]
    lab = np.array([_lab(light, _shown(light, chroma, hue), hue) for light, chroma, hue in grid])
    chosen = [grid.index((0.46, 0.15, 252.0))]  # begin with a quiet blue
    gap = np.linalg.norm(lab - lab[chosen[0]], axis=1)
    while len(chosen) < len(grid):
        best = int(np.argmax(gap))
        chosen.append(best)
        gap = np.minimum(gap, np.linalg.norm(lab - lab[best], axis=1))
    return tuple(grid[i] for i in chosen)


def _lab(light: float, chroma: float, hue: float) -> tuple[float, float, float]:
    angle = np.deg2rad(hue)
    return light, chroma * float(np.cos(angle)), chroma * float(np.sin(angle))


def _shown(light: float, chroma: float, hue: float) -> float:
    """The chroma lowered until the colour exists in sRGB."""
    rgb = _linear(light, chroma, hue)
    while (rgb.min() < 0 or rgb.max() > 1) and chroma > 0.005:
        chroma *= 0.93
        rgb = _linear(light, chroma, hue)
    return chroma


def _hex(light: float, chroma: float, hue: float) -> str:
    """OKLCH to sRGB (Ottosson 2020)."""
    rgb = np.clip(_linear(light, _shown(light, chroma, hue), hue), 0, 1)
    curve = np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(float(v) * 255):02x}" for v in curve)


def _linear(light: float, chroma: float, hue: float) -> NDArray[np.float64]:
    to_lms = np.array(
        [
            [1.0, 0.3963377774, 0.2158037573],
            [1.0, -0.1055613458, -0.0638541728],
            [1.0, -0.0894841775, -1.2914855480],
        ]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    result: NDArray[np.float64] = to_rgb @ (to_lms @ np.array(_lab(light, chroma, hue))) ** 3
    return result
