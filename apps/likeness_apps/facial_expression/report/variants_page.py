"""The page of `subclasses`: the shared frame around what a model found inside the classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

import likeness
from likeness.data.manifest import Manifest
from likeness.files import write_text
from likeness_apps.facial_expression.report.gallery import FACES, SIDE, Shown
from likeness_apps.facial_expression.report.gathered import Gathered
from likeness_apps.facial_expression.report.ovals import draw_classes, draw_inside
from likeness_apps.facial_expression.variants.assign import TRAINED
from likeness_apps.facial_expression.variants.found import Divided
from likeness_apps.facial_expression.variants.stability import WHOLE, Stability
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.generated import is_generated
from likeness_apps.shell.report.cells import Cell
from likeness_apps.shell.report.data import DISTANCE_TEXT, ReportData
from likeness_apps.shell.report.html import class_styles
from likeness_apps.shell.report.page import asset, csp_hash, environment, section
from likeness_apps.shell.report.pictures import Pictures
from likeness_apps.shell.results import thumbnail_of

PACKAGE = "likeness_apps.facial_expression.report"
TEMPLATE = "facial_expression.html.j2"
WITHOUT_IMAGES = (
    "faces are only put in with --include-images, and need DATA, where the pictures are."
)
NO_DATA = "no pictures were given."
Given = tuple[Manifest, pd.DataFrame]  # a set, and what `assign` says of it
Body = Markup | str


def write_page(
    path: Path,
    domain: Domain,
    one: Divided,
    table: pd.DataFrame,
    told: Stability,
    facts: dict[str, Any],
    *,
    shown: Given | None,
    include_images: bool,
) -> None:
    """Write the page, atomically.

    Args:
        path: the HTML file.
        domain: the application.
        one: the sub-classes.
        table: see `subclass_table`.
        told: what other models say of them.
        facts: subclasses.json.
        shown: pictures that were given.
        include_images: put small pictures of them in.
    """
    root = None if shown is None else shown[0].root
    pictures = Pictures(_thumbnail(domain, root) if include_images else None)
    faces = _gathered(one, pictures, shown)
    parts: Sequence[tuple[str, str, Callable[[], Body]]] = (
        ("found", "What was found", partial(_found, one, table, told, facts)),
        ("stability", "Is it stable?", partial(_stable, told, facts)),
        ("gallery", "Face by face", partial(_gallery, one, table, pictures, shown)),
        ("planes", "Classes and sub-classes", partial(_planes, one, faces)),
        ("components", "How many sub-classes?", partial(_components, one, table)),
        ("assigned", "Assigned pictures", partial(_assigned, one, facts, shown)),
        ("meaning", "What it is, and is not", partial(_meaning, facts)),
    )
    made = [(name, title, body()) for name, title, body in parts]
    data = ReportData(
        title=f"Sub-classes of {one.bundle.model_id}",
        app=domain.name,
        metrics={},
        predictions=pd.DataFrame(columns=["path", "status", "label"]),
        generated=root is not None and is_generated(root),
        notice=domain.notice,
    )
    write_text(path, _page(data, made, len(one.classes), _summary(one)))


def _thumbnail(domain: Domain, root: Path | None) -> Callable[[str], Any] | None:
    if root is None:
        return None
    picture = thumbnail_of(domain)
    return lambda name: picture(root / name)


def _page(
    data: ReportData, made: Sequence[tuple[str, str, Body]], classes: int, summary: str
) -> str:
    sections = [item for item in made if isinstance(item[2], Markup)]
    missing = [(title, body) for _, title, body in made if not isinstance(body, Markup)]
    if missing:
        body = section("leftout", reasons=missing)
        sections.append(("left-out", "Left out of this page", body))
    style, script = asset("report.css") + class_styles(classes), asset("report.js")
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            data=data,
            version=likeness.__version__,
            summary=summary,
            headlines=(),
            interval_label="",
            sections=sections,
            payload="",
            style=Markup(style),
            style_hash=csp_hash(style),
            script=Markup(script),
            script_hash=csp_hash(script),
        )
    )


def _summary(one: Divided) -> str:
    divided = int((np.bincount(one.found.classes_K) > 1).sum())
    return (
        f"{len(one.pictures):,} training pictures of {len(one.classes)} displayed expressions lie "
        f"in {len(one.found.numbers_K)} sub-classes; {divided} classes are divided."
    )


def _made(name: str, **values: Any) -> Markup:
    return section(name, package=PACKAGE, template=TEMPLATE, **values)


def _gathered(one: Divided, pictures: Pictures, shown: Given | None) -> Gathered:
    """The training pictures; a picture is there where the set that was given has it."""
    place = {}
    if shown is not None:
        place = dict(zip(shown[1]["sha256"], shown[1]["path"], strict=True))
    hashes, paths = one.pictures["sha256"].tolist(), one.pictures["path"].tolist()

    def uri(face: int) -> str | None:
        name = place.get(hashes[face])
        return None if name is None else pictures.uri(name, SIDE)

    return Gathered(
        rows_ND=one.rows_ND,
        class_N=one.labels_N,
        subclass_N=one.found.assigned_N,
        classes=one.classes,
        names=one.names,
        paths=paths,
        uri=uri,
    )


def _found(one: Divided, table: pd.DataFrame, told: Stability, facts: dict[str, Any]) -> Body:
    rows = [
        {
            "name": row["subclass"],
            "colour": one.classes.index(row["class"]),
            **{key: row[key] for key in ("pictures", "share", "spread", "certainty")},
            "verdict": told.verdicts[row["class"]],
        }
        for row in table.to_dict("records")
    ]
    return _made(
        "found",
        rows=rows,
        told=facts["stability"]["told"],
        stable=told.verdict,
        trained=one.trained,
        as_kept=one.as_kept,
        looked_for=one.spec,
    )


def _stable(told: Stability, facts: dict[str, Any]) -> Body:
    if told.verdict == WHOLE and not told.pairs:
        return "no class is divided."
    names = [name for name in told.verdicts if any(name in pair.by_class for pair in told.pairs)]
    tight = [name for name in told.verdicts if any(name in one.by_class for one in told.judged)]
    return _made(
        "stable",
        told=facts["stability"]["told"],
        rule=facts["stability"]["rule"],
        pairs=told.pairs,
        rows=[(name, [pair.by_class.get(name) for pair in told.pairs]) for name in names],
        judges=[one.model for one in told.judged],
        tight=[(name, [one.by_class.get(name) for one in told.judged]) for name in tight],
        own=told.own,
        draws=facts["stability"]["random_splits"]["draws"],
    )


def _planes(one: Divided, faces: Gathered) -> Body:
    whole = draw_classes(faces, seed=0)
    if whole is None:
        return "it takes two classes."
    inside = [draw_inside(faces, number, seed=0) for number in faces.subclasses_of]
    return _made(
        "planes",
        whole=whole,
        inside=inside,
        counted=f"Dots: {whole.dots:,} of {len(one.pictures):,} training pictures.",
        space_text=DISTANCE_TEXT[one.bundle.space],
        pictured="<image" in whole.svg,
    )


def _gallery(one: Divided, table: pd.DataFrame, pictures: Pictures, shown: Given | None) -> Body:
    if shown is None:
        return WITHOUT_IMAGES
    good = shown[1][shown[1]["status"] == "ok"]
    trained = good[good["how"] == TRAINED]
    source = "Training pictures nearest to the mean of their sub-class."
    if not len(trained):
        trained, source = good, "None of the pictures was trained on: those nearest to the means."
    rows = []
    for row in table.to_dict("records"):
        own = trained[trained["subclass"] == row["subclass"]].sort_values("distance").head(FACES)
        colour = one.classes.index(row["class"])
        cells = [
            Cell(pictures.uri(path, SIDE), path, row["subclass"], colour, distance=f"{far:.3f}")
            for path, far in zip(own["path"], own["distance"], strict=True)
        ]
        numbers = row["pictures"], row["share"], row["spread"]
        rows.append(Shown(row["subclass"], colour, *numbers, cells))
    if not any(cell.uri for row in rows for cell in row.cells):
        return WITHOUT_IMAGES
    return _made("gallery", rows=rows, source=source)


def _components(one: Divided, table: pd.DataFrame) -> Body:
    most = one.found.bic_CM.shape[1]
    columns = [f"bic_{count}" for count in range(1, most + 1)]
    first = table.drop_duplicates("class").set_index("class")[columns]
    rows = [
        (name, one.classes.index(name), cells.tolist())
        for name, cells in first.iterrows()
        if np.isfinite(cells.to_numpy(float)).any()
    ]
    if not rows:
        return "no class has pictures enough to be divided."
    return _made("components", rows=rows, most=most)


def _assigned(one: Divided, facts: dict[str, Any], shown: Given | None) -> Body:
    if shown is None:
        return NO_DATA
    good = shown[1][shown[1]["status"] == "ok"]
    rows = []
    for number in one.found.numbers_K.tolist():
        label = one.classes[number // one.found.slots]
        own = good[good["subclass"] == one.names[number]]
        others = own[own["how"] != TRAINED]
        rows.append(
            {
                "name": one.names[number],
                "colour": number // one.found.slots,
                "trained": len(own) - len(others),
                "others": len(others),
                "labelled": int((others["truth"] != "").sum()),
                "agreeing": int((others["truth"] == label).sum()),
            }
        )
    counted = facts["assigned"]
    return _made(
        "assigned",
        rows=rows,
        total=counted["pictures"],
        trained=counted["trained_on"],
        unreadable=counted["unreadable"],
    )


def _meaning(facts: dict[str, Any]) -> Body:
    return _made("meaning", text=facts["meaning"], models=facts["models"])
