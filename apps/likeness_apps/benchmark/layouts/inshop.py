"""In-Shop Clothes Retrieval (DeepFashion): its list says train, query or gallery of each image."""

from __future__ import annotations

from pathlib import Path

from likeness.data.manifest import Manifest
from likeness.errors import require
from likeness_apps.benchmark.layouts.tree import Listed, beside, manifest_of, read_rows

NAME = "inshop"
LISTS = ("Eval/list_eval_partition.txt", "list_eval_partition.txt")
FOLDERS = ("", "Img")  # where `img/...` of the list lies
ROLES = ("train", "query", "gallery")


def find(source: Path) -> Path | None:
    """The folder of the set, if `source` is it or beside it; CelebA has a list of that name."""
    root = next(filter(None, (beside(source, name) for name in LISTS)), None)
    if root is None:
        return None
    heads = _list(root).read_text(encoding="utf-8", errors="replace").splitlines()[1:2]
    return root if heads and "item_id" in heads[0] else None


def read(root: Path) -> Manifest:
    """The set in its folder.

    Raises:
        UserError: if the list is broken.
    """
    rows = read_rows(_list(root), 3, skip=2)
    folder = next((name for name in FOLDERS if (root / name / rows[0][0]).is_file()), "")
    listed = []
    for path, item, status in rows:
        require(status in ROLES, "evaluation_status", f"one of {', '.join(ROLES)}", status)
        place = f"{folder}/{path}" if folder else path
        train = status == "train"
        listed.append(Listed(place, item, "train" if train else "test", "" if train else status))
    return manifest_of(root, NAME, listed)


def _list(root: Path) -> Path:
    return next(root / name for name in LISTS if (root / name).is_file())
