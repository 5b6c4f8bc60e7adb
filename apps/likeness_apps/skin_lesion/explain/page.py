"""explanation.html: one page that loads nothing, for one image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

import likeness
from likeness_apps.shell.report.page import asset, csp_hash, environment
from likeness_apps.shell.report.pictures import data_uri
from likeness_apps.skin_lesion.diagnoses import names_of
from likeness_apps.skin_lesion.explain.picture import inside, outlined, overlay

if TYPE_CHECKING:
    from likeness_apps.skin_lesion.explain.run import Explanation

PACKAGE = "likeness_apps.skin_lesion.explain"
_SIDE, _TILE = 480, 240  # pixels


def explanation_page(made: Explanation) -> str:
    """The text of the page; its pictures are re-encoded, so that no metadata comes along."""
    templates = environment(PACKAGE)
    style = asset("gallery.css") + templates.get_template("explanation.css").render()
    return templates.get_template("explanation.html.j2").render(
        facts=made.facts,
        picture=data_uri(outlined(made.picture_HW3, made.mask_HW), _SIDE),
        maps=_maps(made),
        probabilities=_probabilities(made.facts["probabilities"]),
        cases=_cases(made),
        sentences=made.facts["similar"]["sentences"] if made.facts["similar"] else [],
        temperature=made.facts["readout"].get("temperature"),
        version=likeness.__version__,
        style=Markup(style),
        style_hash=csp_hash(style),
    )


def _maps(made: Explanation) -> list[dict[str, Any]]:
    return [
        {
            "title": seen.title,
            "about": seen.about,
            "uri": data_uri(overlay(made.picture_HW3, seen.map_HW, made.mask_HW), _SIDE),
            "cells": " x ".join(map(str, seen.cells_hw.shape)),
            "range": f"{seen.low:.2f} to {seen.high:.2f}",
            "inside": inside(seen.overlap),
        }
        for seen in made.seen.maps
    ]


def _probabilities(found: dict[str, float]) -> list[dict[str, Any]]:
    ranked = sorted(found.items(), key=lambda item: -item[1])
    names = names_of([label for label, _ in ranked])
    return [
        {"name": name, "label": label, "value": value, "width": round(200 * value, 1)}
        for name, (label, value) in zip(names, ranked, strict=True)
    ]


def _cases(made: Explanation) -> list[dict[str, Any]]:
    if made.cases is None:
        return []
    shown = []
    for case in made.cases.cases:
        picture_HW3 = case.picture_HW3
        uri = None if picture_HW3 is None else data_uri(picture_HW3, _TILE)
        same = bool(made.facts["label"]) and case.label == made.facts["label"]
        shown.append({**case.facts(), "uri": uri, "same": same})
    return shown
