"""One table of images: what every layout is read into, and what everything else reads.

Columns: `path` (posix, relative to the root), `label` ("" = unlabelled), `split` ("", train, val
or test), `group` (what must not straddle a split; the image itself where nothing else is known),
then whatever an application adds. In a multi-label set a cell of `label` holds the names of all
labels of the image, sorted, with `|` between them.

Shapes: N images, L labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from likeness.data.findings import Finding, sort_findings
from likeness.errors import require
from likeness.files import atomic_path

COLUMNS = ("path", "label", "split", "group")
SPLITS = ("train", "val", "test")
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
SEPARATOR = "|"  # between the labels of one image


@dataclass(frozen=True, eq=False)
class Manifest:
    """A set of images.

    Attributes:
        root: the folder that the paths in `table` are relative to.
        table: one row per image with at least `COLUMNS`, all text, and a RangeIndex.
        layout: what was recognised; also the name of the dataset card where there is one.
        findings: what was noticed while recognising.
        multilabel: whether an image may have several labels.
        band_names: the bands of the files in their order, where the layout fixes them; else ().
    """

    root: Path
    table: pd.DataFrame
    layout: str
    findings: tuple[Finding, ...] = ()
    multilabel: bool = False
    band_names: tuple[str, ...] = ()

    @property
    def classes(self) -> list[str]:
        """The labels in use, sorted; their order is the order of class numbers everywhere."""
        cells = set(self.table["label"]) - {""}
        return sorted({name for cell in cells for name in self.names(cell)})

    def names(self, label: str) -> list[str]:
        """The labels in a cell of `label`: one, several in a multi-label set, or none."""
        return split_labels(label) if self.multilabel else [label] if label else []

    def with_table(self, table: pd.DataFrame) -> Manifest:
        """The same set with other rows or columns."""
        return replace(self, table=table.reset_index(drop=True))

    def with_findings(self, *findings: Finding) -> Manifest:
        """The same set with more findings."""
        return replace(self, findings=sort_findings((*self.findings, *findings)))

    def rows(self, split: str) -> pd.DataFrame:
        """The rows of one split; their index is the position in `table`.

        Raises:
            UserError: if `split` is not one of "", train, val, test.
        """
        require(split in ("", *SPLITS), "split", f"one of {', '.join(SPLITS)}", split)
        return self.table[self.table["split"] == split]

    def file(self, path: str) -> Path:
        """Where the image of a row is."""
        return self.root / path

    def write_csv(self, path: Path | str) -> None:
        """Write the table atomically; `read_table` reads it back if it lies in the root."""
        table = self.table.rename(columns={"label": "labels"}) if self.multilabel else self.table
        with atomic_path(path) as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n")


def build(
    root: Path,
    columns: Mapping[str, Sequence[Any] | np.ndarray],
    layout: str,
    findings: Sequence[Finding] = (),
    *,
    multilabel: bool = False,
) -> Manifest:
    """Make a Manifest: missing standard columns are filled in, rows are sorted by path.

    Args:
        root: the folder that the paths are relative to.
        columns: at least `path`; `label`, `split` and `group` as text; further columns as they are.
        layout: the name of the layout.
        findings: what was noticed.
        multilabel: cells of `label` are `join_labels` of the image's labels.

    Returns:
        The manifest; an empty group has become the image's own path.
    """
    paths = [str(path) for path in columns["path"]]
    text = {name: [str(item) for item in columns.get(name, [""] * len(paths))] for name in COLUMNS}
    text["group"] = [group or path for group, path in zip(text["group"], text["path"], strict=True)]
    extra = {name: values for name, values in columns.items() if name not in COLUMNS}
    table = pd.DataFrame({**text, **extra})
    table = table.astype(dict.fromkeys(COLUMNS, str)).sort_values("path", kind="stable")
    rows = table.reset_index(drop=True)
    return Manifest(root, rows, layout, sort_findings(findings), multilabel)


def join_labels(names: Iterable[str]) -> str:
    """The cell of `label` for an image with these labels.

    Raises:
        UserError: if a name is empty or holds a `|`.
    """
    chosen = sorted(set(names))
    for name in chosen:
        require(name and SEPARATOR not in name, "label", f"a name without {SEPARATOR!r}", name)
    return SEPARATOR.join(chosen)


def split_labels(cell: str) -> list[str]:
    """The labels in a cell of a multi-label set; none in an empty one."""
    return cell.split(SEPARATOR) if cell else []


def label_matrix(cells: Sequence[str], classes: Sequence[str]) -> UInt8[np.ndarray, "N L"]:
    """1 where an image has a label, else 0.

    Args:
        cells: `label` of each image of a multi-label set.
        classes: L names, in the order of the columns.

    Raises:
        UserError: if an image has a label that is not among `classes`.
    """
    column = {name: place for place, name in enumerate(classes)}
    matrix_NL = np.zeros((len(cells), len(classes)), np.uint8)
    for row, cell in enumerate(cells):
        for name in split_labels(cell):
            require(name in column, "label", f"among the {len(classes)} known ones", name)
            matrix_NL[row, column[name]] = 1
    return matrix_NL


def unlabelled_findings(paths: Sequence[str], labels: Sequence[str]) -> list[Finding]:
    """One warning for each image of a multi-label set that has no label."""
    message, advice = "no label is set; not used", "give it a label, or remove the row"
    return [
        Finding("warning", "no-label", path, message, advice)
        for path, label in zip(paths, labels, strict=True)
        if not label
    ]


def split_name(text: str) -> str | None:
    """The split that a folder, file or cell names (`Validation` is `val`), or None."""
    return SPLIT_NAMES.get(text.strip().lower())
