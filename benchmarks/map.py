"""Mapping a scene: as fast as the network alone, in memory that the scene's height does not change.

    python benchmarks/map.py                      speed and memory at two heights, a few minutes
    python benchmarks/map.py --only 64            speed alone, for one size of the network's input
    python benchmarks/map.py --large              also a scene of 20,000 x 20,000 pixels, 1.2 GB on
                                                  disk, about 24,000 windows

Speed: a first map keeps the batches that the network was asked, in memory; then the network alone
answers these (`network`), and the whole command makes the map again (`whole`: it reads the scene,
prepares the same windows, asks the same network and writes). Turns follow each other in one
process, and each gives a ratio of whole to network: of the wall clock, which another process on the
machine disturbs, and of the processor time of all threads, which says what the rest costs. The
median over the turns is stated. Once for windows of 96 pixels that the network sees at 64, and once
for 256 at 128. Memory (at 128): growth of the process after the imports and the model, in a fresh
process per scene. The network is a ResNet-18 with random weights and 45 classes; the scenes are
noise.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from measurements import (
    answered_in_child,
    append_json,
    arguments,
    in_child,
    in_turns,
    record,
    timed,
    with_growth,
)

BLOCK, CLASSES, BATCH = 512, 45, 64
CHIPS = {64: 96, 128: 256}  # side of the network's input: of the windows
SCENES = {64: 2048, 128: 4096}  # likewise: of the scene for speed
LARGE = 20_000


def write_model(folder: Path, size: int) -> Path:
    """A bundle whose windows are seen by the network at `size`."""
    import pandas as pd
    import torch

    from likeness.bundle import save_bundle
    from likeness.card import SECTIONS
    from likeness.data.transforms import Preprocessing
    from likeness.models import ModelSpec, build_embedder

    torch.manual_seed(0)
    spec = ModelSpec(backbone="resnet18", image_size=size)
    save_bundle(
        folder,
        build_embedder(spec, num_classes=CLASSES),
        config={"model": spec.model_dump(mode="json")},
        classes=[f"class {number}" for number in range(CLASSES)],
        preprocessing=Preprocessing(size=size, mean=[0.5] * 3, std=[0.2] * 3, chip=CHIPS[size]),
        splits=pd.DataFrame(columns=["path", "label", "split", "group", "sha256"]),
        metrics={},
        provenance={"data_licence": "generated"},
        card="# Card\n\n" + "\n\n".join(f"## {heading}\n\nNone." for heading in SECTIONS) + "\n",
    )
    return folder


def write_scene(path: Path, height: int, width: int) -> Path:
    """Noise in squares of 8 pixels, tiled, not compressed."""
    import rasterio
    from rasterio import Affine
    from rasterio.windows import Window

    generator = np.random.default_rng(0)
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 3, "dtype": "uint8"}
    place = {"crs": "EPSG:32633", "transform": Affine(0.5, 0, 5e5, 0, -0.5, 5e6), "nodata": 0}
    tiles = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK}
    with rasterio.open(path, "w", **profile, **place, **tiles) as dataset:
        for top in range(0, height, BLOCK):
            tall = min(BLOCK, height - top)
            coarse = generator.integers(1, 256, (3, BLOCK // 8, width // 8 + 1), dtype=np.uint8)
            rows = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :tall, :width]
            dataset.write(rows, window=Window(0, top, width, tall))
    return path


def growth(predictor: Any, scene: Path, folder: Path) -> dict[str, Any]:
    """Map a scene with all outputs, once."""
    from likeness_apps.remote_sensing.mapping.run import make_map

    taken, growth_mb = with_growth(
        lambda: timed(
            lambda: make_map(predictor, scene, folder / "map.tif", gpkg=folder / "chips.gpkg")
        )
    )
    windows, wall = taken.value.windows, taken.wall_s[0]
    return {"windows": windows, "wall_s": wall, "growth_mb": growth_mb}


def kept_batches(predictor: Any, scene: Path, out: Path) -> list[Sequence[Any]]:
    """What the network is asked for a map."""
    from likeness_apps.remote_sensing.mapping.run import make_map

    batches: list[Sequence[Any]] = []
    answer = predictor.answer

    def keep(prepared: Sequence[Any]) -> Any:
        batches.append(prepared)
        return answer(prepared)

    predictor.answer = keep
    make_map(predictor, scene, out)
    predictor.answer = answer
    return batches


def speed(predictor: Any, scene: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """The network alone and the whole command in turns, on the same windows."""
    from likeness_apps.remote_sensing.mapping.run import make_map

    batches, numbers = kept_batches(predictor, scene, folder / "first.tif"), count()
    works = {
        "network": lambda: [predictor.answer(batch) for batch in batches],
        "whole": lambda: make_map(predictor, scene, folder / f"map-{next(numbers)}.tif"),
    }
    taken = in_turns(works, rounds=rounds)
    found: dict[str, Any] = {"windows": sum(map(len, batches)), "rounds": rounds}
    for clock in ("wall", "cpu"):
        network, whole = (getattr(taken[name], f"{clock}_s") for name in works)
        ratios = [all_of_it / alone for alone, all_of_it in zip(network, whole, strict=True)]
        found[f"network_{clock}_s"] = round(statistics.median(network), 4)
        found[f"whole_{clock}_s"] = round(statistics.median(whole), 4)
        found[f"{clock}_whole_over_network"] = round(statistics.median(ratios), 4)
    return found


def work(
    job: str, size: int, height: int, width: int, threads: int, rounds: int, folder: str
) -> dict[str, Any]:
    """One measurement, inside its own process."""
    import torch

    from likeness.inference.predictor import Predictor

    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        model = write_model(place / "model", size)
        predictor = Predictor(model, batch_size=BATCH, threads=threads)
        scene = write_scene(place / "scene.tif", height, width)
        if job == "speed":
            found = speed(predictor, scene, place, rounds)
        else:
            predictor.answer(list(torch.zeros(BATCH, 3, size, size)))  # the network's own buffers
            found = growth(predictor, scene, place)
    shape = {"size": size, "chip": CHIPS[size], "height": height, "width": width}
    return {"job": job, **shape, **found}


def cell(job: str, size: int, height: int, width: int, **shared: Any) -> dict[str, Any]:
    """One measurement in a fresh process."""
    settings = {"job": job, "size": size, "height": height, "width": width, **shared}
    passive = {"OMP_WAIT_POLICY": "PASSIVE"}  # as the command line sets it
    found = in_child(__file__, settings, threads=shared["threads"], environment=passive)
    print(json.dumps(found), flush=True)
    return found


def main() -> None:
    """Measure, print and append."""
    if answered_in_child(work):
        return
    parser = arguments(__doc__, "map", threads=2, rounds=3)
    parser.add_argument("--only", type=int, choices=tuple(CHIPS), help="speed at this size alone")
    parser.add_argument("--heights", type=int, nargs=2, default=[4096, 12288])
    parser.add_argument("--large", action="store_true", help=f"also {LARGE} x {LARGE} pixels")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where scenes are written")
    chosen = parser.parse_args()
    provenance = record(seed=0, threads=chosen.threads)
    shared = {key: getattr(chosen, key) for key in ("threads", "rounds", "folder")}
    sizes = [chosen.only] if chosen.only else list(CHIPS)
    cells = [cell("speed", size, SCENES[size], SCENES[size], **shared) for size in sizes]
    if not chosen.only:
        cells += [cell("memory", 128, height, 4096, **shared) for height in chosen.heights]
    if chosen.large:
        cells.append(cell("memory", 128, LARGE, LARGE, **shared))
    setting = {"classes": CLASSES, "batch_size": BATCH}
    append_json(chosen.out, {"cells": cells, "provenance": provenance, "setting": setting})


if __name__ == "__main__":
    main()
