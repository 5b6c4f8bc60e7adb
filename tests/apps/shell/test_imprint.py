"""`imprint` by the front door: a class never trained is served, and the model says what it is."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from fixtures.front_door import SMALL, assert_refused, changes, likeness
from fixtures.scenes import save, texture
from likeness.bundle import load_bundle

CLASSES, NEW = ("lake", "street", "town"), "quay"
COSINE = "model.class_layer=cosine"
SHOTS = 5


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Three classes to train on, in folders; a fourth beside them, and new pictures of all."""
    top = tmp_path_factory.mktemp("imprint")
    for kind, name in enumerate((*CLASSES, NEW)):
        folder = top / "known" if name != NEW else top / "new"
        for number in range(12):
            save(folder / name / f"{number}.png", texture(kind, number))
        for number in range(100, 106):
            save(top / "asked" / f"{name}_{number}.png", texture(kind, number))
    for number in range(SHOTS):
        save(top / "shots" / f"{number}.png", texture(len(CLASSES), number))
    return top


def trained(top, name, *more):
    out = top / name
    options = ["--config", "smoke", *changes(*SMALL, "epochs=3", *more)]
    ended = likeness("train", top / "known", "--out", out, "--quiet", *options)
    assert ended.code == 0, ended.err
    return out


@pytest.fixture(scope="module")
def linear(scenes):
    return trained(scenes, "linear")


@pytest.fixture(scope="module")
def cosine(scenes):
    """After so short a training its vectors are imprinted anew."""
    return trained(scenes, "cosine", COSINE)


@pytest.fixture(scope="module")
def grown(scenes, cosine):
    """The model with the fourth class."""
    out = scenes / "grown"
    ended = likeness("imprint", cosine, scenes / "shots", "--label", NEW, "--out", out)
    assert ended.code == 0, ended.err
    assert "3 classes and 'quay', from 5 images" in ended.out
    assert "thin" not in ended.out
    assert "by case only" not in ended.out
    assert "Known images may be taken for 'quay' (of those that were trained on, 0.0 %" in ended.out
    assert f"--set start={out} --set {COSINE}" in ended.out
    return out


def said(top, model, name):
    """What a model says of the new pictures: recall of the old classes and of the new one."""
    out = top / f"{name}.csv"
    ended = likeness("predict", model, top / "asked", "--out", out, "--quiet")
    assert ended.code == 0, ended.err
    table = pd.read_csv(out)
    truth = table["path"].str.split("_").str[0]
    right = table["label"] == truth
    return float(right[truth != NEW].mean()), float(right[truth == NEW].mean())


def test_the_class_is_served_and_the_others_stay(scenes, cosine, grown):
    old, never = said(scenes, cosine, "before")
    assert never == 0
    kept, new = said(scenes, grown, "after")
    assert new >= 0.8
    assert kept >= old - 0.1


@pytest.mark.parametrize("more", [(), ("objective.classification=null",)], ids=["linear", "none"])
def test_without_a_layer_of_cosines(scenes, linear, more):
    """A linear layer is replaced; a model without one answers by centres."""
    model = linear if not more else trained(scenes, "bare", *more, "monitor=map_at_r")
    name = "bare2" if more else "linear2"
    ended = likeness("imprint", model, scenes / "shots", "--label", NEW, "--out", scenes / name)
    assert ended.code == 0, ended.err
    assert ("one of cosines now, imprinted for all" in ended.out) == (not more)
    assert said(scenes, scenes / name, name)[1] >= 0.8


def test_the_model_says_what_it_is(cosine, grown):
    old, new = load_bundle(cosine), load_bundle(grown)
    assert new.classes == [*CLASSES, NEW]
    assert new.model_id != old.model_id
    rows = new.splits.iloc[len(old.splits) :]
    assert set(rows["label"]) == {NEW}
    assert set(rows["split"]) == {"train"}
    assert len(rows) == SHOTS == rows["sha256"].nunique()
    assert new.provenance["imprinted_from"] == old.model_id
    assert new.provenance["data_hash"] != old.provenance["data_hash"]
    assert new.provenance["layout"] == old.provenance["layout"]
    metrics = json.loads((grown / "metrics.json").read_text())
    (added,) = metrics["imprinted"]
    assert (added["label"], added["images"], added["taken"]) == (NEW, SHOTS, 0.0)
    assert "classification" not in metrics
    assert metrics["before_imprinting"]["classification"] == old.metrics["classification"]
    for part in (
        f"imprinted from {SHOTS} images into model {old.model_id}",
        f"Not evaluated with the class `{NEW}`",
        f"This does not cover `{NEW}`",
        f"The network never learned to tell `{NEW}`",
    ):
        assert part in new.card
    assert old.card.splitlines()[0] in new.card.splitlines()[0]


def test_licences_join_and_an_unknown_one_makes_the_whole_unknown(scenes, cosine, grown, tmp_path):
    assert load_bundle(grown).data_licence is None
    assert "Licence: not stated" in load_bundle(grown).card
    known = shutil.copytree(scenes / "shots", tmp_path / "set" / "shots")
    (tmp_path / "set" / "readme.txt").write_text("Generated data: nothing real\n")
    for licence, out in ((["--licence", "CC0"], "a"), ([], "b")):
        ended = likeness(
            *("imprint", cosine, known, "--label", NEW, "--out", tmp_path / out, *licence)
        )
        assert ended.code == 0, ended.err
        assert load_bundle(tmp_path / out).data_licence is None  # the folders' own is unknown


def test_training_goes_on_from_it(scenes, grown, tmp_path):
    """The imprinted row is where the class layer begins; a table says who was trained on."""
    data = shutil.copytree(scenes / "known", tmp_path / "all")
    shutil.copytree(scenes / "new" / NEW, data / NEW)
    out = tmp_path / "fine"
    options = changes(*SMALL, f"start={grown}", COSINE, "epochs=1", "optimiser.lr=1e-9")
    refused = likeness("train", data, "--out", out, "--config", "smoke", *options)
    assert_refused(refused, "was not trained on validation or test images of this run", left=out)
    known = load_bundle(grown).splits.query("label != @NEW")[["path", "label", "split"]]
    split_of = {number: "val" if number % 2 else "test" for number in range(SHOTS, 12)}
    others = [(f"{NEW}/{number}.png", NEW, split_of.get(number, "train")) for number in range(12)]
    table = pd.concat([known, pd.DataFrame(others, columns=known.columns)])
    table.to_csv(data / "all.csv", index=False)
    ended = likeness("train", data / "all.csv", "--out", out, "--config", "smoke", *options)
    assert ended.code == 0, ended.err
    assert f"starts from the model {load_bundle(grown).model_id}" in ended.out
    assert "at random" not in ended.out
    begun, tuned = (load_bundle(path) for path in (grown, out))
    assert tuned.classes == sorted([*CLASSES, NEW])
    key = "classifiers.class.bank.weight"
    ours, theirs = (bundle.embedder.state_dict()[key] for bundle in (tuned, begun))
    order = [begun.classes.index(name) for name in tuned.classes]
    np.testing.assert_allclose(ours.numpy(), theirs[order].numpy(), atol=1e-5)


def test_a_linear_run_cannot_start_from_it(scenes, grown, tmp_path):
    ended = likeness(
        *("train", scenes / "known", "--out", tmp_path / "run", "--config", "smoke"),
        *changes(*SMALL, f"start={grown}"),
    )
    assert_refused(
        ended, "start must be a model whose model.class_layer is 'linear'", left=tmp_path / "run"
    )


def test_one_bad_file_and_a_copy_stop_nothing(scenes, cosine, tmp_path):
    shots = shutil.copytree(scenes / "shots", tmp_path / "shots")
    (shots / "broken.png").write_bytes(b"no picture")
    shutil.copy(shots / "0.png", shots / "copy.png")
    out = tmp_path / "out"
    ended = likeness("imprint", cosine, shots, "--label", NEW, "--out", out, "--tta", "flips")
    assert ended.code == 0, ended.err
    assert "left out: broken.png" in ended.out
    assert "left out: copy.png: the same picture" in ended.out
    assert "from 5 images" in ended.out


def test_of_a_table_the_rows_of_the_label_that_are_not_held_out(scenes, cosine, tmp_path):
    rows = [(f"new/{NEW}/{n}.png", NEW, "test" if n > 3 else "train") for n in range(6)]
    rows += [(f"known/lake/{n}.png", "lake", "train") for n in range(3)]
    table = scenes / "table.csv"
    pd.DataFrame(rows, columns=["path", "label", "split"]).to_csv(table, index=False)
    out = tmp_path / "out"
    ended = likeness("imprint", cosine, table, "--label", NEW, "--out", out)
    assert ended.code == 0, ended.err
    assert "from 4 images" in ended.out
    other = likeness("imprint", cosine, table, "--label", "pier", "--out", tmp_path / "no")
    assert_refused(other, "images must be a table with rows labelled 'pier'", left=tmp_path / "no")


def test_what_is_worth_a_second_look_is_said(scenes, cosine, tmp_path):
    shot, out = scenes / "shots" / "0.png", tmp_path / "out"
    ended = likeness("imprint", cosine, shot, "--label", "Lake", "--out", out)
    assert ended.code == 0, ended.err
    assert "'Lake' differs from the known class 'lake' by case only" in ended.out
    assert "One image is thin" in ended.out


def test_refusals_leave_nothing(scenes, cosine, grown, tmp_path):
    out = tmp_path / "out"

    def refused(*words, parts):
        assert_refused(likeness("imprint", *words, "--out", out), *parts, left=out)

    shots = scenes / "shots"
    refused(cosine, shots, "--label", "town", parts=("label must be none of the model's classes",))
    refused(cosine, shots, "--label", " ", parts=("label must be a name, not empty, got ' '",))
    refused(
        cosine,
        shots,
        "--label",
        "a|b",
        parts=(
            "label must be",
            "which stands between",
        ),
    )
    refused(cosine, scenes / "known", "--label", NEW, parts=("images must be new to the model",))
    refused(cosine, tmp_path / "no", "--label", NEW, parts=("input must be an existing folder",))
    refused(tmp_path, shots, "--label", NEW, parts=("model must be a model or run directory",))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"no picture")
    rule = "images must be at least one that can be read"
    refused(cosine, tmp_path / "bad", "--label", NEW, parts=(rule,))
    taken = likeness("imprint", cosine, shots, "--label", NEW, "--out", grown)
    assert_refused(taken, "out must be a new directory")
