"""`make demo APP=person-reid`: what is written, linked and said, on fewer and smaller walkers."""

from __future__ import annotations

import functools
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from fixtures.commands import parse
from fixtures.front_door import last_of
from fixtures.people_door import SMALL
from likeness_apps import demo as demos
from likeness_apps.demo import JOURNAL, Journal, demo
from likeness_apps.person_reid import demonstration, sample, training
from likeness_apps.person_reid.demo_pictures import write_ranks, write_thresholds
from likeness_apps.person_reid.demonstration import (
    ABSENT,
    LOST,
    OWN,
    RANKS,
    find_people_again,
)
from likeness_apps.person_reid.domain import DOMAIN
from likeness_apps.shell.train import train

PEOPLE, RATE = 24, 0.01  # 12 are not tested; few pairs of validation people allow few errors
VALIDATION = "data.test=0", "data.val=0.6"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole demo; gives its folder."""

    def quick(domain, data, out, *, config, include_images):
        assert config == "demo"
        changes = last_of(*SMALL, *VALIDATION)
        train(domain, data, out, config="smoke", changes=changes, include_images=include_images)

    out = tmp_path_factory.mktemp("demo") / "demo"
    small = functools.partial(sample.write_sample, size=(32, 16))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample, "write_sample", small)
        patch.setattr(demonstration, "train", quick)
        patch.setattr(demonstration, "RATE", RATE)
        patch.setattr(training, "FALSE_REJECT_RATE", 0.05)
        patch.setitem(demos.SIZES, DOMAIN.name, {"people": PEOPLE})
        demo(DOMAIN, out, None)
    return out


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def test_the_page_shows_what_was_made(shown):
    text = (shown / "gallery.html").read_text(encoding="utf-8")
    links = re.findall(r'href="([^"#]+)"', text)
    assert links[0] == "sheet.png"
    assert {"result/report.html", "run/report.html", "thresholds.png", "index/README.md"} <= {
        *links
    }
    assert all((shown / link).is_file() for link in links)
    assert text.count("data:image/webp") == len(links) - 1  # the index alone has no picture
    assert DOMAIN.notice in text
    for name in ("sheet", "ranks", "thresholds", "people"):
        with Image.open(shown / f"{name}.png") as picture:
            assert min(picture.size) > 200


def test_its_commands_can_be_repeated(shown):
    lines = [line for line, _ in json.loads((shown / JOURNAL).read_text())["lines"]]
    verbs = [line.split()[2] for line in lines]
    assert verbs == ["sample", "inspect", "train", "evaluate", "index", "match"]
    for line in lines:
        parse(line)
    assert lines[0].endswith(f"--people {PEOPLE}")
    assert f"--false-accept-rate {RATE}" in lines[-1]


def test_people_of_one_camera_are_looked_for_in_the_others(shown):
    lost, kept = table(shown / "lost.csv"), table(shown / "kept.csv")
    assert lost["label"].nunique() == lost["tracklet"].nunique() == LOST
    assert len(set(lost["label"]) - set(kept["label"])) == ABSENT
    assert not set(lost["camera"]) & set(kept["camera"])
    assert lost["camera"].nunique() == 1
    assert "junk" not in set(kept["label"])
    assert "distractor" in set(kept["label"])
    for path in (*lost["path"], *kept["path"]):
        assert (shown / path).is_file()
    files = len(list((shown / "data").rglob(f"{lost['tracklet'][0]}F*.jpg")))
    assert (lost["tracklet"] == lost["tracklet"][0]).sum() == files  # whole tracklets


def test_what_is_said_of_the_matches_is_in_their_table(shown):
    matches, kept = table(shown / "matches.csv"), table(shown / "kept.csv")
    assert len(matches) == LOST * RANKS
    first = matches[matches["rank"] == "1"]
    there = first["query_label"].isin(kept["label"])
    right = first["label"] == first["query_label"]
    cards = {
        title: text for title, _, text, _ in json.loads((shown / JOURNAL).read_text())["cards"]
    }
    text = cards["Who is it, if anybody?"]
    assert f"{LOST - ABSENT} are there; {right.sum()} of them stand first" in text
    strangers = text.partition("who stands first for them: ")[2]
    for decision, count in first[~there]["decision"].value_counts().items():
        assert f"{count} called {decision}" in strangers
    audit = json.loads((shown / "matches.csv.audit.json").read_text())
    assert audit["thresholds"]["false_accept_rate"] == RATE


def test_thresholds_are_told_as_measured(shown):
    metrics = json.loads((shown / "result" / "metrics.json").read_text())
    rate = metrics["open_set"]["verdicts"]["rates"]["impostor_same"]["value"]
    cards = {
        title: text for title, _, text, _ in json.loads((shown / JOURNAL).read_text())["cards"]
    }
    assert f"{100 * rate:.1f} % of two people" in cards["Same, different or unknown"]
    assert metrics["protocol"] == "mars-official"


def test_nobody_of_somebodys_own_recordings_is_shown_kept_or_looked_for(
    shown, tmp_path, monkeypatch, capsys
):
    def copy(domain, data, out, *, config, include_images):
        assert not include_images
        shutil.copytree(shown / "run", out)

    monkeypatch.setattr(demonstration, "train", copy)
    journal = Journal(DOMAIN.name, shown / "data", generated=False)
    find_people_again(journal, tmp_path)
    assert OWN in capsys.readouterr().out
    verbs = [line.split()[2] for line, _ in journal.lines]
    assert verbs == ["inspect", "train", "evaluate"]
    assert not any("--include-images" in line for line, _ in journal.lines)
    assert {path.name for path in tmp_path.iterdir()} == {
        "run", "result", "ranks.png", "thresholds.png"
    }  # fmt: skip
    assert "data:image" not in (tmp_path / "result" / "report.html").read_text(encoding="utf-8")


def test_pictures_of_what_could_not_be_measured(tmp_path):
    """Random splits have no camera matrices, few pairs no thresholds."""
    nothing = {"value": None, "low": None, "high": None}
    metrics = {"protocol": "prid2011", "retrieval": {"cmc@1": nothing, "map": nothing}}
    write_ranks(tmp_path / "ranks.png", metrics)
    scores = {"edges": [], "genuine": [], "impostor": []}
    open_set = {"scores": scores, "verdicts": {"reason": "too few pairs"}}
    write_thresholds(tmp_path / "thresholds.png", open_set)
    assert demonstration._told(open_set) == "Every pair is unknown: too few pairs."
    for name in ("ranks.png", "thresholds.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 200
