"""Lists of pairs to verify, and features that know the names of their images.

Shapes: N = images, D = feature dimension.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from likeness.data.tables import load_frame
from likeness.errors import UserError, require

COLUMNS = ("first", "second", "same")


def read_lfw_pairs(path: Path) -> pd.DataFrame:
    """The pairs.txt of Labeled Faces in the Wild, or a list of its form.

    Its first line is the number of folds and that of pairs of either kind in a fold (`10 300`); a
    list of one fold says only the latter. Each fold is its genuine pairs, `name 1 4`, and then its
    impostors, `name 2 other 3`. Image 4 of a name is called `name_0004`.

    Returns:
        One row per pair: first, second, same, fold (from 1), group (the first name).

    Raises:
        UserError: naming the line that is not so, or the number of lines.
    """
    require(path.is_file(), "pairs", "an existing list of pairs", str(path))
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"pairs must be a text in UTF-8, got {path}") from None
    words = [line.split() for line in lines if line.strip()]
    head = words[0] if words else []
    numbers = [int(word) for word in head if word.isdecimal()]
    good = len(numbers) == len(head) in (1, 2) and min(numbers) >= 1
    rule = "a list that begins with the numbers of folds and of pairs, as in '10 300'"
    require(good, "pairs", rule, " ".join(head))
    folds, each = (1, *numbers)[-2:]
    rule = f"{2 * folds * each} pairs, as its first line says"
    require(len(words) - 1 == 2 * folds * each, "pairs", rule, len(words) - 1)
    rows = [_lfw_row(place, found, each) for place, found in enumerate(words[1:])]
    return pd.DataFrame(rows, columns=[*COLUMNS, "fold", "group"])


def _lfw_row(place: int, words: list[str], each: int) -> tuple[str, str, bool, int, str]:
    """The pair on the line `place`, counted from 0 behind the head."""
    same = place % (2 * each) < each
    named = [words[0], *(words[2:3] if len(words) == 4 else words[:1])]
    numbers = [words[1], words[-1]] if len(words) in (3, 4) else []
    good = len(words) == (3 if same else 4) and all(word.isdecimal() for word in numbers)
    if not good:
        form = "'name 1 4', a genuine pair" if same else "'name 2 other 3', two names"
        raise UserError(f"line {place + 2} of pairs must be {form}, got {' '.join(words)!r}")
    first, second = (f"{name}_{int(n):04d}" for name, n in zip(named, numbers, strict=True))
    return first, second, same, place // (2 * each) + 1, words[0]


def read_pair_table(path: Path) -> pd.DataFrame:
    """A csv or parquet with the columns first, second (names) and same (0 or 1).

    A column `fold` divides the pairs; without it all are of one fold. `group` is what the bootstrap
    draws as a whole (the identity of the first picture, say); without it the first picture's name.

    Raises:
        UserError: if a column is missing or a cell is empty or another.
    """
    require(path.is_file(), "pairs", "an existing .csv or .parquet file", str(path))
    table = load_frame(path)
    missing = [name for name in COLUMNS if name not in table.columns]
    rule = f"a table with the columns {', '.join(COLUMNS)}"
    require(not missing, "pairs", rule, list(table.columns)[:6])
    require(len(table) > 0, "pairs", "a table with at least one row", str(path))
    texts = {name: _texts(table, name) for name in ("first", "second")}
    same = pd.to_numeric(table["same"], errors="coerce")
    wrong = ~same.isin((0, 1)).to_numpy()
    row = int(wrong.argmax())
    require(not wrong.any(), f"same of pair {row + 1}", "0 or 1", table["same"].iloc[row])
    columns = texts | {"same": same.astype(bool)}
    columns["fold"] = _texts(table, "fold") if "fold" in table.columns else "1"
    columns["group"] = _texts(table, "group") if "group" in table.columns else texts["first"]
    return pd.DataFrame(columns)


def _texts(table: pd.DataFrame, name: str) -> pd.Series:
    cells = table[name].astype(object).where(table[name].notna(), "").astype(str)
    empty = (cells == "").to_numpy()
    require(not empty.any(), f"{name} of pair {int(empty.argmax()) + 1}", "given", "''")
    return cells


def read_named_features(path: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """What `embed` wrote: a .parquet, or a .npy with the .parquet of its rows beside it.

    Returns:
        The rows with `path` and `status`, and the features (N, D), nan where an image has none.

    Raises:
        UserError: if it is nothing of that kind.
    """
    rule = "a .parquet as `embed` writes it, or its .npy with the .parquet beside it"
    rows_file = path.with_suffix(".parquet")
    require(path.suffix in (".parquet", ".npy"), "features", rule, str(path))
    require(path.is_file() and rows_file.is_file(), "features", rule, str(path))
    table = load_frame(rows_file)
    require("path" in table.columns, "features", rule, list(table.columns)[:5])
    if "status" not in table.columns:
        table = table.assign(status="ok")
    if path.suffix == ".npy":
        features_ND = _array(path, len(table))
    else:
        require("embedding" in table.columns, "features", rule, list(table.columns)[:5])
        features_ND = _stacked(table["embedding"], path)
    features_ND[(table["status"] != "ok").to_numpy()] = np.nan
    return table[["path", "status"]], features_ND


def _array(path: Path, rows: int) -> np.ndarray:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise UserError(f"features must be a .npy of numbers, got {path}") from None
    good = isinstance(found, np.ndarray) and found.ndim == 2 and len(found) == rows
    rule = f"a float array of {rows} rows, one per row of the table beside it"
    require(good and found.dtype.kind == "f", "features", rule, str(path))
    return np.array(found)


def _stacked(column: pd.Series, path: Path) -> np.ndarray:
    there = column.notna().to_numpy()
    require(there.any(), "features", "a table with at least one embedding", str(path))
    sizes = {len(row) for row in column[there]}
    require(len(sizes) == 1, "features", "of one length in every row", sorted(sizes))
    features_ND = np.full((len(column), sizes.pop()), np.nan, np.float32)
    features_ND[there] = np.stack(column[there].to_numpy())
    return features_ND


def places_of(names: pd.Series, paths: pd.Series, *, by_stem: bool) -> np.ndarray:
    """The row of each named image among `paths`.

    Args:
        names: of the images of pairs.
        paths: of the images with features.
        by_stem: names are those of files, without folders and endings.

    Raises:
        UserError: if a name is missing, or two paths are called by it.
    """
    known = paths.map(lambda path: PurePosixPath(path).stem) if by_stem else paths
    asked = known[known.isin(names)]
    twice = asked[asked.duplicated()].tolist()
    require(not twice, "features", "one row for each image of pairs", twice[:3])
    place_of = pd.Series(asked.index.to_numpy(), index=asked.to_numpy())
    found = place_of.reindex(names.to_numpy())
    missing = found.index[found.isna()].unique().tolist()
    if missing:
        first = ", ".join(map(repr, missing[:3]))
        raise UserError(f"features must have a row for every image of pairs, got none for {first}")
    places: np.ndarray = found.to_numpy(dtype=np.int64)
    return places
