"""The generated set: real GeoTIFFs in a real layout, repeatable, and not solved by colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from sklearn.linear_model import LogisticRegression

from likeness_apps.remote_sensing.classes import PAINTERS
from likeness_apps.remote_sensing.layouts import recognise
from likeness_apps.remote_sensing.sample import scene, write_sample

UC_MERCED = {
    *("agricultural", "airplane", "baseballdiamond", "beach", "buildings", "chaparral"),
    *("denseresidential", "forest", "freeway", "golfcourse", "harbor", "intersection"),
    *("mediumresidential", "mobilehomepark", "overpass", "parkinglot", "river", "runway"),
    *("sparseresidential", "storagetanks", "tenniscourt"),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("sample"), per_class=3, size=48)


def test_the_layout_is_uc_merced_and_recognised(written: Path) -> None:
    manifest = recognise(written)
    assert manifest.layout == "uc-merced"
    assert set(manifest.classes) == set(PAINTERS)
    assert set(PAINTERS) <= UC_MERCED
    assert (written / "Images" / "airplane" / "airplane00.tif").is_file()
    assert "Generated data" in (written / "readme.txt").read_text()


def test_tiles_are_georeferenced_apart_from_each_other(written: Path) -> None:
    boxes = []
    for path in sorted((written / "Images").rglob("*.tif")):
        with rasterio.open(path) as tile:
            assert tile.crs.to_epsg() == 32611
            assert tile.count == 3
            assert tile.dtypes == ("uint8",) * 3
            assert tile.res == pytest.approx((0.6, 0.6))
            assert "generated data" in tile.tags()["TIFFTAG_IMAGEDESCRIPTION"]
            boxes.append(tile.bounds)
    assert len(boxes) == 3 * len(PAINTERS)
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            assert a.right <= b.left or b.right <= a.left or a.top <= b.bottom or b.top <= a.bottom


@pytest.mark.parametrize("name", sorted(PAINTERS))
def test_a_scene_is_the_same_on_every_call_and_differs_from_the_next(name: str) -> None:
    first = scene(name, 0, size=48)
    np.testing.assert_array_equal(first, scene(name, 0, size=48))
    assert (first != scene(name, 1, size=48)).any()
    assert (first != scene(name, 0, seed=1, size=48)).any()
    assert first.shape == (48, 48, 3)
    assert first.std() > 3


def test_colours_alone_stay_below_sixty_percent() -> None:
    """The calibration: an 8 x 8 x 8 colour histogram with logistic regression."""
    features, labels, number = [], [], 30
    for label, name in enumerate(PAINTERS):
        for index in range(number):
            cells = scene(name, index, size=48).reshape(-1, 3) // 32
            counts = np.bincount(cells @ np.array([64, 8, 1]), minlength=512)
            features.append(np.sqrt(counts / counts.sum()))
            labels.append(label)
    held_out = np.arange(len(labels)) % 5 == 0
    table, truth = np.array(features), np.array(labels)
    model = LogisticRegression(C=10.0, max_iter=300).fit(table[~held_out], truth[~held_out])
    accuracy = model.score(table[held_out], truth[held_out])
    assert 1 / len(PAINTERS) < accuracy < 0.6
