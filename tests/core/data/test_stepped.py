"""Steps on the way from a file to the network: at which scale, with which mask, always alike."""

import numpy as np
import pytest
import torch
from PIL import Image

from fixtures.dark_lines import draw_lines, skin_like
from fixtures.scenes import save, write_geotiff
from likeness.data.augmentation import Augmentation
from likeness.data.cache import fill_cache, load_image, load_size
from likeness.data.dataset import ImageRows, clean_batches
from likeness.data.decode import DecodeError, decode, decode_full
from likeness.data.stacks import prepare_images
from likeness.data.statistics import band_statistics
from likeness.data.stepped import read_stepped, step_image
from likeness.data.steps import (
    CropDarkBorder,
    CropToMask,
    RemoveDarkLines,
    ShadesOfGrey,
    apply_steps,
    shades_of_grey,
)
from likeness.data.transforms import Preprocessing, resize_image, to_tensor
from likeness.errors import UserError

ALL = (ShadesOfGrey(), RemoveDarkLines(), CropDarkBorder(), CropToMask())


def prepared(*steps, size=16):
    return Preprocessing(size=size, mean=[0.5] * 3, std=[0.25] * 3, steps=steps)


def write_pictures(root, count=3, suffix=".png", side=60):
    """Pictures with lines, a tint and bars, and a mask for each but the last."""
    for number in range(count):
        rng = np.random.default_rng(number)
        image = draw_lines(skin_like(rng, side, side + 20), rng)[0]
        image[:, :10] = 0
        save(root / "images" / f"{number}{suffix}", image)
        if number < count - 1:
            mask = np.zeros(image.shape[:2], np.uint8)
            mask[side // 3 : side // 2, 30:50] = 255
            save(root / "masks" / f"{number}_segmentation.png", mask)
    return root / "images", [f"{number}{suffix}" for number in range(count)]


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_every_way_to_an_image_gives_the_same_pixels(tmp_path, suffix):
    root, paths = write_pictures(tmp_path, suffix=suffix)
    made = prepared(*ALL)
    rows = ImageRows(root, paths, made)
    clean = next(clean_batches(rows, batch_size=3)).images_NCHW
    cached = ImageRows(root, paths, made, cache=fill_cache(root, paths, made))
    for row, path in enumerate(paths):
        mask = None
        if row < 2:
            mask = decode(tmp_path / "masks" / f"{row}_segmentation.png")[..., 0] > 0
        by_hand = resize_image(apply_steps(decode(root / path), ALL, mask), made)
        wanted = to_tensor(by_hand, made)
        data = (root / path).read_bytes()
        from_bytes = load_image(data, made, beside=root / path)
        for found in (rows[row][0], clean[row], cached[row][0], to_tensor(from_bytes, made)):
            assert torch.equal(found, wanted)
        assert not torch.equal(wanted, to_tensor(load_image(root / path, prepared()), made))


def test_training_images_go_through_the_steps(tmp_path):
    root, paths = write_pictures(tmp_path)
    made, augmentation = prepared(*ALL), Augmentation()
    plain = ImageRows(root, paths, made, augmentation=augmentation)
    cache = fill_cache(root, paths, made, size=load_size(made, augmentation))
    cached = ImageRows(root, paths, made, augmentation=augmentation, cache=cache)
    without = ImageRows(root, paths, prepared(), augmentation=augmentation)
    for row in range(3):
        assert torch.equal(plain[row, 4, row][0], cached[row, 4, row][0])
        assert not torch.equal(plain[row, 4, row][0], without[row, 4, row][0])


def test_without_steps_nothing_changes(tmp_path):
    path = save(tmp_path / "a.jpg", skin_like(np.random.default_rng(0), 64, 80))
    read = read_stepped(path, (), side=16)
    np.testing.assert_array_equal(read.image_HWC, decode(path, min_side=16))
    assert read.dtype == "uint8"


def test_images_are_no_larger_than_needed(tmp_path):
    path = save(tmp_path / "a.jpg", skin_like(np.random.default_rng(0), 640, 800))
    bitmap = save(tmp_path / "a.bmp", decode(path))
    for steps, side in (((ShadesOfGrey(),), 80), ((RemoveDarkLines(),), 320)):
        for source in (path, bitmap):
            shape = read_stepped(source, steps, side=80).image_HWC.shape
            assert shape == (side, side * 5 // 4, 3)
    halved = np.asarray(Image.open(bitmap).reduce(2))
    np.testing.assert_array_equal(
        read_stepped(bitmap, (RemoveDarkLines(),), side=80).image_HWC,
        apply_steps(halved, (RemoveDarkLines(),)),
    )


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_crop_by_a_small_mask_keeps_enough_pixels(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", skin_like(np.random.default_rng(0), 640, 800))
    mask = np.zeros((640, 800), np.uint8)
    mask[300:400, 300:420] = 255
    save(tmp_path / "a_segmentation.png", mask)
    left = read_stepped(path, (CropToMask(margin=0.0),), side=40).image_HWC
    assert left.shape == (50, 60, 3)  # half of the scale; a quarter would leave 25
    assert read_stepped(path, (CropToMask(margin=0),), side=90).image_HWC.shape == (100, 120, 3)
    assert load_image(path, prepared(CropToMask(), size=40)).shape == (40, 40, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_fit_images_that_lie_on_their_side(tmp_path, orientation):
    """The tag is applied, so the mask has the size of the upright image."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = skin_like(np.random.default_rng(0), 64, 80)
    Image.fromarray(image).save(tmp_path / "a.jpg", exif=exif)
    tall, wide = (80, 64) if orientation > 4 else (64, 80)
    for side in (8, 64):
        assert decode_full(tmp_path / "a.jpg", min_side=side).whole == (tall, wide)
    mask = np.zeros((tall, wide), np.uint8)
    mask[16:32, 16:48] = 255
    save(tmp_path / "a_segmentation.png", mask)
    read = read_stepped(tmp_path / "a.jpg", (CropToMask(margin=0),), side=16)
    assert read.image_HWC.shape == (16, 32, 3)


@pytest.mark.parametrize("side", [8, 64])
def test_a_mask_of_another_size_is_one_sentence(tmp_path, side):
    """Half the size is another size, though the image is decoded at half its scale."""
    path = save(tmp_path / "a.jpg", skin_like(np.random.default_rng(0), 64, 80))
    mask = save(tmp_path / "a_segmentation.png", np.full((32, 40), 255, np.uint8))
    reason = r"a\.jpg': its mask has 40 x 32 pixels, the image 80 x 64$"
    with pytest.raises(DecodeError, match=reason):
        load_image(path, prepared(CropToMask(), size=side))
    assert load_image(path, prepared(ShadesOfGrey())).shape == (16, 16, 3)
    mask.write_bytes(b"none")
    with pytest.raises(DecodeError, match=r"a\.jpg': its mask: no image format"):
        load_image(path, prepared(CropToMask()))


def test_a_bad_mask_costs_its_own_row_only(tmp_path):
    root, paths = write_pictures(tmp_path)
    save(tmp_path / "masks" / "1_segmentation.png", np.zeros((5, 5), np.uint8))
    cache = fill_cache(root, paths, prepared(*ALL))
    assert list(cache.failed) == [1]
    assert "its mask has 5 x 5 pixels" in cache.failed[1]


def test_grey_among_colour_is_repeated_and_others_are_refused(tmp_path):
    grey = skin_like(np.random.default_rng(0), 20, 30)[..., :1]
    path = save(tmp_path / "a.png", grey)
    repeated = load_image(path, prepared())
    np.testing.assert_array_equal(load_image(path, prepared(ShadesOfGrey())), repeated)
    deep = write_geotiff(tmp_path / "b.tif", np.ones((9, 9, 3), np.uint16))
    with pytest.raises(DecodeError, match=r"b\.tif.*shades_of_grey takes uint8 of 3"):
        load_image(deep, prepared(ShadesOfGrey()))
    holes = np.full((9, 9, 3), 7, np.uint8)
    holes[2:4, 2:4] = 0
    path = write_geotiff(tmp_path / "c.tif", holes, nodata=0)
    with pytest.raises(DecodeError, match=r"c\.tif.*float32 pixels of 3 bands"):
        load_image(path, prepared(ShadesOfGrey()))


def test_images_in_memory_go_through_the_same_steps(tmp_path):
    image = skin_like(np.random.default_rng(0), 640, 800)
    path = save(tmp_path / "a.png", image)
    steps = (ShadesOfGrey(), RemoveDarkLines())
    np.testing.assert_array_equal(
        step_image(image, steps, side=80)[0], read_stepped(path, steps, side=80).image_HWC
    )
    whole, _ = step_image(image, (CropToMask(),), side=80)
    assert whole.shape == (80, 100, 3)


def test_statistics_are_of_what_the_steps_leave(tmp_path):
    root, paths = write_pictures(tmp_path)
    mean, _ = band_statistics(root, paths, scale=255.0, steps=(ShadesOfGrey(), CropDarkBorder()))
    by_hand = [shades_of_grey(decode(root / path))[:, 10:] / 255 for path in paths]
    wanted = np.concatenate([image.reshape(-1, 3) for image in by_hand]).mean(axis=0)
    np.testing.assert_allclose(mean, wanted, rtol=1e-6)
    plain, _ = band_statistics(root, paths, scale=255.0)
    assert max(abs(np.array(plain) - mean)) > 0.05


def test_windows_of_a_scene_refuse_steps():
    image = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(UserError, match=r"preprocessing\.steps must be empty .*'shades_of_grey'"):
        prepare_images([image], prepared(ShadesOfGrey()))
