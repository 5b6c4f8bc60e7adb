"""`score`: the figures of a named protocol from somebody's own features, without a model.

What `evaluate` writes, but for what needs a model or frames: thresholds that were fixed on other
people, strips of tracklets, a card. The features stay where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from likeness.errors import require
from likeness.search.space import Space
from likeness_apps.person_reid.open_set import open_set_figures
from likeness_apps.person_reid.protocols import PROTOCOLS
from likeness_apps.person_reid.reordering import ranked_again, require_kinds
from likeness_apps.person_reid.results import pointers, queries_files, show, write_result
from likeness_apps.person_reid.scoring import score_tracklets
from likeness_apps.person_reid.tracklet_table import read_tracklets
from likeness_apps.shell.console import say
from likeness_apps.shell.domain import Domain
from likeness_apps.shell.given import read_features
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.verify import SOURCES as VERIFICATION
from likeness_apps.shell.verify import verify

NO_MODEL = "features come without a model, and so without thresholds that other people fixed"


def score(
    domain: Domain,
    truth: Path,
    features: Path,
    out: Path,
    *,
    protocol: str,
    space: Space = "cosine",
    re_rank: Sequence[str] = (),
    quiet: bool = False,
) -> dict[str, Any]:
    """Score features (a .npy) against a table of tracklets and write the result.

    Args:
        domain: the application.
        truth: csv or parquet with label, camera, tracklet, role; see `tracklet_table`.
        features: a .npy of floats, one row per row of `truth`.
        out: a new or empty directory.
        protocol: see `protocols.PROTOCOLS`; or `lfw` and `verification`, of pairs of images: then
            `truth` and `features` are those of `likeness_apps.shell.verify.verify`.
        space: how features are compared: cosine, euclidean or dot.
        re_rank: kinds of `reordering.KINDS`, reported beside the plain figures.
        quiet: no progress, no table.

    Returns:
        metrics.json.

    Raises:
        UserError: as `score_tracklets` and `require_kinds`, or if a file cannot be read.
    """
    if protocol in VERIFICATION:
        rule = f"left out for protocol {protocol}"
        require(not re_rank, "re_rank", rule, list(re_rank))
        asked = domain, truth, features, out
        return verify(*asked, protocol=protocol, space=space, quiet=quiet)
    known = (*PROTOCOLS, *VERIFICATION)
    require(protocol in known, "protocol", f"one of {', '.join(known)}", protocol)
    require_new(out)
    kinds = require_kinds(re_rank, space)
    table = read_tracklets(truth)
    features_ND = read_features(features, len(table))
    scored = score_tracklets(features_ND, table, protocol, space=space)
    again = ranked_again(features_ND, table, scored, kinds, quiet=quiet)
    facts = {
        "open_set": open_set_figures(features_ND, table, None, space, reason=NO_MODEL),
        "inputs": pointers(out, features, truth),
    }
    scored = replace(scored, metrics=scored.metrics | facts)
    metrics = write_result(
        *(out, domain, f"{domain.name}: scored features", scored, again),
        tracklets=table,
        features=features_ND,
    )
    show(metrics, quiet=quiet)
    files = ", ".join(["report.html", "metrics.json", *queries_files(scored, again)])
    say(f"{out}: {files}", quiet=quiet)
    return metrics
