"""Sketchy and TU-Berlin with the lists of zero-shot sketch retrieval.

Both are read as the extended sets are passed round for SAKE and MATHM (the lists' form is read off
their code; the images were not here to try it on):

    Sketchy/zeroshot1/{sketch_tx_000000000000_ready,all_photo}_filelist_{train,zero}.txt   100 + 25
    Sketchy/zeroshot2/...                                                                  104 + 21
    TUBerlin/zeroshot/{png_ready,ImageResized_ready}_filelist_{train,zero}.txt             220 + 30

A line is a path below `Sketchy` or `TUBerlin`, which may hold blanks, and the number of a class in
`cname_cid.txt` (of `train`) or `cname_cid_zero.txt` (of `zero`); both count from 0. Lists `_test`
hold more sketches of training classes; they are not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from likeness.data.findings import Finding
from likeness.data.manifest import Manifest, build
from likeness.errors import UserError, require
from likeness_apps.benchmark.layouts.tree import LISTED

SKETCH, PHOTO = "sketch", "photo"
LOOKED_FOR = (
    "Sketchy or TU-Berlin with their zero-shot lists, or photographs in one folder per class "
    "together with edges"
)
_SPLITS = {"train": ("train", "cname_cid.txt"), "zero": ("test", "cname_cid_zero.txt")}


@dataclass(frozen=True)
class Layout:
    """A set, and how its lists are called.

    Attributes:
        name: of the layout and its dataset card.
        divisions: folders of lists, each a published division of the classes.
        lists: modality -> how its lists begin.
        named_after_photos: sketches are called as the photograph that was drawn, and numbered.
    """

    name: str
    divisions: tuple[str, ...]
    lists: tuple[tuple[str, str], ...]
    named_after_photos: bool


LAYOUTS = (
    Layout(
        "sketchy",
        ("zeroshot1", "zeroshot2"),
        ((SKETCH, "sketch_tx_000000000000_ready"), (PHOTO, "all_photo")),
        named_after_photos=True,
    ),
    Layout(
        "tu_berlin",
        ("zeroshot",),
        ((SKETCH, "png_ready"), (PHOTO, "ImageResized_ready")),
        named_after_photos=False,
    ),
)


def find(source: Path, division: str | None) -> Manifest | None:
    """The set in a folder, or just below it; None if it is none of `LAYOUTS`.

    Args:
        source: the folder.
        division: which of the set's published divisions; None takes the one that is there.

    Returns:
        A manifest with splits `train` and `test` (unseen classes) and a column `modality`. Groups
        are what an interval may not draw apart: all sketches of one photograph.

    Raises:
        UserError: if there are several divisions and none is named, the named one is not there, or
            a list cannot be read.
    """
    below = sorted(folder for folder in source.iterdir() if folder.is_dir())
    for folder in (source, *below):
        for layout in LAYOUTS:
            there = [name for name in layout.divisions if _list(folder, layout, name).is_file()]
            if there:
                return _read(folder, layout, _chosen(there, division))
    return None


def _list(root: Path, layout: Layout, division: str) -> Path:
    """The list that a division is known by."""
    return root / division / f"{dict(layout.lists)[SKETCH]}_filelist_zero.txt"


def _chosen(there: list[str], division: str | None) -> str:
    wanted = there[0] if division is None and len(there) == 1 else division
    require(wanted in there, "split", f"one of {', '.join(there)}, which are there", wanted)
    assert wanted is not None
    return wanted


def _read(root: Path, layout: Layout, division: str) -> Manifest:
    columns: dict[str, list[str]] = {
        name: [] for name in ("path", "label", "split", "group", "modality")
    }
    findings: list[Finding] = []
    for part, (split, names) in _SPLITS.items():
        name_of = {number: name for name, number in _lines(root / division / names)}
        for modality, begins in layout.lists:
            listed = root / division / f"{begins}_filelist_{part}.txt"
            for path, number in _lines(listed):
                require(number in name_of, f"{listed.name}", f"of classes in {names}", number)
                if not (root / path).is_file():
                    advice = "unpack the set again, or give its folder"
                    findings.append(Finding("error", "missing-file", path, LISTED, advice))
                    continue
                group = _photo(path) if layout.named_after_photos else ""
                row = (path, name_of[number], split, group, modality)
                for column, value in zip(columns.values(), row, strict=True):
                    column.append(value)
    require(columns["path"], "data", f"the images of {layout.name} beside its lists", str(root))
    return build(root.absolute(), columns, layout.name, findings)


def _lines(path: Path) -> list[tuple[str, str]]:
    """What stands before the last word of each line, and that word."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name} must be a readable text file, got {error}") from None
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            words = line.rsplit(maxsplit=1)
            fits = len(words) == 2 and words[1].isdigit()
            rule = "a name and a class number"
            require(fits, f"line {number} of {path.name}", rule, line)
            found.append((words[0].strip(), words[1]))
    return found


def _photo(path: str) -> str:
    """The photograph behind `<class>/<photo>-<k>.png` or `<class>/<photo>.jpg`."""
    file = PurePosixPath(path)
    name, dash, number = file.stem.rpartition("-")
    drawn = dash and number.isdigit() and file.suffix.lower() == ".png"
    return f"{file.parent.name}/{name if drawn else file.stem}"
