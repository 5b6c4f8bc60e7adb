"""Several labels of one image: from logits, from neighbours, and from a bundle."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

from likeness.bundle import Gallery, load_bundle, save_bundle
from likeness.card import SECTIONS
from likeness.data.transforms import Preprocessing
from likeness.errors import UserError
from likeness.files import write_json
from likeness.inference.predictor import Predictor
from likeness.inference.readers import available_readouts, reader_of
from likeness.inference.readouts import label_cells, label_votes, sigmoid_readout
from likeness.inference.shards import predict
from likeness.models import ModelSpec, build_embedder
from likeness.provenance import PROVENANCE_FILE, seal

CLASSES = ["cars", "trees", "water"]
SIZE = 16
rng = np.random.default_rng(0)


def write_bundle(directory, *, outputs=3, metrics=None, **changes):
    torch.manual_seed(5)
    spec = ModelSpec(backbone="resnet18", stem="small", image_size=SIZE, embedding_dim=6)
    generator = torch.Generator().manual_seed(6)
    labels_MC = torch.randint(0, 2, (12, 3), generator=generator).to(torch.uint8)
    given = {
        "classes": CLASSES,
        "gallery": Gallery(torch.randn(12, 6, generator=generator), labels_MC),
        "multilabel": True,
    }
    save_bundle(
        directory,
        build_embedder(spec, num_classes=outputs),
        config={"model": spec.model_dump(mode="json")},
        preprocessing=Preprocessing(bands=3, size=SIZE, mean=[0.4] * 3, std=[0.5] * 3),
        splits=pd.DataFrame(columns=["path", "label", "split", "group", "sha256"]),
        metrics=metrics or {},
        provenance={},
        card="# Card\n\n" + "\n\n".join(f"## {heading}\n\nSaid." for heading in SECTIONS) + "\n",
        **{**given, **changes},
    )
    return directory


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    thresholds = {"thresholds": {"sigmoid": {"cars": 0.0, "water": 1.0}}}
    return write_bundle(tmp_path_factory.mktemp("bundle") / "model", metrics=thresholds)


# ---- pure functions -----------------------------------------------------------------------------


def test_each_label_has_its_threshold_and_reaching_it_is_enough():
    logits = np.array([[0.0, 3.0, -2.0], [-0.1, -9.0, -9.0], [800.0, -800.0, 0.0]], np.float32)
    read = sigmoid_readout(logits, np.array([0.5, 0.9, 0.1]))
    with np.errstate(over="ignore"):
        expected = 1 / (1 + np.exp(-logits.astype(np.float64)))
    np.testing.assert_allclose(read.scores_NC, expected)
    assert read.labels_N.tolist() == [[1, 1, 1], [0, 0, 0], [1, 0, 1]]


@pytest.mark.parametrize("wrong", [1.5, -0.1, np.nan])
def test_thresholds_are_probabilities(wrong):
    with pytest.raises(UserError, match=r"thresholds must be in \[0, 1\]"):
        sigmoid_readout(np.zeros((2, 3)), np.array([0.5, wrong, 0.5]))


@pytest.mark.parametrize("k", [1, 4, 5])
def test_votes_are_the_shares_of_scikit_learns_neighbours(k):
    gallery, queries = rng.normal(size=(30, 4)), rng.normal(size=(9, 4))
    labels = rng.integers(0, 2, (30, 3))
    theirs = KNeighborsClassifier(k, algorithm="brute").fit(gallery, labels)
    shares = np.stack([wide[:, 1] for wide in theirs.predict_proba(queries)], axis=1)
    mine = label_votes(queries, gallery, labels, space="euclidean", k=k)
    np.testing.assert_allclose(mine.scores_NC, shares, atol=1e-12)
    np.testing.assert_array_equal(mine.labels_N, shares > 0.5)


@pytest.mark.parametrize("k", [0, 31])
def test_neighbours_that_are_not_there(k):
    with pytest.raises(UserError, match="k must be from 1 to the gallery's size 30"):
        label_votes(np.ones((1, 2)), np.ones((30, 2)), np.ones((30, 3)), space="cosine", k=k)


def test_cells_of_a_table():
    assert label_cells(np.array([2, -1, 0]), CLASSES) == ["water", "", "cars"]
    table = np.array([[1, 0, 1], [0, 0, 0], [-1, -1, -1]])
    assert label_cells(table, CLASSES) == ["cars|water", "", ""]
    assert label_cells(np.array([[1, 1]]), ["water", "cars"]) == ["cars|water"]


# ---- bundles ------------------------------------------------------------------------------------


def test_a_bundle_keeps_that_there_may_be_several(model):
    bundle = load_bundle(model)
    assert bundle.multilabel
    assert bundle.gallery.labels_M.dtype == torch.uint8
    assert bundle.gallery.labels_M.shape == (12, 3)
    assert available_readouts(bundle) == ["sigmoid", "knn"]


def test_an_older_bundle_has_one_class_each(model, tmp_path):

    def relabelled(**labels):
        write_json(old / "labels.json", {"classes": CLASSES, **labels})
        write_json(old / PROVENANCE_FILE, seal(old, {}))
        return load_bundle(old)

    gallery = Gallery(torch.randn(12, 6), torch.arange(12) % 3)
    old = write_bundle(tmp_path / "single", multilabel=False, gallery=gallery)
    assert not relabelled().multilabel
    assert available_readouts(load_bundle(old)) == ["softmax", "knn"]
    with pytest.raises(UserError, match="true or false under multilabel"):
        relabelled(multilabel="yes")
    old = shutil.copytree(model, tmp_path / "several")
    with pytest.raises(UserError, match=r"gallery.labels_M must be of shape \(12,\)"):
        relabelled()  # its gallery is not that of one class each


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"centres_CD": torch.zeros(3, 6)}, "centres_CD must be absent from a multi-label model"),
        ({"classes": ["a", "b|c", "d"]}, "classes must be names without '|' if there may be"),
        (
            {"gallery": Gallery(torch.zeros(2, 6), torch.tensor([0, 1]))},
            "gallery.labels_M must be of shape (2, 3), got (2,)",
        ),
        (
            {"gallery": Gallery(torch.zeros(1, 6), torch.tensor([[0, 2, 1]]))},
            "gallery.labels_M must be class numbers under 2",
        ),
    ],
)
def test_parts_that_do_not_fit(tmp_path, changes, sentence):
    with pytest.raises(UserError) as caught:
        write_bundle(tmp_path / "model", **changes)
    assert sentence in str(caught.value)


def test_thresholds_are_those_on_record_and_else_a_half(model, tmp_path):
    reader = reader_of(load_bundle(model))
    assert reader.settings == {"readout": "sigmoid", "thresholds": [0.0, 0.5, 1.0]}
    for value, sentence in (({"cars": 2}, r"in \[0, 1\]"), (0.5, "a mapping from label")):
        path = write_bundle(tmp_path / "model", metrics={"thresholds": {"sigmoid": value}})
        with pytest.raises(UserError, match=sentence):
            reader_of(load_bundle(path))


def test_without_a_class_layer_neighbours_vote(tmp_path):
    bundle = load_bundle(write_bundle(tmp_path / "model", outputs=0))
    assert available_readouts(bundle) == ["knn"]
    reader = reader_of(bundle, k=3)
    assert reader.settings == {"readout": "knn", "k": 3}
    gallery = bundle.gallery.embeddings_MD.numpy()
    own = reader_of(bundle, k=1)(gallery, np.empty((12, 0), np.float32))
    np.testing.assert_array_equal(own.labels_N, bundle.gallery.labels_M.numpy())


def test_an_image_may_have_no_label_and_is_ok(model, tmp_path):
    for number in range(3):
        pixels = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "bad.png").write_bytes(b"")
    predictor = Predictor(model, batch_size=2)
    out = tmp_path / "out.csv"
    predict(predictor, tmp_path, out)
    table = pd.read_csv(out, keep_default_na=False)
    assert table["status"].tolist() == ["ok", "ok", "ok", "error"]
    assert table["label"].iloc[3] == ""
    for row in table.iloc[:3].itertuples():
        assert {row.p_cars != "", row.p_trees != ""} == {True}
        expected = ["cars", *(["trees"] if float(row.p_trees) >= 0.5 else [])]  # water: never
        assert row.label == "|".join(expected)
    none = write_bundle(
        tmp_path / "model", metrics={"thresholds": {"sigmoid": dict.fromkeys(CLASSES, 1.0)}}
    )
    columns = Predictor(none, root=tmp_path)({"path": ["0.png"]})
    assert (columns["status"].tolist(), columns["label"].tolist()) == (["ok"], [""])
