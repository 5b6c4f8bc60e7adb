"""The public scene sets as they lie on disk, read into one Manifest.

Known by themselves: AID, UC Merced, RSSCN7, any folder with one subfolder per class, and a table.
A label is the name of the class folder; paths are relative to the folder of the class folders (or
of the split folders above them), whichever of the folders around it was given.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from likeness.data.findings import Finding
from likeness.data.manifest import (
    SPLITS,
    TABLE_SUFFIXES,
    Manifest,
    build,
    foreign_findings,
    images_in,
    read_table,
    split_name,
    walk,
)
from likeness.errors import UserError, require

_MAIN_SHARE = 0.9  # of the images lie in the set; the rest is previews and the like
_LOOKED_FOR = (
    "AID (Airport/airport_1.jpg), UC Merced (agricultural/agricultural00.tif), RSSCN7 "
    "(aGrass/a001.jpg), one folder per class with images in it, or a table with path,label"
)
_LIST = re.compile(r"^(?:(?P<family>.*)[-_])?(?P<split>[a-z]+)\.txt$", re.IGNORECASE)


@dataclass(frozen=True)
class SceneLayout:
    """A set whose folders and file names are known.

    Attributes:
        name: the layout and its dataset card.
        classes: the class folders.
        pattern: a file name; group `stem` must be `stem_of(class)`, group `number` the number.
        stem_of: how a file name of the class begins.
        block: how many consecutive numbers form a group; 0 = each image is its own.
        first: the first number.
    """

    name: str
    classes: frozenset[str]
    pattern: re.Pattern[str]
    stem_of: Callable[[str], str]
    block: int
    first: int

    def number(self, label: str, file_name: str) -> int | None:
        """The number in a file name of the class, or None if it is no name of this layout."""
        match = self.pattern.match(file_name)
        if match is None or match["stem"].lower() != self.stem_of(label):
            return None
        return int(match["number"])

    def group(self, label: str, number: int) -> str:
        """What must not straddle a split; "" = the image itself."""
        return f"{label}/block-{(number - self.first) // self.block}" if self.block else ""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Neighbouring numbers of AID often show the same place: within a class, colours are most alike at
# a distance of 1 and no more alike than at random from about 12 on (measured; see the card).
AID = SceneLayout(
    "aid",
    _words(
        "Airport BareLand BaseballField Beach Bridge Center Church Commercial DenseResidential "
        "Desert Farmland Forest Industrial Meadow MediumResidential Mountain Park Parking "
        "Playground Pond Port RailwayStation Resort River School SparseResidential Square Stadium "
        "StorageTanks Viaduct"
    ),
    re.compile(r"^(?P<stem>[a-z]+)_(?P<number>\d+)\.jpe?g$", re.IGNORECASE),
    str.lower,
    block=10,
    first=1,
)
UC_MERCED = SceneLayout(
    "uc-merced",
    _words(
        "agricultural airplane baseballdiamond beach buildings chaparral denseresidential forest "
        "freeway golfcourse harbor intersection mediumresidential mobilehomepark overpass "
        "parkinglot river runway sparseresidential storagetanks tenniscourt"
    ),
    re.compile(r"^(?P<stem>[a-z]+)(?P<number>\d\d)\.tiff?$", re.IGNORECASE),
    str,
    block=0,
    first=0,
)
RSSCN7 = SceneLayout(
    "rsscn7",
    _words("aGrass bField cIndustry dRiverLake eForest fResident gParking"),
    re.compile(r"^(?P<stem>[a-g])(?P<number>\d{3})\.jpe?g$", re.IGNORECASE),
    lambda label: label[0],
    block=0,
    first=1,
)
LAYOUTS = (AID, UC_MERCED, RSSCN7)


def recognise(path: Path | str, *, labelled: bool = True) -> Manifest:
    """Read a set of scenes, whatever its layout.

    Args:
        path: the folder of a set, the one above or below it, or a .csv or .parquet table.
        labelled: without it any image, folder of images or table of paths will do, and the labels
            are those of the table or empty.

    Returns:
        The manifest; `layout` is `aid`, `uc-merced`, `rsscn7`, `folder-per-class`, `table` or
        `images`. Splits come from folders (train, val, test above the class folders) or from lists
        (`train.txt`, `uc_merced-train.txt`). Files that are no images of the set are left out and
        told as warnings.

    Raises:
        UserError: in one sentence, if there is nothing there or nothing that is known.
    """
    source = Path(path)
    require(source.exists(), "data", "an existing folder or table", str(path))
    if source.is_file():
        if source.suffix.lower() in TABLE_SUFFIXES:
            return read_table(source, labelled=labelled)
        rule = "a folder or a .csv or .parquet table (archives must be unpacked)"
        require(not labelled, "data", rule, str(path))
    if not labelled:
        return images_in(source)
    images, foreign = walk(source)
    require(images, "data", "a folder with image files in it", str(path))
    root, parts, outside = _class_folders(images, str(path))
    scenes, findings = _scenes(parts)
    lists = {name: found for name in foreign if (found := _as_list(name))}
    findings += foreign_findings([name for name in foreign if name not in lists])
    findings += _outside(outside)
    base = PurePosixPath(root)
    columns = {
        "path": [str(PurePosixPath(scene.path).relative_to(base)) for scene in scenes],
        "label": [scene.label for scene in scenes],
        "split": [scene.split for scene in scenes],
        "group": [scene.group for scene in scenes],
    }
    layout = scenes[0].layout if scenes else "folder-per-class"
    manifest = build(source.absolute() / root, columns, layout, findings)
    return _apply_lists(manifest, source, lists)


@dataclass(frozen=True)
class _Scene:
    path: str
    label: str
    split: str
    group: str = ""
    layout: str = "folder-per-class"


def _class_folders(images: Sequence[str], given: str) -> tuple[str, list[_Scene], list[str]]:
    """Find the folder whose subfolders are the classes.

    Returns:
        That folder relative to the given one; the images in its class folders; the others.
    """
    by_root: defaultdict[str, list[_Scene]] = defaultdict(list)
    loose: list[str] = []
    for path in images:
        folders = PurePosixPath(path).parts[:-1]
        split = split_name(folders[-2]) if len(folders) > 1 else None
        if not folders:
            loose.append(path)
            continue
        root = folders[:-2] if split else folders[:-1]
        by_root["/".join(root) or "."].append(_Scene(path, folders[-1], split or ""))
    if not by_root:
        raise UserError(
            f"data must be one of {_LOOKED_FOR}, got {given!r}, where images lie in no class folder"
        )
    main = max(by_root, key=lambda root: (len(by_root[root]), root))
    if len(by_root[main]) < _MAIN_SHARE * len(images):
        places = ", ".join(sorted(by_root)) if len(by_root) > 1 else "images beside class folders"
        raise UserError(
            f"data must be one set, {_LOOKED_FOR}, got {given!r} with images at several levels: "
            f"{places}"
        )
    others = [scene.path for root in by_root if root != main for scene in by_root[root]]
    return main, by_root[main], sorted(loose + others)


def _scenes(found: Sequence[_Scene]) -> tuple[list[_Scene], list[Finding]]:
    """Apply the first layout that fits; without one, each folder is a class as it is."""
    for layout in LAYOUTS:
        known = [scene for scene in found if scene.label in layout.classes]
        named = [scene for scene in known if _number(layout, scene) is not None]
        folders = {scene.label for scene in found}
        if 2 * len(folders & layout.classes) >= len(folders) and 2 * len(named) > len(known):
            return _in_layout(layout, found)
    classes = {scene.label for scene in found}
    if len(classes) < 2:
        raise UserError(
            f"data must be one of {_LOOKED_FOR}, got images in the single folder {found[0].label!r}"
        )
    return list(found), []


def _number(layout: SceneLayout, scene: _Scene) -> int | None:
    return layout.number(scene.label, PurePosixPath(scene.path).name)


def _in_layout(layout: SceneLayout, found: Sequence[_Scene]) -> tuple[list[_Scene], list[Finding]]:
    scenes, findings = [], []
    for scene in found:
        number = _number(layout, scene)
        if scene.label not in layout.classes:
            scenes.append(replace(scene, layout=layout.name))
        elif number is None:
            message = f"left out: no file name of the {layout.name} layout"
            advice = "rename it like the others, or give a table of paths and labels"
            findings.append(Finding("warning", "foreign-file", scene.path, message, advice))
        else:
            group = layout.group(scene.label, number)
            scenes.append(replace(scene, group=group, layout=layout.name))
    for label, count in sorted(Counter(scene.label for scene in scenes).items()):
        if label not in layout.classes:
            message = f"{count} images in a folder that is no class of {layout.name}; kept as one"
            advice = "move the folder away if it is none of yours"
            findings.append(Finding("warning", "unknown-class", label, message, advice))
    return scenes, findings


def _outside(paths: Sequence[str]) -> list[Finding]:
    advice = "move it into a class folder if it belongs to the set"
    message = "left out: an image outside of the class folders"
    return [Finding("warning", "foreign-file", path, message, advice) for path in paths]


def _as_list(path: str) -> tuple[str, str] | None:
    """The family and the split of a list (`uc_merced`, `train`), or None for any other file."""
    match = _LIST.match(PurePosixPath(path).name)
    split = split_name(match["split"]) if match else None
    if match is None or split is None:
        return None
    return str(PurePosixPath(path).parent / (match["family"] or "")), split


def _apply_lists(
    manifest: Manifest, source: Path, lists: Mapping[str, tuple[str, str]]
) -> Manifest:
    """Fill `split` from lists of file names, one name or path per line, with or without ending.

    Several families of lists, a name in two lists, or splits that folders give already: nothing is
    applied and a finding says so.
    """
    families: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for path, (family, split) in lists.items():
        families[family][split] = path
    if not families:
        return manifest
    if len(families) > 1 or (manifest.table["split"] != "").any():
        names = ", ".join(sorted(lists))
        message = f"several ways to split, none of the lists is used: {names}"
        advice = "keep one family of lists, or give a table with a split column"
        return _with(manifest, Finding("warning", "split-lists-unused", "", message, advice))
    (chosen,) = families.values()
    rows = _row_index(manifest)
    split_of: dict[int, str] = {}
    findings: list[Finding] = []
    for split in sorted(chosen, key=SPLITS.index):
        path, unknown, doubled = chosen[split], [], []
        for name in _names(source / path):
            row = _row(rows, name)
            if row is None:
                unknown.append(name)
            elif split_of.setdefault(row, split) != split:
                doubled.append(name)
        findings += _list_findings(path, unknown, doubled)
    if any(finding.level == "error" for finding in findings) or not split_of:
        return _with(manifest, *findings)
    splits = [split_of.get(row, "") for row in range(len(manifest.table))]
    if splits.count(""):
        message = f"{splits.count('')} images are in none of the split lists"
        advice = "add them to a list; without a split they are not used"
        findings.append(Finding("warning", "not-in-a-list", "", message, advice))
    return _with(manifest.with_table(manifest.table.assign(split=splits)), *findings)


def _with(manifest: Manifest, *findings: Finding) -> Manifest:
    return replace(manifest, findings=(*manifest.findings, *findings))


def _list_findings(path: str, unknown: list[str], doubled: list[str]) -> list[Finding]:
    findings = []
    if unknown:
        message = f"{len(unknown)} names are no image of the set; the first is {unknown[0]!r}"
        advice = "correct the list, or add the images"
        findings.append(Finding("warning", "list-without-image", path, message, advice))
    if doubled:
        message = (
            f"{len(doubled)} names are in another split's list too; the first is {doubled[0]!r}; "
            "no list is used"
        )
        advice = "keep each image in one list"
        findings.append(Finding("error", "split-lists-overlap", path, message, advice))
    return findings


def _names(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _row_index(manifest: Manifest) -> dict[str, int]:
    """Row by path and, where it is unique, by bare file name; without endings."""
    paths = [PurePosixPath(path).with_suffix("") for path in manifest.table["path"]]
    named = Counter(path.name for path in paths)
    index = {path.name: row for row, path in enumerate(paths) if named[path.name] == 1}
    return index | {str(path): row for row, path in enumerate(paths)}


def _row(rows: dict[str, int], line: str) -> int | None:
    """The row that a line of a list names; a number or label may follow the name."""
    for name in (line, line.rsplit(maxsplit=1)[0]):
        path = PurePosixPath(name.replace("\\", "/"))
        if not path.name:
            continue
        for key in (path, PurePosixPath(*path.parts[-2:]), PurePosixPath(path.name)):
            for candidate in (str(key.with_suffix("")), str(key)):
                if candidate in rows:
                    return rows[candidate]
    return None
