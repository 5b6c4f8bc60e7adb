"""Sets with one folder per class, with or without a layout that is known."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from likeness.data.findings import Finding
from likeness.data.manifest import Manifest, build, split_name
from likeness.errors import UserError
from likeness_apps.remote_sensing.layouts.named import LAYOUTS, SceneLayout

_MAIN_SHARE = 0.9  # of the images lie in the set; the rest is previews and the like
LOOKED_FOR = (
    "AID (Airport/airport_1.jpg), UC Merced (agricultural/agricultural00.tif), EuroSAT "
    "(Forest/Forest_1.tif), another set of the manual, one folder per class with images in it, "
    "or a table with path,label"
)


@dataclass(frozen=True)
class Scene:
    """An image in a class folder; `path` is relative to the folder that was given."""

    path: str
    label: str
    split: str
    group: str = ""

    @property
    def file(self) -> str:
        """Its bare name."""
        return PurePosixPath(self.path).name


def read(source: Path, images: Sequence[str]) -> Manifest:
    """The set in `source`.

    Args:
        source: the folder that was given.
        images: the image files in it, relative to it.

    Raises:
        UserError: if the images do not lie in class folders of one set.
    """
    root, found, outside = _class_folders(images, str(source))
    layout = _layout_of(found)
    scenes, findings = _in_layout(layout, found) if layout else (found, [])
    columns = {
        "path": [str(PurePosixPath(scene.path).relative_to(root)) for scene in scenes],
        "label": [scene.label for scene in scenes],
        "split": [scene.split for scene in scenes],
        "group": [scene.group for scene in scenes],
    }
    findings += [outside_finding(path) for path in outside]
    name = layout.name if layout else "folder-per-class"
    manifest = build(source.absolute() / root, columns, name, findings)
    return replace(manifest, band_names=layout.band_names) if layout else manifest


def outside_finding(path: str) -> Finding:
    """An image that lies where none of the set does."""
    advice = "move it into a class folder if it belongs to the set"
    message = "left out: an image outside of the class folders"
    return Finding("warning", "foreign-file", path, message, advice)


def _class_folders(images: Sequence[str], given: str) -> tuple[str, list[Scene], list[str]]:
    """Find the folder whose subfolders are the classes.

    Returns:
        That folder relative to the given one; the images in its class folders; the others.
    """
    by_root: defaultdict[str, list[Scene]] = defaultdict(list)
    loose: list[str] = []
    for path in images:
        folders = PurePosixPath(path).parts[:-1]
        split = split_name(folders[-2]) if len(folders) > 1 else None
        if not folders:
            loose.append(path)
            continue
        root = folders[:-2] if split else folders[:-1]
        by_root["/".join(root) or "."].append(Scene(path, folders[-1], split or ""))
    if not by_root:
        raise UserError(
            f"data must be one of {LOOKED_FOR}, got {given!r}, where images lie in no class folder"
        )
    main = max(by_root, key=lambda root: (len(by_root[root]), root))
    if len(by_root[main]) < _MAIN_SHARE * len(images):
        places = ", ".join(sorted(by_root)) if len(by_root) > 1 else "images beside class folders"
        raise UserError(
            f"data must be one set, {LOOKED_FOR}, got {given!r} with images at several levels: "
            f"{places}"
        )
    others = [scene.path for root in by_root if root != main for scene in by_root[root]]
    return main, by_root[main], sorted(loose + others)


def _layout_of(found: Sequence[Scene]) -> SceneLayout | None:
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
    if len(classes) < 2:
        raise UserError(
            f"data must be one of {LOOKED_FOR}, got images in the single folder {found[0].label!r}"
        )
    return None


def _in_layout(layout: SceneLayout, found: Sequence[Scene]) -> tuple[list[Scene], list[Finding]]:
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
