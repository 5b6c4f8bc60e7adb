"""`score`: the same numbers from somebody's own tables or features, without a model.

`score_tables` and `score_features` are the importable functions.

Shapes: N = items, C = classes, D = feature dimension.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.data.manifest import split_labels
from likeness.errors import require
from likeness.evaluation.resampling import Bootstrap
from likeness.pairs import Space
from likeness_apps.shell.console import figure, say, show_table
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.given import (
    Screen,
    class_columns,
    probabilities,
    read_features,
    read_table,
    read_truth,
    require_unique,
    said_cells,
    tells_several,
)
from likeness_apps.shell.measure import Answers, Measured, interval_facts, with_field
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.protocols import stated_score
from likeness_apps.shell.results import predictions_table, write_results
from likeness_apps.shell.screening import screened_rows
from likeness_apps.shell.tasks import task_of
from likeness_apps.shell.verify import SOURCES as VERIFICATION
from likeness_apps.shell.verify import verify


def score(
    domain: Domain,
    truth: Path,
    predictions: Path,
    out: Path,
    *,
    protocol: str | None = None,
    fold: int | None = None,
    multilabel: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Score predictions (a table) or features (a .npy) against a table of truth.

    Args:
        domain: the application.
        truth: csv or parquet with `path` (or `image`) and `label`, or a 0/1 column per class;
            `group` is resampled as a whole; for features also `split` (query, gallery): without it
            every row asks all others. A predictions.csv of `evaluate` serves, too. With several
            labels per image: `labels` with `|` between them, or a 0/1 column per label.
        predictions: csv or parquet with the same names and `label`, or one column per class
            (`p_<class>` or `<class>`; without `label` the most probable class counts, with
            several labels per image all of at least 0.5); or a .npy of features in the row order
            of `truth`.
        out: a new or empty directory for metrics.json and predictions.csv.
        protocol: a named protocol of the domain, written into the result; or `lfw` and
            `verification`, of pairs of images: then `truth` and `predictions` are the pairs and the
            features of `verify.verify`.
        fold: the fold that was tested, written into the result, for `pool`.
        multilabel: an image may have several labels; a table with `labels` says so itself.
        quiet: no table.

    Returns:
        metrics.json.

    Raises:
        UserError: if a name is missing, occurs twice or has no prediction, a probability is outside
            [0, 1], or the features do not fit the table.
    """
    if protocol in VERIFICATION:
        rule = f"left out for protocol {protocol}"
        require(fold is None, "fold", rule, fold)
        require(not multilabel, "multilabel", rule, True)
        return verify(domain, truth, predictions, out, protocol=protocol, quiet=quiet)
    known = (*domain.protocols, *VERIFICATION)
    require(
        protocol is None or protocol in known, "protocol", f"one of {', '.join(known)}", protocol
    )
    stated = stated_score(domain, protocol, fold)
    require_new(out)
    multilabel = multilabel or (truth.is_file() and tells_several(truth))
    if protocol is not None:
        _require_its_form(domain, protocol, multilabel=multilabel)
    screen = partial(screened_rows, domain, quiet=quiet)
    true = read_truth(truth, multilabel=multilabel, screen=screen)
    features_ND = None
    if predictions.suffix == ".npy":
        features_ND = read_features(predictions, len(true))
        measured = score_features(true, features_ND, multilabel=multilabel)
        table = _ranked(true, measured)
    else:
        measured, table = _of_table(domain, truth, true, predictions, multilabel=multilabel)
    unanswered = len(true) - len(table)
    metrics = {
        **measured.metrics,
        "app": domain.name,
        **stated,
        "model_id": "",
        "items": {"measured": len(table), "unreadable": unanswered},
    }
    write_results(out, metrics, table, features_ND)
    if unanswered:
        say(f"{unanswered} images with status error in predictions are not measured", quiet=quiet)
    _show(metrics, quiet=quiet)
    if domain.measures is not None and domain.measures().name in metrics:
        domain.measures().show(metrics[domain.measures().name], quiet=quiet)
    say(f"{out}: metrics.json, predictions.csv", quiet=quiet)
    return metrics


def _require_its_form(domain: Domain, protocol: str, *, multilabel: bool) -> None:
    """The labels must be of the kind that a protocol measures."""
    forms = {True: "several", False: "one"}
    wanted = domain.protocols[protocol].multilabel
    rule = f"{forms[wanted]} label{'s' * wanted} per image"
    require(multilabel == wanted, f"truth of protocol {protocol}", rule, forms[multilabel])


def _of_table(
    domain: Domain, truth: Path, true: pd.DataFrame, predictions: Path, *, multilabel: bool
) -> tuple[Measured, pd.DataFrame]:
    """The figures of a table of predictions, those of the field too, and predictions.csv."""
    screen = partial(screened_rows, domain, quiet=True)  # what it has to say is said of the truth
    said = read_table(predictions, "predictions", screen)
    answers, rows, measured = score_tables(true, said, multilabel=multilabel)
    if domain.measures is not None and not multilabel:
        field = domain.measures()
        known = rows.merge(_further(truth, rows, screen), on="path", how="left")
        own = field.scored(answers, known)
        measured = measured if own is None else with_field(measured, field.name, own)
    return measured, predictions_table(rows, answers, measured, "")


def score_tables(
    truth: pd.DataFrame, predictions: pd.DataFrame, *, multilabel: bool = False
) -> tuple[Answers, pd.DataFrame, Measured]:
    """Classification figures of two tables joined by `path`.

    Args:
        truth: with `path`, `label` and `group`, see `read_truth`.
        predictions: with `path` and `label`, or one column per class; more rows are ignored. Rows
            whose `status` is not ok have no answer and are not measured.
        multilabel: cells hold any number of labels with `|` between them.

    Returns:
        The answers, the joined rows with path and group, and what was measured.

    Raises:
        UserError: see `score`.
    """
    require_unique(predictions, "predictions")
    missing = sorted(set(truth["path"]) - set(predictions["path"]))
    require(not missing, "predictions", "one row for every name in truth", missing[:3])
    said = predictions.set_index("path").loc[truth["path"]].reset_index()
    if "status" in said.columns:
        ok_N = (said["status"] == "ok").to_numpy()
        require(ok_N.any(), "predictions", "a table with rows of status ok", "none")
        said, truth = said[ok_N].reset_index(drop=True), truth[ok_N].reset_index(drop=True)
    true = truth["label"].tolist()
    columns = class_columns(said, names_in(true, multilabel=multilabel), multilabel=multilabel)
    values_NP = probabilities(said, columns, multilabel=multilabel) if columns else None
    cells = said_cells(said, columns, values_NP, multilabel=multilabel)
    classes = sorted({*columns, *names_in([*true, *cells], multilabel=multilabel)})
    full_NC = None
    if values_NP is not None and not (multilabel and np.isin(values_NP, (0, 1)).all()):
        full_NC = np.zeros((len(said), len(classes)))
        full_NC[:, [classes.index(name) for name in columns]] = values_NP
    task = task_of(classes, multilabel=multilabel)
    answers = Answers(
        truth_N=task.targets(true),
        classes=classes,
        groups_N=truth["group"].to_numpy(),
        readouts={"given": task.targets(cells)},
        probabilities_NC=full_NC,  # decisions of 0 and 1 rank nothing
    )
    return answers, truth, task.figures.measure(answers)


def score_features(
    truth: pd.DataFrame,
    features_ND: np.ndarray,
    *,
    space: Space = "cosine",
    multilabel: bool = False,
) -> Measured:
    """Retrieval figures of features with labels; where every row asks all others, clustering too.

    Args:
        truth: with `path`, `label`, `group`, see `read_truth`; `split` of query and gallery is
            optional.
        features_ND: one row per table row, compared in `space`.
        space: cosine, euclidean or dot.
        multilabel: cells hold any number of labels with `|` between them; right = shares one.

    Returns:
        The metrics, and what they are for every query; nan for gallery rows.

    Raises:
        UserError: for other split names, or features that do not fit.
    """
    require(len(truth) > 1, "truth", "a table of at least two rows", len(truth))
    cells, groups_N = truth["label"].tolist(), truth["group"].to_numpy()
    task = task_of(names_in(cells, multilabel=multilabel), multilabel=multilabel)
    targets = task.targets(cells)
    if "split" not in truth.columns or not (truth["split"] != "").any():
        measured = task.figures.measure_embeddings(features_ND, targets, groups_N, space=space)
        facts = interval_facts(groups_N, Bootstrap())
        return Measured(facts | measured.metrics | {"space": space}, measured.per_item)
    wrong = sorted(set(truth["split"]) - {"query", "gallery"})
    require(not wrong, "split", "query or gallery in every row", wrong)
    asks_N = (truth["split"] == "query").to_numpy()
    both = asks_N.any() and (~asks_N).any()
    require(both, "split", "query and gallery, both of them", sorted(set(truth["split"])))
    measured = task.figures.measure_search(
        features_ND[asks_N],
        targets[asks_N],
        features_ND[~asks_N],
        targets[~asks_N],
        groups_N[asks_N],
        space=space,
    )
    facts = interval_facts(groups_N[asks_N], Bootstrap())
    per_item = measured.per_item.set_axis(np.flatnonzero(asks_N)).reindex(range(len(truth)))
    return Measured(facts | measured.metrics | {"space": space}, per_item)


def names_in(cells: list[str], *, multilabel: bool) -> list[str]:
    """The class names in cells of `label`, sorted."""
    return sorted(
        {name for cell in cells for name in (split_labels(cell) if multilabel else [cell])}
    )


def _further(truth: Path, rows: pd.DataFrame, screen: Screen) -> pd.DataFrame:
    """The columns of the table of truth that `rows` lacks, and `path`."""
    table = read_table(truth, "truth", screen)
    if "status" in table.columns:  # as `read_truth` does
        table = table[table["status"] == "ok"]
    return table[["path", *(name for name in table.columns if name not in rows.columns)]]


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
