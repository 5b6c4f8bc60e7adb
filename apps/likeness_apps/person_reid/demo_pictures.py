"""The pictures that `make demo` puts on its cards: people, ranks and thresholds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from likeness.data.manifest import Manifest
from likeness.files import atomic_path
from likeness_apps.person_reid.identities import NOBODY
from likeness_apps.person_reid.strips import GAP, strip

_PAPER, _INK, _SOFT, _BLUE, _ORANGE = "#faf9f6", "#1f2328", "#5d6570", "#1c6bb0", "#c44414"


def write_people(path: Path, manifest: Manifest, *, most: int = 10) -> None:
    """Draw test people, each in a column, as every camera sees them.

    Args:
        path: the PNG file; written atomically.
        manifest: of generated data.
        most: people.
    """
    table = manifest.table[~manifest.table["label"].isin(NOBODY)]
    table = table[table["split"] == "test"]
    seen = table.drop_duplicates(["label", "camera"]).sort_values(["camera", "label"])
    cameras = seen["label"].value_counts()
    people = sorted(cameras.index[cameras == cameras.max()])[:most]
    strips = [
        strip([manifest.file(name) for name in part["path"]])
        for _, part in seen[seen["label"].isin(people)].groupby("camera")
    ]
    rows = [
        np.pad(row, ((0, GAP), (0, 0), (0, 0)), constant_values=128)
        for row in strips
        if row is not None
    ]
    with atomic_path(path) as temporary:
        Image.fromarray(np.concatenate(rows)[:-GAP]).save(temporary, "PNG")


def write_ranks(path: Path, metrics: dict[str, Any]) -> None:
    """Draw the CMC curve, and rank-1 from camera to camera.

    Args:
        path: the PNG file; written atomically.
        metrics: what `evaluate` gave.
    """
    found, pairs = metrics["retrieval"], metrics.get("camera_pairs")
    ranks = sorted(int(name[4:]) for name in found if name.startswith("cmc@"))
    shares, lows, highs = (
        np.array([found[f"cmc@{rank}"][key] for rank in ranks], float)
        for key in ("value", "low", "high")
    )
    figure = _figure(2 if pairs else 1)
    first = figure.axes[0]
    first.errorbar(ranks, shares, (shares - lows, highs - shares), color=_BLUE, marker="o")
    first.set_ylim(0, 1.02)
    first.set_xticks(ranks)
    first.set_xlabel("first K ranks", color=_SOFT)
    first.set_title(f"CMC, {metrics['protocol']}", loc="left", color=_INK)
    if pairs:
        _matrix(figure.axes[1], pairs["cameras"], pairs["rank1"])
    _save(figure, path)


def write_thresholds(path: Path, open_set: dict[str, Any]) -> None:
    """Draw the scores of pairs of test tracklets, and where "different" ends and "same" begins.

    Args:
        path: the PNG file; written atomically.
        open_set: what `open_set_figures` gave.
    """
    figure = _figure(1, width=7.4)
    (axis,) = figure.axes
    scores, verdicts = open_set["scores"], open_set["verdicts"]
    drawn = (("impostor", "two people", _ORANGE), ("genuine", "the same person", _BLUE))
    for kind, said, colour in drawn if scores["edges"] else ():
        shares = np.array(scores[kind]) / max(1, sum(scores[kind]))
        axis.stairs(shares, scores["edges"], fill=True, color=colour, alpha=0.5, label=said)
    _lines(axis, verdicts.get("different_below"), verdicts.get("same_from"))
    axis.set_xlabel("similarity of two tracklets (minus their distance)", color=_SOFT)
    axis.set_title("pairs of test tracklets", loc="left", color=_INK)
    axis.set_yticks([])
    if scores["edges"]:
        legend = axis.legend(frameon=False, labelcolor=_SOFT, ncols=2, loc="lower right")
        legend.set_bbox_to_anchor((1, 1))
    _save(figure, path)


def _lines(axis: Axes, low: float | None, high: float | None) -> None:
    """Thresholds, None where there is none, and what pairs are called on either side of them."""
    for at in (low, high):
        if at is not None:
            axis.axvline(at, color=_INK, lw=1.2, ls="--")
    if low is None or high is None:
        return
    middle, place = (low + high) / 2, axis.get_xaxis_transform()
    axis.text(low, 0.96, "different  ", ha="right", color=_INK, transform=place)
    axis.text(middle, 0.96, "unknown", ha="center", color=_INK, transform=place)
    axis.text(high, 0.96, "  same", ha="left", color=_INK, transform=place)


def _figure(panels: int, width: float = 4.6) -> Figure:
    figure = Figure(figsize=(width * panels, 3.6), dpi=160, facecolor=_PAPER)
    for axis in figure.subplots(1, panels, squeeze=False)[0]:
        axis.set_facecolor(_PAPER)
        axis.tick_params(colors=_SOFT, length=0)
        axis.spines[["top", "right", "left"]].set_visible(False)
    return figure


def _matrix(axis: Axes, cameras: list[str], values: list[list[float | None]]) -> None:
    """Rank-1 from camera to camera, each in its cell."""
    shares = np.array([[np.nan if value is None else value for value in row] for row in values])
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1.4)
    for (row, column), share in np.ndenumerate(shares):
        said = "" if np.isnan(share) else f"{share:.2f}"
        axis.text(column, row, said, ha="center", va="center", color=_INK)
    axis.set_xticks(range(len(cameras)), cameras)
    axis.set_yticks(range(len(cameras)), cameras)
    axis.set_xlabel("camera of the true match", color=_SOFT)
    axis.set_ylabel("camera of the query", color=_SOFT)
    axis.set_title("rank-1", loc="left", color=_INK)


def _save(figure: Figure, path: Path) -> None:
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 10}):
        figure.tight_layout()
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})
