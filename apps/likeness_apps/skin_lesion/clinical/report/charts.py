"""The charts of the clinical sections, from the arrays of metrics.json.

Each is an empty text where there is nothing to draw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from likeness_apps.shell.report.curves import Mark, curve_chart
from likeness_apps.shell.report.figures import Bin, Frame, Series, calibration_chart
from likeness_apps.shell.report.tables import number_of

Record = Mapping[str, Any]
_OF_BIN = ("count", "mean_probability", "observed", "low_band", "high_band")


def numbers(values: Sequence[Any] | None) -> list[float]:
    """The entries of a list of metrics.json; nan where there is none."""
    found = (number_of(value) for value in values or ())
    return [math.nan if value is None else value for value in found]


def roc_chart(name: str, roc: Record, points: Sequence[Record]) -> Markup:
    """The ROC curve; operating points as they came out on these images, numbered from 1.

    Args:
        name: of the task.
        roc: `fpr` and `tpr`.
        points: operating points in the order of their table.
    """
    line = Series("ROC", numbers(roc.get("fpr")), numbers(roc.get("tpr")))
    if not any(map(math.isfinite, line.ys)):
        return Markup()
    marks = []
    for place, point in enumerate(points, start=1):
        found, right = (number_of(point[rate]["value"]) for rate in ("sensitivity", "specificity"))
        if found is not None and right is not None:
            tip = f"point {place}: sensitivity {found:.1%}, specificity {right:.1%}"
            marks.append(Mark(1 - right, found, str(place), tip))
    return curve_chart(
        f"ROC curve of {name}",
        [line],
        frame=Frame(400, 400, (0.0, 1.0), (0.0, 1.0), left=52, bottom=44),
        x_label="1 − specificity",
        y_label="sensitivity",
        marks=marks,
        diagonal=True,
        about="Dashed: chance. Numbered dots: operating points with thresholds from elsewhere.",
    )


def bins_of(reliability: Record) -> list[Bin]:
    """The bins of a reliability diagram that hold something, by rising probability."""
    columns = (numbers(reliability.get(name)) for name in _OF_BIN)
    rows = zip(*columns, strict=True)
    return [Bin(int(count), *rest) for count, *rest in rows if count > 0]


def reliability_chart(name: str, bins: Sequence[Bin]) -> Markup:
    """Observed share of positives against their probability, with the interval of each bin."""
    if not bins:
        return Markup()
    labels = {"x_label": f"probability of {name}", "y_label": f"share that is {name}"}
    return calibration_chart(bins, **labels, right=f"are {name}")


def decision_chart(name: str, decision: Record) -> Markup:
    """Net benefit against threshold probability, with treating everybody and nobody."""
    at = numbers(decision.get("threshold"))
    model, everybody = numbers(decision.get("model")), numbers(decision.get("treat_all"))
    top = max([y for y in (*model, *everybody) if math.isfinite(y)], default=0.0)
    if top <= 0:
        return Markup()
    lines = [
        Series("this model", at, model),
        Series("treat all", at, everybody),
        Series("treat none", at, [0.0] * len(at)),
    ]
    return curve_chart(
        f"Decision curve of {name}",
        lines,
        frame=Frame(400, 380, (0.0, 1.0), (-0.25 * top, 1.05 * top), left=62, bottom=44),
        x_label="threshold probability",
        y_label="net benefit per image",
        about="Where the model's line is not the highest, it does not help to decide.",
    )


def abstention_chart(abstention: Record) -> Markup:
    """The share of errors among the images that are answered, against how many are."""
    coverage, risk = numbers(abstention.get("coverage")), numbers(abstention.get("risk"))
    known = [y for y in risk if math.isfinite(y)]
    if not known:
        return Markup()
    return curve_chart(
        "Abstention: risk against coverage",
        [Series("risk", coverage, risk)],
        frame=Frame(400, 280, (0.0, 1.0), (0.0, 1.1 * max(*known, 0.01)), left=62, bottom=44),
        x_label="coverage: share of images answered",
        y_label="risk: share of errors",
        about="At the right end every image is answered.",
    )
