"""What `explain` says in words: what a reader must know first, and one line for the terminal."""

from __future__ import annotations

from typing import Any

from likeness.bundle import Bundle
from likeness.data.masked import View
from likeness_apps.skin_lesion.explain.cases import Cases
from likeness_apps.skin_lesion.explain.maps import Seen

GENERATED = "Generated data: nobody has this lesion."
HIDDEN = "Letters may be burned into the image, so it is not shown: the maps are drawn on grey."


def known_as(bundle: Bundle, content: str) -> dict[str, Any]:
    """Where the image is in the model's own data, by its content."""
    rows = bundle.splits[bundle.splits["sha256"] == content]
    if not len(rows):
        return {"known_as": None}
    row = rows.iloc[0]
    return {"known_as": {"split": str(row["split"]), "label": str(row["label"])}}


def notes_of(
    facts: dict[str, Any],
    seen: Seen,
    cases: Cases | None,
    no_cases: str,
    view: View,
    *,
    hidden: bool,
) -> list[str]:
    """What a reader must know before looking, in sentences.

    Args:
        facts: what is known of the image so far.
        seen: its maps.
        cases: its similar cases; None if there can be none.
        no_cases: why, if that is the model's fault.
        view: the picture and its mask.
        hidden: the picture is not shown.
    """
    notes = [GENERATED] if facts["generated"] else []
    notes += [HIDDEN] if hidden else []
    known = facts["known_as"]
    if known and known["split"] == "train":
        notes.append("The model was trained on this very image: its answer proves nothing.")
    if facts["status"] == "out_of_scope":
        notes.append(f"Out of scope, so there is no answer: {facts['reason']}.")
    elif not facts["probabilities"]:
        notes.append("The model gives no class and no probabilities.")
    notes += seen.missing
    if cases is None:
        notes.append(f"No similar cases: {no_cases or 'the image has no embedding'}.")
    if view.mask_reason:
        notes.append(f"The mask beside the image was not used: {view.mask_reason}.")
    return notes


def line_of(facts: dict[str, Any]) -> str:
    """What to say of an image in one line."""
    if facts["status"] == "error":
        return f"cannot be explained: {facts['image']}: {facts['reason']}"
    if not facts["label"]:
        return f"{facts['image']}: no answer ({facts['reason'] or 'the model names no class'})"
    likely = facts["probabilities"][facts["label"]]
    return f"{facts['image']}: {facts['diagnosis']}, probability {likely:.2f}"
