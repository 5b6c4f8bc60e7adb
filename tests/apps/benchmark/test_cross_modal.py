"""`likeness benchmark cross-modal`: layouts, pseudo-sketches, and the command on tiny sets."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from fixtures.front_door import assert_refused, changes, likeness
from fixtures.retrieval_sets import write_cars_parts, write_cub200
from fixtures.scenes import write_aid
from fixtures.sketch_sets import (
    PHOTOS,
    SEEN,
    SKETCHES_EACH,
    UNSEEN,
    write_sketchy,
    write_tu_berlin,
)
from likeness.config import parse
from likeness.data.decode import decode
from likeness.errors import UserError
from likeness.training.spec import RunSpec
from likeness_apps.benchmark.cross_modal.edges import (
    LAYOUT,
    Edges,
    edge_map,
    with_pseudo_sketches,
)
from likeness_apps.benchmark.cross_modal.layouts import find
from likeness_apps.benchmark.cross_modal.methods import METHODS, checked
from likeness_apps.benchmark.layouts import recognise
from likeness_apps.shell import configs

BASE = configs.load("benchmark", "cross_modal")
CLASSES = ("Airport", "BareLand", "Beach", "Desert", "Forest", "Park")
UNFITTED = (
    *("epochs=1", "workers=0", "model.image_size=32", "model.embedding_dim=64"),
    *("schedule.warmup_epochs=0", "data.augmentation=null"),
)
TINY = (*UNFITTED, "sampler={name: cross_modal, classes_per_batch: 3, per_class: 4}")


def bench(data, out, *more, items=TINY):
    words = ("cross-modal", data, "--out", out, *changes(*items), *more)
    return likeness(*words, application="benchmark")


# --- layouts -----------------------------------------------------------------------------------


def test_sketchy_is_read_by_its_lists(tmp_path):
    root = write_sketchy(tmp_path)
    for given in (root, tmp_path):
        manifest = find(given, None)
        assert manifest.layout == "sketchy"
        table = manifest.table
        assert all(manifest.file(path).is_file() for path in table["path"])
        assert set(table.loc[table["split"] == "train", "label"]) == set(SEEN)
        assert set(table.loc[table["split"] == "test", "label"]) == set(UNSEEN)
        assert table["modality"].value_counts().to_dict() == {
            "photo": 6 * PHOTOS,
            "sketch": 6 * PHOTOS * SKETCHES_EACH,
        }
        of_photo = table.groupby("group")["modality"].agg(list)
        assert len(of_photo) == 6 * PHOTOS
        assert all(sorted(each) == ["photo", "sketch", "sketch"] for each in of_photo)


def test_tu_berlin_has_names_with_blanks_and_groups_of_one(tmp_path):
    manifest = find(write_tu_berlin(tmp_path), "zeroshot")
    assert manifest.layout == "tu_berlin"
    table = manifest.table
    assert table["path"].str.contains(" ").sum() == 6 * PHOTOS
    assert table["group"].is_unique


def test_the_division_is_named_where_there_are_two(tmp_path):
    root = write_sketchy(tmp_path, divisions=("zeroshot1", "zeroshot2"))
    assert find(root, "zeroshot2") is not None
    with pytest.raises(UserError, match=r"split must be one of zeroshot1, zeroshot2, .*, got None"):
        find(root, None)
    with pytest.raises(UserError, match=r"split must be one of .*, got 'zeroshot'"):
        find(root, "zeroshot")


def test_missing_files_are_findings_and_broken_lists_are_refused(tmp_path):
    root = write_sketchy(tmp_path)
    next(root.rglob("n0000_0-1.png")).unlink()
    (lost,) = find(root, None).findings
    assert (lost.level, lost.code) == ("error", "missing-file")
    listed = root / "zeroshot1" / "all_photo_filelist_zero.txt"
    whole = listed.read_text()
    listed.write_text(whole + "alone\n")
    with pytest.raises(UserError, match=r"line 13 of all_photo_filelist_zero.txt must be a name"):
        find(root, None)
    listed.write_text(whole + "a.jpg 9\n")
    with pytest.raises(UserError, match=r"of classes in cname_cid_zero.txt, got '9'"):
        find(root, None)


def test_other_sets_have_no_sketches(tmp_path):
    assert find(write_cub200(tmp_path), None) is None
    assert find(write_cars_parts(tmp_path / "more"), None) is None


# --- pseudo-sketches -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["canny", "sobel"])
def test_an_edge_map_is_dark_where_the_photograph_changes(kind):
    photo = np.full((48, 64, 3), 40, np.uint8)
    photo[:, 32:] = 200
    drawn = edge_map(photo, Edges(kind, 32))
    assert drawn.shape == (32, 32)
    assert drawn.dtype == np.uint8
    assert drawn[4:-4, 15:17].min(axis=1).max() == 0
    assert (drawn[4:-4, :11] == 255).all()
    assert (drawn[4:-4, 21:] == 255).all()


def test_an_even_photograph_has_no_edges_and_others_are_refused():
    assert (edge_map(np.full((20, 20, 1), 7, np.uint8), Edges("sobel", 16)) == 255).all()
    with pytest.raises(UserError, match="grey or RGB of 8 bits, got '4 bands of uint8'"):
        edge_map(np.zeros((9, 9, 4), np.uint8), Edges("canny", 16))
    with pytest.raises(UserError, match="edges must be one of canny, sobel, got 'hand'"):
        Edges("hand", 16)


def test_every_photograph_gets_its_edge_map_in_its_group(tmp_path):
    photos = recognise(write_aid(tmp_path, classes=CLASSES, per_class=3, side=40))
    (photos.root / photos.table["path"][0]).write_bytes(b"no picture")
    folder = tmp_path / "edges"
    both = with_pseudo_sketches(photos, folder, Edges("canny", 32))
    assert both.layout == LAYOUT
    assert "pseudo-sketches" in both.layout
    table = both.table
    assert table["modality"].value_counts().to_dict() == {"photo": 17, "sketch": 17}
    sketches = table[table["modality"] == "sketch"].set_index("path")
    assert decode(both.file(sketches.index[0])).shape == (32, 32, 3)
    of_photo = table[table["modality"] == "photo"].set_index("path")
    for path, row in of_photo.iterrows():
        drawn = sketches.loc[str(folder.absolute() / f"{path}.png")]
        assert (drawn["label"], drawn["group"]) == (row["label"], row["group"])
    record = json.loads((folder / "pseudo_sketches.json").read_text())
    assert "not sketches" in record["about"]
    assert len(record["unreadable"]) == 1
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    again = with_pseudo_sketches(photos, folder, Edges("canny", 32))
    assert again.table.equals(both.table)
    assert times == {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    with pytest.raises(UserError, match="edges must be of the same photographs and edges"):
        with_pseudo_sketches(photos, folder, Edges("sobel", 32))


# --- the command ---------------------------------------------------------------------------------


def test_every_method_is_a_configuration():
    specs = checked(BASE, [*METHODS, "triplet"], apart=True)
    assert all(spec.objective.exclude_groups for spec in specs.values())
    assert all(spec.sampler == parse(RunSpec, BASE).sampler for spec in specs.values())
    assert specs["within"].objective.terms[0].loss.kinds == ("within",)
    assert not specs["cross_entropy"].objective.terms
    with pytest.raises(UserError, match="methods must be named once each, got 'mathm'"):
        checked(BASE, ["mathm", "mathm"], apart=False)


def test_edge_maps_of_photographs_from_the_front_door(tmp_path):
    data = write_aid(tmp_path, classes=CLASSES, per_class=12, side=40)
    out = tmp_path / "bench"
    asked = ("--edges", "canny", "--methods", "baseline,mathm")
    assert_refused(bench(data, out), "Sketchy or TU-Berlin with their zero-shot lists", left=out)
    ended = bench(data, out, *asked)
    assert ended.code == 0, ended.out + ended.err
    assert "pseudo-sketches" in ended.out
    assert "edge maps as pseudo-sketches" in (out / "summary.md").read_text()
    summary = json.loads((out / "summary.json").read_text())
    assert summary["layout"] == LAYOUT
    assert summary["edges"] == "canny"
    figures = summary["methods"]["mathm"]
    names = {"map", "map_interpolated", "r_precision"}  # the gallery has 36, so no precision@100
    alike = "precision@100 is left out: it needs a gallery of more than 100 photographs"
    assert alike in ended.out
    assert alike in (out / "summary.md").read_text()
    drawn = out / "pseudo_sketches"
    assert len(list(drawn.rglob("*.png"))) == 6 * 12
    assert {path.name for path in tmp_path.iterdir()} == {data.name, out.name}
    assert names | {f"codes_{name}" for name in names} | {"repeats"} == set(figures)
    assert figures["map"]["low"] <= figures["map"]["value"] <= figures["map"]["high"]
    queries = pd.read_parquet(out / "queries" / "mathm-0.parquet")
    assert len(queries) == 3 * 12
    assert queries["path"].str.endswith(".png").all()
    assert queries["map"].mean() == pytest.approx(figures["map"]["value"])
    made = len(pd.read_csv(out / "runs.csv"))
    assert bench(data, out, *asked, "--quiet").out == ""
    assert len(pd.read_csv(out / "runs.csv")) == made
    assert_refused(
        bench(data, out, *asked, "--codes", "gallery"), "codes must be 'training', as when"
    )
    assert_refused(bench(data, tmp_path / "x", "--edges", "hand"), "edges must be one of canny")
    assert_refused(bench(data, tmp_path / "x", *asked, "--split", "zeroshot1"), "split must be")


def test_precision_is_of_galleries_that_have_more(tmp_path):
    data, out = write_aid(tmp_path, classes=CLASSES, per_class=34, side=16), tmp_path / "bench"
    ended = bench(data, out, "--edges", "sobel", "--methods", "untrained")
    assert ended.code == 0, ended.err
    assert "left out" not in ended.out
    assert "precision@100" in ended.out
    figures = json.loads((out / "summary.json").read_text())["methods"]["untrained"]
    assert figures["precision@100"]["value"] == pytest.approx(1 / 3, abs=0.02)  # 34 of 102


def test_batches_are_fitted_to_a_small_set_and_an_odd_place_is_refused(tmp_path):
    data, out = write_aid(tmp_path, classes=CLASSES, per_class=11, side=40), tmp_path / "bench"
    words = ("--edges", "canny", "--methods", "baseline")
    (out / "pseudo_sketches").mkdir(parents=True)  # of a call that was stopped, and not whole
    ended = bench(data, out, *words, items=UNFITTED)
    assert_refused(ended, "edge maps must be new or hold these")
    (out / "pseudo_sketches").rmdir()
    ended = bench(data, out, *words, items=UNFITTED)
    assert ended.code == 0, ended.err
    said = "sampler.classes_per_batch=3 instead of 8, sampler.per_class=20 instead of 8"
    assert f"The data have 3 classes: {said}" in ended.out
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    full = bench(data, tmp_path / "full", "--edges", "canny")
    assert_refused(full, "out must be a new directory, or one of this benchmark")


def test_an_unknown_method_is_told_the_methods_of_this_benchmark(tmp_path):
    data, out = write_sketchy(tmp_path), tmp_path / "bench"
    ended = bench(data, out, "--methods", "baseline,nosuch")
    names = "among untrained, cross_entropy, baseline, within, plain, mathm, "
    assert_refused(ended, names, "modality_triplets", "proxy_anchor", left=out)
    ended = bench(data, out, "--methods", "baseline,matm")
    assert_refused(ended, "methods must be", "got 'matm'; did you mean 'mathm'?", left=out)
    assert set(checked(BASE, ["modality_triplets"], apart=False)) == {"modality_triplets"}


def test_what_train_refuses_is_refused_before_an_edge_map_is_drawn(tmp_path):
    data = write_aid(tmp_path, classes=CLASSES, per_class=2, side=16)
    out, own = tmp_path / "bench", tmp_path / "odd.yaml"
    miners = "miners: [{name: random_triplets}]"
    own.write_text(f"objective: {{terms: [{{loss: {{name: contrastive}}, {miners}}}]}}")
    words = ("--edges", "canny", "--methods", f"baseline,{own}")
    assert_refused(bench(data, out, *words), "of method odd must be", left=out)


def test_a_set_too_small_for_the_codes_is_refused_before_training(tmp_path):
    data, out = write_aid(tmp_path, classes=CLASSES, per_class=8, side=16), tmp_path / "bench"
    words = ("--edges", "canny", "--methods", "baseline")
    ended = bench(data, out, *words)
    assert_refused(ended, "more than 64 training images, sketches included,", "got 48", left=out)
    sketches = write_sketchy(tmp_path)
    ended = bench(sketches, out, "--methods", "untrained", "--codes", "gallery")
    assert_refused(ended, "more than 64 photographs of unseen classes", "got 12", left=out)
