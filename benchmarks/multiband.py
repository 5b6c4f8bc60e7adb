"""Images of more than three bands from the cache to the network: torch beside Pillow band by band.

    python benchmarks/multiband.py                   half a minute on one core

Both sides run the whole way of a training image (take it from the cache, crop, resize, recolour,
flip, turn, normalise) with the same random numbers and one thread; they differ in what resizes:
`likeness.data.resample`, or Pillow, one band after the other. Rounds are interleaved, so that a
busy machine slows both alike; best and median of the wall clock, and the best of the processor
time. `difference` is the greatest one between the two sides' tensors, in standard deviations of the
data; with no-data pixels there is none to state: in Pillow they spread, and it is faster for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from likeness.data.augmentation import Augmentation
from likeness.data.cache import ImageCache, load_size
from likeness.data.dataset import ImageRows
from likeness.data.resample import Box
from likeness.data.transforms import Preprocessing
from likeness.files import write_json
from measurements import arguments, in_turns, record

IMAGES = 32


@dataclass(frozen=True)
class Case:
    """One line of the comparison; `holes` is the share of no-data pixels, in one square."""

    bands: int
    size: int
    dtype: str
    holes: float = 0.0


CASES = (
    Case(13, 64, "uint16"),
    Case(13, 64, "float32"),
    Case(13, 64, "float32", holes=0.1),
    Case(6, 64, "uint8"),
    Case(10, 128, "uint16"),
    Case(10, 224, "uint16"),
)


def by_pillow(image_HWC: np.ndarray, tall: int, wide: int, box: Box) -> np.ndarray:
    """Each band alone, in Pillow's 32-bit floats; stands in for `resample`."""
    out = np.empty((tall, wide, image_HWC.shape[2]), np.float32)
    for band in range(image_HWC.shape[2]):
        plane = Image.fromarray(np.ascontiguousarray(image_HWC[..., band], dtype=np.float32))
        resized = plane.resize((wide, tall), Image.Resampling.BILINEAR, box=box)
        out[..., band] = np.asarray(resized)
    return out


def draw(case: Case, seed: int) -> ImageRows:
    """A cache of smooth noise, at the side at which images are kept for training."""
    generator = np.random.default_rng(seed)
    augmentation = Augmentation()
    top = 1.0 if case.dtype == "float32" else float(np.iinfo(case.dtype).max)
    unit = [0.5] * case.bands, [0.15] * case.bands
    prepared = Preprocessing(bands=case.bands, size=case.size, mean=unit[0], std=unit[1], scale=top)
    side = max(load_size(prepared, augmentation))
    coarse = generator.random((IMAGES, side // 8 + 1, side // 8 + 1, case.bands))
    smooth = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :side, :side]
    images = ((0.7 * smooth + 0.3 * generator.random(smooth.shape)) * top).astype(case.dtype)
    hole = round(side * case.holes**0.5)
    images[:, :hole, :hole] = np.nan if hole else images[:, :hole, :hole]
    cache = ImageCache(images, np.arange(IMAGES), {})
    names = [str(row) for row in range(IMAGES)]
    return ImageRows(".", names, prepared, augmentation=augmentation, cache=cache, seed=seed)


def load(rows: ImageRows) -> Tensor:
    """Every image once, augmented."""
    return torch.stack([rows[row, 1, row][0] for row in range(IMAGES)])


def load_by_pillow(rows: ImageRows) -> Tensor:
    """The same with the opponent."""
    with patch("likeness.data.transforms.resample", by_pillow):
        return load(rows)


def measure(case: Case, seed: int, rounds: int) -> dict[str, Any]:
    """One cell of the table."""
    rows = draw(case, seed)
    runs: dict[str, Callable[[], Tensor]] = {
        "torch": partial(load, rows),
        "pillow": partial(load_by_pillow, rows),
    }
    ours, theirs = (run() for run in runs.values())  # the first call warms up
    difference = None if case.holes else float((ours - theirs).abs().max())
    taken = in_turns(runs, rounds=rounds)
    speeds = {name: one.images_per_second(IMAGES) for name, one in taken.items()}
    return {**vars(case), "rounds": rounds, "difference": difference, **speeds}


def line(cell: dict[str, Any]) -> str:
    """A cell as a line of the printed table."""
    name = f"{cell['bands']} x {cell['size']} x {cell['size']} {cell['dtype']}"
    name += f", {cell['holes']:.0%} no-data" if cell["holes"] else ""
    keys = ("best_images_per_s", "median_images_per_s", "best_images_per_cpu_s")
    shown = [f"{name:36s}"]
    for key in keys:
        ours, theirs = cell["torch"][key], cell["pillow"][key]
        shown.append(f"{ours:7.0f} {theirs:7.0f} {ours / theirs:5.2f} x ")
    return " ".join(shown).rstrip()


def main() -> None:
    """Measure, print and write."""
    chosen = arguments(__doc__, "multiband", seed=0, rounds=20).parse_args()
    torch.set_num_threads(1)
    provenance = record(chosen.seed)
    heads = ("best wall", "median wall", "best processor")
    print(f"{'images/s: torch, Pillow, faster':36s}", " ".join(f"{head:24s}" for head in heads))
    cells = []
    for case in CASES:
        cells.append(measure(case, chosen.seed, chosen.rounds))
        print(line(cells[-1]), flush=True)
    setting = {"images": IMAGES, "augmentation": Augmentation().model_dump()}
    write_json(chosen.out, {"cells": cells, "provenance": provenance, "setting": setting})


if __name__ == "__main__":
    main()
