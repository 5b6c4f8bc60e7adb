"""Tables of the skin lesion experiments from their recorded runs; also those of the manual.

python benchmarks/skin_lesions.py summary   writes its summary and part of docs/skin-lesion.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments import HERE, RESULTS, between, marks, shown, total_of_runs
from floors import FLOORS, NAMES
from likeness.evaluation.operating import AIMS, FIXED, OperatingPoint, Rate
from likeness.evaluation.resampling import (
    Interval,
    holm,
    interval,
    paired_difference,
    two_level_difference,
    two_level_interval,
)
from skin_lesions import CHECK, HAM, ISIC, STUDIES, TABLE, Study
from skin_lesions_measures import (
    BOOTSTRAP,
    CLASSES,
    TASKS,
    Measure,
    calibration_error,
    measures,
    out_of_fold_point,
    rankings,
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
MARKS = marks("skin-lesions", "benchmarks/skin_lesions.py summary")
SUMMARY = RESULTS / "skin_lesions_summary.md"
MANUAL = HERE.parent / "docs" / "skin-lesion.md"
NOT_RUN = "not run yet"


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
    floors: Mapping[str, Any]


def read_recorded() -> Recorded:
    """What was recorded so far."""
    runs = pd.read_csv(TABLE.path) if TABLE.path.exists() else pd.DataFrame(columns=TABLE.columns)
    items = {study.name: _read_items(study.items) for study in STUDIES.values()}
    floors = json.loads(FLOORS.read_text(encoding="utf-8")) if FLOORS.exists() else {"floors": {}}
    return Recorded(runs, items, _read_items(CHECK), floors["floors"])


def _read_items(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path) if path.exists() else pd.DataFrame(columns=["arm", "run"])


def summarise() -> None:
    """Write the summary beside the table, and its first part into the manual."""
    recorded = read_recorded()
    head = render_head(recorded)
    text = render(recorded, head)
    SUMMARY.write_text(text, encoding="utf-8")
    MANUAL.write_text(between(MANUAL.read_text(encoding="utf-8"), MARKS, head), encoding="utf-8")
    print(text)


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
    titles = [measure.title for measure in wanted.values()]
    lines = [f"| {TITLES[study.name]} | done | {' | '.join(titles)} | ECE |"]
    lines.append("|---" * (len(titles) + 3) + "|")
    for arm in study.arms:
        parts = by_run(recorded.items[study.name], arm)
        if not parts:
            lines.append(f"| ({arm}) {ARMS[arm]} | {NOT_RUN}" + " |" * (len(titles) + 2))
            continue
        cells = [shown(estimate(study, parts, measure)) for measure in wanted.values()]
        error = np.mean([calibration_error(part, CLASSES[study.name]) for part in parts])
        done = f"{len(parts)} of {study.runs}"
        lines.append(f"| ({arm}) {ARMS[arm]} | {done} | {' | '.join(cells)} | {error:.3f} |")
    for features, title in NAMES.items():
        known = recorded.floors.get(study.name, {}).get(features, {})
        cells = [_floor(known.get(name)) for name in wanted]
        done = "" if known else NOT_RUN
        lines.append(f"| {title}, logistic regression | {done} | {' | '.join(cells)} | |")
    return "\n".join(lines)


def _floor(found: Mapping[str, float] | None) -> str:
    return "" if found is None else "{value:.3f} [{low:.3f}, {high:.3f}]".format(**found)


def by_run(items: pd.DataFrame, arm: str, runs: Sequence[int] | None = None) -> list[pd.DataFrame]:
    """The items of each run of an arm, images in the same order."""
    chosen = items[items["arm"] == arm]
    wanted = sorted(chosen["run"].unique()) if runs is None else runs
    return [chosen[chosen["run"] == run].sort_values("image") for run in wanted]


def estimate(study: Study, parts: Sequence[pd.DataFrame], measure: Measure) -> Interval:
    """A figure of an arm; see `render_table`. One seed alone covers evaluation noise only."""
    if study is ISIC or len(parts) == 1:
        return interval(measure.sums(pd.concat(parts)), measure.statistic, BOOTSTRAP)
    sums = [measure.sums(part) for part in parts]
    return two_level_interval(sums, measure.statistic, BOOTSTRAP, shared_groups=True)


def difference(
    items: pd.DataFrame, pair: str, measure: Measure, *, shared_groups: bool
) -> tuple[int, Interval] | None:
    """How many runs both arms have, and the first arm minus the second over these."""
    have = [set(items[items["arm"] == arm]["run"]) for arm in pair]
    both = sorted(have[0] & have[1])
    if not both:
        return None
    first, second = ([measure.sums(part) for part in by_run(items, arm, both)] for arm in pair)
    if len(both) == 1:  # nothing to draw runs from: evaluation noise only
        return 1, paired_difference(first[0], second[0], measure.statistic, BOOTSTRAP)
    found = two_level_difference(
        first, second, measure.statistic, BOOTSTRAP, shared_groups=shared_groups
    )
    return len(both), found


def render_differences(recorded: Recorded) -> str:
    """The claims of the protocol, Holm-corrected within each study."""
    lines = [
        "## Paired differences",
        "",
        "95 % intervals by two-level bootstrap, 2,000 replicates: HAM10000 over seeds, then",
        "lesions (all seeds met the same test lesions); ISIC 2017 over folds, then groups, of the",
        "mean of the folds. With n runs they are too narrow by about sqrt((n - 1) / n); a row of",
        "one run covers evaluation noise only: no claim.",
        "",
        "| comparison | runs | difference | 95 % interval | p (Holm) |",
        "|---|---|---|---|---|",
    ]
    for name, (pairs, figures) in CLAIMS.items():
        lines += _differences(recorded.items[name], STUDIES[name], pairs, figures)
    return "\n".join(lines)


def _differences(
    items: pd.DataFrame, study: Study, pairs: Sequence[str], figures: Sequence[str]
) -> list[str]:
    known = {**measures(study.name), **rankings()}
    rows: list[tuple[str, int, Interval]] = []
    for figure, pair in product(figures, pairs):
        found = difference(items, pair, known[figure], shared_groups=study is HAM)
        if found is not None:
            title = f"{study.name}: ({pair[0]}) - ({pair[1]}), {known[figure].title}"
            rows.append((title, *found))
    if not rows:
        return [f"| {study.name} | {NOT_RUN} | | | |"]
    corrected = holm([1.0 if row.p_value is None else row.p_value for _, _, row in rows])
    return [
        f"| {title} | {runs} | {row.value:+.4f} | [{row.low:+.4f}, {row.high:+.4f}] | {p:.3g} |"
        for (title, runs, row), p in zip(rows, corrected, strict=True)
    ]


def render_points(recorded: Recorded) -> str:
    """Sensitivity and specificity of ISIC 2017 at thresholds that the other folds chose."""
    lines = [
        "## Operating points of ISIC 2017, out of fold",
        "",
        "The threshold of each fold is chosen on the out-of-fold scores of the other folds; counts",
        "are summed over the folds, intervals are over groups.",
        "",
        "| task | arm | aim on the other folds | sensitivity | specificity | true +, false -, "
        "true -, false + |",
        "|---|---|---|---|---|---|",
    ]
    for (task, positive), arm in product(TASKS["isic"].items(), ISIC.arms):
        items = recorded.items["isic"]
        items = items[items["arm"] == arm]
        if items["run"].nunique() < 2:
            lines.append(f"| {task} | ({arm}) | {NOT_RUN} | | | |")
            continue
        for fixed, aim in product(FIXED, AIMS):
            point = out_of_fold_point(items, positive, fixed, aim)
            lines.append(f"| {task} | ({arm}) | {fixed} {aim:.0%} | {_point(point)} |")
    return "\n".join(lines)


def _point(point: OperatingPoint) -> str:
    assert point.counts is not None
    counts = (point.counts.tp, point.counts.fn, point.counts.tn, point.counts.fp)
    rates = f"{_rate(point.sensitivity)} | {_rate(point.specificity)}"
    return f"{rates} | {', '.join(map(str, counts))}"


def _rate(rate: Rate) -> str:
    return f"{rate.value:.3f} [{rate.group_low:.3f}, {rate.group_high:.3f}]"


def render_check(recorded: Recorded) -> str:
    """The untouched images, scored by the mean probability of the fold models."""
    known = measures("isic")
    lines = [
        "## The untouched images of ISIC 2017",
        "",
        "The published validation part without the images that look like one of the training part;",
        "mean probability of the five fold models. With so few melanomas it can only show a grave",
        "disagreement.",
        "",
        f"| arm | images | melanomas | {' | '.join(m.title for m in known.values())} |",
        "|---" * (len(known) + 3) + "|",
    ]
    for arm in ISIC.arms:
        items = recorded.check[recorded.check["arm"] == arm]
        if items.empty:
            lines.append(f"| ({arm}) {ARMS[arm]} | {NOT_RUN}" + " |" * (len(known) + 2))
            continue
        columns = [f"p_{name}" for name in CLASSES["isic"]]
        mean = items.groupby(["image", "group", "truth"], as_index=False)[columns].mean()
        cells = [shown(interval(m.sums(mean), m.statistic, BOOTSTRAP)) for m in known.values()]
        melanomas = int((mean["truth"] == "melanoma").sum())
        lines.append(f"| ({arm}) {ARMS[arm]} | {len(mean)} | {melanomas} | {' | '.join(cells)} |")
    return "\n".join(lines)
