"""What does not fit is refused in one sentence, before anything is written."""

import numpy as np
import pytest

from fixtures.mapping import SIDE, LinearModel, mosaic, write_scene
from likeness.errors import UserError
from likeness_apps.remote_sensing.mapping.run import make_map


def refused(tmp_path, model, scene, **options):
    """The sentence, with nothing left behind."""
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(UserError) as caught:
        make_map(model, scene, tmp_path / "map.tif", **options)
    assert {path.name for path in tmp_path.iterdir()} == before
    assert model.calls == []
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


@pytest.fixture
def scene(tmp_path):
    return write_scene(tmp_path / "scene.tif", mosaic(40, 40))


def test_other_bands(tmp_path, scene):
    told = refused(tmp_path, LinearModel(bands=2), scene)
    assert "scene must be one with the model's 2 bands, got" in told
    assert "with 3" in told
    told = refused(tmp_path, LinearModel(bands=2, band_numbers=[4, 2]), scene)
    assert "scene must be one with the bands [4, 2] that the model reads" in told


def test_another_type(tmp_path):
    scene = write_scene(tmp_path / "scene.tif", mosaic(40, 40, dtype="uint16"))
    told = refused(tmp_path, LinearModel(dtype="uint8"), scene)
    assert "scene must be uint8 pixels, as the model's training images, got 'uint16 in" in told
    assert make_map(LinearModel(scale=65535.0), scene, tmp_path / "map.tif").answered


def test_another_resolution(tmp_path, scene):
    told = refused(tmp_path, LinearModel(resolution=0.3), scene)
    assert "about the training images' 0.3 m per pixel (or say --resample), got '0.5 m'" in told
    model = LinearModel(resolution=0.45)
    assert make_map(model, scene, tmp_path / "near.tif").windows == 16
    told = refused(tmp_path, LinearModel(resolution=0.1), scene, resample=True)
    assert "such that a training image's 2 m are 8 pixels or more" in told
    told = refused(tmp_path, LinearModel(), scene, resample=True)
    assert "resample must be off where the model or the scene does not state its ground" in told
    told = refused(tmp_path, LinearModel(resolution=1.0), scene, resample=True, window=16)
    assert "resample must be off where the window is given" in told
    free = make_map(LinearModel(resolution=0.3), scene, tmp_path / "free.tif", window=20, stride=20)
    assert free.windows == 4


def test_no_reference_system(tmp_path):
    scene = write_scene(tmp_path / "scene.tif", mosaic(40, 40), crs=None)
    told = refused(tmp_path, LinearModel(), scene, gpkg=tmp_path / "chips.gpkg")
    assert told.startswith("gpkg must be left out for a scene without a CRS, got")
    assert make_map(LinearModel(), scene, tmp_path / "map.tif").without_place


def test_a_scene_smaller_than_a_window(tmp_path):
    scene = write_scene(tmp_path / "scene.tif", mosaic(SIDE - 1, 40))
    told = refused(tmp_path, LinearModel(), scene)
    assert told == "scene must be at least a window of 16 x 16, got '15 x 40'"


def test_a_model_that_does_not_know_its_images(tmp_path, scene):
    told = refused(tmp_path, LinearModel(chip=None), scene)
    assert "window must be given (--window)" in told


@pytest.mark.parametrize("stride", [0, 17])
def test_stride(tmp_path, scene, stride):
    told = refused(tmp_path, LinearModel(), scene, stride=stride)
    assert told == f"stride must be from 1 to the window's 16 pixels, got {stride}"


def test_files_that_are_no_scene(tmp_path):
    assert "scene must be a file" in refused(tmp_path, LinearModel(), tmp_path / "none.tif")
    text = tmp_path / "text.tif"
    text.write_text("no raster")
    assert "scene must be a raster that GDAL reads" in refused(tmp_path, LinearModel(), text)
    palette = write_scene(tmp_path / "p.tif", np.zeros((1, 40, 40), "uint8"), photometric="palette")
    assert "colour palette" in refused(tmp_path, LinearModel(), palette)


def test_names_of_outputs(tmp_path, scene):
    with pytest.raises(UserError, match=r"out must be a name that ends in \.tif"):
        make_map(LinearModel(), scene, tmp_path / "map.png")
    with pytest.raises(UserError, match="out must be the name of a file that is not there yet"):
        make_map(LinearModel(), scene, scene)
    with pytest.raises(UserError, match=r"gpkg must be a path that ends in \.gpkg"):
        make_map(LinearModel(), scene, tmp_path / "map.tif", gpkg=tmp_path / "chips.shp")


def test_every_output_has_a_file_of_its_own(tmp_path, scene):
    told = refused(tmp_path, LinearModel(), scene, probabilities=tmp_path / "map.tif")
    assert told.startswith("probabilities must be another file than out, got")


def test_a_model_without_classes(tmp_path, scene):
    model = LinearModel()
    model.classes = []
    assert "model must be one with classes" in refused(tmp_path, model, scene)
