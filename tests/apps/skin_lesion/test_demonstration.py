"""What `make demo APP=skin-lesion` adds: answers, a refusal and an explanation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from likeness_apps.demo import JOURNAL, Journal, demo
from likeness_apps.skin_lesion import demonstration
from likeness_apps.skin_lesion.demonstration import LESIONS, predict_and_explain
from likeness_apps.skin_lesion.domain import DOMAIN

NAME = "Mustermann_Erika"


@pytest.fixture(scope="module")
def shown(isic, isic_run, tmp_path_factory):
    """What the demo adds on generated lesions, and its journal."""
    out = tmp_path_factory.mktemp("demo")
    journal = Journal("skin-lesion", isic, generated=True)
    predict_and_explain(journal, isic_run, out)
    return out, journal


def test_lesions_and_strangers_are_predicted(shown, isic_run):
    out, _ = shown
    table = pd.read_csv(out / "labels.csv", keep_default_na=False).set_index("path")
    assert len(table) == LESIONS + 2
    strangers = table.loc[["not_skin_1.png", "not_skin_2.png"]]
    assert set(strangers["status"]) == {"out_of_scope"}
    assert set(strangers["label"]) == {""}
    saved = pd.read_csv(isic_run / "model" / "splits.csv")
    tested = {Path(path).name for path in saved["path"][saved["split"] == "test"]}
    assert set(table.index) - set(strangers.index) <= tested


def test_the_cards_lead_to_what_was_made(shown):
    out, journal = shown
    assert [title for title, *_ in journal.cards] == ["Predictions", "Explanation"]
    for _, href, _, picture_file in journal.cards:
        assert (out / href).is_file()
        with Image.open(out / picture_file) as picture:
            assert min(picture.size) > 200
    facts = json.loads((out / "why" / "explanation.json").read_text())
    assert facts["known_as"]["split"] == "test"
    assert all(case["picture"] for case in facts["similar"]["cases"])


def test_its_commands_say_what_was_done(shown, isic, isic_run):
    out, journal = shown
    predicted, explained = (line for line, _ in journal.lines)
    run = isic_run
    assert predicted == (
        f"likeness skin-lesion predict {run} {out / 'inputs'} --out {out / 'labels.csv'}"
    )
    assert explained.startswith(f"likeness skin-lesion explain {run} {isic}/")
    assert explained.endswith(f"--out {out / 'why'} --cases {isic}")


def test_the_strangers_are_the_same_every_time():
    assert np.array_equal(demonstration.fields(), demonstration.fields())
    assert demonstration.fields().std() > 20
    assert demonstration.blank().std() == 0


def test_somebodys_own_data_are_neither_named_nor_copied(ham, ham_run, monkeypatch, tmp_path):
    """The whole demo, on class folders of which all above them are called like a patient."""

    def copy(domain, data, out, *, config, include_images):
        shutil.copytree(ham_run, out)

    monkeypatch.setattr("likeness_apps.shell.train.train", copy)
    data = tmp_path / NAME
    labels = pd.read_csv(ham / "HAM10000_metadata.csv", index_col="image_id")["dx"]
    for number, image in enumerate(sorted(ham.rglob("*.jpg"))):
        target = data / labels[image.stem] / f"{NAME} {number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, target)
    page = demo(DOMAIN, tmp_path / "demo", data)
    out, text = page.parent, page.read_text(encoding="utf-8")
    assert DOMAIN.notice in text
    assert "explain" in text
    assert "why/explanation.html" in text
    assert sorted(path.name for path in (out / "inputs").iterdir()) == [
        "not_skin_1.png",
        "not_skin_2.png",
    ]
    record = json.loads((out / JOURNAL).read_text())
    assert sum("DATA" in line for line, _ in record["lines"]) >= 6
    for path in out.rglob("*"):
        if path.suffix in (".html", ".json", ".csv", ".md", ".yaml"):
            assert NAME not in path.read_text(encoding="utf-8", errors="replace"), path
