"""Pictures of a set and the sub-class that each is nearest to; those trained on keep their own.

Legend: N pictures, D embedding dimension, K sub-classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from likeness.bundle import Bundle
from likeness.data.manifest import Manifest
from likeness.inference.blocks import Block
from likeness.inference.hashed import answer_hashed
from likeness.inference.predictor import Predictor
from likeness.inference.readouts import nearest_centre
from likeness_apps.facial_expression.variants.found import Divided
from likeness_apps.shell.console import progress

TRAINED, NEAREST = "training", "nearest mean"  # how a picture came to its sub-class


def assign(
    one: Divided, manifest: Manifest, *, batch_size: int, device: str, quiet: bool
) -> pd.DataFrame:
    """One row per picture of a set.

    Columns: path, status, reason, truth (the set's own label, "" where it has none), subclass, how
    (`TRAINED`: the picture is one of the model's training pictures, by content, and is where it was
    put with them; `NEAREST`: the nearest mean of all sub-classes, whatever the label), distance (to
    that mean), sha256, model_id.

    Args:
        one: the model's sub-classes.
        manifest: the set; its labels may be missing.
        batch_size: pictures per forward pass.
        device: where the network runs.
        quiet: no progress.
    """
    known = dict(zip(one.pictures["sha256"], one.pictures.index, strict=True))
    paths = manifest.table["path"].tolist()
    predictor = Predictor(one.bundle, batch_size=batch_size, columns="embed", device=device)
    with progress("assigning", quiet=quiet) as advance:
        asked = answer_hashed(
            predictor,
            paths,
            manifest.root,
            wanted=lambda row, sha256: sha256 not in known,
            on_progress=advance,
        )
    table = pd.DataFrame(
        {
            "path": paths,
            "status": "ok",
            "reason": "",
            "truth": manifest.table["label"].fillna("").to_numpy(),
            "subclass": "",
            "how": TRAINED,
            "distance": np.nan,
            "sha256": asked.sha256,
            "model_id": one.bundle.model_id,
        }
    )
    trained_N = table["sha256"].isin(known.keys()).to_numpy()
    rows_M = table["sha256"][trained_N].map(known).to_numpy(np.int64)
    table.loc[trained_N, ["subclass", "distance"]] = _own(one, rows_M).to_numpy()
    for place, block in _placed(asked.rows_A, asked.blocks):
        good = place[block.ok_B]
        found, far = _nearest(one, block.embeddings_BD[block.ok_B])
        table.loc[place, "how"] = NEAREST
        table.loc[good, "subclass"], table.loc[good, "distance"] = found, far
        reasons = np.array(block.reasons, dtype=object)[~block.ok_B]
        table.loc[place[~block.ok_B], ["status", "how"]] = "error", ""
        table.loc[place[~block.ok_B], "reason"] = reasons
    return table


def subclass_names(rows_ND: Float[np.ndarray, "N D"], bundle: Bundle) -> list[str] | None:
    """The name of the sub-class whose mean is nearest to each row; None if the model has none.

    Args:
        rows_ND: raw embeddings, or as the space compares them.
        bundle: the model.
    """
    record = bundle.subclasses
    if record is None:
        return None
    names = record.names(bundle.classes)
    place_N = nearest_centre(rows_ND, record.means_KD.numpy(), space=bundle.space).labels_N
    return [names[place] for place in place_N]


def _placed(rows_A: np.ndarray, blocks: Sequence[Block]) -> Iterator[tuple[np.ndarray, Block]]:
    """The rows of the table behind each block."""
    start = 0
    for block in blocks:
        end = start + len(block.ok_B)
        yield rows_A[start:end], block
        start = end


def _own(one: Divided, rows_M: np.ndarray) -> pd.DataFrame:
    """Name and distance of the sub-class of training pictures."""
    found = one.found
    place_M = np.searchsorted(found.numbers_K, found.assigned_N[rows_M])
    gap_M = np.linalg.norm(one.rows_ND[rows_M] - found.means_KD[place_M], axis=1)
    names = [one.names[number] for number in found.assigned_N[rows_M]]
    return pd.DataFrame({"subclass": names, "distance": gap_M.astype(float)})


def _nearest(one: Divided, rows_MD: np.ndarray) -> tuple[list[str], np.ndarray]:
    found = one.found
    place_M = nearest_centre(rows_MD, found.means_KD, space=one.bundle.space).labels_N
    gap_M = np.linalg.norm(rows_MD - found.means_KD[place_M], axis=1)
    return [one.names[found.numbers_K[place]] for place in place_M], gap_M.astype(float)
