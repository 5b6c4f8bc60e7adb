"""`sample` and `inspect`: make a set, and say what a set is and what is wrong with it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from likeness.data.checks import NEAR, CheckResult, check
from likeness.data.findings import Finding, condense, findings_table, sort_findings
from likeness.data.manifest import Manifest
from likeness.errors import require
from likeness.files import atomic_path
from likeness_apps.shell.console import progress, say, show_table
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.others import other_sets, shared_pictures
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.screening import screened


def write_sample(
    domain: Domain, out: Path, *, layout: str | None = None, seed: int, **size: int | None
) -> Path:
    """Write the domain's generated data set into the new directory `out`.

    Args:
        domain: the application.
        out: a new or empty directory.
        layout: one of `domain.samples`; None takes the first.
        seed: of the generator.
        size: how much, in the words of the domain; None is what is usual there.

    Returns:
        The root of the data set, as the other commands take it.

    Raises:
        UserError: if `out` exists and is not empty, or the layout is unknown.
    """
    chosen = domain.samples[0] if layout is None else layout
    require(chosen in domain.samples, "layout", f"one of {', '.join(domain.samples)}", chosen)
    require_new(out)
    asked = {name: count for name, count in size.items() if count is not None}
    root = domain.write_sample(out, seed, chosen, **asked)
    say(f"Generated data (nothing real): {root}")
    say(f"Next: likeness {domain.name} train {root} --out run")
    return root


def inspect(
    domain: Domain,
    data: Path,
    *,
    against: Sequence[Path] = (),
    out: Path | None = None,
    quiet: bool = False,
) -> int:
    """Recognise and check a data set; print what it is and every kind of finding.

    Args:
        domain: the application.
        data: a data set or a table.
        against: further sets; a warning names each image that one of them has, too.
        out: a directory for manifest.csv and findings.csv.
        quiet: no progress, no table.

    Returns:
        The exit code: 1 if there are errors, else 0.
    """
    manifest = domain.recognise(screened(domain, data, quiet=quiet))
    others = other_sets(domain, against)
    with progress("checking", quiet=quiet) as advance:
        checked = check(
            manifest,
            grey=domain.grey,
            near_distance=None if domain.sequences else NEAR,
            remarks_on=domain.remarks_on,
            on_progress=advance,
        )
    findings = checked.findings
    if others:
        found = shared_pictures(manifest, others, examined=checked.records, quiet=quiet)
        findings = sort_findings([*findings, *(one.finding() for one in found)])
    if out is not None:
        write_findings(out / "findings.csv", findings)
        manifest.with_table(checked.table).write_csv(out / "manifest.csv")
    _show_set(manifest, checked, quiet=quiet)
    for finding in condense(findings):  # a line each: a path in a narrow cell cannot be copied
        say(finding.line(), quiet=quiet)
    errors = sum(finding.level == "error" for finding in findings)
    say(f"errors: {errors}, warnings: {len(findings) - errors}", quiet=quiet)
    return 1 if errors else 0


def write_findings(path: Path, findings: Sequence[Finding]) -> None:
    """findings.csv: one row per finding, in their order."""
    with atomic_path(path) as temporary:
        findings_table(findings).to_csv(temporary, index=False, lineterminator="\n")


def _show_set(manifest: Manifest, checked: CheckResult, *, quiet: bool) -> None:
    table = checked.table
    good = table[table["status"] == "ok"]
    sizes = good.groupby(["width", "height", "bands", "dtype"]).size().sort_values(ascending=False)
    common = ", ".join(
        f"{count} of {width}x{height}x{bands} {dtype}"
        for (width, height, bands, dtype), count in sizes.head(3).items()
    )
    splits = table["split"].replace("", "(not split)").value_counts()
    names = [manifest.names(cell) for cell in table["label"]]
    counts = Counter(name for cell in names for name in cell).values()
    sizes_of = Counter(len(cell) for cell in names)
    show_table(
        str(manifest.root),
        ("what", "found"),
        [
            ("layout", manifest.layout),
            ("images", len(table)),
            ("readable", len(good)),
            ("classes", len(manifest.classes)),
            ("images per class", f"{min(counts, default=0)} to {max(counts, default=0)}"),
            *([("labels per image", _tally(sizes_of))] if manifest.multilabel else []),
            ("groups", table["group"].nunique()),
            *[(f"{of}s", table[of].nunique()) for of in ("tracklet", "camera") if of in table],
            ("splits", ", ".join(f"{name}: {count}" for name, count in splits.items())),
            *([("folds", _folds(table["fold"]))] if "fold" in table else []),
            ("sizes", common + (f", {len(sizes) - 3} more sizes" if len(sizes) > 3 else "")),
            *([("georeferenced", _places(good))] if (good["crs"] != "").any() else []),
        ],
        quiet=quiet,
    )


def _folds(fold: pd.Series) -> str:
    """`1: 10 images, 2: 10 images`; of many folds the first."""
    counts = fold.fillna("").astype(str).replace("", "none").value_counts().sort_index()
    shown = ", ".join(f"{name}: {count} images" for name, count in counts.head(10).items())
    return shown + (f", {len(counts) - 10} more" if len(counts) > 10 else "")


def _places(good: pd.DataFrame) -> str:
    """`20 images, EPSG:32632, 10 m per pixel`: what is usual among images that know their place."""
    placed = good[good["crs"] != ""]
    systems = placed["crs"].value_counts()
    more = f" and {len(systems) - 1} more" if len(systems) > 1 else ""
    metres = placed["resolution"].median()
    size = f", {metres:.3g} m per pixel" if math.isfinite(metres) else ""
    return f"{len(placed)} images, {systems.index[0]}{more}{size}"


def _tally(sizes: Counter[int]) -> str:
    """`1: 12 images, 3: 5 images`."""
    return ", ".join(f"{size}: {count} images" for size, count in sorted(sizes.items()))
