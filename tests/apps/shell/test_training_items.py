"""What an error is compared with: the training images behind a model, with their own pictures."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fixtures.front_door import likeness
from fixtures.pages import Page
from fixtures.reports import report_data
from likeness.bundle import load_bundle
from likeness.inference.predictor import Predictor
from likeness_apps.shell.report.data import TrainingItems, training_neighbours
from likeness_apps.shell.results import thumbnail
from likeness_apps.shell.training_items import training_items


@pytest.fixture
def folder(scenes):
    """What paths are relative to."""
    return next(scenes.rglob("agricultural")).parent


def test_every_embedding_stands_beside_its_image(run, folder):
    """The rows that `train` wrote down, asked again."""
    bundle = load_bundle(run)
    rows = bundle.gallery_rows()
    assert len(rows) == (bundle.splits["split"] == "train").sum() > 10
    assert rows["label"].tolist() == [bundle.classes[n] for n in bundle.gallery.labels_M.tolist()]
    again = Predictor(bundle, columns="embed", root=folder)({"path": rows["path"].tolist()})
    kept = bundle.gallery.embeddings_MD.numpy()
    kept = kept / np.linalg.norm(kept, axis=1, keepdims=True)
    np.testing.assert_allclose(kept, again["embedding"], atol=1e-4)
    shuffled = np.roll(again["embedding"], 1, axis=0)
    assert not np.allclose(kept, shuffled, atol=1e-2)  # the rows could have been told apart


def test_pictures_are_shown_only_if_they_are_those_that_were_trained_on(run, folder, tmp_path):
    bundle = load_bundle(run)
    rows = bundle.gallery_rows()
    first, second, third = rows["path"].tolist()[:3]
    for name in (first, second):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / first, tmp_path / first)
    shutil.copy(folder / third, tmp_path / second)  # another picture under that name
    items = training_items(bundle, {}, tmp_path, thumbnail)
    assert items.thumbnail(first) is not None
    assert items.thumbnail(second) is None
    assert items.thumbnail(third) is None
    assert items.paths == rows["path"].tolist()
    assert items.groups == rows["group"].tolist()


@pytest.mark.parametrize(
    ("metrics", "changes"), [({"classes": ["coarse", "fine"]}, {}), ({}, {"gallery": None})]
)
def test_no_comparison_where_there_is_none(run, scenes, metrics, changes):
    bundle = replace(load_bundle(run), **changes)
    assert training_items(bundle, metrics, scenes, thumbnail) is None


def test_the_report_of_an_evaluation_compares_with_training_images(evaluated):
    page = Page((evaluated / "report.html").read_text())
    wrong = (~pd.read_csv(evaluated / "predictions.csv")["correct"]).any()
    assert ("its nearest training images" in page.text) == wrong


def test_an_error_is_not_compared_with_its_own_group():
    data = report_data(classes=6, per_class=9, spread=0.45)
    rows = [0, 3]
    known = np.concatenate([data.embeddings_ND[rows], data.embeddings_ND[rows] + 0.1])
    groups = ["a", "b", "c", "d"]
    items = TrainingItems(list("wxyz"), ["forest"] * 4, known, groups)
    own = data.predictions.assign(group="else")
    ok = np.flatnonzero(own["status"] == "ok")
    own.loc[own.index[ok[0]], "group"], own.loc[own.index[ok[3]], "group"] = "a", ""
    given = replace(data, training=items, predictions=own)
    indices, _ = training_neighbours(given, rows, 4)
    assert 0 not in indices[0]
    assert indices[0, -1] == -1  # three are left
    assert indices[1, 0] == 1  # without a group it meets all
    everything, _ = training_neighbours(replace(data, training=replace(items, groups=())), rows, 4)
    assert everything[:, 0].tolist() == [0, 1]


def test_training_pictures_come_from_their_own_source():
    from likeness_apps.shell.report.html import render_report

    asked = []
    data = report_data(classes=6, per_class=9, spread=0.45)
    items = replace(data.training, thumbnail=lambda name: asked.append(name))
    render_report(replace(data, training=items), include_images=False)
    assert not asked
    shown = replace(data, training=items, thumbnail=lambda name: np.zeros((4, 4, 3), np.uint8))
    render_report(shown, include_images=True)
    assert asked
    assert set(asked) <= set(items.paths)


def test_evaluation_of_other_classes_needs_no_training_items(run, scenes, tmp_path):
    """Nothing of this may stop `evaluate` on the training split, where every image knows itself."""
    ended = likeness("evaluate", run, scenes, "--split", "train", "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
