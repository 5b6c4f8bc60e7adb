"""Fewer classes than a set or a model has, by loops."""

import numpy as np
import pytest

from likeness.data.manifest import build
from likeness.errors import UserError
from likeness_apps.shell.coarser import (
    brought_to,
    coarsened,
    coarser_classes,
    labelled_by,
    only_shared,
)
from likeness_apps.shell.domain import Coarser

KINDS = {"oak": "tree", "fir": "tree", "rose": "flower", "mould": "", "tree": "tree"}
COARSER = Coarser(("flower", "tree"), KINDS.get)
FINE = ["fir", "oak", "rose"]


def plants(tmp_path, labels, **options):
    paths = [f"{number}.png" for number in range(len(labels))]
    return build(tmp_path, {"path": paths, "label": labels}, "table", **options)


def test_labels_become_coarser_and_the_homeless_are_counted(tmp_path):
    manifest = plants(tmp_path, ["oak", "rose", "mould", "", "mould", "fir"])
    coarse = coarsened(manifest, COARSER)
    assert coarse.table["label"].tolist() == ["tree", "flower", "", "", "", "tree"]
    assert coarse.classes == ["flower", "tree"]
    (finding,) = coarse.findings
    assert finding.level == "warning"
    assert finding.message.startswith("2 images of the class 'mould' are left out")
    assert coarsened(coarse, Coarser(COARSER.classes, lambda name: name)).classes == coarse.classes


def test_what_nobody_knows_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"labels must be known .* flower, tree, got \['cat'\]"):
        coarsened(plants(tmp_path, ["oak", "cat"]), COARSER)
    with pytest.raises(UserError, match="one class per image, got 'several labels'"):
        coarsened(plants(tmp_path, ["oak", "fir|oak"], multilabel=True), COARSER)
    for homeless in ("cat", "mould"):
        with pytest.raises(UserError, match=f"model must be .* flower, tree, got .'{homeless}'."):
            coarser_classes([*FINE, homeless], COARSER)


@pytest.mark.parametrize("seed", range(5))
def test_probabilities_are_summed_and_the_headline_is_the_largest_sum(seed):
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet((0.5, 0.5, 0.5), size=20)
    readouts = {"softmax": chances.argmax(axis=1), "knn": rng.integers(0, 3, 20)}
    found, summed = brought_to(COARSER, FINE, readouts, chances)
    for row in range(20):
        tree, flower = chances[row, 0] + chances[row, 1], chances[row, 2]
        assert summed[row] == pytest.approx([flower, tree])
        assert found["softmax"][row] == int(tree > flower)
        assert COARSER.classes[found["knn"][row]] == KINDS[FINE[readouts["knn"][row]]]
    assert list(found) == ["softmax", "knn"]


def test_the_most_probable_class_may_be_of_the_less_probable_kind():
    chances = np.array([[0.3, 0.3, 0.4]])
    found, summed = brought_to(COARSER, FINE, {"softmax": np.array([2])}, chances)
    assert COARSER.classes[found["softmax"][0]] == "tree"
    assert summed[0, 1] == pytest.approx(0.6)


def test_labels_by_the_rule_of_a_protocol(tmp_path):
    manifest = plants(tmp_path, ["oak", "rose", "", "fir"])

    def last_two(rows):
        return ["", "", *rows["path"].iloc[2:].map({"2.png": "fir", "3.png": "rose"})]

    found = labelled_by(manifest, last_two, None)
    assert found.table["label"].tolist() == ["", "", "fir", "rose"]
    (finding,) = found.findings
    assert finding.message.startswith("2 labelled images are left out")
    coarse = labelled_by(manifest, last_two, COARSER)
    assert coarse.table["label"].tolist() == ["", "", "tree", "flower"]


def test_a_rule_that_does_not_know_the_set_changes_nothing(tmp_path):
    manifest = plants(tmp_path, ["oak", "rose"])
    assert labelled_by(manifest, lambda rows: None, None) is manifest
    assert labelled_by(manifest, None, None) is manifest
    with pytest.raises(UserError, match="data must be a set with labels by the protocol, got"):
        labelled_by(manifest, lambda rows: ["", ""], None)


def test_only_the_classes_that_a_model_knows(tmp_path):
    manifest = plants(tmp_path, ["oak", "rose", "mould", "", "mould"])
    found, facts = only_shared(manifest, ["fir", "oak", "rose"])
    assert found.table["label"].tolist() == ["oak", "rose", "", "", ""]
    wanted = {"classes": ["oak", "rose"], "left_out": {"mould": 2}, "without_images": ["fir"]}
    assert facts == wanted
    with pytest.raises(UserError, match="labels must be such that the model's 1 classes hold one"):
        only_shared(manifest, ["cat"])
