"""`score` of tracklets: tables, splits, intervals, what a result holds, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fixtures.tracklet_sets import draw_halves, draw_set, draw_views
from likeness.errors import UserError
from likeness.evaluation.resampling import Bootstrap
from likeness_apps.person_reid.domain import DOMAIN
from likeness_apps.person_reid.open_set import open_set_figures
from likeness_apps.person_reid.score import NO_MODEL, score
from likeness_apps.person_reid.scoring import score_tracklets

FEW = Bootstrap(replicates=50)


def written(folder: Path, features_ND: np.ndarray, table: pd.DataFrame) -> tuple[Path, Path]:
    """A table and features as somebody would give them."""
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "tracklets.csv", index=False)
    np.save(folder / "features.npy", features_ND)
    return folder / "tracklets.csv", folder / "features.npy"


def test_a_result_says_what_it_is_and_points_at_its_inputs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features_ND, table = draw_set(0)
    truth, features = written(tmp_path / "in", features_ND, table)
    out = tmp_path / "out"
    returned = score(DOMAIN, truth, features, out, protocol="mars-official")
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics) == set(returned)
    files = sorted(path.name for path in out.iterdir())
    assert files == ["metrics.json", "queries.csv", "report.html"]
    assert metrics["protocol"] == "mars-official"
    assert metrics["rules"]["curve"] == "trapezoid"
    assert metrics["protocol_text"]["junk"] == "removed"
    assert set(metrics["retrieval"]) == {"cmc@1", "cmc@5", "cmc@10", "cmc@20", "map", "minp"}
    for value in metrics["retrieval"].values():
        assert value["low"] <= value["value"] <= value["high"]
    assert metrics["interval"]["groups"] == metrics["counts"]["identities_asked_for"]
    assert metrics["camera_pairs"]["cameras"] == ["1", "2", "3", "4"]
    assert metrics["inputs"]["features"]["path"] == "../in/features.npy"
    said = capsys.readouterr().out
    assert "mars-official" in said
    assert "count as 0" in said
    assert not any(name in said for name in table["tracklet"])  # nobody is named in the terminal
    with pytest.raises(UserError, match="out must be a new or empty directory"):
        score(DOMAIN, truth, features, out, protocol="mars-official")


def test_open_set_figures_and_a_page_come_without_a_model(tmp_path: Path) -> None:
    """Those of the table alone: nothing was calibrated, so every pair stays unknown."""
    features_ND, table = draw_set(0, identities=60)
    truth, features = written(tmp_path / "in", features_ND, table)
    metrics = score(DOMAIN, truth, features, tmp_path / "out", protocol="cross-camera", quiet=True)
    found = metrics["open_set"]
    expected = open_set_figures(features_ND, table, None, reason=NO_MODEL)
    assert found["pairs"] == expected["pairs"]
    first, again = (each["identification"]["points"][0] for each in (found, expected))
    assert (first["aim"], first["reason"]) == (0.1, "")
    assert first == again
    share = first["true_rate"]
    assert share["low"] <= share["value"] <= share["high"]
    assert found["verification"][0]["true_rate"]["count"] == found["pairs"]["genuine"]
    assert found["verdicts"] == {"reason": NO_MODEL}
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f"Every pair is <b>unknown</b>: {NO_MODEL}" in page
    for title in ("Open-set identification", "CMC curve", "From camera to camera", "Hardest confu"):
        assert title in page


def test_queries_csv_is_what_the_figures_are_means_of(tmp_path: Path) -> None:
    features_ND, table = draw_set(1)
    scored = score_tracklets(features_ND, table, "mars-torchreid", bootstrap=FEW)
    queries, retrieval = scored.queries, scored.metrics["retrieval"]
    assert queries["tracklet"].tolist() == table["tracklet"][table["role"] == "query"].tolist()
    for figure, column in (("cmc@5", "cmc@5"), ("map", "ap"), ("minp", "inp")):
        assert retrieval[figure]["value"] == pytest.approx(queries[column].mean())
    skipped = queries[queries["status"] == "skipped"]
    assert len(skipped) == sum(retrieval["map"]["skipped"].values()) > 0
    assert skipped["ap"].isna().all()
    assert (skipped["first_rank"] == 0).all()
    assert skipped["reason"].value_counts().to_dict() == scored.metrics["unmatched"]
    assert (queries["reason"][queries["status"] == "ok"] == "").all()


def test_splits_are_scored_apart_and_averaged() -> None:
    features_ND, table = draw_halves(2, people=24, splits=10)
    scored = score_tracklets(features_ND, table, "prid2011", bootstrap=FEW)
    splits = scored.metrics["splits"]
    assert (splits["measured"], splits["published"]) == (10, 10)
    each = []
    for number in range(1, 11):
        tested = table["tested_in"].map(lambda cell, number=number: str(number) in cell.split())
        part = table[tested].drop(columns="tested_in")
        part["role"] = part["camera"].map({"a": "query", "b": "gallery"})
        alone = score_tracklets(features_ND[tested.to_numpy()], part, "prid2011", bootstrap=FEW)
        each.append(alone.metrics["retrieval"]["map"]["value"])
        assert alone.metrics["splits"]["measured"] == 1
    assert splits["spread"]["map"]["each"] == pytest.approx(each)
    assert splits["spread"]["map"]["sd"] == pytest.approx(np.std(each, ddof=1))
    assert scored.metrics["retrieval"]["map"]["value"] == pytest.approx(np.mean(each))
    assert scored.metrics["interval"]["label"] == "runs, then groups"
    assert sorted(set(scored.queries["split"]), key=int) == [str(n) for n in range(1, 11)]
    small = [name for name in scored.metrics["retrieval"] if name.startswith("cmc")]
    assert small == ["cmc@1", "cmc@5", "cmc@10"][: len(small)]  # no 20th of a dozen
    assert "cmc@20" not in small


def test_a_role_in_every_row_makes_one_test_set() -> None:
    """The test half of one split, as `evaluate` has it: its people are tested in others, too."""
    features_ND, table = draw_halves(2, people=24, splits=10)
    first = (table["role"] != "").to_numpy()
    told, plain = (
        score_tracklets(features_ND[first], part, "ilids-vid", bootstrap=FEW)
        for part in (table[first], table[first].drop(columns="tested_in"))
    )
    assert told.metrics["retrieval"] == plain.metrics["retrieval"]
    assert told.metrics["counts"] == plain.metrics["counts"]
    assert told.metrics["splits"]["measured"] == 1


def test_without_roles_everybody_asks_all_other_cameras() -> None:
    features_ND, table = draw_set(3)
    everybody = score_tracklets(
        features_ND, table.drop(columns="role"), "cross-camera", bootstrap=FEW
    )
    somebody = ~table["label"].isin(("junk", "distractor"))
    assert everybody.metrics["counts"]["queries"] == somebody.sum()
    kept = (table["label"] != "junk").to_numpy()
    camera = table["camera"].to_numpy()
    expected = [(kept & (camera != own)).sum() for own in camera[somebody]]
    assert everybody.queries["ranked"].tolist() == expected


def test_rows_with_another_status_have_no_features(tmp_path: Path) -> None:
    features_ND, table = draw_set(4)
    whole = written(tmp_path / "whole", features_ND, table)
    extra = pd.concat([table.iloc[:1].assign(tracklet="broken"), table], ignore_index=True)
    extra["status"] = ["error", *["ok"] * len(table)]
    with_error = written(tmp_path / "extra", features_ND, extra)
    results = [
        score(DOMAIN, truth, features, tmp_path / f"out{n}", protocol="market1501", quiet=True)
        for n, (truth, features) in enumerate((whole, with_error))
    ]
    assert results[0]["retrieval"] == results[1]["retrieval"]


def test_a_typed_table_reads_like_text(tmp_path: Path) -> None:
    features_ND, table = draw_set(5, junk=0, distractors=0)
    typed = table.assign(label=table["label"].astype(int), camera=table["camera"].astype(int))
    table["label"] = typed["label"].astype(str)
    found = [
        score_tracklets(features_ND, one, "market1501", bootstrap=FEW).metrics["retrieval"]
        for one in (table, typed)
    ]
    assert found[0] == found[1]


def refused(changes: dict[str, object], protocol: str = "market1501") -> str:
    features_ND, table = draw_set(6)
    with pytest.raises(UserError) as caught:
        score_tracklets(features_ND, table.assign(**changes), protocol, bootstrap=FEW)
    return str(caught.value)


def test_tables_that_do_not_fit_are_refused() -> None:
    features_ND, table = draw_set(6)
    with pytest.raises(UserError, match=r"table must be one with the columns label, camera, track"):
        score_tracklets(features_ND, table.drop(columns="camera"), "market1501")
    with pytest.raises(UserError, match=r"features must be \d+ rows, one per tracklet of the tab"):
        score_tracklets(features_ND[1:], table, "market1501")
    assert "role must be query, gallery or empty, got ['probe']" in refused({"role": "probe"})
    assert "tracklet must be listed once in a test set" in refused({"tracklet": "one"})
    labels = ["", *table["label"][1:]]
    assert "in every row, got '1 empty ones'" in refused({"label": labels})
    roles = ["", *table["role"][1:]]
    assert "role must be query or gallery in every row, or in none" in refused({"role": roles})
    assert "tested_in must be the numbers" in refused({"tested_in": "", "role": ""})


@pytest.mark.parametrize("protocol", ["market1501", "mars-torchreid"])
def test_a_table_in_which_nobody_is_looked_for_says_what_to_write(protocol: str) -> None:
    rule = f"role must be query in the rows that ask and gallery in the rows .*{protocol} leaves"
    features_ND, table = draw_set(6)
    with pytest.raises(UserError, match=f"{rule}.*says so of no row"):
        score_tracklets(features_ND, table.drop(columns="role"), protocol, bootstrap=FEW)
    people = (~table["label"].isin(("junk", "distractor"))).to_numpy()
    asking = table[people].assign(role="query")
    with pytest.raises(UserError, match=f"{rule}.*no row with gallery"):
        score_tracklets(features_ND[people], asking, protocol, bootstrap=FEW)
    scored = score_tracklets(features_ND[people], asking, "mars-official", bootstrap=FEW)
    assert scored.metrics["counts"]["gallery"] == len(asking)


def test_protocols_of_one_asking_camera_refuse_others() -> None:
    said = refused({}, "lpw")
    assert said.startswith("queries must be of one camera that the gallery has nothing of")
    features_ND, table = draw_views(7)
    scored = score_tracklets(features_ND, table, "lpw", bootstrap=FEW)
    assert set(scored.queries["camera"]) == {"view2"}
