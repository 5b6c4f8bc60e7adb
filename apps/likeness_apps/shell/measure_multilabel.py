"""The figures of a multi-label set, in the outer shape of `measure`: arrays in, metrics.json out.

Shapes: N = items, L = labels, D = embedding dimension.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from likeness.evaluation.multilabel import ITEM_METRICS, MultiLabel, multilabel
from likeness.evaluation.multilabel_intervals import multilabel_intervals
from likeness.evaluation.resampling import Bootstrap
from likeness.evaluation.retrieval import retrieval
from likeness.evaluation.values import plain
from likeness.pairs import Space
from likeness_apps.shell.measure import Answers, Measured, interval_facts, retrieved

TASK = "multi-label"  # the entry `task` of metrics.json
NEAREST = (1, 5, 10)
DEPTHS = (10, 20)
GRADED = ("ap", "wap", "acg", "ndcg")
EXAMPLES = ("accuracy", "precision", "recall", "f1")
MONITORED_DEPTH = 20
# Kept beside each prediction, for paired comparisons: of the labels, and of retrieval.
PER_LABELS = ITEM_METRICS
PER_QUERY = ("recall@1", *(f"{name}@{DEPTHS[0]}" for name in GRADED), "map")


def measure(answers: Answers, bootstrap: Bootstrap | None = None) -> Measured:
    """Every figure that the answers allow, each with a group-bootstrap interval.

    Args:
        answers: truth and read-outs as tables (N, L) of 0 and 1; retrieval asks leave-one-out.
        bootstrap: replicates, seed and level of the intervals; None takes the defaults.

    Returns:
        The metrics and the per-item values behind them.

    Raises:
        UserError: as the metrics do.
    """
    chosen = Bootstrap() if bootstrap is None else bootstrap
    found = {"task": TASK, **interval_facts(answers.groups_N, chosen)}
    labelled = _headline(answers)
    found |= _classified(answers, labelled, chosen)
    per_item = pd.DataFrame({name: labelled.per_item[name] for name in PER_LABELS})
    if answers.embeddings_ND is None or len(per_item) < 2:
        return Measured(found, per_item)
    neighbours = measure_embeddings(
        answers.embeddings_ND,
        answers.truth_N,
        answers.groups_N,
        space=answers.space,
        bootstrap=chosen,
    )
    return Measured(found | neighbours.metrics, pd.concat([per_item, neighbours.per_item], axis=1))


def measure_embeddings(
    embeddings_ND: np.ndarray,
    truth_NL: np.ndarray,
    groups_N: np.ndarray,
    *,
    space: Space,
    bootstrap: Bootstrap | None = None,
) -> Measured:
    """Retrieval, where every one of N >= 2 items asks all others: right = shares a label.

    Raises:
        UserError: as the metrics do.
    """
    names = retrieval_metrics(len(truth_NL) - 1)
    result = retrieval(embeddings_ND, truth_NL.astype(bool), metrics=names, space=space)
    return _of_task(retrieved(result, groups_N, PER_QUERY, bootstrap))


def measure_search(
    query_QD: np.ndarray,
    truth_QL: np.ndarray,
    gallery_GD: np.ndarray,
    truth_GL: np.ndarray,
    groups_Q: np.ndarray,
    *,
    space: Space,
) -> Measured:
    """Retrieval, where queries ask a gallery: right = shares a label.

    Raises:
        UserError: as the metrics do.
    """
    names = retrieval_metrics(len(gallery_GD))
    tables = truth_QL.astype(bool), truth_GL.astype(bool)
    result = retrieval(query_QD, tables[0], gallery_GD, tables[1], metrics=names, space=space)
    return _of_task(retrieved(result, groups_Q, PER_QUERY))


def _of_task(found: Measured) -> Measured:
    return Measured({"task": TASK} | found.metrics, found.per_item)


def validation_scores(answers: Answers) -> dict[str, float]:
    """What chooses the best epoch: mean AP over the labels; mAP, WMAP and nDCG of retrieval.

    WMAP and nDCG look at the 20 nearest, or at all others where there are fewer. No intervals.
    """
    scores = {}
    if answers.readouts:
        scores["macro_ap"] = _headline(answers).values["macro_ap"].value
    others = len(answers.truth_N) - 1
    if answers.embeddings_ND is not None and others >= 1:
        depth = min(MONITORED_DEPTH, others)
        truth_NL = answers.truth_N.astype(bool)
        names = {"map": "map", "wmap": f"wap@{depth}", "ndcg": f"ndcg@{depth}"}
        found = retrieval(
            answers.embeddings_ND, truth_NL, metrics=list(names.values()), space=answers.space
        ).values()
        scores |= {name: found[metric].value for name, metric in names.items()}
    return scores


def retrieval_metrics(others: int) -> list[str]:
    """The retrieval metrics that are defined when a query has `others` items to rank."""
    wanted = [(f"recall@{k}", k) for k in NEAREST] + [("exact_recall@1", 1)]
    wanted += [(f"{name}@{k}", k) for k in DEPTHS for name in GRADED]
    wanted += [(f"example_{name}@{k}", k) for k in DEPTHS[:1] for name in EXAMPLES]
    return [name for name, depth in wanted if depth <= others] + ["map"]


def _headline(answers: Answers) -> MultiLabel:
    predicted_NL = next(iter(answers.readouts.values()))
    return multilabel(answers.truth_N, predicted_NL, answers.probabilities_NC)


def _classified(answers: Answers, headline: MultiLabel, bootstrap: Bootstrap) -> dict[str, Any]:
    """Read-outs side by side; only the headline has probabilities to rank items by."""
    first = next(iter(answers.readouts))
    readouts = {
        name: plain(
            multilabel_intervals(
                answers.truth_N,
                predicted_NL,
                answers.groups_N,
                answers.probabilities_NC if name == first else None,
                bootstrap,
            )
        )
        for name, predicted_NL in answers.readouts.items()
    }
    rows = headline.table.rows(answers.classes)
    return {
        "readouts": readouts,
        "classification": readouts[first],
        "classification_readout": first,
        "per_class": [{"class": row.pop("label"), **row} for row in rows],
    }
