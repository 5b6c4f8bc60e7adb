"""Published tables come from recorded runs."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import aid_scenes_summary  # noqa: E402
import experiments  # noqa: E402
import floors  # noqa: E402
import skin_lesions  # noqa: E402
import skin_lesions_measures as measures  # noqa: E402
import skin_lesions_summary  # noqa: E402
from fixtures.lesions import write_isic_2017  # noqa: E402
from likeness.evaluation.resampling import Bootstrap, interval  # noqa: E402
from likeness_apps.skin_lesion.layouts import recognise  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"


# --- what all experiments share -------------------------------------------------------------------


@pytest.fixture
def table(tmp_path: Path) -> experiments.RunTable:
    columns = ("arm", "fold", "status", "score", "seconds", *experiments.CIRCUMSTANCES, "note")
    results, runs = tmp_path / "results", tmp_path / "runs"
    return experiments.RunTable("tiny", columns, ("arm", "fold"), results, runs)


def broken() -> dict[str, float]:
    raise ValueError("no\nsuch image")


def test_a_failed_run_is_kept_and_tried_again(table: experiments.RunTable) -> None:
    table.record({"arm": "a", "fold": 0}, broken)
    assert table.finished() == set()
    table.record({"arm": "a", "fold": 0}, lambda: {"score": 0.5})
    assert table.finished() == {("a", "0")}
    rows = pd.read_csv(table.path)
    assert rows["status"].tolist() == ["failed", "done"]
    assert rows["note"].tolist()[0] == "ValueError: no such image"
    assert rows["score"].tolist()[1] == 0.5
    assert list(rows) == list(table.columns)


def test_items_of_a_repeated_run_take_the_place_of_the_old_ones(
    table: experiments.RunTable, tmp_path: Path
) -> None:
    path = tmp_path / "items.parquet"
    for arm, fold, right in (("a", 0, 1.0), ("a", 1, 2.0), ("b", 0, 3.0), ("a", 0, 4.0)):
        items = pd.DataFrame({"path": ["x", "y"], "right": right}, index=[7, 9])
        table.keep_items(path, {"arm": arm, "fold": fold}, items)
    kept = pd.read_parquet(path)
    assert list(kept) == ["arm", "fold", "path", "right"]
    found = kept.groupby(["arm", "fold"])["right"].agg(list).to_dict()
    assert found == {("a", 0): [4.0, 4.0], ("a", 1): [2.0, 2.0], ("b", 0): [3.0, 3.0]}


def test_runs_go_side_by_side_and_never_more_than_asked(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import os, pathlib, sys, time
        here = pathlib.Path(__file__).parent
        mark = here / f"{sys.argv[2]}.running"
        mark.touch()
        running = len(list(here.glob("*.running")))
        time.sleep(0.3)
        said = f"{' '.join(sys.argv[1:])} {running} {os.environ['OMP_NUM_THREADS']}"
        (here / f"{sys.argv[2]}.txt").write_text(said)
        mark.unlink()
        """)
    )
    waiting = [(name, "0") for name in "abc"]
    experiments.run_side_by_side(str(script), waiting, 2)
    said = {path.stem: path.read_text().split() for path in tmp_path.glob("*.txt")}
    assert {name: words[:3] for name, words in said.items()} == {
        name: ["one", name, "0"] for name in "abc"
    }
    assert max(int(words[3]) for words in said.values()) <= 2


def test_a_block_goes_between_its_marks_and_nothing_else_changes() -> None:
    around = experiments.marks("tiny", "a command")
    first = experiments.between("before\n", around, "old")
    text = f"{first}\nafter\n"
    changed = experiments.between(text, around, "new\nlines")
    assert changed == text.replace("old", "new\nlines")
    assert experiments.between(changed, around, "new\nlines") == changed


# --- AID ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scenes() -> tuple[pd.DataFrame, pd.DataFrame]:
    runs = pd.read_csv(RESULTS / "aid_scenes.csv")
    return runs, pd.read_parquet(RESULTS / "aid_scenes_items.parquet")


def test_the_readme_shows_the_recorded_table(scenes: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    speed = pd.read_csv(RESULTS / "aid_scenes_speed.csv")
    block = aid_scenes_summary.render_table(*scenes, speed)
    assert readme == experiments.between(readme, aid_scenes_summary.MARKS, block)


def test_every_finished_run_has_its_items(scenes: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs, items = scenes
    done = runs[runs["status"] == "done"]
    assert len(done)
    for row in done.itertuples():
        chosen = items[
            (items["arm"] == row.arm)
            & (items["scheme"] == row.scheme)
            & (items["fold"] == row.fold)
        ]
        assert chosen["correct"].mean() == pytest.approx(row.accuracy)
        assert chosen["map@r"].mean() == pytest.approx(row.map_at_r)


def test_nobody_is_predicted_twice(scenes: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    _, items = scenes
    assert not items.duplicated(["arm", "scheme", "path"]).any()


def test_fold_sums_pair_arms_by_image() -> None:
    """The paired table is built per block, whatever the order of the rows."""
    table = pd.DataFrame(
        {
            "arm": "a",
            "scheme": "blocked",
            "fold": [0] * 6,
            "path": list("abcdef"),
            "group": ["g1", "g2"] * 3,
            "correct": [True, False, True, True, True, False],
        }
    )
    mixed = table.sample(frac=1.0, random_state=1)
    (plain,) = aid_scenes_summary.fold_sums(table, "a", "blocked", "correct")
    (other,) = aid_scenes_summary.fold_sums(mixed, "a", "blocked", "correct")
    np.testing.assert_array_equal(plain, [[3.0, 3.0], [1.0, 3.0]])
    np.testing.assert_array_equal(plain, other)


# --- skin lesions: what was published -------------------------------------------------------------


@pytest.fixture(scope="module")
def lesions() -> skin_lesions_summary.Recorded:
    return skin_lesions_summary.read_recorded()


def test_manual_and_summary_show_the_recorded_runs(lesions: skin_lesions_summary.Recorded) -> None:
    manual = skin_lesions_summary.MANUAL.read_text(encoding="utf-8")
    head = skin_lesions_summary.render_head(lesions)
    assert manual == experiments.between(manual, skin_lesions_summary.MARKS, head)
    written = skin_lesions_summary.SUMMARY.read_text(encoding="utf-8")
    assert written == skin_lesions_summary.render(lesions, head)


def test_every_row_of_the_table_follows_from_its_items(
    lesions: skin_lesions_summary.Recorded,
) -> None:
    done = lesions.runs[lesions.runs["status"] == "done"]
    for row in done.drop_duplicates(["study", "arm", "run"], keep="last").itertuples():
        (items,) = skin_lesions_summary.by_run(lesions.items[row.study], row.arm, [row.run])
        for name, value in measures.figures(row.study, items).items():
            assert value == pytest.approx(getattr(row, name), abs=1e-6), (row, name)


def test_runs_that_are_compared_met_the_same_images(
    lesions: skin_lesions_summary.Recorded,
) -> None:
    for items in lesions.items.values():
        for _, part in items.groupby("run"):
            met = [frozenset(zip(p["image"], p["group"])) for _, p in part.groupby("arm")]  # noqa: B905
            assert len(set(met)) == 1


def test_the_floors_beside_the_runs_are_the_recorded_ones() -> None:
    if not floors.FLOORS.exists():
        pytest.skip("floors were not measured yet")
    known = json.loads(floors.FLOORS.read_text(encoding="utf-8"))["floors"]
    written = floors.FLOORS.with_suffix(".md").read_text(encoding="utf-8")
    assert written == floors.render(known)


# --- skin lesions: how it is measured -------------------------------------------------------------


def drawn_items(study: str, *, runs: int, count: int, seed: int = 0) -> pd.DataFrame:
    """Items of two arms, rows shuffled; every lesion has two images, runs share no image."""
    generator = np.random.default_rng(seed)
    classes = measures.CLASSES[study]
    parts = []
    for run in range(runs):
        truth = np.array(classes)[np.arange(count) // 2 % len(classes)]
        for arm in "ac":
            scores_NC = generator.dirichlet(np.ones(len(classes)), count).round(2)
            part = pd.DataFrame(scores_NC, columns=[f"p_{name}" for name in classes])
            part[f"p_{classes[0]}"] += 1 - part.sum(axis=1)
            part["image"] = [f"ISIC_{1000 * run + number:07d}" for number in range(count)]
            part["group"] = [f"L{run}-{number // 2}" for number in range(count)]
            part = part.assign(arm=arm, run=run, truth=truth)
            part["map@r"] = generator.random(count)
            part["recall@1"] = generator.integers(2, size=count).astype(float)
            parts.append(part)
    return pd.concat(parts).sample(frac=1.0, random_state=seed)


def test_figures_are_those_of_scikit_learn() -> None:
    items = drawn_items("ham", runs=1, count=70)
    items = items[items["arm"] == "a"]
    classes = list(measures.CLASSES["ham"])
    scores_NC = items[[f"p_{name}" for name in classes]].to_numpy()
    said = np.array(classes)[scores_NC.argmax(axis=1)]
    malignant = ["akiec", "bcc", "mel"]
    by_class = [roc_auc_score(items["truth"] == name, items[f"p_{name}"]) for name in classes]
    found = measures.figures("ham", items)
    assert found["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(items["truth"], said), abs=1e-6
    )
    assert found["melanoma_auc"] == pytest.approx(by_class[classes.index("mel")], abs=1e-6)
    summed = items[[f"p_{name}" for name in malignant]].to_numpy().sum(axis=1)
    oracle = roc_auc_score(items["truth"].isin(malignant), summed)
    assert found["malignant_auc"] == pytest.approx(oracle, abs=1e-6)
    assert found["macro_auc"] == pytest.approx(np.mean(by_class), abs=1e-6)


@pytest.mark.parametrize("decimals", [1, 6], ids=["ties", "no ties"])
def test_areas_of_drawn_lesions_are_those_of_repeated_images(decimals: int) -> None:
    generator = np.random.default_rng(decimals)
    truth_N, scores_N = generator.random(40) < 0.3, generator.random(40).round(decimals)
    groups_N = (np.arange(40) // 3).astype(str)
    places = measures.places_of(truth_N)
    sums = measures.ranked_sums(truth_N, scores_N, groups_N, places)
    names = np.unique(groups_N)
    weights_RG = generator.integers(3, size=(20, len(names))).astype(float)
    found_R = measures.auc_of_ranks(np.asarray((sums.T @ weights_RG.T).T))
    for weights_G, found in zip(weights_RG, found_R, strict=True):
        copies_N = weights_G[np.searchsorted(names, groups_N)].astype(int)
        oracle = roc_auc_score(np.repeat(truth_N, copies_N), np.repeat(scores_N, copies_N))
        assert found == pytest.approx(oracle)


def test_an_area_without_a_class_is_undefined() -> None:
    sums_RF = np.array([[0.0, 0.0, 1.0, 2.0], [1.0, 0.0, 0.0, 0.0]])
    assert np.isnan(measures.auc_of_ranks(sums_RF)).all()


def test_a_fold_has_no_say_in_its_own_threshold() -> None:
    items = drawn_items("isic", runs=3, count=24)
    items = items[items["arm"] == "a"].reset_index(drop=True)
    positive = measures.TASKS["isic"]["melanoma"]
    point = measures.out_of_fold_point(items, positive, "sensitivity", 0.8)
    called = []
    for row in items.itertuples():
        others = items[items["run"] != row.run]
        wanted = np.sort(others.loc[others["truth"] == "melanoma", "p_melanoma"])[::-1]
        least = wanted[int(np.ceil(0.8 * len(wanted))) - 1]  # calls four fifths of theirs
        lower = others["p_melanoma"][others["p_melanoma"] < least].max()
        called.append(row.p_melanoma >= (least + lower) / 2)
    truth = items["truth"] == "melanoma"
    assert point.counts is not None
    assert point.counts.tp == (truth & np.array(called)).sum()
    assert point.counts.fp == (~truth & np.array(called)).sum()
    assert point.sensitivity.total + point.specificity.total == len(items)


def test_a_difference_is_paired_by_image_and_run() -> None:
    items = drawn_items("isic", runs=3, count=24)
    known = measures.measures("isic")["balanced_accuracy"]
    found = skin_lesions_summary.difference(items, "ca", known, shared_groups=False)
    assert found is not None
    runs, between = found

    def accuracy(arm: str, run: int) -> float:
        part = items[(items["arm"] == arm) & (items["run"] == run)]
        scores = part[[f"p_{name}" for name in measures.CLASSES["isic"]]]
        said = scores.idxmax(axis=1).str.removeprefix("p_")
        return float(balanced_accuracy_score(part["truth"], said))

    assert runs == 3
    oracle = np.mean([accuracy("c", run) - accuracy("a", run) for run in range(3)])
    assert between.value == pytest.approx(oracle)
    assert between.low < between.value < between.high
    same = items[items["arm"] == "a"].assign(arm="c")
    twice = pd.concat([items[items["arm"] == "a"], same.sample(frac=1.0, random_state=3)])
    nothing = skin_lesions_summary.difference(twice, "ca", known, shared_groups=False)
    assert nothing is not None
    assert (nothing[1].low, nothing[1].value, nothing[1].high) == (0.0, 0.0, 0.0)


def test_the_tables_hold_what_was_run_and_say_what_was_not() -> None:
    ham = drawn_items("ham", runs=1, count=42)
    isic = drawn_items("isic", runs=2, count=24)
    isic = isic[(isic["arm"] == "a") | (isic["run"] == 1)]
    runs = pd.DataFrame({"status": ["done", "done", "failed"]})
    known = {"ham": {"border": {"balanced_accuracy": {"value": 0.25, "low": 0.2, "high": 0.3}}}}
    check = isic[isic["run"] == 1]
    recorded = skin_lesions_summary.Recorded(runs, {"ham": ham, "isic": isic}, check, known)
    text = skin_lesions_summary.render(recorded, skin_lesions_summary.render_head(recorded))
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line[:2] == "| "}
    assert "1 of 3" in rows["(d) + triplets"] or "not run yet" in rows["(d) + triplets"]
    assert rows["border pixels only, logistic regression"]
    assert "0.250 [0.200, 0.300]" in text
    assert "| ham: (c) - (a), balanced accuracy | 1 |" in text
    assert "| isic: (c) - (a), melanoma AUC | 1 |" in text
    assert "| melanoma | (a) | sensitivity 80% |" in text
    assert "| melanoma | (c) | not run yet |" in text  # one fold has no others to ask
    assert "2 done, 1 failed" in text
    nothing = pd.DataFrame(columns=["arm", "run"])
    empty = skin_lesions_summary.Recorded(runs[:0], {"ham": nothing, "isic": nothing}, nothing, {})
    text = skin_lesions_summary.render(empty, skin_lesions_summary.render_head(empty))
    assert text.count("not run yet") == 6 + 8 + 2 + 4 + 2
    assert "none yet" in text


# --- skin lesions: who is trained on and who is tested --------------------------------------------


def lesion_table(count: int = 600) -> pd.DataFrame:
    """Lesions of one to three images in two classes."""
    lesions = [f"HAM_{number // 2 - number % 3}" for number in range(count)]
    labels = ["mel" if int(name.split("_")[1]) % 4 == 0 else "nv" for name in lesions]
    paths = [f"{number}.jpg" for number in range(count)]
    return pd.DataFrame({"path": paths, "label": labels, "split": "", "group": lesions})


def test_seeds_share_their_test_lesions_and_no_lesion_straddles() -> None:
    table = lesion_table()
    splits = [skin_lesions.HAM.split(table, run) for run in range(3)]
    for split in splits:
        assert split["split"].equals(splits[0]["split"])
        assert (split.groupby("group")["split"].nunique() == 1).all()
    shares = splits[0]["split"].value_counts(normalize=True)
    assert shares["test"] == pytest.approx(0.2, abs=0.02)
    assert shares["val"] == pytest.approx(0.05, abs=0.02)


def test_folds_test_each_training_image_once_and_leave_the_rest_untouched(tmp_path: Path) -> None:
    manifest = recognise(write_isic_2017(tmp_path, per_split=60))
    table = manifest.table
    twin = table.index[table["split"] == "val"][0]
    first = table.index[table["split"] == "train"][0]
    table.loc[twin, "group"] = table.loc[first, "group"]
    splits = [skin_lesions.ISIC.split(table, run)["split"] for run in range(skin_lesions.FOLDS)]
    tested = pd.concat([split[split == "test"] for split in splits])
    official = table["split"] == "train"
    assert sorted(tested.index) == sorted(table.index[official])
    for split in splits:
        assert set(split[official]) == {"train", "val", "test"}
        assert set(split[~official]) == {""}
    left = skin_lesions.untouched(table)
    assert set(left["split"]) == {"val"}
    assert twin not in left.index
    assert len(left) == 59


# --- floors ---------------------------------------------------------------------------------------


def test_the_border_sees_the_border_only() -> None:
    inside = np.zeros((96, 96, 3), np.uint8)
    inside[24:72, 24:72] = 255
    ring = np.full((96, 96, 3), 255, np.uint8)
    ring[12:84, 12:84] = 0
    assert floors.border(inside).max() == 0
    assert floors.border(ring).mean() > 0.9
    assert len(floors.border(ring)) == 3 * (32**2 - 26**2)


def test_features_tell_colours_and_textures_apart() -> None:
    generator = np.random.default_rng(0)
    rough = generator.integers(0, 255, (60, 80, 3)).astype(np.uint8)
    plain = np.full((60, 80, 3), (200, 40, 40), np.uint8)
    vectors = [floors.hand_made(image) for image in (rough, plain)]
    assert len(vectors[0]) == len(vectors[1])
    assert all(np.isfinite(vector).all() for vector in vectors)
    assert np.abs(vectors[0] - vectors[1]).sum() > 1
    assert floors.thumbnail(plain).reshape(-1, 3) == pytest.approx(
        np.tile([200 / 255, 40 / 255, 40 / 255], (256, 1)), abs=0.01
    )


def test_a_regression_is_asked_about_test_rows_only_and_trained_on_the_others() -> None:
    generator = np.random.default_rng(0)
    table = pd.DataFrame({"label": ["mel", "nv"] * 40, "group": [f"L{i // 2}" for i in range(80)]})
    features_ND = generator.normal(size=(80, 3))
    features_ND[:, 0] += 6.0 * (table["label"] == "mel")
    splits = []
    for run in range(2):
        names = np.full(80, "train", dtype=object)
        names[20 * run : 20 * run + 20] = "test"
        names[60:] = "val"
        splits.append(table.assign(split=names))
    wrong = table["label"].where(splits[0]["split"] != "test", "nv")  # of asked rows, never read
    items = floors.asked_items(features_ND, [splits[0].assign(label=wrong), splits[1]])
    assert items["run"].tolist() == [0] * 20 + [1] * 20
    said = np.where(items["p_mel"] > 0.5, "mel", "nv")
    assert (said == table["label"][:40]).mean() > 0.9
    accuracy = floors._right(items.assign(truth=said))
    assert interval(accuracy, measures.mean_of_sums, Bootstrap(replicates=10)).value == 1.0
