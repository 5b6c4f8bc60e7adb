"""`evaluate --reference`: how right a class map is, and how large its classes really are.

Legend: C = classes, G = groups (polygons, or blocks of a reference raster).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.evaluation import area
from likeness.evaluation.area import AreaAccuracy, Estimates, area_accuracy
from likeness.evaluation.classification import from_counts
from likeness.evaluation.resampling import DEFAULT, Interval, Statistic, intervals
from likeness.evaluation.values import plain
from likeness.files import atomic_path, write_json
from likeness_apps.remote_sensing.reference_pixels import Tally, open_map, open_reference, tally
from likeness_apps.remote_sensing.reference_report import write_map_report
from likeness_apps.shell.console import figure, progress, say, show_table
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.outputs import require_new

PROTOCOL = "map accuracy, stratified by map class (Olofsson et al. 2014)"
ASSUMPTION = (
    "The intervals and the area estimates assume that the reference pixels are a random sample of "
    "the map, stratified by its classes. Polygons that somebody chose to draw are no such sample: "
    "then the numbers describe the polygons, and the map only as far as these resemble it."
)
MIN_GROUPS = 5  # of every reference class, for an interval that draws groups
INTERVALS = (
    "Pixels of one group (a polygon, or a block of a reference raster) are alike, so low and high "
    f"come from drawing whole groups, where every class has at least {MIN_GROUPS} of them. The "
    "analytical interval and standard error count every pixel as an independent unit: they are "
    "right where a group is one pixel, else too narrow."
)


def evaluate_map(
    domain: Domain,
    map_tif: Path,
    reference: Path,
    out: Path,
    *,
    column: str = "label",
    quiet: bool = False,
) -> dict[str, Any]:
    """Score a class map against reference polygons or a reference raster.

    The unit is the pixel of the map: a polygon counts every pixel whose centre it covers. Pixels in
    polygons of different classes, and those where the map has no class, are left out and counted.
    Map classes without a reference pixel are left out of every estimate and named. Areas are taken
    on the ellipsoid for maps in degrees and in Web Mercator, else in the map's own units.

    Args:
        domain: the application.
        map_tif: a map of `likeness remote-sensing map`.
        reference: see `reference_pixels.open_reference`.
        out: a new or empty directory: metrics.json, error_matrix.csv, areas.csv, report.html.
        column: attribute of the polygons that holds the class name.
        quiet: no progress, no table.

    Returns:
        What is in metrics.json.

    Raises:
        UserError: if the map is none of ours, or the reference cannot be read, has no reference
            system, column or class of the map, or does not overlap it.
    """
    require_new(out)
    with (
        open_map(map_tif) as (dataset, names, place),
        open_reference(reference, dataset, place, names, column) as truth,
        progress("windows", quiet=quiet) as advance,
    ):
        found = tally(dataset, place, len(names), truth, advance)
        kind = truth.kind
    counts_CC = np.asarray(found.groups.sum(axis=0)).reshape(len(names), len(names))
    counts_CC = counts_CC.astype(np.int64)
    estimated = area_accuracy(counts_CC, found.hectares_C)
    drawn = _by_groups(found, estimated, counts_CC, kind)
    facts = {"app": domain.name, "map": map_tif.name, "reference": reference.name}
    metrics = facts | _metrics(names, counts_CC, found, estimated, drawn, kind)
    _write_tables(out, names, counts_CC, estimated, metrics)
    write_map_report(out / "report.html", metrics, found, f"{ASSUMPTION} {INTERVALS}")
    write_json(out / "metrics.json", metrics)  # last: where it is, the rest is whole
    _show(metrics, quiet=quiet)
    say(f"{out / 'report.html'}", quiet=quiet)
    return metrics


def _by_groups(
    found: Tally, estimated: AreaAccuracy, counts_CC: np.ndarray, kind: str
) -> dict[str, Interval]:
    """Bootstrap intervals that draw whole polygons (or blocks): overall, users/0, areas/0, ...

    None where a reference class lies in fewer than `MIN_GROUPS` of them.
    """
    weights_C = area.stratum_weights(counts_CC, found.hectares_C)
    proportions = _Proportions(len(weights_C), weights_C)
    total = float(found.hectares_C[estimated.sampled_C].sum())

    def of_class(function: Callable[..., np.ndarray], number: int, unit: float) -> Statistic:
        return lambda sums: unit * function(proportions(sums))[:, number]

    statistics: dict[str, Statistic] = {
        "overall": lambda sums: area.overall_accuracy(proportions(sums))
    }
    for number in range(len(weights_C)):
        statistics[f"users/{number}"] = of_class(area.users_accuracy, number, 1.0)
        statistics[f"producers/{number}"] = of_class(area.producers_accuracy, number, 1.0)
        statistics[f"areas/{number}"] = of_class(area.area_shares, number, total)
    drawn = intervals(found.groups, statistics, DEFAULT)
    fewest = _fewest_groups(found.groups, len(weights_C))
    if fewest >= MIN_GROUPS:
        return drawn
    # A draw that misses the only polygon of a class leaves nothing but errors in its stratum.
    reason = f"a class has reference in {fewest} {kind}, where {MIN_GROUPS} are needed"
    return {
        name: replace(interval, low=np.nan, high=np.nan, replicates=0, reason=reason)
        for name, interval in drawn.items()
    }


def _fewest_groups(groups: Any, classes: int) -> int:
    """In how many groups the class with the fewest has a reference pixel."""
    to_reference = np.tile(np.eye(classes, dtype=np.int64), (classes, 1))
    counts_C = np.asarray((groups @ to_reference > 0).sum(axis=0)).ravel()
    return int(counts_C[counts_C > 0].min())


class _Proportions:
    """Area proportions of replicates, computed once for all statistics of the same draw."""

    def __init__(self, classes: int, weights_C: np.ndarray) -> None:
        self._shape, self._weights_C = (-1, classes, classes), weights_C
        self._last: tuple[Any, np.ndarray] | None = None

    def __call__(self, sums_RF: np.ndarray) -> np.ndarray:
        if self._last is None or self._last[0] is not sums_RF:
            made = area.area_proportions(sums_RF.reshape(self._shape), self._weights_C)
            self._last = (sums_RF, made)
        return self._last[1]


def _metrics(
    names: Sequence[str],
    counts_CC: np.ndarray,
    found: Tally,
    estimated: AreaAccuracy,
    drawn: dict[str, Interval],
    kind: str,
) -> dict[str, Any]:
    unsampled = [
        name
        for name, sampled, pixels in zip(names, estimated.sampled_C, found.pixels_C, strict=True)
        if pixels and not sampled
    ]
    unweighted = from_counts(counts_CC.T)  # there, rows are the truth
    return {
        "protocol": PROTOCOL,
        "interval": {"level": DEFAULT.level, "method": "bootstrap of groups", "label": INTERVALS},
        "assumption": ASSUMPTION,
        "classes": list(names),
        "sampling": {
            "unit": "pixel of the map",
            "pixels": int(counts_CC.sum()),
            "groups": int(found.groups.shape[0]),
            "group": kind,
            "skipped": {
                "in polygons of different classes": found.disputed,
                "where the map has no class": found.off_map,
            },
        },
        "map_area": {
            "pixels": int(found.pixels_C.sum()),
            "hectares": float(found.hectares_C.sum()),
            "share_of_sampled_classes": estimated.covered,
            "classes_without_reference": unsampled,
        },
        "overall_accuracy": _entry(estimated.overall, drawn["overall"], ()),
        "per_class": _per_class(names, counts_CC, found, estimated, drawn),
        "unweighted": plain(unweighted.values),
        "confusion": {"classes": list(names), "counts": unweighted.counts_CC.tolist()},
    }


def _per_class(
    names: Sequence[str],
    counts_CC: np.ndarray,
    found: Tally,
    estimated: AreaAccuracy,
    drawn: dict[str, Interval],
) -> list[dict[str, Any]]:
    """Pixels, areas and accuracies of every class."""
    return [
        {
            "class": name,
            "reference_pixels": int(counts_CC[:, number].sum()),
            "mapped_pixels": int(found.pixels_C[number]),
            "mapped_hectares": float(found.hectares_C[number]),
            "hectares": _entry(estimated.areas, drawn[f"areas/{number}"], number),
            "users": _entry(estimated.users, drawn[f"users/{number}"], number),
            "producers": _entry(estimated.producers, drawn[f"producers/{number}"], number),
        }
        for number, name in enumerate(names)
    ]


def _entry(estimates: Estimates, drawn: Interval, at: int | tuple[()]) -> dict[str, Any]:
    return {
        "value": float(estimates.values[at]),
        "standard_error": float(estimates.errors[at]),
        "low": drawn.low,
        "high": drawn.high,
        "replicates": drawn.replicates,
        "reason": drawn.reason,
        "analytical": {"low": float(estimates.low[at]), "high": float(estimates.high[at])},
    }


def _write_tables(
    out: Path,
    names: Sequence[str],
    counts_CC: np.ndarray,
    estimated: AreaAccuracy,
    metrics: dict[str, Any],
) -> None:
    """error_matrix.csv: map classes down, reference classes across, in pixels, then in shares."""
    matrices = []
    for unit, matrix_CC in (("pixels", counts_CC), ("area share", estimated.proportions_CC)):
        matrix = pd.DataFrame(matrix_CC, columns=list(names)).astype(object)
        matrix.insert(0, "map_class", list(names))
        matrix.insert(0, "unit", unit)
        matrices.append(matrix)
    areas = [
        {"class": record["class"], "mapped_pixels": record["mapped_pixels"]}
        | {"mapped_hectares": record["mapped_hectares"]}
        | {
            f"{kind}{end}": value
            for kind in ("hectares", "users", "producers")
            for end, value in _ends(record[kind]).items()
        }
        for record in metrics["per_class"]
    ]
    tables = {"error_matrix.csv": pd.concat(matrices), "areas.csv": pd.DataFrame(areas)}
    for name, table in tables.items():
        with atomic_path(out / name) as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n")


def _ends(entry: dict[str, Any]) -> dict[str, float]:
    return {
        "": entry["value"],
        "_low": entry["low"],
        "_high": entry["high"],
        "_analytical_low": entry["analytical"]["low"],
        "_analytical_high": entry["analytical"]["high"],
    }


def _show(metrics: dict[str, Any], *, quiet: bool) -> None:
    rows = [
        (
            record["class"],
            f"{record['mapped_hectares']:,.1f}",
            f"{record['hectares']['value']:,.1f}",
            figure(record["users"]),
            figure(record["producers"]),
        )
        for record in metrics["per_class"]
        if record["mapped_pixels"] or record["reference_pixels"]
    ]
    columns = ("class", "mapped ha", "estimated ha", "user's", "producer's")
    title = f"Overall accuracy {figure(metrics['overall_accuracy'])}"
    show_table(title, columns, rows, numeric=columns[1:], quiet=quiet)
    reason = metrics["overall_accuracy"]["reason"]
    if reason:
        say(f"no intervals over {metrics['sampling']['group']}: {reason}", quiet=quiet)
    missing = metrics["map_area"]["classes_without_reference"]
    if missing:
        share = metrics["map_area"]["share_of_sampled_classes"]
        named = ", ".join(missing)
        say(f"no reference for {named}: all figures hold for {share:.0%} of the map", quiet=quiet)
