"""Stanford Online Products: its own lists say which products train and which are searched."""

from __future__ import annotations

from pathlib import Path

from likeness.data.manifest import Manifest
from likeness_apps.benchmark.layouts.tree import Listed, beside, manifest_of, read_rows

NAME = "sop"
LISTS = {"train": "Ebay_train.txt", "test": "Ebay_test.txt"}


def find(source: Path) -> Path | None:
    """The folder Stanford_Online_Products, if `source` is it or beside it."""
    return beside(source, LISTS["train"])


def read(root: Path) -> Manifest:
    """The set in its folder.

    Raises:
        UserError: if a list is missing or broken.
    """
    listed = []
    for split, name in LISTS.items():
        for _, number, _, path in read_rows(root / name, 4, skip=1):
            listed.append(Listed(path, number.zfill(5), split))
    return manifest_of(root, NAME, listed)
