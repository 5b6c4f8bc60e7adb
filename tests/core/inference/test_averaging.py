"""Views of one image: the symmetries themselves, and means worked out one view at a time."""

import numpy as np
import pytest
import torch

from fixtures.scoped_model import CLASSES, spots, strangers, write_model
from likeness.bundle import load_bundle
from likeness.errors import UserError
from likeness.inference.averaging import VIEWS, mean_of_views, symmetric_views
from likeness.inference.blocks import Answers
from likeness.inference.predictor import Predictor
from likeness.inference.readers import LabelReader


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(write_model(tmp_path_factory.mktemp("views") / "model", scope=False))


def symmetric_by_hand(picture: np.ndarray, views: str) -> list[np.ndarray]:
    """(H, W, C) pictures: as it is, mirrored, transposed, upside down and so on."""
    mirrored = picture[:, ::-1]
    if views == "one":
        return [picture]
    if views == "flips":
        return [picture, mirrored]
    upside = [picture, mirrored, picture[::-1], picture[::-1, ::-1]]
    return upside + [one.transpose(1, 0, 2) for one in upside]


@pytest.mark.parametrize(("views", "count"), [("one", 1), ("flips", 2), ("dihedral", 8)])
def test_the_views_are_the_symmetries(views, count):
    picture = np.random.default_rng(0).random((4, 4, 3)).astype(np.float32)
    images = torch.from_numpy(picture.transpose(2, 0, 1))[None]
    found = [view[0].numpy().transpose(1, 2, 0) for view in symmetric_views(images, views)]
    wanted = symmetric_by_hand(picture, views)
    assert len(found) == len(wanted) == count
    assert {view.tobytes() for view in found} == {
        np.ascontiguousarray(one).tobytes() for one in wanted
    }
    assert np.array_equal(found[0], picture)


@pytest.mark.parametrize("views", VIEWS)
@pytest.mark.parametrize("readout", ["softmax", "knn"])
def test_probabilities_are_means_over_the_views(bundle, views, readout):
    pictures = [*spots(3, 5), *strangers(2, 6)["blocks"]]
    plain = Predictor(bundle, readout=readout)
    columns = Predictor(bundle, readout=readout, views=views).predict_images(pictures)
    for row, picture in enumerate(pictures):
        said = plain.predict_images(symmetric_by_hand(picture, views))
        means = [float(np.mean(said[f"p_{name}"])) for name in CLASSES]
        found = [columns[f"p_{name}"][row] for name in CLASSES]
        np.testing.assert_allclose(found, means, atol=1e-5)
        if abs(means[0] - means[1]) > 1e-4:
            assert columns["label"][row] == CLASSES[int(means[1] > means[0])]


@pytest.mark.parametrize("views", ["flips", "dihedral"])
def test_embeddings_are_means_of_unit_rows_made_unit(bundle, views):
    pictures = spots(2, 5)
    plain = Predictor(bundle, columns="embed")
    found = Predictor(bundle, columns="embed", views=views).predict_images(pictures)["embedding"]
    for row, picture in enumerate(pictures):
        said = plain.predict_images(symmetric_by_hand(picture, views))["embedding"]
        mean = np.mean(said, axis=0)
        np.testing.assert_allclose(found[row], mean / np.linalg.norm(mean), atol=1e-5)


def test_a_symmetric_image_says_the_same_in_all_views(bundle):
    quarter = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    quarter = np.maximum(quarter, quarter.transpose(1, 0, 2))
    half = np.concatenate([quarter, quarter[:, ::-1]], axis=1)
    whole = np.concatenate([half, half[::-1]])
    plain, all_views = (Predictor(bundle, views=views) for views in ("one", "dihedral"))
    first, second = (one.predict_images([whole]) for one in (plain, all_views))
    assert first["p_large"][0] == pytest.approx(second["p_large"][0], abs=1e-5)


def answers_of(embeddings, probabilities, labels=None):
    count = len(probabilities)
    return Answers(
        np.array(embeddings, np.float32),
        np.zeros((count, 0), np.float32),
        np.zeros(count, np.int64) if labels is None else labels,
        np.array(probabilities, np.float32),
    )


def test_an_unusable_view_is_an_unusable_answer():
    nan = np.nan
    first = answers_of([[1, 0], [0, 1], [1, 0]], [[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    second = answers_of([[0, 1], [nan, nan], [-1, 0]], [[0.2, 0.8], [nan, nan], [0.4, 0.6]])
    mean = mean_of_views([first, second], "cosine", lambda table: table.argmax(axis=1))
    assert mean.labels_N.tolist() == [0, -1, 1]
    np.testing.assert_allclose(mean.embeddings_ND[0], [0.5**0.5, 0.5**0.5], atol=1e-6)
    assert np.isnan(mean.embeddings_ND[1:]).all()  # the third row's views cancel
    assert np.isnan(mean.probabilities_NC[1]).all()


def test_euclidean_means_keep_their_length():
    first, second = answers_of([[2, 0]], [[1, 0]]), answers_of([[0, 4]], [[1, 0]])
    mean = mean_of_views([first, second], "euclidean", None)
    np.testing.assert_allclose(mean.embeddings_ND, [[1, 2]])


def test_labels_that_are_independent_reach_their_thresholds():
    reader = LabelReader(
        "sigmoid", "cosine", np.array([0.5, 0.9]), np.empty((0, 0)), np.empty((0, 2), np.int64), 5
    )
    none = np.zeros((1, 2), np.int64)
    first = answers_of([[1, 0]], [[0.8, 0.99]], none)
    second = answers_of([[1, 0]], [[0.4, 0.79]], none)
    mean = mean_of_views([first, second], "cosine", reader.decide)
    assert mean.labels_N.tolist() == [[1, 0]]


def test_views_are_stated_where_they_change_answers(bundle):
    plain, mirrored = Predictor(bundle), Predictor(bundle, views="flips")
    assert "views" not in plain.settings
    assert "test_time_augmentation" not in plain.terms
    assert mirrored.settings == {**plain.settings, "views": "flips"}
    assert mirrored.terms["test_time_augmentation"] == "flips"


@pytest.mark.plain
def test_other_views_are_refused(bundle):
    with pytest.raises(UserError, match=r"^views must be one of one, flips, dihedral, got 'all'$"):
        Predictor(bundle, views="all")
