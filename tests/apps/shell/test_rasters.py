"""Satellite images through the command line: bands, number types, no-data, blocks on the ground."""

import json

import numpy as np
import pandas as pd
import pytest

from fixtures.front_door import assert_refused, likeness, small
from fixtures.scenes import save, texture, write_geotiff

NAMES = ("B02", "B03", "B04", "B08", "B11")
CLASSES = ("lake", "town")


def write_chips(root, per_class=10, dtype="uint16", side=16, names=NAMES, **options):
    """`chips/<class>/<n>.tif`: chips in two rows on the ground, side by side; 0 is no-data."""
    for kind, name in enumerate(CLASSES):
        for number in range(per_class):
            image = np.maximum(texture(kind, number, side=side, bands=5, dtype=dtype), 1)
            if number % 3 == 0:
                image[: side // 4] = 0
            at = (10, 0, 500_000 + 10 * side * number, 0, -10, 5_000_000 - 10 * side * kind)
            path = root / "chips" / name / f"{number}.tif"
            write_geotiff(path, image, nodata=0, names=names, transform=at, **options)
    return root / "chips"


def train(data, out, *more):
    fits = ("sampler.classes_per_batch=2", "model.image_size=16")
    return likeness("train", data, "--out", out, *small(*fits, *more))


def preprocessing(run):
    return json.loads((run / "model" / "preprocessing.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    return write_chips(tmp_path_factory.mktemp("chips"))


@pytest.fixture(scope="module")
def run(chips, tmp_path_factory):
    """Trained on three of the five bands, in blocks of 480 m: three chips each way."""
    out = tmp_path_factory.mktemp("runs") / "run"
    ended = train(chips, out, "data.bands=[b08, 1, B04]", "data.block_km=0.48", "epochs=1")
    assert ended.code == 0, ended.err
    return out


def test_the_model_knows_what_it_was_made_for(run, chips):
    made = preprocessing(run)
    assert made["bands"] == 3
    assert made["band_numbers"] == [4, 1, 3]
    assert made["band_names"] == ["B08", "B02", "B04"]
    assert (made["dtype"], made["resolution"], made["scale"]) == ("uint16", 10.0, 65535.0)
    splits = pd.read_csv(run / "splits.csv")
    assert splits.groupby("group")["split"].nunique().max() == 1


def test_statistics_are_those_of_the_chosen_bands_of_training_images(run, chips):
    import rasterio

    splits = pd.read_csv(run / "splits.csv")
    pixels = []
    for path in splits.loc[splits["split"] == "train", "path"]:
        with rasterio.open(chips / path) as source:
            pixels.append(source.read([4, 1, 3], masked=True).reshape(3, -1))
    whole = np.ma.concatenate(pixels, axis=1).astype(np.float64) / 65535
    made = preprocessing(run)
    np.testing.assert_allclose(made["mean"], whole.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(made["std"], whole.std(axis=1), rtol=1e-6)


def test_groups_are_cells_on_the_ground(run):
    splits = pd.read_csv(run / "splits.csv")
    assert len(splits) == 20
    for row in splits.itertuples():
        number = int(row.path.split("/")[1].removesuffix(".tif"))
        kind = CLASSES.index(row.path.split("/")[0])
        x = 500_000 + 160 * number + 80
        y = 5_000_000 - 160 * kind - 80
        assert row.group == f"EPSG:32632 ({int(x // 480)}, {int(y // 480)})"


def test_random_splits_beside_blocks(chips, tmp_path):
    out = tmp_path / "run"
    ended = train(chips, out, "data.block_km=0.48", "data.groups=none", "epochs=1")
    assert ended.code == 0, ended.err
    splits = pd.read_csv(out / "splits.csv")
    assert splits.groupby("group")["split"].nunique().max() > 1
    assert preprocessing(out)["band_numbers"] is None
    assert preprocessing(out)["bands"] == 5


def test_files_that_do_not_fit_are_failed_rows(run, tmp_path):
    folder = tmp_path / "new"
    five = np.maximum(texture(0, 50, side=16, bands=5, dtype="uint16"), 1)
    write_geotiff(folder / "good.tif", five)
    holes = five.copy()
    holes[:8] = 0
    write_geotiff(folder / "holes.tif", holes, nodata=0)
    empty = five.copy()
    empty[..., [0, 2, 3]] = 0  # the three bands that the model reads
    write_geotiff(folder / "empty.tif", empty, nodata=0)
    write_geotiff(folder / "few.tif", five[..., :3])
    write_geotiff(folder / "bytes.tif", texture(0, 50, side=16, bands=5))
    save(folder / "picture.png", texture(0, 0, side=16))
    out = tmp_path / "p.csv"
    ended = likeness("predict", run, folder, "--out", out)
    assert ended.code == 0, ended.err
    rows = pd.read_csv(out, keep_default_na=False).set_index("path")
    reasons = {path.split("/")[-1]: reason for path, reason in rows["reason"].items()}
    assert reasons["good.tif"] == reasons["holes.tif"] == ""
    assert reasons["empty.tif"] == "no valid pixel"
    assert reasons["few.tif"] == "band 4 where the file has 3"
    assert reasons["bytes.tif"] == "uint8 pixels where uint16 are expected"
    assert reasons["picture.png"] == "band 4 where the file has 3"
    assert (rows["status"] == "ok").sum() == 2


def test_the_order_and_choice_of_bands_is_the_models_not_the_files(run, tmp_path):
    """What the model does not read may hold anything."""
    five = np.maximum(texture(0, 50, side=16, bands=5, dtype="uint16"), 1)
    write_geotiff(tmp_path / "new" / "a.tif", five)
    changed = five.copy()
    changed[..., [1, 4]] = 1
    write_geotiff(tmp_path / "new" / "b.tif", changed)
    swapped = five[..., [2, 1, 0, 3, 4]]
    write_geotiff(tmp_path / "new" / "c.tif", np.ascontiguousarray(swapped))
    out = tmp_path / "p.csv"
    assert likeness("predict", run, tmp_path / "new", "--out", out).code == 0
    rows = pd.read_csv(out).sort_values("path")
    scores = rows[[name for name in rows.columns if name.startswith("p_")]].to_numpy()
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)
    assert np.abs(scores[0] - scores[2]).max() > 1e-6


def test_names_may_come_from_a_table_of_bands_by_number_only(tmp_path):
    data = write_chips(tmp_path, names=())
    out = tmp_path / "run"
    ended = train(data, out, "data.bands=[B02]")
    known = "(1, 2, 3, 4, 5)"
    assert_refused(ended, "data.bands must be among", known, "got 'B02'", left=out)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ("data.bands=[9]", ("data.bands must be among", "1 B02, 2 B03, 3 B04", "got 9")),
        ("data.bands=[B09]", ("data.bands must be among", "5 B11", "got 'B09'")),
        ("data.bands=[]", ("config.data.bands must be a list of one band or more", "got []")),
        ("data.bands=[true]", ("config.data.bands must be a list", "got [True]")),
        ("data.bands=[0]", ("data.bands must be among", "got 0")),
        ("data.block_km=0", ("data.block_km must be greater than 0",)),
        ("model.bands=5", ("model.bands must be the images' 2, got 5",)),
    ],
)
def test_wrong_requests_are_one_sentence(chips, tmp_path, change, parts):
    extra = ("data.bands=[1, 2]",) if change.startswith("model") else ()
    assert_refused(train(chips, tmp_path / "run", change, *extra), *parts, left=tmp_path / "run")


def test_blocks_need_a_crs(tmp_path):
    data = write_chips(tmp_path)
    for number in range(2):
        image = np.maximum(texture(0, number, side=16, bands=5, dtype="uint16"), 1)
        write_geotiff(data / "lake" / f"{number}.tif", image, crs=None)
    out = tmp_path / "run"
    ended = train(data, out, "data.block_km=1")
    assert_refused(ended, "data.block_km", "2 such images of 20", "lake/0.tif", left=out)


def test_inspect_tells_what_is_odd_about_rasters(tmp_path):
    data = write_chips(tmp_path)
    save(data / "lake" / "picture.png", texture(0, 0))
    deep = np.maximum(texture(0, 99, side=16, bands=5, dtype="uint16"), 1)
    write_geotiff(data / "lake" / "bytes.tif", texture(0, 98, side=16, bands=5))
    write_geotiff(data / "lake" / "coarse.tif", deep, transform=(20, 0, 5e5, 0, -20, 5e6))
    write_geotiff(data / "lake" / "empty.tif", np.zeros_like(deep), nodata=0)
    write_geotiff(data / "town" / "nowhere.tif", deep[::-1].copy(), crs=None)
    ended = likeness("inspect", data, "--out", tmp_path / "found")
    assert ended.code == 1
    found = pd.read_csv(tmp_path / "found" / "findings.csv", keep_default_na=False)
    told = {(row.level, row.code, row.path, row.message) for row in found.itertuples()}
    wanted = {
        ("error", "unusable", "lake/bytes.tif", "uint8 pixels where uint16 are expected"),
        ("error", "unusable", "lake/picture.png", "3 bands where 5 are expected"),
        ("error", "unusable", "lake/empty.tif", "no valid pixel"),
        ("warning", "no-crs", "town/nowhere.tif", "no CRS, where other images have one"),
    }
    assert wanted <= told
    (mixed,) = found.loc[found["code"] == "mixed-resolution", "path"]
    assert mixed == "lake/coarse.tif"


def test_a_sixteen_bit_image_in_an_eight_bit_set_is_left_out(tmp_path):
    data = tmp_path / "scenes"
    for kind, name in enumerate(CLASSES):
        for number in range(14):
            save(data / name / f"{number}.png", texture(kind, number, side=16))
    save(data / "lake" / "grey.png", texture(0, 40, side=16)[..., :1])
    write_geotiff(data / "lake" / "deep.tif", texture(0, 50, side=16, dtype="uint16"), crs=None)
    out = tmp_path / "run"
    ended = train(data, out, "epochs=1")
    assert ended.code == 0, ended.err
    assert "left out: lake/deep.tif: uint16 pixels where uint8 are expected" in ended.out
    paths = set(pd.read_csv(out / "splits.csv")["path"])
    assert "lake/grey.png" in paths
    assert "lake/deep.tif" not in paths
    assert preprocessing(out)["dtype"] == "uint8"
    assert preprocessing(out)["resolution"] is None


def test_intervals_of_a_blocked_model_resample_its_blocks(run, chips, tmp_path):
    out = tmp_path / "result"
    ended = likeness("evaluate", run, chips, "--out", out)
    assert ended.code == 0, ended.err
    saved = pd.read_csv(run / "splits.csv").set_index("path")
    rows = pd.read_csv(out / "predictions.csv").set_index("path")
    assert rows["group"].tolist() == saved.loc[rows.index, "group"].tolist()
    blocks = rows["group"].nunique()
    assert blocks < len(rows)
    assert json.loads((out / "metrics.json").read_text())["interval"]["groups"] == blocks


def test_inspect_shows_where_images_lie_and_how_fine_they_are(chips):
    ended = likeness("inspect", chips)
    assert "georeferenced    │ 20 images, EPSG:32632, 10 m per pixel" in ended.out
