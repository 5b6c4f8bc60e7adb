"""`index` and `search` that know places: scenes cut into chips, boxes, and results for a GIS.

Legend: N = chips of a scene, G = rows of the index.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.bundle import Bundle
from likeness.data.manifest import Manifest
from likeness.errors import UserError, require
from likeness.files import sha256_file
from likeness.inference.predictor import Predictor
from likeness.search.index import Index
from likeness_apps.remote_sensing.chips import (
    Cut,
    SceneChips,
    Window,
    file_key,
    pixel_key,
    prepare_image,
    read_window,
    scene_chips,
    window_picture,
)
from likeness_apps.remote_sensing.footprints import (
    LONGITUDES,
    Box,
    footprint_columns,
    image_footprints,
    is_tiff,
    rows_in_box,
    write_footprints,
)
from likeness_apps.remote_sensing.mapping.scene import open_scene
from likeness_apps.shell import search as shell
from likeness_apps.shell.answers import Asked, Query, deliver, require_outputs
from likeness_apps.shell.console import progress, say
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.members import own_bundle
from likeness_apps.shell.report.data import Picture


def index_images(
    domain: Domain,
    model: Path,
    data: Path,
    out: Path,
    batch_size: int = 64,
    *,
    device: str = "cpu",
    quiet: bool = False,
) -> Path:
    """As the shared `index`: whole images are the rows, with the footprints of georeferenced ones.

    Arguments, result and errors: see `likeness_apps.shell.search.index`.
    """
    return shell.index(
        domain, model, data, out, batch_size, describe=image_footprints, device=device, quiet=quiet
    )


def index_chips(
    domain: Domain,
    model: Path,
    data: Path,
    out: Path,
    *,
    chip: int,
    stride: int | None = None,
    min_valid: float = 0.0,
    batch_size: int = 64,
    device: str = "cpu",
    quiet: bool = False,
) -> Path:
    """Cut scenes into chips and write an index of them, with their places and its model.

    Scenes are read in strips, so memory does not grow with their size. What is finished of each
    scene is kept in `OUT.parts/` until the index is whole: a stopped call goes on when it is
    repeated. Chips without data, and chips over a part of a file that cannot be read, are left out
    and told.

    Args:
        domain: the application.
        model: a bundle or a run.
        data: a GeoTIFF, a folder or a table of them.
        out: the index directory; an older index there is replaced.
        chip: side of a chip in pixels.
        stride: pixels from one chip to the next; None is `chip`.
        min_valid: the least share of a chip's pixels that must hold data.
        batch_size: chips per forward pass.
        device: where the network runs, see `Predictor`.
        quiet: no progress.

    Returns:
        The index directory. Its rows have path, label (of the scene), split, group, col, row,
        width, height, valid, crs, left, bottom, right, top, footprint (WKT) and sha256 (of the
        chip's pixels).

    Raises:
        UserError: if no chip can be read or `out` holds something else.
    """
    cut = Cut(chip, chip if stride is None else stride, min_valid)
    shell.require_index_or_new(out)
    bundle = own_bundle(domain, model)
    predictor = Predictor(bundle, batch_size=batch_size, columns="embed", device=device)
    manifest = shell.archive_of(domain, data)
    parts = out.with_name(f"{out.name}.parts")
    tables, embeddings = _all_chips(predictor, manifest, cut, parts, quiet=quiet)
    shell.write_archive(
        domain,
        bundle,
        np.concatenate(embeddings),
        pd.concat(tables, ignore_index=True),
        out,
        manifest,
        facts={"chip": cut.chip, "stride": cut.stride},
        unit=f"chips of {sum(map(bool, map(len, tables)))} scenes",
        quiet=quiet,
    )
    shutil.rmtree(parts, ignore_errors=True)
    return out


def search_archive(
    domain: Domain,
    archive: Path,
    query: Path,
    *,
    k: int = 10,
    out: Path | None = None,
    sheet: Path | None = None,
    gpkg: Path | None = None,
    window: Window | None = None,
    box: Box | None = None,
    box_crs: str = LONGITUDES,
    device: str = "cpu",
    quiet: bool = False,
) -> pd.DataFrame:
    """The k most similar images or chips of each query, where asked for only those inside a box.

    A query never answers itself: in an index of chips what has the same pixels (the same window of
    the same scene, or a file cut from it) is no answer, elsewhere the same file.

    Args:
        domain: the application.
        archive: what `index_images` or `index_chips` wrote.
        query: an image or a folder of images.
        k: results per query; inside a box with fewer, all of them.
        out: also write the table here (.csv or .parquet).
        sheet: also draw a contact sheet (PNG); of chips only their windows are read.
        gpkg: also write the footprints of the results; see `footprints.write_footprints`.
        window: ask with this part of the scene `query`: first column, first row, width, height.
        box: west, south, east, north; rows whose footprint meets it are searched, no others.
        box_crs: of the box.
        device: where the network runs, see `Predictor`.
        quiet: no table on the screen.

    Returns:
        As `likeness_apps.shell.search.search`, with the columns of places.

    Raises:
        UserError: if the index is damaged, nothing is inside the box, or no query can be read.
    """
    require_outputs(out, sheet)
    if gpkg is not None:
        require(gpkg.suffix.lower() == ".gpkg", "gpkg", "a .gpkg file", str(gpkg))
    bundle, opened = shell.open_archive(archive)
    within_G = None if box is None else _rows_inside(opened, box, box_crs, quiet=quiet)
    if window is not None:
        asked = _ask_window(bundle, query, window, device)
    else:
        key = partial(file_key, bundle.preprocessing) if "chip" in opened.facts else sha256_file
        asked = shell.ask_files(bundle, query, key=key, device=device, quiet=quiet)
    found = shell.nearest_rows(opened, asked, k, within_G=within_G)
    root = Path(opened.facts["root"])
    seen: dict[str, Any] = {}
    if "chip" in opened.facts:
        seen = {"picture": partial(_hit_picture, root), "name": _hit_name}
    if gpkg is not None:
        write_footprints(gpkg, found, quiet=quiet)
    return deliver(domain, opened, asked, found, out=out, sheet=sheet, quiet=quiet, **seen)


def _rows_inside(opened: Index, box: Box, crs: str, *, quiet: bool) -> np.ndarray:
    """Which rows of an index are searched."""
    within_G = rows_in_box(opened.rows, box, crs)
    require(within_G.any(), "box", "over at least one footprint of the index", box)
    say(f"{int(within_G.sum())} of {len(opened)} rows are inside the box", quiet=quiet)
    return within_G


def _ask_window(bundle: Bundle, scene: Path, window: Window, device: str) -> Asked:
    predictor = Predictor(bundle, columns="embed", device=device)
    with open_scene(scene, bundle.preprocessing) as opened:
        image_HWC = read_window(opened, window)
    prepared = prepare_image(bundle.preprocessing, image_HWC)
    embeddings_QD = predictor.answer([prepared]).embeddings_ND
    usable = np.isfinite(embeddings_QD).all()
    require(usable, "window", "one that the model has a finite answer for", window)
    where = ",".join(map(str, window))
    query = Query(
        name=f"{scene}#{where}",
        title=f"{scene.name} {where}",
        key=pixel_key(image_HWC),
        label="",
        picture=partial(window_picture, scene, window),
    )
    return Asked([query], embeddings_QD, [])


def _hit_picture(root: Path, hit: Any) -> Picture | None:
    window = (int(hit.column), int(hit.row), int(hit.width), int(hit.height))
    return window_picture(root / str(hit.path), window)


def _hit_name(hit: Any) -> str:
    return f"{hit.path} {hit.column},{hit.row}"


def _all_chips(
    predictor: Predictor, manifest: Manifest, cut: Cut, parts: Path, *, quiet: bool
) -> tuple[list[pd.DataFrame], list[np.ndarray]]:
    """Rows and embeddings of every scene that can be read; says what is left out."""
    tables, embeddings = [], []
    reason: object = "none"
    with progress("scenes", quiet=quiet) as advance:
        for done, row in enumerate(manifest.table.to_dict("records"), start=1):
            try:
                chips = _cached(predictor, manifest.file(str(row["path"])), cut, parts)
            except UserError as error:
                reason = str(error)
                say(f"left out: {row['path']}: {reason}", quiet=quiet)
            else:
                _tell_lost(str(row["path"]), chips, quiet=quiet)
                tables.append(_rows(row, chips))
                embeddings.append(chips.embeddings_ND)
            advance(done, len(manifest.table))
    require(sum(map(len, tables)), "data", "GeoTIFFs with at least one readable chip", reason)
    return tables, embeddings


def _cached(predictor: Predictor, path: Path, cut: Cut, parts: Path) -> SceneChips:
    """The chips of a scene, from what a stopped call has left if nothing has changed since."""
    require(is_tiff(path), "image", "a GeoTIFF (others are not cut into chips)", path.name)
    status = path.stat()
    asked = [str(path), status.st_size, status.st_mtime_ns, predictor.model_id]
    asked += [cut.chip, cut.stride, cut.min_valid]
    part = parts / f"{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:24]}.npz"
    if part.is_file():
        return SceneChips.load(part)
    chips = scene_chips(predictor, path, cut)
    chips.save(part)
    return chips


def _tell_lost(path: str, chips: SceneChips, *, quiet: bool) -> None:
    reasons = {
        "without data": chips.no_data,
        "over a part of the file that cannot be read": chips.unreadable,
        "without a finite answer of the model, or with other bands than it reads": chips.refused,
    }
    for reason, count in reasons.items():
        if count:
            say(f"left out: {path}: {count} chips {reason}", quiet=quiet)


def _rows(row: dict[str, Any], chips: SceneChips) -> pd.DataFrame:
    """One row per chip: what is known of the scene, then of the chip."""
    places = footprint_columns(chips.place, chips.windows_N4)
    places.insert(4, "valid", chips.valid_N)
    places["sha256"] = chips.keys_N.astype(object)
    kept = {name: value for name, value in row.items() if name not in places}
    scene = pd.DataFrame([kept]).loc[[0] * len(places)].reset_index(drop=True)
    return scene.join(places)
