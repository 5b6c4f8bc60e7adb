"""Do the maps of a lesion model show the model? On images of its own test split.

    python benchmarks/explanations.py MODEL DATA             a minute for 64 images on two cores
    python benchmarks/explanations.py MODEL DATA --images 200 --seeds 5

Research only, not a medical device. Measured for Grad-CAM of the predicted class: the cascading
randomisation check of Adebayo et al. 2018 (a map that stays as it was when the network is made
random shows the image and not the network), and how the map of an image resembles those of other
images, which tells what the place alone explains. For Grad-CAM and the network's own attention:
their rank correlation, how much of each lies on the lesion's mask beside what an even map would
reach, and milliseconds for each image.

Masks are looked for beside the images (`likeness.data.masks`). ISIC 2017 as it lies in our data has
none, and HAM10000 only with its separate file of segmentations: `masks` then says so.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments import circumstances
from likeness.bundle import Bundle, load_bundle
from likeness.data.cache import load_image
from likeness.data.decode import DecodeError
from likeness.data.masked import view_of
from likeness.data.masks import mask_beside, scaled
from likeness.data.transforms import to_tensor
from likeness.errors import require
from likeness.files import write_json
from likeness.models.explain import (
    attention_gates,
    attention_maps,
    grad_cam,
    mask_overlap,
    upsample,
)
from likeness.models.explain_checks import LIMIT, randomisation_check, rank_correlations
from likeness_apps.shell.matching import content_hashes, split_of
from likeness_apps.skin_lesion.domain import DOMAIN

RESULTS = Path(__file__).parent / "results" / "explanations.json"
NO_MASKS = "no masks beside the images"


def chosen_files(bundle: Bundle, data: Path, split: str, count: int, seed: int) -> list[Path]:
    """At most `count` images of a split of the model's own data, drawn by the seed."""
    manifest = DOMAIN.recognise(data)
    hashes = content_hashes(manifest, quiet=True)
    rows = np.flatnonzero(split_of(manifest, bundle, hashes) == split)
    require(len(rows), "data", f"a set with images of the model's {split} split", str(data))
    kept = np.sort(np.random.default_rng(seed).permutation(rows)[:count])
    return [manifest.file(path) for path in manifest.table["path"].iloc[kept]]


def read(bundle: Bundle, files: list[Path]) -> tuple[Tensor, list[np.ndarray | None]]:
    """The network's inputs, and the masks as the network would see them."""
    preprocessing, size = bundle.preprocessing, bundle.preprocessing.height_width
    images, masks = [], []
    for file in files:
        try:
            images.append(to_tensor(load_image(file, preprocessing), preprocessing))
        except DecodeError as error:
            print(f"left out: {error}")
            continue
        mask_HW = None
        if mask_beside(file) is not None:
            mask_HW = view_of(file, preprocessing, side=max(size)).mask_HW
        masks.append(None if mask_HW is None else scaled(mask_HW, size))
    require(images, "data", "images of which one can be read", len(files))
    return torch.stack(images), masks


def randomised(bundle: Bundle, images: Tensor, labels: Tensor, seeds: int) -> dict[str, Any]:
    """The whole cascade as plain data."""
    found = randomisation_check(bundle.embedder, images, labels, seeds=range(seeds))
    return {
        "stages": [stage._asdict() for stage in found.stages],
        "between_images": found.between_images,
        "images": found.images,
        "seeds": found.seeds,
        "passed": found.passed,
        "passed_if": f"the last stage's correlation lies within {LIMIT} of 0 (our choice)",
    }


def on_masks(maps: Tensor, masks: list[np.ndarray | None]) -> dict[str, Any]:
    """Mean overlap of the maps with the masks that there are."""
    size = next((mask.shape for mask in masks if mask is not None), None)
    if size is None:
        return {"images": 0, "reason": NO_MASKS}
    large = upsample(maps, *size)
    found = np.array(
        [
            mask_overlap(map_HW, torch.from_numpy(mask))
            for map_HW, mask in zip(large, masks, strict=True)
            if mask is not None
        ]
    )
    defined = found[~np.isnan(found).any(axis=1)]
    names = ("energy_inside", "pointing", "mask_share")
    means = dict(zip(names, defined.mean(axis=0).tolist(), strict=True)) if len(defined) else {}
    return means | {"images": len(defined), "undefined": len(found) - len(defined)}


def alike(attention: Tensor, cams: Tensor) -> dict[str, Any]:
    """Mean rank correlation of the two maps of an image, at the finer grid."""
    size = np.maximum(attention.shape[1:], cams.shape[1:]).tolist()
    flat = [upsample(maps, *size).flatten(1).double().numpy() for maps in (attention, cams)]
    found = rank_correlations(*flat)
    kept = found[~np.isnan(found)]
    return {"correlation": float(kept.mean()) if len(kept) else None, "images": len(kept)}


def milliseconds(work: Callable[[Tensor], object], images: Tensor) -> float:
    """Median time of one image alone; the first call warms up."""
    taken = []
    for row in range(min(len(images), 20)):
        began = time.perf_counter()
        work(images[row : row + 1])
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken[1:] or taken)


def measured(bundle: Bundle, files: list[Path], seeds: int) -> dict[str, Any]:
    """Everything about the maps of some images."""
    embedder = bundle.embedder
    require(embedder.num_classes > 0, "model", "one with a class layer", "none")
    images, masks = read(bundle, files)
    with torch.no_grad():
        labels = embedder(images).logits["class"].argmax(dim=1)
    cams = grad_cam(embedder, images, labels)
    facts: dict[str, Any] = {
        "images": len(images),
        "cells": list(cams.shape[1:]),
        "nothing_to_show": int((~cams.flatten(1).any(dim=1)).sum()),
        "randomisation": randomised(bundle, images, labels, seeds),
        "masks": {"grad_cam": on_masks(cams, masks)},
        "ms_per_image": {"grad_cam": milliseconds(lambda one: grad_cam(embedder, one, 0), images)},
    }
    gates = attention_gates(embedder)
    facts["attention"] = {"blocks": len(gates), "gates": gates}
    if gates:
        attention = attention_maps(embedder, images)
        facts["attention"] |= {"cells": list(attention.shape[1:])}
        facts["attention_and_grad_cam"] = alike(attention, cams)
        facts["masks"]["attention"] = on_masks(attention, masks)
        time_of = milliseconds(lambda one: attention_maps(embedder, one), images)
        facts["ms_per_image"]["attention"] = time_of
    return facts


def told(facts: dict[str, Any]) -> str:
    """The figures in a few lines."""
    check = facts["randomisation"]
    lines = [f"{facts['images']} images; Grad-CAM's randomisation check:"]
    lines += [f"  {stage['name']:>12}  {stage['correlation']:6.2f}" for stage in check["stages"]]
    verdict = "passed" if check["passed"] else "not passed"
    lines.append(f"  {verdict}; between images {check['between_images']:.2f}")
    lines += [f"masks, {name}: {found}" for name, found in facts["masks"].items()]
    lines.append(f"ms per image: {facts['ms_per_image']}")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path, help="a bundle or a run")
    parser.add_argument("data", type=Path, help="the data set that it was trained on")
    parser.add_argument("--split", default="test")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=2, help="draws of random weights")
    parser.add_argument("--seed", type=int, default=0, help="which images")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    bundle = load_bundle(given.model)
    files = chosen_files(bundle, given.data, given.split, given.images, given.seed)
    facts = measured(bundle, files, given.seeds)
    about = {
        "model_id": bundle.model_id,
        "data_licence": bundle.data_licence,
        "layout": bundle.provenance.get("layout", ""),
        "split": given.split,
        "seed": given.seed,
        "circumstances": circumstances(),
    }
    write_json(given.out, about | facts)
    print(told(facts))


if __name__ == "__main__":
    main()
