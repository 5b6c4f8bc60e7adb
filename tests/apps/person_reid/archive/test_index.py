"""`person-reid index`: a row per tracklet, three statements, no picture that nobody asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fixtures.front_door import assert_refused, likeness
from fixtures.people_archive import PEOPLE, STATED, TRAINED, everything_in, frame, means
from fixtures.scenes import save
from likeness.provenance import read_provenance
from likeness.search.index import open_index


def index(*words: object):
    return likeness("index", *words, application="person-reid")


def test_a_row_per_tracklet_with_statements_and_the_mean_of_its_frames(scene, kept):
    opened = open_index(kept)
    expected = means(scene.model, scene.gallery)
    assert sorted(opened.rows["tracklet"]) == sorted(expected)
    for name, stored_D in zip(opened.rows["tracklet"], opened.embeddings_GD, strict=True):
        np.testing.assert_allclose(stored_D, expected[name], atol=2e-6)
    assert set(opened.rows["label"]) == set(PEOPLE)
    assert set(opened.rows["camera"]) == {"cam-b"}
    assert set(opened.rows["frames"]) == {3}
    facts = opened.facts
    stated = [facts[name] for name in ("purpose", "legal_basis", "retention")]
    assert stated == ["lost children", "consent", "2999-12-31"]
    readme = (kept / "README.md").read_text(encoding="utf-8")
    for text in (*stated, "8 tracklets", "8 small pictures", "biometric"):
        assert text in readme


def test_the_model_goes_along_without_the_names_of_those_it_was_trained_on(scene, kept):
    assert TRAINED.encode() in everything_in(scene.model)
    assert TRAINED.encode() not in everything_in(kept)
    files = [read_provenance(model)["files"] for model in (scene.model, kept / "model")]
    assert files[0]["weights.safetensors"] == files[1]["weights.safetensors"]


def test_pictures_are_kept_only_for_who_asks(scene, kept, tmp_path):
    crops = sorted(path.name for path in (kept / "crops").iterdir())
    assert crops == [f"{number:06d}.jpg" for number in range(1, 9)]
    plain = tmp_path / "plain"
    assert index(scene.model, scene.gallery, "--out", plain, *STATED, "--quiet").code == 0
    assert not (plain / "crops").exists()
    assert not list(plain.rglob("*.jpg"))
    assert "no picture of anybody" in (plain / "README.md").read_text(encoding="utf-8")


def test_bad_frames_cost_a_frame_and_loose_images_are_tracklets(scene, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    for number in range(2):
        save(data / "hall" / f"{number}.png", frame(0, 1, number))
    (data / "hall" / "2.png").write_bytes(b"no image")
    save(data / "alone.png", frame(1, 1, 0))
    (data / "broken").mkdir()
    (data / "broken" / "0.png").write_bytes(b"no image")
    (data / "empty").mkdir()
    ended = index(scene.model, data, "--out", out, *STATED)
    assert ended.code == 0, ended.err
    rows = pd.read_parquet(out / "rows.parquet").set_index("tracklet")
    assert dict(rows["frames"]) == {"alone.png": 1, "hall": 2}
    assert set(rows["label"]) == set(rows["camera"]) == {""}
    assert "left out: broken: " in ended.out
    assert "left out: empty: no frame" in ended.out
    log = [json.loads(line) for line in (out / "audit.jsonl").read_text().splitlines()]
    counts = {name: log[0][name] for name in ("tracklets", "tracklets_without_a_frame")}
    assert counts == {"tracklets": 2, "tracklets_without_a_frame": 2}
    assert log[0]["unreadable_frames"] == 2


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"--purpose": ""}, "no --purpose"),
        ({"--legal-basis": " ", "--retention": ""}, "no --legal-basis and no --retention"),
        (
            {"--retention": "2001-01-31"},
            "a date in the future, written YYYY-MM-DD, got '2001-01-31'",
        ),
        ({"--retention": "31.1.2999"}, "a date in the future, written YYYY-MM-DD"),
        ({"--retention": "29990131"}, "a date in the future, written YYYY-MM-DD"),
    ],
)
def test_statements_are_required(scene, tmp_path, changed, told):
    given = dict(zip(STATED[::2], STATED[1::2], strict=True)) | changed
    words = [word for pair in given.items() for word in pair]
    ended = index(scene.model, scene.gallery, "--out", tmp_path / "out", *words)
    assert_refused(ended, told, left=tmp_path / "out")


def test_nothing_but_an_index_is_replaced(scene, tmp_path):
    out = tmp_path / "out"
    save(out / "mine.png", frame(0, 0, 0))
    ended = index(scene.model, scene.gallery, "--out", out, *STATED)
    assert_refused(ended, "out must be a new or empty directory, or an older index")
    assert (out / "mine.png").is_file()


def test_a_folder_without_an_image_or_with_broken_ones_only(scene, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    refused = index(scene.model, data, "--out", out, *STATED)
    assert_refused(refused, "data must be a folder with image files in it", left=out)
    (data / "a.png").write_bytes(b"no image")
    refused = index(scene.model, data, "--out", out, *STATED)
    assert_refused(refused, "data must be people in frames that can be read", left=out)


def test_a_withdrawn_set_is_no_folder_of_anything(scene, tmp_path):
    name = "gallery/0001/0002/0001_C1_F0001_X1.jpg"
    save(tmp_path / "data" / Path(name), frame(0, 0, 0))
    ended = index(scene.model, tmp_path / "data", "--out", tmp_path / "out", *STATED)
    assert_refused(ended, "withdrawn", left=tmp_path / "out")
