"""Tables and features that somebody gives to `score`: read, checked, brought into one form.

Shapes: N = rows, P = class columns of a table, D = feature dimension.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from likeness.data.manifest import join_labels, split_labels
from likeness.data.tables import load_frame
from likeness.errors import UserError, require
from likeness_apps.shell.measure import PER_ITEM
from likeness_apps.shell.measure_multilabel import PER_LABELS, PER_QUERY

KEYS = ("path", "image")
LABELS = ("truth", "labels", "label")  # `truth` is what predictions.csv calls it
PROBABILITY = "p_"
THRESHOLD = 0.5  # of probabilities that come without a decision
TEXTS = ("path", "status", "truth", "labels", "label", "group", "split")
NOT_CLASSES = {*TEXTS, "reason", "model_id", "correct", *PER_ITEM}
NOT_LABELS = {*NOT_CLASSES, *PER_LABELS, *PER_QUERY}


Screen = Callable[[pd.DataFrame], pd.DataFrame]


def _as_it_is(table: pd.DataFrame) -> pd.DataFrame:
    return table


def read_truth(path: Path, *, multilabel: bool = False, screen: Screen = _as_it_is) -> pd.DataFrame:
    """A table of truth with `path`, `label`, `group` (the path where none is given), maybe `split`.

    Rows whose `status` is not ok are left out, as in the embeddings.npy of `evaluate`.

    Args:
        path: csv or parquet.
        multilabel: a row may have several labels (`|` between them, or several 1) or none.
        screen: see `read_table`.

    Raises:
        UserError: if it cannot be read, a name occurs twice, or a row has not exactly one class
            where it must.
    """
    table = read_table(path, "truth", screen)
    if "status" in table.columns:
        table = table[table["status"] == "ok"].reset_index(drop=True)
        require(len(table) > 0, "truth", "a table with rows of status ok", str(path))
    require_unique(table, "truth")
    named = next((name for name in LABELS if name in table.columns), None)
    if multilabel:
        labels = _gathered(table) if named is None else table[named].map(tidy)
    else:
        labels = _one_hot(table) if named is None else table[named]
        _require_labels(table["path"], labels)
    groups = table["group"] if "group" in table.columns else table["path"]
    kept = {
        "path": table["path"],
        "label": labels,
        "group": groups.where(groups != "", table["path"]),
    }
    return pd.DataFrame(kept | ({"split": table["split"]} if "split" in table.columns else {}))


def tells_several(path: Path) -> bool:
    """Whether a table says by its columns that an image may have several labels.

    A column `labels` does, and the columns that `evaluate` writes for such sets.
    """
    columns = set(load_frame(path).columns)
    return "labels" in columns or set(PER_LABELS) <= columns


def tidy(cell: str) -> str:
    """The names in a cell with `|` between them, sorted and without spaces."""
    return join_labels(name.strip() for name in split_labels(cell) if name.strip())


def read_table(path: Path, name: str, screen: Screen = _as_it_is) -> pd.DataFrame:
    """A csv or parquet table with `path` (or `image`); names and labels are text.

    Args:
        path: the file.
        name: what it is called in messages.
        screen: what of the table may be shown; see `screening.screened_rows`.

    Raises:
        UserError: if it cannot be read or has no name column.
    """
    require(path.is_file(), name, "an existing .csv or .parquet file", str(path))
    table = load_frame(path)
    key = next((key for key in KEYS if key in table.columns), None)
    rule = f"a table with a column {' or '.join(KEYS)}"
    require(key is not None, name, rule, list(table.columns)[:5])
    require(table.columns.is_unique, name, "a table with one column per name", list(table.columns))
    require(len(table) > 0, name, "a table with at least one row", str(path))
    table = table.rename(columns={key: "path"})
    texts = {column: _texts(table[column]) for column in TEXTS if column in table.columns}
    return screen(table.assign(**texts))


def read_features(path: Path, rows: int) -> np.ndarray:
    """A .npy of N float rows; no pickle is read.

    Raises:
        UserError: if the file is no such array or its rows do not fit.
    """
    require(path.is_file(), "predictions", "an existing .npy file", str(path))
    try:
        features_ND = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # what numpy says is advice to trust the file
        raise UserError(f"predictions must be a .npy of numbers, got {path}") from None
    array = isinstance(features_ND, np.ndarray)  # a .npz by another name gives something else
    fits = array and features_ND.ndim == 2 and features_ND.dtype.kind == "f"
    got = f"{features_ND.shape} of {features_ND.dtype}" if array else "several arrays"
    rule = f"a float array of {rows} rows, one per row of truth"
    require(fits and len(features_ND) == rows, "predictions", rule, got)
    finite_N = np.isfinite(features_ND).all(axis=1)
    got = f"row {int(finite_N.argmin()) + 1} that is not"
    require(finite_N.all(), "predictions", "finite in every row", got)
    found: np.ndarray = features_ND
    return found


def said_cells(
    said: pd.DataFrame, columns: dict[str, str], values_NP: np.ndarray | None, *, multilabel: bool
) -> list[str]:
    """What was said of each row: the column `label` (or `labels`), else what the numbers say.

    That is the most probable class, or every label of at least 0.5.

    Args:
        said: a table of predictions.
        columns: class -> column, as `class_columns` gives them.
        values_NP: their numbers; None without such columns.
        multilabel: whether a row may have several labels or none.

    Raises:
        UserError: if there is neither, or a row has no label where it must.
    """
    named = next((name for name in ("labels", "label") if multilabel and name in said), "label")
    if named in said.columns:
        if multilabel:
            return [tidy(cell) for cell in said[named]]
        _require_labels(said["path"], said[named])
        return [str(label) for label in said[named]]
    if values_NP is None:
        found = ", ".join(map(str, said.columns))
        raise UserError(
            "predictions must be a table with a column 'label', or one column per class named as "
            f"in truth or p_<class>, got the columns {found}"
        )
    names = list(columns)
    if multilabel:
        return _named(names, values_NP >= THRESHOLD)
    return [names[place] for place in values_NP.argmax(axis=1)]


def class_columns(said: pd.DataFrame, classes: list[str], *, multilabel: bool) -> dict[str, str]:
    """Class -> column. `p_` columns win; else every column that is named like a class."""
    marked = {
        str(column).removeprefix(PROBABILITY): str(column)
        for column in said.columns
        if str(column).startswith(PROBABILITY)
    }
    if marked:
        return marked
    taken = NOT_LABELS if multilabel else NOT_CLASSES
    return {name: name for name in classes if name in said.columns and name not in taken}


def probabilities(said: pd.DataFrame, columns: dict[str, str], *, multilabel: bool) -> np.ndarray:
    """The class columns as numbers (N, P); of one class per image, every row's sum is 1.

    Raises:
        UserError: for a number outside [0, 1], or another sum.
    """
    wide = said[list(columns.values())].apply(pd.to_numeric, errors="coerce")
    values_NP: np.ndarray = wide.to_numpy(dtype=np.float64)
    wrong = ~((values_NP >= 0) & (values_NP <= 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        name, cell = said["path"].iloc[row], said[wide.columns[column]].iloc[row]
        raise UserError(
            f"{wide.columns[column]} of {name} must be a probability in [0, 1], got {cell!r}"
        )
    if multilabel:
        return values_NP
    sums = values_NP.sum(axis=1)
    bad = np.abs(sums - 1) > 1e-3
    first = said["path"].iloc[int(bad.argmax())]
    got = f"{sums[bad.argmax()]:.4g} for {first}"
    require(not bad.any(), "probabilities of a row", "1 in sum over all classes", got)
    return values_NP


def require_unique(table: pd.DataFrame, name: str) -> None:
    """Refuse a table that lists a name twice."""
    twice = table["path"][table["path"].duplicated()].tolist()
    require(not twice, name, "a table that lists every name once", twice[:3])


def _texts(column: pd.Series) -> pd.Series:
    """Cells as text: nothing is "", and a whole number stays without a point."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    return column.astype(object).where(column.notna(), "").astype(str)


def _require_labels(paths: pd.Series, labels: pd.Series) -> None:
    empty = (labels == "").to_numpy()
    if empty.any():
        raise UserError(f"label of {paths.iloc[int(empty.argmax())]} must be given, got ''")


def _one_hot(table: pd.DataFrame) -> pd.Series:
    """The class whose column is 1, in a table with one 0/1 column per class."""
    names, values_NC = _flags(table, NOT_CLASSES)
    bad_N = ~np.isin(values_NC, (0, 1)).all(axis=1) | (values_NC.sum(axis=1) != 1)
    if bad_N.any():
        row = int(bad_N.argmax())
        got = dict(zip(names, table[names].iloc[row].astype(str), strict=True))
        raise UserError(
            f"truth must say exactly one class of {table['path'].iloc[row]} (1 in its column, 0 in "
            f"the others; or give a column 'label', or --multilabel if there may be several), "
            f"got {got}"
        )
    bare = _bare(names)
    return pd.Series([bare[place] for place in values_NC.argmax(axis=1)], dtype=object)


def _gathered(table: pd.DataFrame) -> pd.Series:
    """The labels whose columns are 1, in a table with one 0/1 column per label."""
    names, values_NC = _flags(table, NOT_LABELS)
    bad_NC = ~np.isin(values_NC, (0, 1))
    if bad_NC.any():
        row, column = np.argwhere(bad_NC)[0]
        path, cell = table["path"].iloc[row], table[names[column]].iloc[row]
        raise UserError(f"{names[column]} of {path} must be 0 or 1, got {cell!r}")
    return pd.Series(_named(_bare(names), values_NC == 1), dtype=object)


def _flags(table: pd.DataFrame, taken: set[str]) -> tuple[list[str], np.ndarray]:
    """The class columns and their numbers, nan where there is none."""
    names = [name for name in table.columns if name not in taken]
    rule = "a table with a column 'label', or one column per class"
    require(names, "truth", rule, list(table.columns))
    wide = table[names].apply(pd.to_numeric, errors="coerce")
    return names, wide.to_numpy(dtype=np.float64)


def _bare(names: list[str]) -> list[str]:
    return [str(name).removeprefix(PROBABILITY) for name in names]


def _named(names: list[str], chosen_NP: np.ndarray) -> list[str]:
    """The names that are chosen in each row, joined."""
    rows = [np.flatnonzero(row).tolist() for row in chosen_NP]
    return [join_labels(names[place] for place in row) for row in rows]
