"""What a clinic would expect measured, from arrays: the entry `clinical` of metrics.json.

In a bundle (`recorded`, from the validation split):

    thresholds      task -> see `thresholds.recorded_thresholds`

Of a result (`measured`, from any split):

    disclaimer      a sentence
    tasks           task -> positive, negative and left_out classes; the figures of
                    `figures.task_figures`; operating_reason; reason (nothing measured)
    tasks_reason    why there are no tasks; "" if there are
    balanced_accuracy_classes   mean recall over all classes, of the headline read-out
    classwise_ece   mean and per_class, or reason
    abstention      handing the least sure items to somebody else: coverage, risk, areas
    subgroups, subgroups_facts  see `subgroups.subgroups`
    similar         see `similar.SimilarCases.summary`, or reason
    isic            the official scoring and its corrections where the classes are a challenge's,
                    else reason
    interval        how the intervals were made

Of folds that were joined (`pooled`):

    disclaimer, tasks   task -> roc_auc and the like over all items, auc_delong, operating
                    (cross-fitted, see `thresholds.out_of_fold_operating`)

Legend: N items, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from likeness.errors import UserError
from likeness.evaluation import resampling
from likeness.evaluation.binary import discrimination
from likeness.evaluation.decision import risk_coverage
from likeness.evaluation.delong import delong
from likeness.evaluation.intervals import cell_statistics, confusion_sums
from likeness.evaluation.reliability import classwise_ece
from likeness.evaluation.resampling import DEFAULT, Bootstrap
from likeness.evaluation.values import MetricValue, plain
from likeness_apps.shell.measure import Answers, Measured, interval_facts
from likeness_apps.skin_lesion.clinical.comparison import BALANCED, clinical_differences
from likeness_apps.skin_lesion.clinical.figures import evenly, task_figures
from likeness_apps.skin_lesion.clinical.official import official_scoring
from likeness_apps.skin_lesion.clinical.subgroups import subgroups
from likeness_apps.skin_lesion.clinical.table import show_tasks
from likeness_apps.skin_lesion.clinical.tasks import (
    NO_TASK,
    BinaryTask,
    binary_tasks,
    named,
    task_items,
    task_scores,
)
from likeness_apps.skin_lesion.clinical.thresholds import (
    out_of_fold_operating,
    points_of,
    recorded_thresholds,
)

if TYPE_CHECKING:
    from markupsafe import Markup

    from likeness.bundle import Bundle
    from likeness_apps.shell.report.sections import Build
    from likeness_apps.shell.report.tables import Figure

NAME = "clinical"
DISCLAIMER = "Research only, not a medical device: no figure here supports a diagnosis of anybody."
SEVERAL = "Clinical figures need images with one diagnosis each."
NO_PROBABILITIES = "The answers hold labels but no probabilities."
NOTHING = "No image is of the task's classes."
MIXED = (
    "Scores of all folds were ranked together, each by the model that was not trained on it: where "
    "the models differ in scale, the areas are lower than those of the folds."
)


@dataclass(frozen=True)
class Clinical:
    """`FieldMeasures` of skin lesions.

    Attributes:
        bootstrap: of the intervals of `measured`.
    """

    bootstrap: Bootstrap = DEFAULT
    name: ClassVar[str] = NAME
    per_item: ClassVar[tuple[str, ...]] = ()

    def recorded(self, answers: Answers, rows: pd.DataFrame) -> dict[str, Any]:
        """The thresholds of every binary task, from the validation split; see the top."""
        if reason := _unfit(answers):
            return {"disclaimer": DISCLAIMER, "thresholds": {}, "reason": reason}
        assert answers.probabilities_NC is not None
        return {
            "disclaimer": DISCLAIMER,
            "thresholds": {
                name: recorded_thresholds(
                    task_items(task, answers.truth_N, answers.probabilities_NC, answers.groups_N),
                    named(answers.classes, task.positive),
                )
                for name, task in binary_tasks(answers.classes).items()
            },
        }

    def measured(self, answers: Answers, rows: pd.DataFrame, bundle: Bundle) -> Measured:
        """`clinical_figures` with the thresholds of the bundle, similar cases; score columns."""
        figures = clinical_figures(answers, rows, bundle.metrics.get(NAME, {}), self.bootstrap)
        if "reason" not in figures:
            figures["similar"] = _similar(answers, rows, bundle, self.bootstrap)
        return Measured(figures, clinical_columns(answers))

    def scored(self, answers: Answers, rows: pd.DataFrame) -> None:
        """None: the thresholds are a model's; the official scoring is a command of its own."""

    def differences(
        self,
        truth_N: np.ndarray,
        classes: list[str],
        probabilities_a_NC: np.ndarray,
        probabilities_b_NC: np.ndarray,
        groups_N: np.ndarray,
        bootstrap: Bootstrap,
    ) -> dict[str, dict[str, Any]]:
        """See `clinical_differences`."""
        return clinical_differences(
            truth_N, classes, probabilities_a_NC, probabilities_b_NC, groups_N, bootstrap=bootstrap
        )

    def pooled(self, answers: Answers, folds_N: np.ndarray, bootstrap: Bootstrap) -> dict[str, Any]:
        """Of every task the areas over all items, and the cross-fitted operating points."""
        if reason := _unfit(answers):
            return {"disclaimer": DISCLAIMER, "tasks": {}, "reason": reason}
        tasks = {}
        for name, task in binary_tasks(answers.classes).items():
            facts = _classes(task, answers.classes)
            tasks[name] = facts | _pooled_task(task, answers, folds_N, bootstrap)
        return {"disclaimer": DISCLAIMER, "tasks": tasks, "remark": MIXED}

    def sections(self) -> Sequence[tuple[str, str, Callable[[Build], Markup | str]]]:
        """The report's clinical sections."""
        from likeness_apps.skin_lesion.clinical.report import SECTIONS

        return SECTIONS

    def show(self, metrics: Mapping[str, Any], *, quiet: bool) -> None:
        """See `show_tasks`."""
        show_tasks(metrics, quiet=quiet)

    def headlines(self, metrics: Mapping[str, Any]) -> Sequence[Figure]:
        """The area of each task and balanced accuracy."""
        from likeness_apps.skin_lesion.clinical.report import headlines

        return headlines(metrics)


def clinical_figures(
    answers: Answers,
    rows: pd.DataFrame,
    recorded: Mapping[str, Any],
    bootstrap: Bootstrap = DEFAULT,
) -> dict[str, Any]:
    """Everything that the top of this file lists under "of a result".

    Args:
        answers: class numbers and a headline read-out; without probabilities most is left out and
            `reason` says so.
        rows: one per item, in its order: `path`, and any of `subgroups.COLUMNS`.
        recorded: what `Clinical.recorded` gave for the model; {} = nothing. No threshold is ever
            chosen on the items measured here.
        bootstrap: replicates, seed, level.

    Raises:
        UserError: if probabilities are outside [0, 1], or lengths differ.
    """
    found: dict[str, Any] = {"disclaimer": DISCLAIMER, "tasks": {}}
    found |= interval_facts(answers.groups_N, bootstrap)
    if answers.truth_N.ndim != 1:
        return found | {"reason": SEVERAL}
    found["balanced_accuracy_classes"] = _balanced_accuracy(answers, bootstrap)
    if answers.probabilities_NC is None:
        return found | {"reason": NO_PROBABILITIES}
    tasks = binary_tasks(answers.classes)
    items = {
        name: task_items(task, answers.truth_N, answers.probabilities_NC, answers.groups_N)
        for name, task in tasks.items()
    }
    points = {}
    for name, task in tasks.items():
        facts = _classes(task, answers.classes)
        saved = recorded.get("thresholds", {})
        points[name], facts["operating_reason"] = points_of(saved, name, facts["positive"])
        measured = len(items[name].rows_A) > 0
        figures = task_figures(items[name], points[name], bootstrap) if measured else {}
        found["tasks"][name] = facts | figures | ({} if measured else {"reason": NOTHING})
    tables, how = subgroups(items, points, rows, bootstrap)
    return found | {
        "tasks_reason": "" if tasks else NO_TASK,
        "classwise_ece": _classwise(answers),
        "abstention": _abstention(answers),
        "subgroups": tables,
        "subgroups_facts": how,
        "isic": official_scoring(answers, rows),
    }


def clinical_columns(answers: Answers) -> pd.DataFrame:
    """For predictions.csv: the column `score_<task>` of every binary task."""
    columns = {}
    if not _unfit(answers):
        assert answers.probabilities_NC is not None
        for name, task in binary_tasks(answers.classes).items():
            columns[f"score_{name}"] = task_scores(task, answers.probabilities_NC)
    return pd.DataFrame(columns, index=range(len(answers.truth_N)))


def _unfit(answers: Answers) -> str:
    """Why the binary tasks cannot be asked; "" if they can."""
    if answers.truth_N.ndim != 1:
        return SEVERAL
    return NO_PROBABILITIES if answers.probabilities_NC is None else ""


def _classes(task: BinaryTask, classes: list[str]) -> dict[str, Any]:
    return {kind: named(classes, numbers) for kind, numbers in asdict(task).items()}


def _balanced_accuracy(answers: Answers, bootstrap: Bootstrap) -> dict[str, Any]:
    """Mean recall over the classes that have items."""
    headline_N = next(iter(answers.readouts.values()))
    count = len(answers.classes)
    sums = confusion_sums(answers.truth_N, headline_N, count, answers.groups_N)
    found = resampling.interval(sums, cell_statistics(count)[BALANCED], bootstrap)
    return found.on(MetricValue(found.value, len(np.unique(answers.truth_N)))).as_dict()


def _classwise(answers: Answers) -> dict[str, Any]:
    assert answers.probabilities_NC is not None
    try:
        error_C = classwise_ece(answers.probabilities_NC, answers.truth_N)
    except UserError as error:  # scores of somebody's table need not sum to 1
        return {"reason": str(error)}
    per_class = dict(zip(answers.classes, error_C.tolist(), strict=True))
    return {"mean": float(error_C.mean()), "per_class": per_class}


def _abstention(answers: Answers) -> dict[str, Any]:
    """Share of wrong classes among the items whose largest probability is largest."""
    assert answers.probabilities_NC is not None
    readout, headline_N = next(iter(answers.readouts.items()))
    curve = risk_coverage(answers.probabilities_NC.max(axis=1), headline_N != answers.truth_N)
    kept = evenly(len(curve.coverage_T))
    return {
        "readout": readout,
        "coverage": curve.coverage_T[kept].tolist(),
        "risk": curve.risk_T[kept].tolist(),
        "area": curve.area,
        "best_area": curve.best_area,
    }


def _pooled_task(
    task: BinaryTask, answers: Answers, folds_N: np.ndarray, bootstrap: Bootstrap
) -> dict[str, Any]:
    assert answers.probabilities_NC is not None
    items = task_items(task, answers.truth_N, answers.probabilities_NC, answers.groups_N)
    truth_A, scores_A, groups_A = items.truth_A, items.scores_A, items.groups_A
    if not len(truth_A):
        return {"reason": NOTHING}
    found = discrimination(truth_A, scores_A, groups_A, bootstrap=bootstrap)
    folds_A = folds_N[items.rows_A]
    joined = out_of_fold_operating(truth_A, scores_A, folds_A, groups_A, bootstrap=bootstrap)
    return {
        "positives": int(truth_A.sum()),
        "negatives": int((~truth_A).sum()),
        "discrimination": plain(found),
        "auc_delong": asdict(delong(truth_A, scores_A, level=bootstrap.level)),
        "operating": joined,
    }


def _similar(
    answers: Answers, rows: pd.DataFrame, bundle: Bundle, bootstrap: Bootstrap
) -> dict[str, Any]:
    """How far the nearest training lesions agree with truth and answer, or the reason why not."""
    from likeness_apps.skin_lesion.cases.similar import similar_cases

    if answers.embeddings_ND is None:
        return {"reason": "The answers hold no embeddings."}
    hashes_N = rows["sha256"].to_numpy()
    try:
        found = similar_cases(answers.embeddings_ND, answers.groups_N, hashes_N, bundle)
    except UserError as error:  # of an older model, say
        return {"reason": str(error)}
    if answers.classes != bundle.classes:  # coarser ones: the cases have others
        return found.summary(bootstrap=bootstrap)
    predicted_N = next(iter(answers.readouts.values()))
    return found.summary(truth_N=answers.truth_N, predicted_N=predicted_N, bootstrap=bootstrap)
