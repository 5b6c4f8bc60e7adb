"""The experiment on displayed expressions: arms, splits, figures, and what its tables say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import entropy
from sklearn.metrics import balanced_accuracy_score, f1_score

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import expressions  # noqa: E402
import expressions_answers as answers  # noqa: E402
import expressions_arms as arms  # noqa: E402
import expressions_measures as measures  # noqa: E402
import expressions_subclasses as subclasses  # noqa: E402
import expressions_summary as summary  # noqa: E402
from likeness.bundle import load_bundle  # noqa: E402
from likeness.config import parse  # noqa: E402
from likeness.training.spec import RunSpec  # noqa: E402
from likeness_apps.facial_expression.sample import write_sample  # noqa: E402
from likeness_apps.facial_expression.votes import COLUMNS  # noqa: E402

# --- what was published ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded() -> summary.Recorded:
    if not summary.SUMMARY.exists():
        pytest.skip("no summary was made yet")
    return summary.read_recorded()


def test_manual_and_summary_show_the_recorded_runs(recorded: summary.Recorded) -> None:
    manual = summary.MANUAL.read_text(encoding="utf-8")
    head = summary.render_head(recorded)
    assert manual == summary.BLOCK.within(manual, head)
    assert summary.SUMMARY.read_text(encoding="utf-8") == summary.render(recorded, head)


def test_every_row_of_the_table_follows_from_its_items(recorded: summary.Recorded) -> None:
    for row in recorded.done.itertuples():
        (items,) = recorded.answers.of(row.arm, [row.seed])
        for name, value in measures.figures(items).items():
            assert value == pytest.approx(getattr(row, name), abs=1e-6), (row, name)


def test_all_runs_met_the_same_pictures(recorded: summary.Recorded) -> None:
    runs = recorded.items.groupby(["arm", "seed"])
    met = [frozenset(zip(part["picture"], part["group"], strict=True)) for _, part in runs]
    assert len(set(met)) <= 1


# --- what arms differ in --------------------------------------------------------------------------


def spec_of(arm: str, seed: int = 1) -> RunSpec:
    return parse(RunSpec, arms.configuration(arm, seed, Path("runs/c-1")))


def differences(first: str, second: str) -> set[str]:
    """The parts of two arms' configurations that differ."""
    one, other = (spec_of(arm).model_dump(mode="json") for arm in (first, second))
    return {name for name in one if one[name] != other[name]}


@pytest.mark.parametrize(
    ("first", "second", "parts"),
    [
        ("b", "a", {"objective"}),
        ("c", "a", {"objective"}),
        ("s", "a", {"objective"}),
        ("k", "a", {"data"}),
        ("d", "d0", {"objective", "subclasses"}),
        ("d0", "c", {"epochs", "optimiser", "schedule", "start"}),
        ("e", "b", {"objective", "model"}),
        ("preact", "c", {"model", "data"}),
    ],
)
def test_arms_differ_in_what_the_protocol_says(first: str, second: str, parts: set[str]) -> None:
    assert differences(first, second) == parts


GAUSSIAN = {"b", "c", "d", "d0", "b1", "c1", "preact"}


def test_objectives_are_those_of_the_protocol() -> None:
    objectives = {arm: spec_of(arm).objective for arm in arms.ARMS}
    classified = {arm for arm, one in objectives.items() if one.classification is not None}
    assert classified == {"a", "c", "d", "d0", "s", "k", "c1", "preact"}
    losses = {arm: [term.loss.name for term in one.terms] for arm, one in objectives.items()}
    gaussian = ["gaussian_structured"]
    assert {arm for arm, names in losses.items() if names == gaussian} == GAUSSIAN
    left_out = {arm for arm in GAUSSIAN if objectives[arm].terms[0].loss.leave_one_out}  # type: ignore[union-attr]
    assert left_out == set(arms.EXPLORED)
    assert losses["e"] == ["semi_hard_triplet"]
    assert losses["a"] == losses["s"] == losses["k"] == []
    targets = {arm: objectives[arm].classification.targets for arm in classified}  # type: ignore[union-attr]
    assert {arm for arm, kind in targets.items() if kind != "label"} == {"s"}
    assert [term.labels for term in objectives["d"].terms] == ["subclass"]
    spaces = {arm: spec_of(arm).model.space for arm in arms.ARMS}
    assert {arm for arm, space in spaces.items() if space == "cosine"} == {"e"}
    assert {spec_of(arm).monitor for arm in arms.ARMS} == {None}  # nothing chooses an epoch


def test_every_arm_is_a_job_and_what_goes_on_from_c_comes_after_it() -> None:
    rows = [row for job in expressions.JOBS for row in expressions.rows_of(job)]
    assert len(rows) == len(set(rows)) == 10 * 3 + 1
    assert {arm for arm, _ in rows} == set(arms.ARMS)
    assert [arm for arm, seed in rows if seed == "1"][:3] == ["c", "d", "d0"]


def test_runs_that_are_left_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = replace(expressions.TABLE, results=tmp_path / "results", runs=tmp_path / "runs")
    monkeypatch.setattr(expressions, "TABLE", table)
    experiment = replace(expressions.EXPERIMENT, table=table)
    table.record({"arm": "c", "seed": 0}, dict)
    table.record({"arm": "a", "seed": 0}, dict)
    assert experiment.left()[:2] == [("c", "0"), ("b", "0")]
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(
        expressions, "train_and_test", lambda arm, seed: asked.append((arm, seed)) or {}
    )
    expressions.run_job("c", "0")
    assert asked == [("d", 0), ("d0", 0)]
    assert ("c", "0") not in experiment.left()


# --- who is trained on and who is tested ----------------------------------------------------------


def table_of(count: int = 400) -> pd.DataFrame:
    """Rows of `faces`: every fifth is tested, every tenth training picture is there twice.

    Rows 0 and 5 are tested, and 1 and 6 are their copies; 6 has another label than 5. Every ninth
    row has no official label.
    """
    labels = np.array(["anger", "fear"])[np.arange(count) // 20 % 2]
    table = pd.DataFrame(
        {
            "path": [f"{number:04d}.png" for number in range(count)],
            "label": "of another rule",
            "label_official": np.where(np.arange(count) % 9 == 8, "", labels),
            "split": np.where(np.arange(count) % 5 == 0, "val", "train"),
            "group": [f"g{number}" for number in range(count)],
        }
    )
    table.loc[[1, 6], "group"] = ["g0", "g5"]
    table.loc[6, "label_official"] = "fear"
    twice = table.index[(table["split"] == "train") & (table.index % 10 == 2)]
    table.loc[twice + 1, "group"] = table.loc[twice, "group"].to_numpy()
    return table


def test_a_label_is_the_official_one_and_pictures_without_are_not_used() -> None:
    split = expressions.with_splits(table_of(), copies=False)
    assert set(split["label"][split["split"] != ""]) == {"anger", "fear"}
    bare = split["label_official"] == ""
    assert (split["split"][bare] == "").all()
    tested = table_of()["split"] == "val"
    assert ((split["split"] == "test") == (tested & ~bare)).all()


def test_copies_of_test_pictures_are_left_out_of_training_but_in_one_arm() -> None:
    table = table_of()
    without = expressions.with_splits(table, copies=False)
    kept = expressions.with_splits(table, copies=True)
    assert without.loc[[1, 6], "split"].tolist() == ["", ""]
    assert kept.loc[[1, 6], "split"].tolist() == ["train", "train"]
    assert without.drop(index=[1, 6]).equals(kept.drop(index=[1, 6]))
    assert without.index[without["copied"]].tolist() == [0, 5]
    used = without[without["split"] != ""]
    assert (used.groupby("group")["split"].nunique() == 1).all()


def test_a_tenth_of_the_groups_is_validation() -> None:
    split = expressions.with_splits(table_of(), copies=False)
    counts = split["split"].value_counts()
    assert counts["val"] / (counts["val"] + counts["train"]) == pytest.approx(0.1, abs=0.02)


# --- figures --------------------------------------------------------------------------------------


def drawn_items(arm: str = "a", seed: int = 0, count: int = 80) -> pd.DataFrame:
    """Items of one run; pictures, votes and truth are the same in all runs."""
    pictures, said = np.random.default_rng(7), np.random.default_rng((seed, ord(arm[0])))
    votes_NA = pictures.multinomial(10, pictures.dirichlet(np.full(10, 0.3), count))
    votes_NA[:, 0] += votes_NA[:, :8].sum(axis=1) == 0  # somebody says an expression
    scores_NC = said.dirichlet(np.ones(8), count)
    items = pd.DataFrame(
        {
            "picture": [f"fer{number:07d}" for number in range(count)],
            "group": [f"g{number // 2}" for number in range(count)],
            "copied": np.arange(count) % 8 == 0,
            "truth": pictures.permutation(np.resize(measures.CLASSES, count)),
        }
    )
    items[list(COLUMNS)] = votes_NA
    items[[f"p_{name}" for name in measures.CLASSES]] = scores_NC.astype(np.float32)
    for name in measures.OTHER_READOUTS:
        items[f"said_{name}"] = said.choice(measures.CLASSES, count)
    for name in ("kl", "map@r", "recall@1", "map@r_cosine"):
        items[name] = said.random(count)
    return items.assign(arm=arm, seed=seed)


def test_figures_are_those_of_scikit_learn_and_scipy() -> None:
    items = drawn_items()
    said_NC = items[[f"p_{name}" for name in measures.CLASSES]].to_numpy(np.float64)
    said = np.array(measures.CLASSES)[said_NC.argmax(axis=1)]
    found = measures.figures(items)
    assert set(found) == set(measures.FIGURES)
    assert found["accuracy"] == pytest.approx((said == items["truth"]).mean(), abs=1e-6)
    balanced = balanced_accuracy_score(items["truth"], said)
    assert found["balanced_accuracy"] == pytest.approx(balanced, abs=1e-6)
    macro = f1_score(items["truth"], said, average="macro")
    assert found["macro_f1"] == pytest.approx(macro, abs=1e-6)
    votes_NC = items[[f"votes_{name}" for name in measures.CLASSES]].to_numpy(float)
    apart = [entropy(votes_C, said_C) for votes_C, said_C in zip(votes_NC, said_NC, strict=True)]
    assert found["kl_as_said"] == pytest.approx(np.mean(apart), abs=1e-5)
    assert found["map_at_r"] == pytest.approx(items["map@r"].mean(), abs=1e-6)
    known = measures.recognition("knn")["accuracy"]
    value = known.statistic(np.asarray(known.sums(items).sum(axis=0), float).reshape(1, -1))
    assert value == pytest.approx((items["said_knn"] == items["truth"]).mean())


def test_a_probability_of_nothing_is_far_from_a_vote_and_finite() -> None:
    votes_NC, said_NC = np.array([[10, 0], [5, 5]]), np.array([[0.0, 1.0], [0.5, 0.5]])
    found = measures.kl_to_votes(votes_NC, said_NC)
    assert found == pytest.approx([87.3, 0.0], abs=0.1)


def by_hand(items: pd.DataFrame) -> pd.DataFrame:
    """One row for each annotator of each picture whom the others have a label for."""
    rows = []
    for item in items.to_dict("records"):
        left = [name for name in COLUMNS for _ in range(item[name])]
        for place, own in enumerate(left):
            counts = pd.Series(left[:place] + left[place + 1 :]).value_counts()
            first = counts.index[0].removeprefix("votes_")
            alone = (counts == counts.iloc[0]).sum() == 1
            if alone and first in measures.CLASSES:
                said = max(measures.CLASSES, key=lambda name: item[f"p_{name}"])
                hit = (own == f"votes_{first}", said == first)
                rows.append((first, 1 / len(left), *hit))
    return pd.DataFrame(rows, columns=["label", "weight", "human", "model"])


@pytest.mark.parametrize("who", ["human", "model"])
def test_humans_and_models_are_judged_by_the_other_annotators(who: str) -> None:
    items = drawn_items(count=40)
    cases = by_hand(items)
    right = cases["weight"] * cases[who]
    accuracy = right.sum() / cases["weight"].sum()
    recalls = right.groupby(cases["label"]).sum() / cases.groupby("label")["weight"].sum()
    found = [
        measure.statistic(measure.sums(items).sum(axis=0).reshape(1, -1))[0]
        for measure in measures.by_others(who)
    ]
    assert found == pytest.approx([accuracy, recalls.mean()])


def test_the_temperature_of_votes_is_the_likeliest() -> None:
    generator = np.random.default_rng(0)
    scores_NC = generator.normal(size=(60, 4)) * 3
    truth_NC = np.exp(scores_NC / 2) / np.exp(scores_NC / 2).sum(axis=1, keepdims=True)
    votes_NC = np.array([generator.multinomial(10, row) for row in truth_NC])
    found = answers.fitted_to_votes(scores_NC, votes_NC)

    def likelihood(temperature: float) -> float:
        logs_NC = scores_NC / temperature
        logs_NC = logs_NC - np.log(np.exp(logs_NC).sum(axis=1, keepdims=True))
        return float((votes_NC * logs_NC).sum())

    assert found == pytest.approx(2.0, rel=0.15)
    assert likelihood(found) >= max(likelihood(found * 1.01), likelihood(found / 1.01))


# --- one whole run on generated faces -------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Generated faces as FER+, of which one test picture is a copy of a training picture."""
    folder = tmp_path_factory.mktemp("expressions")
    data = write_sample(folder / "drawn", per_class=12).rename(folder / "ferplus") / "data"
    table = pd.read_csv(data / "FER2013Train" / "label.csv", header=None)
    clear = table.index[table.iloc[:, 2:10].max(axis=1) >= 8][0]
    tested = pd.read_csv(data / "FER2013Valid" / "label.csv", header=None)
    tested.iloc[0, 2:] = table.iloc[clear, 2:]
    tested.to_csv(data / "FER2013Valid" / "label.csv", header=False, index=False)
    picture = data / "FER2013Train" / table.iloc[clear, 0]
    (data / "FER2013Valid" / tested.iloc[0, 0]).write_bytes(picture.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIKENESS_DATA", str(folder))
        table = replace(expressions.TABLE, results=folder / "results", runs=folder / "runs")
        patch.setattr(expressions, "TABLE", table)
        small = {
            "epochs": 1,
            "precision": "32-true",
            "model": {**arms.MODEL, "image_size": 16, "embedding_dim": 8},
            "sampler": {"name": "class_balanced", "classes_per_batch": 4, "per_class": 4},
        }
        patch.setattr(arms, "FIXED", {**arms.FIXED, **small})
        yield folder


def test_a_run_is_recorded_with_what_it_said(tiny: Path) -> None:
    expressions.TABLE.record({"arm": "b", "seed": 0}, partial(expressions.train_and_test, "b", 0))
    (row,) = expressions.TABLE.read().itertuples()
    assert row.status == "done", row.note
    items = pd.read_parquet(expressions.TABLE.items())
    for name, value in measures.figures(items).items():
        assert value == pytest.approx(getattr(row, name), abs=1e-6)
    assert items["copied"].sum() == 1
    assert items["truth"].isin(measures.CLASSES).all()
    assert items["picture"].str.fullmatch(r"fer\d{7}").all()
    assert (items[list(COLUMNS)].sum(axis=1) == 10).all()
    assert not [name for name in items if "embedding" in name]
    said = items[[f"p_{name}" for name in measures.CLASSES]].idxmax(axis=1).str.removeprefix("p_")
    assert (items["said_nearest_centre"] == said).all()  # what a model without a class layer says
    assert (items["said_gaussian"] == said).all()
    assert set(items["said_nearest_subclass"]) == {""}
    assert set(items["said_knn"]) <= set(measures.CLASSES)
    assert load_bundle(expressions.folder_of("b", 0)).classes == list(measures.CLASSES)
    assert not (expressions.folder_of("b", 0) / "checkpoints").exists()


# --- tables ---------------------------------------------------------------------------------------


def told(**changes: object) -> dict[str, object]:
    seed = {
        "pictures": {"anger/1": 30, "anger/2": 20, **{f"{n}/1": 9 for n in measures.CLASSES[1:]}},
        "as_kept": True,
        "verdicts": dict.fromkeys(measures.CLASSES, "not divided") | {"anger": "stable"},
        "tightness": [0.9, None],
        "p_values": [0.005, 0.5],
    }
    return {**seed, **changes}


def test_sub_classes_are_stable_only_if_every_seed_says_so() -> None:
    pair = {"seeds": [0, 1], "ari": 0.7, "by_class": {"anger": 0.7}}
    found = {"seeds": [told(), told()], "pairs": [pair]}
    text = subclasses.render_subclasses(found)
    assert "| anger | 30, 20 | 30, 20 | stable |" in text
    assert "| fear | 9 | 9 | not divided |" in text
    assert "seeds 0 and 1: adjusted Rand index 0.700" in text
    assert "undefined" in text
    other = told(verdicts={**told()["verdicts"], "anger": "not divided"})  # type: ignore[dict-item]
    text = subclasses.render_subclasses({"seeds": [told(), other], "pairs": [pair]})
    assert "| anger | 30, 20 | 30, 20 | not stable |" in text
    assert "not run yet" in subclasses.render_subclasses({})


def runs_of(items: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {"arm": arm, "seed": seed, "status": "done", "nmi": 0.5, "images_per_s": 100.0}
        | {"epoch_seconds": 60.0, **measures.figures(part)}
        for (arm, seed), part in items.groupby(["arm", "seed"])
    ]
    return pd.DataFrame(rows)


def test_the_tables_hold_what_was_run_and_say_what_was_not() -> None:
    parts = [drawn_items(arm, seed) for arm in ("a", "c", "k") for seed in range(2)]
    items = measures.completed(pd.concat([*parts, drawn_items("s")], ignore_index=True))
    items.loc[items["arm"] == "a", "said_gaussian"] = ""
    floors = {"nothing": {"accuracy": {"value": 0.37, "low": 0.35, "high": 0.39}}}
    recorded = summary.Recorded(runs_of(items), items, floors, {})
    text = summary.render(recorded, summary.render_head(recorded))
    assert "| (a) cross-entropy | 2 of 3 |" in text
    assert "| (s) cross-entropy with the votes | 1 of 3 |" in text
    assert "| (e) triplets | not run yet |" in text
    assert "| majority class |  | 0.370 [0.350, 0.390] |" in text
    assert "| gradients and texture of cells, logistic regression | not run yet |" in text
    assert "| (c) - (a), MAP@R | 2 |" in text
    assert "| (s) - (a), KL to the votes | 1 |" in text
    assert "| (b) - (a)" not in text
    assert "| (a) cross-entropy | Gaussian posterior |" not in text
    assert "| (c) both | Gaussian posterior |" in text
    assert "| one annotator |" in text
    assert "| that have a copy in training | 10 |" in text
    assert "7 done" in text
    assert "nan" not in text


def test_a_difference_is_paired_by_seed_and_picture() -> None:
    items = pd.concat([drawn_items(arm, seed) for arm in "ac" for seed in range(3)])
    recorded = summary.Recorded(pd.DataFrame(), items.sample(frac=1.0, random_state=0), {}, {})
    found = recorded.answers.difference("c", "a", summary.HEAD["accuracy"])
    assert found is not None
    said = items[[f"p_{name}" for name in measures.CLASSES]].idxmax(axis=1).str.removeprefix("p_")
    means = (said == items["truth"]).groupby([items["arm"], items["seed"]]).mean()
    assert found[0] == 3
    assert found[1].value == pytest.approx((means["c"] - means["a"]).mean())


def test_an_empty_table_says_not_run_yet() -> None:
    runs = pd.DataFrame(columns=expressions.TABLE.columns)
    recorded = summary.Recorded(runs, pd.DataFrame(columns=["arm", "seed"]), {}, {})
    text = summary.render(recorded, summary.render_head(recorded))
    assert text.count("not run yet") == 11 + 3 + 2 * 11 + 1 + 1 + 11 + 1 + 2 * 3 + 1 + 11
    assert "none yet" in text


def test_floors_of_faces_see_structure_and_know_the_most_frequent_class() -> None:
    import floors

    generator = np.random.default_rng(0)
    rough = generator.integers(0, 255, (48, 48, 3)).astype(np.uint8)
    image = Image.fromarray(rough).resize((96, 96))
    vectors = [floors.cells(np.asarray(one)) for one in (rough, image, rough[:, ::-1])]
    assert [len(vector) for vector in vectors] == [25 * 36 + 16 * 10] * 3
    assert np.isfinite(vectors[0]).all()
    assert np.abs(vectors[0] - vectors[2]).sum() > 1  # where it is counts
    split = pd.DataFrame({"label": ["fear"] * 7 + ["anger"] * 3, "group": list("abcdefghij")})
    split["split"] = ["train"] * 5 + ["test"] * 4 + ["val"]
    items = floors.asked_items(np.empty((10, 0)), [split])
    assert items["p_fear"].tolist() == pytest.approx([5 / 6] * 4)
