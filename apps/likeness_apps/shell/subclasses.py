"""The sub-classes of a finished run: found once more in the model that is kept, written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.files import atomic_path
from likeness.subclasses import (
    Subclasses,
    SubclassRecord,
    agreement_inside,
    discover,
    record_of,
    subclass_name,
)
from likeness.training.loop import FitResult
from likeness_apps.shell.setup import Setup

TABLE = "subclasses.csv"


def conclude_subclasses(
    out: Path, setup: Setup, result: FitResult, embeddings_ND: np.ndarray, kept_N: np.ndarray
) -> tuple[SubclassRecord | None, dict[str, Any]]:
    """What the bundle keeps of a run's sub-classes, and the entry `subclasses` of its metrics.

    The model that is kept may be of an earlier epoch than the last round: its training images are
    divided once more, and the numbers matched to those of that round. Which image is in which goes
    into `subclasses.csv` of the run, never into the model.

    Args:
        out: the run directory.
        setup: the run.
        result: its training.
        embeddings_ND: raw embeddings of the training images by the model that is kept.
        kept_N: their rows in the training split.

    Returns:
        None and nothing for a run without sub-classes.
    """
    spec = setup.spec.subclasses
    if spec is None or result.subclasses_RN is None:
        return None, {}
    classes, training = setup.prepared.labels.classes, setup.splits["train"]
    rounds_RN = result.subclasses_RN.long().numpy()[:, kept_N]
    labels_N = training.targets[kept_N]
    found = discover(
        embeddings_ND,
        labels_N,
        num_classes=len(classes),
        space=setup.spec.model.space,
        components=max(spec.first, spec.components(result.epochs)),
        slots=spec.most,
        kind=spec.kind,
        min_images=spec.min_images,
        before_N=rounds_RN[-1],
        seed=setup.spec.seed,
    )
    _write(out / TABLE, training.table.iloc[kept_N], found, rounds_RN, classes)
    record = record_of(found)
    agreement, _ = agreement_inside(labels_N, rounds_RN[-1], found.assigned_N)
    told = {
        "images": dict(zip(record.names(classes), record.sizes_K.tolist(), strict=True)),
        "per_round": [len(np.unique(round_N)) for round_N in rounds_RN],
        "agreement_with_last_round": agreement,
    }
    return record, {"subclasses": told}


def _write(
    path: Path, rows: pd.DataFrame, found: Subclasses, rounds_RN: np.ndarray, classes: list[str]
) -> None:
    """One row per training image: its sub-class now, how surely, and in each round."""
    slots = found.slots
    every = range(len(classes) * slots)
    name_K = np.array([subclass_name(classes[one // slots], one % slots) for one in every])
    table = pd.DataFrame(
        {
            "path": rows["path"].to_numpy(),
            "label": rows["label"].to_numpy(),
            "subclass": name_K[found.assigned_N],
            "certainty": found.certainty_N.round(6),
            **{f"round_{place}": name_K[round_N] for place, round_N in enumerate(rounds_RN)},
        }
    )
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
