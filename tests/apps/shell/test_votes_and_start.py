"""Runs that learn from votes, start from another run, and see grey only: from data to a bundle."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures.front_door import SMALL, last_of
from fixtures.scenes import save, texture
from likeness.bundle import load_bundle
from likeness.config import parse
from likeness.data.transforms import luminance
from likeness.errors import UserError
from likeness.inference.predictor import Predictor
from likeness.training.spec import RunSpec
from likeness_apps.remote_sensing.domain import DOMAIN
from likeness_apps.shell import configs
from likeness_apps.shell.data import prepare
from likeness_apps.shell.setup import set_up
from likeness_apps.shell.train import train

CLASSES = ("lake", "street", "town")
QUICK = (*SMALL, "epochs=1", "data.cache_gib=0", "data.augmentation.colour=0")
SOFT = "objective.classification.targets=soft"
GREY = ("data.grey=true", "data.per_image_standardisation=true")


def votes(rows, classes):
    """Seven of ten say the label, three the class behind it."""
    own = np.eye(len(classes))[[classes.index(label) for label in rows["label"]]]
    return 0.7 * own + 0.3 * np.roll(own, 1, axis=1)


VOTED = replace(DOMAIN, distributions=votes)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Pictures of one band and of three, under one roof."""
    root = tmp_path_factory.mktemp("mixed") / "scenes"
    for kind, name in enumerate(CLASSES):
        for number in range(10):
            image = texture(kind, number)
            grey = number % 3 != 0
            save(root / name / f"{number}.png", luminance(image) if grey else image)
    return root


def run(out: Path, data: Path, *changes: str, domain=VOTED) -> Path:
    return train(domain, data, out, config="smoke", changes=last_of(*QUICK, *changes), quiet=True)


def setup_of(data: Path, *changes: str, domain=VOTED):
    raw = configs.load(domain.folder, "smoke", last_of(*QUICK, *changes))
    spec = parse(RunSpec, raw)
    prepared = prepare(domain, data, spec.data, seed=spec.seed, quiet=True)
    bands = spec.model.model_copy(update={"bands": raw["model"].get("bands", prepared.bands)})
    spec = spec.model_copy(update={"model": bands})
    return set_up(spec, prepared, quiet=True, distributions=domain.distributions)


@pytest.fixture(scope="module")
def soft_run(mixed, tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs") / "soft", mixed, SOFT, *GREY)


def test_colour_and_grey_are_the_same_to_a_grey_model(soft_run):
    bundle = load_bundle(soft_run)
    known = bundle.preprocessing
    assert (known.bands, known.grey, known.per_image_standardisation) == (1, True, True)
    assert (known.mean, known.std) == ([0.0], [1.0])
    assert "started_from" not in bundle.provenance
    colour = texture(0, 50)
    brighter = (luminance(colour).astype(int) + 20).clip(0, 255).astype(np.uint8)
    ask = partial(Predictor(bundle, columns="embed").predict_images)
    embeddings = ask([colour, luminance(colour), brighter, texture(1, 50)])["embedding"]
    np.testing.assert_allclose(embeddings[0], embeddings[1], atol=1e-5)
    np.testing.assert_allclose(embeddings[0], embeddings[2], atol=1e-2)
    assert np.abs(embeddings[0] - embeddings[3]).max() > 1e-2


def test_grey_repeated_for_three_bands(mixed):
    setup = setup_of(mixed, "data.grey=true", "model.bands=3")
    known = setup.preprocessing
    assert known.mean == known.mean[:1] * 3
    image, _ = setup.splits["val"].images[0]
    assert torch.equal(image[0], image[1])
    assert setup.embedder.spec.bands == 3


def test_without_the_option_colour_among_grey_cannot_be_used(mixed):
    with pytest.raises(UserError, match=r"lake/0\.png: 3 bands where 1 are expected"):
        setup_of(mixed, SOFT)


def test_the_votes_are_those_of_the_training_rows(mixed):
    setup = setup_of(mixed, SOFT, *GREY, "objective.classification.class_weights=balanced")
    training = setup.splits["train"]
    expected = votes(training.table, sorted(CLASSES))
    np.testing.assert_allclose(setup.distributions_NC, expected, rtol=1e-6)
    total = expected.sum(axis=0)
    weight = setup.objective.classification.weight_C
    np.testing.assert_allclose(weight.numpy(), len(expected) / (3 * total), rtol=1e-5)


@pytest.mark.parametrize(
    ("distributions", "sentence"),
    [
        (None, "targets must be 'label' for a set that does not say how its annotators voted, got"),
        (lambda rows, classes: None, "objective.classification.targets must be 'label' for a set"),
        (
            lambda rows, classes: np.zeros((len(rows), 3)),
            "sum to 1 in every row, got 0, 0, 0 at lake/",
        ),
        (lambda rows, classes: np.ones((len(rows), 1)), "targets must be of shape (N, 3)"),
    ],
)
def test_a_set_without_votes_is_refused_before_anything_is_written(
    mixed, tmp_path, distributions, sentence
):
    domain = replace(DOMAIN, distributions=distributions)
    with pytest.raises(UserError) as caught:
        run(tmp_path / "run", mixed, SOFT, *GREY, domain=domain)
    assert sentence in str(caught.value)
    assert not (tmp_path / "run").exists()
    setup_of(mixed, *GREY, domain=domain)  # labels alone ask nobody


def test_a_run_starts_from_another(mixed, soft_run, tmp_path):
    known = load_bundle(soft_run)
    setup = setup_of(mixed, *GREY, f"start={soft_run}")
    expected = known.embedder.state_dict()
    for name, tensor in setup.embedder.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert setup.started_from == known.model_id
    assert known.model_id in setup.run_hash
    out = run(tmp_path / "next", mixed, *GREY, f"start={soft_run}")
    provenance = load_bundle(out).provenance
    assert provenance["started_from"] == known.model_id
    assert provenance["layout"] == setup.prepared.manifest.layout


def test_a_start_that_knows_the_test_images_is_refused(mixed, soft_run, tmp_path):
    """Another seed divides the same images otherwise: some were trained on before."""
    trained = load_bundle(soft_run).splits.query("split == 'train'")["sha256"]
    ours = setup_of(mixed, *GREY, "seed=3").prepared.splits
    known = ours[ours["sha256"].isin(trained) & (ours["split"] != "train")]
    held_out = (ours["split"] != "train").sum()
    assert 0 < len(known) < held_out
    with pytest.raises(UserError) as caught:
        run(tmp_path / "run", mixed, *GREY, f"start={soft_run}", "seed=3")
    assert "start must be a model that was not trained on validation or test" in str(caught.value)
    assert f"trained on {len(known)} of {held_out}, the first {known['path'].iloc[0]}" in str(
        caught.value
    )
    assert not (tmp_path / "run").exists()


def test_a_start_that_does_not_fit_leaves_nothing(mixed, soft_run, tmp_path):
    for changes, sentence in [
        ((*GREY, "model.embedding_dim=7"), "start must be a model whose model.embedding_dim is 7"),
        (GREY[:1], "start must be a model whose data.per_image_standardisation is False"),
    ]:
        with pytest.raises(UserError) as caught:
            run(tmp_path / "run", mixed, *changes, f"start={soft_run}")
        assert sentence in str(caught.value)
        assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="model must be a model or run directory"):
        run(tmp_path / "run", mixed, *GREY, f"start={tmp_path / 'nothing'}")


def test_the_scope_check_needs_the_light():
    with pytest.raises(UserError, match="scope_check must be false with per_image_standardisation"):
        parse(RunSpec, configs.load(DOMAIN.folder, "smoke", ["data.scope_check=true", GREY[1]]))
