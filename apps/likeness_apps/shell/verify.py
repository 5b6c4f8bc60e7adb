"""`score --protocol lfw` and `--protocol verification`: are listed pairs of images of the same?

`score_pairs` is the importable function.

Shapes: N = images, D = feature dimension, P = pairs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.errors import require
from likeness.evaluation.resampling import DEFAULT, Bootstrap
from likeness.evaluation.verification import fold_accuracy, verification_figures
from likeness.files import atomic_path, write_json
from likeness.search.space import Space, pair_distances, prepared
from likeness_apps.shell.console import figure, say, show_table
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.measure import interval_facts
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.pair_lists import (
    places_of,
    read_lfw_pairs,
    read_named_features,
    read_pair_table,
)
from likeness_apps.shell.screening import screened_rows

SOURCES = {
    "lfw": "Labeled Faces in the Wild (Huang et al. 2007), view 2: 10 folds, each at the threshold "
    "that is best on the other nine",
    "verification": "pairs of one's own: each fold at the threshold that is best on the others",
}


def verify(
    domain: Domain,
    pairs: Path,
    features: Path,
    out: Path,
    *,
    protocol: str,
    space: Space = "cosine",
    quiet: bool = False,
) -> dict[str, Any]:
    """Score features of images on listed pairs, and write metrics.json and pairs.csv.

    Args:
        domain: the application.
        pairs: for `lfw` a list in the form of its pairs.txt; for `verification` a csv or parquet
            with first, second, same and maybe fold and group; see `pair_lists`.
        features: what `embed` wrote of the images. Images of `lfw` are found by the names of their
            files, others by their paths.
        out: a new or empty directory.
        protocol: `lfw` or `verification`.
        space: how features are compared.
        quiet: no table.

    Returns:
        metrics.json.

    Raises:
        UserError: if a file cannot be read, or an image of the pairs has no row of features.
    """
    require_new(out)
    known = ", ".join(SOURCES)
    require(protocol in SOURCES, "protocol", f"one of {known}", protocol)
    read = read_lfw_pairs if protocol == "lfw" else read_pair_table
    table = _shown(domain, read(pairs), ("first", "second", "group"))
    rows, features_ND = read_named_features(features)
    rows = _shown(domain, rows, ("path",))
    metrics, scored = score_pairs(
        table, rows["path"], features_ND, by_stem=protocol == "lfw", space=space
    )
    metrics |= {"app": domain.name, "protocol": protocol, "protocol_source": SOURCES[protocol]}
    with atomic_path(out / "pairs.csv") as temporary:
        scored.to_csv(temporary, index=False, lineterminator="\n")
    write_json(out / "metrics.json", metrics)
    unreadable = metrics["pairs"]["unreadable"]
    if unreadable:
        say(f"{unreadable} pairs with an image of status error are not measured", quiet=quiet)
    _show(metrics, quiet=quiet)
    say(f"{out}: metrics.json, pairs.csv", quiet=quiet)
    return metrics


def score_pairs(
    pairs: pd.DataFrame,
    paths: pd.Series,
    features_ND: np.ndarray,
    *,
    by_stem: bool = False,
    space: Space = "cosine",
    bootstrap: Bootstrap = DEFAULT,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """The figures of `verification_figures`, and what became of each pair.

    Args:
        pairs: first, second, same, fold, group.
        paths: of the N images.
        features_ND: of the same images; rows with nan have none, and their pairs are left out.
        by_stem: pairs name files without folders and endings.
        space: how features are compared; a score is the negative distance.
        bootstrap: of the intervals.

    Returns:
        Plain data, and the pairs with status, score and (where there are folds) accepted.

    Raises:
        UserError: if an image has no row, no pair is left, or features are not finite otherwise.
    """
    place_P2 = np.stack(
        [places_of(pairs[name], paths, by_stem=by_stem) for name in ("first", "second")], axis=1
    )
    ok_P = ~np.isnan(features_ND).any(axis=1)[place_P2].any(axis=1)
    require(ok_P.any(), "features", "there for both images of at least one pair", "none")
    asked, local = np.unique(place_P2[ok_P], return_inverse=True)
    rows_ND = prepared(features_ND[asked], space, "features")
    first_P, second_P = local.reshape(-1, 2).T
    scores_P = -pair_distances(rows_ND, rows_ND, first_P, second_P, space).astype(np.float64)
    kept = pairs[ok_P]
    columns = [kept[name].to_numpy() for name in ("same", "fold", "group")]
    same_P, folds_P, groups_P = columns
    kinds = sorted(set(same_P.astype(int).tolist()))
    rule = "1 of some pairs (the same) and 0 of others, where both images have features"
    require(len(kinds) == 2, "same", rule, f"only {kinds[0]}")
    figures = verification_figures(same_P, scores_P, folds_P, groups_P, bootstrap=bootstrap)
    figures["pairs"] |= {"unreadable": int((~ok_P).sum())}
    scored = pairs.assign(status=np.where(ok_P, "ok", "error"), score=np.nan)
    scored.loc[ok_P, "score"] = scores_P
    if "folds" in figures["accuracy"]:
        accepted_P = fold_accuracy(same_P, scores_P, folds_P).accepted_N
        scored = scored.assign(accepted=pd.Series(accepted_P, index=kept.index))
    facts = interval_facts(groups_P, bootstrap) | {"space": space}
    return facts | figures, scored


def _shown(domain: Domain, table: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    """The table with stand-ins in columns of names, where the application shows no names."""
    columns = {
        name: screened_rows(domain, pd.DataFrame({"path": table[name]}), quiet=True)["path"]
        for name in names
    }
    return table.assign(**columns)


def _show(metrics: dict[str, Any], *, quiet: bool) -> None:
    counted = metrics["pairs"]
    rows = []
    if "mean" in metrics["accuracy"]:
        name = f"accuracy of {counted['folds']} folds"
        rows.append(
            (name, figure(metrics["accuracy"]["mean"]), metrics["accuracy"]["mean"]["count"])
        )
    auc = metrics["verification"]["roc_auc"]
    rows.append(("ROC-AUC", figure(auc), auc["count"]))
    for point in metrics["verification"]["tar_at_far"]:
        shown = point["reason"] or figure(point["true_rate"])
        rows.append((f"TAR at FAR {point['aim']:g}", shown, point["true_rate"]["count"]))
    columns = ("measure", "value [95 % interval]", "pairs")
    show_table("Verification", columns, rows, numeric=("pairs",), quiet=quiet)
