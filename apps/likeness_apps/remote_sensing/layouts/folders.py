"""Sets with one folder per class, with or without a layout that is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from likeness.data.class_folders import (
    ClassImage,
    class_folders,
    class_manifest,
    outside_finding,
    require_two,
)
from likeness.data.findings import Finding
from likeness.data.manifest import Manifest
from likeness_apps.remote_sensing.layouts.named import LAYOUTS, SceneLayout

LOOKED_FOR = (
    "AID (Airport/airport_1.jpg), UC Merced (agricultural/agricultural00.tif), EuroSAT "
    "(Forest/Forest_1.tif), another set of the manual, one folder per class with images in it, "
    "or a table with path,label"
)


def read(source: Path, images: Sequence[str]) -> Manifest:
    """The set in `source`.

    Args:
        source: the folder that was given.
        images: the image files in it, relative to it.

    Raises:
        UserError: if the images do not lie in class folders of one set.
    """
    root, found, outside = class_folders(images, str(source), LOOKED_FOR)
    layout = _layout_of(found)
    scenes, findings = _in_layout(layout, found) if layout else (found, [])
    findings += [outside_finding(path) for path in outside]
    name = layout.name if layout else "folder-per-class"
    manifest = class_manifest(source, root, scenes, name, findings)
    return replace(manifest, band_names=layout.band_names) if layout else manifest


def _layout_of(found: Sequence[ClassImage]) -> SceneLayout | None:
    """The first layout that fits; without one, each folder is a class as it is.

    Raises:
        UserError: if there is a single folder and it is no class of a layout.
    """
    classes = {scene.label for scene in found}
    for layout in LAYOUTS:
        known = [scene for scene in found if scene.label in layout.classes]
        named = [scene for scene in known if layout.number(scene.label, scene.file) is not None]
        if 2 * len(classes & layout.classes) >= len(classes) and 2 * len(named) > len(known):
            return layout
    require_two(found, LOOKED_FOR)
    return None


def _in_layout(
    layout: SceneLayout, found: Sequence[ClassImage]
) -> tuple[list[ClassImage], list[Finding]]:
    """The images with their groups; those with a foreign name are left out and told."""
    scenes, findings = [], []
    for scene in found:
        number = layout.number(scene.label, scene.file)
        if scene.label not in layout.classes:
            scenes.append(scene)
        elif number is None:
            message = f"left out: no file name of the {layout.name} layout"
            advice = "rename it like the others, or give a table of paths and labels"
            findings.append(Finding("warning", "foreign-file", scene.path, message, advice))
        else:
            scenes.append(replace(scene, group=layout.group(scene.label, number)))
    for label, count in sorted(Counter(scene.label for scene in scenes).items()):
        if label not in layout.classes:
            message = f"{count} images in a folder that is no class of {layout.name}; kept as one"
            advice = "move the folder away if it is none of yours"
            findings.append(Finding("warning", "unknown-class", label, message, advice))
    return scenes, findings
