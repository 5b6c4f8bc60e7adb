"""Frames of tracklets from JPEG files to the network: does decoding keep up with training?

    python benchmarks/loader.py                      two minutes on two cores

Generated frames of 256 x 128 pixels (smooth noise, JPEG at quality 90, as large as MARS's), with
the augmentation of `configs/person_reid/osm_caa.yaml` (flip, pad and crop, colours, random
erasing). `loader` loads batches of 64 with no worker, with one and with two; `train` is a forward
and a backward pass of the network and an SGD update at that size, on images that are there. In
turns; best and median frames/s of the wall clock. Nothing is kept decoded. With `share` >= 1
loading is faster than training.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from likeness.config import parse
from likeness.data.augmentation import Augmentation
from likeness.data.dataset import ImageRows
from likeness.data.transforms import Preprocessing
from likeness.files import write_json
from likeness.models import ModelSpec, build_embedder
from likeness.training.loader import BatchLoader
from measurements import Rounds, arguments, in_turns, record

CONFIG = Path(__file__).parents[1] / "configs/person_reid/osm_caa.yaml"
FRAMES, BATCH, BATCHES, CLASSES = 512, 64, 8, 100
TRAINED = 16  # frames of a training step: of a ResNet-50 at 256 x 128, a second or two
WORKERS = (0, 1, 2)
BACKBONES = ("resnet18", "resnet50")


def write_frames(folder: Path, seed: int) -> list[str]:
    """Smooth noise, so that the files are about as large as those of photographs."""
    generator = np.random.default_rng(seed)
    names = [f"{number:04d}.jpg" for number in range(FRAMES)]
    for name in names:
        coarse = Image.fromarray(generator.integers(0, 256, (32, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((128, 256), Image.Resampling.BICUBIC), np.int16)
        grain = generator.integers(-12, 13, smooth.shape, dtype=np.int16)
        pixels = np.clip(smooth + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name, quality=90)
    return names


def load(loader: BatchLoader, step: int = 0) -> None:
    """An epoch's worth of augmented batches."""
    rows = np.arange(BATCH * BATCHES).reshape(BATCHES, BATCH) % FRAMES
    batches = [[(int(row), step, slot) for slot, row in enumerate(batch)] for batch in rows]
    for images_NCHW in loader(batches):
        assert images_NCHW.shape == (BATCH, 3, 256, 128)


def training(backbone: str, seed: int) -> partial[None]:
    """A step on images that are there."""
    torch.manual_seed(seed)
    spec = parse(ModelSpec, {"backbone": backbone, "weights": "none", "image_size": [256, 128]})
    network = build_embedder(spec, num_classes=CLASSES)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
    images_NCHW = torch.randn(TRAINED, 3, 256, 128)
    labels_N = torch.arange(TRAINED) % CLASSES

    def step() -> None:
        logits_NC = network(images_NCHW).logits["class"]
        torch.nn.functional.cross_entropy(logits_NC, labels_N).backward()
        optimiser.step()
        optimiser.zero_grad()

    return partial(step)


def speeds(taken: Rounds, frames: int) -> dict[str, float]:
    """Frames a second: the best round, and the median."""
    return {
        "best_frames_per_s": frames / min(taken.wall_s),
        "median_frames_per_s": frames / float(np.median(taken.wall_s)),
    }


def main() -> None:
    """Measure, print and write."""
    chosen = arguments(__doc__, "loader", threads=2, seed=0, rounds=4).parse_args()
    torch.set_num_threads(chosen.threads)
    told = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["data"]["augmentation"]
    augmentation = parse(Augmentation, told, "augmentation")
    prepared = Preprocessing(size=(256, 128), mean=[0.5] * 3, std=[0.25] * 3)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as open_things:
        names = write_frames(Path(folder), chosen.seed)
        images = ImageRows(folder, names, prepared, augmentation=augmentation, seed=chosen.seed)
        sides: dict[str, Any] = {}
        for workers in WORKERS:
            loader = BatchLoader(images, workers=workers, device=torch.device("cpu"))
            open_things.enter_context(closing(loader))
            sides[f"loader_{workers}"] = partial(load, loader)
        sides |= {f"train_{name}": training(name, chosen.seed) for name in BACKBONES}
        taken = in_turns(sides, rounds=chosen.rounds)
    found = {
        name: speeds(rounds, BATCH * BATCHES if name.startswith("loader") else TRAINED)
        for name, rounds in taken.items()
    }
    for name, speed in found.items():
        print(f"{name:16s} {speed['best_frames_per_s']:8.1f} frames/s")
    best = {name: speed["best_frames_per_s"] for name, speed in found.items()}
    share = {name: best["loader_2"] / best[f"train_{name}"] for name in BACKBONES}
    print({name: round(value, 1) for name, value in share.items()})
    setting = {"frames": FRAMES, "batch": BATCH, "trained": TRAINED, "rounds": chosen.rounds}
    result = {"speed": found, "share": share, "setting": setting, "provenance": record(chosen.seed)}
    write_json(chosen.out, result)


if __name__ == "__main__":
    main()
