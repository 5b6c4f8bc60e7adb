"""The experiment on skin lesions: what its tables say, how it is measured, who is tested."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import skin_lesions  # noqa: E402
import skin_lesions_measures as measures  # noqa: E402
import skin_lesions_summary as summary  # noqa: E402
from fixtures.lesions import write_isic_2017  # noqa: E402
from likeness_apps.skin_lesion.layouts import recognise  # noqa: E402
from summaries import Answers  # noqa: E402

# --- what was published ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lesions() -> summary.Recorded:
    return summary.read_recorded()


def test_manual_and_summary_show_the_recorded_runs(lesions: summary.Recorded) -> None:
    manual = summary.MANUAL.read_text(encoding="utf-8")
    head = summary.render_head(lesions)
    assert manual == summary.BLOCK.within(manual, head)
    written = summary.SUMMARY.read_text(encoding="utf-8")
    assert written == summary.render(lesions, head)


def test_every_row_of_the_table_follows_from_its_items(
    lesions: summary.Recorded,
) -> None:
    done = lesions.runs[lesions.runs["status"] == "done"]
    for row in done.drop_duplicates(["study", "arm", "run"], keep="last").itertuples():
        answers = lesions.answers(skin_lesions.STUDIES[row.study])
        (items,) = answers.of(row.arm, [row.run])
        for name, value in measures.figures(row.study, items).items():
            assert value == pytest.approx(getattr(row, name), abs=1e-6), (row, name)


def test_runs_that_are_compared_met_the_same_images(
    lesions: summary.Recorded,
) -> None:
    for items in lesions.items.values():
        for _, part in items.groupby("run"):
            met = [frozenset(zip(p["image"], p["group"])) for _, p in part.groupby("arm")]  # noqa: B905
            assert len(set(met)) == 1


# --- how it is measured ---------------------------------------------------------------------------


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


def folds(items: pd.DataFrame) -> Answers:
    return Answers(items, run="run", item="image", shared_groups=False)


def test_a_difference_is_paired_by_image_and_run() -> None:
    items = drawn_items("isic", runs=3, count=24)
    known = measures.measures("isic")["balanced_accuracy"]
    found = folds(items).difference("c", "a", known)
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
    nothing = folds(twice).difference("c", "a", known)
    assert nothing is not None
    assert (nothing[1].low, nothing[1].value, nothing[1].high) == (0.0, 0.0, 0.0)


def test_the_tables_hold_what_was_run_and_say_what_was_not() -> None:
    ham = drawn_items("ham", runs=1, count=42)
    isic = drawn_items("isic", runs=2, count=24)
    isic = isic[(isic["arm"] == "a") | (isic["run"] == 1)]
    runs = pd.DataFrame({"status": ["done", "done", "failed"]})
    known = {"ham": {"border": {"balanced_accuracy": {"value": 0.25, "low": 0.2, "high": 0.3}}}}
    check = isic[isic["run"] == 1]
    recorded = summary.Recorded(runs, {"ham": ham, "isic": isic}, check, known)
    text = summary.render(recorded, summary.render_head(recorded))
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
    empty = summary.Recorded(runs[:0], {"ham": nothing, "isic": nothing}, nothing, {})
    text = summary.render(empty, summary.render_head(empty))
    assert text.count("not run yet") == 6 + 8 + 2 + 4 + 2
    assert "none yet" in text


# --- who is trained on and who is tested ----------------------------------------------------------


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
