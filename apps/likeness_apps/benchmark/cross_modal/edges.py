"""Edge maps of photographs in place of sketches: pseudo-sketches, which nobody drew.

They let the protocol and the losses be tried where there are no sketches. An edge map has every
line of its photograph in its place; a person's sketch has few lines, none of them quite there. So
figures on edge maps say nothing of figures on sketches, and everything that is written says which
of the two they are of.

Legend: H height, W width, C bands.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from likeness.data.decode import DecodeError, decode
from likeness.data.findings import Finding
from likeness.data.manifest import Manifest, build
from likeness.data.transforms import luminance
from likeness.errors import UserError, require
from likeness.files import atomic_directory, write_json
from likeness.threads import prefetched
from likeness_apps.benchmark.cross_modal.layouts import PHOTO, SKETCH

EdgeKind = Literal["canny", "sobel"]
EDGE_KINDS: tuple[EdgeKind, ...] = get_args(EdgeKind)
LAYOUT = "pseudo-sketches (edge maps)"
FACTS = "pseudo_sketches.json"
SIGMA = 1.5  # of the Gaussian before Canny's gradients, in pixels of the edge map
_STRONG = 99.0  # percentile of Sobel's gradient that is drawn black


@dataclass(frozen=True)
class Edges:
    """How pseudo-sketches are made.

    Attributes:
        kind: `canny` (thin lines, black or white) or `sobel` (the size of the gradient).
        side: of an edge map in pixels; the photograph is squashed to it first.
    """

    kind: EdgeKind
    side: int

    def __post_init__(self) -> None:
        require(self.kind in EDGE_KINDS, "edges", f"one of {', '.join(EDGE_KINDS)}", self.kind)
        require(self.side >= 8, "side", ">= 8", self.side)


def edge_map(photo_HWC: Shaped[np.ndarray, "H W C"], edges: Edges) -> UInt8[np.ndarray, "H W"]:
    """Dark lines on white, as a sketch has them.

    Args:
        photo_HWC: grey or RGB of 8 bits.
        edges: how.

    Raises:
        UserError: for other photographs.
    """
    from skimage.feature import canny
    from skimage.filters import sobel

    fits = photo_HWC.dtype == np.uint8 and photo_HWC.shape[2] in (1, 3)
    got = f"{photo_HWC.shape[2]} bands of {photo_HWC.dtype}"
    require(fits, "photographs for edges", "grey or RGB of 8 bits", got)
    grey = luminance(photo_HWC)[..., 0] if photo_HWC.shape[2] == 3 else photo_HWC[..., 0]
    small = Image.fromarray(grey).resize((edges.side, edges.side), Image.Resampling.BILINEAR)
    light_HW = np.asarray(small, dtype=np.float64) / 255
    if edges.kind == "canny":
        lines_HW = canny(light_HW, sigma=SIGMA)  # type: ignore[no-untyped-call]
        return np.where(lines_HW, 0, 255).astype(np.uint8)
    slope_HW = sobel(light_HW)  # type: ignore[no-untyped-call]
    strong = max(float(np.percentile(slope_HW, _STRONG)), 1e-9)
    return np.asarray(np.rint(255 * (1 - np.minimum(slope_HW / strong, 1))), dtype=np.uint8)


def with_pseudo_sketches(
    photos: Manifest,
    folder: Path,
    edges: Edges,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """The photographs, and beside each its edge map, written as PNG below `folder`.

    Both are of the photograph's group, so that who goes by groups never lets an edge map find the
    photograph it was made from (or one of the same scene).

    Args:
        photos: a set of one class per image.
        folder: a new one, or one made of the same photographs before, which is kept.
        edges: how.
        on_progress: called with (done, total).

    Returns:
        The manifest with a column `modality`; photographs that cannot be read are left out.

    Raises:
        UserError: for photographs of other bands, or if the folder is another one.
    """
    folder = folder.absolute()
    table = photos.table
    facts = {"kind": edges.kind, "side": edges.side, "sigma": SIGMA, "photos": len(table)}
    if folder.exists():
        kept = _facts(folder)
        rule = "of the same photographs and edges, or none"
        require(kept.get("made_of") == facts, folder.name, rule, kept.get("made_of"))
    else:
        _write(photos, folder, edges, facts, on_progress)
        kept = _facts(folder)
    failed = set(kept["unreadable"])
    good = table[~table["path"].isin(failed)]
    drawn = [str(folder / f"{path}.png") for path in good["path"]]
    twice = {name: [*good[name], *good[name]] for name in ("label", "group")}
    columns = {
        "path": [*good["path"], *drawn],
        **twice,
        "modality": [PHOTO] * len(good) + [SKETCH] * len(good),
        "role": [""] * (2 * len(good)),
    }
    advice = "replace the file, or remove it"
    lost = [Finding("error", "unreadable", path, "cannot be read", advice) for path in failed]
    return build(photos.root, columns, LAYOUT, [*photos.findings, *lost])


def _write(
    photos: Manifest,
    folder: Path,
    edges: Edges,
    facts: Mapping[str, Any],
    on_progress: Callable[[int, int], None] | None,
) -> None:
    paths = photos.table["path"].tolist()

    def draw(path: str) -> np.ndarray | DecodeError:
        try:
            return edge_map(decode(photos.file(path), min_side=edges.side), edges)
        except DecodeError as error:
            return error

    unreadable = []
    with atomic_directory(folder) as part:
        for done, (path, drawn) in enumerate(
            zip(paths, prefetched(paths, draw, threads=2), strict=True), start=1
        ):
            if isinstance(drawn, DecodeError):
                unreadable.append(path)
            else:
                file = part / f"{path}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.repeat(drawn[..., None], 3, axis=2)).save(file)
            if on_progress is not None:
                on_progress(done, len(paths))
        about = "edge maps of photographs, made by a program; not sketches"
        record = {"about": about, "made_of": facts, "unreadable": unreadable}
        write_json(part / FACTS, record)


def _facts(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"the place of edge maps must be new or hold these, got {folder}") from None
    return found
