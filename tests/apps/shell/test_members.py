"""By the front door: strangers are refused, views averaged, models asked together."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fixtures.front_door import assert_refused, likeness, small
from likeness.errors import UserError
from likeness_apps.shell.members import require_unseen


def train(scenes, out, *changes):
    ended = likeness("train", scenes, "--out", out, *small("data.scope_check=true", *changes))
    assert ended.code == 0, ended.err
    return out


@pytest.fixture(scope="module")
def runs(scenes, tmp_path_factory):
    """Two models of one split, and one of another."""
    root = tmp_path_factory.mktemp("members")
    changed = {"one": (), "two": ("epochs=1",), "other": ("seed=5", "epochs=1")}
    return {name: train(scenes, root / name, *items) for name, items in changed.items()}


@pytest.fixture(scope="module")
def results(runs, scenes, tmp_path_factory):
    """Each alone, both, and one with mirrored views, measured on the test split."""
    root = tmp_path_factory.mktemp("results")
    asked = {
        "one": (runs["one"],),
        "two": (runs["two"],),
        "both": (runs["one"], "--also", runs["two"]),
        "flips": (runs["one"], "--tta", "flips"),
    }
    for name, (model, *options) in asked.items():
        ended = likeness("evaluate", model, scenes, "--out", root / name, *options)
        assert ended.code == 0, ended.err
    return root


@pytest.fixture
def mixed(scenes, tmp_path):
    """Two pictures of the known kind, one of noise, one that is none."""
    folder = tmp_path / "in"
    folder.mkdir()
    for place, scene in enumerate(sorted(scenes.rglob("*.tif"))[:2]):
        (folder / f"own-{place}.tif").write_bytes(scene.read_bytes())
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def table_of(path):
    return pd.read_csv(path, keep_default_na=False).set_index("path")


def test_the_model_says_what_it_remembers(runs, run):
    told = metrics_of(runs["one"] / "model")["scope"]
    assert told["threshold"] >= 1
    assert told["validation_refused"] == 0
    assert (told["training_images"], told["kept"]) == (20, 0.995)
    assert "scope" not in metrics_of(run / "model")  # off unless it is asked for


def test_strangers_get_no_label(runs, mixed, tmp_path):
    ended = likeness("predict", runs["one"], mixed, "--out", tmp_path / "out.csv")
    assert ended.code == 0
    assert "2 ok, 1 failed, 1 out of scope (column reason says why)" in ended.out
    table = table_of(tmp_path / "out.csv")
    assert table["status"].to_dict() == {
        "broken.png": "error",
        "noise.png": "out_of_scope",
        "own-0.tif": "ok",
        "own-1.tif": "ok",
    }
    assert table.loc["noise.png", "label"] == ""
    assert table.loc["noise.png", "reason"].startswith("unlike the training images: score ")


def test_embed_gives_strangers_too(runs, mixed, tmp_path):
    ended = likeness("embed", runs["one"], mixed, "--out", tmp_path / "out.parquet")
    assert "3 ok, 1 failed (column reason says why)" in ended.out


def test_labelled_images_are_measured_whatever_they_look_like(results):
    found = metrics_of(results / "one")
    table = table_of(results / "one" / "predictions.csv")
    assert set(table["status"]) == {"ok"}
    assert found["items"]["measured"] == len(table)
    assert found["scope"]["refused"] == table["out_of_scope"].sum()
    assert found["scope"]["share"] == table["out_of_scope"].mean()


def test_without_a_record_nothing_is_said_of_scope(evaluated):
    assert "scope" not in metrics_of(evaluated)
    assert "out_of_scope" not in table_of(evaluated / "predictions.csv")


def test_who_was_asked_and_how_is_stated(results):
    ids = [metrics_of(results / name)["model_id"] for name in ("one", "two")]
    both = metrics_of(results / "both")
    assert both["ensemble"]["members"] == ids
    assert both["model_id"] == "+".join(ids)
    assert "ensemble" not in metrics_of(results / "one")
    views = {name: metrics_of(results / name)["tta"] for name in ("one", "both", "flips")}
    assert views == {"one": "one", "both": "one", "flips": "flips"}


def test_the_answers_together_are_the_mean(results):
    one, two, both = (
        table_of(results / name / "predictions.csv") for name in ("one", "two", "both")
    )
    columns = [name for name in one if name.startswith("p_")]
    for path in both.index:
        means = [(one.loc[path, name] + two.loc[path, name]) / 2 for name in columns]
        assert both.loc[path, columns].tolist() == pytest.approx(means, abs=1e-5)
        assert both.loc[path, "label"] == columns[int(np.argmax(means))].removeprefix("p_")
    readouts = metrics_of(results / "both")["readouts"]
    assert list(readouts) == ["softmax"]  # centres and galleries belong to one model each
    shown = readouts["softmax"]["overall_accuracy"]["value"]
    assert shown == pytest.approx((both["label"] == both["truth"]).mean())
    assert metrics_of(results / "both")["retrieval"]["map@r"]["value"] > 0


def test_views_change_the_numbers(results):
    one, flips = (table_of(results / name / "predictions.csv") for name in ("one", "flips"))
    columns = [name for name in one if name.startswith("p_")]
    assert not np.allclose(one[columns], flips[columns], atol=1e-7)
    assert list(metrics_of(results / "flips")["readouts"]) == list(
        metrics_of(results / "one")["readouts"]
    )


def test_several_models_predict_together(runs, mixed, tmp_path):
    tables = []
    for name, options in {
        "one": (runs["one"], "--tta", "flips"),
        "two": (runs["two"], "--tta", "flips"),
        "both": (runs["one"], "--also", runs["two"], "--tta", "flips"),
    }.items():
        out = tmp_path / f"{name}.csv"
        model, *rest = options
        assert likeness("predict", model, mixed, "--out", out, *rest).code == 0
        tables.append(table_of(out))
    one, two, both = tables
    mean = (float(one.loc["own-0.tif", "p_beach"]) + float(two.loc["own-0.tif", "p_beach"])) / 2
    assert float(both.loc["own-0.tif", "p_beach"]) == pytest.approx(mean, abs=1e-5)
    facts = json.loads((tmp_path / "both.csv.meta.json").read_text())
    assert facts["test_time_augmentation"] == "flips"
    assert list(json.loads(facts["settings"])["ensemble"]) == facts["model_id"].split("+")


def test_a_member_that_knows_the_answers_is_refused(runs, scenes, tmp_path):
    out = tmp_path / "out"
    ended = likeness("evaluate", runs["one"], scenes, "--also", runs["other"], "--out", out)
    assert_refused(ended, "also must be models that were not trained on the measured", left=out)


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_mistakes_are_one_sentence(runs, scenes, tmp_path, command):
    out = tmp_path / "out.csv"
    asked = (command, runs["one"], scenes, "--out", out)
    views = likeness(*asked, "--tta", "many")
    assert_refused(views, "tta must be one of one, flips, dihedral, got 'many'", left=out)
    twice = likeness(*asked, "--also", runs["one"])
    assert_refused(twice, "also must be another model each time", left=out)
    missing = likeness(*asked, "--also", tmp_path / "none")
    assert_refused(missing, "model must be a model or run directory", left=out)


def bundle(**splits):
    table = pd.DataFrame({"sha256": list(splits), "split": list(splits.values())})
    return SimpleNamespace(model_id="m1", splits=table)


def test_only_training_images_of_the_other_models_count():
    others = [bundle(aa="train", bb="test", cc="val")]
    require_unseen(others, "test", ["bb", "cc", "dd", ""], ["b", "c", "d", "e"])
    with pytest.raises(UserError, match="got 'm1, trained on 1 of them, the first a'"):
        require_unseen(others, "test", ["bb", "aa"], ["b", "a"])
    require_unseen(others, "all", ["aa"], ["a"])  # whoever asks for all knows what is in it


@pytest.mark.parametrize(
    ("application", "words"),
    [
        ("skin-lesion", ("predict", "MODEL", "DATA", "--out", "OUT/rows.csv")),
        ("skin-lesion", ("embed", "MODEL", "DATA", "--out", "OUT/rows.parquet")),
        ("skin-lesion", ("explain", "MODEL", "DATA", "--out", "OUT/why")),
        ("skin-lesion", ("imprint", "MODEL", "DATA", "--label", "new", "--out", "OUT/new")),
        ("facial-expression", ("evaluate", "MODEL", "DATA", "--out", "OUT/figures")),
        (
            "facial-expression",
            ("predict", "MODEL", "DATA", "--faces", "find", "--out", "OUT/f.csv"),
        ),
        ("facial-expression", ("index", "MODEL", "DATA", "--out", "OUT/index")),
        ("facial-expression", ("video", "MODEL", "DATA", "--out", "OUT/talk.parquet")),
    ],
)
def test_a_model_of_another_application_does_not_answer(application, words, runs, mixed, tmp_path):
    names = {"MODEL": str(runs["one"]), "DATA": str(mixed)}
    words = [names.get(word, word.replace("OUT", str(tmp_path))) for word in words]
    ended = likeness(*words, application=application)
    assert_refused(
        ended,
        f"model must be one of likeness {application}",
        "which likeness remote-sensing trained",
    )
    assert sorted(tmp_path.iterdir()) == [tmp_path / "in"]
