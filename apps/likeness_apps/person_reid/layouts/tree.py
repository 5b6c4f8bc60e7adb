"""What lies in a folder, folder by folder, and which of it a layout knows.

Sets of a million frames are listed once, by name: no file is opened and none is asked for its size.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from likeness.data.findings import Finding
from likeness.data.listing import foreign_findings, walk
from likeness.errors import require

_FEW = 3  # files of one folder that are told one by one


@dataclass(frozen=True)
class Tree:
    """Everything below a folder; paths are posix and relative to it.

    Attributes:
        source: the folder that was given.
        images: sorted names of image files by their folder ("" = `source`).
        others: the files that are no images.
        bare: folders in which there is neither a folder nor an image.
    """

    source: Path
    images: Mapping[str, list[str]]
    others: Sequence[str]
    bare: Sequence[str]


@dataclass(frozen=True)
class Files:
    """The images of a tree that lie and are called as a layout says.

    Attributes:
        root: the folder of the set, relative to the tree's source ("" = the source).
        table: one row per image: `path` (relative to `root`), `folder` (the same way) and the named
            groups of both patterns, as text.
        strangers: images in the layout's folders with other names.
        outside: images in other folders.
        bare: folders of the layout without an image, relative to the source.
    """

    root: str
    table: pd.DataFrame
    strangers: list[str]
    outside: list[str]
    bare: list[str]


def read_tree(source: Path) -> Tree:
    """List a folder.

    Args:
        source: an existing folder.
    """
    paths, others = walk(source)
    images: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        folder, _, name = path.rpartition("/")
        images[folder].append(name)
    leaves = [
        Path(here).relative_to(source).as_posix()
        for here, folders, _ in os.walk(source)
        if not folders
    ]
    bare = sorted(leaf for leaf in leaves if leaf not in images and leaf != ".")
    return Tree(source, dict(images), others, bare)


def files_of(tree: Tree, folder: re.Pattern[str], file: re.Pattern[str]) -> Files | None:
    """The images that a layout knows; None if there are none.

    Args:
        tree: what is there.
        folder: of images, relative to the tree's source; the group `root` is the set's own folder.
        file: name of an image.

    Raises:
        UserError: if the layout is there more than once.
    """
    matches = {name: match for name in tree.images if (match := folder.match(name))}
    if not matches:
        return None
    counts = [len(tree.images[name]) for name in matches]
    names = pd.Series(list(chain.from_iterable(tree.images[name] for name in matches)), dtype=str)
    table, known = named_groups(names, file)
    if not known.any():
        return None
    code = np.repeat(np.arange(len(matches)), counts)
    given = list(matches)
    roots = {matches[given[place]]["root"] or "" for place in np.unique(code[known])}
    told = f"{tree.source} with {' and '.join(sorted(root or '.' for root in roots))}"
    require(len(roots) == 1, "data", "one set", told)
    (root,) = roots
    columns = {"folder": [name.removeprefix(root).lstrip("/") for name in matches]}
    for group in folder.groupindex.keys() - {"root"}:
        columns[group] = [match[group] or "" for match in matches.values()]
    for name, values in columns.items():
        table[name] = pd.Series(values, dtype=str).take(code).reset_index(drop=True)
    table["path"] = table["folder"] + "/" + names
    return Files(
        root=root,
        table=table[known].reset_index(drop=True),
        strangers=[f"{given[code[n]]}/{names.iat[n]}" for n in np.flatnonzero(~known)],
        outside=[
            str(PurePosixPath(name) / image)
            for name, images in tree.images.items()
            if name not in matches
            for image in images
        ],
        bare=[name for name in tree.bare if folder.match(name)],
    )


def named_groups(names: pd.Series, pattern: re.Pattern[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """The named groups of a pattern as columns of text, and which of N names it matches.

    Arrow's own matching: a million names in half a second and without a Python object for each.
    """
    found = pc.extract_regex(pa.array(names, pa.string()), pattern.pattern)
    columns = {name: found.field(name).to_pandas() for name in pattern.groupindex}
    return pd.DataFrame(columns).astype(str), found.is_valid().to_numpy(zero_copy_only=False)


def beside(tree: Tree, name: str, folder: str = "") -> Path | None:
    """The file of this name anywhere in the tree, or beside its source; None if there is none.

    Args:
        tree: what is there.
        name: bare name of the file.
        folder: beside the source it may also lie in a folder of this name.
    """
    for path in tree.others:
        if PurePosixPath(path).name == name:
            return tree.source / path
    above = tree.source.absolute().parent
    return next((file for file in (above / name, above / folder / name) if file.is_file()), None)


def rest_findings(files: Files, others: Iterable[str], layout: str) -> list[Finding]:
    """Warnings for everything that is no part of the set, and for folders without an image.

    Args:
        files: what the layout knows.
        others: files that are no images and that the layout does not read.
        layout: its name.
    """
    findings = [
        Finding(
            "warning",
            "foreign-name",
            path,
            f"left out: no file name of the {layout} layout",
            "rename it like the others, or give a table of paths, labels and cameras",
        )
        for path in files.strangers
    ]
    for folder in files.bare:
        message = "a folder without any image; no row is made of it"
        findings.append(
            Finding("warning", "empty-tracklet", folder, message, "add its frames or remove it")
        )
    of_the_set = {str(PurePosixPath(files.root, name)) for name in files.table["folder"].unique()}
    above = {str(folder) for name in of_the_set for folder in PurePosixPath(name).parents}
    kept = of_the_set | above
    return [*findings, *_by_folder(files.outside, kept, layout), *_by_folder(others, kept, "")]


def _by_folder(paths: Iterable[str], kept: set[str], layout: str) -> list[Finding]:
    """One warning per file, or per folder where it holds more than a few.

    Args:
        paths: what is left out.
        kept: folders of the set and above them; a folder that is none is told as a whole.
        layout: the name, if they are images; else "".
    """
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        whole = [folder for folder in PurePosixPath(path).parents if str(folder) not in kept]
        folder = whole[-1] if whole else PurePosixPath(path).parent
        folders[str(folder)].append(path)
    findings: list[Finding] = []
    what = f"left out: no part of the {layout} layout" if layout else "left out: no image"
    advice = "nothing, if it is no part of the data"
    for where, found in folders.items():
        if len(found) > _FEW:
            message = f"{what}; {len(found)} files, the first is {found[0]}"
            findings.append(Finding("warning", "foreign-file", f"{where}/", message, advice))
        elif layout:
            findings += [Finding("warning", "foreign-file", one, what, advice) for one in found]
        else:
            findings += foreign_findings(found)
    return findings
