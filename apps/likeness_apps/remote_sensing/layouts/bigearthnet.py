"""BigEarthNet Sentinel-2 (Sumbul et al. 2019, Clasen et al. 2024): a folder per patch.

A patch is a folder `<patch>` with `<patch>_B01.tif` and so on, one band per file at 10, 20 or 60 m,
read as one image by `likeness.data.decode`. Version 1 has a `<patch>_labels_metadata.json` in each
folder; version 2 has folders of tiles above the patches and one `metadata.parquet`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from likeness.data.band_folder import band_files
from likeness.data.findings import Finding
from likeness.data.manifest import Manifest, build, join_labels, split_name, unlabelled_findings
from likeness.data.split_lists import apply_lists, as_list
from likeness.errors import UserError, require

NAME = "bigearthnet-s2"
BANDS = (
    *("B01", "B02", "B03", "B04", "B05", "B06"),
    *("B07", "B08", "B09", "B11", "B12", "B8A"),
)
METADATA = "metadata.parquet"
# Sensor, level and time; in version 2 baseline, orbit and tile too; column and row in the tile.
_PATCH = re.compile(r"^S2[A-D]_MSIL(?:1C|2A)_\d{8}T\d{6}_(?:N\d{4}_R\d{3}_T\d\d[A-Z]{3}_)?\d+_\d+$")
_NATURE = "Land principally occupied by agriculture, with significant areas of natural vegetation"
_GRASS = "Natural grassland and sparsely vegetated areas"
_HEATH = "Moors, heathland and sclerophyllous vegetation"
# The 43 labels of version 1 in the 19 classes of Sumbul et al. 2021; eleven are in none.
CLASSES = {
    "Urban fabric": ("Continuous urban fabric", "Discontinuous urban fabric"),
    "Industrial or commercial units": ("Industrial or commercial units",),
    "Arable land": ("Non-irrigated arable land", "Permanently irrigated land", "Rice fields"),
    "Permanent crops": (
        "Vineyards",
        "Fruit trees and berry plantations",
        "Olive groves",
        "Annual crops associated with permanent crops",
    ),
    "Pastures": ("Pastures",),
    "Complex cultivation patterns": ("Complex cultivation patterns",),
    _NATURE: (_NATURE,),
    "Agro-forestry areas": ("Agro-forestry areas",),
    "Broad-leaved forest": ("Broad-leaved forest",),
    "Coniferous forest": ("Coniferous forest",),
    "Mixed forest": ("Mixed forest",),
    _GRASS: ("Natural grassland", "Sparsely vegetated areas"),
    _HEATH: ("Moors and heathland", "Sclerophyllous vegetation"),
    "Transitional woodland, shrub": ("Transitional woodland/shrub",),
    "Beaches, dunes, sands": ("Beaches, dunes, sands",),
    "Inland wetlands": ("Inland marshes", "Peatbogs"),
    "Coastal wetlands": ("Salt marshes", "Salines"),
    "Inland waters": ("Water courses", "Water bodies"),
    "Marine waters": ("Coastal lagoons", "Estuaries", "Sea and ocean"),
}
DROPPED = frozenset(
    (
        *("Road and rail networks and associated land", "Port areas", "Airports"),
        *("Mineral extraction sites", "Dump sites", "Construction sites", "Green urban areas"),
        *("Sport and leisure facilities", "Bare rock", "Burnt areas", "Intertidal flats"),
    )
)
_CLASS_OF = {old: new for new, olds in CLASSES.items() for old in (new, *olds)}


def is_patches(source: Path) -> bool:
    """Whether there is a patch folder in `source`, or it is one."""
    return next(_patches(source), None) is not None


def read(source: Path, *, labelled: bool = True) -> Manifest:
    """The patches below `source`, each one image with the 19 classes for labels.

    Args:
        source: the folder that was given.
        labelled: without it no labels are looked for.

    Returns:
        A multi-label manifest whose paths are patch folders. Patches that lack a band or have
        broken labels are left out and told as errors; those without a label, as warnings.

    Raises:
        UserError: if no patch is whole, no labels are there, or `metadata.parquet` lacks a column.
    """
    root = source.absolute()
    root = root.parent if _PATCH.match(root.name) else root
    folders, findings = [], []
    for folder in _patches(source):
        path = folder.relative_to(root).as_posix()
        missing = _missing_bands(folder)
        if missing:
            message, advice = f"left out: no band {', '.join(missing)}", "unpack the patch again"
            findings.append(Finding("error", "missing-band", path, message, advice))
        else:
            folders.append(path)
    require(folders, "data", f"patches with all of their {len(BANDS)} bands", str(source))
    columns = {"path": folders}
    if labelled:
        columns, broken = _labelled(root, source.absolute(), folders)
        findings += [*broken, *unlabelled_findings(columns["path"], columns["label"])]
    manifest = build(root, columns, NAME, findings, multilabel=True)
    manifest = replace(manifest, band_names=BANDS)
    names = sorted(file.name for file in source.iterdir() if file.is_file())
    lists = {name: found for name in names if (found := as_list(name))}  # of version 1
    return apply_lists(manifest, source, lists)


def _patches(source: Path) -> Iterator[Path]:
    """The patch folders; other folders (Sentinel-1, maps) are passed over."""
    for here, folders, _ in os.walk(source.absolute()):
        if _PATCH.match(os.path.basename(here)):
            folders.clear()  # os.walk goes where this list says
            yield Path(here)
        folders.sort()


def _missing_bands(folder: Path) -> list[str]:
    there = {file.stem.rpartition("_")[2] for file in band_files(folder)}
    return [band for band in BANDS if band not in there]


def _labelled(
    root: Path, source: Path, folders: list[str]
) -> tuple[dict[str, list[str]], list[Finding]]:
    """path, label and split: from the one table, else from the file in each folder."""
    tables = [source / METADATA, *sorted(source.glob(f"*/{METADATA}"))]
    table = next((path for path in tables if path.is_file()), None)
    if table is not None:
        return _from_table(table, folders), []
    labels: dict[str, str] = {}
    findings = []
    for folder in folders:
        try:
            labels[folder] = _from_json(root / folder)
        except (OSError, ValueError, KeyError, TypeError, UserError) as error:
            message, advice = f"left out: labels cannot be read: {error}", "unpack the patch again"
            findings.append(Finding("error", "broken-labels", folder, message, advice))
    rule = f"in {METADATA} or in <patch>_labels_metadata.json"
    require(labels, "labels of the patches", rule, "none")
    return {"path": list(labels), "label": list(labels.values())}, findings


def _from_table(table: Path, folders: list[str]) -> dict[str, list[str]]:
    """Version 2: patch_id, labels (a list) and split (train, validation, test)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = pq.read_table(table, columns=["patch_id", "labels", "split"]).to_pydict()
        rows = zip(columns["patch_id"], columns["labels"], columns["split"], strict=True)
    except (OSError, KeyError, pa.ArrowException) as error:
        rule = "a table with patch_id, labels and split"
        reason = str(error).splitlines()[0]
        raise UserError(f"{table.name} must be {rule}, got {reason}") from error
    known = {str(patch): (_cell(names), split_name(str(split))) for patch, names, split in rows}
    found = [known.get(PurePosixPath(folder).name, ("", "")) for folder in folders]
    return {
        "path": folders,
        "label": [cell for cell, _ in found],
        "split": [split or "" for _, split in found],
    }


def _from_json(folder: Path) -> str:
    """Version 1: the labels in `<patch>_labels_metadata.json`."""
    file = folder / f"{folder.name}_labels_metadata.json"
    return _cell(json.loads(file.read_text(encoding="utf-8"))["labels"])


def _cell(names: list[str]) -> str:
    """The 19 classes of a patch as a cell of `label`."""
    for name in names:
        known = name in _CLASS_OF or name in DROPPED
        require(known, "label", "one of BigEarthNet's 19 or 43", name)
    return join_labels(_CLASS_OF[name] for name in names if name in _CLASS_OF)
