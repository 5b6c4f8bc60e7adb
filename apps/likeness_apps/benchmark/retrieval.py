"""`benchmark retrieval`: several methods, one budget, classes that none of them trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from likeness.config import parse
from likeness.data.manifest import Manifest
from likeness.files import write_json, write_text
from likeness.provenance import collect_provenance, hash_table
from likeness.training.spec import RunSpec
from likeness_apps.benchmark import table
from likeness_apps.benchmark.layouts import recognise
from likeness_apps.benchmark.protocol import CLUSTERS, divided, is_published
from likeness_apps.benchmark.recipes import checked
from likeness_apps.benchmark.rounds import Bench, require_all_trainable, run_all
from likeness_apps.benchmark.training import asked, build, readable
from likeness_apps.shell import configs
from likeness_apps.shell.console import say
from likeness_apps.shell.setup import Setup

FOLDER = "benchmark"  # of the shared configurations


def retrieval(
    data: Path,
    out: Path,
    *,
    methods: Sequence[str],
    config: str = "retrieval",
    changes: Sequence[str] = (),
    repeats: int = 1,
    quiet: bool = False,
) -> int:
    """Train and measure every method, as often as asked; goes on where it was stopped.

    Args:
        data: the set.
        out: a new directory, or the one of a benchmark that was stopped.
        methods: see `recipes`.
        config: the shared configuration: a shipped name or a file.
        changes: `a.b=c` items on top of it.
        repeats: with a published division into classes other seeds, else other random halves, too.
        quiet: no progress, no table.

    Returns:
        How many runs failed; their reasons are in the table of runs.

    Raises:
        UserError: for a mistake in the configuration, a method or the data.
    """
    base = configs.load(FOLDER, config, changes)
    specs = checked(base, methods)
    manifest = recognise(data)
    require_all_trainable(specs, divided(manifest, 0), changes)
    table.require_place(out)
    manifest = readable(manifest, quiet=quiet)
    shared = parse(RunSpec, base)
    facts = _facts(manifest, shared)
    table.begin(out, facts, {name: spec.model_dump(mode="json") for name, spec in specs.items()})

    def of_repeat(spec: RunSpec, repeat: int) -> Setup:
        return build(spec, divided(manifest, repeat), changes=changes, quiet=quiet)

    failed = run_all(Bench(out, of_repeat, asked, quiet), specs, repeats)
    found = _with_clusters(out, table.summarise(out, list(specs), shared=is_published(manifest)))
    if found:
        made = collect_provenance(seed=shared.seed, data_hash=facts["data"])
        write_json(out / "summary.json", {"methods": found, "provenance": made})
        write_text(out / "summary.md", f"{table.markdown(found)}\n")
        title = f"{manifest.layout}, classes nobody trained on"
        table.show(title, found, out / "summary.md", quiet=quiet)
    say(table.places(out, found), quiet=quiet)
    return failed


def _facts(manifest: Manifest, base: RunSpec) -> dict[str, Any]:
    """What all runs of one table have in common."""
    listed = manifest.table[["path", "label", "split", "sha256"]]
    return {
        "layout": manifest.layout,
        "data": hash_table(listed),
        "config": base.model_dump(mode="json"),
        "division": "published" if is_published(manifest) else "random halves of the classes",
    }


def _with_clusters(out: Path, found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The figures of every method, and NMI, the mean over the repeats.

    It is of all test images together: there are no queries to draw, so it has no interval. The
    table of runs has that of each repeat.
    """
    done = table.done_runs(out)
    for method, figures in found.items():
        nmi = done.loc[done["method"] == method].groupby("repeat")[CLUSTERS].last()
        figures[CLUSTERS] = {"value": float(nmi.mean())}
    return found
