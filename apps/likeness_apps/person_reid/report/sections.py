"""The sections of the page: each is a function of the result that gives HTML, or says why not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from likeness_apps.person_reid.report.charts import (
    cmc_chart,
    cmc_curve,
    percent,
    rates_chart,
    score_chart,
)
from likeness_apps.person_reid.report.figures import (
    interval_text,
    ranked_figures,
    rate_cell,
    rate_row,
    score_text,
    section,
)
from likeness_apps.person_reid.report.rankings import confusions, rankings, said
from likeness_apps.person_reid.report.reordered import reordered
from likeness_apps.person_reid.report.result import Result
from likeness_apps.person_reid.report.strips import rank_sheets
from likeness_apps.shell.report.curves import Mark
from likeness_apps.shell.report.data import DISTANCE_TEXT
from likeness_apps.shell.report.sections import Body
from likeness_apps.shell.report.tables import number_of

COUNTS = {
    "queries": "Queries",
    "gallery": "Gallery tracklets",
    "identities_asked_for": "Identities asked for",
    "cameras": "Cameras",
    "distractors": "Distractors",
    "junk": "Junk",
}
ITEMS = {
    "frames": "Frames",
    "unreadable_frames": "Frames that could not be read",
    "tracklets_without_a_frame": "Tracklets without a frame, left out",
}
NO_OPEN_SET = "metrics.json holds no open-set figures."
WITHOUT_IMAGES = (
    "strips of tracklets are pictures of people, so they are only put in with --include-images "
    "(and a page that has them is kept as carefully as the recordings)."
)
_SIZES = ((8, "few"), (16, "some"), (32, "many"))


def _measured(result: Result) -> Body:
    metrics = result.metrics
    counts, items = metrics.get("counts") or {}, metrics.get("items") or {}
    listed = [(name, counts[key]) for key, name in COUNTS.items() if key in counts]
    listed += [(name, items[key]) for key, name in ITEMS.items() if key in items]
    facts = {
        "Protocol": _protocol(metrics),
        "Split": metrics.get("split") or "not stated",
        "Random splits": _splits(metrics),
        "Model": metrics.get("model_id"),
        "Frames of a tracklet": metrics.get("frames") and f"pooled by {metrics['frames']}",
        "Distance": DISTANCE_TEXT[metrics["space"]],
        "Terms of the training data": metrics.get("data_licence"),
    }
    return section(
        "measured",
        facts=[(name, text) for name, text in facts.items() if text],
        source=metrics["protocol_source"],
        rules=metrics["protocol_text"],
        counts=listed,
        figures=ranked_figures(metrics),
        notes=metrics.get("set_notes") or [],
        biometric=metrics.get("biometric", ""),
    )


def _protocol(metrics: Mapping[str, Any]) -> str:
    """Its name; and what it is made for, if that is not this set."""
    name, note = metrics["protocol"], metrics.get("protocol_note")
    return f"{name} ({note})" if note else str(name)


def _splits(metrics: Mapping[str, Any]) -> str:
    """How many random splits were measured, and how rank-1 varies between them."""
    splits = metrics.get("splits")
    if not splits:
        return ""
    text = f"{splits['measured']} of the {splits['published']} random splits"
    spread = number_of((splits["spread"].get("cmc@1") or {}).get("sd"))
    return text if spread is None else f"{text}; rank-1 deviates by {100 * spread:.1f} points"


def _cmc(result: Result) -> Body:
    curve = cmc_curve(result)
    if curve is None:
        return "no query has a true match."
    rows = [
        (k, f"{100 * share:.1f} %", interval_text(low, high))
        for k, share, low, high in zip(
            curve.ranks, curve.shares, curve.lows, curve.highs, strict=True
        )
    ]
    banded = math.isfinite(curve.lows[0])
    return section(
        "cmc", chart=cmc_chart(curve, result.metrics["retrieval"]), rows=rows, banded=banded
    )


def _verdicts(result: Result) -> Body:
    found = result.metrics.get("open_set")
    if not found:
        return NO_OPEN_SET
    verdicts = found["verdicts"]
    rates = verdicts.get("rates") or {}
    called = ("same", "unknown", "different")
    rows = [
        (kind, found["pairs"][kind], [rate_cell(rates[f"{kind}_{name}"]) for name in called])
        for kind in ("genuine", "impostor")
        if rates
    ]
    unit = f"score: minus the {DISTANCE_TEXT[result.metrics['space']].split(',')[0]}"
    return section(
        "verdicts",
        verdicts=verdicts,
        same_from=score_text(number_of(verdicts.get("same_from"))),
        different_below=score_text(number_of(verdicts.get("different_below"))),
        rows=rows,
        pairs=found["pairs"],
        chart=score_chart(found["scores"], verdicts, unit),
        validated=result.validated,
    )


def _verification(result: Result) -> Body:
    found = result.metrics.get("open_set")
    if not found:
        return NO_OPEN_SET
    rates = found["verdicts"].get("rates") or {}
    marks = [
        mark
        for name, kinds in (("same", ("same",)), ("different", ("same", "unknown")))
        if (mark := _threshold_mark(name, rates, kinds)) is not None
    ]
    chart = rates_chart(
        "ROC curve of pairs of different cameras",
        found["roc"],
        found["pairs"]["impostor"],
        marks,
        x_label="false positive rate: impostor pairs accepted",
        y_label="true positive rate",
    )
    rows = [rate_row(point) for point in found["verification"]]
    return section("verification", chart=chart, rows=rows, pairs=found["pairs"], marked=bool(marks))


def _identification(result: Result) -> Body:
    found = (result.metrics.get("open_set") or {}).get("identification")
    if not found:
        return NO_OPEN_SET
    if "reason" in found:
        return f"{found['reason']}."
    stored = found.get("at_same_from")
    marks = []
    if stored:
        far, share = (number_of(stored[name]["value"]) for name in ("far", "dir"))
        if far is not None and share is not None:
            tip = f"where same begins: DIR {percent(share)}, FAR {percent(far)}"
            marks.append(Mark(far, share, "same", tip))
    chart = rates_chart(
        "Open-set identification",
        found["curve"],
        found["not_enrolled"],
        marks,
        x_label="false accept rate: probes not enrolled that are accepted",
        y_label="detection and identification rate",
    )
    return section(
        "identification",
        chart=chart,
        facts=found,
        rows=[rate_row(point) for point in found["points"]],
        stored=stored and {name: rate_cell(stored[name]) for name in ("dir", "far")},
    )


@dataclass(frozen=True)
class Matrix:
    """One figure by camera of the query (rows) and of the true match (columns)."""

    title: str
    shares: list[list[float | None]]
    levels: list[list[int]]


def _cameras(result: Result) -> Body:
    found = result.metrics.get("camera_pairs")
    if not found:
        return "matrices of camera pairs are of one test set; over random splits there are none."
    matrices = []
    for key, title in (("rank1", "Rank-1"), ("map", "mAP")):
        shares = [[number_of(cell) for cell in row] for row in found[key]]
        levels = [[math.ceil(10 * (cell or 0.0)) for cell in row] for row in shares]
        matrices.append(Matrix(title, shares, levels))
    count = len(found["cameras"])
    size = next((name for most, name in _SIZES if count <= most), "crowd")
    means = {key: number_of(value) for key, value in found["mean_over_different_cameras"].items()}
    return section("cameras", found=found, matrices=matrices, size=size, means=means)


def _unmatched(result: Result) -> Body:
    zero = result.metrics["rules"]["unmatched"] == "zero"
    return section("unmatched", rows=list(result.metrics["unmatched"].items()), zero=zero)


def _confusions(result: Result) -> Body:
    found = rankings(result)
    if found is None:
        return "they need the tracklets and their features."
    rows = [
        ([said(name) for name in each.names], each.count, each.queries, each.examples)
        for each in confusions(found)
    ]
    if not rows:
        return "the nearest item of every query is of its own identity."
    return section("confusions", rows=rows, split=found.split)


def _ranks(result: Result) -> Body:
    if not result.include_images:
        return WITHOUT_IMAGES
    sheets = rank_sheets(result)
    if isinstance(sheets, str):
        return sheets
    return section("ranks", groups=sheets.groups, left_out=sheets.left_out, split=sheets.split)


def _threshold_mark(name: str, rates: Mapping[str, Any], kinds: tuple[str, ...]) -> Mark | None:
    """Where a stored threshold lies on the ROC curve: what reaches it, of either kind."""
    if not rates:
        return None
    shares = [[number_of(rates[f"{of}_{kind}"]["value"]) for kind in kinds] for of in PAIRED]
    if any(share is None for each in shares for share in each):
        return None
    true, false = (sum(share for share in each if share is not None) for each in shares)
    tip = f"threshold of {name}: TPR {percent(true)}, FPR {percent(false)}"
    return Mark(false, true, name, tip)


PAIRED = ("genuine", "impostor")
SECTIONS: tuple[tuple[str, str, Callable[[Result], Body]], ...] = (
    ("measured", "What was measured, by which rules", _measured),
    ("cmc", "CMC curve", _cmc),
    ("reordered", "After re-ranking", reordered),
    ("verdicts", "Same, different or unknown", _verdicts),
    ("verification", "Verification: is it the same person?", _verification),
    ("identification", "Open-set identification: who, if anybody?", _identification),
    ("cameras", "From camera to camera", _cameras),
    ("unmatched", "Queries without a true match", _unmatched),
    ("confusions", "Hardest confusions", _confusions),
    ("ranks", "Rank sheets", _ranks),
)
