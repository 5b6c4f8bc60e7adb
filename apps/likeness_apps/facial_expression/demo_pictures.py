"""The pictures, photographs and the video that `make demo` makes and puts on its cards."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from likeness.data.manifest import Manifest
from likeness.files import atomic_path
from likeness_apps.facial_expression.drawn_faces import draw_face, paste_head
from likeness_apps.facial_expression.drawn_looks import variants
from likeness_apps.facial_expression.expressions import EXPRESSIONS
from likeness_apps.facial_expression.faces.rows import NO_FACE
from likeness_apps.facial_expression.sample import generator
from likeness_apps.facial_expression.variants.assign import TRAINED
from likeness_apps.facial_expression.variants.stability import WHOLE

_PAPER, _INK, _SOFT, _BLUE, _ORANGE = "#faf9f6", "#1f2328", "#5d6570", "#1c6bb0", "#c44414"
_STRANGER = 900_000  # subjects from here on are in no sample
# Who is in the photograph, and what is drawn.
GROUP = (
    ("happiness", "teeth"),
    ("neutral", "plain"),
    ("surprise", "open"),
    ("anger", "shouting"),
    ("sadness", "looking"),
)
# What the two faces of the video show, a second and a half each.
TALK = (
    (("neutral", "plain"), ("happiness", "closed"), ("happiness", "teeth"), ("surprise", "open")),
    (("sadness", "looking"), ("neutral", "plain"), ("anger", "pressed"), ("anger", "shouting")),
)
RATE, SCENE = 12, 18  # frames a second, and of one expression


def write_photographs(folder: Path) -> None:
    """A photograph of several people and one of nobody, both drawn."""
    folder.mkdir()
    group, nobody = _room((330, 760)), _room((330, 440))
    for place, (expression, variant) in enumerate(GROUP):
        centre = (100 + 140 * place, 170 + 24 * (place % 2))
        rng = generator("photograph", place)
        _shoulders(group, centre, 104)
        who = expression, variant, _STRANGER + place
        paste_head(group, *who, centre=centre, side=104, generator=rng)
    for name, photo in (("group", group), ("nobody", nobody)):
        with atomic_path(folder / f"{name}.png") as temporary:
            Image.fromarray(photo).save(temporary, "PNG")


def write_video(path: Path) -> None:
    """Two faces that move a little and change what they show, as an MP4 file."""
    empty = _room((240, 400))
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.height, stream.width = empty.shape[:2]
        stream.pix_fmt = "yuv420p"
        for number in range(SCENE * len(TALK[0])):
            picture = empty.copy()
            for who, scenes in enumerate(TALK):
                expression, variant = scenes[number // SCENE]
                sway = 8 * np.sin(number / 9 + 2 * who)
                rng = generator("video", who, number // SCENE)  # one pose for a scene
                centre = (115 + 170 * who + sway, 104)
                _shoulders(picture, centre, 92)
                person = expression, variant, _STRANGER + 50 + who
                paste_head(picture, *person, centre=centre, side=92, generator=rng)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_faces(path: Path, *, heads: int = 4, side: int = 96) -> None:
    """Draw a few made-up heads, each with all expressions."""
    rows = []
    for head in range(heads):
        faces = []
        for name in EXPRESSIONS:
            kinds = variants(name)
            rng = generator("card", name, head)
            faces.append(draw_face(name, kinds[head % len(kinds)], 1 + head, side, rng))
        rows.append(np.concatenate(faces, axis=1))
    figure = _figure(8.6, 1.1 * heads + 0.15)
    axis = figure.subplots()
    axis.imshow(np.concatenate(rows), cmap="gray", vmin=0, vmax=255)
    axis.set_xticks((np.arange(len(EXPRESSIONS)) + 0.5) * side, EXPRESSIONS)
    axis.set_yticks([])
    axis.tick_params(
        length=0, colors=_SOFT, top=True, labeltop=True, bottom=False, labelbottom=False
    )
    axis.spines[:].set_visible(False)
    _save(figure, path)


def write_variants(
    path: Path,
    manifest: Manifest,
    assigned: pd.DataFrame,
    verdicts: Mapping[str, str],
    *,
    most: int = 6,
) -> None:
    """Draw the training faces nearest to the means of sub-classes, those of stable classes first.

    Args:
        path: the PNG file; written atomically.
        manifest: of the pictures.
        assigned: what `assign` says of them.
        verdicts: class -> verdict, see `Stability`.
        most: sub-classes that are shown.
    """
    known = assigned[assigned["how"] == TRAINED]
    divided = [name for name in verdicts if verdicts[name] != WHOLE]
    divided.sort(key=lambda name: verdicts[name], reverse=True)  # "stable", then "not stable"
    sizes = known["subclass"].value_counts()
    names = [
        one
        for name in divided
        for one in sorted(sizes.index)
        if one.rpartition("/")[0] == name and sizes[one] >= 4
    ][:most]
    figure = _figure(8.6, 0.95 * max(1, len(names)) + 0.2)
    axes = figure.subplots(max(1, len(names)), 8, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for row, name in zip(axes, names, strict=False):
        nearest = known[known["subclass"] == name].sort_values("distance").head(7)
        row[0].text(0, 0.6, name, color=_INK, fontsize=10, transform=row[0].transAxes)
        told = verdicts[name.rpartition("/")[0]]
        colour = _BLUE if told == "stable" else _ORANGE
        row[0].text(0, 0.32, told, color=colour, fontsize=8, transform=row[0].transAxes)
        for axis, picture in zip(row[1:], nearest["path"], strict=False):
            with Image.open(manifest.file(picture)) as image:
                axis.imshow(image.convert("L"), cmap="gray", vmin=0, vmax=255)
    _save(figure, path)


def write_recalls(path: Path, expression: Mapping[str, Any]) -> None:
    """Draw the recall of each expression, of the model and of one annotator.

    Args:
        path: the PNG file; written atomically.
        expression: the entry `expression` of metrics.json.
    """
    human = expression["human"].get("human", {}).get("recall", {})
    sides = (("model", expression["recall"], _BLUE), ("one annotator", human, _ORANGE))
    figure = _figure(7.4, 3.8)
    axis = figure.subplots()
    names = list(expression["recall"])
    for place, (said, recalls, colour) in enumerate(sides if human else sides[:1]):
        there = [row for row, name in enumerate(names) if name in recalls]
        values = [recalls[names[row]]["value"] for row in there]
        at = np.array(there) + 0.16 * (2 * place - 1)
        axis.plot(values, at, "o", color=colour, label=said)
        for value, row in zip(values, at, strict=True):
            axis.plot([0, value], [row, row], color=colour, alpha=0.25, lw=5)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.02)
    axis.set_title("recall on test faces", loc="left", color=_INK)
    axis.legend(frameon=False, labelcolor=_SOFT, loc="lower right", ncols=2).set_bbox_to_anchor(
        (1, 1)
    )
    axis.tick_params(colors=_SOFT, length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
    _save(figure, path)


def write_photo_answers(path: Path, table: Path, photos: Path) -> None:
    """Draw photographs with the boxes of the faces that were found and what was said of them.

    Args:
        path: the PNG file; written atomically.
        table: what `predict --faces find` wrote.
        photos: the folder of the photographs.
    """
    rows = pd.read_csv(
        table, dtype={"path": str, "status": str, "label": str}, keep_default_na=False
    )
    parts = list(rows.groupby("path"))
    pictures = []
    for name, _ in parts:
        with Image.open(photos / str(name)) as image:
            pictures.append(np.asarray(image.convert("RGB")))
    figure = _figure(9.2, 2.9)
    widths = [picture.shape[1] for picture in pictures]
    axes = figure.subplots(1, len(parts), squeeze=False, width_ratios=widths)[0]
    for axis, picture, (name, found) in zip(axes, pictures, parts, strict=True):
        axis.imshow(picture)
        axis.set_axis_off()
        axis.set_title(str(name), loc="left", color=_SOFT)
        for row in found.to_dict("records"):
            if row["status"] == NO_FACE:
                axis.text(12, 30, "no face", color="white", fontsize=10)
                continue
            left, top, width, height = (
                float(row[key]) for key in ("left", "top", "width", "height")
            )
            axis.add_patch(Rectangle((left, top), width, height, fill=False, color="white", lw=1.5))
            said = row["label"] or row["status"].replace("_", " ")
            middle = left + width / 2
            axis.text(middle, top - 7, said, color="white", ha="center", fontsize=9)
    _save(figure, path)


def _room(size: tuple[int, int]) -> np.ndarray:
    """A wall with a darker lower part, RGB; nothing in it looks like a face."""
    rows = np.linspace(0, 1, size[0])[:, None, None]
    wall = np.where(rows < 0.72, 128 - 40 * rows, 72 - 20 * rows)
    tint = np.array([1.0, 0.97, 0.92])
    grain = generator("room", *size).normal(0, 2, (*size, 1))
    room: np.ndarray = np.clip(wall * tint + grain, 0, 255)
    return np.ascontiguousarray(np.broadcast_to(room, (*size, 3))).astype(np.uint8)


def _shoulders(photo: np.ndarray, centre: tuple[float, float], side: int) -> None:
    """A dark pullover below a head that is to be drawn."""
    rows, columns = np.indices(photo.shape[:2])
    x, y = (columns - centre[0]) / (0.95 * side), (rows - centre[1] - 1.5 * side) / (0.75 * side)
    photo[x**2 + y**2 < 1] = 40


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=160, facecolor=_PAPER)


def _save(figure: Figure, path: Path) -> None:
    for axis in figure.axes:
        axis.set_facecolor(_PAPER)
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 10}):
        figure.tight_layout()
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})
