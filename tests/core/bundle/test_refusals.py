"""Directories that are not as they were written, or whose files do not fit each other."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from fixtures.bundles import reseal
from likeness.bundle import load_bundle
from likeness.errors import UserError
from likeness.models import ModelSpec, build_embedder
from likeness.provenance import MODEL_FILES, PROVENANCE_FILE


def test_a_changed_model_gives_no_backbone(copied):
    with (copied / "weights.safetensors").open("ab") as weights:
        weights.write(b"\0")
    spec = ModelSpec(backbone="resnet18", image_size=64, weights=str(copied))
    with pytest.raises(UserError, match=r"model must be as it was written, got a changed"):
        build_embedder(spec, num_classes=0)


@pytest.mark.parametrize("name", [*MODEL_FILES, PROVENANCE_FILE])
def test_a_flipped_byte_is_refused(copied, name):
    path = copied / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x04
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"^model must .*, got .*") as caught:
        load_bundle(copied)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", MODEL_FILES)
def test_a_missing_file_is_refused(copied, name):
    (copied / name).unlink()
    with pytest.raises(UserError, match=f"model must hold {name}, got"):
        load_bundle(copied)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("config.yaml", "!!python/object/apply:os.getcwd []", "must hold a readable config.yaml"),
        ("config.yaml", "a: [", "model must hold a readable config.yaml, got"),
        ("config.yaml", "", "model must have a config.yaml with the key 'model', got"),
        ("config.yaml", "model: {backbone: resnet18}", "model.image_size must be given"),
        (
            "config.yaml",
            "model: {backbone: resnet18, image_size: 32, embedding_dim: 9}",
            "heads.embedding.weight has shape (8, 512), not (9, 512)",
        ),
        (
            "config.yaml",
            "model: {backbone: resnet50, image_size: 32, embedding_dim: 8}",
            "backbone.net.layer1.0.conv1.weight has shape (64, 64, 3, 3), not (64, 64, 1, 1)",
        ),
        ("labels.json", "{", "model must hold a readable labels.json, got"),
        ("labels.json", '{"classes": [1, 2, 3]}', "model must list its classes, got"),
        ("labels.json", '{"classes": ["a", "b"]}', "classifiers.class.weight has shape (3, 8)"),
        ("labels.json", '{"classes": ["a", "a", "b"]}', "classes must be different names, got"),
        ("preprocessing.json", "[]", "model must hold a readable preprocessing.json, got"),
        (
            "preprocessing.json",
            '{"size": 64, "mean": [0, 0, 0], "std": [1, 1, 1]}',
            "preprocessing.size must be the model's 32, got 64",
        ),
        ("metrics.json", "nonsense", "model must hold a readable metrics.json, got"),
        ("weights.safetensors", "nonsense", "model must hold whole weights, got"),
    ],
)
def test_files_that_do_not_fit_each_other_are_refused(copied, name, content, sentence):
    (copied / name).write_text(content)
    reseal(copied)
    with pytest.raises(UserError) as caught:
        load_bundle(copied)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.pop("backbone.net.conv1.weight"), "the key backbone.net.conv1.weight is miss"),
        (lambda t: t.update(more=torch.zeros(1)), "the key more is unknown"),
        (lambda t: t.update({"readout.centres": torch.zeros(2, 8)}), "centres_CD must be of shape"),
        (
            lambda t: t.update({"readout.gallery_labels": torch.tensor([0, 1, 2, 3, 0])}),
            "gallery.labels_M must be class numbers under 3",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_refused(copied, change, sentence):
    tensors = load_file(copied / "weights.safetensors")
    change(tensors)
    save_file(tensors, copied / "weights.safetensors")
    reseal(copied)
    with pytest.raises(UserError) as caught:
        load_bundle(copied)
    assert sentence in str(caught.value)
