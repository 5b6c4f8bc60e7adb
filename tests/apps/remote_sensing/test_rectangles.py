"""A model of images that are no squares, from training to its answers."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from fixtures.front_door import assert_refused, likeness, small
from fixtures.mapping import mosaic, write_scene
from likeness.inference.predictor import Predictor

SIZE = "model.image_size=[32, 16]"
UPRIGHT = (
    "data.augmentation={rotate90: false, pad_crop: {pixels: 2}, random_erasing: {fill: random}}",
    "data.scope_check=true",
    "epochs=1",
)


@pytest.fixture(scope="module")
def upright(scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("upright") / "run"
    ended = likeness("train", scenes, "--out", out, *small(SIZE, *UPRIGHT))
    assert ended.code == 0, ended.err
    assert "resnet18, 32 x 16 px, epochs: 1" in ended.out
    return out


@pytest.fixture(scope="module")
def pictures(scenes):
    return sorted((scenes / "Images" / "beach").glob("*.tif"))[:4]


def test_the_size_travels_with_the_model(upright):
    assert json.loads((upright / "model" / "preprocessing.json").read_text())["size"] == [32, 16]
    for file in (upright / "config.yaml", upright / "model" / "config.yaml"):
        assert yaml.safe_load(file.read_text())["model"]["image_size"] == [32, 16]
    assert Predictor(upright).preprocessing.height_width == (32, 16)


def test_a_finished_run_is_known_again(upright, scenes):
    ended = likeness("train", scenes, "--out", upright, "--resume", *small(SIZE, *UPRIGHT))
    assert ended.code == 0, ended.err


def test_predict_gives_what_the_model_says_of_the_same_pixels(upright, pictures, tmp_path):
    (tmp_path / "in").mkdir()
    names = [f"{number}.png" for number in range(len(pictures))]
    for name, file in zip(names, pictures, strict=True):
        Image.open(file).save(tmp_path / "in" / name)
    Image.open(pictures[0]).resize((80, 50)).save(tmp_path / "in" / names[0])
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    ended = likeness("predict", upright, tmp_path / "in", "--out", tmp_path / "labels.csv")
    assert ended.code == 0, ended.err
    found = pd.read_csv(tmp_path / "labels.csv").set_index("path")
    assert found.loc["bad.png", "status"] == "error"
    assert "ok" in set(found["status"])
    arrays = [np.asarray(Image.open(tmp_path / "in" / name)) for name in names]
    said = Predictor(upright).predict_images(arrays)
    assert found.loc[names, "status"].tolist() == said["status"].tolist()
    for column in ("p_agricultural", "p_airplane", "p_beach"):
        np.testing.assert_allclose(found.loc[names, column], said[column], atol=1e-5)


def test_evaluate_measures_it(upright, scenes, tmp_path):
    ended = likeness("evaluate", upright, scenes, "--out", tmp_path / "test")
    assert ended.code == 0, ended.err
    metrics = json.loads((tmp_path / "test" / "metrics.json").read_text())
    assert metrics["classification"]["overall_accuracy"]["value"] >= 0


def test_mirrored_views_but_no_turned_ones(upright, pictures, tmp_path):
    asked = ("predict", upright, pictures[0].parent, "--out", tmp_path / "labels.csv", "--tta")
    rule = "views must be one or flips for images of 32 x 16 pixels, which are no squares, got"
    assert_refused(likeness(*asked, "dihedral"), rule, left=tmp_path / "labels.csv")
    assert likeness(*asked, "flips").code == 0


def test_scenes_are_for_models_of_squares(upright, tmp_path):
    scene = write_scene(tmp_path / "scene.tif", mosaic(40, 40))
    ended = likeness("map", upright, scene, "--out", tmp_path / "map.tif")
    rule = "model must be one of square images for scenes, got '32 x 16'"
    assert_refused(ended, rule, left=tmp_path / "map.tif")


def test_quarter_turns_are_refused_before_anything_is_read(scenes, tmp_path):
    ended = likeness("train", scenes, "--out", tmp_path / "run", *small(SIZE))
    rule = "data.augmentation.rotate90 must be false for images of 32 x 16 pixels"
    assert_refused(ended, rule, left=tmp_path / "run")
