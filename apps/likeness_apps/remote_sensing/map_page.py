"""A page that wipes the classes of a map over its scene.

Shapes: H, W height and width of the shown pictures; K = classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from jaxtyping import UInt8
from PIL import Image
from rasterio.enums import Resampling
from rasterio.windows import Window

from likeness.files import atomic_path
from likeness_apps.remote_sensing.reference_pixels import open_map
from likeness_apps.shell.report.swipe import LegendRow, write_swipe
from likeness_apps.shell.results import eight_bit

_SIDE = 1400  # pixels of the longer side


def write_map_page(
    path: Path, scene: Path, map_tif: Path, *, title: str, generated: bool = False
) -> None:
    """Write the page: scene and classes, made smaller, and the share of every class.

    Beside it, under the same name, a .png with half of each.

    Args:
        path: the html file.
        scene: the raster that was mapped.
        map_tif: what `map` made of it.
        title: the heading.
        generated: the data is generated; the page says so.

    Raises:
        UserError: if the map is none of ours.
    """
    with open_map(map_tif) as (classes, names, place), rasterio.open(scene) as source:
        scale = min(1.0, _SIDE / max(place.height, place.width))
        tall, wide = max(1, round(scale * place.height)), max(1, round(scale * place.width))
        shown = [band for band in (1, 2, 3) if band <= source.count]
        pixels = source.read(
            shown, out_shape=(len(shown), tall, wide), resampling=Resampling.average
        )
        numbers_HW = classes.read(1, out_shape=(tall, wide), resampling=Resampling.nearest)
        palette = classes.colormap(1)
        shares_K = _shares(classes, len(names))
    legend = [
        LegendRow(names[k], "#{:02x}{:02x}{:02x}".format(*palette[k]), float(shares_K[k]))
        for k in np.argsort(-shares_K, kind="stable")
        if shares_K[k] > 0
    ]
    below_HW3, above_HW3 = eight_bit(np.moveaxis(pixels, 0, -1)), _painted(numbers_HW, palette)
    half = below_HW3.shape[1] // 2
    both_HW3 = np.concatenate([above_HW3[:, :half], below_HW3[:, half:]], axis=1)
    with atomic_path(path.with_suffix(".png")) as temporary:
        Image.fromarray(both_HW3).save(temporary, "PNG")
    write_swipe(
        path,
        below_HW3,
        above_HW3,
        title=title,
        text=f"{place.width:,} x {place.height:,} pixels. Move the line, or drag on the picture.",
        legend=legend,
        generated=generated,
    )


def _painted(numbers_HW: np.ndarray, palette: dict[int, Any]) -> UInt8[np.ndarray, "H W 3"]:
    """Class numbers in their colours; no data is grey."""
    colours = np.full((int(numbers_HW.max()) + 1, 3), 128, np.uint8)
    for number, colour in palette.items():
        if number < len(colours) and colour[3]:
            colours[number] = colour[:3]
    painted_HW3: np.ndarray = colours[numbers_HW]
    return painted_HW3


def _shares(dataset: Any, classes: int) -> np.ndarray:
    """The share of every class in the pixels that have one, counted block by block."""
    counts_K = np.zeros(classes, np.int64)
    for _, window in dataset.block_windows(1):
        counts_K += _counts(dataset, window, classes)
    return np.asarray(counts_K / max(1, counts_K.sum()))


def _counts(dataset: Any, window: Window, classes: int) -> np.ndarray:
    numbers = dataset.read(1, window=window).ravel()
    return np.bincount(numbers, minlength=classes)[:classes]
