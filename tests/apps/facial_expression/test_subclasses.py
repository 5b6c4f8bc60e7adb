"""`subclasses`: what is found, whether others find it again, and what is written."""

from __future__ import annotations

import functools
import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest

from fixtures.front_door import assert_refused
from fixtures.front_door import likeness as call
from fixtures.pages import Page
from fixtures.variant_models import (
    CLASSES,
    LABELS,
    SIZES,
    VARIANTS,
    embeddings,
    write_model,
    write_pictures,
)
from likeness.bundle import load_bundle
from likeness.errors import UserError
from likeness_apps.facial_expression.variants.assign import subclass_names
from likeness_apps.facial_expression.variants.found import divided, subclass_table
from likeness_apps.facial_expression.variants.stability import (
    NOT_ASKED,
    NOT_STABLE,
    STABLE,
    WHOLE,
    in_words,
    stability,
)

likeness = functools.partial(call, application="facial-expression")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("faces") / "set")


@pytest.fixture(scope="module")
def models(pictures, tmp_path_factory):
    """Two seeds that see the same variants, and one that does not."""
    root = tmp_path_factory.mktemp("models")
    for seed in (0, 1):
        write_model(root / f"seed-{seed}", pictures, embeddings(seed), seed=seed)
    write_model(root / "blind", pictures, embeddings(7, apart=0), seed=7, rounds=False)
    return root


# What was found


def test_the_planted_variants_are_found_under_the_numbers_that_the_model_keeps(models):
    one = divided(models / "seed-0")
    assert one.trained
    assert one.as_kept
    names = [one.names[number] for number in one.found.numbers_K]
    assert names == ["anger/1", "anger/3", "fear/1", "happiness/1"]
    assert one.found.sizes_K.tolist() == [40, 20, SIZES["fear"], SIZES["happiness"]]
    anger = LABELS == 0
    assert ((one.found.assigned_N[anger] == 2) == (VARIANTS[anger] == 1)).all()


def test_a_row_for_each_sub_class(models):
    one = divided(models / "seed-0")
    table = subclass_table(one).set_index("subclass")
    assert table.groupby("class")["share"].sum().tolist() == pytest.approx([1, 1, 1])
    own = one.embeddings_ND[(LABELS == 0) & (VARIANTS == 1)].astype(float)
    middle = own.mean(axis=0)
    wanted = math.sqrt(np.mean([math.dist(row, middle) ** 2 for row in own]))
    assert table.loc["anger/3", "spread"] == pytest.approx(wanted, rel=1e-5)
    assert table["certainty"].between(0.9, 1).all()
    bic = table[["bic_1", "bic_2", "bic_3"]]
    assert bic.loc["anger/1", "bic_2"] == 0 < bic.loc["anger/1", "bic_1"]
    assert bic.loc["happiness/1", "bic_1"] == 0 < bic.loc["happiness/1", "bic_2"]
    assert bic.loc["fear/1"].isna().all()  # too few pictures: nothing was fitted


def test_a_model_without_rounds_is_divided_now(models):
    one = divided(models / "blind")
    assert not one.trained
    assert one.spec.min_images == 100  # which no class here has
    assert one.found.numbers_K.tolist() == [0, 4, 8]
    as_first = divided(models / "blind", divided(models / "seed-0").spec)
    assert as_first.spec.min_images == 30


def test_a_picture_is_of_the_nearest_sub_class(models):
    bundle = load_bundle(models / "seed-0")
    rows = embeddings(0)
    found = subclass_names(rows, bundle)
    means = bundle.subclasses.means_KD.numpy()
    names = bundle.subclasses.names(CLASSES)
    for row, name in list(zip(rows, found, strict=True))[::9]:
        assert name == names[int(np.argmin([math.dist(row, mean) for mean in means]))]
    assert subclass_names(rows, load_bundle(models / "blind")) is None


# Stability


def test_what_both_seeds_find_is_stable(models):
    told = stability([divided(models / "seed-0"), divided(models / "seed-1")], draws=49)
    (pair,), (judged,) = told.pairs, told.judged
    assert pair.pictures == len(LABELS)
    assert pair.by_class == {"anger": pytest.approx(1)}
    assert told.verdicts == {"anger": STABLE, "fear": WHOLE, "happiness": WHOLE}
    assert judged.by_class["anger"].p_value == 1 / 50
    assert judged.by_class["anger"].observed < 0.5 * judged.by_class["anger"].expected
    assert told.verdict == STABLE
    assert in_words(told).startswith("Stable: the other models find all 1 divisions again")
    assert not pair.related


def test_what_another_seed_does_not_find_is_not_stable(models):
    first = divided(models / "seed-0")
    told = stability([first, divided(models / "blind", first.spec)], draws=49)
    assert told.verdicts["anger"] == NOT_STABLE
    assert told.judged[0].by_class["anger"].p_value > 0.02
    assert in_words(told).startswith("Not stable: of 1 divided classes, 1 are not found again")
    assert in_words(told).endswith("anger.")


def test_one_dissenter_is_enough(models):
    first = divided(models / "seed-0")
    others = divided(models / "seed-1"), divided(models / "blind", first.spec)
    told = stability([first, *others], draws=19)
    assert [(pair.first, pair.second) for pair in told.pairs] == [
        (a.bundle.model_id, b.bundle.model_id)
        for a, b in ((first, others[0]), (first, others[1]), others)
    ]
    assert told.verdict == NOT_STABLE


def test_a_model_alone_is_not_asked(models):
    told = stability([divided(models / "seed-0")], draws=19)
    assert told.verdicts["anger"] == told.verdict == NOT_ASKED
    assert "--also" in in_words(told)
    assert told.own.p_value == 1 / 20  # as any cut: it makes nothing stable
    whole = stability([divided(models / "blind")], draws=19)
    assert whole.verdict == WHOLE
    assert in_words(whole).startswith("No class is divided")


def test_pictures_are_matched_by_content_in_any_order(models, pictures, tmp_path):
    first = divided(models / "seed-0")
    turned = divided(models / "seed-1")
    order = np.random.default_rng(0).permutation(len(LABELS))
    shuffled = type(turned)(
        **{
            **vars(turned),
            "pictures": turned.pictures.iloc[order].reset_index(drop=True).assign(path="elsewhere"),
            "embeddings_ND": turned.embeddings_ND[order],
            "labels_N": turned.labels_N[order],
            "found": type(turned.found)(
                **{
                    **vars(turned.found),
                    "assigned_N": turned.found.assigned_N[order],
                    "certainty_N": turned.found.certainty_N[order],
                }
            ),
        }
    )
    straight, other = (stability([first, one], draws=9) for one in (turned, shuffled))
    assert other.pairs == straight.pairs
    assert other.judged[0].whole.observed == pytest.approx(straight.judged[0].whole.observed)


def test_models_of_one_beginning_are_named(models, pictures, tmp_path):
    first = divided(models / "seed-0")
    start = {"started_from": first.bundle.model_id}
    child = write_model(tmp_path / "child", pictures, embeddings(2), seed=2, provenance=start)
    (pair,) = stability([first, divided(child)], draws=9).pairs
    assert pair.related


def test_models_that_do_not_fit_are_refused(models, pictures, tmp_path):
    first = divided(models / "seed-0")
    with pytest.raises(UserError, match="also must be other models than MODEL"):
        stability([first, divided(models / "seed-0")])
    other = write_model(
        tmp_path / "other", pictures, embeddings(3), seed=3, classes=["anger", "fear", "joy"]
    )
    with pytest.raises(
        UserError, match="also must be models of the classes anger, fear, happiness"
    ):
        stability([first, divided(other)])
    strangers = divided(models / "seed-1")
    strangers.pictures["sha256"] = [f"{row}" for row in range(len(LABELS))]
    with pytest.raises(UserError, match="also must be models that share training pictures"):
        stability([first, strangers])
    relabelled = divided(models / "seed-1")
    relabelled.pictures.loc[3, "label"] = "fear"
    with pytest.raises(UserError, match=r"same labels as MODEL, got \['anger/003.png'\]"):
        stability([first, relabelled])


# The command


@pytest.fixture(scope="module")
def written(models, pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "variants"
    asked = models / "seed-0", pictures, "--also", models / "seed-1", "--also", models / "blind"
    options = "--include-images", "--draws", 19
    ended = likeness("subclasses", *asked, "--out", out, *options)
    assert ended.code == 0, ended.err
    assert "anger/3" in ended.out
    assert "Not stable" in ended.out
    return out


def test_files_agree_with_each_other(written):
    facts = json.loads((written / "subclasses.json").read_text())
    table = pd.read_csv(written / "subclasses.csv")
    assert table["subclass"].tolist() == [row["subclass"] for row in facts["subclasses"]]
    assert table["pictures"].tolist() == [40, 20, 12, 40]
    assert facts["stability"]["by_class"]["anger"] == NOT_STABLE
    assert len(facts["stability"]["pairs"]) == 3
    assert facts["models"][0]["seed"] == 0
    assert "says nothing of what the pictures have in common" in facts["meaning"]


def test_pictures_trained_on_keep_their_sub_class_and_others_take_the_nearest(written, models):
    table = pd.read_csv(written / "assigned.csv", keep_default_na=False)
    assert len(table) == len(LABELS) + 6
    known = table[table["how"] == "training"]
    one = divided(models / "seed-0")
    wanted = dict(zip(one.pictures["path"], one.found.assigned_N, strict=True))
    assert [one.names[wanted[path]] for path in known["path"]] == known["subclass"].tolist()
    new = table[table["how"] == "nearest mean"]
    added = [f"{name}/{SIZES[name] + more:03}.png" for name in CLASSES for more in (0, 1)]
    assert sorted(new["path"]) == added
    assert set(new["subclass"]) <= {"anger/1", "anger/3", "fear/1", "happiness/1"}
    assert (table["distance"] >= 0).all()
    facts = json.loads((written / "subclasses.json").read_text())
    assert facts["assigned"] == {
        "pictures": len(table),
        "unreadable": 0,
        "trained_on": len(LABELS),
        "by_subclass": table["subclass"].value_counts(sort=False).to_dict(),
    }


def test_the_page_says_it_plainly_and_shows_faces(written):
    text = (written / "subclasses.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "Not stable: of 1 divided classes" in page.text
    assert "never what a person feels" in page.text
    assert "Not a kind of emotion" in page.text
    for name in ("anger/1", "anger/3", "happiness/1"):
        assert name in page.text
    rows = len([one for one in page.all("img") if "data:image/webp" in one.get("src", "")])
    assert rows == 8 * 4
    assert text.count("<image") == 3 + 2  # the classes, and the sub-classes of anger
    assert "moderate recovery" in page.text
    assert page.ids("section") >= {"found", "stability", "gallery", "planes", "components"}


def test_without_pictures_the_page_has_none(models, pictures, tmp_path):
    ended = likeness("subclasses", models / "seed-0", pictures, "--out", tmp_path / "a", "--quiet")
    assert ended.code == 0, ended.err
    assert ended.out == ""
    text = (tmp_path / "a" / "subclasses.html").read_text(encoding="utf-8")
    assert "data:image" not in text
    assert "only put in with --include-images" in text
    assert likeness("subclasses", models / "blind", "--out", tmp_path / "b").code == 0
    assert {path.name for path in (tmp_path / "b").iterdir()} == {
        "subclasses.html", "subclasses.csv", "subclasses.json"
    }  # fmt: skip


def test_a_bad_picture_is_a_row(models, pictures, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    shutil.copyfile(pictures / "anger" / "000.png", folder / "known.png")
    shutil.copyfile(pictures / "anger" / "060.png", folder / "new.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    ended = likeness("subclasses", models / "seed-0", folder, "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    table = pd.read_csv(tmp_path / "out" / "assigned.csv", keep_default_na=False).set_index("path")
    assert table["status"].to_dict() == {"broken.png": "error", "known.png": "ok", "new.png": "ok"}
    assert table.loc["broken.png", "reason"]
    assert table.loc["broken.png", "subclass"] == ""
    assert table.loc["known.png", "subclass"] == "anger/3"


def test_mistakes_are_one_sentence(models, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    asked = "subclasses", models / "seed-0"
    assert_refused(likeness(*asked, "--out", tmp_path / "full"), "out must be")
    twice = likeness(*asked, "--also", models / "seed-0", "--out", tmp_path / "x")
    assert_refused(twice, "also must be other models than MODEL", left=tmp_path / "x")
    nothing = likeness("subclasses", tmp_path, "--out", tmp_path / "y")
    assert_refused(nothing, "model", left=tmp_path / "y")
