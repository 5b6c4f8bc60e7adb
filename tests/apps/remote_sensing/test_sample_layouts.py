"""The generated set in the layouts of EuroSAT and of multi-label UC Merced."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from likeness.data.checks import check
from likeness.errors import UserError
from likeness_apps.remote_sensing.classes import PAINTERS
from likeness_apps.remote_sensing.layouts import recognise
from likeness_apps.remote_sensing.sample import generator, scene, write_sample
from likeness_apps.remote_sensing.scenes import Canvas
from likeness_apps.remote_sensing.spectral import PLANNERS, chip, draw_region

CLASSES = [
    *("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial"),
    *("Pasture", "PermanentCrop", "Residential", "River", "SeaLake"),
]
B04, B05, B07, B08 = 3, 4, 6, 7


@pytest.fixture(scope="module")
def eurosat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("e"), layout="eurosat-13", per_class=12)


@pytest.fixture(scope="module")
def multilabel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(
        tmp_path_factory.mktemp("m"), layout="multi-label", per_class=4, size=48, seed=3
    )


def test_eurosat_is_recognised_and_sound(eurosat: Path) -> None:
    manifest = recognise(eurosat)
    assert (manifest.layout, manifest.classes) == ("eurosat-13", CLASSES)
    assert len(manifest.table) == 120
    result = check(manifest)
    assert [f.code for f in result.findings] == ["foreign-file"]  # readme.txt
    assert set(result.table["bands"]) == {13}


def test_eurosat_chips_are_those_of_the_sensor_in_separate_regions(eurosat: Path) -> None:
    boxes = []
    for path in sorted(eurosat.rglob("*.tif")):
        with rasterio.open(path) as tile:
            assert (tile.count, tile.shape, set(tile.dtypes)) == (13, (64, 64), {"uint16"})
            assert tile.crs.to_epsg() == 32633
            assert tile.res == (10, 10)
            assert tile.compression is None
            boxes.append((path.parent.name, tile.bounds))
    for (_, a), (_, b) in combinations(boxes, 2):
        assert a.right <= b.left or b.right <= a.left or a.top <= b.bottom or b.top <= a.bottom
    by_region: dict[tuple[int, int], set[str]] = {}
    for name, box in boxes:  # a grid of 20 km parts them
        cell = int(box.left // 20_000), int((box.top + 10_000) // 20_000)
        by_region.setdefault(cell, set()).add(name)
    assert len(by_region) == 6
    assert all(names == set(CLASSES) for names in by_region.values())


def test_spectra_are_plausible() -> None:
    region = draw_region(np.random.default_rng(0))
    mean = {
        name: np.mean([chip(name, generator(name, n), region).mean((0, 1)) for n in range(4)], 0)
        for name in PLANNERS
    }
    assert min(mean, key=lambda name: mean[name][B08]) == "SeaLake"
    assert mean["SeaLake"][B08] < mean["SeaLake"][0] / 2  # water is dark in the near infrared
    for name in ("Forest", "Pasture", "AnnualCrop"):
        assert mean[name][B07] > 1.4 * mean[name][B05]  # the red edge of plants
    for name in ("Industrial", "SeaLake"):
        assert mean[name][B08] - mean[name][B04] < mean["Forest"][B08] - mean["Forest"][B04]


def test_mean_spectra_alone_stay_below_eighty_percent() -> None:
    """The calibration: the mean of each band with logistic regression."""
    regions = [draw_region(generator("r", n)) for n in range(6)]
    features, labels = [], []
    for label, name in enumerate(PLANNERS):
        for number in range(30):
            pixels = chip(name, generator(name, number), regions[number % 6])
            features.append(pixels.mean((0, 1)))
            labels.append(label)
    held_out = np.arange(len(labels)) % 5 == 0
    table, truth = np.array(features), np.array(labels)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=10.0, max_iter=1000))
    accuracy = model.fit(table[~held_out], truth[~held_out]).score(table[held_out], truth[held_out])
    assert 0.3 < accuracy < 0.8


def test_multilabel_is_recognised_as_written(multilabel: Path) -> None:
    manifest = recognise(multilabel)
    assert (manifest.layout, manifest.multilabel) == ("uc-merced-multilabel", True)
    assert [f.code for f in manifest.findings] == ["foreign-file"]  # readme.txt
    written = pd.read_csv(multilabel / "LandUse_Multilabeled.txt", sep="\t", index_col=0)
    assert written.shape == (4 * len(PAINTERS), 17)
    for path, cell in zip(manifest.table["path"], manifest.table["label"], strict=True):
        row = written.loc[Path(path).stem]
        assert cell.split("|") == sorted(row.index[row == 1])
    several = manifest.table["label"].str.contains("|", regex=False)
    assert several.mean() > 0.8
    assert set(manifest.classes) == set(written.columns) - {"mobile-home"}  # nothing draws one


def test_multilabel_images_are_the_scenes_of_the_other_sample(multilabel: Path) -> None:
    with rasterio.open(multilabel / "Images" / "harbor" / "harbor02.tif") as tile:
        pixels = tile.read().transpose(1, 2, 0)
    np.testing.assert_array_equal(pixels, scene("harbor", 2, seed=3, size=48))


@pytest.mark.parametrize(
    ("name", "there", "hidden"),
    [
        ("airplane", {"airplane", "pavement"}, {"grass", "bare-soil"}),
        ("harbor", {"dock", "ship", "water"}, {"sea", "sand"}),
        ("beach", {"sand", "sea"}, {"water", "cars"}),
        ("chaparral", {"chaparral"}, {"trees", "pavement"}),
        ("agricultural", {"field"}, {"grass", "bare-soil"}),
        ("storagetanks", {"tanks"}, {"cars"}),
    ],
)
def test_labels_of_a_scene(multilabel: Path, name: str, there: set[str], hidden: set[str]) -> None:
    cells = recognise(multilabel).table
    for cell in cells.loc[cells["path"].str.startswith(name), "label"]:
        assert there <= set(cell.split("|"))
        assert not hidden & set(cell.split("|"))


def test_only_what_can_be_seen_is_a_label() -> None:
    canvas = Canvas(100, np.random.default_rng(0))
    assert canvas.labels() in (["grass"], ["bare-soil"])
    canvas.box(0, 0, 0.2, 0.2, (1, 2, 3), "court")
    canvas.box(3, 3, 0.2, 0.2, (1, 2, 3), "ship")  # outside of the picture
    canvas.disc(0.3, 0.0, 0.01, (1, 2, 3), "tanks")  # too small
    assert "court" in canvas.labels()
    assert not {"ship", "tanks"} & set(canvas.labels())
    canvas.box(0, 0, 2, 2, (1, 2, 3), "pavement")  # over everything
    assert canvas.labels() == ["pavement"]


@pytest.mark.parametrize("layout", ["uc-merced", "eurosat-13", "multi-label"])
def test_the_same_seed_writes_the_same_files(tmp_path: Path, layout: str) -> None:
    def files(name: str, seed: int) -> dict[str, bytes]:
        root = write_sample(tmp_path / name, seed=seed, layout=layout, per_class=1, size=32)
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    first = files("a", 5)
    assert first == files("b", 5)
    other = files("c", 6)
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first if name.endswith(".tif"))


@pytest.mark.plain
def test_unknown_layouts_and_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="layout must be one of uc-merced, eurosat-13, multi-label"):
        write_sample(tmp_path, layout="aid")
    with pytest.raises(UserError, match="per_class must be from 1 to 100, got 101"):
        write_sample(tmp_path, per_class=101)
    assert not list(tmp_path.iterdir())
