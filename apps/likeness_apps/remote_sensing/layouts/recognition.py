"""Which layout a folder is in.

Known by themselves: the sets of `named.py`, UC Merced with several labels, Brazilian Coffee Scenes,
BigEarthNet, any folder with one subfolder per class, and a table. Paths are relative to the folder
of the class folders (or of the split folders above them), whichever of the folders around it was
given.
"""

from __future__ import annotations

from pathlib import Path

from likeness.data.listing import foreign_findings, images_in, walk
from likeness.data.manifest import Manifest
from likeness.data.split_lists import apply_lists, as_list
from likeness.data.tables import TABLE_SUFFIXES, read_table
from likeness.errors import require
from likeness_apps.remote_sensing.layouts import bigearthnet, coffee, folders, multilabel


def recognise(path: Path | str, *, labelled: bool = True) -> Manifest:
    """Read a set of scenes, whatever its layout.

    Args:
        path: the folder of a set, the one above or below it, or a .csv or .parquet table.
        labelled: without it any image, folder of images or table of paths will do, and the labels
            are those of the table or empty.

    Returns:
        The manifest; `layout` is a dataset card's name, `folder-per-class`, `table` or `images`.
        Splits come from folders (train, val, test above the class folders) or from lists
        (`train.txt`, `uc_merced-train.txt`, `train.csv`). Files that are no images of the set are
        left out and told as warnings.

    Raises:
        UserError: in one sentence, if there is nothing there or nothing that is known.
    """
    source = Path(path)
    require(source.exists(), "data", "an existing folder or table", str(path))
    if source.is_file():
        if source.suffix.lower() in TABLE_SUFFIXES:
            return read_table(source, labelled=labelled)
        rule = "a folder or a .csv or .parquet table (archives must be unpacked)"
        require(not labelled, "data", rule, str(path))
    if source.is_dir() and bigearthnet.is_patches(source):
        return bigearthnet.read(source, labelled=labelled)
    if not labelled:
        return images_in(source)
    images, foreign = walk(source)
    require(images, "data", "a folder with image files in it", str(path))
    lists = {name: found for name in foreign if (found := as_list(name))}
    others = [name for name in foreign if name not in lists]
    if table := multilabel.find(others):
        others.remove(table)
        manifest = multilabel.read(source, table, images)
    elif folds := coffee.find(others):
        others = [name for name in others if name not in folds]
        manifest = coffee.read(source, folds, images)
    else:
        manifest = folders.read(source, images)
        others, unread = multilabel.set_aside(others)
        manifest = manifest.with_findings(*unread)
    manifest = apply_lists(manifest, source, lists)
    return manifest.with_findings(*foreign_findings(others))
