"""Classes of AID scenes that were never trained, known from 1 to 20 images each.

    LIKENESS_DATA=... python benchmarks/imprinting.py run [--jobs 2]   resumes where it stopped
    python benchmarks/imprinting.py summary                            tables of the recorded runs

Protocol, committed before the first score: that of `likeness benchmark low-shot`. Three draws
(seeds 0, 1, 2): 20 of the 30 classes are base, 10 are novel. Of every base class 80 % of the images
train and 20 % test; of every novel class 20 images at random may be shown, the first n of them are
(so 5 hold the 2), and all others test. ResNet-18 without pretrained weights at 64 px, embeddings of
64 numbers, a class layer of cosines, 15 epochs on the base classes
(configs/benchmark/low_shot.yaml; convolutions in bfloat16 where a network is trained, the rest and
all testing in float32), the last epoch. Then, with n = 1, 2, 5, 10, 20 shown images of each novel
class and all 30 classes as possible answers:

- averaged: each novel class is imprinted (mean direction of its shown images) beside the trained
  vectors of the base classes: the paper's method;
- anew: the vectors of the base classes are imprinted, too (`imprint` does so where trained ones
  lose);
- random: novel vectors at random, the floor;
- nearest: every training image and every shown one is kept, the most similar gives the class.

And after fine-tuning of the whole network on base training images and shown ones (5 epochs, a tenth
of the learning rate, batches of 16 classes x 4 images in which all classes are drawn alike, last
epoch): averaged and nearest on the network whose vectors began averaged, anew and random on those
that began so.

Measured on test images: accuracy of novel and of base classes, and their harmonic mean. The
question is whether averaged is at least as good as nearest (paper: yes, from 2 images on), and what
fine-tuning costs the base classes. Three draws give ranges, no test. Nothing is chosen on test
images, and nothing was tuned. A row of results/imprinting.csv is one method of one draw; failed
ones stay. Changed before the first score: an earlier plan chose epochs on validation images,
trained in float32 and did not fine-tune one image. The first two fine-tuned rows drew novel classes
in proportion to their few images, which is not this protocol: they stay as `superseded`, and were
run again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from experiments import CIRCUMSTANCES, RESULTS, Experiment, RunTable, Words, command_line

DRAWS = 3
SHOTS = (1, 2, 5, 10, 20)
METHODS = tuple(
    f"{name}{then}" for then in ("", "_tuned") for name in ("averaged", "anew", "random", "nearest")
)
PARTS = ("novel_accuracy", "base_accuracy", "accuracy")
CHANGES = ("workers=0", "precision=bf16-mixed")
TABLE = RunTable(
    "imprinting",
    columns=(
        *("draw", "method", "status", *(f"{part}@{shots}" for shots in SHOTS for part in PARTS)),
        *("seconds", *CIRCUMSTANCES, "note"),
    ),
    keys=("draw", "method"),
)


def rows(job: Words) -> list[Words]:
    """Those of a draw."""
    (draw,) = job
    return [(draw, method) for method in METHODS]


def run_draw(draw: str) -> None:
    """Every method of a draw that is not there yet."""
    from likeness_apps.benchmark.low_shot.run import asked
    from likeness_apps.benchmark.rounds import rounded

    done = TABLE.finished()
    left = [method for method in METHODS if (draw, method) not in done]
    if not left:
        return
    networks = made(int(draw), CHANGES)
    for method in left:

        def figures(method: str = method) -> dict[str, Any]:
            return dict(rounded(asked(networks, method, SHOTS)))

        TABLE.record({"draw": draw, "method": method}, figures)


def made(draw: int, changes: tuple[str, ...]) -> Any:
    """The networks of a draw; none is trained before it is asked for."""
    from likeness_apps.benchmark.layouts import recognise
    from likeness_apps.benchmark.low_shot.division import divided
    from likeness_apps.benchmark.low_shot.networks import Networks
    from likeness_apps.benchmark.low_shot.run import base_spec, tuning_of
    from likeness_apps.benchmark.training import readable, seeded
    from likeness_apps.shell import configs

    spec = base_spec(configs.load("benchmark", "low_shot", changes))
    manifest = readable(recognise(Path(os.environ["LIKENESS_DATA"]) / "aid"), quiet=True)
    division = divided(manifest, draw, SHOTS[-1])
    specs = seeded(spec, draw), seeded(tuning_of(spec, None, 0.1), draw)
    return Networks(division, *specs, TABLE.work / str(draw), changes=changes)


EXPERIMENT = Experiment(TABLE, [(str(draw),) for draw in range(DRAWS)], run_draw, rows=rows)


def summary() -> None:
    """Means over the draws with their range, and averaged minus nearest, from the recorded runs."""
    runs = TABLE.read()
    runs = runs[runs["status"] == "done"]
    draws = runs["draw"].nunique()
    lines = [
        f"# Imprinting on AID: {draws} of {DRAWS} draws",
        "",
        "Protocol: the first lines of `benchmarks/imprinting.py`. Per cent; mean over the draws",
        "(lowest to highest). All 30 classes are possible answers: 10 novel ones, 20 base ones.",
        "",
        "| shown | method | novel classes | base classes | harmonic mean |",
        "|---|---|---|---|---|",
    ]
    for shots in SHOTS:
        for method in METHODS:
            of_method = runs[runs["method"] == method]
            novel, base = (100 * of_method[f"{part}@{shots}"] for part in PARTS[:2])
            both = (2 * novel * base / (novel + base)).fillna(0.0)
            cells = (
                f"{values.mean():.1f} ({values.min():.1f} to {values.max():.1f})"
                for values in (novel, base, both)
            )
            lines.append(f"| {shots} | {method.replace('_', ', ')} | {' | '.join(cells)} |")
    lines += ["", "Averaged minus nearest, novel classes, points by draw:", ""]
    wide = runs.pivot(index="draw", columns="method")
    for shots in SHOTS:
        for then, told in (("", "before"), ("_tuned", "after")):
            novel = wide[f"novel_accuracy@{shots}"]
            gaps = 100 * (novel[f"averaged{then}"] - novel[f"nearest{then}"])
            listed = ", ".join(f"{gap:+.1f}" for gap in gaps)
            lines.append(f"- {shots} shown, {told} fine-tuning: {listed}")
    path = RESULTS / "imprinting_summary.md"
    path.write_text("\n".join(lines) + "\n")
    print(path.read_text())


if __name__ == "__main__":
    command_line(EXPERIMENT, __file__, __doc__, {"summary": summary})
