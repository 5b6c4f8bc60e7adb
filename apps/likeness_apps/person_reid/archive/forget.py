"""`forget`: rows, embeddings and small pictures of a person leave an index, whole and for good.

A new index is written beside the old one and takes its place by renaming, then the old one is
removed: a call that is killed leaves one of the two, and the next call removes what is left over.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.errors import require
from likeness.files import atomic_directory, settle_directory
from likeness.search.index import write_index
from likeness_apps.person_reid.archive.statements import is_expired, now
from likeness_apps.person_reid.archive.store import (
    CROP,
    CROPS,
    MODEL,
    Archive,
    open_archive,
    read_log,
    write_log,
    write_readme,
)
from likeness_apps.shell.console import say


def forget(
    path: Path, ids: Sequence[str] = (), *, expired: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Remove people from an index.

    Args:
        path: the index.
        ids: identities or names of tracklets, as they are in `rows.parquet`.
        expired: also everybody, if the retention has ended.
        quiet: say nothing.

    Returns:
        The entry of the audit log; {} if there was nothing to remove.

    Raises:
        UserError: if nobody is named, a name is not in the index, or something old is in the way.
    """
    require(ids or expired, "id", "given: --id X for a person or tracklet, or --expired", "none")
    settle_directory(path)
    archive = open_archive(path)
    gone_G = _named(archive.opened.rows, ids)
    over = expired and is_expired(archive.facts)
    if over:
        gone_G = np.ones(len(gone_G), dtype=bool)
    elif expired:
        say(f"{path}: to be kept until {archive.facts['retention']}, not expired", quiet=quiet)
    if not gone_G.any():
        return {}
    entry = _entry(archive.opened.rows, gone_G, "retention" if over else "request")
    with atomic_directory(path) as folder:
        if not gone_G.all():
            _write_rest(archive, ~gone_G, folder)
        write_log(folder, [*read_log(path), entry])
    settle_directory(path)
    say(
        f"{path}: {entry['tracklets']} tracklets and {entry['pictures']} pictures removed, "
        f"{entry['left']} tracklets left. Recordings, tables and copies elsewhere stay.",
        quiet=quiet,
    )
    return entry


def _named(rows: pd.DataFrame, ids: Sequence[str]) -> np.ndarray:
    """Which rows belong to the identities and tracklets."""
    known = set(rows["label"]) | set(rows["tracklet"])
    unknown = [name for name in ids if name not in known or not name]
    require(not unknown, "id", "an identity or tracklet of the index", ", ".join(unknown))
    return np.asarray(rows["label"].isin(ids) | rows["tracklet"].isin(ids))


def _entry(rows: pd.DataFrame, gone_G: np.ndarray, why: str) -> dict[str, Any]:
    """What goes, in numbers."""
    return {
        "when": now(),
        "event": "forget",
        "why": why,
        "tracklets": int(gone_G.sum()),
        "pictures": int((rows[CROP][gone_G] != "").sum()),
        "left": int((~gone_G).sum()),
    }


def _write_rest(archive: Archive, keep_G: np.ndarray, folder: Path) -> None:
    """The index of those who stay."""
    opened, rows = archive.opened, archive.opened.rows[keep_G]
    write_index(
        folder,
        opened.embeddings_GD[keep_G],
        rows,
        space=opened.space,
        model_id=opened.model_id,
        facts=opened.facts,
    )
    shutil.copytree(archive.path / MODEL, folder / MODEL)
    (folder / CROPS).mkdir()
    for name in rows[CROP][rows[CROP] != ""]:
        if (archive.path / name).is_file():
            shutil.copyfile(archive.path / name, folder / name)
    write_readme(folder, archive.facts, rows)
