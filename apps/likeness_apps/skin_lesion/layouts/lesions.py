"""From image files and what tables say of them to a Manifest: common to all public lesion sets."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath

from likeness.data.findings import Finding
from likeness.data.manifest import Manifest, build, unlabelled_findings
from likeness.data.masks import image_of_mask
from likeness_apps.skin_lesion.diagnoses import names_of

UNKNOWN = "unknown"
IMAGE = re.compile(r"^ISIC_\d{7}(?:_downsampled)?\.(?i:jpe?g)$")
# Superpixels and attribute masks are other tasks' files.
_COMPANION = re.compile(r"^ISIC_\d{7}_(?:superpixels|attribute_[a-z_]+)\.png$")
_SEXES = {"male": "male", "m": "male", "female": "female", "f": "female"}


@dataclass(frozen=True)
class Known:
    """What tables say of one image; empty text where they do not.

    Attributes:
        label: the class.
        split: train, val or test.
        lesion: which lesion it shows.
        age: years as text, `unknown` where the set has ages but not this one's.
        sex: `male`, `female` or `unknown`.
        localization: where on the body, or `unknown`.
        dx_type: how the diagnosis was made. It tells the diagnosis almost: never a feature.
    """

    label: str = ""
    split: str = ""
    lesion: str = ""
    age: str = ""
    sex: str = ""
    localization: str = ""
    dx_type: str = ""


_EXTRA = [field.name for field in fields(Known) if field.name not in ("label", "split", "lesion")]


def lesion_manifest(
    source: Path,
    layout: str,
    images: Mapping[str, str],
    known: Mapping[str, Known],
    masks: Mapping[str, str],
    findings: Sequence[Finding] = (),
) -> Manifest:
    """The images as a set, relative to the folder above their own folders.

    Args:
        source: the folder that was given.
        layout: its name.
        images: path of each image, relative to `source`, by its name without ending.
        known: by the same name; an image that is missing here has no label and is told.
        masks: path of the lesion's mask by the same name.
        findings: what was noticed.

    Returns:
        The manifest. Columns beyond the standard ones: `diagnosis`, then those of `Known` that the
        set has, and `mask` ("" = none) where there are masks.
    """
    above = [PurePosixPath(path).parent.parent for path in images.values()]
    root = os.path.commonpath(above) or "."
    rows = [known.get(stem, Known()) for stem in images]
    paths = [os.path.relpath(path, root) for path in images.values()]
    labels = [row.label for row in rows]
    columns = {
        "path": paths,
        "label": labels,
        "split": [row.split for row in rows],
        "group": [row.lesion for row in rows],
        "diagnosis": names_of(labels),
    }
    for name in _EXTRA:
        cells = [getattr(row, name) for row in rows]
        if any(cells):
            columns[name] = [cell or UNKNOWN for cell in cells]
    if masks:
        found = [masks.get(stem, "") for stem in images]
        columns["mask"] = [os.path.relpath(path, root) if path else "" for path in found]
    told = [*findings, *unlabelled_findings(paths, labels), *lesion_findings(columns["group"])]
    return build(source.absolute() / root, columns, layout, told)


def set_aside(images: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The images of lesions, and the masks by the name of their image; companions are dropped."""
    masks = {}
    kept = []
    for path in images:
        name = PurePosixPath(path).name
        stem = image_of_mask(name)
        if stem is not None:
            masks[stem] = path
        elif not _COMPANION.match(name):
            kept.append(path)
    return kept, masks


def age_text(cell: str) -> str:
    """An age in whole years, or `unknown`: `80.0` is 80, nothing and words are unknown."""
    try:
        years = float(cell)
    except ValueError:
        return UNKNOWN
    return str(round(years)) if math.isfinite(years) and years >= 0 else UNKNOWN


def sex_text(cell: str) -> str:
    """`male`, `female` or `unknown`."""
    return _SEXES.get(cell.lower(), UNKNOWN)


def place_text(cell: str) -> str:
    """Where on the body, in lower case, or `unknown`."""
    return cell.lower() or UNKNOWN


def lesion_findings(lesions: Sequence[str]) -> list[Finding]:
    """One warning if some images, those with an empty text, do not say which lesion they show."""
    without = sum(not lesion for lesion in lesions)
    if not without:
        return []
    message = f"{without} images do not say which lesion they show; each is a group of its own"
    advice = "expect flattering figures if the set shows lesions more than once"
    return [Finding("warning", "no-lesion-ids", "", message, advice)]
