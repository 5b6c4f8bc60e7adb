"""Several results joined into one: figures against numpy and scikit-learn, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from fixtures.front_door import assert_refused, likeness
from likeness.evaluation.resampling import Bootstrap
from likeness.files import write_json
from likeness_apps.shell.measure import Answers
from likeness_apps.shell.pool import pool
from likeness_apps.shell.results import predictions_table, write_results
from likeness_apps.shell.tasks import task_of

CLASSES = ["lake", "town", "wood"]
FACTS = {"app": "remote-sensing", "protocol": "coffee-5fold", "split": "test"}


def result(folder, seed, *, paths=None, count=24, multilabel=False, right=0.7, **facts):
    """A directory as `evaluate` leaves it, of a model that is right in a share of the cases."""
    generator = np.random.default_rng(seed)
    names = [f"{seed:02d}-{number:02d}.png" for number in range(count)] if paths is None else paths
    count, task = len(names), task_of(CLASSES, multilabel=multilabel)
    shape = (count, 3) if multilabel else (count,)
    truth = np.random.default_rng(9).integers(2 if multilabel else 3, size=(500, *shape[1:]))
    truth = truth[[sum(map(ord, name)) % 500 for name in names]]  # of the image, not of the run
    if multilabel:
        truth[:, 0] |= truth.sum(axis=1) == 0
    wrong = generator.random(shape) > right
    said = np.where(wrong, generator.integers(2 if multilabel else 3, size=shape), truth)
    chances = generator.random((count, 3))
    probabilities = chances if multilabel else chances / chances.sum(axis=1, keepdims=True)
    answers = Answers(
        truth_N=truth.astype(np.int64),
        classes=CLASSES,
        groups_N=np.array([f"block of {name[:4]}" for name in names]),
        readouts={"softmax": said.astype(np.int64), "nearest_centre": truth.astype(np.int64)},
        probabilities_NC=probabilities.astype(np.float32),
        embeddings_ND=generator.normal(size=(count, 4)),
    )
    measured = task.figures.measure(answers, Bootstrap(replicates=20))
    rows = pd.DataFrame({"path": names, "group": answers.groups_N})
    own = {"classes": CLASSES, "model_id": f"model{seed}", "provenance": {"seed": seed}}
    metrics = {**measured.metrics, **own, **FACTS, **facts}
    table = predictions_table(rows, answers, measured, f"model{seed}")
    write_results(
        folder, {key: item for key, item in metrics.items() if item is not None}, table, None
    )
    return folder


def read(folder):
    return json.loads((folder / "metrics.json").read_text())


def table_of(folder):
    return pd.read_csv(folder / "predictions.csv", keep_default_na=False, dtype=str)


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    top = tmp_path_factory.mktemp("folds")
    return [result(top / f"{k}", k, fold=k, count=20 + 2 * k) for k in (1, 2, 3)]


@pytest.fixture(scope="module")
def joined(folds, tmp_path_factory):
    out = tmp_path_factory.mktemp("joined") / "out"
    ended = likeness("pool", *folds, "--out", out)
    assert ended.code == 0, ended.err
    return out, ended.out


# --- folds ----------------------------------------------------------------------------------------


def test_mean_and_deviation_over_folds(folds, joined):
    metrics = read(joined[0])
    accuracies = [
        sklearn_metrics.accuracy_score(table_of(fold)["truth"], table_of(fold)["label"])
        for fold in folds
    ]
    found = metrics["over_runs"]["softmax"]["overall_accuracy"]
    assert found["values"] == pytest.approx(accuracies)
    assert found["mean"] == pytest.approx(sum(accuracies) / 3)
    squares = sum((value - sum(accuracies) / 3) ** 2 for value in accuracies)
    assert found["std"] == pytest.approx((squares / 2) ** 0.5)
    assert found["low"] < found["mean"] < found["high"]
    assert found["count"] == 3
    perfect = metrics["over_runs"]["nearest_centre"]["kappa"]
    assert (perfect["mean"], perfect["std"]) == (1.0, 0.0)
    for name in ("map@r", "recall@1", "ndcg@10"):
        values = [read(fold)["retrieval"][name]["value"] for fold in folds]
        assert metrics["over_runs"]["retrieval"][name]["mean"] == pytest.approx(np.mean(values))
    assert "low" in metrics["over_runs"]["retrieval"]["map@r"]
    assert "low" not in metrics["over_runs"]["retrieval"]["ndcg@10"]  # not kept for each item
    assert set(metrics["over_runs"]) >= {"clustering", "calibration"}


def test_all_items_once_are_all_items_at_once(folds, joined):
    metrics, whole = read(joined[0]), pd.concat([table_of(fold) for fold in folds])
    found = metrics["classification"]
    truth, label = whole["truth"], whole["label"]
    expected = {
        "overall_accuracy": sklearn_metrics.accuracy_score(truth, label),
        "average_accuracy": sklearn_metrics.balanced_accuracy_score(truth, label),
        "kappa": sklearn_metrics.cohen_kappa_score(truth, label),
        "macro_f1": sklearn_metrics.f1_score(truth, label, average="macro"),
    }
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value)
        assert found[name]["low"] <= value <= found[name]["high"]
    assert found["overall_accuracy"]["count"] == len(whole) == metrics["items"]["measured"] == 72
    counts = sklearn_metrics.confusion_matrix(truth, label, labels=CLASSES)
    assert metrics["confusion"] == {"classes": CLASSES, "counts": counts.tolist()}
    per_query = pd.to_numeric(whole["map@r"])
    assert metrics["retrieval"]["map@r"]["value"] == pytest.approx(per_query.mean())
    assert metrics["interval"]["groups"] == whole["group"].nunique()


def test_the_joined_table_says_where_each_row_is_from(folds, joined):
    table = table_of(joined[0])
    assert len(table) == 72
    assert table["path"].is_unique
    assert table.groupby("fold")["run"].unique().map(len).tolist() == [1, 1, 1]
    assert set(table["run"]) == {str(fold) for fold in folds}
    assert set(table["p_lake"]) == {cell for fold in folds for cell in table_of(fold)["p_lake"]}


def test_what_is_said_of_the_runs(joined):
    metrics, printed = read(joined[0]), " ".join(joined[1].split())
    assert [run["fold"] for run in metrics["runs"]] == [1, 2, 3]
    assert [run["items"] for run in metrics["runs"]] == [22, 24, 26]
    assert [run["model_id"] for run in metrics["runs"]] == ["model1", "model2", "model3"]
    assert metrics["interval_over_runs"]["runs"] == 3
    assert metrics["interval_over_runs"]["too_narrow_by"] == pytest.approx((2 / 3) ** 0.5)
    assert "3 folds of protocol coffee-5fold, test split" in printed
    assert "Not joined: fold 4, 5 of coffee-5fold." in printed
    assert "an interval is about 0.82 times as wide as it should be" in printed
    found = metrics["over_runs"]["softmax"]["overall_accuracy"]
    assert f"{found['mean']:.3f} ± {found['std']:.3f}" in printed


def test_joined_results_can_be_compared_like_others(folds, joined, tmp_path):
    others = [
        result(tmp_path / f"{k}", k, fold=k, count=20 + 2 * k, right=0.2, model_id=f"other{k}")
        for k in (1, 2, 3)
    ]
    assert likeness("pool", *others, "--out", tmp_path / "out", "--quiet").out == ""
    ended = likeness("compare", joined[0], tmp_path / "out", "--out", tmp_path / "difference")
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "difference" / "comparison.json").read_text())
    a, b = (read(folder)["classification"] for folder in (joined[0], tmp_path / "out"))
    expected = a["overall_accuracy"]["value"] - b["overall_accuracy"]["value"]
    assert found["differences"]["overall_accuracy"]["value"] == pytest.approx(expected)


def test_the_order_of_the_results_changes_no_mean(folds, joined, tmp_path):
    metrics = pool_of(reversed(folds), tmp_path / "out")
    first = read(joined[0])
    for family, values in first["over_runs"].items():
        for name, value in values.items():
            other = metrics["over_runs"][family][name]
            assert other["mean"] == pytest.approx(value["mean"], nan_ok=True)
    assert metrics["confusion"] == first["confusion"]


def pool_of(folders, out, **options):
    from likeness_apps.remote_sensing.domain import DOMAIN

    pool(DOMAIN, list(folders), out, quiet=True, **options)
    return read(out)


# --- seeds and repeats ----------------------------------------------------------------------------


def test_seeds_are_of_the_same_items(tmp_path):
    paths = [f"{number:03d}.png" for number in range(30)]
    runs = [
        result(tmp_path / f"{s}", s, paths=paths, right=share)
        for s, share in ((1, 1.1), (2, 1.1), (3, -1.0))
    ]
    metrics = pool_of(runs, tmp_path / "out")
    assert metrics["kind"] == "seeds"
    assert "classification" not in metrics  # an item has three answers
    found = metrics["over_runs"]["softmax"]["overall_accuracy"]
    assert found["values"][:2] == [1.0, 1.0]
    assert found["mean"] == pytest.approx((2 + found["values"][2]) / 3)
    # Of three drawn runs all may be right, and all may be the poor one.
    assert found["high"] == 1.0
    assert found["low"] < found["values"][2] + 0.1
    assert [run["seed"] for run in metrics["runs"]] == [1, 2, 3]
    table = table_of(tmp_path / "out")
    assert len(table) == 90
    assert "fold" not in table.columns


def test_equal_runs_have_an_interval_of_the_groups_alone(tmp_path):
    paths = [f"{number:03d}.png" for number in range(40)]
    runs = [result(tmp_path / f"{s}", s, paths=paths, right=1.1) for s in (1, 2)]
    found = pool_of(runs, tmp_path / "out")["over_runs"]["softmax"]["overall_accuracy"]
    assert (found["mean"], found["std"], found["low"], found["high"]) == (1.0, 0.0, 1.0, 1.0)


def test_random_splits_share_some_items(tmp_path, capsys):
    runs = [
        result(tmp_path / f"{s}", s, paths=[f"{10 * s + n:03d}.png" for n in range(25)])
        for s in (1, 2)
    ]
    ended = likeness("pool", *runs, "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    assert "The runs share test images" in ended.out
    metrics = read(tmp_path / "out")
    assert metrics["kind"] == "repeats"
    assert "confusion" not in metrics


def test_a_seed_of_the_bootstrap(folds, tmp_path):
    first, same, other = (
        pool_of(folds, tmp_path / name, seed=seed)["over_runs"]["softmax"]["kappa"]
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == same
    assert first["low"] != other["low"]


# --- other kinds of results -----------------------------------------------------------------------


def test_several_labels_per_image(tmp_path):
    runs = [result(tmp_path / f"{k}", k, multilabel=True, fold=k) for k in (1, 2)]
    metrics = pool_of(runs, tmp_path / "out")
    whole = table_of(tmp_path / "out")

    def flags(column):
        return np.array([[name in cell.split("|") for name in CLASSES] for cell in whole[column]])

    truth, said = flags("truth"), flags("label")
    found = metrics["classification"]
    for name, average in (("macro_f1", "macro"), ("micro_f1", "micro")):
        expected = sklearn_metrics.f1_score(truth, said, average=average)
        assert found[name]["value"] == pytest.approx(expected)
    expected = sklearn_metrics.hamming_loss(truth, said)
    assert found["hamming_loss"]["value"] == pytest.approx(expected)
    over = metrics["over_runs"]["softmax"]["example_f1"]
    values = [pd.to_numeric(table_of(run)["example_f1"]).mean() for run in runs]
    assert over["mean"] == pytest.approx(np.mean(values))
    assert over["low"] <= over["mean"] <= over["high"]
    assert metrics["task"] == "multi-label"


def test_rankings_of_folds_without_classes(tmp_path):
    generator = np.random.default_rng(0)
    for k in (1, 2):
        rows = {"path": [f"{k}-{n}" for n in range(12)], "label": ["a", "b", "c"] * 4}
        pd.DataFrame(rows).to_csv(tmp_path / "truth.csv", index=False)
        np.save(tmp_path / "features.npy", generator.normal(size=(12, 4)))
        words = (tmp_path / "truth.csv", tmp_path / "features.npy", "--out", tmp_path / str(k))
        ended = likeness("score", *words, "--protocol", "coffee-5fold", "--fold", k)
        assert ended.code == 0, ended.err
    metrics = pool_of([tmp_path / "1", tmp_path / "2"], tmp_path / "out")
    assert metrics["kind"] == "folds"
    expected = [read(tmp_path / f"{k}")["retrieval"]["map@r"]["value"] for k in (1, 2)]
    assert metrics["over_runs"]["retrieval"]["map@r"]["values"] == expected
    assert metrics["retrieval"]["map@r"]["value"] == pytest.approx(np.mean(expected))
    assert metrics["runs"][1]["fold"] == 2


def test_undefined_figures_and_unreadable_images(tmp_path):
    runs = [result(tmp_path / f"{k}", k, fold=k) for k in (1, 2)]
    metrics = read(runs[0])
    metrics["retrieval"]["map"]["value"] = None
    metrics["readouts"]["softmax"]["kappa"]["value"] = None
    write_json(runs[0] / "metrics.json", metrics)
    table = table_of(runs[1])
    table.loc[0, ["status", "label", "correct", "map@r"]] = ["error", "", "", ""]
    table.loc[1, "map@r"] = ""
    table.to_csv(runs[1] / "predictions.csv", index=False)
    found = pool_of(runs, tmp_path / "out")
    assert found["items"] == {"measured": 47, "unreadable": 1}
    assert len(table_of(tmp_path / "out")) == 48
    once = found["over_runs"]["softmax"]["kappa"]
    assert (once["count"], once["std"], once["values"][0]) == (1, None, None)
    assert found["retrieval"]["map@r"]["count"] == 46
    assert sum(found["retrieval"]["map@r"]["skipped"].values()) == 1
    ended = likeness("pool", *runs, "--out", tmp_path / "again")
    assert "nan" not in ended.out


def test_a_run_of_one_group_has_no_interval(tmp_path):
    runs = [result(tmp_path / f"{k}", k, paths=[f"{k}000{n}" for n in range(9)]) for k in (1, 2)]
    found = pool_of(runs, tmp_path / "out")["over_runs"]["softmax"]["overall_accuracy"]
    assert found["low"] is None
    assert found["reason"] == "an interval needs at least 2 groups"
    assert found["mean"] is not None


# --- refusals -------------------------------------------------------------------------------------


def changed(folder, target, **facts):
    """A copy of a result with other facts; None takes one away."""
    table = table_of(folder)
    table["path"] = f"{target.name}/" + table["path"]
    metrics = {**read(folder), "model_id": target.name, "fold": 9, **facts}
    metrics = {name: value for name, value in metrics.items() if value is not None}
    target.mkdir()
    write_json(target / "metrics.json", metrics)
    table.to_csv(target / "predictions.csv", index=False)
    return target


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"protocol": "aid-20"}, "results must be of the same protocol, got 'coffee-5fold' in "),
        ({"split": "val"}, "results must be of the same split, got 'test' in "),
        ({"app": "skin-lesion"}, "results must be of the same app, got 'remote-sensing' in "),
        ({"task": "multi-label"}, "results must be of the same task, got None in "),
        (
            {"classes": ["lake", "town"]},
            "results must be of the same classes, got 3 (lake, town, wood) in ",
        ),
        ({"classification_readout": "knn"}, "of the same classification_readout, got 'softmax'"),
        ({"fold": 1}, "results must each be of another fold, got fold 1 in "),
        ({"model_id": "model1"}, "results must each be of another model, got model model1 in "),
        ({"fold": None}, "results must be all of a fold or none, got no fold in "),
        ({"over_runs": {}}, "must be the metrics of one run, got 'those of `pool` or others'"),
    ],
)
def test_results_that_do_not_belong_together(folds, tmp_path, facts, sentence):
    other = changed(folds[0], tmp_path / "other", **facts)
    ended = likeness("pool", folds[0], other, "--out", tmp_path / "out")
    assert_refused(ended, sentence, left=tmp_path / "out")


def test_folds_that_share_an_image(folds, tmp_path):
    other = changed(folds[1], tmp_path / "other")
    table = table_of(other)
    table.loc[3, "path"] = table_of(folds[0])["path"].iloc[5]
    table.to_csv(other / "predictions.csv", index=False)
    ended = likeness("pool", folds[0], other, "--out", tmp_path / "out")
    sentence = f"results of folds must have no image in common, got {table.loc[3, 'path']} in "
    assert_refused(ended, sentence, left=tmp_path / "out")


def test_directories_that_are_no_results(folds, tmp_path):
    out = tmp_path / "out"
    rule = "result must be a directory of `evaluate` or `score`, with metrics.json and predictions"
    assert_refused(likeness("pool", folds[0], tmp_path, "--out", out), rule, left=out)
    rule = "results must be two directories at least, got 1"
    assert_refused(likeness("pool", folds[0], "--out", out), rule, left=out)
    rule = "results must each be of another directory, got directory"
    assert_refused(likeness("pool", folds[0], folds[0], "--out", out), rule, left=out)
    rule = "out must be a new or empty directory, got"
    assert_refused(likeness("pool", *folds[:2], "--out", folds[0]), rule)
    broken = changed(folds[0], tmp_path / "broken")
    (broken / "metrics.json").write_text("{")
    ended = likeness("pool", folds[0], broken, "--out", out)
    assert_refused(ended, "metrics.json must be readable JSON, got", left=out)
    for name, table, rule in (
        ("bare", table_of(folds[0]).drop(columns="group"), "with the columns path, status, truth,"),
        ("twice", table_of(folds[0]).iloc[[0, 0]], "must be a list of different images"),
        ("none", table_of(folds[0]).assign(status="error"), "with rows of status ok"),
    ):
        other = changed(folds[0], tmp_path / name)
        table.to_csv(other / "predictions.csv", index=False)
        assert_refused(likeness("pool", folds[0], other, "--out", out), rule, left=out)
