"""The experiment on zero-shot retrieval: its arms, what is chosen by what, its tables."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import retrieval  # noqa: E402
import retrieval_arms as arms  # noqa: E402
import retrieval_summary as summary  # noqa: E402
from fixtures.scenes import write_aid  # noqa: E402
from likeness_apps.benchmark.layouts import recognise  # noqa: E402
from likeness_apps.benchmark.protocol import Found, divided  # noqa: E402
from likeness_apps.benchmark.recipes import known  # noqa: E402


def test_every_method_is_an_arm() -> None:
    assert set(known()) - {"untrained"} == set(arms.TRIED)


@pytest.mark.parametrize("arm", arms.TRIED)
def test_trials_change_the_rate_and_one_number(arm: str) -> None:
    path, values = arms.TRIED[arm]
    assert values[0] != values[1]
    shown = []
    for rate, place in arms.TRIALS:
        spec = arms.spec_of(arm, rate, values[place], epochs=arms.TRIAL_EPOCHS)
        found: object = spec.model_dump(mode="json")
        assert found["optimiser"]["lr"] == rate
        for part in path.split("."):
            found = found[int(part)] if part.isdecimal() else found[part]
        shown.append((rate, found))
    assert len(set(shown)) == 4
    assert shown[0][1] == values[0]


def test_the_default_comes_first() -> None:
    """The first value is the one that the arm has if nothing is chosen."""
    from likeness_apps.benchmark.recipes import recipe_of, with_recipe

    for arm, (path, values) in arms.TRIED.items():
        found: object = with_recipe(arms.base(), arm, recipe_of(arm)[1]).model_dump(mode="json")
        for part in path.split("."):
            found = found[int(part)] if part.isdecimal() else found[part]
        assert found == pytest.approx(values[0]), arm


def test_test_classes_play_no_part_in_a_trial(tmp_path: Path) -> None:
    manifest = divided(recognise(write_aid(tmp_path, classes=tuple("ABCDEF"), per_class=2)), 0)
    inner = arms.halves_of_training(manifest, 0)
    outer = set(manifest.rows("test")["label"])
    parts = {name: set(inner.rows(name)["label"]) for name in ("train", "test")}
    assert parts["train"] | parts["test"] == set(manifest.rows("train")["label"])
    assert parts["train"].isdisjoint(parts["test"])
    assert outer.isdisjoint(parts["train"] | parts["test"])


def test_wrong_labels_grow_and_stay_in_training(tmp_path: Path) -> None:
    manifest = divided(recognise(write_aid(tmp_path, classes=tuple("ABCDEF"), per_class=20)), 0)
    before: set[str] = set()
    for share in retrieval.SHARES:
        table = retrieval.with_wrong(manifest, share, 0).table
        changed = table["label"] != manifest.table["label"]
        assert changed.sum() == round(60 * share / 100)
        assert set(table.loc[changed, "split"]) <= {"train"}
        assert before <= set(table.loc[changed, "path"])
        before = set(table.loc[changed, "path"])


def test_the_best_trial_of_the_split_is_chosen() -> None:
    rows = [
        ("main", 0, "triplet", str(place), "done", score, rate, arms.TRIED["triplet"][1][value])
        for place, ((rate, value), score) in enumerate(
            zip(arms.TRIALS, (0.3, 0.5, 0.5, 0.1), strict=True)
        )
    ]
    rows.append(("main", 1, "triplet", "3", "done", 0.9, 0.1, 9.0))
    names = ["study", "split", "arm", "part", "status", "map@r", "lr", "value"]
    runs = pd.DataFrame(rows, columns=names)
    assert retrieval.choice(runs, 0, "triplet") == {"lr": 0.0005, "value": 0.5}
    with pytest.raises(RuntimeError, match="no finished trial of triplet on split 2"):
        retrieval.choice(runs, 2, "triplet")


def answered(seed: int, level: float) -> Found:
    generator = np.random.default_rng(seed)
    rows = [(f"{n}", f"c{n % 5}") for n in range(20)]
    queries = pd.DataFrame(rows, columns=["path", "label"])
    for name in retrieval.FIGURES[:-1]:
        queries[name] = np.clip(level + 0.05 * generator.normal(size=20), 0, 1)
    return Found(dict.fromkeys(retrieval.FIGURES, level), queries, {})


def test_runs_become_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = replace(retrieval.TABLE, results=tmp_path / "results", runs=tmp_path / "runs")
    for module in (retrieval, summary):
        monkeypatch.setattr(module, "TABLE", table)
    monkeypatch.setattr(retrieval, "divided_set", lambda split: None)
    monkeypatch.setattr(retrieval, "halves_of_training", lambda manifest, split: None)
    monkeypatch.setattr(retrieval, "with_wrong", lambda manifest, share, split: share)
    monkeypatch.setattr(retrieval, "untrained", lambda manifest, seed: answered(seed, 0.2))

    def train(spec: object, manifest: object, seed: int) -> Found:
        lost = 0 if manifest is None else manifest
        return answered(seed, 0.5 - (0.001 if spec.self_paced else 0.005) * lost)

    monkeypatch.setattr(retrieval, "trained", train)
    for split in range(2):
        for job in (("main", "untrained"), ("main", "triplet"), ("main", "margin")):
            retrieval.run_job(job[0], str(split), job[1])
        for arm in ("bspml", "multi_similarity"):
            retrieval.run_job("noise", str(split), arm)
    runs = table.read()
    assert (runs["status"] == "done").all(), runs["note"].tolist()
    assert len(runs) == 2 * (1 + 5 + 5 + 3 + 3)
    monkeypatch.setattr(summary, "SUMMARY", tmp_path / "summary.md")
    summary.summarise()
    text = (tmp_path / "summary.md").read_text()
    assert "| triplet | 2 of 3 | 0.496 [" in text
    assert "| arcface | not run yet |" in text
    assert "untrained - triplet | 2 | -0.3" in text
    assert "bspml - multi_similarity, lost per 10 % | 2 | -0.04" in text
    assert text.index("| margin |") < text.index("| untrained |") < text.index("| arcface |")
    picture = (tmp_path / "summary.svg").read_bytes()
    assert b"</svg>" in picture
    summary.summarise()
    assert (tmp_path / "summary.svg").read_bytes() == picture


def test_the_picture_shows_what_holds_after_correction() -> None:
    """Two arms far above and below, one that differs in nothing, and the floors."""
    levels = {"triplet": 0.5, "margin": 0.7, "arcface": 0.3, "circle": 0.5, "untrained": 0.1}
    parts = [
        answered(seed, level).queries.assign(arm=arm, split=split)
        for seed, (arm, level) in enumerate(levels.items())
        for split in range(3)
    ]
    answers = summary.answers_of(pd.concat(parts).rename(columns={"label": "group"}))
    found = summary.differences(answers, "triplet")
    standings = summary.standings_of(summary.estimates_of(answers), found)
    colours = {one.arm: one.colour for one in standings}
    assert set(colours) == set(levels)
    assert colours["circle"] == colours["triplet"]
    assert len({colours[arm] for arm in ("margin", "arcface", "circle", "untrained")}) == 4


def test_jobs_go_split_by_split() -> None:
    left = [job for job in retrieval.JOBS if job[0] == "main"]
    assert [job[1] for job in left] == sorted(job[1] for job in left)
    assert len(retrieval.JOBS) == 3 * (2 + len(arms.TRIED)) + 3 * 4
