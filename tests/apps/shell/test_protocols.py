"""Who is trained on and who is tested, by protocol, by fold and by shares."""

from pathlib import Path

import pandas as pd
import pytest

from likeness.data.manifest import build
from likeness.errors import UserError
from likeness.training.spec import DataSpec
from likeness_apps.remote_sensing.domain import DOMAIN
from likeness_apps.shell.domain import (
    CardText,
    Domain,
    GivenFolds,
    GivenSplits,
    Protocol,
    Share,
)
from likeness_apps.shell.protocols import split_rows, stated_score, stated_split

PROTOCOLS = {
    "ours-80": Protocol(("ours", "ours-too"), Share(0.8), "a paper"),
    "whole-50": Protocol((), Share(0.5, groups="group"), "our reconstruction"),
    "lists": Protocol(("ours",), GivenSplits(), "the authors' lists"),
    "threefold": Protocol(("ours",), GivenFolds(3), "the authors' folds"),
    "several": Protocol((), Share(0.8), "a paper", multilabel=True),
}
FIELD = Domain(
    name="any-field",
    folder="any_field",
    default_config="none",
    recognise=lambda path: images(),
    samples=("table",),
    write_sample=lambda out, seed, layout: out,
    card=CardText("", "", "", ""),
    protocols=PROTOCOLS,
)


def images(count=60, layout="ours", multilabel=False, **columns):
    paths = [f"{number:03d}.png" for number in range(count)]
    labels = [("lake", "town")[number % 2] for number in range(count)]
    given = {"path": paths, "label": labels, **columns}
    return build(Path(), given, layout, multilabel=multilabel)


def splits(manifest, seed=0, **spec):
    table = split_rows(FIELD, manifest, manifest.table, DataSpec(**spec), seed)
    assert table["path"].tolist() == manifest.table["path"].tolist()
    return table


def counts(table):
    return table["split"].value_counts().to_dict()


# --- shares ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["ours", "ours-too"])
def test_a_share_is_of_the_images_whatever_their_groups_and_splits(layout):
    manifest = images(layout=layout, group=["one mosaic"] * 60, split=["train"] * 60)
    table = splits(manifest, protocol="ours-80", val=0.25)
    assert counts(table) == {"train": 36, "val": 12, "test": 12}
    assert (table.groupby("label")["split"].value_counts() % 6 == 0).all()
    other = splits(manifest, seed=1, protocol="ours-80", val=0.25)
    assert (other["split"] != table["split"]).any()


def test_a_share_may_keep_groups_whole():
    manifest = images(group=[f"block {number // 6}" for number in range(60)])
    table = splits(manifest, protocol="whole-50", val=0.2)
    assert (table.groupby("group")["split"].nunique() == 1).all()
    assert counts(table) == {"train": 24, "val": 6, "test": 30}


def test_several_labels_are_for_their_own_protocols():
    several = images(multilabel=True)
    assert counts(splits(several, protocol="several", val=0.25))["test"] == 12
    with pytest.raises(UserError, match="data of protocol ours-80 must be one label per image"):
        splits(several, protocol="ours-80")
    with pytest.raises(UserError, match="protocol several must be a set of images with several"):
        splits(images(), protocol="several")


# --- given splits ---------------------------------------------------------------------------------


def test_given_splits_stay_and_only_a_missing_val_is_cut():
    given = ["train"] * 40 + ["val"] * 8 + ["test"] * 10 + [""] * 2
    table = splits(images(split=given), protocol="lists", val=0.5)
    assert table["split"].tolist() == given
    given = ["train"] * 40 + ["test"] * 20
    table = splits(images(split=given), protocol="lists", val=0.25)
    assert counts(table) == {"train": 30, "val": 10, "test": 20}
    assert (table["split"].iloc[40:] == "test").all()


def test_copies_share_a_split_where_one_is_cut_from_given_ones():
    """Pictures come in pairs, and some are in the test part as well, where they stay."""
    pixels = [f"picture {number % 20}" for number in range(40)]
    manifest = images(split=["train"] * 40 + ["test"] * 20, pixels=[*pixels, *pixels[:20]])
    table = splits(manifest, val=0.25, groups="group")
    assert counts(table) == {"train": 30, "val": 10, "test": 20}
    cut = table[table["split"] != "test"]
    assert (cut.groupby("pixels")["split"].nunique() == 1).all()
    assert table["group"][40:].tolist() == manifest.table["group"][40:].tolist()
    given = ["train"] * 30 + ["val"] * 10 + ["test"] * 20
    whole = images(split=given, pixels=["the same"] * 60)
    assert splits(whole, groups="group")["group"].tolist() == whole.table["group"].tolist()


@pytest.mark.parametrize(
    ("given", "got"), [([""] * 60, "no split"), (["train"] * 60, r"\['train'\]")]
)
def test_given_splits_must_be_there(given, got):
    rule = "split into train and test by lists or folders beside the images"
    with pytest.raises(UserError, match=f"data of protocol lists must be {rule}, got .?{got}"):
        splits(images(split=given), protocol="lists")


# --- folds ----------------------------------------------------------------------------------------

THREE = [str(1 + number // 2 % 3) for number in range(60)]


@pytest.mark.parametrize("fold", [1, 2, 3])
@pytest.mark.parametrize("protocol", ["threefold", None])
def test_one_fold_is_tested_and_the_others_train(fold, protocol):
    table = splits(images(fold=THREE), protocol=protocol, fold=fold, val=0.25)
    assert ((table["split"] == "test") == (table["fold"] == str(fold))).all()
    assert counts(table) == {"train": 30, "val": 10, "test": 20}


def test_every_image_is_tested_once_over_the_folds():
    manifest = images(fold=THREE)
    tested = [splits(manifest, protocol="threefold", fold=k)["split"] == "test" for k in (1, 2, 3)]
    assert (sum(column.astype(int) for column in tested) == 1).all()


def test_validation_is_cut_in_whole_groups_and_folds_may_not_share_one():
    groups = [f"patient {number // 6}" for number in range(60)]
    folds = [str(1 + number // 6 % 3) for number in range(60)]
    table = splits(images(fold=folds, group=groups), protocol="threefold", fold=2, val=0.3)
    assert (table.groupby("group")["split"].nunique() == 1).all()
    with pytest.raises(UserError, match="group 'patient 0' must be in one split, got"):
        splits(images(fold=THREE, group=groups), protocol="threefold", fold=2)
    loose = splits(images(fold=THREE, group=groups), protocol="threefold", fold=2, groups="none")
    assert counts(loose)["test"] == 20


def test_copies_in_the_training_folds_share_a_split():
    manifest = images(fold=THREE)
    copies = [f"content {number // 3}" for number in range(60)]
    table = manifest.table.assign(pixels=copies)
    spec = DataSpec(fold=1, val=0.3)
    found = split_rows(FIELD, manifest, table, spec, 0)
    rest = found[found["split"] != "test"]
    assert (rest.groupby("pixels")["split"].nunique() == 1).all()


@pytest.mark.parametrize("cells", [THREE, [int(fold) for fold in THREE], [float(f) for f in THREE]])
def test_folds_from_any_kind_of_table(cells):
    table = splits(images(fold=cells), protocol="threefold", fold=3)
    assert (table["split"] == "test").sum() == 20


@pytest.mark.parametrize("nothing", ["", None, float("nan")])
def test_images_without_a_fold_are_not_used(nothing):
    table = splits(images(fold=[nothing, *THREE[1:]]), fold=2)
    assert table["split"].iloc[0] == ""
    assert (table["split"].iloc[1:] != "").all()


@pytest.mark.parametrize(
    ("columns", "spec", "sentence"),
    [
        (
            {},
            {"protocol": "nobodys"},
            "data.protocol must be one of ours-80, whole-50, lists, thre",
        ),
        (
            {},
            {"protocol": "threefold", "fold": 1},
            "protocol threefold must be a set with a column",
        ),
        ({}, {"fold": 1}, "data must be a set with a column 'fold', got 'none'"),
        (
            {"fold": THREE},
            {"protocol": "threefold"},
            "data.fold must be the number of the test fold, one of 1, 2, 3, got None",
        ),
        (
            {"fold": THREE},
            {"protocol": "threefold", "fold": 4},
            "data.fold must be the number of the test fold, one of 1, 2, 3, got 4",
        ),
        ({"fold": THREE}, {"fold": 4}, "one of 1, 2, 3, got 4"),
        (
            {"fold": ["1"] * 30 + ["2"] * 30},
            {"protocol": "threefold", "fold": 1},
            "data of protocol threefold must be images in all folds from 1 to 3, got [1, 2]",
        ),
        ({"fold": ["1"] * 60}, {"fold": 1}, "data must be images in at least two folds, got [1]"),
        (
            {"fold": ["one", *THREE[1:]]},
            {"fold": 1},
            "fold of 000.png must be a whole number from 1, or empty, got 'one'",
        ),
        ({"fold": ["1.5", *THREE[1:]]}, {"fold": 1}, "from 1, or empty, got '1.5'"),
        ({"fold": ["-1", *THREE[1:]]}, {"fold": 1}, "from 1, or empty, got '-1'"),
        (
            {"fold": THREE},
            {"protocol": "ours-80", "fold": 1},
            "data.fold must be null for protocol ours-80, which has no folds, got 1",
        ),
        (
            {"layout": "theirs"},
            {"protocol": "ours-80"},
            "data of protocol ours-80 must be in the layout ours or ours-too, got 'theirs'",
        ),
        ({"layout": "theirs", "fold": THREE}, {"protocol": "threefold", "fold": 1}, "layout ours,"),
    ],
)
def test_what_does_not_fit_is_one_sentence(columns, spec, sentence):
    with pytest.raises(UserError) as caught:
        splits(images(**columns), **spec)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


# --- what results say -----------------------------------------------------------------------------


def test_results_say_their_protocol_its_source_and_the_fold():
    assert stated_split(FIELD, None, None) == {"protocol": "holdout"}
    assert stated_split(FIELD, None, 2) == {"protocol": "own folds", "fold": 2}
    facts = {"protocol": "threefold", "protocol_source": "the authors' folds", "fold": 3}
    assert stated_split(FIELD, "threefold", 3) == stated_score(FIELD, "threefold", 3) == facts
    assert stated_split(FIELD, "of an older version", None) == {"protocol": "of an older version"}
    assert stated_score(FIELD, None, None) == {"protocol": "none stated"}
    assert stated_score(FIELD, None, 2) == {"protocol": "none stated", "fold": 2}
    assert stated_score(FIELD, "threefold", None)["protocol"] == "threefold"


@pytest.mark.parametrize(
    ("name", "fold", "sentence"),
    [
        ("threefold", 4, "fold must be from 1 to 3 for protocol threefold, got 4"),
        ("ours-80", 1, "fold must be left out for protocol ours-80, which has no folds, got 1"),
        ("nobodys", None, "protocol must be one of ours-80, whole-50, lists, threefold, several"),
    ],
)
def test_scores_of_folds_that_do_not_exist(name, fold, sentence):
    with pytest.raises(UserError) as caught:
        stated_score(FIELD, name, fold)
    assert sentence in str(caught.value)


REMOTE_SENSING = {
    "ucm-80": (("uc-merced",), 0.8),
    "aid-20": (("aid",), 0.2),
    "aid-50": (("aid",), 0.5),
    "siri-google-80": (("siri-whu",), 0.8),
    "resisc45-10": (("resisc45",), 0.1),
    "resisc45-20": (("resisc45",), 0.2),
    "eurosat-80": (("eurosat-rgb", "eurosat-13"), 0.8),
}


def test_the_protocols_of_remote_sensing():
    known = DOMAIN.protocols
    others = {"eurosat", "coffee-5fold", "multilabel-retrieval"}
    assert set(known) == set(REMOTE_SENSING) | others
    for name, (layouts, share) in REMOTE_SENSING.items():
        assert (known[name].layouts, known[name].split) == (layouts, Share(share))
    assert known["eurosat"].split == GivenSplits()
    assert known["coffee-5fold"].split == GivenFolds(5)
    assert known["multilabel-retrieval"].multilabel
    assert "our reconstruction" in known["multilabel-retrieval"].source
    assert all(len(protocol.source) > 20 for protocol in known.values())


def test_layouts_of_protocols_are_layouts_that_are_recognised():
    from likeness_apps.remote_sensing.layouts import coffee
    from likeness_apps.remote_sensing.layouts.named import LAYOUTS

    known = {layout.name for layout in LAYOUTS} | {coffee.NAME}
    named = {name for protocol in DOMAIN.protocols.values() for name in protocol.layouts}
    assert named <= known


def test_rows_keep_what_else_is_known_of_them():
    manifest = images(fold=THREE, camera=list(range(60)))
    table = splits(manifest, protocol="threefold", fold=1)
    pd.testing.assert_series_equal(table["camera"], manifest.table["camera"])
