"""A run in rounds of sub-classes: what it leaves in its folder and in the model."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fixtures.front_door import SMALL
from fixtures.scenes import save, texture
from likeness.bundle import load_bundle
from likeness_apps.remote_sensing.domain import DOMAIN
from likeness_apps.shell.train import train

CLASSES = ("lake", "street", "town")
ROUNDS = (
    "model.space=euclidean",
    "objective.terms=[{loss: {name: gaussian_structured}, labels: subclass}]",
    "subclasses={epochs_per_round: 1, min_images: 20, kind: kmeans}",
    "data.cache_gib=0",
    "data.test=0",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Two kinds of texture under the name of each class."""
    root = tmp_path_factory.mktemp("variants")
    for kind, name in enumerate(CLASSES):
        for number in range(36):
            other = len(CLASSES) * (number % 2)
            save(root / "scenes" / name / f"{number}.png", texture(kind + other, number))
    changes = [*SMALL, *ROUNDS]
    return train(DOMAIN, root / "scenes", root / "run", config="smoke", changes=changes, quiet=True)


def test_the_table_names_the_sub_class_of_every_training_image(run):
    table = pd.read_csv(run / "subclasses.csv")
    splits = pd.read_csv(run / "splits.csv")
    training = splits[splits["split"] == "train"]
    assert table["path"].tolist() == training["path"].tolist()
    assert table.columns.tolist()[1:] == ["label", "subclass", "certainty", "round_0", "round_1"]
    assert (table["round_0"] == table["label"] + "/1").all()
    for column in ("subclass", "round_1"):
        assert (table[column].str.split("/").str[0] == table["label"]).all()
    assert table["certainty"].between(0, 1).all()


def test_the_model_knows_where_they_lie_and_no_image(run):
    bundle, table = load_bundle(run), pd.read_csv(run / "subclasses.csv")
    assert bundle.subclasses is not None
    sizes = table["subclass"].value_counts().to_dict()
    names = bundle.subclasses.names(bundle.classes)
    assert dict(zip(names, bundle.subclasses.sizes_K.tolist(), strict=True)) == sizes
    assert len(sizes) > len(CLASSES)  # something was divided
    told = bundle.metrics["subclasses"]
    assert told["images"] == sizes
    assert told["per_round"][0] == len(CLASSES)
    # The means are those of the gallery, which is the training split in the same order.
    rows = bundle.gallery.embeddings_MD
    for name, mean in zip(names, bundle.subclasses.means_KD, strict=True):
        own = rows[(table["subclass"] == name).tolist()]
        assert (own.mean(0) - mean).abs().max() < 1e-3
    assert not (run / "model" / "subclasses.csv").exists()
    assert "(validation split)" in (run / "report.html").read_text()
