"""What lies in a folder: the images, and everything else by name."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from likeness.data.findings import Finding
from likeness.data.manifest import Manifest, build
from likeness.errors import require

IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff"),
        *(".bmp", ".gif", ".webp", ".ppm", ".pgm", ".jp2", ".j2k", ".dcm", ".dicom"),
    )
)
_SYSTEM = frozenset(("__macosx", "thumbs.db", "desktop.ini"))
_ESCAPED = re.compile(r"\\udc[89a-f][0-9a-f]")  # what `walk` makes of bytes that are no UTF-8


def images_in(path: Path | str) -> Manifest:
    """Every image below a folder, or one image file, without labels: what `predict` is given.

    Args:
        path: a folder, or a file (whose ending does not matter: content decides).

    Raises:
        UserError: if there is no such path or no image in it.
    """
    source = Path(path)
    require(source.exists(), "input", "an existing folder, image or table", str(path))
    if source.is_file():
        return build(source.absolute().parent, {"path": [source.name]}, "images")
    images, foreign = walk(source)
    require(images, "input", "a folder with image files in it", str(path))
    return build(source.absolute(), {"path": images}, "images", foreign_findings(foreign))


def walk(root: Path) -> tuple[list[str], list[str]]:
    """List the files below `root`, following links once.

    Args:
        root: an existing folder.

    Returns:
        The image files (by ending) and everything else that was left out (other files, hidden
        files, hidden or system folders with a `/` behind the name, unopened; names that are no
        UTF-8, with escapes, since no table can hold them); posix paths relative to `root`, sorted.
    """
    images: list[str] = []
    foreign: list[str] = []
    visited = {os.path.realpath(root)}
    for here, folders, files in os.walk(root, followlinks=True):
        base = PurePosixPath(Path(here).relative_to(root).as_posix())
        for name in list(folders):
            real = os.path.realpath(os.path.join(here, name))
            left_out = _skipped(name) or not _is_text(name)
            if left_out:
                foreign.append(_printable(f"{base / name}/"))
            if left_out or real in visited:
                folders.remove(name)  # os.walk goes where this list says
            visited.add(real)
        for name in files:
            image = not _skipped(name) and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
            path = str(base / name)
            if image and _is_text(name):
                images.append(path)
            else:
                foreign.append(_printable(path))
    return sorted(images), sorted(foreign)


def foreign_findings(paths: Sequence[str]) -> list[Finding]:
    """One warning for each file or folder that was left out because it is no image."""
    image = "left out: no image"
    convert = "nothing, if it is no part of the data; else convert it to an image format"
    return [
        Finding("warning", "foreign-name", path, "left out: its name is not UTF-8", "rename it")
        if _ESCAPED.search(path)
        else Finding("warning", "foreign-file", path, image, convert)
        for path in paths
    ]


def _is_text(name: str) -> bool:
    """Whether a table can hold the name; bytes that are no UTF-8 arrive as lone surrogates."""
    return _printable(name) == name


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _skipped(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM
