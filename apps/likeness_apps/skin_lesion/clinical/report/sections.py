"""The clinical sections of report.html: from metrics["clinical"] to HTML, or the reason why not.

What the entries are is listed at the top of `clinical/measures.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from likeness_apps.shell.report.page import section
from likeness_apps.shell.report.sections import SECTIONS as SHARED
from likeness_apps.shell.report.sections import Build
from likeness_apps.skin_lesion.clinical.report import charts, tables
from likeness_apps.skin_lesion.clinical.report.checklist import checklist_rows
from likeness_apps.skin_lesion.clinical.report.isic import official_tables, overall_rows
from likeness_apps.skin_lesion.clinical.report.points import point_rows, told
from likeness_apps.skin_lesion.diagnoses import DIAGNOSES

Body = Markup | str  # a plain str is the reason why there is none
Record = Mapping[str, Any]

NOT_MEASURED = (
    "these figures are measured by evaluate; while a model is trained, only thresholds are fixed."
)
ONLY_DISCLAIMER = "Research only, not a medical device."


@dataclass(frozen=True)
class TaskView:
    """A binary task: its name, which classes are on either side, how many images; its record."""

    name: str
    positive: str
    negative: str
    left_out: str
    record: Record

    @property
    def images(self) -> int:
        """Images that count for the task."""
        return int(self.record["positives"]) + int(self.record["negatives"])


def clinical_of(build: Build) -> Record:
    """The entry of metrics.json; {} where there is none."""
    found: Record = build.data.metrics.get("clinical") or {}
    return found


def task_views(clinical: Record) -> list[TaskView]:
    """The tasks that were measured."""
    return [
        TaskView(
            name=tables.spoken(name),
            positive=_classes(task["positive"]),
            negative=_classes(task["negative"]),
            left_out=_classes(task["left_out"]),
            record=task,
        )
        for name, task in (clinical.get("tasks") or {}).items()
        if "discrimination" in task
    ]


def _classes(labels: list[str]) -> str:
    """Labels with what they stand for: "mel (melanoma), bcc (basal cell carcinoma)"."""
    return ", ".join(_class(label) for label in labels)


def _class(label: str) -> str:
    known = DIAGNOSES.get(label.lower())
    if known is None or known.name == tables.spoken(label.lower()):
        return tables.spoken(label)
    return f"{label} ({known.name})"


def _why_no_tasks(clinical: Record) -> str:
    """Why no task was measured, in the words of the record."""
    reasons = [clinical.get("reason"), clinical.get("tasks_reason")]
    tasks = (clinical.get("tasks") or {}).items()
    reasons += [f"{tables.spoken(name)}: {task.get('reason')}" for name, task in tasks]
    return next((str(reason) for reason in reasons if reason), NOT_MEASURED)


def _shown(name: str, **values: Any) -> Markup:
    package = "likeness_apps.skin_lesion.clinical.report"
    return section(name, package=package, template="clinical.html.j2", **values)


def _research_only(build: Build) -> Body:
    clinical = clinical_of(build)
    scope = build.data.metrics.get("scope") or {}
    return _shown(
        "research_only",
        disclaimer=clinical.get("disclaimer") or ONLY_DISCLAIMER,
        tasks=task_views(clinical),
        supports=[
            (_class(str(row["class"])), int(row["support"]))
            for row in build.data.metrics.get("per_class") or []
        ],
        refused=int(scope.get("refused") or 0),
        given=len(build.data.items),
    )


def _discrimination(build: Build) -> Body:
    clinical = clinical_of(build)
    balanced = clinical.get("balanced_accuracy_classes")
    views = task_views(clinical)
    if not views and balanced is None:
        return _why_no_tasks(clinical)
    parts = [
        {
            "task": view,
            "rows": tables.area_rows(view.record),
            "chart": charts.roc_chart(view.name, view.record["roc"], _points(view.record)),
            "curve": _columns(view.record["roc"], "fpr", "tpr"),
        }
        for view in views
    ]
    return _shown(
        "discrimination",
        parts=parts,
        balanced=balanced and tables.figure_cell(balanced),
        counted=balanced and balanced["count"],
        why="" if views else _why_no_tasks(clinical),
    )


def _points(task: Record) -> list[Record]:
    """The operating points in the order of their numbers: the recorded ones, then 0.5."""
    return [*task["operating"], task["default_operating"]]


def _columns(record: Record, *names: str) -> list[list[str]]:
    return tables.thinned([charts.numbers(record.get(name)) for name in names])


def _operating(build: Build) -> Body:
    clinical = clinical_of(build)
    views = task_views(clinical)
    if not views:
        return _why_no_tasks(clinical)
    parts = [
        {
            "task": view,
            "rows": point_rows(_points(view.record)),
            "source": _validation_counts(view.record),
            "reason": view.record.get("operating_reason") or "",
            "told": told(view.record["operating"]),
        }
        for view in views
    ]
    return _shown("operating", parts=parts)


def _validation_counts(task: Record) -> tuple[int, int] | None:
    """Positive and negative validation images that the thresholds come from."""
    counts = next((p["validation"] for p in task["operating"] if p.get("validation")), None)
    if counts is None:
        return None
    return counts["tp"] + counts["fn"], counts["fp"] + counts["tn"]


def _calibration(build: Build) -> Body:
    clinical = clinical_of(build)
    views = task_views(clinical)
    if not views:
        return _why_no_tasks(clinical)
    parts = []
    for view in views:
        bins = charts.bins_of(view.record["reliability"])
        decision = view.record["decision"]
        parts.append(
            {
                "task": view,
                "figures": tables.calibration_rows(view.record),
                "bins": bins,
                "chart": charts.reliability_chart(view.name, bins),
                "decision": charts.decision_chart(view.name, decision),
                "benefit": _columns(decision, "threshold", "model", "treat_all", "standardised"),
            }
        )
    return _shown("calibration", parts=parts, classwise=clinical.get("classwise_ece") or {})


def _abstention(build: Build) -> Body:
    clinical = clinical_of(build)
    record = clinical.get("abstention") or {}
    chart = charts.abstention_chart(record)
    if not chart:
        return str(clinical.get("reason") or NOT_MEASURED)
    return _shown(
        "abstention",
        chart=chart,
        facts=tables.abstention_facts(record),
        rows=_columns(record, "coverage", "risk"),
    )


def _subgroups(build: Build) -> Body:
    clinical = clinical_of(build)
    found = clinical.get("subgroups") or {}
    facts = clinical.get("subgroups_facts") or {}
    if not any(found.values()):
        if facts.get("not_given"):
            return (
                f"the data have no column for {', '.join(map(tables.spoken, facts['not_given']))}."
            )
        return _why_no_tasks(clinical)
    shown = [tables.level_table(column, levels) for column, levels in found.items() if levels]
    missing = [tables.spoken(column) for column in facts.get("not_given", [])]
    return _shown("subgroups", tables=shown, facts=facts, missing=missing)


def _official(build: Build) -> Body:
    clinical = clinical_of(build)
    isic = clinical.get("isic") or {}
    if "per_class" not in isic:
        return str(isic.get("reason") or clinical.get("reason") or NOT_MEASURED)
    return _shown(
        "official",
        overall=overall_rows(isic),
        tables=official_tables(isic),
        remarks=isic["remarks"],
    )


def _similar(build: Build) -> Body:
    clinical = clinical_of(build)
    similar = clinical.get("similar") or {}
    if "agreement" not in similar:
        return str(similar.get("reason") or clinical.get("reason") or NOT_MEASURED)
    return _shown("similar", facts=similar, rows=tables.similar_rows(similar))


def _checklist(build: Build) -> Body:
    present = {name for name, _, body in SECTIONS[:-1] if isinstance(body(build), Markup)}
    titles = {name: title for name, title, _ in (*SHARED, *SECTIONS)}
    groups = checklist_rows(build.data, clinical_of(build), present)
    return _shown("checklist", groups=groups, titles=titles)


SECTIONS: tuple[tuple[str, str, Callable[[Build], Body]], ...] = (
    ("research-only", "Research only", _research_only),
    ("discrimination", "Discrimination", _discrimination),
    ("operating", "Operating points", _operating),
    ("clinical-calibration", "Calibration and net benefit", _calibration),
    ("abstention", "Abstention", _abstention),
    ("subgroups", "Subgroups", _subgroups),
    ("official", "Official ISIC scoring", _official),
    ("similar", "Similar cases", _similar),
    ("checklist", "CLEAR Derm and TRIPOD+AI", _checklist),
)
