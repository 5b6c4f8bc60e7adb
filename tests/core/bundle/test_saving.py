"""Saving: what does not fit is refused, nothing else is replaced, no half-written model."""

import os
import shutil
import signal

import pytest
import torch
import yaml

from fixtures.bundles import SPLITS, parts, prepared, small_embedder
from likeness import bundle as subject
from likeness.bundle import Gallery, load_bundle, save_bundle
from likeness.errors import UserError


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"classes": ["a", "b"]}, "classes must be one name for each of 3 logits, got 2"),
        ({"classes": ["a", "b", "a"]}, "classes must be different names, got"),
        ({"preprocessing": prepared(size=64)}, "preprocessing.size must be the model's 32, got 64"),
        ({"preprocessing": prepared(bands=4)}, "preprocessing.bands must be the model's 3, got 4"),
        ({"config": {"model": {"backbone": "resnet50"}}}, "config['model'] must be the embedder's"),
        ({"card": "# Card"}, "card must say something under '## Intended use', got nothing"),
        ({"splits": SPLITS[["path"]]}, "splits must be a table with path, label, split, group"),
        ({"centres_CD": torch.zeros(3, 9)}, "centres_CD must be of shape (3, 8), got (3, 9)"),
        (
            {"centres_CD": torch.full((3, 8), torch.nan)},
            "centres_CD must be finite, got 24 values",
        ),
        (
            {"gallery": Gallery(torch.zeros(2, 9), torch.tensor([0, 1]))},
            "gallery.embeddings_MD must be of shape (2, 8), got (2, 9)",
        ),
        (
            {"gallery": Gallery(torch.zeros(2, 8), torch.tensor([0, -1]))},
            "gallery.labels_M must be class numbers under 3, got [0, -1]",
        ),
        (
            {"gallery": Gallery(torch.zeros(2, 8), torch.tensor([0, 1]), torch.tensor([0, 3]))},
            "gallery.rows_M must be rows of splits.csv, under 3, got [0, 3]",
        ),
    ],
)
def test_parts_that_do_not_fit_are_not_saved(trained, tmp_path, change, sentence):
    with pytest.raises(UserError) as caught:
        save_bundle(tmp_path / "model", trained, **parts(trained, **change))
    assert sentence in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_files_is_not_replaced(trained, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("precious")
    for path in (tmp_path / "photos", tmp_path / "photos" / "a.jpg"):
        with pytest.raises(UserError, match="out must be a new directory or an older model, got"):
            save_bundle(path, trained, **parts(trained))
    assert (tmp_path / "photos" / "a.jpg").read_text() == "precious"
    (tmp_path / "empty").mkdir()
    save_bundle(tmp_path / "empty", trained, **parts(trained))
    load_bundle(tmp_path / "empty")


def test_saving_leaves_the_network_as_it_was(trained, tmp_path):
    training = trained.training
    strides = {name: tensor.stride() for name, tensor in trained.state_dict().items()}
    save_bundle(tmp_path / "model", trained, **parts(trained))
    assert trained.training == training
    assert {name: tensor.stride() for name, tensor in trained.state_dict().items()} == strides


def test_config_names_the_model_even_when_it_was_not_given(trained, tmp_path):
    save_bundle(tmp_path / "model", trained, **parts(trained, config={"lr": 1}))
    config = yaml.safe_load((tmp_path / "model" / "config.yaml").read_text(encoding="utf-8"))
    assert config["model"] == trained.spec.model_dump(mode="json")


def test_a_full_disk_leaves_the_old_model(trained, copied, monkeypatch):
    before = load_bundle(copied).model_id

    def full(*_arguments):
        raise subject.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(subject, "save_file", full)
    with pytest.raises(UserError, match="out must be a writable place with free space, got"):
        save_bundle(
            copied, small_embedder(embedding_dim=None), **parts(small_embedder(embedding_dim=None))
        )
    assert load_bundle(copied).model_id == before
    assert [item.name for item in copied.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("step", ["seal", "write_json", "os.rename", "shutil.rmtree"])
def test_a_killed_save_leaves_a_whole_model(trained, copied, monkeypatch, step):
    old = load_bundle(copied).model_id
    child = os.fork()
    if child == 0:  # dies without any clean-up

        def die(*_arguments, **_options):
            os.kill(os.getpid(), signal.SIGKILL)

        if step == "os.rename":  # the second: the old model is aside, the new one not in place

            def second(source, target, rename=os.rename):
                if os.path.basename(target) == "model":
                    die()
                rename(source, target)

            os.rename = second
        elif step == "shutil.rmtree":  # the last: the new model is in place

            def last(path, remove=shutil.rmtree, **options):
                if str(path).endswith(".old"):
                    die()
                remove(path, **options)

            shutil.rmtree = last
        else:
            setattr(subject, step, die)
        save_bundle(copied, trained, **parts(trained))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    found = load_bundle(copied).model_id
    assert (found == old) == (step != "shutil.rmtree")
    new = save_bundle(copied, trained, **parts(trained))
    assert load_bundle(copied).model_id == new != old
    assert [item.name for item in copied.parent.iterdir()] == ["model"]
