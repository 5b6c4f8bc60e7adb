"""Why queries have no true match, against a loop from the definition."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness_apps.person_reid.missing_matches import match_findings, reasons_without_match


def table(*rows):
    """label, camera, split, role of each tracklet."""
    frame = pd.DataFrame(rows, columns=["label", "camera", "split", "role"], dtype=str)
    names = [f"t{number}" for number in range(len(frame))]
    return frame.assign(tracklet=names, path=[f"{name}.jpg" for name in names])


def reason_by_loop(rows, number, *, queries_stay):
    label, camera, _, _ = rows[number]
    if label in ("", "distractor", "junk"):
        return "no-identity"
    answers = ("gallery", "query") if queries_stay else ("gallery",)
    seen = [c for other, c, _, role in rows if role in answers and other == label]
    if not seen:
        return "not-in-gallery"
    return "" if any(c != camera for c in seen) else "one-camera"


ROW = st.tuples(
    st.sampled_from(["", "a", "b", "c", "distractor", "junk"]),
    st.sampled_from(["1", "2"]),
    st.just("test"),
    st.sampled_from(["query", "gallery"]),
)


@settings(max_examples=50)
@given(st.lists(ROW, min_size=1, max_size=12), st.booleans())
def test_reasons_as_defined(rows: list, queries_stay: bool) -> None:
    found = reasons_without_match(table(*rows), queries_stay=queries_stay)
    asking = [number for number, row in enumerate(rows) if row[3] == "query"]
    assert found.index.tolist() == asking
    for number in asking:
        assert found[number] == reason_by_loop(rows, number, queries_stay=queries_stay)


def test_without_roles_every_tracklet_asks_all_others() -> None:
    rows = (
        ("a", "1", "", ""),
        ("a", "2", "", ""),
        ("b", "1", "", ""),
        ("b", "1", "", ""),
        ("junk", "1", "", ""),
        ("c", "1", "train", ""),
    )
    assert reasons_without_match(table(*rows)).to_dict() == {
        **{0: "", 1: "", 2: "one-camera", 3: "one-camera"}
    }


def test_one_sentence_for_each_reason_with_counts_and_first_examples() -> None:
    query = [("a", "1", "test", "query")]
    lonely = [("b", camera, "test", "query") for camera in ("1", "2", "3", "4")]
    own = [("d", "1", "test", "query"), ("d", "1", "test", "gallery")]
    rows = [*query, ("a", "2", "test", "gallery"), *lonely, *own]
    findings = match_findings(table(*rows))
    assert [(f.level, f.code, f.path) for f in findings] == [
        ("warning", "no-true-match", "t2.jpg"),
        ("warning", "no-true-match", "t6.jpg"),
    ]
    assert findings[0].message == (
        "no true match for 4 of 6 queries: their identity is in no gallery tracklet; 4 of them "
        "find one where queries stay in the gallery; the first are t2, t3, t4"
    )
    assert "the first is t6" in findings[1].message


def test_not_one_match_is_an_error_and_so_is_a_single_camera() -> None:
    (finding,) = match_findings(table(("a", "1", "test", "query"), ("b", "2", "test", "gallery")))
    assert (finding.level, finding.code) == ("error", "no-true-match")
    assert (
        "no true match for any of 1 queries (1: their identity is in no gallery" in finding.message
    )
    (finding,) = match_findings(table(("a", "1", "test", "query"), ("a", "1", "test", "gallery")))
    assert (finding.level, finding.code) == ("error", "single-camera")
    assert "all 2 tracklets to be matched are of the one camera '1'" in finding.message


def test_identities_in_train_and_test() -> None:
    rows = (
        *(("a", "1", "train", ""), ("b", "1", "val", ""), ("c", "2", "train", "")),
        *(("a", "1", "test", "query"), ("a", "2", "test", "gallery")),
        *(("b", "1", "test", "query"), ("b", "2", "test", "gallery")),
        *(("junk", "1", "train", ""), ("junk", "1", "test", "gallery")),
    )
    (finding,) = match_findings(table(*rows))
    assert (finding.level, finding.code) == ("error", "identity-in-train-and-test")
    assert finding.message.startswith("2 identities are both in test and in train or val")


@pytest.mark.parametrize("rows", [[], [("a", "1", "train", "")]])
def test_nothing_to_ask(rows: list) -> None:
    assert match_findings(table(*rows)) == []
