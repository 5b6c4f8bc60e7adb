"""Who asks and who answers, where a set does not say."""

from __future__ import annotations

import numpy as np
import pandas as pd

from likeness.data.findings import Finding
from likeness_apps.person_reid.identities import NOBODY
from likeness_apps.person_reid.layouts.frames import GALLERY, QUERY


def derived_queries(tracklets: pd.DataFrame) -> np.ndarray:
    """One query per identity and camera: the last tracklet, where two cameras saw the identity.

    The rule is ours. It gives exactly the 1,980 queries of MARS (read from its tables).

    Args:
        tracklets: one row per tracklet with columns label, camera and tracklet.

    Returns:
        Whether each row is a query; never of a distractor, of junk or without an identity.
    """
    rows = tracklets[~tracklets["label"].isin(("", *NOBODY))].sort_values("tracklet")
    last = rows.drop_duplicates(["label", "camera"], keep="last")
    seen_twice = last[last["label"].duplicated(keep=False)]
    asks: np.ndarray = tracklets.index.isin(seen_twice.index)
    return asks


def role_of(split: pd.Series, query: np.ndarray) -> pd.Series:
    """`query` or `gallery` in test rows, "" elsewhere."""
    roles = np.where(split == "test", np.where(query, QUERY, GALLERY), "")
    return pd.Series(roles, index=split.index, dtype=str)


def derived_finding(missing: str) -> Finding:
    """What is told when roles were derived; `missing` is what would say them."""
    message = (
        f"no usable {missing} says who the queries are; derived by a rule of ours: the last "
        "tracklet of each identity and camera, where two cameras saw the identity"
    )
    advice = f"add {missing} for published figures"
    return Finding("warning", "derived-queries", "", message, advice)
