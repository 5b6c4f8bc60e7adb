"""CUB-200-2011: birds. The first 100 classes train, the other 100 are searched."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from likeness.data.manifest import Manifest
from likeness.errors import UserError, require
from likeness_apps.benchmark.layouts.tree import Listed, beside, manifest_of, read_rows

NAME, LIST, SPLIT = "cub200", "image_class_labels.txt", "train_test_split.txt"


def find(source: Path) -> Path | None:
    """The folder CUB_200_2011, if `source` is it or beside it."""
    return beside(source, LIST)


def read(root: Path) -> Manifest:
    """The set in its folder; for its own split into train and test images see `own_training`.

    Raises:
        UserError: if a list is missing or broken.
    """
    paths = dict(read_rows(root / "images.txt", 2))
    names = dict(read_rows(root / "classes.txt", 2))
    half = len(names) // 2
    listed = []
    for image, number in read_rows(root / LIST, 2):
        require(image in paths, LIST, "a list of the images of images.txt", image)
        require(number in names, LIST, "a list with the classes of classes.txt", number)
        split = "train" if _whole(number) <= half else "test"
        listed.append(Listed(f"images/{paths[image]}", names[number], split))
    return manifest_of(root, NAME, listed)


def own_training(manifest: Manifest) -> np.ndarray:
    """Which images the set itself says are for training, where all its classes are known: (N,).

    Args:
        manifest: of `read`.

    Raises:
        UserError: if the list is missing, broken, or has not all images.
    """
    paths = dict(read_rows(manifest.root / "images.txt", 2))
    said = {
        f"images/{paths[image]}": training == "1"
        for image, training in read_rows(manifest.root / SPLIT, 2)
        if image in paths
    }
    missing = [path for path in manifest.table["path"] if path not in said]
    require(not missing, SPLIT, "a list of all images", f"none of {' '.join(missing[:1])}")
    return np.array([said[path] for path in manifest.table["path"]])


def _whole(number: str) -> int:
    if not number.isdecimal():
        raise UserError(f"classes of {LIST} must be whole numbers, got {number!r}")
    return int(number)
