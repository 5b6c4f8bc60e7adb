"""The generated walkers: the layout of MARS, repeatable, the same person across cameras."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fixtures.people_door import likeness
from likeness.data.checks import check
from likeness.errors import UserError
from likeness_apps.person_reid.cameras import draw_camera, photograph
from likeness_apps.person_reid.layouts import recognise
from likeness_apps.person_reid.sample import generator, write_sample
from likeness_apps.person_reid.walkers import draw_walker
from likeness_apps.shell.generated import is_generated

PEOPLE = 10


@pytest.fixture(scope="module")
def walkers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten people."""
    return write_sample(tmp_path_factory.mktemp("walkers"), people=PEOPLE)


def test_it_is_a_mars_tree_with_tables(walkers: Path) -> None:
    manifest = recognise(walkers)
    assert manifest.layout == "mars"
    assert is_generated(walkers)
    rows = manifest.table.drop_duplicates("tracklet")
    people = rows[~rows["label"].isin(("junk", "distractor"))]
    assert Counter(people.drop_duplicates("label")["split"]) == {"train": 5, "test": 5}
    cameras = people.drop_duplicates(["label", "camera"])["label"].value_counts()
    assert set(cameras.drop("0010")) <= {3, 4}
    assert (people.groupby(["label", "camera"]).size() == 2).all()
    assert {"junk", "distractor"} <= set(rows["label"][rows["role"] == "gallery"])
    assert manifest.table["tracklet"].value_counts().between(6, 10).all()
    # the person whom one camera saw is the one query without a match
    (finding,) = (f for f in manifest.findings if f.code == "no-true-match")
    assert finding.message.startswith("no true match for 1 of ")
    assert "0010C" in finding.message
    assert {f.code for f in manifest.findings} == {"no-true-match", "foreign-file"}


def test_its_files_are_fine_and_say_what_spoils_them(walkers: Path) -> None:
    result = check(recognise(walkers), near_distance=0)
    assert set(result.table["status"]) == {"ok"}
    assert set(zip(result.table["width"], result.table["height"], strict=True)) == {(32, 64)}
    outliers = pd.read_csv(walkers / "outliers.csv")
    assert set(outliers["path"]) <= set(result.table["path"])
    assert set(outliers["kind"]) == {"other", "covered", "empty"}
    spoiled = result.table.assign(out=result.table["path"].isin(outliers["path"]))
    assert spoiled.groupby("tracklet")["out"].mean().max() < 0.5


def test_the_same_seed_draws_the_same_pixels(walkers: Path, tmp_path: Path) -> None:
    again = write_sample(tmp_path / "again", people=PEOPLE)
    other = write_sample(tmp_path / "other", people=PEOPLE, seed=1)
    files = sorted(path.relative_to(walkers) for path in walkers.rglob("*.jpg"))
    assert files == sorted(path.relative_to(again) for path in again.rglob("*.jpg"))
    assert all((walkers / file).read_bytes() == (again / file).read_bytes() for file in files)
    same = [
        f
        for f in files
        if (other / f).exists() and (walkers / f).read_bytes() == (other / f).read_bytes()
    ]
    assert same == []


def test_as_many_people_are_drawn_as_were_asked_for(tmp_path: Path) -> None:
    ended = likeness("sample", tmp_path / "few", "--people", 6)
    assert ended.code == 0, ended.err
    folders = {path.name for path in (tmp_path / "few").rglob("bbox_t*/*")}
    assert folders - {"00-1", "0000"} == {f"{number:04d}" for number in range(1, 7)}


def test_walkers_move_and_differ_less_from_themselves_than_from_others() -> None:
    """In one camera: mean difference of two frames of a walk against two walkers."""
    camera = draw_camera(generator("camera"))
    rng = generator("frames")

    def frame(number: int, step: float) -> np.ndarray:
        walker = draw_walker(generator("walker", number))
        return photograph(walker, camera, step=step, place=0.0, rng=rng).astype(float)

    own = [np.abs(frame(n, 0.0) - frame(n, 1.5)).mean() for n in range(12)]
    others = [np.abs(frame(n, 0.0) - frame(n + 1, 0.0)).mean() for n in range(12)]
    assert 0 < np.mean(own) < 0.7 * np.mean(others)


def test_nobody_and_what_stands_in_front() -> None:
    camera = draw_camera(generator("camera"))
    walker = draw_walker(generator("walker"))

    def seen(who, cover=0.0):
        rng = np.random.default_rng(0)
        return photograph(who, camera, step=0.5, place=0.0, rng=rng, size=(48, 24), cover=cover)

    empty_HW3 = seen(None)
    assert (empty_HW3.shape, empty_HW3.dtype) == ((48, 24, 3), np.uint8)
    assert (seen(walker) != empty_HW3).any()
    covered_HW3 = seen(walker, cover=0.7).astype(float)
    assert np.abs(covered_HW3[24:] - seen(walker)[24:]).mean() > 5


@pytest.mark.plain
def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="layout must be one of mars, got 'lpw'"):
        write_sample(tmp_path, layout="lpw")
    with pytest.raises(UserError, match="people must be from 4 to 9998, got 3"):
        write_sample(tmp_path, people=3)
