"""What a researcher of expression would expect measured: the entry `expression` of metrics.json.

The shared figures are elsewhere: accuracy, balanced accuracy (`average_accuracy`), `macro_f1` and
kappa under `classification` and `readouts`, retrieval (R@1/2/4/8, P@10, MAP@R) under `retrieval`,
NMI and ARI under `clustering`, ECE, Brier and NLL under `calibration`, and of sets in which faces
had to be found first `coverage` (see `shell.coverage`). A figure here is a `MetricValue`: value,
count, skipped, low, high; the ends are those of the group bootstrap.

Of a result (`measured`), and of the validation split in a bundle (`recorded`, without copies):

    meaning         what an answer is, a sentence
    interval        how the intervals were made; `unit` is what is resampled: subject or picture
    macro_precision, harmonic_macro_precision_recall  figures, see `recognition`
    recall          class -> figure, for the classes with pictures
    absent_classes  classes of the model of which there is no picture: classes, answers (how many
                    pictures were given one), and `renormalised` (overall_accuracy,
                    average_accuracy, macro_f1 where only the other classes could be answered);
                    reason where there are none
    by_subject      accuracy by subject: subjects, pictures, unknown (pictures of nobody known),
                    accuracy (figure, mean over subjects), std, median, worst (accuracy, pictures);
                    reason where nobody is known
    votes           what annotators said of the pictures, see `votes_figures`: pictures, left_out,
                    kl, soft_cross_entropy, entropy, said_by_one, said_by_three, official; reason
                    where there are no votes
    human           one annotator against the others, see `human`: pictures, no_majority, human
                    and model (overall_accuracy, average_accuracy, macro_f1, recall of either, on
                    the same labels) and difference (model - human); reason where there are no votes
    copies          pictures that are byte for byte among the training pictures, and the others, see
                    `copies`; reason where it cannot be told

Of folds that were joined (`pooled`): meaning, interval, macro_precision,
harmonic_macro_precision_recall, recall and by_subject, where groups are subjects.

predictions.csv gets the columns of `PER_PICTURE`, empty for pictures without votes, and of a model
with sub-classes `subclass`: the one of all whose mean is nearest.

Legend: N pictures, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from likeness.evaluation.resampling import DEFAULT, Bootstrap
from likeness_apps.facial_expression import votes
from likeness_apps.facial_expression.layouts.tables import with_votes
from likeness_apps.facial_expression.measures.comparison import expression_differences
from likeness_apps.facial_expression.measures.copies import copies
from likeness_apps.facial_expression.measures.human import human_figures
from likeness_apps.facial_expression.measures.recognition import absent_classes, recognition
from likeness_apps.facial_expression.measures.subjects import by_subject, subjects_of, unit_of
from likeness_apps.facial_expression.measures.table import headline_figures, show_figures
from likeness_apps.facial_expression.measures.votes_figures import PER_PICTURE, votes_figures
from likeness_apps.facial_expression.variants.assign import subclass_names
from likeness_apps.shell.measure import Answers, Measured, interval_facts

if TYPE_CHECKING:
    from markupsafe import Markup

    from likeness.bundle import Bundle
    from likeness_apps.shell.report.sections import Build
    from likeness_apps.shell.report.tables import Figure

NAME = "expression"
MEANING = (
    "Answers are displayed expressions as judged by annotators of the training pictures, never "
    "what a person feels."
)


@dataclass(frozen=True)
class Expression:
    """`FieldMeasures` of displayed expressions.

    Attributes:
        bootstrap: of the intervals of `recorded`, `measured` and `scored`.
    """

    bootstrap: Bootstrap = DEFAULT
    name: ClassVar[str] = NAME
    per_item: ClassVar[tuple[str, ...]] = PER_PICTURE

    def recorded(self, answers: Answers, rows: pd.DataFrame) -> dict[str, Any]:
        """The figures of the validation split; nothing is chosen by them later."""
        return self.scored(answers, rows).metrics

    def measured(self, answers: Answers, rows: pd.DataFrame, bundle: Bundle) -> Measured:
        """The figures, with those of copies of training pictures."""
        found = self.scored(answers, rows)
        known = copies(answers, rows, bundle.splits, self.bootstrap)
        columns, names = found.per_item, None
        if answers.embeddings_ND is not None:
            names = subclass_names(answers.embeddings_ND, bundle)
        if names is not None:
            columns = columns.assign(subclass=names)
        return Measured({**found.metrics, "copies": known}, columns)

    def scored(self, answers: Answers, rows: pd.DataFrame) -> Measured:
        """What can be measured without a model."""
        if not answers.readouts:
            return Measured({"meaning": MEANING}, pd.DataFrame(index=range(len(rows))))
        said_N = next(iter(answers.readouts.values()))
        rows = _with_votes(rows)
        subjects_N = subjects_of(rows)
        said, columns = votes_figures(answers, rows, self.bootstrap)
        figures = {
            **_shared_facts(answers, unit_of(subjects_N, answers.groups_N), self.bootstrap),
            "absent_classes": absent_classes(answers, self.bootstrap),
            "by_subject": by_subject(subjects_N, said_N == answers.truth_N, self.bootstrap),
            "votes": said,
            "human": human_figures(answers, rows, self.bootstrap),
        }
        return Measured(figures, columns)

    def differences(
        self,
        truth_N: np.ndarray,
        classes: list[str],
        probabilities_a_NC: np.ndarray,
        probabilities_b_NC: np.ndarray,
        groups_N: np.ndarray,
        bootstrap: Bootstrap,
    ) -> dict[str, dict[str, Any]]:
        """See `expression_differences`."""
        given = truth_N, classes, probabilities_a_NC, probabilities_b_NC, groups_N
        return expression_differences(*given, bootstrap=bootstrap)

    def pooled(self, answers: Answers, folds_N: np.ndarray, bootstrap: Bootstrap) -> dict[str, Any]:
        """Recognition over all pictures, and by subject: a group of several pictures is one."""
        said_N = next(iter(answers.readouts.values()))
        groups_N = answers.groups_N.astype(str)
        several = len(np.unique(groups_N)) < len(groups_N)
        subjects_N = groups_N if several else np.full(len(groups_N), "")
        return {
            **_shared_facts(answers, unit_of(subjects_N, groups_N), bootstrap),
            "by_subject": by_subject(subjects_N, said_N == answers.truth_N, bootstrap),
        }

    def sections(self) -> Sequence[tuple[str, str, Callable[[Build], Markup | str]]]:
        """See `report.sections`; the shared sections show the shared figures."""
        from likeness_apps.facial_expression.report.sections import SECTIONS

        return SECTIONS

    def show(self, metrics: Mapping[str, Any], *, quiet: bool) -> None:
        """See `show_figures`."""
        show_figures(metrics, quiet=quiet)

    def headlines(self, metrics: Mapping[str, Any]) -> Sequence[Figure]:
        """See `headline_figures`."""
        return headline_figures(metrics)


def _with_votes(rows: pd.DataFrame) -> pd.DataFrame:
    """Votes as numbers, which a table of somebody's has as text."""
    there = set(votes.COLUMNS) <= set(rows.columns)
    if not there or all(is_numeric_dtype(rows[name]) for name in votes.COLUMNS):
        return rows
    return with_votes(rows)


def _shared_facts(answers: Answers, unit: str, bootstrap: Bootstrap) -> dict[str, Any]:
    facts = interval_facts(answers.groups_N, bootstrap)["interval"]
    found = {"meaning": MEANING, "interval": {**facts, "unit": unit}}
    return found | recognition(answers, bootstrap)
