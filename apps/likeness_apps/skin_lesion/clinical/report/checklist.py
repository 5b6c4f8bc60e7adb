"""What two reporting statements ask for, and where this report answers it.

CLEAR Derm: Daneshjou et al. 2022 (JAMA Dermatology); TRIPOD+AI: BMJ 2024;385:e078378. Only what is
marked `confirmed` was read in the statements; the wording of the other items is from memory, and
the page says so. An answer comes from the record of the run or there is none: then the page says
what the author must add.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from likeness_apps.shell.report.data import ReportData
from likeness_apps.shell.report.tables import number_of
from likeness_apps.skin_lesion.clinical.report.tables import spoken
from likeness_apps.skin_lesion.domain import DOMAIN

LEAKS = ("duplicate-across-splits", "near-duplicate-across-splits", "group-in-several-splits")


@dataclass(frozen=True)
class Facts:
    """What answers may be taken from; `present`: the anchors of the sections that there are."""

    data: ReportData
    clinical: Mapping[str, Any]
    present: Collection[str]


@dataclass(frozen=True)
class Answer:
    """What the record says, and the anchors of the sections that say more."""

    text: str
    anchors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Item:
    """One thing to report.

    Attributes:
        group: statement and heading.
        name: of the item, in our words.
        missing: what the author must add where the record says nothing.
        answer: from the record; None where it holds nothing of the kind.
        confirmed: whether the item was read in the statement.
    """

    group: str
    name: str
    missing: str
    answer: Callable[[Facts], Answer | None]
    confirmed: bool = False


@dataclass(frozen=True)
class Row:
    """An item as the page shows it; `text` is "" where nothing is stated."""

    name: str
    text: str
    anchors: tuple[str, ...]
    missing: str
    confirmed: bool


def checklist_rows(
    data: ReportData, clinical: Mapping[str, Any], present: Collection[str]
) -> list[tuple[str, list[Row]]]:
    """The rows under each heading.

    Args:
        data: of the report.
        clinical: metrics["clinical"].
        present: anchors of the clinical sections that are on the page.
    """
    facts = Facts(data, clinical, {*present, *_shared_sections(data)})
    return [
        (group, [_row(item, facts) for item in items])
        for group, items in groupby(ITEMS, key=lambda item: item.group)
    ]


def _row(item: Item, facts: Facts) -> Row:
    found = item.answer(facts)
    if found is None:
        return Row(item.name, "", (), item.missing, item.confirmed)
    anchors = tuple(anchor for anchor in found.anchors if anchor in facts.present)
    return Row(item.name, found.text, anchors, item.missing, item.confirmed)


def _shared_sections(data: ReportData) -> set[str]:
    """Sections of every report that items point to, where there is something to show."""
    found = {"measured"}
    if data.card.strip():
        found.add("card")
    if data.provenance or data.metrics.get("provenance"):
        found.add("provenance")
    if data.findings is not None:
        found.add("findings")
    if data.metrics.get("interval"):
        found.add("method")
    return found


def _nowhere(facts: Facts) -> Answer | None:
    """No run records this."""
    return None


def _section(anchor: str, text: str) -> Callable[[Facts], Answer | None]:
    """The text, if the page has the section."""
    return lambda facts: Answer(text, (anchor,)) if anchor in facts.present else None


def _column(name: str) -> Callable[[Facts], Answer | None]:
    """How many levels a column of the data has, and for how many images it is unknown."""

    def answer(facts: Facts) -> Answer | None:
        rows = (facts.clinical.get("subgroups") or {}).get(name) or []
        first = [row for row in rows if row["task"] == rows[0]["task"]]
        total = sum(row["items"] for row in first)
        if not total:
            return None
        unknown = sum(row["items"] for row in first if row["level"] == "unknown")
        known = len([row for row in first if row["level"] != "unknown"])
        text = f"{known} levels; unknown for {unknown:,} of {total:,} images"
        return Answer(text, ("subgroups",))

    return answer


def _field_text(part: str) -> Callable[[Facts], Answer | None]:
    """The model card, if it still holds the field's own words on the matter."""

    def answer(facts: Facts) -> Answer | None:
        said = getattr(DOMAIN.card, part)
        return Answer("stated in the model card", ("card",)) if said in facts.data.card else None

    return answer


def _artefacts(facts: Facts) -> Answer | None:
    if DOMAIN.card.limits not in facts.data.card:
        return None
    text = "the model card names them as a risk; how many images show them is not stated"
    return Answer(text, ("card",))


def _licence(facts: Facts) -> Answer | None:
    licence = facts.data.metrics.get("data_licence")
    text = f"data licence: {licence}; ethics approval is not stated"
    return Answer(text, ("card",)) if licence else None


def _separation(facts: Facts) -> Answer | None:
    """Groups behind the images, and whether any straddle the splits."""
    groups = number_of((facts.data.metrics.get("interval") or {}).get("groups"))
    if groups is None:
        return None
    text = f"{len(facts.data.items):,} images in {groups:,.0f} groups (lesions or patients)"
    if facts.data.findings is None:
        return Answer(text + "; findings of the data are not in this report", ("measured",))
    codes = facts.data.findings["code"].tolist()
    counts = [f"{codes.count(code):,} {code}" for code in LEAKS if code in codes]
    said = (
        ", ".join(counts)
        if counts
        else "none straddle the splits, by the checks of the training data"
    )
    return Answer(f"{text}; {said}", ("findings",))


def _external(facts: Facts) -> Answer | None:
    if facts.data.metrics.get("split") != "external":
        return None
    return Answer("no image of this set was in the model's splits", ("measured",))


def _sample_size(facts: Facts) -> Answer | None:
    tasks = (facts.clinical.get("tasks") or {}).items()
    said = [
        f"{spoken(name)}: {task['positives']:,} positive, {task['negatives']:,} negative images"
        for name, task in tasks
        if "positives" in task
    ]
    return Answer("; ".join(said), ("discrimination",)) if said else None


def _missing_data(facts: Facts) -> Answer:
    given, read = len(facts.data.predictions), len(facts.data.items)
    text = f"{given - read:,} of {given:,} images could not be used"
    if "subgroups" in facts.present:
        text += "; unknown levels are rows of the subgroup tables"
    return Answer(text, ("measured", "subgroups"))


def _intervals(facts: Facts) -> Answer | None:
    interval = facts.data.metrics.get("interval") or {}
    method, level = interval.get("method"), number_of(interval.get("level"))
    return Answer(f"{100 * level:.0f} %, {method}", ("method",)) if method and level else None


def _operating(facts: Facts) -> Answer | None:
    fixed = any(task.get("operating") for task in (facts.clinical.get("tasks") or {}).values())
    return Answer("thresholds fixed on validation images", ("operating",)) if fixed else None


_DATA, _TECHNIQUE = "CLEAR Derm · Data", "CLEAR Derm · Technique"
_ASSESSMENT, _APPLICATION = "CLEAR Derm · Technical assessment", "CLEAR Derm · Application"
_TRIPOD = "TRIPOD+AI"
ITEMS = (
    Item(
        _DATA, "Image type", "dermoscopic, clinical or both, and how it was checked", _nowhere, True
    ),
    Item(
        _DATA,
        "Image artefacts",
        "how many images show rulers, ink, hairs or dark corners, and what was done about them",
        _artefacts,
        True,
    ),
    Item(_DATA, "Camera", "makes of camera and dermatoscope", _nowhere, True),
    Item(_DATA, "Standardised or not", "whether images were taken to a protocol", _nowhere, True),
    Item(_DATA, "Lighting", "polarised or not, contact or not", _nowhere, True),
    Item(_DATA, "Age", "ages of the patients", _column("age")),
    Item(_DATA, "Sex", "sexes of the patients", _column("sex")),
    Item(_DATA, "Site of the body", "sites of the lesions", _column("site")),
    Item(
        _DATA,
        "Skin tone",
        "skin types, by which scale and who said so; without them, that nothing is known",
        _column("skin_type"),
    ),
    Item(
        _DATA,
        "How diagnoses were made",
        "the share confirmed by histology, follow-up, consensus or single experts",
        _nowhere,
    ),
    Item(_DATA, "Consent and licence", "the terms of the data, ethics approval", _licence),
    Item(
        _TECHNIQUE,
        "Patients or lesions kept apart in the splits",
        "how the splits were made and what was grouped",
        _separation,
    ),
    Item(
        _TECHNIQUE,
        "Training and software",
        "network, preprocessing, training, versions",
        _section("provenance", "command, seed, versions and hash of the data; network in the card"),
    ),
    Item(
        _ASSESSMENT,
        "Discrimination with intervals",
        "areas under the curve with intervals",
        _section("discrimination", "areas under the curves with intervals"),
    ),
    Item(_ASSESSMENT, "Threshold chosen beforehand", "a threshold from other images", _operating),
    Item(_ASSESSMENT, "External test", "figures on images of another clinic", _external),
    Item(
        _ASSESSMENT,
        "Comparison on a public benchmark",
        "figures on a public test set by its own rules",
        _section("official", "the official figures of the ISIC challenge of these classes"),
    ),
    Item(
        _APPLICATION, "Intended use", "who would use it, when, on whom", _field_text("intended_use")
    ),
    Item(_APPLICATION, "Out of scope", "on whom it must not be used", _field_text("out_of_scope")),
    Item(
        _TRIPOD,
        "Fairness: performance in groups of people",
        "figures by sex, age and skin type",
        _section("subgroups", "figures by group, small groups as counts only"),
        True,
    ),
    Item(_TRIPOD, "Sample size", "how many images and events, and why enough", _sample_size),
    Item(_TRIPOD, "Missing data", "what was missing and how it was handled", _missing_data),
    Item(_TRIPOD, "Uncertainty", "how intervals were made", _intervals),
    Item(
        _TRIPOD,
        "Calibration",
        "a calibration curve",
        _section("clinical-calibration", "reliability diagram, Brier score, calibration error"),
    ),
    Item(
        _TRIPOD,
        "Usefulness of decisions",
        "net benefit over thresholds",
        _section("clinical-calibration", "decision curve against treating everybody or nobody"),
    ),
    Item(_TRIPOD, "Registration, funding, conflicts of interest", "all three", _nowhere),
    Item(_TRIPOD, "Where code, model and data can be had", "addresses and terms", _nowhere),
)
