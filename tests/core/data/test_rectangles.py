"""Inputs that are no squares, from the file to the batch."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from fixtures.scenes import save, texture
from likeness.data.appearance import appearance
from likeness.data.augmentation import Augmentation, augment
from likeness.data.cache import fill_cache, load_image, load_size
from likeness.data.dataset import ImageRows, clean_batches
from likeness.data.decode import decode
from likeness.data.masked import view_of
from likeness.data.stacks import prepare_images
from likeness.data.stepped import read_stepped
from likeness.data.steps import CropDarkBorder, ShadesOfGrey
from likeness.data.transforms import Preprocessing, resize_image, to_tensor
from likeness.errors import UserError

TALL, WIDE = 32, 16
UPRIGHT = Augmentation(rotate90=False)
PLAIN = {"rotate90": False, "crop_scale_min": 1.0, "brightness": 0, "contrast": 0, "colour": 0}


def prepared(size=(TALL, WIDE), bands=3, **options) -> Preprocessing:
    return Preprocessing(bands=bands, size=size, mean=[0.4] * bands, std=[0.2] * bands, **options)


def noise(*shape, dtype="uint8", seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Eight files, some of which need no resizing, and some a lot."""
    root = tmp_path_factory.mktemp("pictures")
    sizes = ((32, 16), (70, 30), (30, 70), (130, 66), (9, 50), (64, 64))
    for number, (tall, wide) in enumerate(sizes):
        image = texture(0, number, side=max(tall, wide))[:tall, :wide]
        save(root / f"{number}.{'jpg' if number % 2 else 'png'}", image)
    return root, sorted(path.name for path in root.iterdir())


# ---- resizing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(70, 30), (30, 70), (32, 17), (9, 50), (64, 32)])
def test_squash_is_the_whole_image(shape):
    image = noise(*shape, 3)
    wanted = Image.fromarray(image).resize((WIDE, TALL), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(resize_image(image, prepared()), wanted)


@pytest.mark.parametrize("shape", [(70, 30), (30, 70), (32, 17), (9, 50), (64, 32), (1, 40)])
def test_centre_crop_keeps_the_aspect_ratio_of_the_network(shape):
    image, (height, width) = noise(*shape, 3), shape
    kept_high = min(Fraction(height), Fraction(width * TALL, WIDE))
    kept_wide = kept_high * WIDE / TALL
    left, top = (width - kept_wide) / 2, (height - kept_high) / 2
    box = [float(value) for value in (left, top, left + kept_wide, top + kept_high)]
    whole = Image.fromarray(image)
    wanted = whole.resize((WIDE, TALL), Image.Resampling.BILINEAR, box=box)
    np.testing.assert_array_equal(resize_image(image, prepared(resize="centre-crop")), wanted)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", [1, 3, 5])
def test_centre_crop_at_the_same_scale_is_a_slice(dtype, bands):
    crop = prepared(bands=bands, resize="centre-crop")
    across = noise(TALL, WIDE + 10, bands, dtype=dtype)
    np.testing.assert_array_equal(resize_image(across, crop), across[:, 5:-5])
    down = noise(TALL + 6, WIDE, bands, dtype=dtype)
    np.testing.assert_array_equal(resize_image(down, crop), down[3:-3])


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_squashing_any_number_of_bands_is_antialiased_like_torch(dtype):
    image = noise(70, 40, 5, dtype=dtype)
    planes = torch.from_numpy(image.astype(np.float64)).permute(2, 0, 1)[None]
    wanted = torch.nn.functional.interpolate(
        planes, size=(TALL, WIDE), mode="bilinear", antialias=True
    )[0].permute(1, 2, 0)
    small = resize_image(image, prepared(bands=5)).astype(np.float64)
    assert np.abs(small - wanted.numpy()).max() <= 0.51


# ---- decoding -----------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_is_decoded_no_larger_than_height_and_width_need(tmp_path, orientation):
    upright = texture(0, 0, side=400)[:, :200]
    stored = Image.fromarray(upright)
    if orientation == 6:
        stored = stored.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.jpg", quality=95, exif=exif)
    for least, scale in (((200, 100), 2), ((100, 50), 4), ((201, 100), 1), ((100, 101), 1)):
        assert decode(tmp_path / "a.jpg", min_side=least).shape == (400 // scale, 200 // scale, 3)
    assert decode(tmp_path / "a.jpg", min_side=200).shape == (400, 200, 3)


@pytest.mark.parametrize("shape", [(320, 160), (160, 320), (330, 200)])
def test_before_steps_both_sides_stay_as_large_as_the_longer(tmp_path, shape):
    save(tmp_path / "a.png", texture(0, 0, side=330)[: shape[0], : shape[1]])
    steps = (CropDarkBorder(), ShadesOfGrey())
    seen = read_stepped(tmp_path / "a.png", steps, side=(TALL, WIDE)).image_HWC
    assert min(seen.shape[:2]) >= TALL
    assert max(seen.shape[:2]) < max(shape)
    assert load_image(tmp_path / "a.png", prepared(steps=steps)).shape == (TALL, WIDE, 3)


# ---- random changes -----------------------------------------------------------------------------


def test_both_sides_leave_room_for_crops():
    half = Augmentation(rotate90=False, crop_scale_min=0.9)
    assert load_size(prepared(), None) == (32, 16)
    assert load_size(prepared(), half) == (34, 17)
    assert load_size(prepared(), UPRIGHT) == (40, 20)


def test_flips_mirror_left_and_right_only(pictures):
    rows = ImageRows(*pictures, prepared(), augmentation=Augmentation(**PLAIN))
    clean = rows[1][0]
    seen = [rows[1, 0, slot][0] for slot in range(100)]
    mirrored = [torch.equal(image, clean.flip(2)) for image in seen]
    assert all(m or torch.equal(image, clean) for m, image in zip(mirrored, seen, strict=True))
    assert 30 < sum(mirrored) < 70  # 50 expected with a standard deviation of 5


def test_crops_and_colours_keep_the_shape():
    image = texture(0, 0, side=40)[:, :20]
    spec, source = UPRIGHT, np.random.default_rng(0)
    assert {augment(image, spec, source, size=(32, 16)).shape for _ in range(30)} == {(32, 16, 3)}


def test_quarter_turns_are_refused(pictures):
    sentence = (
        r"^data\.augmentation\.rotate90 must be false for images of 32 x 16 pixels, which are no "
        r"squares, got True$"
    )
    with pytest.raises(UserError, match=sentence):
        ImageRows(*pictures, prepared(), augmentation=Augmentation())


# ---- cache, batches -----------------------------------------------------------------------------


@pytest.mark.parametrize("resize", ["squash", "centre-crop"])
@pytest.mark.parametrize("crop", [1.0, 0.5])
def test_a_cache_changes_no_pixel(pictures, resize, crop):
    made = prepared(resize=resize)
    changes = Augmentation(
        rotate90=False, crop_scale_min=crop, pad_crop={"pixels": 2}, random_erasing={}
    )
    cache = fill_cache(*pictures, made, size=load_size(made, changes))
    assert cache.height_width == ((32, 16) if crop == 1 else (40, 20))
    plain = ImageRows(*pictures, made, augmentation=changes)
    cached = ImageRows(*pictures, made, augmentation=changes, cache=cache)
    for row in range(len(plain)):
        assert plain[row][0].shape == plain[row, 3, row][0].shape == (3, TALL, WIDE)
        assert torch.equal(plain[row][0], cached[row][0])
        assert torch.equal(plain[row, 3, row][0], cached[row, 3, row][0])


def test_a_cache_that_is_turned_is_refused(pictures):
    cache = fill_cache(*pictures, prepared((WIDE, TALL)))
    with pytest.raises(UserError, match=r"cache size must be one of .*, got \(16, 32\)"):
        ImageRows(*pictures, prepared(), cache=cache)


def test_the_limit_counts_height_times_width(pictures):
    total = len(pictures[1]) * TALL * WIDE * 3
    assert fill_cache(*pictures, prepared(), limit_bytes=total - 1) is None
    assert fill_cache(*pictures, prepared(), limit_bytes=total).images_NHWC.nbytes == total


def test_clean_batches_hold_what_the_rows_hold(pictures):
    root, paths = pictures
    rows = ImageRows(root, [*paths, "missing.png"], prepared())
    batches = list(clean_batches(rows, batch_size=len(paths)))
    assert [batch.images_NCHW.shape for batch in batches] == [
        (len(paths), 3, TALL, WIDE),
        (0, 3, TALL, WIDE),
    ]
    for row, image in enumerate(batches[0].images_NCHW):
        assert torch.equal(image, rows[row][0])


# ---- everything else that looks at prepared images ----------------------------------------------


@pytest.mark.parametrize("resize", ["squash", "centre-crop"])
def test_many_images_at_once_are_what_each_is_alone(resize):
    made = prepared(resize=resize)
    images = [noise(64, 32, 3, seed=1), noise(64, 64, 3), noise(64, 32, 3), noise(30, 40, 3)]
    for image, found in zip(images, prepare_images(images, made), strict=True):
        wanted = to_tensor(resize_image(image, made), made)
        torch.testing.assert_close(found, wanted, atol=1.001 / (255 * 0.2), rtol=0)


@pytest.mark.parametrize(("shape", "kept"), [((90, 120), (90, 45)), ((90, 30), (60, 30))])
def test_a_view_for_people_has_the_aspect_ratio_of_the_network(tmp_path, shape, kept):
    image = texture(0, 0, side=120)[: shape[0], : shape[1]]
    save(tmp_path / "a.png", image)
    save(tmp_path / "a_segmentation.png", (image[..., :1] > 128).astype(np.uint8) * 255)
    view = view_of(tmp_path / "a.png", prepared(resize="centre-crop"), side=90)
    top, left = ((whole - part) // 2 for whole, part in zip(shape, kept, strict=True))
    np.testing.assert_array_equal(view.image_HWC, image[top : top + kept[0], left : left + kept[1]])
    assert view.mask_HW.shape == kept


@pytest.mark.parametrize("size", [(40, 16), (8, 12), (100, 40), (130, 70)])
def test_appearance_is_that_of_the_picture_turned_over(size):
    """Nothing in it tells rows from columns, so height and width may not be confused either."""
    images = torch.from_numpy(noise(4, 3, *size).astype(np.float32) / 255)
    looks = appearance(images, prepared(size))
    turned = appearance(images.transpose(2, 3).contiguous(), prepared(size[::-1]))
    assert torch.isfinite(looks).all()
    torch.testing.assert_close(looks, turned, atol=1e-4, rtol=1e-4)


def test_appearance_tells_light_that_falls_off_along_the_longer_side():
    ramp = torch.linspace(0.1, 0.9, 48)[:, None].expand(48, 16)
    edges = (ramp - 0.5).abs()[None, None].repeat(1, 3, 1, 1)
    even = torch.full((1, 3, 48, 16), float(edges.mean()))
    assert not torch.allclose(appearance(edges, prepared((48, 16))), appearance(even, prepared()))
