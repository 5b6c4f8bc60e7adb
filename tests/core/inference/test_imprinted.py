"""A bundle that gains a class: by a class layer of cosines, a linear one, centres; and refusals."""

import numpy as np
import pandas as pd
import pytest
import torch

from likeness.bundle import Gallery, load_bundle, save_bundle
from likeness.card import SECTIONS
from likeness.data.transforms import Preprocessing
from likeness.errors import UserError
from likeness.imprinting import CosineClassifier, averaged_exemplars
from likeness.inference.imprinted import with_class
from likeness.inference.predictor import Predictor
from likeness.inference.readers import available_readouts, reader_of
from likeness.inference.readouts import class_centres
from likeness.models import ModelSpec, build_embedder
from likeness.subclasses import SubclassRecord

CLASSES = ["lake", "street", "town"]
SIZE, DIM, KNOWN = 16, 6, 12
CARD = "# Card\n\n" + "\n\n".join(f"## {heading}\n\nSaid." for heading in SECTIONS) + "\n"
LABELS = torch.arange(KNOWN) % 3


def rows(seed, count, axis=None):
    """Unit-like rows about an axis, or about those of the three classes."""
    generator = torch.Generator().manual_seed(seed)
    centre = 4 * torch.eye(DIM)[LABELS if axis is None else [axis] * count]
    return centre + 0.3 * torch.randn(count, DIM, generator=generator)


EXAMPLES = rows(1, 4, axis=5).numpy()


def table(names, label, split="train"):
    columns = {"path": names, "label": label, "split": split, "group": names}
    return pd.DataFrame({**columns, "sha256": [f"{name}-content" for name in names]})


def model(directory, *, outputs=3, gallery=True, centres=True, subclasses=None, **options):
    torch.manual_seed(5)
    given = {"backbone": "resnet18", "stem": "small", "image_size": SIZE, "embedding_dim": DIM}
    spec = ModelSpec(**{**given, **options})
    known, names = rows(0, KNOWN), [f"{number}.png" for number in range(KNOWN)]
    centres_CD = class_centres(known.numpy(), LABELS.numpy(), num_classes=3, space=spec.space)
    labels = [CLASSES[label] for label in LABELS.tolist()]
    save_bundle(
        directory,
        build_embedder(spec, num_classes=outputs),
        config={"model": spec.model_dump(mode="json")},
        classes=CLASSES,
        preprocessing=Preprocessing(bands=3, size=SIZE, mean=[0.4] * 3, std=[0.5] * 3),
        splits=table(names, labels),
        metrics={
            "temperature": {"softmax": 3.0, "nearest_centre": 0.05},
            "classification": {"accuracy": {"value": 0.9}},
        },
        provenance={},
        card=CARD,
        centres_CD=torch.from_numpy(centres_CD) if centres else None,
        gallery=Gallery(known, LABELS, torch.arange(KNOWN)) if gallery else None,
        subclasses=subclasses,
    )
    return load_bundle(directory)


def imprinted(bundle):
    names = [f"new{number}.png" for number in range(len(EXAMPLES))]
    return with_class(bundle, "pier", EXAMPLES, table(names, "pier"))


def asked(bundle, embeddings):
    """What the bundle's read-out says of embeddings, by its own class layer where it has one."""
    layer = bundle.embedder.classifiers
    x = torch.as_tensor(embeddings)
    with torch.no_grad():
        logits = layer["class"](x) if len(layer) else x[:, :0]
    return reader_of(bundle)(x.numpy(), logits.numpy())


def test_a_layer_of_cosines_gains_a_row_and_nothing_else(tmp_path):
    old = model(tmp_path / "old", class_layer="cosine")
    with torch.no_grad():  # well trained
        old.embedder.classifiers["class"].imprint(rows(6, KNOWN), LABELS)
    new = imprinted(old)
    before, after = old.embedder.state_dict(), new.embedder.state_dict()
    key = "classifiers.class.bank.weight"
    assert torch.equal(after[key][:3], before[key])
    expected = averaged_exemplars(torch.from_numpy(EXAMPLES), torch.zeros(4, dtype=torch.long), 1)
    torch.testing.assert_close(after[key][3:], expected)
    for name in before.keys() - {key}:
        assert torch.equal(after[name], before[name]), name
    assert new.metrics["temperature"] == old.metrics["temperature"]
    assert old.embedder.num_classes == 3  # the old one is as it was


def test_vectors_that_would_lose_to_the_new_one_are_imprinted_anew(tmp_path):
    """Cosines of a short training are small; a mean direction would take everything."""
    old = model(tmp_path / "old", class_layer="cosine")
    with torch.no_grad():  # the best of three bad answers is right, and none beats a fourth
        old.embedder.classifiers["class"].bank.weight.copy_(torch.eye(DIM)[:3] - 1.0)
    before, now = old.embedder.classifiers["class"], imprinted(old)
    assert now.metrics["imprinted"][0] == {
        "label": "pier",
        "images": 4,
        "vectors": "imprinted",
        "taken": 0.0,
    }
    assert not torch.equal(now.embedder.classifiers["class"].bank.weight[:3], before.bank.weight)
    assert asked(now, rows(3, KNOWN)).labels_N.tolist() == LABELS.tolist()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_linear_layer_becomes_one_of_cosines_that_answers_as_class_centres(tmp_path, dropout):
    old = model(tmp_path / "old", dropout=dropout)
    new = imprinted(old)
    assert new.embedder.spec.class_layer == new.config["model"]["class_layer"] == "cosine"
    assert old.embedder.spec.class_layer == "linear"
    known = rows(3, KNOWN).numpy()
    by_layer = asked(new, known)
    by_centre = reader_of(new, "nearest_centre")(known, known[:, :0])
    assert by_layer.labels_N.tolist() == by_centre.labels_N.tolist() == LABELS.tolist()
    np.testing.assert_allclose(by_layer.scores_NC, by_centre.scores_NC, atol=1e-5)
    assert asked(new, rows(4, 5, axis=5)).labels_N.tolist() == [3] * 5


def test_without_a_fitted_temperature_the_scale_is_where_training_begins(tmp_path):
    new = imprinted(model(tmp_path / "old", space="euclidean"))
    layer = new.embedder.classifiers["class"]
    assert layer.scale.item() == CosineClassifier(DIM, 3).scale.item()


@pytest.mark.parametrize("space", ["cosine", "euclidean"])
def test_a_model_of_centres_gains_a_centre(tmp_path, space):
    old = model(tmp_path / "old", outputs=0, space=space)
    new = imprinted(old)
    torch.testing.assert_close(new.centres_CD[:3], old.centres_CD)
    assert available_readouts(new) == ["nearest_centre", "knn"]
    for name in ("nearest_centre", "knn"):
        reader = reader_of(new, name, k=1)
        assert reader(EXAMPLES, EXAMPLES[:, :0]).labels_N.tolist() == [3] * 4
        known = rows(3, KNOWN).numpy()
        assert reader(known, known[:, :0]).labels_N.tolist() == LABELS.tolist()


def test_a_layer_that_reads_something_else_than_the_embedding_is_dropped(tmp_path):
    new = imprinted(model(tmp_path / "old", two_heads={}))
    assert new.embedder.num_classes == 0
    assert asked(new, EXAMPLES).labels_N.tolist() == [3] * 4


def test_sub_classes_gain_the_class_as_one_variant(tmp_path):
    means = 4 * torch.eye(DIM)[:3]
    three, zeros = torch.arange(3), torch.zeros(3, dtype=torch.int64)
    record = SubclassRecord(means, three, zeros, zeros + 4)
    new = imprinted(model(tmp_path / "old", outputs=0, subclasses=record))
    assert new.subclasses.names(new.classes)[-1] == "pier/1"
    reader = reader_of(new, "nearest_subclass")
    assert reader(EXAMPLES, EXAMPLES[:, :0]).labels_N.tolist() == [3] * 4


def test_what_was_measured_is_not_the_new_models(tmp_path):
    new = imprinted(model(tmp_path / "old"))
    assert "classification" not in new.metrics
    assert new.metrics["before_imprinting"]["classification"] == {"accuracy": {"value": 0.9}}
    assert new.metrics["imprinted"] == [
        {"label": "pier", "images": 4, "vectors": "imprinted", "taken": 0.0}
    ]
    assert new.metrics["temperature"] == {"softmax": 1.0, "nearest_centre": 0.05}
    more = with_class(new, "quay", rows(8, 2, axis=4).numpy(), table(["q1", "q2"], "quay"))
    assert more.metrics["before_imprinting"] == new.metrics["before_imprinting"]
    assert [one["label"] for one in more.metrics["imprinted"]] == ["pier", "quay"]
    assert more.classes == [*CLASSES, "pier", "quay"]


def test_it_can_be_written_and_read_again(tmp_path):
    new = imprinted(model(tmp_path / "old"))
    save_bundle(
        tmp_path / "new",
        new.embedder,
        config=new.config,
        classes=new.classes,
        preprocessing=new.preprocessing,
        splits=new.splits,
        metrics=new.metrics,
        provenance={},
        card=CARD,
        centres_CD=new.centres_CD,
        gallery=new.gallery,
    )
    read = load_bundle(tmp_path / "new")
    assert read.classes == [*CLASSES, "pier"]
    assert read.gallery_rows()["path"].tolist()[-4:] == [f"new{number}.png" for number in range(4)]
    images = [np.full((SIZE, SIZE, 3), shade, np.uint8) for shade in (0, 90, 250)]
    ours, theirs = (Predictor(one).predict_images(images) for one in (new, read))
    for name in ("p_lake", "p_pier"):
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_model_without_answers_keeps_its_figures(tmp_path):
    """People: their figures are of embeddings, which stay what they were."""
    old = model(tmp_path / "old", class_layer="cosine", gallery=False, centres=False)
    new = imprinted(old)
    added = {"label": "pier", "images": 4, "vectors": "trained", "taken": None}
    assert new.metrics == {**old.metrics, "imprinted": [added]}
    assert new.gallery is new.centres_CD is None


def test_refusals(tmp_path):
    old = model(tmp_path / "old")
    named = table(["a.png"], "town")
    for label, sentence in [
        ("town", "label must be none of the model's classes"),
        ("", "label must be a name, not empty, got ''"),
        (" ", "label must be a name, not empty, got ' '"),
        ("a|b", r"label must be a name without control characters and '\|', .*, got 'a\|b'"),
        ("a\tb", "label must be a name without control characters"),
        (" pier", "label must be a name without spaces around it"),
    ]:
        with pytest.raises(UserError, match=sentence):
            with_class(old, label, EXAMPLES, named)
    opposite = np.stack([EXAMPLES[0], -EXAMPLES[0]])
    with pytest.raises(UserError, match="images must be of one direction in the embedding"):
        with_class(old, "pier", opposite, table(["a", "b"], "pier"))
    bare = model(tmp_path / "bare", gallery=False, centres=False)
    with pytest.raises(UserError, match=r"model must have a class layer of cosines .*class_layer"):
        imprinted(bare)
