"""Do modality-aware triplets find photographs by edge maps? Protocol: benchmarks/cross_modal.md.

    LIKENESS_DATA=... python benchmarks/cross_modal.py run [--jobs 2]    resumes where it stopped
    python benchmarks/cross_modal.py summary                             tables of recorded runs

Edge maps are pseudo-sketches: nobody drew them. Every run is a row of results/cross_modal.csv; what
each of them found is in results/cross_modal_items.parquet (file names, labels, figures).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from experiments import CIRCUMSTANCES, Experiment, RunTable, command_line

ARMS = ("untrained", "cross_entropy", "baseline", "within", "plain", "mathm")
DIVISIONS, SIDE = 3, 128
FIGURES = ("map", "map_interpolated", "precision@100", "r_precision")
CODED = tuple(f"codes_{name}" for name in FIGURES)
TABLE = RunTable(
    "cross_modal",
    columns=(
        *("arm", "division", "seed", "status", *FIGURES, *CODED, "images", "seconds"),
        *(*CIRCUMSTANCES, "note"),
    ),
    keys=("arm", "division"),
)


def run_one(arm: str, division: str) -> None:
    """Train and ask one arm on one division of the classes, and record it."""
    known = {"arm": arm, "division": division, "seed": division}
    TABLE.record(known, lambda: train_and_test(arm, int(division)))


def train_and_test(arm: str, division: int, *, changes: tuple[str, ...] = ()) -> dict[str, Any]:
    """The figures of a run; what each edge map found is kept beside them."""
    from likeness_apps.benchmark.cross_modal.measure import asked, build
    from likeness_apps.benchmark.cross_modal.methods import checked
    from likeness_apps.benchmark.protocol import divided
    from likeness_apps.benchmark.training import seeded, train
    from likeness_apps.shell import configs

    base = configs.load("benchmark", "cross_modal", ("workers=0", "precision=bf16-mixed", *changes))
    spec = seeded(checked(base, [arm], apart=True)[arm], division)
    setup = build(spec, divided(both_modalities(), division))
    shown = 0
    if arm != "untrained":
        folder = TABLE.work / f"{arm}-{division}"
        train(setup, folder)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        shown = setup.spec.epochs * sum(map(len, setup.plan.batches(0)))
    found = asked(setup, codes="training", apart=True)
    queries = found.queries.assign(path=found.queries["path"].map(lambda path: Path(path).stem))
    TABLE.keep_items(TABLE.items(), {"arm": arm, "division": division}, queries)
    return {name: found.values[name] for name in (*FIGURES, *CODED)} | {"images": shown}


def both_modalities() -> Any:
    """AID's photographs and their edge maps, which the first job makes."""
    from likeness_apps.benchmark.cross_modal.edges import Edges, with_pseudo_sketches
    from likeness_apps.benchmark.cross_modal.run import readable_sides
    from likeness_apps.benchmark.layouts import recognise
    from likeness_apps.remote_sensing.layouts import recognise as scenes

    data = Path(os.environ["LIKENESS_DATA"]) / "aid"
    groups = scenes(data).table.set_index("path")["group"]  # blocks of ten file numbers
    photos = recognise(data)
    photos = photos.with_table(photos.table.assign(group=photos.table["path"].map(groups)))
    with TABLE.locked():
        both = with_pseudo_sketches(photos, TABLE.work / "edge_maps", Edges("canny", SIDE))
    return readable_sides(both, quiet=True)


JOBS = [(arm, str(division)) for division in range(DIVISIONS) for arm in ARMS]
EXPERIMENT = Experiment(TABLE, JOBS, run_one)


def summary() -> None:
    """Tables from the recorded runs."""
    from cross_modal_summary import summarise

    summarise()


if __name__ == "__main__":
    command_line(EXPERIMENT, __file__, __doc__, {"summary": summary})
