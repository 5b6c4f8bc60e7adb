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

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "map.json"
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


def resident(field: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def growth(predictor: Any, scene: Path, folder: Path) -> dict[str, Any]:
    """Map a scene with all outputs, once."""
    from likeness_apps.remote_sensing.mapping.run import make_map

    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts here
    before, started = resident("VmRSS"), time.perf_counter()
    done = make_map(predictor, scene, folder / "map.tif", gpkg=folder / "chips.gpkg")
    wall = time.perf_counter() - started
    return {"windows": done.windows, "wall_s": wall, "growth_mb": resident("VmHWM") - before}


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


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of the wall clock, and of all threads' processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def speed(predictor: Any, scene: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """The network alone and the whole command in turns, on the same windows."""
    from likeness_apps.remote_sensing.mapping.run import make_map

    batches = kept_batches(predictor, scene, folder / "first.tif")
    turns: dict[str, list[float]] = defaultdict(list)
    for turn in range(rounds):
        network = timed(lambda: [predictor.answer(batch) for batch in batches])
        whole = timed(partial(make_map, predictor, scene, folder / f"map-{turn}.tif"))
        for clock, alone, all_of_it in zip(("wall", "cpu"), network, whole, strict=True):
            turns[f"network_{clock}_s"].append(alone)
            turns[f"whole_{clock}_s"].append(all_of_it)
            turns[f"{clock}_whole_over_network"].append(all_of_it / alone)
    found = {name: round(statistics.median(values), 4) for name, values in turns.items()}
    return {"windows": sum(map(len, batches)), **found, "rounds": rounds}


def work(chosen: argparse.Namespace) -> dict[str, Any]:
    """One measurement, inside its own process."""
    import torch

    from likeness.inference.predictor import Predictor

    torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        predictor = Predictor(
            write_model(folder / "model", chosen.size), batch_size=BATCH, threads=chosen.threads
        )
        scene = write_scene(folder / "scene.tif", chosen.height, chosen.width)
        if chosen.job == "speed":
            found = speed(predictor, scene, folder, chosen.rounds)
        else:
            inputs = torch.zeros(BATCH, 3, chosen.size, chosen.size)
            predictor.answer(list(inputs))  # the network's own buffers
            found = growth(predictor, scene, folder)
    shape = {"size": chosen.size, "chip": CHIPS[chosen.size]}
    return {"job": chosen.job, **shape, "height": chosen.height, "width": chosen.width, **found}


def cell(
    job: str, size: int, height: int, width: int, chosen: argparse.Namespace
) -> dict[str, Any]:
    """One measurement in a fresh process."""
    options = {"job": job, "size": size, "height": height, "width": width}
    options |= {key: getattr(chosen, key) for key in ("threads", "rounds", "folder")}
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}  # as the command line sets it
    done = subprocess.run(
        [sys.executable, __file__, *words],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(found), flush=True)
    return found


def main() -> None:
    """Measure, print and append."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", type=int, choices=tuple(CHIPS), help="speed at this size alone")
    parser.add_argument("--heights", type=int, nargs=2, default=[4096, 12288])
    parser.add_argument("--large", action="store_true", help=f"also {LARGE} x {LARGE} pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where scenes are written")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--job", help=argparse.SUPPRESS)  # from here on: of a cell's own process
    for name in ("size", "height", "width"):
        parser.add_argument(f"--{name}", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.job:
        print(json.dumps(work(chosen)))
        return
    from likeness.files import write_json
    from likeness.provenance import collect_provenance

    sizes = [chosen.only] if chosen.only else list(CHIPS)
    cells = [cell("speed", size, SCENES[size], SCENES[size], chosen) for size in sizes]
    if not chosen.only:
        cells += [cell("memory", 128, height, 4096, chosen) for height in chosen.heights]
    if chosen.large:
        cells.append(cell("memory", 128, LARGE, LARGE, chosen))
    record = collect_provenance(seed=0, data_hash="generated")
    record["threads"] = chosen.threads
    setting = {"classes": CLASSES, "batch_size": BATCH}
    earlier = json.loads(chosen.out.read_text(encoding="utf-8")) if chosen.out.is_file() else []
    write_json(chosen.out, [*earlier, {"cells": cells, "provenance": record, "setting": setting}])


if __name__ == "__main__":
    main()
