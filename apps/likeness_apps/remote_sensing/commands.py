"""The commands that only remote sensing has, and shared ones that can do more here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from likeness.errors import UserError, require
from likeness_apps.shell.commands import command
from likeness_apps.shell.options import (
    Against,
    Also,
    Device,
    Images,
    Index,
    Limit,
    Model,
    Neighbours,
    Out,
    OutHits,
    OutIndex,
    Protocol,
    Quiet,
    Seed,
    Sheet,
    SplitName,
    Tta,
    domain_of,
)


class Blend(StrEnum):
    """Weights of overlapping windows; see `mapping.windows.blend_weights`."""

    mean = "mean"
    gaussian = "gaussian"


@command
def map_(
    context: typer.Context,
    model: Model,
    scene: Annotated[Path, typer.Argument(help="A raster that GDAL reads.")],
    out: Annotated[Path, typer.Option("--out", help="A new GeoTIFF of class numbers.")],
    stride: Annotated[
        int | None, typer.Option(min=1, help="Pixels between windows; by default half of one.")
    ] = None,
    blend: Annotated[
        Blend, typer.Option(help="How overlapping windows are averaged.")
    ] = Blend.mean,
    probabilities: Annotated[
        Path | None, typer.Option(help="Also a GeoTIFF with a band of probabilities per class.")
    ] = None,
    gpkg: Annotated[
        Path | None, typer.Option(help="Also a GeoPackage with outline and label of each window.")
    ] = None,
    resample: Annotated[
        bool,
        typer.Option(
            "--resample",
            help="Take a scene of another resolution: windows cover the ground of a training "
            "image and are resampled to the model's input; the map keeps the scene's grid.",
        ),
    ] = False,
    window: Annotated[
        int | None, typer.Option(min=1, help="Side of a window, if the model does not know it.")
    ] = None,
    batch_size: Limit = 64,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Classify a large scene, window by window: a GeoTIFF of classes on the scene's grid.

    A stopped call goes on when it is repeated.

    Example: likeness APP map runs/ucm scene.tif --out classes.tif --gpkg windows.gpkg
    """
    from likeness.inference.predictor import Predictor
    from likeness_apps.remote_sensing.mapping.run import make_map, tell
    from likeness_apps.shell.console import progress
    from likeness_apps.shell.members import own_bundle

    predictor = Predictor(
        own_bundle(domain_of(context), model), batch_size=batch_size, device=device
    )
    with progress("mapping", quiet=quiet) as advance:
        done = make_map(
            predictor,
            scene,
            out,
            stride=stride,
            blend=blend.value,
            probabilities=probabilities,
            gpkg=gpkg,
            resample=resample,
            window=window,
            on_progress=advance,
        )
    raise typer.Exit(tell(done, scene, out, quiet=quiet))


@command
def scene(
    out: Annotated[Path, typer.Argument(help="A new .tif; its truth is written beside it.")],
    width: Annotated[int, typer.Option(min=96, help="Pixels.")] = 1536,
    height: Annotated[int, typer.Option(min=96, help="Pixels.")] = 1152,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Draw a large scene of the classes of `sample`, with its true regions as a GeoPackage.

    Example: likeness APP scene /tmp/scene.tif --width 4096 --height 4096
    """
    from likeness_apps.remote_sensing.landscape import draw_scene

    draw_scene(out, width=width, height=height, seed=seed, quiet=quiet)


@command
def evaluate(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="A bundle or a run; with --reference a map.")],
    out: Out,
    data: Annotated[
        Path | None, typer.Argument(help="A data set in a known layout, or a CSV/Parquet table.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Score the map MODEL against these polygons or this raster."),
    ] = None,
    column: Annotated[
        str, typer.Option(help="Attribute of the polygons with the class name.")
    ] = "label",
    split: SplitName = "test",
    protocol: Protocol = None,
    against: Against = None,
    also: Also = None,
    tta: Tta = "one",
    images: Images = False,
    batch_size: Limit = 64,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Measure a model on a data set, or a map against a reference (--reference).

    Example: likeness APP evaluate runs/first DATA --out results/first

    Example: likeness APP evaluate classes.tif --reference fields.gpkg --out results/map
    """
    domain = domain_of(context)
    if reference is not None:
        from likeness_apps.remote_sensing.reference import evaluate_map

        require(data is None, "DATA", "left out with --reference", str(data))
        evaluate_map(domain, model, reference, out, column=column, quiet=quiet)
        return
    from likeness_apps.shell.evaluate import evaluate as body

    if data is None:
        raise UserError("DATA must be given (or --reference, to score a map), got nothing")
    body(
        domain,
        model,
        data,
        out,
        split=split,
        protocol=protocol,
        against=against or [],
        also=also or [],
        tta=tta,
        include_images=images,
        batch_size=batch_size,
        device=device,
        quiet=quiet,
    )


@command
def index(
    context: typer.Context,
    model: Model,
    data: Annotated[
        Path, typer.Argument(help="A data set, an image, or a folder or table of images.")
    ],
    out: OutIndex,
    chip: Annotated[
        int | None, typer.Option(min=1, help="Cut scenes into chips of so many pixels.")
    ] = None,
    stride: Annotated[
        int | None, typer.Option(min=1, help="Pixels between chips; by default --chip.")
    ] = None,
    min_valid: Annotated[
        float, typer.Option(min=0, max=1, help="Least share of a chip that must hold data.")
    ] = 0.0,
    batch_size: Limit = 64,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Make a searchable index of images, or of scenes cut into chips; footprints are kept.

    Example: likeness APP index runs/first SCENES --out archive --chip 256
    """
    from likeness_apps.remote_sensing.archive import index_chips, index_images

    domain = domain_of(context)
    if chip is None:
        require(stride is None, "stride", "left out without --chip", stride)
        index_images(domain, model, data, out, batch_size, device=device, quiet=quiet)
        return
    index_chips(
        domain,
        model,
        data,
        out,
        chip=chip,
        stride=stride,
        min_valid=min_valid,
        batch_size=batch_size,
        device=device,
        quiet=quiet,
    )


@command
def search(
    context: typer.Context,
    archive: Index,
    query: Annotated[Path, typer.Argument(help="An image, a folder of images, or a scene.")],
    k: Neighbours = 10,
    out: OutHits = None,
    sheet: Sheet = None,
    gpkg: Annotated[Path | None, typer.Option(help="GeoPackage of the footprints.")] = None,
    box: Annotated[
        str | None, typer.Option(help="Only what meets WEST,SOUTH,EAST,NORTH is searched.")
    ] = None,
    box_crs: Annotated[str, typer.Option(help="Reference system of --box.")] = "EPSG:4326",
    window: Annotated[
        str | None, typer.Option(help="Ask with COLUMN,ROW,WIDTH,HEIGHT of the scene QUERY.")
    ] = None,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Find the most similar images or chips, everywhere or inside a box.

    Example: likeness APP search archive scene.tif --box 10.1,47.2,10.4,47.5 --gpkg hits.gpkg
    """
    from likeness_apps.remote_sensing.archive import search_archive
    from likeness_apps.remote_sensing.footprints import parse_box, parse_window

    search_archive(
        domain_of(context),
        archive,
        query,
        k=k,
        out=out,
        sheet=sheet,
        gpkg=gpkg,
        box=None if box is None else parse_box(box),
        box_crs=box_crs,
        window=None if window is None else parse_window(window),
        device=device,
        quiet=quiet,
    )


OWN: Mapping[str, Callable[..., None]] = {
    "evaluate": evaluate,
    "index": index,
    "search": search,
    "map": map_,
    "scene": scene,
}
