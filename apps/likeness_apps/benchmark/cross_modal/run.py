"""`benchmark cross-modal`: several methods, one budget, sketches of classes nobody trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from likeness.config import parse
from likeness.data.manifest import Manifest
from likeness.errors import require
from likeness.evaluation.cross_modal import BITS, PRECISION_AT, CodesFrom
from likeness.files import write_json, write_text
from likeness.provenance import collect_provenance, hash_table
from likeness.training.spec import RunSpec
from likeness_apps.benchmark import table
from likeness_apps.benchmark.cross_modal.edges import LAYOUT, Edges, with_pseudo_sketches
from likeness_apps.benchmark.cross_modal.layouts import LOOKED_FOR, PHOTO, SKETCH, find
from likeness_apps.benchmark.cross_modal.measure import asked, build
from likeness_apps.benchmark.cross_modal.methods import checked
from likeness_apps.benchmark.layouts import recognise
from likeness_apps.benchmark.protocol import divided, is_published
from likeness_apps.benchmark.rounds import Bench, require_all_trainable, run_all
from likeness_apps.benchmark.training import readable
from likeness_apps.shell import configs
from likeness_apps.shell.console import progress, say
from likeness_apps.shell.setup import Setup

FOLDER = "benchmark"  # of the shared configurations
SHOWN = ("map", "precision", "codes_map", "codes_precision", "repeats")  # in the terminal


@dataclass(frozen=True)
class Request:
    """What a person asked for.

    Attributes:
        data: the set.
        out: a new directory, or the one of a benchmark that was stopped.
        methods: see `methods`.
        split: which published division of the classes; None takes the only one.
        edges: `canny` or `sobel` for photographs alone; None for sets with sketches.
        codes: what 64-bit codes are fitted to.
        config: the shared configuration: a shipped name or a file.
        changes: `a.b=c` items on top of it.
        repeats: with a published division other seeds, else other random halves of the classes.
        quiet: no progress, no table.
    """

    data: Path
    out: Path
    methods: tuple[str, ...] = ("baseline", "mathm")
    split: str | None = None
    edges: str | None = None
    codes: str = "training"
    config: str = "cross_modal"
    changes: tuple[str, ...] = ()
    repeats: int = 1
    quiet: bool = False


def cross_modal(request: Request) -> int:
    """Train and measure every method; goes on where it was stopped.

    Returns:
        How many runs failed; their reasons are in the table of runs.

    Raises:
        UserError: for a mistake in the configuration, a method or the data.
    """
    out, quiet = request.out, request.quiet
    fits = request.codes in get_args(CodesFrom)
    require(fits, "codes", f"one of {', '.join(get_args(CodesFrom))}", request.codes)
    base = configs.load(FOLDER, request.config, request.changes)
    apart = request.edges is not None
    specs = checked(base, request.methods, apart=apart)
    shared = parse(RunSpec, base)
    edges = None
    if request.edges is not None:
        edges = Edges(request.edges, side=2 * max(shared.model.height_width))  # type: ignore[arg-type]
    source = _source(request)
    unread = source if edges is None else _twice(source)
    require_all_trainable(specs, divided(unread, 0), request.changes)
    if not (out / table.FACTS).is_file():  # of one that was begun, `begin` says what differs
        _require_rows_for_codes(divided(unread, 0), request.codes)
    table.require_place(out)
    manifest = readable_sides(_both_modalities(request, source, edges), quiet=quiet)
    facts = _facts(manifest, request, shared)
    table.begin(out, facts, {name: spec.model_dump(mode="json") for name, spec in specs.items()})

    def of_repeat(spec: RunSpec, repeat: int) -> Setup:
        return build(spec, divided(manifest, repeat), changes=request.changes, quiet=quiet)

    ask = partial(asked, codes=request.codes, apart=apart)  # type: ignore[arg-type]
    failed = run_all(Bench(out, of_repeat, ask, quiet), specs, request.repeats)
    _conclude(request, manifest, facts, list(specs), shared.seed)
    return failed


def _conclude(
    request: Request, manifest: Manifest, facts: dict[str, Any], methods: list[str], seed: int
) -> None:
    """Figures over the repeats, for people and for programs."""
    out, quiet = request.out, request.quiet
    # Intervals draw groups of sketches in place of classes.
    found = table.summarise(out, methods, shared=is_published(manifest), by="group")
    if found:
        made = collect_provenance(seed=seed, data_hash=facts["data"])
        write_json(out / "summary.json", {"methods": found, "provenance": made, **facts})
        left_out = _left_out(found)
        parts = [title(manifest), table.markdown(found), *left_out]
        write_text(out / "summary.md", "\n\n".join(parts) + "\n")
        shown = {method: _shown(figures) for method, figures in found.items()}
        table.show(title(manifest), shown, out / "summary.md", quiet=quiet)
        for line in left_out:
            say(line, quiet=quiet)
    say(table.places(out, found), quiet=quiet)
    if request.edges is not None:
        say(f"{out / table.EDGES}: the edge maps", quiet=quiet)


def _left_out(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What to say where no precision is given."""
    name = f"precision@{PRECISION_AT}"
    if any(name in figures for figures in found.values()):
        return []
    return [f"{name} is left out: it needs a gallery of more than {PRECISION_AT} photographs."]


def title(manifest: Manifest) -> str:
    """What is above the figures; pseudo-sketches are called so."""
    asking = "edge maps as pseudo-sketches" if manifest.layout == LAYOUT else "sketches"
    return f"{manifest.layout}: {asking} to photographs, classes nobody trained on"


def _shown(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that papers give."""
    return {name: item for name, item in figures.items() if name.partition("@")[0] in SHOWN}


def _source(request: Request) -> Manifest:
    """The set with its sketches, or photographs alone; no file is read yet."""
    data = request.data
    require(data.exists(), "data", LOOKED_FOR, str(data))
    if request.edges is None:
        found = find(data, request.split) if data.is_dir() else None
        require(found is not None, "data", LOOKED_FOR, str(data))
        assert found is not None
        return found
    rule = "left out with edges, which go with random halves of the classes"
    require(request.split is None, "split", rule, request.split)
    return recognise(data)


def _require_rows_for_codes(manifest: Manifest, codes: str) -> None:
    """So many bits cannot be fitted to fewer images; told before hours of training."""
    training = codes == "training"
    rows = manifest.rows("train") if training else manifest.rows("test").query("modality == @PHOTO")
    what = "training images, sketches included," if training else "photographs of unseen classes"
    rule = f"a set of more than {BITS} {what} for codes of as many bits"
    require(len(rows) > BITS, "data", rule, len(rows))


def _twice(photos: Manifest) -> Manifest:
    """The set as it is with an edge map of each photograph, before one is made."""
    sides = [photos.table.assign(modality=kind) for kind in (PHOTO, SKETCH)]
    return photos.with_table(pd.concat(sides))


def _both_modalities(request: Request, source: Manifest, edges: Edges | None) -> Manifest:
    """The set with its sketches, or with edge maps of its photographs, which are drawn."""
    if edges is None:
        return source
    with progress("edge maps", quiet=request.quiet) as advance:
        drawn = request.out / table.EDGES
        return with_pseudo_sketches(source, drawn, edges, on_progress=advance)


def readable_sides(manifest: Manifest, *, quiet: bool) -> Manifest:
    """Without what cannot be read, each modality by itself: sketches may be grey, photographs not.

    Raises:
        UserError: if that is more than 5 % of either.
    """
    parts = [rows for _, rows in manifest.table.groupby("modality")]
    read = [readable(manifest.with_table(rows), quiet=quiet).table for rows in parts]
    return manifest.with_table(pd.concat(read).sort_values("path", kind="stable"))


def _facts(manifest: Manifest, request: Request, base: RunSpec) -> dict[str, Any]:
    """What all runs of one table have in common."""
    listed = manifest.table[["label", "split", "modality", "sha256"]]
    return {
        "layout": manifest.layout,
        "data": hash_table(listed),
        "config": base.model_dump(mode="json"),
        "division": request.split or "the only published one",
        "edges": request.edges,
        "codes": request.codes,
    }
