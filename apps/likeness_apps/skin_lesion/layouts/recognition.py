"""Which layout a folder is in.

Known by themselves: the ISIC challenges of 2016 to 2019, HAM10000, PH2, DICOM files with labels,
any folder with one subfolder per class, and a table. Paths are relative to the folder above the
folders of images.
"""

from __future__ import annotations

from pathlib import Path

from likeness.data.class_folders import class_folders, class_manifest, outside_finding, require_two
from likeness.data.listing import foreign_findings, walk
from likeness.data.manifest import Manifest
from likeness.data.split_lists import apply_lists, as_list
from likeness.data.tables import TABLE_SUFFIXES, read_table
from likeness.errors import require
from likeness_apps.skin_lesion.layouts import challenges, dicom, ham10000, ph2
from likeness_apps.skin_lesion.layouts.lesions import set_aside

LOOKED_FOR = (
    "ISIC 2017 (ISIC-2017_Training_Data/ISIC_0000000.jpg), HAM10000 (HAM10000_metadata), PH2, "
    "another set of the manual, one folder per class with images in it, DICOM files with a table, "
    "or a table with path,label"
)


def recognise(path: Path | str) -> Manifest:
    """Read a set of lesions, whatever its layout.

    Args:
        path: the folder of a set or one above it, or a .csv or .parquet table.

    Returns:
        The manifest; `layout` is a dataset card's name, `dicom-folder`, `folder-per-class` or
        `table`. Groups are lesions or patients where the set names them. Splits come from the
        folders of a challenge, from train, val, test above class folders, or from lists. Files that
        are no images of the set are left out and told as warnings.

    Raises:
        UserError: in one sentence, if there is nothing there or nothing that is known.
    """
    source = Path(path)
    require(source.exists(), "data", "an existing folder or table", str(path))
    if source.is_file():
        rule = "a folder or a .csv or .parquet table (archives must be unpacked)"
        require(source.suffix.lower() in TABLE_SUFFIXES, "data", rule, str(path))
        manifest = read_table(source)
        return dicom.from_table(source) if dicom.is_listed(manifest) else manifest
    images, others = walk(source)
    manifest, rest = _known(source, images, others) or _folders(source, images, others)
    return manifest.with_findings(*foreign_findings(rest))


def _known(source: Path, images: list[str], others: list[str]) -> tuple[Manifest, list[str]] | None:
    """The one public set in the folder and what is no part of it; None if there is none.

    Raises:
        UserError: if there are several.
    """
    single, masks = set_aside(images)
    published = [known for known in challenges.CHALLENGES if known.images(single)]
    table = ham10000.find(others)
    has_ph2 = any(map(ph2.is_image, single))
    names = [known.name for known in published]
    names += [ham10000.NAME] * (table is not None) + [ph2.NAME] * has_ph2
    require(len(names) < 2, "data", "one set", f"{source} with {' and '.join(names)}")
    if published:
        return challenges.read(source, published[0], single, others, masks)
    if table is not None:
        manifest, rest = ham10000.read(source, table, single, masks)
        return manifest, [*rest, *(path for path in others if path != table)]
    return ph2.read(source, single, others, masks) if has_ph2 else None


def _folders(source: Path, images: list[str], others: list[str]) -> tuple[Manifest, list[str]]:
    """DICOM files with labels, or class folders."""
    files = dicom.find(source, images, others)
    if files:
        chosen = set(files)
        rest = [path for path in (*images, *others) if path not in chosen]
        return dicom.read(source, files, rest, LOOKED_FOR)
    images, _ = set_aside(images)  # masks are found beside their images when they are wanted
    require(images, "data", "a folder with image files in it", str(source))
    lists = {name: given for name in others if (given := as_list(name))}
    root, found, outside = class_folders(images, str(source), LOOKED_FOR)
    require_two(found, LOOKED_FOR)
    told = [outside_finding(path) for path in outside]
    manifest = class_manifest(source, root, found, findings=told)
    manifest = apply_lists(manifest, source, lists)
    return manifest, [name for name in others if name not in lists]
