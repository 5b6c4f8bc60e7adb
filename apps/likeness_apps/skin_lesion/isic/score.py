"""`score` of skin lesions: ISIC tables by the official rules, others as every application does.

The official figures and the corrected ones are the entry `isic` of `clinical` in metrics.json;
beside them stand the shared figures and the clinical ones, as far as the tables tell them.

Legend: N images, C class columns, K classes with the rest.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.errors import require
from likeness_apps.shell.console import say, show_table
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.given import read_table
from likeness_apps.shell.measure import Answers, Measured, measure
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.protocols import stated_score
from likeness_apps.shell.results import predictions_table, write_results
from likeness_apps.shell.score import score as shared_score
from likeness_apps.shell.screening import screened_rows
from likeness_apps.skin_lesion.binary import BENIGN, MALIGNANT, OTHER
from likeness_apps.skin_lesion.clinical.measures import (
    DISCLAIMER,
    clinical_columns,
    clinical_figures,
)
from likeness_apps.skin_lesion.clinical.table import show_tasks
from likeness_apps.skin_lesion.diagnoses import DIAGNOSES
from likeness_apps.skin_lesion.isic.scoring import FLOOR, IsicScore
from likeness_apps.skin_lesion.isic.scoring import score as official_score
from likeness_apps.skin_lesion.isic.submission import submission_of
from likeness_apps.skin_lesion.isic.tables import (
    IsicTruth,
    is_official,
    read_submission,
    read_truth,
)

SEVERAL = "Some images have several classes: only the figures of each class are given."
_SUM = 1e-3  # by so much the probabilities of a row may miss 1, as everywhere
# What an image without a class column is; elsewhere `other`.
_REST = {(MALIGNANT,): BENIGN, ("melanoma", "seborrheic_keratosis"): "nevus"}
_SHOWN = (
    "accuracy",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "dice",
    "auc",
    "auc_sens_80",
    "ap",
)
_CORRECTED = ("sensitivity_argmax", "specificity_argmax", "ppv_argmax", "ppv_or_nan", "prevalence")


def score(
    domain: Domain,
    truth: Path,
    predictions: Path,
    out: Path,
    *,
    floor: float = FLOOR,
    protocol: str | None = None,
    fold: int | None = None,
    multilabel: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Score predictions against a table of truth, by the official rules where it is an ISIC one.

    Args:
        domain: the application.
        truth: a table of an ISIC challenge (`image`, then a 0/1 column per class; or two columns
            without a header, as in 2016), or any that the shared `score` takes.
        predictions: a submission with the same columns, or what `predict` or `evaluate` wrote; for
            other truth as the shared `score`.
        out: a new or empty directory for metrics.json and predictions.csv.
        floor: sensitivity in (0, 1) at which the corrected partial areas begin.
        protocol: a named protocol of the domain, written into the result.
        fold: the fold that was tested, written into the result.
        multilabel: for the shared `score`.
        quiet: no table.

    Returns:
        metrics.json.

    Raises:
        UserError: as `read_truth`, `read_submission` and the shared `score` do.
    """
    if not is_official(truth):
        require(floor == FLOOR, "floor", "left out, unless truth is an ISIC table", floor)
        return shared_score(
            domain,
            truth,
            predictions,
            out,
            protocol=protocol,
            fold=fold,
            multilabel=multilabel,
            quiet=quiet,
        )
    require(not multilabel, "multilabel", "left out for an ISIC table", multilabel)
    stated = stated_score(domain, protocol, fold)
    require_new(out)
    true = read_truth(truth, shown=domain.screen_names or list)
    values_NC = _said(domain, predictions, true)
    found = official_score(true, values_NC, floor=floor)
    metrics, table = _figures(true, values_NC)
    metrics["clinical"]["isic"] = {"columns": list(true.classes)} | found.as_dict()
    metrics |= {"app": domain.name, **stated, "model_id": ""}
    metrics["items"] = {"measured": len(table), "unreadable": 0}
    write_results(out, metrics, table, None)
    _show(found, quiet=quiet)
    show_tasks(metrics["clinical"], quiet=quiet)
    say(f"{out}: metrics.json, predictions.csv", quiet=quiet)
    return metrics


def _said(domain: Domain, predictions: Path, true: IsicTruth) -> np.ndarray:
    """A submission, or the columns of a model's predictions that the truth has; (N, C)."""
    if is_official(predictions):
        shown = domain.screen_names or list
        return read_submission(predictions, true.names, true.classes, shown=shown)
    require(predictions.suffix != ".npy", "predictions", "a table, for an ISIC truth", ".npy")
    screen = partial(screened_rows, domain, quiet=True)
    given = submission_of(read_table(predictions, "predictions", screen))
    by_name = {name.lower(): place for place, name in enumerate(given.columns)}
    missing = [name for name in true.classes if name.lower() not in by_name]
    rule = "probabilities of the truth's classes"
    require(not missing, "predictions", rule, f"none of {', '.join(missing[:3])}")
    place_of = {name: place for place, name in enumerate(given.names)}
    missing = [name for name in true.names if name not in place_of]
    rule = "a table with an answer to every image of the truth"
    require(not missing, "predictions", rule, f"none to {', '.join(missing[:3])}")
    columns = [by_name[name.lower()] for name in true.classes]
    rows = [place_of[name] for name in true.names]
    values_NC = given.probabilities_NK[rows][:, columns]
    inside = bool(((values_NC >= 0) & (values_NC <= 1)).all())
    require(inside, "predictions", "in [0, 1]", "others")
    return values_NC


def _figures(true: IsicTruth, values_NC: np.ndarray) -> tuple[dict[str, Any], pd.DataFrame]:
    """The shared and the clinical figures of the images that count, and predictions.csv."""
    names = np.array(true.names)
    if (true.truth_NC.sum(axis=1) > 1).any():
        table = pd.DataFrame({"path": names, "status": "ok", "truth": "", "label": ""})
        for column, values_N in zip(true.classes, values_NC.T, strict=True):
            table[f"p_{column}"] = values_N
        return {"clinical": {"disclaimer": DISCLAIMER, "tasks": {}, "reason": SEVERAL}}, table
    counted_N = true.score_weight_N > 0
    answers = answers_of(true, values_NC, counted_N)
    rows = pd.DataFrame({"path": names[counted_N], "group": names[counted_N]})
    assert answers.probabilities_NC is not None
    # Rows that do not sum to 1 are no distribution: nothing to calibrate.
    whole = bool((np.abs(answers.probabilities_NC.sum(axis=1) - 1) <= _SUM).all())
    shared = measure(answers if whole else replace(answers, probabilities_NC=None))
    columns = clinical_columns(answers).set_axis(shared.per_item.index)
    measured = Measured(
        shared.metrics | {"clinical": clinical_figures(answers, rows, {})},
        pd.concat([shared.per_item, columns], axis=1),
    )
    return measured.metrics, predictions_table(rows, answers, measured, "")


def answers_of(true: IsicTruth, values_NC: np.ndarray, counted_N: np.ndarray) -> Answers:
    """A submission as answers with one class per image, the rest being a class of its own.

    The rest (images without a class column, and always where there is one column only) is called
    benign (2016), nevus (2017) or other, with probability 1 - sum of the others, at least 0.

    Args:
        true: images with one class at most.
        values_NC: what was said of them.
        counted_N: which of them count.
    """
    classes = [name.lower() if name.lower() in DIAGNOSES else name for name in true.classes]
    number_N = true.truth_NC.argmax(axis=1)
    rest_N = ~true.truth_NC.any(axis=1)
    if rest_N.any() or len(classes) == 1:
        number_N = np.where(rest_N, len(classes), number_N)
        left_N = np.maximum(1 - values_NC.sum(axis=1), 0)
        values_NC = np.column_stack([values_NC, left_N])
        classes = [*classes, _REST.get(tuple(classes), OTHER)]
    values_NK = values_NC[counted_N]
    return Answers(
        truth_N=number_N[counted_N],
        classes=classes,
        groups_N=np.array(true.names)[counted_N],
        readouts={"given": values_NK.argmax(axis=1)},
        probabilities_NC=values_NK,
    )


def _show(found: IsicScore, *, quiet: bool) -> None:
    """A row per figure, a column per class: the official figures, then the corrected ones."""
    official = found.per_class | {"mean": found.macro_average}
    corrected = found.corrected_per_class | {"mean": found.corrected_macro_average}
    areas = tuple(name for name in found.corrected_macro_average if "auc" in name)
    columns = ("figure", *official)
    for title, kinds, names in (
        ("ISIC challenge, official rules (p > 0.5; undefined ratios are 1)", official, _SHOWN),
        ("Corrected (most probable class; undefined is undefined)", corrected, _CORRECTED + areas),
    ):
        rows = [[name, *(_short(figures[name]) for figures in kinds.values())] for name in names]
        show_table(title, columns, rows, numeric=columns[1:], quiet=quiet)
    rows = [["official", _short(found.balanced_accuracy)]]
    rows += [
        [name.removeprefix("balanced_accuracy_").replace("_", " "), _short(value)]
        for name, value in found.corrected.items()
    ]
    show_table("Balanced accuracy", ("rule", "value"), rows, numeric=("value",), quiet=quiet)
    for remark in found.remarks:
        say(f"remark: {remark}", quiet=quiet)


def _short(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.3f}"
