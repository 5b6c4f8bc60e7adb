"""Which retrieval set a folder is: a published one by its lists, or a folder for each class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from likeness.data.class_folders import class_folders, class_manifest, outside_finding, require_two
from likeness.data.listing import foreign_findings, walk
from likeness.data.manifest import Manifest
from likeness.data.tables import TABLE_SUFFIXES, read_table
from likeness.errors import require
from likeness_apps.benchmark.layouts import cars196, cub200, inshop, sop

# Whether a folder is the set, and the set in it.
PUBLISHED: tuple[tuple[Callable[[Path], Path | None], Callable[[Path], Manifest]], ...] = (
    (cub200.find, cub200.read),
    (cars196.find, cars196.read),
    (sop.find, sop.read),
    (inshop.find, inshop.read),
)
LOOKED_FOR = (
    "CUB-200-2011, CARS196, Stanford Online Products or In-Shop as downloaded, one folder per "
    "class with images in it, or a table with path,label"
)


def recognise(source: Path) -> Manifest:
    """Read a set, whatever its layout.

    Args:
        source: the folder of a set, the one above or below it, or a .csv or .parquet table.

    Returns:
        The manifest. Published sets have their splits into classes to train on and classes to be
        searched; In-Shop's column `role` says query or gallery. Of others the splits are left out:
        whole classes are divided at random later.

    Raises:
        UserError: in one sentence, if there is nothing there or nothing that is known.
    """
    require(source.exists(), "data", "an existing folder or table", str(source))
    if source.is_file():
        fits = source.suffix.lower() in TABLE_SUFFIXES
        require(fits, "data", "a folder or a .csv or .parquet table", str(source))
        return _undivided(read_table(source))
    for find, read in PUBLISHED:
        if root := find(source):
            return read(root)
    images, foreign = walk(source)
    require(images, "data", "a folder with image files in it", str(source))
    root_of, found, outside = class_folders(images, str(source), LOOKED_FOR)
    require_two(found, LOOKED_FOR)
    findings = [*foreign_findings(foreign), *map(outside_finding, outside)]
    return _undivided(class_manifest(source, root_of, found, findings=findings))


def _undivided(manifest: Manifest) -> Manifest:
    """Images of all splits together: classes are divided here, not images."""
    fits = not manifest.multilabel
    require(fits, "data", "images of one class each", "images with several labels")
    return manifest.with_table(manifest.table.assign(split="", role=""))
