"""Which rows of splits.csv the gallery of a model is, also where an older model does not say."""

import pytest
import torch

from fixtures.bundles import SPLITS, parts
from likeness.bundle import Gallery, load_bundle, save_bundle


def with_gallery(trained, path, labels, rows=None, **changes):
    labels_M = torch.tensor(labels)
    rows_M = None if rows is None else torch.tensor(rows)
    gallery = Gallery(torch.zeros(len(labels), 8), labels_M, rows_M)
    save_bundle(path / "model", trained, **parts(trained, gallery=gallery, **changes))
    return load_bundle(path / "model")


def test_the_gallery_knows_its_rows(trained, tmp_path):
    bundle = with_gallery(trained, tmp_path, [2, 1], rows=[2, 0])
    assert bundle.gallery_rows()["sha256"].tolist() == ["22", "00"]


@pytest.mark.parametrize(("labels", "told"), [([1, 2], True), ([2, 1], False), ([1], False)])
def test_an_older_gallery_is_the_training_split_or_nobody_knows(trained, tmp_path, labels, told):
    splits = SPLITS.assign(split=["train", "test", "train"])
    rows = with_gallery(trained, tmp_path, labels, splits=splits).gallery_rows()
    assert (rows is not None) == told
    assert rows is None or rows["sha256"].tolist() == ["00", "22"]


def test_an_older_gallery_of_several_labels(trained, tmp_path):
    splits = SPLITS.assign(split="train", label=["a|b", "", "ü"])
    labels = [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    bundle = with_gallery(trained, tmp_path / "a", labels, splits=splits, multilabel=True)
    assert bundle.gallery_rows()["sha256"].tolist() == ["00", "11", "22"]
    labels[0][0] = 0
    bundle = with_gallery(trained, tmp_path / "b", labels, splits=splits, multilabel=True)
    assert bundle.gallery_rows() is None
