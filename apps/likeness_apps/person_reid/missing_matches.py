"""Which queries cannot have a true match, and why: said before anything runs.

A true match of a query is a gallery tracklet of the same identity from another camera. Rows with
`role` query and gallery are what they say; rows of a test split or of no split without a role
are both, so each tracklet asks all others.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from likeness.data.findings import Finding
from likeness_apps.person_reid.identities import JUNK, NOBODY

CODE = "no-true-match"
_SHOWN = 3
_REASONS = {
    "no-identity": "they have no identity",
    "not-in-gallery": "their identity is in no gallery tracklet",
    "one-camera": "the gallery has their identity only from their own camera",
}
_ADVICE = {
    "no-identity": "give them identities, or make them gallery",
    "not-in-gallery": "add gallery tracklets of these identities from other cameras; else they are "
    "skipped and counted",
    "one-camera": "add tracklets from other cameras, or check whether cameras are named right; "
    "else they are skipped and counted",
}


def match_findings(table: pd.DataFrame) -> list[Finding]:
    """Everything that keeps queries from having a true match, a sentence for each kind.

    Args:
        table: of a manifest, one row per frame or tracklet, with path, label, split, camera,
            tracklet and role.

    Returns:
        Warnings; an error where nothing can be measured at all: a single camera, or not one query
        with a match. Identities on both sides of a split are an error, too.
    """
    tracklets = table.drop_duplicates("tracklet").reset_index(drop=True)
    findings = [*_straddling(tracklets), *_single_camera(tracklets)]
    if any(finding.code == "single-camera" for finding in findings):
        return findings  # the reason for all of them
    return findings + list(_unmatched(tracklets))


def reasons_without_match(tracklets: pd.DataFrame, *, queries_stay: bool = False) -> pd.Series:
    """Why each query has no true match.

    Args:
        tracklets: one row per tracklet with label, split, camera and role.
        queries_stay: whether queries are part of the gallery, as in the official MARS evaluation.

    Returns:
        For the query rows, by their index: `no-identity`, `not-in-gallery`, `one-camera`, or "" for
        a query with a match.
    """
    asking, answering = _sides(tracklets)
    queries = tracklets[asking]
    gallery = tracklets[answering | (asking if queries_stay else False)]
    gallery = gallery[~gallery["label"].isin(("", *NOBODY))]
    seen = gallery[["label", "camera"]].drop_duplicates()
    cameras = queries["label"].map(seen["label"].value_counts()).fillna(0).to_numpy()
    pairs = pd.MultiIndex.from_frame(seen)
    own = pd.MultiIndex.from_frame(queries[["label", "camera"]]).isin(pairs)
    reason = np.where(cameras == 0, "not-in-gallery", np.where(cameras == own, "one-camera", ""))
    reason = np.where(queries["label"].isin(("", *NOBODY)), "no-identity", reason)
    return pd.Series(reason, index=queries.index, dtype=str)


def _sides(tracklets: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Who asks and who may answer; without a role both, except in train and val and for nobody."""
    both = (tracklets["role"] == "") & tracklets["split"].isin(("", "test"))
    asks = both & ~tracklets["label"].isin(("", *NOBODY))
    answers = tracklets["label"] != JUNK
    return asks | (tracklets["role"] == "query"), (
        both | (tracklets["role"] == "gallery")
    ) & answers


def _unmatched(tracklets: pd.DataFrame) -> Iterator[Finding]:
    reasons = reasons_without_match(tracklets)
    if reasons.empty or (reasons == "").all():
        return
    if (reasons != "").all():
        counts = "; ".join(
            f"{count}: {_REASONS[str(name)]}" for name, count in reasons.value_counts().items()
        )
        message = f"no true match for any of {len(reasons)} queries ({counts})"
        advice = "identities must be named alike in query and gallery, and cameras by the camera"
        path = str(tracklets["path"].iloc[reasons.index[0]])
        yield Finding("error", CODE, path, message, advice)
        return
    staying = reasons_without_match(tracklets, queries_stay=True)
    for name, words in _REASONS.items():
        rows = reasons.index[reasons == name]
        if len(rows) == 0:
            continue
        message = f"no true match for {len(rows)} of {len(reasons)} queries: {words}"
        helped = int((staying[rows] == "").sum())
        if helped:
            message += f"; {helped} of them find one where queries stay in the gallery"
        message += f"; {_examples(tracklets, rows)}"
        path = str(tracklets["path"].iloc[rows[0]])
        yield Finding("warning", CODE, path, message, _ADVICE[name])


def _single_camera(tracklets: pd.DataFrame) -> Iterator[Finding]:
    asking, answering = _sides(tracklets)
    rows = tracklets[asking | answering]
    cameras = rows["camera"].unique()
    if len(rows) and len(cameras) == 1:
        message = f"all {len(rows)} tracklets to be matched are of the one camera {cameras[0]!r}"
        advice = "no match across cameras can be measured; name the camera of each tracklet"
        yield Finding("error", "single-camera", str(rows["path"].iloc[0]), message, advice)


def _straddling(tracklets: pd.DataFrame) -> Iterator[Finding]:
    people = tracklets[~tracklets["label"].isin(("", *NOBODY))]
    seen = people[people["split"] != ""][["label", "split"]].drop_duplicates()
    tested = set(seen["label"][seen["split"] == "test"])
    trained = seen["label"][seen["split"].isin(("train", "val"))]
    both = people[people["label"].isin(tested & set(trained))]
    if both.empty:
        return
    message = (
        f"{both['label'].nunique()} identities are both in test and in train or val; "
        f"{_examples(both, both.drop_duplicates('label').index)}"
    )
    advice = "keep each person in one split: recognising who was trained on says nothing"
    path = str(both["path"].iloc[0])
    yield Finding("error", "identity-in-train-and-test", path, message, advice)


def _examples(tracklets: pd.DataFrame, rows: pd.Index) -> str:
    """`the first are a, b, c`."""
    names = tracklets.loc[rows[:_SHOWN], "tracklet"].tolist()
    return f"the first {'is' if len(rows) == 1 else 'are'} {', '.join(names)}"
