"""Starting from the whole network of another run."""

import pandas as pd
import pytest
import torch

from fixtures.tiny_training import tiny_spec
from likeness.bundle import save_bundle
from likeness.card import SECTIONS
from likeness.data.transforms import Preprocessing
from likeness.errors import UserError
from likeness.models import ModelSpec, build_embedder
from likeness.training.start import load_start, take_weights

MODEL = {"backbone": "preact_resnet18", "image_size": 16, "embedding_dim": 8, "bands": 1}
CLASSES = ["anger", "fear", "joy"]
CARD = "# Card\n\n" + "\n\n".join(f"## {heading}\n\nSaid." for heading in SECTIONS) + "\n"


def embedder_of(seed, *, num_classes=3, **options):
    torch.manual_seed(seed)
    return build_embedder(ModelSpec(**{**MODEL, **options}), num_classes=num_classes)


def save(folder, embedder, *, classes=CLASSES, **preprocessing):
    spec = embedder.spec
    options = {"mean": [0.5] * spec.bands, "std": [0.2] * spec.bands, **preprocessing}
    columns = ("path", "label", "split", "group", "sha256")
    model_id = save_bundle(
        folder / "model",
        embedder,
        config={"model": spec.model_dump(mode="json")},
        classes=classes,
        preprocessing=Preprocessing(bands=spec.bands, size=spec.image_size, **options),
        splits=pd.DataFrame({name: ["x"] for name in columns}),
        metrics={},
        provenance={"seed": 0},
        card=CARD,
    )
    return str(folder), model_id


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    embedder = embedder_of(1)
    for part in embedder.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_()
    path, model_id = save(tmp_path_factory.mktemp("run"), embedder)
    return embedder, path, model_id


def test_everything_is_taken_by_name(trained):
    """Statistics of the norms too; class rows follow the names, not the numbers."""
    embedder, path, model_id = trained
    new = embedder_of(2, dropout=0.5, image_size=24, space="euclidean")
    start = load_start(path, new.spec)
    assert start.model_id == model_id
    assert take_weights(new, start, ["joy", "anger", "fear"])
    before, after = embedder.state_dict(), new.state_dict()
    for key, value in before.items():
        if not key.startswith("classifiers."):
            assert torch.equal(after[key], value), key
    weight = before["classifiers.class.weight"]
    assert torch.equal(after["classifiers.class.1.weight"], weight[[2, 0, 1]])
    bias = before["classifiers.class.bias"]
    assert torch.equal(after["classifiers.class.1.bias"], bias[[2, 0, 1]])


@pytest.mark.parametrize(
    ("classes", "multilabel"),
    [(["anger", "fear"], False), (CLASSES, True), ([*CLASSES, "z"], False)],
)
def test_other_classes_leave_the_class_layer_at_random(trained, classes, multilabel):
    embedder, path, _ = trained
    new = embedder_of(2, num_classes=len(classes))
    random = {name: value.clone() for name, value in new.state_dict().items()}
    assert not take_weights(new, load_start(path, new.spec), classes, multilabel=multilabel)
    for key, value in new.state_dict().items():
        kept = random if key.startswith("classifiers.") else embedder.state_dict()
        assert torch.equal(value, kept[key]), key


def test_a_run_or_a_model_without_a_class_layer(trained, tmp_path):
    embedder, path, _ = trained
    bare = embedder_of(2, num_classes=0)
    assert take_weights(bare, load_start(path, bare.spec), CLASSES)
    assert torch.equal(bare.heads["embedding"].weight, embedder.heads["embedding"].weight)
    given, _ = save(tmp_path, bare)
    new = embedder_of(3)
    assert not take_weights(new, load_start(given, new.spec), CLASSES)


def test_it_draws_nothing(trained):
    """So that what is random of the objective starts as it would without."""
    _, path, _ = trained
    new = embedder_of(2)
    expected = torch.get_rng_state()
    take_weights(new, load_start(path, new.spec), CLASSES)
    assert torch.equal(torch.get_rng_state(), expected)


def test_the_normalisation_comes_along(trained, tmp_path):
    _, path, _ = trained
    start = load_start(path, embedder_of(0).spec)
    assert start.normalisation(scale=255.0, standardised=False) == ([0.5], [0.2])
    with pytest.raises(UserError, match=r"are divided by 65535, as these, got .* with 255"):
        start.normalisation(scale=65535.0, standardised=False)
    sentence = "start must be a model whose data.per_image_standardisation is True, as this run's"
    with pytest.raises(UserError, match=sentence):
        start.normalisation(scale=255.0, standardised=True)
    options = {"mean": [0.0], "std": [1.0], "per_image_standardisation": True}
    given, _ = save(tmp_path, embedder_of(0), **options)
    start = load_start(given, embedder_of(0).spec)
    assert start.normalisation(scale=255.0, standardised=True) == ([0.0], [1.0])


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"embedding_dim": 4}, ("model.embedding_dim is 4, as this run's", "with 8")),
        ({"bands": 3}, ("model.bands is 3", "with 1")),
        ({"backbone": "resnet18"}, ("model.backbone is 'resnet18'", "with 'preact_resnet18'")),
    ],
)
def test_another_network_is_refused(trained, options, parts):
    with pytest.raises(UserError) as caught:
        load_start(trained[1], ModelSpec(**{**MODEL, **options}))
    for part in ("start must be a model whose", *parts):
        assert part in str(caught.value)


def test_a_network_for_one_size_is_refused_at_another(tmp_path):
    options = {"backbone": "inception_bn", "stem": "small", "bands": 1}
    torch.manual_seed(0)
    given, _ = save(tmp_path, embedder_of(0, **{**options, "image_size": 18}))
    new = embedder_of(0, **{**options, "image_size": 64})
    with pytest.raises(UserError, match="start must hold weights that fit this run's model, got"):
        take_weights(new, load_start(given, new.spec), CLASSES)
    bare = ModelSpec(**{**MODEL, **options, "image_size": 18, "half_way_heads": False})
    with pytest.raises(
        UserError, match=r"start must be a model whose model\.half_way_heads is False"
    ):
        load_start(given, bare)


def test_no_model_at_all_is_refused(tmp_path):
    with pytest.raises(UserError, match="model must be a model or run directory"):
        load_start(str(tmp_path), ModelSpec(**MODEL))


def test_only_one_start_can_be_named():
    assert tiny_spec(start="runs/c").start == "runs/c"
    model = {"backbone": "resnet18", "image_size": 16, "weights": "imagenet"}
    sentence = "model.weights must be 'none' where start names the whole network, got 'imagenet'"
    with pytest.raises(UserError, match=sentence):
        tiny_spec(start="runs/c", model=model)
    with pytest.raises(UserError, match="start must be"):
        tiny_spec(start="")
