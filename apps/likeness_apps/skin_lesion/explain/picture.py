"""explanation.png: the image, the maps over it, the probabilities and the similar cases.

Legend: H, W of the picture.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.ndimage import binary_dilation

from likeness.files import atomic_path
from likeness_apps.skin_lesion.diagnoses import names_of
from likeness_apps.skin_lesion.explain.cases import Case

if TYPE_CHECKING:
    from likeness_apps.skin_lesion.explain.run import Explanation

STRENGTH = 0.6  # of the colour where a map is highest; where it is lowest, the picture is bare
COLOURS = "viridis"  # its greens are no colours of skin, and it reads without colour vision
_PAPER, _INK, _SOFT, _LINE, _ACCENT, _WARN = (
    *("#faf9f6", "#1f2328", "#5d6570", "#e5e2db", "#1d6b72", "#c44414"),
)
_MOST_BARS, _MOST_CASES = 9, 5
_LEFT, _LOWER = 0.035, 0.365  # margin, and height of the lower headings, in shares of the page
_TAG: dict[str, Any] = {
    **{"fontsize": 10, "color": _WARN, "ha": "right", "va": "center"},
    "bbox": {"boxstyle": "round,pad=0.5", "facecolor": "#f7e3db", "edgecolor": "none"},
}


def write_picture(path: Path, made: Explanation) -> None:
    """Draw everything on one page, without metadata; atomically."""
    with mpl.rc_context({"font.family": "sans-serif", "text.color": _INK, "font.size": 11}):
        figure = _page(made)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", facecolor=_PAPER, metadata={"Software": None})


def overlay(
    picture_HW3: UInt8[np.ndarray, "H W 3"],
    map_HW: Float[np.ndarray, "H W"],
    mask_HW: Bool[np.ndarray, "H W"] | None = None,
) -> UInt8[np.ndarray, "H W 3"]:
    """The map in colour over the picture, the stronger the higher, and the mask's outline."""
    colours_HW3 = mpl.colormaps[COLOURS](map_HW)[..., :3] * 255
    share_HW1 = STRENGTH * map_HW[..., None]
    drawn_HW3 = picture_HW3 * (1 - share_HW1) + colours_HW3 * share_HW1
    return outlined(np.rint(drawn_HW3).astype(np.uint8), mask_HW)


def outlined(
    picture_HW3: UInt8[np.ndarray, "H W 3"], mask_HW: Bool[np.ndarray, "H W"] | None
) -> UInt8[np.ndarray, "H W 3"]:
    """The picture with a white line around the mask."""
    if mask_HW is None:
        return picture_HW3
    line_HW = binary_dilation(mask_HW, iterations=2) & ~mask_HW
    return np.where(line_HW[..., None], np.uint8(255), picture_HW3)


def _page(made: Explanation) -> Figure:
    figure = Figure(figsize=(15, 10), dpi=100)
    facts = made.facts
    figure.text(_LEFT, 0.955, _headline(facts), fontsize=23, family="serif", va="center")
    figure.text(_LEFT, 0.918, facts["image"], color=_SOFT, va="center")
    figure.text(1 - _LEFT, 0.955, "Research only, not a medical device", **_TAG)
    _draw_maps(figure, made)
    _draw_probabilities(figure, facts)
    _draw_cases(figure, made)
    notes = [*facts["notes"], "A map shows where evidence was weighed; it proves no cause."]
    figure.text(_LEFT, 0.018, _wrapped(" ".join(notes), 205), fontsize=9, color=_SOFT, va="bottom")
    return figure


def _headline(facts: dict[str, Any]) -> str:
    if not facts["label"]:
        return "No answer" if facts["status"] == "ok" else "Out of scope: no answer"
    text = facts["diagnosis"][0].upper() + facts["diagnosis"][1:]
    likely = facts["probabilities"].get(facts["label"])
    return text if likely is None else f"{text}, probability {likely:.2f}"


def _draw_maps(figure: Figure, made: Explanation) -> None:
    """The picture and the maps side by side, each with what it means."""
    about = "The white line is the lesion's mask." if made.mask_HW is not None else ""
    picture_HW3 = outlined(made.picture_HW3, made.mask_HW)
    shown = [("The image, as the network sees it", about, picture_HW3)]
    for seen in made.seen.maps:
        words = f"{seen.about} {inside(seen.overlap)}"
        shown.append((seen.title, words, overlay(made.picture_HW3, seen.map_HW, made.mask_HW)))
    gap, places = 0.02, max(len(shown), 3)
    wide = (1 - 2 * _LEFT - (places - 1) * gap) / places
    tall = min(
        0.32, wide * 1.5 * picture_HW3.shape[0] / picture_HW3.shape[1]
    )  # the page is 15 x 10
    for place, (title, words, drawn_HW3) in enumerate(shown):
        left = _LEFT + place * (wide + gap)
        axes = _picture(figure, (left, 0.85 - tall, wide, tall), drawn_HW3)
        axes.set_title(title, fontsize=13, family="serif", loc="left")
        text = _wrapped(words, round(wide * 205))
        figure.text(left, 0.84 - tall, text, fontsize=10, color=_SOFT, va="top")


def _picture(
    figure: Figure, box: tuple[float, float, float, float], picture_HW3: np.ndarray
) -> Axes:
    axes = figure.add_axes(box, anchor="NW")
    axes.imshow(picture_HW3)
    axes.set_axis_off()
    return axes


def inside(overlap: dict[str, float] | None) -> str:
    """How much of a map lies on the mask, beside what an even map would reach; "" without one."""
    if overlap is None or np.isnan(overlap["energy_inside"]):
        return ""
    share, even = overlap["energy_inside"], overlap["mask_share"]
    return f"{share:.0%} of it lies on the lesion, which covers {even:.0%} of the image."


def _draw_probabilities(figure: Figure, facts: dict[str, Any]) -> None:
    figure.text(_LEFT, _LOWER, "Probabilities", fontsize=15, family="serif")
    ranked = sorted(facts["probabilities"].items(), key=lambda item: -item[1])[:_MOST_BARS]
    names = names_of([label for label, _ in ranked])
    step = min(0.045, 0.28 / max(len(ranked), 1))
    for place, (name, (_, value)) in enumerate(zip(names, ranked, strict=True)):
        height = _LOWER - 0.045 - place * step
        words = _wrapped(name, 22)
        figure.text(0.17, height, words, fontsize=9, ha="right", va="center", linespacing=1.0)
        for share, colour in ((1.0, _LINE), (value, _ACCENT)):
            figure.add_artist(Rectangle((0.18, height - 0.009), 0.12 * share, 0.018, color=colour))
        figure.text(0.31, height, f"{value:.2f}", fontsize=10, va="center")


def _draw_cases(figure: Figure, made: Explanation) -> None:
    left = 0.385
    figure.text(left, _LOWER, "The most similar training lesions", fontsize=15, family="serif")
    cases = [] if made.cases is None else made.cases.cases[:_MOST_CASES]
    words = " ".join(made.facts["similar"]["sentences"]) if cases else "None can be shown."
    bottom = _LOWER - 0.265 if cases else _LOWER - 0.035
    figure.text(left, bottom, _wrapped(words, 112), fontsize=10, color=_SOFT, va="top")
    for place, case in enumerate(cases):
        _draw_case(figure, case, left + place * 0.118)


def _draw_case(figure: Figure, case: Case, left: float) -> None:
    wide, tall = 0.108, 0.122
    picture = case.picture_HW3
    blank = np.full((3, 4, 3), 236, np.uint8)
    box = (left, _LOWER - 0.02 - tall, wide, tall)
    axes = _picture(figure, box, blank if picture is None else picture)
    if picture is None:
        axes.text(1.5, 1, "no picture", ha="center", va="center", fontsize=9, color=_SOFT)
    top = _LOWER - 0.03 - tall
    figure.text(left, top, _wrapped(case.diagnosis, 19), fontsize=10, va="top", linespacing=1.1)
    kind = {True: "malignant", False: "benign", None: ""}[case.malignant]
    far = "" if case.percentile is None else f"percentile {case.percentile:.0f}"
    words, colour = "\n".join(filter(None, (kind, far))), _WARN if case.malignant else _SOFT
    figure.text(left, top - 0.06, words, fontsize=9, color=colour, va="top")


def _wrapped(text: str, width: int) -> str:
    return textwrap.fill(text, width)
