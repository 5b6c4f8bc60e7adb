"""The page of one ranking: the shared frame around sections of people; it loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

import likeness
from likeness.files import write_text
from likeness_apps.person_reid.report.charts import short_percent
from likeness_apps.person_reid.report.figures import PACKAGE, ranked_figures
from likeness_apps.person_reid.report.result import Result
from likeness_apps.person_reid.report.sections import SECTIONS as OWN
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.generated import is_generated
from likeness_apps.shell.report.data import ReportData
from likeness_apps.shell.report.page import asset, csp_hash, environment, section
from likeness_apps.shell.report.pictures import Pictures
from likeness_apps.shell.report.sections import SECTIONS, Build, interval_label
from likeness_apps.shell.report.tables import MOST_HEADLINES, Figure, figure
from likeness_apps.shell.results import run_table

SHARED = ("curves", "findings", "card", "provenance", "method")
OF_A_RUN = ("curves", "findings")
HEADLINES = ("cmc@1", "map", "minp")


def write_report(
    path: Path | str,
    domain: Domain,
    *,
    title: str,
    metrics: Mapping[str, Any],
    queries: pd.DataFrame,
    tracklets: pd.DataFrame | None = None,
    features: np.ndarray | None = None,
    root: Path | None = None,
    frames: pd.DataFrame | None = None,
    run: Path | None = None,
    card: str = "",
    include_images: bool = False,
    seed: int = 0,
) -> None:
    """Write report.html of a training run or an evaluation, atomically.

    Args:
        path: the file.
        domain: the application.
        title: the heading.
        metrics: metrics.json, `open_set` as `open_set_figures` gives it.
        queries: queries.csv.
        tracklets: one row per tracklet: label, camera, tracklet, and maybe role; for confusions
            and rank sheets.
        features: one row per row of `tracklets`.
        root: the root of the frames; also says whether the data are generated.
        frames: path, tracklet and maybe `frame` of every frame, for rank sheets.
        run: a run directory whose logs, findings and card belong to the page.
        card: the model card, if there is no run.
        include_images: put small pictures of people into the page.
        seed: of every choice.
    """
    if run is not None:
        readme = run / "model" / "README.md"
        card = card or (readme.read_text(encoding="utf-8") if readme.is_file() else "")
    data = ReportData(
        title=title,
        app=domain.name,
        metrics=metrics,
        predictions=pd.DataFrame(columns=["path", "status", "label"]),
        epochs=run_table(run, "logs/epochs.csv"),
        findings=run_table(run, "findings.csv"),
        card=card,
        generated=root is not None and is_generated(root),
        notice=domain.notice,
    )
    result = Result(
        metrics=metrics,
        queries=queries,
        tracklets=tracklets,
        features_ND=features,
        frames=frames,
        root=root,
        include_images=include_images,
        seed=seed,
    )
    write_text(path, _page(data, result, of_run=run is not None))


def _page(data: ReportData, result: Result, *, of_run: bool) -> str:
    shown, missing = _sections(data, result, of_run=of_run)
    if missing:
        body = section("leftout", reasons=missing)
        shown.append(("left-out", "Left out of this report", body))
    script = asset("report.js")
    styles = environment(PACKAGE).get_template("person_reid.css").render()
    style = asset("report.css") + styles
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            data=data,
            version=likeness.__version__,
            summary=_summary(result),
            headlines=_headlines(result),
            interval_label=interval_label(data),
            sections=shown,
            payload="",
            style=Markup(style),
            style_hash=csp_hash(style),
            script=Markup(script),
            script_hash=csp_hash(script),
        )
    )


def _sections(
    data: ReportData, result: Result, *, of_run: bool
) -> tuple[list[tuple[str, str, Markup]], list[tuple[str, str]]]:
    """(anchor, heading, HTML) of the sections, and (heading, reason) of those that are left out."""
    build = Build(data, [], None, Pictures(None), None, result.seed)
    made = [(name, title, body(result)) for name, title, body in OWN]
    made += [
        (name, title, body(build))
        for name, title, body in SECTIONS
        if name in SHARED and (of_run or name not in OF_A_RUN)
    ]
    shown = [(name, title, body) for name, title, body in made if isinstance(body, Markup)]
    missing = [(title, body) for _, title, body in made if not isinstance(body, Markup)]
    return shown, missing


def _headlines(result: Result) -> list[Figure]:
    """Rank-1, mAP, mINP, and TPR at the smallest false positive rate that can be stated."""
    ranked = {item.key: item for item in ranked_figures(result.metrics)}
    chosen = [ranked[key] for key in HEADLINES if key in ranked]
    open_set = result.metrics.get("open_set") or {}
    stated = [point for point in open_set.get("verification", ()) if not point["reason"]]
    if stated:
        point = min(stated, key=lambda each: float(each["aim"]))
        found = figure("tpr", point["true_rate"])
        chosen.append(replace(found, name=f"TPR at FPR {short_percent(point['aim'])}", count=""))
    elif "cmc@5" in ranked:
        chosen.insert(1, ranked["cmc@5"])
    return chosen[:MOST_HEADLINES]


def _summary(result: Result) -> str:
    metrics = result.metrics
    counts = metrics["counts"]
    split = "validation " if result.validated else ""
    return (
        f"{counts['queries']:,} {split}queries of {counts['identities_asked_for']:,} people, seen "
        f"by {counts['cameras']:,} cameras, rank {counts['gallery']:,} tracklets by the protocol "
        f"{metrics['protocol']}."
    )
