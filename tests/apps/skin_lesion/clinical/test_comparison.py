"""Two models on the same lesions: against scikit-learn and loops, and through `compare`."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from likeness.evaluation.delong import delong_test
from likeness.evaluation.resampling import Bootstrap
from likeness_apps.remote_sensing.domain import DOMAIN as SCENES
from likeness_apps.shell.compare import compare
from likeness_apps.skin_lesion.clinical.comparison import clinical_differences
from likeness_apps.skin_lesion.domain import DOMAIN

CLASSES = ["melanoma", "nevus", "seborrheic_keratosis"]
QUICK = Bootstrap(replicates=200)
FIGURES = ("roc_auc", "auc_sens_80", "pauc_above_tpr_80", "average_precision", "brier")


def probabilities(truth, skill, seed):
    odds = np.exp(
        np.random.default_rng(seed).normal(size=(len(truth), 3)) + skill * np.eye(3)[truth]
    )
    return odds / odds.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def pair():
    """Truth, groups, and a better and a worse model."""
    rng = np.random.default_rng(0)
    truth = rng.choice(3, size=160, p=[0.3, 0.5, 0.2])
    return truth, rng.integers(90, size=160), probabilities(truth, 2, 1), probabilities(truth, 1, 2)


def differences(pair):
    truth, groups, a, b = pair
    return clinical_differences(truth, CLASSES, a, b, groups, bootstrap=QUICK)


def test_values_equal_scikit_learn(pair):
    truth, _, a, b = pair
    found = differences(pair)
    assert list(found) == [
        "balanced_accuracy",
        *(f"{task} {name}" for task in ("melanoma", "seborrheic_keratosis") for name in FIGURES),
    ]
    melanoma = truth == 0
    for name, figure in (
        ("roc_auc", sklearn_metrics.roc_auc_score),
        ("average_precision", sklearn_metrics.average_precision_score),
        ("brier", sklearn_metrics.brier_score_loss),
    ):
        row = found[f"melanoma {name}"]
        assert (row["a"], row["b"]) == pytest.approx(
            (figure(melanoma, a[:, 0]), figure(melanoma, b[:, 0]))
        )
        assert row["value"] == pytest.approx(row["a"] - row["b"])
        assert row["low"] <= row["value"] <= row["high"]
    balanced = [
        sklearn_metrics.balanced_accuracy_score(truth, said.argmax(axis=1)) for said in (a, b)
    ]
    row = found["balanced_accuracy"]
    assert (row["a"], row["b"]) == pytest.approx(tuple(balanced))
    assert row["value"] == pytest.approx(balanced[0] - balanced[1])
    test = delong_test(melanoma, a[:, 0], b[:, 0])
    assert found["melanoma roc_auc"]["delong"]["p_value"] == pytest.approx(test.p_value)
    assert found["melanoma roc_auc"]["p_value"] < 0.05  # the better model


def test_intervals_draw_the_same_groups_for_both(pair):
    truth, groups, a, b = pair
    distinct = np.unique(groups)
    drawn = np.random.default_rng(0).integers(len(distinct), size=(200, len(distinct)))
    brier = (a[:, 0] - (truth == 0)) ** 2 - (b[:, 0] - (truth == 0)) ** 2
    means = []
    for draw in drawn:
        rows = np.concatenate([np.flatnonzero(groups == distinct[place]) for place in draw])
        means.append(brier[rows].mean())
    row = differences(pair)["melanoma brier"]
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


def test_the_other_way_round_is_the_negative(pair):
    truth, groups, a, b = pair
    one, two = differences(pair), differences((truth, groups, b, a))
    for name, row in one.items():
        other = two[name]
        assert (row["value"], row["low"]) == pytest.approx((-other["value"], -other["high"]))
        assert row["p_value"] == other["p_value"]


def test_a_model_is_no_better_than_itself(pair):
    truth, groups, a, _ = pair
    for row in differences((truth, groups, a, a)).values():
        assert (row["value"], row["low"], row["high"], row["p_value"]) == (0, 0, 0, 1)


def test_one_class_compares_what_is_defined(pair):
    truth, groups, a, b = pair
    found = clinical_differences(truth * 0 + 1, CLASSES, a, b, groups, bootstrap=QUICK)
    assert np.isnan(found["melanoma roc_auc"]["value"])
    assert found["melanoma roc_auc"]["reason"]
    assert found["melanoma brier"]["p_value"] <= 1


# --- compare --------------------------------------------------------------------------------------


def result(folder, truth, groups, said, classes=CLASSES):
    """A directory as `evaluate` leaves it."""
    table = pd.DataFrame(
        {
            "path": [f"{number:03d}.jpg" for number in range(len(truth))],
            "status": "ok",
            "truth": np.array(CLASSES)[truth],
            "correct": said.argmax(axis=1) == truth,
            "group": [f"lesion {group}" for group in groups],
            **{f"p_{name}": said[:, place] for place, name in enumerate(classes)},
        }
    )
    folder.mkdir()
    table.to_csv(folder / "predictions.csv", index=False)
    return folder


def test_compare_shows_and_writes_them(pair, tmp_path, capsys):
    truth, groups, a, b = pair
    first = result(tmp_path / "a", truth, groups, a)
    second = result(tmp_path / "b", truth, groups, b)
    table = pd.read_csv(second / "predictions.csv", dtype=str)
    table.iloc[::-1].to_csv(second / "predictions.csv", index=False)  # its order is no matter
    compare(DOMAIN, first, second, out=tmp_path / "out", seed=0)
    rows = json.loads((tmp_path / "out" / "comparison.json").read_text())["differences"]
    names = [f"lesion {group}" for group in groups]
    wanted = clinical_differences(truth, CLASSES, a, b, np.array(names))
    assert set(rows) == {"overall_accuracy", *wanted}
    for name, row in wanted.items():
        assert rows[name]["value"] == pytest.approx(row["value"])
        assert rows[name]["low"] == pytest.approx(row["low"])
    # Holm over the table: the smallest p-value is multiplied by the number of rows.
    smallest = min(rows.values(), key=lambda row: row["p_value"])
    assert smallest["p_holm"] == pytest.approx(min(1, smallest["p_value"] * len(rows)))
    assert "roc_auc" in capsys.readouterr().out


def test_compare_shows_what_one_class_leaves_undefined(pair, tmp_path, capsys):
    truth, groups, a, b = (part[:30] for part in pair)
    first = result(tmp_path / "a", truth * 0 + 1, groups, a)
    second = result(tmp_path / "b", truth * 0 + 1, groups, b)
    row = compare(DOMAIN, first, second)["differences"]["melanoma roc_auc"]
    assert (row["a"], row["b"]) == (None, None)
    assert "p_holm" not in row
    printed = capsys.readouterr().out
    assert "undefined" in printed
    assert "nan" not in printed


def test_compare_without_common_classes_shows_the_rest(pair, tmp_path):
    truth, groups, a, b = pair
    first = result(tmp_path / "a", truth, groups, a)
    second = result(tmp_path / "b", truth, groups, b, ["melanoma", "nevus", "wart"])
    assert set(compare(DOMAIN, first, second)["differences"]) == {"overall_accuracy"}
    bare = tmp_path / "c"
    bare.mkdir()
    table = pd.read_csv(first / "predictions.csv", dtype=str)
    table.drop(columns=[f"p_{name}" for name in CLASSES]).to_csv(bare / "predictions.csv")
    assert set(compare(DOMAIN, first, bare)["differences"]) == {"overall_accuracy"}


def test_compare_leaves_out_images_without_probabilities(pair, tmp_path):
    truth, groups, a, b = pair
    first = result(tmp_path / "a", truth, groups, a)
    second = result(tmp_path / "b", truth, groups, b)
    table = pd.read_csv(second / "predictions.csv", dtype=str)
    table.loc[:9, "p_nevus"] = ""
    table.to_csv(second / "predictions.csv", index=False)
    row = compare(DOMAIN, first, second)["differences"]["melanoma roc_auc"]
    area = sklearn_metrics.roc_auc_score(truth[10:] == 0, a[10:, 0])
    assert row["a"] == pytest.approx(area)


def test_other_fields_compare_as_before(pair, tmp_path):
    truth, groups, a, b = pair
    first = result(tmp_path / "a", truth, groups, a)
    second = result(tmp_path / "b", truth, groups, b)
    assert set(compare(SCENES, first, second)["differences"]) == {"overall_accuracy"}
