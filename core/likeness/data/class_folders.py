"""Sets with one folder per class, below folders of splits or not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from likeness.data.findings import Finding
from likeness.data.manifest import Manifest, build, split_name
from likeness.errors import UserError

_MAIN_SHARE = 0.9  # of the images lie in the set; the rest is previews and the like


@dataclass(frozen=True)
class ClassImage:
    """An image in a class folder; `path` is relative to the folder that was given."""

    path: str
    label: str
    split: str
    group: str = ""

    @property
    def file(self) -> str:
        """Its bare name."""
        return PurePosixPath(self.path).name


def class_folders(
    images: Sequence[str], given: str, looked_for: str
) -> tuple[str, list[ClassImage], list[str]]:
    """Find the folder whose subfolders are the classes.

    Args:
        images: the image files, relative to the folder that was given.
        given: that folder, for messages.
        looked_for: what a person could have given, for messages.

    Returns:
        The found folder relative to the given one; the images in its class folders; the others.

    Raises:
        UserError: if the images do not lie in class folders of one set.
    """
    by_root: defaultdict[str, list[ClassImage]] = defaultdict(list)
    loose: list[str] = []
    for path in images:
        folders = PurePosixPath(path).parts[:-1]
        split = split_name(folders[-2]) if len(folders) > 1 else None
        if not folders:
            loose.append(path)
            continue
        root = folders[:-2] if split else folders[:-1]
        by_root["/".join(root) or "."].append(ClassImage(path, folders[-1], split or ""))
    if not by_root:
        raise UserError(
            f"data must be one of {looked_for}, got {given!r}, where images lie in no class folder"
        )
    main = max(by_root, key=lambda root: (len(by_root[root]), root))
    if len(by_root[main]) < _MAIN_SHARE * len(images):
        places = ", ".join(sorted(by_root)) if len(by_root) > 1 else "images beside class folders"
        raise UserError(
            f"data must be one set, {looked_for}, got {given!r} with images at several levels: "
            f"{places}"
        )
    others = [image.path for root in by_root if root != main for image in by_root[root]]
    return main, by_root[main], sorted(loose + others)


def require_two(found: Sequence[ClassImage], looked_for: str) -> None:
    """Raises UserError if all images lie in a single folder."""
    if len({image.label for image in found}) < 2:
        raise UserError(
            f"data must be one of {looked_for}, got images in the single folder {found[0].label!r}"
        )


def class_manifest(
    source: Path,
    root: str,
    images: Sequence[ClassImage],
    layout: str = "folder-per-class",
    findings: Sequence[Finding] = (),
) -> Manifest:
    """The images as a set; paths become relative to `root`.

    Args:
        source: the folder that was given.
        root: as `class_folders` returns it.
        images: those of the set.
        layout: its name.
        findings: what was noticed.
    """
    columns = {
        "path": [str(PurePosixPath(image.path).relative_to(root)) for image in images],
        "label": [image.label for image in images],
        "split": [image.split for image in images],
        "group": [image.group for image in images],
    }
    return build(source.absolute() / root, columns, layout, findings)


def outside_finding(path: str) -> Finding:
    """An image that lies where none of the set does."""
    advice = "move it into a class folder if it belongs to the set"
    message = "left out: an image outside of the class folders"
    return Finding("warning", "foreign-file", path, message, advice)
