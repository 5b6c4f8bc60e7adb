"""CARS196 (Stanford Cars): the first 98 models train, the other 98 are searched.

Two downloads are around, with the same pictures: `cars_annos.mat` with the folder `car_ims`, and
the folders `cars_train` and `cars_test` with a `devkit` of tables (whose split is for other uses).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from likeness.data.manifest import Manifest
from likeness.errors import UserError, require
from likeness_apps.benchmark.layouts.tree import Listed, beside, manifest_of

NAME, WHOLE, META = "cars196", "cars_annos.mat", "devkit/cars_meta.mat"
PARTS = {
    "cars_train": ("devkit/cars_train_annos.mat",),
    "cars_test": ("cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat"),
}


def find(source: Path) -> Path | None:
    """The folder with the annotations, if `source` is it or beside it."""
    return beside(source, WHOLE) or beside(source, META)


def read(root: Path) -> Manifest:
    """The set in its folder.

    Raises:
        UserError: if a .mat file is missing, broken or without labels.
    """
    whole = (root / WHOLE).is_file()
    classes = [str(name) for name in _variable(root / (WHOLE if whole else META), "class_names")]
    half = len(classes) // 2
    listed = []
    for path, number in _whole(root) if whole else _parts(root):
        require(1 <= number <= len(classes), "class", f"from 1 to {len(classes)}", number)
        split = "train" if number <= half else "test"
        listed.append(Listed(path, f"{number:03d}.{classes[number - 1]}", split))
    return manifest_of(root, NAME, listed)


def _whole(root: Path) -> Iterator[tuple[str, int]]:
    for row in _records(root / WHOLE, ("relative_im_path", "class")):
        yield str(row["relative_im_path"]), int(row["class"])


def _parts(root: Path) -> Iterator[tuple[str, int]]:
    for folder, tables in PARTS.items():
        table = next((root / name for name in tables if (root / name).is_file()), None)
        if table is None:
            raise UserError(f"data must hold {tables[-1]}, got none in {root}")
        for row in _records(table, ("fname", "class")):
            yield f"{folder}/{row['fname']}", int(row["class"])


def _records(path: Path, fields: tuple[str, ...]) -> np.ndarray:
    """The table `annotations`, one row per image."""
    table = np.atleast_1d(_variable(path, "annotations"))
    missing = [name for name in fields if name not in (table.dtype.names or ())]
    require(not missing, path.name, f"a table with {' and '.join(fields)}", "another")
    return table


def _variable(path: Path, key: str) -> Any:
    """A variable of a .mat file (version 7 or older).

    Raises:
        UserError: if the file cannot be read or has none of that name.
    """
    from scipy.io import loadmat

    try:
        found = loadmat(path, variable_names=[key], appendmat=False, squeeze_me=True)
    except Exception as error:  # a broken file makes it raise whatever it stumbles on
        raise UserError(f"{path.name} must be a readable .mat file, got {error}") from error
    require(key in found, path.name, f"a file with the variable {key!r}", "none of that name")
    return np.atleast_1d(found[key])
