"""`embed`: one embedding per tracklet in a file that says what for, why and until when.

Legend: N tracklets with an embedding, D embedding dimension.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from likeness.data.manifest import SPLITS, Manifest
from likeness.errors import require
from likeness.files import atomic_path
from likeness.inference.predictor import Predictor
from likeness.inference.sets import SetPooling
from likeness.inference.tables import EMBEDDING
from likeness_apps.person_reid.archive.inputs import NO_FRAME, empty_tracklets, people_in
from likeness_apps.person_reid.archive.statements import Statements, now, stated
from likeness_apps.person_reid.embedding import ERROR, EmbeddedTracklets, embed_tracklets
from likeness_apps.shell.console import say
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.members import own_bundle

BIOMETRIC = "biometric data of people: remove this file when its retention has ended"
SUFFIXES = (".parquet", ".npy")


def embed(
    domain: Domain,
    model: Path,
    data: Path,
    out: Path,
    *,
    purpose: str,
    legal_basis: str,
    retention: str,
    split: str = "all",
    frames: SetPooling = "mean",
    batch_size: int = 64,
    device: str = "cpu",
    quiet: bool = False,
) -> pd.DataFrame:
    """Write one row per tracklet, and its embedding as the model's space compares it.

    Args:
        domain: the application.
        model: a bundle or a run.
        data: a set, a table, or a folder, see `inputs.people_in`.
        out: new: `F.parquet` with a column `embedding` (D float32, null where the status is error),
            or `F.npy` (N, D) of the rows with status ok, in the order of `F.parquet` beside it: the
            two files that `score` takes. The statements are in the metadata of `F.parquet`.
        purpose: what it is for.
        legal_basis: why it may be kept.
        retention: until when, YYYY-MM-DD.
        split: of the set: train, val, test or all.
        frames: how the frames of a tracklet become one row, see `embed_sets`.
        batch_size: frames per forward pass.
        device: where the network runs.
        quiet: say nothing.

    Returns:
        The rows: what is known of a tracklet, path (of its first frame), frames, used (those behind
        the embedding), status, reason, sha256, model_id.

    Raises:
        UserError: if a statement is missing, `out` is not free, or nothing can be read.
    """
    statements = stated(purpose, legal_basis, retention)
    require_free(out)
    bundle = own_bundle(domain, model)
    predictor = Predictor(bundle, batch_size=batch_size, columns="embed", device=device)
    manifest = _part(people_in(domain, data), split)
    found = embed_tracklets(predictor, manifest.table, manifest.root, how=frames, quiet=quiet)
    rows = _rows(found, manifest).assign(model_id=predictor.model_id)
    _write(rows, found.embeddings_ND, out, _facts(domain, predictor, statements, frames))
    failed = len(rows) - len(found.embeddings_ND)
    told = f", {failed} failed (column reason says why)" if failed else ""
    say(f"{out}: {len(found.embeddings_ND)} tracklets{told}", quiet=quiet)
    say(f"Biometric data: remove it after {statements.retention}.", quiet=quiet)
    if out.suffix == ".npy" and (rows["label"] != "").all():
        named = " ".join(shlex.quote(str(file)) for file in (out.with_suffix(".parquet"), out))
        say(f"Next: likeness {domain.name} score {named} --out RESULT", quiet=quiet)
    return rows


def require_free(out: Path) -> None:
    """Refuse a name that cannot be written, before any work.

    Raises:
        UserError: unless it is that of a new .parquet or .npy file.
    """
    rule = f"a new file that ends in {' or '.join(SUFFIXES)}"
    require(out.suffix in SUFFIXES, "out", rule, str(out))
    for file in (out, out.with_suffix(".parquet")):
        require(not file.exists(), "out", rule, str(file))


def _part(manifest: Manifest, split: str) -> Manifest:
    """The rows of one split."""
    require(split in (*SPLITS, "all"), "split", f"one of {', '.join(SPLITS)} or all", split)
    if split == "all":
        return manifest
    table = manifest.table[manifest.table["split"] == split].reset_index(drop=True)
    require(len(table) > 0, "split", f"one that {manifest.layout} has rows of", split)
    return manifest.with_table(table)


def _rows(found: EmbeddedTracklets, manifest: Manifest) -> pd.DataFrame:
    """One row per tracklet, folders without a frame among them."""
    kinds, numbers = found.table.dtypes, {"frames": 0, "used": 0}
    known = {"tracklet": empty_tracklets(manifest), "status": ERROR, "reason": NO_FRAME, **numbers}
    bare = pd.DataFrame({**dict.fromkeys(kinds.index, ""), **known}).astype(kinds)
    return pd.concat([found.table, bare], ignore_index=True)


def _facts(
    domain: Domain, predictor: Predictor, statements: Statements, frames: SetPooling
) -> dict[str, str]:
    """What must be known of the file, as text."""
    return {
        **predictor.terms,
        **statements.facts(),
        "app": domain.name,
        "notice": f"{domain.notice} {BIOMETRIC}",
        "created": now(),
        "model_id": predictor.model_id,
        "settings": json.dumps(dict(predictor.settings), sort_keys=True),
        "frames": frames,
        "dim": str(predictor.embedding_dim),
        "dtype": "float32",
    }


def _write(
    rows: pd.DataFrame, embeddings_ND: np.ndarray, out: Path, facts: Mapping[str, str]
) -> None:
    """The rows, which come last, and the embeddings in them or before them."""
    table = pa.Table.from_pandas(rows, preserve_index=False)
    with ExitStack() as files:
        parquet = files.enter_context(atomic_path(out.with_suffix(".parquet")))
        if out.suffix == ".npy":
            with files.enter_context(atomic_path(out)).open("wb") as handle:
                np.save(handle, embeddings_ND, allow_pickle=False)
            facts = {**facts, "embeddings": f"{out.name}, the rows with status ok in this order"}
        else:
            table = table.append_column(EMBEDDING, _vectors(rows, embeddings_ND))
        pq.write_table(table.replace_schema_metadata(dict(facts)), parquet)


def _vectors(rows: pd.DataFrame, embeddings_ND: np.ndarray) -> pa.Array:
    """The embeddings as a column, null where the status is error."""
    failed = np.asarray(rows["status"] == ERROR)
    full = np.full((len(rows), embeddings_ND.shape[1]), np.nan, np.float32)
    full[~failed] = embeddings_ND
    kind = pa.list_(pa.float32(), full.shape[1])
    values = pa.array(full.ravel(), pa.float32())
    return pa.FixedSizeListArray.from_arrays(values, type=kind, mask=pa.array(failed))
