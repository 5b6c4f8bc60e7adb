"""The command line from a set in the layout of MARS to figures, and what it refuses."""

import html
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from fixtures.front_door import assert_refused
from fixtures.people import write_pku, write_prid
from fixtures.people_door import likeness, small
from likeness.bundle import load_bundle
from likeness.inference.predictor import Predictor
from likeness_apps.person_reid.identities import DISTRACTOR, JUNK
from likeness_apps.person_reid.layouts import recognise


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def test_no_identity_is_on_two_sides_and_nobody_trains(walkers, walkers_run):
    splits = load_bundle(walkers_run).splits
    sides = {name: set(part["label"]) for name, part in splits.groupby("split")}
    assert not sides["train"] & (sides["val"] | sides["test"])
    assert not sides["val"] & sides["test"]
    assert not (sides["train"] | sides["val"]) & {DISTRACTOR, JUNK}
    assert {DISTRACTOR, JUNK} <= sides["test"]
    given = recognise(walkers).table
    assert sides["train"] | sides["val"] == set(given["label"][given["split"] == "train"])


def test_the_class_layer_is_of_training_identities_and_nobody_is_kept(walkers_run):
    bundle = load_bundle(walkers_run)
    trained = bundle.splits["label"][bundle.splits["split"] == "train"]
    assert bundle.classes == sorted(set(trained))
    assert bundle.embedder.num_classes == len(bundle.classes)
    assert bundle.gallery is None  # biometric data
    assert bundle.centres_CD is None
    for duty in ("biometric", "purpose", "legal basis", "never an identification"):
        assert duty in " ".join((bundle.card + walkers_report(walkers_run)).split())


def walkers_report(run):
    return (run / "report.html").read_text(encoding="utf-8")


def test_too_few_pairs_fix_no_threshold_and_the_card_says_so(walkers_run):
    bundle = load_bundle(walkers_run)
    assert "false_accept_rate must be at least" in bundle.metrics["open_set"]["reason"]
    assert "Every pair is *unknown*" in bundle.card


def test_features_are_means_of_the_frames(walkers, walkers_run, walkers_result):
    """Every tracklet by a loop: decode, forward, mean, and only then unit length."""
    table = pd.read_csv(walkers_result / "tracklets.csv", dtype={"label": str, "camera": str})
    features = np.load(walkers_result / "features.npy")
    assert len(features) == (table["status"] == "ok").sum() == len(table)
    frames = recognise(walkers).table
    frames = frames[frames["split"] == "test"]
    assert set(table["tracklet"]) == set(frames["tracklet"])
    predictor = Predictor(walkers_run / "model", columns="embed", batch_size=1)
    for row in (0, len(table) // 2, len(table) - 1):
        own = frames[frames["tracklet"] == table["tracklet"][row]]
        assert table["used"][row] == table["frames"][row] == len(own)
        prepared = [predictor.prepare(walkers / path) for path in own["path"]]
        mean = np.mean([predictor.raw([item])[0][0] for item in prepared], axis=0)
        wanted = mean / np.linalg.norm(mean)
        np.testing.assert_allclose(features[row], wanted, rtol=1e-4, atol=1e-5)


def test_score_gives_the_figures_of_evaluate(walkers_result, tmp_path):
    inputs = (walkers_result / "tracklets.csv", walkers_result / "features.npy")
    asked = ("--protocol", "mars-official", "--out", tmp_path / "again")
    ended = likeness("score", *inputs, *asked)
    assert ended.code == 0, ended.err
    again, first = metrics_of(tmp_path / "again"), metrics_of(walkers_result)
    assert again["retrieval"] == first["retrieval"]
    assert again["counts"] == first["counts"]


def test_two_protocols_are_told_apart(walkers_result, tmp_path):
    inputs = (walkers_result / "tracklets.csv", walkers_result / "features.npy")
    other = tmp_path / "torchreid"
    assert likeness("score", *inputs, "--protocol", "mars-torchreid", "--out", other).code == 0
    ended = likeness("explain-score", walkers_result, other, "--out", tmp_path / "why")
    assert ended.code == 0, ended.err
    told = json.loads((tmp_path / "why" / "explanation.json").read_text(encoding="utf-8"))
    assert "curve" in json.dumps(told)


def test_a_frame_that_cannot_be_read_leaves_its_tracklet(walkers, walkers_run, tmp_path):
    copied = tmp_path / "copy"
    shutil.copytree(walkers, copied)
    frames = recognise(walkers).table
    tested = frames[frames["split"] == "test"]
    first = tested.iloc[0]
    whole = tested[tested["tracklet"] == tested["tracklet"].iloc[-1]]
    (copied / first["path"]).write_bytes(b"no picture")
    for path in whole["path"]:
        (copied / path).write_bytes(b"no picture")
    out = tmp_path / "result"
    ended = likeness("evaluate", walkers_run, copied, "--out", out)
    assert ended.code == 0, ended.err
    table = pd.read_csv(out / "tracklets.csv").set_index("tracklet")
    own = table.loc[first["tracklet"]]
    assert (own["status"], own["used"]) == ("ok", own["frames"] - 1)
    assert table.loc[whole["tracklet"].iloc[0], "status"] == "error"
    items = metrics_of(out)["items"]
    assert items["unreadable_frames"] == 1 + len(whole)
    assert items["tracklets_without_a_frame"] == 1


def test_people_who_were_trained_on_are_refused(walkers, walkers_run, tmp_path):
    """Renamed files and folders do not hide that a frame was trained on."""
    frames = recognise(walkers).table
    trained = frames[frames["split"] == "train"]
    for number, (path, camera) in enumerate(zip(trained["path"], trained["camera"], strict=True)):
        if number % 5 == 0:
            place = tmp_path / "other" / "p1" / f"cam{camera}" / "t1"
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(walkers / path, place / f"{number:04d}.jpg")
    out = tmp_path / "result"
    ended = likeness("evaluate", walkers_run, tmp_path / "other", "--out", out)
    assert_refused(ended, "people whom the model never saw", "train", left=out)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (["monitor=accuracy"], ("monitor must be one of rank_1, map, null",)),
        (["model.space=euclidean"], ("model.space must be cosine",)),
        (["data.fold=2"], ("data.fold must be null for mars",)),
        (["data.protocol=mars-official"], ("data.protocol must be null",)),
        (["data.augmentation.rotate90=true"], ("rotate90", "false")),
    ],
)
def test_configurations_for_other_data_are_refused(changes, parts, walkers, tmp_path):
    out = tmp_path / "run"
    assert_refused(likeness("train", walkers, "--out", out, *small(*changes)), *parts, left=out)


def test_what_makes_no_sense_for_people_is_not_there():
    ended = likeness("--help")
    assert "predict" not in ended.out
    assert "tracklets" in ended.out
    assert "explain-score" in ended.out


def test_inspect_counts_what_people_are_ranked_by(walkers):
    table = recognise(walkers).table
    told = likeness("inspect", walkers).out.replace("│", " ").split("\n")
    rows = {line.split()[0]: line.split()[1] for line in told if len(line.split()) == 2}
    assert rows["tracklets"] == str(table["tracklet"].nunique())
    assert rows["cameras"] == str(table["camera"].nunique())


def test_a_model_of_another_set_is_measured_on_all_random_splits(walkers_run, tmp_path):
    """It knows nobody there; a model of the set is measured on the split that it was trained on."""
    prid = write_prid(tmp_path, people=range(1, 9))
    out = tmp_path / "result"
    asked = ("--protocol", "prid2011", "--quiet", "--out", out)
    assert likeness("evaluate", walkers_run, prid, *asked).code == 0
    metrics = metrics_of(out)
    assert (metrics["splits"]["measured"], metrics["splits"]["published"]) == (10, 10)
    queries = pd.read_csv(out / "queries.csv", dtype={"label": str})
    table = recognise(prid).table.drop_duplicates("tracklet")
    for number, part in queries.groupby("split"):
        tested = table[table["tested_in"].map(lambda cell, n=number: str(n) in cell.split())]
        assert set(part["label"]) == set(tested["label"])
        assert set(part["camera"]) == {"a"}
    (note,) = metrics["set_notes"]
    assert "no splits_prid2011.json" in note  # ours are not the published ones
    assert note in html.unescape((out / "report.html").read_text(encoding="utf-8"))
    each = queries.groupby("split")["ap"].mean()
    assert metrics["retrieval"]["map"]["value"] == pytest.approx(each.mean())
    assert metrics["protocol_note"] == ""


def test_a_protocol_of_another_set_is_said(walkers, walkers_run, tmp_path):
    out = tmp_path / "result"
    ended = likeness("evaluate", walkers_run, walkers, "--protocol", "market1501", "--out", out)
    assert ended.code == 0, ended.err
    note = "defined for market1501 and dukemtmc-videoreid; this set was read as mars"
    assert note in " ".join(ended.out.split())
    assert metrics_of(out)["protocol_note"] == note
    assert note in (out / "report.html").read_text(encoding="utf-8")


def test_a_protocol_that_does_not_fit_is_refused_before_anything_is_embedded(
    walkers, walkers_run, tmp_path, monkeypatch
):
    monkeypatch.setattr("likeness_apps.person_reid.evaluate.embed_tracklets", None)
    out = tmp_path / "result"
    ended = likeness("evaluate", walkers_run, walkers, "--protocol", "lpw", "--out", out)
    assert_refused(ended, "queries must be of one camera", "protocol lpw", left=out)


def test_an_unknown_protocol_is_named_before_anything_is_embedded(walkers, walkers_run, tmp_path):
    out = tmp_path / "result"
    ended = likeness("evaluate", walkers_run, walkers, "--protocol", "mars", "--out", out)
    assert_refused(ended, "protocol must be one of mars-official", left=out)


def test_pseudo_tracklets_are_called_so_everywhere(walkers_run, tmp_path):
    out = tmp_path / "result"
    ended = likeness("evaluate", walkers_run, write_pku(tmp_path, range(1, 6)), "--out", out)
    assert ended.code == 0, ended.err
    note = "pseudo-tracklets: the views of a camera, which are orientations and not a film"
    assert note in " ".join(ended.out.split())
    assert metrics_of(out)["set_notes"] == [note]
    assert note in (out / "report.html").read_text(encoding="utf-8")
