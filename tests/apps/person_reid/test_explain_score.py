"""Pairs of results that disagree by known rules, or by their inputs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fixtures.tracklet_sets import draw_set
from likeness.errors import UserError
from likeness.evaluation.ranking_rules import RankingRules
from likeness_apps.person_reid.domain import DOMAIN
from likeness_apps.person_reid.explain_command import explain_results
from likeness_apps.person_reid.explain_score import Explanation, Scoring, explain_score
from likeness_apps.person_reid.protocols import PROTOCOLS, RankingProtocol
from likeness_apps.person_reid.score import score

FEATURES, TABLE = draw_set(21)


def scoring(rules: RankingRules, **changes: object) -> Scoring:
    return replace(Scoring(FEATURES, TABLE, RankingProtocol("own", "a test", rules)), **changes)


def assert_adds_up(found: Explanation) -> None:
    for name, value in found.b.items():
        summed = found.a[name] + sum(step.change[name] for step in found.steps)
        assert summed + found.rest[name] == pytest.approx(value, abs=1e-12)


BASE = RankingRules()


@pytest.mark.parametrize(
    ("rule", "other"),
    [
        ("queries_in_gallery", True),
        ("curve", "trapezoid"),
        ("junk_removed", False),
        ("unmatched", "zero"),
        ("same_camera", "removed"),
        ("distractors_kept", False),
    ],
)
def test_one_rule_is_named_alone(rule: str, other: object) -> None:
    a, b = scoring(BASE), scoring(replace(BASE, **{rule: other}))
    found = explain_score(a, b)
    assert [step.rule for step in found.steps] == [rule]
    assert (found.steps[0].before, found.steps[0].after) == (getattr(BASE, rule), other)
    assert found.verdict == f"The rules explain the whole difference: {rule}."
    assert found.a != found.b
    assert_adds_up(found)
    if rule == "curve":
        assert {name for name, change in found.steps[0].change.items() if change} == {"map"}


def test_every_rule_of_two_protocols_is_named_with_its_share() -> None:
    a, b = (
        Scoring(FEATURES, TABLE, PROTOCOLS[name]) for name in ("mars-official", "mars-torchreid")
    )
    found = explain_score(a, b)
    assert {step.rule for step in found.steps} == {"queries_in_gallery", "curve", "unmatched"}
    assert all(any(step.change.values()) for step in found.steps)
    assert_adds_up(found)
    assert max(abs(value) for value in found.rest.values()) < 1e-12


def test_a_rule_without_effect_is_not_blamed() -> None:
    kept = (TABLE["label"] != "junk").to_numpy()
    inputs = {"features_ND": FEATURES[kept], "table": TABLE[kept]}
    a = scoring(BASE, **inputs)
    b = scoring(replace(BASE, junk_removed=False, curve="trapezoid"), **inputs)
    found = explain_score(a, b)
    assert [step.rule for step in found.steps] == ["curve"]
    assert found.not_needed == ("junk_removed",)


def test_the_space_counts_as_a_rule() -> None:
    found = explain_score(scoring(BASE), scoring(BASE, space="euclidean"))
    assert [step.rule for step in found.steps] == ["space"]


def test_other_features_are_told_from_other_rules() -> None:
    noisy = FEATURES + np.float32(0.5) * np.random.default_rng(0).normal(size=FEATURES.shape)
    other = {"features_ND": noisy.astype(np.float32)}
    same_rules = explain_score(scoring(BASE), scoring(BASE, **other))
    assert same_rules.steps == ()
    inputs = f"the features of {len(TABLE)} tracklets differ"
    assert same_rules.verdict == f"It is not the rules: the inputs differ: {inputs}."
    assert_adds_up(same_rules)
    both = explain_score(scoring(BASE), scoring(replace(BASE, curve="trapezoid"), **other))
    assert both.verdict.startswith("The rules explain a part: curve. For the rest")
    assert_adds_up(both)


def test_other_tables_are_told_from_other_rules() -> None:
    order = np.random.default_rng(1).permutation(len(TABLE))
    moved = {"features_ND": FEATURES[order], "table": TABLE.iloc[order]}
    assert explain_score(scoring(BASE), scoring(BASE, **moved)).verdict == "The figures agree."
    people = sorted(set(TABLE["label"]) - {"junk", "distractor"})
    renamed = TABLE.assign(label=TABLE["label"].replace({people[1]: people[2]}))
    found = explain_score(scoring(BASE), scoring(BASE, table=renamed))
    changed = int((TABLE["label"] == people[1]).sum())
    assert found.inputs == (f"{changed} tracklets have another label",)
    shorter = {"features_ND": FEATURES[9:], "table": TABLE[9:]}
    found = explain_score(scoring(BASE), scoring(BASE, **shorter))
    assert found.inputs == ("9 tracklets are only in A, 0 only in B",)


def test_a_rule_that_leaves_no_gallery_by_itself_comes_later() -> None:
    """Without roles everybody asks: without queries, only junk can be a gallery."""
    kept = (TABLE["label"] != "distractor").to_numpy()
    bare = {"features_ND": FEATURES[kept], "table": TABLE[kept].drop(columns="role")}
    start = RankingRules(queries_in_gallery=True, unmatched="zero")
    goal = replace(start, queries_in_gallery=False, junk_removed=False)
    found = explain_score(scoring(start, **bare), scoring(goal, **bare))
    assert [step.rule for step in found.steps] == ["junk_removed", "queries_in_gallery"]
    assert_adds_up(found)
    with pytest.raises(UserError, match="gallery must be left with rows"):
        explain_score(scoring(start, **bare), scoring(BASE, **bare))


def test_stated_figures_that_do_not_follow_are_said() -> None:
    a = scoring(BASE)
    stated = explain_score(a, a).a
    honest = explain_score(replace(a, stated=stated), a)
    assert honest.unfounded == ()
    other = explain_score(replace(a, stated=stated | {"map": stated["map"] + 0.1}), a)
    assert other.verdict == "The figures agree. What A states is not what its inputs give."


@pytest.fixture
def results(tmp_path: Path) -> tuple[Path, Path]:
    """The same features, scored by two protocols."""
    TABLE.to_csv(tmp_path / "tracklets.csv", index=False)
    np.save(tmp_path / "features.npy", FEATURES)
    inputs = tmp_path / "tracklets.csv", tmp_path / "features.npy"
    for name in ("mars-official", "mars-torchreid"):
        score(DOMAIN, *inputs, tmp_path / name, protocol=name, quiet=True)
    return tmp_path / "mars-official", tmp_path / "mars-torchreid"


def test_two_results_are_read_back_and_explained(
    results: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = explain_results(*results, out=tmp_path / "why")
    written = json.loads((tmp_path / "why" / "explanation.json").read_text(encoding="utf-8"))
    for side, folder in (("a", results[0]), ("b", results[1])):
        stated = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["retrieval"]
        assert written[side] == pytest.approx({name: row["value"] for name, row in stated.items()})
    assert [step["rule"] for step in written["steps"]] == [step.rule for step in found.steps]
    assert found.unfounded == ()
    said = capsys.readouterr().out
    assert "queries in the gallery: yes -> no" in " ".join(said.split())
    assert found.verdict in " ".join(said.split())


def test_results_that_cannot_be_scored_again_are_refused(
    results: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = results
    with pytest.raises(UserError, match=r"RESULT_B must be a directory with metrics.json"):
        explain_results(first, tmp_path / "nothing")
    np.save(tmp_path / "features.npy", FEATURES + 1)
    with pytest.raises(
        UserError, match=r"RESULT_A: features must be unchanged since it was scored"
    ):
        explain_results(first, second)
    (tmp_path / "features.npy").unlink()
    with pytest.raises(UserError, match=r"RESULT_A: features must be where metrics.json says"):
        explain_results(first, second)
    metrics = json.loads((first / "metrics.json").read_text(encoding="utf-8"))
    del metrics["rules"]["curve"]
    (first / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    with pytest.raises(UserError, match=r"RESULT_A/metrics.json, rules must be the fields curve, "):
        explain_results(first, second)
    (first / "metrics.json").write_text(json.dumps({"protocol": "x"}), encoding="utf-8")
    with pytest.raises(UserError, match='must be of a ranking with its inputs, got "no'):
        explain_results(first, second)
    (first / "metrics.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"RESULT_A/metrics.json must be JSON"):
        explain_results(first, second)


def test_tables_of_the_same_size_may_name_other_tracklets() -> None:
    renamed = TABLE.assign(tracklet=[f"other {name}" for name in TABLE["tracklet"]])
    found = explain_score(scoring(BASE), scoring(replace(BASE, curve="trapezoid"), table=renamed))
    assert [step.rule for step in found.steps] == ["curve"]  # names of tracklets change no figure
    assert found.inputs == (f"{len(TABLE)} tracklets are only in A, {len(TABLE)} only in B",)
