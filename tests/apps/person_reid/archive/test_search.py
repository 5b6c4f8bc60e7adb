"""`person-reid search`: what may ask, what answers, and when an index answers no more."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fixtures.front_door import assert_refused, likeness
from fixtures.people_archive import PEOPLE
from likeness.files import write_json


def search(*words: object):
    return likeness("search", *words, application="person-reid")


def first_ranks(path) -> dict[str, str]:
    table = pd.read_csv(path, keep_default_na=False)
    return dict(table[table["rank"] == 1][["query", "tracklet"]].to_numpy())


def test_a_folder_of_frames_is_one_tracklet_and_a_set_is_many(scene, kept, tmp_path):
    best = {query: max(scores, key=scores.get) for query, scores in scene.scores.items()}
    out = tmp_path / "set.csv"
    ended = search(kept, scene.queries, "--out", out, "-k", 3)
    assert ended.code == 0, ended.err
    assert first_ranks(out) == best
    assert len(pd.read_csv(out)) == 12
    out = tmp_path / "one.csv"
    assert search(kept, scene.queries / PEOPLE[0] / "cam-a" / "t0", "--out", out).code == 0
    assert first_ranks(out) == {"t0": best[f"{PEOPLE[0]}/cam-a/t0"]}
    assert len(pd.read_csv(out)) == 8  # all there are, though ten are asked for
    assert "unknown" in set(pd.read_csv(out)["decision"])


def test_an_image_asks_and_does_not_find_its_copy(scene, kept, tmp_path):
    image = scene.queries / PEOPLE[1] / "cam-a" / "t0" / "000.png"
    out = tmp_path / "image.csv"
    assert search(kept, image, "-k", 2, "--out", out, "--quiet").code == 0
    assert list(first_ranks(out)) == ["000.png"]
    own = scene.gallery / PEOPLE[1] / "cam-b" / "t0"
    assert search(kept, own, "-k", 8, "--out", out, "--quiet").code == 0
    found = pd.read_csv(out)["tracklet"].tolist()
    assert len(found) == 7
    assert f"{PEOPLE[1]}/cam-b/t0" not in found


def test_the_sheet_shows_people_only_if_asked(scene, kept, tmp_path):
    sheets = []
    for options in ([], ["--include-images"]):
        sheet = tmp_path / f"{len(options)}.png"
        ended = search(kept, scene.queries, "--sheet", sheet, *options)
        assert ended.code == 0, ended.err
        assert ("--include-images puts pictures on it" in ended.out) == (not options)
        sheets.append(np.asarray(Image.open(sheet).convert("RGB")))
    assert sheets[0].shape == sheets[1].shape
    inside = (slice(130, 200), slice(70, 180))  # of the first picture
    assert np.ptp(sheets[1][inside]) > np.ptp(sheets[0][inside])


@pytest.mark.parametrize("day", ["2001-01-01", "soon", ""])
def test_an_index_past_its_retention_refuses(copied, scene, day):
    facts = json.loads((copied / "index.json").read_text(encoding="utf-8"))
    changed = facts["facts"] | {"retention": day}
    write_json(copied / "index.json", facts | {"facts": changed})
    ended = search(copied, scene.queries)
    assert_refused(ended, "index must be within its retention", "forget INDEX --expired")


def test_what_is_no_index_of_people(scene, copied, tmp_path):
    assert_refused(search(scene.gallery, scene.queries), "index must be a directory made by")
    assert_refused(search(copied, tmp_path / "gone"), "query must be an existing image")
    refused = search(copied, scene.queries, "--out", tmp_path / "a.txt")
    assert_refused(refused, "out must be a .csv or .parquet file")
    facts = json.loads((copied / "index.json").read_text(encoding="utf-8"))
    write_json(copied / "index.json", facts | {"facts": {"root": ""}})
    assert_refused(search(copied, scene.queries), "with purpose, legal basis and retention")
