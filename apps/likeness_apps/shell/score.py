"""`score`: the same numbers from somebody's own tables or features, without a model.

`score_tables` and `score_features` are the importable functions.

Shapes: N = items, C = classes, D = feature dimension.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.errors import UserError, require
from likeness.evaluation.intervals import retrieval_intervals
from likeness.evaluation.retrieval import retrieval
from likeness.evaluation.values import plain
from likeness.pairs import Space
from likeness_apps.shell.console import figure, say, show_table
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.measure import Answers, Measured, measure, retrieval_metrics
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.results import predictions_table, write_results

KEYS = ("path", "image")
PROBABILITY = "p_"
NOT_CLASSES = {"status", "reason", "label", "group", "split", "model_id", "correct", "truth"}


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
        truth: csv or parquet with `path` (or `image`) and `label`; `group` is resampled as a whole;
            for features also `split` (query, gallery): without it every row asks all others.
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
    table = read_table(truth, "truth")
    header = {"app": domain.name, "protocol": protocol or "none stated", "model_id": ""}
    if predictions.suffix == ".npy":
        features_ND = read_features(predictions, len(table))
        metrics = header | score_features(table, features_ND)
        write_results(out, metrics, table.assign(status="ok"), features_ND)
    else:
        answers, rows, measured = score_tables(table, read_table(predictions, "predictions"))
        metrics = header | measured.metrics
        write_results(out, metrics, predictions_table(rows, answers, measured, ""), None)
    _show(metrics, quiet=quiet)
    say(f"{out}: metrics.json, predictions.csv", quiet=quiet)
    return metrics


def score_tables(
    truth: pd.DataFrame, predictions: pd.DataFrame
) -> tuple[Answers, pd.DataFrame, Measured]:
    """Classification figures of two tables joined by `path` (or `image`).

    Args:
        truth: with `path` and `label`; `group` is optional.
        predictions: with `path` and `label`, or one column per class; more rows are ignored.

    Returns:
        The answers, the joined rows with path and group, and what was measured.

    Raises:
        UserError: see `score`.
    """
    _require_unique(truth, "truth")
    _require_unique(predictions, "predictions")
    require("label" in truth.columns, "truth", "a table with a column 'label'", list(truth.columns))
    missing = sorted(set(truth["path"]) - set(predictions["path"]))
    require(not missing, "predictions", "one row for every name in truth", missing[:3])
    said = predictions.set_index("path").loc[truth["path"]].reset_index()
    classes = sorted(set(truth["label"]))
    columns = _class_columns(said, classes)
    probabilities = _probabilities(said, columns) if columns else None
    if "label" in said.columns:
        labels = said["label"].astype(str).tolist()
        classes = sorted(set(classes) | set(labels) | set(columns))
    else:
        require(probabilities is not None, "predictions", "a table with labels or classes", "none")
        assert probabilities is not None
        classes = sorted(set(classes) | set(columns))
        names = list(columns)
        labels = [names[index] for index in probabilities.argmax(axis=1)]
    number = {name: index for index, name in enumerate(classes)}
    full = None
    if probabilities is not None:
        full = np.zeros((len(said), len(classes)))
        full[:, [number[name] for name in columns]] = probabilities
    rows = truth.assign(group=truth["group"] if "group" in truth.columns else truth["path"])
    answers = Answers(
        truth_N=np.array([number[label] for label in truth["label"]], dtype=np.int64),
        classes=classes,
        groups_N=rows["group"].to_numpy(),
        readouts={"given": np.array([number[label] for label in labels], dtype=np.int64)},
        probabilities_NC=full,
    )
    return answers, rows, measure(answers)


def score_features(
    table: pd.DataFrame, features_ND: np.ndarray, *, space: Space = "cosine"
) -> dict[str, Any]:
    """Retrieval figures of features with labels.

    Args:
        table: with `path`, `label`; `split` of query and gallery is optional; so is `group`.
        features_ND: one row per table row, compared in `space`.
        space: cosine, euclidean or dot.

    Raises:
        UserError: for other split names, or features that do not fit.
    """
    require("label" in table.columns, "truth", "a table with a column 'label'", list(table.columns))
    group = table["group"] if "group" in table.columns else table["path"]
    if "split" not in table.columns or not (table["split"] != "").any():
        classes = sorted(set(table["label"]))
        number = {name: index for index, name in enumerate(classes)}
        labels_N = np.array([number[label] for label in table["label"]])
        names = retrieval_metrics(len(table) - 1)
        found = retrieval(features_ND, labels_N, metrics=names, space=space)
        intervals = retrieval_intervals(found, group.to_numpy())
    else:
        wrong = sorted(set(table["split"]) - {"query", "gallery"})
        require(not wrong, "split", "query or gallery in every row", wrong)
        asks = (table["split"] == "query").to_numpy()
        require(asks.any() and (~asks).any(), "split", "both query and gallery", "only one")
        labels = table["label"].to_numpy(dtype=str)
        names = retrieval_metrics(int((~asks).sum()))
        found = retrieval(
            features_ND[asks],
            labels[asks],
            features_ND[~asks],
            labels[~asks],
            metrics=names,
            space=space,
        )
        intervals = retrieval_intervals(found, group.to_numpy()[asks])
    return {"retrieval": plain(intervals), "retrieval_protocol": found.protocol, "space": space}


def read_table(path: Path, name: str) -> pd.DataFrame:
    """A csv or parquet table with `path` (or `image`), all text but for numbers in parquet.

    Raises:
        UserError: if it cannot be read or has no name column.
    """
    require(path.is_file(), name, "an existing .csv or .parquet file", str(path))
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{name} must be a readable table, got {path}: {reason}") from None
    key = next((key for key in KEYS if key in table.columns), None)
    rule = f"a table with a column {' or '.join(KEYS)}"
    require(key is not None, name, rule, list(table.columns)[:5])
    require(len(table) > 0, name, "a table with at least one row", str(path))
    return table.rename(columns={key: "path"})


def read_features(path: Path, rows: int) -> np.ndarray:
    """A .npy of N float rows; no pickle is read.

    Raises:
        UserError: if the file is no such array or its rows do not fit.
    """
    require(path.is_file(), "predictions", "an existing .npy file", str(path))
    try:
        features_ND = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"predictions must be a .npy of numbers, got {path}: {error}") from None
    fits = features_ND.ndim == 2 and len(features_ND) == rows and features_ND.dtype.kind == "f"
    rule = f"a float array of {rows} rows, one per row of truth"
    require(fits, "predictions", rule, f"{features_ND.shape} of {features_ND.dtype}")
    return np.asarray(features_ND)


def _require_unique(table: pd.DataFrame, name: str) -> None:
    twice = table["path"][table["path"].duplicated()].tolist()
    require(not twice, name, "a table that lists every name once", twice[:3])


def _class_columns(said: pd.DataFrame, classes: list[str]) -> dict[str, str]:
    """Class -> column. `p_` columns win; else every numeric column that is named like a class."""
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
    values = wide.to_numpy(dtype=np.float64)
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        name, cell = said["path"].iloc[row], said[wide.columns[column]].iloc[row]
        raise UserError(
            f"{wide.columns[column]} of {name} must be a probability in [0, 1], got {cell!r}"
        )
    sums = values.sum(axis=1)
    bad = np.abs(sums - 1) > 1e-3
    first = said["path"].iloc[int(bad.argmax())]
    got = f"{sums[bad.argmax()]:.4g} for {first}"
    require(not bad.any(), "probabilities of a row", "1 in sum", got)
    checked: np.ndarray = values
    return checked


def _show(metrics: dict[str, Any], *, quiet: bool) -> None:
    rows = [
        (family, name, figure(value), value["count"])
        for family in ("classification", "calibration", "retrieval")
        for name, value in metrics.get(family, {}).items()
    ]
    columns = ("kind", "measure", "value [95 % interval]", "items")
    show_table("Scores", columns, rows, numeric=("items",), quiet=quiet)
