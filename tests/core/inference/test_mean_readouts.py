"""Sub-class means and Gaussian posteriors: against loops and scipy, and whose means they are."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from likeness.bundle import Bundle, Gallery
from likeness.errors import UserError
from likeness.inference.readers import (
    Reader,
    available_readouts,
    calibrated,
    gaussians_of,
    mean_readers,
    reader_of,
)
from likeness.inference.readouts import (
    gaussian_posterior,
    nearest_centre,
    nearest_subclass,
    softmax,
)
from likeness.losses.gaussian import gaussian_posterior as posterior_of_the_loss
from likeness.subclasses import SubclassRecord

CLASSES = np.array([0, 0, 1, 2, 2, 2])
NO_LOGITS = np.empty((30, 0), np.float32)


def cloud(seed: int, count: int, dim: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32) * 2


@pytest.mark.parametrize("space", ["euclidean", "cosine", "dot"])
def test_the_nearest_sub_class_by_the_definition(space):
    queries, means = cloud(0, 30), cloud(1, 6)
    read = nearest_subclass(queries, means, CLASSES, num_classes=4, space=space)
    for query, label, scores in zip(queries.astype(float), *read, strict=True):
        best = [-math.inf] * 4
        for mean, own in zip(means.astype(float), CLASSES, strict=True):
            if space == "euclidean":
                score = -sum((q - m) ** 2 for q, m in zip(query, mean, strict=True))
            else:
                score = sum(q * m for q, m in zip(query, mean, strict=True))
                if space == "cosine":
                    score /= math.hypot(*query) * math.hypot(*mean)
            best[own] = max(best[own], score)
        np.testing.assert_allclose(scores, best, rtol=1e-4, atol=1e-4)
        assert label == best.index(max(best))
    assert read.labels_N.max() <= 2  # nobody knows where class 3 is


def test_with_one_sub_class_each_it_is_the_nearest_centre():
    queries, means = cloud(2, 30), cloud(3, 5)
    one = nearest_subclass(queries, means, np.arange(5), num_classes=5, space="euclidean")
    other = nearest_centre(queries, means, space="euclidean")
    np.testing.assert_array_equal(one.labels_N, other.labels_N)
    np.testing.assert_allclose(one.scores_NC, other.scores_NC)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_the_posterior_is_bayes_rule(sigma):
    queries, means = cloud(4, 30), cloud(5, 6)
    read = gaussian_posterior(queries, means, CLASSES, num_classes=4, sigma=sigma)
    found = softmax(read.scores_NC)
    for query, row in zip(queries, found, strict=True):
        likely = [multivariate_normal.pdf(query, mean, sigma**2 * np.eye(4)) for mean in means]
        by_class = [sum(likely[m] for m in range(6) if CLASSES[m] == c) for c in range(4)]
        np.testing.assert_allclose(row, np.array(by_class) / sum(likely), atol=1e-6)
    np.testing.assert_array_equal(read.labels_N, found.argmax(axis=1))


def test_it_is_the_posterior_of_the_loss_and_does_not_underflow():
    queries, means = cloud(6, 20), cloud(7, 3)
    read = gaussian_posterior(queries, means, np.arange(3), num_classes=3, sigma=1.5)
    rows, centres = torch.from_numpy(queries), torch.from_numpy(means)
    wanted = posterior_of_the_loss(rows, centres, torch.ones(3, dtype=torch.bool), sigma=1.5)
    np.testing.assert_allclose(softmax(read.scores_NC), wanted.numpy(), atol=1e-5)
    far = gaussian_posterior(queries + 1e4, means, np.arange(3), num_classes=3, sigma=1.0)
    assert np.isfinite(far.scores_NC).all()
    np.testing.assert_allclose(softmax(far.scores_NC).sum(axis=1), 1)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_sigma_out_of_range(sigma):
    with pytest.raises(UserError, match="sigma must be > 0 and finite, got"):
        gaussian_posterior(cloud(0, 2), cloud(1, 2), np.arange(2), num_classes=2, sigma=sigma)


def test_means_that_are_none():
    broken = np.full((2, 4), np.nan, np.float32)
    with pytest.raises(UserError, match="means_MD must be finite, got"):
        nearest_subclass(cloud(0, 2), broken, np.arange(2), num_classes=2, space="cosine")
    with pytest.raises(UserError, match="classes_M must be class numbers from 0 to 1, got"):
        gaussian_posterior(cloud(0, 2), cloud(1, 2), np.array([0, 2]), num_classes=2, sigma=1.0)


# What a model has


def record() -> SubclassRecord:
    slots = torch.tensor([0, 1, 0, 0, 1, 2])
    means, classes = torch.from_numpy(cloud(8, 6)), torch.from_numpy(CLASSES)
    return SubclassRecord(means, classes, slots, torch.full((6,), 9))


def trained_for(labels: str = "class", sigma: float = 2.0, head: str = "embedding") -> dict:
    loss = {"name": "gaussian_structured", "sigma": sigma}
    other = {"loss": {"name": "triplet"}, "labels": "class"}
    return {"objective": {"terms": [other, {"loss": loss, "labels": labels, "head": head}]}}


def model(config: dict, space: str = "euclidean", layer: int = 0, **parts) -> Bundle:
    """As much of a model as readers ask."""
    known = {
        "embedder": SimpleNamespace(num_classes=layer),
        "config": config,
        "space": space,
        "classes": ["a", "b", "c"],
        "centres_CD": torch.from_numpy(cloud(9, 3)),
        "subclasses": None,
        "gallery": None,
        "multilabel": False,
        "metrics": {},
    }
    found = Mock(spec=Bundle)
    found.configure_mock(**known | parts)
    return found


def test_what_a_run_was_trained_for():
    assert gaussians_of(trained_for("subclass", 0.5)) == (0.5, True)
    assert gaussians_of(trained_for()) == (2.0, False)
    assert gaussians_of(trained_for(head="other")) is None
    assert gaussians_of({}) is None
    assert gaussians_of({"objective": {"terms": []}}) is None


def test_which_read_outs_there_are_and_which_comes_first():
    assert available_readouts(model({})) == ["nearest_centre"]
    assert available_readouts(model(trained_for())) == ["gaussian", "nearest_centre"]
    assert available_readouts(model(trained_for(), "cosine")) == ["nearest_centre"]
    with_layer = model(trained_for("subclass"), layer=3, subclasses=record())
    assert available_readouts(with_layer) == [
        *("softmax", "gaussian", "nearest_centre", "nearest_subclass")
    ]
    # Gaussians of sub-classes that nobody recorded
    assert available_readouts(model(trained_for("subclass"))) == ["nearest_centre"]
    assert available_readouts(model(trained_for(), centres_CD=None)) == []
    assert reader_of(model(trained_for())).name == "gaussian"


def test_the_means_are_those_of_the_structure():
    of_classes = reader_of(model(trained_for(), subclasses=record()), "gaussian")
    assert (len(of_classes.reference), of_classes.sigma) == (3, 2.0)
    of_subclasses = reader_of(model(trained_for("subclass"), subclasses=record()), "gaussian")
    np.testing.assert_array_equal(of_subclasses.reference, record().means_KD.numpy())
    np.testing.assert_array_equal(of_subclasses.reference_labels, CLASSES)
    assert of_subclasses.settings == {"readout": "gaussian", "temperature": 1.0, "sigma": 2.0}


def test_the_recorded_temperature_changes_no_class():
    queries = cloud(10, 30)
    cool = model(trained_for("subclass"), subclasses=record())
    hot = model(
        trained_for("subclass"),
        subclasses=record(),
        metrics={"temperature": {"gaussian": 5.0, "nearest_subclass": 5.0}},
    )
    for name in ("gaussian", "nearest_subclass"):
        one, other = (reader_of(own, name)(queries, NO_LOGITS) for own in (cool, hot))
        np.testing.assert_array_equal(one.labels_N, other.labels_N)
        assert (other.scores_NC.max(axis=1) < one.scores_NC.max(axis=1)).all()
        np.testing.assert_allclose(other.scores_NC.sum(axis=1), 1)


def test_answers_do_not_know_the_labels_that_are_asked_about():
    """Trap 32: an answer to a picture is the same alone and among others, whatever these are."""
    own = model(trained_for("subclass"), subclasses=record())
    queries = cloud(11, 30)
    for name in ("gaussian", "nearest_subclass", "nearest_centre"):
        reader = reader_of(own, name)
        together = reader(queries, NO_LOGITS).scores_NC
        alone = [reader(queries[i : i + 1], NO_LOGITS[:1]).scores_NC[0] for i in range(30)]
        np.testing.assert_allclose(together, alone, atol=1e-9)


# Calibration


def test_the_temperature_undoes_a_wrong_sigma():
    """Answers of one shared width: the posterior is right where sigma squared times T is."""
    generator = np.random.default_rng(12)
    means, labels = cloud(13, 3), generator.integers(0, 3, 4000)
    rows = (means[labels] + 2.0 * generator.normal(size=(4000, 4))).astype(np.float32)
    reader = Reader("gaussian", "euclidean", 3, 1.0, means, np.arange(3), 0, 1.0)
    found = calibrated(reader, rows, np.empty((4000, 0), np.float32), labels)
    assert found.temperature == pytest.approx(4.0, rel=0.15)
    assert replace(found, temperature=1.0).settings == reader.settings


def test_classes_without_a_mean_are_left_out_of_the_fit():
    readers = mean_readers({}, "euclidean", cloud(14, 3), None)
    reader = readers["nearest_centre"]
    lone = replace(reader, reference=np.vstack([reader.reference[:2], np.full((1, 4), np.nan)]))
    rows, labels = cloud(15, 40), np.arange(40) % 3
    logits = np.empty((40, 0), np.float32)
    two = replace(reader, reference=reader.reference[:2], num_classes=2)
    wanted = calibrated(two, rows[labels < 2], logits[labels < 2], labels[labels < 2])
    assert calibrated(lone, rows, logits, labels).temperature == wanted.temperature
    nobody = calibrated(lone, rows[:1], logits[:1], np.array([2]))
    assert nobody.temperature == 1.0


def test_a_gallery_is_not_for_means():
    gallery = Gallery(torch.from_numpy(cloud(16, 9)), torch.arange(9) % 3)
    own = model(trained_for(), gallery=gallery)
    assert available_readouts(own) == ["gaussian", "nearest_centre", "knn"]
    assert len(reader_of(own, "knn", k=2).reference) == 9
    assert reader_of(own, "knn", k=2).settings == {"readout": "knn", "k": 2}
