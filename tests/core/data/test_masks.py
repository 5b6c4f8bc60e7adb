import numpy as np
import pytest

from fixtures.lesions import isic, write_isic_2016, write_isic_2017, write_ph2
from fixtures.scenes import save, texture
from likeness.data.decode import DecodeError
from likeness.data.masks import (
    image_of_mask,
    is_mask,
    mask_beside,
    read_mask,
    require_size,
    scaled,
)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("ISIC_0000000_segmentation.png", "ISIC_0000000"),
        ("ISIC_0000000_Segmentation.png", "ISIC_0000000"),
        ("IMD003_lesion.bmp", "IMD003"),
        ("ISIC_0000000_superpixels.png", None),
        ("ISIC_0000000.png", None),
        ("_segmentation.png", None),
    ],
)
def test_names_of_masks(name, stem):
    assert image_of_mask(name) == stem


@pytest.mark.parametrize(
    "place",
    [
        "ISIC-2017_Training_Data/{}_segmentation.png",
        "ISIC-2017_Training_Part1_GroundTruth/{}_segmentation.png",
        "segmentations/{}_segmentation.png",
        "masks/{}_Segmentation.png",
        "Mask/{}_segmentation.png",
    ],
)
def test_masks_in_the_layouts_of_the_archive(tmp_path, place):
    top = write_isic_2017(tmp_path)
    images = [top / "ISIC-2017_Training_Data" / f"{isic(number)}.jpg" for number in (0, 1)]
    mask = save(top / place.format(isic(0)), texture(0, 0))
    assert mask_beside(images[0]).samefile(mask)
    assert mask_beside(images[1]) is None


def test_other_files_are_no_masks(tmp_path):
    top = write_isic_2016(tmp_path)
    image = next(top.rglob("*.jpg"))
    save(top / "elsewhere" / f"{image.stem}_segmentation.png", texture(0, 0))
    save(top / "masks" / f"{image.stem}.png", texture(0, 0))
    save(top / "masks" / f"{image.stem}_superpixels.png", texture(0, 0))
    (top / "masks" / f"{image.stem}_segmentation.png").mkdir()
    assert mask_beside(image) is None
    assert mask_beside(tmp_path / "nowhere" / "a.jpg") is None


def test_masks_of_ph2(tmp_path):
    top = write_ph2(tmp_path)
    image = next(top.rglob("IMD058.bmp"))
    assert mask_beside(image).name == "IMD058_lesion.bmp"
    assert mask_beside(image).parent.name == "IMD058_lesion"
    assert (read_mask(mask_beside(image)).nonzero()[0].min(), read_mask(image).ndim) == (8, 2)


def test_a_link_is_followed_to_where_its_mask_lies(tmp_path):
    image = save(tmp_path / "data" / "a.png", texture(0, 0))
    mask = save(tmp_path / "masks" / "a_segmentation.png", texture(0, 0))
    (tmp_path / "other").mkdir()
    link = tmp_path / "other" / "5f3c.png"
    link.symlink_to(image)
    assert mask_beside(link).samefile(mask)
    nearer = save(tmp_path / "other" / "5f3c_segmentation.png", texture(0, 0))
    assert mask_beside(link).samefile(nearer)


@pytest.mark.parametrize("values", [(0, 255), (0, 1), (10, 200)])
def test_what_is_bright_is_marked_whatever_the_scale(tmp_path, values):
    truth = np.zeros((9, 12), bool)
    truth[2:5, 3:9] = True
    path = save(tmp_path / "m.png", np.where(truth, values[1], values[0]).astype(np.uint8))
    np.testing.assert_array_equal(read_mask(path), truth)


def test_a_black_mask_marks_nothing_and_a_broken_one_is_refused(tmp_path):
    assert not read_mask(save(tmp_path / "m.png", np.zeros((9, 12), np.uint8))).any()
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(DecodeError, match=r"b\.png"):
        read_mask(tmp_path / "b.png")


def test_sizes_must_agree():
    mask = np.zeros((9, 12), bool)
    require_size(mask, (9, 12))
    with pytest.raises(DecodeError, match="its mask has 12 x 9 pixels, the image 9 x 12"):
        require_size(mask, (12, 9))


@pytest.mark.parametrize("size", [(9, 12), (3, 4), (4, 5), (18, 24), (1, 1)])
def test_scaling_takes_the_nearest_pixel(size):
    mask = np.random.default_rng(0).random((9, 12)) < 0.5
    wanted = [
        [mask[int((r + 0.5) * 9 / size[0]), int((c + 0.5) * 12 / size[1])] for c in range(size[1])]
        for r in range(size[0])
    ]
    np.testing.assert_array_equal(scaled(mask, size), wanted)


def test_a_mask_is_one_by_name_and_by_what_is_around_it(tmp_path):
    image = save(tmp_path / "nevus" / "a.jpg", texture(0, 0))
    beside = save(tmp_path / "nevus" / "a_segmentation.png", texture(0, 0))
    apart = save(tmp_path / "masks" / "b_segmentation.png", texture(0, 0))
    alone = save(tmp_path / "nevus" / "tumour_lesion.bmp", texture(0, 0))  # a picture of one's own
    assert [is_mask(path) for path in (image, beside, apart, alone)] == [False, True, True, False]
    ph2 = write_ph2(tmp_path / "ph2")
    masks = [path for path in ph2.rglob("*.bmp") if is_mask(path)]
    assert {path.parent.name for path in masks} == {f"{path.stem}" for path in masks}
