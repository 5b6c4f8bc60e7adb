"""`person-reid match`: ranks, decisions and probabilities by hand, and the record of the call."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from fixtures.front_door import assert_refused, likeness
from fixtures.people_archive import (
    EVIDENCE,
    KNOTS,
    PEOPLE,
    frame,
    thresholds,
    write_model,
    write_walkers,
)
from fixtures.scenes import save
from likeness.files import sha256_file, write_json

WHY = ("--purpose", "lost child, case 12")


def match(*words: object):
    return likeness("match", *words, application="person-reid")


def table_of(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False)


@pytest.fixture(scope="module")
def matched(scene, tmp_path_factory):
    """The table of all queries with all ranks."""
    out = tmp_path_factory.mktemp("matched") / "matches.csv"
    sides = ("--query", scene.queries, "--gallery", scene.gallery)
    words = (
        scene.model,
        *sides,
        "--out",
        out,
        *WHY,
        "-k",
        8,
        "--prior",
        0.25,
        "--operator",
        "desk",
    )
    ended = match(*words)
    assert ended.code == 0, ended.err
    assert "strangers" in ended.out
    return out


def by_hand(scene, score: float) -> tuple[str, float]:
    """Decision and probability at a prior of 1/4, from the definitions."""
    decision = "unknown"
    if score >= scene.same_from:
        decision = "same"
    elif score < scene.different_below:
        decision = "different"
    evidence = None
    for left in range(2):
        if KNOTS[left] <= score <= KNOTS[left + 1]:
            share = (score - KNOTS[left]) / (KNOTS[left + 1] - KNOTS[left])
            evidence = EVIDENCE[left] + share * (EVIDENCE[left + 1] - EVIDENCE[left])
    odds = math.exp(evidence) * 0.25 / 0.75
    return decision, odds / (1 + odds)


def test_rows_are_what_loops_give(scene, matched):
    table = table_of(matched)
    assert len(table) == 4 * 8
    assert set(table["decision"]) == {"same", "different", "unknown"}
    for query, scores in scene.scores.items():
        rows = table[table["query"] == query].reset_index(drop=True)
        assert rows["rank"].tolist() == list(range(1, 9))
        assert rows["tracklet"].tolist() == sorted(scores, key=lambda name: -scores[name])
        for row in rows.itertuples():
            assert row.score == pytest.approx(scores[row.tracklet], abs=1e-5)
            assert row.distance == pytest.approx(-row.score, abs=1e-6)
            decision, probability = by_hand(scene, row.score)
            assert row.decision == decision
            assert float(row.probability) == pytest.approx(probability, rel=1e-4)
            assert row.reason == ("between the thresholds" if decision == "unknown" else "")
    assert set(table["status"]) == {"ok"}
    assert set(table["query_camera"]) == {"cam-a"}
    assert set(table["camera"]) == {"cam-b"}
    assert set(table["query_frames"]) == set(table["frames"]) == {3}


def test_the_record_says_who_asked_what_and_names_nobody(scene, matched):
    text = matched.with_name("matches.csv.audit.json").read_text(encoding="utf-8")
    record = json.loads(text)
    assert record["purpose"] == "lost child, case 12"
    assert record["operator"] == "desk"
    assert record["table"] == {"name": "matches.csv", "sha256": sha256_file(matched)}
    assert record["ranking"] == {"k": 8, "expanded_by": 0, "reciprocal": None}
    assert record["query"]["tracklets"] == 4
    assert record["gallery"]["frames"] == 24
    assert sum(record["decisions"].values()) == 32
    told = record["thresholds"]
    assert told["same_from"] == pytest.approx(scene.same_from)
    assert told["prior"] == 0.25
    assert told["strangers_called_same_per_query"] == pytest.approx(0.08)
    assert {"command", "created", "versions"} <= set(record["provenance"])
    assert not [name for name in PEOPLE if name in text]


def test_reranking_and_expansion_change_the_order_alone(scene, matched, tmp_path):
    plain = table_of(matched).set_index(["query", "tracklet"])
    sides = ("--query", scene.queries, "--gallery", scene.gallery, "--prior", 0.25)
    reciprocal, expanded = ["--re-rank", "k-reciprocal"], ["--re-rank", "query-expansion"]
    for options in (reciprocal, expanded, [*reciprocal, *expanded]):
        out = tmp_path / f"{len(options)}{options[1]}.csv"
        ended = match(scene.model, *sides, "--out", out, *WHY, "-k", 8, "--quiet", *options)
        assert ended.code == 0, ended.err
        table = table_of(out).set_index(["query", "tracklet"])
        beside = plain.loc[table.index]
        assert (table["distance"] != beside["distance"]).any()
        for name in ("score", "decision", "probability"):
            assert table[name].tolist() == beside[name].tolist()
        for _, rows in table.groupby("query"):
            assert rows["distance"].is_monotonic_increasing
    record = json.loads(out.with_name(f"{out.name}.audit.json").read_text(encoding="utf-8"))
    assert record["ranking"]["reciprocal"] == {"k1": 11, "k2": 6, "original_weight": 0.3}
    assert record["ranking"]["expanded_by"] == 5


def test_an_unknown_way_to_rank_again_is_refused(scene, tmp_path):
    out = tmp_path / "m.csv"
    words = ("--query", scene.queries, "--gallery", scene.gallery, "--out", out, *WHY)
    ended = match(scene.model, *words, "--re-rank", "magic")
    assert_refused(ended, "re-rank must be one of k-reciprocal, query-expansion, got 'magic'")
    assert not out.exists()


def test_an_index_answers_as_its_folder_does(scene, kept, matched, tmp_path):
    out = tmp_path / "m.csv"
    words = ("--query", scene.queries, "--gallery", kept, "--out", out, "-k", 8, "--prior", 0.25)
    ended = match(scene.model, *words, *WHY, "--sheet", tmp_path / "s.png", "--include-images")
    assert ended.code == 0, ended.err
    pd.testing.assert_frame_equal(table_of(out), table_of(matched))
    record = json.loads(out.with_name("m.csv.audit.json").read_text(encoding="utf-8"))
    assert record["index"]["legal_basis"] == "consent"
    assert (tmp_path / "s.png").is_file()
    assert "shows nobody" not in ended.out


def test_pairs_of_one_camera_and_models_without_thresholds_stay_unknown(scene, tmp_path):
    here = write_walkers(tmp_path / "here", {"cam-a": 2}, people=PEOPLE[:2])
    out = tmp_path / "one.csv"
    assert match(scene.model, "--query", here, "--gallery", here, "--out", out, *WHY).code == 0
    table = table_of(out)
    assert set(table["decision"]) == {"unknown"}
    assert table["reason"].str.startswith("of one camera").all()
    assert set(table["probability"]) == {""}
    assert (table["query"] != table["tracklet"]).all()  # nobody finds a copy of himself
    assert table.groupby("query").size().tolist() == [3] * 4

    model = write_model(tmp_path / "bare", {"reason": "too few pairs"})
    out = tmp_path / "bare.csv"
    ended = match(model, "--query", scene.queries, "--gallery", here, "--out", out, *WHY)
    assert "Every pair is unknown" in ended.out
    table = table_of(out)
    assert set(table["decision"]) == {"unknown"}
    assert set(table["reason"]) == {"the model has no calibrated threshold"}


def test_tracklets_that_cannot_take_part_have_a_row(scene, tmp_path):
    asking, answering = tmp_path / "asking", tmp_path / "answering"
    save(asking / "tall" / "0.png", frame(0, 1, 0))
    (asking / "tall" / "1.png").write_bytes(b"no image")
    (asking / "torn").mkdir()
    (asking / "torn" / "0.png").write_bytes(b"no image")
    (asking / "empty").mkdir()
    save(answering / "lone.png", frame(0, 2, 0))
    (answering / "torn.png").write_bytes(b"no image")
    out, sheet = tmp_path / "m.csv", tmp_path / "s.png"
    sides = ("--query", asking, "--gallery", answering)
    ended = match(scene.model, *sides, "--out", out, *WHY, "--sheet", sheet)
    assert ended.code == 0, ended.err
    assert "shows nobody" in ended.out
    assert "torn" not in ended.out
    rows = table_of(out)
    first = rows.iloc[0]
    assert (first["query"], first["tracklet"], first["status"]) == ("tall", "lone.png", "ok")
    assert first["query_frames"] == "1"
    failed = rows[rows["status"] == "error"].set_index(["query", "tracklet"])
    assert set(failed.index) == {("torn", ""), ("empty", ""), ("", "torn.png")}
    assert failed["reason"]["empty", ""] == "no frame"
    assert set(failed["rank"]) == {""}
    assert set(failed["decision"]) == {"unknown"}


def test_another_false_accept_rate_is_another_threshold(scene, tmp_path):
    strict = {"false_accept_rate": 0.001, "same_from": None, "different_below": -9.0}
    same_from, different_below = scene.same_from, scene.different_below
    model = write_model(tmp_path / "model", thresholds(same_from, different_below), [strict])
    words = (model, "--query", scene.queries, "--gallery", scene.gallery, *WHY, "-k", 8)
    told = {}
    for rate in ("0.01", "0.001"):
        out = tmp_path / f"{rate}.csv"
        ended = match(*words, "--out", out, "--false-accept-rate", rate)
        assert ended.code == 0, ended.err
        told[rate] = table_of(out)
    record = json.loads((tmp_path / "0.001.csv.audit.json").read_text(encoding="utf-8"))
    assert record["thresholds"]["false_accept_rate"] == 0.001
    assert record["thresholds"]["strangers_called_same_per_query"] == pytest.approx(0.008)
    assert set(told["0.01"]["decision"]) == {"same", "different", "unknown"}
    assert set(told["0.001"]["decision"]) == {"unknown"}
    assert told["0.001"]["probability"].tolist() == told["0.01"]["probability"].tolist()


def test_a_rate_that_the_validation_pairs_do_not_support_is_refused_before_any_work(
    scene, kept, tmp_path
):
    out = tmp_path / "m.csv"
    sides = ("--query", tmp_path / "gone", "--gallery", scene.gallery, "--out", out, *WHY)
    refused = match(scene.model, *sides, "--false-accept-rate", 0.0001)
    assert_refused(refused, "false-accept-rate must be one of 0.01: what 4000 validation", left=out)
    words = ("search", kept, scene.queries, "--false-accept-rate", 0.0001)
    refused = likeness(*words, application="person-reid")
    assert_refused(refused, "false-accept-rate must be one of 0.01")
    bare = write_model(tmp_path / "bare", {"reason": "too few pairs"})
    refused = match(bare, *sides, "--false-accept-rate", 0.01)
    assert_refused(refused, "left out for this model: its validation had too few pairs", left=out)


def test_a_folder_of_frames_asks_as_one_tracklet_here_and_in_search(scene, kept, tmp_path):
    frames, out, other = (
        scene.queries / PEOPLE[2] / "cam-a" / "t0",
        tmp_path / "m.csv",
        tmp_path / "s.csv",
    )
    ended = match(scene.model, "--query", frames, "--gallery", kept, "--out", out, *WHY, "-k", 8)
    assert ended.code == 0, ended.err
    assert "3 images are taken as frames of one tracklet" in ended.out
    assert likeness("search", kept, frames, "-k", 8, "--out", other, application="person-reid")
    pd.testing.assert_frame_equal(table_of(out), table_of(other))
    assert set(table_of(out)["query"]) == {"t0"}
    loose = tmp_path / "loose"
    save(loose / "a.png", frame(0, 2, 0))
    save(loose / "b.png", frame(1, 2, 0))
    out = tmp_path / "loose.csv"
    ended = match(scene.model, "--query", frames, "--gallery", loose, "--out", out, *WHY)
    assert "are taken as" in ended.out
    assert set(table_of(out)["tracklet"]) == {"a.png", "b.png"}  # a gallery of several people


def test_numbers_of_tracks_are_no_identities(scene, tmp_path):
    """Two sets of `tracklets` begin at 0001 both: nothing is right or wrong between them."""
    for camera in (1, 2):
        root = tmp_path / f"hall{camera}"
        for number in range(2):
            name = f"bbox_test/0001/0001C{camera}T0001F{number + 1:03d}.jpg"
            save(root / name, frame(0, camera, number))
        (root / "boxes.csv").write_text("path,status\n")
        (root / "tracks.csv").write_text("track,label,status\n7,0001,ok\n")
    out = tmp_path / "m.csv"
    sides = ("--query", tmp_path / "hall1", "--gallery", tmp_path / "hall2")
    ended = match(scene.model, *sides, "--out", out, *WHY)
    assert ended.code == 0, ended.err
    (row,) = table_of(out).itertuples()
    assert (row.query, row.tracklet) == ("0001C1T0001", "0001C2T0001")
    assert (row.query_label, row.label, row.query_camera) == ("", "", 1)
    (tmp_path / "hall2" / "tracks.csv").unlink()
    out = tmp_path / "named.csv"
    assert match(scene.model, *sides, "--out", out, *WHY).code == 0
    assert table_of(out)["label"].tolist() == [1]


def test_refusals(scene, kept, tmp_path):
    sides = ("--query", scene.queries, "--gallery", scene.gallery)
    out = tmp_path / "m.csv"
    assert_refused(match(scene.model, *sides, "--out", out), "no --purpose", left=out)
    bad = match(scene.model, *sides, "--out", tmp_path / "m.txt", *WHY)
    assert_refused(bad, "out must be a new .csv file")
    bad = match(scene.model, *sides, "--out", out, *WHY, "--prior", 1)
    assert_refused(bad, "prior must be between 0 and 1", left=out)
    gone = ("--query", tmp_path / "gone", "--gallery", scene.gallery)
    bad = match(scene.model, *gone, "--out", out, *WHY)
    assert_refused(bad, "query must be an existing image, folder or table", left=out)
    old = tmp_path / "old"
    facts = json.loads((kept / "index.json").read_text(encoding="utf-8"))
    old.mkdir()
    for name in ("index.faiss", "rows.parquet"):
        (old / name).write_bytes((kept / name).read_bytes())
    write_json(old / "index.json", facts | {"facts": facts["facts"] | {"retention": "2001-01-01"}})
    bad = match(scene.model, "--query", scene.queries, "--gallery", old, "--out", out, *WHY)
    assert_refused(bad, "retention", "forget INDEX --expired", left=out)
    out.write_text("mine")
    assert_refused(match(scene.model, *sides, "--out", out, *WHY), "out must be a new .csv file")
    assert out.read_text() == "mine"
