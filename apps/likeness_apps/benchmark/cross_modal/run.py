"""`benchmark cross-modal`: several methods, one budget, sketches of classes nobody trained on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from likeness.config import parse
from likeness.data.manifest import Manifest
from likeness.errors import require
from likeness.evaluation.cross_modal import CodesFrom
from likeness.files import write_json, write_text
from likeness.provenance import collect_provenance, hash_table
from likeness.training.spec import RunSpec
from likeness_apps.benchmark import table
from likeness_apps.benchmark.cross_modal.edges import LAYOUT, Edges, with_pseudo_sketches
from likeness_apps.benchmark.cross_modal.layouts import LOOKED_FOR, find
from likeness_apps.benchmark.cross_modal.measure import asked, build
from likeness_apps.benchmark.cross_modal.methods import checked
from likeness_apps.benchmark.layouts import recognise
from likeness_apps.benchmark.protocol import Found, divided, is_published
from likeness_apps.benchmark.recipes import UNTRAINED
from likeness_apps.benchmark.training import readable, seeded, train
from likeness_apps.shell import configs
from likeness_apps.shell.console import progress, say, show_table
from likeness_apps.shell.outputs import require_new

FOLDER = "benchmark"  # of the shared configurations
EDGES = ".pseudo_sketches"  # beside the output: edge maps of the photographs
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
    if not (out / table.FACTS).is_file():  # before an edge map is made
        require_new(out, "a new directory, or one of this benchmark")
    manifest = _both_modalities(request, max(shared.model.height_width))
    facts = _facts(manifest, request, shared)
    table.begin(out, facts, {name: spec.model_dump(mode="json") for name, spec in specs.items()})
    failed = 0
    for repeat in range(request.repeats):
        for method, spec in specs.items():
            if not table.is_done(table.read_runs(out), method, repeat):
                say(f"{method}, repeat {repeat + 1} of {request.repeats}", quiet=quiet)
                failed += not _run(request, manifest, method, repeat, spec)
    found = summarise(out, list(specs), shared=is_published(manifest))
    made = collect_provenance(seed=shared.seed, data_hash=facts["data"])
    write_json(out / "summary.json", {"methods": found, "provenance": made, **facts})
    write_text(out / "summary.md", f"{title(manifest)}\n\n{table.markdown(found)}\n")
    heads, rows = table.rows_of({method: _shown(figures) for method, figures in found.items()})
    show_table(title(manifest), heads, rows, quiet=quiet)
    return failed


def title(manifest: Manifest) -> str:
    """What is above the figures; pseudo-sketches are called so."""
    asking = "edge maps as pseudo-sketches" if manifest.layout == LAYOUT else "sketches"
    return f"{manifest.layout}: {asking} to photographs, classes nobody trained on"


def summarise(out: Path, methods: Sequence[str], *, shared: bool) -> dict[str, dict[str, Any]]:
    """Method -> figure -> value with its interval over groups of queries, and repeats.

    Args:
        out: the benchmark.
        methods: in the order of the table.
        shared: all repeats test the same sketches.
    """
    runs = table.read_runs(out)
    done = runs[runs["status"] == "done"]
    found: dict[str, dict[str, Any]] = {}
    for method in methods:
        repeats = sorted(done.loc[done["method"] == method, "repeat"].unique())
        if repeats:
            queries = [_by_group(out, method, int(repeat)) for repeat in repeats]
            found[method] = table.figures_over(queries, shared=shared) | {"repeats": len(repeats)}
    return found


def _shown(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that papers give."""
    return {name: item for name, item in figures.items() if name.partition("@")[0] in SHOWN}


def _by_group(out: Path, method: str, repeat: int) -> pd.DataFrame:
    """What the queries of a run found; intervals draw groups of sketches in place of classes."""
    queries = pd.read_parquet(out / "queries" / f"{method}-{repeat}.parquet")
    return queries.assign(label=queries["group"]).drop(columns="group")


def _both_modalities(request: Request, side: int) -> Manifest:
    """The set with its sketches, or with edge maps of its photographs; readable files alone."""
    data, quiet = request.data, request.quiet
    require(data.exists(), "data", LOOKED_FOR, str(data))
    if request.edges is None:
        found = find(data, request.split) if data.is_dir() else None
        require(found is not None, "data", LOOKED_FOR, str(data))
        assert found is not None
        return readable_sides(found, quiet=quiet)
    rule = "left out with edges, which go with random halves of the classes"
    require(request.split is None, "split", rule, request.split)
    edges = Edges(request.edges, side=2 * side)  # type: ignore[arg-type]
    photos = recognise(data)
    divided(photos, 0)  # refuses before an edge map is made
    with progress("edge maps", quiet=quiet) as advance:
        drawn = request.out.with_name(request.out.name + EDGES)
        both = with_pseudo_sketches(photos, drawn, edges, on_progress=advance)
    return readable_sides(both, quiet=quiet)


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


def _run(request: Request, manifest: Manifest, method: str, repeat: int, spec: RunSpec) -> bool:
    """One row of the table, also of a run that fails, with its reason. Whether it succeeded."""
    began = time.perf_counter()
    row: dict[str, Any] = dict.fromkeys(table.KEYS, "") | {"method": method, "repeat": repeat}
    try:
        row |= measured(request, manifest, method, repeat, spec) | {"status": "done"}
    except Exception as error:
        note = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        row |= {"status": "failed", "note": note}
        say(f"{method} failed: {note}", quiet=request.quiet)
    table.add_run(request.out, row | {"seconds": round(time.perf_counter() - began, 1)})
    return bool(row["status"] == "done")


def measured(
    request: Request, manifest: Manifest, method: str, repeat: int, spec: RunSpec
) -> dict[str, Any]:
    """Train a method once, keep what its queries found, and give the row's figures."""
    whole = divided(manifest, repeat)
    setup = build(seeded(spec, repeat), whole, changes=request.changes)
    shown = 0
    if method != UNTRAINED:
        folder = request.out / "runs" / f"{method}-{repeat}"
        train(setup, folder, quiet=request.quiet)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        shown = setup.spec.epochs * sum(map(len, setup.plan.batches(0)))
    found: Found = asked(setup, codes=request.codes, apart=request.edges is not None)  # type: ignore[arg-type]
    table.keep_queries(request.out, method, repeat, found)
    return {**{name: round(value, 6) for name, value in found.values.items()}, "images": shown}
