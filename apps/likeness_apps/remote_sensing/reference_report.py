"""The page of a map's accuracy: figures, error matrix, areas, and where the map is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from markupsafe import Markup, escape

import likeness
from likeness.files import write_text
from likeness_apps.remote_sensing.reference_pixels import PICTURE, Tally
from likeness_apps.shell.report.colours import class_colours
from likeness_apps.shell.report.figures import interval_bar
from likeness_apps.shell.report.page import asset, csp_hash, environment
from likeness_apps.shell.report.pictures import data_uri

_PAPER, _FAINT, _RIGHT, _WRONG = "#faf9f6", "#d9d6cf", "#1c6bb0", "#c44414"
_STYLE = """
.maps{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,320px),1fr));gap:1rem}
.maps figure{margin:0}.maps img{width:100%;image-rendering:pixelated;border:1px solid var(--line)}
.ink{white-space:nowrap}.ink::before{content:"";margin-right:.35em;display:inline-block;width:.9em;height:.9em;border-radius:3px;vertical-align:-.1em}
"""


def write_map_report(path: Path, metrics: Mapping[str, Any], found: Tally, caution: str) -> None:
    """Write the report as one self-contained page, atomically.

    Args:
        path: the html file.
        metrics: metrics.json of `evaluate_map`.
        found: for the two pictures.
        caution: what the numbers assume.
    """
    style = asset("report.css") + _STYLE + _swatches(len(metrics["classes"]))
    script = asset("report.js")
    page = environment().get_template("report.html.j2")
    text = page.render(
        data=SimpleNamespace(
            title="Accuracy of a map", app=metrics["app"], generated=False, notice=""
        ),
        version=likeness.__version__,
        summary=_summary(metrics),
        headlines=[_headline(metrics)],
        interval_label="",
        sections=[
            ("where", "Where the map is right", _pictures(metrics, found)),
            ("matrix", "Error matrix", _matrix(metrics)),
            ("areas", "Accuracy and area of each class", _areas(metrics)),
            ("method", "What the numbers assume", Markup("<p>{}</p>").format(caution)),
        ],
        payload="",
        style=Markup(style),
        style_hash=csp_hash(style),
        script=Markup(script),
        script_hash=csp_hash(script),
    )
    write_text(path, text)


def _summary(metrics: Mapping[str, Any]) -> str:
    sampling, area = metrics["sampling"], metrics["map_area"]
    text = (
        f"{metrics['map']} against {metrics['reference']}: {sampling['pixels']:,} reference pixels "
        f"in {sampling['groups']:,} {sampling['group']}; the map covers {area['hectares']:,.1f} ha."
    )
    for reason, count in sampling["skipped"].items():
        if count:
            text += f" Left out: {count:,} pixels {reason}."
    if area["classes_without_reference"]:
        named = ", ".join(area["classes_without_reference"])
        share = area["share_of_sampled_classes"]
        text += f" No reference for {named}: every figure holds for the other {share:.0%} of it."
    return text


def _headline(metrics: Mapping[str, Any]) -> dict[str, Any]:
    overall = metrics["overall_accuracy"]
    low, high = (_finite(overall[end]) for end in ("low", "high"))
    return {
        "name": "Overall accuracy, weighted by area",
        "value": f"{100 * overall['value']:.1f} %",
        "bar": interval_bar(overall["value"], low, high),
        "low": "" if low is None else f"{100 * low:.1f} %",
        "high": "" if high is None else f"{100 * high:.1f} %",
        "count": f"{metrics['sampling']['pixels']:,}",
        "family": "map",
    }


def _pictures(metrics: Mapping[str, Any], found: Tally) -> Markup:
    colours = [light for light, _ in class_colours(len(metrics["classes"]))]
    classes_YX, truth_YX = found.map_picture_YX, found.truth_picture_YX
    verdict_YX = np.where(classes_YX < 0, 0, 1)
    told_YX = (truth_YX >= 0) & (classes_YX >= 0)
    verdict_YX[told_YX] = np.where(classes_YX == truth_YX, 2, 3)[told_YX]
    legend = Markup(" ").join(
        Markup('<span class="ink m{}">{}</span>').format(number, name)
        for number, name in enumerate(metrics["classes"])
        if metrics["per_class"][number]["mapped_pixels"]
    )
    marks = Markup(
        '<span class="key right">right</span> <span class="key wrong">wrong</span> '
        "grey: no reference"
    )
    shown = (
        (_painted(classes_YX + 1, [_PAPER, *colours]), "The map", legend),
        (_painted(verdict_YX, [_PAPER, _FAINT, _RIGHT, _WRONG]), "Against the reference", marks),
    )
    figures = Markup("").join(
        Markup(
            '<figure><img src="{}" alt="{}"><figcaption><b>{}.</b> {}</figcaption></figure>'
        ).format(data_uri(picture, PICTURE), title, title, caption)
        for picture, title, caption in shown
    )
    return Markup('<div class="maps">{}</div>').format(figures)


def _matrix(metrics: Mapping[str, Any]) -> Markup:
    seen = [place for place, record in enumerate(metrics["per_class"]) if _occurs(record)]
    names = [metrics["classes"][place] for place in seen]
    counts = np.array(metrics["confusion"]["counts"]).T[np.ix_(seen, seen)]
    rows = [
        [name, *(f"{count:,}" for count in row), f"{row.sum():,}"]
        for name, row in zip(names, counts, strict=True)
    ]
    rows.append(["all", *(f"{count:,}" for count in counts.sum(axis=0)), f"{counts.sum():,}"])
    lead = "Reference pixels: the map's classes go down, the reference's across." + _unseen(metrics)
    return _table(lead, ["map \\ reference", *names, "all"], rows)


def _occurs(record: Mapping[str, Any]) -> bool:
    return bool(record["mapped_pixels"] or record["reference_pixels"])


def _unseen(metrics: Mapping[str, Any]) -> str:
    missing = [record["class"] for record in metrics["per_class"] if not _occurs(record)]
    return f" Neither holds {', '.join(missing)}." if missing else ""


def _areas(metrics: Mapping[str, Any]) -> Markup:
    rows = [
        [
            record["class"],
            f"{record['mapped_hectares']:,.1f}",
            _with_ends(record["hectares"], "{:,.1f}"),
            _with_ends(record["users"], "{:.3f}"),
            _with_ends(record["producers"], "{:.3f}"),
        ]
        for record in metrics["per_class"]
        if _occurs(record)
    ]
    lead = (
        "Area in hectares: as mapped, and as the reference says it is (error-adjusted). Below "
        "each figure two 95 % intervals: drawing whole groups of pixels, then by the analytical "
        "formulas, which take every pixel for independent."
    )
    head = ["class", "mapped ha", "estimated ha", "user's accuracy", "producer's accuracy"]
    return _table(lead, head, rows)


def _with_ends(entry: Mapping[str, Any], form: str) -> str | Markup:
    if _finite(entry["value"]) is None:
        return "undefined"
    lines = [form.format(entry["value"])]
    for ends in (entry, entry["analytical"]):
        low, high = _finite(ends["low"]), _finite(ends["high"])
        known = low is not None and high is not None
        lines.append(f"[{form.format(low)}, {form.format(high)}]" if known else "[no interval]")
    return Markup("<br>").join(lines)


def _table(lead: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    def line(cells: Sequence[str], tag: str) -> Markup:
        first = Markup('<th scope="row">{}</th>').format(cells[0])
        rest = (Markup("<{} class='r'>{}</{}>").format(tag, cell, tag) for cell in cells[1:])
        return Markup("<tr>{}{}</tr>").format(first, Markup("").join(rest))

    body = Markup("").join(line(row, "td") for row in rows)
    return Markup(
        '<p class="lead">{}</p><div class="scroll"><table class="numbers">'
        "<thead>{}</thead><tbody>{}</tbody></table></div>"
    ).format(escape(lead), line(head, "th"), body)


def _painted(numbers_YX: np.ndarray, colours: Sequence[str]) -> np.ndarray:
    table = np.array([[int(c[at : at + 2], 16) for at in (1, 3, 5)] for c in colours], np.uint8)
    return np.asarray(table[numbers_YX])


def _swatches(count: int) -> str:
    pairs = enumerate(class_colours(count))
    return "".join(f".ink.m{number}::before{{background:{light}}}" for number, (light, _) in pairs)


def _finite(value: Any) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
