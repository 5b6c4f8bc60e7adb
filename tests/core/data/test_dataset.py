import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fixtures.scenes import save, texture, write_folders, write_geotiff
from likeness.data.augmentation import Augmentation
from likeness.data.cache import fill_cache, load_image, load_size
from likeness.data.dataset import ImageRows, clean_batches
from likeness.data.decode import DecodeError, decode_full
from likeness.data.listing import images_in
from likeness.data.statistics import band_statistics
from likeness.data.transforms import Preprocessing, to_tensor
from likeness.errors import UserError

DATA = os.environ.get("LIKENESS_DATA")
PREPARED = Preprocessing(size=16, mean=[0.5] * 3, std=[0.25] * 3)


@pytest.fixture
def scenes(tmp_path):
    manifest = images_in(write_folders(tmp_path, per_class=5, suffix=".jpg", side=48))
    return manifest.root, manifest.table["path"].tolist()


def with_bad_file(scenes):
    root, paths = scenes
    whole = (root / paths[3]).read_bytes()
    (root / paths[3]).write_bytes(whole[: len(whole) // 2])
    return root, paths


def test_a_row_is_the_image_as_the_model_sees_it(scenes):
    root, paths = scenes
    rows = ImageRows(root, paths, PREPARED, augmentation=Augmentation())
    assert len(rows) == 10
    tensor, row = rows[4]
    assert row == 4
    assert torch.equal(tensor, to_tensor(load_image(root / paths[4], PREPARED), PREPARED))
    assert tensor.shape == (3, 16, 16)


def test_augmented_items_depend_on_seed_step_and_slot_only(scenes):
    rows = ImageRows(*scenes, PREPARED, augmentation=Augmentation(), seed=1)
    first = rows[2, 7, 3][0]
    rows[5, 7, 3], rows[2, 8, 3]  # what happens in between does not count
    assert torch.equal(rows[2, 7, 3][0], first)
    assert torch.equal(
        ImageRows(*scenes, PREPARED, augmentation=Augmentation(), seed=1)[2, 7, 3][0], first
    )
    others = [rows[2, 8, 3][0], rows[2, 7, 4][0], rows[2][0]]
    others.append(ImageRows(*scenes, PREPARED, augmentation=Augmentation(), seed=2)[2, 7, 3][0])
    assert not any(torch.equal(other, first) for other in others)


def test_equal_pictures_in_one_slot_are_augmented_alike(scenes):
    root, paths = scenes
    (root / "copy.jpg").write_bytes((root / paths[0]).read_bytes())
    rows = ImageRows(root, [*paths, "copy.jpg"], PREPARED, augmentation=Augmentation())
    assert torch.equal(rows[0, 1, 2][0], rows[10, 1, 2][0])


def test_without_augmentation_a_step_changes_nothing(scenes):
    rows = ImageRows(*scenes, PREPARED)
    assert torch.equal(rows[2, 7, 3][0], rows[2][0])


@pytest.mark.parametrize("crop", [1.0, 0.5])
def test_a_cache_changes_no_pixel(scenes, crop):
    augmentation = Augmentation(crop_scale_min=crop)
    size = load_size(PREPARED, augmentation)
    cache = fill_cache(*scenes, PREPARED, size=size)
    plain = ImageRows(*scenes, PREPARED, augmentation=augmentation)
    cached = ImageRows(*scenes, PREPARED, augmentation=augmentation, cache=cache)
    for row in range(10):
        assert torch.equal(plain[row, 3, row][0], cached[row, 3, row][0])
        assert torch.equal(plain[row][0], cached[row][0])


def test_the_cache_is_really_used(scenes):
    root, paths = scenes
    cache = fill_cache(root, paths, PREPARED)
    rows = ImageRows(root, paths, PREPARED, cache=cache)
    before = rows[0][0]
    (root / paths[0]).unlink()
    assert torch.equal(rows[0][0], before)


@pytest.mark.parametrize("threads", [0, 2])
def test_loader_workers_change_nothing(scenes, threads):
    rows = ImageRows(*scenes, PREPARED, augmentation=Augmentation(), seed=3)
    plan = [[(r, step, slot) for slot, r in enumerate((step, 9 - step, 4))] for step in range(3)]
    wanted = [torch.stack([rows[item][0] for item in batch]) for batch in plan]
    loader = DataLoader(rows, batch_sampler=plan, num_workers=threads)
    for (images, numbers), want, batch in zip(loader, wanted, plan, strict=True):
        assert torch.equal(images, want)
        assert numbers.tolist() == [row for row, _, _ in batch]


def test_filling_is_deterministic_and_told(scenes):
    seen = []
    one = fill_cache(*scenes, PREPARED, threads=1, on_progress=lambda *a: seen.append(a))
    four = fill_cache(*scenes, PREPARED, threads=4)
    assert seen == [(k, 10) for k in range(1, 11)]
    assert one.images_NHWC.dtype == np.uint8
    np.testing.assert_array_equal(one.images_NHWC, four.images_NHWC)
    assert one.slots.tolist() == four.slots.tolist() == list(range(10))


def test_a_bad_file_is_reported_and_not_fatal(scenes):
    root, paths = with_bad_file(scenes)
    cache = fill_cache(root, paths, PREPARED)
    assert list(cache.failed) == [3]
    assert "truncated" in cache.failed[3]
    assert cache.slots.tolist() == [0, 1, 2, -1, 3, 4, 5, 6, 7, 8]
    rows = ImageRows(root, paths, PREPARED, cache=cache)
    np.testing.assert_array_equal(
        rows[9][0], to_tensor(load_image(root / paths[9], PREPARED), PREPARED)
    )
    with pytest.raises(DecodeError, match=paths[3]):
        rows[3]


def test_an_array_over_the_limit_is_not_made(scenes):
    size = 10 * 16 * 16 * 3
    assert fill_cache(*scenes, PREPARED, limit_bytes=size - 1) is None
    assert fill_cache(*scenes, PREPARED, limit_bytes=size).images_NHWC.nbytes == size


def deep(**options):
    numbers = {"bands": 5, "size": 16, "mean": [0.1] * 5, "std": [0.2] * 5, "scale": 65535.0}
    return Preprocessing(**{**numbers, **options})


def write_deep(root, holes=()):
    """Four images of five 16-bit bands; 0 means "no data", which those in `holes` have."""
    for n in range(4):
        image = np.maximum(texture(0, n, bands=5, dtype="uint16"), 1)
        if n in holes:
            image[4:12, 4:12] = 0
        write_geotiff(root / f"{n}.tif", image, nodata=0)
    return root, [f"{n}.tif" for n in range(4)]


def test_sixteen_bit_sets_count_two_bytes(tmp_path):
    scenes, size = write_deep(tmp_path), 4 * 16 * 16 * 5
    assert fill_cache(*scenes, deep(), limit_bytes=2 * size - 1) is None
    cache = fill_cache(*scenes, deep(), limit_bytes=2 * size)
    assert cache.images_NHWC.dtype == np.uint16
    assert cache.slots.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("holes", [(0,), (2,), (0, 1, 2, 3)])
@pytest.mark.parametrize("threads", [1, 3])
def test_images_with_holes_are_cached_beside_whole_ones(tmp_path, holes, threads):
    root, paths = write_deep(tmp_path, holes)
    total, prepared = 4 * 16 * 16 * 5, deep()
    assert fill_cache(root, paths, prepared, limit_bytes=4 * total - 1) is None
    augmentation = Augmentation()
    plain = ImageRows(root, paths, prepared, augmentation=augmentation)
    wanted = [(plain[row, 3, row][0], load_image(root / paths[row], prepared)) for row in range(4)]
    size = load_size(prepared, augmentation)
    cache = fill_cache(root, paths, prepared, size=size, threads=threads)
    clean = fill_cache(root, paths, prepared, threads=threads, limit_bytes=4 * total)
    for path in paths:
        (root / path).unlink()  # from here on, all pixels come from the cache
    assert cache.images_NHWC.dtype == np.float32
    assert cache.slots.tolist() == [0, 1, 2, 3]
    cached = ImageRows(root, paths, prepared, augmentation=augmentation, cache=cache)
    for row, (augmented, loaded) in enumerate(wanted):
        assert torch.equal(cached[row, 3, row][0], augmented)
        assert clean.get(row).dtype == loaded.dtype == (np.float32 if row in holes else np.uint16)
        np.testing.assert_array_equal(clean.get(row), loaded)


def test_no_data_becomes_the_mean_and_spoils_nothing_else(tmp_path):
    root, paths = write_deep(tmp_path, holes=(1,))
    loaded = load_image(root / paths[1], deep())
    missing = np.isnan(loaded)
    assert missing[2:6, 2:6].all()  # the 8 x 8 pixels of 32 x 32, at half the size
    assert missing.sum() == 16 * 5
    assert (to_tensor(loaded, deep()).permute(1, 2, 0).numpy()[missing] == 0).all()


def test_only_the_chosen_bands_are_loaded(tmp_path):
    root, paths = write_deep(tmp_path)
    chosen = deep(bands=2, mean=[0.1] * 2, std=[0.2] * 2, band_numbers=[5, 2])
    np.testing.assert_array_equal(
        load_image(root / paths[0], chosen), load_image(root / paths[0], deep())[..., [4, 1]]
    )
    with pytest.raises(DecodeError, match=r"0\.tif.*band 6 where the file has 5"):
        load_image(root / paths[0], chosen.model_copy(update={"band_numbers": [6, 2]}))


@pytest.mark.parametrize(
    ("dtype", "expected", "reason"),
    [
        ("uint16", "uint8", "uint16 pixels where uint8 are expected"),
        ("uint8", "uint16", "uint8 pixels where uint16 are expected"),
        ("int16", "float32", "int16 pixels where float32 are expected"),
        ("float64", "float32", None),
        ("int32", "float32", None),
        ("int16", None, None),
        ("int16", "int16", None),
    ],
)
def test_numbers_of_another_type_are_refused(tmp_path, dtype, expected, reason):
    path = write_geotiff(tmp_path / "a.tif", texture(0, 0, bands=5, dtype=dtype))
    if reason is None:
        assert load_image(path, deep(dtype=expected)).shape == (16, 16, 5)
    else:
        with pytest.raises(DecodeError, match=f"a.tif.*{reason}"):
            load_image(path, deep(dtype=expected))


def test_nothing_readable_and_nothing_at_all(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    cache = fill_cache(tmp_path, ["a.png"], PREPARED)
    assert (len(cache.images_NHWC), list(cache.failed)) == (0, [0])
    assert fill_cache(tmp_path, [], PREPARED).slots.tolist() == []


def test_grey_and_wrong_band_counts(tmp_path):
    save(tmp_path / "grey.png", texture(0, 0)[..., :1])
    write_geotiff(tmp_path / "many.tif", texture(0, 0, bands=5))
    cache = fill_cache(tmp_path, ["grey.png", "many.tif"], PREPARED)
    assert cache.slots.tolist() == [0, -1]
    assert cache.failed == {1: "5 bands where 3 are expected"}


def test_load_size_leaves_room_for_crops_but_not_too_much():
    assert load_size(PREPARED, None) == (16, 16)
    assert load_size(PREPARED, Augmentation(crop_scale_min=1.0)) == (16, 16)
    assert load_size(PREPARED, Augmentation(crop_scale_min=0.9)) == (17, 17)
    assert load_size(PREPARED, Augmentation(crop_scale_min=0.1)) == (20, 20)


@pytest.mark.plain
def test_a_cache_of_something_else_is_refused(scenes):
    root, paths = scenes
    cache = fill_cache(root, paths, PREPARED)
    with pytest.raises(UserError, match="cache must be of these rows, got 10"):
        ImageRows(root, paths[:4], PREPARED, cache=cache)
    other = fill_cache(root, paths, PREPARED, size=(16, 24))
    with pytest.raises(
        UserError, match=r"cache size must be one of \(\(16, 16\), .*got \(16, 24\)"
    ):
        ImageRows(root, paths, PREPARED, cache=other)
    with pytest.raises(UserError, match="seed must be >= 0, got -1"):
        ImageRows(root, paths, PREPARED, seed=-1)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_clean_batches_give_every_row_once_in_order(scenes, threads, batch_size):
    root, paths = with_bad_file(scenes)
    rows = ImageRows(root, paths, PREPARED)
    batches = list(clean_batches(rows, batch_size=batch_size, threads=threads))
    assert len(batches) == -(-10 // batch_size)
    assert [row for batch in batches for row in batch.rows] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    failed = {row: reason for batch in batches for row, reason in batch.failed.items()}
    assert list(failed) == [3]
    assert "truncated" in failed[3]
    for batch in batches:
        assert batch.images_NCHW.shape == (len(batch.rows), 3, 16, 16)
        for image, row in zip(batch.images_NCHW, batch.rows, strict=True):
            assert torch.equal(image, rows[row][0])


@pytest.mark.data
@pytest.mark.skipif(DATA is None, reason="LIKENESS_DATA is unset")
def test_real_scenes_from_cache_and_from_disk():
    root = Path(DATA, "aid", "AID")
    paths = sorted(str(p.relative_to(root)) for p in root.glob("[AB]*/*_1*.jpg"))
    prepared = Preprocessing(size=64, mean=[0.5] * 3, std=[0.25] * 3)
    augmentation = Augmentation()
    cache = fill_cache(root, paths, prepared, size=load_size(prepared, augmentation))
    assert cache.failed == {}
    cached = ImageRows(root, paths, prepared, augmentation=augmentation, cache=cache)
    plain = ImageRows(root, paths, prepared, augmentation=augmentation)
    for row in range(0, len(paths), 7):
        assert torch.equal(cached[row, 1, row][0], plain[row, 1, row][0])


@pytest.mark.data
@pytest.mark.skipif(DATA is None, reason="LIKENESS_DATA is unset")
def test_real_chips_of_thirteen_bands():
    root = Path(DATA, "layouts", "torchgeo", "eurosat", "ds")
    paths = sorted(str(p.relative_to(root)) for p in root.rglob("*.tif"))
    assert len(paths) >= 2
    mean, std = band_statistics(root, paths, scale=10_000.0)
    prepared = Preprocessing(
        bands=13, size=48, mean=mean, std=std, scale=10_000.0, dtype="uint16", resolution=10.0
    )
    augmentation = Augmentation()
    cache = fill_cache(root, paths, prepared, size=load_size(prepared, augmentation))
    assert (cache.failed, cache.images_NHWC.dtype) == ({}, np.uint16)
    cached = ImageRows(root, paths, prepared, augmentation=augmentation, cache=cache)
    plain = ImageRows(root, paths, prepared, augmentation=augmentation)
    for row in range(len(paths)):
        assert torch.equal(cached[row, 1, row][0], plain[row, 1, row][0])
        assert cached[row][0].abs().max() < 20
    places = [decode_full(root / path).place for path in paths]
    assert {place.crs for place in places} == {"EPSG:32635", "EPSG:32632"}
    assert [place.resolution_m() for place in places] == pytest.approx([10, 10], rel=1e-3)
