"""Training with and without attention in the residual blocks: images/s and peak memory.

    python benchmarks/attention.py                   about two minutes on 2 cores
    python benchmarks/attention.py --backbones resnet18 --size 96 --batch 32

A step is a forward and a backward pass and an SGD update on random images. Rounds are interleaved,
so that a busy machine slows all alike; best and median of the wall clock, and the best of the
processor time. Peak memory: bytes of tensors beyond what the network, its gradients and the
optimiser hold between steps, from the allocator's own events. `inference` is the forward pass in
evaluation mode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import torch

from likeness.files import write_json
from likeness.models import ModelSpec, build_embedder
from likeness.models.spec import AttentionOrder
from measurements import arguments, in_turns, peak_bytes, record

CLASSES = 7


def runs(spec: ModelSpec, batch: int, seed: int) -> dict[str, Callable[[], object]]:
    """A training step and a forward pass in evaluation mode, each on a network of its own."""
    torch.manual_seed(seed)
    images_NCHW = torch.randn(batch, spec.bands, *spec.height_width)
    labels_N = torch.arange(batch) % CLASSES
    trained = build_embedder(spec, num_classes=CLASSES)
    used = build_embedder(spec, num_classes=CLASSES).eval()
    optimiser = torch.optim.SGD(trained.parameters(), lr=0.01, momentum=0.9)

    def train() -> None:
        logits_NC = trained(images_NCHW).logits["class"]
        torch.nn.functional.cross_entropy(logits_NC, labels_N).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=False)  # gradients stay: they are no peak of a step

    @torch.inference_mode()
    def infer() -> None:
        used(images_NCHW)

    return {"training": train, "inference": infer}


def measure(backbone: str, size: int, batch: int, seed: int, rounds: int) -> list[dict[str, Any]]:
    """One cell for each order of attention, `none` first."""
    cells: dict[str, dict[str, Any]] = {}
    calls: dict[str, Callable[[], object]] = {}
    for order in get_args(AttentionOrder):
        spec = ModelSpec(backbone=backbone, image_size=size, attention=order)
        cells[order] = {"backbone": backbone, "attention": order, "size": size, "batch": batch}
        for name, call in runs(spec, batch, seed).items():
            call()  # the first call warms up and makes what stays
            calls[f"{order} {name}"] = call
            cells[order][name] = {"peak_mib": peak_bytes(call) / 2**20}
    for key, taken in in_turns(calls, rounds=rounds).items():
        order, name = key.split()
        cells[order][name] |= taken.images_per_second(batch)
    return list(cells.values())


def line(cell: dict[str, Any], plain: dict[str, Any]) -> str:
    """A cell as a line of the printed table, beside the plain network's."""
    shown = [f"{cell['backbone']:9s} {cell['attention']:11s}"]
    for name in ("training", "inference"):
        ours, theirs = cell[name], plain[name]
        speed, memory = ours["best_images_per_s"], ours["peak_mib"]
        shown.append(
            f"{speed:7.1f} images/s ({speed / theirs['best_images_per_s']:4.2f} x) "
            f"{memory:7.1f} MiB ({memory / theirs['peak_mib']:4.2f} x)"
        )
    return "   ".join(shown)


def main() -> None:
    """Measure, print and write."""
    parser = arguments(__doc__, "attention", size=64, batch=64, rounds=8, threads=2, seed=0)
    parser.add_argument("--backbones", nargs="+", default=["resnet18", "resnet50"])
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    provenance = record(chosen.seed)
    cells = []
    for backbone in chosen.backbones:
        found = measure(backbone, chosen.size, chosen.batch, chosen.seed, chosen.rounds)
        for cell in found:
            print(line(cell, found[0]), flush=True)
        cells += found
    setting = {"classes": CLASSES}
    write_json(chosen.out, {"cells": cells, "provenance": provenance, "setting": setting})


if __name__ == "__main__":
    main()
