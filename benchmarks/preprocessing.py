"""Images per second of each preprocessing step on real dermoscopic images, one thread.

    LIKENESS_DATA=... python benchmarks/preprocessing.py          about half a minute on one core

The images of `ham10000` and `isic2017` there are smaller than the originals, so each is also
enlarged to 450 pixels in height, as HAM10000 has them: that is what a step costs at most, since
larger images are decoded at a reduced scale. `file` is the whole way from a JPEG to the network's
square, with no step and with all. `changed` is the share of pixels that a step changes, `kept` the
share that is left after it. Steps are timed in turns, so that a busy machine slows all alike; the
processor time and the wall clock of all images together, in the best of the rounds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from likeness.data.cache import load_image
from likeness.data.decode import decode
from likeness.data.steps import (
    CropDarkBorder,
    CropToMask,
    RemoveDarkLines,
    ShadesOfGrey,
    Step,
    apply_steps,
)
from likeness.data.transforms import Preprocessing
from likeness.files import write_json
from measurements import arguments, in_turns, record

FOLDERS = ("ham10000/HAM10000_images", "isic2017/ISIC-2017_Training_Data")
STEPS: tuple[Step, ...] = (CropDarkBorder(), RemoveDarkLines(), ShadesOfGrey())
TALL = 450  # pixels, of the originals of HAM10000
Work = Callable[[], object]


def choose(root: Path, count: int, seed: int) -> list[Path]:
    """Images of one folder, without replacement."""
    files = sorted(root.glob("*.jpg"))
    picked = np.random.default_rng(seed).choice(len(files), count, replace=False)
    return [files[place] for place in sorted(picked.tolist())]


def enlarged(image_HW3: np.ndarray) -> np.ndarray:
    """The image at `TALL` pixels in height."""
    picture = Image.fromarray(image_HW3)
    size = (round(picture.width * TALL / picture.height), TALL)
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC))


def each(work: Callable[[Any], object], items: Sequence[Any]) -> Work:
    """One call for all items."""
    return lambda: [work(item) for item in items]


def works(files: Sequence[Path], images: Sequence[np.ndarray]) -> dict[str, Work]:
    """What is timed, by name."""
    large = [enlarged(image_HW3) for image_HW3 in images]
    timed: dict[str, Work] = {}
    for step in STEPS:
        work = partial(apply_steps, steps=(step,))
        timed[step.name] = each(work, images)
        timed[f"{step.name} at {TALL} px"] = each(work, large)
    masks = [np.zeros(image_HW3.shape[:2], bool) for image_HW3 in images]
    for mask_HW in masks:
        mask_HW[len(mask_HW) // 4 : -len(mask_HW) // 4, 50:-50] = True
    pairs = list(zip(images, masks, strict=True))
    timed["crop_to_mask"] = each(lambda pair: apply_steps(pair[0], (CropToMask(),), pair[1]), pairs)
    unit = {"size": 96, "mean": [0.5] * 3, "std": [0.2] * 3}
    for name, steps in (("file, no step", ()), ("file, all steps", STEPS)):
        prepared = Preprocessing(steps=steps, **unit)
        timed[name] = each(partial(load_image, preprocessing=prepared), files)
    return timed


def effects(images: Sequence[np.ndarray]) -> dict[str, dict[str, float]]:
    """What the steps do to the images: median and mean over them."""
    found: dict[str, dict[str, float]] = {}
    for step in STEPS:
        done = [apply_steps(image_HW3, (step,)) for image_HW3 in images]
        kept = [new.size / old.size for new, old in zip(done, images, strict=True)]
        cells = {"kept_mean": float(np.mean(kept)), "cropped": float(np.mean(np.array(kept) < 1))}
        if cells["cropped"] == 0:
            pairs = zip(done, images, strict=True)
            changed = [float((new != old).any(axis=2).mean()) for new, old in pairs]
            cells |= {
                "changed_mean": float(np.mean(changed)),
                "changed_median": float(np.median(changed)),
                "images_changed": float(np.mean(np.array(changed) > 0)),
            }
        found[step.name] = cells
    return found


def measure(timed: dict[str, Work], images: int, rounds: int) -> dict[str, dict[str, float]]:
    """Images per second by name."""
    return {
        name: {
            "images_per_cpu_s": images / min(taken.cpu_s),
            "images_per_s": images / min(taken.wall_s),
        }
        for name, taken in in_turns(timed, rounds=rounds).items()
    }


def main() -> None:
    """Measure, print and write."""
    chosen = arguments(__doc__, "preprocessing", images=40, rounds=3, seed=0).parse_args()
    provenance = record(chosen.seed, data="ham10000, isic2017")
    root = Path(os.environ["LIKENESS_DATA"])
    sets: dict[str, Any] = {}
    for folder in FOLDERS:
        files = choose(root / folder, chosen.images, chosen.seed)
        images = [decode(file) for file in files]
        speeds = measure(works(files, images), len(files), chosen.rounds)
        height, width = images[0].shape[:2]
        sets[folder.split("/")[0]] = {
            "size": f"{width} x {height}",
            "speed": speeds,
            "effect": effects(images),
        }
        for name, cell in speeds.items():
            print(f"{folder.split('/')[0]:10s} {name:28s} {cell['images_per_cpu_s']:8.0f} images/s")
    setting = {"images": chosen.images, "steps": [step.model_dump() for step in STEPS]}
    write_json(chosen.out, {"sets": sets, "provenance": provenance, "setting": setting})


if __name__ == "__main__":
    main()
