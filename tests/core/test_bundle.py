"""Model directories: exact round trips, every change refused, no half-written model."""

import json
import os
import shutil
import signal

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from likeness import bundle as subject
from likeness.bundle import Gallery, load_bundle, save_bundle
from likeness.card import SECTIONS
from likeness.data.steps import CropDarkBorder, CropToMask, RemoveDarkLines, ShadesOfGrey
from likeness.data.transforms import Preprocessing
from likeness.errors import UserError
from likeness.files import sha256_file, write_json
from likeness.models import ModelSpec, build_embedder
from likeness.provenance import MODEL_FILES, PROVENANCE_FILE, seal
from likeness.subclasses import SubclassRecord

CLASSES = ["b", "a", "ü"]
CARD = "# Card\n\n" + "\n\n".join(f"## {heading}\n\nSaid." for heading in SECTIONS) + "\n"
SPLITS = pd.DataFrame(
    {
        "path": ["a/1.png", "NA", 'x, "ü".png'],
        "label": ["a", "null", "ü"],
        "split": ["train", "test", ""],
        "group": ["01", "1e3", ""],
        "sha256": ["00", "11", "22"],
    }
)


def make(**options):
    torch.manual_seed(3)
    spec = ModelSpec(**{"backbone": "resnet18", "image_size": 32, "embedding_dim": 8, **options})
    return build_embedder(spec, num_classes=len(CLASSES))


def prepared(bands=3, size=32) -> Preprocessing:
    return Preprocessing(bands=bands, size=size, mean=[0.1] * bands, std=[0.3] * bands)


def parts(embedder, **changes):
    spec = embedder.spec
    given = {
        "config": {"model": spec.model_dump(mode="json"), "lr": 1e-05, "steps": (1, 2)},
        "classes": CLASSES,
        "preprocessing": prepared(spec.bands, spec.image_size),
        "splits": SPLITS,
        "metrics": {"accuracy": {"value": 0.1 + 0.2, "low": float("nan")}},
        "provenance": {"seed": 3, "data_licence": "CC0-1.0"},
        "card": CARD,
    }
    return {**given, **changes}


def readouts(dim=8):
    draw = torch.Generator().manual_seed(1)
    centres_CD = torch.randn(len(CLASSES), dim, generator=draw)
    gallery = Gallery(torch.randn(5, dim, generator=draw), torch.tensor([0, 1, 2, 1, 0]))
    return {"centres_CD": centres_CD, "gallery": gallery}


@pytest.fixture(scope="module")
def trained():
    embedder = make()
    embedder(torch.randn(4, 3, 32, 32))  # running statistics move away from their start
    return embedder


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "model"
    save_bundle(path, trained, **parts(trained), **readouts())
    return path


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "model")


def reseal(directory, provenance=None):
    write_json(directory / PROVENANCE_FILE, seal(directory, provenance or {"seed": 0}))


def with_gallery(trained, path, labels, rows=None, **changes):
    labels_M = torch.tensor(labels)
    rows_M = None if rows is None else torch.tensor(rows)
    gallery = Gallery(torch.zeros(len(labels), 8), labels_M, rows_M)
    save_bundle(path / "model", trained, **parts(trained, gallery=gallery, **changes))
    return load_bundle(path / "model")


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
    upright = make(image_size=[32, 16])
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
    embedder = make(**options).eval()
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
        save_bundle(copied, make(embedding_dim=None), **parts(make(embedding_dim=None)))
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


def test_metrics_are_read_as_they_were_written(saved):
    text = (saved / "metrics.json").read_text(encoding="utf-8")
    assert json.loads(text)["accuracy"]["value"] == 0.1 + 0.2
