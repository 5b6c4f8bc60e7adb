"""RAF-DB, basic expressions (Li, Deng and Du 2017): faces from the web, about 40 annotators each.

`basic/EmoLabel/list_patition_label.txt` (so it is spelt) with lines `train_00001.jpg 5`, pictures
in `basic/Image/aligned/train_00001_aligned.jpg`. The whole photographs in `Image/original` are not
read: faces would have to be cut out first.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from likeness.data.split_lists import lines_of
from likeness.errors import require
from likeness_apps.facial_expression.expressions import RAF_DB, require_number
from likeness_apps.facial_expression.layouts.tree import (
    Reading,
    Tree,
    face_set,
    missing,
    name_of,
    not_listed,
    once,
)

NAME = "raf-db"
_LIST = re.compile(r"^list_pat(?:it|rit|ti)ion_label\.txt$")
_LINE = re.compile(r"^(?P<stem>(?P<split>train|test)_\d+)\.jpg\s+(?P<number>\S+)$")
_ALIGNED = re.compile(r"^(?:train|test)_\d+_aligned\.jpg$")
_BESIDE = ("Annotation", "EmoLabel", "original")  # folders of the set that are not read


def is_here(tree: Tree) -> bool:
    """Whether the list of labels is there."""
    return any(_LIST.match(name_of(path)) for path in tree.others)


def read(tree: Tree) -> Reading:
    """The set in a folder, train and test as published.

    Raises:
        UserError: if there are several lists, a line is none of a name and a number, or the number
            none of the set.
    """
    lists = [path for path in tree.others if _LIST.match(name_of(path))]
    require(len(lists) == 1, "data", "one set", f"{tree.source} with {' and '.join(lists)}")
    aligned = [path for path in tree.images if _ALIGNED.match(name_of(path))]
    found = {stem.removesuffix("_aligned"): path for stem, path in once(aligned).items()}
    images, labels, splits, absent = [], [], [], []
    listed = set()
    for number, line in lines_of(tree.source / lists[0]):
        match = _LINE.match(line)
        where = f"line {number} of {name_of(lists[0])}"
        require(match, where, "of a name like train_00001.jpg and a number", line)
        assert match is not None
        label = require_number(match["number"], RAF_DB, f"label in {where}")
        require(match["stem"] not in listed, where, "about a picture of its own", match["stem"])
        listed.add(match["stem"])
        if match["stem"] not in found:
            absent.append(match["stem"])
            continue
        images.append(found[match["stem"]])
        labels.append(label)
        splits.append(match["split"])
    spare = [path for stem, path in found.items() if stem not in listed]
    findings = [*missing(lists[0], absent), *not_listed(spare, name_of(lists[0]))]
    columns = {"label": labels, "split": splits}
    rest = [path for path in (*tree.images, *tree.others) if not _is_known(path)]
    return face_set(tree, NAME, images, columns, findings), rest


def _is_known(path: str) -> bool:
    within = any(folder in _BESIDE for folder in PurePosixPath(path).parts[:-1])
    return within or bool(_ALIGNED.match(name_of(path)) or _LIST.match(name_of(path)))
