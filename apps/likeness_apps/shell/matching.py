"""Which picture of a data set is which picture of a model's splits: by content, not by name.

A picture that was trained on is never mistaken for a test picture, whatever its name or folder.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from likeness.bundle import Bundle
from likeness.data.decode import DecodeError, read_bytes
from likeness.data.manifest import Manifest
from likeness.errors import UserError
from likeness_apps.shell.console import progress, say
from likeness_apps.shell.data import labelled_rows

EXTERNAL = "external"  # no picture of this set was in the model's splits


def content_hashes(manifest: Manifest, *, quiet: bool) -> list[str]:
    """SHA-256 of every file of the manifest; "" where it cannot be read."""
    hashes = []
    paths = manifest.table["path"].tolist()
    with progress("matching", quiet=quiet) as advance:
        for done, name in enumerate(paths, start=1):
            try:
                hashes.append(hashlib.sha256(read_bytes(manifest.file(name))).hexdigest())
            except DecodeError:
                hashes.append("")
            advance(done, len(paths))
    return hashes


def split_of(manifest: Manifest, bundle: Bundle, hashes: Iterable[str]) -> pd.Series:
    """The saved split of every row by content, "" for a picture that the model never knew."""
    return _saved_cells(bundle, "split", _saved_rows(manifest, bundle, hashes))


def _saved_rows(manifest: Manifest, bundle: Bundle, hashes: Iterable[str]) -> list[int]:
    saved = bundle.splits
    return match_rows(hashes, manifest.table["path"], saved["sha256"], saved["path"])


def _saved_cells(bundle: Bundle, column: str, rows: Iterable[int]) -> pd.Series:
    """A column of the saved splits, row by row; "" where there is none."""
    cells = bundle.splits[column].tolist()
    return pd.Series([cells[row] if row >= 0 else "" for row in rows], dtype=str)


def match_rows(
    hashes: Iterable[str], paths: Iterable[str], saved_hashes: pd.Series, saved_paths: pd.Series
) -> list[int]:
    """For each file the saved row with the same content, or -1; no row is given twice.

    Where several rows have one content, equal paths go together first and the rest in saved order,
    so that copies of one picture neither multiply nor change their split.

    Args:
        hashes: of the files; "" never matches.
        paths: of the files.
        saved_hashes: of the saved rows.
        saved_paths: of the saved rows.
    """
    saved_keys = zip(saved_hashes, saved_paths, strict=True)
    exact = {key: row for row, key in enumerate(saved_keys) if key[0]}
    keys = list(zip(hashes, paths, strict=True))
    found = [exact.get(key, -1) for key in keys]
    taken = set(found)
    free: defaultdict[str, deque[int]] = defaultdict(deque)
    for row, content in enumerate(saved_hashes):
        if content and row not in taken:
            free[content].append(row)
    for place, (content, _) in enumerate(keys):
        if found[place] < 0 and free.get(content):
            found[place] = free[content].popleft()
    return found


def wanted_rows(
    manifest: Manifest, bundle: Bundle, split: str, classes: Sequence[str]
) -> Callable[[int, str], bool]:
    """Whether a row of this content may be among those that `select_rows` will choose.

    So that a file need be read only once: its content says whether it is asked about, before all
    files are known. Strangers may turn out to be an external test set, until a picture of the
    model's own data is met. `classes` are the labels that can be measured.
    """
    labelled = (manifest.table["label"] != "").tolist()
    saved = bundle.splits
    own = set(saved["sha256"])
    chosen = set(saved["sha256"][saved["split"] == split])
    measurable = set(manifest.classes) <= set(classes)  # a whole set with others is refused
    everything, strangers = measurable and split == "all", measurable and split == "test"

    def wanted(row: int, sha256: str) -> bool:
        nonlocal strangers
        strangers = strangers and sha256 not in own
        return labelled[row] and (everything or strangers or sha256 in chosen)

    return wanted


def strangers_only(manifest: Manifest, bundle: Bundle, rule: str) -> Callable[[int, str], bool]:
    """As `wanted_rows`, for a set of which the model may have seen no picture, in any split.

    Args:
        manifest: the set.
        bundle: the model.
        rule: what data must be, for the message; it is raised as soon as such a picture is met.
    """
    labelled = (manifest.table["label"] != "").tolist()
    split_by = dict(zip(bundle.splits["sha256"], bundle.splits["split"], strict=True))

    def wanted(row: int, sha256: str) -> bool:
        if sha256 and sha256 in split_by:
            path = manifest.table["path"].iloc[row]
            own = split_by[sha256]
            raise UserError(f"data must be {rule}, got {path}, which is in its {own} split")
        return bool(labelled[row])

    return wanted


def require_apart(name: str, bundle: Bundle, table: pd.DataFrame) -> None:
    """Refuse a model to learn from whose training images are validation or test images here.

    What it knows of them would be in the figures, and in the choice of the epoch. (Of the models
    that it came from itself nothing is known here but their names.)

    Args:
        name: what the model is to the run, for the message: `start` or `teacher`.
        bundle: the model.
        table: the run's rows with `sha256`, `split` and `path`.

    Raises:
        UserError: with their number and the first of them.
    """
    saved = bundle.splits
    trained = set(saved["sha256"][saved["split"] == "train"]) - {""}
    held_out = table[table["split"].isin(["val", "test"])]
    found = held_out["path"][held_out["sha256"].isin(trained)]
    if len(found):
        raise UserError(
            f"{name} must be a model that was not trained on validation or test images of this run "
            f"(the same seed and shares divide the same data alike; a table with a column split "
            f"says who is where), got {bundle.model_id}, trained on {len(found)} of "
            f"{len(held_out)}, the first {found.iloc[0]}"
        )


def select_rows(
    manifest: Manifest, bundle: Bundle, split: str, hashes: Iterable[str], *, quiet: bool
) -> tuple[pd.DataFrame, str]:
    """The rows to measure, in order and under their own index, and the name of their split.

    A picture of the model's own data has the group that it had in training: groups may be blocks
    on the ground, of which the data set itself knows nothing.

    Raises:
        UserError: if there are none.
    """
    rows = _saved_rows(manifest, bundle, hashes)
    groups = _saved_cells(bundle, "group", rows).set_axis(manifest.table.index)
    table = manifest.table.assign(group=groups.where(groups != "", manifest.table["group"]))
    if split == "all":
        return labelled_rows(table, quiet=quiet), "all"
    found = _saved_cells(bundle, "split", rows)
    if (found == split).any():
        missing = int((bundle.splits["split"] == split).sum()) - int((found == split).sum())
        if missing:
            say(f"{missing} images of the model's {split} split are not in the data", quiet=quiet)
        labelled = (manifest.table["label"] != "").to_numpy()
        return table[labelled & (found == split).to_numpy()], split
    if split == "test" and not (found != "").any():
        # A set that the model never saw is one test set, labels and all.
        return labelled_rows(table, quiet=quiet), EXTERNAL
    seen = ", ".join(f"{count} of {name}" for name, count in found.value_counts().items() if name)
    raise UserError(
        f"data must hold pictures of the model's {split} split, got {seen or 'none of any split'}"
    )
