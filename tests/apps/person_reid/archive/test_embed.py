"""`person-reid embed`: a row per tracklet, three statements, and files that `score` takes."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from fixtures.front_door import assert_refused, likeness
from fixtures.people_archive import PEOPLE, STATED, frame, means, write_walkers
from fixtures.scenes import save


def embed(*words: object):
    return likeness("embed", *words, application="person-reid")


def facts_of(path) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in pq.read_schema(path).metadata.items()}


def test_a_row_per_tracklet_with_the_mean_of_its_frames_and_what_was_stated(scene, tmp_path):
    out = tmp_path / "f.parquet"
    ended = embed(scene.model, scene.gallery, "--out", out, *STATED)
    assert ended.code == 0, ended.err
    assert "remove it after 2999-12-31" in ended.out
    rows = pd.read_parquet(out).set_index("tracklet")
    expected = means(scene.model, scene.gallery)
    assert sorted(rows.index) == sorted(expected)
    for name, row_D in expected.items():
        np.testing.assert_allclose(rows["embedding"][name], row_D, atol=2e-6)
    assert set(rows["label"]) == set(PEOPLE)
    assert set(rows["camera"]) == {"cam-b"}
    assert set(rows["frames"]) == set(rows["used"]) == {3}
    facts = facts_of(out)
    stated = [facts[name] for name in ("purpose", "legal_basis", "retention")]
    assert stated == ["lost children", "consent", "2999-12-31"]
    assert "biometric data" in facts["notice"]
    known = {"space": "cosine", "dim": "6", "frames": "mean", "data_licence": "generated"}
    assert known.items() <= facts.items()
    assert facts["model_id"] == rows["model_id"].iloc[0]


def test_score_takes_the_two_files_as_they_are(scene, tmp_path):
    data = write_walkers(tmp_path / "data", {"cam-a": 1, "cam-b": 2})
    (data / PEOPLE[0] / "cam-b" / "t0" / "000.png").write_bytes(b"no image")
    for number in range(3):
        (data / PEOPLE[1] / "cam-b" / "t1" / f"00{number}.png").write_bytes(b"no image")
    out = tmp_path / "f.npy"
    ended = embed(scene.model, data, "--out", out, *STATED)
    assert ended.code == 0, ended.err
    rows, features = pd.read_parquet(tmp_path / "f.parquet"), np.load(out)
    assert features.shape == (11, 6)
    failed = rows.set_index("tracklet")["status"] == "error"
    assert failed[failed].index.tolist() == [f"{PEOPLE[1]}/cam-b/t1"]
    assert rows["used"].tolist().count(2) == 1
    assert "status ok" in facts_of(tmp_path / "f.parquet")["embeddings"]
    words = ("score", tmp_path / "f.parquet", out, "--out", tmp_path / "result")
    assert likeness(*words, application="person-reid").code == 0
    metrics = json.loads((tmp_path / "result" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["retrieval"]["map"]["count"] == 11

    # The first rank of every tracklet by hand, in the other camera.
    good = rows[rows["status"] == "ok"].reset_index(drop=True)
    right = []
    for place, row in good.iterrows():
        others = good.index[good["camera"] != row["camera"]]
        distances = ((features[others] - features[place]) ** 2).sum(axis=1)
        right.append(good["label"][others[distances.argmin()]] == row["label"])
    assert metrics["retrieval"]["cmc@1"]["value"] == pytest.approx(np.mean(right))


def test_folders_without_a_frame_are_rows_and_a_name_is_not_needed(scene, tmp_path):
    data = tmp_path / "data"
    save(data / "hall" / "0.png", frame(0, 1, 0))
    (data / "empty").mkdir()
    ended = embed(scene.model, data, "--out", tmp_path / "f.npy", *STATED)
    assert ended.code == 0, ended.err
    assert "1 tracklets, 1 failed" in ended.out
    assert "score" not in ended.out  # nobody is named in it
    rows = pd.read_parquet(tmp_path / "f.parquet").set_index("tracklet")
    assert dict(rows["status"]) == {"hall": "ok", "empty": "error"}
    assert (rows["reason"]["empty"], rows["frames"]["empty"]) == ("no frame", 0)
    assert np.load(tmp_path / "f.npy").shape == (1, 6)


def test_a_part_of_a_set_and_another_pooling(scene, tmp_path):
    data = write_walkers(tmp_path / "data", {"cam-a": 1}, people=PEOPLE[:2])
    files = sorted(path.relative_to(data).as_posix() for path in data.rglob("*.png"))
    table = pd.DataFrame({"path": files, "label": [file.split("/")[0] for file in files]})
    table = table.assign(
        camera="cam-a", tracklet=table["label"], split=["train"] * 3 + ["test"] * 3
    )
    table.to_csv(data / "set.csv", index=False)
    out = tmp_path / "f.parquet"
    words = ("--out", out, *STATED, "--split", "test", "--frames", "max")
    assert embed(scene.model, data / "set.csv", *words).code == 0
    rows = pd.read_parquet(out)
    assert rows["tracklet"].tolist() == [PEOPLE[1]]
    assert facts_of(out)["frames"] == "max"
    mean = means(scene.model, data)[f"{PEOPLE[1]}/cam-a/t0"]
    assert np.abs(rows["embedding"][0] - mean).max() > 1e-3
    refused = embed(scene.model, data / "set.csv", "--out", out, *STATED)
    assert_refused(refused, "out must be a new file that ends in .parquet or .npy")
    other = tmp_path / "other.npy"
    for option, told in (("--split", "split must be"), ("--frames", "frames must be one of")):
        refused = embed(scene.model, data / "set.csv", "--out", other, *STATED, option, "val2")
        assert_refused(refused, told, left=other)


def test_nothing_is_written_without_the_three_statements(scene, tmp_path):
    out = tmp_path / "f.parquet"
    refused = embed(scene.model, scene.gallery, "--out", out, *STATED[:2])
    told = "embeddings of people must be kept with --purpose, --legal-basis and --retention"
    assert_refused(refused, told, "no --legal-basis and no --retention", left=out)
    refused = embed(scene.model, scene.gallery, "--out", tmp_path / "f.csv", *STATED)
    assert_refused(refused, "out must be a new file", left=tmp_path / "f.csv")
    assert not list(tmp_path.iterdir())
