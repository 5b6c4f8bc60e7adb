"""What is saved comes back exactly, also from older models."""

import json
import shutil

import pandas as pd
import pytest
import torch

from fixtures.bundles import (
    CARD,
    CLASSES,
    SPLITS,
    parts,
    prepared,
    readouts,
    reseal,
    small_embedder,
)
from likeness.bundle import load_bundle, save_bundle
from likeness.data.steps import CropDarkBorder, CropToMask, RemoveDarkLines, ShadesOfGrey
from likeness.errors import UserError
from likeness.files import sha256_file, write_json
from likeness.models import ModelSpec, build_embedder
from likeness.provenance import MODEL_FILES, PROVENANCE_FILE
from likeness.subclasses import SubclassRecord


def test_sub_classes_travel_and_must_fit(trained, saved, tmp_path):
    columns = (torch.tensor([0, 0, 2]), torch.tensor([0, 2, 1]), torch.tensor([5, 1, 9]))
    record = SubclassRecord(torch.randn(3, 8), *columns)
    save_bundle(tmp_path / "model", trained, **parts(trained), subclasses=record)
    bundle = load_bundle(tmp_path / "model")
    assert bundle.subclasses.names(bundle.classes) == ["b/1", "b/3", "ü/2"]
    for name, tensor in record.tensors().items():
        assert torch.equal(bundle.subclasses.tensors()[name], tensor)
    assert load_bundle(saved).subclasses is None
    wrong = SubclassRecord(torch.randn(3, 7), *columns)
    with pytest.raises(UserError, match=r"subclasses\.means_KD must be \(K, 8\), got \(3, 7\)"):
        save_bundle(tmp_path / "model", trained, **parts(trained), subclasses=wrong)


def test_preprocessing_steps_travel_and_older_models_have_none(trained, tmp_path):
    steps = (ShadesOfGrey(p=5), RemoveDarkLines(), CropDarkBorder(), CropToMask(margin=0.1))
    made = prepared().model_copy(update={"steps": steps})
    save_bundle(tmp_path / "model", trained, **parts(trained, preprocessing=made))
    assert load_bundle(tmp_path / "model").preprocessing == made
    file = tmp_path / "model" / "preprocessing.json"
    written = json.loads(file.read_text())
    assert written["steps"][0] == {"name": "shades_of_grey", "p": 5.0}
    del written["steps"]
    write_json(file, written)
    reseal(tmp_path / "model")
    assert load_bundle(tmp_path / "model").preprocessing == prepared()


def test_height_and_width_travel_and_a_square_stays_one_number(saved, tmp_path):
    written = json.loads((saved / "preprocessing.json").read_text())
    assert written["size"] == 32  # as in every older model
    assert load_bundle(saved).preprocessing.height_width == (32, 32)
    upright = small_embedder(image_size=[32, 16])
    save_bundle(tmp_path / "model", upright, **parts(upright))
    bundle = load_bundle(tmp_path / "model")
    assert bundle.preprocessing == prepared(size=(32, 16))
    assert bundle.preprocessing.height_width == bundle.embedder.spec.height_width == (32, 16)
    with pytest.raises(UserError, match=r"preprocessing.size must be the model's \(32, 16\), got"):
        save_bundle(
            tmp_path / "b", upright, **parts(upright, preprocessing=prepared(size=(16, 32)))
        )


def test_two_equal_sides_are_a_square(saved, copied):
    file = copied / "preprocessing.json"
    write_json(file, json.loads(file.read_text()) | {"size": [32, 32]})
    reseal(copied)
    assert load_bundle(copied).preprocessing == load_bundle(saved).preprocessing


def test_the_files_are_those_of_the_design(saved):
    assert sorted(item.name for item in saved.iterdir()) == sorted([*MODEL_FILES, PROVENANCE_FILE])
    assert sorted(item.name for item in saved.parent.iterdir()) == ["model"]


def test_the_round_trip_is_exact(trained, saved):
    bundle = load_bundle(saved)
    expected = trained.state_dict()
    found = bundle.embedder.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(found[name].dtype == expected[name].dtype for name in expected)
    assert all(found[name].stride() == expected[name].stride() for name in expected)
    assert bundle.embedder.spec == trained.spec
    assert not bundle.embedder.training
    assert all(parameter.requires_grad for parameter in bundle.embedder.parameters())
    assert bundle.classes == CLASSES
    assert bundle.preprocessing == prepared()
    pd.testing.assert_frame_equal(bundle.splits, SPLITS)
    assert bundle.metrics == {"accuracy": {"value": 0.1 + 0.2, "low": None}}
    assert bundle.config["lr"] == 1e-05
    assert bundle.config["steps"] == [1, 2]
    assert bundle.provenance["seed"] == 3
    assert bundle.data_licence == "CC0-1.0"
    assert bundle.card == CARD
    assert bundle.space == "cosine"
    assert bundle.path == saved
    assert bundle.model_id == sha256_file(saved / "weights.safetensors")[:12]
    given = readouts()
    assert torch.equal(bundle.centres_CD, given["centres_CD"])
    assert torch.equal(bundle.gallery.embeddings_MD, given["gallery"].embeddings_MD)
    assert torch.equal(bundle.gallery.labels_M, given["gallery"].labels_M)


def test_the_outputs_are_the_same_to_the_last_bit(trained, saved):
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    embedder = load_bundle(saved).embedder
    trained.eval()
    with torch.inference_mode():
        ours, theirs = embedder(images), trained(images)
    trained.train()
    assert torch.equal(ours.features_NF, theirs.features_NF)
    assert torch.equal(ours.embeddings["embedding"], theirs.embeddings["embedding"])
    assert torch.equal(ours.logits["class"], theirs.logits["class"])


def test_a_loaded_model_trains_on(saved):
    embedder = load_bundle(saved).embedder.train()
    embedder(torch.randn(2, 3, 32, 32)).logits["class"].sum().backward()
    assert all(parameter.grad is not None for parameter in embedder.parameters())


def test_equal_weights_have_an_equal_id_and_saving_twice_gives_it(trained, saved, tmp_path):
    again = save_bundle(tmp_path / "model", trained, **parts(trained), **readouts())
    assert again == load_bundle(saved).model_id


def test_loading_leaves_torchs_generator_alone(saved):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    load_bundle(saved)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_outlives_its_directory(saved, tmp_path):
    directory = shutil.copytree(saved, tmp_path / "model")
    bundle = load_bundle(directory)
    before = bundle.embedder.state_dict()["backbone.net.bn1.running_mean"].clone()
    with (directory / "weights.safetensors").open("r+b") as weights:
        weights.write(bytes(weights.seek(0, 2)))
    shutil.rmtree(directory)
    assert torch.equal(bundle.embedder.state_dict()["backbone.net.bn1.running_mean"], before)
    assert torch.equal(bundle.centres_CD, readouts()["centres_CD"])


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "gem", "embedding_dim": None, "dropout": 0.2, "stem": "small"},
        {"bands": 13, "channels_last": False, "space": "euclidean"},
    ],
)
def test_other_models_come_back_too(tmp_path, options):
    embedder = small_embedder(**options).eval()
    save_bundle(tmp_path / "model", embedder, **parts(embedder))
    bundle = load_bundle(tmp_path / "model")
    images = torch.randn(2, embedder.spec.bands, 32, 32)
    with torch.inference_mode():
        expected, found = embedder(images), bundle.embedder(images)
    assert torch.equal(found.logits["class"], expected.logits["class"])
    assert bundle.embedder.spec == embedder.spec
    assert bundle.centres_CD is None
    assert bundle.gallery is None


def test_a_model_without_class_layer(tmp_path):
    torch.manual_seed(0)
    spec = ModelSpec(backbone="resnet18", image_size=32)
    embedder = build_embedder(spec, num_classes=0)
    save_bundle(tmp_path / "model", embedder, **parts(embedder, provenance={}), **readouts(dim=512))
    bundle = load_bundle(tmp_path / "model")
    assert bundle.embedder.num_classes == 0
    assert bundle.classes == CLASSES
    assert bundle.centres_CD.shape == (3, 512)
    assert bundle.data_licence is None


def test_a_run_directory_is_its_model(saved):
    assert load_bundle(saved.parent).path == saved
    assert load_bundle(str(saved)).path == saved


def test_a_backbone_is_taken_from_a_model_or_a_run(trained, saved):
    spec = ModelSpec(backbone="resnet18", image_size=64, weights=str(saved.parent), stem="standard")
    embedder = build_embedder(spec, num_classes=7)
    own, theirs = embedder.backbone.net.state_dict(), trained.backbone.net.state_dict()
    assert all(torch.equal(own[name], theirs[name]) for name in theirs)


def test_metrics_are_read_as_they_were_written(saved):
    text = (saved / "metrics.json").read_text(encoding="utf-8")
    assert json.loads(text)["accuracy"]["value"] == 0.1 + 0.2
