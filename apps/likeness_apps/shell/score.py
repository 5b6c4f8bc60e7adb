"""`score`: the same numbers from somebody's own tables or features, without a model.

`score_tables` and `score_features` are the importable functions.

Shapes: N = items, C = classes, D = feature dimension.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.data.manifest import load_frame
from likeness.errors import UserError, require
from likeness.evaluation.intervals import retrieval_intervals
from likeness.evaluation.resampling import Bootstrap
from likeness.evaluation.retrieval import retrieval
from likeness.evaluation.values import plain
from likeness.pairs import Space
from likeness_apps.shell.console import figure, say, show_table
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.measure import (
    PER_ITEM,
    Answers,
    Measured,
    interval_facts,
    measure,
    measure_embeddings,
    per_item,
    retrieval_metrics,
)
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.results import predictions_table, write_results

KEYS = ("path", "image")
LABELS = ("truth", "label")  # of a table of truth: `truth` is what predictions.csv calls it
PROBABILITY = "p_"
TEXTS = ("path", "status", "truth", "label", "group", "split")
NOT_CLASSES = {*TEXTS, "reason", "model_id", "correct", *PER_ITEM}


def score(
    domain: Domain,
    truth: Path,
    predictions: Path,
    out: Path,
    *,
    protocol: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Score predictions (a table) or features (a .npy) against a table of truth.

    Args:
        domain: the application.
        truth: csv or parquet with `path` (or `image`) and `label`, or a 0/1 column per class;
            `group` is resampled as a whole; for features also `split` (query, gallery): without it
            every row asks all others. A predictions.csv of `evaluate` serves, too.
        predictions: csv or parquet with the same names and `label`, or one column per class
            (`p_<class>` or `<class>`); or a .npy of features in the row order of `truth`.
        out: a new or empty directory for metrics.json and predictions.csv.
        protocol: a named protocol of the domain, written into the result.
        quiet: no table.

    Returns:
        metrics.json.

    Raises:
        UserError: if a name is missing, occurs twice or has no prediction, a probability is outside
            [0, 1], or the features do not fit the table.
    """
    if protocol is not None:
        known = ", ".join(domain.protocols) or "none"
        require(protocol in domain.protocols, "protocol", f"one of {known}", protocol)
    require_new(out)
    true = read_truth(truth)
    features_ND = None
    if predictions.suffix == ".npy":
        features_ND = read_features(predictions, len(true))
        measured = score_features(true, features_ND)
        table = _ranked(true, measured)
    else:
        answers, rows, measured = score_tables(true, read_table(predictions, "predictions"))
        table = predictions_table(rows, answers, measured, "")
    unanswered = len(true) - len(table)
    metrics = {
        **measured.metrics,
        "app": domain.name,
        "protocol": protocol or "none stated",
        "model_id": "",
        "items": {"measured": len(table), "unreadable": unanswered},
    }
    write_results(out, metrics, table, features_ND)
    if unanswered:
        say(f"{unanswered} images with status error in predictions are not measured", quiet=quiet)
    _show(metrics, quiet=quiet)
    say(f"{out}: metrics.json, predictions.csv", quiet=quiet)
    return metrics


def score_tables(
    truth: pd.DataFrame, predictions: pd.DataFrame
) -> tuple[Answers, pd.DataFrame, Measured]:
    """Classification figures of two tables joined by `path`.

    Args:
        truth: with `path`, `label` and `group`, see `read_truth`.
        predictions: with `path` and `label`, or one column per class; more rows are ignored. Rows
            whose `status` is not ok have no answer and are not measured.

    Returns:
        The answers, the joined rows with path and group, and what was measured.

    Raises:
        UserError: see `score`.
    """
    _require_unique(predictions, "predictions")
    missing = sorted(set(truth["path"]) - set(predictions["path"]))
    require(not missing, "predictions", "one row for every name in truth", missing[:3])
    said = predictions.set_index("path").loc[truth["path"]].reset_index()
    if "status" in said.columns:
        ok_N = (said["status"] == "ok").to_numpy()
        require(ok_N.any(), "predictions", "a table with rows of status ok", "none")
        said, truth = said[ok_N].reset_index(drop=True), truth[ok_N].reset_index(drop=True)
    columns = _class_columns(said, sorted(set(truth["label"])))
    probabilities_NP = _probabilities(said, columns) if columns else None
    labels = _labels(said, list(columns), probabilities_NP)
    classes = sorted({*truth["label"], *columns, *labels})
    number = {name: index for index, name in enumerate(classes)}
    full_NC = None
    if probabilities_NP is not None:
        full_NC = np.zeros((len(said), len(classes)))
        full_NC[:, [number[name] for name in columns]] = probabilities_NP
    answers = Answers(
        truth_N=np.array([number[label] for label in truth["label"]], dtype=np.int64),
        classes=classes,
        groups_N=truth["group"].to_numpy(),
        readouts={"given": np.array([number[label] for label in labels], dtype=np.int64)},
        probabilities_NC=full_NC,
    )
    return answers, truth, measure(answers)


def score_features(
    truth: pd.DataFrame, features_ND: np.ndarray, *, space: Space = "cosine"
) -> Measured:
    """Retrieval figures of features with labels, and clustering where every row asks all others.

    Args:
        truth: with `path`, `label`, `group`, see `read_truth`; `split` of query and gallery is
            optional.
        features_ND: one row per table row, compared in `space`.
        space: cosine, euclidean or dot.

    Returns:
        The metrics, and what they are for every query; nan for gallery rows.

    Raises:
        UserError: for other split names, or features that do not fit.
    """
    require(len(truth) > 1, "truth", "a table of at least two rows", len(truth))
    labels, groups_N = truth["label"].to_numpy(dtype=str), truth["group"].to_numpy()
    if "split" not in truth.columns or not (truth["split"] != "").any():
        codes_N = np.unique(labels, return_inverse=True)[1]
        measured = measure_embeddings(features_ND, codes_N, groups_N, space=space)
        facts = interval_facts(groups_N, Bootstrap())
        return Measured(facts | measured.metrics | {"space": space}, measured.per_item)
    wrong = sorted(set(truth["split"]) - {"query", "gallery"})
    require(not wrong, "split", "query or gallery in every row", wrong)
    asks_N = (truth["split"] == "query").to_numpy()
    both = asks_N.any() and (~asks_N).any()
    require(both, "split", "query and gallery, both of them", sorted(set(truth["split"])))
    result = retrieval(
        features_ND[asks_N],
        labels[asks_N],
        features_ND[~asks_N],
        labels[~asks_N],
        metrics=retrieval_metrics(int((~asks_N).sum())),
        space=space,
    )
    metrics = interval_facts(groups_N[asks_N], Bootstrap()) | {
        "retrieval": plain(retrieval_intervals(result, groups_N[asks_N])),
        "retrieval_protocol": result.protocol,
        "space": space,
    }
    found = per_item(result).set_axis(np.flatnonzero(asks_N))
    return Measured(metrics, found.reindex(range(len(truth))))


def read_truth(path: Path) -> pd.DataFrame:
    """A table of truth with `path`, `label`, `group` (the path where none is given), maybe `split`.

    Rows whose `status` is not ok are left out, as in the embeddings.npy of `evaluate`.

    Raises:
        UserError: if it cannot be read, a name occurs twice, or a row has not exactly one class.
    """
    table = read_table(path, "truth")
    if "status" in table.columns:
        table = table[table["status"] == "ok"].reset_index(drop=True)
        require(len(table) > 0, "truth", "a table with rows of status ok", str(path))
    _require_unique(table, "truth")
    named = next((name for name in LABELS if name in table.columns), None)
    labels = _one_hot(table) if named is None else table[named]
    _require_labels(table["path"], labels)
    groups = table["group"] if "group" in table.columns else table["path"]
    kept = {
        "path": table["path"],
        "label": labels,
        "group": groups.where(groups != "", table["path"]),
    }
    return pd.DataFrame(kept | ({"split": table["split"]} if "split" in table.columns else {}))


def read_table(path: Path, name: str) -> pd.DataFrame:
    """A csv or parquet table with `path` (or `image`); names and labels are text.

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
    return table.assign(**texts)


def read_features(path: Path, rows: int) -> np.ndarray:
    """A .npy of N float rows; no pickle is read.

    Raises:
        UserError: if the file is no such array or its rows do not fit.
    """
    require(path.is_file(), "predictions", "an existing .npy file", str(path))
    try:
        features_ND = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"predictions must be a .npy of numbers, got {path}: {error}") from None
    array = isinstance(features_ND, np.ndarray)  # a .npz by another name gives something else
    fits = array and features_ND.ndim == 2 and features_ND.dtype.kind == "f"
    got = f"{features_ND.shape} of {features_ND.dtype}" if array else "several arrays"
    rule = f"a float array of {rows} rows, one per row of truth"
    require(fits and len(features_ND) == rows, "predictions", rule, got)
    found: np.ndarray = features_ND
    return found


def _texts(column: pd.Series) -> pd.Series:
    """Cells as text: nothing is "", and a whole number stays without a point."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    return column.astype(object).where(column.notna(), "").astype(str)


def _require_unique(table: pd.DataFrame, name: str) -> None:
    twice = table["path"][table["path"].duplicated()].tolist()
    require(not twice, name, "a table that lists every name once", twice[:3])


def _require_labels(paths: pd.Series, labels: pd.Series) -> None:
    empty = (labels == "").to_numpy()
    if empty.any():
        raise UserError(f"label of {paths.iloc[int(empty.argmax())]} must be given, got ''")


def _one_hot(table: pd.DataFrame) -> pd.Series:
    """The class whose column is 1, in a table with one 0/1 column per class."""
    names = [name for name in table.columns if name not in NOT_CLASSES]
    rule = "a table with a column 'label', or one column per class"
    require(names, "truth", rule, list(table.columns))
    values_NC = table[names].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    bad_N = ~np.isin(values_NC, (0, 1)).all(axis=1) | (values_NC.sum(axis=1) != 1)
    if bad_N.any():
        row = int(bad_N.argmax())
        got = dict(zip(names, table[names].iloc[row].astype(str), strict=True))
        raise UserError(
            f"truth must say exactly one class of {table['path'].iloc[row]} (1 in its column, 0 in "
            f"the others; or give a column 'label'), got {got}"
        )
    bare = [str(name).removeprefix(PROBABILITY) for name in names]
    return pd.Series([bare[place] for place in values_NC.argmax(axis=1)], dtype=object)


def _labels(said: pd.DataFrame, names: list[str], probabilities_NP: np.ndarray | None) -> list[str]:
    """What was said of each row: the column `label`, else the most probable class."""
    if "label" in said.columns:
        _require_labels(said["path"], said["label"])
        return [str(label) for label in said["label"]]
    if probabilities_NP is None:
        columns = ", ".join(map(str, said.columns))
        raise UserError(
            "predictions must be a table with a column 'label', or one column per class named as "
            f"in truth or p_<class>, got the columns {columns}"
        )
    return [names[place] for place in probabilities_NP.argmax(axis=1)]


def _class_columns(said: pd.DataFrame, classes: list[str]) -> dict[str, str]:
    """Class -> column. `p_` columns win; else every column that is named like a class."""
    marked = {
        str(column).removeprefix(PROBABILITY): str(column)
        for column in said.columns
        if str(column).startswith(PROBABILITY)
    }
    if marked:
        return marked
    return {name: name for name in classes if name in said.columns and name not in NOT_CLASSES}


def _probabilities(said: pd.DataFrame, columns: dict[str, str]) -> np.ndarray:
    wide = said[list(columns.values())].apply(pd.to_numeric, errors="coerce")
    values_NP: np.ndarray = wide.to_numpy(dtype=np.float64)
    wrong = ~((values_NP >= 0) & (values_NP <= 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        name, cell = said["path"].iloc[row], said[wide.columns[column]].iloc[row]
        raise UserError(
            f"{wide.columns[column]} of {name} must be a probability in [0, 1], got {cell!r}"
        )
    sums = values_NP.sum(axis=1)
    bad = np.abs(sums - 1) > 1e-3
    first = said["path"].iloc[int(bad.argmax())]
    got = f"{sums[bad.argmax()]:.4g} for {first}"
    require(not bad.any(), "probabilities of a row", "1 in sum over all classes", got)
    return values_NP


def _ranked(truth: pd.DataFrame, measured: Measured) -> pd.DataFrame:
    """predictions.csv of features: what every query scored, for `compare`."""
    table = truth.rename(columns={"label": "truth"})
    table.insert(1, "status", "ok")
    return pd.concat([table, measured.per_item], axis=1)


def _show(metrics: dict[str, Any], *, quiet: bool) -> None:
    rows = [
        (family, name, figure(value), value["count"])
        for family in ("classification", "calibration", "retrieval", "clustering")
        for name, value in metrics.get(family, {}).items()
    ]
    columns = ("kind", "measure", "value [95 % interval]", "items")
    show_table("Scores", columns, rows, numeric=("items",), quiet=quiet)
