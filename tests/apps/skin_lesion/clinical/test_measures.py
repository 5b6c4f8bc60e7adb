"""Clinical figures against scikit-learn and loops, and what happens where they cannot be had."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from likeness.errors import UserError
from likeness.evaluation.resampling import Bootstrap
from likeness.files import finite, write_json
from likeness_apps.shell.measure import Answers
from likeness_apps.skin_lesion.cases import similar
from likeness_apps.skin_lesion.clinical.measures import (
    NO_PROBABILITIES,
    NOTHING,
    SEVERAL,
    Clinical,
    clinical_columns,
    clinical_figures,
)
from likeness_apps.skin_lesion.clinical.official import NO_CHALLENGE, official_columns
from likeness_apps.skin_lesion.clinical.tasks import binary_tasks, named, task_items
from likeness_apps.skin_lesion.clinical.thresholds import (
    NOT_RECORDED,
    OTHER_CLASSES,
    operating,
    points_of,
    recorded_thresholds,
)
from likeness_apps.skin_lesion.isic.scoring import score_files
from likeness_apps.skin_lesion.isic.tables import IGNORED, write_submission

HAM = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
SHARES = [0.05, 0.1, 0.1, 0.05, 0.2, 0.45, 0.05]
ISIC_2017 = ["melanoma", "nevus", "seborrheic_keratosis"]
QUICK = Bootstrap(replicates=40)


def lesions(count=240, seed=0, classes=HAM, shares=None, skill=1.5, tilt=0.0):
    """Answers and rows; `tilt` moves all probability towards the first class."""
    rng = np.random.default_rng(seed)
    chances = np.full(len(classes), 1 / len(classes)) if shares is None else np.array(shares)
    truth = rng.choice(len(classes), size=count, p=chances)
    logits = rng.normal(size=(count, len(classes)))
    logits[np.arange(count), truth] += skill
    logits[:, 0] += tilt
    odds = np.exp(logits)
    answers = Answers(
        truth_N=truth,
        classes=list(classes),
        groups_N=np.array([f"lesion {number}" for number in rng.integers(count // 2, size=count)]),
        readouts={"softmax": odds.argmax(axis=1)},
        probabilities_NC=odds / odds.sum(axis=1, keepdims=True),
    )
    rows = pd.DataFrame(
        {
            "path": [f"images/ISIC_{number:07d}.jpg" for number in range(count)],
            "sex": rng.choice(["male", "female", "unknown"], size=count, p=[0.5, 0.4, 0.1]),
            "age": rng.choice(["25", "30", "45", "69", "70", "85", "unknown"], size=count),
            "localization": rng.choice(["back", "face"], size=count, p=[0.95, 0.05]),
        }
    )
    return answers, rows


@pytest.fixture(scope="module")
def ham():
    return lesions(shares=SHARES)


@pytest.fixture(scope="module")
def record():
    """Of validation images on another scale than those of `ham`."""
    return Clinical().recorded(*lesions(seed=1, shares=SHARES, tilt=2.0))


@pytest.fixture(scope="module")
def figures(ham, record):
    return clinical_figures(*ham, json.loads(json.dumps(record)), QUICK)


# --- tasks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "tasks"),
    [
        (["benign", "malignant"], {"malignant": ({"malignant"}, {"benign"})}),
        (
            ISIC_2017,
            {
                "melanoma": ({"melanoma"}, {"nevus", "seborrheic_keratosis"}),
                "seborrheic_keratosis": ({"seborrheic_keratosis"}, {"melanoma", "nevus"}),
            },
        ),
        (
            HAM,
            {
                "malignant": ({"akiec", "bcc", "mel"}, {"bkl", "df", "nv", "vasc"}),
                "melanoma": ({"mel"}, set(HAM) - {"mel"}),
            },
        ),
        (
            ["mel", "nv", "scc", "unk"],
            {"malignant": ({"mel", "scc"}, {"nv"}), "melanoma": ({"mel"}, {"nv", "scc", "unk"})},
        ),
        (  # the same task is named once
            ["common_nevus", "atypical_nevus", "melanoma"],
            {"melanoma": ({"melanoma"}, {"common_nevus", "atypical_nevus"})},
        ),
        (  # a wart: nobody says what it is
            ["MEL", "Common nevus", "wart"],
            {"melanoma": ({"MEL"}, {"Common nevus"})},
        ),
        (["melanoma", "other"], {"melanoma": ({"melanoma"}, {"other"})}),
        (["mel", "bcc"], {"melanoma": ({"mel"}, {"bcc"})}),  # all are malignant
        (["nv", "df"], {}),
        (["wart", "cyst"], {}),
    ],
)
def test_tasks_of_classes(classes, tasks):
    found = {
        name: (set(named(classes, task.positive)), set(named(classes, task.negative)))
        for name, task in binary_tasks(classes).items()
    }
    assert found == tasks
    for task in binary_tasks(classes).values():
        parts = [*task.positive, *task.negative, *task.left_out]
        assert sorted(parts) == list(range(len(classes)))


def test_items_of_a_task_by_a_loop():
    classes = ["mel", "nv", "scc", "unk"]
    answers, _ = lesions(60, classes=classes)
    items = task_items(
        binary_tasks(classes)["malignant"],
        answers.truth_N,
        answers.probabilities_NC,
        answers.groups_N,
    )
    wanted = []
    for row, number in enumerate(answers.truth_N):
        if classes[number] != "unk":
            mel, _, scc, _ = answers.probabilities_NC[row]
            wanted.append((row, classes[number] in ("mel", "scc"), mel + scc))
    rows, truth, scores = zip(*wanted, strict=True)
    assert items.rows_A.tolist() == list(rows)
    assert items.truth_A.tolist() == list(truth)
    assert items.scores_A == pytest.approx(np.array(scores))
    assert items.groups_A.tolist() == [answers.groups_N[row] for row in rows]


def test_scores_never_leave_the_unit_interval():
    answers, _ = lesions(20, classes=["bcc", "mel", "nv"])
    both = np.full((20, 3), 0.9)
    items = task_items(
        binary_tasks(answers.classes)["malignant"], answers.truth_N, both, answers.groups_N
    )
    assert (items.scores_A == 1).all()


# --- thresholds -----------------------------------------------------------------------------------


def rates_at(truth, scores, threshold):
    tp = fp = tn = fn = 0
    for true, score in zip(truth, scores, strict=True):
        called = score >= threshold
        tp, fp = tp + (true and called), fp + (not true and called)
        tn, fn = tn + (not true and not called), fn + (true and not called)
    return {"tp": tp, "fp": fp, "tn": tn, "fn": fn}


def melanoma_scores(answers):
    return answers.truth_N == HAM.index("mel"), answers.probabilities_NC[:, HAM.index("mel")]


def test_thresholds_hold_their_aim_on_validation_and_waste_nothing(record):
    truth, scores = melanoma_scores(lesions(seed=1, shares=SHARES, tilt=2.0)[0])
    found = record["thresholds"]["melanoma"]
    assert (found["positives"], found["negatives"]) == (truth.sum(), (~truth).sum())
    assert [(point["fixed"], point["aim"]) for point in found["points"]] == [
        (fixed, aim) for fixed in ("sensitivity", "specificity") for aim in (0.8, 0.9, 0.95)
    ]
    for point in found["points"]:
        held, free = ("tp", "tn") if point["fixed"] == "sensitivity" else ("tn", "tp")
        total = {"tp": truth.sum(), "tn": (~truth).sum()}
        counts = rates_at(truth, scores, point["threshold"])
        assert point["counts"] == counts
        assert counts[held] >= point["aim"] * total[held] - 1e-9
        for other in [*scores, 2.0]:  # no threshold that holds the aim has more of the other rate
            told = rates_at(truth, scores, other)
            assert told[held] < point["aim"] * total[held] - 1e-9 or told[free] <= counts[free]


def test_thresholds_are_those_of_validation_on_a_split_of_another_scale(ham, record, figures):
    truth, scores = melanoma_scores(ham[0])
    points = figures["tasks"]["melanoma"]["operating"]
    saved = record["thresholds"]["melanoma"]["points"]
    assert [point["threshold"] for point in points] == [point["threshold"] for point in saved]
    for point, kept in zip(points, saved, strict=True):
        counts = rates_at(truth, scores, kept["threshold"])
        assert point["counts"] == counts
        assert point["validation"] == kept["counts"]
        sensitivity = counts["tp"] / (counts["tp"] + counts["fn"])
        specificity = counts["tn"] / (counts["tn"] + counts["fp"])
        assert point["sensitivity"]["value"] == pytest.approx(sensitivity)
        assert point["specificity"]["value"] == pytest.approx(specificity)
        assert point["balanced_accuracy"] == pytest.approx((sensitivity + specificity) / 2)
    own = Clinical().recorded(*ham)["thresholds"]["melanoma"]["points"]
    assert own[1]["threshold"] > saved[1]["threshold"] + 0.02  # chosen here it would be another
    usual = figures["tasks"]["melanoma"]["default_operating"]
    assert usual["counts"] == rates_at(truth, scores, 0.5)


def test_a_threshold_that_calls_nothing_survives_the_file(tmp_path):
    answers, rows = lesions(40, classes=["benign", "malignant"])
    answers.probabilities_NC[:, 1] = np.where(answers.truth_N == 0, 0.9, 0.1)
    answers.probabilities_NC[:, 0] = 1 - answers.probabilities_NC[:, 1]
    write_json(tmp_path / "metrics.json", Clinical().recorded(answers, rows))
    record = json.loads((tmp_path / "metrics.json").read_text())
    found = clinical_figures(answers, rows, record, QUICK)["tasks"]["malignant"]["operating"]
    assert found[-1]["fixed"] == "specificity"
    assert (found[-1]["counts"]["tp"], found[-1]["counts"]["fp"]) == (0, 0)
    assert found[-1]["specificity"]["value"] == 1


@pytest.mark.parametrize(("only", "missing"), [("nv", "positives"), ("mel", "negatives")])
def test_validation_of_one_class_fixes_no_threshold_and_says_why(only, missing, ham):
    answers, rows = lesions(30)
    answers.truth_N[:] = HAM.index(only)
    record = Clinical().recorded(answers, rows)
    found = record["thresholds"]["melanoma"]
    assert found["points"] == []
    assert found["reason"] == f"The validation split holds no {missing} to fix thresholds on."
    task = clinical_figures(*ham, record, QUICK)["tasks"]["melanoma"]
    assert (task["operating"], task["operating_reason"]) == ([], found["reason"])
    assert task["discrimination"]["roc_auc"]["value"] > 0.5


def test_no_thresholds_are_invented(ham, record):
    found = clinical_figures(*ham, {}, QUICK)
    for task in found["tasks"].values():
        assert (task["operating"], task["operating_reason"]) == ([], NOT_RECORDED)
    saved = record["thresholds"]
    assert points_of(saved, "malignant", ["mel"]) == ([], OTHER_CLASSES)
    # A class that sums the classes of the task has the task's name.
    assert points_of(saved, "malignant", ["malignant"]) == (saved["malignant"]["points"], "")
    assert all("sensitivity" not in row["values"] for row in found["subgroups"]["sex"])


def test_no_item_of_the_task_in_validation():
    classes = ["mel", "nv", "scc", "unk"]
    answers, rows = lesions(10, classes=classes)
    answers.truth_N[:] = 3
    reason = Clinical().recorded(answers, rows)["thresholds"]["malignant"]["reason"]
    assert "no positives and no negatives" in reason
    task = clinical_figures(answers, rows, {}, QUICK)["tasks"]["malignant"]
    assert task["reason"] == NOTHING
    assert "discrimination" not in task


# --- figures of a task ----------------------------------------------------------------------------


def test_discrimination_and_calibration_equal_scikit_learn(ham, figures):
    truth, scores = melanoma_scores(ham[0])
    task = figures["tasks"]["melanoma"]
    assert (task["positives"], task["negatives"]) == (truth.sum(), (~truth).sum())
    assert task["prevalence"] == truth.mean()
    wanted = {
        "roc_auc": sklearn_metrics.roc_auc_score(truth, scores),
        "average_precision": sklearn_metrics.average_precision_score(truth, scores),
        "prevalence": truth.mean(),
    }
    for name, value in wanted.items():
        found = task["discrimination"][name]
        assert found["value"] == pytest.approx(value)
        assert found["low"] < value < found["high"]
    assert {"auc_sens_80", "pauc_above_tpr_80"} < set(task["discrimination"])
    assert task["auc_delong"]["auc"] == pytest.approx(wanted["roc_auc"])
    assert task["auc_delong"]["low"] < wanted["roc_auc"] < task["auc_delong"]["high"]
    calibration = task["calibration"]
    brier = sklearn_metrics.brier_score_loss(truth, scores)
    assert calibration["brier"]["value"] == pytest.approx(brier)
    assert calibration["brier"]["low"] < brier < calibration["brier"]["high"]
    assert calibration["nll"]["value"] == pytest.approx(sklearn_metrics.log_loss(truth, scores))


def test_reliability_by_a_loop(ham, figures):
    truth, scores = melanoma_scores(ham[0])
    task = figures["tasks"]["melanoma"]
    table, error = task["reliability"], 0.0
    for place in range(15):
        inside = (scores > place / 15) & (scores <= (place + 1) / 15)
        assert table["count"][place] == inside.sum()
        if inside.any():
            assert table["observed"][place] == pytest.approx(truth[inside].mean())
            assert table["mean_probability"][place] == pytest.approx(scores[inside].mean())
            ends = table["low_band"][place], table["high_band"][place]
            assert ends[0] <= table["observed"][place] <= ends[1]
            error += abs(truth[inside].sum() - scores[inside].sum()) / len(scores)
    assert task["calibration"]["ece"]["value"] == pytest.approx(error)


def test_decision_curve_by_a_loop(ham, figures):
    truth, scores = melanoma_scores(ham[0])
    curve = figures["tasks"]["melanoma"]["decision"]
    for place in (4, 49, 98):
        threshold = curve["threshold"][place]
        assert threshold == pytest.approx((place + 1) / 100)
        counts = rates_at(truth, scores, threshold)
        gain = (counts["tp"] - counts["fp"] * threshold / (1 - threshold)) / len(truth)
        assert curve["model"][place] == pytest.approx(gain)
        assert curve["standardised"][place] == pytest.approx(gain / truth.mean())
        everybody = truth.mean() - (1 - truth.mean()) * threshold / (1 - threshold)
        assert curve["treat_all"][place] == pytest.approx(everybody)


def test_thinned_curves_keep_their_ends_and_invent_no_point():
    answers, rows = lesions(1200, classes=["benign", "malignant"])
    found = clinical_figures(answers, rows, {}, Bootstrap(replicates=2))
    curve = found["tasks"]["malignant"]["roc"]
    scores = answers.probabilities_NC[:, 1]
    whole = sklearn_metrics.roc_curve(answers.truth_N, scores, drop_intermediate=False)
    points = set(zip(whole[0].round(12), whole[1].round(12), strict=True))
    kept = list(zip(np.round(curve["fpr"], 12), np.round(curve["tpr"], 12), strict=True))
    assert set(kept) <= points
    assert (kept[0], kept[-1]) == ((0, 0), (1, 1))
    assert 150 < len(kept) <= 200
    area = sklearn_metrics.auc(curve["fpr"], curve["tpr"])
    assert area == pytest.approx(found["tasks"]["malignant"]["auc_delong"]["auc"], abs=0.005)
    assert len(found["abstention"]["risk"]) <= 200
    assert found["abstention"]["coverage"][-1] == 1


def test_figures_of_all_classes(ham, figures):
    answers, _ = ham
    said = answers.readouts["softmax"]
    balanced = sklearn_metrics.balanced_accuracy_score(answers.truth_N, said)
    assert figures["balanced_accuracy_classes"]["value"] == pytest.approx(balanced)
    order = np.argsort(-answers.probabilities_NC.max(axis=1))
    wrong = (said != answers.truth_N)[order]
    risks = [wrong[: kept + 1].mean() for kept in range(len(wrong))]
    assert figures["abstention"]["area"] == pytest.approx(np.mean(risks))
    assert figures["abstention"]["risk"][-1] == pytest.approx(wrong.mean())
    errors = figures["classwise_ece"]
    assert list(errors["per_class"]) == HAM
    melanoma = figures["tasks"]["melanoma"]["calibration"]["ece"]["value"]
    assert errors["per_class"]["mel"] == pytest.approx(melanoma)
    assert errors["mean"] == pytest.approx(np.mean(list(errors["per_class"].values())))


# --- subgroups ------------------------------------------------------------------------------------


def rows_of(figures, column, task="melanoma"):
    return {row["level"]: row for row in figures["subgroups"][column] if row["task"] == task}


def test_subgroups_count_and_measure_their_own_items(ham, record, figures):
    answers, rows = ham
    truth, scores = melanoma_scores(answers)
    found = rows_of(figures, "sex")
    assert list(found) == ["female", "male", "unknown"]
    threshold = record["thresholds"]["melanoma"]["points"][1]["threshold"]
    for level in ("female", "male"):
        inside = (rows["sex"] == level).to_numpy()
        row = found[level]
        assert row["items"] == inside.sum()
        assert row["groups"] == len(set(answers.groups_N[inside]))
        positives = int(truth[inside].sum())
        assert row["counts"] == {"positive": positives, "negative": inside.sum() - positives}
        area = sklearn_metrics.roc_auc_score(truth[inside], scores[inside])
        assert row["values"]["roc_auc"]["value"] == pytest.approx(area)
        assert row["values"]["roc_auc"]["low"] < area < row["values"]["roc_auc"]["high"]
        counts = rates_at(truth[inside], scores[inside], threshold)
        sensitivity = row["values"]["sensitivity"]
        assert sensitivity["value"] == pytest.approx(counts["tp"] / positives)
        assert sensitivity["count"] == positives
        assert sensitivity["low"] <= sensitivity["value"] <= sensitivity["high"]
        specificity = counts["tn"] / (inside.sum() - positives)
        assert row["values"]["specificity"]["value"] == pytest.approx(specificity)
    assert sum(row["items"] for row in found.values()) == len(rows)


def test_small_levels_are_counted_only_and_ages_rise(ham, figures):
    rows = ham[1]
    face = rows_of(figures, "site")["face"]
    assert face["values"] == {}
    assert face["items"] == (rows["localization"] == "face").sum()
    assert face["reason"].startswith("fewer than 30 items")
    ages = rows_of(figures, "age")
    assert list(ages) == ["<30", "30 to <50", "50 to <70", ">=70", "unknown"]
    assert ages["30 to <50"]["items"] == rows["age"].isin(["30", "45"]).sum()
    assert figures["subgroups_facts"]["not_given"] == ["skin_type"]


def test_without_metadata_and_with_nothing_known(ham):
    answers, rows = ham
    bare = clinical_figures(answers, rows[["path"]], {}, QUICK)
    assert bare["subgroups"] == {}
    assert bare["subgroups_facts"]["not_given"] == ["sex", "age", "site", "skin_type"]
    unsaid = rows.assign(sex="unknown", age="", localization=None, fitzpatrick=np.nan)
    found = clinical_figures(answers, unsaid, {}, QUICK)
    for column in ("sex", "age", "site", "skin_type"):
        assert list(rows_of(found, column)) == ["unknown"]
        assert rows_of(found, column)["unknown"]["items"] == len(rows)
        overall = found["tasks"]["melanoma"]["discrimination"]["roc_auc"]["value"]
        values = rows_of(found, column)["unknown"]["values"]
        assert values["roc_auc"]["value"] == pytest.approx(overall)


# --- official scoring -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "columns"),
    [
        (["benign", "malignant"], ["malignant"]),
        (ISIC_2017, ["melanoma", "seborrheic_keratosis"]),
        (HAM, ["mel", "nv", "bcc", "akiec", "bkl", "df", "vasc"]),
        (sorted([*HAM[1:], "ak", "scc"]), ["mel", "nv", "bcc", "ak", "bkl", "df", "vasc", "scc"]),
        (HAM[:-1], []),
        (["melanoma", "nevus"], []),
    ],
)
def test_official_columns(classes, columns):
    assert list(official_columns(classes)) == columns


@pytest.mark.parametrize("classes", [ISIC_2017, HAM])
def test_official_figures_equal_those_of_the_files(classes, tmp_path):
    answers, rows = lesions(60, classes=classes)
    rows.loc[7, "path"] = f"images/{IGNORED}.jpg"
    columns = list(official_columns(classes))
    names = [path.removeprefix("images/").removesuffix(".jpg") for path in rows["path"]]
    said = answers.probabilities_NC[:, [classes.index(column) for column in columns]]
    write_submission(tmp_path / "said.csv", names, columns, said)
    truth = pd.DataFrame({"image": names})
    for column in columns:
        truth[column] = (answers.truth_N == classes.index(column)).astype(float)
    truth.to_csv(tmp_path / "truth.csv", index=False)
    found = clinical_figures(answers, rows, {}, QUICK)["isic"]
    wanted = score_files(tmp_path / "truth.csv", tmp_path / "said.csv").as_dict()
    assert found.pop("columns") == columns
    assert found.pop("remarks") == wanted.pop("remarks")
    assert_alike(found, wanted)


def test_classes_of_no_challenge_have_no_official_figures():
    found = clinical_figures(*lesions(40, classes=["melanoma", "nevus"]), {}, QUICK)
    assert found["isic"] == {"reason": NO_CHALLENGE}


# --- where figures cannot be had ------------------------------------------------------------------


def changed(answers, **changes):
    return Answers(**(vars(answers) | changes))


def test_answers_without_probabilities(ham):
    answers = changed(ham[0], probabilities_NC=None)
    found = clinical_figures(answers, ham[1], {}, QUICK)
    assert (found["tasks"], found["reason"]) == ({}, NO_PROBABILITIES)
    assert found["balanced_accuracy_classes"]["count"] == 7
    assert Clinical().recorded(answers, ham[1])["reason"] == NO_PROBABILITIES
    assert list(clinical_columns(answers).columns) == []


def test_several_labels_per_image(ham):
    table = np.eye(7, dtype=np.uint8)[ham[0].truth_N]
    answers = changed(ham[0], truth_N=table, readouts={"sigmoid": table})
    assert clinical_figures(answers, ham[1], {}, QUICK)["reason"] == SEVERAL
    assert Clinical().recorded(answers, ham[1])["reason"] == SEVERAL
    assert len(clinical_columns(answers)) == len(table)


@pytest.mark.parametrize("only", ["nv", "mel"])
def test_a_split_of_one_class(only, ham, record):
    answers, rows = ham
    answers = changed(answers, truth_N=np.full(len(rows), HAM.index(only)))
    task = clinical_figures(answers, rows, record, QUICK)["tasks"]["melanoma"]
    assert np.isnan(task["discrimination"]["roc_auc"]["value"])
    assert task["roc"] == {"fpr": [], "tpr": []}
    assert task["calibration"]["brier"]["value"] > 0
    assert len(task["operating"]) == 6


def test_one_item(record):
    answers, rows = lesions(2, shares=SHARES)
    one = changed(
        answers,
        truth_N=answers.truth_N[:1],
        groups_N=answers.groups_N[:1],
        readouts={"softmax": answers.readouts["softmax"][:1]},
        probabilities_NC=answers.probabilities_NC[:1],
    )
    found = clinical_figures(one, rows[:1], record, QUICK)
    assert found["tasks"]["melanoma"]["positives"] + found["tasks"]["melanoma"]["negatives"] == 1
    json.dumps(finite(found), allow_nan=False)


def test_scores_that_do_not_sum_to_one(ham):
    """Somebody's table: independent probabilities of the classes."""
    answers = changed(ham[0], probabilities_NC=np.sqrt(ham[0].probabilities_NC))
    found = clinical_figures(answers, ham[1], {}, QUICK)
    assert "sum" in found["classwise_ece"]["reason"]
    truth, scores = melanoma_scores(answers)
    area = sklearn_metrics.roc_auc_score(truth, scores)
    assert found["tasks"]["melanoma"]["discrimination"]["roc_auc"]["value"] == pytest.approx(area)


def test_classes_without_a_task():
    found = clinical_figures(*lesions(40, classes=["wart", "cyst"]), {}, QUICK)
    assert found["tasks"] == {}
    assert "malignant" in found["tasks_reason"]
    assert found["abstention"]["coverage"][-1] == 1


# --- the whole ------------------------------------------------------------------------------------


def assert_alike(found, wanted, place=""):
    """Equal plain data, floats but for rounding, nan for nan."""
    assert type(found) is type(wanted), place
    if isinstance(found, dict):
        assert list(found) == list(wanted), place
        for key in found:
            assert_alike(found[key], wanted[key], f"{place}/{key}")
    elif isinstance(found, list):
        assert len(found) == len(wanted), place
        for number, pair in enumerate(zip(found, wanted, strict=True)):
            assert_alike(*pair, f"{place}/{number}")
    elif isinstance(found, float):
        assert found == pytest.approx(wanted, abs=1e-9, nan_ok=True), place
    else:
        assert found == wanted, place


def test_order_does_not_matter(ham, record, figures):
    answers, rows = ham
    order = np.random.default_rng(5).permutation(len(rows))
    other = changed(
        answers,
        truth_N=answers.truth_N[order],
        groups_N=answers.groups_N[order],
        readouts={"softmax": answers.readouts["softmax"][order]},
        probabilities_NC=answers.probabilities_NC[order],
    )
    found = clinical_figures(other, rows.iloc[order].reset_index(drop=True), record, QUICK)
    assert_alike(finite(found), finite(figures))


def test_figures_are_plain_and_small(figures):
    text = json.dumps(finite(figures), allow_nan=False)
    assert len(text) < 200_000

    def numpy_free(value):
        if isinstance(value, dict):
            return all(map(numpy_free, value.values()))
        if isinstance(value, list):
            return all(map(numpy_free, value))
        return value is None or type(value) in (str, int, float, bool)

    assert numpy_free(json.loads(json.dumps(figures)))  # json refuses arrays and numpy's integers
    assert "research only" in figures["disclaimer"].lower()


def bundle_of(record, classes=HAM):
    return SimpleNamespace(metrics={"clinical": record}, classes=list(classes))


def test_measured_takes_the_record_of_the_bundle(monkeypatch, ham, record):
    asked = {}

    class Found:
        def summary(self, **given):
            asked.update(given)
            return {"k": 5}

    def similar_cases(embeddings_ND, groups_N, hashes_N, bundle):
        asked.update(embeddings=embeddings_ND, hashes=hashes_N)
        return Found()

    monkeypatch.setattr(similar, "similar_cases", similar_cases)
    answers = changed(ham[0], embeddings_ND=np.zeros((len(ham[1]), 3)))
    clinical = Clinical(bootstrap=QUICK)
    measured = clinical.measured(answers, ham[1].assign(sha256="aa"), bundle_of(record))
    points = measured.metrics["tasks"]["melanoma"]["operating"]
    saved = record["thresholds"]["melanoma"]["points"]
    assert [point["threshold"] for point in points] == [point["threshold"] for point in saved]
    assert measured.metrics["similar"] == {"k": 5}
    assert asked["embeddings"].shape == (len(ham[1]), 3)
    assert set(asked["hashes"]) == {"aa"}
    assert (asked.pop("truth_N") == answers.truth_N).all()
    assert (asked.pop("predicted_N") == answers.readouts["softmax"]).all()
    clinical.measured(answers, ham[1], bundle_of(record, ["benign", "malignant"]))
    assert "truth_N" not in asked  # class numbers of other classes
    columns = measured.per_item
    assert list(columns.columns) == ["score_malignant", "score_melanoma"]
    assert columns["score_melanoma"].to_numpy() == pytest.approx(melanoma_scores(answers)[1])


def test_a_model_without_known_cases_says_so(monkeypatch):
    def refused(*_):
        raise UserError("model must keep its training embeddings, got none")

    answers, rows = lesions(40, classes=["benign", "malignant"])
    without = Clinical(QUICK).measured(answers, rows, bundle_of({}))
    assert without.metrics["similar"] == {"reason": "The answers hold no embeddings."}
    monkeypatch.setattr(similar, "similar_cases", refused)
    answers = changed(answers, embeddings_ND=np.zeros((40, 3)))
    found = Clinical(QUICK).measured(answers, rows, bundle_of({})).metrics["similar"]
    assert found["reason"].startswith("model must keep")


def test_recorded_points_are_judged_one_by_one(ham, record):
    """`operating` is what `clinical_figures` shows, and needs nothing else."""
    items = task_items(
        binary_tasks(HAM)["melanoma"], ham[0].truth_N, ham[0].probabilities_NC, ham[0].groups_N
    )
    again = recorded_thresholds(items, ["mel"])
    for point in operating(items, again["points"], QUICK):
        assert point["counts"] == point["validation"]
        assert point[point["fixed"]]["value"] >= point["aim"] - 1e-9
