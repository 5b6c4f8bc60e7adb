"""Preprocessing steps on lesions: hairs go, lesions stay, and a model does as it was trained."""

import json

import numpy as np
import pandas as pd
import pytest

from fixtures.dark_lines import draw_lines
from fixtures.front_door import assert_refused, likeness, small
from fixtures.scenes import save, texture, write_geotiff
from likeness.data.decode import decode
from likeness.data.statistics import band_statistics
from likeness.data.steps import (
    CropDarkBorder,
    CropToMask,
    RemoveDarkLines,
    ShadesOfGrey,
    remove_dark_lines,
)
from likeness_apps.skin_lesion import drawing
from likeness_apps.skin_lesion.sample import generator, write_sample

STEPS = (CropDarkBorder(), RemoveDarkLines(), ShadesOfGrey(p=4), CropToMask(margin=0.1))
OPTION = "data.steps=" + json.dumps([step.model_dump() for step in STEPS])


def bare_photograph(monkeypatch, kind, number, size=(150, 200)):
    """A drawn lesion and its mask, without the hairs and rulers that some pictures have."""
    for extra in ("_with_hairs", "_with_ruler"):
        monkeypatch.setattr(drawing, extra, lambda picture, rng: picture)
    lesion = drawing.draw_lesion(kind, generator(0, kind, number))
    return drawing.photograph(lesion, generator(0, kind, number, "view"), size)


@pytest.mark.parametrize("kind", drawing.KINDS)
def test_hairs_go_and_lesions_stay(monkeypatch, kind):
    lost, harm, left = [], [], []
    for number in range(6):
        picture, mask = bare_photograph(monkeypatch, kind, number)
        hairy, hairs = draw_lines(picture, np.random.default_rng(number))
        own, ours = (remove_dark_lines(image, RemoveDarkLines()) for image in (picture, hairy))
        lost.append((own != picture).any(axis=2)[mask].mean())
        harm.append(np.abs(hairy[hairs] - picture[hairs].astype(float)).mean())
        left.append(np.abs(ours[hairs] - picture[hairs].astype(float)).mean())
    assert np.median(lost) < 0.01
    assert max(lost) < 0.1
    assert np.mean(left) < 0.35 * np.mean(harm)


@pytest.fixture(scope="module")
def lesions(tmp_path_factory):
    """The sample with a mask for every picture, in folders as the archive names them."""
    root = write_sample(tmp_path_factory.mktemp("data"), per_class=12, size=(48, 64))
    for image in root.rglob("*.jpg"):
        mask = np.zeros(decode(image).shape[:2], np.uint8)
        mask[12:36, 14:50] = 255
        folder = image.parent.name.replace("_Data", "_Part1_GroundTruth")
        save(root / folder / f"{image.stem}_segmentation.png", mask)
    return root


def test_a_model_does_the_steps_that_it_was_trained_with(lesions, tmp_path):
    """`evaluate` reads bytes and `predict` files: both must find the masks."""
    run, tested, answers = tmp_path / "run", tmp_path / "test", tmp_path / "p.csv"
    fits = ("epochs=1", "model.image_size=16")
    ended = likeness(
        "train", lesions, "--out", run, *small(*fits, OPTION), application="skin-lesion"
    )
    assert ended.code == 0, ended.err
    made = json.loads((run / "model" / "preprocessing.json").read_text())
    assert made["steps"] == [step.model_dump() for step in STEPS]
    splits = pd.read_csv(run / "splits.csv")
    paths = splits.loc[splits["split"] == "train", "path"].tolist()
    mean, std = band_statistics(lesions, paths, scale=255.0, steps=STEPS)
    assert (made["mean"], made["std"]) == (mean, std)
    ended = likeness("evaluate", run, lesions, "--out", tested, application="skin-lesion")
    assert ended.code == 0, ended.err
    images = lesions / "ISIC-2017_Test_v2_Data"
    ended = likeness("predict", run, images, "--out", answers, application="skin-lesion")
    assert ended.code == 0, ended.err
    one = pd.read_csv(tested / "predictions.csv")
    other = pd.read_csv(answers)
    chosen = [name for name in other.columns if name.startswith("p_")]
    assert len(one) == len(other) == 9
    np.testing.assert_allclose(one[chosen], other[chosen], atol=1e-5)


def test_steps_need_pictures_of_eight_bits_and_three_bands(tmp_path):
    for kind, name in enumerate(("lake", "town")):
        for number in range(10):
            image = texture(kind, number, side=16, dtype="uint16")
            write_geotiff(tmp_path / "chips" / name / f"{number}.tif", image)
    fits = ("sampler.classes_per_batch=2", "model.image_size=16", OPTION)
    ended = likeness("train", tmp_path / "chips", "--out", tmp_path / "run", *small(*fits))
    assert_refused(ended, "data.steps must be empty for images that are not of uint8")
    ended = likeness(
        "train",
        tmp_path / "chips",
        "--out",
        tmp_path / "run",
        *small("data.steps=[{name: hair_removal}]"),
    )
    assert_refused(ended, "data.steps.0.name must be one of", "remove_dark_lines")
