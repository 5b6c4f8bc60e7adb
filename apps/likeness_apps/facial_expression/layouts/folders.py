"""One folder per expression, below folders of splits or not."""

from __future__ import annotations

from dataclasses import replace

from likeness.data.class_folders import class_folders, class_manifest, outside_finding, require_two
from likeness.data.split_lists import apply_lists, as_list
from likeness.errors import require
from likeness_apps.facial_expression.expressions import require_expression
from likeness_apps.facial_expression.layouts.tree import Reading, Tree

NAME = "folder-per-class"


def read(tree: Tree, looked_for: str) -> Reading:
    """The set in a folder; `looked_for` is what a person could have given, for messages.

    Raises:
        UserError: if the pictures do not lie in folders that are called like expressions.
    """
    require(tree.images, "data", "a folder with image files in it", str(tree.source))
    lists = {name: given for name in tree.others if (given := as_list(name))}
    root, found, outside = class_folders(tree.images, str(tree.source), looked_for)
    require_two(found, looked_for)
    named = [
        replace(image, label=require_expression(image.label, f"folder of {image.path}"))
        for image in found
    ]
    told = [outside_finding(path) for path in outside]
    manifest = class_manifest(tree.source, root, named, NAME, told)
    manifest = apply_lists(manifest, tree.source, lists)
    manifest = manifest.with_table(manifest.table.assign(subject=""))
    return manifest, [name for name in tree.others if name not in lists]
