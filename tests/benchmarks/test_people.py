"""The experiment on people: who is trained on, what arms differ in, and what tables say."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import people  # noqa: E402
import people_arms  # noqa: E402
import people_summary as summary  # noqa: E402
from fixtures.people import write_pku  # noqa: E402
from likeness.objective import build_objective  # noqa: E402
from likeness_apps.person_reid.layouts import recognise  # noqa: E402

# --- what was published ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded() -> summary.Recorded:
    return summary.read_recorded()


def test_manual_and_summary_show_the_recorded_runs(recorded: summary.Recorded) -> None:
    manual = summary.MANUAL.read_text(encoding="utf-8")
    head = summary.render_head(recorded)
    assert manual == summary.BLOCK.within(manual, head)
    assert summary.SUMMARY.read_text(encoding="utf-8") == summary.render(recorded, head)


def test_every_row_of_the_table_follows_from_its_items(recorded: summary.Recorded) -> None:
    done = recorded.runs[recorded.runs["status"] == "done"]
    for row in done.drop_duplicates(list(people.TABLE.keys), keep="last").itertuples():
        items = recorded.items[row.study]
        keys = (items["arm"] == row.arm) & (items["run"] == row.run) & (items["share"] == row.share)
        assert items[keys]["ap"].mean() == pytest.approx(row.map, abs=1e-6)
        assert items[keys]["cmc@1"].mean() == pytest.approx(row.rank_1, abs=1e-6)


def test_runs_that_are_compared_asked_for_the_same_people(recorded: summary.Recorded) -> None:
    for items in recorded.items.values():
        for _, part in items.groupby("run"):
            asked = part.groupby(["arm", "share"])["tracklet"].agg(frozenset)
            assert asked.nunique() == 1


# --- what arms differ in --------------------------------------------------------------------------


def test_arms_differ_in_the_pair_loss_alone() -> None:
    plain = people_arms.spec_of("f", 3).model_dump(mode="json")
    assert plain["objective"]["terms"] == plain["objective"]["sets"]["terms"] == []
    for arm in people_arms.ARMS:
        spec = people_arms.spec_of(arm, 3)
        dumped = spec.model_dump(mode="json")
        frames, tracklets = dumped["objective"].pop("terms"), dumped["objective"]["sets"]["terms"]
        for frame, tracklet in zip(frames, tracklets, strict=True):
            assert frame == {**frame, **tracklet, "head": "embedding"}
        dumped["objective"]["sets"]["terms"] = dumped["objective"]["terms"] = []
        assert dumped == plain
        build_objective(spec.objective, num_classes=4, dims={"embedding": 8})  # they fit together


def test_each_weight_is_added_by_itself() -> None:
    terms = {arm: people_arms.spec_of(arm, 0).objective.terms for arm in "abcd"}
    miners = {arm: [miner.name for miner in term.miners] for arm, (term,) in terms.items()}
    osm, caa = "online_soft_mining", "class_aware_attention"
    assert miners == {"a": [], "b": [osm], "c": [caa], "d": [osm, caa]}
    assert len({term.loss.model_dump_json() for (term,) in terms.values()}) == 1


class Counted:
    """Passes of three batches, which name themselves."""

    def batches(self, epoch: int) -> list[list[int]]:
        return [[10 * epoch + place] for place in range(3)]


def test_a_long_epoch_goes_through_the_passes_one_after_another() -> None:
    plan = people_arms.LongEpochs(Counted(), 5)
    assert plan.batches(0) == [[0], [1], [2], [10], [11]]
    assert plan.batches(1) == [[20], [21], [22], [30], [31]]


# --- who is trained on ----------------------------------------------------------------------------


def frames_of(count: int = 24) -> pd.DataFrame:
    """Two frames of each of two tracklets of `count` people that are trained on and two tested."""
    rows = [
        {
            "path": f"{person:03d}/{camera}_{frame}.png",
            "label": f"{person:03d}",
            "split": "train" if person < count else "test",
            "group": f"{person:03d}",
            "camera": camera,
            "tracklet": f"{person:03d}C{camera}",
        }
        for person in range(count + 2)
        for camera in "12"
        for frame in (1, 2)
    ]
    return pd.DataFrame(rows)


def wrong_in(table: pd.DataFrame) -> set[str]:
    return set(table.loc[table["label"] != table["group"], "tracklet"])


def test_wrong_identities_are_as_many_as_said_and_only_in_training() -> None:
    table = frames_of()
    before: set[str] = set()
    for share, expected in zip(people.SHARES, (0, 5, 10, 19), strict=True):
        changed = people.with_wrong(table, share, run=3)
        wrong = wrong_in(changed)
        assert len(wrong) == expected
        assert wrong >= before
        assert (changed["split"].to_numpy()[changed["tracklet"].isin(wrong)] == "train").all()
        assert changed.drop(columns="label").equals(table.drop(columns="label"))
        before = wrong


def test_every_identity_keeps_one_tracklet_by_each_camera() -> None:
    changed = people.with_wrong(frames_of(), 40, run=0).drop_duplicates("tracklet")
    assert not changed.duplicated(["label", "camera"]).any()
    assert changed["label"].nunique() == 26


def test_wrong_identities_follow_the_run_and_nothing_else() -> None:
    table = frames_of()
    first = people.with_wrong(table, 20, run=1)
    shuffled = people.with_wrong(table.sample(frac=1.0, random_state=0), 20, run=1)
    assert shuffled.sort_index().equals(first)
    assert wrong_in(people.with_wrong(table, 20, run=2)) != wrong_in(first)


def test_half_of_the_people_are_tested_others_in_each_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pku(tmp_path / "pku-reid", people=(1, 3, 7, 9, 12, 20))
    monkeypatch.setenv("LIKENESS_DATA", str(tmp_path))
    tested = []
    for run in range(4):
        table = people.random_half(run).table
        assert table.groupby("label")["split"].nunique().eq(1).all()
        assert table.groupby("split")["label"].nunique().to_dict() == {"train": 3, "test": 3}
        tested.append(frozenset(table.loc[table["split"] == "test", "label"]))
    assert len(set(tested)) > 1


def test_jobs_without_an_arm_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = replace(people.TABLE, results=tmp_path / "results", runs=tmp_path / "runs")
    monkeypatch.setattr(people, "TABLE", table)
    experiment = replace(people.EXPERIMENT, table=table)
    assert len(experiment.left()) == 20 * 4 + 5
    for arm in people_arms.ARMS:
        for share in (0, 10):
            table.record({"study": "pku", "run": 0, "share": share, "arm": arm}, dict)
    assert experiment.left()[:2] == [("pku", "0", "0"), ("pku", "0", "20")]  # no floor yet
    asked: list[str] = []
    monkeypatch.setattr(people, "measure", lambda study, run, share, arm: asked.append(arm) or {})
    people.run_job("pku", "0", "0")
    assert asked == [people_arms.FLOOR]
    assert experiment.left()[0] == ("pku", "0", "20")


# --- the floor ------------------------------------------------------------------------------------


def test_stripes_see_colours_and_their_height_and_no_side() -> None:
    image_HW3 = np.zeros((120, 40, 3), np.uint8)
    image_HW3[:60, :10], image_HW3[60:] = (200, 30, 30), (30, 30, 200)
    found = people_arms.stripes(image_HW3)
    assert len(found) == 6 * (16 + 8 + 8)
    assert np.square(found).sum() == pytest.approx(6 * 3)
    np.testing.assert_array_equal(found, people_arms.stripes(image_HW3[:, ::-1]))
    assert np.abs(found - people_arms.stripes(image_HW3[::-1])).max() > 0.5


def test_the_floor_finds_people_by_the_colour_of_their_clothes(tmp_path: Path) -> None:
    root = write_pku(tmp_path, people=(1, 2, 3))
    for path in sorted(root.glob("*/*.png")):
        colour = [(200, 20, 20), (20, 200, 20), (20, 20, 200)][int(path.parent.name) - 1]
        if path.name.startswith("02"):
            colour = tuple(value // 2 + 40 for value in colour)  # another light
        Image.new("RGB", (48, 128), colour).save(path, "PNG")
    manifest = recognise(root)
    queries = people_arms.ask_floor(manifest.with_table(manifest.table.assign(split="test")))
    assert queries["tracklet"].tolist() == ["001C1", "001C2", "002C1", "002C2", "003C1", "003C2"]
    assert set(queries["ranked"]) == {3}
    assert (queries["cmc@1"] == 1).all()


# --- how it is measured ---------------------------------------------------------------------------


def drawn_items(
    *, arms: str = "abcd", runs: int = 3, shares: tuple[int, ...] = people.SHARES
) -> pd.DataFrame:
    """Six people, of whom each run asks for four (in a run, other arms ask for the same)."""
    generator = np.random.default_rng(0)
    rows = [
        {
            "arm": arm,
            "run": run,
            "share": share,
            "tracklet": f"{person:03d}C{camera}",
            "label": f"{person:03d}",
            "camera": camera,
            "ap": 1 / (rank := generator.integers(1, 5)),
            "cmc@1": float(rank == 1),
        }
        for arm in arms
        for run in range(runs)
        for share in shares
        for person in (np.arange(4) + run) % 6
        for camera in "12"
    ]
    return pd.DataFrame(rows).sample(frac=1.0, random_state=0)


def mean_of(items: pd.DataFrame, arm: str, run: int, share: int) -> float:
    rows = items[(items["arm"] == arm) & (items["run"] == run) & (items["share"] == share)]
    return float(rows["ap"].mean())


def line_of(items: pd.DataFrame, arm: str, run: int) -> float:
    """mAP lost per 10 % of wrong tracklets, by another's least squares."""
    wrong = np.array([0, 5, 10, 19]) / 48
    means = [mean_of(items, arm, run, share) for share in people.SHARES]
    return float(-np.polyfit(10 * wrong, means, 1)[0])


def test_figures_are_means_over_halves() -> None:
    items = drawn_items()
    found = summary.estimate(items, people.PKU, "c", summary.mean_at("mAP", 20))
    assert found is not None
    runs, level = found
    assert runs == 3
    assert level.value == pytest.approx(np.mean([mean_of(items, "c", run, 20) for run in range(3)]))
    assert level.low < level.value < level.high
    lost = summary.estimate(items, people.PKU, "c", summary.cost("mAP"))
    assert lost is not None
    assert lost[1].value == pytest.approx(np.mean([line_of(items, "c", run) for run in range(3)]))


def test_differences_are_paired_by_half() -> None:
    items = drawn_items()
    items = items[(items["arm"] != "a") | (items["run"] != 1)]  # a run that one arm lacks
    found = summary.difference(items, people.PKU, "ca", summary.cost("mAP"))
    assert found is not None
    runs, between = found
    oracle = [line_of(items, "c", run) - line_of(items, "a", run) for run in (0, 2)]
    assert runs == 2
    assert between.value == pytest.approx(np.mean(oracle))
    same = items[items["arm"] == "a"].assign(arm="c").sample(frac=1.0, random_state=3)
    twice = pd.concat([items[items["arm"] == "a"], same])
    nothing = summary.difference(twice, people.PKU, "ca", summary.cost("mAP"))
    assert nothing is not None
    assert (nothing[1].low, nothing[1].value, nothing[1].high) == (0.0, 0.0, 0.0)


def test_a_person_is_one_row_in_all_halves_and_empty_where_not_tested() -> None:
    items, figure = drawn_items(arms="a"), summary.mean_at("mAP", 0)
    shared = summary.sums_of(items, people.PKU, "a", figure, [0, 1, 2])
    assert [sums.shape for sums in shared] == [(6, 2)] * 3
    assert [sums[:, 1].tolist() for sums in shared] == [
        [2, 2, 2, 2, 0, 0],
        [0, 2, 2, 2, 2, 0],
        [0, 0, 2, 2, 2, 2],
    ]
    own = summary.sums_of(items, people.GENERATED, "a", figure, [0, 1, 2])
    assert [sums.shape for sums in own] == [(4, 2)] * 3
    for sums, all_sums in zip(own, shared, strict=True):
        np.testing.assert_array_equal(sums, all_sums[all_sums[:, 1] > 0])


def test_a_run_counts_for_a_slope_only_with_all_its_shares() -> None:
    items = drawn_items(arms="a")
    items = items[(items["run"] != 2) | (items["share"] != 40)]
    assert summary.runs_of(items, "a", summary.cost("mAP")) == {0, 1}
    assert summary.runs_of(items, "a", summary.mean_at("mAP", 10)) == {0, 1, 2}


def test_the_tables_hold_what_was_run_and_say_what_was_not() -> None:
    pku = drawn_items(arms="acf")
    generated = drawn_items(arms="a", runs=1, shares=(0,))
    runs = pd.DataFrame({"status": ["done", "done", "failed"]})
    recorded = summary.Recorded(runs, {"pku": pku, "generated": generated})
    text = summary.render(recorded, summary.render_head(recorded))
    assert "| (a) contrastive | 3 of 20 |" in text
    assert "| (a) contrastive | 1 of 5 |" in text
    assert f"| {summary.NAMES['b']} | not run yet |" in text
    assert "| pku: (c) - (a), mAP lost per 10 % | 3 |" in text
    assert "| generated, mAP | not run yet |" in text
    assert "Camera 2 asks camera 1:" in text
    assert "2 done, 1 failed" in text
    assert "nan" not in text


def test_an_empty_table_says_not_run_yet() -> None:
    nothing = pd.DataFrame(columns=["arm", "run", "share", *people.ITEMS])
    recorded = summary.Recorded(
        pd.DataFrame(columns=people.TABLE.columns), {"pku": nothing, "generated": nothing}
    )
    text = summary.render(recorded, summary.render_head(recorded))
    assert text.count("not run yet") == 4 * 7 + 4
    assert "none yet" in text
