"""The retrieval sets as they are downloaded."""

from __future__ import annotations

import pytest

from fixtures import retrieval_sets
from fixtures.front_door import assert_refused, likeness
from fixtures.retrieval_sets import CLASSES, PER_CLASS
from fixtures.scenes import write_aid
from likeness.errors import UserError
from likeness_apps.benchmark.layouts import recognise
from likeness_apps.benchmark.protocol import divided, is_published

WRITERS = {
    "cub200": retrieval_sets.write_cub200,
    "cars196": retrieval_sets.write_cars196,
    "cars196-parts": retrieval_sets.write_cars_parts,
    "sop": retrieval_sets.write_sop,
    "inshop": retrieval_sets.write_inshop,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_published_set_is_known_with_its_division(name, tmp_path):
    root = WRITERS[name](tmp_path)
    for given in (root, tmp_path):
        manifest = recognise(given)
        assert manifest.layout == name.removesuffix("-parts")
        table = manifest.table
        assert len(table) == CLASSES * PER_CLASS
        assert all(manifest.file(path).is_file() for path in table["path"])
        training = set(table.loc[table["split"] == "train", "label"])
        tested = set(table.loc[table["split"] == "test", "label"])
        assert len(training) == len(tested) == CLASSES // 2
        assert training.isdisjoint(tested)
        assert max(training) < min(tested)  # the first half trains
        assert is_published(manifest)
        assert divided(manifest, 3) is manifest


def test_in_shop_has_queries_and_a_gallery(tmp_path):
    table = recognise(retrieval_sets.write_inshop(tmp_path)).table
    roles = table.loc[table["split"] == "test"].groupby("label")["role"].agg(set)
    assert all(both == {"query", "gallery"} for both in roles)
    assert set(table.loc[table["split"] == "train", "role"]) == {""}


def test_random_halves_of_any_set(tmp_path):
    classes = ("Airport", "BareLand", "Beach", "Desert", "Forest")
    manifest = recognise(write_aid(tmp_path, classes=classes, per_class=2))
    assert not is_published(manifest)
    halves = []
    for repeat in range(6):
        table = divided(manifest, repeat).table
        assert table.equals(divided(manifest, repeat).table)
        by_class = table.groupby("label")["split"].agg(set)
        assert all(len(splits) == 1 for splits in by_class)
        halves.append(frozenset(table.loc[table["split"] == "train", "label"]))
        assert len(halves[-1]) == 2  # of five classes three are tested
    assert len(set(halves)) > 1


def test_missing_pictures_are_told_and_a_broken_list_is_refused(tmp_path):
    root = retrieval_sets.write_sop(tmp_path)
    (root / "chair_final" / "1_0.JPG").unlink()
    manifest = recognise(root)
    assert len(manifest.table) == CLASSES * PER_CLASS - 1
    assert [(item.level, item.path) for item in manifest.findings] == [
        ("error", "chair_final/1_0.JPG")
    ]
    (root / "Ebay_test.txt").write_text("image_id class_id super_class_id path\n1 2\n")
    with pytest.raises(UserError, match=r"line 2 of Ebay_test.txt must be 4 columns, got '1 2'"):
        recognise(root)


def test_a_broken_mat_file_is_refused(tmp_path):
    root = retrieval_sets.write_cars196(tmp_path)
    (root / "cars_annos.mat").write_bytes(b"no such thing")
    with pytest.raises(UserError, match=r"cars_annos.mat must be a readable .mat file"):
        recognise(root)


def test_what_is_no_set(tmp_path):
    out = tmp_path / "out"
    asked = ("retrieval", tmp_path / "nowhere", "--methods", "triplet", "--out", out)
    assert_refused(likeness(*asked, application="benchmark"), "data must be", left=out)
    write_aid(tmp_path / "few", per_class=2)
    asked = ("retrieval", tmp_path / "few", "--methods", "triplet", "--out", out)
    assert_refused(likeness(*asked, application="benchmark"), "at least 4 classes", left=out)
