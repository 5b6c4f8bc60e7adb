"""From arrays to the metrics that every report shows; no model and no file in sight.

`train` (validation), `evaluate`, `score` and the benchmarks all measure here; sets with several
labels per image in `measure_multilabel`. `tasks` chooses.

Shapes: N = items, C = classes, D = embedding dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from likeness.evaluation.calibration import calibration
from likeness.evaluation.classification import classification
from likeness.evaluation.clustering import clustering
from likeness.evaluation.intervals import classification_intervals, retrieval_intervals
from likeness.evaluation.resampling import Bootstrap
from likeness.evaluation.retrieval import RetrievalResult, retrieval
from likeness.evaluation.values import plain
from likeness.pairs import Space

AT = (1, 2, 4, 8)
TEN = 10
WHOLE = ("r_precision", "map@r", "map", "anmrr")
PER_ITEM = ("recall@1", "map@r")  # kept beside each prediction, for paired comparisons


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model (or somebody's table) said of N items with known labels.

    Attributes:
        truth_N: class numbers (N,); of a multi-label set a table (N, C) of 0 and 1.
        classes: C class names.
        groups_N: what is resampled as a whole (scene block, patient, identity).
        readouts: name -> what was said, in the form of `truth_N`; the first is the headline.
        probabilities_NC: of the headline read-out, or None.
        embeddings_ND: or None, then nothing is retrieved.
        space: how embeddings are compared.
    """

    truth_N: np.ndarray
    classes: list[str]
    groups_N: np.ndarray
    readouts: Mapping[str, np.ndarray]
    probabilities_NC: np.ndarray | None = None
    embeddings_ND: np.ndarray | None = None
    space: Space = "cosine"


@dataclass(frozen=True, eq=False)
class Measured:
    """metrics.json, and what belongs beside each item.

    Attributes:
        metrics: plain data: classification, retrieval, clustering, per_class, confusion,
            readouts, calibration, interval.
        per_item: one row per item: `PER_ITEM` columns, nan where a query was skipped.
    """

    metrics: dict[str, Any]
    per_item: pd.DataFrame


def with_field(measured: Measured, name: str, own: Measured) -> Measured:
    """The figures, and under `name` those of the field, with its columns beside each item."""
    columns = pd.concat([measured.per_item, own.per_item.set_axis(measured.per_item.index)], axis=1)
    return Measured({**measured.metrics, name: own.metrics}, columns)


def measure(answers: Answers, bootstrap: Bootstrap | None = None) -> Measured:
    """Every figure that the answers allow, each with a group-bootstrap interval.

    Args:
        answers: at least labels; retrieval asks leave-one-out: every item asks all others.
        bootstrap: replicates, seed and level of the intervals; None takes the defaults.

    Returns:
        The metrics and the per-item values behind them.

    Raises:
        UserError: as the metrics do.
    """
    chosen = Bootstrap() if bootstrap is None else bootstrap
    metrics = interval_facts(answers.groups_N, chosen) | _classified(answers, chosen)
    count = len(answers.truth_N)
    if answers.embeddings_ND is None or count < 2:
        return Measured(metrics, pd.DataFrame(index=range(count)))
    found = measure_embeddings(
        answers.embeddings_ND,
        answers.truth_N,
        answers.groups_N,
        space=answers.space,
        bootstrap=chosen,
    )
    return Measured(metrics | found.metrics, found.per_item)


def measure_embeddings(
    embeddings_ND: np.ndarray,
    truth_N: np.ndarray,
    groups_N: np.ndarray,
    *,
    space: Space,
    bootstrap: Bootstrap | None = None,
) -> Measured:
    """Retrieval, where every item asks all others, and clustering of N >= 2 items.

    Raises:
        UserError: as the metrics do.
    """
    chosen = Bootstrap() if bootstrap is None else bootstrap
    names = retrieval_metrics(len(truth_N) - 1)
    result = retrieval(embeddings_ND, truth_N, metrics=names, space=space)
    clusters = clustering(embeddings_ND, truth_N, space=space)
    found = retrieved(result, groups_N, PER_ITEM, chosen)
    clustered = {"clustering": plain(clusters.values), "clustering_protocol": clusters.protocol}
    return Measured(found.metrics | clustered, found.per_item)


def measure_search(
    query_QD: np.ndarray,
    truth_Q: np.ndarray,
    gallery_GD: np.ndarray,
    truth_G: np.ndarray,
    groups_Q: np.ndarray,
    *,
    space: Space,
) -> Measured:
    """Retrieval, where queries ask a gallery.

    Raises:
        UserError: as the metrics do.
    """
    names = retrieval_metrics(len(gallery_GD))
    result = retrieval(query_QD, truth_Q, gallery_GD, truth_G, metrics=names, space=space)
    return retrieved(result, groups_Q, PER_ITEM)


def retrieved(
    result: RetrievalResult,
    groups_Q: np.ndarray,
    columns: Sequence[str],
    bootstrap: Bootstrap | None = None,
) -> Measured:
    """A retrieval with its intervals, and those of `columns` that it has, one row per query."""
    chosen = Bootstrap() if bootstrap is None else bootstrap
    metrics = {
        "retrieval": plain(retrieval_intervals(result, groups_Q, chosen)),
        "retrieval_protocol": result.protocol,
    }
    there = [name for name in columns if name in result.per_query]
    return Measured(metrics, pd.DataFrame({name: result.per_query[name] for name in there}))


def interval_facts(groups_N: np.ndarray, bootstrap: Bootstrap) -> dict[str, Any]:
    """How the intervals were made: the entry `interval` of metrics.json."""
    return {
        "interval": {
            "method": "group bootstrap, percentile",
            "level": bootstrap.level,
            "replicates": bootstrap.replicates,
            "seed": bootstrap.seed,
            "groups": len(np.unique(groups_N)),
            "label": "evaluation noise only",
        }
    }


def validation_scores(answers: Answers) -> dict[str, float]:
    """What chooses the best epoch: accuracies of the headline read-out, and MAP@R; no intervals."""
    scores = {}
    if answers.readouts:
        headline = next(iter(answers.readouts.values()))
        table = classification(answers.truth_N, headline, len(answers.classes)).values
        scores["accuracy"] = table["overall_accuracy"].value
        scores["average_accuracy"] = table["average_accuracy"].value
    if answers.embeddings_ND is not None and len(answers.truth_N) > 1:
        found = retrieval(
            answers.embeddings_ND, answers.truth_N, metrics=["map@r"], space=answers.space
        )
        scores["map_at_r"] = found.values()["map@r"].value
    return scores


def _classified(answers: Answers, bootstrap: Bootstrap) -> dict[str, Any]:
    count = len(answers.classes)
    readouts = {
        name: plain(
            classification_intervals(
                answers.truth_N, predicted_N, count, answers.groups_N, bootstrap
            )
        )
        for name, predicted_N in answers.readouts.items()
    }
    headline = next(iter(answers.readouts))
    table = classification(answers.truth_N, answers.readouts[headline], count)
    found: dict[str, Any] = {
        "readouts": readouts,
        "classification": readouts[headline],
        "classification_readout": headline,
        "per_class": table.table.rows(answers.classes),
        "confusion": {"classes": answers.classes, "counts": table.counts_CC.tolist()},
    }
    if answers.probabilities_NC is not None and len(answers.truth_N):
        found["calibration"] = plain(calibration(answers.probabilities_NC, answers.truth_N).values)
    return found


def retrieval_metrics(others: int) -> list[str]:
    """The retrieval metrics that are defined when a query has `others` items to rank.

    A tiny set has no tenth neighbour: what is not defined is left out, never computed on less.
    """
    wanted = [(f"recall@{k}", k) for k in AT] + [(f"precision@{TEN}", TEN), (f"ndcg@{TEN}", TEN)]
    return [name for name, depth in wanted if depth <= others] + list(WHOLE)
