"""Tables of the skin lesion experiments from their recorded runs; also those of the manual.

python benchmarks/skin_lesions.py summary   writes its summary and part of docs/skin-lesion.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from experiments import RESULTS, ROOT
from floors import NAMES, Floor, read_floors
from floors import shown as shown_floor
from likeness.evaluation.operating import AIMS, FIXED, OperatingPoint, Rate
from likeness.evaluation.resampling import interval
from skin_lesions import CHECK, HAM, ISIC, STUDIES, TABLE, Study
from skin_lesions_measures import (
    CLASSES,
    TASKS,
    calibration_error,
    measures,
    out_of_fold_point,
    rankings,
)
from summaries import (
    BOOTSTRAP,
    NOT_RUN,
    Answers,
    Block,
    Compared,
    Measure,
    difference_heads,
    difference_rows,
    publish,
    read_items,
    section,
    shown,
    table,
    total_of_runs,
)

ARMS = {
    "a": "cross-entropy",
    "b": "+ attention",
    "c": "+ attention + triplets",
    "d": "+ triplets",
}
TITLES = {"ham": "HAM10000, seeds", "isic": "ISIC 2017, folds"}
CLAIMS = {  # study -> pairs of arms, figures
    "ham": (("ba", "cd", "da", "cb", "ca"), ("balanced_accuracy", "melanoma_auc", "map_at_r")),
    "isic": (("ca",), ("melanoma_auc", "keratosis_auc")),
}
SUMMARY = RESULTS / "skin_lesions_summary.md"
MANUAL = ROOT / "docs" / "skin-lesion.md"
BLOCK = Block(MANUAL, "skin-lesions", "benchmarks/skin_lesions.py summary")


@dataclass(frozen=True)
class Recorded:
    """All that the tables are made of; frames without rows for what was not run.

    Attributes:
        runs: every run, failed ones too.
        items: study -> what was said of its test images.
        check: what was said of the untouched images of ISIC 2017.
        floors: study -> features -> figure -> value, low, high.
    """

    runs: pd.DataFrame
    items: Mapping[str, pd.DataFrame]
    check: pd.DataFrame
    floors: Mapping[str, Mapping[str, Mapping[str, Floor]]]

    def answers(self, study: Study) -> Answers:
        """Of a study: seeds of HAM10000 tested the same lesions, folds each their own."""
        return Answers(self.items[study.name], run="run", item="image", shared_groups=study is HAM)


def read_recorded() -> Recorded:
    """What was recorded so far."""
    columns = ("arm", "run")
    items = {study.name: read_items(study.items, columns) for study in STUDIES.values()}
    return Recorded(TABLE.read(), items, read_items(CHECK, columns), read_floors())


def summarise() -> None:
    """Write the summary beside the table, and its first part into the manual."""
    recorded = read_recorded()
    head = render_head(recorded)
    publish(SUMMARY, render(recorded, head))
    BLOCK.write(head)


def render(recorded: Recorded, head: str) -> str:
    """The whole summary; `head` is its first part."""
    parts = [
        "# Skin lesions: results",
        "Protocol: `benchmarks/skin_lesions.md`. Research only, not a medical device.",
        head,
        render_differences(recorded),
        render_points(recorded),
        render_check(recorded),
        total_of_runs(recorded.runs, TABLE.path.name),
    ]
    return "\n\n".join(parts) + "\n"


def render_head(recorded: Recorded) -> str:
    """The tables of both studies, baselines below the arms."""
    return "\n\n".join(render_table(recorded, study) for study in STUDIES.values())


def render_table(recorded: Recorded, study: Study) -> str:
    """One row per arm, then what is reached without looking at the lesion as a network does.

    HAM10000: means over seeds, intervals over seeds and lesions. ISIC 2017: over all out-of-fold
    images, intervals over groups. Baselines: intervals over lesions.
    """
    wanted = {**measures(study.name), **rankings()}
    rows = []
    for arm in study.arms:
        found = [estimate(recorded, study, arm, measure) for measure in wanted.values()]
        cells = [shown(one[1]) for one in found if one is not None]
        if not cells:
            rows.append([f"({arm}) {ARMS[arm]}", NOT_RUN])
            continue
        parts = recorded.answers(study).of(arm)
        error = np.mean([calibration_error(part, CLASSES[study.name]) for part in parts])
        done = f"{len(parts)} of {study.runs}"
        rows.append([f"({arm}) {ARMS[arm]}", done, *cells, f"{error:.3f}"])
    for features, title in NAMES.items():
        known = recorded.floors.get(study.name, {}).get(features, {})
        cells = [shown_floor(known[name]) if name in known else "" for name in wanted]
        done = "" if known else NOT_RUN
        rows.append([f"{title}, logistic regression", done, *cells])
    titles = [measure.title for measure in wanted.values()]
    return table([TITLES[study.name], "done", *titles, "ECE"], rows)


def estimate(recorded: Recorded, study: Study, arm: str, measure: Measure) -> Compared | None:
    """A figure of an arm; see `render_table`."""
    answers = recorded.answers(study)
    parts = answers.of(arm)
    if study is not ISIC or not parts:
        return answers.estimate(arm, measure)
    return len(parts), interval(measure.sums(pd.concat(parts)), measure.statistic, BOOTSTRAP)


def render_differences(recorded: Recorded) -> str:
    """The claims of the protocol, Holm-corrected within each study."""
    rows = [row for study in STUDIES.values() for row in _differences(recorded, study)]
    return section(
        "Paired differences",
        "95 % intervals by two-level bootstrap, 2,000 replicates: HAM10000 over seeds, then\n"
        "lesions (all seeds met the same test lesions); ISIC 2017 over folds, then groups, of the\n"
        "mean of the folds. With n runs they are too narrow by about sqrt((n - 1) / n); a row of\n"
        "one run covers evaluation noise only: no claim.",
        table(difference_heads(), rows),
    )


def _differences(recorded: Recorded, study: Study) -> Sequence[Sequence[str]]:
    pairs, figures = CLAIMS[study.name]
    known, answers = {**measures(study.name), **rankings()}, recorded.answers(study)
    found = [
        (
            f"{study.name}: ({pair[0]}) - ({pair[1]}), {known[name].title}",
            answers.difference(pair[0], pair[1], known[name]),
        )
        for name, pair in product(figures, pairs)
    ]
    return difference_rows(found) or [[study.name, NOT_RUN]]


def render_points(recorded: Recorded) -> str:
    """Sensitivity and specificity of ISIC 2017 at thresholds that the other folds chose."""
    rows: list[list[str]] = []
    for (task, positive), arm in product(TASKS["isic"].items(), ISIC.arms):
        items = recorded.items["isic"]
        items = items[items["arm"] == arm]
        if items["run"].nunique() < 2:
            rows.append([task, f"({arm})", NOT_RUN])
            continue
        for fixed, aim in product(FIXED, AIMS):
            point = out_of_fold_point(items, positive, fixed, aim)
            rows.append([task, f"({arm})", f"{fixed} {aim:.0%}", *_point(point)])
    heads = ["task", "arm", "aim on the other folds", "sensitivity", "specificity"]
    return section(
        "Operating points of ISIC 2017, out of fold",
        "The threshold of each fold is chosen on the out-of-fold scores of the other folds; "
        "counts\nare summed over the folds, intervals are over groups.",
        table([*heads, "true +, false -, true -, false +"], rows),
    )


def _point(point: OperatingPoint) -> list[str]:
    assert point.counts is not None
    counts = (point.counts.tp, point.counts.fn, point.counts.tn, point.counts.fp)
    return [_rate(point.sensitivity), _rate(point.specificity), ", ".join(map(str, counts))]


def _rate(rate: Rate) -> str:
    return f"{rate.value:.3f} [{rate.group_low:.3f}, {rate.group_high:.3f}]"


def render_check(recorded: Recorded) -> str:
    """The untouched images, scored by the mean probability of the fold models."""
    known, rows = measures("isic"), []
    for arm in ISIC.arms:
        items = recorded.check[recorded.check["arm"] == arm]
        if items.empty:
            rows.append([f"({arm}) {ARMS[arm]}", NOT_RUN])
            continue
        columns = [f"p_{name}" for name in CLASSES["isic"]]
        mean = items.groupby(["image", "group", "truth"], as_index=False)[columns].mean()
        cells = [shown(interval(m.sums(mean), m.statistic, BOOTSTRAP)) for m in known.values()]
        melanomas = str((mean["truth"] == "melanoma").sum())
        rows.append([f"({arm}) {ARMS[arm]}", str(len(mean)), melanomas, *cells])
    heads = ["arm", "images", "melanomas", *(measure.title for measure in known.values())]
    return section(
        "The untouched images of ISIC 2017",
        "The published validation part without the images that look like one of the training "
        "part;\nmean probability of the five fold models. With so few melanomas it can only show a "
        "grave\ndisagreement.",
        table(heads, rows),
    )
